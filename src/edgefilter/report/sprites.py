"""Maps as one small picture: reduced without changing their sums, and kept in eight bits with a stated precision."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgefilter.plots.arrays import Array

from .pictures import as_data_uri

__all__ = ["ZERO", "Sprite", "fitting", "make_sprite", "quantized", "reduced"]

ZERO, LEVELS = 128, 127  # the gray level that stands for 0, and the levels on each side of it


class Sprite(NamedTuple):
    """Several maps side by side in one gray PNG.

    Attributes
    ----------
    png : bytes
        A level ``g`` stands for ``(g - 128) * step`` of its map.
    steps : tuple of float
        What one level of each map is worth: each value is right to one step, the sum of a map to half a step.
    size : (int, int)
        Height and width of a map.
    columns : int
        Maps in a row of the picture.
    source : (int, int)
        Height and width of the maps before they were reduced.
    """

    png: bytes
    steps: tuple[float, ...]
    size: tuple[int, int]
    columns: int
    source: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain values, ready for JSON."""
        return {
            "png": as_data_uri(self.png),
            "steps": [float(f"{step:.7g}") for step in self.steps],
            "size": list(self.size),
            "columns": self.columns,
            "source": list(self.source),
        }


def make_sprite(maps: Array, places: int) -> Sprite:
    """Reduce maps until all together have at most ``places`` values, and keep them in eight bits.

    Parameters
    ----------
    maps : ndarray, shape (M, H, W)
    places : int
        Values of all maps together.

    Examples
    --------
    >>> sprite = make_sprite(np.ones((2, 4, 4)), places=8)
    >>> sprite.size, [round(step * 127, 6) for step in sprite.steps]
    ((2, 2), [4.0, 4.0])
    """
    count, *source = maps.shape
    size = fitting(source, places // count)
    levels, steps = quantized(reduced(maps, size))
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.full((rows, columns, *size), ZERO, np.uint8)
    sheet.reshape(-1, *size)[:count] = levels + ZERO
    gray = Image.fromarray(sheet.swapaxes(1, 2).reshape(rows * size[0], columns * size[1]))
    file = io.BytesIO()
    gray.save(file, "PNG", optimize=True)
    return Sprite(file.getvalue(), tuple(steps.tolist()), size, columns, (source[0], source[1]))


def fitting(size: Sequence[int], places: int) -> tuple[int, int]:
    """Return the largest size with at most so many places: the given one, or a half, a third, ... of it.

    Examples
    --------
    >>> fitting((112, 112), 4000), fitting((7, 5), 100), fitting((9, 9), 0)
    ((56, 56), (7, 5), (1, 1))
    """
    for divisor in range(1, max(size) + 1):
        height, width = (math.ceil(side / divisor) for side in size)
        if height * width <= places:
            return height, width
    return 1, 1


def reduced(maps: Array, size: Sequence[int]) -> Array:
    """Add up the values that fall into each place of a coarser grid; what lies on a border is divided by its area.

    Parameters
    ----------
    maps : ndarray, shape (M, H, W)
    size : (int, int)
        Height and width, at most those of the maps.

    Returns
    -------
    maps : ndarray, shape (M, *size)
        With the sums of the maps.

    Examples
    --------
    >>> reduced(np.arange(6.0).reshape(1, 1, 6), (1, 4))
    array([[[0.5, 2.5, 5. , 7. ]]])
    """
    rows, columns = (_shares(many, few) for many, few in zip(maps.shape[1:], size, strict=True))
    found: Array = rows @ maps @ columns.T
    return found


def _shares(many: int, few: int) -> Array:
    """Return which share of each of many places falls into each of few, shape (few, many)."""
    borders = np.arange(few + 1) * (many / few)
    places = np.arange(many)
    overlap = np.minimum(places + 1, borders[1:, None]) - np.maximum(places, borders[:-1, None])
    shares: Array = overlap.clip(0)
    return shares


def quantized(maps: Array) -> tuple[npt.NDArray[np.int16], Array]:
    """Round maps to whole steps such that their sums stay.

    Parameters
    ----------
    maps : ndarray, shape (M, h, w)

    Returns
    -------
    levels : ndarray of int, shape (M, h, w)
        From -127 to 127; each is within one step of the value, 0 is exact.
    steps : ndarray, shape (M,)

    Examples
    --------
    >>> levels, steps = quantized(np.array([[[127.0, 0.4, 0.4, 0.4]]]))
    >>> levels.tolist(), steps.tolist()
    ([[[127, 1, 0, 0]]], [1.0])
    """
    largest = np.abs(maps).max((1, 2))
    steps = np.where(largest > 0, largest, 1.0) / LEVELS
    exact = (maps / steps[:, None, None]).reshape(len(maps), -1)
    exact = np.where(np.abs(exact - exact.round()) < 1e-9, exact.round(), exact)  # rounding of the division
    levels = np.floor(exact)
    missing = (exact.sum(1).round() - levels.sum(1)).astype(int)
    order = np.argsort(levels - exact, axis=1, kind="stable")  # the largest remainders first
    for row, count in enumerate(missing):
        levels[row, order[row, :count]] += 1
    return levels.astype(np.int16).reshape(maps.shape), np.where(largest > 0, steps, 0.0)
