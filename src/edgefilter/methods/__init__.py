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
    from .guided_nonlinearity import GuidedNonlinearityIG
    from .guiding import guided_gradients
    from .hmax import HMAXFront
    from .kernel_lime import KernelLIME, LimeExplanation
    from .linear_region import LinearRegion
    from .mask_search import MaskSearch
    from .mfpp import MFPP
    from .perturbation import area_under_perturbation_curve, perturbation_curve
    from .region import ClassBoundary, Region, Unit, Walk
    from .relevance_weighting import relevance_weights
    from .salient_part import SalientPart, salient_part_score
    from .score_shares import score_ratio
    from .smooth_taylor import SmoothTaylor
    from .spectral import SpectralTransform2d
    from .stdev_search import TunedStdevs
    from .total_variation import average_total_variation
    from .zoom_cam import ZoomCAM

__all__ = [
    "MFPP",
    "ClassBoundary",
    "GroupRatio",
    "GuidedNonlinearityIG",
    "HMAXFront",
    "KernelLIME",
    "LimeExplanation",
    "LinearRegion",
    "MaskSearch",
    "Region",
    "SalientPart",
    "SmoothTaylor",
    "SpectralTransform2d",
    "TunedStdevs",
    "Unit",
    "Walk",
    "ZoomCAM",
    "activation_ratio",
    "area_under_perturbation_curve",
    "average_total_variation",
    "fragments",
    "grid_fragments",
    "guided_gradients",
    "perturbation_curve",
    "relevance_weights",
    "salient_part_score",
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
        "guided_gradients": ".guiding",
        "HMAXFront": ".hmax",
        "KernelLIME": ".kernel_lime",
        "LimeExplanation": ".kernel_lime",
        "LinearRegion": ".linear_region",
        "MaskSearch": ".mask_search",
        "MFPP": ".mfpp",
        "area_under_perturbation_curve": ".perturbation",
        "perturbation_curve": ".perturbation",
        "ClassBoundary": ".region",
        "Region": ".region",
        "Unit": ".region",
        "Walk": ".region",
        "relevance_weights": ".relevance_weighting",
        "SalientPart": ".salient_part",
        "salient_part_score": ".salient_part",
        "score_ratio": ".score_shares",
        "SmoothTaylor": ".smooth_taylor",
        "SpectralTransform2d": ".spectral",
        "TunedStdevs": ".stdev_search",
        "average_total_variation": ".total_variation",
        "ZoomCAM": ".zoom_cam",
    },
)
