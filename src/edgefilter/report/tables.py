"""The scores of one explanation as rows of tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgefilter.plots.arrays import Array, as_array
from edgefilter.plots.words import spaced

from .protocols import Reported
from .words import signed

__all__ = [
    "Group",
    "Row",
    "Table",
    "color_table",
    "filter_table",
    "group_tables",
    "kinds",
    "others",
    "pair_table",
    "scored",
]


# Rows of their own, as many as a 7 x 7 stem has: with all 256 of a 16 x 16 one the page of a photo would take 1.6 MB.
MOST_FILTERS = 49

TITLES = {"dependent": "Filters that are multiples of each other"}


class Row(NamedTuple):
    """A part of an explanation with its score."""

    part: str  # "color 0", "filter 3", "group 1": what a click on it shows
    label: str
    name: str  # as in the code, where that is another one
    value: float
    text: str
    error: str
    effect: float
    effect_text: str
    doubted: str  # why not to believe the score, or nothing
    bar: float  # from -1 to 1: in shares of the largest of the table
    place: int


class Table(NamedTuple):
    """Rows below each other, and whether any has an effect."""

    title: str
    rows: list[Row]
    notes: tuple[str, ...] = ()

    @property
    def span(self) -> tuple[float, float]:
        """Where the bars begin, and how wide all are: from the largest one against to the largest one for."""
        low, high = (pick([0.0, *(row.bar for row in self.rows)]) for pick in (min, max))
        return low, round(high - low, 3) or 1.0

    @property
    def measured(self) -> bool:
        """Whether something was silenced to test a score."""
        return any(not math.isnan(row.effect) for row in self.rows)

    @property
    def uncertain(self) -> bool:
        """Whether a score has a standard error."""
        return any(row.error for row in self.rows)


class Group(NamedTuple):
    """Some filters that are shown together."""

    kind: str
    name: str
    filters: tuple[int, ...]


def kinds(explanation: Reported) -> dict[str, list[Group]]:
    """Return the groups of the filters by kind; without kinds that put all or none together."""
    found = {}
    for kind, groups in explanation.groups.items():
        if 1 < len(groups) < len(explanation.filters):
            places = {name: tuple(map(explanation.filters.index, held)) for name, held in groups.items()}
            found[kind] = [Group(kind, name, held) for name, held in places.items()]
    return found


def color_table(explanation: Reported) -> Table:
    """Return the scores by color, in the order of the colors."""
    return Table("Colors", scored(explanation, "color"))


def filter_table(explanation: Reported, rest: int) -> Table:
    """Return the scores by filter, the largest in size first; of more than 49 filters the rest is one row, group number ``rest``."""
    rows = sorted(scored(explanation, "filter"), key=lambda row: -abs(row.value))
    if len(rows) <= MOST_FILTERS:
        return Table("Edge filters", rows)
    shown, others = rows[:MOST_FILTERS], rows[MOST_FILTERS:]
    value = sum(row.value for row in others)
    scale = max(abs(row.value) for row in shown) or 1.0
    last = shown[0]._replace(
        part=f"group {rest}",
        label=f"{len(others)} other filters",
        name="",
        value=value,
        text=signed(np.array([shown[0].value, value]))[1],
        effect=math.nan,
        effect_text="",
        doubted="",
        bar=round(value / scale, 3),
        place=-1,
    )
    return Table("Edge filters", [*shown, last])


def others(table: Table, count: int) -> tuple[int, ...]:
    """Return the places of the filters that have no row of their own, out of so many."""
    return tuple(sorted(set(range(count)) - {row.place for row in table.rows}))


def scored(explanation: Reported, kind: str) -> list[Row]:
    """Return the rows of all colors or of all filters, with effects and doubts."""
    colors = kind == "color"
    names = explanation.colors if colors else explanation.filters
    labels = [spaced(name) for name in (names if colors else explanation.filter_labels)]
    values = as_array((explanation.color if colors else explanation.edge)[0])
    effects = explanation.effects if colors else explanation.filter_effects
    known = np.full(len(names), np.nan) if effects is None else as_array(effects[0])
    spread = explanation.errors if colors else None
    errors = [""] * len(names) if spread is None else _errors(as_array(spread[0]))
    doubts = explanation.doubts()[0]
    return _rows(kind, labels, names, values, known, errors, doubts)


def _rows(
    kind: str,
    labels: Sequence[str],
    names: Sequence[str],
    values: Array,
    effects: Array,
    errors: Sequence[str],
    doubts: Mapping[str, str],
) -> list[Row]:
    largest = float(np.abs(np.nan_to_num(values)).max()) or 1.0
    texts, effect_texts = signed(values), signed(effects)
    return [
        Row(
            part=f"{kind} {place}",
            label=labels[place],
            name="" if spaced(name) == labels[place] else name,
            value=float(values[place]),
            text=texts[place],
            error=errors[place],
            effect=float(effects[place]),
            effect_text=effect_texts[place],
            doubted=doubts.get(name, ""),
            bar=round(float(np.nan_to_num(values[place])) / largest, 3),
            place=place,
        )
        for place, name in enumerate(names)
    ]


def group_tables(explanation: Reported, groups: Mapping[str, Sequence[Group]]) -> list[Table]:
    """Return the scores of the groups of each kind, in the order of the bank."""
    tables, first = [], 0
    for kind, some in groups.items():
        scores = explanation.group(kind)
        values, count = as_array(scores.edge[0]), len(some)
        labels = [f"{spaced(group.name)} ({len(group.filters)})" for group in some]
        unknown = np.full(count, np.nan)
        rows = _rows("group", labels, labels, values, unknown, [""] * count, {})
        rows = [row._replace(part=f"group {first + row.place}", name="") for row in rows]
        notes = (f"{spaced(name)}: {note}" for name, note in scores.notes.items())
        tables.append(Table(TITLES.get(kind, f"Filters by {kind}"), rows, tuple(notes)))
        first += count
    return tables


def pair_table(explanation: Reported, rows: Sequence[Row], rest: Sequence[int]) -> list[dict[str, Any]]:
    """Return the scores of pairs: a row for each filter, and one for the rest of them; a cell for each color."""
    scores = as_array(explanation.color_edge[0]).T
    values = np.stack([scores[list(rest) if row.place < 0 else [row.place]].sum(0) for row in rows])
    largest = float(np.abs(np.nan_to_num(values)).max()) or 1.0
    texts = np.array(signed(values.flatten()), dtype=object).reshape(values.shape)
    return [
        {
            "label": row.label,
            "place": row.place,
            "cells": [
                {
                    "value": float(values[at, column]),
                    "text": texts[at, column],
                    "tint": round(float(np.nan_to_num(values[at, column])) / largest, 2),
                }
                for column in range(len(explanation.colors))
            ],
        }
        for at, row in enumerate(rows)
    ]


def _errors(values: Array) -> list[str]:
    """Write standard errors; those of exact scores are nothing."""
    return [
        "" if not value else f"{value:.2f}" if value >= 0.005 else f"{value:.1g}" for value in values.tolist()
    ]
