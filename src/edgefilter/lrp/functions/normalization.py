"""Normalization: the deviation is held constant, the mean is a linear map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from zennit import types

from edgefilter.errors import UnsupportedModelError
from edgefilter.lrp.linear_steps import merged
from edgefilter.lrp.modules import bare_twin
from edgefilter.lrp.rules import Pass, Rule
from edgefilter.lrp.standins import Affine, of_function
from edgefilter.lrp.steps import Step

from .table import Call, rule_for

__all__ = ["batch_norm"]

_PASS = Pass()


@rule_for(F.batch_norm, torch.batch_norm)
def batch_norm(call: Call) -> Any:
    """Scale and shift by running statistics; behind a linear map both become one."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    if call.function is torch.batch_norm:
        names = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
    given = call.bound(*names)
    signal, mean, variance = given["input"], given["running_mean"], given["running_var"]
    if mean is None or variance is None or given.get("training"):
        raise UnsupportedModelError(
            f"BatchNorm must use running statistics in evaluation; got {call.run.modules.name!r}, which mixes the samples "
            "of a batch (track_running_stats=False). Train with running statistics to explain the model."
        )
    with torch.no_grad():
        gain = (variance + given.get("eps", 1e-5)).rsqrt()
        gain = gain if given.get("weight") is None else gain * given["weight"]
        shift = -mean * gain if given.get("bias") is None else given["bias"] - mean * gain
    return scaled_and_shifted(call, signal, gain.to(signal), shift.to(signal), call.value())


def scaled_and_shifted(call: Call, signal: Tensor, gain: Tensor, shift: Tensor, value: Tensor) -> Tensor:
    """Return ``gain * signal + shift``, both for each channel."""
    run = call.run
    shape = (-1, *[1] * (signal.dim() - 2))
    gain, shift = gain.reshape(shape), shift.reshape(shape)
    result = merged(run, signal, value, gain, shift)
    if result is not None:
        return result
    return normalized(call, signal, value, lambda inputs: inputs * gain + shift, kinds=(types.BatchNorm,))


def normalized(
    call: Call,
    signal: Tensor,
    value: Tensor,
    function: Callable[[Tensor], Tensor],
    kinds: tuple[Any, ...] = (),
) -> Tensor:
    """Return the result of a normalization as an affine map of its input, with the statistics held."""
    run = call.run
    module = of_function(Affine, function)
    function.__name__ = call.name
    owner = run.modules.owner(kinds) if kinds else None
    hook = run.modules.hook(module, owner) or _PASS
    if owner is not None and not isinstance(hook, Rule):
        module = bare_twin(owner)
    return run.step(Step, module, (signal,), value, hook=hook, reader=False)


@rule_for(F.layer_norm, torch.layer_norm)
def layer_norm(call: Call) -> Any:
    """Subtract the mean, divide by the deviation."""
    given = call.bound("input", "normalized_shape", "weight", "bias", "eps")
    signal = given["input"]
    axes = tuple(range(-len(tuple(given["normalized_shape"])), 0))
    weight, bias = (run_constant(call, given.get(name)) for name in ("weight", "bias"))
    with torch.no_grad():
        deviation = (signal.detach().var(axes, unbiased=False, keepdim=True) + given.get("eps", 1e-5)).sqrt()

    def function(inputs: Tensor) -> Tensor:
        result = (inputs - inputs.mean(axes, keepdim=True)) / deviation
        result = result if weight is None else result * weight
        return result if bias is None else result + bias  # type: ignore[no-any-return]

    return normalized(call, signal, call.value(), function)


def run_constant(call: Call, value: Any) -> Any:
    """Return a parameter detached."""
    return call.run.constant(value)


@rule_for(F.group_norm, torch.group_norm)
def group_norm(call: Call) -> Any:
    """Normalize groups of channels."""
    given = call.bound("input", "num_groups", "weight", "bias", "eps")
    signal, groups = given["input"], given["num_groups"]
    weight, bias = (run_constant(call, given.get(name)) for name in ("weight", "bias"))
    return normalized(
        call, signal, call.value(), _grouped(signal.detach(), groups, given.get("eps", 1e-5), weight, bias)
    )


def _grouped(
    signal: Tensor, groups: int, eps: float, weight: Tensor | None, bias: Tensor | None
) -> Callable[[Tensor], Tensor]:
    shape = (-1, *[1] * (signal.dim() - 2))
    with torch.no_grad():
        rows = signal.reshape(len(signal), groups, -1)
        deviation = (rows.var(2, unbiased=False, keepdim=True) + eps).sqrt()

    def function(inputs: Tensor) -> Tensor:
        rows = inputs.reshape(len(inputs), groups, -1)
        result = ((rows - rows.mean(2, keepdim=True)) / deviation).reshape(inputs.shape)
        result = result if weight is None else result * weight.reshape(shape)
        return result if bias is None else result + bias.reshape(shape)

    return function


@rule_for(F.instance_norm, torch.instance_norm)
def instance_norm(call: Call) -> Any:
    """Normalize each channel of each image, or scale and shift by running statistics."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps")
    if call.function is torch.instance_norm:
        names = (
            "input",
            "weight",
            "bias",
            "running_mean",
            "running_var",
            "use_input_stats",
            "momentum",
            "eps",
        )
    given = call.bound(*names)
    signal = given["input"]
    weight, bias = (run_constant(call, given.get(name)) for name in ("weight", "bias"))
    eps = given.get("eps", 1e-5)
    if not given.get("use_input_stats", True):
        mean, variance = run_constant(call, given["running_mean"]), run_constant(call, given["running_var"])
        gain = (variance + eps).rsqrt()
        gain = gain if weight is None else gain * weight
        shift = -mean * gain if bias is None else bias - mean * gain
        return scaled_and_shifted(call, signal, gain, shift, call.value())
    return normalized(
        call, signal, call.value(), _grouped(signal.detach(), signal.shape[1], eps, weight, bias)
    )


@rule_for(*[getattr(F, "rms_norm", None), getattr(torch, "rms_norm", None)])
def root_mean_square_norm(call: Call) -> Any:
    """Divide by the root mean square."""
    given = call.bound("input", "normalized_shape", "weight", "eps")
    signal = given["input"]
    with torch.no_grad():
        value = call.value()
        axes = tuple(range(-len(tuple(given["normalized_shape"])), 0))
        eps = given.get("eps")
        eps = torch.finfo(signal.dtype).eps if eps is None else eps
        gain = (signal.detach().square().mean(axes, keepdim=True) + eps).rsqrt()
        gain = gain if given.get("weight") is None else gain * given["weight"]
    return normalized(call, signal, value, lambda inputs: inputs * gain)


@rule_for(torch.var_mean, torch.std_mean)
def spread_and_mean(call: Call) -> Any:
    """Return a deviation, which is for dividing only, and a mean."""
    spread, _ = call.run.refused(call)
    given = call.bound("input", "dim")
    axes = given.get("dim")
    axes = tuple(range(given["input"].dim())) if axes is None or isinstance(axes, bool) else axes
    return spread, call.other(torch.mean, given["input"], axes, keepdim=given.get("keepdim", False))


@rule_for(F.local_response_norm, F.normalize)
def divided(call: Call) -> Any:
    """Divide by a size of the neighbors, held constant."""
    signal = call.bound("input")["input"]
    value = call.value()
    return call.run.passing(call._replace(function=_as_it_was(value)), signal, value)


def _as_it_was(value: Tensor) -> Callable[..., Tensor]:
    def normalized(*_: Any, **__: Any) -> Tensor:
        return value

    return normalized
