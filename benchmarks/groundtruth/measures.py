"""How far scores agree with a reference, and with what is known about the images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

import edgefilter as ef

from .data import ORIENTATIONS, Samples

NAMED = 0.95  # of the images: where the reference names the label's orientation so often, the filter is known


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Return the rank correlation of each row; zero where a row is constant."""
    ranks = [rankdata(np.asarray(rows.detach().double().flatten(1)), axis=1) for rows in (first, second)]
    a, b = (torch.from_numpy(r - r.mean(1, keepdims=True)) for r in ranks)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Return the correlation of each row; zero where a row is constant."""
    a, b = (rows.double() - rows.double().mean(1, keepdim=True) for rows in (first, second))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-300)


def relative_error(scores: Tensor, wanted: Tensor) -> Tensor:
    """Return the sum of the sizes of the differences, as a share of the sum of the sizes, for each row."""
    return (scores - wanted).abs().sum(1) / wanted.abs().sum(1).clamp(min=1e-300)


def orientations(bank: ef.FilterBank) -> Tensor:
    """Return the direction of each kernel's gradient in steps of 45 degrees; both polarities share one."""
    weights = torch.tensor(bank.weight)
    place = torch.arange(weights.shape[-1]) - (weights.shape[-1] - 1) / 2
    angles = [math.atan2((w * place[:, None]).sum(), (w * place).sum()) for w in weights]
    return torch.tensor([round(angle / (math.pi / ORIENTATIONS)) % ORIENTATIONS for angle in angles])


# --- known answers --------------------------------------------------------------------------------------------


def color_metrics(color: Tensor, relevant: int) -> dict[str, float]:
    """Return how often one color has the highest score, and its mean share of the positive scores."""
    positive = color.clamp(min=0)
    share = positive[:, relevant] / positive.sum(1).clamp(min=1e-12)
    return {"color_hit": mean(color.argmax(1) == relevant), "color_mass": mean(share)}


def agreement(scores: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """Return the correlation, the rank correlation and the relative error of scores, a value for each image."""
    return {
        "pearson": pearson(scores, wanted),
        "rank": spearman(scores, wanted),
        "error": relative_error(scores, wanted),
    }


def by_orientation(edge: Tensor, directions: Tensor) -> Tensor:
    """Sum filter scores over the polarities: (N, K) to (N, orientations)."""
    return torch.stack([edge[:, directions == step].sum(1) for step in range(ORIENTATIONS)], 1)


def filter_gate(shapley: Tensor, labels: Tensor, directions: Tensor) -> float:
    """Return in which share of the images the label's orientation has the largest Shapley value."""
    return mean(by_orientation(shapley, directions).argmax(1) == labels)


def filter_metrics(edge: Tensor, parts: Tensor, color: int, directions: Tensor) -> dict[str, float]:
    """Return how often the label's orientation has the highest score, and a higher one than a distractor's."""
    oriented, labels = by_orientation(edge, directions), parts[:, color]
    label = oriented.gather(1, labels[:, None])[:, 0]
    wins = []
    for other in (parts[:, c] for c in range(parts.shape[1]) if c != color):
        beaten = label > oriented.gather(1, other[:, None])[:, 0]
        wins.append(beaten[other != labels])
    return {"filter_hit": mean(oriented.argmax(1) == labels), "filter_disc": mean(torch.cat(wins))}


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
