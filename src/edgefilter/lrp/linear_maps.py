"""Layers as linear maps: forward and back through any weights of the layer's shape.

Relevance rules run a layer through changed weights, forward to find a denominator and back to hand relevance out. Both
directions are public operators without a graph: going back through a convolution is the transposed convolution.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

__all__ = ["Favour", "LinearMap", "Part", "is_zero", "linear_map", "negative", "positive", "signed"]

CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONVOLVE_BACK: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}

ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
ROWS = 128  # of a product that gains by it


class LinearMap:
    """A layer of any kind: back by automatic differentiation.

    Parameters
    ----------
    module : nn.Module
        Linear in its inputs except for a bias, or treated as if it were.

    Attributes
    ----------
    weight, bias : Tensor or None
        What the layer holds, detached.
    is_operator : bool
        Whether both directions are operators, which return new tensors.
    """

    is_operator = False

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.weight = self._parameter("weight")
        self.bias = self._parameter("bias")

    def suit(self, inputs: Tensor) -> None:
        """Bring the weight to the layout of the inputs, once for all that a rule does with it."""

    def _parameter(self, name: str) -> Tensor | None:
        value = self.module._parameters.get(name)
        return None if value is None else value.detach()

    def run(self, inputs: Tensor) -> Tensor:
        """Return what the layer computes."""
        return self.forward(inputs, self.weight, self.bias)

    def forward(self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
        """Return the output through the given weight and bias (None: without)."""
        kept = dict(self.module._parameters)
        for name, value in (("weight", weight), ("bias", bias)):
            if kept.get(name) is not None:
                value = None if value is None else nn.Parameter(value, requires_grad=False)
                self.module._parameters[name] = value
        try:
            output: Tensor = self.module.forward(inputs)
        finally:
            self.module._parameters.update(kept)
        return output

    def backward(self, values: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        """Return the transposed map of values shaped as the output; ``like`` is the input it leads to."""
        leaf = like.detach().requires_grad_()
        with torch.enable_grad():
            output = self.forward(leaf, weight)
        (gradient,) = torch.autograd.grad(output, leaf, values.expand_as(output))
        return gradient

    def spread(self, ratio: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        """Go back through a weight whose entries are all the same."""
        return self.backward(ratio, weight, like)

    def sample(self, inputs: Tensor) -> Tensor:
        """Return as much of a batch as shows what the layer makes of a constant."""
        return inputs

    def pull(self, ratio: Tensor, weight: Tensor | None, inputs: Tensor) -> Tensor:
        """Hand relevance back by the contributions of the inputs; ``ratio`` is relevance per unit of output."""
        return inputs * self.backward(ratio, weight, inputs)

    def rows(self, inputs: Tensor, outputs: Tensor) -> tuple[LinearMap, Tensor, Tensor] | None:
        """Return the layer as a product with a matrix, and inputs and outputs as rows; None if it is none."""
        return None

    def of_rows(self, rows: Tensor, inputs: Tensor) -> Tensor:
        """Return rows in the shape of the inputs."""
        return rows.view(inputs.shape)

    def added(self, terms: Iterable[Tensor]) -> Tensor:
        """Return the sum of what this layer computed."""
        return functools.reduce(torch.add, terms)


class _Operator(LinearMap):
    """A layer whose two directions are operators: what they return is new, and may be overwritten."""

    is_operator = True

    def pull(self, ratio: Tensor, weight: Tensor | None, inputs: Tensor) -> Tensor:
        return self.backward(ratio, weight, inputs).mul_(inputs)

    def added(self, terms: Iterable[Tensor]) -> Tensor:
        return functools.reduce(Tensor.add_, terms)

    def sample(self, inputs: Tensor) -> Tensor:
        batched = inputs.dim() > 1 + len(getattr(self.module, "kernel_size", ()))
        return inputs[:1] if batched else inputs


class _Linear(_Operator):
    def rows(self, inputs: Tensor, outputs: Tensor) -> tuple[LinearMap, Tensor, Tensor] | None:
        return self, inputs.reshape(-1, inputs.shape[-1]), outputs.reshape(-1, outputs.shape[-1])

    def forward(self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
        assert weight is not None
        return _product(inputs, weight, bias)

    def backward(self, values: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        assert weight is not None
        return _product(values, weight, back=True)

    def spread(self, ratio: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        assert weight is not None
        return self.backward(ratio.sum(-1, keepdim=True), weight[:1], like)


class _Matrix(_Linear):
    """A pointwise convolution over rows of channels."""

    def __init__(self, convolution: LinearMap) -> None:
        super().__init__(convolution.module)
        self.weight = None if convolution.weight is None else convolution.weight.flatten(1)
        self.bias = convolution.bias


class _Convolution(_Operator):
    module: Any

    def rows(self, inputs: Tensor, outputs: Tensor) -> tuple[LinearMap, Tensor, Tensor] | None:
        if not (_is_pointwise(self.module, self._padding()) and _has_channels_last(inputs)):
            return None
        given, handed = (
            values.permute(0, 2, 3, 1).reshape(-1, values.shape[1]) for values in (inputs, outputs)
        )
        return _Matrix(self), given, handed

    def of_rows(self, rows: Tensor, inputs: Tensor) -> Tensor:
        return rows.view(len(inputs), *inputs.shape[2:], -1).permute(0, 3, 1, 2)

    def suit(self, inputs: Tensor) -> None:
        if self.weight is not None:
            self.weight = _alike(inputs, self.weight)[1]

    def forward(self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
        module, padding = self.module, self._padding()
        assert weight is not None
        padded = self._padded(inputs)
        if _is_pointwise(module, padding) and _has_channels_last(padded):
            return _product(padded.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
        last = _has_channels_last(padded)
        padded, weight = _alike(padded, weight)
        output: Tensor = CONVOLVE[len(module.kernel_size)](
            padded, weight, bias, module.stride, padding, module.dilation, module.groups
        )
        return output.contiguous(memory_format=torch.channels_last) if last else output

    def backward(self, values: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        assert weight is not None
        axes = len(self.module.kernel_size)
        if not self._pads():
            return self._transposed(values, weight, like.shape[-axes:])
        leaf = like.detach().requires_grad_()
        with torch.enable_grad():
            padded = self._padded(leaf)
        gradient = self._transposed(values, weight, padded.shape[-axes:])
        return torch.autograd.grad(padded, leaf, gradient)[0]

    def spread(self, ratio: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        assert weight is not None
        axis, groups = ratio.dim() - len(self.module.kernel_size) - 1, self.module.groups
        together = torch.unflatten(ratio, axis, (groups, -1)).sum(axis + 1)
        return self.backward(together, weight[:groups], like)

    def _transposed(self, values: Tensor, weight: Tensor, size: torch.Size) -> Tensor:
        module, padding = self.module, self._padding()
        if _is_pointwise(module, padding) and values.dim() == 4:
            return _mixed_back(values, weight)
        if values.dim() == 4 and module.groups == module.in_channels < len(weight):
            return _filtered_back(values, weight, size, module, padding)
        missing = [
            whole - ((out - 1) * step - 2 * pad + spread * (kernel - 1) + 1)
            for whole, out, step, pad, spread, kernel in zip(
                size,
                values.shape[-len(size) :],
                module.stride,
                padding,
                module.dilation,
                module.kernel_size,
                strict=True,
            )
        ]
        last = _has_channels_last(values)
        values, weight = _alike(values, weight)
        result: Tensor = CONVOLVE_BACK[len(size)](
            values, weight, None, module.stride, padding, missing, module.groups, module.dilation
        )
        return result.contiguous(memory_format=torch.channels_last) if last else result

    def _padding(self) -> tuple[int, ...]:
        """Return the zeros that the convolution itself puts on both sides of each axis."""
        padding = self.module.padding
        return (0,) * len(self.module.kernel_size) if isinstance(padding, str) else tuple(padding)

    def _pads(self) -> bool:
        """Return whether the inputs are padded before they are convolved."""
        return bool(self.module.padding == "same")

    def _padded(self, inputs: Tensor) -> Tensor:
        module = self.module
        if not self._pads():
            return inputs
        totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return F.pad(
            inputs, [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
        )


class _TransposedConvolution(_Operator):
    module: Any

    def forward(self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
        module = self.module
        output: Tensor = CONVOLVE_BACK[len(module.kernel_size)](
            inputs,
            weight,
            bias,
            module.stride,
            module.padding,
            module.output_padding,
            module.groups,
            module.dilation,
        )
        return output

    def backward(self, values: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        module = self.module
        axes = len(module.kernel_size)
        result: Tensor = CONVOLVE[axes](
            values, weight, None, module.stride, module.padding, module.dilation, module.groups
        )
        whole: Any = (..., *(slice(size) for size in like.shape[-axes:]))
        return result[whole]


def linear_map(module: nn.Module) -> LinearMap:
    """Return a module as a linear map, by operators where its class is known to be one."""
    forward = type(module).forward
    if {"weight", "bias"} <= module._parameters.keys():
        if forward is nn.Linear.forward:
            return _Linear(module)
        if isinstance(module, _ConvTransposeNd) and forward.__module__ == _ConvNd.__module__:
            return _TransposedConvolution(module)
        if isinstance(module, _ConvNd) and forward.__module__ == _ConvNd.__module__:
            return _Convolution(module) if module.padding_mode == "zeros" else LinearMap(module)
    return LinearMap(module)


def _alike(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Bring the values or the weight to the layout of the other: mixed layouts cost a third of a convolution.

    A rule needs the weight once, but the values four times: in and out, forward and back.
    """
    if values.dim() != 4 or values.is_contiguous():
        return values, weight
    if 4 * values.numel() < weight.numel():
        return values.contiguous(), weight
    return values, weight.contiguous(memory_format=torch.channels_last)


