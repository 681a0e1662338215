"""Two classes and what speaks for one rather than for the other, on scales that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefilter.banks.bank import FilterBank

from .arrays import Array, finite
from .bars import bar_panel
from .blurring import chosen_sigma
from .explanation import short, title_of
from .layout import Block, Stack, in_rows, inches_of, sheet
from .maps import PIXEL, blur_note, check_bank, first_image, pixel_values, shown_picture
from .pictures import SignedMap, map_panel, picture_panel
from .protocols import Explained
from .scores import color_bars, filter_bars, only
from .style import Look, color_limit
from .words import class_name, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_contrast"]

WIDTH = 10.0  # inches
NARROW = 5.0  # inches, below which there are two panels in a row
FILTERS, FILTERS_IN_A_COLUMN = 8, 5
# What two classes share cancels, so that the difference may be faint on their scale. It is drawn on a part of it that is easily reckoned with.
PARTS = (1, 2, 5, 10, 20, 50, 100)


def plot_contrast(
    this: Explained,
    that: Explained,
    difference: Explained | None = None,
    image: Any = None,
    *,
    classes: Sequence[str] | None = None,
    bank: FilterBank | None = None,
    smooth: float | bool | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    width: str | float | None = None,
    dpi: float = 150,
    caption: bool | str = True,
) -> Figure:
    """Draw why this class and not that one: pixel maps, colors and filters of both, and of their difference.

    Parameters
    ----------
    this, that : Explanation
        Of the same images, for two classes. Of a batch, the first image is drawn.
    difference : Explanation, optional
        What ``attr.explain(images, this, against=that)`` gave. Default: ``this - that``.
    image : array-like or PIL image, optional
        As in :func:`plot_explanation`.
    classes : sequence of str, optional
        The names of the classes.
    bank : FilterBank, optional
        The bank behind the scores: with it, the kernels are drawn.
    smooth, dpi : optional
        As in :func:`plot_explanation`.
    ax : matplotlib.axes.Axes, optional
        Draw in the place of these axes, which are left empty. Default: a new figure.
    title : str, optional
        Default: the difference of the two outputs.
    width : {"column", "page"} or float, optional
        3.5 or 7.2 inches, or so many. Default: 10.
    caption : bool or str, default: True
        Whether the summary of the difference stands below; or another text.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Notes
    -----
    The maps of both classes have one scale. That of the difference is the same, or 1/2, 1/5, 1/10, ... of it where the difference is faint, and
    then its label says so. Bars of one row of panels have one axis. Filters are sorted by the size of their difference.

    Raises
    ------
    ValueError
        If the explanations are not of the same images, colors and filters, or another argument does not fit.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> one, two = (Explanation(torch.full((1, 1, 1, 4, 4), value), torch.full((1, 1, 4, 4), value), torch.tensor([16 * value]), (target,),
    ...                         ("gray",), ("sobel_x",)) for target, value in enumerate((2.0, 1.5)))
    >>> figure = plot_contrast(one, two, classes=["cat", "dog"])
    >>> figure.get_suptitle()
    'cat minus dog: 8.00, 100.0 % conserved'
    >>> figure.axes[2].child_axes[0].get_xlabel().split(";")[0]
    '1/2 of the scale of the classes'
    """
    one, other = first_image(this), first_image(that)
    check_bank(bank, one)
    rest: Explained = one - other if difference is None else first_image(difference)  # type: ignore[operator]
    inches = inches_of(width, WIDTH, ax)
    look = Look.of(inches)
    three = (one, other, rest)
    names = [class_name(part.target[0], classes) for part in (one, other)]
    words = rest.summary(0, classes)
    names.append("difference")
    block = Stack(
        [*_maps(three, names, image, smooth, inches, look), *_scores(three, names, bank, inches, look)]
    )
    shown = caption if isinstance(caption, str) else short(words) if caption else ""
    title = title_of(rest, classes) if title is None else title
    return sheet(block, inches, look, title=title, caption=shown, alt=words, dpi=dpi, ax=ax)


def _maps(
    three: Sequence[Explained], names: Sequence[str], image: Any, smooth: Any, inches: float, look: Look
) -> list[Block]:
    """Return the picture and the maps of both classes on one scale, and of the difference on a part of it."""
    picture = shown_picture(three[0], image)
    pictures: list[Block] = [] if picture is None else [picture_panel(picture, look)]
    if any(part.pixel is None for part in three):
        return in_rows(pictures, 4)
    sigma = chosen_sigma(three[0], smooth)
    values = [pixel_values(part, sigma) for part in three]
    limit, clipped = color_limit(np.stack(values[:2]))
    part = _part(limit, values[2])
    note = f"1/{part} of the scale of the classes; " if part > 1 else "on the scale of the classes; "
    outputs = [float(one.output[0]) for one in three]
    titles = [f"{name} {signed(output)}" for name, output in zip(names, outputs, strict=True)]
    shown = [
        SignedMap(one, name, label + PIXEL + blur_note(sigma), end, cut, soft=sigma > 0)
        for one, name, label, end, cut in zip(
            values,
            titles,
            ("", "", note),
            (limit, limit, limit / part),
            (clipped, clipped, _beyond(values[2], limit / part)),
            strict=True,
        )
    ]
    maps = [map_panel(one, look) for one in shown]
    return in_rows([*pictures, *maps], 2 if inches < NARROW else len(pictures) + 3)


def _part(limit: float, values: Array) -> int:
    """Return by which number the scale of the classes is divided so that a difference can be seen."""
    own = color_limit(values)[0]
    fitting = [part for part in PARTS if limit / part >= own]
    return fitting[-1] if fitting and own else 1


def _beyond(values: Array, limit: float) -> bool:
    return bool(np.abs(finite(values)).max() > limit * (1 + 1e-9))


def _scores(
    three: Sequence[Explained], names: Sequence[str], bank: FilterBank | None, inches: float, look: Look
) -> list[Block]:
    """Return the bars by color and by filter, those of one kind on one axis."""
    colors = [color_bars(one) for one in three]
    filters = [filter_bars(one, bank, every=True) for one in three]
    order = np.argsort(-np.abs(filters[2].values), kind="stable")[
        : FILTERS if inches >= NARROW else FILTERS_IN_A_COLUMN
    ].tolist()
    filters = [only(bars, order) for bars in filters]
    if len(three[0].colors) > FILTERS:
        colors = [color_bars(one, every=True) for one in three]
        largest = np.argsort(-np.abs(colors[2].values), kind="stable")[:FILTERS].tolist()
        colors = [only(bars, largest) for bars in colors]
    rows: list[Block] = []
    columns = 2 if inches < NARROW else 3
    for what, bars in (("Colors", colors), ("Filters", filters)):
        panels = [
            bar_panel(one, f"{what}: {name}", look, beside=bars)
            for one, name in zip(bars, names, strict=True)
        ]
        rows += in_rows(panels, columns)
    return rows
