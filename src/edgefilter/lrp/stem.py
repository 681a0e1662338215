"""The stem while the model runs: what reads the image is seen as a bank of filters and a mixing."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from edgefilter.banks.bank import FilterBank
from edgefilter.banks.colors import Colors
from edgefilter.errors import UnsupportedModelError
from edgefilter.stems.layers import EdgeFilterBank2d
from edgefilter.stems.support import expressed, supported
from edgefilter.stems.windows import Window

from .image import Apart, apart, present
from .linear_steps import mixed
from .placing import window
from .recolored import Recolored
from .rules import Pass
from .run import Run
from .site import Site, site
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
    colors : Tensor, shape (parts * channels, G)
        Which share of a channel's responses each color of the image gets.
    axis : int
        The axis of the channels in the image.
    channels : int
        How many there are.
    window : Window or None
        What of the image the responses see; None for inputs that are no images.
    """

    path: str
    bank: FilterBank
    inputs: Tensor
    response: Tensor
    colors: Tensor
    axis: int
    channels: int
    window: Window | None

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
    colors : Colors, optional
        What the channels of the image are scored as. Default: each by itself.

    Attributes
    ----------
    recolored : Recolored or None
        How the image is made of the colors of a basis.
    reads : list of Read
        How the image was read in a run.
    sites : list of Site
        Where.
    kernels : list of Tensors
        The weights of all convolutions that the model has called.
    """

    def __init__(
        self,
        layer: EdgeFilterBank2d | None = None,
        bank: FilterBank | None = None,
        path: str | None = None,
        size: tuple[int, int] | None = None,
        colors: Colors | None = None,
    ) -> None:
        self.layer, self.bank, self.path, self.size = layer, bank, path, size
        self.colors = Colors() if colors is None else colors
        self.recolored = None if self.colors.basis is None else Recolored(self.colors.basis)
        self.reads: list[Read] = []
        self.sites: list[Site] = []
        self.kernels: list[Tensor] = []
        self._taken: dict[int, Apart] = {}
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
        self.reads, self.sites, self.kernels, self._shared, self._taken = [], [], [], {}, {}

    def spare(self, model: nn.Module) -> set[int]:
        """Return the modules that hold the bank: no rule takes them as a whole."""
        if self.layer is None:
            return {id(model)}
        path = next(name for name, module in model.named_modules() if module is self.layer)
        parts = path.split(".") if path else []
        return {id(model.get_submodule(".".join(parts[:length]))) for length in range(len(parts) + 1)}

    def release(self) -> None:
        """Let go of the tensors that were read."""
        self._shared, self._taken, self.kernels = {}, {}, []
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
        with torch.no_grad():
            value = module.forward(inputs.detach())
        kernel = module._parameters["weight"].detach()
        inputs, recolored = self._colors_of(run, inputs)
        weight = kernel if recolored is None else recolored.weight(kernel).to(kernel)
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
        apart = self._apart(run, inputs)
        self.sites.append(site(run, kernel, _wide(module, wide, padding), apart, bank, mixing))
        key = (id(inputs), module.stride, padding, module.dilation, bank.shape)
        if key not in self._shared:
            filters = _bank_layer(bank, inputs, module, padding)
            self._shared[key] = self._filtered(run, filters, apart, bank, name, value)
        parts = self._shared[key]
        return mixed(run, module, mixing, parts, owner, value)

    def _of_layer(self, run: Run, module: Any, inputs: Tensor, name: str, owner: nn.Module | None) -> Tensor:
        assert self.layer is not None
        image, (inputs, recolored) = inputs, self._colors_of(run, inputs)
        apart, bank = self._apart(run, inputs), self.layer.bank
        kernel = module._parameters["weight"].detach()
        self.sites.append(site(run, kernel, module, apart, bank, recolored=recolored))
        module.__class__ = FilterBankConv2d
        parts = self._filtered(run, module, apart, bank, name)
        if recolored is None and parts is self.reads[-1].response and parts.shape[1] == module.out_channels:
            return parts
        with torch.no_grad():
            value = module.forward(image.detach())
        count = parts.shape[1] // value.shape[1]
        together = of_function(
            Average,
            (lambda every: torch.unflatten(every, 1, (count, -1)).sum(1))
            if recolored is None
            else recolored.responses,
        )
        hook = run.modules.hook(together)
        whole = run.step(Step, together, (parts,), value, hook=hook, reader=True, from_image=False)
        run.known(whole).parts = parts
        return whole

    def mixing_of_parts(self, mixing: Tensor) -> Tensor:
        """Return the mixing of the responses by color, from that of the bank's responses."""
        recolored = self.sites[-1].recolored
        return mixing if recolored is None else recolored.mixing(mixing)

    def _colors_of(self, run: Run, inputs: Tensor) -> tuple[Tensor, Recolored | None]:
        """Return the colors of the image in its place, if a stem reads just the image and a basis has no shift; and how it is made of them."""
        known = self.recolored
        if known is None or known.is_shifted or inputs is not run.given:
            return inputs, None
        return run.leaf_of(inputs), known

    def _apart(self, run: Run, inputs: Tensor) -> Apart:
        if id(inputs) not in self._taken:
            if self.recolored is not None and not run.is_near(inputs):
                raise UnsupportedModelError(
                    "basis must be None for a stem that reads features; got one behind another convolution, whose channels are no colors. "
                    "Leave basis out."
                )
            self._taken[id(inputs)] = apart(run, inputs, self.colors, self.recolored)
        return self._taken[id(inputs)]

    def _filtered(
        self, run: Run, filters: Any, apart: Apart, bank: FilterBank, name: str, mix: Tensor | None = None
    ) -> Tensor:
        """Return the responses, color by color where colors are mixed before the bank.

        If their mix is known, nothing but its rule reads them, and they are made there.
        """
        inputs, shares = apart.inputs, apart.colors
        filters.__dict__["present"] = present(run, inputs)
        hook = run.modules.hook(filters)
        unseen = ~(shares != 0).any(1)
        hides = apart.alone is None and run.conserves and bool(unseen.any())
        made = []
        for given in apart.alone or [inputs]:
            if mix is None or apart.alone is not None or hides:
                late, value = None, Late(filters, given.detach()).made()
            else:
                late = Late(filters, given.detach())
                value = mix.new_zeros(()).expand(*mix.shape[:-3], filters.out_channels, *mix.shape[-2:])
            made.append(run.step(Step, filters, (given,), value, hook=hook, reader=True, from_image=False))
            run.known(made[-1]).late = late
            run.steps[-1].name = name
        if apart.alone is not None:
            response = _side_by_side(run, filters, apart, made)
            shares = shares[: response.shape[1] // len(bank)]
        else:
            (response,) = made
        sight = window(run, filters, apart, bank, hook)
        self.reads.append(Read(name, bank, inputs, response, shares, apart.axis, apart.channels, sight))
        if not hides:
            return response
        with torch.no_grad():  # channels without image data are biases: no rule sees them
            value = torch.unflatten(response.detach(), 1, (len(shares), -1)).clone()
            value[:, unseen] = 0
        module = of_function(Passing, lambda every: every)
        return run.step(Step, module, (response,), value.flatten(1, 2), hook=Pass(), from_image=False)


def _side_by_side(run: Run, filters: Any, apart: Apart, made: list[Tensor]) -> Tensor:
    """Return the responses of the colors, and of what is there without the image where rules give it a share."""
    if not run.conserves and bool(apart.rest.any()):  # shifts before the bank keep their share, as biases do
        with torch.no_grad():
            made.append(filters.forward(apart.rest))
    with run:
        return torch.cat(made, 1)


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


def _wide(module: Any, weight: Tensor, padding: Any) -> Any:
    """Return a convolution with the same weights on a wider support."""
    wide = module.__class__.__new__(module.__class__)
    wide.__dict__ = {**module.__dict__, "_parameters": {**module._parameters, "weight": weight}}
    wide.padding = padding
    return wide


def _kernels(bank: FilterBank, like: Tensor) -> Tensor:
    weight = torch.from_numpy(bank.weight.copy()).to(like)
    return weight[:, None].repeat(like.shape[1], 1, 1, 1)
