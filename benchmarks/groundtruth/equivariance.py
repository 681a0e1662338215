"""Turn colors or places in images and network together: the scores have to turn with them, exactly."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

import edgefilter as ef

from .methods import Explain
from .reference import filters_of

Turn = Callable[[Tensor], Tensor]

TURNS: dict[str, tuple[Turn, Turn]] = {  # each with its inverse
    "flipped left to right": (lambda x: x.flip(-1), lambda x: x.flip(-1)),
    "flipped upside down": (lambda x: x.flip(-2), lambda x: x.flip(-2)),
    "turned by 90 degrees": (lambda x: x.rot90(1, (-2, -1)), lambda x: x.rot90(-1, (-2, -1))),
}


def trainable(network: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions in their order, those of the filter bank excepted; the first reads the responses."""
    banks = [module for module in network.modules() if isinstance(module, ef.EdgeFilterBank2d)]
    fixed = [module for bank in banks for module in bank.modules()]
    return [m for m in network.modules() if isinstance(m, nn.Conv2d) and m not in fixed]


def colors_turned(network: nn.Module, colors: int) -> nn.Module:
    """Return the network that sees red where the given one sees green, and so on: for images rolled by one."""
    other = copy.deepcopy(network)
    reader = trainable(other)[0]
    reader.weight.data = reader.weight.data.unflatten(1, (colors, -1)).roll(1, 1).flatten(1, 2)
    return other


def exchanged(bank: ef.FilterBank, back: Turn) -> Tensor:
    """Return for each kernel the index of the one that is equal to it when turned back.

    Raises
    ------
    ValueError
        If the bank doesn't hold it: filters can't be permuted then.
    """
    weights = torch.tensor(bank.weight)
    equal = torch.isclose(back(weights)[:, None], weights[None], atol=1e-12).flatten(2).all(2)
    if not bool((equal.sum(1) == 1).all()):
        raise ValueError(f"bank must hold each kernel's turned one once; got {bank!r}. Use 'robinson'.")
    return equal.double().argmax(1)


def places_turned(network: nn.Module, turn: Turn, order: Tensor) -> nn.Module:
    """Return the network for turned images: every kernel turned, and the filters exchanged."""
    other = copy.deepcopy(network)
    first, *rest = trainable(other)
    cells = first.weight.data.unflatten(1, (-1, len(order)))[:, :, order]
    first.weight.data = turn(cells).flatten(1, 2).contiguous()
    for layer in rest:
        layer.weight.data = turn(layer.weight.data).contiguous()
    return other


def gap(got: Tensor, expected: Tensor) -> float:
    """Return the largest difference, as a share of the largest value."""
    return float((got - expected).abs().max() / expected.abs().max().clamp(min=1e-300))


def gaps(explain: Explain, network: nn.Module, images: Tensor, targets: Tensor) -> dict[str, float]:
    """Return how far the scores are from turning with the colors, and from being permuted as the kernels are."""
    bank = filters_of(network).bank

    def said(other: nn.Module, some: Tensor) -> tuple[Tensor | None, Tensor | None]:
        scores = explain(other, some, targets)
        return scores.level(bank, "color"), scores.level(bank, "edge")

    color, edge = said(network, images)
    found = {}
    if color is not None:
        turned = said(colors_turned(network, images.shape[1]), images.roll(1, 1))[0]
        found["color_gap"] = gap(turned, color.roll(1, 1))
    if edge is not None:
        found["filter_gap"] = 0.0
        for turn, back in TURNS.values():
            order = exchanged(bank, back)
            after = said(places_turned(network, turn, order), turn(images).contiguous())[1]
            found["filter_gap"] = max(found["filter_gap"], gap(after, edge[:, order]))
    return found
