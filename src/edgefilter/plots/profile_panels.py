"""The panels of a class profile: shares by color as bars, and shares by filter as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import as_array
from .bars import ticks_within
from .layout import Box, Panel
from .protocols import Profiled
from .style import (
    LEADING,
    OTHERS,
    OWN,
    Look,
    heading,
    heading_height,
    inches_of_axes,
    ink_on,
    plain_text,
    symmetric_norm,
)
from .words import shortened, spaced, width_of, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

__all__ = ["NAMES", "color_panel", "draw_class_colors", "filter_panel", "fitting", "slanted_height"]

COLORS = 16  # bars that stand apart beside the name of a class
NAMES = 0.4  # of the width that names of classes take at most
SLANT = 30  # degrees, of the names of filters above their columns
LONGEST = 1.1  # inches of such a name
HATCHES = (
    "",
    "///",
    "...",
    "xxx",
    "\\\\\\",
    "++",
    "ooo",
    "--",
)  # of colors that a print in gray does not tell apart


def fitting(label: str, points: float, inches: float) -> str:
    """Cut the name of a class, and keep its number of images."""
    name, count = label.rsplit(" ", 1)
    return f"{shortened(name, points, inches - width_of(f' {count}', points))} {count}"


def _names_width(labels: Sequence[str], look: Look, width: float) -> float:
    return min(max(width_of(label, look.text) for label in labels), NAMES * max(width, 2.5)) + 0.1


def _row_height(profile: Profiled, look: Look) -> float:
    """Return the inches of a class: its bars stand apart, and so do the numbers of its filters."""
    return max(2.6 * look.small * LEADING / 72, 0.085 * min(len(profile.colors), COLORS) + 0.1)


def _slanted(profile: Profiled, look: Look) -> tuple[float, float]:
    """Return the inches that the longest name of a filter takes to the right, and in height."""
    longest = min(max(width_of(spaced(label), look.small) for label in profile.filter_labels), LONGEST)
    angle = math.radians(SLANT)
    return longest * math.cos(angle), longest * math.sin(angle) + look.small * LEADING / 72 + 0.05


def slanted_height(profile: Profiled, look: Look) -> float:
    """Return the inches that the names of the filters take above their table."""
    return _slanted(profile, look)[1]


def color_panel(
    profile: Profiled,
    values: Mapping[str, Tensor],
    rows: Sequence[int],
    labels: Sequence[str],
    look: Look,
    head: float,
) -> Panel:
    """Return the panel of the shares by color, its bars so many inches below its upper edge."""
    drawn = _largest_colors(profile, values, rows)
    height = _row_height(profile, look) * len(rows)

    def below(width: float) -> float:
        per_line = _legend_columns(profile, drawn, look, width)
        return (math.ceil(len(drawn) / per_line) * 1.35 + 1.5) * look.small * LEADING / 72 + 0.12

    def paint(figure: Figure, box: Box) -> None:
        names = _names_width(labels, look, box.width)
        place = box.inset(names, head, 0.05, max(below(box.width), box.height - head - height))
        axes = place.axes(figure)
        draw_class_colors(
            axes,
            profile,
            values,
            rows,
            [fitting(label, look.text, names) for label in labels],
            look,
            box.width,
            names,
        )

    return Panel(lambda width: head + height + below(width), paint)


def _largest_colors(profile: Profiled, values: Mapping[str, Tensor], rows: Sequence[int]) -> list[int]:
    means = as_array(values["color_mean"].reshape(profile.num_classes, len(profile.colors)))[rows]
    largest = np.nan_to_num(np.abs(means)).max(0)
    found: list[int] = np.sort(np.argsort(-largest, kind="stable")[:COLORS]).tolist()
    return found


def _legend_columns(profile: Profiled, drawn: Sequence[int], look: Look, width: float) -> int:
    longest = max(width_of(spaced(profile.colors[place]), look.small) for place in drawn)
    return max(1, min(len(drawn), int(width / (longest + 0.4))))


def draw_class_colors(
    axes: Axes,
    profile: Profiled,
    values: Mapping[str, Tensor],
    rows: Sequence[int],
    labels: Sequence[str],
    look: Look,
    room: float,
    left: float = 0.0,
) -> None:
    """Draw a group of bars for each class, one bar for each color, with whiskers of one standard deviation."""
    colors, drawn = profile.colors, _largest_colors(profile, values, rows)
    shape = (profile.num_classes, len(colors))
    means, spreads = (as_array(values[f"color_{what}"].reshape(shape)) for what in ("mean", "std"))
    height = 0.8 / len(drawn)
    for line, place in enumerate(drawn):
        name = colors[place]
        axes.barh(
            np.arange(len(rows)) + (line - (len(drawn) - 1) / 2) * height,
            np.nan_to_num(means[rows, place]),
            height=0.92 * height,
            xerr=np.nan_to_num(spreads[rows, place]),
            color=OWN.get(name, OTHERS[place % len(OTHERS)]),
            edgecolor=look.ground,
            linewidth=0.3,
            hatch=HATCHES[line % len(HATCHES)],
            label=spaced(name),
            error_kw={"elinewidth": 0.7, "ecolor": look.ink},
        )
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    _style_colors(axes, look)
    which = f"Share by color, {len(drawn)} of {len(colors)}" if len(drawn) < len(colors) else "Share by color"
    words = f"{which}: mean ± std over images"
    wide, _ = inches_of_axes(axes)
    heading(axes, shortened(words, look.text + 0.5, room), look, -left / wide)
    axes.legend(
        fontsize=look.small, frameon=False, ncols=_legend_columns(profile, drawn, look, room), loc="upper left",
        bbox_to_anchor=(-left / wide, 0), borderaxespad=1.9, handlelength=1, columnspacing=1, labelcolor=look.ink,
    )  # fmt: skip


def _style_colors(axes: Axes, look: Look) -> None:
    axes.tick_params(axis="y", length=0, labelsize=look.text, labelcolor=look.ink)
    axes.tick_params(axis="x", labelsize=look.small, labelcolor=look.ink, color=look.faint)
    axes.set_xlim(axes.get_xlim())
    axes.set_xticks(ticks_within(axes, look))
    axes.axvline(0, color=look.ink, linewidth=0.8)
    axes.grid(axis="x", color=look.faint, alpha=0.4, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    for edge, spine in axes.spines.items():
        spine.set(color=look.faint, visible=edge == "bottom")


def filter_panel(
    profile: Profiled,
    values: Mapping[str, Tensor],
    rows: Sequence[int],
    labels: Sequence[str],
    columns: int,
    look: Look,
    beside: bool,
) -> Panel:
    """Return the panel of the shares by filter; beside the colors, its rows have no names."""
    height, (right, head) = _row_height(profile, look) * len(rows), _slanted(profile, look)
    head = max(head, heading_height(look)) if beside else head

    def paint(figure: Figure, box: Box) -> None:
        names = 0.0 if beside else _names_width(labels, look, box.width)
        cell = width_of("\N{MINUS SIGN}0.00 ±.00", _cell_points(look)) + 0.06
        most = max(1, int((box.width - names - right + cell / 2) / cell))
        axes = box.inset(names, head, max(right - cell / 2, 0.0), max(0.3, box.height - head - height)).axes(
            figure
        )
        _draw_class_filters(axes, profile, values, rows, min(columns, most), look, box.width)
        axes.set_yticks(
            range(len(rows)),
            [""] * len(rows) if beside else [fitting(label, look.text, names) for label in labels],
        )
        axes.tick_params(axis="y", length=0, labelsize=look.text, labelcolor=look.ink)

    tall = head + height + 3.5 * look.small * LEADING / 72 + 0.1
    return Panel(lambda _: tall, paint)


def _draw_class_filters(
    axes: Axes,
    profile: Profiled,
    values: Mapping[str, Tensor],
    rows: Sequence[int],
    columns: int,
    look: Look,
    room: float,
) -> None:
    """Draw a table of the top filters' shares, colored by the mean."""
    shape = (profile.num_classes, len(profile.filters))
    means, spreads = (as_array(values[f"edge_{what}"].reshape(shape))[rows] for what in ("mean", "std"))
    largest = np.nan_to_num(np.abs(means)).max(0)
    chosen = np.sort(np.argsort(-largest, kind="stable")[:columns])
    means, spreads = means[:, chosen], spreads[:, chosen]
    norm = symmetric_norm(float(np.nan_to_num(np.abs(means)).max()))
    axes.imshow(means, cmap=look.colormap, norm=norm, aspect="auto", interpolation="nearest")
    for (row, column), mean in np.ndenumerate(means):
        shade = ink_on(look.colormap(norm(mean))) if np.isfinite(mean) else look.ink
        style: dict[str, Any] = {"fontsize": _cell_points(look), "color": shade}
        axes.text(column, row, _cell(mean, spreads[row, column]), ha="center", va="center", **style)
    names = [shortened(spaced(profile.filter_labels[place]), look.small, LONGEST) for place in chosen]
    axes.set_xticks(range(len(names)), names, rotation=SLANT, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0, labelsize=look.small, labelcolor=look.ink)
    for spine in axes.spines.values():
        spine.set_visible(False)
    rest = len(profile.filters) - columns
    which = (
        f"Share of the {columns} largest of {rest + columns} edge filters" if rest else "Share by edge filter"
    )
    words = wrapped(f"{which}: mean ± std over images", look.small, room)
    axes.set_xlabel(
        words, loc="right", multialignment="left", linespacing=LEADING, **plain_text(look, small=True)
    )


def _cell_points(look: Look) -> float:
    return max(look.small - 0.8, 6.0)


def _cell(mean: float, spread: float) -> str:
    text = "" if math.isnan(mean) else f"{round(mean, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")
    return text + ("" if math.isnan(spread) else f" ±{spread:.2f}".replace("0.", "."))
