"""How names and numbers are written in figures."""

from __future__ import annotations

import math

import numpy as np

from .arrays import Array

__all__ = ["format_number", "format_numbers", "halves", "spaced"]


def spaced(label: str) -> str:
    """Write a name with spaces.

    Examples
    --------
    >>> spaced("sobel_x")
    'sobel x'
    """
    return label.replace("_", " ")


def halves(label: str) -> tuple[str, str]:
    """Break a label in two, at the space nearest to its middle.

    Examples
    --------
    >>> halves("gradient x activation")
    ('gradient x', 'activation')
    """
    spaces = [index for index, letter in enumerate(label) if letter == " "]
    middle = min(spaces, key=lambda index: abs(index - len(label) // 2), default=len(label))
    return label[:middle], label[middle + 1 :]


def format_number(value: float) -> str:
    """Write a number with three digits and a true minus sign."""
    text = f"{value:.2f}" if 0.1 <= abs(value) < 1000 else f"{value:.2g}"
    return text.replace("-", "\N{MINUS SIGN}")


def format_numbers(values: Array) -> list[str]:
    """Write numbers with as many decimals as give the largest three digits."""
    largest = float(np.abs(values).max())
    if not 1e-3 <= largest < 1e5:
        return [format_number(float(value)) for value in values]
    decimals = max(0, 2 - math.floor(math.log10(largest)))
    return [f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "\N{MINUS SIGN}") for value in values]
