"""A figure on a light and on a dark ground, for pages that may be either."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgefilter._notebook import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DARK", "LIGHT", "themed"]


def _theme(ground: str, ink: str, line: str) -> dict[Any, Any]:
    """Return matplotlib's settings for a ground, whatever style is in use."""
    inked = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor"), ground),
        **dict.fromkeys(inked, ink),
        "axes.edgecolor": line,
        "savefig.facecolor": "auto",
    }


LIGHT = _theme("#ffffff", "#222222", "#444444")
DARK = _theme("#111111", "#e0e0e0", "#999999")  # the ground of JupyterLab's dark theme
DPI = 110  # a figure of 12 inches is as wide as a notebook's cell then, and half as many bytes as with 150


def themed(draw: Callable[[], Figure], alt: str) -> Picture:
    """Draw a figure twice, by matplotlib's settings for a light and for a dark ground.

    Parameters
    ----------
    draw : callable
        Makes the figure.
    alt : str
        What a screen reader says.

    Examples
    --------
    >>> from edgefilter.plots import plot_kernels
    >>> picture = themed(lambda: plot_kernels(["sobel_x"]), "a kernel")
    >>> picture.light == picture.dark
    False
    """
    from .figures import settings

    found = []
    for theme in (LIGHT, DARK):
        with settings(theme):
            figure = draw()
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=DPI)
        found.append(base64.b64encode(file.getvalue()).decode())
    light, dark = found
    return Picture(light, dark, alt, round(figure.get_size_inches()[0] * 100))
