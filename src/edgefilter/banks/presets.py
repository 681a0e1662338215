"""The banks that have a name, and the complete ones of every size."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from edgefilter._checks import closest, pair
from edgefilter.errors import UnknownNameError

from .bank import FilterBank, Size
from .catalogue import get_kernel, kernel_names
from .families import COMPASS
from .gabor import gabor_kernels
from .kernel import Kernel
from .products import product_kernels

__all__ = ["bank_names", "complete_bank", "get_bank"]


def _compass(family: str, first: str = "n") -> tuple[str, ...]:
    start = COMPASS.index(first)
    return tuple(f"{family}_{side}" for side in COMPASS[start:] + COMPASS[:start])


def _members(family: str, size: int) -> tuple[str, ...]:
    """Return the catalogue's kernels of one family and size, in order."""
    kernels = map(get_kernel, kernel_names())
    return tuple(k.name for k in kernels if k.family == family and k.weight.shape == (size, size))


_LINES = ("line_0", "line_45", "line_90", "line_135")
_GRADIENTS = (
    *("sobel_x", "sobel_y", "sobel_d45", "sobel_d135", "prewitt_x", "prewitt_y", "scharr_x", "scharr_y"),
    *("roberts_d45_3x3", "roberts_d135_3x3"),
)
_EDGES = (*_GRADIENTS, "laplacian_4", "laplacian_8", *_LINES)
_FREI_CHEN = (
    "average",
    "edge_x",
    "edge_y",
    "line_1",
    "line_2",
    "ripple_1",
    "ripple_2",
    "laplace_1",
    "laplace_2",
)

_PRESETS: dict[str, tuple[str, ...]] = {
    **{f: (f"{f}_x", f"{f}_y") for f in ("sobel", "prewitt", "scharr")},
    "roberts": ("roberts_d45", "roberts_d135"),
    "farid": ("farid_x", "farid_y"),
    "sobel4": ("sobel_x", "sobel_d45", "sobel_y", "sobel_d135"),
    "laplacian": ("laplacian_4", "laplacian_8"),
    "lines": _LINES,
    "compass": _compass("robinson"),
    **{f: _compass(f) for f in ("robinson", "kirsch", "prewitt_compass")},
    "frei_chen": tuple(f"frei_chen_{name}" for name in _FREI_CHEN),
    "emboss": _compass("emboss", first="se"),
    "edges_zero_mean": _EDGES,
    "edges": (*_EDGES, "binomial_3x3", "identity_3x3"),
    "general": (
        *("identity_3x3", "box_3x3", "binomial_3x3", "sharpen_4", "sharpen_8"),
        *("emboss_se", "emboss_ne", "emboss_nw", "emboss_sw"),
        *_EDGES,
        *_compass("kirsch"),
        *("emboss_e", "emboss_n", "emboss_w", "emboss_s"),
        *("dct3_u1_v1", "dct3_u2_v1", "dct3_u1_v2", "dct3_u2_v2"),
    ),
    "gabor7": tuple(f"gabor7_t{t}_{phase}" for t in (0, 45, 90, 135) for phase in ("even", "odd")),
    "gaussian_derivatives7": tuple(f"gauss_{axes}_7x7_s1" for axes in ("x", "y", "xx", "xy", "yy")),
}
_FORMULA_SETS = {  # preset: the family and size of its members
    **{
        f"{f}_{k}": (f, k)
        for k in (3, 5, 7)
        for f in ("laws", "krawtchouk", "krawtchouk_functions", "gram", "dct")
    },
    "walsh_4": ("walsh", 4),
}
_MADE: dict[str, Callable[..., list[Kernel]]] = {"gabor": gabor_kernels}  # by options


def bank_names() -> list[str]:
    """Return the names of all preset banks.

    Examples
    --------
    >>> bank_names()[:4]
    ['sobel', 'prewitt', 'scharr', 'roberts']
    """
    return [*_PRESETS, *_FORMULA_SETS, *_MADE]


