"""Arguments of an attribution: images, further inputs, targets, batch sizes; checked before a model sees them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from captum._utils.common import _format_additional_forward_args
from torch import Tensor, nn

from edgefilter._checks import closest

__all__ = [
    "NAMED",
    "Against",
    "Question",
    "Target",
    "are_probabilities",
    "as_against",
    "as_extra",
    "as_target",
    "check_mode",
    "check_output",
    "piece_of",
    "unwrapped",
    "whole_batch",
]

Target = int | tuple[int, ...] | Tensor | list[int] | list[tuple[int, ...]] | None
Against = Target | Literal["rest", "odds"]

ROUNDING = 1e-3  # of a sum of probabilities: those of half-precision networks add up to 1 within it
NAMED = ("rest", "odds")  # what a target can be compared with beside other targets


class Question(NamedTuple):
    """What is to be explained.

    Attributes
    ----------
    images : tuple of Tensors
        The model's inputs.
    target : Target
    against : Against
        What the target is compared with.
    extra : tuple
        Further arguments of the model.
    predict : bool
        Whether a missing target means the largest output.
    """

    images: tuple[Tensor, ...]
    target: Target = None
    against: Against = None
    extra: tuple[Any, ...] = ()
    predict: bool = False

    def pieces(self, internal_batch_size: int | None) -> tuple[list[Question], int]:
        """Return the questions about so many images at a time, and how many the model may get at a time.

        Without a number that is the batch as it was given: what a model makes of an image may depend on the others beside it.
        """
        count = len(self.images[0])
        size = whole_batch(internal_batch_size, count)
        starts = range(0, count, size)
        return [self._piece(slice(start, start + size)) for start in starts], size

    def _piece(self, some: slice) -> Question:
        count = len(self.images[0])
        return self._replace(
            images=piece_of(self.images, some, count),
            target=_target_of(self.target, some, count),
            against=self.against if isinstance(self.against, str) else _target_of(self.against, some, count),
            extra=piece_of(self.extra, some, count),
        )


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside ``DataParallel`` and ``torch.compile``, which compute what it computes."""
    while True:
        inside = vars(model).get("_modules", {}) if isinstance(model, nn.Module) else {}
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = inside["module"]
        elif set(inside) == {"_orig_mod"}:
            model = inside["_orig_mod"]
        else:
            return model


def check_mode(model: nn.Module) -> None:
    """Raise unless a model is in evaluation mode and holds layers that can be explained."""
    training: list[str] = []
    for name, module in model.named_modules():
        if ".quantized" in type(module).__module__:
            raise ValueError(
                f"model must have floating-point layers; got the quantized {type(module).__name__} {name!r}. Explain the model "
                "before quantization."
            )
        if module.training:
            training.append(name)
    if training:
        layer = next((f"layer {name!r}" for name in training if name), type(model).__name__)
        raise ValueError(f"model must be in evaluation mode; {layer} is training. Call model.eval() first.")


def whole_batch(internal: int | None, count: int) -> int:
    """Return how many images to explain at a time."""
    if internal is None:
        return count
    if not isinstance(internal, int) or isinstance(internal, bool) or internal < 1:
        raise ValueError(
            f"internal_batch_size must be a whole number of at least 1; got {internal!r}. Pass for example 16, or None."
        )
    return internal


def piece_of(arguments: tuple[Any, ...], piece: slice | Tensor, count: int) -> tuple[Any, ...]:
    """Return some samples of those arguments that have one entry for each."""
    return tuple(
        value[piece] if isinstance(value, Tensor) and value.dim() and len(value) == count else value
        for value in arguments
    )


def _target_of(target: Target, piece: slice, count: int) -> Target:
    """Return the targets of some samples; a wrong number of them as it is, for Captum to refuse."""
    several = isinstance(target, list) or (isinstance(target, Tensor) and target.numel() > 1)
    return target[piece] if several and len(target) == count else target  # type: ignore[index, arg-type]


