"""What a preprocessing does to a photo, measured on photos of one color."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from edgefilter.banks.colors import color_names

__all__ = ["Batched", "Probe", "probe"]

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
SIZE, MIDDLE = 64, 128  # pixels a side and a gray value of the photos
EXACT = 1e-3  # of the distance from black to white: a quarter of a step of 8 bits


class Batched:
    """A preprocessing whose result has an axis for the batch, whether or not the given one adds it."""

    def __init__(self, given: Callable[[Any], Tensor]) -> None:
        self.given = given

    def __call__(self, photo: Any) -> Tensor:
        """Return a photo as a Tensor of shape (1, C, H, W)."""
        inputs = self.given(photo)
        if isinstance(inputs, Tensor) and inputs.dim() in (3, 4):
            return inputs if inputs.dim() == 4 else inputs[None]
        got = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise ValueError(
            f"preprocess must return a Tensor of shape (C, H, W) or (1, C, H, W); got {got}. "
            "End it with torchvision's ToTensor() and Normalize(), for example."
        )

    def __repr__(self) -> str:
        name = getattr(self.given, "__name__", None) or " ".join(repr(self.given).split())
        return re.sub(r" at 0x[0-9a-fA-F]+", "", name)  # another one in each process


class Probe(NamedTuple):
    """What is taken off values from 0 to 1 and what they are divided by, and what each channel holds of a photo."""

    mean: tuple[float, ...] | None  # None: no line from black to white
    std: tuple[float, ...] | None
    channels: tuple[str, ...]


def probe(preprocess: Callable[[Any], Tensor]) -> Probe | None:
    """Measure a preprocessing on photos of one color; None if it does not take photos.

    Examples
    --------
    >>> from torchvision.transforms.functional import normalize, to_tensor
    >>> probe(Batched(lambda photo: normalize(to_tensor(photo), (0.5,) * 3, (0.25,) * 3).flip(0)))
    Probe(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), channels=('blue', 'green', 'red'))
    """
    with contextlib.suppress(Exception):  # whatever somebody's own function raises
        black, gray, white = (preprocess(_plain((level,) * 3)) for level in (0, MIDDLE, 255))
        lit = [preprocess(_plain(color)) for color in COLORS.values()]
        return _measured(black, gray, white, torch.stack(lit))
    return None


def _plain(color: tuple[int, ...]) -> Image.Image:
    return Image.new("RGB", (SIZE, SIZE), color)


def _measured(black: Tensor, gray: Tensor, white: Tensor, lit: Tensor) -> Probe:
    reach = (white - black).double()
    low, high = (values.double().mean((0, 2, 3)) for values in (black, white))
    step = high - low
    on_a_line = (gray - black - reach * (MIDDLE / 255)).abs().max() <= EXACT * step.abs().min()
    even = (reach - step[:, None, None]).abs().max() <= EXACT * step.abs().min()
    if not (on_a_line and even and step.abs().min() > 0):
        return Probe(None, None, color_names(len(step)))
    shares = (
        (lit.double() - black.double()).mean((1, 3, 4)) / step
    ).T  # (C, 3): of which color a channel is made
    mean, std = (tuple(round(value, 6) for value in values.tolist()) for values in (-low / step, 1 / step))
    return Probe(mean, std, _names(shares))


def _names(shares: Tensor) -> tuple[str, ...]:
    """Name channels that each hold one color of the photo by it; three others are no red, green and blue."""
    count = len(shares)
    if count != len(COLORS):
        return color_names(count)
    places = shares.argmax(1)
    one_each = torch.eye(count, dtype=shares.dtype)[places]
    if sorted(places.tolist()) == list(range(count)) and (shares - one_each).abs().max() <= EXACT:
        return tuple(list(COLORS)[place] for place in places.tolist())
    return tuple(f"channel_{place}" for place in range(count))
