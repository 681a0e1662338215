"""What scores are held against: Shapley values, those of each half of the orders, and the effects of silencing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

import edgefilter as ef

EXACT = 10  # parts up to which EdgeFilterShapley plays all sets


class Reference(NamedTuple):
    """The values of one level, shape (N, parts) each.

    Attributes
    ----------
    shapley : Tensor
        Exact, or the mean of two halves of the drawn orders.
    halves : tuple of Tensors
        Those of each half; empty if exact.
    effects : Tensor
        What the target's output loses without each part.
    """

    shapley: Tensor
    halves: tuple[Tensor, ...]
    effects: Tensor


def reference(network: nn.Module, images: Tensor, targets: Tensor, level: str, orders: int) -> Reference:
    """Play the game of a level: all sets of up to ten parts, else so many orders, one half with another seed."""
    game = ef.EdgeFilterShapley(network, level)
    kept = 1 - parts(filters_of(network).bank, images.shape[1], level)
    outputs = kept_outputs(network, images, targets, [torch.ones_like(kept[0]), *kept])
    effects = outputs[:, :1] - outputs[:, 1:]
    if len(kept) <= EXACT:
        return Reference(game.attribute(images, targets).double(), (), effects)
    halves = tuple(
        game.attribute(images, targets, n_permutations=orders // 2, seed=seed).double() for seed in (0, 1)
    )
    return Reference((halves[0] + halves[1]) / 2, halves, effects)


def filters_of(model: nn.Module) -> nn.Module:
    """Return the filter bank of a network."""
    return next(module for module in model.modules() if isinstance(module, ef.EdgeFilterBank2d))


def parts(bank: ef.FilterBank, colors: int, level: str) -> Tensor:
    """Return which pairs of color and filter a level takes together, as (parts, C, K) of ones and zeros."""
    filters = len(bank)
    if level == "color":
        return torch.eye(colors)[:, :, None].repeat(1, 1, filters)
    if level == "color_edge":
        return torch.eye(colors * filters).reshape(-1, colors, filters)
    groups = [(name,) for name in bank.names] if level == "edge" else list(bank.groups(level).values())
    members = torch.tensor([[float(name in group) for name in bank.names] for group in groups])
    return members[:, None].repeat(1, colors, 1)


def kept_outputs(network: nn.Module, images: Tensor, targets: Tensor, kept: Sequence[Tensor]) -> Tensor:
    """Return the target's output when only some pairs, (C, K) of ones and zeros, are kept: (N, len(kept)), float64."""
    front, tail = ef.split(network)
    with torch.no_grad():
        responses = front(images)
        found = [
            tail(responses * keep.to(responses).flatten()[:, None, None]).gather(1, targets[:, None])
            for keep in kept
        ]
    return torch.cat(found, 1).double()
