"""Tensors and pictures as NumPy arrays that can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "as_array", "as_picture"]

Array = npt.NDArray[np.float64]

STEP = 1 / 255  # of a picture of 8 bits: resizing and rounding may leave its range by less


def as_array(values: Any) -> Array:
    """Return a tensor, wherever it lies, as an array of float64."""
    result: Array = values.detach().to("cpu").double().numpy()
    return result


def as_picture(image: Any, size: Sequence[int] | None = None) -> Array:
    """Return an image as floats from 0 to 1, of shape (H, W) or (H, W, 3).

    Parameters
    ----------
    image : PIL image, array-like or Tensor
        As a viewer would see it: whole numbers from 0 to 255, or floats from 0 to 1. Of an array, the channels come last, of a tensor
        first; with a size, an array may have them first as well.
    size : sequence of int, optional
        The height and width that it must have.

    Raises
    ------
    ValueError
        If it has another shape, or values that no picture has, such as those of a normalised tensor.
    """
    pixels = _channels_last(_as_pixels(image), size)
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        pixels = pixels.mean(2)  # no picture has two or five channels: show their mean
    if pixels.ndim not in (2, 3) or not pixels.size:
        raise ValueError(
            f"image must have shape (H, W), (H, W, C), or (C, H, W) for a Tensor; got {pixels.shape}. "
            "Pass one image, without a batch axis."
        )
    if size is not None and pixels.shape[:2] != tuple(size):
        raise ValueError(
            f"image must have the height and width of the relevance by pixel, {tuple(size)}; got {pixels.shape[:2]}. Resize and crop it as "
            "the model's input was."
        )
    pixels = pixels[..., :3] if pixels.ndim == 3 else pixels
    result: Array = np.clip(pixels, 0, 1)
    return result


def _as_pixels(image: Any) -> Array:
    """Return values from 0 to 1, of any shape; the axes of a tensor become those of an array."""
    if hasattr(image, "detach"):  # a Tensor: channels first
        image = image.detach().cpu()
        image = image[0] if image.dim() == 4 and len(image) == 1 else image
        image = image.permute(1, 2, 0) if image.dim() == 3 else image
        image = (image.float() if image.is_floating_point() else image).numpy()
    if hasattr(image, "convert") and image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    given = np.asarray(image)
    if given.dtype.kind not in "biuf":
        raise TypeError(
            f"image must hold numbers; got {type(image).__name__}. Pass a PIL image, or an array of 0 to 255 or of floats from 0 to 1."
        )
    whole = given.dtype.kind in "iu"
    pixels: Array = given.astype(np.float64) / (255.0 if whole else 1.0)
    spare = 0.0 if whole else STEP
    if pixels.size and not (pixels.min() >= -spare and pixels.max() <= 1 + spare):
        scale = "0 to 255" if whole else "0 to 1"
        raise ValueError(
            f"image must have values from {scale}, as a viewer would see it; got {given.min():.4g} to {given.max():.4g}. Pass the picture as it "
            "was before it was normalised."
        )
    return pixels


def _channels_last(pixels: Array, size: Sequence[int] | None) -> Array:
    """Return an array whose channels come first with its channels last, where the size tells so."""
    first = size is not None and pixels.ndim == 3 and pixels.shape[1:] == tuple(size)
    return np.moveaxis(pixels, 0, 2) if first and pixels.shape[:2] != tuple(size or ()) else pixels
