"""From a photo to the input of a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

__all__ = ["Preprocessing"]


@dataclass(frozen=True)
class Preprocessing:
    """From a photo to the input of a network: resized, cropped in the middle, and normalised.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the input in pixels.
    channels : int
        1 for gray, 3 for red, green and blue, or the number of bands.
    mean, std : tuple of float
        What is taken off values from 0 to 1, and what they are divided by; one per channel, in the network's order.
    resized : int or (int, int), optional
        The photo's short side before the crop, or its height and width; default: just large enough for ``size``.
    crop : bool, default: True
        False: the whole photo is resized to ``size``, which changes its proportions.
    interpolation : {"bilinear", "bicubic", "nearest"}, default: "bilinear"
    order : tuple of int, optional
        Which channels of the photo the network takes: ``(2, 1, 0)`` for blue, green and red. Default: all, as they are.

    Examples
    --------
    >>> white = Image.new("RGB", (40, 30), "white")
    >>> Preprocessing(28, 1, (0.0,), (1.0,))(white).shape
    torch.Size([1, 1, 28, 28])
    >>> bands = np.zeros((40, 30, 5), np.float32)
    >>> Preprocessing((16, 24), 5, (0.0,) * 5, (1.0,) * 5)(bands).shape
    torch.Size([1, 5, 16, 24])
    """

    size: int | tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resized: int | tuple[int, int] | None = None
    crop: bool = True
    interpolation: str = "bilinear"
    order: tuple[int, ...] | None = None

    def __call__(self, photo: Image.Image | npt.NDArray[np.floating]) -> Tensor:
        """Return a photo, or an array of shape (H, W) or (H, W, bands), as a Tensor of shape (1, channels, height, width).

        Raises
        ------
        ValueError
            If an array has not as many bands as the network takes.
        """
        picture = self._bands(photo) if isinstance(photo, np.ndarray) else self._converted(photo)
        width, height = F.get_image_size(picture)
        mode = F.InterpolationMode(self.interpolation)
        picture = F.resize(picture, self._before_crop(height, width), mode, antialias=True)
        if self.crop:
            picture = F.center_crop(picture, list(self._size))
        values: Tensor = picture if isinstance(picture, Tensor) else F.to_tensor(picture)
        inputs: Tensor = F.normalize(
            values if self.order is None else values[list(self.order)], self.mean, self.std
        )[None]
        return inputs

    def __str__(self) -> str:
        height, width = self._size
        whole = f"the whole photo to {height} x {width} pixels ({self.interpolation})"
        side = self._before_crop(height, width)
        before = f"short side to {side[0]}" if len(side) == 1 else "to {} x {}".format(*side)
        cut = f"{before} pixels ({self.interpolation}), {height} x {width} in the middle"
        each = [values[:1] if len(set(values)) == 1 else values for values in (self.mean, self.std)]
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in each)
        return f"{cut if self.crop else whole}, mean {mean}, std {std}"

    @property
    def _size(self) -> tuple[int, int]:
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])

    def _before_crop(self, height: int, width: int) -> list[int]:
        """Return what a photo is resized to: its short side, or its height and width."""
        high, wide = self._size
        if not self.crop:
            return [high, wide]
        if self.resized is not None:
            return [self.resized] if isinstance(self.resized, int) else list(self.resized)
        if high == wide:
            return [high]
        scale = max(high / height, wide / width)
        return [max(high, round(height * scale)), max(wide, round(width * scale))]

    def _converted(self, photo: Image.Image) -> Image.Image:
        if self.channels not in (1, 3) or (self.order is not None and max(self.order) > 2):
            raise ValueError(
                f"photo must have {self.channels} bands; got a photo of mode {photo.mode}. "
                "Read a TIFF or NumPy file with read_photo(path, channels=...)."
            )
        return photo.convert("L" if self.channels == 1 else "RGB")

    def _bands(self, photo: npt.NDArray[np.floating]) -> Tensor:
        values = torch.from_numpy(np.ascontiguousarray(photo, dtype=np.float32))
        values = values[..., None] if values.dim() == 2 else values
        least = self.channels if self.order is None else max(self.order) + 1
        count = values.shape[-1]
        if values.dim() != 3 or (count != least if self.order is None else count < least):
            raise ValueError(
                f"photo must have shape (H, W, {least}), as the network takes {self.channels} channels; got "
                f"{tuple(photo.shape)}. Choose its bands, or another photo."
            )
        return values.permute(2, 0, 1)
