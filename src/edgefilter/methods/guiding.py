"""Gradients that pass each ReLU and each max pooling only where they are positive."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from edgefilter.attribution.arguments import unwrapped
from edgefilter.errors import UnsupportedModelError

__all__ = ["check_readable", "guided_gradients"]

RELUS = {"relu", "relu_", "relu6"}
# a ReLU from 0 on, a ReLU6 between 0 and 6; hardtanh is what nn.ReLU6 calls
CLIPS = {"hardtanh", "hardtanh_", "clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_min_"}
POOLS = {"max_pool2d", "max_pool2d_with_indices"}


@contextlib.contextmanager
def guided_gradients(model: nn.Module) -> Iterator[None]:
    """Let gradients of what runs inside pass each ReLU and each max pooling only where they are positive.

    The rules of :class:`edgefilter.methods.GuidedNonlinearityIG`, for use with Captum's other methods. The result is a **negative control**:
    a map that looks sharp and hardly depends on the upper layers.

    Parameters
    ----------
    model : nn.Module
        The model that runs inside; left as it is.

    Raises
    ------
    TypeError
        If it is no ``nn.Module``.
    UnsupportedModelError
        If its functions cannot be seen: a scripted or compiled model, or one in ``DataParallel``.

    Notes
    -----
    Each ReLU and each 2-D max pooling that runs in this thread gets its rule, whether a module calls it or the model's
    ``forward`` does. No hook is set on a module. Values do not change; backward passes of what ran inside keep the
    rules, also if they run later.

    Examples
    --------
    The guided attribution at the first layer of a model, and its scores by color and filter:

    >>> from captum.attr import LayerIntegratedGradients
    >>> import edgefilter as ef
    >>> model = ef.models.edge_cnn(5, in_channels=3, bank="sobel").double().eval()
    >>> bank, images = model.stem.filters, torch.rand(2, 3, 16, 16).double()
    >>> with guided_gradients(model):
    ...     at_bank = LayerIntegratedGradients(model, bank).attribute(images, target=1)
    >>> scores = ef.Explanation.from_responses(at_bank, bank)
    >>> scores.color.shape, scores.edge.shape
    (torch.Size([2, 3]), torch.Size([2, 2]))
    """
    check_readable(model)
    if unwrapped(model) is not model:
        raise UnsupportedModelError(
            f"model must run its functions in Python and in this thread; got {type(model).__name__}. "
            "Pass the model inside: model.module of DataParallel, model._orig_mod of torch.compile."
        )
    with _Guide():
        yield


class _Guide(TorchFunctionMode):
    """Sets the rules on the tensors of each ReLU and each max pooling that runs."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in POOLS:
            return _guided_pool(func, *args, **kwargs)
        output = func(*args, **kwargs)
        if (name in RELUS or (name in CLIPS and _is_relu(args, kwargs))) and output.requires_grad:
            output.register_hook(_positive)
        return output


def _positive(gradient: Tensor) -> Tensor:
    """Clamp the gradient of a ReLU's output: behind the gate of 0 and 1, that of its input is clamped as well."""
    return gradient.clamp(min=0)


def _is_relu(args: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    """Return whether a call that clips is a ReLU or a ReLU6, whatever its arguments are called."""
    low, high = (*args[1:3], None, None)[:2]
    low, high = named.get("min", named.get("min_val", low)), named.get("max", named.get("max_val", high))
    return not isinstance(low, Tensor) and not isinstance(high, Tensor) and (low, high) in ((0, None), (0, 6))


def _guided_pool(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
    """Pool, and see to it that the gradient of the input is masked; of this reader of the input alone."""
    if not (input.requires_grad and torch.is_grad_enabled()):
        return func(input, *args, **kwargs)
    mine = input.view_as(input)
    output = func(mine, *args, **kwargs)
    masks: list[Tensor] = []

    def note(gradient: Tensor) -> None:
        positive = (gradient > 0).to(gradient).reshape(-1, 1, *gradient.shape[-2:])
        masks.append(F.interpolate(positive, size=input.shape[-2:], mode="nearest"))

    def apply(gradient: Tensor) -> Tensor:
        return gradient * masks.pop().reshape(gradient.shape)

    pooled: Tensor = output[0] if isinstance(output, tuple) else output
    pooled.register_hook(note)  # type: ignore[no-untyped-call]
    mine.register_hook(apply)  # type: ignore[no-untyped-call]
    return output


def check_readable(model: Any) -> None:
    """Raise unless each function that a model calls is called from Python, where its gradient can be guided."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be an nn.Module; got {type(model).__name__}. Wrap a function in a module whose forward calls it."
        )
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"layer {name!r}, which is scripted" if name else "a scripted model"
            raise UnsupportedModelError(
                f"model must call its ReLUs and max poolings from Python, where their gradients can be guided; got {where}. "
                "Pass the model before torch.jit.script or torch.jit.trace."
            )
