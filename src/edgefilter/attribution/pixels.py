"""From relevance at a bank's output to the pixels, by the rule of the default composite."""

from __future__ import annotations

import torch
from torch import Tensor

from edgefilter.lrp.composites import DEFAULT, get_composite
from edgefilter.lrp.linear_maps import linear_map
from edgefilter.lrp.rules import Rule
from edgefilter.lrp.standins import FilterBankConv2d, layer_like
from edgefilter.lrp.surroundings import own_modes
from edgefilter.stems.layers import EdgeFilterBank2d

from .starting import plain

__all__ = ["to_pixels"]


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
    with own_modes(response, grad=True):
        return _to_pixels(plain(response).flatten(1, 2), bank, inputs)


def _to_pixels(relevance: Tensor, bank: EdgeFilterBank2d, inputs: Tensor) -> Tensor:
    weight = bank.kernels(relevance.dtype).to(relevance.device)
    settings = {name: value for name, value in vars(bank.conv).items() if not name.startswith("_")}
    module = layer_like(FilterBankConv2d, weight, None, **settings)
    images = _blank(inputs, bank, relevance).requires_grad_()
    padded = bank.pad_all(images)
    module.__dict__.update(
        present=bank.pad_all(torch.ones_like(images)).detach(), padding=(0, 0), padding_mode="zeros"
    )
    layer = linear_map(module)
    made = layer.run(padded.detach())
    if made.shape != relevance.shape:
        raise ValueError(
            f"inputs must be the images that were attributed; got {tuple(inputs.shape)}, which the bank turns "
            f"into responses of {tuple(made.shape[2:])} places, not {tuple(relevance.shape[2:])}. Pass the same batch."
        )
    rule = get_composite(DEFAULT).module_map({}, "", module)
    assert isinstance(rule, Rule)
    shares = rule.relevance(layer, padded.detach(), relevance)
    (pixel,) = torch.autograd.grad(padded, images, shares)
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
