"""Operations as modules: what relevance does where a model has no module of its own.

In the rewritten copy of a model every operation that relevance passes is one of these, a module of torch.nn, or a
mere rearrangement of values, whose gradient hands relevance back as it is. Operands that are held constant (gates,
attention weights, learned shifts) are given as ``held`` and get no relevance.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from zennit.layer import Sum

__all__ = [
    "Addition",
    "Affine",
    "FunctionalConv2d",
    "FunctionalLinear",
    "PairSum",
    "Passing",
    "Spread",
    "TokenLinear",
    "Unsteady",
    "UnsteadySum",
    "UnsteadyWeighing",
    "Weighing",
    "attention",
    "attention_weights",
    "batch_gain",
    "from_windows",
    "group_gain",
    "is_plain",
    "layer_gain",
    "plain_gradients",
    "shift_gain",
    "to_windows",
    "window_mask",
    "without_key_bias",
]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_PLAIN = ContextVar("plain", default=False)


@contextlib.contextmanager
def plain_gradients() -> Iterator[None]:
    """Set all rules aside: within, operations and layers under a rule have the gradients that they have in the model."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def is_plain() -> bool:
    """Tell whether rules are set aside."""
    return _PLAIN.get()


class _Pass(torch.autograd.Function):
    """Any value going forward; going back, the relevance of the value is the relevance of the inputs."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, value: Tensor) -> Tensor:  # noqa: ARG004
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return relevance, None


class _Operation(nn.Module):
    """A function of one relevant operand; the other arguments are held constant.

    Parameters
    ----------
    function : callable
    position : int
        Which positional argument of the function is the relevant one.
    """

    def __init__(self, function: Callable[..., Any], position: int = 0) -> None:
        super().__init__()
        self.function = function
        self.position = position
        self.held: Arguments = ((), {})

    def value(self, inputs: Tensor, held: Arguments | None) -> Tensor:
        """Compute the function; rules that run the operation again leave ``held`` out."""
        if held is not None:
            self.held = (tuple(held[0]), dict(held[1]))
        before, after = self.held[0][: self.position], self.held[0][self.position :]
        result: Tensor = self.function(*before, inputs, *after, **self.held[1])
        return result

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)


class Passing(_Operation):
    """An operation that hands relevance through unchanged: activations, gates, scalings by what is held."""

    def forward(self, inputs: Tensor, held: Arguments | None = None) -> Tensor:
        """Compute the function."""
        if is_plain():
            return self.value(inputs, held)
        with torch.no_grad():
            value = self.value(inputs, held)
        return _Pass.apply(inputs.expand(value.shape), value)  # type: ignore[no-any-return]


class Affine(Passing):
    """A gain and a shift, both held constant: normalisation layers, added positions. Relevance passes unchanged.

    Parameters
    ----------
    function, position
        As for the others.
    gain : callable
        From the inputs and the held arguments to the factor of the inputs; the epsilon rule needs it.
    """

    def __init__(self, function: Callable[..., Any], gain: Callable[..., Tensor], position: int = 0) -> None:
        super().__init__(function, position)
        self._gain = gain

    def gain(self, inputs: Tensor) -> Tensor:
        """Return the factor of the inputs."""
        return self._gain(inputs, *self.held[0], **self.held[1])


class Weighing(_Operation, Sum):  # type: ignore[misc]
    """A weighted sum of the inputs with held weights: means, attention, resizing. Composites treat it as a Sum."""

    def forward(self, inputs: Tensor, held: Arguments | None = None) -> Tensor:
        """Compute the function."""
        return self.value(inputs, held)


class Unsteady(nn.Module):
    """A sum whose relevance is not proportional to its value, because a normalisation with a shift reads it.

    Sharing such relevance by signed summands would blow it up where they cancel.
    """


class PairSum(Sum):  # type: ignore[misc]
    """Zennit's Sum, which also takes two summands as they are instead of stacked."""

    def forward(self, input: Tensor, other: Tensor | None = None) -> Tensor:  # noqa: A002
        """Add along the axis of a stack, or two tensors."""
        total: Tensor = super().forward(input) if other is None else input + other
        return total


class UnsteadySum(Unsteady, PairSum):
    """A sum of signals that a normalisation reads."""


