"""A bank: ordered kernels on one common support, and what it spans."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgefilter._checks import closest, counted, pair
from edgefilter.errors import UnknownNameError

from .catalogue import get_kernel
from .groups import as_groups
from .kernel import Kernel
from .solving import Solver, solver

__all__ = ["FilterBank", "Size"]

Array = npt.NDArray[np.float64]
Size = int | tuple[int, int]


class FilterBank:
    """Ordered kernels on one common support, each with its own name.

    Smaller kernels are set in the middle of the support; where that is half a pixel off, the extra row or
    column is on the top or left (a 2x2 Roberts in 3x3 has its taps at the centre and the lower right).
    A bank is a value: equal when names and weights are equal, hashable, never changed by its methods.

    Parameters
    ----------
    kernels : sequence of str or Kernel
        Catalogue names (or aliases) and kernels of your own, no name twice.
    size : int or (int, int), optional
        The support, ``(height, width)``; by default as large as the largest kernel.
    normalize : {"l1", "l2"}, optional
        Scale every kernel to unit sum of absolute values or to unit Euclidean norm.
    name : str, optional
        What to call the bank in messages, ``"custom"`` by default.

    Attributes
    ----------
    name : str
        As given.
    kernels : tuple of Kernel
        The kernels as this bank applies them: embedded and normalised.
    shape : (int, int)
        The support, ``(height, width)``.
    normalize : {None, "l1", "l2"}
        As given.

    Raises
    ------
    TypeError
        If ``kernels`` holds anything but names and kernels.
    ValueError
        If there is no kernel, a name twice, a kernel larger than ``size``, or nothing to normalise.
    KeyError
        If the catalogue lacks a name.

    Examples
    --------
    >>> bank = FilterBank(["sobel_x", "sobel_y", Kernel("my_x", [[-1, 0, 1]])])
    >>> bank
    FilterBank('custom', 3 kernels of 3x3: sobel_x, sobel_y, my_x)
    >>> bank["my_x"].weight.astype(int).tolist()
    [[0, 0, 0], [-1, 0, 1], [0, 0, 0]]
    >>> bank.index("sobel_y"), bank.rank, bank.is_complete
    (1, 3, False)
    """

    def __init__(
        self,
        kernels: Iterable[str | Kernel],
        size: Size | None = None,
        normalize: Literal["l1", "l2"] | None = None,
        name: str | None = None,
    ) -> None:
        if normalize not in (None, "l1", "l2"):
            raise ValueError(
                f"normalize must be None, 'l1' or 'l2'; got {normalize!r}. Leave it out to keep the gains."
            )
        found = _resolve(kernels)
        shape = pair(size, "size", 1) if size is not None else _largest(found)
        self.name = "custom" if name is None else name
        self.shape = shape
        self.normalize = normalize
        self.kernels = tuple(_normalized(_embedded(kernel, shape), normalize) for kernel in found)

    @property
    def size(self) -> Size:
        """The support: one integer if square, else ``(height, width)``."""
        return self.shape[0] if self.shape[0] == self.shape[1] else self.shape

    @property
    def names(self) -> list[str]:
        """One name per kernel, in order."""
        return [kernel.name for kernel in self.kernels]

    @property
    def labels(self) -> list[str]:
        """One word to show per kernel: ``edge_x`` where the name is ``dx1_dy0``, else the name."""
        return [kernel.label for kernel in self.kernels]

    @property
    def families(self) -> list[str]:
        """One family per kernel."""
        return [kernel.family for kernel in self.kernels]

    @property
    def orders(self) -> list[int]:
        """How often each kernel differentiates: 0 brightness, 1 edges, 2 lines and corners, 3 and more texture."""
        return [kernel.order for kernel in self.kernels]

    def groups(self, kind: str | Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
        """Divide the filters into groups, each filter in one of them.

        Parameters
        ----------
        kind : {"order", "orientation", "scale", "family", "dependent"} or mapping of str to sequence of str
            ``"order"``: "brightness", "edges", "lines and corners" and "texture", by ``orders``.
            ``"orientation"``: by the direction in which an image must change for the kernel to answer most, read from
            the weights and rounded to 22.5 degrees. "0 deg" is rightwards (vertical edges), "45 deg" towards the
            lower right, "90 deg" downwards; blurs, Laplacians and corners have "no direction". Kernels that were made for a direction,
            such as those of ``get_bank("gabor")``, have just that.
            ``"scale"``: by the wavelength that the kernel answers to, read from the weights in octaves: "about 4 pixels"; or the one that
            it was made for: "4.6 pixels". Kernels of order 0 are "brightness".
            ``"family"``: by ``families``.
            ``"dependent"``: kernels that are multiples of each other, of either sign, together, as ``"a ~ b"``.
            A mapping ``{name: [filters]}`` is a partition of your own, which is checked.

        Returns
        -------
        groups : dict of str to tuple of str
            The names of each group's filters, in the order of the bank.

        Raises
        ------
        TypeError, KeyError, ValueError
            If there is no such kind, or your partition misses, repeats or does not know a filter, or has an empty group.

        Examples
        --------
        >>> bank = FilterBank(["sobel_x", "sobel_y", "laplacian_4", Kernel("left", [[1, 0, -1], [2, 0, -2], [1, 0, -1]])])
        >>> bank.groups("order")
        {'edges': ('sobel_x', 'sobel_y', 'left'), 'lines and corners': ('laplacian_4',)}
        >>> list(bank.groups("orientation")), list(bank.groups("dependent"))
        (['0 deg', '90 deg', 'no direction'], ['sobel_x ~ left', 'sobel_y', 'laplacian_4'])
        """
        return as_groups(self, kind)

    @cached_property
    def weight(self) -> Array:
        """The weights, shape (K, height, width), float64 and read-only."""
        stacked = np.stack([kernel.weight for kernel in self.kernels])
        return np.frombuffer(stacked.tobytes(), dtype=np.float64).reshape(stacked.shape)

    @property
    def rank(self) -> int:
        """The number of linearly independent kernels."""
        return self._solver.rank

    @property
    def is_complete(self) -> bool:
        """Whether the bank spans every kernel of its support, so that any convolution splits exactly."""
        return self.rank == math.prod(self.shape)

    @cached_property
    def _solver(self) -> Solver:
        return solver(self.weight.reshape(len(self), -1))

    @cached_property
    def _positions(self) -> dict[str, int]:
        """Where each name and each alias that only one kernel has is found."""
        aliases = Counter(alias for kernel in self.kernels for alias in set(kernel.aliases))
        positions = {a: i for i, k in enumerate(self.kernels) for a in k.aliases if aliases[a] == 1}
        return positions | {kernel.name: i for i, kernel in enumerate(self.kernels)}

    def index(self, name: str) -> int:
        """Return the position of a kernel by its name or alias.

        Raises
        ------
        KeyError
            If no kernel of the bank has this name, or several have this alias.

        Examples
        --------
        >>> from edgefilter import complete_bank
        >>> complete_bank(3).index("edge_x"), complete_bank(3).index("dx1_dy0")
        (1, 1)
        """
        position = self._positions.get(name)
        if position is None:
            hint = closest(name, self._positions)
            listed = "bank.names lists them."
            raise UnknownNameError(f"unknown filter {name!r} in bank {self.name!r}{hint} {listed}")
        return position

    def project(self, weight: npt.ArrayLike) -> tuple[Array, Array]:
        """Write weights as sums of the bank's kernels, by least squares.

        Parameters
        ----------
        weight : array_like of shape (..., height, width)
            Real, with the bank's support as its last two axes.

        Returns
        -------
        coefficients : ndarray of shape (..., K)
            Of smallest norm where the kernels depend on each other.
        residual : ndarray of shape (..., height, width)
            What the bank cannot say: ``weight`` minus the sum; zero to rounding if the bank is complete.

        Raises
        ------
        ValueError
            If the last two axes are not the bank's support.

        Examples
        --------
        >>> from edgefilter import get_bank
        >>> coefficients, residual = get_bank("frei_chen").project(np.full((3, 3), 2.0))
        >>> coefficients.round(12)[0].item(), np.abs(residual).max() < 1e-12
        (6.0, np.True_)
        """
        given = np.asarray(weight, dtype=np.float64)
        if given.shape[-2:] != self.shape or given.ndim < 2:
            raise ValueError(
                f"weight must have shape (..., {self.shape[0]}, {self.shape[1]}); got {given.shape}. "
                f"Use a bank of the weight's size, for example complete_bank({given.shape[-2:]})."
            )
        flat, basis = (
            given.reshape(*given.shape[:-2], math.prod(self.shape)),
            self.weight.reshape(len(self), -1),
        )
        coefficients = flat @ self._solver.inverse
        for _ in range(2):  # refine: an ill-conditioned inverse loses digits, its corrections do not
            coefficients = coefficients + (flat - coefficients @ basis) @ self._solver.inverse
        return coefficients, (flat - coefficients @ basis).reshape(given.shape)

    def __len__(self) -> int:
        return len(self.kernels)

    def __iter__(self) -> Iterator[Kernel]:
        return iter(self.kernels)

    def __contains__(self, item: object) -> bool:
        return item in self._positions if isinstance(item, str) else item in self.kernels

    def __getitem__(self, key: int | str) -> Kernel:
        position = self.index(key) if isinstance(key, str) else operator.index(key)
        if not -len(self) <= position < len(self):
            raise IndexError(
                f"index must be below {len(self)}; got {key}. Bank {self.name!r} has {len(self)} filters."
            )
        return self.kernels[position]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FilterBank):
            return NotImplemented
        return self.names == other.names and np.array_equal(self.weight, other.weight)

    def __hash__(self) -> int:
        return hash((tuple(self.names), self.weight.tobytes()))

    def __getstate__(self) -> dict[str, Any]:  # without the cached arrays, which a copy would make writable
        return {key: self.__dict__[key] for key in ("name", "shape", "normalize", "kernels")}

    def _repr_html_(self) -> str:
        from .notebook import html_of_bank

        return html_of_bank(self)

    def __repr__(self) -> str:
        shown = ", ".join(self.names if len(self) <= 6 else [*self.names[:5], "..."])
        return f"FilterBank({self.name!r}, {counted(len(self), 'kernel')} of {self.shape[0]}x{self.shape[1]}: {shown})"


def _resolve(kernels: Iterable[str | Kernel]) -> list[Kernel]:
    """Look names up and refuse anything else, nothing at all, and a name twice."""
    if isinstance(kernels, (str, Kernel)) or not isinstance(kernels, Iterable):
        raise TypeError(
            f"kernels must be a sequence of names and Kernel objects; got {kernels!r}. Pass a list."
        )
    found = [_resolve_one(kernel) for kernel in kernels]
    if not found:
        raise ValueError("kernels must not be empty; got []. Pass for example ['sobel_x', 'sobel_y'].")
    name, count = Counter(kernel.name for kernel in found).most_common(1)[0]
    if count > 1:
        raise ValueError(
            f"kernels must have different names; got {name!r} {count} times. Rename or drop one."
        )
    return found


def _resolve_one(kernel: object) -> Kernel:
    if isinstance(kernel, Kernel):
        return kernel
    if isinstance(kernel, str):
        return get_kernel(kernel)
    raise TypeError(
        f"kernels must hold names and Kernel objects; got {kernel!r}. Wrap an array: Kernel('mine', array)."
    )


def _largest(kernels: list[Kernel]) -> tuple[int, int]:
    return max(k.weight.shape[0] for k in kernels), max(k.weight.shape[1] for k in kernels)


def _embedded(kernel: Kernel, shape: tuple[int, int]) -> Kernel:
    """Set a kernel in the middle of a support, the odd row or column on the top or left."""
    spare = [outer - inner for outer, inner in zip(shape, kernel.weight.shape, strict=True)]
    if min(spare) < 0:
        height, width = kernel.weight.shape
        raise ValueError(
            f"size must hold every kernel; got {shape[0]}x{shape[1]} for {kernel.name!r} of {height}x{width}. "
            "Leave size out to take the largest."
        )
    if not any(spare):
        return kernel
    return replace(kernel, weight=np.pad(kernel.weight, [((n + 1) // 2, n // 2) for n in spare]))


def _normalized(kernel: Kernel, normalize: str | None) -> Kernel:
    if normalize is None:
        return kernel
    norm = np.abs(kernel.weight).sum() if normalize == "l1" else np.linalg.norm(kernel.weight)
    if norm == 0:
        raise ValueError(
            f"kernels must not be zero with normalize={normalize!r}; got {kernel.name!r}. Drop it."
        )
    return replace(kernel, weight=kernel.weight / norm)
