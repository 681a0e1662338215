"""The bars of an explanation: scores by color, by group and by filter, with what is known against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgefilter.banks.bank import FilterBank
from edgefilter.banks.groups import MANY

from .arrays import Array, as_array
from .protocols import Explained
from .style import (
    AGAINST,
    FOR,
    INK,
    OTHERS,
    OWN,
    SMALL,
    TEXT,
    heading,
    note_nothing,
    signed_colormap,
    symmetric_norm,
)
from .words import format_numbers, spaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
    from matplotlib.gridspec import SubplotSpec

__all__ = ["draw_colors", "draw_filters", "least_height"]

# Rows of 0.24 inches, in which kernels of 16 points stand apart: so many fit beside two rows of square pictures.
ALL_BARS, LARGEST_BARS, BARS_BELOW_GROUPS = 16, 12, 8
ROW = 0.24
NAME = 0.16  # inches: of 9 points, with a gap
AROUND = 1.15  # inches for the heading, the numbers below and three lines of text

REST = "#999999"
UNITS = "relevance (units of the output)"
DOUBTED = (
    "hatched: a score not to believe; \N{BLACK DIAMOND} is what\nthe output loses when it is silenced alone"
)


class Bars(NamedTuple):
    """Scores to draw, from top to bottom, with what is known of them; NaN where nothing is."""

    labels: list[str]
    values: Array
    errors: Array
    contrary: Array  # effects that contradict their scores


def draw_colors(part: SubFigure, place: SubplotSpec, explanation: Explained) -> None:
    """Draw a bar for each color, in the order of the channels; of many colors the largest, and one bar for the rest."""
    names, bars = _colors(explanation)
    # an empty strip below keeps few bars from growing as tall as the pictures beside them
    share = min(0.92, 0.22 + 0.2 * len(names))
    grid = place.subgridspec(2, 1, height_ratios=(share, 1 - share))
    axes = part.add_subplot(grid[0])
    paint = [OWN.get(name, OTHERS[index % len(OTHERS)]) for index, name in enumerate(names)]
    if len(names) < len(explanation.colors):
        paint[-1] = REST
    _draw_bars(axes, bars, paint, height=0.62)
    heading(axes, "Relevance by color")


def draw_filters(part: SubFigure, explanation: Explained, bank: FilterBank | None) -> None:
    """Draw the bars by filter, largest in size on top, and above those of many filters the groups by order."""
    order, bars = _largest(explanation)
    height = float(part.figure.get_size_inches()[1])
    groups = _groups(explanation)
    above = 0.0 if groups is None else 0.3 * len(groups.values) + 0.8
    below = min(0.97 * height - above, 0.55 * len(bars.values) + 1)
    grid = part.add_gridspec(3, 1, height_ratios=(above or 1e-6, below, max(height - above - below, 1e-6)))
    if groups is not None:
        axes = part.add_subplot(grid[0])
        _draw_bars(axes, groups, _signs(groups.values), height=0.6)
        heading(axes, "Relevance by order of the filters")
    axes = part.add_subplot(grid[1])
    _draw_bars(axes, bars, _signs(bars.values), height=0.6, pad=4.0 if bank is None else 24.0)
    heading(axes, "Relevance by edge filter")
    if bank is not None:
        for row, index in enumerate(order):
            _thumbnail(axes, row, bank.weight[index])


def least_height(explanation: Explained, bands: int) -> float:
    """Return the inches of a figure in which all bars stand apart; those by color have one band of so many."""
    rows = len(_largest(explanation)[1].values)
    groups = _groups(explanation)
    above = 0.0 if groups is None else 0.8 + ROW * len(groups.values)
    return max(AROUND + ROW * rows + above, bands * (AROUND + NAME * len(_colors(explanation)[0])))


def _colors(explanation: Explained) -> tuple[list[str], Bars]:
    """Return the names and the bars of the colors that are drawn."""
    names, values = list(explanation.colors), as_array(explanation.color[0])
    errors = _unknown(values) if explanation.errors is None else as_array(explanation.errors[0])
    contrary = _contrary(explanation, names, explanation.effects)
    if len(names) <= ALL_BARS:
        return names, Bars([spaced(name) for name in names], values, errors, contrary)
    largest = np.argsort(-np.abs(values), kind="stable")[:LARGEST_BARS]
    rest = f"{len(names) - len(largest)} others"
    names = [*(names[place] for place in largest), rest]
    shown = np.append(values[largest], values.sum() - values[largest].sum())
    known = (np.append(part[largest], np.nan) for part in (errors, contrary))
    return names, Bars([spaced(name) for name in names], shown, *known)


def _groups(explanation: Explained) -> Bars | None:
    """Return the bars of the groups by order, of more filters than one reads one by one."""
    if len(explanation.filters) <= MANY or "order" not in explanation.groups:
        return None
    groups = explanation.group("order")
    values = as_array(groups.edge[0])
    order = np.argsort(-np.abs(values), kind="stable")
    labels = [f"{groups.names[index]} ({len(groups.filters[index])})" for index in order]
    return Bars(labels, values[order], _unknown(values), _unknown(values))


def _largest(explanation: Explained) -> tuple[list[int], Bars]:
    """Return the places and the bars of the filters largest in size; of many filters the rest is one bar."""
    values = as_array(explanation.edge[0])
    contrary = _contrary(explanation, explanation.filters, explanation.filter_effects)
    order = np.argsort(-np.abs(values), kind="stable")
    if _groups(explanation) is not None:
        order = order[:BARS_BELOW_GROUPS]
    elif len(order) > ALL_BARS:
        order = order[:LARGEST_BARS]
    labels = [spaced(explanation.filter_labels[index]) for index in order]
    shown, contrary = values[order], contrary[order]
    if rest := len(values) - len(order):
        labels.append("1 other" if rest == 1 else f"{rest} others")
        shown, contrary = np.append(shown, values.sum() - shown.sum()), np.append(contrary, np.nan)
    return order.tolist(), Bars(labels, shown, _unknown(shown), contrary)


def _contrary(explanation: Explained, names: Sequence[str], effects: Any) -> Array:
    """Return the effects that contradict their scores, and NaN for all others."""
    doubts = explanation.doubts()[0]
    measured = np.full(len(names), np.nan) if effects is None else as_array(effects[0])
    return np.where([name in doubts for name in names], measured, np.nan)


def _unknown(values: Array) -> Array:
    return np.full(len(values), np.nan)


def _signs(values: Array) -> list[str]:
    return [FOR if value >= 0 else AGAINST for value in values]


def _draw_bars(axes: Axes, bars: Bars, paint: Sequence[str], *, height: float, pad: float = 4.0) -> None:
    """Draw horizontal bars, the first on top, each with its number, its error and the effect that contradicts it."""
    rows = np.arange(len(bars.values))
    errors = np.nan_to_num(bars.errors)
    drawn = axes.barh(rows, bars.values, height=height, color=list(paint))
    for row in np.flatnonzero(errors):
        axes.errorbar(bars.values[row], row, xerr=errors[row], color=INK, elinewidth=0.9, capsize=2.5)
    for row in np.flatnonzero(~np.isnan(bars.contrary)).tolist():
        drawn[row].set(facecolor="white", edgecolor=paint[row], hatch="/////", linewidth=0.9)
    axes.set_yticks(rows, bars.labels)
    axes.set_ylim(len(bars.values) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=TEXT, labelcolor=INK, pad=pad)
    axes.tick_params(axis="x", labelsize=SMALL, labelcolor=INK, color="#999999")
    axes.locator_params(axis="x", nbins=4)
    axes.axvline(0, color=INK, linewidth=0.8)
    doubted = bool((~np.isnan(bars.contrary)).any())
    axes.set_xlabel(
        f"{UNITS}\n{DOUBTED}" if doubted else UNITS,
        fontsize=SMALL,
        color=INK,
        loc="right" if doubted else "center",  # the longer one has room on the left alone
        multialignment="left",
    )
    _write_numbers(axes, bars, errors)
    for edge in ("top", "right", "left"):
        axes.spines[edge].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
    if not bars.values.any():
        axes.set_xticks([0])
        note_nothing(axes)


def _write_numbers(axes: Axes, bars: Bars, errors: Array) -> None:
    """Write each score on the right of its bar, error and effect, and mark the effects."""
    numbers = format_numbers(bars.values)
    low = min(0.0, float((bars.values - errors).min()))
    high = max(0.0, float((bars.values + errors).max()))
    # an effect far beyond the bars is marked by an arrow at half their width from them, so that they stay readable
    reach = 0.5 * ((high - low) or 1.0)
    marks = np.clip(bars.contrary, low - reach, high + reach)
    known = marks[~np.isnan(marks)]
    low, high = min([low, *known]), max([high, *known])
    span = (high - low) or 1.0
    room = 0.06 + 0.04 * max(map(len, numbers))  # for the numbers, which stand on the right of all else
    axes.set_xlim(low - (0.03 * span if low < 0 else 0), high + room * span)
    for row, (value, number, mark) in enumerate(zip(bars.values, numbers, marks, strict=True)):
        if not np.isnan(mark):
            shape = "D" if mark == bars.contrary[row] else "<" if mark > bars.contrary[row] else ">"
            size = 4 if shape == "D" else 6
            axes.plot(
                mark, row, shape, color=INK, markersize=size, markeredgecolor="white", zorder=3, clip_on=False
            )
        axes.annotate(
            number,
            (max(float(value) + errors[row], 0.0, -np.inf if np.isnan(mark) else mark), row),
            xytext=(3 if np.isnan(mark) else 5, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=INK,
        )


def _thumbnail(axes: Axes, row: int, weight: Array) -> None:
    """Draw a kernel of 16 points a side between the name and the bar."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    limit = float(np.abs(weight).max()) or 1.0
    icon = OffsetImage(
        weight,
        zoom=16 / max(weight.shape),
        cmap=signed_colormap(),
        norm=symmetric_norm(limit),
        interpolation="nearest",
    )
    box = AnnotationBbox(
        icon,
        (0, row),
        xybox=(-13, 0),
        xycoords=axes.get_yaxis_transform(),
        boxcoords="offset points",
        frameon=True,
        pad=0.04,
        annotation_clip=False,
        bboxprops={"edgecolor": "#999999", "linewidth": 0.5},
    )
    box.set_in_layout(False)
    axes.add_artist(box)
