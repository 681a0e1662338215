"""Insertion and deletion of pixels, as the authors of RISE define them: the area under the probability of a class.

Pixels go in the order of a map, from the highest score to the lowest. Deletion sets them to zero, in the units of the
preprocessed image; insertion puts them back into a blurred image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

KERNEL, SIGMA = 11, 5.0  # of the blur, in pixels, as published
BATCH = 16  # images in a pass: the fastest on one core of 4, 8, 16 and 32

Score = Callable[[Tensor], Tensor]  # images (N, C, H, W) to logits (N, classes)


class Areas(NamedTuple):
    """Areas under both curves, divided by their width, and the probabilities at their ends: in [0, 1]."""

    deletion: float
    insertion: float
    plain: float
    blurred: float
    zero: float


def areas(score: Score, image: Tensor, target: int, order: Tensor, steps: int) -> Areas:
    """Return both areas of one image (1, C, H, W) for an order of its pixels (H * W)."""
    zero, blurred = torch.zeros_like(image), gaussian_blur(image, [KERNEL, KERNEL], [SIGMA, SIGMA])
    deleted = curve(score, image, zero, target, order, steps)
    inserted = curve(score, blurred, image, target, order, steps)
    ends = (float(value) for value in (deleted[0], inserted[0], deleted[-1]))
    return Areas(area(deleted), area(inserted), *ends)


def curve(score: Score, first: Tensor, last: Tensor, target: int, order: Tensor, steps: int) -> Tensor:
    """Return the probability of the target while the pixels of one image are replaced by those of another, (steps + 1)."""
    pixels = order.numel()
    counts = torch.linspace(0, pixels, steps + 1).round().long()
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(pixels))
    found = []
    for some in counts.split(BATCH):
        replaced = (rank < some[:, None]).view(-1, 1, *first.shape[2:])
        with torch.no_grad():
            found.append(score(torch.where(replaced, last, first)).softmax(1)[:, target])
    return torch.cat(found)


def area(values: Tensor) -> float:
    """Return the area under a curve over [0, 1], by trapezoids."""
    return float(torch.trapezoid(values.double()) / (len(values) - 1))


def ordered(scores: Tensor) -> Tensor:
    """Return the places of a map (H, W) from the highest score to the lowest; ties keep the order of the pixels."""
    return scores.flatten().argsort(descending=True, stable=True)
