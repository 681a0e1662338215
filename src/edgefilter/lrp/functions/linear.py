"""Convolutions, linear layers and products with constant weights; scales and shifts behind them are merged."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from zennit import types

from edgefilter.errors import UnsupportedModelError
from edgefilter.lrp.image import present
from edgefilter.lrp.linear_maps import linear_map
from edgefilter.lrp.standins import (
    FilterBankConv2d,
    FullConv1d,
    FullConv2d,
    FullConv3d,
    MatrixProduct,
    Passing,
    TokenLinear,
    TokenMatrixProduct,
    layer_like,
    of_function,
)
from edgefilter.lrp.stem import mixed
from edgefilter.lrp.steps import Bilinear, Step
from edgefilter.lrp.values import Linear, Recipe, Value

from .table import SOFTMAX, Call, rule_for, stronger

__all__ = ["linear_step", "merged"]

CONVOLUTIONS: dict[Any, tuple[type[nn.Module], int]] = {
    F.conv1d: (nn.Conv1d, 1),
    F.conv2d: (nn.Conv2d, 2),
    F.conv3d: (nn.Conv3d, 3),
}
FULL: dict[int, type[nn.Module]] = {1: FullConv1d, 2: FullConv2d, 3: FullConv3d}
TRANSPOSED: dict[Any, tuple[type[nn.Module], int]] = {
    F.conv_transpose1d: (nn.ConvTranspose1d, 1),
    F.conv_transpose2d: (nn.ConvTranspose2d, 2),
    F.conv_transpose3d: (nn.ConvTranspose3d, 3),
}


@rule_for(*CONVOLUTIONS)
def convolution(call: Call) -> Any:
    """Convolve with constant weights. The convolution that reads the image is the stem."""
    given = call.bound("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    inputs, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
    if call.is_signal(weight) or call.is_signal(bias):
        return call.run.refused(call)
    kind, axes = CONVOLUTIONS[call.function]
    groups = given.get("groups", 1)
    padding = given.get("padding", 0)
    module = layer_like(
        kind,
        weight.detach(),
        bias,
        in_channels=weight.shape[1] * groups,
        out_channels=len(weight),
        kernel_size=tuple(weight.shape[2:]),
        stride=_tuple(given.get("stride", 1), axes),
        padding=padding if isinstance(padding, str) else _tuple(padding, axes),
        dilation=_tuple(given.get("dilation", 1), axes),
        groups=groups,
        padding_mode="zeros",
        transposed=False,
        output_padding=(0,) * axes,
    )
    owner = call.run.modules.owner((types.Convolution,), weight)
    known = call.run.value(inputs)
    if known is not None and known.parts is not None and groups == 1 and set(weight.shape[2:]) == {1}:
        return mixed(
            call.run, module, weight.detach(), known.parts, owner, linear_map(module).run(inputs.detach())
        )
    if axes == 2 and known is not None and call.run.stem.takes(call.run, owner, near=known.from_image):
        return call.run.stem.convolved(call.run, module, inputs, owner)
    if axes != 2 and known is not None and known.from_image:
        where = call.run.modules.names.get(id(owner), call.run.modules.name)
        raise UnsupportedModelError(
            f"stem {where!r} must be a Conv2d to be seen as a bank of filters and a mixing; got a convolution over {axes} axes. "
            "Edge filters explain two-dimensional stems only."
        )
    module.__dict__["present"] = present(call.run, inputs)
    batched = inputs.dim() == axes + 2
    whole = batched and tuple(inputs.shape[2:]) == module.kernel_size and not _pads(module)
    if groups == 1 and whole and not _is_response(known):
        module.__class__ = FULL[axes]
    return linear_step(call.run, module, inputs, 1 if batched else 0, owner)


def _is_response(known: Value | None) -> bool:
    """Return whether a tensor is what a filter bank gave: a mixing of it is part of the stem, however small the map."""
    return known is not None and known.step is not None and isinstance(known.step.module, FilterBankConv2d)


def _pads(module: nn.Module) -> bool:
    padding: Any = module.padding
    return padding == "same" if isinstance(padding, str) else any(padding)


@rule_for(*TRANSPOSED)
def transposed_convolution(call: Call) -> Any:
    """Convolve the transposed way with constant weights."""
    given = call.bound("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
    inputs, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
    if call.is_signal(weight) or call.is_signal(bias):
        return call.run.refused(call)
    kind, axes = TRANSPOSED[call.function]
    groups = given.get("groups", 1)
    module = layer_like(
        kind,
        weight,
        bias,
        in_channels=len(weight),
        out_channels=weight.shape[1] * groups,
        kernel_size=tuple(weight.shape[2:]),
        stride=_tuple(given.get("stride", 1), axes),
        padding=_tuple(given.get("padding", 0), axes),
        output_padding=_tuple(given.get("output_padding", 0), axes),
        dilation=_tuple(given.get("dilation", 1), axes),
        groups=groups,
        padding_mode="zeros",
        transposed=True,
    )
    owner = call.run.modules.owner((types.Convolution,), weight)
    return linear_step(call.run, module, inputs, 1 if inputs.dim() == axes + 2 else 0, owner)


def _tuple(value: Any, axes: int) -> tuple[int, ...]:
    return (
        tuple(int(part) for part in value) * (axes if len(value) == 1 else 1)
        if isinstance(value, (tuple, list))
        else (int(value),) * axes
    )


@rule_for(F.linear)
def linear(call: Call) -> Any:
    """Multiply by a constant weight matrix."""
    given = call.bound("input", "weight", "bias")
    inputs, weight, bias = given["input"], given["weight"], given.get("bias")
    if call.is_signal(weight) or call.is_signal(bias) or not call.is_signal(inputs):
        return call.run.refused(call)
    owner = call.run.modules.owner((nn.Linear,), weight)
    return _linear(call, inputs, weight, bias, owner)


def _linear(
    call: Call, inputs: Tensor, weight: Tensor, bias: Tensor | None, owner: nn.Module | None
) -> Tensor:
    kind = TokenLinear if _has_places(inputs) else nn.Linear
    module = layer_like(kind, weight, bias, in_features=weight.shape[1], out_features=len(weight))
    recipe = Recipe(call.function, call.args, call.kwargs, None)
    return linear_step(call.run, module, inputs, -1, owner, recipe=recipe)


def _has_places(inputs: Tensor) -> bool:
    """Return whether a layer over the last axis is applied at several places of a sample."""
    return inputs.dim() > 2 and math.prod(inputs.shape[1:-1]) > 1


def linear_step(
    run: Any,
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
    result: Tensor = run.step(
        Step,
        module,
        (inputs,),
        value,
        hook=run.modules.hook(module, owner),
        reader=True,
        from_image=None if recipe is not None else False,
        gate=SOFTMAX
        if run.known(inputs).gate == SOFTMAX
        else 0,  # attention weights that are mixed from head to head
    )
    known = run.value(result)
    known.linear = Linear(module, inputs, axis % result.dim(), owner)
    known.recipe = recipe if known.from_image else None
    return result


def merged(
    run: Any, signal: Tensor, value: Tensor, gain: Tensor | float, shift: Tensor | float
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
    bias = shifts if bias is None else bias.detach() * gains + shifts
    bias = nn.Parameter(bias, requires_grad=False) if bool((bias != 0).any()) else None
    module = old.__class__.__new__(old.__class__)
    module.__dict__ = {
        **old.__dict__,
        "_parameters": {**old._parameters, "bias": bias},
        "gain": gains if gain_before is None else gains * gain_before,
    }
    recipe = Recipe(_scaled_and_shifted, (signal, gain, shift), {}, None) if known.from_image else None
    result = linear_step(run, module, inputs, axis, owner, value, recipe)
    run.value(result).step.name = known.step.name
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


# Matrix products.


@rule_for(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm, torch.mv, Tensor.mv)
def matrix_product(call: Call) -> Any:
    """Multiply by a constant from either side, or two signals of which one is a softmax."""
    first, second = call.bound("input", "other").values()
    if call.is_signal(first) and not call.is_signal(second) and second.dim() == 2:
        return _linear(
            call, first, second.detach().t(), None, call.run.modules.owner((nn.Linear,), _base(second))
        )
    return _product(call, (first, second), lambda a, b: torch.matmul(a, b))


@rule_for(Tensor.__rmatmul__)
def reflected_matrix_product(call: Call) -> Any:
    """Multiply with the operands the other way round."""
    return call.other(torch.matmul, call.args[1], call.args[0])


@rule_for(torch.bmm, Tensor.bmm)
def batched_matrix_product(call: Call) -> Any:
    """Multiply matrices one by one."""
    first, second = call.bound("input", "mat2").values()
    return _product(call, (first, second), lambda a, b: torch.matmul(a, b))


@rule_for(torch.addmm, Tensor.addmm, torch.baddbmm, Tensor.baddbmm, torch.addmv, Tensor.addmv)
def added_matrix_product(call: Call) -> Any:
    """Multiply matrices and add something."""
    given = call.bound("input", "one", "two")
    names = [name for name in given if name not in ("input", "beta", "alpha")]
    first, second = (given[name] for name in names[:2])
    beta, alpha = given.get("beta", 1), given.get("alpha", 1)

    def spelled() -> Any:
        product = torch.matmul(first, second)
        product = product if alpha == 1 else product * alpha
        return product if beta == 0 else product + (given["input"] if beta == 1 else given["input"] * beta)

    return call.other(spelled)


@rule_for(torch.einsum)
def einstein_sum(call: Call) -> Any:
    """Multiply and sum by Einstein's notation."""
    equation, *operands = call.args
    if not isinstance(equation, str):
        return call.run.refused(call)
    operands = (
        list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    )
    if len(operands) == 1:
        from .averages import averaged

        return averaged(call, operands[0], lambda inputs: torch.einsum(equation, inputs))
    if len(operands) != 2:
        return call.run.refused(call)
    terms, _, result = equation.replace(" ", "").partition("->")
    if result and terms.count(",") == 1 and "." not in equation and not call.is_signal(operands[1]):
        left, right = terms.split(",")
        found = _as_linear(call, operands[0], operands[1], left, right, result)
        if found is not None:
            return found
    return _product(call, tuple(operands), lambda a, b: torch.einsum(equation, a, b))


