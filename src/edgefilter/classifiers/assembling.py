"""Put a classifier together from what is said about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from edgefilter.banks.colors import color_names
from edgefilter.models.networks import EdgeNetwork
from edgefilter.models.preprocessing import Preprocessing

from .architectures import Architecture, Usual
from .classifier import Classifier
from .description import Description
from .weights import Checkpoint, with_weights

__all__ = ["Parts", "assembled"]

RGB = ("red", "green", "blue")
ASSUMED = "size", "mean", "std"  # what a preprocessing must have been told to be no assumption
LARGEST = 2.0  # a mean or standard deviation above it is one of values from 0 to 255


class Parts(NamedTuple):
    """What a classifier is put together from."""

    said: Description
    network: Architecture
    checkpoint: Checkpoint | None = None
    named: bool = True  # whether anything said which network it is
    found_names: tuple[str, ...] | None = (
        None  # of classes, in a checkpoint: they hold if they are as many as the outputs
    )


def assembled(parts: Parts) -> tuple[Classifier, str]:
    """Return a classifier, and what is doubtful about its preprocessing, or nothing."""
    model, usual = _model(parts)
    assumed = [] if usual else [key for key in ASSUMED if getattr(parts.said, key) is None]
    classifier = _classifier(parts, model.eval(), usual, assumed)
    return classifier, _doubt(parts, classifier, assumed) if assumed else ""


def _model(parts: Parts) -> tuple[nn.Module, Usual | None]:
    """Return the network with its weights, and its preprocessing if these are weights of a library."""
    if parts.checkpoint is None:
        return parts.network.own()
    build = parts.network.builder(parts.checkpoint.state)
    try:
        model = with_weights(build, parts.checkpoint.state, parts.network.name, str(parts.said.weights))
    except ValueError as cause:
        if parts.named:
            raise
        raise ValueError(
            f"model must be named for {str(parts.said.weights)!r}, which does not say what network it is of; got none, and "
            f"{parts.network.name!r} does not fit. Pass for example 'resnet18' (--model resnet18)."
        ) from cause
    return model, parts.network.known(parts.checkpoint.digest)


def _classifier(parts: Parts, model: nn.Module, known: Usual | None, assumed: Sequence[str]) -> Classifier:
    said, usual = parts.said, known or parts.network.usual(model)
    preprocessing, channels = _preprocessing(said, usual.said, model)
    told = any(
        getattr(said, key) is not None for key in (*ASSUMED, "resize", "crop", "interpolation", "channels")
    )
    usable = usual.preprocess is not None and not told and len(usual.said.mean or ()) == len(channels)
    outputs = _output_count(model, preprocessing, parts.network.name)
    source = usual.weights or f"as {parts.network.name} builds them"
    if parts.checkpoint is not None:
        source = f"{Path(str(said.weights)).name} (sha256 {parts.checkpoint.digest[:12]}){f', {known.weights}' if known and known.weights else ''}"
    classifier = Classifier(
        model,
        _class_names(parts, usual.said, outputs),
        usual.preprocess if usable and usual.preprocess is not None else preprocessing,
        name=parts.network.name,
        channels=channels,
        mean=preprocessing.mean,
        std=preprocessing.std,
        bands=said.bands,
        colors=said.colors,
        bits=said.bits,
        white=said.white,
        about={
            "weights": source,
            "preprocessing": f"{preprocessing}; channels {', '.join(channels)}{_noted(assumed)}",
            "preprocessing_assumed": "yes" if assumed else "no",
        },
    )
    if isinstance(model, EdgeNetwork):
        model.class_names = classifier.class_names
    classifier.description = _whole(parts, classifier, said.over(usual.said))
    return classifier


def _whole(parts: Parts, classifier: Classifier, both: Description) -> Description:
    """Return all that is known of a network, to be written to a file."""
    return replace(
        both,
        architecture=parts.said.architecture or parts.network.name,
        class_names=classifier.class_names,
        mean=classifier.mean,
        std=classifier.std,
        channels=classifier.channels,
        resize=None if both.crop is False else both.resize,
    )


def _preprocessing(
    said: Description, usual: Description, model: nn.Module
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return how photos become inputs, and the names of the channels: what is said, else as usual."""
    stem = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    lengths = [len(value) for value in (said.channels, said.mean, said.std) if value and len(value) > 1]
    count = (
        len(said.channels)
        if said.channels
        else lengths[0]
        if lengths
        else 3
        if stem is None
        else stem.in_channels
    )
    channels = said.channels or color_names(count)
    both = said.over(usual)
    mean, std = (_for_each(value, count, neutral) for value, neutral in ((both.mean, 0.0), (both.std, 1.0)))
    if count in (1, 3) and said.bands is None and max(*mean, *std) > LARGEST:
        mean, std = (tuple(number / 255 for number in values) for values in (mean, std))
    crop = both.crop is not False
    size = both.size or (224, 224)
    return (
        Preprocessing(
            size[0] if size[0] == size[1] else size,
            count,
            mean,
            std,
            both.resize if crop else None,
            crop,
            both.interpolation or "bilinear",
            _order(channels, said.bands),
        ),
        channels,
    )


