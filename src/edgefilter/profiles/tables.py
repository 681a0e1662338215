"""The table of a class profile: one row per class and color, filter or pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from .checks import SCORES
from .effects import half_width

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["class_table"]


def class_table(
    values: Mapping[str, Tensor],
    class_names: Sequence[str],
    colors: Sequence[str],
    filters: Sequence[str],
    filter_labels: Sequence[str],
) -> pd.DataFrame:
    """Lay out what ``ClassProfile.values()`` gave; classes without images are left out."""
    import pandas as pd

    counts = [values[name].tolist() for name in ("count", "unusable")]
    parts = {
        "color": [(color, "", "") for color in colors],
        "edge": [("", *names) for names in zip(filters, filter_labels, strict=True)],
        "color_edge": [
            (color, *names) for color in colors for names in zip(filters, filter_labels, strict=True)
        ],
    }
    columns = ["class", "class_name", "count", "unusable", "score", "color", "filter", "label"]
    columns += ["mean", "std", "low", "high"]
    means, spreads = ({score: values[f"{score}_{what}"] for score in SCORES} for what in ("mean", "std"))
    widths = {score: half_width(spreads[score], values["count"]) for score in SCORES}
    rows = [
        (place, class_names[place], *known, score, *part, mean, std, mean - half, mean + half)
        for place, known in enumerate(zip(*counts, strict=True))
        if any(known)
        for score in SCORES
        for part, mean, std, half in zip(
            parts[score],
            *(column[score][place].flatten().tolist() for column in (means, spreads, widths)),
            strict=True,
        )
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return table
