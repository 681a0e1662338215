"""Explain image classifiers by color channel, by edge filter and by pixel.

Names are loaded when they are first used: ``import edgefilter`` alone is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import lazy

if TYPE_CHECKING:
    from . import classifiers as classifiers
    from . import methods as methods
    from . import models as models
    from . import photos as photos
    from . import plots as plots
    from . import quantus as quantus
    from . import report as report
    from .attribution.attribution import EdgeFilterAttribution
    from .attribution.causal import CausalCheck, causal_check
    from .attribution.check import Report, check
    from .attribution.explanation import Explanation
    from .attribution.layer import LayerEdgeFilterAttribution
    from .attribution.shapley import EdgeFilterShapley, ShapleyValues
    from .banks.bank import FilterBank
    from .banks.bases import ColorBasis
    from .banks.catalogue import get_kernel, kernel_names
    from .banks.kernel import Kernel
    from .banks.presets import bank_names, complete_bank, get_bank
    from .errors import UnsupportedModelError
    from .evaluation.comparing import compare
    from .evaluation.comparison import Comparison
    from .lrp.composites import composite_names, get_composite
    from .profiles.profile import ClassProfile
    from .stems.finding import find_stem
    from .stems.layers import EdgeFilterBank2d, EdgeFilterConv2d
    from .stems.masks import color_mask, filter_mask
    from .stems.replacing import fold_stem, replace_stem
    from .stems.splitting import split

__version__ = "0.1.0"

__all__ = [
    "CausalCheck",
    "ClassProfile",
    "ColorBasis",
    "Comparison",
    "EdgeFilterAttribution",
    "EdgeFilterBank2d",
    "EdgeFilterConv2d",
    "EdgeFilterShapley",
    "Explanation",
    "FilterBank",
    "Kernel",
    "LayerEdgeFilterAttribution",
    "Report",
    "ShapleyValues",
    "UnsupportedModelError",
    "bank_names",
    "causal_check",
    "check",
    "color_mask",
    "compare",
    "complete_bank",
    "composite_names",
    "filter_mask",
    "find_stem",
    "fold_stem",
    "get_bank",
    "get_composite",
    "get_kernel",
    "kernel_names",
    "models",
    "replace_stem",
    "split",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "EdgeFilterAttribution": ".attribution.attribution",
        "CausalCheck": ".attribution.causal",
        "causal_check": ".attribution.causal",
        "Report": ".attribution.check",
        "check": ".attribution.check",
        "Explanation": ".attribution.explanation",
        "LayerEdgeFilterAttribution": ".attribution.layer",
        "EdgeFilterShapley": ".attribution.shapley",
        "ShapleyValues": ".attribution.shapley",
        "FilterBank": ".banks.bank",
        "ColorBasis": ".banks.bases",
        "get_kernel": ".banks.catalogue",
        "kernel_names": ".banks.catalogue",
        "Kernel": ".banks.kernel",
        "bank_names": ".banks.presets",
        "complete_bank": ".banks.presets",
        "get_bank": ".banks.presets",
        "UnsupportedModelError": ".errors",
        "compare": ".evaluation.comparing",
        "Comparison": ".evaluation.comparison",
        "composite_names": ".lrp.composites",
        "get_composite": ".lrp.composites",
        "ClassProfile": ".profiles.profile",
        "find_stem": ".stems.finding",
        "EdgeFilterBank2d": ".stems.layers",
        "EdgeFilterConv2d": ".stems.layers",
        "color_mask": ".stems.masks",
        "filter_mask": ".stems.masks",
        "fold_stem": ".stems.replacing",
        "replace_stem": ".stems.replacing",
        "split": ".stems.splitting",
    },
    modules=("classifiers", "methods", "models", "photos", "plots", "quantus", "report"),
)
