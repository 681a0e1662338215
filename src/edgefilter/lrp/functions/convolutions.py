"""Convolutions with constant weights; the one that reads the image is the stem."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional as F
from zennit import types

from edgefilter.errors import UnsupportedModelError
from edgefilter.lrp.image import present
from edgefilter.lrp.linear_maps import linear_map
from edgefilter.lrp.linear_steps import linear_step, mixed
from edgefilter.lrp.standins import (
    FilterBankConv2d,
    FullConv1d,
    FullConv2d,
    FullConv3d,
    layer_like,
)
from edgefilter.lrp.values import Value

from .table import Call, rule_for

__all__ = ["convolution"]

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
    run, inputs, weight = call.run, given["input"], given["weight"]
    if call.is_signal(weight) or call.is_signal(given.get("bias")):
        return run.refused(call)
    axes = CONVOLUTIONS[call.function][1]
    module = _layer(call.function, given)
    owner = run.modules.owner((types.Convolution,), weight)
    known = run.known(inputs)
    if known.parts is not None and module.groups == 1 and set(module.kernel_size) == {1}:
        value = linear_map(module).run(inputs.detach())
        return mixed(run, module, run.stem.mixing_of_parts(weight.detach()), known.parts, owner, value)
    if axes == 2 and run.stem.takes(run, owner, near=known.from_image):
        return run.stem.convolved(run, module, inputs, owner)
    if axes != 2 and known.from_image:
        where = run.modules.names.get(id(owner), run.modules.name)
        raise UnsupportedModelError(
            f"stem {where!r} must be a Conv2d to be seen as a bank of filters and a mixing; got a convolution over {axes} axes. "
            "Edge filters explain two-dimensional stems only."
        )
    module.__dict__["present"] = present(run, inputs)
    batched = inputs.dim() == axes + 2
    whole = batched and tuple(inputs.shape[2:]) == module.kernel_size and not _pads(module)
    if module.groups == 1 and whole and not _is_response(known):
        module.__class__ = FULL[axes]
    return linear_step(run, module, inputs, 1 if batched else 0, owner)


def _layer(function: Any, given: dict[str, Any]) -> Any:
    """Return a module with the weights and settings of a call."""
    kind, axes = (CONVOLUTIONS | TRANSPOSED)[function]
    weight, groups, padding = given["weight"], given.get("groups", 1), given.get("padding", 0)
    first, second = (len(weight), weight.shape[1] * groups)
    transposed = function in TRANSPOSED
    return layer_like(
        kind,
        weight.detach(),
        given.get("bias"),
        in_channels=first if transposed else second,
        out_channels=second if transposed else first,
        kernel_size=tuple(weight.shape[2:]),
        stride=_tuple(given.get("stride", 1), axes),
        padding=padding if isinstance(padding, str) else _tuple(padding, axes),
        dilation=_tuple(given.get("dilation", 1), axes),
        output_padding=_tuple(given.get("output_padding", 0), axes),
        groups=groups,
        padding_mode="zeros",
        transposed=transposed,
    )


def _is_response(known: Value) -> bool:
    """Return whether a tensor is what a filter bank gave: a mixing of it is part of the stem, however small the map."""
    return known.step is not None and isinstance(known.step.module, FilterBankConv2d)


def _pads(module: nn.Module) -> bool:
    padding: Any = module.padding
    return padding == "same" if isinstance(padding, str) else any(padding)


@rule_for(*TRANSPOSED)
def transposed_convolution(call: Call) -> Any:
    """Convolve the transposed way with constant weights."""
    given = call.bound("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
    if call.is_signal(given["weight"]) or call.is_signal(given.get("bias")):
        return call.run.refused(call)
    inputs, axes = given["input"], TRANSPOSED[call.function][1]
    owner = call.run.modules.owner((types.Convolution,), given["weight"])
    return linear_step(
        call.run, _layer(call.function, given), inputs, 1 if inputs.dim() == axes + 2 else 0, owner
    )


def _tuple(value: Any, axes: int) -> tuple[int, ...]:
    return (
        tuple(int(part) for part in value) * (axes if len(value) == 1 else 1)
        if isinstance(value, (tuple, list))
        else (int(value),) * axes
    )
