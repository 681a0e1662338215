"""The reference: Shapley values of colors, filters or groups of them, exact or with standard errors."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from captum.attr import PerturbationAttribution
from captum.log import log_usage
from torch import Tensor, nn

from edgefilter._checks import closest, counted
from edgefilter.banks.bank import FilterBank
from edgefilter.banks.colors import Basis, ColorGroups
from edgefilter.banks.groups import KINDS, as_groups

from .arguments import Against, Question, Target
from .attribution import EdgeFilterAttribution
from .forward import warn_of_numbers
from .game import Game, all_sets
from .partial import PartialRuns
from .permutations import Estimate, drawn_orders, estimated, sets_before
from .scores import per_image

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EdgeFilterShapley", "ShapleyValues"]

MOST_SETS = 1024  # up to so many, all sets are played
PLAYERS = ("color", "edge", "color_edge", *KINDS)

Players = str | Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True, eq=False)
class ShapleyValues:
    """Shapley values of a batch of predictions, in units of the explained output.

    Attributes
    ----------
    values, errors : Tensor, shape (N, P)
        What each player is worth, positive for the output and negative against it, and its standard error: 0 where all sets
        were played.
    players : tuple of str
    output, base : Tensor, shape (N,)
        The explained output with all players and with none; the values add up to their difference.
    target, against : tuple
        One entry per image.
    evaluations : int
        How often each image went through the model.
    labels : tuple of str
        The players' names to show. Default: the players.
    """

    values: Tensor
    errors: Tensor
    players: tuple[str, ...]
    output: Tensor
    base: Tensor
    target: tuple[Any, ...]
    against: tuple[Any, ...]
    evaluations: int
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return (
            f"ShapleyValues({counted(len(self), 'image')}, {counted(len(self.players), 'player')}, "
            f"{counted(self.evaluations, 'evaluation')})"
        )

    def _repr_html_(self) -> str:
        from .notebook import html_of_values

        return html_of_values(self)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per image and player: ``image``, ``target``, ``player``, ``label``, ``value``, ``error``."""
        import pandas as pd

        rows = [
            (image, self.target[image], player, label, value, error)
            for image, pairs in enumerate(zip(self.values.tolist(), self.errors.tolist(), strict=True))
            for player, label, value, error in zip(
                self.players, self.labels or self.players, *pairs, strict=True
            )
        ]
        table: pd.DataFrame = pd.DataFrame(
            rows, columns=["image", "target", "player", "label", "value", "error"]
        )
        return table


