"""The report of a class profile: the classes side by side, and one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgefilter.plots.arrays import Array, as_array
from edgefilter.plots.protocols import Profiled
from edgefilter.plots.style import color_limit
from edgefilter.plots.words import spaced

from .pictures import as_data_uri, map_png
from .words import percent, signed
from .writing import checked, write_page

__all__ = ["Confused", "write_profile"]

MOST_COLUMNS = (
    24  # classes of a confusion table: more do not fit side by side, and only the largest mistakes are listed
)
LISTED = 30  # mistakes, and pairs of a class
DETAILED = 40  # classes that are shown one by one: each takes 20 KB with 18 filters, 35 KB with 49


class Confused(Protocol):
    """Which class is predicted for the photos of each class, such as :class:`edgefilter.profiles.Confusion`."""

    @property
    def counts(self) -> Any:
        """Photos by their own class (rows) and the predicted class (columns)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def accuracy(self) -> float:
        """The share of photos whose class is predicted."""

    @property
    def photos(self) -> int:
        """The number of photos."""

    def by_class(self) -> dict[str, tuple[int, float]]:
        """Return the number of photos and the accuracy of each class."""

    def largest(self, k: int, /) -> Sequence[tuple[str, str, int]]:
        """Return the largest mistakes: the class, the class that was predicted, and how many photos."""


class Shuffled(Protocol):
    """What is lost when parts are shuffled between photos, such as :class:`edgefilter.profiles.PermutationCheck`."""

    @property
    def parts(self) -> Sequence[Any]:
        """Of each part: ``score``, ``label``, and the losses ``accuracy`` and ``output`` with their errors."""

    @property
    def photos(self) -> int:
        """How many photos were shuffled."""


