"""Follow the calls that made a tensor back to what they were made of, without recursion: they may be thousands."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .run import Run
from .values import Recipe, tensors_in

__all__ = ["oldest_first", "remade", "sources"]


def sources(run: Run, recipe: Recipe | None) -> list[Tensor]:
    """Return the tensors of a call that depend on the image."""
    given = () if recipe is None else tensors_in((recipe.args, recipe.kwargs))
    return list({id(tensor): tensor for tensor in given if run.value(tensor) is not None}.values())


def oldest_first(tensor: Tensor, made_of: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
    """Return a tensor and all that it was made of, each behind what it was made of itself."""
    found: list[Tensor] = []
    seen: set[int] = set()
    pending = [(tensor, False)]
    while pending:
        one, is_ready = pending.pop()
        if is_ready:
            found.append(one)
        elif id(one) not in seen:
            seen.add(id(one))
            pending += [(one, True), *((source, False) for source in made_of(one))]
    return found


def remade(run: Run, tensor: Tensor, known: dict[int, Tensor], *, shifts: bool = True) -> Tensor:
    """Return a tensor made again under the rules from other tensors.

    Without ``shifts``, what each call adds is taken off: a channel that shows nothing is 0 then, and gets no relevance.
    """

    def recipe(given: Tensor) -> Recipe | None:
        value = None if id(given) in known else run.value(given)
        return None if value is None else value.recipe

    for given in oldest_first(tensor, lambda given: sources(run, recipe(given))):
        if (call := recipe(given)) is not None:
            made = run.again(call, lambda source: known.get(id(source), source))
            known[id(given)] = made if shifts else _without_shift(run, made, call, known)
    return known.get(id(tensor), tensor)


def _without_shift(run: Run, made: Tensor, call: Recipe, known: dict[int, Tensor]) -> Tensor:
    """Take off what a call gives for zeros in place of the tensors that are known."""
    with torch.no_grad():
        shift = call.called(lambda given: (torch.zeros_like(given) if id(given) in known else given).detach())
    if not bool((shift != 0).any()):
        return made
    with run:
        return made - shift
