"""What the scores of a method are held against, on one network: known answers and effects of silencing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

import edgefilter as ef

from .data import ORIENTATIONS, Samples

DELETIONS = 9  # steps of a deletion curve
ORDERS = 4  # random orders that a deletion curve is compared with
LEVELS = ("color", "edge", "color_edge")


def margin(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the target's output minus the mean of the others."""
    chosen = outputs.gather(1, targets[:, None])[:, 0]
    return chosen - (outputs.sum(1) - chosen) / (outputs.shape[1] - 1)


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Return the rank correlation of each row; zero where a row is constant."""
    ranks = [rankdata(np.asarray(rows.detach().double().flatten(1)), axis=1) for rows in (first, second)]
    a, b = (torch.from_numpy(r - r.mean(1, keepdims=True)) for r in ranks)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)


def orientations(bank: ef.FilterBank) -> Tensor:
    """Return the direction of each kernel's gradient in steps of 45 degrees; both polarities share one."""
    weights = torch.tensor(bank.weight)
    place = torch.arange(weights.shape[-1]) - (weights.shape[-1] - 1) / 2
    angles = [math.atan2((w * place[:, None]).sum(), (w * place).sum()) for w in weights]
    return torch.tensor([round(angle / (math.pi / ORIENTATIONS)) % ORIENTATIONS for angle in angles])


# --- silencing ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A network split at its filter bank, images, targets, and the responses to the images, (N, C, K, H, W).

    What was silenced once is known: the curves of many methods pass the same points.
    """

    network: nn.Module
    tail: nn.Module
    images: Tensor
    targets: Tensor
    responses: Tensor
    base: Tensor
    known: dict[tuple[int, bytes], float] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, network: nn.Module, images: Tensor, targets: Tensor) -> Case:
        """Run the network once."""
        front, tail = ef.split(network)
        with torch.no_grad():
            responses = front(images).unflatten(1, (images.shape[1], -1))
            return cls(
                network, tail, images, targets, responses, margin(tail(responses.flatten(1, 2)), targets)
            )

    def margins(self, kept: Tensor) -> Tensor:
        """Return the margins when only some responses are kept: ``kept`` is (N or 1, C, K) of ones and zeros."""
        kept = kept.expand(len(self.images), -1, -1)
        keys = [(image, mask.numpy().tobytes()) for image, mask in enumerate(kept.bool())]
        new = [image for image, key in enumerate(keys) if key not in self.known]
        if new:
            with torch.no_grad():
                silenced = self.responses[new] * kept[new][..., None, None].to(self.responses)
                found = margin(self.tail(silenced.flatten(1, 2)), self.targets[new])
            self.known.update(zip((keys[image] for image in new), found.tolist(), strict=True))
        return self.base.new_tensor([self.known[key] for key in keys])


def groups(colors: int, filters: int, level: str) -> Tensor:
    """Return what is silenced together, as (parts, C, K) of ones and zeros."""
    cells = torch.eye(colors * filters).reshape(-1, colors, filters)
    if level == "color_edge":
        return cells
    kept = cells.reshape(colors, filters, colors, filters)
    return kept.sum(1) if level == "color" else kept.sum(0)


def effects(case: Case) -> dict[str, Tensor]:
    """Return the loss of margin when each color, filter and pair is silenced: (N, parts) for each level."""
    found = {}
    for level in LEVELS:
        parts = groups(*case.responses.shape[1:3], level)
        found[level] = torch.stack([case.base - case.margins(1 - part[None]) for part in parts], 1)
    return found


def deletion_area(case: Case, level: str, scores: Tensor) -> Tensor:
    """Return the area below each image's margin while parts are silenced in the order of their scores, (N,).

    Many parts are silenced some at a time, in at most ``DELETIONS`` steps.
    """
    parts = groups(*case.responses.shape[1:3], level)
    order = scores.argsort(dim=1, descending=True, stable=True)
    kept, curve, gone = torch.ones(len(scores), *parts.shape[1:]), [case.base], [0]
    for some in order.split(math.ceil(order.shape[1] / DELETIONS), 1):
        kept = kept - parts[some].sum(1)
        curve.append(case.margins(kept))
        gone.append(gone[-1] + some.shape[1])
    return torch.trapezoid(torch.stack(curve, 1).double(), torch.tensor(gone).double()) / order.shape[1]


def random_area(case: Case, level: str, seed: int) -> Tensor:
    """Return the mean area below deletion curves in random orders, (N,)."""
    generator = torch.Generator().manual_seed(seed)
    count = len(groups(*case.responses.shape[1:3], level))
    drawn = [torch.rand(len(case.images), count, generator=generator) for _ in range(ORDERS)]
    return torch.stack([deletion_area(case, level, scores) for scores in drawn]).mean(0)


# --- known answers --------------------------------------------------------------------------------------------


def color_metrics(color: Tensor, relevant: int) -> dict[str, float]:
    """Return how often one color has the highest score, and its mean share of the positive scores."""
    positive = color.clamp(min=0)
    share = positive[:, relevant] / positive.sum(1).clamp(min=1e-12)
    return {"color_hit": mean(color.argmax(1) == relevant), "color_mass": mean(share)}


def by_orientation(edge: Tensor, directions: Tensor) -> Tensor:
    """Sum filter scores over the polarities: (N, K) to (N, orientations)."""
    return torch.stack([edge[:, directions == step].sum(1) for step in range(ORIENTATIONS)], 1)


def filter_metrics(edge: Tensor, samples: Samples, directions: Tensor) -> dict[str, float]:
    """Return how often the label's orientation has the highest score, and a higher one than a distractor's."""
    oriented = by_orientation(edge, directions)
    label = oriented.gather(1, samples.labels[:, None])[:, 0]
    wins = []
    for color in (c for c in range(3) if c != samples.color):
        other = samples.parts[:, color]
        beaten = label > oriented.gather(1, other[:, None])[:, 0]
        wins.append(beaten[other != samples.labels])
    return {"filter_hit": mean(oriented.argmax(1) == samples.labels), "filter_disc": mean(torch.cat(wins))}


def place_metrics(maps: Tensor, samples: Samples) -> dict[str, float]:
    """Return the share of positive relevance in the stamp, and the stamp's share of both glyphs': maps (N, H, W)."""
    positive = maps.clamp(min=0)
    total, stamp, decoy = (
        (positive * mask).flatten(1).sum(1)
        for mask in (torch.ones_like(positive), samples.stamp, samples.decoy)
    )
    return {
        "stamp_mass": mean(stamp / total.clamp(min=1e-12)),
        "decoy_share": mean(stamp / (stamp + decoy).clamp(min=1e-12)),
    }


def steepness(images: Tensor) -> Tensor:
    """Return the Sobel magnitude of the mean of the colors, (N, H, W)."""
    kernels = torch.stack(
        [torch.tensor(ef.get_kernel(name).weight).to(images) for name in ("sobel_x", "sobel_y")]
    )
    gray = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return F.conv2d(gray, kernels[:, None]).norm(dim=1)


def randomisation_metrics(before: Tensor, after: Tensor, images: Tensor) -> dict[str, float]:
    """Compare maps (N, H, W) with those of the redrawn network, and with the image's own edges."""
    edges = steepness(images)
    return {
        "redrawn_signed": mean(spearman(before, after)),
        "redrawn_abs": mean(spearman(before.abs(), after.abs())),
        "sobel_signed": mean(spearman(before, edges)),
        "sobel_abs": mean(spearman(before.abs(), edges)),
    }


def mean(values: Tensor | Sequence[float]) -> float:
    """Return the mean as a number."""
    return float(torch.as_tensor(values).double().mean())
