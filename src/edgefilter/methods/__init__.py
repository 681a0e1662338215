"""Other methods of the field as Captum classes, one file each: to compare with ours, and as oracles and controls.

Nothing that our own attribution needs; written from the papers' descriptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .fragmenting import fragments, grid_fragments
    from .mask_search import MaskSearch
    from .mfpp import MFPP
    from .salient_part import SalientPart, salient_part_score

__all__ = [
    "MFPP",
    "MaskSearch",
    "SalientPart",
    "fragments",
    "grid_fragments",
    "salient_part_score",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "MFPP": ".mfpp",
        "MaskSearch": ".mask_search",
        "fragments": ".fragmenting",
        "grid_fragments": ".fragmenting",
        "SalientPart": ".salient_part",
        "salient_part_score": ".salient_part",
    },
)
