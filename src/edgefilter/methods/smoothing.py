"""Smooth maps with a moving average or a Gaussian; the map goes on beyond its edges with the values there."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["box", "gaussian", "smoothed"]


def box(width: float) -> Tensor:
    """Return the weights of a moving average over a width in pixels, odd in number, float64.

    A pixel counts as far as the window covers it. Moving a grid of cells by their own width gives bilinear interpolation between
    their centers.

    Examples
    --------
    >>> box(3).tolist(), box(2).tolist(), box(0).tolist()
    ([0.333..., 0.333..., 0.333...], [0.25, 0.5, 0.25], [1.0])
    """
    if width <= 1:
        return torch.ones(1).double()
    reach = math.ceil((width - 1) / 2)
    covered = (width / 2 + 0.5 - torch.arange(-reach, reach + 1).abs().double()).clamp(max=1)
    return covered / width


def gaussian(sigma: float) -> Tensor:
    """Return the weights of a Gaussian with a standard deviation in pixels, cut off at three of them, float64.

    Examples
    --------
    >>> len(gaussian(2)), round(float(gaussian(2).sum()), 12)
    (13, 1.0)
    """
    places = torch.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1).double()
    weights = torch.exp(-((places / sigma) ** 2) / 2)
    return weights / weights.sum()


def smoothed(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Correlate maps with weights along each side.

    Parameters
    ----------
    maps : Tensor, shape (..., H, W)
    rows, columns : Tensor
        An odd number of weights along the height and along the width.

    Returns
    -------
    maps : Tensor
        As they came in shape, dtype and device.
    """
    found = maps.reshape(-1, 1, *maps.shape[-2:])
    for weights, shape, axis in ((rows, (-1, 1), 2), (columns, (1, -1), 3)):
        reach = len(weights) // 2
        if reach:
            found = _beyond(found, axis, reach)
            found = F.conv2d(found, weights.to(found).reshape(1, 1, *shape))
    return found.reshape(maps.shape)


def _beyond(maps: Tensor, axis: int, reach: int) -> Tensor:
    """Repeat the values at both ends of an axis."""
    places = torch.arange(-reach, maps.shape[axis] + reach, device=maps.device)
    return maps.index_select(axis, places.clamp(0, maps.shape[axis] - 1))
