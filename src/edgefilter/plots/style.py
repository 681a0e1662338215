"""What all figures share: colors, scales, headings and frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array
from .words import format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

__all__ = [
    "AGAINST",
    "FOR",
    "INK",
    "OTHERS",
    "OWN",
    "PERCENTILE",
    "SMALL",
    "TEXT",
    "color_bar",
    "color_limit",
    "frame",
    "heading",
    "note_nothing",
    "signed_colormap",
    "symmetric_norm",
]

SIGNED = (  # RdBu_r with a true white for zero: red speaks for the output, blue against it
    *("#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#ffffff"),
    *("#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"),
)
FOR, AGAINST = "#b2182b", "#2166ac"
INK = "#222222"
GRAY = "#7f7f7f"
OWN = {"red": "#cb3a32", "green": "#3a9149", "blue": "#3867b8", "gray": GRAY, "luminance": GRAY, "Y": GRAY}
OTHERS = (
    *("#8c6bb1", "#d98f2b", "#4aa3a2", "#9c755f", "#c45a93", "#8aa331", "#2f6f9f", "#e0b83c"),
    *("#5b5ea6", "#a8433f", "#57b07a", "#b79ad0", "#6b4f2a", "#79b8d9", "#3f6b3a", "#e58a7b"),
)
TEXT, SMALL = 9.0, 7.5

PERCENTILE = 99.5


def color_bar(axes: Axes, scale: Any, limit: float, label: str, clipped: bool) -> None:
    """Put a color bar on the right of a picture, just as tall."""
    note = f"\n(color ends at the {PERCENTILE:g}th percentile)" if clipped else ""
    bar = axes.figure.colorbar(
        scale,
        cax=axes.inset_axes((1.04, 0.0, 0.045, 1.0)),
        extend="both" if clipped else "neither",
        extendfrac=0.03,
    )
    if limit:
        bar.set_ticks([-limit, 0, limit], labels=[format_number(-limit), "0", format_number(limit)])
    else:
        bar.set_ticks([0], labels=["0"])
    bar.ax.tick_params(labelsize=SMALL, labelcolor=INK, color="#999999")
    bar.set_label(f"{label}{note}", fontsize=SMALL, color=INK)
    outline: Any = bar.outline
    outline.set_edgecolor("#999999")


def color_limit(values: Array) -> tuple[float, bool]:
    """Return where the colors end, and whether some values lie beyond."""
    largest = float(np.abs(values).max())
    robust = float(np.percentile(np.abs(values), PERCENTILE))
    return (robust, True) if 0 < robust < 0.75 * largest else (largest, False)


def signed_colormap() -> Colormap:
    """Return the colors from against (blue) over zero (white) to for (red)."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", SIGNED, N=257)  # odd: zero is the middle color


def symmetric_norm(limit: float) -> Normalize:
    """Return the scale from ``-limit`` to ``limit``, with zero in the middle."""
    from matplotlib.colors import Normalize

    limit = limit or 1.0  # of a map without any relevance
    return Normalize(-limit, limit)


def heading(axes: Axes, text: str) -> None:
    """Put a title on the left above a panel."""
    axes.set_title(text, fontsize=TEXT + 1, color=INK, loc="left", pad=5)


def note_nothing(axes: Axes) -> None:
    """Say in an empty panel that there is no relevance."""
    axes.text(
        0.5,
        0.5,
        "no relevance",
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=TEXT,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
    )


def frame(axes: Axes) -> None:
    """Take the ticks from a picture and give it a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#999999", linewidth=0.6)
