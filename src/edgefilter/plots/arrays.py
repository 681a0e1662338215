"""Tensors and pictures as NumPy arrays that can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "as_array", "as_picture", "finite", "visible"]

Array = npt.NDArray[np.float64]

VISIBLE = (
    ("red", "green", "blue"),
    ("b04", "b03", "b02"),
    ("b4", "b3", "b2"),
    ("r", "g", "b"),
)  # the second: Sentinel-2

STEP = 1 / 255  # of a picture of 8 bits: resizing and rounding may leave its range by less


def as_array(values: Any) -> Array:
    """Return a tensor, wherever it lies, as an array of float64."""
    result: Array = values.detach().to("cpu").double().numpy()
    return result


def finite(values: Array) -> Array:
    """Return values with 0 in place of those that are not finite."""
    return np.where(np.isfinite(values), values, 0.0)


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


def visible(
    inputs: Any,
    channels: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Array:
    """Return the input of a model as a viewer would see it.

    Parameters
    ----------
    inputs : Tensor, shape (C, H, W)
        One image as the model takes it.
    channels : sequence of str, optional
        Their names: red, green and blue, or B04, B03 and B02, are shown as such, and of others the mean, in gray. Default: three channels
        are red, green and blue.
    mean, std : sequence of float, optional
        What the preprocessing took off values from 0 to 1, and divided them by. Default: unknown, and the image is stretched to its own
        range, the smallest value black and the largest white, unless it lies between 0 and 1 already.

    Returns
    -------
    picture : ndarray, shape (H, W, 3)
        From 0 to 1.

    Examples
    --------
    >>> import torch
    >>> pixel = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1)
    >>> visible(pixel)[0, 0].tolist(), visible(pixel, mean=(0.5,) * 3, std=(0.25,) * 3)[0, 0].tolist()
    ([0.0, 0.5, 1.0], [0.25, 0.5, 0.75])
    """
    values = np.nan_to_num(as_array(inputs))
    if mean is not None and std is not None:
        scale, shift = (np.asarray(numbers, np.float64)[:, None, None] for numbers in (std, mean))
        values = values * scale + shift
    elif values.size and (values.min() < 0 or values.max() > 1):
        values = (values - values.min()) / max(values.max() - values.min(), 1e-12)
    shown = _shown(channels, len(values))
    picture = np.broadcast_to(values.mean(0), (3, *values.shape[1:])) if shown is None else values[shown]
    result: Array = np.clip(picture.transpose(1, 2, 0), 0, 1)
    return result


def _shown(channels: Sequence[str] | None, count: int) -> list[int] | None:
    """Return the places of the channels that a viewer shows as red, green and blue, if there are such."""
    if channels is None:
        return [0, 1, 2] if count == 3 else None
    plain = [name.casefold() for name in channels]
    for names in VISIBLE:
        if set(names) <= set(plain):
            return [plain.index(name) for name in names]
    return None


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
