"""Linear layers and products with constant weights in any spelling, and products of two signals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgefilter.lrp.gates import stronger
from edgefilter.lrp.linear_steps import linear_step
from edgefilter.lrp.standins import (
    MatrixProduct,
    Passing,
    TokenLinear,
    TokenMatrixProduct,
    layer_like,
    of_function,
)
from edgefilter.lrp.steps import Bilinear, Step
from edgefilter.lrp.values import Linear, Recipe

from .averages import average_step, averaged
from .table import Call, rule_for

__all__ = ["linear"]


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
        places = [order.index(axis) for axis in result]
        return product if places == sorted(places) else product.permute(places)

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
