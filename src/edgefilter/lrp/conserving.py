"""Relevance rules, as Zennit hooks, that lose nothing where Zennit's have nothing to divide by.

Without biases a unit can be active although no input speaks for it: its bias alone made it so. Zennit's rules drop the
relevance of such units; in networks of depthwise convolutions and merged BatchNorms that is most of it. Here it
is shared among the inputs by the size of their contributions, and where these are all zero, by the squared weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from zennit.core import stabilize
from zennit.layer import Sum

from .linear_maps import (
    Favour,
    LinearMap,
    Part,
    flat,
    in_blocks,
    is_zero,
    linear_map,
    negative,
    positive,
    signed,
)
from .operations import Affine, batch_gain
from .rules import Rule

__all__ = [
    "ConservingAlphaBeta",
    "ConservingBox",
    "ConservingEpsilon",
    "ConservingGamma",
    "ConservingNorm",
    "ConservingPositive",
    "EpsilonAffine",
]

Bound = float | Tensor

ROUNDING = 8  # sums are taken for zero below this many units in the last place of their largest term


class _Division(NamedTuple):
    """Relevance per unit of output, and the relevance of outputs that are too small to divide by, if any."""

    ratio: Tensor
    rest: Tensor | None


def _divide(
    relevance: Tensor, total: Tensor, least: Tensor, *, signs: bool = False, spare: bool
) -> _Division:
    """Divide where the total is more than ``least``.

    Without ``signs`` the total is known to hold no negative values; a spare one is overwritten.
    """
    size = total.abs() if signs else total
    rest = None
    if not bool((size.amin(_places(size), keepdim=True) > least).all()):
        dead = size <= least
        rest = torch.where(dead, relevance, 0)
        rest = None if is_zero(rest) else rest
        total = total.masked_fill_(dead, torch.inf) if spare else torch.where(dead, torch.inf, total)
    return _Division(torch.div(relevance, total, out=total if spare else None), rest)


def _places(values: Tensor) -> tuple[int, ...]:
    return tuple(range(1, values.dim()))


def _largest(values: Tensor, *, signs: bool = False) -> Tensor:
    """Return the largest size of each sample's values, with as many axes as the values."""
    places = _places(values)
    most = values.amax(places, keepdim=True)
    return torch.maximum(most, -values.amin(places, keepdim=True)) if signs else most


def _precision(values: Tensor) -> float:
    """Return the relative error of a sum: half floats are added up in single precision."""
    dtype = torch.float32 if values.dtype in (torch.float16, torch.bfloat16) else values.dtype
    return torch.finfo(dtype).eps


def _tiny(values: Tensor) -> float:
    """Return the smallest number that is safe to divide by."""
    tiny: float = torch.finfo(values.dtype).tiny
    return tiny if values.dtype == torch.float16 else tiny**0.5


def _least(total: Tensor, *, signs: bool = False) -> Tensor:
    """Return what of each sample's outputs is more than rounding, and large enough to divide by."""
    return (_precision(total) * _largest(total, signs=signs)).clamp(min=_tiny(total))


def _added(result: Tensor, layer: LinearMap, inputs: Tensor, rest: Tensor | None) -> Tensor:
    """Add the shares of what no input speaks for: by contribution size, then by squared weight."""
    if rest is None:
        return result
    weight = layer.weight
    part = Part(layer, [(inputs.abs(), None if weight is None else weight.abs(), None)])
    total = part.total()
    ratio, rest = _divide(rest, total, _least(total), spare=layer.is_operator)
    return _added_by_weight(result + part.pull(ratio), layer, inputs, rest)


def _added_by_weight(result: Tensor, layer: LinearMap, inputs: Tensor, rest: Tensor | None) -> Tensor:
    """Add the shares by squared weight; what has no weights either is lost, for it depends on nothing."""
    if rest is None:
        return result
    weight = None if layer.weight is None else layer.weight.square()
    part = Part(layer, [(torch.ones_like(inputs), weight, None)])
    total = part.total()
    return result + part.pull(
        _divide(rest, total, total.new_tensor(_tiny(total)), spare=layer.is_operator).ratio
    )


class _WithoutBias(Rule):
    """A rule that keeps a layer's output without its bias, if it is an operator of one input."""

    spares_output = False

    def run(
        self, layer: LinearMap, inputs: tuple[Tensor, ...], options: dict[str, Any]
    ) -> tuple[Tensor, Any]:
        """Return the output, and the output without the bias."""
        if options or len(inputs) != 1 or layer.weight is None:
            return super().run(layer, inputs, options)[0], None
        total = layer.forward(inputs[0], layer.weight)
        return layer.with_bias(total) if layer.is_operator else layer.run(*inputs), total


class ConservingEpsilon(_WithoutBias):
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

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        total = layer.forward(inputs, layer.weight) if kept is None else kept
        least = _least(total, signs=True)
        ratio, rest = _divide(relevance, total, least, signs=True, spare=kept is None and layer.is_operator)
        return _added(layer.pull(ratio, layer.weight, inputs), layer, inputs, rest)


class ConservingAlphaBeta(Rule):
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

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        for_it = signed(layer, inputs, +1)
        total = for_it.total()
        least = _least(total)
        if not self.beta:
            ratio, rest = _divide(relevance, total, least, spare=layer.is_operator)
            return _added(for_it.pull(ratio), layer, inputs, rest)
        against = signed(layer, inputs, -1)
        opposition = against.total()
        opposed = (total > least) & (-opposition > _least(-opposition))
        alpha = torch.where(opposed, self.alpha, 1.0).to(relevance.dtype)
        ratio, rest = _divide(alpha * relevance, total, least, spare=layer.is_operator)
        doubt = -self.beta * relevance / torch.where(opposed, opposition, torch.inf)
        return _added(for_it.pull(ratio) + against.pull(doubt), layer, inputs, rest)


