"""The figures of the pages on trust, from the committed tables of the benchmark."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from pictures import picture

TABLE = Path(__file__).parent.parent / "_static" / "groundtruth.md"
DETAILS = TABLE.with_name("groundtruth_details.md")
NETWORKS = {
    "gratings": "gratings",
    "digits, shipped": "digits",
    "fruits, ResNet-18": "ResNet-18",
    "fruits, shipped": "fruits",
    "photos, EfficientNet-Lite0": "photos",
}
MARKS = {  # column of the table: color, marker, size
    "two games": ("#2166ac", "D", 44),
    "default": ("#d6604d", "o", 58),
    "best of Captum": ("#4aa35a", "s", 34),
    "relevance alone": ("#b08a3c", "v", 40),
}
CONTROL, CEILING = "response energy", "ceiling"


def rows(path: Path = TABLE) -> list[dict[str, str]]:
    """Return the rows of the first table."""
    return table(path.read_text(encoding="utf-8").split("\n\n")[0])


def table(text: str) -> list[dict[str, str]]:
    """Return the rows of a table in Markdown, by head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(heads, cells, strict=True)) for cells in body]


def sections(path: Path = DETAILS) -> dict[str, list[dict[str, str]]]:
    """Return the tables of agreement with the Shapley values, by network."""
    text = path.read_text(encoding="utf-8").split("\n## Against Shapley values\n")[1].split("\n## ")[0]
    parts = [part.split("\n\n", 1) for part in text.split("\n### ")[1:]]
    return {title.strip(): table(body) for title, body in parts if title.strip() in NETWORKS}


def pearson(cell: str) -> float | None:
    """Return the first number of "0.96 / 0.92 LayerConductance", None for "exact"."""
    found = re.match(r"-?\d*\.\d+", cell)
    return float(found[0]) if found else None


@picture
def trust() -> Any:
    """Dots for the methods, a row for each test."""
    found = rows()
    figure = Figure(figsize=(8.4, 0.36 * len(found) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(found):
        ceiling = pearson(row[CEILING])
        if ceiling is not None:
            axes.plot(
                [ceiling] * 2, [place - 0.35, place + 0.35], "--", color=rcParams["text.color"], linewidth=1
            )
        axes.scatter(
            pearson(row[CONTROL]), place, s=40, facecolor="none", edgecolor=rcParams["xtick.color"], zorder=2
        )
        for shift, (name, (color, marker, size)) in zip(
            (-0.21, -0.07, 0.07, 0.21), MARKS.items(), strict=True
        ):
            axes.scatter(
                pearson(row[name]),
                place + shift,
                s=size,
                color=color,
                marker=marker,
                zorder=3,
                label=name if place == 0 else None,
            )
    axes.scatter(
        [], [], s=40, facecolor="none", edgecolor=rcParams["xtick.color"], label=f"{CONTROL} (control)"
    )
    axes.set_yticks(range(len(found)), [row["near the Shapley values of"] for row in found])
    axes.set(xlim=(-0.35, 1.05), xlabel="Pearson correlation with the Shapley values")
    axes.invert_yaxis()
    axes.axvline(0, color=rcParams["axes.edgecolor"], linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(
        loc="outside upper center", ncols=5, frameon=False, fontsize=9, handletextpad=0.2, columnspacing=1.2
    )
    return figure


@picture
def agreement() -> Any:
    """All methods on all tests, as colors and numbers."""
    found = [
        (
            f"{level.split(' (')[0]}, {NETWORKS[network]}",
            {row["method"]: pearson(row[level]) for row in lines},
        )
        for network, lines in sections().items()
        for level in lines[0]
        if level != "method"
    ]
    methods = list(
        dict.fromkeys(name for _, column in found for name in column if "half of the reference" not in name)
    )
    values = np.array([[column.get(name) for _, column in found] for name in methods], dtype=float)
    figure = Figure(figsize=(9.6, 0.27 * len(methods) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="RdBu_r", norm=Normalize(-1, 1), aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        ink = "#ffffff" if abs(value) > 0.6 else "#1c1e21"
        axes.text(
            x, y, "" if np.isnan(value) else f"{value:.2f}", ha="center", va="center", fontsize=7.5, color=ink
        )
    axes.set_yticks(range(len(methods)), methods, fontsize=8)
    axes.set_xticks(range(len(found)), [title for title, _ in found], fontsize=8, rotation=40, ha="left")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
