"""Where panels stand in a figure, in inches: rows and stacks of panels that say how tall they are for a width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from edgefilter._checks import is_number

from .style import LEADING, Look, check_axes, inches_of_axes, plain_text
from .words import wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


__all__ = ["WIDTHS", "Block", "Box", "Panel", "Row", "Stack", "in_rows", "inches_of", "sheet"]

WIDTHS = {"column": 3.5, "page": 7.2}  # inches, as journals have them (IEEE 3.5 and 7.16, Nature 3.5 and 7.2)
NARROWEST = 2.0  # inches: a picture, and a bar with its name and its number, at six points
EDGE = 0.1  # inches around all


class Box(NamedTuple):
    """A place in a figure: inches from its left and upper edge."""

    left: float
    top: float
    width: float
    height: float

    def axes(self, figure: Figure) -> Axes:
        """Make axes that fill it."""
        width, height = (
            figure.bbox.width / figure.dpi,
            figure.bbox.height / figure.dpi,
        )  # of a part of a figure as well
        return figure.add_axes(
            (
                self.left / width,
                1 - (self.top + self.height) / height,
                self.width / width,
                self.height / height,
            )
        )

    def inset(self, left: float = 0, top: float = 0, right: float = 0, bottom: float = 0) -> Box:
        """Return what is left within margins."""
        width, height = self.width - left - right, self.height - top - bottom
        return Box(self.left + left, self.top + top, max(width, 0.05), max(height, 0.05))


class Block(Protocol):
    """What can be laid out."""

    def height(self, width: float) -> float:
        """Return the inches that it needs, of so many in width."""

    def draw(self, figure: Figure, box: Box) -> None:
        """Draw it into its place."""


@dataclass(frozen=True)
class Panel:
    """One picture or one set of bars."""

    tall: Callable[[float], float]
    paint: Callable[[Figure, Box], None]

    def height(self, width: float) -> float:
        """Return the inches that it needs."""
        return self.tall(width)

    def draw(self, figure: Figure, box: Box) -> None:
        """Draw it."""
        self.paint(figure, box)


def in_rows(blocks: Sequence[Block], columns: int, gap: float = 0.15) -> list[Block]:
    """Return blocks in rows of so many, of equal widths."""
    rows = [blocks[start : start + columns] for start in range(0, len(blocks), columns)]
    return [Row(row, [1.0] * columns, gap) for row in rows]


@dataclass(frozen=True)
class Row:
    """Blocks side by side, in shares of the width."""

    blocks: Sequence[Block]
    shares: Sequence[float]
    gap: float = 0.15

    def _widths(self, width: float) -> list[float]:
        spare = width - self.gap * (len(self.shares) - 1)
        return [spare * share / sum(self.shares) for share in self.shares]

    def height(self, width: float) -> float:
        """Return the inches of the tallest."""
        return max(
            (block.height(part) for block, part in zip(self.blocks, self._widths(width), strict=False)),
            default=0.0,
        )

    def draw(self, figure: Figure, box: Box) -> None:
        """Draw each from the upper edge of the row, which is as tall as the row; shares without a block stay empty."""
        left = box.left
        for block, part in zip(self.blocks, self._widths(box.width), strict=False):
            block.draw(figure, Box(left, box.top, part, box.height))
            left += part + self.gap


@dataclass(frozen=True)
class Stack:
    """Blocks one below the other."""

    blocks: Sequence[Block]
    gap: float = 0.15

    def height(self, width: float) -> float:
        """Return the inches of all."""
        return sum(block.height(width) for block in self.blocks) + self.gap * max(len(self.blocks) - 1, 0)

    def draw(self, figure: Figure, box: Box) -> None:
        """Draw them from above; height to spare is shared among them."""
        top, more = box.top, max(box.height / max(self.height(box.width), 1e-6), 1.0)
        for block in self.blocks:
            height = block.height(box.width) * more
            block.draw(figure, Box(box.left, top, box.width, height))
            top += height + self.gap


def inches_of(width: Any, default: float, ax: Axes | None = None) -> float:
    """Return the width of a figure that is asked for by name or in inches, or of what is drawn in the place of axes.

    Raises
    ------
    ValueError, TypeError
        If it is neither, or too narrow for letters of six points; if ``ax`` are no axes.

    Examples
    --------
    >>> inches_of("column", 12.0), inches_of(5, 12.0), inches_of(None, 12.0)
    (3.5, 5.0, 12.0)
    """
    if ax is not None:
        check_axes(ax)
        return inches_of_axes(ax)[0] + 2 * EDGE
    if width is None:
        return default
    if isinstance(width, str) and width in WIDTHS:
        return WIDTHS[width]
    if is_number(width) and NARROWEST <= width <= 50:
        return float(width)
    raise ValueError(
        f"width must be 'column' ({WIDTHS['column']:g} inches), 'page' ({WIDTHS['page']:g}), or inches from {NARROWEST:g} to 50; got {width!r}. "
        "Leave it out for the screen."
    )


def sheet(
    block: Block,
    width: float,
    look: Look,
    *,
    title: str = "",
    caption: str = "",
    alt: str = "",
    dpi: float = 150,
    ax: Axes | None = None,
) -> Figure:
    """Draw blocks into a new figure, as tall as they need, below a title and above a caption.

    Parameters
    ----------
    block : Block
    width : float
        Inches.
    look : Look
    title, caption : str
        Wrapped to the width; left out where they are empty.
    alt : str
        What a screen reader says, and what the files hold as their description. Default: title and caption.
    dpi : float
    ax : Axes, optional
        Draw in the place of these axes, which are left empty, as large as there is room.

    Returns
    -------
    figure : Figure
        A new one, or that of ``ax``.
    """
    from .figures import new_figure

    title = str(title)
    if ax is not None:
        return _within(ax, block, look, title)

    inner = width - 2 * EDGE
    points = look.text + (2 if width >= 5 else 1)
    above, below = wrapped(title, points, inner), wrapped(caption, look.small, inner)
    head = _tall(above, points) + 0.08 if title else 0.0
    foot = _tall(below, look.small) + 0.12 if caption else 0.0
    body = block.height(inner)
    figure = new_figure(width, head + body + foot + 2 * EDGE, _checked(dpi))
    height = figure.get_size_inches()[1]
    if title:
        figure.suptitle(
            above, x=0.5, y=1 - EDGE / height, va="top", **(plain_text(look) | {"fontsize": points})
        )
    block.draw(figure, Box(EDGE, EDGE + head, inner, body))
    if caption:
        figure.text(
            EDGE / width,
            EDGE / height,
            below,
            va="bottom",
            linespacing=LEADING,
            **plain_text(look, small=True),
        )
    figure.title, figure.alt = title, alt or "\n".join(filter(None, (title, caption)))
    return figure


def _within(axes: Axes, block: Block, look: Look, title: str) -> Figure:
    """Draw blocks in the place of axes, narrower where they would be too tall."""
    figure: Any = axes.figure
    width, height = inches_of_axes(axes)
    place = axes.get_position()
    left, top = place.x0 * figure.bbox.width / figure.dpi, (1 - place.y1) * figure.bbox.height / figure.dpi
    axes.set_axis_off()
    if title:
        axes.set_title(
            wrapped(title, look.text + 1, width), **(plain_text(look) | {"fontsize": look.text + 1})
        )
    least = 0.2 * width
    while block.height(width) > height and width > least:
        width *= 0.95
    block.draw(figure, Box(left, top, width, block.height(width)))
    return figure  # type: ignore[no-any-return]


def _tall(text: str, points: float) -> float:
    """Return the inches of lines of text."""
    return (text.count("\n") + 1) * points * LEADING / 72


def _checked(dpi: Any) -> float:
    if not is_number(dpi) or not 1 <= dpi <= 2400:
        raise ValueError(f"dpi must be a number from 1 to 2400; got {dpi!r}. Pass for example dpi=300.")
    return float(dpi)
