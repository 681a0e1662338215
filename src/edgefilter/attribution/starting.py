"""Where a run begins: at the images as they are, or at their colors in another basis."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from edgefilter.banks.bases import ColorBasis
from edgefilter.lrp.recolored import in_basis

__all__ = ["Start", "plain", "started"]


class Start(NamedTuple):
    """The tensors that a run begins at.

    Attributes
    ----------
    leaves : tuple of Tensors
        To which relevance is handed back: the model's inputs, or the colors of its image.
    originals : tuple of Tensors
        The model's inputs, where they are not the leaves.
    """

    leaves: tuple[Tensor, ...]
    originals: tuple[Tensor, ...] = ()

    @property
    def images(self) -> tuple[Tensor, ...]:
        """The model's inputs, detached."""
        return tuple(image.detach() for image in self.originals or self.leaves)


def started(images: tuple[Tensor, ...], basis: ColorBasis | None) -> Start:
    """Return what a run on these images begins at.

    Raises
    ------
    ValueError
        If the images do not fit the basis.
    """
    inputs = tuple(_in_layout(plain(image)) for image in images)
    if basis is None:
        return Start(tuple(image.requires_grad_() for image in inputs))
    if len(images) > 1:
        raise ValueError(
            f"basis must be None for a model of several inputs; got {len(images)} of them. Pass all but the image as "
            "additional_forward_args."
        )
    if inputs[0].dim() != 4 or inputs[0].shape[1] != len(basis.names):
        raise ValueError(
            f"basis must have a color for each channel of inputs of shape (batch, channel, height, width); got {len(basis.names)} for "
            f"{tuple(inputs[0].shape)}. Pass a matrix of as many rows as there are channels."
        )
    return Start((_in_layout(in_basis(inputs[0], basis)).requires_grad_(),), inputs)


def plain(image: Tensor) -> Tensor:
    """Return a new tensor of the plain class."""
    return image.detach().as_subclass(Tensor).clone()


def _in_layout(values: Tensor) -> Tensor:
    """Return images in the layout that convolutions are fastest in: on the CPU, the channels last."""
    fast = values.dim() == 4 and values.device.type == "cpu" and values.dtype != torch.float64
    return values.contiguous(memory_format=torch.channels_last) if fast else values
