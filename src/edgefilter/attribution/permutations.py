"""Shapley values of many players, from drawn orders in which they come in."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Estimate", "drawn_orders", "estimated", "sets_before"]


class Estimate(NamedTuple):
    """Shapley values of a game, shape (N, P) each.

    Attributes
    ----------
    values : Tensor
    errors : Tensor
        Standard errors; NaN if there was only one pair of orders.
    """

    values: Tensor
    errors: Tensor


def drawn_orders(players: int, pairs: int, seed: int) -> Tensor:
    """Return drawn orders of the players, each followed by its reverse, shape (2 * pairs, players).

    The orders are those of random Latin squares, in which each player comes in once at each place. On a network with 24 pairs of color
    and filter 16 such orders have an error of .044, independent ones of .048, rotations of one order, whose neighborhoods are the same,
    of .087 (stated: .046, .048, .044).

    Examples
    --------
    >>> drawn_orders(3, 2, seed=0).tolist()
    [[1, 2, 0], [0, 2, 1], [2, 0, 1], [1, 0, 2]]
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: list[Tensor] = []
    while len(drawn) < pairs:
        names, places, turns = (torch.rand(players, generator=generator).argsort() for _ in range(3))
        drawn += [names[(places + turn) % players] for turn in turns]
    orders = torch.stack(drawn[:pairs])
    return torch.stack([orders, orders.flip(1)], 1).flatten(0, 1)


def sets_before(orders: Tensor) -> Tensor:
    """Return who is there after 0, 1, ... players have come in, shape (orders, players + 1, players), bool.

    Examples
    --------
    >>> sets_before(torch.tensor([[1, 0]])).int().tolist()
    [[[0, 0], [0, 1], [1, 1]]]
    """
    place = orders.argsort(1)
    return place[:, None] < torch.arange(orders.shape[1] + 1)[:, None]


def estimated(orders: Tensor, values: Tensor, precision: float) -> Estimate:
    """Return Shapley values from the values of the sets in each order.

    Parameters
    ----------
    orders : Tensor, shape (2 * pairs, P)
        As from :func:`drawn_orders`.
    values : Tensor, shape (N, 2 * pairs, P + 1)
        Of the sets that :func:`sets_before` names.
    precision : float
        Relative rounding of a value: no error is smaller.

    Returns
    -------
    estimate : Estimate
        What a player adds when it comes in, averaged over the orders (Castro et al. 2009); an order and its reverse count as one
        draw for the errors (Mitchell et al. 2022).
    """
    gains = values.diff(dim=2)
    by_player = gains.gather(2, orders.argsort(1).expand(len(values), -1, -1))
    draws = torch.unflatten(by_player, 1, (-1, 2)).mean(2)
    rounding = precision * values.abs().amax((1, 2))[:, None]
    if draws.shape[1] == 1:
        return Estimate(draws.mean(1), torch.full_like(draws[:, 0], math.nan))
    errors = (draws.var(1) / draws.shape[1] + rounding**2).sqrt()
    return Estimate(draws.mean(1), errors)
