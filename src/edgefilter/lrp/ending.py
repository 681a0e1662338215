"""The end of a model: what is explained, and the constant that no score carries."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .calls import NumberedCall
from .recipes import oldest_first, remade, sources
from .rules import Pass, Rule
from .run import Run
from .standins import Affine
from .steps import Step
from .values import Recipe, replaced, tensors_in

__all__ = ["Ending", "ending"]


class Ending(NamedTuple):
    """What is explained of a model's output.

    Attributes
    ----------
    output : Tensor
        The model's output, without a monotone function at its very end.
    constant : Tensor
        What the last affine map adds to it, shaped as it is.
    left_out : str
        Names of such functions, or "".
    calls : tuple of NumberedCall
        Where the model called them.
    """

    output: Tensor
    constant: Tensor
    left_out: str
    calls: tuple[NumberedCall, ...]


def ending(run: Run, output: Tensor) -> Ending:
    """Return what is explained of the output of a run."""
    names, calls = [], []
    while (squashed := _squashed(run, output)) is not None:
        value = run.value(squashed)
        assert value is not None
        assert value.squashes is not None
        argument, name = value.squashes
        names.append(name)
        assert value.call is not None
        calls.append(value.call)
        output = remade(run, output, {id(squashed): argument})
    constant = _constant(run, output) if run.keeps_constant else None
    constant = torch.zeros_like(output) if constant is None else constant.detach()
    return Ending(output, constant, ", ".join(names), tuple(calls))


def _squashed(run: Run, output: Tensor) -> Tensor | None:
    """Return the tensor that a monotone function gave, if nothing but scales, shifts and rearrangements follow it."""
    while True:
        value = run.value(output)
        if value is None:
            return None
        if value.squashes is not None:
            return output
        found = sources(run, value.recipe)
        if (
            len(found) != 1
            or value.linear is not None
            or (value.step is not None and not isinstance(value.step.module, Affine))
        ):
            return None
        output = found[0]


def _constant(run: Run, tensor: Tensor) -> Tensor | None:
    """Return the part of an affine end that does not depend on the image, and take it out of the rules; None for zero."""
    known: dict[int, Tensor | None] = {}

    def made_of(given: Tensor) -> list[Tensor]:
        value = run.value(given)
        return [] if value is None or value.linear is not None else sources(run, value.recipe)

    for given in oldest_first(tensor, made_of):
        known[id(given)] = _made_constant(run, given, known)
    return known[id(tensor)]


def _made_constant(run: Run, tensor: Tensor, known: dict[int, Tensor | None]) -> Tensor | None:
    value = run.value(tensor)
    if value is None:
        return tensor.detach()
    if value.step is not None and isinstance(value.step.hook, Rule):
        value.step.hook = value.step.hook.at_end()
    if value.linear is not None:
        value.step.keeps_bias = False
        bias = value.linear.module._parameters.get("bias")
        if bias is None:
            return None
        shape = [1] * tensor.dim()
        shape[value.linear.axis] = -1
        return bias.detach().reshape(shape).expand(tensor.shape)
    if value.recipe is None:
        return None
    parts = {id(source): known[id(source)] for source in sources(run, value.recipe)}
    shifts = value.step is not None and isinstance(value.step.module, Affine)
    whole = shifts or len(parts) < len(_floats(value.recipe))
    if not whole and all(part is None for part in parts.values()):
        return None
    if shifts:
        value.step.hook = Pass()
    elif value.step is not None:
        _take_out(run, value.step, value.recipe, parts)
    return _of_constants(value.recipe, parts)


def _of_constants(recipe: Recipe, parts: dict[int, Tensor | None]) -> Tensor:
    """Return what a call gives if its tensors that depend on the image are replaced by their constants."""

    def change(given: Tensor) -> Tensor:
        if id(given) not in parts:
            return given.detach()
        part = parts[id(given)]
        return torch.zeros_like(given).detach() if part is None else part

    with torch.no_grad():
        result = recipe.function(*replaced(recipe.args, change), **replaced(recipe.kwargs, change))
    return result if recipe.part is None else result[recipe.part]  # type: ignore[no-any-return]


def _take_out(run: Run, step: Step, recipe: Recipe, parts: dict[int, Tensor | None]) -> None:
    """Let a sum or an average share by what its inputs are without their constants."""
    given = [tensor for tensor in tensors_in((recipe.args, recipe.kwargs)) if run.value(tensor) is not None]
    if len(given) == len(step.inputs):
        step.inputs = tuple(
            held if (part := parts[id(tensor)]) is None else held - part
            for held, tensor in zip(step.inputs, given, strict=True)
        )


def _floats(recipe: Recipe) -> list[Tensor]:
    return [given for given in tensors_in((recipe.args, recipe.kwargs)) if given.is_floating_point()]
