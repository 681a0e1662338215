"""What is known about the tensors of a run that depend on the image."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edgefilter.stems.reading import tensors_in

from .calls import NumberedCall

__all__ = ["Late", "Linear", "Recipe", "Value", "replaced", "tensors_in"]


class Recipe(NamedTuple):
    """The call that gave a tensor, so that it can be made again from other tensors."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    part: int | None  # which of several results

    def called(self, change: Callable[[Tensor], Any]) -> Tensor:
        """Return what the call gives for other tensors."""
        args, kwargs = replaced(self.args, change), replaced(self.kwargs, change)
        result = self.function(*args, **kwargs)
        return result if self.part is None else result[self.part]  # type: ignore[no-any-return]


class Linear(NamedTuple):
    """A linear map whose result a constant scale and shift can be merged with."""

    module: nn.Module
    inputs: Tensor
    axis: int  # of the output channels
    owner: nn.Module | None


class Late(NamedTuple):
    """A tensor that is made when a rule reads it, for it would take much memory until then."""

    module: nn.Module
    inputs: Tensor

    def made(self) -> Tensor:
        """Return the tensor, new."""
        with torch.no_grad():
            return self.module.forward(self.inputs)  # type: ignore[no-any-return]


class Value:
    """What is known about a tensor that depends on the image.

    Attributes
    ----------
    run : object
        The engine's run it belongs to.
    call : NumberedCall or None
        The function that the model was calling when it was made.
    gate : int
        How much the tensor looks like a gate, for products: 0 not at all, 1 activated, 2 clipped, 3 squashed or a divisor, 4
        a softmax.
    from_image : bool
        Whether no convolution lies between it and the image.
    linear : Linear or None
        The linear map that gave it.
    recipe : Recipe or None
        The call that gave it, if that is affine in every tensor that depends on the image.
    squashes : (Tensor, str) or None
        The argument and the name of the monotone function that gave it.
    step : Step or None
        The step that gave it.
    parts : Tensor or None
        The responses of a bank by color, where it is their sum.
    late : Late or None
        What makes the tensor, if it only holds the place.
    viewed : bool
        Whether another tensor shares its memory.
    """

    __slots__ = (
        "call",
        "from_image",
        "gate",
        "late",
        "linear",
        "parts",
        "readers",
        "recipe",
        "run",
        "squashes",
        "step",
        "viewed",
    )

    def __init__(self, run: object, *, gate: int = 0, from_image: bool = False) -> None:
        self.run, self.gate, self.from_image = run, gate, from_image
        self.call: NumberedCall | None = None
        self.linear: Linear | None = None
        self.recipe: Recipe | None = None
        self.squashes: tuple[Tensor, str] | None = None
        self.step: Any = None
        self.parts: Tensor | None = None
        self.late: Late | None = None
        self.viewed = False
        self.readers: list[bool | Value] = []

    def is_steady(self) -> bool:
        """Return whether its relevance is proportional to it: not if a normalization with a shift reads it."""
        pending, seen = [self], set[int]()
        while pending:
            value = pending.pop()
            for reader in value.readers:
                if reader is False:
                    return False
                if isinstance(reader, Value) and id(reader) not in seen:
                    seen.add(id(reader))
                    pending.append(reader)
        return True

    def shares_memory(self) -> bool:
        """Return whether another tensor may share its memory: also where a rearrangement copied what others only view."""
        return self.viewed or (self.step is None and self.recipe is not None)

    def forget(self) -> None:
        """Let go of all tensors."""
        self.run = self.late = self.linear = self.recipe = self.squashes = self.step = self.parts = None
        self.readers = []


def replaced(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return an argument with its tensors replaced, also inside lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        parts = [replaced(part, change) for part in value]
        if hasattr(value, "_fields"):
            return type(value)(*parts)
        return type(value)(parts) if type(value) in (list, tuple) else _like(value, parts)
    if isinstance(value, dict):
        found = {key: replaced(part, change) for key, part in value.items()}
        return found if type(value) is dict else _like_mapping(value, found)
    return value


def _like_mapping(value: Any, parts: dict[Any, Any]) -> Any:
    """Return a dictionary of a class of its own, such as the outputs of Hugging Face, with other parts."""
    result = copy.copy(value)
    for key, part in parts.items():
        result[key] = part
    return result


def _like(value: Any, parts: list[Any]) -> Any:
    """Return a list, or what torch returns for several results, with other parts."""
    return list(parts) if isinstance(value, list) else type(value)(parts)
