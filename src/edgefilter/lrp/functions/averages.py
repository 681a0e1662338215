"""Means, sums, average pooling, resizing: sums with held weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from zennit import types

from edgefilter.lrp.gates import SQUASHED
from edgefilter.lrp.standins import Average, AveragePool, of_function
from edgefilter.lrp.steps import Step
from edgefilter.lrp.values import Recipe

from .table import Call, methods, rule_for

__all__ = ["average_step", "averaged"]


@rule_for(
    *methods(
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
    )
)
def average_pooling(call: Call) -> Any:
    """Average over windows."""
    signal = call.bound("input")["input"]
    owner = call.run.modules.owner((types.AvgPool,))
    return averaged(call, signal, call.of(signal), AveragePool, owner)


@rule_for(
    *methods("mean", "sum", "interpolate", "upsample", "fold", "grid_sample", "nanmean", "nansum", "cumsum", "trace",
             "upsample_bilinear", "upsample_nearest", "affine_grid"),
)  # fmt: skip
def average(call: Call) -> Any:
    """Average or add up, with weights that are held."""
    given = call.bound("input")
    signal = given.get("input")
    if not isinstance(signal, Tensor) or not call.is_signal(signal):
        return call.run.refused(call)
    return averaged(call, signal, call.of(signal))


@rule_for(F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)
def power_pooling(call: Call) -> Any:
    """Average powers: the power and the root pass."""
    given = call.bound("input", "norm_type", "kernel_size", "stride", "ceil_mode")
    signal, power = given["input"], given["norm_type"]
    pool = {F.lp_pool1d: F.avg_pool1d, F.lp_pool2d: F.avg_pool2d, F.lp_pool3d: F.avg_pool3d}[call.function]
    axes = {F.lp_pool1d: 1, F.lp_pool2d: 2, F.lp_pool3d: 3}[call.function]
    size = given["kernel_size"]
    area = size**axes if isinstance(size, int) else int(torch.tensor(size).prod())
    stride = given.get("stride") or size
    return call.other(
        lambda: (pool(signal.pow(power), size, stride, 0, given.get("ceil_mode", False)) * area).pow(
            1 / power
        )
    )


def averaged(
    call: Call,
    signal: Tensor,
    function: Callable[[Tensor], Tensor],
    kind: type[nn.Module] = Average,
    owner: nn.Module | None = None,
) -> Any:
    """Return a weighted sum of a signal."""
    with torch.no_grad():
        value = function(signal.detach())
    function.__name__ = call.name
    result = average_step(call.run, signal, function, value, kind=kind, owner=owner)
    made, gate = call.run.known(result), call.run.known(signal).gate
    made.gate = gate if gate >= SQUASHED else 0
    made.recipe = Recipe(call.function, call.args, call.kwargs, None)
    return result


def average_step(
    run: Any,
    signal: Tensor,
    function: Callable[[Tensor], Tensor],
    value: Tensor,
    *,
    steady: bool = True,
    kind: type[nn.Module] = Average,
    owner: nn.Module | None = None,
) -> Tensor:
    """Return a weighted sum as a step; an unsteady one shares by the positive summands."""
    module = of_function(kind, function)
    result: Tensor = run.step(
        Step, module, (signal,), value, hook=run.modules.hook(module, owner), reader=True
    )
    if not steady:
        run.known(result).readers.append(False)
    return result
