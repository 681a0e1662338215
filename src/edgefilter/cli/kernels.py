"""``edgefilter kernels``: list and draw the kernels of the catalogue, or of a bank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from edgefilter._checks import closest
from edgefilter._files import replacing
from edgefilter.banks.catalogue import get_kernel, kernel_names
from edgefilter.banks.kernel import Kernel
from edgefilter.banks.presets import bank_names
from edgefilter.errors import UnknownNameError
from edgefilter.plots.kernels import plot_kernels
from edgefilter.plots.words import spaced

from .checks import FAILURE, USAGE, check_new, check_picture, chosen_bank, stage
from .options import Force, Quiet
from .printing import new_console

__all__ = ["kernels"]


def kernels(
    family: Annotated[str | None, typer.Option(help="Only the kernels of this family.")] = None,
    bank: Annotated[
        str | None, typer.Option(help="The kernels of this bank instead of the catalogue.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Draw them: .png, .pdf or .svg.")] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """List and draw the kernels of the catalogue, or of a bank."""
    console = new_console(quiet=quiet)
    with stage(USAGE):
        found = list(chosen_bank(bank)) if bank else [get_kernel(name) for name in kernel_names()]
        found = _of_family(found, family)
        if out is not None:
            check_picture(out)
            check_new(out, "out", force)
    fit = console.is_terminal
    with stage(FAILURE):
        if bank is None and family is None:
            console.print(f"Banks: {', '.join(bank_names())}\n", soft_wrap=not fit)
        for line in _kernel_lines(found):
            console.print(line, no_wrap=True, overflow="ellipsis" if fit else "ignore", crop=fit)
        if out is not None:
            figure = plot_kernels(found)
            with replacing(out) as place:
                figure.savefig(place)
            console.print(f"Picture: {out}", soft_wrap=True)


def _kernel_lines(found: list[Kernel]) -> Iterator[str]:
    """Lay out one line per kernel; what may be cut off at the edge of a terminal comes last."""
    rows = [("kernel", "family", "size", "meaning and source")]
    for kernel in found:
        height, width = kernel.weight.shape
        meaning = [] if kernel.label == kernel.name else [spaced(kernel.label)]
        rows.append((kernel.name, kernel.family, f"{height}x{width}", "; ".join([*meaning, kernel.source])))
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:3]]
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])


def _of_family(found: list[Kernel], family: str | None) -> list[Kernel]:
    if family is None:
        return found
    families = dict.fromkeys(kernel.family for kernel in found)
    if family not in families:
        raise UnknownNameError(
            f"unknown family {family!r}{closest(family, families)} The families are {', '.join(families)}."
        )
    return [kernel for kernel in found if kernel.family == family]