def get_bank(name: str, **options: Any) -> FilterBank:
    """Return a preset bank, its kernels as in their sources.

    Parameters
    ----------
    name : str
        One of `bank_names`.
    **options
        Of ``"gabor"`` alone: ``orientations=4`` and ``scales=2``, numbers of them or the directions in degrees and the wavelengths in pixels;
        ``phases=("even", "odd")``; ``sigma=0.56``, ``aspect=0.5`` and ``extent=2.5``, the shape of the envelope in wavelengths: see
        ``edgefilter.banks.gabor.gabor_kernels``.

    Raises
    ------
    KeyError
        If there is no such preset.
    TypeError
        If it has no such option.
    ValueError
        If an option is out of its range.

    Examples
    --------
    >>> get_bank("sobel").names
    ['sobel_x', 'sobel_y']
    >>> len(get_bank("edges")), get_bank("edges").rank
    (18, 9)
    >>> len(get_bank("gabor", orientations=8, scales=3)), get_bank("gabor", scales=(4, 8)).size
    (48, 21)
    """
    if name in bank_names():
        _check_options(name, options)
    if name in _MADE:
        return FilterBank(_MADE[name](**options), name=name)
    if name in _PRESETS:
        return FilterBank(_PRESETS[name], name=name)
    if name in _FORMULA_SETS:
        return FilterBank(_members(*_FORMULA_SETS[name]), name=name)
    known = bank_names()
    raise UnknownNameError(
        f"unknown bank {name!r}{closest(name, known)} bank_names() lists all {len(known)}."
    )


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise for an option that a bank does not have."""
    known = list(inspect.signature(_MADE[name]).parameters) if name in _MADE else []
    wrong = next((option for option in options if option not in known), None)
    if wrong == "trainable":
        raise TypeError(
            "trainable must be left out: the kernels of a bank are fixed, or their names and scores would mean nothing after training. "
            "Train the mixing of EdgeFilterConv2d behind them, or a SpectralTransform2d on feature maps."
        )
    if wrong is not None:
        has = f"has the options {', '.join(known)}" if known else "has no options"
        raise TypeError(f"bank {name!r} {has}; got {wrong}={options[wrong]!r}. Leave it out.")


_COMPLETE = {"sobel": "sobel", "dct": "dct", "gram": "gram", "krawtchouk": "krawtchouk_functions"}


def complete_bank(size: Size, family: str | None = None) -> FilterBank:
    """Return ``height * width`` independent named kernels: every kernel of this size is a sum of them.

    Ordered by total order, x before y, so that a prefix holds all kernels up to an order: ``blur``,
    ``edge_x``, ``edge_y``, ``line_x``, ... All have unit Euclidean norm.

    Parameters
    ----------
    size : int or (int, int)
        The support, ``(height, width)``, any size from 1.
    family : {"sobel", "dct", "gram", "krawtchouk", "frei_chen"}, optional
        ``"sobel"``: derivatives of all orders, named ``dx1_dy0`` with words as aliases; not orthogonal.
        ``"dct"``, ``"gram"``, ``"krawtchouk"`` (its functions): orthonormal. ``"frei_chen"``: size 3 only.
        By default ``"sobel"`` up to 7, ``"dct"`` above.

    Returns
    -------
    bank : FilterBank
        With ``is_complete`` true.

    Raises
    ------
    ValueError
        If ``size`` is not one or two positive integers, or the family does not exist at this size.

    Examples
    --------
    >>> complete_bank(3).names[:4], complete_bank(3).labels[:4]
    (['dx0_dy0', 'dx1_dy0', 'dx0_dy1', 'dx2_dy0'], ['blur', 'edge_x', 'edge_y', 'line_x'])
    >>> complete_bank((3, 5)).shape, complete_bank(11).families[0]
    ((3, 5), 'dct')
    """
    height, width = pair(size, "size", 1)
    if family is None:
        family = "sobel" if max(height, width) <= 7 else "dct"
    name = f"complete_{family}_{height}x{width}"
    if (rows := _COMPLETE.get(str(family))) is not None:
        return FilterBank(product_kernels(rows, height, width), name=name)
    if family != "frei_chen":
        known = [*_COMPLETE, "frei_chen"]
        hint = closest(family, known)
        raise ValueError(f"unknown family {family!r}{hint} Choose one of {', '.join(known)}.")
    if (height, width) != (3, 3):
        raise ValueError(f"size must be 3 for family 'frei_chen'; got {size!r}. Use family='sobel' or 'dct'.")
    return FilterBank(_PRESETS["frei_chen"], name=name)
