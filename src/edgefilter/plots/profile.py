"""Class profiles: shares by color and filter, and mean pixel maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import as_array
from .protocols import Profiled
from .style import (
    INK,
    OTHERS,
    OWN,
    SMALL,
    TEXT,
    color_bar,
    color_limit,
    frame,
    heading,
    signed_colormap,
    symmetric_norm,
)
from .words import spaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

__all__ = ["plot_class_maps", "plot_profile"]

CLASSES = 24  # that a figure shows unless others are asked for
COLORS = 16  # bars that stand apart beside the name of a class
LEGEND = 6  # names of colors in a row


def plot_profile(
    profile: Profiled,
    values: Mapping[str, Tensor] | None = None,
    ax: Axes | None = None,
    *,
    classes: Sequence[int | str] | None = None,
    filters: int = 8,
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
        The number of filters, those with the largest mean shares for or against any class shown.

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
    from .figures import new_figure

    if not isinstance(filters, int) or filters < 1:
        raise ValueError(f"filters must be an integer >= 1; got {filters!r}. Pass for example filters=8.")
    values = profile.values() if values is None else values
    rows, title = _class_rows(profile, values, classes)
    labels = [_class_label(profile, values, row) for row in rows]
    if ax is not None:
        _draw_class_colors(ax, profile, values, rows, labels)
        return ax.figure, ax  # type: ignore[return-value]
    columns = min(filters, len(profile.filters))
    tall = max(0.3, 0.085 * min(len(profile.colors), COLORS) + 0.1)
    several = len(profile.colors) > 1  # of one color the share says nothing
    width, height = (5.2 if several else 2.0) + 0.72 * columns, 1.75 + tall * len(rows)
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.05)
    figure.suptitle(title, fontsize=TEXT + 2, color=INK)
    if not several:
        axes = figure.add_subplot()
        _draw_class_filters(axes, profile, values, rows, columns)
        axes.set_yticks(range(len(rows)), labels, fontsize=TEXT, color=INK)
        return figure, [axes]
    left, right = figure.subplots(1, 2, width_ratios=(3.0, 0.72 * columns), sharey=True)
    _draw_class_colors(left, profile, values, rows, labels)
    _draw_class_filters(right, profile, values, rows, columns)
    right.tick_params(labelleft=False)
    return figure, [left, right]


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
    name = spaced(profile.class_names[row])
    return f"{name if len(name) <= 26 else name[:25] + '…'} ({int(values['count'].reshape(-1)[row])})"


def _draw_class_colors(
    axes: Axes,
    profile: Profiled,
    values: Mapping[str, Tensor],
    rows: Sequence[int],
    labels: Sequence[str],
) -> None:
    """Draw a group of bars for each class, one bar for each color, with whiskers of one standard deviation."""
    colors = profile.colors
    shape = (profile.num_classes, len(colors))
    means, spreads = (as_array(values[f"color_{what}"].reshape(shape)) for what in ("mean", "std"))
    largest = np.nan_to_num(np.abs(means[rows])).max(0)
    drawn = np.sort(np.argsort(-largest, kind="stable")[:COLORS]).tolist()
    height = 0.8 / len(drawn)
    for line, place in enumerate(drawn):
        name = colors[place]
        axes.barh(
            np.arange(len(rows)) + (line - (len(drawn) - 1) / 2) * height,
            np.nan_to_num(means[rows, place]),
            height=0.92 * height,
            xerr=np.nan_to_num(spreads[rows, place]),
            color=OWN.get(name, OTHERS[place % len(OTHERS)]),
            label=spaced(name),
            error_kw={"elinewidth": 0.7, "ecolor": INK},
        )
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=TEXT, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=SMALL, labelcolor=INK, color="#999999")
    axes.locator_params(axis="x", nbins=5)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.grid(axis="x", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    for edge in ("top", "right", "left"):
        axes.spines[edge].set_visible(False)
    if len(drawn) < len(colors):
        heading(axes, f"Share by color, {len(drawn)} of {len(colors)}: mean ± std")
    else:
        heading(axes, "Share by color: mean ± std over images")
    axes.legend(fontsize=SMALL, frameon=False, ncols=min(len(drawn), LEGEND), loc="upper left", bbox_to_anchor=(0, 0),
                borderaxespad=1.8, handlelength=1, columnspacing=1)  # fmt: skip


def _draw_class_filters(
    axes: Axes, profile: Profiled, values: Mapping[str, Tensor], rows: Sequence[int], columns: int
) -> None:
    """Draw a table of the top filters' shares, colored by the mean."""
    shape = (profile.num_classes, len(profile.filters))
    means, spreads = (as_array(values[f"edge_{what}"].reshape(shape))[rows] for what in ("mean", "std"))
    largest = np.nan_to_num(np.abs(means)).max(0)
    chosen = np.sort(np.argsort(-largest, kind="stable")[:columns])
    means, spreads = means[:, chosen], spreads[:, chosen]
    limit = float(np.nan_to_num(np.abs(means)).max()) or 1.0
    axes.imshow(
        means, cmap=signed_colormap(), norm=symmetric_norm(limit), aspect="auto", interpolation="nearest"
    )
    for (row, column), mean in np.ndenumerate(means):
        shade = "white" if abs(mean) > 0.7 * limit else INK
        spread = spreads[row, column]
        text = "" if math.isnan(mean) else f"{round(mean, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")
        text += "" if math.isnan(spread) else f" ±{spread:.2f}".replace("0.", ".")
        axes.text(column, row, text, ha="center", va="center", fontsize=SMALL - 1, color=shade)
    names = [spaced(profile.filter_labels[place]) for place in chosen]
    axes.set_xticks(
        range(len(names)), names, rotation=30, ha="left", rotation_mode="anchor", fontsize=SMALL, color=INK
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    rest = len(profile.filters) - columns
    which = (
        f"Share of the {columns} largest of {rest + columns} edge filters" if rest else "Share by edge filter"
    )
    axes.set_xlabel(f"{which}: mean ± std over images", fontsize=SMALL + 1, color=INK)


def plot_class_maps(profile: Profiled, *, classes: Sequence[int | str] | None = None) -> Figure:
    """Draw the mean pixel map of classes whose images are aligned, colors summed, all on one scale.

    Parameters
    ----------
    profile : ClassProfile
        Made with ``pixel_size``.
    classes : sequence of int or str, optional
        The classes to draw, by index or name. Default: the 24 with the most images, in order.

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
    >>> len(plot_class_maps(profile).axes)
    2
    """
    from matplotlib.cm import ScalarMappable

    from .figures import new_figure

    if profile.pixel_size is None:
        raise ValueError(
            "profile must have pixel maps; got one without. Make it with pixel_size=(height, width)."
        )
    values = profile.values()
    rows, _ = _class_rows(profile, values, classes)
    maps = np.nan_to_num(as_array(values["pixel_mean"][rows].sum(1)))
    limit, clipped = color_limit(maps)
    columns = min(len(rows), 6)
    lines = math.ceil(len(rows) / columns)
    ratio = min(max(maps.shape[1] / maps.shape[2], 0.5), 2.0)
    figure = new_figure(1.1 + 1.4 * columns, 0.2 + (0.3 + 1.4 * ratio) * lines)
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, row, values_of_row in zip(grid.flat, rows, maps, strict=False):
        axes.imshow(
            values_of_row, cmap=signed_colormap(), norm=symmetric_norm(limit), interpolation="nearest"
        )
        axes.set_title(_class_label(profile, values, row), fontsize=SMALL, color=INK, pad=3)
        frame(axes)
    for axes in grid.flat[len(rows) :]:
        axes.set_axis_off()
    last = grid[0, columns - 1]
    color_bar(
        last,
        ScalarMappable(symmetric_norm(limit), signed_colormap()),
        limit,
        "mean share of a pixel",
        clipped,
    )
    return figure
