"""A first layer after the visual cortex: Gabor kernels, then maxima over places and scales."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from edgefilter._checks import pair
from edgefilter.banks.bank import FilterBank
from edgefilter.banks.presets import get_bank
from edgefilter.stems.layers import EdgeFilterBank2d

from .arguments import whole_number

__all__ = ["S1_WAVELENGTHS", "HMAXFront"]

# Pixels. Serre et al. 2007, table 1, as implementations of it agree; kernels there have 7, 9, ... 37 pixels, which is twice the wavelength
# for the first five.
S1_WAVELENGTHS = (
    *(3.5, 4.6, 5.6, 6.8, 7.9, 9.1, 10.3, 11.5),
    *(12.7, 14.1, 15.4, 16.8, 18.2, 19.7, 21.2, 22.8),
)
# The same table: the envelope is 0.8 wavelengths wide, and 1 / 0.3 as long.
SHAPE = {"sigma": 0.8, "aspect": 0.3, "extent": 2.0}


class HMAXFront(nn.Module):
    r"""The first two layers of HMAX, S1 and C1, as a fixed front of any network.

    Gabor kernels at several scales, the size of each response, and its maximum over a neighbourhood and over two scales at a time: lines
    and edges by orientation and rough scale, wherever they are within the neighbourhood. For a first layer that can learn any filter,
    use :class:`edgefilter.EdgeFilterConv2d`.

    .. math::

        \text{S1}_{c s \theta} = |g_{s \theta} * x_c|
        \qquad
        \text{C1}_{c b \theta}(p) = \max_{q \in N(p)} \; \max_{s \in \{2b, 2b + 1\}} \text{S1}_{c s \theta}(q)

    Parameters
    ----------
    in_channels : int
        Number of color channels ``C``, each filtered for itself.
    orientations : int or sequence of float, default: 4
        As for ``get_bank("gabor")``.
    scales : int or sequence of float, default: 4
        How many scales of HMAX, from the finest of 16: wavelengths of 3.5, 4.6, 5.6, 6.8, ... pixels. Or the wavelengths themselves, from 2.5.
        Two neighbours make a band; the last of an odd number is a band by itself.
    pool : int or (int, int), default: 8
        Height and width of the neighbourhood of C1 in pixels, the same for all bands.
    stride : int or (int, int), optional
        Distance of the neighbourhoods. Default: half of ``pool``.
    padding_mode : {"reflect", "replicate", "circular", "zeros"}, default: "reflect"
        How images are continued beyond their border, so that S1 has their size. Kernels answer to a border of zeros where the image ends
        bright, and ``"replicate"`` collects the relevance of the border in the outermost pixels. ``"reflect"`` needs images larger than
        half a kernel.

    Attributes
    ----------
    bank : FilterBank
        The kernels, ``scales * orientations`` of even phase. The sizes of the weights of each add up to 1: at unit Euclidean norm, the
        coarser kernel of a band wins by its size alone. Explanations have their scores: ``group("scale")``, ``group("orientation")``.
    simple : EdgeFilterBank2d
        Filters the images; attribution finds it as the filter layer of the network.
    bands : int
        Half as many as scales, rounded up.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    HMAX-like: as in Serre et al. 2007 the S1 wavelengths, the envelopes, the even phase, the maxima over two scales, and neighbourhoods that
    overlap by half. Otherwise, one neighbourhood serves all bands (theirs grows from 8 to 22 pixels), S1 is not divided by the local
    contrast of the image, kernels from the sixth scale on are wider, and there is no S2 and no C2: what comes after is a network of
    your own. HMAX features were found not to predict where people look; the maps of this layer and their explanations do not claim it.
    Linear up to the size and the maxima, without parameters that train: relevance goes to the S1 response that won, and none is lost.

    **Cost**: one convolution with ``scales * orientations`` kernels for each channel, 13 x 13 pixels for four scales.

    **Sanity check**: no attribution method, nothing to check.

    References
    ----------
    Riesenhuber & Poggio, "Hierarchical models of object recognition in cortex", Nature Neuroscience 2, 1999. Serre, Wolf, Bileschi,
    Riesenhuber & Poggio, "Robust object recognition with cortex-like mechanisms", IEEE TPAMI 29(3), 2007.

    Examples
    --------
    >>> front = HMAXFront(1, orientations=4, scales=4)
    >>> front(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 8, 6, 6])
    >>> front.names[:2]
    ('3.5 and 4.6 pixels, 0 deg', '3.5 and 4.6 pixels, 45 deg')
    """

    def __init__(
        self,
        in_channels: int,
        *,
        orientations: int | Sequence[float] = 4,
        scales: int | Sequence[float] = 4,
        pool: int | tuple[int, int] = 8,
        stride: int | tuple[int, int] | None = None,
        padding_mode: str = "reflect",
    ) -> None:
        super().__init__()
        self.pool = pair(pool, "pool", 1)
        high, wide = self.pool
        half = (max(high // 2, 1), max(wide // 2, 1))
        self.stride = half if stride is None else pair(stride, "stride", 1)
        gabors = get_bank(
            "gabor", orientations=orientations, scales=_wavelengths(scales), phases="even", **SHAPE
        )
        bank = FilterBank(gabors, normalize="l1", name="gabor")
        self.simple = EdgeFilterBank2d(bank, in_channels, padding="same", padding_mode=padding_mode)
        self.complex = nn.MaxPool2d(self.pool, self.stride)
        self.scales, self.orientations = (len(bank.groups(kind)) for kind in ("scale", "orientation"))
        self.bands = (self.scales + 1) // 2

    @property
    def bank(self) -> FilterBank:
        """The kernels of S1."""
        return self.simple.bank

    @property
    def in_channels(self) -> int:
        """Number of color channels."""
        return self.simple.in_channels

    @property
    def out_channels(self) -> int:
        """Number of channels of C1: colors by bands by orientations."""
        return self.in_channels * self.bands * self.orientations

    @property
    def names(self) -> tuple[str, ...]:
        """The band and the orientation of each channel of one color, in their order."""
        scales, angles = (list(self.bank.groups(kind)) for kind in ("scale", "orientation"))
        pairs = (scales[2 * band : 2 * band + 2] for band in range(self.bands))
        words = [" and ".join([*(name.split()[0] for name in two[:-1]), two[-1]]) for two in pairs]
        return tuple(f"{word}, {angle}" for word in words for angle in angles)

    def forward(self, images: Tensor) -> Tensor:
        """Return the C1 responses.

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)

        Returns
        -------
        responses : Tensor, shape (N, C * bands * orientations, H', W')
            At least 0 and at most the largest size of a pixel; channel ``(c * bands + b) * orientations + o``. ``H'`` is ``(H - pool) // stride + 1``.

        Raises
        ------
        ValueError
            If images are smaller than ``pool``, too small to be reflected, or have other channels.
        """
        self._check(images)
        simple = self.simple(images).abs()
        each = simple.unflatten(1, (self.in_channels, self.scales, self.orientations))
        finer = list(range(0, self.scales, 2))
        coarser = [min(scale + 1, self.scales - 1) for scale in finer]
        two = torch.maximum(each[:, :, finer], each[:, :, coarser])
        pooled: Tensor = self.complex(two.flatten(1, 3))
        return pooled

    def _check(self, images: Tensor) -> None:
        high, wide = self.pool
        if self.simple.padding_mode == "reflect":
            beyond = self.bank.shape[0] // 2 + 1
            high, wide = max(high, beyond), max(wide, beyond)
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != self.in_channels or shape[2] < high or shape[3] < wide:
            raise ValueError(
                f"images must have shape (N, {self.in_channels}, H, W) with at least {high} x {wide} pixels; got {shape}. "
                "Enlarge them, or make the front for their channels, with fewer scales and a smaller pool."
            )

    def extra_repr(self) -> str:
        """Show how many channels there are of what."""
        return f"colors={self.in_channels}, bands={self.bands}, orientations={self.orientations}"


def _wavelengths(scales: int | Sequence[float]) -> Sequence[float]:
    if not isinstance(scales, (int, np.integer)):
        return scales
    most = len(S1_WAVELENGTHS)
    if whole_number(scales, "scales") > most:
        raise ValueError(
            f"scales must be at most {most}, as many as HMAX has; got {scales}. Pass wavelengths for others."
        )
    return S1_WAVELENGTHS[: int(scales)]