def _for_each(values: tuple[float, ...] | None, count: int, neutral: float) -> tuple[float, ...]:
    """Return a number for each channel; those of photos in color are none of other channels."""
    if values is None or len(values) not in (1, count):
        return (neutral,) * count
    return values * count if len(values) == 1 else values


def _order(channels: tuple[str, ...], bands: tuple[str, ...] | None) -> tuple[int, ...] | None:
    """Return the places of a network's channels in a photo; None where they are those of the photo."""
    there = bands or (RGB if set(channels) == set(RGB) else channels)
    missing = [name for name in channels if name not in there]
    if missing:
        raise ValueError(
            f"channels must be among the bands {', '.join(there)}; got {missing[0]!r}. Name the bands of the files, in their order."
        )
    return None if tuple(there) == channels else tuple(there.index(name) for name in channels)


def _output_count(model: nn.Module, preprocessing: Preprocessing, name: str) -> int:
    """Return the number of outputs: what the network makes of a black photo."""
    height, width = (preprocessing.size,) * 2 if isinstance(preprocessing.size, int) else preprocessing.size
    inputs = torch.zeros(1, preprocessing.channels, height, width)
    try:
        with torch.no_grad():
            output = model(inputs)
    except Exception as cause:  # whatever somebody's own network raises
        raise RuntimeError(
            f"model {name!r} must run on inputs of shape {tuple(inputs.shape)}; it raised {type(cause).__name__}: "
            f"{str(cause).splitlines()[0][:200] if str(cause) else ''}. Check size and channels."
        ) from cause
    if not isinstance(output, Tensor) or output.dim() != 2:
        raise RuntimeError(
            f"model {name!r} must answer with one row of outputs per photo; got "
            f"{tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__}. Choose a classifier."
        )
    return output.shape[1]


def _class_names(parts: Parts, usual: Description, count: int) -> tuple[str, ...]:
    """Return the names of the classes: those that are said, else found, else usual, else numbers."""
    said = parts.said.class_names
    if said is not None and len(said) != count:
        raise ValueError(
            f"class_names must be {count}, one for each output of {parts.network.name}; got {len(said)}, "
            f"from {said[0]!r} to {said[-1]!r}. Name all of them, in the order of the outputs."
        )
    for names in (said, parts.found_names, usual.class_names):
        if names is not None and len(names) == count:
            return names
    if count == 1000:
        return tuple(torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"])
    return tuple(f"class {index}" for index in range(count))


def _doubt(parts: Parts, classifier: Classifier, assumed: Sequence[str]) -> str:
    """Say what is assumed about the preprocessing, and how to say it instead."""
    weights = parts.said.weights
    what = parts.network.name if weights is None else Path(weights).name
    flags = ", ".join(f"{key}= (--{key})" for key in assumed)
    beside = (
        "in a description" if weights is None else f"in {Path(weights).with_suffix('.toml').name!r} beside it"
    )
    words = classifier.about["preprocessing"].removesuffix(_noted(assumed))
    return (
        f"nothing says how photos are preprocessed for {what!r}: {_listed(assumed)} {'is' if len(assumed) == 1 else 'are'} assumed ({words}). "
        f"Pass {flags}, or say so {beside}."
    )


def _noted(assumed: Sequence[str]) -> str:
    return f" (assumed: {_listed(assumed)})" if assumed else ""


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