class EdgeFilterShapley(PerturbationAttribution):  # type: ignore[misc]
    r"""Shapley values of colors, filters or groups of them: the reference that quick scores are compared with.

    A player who is silenced has all its responses set to zero where the stem reads the image. What it is worth is what the
    explained output gains when it comes in, averaged over all orders in which the players can come.

    Parameters
    ----------
    model : nn.Module
        Any image classifier in evaluation mode; left as it is.
    players : str or mapping, default: "color"
        ``"color"``, ``"edge"`` (each filter), ``"color_edge"`` (each pair), a kind of groups of filters (``"order"``,
        ``"orientation"``, ``"scale"``, ``"family"``, ``"dependent"``), or ``{name: [filters]}``.
    bank : FilterBank or str, optional
    colors, basis, channels : optional
        What the channels are scored as.
    layer : str or nn.Module, optional
        As in :class:`EdgeFilterAttribution`.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit; the message says what does.

    Notes
    -----
    With :math:`v(T)`, the explained output when only the players in :math:`T` are present, player :math:`i` of :math:`n` is worth

    .. math::

        \phi_i = \sum_{T \not\ni i} \frac{|T|! \, (n - |T| - 1)!}{n!} \bigl( v(T \cup \{i\}) - v(T) \bigr) .

    With up to 1024 sets of players (10 players) all are played, and the values are exact. Else orders are drawn, each with its
    reverse; the standard errors come from the spread between those pairs and say nothing if there are few.

    References
    ----------
    Shapley, "A value for n-person games", 1953. Castro et al., Computers & Operations Research 36(5), 2009. Mitchell et al.,
    "Sampling permutations for Shapley value estimation", JMLR 23, 2022.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
    >>> images = torch.rand(2, 3, 6, 6)
    >>> reference = EdgeFilterShapley(net, "color").explain(images, target=7)
    >>> reference, reference.players
    (ShapleyValues(2 images, 3 players, 8 evaluations), ('red', 'green', 'blue'))
    >>> explanation = EdgeFilterAttribution(net).explain(images, target=7)
    >>> torch.allclose(explanation.color, reference.values, atol=1e-5)
    True
    """

    def __init__(
        self,
        model: nn.Module,
        players: Players = "color",
        *,
        bank: FilterBank | str | None = None,
        colors: ColorGroups = None,
        basis: Basis = None,
        channels: Sequence[str] | None = None,
        layer: str | nn.Module | None = None,
    ) -> None:
        if isinstance(players, str) and players not in PLAYERS:
            raise ValueError(
                f"players must be one of {', '.join(PLAYERS)}, or groups of filters; got {players!r}"
                f"{closest(players, PLAYERS)}"
            )
        if not isinstance(players, (str, Mapping)):
            raise TypeError(
                f"players must be a name or a mapping of groups to filters; got {type(players).__name__}. Pass for example 'color'."
            )
        self._attribution = EdgeFilterAttribution(
            model, bank=bank, colors=colors, basis=basis, channels=channels, layer=layer, calibrate=False
        )
        PerturbationAttribution.__init__(self, self._attribution.model)
        self.model, self.players = self._attribution.model, players

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether values are a share of the output, not a sensitivity to it: True."""
        return True

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        against: Against = None,
        n_permutations: int | None = None,
        seed: int = 0,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Tensor:
        """Return the Shapley values of a batch of predictions.

        Parameters
        ----------
        inputs, target, additional_forward_args, against
            As in :meth:`EdgeFilterAttribution.attribute`.
        n_permutations : int, optional
            How many orders to draw, rounded up to an even number. Default: none where all sets are played, else as many as make
            1024 runs of each image.
        seed : int, default: 0
            Of the draws. They are the same for each image.
        internal_batch_size : int, optional
            How many images the model may get at a time. More than there are: so many sets at once, for models that treat each image of a
            batch on its own. Default: as many as are given.
        show_progress : bool, default: False

        Returns
        -------
        values : Tensor, shape (N, P)
            Signed, in units of the explained output; dtype and device of ``inputs``.

        Raises
        ------
        ValueError, TypeError, IndexError, AssertionError
            If an argument does not fit; the message says what does.
        """
        _check_draws(n_permutations, seed)
        question = self._attribution.question(inputs, target, additional_forward_args, against)
        return self._answer(question, _Draws(n_permutations, seed), internal_batch_size, show_progress).values

    def explain(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        against: Against = None,
        n_permutations: int | None = None,
        seed: int = 0,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> ShapleyValues:
        """Return the Shapley values with their standard errors; arguments as in :meth:`attribute`.

        Without a target, the largest output of each image is explained.

        Returns
        -------
        values : ShapleyValues
        """
        _check_draws(n_permutations, seed)
        question = self._attribution.question(inputs, target, additional_forward_args, against, predict=True)
        return self._answer(question, _Draws(n_permutations, seed), internal_batch_size, show_progress)

    def attribute_future(self) -> None:
        """Raise: Captum's asynchronous form is not available."""
        raise NotImplementedError("attribute_future is not implemented for EdgeFilterShapley")

    def _answer(
        self, question: Question, draws: _Draws, internal_batch_size: int | None, show_progress: bool
    ) -> ShapleyValues:
        propagate = self._attribution.propagator(question.images)
        pieces, size = question.pieces(internal_batch_size)
        parts = []
        for number, piece in enumerate(pieces):
            with propagate.run(piece) as forward:
                label = f"images {number + 1} of {len(pieces)}" if len(pieces) > 1 else "sets"
                runs = forward.partial_runs(size, label if show_progress else None)
                warn_of_numbers(forward.explained, stacklevel=5)
                players = _players(self.players, forward.colors, forward.reads[0].bank)
                played = _Played(runs, torch.stack(list(players.values())))
                estimate, evaluations = draws.play(played)
                parts.append((estimate, played.nothing, runs.every, per_image(forward.target, runs.count)))
        like = question.images[0]
        estimates, nothing, every, targets = zip(*parts, strict=True)
        return ShapleyValues(
            values=torch.cat([one.values for one in estimates]).to(like),
            errors=torch.cat([one.errors for one in estimates]).to(like),
            players=tuple(players),
            output=torch.cat(every).to(like),
            base=torch.cat(nothing).to(like),
            target=tuple(target for part in targets for target in part),
            against=per_image(question.against, len(like)),
            evaluations=evaluations,
            labels=_labels(self.players, list(players), forward.reads[0].bank),
        )


