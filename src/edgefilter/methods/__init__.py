"""Other methods of the field as Captum classes, one file each: to compare with ours, and as oracles and controls.

Nothing that our own attribution needs; written from the papers' descriptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .activations import activation_ratio
    from .group_ratio import GroupRatio
    from .score_shares import score_ratio

__all__ = [
    "GroupRatio",
    "activation_ratio",
    "score_ratio",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "activation_ratio": ".activations",
        "GroupRatio": ".group_ratio",
        "score_ratio": ".score_shares",
    },
)
