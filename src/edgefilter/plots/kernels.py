"""Kernels side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from edgefilter.banks.bank import FilterBank
from edgefilter.banks.catalogue import get_kernel
from edgefilter.banks.kernel import Kernel

from .style import INK, SMALL, frame, signed_colormap
from .words import halves, spaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_kernels"]


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
    from .figures import new_figure

    found = [get_kernel(kernel) if isinstance(kernel, str) else kernel for kernel in kernels]
    if not found:
        raise ValueError("kernels must not be empty; got none. Pass for example ['sobel_x', 'sobel_y'].")
    columns = min(len(found), max(6, math.ceil(math.sqrt(len(found) * 1.3))))
    rows = math.ceil(len(found) / columns)
    size = (1.25 * columns, 1.5 * rows)
    figure = new_figure(*size)
    edge = [0.05 / inches for inches in size]
    figure.subplots_adjust(edge[0], edge[1], 1 - edge[0], 1 - 6 * edge[1], wspace=0.08, hspace=0.28)
    labels = [kernel.label for kernel in found]
    for place, kernel in enumerate(found):
        label = kernel.name if labels.count(kernel.label) > 1 else kernel.label
        _draw_kernel(figure.add_subplot(rows, columns, place + 1), kernel, spaced(label))
    return figure


def _draw_kernel(axes: Axes, kernel: Kernel, label: str) -> None:
    limit = float(np.abs(kernel.weight).max()) or 1.0
    axes.imshow(kernel.weight, cmap=signed_colormap(), vmin=-limit, vmax=limit, interpolation="nearest")
    label = label if len(label) <= 18 else "\n".join(halves(label))
    axes.set_title(label, fontsize=SMALL if len(label) <= 14 else SMALL - 1.5, color=INK, pad=3)
    frame(axes)
    weight = kernel.weight
    if weight.shape[0] <= 3 and weight.shape[1] <= 3 and np.array_equal(weight, weight.round()):
        for (row, column), value in np.ndenumerate(weight):
            shade = "white" if abs(value) > 0.7 * limit else INK
            axes.text(column, row, f"{value:g}", ha="center", va="center", fontsize=SMALL, color=shade)
