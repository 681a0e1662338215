"""Walk from linear region to linear region along a straight line, until the predicted class changes."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from edgefilter._checks import is_number
from edgefilter.attribution.arguments import piece_of

from .arguments import of_each
from .piecewise import PiecewiseModel
from .region import Walk
from .straight import Site

__all__ = ["checked_distance", "first_crossing", "of_length_one", "walked"]


# Units of rounding by which a crossing may be passed. On the shipped network for digits 32 are enough in float64, where they find the way; in
# float32 a digit without noise has boundaries closer than that, and steps without a limit would leap over them.
MOST_NUDGED = 1024


class Ahead(NamedTuple):
    """What is ahead of each image along its direction, inside its region.

    Attributes
    ----------
    output, slope : Tensor, shape (N, K)
    distance : Tensor, shape (N,)
        To where the first unit switches; infinite if none does.
    unit : Tensor, shape (N,)
        The number of that unit.
    """

    output: Tensor
    slope: Tensor
    distance: Tensor
    unit: Tensor


def first_crossing(
    model: PiecewiseModel, points: Tensor, directions: Tensor, extra: tuple[Any, ...]
) -> Ahead:
    """Return what is ahead of some points."""
    count = len(points)
    distance = points.new_full((count,), math.inf)
    unit = torch.full((count,), -1, device=points.device)
    before = 0

    def take(_place: int, _site: Site, values: Tensor, slopes: Tensor) -> None:
        nonlocal before
        if values.shape[1]:
            steps = -values / slopes
            steps = torch.where((steps >= 0) & (slopes != 0), steps, math.inf)
            least, place = steps.min(1)
            torch.where(least < distance, place + before, unit, out=unit)
            torch.minimum(distance, least, out=distance)
        before += values.shape[1]

    doubled = tuple(
        torch.cat([part, part]) if isinstance(part, Tensor) and part.dim() and len(part) == count else part
        for part in extra
    )
    owners = torch.arange(count, device=points.device)
    output, slope = model.along(points, directions, owners, doubled, take)
    return Ahead(output, slope, distance, unit)


def walked(
    model: PiecewiseModel,
    images: Tensor,
    directions: Tensor,
    target: Tensor,
    extra: tuple[Any, ...],
    max_distance: float,
    max_regions: int,
    *,
    show_progress: bool = False,
) -> Walk:
    """Walk from each image along its direction, of length 1, until the largest output is another than the target."""
    way = _Way(images, directions, target)
    with tqdm(desc="LinearRegion regions", disable=not show_progress) as bar:
        while len(active := way.active.nonzero()[:, 0]):
            points = way.points()[active]
            ahead = first_crossing(model, points, directions[active], piece_of(extra, active, len(images)))
            way.step(active, ahead, max_distance, max_regions)
            bar.update(len(active))
    _warn_of_stuck(way, images.dtype)
    return way.walk()


def _warn_of_stuck(way: _Way, dtype: torch.dtype) -> None:
    if bool(way.stuck.any()):
        places = ", ".join(map(str, way.stuck.nonzero()[:6, 0].tolist()))
        advice = (
            "Move the image a little."
            if dtype == torch.float64
            else "Pass model.double() and inputs.double()."
        )
        warnings.warn(
            f"boundaries must be further apart than rounding errors to be walked through; got closer ones in {dtype} on the way of image "
            f"{places}, which ends there, not found. {advice}",
            UserWarning,
            stacklevel=5,
        )


class _Way:
    """How far each image has come.

    A crossing is passed by a nudge of the size of rounding errors. If that was too little, the same unit is met again, which nothing else
    explains: the nudge is doubled, and the crossing is not counted again. The way ends where that does not help.
    """

    def __init__(self, images: Tensor, directions: Tensor, target: Tensor) -> None:
        count = len(images)
        self.images, self.directions, self.target = images, directions, target
        self.come = images.new_zeros(count)
        self.active = torch.ones(count, dtype=torch.bool, device=images.device)
        self.found = torch.zeros_like(self.active)
        self.reached = torch.full_like(target, -1)
        self.regions = torch.ones_like(target)
        self.stuck = torch.zeros_like(self.active)
        self._sizes = images.flatten(1).norm(dim=1).clamp(min=1)
        self._last = torch.full_like(target, -1)
        self._nudge = torch.finfo(images.dtype).eps * self._sizes

    def points(self) -> Tensor:
        """Return where the images are now."""
        return self.images + of_each(self.come, self.images) * self.directions

    def step(self, some: Tensor, ahead: Ahead, max_distance: float, max_regions: int) -> None:
        """Go on to the class boundary, if it lies in the region, or else into the next region."""
        change, other = _class_change(ahead, self.target[some])
        limit = max_distance - self.come[some]
        # logits that meet where the region ends may part again behind it
        is_found = (change < ahead.distance - self._nudge[some]) | (change == 0)
        is_found &= change <= limit
        is_new = (ahead.distance > self._nudge[some]) & (ahead.unit != self._last[some])
        is_over = ahead.distance.isinf() | (ahead.distance > limit)
        is_over = ~is_found & (is_over | (is_new & (self.regions[some] >= max_regions)))
        size = torch.maximum(self._sizes[some], self.come[some])
        least = torch.finfo(size.dtype).eps * size
        nudge = torch.where(is_new, least, 2 * self._nudge[some])
        is_stuck = ~(is_found | is_over) & (nudge > MOST_NUDGED * least)
        goes_on = ~(is_found | is_over | is_stuck)
        rest = torch.minimum(ahead.distance, limit).nan_to_num(posinf=0)
        self.come[some] += torch.where(goes_on, ahead.distance + nudge, torch.where(is_found, change, rest))
        self._nudge[some], self._last[some] = nudge, ahead.unit
        self.regions[some] += (is_new & goes_on).to(self.regions)
        self.found[some] = is_found
        self.stuck[some] = is_stuck
        self.reached[some] = torch.where(is_found, other, -1)
        self.active[some] = goes_on

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


def _class_change(at: Ahead, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far ahead another output becomes the largest, and which: 0 if one is, infinite if none does."""
    own = target[:, None]
    gap, closing = at.output.gather(1, own) - at.output, at.slope - at.slope.gather(1, own)
    even, still = _noise(at.output), _noise(at.slope)
    steps = torch.where(closing > still, gap.clamp(min=0) / closing, math.inf)
    steps = steps.masked_fill(gap < -even, 0).scatter(1, own, math.inf)
    ahead, other = steps.min(1)
    return ahead, torch.where((gap < -even).any(1), at.output.argmax(1), other)


