"""The photos of a folder, in the order in which they are counted, and how they are read."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from edgefilter.bands import ARRAYS
from edgefilter.classifiers.classifier import Classifier, Photo

__all__ = ["Batch", "PhotoReader", "Photos", "Skipped", "check_place", "collate", "find_photos", "sample"]


class Skipped(NamedTuple):
    """A photo that could not be read: its path inside the folder, and why."""

    path: str
    reason: str


class Photos(NamedTuple):
    """The photos of a folder, in the order in which they are counted."""

    folder: Path
    classes: list[str]
    samples: list[tuple[str, int]]  # path and class
    fingerprint: str


def find_photos(folder: Path, limit: int | None) -> Photos:
    """List the photos of a folder, at most ``limit`` of each class."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"folder must be an existing folder; got {str(folder)!r}, which is none. Check the path."
        )
    try:
        found = ImageFolder(
            str(folder),
            is_valid_file=lambda path: path.lower().endswith((*IMG_EXTENSIONS, *ARRAYS)),
            allow_empty=True,
        )
    except FileNotFoundError as cause:
        raise FileNotFoundError(
            f"folder must hold one folder of photos for each class; got {str(folder)!r}, which holds no folders. "
            "Sort the photos into folders, or name the folder above."
        ) from cause
    samples, seen = [], [0] * len(found.classes)
    for path, place in found.samples:
        if limit is None or seen[place] < limit:
            samples.append((path, place))
            seen[place] += 1
    if not samples:
        raise FileNotFoundError(
            f"folder must hold photos; got {str(folder)!r}, whose folders hold none. Check the path."
        )
    digest = hashlib.sha256()
    for path, place in samples:
        about = Path(path).stat()
        name = Path(path).relative_to(folder).as_posix()
        digest.update(f"{name}\0{place}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return Photos(folder, found.classes, samples, digest.hexdigest()[:16])


def check_place(out: Path, folder: Path) -> None:
    """Raise if results cannot go to this folder, or would be taken for photos."""
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"out must be a folder; got the file {str(out)!r}. Name another place.")
    if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
        raise ValueError(
            f"out must lie outside the folder of photos; got {str(out)!r} in {str(folder)!r}, where it would be taken for "
            "a class. Choose another place."
        )


def sample(photos: Photos, count: int, seed: int) -> list[int]:
    """Return the places of up to ``count`` photos, drawn, and as many of each class as can be.

    Examples
    --------
    >>> photos = Photos(Path(), ["cat", "dog"], [("a", 0), ("b", 0), ("c", 0), ("d", 1)], "")
    >>> drawn = sample(photos, 2, 0)
    >>> sorted(photos.samples[place][1] for place in drawn)
    [0, 1]
    """
    order = torch.randperm(len(photos.samples), generator=torch.Generator().manual_seed(seed)).tolist()
    seen = [0] * len(photos.classes)
    rounds: list[tuple[int, int]] = []  # the first of each class, then the second of each
    for place in order:
        label = photos.samples[place][1]
        rounds.append((seen[label], place))
        seen[label] += 1
    return sorted(place for _, place in sorted(rounds, key=lambda item: item[0])[:count])


class Batch(NamedTuple):
    """Some photos as each network takes them; ``inputs`` is empty if none could be read."""

    inputs: list[Tensor]
    labels: Tensor
    skipped: list[Skipped]


class PhotoReader(Dataset[Any]):
    """Reads and preprocesses photos, for one network or several; one that cannot be read comes as the reason why."""

    def __init__(self, photos: Photos, classifiers: Sequence[Classifier], bits: int | None) -> None:
        self.photos = photos
        self.ways = [(one.reader(bits), one.preprocess) for one in classifiers]
        self.warned = False

    def __getitem__(self, index: int) -> tuple[list[Tensor] | Skipped, int]:
        path, label = self.photos.samples[index]
        try:
            return [prepare(self.read(path, reader)) for reader, prepare in self.ways], label
        except (ValueError, OSError) as cause:
            name = Path(path).relative_to(self.photos.folder).as_posix()
            return Skipped(name, " ".join(str(cause).split())), label

    def read(self, path: str, reader: Callable[[str], Photo]) -> Photo:
        """Read a photo; the first warning stands for those of all."""
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", UserWarning)
            photo = reader(path)
        if found and not self.warned:
            self.warned = True
            warnings.warn(f"{found[0].message} Further photos are read likewise.", UserWarning, stacklevel=2)
        return photo


def collate(items: list[tuple[list[Tensor] | Skipped, int]]) -> Batch:
    """Join photos that were read to a batch."""
    good = [(item, label) for item, label in items if isinstance(item, list)]
    return Batch(
        inputs=[torch.cat(images) for images in zip(*(item for item, _ in good), strict=True)],
        labels=torch.tensor([label for _, label in good], dtype=torch.long),
        skipped=[item for item, _ in items if isinstance(item, Skipped)],
    )
