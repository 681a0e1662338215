"""The tables and the figure, from the numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from .jobs import Settings
from .measures import NAMED
from .methods import BOTH, DEFAULT, methods
from .tables import (
    METRICS,
    NOTHING,
    WORST,
    Estimate,
    Family,
    best,
    families,
    known_answers,
    voids,
)

WORDS = {"color": "colors", "edge": "filters", "color_edge": "pairs", "order": "groups of filters"}
KNOWN = {
    "color hit": "color_hit",
    "color mass": "color_mass",
    "filter hit": "filter_hit",
    "filter discrimination": "filter_disc",
    "stamp mass": "stamp_mass",
    "stamp against decoy": "decoy_share",
}
CONTROLS = {
    "redrawn, signed": "redrawn_signed",
    "redrawn, abs": "redrawn_abs",
    "Sobel, signed": "sobel_signed",
    "Sobel, abs": "sobel_abs",
    "constant scorer": "constant",
    "colors turned": "color_gap",
    "places turned": "filter_gap",
}
RELEVANCE, ENERGY = "epsilon_plus, not calibrated", "response energy"
SHOWN = {  # in the figure and the short table
    DEFAULT: "tab:orange",
    BOTH: "tab:red",
    RELEVANCE: "tab:brown",
    "Captum LayerIntegratedGradients": "tab:blue",
    "Captum LayerConductance": "tab:cyan",
    "Captum LayerDeepLift": "tab:purple",
    "leave-one-out": "tab:green",
    ENERGY: "tab:gray",
}


def is_captum(name: str) -> bool:
    """Return whether a method is one of Captum's."""
    return name.startswith("Captum")


def is_whole(family: Family) -> bool:
    """Return whether it stands for more than one architecture, or for real images."""
    return family.by_image or family.title == "gratings"


def cell(value: Estimate | None, digits: int = 2) -> str:
    """Return a mean with half of its interval."""
    if value is None:
        return NOTHING
    center, half = value
    return f"{center:.{digits}f}" + ("" if math.isnan(half) else f" ± {half:.{digits}f}")


def triple(values: dict[str, Estimate] | None) -> str:
    """Return Pearson, rank and relative error, without intervals."""
    if values is None:
        return NOTHING
    pearson, rank, error = (values[metric][0] for metric in METRICS)
    return f"{pearson:.2f} {rank:.2f} " + (f"{error:.2f}" if error < 10 else "> 10")


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short_table(results: dict[str, Any]) -> str:
    """Return the table of questions and answers."""
    heads = [
        "near the Shapley values of",
        "default",
        "two games",
        "best of Captum",
        "relevance alone",
        "response energy",
        "ceiling",
    ]
    rows = []
    for family in filter(is_whole, families(results)):
        for level in family.levels():
            captums = best(family, level, filter(is_captum, family.names()))
            if family.agreement(DEFAULT, level) is None:
                continue
            named = NOTHING if captums is None else f"{pair(captums[1])} {captums[0].removeprefix('Captum ')}"
            values = [pair(family.agreement(name, level)) for name in (DEFAULT, BOTH, RELEVANCE, ENERGY)]
            ceiling = family.ceiling(level)
            last = "exact" if ceiling is None else pair(ceiling)
            title = f"{WORDS[level]}, {family.title}"
            rows.append([title, values[0], values[1], named, *values[2:], last])
    return markdown(heads, rows)


def pair(values: dict[str, Estimate] | None) -> str:
    """Return Pearson and rank correlation."""
    return NOTHING if values is None else f"{values['pearson'][0]:.2f} / {values['rank'][0]:.2f}"


def known_table(results: dict[str, Any], names: Sequence[str], columns: dict[str, str]) -> str:
    """Return a table of known answers or controls."""
    costs, rows = results.get("cost", {}), []
    for name in names:
        found = known_answers(results, name)
        if not set(found) & set(columns.values()):
            continue
        cells = [
            NOTHING
            if metric not in found
            else f"{found[metric][0]:.0e}"
            if metric in WORST
            else cell(found[metric])
            for metric in columns.values()
        ]
        rows.append([name, *cells, f"{costs[name]:.1f}" if name in costs else NOTHING])
    return markdown(["method", *columns, "gradient passes"], rows)


def full_table(family: Family, wanted: str) -> str:
    """Return how every method agrees with a reference on every level."""
    levels, rows = family.levels(), []
    for name in family.names():
        found = [triple(family.agreement(name, level, wanted)) for level in levels]
        if any(text != NOTHING for text in found):
            rows.append([name, *found])
    if wanted == "shapley":
        rows.append(
            [
                "*one half of the reference against the other*",
                *(triple(family.ceiling(level)) for level in levels),
            ]
        )
    return markdown(["method", *(f"{WORDS[level]} ({family.count(level)})" for level in levels)], rows)


def variants_table(chosen: Sequence[Family]) -> str:
    """Return what other ways of calibration give, on pairs and filters."""
    columns = [
        (family, level)
        for family in chosen
        for level in family.levels()
        if level in ("color_edge", "edge", "order")
    ]
    names = dict.fromkeys(name for family in chosen for name in family.names("variants"))
    rows = [
        [name, *(triple(family.agreement(name, level, kind="variants")) for family, level in columns)]
        for name in names
    ]
    return markdown(["calibration", *(f"{family.title}: {WORDS[level]}" for family, level in columns)], rows)


