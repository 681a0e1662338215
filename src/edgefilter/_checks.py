"""Argument checks: return the clean value or raise in the house's words."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

__all__ = ["closest", "counted", "is_number", "pair"]


def closest(name: str, known: Iterable[str], plain: Callable[[str], str] = str) -> str:
    """Say which known name a misspelt one was meant to be, ready to stand in a message; ``plain`` makes both comparable.

    Examples
    --------
    >>> closest("sobel-x", ["sobel_x", "prewitt_x"])
    "; did you mean 'sobel_x'?"
    >>> closest("zzz", ["sobel_x"])
    '.'
    """
    names = {plain(one): one for one in known}
    match = difflib.get_close_matches(plain(str(name)), list(names), n=1, cutoff=0.6)
    return f"; did you mean {names[match[0]]!r}?" if match else "."


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


def counted(count: int, one: str, several: str = "") -> str:
    """Write how many there are of something.

    Examples
    --------
    >>> counted(1, "image"), counted(0, "image"), counted(2, "class", "classes")
    ('1 image', '0 images', '2 classes')
    """
    return f"{count} {one if count == 1 else several or one + 's'}"


def is_number(value: Any) -> bool:
    """Return whether an argument is a real number, Python's or NumPy's; a truth value is none.

    Examples
    --------
    >>> [is_number(value) for value in (2, 0.5, np.float32(0.5), True, "2")]
    [True, True, True, False, False]
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
