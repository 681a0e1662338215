"""Trained networks and real images: EfficientNet-Lite0 on photos, the shipped networks, a ResNet-18 trained here."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import edgefilter as ef
from edgefilter.classifiers import load_classifier

from .data import Samples
from .networks import train

SIDE = 128  # of the photos, in pixels: a third of the time of 224
FRUIT_SIDE, FRUIT_EPOCHS, PER_CLASS = 64, 6, 48  # of the ResNet-18


class RealSet(NamedTuple):
    """A network, its images, and how much of the reference is asked.

    Attributes
    ----------
    load : function of the folder of data and a count, that returns a network and images
    count : int
        Images.
    levels : tuple of str
        Those of every image.
    pairs_every : int
        The pairs are asked of every so many images; 0 for none.
    piece : int
        Images in a job.
    """

    load: Callable[[Path, int], tuple[nn.Module, Tensor]]
    count: int
    levels: tuple[str, ...]
    pairs_every: int
    piece: int


def zipped(path: Path, count: int, part: str = "") -> list[Image.Image]:
    """Return photos of a zip that are evenly spread over its names."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(part) and name.endswith(".jpg"))
        chosen = names[:: max(len(names) // count, 1)][:count]
        return [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in chosen]


def lite0(data: Path, count: int) -> tuple[nn.Module, Tensor]:
    """Return EfficientNet-Lite0 with an exact stem, and photos of ImageNet."""
    classifier = load_classifier("efficientnet_lite0")
    photos = torch.cat([classifier.preprocess(photo) for photo in zipped(data / "imagenet200.zip", count)])
    smaller = F.interpolate(photos, size=(SIDE, SIDE), mode="bilinear", antialias=True)
    return ef.replace_stem(classifier.model.eval()), smaller


def fruits(data: Path, count: int) -> tuple[nn.Module, Tensor]:
    """Return the shipped network for fruits, and test images of Fruits-360."""
    network = ef.models.load("fruits")
    photos = zipped(data / "fruits24_jpg.zip", count, "test/")
    return network, torch.cat([network.preprocess(photo) for photo in photos])


def digits(data: Path, count: int) -> tuple[nn.Module, Tensor]:
    """Return the shipped network for digits, and test images of MNIST."""
    network = ef.models.load("digits")
    with np.load(data / "mnist.npz") as file:
        photos = [Image.fromarray(image) for image in file["x_test"][:count]]
    return network, torch.cat([network.preprocess(photo) for photo in photos])


def resnet(data: Path, count: int) -> tuple[nn.Module, Tensor]:
    """Train a ResNet-18 on small fruits, and return it with the complete bank of its 7 x 7 stem, and test images."""
    samples = fruit_samples(data / "fruits24_jpg.zip", "train/")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet18(num_classes=int(samples.labels.max()) + 1)
    trained = train(network, samples, FRUIT_EPOCHS, seed=0)
    tests = fruit_samples(data / "fruits24_jpg.zip", "test/").images
    return ef.replace_stem(trained), tests[:: max(len(tests) // count, 1)][:count]


def fruit_samples(path: Path, part: str) -> Samples:
    """Return small images of Fruits-360 between -1 and 1, with their labels."""
    images, labels = [], []
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(part) and name.endswith(".jpg"))
        classes = sorted({name.split("/")[1] for name in names})
        for kind in classes:
            for name in [name for name in names if name.split("/")[1] == kind][:PER_CLASS]:
                photo = Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((FRUIT_SIDE,) * 2)
                images.append(torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1) / 127.5 - 1)
                labels.append(classes.index(kind))
    return Samples(torch.stack(images), torch.tensor(labels))


SETS = {
    "photos, EfficientNet-Lite0": RealSet(lite0, 200, ("color", "edge"), 8, 8),
    "fruits, ResNet-18": RealSet(resnet, 24, ("color", "order"), 0, 24),
    "fruits, shipped": RealSet(fruits, 24, ("color", "edge"), 2, 24),
    "digits, shipped": RealSet(digits, 50, ("edge",), 0, 50),
}
