"""A network with all that is needed to show it a photo and to read its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

__all__ = ["Classifier"]

SHOWN = 5  # classes that a message names


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network with all that is needed to show it a photo and to read its answer.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    preprocess : callable
        RGB photo to Tensor, shape (1, C, H, W).
    mean, std : tuple of float
        What the preprocessing takes off values from 0 to 1, and divides them by.
    class_names : tuple of str
        One for each output.
    name : str
        As :func:`load_classifier` takes it.
    """

    model: nn.Module
    preprocess: Callable[[Image.Image], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    name: str

    def to_picture(self, inputs: Tensor) -> npt.NDArray[np.uint8]:
        """Return the first input as a viewer would see it: the crop that the network sees, not normalised.

        Parameters
        ----------
        inputs : Tensor, shape (N, C, H, W)
            What ``preprocess`` gave.

        Returns
        -------
        picture : ndarray, shape (H, W, 3), uint8
        """
        mean, std = (inputs.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        picture = (inputs[0] * std + mean).clamp(0, 1) * 255
        picture = picture.expand(3, -1, -1)  # gray
        return picture.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()

    def class_index(self, target: str, *, argument: str = "target") -> int:
        """Return the index of a class that is given by its index or its name, as one types it.

        Parameters
        ----------
        target : str
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
        >>> classifier = Classifier(nn.Identity(), to_tensor, (0.0,), (1.0,), ("cat", "Great Dane"), "mine")
        >>> classifier.class_index("great_dane"), classifier.class_index("0")
        (1, 0)
        """
        count = len(self.class_names)
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
        return closest(typed, plain.values())
    shown = [repr(name) for name in found[:SHOWN]]
    if len(found) > SHOWN:
        shown.append(f"one of {len(found) - SHOWN} more")
    *first, last = shown
    return f"; did you mean {', '.join(first)}{' or ' if first else ''}{last}?"
