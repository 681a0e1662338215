"""Relevance rules, as Zennit hooks, that lose nothing where Zennit's have nothing to divide by.

Without biases a unit can be active although no input speaks for it: its bias alone made it so. Zennit's rules drop the
relevance of such units; in networks of depthwise convolutions and merged BatchNorms that is most of it. Here it
is shared among the inputs by the size of their contributions, and where these are all zero, by the squared weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from zennit.core import Hook, ParamMod, stabilize

from .operations import Affine, batch_gain

__all__ = [
    "ConservingAlphaBeta",
    "ConservingBox",
    "ConservingEpsilon",
    "ConservingGamma",
    "ConservingNorm",
    "ConservingPositive",
    "EpsilonAffine",
]

Change = Callable[[Tensor], Tensor]
Bound = float | Tensor

ROUNDING = 8  # sums are taken for zero below this many units in the last place of their largest term


class _Part(NamedTuple):
    """A share of a layer's output: what some of the inputs, through some of the weights, give."""

    inputs: Tensor
    output: Tensor

    @property
    def total(self) -> Tensor:
        return self.output.detach()

    def pull(self, ratio: Tensor) -> Tensor:
        """Hand relevance back in proportion to the contributions; ``ratio`` is relevance per unit of output."""
        (gradient,) = torch.autograd.grad(self.output, self.inputs, ratio)
        return self.inputs.detach() * gradient


class _Whole(NamedTuple):
    """Parts of a layer's output, each with its sign, as one sum."""

    parts: list[tuple[int, _Part]]

    @property
    def total(self) -> Tensor:
        return self._sum([sign * part.total for sign, part in self.parts])

    def pull(self, ratio: Tensor) -> Tensor:
        """Hand relevance back in proportion to the contributions."""
        return self._sum([sign * part.pull(ratio) for sign, part in self.parts])

    @staticmethod
    def _sum(terms: list[Tensor]) -> Tensor:
        return sum(terms[1:], start=terms[0])


def _positive(values: Tensor) -> Tensor:
    return values.clamp(min=0)


def _negative(values: Tensor) -> Tensor:
    return values.clamp(max=0)


def _part(module: nn.Module, inputs: Tensor, change: Change | None = None) -> _Part:
    """Run a layer without its bias, through changed weights if ``change`` says how."""
    leaf = inputs.detach().requires_grad_()
    modifier = ParamMod(lambda weight, _: change(weight) if change else weight, zero_params=["bias"])
    with torch.enable_grad(), modifier(module) as modified:
        return _Part(leaf, modified.forward(leaf))


def _signed(module: nn.Module, inputs: Tensor, sign: int, gamma: float | None = None) -> _Whole:
    """Return the part of a layer's output whose contributions have one sign (or favour it by ``gamma``)."""

    def favour(chosen: Change) -> Change:
        return chosen if gamma is None else lambda weight: weight + gamma * chosen(weight)

    for_positive, for_negative = (_positive, _negative) if sign > 0 else (_negative, _positive)
    parts = [(1, _part(module, _positive(inputs), favour(for_positive)))]
    if (inputs < 0).any():
        parts.append((1, _part(module, _negative(inputs), favour(for_negative))))
    return _Whole(parts)


def _precision(values: Tensor) -> float:
    """Return the relative error of a sum: half floats are added up in single precision."""
    dtype = torch.float32 if values.dtype in (torch.float16, torch.bfloat16) else values.dtype
    return torch.finfo(dtype).eps


def _alive(total: Tensor) -> Tensor:
    """Tell which outputs are more than rounding, sample by sample, and large enough to divide by."""
    size = total.abs()
    largest = size.flatten(1).amax(1).reshape(-1, *[1] * (total.dim() - 1))
    return size > (_precision(total) * largest).clamp(min=torch.finfo(total.dtype).tiny ** 0.5)


def _divide(relevance: Tensor, total: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, relevance / torch.where(where, total, 1), 0)


