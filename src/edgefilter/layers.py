"""Drop-in layers: a fixed filter bank, and the bank followed by a trainable mixing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._checks import closest, pair
from .banks import FilterBank, get_bank

__all__ = ["EdgeFilterBank2d", "EdgeFilterConv2d", "PaddedConv2d", "Padding"]

Padding: TypeAlias = int | tuple[int, int] | tuple[int, int, int, int] | Literal["same", "valid"]

PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]

PADDING_MODES: tuple[PaddingMode, ...] = ("zeros", "reflect", "replicate", "circular")


class Padding2d(nn.Module):
    """Pad the four sides of an image differently, by fixed numbers or to TensorFlow's "same" size.

    Parameters
    ----------
    sides : (int, int, int, int) or "same"
        Pixels on the left, right, top and bottom side, or ``"same"``: as much as makes the output of the
        convolution after it ``ceil(input / stride)`` pixels large, the odd pixel on the right and at the bottom.
    kernel_size, stride, dilation : (int, int)
        Of that convolution, (vertical, horizontal).
    padding_mode : {"zeros", "reflect", "replicate", "circular"}

    Examples
    --------
    >>> Padding2d("same", (3, 3), (2, 2), (1, 1))(torch.zeros(1, 1, 224, 223)).shape
    torch.Size([1, 1, 225, 225])
    """

    def __init__(
        self,
        sides: tuple[int, int, int, int] | Literal["same"],
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        dilation: tuple[int, int],
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        self.sides = sides
        self.kernel_size, self.stride, self.dilation = kernel_size, stride, dilation
        self.padding_mode = padding_mode

    def forward(self, images: Tensor) -> Tensor:
        """Pad images of shape (N, C, H, W)."""
        sides = self._same(images) if self.sides == "same" else self.sides
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        padded: Tensor = F.pad(images, sides, mode=mode)
        return padded

    def extra_repr(self) -> str:
        """Show the sides and the mode."""
        return f"sides={self.sides!r}, padding_mode={self.padding_mode!r}"

    def _same(self, images: Tensor) -> tuple[int, ...]:
        sides: list[int] = []
        for axis in (1, 0):
            size, stride = images.shape[2 + axis], self.stride[axis]
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            sides += [total // 2, total - total // 2]
        return tuple(sides)


class PaddedConv2d(nn.Conv2d):
    """A convolution with a padding of its own before it, where ``nn.Conv2d`` can only pad both sides alike."""

    pad: Padding2d | None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch.nn's own name
        """Pad, then convolve; shapes as in ``nn.Conv2d``."""
        padded = input if self.pad is None else self.pad(input)
        output: Tensor = self._conv_forward(padded, self.weight, self.bias)
        return output


def convolution(
    channels: tuple[int, int],
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    padding_mode: PaddingMode,
    *,
    bias: bool,
) -> nn.Conv2d:
    """Return a dense convolution from and to so many channels that pads as an :class:`EdgeFilterBank2d` does."""
    pad, rest = _divided(padding, kernel_size, stride, dilation, padding_mode)
    conv = nn.Conv2d(*channels, kernel_size, stride, rest, dilation, bias=bias, padding_mode=padding_mode)
    if pad is None:
        return conv
    padded = PaddedConv2d.__new__(PaddedConv2d)
    padded.__dict__ = {**conv.__dict__, "_modules": {"pad": pad}}
    return padded


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
        self.padding = _padding(padding)
        self.padding_mode = _padding_mode(padding_mode)
        self.stride, self.dilation = pair(stride, "stride", 1), pair(dilation, "dilation", 1)
        self.pad, rest = _divided(
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
        """Filter images of shape (N, C, H, W) to responses of shape (N, C*K, H', W')."""
        responses: Tensor = self.conv(images if self.pad is None else self.pad(images))
        return responses

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
        weight = self.conv.weight.detach()
        if not torch.equal(weight, self.kernels(weight.dtype).to(weight.device)):
            raise RuntimeError(
                f"the kernels of {self.bank!r} must stay as they are; got changed ones in conv.weight. Keep them "
                "out of training (requires_grad_(False)) and out of load_state_dict of another bank, or build the "
                "layer again."
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> EdgeFilterBank2d:
        """Convert the layer; the kernels are exact again afterwards, however coarse the dtype was before."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._restore_kernels()
        return self

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

    @property
    def bank(self) -> FilterBank:
        """The bank of the fixed filters."""
        return self.filters.bank

    def forward(self, images: Tensor) -> Tensor:
        """Filter and mix images of shape (N, C, H, W) to (N, out_channels, H', W')."""
        mixed: Tensor = self.mixing(self.filters(images))
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


def _divided(
    padding: Padding,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding_mode: PaddingMode,
) -> tuple[Padding2d | None, int | tuple[int, int] | Literal["same", "valid"]]:
    """Return the module that pads what ``nn.Conv2d`` cannot, if it must, and what is left for it to pad."""
    if (padding == "same" and stride != (1, 1)) or (isinstance(padding, tuple) and len(padding) == 4):
        return Padding2d(padding, kernel_size, stride, dilation, padding_mode), 0
    return None, padding


def _padding(padding: Padding) -> Padding:
    if padding in ("same", "valid"):
        return padding
    if isinstance(padding, (tuple, list)) and len(padding) == 4:
        left, right, top, bottom = padding
        return (*pair((left, right), "padding", 0), *pair((top, bottom), "padding", 0))
    if isinstance(padding, str):
        raise ValueError(
            f"padding must be 'same', 'valid' or numbers of pixels; got {padding!r}{closest(padding, ('same', 'valid'))}"
        )
    return pair(padding, "padding", 0)


def _padding_mode(mode: str) -> PaddingMode:
    for known in PADDING_MODES:
        if mode == known:
            return known
    raise ValueError(
        f"padding_mode must be one of {', '.join(PADDING_MODES)}; got {mode!r}{closest(mode, PADDING_MODES)}"
    )