def _is_pointwise(module: Any, padding: tuple[int, ...]) -> bool:
    ones = all(size == 1 for size in (*module.kernel_size, *module.stride))
    return ones and module.groups == 1 and not any(padding)


def _has_channels_last(values: Tensor) -> bool:
    return values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last)


def _product(values: Tensor, weight: Tensor, bias: Tensor | None = None, *, back: bool = False) -> Tensor:
    """Go through a matrix (out, in) along the last axis, or back through it, by the faster operator.

    On one thread PyTorch multiplies by MKL, which takes 2.4 times the time of oneDNN on AMD processors (100 and 250
    Gflop/s). A 1x1 convolution goes to oneDNN if it is dilated, which changes nothing; its preparations pay from some
    rows on.
    """
    rows = values.reshape(-1, values.shape[-1])
    if not (ONEDNN and rows.device.type == "cpu" and rows.dtype == torch.float32 and len(rows) >= ROWS):
        return values @ weight if back else F.linear(values, weight, bias)
    image = rows[None, None].permute(0, 3, 1, 2)  # (1, channels, 1, rows), the channels last
    convolve: Callable[..., Tensor] = F.conv_transpose2d if back else F.conv2d
    output = convolve(image, weight[:, :, None, None], bias, dilation=2)
    return output.permute(0, 2, 3, 1).reshape(*values.shape[:-1], -1)


