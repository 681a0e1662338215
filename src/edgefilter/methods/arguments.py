"""Arguments that several methods share: one image tensor, counts, and where random numbers come from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgefilter.errors import InputTypeError

__all__ = ["generator_of", "one_input", "whole_number"]


def one_input(inputs: Any) -> tuple[Tensor, bool]:
    """Return the images of a method that takes one tensor, and whether they came as a tuple of one.

    Raises
    ------
    InputTypeError
        If they are no tensor, or a tuple of anything but one tensor.
    ValueError
        If they are not a batch of images in floating point.
    """
    several = isinstance(inputs, tuple)
    image = inputs[0] if several and len(inputs) == 1 else inputs
    if not isinstance(image, Tensor):
        got = f"a tuple of {len(inputs)}" if several else type(inputs).__name__
        raise InputTypeError(
            f"inputs must be one Tensor, or a tuple of one; got {got}. Pass the images as one tensor."
        )
    if image.dim() != 4 or not image.is_floating_point() or not len(image):
        raise ValueError(
            f"inputs must be a floating-point Tensor of shape (N, C, H, W); got {image.dtype} of shape {tuple(image.shape)}. "
            "Preprocess the images as for the model."
        )
    return image.detach(), several


def whole_number(value: Any, name: str, least: int = 1) -> int:
    """Return an argument that counts something.

    Raises
    ------
    ValueError
        If it is not a whole number, or below the least one.

    Examples
    --------
    >>> whole_number(0, "n_samples")
    Traceback (most recent call last):
        ...
    ValueError: n_samples must be a whole number of at least 1; got 0. Pass for example n_samples=1.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"{name} must be a whole number of at least {least}; got {value!r}. Pass for example {name}={max(least, 1)}."
        )
    return value


def generator_of(seed: int | torch.Generator) -> torch.Generator:
    """Return where random numbers come from: a generator on the CPU, so that they are the same on every device.

    Parameters
    ----------
    seed : int or torch.Generator
        A generator goes on where it is; it is not reset.

    Raises
    ------
    ValueError
        If it is neither, or a generator of another device.

    Examples
    --------
    >>> torch.rand(2, generator=generator_of(0)).equal(torch.rand(2, generator=generator_of(0)))
    True
    """
    if isinstance(seed, torch.Generator):
        if seed.device.type != "cpu":
            raise ValueError(
                f"seed must be a generator on the CPU; got one on {seed.device}. Pass torch.Generator()."
            )
        return seed
    return torch.Generator().manual_seed(whole_number(seed, "seed", 0))
