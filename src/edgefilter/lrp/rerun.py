"""Run a model again as it is, with other values where a bank's responses enter it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .calls import Calls, NumberedCall
from .functions import INPLACE
from .site import Site, is_same, kernel_of
from .surroundings import autocasts, eager
from .values import replaced, tensors_in

__all__ = ["rerun"]


class _Rerun(TorchFunctionMode):
    def __init__(
        self, values: Sequence[tuple[Site, Tensor]], left_out: Sequence[NumberedCall], *, out_of_place: bool
    ) -> None:
        super().__init__()
        self.values, self.left_out, self.out_of_place = list(values), set(left_out), out_of_place
        self.calls = Calls()
        self._now: dict[int, tuple[Tensor, Tensor]] = {}
        self._kernels: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._now:
            args, kwargs = replaced(args, self.now), replaced(kwargs, self.now)
        call = self.calls.count(func)
        value = self._value(func, args, kwargs)
        if value is not None:
            return value
        if call in self.left_out:
            return args[0] if args else kwargs["input"]
        device = next((tensor.device.type for tensor in tensors_in((args, kwargs))), "cpu")
        if autocasts(device):  # as in the run that is repeated
            with torch.autocast(device, enabled=False):
                return self._called(func, args, kwargs)
        return self._called(func, args, kwargs)

    def now(self, tensor: Tensor) -> Tensor:
        """Return the tensor that has taken the place of one that was to be changed in place."""
        while id(tensor) in self._now:
            tensor = self._now[id(tensor)][1]
        return tensor

    def _value(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
        """Return what a convolution is to return, if it is one of the sites: known by its weight, not by its number."""
        if not self.values or func is not F.conv2d:
            return None
        kernel = kernel_of(args, kwargs)
        self._kernels.append(kernel)
        for place, (site, value) in enumerate(self.values):
            if is_same(kernel, site.kernel) and site.number == sum(
                is_same(other, kernel) for other in self._kernels
            ):
                del self.values[place]
                return value
        return None

    def _called(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        in_place = func in INPLACE or kwargs.get("inplace")
        target: Any = args[0] if args else kwargs.get("input")
        if not (self.out_of_place and in_place and target.requires_grad) or _shares(target):
            return func(*args, **kwargs)
        kwargs = {name: value for name, value in kwargs.items() if name != "inplace"}
        result = INPLACE.get(func, func)(*args, **kwargs)
        self._now[id(target)] = (target, result)
        return result


def _shares(tensor: Tensor) -> bool:
    """Return whether a tensor is a view of another; those that module hooks make are read by nobody else."""
    return tensor._is_view() and "BackwardHookFunction" not in type(tensor.grad_fn).__name__


def rerun(
    model: nn.Module,
    inputs: tuple[Any, ...],
    values: Sequence[tuple[Site, Tensor]],
    left_out: Sequence[NumberedCall] = (),
    *,
    out_of_place: bool = False,
) -> Any:
    """Return what a model returns if the convolutions that read the image give other values.

    Parameters
    ----------
    model : nn.Module
    inputs : tuple
        Its arguments.
    values : sequence of (Site, Tensor)
        What the convolutions are to return; they are not computed.
    left_out : sequence of NumberedCall
        Calls that are to return their first argument as it is.
    out_of_place : bool, default: False
        Whether functions in place give new tensors, so that gradients can go back through all of them.

    Raises
    ------
    RuntimeError
        If the model does not make a call.
    """
    mode = _Rerun(values, left_out, out_of_place=out_of_place)
    with eager(), mode:
        output = model(*inputs)
    if mode.values:
        raise RuntimeError(
            f"model must call its stem again when it runs again; it did not call {mode.values[0][0].call}. "
            "Use calibrate=False for a model whose calls depend on the batch or on earlier calls."
        )
    return replaced(output, mode.now)
