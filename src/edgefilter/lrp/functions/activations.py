"""Activations and other functions of one number: relevance passes through."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from zennit import types

from edgefilter.lrp.gates import ACTIVATED, CLIPPED, SOFTMAX, SQUASHED
from edgefilter.lrp.standins import Passing, activation, of_function
from edgefilter.lrp.steps import Softmax, Step

from .table import Call, methods, rule_for

__all__ = ["MONOTONE"]


KINDS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "hardtanh": nn.Hardtanh, "silu": nn.SiLU, "hardswish": nn.Hardswish, "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "selu": nn.SELU, "celu": nn.CELU, "prelu": nn.PReLU, "rrelu": nn.RReLU,
    "sigmoid": nn.Sigmoid, "hardsigmoid": nn.Hardsigmoid, "tanh": nn.Tanh, "softplus": nn.Softplus, "softsign": nn.Softsign,
    "logsigmoid": nn.LogSigmoid, "hardshrink": nn.Hardshrink, "softshrink": nn.Softshrink, "tanhshrink": nn.Tanhshrink,
    "threshold": nn.Threshold,
}  # fmt: skip
OTHERS = (
    "mish", "clamp", "clip", "clamp_min", "clamp_max", "abs", "absolute", "square", "pow", "sqrt", "exp", "expm1", "log", "log1p",
    "log2", "log10", "exp2", "erf", "atan", "arctan", "sinh", "asinh", "arcsinh", "sin", "cos", "logit", "expit", "log_sigmoid",
    "nan_to_num", "relu_", "float_power", "__pow__", "__abs__", "square_",
)  # fmt: skip
GATES = {
    "sigmoid": SQUASHED, "hardsigmoid": SQUASHED, "tanh": SQUASHED, "expit": SQUASHED, "relu6": CLIPPED,
    "erf": SQUASHED, "exp": SQUASHED, "mish": ACTIVATED, "hardtanh": CLIPPED, "clamp": CLIPPED, "clip": CLIPPED,
    "clamp_min": CLIPPED, "clamp_max": CLIPPED,
}  # fmt: skip

# Where one of these is the very end of a model, its argument is explained instead.
MONOTONE = {
    "sigmoid", "hardsigmoid", "expit", "softplus", "logsigmoid", "log_sigmoid", "softmax", "log_softmax", "log", "exp", "tanh",
}  # fmt: skip


@rule_for(*methods(*KINDS))
def function_of_one(call: Call) -> Any:
    """Compute an activation that torch.nn has a module for."""
    signal: Any = call.bound("input").get("input")
    name = call.name.strip("_")
    if name == "rrelu" and call.bound("input", "lower", "upper", "training").get("training"):
        return _random(call)
    if (
        not call.is_signal(signal)
        or sum(call.is_signal(given) for given in (*call.args, *call.kwargs.values())) > 1
    ):
        return call.run.refused(call)
    function = call.of(signal)
    owner = call.run.modules.owner((types.Activation, nn.Mish))
    owner = None if isinstance(owner, nn.MultiheadAttention) else owner
    module = activation(KINDS[name], function)
    result = call.run.step(
        Step,
        module,
        (signal,),
        call.value(),
        hook=call.run.modules.hook(module, owner),
        gate=GATES.get(name, ACTIVATED),
    )
    if name in MONOTONE:
        call.run.known(result).squashes = (signal, name)
    return result


@rule_for(*methods(*OTHERS))
def function_of_one_without_module(call: Call) -> Any:
    """Compute a function of one number."""
    signal: Any = call.bound("input").get("input")
    if (
        not call.is_signal(signal)
        or sum(call.is_signal(given) for given in (*call.args, *call.kwargs.values())) > 1
    ):
        return call.run.refused(call)
    name = call.name.strip("_")
    result = call.run.passing(call, signal, call.value(), gate=GATES.get(name, 0))
    if name in MONOTONE:
        call.run.known(result).squashes = (signal, name)
    return result


@rule_for(*methods("softmax", "log_softmax", "softmin"))
def softmax(call: Call) -> Any:
    """Compute a softmax: attention weights where it multiplies something."""
    given = call.bound("input", "dim")
    signal, value = given["input"], call.value()
    if call.run.attention == "attnlrp" and call.name == "softmax":
        module = of_function(Passing, call.of(signal))
        module.__dict__["dim"] = given["dim"]
        result = call.run.step(Softmax, module, (signal,), value, hook=None, reader=True, gate=SOFTMAX)
    else:
        result = call.run.passing(call, signal, value, gate=SOFTMAX if "log" not in call.name else 0)
    if call.name in MONOTONE:
        call.run.known(result).squashes = (signal, call.name)
    return result


@rule_for(
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, torch.dropout,
    torch.feature_dropout, torch.alpha_dropout, torch.feature_alpha_dropout,
)  # fmt: skip
def dropout(call: Call) -> Any:
    """Do nothing in evaluation."""
    given = call.bound("input", "p", "training" if call.function.__module__ != "torch" else "train")
    functional = call.function.__module__.startswith("torch.nn")
    active = (
        given.get("training", True)
        if functional
        else given.get("train", call.args[2] if len(call.args) > 2 else True)
    )
    if active and given.get("p", 0.5) > 0:
        return _random(call)
    return given["input"]


def _random(call: Call) -> Any:
    from edgefilter.errors import UnsupportedModelError

    where = call.run.modules.name
    raise UnsupportedModelError(
        f"model must give the same output at each call; got {call.name} in training mode"
        f"{f' in {where!r}' if where else ''}, which changes with each call. Pass training=self.training to it."
    )
