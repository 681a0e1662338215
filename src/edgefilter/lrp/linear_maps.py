"""Layers as linear maps: forward and back through any weights of the layer's shape.

Relevance rules run a layer through changed weights, forward to find a denominator and back to hand relevance out. Here
both directions are public operators without a graph: going back through a convolution is the transposed convolution.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from edgefilter.stems.padding import PaddedConv2d

from .operations import FunctionalConv2d, FunctionalLinear

__all__ = [
    "Favour",
    "LinearMap",
    "Part",
    "flat",
    "in_blocks",
    "is_zero",
    "linear_map",
    "negative",
    "positive",
    "reaches_below_zero",
    "signed",
]

Run = Callable[..., Any]

CONVOLVE: dict[int, Run] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONVOLVE_BACK: dict[int, Run] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

PLAIN_FORWARD = {
    kind.forward
    for kind in (
        nn.Linear, FunctionalLinear, PaddedConv2d, FunctionalConv2d, nn.Conv1d, nn.Conv2d, nn.Conv3d,
        nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    )
}  # fmt: skip

BLOCK = 2**16  # values of a tensor that a thread handles at once, so that they stay in its core's cache
MANY = 0.75  # part of the channels from which on leaving the others out does not pay


def in_blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the rows of matrices, or the values of vectors, some at a time: few enough to stay in a CPU's cache."""
    first = tensors[0]
    width = max(1, first[0].numel() if len(first) else 1)
    size = BLOCK * torch.get_num_threads() // width if first.device.type == "cpu" else len(first)
    size = max(1, size)
    return zip(*(torch.split(values, size) for values in tensors), strict=True)


def flat(*tensors: Tensor) -> list[Tensor] | None:
    """Return tensors of one shape as vectors in the order of their memory, or None where that is not the same order."""
    if all(_has_channels_last(values) for values in tensors):
        return [values.permute(0, 2, 3, 1).view(-1) for values in tensors]
    return (
        [values.view(-1) for values in tensors] if all(values.is_contiguous() for values in tensors) else None
    )