class Addition(nn.Module):
    """Add two signals. Hooks on ``sum`` see them stacked, as Zennit's rules expect; our rules spare the copy.

    Parameters
    ----------
    steady : bool
        Whether the relevance of the sum will be proportional to its value.
    """

    def __init__(self, steady: bool) -> None:
        super().__init__()
        self.sum = (PairSum if steady else UnsteadySum)(-1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Add two tensors, whose shapes fit each other."""
        if first.shape != second.shape:
            first, second = torch.broadcast_tensors(first, second)  # type: ignore[no-untyped-call]
        hooked = self.sum._forward_pre_hooks or self.sum._forward_hooks  # noqa: SLF001
        both = (torch.stack((first, second), -1),) if hooked else (first, second)
        total: Tensor = self.sum(*both)
        return total


class UnsteadyWeighing(Unsteady, Weighing):
    """A weighted sum that a normalisation reads, or that averages by attention."""


class TokenLinear(nn.Linear):
    """A linear layer that is applied to every place of a map: a 1x1 convolution in another layout."""


class Spread(nn.Module):
    """Hand the relevance of learned constants among the values (class tokens) to the other values of the sample.

    Parameters
    ----------
    dim : int
    constant : list of (int, int)
        Ranges of the constants on that axis, start and end.

    Notes
    -----
    What the constants got is shared by the size of the values, since constants are biases: they say nothing about the
    image.
    """

    def __init__(self, dim: int, constant: list[tuple[int, int]]) -> None:
        super().__init__()
        self.dim, self.constant = dim, constant

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        if is_plain():
            return inputs
        mask = torch.ones(inputs.shape[self.dim], dtype=torch.bool, device=inputs.device)
        for start, end in self.constant:
            mask[start:end] = False
        mask = mask.reshape([-1 if axis == self.dim % inputs.dim() else 1 for axis in range(inputs.dim())])
        return _Spread.apply(inputs, mask)  # type: ignore[no-any-return]


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, mask)
        return inputs.view_as(inputs)

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None]:
        inputs, mask = ctx.saved_tensors
        size = torch.where(mask, inputs.abs(), 0)
        axes = tuple(range(1, inputs.dim()))
        total = size.sum(axes, keepdim=True)
        share = torch.where(total > 0, size / torch.where(total > 0, total, 1), 0)
        lost = torch.where(mask, 0, relevance).sum(axes, keepdim=True)
        return torch.where(mask, relevance, 0) + share * lost, None


class FunctionalConv2d(nn.Conv2d):
    """A two-dimensional convolution whose weights come with the call."""

    def forward(self, input: Tensor, held: tuple[Tensor, Tensor | None] | None = None) -> Tensor:  # noqa: A002
        """Convolve; rules that run the operation again leave ``held`` out."""
        _take_weights(self, held)
        return super().forward(input)


class FunctionalLinear(TokenLinear):
    """A linear layer over tokens whose weights come with the call."""

    def forward(self, input: Tensor, held: tuple[Tensor, Tensor | None] | None = None) -> Tensor:  # noqa: A002
        """Multiply; rules that run the operation again leave ``held`` out."""
        _take_weights(self, held)
        return super().forward(input)


def _take_weights(module: nn.Module, held: tuple[Tensor, Tensor | None] | None) -> None:
    if held is not None:
        for name, value in zip(("weight", "bias"), held, strict=True):
            parameter = None if value is None else nn.Parameter(value.detach(), requires_grad=False)
            module.register_parameter(name, parameter)


def shift_gain(inputs: Tensor, *held: Any, alpha: float = 1.0) -> Tensor:  # noqa: ARG001
    """Return the factor of the inputs where something is added to them."""
    return torch.ones_like(inputs)


def layer_gain(
    inputs: Tensor,
    shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,  # noqa: ARG001
    eps: float = 1e-5,
) -> Tensor:
    """Return the factor of the inputs of ``layer_norm`` with its statistics held constant."""
    axes = tuple(range(-len(tuple(shape)), 0))
    gain = (inputs.var(axes, unbiased=False, keepdim=True) + eps).rsqrt().expand_as(inputs)
    return gain if weight is None else gain * weight


def group_gain(
    inputs: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,  # noqa: ARG001
    eps: float = 1e-5,
) -> Tensor:
    """Return the factor of the inputs of ``group_norm`` with its statistics held constant."""
    variance = inputs.reshape(len(inputs), groups, -1).var(2, unbiased=False)
    gain = (variance + eps).rsqrt().repeat_interleave(inputs.shape[1] // groups, 1)
    gain = gain.reshape(*inputs.shape[:2], *[1] * (inputs.dim() - 2)).expand_as(inputs)
    return gain if weight is None else gain * weight.reshape(-1, *[1] * (inputs.dim() - 2))


def batch_gain(
    inputs: Tensor,
    mean: Tensor,  # noqa: ARG001
    variance: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,  # noqa: ARG001
    training: bool = False,  # noqa: ARG001
    momentum: float = 0.1,  # noqa: ARG001
    eps: float = 1e-5,
) -> Tensor:
    """Return the factor of the inputs of ``batch_norm`` in evaluation."""
    gain = (variance + eps).rsqrt()
    gain = gain if weight is None else gain * weight
    return gain.reshape(-1, *[1] * (inputs.dim() - 2)).expand_as(inputs)


def attention_weights(
    projected: Tensor,
    heads: int,
    position_bias: Tensor | None = None,
    mask: Tensor | None = None,
    logit_scale: Tensor | None = None,
) -> Tensor:
    """Return how much each token takes from each other in self-attention.

    Parameters
    ----------
    projected : Tensor, shape (B, L, 3 E)
        Queries, keys and values side by side.
    heads : int
    position_bias : Tensor, shape (1, heads, L, L), optional
    mask : Tensor, shape (windows, L, L), optional
        Added to the logits; ``B`` is a multiple of ``windows``.
    logit_scale : Tensor, shape (heads, 1, 1), optional
        For cosine attention: the logarithm of its scale.

    Returns
    -------
    weights : Tensor, shape (B, heads, L, L)
    """
    batch, length, width = projected.shape
    depth = width // 3 // heads
    queries, keys, _ = projected.reshape(batch, length, 3, heads, depth).permute(2, 0, 3, 1, 4)
    if logit_scale is None:
        logits = (queries * depth**-0.5) @ keys.transpose(-2, -1)
    else:
        logits = F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).transpose(-2, -1)
        logits = logits * logit_scale.clamp(max=math.log(100.0)).exp()
    logits = logits if position_bias is None else logits + position_bias
    if mask is not None:
        windowed = logits.reshape(-1, len(mask), heads, length, length) + mask[:, None]
        logits = windowed.reshape(batch, heads, length, length)
    weights: Tensor = logits.softmax(-1)
    return weights


def attention(projected: Tensor, weights: Tensor) -> Tensor:
    """Average the values (the last third of ``projected``, (B, L, 3 E)) by given weights, to (B, L, E).

    The weights come with the call, for rules run the operation again on changed inputs and must not change them.
    """
    batch, length, _ = projected.shape
    values = projected.chunk(3, -1)[2].reshape(batch, length, weights.shape[1], -1).transpose(1, 2)
    averaged: Tensor = weights @ values
    return averaged.transpose(1, 2).reshape(batch, length, -1)


def _geometry(images: Tensor, window: list[int], shift: list[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padded size of (B, H, W, C) maps and the shift that is left of a wish."""
    sizes = tuple(-(-images.shape[1 + axis] // window[axis]) * window[axis] for axis in (0, 1))
    shifts = tuple(0 if window[axis] >= sizes[axis] else shift[axis] for axis in (0, 1))
    return sizes, shifts  # type: ignore[return-value]


def to_windows(images: Tensor, window: list[int], shift: list[int]) -> Tensor:
    """Cut maps (B, H, W, C) into shifted windows (B * windows, window area, C), padded with zeros."""
    (height, width), shifts = _geometry(images, window, shift)
    padded = F.pad(images, (0, 0, 0, width - images.shape[2], 0, height - images.shape[1]))
    rolled = padded.roll((-shifts[0], -shifts[1]), (1, 2))
    cut = rolled.reshape(len(images), -1, window[0], width // window[1], window[1], images.shape[3])
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, window[0] * window[1], images.shape[3])


def from_windows(windows: Tensor, images: Tensor, window: list[int], shift: list[int]) -> Tensor:
    """Put windows back to maps of the size of ``images``: the inverse of :func:`to_windows`."""
    (height, width), shifts = _geometry(images, window, shift)
    rows, columns = height // window[0], width // window[1]
    cut = windows.reshape(len(images), rows, columns, window[0], window[1], windows.shape[-1])
    rolled = cut.permute(0, 1, 3, 2, 4, 5).reshape(len(images), height, width, -1)
    return rolled.roll(shifts, (1, 2))[:, : images.shape[1], : images.shape[2]]


def window_mask(images: Tensor, window: list[int], shift: list[int]) -> Tensor | None:
    """Return -100 for the pairs of places that only the shift brought into one window, shape (windows, L, L)."""
    (height, width), shifts = _geometry(images, window, shift)
    if not any(shifts):
        return None
    regions = images.new_zeros(1, height, width, 1)
    # Python's slice(-0, None) is the whole axis, as in torchvision's networks where one axis has no shift.
    for row, rows in enumerate(
        (slice(0, -window[0]), slice(-window[0], -shifts[0]), slice(-shifts[0], None))
    ):
        for column, columns in enumerate(
            (slice(0, -window[1]), slice(-window[1], -shifts[1]), slice(-shifts[1], None))
        ):
            regions[:, rows, columns] = 3 * row + column
    labels = to_windows(regions, window, [0, 0]).squeeze(-1)
    return (labels[:, None] != labels[:, :, None]).to(images.dtype) * -100.0


def without_key_bias(bias: Tensor | None) -> Tensor | None:
    """Return the bias of a joint projection with the keys' part set to zero."""
    if bias is None:
        return None
    queries, keys, values = bias.chunk(3)
    return torch.cat([queries, torch.zeros_like(keys), values])
