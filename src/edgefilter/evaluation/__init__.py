"""Evaluation: our attribution beside other methods, by the metrics of Captum and Quantus.

No metric of our own where one of these has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .cam import EdgeFilterCAM, EdgeFilterExtractor
    from .comparing import compare
    from .comparison import FILES, PART_COLUMNS, Comparison, Failure
    from .methods import CONTROLS, METHODS
    from .metrics import METRICS

__all__ = [
    "CONTROLS",
    "FILES",
    "METHODS",
    "METRICS",
    "PART_COLUMNS",
    "Comparison",
    "EdgeFilterCAM",
    "EdgeFilterExtractor",
    "Failure",
    "compare",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "EdgeFilterCAM": ".cam",
        "EdgeFilterExtractor": ".cam",
        "compare": ".comparing",
        "FILES": ".comparison",
        "PART_COLUMNS": ".comparison",
        "Comparison": ".comparison",
        "Failure": ".comparison",
        "CONTROLS": ".methods",
        "METHODS": ".methods",
        "METRICS": ".metrics",
    },
)
