"""Scores that are measured: colors by their game, filters by the division that foretells it best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from edgefilter._checks import closest
from edgefilter.banks.groups import KINDS, as_groups
from edgefilter.lrp.stem import Read

from .game import Game, all_sets, drawn_sets
from .partial import PartialRuns
from .places import by_color, to_places

__all__ = ["Calibrated", "ColorGame", "Games", "calibrated", "corrected", "measured", "to_margins"]

Groups = str | Mapping[str, Sequence[str]]
Games = tuple[Groups, ...]
Calibrate = bool | Literal["color"] | tuple[str, Groups]

MOST_GROUPS = 6  # 64 runs

SEED = 0
ROUNDING = (
    2 / 3
)  # power of the precision: what two runs of one model differ by, 2.4e-5 of the sizes in float32
DRAWN = 32  # pairs of sets of colors, so that their spread tells the error
HALVES = (
    3  # pairs of sets of filters, where there is one color: 6 runs, as many as the game of three colors takes
)


class ColorGame(NamedTuple):
    """What the game of the colors gave.

    Attributes
    ----------
    effects : Tensor, shape (N, C)
        What the explained output loses when a color is silenced.
    errors : Tensor, shape (N, C)
        Standard errors of the color scores; 0 where they are exact.
    interactions : Tensor, shape (N, C, C), or None
    """

    effects: Tensor
    errors: Tensor
    interactions: Tensor | None

    @classmethod
    def joined(cls, parts: Sequence[ColorGame]) -> ColorGame:
        """Return those of some batches as one."""
        together = [one.interactions for one in parts if one.interactions is not None]
        return cls(
            torch.cat([one.effects for one in parts]),
            torch.cat([one.errors for one in parts]),
            torch.cat(together) if together else None,
        )


class Calibrated(NamedTuple):
    """Relevance that was corrected to what was measured.

    Attributes
    ----------
    shares : list of Tensors
        At the responses as they were read.
    response : Tensor, shape (N, C, K, H', W')
    base : Tensor, shape (N,)
    colors : ColorGame
    swing : Tensor, shape (N,)
        By how much the values of the game differ from that of nothing at most.
    """

    shares: list[Tensor]
    response: Tensor
    base: Tensor
    colors: ColorGame
    swing: Tensor


def calibrated(
    relevance: Sequence[Tensor], reads: Sequence[Read], runs: PartialRuns, games: Games
) -> Calibrated:
    """Correct the relevance at the responses to what the games say.

    Parameters
    ----------
    relevance : sequence of Tensors
        At the responses as they were read.
    reads : sequence of Read
    runs : PartialRuns
    games : tuple
        ``"color"``, and after it groups of filters, if they are to be exact as well.
    """
    response = by_color(reads, relevance)
    by_rules = response.sum((3, 4)).cpu().double()
    game, path = _color_game(runs), runs.path_gradient()
    sizes = path.pairs.abs()
    scale = game.values.abs().amax(1) + sizes.sum((1, 2))
    rounding = scale * torch.finfo(runs.dtype).eps ** ROUNDING
    idle = (sizes.sum(2) == 0) & game.idle(rounding)
    colors = _worth(game, idle)
    pairs = measured(by_rules, path.pairs, _evidence(game, runs), colors)
    if len(games) > 1:
        bank = reads[0].bank
        groups = _membership(bank.names, as_groups(bank, games[1]))
        played = _group_game(groups, game, runs)
        unread = (sizes.sum(1) @ groups.T == 0) & played.idle(rounding)
        filters = _worth(played, unread)
        pairs = to_margins(pairs, colors, filters, groups)
    shares, response = to_places(relevance, reads, pairs, path.places)
    swing = (game.values - game.none[:, None]).abs().amax(1)
    return Calibrated(shares, response, game.none, _color_scores(game, idle, response), swing)


def _worth(game: Game, idle: Tensor) -> Tensor:
    """Return the Shapley values, shape (N, P), exactly nothing for idle players."""
    busy = game.shapley().masked_fill(idle, 0)
    return corrected(busy, game.all - game.none).masked_fill(idle, 0)


def _color_scores(game: Game, idle: Tensor, like: Tensor) -> ColorGame:
    together = game.interactions()
    if together is not None:
        together = together.masked_fill(idle[:, :, None] | idle[:, None], 0).to(like)
    effects, errors = (values.masked_fill(idle, 0).to(like) for values in (game.effects(), game.errors()))
    return ColorGame(effects, errors, together)


def _color_game(runs: PartialRuns) -> Game:
    count = runs.colors
    few = 2**count <= 2 + 2 * count + 2 * DRAWN  # no more than would be drawn
    sets = all_sets(count) if few else drawn_sets(count, DRAWN, SEED)
    return Game(sets, runs.played(sets, torch.eye(count)[:, :, None], runs.nothing()))


def _group_game(groups: Tensor, colors: Game, runs: PartialRuns) -> Game:
    sets, players = all_sets(len(groups)), groups[:, None].expand(-1, runs.colors, -1)
    return Game(sets, runs.played(sets, players, colors.none))


def _evidence(game: Game, runs: PartialRuns) -> tuple[Tensor, Tensor]:
    """Return sets of pairs and the values that they add to nothing: those of the colors, or drawn halves of the filters."""
    sizes = game.sets.sum(1)
    some = (sizes > 0) & (sizes < game.players)
    if bool(some.any()) or runs.filters == 1:
        keeps = game.sets[some].double()[:, :, None].expand(-1, -1, runs.filters)
        return keeps, game.values[:, some] - game.none[:, None]
    generator = torch.Generator().manual_seed(SEED)
    order = torch.rand(HALVES, runs.filters, generator=generator).argsort(1)
    names = runs.sites[0].bank.names  # by which the draws go, whatever the order of the bank
    by_name = torch.tensor(sorted(range(len(names)), key=names.__getitem__)).argsort()
    half = (order < runs.filters // 2)[:, by_name]
    keeps = torch.cat([half, ~half]).double()[:, None].expand(-1, runs.colors, -1)
    return keeps, runs.outputs(list(keeps)) - game.none[:, None]


def _membership(filters: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Tensor:
    """Return 1 for the filters of each group, shape (G, K)."""
    if len(groups) > MOST_GROUPS:
        raise ValueError(
            f"calibrate must name at most {MOST_GROUPS} groups of filters; got {len(groups)}. Take together what belongs together, "
            "or use EdgeFilterShapley."
        )
    return torch.tensor([[name in members for name in filters] for members in groups.values()]).double()


def as_games(calibrate: Any) -> Games:
    """Return which games the scores are calibrated by; none for relevance alone.

    Raises
    ------
    ValueError
        If it is none of the known forms.

    Examples
    --------
    >>> as_games(True), as_games(False), as_games(("color", "order"))
    (('color',), (), ('color', 'order'))
    """
    if isinstance(calibrate, bool):
        return ("color",) if calibrate else ()
    games: Any = (calibrate,) if isinstance(calibrate, str) else calibrate
    kinds = isinstance(games, (tuple, list)) and 0 < len(games) <= 2 and games[0] == "color"
    if not kinds or not all(isinstance(game, (str, Mapping)) for game in games):
        raise ValueError(
            f"calibrate must be True, False, 'color' or ('color', groups of filters); got {calibrate!r}. Pass for example "
            "('color', 'order')."
        )
    if len(games) == 2 and isinstance(games[1], str) and games[1] not in KINDS:
        raise ValueError(
            f"calibrate must name groups of filters, one of {', '.join(KINDS)}; got {games[1]!r}{closest(games[1], KINDS)}"
        )
    return tuple(games)


def corrected(values: Tensor, totals: Tensor) -> Tensor:
    """Add to values what their sum lacks of a total, in proportion to their sizes, along the last axis.

    Parameters
    ----------
    values : Tensor, shape (..., P)
    totals : Tensor, shape (...)

    Returns
    -------
    values : Tensor, shape (..., P)
        ``v + (total - sum v) |v| / sum |v|``; equal parts where all are zero. Their sum is the total.

    Examples
    --------
    >>> corrected(torch.tensor([3.0, -1.0]), torch.tensor(6.0))
    tensor([6., 0.])
    """
    size = values.abs()
    whole = size.sum(-1, keepdim=True)
    share = torch.where(whole > 0, size / torch.where(whole > 0, whole, 1), 1 / size.shape[-1])
    return values + (totals - values.sum(-1))[..., None] * share


def measured(relevance: Tensor, gradient: Tensor, evidence: tuple[Tensor, Tensor], worth: Tensor) -> Tensor:
    """Return scores by pair: two divisions, each weighed by how well it foretells values that were measured.

    Parameters
    ----------
    relevance, gradient : Tensor, shape (N, C, K)
        What each pair of color and filter gets by the rules, and by responses times gradient on the way from none to all.
    evidence : (Tensor, Tensor), shapes (S, C, K) and (N, S)
        Sets of pairs, 1 for those that are present, and the output with them minus the output with none.
    worth : Tensor, shape (N, C)
        The Shapley values of the colors.

    Returns
    -------
    pairs : Tensor, shape (N, C, K)
        Each color's add up to its Shapley value.
    """
    sets, truth = evidence
    totals = worth.sum(1)
    pairs, errors = [], []
    for division, other in ((relevance, gradient), (gradient, relevance)):
        guess = corrected(division.flatten(1), totals).view_as(division)
        errors.append((truth - torch.einsum("nck,sck->ns", guess, sets)).square().mean(1))
        blank = (division == 0).all(2, keepdim=True)  # what says nothing of a color leaves it to the other
        pairs.append(corrected(torch.where(blank, other, division), worth))
    wrong = errors[0] + errors[1]  # inverse errors: the weight of one is the share of the other's error
    weight = torch.where(wrong > 0, errors[1] / torch.where(wrong > 0, wrong, 1), 0.5)[:, None, None]
    return weight * pairs[0] + (1 - weight) * pairs[1]


def to_margins(pairs: Tensor, colors: Tensor, filters: Tensor, groups: Tensor) -> Tensor:
    """Correct scores by pair so that they add up to given scores of the colors and of groups of filters.

    Parameters
    ----------
    pairs : Tensor, shape (N, C, K)
    colors : Tensor, shape (N, C)
    filters : Tensor, shape (N, G)
        With the same sum.
    groups : Tensor, shape (G, K)
        1 for the filters of a group.

    Returns
    -------
    pairs : Tensor, shape (N, C, K)
        ``T + |T| (a_c + b_g)``, the nearest table in ``sum (T' - T)^2 / |T|``.
    """
    if not bool(pairs.isfinite().all()):
        return torch.full_like(pairs, torch.nan)
    size = pairs.abs()
    empty = (
        (size.sum(2) == 0) & (colors != 0),
        ((size.sum(1) @ groups.T == 0) & (filters != 0)).to(size) @ groups > 0,
    )
    size = torch.where(
        empty[0][:, :, None] | empty[1][:, None], 1, size
    )  # equal parts, if there are none to go by
    table = size @ groups.T
    lacking = torch.cat([colors - pairs.sum(2), filters - (pairs @ groups.T).sum(1)], 1)
    system = torch.cat(
        [
            torch.cat([torch.diag_embed(table.sum(2)), table], 2),
            torch.cat([table.mT, torch.diag_embed(table.sum(1))], 2),
        ],
        1,
    )
    parts: Tensor = (torch.linalg.pinv(system, hermitian=True) @ lacking[:, :, None])[..., 0]
    count = colors.shape[1]
    return pairs + size * (parts[:, :count, None] + (parts[:, count:] @ groups)[:, None])
