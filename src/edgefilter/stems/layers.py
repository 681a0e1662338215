"""Drop-in layers: a fixed filter bank, and the bank followed by a trainable mixing."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from edgefilter._checks import pair
from edgefilter.banks.bank import FilterBank
from edgefilter.banks.presets import get_bank

from .padding import Padding, clean_padding, clean_padding_mode, convolution, divide_padding

__all__ = ["EdgeFilterBank2d", "EdgeFilterConv2d", "as_bank", "copy_bias"]


_SEEN: WeakKeyDictionary[EdgeFilterBank2d, int] = (
    WeakKeyDictionary()
)  # version of the kernels that were looked at


class EdgeFilterBank2d(nn.Module):
    """Filter every color channel with every kernel of a bank; the kernels are fixed.

    Holds a plain, frozen ``nn.Conv2d(C, C*K, size, groups=C, bias=False)`` as ``conv``, so that libraries which
    test for the exact type (Captum's LRP) or modify parameters (Zennit's rules) work on it.

    Parameters
    ----------
    bank : FilterBank or str
        ``K`` kernels on one support of ``h x w`` pixels, or the name of a preset.
    in_channels : int
        Number of color channels ``C``.
    stride, dilation : int or (int, int), default: 1
    padding : int, (int, int), (int, int, int, int), "same" or "valid", default: 0
        As in ``nn.Conv2d``; four numbers pad the left, right, top and bottom side. ``"same"`` gives an output of
        ``ceil(input / stride)`` pixels for every stride.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}, default: "zeros"
        As in ``nn.Conv2d``. A kernel that sums to zero answers to the border of a zero-padded image.

    Attributes
    ----------
    bank : FilterBank
    conv : nn.Conv2d

    Notes
    -----
    The output is linear in the images, signed, in image units times kernel gain. Channel ``c*K + k`` is color
    ``c`` filtered by kernel ``k`` (correlation: kernels are not flipped).

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message says what does.

    Examples
    --------
    On a ramp that rises by 1 per column and 5 per row, Sobel answers 8 times the slope:

    >>> layer = EdgeFilterBank2d("sobel", in_channels=1)
    >>> ramp = torch.arange(25.0).reshape(1, 1, 5, 5)
    >>> layer(ramp)[0, :, 1, 1]
    tensor([ 8., 40.])
    """

    def __init__(
        self,
        bank: FilterBank | str,
        in_channels: int,
        stride: int | tuple[int, int] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, int] = 1,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        self.bank = as_bank(bank)
        self.in_channels = _positive(in_channels, "in_channels")
        self.padding = clean_padding(padding)
        self.padding_mode = clean_padding_mode(padding_mode)
        self.stride, self.dilation = pair(stride, "stride", 1), pair(dilation, "dilation", 1)
        self.pad, rest = divide_padding(
            self.padding, self.bank.shape, self.stride, self.dilation, self.padding_mode
        )
        self.conv = nn.Conv2d(
            self.in_channels,
            self.in_channels * len(self.bank),
            self.bank.shape,
            stride=self.stride,
            padding=rest,
            dilation=self.dilation,
            groups=self.in_channels,
            bias=False,
            padding_mode=self.padding_mode,
        )
        self.conv.weight.requires_grad_(False)
        self._restore_kernels()
        # Randomisation tests (Quantus) call this on every module that has it: a fixed bank stays.
        self.conv.reset_parameters = _keep_kernels  # type: ignore[method-assign]

    def forward(self, images: Tensor) -> Tensor:
        """Filter images of shape (N, C, H, W) to responses of shape (N, C*K, H', W').

        Raises RuntimeError if a training step or other weights changed the kernels.
        """
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            self._check_if_written()
        responses: Tensor = self.conv(images if self.pad is None else self.pad(images))
        return responses

    def pad_all(self, images: Tensor) -> Tensor:
        """Return images with all the borders that the layer puts around them, of whatever kind."""
        images = images if self.pad is None else self.pad(images)
        padding = self.conv._reversed_padding_repeated_twice
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return nn.functional.pad(images, padding, mode=mode)

    def kernels(self, dtype: torch.dtype) -> Tensor:
        """Return the bank's weights as the layer holds them, shape (C*K, 1, h, w)."""
        weight = torch.from_numpy(self.bank.weight.copy()).to(dtype)
        return weight[:, None].repeat(self.in_channels, 1, 1, 1)

    def check_kernels(self) -> None:
        """Raise if the layer no longer holds the kernels of its bank.

        Raises
        ------
        RuntimeError
            After a training step that unfroze them, or after loading the weights of another bank.
        """
        if not self._holds_kernels():
            raise RuntimeError(
                f"the kernels of {self.bank!r} must stay as they are; got changed ones in conv.weight. Keep them "
                "out of training (requires_grad_(False)) and out of load_state_dict of another bank, or build the "
                "layer again."
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> EdgeFilterBank2d:
        """Convert the layer; exact kernels are exact again afterwards, and changed ones stay changed."""
        exact = self.conv.weight.is_meta or self._holds_kernels()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if exact:
            self._restore_kernels()
        return self

    @torch.jit.unused
    def _check_if_written(self) -> None:
        """Look at the kernels if something wrote into them since the last look."""
        weight = self.conv.weight
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        traced = traced or not isinstance(weight, nn.Parameter)
        if traced or weight.is_meta or weight.is_inference() or weight._version == _SEEN.get(self):
            return
        self.check_kernels()
        _SEEN[self] = weight._version

    def _holds_kernels(self) -> bool:
        weight = self.conv.weight.detach()
        return torch.equal(weight, self.kernels(weight.dtype).to(weight.device))

    def _restore_kernels(self) -> None:
        with torch.no_grad():
            self.conv.weight.copy_(self.kernels(self.conv.weight.dtype))

    def extra_repr(self) -> str:
        """Show the bank and the number of colors."""
        return f"bank={self.bank.name!r}, kernels={len(self.bank)}, colors={self.in_channels}"


class EdgeFilterConv2d(nn.Module):
    """A bank of fixed edge filters followed by a trainable 1x1 mixing: takes the place of an ``nn.Conv2d``.

    Parameters
    ----------
    in_channels, out_channels : int
        ``C`` and the number of output channels.
    bank : FilterBank or str
        ``K`` kernels; a complete bank can represent every convolution of its size.
    stride, padding, dilation, padding_mode
        As in :class:`EdgeFilterBank2d`.
    bias : bool, default: True
        Whether the mixing has a bias.

    Attributes
    ----------
    filters : EdgeFilterBank2d
        Fixed; images (N, C, H, W) to responses (N, C*K, H', W').
    mixing : nn.Conv2d
        Trainable 1x1 convolution; responses to (N, out_channels, H', W').
    lost_energy : float or None
        Share of the squared weights of the replaced convolution that the bank could not represent, 0 to 1;
        None for a layer that replaced nothing.

    Examples
    --------
    >>> layer = EdgeFilterConv2d(3, 16, "edges", padding=1)
    >>> layer(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 16, 8, 8])
    >>> layer.fold()
    Conv2d(3, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bank: FilterBank | str,
        stride: int | tuple[int, int] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        self.filters = EdgeFilterBank2d(bank, in_channels, stride, padding, dilation, padding_mode)
        responses = in_channels * len(self.filters.bank)
        self.mixing = nn.Conv2d(responses, _positive(out_channels, "out_channels"), 1, bias=bias)
        self.lost_energy: float | None = None

    # torch.jit.script would compile properties; forward needs none of them.
    __jit_unused_properties__: ClassVar[list[str]] = [
        "bank", "weight", "bias", "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups",
        "padding_mode",
    ]  # fmt: skip

    @property
    def bank(self) -> FilterBank:
        """The bank of the fixed filters."""
        return self.filters.bank

    @property
    def weight(self) -> Tensor:
        """The weights of the convolution that the layer computes, shape (out_channels, C, h, w)."""
        shares = torch.unflatten(self.mixing.weight.flatten(1), 1, (self.filters.in_channels, -1))
        kernels = torch.from_numpy(self.bank.weight.copy()).to(shares)
        return torch.einsum("ock,khw->ochw", shares, kernels)

    @property
    def bias(self) -> Tensor | None:
        """The bias of the mixing."""
        return self.mixing.bias

    @property
    def in_channels(self) -> int:
        """Number of color channels."""
        return self.filters.in_channels

    @property
    def out_channels(self) -> int:
        """Number of output channels."""
        return self.mixing.out_channels

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Height and width of the kernels."""
        return self.bank.shape

    @property
    def stride(self) -> tuple[int, int]:
        """Vertical and horizontal stride."""
        return self.filters.stride

    @property
    def padding(self) -> Padding:
        """Padding, as in ``nn.Conv2d``; four numbers for the left, right, top and bottom side."""
        return self.filters.padding

    @property
    def dilation(self) -> tuple[int, int]:
        """Vertical and horizontal dilation."""
        return self.filters.dilation

    @property
    def groups(self) -> int:
        """1: every output channel reads every color."""
        return 1

    @property
    def padding_mode(self) -> str:
        """How borders are padded."""
        return self.filters.padding_mode

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch.nn's own name
        """Filter and mix images of shape (N, C, H, W) to (N, out_channels, H', W')."""
        mixed: Tensor = self.mixing(self.filters(input))
        return mixed

    def fold(self) -> nn.Conv2d:
        """Return the same function as one dense convolution, which costs nothing extra at inference.

        Returns
        -------
        conv : nn.Conv2d
            Same shapes, dtype, device, training and ``requires_grad`` flags; its weights are sums of kernels
            weighted by the mixing, computed in float64. A subclass of ``nn.Conv2d`` where the padding differs
            from side to side.
        """
        filters, mixing = self.filters, self.mixing
        filters.check_kernels()
        with torch.random.fork_rng(devices=()):  # a layer draws weights before it gets its own
            conv = convolution(
                (filters.in_channels, mixing.out_channels),
                filters.bank.shape,
                filters.stride,
                filters.padding,
                filters.dilation,
                filters.padding_mode,
                bias=mixing.bias is not None,
            )
        conv = conv.to(mixing.weight.device, mixing.weight.dtype)
        shares = mixing.weight.detach().double().reshape(mixing.out_channels, filters.in_channels, -1)
        kernels = torch.from_numpy(filters.bank.weight.copy()).to(shares)
        with torch.no_grad():
            conv.weight.copy_(torch.einsum("ock,khw->ochw", shares, kernels))
        conv.weight.requires_grad_(mixing.weight.requires_grad)
        copy_bias(mixing, conv)
        return conv.train(self.training)


def copy_bias(source: nn.Conv2d, target: nn.Conv2d) -> None:
    """Give a convolution the bias of another, if there is one, and its ``requires_grad``."""
    if source.bias is not None and target.bias is not None:
        with torch.no_grad():
            target.bias.copy_(source.bias)
        target.bias.requires_grad_(source.bias.requires_grad)


def as_bank(bank: FilterBank | str) -> FilterBank:
    """Return a bank given by itself or by its name."""
    if isinstance(bank, str):
        return get_bank(bank)
    if not isinstance(bank, FilterBank):
        raise TypeError(
            f"bank must be a FilterBank or the name of one; got {type(bank).__name__}. "
            "Pass for example get_bank('edges')."
        )
    return bank


def _keep_kernels() -> None:
    """Stand in for ``reset_parameters`` of a convolution whose weights are fixed."""


def _positive(value: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer >= 1; got {value!r}. Pass for example {name}=3.")
    return value
