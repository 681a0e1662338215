"""Piece-wise linear functions, and where their pieces meet: the values that are zero there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edgefilter.errors import UnsupportedModelError
from edgefilter.lrp.functions.table import methods

__all__ = ["UNITS", "Meeting"]

MAXIMA = ("max_pool1d", "max_pool2d", "max_pool3d")


class Meeting(NamedTuple):
    """Where two pieces of a function meet.

    Attributes
    ----------
    values : Tensor, shape (rows, ...)
        Zero where they meet, with one sign on each side. For maxima: what is compared, along the last axis; minus infinity stands for
        places outside a window.
    level : float or None
        The argument at which they meet; None where arguments are compared with each other.
    is_maximum : bool
    """

    values: Tensor
    level: float | None = None
    is_maximum: bool = False


Handler = Callable[[dict[str, Any]], Iterator[Meeting]]

# By function: the names of its arguments in their order, and what yields its meetings.
UNITS: dict[Callable[..., Any], tuple[tuple[str, ...], Handler]] = {}


def _meets(*names: str, given: Sequence[str] = ("input",)) -> Callable[[Handler], Handler]:
    """Put a handler into the table for the functions and methods of these names, in-place ones included."""

    def register(handler: Handler) -> Handler:
        for function in methods(*names, *(f"{name}_" for name in names)):
            UNITS[function] = tuple(given), handler
        return handler

    return register


def _at(signal: Tensor, *levels: Any) -> Iterator[Meeting]:
    for level in levels:
        if level is not None:
            yield Meeting(signal - level, None if isinstance(level, Tensor) else float(level))


@_meets("relu", "leaky_relu", "prelu", "abs", "absolute", "__abs__")
def _zero(given: dict[str, Any]) -> Iterator[Meeting]:
    yield from _at(given["input"], 0.0)


@_meets("rrelu", given=("input", "lower", "upper", "training"))
def _zero_if_fixed(given: dict[str, Any]) -> Iterator[Meeting]:
    if given.get("training"):
        raise UnsupportedModelError(
            "model must give the same output at each call; got rrelu in training mode. Call model.eval() first."
        )
    yield from _at(given["input"], 0.0)


@_meets("relu6")
def _zero_and_six(given: dict[str, Any]) -> Iterator[Meeting]:
    yield from _at(given["input"], 0.0, 6.0)


@_meets("hardsigmoid")
def _three(given: dict[str, Any]) -> Iterator[Meeting]:
    yield from _at(given["input"], -3.0, 3.0)


@_meets("hardtanh", given=("input", "min_val", "max_val"))
def _bounds(given: dict[str, Any]) -> Iterator[Meeting]:
    yield from _at(given["input"], given.get("min_val", -1.0), given.get("max_val", 1.0))


@_meets("clamp", "clip", given=("input", "min", "max"))
def _clamped(given: dict[str, Any]) -> Iterator[Meeting]:
    yield from _at(given["input"], given.get("min"), given.get("max"))


@_meets("clamp_min", given=("input", "min"))
def _clamped_below(given: dict[str, Any]) -> Iterator[Meeting]:
    yield from _at(given["input"], given["min"])


@_meets("clamp_max", given=("input", "max"))
def _clamped_above(given: dict[str, Any]) -> Iterator[Meeting]:
    yield from _at(given["input"], given["max"])


@_meets("threshold", given=("input", "threshold"))
def _threshold(given: dict[str, Any]) -> Iterator[Meeting]:
    yield from _at(given["input"], given["threshold"])


@_meets("maximum", "minimum", given=("input", "other"))
def _of_two(given: dict[str, Any]) -> Iterator[Meeting]:
    yield Meeting(given["input"] - given["other"])


@_meets("max", "amax", given=("input", "dim"))
def _largest(given: dict[str, Any]) -> Iterator[Meeting]:
    yield _along_axes(given["input"], given.get("other", given.get("dim")), 1)


@_meets("min", "amin", given=("input", "dim"))
def _smallest(given: dict[str, Any]) -> Iterator[Meeting]:
    yield _along_axes(given["input"], given.get("other", given.get("dim")), -1)


def _along_axes(signal: Tensor, axes: Any, sign: int) -> Meeting:
    if isinstance(axes, Tensor):
        return Meeting(signal - axes)
    axes = [axes] if isinstance(axes, int) else list(axes or range(signal.dim()))
    axes = sorted(axis % signal.dim() for axis in axes)
    if 0 in axes:
        raise UnsupportedModelError(
            "model must treat each image on its own; got a maximum over the batch. Pass dim=1 or a later one to it."
        )
    kept = [axis for axis in range(signal.dim()) if axis not in axes]
    return Meeting(sign * signal.permute(kept + axes).flatten(len(kept)), is_maximum=True)


@_meets(
    *MAXIMA,
    *(f"{name}_with_indices" for name in MAXIMA),
    given=("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode"),
)
def _pooled(given: dict[str, Any]) -> Iterator[Meeting]:
    signal, size = given["input"], given["kernel_size"]
    axes = len(size) if isinstance(size, (tuple, list)) and len(size) > 1 else 0
    axes = axes or signal.dim() - 2
    settings = [
        _each(value, axes)
        for value in (
            size,
            given.get("stride") or size,
            given.get("padding", 0),
            given.get("dilation", 1),
        )
    ]
    tables = [
        _places(length, *setting, ceil=bool(given.get("ceil_mode")))
        for length, *setting in zip(signal.shape[-axes:], *settings, strict=True)
    ]
    yield Meeting(_windows(signal, tables), is_maximum=True)


@_meets(
    *(f"adaptive_{name}" for name in MAXIMA),
    *(f"adaptive_{name}_with_indices" for name in MAXIMA),
    given=("input", "output_size"),
)
def _adaptively_pooled(given: dict[str, Any]) -> Iterator[Meeting]:
    signal = given["input"]
    axes = signal.dim() - 2
    sizes = _each(given["output_size"], axes)
    lengths = signal.shape[-axes:]
    tables = [_adaptive_places(length, size or length) for length, size in zip(lengths, sizes, strict=True)]
    yield Meeting(_windows(signal, tables), is_maximum=True)


def _each(value: Any, axes: int) -> list[Any]:
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    return values * axes if len(values) == 1 else values


def _places(length: int, size: int, stride: int, padding: int, dilation: int, *, ceil: bool) -> Tensor:
    """Return the places that each window covers along an axis, shape (windows, size); those outside are negative."""
    rest = length + 2 * padding - dilation * (size - 1) - 1
    count = (-(-rest // stride) if ceil else rest // stride) + 1
    if ceil and (count - 1) * stride >= length + padding:  # torch drops windows that begin behind the end
        count -= 1
    places = torch.arange(count)[:, None] * stride - padding + torch.arange(size) * dilation
    return places.masked_fill(places >= length, -1)


def _adaptive_places(length: int, count: int) -> Tensor:
    """Return the places that each window covers where windows share out an axis."""
    starts = [i * length // count for i in range(count)]
    ends = [-(-(i + 1) * length // count) for i in range(count)]
    size = max(end - start for start, end in zip(starts, ends, strict=True))
    places = torch.tensor(starts)[:, None] + torch.arange(size)
    return places.masked_fill(places >= torch.tensor(ends)[:, None], -1)


def _windows(signal: Tensor, tables: list[Tensor]) -> Tensor:
    """Return the values in each window along a last axis; those outside are minus infinity."""
    first = signal.dim() - len(tables)
    outside = torch.zeros((), dtype=torch.bool, device=signal.device)
    shape: list[int] = list(signal.shape[:first])
    for axis, table in enumerate(tables):
        own = table.to(signal.device)
        signal = signal.index_select(first + axis, own.clamp(min=0).flatten())
        shape += own.shape
        outside = outside[..., None, None] | (own < 0)
    windows = first + 2 * torch.arange(len(tables))
    order = [*range(first), *windows.tolist(), *(windows + 1).tolist()]
    values = signal.reshape(shape).masked_fill(outside, -math.inf)
    return values.permute(order).flatten(first + len(tables))
