"""The nearest boundary of a linear region: which unit switches first, how far away and where."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .piecewise import PiecewiseModel, Site, rounding, value_and_slope
from .region import Unit

__all__ = ["Nearest", "nearest_unit"]


class Nearest(NamedTuple):
    """The nearest boundary of one image's region."""

    radius: Tensor
    unit: Unit | None
    point: Tensor
    n_units: int


class _Norms:
    """The values of all units at an image, and the squares of their gradients, summed direction by direction."""

    def __init__(self) -> None:
        self.sites: dict[int, Site] = {}
        self.shapes: dict[int, torch.Size] = {}
        self.values: dict[int, Tensor] = {}
        self.squares: dict[int, Tensor] = {}
        self.count = 1

    def take(self, place: int, site: Site, values: Tensor) -> None:
        """Add what some directions have to a function's units."""
        value, slope = value_and_slope(values, self.count)
        if slope is None:
            return
        if place not in self.sites:
            self.sites[place], self.values[place] = site, value[0].clone()
            self.shapes[place] = torch.Size((len(values) // self.count, *values.shape[1:]))
            self.squares[place] = torch.zeros_like(value[0])
        self.squares[place] += slope.square().sum(0)

    def distances(self, place: int) -> Tensor:
        """Return the distance to where each unit of a function switches; infinite where none of the image's pixels moves it."""
        norms = self.squares[place].sqrt()
        moved = norms > rounding(norms[None])[0]
        found = torch.where(moved, self.values[place].abs() / norms, math.inf)
        return found.nan_to_num(math.inf, math.inf, math.inf)


def nearest_unit(model: PiecewiseModel, image: Tensor, extra: tuple[Any, ...], size: int) -> Nearest:
    """Find the nearest boundary of the region that an image lies in.

    Parameters
    ----------
    model : PiecewiseModel
    image : Tensor, shape (1, C, H, W)
    extra : tuple
    size : int
        How many directions to take at a time.
    """
    norms = _Norms()
    for start in range(0, image.numel(), size):
        norms.count = min(size, image.numel() - start)
        directions = image.new_zeros(norms.count, image.numel())
        directions[range(norms.count), range(start, start + norms.count)] = 1
        several = image.expand(norms.count, *image.shape[1:])
        model.along(several, directions.reshape(several.shape), _repeated(extra, norms.count), norms.take)
    best: tuple[float, int, int] | None = None
    for place in norms.sites:
        found = norms.distances(place)
        if found.numel() and (best is None or float(found.min()) < best[0]):
            best = float(found.min()), place, int(found.argmin())
    n_units = sum(value.numel() for value in norms.values.values())
    if best is None or best[0] == math.inf:
        return Nearest(image.new_tensor(math.inf), None, torch.full_like(image, math.nan), n_units)
    _, place, flat = best
    value, normal = _gradient(model, image, extra, place, flat)
    square = normal.square().sum()
    site, index = norms.sites[place], torch.unravel_index(torch.tensor(flat), norms.shapes[place])
    numbers = tuple(int(part) for part in index)
    unit = Unit(
        site.module, site.function, numbers[1:] if norms.shapes[place][0] == 1 else numbers, site.level
    )
    return Nearest(value.abs() / square.sqrt(), unit, image - value * normal / square, n_units)


def _gradient(
    model: PiecewiseModel, image: Tensor, extra: tuple[Any, ...], place: int, flat: int
) -> tuple[Tensor, Tensor]:
    """Return one unit's value and its gradient at the image."""
    kept: list[Tensor] = []

    def take(at: int, _site: Site, values: Tensor) -> None:
        if at == place:
            kept.append(values.reshape(-1)[flat])

    leaf = model.traced(image, extra, take)
    (gradient,) = torch.autograd.grad(kept[0], leaf)
    return kept[0].detach(), gradient


def _repeated(extra: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    return tuple(
        part.expand(count, *part.shape[1:])
        if isinstance(part, Tensor) and part.dim() and len(part) == 1
        else part
        for part in extra
    )
