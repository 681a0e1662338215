"""The table of a class profile: one row per class and color, filter or pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from .checks import SCORES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["class_table"]


def class_table(
    values: Mapping[str, Tensor],
    class_names: Sequence[str],
    colors: Sequence[str],
    filters: Mapping[str, str],
) -> pd.DataFrame:
    """Lay out what ``ClassProfile.values()`` gave; classes without images are left out. The filters are given with their labels."""
    import pandas as pd

    counts = [values[name].tolist() for name in ("count", "unusable")]
    parts = {
        "color": [(color, "", "") for color in colors],
        "edge": [("", *names) for names in filters.items()],
        "color_edge": [(color, *names) for color in colors for names in filters.items()],
    }
    columns = ["class", "class_name", "count", "unusable", "score", "color", "filter", "label", "mean", "std"]
    rows = [
        (place, class_names[place], *known, score, *part, mean, std)
        for place, known in enumerate(zip(*counts, strict=True))
        if any(known)
        for score in SCORES
        for part, mean, std in zip(
            parts[score],
            values[f"{score}_mean"][place].flatten().tolist(),
            values[f"{score}_std"][place].flatten().tolist(),
            strict=True,
        )
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return table
