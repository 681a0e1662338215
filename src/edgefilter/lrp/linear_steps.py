"""Linear maps as steps: constant scales and shifts behind them are merged, and so is a mixing of responses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .gates import SOFTMAX
from .linear_maps import linear_map
from .run import Run
from .standins import MatrixProduct, pointwise
from .steps import Step
from .values import Linear, Recipe

__all__ = ["linear_step", "merged", "mixed"]


def linear_step(
    run: Run,
    module: nn.Module,
    inputs: Tensor,
    axis: int,
    owner: nn.Module | None,
    value: Tensor | None = None,
    recipe: Recipe | None = None,
) -> Tensor:
    """Return the result of a layer with constant weights, as a step that later scales can be merged with."""
    if value is None:
        with torch.no_grad():
            value = linear_map(module).run(inputs.detach())
    # Attention weights that are mixed from head to head stay attention weights.
    mixed_weights = SOFTMAX if run.known(inputs).gate == SOFTMAX else 0
    result: Tensor = run.step(
        Step,
        module,
        (inputs,),
        value,
        hook=run.modules.hook(module, owner),
        reader=True,
        from_image=None if recipe is not None else False,
        gate=mixed_weights,
    )
    known = run.known(result)
    known.linear = Linear(module, inputs, axis % result.dim(), owner)
    known.recipe = recipe if known.from_image else None
    return result


def merged(
    run: Run, signal: Tensor, value: Tensor, gain: Tensor | float, shift: Tensor | float
) -> Tensor | None:
    """Return ``gain * signal + shift`` as the result of the linear map that gave the signal, if it did.

    Gain and shift must be constants that only differ from channel to channel.
    """
    known = run.value(signal)
    if known is None or known.linear is None or signal.shape != value.shape:
        return None
    old, inputs, axis, owner = known.linear
    channels = signal.shape[axis]
    gains, shifts = (_by_channel(part, signal, axis, channels) for part in (gain, shift))
    if gains is None or shifts is None:
        return None
    if isinstance(old, MatrixProduct) and not old.has_output_axis:
        return None
    bias, gain_before = old._parameters.get("bias"), old.__dict__.get("gain")
    offset = shifts if bias is None else bias.detach() * gains + shifts
    bias = nn.Parameter(offset, requires_grad=False) if bool(torch.any(offset != 0)) else None
    module = old.__class__.__new__(old.__class__)
    module.__dict__ = {
        **old.__dict__,
        "_parameters": {**old._parameters, "bias": bias},
        "gain": gains if gain_before is None else gains * gain_before,
    }
    recipe = Recipe(_scaled_and_shifted, (signal, gain, shift), {}, None) if known.from_image else None
    result = linear_step(run, module, inputs, axis, owner, value, recipe)
    run.known(result).step.name = known.step.name
    return result


def _scaled_and_shifted(signal: Tensor, gain: Tensor | float, shift: Tensor | float) -> Tensor:
    return signal * gain + shift


def _by_channel(part: Tensor | float, signal: Tensor, axis: int, channels: int) -> Tensor | None:
    """Return a constant as one number for each channel; None if it differs within a channel."""
    if not isinstance(part, Tensor):
        return signal.new_full((channels,), float(part)).detach()
    part = part.detach().to(signal)
    if part.dim() > signal.dim() or (part.dim() and part.requires_grad):
        return None
    shape = (1,) * (signal.dim() - part.dim()) + tuple(part.shape)
    if any(size != 1 for place, size in enumerate(shape) if place != axis):
        return None
    return part.reshape(shape[axis]).expand(channels)


def mixed(
    run: Run, module: Any, mixing: Tensor, response: Tensor, owner: nn.Module | None, value: Tensor
) -> Tensor:
    """Return the value of a convolution as a mixing of responses."""
    copies = response.shape[1] // mixing.shape[1]
    weight = mixing.repeat(1, copies, 1, 1) if copies > 1 else mixing
    layer = pointwise(weight.to(response), module._parameters.get("bias"))
    return linear_step(run, layer, response, 1, owner, value)
