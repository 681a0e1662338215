"""The paper's kind of network: fixed edge filters as the first layer, with trained weights for digits and fruits.

Examples
--------
>>> import edgefilter as ef
>>> digits = ef.models.load("digits")
>>> attribution = ef.EdgeFilterAttribution(digits)
>>> attribution.attribute(torch.rand(1, 1, 28, 28), target=7, score="edge").shape
torch.Size([1, 18])
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1
from torchvision.transforms import functional as F

from ._checks import UnknownNameError, closest
from .banks import FilterBank
from .layers import EdgeFilterBank2d, EdgeFilterConv2d, as_bank

__all__ = [
    "EdgeNetwork",
    "Preprocessing",
    "SplitReLU",
    "edge_cnn",
    "edge_resnet18",
    "edge_resnet50",
    "load",
    "names",
    "read",
    "write",
]

WEIGHTS = Path(__file__).parent / "weights"
FORMAT = "edgefilter network 1"
SIGNS = ("split", "relu")
RESNET_WIDTH = 64  # channels that torchvision's stem hands to its first block


@dataclass(frozen=True)
class Preprocessing:
    """From a photo to the input of a network: resized, cropped to the square in the middle, and normalised.

    Parameters
    ----------
    size : int
        Height and width of the input in pixels.
    channels : int
        1 for gray, 3 for red, green and blue.
    mean, std : tuple of float
        What is taken off values from 0 to 1, and what they are divided by; one per channel.
    resized : int, optional
        The photo's short side before the crop; default: ``size``.

    Examples
    --------
    >>> white = Image.new("RGB", (40, 30), "white")
    >>> Preprocessing(28, 1, (0.0,), (1.0,))(white).shape
    torch.Size([1, 1, 28, 28])
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resized: int | None = None

    def __call__(self, photo: Image.Image) -> Tensor:
        """Return a photo as a Tensor of shape (1, channels, size, size)."""
        picture = photo.convert("L" if self.channels == 1 else "RGB")
        picture = F.resize(picture, [self.resized or self.size], F.InterpolationMode.BILINEAR)
        picture = F.center_crop(picture, [self.size, self.size])
        inputs: Tensor = F.normalize(F.to_tensor(picture), self.mean, self.std)[None]
        return inputs


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


def names() -> list[str]:
    """Return the names that ``load`` takes.

    Examples
    --------
    >>> names()
    ['digits', 'fruits']
    """
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def load(name: str) -> EdgeNetwork:
    """Return a trained network that comes with this package; nothing is downloaded.

    Parameters
    ----------
    name : str
        One of :func:`names`: "digits" (MNIST, gray, 28 x 28 pixels) or "fruits" (24 classes of Fruits-360, color).

    Returns
    -------
    network : EdgeNetwork
        In evaluation mode, with its ``class_names`` and ``preprocess``.

    Raises
    ------
    KeyError
        If the name is unknown.

    Notes
    -----
    The page *Networks* of the documentation has the model cards: data, licence, accuracy and limits.

    Examples
    --------
    >>> digits = load("digits")
    >>> digits.class_names
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    >>> digits(digits.preprocess(Image.new("RGB", (28, 28)))).shape
    torch.Size([1, 10])
    """
    if name not in names():
        raise UnknownNameError(
            f"unknown network {name!r}{closest(name, names())} models.names() lists those that come with edgefilter: "
            f"{', '.join(names())}."
        )
    return read(WEIGHTS / f"{name}.safetensors")


def read(path: str | Path) -> EdgeNetwork:
    """Read a network that ``write`` wrote; code in the file is never run.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    network : EdgeNetwork
        In evaluation mode.

    Raises
    ------
    ValueError, FileNotFoundError
        If the file is none of ours, or not there.

    Examples
    --------
    >>> read(WEIGHTS / "digits.safetensors").preprocess.size
    28
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as cause:
        raise ValueError(
            f"path must be a safetensors file; got {str(path)!r}: {cause}. Pass one that models.write wrote."
        ) from cause
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"path must be a file of models.write; got {str(path)!r}, which says nothing about its network. "
            "Load the weights into a network of your own with load_state_dict."
        )
    settings = json.loads(metadata["network"])
    network = BUILDERS[settings.pop("model")](**settings)
    network.load_state_dict(state)
    network.class_names = tuple(json.loads(metadata["classes"]))
    preprocessing = json.loads(metadata["preprocessing"])
    mean, std = (tuple(preprocessing.pop(key)) for key in ("mean", "std"))
    network.preprocess = Preprocessing(mean=mean, std=std, **preprocessing)
    return network.eval()


def write(
    network: EdgeNetwork,
    path: str | Path,
    settings: dict[str, Any],
    class_names: Sequence[str],
    preprocess: Preprocessing,
) -> None:
    """Write a trained network to a safetensors file, with all that is needed to use it.

    Parameters
    ----------
    network : EdgeNetwork
    path : str or Path
        Overwritten.
    settings : dict
        Under ``"model"`` the name of the function that built the network, and its arguments, with the bank by name.
    class_names : sequence of str
        One for each output.
    preprocess : Preprocessing

    Examples
    --------
    >>> import tempfile
    >>> network = edge_cnn(2, in_channels=1, bank="sobel")
    >>> settings = {"model": "edge_cnn", "num_classes": 2, "in_channels": 1, "bank": "sobel"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "mine.safetensors")
    ...     write(network, path, settings, ["no", "yes"], Preprocessing(16, 1, (0.0,), (1.0,)))
    ...     read(path).class_names
    ('no', 'yes')
    """
    metadata = {
        "format": FORMAT,
        "network": json.dumps(settings),
        "classes": json.dumps(list(class_names)),
        "preprocessing": json.dumps(vars(preprocess)),
    }
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(state, str(path), metadata=metadata)


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


BUILDERS: dict[str, Callable[..., EdgeNetwork]] = {
    build.__name__: build for build in (edge_cnn, edge_resnet18, edge_resnet50)
}


def _positive(value: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer >= 1; got {value!r}. Pass for example 10.")
    return value
