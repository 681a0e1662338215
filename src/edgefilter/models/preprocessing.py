"""From a photo to the input of a network."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

__all__ = ["Preprocessing"]


@dataclass(frozen=True)
class Preprocessing:
    """From a photo to the input of a network: resized, cropped to the square in the middle, and normalised.

    Parameters
    ----------
    size : int
        Height and width of the input in pixels.
    channels : int
        1 for gray, 3 for red, green and blue.
    mean, std : tuple of float
        What is taken off values from 0 to 1, and what they are divided by; one per channel.
    resized : int, optional
        The photo's short side before the crop; default: ``size``.

    Examples
    --------
    >>> white = Image.new("RGB", (40, 30), "white")
    >>> Preprocessing(28, 1, (0.0,), (1.0,))(white).shape
    torch.Size([1, 1, 28, 28])
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resized: int | None = None

    def __call__(self, photo: Image.Image) -> Tensor:
        """Return a photo as a Tensor of shape (1, channels, size, size)."""
        picture = photo.convert("L" if self.channels == 1 else "RGB")
        picture = F.resize(picture, [self.resized or self.size], F.InterpolationMode.BILINEAR)
        picture = F.center_crop(picture, [self.size, self.size])
        inputs: Tensor = F.normalize(F.to_tensor(picture), self.mean, self.std)[None]
        return inputs
