"""The networks on which the field's methods are compared, and their images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from groundtruth.real import digits, fruits, zipped
from torch import Tensor, nn

from edgefilter.classifiers import load_classifier

from .curves import BATCH

FRUITS = 256  # every third test image


class Case(NamedTuple):
    """A network, images that it reads, and the classes that it predicts for them.

    ``score`` gives the same logits as ``model``, several times as fast, and has no gradient.
    """

    model: nn.Module
    images: Tensor
    targets: Tensor
    score: Callable[[Tensor], Tensor]


def photos(data: Path, count: int) -> tuple[nn.Module, Tensor]:
    """Return EfficientNet-Lite0 as it is, and photos of ImageNet in full size."""
    classifier = load_classifier("efficientnet_lite0")
    found = [classifier.preprocess(photo) for photo in zipped(data / "imagenet200.zip", count)]
    return classifier.model, torch.cat(found)


def all_fruits(data: Path, count: int) -> tuple[nn.Module, Tensor]:
    """Return the shipped network, and images of all classes."""
    network, images = fruits(data, FRUITS)
    return network, images[[place * len(images) // count for place in range(count)]]


NETWORKS = {
    "photos": ("EfficientNet-Lite0, ImageNet photos", photos),
    "fruits": ("shipped network, Fruits-360 test", all_fruits),
    "digits": ("shipped network, MNIST test", digits),
}


@cache
def case(name: str, data: Path, count: int) -> Case:
    """Load a network and so many images; both are kept for the next call."""
    model, images = NETWORKS[name][1](data, count)
    model = model.eval().requires_grad_(False)
    score = frozen(model, images[:BATCH])
    with torch.no_grad():
        targets = torch.cat([score(some).argmax(1) for some in images.split(BATCH)])
    return Case(model, images, targets, score)


def frozen(model: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the network as a fixed graph: BatchNorm is merged with the convolutions before it."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        found: Callable[[Tensor], Tensor] = torch.jit.freeze(torch.jit.trace(model, images))
        for _ in range(2):  # the graph is rewritten in the first calls
            found(images)
    return lambda some: found(some)  # a frozen module is no whole module: it has no ``training``
