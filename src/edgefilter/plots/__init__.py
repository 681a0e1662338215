"""Plots: figures from arrays; nothing is computed here but colors, places and a blur.

What is drawn is asked for what a figure needs (see ``protocols``), never for its type. Figures are apart from pyplot, and follow its settings for ink,
ground and font. Each function takes ``title=``, ``width=`` ("column", "page" or inches) and ``dpi=``, and single panels ``ax=``.
"""

from __future__ import annotations

from .batch import plot_batch
from .comparison import plot_comparison
from .contrast import plot_contrast
from .explanation import plot_explanation
from .kernels import plot_kernels, plot_responses
from .orders import plot_orders
from .profile import plot_class_maps, plot_profile
from .singles import plot_colors, plot_filter_map, plot_filters, plot_groups, plot_pixels

__all__ = [
    "plot_batch",
    "plot_class_maps",
    "plot_colors",
    "plot_comparison",
    "plot_contrast",
    "plot_explanation",
    "plot_filter_map",
    "plot_filters",
    "plot_groups",
    "plot_kernels",
    "plot_orders",
    "plot_pixels",
    "plot_profile",
    "plot_responses",
]
