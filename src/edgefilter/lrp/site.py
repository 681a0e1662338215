"""Where a bank's responses enter a model, so that it can run again with some of them only."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from edgefilter.banks.bank import FilterBank
from edgefilter.errors import UnsupportedModelError

from .calls import NumberedCall
from .image import Apart
from .recolored import Recolored
from .run import Run

__all__ = ["Site", "is_same", "kernel_of", "site"]


@dataclasses.dataclass
class Site:
    """A convolution that reads the image, taken apart into the responses of its colors and filters.

    Attributes
    ----------
    call : NumberedCall
        The model's call of it.
    kernel : Tensor
        Its weight, by which it is known again.
    number : int
        Which of the calls with this weight it is, from 1.
    conv : nn.Module
        Its settings, its weight on the bank's support, and its bias.
    bank : FilterBank
    mixing : Tensor, shape (out, parts * channels, K), or None
        From the responses to its output; None if it returns the responses themselves.
    inputs : Tensor, shape (N, parts * channels, H, W)
        What it read, taken apart by color where colors are mixed before it.
    colors : Tensor, shape (parts * channels, C)
        What each color gives to a channel.
    fixed : Tensor, shape (parts * channels,)
        1 for channels that are there whatever the image.
    recolored : Recolored or None
        Makes the responses that it returns of those of the colors of a basis.
    """

    call: NumberedCall
    kernel: Tensor
    number: int
    conv: Any
    bank: FilterBank
    mixing: Tensor | None
    inputs: Tensor
    colors: Tensor
    fixed: Tensor
    recolored: Recolored | None = None

    def values(self, keeps: Tensor) -> Tensor:
        """Return the outputs with each response multiplied by a factor, those of one set after those of another.

        Parameters
        ----------
        keeps : Tensor, shape (S, C, K), or (S, C, 1) for whole colors
            0 for what is silenced, 1 for what is there.

        Returns
        -------
        values : Tensor, shape (S * N, ...)
        """
        factors = self.colors @ keeps.to(self.colors) + self.fixed[:, None]
        if keeps.shape[2] > 1:
            return torch.cat([self._value(self.inputs, some) for some in factors])
        images = torch.cat([self.inputs * some.to(self.inputs)[..., None] for some in factors])
        return self._value(images, torch.ones_like(factors[0]))

    def by_pair(self, gradient: Tensor) -> Tensor:
        """Return the sums over places of each response times the gradient, shape (N, C, K).

        Parameters
        ----------
        gradient : Tensor
            Of anything with respect to the output.
        """
        found = []
        for image in range(len(gradient)):
            one = slice(image, image + 1)
            keep = self.colors.new_ones(self.colors.shape[1], len(self.bank)).requires_grad_()
            with torch.enable_grad():
                value = self._value(self.inputs[one], self.colors @ keep + self.fixed[:, None])
            found.append(torch.autograd.grad(value, keep, gradient[one])[0])
        return torch.stack(found)

    def _value(self, inputs: Tensor, factors: Tensor) -> Tensor:
        """Return the output for inputs whose channels' responses are multiplied by factors, (parts * channels, K) or of one column."""
        return self._responses(inputs, factors) if self.mixing is None else self._mixed(inputs, factors)

    def _mixed(self, inputs: Tensor, factors: Tensor) -> Tensor:
        weight: Tensor = self.conv._parameters["weight"].detach()
        assert self.mixing is not None
        if factors.shape[1] == 1:
            parts = len(factors) // weight.shape[1]
            weight = weight.repeat(1, parts, 1, 1) * factors[:, :, None].to(weight)
        else:
            kernels = torch.from_numpy(self.bank.weight.copy()).to(factors)
            weight = torch.einsum("ojk,jk,khw->ojhw", self.mixing.to(factors), factors, kernels).to(weight)
        return self._convolved(inputs, weight, self.conv._parameters.get("bias"), 1)

    def _responses(self, inputs: Tensor, factors: Tensor) -> Tensor:
        weight: Tensor = self.conv._parameters["weight"].detach()
        parts = len(factors) * len(self.bank) // len(weight)
        every = self._convolved(inputs, weight.repeat(parts, 1, 1, 1), None, len(factors))
        each = torch.unflatten(every, 1, (parts, -1, len(self.bank)))  # (N, parts, channels, K, H', W')
        kept = each * torch.unflatten(factors, 0, (parts, -1))[..., None, None].to(each)
        responses = kept.sum(1).flatten(1, 2)
        return responses if self.recolored is None else self.recolored.responses(responses)

    def _convolved(self, inputs: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        conv = self.conv
        return torch.nn.functional.conv2d(
            inputs, weight, bias, conv.stride, conv.padding, conv.dilation, groups
        )


def site(
    run: Run,
    kernel: Tensor,
    conv: Any,
    apart: Apart,
    bank: FilterBank,
    mixing: Tensor | None = None,
    recolored: Recolored | None = None,
) -> Site:
    """Return the place of a convolution that the model is calling, taken apart.

    Parameters
    ----------
    run : Run
    kernel : Tensor
        Its weight.
    conv : module
        With the weight on the bank's support.
    apart : Apart
        What it reads.
    bank : FilterBank
    mixing : Tensor, shape (out, channels * K, 1, 1), optional
        As in :class:`Site`, for one part.
    recolored : Recolored, optional
        As in :class:`Site`.
    """
    if run.calls.now is None or run.calls.depth > 1:
        raise UnsupportedModelError(
            f"model must call its stem as a function of its own; got a convolution inside {run.calls.now}. Use calibrate=False."
        )
    parts = len(apart.colors) // apart.inputs.shape[1]
    whole = [apart.inputs] if apart.alone is None else [*apart.alone, apart.rest]
    if mixing is not None:
        mixing = torch.unflatten(mixing[:, :, 0, 0], 1, (-1, len(bank))).repeat(1, parts, 1)
    return Site(
        call=run.calls.now,
        kernel=kernel,
        number=sum(is_same(other, kernel) for other in run.stem.kernels),
        conv=conv,
        bank=bank,
        mixing=mixing,
        inputs=torch.cat([part.detach() for part in whole], 1) if len(whole) > 1 else whole[0].detach(),
        colors=apart.colors,
        fixed=(~(apart.colors != 0).any(1)).to(apart.colors),
        recolored=recolored,
    )


def kernel_of(args: Any, kwargs: dict[str, Any]) -> Tensor:
    """Return the weight of a call of ``conv2d``."""
    weight: Tensor = args[1] if len(args) > 1 else kwargs["weight"]
    return weight.detach()


def is_same(one: Tensor, other: Tensor) -> bool:
    """Return whether two weights are the same numbers."""
    return one.shape == other.shape and torch.equal(one, other)
