"""Figures that show themselves in a notebook, and are written so that print shops and screen readers can use them."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["Drawing", "new_figure"]

FONTS: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
}  # TrueType, and text as text


DESCRIPTION = {
    "png": "Description",
    "svg": "Description",
    "pdf": "Subject",
}  # what each format calls what the alt text is


class Canvas(FigureCanvasAgg):
    """What writes a drawing: with its title and its description in the file, where there is room for them."""

    def print_figure(self, filename: Any, *places: Any, **options: Any) -> Any:
        """Write the figure, with all that is known of it."""
        figure, kind = self.figure, options.get("format") or Path(str(filename)).suffix.removeprefix(".")
        kind = str(kind or rcParams["savefig.format"]).lower()
        if kind in DESCRIPTION and isinstance(figure, Drawing):
            known = {"Title": figure.title, DESCRIPTION[kind]: figure.alt}
            given = options.get("metadata") or {}
            options["metadata"] = {name: text for name, text in known.items() if text} | given
        return super().print_figure(filename, *places, **options)


class Drawing(Figure):
    """A matplotlib figure apart from pyplot: nothing is left open, and no backend is chosen.

    A notebook shows it without magic commands. ``savefig`` writes TrueType fonts into PDF and text as text into SVG, and into PNG, SVG and PDF the
    title and, as their description, what a screen reader says.

    Attributes
    ----------
    title : str
        What the figure is of.
    alt : str
        What a screen reader says.

    Examples
    --------
    >>> figure = new_figure(2, 1)
    >>> figure._repr_png_()[1:4]
    b'PNG'
    """

    title = ""
    alt = ""

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
    figure = Drawing(figsize=(width, height), dpi=dpi)
    Canvas(figure)  # what measures its letters, whatever backend pyplot has
    return figure
