"""Other methods of the field as Captum classes, one file each: to compare with ours, and as oracles and controls.

Nothing that our own attribution needs; written from the papers' descriptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .guided_nonlinearity import GuidedNonlinearityIG
    from .guiding import guided_gradients
    from .perturbation import area_under_perturbation_curve, perturbation_curve
    from .smooth_taylor import SmoothTaylor
    from .stdev_search import TunedStdevs
    from .total_variation import average_total_variation

__all__ = [
    "GuidedNonlinearityIG",
    "SmoothTaylor",
    "TunedStdevs",
    "area_under_perturbation_curve",
    "average_total_variation",
    "guided_gradients",
    "perturbation_curve",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "GuidedNonlinearityIG": ".guided_nonlinearity",
        "SmoothTaylor": ".smooth_taylor",
        "TunedStdevs": ".stdev_search",
        "area_under_perturbation_curve": ".perturbation",
        "average_total_variation": ".total_variation",
        "guided_gradients": ".guiding",
        "perturbation_curve": ".perturbation",
    },
)