def summary(results: dict[str, Any]) -> str:
    """Return the text around the counts of networks."""
    failed, unnamed = voids(results)
    gratings = [name for name, found in results.items() if "named" in found]
    seeds = sorted({name.rsplit("/", 1)[1] for name in gratings})
    said = (
        f"Gratings: {len(gratings)} networks, seeds {', '.join(seeds)}. The reference names the label's orientation in at "
        f"least {NAMED:.0%} of the images on {len(gratings) - len(unnamed)} of them; filter hit and discrimination are of "
        "these alone. Void for filters, with the share in which it does:"
    )
    lines = [said, "", *(f"- {line}" for line in unnamed)]
    if failed:
        lines += [
            "",
            f"Failed their first gate and were trained again with another seed: {len(failed)}.",
            *(f"- {line}" for line in failed),
        ]
    return "\n".join(lines)


def details(results: dict[str, Any]) -> str:
    """Return the page of all tables."""
    every = families(results)
    said = {
        name for found in results.values() for kind in ("methods", "places") for name in found.get(kind, ())
    }
    names = [name for name in methods() if name in said]
    orders = Settings().orders
    agreement = (
        "## Against Shapley values\n\nEach cell: Pearson correlation, rank correlation, relative error (sum of sizes); mean "
        f"over images. In brackets: networks, or images. Colors and up to ten filters are exact, others by {orders} orders."
    )
    parts = [
        summary(results),
        "## Known answers\n\nMean ± half of the 95 % interval over networks.",
        known_table(results, names, KNOWN),
        "## Controls\n\nOf constant scorer, colors turned and places turned the worst network.",
        known_table(results, names, CONTROLS),
        agreement,
    ]
    for family in every:
        parts += [f"### {family.title}", full_table(family, "shapley")]
    parts.append(
        "## Against leave-one-out\n\nThe same, against the loss of the output when a part is silenced."
    )
    for family in filter(is_whole, every):
        parts += [f"### {family.title}: silencing", full_table(family, "effects")]
    parts += [
        "## Other calibrations",
        variants_table([family for family in filter(is_whole, every) if family.names("variants")]),
    ]
    return "\n\n".join(parts) + "\n"


def figure(results: dict[str, Any], path: Path) -> None:
    """Draw Pearson (dots) and rank correlation (rings) with the Shapley values: a panel for each network."""
    panels = [(family, finest(family)) for family in filter(is_whole, families(results))]
    sheet, axes = plt.subplots(
        1, len(panels), figsize=(3 + 2.2 * len(panels), 3.4), sharey=True, squeeze=False
    )
    for axis, (family, level) in zip(axes[0], panels, strict=True):
        for place, (name, color) in enumerate(SHOWN.items()):
            found = family.agreement(name, level)
            if found is None:
                continue
            for metric, shift, fill in (("pearson", -0.14, color), ("rank", 0.14, "white")):
                center, half = found[metric]
                bar = 0 if math.isnan(half) else half
                axis.errorbar(
                    center, place + shift, xerr=bar, fmt="o", color=color, markerfacecolor=fill, markersize=5
                )
        axis.set_title(f"{WORDS[level]}\n{family.title}", fontsize=9)
        axis.set_xlim(-0.3, 1.03)
        axis.axvline(0, color="black", linewidth=0.6)
        ceiling = family.ceiling(level)
        if ceiling is not None:
            axis.axvline(ceiling["pearson"][0], color="black", linestyle="--", linewidth=1)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    axes[0][0].set_yticks(
        range(len(SHOWN)), [f"{name}, default" if name == DEFAULT else name for name in SHOWN]
    )
    axes[0][0].invert_yaxis()
    sheet.supxlabel(
        "correlation with the Shapley values: Pearson (filled), rank (open); bars: 95 % intervals; dashed: one half of the reference against the other",
        fontsize=9,
    )
    sheet.tight_layout()
    sheet.savefig(path, dpi=130)
    plt.close(sheet)


def finest(family: Family) -> str:
    """Return the level with the most parts."""
    return max(family.levels(), key=lambda level: family.units[0]["reference"][level]["shapley"].shape[1])


def numbers(results: dict[str, Any]) -> dict[str, Any]:
    """Return all means with their intervals, for results.json."""
    found: dict[str, Any] = {}
    for family in families(results):
        for kind in ("methods", "variants"):
            for name in family.names(kind):
                for level in family.levels():
                    for wanted in ("shapley", "effects"):
                        values = family.agreement(name, level, wanted, kind=kind)
                        if values is not None:
                            found.setdefault(family.title, {}).setdefault(f"{kind} {level} {wanted}", {})[
                                name
                            ] = values
    return found


def write(results: dict[str, Any], folder: Path) -> None:
    """Write all numbers, the short tables, the page of all tables, and the figure."""
    (folder / "results.json").write_text(json.dumps(numbers(results), indent=1), encoding="utf-8")
    short = f"{short_table(results)}\n\n{known_table(results, list(SHOWN), KNOWN)}\n"
    (folder / "groundtruth.md").write_text(short, encoding="utf-8")
    (folder / "groundtruth_details.md").write_text(details(results), encoding="utf-8")
    figure(results, folder / "groundtruth.png")
