"""What a comparison of methods found: two tables, the maps, and what failed."""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from edgefilter._checks import counted
from edgefilter._files import replacing
from edgefilter.plots.words import control_notes, marked

from .methods import CONTROLS
from .metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FILES", "PART_COLUMNS", "Comparison", "Failure"]

LINE = 120  # letters, in print
FILES = ("pixel.csv", "parts.csv", "comparison.json", "comparison.html")

PART_COLUMNS = {"color": "high", "edge": "high", "color_top": "high", "edge_top": "high", "time": "low"}


class Failure(NamedTuple):
    """A cell of a table that could not be filled, and why."""

    table: str
    method: str
    metric: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    pixel : pandas.DataFrame
        One row per method. For each column of a metric its mean over the images, and beside it, with ``_se`` appended,
        the standard error of that mean. A failed cell is NaN.
    parts : pandas.DataFrame
        The same for scores of colors and filters: ``color`` and ``edge``, the rank correlation (Spearman) with what the
        output loses when each color, or each filter, is silenced; ``color_top`` and ``edge_top``, the share of images
        where the highest score is that of the largest loss.
    maps : dict
        By method, its attributions, shape (N, C, H, W) or (N, 1, H, W).
    images : Tensor, shape (N, C, H, W)
    targets : tuple of int
    values : pandas.DataFrame
        Single numbers: columns ``table``, ``method``, ``metric``, ``image``, ``value``.
    failures : tuple
        What could not be measured: ``table``, ``method``, ``metric`` (empty for all of them) and ``reason`` of each.
    settings : dict
        How it was made: numbers of steps and samples, seed, versions.
    """

    pixel: pd.DataFrame
    parts: pd.DataFrame
    maps: dict[str, Tensor]
    images: Tensor
    targets: tuple[int, ...]
    values: pd.DataFrame
    failures: tuple[Failure, ...]
    settings: dict[str, Any]

    @property
    def controls(self) -> dict[str, str]:
        """The methods that explain nothing and stand beside the others for comparison: by name, what kind of control it is."""
        names = dict.fromkeys([*self.pixel.index, *self.parts.index])
        return {name: CONTROLS[name] for name in names if name in CONTROLS}

    def __repr__(self) -> str:
        return (
            f"Comparison({counted(len(self.pixel), 'method')}, {counted(len(self.images), 'image')}, "
            f"{counted(len(self.failures), 'failure')})"
        )

    def _repr_html_(self) -> str:
        from .notebook import html_of_comparison

        return html_of_comparison(self, PART_COLUMNS)

    def __str__(self) -> str:
        """Lay out both tables, and say below which methods are controls, and what is missing and why."""
        return self.to_text()

    def to_text(self, width: int = LINE) -> str:
        """Return what ``print`` shows, for lines of so many letters: columns that find no room come below the others."""
        better = {key: value for metric in METRICS.values() for key, value in metric.better.items()}
        parts = [
            _text(self.pixel, better, width, self.controls),
            _text(self.parts, PART_COLUMNS, width, self.controls),
        ]
        notes = [textwrap.fill(note, width, subsequent_indent="  ") for note in control_notes(self.controls)]
        parts.append("\n".join(notes))
        reasons: dict[str, list[str]] = {}
        for failure in self.failures:
            where = " ".join(filter(None, (failure.method, failure.metric)))
            reasons.setdefault(failure.reason, []).append(where)
        parts += [f"Not measured ({', '.join(where)}): {reason}" for reason, where in reasons.items()]
        return "\n\n".join(filter(None, parts))

    def plot(
        self,
        pictures: Sequence[Any] | None = None,
        *,
        images: int = 4,
        ax: Axes | None = None,
        title: str | None = None,
        width: str | float | None = None,
        dpi: float = 150,
    ) -> Figure:
        """Draw the maps of all methods side by side, one row per image.

        Parameters
        ----------
        pictures : sequence of array-like, optional
            The images as a viewer would see them, as in :meth:`Explanation.plot`. Default: the inputs, stretched to
            the range from black to white.
        images : int, default: 4
            How many to draw at most.
        ax : matplotlib.axes.Axes, optional
            Draw in the place of these axes, which are left empty. Default: a new figure.
        title : str, optional
            Default: none.
        width : {"column", "page"} or float, optional
            3.5 or 7.2 inches, for print, or so many. Default: all methods in one row.
        dpi : float, default: 150

        Returns
        -------
        figure : matplotlib.figure.Figure
            Apart from pyplot; a notebook shows it. That of ``ax``, if it is given.

        Raises
        ------
        ValueError
            If ``images`` is below 1, or an argument does not fit.
        """
        from edgefilter.plots.arrays import visible
        from edgefilter.plots.comparison import plot_comparison

        if isinstance(images, bool) or not isinstance(images, int) or images < 1:
            raise ValueError(f"images must be an integer >= 1; got {images!r}. Pass for example images=4.")
        shown = [visible(image) for image in self.images[:images]] if pictures is None else pictures
        maps = {name: values[:images].sum(1) for name, values in self.maps.items()}
        return plot_comparison(
            maps, list(shown)[:images], controls=self.controls, ax=ax, title=title, width=width, dpi=dpi
        )

    def to_html(
        self,
        path: str | Path,
        pictures: Sequence[Any] | None = None,
        *,
        class_names: Sequence[str] | None = None,
        title: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write a report: one HTML file with the maps side by side, both tables, what failed and how it was made.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html`` or ``.htm``.
        pictures : sequence of array-like, optional
            The images as a viewer would see them. Default: the inputs, stretched to the range from black to white.
        class_names : sequence of str, optional
            To name the explained classes by.
        title : str, optional
            Default: the number of methods and images.
        overwrite : bool, default: False
            Whether an existing file may be replaced.

        Returns
        -------
        path : Path

        Raises
        ------
        ValueError
            If the file has another ending, or there are not as many pictures as images.
        FileExistsError
            If the file is there and ``overwrite`` is False.
        FileNotFoundError
            If its folder is not there.
        """
        from edgefilter.report.comparisons import write_comparison

        better = {key: value for metric in METRICS.values() for key, value in metric.better.items()}
        return write_comparison(
            path,
            self,
            {"pixel": better, "parts": PART_COLUMNS},
            pictures=pictures,
            class_names=class_names,
            title=title,
            overwrite=overwrite,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return tables, single numbers, failures and settings as plain values, ready for JSON; maps stay out."""
        return {
            "settings": self.settings,
            "targets": list(self.targets),
            "controls": self.controls,
            "pixel": _records(self.pixel.reset_index()),
            "parts": _records(self.parts.reset_index()),
            "failures": [failure._asdict() for failure in self.failures],
            "values": _records(self.values),
        }

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write ``pixel.csv``, ``parts.csv``, ``comparison.json`` and the report ``comparison.html``.

        Parameters
        ----------
        folder : str or Path
            Made if it is not there.
        overwrite : bool, default: False
            Whether existing files may be replaced.

        Returns
        -------
        paths : list of Path

        Raises
        ------
        FileExistsError
            If one of the files is there and ``overwrite`` is False.
        """
        paths = [Path(folder) / name for name in FILES]
        for path in paths:
            if path.exists() and not overwrite:
                raise FileExistsError(
                    f"folder must hold no {path.name}; got {str(folder)!r}, which does. Pass overwrite=True."
                )
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path, table in zip(paths, (self.pixel, self.parts), strict=False):
            with replacing(path) as place:
                table.to_csv(place)
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        with replacing(paths[2]) as place:
            place.write_text(text + "\n", encoding="utf-8")
        self.to_html(paths[3], overwrite=True)
        return paths


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[Any, Any]] = table.to_dict("records")
    return [
        {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        for row in rows
    ]


def _text(table: pd.DataFrame, better: Mapping[str, str], width: int, controls: Mapping[str, str]) -> str:
    import pandas as pd

    if table.empty or not len(table.columns):
        return ""
    names = [name for name in table.columns if not name.endswith("_se")]
    cells = {
        f"{name} ({better[name]})": [
            "-" if math.isnan(mean) else f"{mean:.3g}" + _error(error)
            for mean, error in zip(table[name], table[f"{name}_se"], strict=True)
        ]
        for name in names
    }
    index = [marked(name, controls) for name in table.index]
    text: str = pd.DataFrame(cells, index=index).to_string(line_width=width)
    return text


def _error(value: float) -> str:
    return "" if math.isnan(value) else f" \N{PLUS-MINUS SIGN} {value:.1g}"  # of one image there is none
