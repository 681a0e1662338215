"""Which way an image must change for a kernel to answer most."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .kernel import ROUNDING, Array

__all__ = ["DENSITY", "change_direction"]

# Frequencies per pixel of the support. With four times as many, the directions of those Gabor kernels move by 0.3
# degrees at most; directions on an axis or a diagonal of symmetry do not move.
DENSITY = 8


def change_direction(weight: Array) -> float | None:
    """Return the direction in which an image must change for a kernel to answer most.

    The second moment of the frequency response on natural images: response energy ``|F(u)|^2 / |u|^2`` (images hold
    equal energy in every octave, Field 1987), weighted by ``n n^T`` of its direction ``n = u / |u|``. The direction is
    the principal axis of that 2x2 matrix. Without the weight of natural images ``[[-2, -1, 0, 1, 2]]``, one pixel
    high, would be said to answer to changes from top to bottom; with it, each row without a mean answers along itself.

    Parameters
    ----------
    weight : ndarray of shape (height, width)
        float64.

    Returns
    -------
    direction : float or None
        In degrees from 0 to below 180, from the x axis (right) towards the y axis (down), as in ``sobel_d45``. None if
        no direction is above the others to float32 rounding, as in blurs, Laplacians and corners: the second moment
        of a corner is that of a disc, because it answers to both diagonals alike.

    Examples
    --------
    >>> from edgefilter import get_kernel
    >>> [change_direction(get_kernel(name).weight) for name in ("sobel_x", "line_0", "laplacian_4")]
    [0.0, 90.0, None]
    """
    return _direction(weight.tobytes(), weight.shape)


# Every explanation asks for those of its bank: 7 ms for the 49 of 7x7, 0.3 ms the next time.
@lru_cache(maxsize=1024)
def _direction(values: bytes, shape: tuple[int, int]) -> float | None:
    weight = np.frombuffer(values).reshape(shape)
    largest = np.abs(weight).max()
    if largest == 0:
        return None
    side = DENSITY * max(shape) + 1  # odd: each frequency has its opposite
    energy = np.abs(np.fft.fft2(weight / largest, s=(side, side))) ** 2
    axis = np.fft.fftfreq(side)
    y, x = axis[:, None], axis[None, :]
    square = x**2 + y**2
    square[0, 0] = np.inf  # a flat image has no direction
    energy /= square
    along, diagonal = ((energy * part / square).sum() for part in (x**2 - y**2, 2 * x * y))
    if np.hypot(along, diagonal) <= ROUNDING * energy.sum():
        return None
    angle = float(np.rad2deg(np.arctan2(diagonal, along))) / 2
    return round(angle, 6) % 180.0  # rounding would tell -1e-15 from 0
