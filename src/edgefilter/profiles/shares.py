"""The shares of an image's pairs of color and filter: scores without units, which can be averaged over images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from edgefilter.attribution.explanation import Explanation

__all__ = ["Shares", "shares_of"]


class Shares(NamedTuple):
    """The shares of the pairs in the explanations of a batch.

    Attributes
    ----------
    values : Tensor, shape (N, C, K), float64
        Scores divided by the sum of their absolute values; they mean nothing where ``usable`` is False.
    usable : Tensor, shape (N,), bool
        False for images without any relevance, or with NaN or infinite relevance.
    scale : Tensor, shape (N,), float64
        What was divided by.
    """

    values: Tensor
    usable: Tensor
    scale: Tensor


def shares_of(explanation: Explanation) -> Shares:
    """Return the shares of all pairs of color and filter in a batch.

    Examples
    --------
    >>> import edgefilter as ef
    >>> response = torch.tensor([3.0, -1.0]).reshape(1, 1, 2, 1, 1)
    >>> explanation = ef.Explanation(response, None, torch.ones(1), (0,), ("gray",), ("sobel_x", "sobel_y"))
    >>> shares_of(explanation).values
    tensor([[[ 0.7500, -0.2500]]], dtype=torch.float64)
    """
    response = explanation.response.detach()
    rows = response.sum(4, dtype=torch.promote_types(response.dtype, torch.float32))
    color_edge = rows.sum(3, dtype=torch.float64)  # at once it takes ten times as long
    scale = color_edge.abs().sum((1, 2))
    return Shares(color_edge / scale[:, None, None], scale.isfinite() & (scale > 0), scale)
