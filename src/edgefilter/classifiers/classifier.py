"""A network with all that is needed to show it a photo and to read its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor, nn

from edgefilter._checks import closest
from edgefilter.banks.bases import ColorBasis, as_basis
from edgefilter.errors import UnknownNameError
from edgefilter.models.preprocessing import Preprocessing
from edgefilter.photos import read_photo
from edgefilter.plots.arrays import visible

from .arguments import as_listed, channel_count, channel_names, check_kinds, per_channel
from .description import Description
from .probing import Batched, probe

__all__ = ["Classifier", "Photo"]

Photo: TypeAlias = Image.Image | npt.NDArray[np.float32]

SHOWN = 5  # classes that a message names


class Classifier:
    """A network with all that is needed to show it a photo and to read its answer.

    The same as a description file gives (:func:`load_classifier`), for a network that is built in Python.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    class_names : sequence of str
        One for each output, in their order.
    preprocess : callable
        From a photo (``PIL.Image.Image`` in mode RGB) to a Tensor of shape (C, H, W) or (1, C, H, W): a transform of torchvision,
        or a function of your own. For images of many bands, from an array of shape (H, W, C).
    name : str, default: "model"
        What messages, tables and files call it.
    channels : sequence of str, optional
        The names of the input channels, in the order in which the network takes them. Default: what the preprocessing makes of
        a red, a green and a blue photo, so ``("blue", "green", "red")`` for a network that takes them the other way round; if
        that cannot be seen, ``"red"``, ``"green"``, ``"blue"``, ``"gray"``, or ``"channel_0"`` and so on.
    mean, std : float or sequence of float, optional
        What the preprocessing takes off values from 0 to 1, and divides them by, one for each channel or one for all. Default: measured
        on a black, a gray and a white photo. They are used to show what the network sees, not to preprocess.
    bands : sequence of str, optional
        The names of the bands in files of photos, in their order, if the network takes some of them. Default: ``channels``.
    colors : mapping, optional
        Groups of channels that are explained as one color: ``{"red edge": ["B05", "B06", "B07"]}``.
    bits, white : int and float, optional
        How :meth:`read` scales photos of more than 8 bits, as in :func:`~edgefilter.photos.read_photo`.
    about : mapping, optional
        Where things come from, in words, for results: ``"weights"``, ``"preprocessing"``, ``"preprocessing_assumed"`` ("yes" or "no").

    Attributes
    ----------
    model, class_names, name, channels, bands, colors, bits, white, about
        As given, sequences as tuples.
    preprocess : callable
        From a photo to a Tensor of shape (1, C, H, W).
    mean, std : tuple of float or None
        None if they are neither given nor to be measured.
    description : Description or None
        Of a network from :func:`load_classifier`: all that is known of it; ``description.write("model.json")`` keeps it in a file.

    Raises
    ------
    TypeError
        If an argument is none of these, for example in another order.
    ValueError
        If ``channels``, ``mean`` and ``std`` are of different lengths, or a name comes twice in ``channels``.

    Examples
    --------
    >>> from PIL import Image
    >>> from torchvision.transforms.functional import to_tensor
    >>> network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    >>> classifier = Classifier(network, ["ripe", "unripe"], to_tensor)
    >>> classifier.channels
    ('red', 'green', 'blue')
    >>> classifier.preprocess(Image.new("RGB", (32, 24))).shape
    torch.Size([1, 3, 24, 32])
    """

    def __init__(
        self,
        model: nn.Module,
        class_names: Sequence[str],
        preprocess: Callable[[Any], Tensor],
        *,
        name: str = "model",
        channels: Sequence[str] | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        bands: Sequence[str] | None = None,
        colors: Mapping[str, Sequence[str]] | None = None,
        bits: int | None = None,
        white: float | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        check_kinds(model, class_names, preprocess)
        self.model, self.name = model, name
        self.class_names = tuple(class_names)
        self.preprocess = (
            preprocess if isinstance(preprocess, (Batched, Preprocessing)) else Batched(preprocess)
        )
        mean, std = (as_listed(values) for values in (mean, std))
        found = None if None not in (channels, mean, std) else probe(self.preprocess)
        given = {"channels": channels, "mean": mean, "std": std}
        count = channel_count(given, found, model)
        self.channels = channel_names(channels, found, count)
        self.mean = per_channel("mean", mean, count) or (found and found.mean)
        self.std = per_channel("std", std, count) or (found and found.std)
        self.bands = None if bands is None else tuple(bands)
        self.colors = None if colors is None else {group: tuple(members) for group, members in colors.items()}
        self.bits, self.white = bits, white
        self.description: Description | None = None
        plain = {
            "weights": "of the model as given",
            "preprocessing": str(self.preprocess),
            "preprocessing_assumed": "no",
        }
        self.about = {"model": name, **plain, **(about or {})}

    def __repr__(self) -> str:
        return (
            f"Classifier({self.name!r}, {len(self.class_names)} classes, channels {', '.join(self.channels)})"
        )

    def _repr_html_(self) -> str:
        from .notebook import html_of_classifier

        return html_of_classifier(self)

    def read(self, path: str | Path, *, bits: int | None = None) -> Photo:
        """Read a photo from a file as ``preprocess`` takes it: with as many bands as the network has channels.

        Parameters
        ----------
        path : str or Path
        bits : int, optional
            Default: those of the classifier.

        Returns
        -------
        photo : PIL.Image.Image or ndarray, shape (H, W, bands)
            As :func:`~edgefilter.photos.read_photo` gives it, with its errors and warnings.
        """
        return self.reader(bits)(path)

    def reader(self, bits: int | None = None) -> Callable[[str | Path], Photo]:
        """Return what reads a photo, without the network: processes that read photos take it along."""
        return partial(
            read_photo, bits=bits or self.bits, channels=len(self.bands or self.channels), white=self.white
        )

    def gray_photo(self) -> Photo:
        """Return a gray photo of 64 x 64 pixels with as many bands as the network takes."""
        count = len(self.bands or self.channels)
        if count in (1, 3):
            return Image.new("RGB", (64, 64), "gray")
        return np.full((64, 64, count), 0.5, np.float32)

    def color_options(
        self, colors: Mapping[str, Sequence[str]] | None = None, basis: str | ColorBasis | None = None
    ) -> dict[str, Any]:
        """Return the arguments of :class:`~edgefilter.EdgeFilterAttribution` that say what is scored as a color.

        Parameters
        ----------
        colors : mapping, optional
            Groups of channels. Default: those of the classifier.
        basis : str or ColorBasis, optional
            Sums and differences of the channels in place of the channels: "opponent" or "luma". It is that of the photo, before it
            was normalised.

        Examples
        --------
        >>> import torch
        >>> network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        >>> classifier = Classifier(network, ["a", "b"], torch.zeros, mean=0.5, std=0.25)
        >>> classifier.color_options(basis="opponent")
        {'channels': ('red', 'green', 'blue'), 'colors': None, 'basis': ColorBasis('opponent': luminance, red-green, blue-yellow)}
        """
        found = as_basis(basis, self.channels)
        if isinstance(basis, str) and found is not None and self.mean is not None and self.std is not None:
            found = found.normalized(self.mean, self.std)
        groups = self.colors if colors is None and found is None else colors
        return {"channels": self.channels, "colors": groups, "basis": found}

    def to_picture(self, inputs: Tensor) -> npt.NDArray[np.uint8]:
        """Return the first input as a viewer would see it: the crop that the network sees, not normalised.

        Parameters
        ----------
        inputs : Tensor, shape (N, C, H, W)
            What ``preprocess`` gave.

        Returns
        -------
        picture : ndarray, shape (H, W, 3), uint8
            Of channels named red, green and blue, or B04, B03 and B02, these; of others the mean, in gray. Without a known ``mean``
            and ``std`` each picture is stretched to its own range, the smallest value black and the largest white, unless it lies
            between 0 and 1 already.

        Examples
        --------
        >>> import torch
        >>> classifier = Classifier(nn.Identity(), ["a"], torch.zeros, channels=["B02", "B03", "B04", "B08"], mean=0, std=1)
        >>> pixel = torch.tensor([0.0, 0.2, 1.0, 0.5])
        >>> classifier.to_picture(pixel.reshape(1, 4, 1, 1))[0, 0].tolist()
        [255, 51, 0]
        """
        picture = visible(inputs[0], self.channels, self.mean, self.std)
        return np.round(picture * 255).astype(np.uint8)

    def class_index(self, target: str | int, *, argument: str = "target") -> int:
        """Return the index of a class that is given by its index or its name, as one types it.

        Parameters
        ----------
        target : str or int
        argument : str, default: "target"
            What messages call it.

        Raises
        ------
        ValueError
            If the index is out of range.
        KeyError
            If there is no such name, or it names several classes.

        Examples
        --------
        >>> from torchvision.transforms.functional import to_tensor
        >>> classifier = Classifier(nn.Identity(), ["cat", "Great Dane"], to_tensor)
        >>> classifier.class_index("great_dane"), classifier.class_index("0")
        (1, 0)
        """
        count, target = len(self.class_names), str(target)
        if target.removeprefix("-").isdecimal():
            if not 0 <= int(target) < count:
                raise ValueError(
                    f"{argument} must be between 0 and {count - 1}, as {self.name} has {count} classes; got {target}. "
                    "Pass a class name, or leave it out."
                )
            return int(target)
        found = [i for i, name in enumerate(self.class_names) if _plain(name) == _plain(target)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownNameError(
                f"{argument} must name one class; got {target!r}, the name of classes {', '.join(map(str, found))}. "
                "Pass the index."
            )
        raise UnknownNameError(
            f"unknown class {target!r}{_similar(target, self.class_names)} "
            f"Pass a class name of {self.name}, or an index from 0 to {count - 1}."
        )


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _similar(target: str, names: tuple[str, ...]) -> str:
    """Say which classes hold the words that were typed, else the letters, else which one is spelt nearly so."""
    typed = _plain(target)
    plain = {name: _plain(name) for name in names}
    found = [name for name, words in plain.items() if f" {typed} " in f" {words} "]
    found = found or [name for name, words in plain.items() if typed in words]
    if not found or not typed:
        return closest(target, names, _plain)
    shown = [repr(name) for name in found[:SHOWN]]
    if len(found) > SHOWN:
        shown.append(f"one of {len(found) - SHOWN} more")
    *first, last = shown
    return f"; did you mean {', '.join(first)}{' or ' if first else ''}{last}?"