def _mixed_back(values: Tensor, weight: Tensor) -> Tensor:
    """Go back through a 1x1 convolution: a matrix product."""
    matrix = weight.flatten(1)
    if _has_channels_last(values):
        return _product(values.permute(0, 2, 3, 1), matrix, back=True).permute(0, 3, 1, 2)
    return torch.unflatten(matrix.t() @ values.flatten(2), 2, values.shape[2:])


def _filtered_back(
    values: Tensor, weight: Tensor, size: torch.Size, module: Any, padding: tuple[int, ...]
) -> Tensor:
    """Go back through a bank of filters on each channel: a matrix product, and overlapping patches added up."""
    channels = module.in_channels
    matrices = weight.reshape(channels, -1, weight[0].numel()).transpose(1, 2)
    planes = [
        F.fold(
            matrix @ responses.flatten(2),
            tuple(size),
            module.kernel_size,
            module.dilation,
            padding,
            module.stride,
        )
        for matrix, responses in zip(
            matrices, torch.unflatten(values, 1, (channels, -1)).unbind(1), strict=True
        )
    ]
    return torch.cat(planes, 1)


class Part:
    """A share of a layer's output: what some of the inputs, through some of the weights, give.

    Parameters
    ----------
    layer : LinearMap
    terms : list of (Tensor, Tensor or None)
        Inputs, and the weight that they meet.
    """

    def __init__(self, layer: LinearMap, terms: list[tuple[Tensor, Tensor | None]]) -> None:
        self._layer, self._terms = layer, terms

    def total(self) -> Tensor:
        """Return that share of the output."""
        return self._layer.added(self._layer.forward(*term) for term in self._terms)

    def pull(self, ratio: Tensor) -> Tensor:
        """Hand relevance back in proportion to the contributions; ``ratio`` is relevance per unit of output."""
        return self._layer.added(self._layer.pull(ratio, weight, inputs) for inputs, weight in self._terms)


