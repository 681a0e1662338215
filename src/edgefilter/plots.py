"""Draw explanations and kernels as figures; nothing is computed here but colors and places."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .banks import FilterBank
from .explanation import Explanation
from .kernels import Kernel, get_kernel
from .profiles import ClassProfile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.gridspec import SubplotSpec
    from torch import Tensor

__all__ = ["plot_class_maps", "plot_comparison", "plot_explanation", "plot_kernels", "plot_profile"]

Array = npt.NDArray[np.float64]

SIGNED = (  # RdBu_r with a true white for zero: red speaks for the output, blue against it
    *("#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#ffffff"),
    *("#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"),
)
FOR, AGAINST = "#b2182b", "#2166ac"
INK = "#222222"
OWN = {"red": "#cb3a32", "green": "#3a9149", "blue": "#3867b8", "gray": "#7f7f7f"}
OTHERS = ("#8c6bb1", "#d98f2b", "#4aa3a2", "#9c755f")
TEXT, SMALL = 9.0, 7.5
ALL_BARS, LARGEST_BARS = 16, 12
PERCENTILE = 99.5
MAPS_A_ROW = 3
CLASSES = 24  # that a figure shows unless others are asked for


def plot_explanation(
    explanation: Explanation,
    image: Any = None,
    *,
    top: int = 3,
    title: str | None = None,
    bank: FilterBank | None = None,
) -> Figure:
    """Draw one explanation: pixel map, scores by color and by filter, maps of the top filters.

    Parameters
    ----------
    explanation : Explanation
        Of a batch, the first image is drawn.
    image : array-like or PIL image, optional
        The input as a viewer would see it: (H, W), (H, W, C), or a Tensor (C, H, W); uint8, or floats from 0 to 1.
    top : int, default: 3
        Number of filters whose maps are drawn, by score.
    title : str, optional
        By default what was explained and which share is conserved.
    bank : FilterBank, optional
        The bank behind the scores: with it, the kernels are drawn beside their names.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Apart from pyplot; ``figure.savefig(path)`` writes it.

    Raises
    ------
    ValueError
        If ``top`` is below 1, ``image`` has no shape of an image, or ``bank`` has other filters.

    Examples
    --------
    >>> import torch
    >>> explanation = Explanation(torch.ones(1, 3, 2, 4, 4), None, torch.tensor([96.0]), (7,),
    ...                           ("red", "green", "blue"), ("sobel_x", "sobel_y"))
    >>> len(plot_explanation(explanation).axes)
    5
    """
    from matplotlib.figure import Figure

    if not isinstance(top, int) or top < 1:
        raise ValueError(f"top must be an integer >= 1; got {top!r}. Pass for example top=3.")
    if bank is not None and tuple(bank.names) != explanation.filters:
        raise ValueError(
            f"bank must hold the explanation's {len(explanation.filters)} filters; got {bank!r}. "
            "Pass the bank that was explained, or none."
        )
    first = explanation[0]
    picture = None if image is None else _picture(image)
    names = [name for name, _ in first.top(min(top, len(first.filters)))[0]]
    rows = math.ceil(len(names) / MAPS_A_ROW)
    figure = Figure(figsize=(12.4, 0.45 + (1 + rows) * _row_height(first, picture)), dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.05)
    figure.suptitle(_title(first) if title is None else title, fontsize=TEXT + 3, color=INK)
    columns = figure.add_gridspec(1, 2, width_ratios=(2.75, 1.25), wspace=0.02)
    left, right = figure.add_subfigure(columns[0]), figure.add_subfigure(columns[1])
    bands = left.add_gridspec(2, 1, height_ratios=(1, rows))
    upper, lower = left.add_subfigure(bands[0]), left.add_subfigure(bands[1])
    _draw_top_row(upper, first, picture)
    _draw_maps(lower, first, names, picture, rows)
    _draw_filters(right, first, bank)
    return figure


def plot_comparison(maps: Mapping[str, Any], pictures: Sequence[Any]) -> Figure:
    """Draw the maps of several methods side by side: one row per image, the image itself first.

    Methods have units of their own. Each map is divided by its own largest value (the 99.5th percentile of its absolute
    values), so that all share one color scale: red from zero to 1, blue from zero to -1.

    Parameters
    ----------
    maps : dict
        By name of the method, a Tensor of shape (N, H, W).
    pictures : sequence of array-like
        The images as a viewer would see them, as in :func:`plot_explanation`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there are no maps or no pictures, or not as many of one as of the other.

    Examples
    --------
    >>> import torch
    >>> figure = plot_comparison({"saliency": torch.rand(2, 8, 8)}, [torch.rand(3, 8, 8), torch.rand(3, 8, 8)])
    >>> len(figure.axes)
    4
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    wrong = [name for name, values in maps.items() if len(values) != len(pictures)]
    if not maps or not pictures or wrong:
        raise ValueError(
            f"maps must hold methods, each with one map per picture; got {len(maps)} methods and {len(pictures)} "
            f"pictures{f', and other numbers of maps for {wrong}' if wrong else ''}. Pass as many pictures as images."
        )
    columns = len(maps) + 1
    shown = [_picture(picture) for picture in pictures]
    ratio = min(max(shown[0].shape[0] / shown[0].shape[1], 0.5), 2.0)
    width, height = 0.9 + 1.4 * columns, 0.45 + 1.4 * ratio * len(pictures)
    figure = Figure(figsize=(width, height), dpi=150)
    figure.subplots_adjust(
        0.1 / width, 0.1 / height, 1 - 0.8 / width, 1 - 0.35 / height, wspace=0.05, hspace=0.05
    )
    grid = figure.subplots(len(pictures), columns, squeeze=False)
    for row, (axes, picture) in enumerate(zip(grid, shown, strict=True)):
        axes[0].imshow(picture, cmap="gray", vmin=0, vmax=1, aspect="auto")
        for place, values in zip(axes[1:], maps.values(), strict=True):
            _draw_share(place, _array(values[row]))
        for place in axes:
            _frame(place)
    for place, name in zip(grid[0], ("image", *maps), strict=True):
        label = _words(name)
        place.set_title(
            label if len(label) <= 16 else "\n".join(_halves(label)), fontsize=TEXT, color=INK, pad=4
        )
    _color_bar(grid[0, -1], ScalarMappable(_symmetric(1.0), _signed()), 1.0, "share of the largest", False)
    return figure


