"""Bases of colors: sums and differences of an image's channels in place of the channels, such as luminance and chroma."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

from .kernel import ROUNDING, Array

__all__ = ["BASES", "ColorBasis", "as_basis"]

WELL = 1e6  # condition number up to which float32 keeps one digit of the way there and back

RGB = ("red", "green", "blue")


class ColorBasis:
    """Colors that are weighted sums of an image's channels, and the way back.

    Parameters
    ----------
    names : sequence of str
        Of the ``C`` colors.
    matrix : array-like, shape (C, C)
        Row ``g`` says how color ``g`` is computed from the channels, in their order. Invertible. The size of a row changes no score,
        as the columns of the inverse make up for it.
    mean, std : float or sequence of float, optional
        How the model's input was made of the photo, ``(photo - mean) / std``: the colors are those of the photo then. See
        :meth:`normalized`.
    name : str, default: "custom"

    Attributes
    ----------
    names : tuple of str
    matrix : ndarray, shape (C, C)
    mean, std : ndarray, shape (C,)

    Raises
    ------
    TypeError, ValueError
        If the matrix is not square, not finite or cannot be inverted, or the other arguments do not fit it.

    Notes
    -----
    With the matrix :math:`B`, the network with the stem :math:`W B^{-1}` reads :math:`y = B x` as the network with the stem :math:`W` reads the
    image :math:`x`: the logits are the same. A color whose row sums to 0 is a *chroma*: it is exactly 0 where all channels are equal.

    Examples
    --------
    >>> basis = ColorBasis(("sum", "difference"), [[0.5, 0.5], [1, -1]])
    >>> basis.chromas, basis.inverse.tolist()
    (('difference',), [[1.0, 0.5], [1.0, -0.5]])
    """

    def __init__(
        self,
        names: Sequence[str],
        matrix: npt.ArrayLike,
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        name: str = "custom",
    ) -> None:
        self.names, self.name = _names(names), name
        count = len(self.names)
        self.matrix = np.array(_numbers(matrix, "matrix"))
        if self.matrix.shape != (count, count):
            raise ValueError(
                f"matrix must have shape ({count}, {count}), one row for each of the {count} colors and one column for each channel; "
                f"got {self.matrix.shape}. Pass a row of weights for each name."
            )
        if not np.isfinite(self.matrix).all() or np.linalg.cond(_scaled(self.matrix)) > WELL:
            raise ValueError(
                f"matrix must be finite and invertible; got {self.matrix.tolist()}. Leave out no channel, and make no color a sum of "
                "others."
            )
        self.mean, self.std = _per_channel(mean, "mean", count, 0.0), _per_channel(std, "std", count, 1.0)
        if not (self.std > 0).all():
            raise ValueError(
                f"std must be above 0; got {self.std.tolist()}. Pass what the channels are divided by."
            )

    @classmethod
    def named(cls, name: str) -> ColorBasis:
        """Return the basis ``"opponent"`` or ``"luma"`` of red, green and blue.

        Raises
        ------
        KeyError
            If there is no such basis.

        Examples
        --------
        >>> ColorBasis.named("luma")
        ColorBasis('luma': Y, Cb, Cr)
        """
        return _by_name(name, None)

    def __repr__(self) -> str:
        return f"ColorBasis({self.name!r}: {', '.join(self.names)})"

    @property
    def sums(self) -> Array:
        """The sums of the rows, shape (C,): exactly 0 for a chroma."""
        sums: Array = self.matrix.sum(1)
        return np.where(np.abs(sums) <= ROUNDING * np.abs(self.matrix).sum(1), 0, sums)

    @property
    def chromas(self) -> tuple[str, ...]:
        """Names of the colors that are 0 where all channels are equal."""
        return tuple(name for name, total in zip(self.names, self.sums, strict=True) if total == 0)

    @property
    def kept(self) -> Array:
        """What is taken from each color of the photo, shape (C,): that of the mean from a luminance, nothing from a chroma."""
        return np.where(self.sums == 0, 0, self.matrix @ self.mean)

    @property
    def inverse(self) -> Array:
        """How the channels of the model's input are computed from the colors, shape (C, C), beside :attr:`rest`."""
        found: Array = np.linalg.inv(self.matrix) / self.std[:, None]
        return found

    @property
    def rest(self) -> Array:
        """The model's input where no color is present, shape (C,)."""
        found: Array = (np.linalg.solve(self.matrix, self.kept) - self.mean) / self.std
        return found

    def normalized(self, mean: float | Sequence[float], std: float | Sequence[float]) -> ColorBasis:
        """Return the same colors of a photo from which the model's input was made by ``(photo - mean) / std``.

        A gray photo is not gray any more once each channel was normalised in its own way. In this basis it is: its chromas are exactly
        0. A chroma is absent where it is 0 in the photo, and a luminance where it is that of ``mean``.

        Parameters
        ----------
        mean, std : float or sequence of float
            One for each channel, or one for all.

        Examples
        --------
        >>> basis = ColorBasis.named("opponent").normalized((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        >>> basis.rest.round(2).tolist()  # the gray of the mean, as the model gets it
        [-0.16, -0.03, 0.19]
        """
        return ColorBasis(self.names, self.matrix, mean=mean, std=std, name=self.name)


