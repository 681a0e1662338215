"""Fragments of images: label maps from superpixels at several scales, or from a grid."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgefilter._checks import pair

from .arguments import whole_number

__all__ = ["as_label_maps", "fragments", "grid_fragments"]

SEGMENTS = tuple(
    50 * 2**level for level in range(5)
)  # with compactness 10 and sigma 1: as published for MFPP
# SLIC merges its scattered pieces: of noise with 224 pixels, 2 of 50 superpixels are left with 10, and 49 with 30.
COMPACTNESS = (10.0, 30.0, 100.0)
LEAST = 9  # pixels of a fragment on average: with fewer, a kernel of 3 x 3 sees no fragment whole


def fragments(
    image: Tensor,
    n_segments: Sequence[int] | None = None,
    *,
    compactness: float | None = None,
    sigma: float = 1.0,
) -> list[Tensor]:
    """Cut images into superpixels (SLIC) at several scales.

    Parameters
    ----------
    image : Tensor, shape (H, W), (C, H, W) or (N, C, H, W)
        In any range, which is scaled to that of a photo. Three channels are taken for red, green and blue.
    n_segments : sequence of int, optional
        About how many superpixels each level has. Default: 50, 100, 200, 400 and 800, as published for MFPP, without the levels
        whose superpixels would have fewer than 9 pixels on average.
    compactness : float, optional
        As in ``skimage.segmentation.slic``, for colors in CIELAB. Default: 10; 30 or 100 where an image is so noisy that fewer than half as
        many superpixels would come out.
    sigma : float, default: 1
        As in ``slic``.

    Returns
    -------
    levels : list of Tensor, shape (H, W) or (N, H, W), long
        Label maps, one per level, counted from 0.

    Raises
    ------
    ImportError
        If scikit-image is not installed.
    TypeError, ValueError
        If an argument does not fit; the message says what does.

    Notes
    -----
    Gray images are compared by lightness. Images of other numbers of channels are compared by the root mean square over channels,
    scaled as lightness is.

    References
    ----------
    Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", TPAMI 34(11), 2012.

    Examples
    --------
    >>> coarse, fine = fragments(torch.zeros(3, 32, 32))
    >>> coarse.shape, bool(coarse.max() < fine.max())
    (torch.Size([32, 32]), True)
    """
    slic = _slic()
    if not isinstance(image, Tensor) or image.dim() not in (2, 3, 4) or not image.numel():
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(
            f"image must be a Tensor of shape (H, W), (C, H, W) or (N, C, H, W); got {got}. Pass the preprocessed image."
        )
    if not bool(torch.isfinite(image).all()):
        raise ValueError("image must be finite; got NaN or infinity. Look at how it was read or normalised.")
    counts = _counts(n_segments, image.shape[-2] * image.shape[-1])
    batch = image.detach().cpu().double().reshape(-1, *((1,) if image.dim() == 2 else ()), *image.shape[-3:])
    tries = COMPACTNESS if compactness is None else (compactness,)
    levels = []
    for count in counts:
        maps = [_superpixels(slic, one.numpy(), count, tries, sigma) for one in batch]
        levels.append(torch.stack(maps) if image.dim() == 4 else maps[0])
    return levels


def grid_fragments(
    size: int | tuple[int, int], cells: int | tuple[int, int], shift: tuple[float, float] = (0, 0)
) -> Tensor:
    """Cut an image into the cells of a grid.

    Parameters
    ----------
    size : int or (H, W)
        Of the image, in pixels.
    cells : int or (rows, columns)
        How many cells there are along each side.
    shift : (float, float), default: (0, 0)
        How far the grid is moved up and to the left, in pixels. A shifted grid has a further row or column of cells.

    Returns
    -------
    labels : Tensor, shape (H, W), long
        Row by row, counted from 0.

    Raises
    ------
    ValueError
        If there are more cells than pixels along a side.

    Examples
    --------
    >>> grid_fragments((2, 4), 2)
    tensor([[0, 0, 1, 1],
            [2, 2, 3, 3]])
    >>> grid_fragments((1, 4), (1, 2), shift=(0, 1))
    tensor([[0, 1, 1, 2]])
    """
    sides, counts = pair(size, "size", 1), pair(cells, "cells", 1)
    if any(count > side for count, side in zip(counts, sides, strict=True)):
        raise ValueError(
            f"cells must be at most as many as the pixels of a side, {sides}; got {counts}. Pass fewer cells."
        )
    rows, columns = (
        ((torch.arange(side).double() + 0.5 + move) * count / side).floor().long()
        for side, count, move in zip(sides, counts, shift, strict=True)
    )
    rows, columns = rows - rows.min(), columns - columns.min()
    return rows[:, None] * (columns.max() + 1) + columns


def as_label_maps(segments: Any, images: Tensor) -> list[Tensor]:
    """Return label maps by level, (N, H, W) or (1, H, W), with labels in the order in which they first appear.

    Raises
    ------
    TypeError, ValueError
        If they hold no whole numbers, or do not fit the images.
    """
    levels = list(segments) if isinstance(segments, (list, tuple)) else [segments]
    if not levels:
        raise ValueError(
            "segments must hold at least one label map; got an empty list. Pass None for superpixels."
        )
    return [torch.stack([_in_order(one) for one in _label_maps(level, images)]) for level in levels]


def _label_maps(given: Any, images: Tensor) -> Tensor:
    """Return one level, (N, H, W) or (1, H, W), on the CPU."""
    found = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
    given_shape = tuple(found.shape)
    if found.is_floating_point() or found.is_complex():
        raise TypeError(
            f"segments must hold whole numbers, one label per pixel; got {found.dtype}. Pass for example what fragments(image) returns."
        )
    if found.dim() == 4 and found.shape[1] == 1:  # a feature mask of Captum's
        found = found[:, 0]
    count, (height, width) = len(images), images.shape[2:]
    found = found[None] if found.dim() == 2 else found
    if found.dim() != 3 or found.shape[1:] != images.shape[2:] or len(found) not in (1, count):
        raise ValueError(
            f"segments must be label maps of shape ({height}, {width}) or ({count}, {height}, {width}), one per level; "
            f"got {given_shape}. Label the images as the model sees them, and pass the levels as a list: for example what "
            "fragments(image, [50, 100]) returns."
        )
    return found.detach().cpu().long()


def _in_order(labels: Tensor) -> Tensor:
    """Return a label map with its labels counted in the order in which they first appear."""
    known, inverse = torch.unique(labels, return_inverse=True)
    places = torch.arange(labels.numel())
    first = places.new_full((len(known),), labels.numel()).scatter_reduce(
        0, inverse.flatten(), places, "amin"
    )
    return first.argsort().argsort()[inverse]


def _counts(n_segments: Sequence[int] | None, pixels: int) -> list[int]:
    if n_segments is None:
        return [count for count in SEGMENTS if count * LEAST <= pixels] or [max(1, pixels // LEAST)]
    counts = [n_segments] if isinstance(n_segments, int) else list(n_segments)
    if not counts:
        raise ValueError(
            "n_segments must hold at least one number; got none. Pass for example n_segments=[50, 100]."
        )
    return [whole_number(count, "n_segments") for count in counts]


def _superpixels(
    slic: Any, image: np.ndarray[Any, Any], count: int, tries: Sequence[float], sigma: float
) -> Tensor:
    """Return the superpixels of one image (C, H, W), which is scaled to [0, 1]: at least half as many if a compactness gives that."""
    low, high = image.min(), image.max()
    scaled = (image - low) / (high - low if high > low else 1.0)
    channels = len(scaled)
    if channels == 1:
        scaled = np.repeat(scaled, 3, 0)
    lab = len(scaled) == 3
    for compactness in tries:
        found = slic(
            scaled.transpose(1, 2, 0),
            n_segments=count,
            # lightness goes from 0 to 100, these channels to 1; distances add up over channels
            compactness=compactness if lab else compactness * math.sqrt(channels) / 100,
            sigma=sigma,
            convert2lab=lab,
            start_label=0,
            channel_axis=-1,
        )
        if 2 * (found.max() + 1) >= count:
            break
    return torch.from_numpy(found.astype(np.int64))


def _slic() -> Any:
    try:
        return importlib.import_module("skimage.segmentation").slic
    except ImportError as error:
        raise ImportError(
            "scikit-image is required for superpixels; run pip install scikit-image. Or pass label maps of your own, such as "
            "segments=[grid_fragments(image.shape[-2:], 7)]."
        ) from error
