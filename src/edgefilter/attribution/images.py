"""The images of an attribution: what is taken for them, and what to say about anything else."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgefilter.errors import InputTypeError

__all__ = ["as_images", "check_images"]

HALF = (torch.float16, torch.bfloat16)


def as_images(inputs: Any) -> tuple[Tensor, ...]:
    """Return the inputs of a model as a tuple of tensors.

    Raises
    ------
    InputTypeError
        If they are anything else: a TypeError that says what they are, and how to make a tensor of them.
    ValueError
        If the tuple is empty.
    """
    images = inputs if isinstance(inputs, tuple) else (inputs,)
    if not images:
        raise ValueError(
            "inputs must hold at least one tensor; got an empty tuple. Pass a batch of images, (batch, channel, height, width)."
        )
    for image in images:
        if not isinstance(image, Tensor):
            what, advice = _described(image)
            raise InputTypeError(
                f"inputs must be a torch.Tensor or a tuple of them, images of shape (batch, channel, height, width); got {what}. {advice}"
            )
    return images


def _described(given: Any) -> tuple[str, str]:
    """Say what is no tensor, and what to do with it."""
    if given is None:
        return "None", "Pass the preprocessed images."
    if isinstance(given, (str, PathLike)):
        return (
            f"the path {str(given)!r}",
            "Read the photo, edgefilter.photos.read_photo(path), and preprocess it as in training.",
        )
    if isinstance(given, np.ndarray):
        turned = "torch.from_numpy(array)"
        if given.dtype == np.uint8 and given.ndim == 2:
            turned = "torch.from_numpy(array)[None, None] / 255, and normalise it as in training"
        elif given.dtype == np.uint8 and given.ndim == 4:
            turned = "torch.from_numpy(array).permute(0, 3, 1, 2) / 255, and normalise it as in training"
        elif given.dtype == np.uint8:
            turned = "torch.from_numpy(array).permute(2, 0, 1)[None] / 255, and normalise it as in training"
        return f"a NumPy array of {given.dtype} and shape {given.shape}", f"Pass {turned}."
    if isinstance(given, nn.Module):
        return (
            f"the model {type(given).__name__}",
            "The attribution has its model: pass explain(images, target).",
        )
    if isinstance(given, (int, float, np.number)):
        return repr(given), "The images come first: explain(images, target)."
    if isinstance(given, (list, dict)):
        return f"a {type(given).__name__}", "Put the images into one tensor: torch.stack(images)."
    if type(given).__module__.startswith("PIL."):
        return "a PIL image", "Preprocess it as in training and add a batch axis: transform(image)[None]."
    return f"an object of {type(given).__name__}", "Preprocess the images as in training."


def check_images(images: tuple[Tensor, ...], weight: Tensor | None) -> None:
    """Raise unless inputs are finite floating-point tensors that fit the weights of the model."""
    for image in images:
        if not image.is_floating_point():
            _refuse_numbers(image)
        if image.numel() == 0:
            raise ValueError(
                f"inputs must hold at least one image; got shape {tuple(image.shape)}. Pass a batch that is not empty."
            )
    if len(images) == 1:
        _check_image(images[0], weight)
    for image in images:
        check_finite(image)


def check_finite(image: Tensor, name: str = "inputs") -> None:
    """Raise if a batch holds NaN or infinity; names the first image that does."""
    if not bool((finite := torch.isfinite(image)).all()):
        first = int((~finite).reshape(len(image), -1).any(1).nonzero()[0]) if image.dim() else 0
        advice = (
            "Look at how the images were read or normalised."
            if name == "inputs"
            else "Look at what made them."
        )
        raise ValueError(f"{name} must be finite; got NaN or infinity in image {first}. {advice}")


def _refuse_numbers(image: Tensor) -> None:
    if image.dim() < 2:
        raise TypeError(
            f"inputs must be floating point; got {image.dtype} of shape {tuple(image.shape)}, as targets are. The images come first: "
            "explain(images, target)."
        )
    raise TypeError(
        f"inputs must be floating point; got {image.dtype}. "
        "Scale and normalise as in training, for example images.float() / 255."
    )


def _check_image(images: Tensor, weight: Tensor | None) -> None:
    if images.dim() != 4:
        advice = "Add a batch axis with images[None]." if images.dim() == 3 else "Pass a batch of images."
        raise ValueError(
            f"inputs must have shape (batch, channel, height, width); got {tuple(images.shape)}. {advice}"
        )
    if weight is None or (images.dtype == weight.dtype and images.device == weight.device):
        return
    wanted, given = (f"{_named(part.dtype)} on {part.device}" for part in (weight, images))
    moved = (
        f"inputs.to({str(weight.device)!r})" if images.dtype == weight.dtype else f"inputs.to({weight.dtype})"
    )
    other = (
        f"model.to({str(images.device)!r})" if images.dtype == weight.dtype else f"model.to({images.dtype})"
    )
    raise ValueError(f"inputs must be {wanted}, as the model; got {given}. Call {moved}, or {other}.")


def _named(dtype: torch.dtype) -> str:
    return f"{dtype} (half precision)" if dtype in HALF else str(dtype)
