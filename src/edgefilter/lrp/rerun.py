"""Run a model again as it is, with other values where a bank's responses enter it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .calls import Calls, NumberedCall
from .surroundings import autocasts, eager
from .values import tensors_in

__all__ = ["rerun"]


class _Rerun(TorchFunctionMode):
    def __init__(self, values: Mapping[NumberedCall, Tensor], left_out: Sequence[NumberedCall]) -> None:
        super().__init__()
        self.values, self.left_out = dict(values), set(left_out)
        self.calls = Calls()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        call = self.calls.count(func)
        if call in self.values:
            return self.values.pop(call)
        if call in self.left_out:
            return args[0] if args else kwargs["input"]
        device = next((tensor.device.type for tensor in tensors_in((args, kwargs))), "cpu")
        if autocasts(device):  # as in the run that is repeated
            with torch.autocast(device, enabled=False):
                return func(*args, **kwargs)
        return func(*args, **kwargs)


def rerun(
    model: nn.Module,
    inputs: tuple[Any, ...],
    values: Mapping[NumberedCall, Tensor],
    left_out: Sequence[NumberedCall] = (),
) -> Any:
    """Return what a model returns if some of its calls give other values.

    Parameters
    ----------
    model : nn.Module
    inputs : tuple
        Its arguments.
    values : mapping of NumberedCall to Tensor
        What the calls are to return; they are not made.
    left_out : sequence of NumberedCall
        Calls that are to return their first argument as it is.

    Raises
    ------
    RuntimeError
        If the model does not make a call.

    Examples
    --------
    >>> model = nn.Sequential(nn.ReLU(), nn.Tanh())
    >>> rerun(model, (torch.tensor([-2.0]),), {NumberedCall(torch.tanh, 1): torch.tensor([7.0])})
    tensor([7.])
    """
    mode = _Rerun(values, left_out)
    with eager(), mode:
        output = model(*inputs)
    if mode.values:
        raise RuntimeError(
            f"model must call the same functions when it runs again; it did not call {next(iter(mode.values))}. "
            "Use calibrate=False for a model whose calls depend on the batch."
        )
    return output
