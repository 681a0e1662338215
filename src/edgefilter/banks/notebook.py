"""How kernels and banks show themselves in a notebook: their weights, colored by sign and size."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgefilter._checks import counted
from edgefilter._notebook import ROWS, Tiles, Words, shown

__all__ = ["html_of_bank", "html_of_kernel"]

ANSWERS = ("brightness", "edges", "lines and corners", "texture")  # by order

WRITTEN = 9  # weights of a kernel that are written out where it stands beside others

Tile = tuple[str, str, tuple[tuple[tuple[str, str, float], ...], ...]]


def html_of_kernel(kernel: Any) -> str:
    """Return a kernel as HTML: its weights with their numbers, and what is known of it."""
    order = f"It answers to {ANSWERS[min(kernel.order, 3)]}."
    notes = kernel.notes and f"{kernel.notes[:1].upper()}{kernel.notes[1:].rstrip('.')}."
    about = (order, notes, f"Source: {kernel.source}" * bool(kernel.source))
    return shown(
        kernel,
        lambda: Tiles((_tile(kernel, kernel.label),), "Red weighs positively, blue negatively."),
        lambda: Words(tuple(filter(None, about))),
    )


def html_of_bank(bank: Any) -> str:
    """Return a bank as HTML: its kernels side by side with their names, the first 25 of many."""
    return shown(bank, lambda: Words(_facts(bank)), lambda: _tiles(bank))


def _facts(bank: Any) -> tuple[str, ...]:
    height, width = bank.shape
    spans = "every kernel" if bank.is_complete else f"{bank.rank} of {height * width} dimensions"
    return (
        f"{counted(len(bank), 'kernel')} of {height} x {width} that span{'s' * (len(bank) == 1)} {spans} of this size.",
    )


def _tiles(bank: Any) -> Tiles:
    labels = bank.labels
    written = bank.shape[0] * bank.shape[1] <= WRITTEN
    tiles = tuple(
        _tile(kernel, kernel.label if labels.count(kernel.label) < 2 else kernel.name, written=written)
        for kernel in bank.kernels[:ROWS]
    )
    rest = len(bank) - len(tiles)
    notes = (
        "Red weighs positively, blue negatively; each kernel has its own scale.",
        "" if written else f"bank[{bank.names[0]!r}] shows the numbers.",
        f"{rest} more kernel{'s' * (rest > 1)}: bank.names lists all." if rest > 0 else "",
    )
    return Tiles(tiles, " ".join(filter(None, notes)))


def _tile(kernel: Any, label: str, *, written: bool = True) -> Tile:
    largest = float(np.abs(kernel.weight).max()) or 1.0
    rows = tuple(
        tuple((f"{value:.4g}" if written else "", repr(value), value / largest) for value in line)
        for line in kernel.weight.tolist()
    )
    about = f"{kernel.name}, family {kernel.family}, order {kernel.order}"
    return label.replace("_", " "), about, rows
