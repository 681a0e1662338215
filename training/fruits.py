"""Train a network with fixed edge filters on Fruits-360, or the same network with a learned first layer.

DATA is a folder or a zip of ``train/CLASS/NAME.jpg`` and ``test/CLASS/NAME.jpg``; its classes are those of its folders.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import torch
from engine import Task, TensorBatches, Workers, affine, arguments, data_path, processes, share, train
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from edgefilter.models import Preprocessing, edge_cnn

TURN, SCALE, SHIFT, LIGHT = 0.3, 0.15, 3.0, 0.15


def augment(images: Tensor) -> Tensor:
    """Move a batch of fruits a little, mirror every second one, and change the light."""
    moved = affine(images, TURN, SCALE, SHIFT, flip=True)
    light = 1 + LIGHT * (2 * torch.rand(len(images), 1, 1, 1) - 1)
    return (moved * light).clamp(0, 1)


def files(path: Path) -> list[tuple[str, str, Image.Image]]:
    """Return split, class and photo of each file of a folder or zip, in the order of their names."""
    if path.is_dir():
        found = sorted(path.glob("t*/*/*.jpg"))
        return [(file.parts[-3], file.parts[-2], Image.open(file)) for file in found]
    with zipfile.ZipFile(path) as archive:
        found = sorted(Path(name) for name in archive.namelist() if name.endswith(".jpg"))
        photos = [Image.open(archive.open(file.as_posix())) for file in found]
        for photo in photos:
            photo.load()
        return [(file.parts[-3], file.parts[-2], photo) for file, photo in zip(found, photos, strict=True)]


def read(path: Path, size: int) -> tuple[dict[str, tuple[Tensor, Tensor]], list[str]]:
    """Return images and labels of both splits, and the names of the classes."""
    photos = files(path)
    classes = sorted({kind for _, kind, _ in photos})
    splits = {}
    for split in ("train", "test"):
        chosen = [(kind, photo) for part, kind, photo in photos if part == split]
        images = [
            F.pil_to_tensor(F.resize(photo.convert("RGB"), [size, size], F.InterpolationMode.BILINEAR))
            for _, photo in chosen
        ]
        splits[split] = torch.stack(images), torch.tensor([classes.index(kind) for kind, _ in chosen])
    return splits, classes


def task(path: Path, options: argparse.Namespace, workers: Workers) -> Task:
    """Return the task."""
    torch.manual_seed(options.seed)
    splits, classes = read(path, options.size)
    settings = {"num_classes": len(classes), "in_channels": 3, "bank": options.bank}
    settings |= {"mixing": options.mixing, "signs": options.signs}
    return Task(
        f"fruits{len(classes)}",
        edge_cnn(**settings),
        TensorBatches(*splits["train"], options.batch_size, workers, options.seed, augment),
        share(*splits["test"], workers),
        classes,
        {"model": "edge_cnn", **settings},
        Preprocessing(options.size, 3, (0.0,) * 3, (1.0,) * 3),
    )


def main(words: list[str] | None = None) -> None:
    """Run the script."""
    parser = arguments(__doc__, epochs=25, batch_size=64, average=0.9)
    parser.add_argument("--size", type=int, default=48, help="height and width of the images in pixels")
    options = parser.parse_args(words)
    with processes() as workers:
        train(task(data_path(options.data, "fruits24_jpg.zip"), options, workers), options, workers)


if __name__ == "__main__":
    main()
