"""The nearest boundary of a linear region: which unit switches first, how far away and where."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from edgefilter.attribution.arguments import piece_of

from .piecewise import PiecewiseModel
from .region import Unit
from .straight import Site

__all__ = ["Nearest", "nearest_units"]


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
        self.values: dict[int, Tensor] = {}
        self.squares: dict[int, Tensor] = {}

    def take(self, place: int, site: Site, values: Tensor, slopes: Tensor) -> None:
        """Add what some directions have to a function's units."""
        if place not in self.sites:
            self.sites[place], self.values[place] = site, values[0].clone()
            self.squares[place] = torch.zeros_like(values[0])
        self.squares[place] += slopes.square().sum(0)

    def distances(self, place: int) -> Tensor:
        """Return the distance to where each unit of a function switches; infinite where no pixel moves it."""
        squares = self.squares[place]
        return torch.where(squares > 0, self.values[place].abs() / squares.sqrt(), math.inf)


def nearest_units(
    model: PiecewiseModel, image: Tensor, extra: tuple[Any, ...], size: int, *, show_progress: bool = False
) -> list[Nearest]:
    """Find the nearest boundary of each image's region; ``size`` says how many directions to take at a time."""
    count = len(image)
    with tqdm(total=image.numel(), desc="LinearRegion radius", disable=not show_progress) as bar:
        return [
            _nearest_unit(model, image[n : n + 1], piece_of(extra, slice(n, n + 1), count), size, bar)
            for n in range(count)
        ]


def _nearest_unit(
    model: PiecewiseModel, image: Tensor, extra: tuple[Any, ...], size: int, bar: tqdm[Any]
) -> Nearest:
    """Find the nearest boundary of the region that an image lies in.

    Parameters
    ----------
    model : PiecewiseModel
    image : Tensor, shape (1, C, H, W)
    extra : tuple
    size : int
        How many directions to take at a time.
    bar : tqdm
        Moves by one for each direction.
    """
    norms, pixels = _Norms(), image.numel()
    for start in range(0, pixels, size):
        count = min(size, pixels - start)
        directions = image.new_zeros(count, pixels)
        directions[range(count), range(start, start + count)] = 1
        owners = torch.zeros(count, dtype=torch.int64, device=image.device)
        model.along(
            image,
            directions.reshape(count, *image.shape[1:]),
            owners,
            _repeated(extra, count + 1),
            norms.take,
        )
        bar.update(count)
    n_units = sum(value.numel() for value in norms.values.values())
    best = min(
        (
            (float(found.min()), place, int(found.argmin()))
            for place in norms.sites
            if (found := norms.distances(place)).numel()
        ),
        default=(math.inf, 0, 0),
    )
    if best[0] == math.inf:
        return Nearest(image.new_tensor(math.inf), None, torch.full_like(image, math.nan), n_units)
    _, place, flat = best
    value, normal = _gradient(model, image, extra, place, flat)
    square = normal.square().sum()
    site = norms.sites[place]
    index = tuple(int(part) for part in torch.unravel_index(torch.tensor(flat), site.shape))
    unit = Unit(site.module, site.function, index, site.level)
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
