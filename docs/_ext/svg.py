"""Pieces of the drawings as SVG text. Colors are classes, which style.css gives the colors of the theme."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

__all__ = ["arrow", "bar", "box", "bracket", "circle", "grid", "image", "line", "panel", "sheet", "text"]


def sheet(width: int, height: int, title: str, summary: str, parts: Sequence[str]) -> str:
    """Return the drawing, with a title and a description for those who cannot see it."""
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}. {escape(summary)}" xmlns="http://www.w3.org/2000/svg">'
    return head + "".join(parts) + "</svg>"


def text(x: float, y: float, words: str, kind: str) -> str:
    """Return a line of text; kinds: middle, end, small, big, strong, quiet, and colors."""
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}">{escape(words)}</text>'


def image(x: float, y: float, size: int, uri: str) -> str:
    """Return a small square picture."""
    return f'<image x="{x:.0f}" y="{y:.0f}" width="{size}" height="{size}" href="{uri}"/><rect class="frame" x="{x:.0f}" y="{y:.0f}" width="{size}" height="{size}"/>'


def arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    """Return an arrow."""
    along = np.array([to_x - x, to_y - y]) / np.hypot(to_x - x, to_y - y)
    across, tip = np.array([-along[1], along[0]]), np.array([to_x, to_y])
    back = tip - 9 * along
    corners = " ".join(f"{px:.1f},{py:.1f}" for px, py in (tip, back + 4.5 * across, back - 4.5 * across))
    shaft = f'<line class="arrow" x1="{x:.0f}" y1="{y:.0f}" x2="{back[0]:.1f}" y2="{back[1]:.1f}"/>'
    return f'{shaft}<polygon class="tip" points="{corners}"/>'


def line(x: float, y: float, to_x: float, to_y: float, width: float, kind: str) -> str:
    """Return a line of a kind: for, against, none, or a color."""
    return f'<line class="line {kind}" stroke-width="{width:.1f}" x1="{x:.0f}" y1="{y:.0f}" x2="{to_x:.0f}" y2="{to_y:.0f}"/>'


def panel(x: float, y: float, width: float, height: float) -> str:
    """Return a rounded ground."""
    return f'<rect class="panel" rx="8" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}"/>'


def box(x: float, y: float, width: float, height: float, *words: str) -> str:
    """Return a box with lines of text."""
    middle, first = x + width / 2, y + height / 2 + 5 - 9 * (len(words) - 1)
    lines = [text(middle, first + 18 * row, line, "middle") for row, line in enumerate(words)]
    return panel(x, y, width, height) + "".join(lines)


def circle(x: float, y: float, radius: float, words: str) -> str:
    """Return a unit with its value."""
    return f'<circle class="panel" cx="{x:.0f}" cy="{y:.0f}" r="{radius:.0f}"/>' + text(
        x, y + 5, words, "middle"
    )


def bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    """Return a bar in the color of its kind."""
    return f'<rect class="bar {kind}" x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" height="{height:.0f}"/>'


def bracket(x: float, to_x: float, y: float, words: str) -> str:
    """Return a bracket below things, with what they are together."""
    drawn = f'<path class="arrow" fill="none" d="M{x},{y} v8 H{to_x} v-8"/>'
    return drawn + text((x + to_x) / 2, y + 26, words, "middle")


def grid(x: float, y: float, kernel: np.ndarray[Any, Any], cell: int = 30) -> str:
    """Return a kernel as colored cells, red positive, blue negative, on its own scale."""
    from matplotlib.colors import to_hex

    from edgefilter.plots.style import signed_colormap

    limit, parts = float(np.abs(kernel).max()), []
    for (row, column), value in np.ndenumerate(kernel):
        color = to_hex(signed_colormap()(value / limit / 2 + 0.5))
        parts.append(
            f'<rect x="{x + cell * column:.0f}" y="{y + cell * row:.0f}" width="{cell}" height="{cell}" fill="{color}"/>'
        )
    rows, columns = kernel.shape
    return (
        "".join(parts)
        + f'<rect class="frame" x="{x:.0f}" y="{y:.0f}" width="{cell * columns}" height="{cell * rows}"/>'
    )
