"""Class profiles: shares by color and filter, and mean pixel maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, as_array
from .layout import EDGE, Block, Box, Panel, Row, Stack, in_rows, inches_of, sheet
from .pictures import SignedMap, map_panel
from .protocols import Profiled
from .style import (
    LEADING,
    OTHERS,
    OWN,
    Look,
    color_limit,
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

__all__ = ["plot_class_maps", "plot_profile"]

CLASSES = 24  # that a figure shows unless others are asked for
COLORS = 16  # bars that stand apart beside the name of a class
NARROW = 6.0  # inches, below which the filters stand below the colors
NAMES = 0.4  # of the width that names of classes take at most
MAP = 1.4  # inches
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


def plot_profile(
    profile: Profiled,
    values: Mapping[str, Tensor] | None = None,
    ax: Axes | None = None,
    *,
    classes: Sequence[int | str] | None = None,
    filters: int = 8,
    title: str | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> tuple[Figure, Any]:
    """Draw classes one below the other: shares by color with their spread, and shares of the top filters.

    Parameters
    ----------
    profile : ClassProfile
    values : dict, optional
        What ``profile.compute()`` or ``profile.forward()`` gave. Default: ``profile.compute()``.
    ax : matplotlib.axes.Axes, optional
        Draw the shares by color there, and nothing else. Default: a new figure of both panels; of a network with one
        color only, the second.
    classes : sequence of int or str, optional
        The classes to draw, by index or name. Default: the 24 with the most images, in order.
    filters : int, default: 8
        The number of filters, those with the largest mean shares for or against any class shown; fewer where the figure is too narrow.
    title : str, optional
        Default: "Class profile", and which classes are drawn.
    width : {"column", "page"} or float, optional
        3.5 or 7.2 inches, or so many. Default: as wide as the filters need.
    dpi : float, default: 150

    Returns
    -------
    figure : matplotlib.figure.Figure
        Apart from pyplot; ``figure.savefig(path)`` writes it.
    axes : Axes or list of Axes

    Raises
    ------
    ValueError, KeyError
        If no class has images, ``filters`` is below 1, or a class is unknown.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import ClassProfile, Explanation
    >>> explanation = Explanation(torch.rand(4, 3, 2, 4, 4), None, torch.ones(4), (0,) * 4,
    ...                           ("red", "green", "blue"), ("sobel_x", "sobel_y"))
    >>> profile = ClassProfile(2, explanation.colors, explanation.filters)
    >>> profile.update(explanation, torch.tensor([0, 0, 1, 1]))
    >>> figure, axes = plot_profile(profile)
    >>> len(axes)
    2
    """
    if isinstance(filters, bool) or not isinstance(filters, int) or filters < 1:
        raise ValueError(f"filters must be an integer >= 1; got {filters!r}. Pass for example filters=8.")
    values = profile.values() if values is None else values
    rows, which = _class_rows(profile, values, classes)
    labels = [_class_label(profile, values, row) for row in rows]
    if ax is not None:
        _draw_class_colors(
            ax, profile, values, rows, labels, Look.on(ax), inches_of_axes(ax)[0] / (1 - NAMES)
        )
        return ax.figure, ax  # type: ignore[return-value]
    columns = min(filters, len(profile.filters))
    several = len(profile.colors) > 1  # of one color the share says nothing
    inches = inches_of(width, (5.2 if several else 2.4) + 0.76 * columns)
    look = Look.of(inches if width is not None else max(inches, 5.0))
    beside = several and inches >= NARROW
    panels = [_filter_panel(profile, values, rows, labels, columns, look, beside)]
    if several:
        head = max(heading_height(look), _slanted(profile, look)[1] if beside else 0.0)
        panels.insert(0, _color_panel(profile, values, rows, labels, look, head))
    side = Row(panels, [3.8, max(0.74 * columns, 1.0)], 0.1) if beside else Stack(panels)
    title = which if title is None else title
    drawn = ", ".join(spaced(profile.class_names[row]) for row in rows[:8])
    alt = f"{title}: shares of the relevance by color and by filter, mean and spread over images, of {drawn}{', ...' if len(rows) > 8 else ''}"
    figure = sheet(side, inches, look, title=title, alt=alt, dpi=dpi)
    return figure, list(figure.axes)


def _class_rows(
    profile: Profiled, values: Mapping[str, Tensor], classes: Sequence[int | str] | None
) -> tuple[list[int], str]:
    """Return the classes to draw, and a title that says which they are."""
    if classes is not None:
        rows = [profile.class_index(which) for which in classes]
        if not rows:
            raise ValueError("classes must not be empty; got none. Name the classes to draw, or pass None.")
        return rows, "Class profile"
    counts = values["count"].reshape(-1).tolist()
    seen = [place for place, count in enumerate(counts) if count]
    if not seen:
        raise ValueError("profile must hold images; got none with shares. Take some in with update().")
    rows = sorted(sorted(seen, key=lambda place: -counts[place])[:CLASSES])
    return rows, "Class profile" + (
        "" if len(rows) == len(seen) else f": the {len(rows)} of {len(seen)} classes with the most images"
    )


def _class_label(profile: Profiled, values: Mapping[str, Tensor], row: int) -> str:
    return f"{spaced(profile.class_names[row])} ({int(values['count'].reshape(-1)[row])})"


def _fitting(label: str, points: float, inches: float) -> str:
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


def _color_panel(
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
        _draw_class_colors(
            axes,
            profile,
            values,
            rows,
            [_fitting(label, look.text, names) for label in labels],
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


def _draw_class_colors(
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
    axes.locator_params(axis="x", nbins=5)
    axes.axvline(0, color=look.ink, linewidth=0.8)
    axes.grid(axis="x", color=look.faint, alpha=0.4, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    for edge, spine in axes.spines.items():
        spine.set(color=look.faint, visible=edge == "bottom")


def _filter_panel(
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
            [""] * len(rows) if beside else [_fitting(label, look.text, names) for label in labels],
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
    axes.imshow(means, cmap=look.colormap, norm=norm, aspect="auto", interpolation="nearest", origin="upper")
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


def plot_class_maps(
    profile: Profiled,
    *,
    classes: Sequence[int | str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw the mean pixel map of classes whose images are aligned, colors summed, all on one scale.

    Parameters
    ----------
    profile : ClassProfile
        Made with ``pixel_size``.
    classes : sequence of int or str, optional
        The classes to draw, by index or name. Default: the 24 with the most images, in order.
    ax : matplotlib.axes.Axes, optional
        Draw in the place of these axes, which are left empty. Default: a new figure.
    title : str, optional
        Default: none.
    width : {"column", "page"} or float, optional
        3.5 or 7.2 inches, or so many. Default: up to six maps in a row.
    dpi : float, default: 150

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError, KeyError
        If the profile has no pixel maps or no images, or a class is unknown.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import ClassProfile, Explanation
    >>> explanation = Explanation(torch.rand(2, 1, 2, 4, 4), torch.rand(2, 1, 4, 4), torch.ones(2), (0, 0), ("gray",),
    ...                           ("sobel_x", "sobel_y"))
    >>> profile = ClassProfile(2, explanation.colors, explanation.filters, pixel_size=4)
    >>> profile.update(explanation, torch.tensor([0, 1]))
    >>> [axes.get_title(loc="left") for axes in plot_class_maps(profile).axes][:2]
    ['0 (1)', '1 (1)']
    """
    if profile.pixel_size is None:
        raise ValueError(
            "profile must have pixel maps; got one without. Make it with pixel_size=(height, width)."
        )
    values = profile.values()
    rows, _ = _class_rows(profile, values, classes)
    maps: Array = np.nan_to_num(as_array(values["pixel_mean"][rows].sum(1)))
    limit, clipped = color_limit(maps)
    inches = inches_of(width, max(MAP * min(len(rows), 6), 2.4) + 2 * EDGE, ax)
    columns = max(1, min(len(rows), int((inches - 2 * EDGE) / (0.75 * MAP)), 12))
    columns = min(columns, 6) if width is None and ax is None else columns
    look, room = Look.of(inches), (inches - 2 * EDGE) / columns - 0.1
    labels = [_fitting(_class_label(profile, values, row), look.text + 0.5, room) for row in rows]
    first = (len(rows) - 1) // columns * columns  # of the last row: the scale of all stands below it
    panels: list[Block] = [
        map_panel(
            SignedMap(one, label, "mean share of a pixel" if place == first else "", limit, clipped), look
        )
        for place, (one, label) in enumerate(zip(maps, labels, strict=True))
    ]
    alt = f"Mean pixel maps of {len(rows)} classes: {', '.join(labels[:8])}"
    return sheet(
        Stack(in_rows(panels, columns, 0.1), 0.08),
        inches,
        look,
        title=title or "",
        alt=alt,
        dpi=dpi,
        ax=ax,
    )
