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
from zennit.core import Hook, ParamMod

__all__ = ["ConservingAlphaBeta", "ConservingGamma", "ConservingNorm"]

Change = Callable[[Tensor], Tensor]


class _Part(NamedTuple):
    """A share of a layer's output: what some of the inputs, through some of the weights, give."""

    inputs: Tensor
    output: Tensor

    def pull(self, ratio: Tensor) -> Tensor:
        """Hand relevance back in proportion to the contributions; ``ratio`` is relevance per unit of output."""
        (gradient,) = torch.autograd.grad(self.output, self.inputs, ratio)
        return self.inputs.detach() * gradient


def _positive(values: Tensor) -> Tensor:
    return values.clamp(min=0)


def _negative(values: Tensor) -> Tensor:
    return values.clamp(max=0)


def _same(values: Tensor) -> Tensor:
    return values


def _part(module: nn.Module, inputs: Tensor, change_inputs: Change, change_weight: Change) -> _Part:
    """Run a layer without its bias on changed inputs through changed weights."""
    changed = change_inputs(inputs).requires_grad_()
    modifier = ParamMod(lambda weight, _: change_weight(weight), zero_params=["bias"])
    with torch.enable_grad(), modifier(module) as modified:
        return _Part(changed, modified.forward(changed))


def _parts(module: nn.Module, inputs: Tensor, sign: int, gamma: float | None = None) -> list[_Part]:
    """Return the parts of a layer's output whose contributions have one sign (or favour it by ``gamma``)."""

    def favour(chosen: Change) -> Change:
        return chosen if gamma is None else lambda weight: weight + gamma * chosen(weight)

    for_positive, for_negative = (_positive, _negative) if sign > 0 else (_negative, _positive)
    parts = [_part(module, _positive(inputs), _same, favour(for_positive))]
    if (inputs < 0).any():
        parts.append(_part(module, _negative(inputs), _same, favour(for_negative)))
    return parts


def _total(parts: list[_Part]) -> Tensor:
    return (
        torch.stack([part.output.detach() for part in parts]).sum(0)
        if len(parts) > 1
        else parts[0].output.detach()
    )


def _alive(total: Tensor) -> Tensor:
    """Tell which outputs are more than rounding, sample by sample."""
    size = total.abs()
    return size > torch.finfo(total.dtype).eps * size.flatten(1).amax(1).reshape(-1, *[1] * (total.dim() - 1))


def _divide(relevance: Tensor, total: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, relevance / torch.where(where, total, torch.ones_like(total)), 0)


def _rest(module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
    """Share out relevance of units that no input speaks for: by contribution size, then by squared weight."""
    result = torch.zeros_like(inputs)
    for part_of in (
        lambda: _part(module, inputs.abs(), _same, torch.abs),
        lambda: _part(module, torch.ones_like(inputs), _same, torch.square),
    ):
        if not relevance.any():
            return result
        part: _Part = part_of()
        total = part.output.detach()
        alive = _alive(total)
        result = result + part.pull(_divide(relevance, total, alive))
        relevance = torch.where(alive, 0, relevance)
    return result


class _Rule(Hook):  # type: ignore[misc]
    """A rule given by one function: from a layer's inputs and its outputs' relevance to its inputs' relevance."""

    def forward(self, module: nn.Module, input: tuple[Tensor, ...], output: Any) -> None:  # noqa: A002, ARG002
        """Keep the inputs for the way back."""
        self.stored_tensors["input"] = input[0]

    def backward(
        self, module: nn.Module, grad_input: Any, grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Hand the relevance back."""
        inputs = self.stored_tensors["input"].detach()
        return (self.relevance(module, inputs, grad_output[0].detach()),)

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        raise NotImplementedError


class ConservingAlphaBeta(_Rule):
    """The alpha-beta rule without biases; positive contributions take all where there are no negative ones.

    Parameters
    ----------
    alpha, beta : float
        Weights of the positive and the negative contributions, ``alpha - beta == 1``; 1 and 0 give the z+ rule.

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
        self.alpha, self.beta = alpha, beta

    def copy(self) -> ConservingAlphaBeta:
        """Return a new hook with the same settings."""
        return type(self)(self.alpha, self.beta)

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        positive = _parts(module, inputs, +1)
        total = _total(positive)
        alive = _alive(total)
        alpha: Tensor | float = self.alpha
        result = torch.zeros_like(inputs)
        if self.beta:
            negative = _parts(module, inputs, -1)
            opposed = _alive(_total(negative)) & alive
            alpha = torch.where(opposed, self.alpha, 1.0)
            result = -self.beta * _pull(negative, _divide(relevance, _total(negative), opposed))
        result = result + _pull(positive, _divide(alpha * relevance, total, alive))
        return result + _rest(module, inputs, torch.where(alive, 0, relevance))


class ConservingGamma(_Rule):
    """The generalised gamma rule without biases.

    Parameters
    ----------
    gamma : float
        How much contributions of the output's own sign are favoured.

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
        self.gamma = gamma

    def copy(self) -> ConservingGamma:
        """Return a new hook with the same settings."""
        return type(self)(self.gamma)

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        output = _part(module, inputs, _same, _same).output.detach()
        alive = _alive(output)
        result = torch.zeros_like(inputs)
        for sign in (+1, -1):
            parts = _parts(module, inputs, sign, self.gamma)
            chosen = alive & (output.sign() == sign)
            result = result + _pull(parts, _divide(relevance, _total(parts), chosen))
        return result + _rest(module, inputs, torch.where(alive, 0, relevance))


class ConservingNorm(_Rule):
    """Zennit's Norm, which shares relevance by the summands, and equally where they cancel to zero exactly."""

    def copy(self) -> ConservingNorm:
        """Return a new hook."""
        return type(self)()

    def relevance(self, module: nn.Module, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        leaf = inputs.requires_grad_()
        with torch.enable_grad():
            part = _Part(leaf, module.forward(leaf))
        alive = part.output.detach() != 0
        result = part.pull(_divide(relevance, part.output.detach(), alive))
        rest = torch.where(alive, 0, relevance)
        if not rest.any():
            return result
        ones = torch.ones_like(inputs).requires_grad_()
        with torch.enable_grad():
            equal = _Part(ones, module.forward(ones))
        return result + equal.pull(_divide(rest, equal.output.detach(), ~alive))


def _pull(parts: list[_Part], ratio: Tensor) -> Tensor:
    return (
        torch.stack([part.pull(ratio) for part in parts]).sum(0) if len(parts) > 1 else parts[0].pull(ratio)
    )
