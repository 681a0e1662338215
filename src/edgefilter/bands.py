"""Read images of any number of bands from TIFF and NumPy files, as arrays of values from 0 to 1."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageSequence, UnidentifiedImageError

__all__ = ["ARRAYS", "TIFFS", "read_bands", "white_value"]

ARRAYS, TIFFS = (".npy", ".npz"), (".tif", ".tiff")
MAX_SAMPLE_VALUE = 281  # a tag of TIFF


class Stored(NamedTuple):
    """Values as a file has them, and what it says of their bits."""

    values: npt.NDArray[Any]
    bits: int | None = None
    sure: bool = False


def read_bands(
    path: str | Path, channels: int | None = None, *, bits: int | None = None, white: float | None = None
) -> npt.NDArray[np.float32]:
    """Read an image of any number of bands from a file.

    Parameters
    ----------
    path : str or Path
        A NumPy file (``.npy``, or ``.npz`` with one array), a TIFF (of more than four bands with the extra ``bands``), or any image
        that Pillow reads. Objects in a NumPy file are never loaded.
    channels : int, optional
        How many bands there must be. Default: as many as the smaller of the first and the last axis.
    bits : int, optional
        How many bits whole numbers of more than 8 bits have: ``2**bits - 1`` becomes 1. Default: what the file says, or else the
        fewest that hold all values, with a warning where this is less than 16.
    white : float, optional
        The value that becomes 1, for whole numbers and fractions: 10000 for reflectances of satellites. Used instead of ``bits``.

    Returns
    -------
    bands : ndarray, shape (H, W, channels), float32
        Whole numbers as shares of ``white``, of ``2**bits - 1`` or of 255; fractions as they are, unless ``white`` is given. The bands
        may be the first or the last axis of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If it is a TIFF that needs tifffile, which is not installed.
    ValueError
        If it is no image, has another number of bands, or if its values are negative whole numbers, not finite, or of more than
        ``bits``; and if the first and the last axis could both be the bands.

    Warns
    -----
    UserWarning
        If values of 16 bits are taken for values of fewer.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/scene.npy", np.full((5, 40, 30), 51, np.uint8))
    ...     bands = read_bands(f"{folder}/scene.npy", 5)
    >>> bands.shape, float(bands[0, 0, 0])
    ((40, 30, 5), 0.20000000298023224)
    """
    path = Path(path)
    if not path.is_file():
        what = "the folder" if path.is_dir() else "no file"
        raise FileNotFoundError(
            f"image must be an existing file; got {what} at {str(path)!r}. Check the path."
        )
    stored = _stored(path)
    values = _bands_last(stored.values, path, channels)
    if white is not None:
        return np.asarray(_finite(values, path) / white, np.float32)
    if values.dtype.kind == "f":
        return np.asarray(_finite(values, path), np.float32)
    if values.dtype.itemsize == 1:
        return np.asarray(values / (1 if values.dtype == bool else 255), np.float32)
    return np.asarray(values / white_value(values, path, bits, stored.bits, stored.sure), np.float32)


def white_value(values: npt.NDArray[Any], path: Path, bits: int | None, said: int | None, sure: bool) -> int:
    """Return the value that is white: of as many bits as are given, said by the file, or needed, with a warning.

    Parameters
    ----------
    values : ndarray of whole numbers
    path : Path
        For messages.
    bits, said : int or None
        As the user and the file have it.
    sure : bool
        Whether what the file says can be relied upon.
    """
    least, most = int(values.min(initial=0)), int(values.max(initial=0))
    if least < 0 or most > 65535:
        raise ValueError(
            f"image must hold values of 8 or 16 bits; got {str(path)!r} with values from {least} to {most}. "
            "Scale it and save it as fractions from 0 to 1, or say which value is white=..."
        )
    fewest = most.bit_length()
    if bits is not None and fewest > bits:
        raise ValueError(
            f"bits must be at least {fewest} for {str(path)!r}, whose values go up to {most}; got {bits}. "
            f"Pass bits={fewest}, or leave it out."
        )
    if bits is None:
        bits = said if said is not None and said >= fewest else max(fewest, 8) if fewest else 16
        if bits < 16 and not (sure and bits == said):
            kind = "gray" if values.ndim == 2 or values.shape[-1] == 1 else "values"
            warnings.warn(
                f"image {str(path)!r} has room for 16 bits, but no value above {most}: it is read as {kind} of {bits} bits, "
                f"{2 ** (16 - bits)} times as bright. Pass bits=16 (--bits 16) if it is meant to be dark, or the "
                "number of bits that the camera has, such as bits=12"
                f"{'' if kind == 'gray' else ', or the value that becomes 1, such as white=10000 (--white 10000)'}.",
                UserWarning,
                stacklevel=4,
            )
    return int(2**bits - 1)


def _finite(values: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    odd = int(values.size - np.isfinite(values).sum())
    if odd:
        raise ValueError(
            f"image must hold finite values; got {str(path)!r} with {odd} that are not. Fill them in, for example with 0."
        )
    return values


def _bands_last(values: npt.NDArray[Any], path: Path, channels: int | None) -> npt.NDArray[Any]:
    """Return values of shape (H, W, bands); the bands are the axis of that length, else the shorter end."""
    shape = values.shape
    while values.ndim > 3 and 1 in values.shape:
        values = values.squeeze(values.shape.index(1))
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.dtype.kind not in "fiub" or not values.size:
        raise ValueError(
            f"image must have shape (H, W), (H, W, bands) or (bands, H, W) and hold real numbers; got {str(path)!r} with shape "
            f"{shape} of {values.dtype}. Save one image to a file."
        )
    first, last = values.shape[0], values.shape[-1]
    wanted = min(first, last) if channels is None else channels
    if wanted not in (first, last):
        raise ValueError(
            f"image must have {wanted} bands; got {str(path)!r} of shape {shape}. Choose its bands, or say which ones it has (bands=...)."
        )
    if first == last:
        raise ValueError(
            f"image must have its bands as the first or the last axis; got {str(path)!r} of shape {shape}, where both could be. "
            "Crop the image by a row or a column."
        )
    return values if last == wanted else np.moveaxis(values, 0, -1)


# --- files --------------------------------------------------------------------------------------------------------


def _stored(path: Path) -> Stored:
    """Return the values in a file; raise in clear words if it is none."""
    kind = path.suffix.lower()
    try:
        if kind in ARRAYS:
            return Stored(_array(path))
        return _tiff(path) if kind in TIFFS else Stored(_picture(path))
    except (ImportError, _SeveralError):
        raise
    except Exception as cause:  # readers of files raise errors of many kinds
        raise ValueError(
            f"image must be a complete {kind or 'image'} file of numbers; got {str(path)!r}, which cannot be read ({cause}). "
            "Get the file again."
        ) from cause


class _SeveralError(ValueError):
    """A file of several arrays."""


def _array(path: Path) -> npt.NDArray[Any]:
    found: Any = np.load(path, allow_pickle=False)
    if path.suffix.lower() == ".npy":
        return np.asarray(found)
    with found:
        if len(found.files) != 1:
            raise _SeveralError(
                f"image must be a file of one array; got {str(path)!r} with {', '.join(found.files) or 'none'}. Save the image alone."
            )
        return np.asarray(found[found.files[0]])


def _tiff(path: Path) -> Stored:
    try:
        import tifffile
    except ImportError as cause:
        with contextlib.suppress(UnidentifiedImageError):
            return Stored(_picture(path))
        raise ImportError(
            f"image {str(path)!r} must have tifffile installed, as Pillow does not read it; got no 'tifffile'. "
            "Run pip install 'edgefilter[bands]' (in a clone: '.[bands]'), or save it as a .npy file."
        ) from cause
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        most = page.tags.get(MAX_SAMPLE_VALUE)
        said = None if most is None else int(np.max(most.value)).bit_length() or None
        depth = int(np.max(page.bitspersample))
        parts = [np.asarray(part.asarray()) for part in file.series]
    alike = len({part.shape for part in parts}) == 1  # bands as pages; others are smaller copies
    values = np.stack(parts) if alike and len(parts) > 1 else parts[0]
    return Stored(values, depth, True) if 8 < depth < 16 else Stored(values, said)


def _picture(path: Path) -> npt.NDArray[Any]:
    """Read all frames with Pillow, each a band or with bands of its own."""
    with Image.open(path) as image:
        frames = [np.asarray(frame) for frame in ImageSequence.Iterator(image)]
    return frames[0] if len(frames) == 1 else np.stack(frames)
