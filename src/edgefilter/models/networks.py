"""The paper's kind of network: fixed edge filters as the first layer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from edgefilter._checks import closest
from edgefilter.banks.bank import FilterBank
from edgefilter.stems.layers import EdgeFilterBank2d, EdgeFilterConv2d, as_bank

from .preprocessing import Preprocessing

__all__ = ["EdgeNetwork", "SplitReLU", "edge_cnn", "edge_resnet18", "edge_resnet50"]

SIGNS = ("split", "relu")
RESNET_WIDTH = 64  # channels that torchvision's stem hands to its first block


class SplitReLU(nn.Module):
    """Rectify both signs (CReLU): the positive parts of all channels, then the sizes of their negative parts.

    Examples
    --------
    >>> SplitReLU()(torch.tensor([[[[2.0, -3.0]]]])).flatten()
    tensor([2., 0., 0., 3.])
    """

    def forward(self, responses: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 2C, H, W)."""
        return torch.cat([responses, -responses], 1).relu_()


class EdgeNetwork(nn.Sequential):
    """A classifier whose first layer is a bank of fixed filters: what this module's functions return.

    Attributes
    ----------
    class_names : tuple of str or None
        One for each output; None for a network that is not trained yet.
    preprocess : Preprocessing or None
        From a photo to the input, Tensor of shape (1, C, H, W).
    """

    class_names: tuple[str, ...] | None = None
    preprocess: Preprocessing | None = None


def edge_cnn(
    num_classes: int,
    in_channels: int,
    bank: FilterBank | str = "edges",
    *,
    mixing: bool = False,
    signs: str = "split",
    widths: Sequence[int] = (32, 32, 48, 64),
) -> EdgeNetwork:
    """Build a small classifier on a bank of fixed filters.

    Parameters
    ----------
    num_classes : int
        Number of outputs.
    in_channels : int
        Number of color channels.
    bank : FilterBank or str, default: "edges"
        Each of its ``K`` kernels filters each color.
    mixing : bool, default: False
        Whether a trainable 1x1 convolution mixes the ``C*K`` responses to ``widths[0]`` channels before they are
        rectified. Without it the channels of the first layer *are* the pairs of color and filter.
    signs : {"split", "relu"}, default: "split"
        Without mixing, what becomes of negative responses: channels of their own, or zero.
    widths : sequence of int, default: (32, 32, 48, 64)
        Channels of the trainable 3x3 convolutions; every second one is followed by max pooling.

    Returns
    -------
    network : EdgeNetwork
        With random weights, in training mode, for images of any size from 8 x 8 pixels. Optimizers over its parameters
        leave the kernels alone.

    Notes
    -----
    The layout is our reading of Jung & Kwon (2020), whose own is not public. BatchNorm follows the filters; without
    mixing it has no trainable scale and shift, so that nothing before the second layer is trained, and training needs no
    gradients there. The responses are averaged over 2x2 pixels, not their maximum taken, which on flat ground is that of an
    arbitrary pixel and makes patterns in explanations.

    Raises
    ------
    ValueError, TypeError, KeyError
        If an argument does not fit; the message says what does.

    Examples
    --------
    >>> network = edge_cnn(10, in_channels=1)
    >>> network(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    >>> [name for name, _ in network.stem.named_children()]
    ['filters', 'norm', 'signs', 'pool']
    >>> network.stem(torch.zeros(2, 1, 28, 28)).shape  # 18 filters, two signs
    torch.Size([2, 36, 14, 14])
    """
    widths = [_positive(width, "widths") for width in widths]
    if not widths:
        raise ValueError(f"widths must name a layer or more; got {widths!r}. Pass for example (32, 64).")
    stem, channels = _stem(in_channels, bank, widths[0] if mixing else None, signs, 1, nn.AvgPool2d(2))
    layers: list[nn.Module] = []
    for i, width in enumerate(widths):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        if i % 2 and i + 1 < len(widths):
            layers.append(nn.MaxPool2d(2))
        channels = width
    head = nn.Linear(channels, _positive(num_classes, "num_classes"))
    return _network(stem=stem, body=nn.Sequential(*layers), avgpool=nn.AdaptiveAvgPool2d(1), fc=head)


