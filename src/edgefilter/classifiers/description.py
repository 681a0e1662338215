"""A description of a model: what a file, a checkpoint or somebody's arguments say about a network."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgefilter._checks import closest
from edgefilter._files import new_file
from edgefilter.errors import UnknownNameError

from .keys import ADVICE, CHECKS, Unfit, in_folder

__all__ = ["FILES", "Description", "described", "files_in", "read_description", "read_values"]

FILES = (".toml", ".json")
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Description:
    """What is said about a network; what is not said is None.

    Parameters
    ----------
    architecture : str, optional
        As :func:`load_classifier` takes it: ``"torchvision:resnet18"``, ``"timm:NAME"``, ``"net.py:build"``, "fruits", ...
    weights : str, optional
        The file of the weights.
    class_names : tuple of str, optional
    size : (int, int), optional
        Height and width of the input.
    resize : int or (int, int), optional
        The photo's short side before the crop, or its height and width.
    crop : bool, optional
        Whether the middle is cut out; else the whole photo is resized to ``size``.
    interpolation : {"bilinear", "bicubic", "nearest"}, optional
    mean, std : tuple of float, optional
        For values from 0 to 1; above that, for values from 0 to 255.
    channels : tuple of str, optional
        Names of the input channels, in the order in which the network takes them.
    bands : tuple of str, optional
        Names of the bands in the files of photos, in their order, where the network takes some of them.
    colors : dict, optional
        Groups of channels that are explained as one color.
    bits, white : int, optional
        The bits of the values in photos of more than 8 bits, or the value that becomes 1.
    """

    architecture: str | None = None
    weights: str | None = None
    class_names: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    resize: int | tuple[int, int] | None = None
    crop: bool | None = None
    interpolation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: tuple[str, ...] | None = None
    bands: tuple[str, ...] | None = None
    colors: dict[str, tuple[str, ...]] | None = None
    bits: int | None = None
    white: float | None = None

    def over(self, other: Description) -> Description:
        """Return what is said here, and what the other says about the rest.

        A size that is said here comes without the other's way to that size.
        """
        if self.size is not None and self.size != other.size:
            other = replace(other, resize=None)
        return Description(
            **{
                key.name: getattr(other, key.name)
                if getattr(self, key.name) is None
                else getattr(self, key.name)
                for key in fields(self)
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what is said, as a file has it."""
        values = {key.name: getattr(self, key.name) for key in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a description file in JSON; files that it names are written relative to its folder.

        Raises
        ------
        FileExistsError, FileNotFoundError
            If the file is there, or its folder is not.
        ValueError
            If its name does not end in ``.json``.
        """
        path = new_file(path, overwrite=overwrite)
        if path.suffix.lower() != ".json":
            raise ValueError(f"path must end in .json; got {str(path)!r}. TOML is for descriptions by hand.")
        values = self.to_dict()
        for key in {"weights", "architecture"} & set(values):
            file, colon, factory = values[key].rpartition(":")
            if file.endswith(".py"):
                values[key] = f"{os.path.relpath(file, path.parent)}{colon}{factory}"
            elif key == "weights":
                values[key] = os.path.relpath(values[key], path.parent)
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        return path


def read_description(path: str | Path) -> Description:
    """Read a description file; paths in it are relative to its folder.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KeyError
        If it has a key that no description has.
    ValueError
        If it is no TOML or JSON, or a value is none that the key takes.
    """
    path = Path(path)
    return described(read_values(path), f"in {str(path)!r}", path.parent)


def files_in(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files that a description names, with their keys."""
    values = read_values(path)
    for key in ("architecture", "weights", "class_names"):
        value = in_folder(key, values.get(key), path.parent)
        if isinstance(value, str):
            file = value.rpartition(":")[0] if key == "architecture" else value
            yield key, Path(file)


def read_values(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON file of keys and values."""
    if not path.is_file():
        raise FileNotFoundError(
            f"model must be an existing description; got {str(path)!r}, which is not there. Check the path."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = _toml(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except ValueError as cause:  # of both kinds of files, and of text in other encodings
        raise ValueError(
            f"description must be a {path.suffix.lower()[1:].upper()} file; got {str(path)!r}, where {cause}. Correct it there."
        ) from cause
    if not isinstance(values, dict):
        raise ValueError(
            f"description must hold keys and values; got {str(path)!r} with a {type(values).__name__}. "
            f"The keys are {', '.join(CHECKS)}."
        )
    return values


def described(values: Values, where: str = "", folder: Path = Path()) -> Description:
    """Check what is said about a network; None says nothing.

    Parameters
    ----------
    values : mapping
        By key.
    where : str, default: ""
        Where it is said, for messages: ``"in 'model.toml'"``.
    folder : Path
        What paths are relative to.

    Raises
    ------
    KeyError, ValueError
        If a key or a value is none.

    Examples
    --------
    >>> described({"size": 64, "mean": [0.5, 0.5, 0.5]}).size
    (64, 64)
    """
    clean = {}
    for key, value in values.items():
        if key not in CHECKS:
            raise UnknownNameError(
                f"unknown key {key!r} {where}".rstrip()
                + f"{closest(key, CHECKS)} The keys are {', '.join(CHECKS)}."
            )
        if value is None:
            continue
        try:
            clean[key] = CHECKS[key](in_folder(key, value, folder))
        except Unfit as cause:
            raise ValueError(
                f"{key} must be {cause}; got {value!r} {where}".rstrip() + ". " + ADVICE[key]
            ) from None
    found = Description(**clean)
    _check_together(found, where)
    return found


def _toml(text: str) -> dict[str, Any]:
    library = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return dict(library.loads(text))


def _check_together(found: Description, where: str) -> None:
    """Raise if two values do not go together."""
    lengths = {
        name: len(value)
        for name in ("channels", "mean", "std")
        if (value := getattr(found, name)) and len(value) > 1
    }
    if found.channels is not None:
        lengths["channels"] = len(found.channels)
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{count} of {name}" for name, count in lengths.items())
        raise ValueError(
            f"channels, mean and std must be as many {where}".rstrip()
            + f"; got {said}. Give one for each channel."
        )
    if found.size is not None and found.resize is not None:
        before = (found.resize,) * 2 if isinstance(found.resize, int) else found.resize
        if found.crop is False:
            raise ValueError(
                f"resize must not be given with crop = false {where}".rstrip()
                + "; got both. size says it all."
            )
        if before[0] < found.size[0] or before[1] < found.size[1]:
            raise ValueError(
                f"resize must not be below size {where}".rstrip()
                + f"; got {found.resize} for a size of {found.size[0]} x {found.size[1]}. Leave it out, or make it larger."
            )
