"""How tables and names are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ROWS", "by_size", "descending", "new_console", "new_table"]

ROWS = 12


def descending(values: Tensor) -> list[int]:
    """Return the places of values, from the largest to the smallest."""
    order: list[int] = values.argsort(descending=True, stable=True).tolist()
    return order


def by_size(values: Tensor) -> list[int]:
    """Return the places of values, from the largest to the smallest in size."""
    return descending(values.abs())


def new_table(left: Sequence[str], right: Sequence[str]) -> Table:
    """Make an empty table with columns that are flush left and flush right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in left:
        table.add_column(head)
    for head in right:
        table.add_column(head, justify="right")
    return table


def new_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Make a console that prints text as it is."""
    return Console(stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False)
