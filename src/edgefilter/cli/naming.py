"""How files are named by default, and that no result is written onto what is read."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .checks import check_new

__all__ = ["ANY", "ReadFiles", "as_file_name", "check_free", "class_file_name", "picture_name"]

LONGEST = 50  # bytes of one part: four of them and what joins them stay below the 255 that file systems take
PICTURE = ".png"
AGAINST = "_against_"
ANY = "*"  # of a class that is not known yet


def as_file_name(text: str, *, keep_end: bool = False) -> str:
    """Return text that every file system takes as a part of a name: letters, digits, ``.``, ``-`` and ``_``, 50 bytes at most.

    Examples
    --------
    >>> as_file_name("timm:resnet18.a1_in1k"), as_file_name("../Great Dane, dog"), as_file_name("?")
    ('timm_resnet18.a1_in1k', 'Great_Dane_dog', 'unnamed')
    """
    plain = re.sub(r"[^\w.-]+", "_", text).strip("._-") or "unnamed"
    part = plain.encode()[-LONGEST:] if keep_end else plain.encode()[:LONGEST]
    return part.decode(errors="ignore")


def class_file_name(index: int, class_names: Sequence[str]) -> str:
    """Return the name of a class for a file's name, with its index where another class would have the same.

    Examples
    --------
    >>> class_file_name(0, ["cat", "great dane", "Cat"]), class_file_name(1, ["cat", "great dane", "Cat"])
    ('cat_0', 'great_dane')
    """
    name = as_file_name(class_names[index])
    alike = sum(as_file_name(other).casefold() == name.casefold() for other in class_names)
    return name if alike == 1 else f"{name}_{index}"


def picture_name(photo: str, model: str, explained: str, against: str | None) -> str:
    """Return the default name of a picture.

    Examples
    --------
    >>> picture_name("alpha", "timm:resnet18", "cat", None), picture_name("alpha", "nets/mine.toml", "cat", "rest")
    ('alpha_timm_resnet18_cat.png', 'alpha_mine.toml_cat_against_rest.png')
    """
    network = as_file_name(re.split(r"[/\\]", model)[-1])
    return f"{photo}_{network}_{explained}{'' if against is None else AGAINST + against}{PICTURE}"


def check_free(folder: Path, name: str, force: bool) -> None:
    """Raise if a picture is there that would be replaced; a name with ``*`` for the class stands for any of them."""
    if ANY not in name:
        check_new(folder / name, "out", force)
        return
    before, after = name.split(ANY)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        plain = AGAINST in after or AGAINST not in path.name
        if path.name.startswith(before) and path.name.endswith(after) and plain:
            check_new(path, "out", force)


class ReadFiles:
    """The files that a command reads, none of which it may write onto, however either is spelled or linked.

    Parameters
    ----------
    files : iterable of (str, Path or None)
        What the file is called in messages, and its place; what is not there is left out.

    Examples
    --------
    >>> ReadFiles([("image", Path("alpha.png"))]).check("out", Path("./Alpha.PNG"))
    Traceback (most recent call last):
        ...
    ValueError: out must be another file than image; got 'Alpha.PNG', which is read. Choose another name.
    """

    def __init__(self, files: Iterable[tuple[str, Path | None]]) -> None:
        self._names: dict[object, str] = {}
        for what, path in files:
            if path is not None:
                self._names.update(dict.fromkeys(_keys(path), what))

    def check(self, argument: str, path: Path) -> None:
        """Raise if a result would be written onto one of them."""
        for key in _keys(path):
            if key in self._names:
                raise ValueError(
                    f"{argument} must be another file than {self._names[key]}; got {str(path)!r}, which is read. "
                    "Choose another name."
                )


def _keys(path: Path) -> Iterator[object]:
    """Yield what tells a file: its path, as where the case of letters does not count, and its number on the disk if it is there."""
    yield os.path.realpath(path).casefold()
    with contextlib.suppress(OSError):
        about = path.stat()
        if about.st_ino:
            yield about.st_dev, about.st_ino