def write_profile(
    path: str | Path,
    profile: Profiled,
    *,
    confusion: Confused | None = None,
    shuffled: Shuffled | None = None,
    about: Mapping[str, Any] | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a class profile as one HTML file that needs nothing else.

    Parameters
    ----------
    path : str or Path
        Ends in ``.html`` or ``.htm``.
    profile : ClassProfile
    confusion : Confusion, optional
        Which classes are predicted for which.
    shuffled : PermutationCheck, optional
        What is lost when a part comes from another photo.
    about : dict, optional
        How it was made, by name.
    title : str, optional
        Default: the number of classes and images.
    overwrite : bool, default: False
        Whether an existing file may be replaced.

    Returns
    -------
    path : Path

    Raises
    ------
    ValueError
        If the file has another ending.
    FileExistsError, FileNotFoundError
        If the file is there and must not be replaced, or its folder is not there.

    Examples
    --------
    >>> import tempfile, torch
    >>> from edgefilter import ClassProfile, Explanation
    >>> explanation = Explanation(torch.rand(2, 1, 2, 4, 4), None, torch.ones(2), (0, 1), ("gray",), ("sobel_x", "sobel_y"))
    >>> profile = ClassProfile(2, explanation.colors, explanation.filters, class_names=["cat", "dog"])
    >>> profile.update(explanation, torch.tensor([0, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_profile(f"{folder}/profile.html", profile).name
    'profile.html'
    """
    path = checked(path, overwrite=overwrite)
    values = {name: as_array(value) for name, value in profile.values().items()}
    counts = values["count"]
    places = np.flatnonzero(counts).tolist()
    detailed = sorted(places, key=lambda place: -counts[place])[:DETAILED]
    classes = [_class_content(profile, values, place, full=place in detailed) for place in places]
    settings = {name: value for name, value in (about or {}).items() if value not in (None, "", [], {})}
    return write_page(
        path,
        "profile.html.jinja",
        title=title or _title(len(places), int(counts.sum())),
        classes=classes,
        colors=[spaced(name) for name in profile.colors],
        accuracy=None if confusion is None else _accuracy(confusion),
        confusion=None if confusion is None else _confusion(confusion),
        shuffled=None if shuffled is None else _shuffled(shuffled),
        about=[(spaced(name), _plain(value)) for name, value in settings.items()],
        unusable=int(values["unusable"].sum()),
        data={},
    )


def _title(classes: int, images: int) -> str:
    words = (f"{classes} class{'es' * (classes != 1)}", f"{images} image{'s' * (images != 1)}")
    return f"What speaks for each class: {', '.join(words)}"


def _class_content(
    profile: Profiled, values: Mapping[str, Array], place: int, *, full: bool
) -> dict[str, Any]:
    """Return what the page shows of one class: its shares by color, filter and pair."""
    labels = [spaced(label) for label in profile.filter_labels]
    colors = _shares(profile.colors, values, "color", place)
    filters = sorted(_shares(labels, values, "edge", place), key=lambda row: -abs(row["mean"]))
    pairs = [f"{spaced(color)}, {label}" for color in profile.colors for label in labels]
    both = sorted(_shares(pairs, values, "color_edge", place), key=lambda row: -abs(row["mean"]))
    return {
        "id": f"class-{place}",
        "name": profile.class_names[place],
        "count": int(values["count"][place]),
        "colors": colors,
        "filters": filters,
        "pairs": both[:LISTED],
        "left": len(both) - LISTED,
        "full": full,
        **_mean_map(values, place),
    }


def _shares(
    names: Sequence[str], values: Mapping[str, Array], score: str, place: int
) -> list[dict[str, Any]]:
    """Return one row for each part: mean, spread and 95 % interval of its share, as text and as a bar."""
    means, spreads = (values[f"{score}_{what}"][place].flatten() for what in ("mean", "std"))
    largest = float(np.abs(means).max()) or 1.0
    reach = max(1.0, float(np.nan_to_num(np.abs(means) + np.nan_to_num(spreads)).max()) / largest)
    return [
        {
            "label": spaced(name),
            "mean": float(mean),
            "text": f"{100 * mean:+.1f} %".replace("-", "\N{MINUS SIGN}"),
            "spread": "" if math.isnan(spread) else f"± {100 * spread:.1f}",
            "bar": round(float(mean) / largest / reach, 3),
            "whisker": None if math.isnan(spread) else round(float(spread) / largest / reach, 3),
        }
        for name, mean, spread in zip(names, means.tolist(), spreads.tolist(), strict=True)
    ]


def _mean_map(values: Mapping[str, Array], place: int) -> dict[str, Any]:
    """Return the mean pixel map of a class whose images are aligned, if it was kept."""
    if "pixel_mean" not in values:
        return {"map": None, "ends": None, "height": 0, "width": 0}
    shown = np.nan_to_num(values["pixel_mean"][place].sum(0))
    limit, _ = color_limit(shown)
    ends = signed(np.array([-limit, limit]))
    return {
        "map": as_data_uri(map_png(shown, limit)),
        "ends": ends,
        "height": shown.shape[0],
        "width": shown.shape[1],
    }


def _accuracy(confusion: Confused) -> dict[str, Any] | None:
    """Return how often the network is right, in all and by class."""
    if not confusion.photos:
        return None
    by_class = {name: percent(share) for name, (_, share) in confusion.by_class().items()}
    return {"all": percent(confusion.accuracy), "photos": confusion.photos, "by_class": by_class}


def _confusion(confusion: Confused) -> dict[str, Any] | None:
    """Return the counts of few classes as a square, and the largest mistakes of many."""
    counts = as_array(confusion.counts).astype(int)
    some = np.flatnonzero(counts.sum(0) + counts.sum(1)).tolist()
    if not some:
        return None
    names = [confusion.names[place] for place in some]
    if len(some) > MOST_COLUMNS:
        return {"names": None, "mistakes": [tuple(item) for item in confusion.largest(LISTED)]}
    totals = np.maximum(counts.sum(1), 1)
    rows = [
        (
            confusion.names[a],
            [(int(counts[a, b]), a == b, round(float(counts[a, b] / totals[a]), 2)) for b in some],
        )
        for a in some
    ]
    return {"names": names, "rows": rows, "mistakes": []}


def _shuffled(check: Shuffled) -> dict[str, Any]:
    """Return what is lost when a part comes from another photo, the largest losses of the output first."""
    parts = sorted(check.parts, key=lambda part: -part.output)
    losses = signed(np.array([part.output for part in parts]))
    rows = [
        {
            "kind": part.score,
            "label": spaced(part.label),
            "value": part.output,
            "loss": loss,
            "error": "" if math.isnan(part.output_error) else f"± {part.output_error:.2g}",
            "points": "" if math.isnan(part.accuracy) else f"{100 * part.accuracy:.1f} %",
            "points_error": "" if math.isnan(part.accuracy_error) else f"± {100 * part.accuracy_error:.1f}",
        }
        for part, loss in zip(parts, losses, strict=True)
    ]
    return {"photos": check.photos, "rows": rows, "right": any(row["points"] for row in rows)}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{spaced(str(name))}: {_plain(one)}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
