"""One method of a comparison: how it explains, piece by piece, and what it remembers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = [
    "BATCH",
    "PATH_STEPS",
    "Built",
    "Explain",
    "Make",
    "Method",
    "attributions",
    "batches",
    "own_method",
]

BATCH = 8  # images that are explained at once
PATH_STEPS = 20  # gradients of a path method

Explain = Callable[[Tensor, Any], Tensor]


class Built(NamedTuple):
    """A method for one model: how to call it, and whether it gives shares of the output or sensitivities to it."""

    explain: Explain
    multiplies_by_inputs: bool


Make = Callable[[nn.Module], Built]


class Method:
    """A named method that explains batches piece by piece and remembers its answer for the images at hand.

    Parameters
    ----------
    name : str
    make : callable
        Builds the method for a model.
    own : bool, default: False
        Whether it is a callable of the user's, which knows only its own model.
    """

    def __init__(self, name: str, make: Make, *, own: bool = False) -> None:
        self.name, self.make, self.own = name, make, own
        self.built: Built | None = None
        self.known: tuple[Tensor, Tensor] | None = None

    def run(self, inputs: Tensor, targets: Any) -> Tensor:
        """Return attributions as large as the inputs, or with one channel in place of the colors."""
        assert self.built is not None
        return attributions(self.built.explain, inputs, targets)

    def again(self, inputs: Any, target: Any = None) -> tuple[Tensor, ...]:
        """Explain as Captum's sensitivity_max asks: a tuple; the known images are not explained again."""
        given = inputs[0] if isinstance(inputs, tuple) else inputs
        if self.known is not None and given is self.known[0]:
            return (self.known[1],)
        return (self.run(given, target).contiguous(),)


def batches(inputs: Tensor, targets: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield some images, as fresh tensors, and their targets at a time."""
    indices = torch.as_tensor(targets, device=inputs.device)
    for start in range(0, len(inputs), BATCH):
        yield inputs[start : start + BATCH].detach().clone(), indices[start : start + BATCH]


def attributions(explain: Explain, inputs: Tensor, targets: Any) -> Tensor:
    """Explain all images, some at a time, and check what comes.

    Raises
    ------
    ValueError
        If attributions are neither as large as the images nor of one channel, or not finite.
    """
    parts = []
    with torch.enable_grad():
        for some, wanted in batches(inputs, targets):
            found: Any = explain(some, wanted)
            found = found[0] if isinstance(found, tuple) else found
            if not isinstance(found, Tensor) or found.shape not in (some.shape, some[:, :1].shape):
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise ValueError(
                    f"a method must return attributions of shape {tuple(some.shape)} or {tuple(some[:, :1].shape)}; "
                    f"got {shape}. Sum or resize them."
                )
            parts.append(found.detach())
    maps = torch.cat(parts)
    if not torch.isfinite(maps).all():
        raise ValueError("a method must return finite attributions; got NaN or infinity. Look at its model.")
    return maps


def own_method(name: str, function: Explain) -> Method:
    """Return a method that a user gives as a function of images and targets, such as an ``attribute`` of Captum's."""
    owner = getattr(function, "__self__", None)
    built = Built(_by_position(function), bool(getattr(owner, "multiplies_by_inputs", True)))
    return Method(name, lambda _: built, own=True)


def _by_position(function: Explain) -> Explain:
    """Call with ``target=`` what has such an argument: in some of Captum's methods it is not the second."""
    try:
        named = "target" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        named = False
    return (lambda inputs, targets: function(inputs, target=targets)) if named else function  # type: ignore[call-arg]
