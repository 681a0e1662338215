"""Plots: figures from arrays; nothing is computed here but colors and places.

What is drawn is asked for what a figure needs (see ``protocols``), never for its type.
"""

from __future__ import annotations

from .comparison import plot_comparison
from .explanation import plot_explanation
from .kernels import plot_kernels
from .profile import plot_class_maps, plot_profile

__all__ = [
    "plot_class_maps",
    "plot_comparison",
    "plot_explanation",
    "plot_kernels",
    "plot_profile",
]
