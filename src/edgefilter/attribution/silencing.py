"""The output of a model with some colors or filters silenced."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

from .arguments import Question
from .propagation import Propagator

__all__ = ["silenced_output"]


def silenced_output(
    propagator: Propagator, question: Question, colors: Sequence[str] = (), filters: Sequence[str] = ()
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
        keep[[_place(name, known, "color") for name in colors]] = 0
        keep[:, [_place(name, forward.reads[0].bank.names, "filter") for name in filters]] = 0
        return runs.outputs([keep if filters else keep[:, :1]])[:, 0].to(forward.explained)


def _place(name: str, known: Sequence[str], what: str) -> int:
    if name not in known:
        listed = f" There are {', '.join(known)}." if what == "color" else ""
        raise UnknownNameError(f"unknown {what} {name!r}{closest(name, known)}{listed}")
    return known.index(name)
