"""How coarse a kernel is: the wavelength of what it answers to."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .directions import DENSITY
from .kernel import Array, Kernel

__all__ = ["scale_name", "wavelength"]


def wavelength(weight: Array) -> float | None:
    """Return the wavelength, in pixels, of the waves that a kernel answers to.

    The geometric mean of all wavelengths, weighted by the response energy on natural images, as for the direction of
    :meth:`FilterBank.groups`: ``|F(u)|^2 / |u|^2``.

    Parameters
    ----------
    weight : ndarray of shape (height, width)
        Of a kernel that answers to brightness, the part without it counts.

    Returns
    -------
    wavelength : float or None
        None for a kernel of zeros, or of one weight: it answers to all waves alike.

    Examples
    --------
    >>> from edgefilter import get_kernel
    >>> [round(wavelength(get_kernel(name).weight), 1) for name in ("sobel_x", "farid_x", "laplacian_4")]
    [5.6, 7.6, 2.4]
    """
    weight = np.asarray(weight, np.float64)
    rows, columns = (np.flatnonzero(weight.any(axis=axis)) for axis in (1, 0))
    if np.count_nonzero(weight) < 2:
        return None
    weight = weight[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # a wider support changes nothing
    return _wavelength(weight.tobytes(), weight.shape)


# Every explanation asks for those of its bank.
@lru_cache(maxsize=1024)
def _wavelength(values: bytes, shape: tuple[int, int]) -> float:
    weight = np.frombuffer(values).reshape(shape)
    largest = float(np.abs(weight).max())
    side = DENSITY * max(weight.shape) + 1
    axis = np.fft.fftfreq(side)
    square = axis[:, None] ** 2 + axis[None, :] ** 2
    square[0, 0] = 1.0  # a flat image has no wavelength
    energy = np.abs(np.fft.fft2(weight / largest, s=(side, side))) ** 2 / square
    energy[0, 0] = 0.0
    return float(np.exp(-0.5 * (energy * np.log(square)).sum() / energy.sum()))


def scale_name(kernel: Kernel) -> str:
    """Return the scale of a kernel in words: the wavelength it was made for, or else its own in whole octaves.

    Examples
    --------
    >>> from edgefilter import get_kernel
    >>> scale_name(get_kernel("sobel_x")), scale_name(Kernel("mine", [[-1, 0, 1]], wavelength=4.6))
    ('about 4 pixels', '4.6 pixels')
    """
    if kernel.wavelength is not None:
        return f"{kernel.wavelength:.4g} pixels"
    found = wavelength(kernel.weight)
    octave = 0 if found is None else max(0, round(math.log2(found)))
    return f"about {2**octave} pixel{'s' * (octave > 0)}"
