"""The game of the colors: what the output is with only some of them present, and what each of them is worth in it."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

__all__ = ["Game", "all_sets", "drawn_sets"]


def all_sets(players: int) -> Tensor:
    """Return all sets of players, shape (2**players, players): set ``i`` holds the players whose bits are set in ``i``.

    Examples
    --------
    >>> all_sets(2).int().tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    return (torch.arange(2**players)[:, None] >> torch.arange(players)) % 2 == 1


def drawn_sets(players: int, pairs: int, seed: int) -> Tensor:
    """Return none, all, each player alone, all without each, and drawn sets with their complements.

    Parameters
    ----------
    players : int
        4 or more.
    pairs : int
        How many sets of 2 to ``players - 2`` players are drawn, with a size ``s`` in proportion to ``1 / (s (players - s))``, as
        in KernelSHAP. Each is followed by its complement.
    seed : int

    Returns
    -------
    sets : Tensor, shape (2 + 2 * players + 2 * pairs, players), bool
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.arange(2, players - 1)
    drawn = sizes[torch.multinomial(_odds(sizes, players), pairs, replacement=True, generator=generator)]
    order = torch.rand(pairs, players, generator=generator).argsort(1).argsort(1)
    middle = order < drawn[:, None]
    alone = torch.eye(players, dtype=torch.bool)
    ends = torch.stack([torch.zeros(players, dtype=torch.bool), torch.ones(players, dtype=torch.bool)])
    return torch.cat([ends, alone, ~alone, torch.stack([middle, ~middle], 1).flatten(0, 1)])


def _odds(sizes: Tensor, players: int) -> Tensor:
    """Return by how much the sets of a size count together, as in KernelSHAP."""
    return (players - 1) / (sizes * (players - sizes)).double()


@dataclasses.dataclass(frozen=True)
class Game:
    """Values of the explained output with only some players present.

    Parameters
    ----------
    sets : Tensor, shape (S, P), bool
        From :func:`all_sets`, or from :func:`drawn_sets`.
    values : Tensor, shape (N, S), float64
        In units of the explained output.

    Examples
    --------
    Two players who are worth something together only share it:

    >>> game = Game(all_sets(2), torch.tensor([[0.0, 0.0, 0.0, 1.0]]))
    >>> game.shapley(), game.effects(), game.interactions()
    (tensor([[0.5000, 0.5000]]), tensor([[1., 1.]]), tensor([[[0., 1.],
             [1., 0.]]]))
    """

    sets: Tensor
    values: Tensor

    @property
    def is_exact(self) -> bool:
        """Whether all sets were played."""
        return len(self.sets) == 1 << self.players

    @property
    def players(self) -> int:
        """How many there are."""
        return self.sets.shape[1]

    @property
    def none(self) -> Tensor:
        """The value of nothing, shape (N,)."""
        return self.values[:, self._place(torch.zeros(self.players, dtype=torch.bool))]

    @property
    def all(self) -> Tensor:
        """The value of all, shape (N,)."""
        return self.values[:, self._place(torch.ones(self.players, dtype=torch.bool))]

    def effects(self) -> Tensor:
        """Return what the output loses without each player, shape (N, P)."""
        alone = torch.eye(self.players, dtype=torch.bool)
        return self.all[:, None] - self.values[:, [self._place(~one) for one in alone]]

    def shapley(self) -> Tensor:
        """Return the Shapley values, shape (N, P); they add up to the value of all minus that of nothing.

        Exact if all sets were played. Else by least squares with the weights of KernelSHAP, which is exact as well where players
        interact in pairs only.
        """
        return self._exact() if self.is_exact else self._fitted(torch.ones(self._pairs, dtype=torch.float64))

    def idle(self, tolerance: Tensor) -> Tensor:
        """Return the players who change nothing but by rounding, shape (N, P), bool.

        Parameters
        ----------
        tolerance : Tensor, shape (N,)
            What rounding is, in units of the explained output. All sets are looked at; where sets were drawn, each player alone and all without each.
        """
        gains = [self._gains(player) for player in range(self.players)]
        most = torch.stack([gain.abs().amax(1) for gain in gains], 1)
        return most <= tolerance[:, None]

    def errors(self) -> Tensor:
        """Return the standard errors of the Shapley values, shape (N, P): 0 if exact, else by the jackknife over drawn pairs."""
        if self.is_exact:
            return torch.zeros(len(self.values), self.players, dtype=self.values.dtype)
        left_out = 1 - torch.eye(self._pairs, dtype=torch.float64)
        found = torch.stack([self._fitted(weights) for weights in left_out])
        return ((found - found.mean(0)).square().sum(0) * (self._pairs - 1) / self._pairs).sqrt()

    def interactions(self) -> Tensor | None:
        """Return the Shapley interaction index of each pair of players, shape (N, P, P), 0 on the diagonal.

        By how much two players are worth more together than apart, averaged over the sets of others as in Grabisch & Roubens
        (1999). None where sets were drawn.
        """
        if not self.is_exact:
            return None
        players, place = self.players, torch.arange(len(self.sets))
        sizes = self.sets.sum(1)
        result = self.values.new_zeros(len(self.values), players, players)
        for i in range(players):
            for j in range(i):
                both = (1 << i) | (1 << j)
                without = place[(place & both) == 0]
                weight = self._weights(players - 1)[sizes[without]]
                gain = (
                    self.values[:, without | both]
                    - self.values[:, without | (1 << i)]
                    - self.values[:, without | (1 << j)]
                    + self.values[:, without]
                )
                result[:, i, j] = result[:, j, i] = (gain * weight).sum(1)
        return result

    @property
    def _pairs(self) -> int:
        return (len(self.sets) - 2 - 2 * self.players) // 2

    def _place(self, wanted: Tensor) -> int:
        return int((self.sets == wanted).all(1).nonzero()[0])

    def _weights(self, others: int) -> Tensor:
        """Return the probability of each single set of a size before a player, for sizes below ``others``."""
        counts = [math.factorial(size) * math.factorial(others - 1 - size) for size in range(others)]
        return torch.tensor(counts, dtype=self.values.dtype) / math.factorial(others)

    def _exact(self) -> Tensor:
        place, sizes = torch.arange(len(self.sets)), self.sets.sum(1)
        found = []
        for player in range(self.players):
            weight = self._weights(self.players)[sizes[place[~self.sets[:, player]]]]
            found.append((self._gains(player) * weight).sum(1))
        return torch.stack(found, 1)

    def _gains(self, player: int) -> Tensor:
        """Return by how much the value grows when a player joins each set that was played without and with it."""
        if self.is_exact:
            without = torch.arange(len(self.sets))[~self.sets[:, player]]
            return self.values[:, without | (1 << player)] - self.values[:, without]
        alone = torch.arange(self.players) == player
        first = self.values[:, self._place(alone)] - self.none
        return torch.stack([first, self.all - self.values[:, self._place(~alone)]], 1)

    def _fitted(self, pairs: Tensor) -> Tensor:
        """Return the best additive game, with some weights of the drawn pairs."""
        players = self.players
        sizes = torch.arange(2, players - 1)
        middle = float(_odds(sizes, players).sum()) / 2 / float(pairs.sum()) if len(pairs) else 0.0
        ends = float(_odds(torch.tensor(1), players)) / players
        weights = torch.cat([torch.full((2 * players,), ends).double(), pairs.repeat_interleave(2) * middle])
        played = self.sets[2:].double()
        share = played.mean(1, keepdim=True)
        total = self.all - self.none
        wanted = (self.values[:, 2:] - self.none[:, None]).T - share * total
        root = weights.sqrt()[:, None]
        solved: Tensor = torch.linalg.lstsq(root * (played - share), root * wanted, driver="gelsd").solution
        return solved.T + total[:, None] / players