class LinearMap:
    """A layer of any kind: back by automatic differentiation.

    Parameters
    ----------
    module : nn.Module
        Linear in its inputs but for a bias, or treated as if it were.
    run : callable, optional
        What the module computes where that is not its class's ``forward``.

    Attributes
    ----------
    weight, bias : Tensor or None
        What the layer holds, detached.
    is_operator : bool
        Whether both directions are operators, which return new tensors.
    """

    is_operator = False

    def __init__(self, module: nn.Module, run: Run | None = None) -> None:
        self.module = module
        self.run: Run = run or type(module).forward.__get__(module)
        self.weight = self._parameter("weight")
        self.bias = self._parameter("bias")
        self._changed: dict[tuple[Any, ...], Tensor | None] = {}

    def _parameter(self, name: str) -> Tensor | None:
        value = self.module._parameters.get(name)
        return None if value is None else value.detach()

    def zero(self, names: Iterable[str]) -> None:
        """Count the named parameters as zero."""
        for name in names:
            if getattr(self, name, None) is not None:
                setattr(self, name, torch.zeros_like(getattr(self, name)))

    def forward(self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
        """Return the output through the given weight and bias (None: without)."""
        kept = dict(self.module._parameters)
        for name, value in (("weight", weight), ("bias", bias)):
            if kept.get(name) is not None:
                value = None if value is None else nn.Parameter(value, requires_grad=False)
                self.module._parameters[name] = value
        try:
            output: Tensor = self.run(inputs)
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

    def changed(self, change: Callable[..., Tensor], *settings: Any) -> Tensor | None:
        """Return the weight after a change, which is made once."""
        key = (change, *settings)
        if key not in self._changed:
            self._changed[key] = None if self.weight is None else change(self.weight, *settings)
        return self._changed[key]

    def backward_where(self, values: Tensor, like: Tensor) -> Tensor | None:
        """Go back through the weight from those channels that hold anything but zeros; None if there are none."""
        return None if is_zero(values) else self.backward(values, self.weight, like)

    def with_bias(self, output: Tensor) -> Tensor:
        """Return an output that was computed without the bias with it."""
        if self.bias is None:
            return output
        axes = len(getattr(self.module, "kernel_size", ()))
        return output + self.bias.reshape(-1, *[1] * axes)

    def spread(self, ratio: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        """Go back through a weight whose entries are all the same."""
        return self.backward(ratio, weight, like)

    def is_batched(self, inputs: Tensor) -> bool:
        """Tell whether the first axis is known to count samples that do not touch each other."""
        return False

    def sample(self, inputs: Tensor) -> Tensor:
        """Return as much of a batch as shows what the layer makes of a constant."""
        return inputs[:1] if self.is_batched(inputs) else inputs

    def pull(self, ratio: Tensor, weight: Tensor | None, inputs: Tensor) -> Tensor:
        """Hand relevance back by the contributions of the inputs; ``ratio`` is relevance per unit of output."""
        return inputs * self.backward(ratio, weight, inputs)

    def added(self, terms: Iterable[Tensor]) -> Tensor:
        """Return the sum of what this layer computed."""
        return functools.reduce(torch.add, terms)

    def has_rows(self, inputs: Tensor) -> bool:
        """Tell whether the layer is a matrix product, and its inputs lie in memory as the rows of a matrix."""
        return False

    def rows(self, values: Tensor) -> Tensor:
        """Return inputs or outputs of a matrix product as a matrix whose rows go through the layer one by one."""
        return values.reshape(-1, values.shape[-1])

    def of_rows(self, rows: Tensor, like: Tensor) -> Tensor:
        """Return such a matrix in the shape of inputs or outputs."""
        return rows.view(*like.shape[:-1], -1)


class _Operator(LinearMap):
    """A layer whose two directions are operators: what they return is new, and may be overwritten."""

    is_operator = True

    def pull(self, ratio: Tensor, weight: Tensor | None, inputs: Tensor) -> Tensor:
        return self.backward(ratio, weight, inputs).mul_(inputs)

    def added(self, terms: Iterable[Tensor]) -> Tensor:
        return functools.reduce(Tensor.add_, terms)

    def is_batched(self, inputs: Tensor) -> bool:
        return inputs.dim() > 1 + len(getattr(self.module, "kernel_size", ()))


class _Linear(_Operator):
    def has_rows(self, inputs: Tensor) -> bool:
        return inputs.is_contiguous()

    def forward(self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
        assert weight is not None
        return F.linear(inputs, weight, bias)

    def backward(self, values: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        assert weight is not None
        return values @ weight

    def spread(self, ratio: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        assert weight is not None
        return self.backward(ratio.sum(-1, keepdim=True), weight[:1], like)


class _Convolution(_Operator):
    module: Any

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        if _is_pointwise(self.module, self._padding()):
            self.run = self._mix

    def _mix(self, inputs: Tensor) -> Tensor:
        """Run the module by the same operator as the rules: PyTorch has a slow one for some numbers of channels."""
        return self.forward(inputs, self.weight, self.bias)

    def has_rows(self, inputs: Tensor) -> bool:
        alone = _is_pointwise(self.module, self._padding()) and not self._pads()
        return alone and _has_channels_last(inputs)

    def rows(self, values: Tensor) -> Tensor:
        return values.permute(0, 2, 3, 1).reshape(-1, values.shape[1])

    def of_rows(self, rows: Tensor, like: Tensor) -> Tensor:
        return rows.view(len(like), *like.shape[2:], -1).permute(0, 3, 1, 2)

    def forward(self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
        module, padding = self.module, self._padding()
        assert weight is not None
        padded = self._padded(inputs)
        if _is_pointwise(module, padding) and _has_channels_last(padded):
            return F.linear(padded.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
        output: Tensor = CONVOLVE[len(module.kernel_size)](
            padded, weight, bias, module.stride, padding, module.dilation, module.groups
        )
        return output

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

    def backward_where(self, values: Tensor, like: Tensor) -> Tensor | None:
        if not values.numel():
            return None
        assert self.weight is not None
        axis = values.dim() - len(self.module.kernel_size) - 1
        others = [place for place in range(values.dim()) if place != axis]
        held = ((values.amax(others) != 0) | (values.amin(others) != 0)).nonzero()[:, 0]
        if not len(held):
            return None
        if self.module.groups > 1 or len(held) > MANY * len(self.weight):
            return self.backward(values, self.weight, like)
        # Selecting channels that come last is slow and changes the layout; selecting columns of a matrix is neither.
        last = _has_channels_last(values)
        values = (
            self.of_rows(self.rows(values).index_select(1, held), values)
            if last
            else values.index_select(axis, held)
        )
        return self.backward(values, self.weight[held], like)

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
        result: Tensor = CONVOLVE_BACK[len(size)](
            values, weight, None, module.stride, padding, missing, module.groups, module.dilation
        )
        return result

    def _padding(self) -> tuple[int, ...]:
        """Return the zeros that the convolution itself puts on both sides of each axis."""
        module = self.module
        if isinstance(module.padding, str) or module.padding_mode != "zeros":
            return (0,) * len(module.kernel_size)
        return tuple(module.padding)

    def _pads(self) -> bool:
        """Tell whether the inputs are padded before they are convolved."""
        module = self.module
        own = module.padding == "same" or (module.padding_mode != "zeros" and module.padding != "valid")
        return own or getattr(module, "pad", None) is not None

    def _padded(self, inputs: Tensor) -> Tensor:
        module = self.module
        if isinstance(module, PaddedConv2d) and module.pad is not None:
            inputs = module.pad(inputs)
        if module.padding == "same":
            totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
            pairs = [(total // 2, total - total // 2) for total in totals]
        elif module.padding_mode != "zeros" and module.padding != "valid":
            pairs = [(pad, pad) for pad in module.padding]
        else:
            return inputs
        sides = [side for both in reversed(pairs) for side in both]
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        return F.pad(inputs, sides, mode=mode)


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


def linear_map(module: nn.Module, run: Run | None = None) -> LinearMap:
    """Return a module as a linear map, by operators where its class is known to be one."""
    own = type(module).forward
    plain = run is None or getattr(run, "__func__", None) is own
    if own in PLAIN_FORWARD and plain and {"weight", "bias"} <= module._parameters.keys():
        if isinstance(module, nn.Linear):
            return _Linear(module)
        if isinstance(module, _ConvTransposeNd):
            return _TransposedConvolution(module)
        if isinstance(module, _ConvNd):
            return _Convolution(module)
    return LinearMap(module, run)


def _is_pointwise(module: Any, padding: tuple[int, ...]) -> bool:
    ones = all(size == 1 for size in (*module.kernel_size, *module.stride))
    return ones and module.groups == 1 and not any(padding)


def _has_channels_last(values: Tensor) -> bool:
    return values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last)


def _mixed_back(values: Tensor, weight: Tensor) -> Tensor:
    """Go back through a 1x1 convolution: a matrix product."""
    matrix = weight.flatten(1)
    if _has_channels_last(values):
        return (values.permute(0, 2, 3, 1) @ matrix).permute(0, 3, 1, 2)
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
    terms : list of (Tensor, Tensor or None, Tensor or None)
        Inputs, and the weight and the bias that they meet.
    """

    def __init__(self, layer: LinearMap, terms: list[tuple[Tensor, Tensor | None, Tensor | None]]) -> None:
        self._layer, self._terms = layer, terms

    def total(self) -> Tensor:
        """Return that share of the output."""
        return self._layer.added(self._layer.forward(*term) for term in self._terms)

    def pull(self, ratio: Tensor) -> Tensor:
        """Hand relevance back in proportion to the contributions; ``ratio`` is relevance per unit of output."""
        return self._layer.added(self._layer.pull(ratio, weight, inputs) for inputs, weight, _ in self._terms)


class _SignedRows(Part):
    """A share of a matrix product whose inputs have both signs, each of which meets weights of its own.

    It goes through a few rows at a time, so that what lies between the products stays in the processor's cache.
    """

    def total(self) -> Tensor:
        """Return that share of the output."""
        (inputs, own, bias), (_, other, _) = self._terms
        assert own is not None
        assert other is not None
        rows = self._layer.rows(inputs)
        result = rows.new_empty(len(rows), len(own))
        for given, into in in_blocks(rows, result):
            torch.mm(positive(given), own.flatten(1).t(), out=into)
            into.addmm_(negative(given), other.flatten(1).t())
        result = result if bias is None else result.add_(bias)
        return self._layer.of_rows(result, inputs)

    def pull(self, ratio: Tensor) -> Tensor:
        """Hand relevance back in proportion to the contributions; ``ratio`` is relevance per unit of output."""
        (inputs, own, _), (_, other, _) = self._terms
        assert own is not None
        assert other is not None
        rows = self._layer.rows(inputs)
        result = torch.empty_like(rows)
        for given, values, into in in_blocks(rows, self._layer.rows(ratio), result):
            torch.mm(values, own.flatten(1), out=into)
            into.mul_(positive(given)).addcmul_(values @ other.flatten(1), negative(given))
        return self._layer.of_rows(result, inputs)


def signed(
    layer: LinearMap, inputs: Tensor, sign: int, gamma: float | None = None, bias: Tensor | None = None
) -> Part:
    """Return the part of a layer's output whose contributions have one sign, or favour it by ``gamma``.

    The bias counts as the contribution of an input of one.
    """
    own, other = (positive, negative) if sign > 0 else (negative, positive)
    terms = [
        (inputs, layer.changed(_favoured, own, gamma), None if bias is None else _favoured(bias, own, gamma))
    ]
    if not reaches_below_zero(inputs):
        return Part(layer, terms)
    weight = layer.changed(_favoured, other, gamma)
    if layer.has_rows(inputs):
        return _SignedRows(layer, [*terms, (inputs, weight, None)])
    return Part(layer, [(positive(inputs), *terms[0][1:]), (negative(inputs), weight, None)])


def _favoured(values: Tensor, sign: Callable[[Tensor], Tensor], gamma: float | None) -> Tensor:
    return sign(values) if gamma is None else torch.add(values, sign(values), alpha=gamma)


class Favour:
    """Contributions ``z + gamma z+`` where an output is positive, and ``z + gamma z-`` where it is negative.

    Both are ``(1 + gamma/2) z`` plus or minus ``gamma/2 |z|``: two maps each way do for inputs of any sign.

    Parameters
    ----------
    layer : LinearMap
    inputs : Tensor
    gamma : float
    bias : Tensor, optional
        Counts as the contribution of an input of one.
    """

    def __init__(self, layer: LinearMap, inputs: Tensor, gamma: float, bias: Tensor | None = None) -> None:
        self._layer, self._inputs, self._bias = layer, inputs, bias
        self.common, self._extra = 1 + gamma / 2, gamma / 2
        self._by_size = layer.weight is None or reaches_below_zero(inputs)

    def excess(self, total: Tensor) -> Tensor:
        """Return ``gamma/2`` times the sizes of the contributions added up, given the contributions added up."""
        layer, bias = self._layer, self._bias
        if self._by_size:
            sizes = self._sizes(None if bias is None else bias.abs())
            return torch.mul(sizes, self._extra, out=sizes if layer.is_operator else None)
        bias = None if bias is None else _raised(bias, self._extra)
        above = layer.forward(self._inputs, layer.changed(_raised, self._extra), bias)
        return torch.sub(above, total, alpha=self.common, out=above if layer.is_operator else None)

    def _sizes(self, bias: Tensor | None) -> Tensor:
        layer, inputs = self._layer, self._inputs
        weight = layer.changed(torch.abs)
        if weight is None or not layer.has_rows(inputs):
            return layer.forward(inputs.abs(), weight, bias)
        rows = layer.rows(inputs)
        result = rows.new_empty(len(rows), len(weight))
        for given, into in in_blocks(rows, result):
            torch.mm(given.abs(), weight.flatten(1).t(), out=into)
        return layer.of_rows(result if bias is None else result.add_(bias), inputs)

    def pull(self, ratio: Tensor, towards: Tensor) -> Tensor:
        """Hand relevance back; given relevance per unit of output, and the same with the signs of the outputs."""
        layer, inputs = self._layer, self._inputs
        if self._by_size:
            return self._pull_by_size(ratio, towards)
        result = layer.backward(towards, layer.changed(_raised, self._extra), inputs)
        rest = layer.backward_where(ratio.sub_(towards), inputs)
        if rest is not None:
            result = result.add_(rest, alpha=self.common)
        return result.mul_(inputs)

    def _pull_by_size(self, ratio: Tensor, towards: Tensor) -> Tensor:
        layer, inputs = self._layer, self._inputs
        weight, size = layer.weight, layer.changed(torch.abs)
        if weight is None or size is None or not layer.has_rows(inputs):
            result = layer.pull(ratio, weight, inputs * self.common)
            return result.add_(layer.pull(towards, size, inputs.abs()), alpha=self._extra)
        rows = layer.rows(inputs)
        result = torch.empty_like(rows)
        for given, one, other, into in in_blocks(rows, layer.rows(ratio), layer.rows(towards), result):
            torch.mm(one, weight.flatten(1), out=into)
            into.mul_(given).mul_(self.common)
            into.addcmul_(other @ size.flatten(1), given.abs(), value=self._extra)
        return layer.of_rows(result, inputs)


def _raised(values: Tensor, extra: float) -> Tensor:
    """Multiply the positive values by ``1 + 2 extra``."""
    return F.leaky_relu(values, 1 / (1 + 2 * extra)).mul_(1 + 2 * extra)


def positive(values: Tensor) -> Tensor:
    """Return the positive values, and zero for the others."""
    return values.clamp(min=0)


def negative(values: Tensor) -> Tensor:
    """Return the negative values, and zero for the others."""
    return values.clamp(max=0)


def reaches_below_zero(values: Tensor) -> bool:
    """Tell whether any value is negative."""
    return values.numel() > 0 and not bool(values.amin(tuple(range(values.dim()))) >= 0)


def is_zero(values: Tensor) -> bool:
    """Tell whether all values are zero."""
    axes = tuple(range(values.dim()))
    return values.numel() == 0 or bool((values.amax(axes) == 0) & (values.amin(axes) == 0))
