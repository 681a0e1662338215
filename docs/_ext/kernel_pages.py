"""Write the gallery of kernels and the table of banks from the library itself, when the pages are built."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import demo
import numpy as np
import torch
from matplotlib.figure import Figure
from pictures import PICTURES

import edgefilter as ef
from edgefilter.plots.words import spaced

MOST_DRAWN, ACROSS = 24, 6
PHOTO = (150, 100)  # width and height of the photo that kernels are shown with


def write(app: Any) -> None:
    """Write docs/generated/kernels.md and docs/generated/kernels_banks.md, and register the pictures that they show."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    (folder / "kernels.md").write_text(_kernels(), encoding="utf-8")
    (folder / "kernels_banks.md").write_text(_banks(), encoding="utf-8")


def _kernels() -> str:
    families: dict[str, list[ef.Kernel]] = defaultdict(list)
    for name in ef.kernel_names():
        families[ef.get_kernel(name).family].append(ef.get_kernel(name))
    return "\n".join(_family(*item) for item in families.items())


def _family(family: str, kernels: list[ef.Kernel]) -> str:
    shown, sources = kernels[:MOST_DRAWN], {kernel.source for kernel in kernels}
    picture = "kernels_" + "".join(letter if letter.isalnum() else "_" for letter in family)
    PICTURES[picture] = partial(gallery, tuple(shown))
    alt = f"Kernels of the family {family} and what each sees in the coffee photo: {', '.join(kernel.name for kernel in shown)}."
    lines = [f"## {family}", "", f"```{{picture}} {picture}", f":alt: {alt}"]
    lines += [":class: narrow"] if len(shown) < ACROSS else []
    lines += [
        "",
        *([f"The first {MOST_DRAWN} of {len(kernels)}."] if len(kernels) > len(shown) else []),
        "```",
        "",
    ]
    if len(sources) == 1:
        lines += [f"Source of all {len(kernels)}: {_cell(kernels[0].source)}.", ""]
    return "\n".join([*lines, *_rows(kernels, sourced=len(sources) > 1), ""])


@cache
def photo() -> torch.Tensor:
    """Return the coffee photo in gray, from 0 to 1."""
    gray = np.asarray(demo.photo().convert("L").resize(PHOTO), dtype=np.float64)
    return torch.from_numpy(gray / 255)[None, None]


def seen(weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the correlation of the photo with a kernel, as a picture."""
    height, width = weight.shape
    places = (width // 2, (width - 1) // 2, height // 2, (height - 1) // 2)
    padded = torch.nn.functional.pad(photo(), places, mode="replicate")
    found = torch.nn.functional.conv2d(
        padded, torch.from_numpy(np.array(weight, dtype=np.float64))[None, None]
    )
    return demo.signed(found[0, 0].numpy())


def gallery(kernels: tuple[ef.Kernel, ...]) -> Figure:
    """Draw kernels, and below each its response to the photo."""
    columns, rows = min(ACROSS, len(kernels)), math.ceil(len(kernels) / ACROSS)
    figure = Figure(figsize=(1.4 * columns, 2.5 * rows), layout="constrained")
    cells = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1.3, 0.93] * rows)
    for axes in cells.flat:
        axes.set(xticks=[], yticks=[])
        axes.axis("off")
    for place, kernel in enumerate(kernels):
        above, below = cells[2 * (place // ACROSS) : 2 * (place // ACROSS) + 2, place % ACROSS]
        above.imshow(demo.signed(kernel.weight, 100), interpolation="nearest")
        above.set_title(spaced(kernel.name), fontsize=8 if len(kernel.name) < 17 else 6.5, pad=3)
        below.imshow(seen(kernel.weight))
        for axes in (above, below):
            axes.axis("on")
    return figure


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
