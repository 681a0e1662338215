"""The image in another basis of colors: what relevance is handed to where colors are sums of channels."""

from __future__ import annotations

import torch
from torch import Tensor

from edgefilter.banks.bases import ColorBasis

from .rules import Epsilon
from .run import Run
from .standins import pointwise
from .steps import Step
from .values import Recipe

__all__ = ["Recolored", "in_basis"]

# Times the rounding of a photo's channels: so far apart they are equal. Of two million gray pixels, normalised as for ImageNet in float32,
# float16 and bfloat16, the largest chroma is .68 times that.
ROUNDING = 1


def in_basis(images: Tensor, basis: ColorBasis) -> Tensor:
    """Return images in a basis of colors, shape (N, C, H, W); the chroma of equal channels is exactly 0.

    Examples
    --------
    >>> from edgefilter.banks.bases import as_basis
    >>> in_basis(torch.tensor([0.3, 0.3, 0.3]).reshape(1, 3, 1, 1), as_basis("opponent")).flatten()
    tensor([0.3000, 0.0000, 0.0000])
    """
    matrix, sums, mean, std, kept = (
        torch.from_numpy(part).to(images)
        for part in (basis.matrix.copy(), basis.sums, basis.mean, basis.std, basis.kept)
    )
    photo = images * _column(std) + _column(mean)
    first = photo[:, :1]
    colors = torch.einsum("gc,nchw->nghw", matrix, photo - first) + _column(sums) * first
    if not bool((mean != 0).any() | (std != 1).any()):
        return colors
    size = (images * _column(std)).abs() + _column(mean.abs())
    rounding = torch.einsum("gc,nchw->nghw", matrix.abs(), size) * (ROUNDING * torch.finfo(images.dtype).eps)
    gray = (_column(sums) == 0) & (colors.abs() <= rounding)
    return colors.masked_fill(gray, 0) - _column(kept)


class Recolored:
    """How the images that a model gets are made of the colors of a basis.

    Parameters
    ----------
    basis : ColorBasis

    Attributes
    ----------
    matrix : Tensor, shape (C, C), float64
        Column ``g`` says what color ``g`` gives to the channels.
    rest : Tensor, shape (C,), float64
        The channels without any color.
    """

    def __init__(self, basis: ColorBasis) -> None:
        self.matrix, self.rest = torch.from_numpy(basis.inverse), torch.from_numpy(basis.rest)

    def images(self, colors: Tensor) -> Tensor:
        """Return the images of some colors."""
        made = torch.einsum("cg,nghw->nchw", self.matrix.to(colors), colors)
        return made + _column(self.rest.to(colors)) if self.is_shifted else made

    def alone(self, colors: Tensor, some: list[int]) -> Tensor:
        """Return what some of the colors give to the images, each in a product of its own, so that no rule mixes it with others."""
        matrix = self.matrix.to(colors.detach())
        parts = [colors[:, place : place + 1] * _column(matrix[:, place]) for place in some]
        made = parts[0]
        for part in parts[1:]:
            made = made + part
        return made

    def given(self, run: Run, colors: Tensor, images: Tensor) -> Tensor:
        """Return the images that the model is given, as made of the colors: of just the same values."""
        rest = self.rest.to(images) if self.is_shifted else None
        layer = pointwise(self.matrix.to(images)[:, :, None, None], rest)
        made = run.step(Step, layer, (colors,), images.detach(), hook=Epsilon(0.0), reader=True)
        run.known(made).recipe = Recipe(self.images, (colors,), {}, None)
        return made

    @property
    def is_shifted(self) -> bool:
        """Whether there is something without any color."""
        return bool((self.rest != 0).any())

    def weight(self, weight: Tensor) -> Tensor:
        """Return the weight of a convolution that reads the colors, from that of one that reads the images; float64, on the CPU."""
        return torch.einsum("oc...,cg->og...", weight.detach().cpu().double(), self.matrix)

    def mixing(self, mixing: Tensor) -> Tensor:
        """Return the mixing of the colors' responses, (out, C*K, 1, 1), from that of the channels'."""
        by_channel = torch.unflatten(mixing, 1, (len(self.matrix), -1))
        return self.weight(by_channel).flatten(1, 2).to(mixing)

    def responses(self, responses: Tensor) -> Tensor:
        """Return a bank's responses to the images, (N, C*K, H', W'), from those to the colors."""
        by_color = torch.unflatten(responses, 1, (len(self.matrix), -1))
        return torch.einsum("cg,ngk...->nck...", self.matrix.to(responses), by_color).flatten(1, 2)


def _column(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)
