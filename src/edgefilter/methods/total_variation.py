"""How noisy maps are: their total variation over the levels of a pyramid, the measure of SmoothTaylor's paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arguments import imported, one_input

__all__ = ["average_total_variation"]

SMALLEST_LEVEL = 30  # pixels, as published for images of 224


def average_total_variation(
    attributions: Tensor | tuple[Tensor],
    *,
    downscale: float = 1.5,
    min_size: float | None = None,
    percentile: float = 99,
) -> Tensor:
    """Measure how noisy maps are: their total variation over the levels of a pyramid.

    At each level of a Gaussian pyramid of the map, summed over colors: take its size, from 0 at the least to 1 at the
    percentile, and sum the differences of neighbors, divided by the number of pixels. The result is Simpson's area
    under these values, one unit from level to level.

    Parameters
    ----------
    attributions : Tensor, shape (N, C, H, W)
    downscale : float, default: 1.5
        What each level is smaller by.
    min_size : float, optional
        The shortest side of a level. Default: 30, as published, or half the shortest side of smaller maps, so that there
        are two levels at least.
    percentile : float, default: 99
        Of the sizes at a level, what counts as 1.

    Returns
    -------
    variation : Tensor, shape (N,)
        At least 0; lower is smoother. A flat map has 0. Maps of different sizes are not comparable.

    Raises
    ------
    ImportError
        If scikit-image is not installed.
    ValueError, TypeError
        If the maps are no such tensor, or ``min_size`` leaves fewer than two levels.

    References
    ----------
    .. [1] Goh et al., "Understanding Integrated Gradients with SmoothTaylor for Deep Neural Network Attribution",
       ICPR 2020, and the code published with it.

    Examples
    --------
    >>> smooth = torch.linspace(0, 1, 48).expand(1, 1, 48, 48)
    >>> noisy = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    >>> bool(average_total_variation(smooth) < average_total_variation(noisy))
    True
    """
    maps, _ = one_input(attributions, "attributions")
    simpson = imported("scipy.integrate", "average_total_variation").simpson
    sides = maps.shape[2:]
    smallest = min(SMALLEST_LEVEL, min(sides) / 2) if min_size is None else min_size
    areas = []
    for one in maps.cpu().double().sum(1).numpy():
        levels = [_variation(level, percentile) for level in _pyramid(one, downscale, smallest)]
        if len(levels) < 2:
            raise ValueError(
                f"min_size must leave two levels of the pyramid; got {min_size!r} for maps of {sides[0]} x {sides[1]}. "
                f"Pass at most {min(sides) / downscale:.0f}, or None."
            )
        areas.append(float(simpson(levels, dx=1)))
    return torch.tensor(areas, dtype=torch.float64).to(maps)


def _pyramid(one: Any, downscale: float, smallest: float) -> Any:
    """Yield the levels of a map's Gaussian pyramid while their sides are long enough."""
    transform = imported("skimage.transform", "average_total_variation")
    for level in transform.pyramid_gaussian(one, downscale=downscale, preserve_range=True):
        if min(level.shape) < smallest:
            return
        yield level


def _variation(level: Any, percentile: float) -> float:
    """Return the total variation of the normalized sizes of a level, for each pixel."""
    sizes = np.abs(level)
    low, high = sizes.min(), np.percentile(sizes, percentile)
    if high <= low:
        return 0.0
    scaled = np.clip((sizes - low) / (high - low), 0, 1)
    return float(
        (np.abs(np.diff(scaled, axis=0)).sum() + np.abs(np.diff(scaled, axis=1)).sum()) / scaled.size
    )
