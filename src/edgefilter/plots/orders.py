"""The scores of a bank as a table: scale or order of the filters by their orientation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgefilter._checks import closest
from edgefilter.banks.bank import FilterBank
from edgefilter.banks.groups import NO_DIRECTION, ORDERS
from edgefilter.banks.scales import wavelength

from .arrays import Array, as_array
from .layout import Box, Panel, inches_of, sheet
from .maps import check_bank, first_image
from .protocols import Explained
from .style import (
    LEADING,
    Look,
    heading,
    heading_height,
    inches_of_axes,
    ink_on,
    plain_text,
    symmetric_norm,
)
from .words import format_numbers, shortened, width_of, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_orders"]

WIDTH = 7.2  # inches
ROWS = 10  # of more orders, those that are left are one row
APART = (
    2.0  # times the wavelength: filters of one order and orientation that differ by so much are of two scales
)
NOTE = "columns: the direction in which the image changes, 0° to the right (vertical edges), 90° down; relevance in units of the output"


class Table(NamedTuple):
    """Sums of scores by row and column, with the places of the filters in each cell."""

    rows: list[str]
    columns: list[str]
    cells: dict[tuple[int, int], list[int]]
    scores: Array  # by filter

    def sum(self, row: int | None = None, column: int | None = None) -> float:
        """Return the sum of a cell, of a row, of a column, or of all."""
        places = [
            place
            for (one, other), members in self.cells.items()
            for place in members
            if row in (None, one) and column in (None, other)
        ]
        return float(self.scores[places].sum())


def plot_orders(
    explanation: Explained,
    bank: FilterBank | None = None,
    *,
    rows: str | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw the scores of a bank as a table: scale or order of its filters by their orientation, with the sums.

    Parameters
    ----------
    explanation : Explanation
        Of a batch, the first image is drawn.
    bank : FilterBank, optional
        The bank behind the scores: with it, orders are told apart, and the kernels are drawn. Default: the groups that the explanation knows.
    rows : {"order", "scale"}, optional
        ``"order"``: how often filters differentiate: brightness, edges, lines and corners, texture. ``"scale"``: the wavelength that they
        answer to, in octaves, or were made for. Default: the scale of a bank that was made for several, or has filters of one order and
        orientation that are an octave apart; else the order.
    ax : matplotlib.axes.Axes, optional
        Default: a new figure.
    title : str, optional
    width : {"column", "page"} or float, optional
        3.5 or 7.2 inches, or so many. Default: 7.2.
    dpi : float, default: 150

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    KeyError
        If there are no such rows.
    ValueError
        If ``bank`` has other filters, or nothing is known of orders and orientations.

    Examples
    --------
    >>> import torch
    >>> import edgefilter as ef
    >>> bank = ef.get_bank("gabor7")
    >>> explanation = ef.Explanation(torch.ones(1, 1, 8, 2, 2), None, torch.ones(1), (0,), ("gray",), tuple(bank.names))
    >>> axes = plot_orders(explanation, bank).axes[0]
    >>> [label.get_text() for label in axes.get_xticklabels()]
    ['0°', '45°', '90°', '135°', 'sum']
    """
    first = first_image(explanation)
    check_bank(bank, first)
    table = _table(first, bank, rows)
    what = "scale" if table.rows[0].endswith("pixels") else "order"
    title = str(title or f"Relevance by {what} and orientation")
    kernels = None if bank is None else bank.weight
    if ax is not None:
        _draw_table(ax, table, kernels, title, Look.on(ax))
        return ax.figure  # type: ignore[return-value]
    inches = inches_of(width, WIDTH)
    look = Look.of(inches)
    return sheet(_panel(table, kernels, title, look), inches, look, alt=title, dpi=dpi)


