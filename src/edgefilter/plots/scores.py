"""The scores of an explanation as rows of bars: colors, groups and filters, with what is known against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from edgefilter.banks.bank import FilterBank
from edgefilter.banks.groups import MANY

from .arrays import Array, as_array
from .protocols import Explained
from .style import OTHERS, OWN
from .words import spaced

__all__ = ["Bars", "color_bars", "filter_bars", "group_bars", "has_groups", "only"]

ALL_BARS, LARGEST_BARS, BARS_BELOW_GROUPS = 16, 12, 8  # more are hard to read one by one
ICONS = 2  # kernels beside the name of a group
REST = "#999999"


class Bars(NamedTuple):
    """Scores to draw, from top to bottom, with what is known of them; NaN where nothing is."""

    labels: list[str]
    values: Array
    errors: Array
    effects: Array  # what the output loses without the color or filter
    doubted: list[bool]  # whether the effect contradicts the score
    paint: list[str] | None = None  # default: by sign
    icons: Sequence[Sequence[Array]] = ()  # the kernels beside each name


def color_bars(explanation: Explained, *, every: bool = False) -> Bars:
    """Return the colors in the order of the channels; of many colors the largest, and one bar for the rest, unless every one is asked for."""
    names, values = list(explanation.colors), as_array(explanation.color[0])
    errors, effects = (_known(part, values) for part in (explanation.errors, explanation.effects))
    doubts = explanation.doubts()[0]
    paint = [OWN.get(name, OTHERS[index % len(OTHERS)]) for index, name in enumerate(names)]
    found = Bars(
        [spaced(name) for name in names], values, errors, effects, [name in doubts for name in names], paint
    )
    if every or len(names) <= ALL_BARS:
        return found
    return only(found, np.argsort(-np.abs(values), kind="stable")[:LARGEST_BARS].tolist())


def has_groups(explanation: Explained) -> bool:
    """Return whether there are more filters than one reads one by one, and groups of them by order."""
    return len(explanation.filters) > MANY and "order" in explanation.groups


def group_bars(explanation: Explained, kind: str, bank: FilterBank | None) -> Bars:
    """Return the groups of the filters, largest in size first, each with the kernels of its largest filters."""
    groups = explanation.group(kind)
    values = as_array(groups.edge[0])
    order = np.argsort(-np.abs(values), kind="stable").tolist()
    shown = values[order]
    icons = () if bank is None else [_icons(explanation, bank, groups.filters[index]) for index in order]
    labels = [f"{groups.names[index]} ({len(groups.filters[index])})" for index in order]
    return Bars(labels, shown, _unknown(shown), _unknown(shown), [False] * len(shown), None, icons)


def filter_bars(explanation: Explained, bank: FilterBank | None, *, every: bool = False) -> Bars:
    """Return the filters, largest in size first, of many filters the rest as one bar; or every one, in the order of the bank."""
    values = as_array(explanation.edge[0])
    doubts = explanation.doubts()[0]
    labels = [spaced(label) for label in explanation.filter_labels]
    icons = () if bank is None else [[weight] for weight in bank.weight]
    effects = _known(explanation.filter_effects, values)
    doubted = [name in doubts for name in explanation.filters]
    found = Bars(labels, values, _unknown(values), effects, doubted, None, icons)
    if every:
        return found
    order = np.argsort(-np.abs(values), kind="stable").tolist()
    if has_groups(explanation):
        order = order[:BARS_BELOW_GROUPS]
    elif len(order) > ALL_BARS:
        order = order[:LARGEST_BARS]
    return only(found, order)


def only(bars: Bars, order: Sequence[int]) -> Bars:
    """Return some of the bars in an order, and one for the sum of the others."""
    values = bars.values[list(order)]
    parts: dict[str, Any] = {
        "labels": [bars.labels[place] for place in order],
        "values": values,
        "errors": bars.errors[list(order)],
        "effects": bars.effects[list(order)],
        "doubted": [bars.doubted[place] for place in order],
        "paint": bars.paint and [bars.paint[place] for place in order],
        "icons": bars.icons and [bars.icons[place] for place in order],
    }
    if rest := len(bars.values) - len(order):
        parts["labels"].append("1 other" if rest == 1 else f"{rest} others")
        parts["values"] = np.append(values, bars.values.sum() - values.sum())
        parts["errors"], parts["effects"] = (np.append(parts[key], np.nan) for key in ("errors", "effects"))
        parts["doubted"].append(False)
        parts["paint"] = parts["paint"] and [*parts["paint"], REST]
        parts["icons"] = parts["icons"] and [*parts["icons"], []]
    return Bars(**parts)


def _icons(explanation: Explained, bank: FilterBank, names: Sequence[str]) -> list[Array]:
    """Return the kernels of a group's filters with the scores largest in size."""
    scores = dict(zip(explanation.filters, np.abs(as_array(explanation.edge[0])), strict=True))
    largest = sorted(names, key=lambda name: -scores[name])[:ICONS]
    return [bank.weight[explanation.filters.index(name)] for name in largest]


def _known(values: Any, like: Array) -> Array:
    return _unknown(like) if values is None else as_array(values[0])


def _unknown(values: Array) -> Array:
    return np.full(len(values), np.nan)
