"""Trainable matrix products on feature maps that start as a cosine or Fourier transform."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgefilter._checks import closest, pair
from edgefilter.banks.kernel import Array
from edgefilter.banks.rows import dct_rows

__all__ = ["SpectralTransform2d"]


class SpectralTransform2d(nn.Module):
    r"""Multiply every feature map by two trainable matrices that start as a spectral transform.

    A layer between convolutions: each channel is changed to another basis, which training may adapt. Both matrices are orthonormal at
    the start, so that the layer begins as a rotation. To filter the image with fixed cosines instead, use ``complete_bank(size, "dct")``.

    .. math::

        Y_{nc} = L \, X_{nc} \, R^\top

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the feature maps, from 1. The matrices are ``height x height`` and ``width x width``.
    init : {"dct", "dft", "identity", "random"}, default: "dct"
        What the rows of both matrices are at the start. ``"dct"``: the orthonormal DCT-II. ``"dft"``: the real orthonormal Fourier basis: a
        constant, then a cosine and a sine of each frequency, then for an even size the fastest cosine. Maps stay real: the complex
        coefficients of ``numpy.fft`` are pairs of rows. ``"identity"``: the layer does nothing. ``"random"``: a random orthogonal matrix,
        drawn by torch's global generator, as the control for the other three.
    inverse : bool, default: False
        Start with the inverse transform, the transposed matrices: of the same ``init`` (but ``"random"``) and ``size``, it gives back what
        a layer without it was given.
    device, dtype : optional
        As in ``nn.Linear``.

    Attributes
    ----------
    left, right : nn.Parameter
        :math:`L` of shape (height, height) and :math:`R` of shape (width, width). All channels share them.

    Raises
    ------
    ValueError
        If ``size`` is not one or two positive integers, or there is no such ``init``.

    Notes
    -----
    Orthonormal at the start to 1e-14 in float64: energy is kept, and a layer in another precision (``layer.double()``) holds the exact
    transform of that precision as long as nothing has changed its matrices. Nothing keeps them orthonormal in training.
    The product with ``right`` is computed first. Both are linear layers, and the rules of a composite take them as ``nn.Linear``: a
    coefficient sums over a whole row or column, and its relevance is handed back to all of it.

    **Cost**: :math:`HW(H + W)` multiplications for each channel.

    **Sanity check**: no attribution method, nothing to check.

    References
    ----------
    Alberti, Botros, Schütz, Ingold, Liwicki & Seuret, "Trainable spectrally initializable matrix transformations in convolutional neural
    networks", ICPR 2020. They take the complex DFT as two real maps as well; here one real matrix has both parts.

    Examples
    --------
    A ramp from left to right has its energy in the first cosines:

    >>> layer = SpectralTransform2d(4)
    >>> ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    >>> layer(ramp)[0, 0, 0].detach().round(decimals=2)
    tensor([ 6.0000, -4.4600,  0.0000, -0.3200])
    >>> back = SpectralTransform2d(4, inverse=True)
    >>> torch.allclose(back(layer(ramp)), ramp, atol=1e-6)
    True
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        init: str = "dct",
        *,
        inverse: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.size = pair(size, "size", 1)
        if init not in (*_ROWS, "random"):
            known = [*_ROWS, "random"]
            raise ValueError(
                f"init must be one of {', '.join(known)}; got {init!r}{closest(str(init), known)} "
                "Leave it out for the cosine transform."
            )
        self.init, self.inverse = init, bool(inverse)
        height, width = self.size
        self.left = nn.Parameter(torch.empty(height, height, device=device, dtype=dtype))
        self.right = nn.Parameter(torch.empty(width, width, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set both matrices to the start: the transform, or new random ones."""
        with torch.no_grad():
            for matrix in (self.left, self.right):
                matrix.copy_(self._start(matrix))

    def forward(self, maps: Tensor) -> Tensor:
        """Transform feature maps.

        Parameters
        ----------
        maps : Tensor, shape (N, C, H, W)
            Or with other leading axes; the last two must be ``size``.

        Returns
        -------
        transformed : Tensor, shape (N, C, H, W)
            Signed, in the units of ``maps``.

        Raises
        ------
        ValueError
            If maps have another size.
        """
        if tuple(maps.shape[-2:]) != self.size:
            height, width = self.size
            raise ValueError(
                f"maps must have shape (N, C, {height}, {width}); got {tuple(maps.shape)}. "
                f"Make the layer for {tuple(maps.shape[-2:])}, or pool the maps to ({height}, {width}) before it."
            )
        across = F.linear(maps, self.right)
        return F.linear(across.transpose(-2, -1), self.left).transpose(-2, -1)

    def extra_repr(self) -> str:
        """Show what the layer was made of."""
        return f"size={self.size}, init={self.init!r}" + (", inverse=True" if self.inverse else "")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SpectralTransform2d:
        """Convert the layer; an exact transform is exact again afterwards, and a trained one is only rounded."""
        parts = (self.left, self.right)
        exact = self.init in _ROWS and not any(part.is_meta for part in parts)
        exact = exact and all(torch.equal(part, self._start(part)) for part in parts)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if exact and not self.left.is_meta:
            self.reset_parameters()
        return self

    def _start(self, matrix: Tensor) -> Tensor:
        """Return the matrix of the start, in the shape, the type and on the device of another."""
        if self.init == "random":
            drawn: Tensor = nn.init.orthogonal_(torch.empty(matrix.shape, dtype=torch.float64))
        else:
            drawn = torch.from_numpy(_ROWS[self.init](len(matrix)))
        return (drawn.t() if self.inverse else drawn).to(matrix.dtype).to(matrix.device)


def _cosines(n: int) -> Array:
    rows: Array = (
        dct_rows(n) * (-1.0) ** np.arange(n)[:, None]
    )  # the bank's rows have the signs of derivatives
    return rows


def _fourier(n: int) -> Array:
    """Return the constant row, then cosine and sine of each frequency, at unit length."""
    frequency, point = (np.arange(n)[:, None] + 1) // 2, np.arange(n)[None, :]
    angle = 2 * np.pi * (frequency * point % n) / n
    waves = np.where(np.arange(n)[:, None] % 2, np.cos(angle), np.sin(angle))
    waves[0] = 1.0
    single = (frequency == 0) | (
        2 * frequency == n
    )  # a constant and the fastest cosine have no sine beside them
    rows: Array = waves * np.sqrt(np.where(single, 1.0, 2.0) / n)
    return rows


_ROWS: dict[str, Callable[[int], Array]] = {"dct": _cosines, "dft": _fourier, "identity": np.eye}