def _by_size(module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
    """Share out relevance of units that no input speaks for: by contribution size, then by squared weight."""
    if not relevance.any():
        return torch.zeros_like(inputs)
    part = _part(module, inputs.abs(), torch.abs)
    alive = _alive(part.total)
    result = part.pull(_divide(relevance, part.total, alive))
    return result + _by_weight(module, inputs, torch.where(alive, 0, relevance))


def _by_weight(module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
    """Share out relevance by squared weight; what has no weights either is lost, for it depends on nothing."""
    if not relevance.any():
        return torch.zeros_like(inputs)
    part = _part(module, torch.ones_like(inputs), torch.square)
    alive = part.total > torch.finfo(inputs.dtype).tiny ** 0.5
    return part.pull(_divide(relevance, part.total, alive))


class _Rule(Hook):  # type: ignore[misc]
    """A rule given by one function: from a layer's inputs and its outputs' relevance to its inputs' relevance."""

    def forward(self, module: nn.Module, input: tuple[Tensor, ...], output: Any) -> None:  # noqa: A002, ARG002
        """Keep the inputs for the way back."""
        self.stored_tensors["input"] = input[0]

    def backward(
        self,
        module: nn.Module,
        grad_input: Any,  # noqa: ARG002
        grad_output: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        """Hand the relevance back."""
        inputs = self.stored_tensors["input"].detach()
        return (self.relevance(module, inputs, grad_output[0].detach()),)

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        raise NotImplementedError


class ConservingEpsilon(_Rule):
    """The epsilon rule without biases and with an epsilon of zero: shares are contributions over their sum.

    Notes
    -----
    ``R_i = sum_j z_ij / z_j R_j`` with contributions ``z_ij = x_i w_ij`` and their sum ``z_j``. Where ``z_j`` is zero,
    the relevance is shared by ``|z_ij|``, or by ``w_ij**2`` if all of them are zero.

    References
    ----------
    Bach et al., PLOS ONE 10(7), 2015, eq. 58.
    """

    def copy(self) -> ConservingEpsilon:
        """Return a new hook."""
        return type(self)()

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        part = _part(module, inputs)
        alive = _alive(part.total)
        result = part.pull(_divide(relevance, part.total, alive))
        return result + _by_size(module, inputs, torch.where(alive, 0, relevance))


class ConservingAlphaBeta(_Rule):
    """The alpha-beta rule without biases; positive contributions take all where there are no negative ones.

    Parameters
    ----------
    alpha, beta : float
        Weights of the positive and the negative contributions, ``alpha - beta == 1``; 1 and 0 give the z+ rule.

    Raises
    ------
    ValueError
        If ``alpha - beta`` is not 1, or one of them is negative.

    Notes
    -----
    ``R_i = sum_j (alpha z+_ij / z+_j - beta z-_ij / z-_j) R_j`` with contributions ``z_ij = x_i w_ij``. Where ``z-_j`` is
    zero, alpha is 1 and beta 0; where ``z+_j`` is zero, the relevance is shared by ``|z_ij|``, or by ``w_ij**2`` if all
    of them are zero: our choice, for the literature leaves these cases open.

    References
    ----------
    Bach et al., PLOS ONE 10(7), 2015, eq. 60.
    """

    def __init__(self, alpha: float, beta: float) -> None:
        super().__init__()
        if min(alpha, beta) < 0 or abs(alpha - beta - 1) > 1e-12:
            raise ValueError(
                f"alpha and beta must be at least 0 and differ by 1; got {alpha} and {beta}. "
                "Pass for example alpha=2, beta=1."
            )
        self.alpha, self.beta = alpha, beta

    def copy(self) -> ConservingAlphaBeta:
        """Return a new hook with the same settings."""
        return type(self)(self.alpha, self.beta)

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        positive = _signed(module, inputs, +1)
        total = positive.total
        alive = _alive(total)
        alpha: Tensor | float = self.alpha
        result = torch.zeros_like(inputs)
        if self.beta:
            negative = _signed(module, inputs, -1)
            opposed = _alive(negative.total) & alive
            alpha = torch.where(opposed, self.alpha, 1.0).to(inputs.dtype)
            result = -self.beta * negative.pull(_divide(relevance, negative.total, opposed))
        result = result + positive.pull(_divide(alpha * relevance, total, alive))
        return result + _by_size(module, inputs, torch.where(alive, 0, relevance))


class ConservingGamma(_Rule):
    """The generalised gamma rule without biases.

    Parameters
    ----------
    gamma : float
        How much contributions of the output's own sign are favoured.

    Raises
    ------
    ValueError
        If ``gamma`` is negative.

    Notes
    -----
    ``R_i = sum_j (z_ij + gamma z+_ij) / sum_i (z_ij + gamma z+_ij) R_j`` where ``z_j > 0``, with ``z-`` where
    ``z_j < 0``; the output ``z_j`` is the one without bias, so that numerator and denominator agree. Shares can be
    larger than 1, by up to ``1 + 1/gamma`` a layer, which explodes in deep networks of signed activations.

    References
    ----------
    Montavon et al., "Layer-wise relevance propagation: an overview", 2019; generalised as in Andeol et al., 2021.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma must be at least 0; got {gamma}. Pass for example gamma=0.25.")
        self.gamma = gamma

    def copy(self) -> ConservingGamma:
        """Return a new hook with the same settings."""
        return type(self)(self.gamma)

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        output = _part(module, inputs).total
        alive = _alive(output)
        result = torch.zeros_like(inputs)
        for sign in (+1, -1):
            whole = _signed(module, inputs, sign, self.gamma)
            chosen = alive & (output.sign() == sign)
            result = result + whole.pull(_divide(relevance, whole.total, chosen))
        return result + _by_size(module, inputs, torch.where(alive, 0, relevance))


class ConservingBox(_Rule):
    """The z-box rule without biases, for the layer that reads the pixels.

    Parameters
    ----------
    low, high : float or Tensor, shape (1, C, 1, 1), optional
        Smallest and largest possible value of a pixel. Default: those of each image and color.

    Raises
    ------
    ValueError
        If one of them is given without the other.

    Notes
    -----
    Contributions are ``x_i w_ij - low w+_ij - high w-_ij``, none of them negative. Where all are zero, as on an image of
    one color, the relevance is shared by ``w_ij**2``.

    References
    ----------
    Montavon et al., Pattern Recognition 65, 2017.
    """

    def __init__(self, low: Bound | None = None, high: Bound | None = None) -> None:
        super().__init__()
        if (low is None) != (high is None):
            missing = "low" if low is None else "high"
            raise ValueError(
                f"{missing} must be given together with its opposite; got None. Pass both or neither."
            )
        self.low, self.high = low, high

    def copy(self) -> ConservingBox:
        """Return a new hook with the same settings."""
        return type(self)(self.low, self.high)

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        low = inputs.amin((2, 3), keepdim=True) if self.low is None else self.low
        high = inputs.amax((2, 3), keepdim=True) if self.high is None else self.high
        whole = _Whole(
            [
                (+1, _part(module, inputs)),
                (-1, _part(module, torch.as_tensor(low).to(inputs).expand_as(inputs), _positive)),
                (-1, _part(module, torch.as_tensor(high).to(inputs).expand_as(inputs), _negative)),
            ]
        )
        alive = whole.total.abs() > ROUNDING * _precision(inputs) * self._size(whole)
        result = whole.pull(_divide(relevance, whole.total, alive))
        return result + _by_weight(module, inputs, torch.where(alive, 0, relevance))

    @staticmethod
    def _size(whole: _Whole) -> Tensor:
        """Return the largest term of the whole, in each image: what its rounding goes by."""
        terms = torch.stack([part.total.abs().flatten(1).amax(1) for _, part in whole.parts])
        tiny = torch.finfo(terms.dtype).tiny ** 0.5
        return terms.amax(0).clamp(min=tiny).reshape(-1, *[1] * (whole.total.dim() - 1))


class ConservingNorm(_Rule):
    """Zennit's Norm, which shares relevance by the summands, and by their size where they cancel.

    Notes
    -----
    ``R_i = x_i / sum_i x_i R``. Where the sum is no more than rounding, ``|x_i|`` takes the place of ``x_i``, and where
    all summands are zero they share equally.
    """

    def copy(self) -> ConservingNorm:
        """Return a new hook."""
        return type(self)()

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        result = torch.zeros_like(inputs)
        size = _run(module, inputs.abs())
        smallest = (ROUNDING * _precision(inputs) * size.total).clamp(
            min=torch.finfo(inputs.dtype).tiny ** 0.5
        )
        for part in (_run(module, inputs), size):
            alive = part.total.abs() > smallest
            result = result + part.pull(_divide(relevance, part.total, alive))
            relevance = torch.where(alive, 0, relevance)
        if not relevance.any():
            return result
        equal = _run(module, torch.ones_like(inputs))
        return result + equal.pull(_divide(relevance, equal.total, equal.total > 0))


class ConservingPositive(_Rule):
    """Share relevance by the positive summands, for sums whose relevance is not proportional to their value.

    Notes
    -----
    ``R_i = max(x_i, 0) / sum_i max(x_i, 0) R``; by size where no summand is positive, equally where all are zero.
    """

    def copy(self) -> ConservingPositive:
        """Return a new hook."""
        return type(self)()

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        result = torch.zeros_like(inputs)
        for changed in (inputs.clamp(min=0), inputs.abs(), torch.ones_like(inputs)):
            part = _run(module, changed)
            alive = part.total > torch.finfo(inputs.dtype).tiny ** 0.5
            result = result + part.pull(_divide(relevance, part.total, alive))
            relevance = torch.where(alive, 0, relevance)
        return result


class EpsilonAffine(_Rule):
    """The epsilon rule of a gain and a shift, which keeps the shift's share.

    Parameters
    ----------
    epsilon : float

    Notes
    -----
    ``R_i = g_i x_i / y_i R`` with ``y_i = g_i x_i + s_i`` and the gain held constant.
    """

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def copy(self) -> EpsilonAffine:
        """Return a new hook with the same settings."""
        return type(self)(self.epsilon)

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        if isinstance(module, _BatchNorm):
            gain = batch_gain(inputs, *_statistics(module))
        else:
            assert isinstance(module, Affine)
            gain = module.gain(inputs)
        output: Tensor = stabilize(module.forward(inputs).detach(), self.epsilon)
        return gain * inputs * relevance / output


def _statistics(norm: _BatchNorm) -> tuple[Any, ...]:
    return norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps


def _run(module: nn.Module, inputs: Tensor) -> _Part:
    """Run an operation without weights on changed inputs."""
    leaf = inputs.detach().requires_grad_()
    with torch.enable_grad():
        return _Part(leaf, module.forward(leaf))
