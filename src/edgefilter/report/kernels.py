"""Kernels drawn as SVG."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from edgefilter.banks.bank import FilterBank
from edgefilter.banks.presets import bank_names, complete_bank, get_bank
from edgefilter.plots.arrays import Array

from .pictures import as_data_uri, blend, map_png
from .protocols import Reported

__all__ = ["bank_behind", "drawn_kernel", "kernel_paths"]

COMPLETE = re.compile(r"complete_([a-z_]+)_(\d+)x(\d+)")
LARGEST = 7  # side of a kernel drawn as squares: 256 kernels of 16 x 16 take 800 KB so, and 190 as pictures
SHADES = 6  # on each side of zero: more cannot be told apart at 22 pixels


def bank_behind(explanation: Reported, bank: FilterBank | None) -> FilterBank | None:
    """Return the bank whose filters were scored: the given one, or a preset or complete one that the explanation names.

    Raises
    ------
    ValueError
        If the given bank holds other filters.
    """
    filters = explanation.filters
    if bank is not None:
        if tuple(getattr(bank, "names", ())) != filters:
            raise ValueError(
                f"bank must hold the explanation's {len(filters)} filters; got {bank!r}. Pass the bank that was explained, or none."
            )
        return bank
    name = explanation.about.get("bank", "")
    known = get_bank(name) if name in bank_names() else None
    if match := COMPLETE.fullmatch(name):
        family, height, width = match.groups()
        known = complete_bank((int(height), int(width)), family)
    return known if known is not None and tuple(known.names) == filters else None


def drawn_kernel(weight: Array) -> dict[str, Any]:
    """Return what draws a kernel: paths of SVG, or of a large kernel a picture."""
    if max(weight.shape) <= LARGEST:
        return {"png": None, "paths": kernel_paths(weight)}
    return {"png": as_data_uri(map_png(weight, float(np.abs(weight).max()))), "paths": []}


def kernel_paths(weight: Array) -> list[tuple[str, str]]:
    """Return the squares of a kernel by color: pairs of a color and a path of SVG, on a ground of white.

    Examples
    --------
    >>> kernel_paths(np.array([[1.0, 0.0], [-1.0, 1.0]]))
    [('#053061', 'M0 1h1v1h-1z'), ('#67001f', 'M0 0h1v1h-1zM1 1h1v1h-1z')]
    """
    limit = float(np.abs(weight).max()) or 1.0
    shades = np.round(weight / limit * SHADES).astype(int)
    paths: dict[int, str] = {}
    for (row, column), shade in np.ndenumerate(shades):
        if shade:
            paths[int(shade)] = paths.get(int(shade), "") + f"M{column} {row}h1v1h-1z"
    return [("#{:02x}{:02x}{:02x}".format(*blend(shade / SHADES)), paths[shade]) for shade in sorted(paths)]
