"""Tensors and pictures as NumPy arrays that can be drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "as_array", "as_picture"]

Array = npt.NDArray[np.float64]


def as_array(values: Any) -> Array:
    """Return a tensor, wherever it lies, as an array of float64."""
    result: Array = values.detach().to("cpu").double().numpy()
    return result


def as_picture(image: Any) -> Array:
    """Return an image as floats from 0 to 1, of shape (H, W) or (H, W, 3)."""
    if hasattr(image, "detach"):  # a Tensor: channels first
        image = image.detach().cpu()
        image = image[0] if image.dim() == 4 and len(image) == 1 else image
        image = image.permute(1, 2, 0).numpy() if image.dim() == 3 else image.numpy()
    pixels = np.asarray(image)
    scale = 255.0 if pixels.dtype.kind in "ui" else 1.0
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        pixels = pixels.mean(2)  # no picture has two or five channels: show their mean
    if pixels.ndim not in (2, 3) or not pixels.size:
        raise ValueError(
            f"image must have shape (H, W), (H, W, C), or (C, H, W) for a Tensor; got {pixels.shape}. "
            "Pass one image, without a batch axis."
        )
    pixels = pixels[..., :3] if pixels.ndim == 3 else pixels
    result: Array = np.clip(pixels.astype(np.float64) / scale, 0, 1)
    return result