def signed(layer: LinearMap, inputs: Tensor, sign: int) -> Part:
    """Return the part of a layer's output whose contributions have one sign."""
    own, other = (positive, negative) if sign > 0 else (negative, positive)
    if layer.weight is None:
        return Part(layer, [(own(inputs), None)])
    if not reaches_below_zero(inputs):
        return Part(layer, [(inputs, own(layer.weight))])
    return Part(layer, [(positive(inputs), own(layer.weight)), (negative(inputs), other(layer.weight))])


class Favour:
    """Contributions ``z + gamma z+`` where an output is positive, and ``z + gamma z-`` where it is negative.

    Both are ``(1 + gamma/2) z`` plus or minus ``gamma/2 |z|``: two maps each way do for inputs of any sign.

    Parameters
    ----------
    layer : LinearMap
    inputs : Tensor
    gamma : float
    """

    def __init__(self, layer: LinearMap, inputs: Tensor, gamma: float) -> None:
        self._layer, self._inputs = layer, inputs
        self._size = None if layer.weight is None else layer.weight.abs()
        self.common, self._extra = 1 + gamma / 2, gamma / 2

    def excess(self) -> Tensor:
        """Return ``gamma/2`` times the sizes of the contributions added up."""
        return self._layer.forward(self._inputs.abs(), self._size) * self._extra

    def pull(self, ratio: Tensor, towards: Tensor) -> Tensor:
        """Hand relevance back; given relevance per unit of output, and the same with the signs of the outputs."""
        layer, inputs = self._layer, self._inputs
        result = layer.pull(ratio, layer.weight, inputs) * self.common
        return result.add_(layer.pull(towards, self._size, inputs.abs()), alpha=self._extra)


def positive(values: Tensor) -> Tensor:
    """Return the positive values, and zero for the others."""
    return values.clamp(min=0)


def negative(values: Tensor) -> Tensor:
    """Return the negative values, and zero for the others."""
    return values.clamp(max=0)


def reaches_below_zero(values: Tensor) -> bool:
    """Return whether any value is negative."""
    return values.numel() > 0 and not bool(values.amin(tuple(range(values.dim()))) >= 0)


def is_zero(values: Tensor) -> bool:
    """Return whether all values are zero."""
    axes = tuple(range(values.dim()))
    return values.numel() == 0 or bool((values.amax(axes) == 0) & (values.amin(axes) == 0))