def _table(explanation: Explained, bank: FilterBank | None, rows: str | None) -> Table:
    """Place the filters by row and column."""
    if rows not in (None, "order", "scale"):
        raise KeyError(
            f"rows must be 'order' or 'scale'; got {rows!r}{closest(str(rows), ('order', 'scale'))}"
        )
    orientation = _names(explanation, bank, "orientation")
    if rows == "scale" or (rows is None and _has_scales(explanation, bank, orientation)):
        order = _names(explanation, bank, "scale")
        names = sorted(set(order), key=_pixels, reverse=True)
    elif bank is None:
        order = _names(explanation, bank, "order")
        names = [name for name in ORDERS if name in order]
    else:
        order = _order_names(bank)
        names = list(dict.fromkeys(order[place] for place in np.argsort(bank.orders, kind="stable")))
    columns = sorted(set(orientation), key=lambda name: (name == NO_DIRECTION, _degrees(name)))
    cells: dict[tuple[int, int], list[int]] = {}
    for place, (row, column) in enumerate(zip(order, orientation, strict=True)):
        cells.setdefault((names.index(row), columns.index(column)), []).append(place)
    shown = [name.replace(" deg", "°") for name in columns]
    return Table(names, shown, cells, as_array(explanation.edge[0]))


def _names(explanation: Explained, bank: FilterBank | None, kind: str) -> list[str]:
    """Return the group of each filter."""
    groups: Mapping[str, Sequence[str]] = (
        explanation.groups.get(kind, {}) if bank is None else bank.groups(kind)
    )
    owner = {name: group for group, names in groups.items() for name in names}
    if not set(explanation.filters) <= set(owner):
        raise ValueError(
            f"bank must be given, as the explanation does not know the {kind} of its filters; got None. Pass the bank that was explained."
        )
    return [owner[name] for name in explanation.filters]


def _order_names(bank: FilterBank) -> list[str]:
    """Return the order of each filter as a number with its word; the highest of many are one."""
    orders = sorted(set(bank.orders))
    last = orders[ROWS - 1] if len(orders) > ROWS else orders[-1]
    words = [f"{order} {ORDERS[min(order, len(ORDERS) - 1)]}" for order in range(max(orders) + 1)]
    return [
        f"{last} and more" if order >= last and orders[-1] > last else words[order] for order in bank.orders
    ]


def _has_scales(explanation: Explained, bank: FilterBank | None, orientation: Sequence[str]) -> bool:
    """Return whether filters were made for different scales, or those of one order and orientation are far apart."""
    scales = explanation.groups.get("scale", {}) if bank is None else bank.groups("scale")
    if sum(not name.startswith(("about", ORDERS[0])) for name in scales) > 1:
        return True
    found: dict[Any, list[float]] = {}
    for kernel, direction in zip(() if bank is None else bank, orientation, strict=bank is not None):
        waves = wavelength(kernel.weight)
        if kernel.order and waves is not None:
            found.setdefault((kernel.order, direction), []).append(waves)
    return any(max(waves) >= APART * min(waves) for waves in found.values())


def _pixels(name: str) -> float:
    return 0.0 if name == ORDERS[0] else float(name.removeprefix("about ").split()[0])


def _degrees(name: str) -> float:
    return 0.0 if name == NO_DIRECTION else float(name.split()[0])


def _panel(table: Table, kernels: Array | None, title: str, look: Look) -> Panel:
    head = heading_height(look) + look.text * LEADING / 72 + 0.06
    tall = (2.3 if kernels is None else 4.3) * look.small * 1.2 / 72

    def below(width: float) -> float:
        return (wrapped(NOTE, look.small, width).count("\n") + 1) * look.small * LEADING / 72 + 0.1

    def paint(figure: Figure, box: Box) -> None:
        names = min(max(width_of(name, look.text) for name in table.rows) + 0.1, 0.4 * box.width)
        axes = box.inset(names, head, 0.02, below(box.width)).axes(figure)
        _draw_table(axes, table, kernels, title, look, names)

    return Panel(lambda width: head + tall * (len(table.rows) + 1) + below(width), paint)


