"""Padding that differs from side to side, and the convolutions that need it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

from edgefilter._checks import closest, pair

__all__ = ["PaddedConv2d", "Padding", "clean_padding", "clean_padding_mode", "convolution", "divide_padding"]

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
    >>> import torch
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
    pad, rest = divide_padding(padding, kernel_size, stride, dilation, padding_mode)
    conv = nn.Conv2d(*channels, kernel_size, stride, rest, dilation, bias=bias, padding_mode=padding_mode)
    if pad is None:
        return conv
    padded = PaddedConv2d.__new__(PaddedConv2d)
    padded.__dict__ = {**conv.__dict__, "_modules": {"pad": pad}}
    return padded


def divide_padding(
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


def clean_padding(padding: Padding) -> Padding:
    """Return a padding of any accepted form as words, two numbers or four."""
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


def clean_padding_mode(mode: str) -> PaddingMode:
    """Return a padding mode that is known."""
    for known in PADDING_MODES:
        if mode == known:
            return known
    raise ValueError(
        f"padding_mode must be one of {', '.join(PADDING_MODES)}; got {mode!r}{closest(mode, PADDING_MODES)}"
    )
