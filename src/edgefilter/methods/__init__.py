"""Other methods of the field as Captum classes, one file each: to compare with ours, and as oracles and controls.

Nothing that our own attribution needs; written from the papers' descriptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .fragmenting import fragments, grid_fragments
    from .guided_nonlinearity import GuidedNonlinearityIG, guided_nonlinearity
    from .mfpp import MFPP
    from .perturbation_curve import area_under_perturbation_curve, perturbation_curve
    from .smooth_taylor import SmoothTaylor
    from .spectral import SpectralTransform2d
    from .stdev_search import TunedStdevs
    from .total_variation import average_total_variation
    from .zoom_cam import ZoomCAM

__all__ = [
    "MFPP",
    "GuidedNonlinearityIG",
    "SmoothTaylor",
    "SpectralTransform2d",
    "TunedStdevs",
    "ZoomCAM",
    "area_under_perturbation_curve",
    "average_total_variation",
    "fragments",
    "grid_fragments",
    "guided_nonlinearity",
    "perturbation_curve",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "fragments": ".fragmenting",
        "grid_fragments": ".fragmenting",
        "GuidedNonlinearityIG": ".guided_nonlinearity",
        "guided_nonlinearity": ".guided_nonlinearity",
        "MFPP": ".mfpp",
        "area_under_perturbation_curve": ".perturbation_curve",
        "perturbation_curve": ".perturbation_curve",
        "SmoothTaylor": ".smooth_taylor",
        "SpectralTransform2d": ".spectral",
        "TunedStdevs": ".stdev_search",
        "average_total_variation": ".total_variation",
        "ZoomCAM": ".zoom_cam",
    },
)
