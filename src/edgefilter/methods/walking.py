"""Walk from linear region to linear region along a straight line, until the predicted class changes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .piecewise import PiecewiseModel, Site, value_and_slope
from .region import Walk

__all__ = ["first_crossing", "of_some", "walked"]


def first_crossing(
    model: PiecewiseModel, points: Tensor, directions: Tensor, extra: tuple[Any, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, its slope, both (N, K), and how far ahead the first unit switches, (N,): infinite if none does."""
    count = len(points)
    ahead = points.new_full((count,), math.inf)

    def take(_place: int, _site: Site, values: Tensor) -> None:
        value, slope = value_and_slope(values, count)
        if slope is not None and slope.shape[1]:
            steps = -value / slope
            steps = torch.where((steps >= 0) & (slope != 0), steps, math.inf)
            torch.minimum(ahead, steps.amin(1), out=ahead)

    output, slope = model.along(points, directions, extra, take)
    return output, slope, ahead


def walked(
    model: PiecewiseModel,
    images: Tensor,
    directions: Tensor,
    target: Tensor,
    extra: tuple[Any, ...],
    max_distance: float,
    max_regions: int,
) -> Walk:
    """Walk from each image along its direction, of length 1, until the largest output is another than the target."""
    way = _Way(images, directions, target)
    while len(active := way.active.nonzero()[:, 0]):
        points = way.points()[active]
        output, slope, ahead = first_crossing(
            model, points, directions[active], of_some(extra, active, len(images))
        )
        way.step(active, output, slope, ahead, max_distance, max_regions)
    return way.walk()


class _Way:
    """How far each image has come.

    A crossing is passed by a nudge of the size of rounding errors. If that was too little, the same unit is met again right ahead: the
    nudge is doubled, and the crossing is not counted again.
    """

    def __init__(self, images: Tensor, directions: Tensor, target: Tensor) -> None:
        count = len(images)
        self.images, self.directions, self.target = images, directions, target
        self.come = images.new_zeros(count)
        self.active = torch.ones(count, dtype=torch.bool, device=images.device)
        self.found = torch.zeros_like(self.active)
        self.reached = torch.full_like(target, -1)
        self.regions = torch.ones_like(target)
        self._least = torch.finfo(images.dtype).eps * images.flatten(1).norm(dim=1).clamp(min=1)
        self._nudge = self._least.clone()

    def points(self) -> Tensor:
        """Return where the images are now."""
        return self.images + self.come[:, None, None, None] * self.directions

    def step(
        self,
        some: Tensor,
        output: Tensor,
        slope: Tensor,
        ahead: Tensor,
        max_distance: float,
        max_regions: int,
    ) -> None:
        """Go on to the class boundary, if it lies in the region, or else into the next region."""
        change, other = _class_change(output, slope, self.target[some])
        limit = max_distance - self.come[some]
        is_found = (change <= ahead) & (change <= limit)
        counts = ahead > self._nudge[some]
        is_over = ~is_found & (
            (ahead > limit) | ahead.isinf() | (counts & (self.regions[some] >= max_regions))
        )
        nudge = torch.where(counts, self._least[some], 2 * self._nudge[some])
        stride = torch.where(is_found, change, ahead + nudge)
        self.come[some] += torch.where(
            is_over, torch.minimum(ahead, limit.clamp(min=0)).nan_to_num(posinf=0), stride
        )
        self._nudge[some] = nudge
        self.regions[some] += (counts & ~is_found & ~is_over).to(self.regions)
        self.found[some] = is_found
        self.reached[some] = torch.where(is_found, other, -1)
        self.active[some] = ~(is_found | is_over)

    def walk(self) -> Walk:
        """Return what was found."""
        return Walk(
            direction=self.directions,
            target=self.target,
            found=self.found,
            distance=torch.where(self.found, self.come, math.inf),
            point=self.points(),
            reached=self.reached,
            regions=self.regions,
        )


def _class_change(output: Tensor, slope: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far ahead another output becomes the largest, and which: 0 if one is, infinite if none does."""
    own = target[:, None]
    gap, closing = output.gather(1, own) - output, slope - slope.gather(1, own)
    steps = torch.where(closing > 0, gap.clamp(min=0) / closing, math.inf)
    steps = steps.masked_fill(gap < 0, 0).scatter(1, own, math.inf)
    ahead, other = steps.min(1)
    is_passed = (gap < 0).any(1)
    return ahead, torch.where(is_passed, output.argmax(1), other)


def of_some(extra: tuple[Any, ...], some: Tensor, count: int) -> tuple[Any, ...]:
    """Return further arguments, those that have a row for each image with the rows of some."""
    return tuple(
        part[some] if isinstance(part, Tensor) and part.dim() and len(part) == count else part
        for part in extra
    )
