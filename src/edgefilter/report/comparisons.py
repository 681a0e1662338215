"""The report of a comparison of methods: pictures side by side, tables, failures and settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgefilter.plots.arrays import as_array, as_picture, visible
from edgefilter.plots.style import PERCENTILE
from edgefilter.plots.words import MARK, control_notes, marked, spaced

from .pictures import as_data_uri, map_png, photo_png
from .sprites import fitting, reduced
from .words import class_name
from .writing import checked, write_page

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

__all__ = ["Compared", "write_comparison"]

IMAGES = 8  # rows of pictures
MAP_VALUES = (
    500_000  # of all maps together: ten maps of 224 x 224 take some 0.4 MB of the page, and of noise 0.7
)


class Compared(Protocol):
    """What a comparison of methods found, such as :class:`edgefilter.Comparison`."""

    @property
    def pixel(self) -> pd.DataFrame:
        """Metrics of the maps: a row for each method."""

    @property
    def parts(self) -> pd.DataFrame:
        """Metrics of the scores by color and filter."""

    @property
    def maps(self) -> Mapping[str, Tensor]:
        """The attributions by method."""

    @property
    def images(self) -> Tensor:
        """What was explained, shape (N, C, H, W)."""

    @property
    def targets(self) -> Sequence[int]:
        """The explained class of each image."""

    @property
    def controls(self) -> Mapping[str, str]:
        """The methods that are controls, and of which kind."""

    @property
    def failures(self) -> Sequence[Any]:
        """What could not be measured, and why."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """How it was made."""


def write_comparison(
    path: str | Path,
    comparison: Compared,
    better: Mapping[str, Mapping[str, str]],
    *,
    pictures: Sequence[Any] | None = None,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a comparison of methods as one HTML file that needs nothing else.

    Parameters
    ----------
    path : str or Path
        Ends in ``.html`` or ``.htm``.
    comparison : Comparison
    better : dict
        For each table, ``"pixel"`` and ``"parts"``, by column "high" or "low": what is better.
    pictures : sequence of array-like, optional
        The images as a viewer would see them. Default: the inputs, stretched to the range from black to white.
    class_names : sequence of str, optional
    title : str, optional
    overwrite : bool, default: False
        Whether an existing file may be replaced.

    Returns
    -------
    path : Path

    Raises
    ------
    ValueError
        If the file has another ending, or there are not as many pictures as images.
    FileExistsError, FileNotFoundError
        If the file is there and must not be replaced, or its folder is not there.
    """
    path = checked(path, overwrite=overwrite)
    count = len(comparison.images)
    if pictures is not None and len(pictures) != count:
        raise ValueError(f"pictures must be one for each of the {count} images; got {len(pictures)}.")
    shown = (
        [visible(image) for image in comparison.images]
        if pictures is None
        else [as_picture(one) for one in pictures]
    )
    size = _map_size(comparison, min(count, IMAGES))
    rows = [
        _image_row(comparison, place, shown[place], size, class_names) for place in range(min(count, IMAGES))
    ]
    methods = len(comparison.maps) or len(comparison.pixel)
    default = f"{methods} methods on {count} image{'s' if count > 1 else ''}"
    return write_page(
        path,
        "comparison.html.jinja",
        title=title or default,
        methods=[spaced(name) for name in comparison.maps],
        images=rows,
        size=size,
        whole=tuple(comparison.images.shape[2:]),
        left=count - len(rows),
        tables=[
            _table("The maps, by metric", comparison.pixel, better["pixel"], comparison.controls),
            _table("Scores of colors and filters", comparison.parts, better["parts"], comparison.controls),
        ],
        controls=control_notes({spaced(name): kind for name, kind in comparison.controls.items()}),
        failures=_failures(comparison.failures),
        about=_settings(comparison.settings),
        data={},
    )


def _image_row(
    comparison: Compared, place: int, picture: Any, size: Sequence[int], class_names: Sequence[str] | None
) -> dict[str, Any]:
    """Return the pictures of one image: itself, and the map of each method on a scale of its own."""
    name = class_name(int(comparison.targets[place]), class_names)
    return {
        "name": name,
        "photo": as_data_uri(photo_png(picture)),
        "maps": [
            (_named(method, comparison.controls), _map(values[place].sum(0), size))
            for method, values in comparison.maps.items()
        ],
    }


def _map_size(comparison: Compared, images: int) -> tuple[int, int]:
    """Return the size of a map in the page."""
    maps = max(1, images * len(comparison.maps))
    return fitting(comparison.images.shape[2:], MAP_VALUES // maps)


def _map(values: Any, size: Sequence[int]) -> str:
    """Return a map as a picture; one that is smaller already stays as it is."""
    given = np.nan_to_num(as_array(values))
    shown = reduced(given[None], [min(pair) for pair in zip(size, given.shape, strict=True)])[0]
    limit = float(np.percentile(np.abs(shown), PERCENTILE)) or float(np.abs(shown).max())
    return as_data_uri(map_png(shown, limit))


def _table(
    title: str, table: pd.DataFrame, better: Mapping[str, str], controls: Mapping[str, str]
) -> dict[str, Any]:
    """Return a table with the standard errors beside the means, and which method is best in each column."""
    names = [name for name in table.columns if not name.endswith("_se")]
    columns = []
    for name in names:
        means, errors = table[name].tolist(), table[f"{name}_se"].tolist()
        known = [value for value in means if not math.isnan(value)]
        best = (max if better.get(name) == "high" else min)(known) if known else math.nan
        cells = [
            (value, _cell(value), _error(error), value == best)
            for value, error in zip(means, errors, strict=True)
        ]
        columns.append((spaced(name), better.get(name, ""), cells))
    rows = [
        (_named(str(method), controls), [column[2][row] for column in columns])
        for row, method in enumerate(table.index)
    ]
    return {"title": title, "columns": [column[:2] for column in columns], "rows": rows}


def _named(method: str, controls: Mapping[str, str]) -> str:
    """Return a name, with its mark on the same line."""
    return spaced(marked(method, controls)).replace(f" {MARK}", f"\N{NO-BREAK SPACE}{MARK}")


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def _error(value: float) -> str:
    return "" if math.isnan(value) else f"± {value:.1g}"


def _failures(failures: Sequence[Any]) -> list[tuple[str, list[str]]]:
    """Return the reasons, each with the methods and metrics that it holds for."""
    found: dict[str, list[str]] = {}
    for failure in failures:
        found.setdefault(failure.reason, []).append(
            " ".join(filter(None, map(spaced, (failure.method, failure.metric))))
        )
    return list(found.items())


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows += _settings(value)
        elif value is not None:
            rows.append(
                (spaced(name), ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value))
            )
    return rows
