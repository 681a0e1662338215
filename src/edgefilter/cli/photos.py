"""The photos that a command is given, by file, folder or pattern, and what each is called."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .naming import as_file_name

__all__ = ["DEMO_NAME", "Chosen", "choose_photos"]

DEMO_NAME = "coffee"  # of the demo photo
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
    *(".jp2", ".avif", ".npy", ".npz"),
)


class Chosen(NamedTuple):
    """The photos to explain.

    Attributes
    ----------
    paths : tuple of Path or None
        None stands for the demo photo.
    names : tuple of str
        One for each, all different in any case of letters: the stem of the file, with as many folders before it, or its ending
        behind it, as it takes.
    folders : tuple of Path
        Those that were searched.
    several : bool
        Whether more than one was asked for, or a folder or a pattern was.
    """

    paths: tuple[Path | None, ...]
    names: tuple[str, ...]
    folders: tuple[Path, ...]
    several: bool


def choose_photos(given: Sequence[Path] | None) -> Chosen:
    """Find the photos of files, folders (with the folders in them) and patterns such as ``*.jpg``; each is taken once.

    Raises
    ------
    FileNotFoundError
        If a folder or a pattern holds no photo, or the only photo is not there.
    """
    if not given:
        return Chosen((None,), (DEMO_NAME,), (), False)
    found: dict[str, Path] = {}
    patterns = [path for path in given if not path.exists() and glob.has_magic(str(path))]
    folders: list[Path] = []
    for path in given:
        matches = sorted(glob.glob(str(path), recursive=True)) if path in patterns else [path]  # noqa: PTH207
        photos: list[Path] = []
        for place in map(Path, matches):
            folders += [place] if place.is_dir() else []
            photos += _in_folder(place) if place.is_dir() else [place]
        if not photos:
            raise FileNotFoundError(
                f"image must be a photo, or a folder or pattern of photos; got {str(path)!r}, which holds none. Check the path."
            )
        for photo in photos:
            found.setdefault(os.path.realpath(photo), photo)
    paths = tuple(found.values())
    several = bool(folders or patterns) or len(paths) > 1
    if not several and not paths[0].exists():
        raise FileNotFoundError(
            f"image must be an existing file; got {str(paths[0])!r}, which is not there. Check the path."
        )
    return Chosen(paths, _names(paths), tuple(folders), several)


def _in_folder(folder: Path) -> Iterator[Path]:
    """Yield the photos below a folder in the order of their paths; hidden ones stay out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield path


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return different names: a stem that is not alone in its folder gets its ending, one that is not alone its folders."""
    stems = _in_their_folders(paths)
    folders = [path.absolute().parent.parts[1:] for path in paths]
    depths = [0] * len(paths)
    while True:
        names = [
            as_file_name("_".join([*folder[len(folder) - depth :], stem]), keep_end=True)
            for folder, depth, stem in zip(folders, depths, stems, strict=True)
        ]
        count = Counter(map(str.casefold, names))
        longer = [
            depth + (count[name.casefold()] > 1 and depth < len(folder))
            for folder, depth, name in zip(folders, depths, names, strict=True)
        ]
        if longer == depths:
            return _numbered(names)
        depths = longer


def _in_their_folders(paths: Sequence[Path]) -> list[str]:
    """Return names that differ among the photos of each folder: stems, with the ending and with a number where they must."""
    names = [as_file_name(path.stem) for path in paths]
    folders: dict[Path, list[int]] = {}
    for place, path in enumerate(paths):
        folders.setdefault(path.absolute().parent, []).append(place)
    for places in folders.values():
        count = Counter(names[place].casefold() for place in places)
        own = [
            names[place] if count[names[place].casefold()] == 1 else as_file_name(paths[place].name)
            for place in places
        ]
        for place, name in zip(places, _numbered(own), strict=True):
            names[place] = name
    return names


def _numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Put numbers behind names that are alike, such as those of ``a b.jpg`` and ``a_b.jpg``."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        key = name.casefold()
        seen[key] += 1
        found.append(name if seen[key] == 1 else f"{name}-{seen[key]}")
    return tuple(found)
