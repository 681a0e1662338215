"""Other methods of the field as Captum classes, one file each: to compare with ours, and as oracles and controls.

Nothing that our own attribution needs; written from the papers' descriptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .activations import activation_ratio
    from .fragmenting import fragments, grid_fragments
    from .group_ratio import GroupRatio
    from .kernel_lime import KernelLIME, LimeExplanation
    from .mfpp import MFPP
    from .score_shares import score_ratio

__all__ = [
    "MFPP",
    "GroupRatio",
    "KernelLIME",
    "LimeExplanation",
    "activation_ratio",
    "fragments",
    "grid_fragments",
    "score_ratio",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "activation_ratio": ".activations",
        "fragments": ".fragmenting",
        "grid_fragments": ".fragmenting",
        "GroupRatio": ".group_ratio",
        "KernelLIME": ".kernel_lime",
        "LimeExplanation": ".kernel_lime",
        "MFPP": ".mfpp",
        "score_ratio": ".score_shares",
    },
)