def _opponent() -> ColorBasis:
    rows = [[1 / 3, 1 / 3, 1 / 3], [1.0, -1.0, 0.0], [-0.5, -0.5, 1.0]]
    return ColorBasis(("luminance", "red-green", "blue-yellow"), rows, name="opponent")


def _luma() -> ColorBasis:
    """Return luma and color differences: ITU-R BT.601, section 2.5."""
    luma = np.array([0.299, 0.587, 0.114])
    blue, red = ((np.eye(3)[place] - luma) / 2 / (1 - luma[place]) for place in (2, 0))
    return ColorBasis(("Y", "Cb", "Cr"), np.stack([luma, blue, red]), name="luma")


BASES = {"opponent": _opponent, "luma": _luma}


def as_basis(basis: Any, channels: Sequence[str] | None = None) -> ColorBasis | None:
    """Return a basis given by name, as names and matrix, or by itself; None for none.

    Parameters
    ----------
    basis : str, (names, matrix), mapping of str to sequence of float, ColorBasis or None
        Of a mapping, each value is the row of its color.
        ``"opponent"``: luminance (the mean of the channels), red-green (``R - G``) and blue-yellow (``B - (R + G) / 2``). ``"luma"``: Y,
        Cb and Cr of ITU-R BT.601, Cb and Cr without their offset.
    channels : sequence of str, optional
        Names of the channels. The bases by name are of red, green and blue, in any order. Default: in this one.

    Raises
    ------
    TypeError, ValueError, KeyError
        If there is no such basis.

    Examples
    --------
    >>> as_basis("opponent").names, as_basis("opponent", ("blue", "green", "red")).matrix[1].tolist()
    (('luminance', 'red-green', 'blue-yellow'), [0.0, -1.0, 1.0])
    """
    if basis is None or isinstance(basis, ColorBasis):
        return basis
    if isinstance(basis, str):
        return _by_name(basis, channels)
    if isinstance(basis, Mapping):
        return ColorBasis(tuple(basis), list(basis.values()))
    if not isinstance(basis, Sequence) or len(basis) != 2:
        raise TypeError(
            f"basis must be one of {', '.join(BASES)}, a pair of names and a matrix, or a ColorBasis; got {type(basis).__name__}. Pass for "
            "example basis='opponent'."
        )
    return ColorBasis(*basis)


def _by_name(name: str, channels: Sequence[str] | None) -> ColorBasis:
    if name not in BASES:
        raise UnknownNameError(
            f"unknown basis {name!r}{closest(name, BASES)} Choose one of {', '.join(BASES)}."
        )
    found = BASES[name]()
    if channels is None:
        return found
    if sorted(channels) != sorted(RGB):
        raise ValueError(
            f"basis {name!r} must be of channels named red, green and blue; got {', '.join(channels)}. Pass a ColorBasis(names, matrix)."
        )
    columns = [RGB.index(channel) for channel in channels]
    return ColorBasis(found.names, found.matrix[:, columns], name=name)


def _names(given: Any) -> tuple[str, ...]:
    names = () if isinstance(given, str) else tuple(given)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"names must be a sequence of strings; got {given!r}. Pass one for each color.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"names must be different; got {twice!r} twice. Rename one of them.")
    return names


def _numbers(given: Any, what: str) -> Array:
    try:
        found: Array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"{what} must hold numbers; got {given!r}. Pass a row of weights for each color."
        ) from None
    return found


def _per_channel(given: Any, what: str, count: int, default: float) -> Array:
    found = _numbers(default if given is None else given, what)
    if found.shape not in ((), (1,), (count,)) or not np.isfinite(found).all():
        raise ValueError(
            f"{what} must be one finite number, or one for each of the {count} channels; got {given!r}. Pass those of the preprocessing."
        )
    return np.array(np.broadcast_to(found, (count,)))


def _scaled(matrix: Array) -> Array:
    """Return the matrix with rows of one size, which says how well it can be inverted."""
    sizes = np.abs(matrix).max(1, keepdims=True)
    return matrix / np.where(sizes > 0, sizes, 1)
