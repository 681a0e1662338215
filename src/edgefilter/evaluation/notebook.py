"""How a comparison shows itself in a notebook: the maps side by side, and both tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgefilter._notebook import Picture, Table, Words, number, shown, table
from edgefilter.plots.words import control_notes, marked

from .metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["html_of_comparison"]

IMAGES = 3  # drawn


def html_of_comparison(comparison: Any, part_columns: Mapping[str, str]) -> str:
    """Return a comparison as HTML; the best of each column is marked."""
    better = {key: value for metric in METRICS.values() for key, value in metric.better.items()}
    return shown(
        comparison,
        lambda: _figure(comparison),
        lambda: _table("Maps of pixels", comparison.pixel, better, comparison.controls),
        lambda: _table("Scores of colors and filters", comparison.parts, part_columns, comparison.controls),
        lambda: Words(tuple(control_notes(comparison.controls))) if comparison.controls else None,
        lambda: _failures(comparison),
    )


def _figure(comparison: Any) -> Picture:
    from edgefilter.plots.themes import themed

    methods = ", ".join(comparison.maps)
    return themed(
        lambda: comparison.plot(images=IMAGES), f"Maps of {methods}, side by side, one row for each image"
    )


def _table(
    caption: str, values: pd.DataFrame, better: Mapping[str, str], controls: Mapping[str, str]
) -> Table | None:
    names = [name for name in values.columns if not name.endswith("_se")]
    if values.empty or not names:
        return None
    columns = [
        _column(values[name].tolist(), values[f"{name}_se"].tolist(), better.get(name, "")) for name in names
    ]
    head = ["method", *(f"{name} ({better[name]})" if name in better else name for name in names)]
    rows = [
        (marked(str(method), controls), *cells) for method, *cells in zip(values.index, *columns, strict=True)
    ]
    return table(
        f"{caption}: mean \N{PLUS-MINUS SIGN} standard error. Better is (high) or (low); * marks the best",
        head,
        rows,
        most=len(rows),
    )


def _column(means: list[float], errors: list[float], better: str) -> list[str]:
    known = [mean for mean in means if not math.isnan(mean)]
    best = {"high": max, "low": min}[better](known) if known and better in ("high", "low") else math.nan
    return [
        (number(mean) if math.isnan(mean) else f"{mean:.3g}")
        + (f" \N{PLUS-MINUS SIGN} {error:.1g}" if not math.isnan(error) else "")
        + " *" * (mean == best and len(known) > 1)
        for mean, error in zip(means, errors, strict=True)
    ]


def _failures(comparison: Any) -> Words | None:
    lines = [
        f"Not measured: {' '.join(filter(None, (f.method, f.metric)))}: {f.reason}"
        for f in comparison.failures
    ]
    return Words(tuple(lines)) if lines else None
