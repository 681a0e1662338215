"""The responses of an edge-filter layer: its bank, and the axes of what it returns."""

from __future__ import annotations

from torch import Tensor, nn

from .layers import EdgeFilterBank2d, EdgeFilterConv2d

__all__ = ["bank_of", "by_color"]


def bank_of(layer: nn.Module) -> EdgeFilterBank2d:
    """Return the filter bank of an edge-filter layer, or of a part of a model that was split at it.

    Raises
    ------
    TypeError
        If ``layer`` is another module.

    Examples
    --------
    >>> bank_of(EdgeFilterConv2d(3, 16, "sobel"))
    EdgeFilterBank2d(
      bank='sobel', kernels=2, colors=3
      (conv): Conv2d(3, 6, kernel_size=(3, 3), stride=(1, 1), groups=3, bias=False)
    )
    """
    if isinstance(layer, EdgeFilterConv2d):
        return layer.filters
    if isinstance(own := getattr(layer, "bank", None), EdgeFilterBank2d):  # of a part
        return own
    if not isinstance(layer, EdgeFilterBank2d):
        raise TypeError(
            f"layer must be an EdgeFilterBank2d or an EdgeFilterConv2d; got {type(layer).__name__}. "
            "Pass the layer that replace_stem(model) put in, model.get_submodule(find_stem(model))."
        )
    return layer


def by_color(attributions: Tensor, bank: EdgeFilterBank2d) -> Tensor:
    """Return attributions of a bank's output in the shape (N, C, K, H', W').

    Raises
    ------
    TypeError, ValueError
        If they are no floating-point tensor of shape (N, C*K, H', W') or (N, C, K, H', W').

    Examples
    --------
    >>> import torch
    >>> by_color(torch.zeros(1, 6, 4, 4), EdgeFilterBank2d("sobel", 3)).shape
    torch.Size([1, 3, 2, 4, 4])
    """
    colors, filters = bank.in_channels, len(bank.bank)
    if not isinstance(attributions, Tensor) or not attributions.is_floating_point():
        kind = attributions.dtype if isinstance(attributions, Tensor) else type(attributions).__name__
        raise TypeError(
            f"attributions must be a floating-point tensor; got {kind}. "
            "Pass what a layer attribution of the bank returns."
        )
    shape = tuple(attributions.shape)
    if (len(shape) == 4 and shape[1] == colors * filters) or (
        len(shape) == 5 and shape[1:3] == (colors, filters)
    ):
        return attributions.reshape(shape[0], colors, filters, *shape[-2:])
    raise ValueError(
        f"attributions must have shape (N, {colors * filters}, height, width) or (N, {colors}, {filters}, height, "
        f"width), for {colors} colors and {filters} filters; got {shape}. Attribute the output of the bank itself "
        "(the layer's .filters), by a method that keeps its channels."
    )
