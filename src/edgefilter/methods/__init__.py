"""Other methods of the field as Captum classes, one file each: to compare with ours, and as oracles and controls.

Nothing that our own attribution needs; written from the papers' descriptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .hmax import HMAXFront
    from .spectral import SpectralTransform2d

__all__ = [
    "HMAXFront",
    "SpectralTransform2d",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "HMAXFront": ".hmax",
        "SpectralTransform2d": ".spectral",
    },
)
