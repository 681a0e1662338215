"""One-dimensional bases of any length: the rows that kernels are products of."""

from __future__ import annotations

import math

import numpy as np

from .kernel import Array

__all__ = ["binomial_rows", "dct_rows", "gram_rows", "krawtchouk_function_rows", "sobel_rows", "walsh_rows"]


def binomial_rows(n: int) -> Array:
    """Return the extended Sobel rows: row p holds the coefficients of ``(z - 1)^p (1 + z)^(n - 1 - p)``.

    Row 0 smooths, row 1 is the first derivative, row p the p-th. Exact integers up to n = 50.

    Examples
    --------
    >>> binomial_rows(3).astype(int).tolist()
    [[1, 2, 1], [-1, 0, 1], [1, -2, 1]]
    """
    top = n - 1

    def coefficient(p: int, x: int) -> int:
        return sum(
            (-1) ** (p - j) * math.comb(p, j) * math.comb(top - p, x - j) for j in range(min(p, x) + 1)
        )

    return np.array([[coefficient(p, x) for x in range(n)] for p in range(n)], dtype=np.float64)


def krawtchouk_function_rows(n: int) -> Array:
    """Return the orthonormal Krawtchouk functions: binomial rows over the root of the binomial weight.

    Examples
    --------
    >>> (krawtchouk_function_rows(3)[0] * 2).round(4).tolist()
    [1.0, 1.4142, 1.0]
    """
    weight = np.array([math.comb(n - 1, x) for x in range(n)], dtype=np.float64)
    return binomial_rows(n) * np.sqrt(weight[:, None] / weight[None, :] / 2.0 ** (n - 1))


def gram_rows(n: int) -> Array:
    """Return the orthonormal discrete Chebyshev (Gram) polynomials on n points, leading coefficient positive.

    Built from integers, so each entry is right to the last digits; order p is blind to degrees below p.

    Examples
    --------
    >>> (gram_rows(3) ** 2 * 6).round(12).tolist()
    [[2.0, 2.0, 2.0], [3.0, 0.0, 3.0], [1.0, 4.0, 1.0]]
    """

    def value(p: int, x: int) -> int:
        return sum(
            (-1) ** (p - j) * math.comb(n - 1 - j, p - j) * math.comb(p + j, p) * math.comb(x, j)
            for j in range(p + 1)
        )

    rows = [[value(p, x) for x in range(n)] for p in range(n)]
    return np.array([[v / math.sqrt(sum(u * u for u in row)) for v in row] for row in rows])


def dct_rows(n: int) -> Array:
    """Return the orthonormal DCT-II rows, row p times (-1)^p so that order 1 is + for a rising ramp.

    Examples
    --------
    >>> dct_rows(2).round(4).tolist()
    [[0.7071, 0.7071], [-0.7071, 0.7071]]
    """
    order, point = np.arange(n)[:, None], np.arange(n)[None, :]
    step = (2 * point + 1) * order % (4 * n)  # the angle in units of pi / 2n, folded so that zeros are exact
    cosine = np.sin(np.pi * (n - np.minimum(step, 4 * n - step)) / (2 * n))
    scale = np.sqrt(np.where(order == 0, 1.0, 2.0) / n)
    rows: Array = (-1.0) ** order * scale * cosine
    return rows


def sobel_rows(n: int) -> Array:
    """Return the binomial rows at unit L2 norm."""
    rows = binomial_rows(n)
    unit: Array = rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return unit


def walsh_rows(n: int) -> Array:
    """Return the orthonormal Walsh rows by number of sign changes, last entry positive; n a power of two."""
    rows: Array = np.ones((1, 1))
    while len(rows) < n:
        rows = np.block([[rows, rows], [rows, -rows]])
    rows = rows[np.argsort((np.diff(rows, axis=1) != 0).sum(axis=1))]
    return rows * rows[:, -1:] / math.sqrt(n)
