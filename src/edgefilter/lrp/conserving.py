"""Relevance rules that lose nothing where the textbook rules have nothing to divide by.

Without biases a unit can be active although no input speaks for it: its bias alone made it so. The textbook rules drop
the relevance of such units; in networks of depthwise convolutions and merged BatchNorms that is most of it. Here it
is shared among the inputs by the size of their contributions, and where these are all zero, by the squared weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .linear_maps import Favour, LinearMap, Part, is_zero, negative, positive, signed
from .rules import Rule, spread_over_present

__all__ = [
    "ConservingAlphaBeta",
    "ConservingBox",
    "ConservingEpsilon",
    "ConservingGamma",
    "ConservingNorm",
    "added_by_weight",
    "equally",
    "precision",
    "tiny",
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


def precision(values: Tensor) -> float:
    """Return the relative error of a sum: half floats are added up in single precision."""
    dtype = torch.float32 if values.dtype in (torch.float16, torch.bfloat16) else values.dtype
    return torch.finfo(dtype).eps


def tiny(values: Tensor) -> float:
    """Return the smallest number that is safe to divide by: relevance comes in sizes near 1, and must not overflow."""
    least: float = torch.finfo(values.dtype).tiny
    return least if values.dtype == torch.float16 else least * 2**10


def _least(total: Tensor, *, signs: bool = False) -> Tensor:
    """Return what of each sample's outputs is more than rounding, and large enough to divide by."""
    return (precision(total) * _largest(total, signs=signs)).clamp(min=tiny(total))


def _added(result: Tensor, layer: LinearMap, inputs: Tensor, rest: Tensor | None) -> Tensor:
    """Add the shares of what no input speaks for: by contribution size, then by squared weight."""
    if rest is None:
        return result
    weight = layer.weight
    part = Part(layer, [(inputs.abs(), None if weight is None else weight.abs())])
    total = part.total()
    ratio, rest = _divide(rest, total, _least(total), spare=layer.is_operator)
    return added_by_weight(result + part.pull(ratio), layer, inputs, rest)


def added_by_weight(result: Tensor, layer: LinearMap, inputs: Tensor, rest: Tensor | None) -> Tensor:
    """Add the shares by squared weight; what has no weights either is lost, for it depends on nothing."""
    if rest is None:
        return result
    weight = None if layer.weight is None else (layer.weight / _scale(layer.weight)).square()
    present: Tensor | None = getattr(layer.module, "present", None)
    ones = torch.ones_like(inputs) if present is None else present.to(inputs).expand_as(inputs)
    part = Part(layer, [(ones, weight)])
    total = part.total()
    ratio, rest = _divide(rest, total, total.new_tensor(tiny(total)), spare=layer.is_operator)
    result = result + part.pull(ratio)
    return result if rest is None or present is None else result + spread_over_present(rest, ones)


def _scale(weight: Tensor) -> Tensor:
    """Return the largest size of the weights, or 1: squares of small ones are zero."""
    largest = weight.abs().amax() if weight.numel() else weight.new_zeros(())
    return torch.where(largest > 0, largest, 1)


class ConservingEpsilon(Rule):
    """The epsilon rule without biases and with an epsilon of zero: shares are contributions over their sum.

    Notes
    -----
    ``R_i = sum_j z_ij / z_j R_j`` with contributions ``z_ij = x_i w_ij`` and their sum ``z_j``. Where ``z_j`` is zero,
    the relevance is shared by ``|z_ij|``, or by ``w_ij**2`` if all of them are zero.

    References
    ----------
    Bach et al., PLOS ONE 10(7), 2015, eq. 58.
    """

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        total = layer.forward(inputs, layer.weight)
        least = _least(total, signs=True)
        ratio, rest = _divide(relevance, total, least, signs=True, spare=layer.is_operator)
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

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
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


