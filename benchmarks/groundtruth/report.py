"""Tables and the figure from the records of all jobs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from scipy.stats import t as student

from .networks import STEMS

Key = tuple[str, str]
Estimate = tuple[float, float]  # mean, and half of the 95 % interval

MAIN: dict[str, Key] = {
    "color hit": ("gratings", "color_hit"),
    "color mass": ("gratings", "color_mass"),
    "filter hit": ("gratings", "filter_hit"),
    "filter disc": ("gratings", "filter_disc"),
    "rho": ("gratings", "rho"),
    "shape color hit": ("shapes", "color_hit"),
    "shape color mass": ("shapes", "color_mass"),
    "stamp mass": ("stamps", "stamp_mass_pixels"),
    "decoy share": ("stamps", "decoy_share_pixels"),
    "stamp mass, responses": ("stamps", "stamp_mass_responses"),
    "decoy share, responses": ("stamps", "decoy_share_responses"),
}
CONTROLS: dict[str, Key] = {
    "redrawn, signed": ("stamps", "redrawn_signed"),
    "redrawn, abs": ("stamps", "redrawn_abs"),
    "Sobel, signed": ("stamps", "sobel_signed"),
    "Sobel, abs": ("stamps", "sobel_abs"),
    "constant scorer": ("stamps", "constant"),
    "colors turned": ("gratings", "color_gap"),
    "places turned": ("gratings", "filter_gap"),
    "deletion, colors": ("gratings", "deletion_color"),
    "deletion, filters": ("gratings", "deletion_edge"),
    "deletion, pairs": ("gratings", "deletion_color_edge"),
}
NOTHING = "-"
COLORS = {"edgefilter": "tab:orange", "Captum": "tab:blue"}
LARGEST = ("constant scorer", "colors turned", "places turned")  # the worst network counts
PHOTOS = [f"{kind}_{level}" for kind in ("rho", "deletion") for level in ("color", "edge", "color_edge")]


LEGEND = """Scores are signed sums. *Gratings*: an independent grating in each color, the label is the orientation in one color.
color hit: that color has the highest score (chance .33); mass: its share of the positive scores (.33); filter hit: the
label's orientation has the highest score (.25); disc: a higher one than a distractor's (.50); rho: rank correlation of
the pairs of color and filter with the loss of margin when each is silenced. *Shapes*: the label is the shape in one
color, another color shows another shape (chance .50 for what sees only where something is drawn). *Stamps*: the share of
positive relevance in the faint glyph that decides, and that glyph's share of both glyphs'; "responses": the same for
relevance at the filters, not handed down to pixels. "logit" explains the target's output, "margin" that output
minus the mean of the others. Gradient passes: time as a multiple of a forward and backward pass of
ResNet-18. A dash: the method says nothing, or cannot run."""
CONTROLS_LEGEND = """redrawn: rank correlation with the map of the same network with all weights but the bank's drawn anew. Sobel: with the
steepness of the image. constant scorer: largest relevance when the head is set to zero; colors, places turned: largest
deviation from exact equivariance in float64; of these three the worst network. deletion: how much less area is below the
curve of the margin than in random order, as a share of the margin."""
PHOTOS_LEGEND = """Mean ± half of the 95 % interval over images. rho: rank correlation with the loss of margin when each part is
silenced, deletion as above."""


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean and half of the 95 % interval over networks (Student's t)."""
    count = len(values)
    center = sum(values) / count
    if count < 2:
        return center, math.nan
    deviation = math.sqrt(sum((value - center) ** 2 for value in values) / (count - 1))
    return center, float(student.ppf(0.975, count - 1)) * deviation / math.sqrt(count)


def values_of(records: Iterable[dict[str, Any]], method: str, key: Key) -> list[float]:
    """Return one metric of one method, a value for each network."""
    test, metric = key
    chosen = (r for r in records if r["method"] == method and r["test"] == test)
    return [r["values"][metric] for r in chosen if r["values"].get(metric) is not None]


def names_of(records: Iterable[dict[str, Any]]) -> list[str]:
    """Return the methods in their order."""
    return list(dict.fromkeys(record["method"] for record in records))


