"""Write the tables of kernels, banks and composites from the library itself, when the pages are built."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import edgefilter as ef
from edgefilter.plots import plot_kernels

MOST_DRAWN = 25


def write(app: Any) -> None:
    """Write docs/generated/kernels.md and docs/generated/kernels_banks.md with their pictures."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    (folder / "kernels.md").write_text(_kernels(folder), encoding="utf-8")
    (folder / "kernels_banks.md").write_text(_banks(), encoding="utf-8")


def _kernels(folder: Path) -> str:
    families: dict[str, list[ef.Kernel]] = defaultdict(list)
    for name in ef.kernel_names():
        families[ef.get_kernel(name).family].append(ef.get_kernel(name))
    return "\n".join(_family(folder, *item) for item in families.items())


def _family(folder: Path, family: str, kernels: list[ef.Kernel]) -> str:
    picture = f"kernels_{family}.png"
    plot_kernels(kernels[:MOST_DRAWN]).savefig(folder / picture, dpi=80)
    shown = "" if len(kernels) <= MOST_DRAWN else f" (the first {MOST_DRAWN} of {len(kernels)})"
    sources = {kernel.source for kernel in kernels}
    lines = [f"## {family}", "", f"![Kernels of the family {family}{shown}](generated/{picture})", ""]
    if len(sources) == 1:
        lines += [f"Source of all {len(kernels)}: {_cell(kernels[0].source)}.", ""]
    return "\n".join([*lines, *_rows(kernels, sourced=len(sources) > 1), ""])


def _rows(kernels: list[ef.Kernel], *, sourced: bool) -> list[str]:
    rows = ["| name | size | source |", "|---|---|---|"] if sourced else ["| name | size |", "|---|---|"]
    for kernel in kernels:
        names = ", ".join(f"`{name}`" for name in (kernel.name, *kernel.aliases))
        height, width = kernel.weight.shape
        rows.append(f"| {names} | {height}x{width} |" + (f" {_cell(kernel.source)} |" if sourced else ""))
    return rows


def _banks() -> str:
    lines = ["| name | kernels | size | rank | complete |", "|---|---|---|---|---|"]
    for name in ef.bank_names():
        bank = ef.get_bank(name)
        height, width = bank.weight.shape[1:]
        complete = "yes" if bank.is_complete else f"no, of {height * width}"
        lines.append(f"| `{name}` | {len(bank)} | {height}x{width} | {bank.rank} | {complete} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*").replace("<", r"\<")


def setup(app: Any) -> dict[str, bool]:
    """Run before the pages are read."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