class ConservingGamma(Rule):
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

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        total = layer.forward(inputs, layer.weight)
        favour = Favour(layer, inputs, self.gamma)
        divisor = favour.excess().copysign_(total).add_(total, alpha=favour.common)
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

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        weight = layer.weight
        assert weight is not None
        present: Tensor | None = getattr(layer.module, "present", None)
        low = inputs.amin((2, 3), keepdim=True) if self.low is None else self.low
        high = inputs.amax((2, 3), keepdim=True) if self.high is None else self.high
        bounds = [
            inputs - torch.as_tensor(bound, dtype=inputs.dtype, device=inputs.device) for bound in (low, high)
        ]
        if present is not None:
            bounds = [bound * present.to(inputs) for bound in bounds]
        part = Part(layer, list(zip(bounds, (positive(weight), negative(weight)), strict=True)))
        total = part.total()
        signs = self.low is not None
        ratio, rest = _divide(
            relevance, total, _least(total, signs=signs), signs=signs, spare=layer.is_operator
        )
        return added_by_weight(part.pull(ratio), layer, inputs, rest)


class ConservingNorm(Rule):
    """Share relevance by the summands of a sum or an average, and by their size where they cancel.

    Notes
    -----
    ``R_i = x_i / sum_i x_i R``. Where the sum is no more than rounding, ``|x_i|`` takes the place of ``x_i``, and where
    all summands are zero they share equally. Where the relevance is not proportional to the sum, the positive
    summands take all, for signed shares would blow up.
    """

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        if not getattr(layer.module, "steady", True):
            start = torch.zeros_like(inputs)
            return equally(start, layer, (positive(inputs), inputs.abs()), relevance)
        total, size = layer.forward(inputs, None), layer.forward(inputs.abs(), None)
        least = (ROUNDING * precision(inputs) * size).clamp(min=tiny(inputs))
        ratio, rest = _divide(relevance, total, least, signs=True, spare=False)
        return equally(layer.pull(ratio, None, inputs), layer, (inputs.abs(),), rest)

    def shared(
        self,
        inputs: tuple[Tensor, ...],
        relevance: Tensor,
        *,
        steady: bool,
        out: Sequence[Tensor | None] = (None, None),
    ) -> tuple[Tensor, ...]:
        """Return the relevance of the summands of a sum."""
        parts = inputs if steady else tuple(positive(values) for values in inputs)
        total = sum(parts[1:], start=parts[0])
        dead = _dead(parts, total)
        ratio = torch.div(relevance, total, out=total)
        shares = tuple(torch.mul(values, ratio, out=into) for values, into in zip(parts, out, strict=True))
        if dead is not None:
            _share_by_size(shares, inputs, relevance, dead)
        return shares


def _dead(parts: Sequence[Tensor], total: Tensor) -> Tensor | None:
    """Return where a sum is no more than rounding; None if it is more everywhere."""
    unit, size = ROUNDING * precision(total), total.abs()
    ranges = [torch.aminmax(values) for values in parts]
    most = sum(
        (torch.maximum(-low, high) for low, high in ranges[1:]),
        start=torch.maximum(-ranges[0].min, ranges[0].max),
    )
    if bool(size.amin() > (unit * most).clamp(min=tiny(total))):
        return None
    least = (
        sum((values.abs() for values in parts[1:]), start=parts[0].abs()).mul_(unit).clamp_(min=tiny(total))
    )
    dead = size <= least
    return dead if bool(dead.any()) else None


def _share_by_size(
    shares: Sequence[Tensor], inputs: Sequence[Tensor], relevance: Tensor, dead: Tensor
) -> None:
    """Write shares by size where a sum is no more than rounding, and equal ones where all summands are zero."""
    sizes = [values[dead].abs() for values in inputs]
    total = sum(sizes[1:], start=sizes[0])
    empty = total <= tiny(total)
    for share, size in zip(shares, sizes, strict=True):
        part = torch.where(empty, 1 / len(sizes), size / torch.where(empty, 1, total))
        share[dead] = relevance[dead] * part


def equally(result: Tensor, layer: LinearMap, sizes: Sequence[Tensor], rest: Tensor | None) -> Tensor:
    """Add shares by the first of the sizes that are not all zero, and equal ones where all are."""
    for size in (*sizes, torch.ones_like(result)):
        if rest is not None:
            total = layer.forward(size, None)
            ratio, rest = _divide(rest, total, total.new_tensor(tiny(total)), spare=False)
            result = result + layer.pull(ratio, None, size)
    return result