def as_extra(arguments: Any) -> tuple[Any, ...]:
    """Return additional arguments as a tuple, tensors made fit for a backward pass."""
    extra = _format_additional_forward_args(arguments) or ()
    return tuple(x.clone() if isinstance(x, Tensor) and x.is_inference() else x for x in extra)


def as_target(target: Any, name: str = "target") -> Target:
    """Return a target in one of Captum's forms; NumPy's numbers and arrays become Python's and torch's.

    Raises
    ------
    TypeError
        If it is no target: a float, a truth value, a slice.
    ValueError
        If it is a tensor of more than one axis.
    """
    if isinstance(target, np.ndarray):
        target = torch.from_numpy(target)
    if isinstance(target, Tensor):
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
            raise TypeError(
                f"{name} must hold whole numbers (integers); got a tensor of {target.dtype} and shape {tuple(target.shape)}. "
                f"{_advice(target, name)}"
            )
        if target.numel() > 1 and target.dim() > 1:
            one = (
                f"{name}.squeeze(1)"
                if target.shape[1] == 1
                else f"the argmax of one-hot labels, {name}.argmax(1)"
            )
            raise ValueError(
                f"{name} must have shape (N,), one index per image; got {tuple(target.shape)}. Pass {one}, or a "
                "list of tuples for outputs of more axes."
            )
        if target.dtype not in (torch.int32, torch.int64):  # the only indices that torch.gather takes
            return target.long()
        return target.clone() if target.is_inference() else target
    if isinstance(target, list):
        return [_index(item, name) for item in target]  # type: ignore[return-value]
    return None if target is None else _index(target, name)


def _advice(target: Tensor, name: str) -> str:
    if target.dim() > 2:
        return "The images come first: explain(images, target)."
    return f"Pass {name}.long(), or the argmax of one-hot labels."


def as_against(against: Any) -> Against:
    """Return what a target is compared with: None, ``"rest"``, ``"odds"``, or another target."""
    if isinstance(against, str):
        if against not in NAMED:
            raise ValueError(
                f"against must be None, 'rest', 'odds', or another target; got {against!r}{closest(against, NAMED)} Class names are "
                "for edgefilter.classifiers."
            )
        return against  # type: ignore[return-value]
    return as_target(against, "against")


def _index(item: Any, name: str) -> int | tuple[int, ...]:
    if isinstance(item, tuple):
        return tuple(_whole(part, name) for part in item)
    return _whole(item, name)


def _whole(item: Any, name: str) -> int:
    if (
        isinstance(item, Tensor)
        and item.numel() == 1
        and not item.is_floating_point()
        and item.dtype != torch.bool
    ):
        return int(item)
    if isinstance(item, (bool, np.bool_)) or not isinstance(item, (int, np.integer)):
        raise TypeError(
            f"{name} must be an integer index, a tuple of them, a tensor or a list; got {item!r}. Pass for example {name}=3."
        )
    return int(item)


def are_probabilities(outputs: Tensor) -> bool:
    """Return whether the rows of outputs are probabilities: none negative, and each row adds up to 1.

    Examples
    --------
    >>> are_probabilities(torch.tensor([[0.5, 0.5]])), are_probabilities(torch.tensor([[2.0, -1.0]]))
    (True, False)
    """
    return bool((outputs >= 0).all()) and bool(((outputs.double().sum(1) - 1).abs() < ROUNDING).all())


def check_output(output: Any, count: int) -> Tensor:
    """Return the output of a model, or the logits in it; raise unless it has one row for each image."""
    logits = getattr(output, "logits", None)
    output = logits if isinstance(logits, Tensor) else output
    if not isinstance(output, Tensor):
        raise TypeError(
            f"model must return one tensor; got {type(output).__name__}. "
            "Wrap it in a module that returns the tensor to explain."
        )
    if output.dim() == 0 or len(output) != count or not output.is_floating_point():
        raise ValueError(
            f"model must return floating-point outputs of shape (batch, ...), one row for each of the {count} inputs; "
            f"got {output.dtype} of shape {tuple(output.shape)}. Explain a model that does."
        )
    return output
