"""Other methods of the field as Captum classes, one file each: to compare with ours, and as oracles and controls.

Nothing that our own attribution needs; written from the papers' descriptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .linear_region import LinearRegion
    from .region import ClassBoundary, Region, Unit, Walk
    from .zoom_cam import ZoomCAM

__all__ = [
    "ClassBoundary",
    "LinearRegion",
    "Region",
    "Unit",
    "Walk",
    "ZoomCAM",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "ClassBoundary": ".region",
        "LinearRegion": ".linear_region",
        "Region": ".region",
        "Unit": ".region",
        "Walk": ".region",
        "ZoomCAM": ".zoom_cam",
    },
)
