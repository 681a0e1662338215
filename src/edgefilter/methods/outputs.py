"""The explained outputs of several versions of each example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captum._utils.common import (
    ExpansionTypes,
    _expand_additional_forward_args,
    _expand_target,
    _run_forward,
)
from torch import Tensor

from edgefilter.attribution.arguments import Target

__all__ = ["expanded", "outputs_of"]


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
    ValueError
        If the target picks more or less than one output of each.
    """
    output = _run_forward(forward_func, rows, *expanded(target, extra, count))
    if output.numel() != len(rows[0]):
        raise ValueError(
            f"target must pick one output of each example; got {target!r} for an output of shape {tuple(output.shape)}. "
            "Pass the index of a class."
        )
    outputs: Tensor = output.reshape(-1, count)
    return outputs
