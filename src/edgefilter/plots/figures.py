"""Figures that show themselves in a notebook, and are written so that print shops and screen readers can use them."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

__all__ = ["Drawing", "new_figure"]

FONTS: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
}  # TrueType, and text as text


class Drawing(Figure):
    """A matplotlib figure apart from pyplot: nothing is left open, and no backend is chosen.

    A notebook shows it without magic commands. ``savefig`` writes TrueType fonts into PDF and text as text into SVG.

    Examples
    --------
    >>> figure = new_figure(2, 1)
    >>> figure._repr_png_()[1:4]
    b'PNG'
    """

    alt = ""  # what a screen reader says

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure, as matplotlib does."""
        with rc_context(FONTS):
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self._repr_png_()).decode()
        width = round(self.get_size_inches()[0] * 100)
        return f'<img src="data:image/png;base64,{picture}" alt="{html.escape(self.alt)}" style="max-width: min(100%, {width}px)">'


def new_figure(width: float, height: float, dpi: float = 150) -> Drawing:
    """Make an empty figure of a size in inches."""
    return Drawing(figsize=(width, height), dpi=dpi)
