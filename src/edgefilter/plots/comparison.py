"""The maps of several methods side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefilter._checks import counted

from .arrays import Array, as_array, as_picture
from .layout import EDGE, Block, Stack, in_rows, inches_of, sheet
from .pictures import SignedMap, map_panel, picture_panel
from .style import PERCENTILE, Look
from .words import control_notes, halves, marked, spaced, width_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_comparison"]

PICTURE, LEAST = 1.45, 0.95  # inches that a picture has, and that it needs for its name
LABEL = "share of the largest value of each map"


def plot_comparison(
    maps: Mapping[str, Any],
    pictures: Sequence[Any],
    *,
    controls: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw the maps of several methods side by side: one row per image, the image itself first.

    Methods have units of their own. Each map is divided by its own largest value (the 99.5th percentile of its absolute
    values), so that all share one color scale: red from zero to 1, blue and hatched from zero to -1.

    Parameters
    ----------
    maps : dict
        By name of the method, a Tensor of shape (N, H, W).
    pictures : sequence of array-like
        The images as a viewer would see them, as in :func:`plot_explanation`.
    controls : dict, optional
        By name of the method, what kind of control it is: its name gets a mark, and a caption says what it stands for (not in the place of
        given axes).
    ax : matplotlib.axes.Axes, optional
        Draw in the place of these axes, which are left empty. Default: a new figure.
    title : str, optional
        Default: none.
    width : {"column", "page"} or float, optional
        3.5 or 7.2 inches, or so many: methods that find no room stand in further rows. Default: all in one row.
    dpi : float, default: 150

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
    >>> [axes.get_title() for axes in figure.axes][:2]
    ['image', 'saliency']
    """
    _check(maps, pictures)
    inches = inches_of(width, max(PICTURE * (len(maps) + 1), 3.5) + 2 * EDGE, ax)
    look = Look.of(inches)
    columns = max(2, min(len(maps) + 1, int((inches - 2 * EDGE) / LEAST)))
    columns = math.ceil((len(maps) + 1) / math.ceil((len(maps) + 1) / columns))  # rows of one length
    controls = {name: kind for name, kind in (controls or {}).items() if name in maps}
    names = _names(
        ["image", *(marked(name, controls) for name in maps)], look, (inches - 2 * EDGE) / columns - 0.08
    )
    rows: list[Block] = []
    for place, picture in enumerate(pictures):
        last = place == len(pictures) - 1
        named = not place or len(maps) >= columns
        lines = max(name.count("\n") + 1 for name in names) if named else 1
        shown = names if named else [""] * len(names)
        panels: list[Block] = [picture_panel(as_picture(picture), look, shown[0], lines, centered=True)]
        for name, values in zip(shown[1:], maps.values(), strict=True):
            label = LABEL if last and len(panels) == 1 else ""  # one scale for all
            one = SignedMap(_share(as_array(values[place])), name, label, 1.0, lines=lines, centered=True)
            panels.append(map_panel(one, look))
        rows += in_rows(panels, columns, 0.08)
    alt = f"Maps of {', '.join(map(spaced, maps))} for {counted(len(pictures), 'image')}; each as a {LABEL}"
    caption = "\n".join(control_notes({spaced(name): kind for name, kind in controls.items()}))
    return sheet(
        Stack(rows, 0.06),
        inches,
        look,
        title=title or "",
        caption=caption,
        alt="\n".join(filter(None, (alt, caption))),
        dpi=dpi,
        ax=ax,
    )


def _check(maps: Mapping[str, Any], pictures: Sequence[Any]) -> None:
    wrong = [name for name, values in maps.items() if len(values) != len(pictures)]
    if not maps or not len(pictures) or wrong:
        raise ValueError(
            f"maps must hold methods, each with one map per picture; got {len(maps)} methods and {len(pictures)} "
            f"pictures{f', and other numbers of maps for {wrong}' if wrong else ''}. Pass as many pictures as images."
        )


def _names(labels: Sequence[str], look: Look, inches: float) -> list[str]:
    """Return names that fit above pictures, in one line or in two."""
    words = [spaced(label) for label in labels]
    return [word if width_of(word, look.text + 0.5) <= inches else "\n".join(halves(word)) for word in words]


def _share(values: Array) -> Array:
    """Return a map in shares of its own largest value."""
    limit = float(np.percentile(np.abs(values), PERCENTILE)) or float(np.abs(values).max())
    return values / (limit or 1.0)
