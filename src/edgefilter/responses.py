"""What any relevance at a bank's output needs: the bank, its colors and filters, and its rule down to the pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .composites import DEFAULT, get_composite
from .graph import own_modes
from .layers import EdgeFilterBank2d, EdgeFilterConv2d
from .twins import twin_of

__all__ = ["bank_of", "by_color", "to_pixels"]


def bank_of(layer: nn.Module) -> EdgeFilterBank2d:
    """Return the filter bank of an edge-filter layer.

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


def to_pixels(response: Tensor, bank: EdgeFilterBank2d, inputs: Tensor) -> Tensor:
    """Hand relevance at a bank's output down to the pixels, by the rule that the default composite has for banks.

    Parameters
    ----------
    response : Tensor, shape (N, C, K, H', W')
    bank : EdgeFilterBank2d
    inputs : Tensor, shape (N, C, H, W)
        The images; the rule looks at their shape only.

    Returns
    -------
    pixel : Tensor, shape (N, C, H, W)

    Raises
    ------
    ValueError
        If the images do not give responses of this shape.

    Examples
    --------
    >>> bank = EdgeFilterBank2d("sobel", 3)
    >>> to_pixels(torch.ones(1, 3, 2, 4, 4), bank, torch.rand(1, 3, 6, 6)).sum()
    tensor(96.)
    """
    twin = twin_of(bank)
    weight = bank.kernels(response.dtype).to(response.device)
    twin._parameters["weight"] = nn.Parameter(weight, requires_grad=False)  # noqa: SLF001 - typed as a module
    with own_modes(response, grad=True):
        relevance = response.detach().clone().flatten(1, 2)
        images = _blank(inputs, bank, relevance).requires_grad_()
        with get_composite(DEFAULT).context(nn.Sequential(twin)):
            made = twin(images)
            if made.shape != relevance.shape:
                raise ValueError(
                    f"inputs must be the images that were attributed; got {tuple(inputs.shape)}, which the bank turns "
                    f"into responses of {tuple(made.shape[2:])} places, not {tuple(relevance.shape[2:])}. Pass the same batch."
                )
            (pixel,) = torch.autograd.grad(made, images, relevance)
    return pixel.contiguous()


def _blank(inputs: Tensor, bank: EdgeFilterBank2d, relevance: Tensor) -> Tensor:
    """Return images of the same shape, and of the dtype and on the device of the relevance."""
    shape = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
    if not isinstance(inputs, Tensor) or inputs.dim() != 4 or shape[:2] != (len(relevance), bank.in_channels):
        raise ValueError(
            f"inputs must have shape ({len(relevance)}, {bank.in_channels}, height, width), as the attributions; got "
            f"{shape}. Pass the images that were attributed."
        )
    return torch.zeros(inputs.shape, dtype=relevance.dtype, device=relevance.device)
