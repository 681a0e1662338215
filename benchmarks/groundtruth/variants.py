"""What cheaper or dearer calibrations would give: the parts of the default, put together in other ways."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

import edgefilter as ef
from edgefilter.attribution.calibration import corrected, measured, to_margins
from edgefilter.attribution.game import Game, all_sets

from .reference import filters_of, kept_outputs, parts

ROUNDS = 20  # of the correction in turn that to_margins is compared with


class Ingredients(NamedTuple):
    """What calibration has at hand: relevance and gradients by pair, (N, C, K), and two games."""

    relevance: Tensor
    gradients: dict[int, Tensor]
    colors: Game
    groups: Game
    members: Tensor

    @classmethod
    def of(cls, network: nn.Module, images: Tensor, targets: Tensor, kind: str) -> Ingredients:
        """Measure them."""
        relevance = ef.EdgeFilterAttribution(network, calibrate=False)
        question = relevance.question((images,), targets, None, None)
        with relevance.propagator(question.images).run(question) as forward:
            runs = forward.partial_runs(len(images))
            gradients = {nodes: runs.path_gradient(nodes).pairs for nodes in (1, 2, 8)}
        bank, games = filters_of(network).bank, []
        for level in ("color", kind):
            each = parts(bank, images.shape[1], level)
            sets = all_sets(len(each))
            keeps = torch.einsum("sp,pck->sck", sets.float(), each)
            games.append(Game(sets, kept_outputs(network, images, targets, list(keeps))))
        by_rules = relevance.attribute(images, targets, score="color_edge").detach().double()
        return cls(by_rules, gradients, *games, parts(bank, images.shape[1], kind)[:, 0].double())

    def evidence(self, *, both: bool = False) -> tuple[Tensor, Tensor]:
        """Return the sets of pairs that were played, and what they add to nothing."""
        keeps, values = [], []
        colors, filters = self.relevance.shape[1:]
        for game in (self.colors, self.groups)[: 1 + both]:
            some = game.sets[1:-1].double()
            each = some[:, :, None].expand(-1, -1, filters) if game is self.colors else (some @ self.members)
            keeps.append(each if game is self.colors else each[:, None].expand(-1, colors, -1))
            values.append(game.values[:, 1:-1] - game.none[:, None])
        return torch.cat(keeps), torch.cat(values, 1)

    def calibrated(self, nodes: int = 2, *, both: bool = False) -> Tensor:
        """Return pairs as the default does, with so many gradients, or with the evidence of both games."""
        worth = self.colors.shapley()
        return measured(self.relevance, self.gradients[nodes], self.evidence(both=both), worth)

    def with_groups(self, pairs: Tensor) -> Tensor:
        """Return pairs that add up to the values of colors and groups."""
        return to_margins(pairs, self.colors.shapley(), self.groups.shapley(), self.members)

    def in_turn(self, pairs: Tensor) -> Tensor:
        """Correct to the values of groups and of colors in turn."""
        for _ in range(ROUNDS):
            pairs = by_group(pairs, self.groups.shapley(), self.members)
            pairs = corrected(pairs, self.colors.shapley())
        return pairs


def by_group(pairs: Tensor, totals: Tensor, members: Tensor) -> Tensor:
    """Correct pairs so that each group of filters adds up to its value."""
    result = pairs.clone()
    for group, total in zip(members.bool(), totals.T, strict=True):
        result[:, :, group] = corrected(pairs[:, :, group].flatten(1), total).unflatten(
            1, (pairs.shape[1], -1)
        )
    return result


def variants(network: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return scores by pair, (N, C, K), of every variant by name."""
    kind = "order" if len(filters_of(network).bank.groups("order")) > 1 else "orientation"
    found = Ingredients.of(network, images, targets, kind)
    default, both = found.calibrated(), found.calibrated(both=True)
    relevance = corrected(found.relevance, found.colors.shapley())
    return {
        "default": default,
        "one gradient": found.calibrated(1),
        "eight gradients": found.calibrated(8),
        "no gradient": relevance,
        "gradient alone, 2": corrected(found.gradients[2], found.colors.shapley()),
        "evidence of both games": both,
        "two games": found.with_groups(default),
        "two games, in turn": found.in_turn(default),
        "two games, no gradient": found.with_groups(relevance),
        "two games, one gradient": found.with_groups(found.calibrated(1)),
        "two games, evidence of both": found.with_groups(both),
    }
