"""A network whose outputs are margins: what is measured where a class is explained against others."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

__all__ = ["Margin"]


class Margin(nn.Module):
    """A network that returns by how much each output exceeds another one, or the mean of the others.

    Parameters
    ----------
    model : nn.Module
        With outputs of shape (N, classes).
    against : int or "rest"

    Examples
    --------
    >>> import torch
    >>> outputs = torch.tensor([[5.0, 2.0, 1.0]])
    >>> Margin(nn.Identity(), 1)(outputs), Margin(nn.Identity(), "rest")(outputs)
    (tensor([[ 3.,  0., -1.]]), tensor([[ 3.5000, -1.0000, -2.5000]]))
    """

    def __init__(self, model: nn.Module, against: int | Literal["rest"]) -> None:
        super().__init__()
        self.model, self.against = model, against
        self.train(model.training)

    def forward(self, *inputs: Any) -> Tensor:
        """Return the margins, shape (N, classes)."""
        output: Tensor = self.model(*inputs)
        if self.against == "rest":
            others = output.shape[1] - 1
            return output - (output.sum(1, keepdim=True) - output) / others
        return output - output[:, self.against, None]
