"""The explained outputs of several versions of each example, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from captum._utils.common import (
    ExpansionTypes,
    _expand_additional_forward_args,
    _expand_target,
    _run_forward,
)
from torch import Tensor

from edgefilter.attribution.arguments import Target, check_output
from edgefilter.attribution.explained import output_weights

__all__ = ["expanded", "gradients_of", "outputs_of"]


def expanded(target: Target, extra: tuple[Any, ...], count: int) -> tuple[Target, tuple[Any, ...]]:
    """Return the target and the further arguments for so many versions of each example, as in Captum's NoiseTunnel.

    Examples
    --------
    >>> expanded([3, 1], (), 2)
    ([3, 3, 1, 1], ())
    """
    together = ExpansionTypes.repeat_interleave
    return _expand_target(target, count, together), _expand_additional_forward_args(extra, count, together)


def outputs_of(
    forward_func: Callable[..., Any],
    rows: tuple[Tensor, ...],
    count: int,
    target: Target,
    extra: tuple[Any, ...] = (),
) -> Tensor:
    """Return the output that the target picks, for each of several versions of each example.

    Parameters
    ----------
    forward_func : callable
    rows : tuple of Tensors, shape (N * count, ...)
        The versions of an example stand together.
    count : int
        The versions of each example.
    target : Target
        Of the N examples.
    extra : tuple, optional
        Further arguments for the N examples.

    Returns
    -------
    outputs : Tensor, shape (N, count)

    Raises
    ------
    ValueError, AssertionError, IndexError
        If the target does not pick one output of each.
    """
    target, extra = expanded(target, extra, count)
    output, weights = _run(forward_func, rows, target, extra)
    return torch.where(weights != 0, output, 0).reshape(len(output), -1).sum(1).reshape(-1, count)


def gradients_of(
    forward_fn: Callable[..., Any],
    inputs: tuple[Tensor, ...],
    target_ind: Target = None,
    additional_forward_args: Any = (),
) -> tuple[Tensor, ...]:
    """Return the gradients of the outputs that the targets pick, with respect to the inputs.

    In place of Captum's function of these arguments: 0 where an output does not depend on an input, and a model may change its input.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 2.0]]).requires_grad_()
    >>> gradients_of(lambda x: x**2, (x,), [-1])
    (tensor([[0., 4.]]),)
    """
    with torch.enable_grad():
        output, weights = _run(forward_fn, inputs, target_ind, additional_forward_args)
        found: Any = [None] * len(inputs)
        if output.requires_grad:
            found = torch.autograd.grad(output, inputs, weights, allow_unused=True)
    return tuple(
        torch.zeros_like(part) if one is None else one for part, one in zip(inputs, found, strict=True)
    )


def _run(
    forward_func: Callable[..., Any], rows: tuple[Tensor, ...], target: Target, extra: Any
) -> tuple[Tensor, Tensor]:
    """Return the output of a model, which may work in place, and 1 where the target picks it."""
    output = _run_forward(forward_func, tuple(part.clone() for part in rows), None, extra)
    count = len(rows[0])
    output = check_output(output.reshape(1) if count == 1 and _is_number(output) else output, count)
    return output, output_weights(output, target)


def _is_number(output: Any) -> bool:
    return isinstance(output, Tensor) and output.dim() == 0
