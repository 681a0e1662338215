"""The maps of several methods side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, as_array, as_picture
from .style import INK, PERCENTILE, TEXT, color_bar, frame, note_nothing, signed_colormap, symmetric_norm
from .words import halves, spaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_comparison"]


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

    from .figures import new_figure

    wrong = [name for name, values in maps.items() if len(values) != len(pictures)]
    if not maps or not pictures or wrong:
        raise ValueError(
            f"maps must hold methods, each with one map per picture; got {len(maps)} methods and {len(pictures)} "
            f"pictures{f', and other numbers of maps for {wrong}' if wrong else ''}. Pass as many pictures as images."
        )
    columns = len(maps) + 1
    shown = [as_picture(picture) for picture in pictures]
    ratio = min(max(shown[0].shape[0] / shown[0].shape[1], 0.5), 2.0)
    width, height = 0.9 + 1.4 * columns, 0.45 + 1.4 * ratio * len(pictures)
    figure = new_figure(width, height)
    figure.subplots_adjust(
        0.1 / width, 0.1 / height, 1 - 0.8 / width, 1 - 0.35 / height, wspace=0.05, hspace=0.05
    )
    grid = figure.subplots(len(pictures), columns, squeeze=False)
    for row, (axes, picture) in enumerate(zip(grid, shown, strict=True)):
        axes[0].imshow(picture, cmap="gray", vmin=0, vmax=1, aspect="auto")
        for place, values in zip(axes[1:], maps.values(), strict=True):
            _draw_share(place, as_array(values[row]))
        for place in axes:
            frame(place)
    for place, name in zip(grid[0], ("image", *maps), strict=True):
        label = spaced(name)
        place.set_title(
            label if len(label) <= 16 else "\n".join(halves(label)), fontsize=TEXT, color=INK, pad=4
        )
    scale = ScalarMappable(symmetric_norm(1.0), signed_colormap())
    color_bar(grid[0, -1], scale, 1.0, "share of the largest", False)
    return figure


def _draw_share(axes: Axes, values: Array) -> None:
    """Draw a map in shares of its own largest value."""
    limit = float(np.percentile(np.abs(values), PERCENTILE)) or float(np.abs(values).max())
    axes.imshow(
        values, cmap=signed_colormap(), norm=symmetric_norm(limit), interpolation="nearest", aspect="auto"
    )
    if not values.any():
        note_nothing(axes)