def cell(value: Estimate | None, digits: int = 2) -> str:
    """Return a mean with half of its interval."""
    if value is None:
        return NOTHING
    center, half = value
    return f"{center:.{digits}f}" + ("" if math.isnan(half) else f" ± {half:.{digits}f}")


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main_table(records: list[dict[str, Any]], costs: dict[str, float]) -> str:
    """Return the table of known answers, with the cost of each method."""
    rows = []
    for name in names_of(records):
        found = [values_of(records, name, key) for key in MAIN.values()]
        cost = f"{costs[name]:.1f}" if name in costs else NOTHING
        rows.append([name, *(cell(estimate(values) if values else None) for values in found), cost])
    return markdown(["method", *MAIN, "gradient passes"], rows)


def controls_table(records: list[dict[str, Any]]) -> str:
    """Return the table of what must change, must not be there, and must turn along."""
    rows = []
    for name in names_of(records):
        row = [name]
        for head, key in CONTROLS.items():
            values = values_of(records, name, key)
            worst = head in LARGEST
            row.append(NOTHING if not values else f"{max(values):.0e}" if worst else cell(estimate(values)))
        rows.append(row)
    return markdown(["method", *CONTROLS], rows)


def photos_table(records: list[dict[str, Any]]) -> str:
    """Return the table of one network on real images."""
    rows = []
    for record in records:
        found = (record["values"].get(key) for key in PHOTOS)
        rows.append([record["method"], *(cell(tuple(value) if value else None) for value in found)])
    heads = [f"{kind}, {level}" for kind in ("rho", "deletion") for level in ("colors", "filters", "pairs")]
    return markdown(["method", *heads], rows)


def tables(results: dict[str, Any]) -> str:
    """Return the page of all tables."""
    records = results["networks"]
    seeds = sorted({record["seed"] for record in records})
    architectures = list(dict.fromkeys(record["architecture"] for record in records))
    void = results["void"]
    said = (
        f"Made by `python benchmarks/groundtruth/run.py`: {len(architectures)} architectures, seeds "
        f"{', '.join(map(str, seeds))}; mean ± half of the 95 % interval over networks. Networks that failed their "
        f"gate and were left out: {len(void)}."
    )
    parts = [
        said,
        LEGEND,
        "\n".join(f"- {reason}" for reason in void),
        "## All architectures",
        main_table(records, results["cost"]),
    ]
    for architecture in architectures:
        chosen = [record for record in records if record["architecture"] == architecture]
        parts += [f"## {architecture}, {STEMS[architecture]} stem", main_table(chosen, results["cost"])]
    parts += ["## Controls", CONTROLS_LEGEND, controls_table(records)]
    for name, photos in results["photos"].items():
        parts += [f"## {name}: {photos['count']} images", PHOTOS_LEGEND, photos_table(photos["records"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def figure(results: dict[str, Any], path: Path) -> None:
    """Draw the known answers: a row for each method, a column for each metric, dots with intervals."""
    records = results["networks"]
    names = names_of(records)
    height = 1.6 + 0.2 * len(names)
    sheet, axes = plt.subplots(1, len(MAIN), figsize=(4 + 1.3 * len(MAIN), height), sharey=True)
    for axis, (head, key) in zip(axes, MAIN.items(), strict=True):
        for place, name in enumerate(names):
            values = values_of(records, name, key)
            if not values:
                continue
            center, half = estimate(values)
            color = COLORS.get(name.split()[0], "tab:gray")
            axis.plot(values, [place] * len(values), ".", color=color, alpha=0.25, markersize=4)
            axis.errorbar(
                center, place, xerr=0 if math.isnan(half) else half, fmt="o", color=color, markersize=4
            )
        axis.set_title(head.replace(", ", ",\n").replace(" color ", " color\n"), fontsize=8)
        axis.set_xlim(min(-0.05, axis.get_xlim()[0]), 1.05)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=7)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    sheet.tight_layout()
    sheet.savefig(path, dpi=130)
    plt.close(sheet)
