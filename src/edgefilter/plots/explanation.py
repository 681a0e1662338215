"""One explanation: pixel map, bars by color and by filter, maps of the top filters, and what they say in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgefilter.banks.bank import FilterBank

from .arrays import Array
from .bars import bar_panel
from .layout import Block, Row, Stack, in_rows, inches_of, sheet
from .maps import check_bank, filter_map, first_image, pixel_map, shown_picture
from .pictures import map_panel, picture_panel
from .protocols import Explained
from .scores import color_bars, filter_bars, group_bars, has_groups
from .singles import plot_pixels
from .style import Look
from .words import compared_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_explanation", "short", "title_of"]

WIDTH = 12.4  # inches, for a screen
WIDE, NARROW = (
    9.0,
    5.0,
)  # from so many inches the filters stand beside all else; below so many there are two pictures in a row


def plot_explanation(
    explanation: Explained,
    image: Any = None,
    *,
    ax: Axes | None = None,
    top: int = 3,
    title: str | None = None,
    bank: FilterBank | None = None,
    classes: Sequence[str] | None = None,
    smooth: float | bool | None = None,
    dpi: float = 150,
    width: str | float | None = None,
    caption: bool | str = True,
) -> Figure:
    """Draw one explanation: pixel map, scores by color and by filter, maps of the top filters, and a caption.

    Parameters
    ----------
    explanation : Explanation
        Of a batch, the first image is drawn.
    image : array-like or PIL image, optional
        The input as a viewer would see it, of its size: (H, W), (H, W, C), or a Tensor (C, H, W); uint8, or floats from 0 to 1. Default:
        what the explanation knows of its input.
    ax : matplotlib.axes.Axes, optional
        Draw the pixel map there, and nothing else. Default: a new figure.
    top : int, default: 3
        Number of filters whose maps are drawn, those with the scores largest in size, each on a scale of its own.
    title : str, optional
        By default what was explained, against what, and which share is conserved.
    bank : FilterBank, optional
        The bank behind the scores: with it, the kernels are drawn beside their names.
    classes : sequence of str, optional
        The names of the classes, for title and caption.
    smooth : float or bool, optional
        Pixels, the standard deviation of a Gaussian for the maps; 0 or False: as sharp as they are. Default: the stride of the network's
        stem, if that is above 1, so that no grid of dots hides the object. Sums are kept, and the labels say so.
    dpi : float, default: 150
    width : {"column", "page"} or float, optional
        3.5 or 7.2 inches, for print, or so many. Default: 12.4, for a screen.
    caption : bool or str, default: True
        Whether :meth:`edgefilter.Explanation.summary` stands below, without its lines on filters; or another text.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Apart from pyplot; ``figure.savefig(path)`` writes it, with the summary as the description of the file. That of ``ax``, if it is given.

    Notes
    -----
    Ink and ground are those of matplotlib's settings: a dark style gives a dark figure, in which black is zero. Where a map speaks against the
    output it is hatched. Beside each score stands its effect, as far as it was measured; a hatched bar with ``!`` is a score that should not be
    believed (:meth:`edgefilter.Explanation.doubts`). Of more than 12 filters, their groups by order come first.

    Raises
    ------
    ValueError
        If ``top`` is below 1, ``image`` is no picture of the size of the relevance by pixel (normalised tensors are refused), ``bank`` has
        other filters, or another argument does not fit.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> explanation = Explanation(torch.ones(1, 3, 2, 4, 4), None, torch.tensor([96.0]), (1,),
    ...                           ("red", "green", "blue"), ("sobel_x", "sobel_y"))
    >>> figure = plot_explanation(explanation, classes=["cat", "dog"])
    >>> len(figure.axes), figure.get_suptitle()
    (4, 'dog: 96.00, 100.0 % conserved')
    """
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ValueError(f"top must be an integer >= 1; got {top!r}. Pass for example top=3.")
    first = first_image(explanation)
    check_bank(bank, first)
    if ax is not None:
        return plot_pixels(first, image, ax=ax, title=title, smooth=smooth)
    inches = inches_of(width, WIDTH)
    named = title_of(first, classes)
    words = first.summary(0, classes)
    return sheet(
        _blocks(first, shown_picture(first, image), top, smooth, bank, inches),
        inches,
        Look.of(inches),
        title=named if title is None else title,
        caption=caption if isinstance(caption, str) else short(words) if caption else "",
        alt=words,
        dpi=dpi,
    )


def title_of(explanation: Explained, classes: Sequence[str] | None = None) -> str:
    """Return what one image's explanation is of: the output, what it is against, its value, and which share is conserved.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> title_of(Explanation(torch.ones(1, 1, 1, 1, 1), None, torch.tensor([2.0]), (7,), ("gray",), ("sobel_x",)))
    'output 7: 2.00, 50.0 % conserved'
    """
    what = compared_name(explanation.target[0], explanation.against[0], classes)
    output, share = float(explanation.output[0]), float(explanation.conserved_share[0])
    if math.isnan(output):
        added = f"attributions add up to {_written(float(explanation.total[0]))}"
        return added if explanation.target[0] is None else f"{what}: {added}"
    kept = f", {100 * share:.1f} % conserved" if math.isfinite(share) else ""
    before = f", before the final {left}" if (left := explanation.left_out) else ""
    return f"{what}: {_written(output)}{before}{kept}"


def _written(value: float) -> str:
    """Write an output with two decimals, or with two digits where that is nothing, or endless."""
    return f"{value:.2f}" if not value or 0.01 <= abs(value) < 1e6 else f"{value:.2g}"


def _blocks(
    first: Explained, picture: Array | None, top: int, smooth: Any, bank: FilterBank | None, inches: float
) -> Block:
    """Return all panels, placed for a width."""
    look = Look.of(inches)
    pictures: list[Block] = [] if picture is None else [picture_panel(picture, look)]
    if first.pixel is not None:
        pictures.append(map_panel(pixel_map(first, smooth), look))
    colors = bar_panel(color_bars(first), "Relevance by color", look)
    filters: list[Block] = [bar_panel(filter_bars(first, bank), "Relevance by edge filter", look)]
    if has_groups(first):
        filters.insert(
            0, bar_panel(group_bars(first, "order", bank), "Relevance by order of the filters", look)
        )
    names = [name for name, _ in first.top(min(top, len(first.filters)), by="size")[0]]
    maps = [map_panel(filter_map(first, name, smooth, picture, bank), look) for name in names]
    if inches < NARROW:
        return Stack([*in_rows(pictures, 2), colors, *filters, *in_rows(maps, 2)])
    upper = Row([*pictures, colors], [1.0] * len(pictures) + [3.0 - len(pictures)])
    if inches < WIDE:
        return Stack([upper, Row(filters, [1.0] * len(filters)), *in_rows(maps, 3)])
    return Row([Stack([upper, *in_rows(maps, 3)]), Stack(filters)], (2.75, 1.25), gap=0.25)


def short(words: str) -> str:
    """Return a summary without what the bars of the filters show."""
    return "\n".join(line for line in words.split("\n") if not line.startswith("Filters"))