def _draw_share(axes: Axes, values: Array) -> None:
    """Draw a map in shares of its own largest value."""
    limit = float(np.percentile(np.abs(values), PERCENTILE)) or float(np.abs(values).max())
    axes.imshow(values, cmap=_signed(), norm=_symmetric(limit), interpolation="nearest", aspect="auto")
    if not values.any():
        _note(axes)


def plot_profile(
    profile: ClassProfile,
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
    >>> explanation = Explanation(torch.rand(4, 3, 2, 4, 4), None, torch.ones(4), (0,) * 4,
    ...                           ("red", "green", "blue"), ("sobel_x", "sobel_y"))
    >>> profile = ClassProfile(2, explanation.colors, explanation.filters)
    >>> profile.update(explanation, torch.tensor([0, 0, 1, 1]))
    >>> figure, axes = plot_profile(profile)
    >>> len(axes)
    2
    """
    from matplotlib.figure import Figure

    if not isinstance(filters, int) or filters < 1:
        raise ValueError(f"filters must be an integer >= 1; got {filters!r}. Pass for example filters=8.")
    values = profile.values() if values is None else values
    rows, title = _class_rows(profile, values, classes)
    labels = [_class_label(profile, values, row) for row in rows]
    if ax is not None:
        _draw_class_colors(ax, profile, values, rows, labels)
        return ax.figure, ax  # type: ignore[return-value]
    columns = min(filters, len(profile.filters))
    tall = max(0.3, 0.085 * len(profile.colors) + 0.1)
    several = len(profile.colors) > 1  # of one color the share says nothing
    width, height = (5.2 if several else 2.0) + 0.72 * columns, 1.75 + tall * len(rows)
    figure = Figure(figsize=(width, height), dpi=150)
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
    profile: ClassProfile, values: Mapping[str, Tensor], classes: Sequence[int | str] | None
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


def _class_label(profile: ClassProfile, values: Mapping[str, Tensor], row: int) -> str:
    name = _words(profile.class_names[row])
    return f"{name if len(name) <= 26 else name[:25] + '…'} ({int(values['count'].reshape(-1)[row])})"


def _draw_class_colors(
    axes: Axes,
    profile: ClassProfile,
    values: Mapping[str, Tensor],
    rows: Sequence[int],
    labels: Sequence[str],
) -> None:
    """Draw a group of bars for each class, one bar for each color, with whiskers of one standard deviation."""
    colors = profile.colors
    shape = (profile.num_classes, len(colors))
    means, spreads = (_array(values[f"color_{what}"].reshape(shape)) for what in ("mean", "std"))
    height = 0.8 / len(colors)
    for place, name in enumerate(colors):
        axes.barh(
            np.arange(len(rows)) + (place - (len(colors) - 1) / 2) * height,
            np.nan_to_num(means[rows, place]),
            height=0.92 * height,
            xerr=np.nan_to_num(spreads[rows, place]),
            color=OWN.get(name, OTHERS[place % len(OTHERS)]),
            label=_words(name),
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
    _heading(axes, "Share by color: mean ± std over images")
    axes.legend(fontsize=SMALL, frameon=False, ncols=len(colors), loc="upper left", bbox_to_anchor=(0, 0),
                borderaxespad=1.8, handlelength=1, columnspacing=1)  # fmt: skip


def _draw_class_filters(
    axes: Axes, profile: ClassProfile, values: Mapping[str, Tensor], rows: Sequence[int], columns: int
) -> None:
    """Draw a table of the top filters' shares, colored by the mean."""
    shape = (profile.num_classes, len(profile.filters))
    means, spreads = (_array(values[f"edge_{what}"].reshape(shape))[rows] for what in ("mean", "std"))
    largest = np.nan_to_num(np.abs(means)).max(0)
    chosen = np.sort(np.argsort(-largest, kind="stable")[:columns])
    means, spreads = means[:, chosen], spreads[:, chosen]
    limit = float(np.nan_to_num(np.abs(means)).max()) or 1.0
    axes.imshow(means, cmap=_signed(), norm=_symmetric(limit), aspect="auto", interpolation="nearest")
    for (row, column), mean in np.ndenumerate(means):
        shade = "white" if abs(mean) > 0.7 * limit else INK
        spread = spreads[row, column]
        text = "" if math.isnan(mean) else f"{round(mean, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")
        text += "" if math.isnan(spread) else f" ±{spread:.2f}".replace("0.", ".")
        axes.text(column, row, text, ha="center", va="center", fontsize=SMALL - 1, color=shade)
    names = [_words(profile.filter_labels[place]) for place in chosen]
    axes.set_xticks(
        range(len(names)), names, rotation=30, ha="left", rotation_mode="anchor", fontsize=SMALL, color=INK
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    rest = len(profile.filters) - columns
    which = (
        f"Share of the {columns} filters with the most of {rest + columns}"
        if rest
        else "Share by edge filter"
    )
    axes.set_xlabel(f"{which}: mean ± std over images", fontsize=SMALL + 1, color=INK)


def plot_class_maps(profile: ClassProfile, *, classes: Sequence[int | str] | None = None) -> Figure:
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
    >>> explanation = Explanation(torch.rand(2, 1, 2, 4, 4), torch.rand(2, 1, 4, 4), torch.ones(2), (0, 0), ("gray",),
    ...                           ("sobel_x", "sobel_y"))
    >>> profile = ClassProfile(2, explanation.colors, explanation.filters, pixel_size=4)
    >>> profile.update(explanation, torch.tensor([0, 1]))
    >>> len(plot_class_maps(profile).axes)
    2
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    if profile.pixel_size is None:
        raise ValueError(
            "profile must have pixel maps; got one without. Make it with pixel_size=(height, width)."
        )
    values = profile.values()
    rows, _ = _class_rows(profile, values, classes)
    maps = np.nan_to_num(_array(values["pixel_mean"][rows].sum(1)))
    limit, clipped = _limit(maps)
    columns = min(len(rows), 6)
    lines = math.ceil(len(rows) / columns)
    ratio = min(max(maps.shape[1] / maps.shape[2], 0.5), 2.0)
    figure = Figure(figsize=(1.1 + 1.4 * columns, 0.2 + (0.3 + 1.4 * ratio) * lines), dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, row, values_of_row in zip(grid.flat, rows, maps, strict=False):
        axes.imshow(values_of_row, cmap=_signed(), norm=_symmetric(limit), interpolation="nearest")
        axes.set_title(_class_label(profile, values, row), fontsize=SMALL, color=INK, pad=3)
        _frame(axes)
    for axes in grid.flat[len(rows) :]:
        axes.set_axis_off()
    last = grid[0, columns - 1]
    _color_bar(last, ScalarMappable(_symmetric(limit), _signed()), limit, "mean share of a pixel", clipped)
    return figure


def plot_kernels(kernels: FilterBank | Iterable[Kernel | str]) -> Figure:
    """Draw kernels side by side, each on its own scale: red weighs positively, blue negatively, white is 0.

    Parameters
    ----------
    kernels : FilterBank or sequence of Kernel or str
        Kernels, or names of the catalogue.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there are none.
    KeyError
        If the catalogue lacks a name.

    Examples
    --------
    >>> len(plot_kernels(["sobel_x", "sobel_y"]).axes)
    2
    """
    from matplotlib.figure import Figure

    found = [get_kernel(kernel) if isinstance(kernel, str) else kernel for kernel in kernels]
    if not found:
        raise ValueError("kernels must not be empty; got none. Pass for example ['sobel_x', 'sobel_y'].")
    columns = min(len(found), max(6, math.ceil(math.sqrt(len(found) * 1.3))))
    rows = math.ceil(len(found) / columns)
    size = (1.25 * columns, 1.5 * rows)
    figure = Figure(figsize=size, dpi=150)
    edge = [0.05 / inches for inches in size]
    figure.subplots_adjust(edge[0], edge[1], 1 - edge[0], 1 - 6 * edge[1], wspace=0.08, hspace=0.28)
    labels = [kernel.label for kernel in found]
    for place, kernel in enumerate(found):
        label = kernel.name if labels.count(kernel.label) > 1 else kernel.label
        _draw_kernel(figure.add_subplot(rows, columns, place + 1), kernel, _words(label))
    return figure


def _draw_kernel(axes: Axes, kernel: Kernel, label: str) -> None:
    limit = float(np.abs(kernel.weight).max()) or 1.0
    axes.imshow(kernel.weight, cmap=_signed(), vmin=-limit, vmax=limit, interpolation="nearest")
    label = label if len(label) <= 18 else "\n".join(_halves(label))
    axes.set_title(label, fontsize=SMALL if len(label) <= 14 else SMALL - 1.5, color=INK, pad=3)
    _frame(axes)
    weight = kernel.weight
    if weight.shape[0] <= 3 and weight.shape[1] <= 3 and np.array_equal(weight, weight.round()):
        for (row, column), value in np.ndenumerate(weight):
            shade = "white" if abs(value) > 0.7 * limit else INK
            axes.text(column, row, f"{value:g}", ha="center", va="center", fontsize=SMALL, color=shade)


def _row_height(explanation: Explanation, picture: Array | None) -> float:
    """Return the inches that a row of pictures takes with its headings."""
    height, width = explanation.response.shape[3:] if picture is None else picture.shape[:2]
    return 0.55 + 2.0 * min(max(height / width, 0.8), 1.8)


# --- the parts of the picture -------------------------------------------------------------------------------


def _draw_top_row(part: SubFigure, explanation: Explanation, picture: Array | None) -> None:
    """Draw input and pixel map, where there are any, and the bars by color."""
    panels = [
        name
        for name, there in (("input", picture is not None), ("pixel", explanation.pixel is not None))
        if there
    ]
    grid = part.add_gridspec(
        1, len(panels) + 1, width_ratios=[1.0] * len(panels) + [3.0 - 0.97 * len(panels)]
    )
    for place, panel in enumerate(panels):
        axes = part.add_subplot(grid[place])
        if panel == "input" and picture is not None:
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
            _heading(axes, "Input")
        else:
            _draw_pixels(axes, explanation)
        _frame(axes)
    _draw_colors(part, grid[len(panels)], explanation)


def _draw_pixels(axes: Axes, explanation: Explanation) -> None:
    assert explanation.pixel is not None
    values = _array(explanation.pixel[0].sum(0))
    limit, clipped = _limit(values)
    shown = axes.imshow(values, cmap=_signed(), norm=_symmetric(limit), interpolation="nearest")
    _heading(axes, "Relevance by pixel")
    if not values.any():
        _note(axes)
    _color_bar(axes, shown, limit, "relevance of a pixel, colors summed", clipped)


def _draw_colors(part: SubFigure, place: SubplotSpec, explanation: Explanation) -> None:
    names, values = explanation.colors, _array(explanation.color[0])
    # an empty strip below keeps few bars from growing as tall as the pictures beside them
    share = min(0.92, 0.22 + 0.2 * len(names))
    grid = place.subgridspec(2, 1, height_ratios=(share, 1 - share))
    axes = part.add_subplot(grid[0])
    paint = [OWN.get(name, OTHERS[index % len(OTHERS)]) for index, name in enumerate(names)]
    _bars(axes, [_words(name) for name in names], values, paint, height=0.62)
    _heading(axes, "Relevance by color")
    axes.set_xlabel("relevance (units of the output)", fontsize=SMALL, color=INK)


def _draw_filters(part: SubFigure, explanation: Explanation, bank: FilterBank | None) -> None:
    """Draw the bars by filter, largest on top; of many filters the rest is one bar."""
    values = _array(explanation.edge[0])
    order = list(np.argsort(-values, kind="stable"))
    if len(order) > ALL_BARS:
        largest = set(np.argsort(-np.abs(values), kind="stable")[:LARGEST_BARS])
        order = [index for index in order if index in largest]
    labels = [_words(explanation.filter_labels[index]) for index in order]
    shown = values[order]
    if len(order) < len(values):
        labels.append(f"{len(values) - len(order)} others")
        shown = np.append(shown, values.sum() - shown.sum())
    paint = [FOR if value >= 0 else AGAINST for value in shown]
    pad = 4.0 if bank is None else 24.0
    share = min(0.97, (0.55 * len(labels) + 1) / part.figure.get_size_inches()[1])
    axes = part.add_subplot(part.add_gridspec(2, 1, height_ratios=(share, 1 - share))[0])
    _bars(axes, labels, shown, paint, height=0.6, pad=pad)
    _heading(axes, "Relevance by edge filter")
    axes.set_xlabel("relevance (units of the output)", fontsize=SMALL, color=INK)
    if bank is not None:
        for row, index in enumerate(order):
            _thumbnail(axes, row, bank.weight[index])


def _thumbnail(axes: Axes, row: int, weight: Array) -> None:
    """Draw a kernel of 16 points a side between the name and the bar."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    limit = float(np.abs(weight).max()) or 1.0
    icon = OffsetImage(
        weight, zoom=16 / max(weight.shape), cmap=_signed(), norm=_symmetric(limit), interpolation="nearest"
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


def _draw_maps(
    part: SubFigure, explanation: Explanation, names: Sequence[str], picture: Array | None, rows: int
) -> None:
    """Draw where the top filters' relevance lies, all on one scale."""
    maps = [_array(explanation.edge_map(name)[0]) for name in names]
    limit, clipped = _limit(np.stack(maps))
    all_axes = part.subplots(rows, MAPS_A_ROW, squeeze=False)
    for axes in all_axes.flat[len(maps) :]:
        axes.set_axis_off()
    for axes, name, values in zip(all_axes.flat, names, maps, strict=False):
        axes.imshow(_over(picture, values, limit), interpolation="nearest")
        _heading(axes, _words(explanation.filter_labels[explanation.filters.index(name)]))
        _frame(axes)
        if not values.any():
            _note(axes)
    from matplotlib.cm import ScalarMappable

    scale = ScalarMappable(_symmetric(limit), _signed())
    last = all_axes[0, min(len(maps), MAPS_A_ROW) - 1]
    _color_bar(last, scale, limit, "relevance of a place in the filter's map", clipped)


def _over(picture: Array | None, values: Array, limit: float) -> Array:
    """Color a map and multiply it with the lightened gray picture, so that zero stays gray and sign stays clear."""
    paint = _signed()
    if picture is None:
        return np.asarray(paint(_symmetric(limit)(values)))[..., :3]
    gray = picture if picture.ndim == 2 else picture[..., :3] @ np.array([0.299, 0.587, 0.114])
    rows = np.arange(gray.shape[0]) * values.shape[0] // gray.shape[0]
    columns = np.arange(gray.shape[1]) * values.shape[1] // gray.shape[1]
    color = np.asarray(paint(_symmetric(limit)(values[np.ix_(rows, columns)])))[..., :3]
    return color * (0.5 + 0.5 * gray[..., None])


# --- small pieces -------------------------------------------------------------------------------------------


def _bars(
    axes: Axes,
    labels: Sequence[str],
    values: Array,
    paint: Sequence[str],
    *,
    height: float,
    pad: float = 4.0,
) -> None:
    """Draw horizontal bars, the first on top, each with its number."""
    rows = np.arange(len(values))
    axes.barh(rows, values, height=height, color=list(paint))
    axes.set_yticks(rows, labels)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=TEXT, labelcolor=INK, pad=pad)
    axes.tick_params(axis="x", labelsize=SMALL, labelcolor=INK, color="#999999")
    axes.locator_params(axis="x", nbins=4)
    axes.axvline(0, color=INK, linewidth=0.8)
    numbers = _numbers(values)
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    span = (high - low) or 1.0
    room = 0.06 + 0.04 * max(
        map(len, numbers)
    )  # for the numbers, which stand on the right of bar and zero line
    axes.set_xlim(low - (0.03 * span if low < 0 else 0), high + room * span)
    for row, (value, number) in enumerate(zip(values, numbers, strict=True)):
        axes.annotate(
            number,
            (max(float(value), 0.0), row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=INK,
        )
    for edge in ("top", "right", "left"):
        axes.spines[edge].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
    if not values.any():
        axes.set_xticks([0])
        _note(axes)


def _color_bar(axes: Axes, scale: Any, limit: float, label: str, clipped: bool) -> None:
    """Put a color bar on the right of a picture, just as tall."""
    note = f"\n(color ends at the {PERCENTILE:g}th percentile)" if clipped else ""
    bar = axes.figure.colorbar(
        scale,
        cax=axes.inset_axes((1.04, 0.0, 0.045, 1.0)),
        extend="both" if clipped else "neither",
        extendfrac=0.03,
    )
    if limit:
        bar.set_ticks([-limit, 0, limit], labels=[_number(-limit), "0", _number(limit)])
    else:
        bar.set_ticks([0], labels=["0"])
    bar.ax.tick_params(labelsize=SMALL, labelcolor=INK, color="#999999")
    bar.set_label(f"{label}{note}", fontsize=SMALL, color=INK)
    outline: Any = bar.outline
    outline.set_edgecolor("#999999")


def _limit(values: Array) -> tuple[float, bool]:
    """Return where the colors end, and whether some values lie beyond."""
    largest = float(np.abs(values).max())
    robust = float(np.percentile(np.abs(values), PERCENTILE))
    return (robust, True) if 0 < robust < 0.75 * largest else (largest, False)


def _signed() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", SIGNED, N=257)  # odd: zero is the middle color


def _symmetric(limit: float) -> Normalize:
    from matplotlib.colors import Normalize

    limit = limit or 1.0  # of a map without any relevance
    return Normalize(-limit, limit)


def _heading(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=TEXT + 1, color=INK, loc="left", pad=5)


def _note(axes: Axes) -> None:
    axes.text(
        0.5,
        0.5,
        "no relevance",
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=TEXT,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
    )


def _frame(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#999999", linewidth=0.6)


def _title(explanation: Explanation) -> str:
    target, output = explanation.target[0], float(explanation.output[0])
    what = "output" if target is None else f"output {target}"
    share = float(explanation.conserved_share[0])
    kept = f", {100 * share:.1f} % conserved" if math.isfinite(share) else ""
    return f"{what}: {output:.2f}{kept}"


def _words(label: str) -> str:
    return label.replace("_", " ")


def _halves(label: str) -> tuple[str, str]:
    spaces = [index for index, letter in enumerate(label) if letter == " "]
    middle = min(spaces, key=lambda index: abs(index - len(label) // 2), default=len(label))
    return label[:middle], label[middle + 1 :]


def _number(value: float) -> str:
    """Write a number with three digits and a true minus sign."""
    text = f"{value:.2f}" if 0.1 <= abs(value) < 1000 else f"{value:.2g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _numbers(values: Array) -> list[str]:
    """Write numbers with as many decimals as give the largest three digits."""
    largest = float(np.abs(values).max())
    if not 1e-3 <= largest < 1e5:
        return [_number(float(value)) for value in values]
    decimals = max(0, 2 - math.floor(math.log10(largest)))
    return [f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}") for value in values]


def _array(values: Any) -> Array:
    result: Array = values.detach().to("cpu").double().numpy()
    return result


def _picture(image: Any) -> Array:
    """Return an image as floats from 0 to 1, of shape (H, W) or (H, W, 3)."""
    if hasattr(image, "detach"):  # a Tensor: channels first
        image = image.detach().cpu()
        image = image[0] if image.dim() == 4 and len(image) == 1 else image
        image = image.permute(1, 2, 0).numpy() if image.dim() == 3 else image.numpy()
    pixels = np.asarray(image)
    scale = 255.0 if pixels.dtype.kind in "ui" else 1.0
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        pixels = pixels.mean(2)  # no picture has two or five channels: show their mean
    if pixels.ndim not in (2, 3) or not pixels.size:
        raise ValueError(
            f"image must have shape (H, W), (H, W, C), or (C, H, W) for a Tensor; got {pixels.shape}. "
            "Pass one image, without a batch axis."
        )
    pixels = pixels[..., :3] if pixels.ndim == 3 else pixels
    result: Array = np.clip(pixels.astype(np.float64) / scale, 0, 1)
    return result
