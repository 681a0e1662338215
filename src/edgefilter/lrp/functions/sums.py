"""Sums of signals, and shifts by constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgefilter.lrp.linear_steps import merged
from edgefilter.lrp.standins import Affine, sum_of
from edgefilter.lrp.steps import Summing
from edgefilter.lrp.values import Recipe

from .table import Call, rule_for

__all__ = ["added"]


@rule_for(torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)
def addition(call: Call) -> Any:
    """Add two signals, or a constant."""
    given = call.bound("input", "other")
    alpha = given.get("alpha", 1)
    other = given["other"] if alpha == 1 else call.other(torch.mul, given["other"], alpha)
    return added(call, given["input"], other)


@rule_for(torch.sub, Tensor.sub, Tensor.__sub__, torch.subtract, Tensor.subtract)
def subtraction(call: Call) -> Any:
    """Subtract a signal or a constant."""
    given = call.bound("input", "other")
    other = given["other"]
    alpha = -given.get("alpha", 1)
    other = call.other(torch.mul, other, alpha) if isinstance(other, Tensor) else other * alpha
    return added(call, given["input"], other, steady=False)


@rule_for(torch.rsub, Tensor.__rsub__)
def reflected_subtraction(call: Call) -> Any:
    """Subtract from something."""
    given = call.bound("input", "other")
    return call.other(lambda: given["other"] + given["input"] * -given.get("alpha", 1))


@rule_for(torch.lerp, Tensor.lerp)
def interpolation(call: Call) -> Any:
    """Mix two tensors with a constant weight."""
    given = call.bound("input", "end", "weight")
    start, end, weight = given["input"], given["end"], given["weight"]
    if call.is_signal(weight):
        return call.run.refused(call)
    return call.other(lambda: start * (1 - weight) + end * weight)


@rule_for(torch.addcmul, Tensor.addcmul)
def added_product(call: Call) -> Any:
    """Add a product."""
    given = call.bound("input", "tensor1", "tensor2")
    value = given.get("value", 1)
    return call.other(lambda: given["tensor1"] * given["tensor2"] * value + given["input"])


@rule_for(torch.addcdiv, Tensor.addcdiv)
def added_quotient(call: Call) -> Any:
    """Add a quotient."""
    given = call.bound("input", "tensor1", "tensor2")
    value = given.get("value", 1)
    return call.other(lambda: given["tensor1"] / given["tensor2"] * value + given["input"])


def added(call: Call, first: Any, second: Any, *, steady: bool = True) -> Any:
    """Add two signals by a step that shares relevance, or a constant to a signal.

    A difference is not steady: signed shares blow up if both signals are alike.
    """
    run = call.run
    both = call.is_signal(first) and call.is_signal(second)
    with torch.no_grad():
        value = run.constant(first) + run.constant(second)
    if not both:
        signal, other = (first, second) if call.is_signal(first) else (second, first)
        result = merged(run, signal, value, 1.0, run.constant(other))
        if result is None:
            plain = call._replace(function=torch.add, args=(signal, other), kwargs={})
            result = run.passing(plain, signal, value, kind=Affine, gate=run.known(signal).gate)
            run.known(result).recipe = Recipe(torch.add, (signal, other), {}, None)
        return result
    expanded = tuple(
        part if part.shape == value.shape else call.other(Tensor.expand, part, value.shape)
        for part in (first, second)
    )
    expanded = tuple(
        part if part.dtype == value.dtype else call.other(Tensor.to, part, value.dtype) for part in expanded
    )
    module = sum_of()
    result = run.step(Summing, module, expanded, value, hook=run.modules.hook(module), reader=True)
    run.known(result).recipe = Recipe(torch.add, expanded, {}, None)
    if not steady:
        run.known(result).readers.append(False)
    return result
