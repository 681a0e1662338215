"""Class profiles: shares by color and filter, and mean pixel maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, as_array
from .layout import EDGE, Block, Row, Stack, in_rows, inches_of, sheet
from .pictures import SignedMap, map_panel
from .profile_panels import NAMES, color_panel, draw_class_colors, filter_panel, fitting, slanted_height
from .protocols import Profiled
from .style import (
    Look,
    color_limit,
    heading_height,
    inches_of_axes,
)
from .words import spaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

__all__ = ["plot_class_maps", "plot_profile"]

CLASSES = 24  # that a figure shows unless others are asked for
NARROW = 6.0  # inches, below which the filters stand below the colors
MAP = 1.4  # inches


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
        draw_class_colors(ax, profile, values, rows, labels, Look.on(ax), inches_of_axes(ax)[0] / (1 - NAMES))
        return ax.figure, ax  # type: ignore[return-value]
    columns = min(filters, len(profile.filters))
    several = len(profile.colors) > 1  # of one color the share says nothing
    inches = inches_of(width, (5.2 if several else 2.4) + 0.76 * columns)
    look = Look.of(inches if width is not None else max(inches, 5.0))
    beside = several and inches >= NARROW
    panels = [filter_panel(profile, values, rows, labels, columns, look, beside)]
    if several:
        head = max(heading_height(look), slanted_height(profile, look) if beside else 0.0)
        panels.insert(0, color_panel(profile, values, rows, labels, look, head))
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
    labels = [fitting(_class_label(profile, values, row), look.text + 0.5, room) for row in rows]
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
