"""What the network loses when a color or a group of filters comes from another photo: a check of a profile by intervention."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from edgefilter._checks import counted
from edgefilter.attribution.arguments import check_mode
from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.attribution.shuffling import shuffled_outputs
from edgefilter.banks.groups import MANY

from .checks import check_labels
from .confusion import predictions

if TYPE_CHECKING:
    import pandas as pd

    from edgefilter.attribution.explanation import Explanation

__all__ = ["PermutationCheck", "Permuted", "Plan", "permutation_check", "planned"]

BATCH = 16  # photos, each with its other


class Permuted(NamedTuple):
    """What is lost on average when one part comes from another photo; negative where something is won.

    Attributes
    ----------
    score : str
        What the part is: ``"color"``, ``"edge"`` (a filter), or ``"order"`` and the like (a group of filters).
    name, label : str
        The name, and the same as words.
    accuracy, accuracy_error : float
        The loss in accuracy, from -1 to 1, and its standard error.
    output, output_error : float
        The loss of the explained output, in its units, and its standard error.
    """

    score: str
    name: str
    label: str
    accuracy: float
    accuracy_error: float
    output: float
    output_error: float


class PermutationCheck(NamedTuple):
    """What is lost when a part of the responses is shuffled between photos.

    Attributes
    ----------
    parts : list of Permuted
        Colors, then filters or their groups, in the order of the explanation.
    photos, permutations : int
        How many photos were shuffled, and how often.
    accuracy, output : float
        Accuracy and mean explained output as they are.
    """

    parts: list[Permuted]
    photos: int
    permutations: int
    accuracy: float
    output: float

    def __repr__(self) -> str:
        return f"PermutationCheck({counted(len(self.parts), 'part')}, {counted(self.photos, 'photo')})"

    def _repr_html_(self) -> str:
        from .notebook import html_of_permutation

        return html_of_permutation(self)

    def of(self, score: str) -> list[Permuted]:
        """Return the parts of one kind, the largest loss of the output first."""
        return sorted((part for part in self.parts if part.score == score), key=lambda part: -part.output)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row for each part, with the columns of :class:`Permuted`."""
        import pandas as pd

        table: pd.DataFrame = pd.DataFrame(self.parts, columns=list(Permuted._fields))
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain values, ready for JSON."""
        return self._asdict() | {"parts": [part._asdict() for part in self.parts]}


class Part(NamedTuple):
    """A part of the responses: 1 in ``keep`` (C, K) for those that belong to it."""

    score: str
    name: str
    label: str
    keep: Tensor


class Plan(NamedTuple):
    """Which parts of which photos come from which others."""

    attribution: EdgeFilterAttribution
    images: Tensor
    labels: Tensor | None
    target: Tensor | None
    parts: list[Part]
    others: Tensor
    """Of each permutation the photo whose part each photo gets, shape (R, N)."""

    def pieces(self, size: int) -> tuple[Tensor, ...]:
        """Return the places of the photos, so many at a time that the model gets at most ``size`` images."""
        return torch.split(torch.arange(len(self.images)), max(1, size // 2))

    def measure(self, some: Tensor) -> Tensor:
        """Return what is right and what comes out for some of the photos, shape (2, n, 1 + P), float64, on the CPU.

        First whether the prediction is right, 0 or 1, second the explained output; each before, then for each part after.
        """
        keeps, found = [part.keep for part in self.parts], []
        target = None if self.target is None else self.target[some]
        for others in self.others:
            output = shuffled_outputs(
                self.attribution, self.images[some], self.images[others[some]], keeps, target
            )
            every = torch.cat([output.before[None], output.after]).flatten(2)
            explained = (every * output.weights.flatten(1)).sum(2).double().cpu()
            answers = torch.stack([predictions(one) for one in every]).cpu()
            right = answers[0] if self.labels is None else self.labels[some].cpu()
            found.append(torch.stack([(answers == right).double(), explained]))
        return torch.stack(found).mean(0).transpose(1, 2)

    def result(self, measured: Tensor) -> PermutationCheck:
        """Return the losses with their standard errors over the photos."""
        losses = measured[:, :, :1] - measured[:, :, 1:]
        means = losses.mean(1)
        errors = losses.std(1) / math.sqrt(losses.shape[1])
        columns = torch.stack([means, errors], 1).flatten(0, 1).T.tolist()
        rows = [
            Permuted(part.score, part.name, part.label, *row)
            for part, row in zip(self.parts, columns, strict=True)
        ]
        before = measured[:, :, 0].mean(1).tolist()
        return PermutationCheck(rows, losses.shape[1], len(self.others), *before)


def permutation_check(
    attribution: EdgeFilterAttribution,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    target: Tensor | None = None,
    groups: str | Mapping[str, Iterable[str]] | None = None,
    permutations: int = 1,
    seed: int = 0,
    internal_batch_size: int = BATCH,
) -> PermutationCheck:
    """Shuffle each color and each group of filters between photos, and measure what the network loses.

    Parameters
    ----------
    attribution : EdgeFilterAttribution
        Says which model and stem.
    images : Tensor, shape (N, C, H, W)
        Two photos or more, best of all classes.
    labels : Tensor, shape (N,), integers, optional
        The class of each photo. Default: the predicted one, so that the loss in accuracy is the share of predictions that change.
    target : Tensor, shape (N,), integers, optional
        The output that is measured. Default: that of ``labels``; of a model of one output this one.
    groups : {"order", "orientation", "scale", "family", "dependent"} or mapping, optional
        The groups of filters. Default: each filter by itself up to 12 of them, else by order.
    permutations : int, default: 1
        How often the photos are shuffled. More of them make the errors smaller, down to what the choice of the photos leaves.
    seed : int, default: 0
        Of the permutations.
    internal_batch_size : int, default: 16
        How many images the model may get at a time.

    Returns
    -------
    check : PermutationCheck

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two photos, or an argument does not fit.

    Notes
    -----
    In each permutation every photo gets the part of another one, never its own. The responses of the part are those of the other photo,
    all other responses are its own; the model runs on from there. Unlike silencing, this shows the network responses that photos
    have, though in combinations that they do not have. It costs one pass of the model for each part, and one more.

    References
    ----------
    Breiman, "Random forests", Machine Learning 45, 2001. Fisher, Rudin & Dominici, "All models are wrong, but many are useful",
    JMLR 20(177), 2019.

    Examples
    --------
    A network that looks at red alone loses nothing with the others:

    >>> import edgefilter as ef
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1, bias=False), torch.nn.Flatten(), torch.nn.Linear(1, 2)).eval()
    >>> net[0].weight.data = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    >>> check = permutation_check(ef.EdgeFilterAttribution(net), torch.rand(8, 3, 1, 1), torch.tensor([0, 1] * 4))
    >>> [part.output for part in check.of("color") if part.name != "red"]
    [0.0, 0.0]
    """
    plan = planned(attribution, images, labels, target, groups, permutations, seed)
    return plan.result(torch.cat([plan.measure(some) for some in plan.pieces(internal_batch_size)], 1))


def planned(
    attribution: EdgeFilterAttribution,
    images: Tensor,
    labels: Tensor | None,
    target: Tensor | None,
    groups: str | Mapping[str, Iterable[str]] | None,
    permutations: int,
    seed: int,
) -> Plan:
    """Check what is given, and return what is to be measured."""
    if not isinstance(images, Tensor) or len(images) < 2:
        got = len(images) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"images must be a tensor of two photos or more to be shuffled; got {got}. Pass a batch of all classes."
        )
    if not isinstance(permutations, int) or isinstance(permutations, bool) or permutations < 1:
        raise ValueError(
            f"permutations must be an integer >= 1; got {permutations!r}. Pass for example permutations=1."
        )
    check_mode(attribution.model)
    with torch.no_grad():
        width = attribution.model(images[:1]).flatten(1).shape[1]
    if labels is not None:
        check_labels(labels, len(images), max(width, 2))
    if width == 1:
        target = None
    elif target is None:
        target = labels
    if target is None and width > 1:
        target = _predicted(attribution, images)
    explanation = attribution.explain(images[:1], None if target is None else target[:1])
    others = _others(len(images), permutations, seed)
    return Plan(attribution, images, labels, target, parts_of(explanation, groups), others)


def _predicted(attribution: EdgeFilterAttribution, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([predictions(attribution.model(some)) for some in torch.split(images, BATCH)])


def _others(count: int, permutations: int, seed: int) -> Tensor:
    """Draw permutations without a fixed point, each one cycle through all photos, shape (R, N)."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.empty(permutations, count, dtype=torch.long)
    for row in found:
        order = torch.randperm(count, generator=generator)
        row[order] = order.roll(1)
    return found


def parts_of(explanation: Explanation, groups: str | Mapping[str, Iterable[str]] | None) -> list[Part]:
    """Return the colors, and the filters or their groups."""
    colors, filters = explanation.colors, explanation.filters
    none = torch.zeros(len(colors), len(filters))
    parts = []
    for place, name in enumerate(colors):
        keep = none.clone()
        keep[place] = 1
        parts.append(Part("color", name, name, keep))
    if groups is None and (len(filters) <= MANY or "order" not in explanation.groups):
        names, labels = filters, explanation.filter_labels
        members: tuple[tuple[str, ...], ...] = tuple((name,) for name in filters)
        score = "edge"
    else:
        found = explanation.group("order" if groups is None else groups)
        names, labels, members = found.names, found.names, found.filters
        score = groups if isinstance(groups, str) else "order" if groups is None else "group"
    for name, label, some in zip(names, labels, members, strict=True):
        keep = none.clone()
        keep[:, [filters.index(member) for member in some]] = 1
        parts.append(Part(score, name, label, keep))
    return parts