class _Played:
    """A game of players that are factors of the responses."""

    def __init__(self, runs: PartialRuns, players: Tensor) -> None:
        self.runs, self.players = runs, players
        self.nothing = runs.nothing()

    def values(self, sets: Tensor) -> Tensor:
        """Return the values of some sets, shape (N, S), float64."""
        return self.runs.played(sets, self.players, self.nothing)


class _Draws(NamedTuple):
    """How many orders to draw, if any, and how."""

    permutations: int | None
    seed: int

    def play(self, game: _Played) -> tuple[Estimate, int]:
        """Return the Shapley values of a game, and how many sets were played."""
        count = len(game.players)
        if self.permutations is None and 2**count <= MOST_SETS:
            exact = Game(all_sets(count), game.values(all_sets(count)))
            return Estimate(exact.shapley(), exact.errors()), 2**count
        pairs = max(1, MOST_SETS // count // 2) if self.permutations is None else -(-self.permutations // 2)
        orders = drawn_orders(count, pairs, self.seed)
        sets, places = torch.unique(sets_before(orders).flatten(0, 1), dim=0, return_inverse=True)
        values = game.values(sets)[:, places].reshape(game.runs.count, len(orders), count + 1)
        precision = torch.finfo(game.runs.dtype).eps
        return estimated(orders, values, precision), len(sets)


def _players(players: Players, colors: Sequence[str], bank: FilterBank) -> dict[str, Tensor]:
    """Return the players by name, each with its share of the responses: (C, K), or (C, 1) for whole colors."""
    filters = bank.names
    ones = torch.eye(len(colors)).double(), torch.eye(len(filters)).double()
    if players == "color":
        return dict(zip(colors, ones[0][:, :, None], strict=True))
    if players == "edge":
        return dict(zip(filters, ones[1][:, None].expand(-1, len(colors), -1), strict=True))
    if players == "color_edge":
        return {
            f"{color} {name}": ones[0][c][:, None] * ones[1][k]
            for c, color in enumerate(colors)
            for k, name in enumerate(filters)
        }
    groups = as_groups(bank, players)
    return {
        name: torch.tensor([float(filt in members) for filt in filters]).double().expand(len(colors), -1)
        for name, members in groups.items()
    }


def _labels(players: Players, names: Sequence[str], bank: FilterBank) -> tuple[str, ...]:
    """Return the names of players with each filter's label in the place of its name."""
    if players not in ("edge", "color_edge"):
        return tuple(names)
    pairs = itertools.cycle(zip(bank.names, bank.labels, strict=True))
    return tuple(
        player.removesuffix(name) + label for player, (name, label) in zip(names, pairs, strict=False)
    )


def _check_draws(n_permutations: Any, seed: Any) -> None:
    for name, value, least in (("n_permutations", n_permutations, 1), ("seed", seed, 0)):
        if value is None and name == "n_permutations":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(
                f"{name} must be a whole number of at least {least}; got {value!r}. Pass for example {least}."
            )
