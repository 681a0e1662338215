"""Argument checks: return the clean value or raise in the house's words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

__all__ = ["UnknownNameError", "closest", "new_file", "pair"]


class UnknownNameError(KeyError, ValueError):
    """A KeyError (and ValueError) whose text reads as written: ``str(KeyError("..."))`` would add quotes around it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def closest(name: str, known: Iterable[str]) -> str:
    """Say which known name a misspelt one was meant to be, ready to stand in a message.

    Examples
    --------
    >>> closest("sobel-x", ["sobel_x", "prewitt_x"])
    "; did you mean 'sobel_x'?"
    >>> closest("zzz", ["sobel_x"])
    '.'
    """
    match = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f"; did you mean {match[0]!r}?" if match else "."


def pair(value: int | tuple[int, int], name: str, minimum: int) -> tuple[int, int]:
    """Return ``(height, width)`` of an argument given as one integer or as two.

    Raises
    ------
    ValueError
        If a value is not an integer or is below ``minimum``.

    Examples
    --------
    >>> pair(3, "size", 1)
    (3, 3)
    """
    values: tuple[object, ...] = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    clean = [int(v) for v in values if isinstance(v, (int, np.integer)) and not isinstance(v, bool)]
    if len(values) != 2 or len(clean) != 2 or min(clean) < minimum:
        raise ValueError(
            f"{name} must be an integer >= {minimum} or a pair of them; got {value!r}. "
            f"Pass for example {name}={max(minimum, 1)} or {name}=({max(minimum, 1)}, {max(minimum, 1)})."
        )
    return clean[0], clean[1]


def new_file(path: str | Path, *, overwrite: bool) -> Path:
    """Return a path to write to.

    Raises
    ------
    FileExistsError
        If the file is there and ``overwrite`` is False.
    FileNotFoundError
        If its folder is not there.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"path must be a new file; got {str(path)!r}, which exists. Pass overwrite=True."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path must lie in a folder that exists; got {str(path)!r}. Make {str(path.parent)!r} first."
        )
    return path