class ConservingGamma(_WithoutBias):
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
    ``R_i = sum_j (z_ij + gamma z+_ij) / sum_i (z_ij + gamma z+_ij) R_j`` where ``z_j`` is not negative, with ``z-`` where
    it is; the output ``z_j`` is the one without bias, so that numerator and denominator agree. Shares can be
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

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        total = layer.forward(inputs, layer.weight) if kept is None else kept
        favour = Favour(layer, inputs, self.gamma)
        divisor = favour.excess(total).copysign_(total).add_(total, alpha=favour.common)
        size = divisor.abs()
        towards, rest = _divide(relevance, size, _least(size), spare=True)
        return _added(favour.pull(divisor.sign_().mul_(towards), towards), layer, inputs, rest)


class ConservingBox(Rule):
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

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        low = inputs.amin((2, 3), keepdim=True) if self.low is None else self.low
        high = inputs.amax((2, 3), keepdim=True) if self.high is None else self.high
        weight = layer.weight
        assert weight is not None
        terms: list[tuple[Tensor, Tensor | None, Tensor | None]] = [
            (inputs - torch.as_tensor(bound).to(inputs), change(weight), None)
            for bound, change in ((low, positive), (high, negative))
        ]
        part = Part(layer, terms)
        total = part.total()
        signs = self.low is not None
        ratio, rest = _divide(
            relevance, total, _least(total, signs=signs), signs=signs, spare=layer.is_operator
        )
        return _added_by_weight(part.pull(ratio), layer, inputs, rest)


class _Sharing(Rule):
    """A rule of operations without weights, which also shares relevance between the two summands of a sum."""

    def shared(self, inputs: tuple[Tensor, ...], relevance: Tensor) -> tuple[Tensor, ...]:
        """Return the relevance of the summands of a sum."""
        tensors = [*inputs, relevance]
        if flat(*tensors) is None:
            tensors = [values.contiguous() for values in tensors]
        shares = tuple(torch.empty_like(given) for given in tensors[:2])
        vectors = flat(*tensors, *shares)
        assert vectors is not None
        for block in in_blocks(*vectors):
            self._share(*block)
        return shares

    def _share(self, first: Tensor, second: Tensor, relevance: Tensor, *shares: Tensor) -> None:
        """Write the shares of some values of two summands."""
        one, other = self._summand(first), self._summand(second)
        ratio = one + other
        margin = ratio.abs().sub_(one.abs().add_(other.abs()), alpha=ROUNDING * _precision(ratio))
        tiny = _tiny(ratio)
        doubtful = (
            (margin <= tiny).nonzero()[:, 0] if bool((margin.amin(0, keepdim=True) <= tiny).any()) else ()
        )
        torch.div(relevance, ratio, out=ratio)
        torch.mul(one, ratio, out=shares[0])
        torch.mul(other, ratio, out=shares[1])
        if len(doubtful):
            given = torch.stack((first[doubtful], second[doubtful]), -1)[:, None]
            exact = self.relevance(linear_map(Sum(-1)), given, relevance[doubtful, None], None)
            for share, part in zip(shares, exact[:, 0].unbind(-1), strict=True):
                share[doubtful] = part

    def _summand(self, values: Tensor) -> Tensor:
        return values


class ConservingNorm(_Sharing):
    """Zennit's Norm, which shares relevance by the summands, and by their size where they cancel.

    Notes
    -----
    ``R_i = x_i / sum_i x_i R``. Where the sum is no more than rounding, ``|x_i|`` takes the place of ``x_i``, and where
    all summands are zero they share equally.
    """

    def copy(self) -> ConservingNorm:
        """Return a new hook."""
        return type(self)()

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        total, size = _run(layer, inputs), _run(layer, inputs.abs())
        least = (ROUNDING * _precision(inputs) * size).clamp(min=_tiny(inputs))
        ratio, rest = _divide(relevance, total, least, signs=True, spare=False)
        return _equally(layer.pull(ratio, None, inputs), layer, (inputs.abs(),), rest)


class ConservingPositive(_Sharing):
    """Share relevance by the positive summands, for sums whose relevance is not proportional to their value.

    Notes
    -----
    ``R_i = max(x_i, 0) / sum_i max(x_i, 0) R``; by size where no summand is positive, equally where all are zero.
    """

    def copy(self) -> ConservingPositive:
        """Return a new hook."""
        return type(self)()

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        return _equally(torch.zeros_like(inputs), layer, (positive(inputs), inputs.abs()), relevance)

    def _summand(self, values: Tensor) -> Tensor:
        return positive(values)


def _run(layer: LinearMap, inputs: Tensor) -> Tensor:
    return layer.forward(inputs, None)


def _equally(result: Tensor, layer: LinearMap, sizes: Sequence[Tensor], rest: Tensor | None) -> Tensor:
    """Add shares by the first of the sizes that are not all zero, and equal ones where all are."""
    for size in (*sizes, torch.ones_like(result)):
        if rest is not None:
            total = _run(layer, size)
            ratio, rest = _divide(rest, total, total.new_tensor(_tiny(total)), spare=False)
            result = result + layer.pull(ratio, None, size)
    return result


class EpsilonAffine(Rule):
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

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        module = layer.module
        if isinstance(module, _BatchNorm):
            gain = batch_gain(inputs, *_statistics(module))
        else:
            assert isinstance(module, Affine)
            gain = module.gain(inputs)
        output: Tensor = stabilize(layer.forward(inputs, layer.weight, layer.bias), self.epsilon)
        return gain * inputs * relevance / output


def _statistics(norm: _BatchNorm) -> tuple[Any, ...]:
    return norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
