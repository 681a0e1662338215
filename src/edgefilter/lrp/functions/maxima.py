"""Maxima: the winner takes all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from zennit import types

from edgefilter.lrp.gates import CLIPPED
from edgefilter.lrp.modules import bare_twin
from edgefilter.lrp.standins import Passing
from edgefilter.lrp.steps import Step

from .table import Call, methods, rule_for

__all__ = ["pooling"]


@rule_for(
    *methods(
        "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices",
        "max_pool3d_with_indices", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
        "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d_with_indices",
        "fractional_max_pool2d", "max_unpool1d", "max_unpool2d", "max_unpool3d", "topk", "sort", "kthvalue", "median",
        "mode", "cummax", "cummin",
    )
)  # fmt: skip
def pooling(call: Call) -> Any:
    """Select values: their gradient is one where they come from."""
    if call.name == "median" and len(call.args) + len(call.kwargs) == 1:
        return call.run.refused(call)
    owner = call.run.modules.owner((types.MaxPool,))
    signal = call.bound("input")["input"]
    hook = None if owner is None else call.run.modules.hook(owner, owner)
    value = None if hook is None else call.value()
    if owner is not None and isinstance(value, Tensor):
        return call.run.step(Step, bare_twin(owner), (signal,), value, hook=hook)
    return _without_recipe(call)


def _without_recipe(call: Call) -> Any:
    result = call.run.rearranged(call)
    for tensor in result if not isinstance(result, Tensor) else (result,):
        known = call.run.value(tensor)
        if known is not None:
            known.recipe = None
    return result


@rule_for(torch.amax, Tensor.amax, torch.amin, Tensor.amin)
def extreme_over_axes(call: Call) -> Any:
    """Select the first of the largest or smallest values."""
    given = call.bound("input", "dim", "keepdim")
    signal, dim = given["input"], given.get("dim", ())
    dims = [dim] if isinstance(dim, int) else list(dim) or list(range(signal.dim()))
    dims = sorted(axis % signal.dim() for axis in dims)
    function = torch.max if call.function in (torch.amax, Tensor.amax) else torch.min
    kept = [axis for axis in range(signal.dim()) if axis not in dims]
    shape = [signal.shape[axis] for axis in kept]

    def spelled() -> Tensor:
        values = function(signal.permute(kept + dims).reshape(*shape, -1), -1)[0]
        if given.get("keepdim"):
            values = values.reshape(
                [1 if axis in dims else signal.shape[axis] for axis in range(signal.dim())]
            )
        return values

    return call.other(spelled)


@rule_for(torch.max, Tensor.max, torch.min, Tensor.min)
def extreme(call: Call) -> Any:
    """Select the largest along an axis, or of two tensors."""
    given = call.bound("input", "dim")
    other = given.get("other", given.get("dim"))
    if isinstance(other, Tensor):
        return call.other(torch.maximum if call.name == "max" else torch.minimum, given["input"], other)
    if other is None:
        return call.run.refused(call)
    return _without_recipe(call)


@rule_for(torch.maximum, Tensor.maximum, torch.minimum, Tensor.minimum, torch.fmax, torch.fmin)
def extreme_of_two(call: Call) -> Any:
    """Select the larger of two signals; of a signal and a constant it is an activation."""
    first, second = call.bound("input", "other").values()
    if call.is_signal(first) and call.is_signal(second):
        return _without_recipe(call)
    signal = first if call.is_signal(first) else second
    return call.run.passing(call, signal, call.value(), gate=CLIPPED, kind=Passing)
