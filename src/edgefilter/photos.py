"""Read photos from files as RGB pictures, the way a viewer would show them."""

from __future__ import annotations

import importlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

__all__ = ["demo_photo", "read_photo"]


def read_photo(path: str | Path) -> Image.Image:
    """Read a photo from a file.

    Parameters
    ----------
    path : str or Path
        A file in any format that Pillow reads; of an animation the first frame.

    Returns
    -------
    photo : PIL.Image.Image
        In mode RGB. The EXIF rotation is applied, transparency is laid on white, gray of 16 bits is scaled to 8, and
        CMYK goes through its color profile where it has one.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        If there is no such file, or it cannot be opened.
    ValueError
        If it is not an image, is damaged, or is larger than Pillow's limit ``PIL.Image.MAX_IMAGE_PIXELS``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 3), 128).save(f"{folder}/gray.png")
    ...     read_photo(f"{folder}/gray.png").getpixel((0, 0))
    (128, 128, 128)
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"image must be a file; got the folder {str(path)!r}. Name one photo in it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return _rgb(_upright(image), path)
    except FileNotFoundError as cause:
        raise FileNotFoundError(
            f"image must be an existing file; got {str(path)!r}, which is not there. Check the path."
        ) from cause
    except PermissionError as cause:
        raise PermissionError(
            f"image must be readable; got {str(path)!r}, which may not be opened. Check its permissions."
        ) from cause
    except UnidentifiedImageError as cause:
        raise ValueError(
            f"image must be a photo that Pillow reads, such as JPEG or PNG; got {str(path)!r}, which is none. "
            "Check that the file is what its name says."
        ) from cause
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as cause:
        raise ValueError(
            f"image must have at most {Image.MAX_IMAGE_PIXELS} pixels; got {str(path)!r}, which claims more. "
            "Make it smaller: a network sees a few hundred pixels a side."
        ) from cause
    except _UnconvertibleError:
        raise
    except Exception as cause:  # Pillow's plugins raise OSError, SyntaxError, struct.error, EOFError, ...
        raise ValueError(
            f"image must be complete; got {str(path)!r}, which is truncated or damaged ({cause}). "
            "Get the file again."
        ) from cause


def demo_photo() -> Image.Image:
    """Return scikit-image's photo of a cup of coffee (CC0), 600 pixels wide and 400 high.

    Raises
    ------
    ImportError
        If scikit-image is not installed.
    """
    try:
        data: Any = importlib.import_module("skimage.data")
    except ImportError as cause:
        raise ImportError(
            "the demo photo must have scikit-image installed; got no 'skimage'. "
            "Run pip install 'edgefilter[demo]' (in a clone: '.[demo]'), or name a photo of your own."
        ) from cause
    return Image.fromarray(data.coffee())


class _UnconvertibleError(ValueError):
    """A photo that was read, but whose values have no one meaning as a picture."""


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF rotation, unless its tags are unreadable."""
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError):
        return image


def _rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _gray16(image, path).convert("RGB")
    if image.mode == "CMYK":
        return _cmyk(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as cause:
        raise _UnconvertibleError(
            f"image must be in a color mode that converts to RGB; got {str(path)!r} in mode {image.mode}. "
            "Save it as an RGB or gray picture."
        ) from cause


def _gray16(image: Image.Image, path: Path) -> Image.Image:
    """Scale 16 bits to 8: Pillow's own conversion clips at 255."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise _UnconvertibleError(
            f"image must hold values of 8 or 16 bits; got {str(path)!r} with values from {values.min()} to "
            f"{values.max()} in mode {image.mode}. Scale it and save it as 8 bits."
        )
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _cmyk(image: Image.Image) -> Image.Image:
    """Convert inks to light, by the embedded profile where it is usable."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")
