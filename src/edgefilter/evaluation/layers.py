"""The convolutions of a model whose output has places: where class activation maps are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["convolutions_by_size", "found_once"]


def found_once(model: nn.Module) -> Callable[[Tensor], list[nn.Module]]:
    """Return what gives the convolutions of a model by size, found when it is called first."""
    known: list[nn.Module] = []

    def convolutions(inputs: Tensor) -> list[nn.Module]:
        if not known:
            known.extend(convolutions_by_size(model, inputs))
        return known

    return convolutions


def convolutions_by_size(model: nn.Module, inputs: Tensor) -> list[nn.Module]:
    """Return the last convolution of each size of map, in the order in which they run.

    Those with a single place, as in squeeze-and-excitation, do not count.

    Parameters
    ----------
    model : nn.Module
    inputs : Tensor, shape (N, C, H, W)
        The first image runs through the model.

    Raises
    ------
    ValueError
        If there is none.
    """
    last: dict[tuple[int, ...], nn.Module] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        size = tuple(output.shape[2:])
        if output.shape[2:].numel() > 1:
            last.pop(size, None)  # so that the order is that of the last ones
            last[size] = module

    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.Conv2d)]
    try:
        with torch.no_grad():
            model(inputs[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not last:
        raise ValueError(
            "model must have a convolution with more than one place; got one without. Leave out the methods that "
            "explain at a convolution."
        )
    return list(last.values())
