"""Horizontal bars: scores with their numbers, their errors, and beside each its effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .arrays import Array, finite
from .layout import Box, Panel
from .scores import Bars
from .style import (
    LEADING,
    Look,
    heading,
    heading_height,
    inches_of_axes,
    note_nothing,
    plain_text,
    symmetric_norm,
)
from .words import format_numbers, shortened, width_of, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bar_panel", "draw_bars", "ticks_within"]

UNITS = "relevance (units of the output)"
EFFECT = "narrow bar: effect, what the output loses when it is silenced alone"
DOUBTED = "hatched, with !: a score not to believe, its effect contradicts it"

ICON, APART = 1.75, 0.3  # letters: the side of a kernel, and from one to the next
NARROWEST = 0.3  # inches: axes are taken for as wide at least
FAR_OUT = 0.5  # times the width of the scores
STRETCH = 1.5  # times their height that rows take, where panels beside them are taller
NAMES = 0.55  # of the width of a panel that names may take


class Heights(NamedTuple):
    """Where the bars of a row lie, in rows: middle and height of the score and of its effect."""

    row: float  # inches
    score: tuple[float, float]
    effect: tuple[float, float]


def bar_panel(bars: Bars, title: str, look: Look, beside: Sequence[Bars] = ()) -> Panel:
    """Return a panel of bars below their heading, on one scale with those of other panels of its width."""
    rows, head = _heights(bars, look).row * len(bars.values), heading_height(look)

    def paint(figure: Figure, box: Box) -> None:
        left = _margin(bars, look, box.width)
        below = max(_below((bars, *beside), look, box.width), box.height - head - STRETCH * rows)
        axes = box.inset(left, head, 0.02, below).axes(figure)
        draw_bars(axes, bars, title, look, box.width, beside, left)

    return Panel(lambda width: head + rows + _below((bars, *beside), look, width), paint)


def draw_bars(
    axes: Axes,
    bars: Bars,
    title: str,
    look: Look,
    room: float,
    beside: Sequence[Bars] = (),
    left: float = 0.0,
) -> None:
    """Draw bars on axes, the first on top.

    Parameters
    ----------
    axes : Axes
    bars : Bars
    title : str
    look : Look
    room : float
        Inches for names, bars and numbers together.
    beside : sequence of Bars
        Those of other panels, which have the same scale.
    left : float
        How many inches of them lie on the left of the axes; the heading starts there.
    """
    rows, heights = np.arange(len(bars.values)), _heights(bars, look)
    paint = bars.paint or [look.signs[0] if value >= 0 else look.signs[1] for value in bars.values]
    drawn = axes.barh(rows + heights.score[0], finite(bars.values), height=heights.score[1], color=paint)
    for row in np.flatnonzero(bars.doubted).tolist():
        drawn[row].set(facecolor=look.ground, edgecolor=paint[row], hatch="/////", linewidth=0.9)
    for row in np.flatnonzero(finite(bars.errors)):
        axes.errorbar(
            finite(bars.values)[row],
            row + heights.score[0],
            xerr=bars.errors[row],
            color=look.ink,
            elinewidth=0.9,
            capsize=2.5,
        )
    names = room * NAMES - _icons_width(bars, look)
    axes.set_yticks(rows, [shortened(label, look.text, names) for label in bars.labels])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    _draw_effects(axes, bars, look)
    _write_numbers(axes, bars, look, beside)
    _style(axes, (bars, *beside), look, room)
    heading(
        axes, shortened(title, look.text + 0.5, room), look, -left / max(inches_of_axes(axes)[0], NARROWEST)
    )
    for row, kernels in enumerate(bars.icons):
        for place, weight in enumerate(reversed(kernels)):
            _thumbnail(axes, row, weight, place, look)
    if not bars.values.any():
        axes.set_xticks([0])
        note_nothing(axes, look)
    elif not np.isfinite(bars.values).any():
        note_nothing(axes, look, "no finite score")


def _style(axes: Axes, bars: Sequence[Bars], look: Look, room: float) -> None:
    axes.tick_params(
        axis="y", length=0, labelsize=look.text, labelcolor=look.ink, pad=4 + _icons_width(bars[0], look) * 72
    )
    axes.tick_params(axis="x", labelsize=look.small, labelcolor=look.ink, color=look.faint, length=2.5, pad=2)
    axes.set_xticks(ticks_within(axes, look))
    for label in (*axes.get_yticklabels(), *axes.get_xticklabels()):
        label.set_parse_math(False)
    axes.axvline(0, color=look.ink, linewidth=0.8)
    axes.set_facecolor("none")
    for edge, spine in axes.spines.items():
        spine.set(color=look.faint, visible=edge == "bottom")
    words = _words(bars, look, room)
    axes.set_xlabel(
        words,
        loc="center" if words == UNITS and width_of(words, look.small) < 0.5 * room else "right",
        multialignment="left",
        linespacing=LEADING,
        labelpad=2,
        **plain_text(look, small=True),
    )


def _draw_effects(axes: Axes, bars: Bars, look: Look) -> None:
    """Draw a narrow bar for each effect; one far out ends in an arrow."""
    middle, height = _heights(bars, look).effect
    ends = _ends(bars)
    rows = np.flatnonzero(~np.isnan(ends))
    if not len(rows):
        return
    axes.barh(rows + middle, ends[rows], height=height, color=look.ground, edgecolor=look.ink, linewidth=0.7)
    for row in rows[ends[rows] != bars.effects[rows]].tolist():
        shape = "<" if bars.effects[row] < ends[row] else ">"
        axes.plot(ends[row], row + middle, shape, color=look.ink, markersize=3, clip_on=False)


def _write_numbers(axes: Axes, bars: Bars, look: Look, beside: Sequence[Bars]) -> None:
    """Write each number on the right of its bar, on an axis that has room for all."""
    every = [text for one in (bars, *beside) for text in _numbers(one, look)]
    extent = [value for one in (bars, *beside) for value in _extent(one)]
    axes.set_xlim(*_limits(axes, every, min(extent), max(extent), look))
    for x, y, text in _numbers(bars, look):
        axes.annotate(
            text,
            (x, y),
            xytext=(3.5, 0),
            textcoords="offset points",
            va="center_baseline",
            **plain_text(look, small=True),
        )


def _numbers(bars: Bars, look: Look) -> list[tuple[float, float, str]]:
    """Return where on the axes each number starts, and the number."""
    heights, ends = _heights(bars, look), _ends(bars)
    right = np.maximum(finite(bars.values) + np.abs(finite(bars.errors)), 0.0)
    found = [
        (float(right[row]), row + heights.score[0], f"{number} !" if bars.doubted[row] else number)
        for row, number in enumerate(format_numbers(bars.values, plus=True))
    ]
    numbers = format_numbers(bars.effects, plus=True)
    known = np.flatnonzero(~np.isnan(ends)).tolist()
    return found + [(max(float(ends[row]), 0.0), row + heights.effect[0], numbers[row]) for row in known]


def _ends(bars: Bars) -> Array:
    """Return where the effects end: far beyond the scores at half their width from them, so that they stay readable."""
    low, high = _reach(bars)
    spare = FAR_OUT * ((high - low) or 1.0)
    found: Array = np.clip(bars.effects, low - spare, high + spare)
    return found


def _reach(bars: Bars) -> tuple[float, float]:
    values, errors = finite(bars.values), np.abs(finite(bars.errors))
    return min(0.0, float((values - errors).min())), max(0.0, float((values + errors).max()))


def _extent(bars: Bars) -> list[float]:
    return [*_reach(bars), *finite(_ends(bars)).tolist()]


def _limits(
    axes: Axes, texts: list[tuple[float, float, str]], low: float, high: float, look: Look
) -> tuple[float, float]:
    """Return the ends of an axis on which each text on the right of a place ends within the axes."""
    inches = max(inches_of_axes(axes)[0], NARROWEST)
    low -= 0.03 * ((high - low) or 1.0) if low < 0 else 0
    span = high - low
    for x, _, text in texts:
        taken = min(width_of(text, look.small) + 0.09, 0.8 * inches)
        span = max(span, (x - low) * inches / (inches - taken))
    return low, low + (span or 1.0)


def ticks_within(axes: Axes, look: Look) -> list[float]:
    """Return places for numbers below the bars, as many as stand apart, none so near the end of the axis that its number is cut off."""
    from matplotlib.ticker import MaxNLocator

    inches, (low, high) = max(inches_of_axes(axes)[0], NARROWEST), axes.get_xlim()
    found = [0.0]
    for most in range(1, 5):
        every = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        widest = max(width_of(f"{tick:.4g}", look.small) for tick in every) * (high - low) / inches
        ticks = [float(tick) for tick in every if low <= tick <= high - 0.6 * widest]
        if len(ticks) > len(found) and every[1] - every[0] > 1.4 * widest:
            found = ticks
    return found


def _heights(bars: Bars, look: Look) -> Heights:
    line = look.small * 1.2 / 72
    icon = (ICON + APART) * look.text / 72 if bars.icons else 0.0
    if not np.isfinite(bars.effects).any():
        return Heights(max(line + 0.07, icon), (0.0, 0.62), (0.0, 0.0))
    return Heights(max(2 * line + 0.05, icon), (-0.2, 0.42), (0.24, 0.22))


def _margin(bars: Bars, look: Look, width: float) -> float:
    """Return the inches on the left that names and kernels take."""
    longest = max(width_of(label, look.text) for label in bars.labels)
    return min(longest, NAMES * width - _icons_width(bars, look)) + _icons_width(bars, look) + 0.08


def _icons_width(bars: Bars, look: Look) -> float:
    """Return the inches that the kernels of a row take."""
    return max(map(len, bars.icons), default=0) * (ICON + APART) * look.text / 72


def _words(bars: Sequence[Bars], look: Look, width: float) -> str:
    """Return what stands below bars: their unit, and what the marks in them, or in those beside them, mean."""
    known = any(np.isfinite(one.effects).any() for one in bars)
    doubted = any(any(one.doubted) for one in bars)
    lines = [UNITS, *([EFFECT] if known else []), *([DOUBTED] if doubted else [])]
    return wrapped("\n".join(lines), look.small, width - 0.05)


def _below(bars: Sequence[Bars], look: Look, width: float) -> float:
    lines = _words(bars, look, width).count("\n") + 2
    return lines * look.small * LEADING / 72 + 0.12


def _thumbnail(axes: Axes, row: int, weight: Array, place: int, look: Look) -> None:
    """Draw a kernel between the name and the bar, so many places from the bar."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    limit = float(np.abs(weight).max()) or 1.0
    icon = OffsetImage(
        weight,
        zoom=ICON * look.text / max(weight.shape),
        cmap=look.colormap,
        norm=symmetric_norm(limit),
        interpolation="nearest",
    )
    box = AnnotationBbox(
        icon,
        (0, row),
        xybox=(-((ICON + APART) * place + ICON / 2) * look.text - 4, 0),
        xycoords=axes.get_yaxis_transform(),
        boxcoords="offset points",
        frameon=True,
        pad=0.04,
        annotation_clip=False,
        bboxprops={"edgecolor": look.faint, "linewidth": 0.5},
    )
    box.set_in_layout(False)
    axes.add_artist(box)
