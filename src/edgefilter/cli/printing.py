"""How tables and names are printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ROWS", "by_size", "descending", "new_console", "new_table", "print_fitting", "print_words"]

ROWS = 12
WIDE = 1000  # letters: of what is read by another program, no line is broken


def descending(values: Tensor) -> list[int]:
    """Return the places of values, from the largest to the smallest."""
    order: list[int] = values.argsort(descending=True, stable=True).tolist()
    return order


def by_size(values: Tensor) -> list[int]:
    """Return the places of values, from the largest to the smallest in size."""
    return descending(values.abs())


def new_table(left: Sequence[str], right: Sequence[str]) -> Table:
    """Make an empty table with columns of words, flush left, and of numbers, flush right.

    Where it is too wide, words are broken; they are never cut off, so that rows that differ look different.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in left:
        table.add_column(head, overflow="fold")
    for head in right:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def print_fitting(console: Console, tables: Iterable[Table]) -> None:
    """Print the first of several forms of a table that is not too wide, else the last."""
    table = Table()
    for table in tables:
        if console.measure(table, options=console.options.update_width(WIDE)).maximum <= console.width:
            break
    console.print(table)


def print_words(console: Console, text: str) -> None:
    """Print sentences, broken between words at the edge of a terminal, and nowhere else."""
    console.print(text, soft_wrap=not console.is_terminal)


def new_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Make a console that prints text as it is, as wide as the terminal; a file or a pipe is as wide as it needs to be."""
    stream = sys.stderr if stderr else sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(
        stderr=stderr,
        quiet=quiet,
        highlight=False,
        markup=False,
        emoji=False,
        width=WIDE if wide else None,
    )
