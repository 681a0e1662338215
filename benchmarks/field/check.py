"""What the protocol is cut down by, measured: fewer steps than published, fewer fills; and another library's areas."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from .asking import asked, maps
from .curves import KERNEL, SIGMA, areas, ordered
from .measuring import perturbed
from .networks import Case, case
from .tables import Estimate, estimate, markdown

PUBLISHED_STEPS, PUBLISHED_FILLS = 224, 50
STEPS, FILLS = (28, 56), (5, 10)
METHODS = ("edgefilter_relevance", "integrated_gradients", "grad_cam")  # detailed, noisy and coarse maps
FILLED = "fruits"  # network for the fills: 1950 passes for each map


def check(data: Path, images: int) -> str:
    """Return a table: the mean difference from the published number of steps or fills, and the largest."""
    torch.set_num_threads(1)
    photos, others = case("photos", data, images), case(FILLED, data, images)
    rows = []
    for name in METHODS:
        for line in (*rows_of_steps(name, photos), *rows_of_fills(name, others)):
            print(*line, sep=" | ", flush=True)
            rows.append(line)
    heads = ["method", "measure", "instead of", "published", "mean difference", "largest"]
    worst = max(against_torchcam(photos, name) for name in METHODS)
    said = (
        f"Deletion and insertion: {images} photos, {PUBLISHED_STEPS} steps of {PUBLISHED_STEPS} pixels published. AUPC: {images} images "
        f"of {FILLED}, {PUBLISHED_FILLS} fills published. Areas by torchcam's `DeletionInsertionMetric` with {STEPS[0]} steps differ "
        f"from ours by {worst:.0e} at most."
    )
    return f"{markdown(heads, rows)}\n\n{said}"


def rows_of_steps(name: str, loaded: Case) -> Iterator[list[str]]:
    """Yield how a method's areas change with the steps."""
    scores = [maps_of(name, loaded, number) for number in range(len(loaded.images))]
    measured = {
        steps: [by_steps(loaded, number, one, steps) for number, one in enumerate(scores)]
        for steps in (*STEPS, PUBLISHED_STEPS)
    }
    for place, measure in enumerate(("deletion", "insertion")):
        full = [both[place] for both in measured[PUBLISHED_STEPS]]
        for steps in STEPS:
            yield row(name, measure, f"{steps} steps", full, [both[place] for both in measured[steps]])


def rows_of_fills(name: str, loaded: Case) -> Iterator[list[str]]:
    """Yield how a method's AUPC changes with the fills."""
    scores = [maps_of(name, loaded, number) for number in range(len(loaded.images))]
    found = {
        fills: [perturbed(loaded, number, one, fills) for number, one in enumerate(scores)]
        for fills in (*FILLS, PUBLISHED_FILLS)
    }
    for fills in FILLS:
        yield row(name, "AUPC", f"{fills} fills", found[PUBLISHED_FILLS], found[fills])


def row(name: str, measure: str, what: str, full: list[float], less: list[float]) -> list[str]:
    """Return a row."""
    off = [b - a for a, b in zip(full, less, strict=True)]
    return [name, measure, what, *map(shown, (estimate(full), estimate(off))), f"{max(map(abs, off)):.3f}"]


def shown(value: Estimate) -> str:
    """Return a mean and half of its interval."""
    return f"{value.mean:.3f} \N{PLUS-MINUS SIGN} {value.half:.3f}"


def maps_of(name: str, loaded: Case, number: int) -> Tensor:
    """Return the map of one image, (H, W)."""
    some = slice(number, number + 1)
    return maps(asked()[name], loaded.model, loaded.score, loaded.images[some], loaded.targets[some])[0]


def by_steps(loaded: Case, number: int, scores: Tensor, steps: int) -> Any:
    """Return both areas."""
    return areas(
        loaded.score, loaded.images[number, None], int(loaded.targets[number]), ordered(scores), steps
    )


def against_torchcam(loaded: Case, name: str, images: int = 2) -> float:
    """Return how far our areas are from torchcam's, for some images."""
    from torchcam.metrics import DeletionInsertionMetric

    blur = partial(gaussian_blur, kernel_size=[KERNEL, KERNEL], sigma=[SIGMA, SIGMA])
    worst = 0.0
    for number in range(images):
        scores = maps_of(name, loaded, number)
        found = []
        for baseline in (None, blur):
            metric = DeletionInsertionMetric(
                _Given(loaded.model, scores), partial(torch.softmax, dim=1), steps=STEPS[0], baseline=baseline
            )
            metric.update(loaded.images[number, None], int(loaded.targets[number]))
            found.append(metric.summary())
        ours = by_steps(loaded, number, scores, STEPS[0])
        theirs = (found[0]["deletion_auc"], found[1]["insertion_auc"])
        worst = max(worst, *(abs(a - b) for a, b in zip(ours[:2], theirs, strict=True)))
    return worst


class _Given:
    """A map in the form that torchcam's metrics take."""

    def __init__(self, model: Any, scores: Tensor) -> None:
        self.model, self.scores = model, scores

    def __call__(self, *_: Any, **__: Any) -> list[Tensor]:
        return [self.scores[None]]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()
