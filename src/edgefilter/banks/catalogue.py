"""Kernels as data: the catalogue of named 2-D filters, each built from its formula or its integers.

Every weight is the *correlation* kernel, as ``torch.nn.functional.conv2d`` applies it: rows run down (y),
columns run right (x). First derivatives answer positively to dark -> bright rightwards (``_x``) or downwards
(``_y``), so ``_x`` answers to vertical edges. ``_d45`` is brighter towards the lower right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

from .families import (
    blurs,
    compass_sets,
    frei_chen,
    gabors,
    gaussian_derivatives,
    gradients,
    haar,
    laplacians,
    laws,
    lines_and_effects,
    mexican_hats,
    products,
    roberts,
    sharpeners,
)
from .gabor import named_gabor
from .kernel import Kernel
from .sources import ALIASES

__all__ = ["get_kernel", "kernel_names"]

_GROUPS: tuple[Callable[[], Iterable[Kernel]], ...] = (
    gradients, roberts, compass_sets, frei_chen, laplacians, mexican_hats, lines_and_effects,
    sharpeners, blurs, products, laws, haar, gaussian_derivatives, gabors,
)  # fmt: skip


@cache
def _catalogue() -> dict[str, Kernel]:
    """Build every kernel, once, at the first use."""
    return {kernel.name: kernel for group in _GROUPS for kernel in group()}


def kernel_names() -> list[str]:
    """Return the names of all kernels, in catalogue order.

    Examples
    --------
    >>> len(kernel_names()), kernel_names()[:2]
    (571, ['sobel_x', 'sobel_y'])
    """
    return list(_catalogue())


def get_kernel(name: str) -> Kernel:
    """Return a kernel by its name or one of its other names (``sobel_v`` is scikit-image's ``sobel_x``).

    Parameters
    ----------
    name : str
        One of `kernel_names`, an alias, or a Gabor kernel of any wavelength and direction, such as ``"gabor_w4_t45_even"``.

    Returns
    -------
    kernel : Kernel
        With the weight exactly as in its source: no normalisation.

    Raises
    ------
    KeyError
        If no kernel has this name.

    Examples
    --------
    >>> get_kernel("sobel_x").weight.astype(int).tolist()
    [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    >>> get_kernel("sobel-x")
    Traceback (most recent call last):
        ...
    edgefilter.errors.UnknownNameError: unknown kernel 'sobel-x'; did you mean 'sobel_x'? kernel_names() lists all 571.
    """
    catalogue, aliases = _catalogue(), {alias: known for known, alias in ALIASES.items()}
    found = catalogue.get(aliases.get(name, name)) or named_gabor(name)
    if found is None:
        hint = closest(name, [*catalogue, *aliases])
        raise UnknownNameError(f"unknown kernel {name!r}{hint} kernel_names() lists all {len(catalogue)}.")
    return found
