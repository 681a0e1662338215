"""Our attribution as a comparison calls it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.attribution.explanation import Explanation

from .margin import Margin

__all__ = ["OURS", "ours"]

OURS = ("edgefilter", "edgefilter_relevance")


class Ours(NamedTuple):
    """Our attribution of a network, and what its outputs are compared with."""

    attribution: EdgeFilterAttribution
    against: int | Literal["rest", "odds"] | None

    def attribute(self, inputs: Tensor, targets: Any) -> Tensor:
        """Return the scores of the pixels."""
        return self.attribution.attribute(inputs, targets, against=self.against)  # type: ignore[no-any-return]

    def explain(self, inputs: Tensor, targets: Any) -> Explanation:
        """Return all scores."""
        return self.attribution.explain(inputs, targets, against=self.against)


def ours(model: nn.Module, *, calibrate: bool = True) -> Ours:
    """Return our attribution of a network; inside a margin, of the network in it."""
    if isinstance(model, Margin):
        return Ours(EdgeFilterAttribution(model.model, calibrate=calibrate), model.against)
    return Ours(EdgeFilterAttribution(model, calibrate=calibrate), None)
