"""Arguments that several methods share: inputs, models, counts, and where random numbers come from."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgefilter._checks import is_number
from edgefilter.attribution.arguments import Target, as_target
from edgefilter.attribution.images import check_finite
from edgefilter.errors import InputTypeError

__all__ = [
    "as_baselines",
    "check_evaluation",
    "generator_of",
    "imported",
    "input_tensors",
    "of_each",
    "one_input",
    "target_of_each",
    "whole_number",
]

SWITCHED = (  # layers that compute something else in training mode
    nn.modules.batchnorm._NormBase,  # noqa: SLF001 - the only name of what BatchNorm and InstanceNorm share
    nn.modules.dropout._DropoutNd,  # noqa: SLF001
    nn.RReLU,
)


def one_input(inputs: Any, name: str = "inputs", *, images: bool = True) -> tuple[Tensor, bool]:
    """Return the images of a method that takes one tensor, and whether they came as a tuple of one.

    Parameters
    ----------
    images : bool, default: True
        Whether it must be images; else it may be a batch of points (N, D) or of volumes as well.

    Raises
    ------
    InputTypeError
        If they are no tensor, or a tuple of anything but one tensor.
    ValueError
        If they are not a batch of finite images in floating point.
    """
    several = isinstance(inputs, tuple)
    image = inputs[0] if several and len(inputs) == 1 else inputs
    if not isinstance(image, Tensor):
        got = f"a tuple of {len(inputs)}" if several else type(inputs).__name__
        raise InputTypeError(
            f"{name} must be one Tensor, or a tuple of one; got {got}. Pass the images as one tensor."
        )
    fits = image.dim() == 4 or (not images and image.dim() in (2, 5))  # 3: an image without a batch
    if not fits or not image.is_floating_point() or not len(image):
        shape = "(N, C, H, W)" if images else "(N, C, H, W) or (N, D)"
        raise ValueError(
            f"{name} must be a floating-point Tensor of shape {shape}; got {image.dtype} of shape {tuple(image.shape)}. "
            "Preprocess the images as for the model."
        )
    check_finite(image, name)
    return image.detach(), several


def of_each(numbers: Tensor, like: Tensor) -> Tensor:
    """Return one number for each row, shape (N,), with as many axes as a batch.

    Examples
    --------
    >>> of_each(torch.ones(2), torch.ones(2, 3, 4, 4)).shape
    torch.Size([2, 1, 1, 1])
    """
    return numbers.reshape(-1, *[1] * (like.dim() - 1))


def input_tensors(inputs: Any, name: str = "inputs") -> tuple[tuple[Tensor, ...], bool]:
    """Return the inputs of a method that takes one tensor or a tuple of them, and whether they came as a tuple.

    Detached, and fit for a backward pass also inside ``torch.inference_mode``.

    Raises
    ------
    InputTypeError
        If they are no tensors.
    ValueError
        If one is not a batch of finite floating-point numbers, or they are not of one length.

    Examples
    --------
    >>> parts, several = input_tensors((torch.zeros(2, 3), torch.zeros(2, 1, 4, 4)))
    >>> [tuple(part.shape) for part in parts], several
    ([(2, 3), (2, 1, 4, 4)], True)
    """
    several = isinstance(inputs, tuple)
    parts: tuple[Any, ...] = inputs if several else (inputs,)
    wrong = next((part for part in parts if not isinstance(part, Tensor)), None)
    if wrong is not None or not parts:
        got = "an empty tuple" if not parts else type(wrong).__name__ + (" in a tuple" if several else "")
        raise InputTypeError(
            f"{name} must be a Tensor, or a tuple of them; got {got}. Pass the images as one tensor."
        )
    for part in parts:
        if not part.dim() or not part.is_floating_point() or not len(part):
            raise ValueError(
                f"{name} must be floating-point Tensors of shape (N, ...) with N of at least 1; "
                f"got {part.dtype} of shape {tuple(part.shape)}. Preprocess the images as for the model."
            )
        check_finite(part, name)
    if len({len(part) for part in parts}) > 1:
        raise ValueError(
            f"{name} must have one length N; got {[len(part) for part in parts]}. Pass the parts of the same examples."
        )
    with torch.inference_mode(mode=False):
        return tuple(part.clone() if part.is_inference() else part.detach() for part in parts), several


def as_baselines(given: Any, images: Tensor) -> Tensor:
    """Return baselines that broadcast to the images, in their dtype and on their device.

    Raises
    ------
    TypeError, ValueError
        If they are no numbers, or have another shape.

    Examples
    --------
    >>> as_baselines(None, torch.ones(2, 3)), as_baselines(torch.zeros(1, 3), torch.ones(2, 3)).shape
    (tensor(0.), torch.Size([1, 3]))
    """
    if isinstance(given, tuple) and len(given) == 1:
        given = given[0]
    if not (given is None or is_number(given) or isinstance(given, Tensor)):
        raise InputTypeError(
            f"baselines must be None, a number or a Tensor; got {type(given).__name__}. Pass for example baselines=0."
        )
    found = 0 if given is None else given
    if isinstance(found, Tensor) and found.dim() and found.shape not in (images.shape, images[:1].shape):
        raise ValueError(
            f"baselines must be a number, or have shape {tuple(images.shape)} or {tuple(images[:1].shape)}; "
            f"got {tuple(found.shape)}. Add a batch axis with baselines[None] if it is missing; pass classes as target=."
        )
    return torch.as_tensor(found, dtype=images.dtype, device=images.device).detach()


def check_evaluation(forward_func: Any) -> None:
    """Raise if a model holds a layer that computes something else, or changes, while it is training.

    Raises
    ------
    ValueError
        If BatchNorm, Dropout or the like is in training mode. Other layers may be: they do not care.

    Examples
    --------
    >>> check_evaluation(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    >>> check_evaluation(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    Traceback (most recent call last):
        ...
    ValueError: model must be in evaluation mode; layer '1' (Dropout) is training. Call model.eval() first.
    """
    if isinstance(forward_func, nn.Module):
        for name, module in forward_func.named_modules():
            if isinstance(module, SWITCHED) and module.training:  # frozen scripted modules have no flag
                layer = f"layer {name!r} ({type(module).__name__})" if name else type(module).__name__
                raise ValueError(
                    f"model must be in evaluation mode; {layer} is training. Call model.eval() first."
                )


def target_of_each(given: Any, count: int, name: str = "target") -> Target:
    """Return a target for so many images: one for all, or one for each. With copies of images the number could not be named.

    Raises
    ------
    AssertionError
        If there is another number of them.

    Examples
    --------
    >>> target_of_each([3], 2), target_of_each([3, 1], 2)
    (3, [3, 1])
    """
    target = as_target(given, name)
    several = len(target) if isinstance(target, list) else target.numel() if isinstance(target, Tensor) else 1
    if several not in (1, count):
        raise AssertionError(
            f"{name} must be one, or one for each of the {count} images; got {several}. Pass as many as there are images."
        )
    return target[0] if isinstance(target, list) and several == 1 else target


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
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"{name} must be a whole number of at least {least}; got {value!r}. Pass for example {name}={max(least, 1)}."
        )
    return int(value)


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


def imported(module: str, user: str) -> Any:
    """Return a module of a library that not everybody has installed.

    Raises
    ------
    ImportError
        If it is not; the message says how to get it.

    Examples
    --------
    >>> imported("math", "this").pi > 3
    True
    """
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        library = {"skimage": "scikit-image", "scipy": "SciPy"}.get(module.partition(".")[0], module)
        raise ImportError(
            f"{library} is required for {user}; run pip install 'edgefilter[demo]' (in a clone: '.[demo]')."
        ) from cause