def _as_linear(
    call: Call, inputs: Tensor, weight: Tensor, left: str, right: str, result: str
) -> Tensor | None:
    """Spell a product with a constant as a linear layer over the last axis, if it is one."""
    summed = [axis for axis in right if axis in left and axis not in result]
    new = [axis for axis in right if axis not in left]
    kept = [axis for axis in left if axis not in summed]
    if (
        set(right) != set(summed) | set(new)
        or set(result) != set(kept) | set(new)
        or len(new) != 1
        or not summed
    ):
        return None
    if len(set(left)) < len(left) or len(set(right)) < len(right):
        return None
    matrix = torch.einsum(f"{right}->{''.join(new + summed)}", weight.detach()).flatten(1)

    def spelled() -> Tensor:
        ordered = inputs.permute([left.index(axis) for axis in kept + summed]).flatten(len(kept))
        product = F.linear(ordered, matrix)
        order = kept + new
        return product.permute([order.index(axis) for axis in result])

    return call.other(spelled)  # type: ignore[no-any-return]


@rule_for(torch.tensordot, torch.inner, Tensor.inner)
def tensor_product(call: Call) -> Any:
    """Contract two tensors."""
    first, second = call.args[:2]
    others, options = call.args[2:], dict(call.kwargs)
    return _product(call, (first, second), lambda a, b: call.function(a, b, *others, **options))


