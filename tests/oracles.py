"""Slow, plain versions of what the package does, to test it against: NumPy and the standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

RING = ((0, 1), (0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2))  # counter-clockwise from the north


def correlate(image, weight):
    """Correlate without padding, pixel by pixel: the kernel is not flipped."""
    image, weight = np.asarray(image, dtype=float), np.asarray(weight, dtype=float)
    height, width = image.shape[0] - weight.shape[0] + 1, image.shape[1] - weight.shape[1] + 1
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            out[y, x] = (image[y : y + weight.shape[0], x : x + weight.shape[1]] * weight).sum()
    return out


def kernel_of(function: Callable[[np.ndarray], np.ndarray], size: int, side: int = 41) -> np.ndarray:
    """Read the correlation kernel of a linear filter from its answer to an impulse."""
    image, centre, reach = np.zeros((side, side)), side // 2, size // 2
    image[centre, centre] = 1.0
    answer = np.asarray(function(image), dtype=float)
    inside = answer[centre - reach : centre + reach + 1, centre - reach : centre + reach + 1]
    return inside[::-1, ::-1]


def polynomial(p: int, n: int) -> list[int]:
    """Multiply out ``(z - 1)^p (1 + z)^(n - 1 - p)``, lowest power first."""
    result = [1]
    for constant in [-1] * p + [1] * (n - 1 - p):
        shifted = [0, *result]
        result = [constant * low + high for low, high in zip([*result, 0], shifted, strict=True)]
    return result


def gram_schmidt(n: int) -> np.ndarray:
    """Orthogonalise 1, x, x^2, ... on n points in exact fractions; the leading coefficient stays positive."""
    rows: list[list[Fraction]] = []
    for p in range(n):
        row = [Fraction(x) ** p for x in range(n)]
        for known in rows:
            share = sum(a * b for a, b in zip(row, known, strict=True)) / sum(a * a for a in known)
            row = [a - share * b for a, b in zip(row, known, strict=True)]
        rows.append(row)
    return np.array([[float(a) / math.sqrt(sum(b * b for b in row)) for a in row] for row in rows])


def turn(weight, times: int = 1) -> np.ndarray:
    """Move the eight neighbours of a 3x3 kernel ``times`` places counter-clockwise."""
    out = np.array(weight, dtype=float)
    for place, cell in enumerate(RING):
        out[RING[(place + times) % 8]] = weight[cell[0]][cell[1]]
    return out


def embed(weight, height: int, width: int) -> np.ndarray:
    """Set a kernel in the middle of a support; half a pixel off goes to the lower right."""
    out = np.zeros((height, width))
    for y, row in enumerate(weight):
        for x, value in enumerate(row):
            out[math.ceil((height - len(weight)) / 2) + y, math.ceil((width - len(row)) / 2) + x] = value
    return out


def total_order(height: int, width: int) -> list[tuple[int, int]]:
    """List all (order along x, order along y) by their sum, the higher x order first."""
    return [
        (s - q, q) for s in range(height + width - 1) for q in range(s + 1) if s - q < width and q < height
    ]
