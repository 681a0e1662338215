"""Run a model with its units kept as they are at some images: the affine maps there, at any distance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from edgefilter.errors import UnsupportedModelError
from edgefilter.lrp.values import replaced
from edgefilter.stems.reading import RunningModules, tensors_in

from .unit_functions import UNITS, Meeting

__all__ = ["Rows", "Site", "Straight", "Take", "TakeSlopes"]


class Site(NamedTuple):
    """One call of a piece-wise linear function, at one of the levels where its pieces meet."""

    module: str
    function: str
    level: float | None
    shape: tuple[int, ...]
    is_maximum: bool


Take = Callable[[int, Site, Tensor], None]
TakeSlopes = Callable[[int, Site, Tensor, Tensor], None]


class Rows:
    """The rows of a batch: first images, then points whose units are those of an image.

    Parameters
    ----------
    images : int
    owners : Tensor, shape (M,), optional
        The image of each point.
    """

    def __init__(self, images: int, owners: Tensor | None = None) -> None:
        self.images = images
        self.owners = torch.zeros(0, dtype=torch.int64) if owners is None else owners
        self.count = images + len(self.owners)

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images' values and those of the points; each row may hold several along the first axis."""
        if len(values) % self.count:
            raise UnsupportedModelError(
                f"model must keep images along the first axis; got a unit's argument of shape {tuple(values.shape)} for {self.count} "
                "images."
            )
        by_row = values.reshape(self.count, len(values) // self.count, *values.shape[1:])
        return by_row[: self.images], by_row[self.images :]

    def joined(self, images: Tensor, points: Tensor) -> Tensor:
        """Put together what :meth:`split` takes apart."""
        return torch.cat([images, points]).flatten(0, 1)

    def value_and_slope(self, values: Tensor, length: Tensor, *, is_maximum: bool) -> tuple[Tensor, Tensor]:
        """Return the units' values at the images and their slopes to the points, (N, units) and (M, units).

        A slope of the size of rounding errors is zero: 16 units of precision of the largest value there.
        """
        images, points = (part.flatten(1) for part in self.split(values))
        own = images[self.owners]
        change = points - own
        if not own.shape[1]:
            return images, change
        if is_maximum:  # some places have nothing to meet
            change, own = change.nan_to_num(0, 0, 0), own.nan_to_num(0, 0, 0)
        sizes = torch.maximum(own.abs().amax(1, keepdim=True), change.abs().amax(1, keepdim=True))
        noise = 16 * torch.finfo(values.dtype).eps * sizes
        return images, change.masked_fill(change.abs() <= noise, 0) / length[:, None]


class Straight(TorchFunctionMode):
    """Keep all units of a model as they are at the images, and hand their values to ``take``.

    Parameters
    ----------
    modules : RunningModules
    signals : list of bool
        Of each call of a unit's function, whether the image has a part in it.
    rows : Rows
    take : callable
        Gets the place, the site and the values, zero where the unit switches; of maxima, how far each value is below the one that is
        the largest at the image.
    """

    def __init__(self, modules: RunningModules, signals: list[bool], rows: Rows, take: Take) -> None:
        super().__init__()
        self._modules, self._rows, self._take = modules, rows, take
        self._signals = iter(signals)
        self._place = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in UNITS or not next(self._signals):
            return func(*args, **kwargs)
        names, handler = UNITS[func]
        meetings = list(handler(dict(zip(names, args, strict=False)) | kwargs))
        result = None
        for meeting in meetings:
            values = meeting.values
            if meeting.is_maximum:
                largest, values = self._compared(values)
                result = largest
            self._taken(func, meeting, values)
        if not len(self._rows.owners):
            return func(*args, **kwargs)
        if result is None:
            return self._piece(func, args, kwargs)
        return self._selected(func, args, kwargs, result)

    def _taken(self, func: Any, meeting: Meeting, values: Tensor) -> None:
        lead = len(values) // self._rows.count
        shape = tuple(values.shape[1:]) if lead == 1 else (lead, *values.shape[1:])
        name = str(getattr(func, "__name__", func)).strip("_")
        self._take(
            self._place, Site(self._modules.name, name, meeting.level, shape, meeting.is_maximum), values
        )
        self._place += 1

    def _compared(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values that are largest at the images, and how far the others are below them."""
        images, points = self._rows.split(values)
        place = images.detach().argmax(-1, keepdim=True)
        place = torch.cat([place, place[self._rows.owners]])
        by_row = torch.cat([images, points])
        largest = by_row.gather(-1, place)
        itself = torch.arange(values.shape[-1], device=values.device) == place
        below = (largest - by_row).masked_fill(itself, math.inf)
        return largest.squeeze(-1).flatten(0, 1), below.flatten(0, 1)

    def _piece(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Return the piece of a function of single numbers that the images are on."""
        signal: Tensor = args[0] if args else kwargs["input"]
        given = [
            one for one in tensors_in((args, kwargs)) if one.dim() == signal.dim() and len(one) == len(signal)
        ]
        shape = signal.shape if len(given) == 1 else torch.broadcast_shapes(*(one.shape for one in given))  # type: ignore[no-untyped-call]
        signals = {id(one): self._rows.split(one.expand(shape)) for one in given}
        with torch.enable_grad():
            leaves = {
                key: images.flatten(0, 1).detach().clone().requires_grad_()
                for key, (images, _) in signals.items()
            }

            def of_images(one: Tensor) -> Tensor:
                return leaves[id(one)].clone() if id(one) in leaves else one

            value = func(*replaced(args, of_images), **replaced(kwargs, of_images))
            slopes = torch.autograd.grad(value.sum(), list(leaves.values()))
        first, _ = signals[id(signal)]
        value = value.detach().reshape_as(first)
        ahead = value[self._rows.owners]
        for (images, points), slope in zip(signals.values(), slopes, strict=True):
            ahead = ahead + slope.reshape_as(first)[self._rows.owners] * (points - images[self._rows.owners])
        result = self._rows.joined(value, ahead)
        name = str(getattr(func, "__name__", ""))
        if kwargs.get("inplace") or (name.endswith("_") and not name.endswith("__")):
            return signal.copy_(result)
        return result

    def _selected(self, func: Any, args: Any, kwargs: Any, largest: Tensor) -> Any:
        """Return the values that are the largest, or smallest, at the images, in the form in which the function returns them."""
        found = func(*args, **kwargs)
        sign = -1 if "min" in str(getattr(func, "__name__", "")) else 1
        if isinstance(found, Tensor):
            return sign * largest.reshape(found.shape)
        places, _ = self._rows.split(found[1])
        places = self._rows.joined(places, places[self._rows.owners])
        return type(found)((sign * largest.reshape(found[0].shape), places))