def _draw_table(
    axes: Axes, table: Table, kernels: Array | None, title: str, look: Look, left: float = 0.0
) -> None:
    """Draw the cells with their numbers, and the sums beside and below them."""
    rows, columns = len(table.rows), len(table.columns)
    sums = np.full((rows + 1, columns + 1), np.nan)
    for row, column in table.cells:
        sums[row, column] = table.sum(row, column)
    known = np.abs(sums[np.isfinite(sums)])
    norm = symmetric_norm(float(known.max()) if known.size else 0.0)
    axes.imshow(
        np.ma.masked_invalid(sums),
        cmap=look.colormap,
        norm=norm,
        aspect="auto",
        interpolation="nearest",
        origin="upper",
    )
    size = _cell(axes, rows + 1, columns + 1)
    texts = _texts(table)
    for (row, column), text in texts.items():
        painted = np.isfinite(sums[row, column])
        members = table.cells.get((row, column), [])
        lower = 0.0 if kernels is None or not painted else 0.22
        words = text if len(members) < 2 else f"{text}\n{len(members)} filters"
        shade = ink_on(look.colormap(norm(sums[row, column]))) if painted else look.ink
        style = plain_text(look, small=True) | {"color": shade}
        axes.text(column, row + lower, words, ha="center", va="center", linespacing=1.1, **style)
        if kernels is not None and painted:
            _draw_kernels(axes, kernels[members], (column, row), size, look)
    axes.set_xlim(-0.5, columns + 0.5)
    axes.set_ylim(rows + 0.5, -0.5)
    axes.set_facecolor("none")
    _label(axes, table, title, look, left)


def _texts(table: Table) -> dict[tuple[int, int], str]:
    """Return the numbers of all cells, and of the sums in the last row and the last column."""
    rows, columns = len(table.rows), len(table.columns)
    places = [
        *table.cells,
        *((row, columns) for row in range(rows)),
        *((rows, column) for column in range(columns)),
        (rows, columns),
    ]
    values = [
        table.sum(None if row == rows else row, None if column == columns else column)
        for row, column in places
    ]
    return dict(zip(places, format_numbers(np.array(values), plus=True), strict=True))


def _draw_kernels(
    axes: Axes, weights: Array, place: tuple[int, int], cell: tuple[float, float], look: Look
) -> None:
    """Draw up to as many kernels of a cell as fit side by side in its upper part."""
    width, height = cell
    side = 0.4 * height  # inches
    most = max(1, int(width / (1.2 * side)))
    shown = weights[: min(most, 4)]
    for index, weight in enumerate(shown):
        middle = place[0] + (index - (len(shown) - 1) / 2) * 1.15 * side / width
        half, top = side / width / 2, place[1] - 0.46
        limit = float(np.abs(weight).max()) or 1.0
        axes.imshow(
            weight, cmap=look.colormap, norm=symmetric_norm(limit), interpolation="nearest", aspect="auto",
            extent=(middle - half, middle + half, top + side / height, top), zorder=3, origin="upper",
        )  # fmt: skip
        axes.plot(
            [middle - half, middle + half, middle + half, middle - half, middle - half],
            [top, top, top + side / height, top + side / height, top], color=look.faint, linewidth=0.5, zorder=4,
        )  # fmt: skip


def _label(axes: Axes, table: Table, title: str, look: Look, left: float) -> None:
    """Name rows and columns, and say below what they are."""
    width, _ = _cell(axes, 1, 1)
    room = left or 0.4 * width
    each = 0.95 * width / (len(table.columns) + 1)
    names = [
        name if width_of(name, look.small) <= each else name.replace(NO_DIRECTION, "none")
        for name in table.columns
    ]
    axes.set_xticks(range(len(names) + 1), [*names, "sum"])
    axes.set_yticks(
        range(len(table.rows) + 1), [shortened(name, look.text, room) for name in (*table.rows, "sum")]
    )
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0, labelsize=look.small, labelcolor=look.ink, pad=2)
    axes.tick_params(axis="y", length=0, labelsize=look.text, labelcolor=look.ink, pad=4)
    axes.set_xlabel(
        wrapped(NOTE, look.small, width + left), loc="right", multialignment="left", labelpad=3, linespacing=LEADING,
        **plain_text(look, small=True),
    )  # fmt: skip
    axes.xaxis.set_label_position("bottom")
    for edge in range(len(table.rows) + 1):
        axes.axhline(edge - 0.5, color=look.faint, linewidth=0.4)
    for edge in range(len(table.columns) + 1):
        axes.axvline(edge - 0.5, color=look.faint, linewidth=0.4)
    for spine in axes.spines.values():
        spine.set_visible(False)
    above = look.small * LEADING + 6  # points
    heading(axes, shortened(title, look.text + 0.5, width + left), look, -left / width, above)


def _cell(axes: Axes, rows: int, columns: int) -> tuple[float, float]:
    width, height = inches_of_axes(axes)
    return width / columns, height / rows
