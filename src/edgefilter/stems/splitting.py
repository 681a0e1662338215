"""Split a model at its filter bank: images to responses, responses to output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .finding import bank_path, in_evaluation, probes
from .layers import EdgeFilterBank2d
from .reading import Convolve, StemReader

__all__ = ["split"]


def split(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Split a model at its filter bank: images to responses, responses to output.

    Parameters
    ----------
    model : nn.Module
        With one edge-filter layer, of one input.

    Returns
    -------
    front : nn.Module
        Images (N, C, H, W) to responses (N, C*K, H', W').
    tail : nn.Module
        Responses to the model's output. Both run the model itself, whose modules and parameters they share.

    Raises
    ------
    ValueError
        Without an edge-filter layer or with two, if the model does not run it, or if the image reaches the output past
        the bank.

    Examples
    --------
    >>> import edgefilter as ef
    >>> model = ef.replace_stem(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()))
    >>> front, tail = split(model)
    >>> images = torch.rand(1, 3, 6, 6)
    >>> front(images).shape, torch.equal(tail(front(images)), model(images))
    (torch.Size([1, 27, 4, 4]), True)
    """
    path = bank_path(model)
    bank = model.get_submodule(path)
    assert isinstance(bank, EdgeFilterBank2d)
    front, tail = _Front(model, path), _Tail(model, path)
    _compare(model, front, tail)
    front.training = tail.training = model.training  # not train(), which would reach into the model
    return front, tail


class _FoundError(Exception):
    """Ends a run at the bank."""


class _Part(nn.Module):
    def __init__(self, model: nn.Module, path: str) -> None:
        super().__init__()
        self.model = model
        self._path = path

    @property
    def bank(self) -> EdgeFilterBank2d:
        """The filter bank of the model."""
        bank = self.model.get_submodule(self._path)
        assert isinstance(bank, EdgeFilterBank2d)
        return bank


class _Front(_Part):
    """A model up to its bank."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the responses of the bank."""
        responses: list[Tensor] = []

        def read(weight: Tensor, convolve: Convolve) -> Tensor:
            result = convolve()
            if weight is self.bank.conv.weight:
                responses.append(result)
                raise _FoundError
            return result

        try:
            with StemReader((images,), read) as reader:
                self.model(*reader.images)
        except _FoundError:
            return responses[0]
        raise ValueError(
            f"model must run its filter bank; got {self._path!r}, which its forward does not reach. "
            "Name the stem that is used with replace_stem(model, stem=...)."
        )


class _Tail(_Part):
    """A model from its bank on: it runs on a blank image, and the bank's output is replaced."""

    is_behind_bank = True

    def forward(self, responses: Tensor) -> Tensor:
        """Return the output of the model for these responses."""

        def read(weight: Tensor, convolve: Convolve) -> Tensor:
            return responses if weight is self.bank.conv.weight else convolve()

        with StemReader((self._blank(responses),), read) as reader:
            output: Tensor = self.model(*reader.images)
        return output

    def _blank(self, responses: Tensor) -> Tensor:
        """Return images of a size that gives responses of this shape."""
        conv = self.bank.conv
        places = zip(responses.shape[2:], conv.stride, conv.dilation, conv.kernel_size, strict=True)
        reach = [
            (size - 1) * stride + dilation * (kernel - 1) + 1 for size, stride, dilation, kernel in places
        ]
        with torch.no_grad():
            spare = self.bank.pad_all(responses.new_zeros(1, 1, *reach)).shape[2:]
        sides = [max(2 * whole - int(padded), 1) for whole, padded in zip(reach, spare, strict=True)]
        if self.bank.pad is not None and self.bank.pad.sides == "same":
            sides = [size * stride for size, stride in zip(responses.shape[2:], conv.stride, strict=True)]
        return responses.new_zeros(len(responses), self.bank.in_channels, *sides)


def _compare(model: nn.Module, front: nn.Module, tail: nn.Module) -> None:
    """Raise if the parts give another output than the model, on the first probing image that the model takes."""
    with torch.no_grad(), in_evaluation(model):
        for probe in probes(model):
            generator = torch.Generator().manual_seed(0)
            image = torch.rand(probe.shape, generator=generator, dtype=torch.float64).to(probe)
            try:
                expected = model(image)
            except Exception:  # noqa: BLE001, S112 - whatever a model raises for images of another size
                continue
            got = tail(front(image))
            if isinstance(expected, Tensor) and not torch.allclose(expected, got, rtol=1e-3, atol=1e-5):
                raise ValueError(
                    "model must send the image to its output through the filter bank only; got another output from the "
                    "responses alone, for something else reads the image as well. Such a model cannot be split."
                )
            return
