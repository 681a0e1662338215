"""The scores of an explanation as lists, dictionaries and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .levels import levels_of

if TYPE_CHECKING:
    import pandas as pd

    from .views import ScoreViews

__all__ = ["as_dataframe", "as_dict", "by_name"]


def as_dict(explanation: ScoreViews, doubts: list[dict[str, str]]) -> dict[str, Any]:
    """Return the scores and names as plain numbers and lists, ready for JSON."""
    return {
        "target": list(explanation.target),
        "against": list(explanation.against),
        "output": _numbers(explanation.output),
        "base": _numbers(explanation.base),
        "left_out": explanation.left_out,
        "delta": _numbers(explanation.delta),
        "colors": list(explanation.colors),
        "channels": list(explanation.channels),
        "members": {name: list(channels) for name, channels in explanation.members.items()},
        "filters": list(explanation.filters),
        "filter_labels": list(explanation.filter_labels),
        "color": explanation.color.tolist(),
        "edge": explanation.edge.tolist(),
        "color_edge": explanation.color_edge.tolist(),
        "effects": _known(explanation.effects),
        "errors": _known(explanation.errors),
        "interactions": _known(explanation.interactions),
        "filter_effects": _known(explanation.filter_effects),
        "levels": _levels(explanation),
        "doubts": doubts,
        "about": dict(explanation.about),
    }


def by_name(explanation: ScoreViews, doubts: list[dict[str, str]]) -> dict[str, Any]:
    """Return the scores of the first image by the names of colors and filters, ready for JSON; what was not measured is left out."""
    colors, filters = explanation.colors, explanation.filters
    pairs = zip(colors, explanation.color_edge[0], strict=True)
    worth: Iterable[Tensor] = () if explanation.interactions is None else explanation.interactions[0]
    return {
        "output": _numbers(explanation.output)[0],
        "base": _numbers(explanation.base)[0],
        "delta": _numbers(explanation.delta)[0],
        "left_out": explanation.left_out,
        "colors": list(colors),
        "filters": list(filters),
        "labels": dict(zip(filters, explanation.filter_labels, strict=True)),
        "color": _named(colors, explanation.color),
        "edge": _named(filters, explanation.edge),
        "color_edge": {color: _named(filters, row[None]) for color, row in pairs},
        "groups": _orders(explanation),
        "errors": _named(colors, explanation.errors),
        "interactions": {color: _named(colors, row[None]) for color, row in zip(colors, worth, strict=False)},
        "causal_drop": {
            "color": _named(colors, explanation.effects),
            "edge": _named(filters, explanation.filter_effects),
        },
        "doubts": doubts[0],
    }


def _levels(explanation: ScoreViews) -> dict[str, Any]:
    """Return what is known of the levels of the colors, None where nothing is."""
    levels = levels_of(explanation)._asdict()
    reading = [list(row) for row in levels.pop("reading")]
    return {name: _numbers(values) for name, values in levels.items()} | {"reading": reading}


def _orders(explanation: ScoreViews) -> dict[str, dict[str, Any]]:
    """Return the groups of filters by order: their filters, and the score of each."""
    if "order" not in explanation.groups:
        return {}
    groups = explanation.group("order")
    rows = zip(groups.names, groups.filters, groups.edge[0].tolist(), strict=True)
    return {"order": {name: {"filters": list(filters), "edge": value} for name, filters, value in rows}}


def _named(names: Sequence[str], values: Tensor | None) -> dict[str, Any]:
    """Return the values of the first image by name, without those that are unknown (NaN)."""
    pairs = [] if values is None else zip(names, _numbers(values)[0], strict=True)
    return {name: value for name, value in pairs if value is not None}


def as_dataframe(explanation: ScoreViews) -> pd.DataFrame:
    """Return one row per image, color and filter."""
    import pandas as pd

    rows = [
        (image, explanation.target[image], float(explanation.output[image]), color, *names, value)
        for image, table in enumerate(explanation.color_edge.tolist())
        for color, row in zip(explanation.colors, table, strict=True)
        for *names, value in zip(explanation.filters, explanation.filter_labels, row, strict=True)
    ]
    heads = ["image", "target", "output", "color", "filter", "label", "relevance"]
    found: pd.DataFrame = pd.DataFrame(rows, columns=heads)
    return found


def _numbers(values: Tensor) -> list[Any]:
    """Return numbers as lists of lists, None where one is unknown."""
    if values.dim() > 1:
        return [_numbers(part) for part in values]
    return [None if math.isnan(value) else value for value in values.tolist()]


def _known(values: Tensor | None) -> list[Any] | None:
    return None if values is None else _numbers(values)
