"""Banks: kernels as data, the catalogue, and ordered sets of kernels on one support.

No torch here: a kernel is a NumPy array with a name and a source.
"""

from __future__ import annotations

from .bank import FilterBank
from .bases import ColorBasis
from .catalogue import get_kernel, kernel_names
from .kernel import Kernel
from .presets import bank_names, complete_bank, get_bank

__all__ = [
    "ColorBasis",
    "FilterBank",
    "Kernel",
    "bank_names",
    "complete_bank",
    "get_bank",
    "get_kernel",
    "kernel_names",
]
