"""One fixed 2-D weight array with a name, a family and a source.

Every weight is the *correlation* kernel, as ``torch.nn.functional.conv2d`` applies it: rows run down (y),
columns run right (x). First derivatives answer positively to dark -> bright rightwards (``_x``) or downwards
(``_y``), so ``_x`` answers to vertical edges. ``_d45`` is brighter towards the lower right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["ROUNDING", "Array", "Kernel"]

Array = npt.NDArray[np.float64]

# Networks compute in float32, and weights may come from there: a share of a kernel's answer below this is rounding.
ROUNDING = float(np.finfo(np.float32).eps)

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
    order : int, optional
        How often it differentiates: 0 answers to brightness, 1 to edges, 2 to lines and corners, 3 and more to
        texture. By default the lowest degree of a polynomial in x and y that the kernel answers to.
    direction : float, optional
        The direction of change that it was made for, in degrees from the x axis (right) towards the y axis (down), 0 to below 180. By
        default groups read it from the weight, in steps of 22.5 degrees.
    wavelength : float, optional
        The wavelength in pixels that it was made for. By default groups read it from the weight, in octaves.

    Raises
    ------
    TypeError
        If ``name`` is not a string, ``weight`` is not real numbers or ``aliases`` is a bare string.
    ValueError
        If ``name`` is empty, ``weight`` is not 2-D, non-empty and finite, ``order`` is not an integer >= 0, or ``direction`` or
        ``wavelength`` is out of its range.

    Examples
    --------
    >>> mine = Kernel("my_x", [[-1, 0, 1]])
    >>> mine
    Kernel('my_x', 1x3, family='custom')
    >>> mine.weight.tolist()
    [[-1.0, 0.0, 1.0]]
    >>> mine.order, Kernel("peak", [[-1, 2, -1]]).order
    (1, 2)
    """

    name: str
    weight: Array
    family: str = "custom"
    source: str = ""
    aliases: tuple[str, ...] = ()
    notes: str = ""
    order: int = None  # type: ignore[assignment]  # an integer once it is made
    direction: float | None = None
    wavelength: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string; got {self.name!r}. Pass for example name='my_kernel'.")
        if not self.name:
            raise ValueError("name must not be empty; got ''. Pass for example name='my_kernel'.")
        object.__setattr__(self, "weight", _clean_weight(self.weight))
        object.__setattr__(self, "aliases", _clean_aliases(self.aliases))
        order = _lowest_degree(self.weight) if self.order is None else self.order
        if not isinstance(order, int) or isinstance(order, bool) or order < 0:
            raise ValueError(
                f"order must be an integer >= 0; got {order!r}. Leave it out to read it from the weight."
            )
        object.__setattr__(self, "order", order)
        if self.direction is not None and not 0 <= self.direction < 180:
            raise ValueError(
                f"direction must be at least 0 and below 180 degrees; got {self.direction!r}. Pass it modulo 180."
            )
        if self.wavelength is not None and not 0 < self.wavelength < math.inf:
            raise ValueError(
                f"wavelength must be a positive number of pixels; got {self.wavelength!r}. Leave it out to read it from the weight."
            )

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

    def _repr_html_(self) -> str:
        from .notebook import html_of_kernel

        return html_of_kernel(self)

    def _key(self) -> tuple[object, ...]:
        return (self.name, self.weight.shape, self.weight.tobytes(), *self._about())

    def _about(self) -> tuple[object, ...]:
        made_for = (self.direction, self.wavelength)
        return (self.family, self.source, self.aliases, self.notes, self.order, *made_for)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Kernel) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[object, ...]:  # rebuilt by the constructor: the copy is read-only as well
        return Kernel, (self.name, self.weight, *self._about())


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


def _lowest_degree(weight: Array) -> int:
    """Return the lowest degree ``a + b`` of a polynomial ``x^a y^b`` that is not answered with 0; 0 if there is none.

    It does not depend on where the origin is: terms of lower degree, which another origin adds, are answered with 0.
    """
    y, x = (np.vander(np.linspace(-1, 1, n) if n > 1 else np.zeros(1), increasing=True) for n in weight.shape)
    seen = np.abs(y.T @ weight @ x) > ROUNDING * (np.abs(y.T) @ np.abs(weight) @ np.abs(x))
    return int(np.argwhere(seen).sum(axis=1).min()) if seen.any() else 0