def _base(weight: Tensor) -> Tensor:
    """Return the parameter that a transposed weight is a view of."""
    return weight if weight._base is None else weight._base


def _product(call: Call, factors: tuple[Tensor, Tensor], function: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """Multiply two factors: by a constant, or by the weights of an attention, which are squashed or at least activated."""
    run = call.run
    signals = [factor for factor in factors if call.is_signal(factor)]
    with torch.no_grad():
        value = function(*(factor.detach() for factor in factors))
    if len(signals) == 1:
        place = 0 if factors[0] is signals[0] else 1
        return _by_constant(
            call, signals[0], factors[1 - place].detach(), function, value, flipped=place == 1
        )
    if run.attention == "attnlrp":
        return run.step(Bilinear, of_function(Passing, function), factors, value, hook=None, reader=True)
    weights = stronger(run, *factors)
    if weights is None:
        return run.refused(call)
    from .averages import average_step

    place = 0 if factors[1] is weights else 1
    held = weights.detach()
    run.known(weights).readers.append(True)
    if bool((held < 0).any()):
        return _by_constant(call, factors[place], held, function, value, flipped=place == 1)
    one = (lambda inputs: function(inputs, held)) if place == 0 else (lambda inputs: function(held, inputs))
    return average_step(run, factors[place], one, value, steady=False)


def _by_constant(
    call: Call,
    signal: Tensor,
    weight: Tensor,
    function: Callable[[Tensor, Tensor], Tensor],
    value: Tensor,
    *,
    flipped: bool,
) -> Tensor:
    """Multiply by a constant in an unusual place."""
    run = call.run
    places = signal[0].numel() > 0 and value.dim() > 2 and math.prod(value.shape[1:-1]) > 1
    module = layer_like(TokenMatrixProduct if places else MatrixProduct, weight, None)
    module.__dict__["function"] = (lambda a, b: function(b, a)) if flipped else function
    hook = run.modules.hook(module)
    result: Tensor = run.step(Step, module, (signal,), value, hook=hook, reader=True)
    run.known(result).recipe = (
        Recipe(call.function, call.args, call.kwargs, None) if run.known(result).from_image else None
    )
    last = value.dim() - 1
    if not flipped and weight.dim() >= 2 and weight.shape[-1] == value.shape[-1]:
        module.__dict__["has_output_axis"] = True
        run.known(result).linear = Linear(module, signal, last, None)
    return result
