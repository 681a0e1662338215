"""Weights for features in a training loop, made of their relevance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgefilter.attribution.images import check_finite
from edgefilter.errors import InputTypeError

__all__ = ["relevance_weights"]


def relevance_weights(relevance: Tensor, dim: int | Sequence[int] = 1) -> Tensor:
    r"""Return weights from 0 to 2 for the values whose relevance is given: above 1 for what speaks for the output.

    For explanation-guided training: features are multiplied by their weights, the layers behind them run a second time, and the loss of that
    run is added to the first. It costs one explanation and one further pass through those layers at each step; the trained network
    is used as it is.

    Parameters
    ----------
    relevance : Tensor, shape (N, C, H, W) or any other
        Signed, in any unit, floating point; often that of the log odds (``against="odds"``).
    dim : int or sequence of int, default: 1
        The axis or axes over which the largest size is taken: by default the channels of each place.

    Returns
    -------
    weights : Tensor, shaped as ``relevance``
        From 0 to 2, without a gradient; dtype and device of ``relevance``. They are 1 where the relevance is 0, and all 1 where it
        is 0 along the whole axis.

    Raises
    ------
    TypeError
        If ``relevance`` is no tensor of floating point numbers, or ``dim`` no number.
    ValueError
        If ``relevance`` is not finite.
    IndexError
        If it does not have such an axis.

    Notes
    -----
    With relevance :math:`R`,

    .. math::

        w = 1 + \frac{R}{\max_{\mathrm{dim}} |R|} .

    Whether it helps is to be tried. In the tutorial on few examples it gains some points in as many steps, and loses to training without
    explanations that gets the same time.

    The weights do not change if the relevance is multiplied by a positive number. With the opposite sign they are :math:`2 - w`.

    References
    ----------
    Sun et al., "Explanation-guided training for cross-domain few-shot classification", ICPR 2020 (arXiv 2007.08790).

    Examples
    --------
    >>> relevance_weights(torch.tensor([[4.0, -2.0, 0.0], [0.0, 0.0, 0.0]]))
    tensor([[2.0000, 0.5000, 1.0000],
            [1.0000, 1.0000, 1.0000]])
    """
    _check(relevance)
    axes = _axes(relevance, dim)
    relevance = relevance.detach()
    largest = relevance.abs().amax(axes, keepdim=True) if relevance.numel() else relevance
    return 1 + relevance / torch.where(largest == 0, 1, largest)


def _check(relevance: Any) -> None:
    if isinstance(relevance, Tensor) and relevance.is_floating_point():
        check_finite(relevance, "relevance")
        return
    got = f"a tensor of {relevance.dtype}" if isinstance(relevance, Tensor) else type(relevance).__name__
    raise InputTypeError(
        f"relevance must be a floating-point Tensor; got {got}. Pass what attribute() returned for the features."
    )


def _axes(relevance: Tensor, dim: int | Sequence[int]) -> tuple[int, ...]:
    axes = tuple(dim) if isinstance(dim, Sequence) else (dim,)
    count = relevance.dim()
    for axis in axes:
        if not isinstance(axis, (int, np.integer)):
            raise InputTypeError(
                f"dim must be a whole number, or several; got {dim!r}. Pass the axis of the channels."
            )
        if not -count <= axis < count:
            raise IndexError(
                f"dim must be an axis of relevance, from {-count} to {count - 1}; got {dim!r} for the shape {tuple(relevance.shape)}. Pass "
                "the axis of the channels."
            )
    return axes
