"""A network whose outputs are margins: what is measured where a class is explained against others."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["Margin"]


class Margin(nn.Module):
    """A network that returns by how much each output exceeds another one, the mean of the others, or chance, in log odds.

    Parameters
    ----------
    model : nn.Module
        With outputs of shape (N, classes).
    against : int, "rest" or "odds"

    Examples
    --------
    >>> outputs = torch.tensor([[5.0, 2.0, 1.0]])
    >>> Margin(nn.Identity(), 1)(outputs), Margin(nn.Identity(), "rest")(outputs)
    (tensor([[ 3.,  0., -1.]]), tensor([[ 3.5000, -1.0000, -2.5000]]))
    >>> Margin(nn.Identity(), "odds")(torch.tensor([[0.5, 0.25, 0.25]]).log()).exp()
    tensor([[2.0000, 0.6667, 0.6667]])
    """

    def __init__(self, model: nn.Module, against: int | Literal["rest", "odds"]) -> None:
        super().__init__()
        self.model, self.against = model, against
        self.train(model.training)

    def forward(self, *inputs: Any) -> Tensor:
        """Return the margins, shape (N, classes)."""
        output: Tensor = self.model(*inputs)
        others = output.shape[1] - 1
        if self.against == "odds":
            return output - _log_sums(output) + math.log(others)
        if self.against == "rest":
            return output - (output.sum(1, keepdim=True) - output) / others
        return output - output[:, self.against, None]


def _log_sums(output: Tensor) -> Tensor:
    """Return the logarithm of the sum of the exponentials of all others, for each output.

    All others are what is left of the sum without one: a difference that loses no digits where that one has half of the sum at most.
    The largest output alone may have more; the others of it are added up themselves.
    """
    largest = torch.zeros_like(output, dtype=torch.bool).scatter(1, output.argmax(1, keepdim=True), True)
    share = output.softmax(1).masked_fill(largest, 0)
    below = output.masked_fill(largest, -math.inf).logsumexp(1, keepdim=True)
    return torch.where(largest, below, output.logsumexp(1, keepdim=True) + (-share).log1p())
