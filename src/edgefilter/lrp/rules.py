"""Relevance rules as Zennit hooks whose backward pass is one function of a layer's inputs and its relevance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from zennit.core import Hook

from .linear_maps import LinearMap, linear_map

GUARD = 1e-15  # of the largest output: less than its rounding

__all__ = ["Epsilon", "Flat", "Norm", "Pass", "Rule", "WSquare"]


class Rule(Hook):  # type: ignore[misc]
    """A rule given by :meth:`relevance`. Composites mix such rules with Zennit's own hooks.

    The engine calls :meth:`relevance` and :meth:`shared` directly. On a module, where Zennit registers it, the rule
    gives the same numbers through :meth:`backward`.
    """

    separable = True  # whether samples can be treated one by one

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs of a layer, shaped as they are.

        Parameters
        ----------
        layer : LinearMap
        inputs, relevance : Tensor
            What the layer was given, and the relevance of what it returned.
        """
        raise NotImplementedError

    def shared(
        self,
        inputs: tuple[Tensor, ...],
        relevance: Tensor,
        *,
        steady: bool,
        out: Sequence[Tensor | None] = (None, None),
    ) -> tuple[Tensor, ...]:
        """Return the relevance of the summands of a sum.

        Parameters
        ----------
        inputs : tuple of Tensors
            The summands, broadcast to one shape.
        relevance : Tensor
        steady : bool
            Whether the relevance of the sum is proportional to its value. It is not if a normalization with a shift
            reads the sum: signed shares would blow it up where the summands cancel.
        out : sequence of Tensors, optional
            Where the shares are written. Default: new tensors.
        """
        raise NotImplementedError(f"{type(self).__name__} has no form for a sum of {len(inputs)} tensors")

    def at_end(self) -> Rule:
        """Return the rule for the last affine map, where relevance is proportional to the output."""
        return self

    def forward(self, module: nn.Module, input: Any, output: Any) -> None:  # noqa: A002
        """Keep the inputs of a module, as Zennit's hooks do."""
        self.stored_tensors["input"] = input

    def backward(self, module: nn.Module, grad_input: Any, grad_output: Any) -> tuple[Tensor, ...]:
        """Return the relevance of the inputs of a module on which Zennit registered the rule."""
        inputs = self.stored_tensors["input"][0].detach()
        return (self.relevance(linear_map(module), inputs, grad_output[0].detach()),)

    def copy(self) -> Any:
        """Return a new hook with the same settings."""
        new = type(self).__new__(type(self))
        Hook.__init__(new)
        new.__dict__.update({name: value for name, value in vars(self).items() if name not in vars(new)})
        return new


class Pass(Rule):
    """Relevance goes through unchanged."""

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance as it is."""
        return relevance


class _Stabilized(Rule):
    def __init__(self, stabilizer: float) -> None:
        super().__init__()
        self.stabilizer = stabilizer

    def _stable(self, total: Tensor) -> Tensor:
        """Return what to divide by: the total, with the stabilizer of its own sign added."""
        return torch.copysign(
            total.new_tensor(max(self.stabilizer, torch.finfo(total.dtype).tiny)), total
        ).add_(total)


class Epsilon(_Stabilized):
    """The epsilon rule: ``R_i = x_i sum_j w_ij R_j / stabilize(z_j)``, where the bias keeps its share.

    Parameters
    ----------
    stabilizer : float
        Added to the output with its sign. Of 0, as much as guards against division by zero: 1e-15 of the largest output.

    References
    ----------
    Bach et al., PLOS ONE 10(7), 2015, eq. 58.
    """

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        return layer.pull(relevance / self._guarded(layer.run(inputs)), layer.weight, inputs)

    def _guarded(self, total: Tensor) -> Tensor:
        """Return what to divide by."""
        if self.stabilizer > 0:
            return self._stable(total)
        largest = total.abs().amax(tuple(range(1, total.dim())), keepdim=True)
        guard = (torch.where(largest == 0, 1, largest) * GUARD).clamp(min=torch.finfo(total.dtype).tiny)
        return torch.copysign(guard, total).add_(total)


class Norm(Epsilon):
    """The epsilon rule for sums and averages, which have no weights.

    Parameters
    ----------
    stabilizer : float
    """

    def shared(
        self,
        inputs: tuple[Tensor, ...],
        relevance: Tensor,
        *,
        steady: bool,
        out: Sequence[Tensor | None] = (None, None),
    ) -> tuple[Tensor, ...]:
        """Return the relevance of the summands of a sum."""
        ratio = relevance / self._guarded(sum(inputs[1:], start=inputs[0]))
        return tuple(torch.mul(given, ratio, out=into) for given, into in zip(inputs, out, strict=True))


class _Blind(_Stabilized):
    """A rule that does not look at the values: only at which of them depend on the image."""

    separable = False  # the denominators of all samples are the same

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        weight = None if layer.weight is None else self._weight(layer.weight)
        present: Tensor | None = getattr(layer.module, "present", None)
        ones = torch.ones_like(layer.sample(inputs)) if present is None else present.to(inputs)
        total = layer.forward(ones, weight)
        stable = self._stable(total)
        single = len(total) == 1 and len(relevance) == len(inputs)
        samples = (
            zip(torch.split(relevance, 1), torch.split(inputs, 1), strict=True)
            if single
            else [(relevance, inputs)]
        )
        result = torch.cat([self._back(layer, part / stable, weight, like) for part, like in samples])
        if present is None:
            return result
        return result * ones + spread_over_present(
            torch.where(total == 0, relevance, 0), ones.expand_as(inputs)
        )

    def _weight(self, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def _back(self, layer: LinearMap, ratio: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        return layer.backward(ratio, weight, like)


def spread_over_present(lost: Tensor, present: Tensor) -> Tensor:
    """Return relevance of a bank's responses to places that no image data reach, spread over their color's other pixels.

    Parameters
    ----------
    lost : Tensor, shape (N, C*K, H', W')
    present : Tensor, shape (N, C, H, W)
        1 where a pixel counts, 0 elsewhere.
    """
    colors = present.shape[1]
    total = torch.unflatten(lost, 1, (colors, -1)).sum((2, 3, 4))
    count = present.sum((2, 3))
    return present * torch.where(count > 0, total / count.clamp(min=1), 0)[:, :, None, None]


class WSquare(_Blind):
    """The w-square rule: relevance goes by squared weights, whatever the values.

    Parameters
    ----------
    stabilizer : float

    References
    ----------
    Montavon et al., Pattern Recognition 65, 2017.
    """

    def _weight(self, weight: Tensor) -> Tensor:
        return weight.square()


class Flat(_Blind):
    """The flat rule: relevance goes in equal shares to all inputs of a unit.

    Parameters
    ----------
    stabilizer : float

    References
    ----------
    Lapuschkin et al., Nature Communications 10, 2019.
    """

    def _weight(self, weight: Tensor) -> Tensor:
        return torch.ones_like(weight)

    def _back(self, layer: LinearMap, ratio: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        return layer.spread(ratio, weight, like)
