"""Train a network with fixed edge filters on MNIST, or the same network with a learned first layer.

DATA is an ``mnist.npz`` with x_train, y_train, x_test and y_test. ``--samples 500`` trains on so many random images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from engine import Task, TensorBatches, Workers, affine, arguments, data_path, processes, share, train
from torch import Tensor

from edgefilter.models import Preprocessing, edge_cnn

TURN, SCALE, SHIFT = 0.2, 0.12, 2.5


def augment(images: Tensor) -> Tensor:
    """Move a batch of digits a little."""
    return affine(images, TURN, SCALE, SHIFT)


def read(path: Path) -> dict[str, Tensor]:
    """Return images and labels of both splits."""
    with np.load(path) as file:
        tensors = {key: torch.from_numpy(file[key]) for key in ("x_train", "y_train", "x_test", "y_test")}
    return {key: value[:, None] if key.startswith("x") else value.long() for key, value in tensors.items()}


def task(data: dict[str, Tensor], options: argparse.Namespace, workers: Workers) -> Task:
    """Return the task; the training images are drawn by the seed where not all are used."""
    torch.manual_seed(options.seed)
    images, labels = data["x_train"], data["y_train"]
    if options.samples:
        chosen = torch.randperm(len(images))[: options.samples]
        images, labels = images[chosen], labels[chosen]
    settings = {"num_classes": 10, "in_channels": 1, "bank": options.bank}
    settings |= {"mixing": options.mixing, "signs": options.signs}
    return Task(
        f"mnist{options.samples or ''}",
        edge_cnn(**settings),
        TensorBatches(images, labels, options.batch_size, workers, options.seed, augment),
        share(data["x_test"], data["y_test"], workers),
        [str(digit) for digit in range(10)],
        {"model": "edge_cnn", **settings},
        Preprocessing(28, 1, (0.0,), (1.0,)),
    )


def main(words: list[str] | None = None) -> None:
    """Run the script."""
    parser = arguments(__doc__, epochs=8)
    parser.add_argument("--samples", type=int, default=0, help="number of training images; 0 for all")
    options = parser.parse_args(words)
    with processes() as workers:
        train(task(read(data_path(options.data, "mnist.npz")), options, workers), options, workers)


if __name__ == "__main__":
    main()
