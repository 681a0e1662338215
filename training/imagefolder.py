"""Train a network with fixed edge filters on ImageNet, or any other folder of photos.

DATA holds ``train/CLASS/*`` and ``val/CLASS/*``, as torchvision's ImageFolder reads them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from engine import Task, Workers, arguments, data_path, processes, train
from torch.utils.data import DataLoader, Subset
from torch.utils.data.distributed import DistributedSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

from edgefilter import models

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHRUNK = 256 / 224  # short side of a photo to the crop that is tested


def loaders(
    path: Path, options: argparse.Namespace, workers: Workers
) -> tuple[DataLoader, DataLoader, list[str]]:
    """Return batches to train on, this process's share of those to test on, and the names of the classes."""
    size, normalise = options.size, transforms.Normalize(MEAN, STD)
    moved = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    still = [transforms.Resize(round(size * SHRUNK)), transforms.CenterCrop(size)]
    seen = ImageFolder(path / "train", transforms.Compose([*moved, transforms.ToTensor(), normalise]))
    unseen = ImageFolder(path / "val", transforms.Compose([*still, transforms.ToTensor(), normalise]))
    if seen.classes != unseen.classes:
        raise SystemExit("--data must have the same classes in train and val; got others. Check the folders.")
    sampler = DistributedSampler(seen, workers.count, workers.rank, seed=options.seed, drop_last=True)
    settings = {
        "batch_size": max(min(options.batch_size, len(seen)) // workers.count, 1),
        "num_workers": options.workers,
        "pin_memory": workers.device.type == "cuda",
    }
    mine = Subset(unseen, range(workers.rank, len(unseen), workers.count))
    train_loader = DataLoader(seen, sampler=sampler, drop_last=True, **settings)
    return train_loader, DataLoader(mine, **settings), seen.classes


def task(path: Path, options: argparse.Namespace, workers: Workers) -> Task:
    """Return the task."""
    torch.manual_seed(options.seed)
    seen, unseen, classes = loaders(path, options, workers)
    settings = {"num_classes": len(classes), "in_channels": 3, "bank": options.bank}
    settings |= {"mixing": options.mixing, "signs": options.signs}
    network = getattr(models, options.model)(**settings)
    preprocess = models.Preprocessing(options.size, 3, MEAN, STD, resized=round(options.size * SHRUNK))
    name = f"{path.name}-{options.model}"
    return Task(name, network, seen, unseen, classes, {"model": options.model, **settings}, preprocess)


def main(words: list[str] | None = None) -> None:
    """Run the script."""
    parser = arguments(__doc__, epochs=90, batch_size=256, weight_decay=1e-4)
    parser.add_argument(
        "--model", choices=("edge_resnet50", "edge_resnet18", "edge_cnn"), default="edge_resnet50"
    )
    parser.add_argument("--size", type=int, default=224, help="height and width of the crops in pixels")
    parser.add_argument(
        "--workers", type=int, default=4, help="processes that read photos, for each that trains"
    )
    options = parser.parse_args(words)
    with processes() as workers:
        train(task(data_path(options.data, "imagenet"), options, workers), options, workers)


if __name__ == "__main__":
    main()