def edge_resnet18(
    num_classes: int = 1000,
    in_channels: int = 3,
    bank: FilterBank | str = "edges",
    *,
    mixing: bool = False,
    signs: str = "split",
) -> EdgeNetwork:
    """Build torchvision's ResNet-18 with a bank of fixed filters as its first layer.

    Parameters
    ----------
    num_classes, in_channels, bank, mixing, signs
        As for :func:`edge_cnn`. Mixing gives the 64 channels of torchvision's first layer; without it the first
        block is widened to take the responses.

    Returns
    -------
    network : EdgeNetwork
        With random weights, in training mode. ``layer2`` to ``fc`` have the names and shapes of torchvision's.

    Raises
    ------
    ValueError, TypeError, KeyError
        As for :func:`edge_cnn`.

    Examples
    --------
    >>> network = edge_resnet18(5, bank="sobel")
    >>> network.eval()(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 5])
    """
    return _resnet(torchvision.models.resnet18, num_classes, in_channels, bank, mixing, signs)


def edge_resnet50(
    num_classes: int = 1000,
    in_channels: int = 3,
    bank: FilterBank | str = "edges",
    *,
    mixing: bool = False,
    signs: str = "split",
) -> EdgeNetwork:
    """Build torchvision's ResNet-50 with a bank of fixed filters as its first layer.

    Parameters
    ----------
    num_classes, in_channels, bank, mixing, signs
        As for :func:`edge_resnet18`.

    Returns
    -------
    network : EdgeNetwork
        With random weights, in training mode.

    Raises
    ------
    ValueError, TypeError, KeyError
        As for :func:`edge_cnn`.

    Examples
    --------
    >>> network = edge_resnet50(5, mixing=True)
    >>> network.stem.filters.mixing
    Conv2d(54, 64, kernel_size=(1, 1), stride=(1, 1), bias=False)
    """
    return _resnet(torchvision.models.resnet50, num_classes, in_channels, bank, mixing, signs)


def _network(**parts: nn.Module) -> EdgeNetwork:
    """Join the parts, with the features flattened before the last one."""
    *features, (name, head) = parts.items()
    return EdgeNetwork(OrderedDict([*features, ("flatten", nn.Flatten()), (name, head)]))


def _stem(
    in_channels: int,
    bank: FilterBank | str,
    mixed: int | None,
    signs: str,
    stride: int,
    pool: nn.Module,
) -> tuple[nn.Sequential, int]:
    """Return the first layers, and their number of output channels."""
    if signs not in SIGNS:
        raise ValueError(f"signs must be one of {', '.join(SIGNS)}; got {signs!r}{closest(signs, SIGNS)}")
    kernels = as_bank(bank)
    options: dict[str, Any] = {"stride": stride, "padding": "same", "padding_mode": "replicate"}
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if mixed is not None:
        layers["filters"] = EdgeFilterConv2d(in_channels, mixed, kernels, bias=False, **options)
        layers["norm"] = nn.BatchNorm2d(mixed)
    else:
        layers["filters"] = EdgeFilterBank2d(kernels, in_channels, **options)
        layers["norm"] = nn.BatchNorm2d(in_channels * len(kernels), affine=False)
    split = mixed is None and signs == "split"
    layers["signs" if split else "relu"] = SplitReLU() if split else nn.ReLU()
    layers["pool"] = pool
    channels = mixed or in_channels * len(kernels) * (2 if split else 1)
    return nn.Sequential(layers), channels


def _resnet(
    build: Callable[..., nn.Module],
    num_classes: int,
    in_channels: int,
    bank: FilterBank | str,
    mixing: bool,
    signs: str,
) -> EdgeNetwork:
    pool = nn.MaxPool2d(3, 2, 1)
    stem, channels = _stem(in_channels, bank, RESNET_WIDTH if mixing else None, signs, 2, pool)
    body: Any = build(num_classes=_positive(num_classes, "num_classes"))
    if channels != RESNET_WIDTH:
        body.layer1[0] = _widened(type(body.layer1[0]), channels)
    kept = ("layer1", "layer2", "layer3", "layer4", "avgpool", "fc")
    return _network(stem=stem, **{name: getattr(body, name) for name in kept})


def _widened(kind: type[BasicBlock | Bottleneck], channels: int) -> nn.Module:
    """Return the first block of a ResNet for another number of channels, initialised as torchvision's."""
    outputs = RESNET_WIDTH * kind.expansion
    shortcut = nn.Sequential(conv1x1(channels, outputs), nn.BatchNorm2d(outputs))
    block: nn.Module = kind(channels, RESNET_WIDTH, downsample=shortcut)
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return block


def _positive(value: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer >= 1; got {value!r}. Pass for example 10.")
    return value
