"""Rules that share signed values with a floor: shares that cannot grow without bound where values cancel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .conserving import ConservingEpsilon, ConservingNorm, added_by_weight, equally, tiny
from .linear_maps import LinearMap, reaches_below_zero
from .rules import Rule

__all__ = ["BoundedEpsilon", "BoundedNorm"]

# Measured by benchmarks/stability.py --floors. A smaller one flips more maps, a larger one finds fewer of the pixels that count.
FLOOR = 0.005
SUM_FLOOR = 0.1
WEIGHTS = 2**18  # of a matrix that are treated at once: they are read from memory once and stay in the cache


class BoundedEpsilon(Rule):
    """The epsilon rule for hidden linear layers: nothing is lost to the bias, and shares are bounded.

    Plain shares ``z_i / z`` grow without bound where contributions of both signs cancel, and turn where their sum crosses
    zero. Units that their bias keeps active do both: a little noise in the image then turns the whole map. With the bias in
    the divisor, the shares turn where the unit itself is zero and has no relevance to share. The bias hands its own share
    on to the inputs by the sizes of their contributions.

    Parameters
    ----------
    floor : float, default: 0.005
        ``e``, above 0 and at most 1: the smallest divisor, as a part of the sum of the contributions' sizes.

    Raises
    ------
    ValueError
        If ``floor`` is out of range.

    Notes
    -----
    ``R_i = sum_j (z_ij + (b_j / S_j + e s_j) |z_ij|) / (z_j + b_j + e s_j S_j) R_j`` with contributions ``z_ij = x_i w_ij``,
    their sum ``z_j``, the sum ``S_j`` of their sizes, the bias ``b_j``, and the sign ``s_j`` of ``z_j + b_j``, which is 1 for
    zero. The relevance is conserved, and the sizes of the shares of a unit add up to ``1 + 2 / e`` times its relevance
    at most; to ``1 / e`` without a bias. Without contributions the relevance is shared by ``w_ij**2``. No number is
    absolute. Without biases it is the generalised gamma rule with a gamma of ``2 e / (1 - e)``.

    References
    ----------
    Bach et al., PLOS ONE 10(7), 2015, eq. 58 (epsilon); Andeol et al., 2021 (generalised gamma).

    Examples
    --------
    Contributions of 1 and -0.9 share 0.1. Plain shares would be 1 and -0.9, whose sizes are 19 times as much.

    >>> from edgefilter.lrp.linear_maps import linear_map
    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -0.9]]))
    >>> BoundedEpsilon(0.1).relevance(linear_map(layer), torch.ones(1, 2), torch.full((1, 1), 0.1))
    tensor([[ 0.3793, -0.2793]])
    """

    def __init__(self, floor: float = FLOOR) -> None:
        super().__init__()
        self.floor = _checked(floor)

    def at_end(self) -> Rule:
        """Return the plain epsilon rule: relevance is proportional to the output there, so that its shares are bounded."""
        return ConservingEpsilon()

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        power = _power(relevance)
        relevance = relevance / power
        rows = layer.rows(inputs, relevance)
        if rows is not None:
            result, rest = self._by_matrix(*rows)
            result, rest = layer.of_rows(result, inputs), None if rest is None else rest.view_as(relevance)
        else:
            sizes, heft = inputs.abs(), None if layer.weight is None else layer.weight.abs()
            size = layer.forward(sizes, heft)
            bias = layer.run(torch.zeros_like(inputs)) if layer.bias is not None else torch.zeros_like(size)
            total = layer.forward(inputs, layer.weight) + bias
            ratio, towards, rest = self._divided(relevance, total, size, bias)
            result = layer.pull(ratio, layer.weight, inputs) + layer.pull(towards, heft, sizes)
        return added_by_weight(result, layer, inputs, rest) * power

    def _by_matrix(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the shares of rows of inputs, and the relevance of outputs that nothing contributes to, if any.

        Weights are read once, some outputs at a time, and not at all for outputs without relevance.
        """
        assert layer.weight is not None
        sizes = inputs.abs() if reaches_below_zero(inputs) else inputs
        plain, rest = torch.zeros_like(inputs), None
        sized = plain if sizes is inputs else torch.zeros_like(inputs)
        reached = (relevance != 0).any(0).nonzero()[:, 0]
        for units in torch.split(reached, max(1, WEIGHTS // layer.weight.shape[1])):
            weight = layer.weight[units]
            heft, given = weight.abs(), relevance[:, units]
            bias = given.new_zeros(len(units)) if layer.bias is None else layer.bias[units]
            total = torch.addmm(bias, inputs, weight.t())
            ratio, towards, lost = self._divided(given, total, sizes @ heft.t(), bias)
            plain.addmm_(ratio, weight)
            sized.addmm_(towards, heft)
            if lost is not None:
                rest = torch.zeros_like(relevance) if rest is None else rest
                rest[:, units] = lost
        return plain.mul_(inputs) if sized is plain else plain.mul_(inputs).addcmul_(sized, sizes), rest

    def _divided(
        self, relevance: Tensor, total: Tensor, size: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return relevance per unit of the contributions and of their sizes, and that of outputs that have none, if any."""
        dead, rest = size < tiny(size), None
        if bool(dead.any()):
            rest, size = torch.where(dead, relevance, 0), size.masked_fill(dead, torch.inf)
        signs = torch.copysign(total.new_tensor(self.floor), total)
        ratio = relevance / torch.addcmul(total, signs, size)
        return ratio, signs.add_(bias / size).mul_(ratio), rest


class BoundedNorm(ConservingNorm):
    """Share relevance by the summands of a sum or an average, with a floor.

    Parameters
    ----------
    floor : float, default: 0.1
        ``e``, above 0 and at most 1.

    Raises
    ------
    ValueError
        If ``floor`` is out of range.

    Notes
    -----
    ``R_i = (x_i + e s |x_i|) / (x + e s sum_i |x_i|) R`` with the sum ``x`` and its sign ``s``; equal shares where all
    summands are zero. The sizes of the shares add up to ``1 / e`` times the relevance at most. Where the relevance is not
    proportional to the sum, the positive summands take all.
    """

    def __init__(self, floor: float = SUM_FLOOR) -> None:
        super().__init__()
        self.floor = _checked(floor)

    def at_end(self) -> Rule:
        """Return the plain rule: relevance is proportional to the output there."""
        return ConservingNorm()

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        if not (getattr(layer.module, "steady", True) and reaches_below_zero(inputs)):
            return super().relevance(layer, inputs, relevance)  # without cancelling, the shares are the same
        sizes = inputs.abs()
        total, size = layer.forward(inputs, None), layer.forward(sizes, None)
        dead = size < tiny(size)
        signs = torch.copysign(total.new_tensor(self.floor), total)
        ratio = relevance / (total + signs * size).masked_fill(dead, torch.inf)
        result = layer.pull(ratio, None, inputs) + layer.pull(ratio * signs, None, sizes)
        rest = torch.where(dead, relevance, 0) if bool(dead.any()) else None
        return equally(result, layer, (sizes,), rest)

    def shared(
        self,
        inputs: tuple[Tensor, ...],
        relevance: Tensor,
        *,
        steady: bool,
        out: Sequence[Tensor | None] = (None, None),
    ) -> tuple[Tensor, ...]:
        """Return the relevance of the summands of a sum."""
        if not steady:
            return super().shared(inputs, relevance, steady=False, out=out)
        total = sum(inputs[1:], start=inputs[0])
        signs = torch.copysign(total.new_tensor(self.floor), total)
        parts = [torch.addcmul(values, signs, values.abs()) for values in inputs]
        total = sum(parts[1:], start=parts[0])
        size = total.abs()
        dead = size < tiny(size) if bool(size.amin() < tiny(size)) else None
        ratio = torch.div(relevance, total, out=total)
        shares = tuple(torch.mul(part, ratio, out=into) for part, into in zip(parts, out, strict=True))
        if dead is not None:
            for share in shares:
                share[dead] = relevance[dead] / len(shares)
        return shares


def _checked(floor: float) -> float:
    if not 0 < floor <= 1:
        raise ValueError(f"floor must be above 0 and at most 1; got {floor}. Pass for example {FLOOR}.")
    return floor


def _power(values: Tensor) -> float:
    """Return a power of 2 next to the largest size among values."""
    largest = float(values.abs().amax()) if values.numel() else 0.0
    return 2.0 ** (math.frexp(largest)[1] - 1) if 0 < largest < math.inf else 1.0
