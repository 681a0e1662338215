"""Means with their 95 % intervals, who wins by paired differences, and Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

NOTHING = "-"
Values = Mapping[str, float]  # by image


class Estimate(NamedTuple):
    """A mean and half of its 95 % interval (Student's t over images, or networks)."""

    mean: float
    half: float
    count: int


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of some values with its interval."""
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return Estimate(float(array.mean()), math.nan, len(array))
    half = student.ppf(0.975, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array))
    return Estimate(float(array.mean()), float(half), len(array))


def paired(first: Values, second: Values) -> Estimate | None:
    """Return the mean difference, second minus first, over what both have; None for less than two."""
    both = sorted(set(first) & set(second))
    return estimate([second[name] - first[name] for name in both]) if len(both) > 1 else None


def winners(values: Mapping[str, Values], *, high: bool) -> list[str]:
    """Return the methods that no other one beats beyond the interval of the paired difference."""
    sign = 1 if high else -1
    found = []
    for name, mine in values.items():
        differences = (paired(mine, other) for key, other in values.items() if key != name)
        if not any(d is not None and sign * d.mean > d.half for d in differences):
            found.append(name)
    return found


def cell(value: Estimate, *, bold: bool = False) -> str:
    """Return a mean with half of its interval; in bold for a winner."""
    text = f"{value.mean:.3f}" + ("" if math.isnan(value.half) else f" \N{PLUS-MINUS SIGN} {value.half:.3f}")
    return f"**{text}**" if bold else text


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; columns of numbers are set to the right."""
    sides = [
        "---:" if place and all(row[place][:1] in "-0123456789*" for row in rows) else "---"
        for place in range(len(heads))
    ]
    lines = [heads, sides, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
