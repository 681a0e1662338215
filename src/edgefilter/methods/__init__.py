"""Other methods of the field as Captum classes, one file each: to compare with ours, and as oracles and controls.

Nothing that our own attribution needs; written from the papers' descriptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .fragmenting import fragments, grid_fragments
    from .mfpp import MFPP
    from .spectral import SpectralTransform2d

__all__ = [
    "MFPP",
    "SpectralTransform2d",
    "fragments",
    "grid_fragments",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "fragments": ".fragmenting",
        "grid_fragments": ".fragmenting",
        "MFPP": ".mfpp",
        "SpectralTransform2d": ".spectral",
    },
)
