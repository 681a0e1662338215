"""Attribution: relevance by color, by edge filter and by pixel, and what is read from it.

An ``Explanation`` can be loaded and drawn without the engine, so names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .attribution import EdgeFilterAttribution
    from .causal import CausalCheck, causal_check
    from .check import Operation, Report
    from .explanation import Explanation
    from .grouping import GroupScores
    from .layer import LayerEdgeFilterAttribution
    from .levels import Levels
    from .shapley import EdgeFilterShapley, ShapleyValues

__all__ = [
    "CausalCheck",
    "EdgeFilterAttribution",
    "EdgeFilterShapley",
    "Explanation",
    "GroupScores",
    "LayerEdgeFilterAttribution",
    "Levels",
    "Operation",
    "Report",
    "ShapleyValues",
    "causal_check",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "EdgeFilterAttribution": ".attribution",
        "CausalCheck": ".causal",
        "causal_check": ".causal",
        "Operation": ".check",
        "Report": ".check",
        "Explanation": ".explanation",
        "GroupScores": ".grouping",
        "Levels": ".levels",
        "LayerEdgeFilterAttribution": ".layer",
        "EdgeFilterShapley": ".shapley",
        "ShapleyValues": ".shapley",
    },
)
