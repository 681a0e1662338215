"""What objects show in a notebook: sentences, tables and pictures, as HTML that takes its colors from the page."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ._html import render

__all__ = ["Bar", "Picture", "Table", "Tiles", "Words", "bars", "number", "shown", "table"]

ROWS = 25  # of a table or of kernels: the rest is counted


class Bar(NamedTuple):
    """A number with a bar beside it."""

    text: str
    begins: float  # percent of the bar's room
    ends: float
    positive: bool

    def __str__(self) -> str:
        return self.text


class Words(NamedTuple):
    """Sentences, one a line."""

    lines: tuple[str, ...]
    kind: str = "words"


class Table(NamedTuple):
    """A table whose first column names the rows."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""
    folded: bool = False
    kind: str = "table"

    @property
    def worded(self) -> tuple[bool, ...]:
        """Whether each column holds words, which begin on the left, or numbers."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.head)
        return tuple(any(str(value)[:1].isalpha() for value in column) for column in columns)


class Picture(NamedTuple):
    """A figure on a light and on a dark ground, as PNG in base 64."""

    light: str
    dark: str
    alt: str
    width: int
    kind: str = "picture"


class Tiles(NamedTuple):
    """Small grids of numbers side by side: ``(caption, what it is, rows of (text, exact number, share of the largest))``."""

    tiles: tuple[tuple[str, str, tuple[tuple[tuple[str, str, float], ...], ...]], ...]
    note: str = ""
    kind: str = "tiles"


Part = Words | Table | Picture | Tiles


def shown(thing: object, *parts: Callable[[], Part | None]) -> str:
    """Return the HTML of an object.

    Parameters
    ----------
    thing : object
        Its ``repr`` is the heading.
    *parts : callable
        What to show below. A part that cannot be made, of an object that is half known, is left out: a notebook shows what is there.

    Examples
    --------
    >>> html = shown("a <b>", lambda: Words(("One & all.",)), lambda: 1 / 0)
    >>> "One &amp; all." in html, "&#39;a &lt;b&gt;&#39;" in html
    (True, True)
    """
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for make in parts:
            with contextlib.suppress(Exception):  # whatever it is: an object must show itself
                found.append(make())
    return render("notebook.html.jinja", name=repr(thing), parts=[part for part in found if part is not None])


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    most: int = ROWS,
    folded: bool = False,
) -> Table:
    """Return a table of at most so many rows, which says how many more there are.

    Examples
    --------
    >>> table("Letters", ["letter"], [["a"], ["b"], ["c"]], most=2).note
    '1 more row.'
    """
    every = tuple(tuple(row) for row in rows)
    rest = len(every) - most
    note = f"{rest} more row{'s' * (rest > 1)}." if rest > 0 else ""
    return Table(caption, tuple(head), every[:most], note, folded)


def bars(values: Iterable[float]) -> list[Bar]:
    """Return numbers with bars on one scale: from the left, or from the middle where some are positive and some negative.

    Examples
    --------
    >>> bars([2.0, -1.0])
    [Bar(text='+2.00', begins=50.0, ends=100.0, positive=True), Bar(text='−1.00', begins=25.0, ends=50.0, positive=False)]
    >>> bars([-1.0])
    [Bar(text='−1.00', begins=0.0, ends=100.0, positive=False)]
    """
    listed = [float(value) for value in values]
    known = [value for value in listed if math.isfinite(value)]
    scale = max(map(abs, known), default=0.0) or 1.0
    mixed = min(known, default=0.0) < 0 < max(known, default=0.0)
    found = []
    for value in listed:
        share = value / scale if math.isfinite(value) else 0.0
        ends = (50 + 50 * min(share, 0.0), 50 + 50 * max(share, 0.0)) if mixed else (0.0, 100 * abs(share))
        found.append(Bar(number(value, signed=True), *ends, value > 0))
    return found


def number(value: float, *, signed: bool = False) -> str:
    """Write a number with three digits and a true minus sign; what is unknown (NaN) as a dash.

    Examples
    --------
    >>> number(0.5), number(-1234.5), number(0.00012), number(float("nan"))
    ('0.50', '−1234', '0.00012', '–')
    """
    if math.isnan(value):
        return "\N{EN DASH}"
    size = abs(value)
    text = (
        f"{value:.0f}"
        if 1000 <= size < 1e6
        else f"{value:.2f}"
        if 0.1 <= size < 1000 or not size
        else f"{value:.3g}"
    )
    return f"{'+' * (signed and value > 0)}{text}".replace("-", "\N{MINUS SIGN}")
