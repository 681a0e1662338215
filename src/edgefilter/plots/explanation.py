"""One explanation: pixel map, bars by color and by filter, maps of the top filters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefilter.banks.bank import FilterBank

from .arrays import Array, as_array, as_picture
from .bars import draw_colors, draw_filters, least_height
from .protocols import Explained
from .style import (
    INK,
    TEXT,
    color_bar,
    color_limit,
    frame,
    heading,
    note_nothing,
    signed_colormap,
    symmetric_norm,
)
from .words import spaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["plot_explanation"]

MAPS_A_ROW = 3


def plot_explanation(
    explanation: Explained,
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
        The input as a viewer would see it, of its size: (H, W), (H, W, C), or a Tensor (C, H, W); uint8, or floats from 0 to 1.
    top : int, default: 3
        Number of filters whose maps are drawn, those with the scores largest in size.
    title : str, optional
        By default what was explained, against what, and which share is conserved.
    bank : FilterBank, optional
        The bank behind the scores: with it, the kernels are drawn beside their names.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Apart from pyplot; ``figure.savefig(path)`` writes it.

    Notes
    -----
    Bars are sorted by size; of more than 12 filters, their groups by order come first. A hatched bar is a score that should not be
    believed (:meth:`edgefilter.Explanation.doubts`), and a diamond is what silencing its color or filter takes from the output (an
    arrow, where that is far out); whiskers are standard errors.

    Raises
    ------
    ValueError
        If ``top`` is below 1, ``image`` is no picture of the size of the relevance by pixel (normalised tensors are refused), or ``bank`` has
        other filters.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> explanation = Explanation(torch.ones(1, 3, 2, 4, 4), None, torch.tensor([96.0]), (7,),
    ...                           ("red", "green", "blue"), ("sobel_x", "sobel_y"))
    >>> len(plot_explanation(explanation).axes)
    5
    """
    from .figures import new_figure

    if not isinstance(top, int) or top < 1:
        raise ValueError(f"top must be an integer >= 1; got {top!r}. Pass for example top=3.")
    if bank is not None and tuple(bank.names) != explanation.filters:
        raise ValueError(
            f"bank must hold the explanation's {len(explanation.filters)} filters; got {bank!r}. "
            "Pass the bank that was explained, or none."
        )
    first = explanation[0]
    pixel = first.pixel
    picture = None if image is None else as_picture(image, None if pixel is None else pixel.shape[2:])
    names = [name for name, _ in first.top(min(top, len(first.filters)), by="size")[0]]
    rows = math.ceil(len(names) / MAPS_A_ROW)
    height = max(0.45 + (1 + rows) * _row_height(first, picture), least_height(first, 1 + rows))
    figure = new_figure(12.4, height)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.05)
    figure.suptitle(_title(first) if title is None else title, fontsize=TEXT + 3, color=INK)
    columns = figure.add_gridspec(1, 2, width_ratios=(2.75, 1.25), wspace=0.02)
    left, right = figure.add_subfigure(columns[0]), figure.add_subfigure(columns[1])
    bands = left.add_gridspec(2, 1, height_ratios=(1, rows))
    upper, lower = left.add_subfigure(bands[0]), left.add_subfigure(bands[1])
    _draw_top_row(upper, first, picture)
    _draw_maps(lower, first, names, picture, rows)
    draw_filters(right, first, bank)
    return figure


def _row_height(explanation: Explained, picture: Array | None) -> float:
    """Return the inches that a row of pictures takes with its headings."""
    height, width = explanation.response.shape[3:] if picture is None else picture.shape[:2]
    return 0.55 + 2.0 * min(max(height / width, 0.8), 1.8)


def _draw_top_row(part: SubFigure, explanation: Explained, picture: Array | None) -> None:
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
            heading(axes, "Input")
        else:
            _draw_pixels(axes, explanation)
        frame(axes)
    draw_colors(part, grid[len(panels)], explanation)


def _draw_pixels(axes: Axes, explanation: Explained) -> None:
    assert explanation.pixel is not None
    values = as_array(explanation.pixel[0].sum(0))
    limit, clipped = color_limit(values)
    shown = axes.imshow(values, cmap=signed_colormap(), norm=symmetric_norm(limit), interpolation="nearest")
    heading(axes, "Relevance by pixel")
    if not values.any():
        note_nothing(axes)
    color_bar(axes, shown, limit, "relevance of a pixel, colors summed", clipped)


def _draw_maps(
    part: SubFigure, explanation: Explained, names: Sequence[str], picture: Array | None, rows: int
) -> None:
    """Draw where the top filters' relevance lies, all on one scale."""
    maps = [as_array(explanation.edge_map(name)[0]) for name in names]
    limit, clipped = color_limit(np.stack(maps))
    all_axes = part.subplots(rows, MAPS_A_ROW, squeeze=False)
    for axes in all_axes.flat[len(maps) :]:
        axes.set_axis_off()
    for axes, name, values in zip(all_axes.flat, names, maps, strict=False):
        axes.imshow(_over(picture, values, limit), interpolation="nearest")
        heading(axes, spaced(explanation.filter_labels[explanation.filters.index(name)]))
        frame(axes)
        if not values.any():
            note_nothing(axes)
    from matplotlib.cm import ScalarMappable

    scale = ScalarMappable(symmetric_norm(limit), signed_colormap())
    last = all_axes[0, min(len(maps), MAPS_A_ROW) - 1]
    color_bar(last, scale, limit, "relevance of a place in the filter's map", clipped)


def _over(picture: Array | None, values: Array, limit: float) -> Array:
    """Color a map and multiply it with the lightened gray picture, so that zero stays gray and sign stays clear."""
    paint = signed_colormap()
    if picture is None:
        return np.asarray(paint(symmetric_norm(limit)(values)))[..., :3]
    gray = picture if picture.ndim == 2 else picture[..., :3] @ np.array([0.299, 0.587, 0.114])
    rows = np.arange(gray.shape[0]) * values.shape[0] // gray.shape[0]
    columns = np.arange(gray.shape[1]) * values.shape[1] // gray.shape[1]
    color = np.asarray(paint(symmetric_norm(limit)(values[np.ix_(rows, columns)])))[..., :3]
    return color * (0.5 + 0.5 * gray[..., None])


def _title(explanation: Explained) -> str:
    target, output = explanation.target[0], float(explanation.output[0])
    what = "output" if target is None else f"output {target}"
    if (other := explanation.against[0]) is not None:
        what += " minus the mean of the others" if other == "rest" else f" minus output {other}"
    share = float(explanation.conserved_share[0])
    kept = f", {100 * share:.1f} % conserved" if math.isfinite(share) else ""
    before = f", before the final {left}" if (left := explanation.left_out) else ""
    return f"{what}: {output:.2f}{before}{kept}"
