"""Layer-wise relevance propagation: the engine, its rules and its composites.

No model names here, and no change of the user's model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

if TYPE_CHECKING:
    from .composites import composite_names, get_composite

__all__ = [
    "composite_names",
    "get_composite",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "composite_names": ".composites",
        "get_composite": ".composites",
    },
)
