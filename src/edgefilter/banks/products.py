"""Kernels of any size as products of two rows: ``dx1_dy0`` and its relatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .kernel import Array, Kernel
from .rows import binomial_rows, dct_rows, gram_rows, krawtchouk_function_rows, sobel_rows, walsh_rows
from .sources import BINOMIAL, DCT, GRAM, KRAWTCHOUK, WALSH, entry

__all__ = ["product_kernels"]

_WORDS = ("blur", "edge", "line", "wave", "ripple", "undulation", "oscillation")


def _words(p: int, q: int, _size: int) -> str:
    """Say in words what order p along x and q along y answers to."""
    special = {(0, 0): "blur", (1, 1): "saddle_xy", (2, 2): "spot"}
    along = [f"{_WORDS[n] if n < len(_WORDS) else f'd{n}'}_{axis}" for n, axis in ((p, "x"), (q, "y")) if n]
    return special.get((p, q)) or "_".join(along)


def _frequency_words(p: int, q: int, size: int) -> str:
    """Name a cosine by its half-periods once there are too many for words."""
    return _words(p, q, size) if size <= 3 or p + q <= 1 else f"wave_x{p}_y{q}"


class _Family(NamedTuple):
    rows: Callable[[int], Array]
    source: str
    notes: str
    code: str = "dx{}_dy{}"
    words: Callable[[int, int, int], str] = _words


_FAMILIES = {
    "sobel": _Family(sobel_rows, BINOMIAL, "Sobel of all orders at unit L2 norm"),
    "krawtchouk": _Family(
        binomial_rows,
        f"{KRAWTCHOUK}; {BINOMIAL}",
        "integer; OpenCV Sobel(dx, dy, ksize) of the same orders; a Laws mask up to sign",
    ),
    "krawtchouk_functions": _Family(
        krawtchouk_function_rows, KRAWTCHOUK, "orthonormal; even orders are not zero-mean"
    ),
    "gram": _Family(gram_rows, GRAM, "orthonormal; all but the first zero-mean; at 3 the Prewitt family"),
    "dct": _Family(
        dct_rows,
        DCT,
        "orthonormal DCT-II row times (-1)^order: order 1 is + for a rising ramp; u, v = x, y frequency",
        "u{}_v{}",
        _frequency_words,
    ),
    "walsh": _Family(
        walsh_rows, WALSH, "by number of sign changes, orthonormal; powers of two", "s{}_t{}", lambda *_: ""
    ),
}


def product_kernels(family: str, height: int, width: int, prefix: str = "") -> list[Kernel]:
    """Return all ``height * width`` outer products of a family's rows, by total order, x before y.

    Parameters
    ----------
    family : str
        ``"sobel"``, ``"krawtchouk"``, ``"krawtchouk_functions"``, ``"gram"``, ``"dct"`` or ``"walsh"``.
    height, width : int
        The support.
    prefix : str
        Put before each name.

    Returns
    -------
    kernels : list of Kernel
        ``height * width`` linearly independent kernels.

    Examples
    --------
    >>> [k.name for k in product_kernels("dct", 2, 2)]
    ['u0_v0', 'u1_v0', 'u0_v1', 'u1_v1']
    """
    rows, source, notes, code, words = _FAMILIES[family]
    down, across = rows(height), rows(width)
    orders = sorted(((p, q) for p in range(width) for q in range(height)), key=lambda o: (sum(o), -o[0]))
    kernels = []
    for p, q in orders:
        name, word = prefix + code.format(p, q), words(p, q, max(height, width))
        aliases = (word,) if word else ()
        kernels.append(entry(name, np.outer(down[q], across[p]), family, source, notes, aliases, p + q))
    return kernels
