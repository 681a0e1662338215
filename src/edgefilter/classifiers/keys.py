"""The keys of a model description, and what each of them takes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgefilter._checks import is_number, pair

__all__ = ["ADVICE", "CHECKS", "INTERPOLATIONS", "Unfit", "in_folder", "read_class_names"]

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")


class Unfit(Exception):  # noqa: N818 - a note from a check to described(), which makes the error
    """What a value must be."""


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read the names of classes: a JSON list or mapping, or a text file with a name a line."""
    if not path.is_file():
        raise FileNotFoundError(
            f"class_names must be an existing file; got {str(path)!r}, which is not there. Name a file with a name a line."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return _named(json.loads(text))
        lines = [line.strip() for line in text.splitlines()]
        return _named([line for line in lines if line])
    except (Unfit, ValueError) as cause:
        raise ValueError(
            f"class_names must be a text file with a name a line, or a JSON list; got {str(path)!r} ({cause}). Correct it there."
        ) from cause


def _named(value: Any) -> tuple[str, ...]:
    """Return names by place, from a list, or a mapping from name to place or from place to name."""
    if isinstance(value, Mapping) and value:
        pairs = [(key, place) if _is_place(place) else (place, key) for key, place in value.items()]
        if all(_is_place(place) for _, place in pairs):
            names = {int(place): str(name) for name, place in pairs}
            if sorted(names) == list(range(len(value))):
                return tuple(names[place] for place in range(len(names)))
        raise Unfit("names for the places 0, 1, 2 and so on")
    listed = isinstance(value, Sequence) and not isinstance(value, str) and value
    if listed and all(isinstance(name, (str, int)) for name in value):
        return tuple(map(str, value))
    raise Unfit("a list of names, one for each output, or a file with a name a line")


def _is_place(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, str) and value.isdecimal()
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Unfit("a text")
    return value


def _class_names(value: Any) -> tuple[str, ...]:
    return read_class_names(Path(value)) if isinstance(value, (str, Path)) else _named(value)


def in_folder(key: str, value: Any, folder: Path) -> Any:
    """Return a value with its path, if it is one, relative to where we are and not to the file that says it."""
    if key == "architecture" and isinstance(value, str):
        file, colon, factory = value.rpartition(":")
        return f"{folder / file}{colon}{factory}" if file.endswith(".py") else value
    if key not in ("weights", "class_names") or not isinstance(value, (str, Path)) or not str(value).strip():
        return value
    return str(folder / value)


def _size(value: Any) -> tuple[int, int]:
    try:
        return pair(value, "size", 1)
    except ValueError:
        raise Unfit("an integer of at least 1, or a list of height and width") from None


def _resize(value: Any) -> int | tuple[int, int]:
    height, width = _size(value)
    return (height, width) if isinstance(value, (list, tuple)) else height


def _crop(value: Any) -> bool:
    words = {"center": True, "none": False, True: True, False: False}
    if not isinstance(value, (str, bool)) or value not in words:
        raise Unfit("true ('center') or false ('none')")
    return words[value]


def _interpolation(value: Any) -> str:
    if value not in INTERPOLATIONS:
        raise Unfit(f"one of {', '.join(INTERPOLATIONS)}")
    return str(value)


def _numbers(value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values or not all(is_number(number) and math.isfinite(number) for number in values):
        raise Unfit("a number, or a list with one for each channel")
    return tuple(map(float, values))


def _std(value: Any) -> tuple[float, ...]:
    values = _numbers(value)
    if not all(number > 0 for number in values):
        raise Unfit("above 0, as values are divided by it")
    return values


def _names(value: Any) -> tuple[str, ...]:
    listed = (
        isinstance(value, (list, tuple)) and value and all(isinstance(name, str) and name for name in value)
    )
    if not listed or len(set(value)) < len(value):
        raise Unfit("a list of different names")
    return tuple(value)


def _groups(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, Mapping) or not value:
        raise Unfit("names of groups, each with a list of channels")
    return {str(name): _names(members) for name, members in value.items()}


def _bits(value: Any) -> int:
    if not isinstance(value, int) or value not in range(1, 17):
        raise Unfit("an integer from 1 to 16")
    return value


def _white(value: Any) -> float:
    if not is_number(value) or not value > 0:
        raise Unfit("a number above 0")
    return float(value)


CHECKS: dict[str, Callable[[Any], Any]] = {
    "architecture": _text,
    "weights": _text,
    "class_names": _class_names,
    "size": _size,
    "resize": _resize,
    "crop": _crop,
    "interpolation": _interpolation,
    "mean": _numbers,
    "std": _std,
    "channels": _names,
    "bands": _names,
    "colors": _groups,
    "bits": _bits,
    "white": _white,
}
ADVICE = {
    "architecture": "Write for example 'torchvision:resnet18' or 'net.py:build'.",
    "weights": "Name the file of the weights.",
    "class_names": "Write for example ['ripe', 'unripe'] or 'classes.txt'.",
    "size": "Write for example 64 or [64, 96].",
    "resize": "Write for example 256.",
    "crop": "Leave it out to cut out the middle.",
    "interpolation": "Leave it out for bilinear.",
    "mean": "Write for example [0.485, 0.456, 0.406].",
    "std": "Write for example [0.229, 0.224, 0.225].",
    "channels": "Write for example ['blue', 'green', 'red'].",
    "bands": "Name the bands of the files, in their order.",
    "colors": "Write for example {'red edge': ['B05', 'B06', 'B07']}.",
    "bits": "Write for example 12.",
    "white": "Write for example 10000.",
}
