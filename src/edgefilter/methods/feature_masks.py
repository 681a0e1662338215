"""Captum's feature masks: which values of an image belong together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["FeatureMask", "feature_masks"]


class FeatureMask(NamedTuple):
    """The features of one image, numbered without gaps.

    Attributes
    ----------
    labels : Tensor, shape (C, H, W) or (1, H, W), long
        The feature of each value, from 0 to ``k - 1``.
    columns : Tensor, shape (k,), long
        What they are called in the mask that was given, counted from its lowest label.
    """

    labels: Tensor
    columns: Tensor


def feature_masks(given: Any, images: Tensor) -> list[FeatureMask]:
    """Return the features of each image, or of all of them.

    Parameters
    ----------
    given : Tensor or ndarray of whole numbers, or a tuple of one
        Shape (H, W), or (N or 1, C or 1, H, W), as Captum's ``feature_mask``.
    images : Tensor, shape (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        If it holds no whole numbers, does not fit the images, or has a single feature.

    Examples
    --------
    >>> (mask,) = feature_masks(torch.tensor([[1, 1, 4]]), torch.zeros(1, 3, 1, 3))
    >>> mask.labels, mask.columns
    (tensor([[[0, 0, 1]]]), tensor([0, 3]))
    """
    given = given[0] if isinstance(given, tuple) and len(given) == 1 else given
    found = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise TypeError(
            f"feature_mask must hold whole numbers, one label for each value; got {found.dtype}. Pass feature_mask.long()."
        )
    found = found[None, None] if found.dim() == 2 else found
    count, channels, *size = images.shape
    if found.dim() != 4 or not _fits(tuple(found.shape), (count, channels, *size)):
        raise ValueError(
            f"feature_mask must have shape {tuple(size)}, or ({count} or 1, {channels} or 1, {size[0]}, {size[1]}); "
            f"got {tuple(found.shape)}. Label the images as the model sees them."
        )
    found = found.detach().cpu().long()
    masks = [_numbered(one - found.min()) for one in found]
    if any(len(mask.columns) < 2 for mask in masks):
        raise ValueError("feature_mask must have two features or more; got 1. Label the parts of the image.")
    return masks


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return shape[2:] == wanted[2:] and shape[0] in (1, wanted[0]) and shape[1] in (1, wanted[1])


def _numbered(labels: Tensor) -> FeatureMask:
    columns, numbers = torch.unique(labels, return_inverse=True)
    return FeatureMask(numbers, columns)