def _noise(values: Tensor) -> Tensor:
    """Return what is not told from zero among the outputs of each image: 16 units of precision of the largest."""
    return 16 * torch.finfo(values.dtype).eps * values.abs().amax(1, keepdim=True)


def of_length_one(direction: Any, image: Tensor) -> Tensor:
    """Return a direction for each image, of length 1."""
    if not isinstance(direction, Tensor):
        raise TypeError(
            f"direction must be a Tensor; got {type(direction).__name__}. Pass one shaped as the inputs."
        )
    try:
        several = direction.detach().to(image).expand(image.shape)
    except RuntimeError as cause:
        raise ValueError(
            f"direction must expand to the shape of the inputs, {tuple(image.shape)}; got {tuple(direction.shape)}. Pass one "
            "shaped as they are."
        ) from cause
    lengths = several.flatten(1).norm(dim=1)
    if not bool((lengths.isfinite() & (lengths > 0)).all()):
        worst = int((~(lengths.isfinite() & (lengths > 0))).nonzero()[0])
        raise ValueError(
            f"direction must have a length above zero; got {float(lengths[worst])} for image {worst}. Pass another direction."
        )
    unit: Tensor = several / of_each(lengths, several)
    return unit


def checked_distance(value: Any) -> float:
    """Return how far to walk at most."""
    if value is None:
        return math.inf
    if not is_number(value) or not value > 0:
        raise ValueError(
            f"max_distance must be a number above 0, or None; got {value!r}. Pass for example max_distance=1.0."
        )
    return float(value)
