"""Stems: the convolutions that read the image, seen as a bank of edge filters and a mixing.

Layers with such a bank; find, replace, fold and split the stem of a model. No rules here.
"""

from __future__ import annotations

from .finding import find_stem, has_bank
from .layers import EdgeFilterBank2d, EdgeFilterConv2d
from .masks import color_mask, filter_mask
from .replacing import fold_stem, replace_stem
from .responses import bank_of, by_color
from .splitting import split

__all__ = [
    "EdgeFilterBank2d",
    "EdgeFilterConv2d",
    "bank_of",
    "by_color",
    "color_mask",
    "filter_mask",
    "find_stem",
    "fold_stem",
    "has_bank",
    "replace_stem",
    "split",
]
