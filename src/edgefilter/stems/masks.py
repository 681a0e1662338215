"""Groups of features for Captum's perturbation methods: all of one color, or all of one filter."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from edgefilter._checks import closest
from edgefilter.banks.colors import ColorGroups, as_colors

from .responses import bank_of

__all__ = ["color_mask", "filter_mask"]

PLACES = ("responses", "inputs")


def color_mask(
    layer: nn.Module, *, of: Literal["responses", "inputs"] = "responses", colors: ColorGroups = None
) -> Tensor:
    """Give each channel the number of its color, for methods of Captum that take away one color at a time.

    Parameters
    ----------
    layer : EdgeFilterBank2d or EdgeFilterConv2d
    of : {"responses", "inputs"}, default: "responses"
        ``"responses"``: a ``layer_mask`` of the bank's output, for ``LayerFeatureAblation``. ``"inputs"``: a
        ``feature_mask`` of the images, for ``FeatureAblation``, ``ShapleyValueSampling``, ``KernelShap``, ...
    colors : sequence of str or mapping, optional
        As in :class:`edgefilter.EdgeFilterAttribution`: groups of channels are taken away together.

    Returns
    -------
    mask : Tensor of int64, shape (1, C*K, 1, 1) or (1, C, 1, 1)
        The index of each channel's color or group, on the device of the layer. The leading 1 stands for every image, also
        inside ``NoiseTunnel``.

    Raises
    ------
    TypeError, ValueError, KeyError
        If ``layer`` is no edge-filter layer, ``of`` is unknown, or the colors do not fit its channels.

    Examples
    --------
    >>> import edgefilter as ef
    >>> layer = ef.EdgeFilterConv2d(3, 16, "sobel")
    >>> color_mask(layer).flatten(), color_mask(layer, of="inputs").flatten()
    (tensor([0, 0, 1, 1, 2, 2]), tensor([0, 1, 2]))
    >>> color_mask(layer, of="inputs", colors={"warm": ["red", "green"], "cold": ["blue"]}).flatten()
    tensor([0, 0, 1])
    """
    if of not in PLACES:
        raise ValueError(f"of must be one of {', '.join(PLACES)}; got {of!r}{closest(str(of), PLACES)}")
    bank = bank_of(layer)
    membership = torch.from_numpy(as_colors(colors).membership(bank.in_channels))
    found = membership.argmax(1).to(bank.conv.weight.device)
    each = len(bank.bank) if of == "responses" else 1
    return found.repeat_interleave(each).reshape(1, -1, 1, 1)


def filter_mask(layer: nn.Module) -> Tensor:
    """Give each channel of the output the number of its filter, for methods that take away one filter at a time.

    Parameters
    ----------
    layer : EdgeFilterBank2d or EdgeFilterConv2d

    Returns
    -------
    mask : Tensor of int64, shape (1, C*K, 1, 1)
        The index of each channel's filter, on the device of the layer: a ``layer_mask`` of the bank's output.

    Raises
    ------
    TypeError
        If ``layer`` is no edge-filter layer.

    Examples
    --------
    >>> import edgefilter as ef
    >>> filter_mask(ef.EdgeFilterConv2d(3, 16, "sobel")).flatten()
    tensor([0, 1, 0, 1, 0, 1])
    """
    bank = bank_of(layer)
    filters = torch.arange(len(bank.bank), device=bank.conv.weight.device)
    return filters.repeat(bank.in_channels).reshape(1, -1, 1, 1)
