"""The former default, ``composite="calibrated"``: relevance that agrees with what silencing each color does to the output.

Relevance propagation says which filters and places speak for a class, but not how much each color is worth. A gradient on the
way to the responses says how much, but is noise in deep networks. Silencing a color is a measurement. Here the measured
effects of the colors are divided among their filters by both, and among places by relevance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

STEP = 0.3  # fraction of the responses at which the gradient is taken
WEIGHT = 0.4  # of the gradient beside relevance, for the scores of pairs
ROUNDING = 16  # differences of outputs count as zero below this many units in the last place
FEW = 0.01  # of the larger side: places of the other sign that are less do not count as a side of their own

# Values of both signs count for at most so many times the size of what they are to sum to.
OPPOSING_PAIRS = 2
OPPOSING_PLACES = 10

Explained = Callable[[Tensor], Tensor]


class Measurement(NamedTuple):
    """What the output makes of changed responses.

    Attributes
    ----------
    effect : Tensor, shape (N, C)
        By how much the explained output drops when a color is silenced.
    slope : Tensor, shape (N, C, K, H', W')
        Responses times the gradient of the explained output at three tenths of them.
    """

    effect: Tensor
    slope: Tensor


def measure(
    explained: Explained,
    response: Tensor,
    output: Tensor,
    *,
    step: float = STEP,
) -> Measurement:
    """Silence each color, and take the gradient on the straight way from no responses to all.

    Parameters
    ----------
    explained : callable
        From the responses to the explained output (N,), differentiable.
    response : Tensor, shape (N, C, K, H', W')
    output : Tensor, shape (N,)
        The explained output of these responses.
    step : float, default: 0.3
        Fraction of the responses at which the gradient is taken.

    Examples
    --------
    >>> weight = torch.tensor([1.0, -2.0]).reshape(1, 2, 1, 1, 1)
    >>> found = measure(lambda r: (weight * r).sum((1, 2, 3, 4)), torch.ones(1, 2, 3, 1, 1), torch.tensor([-3.0]))
    >>> found.effect, found.slope.sum((2, 3, 4))
    (tensor([[ 3., -6.]]), tensor([[ 3., -6.]]))
    """
    effects = []
    with torch.no_grad():
        for color in range(response.shape[1]):
            kept = response.clone()
            kept[:, color] = 0
            effects.append(_difference(output, explained(kept)))
    point = (step * response).detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(explained(point).sum(), point)
    return Measurement(torch.stack(effects, 1), gradient * response)


def calibrated(relevance: Tensor, found: Measurement, *, weight: float = WEIGHT) -> Tensor:
    """Divide the measured effects of the colors among filters and places.

    Parameters
    ----------
    relevance : Tensor, shape (N, C, K, H', W')
        At the responses, by the rules of a composite.
    found : Measurement
        At these responses.
    weight : float, default: 0.4
        Of the slopes beside relevance, from 0 to 1: more foretells better what silencing a pair does, less names the
        filter of a known answer more often.

    Returns
    -------
    relevance : Tensor, shape (N, C, K, H', W')
        Sums to what the given relevance sums to, for each image.

    Notes
    -----
    With ``L_ck`` and ``P_ck`` the relevance and the slope of color ``c`` through filter ``k``, ``D_c`` the effect of
    silencing a color, ``q(.)`` a size over the mean size of all pairs, and ``S(values; total)`` for :func:`settled`:

    1. The score of a color is ``S_c = S(D; sum L)_c``.
    2. That of a pair is ``w S(P_ck (1 + q(L_ck)) / (1 + q(P_ck)); S_c) + (1 - w) S(L_ck; S_c)``, settled over ``k``.
    3. That of a place is the pair's, settled over the places of ``L``, or of ``P`` where ``L`` is zero; a sign that has less
       than ``FEW`` of the other's size counts as none.

    In 2 the slopes count for at most twice, and in 3 relevance of both signs for at most ten times what they are to sum to. A
    color without relevance and slope gets nothing, nor does an image without relevance. Where relevance and slope agree, as
    in a linear network whose contributions have one sign, nothing is changed.
    """
    pairs, slope = _by_pair(relevance), _by_pair(found.slope)
    effect = torch.where((pairs != 0).any(2) | (slope != 0).any(2), found.effect.to(pairs), 0)
    color = settled(effect, pairs.sum((1, 2)), pairs.sum(2))
    sharpened = slope * (1 + _over_mean(pairs)) / (1 + _over_mean(slope))
    amount = torch.minimum(slope.abs().sum((1, 2)), OPPOSING_PAIRS * color.abs().sum(1))
    sharpened = sharpened * _ratio(amount, sharpened.abs().sum((1, 2)))[:, None, None]
    scores = weight * settled(sharpened, color, pairs) + (1 - weight) * settled(pairs, color, slope)
    scores = torch.where((pairs != 0).flatten(1).any(1)[:, None, None], scores, 0)
    result, left = _placed(relevance, scores)
    return result if not bool((left != 0).any()) else result + _placed(found.slope, left)[0]


def _difference(first: Tensor, second: Tensor) -> Tensor:
    """Subtract; what is no more than rounding is zero."""
    largest = torch.maximum(first.abs(), second.abs())
    found = first - second
    return torch.where(found.abs() > ROUNDING * torch.finfo(found.dtype).eps * largest, found, 0)


def settled(values: Tensor, total: Tensor, *others: Tensor) -> Tensor:
    """Scale the positive values by a factor and the negative ones by its inverse, so that they sum to a total.

    Parameters
    ----------
    values : Tensor, shape (..., n)
    total : Tensor, shape (...)
        Wanted sums over the last axis.
    *others : Tensor, shape (..., n)
        Values that are taken where all before them are zero.

    Returns
    -------
    settled : Tensor, shape (..., n)
        Of the signs and the order of the values where these have both signs; otherwise in proportion to them. Zero
        where there is nothing to scale.

    Notes
    -----
    With ``p`` and ``n`` the sums of the positive and of the negative sizes the factor is the positive ``t`` that solves
    ``t p - n / t = total``.

    Examples
    --------
    >>> settled(torch.tensor([3.0, 1.0, -2.0]), torch.tensor(7.0))
    tensor([ 6.,  2., -1.])
    >>> settled(torch.tensor([3.0, 1.0, 0.0]), torch.tensor(-8.0))
    tensor([-6., -2.,  0.])
    """
    for other in others:
        values = torch.where(values.abs().sum(-1, keepdim=True) > 0, values, other)
    size = values.abs()
    signed, unsigned = _factors(values.sum(-1), size.sum(-1), total, ROUNDING * torch.finfo(values.dtype).eps)
    return values * signed[..., None] + size * unsigned[..., None]


def _factors(sums: Tensor, sizes: Tensor, total: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Return the factors of values and of their sizes that settle them, from the sums of both.

    A side of less than ``least`` of the other does not count as one.
    """
    rise, fall = (sizes + sums) / 2, (sizes - sums) / 2
    root = (total.square() + 4 * rise * fall).sqrt()
    factor = torch.where(total >= 0, (total + root) / (2 * rise), 2 * fall / (root - total))
    plain = torch.where(sums == 0, 0, total / sums)
    both = torch.minimum(rise, fall) > least * torch.maximum(rise, fall)
    up, down = torch.where(both, factor, plain), torch.where(both, 1 / factor, plain)
    return (up + down) / 2, (up - down) / 2


def _placed(values: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Divide the scores of pairs among places by values; return also the scores of pairs whose values are all zero."""
    size = values.abs()
    sums, sizes = _by_pair(values), _by_pair(size)
    scale = _ratio(scores.abs(), torch.maximum(sums.abs(), sizes / OPPOSING_PLACES))
    signed, unsigned = _factors(scale * sums, scale * sizes, scores, FEW)
    result = values * _spread(scale * signed, values)
    result.addcmul_(size, _spread(scale * unsigned, values))
    return result, torch.where(sizes > 0, 0, scores)


def _by_pair(values: Tensor) -> Tensor:
    """Sum over the places."""
    return values.sum((3, 4), dtype=torch.promote_types(values.dtype, torch.float32))


def _spread(factors: Tensor, like: Tensor) -> Tensor:
    return factors.to(like)[..., None, None]


def _ratio(first: Tensor, second: Tensor) -> Tensor:
    return torch.where(second > 0, first / second, 0)


def _over_mean(pairs: Tensor) -> Tensor:
    size = pairs.abs()
    return _ratio(size, size.mean((1, 2), keepdim=True))
