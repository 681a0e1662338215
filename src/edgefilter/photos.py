"""Read photos from files as RGB pictures, the way a viewer would show them."""

from __future__ import annotations

import importlib
import importlib.util
import io
import warnings
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from .bands import ARRAYS, TIFFS, read_bands, white_value

__all__ = ["demo_photo", "read_bands", "read_photo"]

BITS_PER_SAMPLE, ORIENTATION, MAX_SAMPLE_VALUE = 258, 274, 281  # tags of TIFF


@overload
def read_photo(
    path: str | Path, *, bits: int | None = None, channels: None = None, white: float | None = None
) -> Image.Image: ...


@overload
def read_photo(
    path: str | Path, *, bits: int | None = None, channels: int, white: float | None = None
) -> Image.Image | npt.NDArray[np.float32]: ...


def read_photo(
    path: str | Path, *, bits: int | None = None, channels: int | None = None, white: float | None = None
) -> Image.Image | npt.NDArray[np.float32]:
    """Read a photo from a file.

    Parameters
    ----------
    path : str or Path
        A file in any format that Pillow reads; of an animation the first frame. With ``channels`` also an image of many bands:
        a TIFF or a NumPy file.
    bits : int, optional
        How many bits the values of a gray file of 16 bits have: white is ``2**bits - 1``. Pass 12 for most X-rays and
        CT, 16 for a picture that is dark. Default: what the file says, or else the fewest bits that hold all values,
        with a warning where this is less than 16. Ignored for files of 8 bits.
    channels : int, optional
        How many channels the network takes. For 1 and 3 a photo is read as a photo, and the network's preprocessing makes it gray
        or not. For any other number, and from NumPy files and TIFFs that Pillow does not read, an array comes back, as from
        :func:`read_bands`.
    white : float, optional
        The value that becomes 1 in such an array.

    Returns
    -------
    photo : PIL.Image.Image, or ndarray of shape (H, W, channels), float32
        The picture is in mode RGB. The EXIF rotation is applied, transparency is laid on white, gray of 16 bits is scaled to 8 (see
        ``bits``), and CMYK goes through its color profile where it has one.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        If there is no such file, or it cannot be opened.
    ValueError
        If it is not an image, is damaged, is larger than Pillow's limit ``PIL.Image.MAX_IMAGE_PIXELS``, or has
        values of more than ``bits``.

    Warns
    -----
    UserWarning
        If a gray file of 16 bits is taken for one of fewer.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 3), 128).save(f"{folder}/gray.png")
    ...     read_photo(f"{folder}/gray.png").getpixel((0, 0))
    (128, 128, 128)
    """
    path = Path(path)
    if bits is not None and bits not in range(1, 17):
        raise ValueError(
            f"bits must be a whole number from 1 to 16; got {bits!r}. Leave it out to go by the file."
        )
    if channels is not None and _has_bands(path, channels):
        return read_bands(path, channels, bits=bits, white=white)
    photo, bits_said, sure = _opened(path)
    if photo.mode.startswith(("I", "F")):
        photo = _gray16(photo, path, bits, bits_said, sure)
    return _rgb(photo, path)


def _has_bands(path: Path, channels: int) -> bool:
    """Return whether an image is read as an array for a network of so many channels."""
    kind = path.suffix.lower()
    if channels not in (1, 3) or kind in ARRAYS:
        return True
    if kind not in TIFFS or not path.is_file():
        return False
    try:
        with Image.open(path) as image:
            deep = max(np.ravel(image.getexif().get(BITS_PER_SAMPLE, 8))) > 8
            color = image.mode == "RGB" and image.getexif().get(ORIENTATION, 1) == 1
            fine = deep and color and importlib.util.find_spec("tifffile") is not None  # Pillow keeps 8 bits
            return bool(image.mode == "F" or fine)
    except (UnidentifiedImageError, OSError):
        return True


def _opened(path: Path) -> tuple[Image.Image, int | None, bool]:
    """Return a photo as it is stored, and what the file says of its bits; raise in clear words."""
    if path.is_dir():
        raise IsADirectoryError(f"image must be a file; got the folder {str(path)!r}. Name one photo in it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                said = _said_bits(image)
                image.load()
                return _upright(image), *said
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
            "Check that the file is what its name says; of an image of many bands say how many (channels=...)."
        ) from cause
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as cause:
        raise ValueError(
            f"image must have at most {Image.MAX_IMAGE_PIXELS} pixels; got {str(path)!r}, which claims more. "
            "Make it smaller: a network sees a few hundred pixels a side."
        ) from cause
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


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF rotation, unless its tags are unreadable."""
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError):
        return image


def _rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode == "CMYK":
        return _cmyk(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as cause:
        raise ValueError(
            f"image must be in a color mode that converts to RGB; got {str(path)!r} in mode {image.mode}. "
            "Save it as an RGB or gray picture."
        ) from cause


def _gray16(image: Image.Image, path: Path, bits: int | None, said: int | None, sure: bool) -> Image.Image:
    """Scale gray of up to 16 bits to 8: Pillow's own conversion clips at 255."""
    values = np.asarray(image)
    if image.mode == "F":
        raise ValueError(
            f"image must hold values of 8 or 16 bits; got {str(path)!r} with values from {values.min()} to "
            f"{values.max()} in mode {image.mode}. Scale it and save it as 8 bits."
        )
    white = white_value(values, path, bits, said, sure)
    scaled = (values.astype(np.uint32) * 255 + white // 2) // white
    return Image.fromarray(scaled.astype(np.uint8))


def _said_bits(image: Image.Image) -> tuple[int | None, bool]:
    """Return how many bits a file says that its gray values have, and whether that is sure; before it is loaded."""
    if image.format == "TIFF":
        tags: Any = image.getexif()
        depth, most = (
            value[0] if isinstance(value, tuple) else value
            for value in map(tags.get, (BITS_PER_SAMPLE, MAX_SAMPLE_VALUE))
        )
        if isinstance(depth, int) and depth < 16:
            return depth, True
        return (most.bit_length() or None if isinstance(most, int) else None), False
    scaled = image.format == "PPM" and any(
        tile[0] != "raw" for tile in getattr(image, "tile", ())
    )  # by Pillow, to 16 bits
    return (16, True) if scaled else (None, False)


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
