"""A batch: images below each other, classes side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .blurring import chosen_sigma
from .layout import Block, Row, Stack, inches_of, sheet
from .maps import PIXEL, blur_note, check_explained, pixel_values, shown_picture
from .pictures import SignedMap, map_panel, picture_panel
from .protocols import Explained
from .style import Look, color_limit
from .words import compared_name, signed, width_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .arrays import Array

__all__ = ["plot_batch"]

PICTURE = 1.9  # inches


def plot_batch(
    explanation: Explained | Sequence[Explained] | Mapping[str, Explained],
    images: Sequence[Any] | None = None,
    *,
    classes: Sequence[str] | None = None,
    smooth: float | bool | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw the pixel maps of a batch: a row for each image, a column for each class, one scale for each row.

    Parameters
    ----------
    explanation : Explanation, or sequence of Explanation, or mapping of str to Explanation
        Of one batch of images: one explanation for each class, as a list or by name. A single one is one column, with the class of each image.
    images : sequence of array-like, optional
        The images as a viewer would see them, as in :func:`plot_explanation`. Default: what the explanation knows of its inputs.
    classes : sequence of str, optional
        The names of the classes.
    smooth : float or bool, optional
        As in :func:`plot_explanation`.
    ax : matplotlib.axes.Axes, optional
        Draw in the place of these axes, which are left empty. Default: a new figure.
    title : str, optional
        Default: none.
    width : {"column", "page"} or float, optional
        3.5 or 7.2 inches, or so many. Default: 1.9 inches for each picture.
    dpi : float, default: 150

    Returns
    -------
    figure : matplotlib.figure.Figure

    Notes
    -----
    Above each map stands the class with the explained output, so that rows can be read without color: the highest is the prediction, as far as
    all classes are drawn.

    Raises
    ------
    ValueError
        If there is nothing to draw, an explanation is of another number of images or has no relevance by pixel, or a picture does not fit.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> one, two = (Explanation(torch.ones(2, 1, 1, 4, 4), torch.ones(2, 1, 4, 4), torch.ones(2), (target,) * 2, ("gray",), ("sobel_x",))
    ...             for target in (0, 1))
    >>> figure = plot_batch([one, two], classes=["cat", "dog"])
    >>> [axes.get_title(loc="left") for axes in figure.axes][:2]
    ['cat +1.00', 'dog +1.00']
    """
    columns = _columns(explanation)
    count = len(columns[0][1])
    pictures = _pictures(columns[0][1], images, count)
    sigma = chosen_sigma(columns[0][1], smooth)
    across = len(columns) + any(picture is not None for picture in pictures)
    inches = inches_of(width, max(PICTURE * across, 3.5) + 0.2, ax)
    look = Look.of(inches)
    rows: list[Block] = []
    maps = [[_map(one[place], name, sigma, classes) for name, one in columns] for place in range(count)]
    room = (inches - 0.2) / across - 0.15
    if any(width_of(one.title, look.text + 0.5) > room for row in maps for one in row):
        maps = [[one._replace(title="\n".join(one.title.rsplit(" ", 1))) for one in row] for row in maps]
    for picture, row in zip(pictures, maps, strict=True):
        rows.append(_row(picture, row, across, look))
    alt = f"{PIXEL} for {count} images: " + "; ".join(
        ", ".join(one.title.replace("\n", " ") for one in row) for row in maps
    )
    caption = f"{PIXEL}{blur_note(sigma)}; each row on its own scale.".capitalize()
    return sheet(Stack(rows, 0.1), inches, look, title=title or "", caption=caption, alt=alt, dpi=dpi, ax=ax)


def _columns(explanation: Any) -> list[tuple[str | None, Explained]]:
    """Return the explanations with the names of their columns, as far as they are given."""
    found: list[tuple[str | None, Explained]]
    if isinstance(explanation, Mapping):
        found = [(str(name), one) for name, one in explanation.items()]
    elif isinstance(explanation, (list, tuple)):
        found = [(None, one) for one in explanation]
    else:
        found = [(None, explanation)]
    for _, one in found:
        check_explained(one)
    sizes = {len(one) for _, one in found}
    if len(sizes) != 1 or sizes == {0}:
        raise ValueError(
            f"explanation must hold one image or more, the same for every class; got {[len(one) for _, one in found]} images. "
            "Explain one batch for each class."
        )
    return found


def _pictures(explanation: Explained, images: Sequence[Any] | None, count: int) -> list[Array | None]:
    given = [None] * count if images is None else list(images)
    if len(given) != count:
        raise ValueError(
            f"images must be as many as were explained, {count}; got {len(given)}. Pass one picture for each."
        )
    return [shown_picture(explanation[place], image) for place, image in enumerate(given)]


def _map(one: Explained, name: str | None, sigma: float, classes: Sequence[str] | None) -> SignedMap:
    """Return a map below its class and the explained output."""
    words = compared_name(one.target[0], one.against[0], classes) if name is None else name
    output = float(one.output[0])
    title = words if np.isnan(output) else f"{words} {signed(output)}"
    return SignedMap(pixel_values(one, sigma), title, "relevance of a pixel", 0.0, soft=sigma > 0)


def _row(picture: Array | None, maps: Sequence[SignedMap], across: int, look: Look) -> Block:
    """Return the pictures of one image; below its first map stands the scale of all."""
    limit, clipped = color_limit(np.stack([one.values for one in maps]))
    same = [one._replace(limit=limit, clipped=clipped) for one in maps]
    lines = max(one.title.count("\n") + 1 for one in maps)
    pictures: list[Block] = [] if picture is None else [picture_panel(picture, look, "input", lines)]
    shown = [map_panel(one._replace(label=one.label if one is same[0] else ""), look) for one in same]
    return Row([*pictures, *shown], [1.0] * across)
