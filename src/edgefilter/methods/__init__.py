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
    from .guided_nonlinearity import GuidedNonlinearityIG, guided_nonlinearity
    from .mfpp import MFPP
    from .perturbation_curve import area_under_perturbation_curve, perturbation_curve
    from .score_shares import score_ratio
    from .smooth_taylor import SmoothTaylor
    from .spectral import SpectralTransform2d
    from .stdev_search import TunedStdevs
    from .total_variation import average_total_variation
    from .zoom_cam import ZoomCAM

__all__ = [
    "MFPP",
    "GroupRatio",
    "GuidedNonlinearityIG",
    "SmoothTaylor",
    "SpectralTransform2d",
    "TunedStdevs",
    "ZoomCAM",
    "activation_ratio",
    "area_under_perturbation_curve",
    "average_total_variation",
    "fragments",
    "grid_fragments",
    "guided_nonlinearity",
    "perturbation_curve",
    "score_ratio",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "activation_ratio": ".activations",
        "fragments": ".fragmenting",
        "grid_fragments": ".fragmenting",
        "GroupRatio": ".group_ratio",
        "GuidedNonlinearityIG": ".guided_nonlinearity",
        "guided_nonlinearity": ".guided_nonlinearity",
        "MFPP": ".mfpp",
        "area_under_perturbation_curve": ".perturbation_curve",
        "perturbation_curve": ".perturbation_curve",
        "score_ratio": ".score_shares",
        "SmoothTaylor": ".smooth_taylor",
        "SpectralTransform2d": ".spectral",
        "TunedStdevs": ".stdev_search",
        "average_total_variation": ".total_variation",
        "ZoomCAM": ".zoom_cam",
    },
)
