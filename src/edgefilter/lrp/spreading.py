"""Relevance of learned constants among the values, such as class tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from .steps import Step

__all__ = ["Spread"]


class Spread(Step):
    """Hand the relevance of constants among the values to the other values of the sample, by size.

    Constants are biases: they say nothing about the image.
    """

    rule = "Spread"

    def hand_back(self, relevance: Tensor) -> tuple[Tensor, ...]:
        """Return the relevance of the values that depend on the image; zero for the constants."""
        (inputs,) = self.inputs
        mask: Tensor = self.module.mask  # type: ignore[assignment]
        size = torch.where(mask, inputs.abs(), 0)
        axes = tuple(range(1, inputs.dim()))
        total = size.sum(axes, keepdim=True)
        share = torch.where(total > 0, size / torch.where(total > 0, total, 1), 0)
        lost = torch.where(mask, 0, relevance).sum(axes, keepdim=True)
        return (torch.where(mask, relevance, 0) + share * lost,)
