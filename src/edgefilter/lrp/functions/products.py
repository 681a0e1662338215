"""Products: with constants, with gates, and of a signal with itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgefilter.lrp.gates import SQUASHED, stronger
from edgefilter.lrp.linear_steps import merged
from edgefilter.lrp.standins import Affine, Passing, of_function
from edgefilter.lrp.steps import Bilinear
from edgefilter.lrp.values import Recipe

from .table import Call, methods, rule_for

__all__ = ["scaled"]


@rule_for(torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.multiply, Tensor.multiply)
def product(call: Call) -> Any:
    """Multiply a signal by a constant, by a gate or by itself."""
    first, second = call.bound("input", "other").values()
    run = call.run
    if not (call.is_signal(first) and call.is_signal(second)):
        signal, other = (first, second) if call.is_signal(first) else (second, first)
        return scaled(call, signal, other, torch.mul)
    with torch.no_grad():
        value = first.detach() * second.detach()
    if first is second:
        return run.passing(call._replace(function=torch.square, args=(first,), kwargs={}), first, value)
    gate = _gate(run, first, second)
    if gate is None:
        if run.attention == "attnlrp":
            both = tuple(
                part if part.shape == value.shape else call.other(Tensor.expand, part, value.shape)
                for part in (first, second)
            )
            return run.step(Bilinear, of_function(Passing, torch.mul), both, value, hook=None, reader=True)
        return run.refused(call)
    signal, factor = (first, second) if gate is second else (second, first)
    run.known(gate).readers.append(True)
    held = factor.detach()
    plain = call._replace(function=torch.mul, args=(signal, held), kwargs={})
    return run.passing(plain, signal, value)


def _gate(run: Any, first: Tensor, second: Tensor) -> Tensor | None:
    """Return the factor that is a gate: the squashed one, or the smaller one, or that of a gated unit; None if none is."""
    squashed = stronger(run, first, second, least=SQUASHED)
    sizes = [_values(factor) for factor in (first, second)]
    if squashed is None and sizes[0] != sizes[1]:
        return first if sizes[0] < sizes[1] else second
    return stronger(run, first, second) if squashed is None else squashed


def _values(tensor: Tensor) -> int:
    """Return how many values a tensor holds, those that were expanded counted once."""
    return math.prod(size for size, step in zip(tensor.shape, tensor.stride(), strict=True) if step)


@rule_for(torch.div, Tensor.div, Tensor.__truediv__, torch.divide, Tensor.divide, torch.true_divide)
def quotient(call: Call) -> Any:
    """Divide a signal by a constant or by a deviation, which is held constant."""
    given = call.bound("input", "other")
    if given.get("rounding_mode"):
        return call.run.refused(call)
    if not call.is_signal(given["input"]):
        return divisor(call)
    signal, other = given["input"], given["other"]
    if not call.is_signal(other):
        return scaled(call, signal, other, torch.div)
    call.run.known(other).readers.append(True)
    with torch.no_grad():
        value = signal.detach() / other.detach()
    plain = call._replace(function=torch.div, args=(signal, other.detach()), kwargs={})
    return call.run.passing(plain, signal, value, gate=call.run.known(signal).gate)


@rule_for(Tensor.__rtruediv__, *methods("rsqrt", "reciprocal"))
def divisor(call: Call) -> Any:
    """Divide something by a signal: as a factor it is held constant, and nothing else can be done with it."""
    return call.run.refused(call, gate=SQUASHED)


@rule_for(torch.neg, Tensor.neg, Tensor.__neg__, torch.negative, Tensor.negative)
def negation(call: Call) -> Any:
    """Turn the sign."""
    return scaled(call, call.bound("input")["input"], -1.0, torch.mul)


def scaled(call: Call, signal: Tensor, other: Any, function: Any) -> Any:
    """Multiply or divide a signal by a constant. Where the constant is 0, relevance has nowhere to go."""
    run = call.run
    held = run.constant(other)
    with torch.no_grad():
        value = function(signal.detach(), held)
    gain = held if function is torch.mul else (1 / held)
    result = merged(run, signal, value, gain, 0.0)
    if result is not None:
        return result
    zero = (isinstance(gain, Tensor) and not bool((gain != 0).all())) or (
        not isinstance(gain, Tensor) and gain == 0
    )
    plain = call._replace(function=function, args=(signal, held), kwargs={})
    known = run.known(signal)
    gate = known.gate
    if zero:  # what is multiplied by 0 is a constant: keep relevance away from it
        signal = _masked(call, signal, gain, value)
        plain = plain._replace(args=(signal, held))
    result = run.passing(plain, signal, value, gate=gate, kind=Affine)
    run.known(result).recipe = Recipe(function, (signal, held), {}, None)
    return result


def _masked(call: Call, signal: Tensor, gain: Any, value: Tensor) -> Tensor:
    """Return the signal with zeros where it is multiplied by 0, through which no relevance passes."""
    keep = torch.as_tensor(gain != 0).to(signal.device)
    if signal.shape != value.shape:
        signal = call.other(Tensor.expand, signal, value.shape)
    return call.other(torch.where, keep, signal, torch.zeros((), dtype=signal.dtype, device=signal.device))  # type: ignore[no-any-return]


@rule_for(F.glu)
def gated(call: Call) -> Any:
    """Multiply one half of the channels by a gate of the other."""
    given = call.bound("input", "dim")

    def spelled() -> Tensor:
        signal, gate = given["input"].chunk(2, given.get("dim", -1))
        return signal * torch.sigmoid(gate)  # type: ignore[no-any-return]

    return call.other(spelled)
