"""Images of many bands are read from TIFF and NumPy files with the bands where the network wants them."""

import numpy as np
import pytest
from PIL import Image

from edgefilter.bands import read_bands
from edgefilter.photos import read_photo

tifffile = pytest.importorskip("tifffile")


def scene(bands=13, kind=np.uint8, most=255):
    return np.random.default_rng(0).integers(0, most + 1, (20, 24, bands)).astype(kind)


def save(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, scene=values)
    else:
        layout = "contig" if values.shape[-1] < values.shape[0] else "separate"
        tifffile.imwrite(path, values, photometric="minisblack", planarconfig=layout)
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.tif", "a.TIFF"])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("channels", [13, None])
def test_bands_are_found_as_first_or_last_axis(tmp_path, name, first, channels):
    values = scene()
    path = save(tmp_path / name, np.moveaxis(values, -1, 0) if first else values)
    found = read_bands(path, channels)
    assert found.dtype == np.float32
    assert np.array_equal(found, (values / 255).astype(np.float32))


def test_the_same_comes_through_read_photo(tmp_path):
    """Of a network of 13 channels; that of a photo stays a photo."""
    path = save(tmp_path / "a.tif", scene())
    assert np.array_equal(read_photo(path, channels=13), read_bands(path, 13))
    Image.new("RGB", (4, 3)).save(tmp_path / "b.png")
    assert isinstance(read_photo(tmp_path / "b.png", channels=3), Image.Image)
    assert isinstance(read_photo(tmp_path / "b.png", channels=1), Image.Image)


def test_a_file_of_many_bands_is_no_photo(tmp_path):
    path = save(tmp_path / "a.tif", scene())
    with pytest.raises(
        ValueError, match=r"image must be a photo that Pillow reads.*many bands say how many \(channels=...\)"
    ):
        read_photo(path)


def test_pages_of_a_tiff_are_bands(tmp_path):
    """As microscopes write five stains."""
    values = scene(5)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for band in range(5):
            file.write(values[..., band], photometric="minisblack")
    assert np.array_equal(read_bands(tmp_path / "a.tif", 5), (values / 255).astype(np.float32))


def test_three_bands_of_16_bits_are_read_for_a_network_of_color(tmp_path):
    """Pillow keeps 8 of them, also of values of 12 bits, which would be dark."""
    values = scene(3, np.uint16, 65535)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    found = read_photo(tmp_path / "a.tif", channels=3)
    assert np.allclose(np.asarray(found), values / 65535, atol=1e-6)


def test_four_channels_of_a_picture_are_bands_and_not_transparency(tmp_path):
    values = scene(4)
    Image.fromarray(values, "RGBA").save(tmp_path / "a.png")
    assert np.array_equal(read_bands(tmp_path / "a.png", 4), (values / 255).astype(np.float32))


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("name", ["a.npy", "a.tif"])
def test_bands_of_fewer_bits_are_scaled_with_a_warning(tmp_path, name, bits):
    white = 2**bits - 1
    values = scene(5, np.uint16, white)
    values[0, 0, 0] = white
    path = save(tmp_path / name, values)
    with pytest.warns(UserWarning, match=f"no value above {white}: it is read as values of {bits} bits"):
        found = read_bands(path, 5)
    assert np.allclose(found, values / white, atol=1e-6)
    assert np.allclose(read_bands(path, 5, bits=16), values / 65535, atol=1e-6)
    assert np.allclose(read_bands(path, 5, white=10000), values / 10000, atol=1e-6)


def test_the_highest_value_named_by_a_tiff_is_white(tmp_path):
    values = scene(5, np.uint16, 800)
    tifffile.imwrite(
        tmp_path / "a.tif",
        values,
        photometric="minisblack",
        planarconfig="contig",
        extratags=[(281, "H", 1, 4095, True)],
    )
    with pytest.warns(UserWarning, match="values of 12 bits"):
        assert np.allclose(read_bands(tmp_path / "a.tif", 5), values / 4095, atol=1e-6)


def test_fractions_are_left_alone(tmp_path):
    values = np.linspace(-2, 3, 20 * 24 * 5).reshape(20, 24, 5)
    assert np.allclose(read_bands(save(tmp_path / "a.npy", values), 5), values, atol=1e-6)
    assert np.allclose(read_bands(save(tmp_path / "b.tif", values.astype(np.float32)), 5), values, atol=1e-6)


def test_a_flat_array_has_one_band(tmp_path):
    assert read_bands(save(tmp_path / "a.npy", scene(1)[..., 0])).shape == (20, 24, 1)


@pytest.mark.parametrize(
    ("values", "channels", "message"),
    [
        (np.zeros((20, 24, 5), np.uint8), 13, r"image must have 13 bands; got .* of shape \(20, 24, 5\)"),
        (
            np.zeros((5, 24, 5), np.uint8),
            5,
            r"bands as the first or the last axis; got .* \(5, 24, 5\), where both could be",
        ),
        (np.zeros((2, 20, 24, 5), np.uint8), 5, r"must have shape \(H, W\), .* with shape \(2, 20, 24, 5\)"),
        (np.full((20, 24, 5), -1, np.int16), 5, "with values from -1 to 0"),
        (np.full((20, 24, 5), np.nan), 5, "must hold finite values; got .* with 2400 that are not"),
        (np.zeros((20, 24, 5), complex), 5, "hold real numbers; got .* of complex128"),
        (np.full((20, 24, 5), {}, object), 5, "must be a complete .npy file of numbers; .*allow_pickle"),
    ],
)
def test_arrays_that_are_no_image_are_refused(tmp_path, values, channels, message):
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        read_bands(tmp_path / "a.npy", channels)


def test_files_that_are_no_image_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=scene(), y=scene())
    with pytest.raises(ValueError, match=r"a file of one array; got .* with x, y"):
        read_bands(tmp_path / "a.npz")
    for name in ("a.npy", "a.tif", "b.npz"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(
            ValueError, match=r"must be a complete .* file of numbers; got .*Get the file again"
        ):
            read_bands(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="image must be an existing file; got no file at"):
        read_bands(tmp_path / "none.npy")


def test_without_tifffile_the_extra_is_named(tmp_path, monkeypatch):
    """Unless Pillow reads the file."""
    path = save(tmp_path / "a.tif", scene())
    values = scene(4)
    Image.fromarray(values, "RGBA").save(tmp_path / "b.tif")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(ImportError, match=r"pip install 'edgefilter\[bands\]' \(in a clone: '.\[bands\]'\)"):
        read_bands(path, 13)
    assert np.array_equal(read_bands(tmp_path / "b.tif", 4), (values / 255).astype(np.float32))
