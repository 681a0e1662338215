"""The stem while the model runs: what reads the image is seen as a bank of filters and a mixing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edgefilter.banks.bank import FilterBank
from edgefilter.errors import UnsupportedModelError
from edgefilter.stems.layers import EdgeFilterBank2d
from edgefilter.stems.support import expressed, supported

from .image import by_color, colors, present
from .linear_steps import linear_step, mixed
from .rules import Pass
from .run import Run
from .standins import Average, FilterBankConv2d, Passing, layer_like, of_function
from .steps import Step
from .values import Late

__all__ = ["Read", "Stem"]

NOTHING = torch.zeros(0)


@dataclasses.dataclass
class Read:
    """One reading of the image by a bank.

    Attributes
    ----------
    path : str
        Module path of the convolution or the bank.
    bank : FilterBank
    inputs, response : Tensor
        What the bank was given and what it returned, (N, parts * channels * K, H', W').
    colors : Tensor, shape (parts * channels, C)
        Which share of a channel's responses each color of the image gets.
    axis : int
        The axis of the colors in the image.
    """

    path: str
    bank: FilterBank
    inputs: Tensor
    response: Tensor
    colors: Tensor
    axis: int

    @property
    def is_direct(self) -> bool:
        """Whether each channel is one color, in their order."""
        return self.colors.shape[0] == self.colors.shape[1] and bool(
            (self.colors == torch.eye(len(self.colors), dtype=self.colors.dtype)).all()
        )


class Stem:
    """What becomes of the convolutions that read the image.

    Parameters
    ----------
    layer : EdgeFilterBank2d, optional
        The filter bank of the model, if it has one. Other convolutions that read the image then run past it.
    bank : FilterBank, optional
        Expresses the convolutions of a model without one. Default: the complete bank of their size.
    path : str, optional
        Module path of the only convolution to express.
    size : (int, int), optional
        Support of the bank, where several convolutions of different size are expressed.
    silenced : callable, optional
        From the number of colors and the bank to the places of those whose responses are set to zero. Nothing is explained
        then.
    """

    def __init__(
        self,
        layer: EdgeFilterBank2d | None = None,
        bank: FilterBank | None = None,
        path: str | None = None,
        size: tuple[int, int] | None = None,
        silenced: Callable[[int, FilterBank], tuple[list[int], list[int]]] | None = None,
    ) -> None:
        self.layer, self.bank, self.path, self.size, self.silenced = layer, bank, path, size, silenced
        self.reads: list[Read] = []
        self._shared: dict[Any, Tensor] = {}

    def common_size(self) -> tuple[int, int] | None:
        """Return the support that holds all banks, if they differ."""
        sizes = {read.bank.shape for read in self.reads}
        if self.bank is not None or len(sizes) < 2 or self.size is not None:
            return None
        height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
        return height, width

    def checked_reads(self) -> list[Read]:
        """Return the readings; refuse a run without one."""
        if self.reads:
            return self.reads
        if self.layer is not None:
            raise UnsupportedModelError(
                "the filter bank must run in the model's forward; got a bank that did not. Name the stem that is used with "
                "replace_stem(model, stem=...). If forward was replaced on the object (model.forward = ...), a copy still "
                "runs the original: explain the model itself, without replace_stem."
            )
        where = "" if self.path is None else f" in {self.path!r}"
        raise UnsupportedModelError(
            f"model must read the image by a Conv2d{where}; got none that does. Edge filters explain convolutional stems only."
        )

    def forget(self) -> None:
        """Let go of all tensors."""
        self.reads, self._shared = [], {}

    def spare(self, model: nn.Module) -> set[int]:
        """Return the modules that hold the bank: no rule takes them as a whole."""
        if self.layer is None:
            return {id(model)}
        path = next(name for name, module in model.named_modules() if module is self.layer)
        parts = path.split(".") if path else []
        return {id(model.get_submodule(".".join(parts[:length]))) for length in range(len(parts) + 1)}

    def release(self) -> None:
        """Let go of the tensors that were read."""
        self._shared = {}
        for read in self.reads:
            read.inputs = read.response = NOTHING

    def takes(self, run: Run, owner: nn.Module | None, *, near: bool) -> bool:
        """Return whether a convolution is one to express: one that reads the image, or the one that was named.

        ``near`` says whether no other convolution lies between it and the image.
        """
        if self.layer is not None:
            return owner is self.layer.conv
        name = run.modules.names.get(id(owner), run.modules.name)
        if self.path is None or near:
            return near and (self.path is None or _belongs(name, self.path))
        return owner is not None and name == self.path

    def convolved(self, run: Run, module: Any, inputs: Tensor, owner: nn.Module | None) -> Tensor:
        """Return the result of a convolution that is expressed by the bank."""
        name = run.modules.names.get(id(owner), run.modules.name)
        if self.reads and not (self.layer is None and run.is_near(inputs)):
            raise UnsupportedModelError(
                f"filter bank {name.removesuffix('.conv')!r} must run once in each call of the model; got two runs, whose "
                "scores by color and filter would be mixed up. Give each input a stem of its own."
            )
        if self.layer is not None:
            return self._of_layer(run, module, inputs, name.removesuffix(".conv"), owner)
        _check_readable(run, module, inputs, name)
        weight = module._parameters["weight"].detach()
        bank, wide, extra = supported(weight, self.bank, self.size, name)
        padding = (
            module.padding
            if isinstance(module.padding, str)
            else tuple(
                pad + more * step
                for pad, more, step in zip(module.padding, extra, module.dilation, strict=True)
            )
        )
        mixing = expressed(wide, bank, name)
        if self.silenced is not None:
            return self._without(run, module, inputs, owner, bank, mixing, padding)
        with torch.no_grad():
            value = module.forward(inputs.detach())
        key = (id(inputs), module.stride, padding, module.dilation, bank.shape)
        if key not in self._shared:
            filters = _bank_layer(bank, inputs, module, padding)
            self._shared[key] = self._filtered(run, filters, inputs, bank, name, value)
        parts = self._shared[key]
        return mixed(run, module, mixing, parts, owner, value)

    def _of_layer(self, run: Run, module: Any, inputs: Tensor, name: str, owner: nn.Module | None) -> Tensor:
        assert self.layer is not None
        if self.silenced is not None:
            return self._without(run, module, inputs, owner, self.layer.bank, None, None)
        module.__class__ = FilterBankConv2d
        parts = self._filtered(run, module, inputs, self.layer.bank, name)
        if parts is self.reads[-1].response and parts.shape[1] == module.out_channels:
            return parts
        with torch.no_grad():
            value = module.forward(inputs.detach())
        count = parts.shape[1] // value.shape[1]
        together = of_function(Average, lambda every: torch.unflatten(every, 1, (count, -1)).sum(1))
        hook = run.modules.hook(together)
        whole = run.step(Step, together, (parts,), value, hook=hook, reader=True, from_image=False)
        run.known(whole).parts = parts
        return whole

    def _without(
        self,
        run: Run,
        module: Any,
        inputs: Tensor,
        owner: nn.Module | None,
        bank: FilterBank,
        mixing: Tensor | None,
        padding: Any,
    ) -> Tensor:
        """Return the result of a convolution without the responses of some colors and filters."""
        assert self.silenced is not None
        shares, axis = colors(run, inputs)
        gone, lost = self.silenced(shares.shape[1], bank)
        self.reads.append(Read("", bank, inputs, inputs, shares, axis))
        given = inputs.detach()
        if gone:
            mixes = bool(((shares != 0).sum(1) > 1).any())
            alone = by_color(run, inputs, axis) if mixes else None
            if alone is None:
                shares = shares / shares.sum(1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
                given = given * (1 - shares[:, gone].sum(1)).to(given).reshape(-1, 1, 1)
            else:
                given = given - sum((alone[color].detach() for color in gone), start=torch.zeros_like(given))
        with torch.no_grad():
            if mixing is None:
                value = torch.unflatten(module.forward(given), 1, (-1, len(bank))).clone()
                value[:, :, lost] = 0
                value = value.flatten(1, 2)
            elif lost:
                kept = torch.unflatten(mixing[:, :, 0, 0], 1, (-1, len(bank))).clone()
                kept[:, :, lost] = 0
                weight = torch.einsum(
                    "ock,khw->ochw", kept, torch.from_numpy(bank.weight.copy()).to(kept)
                ).to(given)
                bias = module._parameters.get("bias")
                value = torch.nn.functional.conv2d(
                    given, weight, bias, module.stride, padding, module.dilation
                )
            else:
                value = module.forward(given)
        return linear_step(run, module, inputs, 1, owner, value)

    def _filtered(
        self, run: Run, filters: Any, inputs: Tensor, bank: FilterBank, name: str, mix: Tensor | None = None
    ) -> Tensor:
        """Return the responses, color by color where colors are mixed before the bank.

        If their mix is known, nothing but its rule reads them, and they are made there.
        """
        shares, axis = colors(run, inputs)
        filters.__dict__["present"] = present(run, inputs)
        hook = run.modules.hook(filters)
        mixes = bool(((shares != 0).sum(1) > 1).any())
        alone = by_color(run, inputs, axis) if mixes else None
        unseen = ~(shares != 0).any(1)
        hides = run.conserves and bool(unseen.any())
        made = []
        for given in alone or [inputs]:
            if mix is None or alone or hides:
                late, value = None, Late(filters, given.detach()).made()
            else:
                late = Late(filters, given.detach())
                value = mix.new_zeros(()).expand(*mix.shape[:-3], filters.out_channels, *mix.shape[-2:])
            made.append(run.step(Step, filters, (given,), value, hook=hook, reader=True, from_image=False))
            run.known(made[-1]).late = late
            run.steps[-1].name = name
        if alone is not None:
            return self._of_colors(run, filters, inputs, bank, name, axis, alone, made)
        (response,) = made
        shares = shares / shares.sum(1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
        self.reads.append(Read(name, bank, inputs, response, shares, axis))
        if not hides:
            return response
        with torch.no_grad():  # channels without image data are biases: no rule sees them
            value = torch.unflatten(response.detach(), 1, (len(shares), -1)).clone()
            value[:, unseen] = 0
        module = of_function(Passing, lambda every: every)
        return run.step(Step, module, (response,), value.flatten(1, 2), hook=Pass(), from_image=False)

    def _of_colors(
        self,
        run: Run,
        filters: Any,
        inputs: Tensor,
        bank: FilterBank,
        name: str,
        axis: int,
        alone: list[Tensor],
        made: list[Tensor],
    ) -> Tensor:
        """Return the responses of the colors, side by side."""
        rest = inputs.detach() - sum(part.detach() for part in alone)
        if not run.conserves and bool(rest.any()):  # shifts before the bank keep their share, as biases do
            with torch.no_grad():
                made.append(filters.forward(rest))
        with run:
            response = torch.cat(made, 1)
        shares = torch.eye(len(made), len(alone), dtype=torch.float64)
        shares = shares.repeat_interleave(inputs.shape[1], 0)
        self.reads.append(Read(name, bank, inputs, response, shares, axis))
        return response


def _check_readable(run: Run, module: Any, inputs: Tensor, name: str) -> None:
    """Refuse a convolution that cannot be seen as a bank of filters and a mixing."""
    images = run.leaf_of(inputs)
    if len(inputs) != len(images) and inputs.dim() == images.dim():
        raise UnsupportedModelError(
            f"stem {name!r} must read whole images to be seen as a bank of filters; got {len(inputs)} pieces of "
            f"{len(images)} images. Name another layer with layer=..."
        )
    if module.groups != 1:
        raise UnsupportedModelError(
            f"stem {name!r} must be a Conv2d with groups=1 to be seen as a bank of filters and a mixing; got "
            f"groups={module.groups}. Name another layer with layer=..."
        )


def _belongs(name: str, path: str) -> bool:
    return not path or name == path or name.startswith(f"{path}.")


def _bank_layer(bank: FilterBank, inputs: Tensor, module: Any, padding: Any) -> nn.Module:
    """Return a bank as a layer that runs where a convolution ran."""
    channels = inputs.shape[1]
    return layer_like(
        FilterBankConv2d,
        _kernels(bank, inputs),
        None,
        in_channels=channels,
        out_channels=channels * len(bank),
        kernel_size=bank.shape,
        stride=module.stride,
        padding=padding,
        dilation=module.dilation,
        groups=channels,
        padding_mode="zeros",
        transposed=False,
        output_padding=(0, 0),
    )


def _kernels(bank: FilterBank, like: Tensor) -> Tensor:
    weight = torch.from_numpy(bank.weight.copy()).to(like)
    return weight[:, None].repeat(like.shape[1], 1, 1, 1)
