"""The scores of groups of filters: sums, and notes on groups whose filters are multiples of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from edgefilter._checks import closest, counted
from edgefilter.banks.groups import Groups, partition
from edgefilter.errors import UnknownNameError

__all__ = ["GroupScores", "chosen_groups", "group_scores"]


class GroupScores(NamedTuple):
    """Scores by group of filters, signed, in units of the explained output.

    Each is the sum of the scores of the group's filters, so that all groups together have what all filters have.
    """

    names: tuple[str, ...]
    """Names of the ``G`` groups."""
    filters: tuple[tuple[str, ...], ...]
    """The filters of each group."""
    edge: Tensor
    """Score by group, shape (N, G)."""
    color_edge: Tensor
    """Score by color and group, shape (N, C, G)."""
    notes: dict[str, str]
    """What to know about the score of a group, by its name; most have no note."""

    def __repr__(self) -> str:
        return f"GroupScores({counted(len(self.edge), 'image')}, {counted(len(self.names), 'group')}: {', '.join(self.names[:6])}{', ...' * (len(self.names) > 6)})"

    def _repr_html_(self) -> str:
        from .notebook import html_of_groups

        return html_of_groups(self)


def chosen_groups(
    kind: str | Mapping[str, Iterable[str]],
    known: Mapping[str, Groups],
    filters: Sequence[str],
    index: Callable[[str], int],
) -> Groups:
    """Return the groups of a kind, or a partition of your own once it is checked.

    Raises
    ------
    TypeError, KeyError, ValueError
        If there is no such kind, no kind is known, or the mapping is no partition of the filters.
    """
    if isinstance(kind, str) and not known:
        raise ValueError(
            f"kind must be a mapping where the groups of the bank are unknown; got {kind!r}. "
            f"Pass bank.groups({kind!r}), or explain the images again if the file is an old one."
        )
    if isinstance(kind, str) and kind not in known:
        raise UnknownNameError(
            f"unknown kind of groups {kind!r}{closest(kind, known)} "
            f"Choose one of {', '.join(known)}, or pass {{name: [filters]}}."
        )
    return partition(known[kind] if isinstance(kind, str) else kind, filters, index)


def group_scores(
    color_edge: Tensor, filters: Sequence[str], groups: Groups, dependent: Groups
) -> GroupScores:
    """Sum scores by color and filter over groups of filters.

    Parameters
    ----------
    color_edge : Tensor, shape (N, C, K)
    filters : sequence of str
        Names of the ``K`` filters.
    groups : dict of str to tuple of str
        A partition of the filters.
    dependent : dict of str to tuple of str
        The filters that are multiples of each other, together; empty if unknown.

    Returns
    -------
    scores : GroupScores

    Examples
    --------
    >>> scores = group_scores(torch.tensor([[[1.0, 2.0, 4.0]]]), "abc", {"x": ("a", "c"), "y": ("b",)}, {"b ~ c": ("b", "c")})
    >>> scores.edge
    tensor([[5., 2.]])
    >>> scores.notes["y"]
    'b is a multiple of c, which is in another group: only the sum of their scores has a meaning.'
    """
    parts = [color_edge[:, :, [filters.index(n) for n in names]].sum(-1) for names in groups.values()]
    summed = torch.stack(parts, dim=-1)
    notes = {group: note for group, names in groups.items() if (note := _note(names, dependent))}
    return GroupScores(tuple(groups), tuple(groups.values()), summed.sum(1), summed, notes)


def _note(names: Sequence[str], dependent: Groups) -> str:
    """Say what kernels that are multiples of each other do to the score of a group, or nothing."""
    notes = []
    for family in dependent.values():
        inside = [name for name in family if name in names]
        outside = [name for name in family if name not in names]
        if inside and outside:
            verb = "is a multiple" if len(inside) == 1 else "are multiples"
            which = "is" if len(outside) == 1 else "are"
            notes.append(
                f"{_listed(inside)} {verb} of {_listed(outside)}, which {which} in another group: "
                "only the sum of their scores has a meaning."
            )
        elif len(inside) == len(names) > 1:
            notes.append(
                f"{_listed(inside)} are multiples of each other: training decides how they share this score, "
                "and only the sum has a meaning."
            )
    return " ".join(notes)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
