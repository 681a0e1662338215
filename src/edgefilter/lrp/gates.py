"""Which factor of a product is a gate: by how it was squashed."""

from __future__ import annotations

from torch import Tensor

from .run import Run

__all__ = ["ACTIVATED", "CLIPPED", "SOFTMAX", "SQUASHED", "stronger"]

# How much a tensor looks like the gate in a product.
ACTIVATED, CLIPPED, SQUASHED, SOFTMAX = 1, 2, 3, 4


def stronger(run: Run, first: Tensor, second: Tensor, *, least: int = ACTIVATED) -> Tensor | None:
    """Return the factor that looks more like a gate, at least as much as that; None if none does."""
    gates = [gate if (gate := run.known(factor).gate) >= least else 0 for factor in (first, second)]
    if gates[0] == gates[1]:
        return None
    return first if gates[0] > gates[1] else second
