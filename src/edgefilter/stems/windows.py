"""How the responses of a bank lie on the image: which pixels each of them sees, and how much of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .layers import EdgeFilterBank2d

__all__ = ["Window", "nearest_places", "window_of_layer"]


class Window(NamedTuple):
    """What the responses of a bank see of the image.

    Attributes
    ----------
    shares : Tensor, shape (K, h, w), float64
        How much of each place under a kernel belongs to it, not negative: its squared weights for the w-square rule.
    pixels : Tensor, shape (H", W"), int64
        The number ``row * W + column`` of the pixel at each place that the kernels run over, borders included; -1 where there is none.
    stride, dilation : (int, int)
        Of the kernels, in such places.
    size : (int, int)
        Height and width of the image, ``(H, W)``.
    """

    shares: Tensor
    pixels: Tensor
    stride: tuple[int, int]
    dilation: tuple[int, int]
    size: tuple[int, int]

    @property
    def places(self) -> tuple[int, int]:
        """Height and width of a response."""
        height, width = (
            (whole - dilation * (kernel - 1) - 1) // stride + 1
            for whole, kernel, stride, dilation in zip(
                self.pixels.shape, self.shares.shape[1:], self.stride, self.dilation, strict=True
            )
        )
        return height, width


def nearest_places(places: Sequence[int], size: Sequence[int]) -> Tensor:
    """Return the pixel under the middle of each place of a map that is spread over an image.

    Parameters
    ----------
    places, size : (int, int)
        Height and width of the map, and of the image.

    Returns
    -------
    pixels : Tensor, shape ``places``, int64
        Their numbers, ``row * width + column``.

    Examples
    --------
    >>> nearest_places((2, 2), (4, 6))
    tensor([[ 7, 10],
            [19, 22]])
    """
    rows, columns = (
        (2 * torch.arange(few) + 1) * many // (2 * few) for few, many in zip(places, size, strict=True)
    )
    return rows[:, None] * size[1] + columns


def window_of_layer(bank: EdgeFilterBank2d, size: tuple[int, int]) -> Window:
    """Return what the responses of a layer see of an image that it reads itself.

    Examples
    --------
    >>> window = window_of_layer(EdgeFilterBank2d("sobel", 3, stride=2, padding=1), (4, 4))
    >>> window.places, window.pixels[0].tolist(), window.pixels[1].tolist()
    ((2, 2), [-1, -1, -1, -1, -1, -1], [-1, 0, 1, 2, 3, -1])
    """
    numbers = torch.arange(1, size[0] * size[1] + 1, dtype=torch.float64).reshape(1, 1, *size)
    pixels = bank.pad_all(numbers)[0, 0].long() - 1  # a border of zeros becomes -1
    weight = torch.from_numpy(bank.bank.weight.copy())
    return Window(weight.square(), pixels, bank.stride, bank.dilation, size)
