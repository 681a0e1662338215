"""Pictures as PNG files inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgefilter.plots.arrays import Array
from edgefilter.plots.style import SIGNED

__all__ = ["PALETTE", "as_data_uri", "blend", "map_png", "photo_png", "small_photo"]

# Longest side of a photo in the page: a larger one is shown smaller. The PNG of a 224 photo takes 60 to 110 KB, of a 320 one up to 220.
LONGEST = 320

PALETTE = [[int(color[place : place + 2], 16) for place in (1, 3, 5)] for color in SIGNED]


def as_data_uri(png: bytes) -> str:
    """Return a PNG as an address that holds it.

    Examples
    --------
    >>> as_data_uri(b"abc")
    'data:image/png;base64,YWJj'
    """
    return "data:image/png;base64," + base64.b64encode(png).decode()


def photo_png(picture: Array) -> bytes:
    """Return a picture (H, W) or (H, W, 3) of floats from 0 to 1 as a PNG."""
    return _png(small_photo(picture))


def small_photo(picture: Array) -> Image.Image:
    """Return a picture with a longest side of 320 pixels at most."""
    photo = Image.fromarray((picture * 255).round().astype(np.uint8))
    ratio = LONGEST / max(photo.size)
    if ratio >= 1:
        return photo
    width, height = (max(1, round(side * ratio)) for side in photo.size)
    return photo.resize((width, height), Image.Resampling.LANCZOS)


def map_png(values: Array, limit: float) -> bytes:
    """Return a signed map as a PNG: red for, blue against, white for zero; colors end at the limit."""
    levels = np.clip(values / (limit or 1.0), -1, 1)
    picture = Image.fromarray((127 + levels * 127).round().astype(np.uint8), "L")
    colors = [channel for place in range(255) for channel in blend(place / 127 - 1)]
    indexed = Image.frombytes("P", picture.size, picture.tobytes())
    indexed.putpalette(colors)
    return _png(indexed)


def blend(level: float, palette: Sequence[Sequence[int]] = PALETTE) -> tuple[int, int, int]:
    """Return the color of a level from -1 (against) over 0 (white) to 1 (for).

    Examples
    --------
    >>> blend(0), blend(1), blend(-2)
    ((255, 255, 255), (103, 0, 31), (5, 48, 97))
    """
    place = (min(max(level, -1.0), 1.0) + 1) / 2 * (len(palette) - 1)
    low = min(int(place), len(palette) - 2)
    share = place - low
    colors: npt.NDArray[np.float64] = (
        np.array(palette[low]) * (1 - share) + np.array(palette[low + 1]) * share
    )
    red, green, blue = (int(value) for value in colors.round())
    return red, green, blue


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
