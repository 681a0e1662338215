"""How maps are blurred, so that no grid of dots hides the object: sums stay, and nothing leaves a map at its border."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .arrays import Array, finite
from .protocols import Explained

__all__ = ["blurred", "chosen_sigma", "mirrored", "pixel_stride"]

FAR = 6  # standard deviations beyond which a Gaussian is left out: 2e-9 of it

# Standard deviation in strides of the stem. Every second place of a stem is read by a convolution of stride 2 or pooled, so that the relevance
# of the others is small: a grid of dots with a period of two strides. Its part of a pixel map (root mean square at the frequencies k/8 per pixel,
# over that of the map) for the coffee photo, beside the correlation with the map without these frequencies:
#   strides       0          0.5        0.75       1          1.5        2
#   ResNet-18     .29  .91   .10  .95   .04  .93   .02  .90   .02  .87   .02  .85
#   ResNet-50     .25  .88   .08  .95   .03  .92   .02  .89   .02  .85   .02  .82
#   EfficientNet  .15  .97   .05  .89   .04  .87   .03  .86   .02  .84   .01  .83
#   MobileNet-v2  .34  .92   .06  .96   .03  .95   .02  .95   .02  .94   .02  .93
# VGG-16, whose stem has stride 1, has .025 and no grid to be seen: with one stride the others are at its level, and more blurs the object alone.
# Stems of stride 1 stay sharp: digits of 28 pixels correlate with themselves by .98 after a blur of one pixel, and have nothing to gain.
STRIDES = 1.0
# Patches side by side (kernel no larger than the stride) have a period of one stride: half as much gives ConvNeXt-T .03 in place of .61, Swin-T
# .02 in place of .67, ViT-B/16 .03 in place of .17, and leaves a token of a ViT apart from the next.
PATCHES = 0.5


def blurred(values: Array, sigma: float) -> Array:
    """Blur a map by a Gaussian; what would leave it at its border is mirrored back.

    Parameters
    ----------
    values : ndarray, shape (H, W)
    sigma : float
        Standard deviation in places of the map; 0 leaves it as it is.

    Returns
    -------
    values : ndarray, shape (H, W)
        With the same sum; a constant map stays as it is, and so do values that are not finite.

    Examples
    --------
    >>> blurred(np.array([[0.0, 0.0, 1.0, 0.0]]), 0.6).round(4)
    array([[0.0026, 0.1655, 0.6638, 0.1681]])
    """
    if not sigma:
        return values
    rows, columns = (mirrored(size, sigma) for size in values.shape)
    found: Array = rows @ finite(values) @ columns
    return np.where(np.isfinite(values), found, values)


def mirrored(size: int, sigma: float) -> Array:
    """Return how much of each place of a row goes to each other.

    Parameters
    ----------
    size : int
        Places.
    sigma : float
        Standard deviation in places, above 0.

    Returns
    -------
    weights : ndarray, shape (size, size)
        Symmetric; rows and columns add up to 1.

    Examples
    --------
    >>> mirrored(2, 0.5).round(3)
    array([[0.893, 0.107],
           [0.107, 0.893]])
    """
    reach = math.ceil(FAR * sigma)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    at = (np.arange(size)[:, None] + steps) % (2 * size)
    places = np.minimum(at, 2 * size - 1 - at)  # mirrored behind the last place: c b a | a b c | c b a
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], places), weights / weights.sum())
    return matrix


def pixel_stride(explanation: Explained) -> float:
    """Return how many pixels of the image one place of a response is wide; 1 where the image is unknown."""
    height = None if explanation.pixel is None else explanation.pixel.shape[2]
    if height is None and explanation.window is not None:
        height = explanation.window.size[0]
    return 1.0 if height is None else height / explanation.response.shape[3]


def chosen_sigma(explanation: Explained, smooth: Any) -> float:
    """Return by how many pixels the maps of an explanation are blurred.

    Parameters
    ----------
    explanation : Explanation
    smooth : None, bool or float
        None or True: at the stride of the network's stem, as far as a grid of dots is to be expected. False or 0: not at all. A number: so
        many pixels.

    Raises
    ------
    ValueError
        If ``smooth`` is anything else.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> coarse = Explanation(torch.ones(1, 1, 1, 4, 4), torch.ones(1, 1, 8, 8), torch.ones(1), (0,), ("gray",), ("sobel_x",))
    >>> chosen_sigma(coarse, None), chosen_sigma(coarse, 0), chosen_sigma(coarse, 3)
    (2.0, 0.0, 3.0)
    """
    if smooth is None or smooth is True:
        stride = round(pixel_stride(explanation), 1)  # an unpadded stem has some places fewer: 2.02 is 2
        return _share_of_a_stride(explanation.window) * stride if stride >= 1.5 else 0.0
    if not isinstance(smooth, (bool, int, float, np.number)) or not 0 <= smooth < math.inf:
        raise ValueError(
            f"smooth must be a standard deviation in pixels from 0, or None; got {smooth!r}. Pass for example smooth=2, or 0 for sharp maps."
        )
    return float(smooth)


def _share_of_a_stride(window: Any) -> float:
    apart = window is not None and all(
        size <= stride for size, stride in zip(window.shares.shape[1:], window.stride, strict=True)
    )
    return PATCHES if apart else STRIDES
