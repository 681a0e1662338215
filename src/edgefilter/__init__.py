"""Explain image classifiers by color channel, by edge filter and by pixel."""

from . import models
from .attribution import EdgeFilterAttribution
from .banks import FilterBank, bank_names, complete_bank, get_bank
from .causal import CausalCheck, causal_check
from .compare import Comparison, compare
from .composites import composite_names, get_composite
from .explanation import Explanation
from .graph import UnsupportedModelError
from .kernels import Kernel, get_kernel, kernel_names
from .layer_attribution import LayerEdgeFilterAttribution
from .layers import EdgeFilterBank2d, EdgeFilterConv2d
from .masks import color_mask, filter_mask
from .profiles import ClassProfile
from .report import Report, check
from .stems import find_stem, fold_stem, replace_stem, split
from .tracing import UntraceableModelError

__version__ = "0.1.0"

__all__ = [
    "CausalCheck",
    "ClassProfile",
    "Comparison",
    "EdgeFilterAttribution",
    "EdgeFilterBank2d",
    "EdgeFilterConv2d",
    "Explanation",
    "FilterBank",
    "Kernel",
    "LayerEdgeFilterAttribution",
    "Report",
    "UnsupportedModelError",
    "UntraceableModelError",
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
