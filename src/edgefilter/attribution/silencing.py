"""The output of a model with some colors or filters silenced."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgefilter._checks import closest
from edgefilter.banks.bank import FilterBank
from edgefilter.errors import UnknownNameError

from .arguments import Question
from .propagation import Propagator

__all__ = ["silenced_output"]


def silenced_output(
    propagator: Propagator,
    question: Question,
    colors: str | Sequence[str] = (),
    filters: str | Sequence[str] = (),
) -> Tensor:
    """Return the explained output, shape (N,), with the responses of some colors and filters set to zero.

    Raises
    ------
    KeyError
        If a name is unknown.
    """
    with propagator.run(question) as forward:
        runs = forward.partial_runs(len(question.images[0]))
        known = forward.colors
        keep = torch.ones(runs.colors, runs.filters)
        keep[[_place(name, known, "color") for name in _several(colors)]] = 0
        bank = forward.reads[0].bank
        keep[:, [_filter_place(name, bank) for name in _several(filters)]] = 0
        return runs.outputs([keep if filters else keep[:, :1]])[:, 0].to(forward.explained)


def _several(names: str | Sequence[str]) -> Sequence[str]:
    return (names,) if isinstance(names, str) else names


def _filter_place(name: str, bank: FilterBank) -> int:
    known = (*bank.names, *bank.labels)
    return bank.index(name) if name in known else _place(name, known, "filter")


def _place(name: str, known: Sequence[str], what: str) -> int:
    if name not in known:
        listed = f" There are {', '.join(known)}." if what == "color" else ""
        raise UnknownNameError(f"unknown {what} {name!r}{closest(name, known)}{listed}")
    return known.index(name)
