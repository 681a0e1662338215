"""Profiles: what is general about a class, from the explanations of many images.

``ClassProfile`` is a metric of torchmetrics; ``profile_folder`` explains a folder of photos for it, ``permutation_check`` shuffles
colors and filters between photos, and ``PairedProfile`` holds the differences of two networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .confusion import Confusion
    from .effects import Effect, Share
    from .folder import processes, profile_folder
    from .paired import Difference, PairedProfile
    from .permutation import PermutationCheck, Permuted, permutation_check
    from .photos import Skipped
    from .profile import ClassProfile
    from .results import RESULTS, FolderProfile

__all__ = [
    "RESULTS",
    "ClassProfile",
    "Confusion",
    "Difference",
    "Effect",
    "FolderProfile",
    "PairedProfile",
    "PermutationCheck",
    "Permuted",
    "Share",
    "Skipped",
    "permutation_check",
    "processes",
    "profile_folder",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Confusion": ".confusion",
        "Effect": ".effects",
        "Share": ".effects",
        "FolderProfile": ".results",
        "Difference": ".paired",
        "PairedProfile": ".paired",
        "PermutationCheck": ".permutation",
        "Permuted": ".permutation",
        "permutation_check": ".permutation",
        "processes": ".folder",
        "profile_folder": ".folder",
        "Skipped": ".photos",
        "ClassProfile": ".profile",
        "RESULTS": ".results",
    },
)
