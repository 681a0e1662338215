"""One fixed 2-D weight array with a name, a family and a source.

Every weight is the *correlation* kernel, as ``torch.nn.functional.conv2d`` applies it: rows run down (y),
columns run right (x). First derivatives answer positively to dark -> bright rightwards (``_x``) or downwards
(``_y``), so ``_x`` answers to vertical edges. ``_d45`` is brighter towards the lower right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Kernel"]

Array = npt.NDArray[np.float64]

_ORDER_CODE = re.compile(r"(^|_)(dx|u)\d+_(dy|v)\d+$")


@dataclass(frozen=True, eq=False, repr=False)
class Kernel:
    """One fixed 2-D weight array with a name, a family and a source.

    Kernels are values: equal when every field is equal, hashable, and their weight cannot be written to.

    Parameters
    ----------
    name : str
        The identifier, unique within a bank.
    weight : array_like of shape (height, width)
        Correlation kernel, finite; kept as a read-only float64 copy.
    family : str
        The group it belongs to, such as ``"sobel"``.
    source : str
        Where the numbers come from.
    aliases : sequence of str
        Other accepted names.
    notes : str
        Gain, sign and how sure the source is.

    Raises
    ------
    TypeError
        If ``name`` is not a string, ``weight`` is not real numbers or ``aliases`` is a bare string.
    ValueError
        If ``name`` is empty or ``weight`` is not 2-D, non-empty and finite.

    Examples
    --------
    >>> mine = Kernel("my_x", [[-1, 0, 1]])
    >>> mine
    Kernel('my_x', 1x3, family='custom')
    >>> mine.weight.tolist()
    [[-1.0, 0.0, 1.0]]
    """

    name: str
    weight: Array
    family: str = "custom"
    source: str = ""
    aliases: tuple[str, ...] = ()
    notes: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string; got {self.name!r}. Pass for example name='my_kernel'.")
        if not self.name:
            raise ValueError("name must not be empty; got ''. Pass for example name='my_kernel'.")
        object.__setattr__(self, "weight", _clean_weight(self.weight))
        object.__setattr__(self, "aliases", _clean_aliases(self.aliases))

    @property
    def label(self) -> str:
        """The name to show: the first alias where the name only codes orders (``dx1_dy0``), else the name.

        Examples
        --------
        >>> from edgefilter import get_kernel
        >>> get_kernel("gram3_dx1_dy0").label, get_kernel("sobel_x").label
        ('edge_x', 'sobel_x')
        """
        return self.aliases[0] if self.aliases and _ORDER_CODE.search(self.name) else self.name

    def __repr__(self) -> str:
        height, width = self.weight.shape
        return f"Kernel({self.name!r}, {height}x{width}, family={self.family!r})"

    def _key(self) -> tuple[object, ...]:
        w = self.weight
        return (self.name, w.shape, w.tobytes(), self.family, self.source, self.aliases, self.notes)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Kernel) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[object, ...]:  # rebuilt by the constructor: the copy is read-only as well
        return Kernel, (self.name, self.weight, self.family, self.source, self.aliases, self.notes)


def _clean_aliases(aliases: Iterable[str] | str) -> tuple[str, ...]:
    if isinstance(aliases, str):
        raise TypeError(f"aliases must be a sequence of strings; got {aliases!r}. Pass ({aliases!r},).")
    return tuple(aliases)


def _clean_weight(weight: npt.ArrayLike) -> Array:
    try:
        given = np.asarray(weight)
    except ValueError:
        raise ValueError(
            f"weight must have rows of one length; got {weight!r}. Pad the short rows with 0."
        ) from None
    if given.dtype.kind not in "biuf":
        raise TypeError(f"weight must hold real numbers; got dtype {given.dtype}. Pass a 2-D list of floats.")
    if given.ndim != 2 or given.size == 0:
        raise ValueError(
            f"weight must have shape (height, width); got {given.shape}. Pass a list of equal rows."
        )
    clean = given.astype(np.float64) + 0.0  # + 0.0 turns -0.0 into 0.0, so equal values have equal bytes
    if not np.isfinite(clean).all():
        raise ValueError(f"weight must be finite; got {clean.tolist()}. Replace the NaN or infinite entries.")
    return np.frombuffer(clean.tobytes(), dtype=np.float64).reshape(clean.shape)  # bytes: read-only for good
