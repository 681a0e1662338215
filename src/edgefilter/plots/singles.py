"""Single panels of an explanation, on axes of your own or in a new figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefilter.banks.bank import FilterBank

from .bars import bar_panel, draw_bars
from .layout import Panel, inches_of, sheet
from .maps import check_bank, filter_map, first_image, pixel_map, shown_picture
from .pictures import SignedMap, draw_map, map_panel
from .protocols import Explained
from .scores import Bars, color_bars, filter_bars, group_bars
from .style import Look, inches_of_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_colors", "plot_filter_map", "plot_filters", "plot_groups", "plot_pixels"]

WIDTH = 4.0  # inches


def plot_pixels(
    explanation: Explained,
    image: Any = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    smooth: float | bool | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw the relevance by pixel of one image: red speaks for the output, blue and hatched against it, white is zero.

    Parameters
    ----------
    explanation : Explanation
        Of a batch, the first image is drawn.
    image : array-like or PIL image, optional
        A picture that the map is laid over, as in :func:`plot_explanation`. Default: the map alone.
    ax : matplotlib.axes.Axes, optional
        Default: a new figure.
    title : str, optional
        Default: "Relevance by pixel".
    smooth : float or bool, optional
        Pixels, the standard deviation of a Gaussian; 0 or False: as sharp as it is. Default: the stride of the network's stem, if that is
        above 1, so that no grid of dots hides the object. Sums are kept.
    width : {"column", "page"} or float, optional
        Of a new figure: 3.5 or 7.2 inches, or so many.
    dpi : float, default: 150
        Of a new figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        That of ``ax``, if it is given.

    Raises
    ------
    ValueError
        If the explanation holds no relevance by pixel, or an argument does not fit.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> explanation = Explanation(torch.ones(1, 1, 2, 4, 4), torch.ones(1, 1, 4, 4), torch.ones(1), (0,), ("gray",), ("sobel_x", "sobel_y"))
    >>> plot_pixels(explanation).axes[0].get_title(loc="left")
    'Relevance by pixel'
    """
    first = first_image(explanation)
    picture = None if image is None else shown_picture(first, image)
    return _map_figure(pixel_map(first, smooth, picture), ax, title, width, dpi)


