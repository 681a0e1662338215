"""Profiles: what is general about a class, from the explanations of many images.

``ClassProfile`` is a metric of torchmetrics; ``profile_folder`` explains a folder of photos for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .effects import Effect, Share
    from .folder import processes, profile_folder
    from .photos import Skipped
    from .profile import ClassProfile
    from .results import RESULTS, FolderProfile

__all__ = [
    "RESULTS",
    "ClassProfile",
    "Effect",
    "FolderProfile",
    "Share",
    "Skipped",
    "processes",
    "profile_folder",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Effect": ".effects",
        "Share": ".effects",
        "FolderProfile": ".results",
        "processes": ".folder",
        "profile_folder": ".folder",
        "Skipped": ".photos",
        "ClassProfile": ".profile",
        "RESULTS": ".results",
    },
)
