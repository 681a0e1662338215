"""Small networks with several linear layers, trained here on digits and photos, for ``stability.py``."""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["NETWORKS", "Trained", "trained"]

BATCH = 64
SIDE = 64  # of a photo


class Data(NamedTuple):
    """Images of one range, training and test apart."""

    images: Tensor
    labels: Tensor
    tests: Tensor
    test_labels: Tensor


class Trained(NamedTuple):
    """A network, the test images that it is asked about, and its share of right answers on all test images."""

    model: nn.Module
    images: Tensor
    accuracy: float


def digits(folder: Path) -> Data:
    """Return MNIST, each image as float32 between 0 and 1."""
    with np.load(folder / "mnist.npz") as found:
        arrays = [found[name] for name in ("x_train", "y_train", "x_test", "y_test")]
    images, labels, tests, test_labels = map(torch.from_numpy, arrays)
    return Data(images[:, None] / 255, labels.long(), tests[:, None] / 255, test_labels.long())


def photos(folder: Path) -> Data:
    """Return the photos of Fruits-360, float32 between -1 and 1."""
    found: dict[str, tuple[list[Tensor], list[int]]] = {"train": ([], []), "test": ([], [])}
    with zipfile.ZipFile(folder / "fruits24_jpg.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        classes = sorted({name.split("/")[-2] for name in names})
        for name in names:
            split, label = name.split("/")[-3:-1]
            with Image.open(io.BytesIO(archive.read(name))) as photo:
                values = np.array(photo.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
            found[split][0].append(torch.from_numpy(values).permute(2, 0, 1) / 127.5 - 1)
            found[split][1].append(classes.index(label))
    (images, labels), (tests, test_labels) = found["train"], found["test"]
    return Data(torch.stack(images), torch.tensor(labels), torch.stack(tests), torch.tensor(test_labels))


def lenet(
    colors: int, features: int, classes: int, *hidden: int, active: type[nn.Module] = nn.ReLU
) -> nn.Module:
    """Return two convolutions with pooling and some hidden linear layers."""
    sizes = [features, *hidden]
    layers = [layer for one, two in itertools.pairwise(sizes) for layer in (nn.Linear(one, two), active())]
    return nn.Sequential(
        nn.Conv2d(colors, 8, 5, padding=2), active(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5), active(), nn.MaxPool2d(2),
        nn.Flatten(), *layers, nn.Linear(sizes[-1], classes),
    )  # fmt: skip


class Block(nn.Module):
    """A residual block of a depthwise and a pointwise convolution, with BatchNorm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, values: Tensor) -> Tensor:
        return F.relu(values + self.body(values))


def residual(colors: int, classes: int) -> nn.Module:
    """Return residual blocks, a mean over places and two hidden linear layers, the first one with BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(colors, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU(), Block(24), nn.MaxPool2d(2), Block(24),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(384, 96), nn.BatchNorm1d(96), nn.ReLU(),
        nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, classes),
    )  # fmt: skip


def train(model: nn.Module, data: Data, epochs: int) -> None:
    """Train with Adam, the rate falling to zero on a half cosine."""
    steps = epochs * (len(data.images) // BATCH)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(data.images)).split(BATCH):
            if len(rows) < BATCH:
                continue
            optimizer.zero_grad()
            F.cross_entropy(model(data.images[rows]), data.labels[rows]).backward()
            optimizer.step()
            schedule.step()


NETWORKS: dict[str, tuple[Callable[[Path], Data], Callable[[], nn.Module], int, int]] = {
    # data, network, epochs, test images to explain
    "digits, LeNet, 3 linear layers": (digits, lambda: lenet(1, 400, 10, 120, 84), 2, 1000),
    "digits, LeNet, 2 linear layers": (digits, lambda: lenet(1, 400, 10, 128), 2, 1000),
    "photos, LeNet, 3 linear layers": (photos, lambda: lenet(3, 3136, 24, 120, 84), 6, 200),
    "digits, LeNet of sigmoids, 3 linear layers": (
        digits,
        lambda: lenet(1, 400, 10, 120, 84, active=nn.Sigmoid),
        2,
        1000,
    ),
    "photos, residual, 3 linear layers": (photos, lambda: residual(3, 24), 6, 200),
}


def trained(name: str, folder: Path, seed: int) -> Trained:
    """Train a network and choose its images evenly from the test split."""
    read, make, epochs, count = NETWORKS[name]
    data = read(folder)
    torch.manual_seed(seed)
    model = make()
    train(model, data, epochs)
    model.eval().requires_grad_(False)
    with torch.no_grad():
        right = torch.cat([model(part).argmax(1) for part in data.tests.split(500)]) == data.test_labels
    chosen = torch.arange(count) * len(data.tests) // count
    return Trained(model, data.tests[chosen], float(right.float().mean()))