def plot_filter_map(
    explanation: Explained,
    name: str,
    image: Any = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    bank: FilterBank | None = None,
    smooth: float | bool | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw where the relevance of one filter lies in one image, on a scale of its own.

    Parameters
    ----------
    explanation : Explanation
        Of a batch, the first image is drawn.
    name : str
        The filter, by its name or its label.
    image : array-like or PIL image, optional
        The picture that the map is laid over. Default: what the explanation knows of its input.
    bank : FilterBank, optional
        The bank behind the scores: with it, the kernel is drawn beside the title.
    ax, title, smooth, width, dpi : optional
        As in :func:`plot_pixels`; the title is the filter's label by default.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    KeyError
        If there is no such filter.
    ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> explanation = Explanation(torch.ones(1, 1, 2, 4, 4), None, torch.ones(1), (0,), ("gray",), ("sobel_x", "sobel_y"))
    >>> plot_filter_map(explanation, "sobel_y").axes[0].get_title(loc="left")
    'sobel y'
    """
    first = first_image(explanation)
    check_bank(bank, first)
    return _map_figure(
        filter_map(first, name, smooth, shown_picture(first, image), bank), ax, title, width, dpi
    )


def plot_colors(
    explanation: Explained,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw the scores by color of one image, with the effect of each beside it.

    Parameters
    ----------
    explanation : Explanation
        Of a batch, the first image is drawn.
    ax, title, width, dpi : optional
        As in :func:`plot_pixels`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Notes
    -----
    Wide bars are scores, narrow ones the effect: what the output loses when the color is silenced. A hatched bar with ``!`` is a score that
    its effect contradicts (:meth:`edgefilter.Explanation.doubts`). Whiskers are standard errors. An arrow ends an effect that is far out. Of
    more than 16 colors, the 12 largest are drawn, and one bar for the others.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> explanation = Explanation(torch.ones(1, 1, 2, 4, 4), None, torch.ones(1), (0,), ("gray",), ("sobel_x", "sobel_y"))
    >>> [label.get_text() for label in plot_colors(explanation).axes[0].get_yticklabels()]
    ['gray']
    """
    return _bar_figure(color_bars(first_image(explanation)), title or "Relevance by color", ax, width, dpi)


def plot_filters(
    explanation: Explained,
    bank: FilterBank | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw the scores by filter of one image, largest in size first, with their effects as far as they are known.

    Parameters
    ----------
    explanation : Explanation
        Of a batch, the first image is drawn.
    bank : FilterBank, optional
        The bank behind the scores: with it, the kernels are drawn beside their names.
    ax, title, width, dpi : optional
        As in :func:`plot_pixels`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If ``bank`` has other filters.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> response = torch.tensor([1.0, -3.0]).reshape(1, 1, 2, 1, 1)
    >>> explanation = Explanation(response, None, torch.ones(1), (0,), ("gray",), ("sobel_x", "sobel_y"))
    >>> [label.get_text() for label in plot_filters(explanation).axes[0].get_yticklabels()]
    ['sobel y', 'sobel x']
    """
    first = first_image(explanation)
    check_bank(bank, first)
    return _bar_figure(filter_bars(first, bank), title or "Relevance by edge filter", ax, width, dpi)


def plot_groups(
    explanation: Explained,
    kind: str = "order",
    bank: FilterBank | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw the scores of groups of filters of one image.

    Parameters
    ----------
    explanation : Explanation
        Of a batch, the first image is drawn.
    kind : str or mapping, default: "order"
        As in :meth:`edgefilter.Explanation.group`.
    bank : FilterBank, optional
        The bank behind the scores: with it, up to three kernels of each group are drawn, those with the largest scores.
    ax, title, width, dpi : optional
        As in :func:`plot_pixels`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    KeyError, TypeError, ValueError
        If there are no such groups, or ``bank`` has other filters.

    Examples
    --------
    >>> import edgefilter as ef
    >>> import torch
    >>> explanation = ef.Explanation(torch.ones(1, 1, 2, 4, 4), None, torch.ones(1), (0,), ("gray",), ("sobel_x", "sobel_y"))
    >>> figure = plot_groups(explanation, {"both": ["sobel_x", "sobel_y"]})
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['both (2)']
    """
    first = first_image(explanation)
    check_bank(bank, first)
    what = kind if isinstance(kind, str) else "group"
    return _bar_figure(
        group_bars(first, kind, bank), title or f"Relevance by {what} of the filters", ax, width, dpi
    )


def _map_figure(drawn: SignedMap, ax: Axes | None, title: str | None, width: Any, dpi: float) -> Figure:
    drawn = drawn if title is None else drawn._replace(title=str(title))
    if ax is None:
        inches = inches_of(width, WIDTH)
        return _alone(map_panel(drawn, look := Look.of(inches)), drawn.title, look, inches, dpi)
    look = Look.on(ax)
    ax.set_box_aspect(drawn.ratio)
    draw_map(ax, drawn, look, inches_of_axes(ax)[0])
    return ax.figure  # type: ignore[return-value]


def _bar_figure(bars: Bars, title: str, ax: Axes | None, width: Any, dpi: float) -> Figure:
    title = str(title)
    if ax is None:
        inches = inches_of(width, WIDTH)
        return _alone(bar_panel(bars, title, look := Look.of(inches)), title, look, inches, dpi)
    draw_bars(
        ax, bars, title, Look.on(ax), inches_of_axes(ax)[0] / 0.6
    )  # the names stand on the left of the axes
    return ax.figure  # type: ignore[return-value]


def _alone(panel: Panel, title: str, look: Look, inches: float, dpi: float) -> Figure:
    return sheet(panel, inches, look, alt=title, dpi=dpi)
