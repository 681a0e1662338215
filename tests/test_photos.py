"""Photos are read as a viewer would show them, and bad files are refused in clear words."""

import struct

import numpy as np
import pytest
from PIL import Image

from edgefilter.photos import demo_photo, read_photo


def save(folder, image, name="photo.png", **options):
    path = folder / name
    image.save(path, **options)
    return path


def pixels(path):
    photo = read_photo(path)
    assert photo.mode == "RGB"
    return np.asarray(photo)


@pytest.mark.parametrize("name", ["photo.png", "photo.bmp", "photo.tif", "photo.gif"])
def test_gray_gives_three_equal_channels(tmp_path, name):
    path = save(tmp_path, Image.new("L", (5, 4), 77), name)
    assert pixels(path).shape == (4, 5, 3)
    assert (pixels(path) == 77).all()


def test_rgb_is_unchanged(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    assert np.array_equal(pixels(save(tmp_path, Image.fromarray(values))), values)


def test_transparency_is_laid_on_white(tmp_path):
    image = Image.new("RGBA", (2, 1), (200, 0, 0, 0))
    image.putpixel((1, 0), (200, 0, 0, 51))  # a fifth of the red, four fifths of white
    assert pixels(save(tmp_path, image)).tolist() == [[[255, 255, 255], [244, 204, 204]]]


def test_transparent_gray_is_laid_on_white(tmp_path):
    assert pixels(save(tmp_path, Image.new("LA", (1, 1), (10, 0)))).tolist() == [[[255, 255, 255]]]


def test_palette_gives_its_colors(tmp_path):
    image = Image.new("RGB", (3, 2), (10, 200, 30)).quantize(4)
    assert (pixels(save(tmp_path, image)) == (10, 200, 30)).all()


def test_transparent_palette_is_laid_on_white(tmp_path):
    image = Image.new("P", (2, 1), 0)
    image.putpalette([9, 9, 9, 1, 2, 3])
    image.putpixel((1, 0), 1)
    path = save(tmp_path, image, transparency=0)
    assert pixels(path).tolist() == [[[255, 255, 255], [1, 2, 3]]]


@pytest.mark.parametrize("name", ["photo.png", "photo.tif"])
def test_gray_of_16_bits_is_scaled_not_clipped(tmp_path, name):
    values = np.array([[0, 128, 257, 32896, 65535]], dtype=np.uint16)
    path = save(tmp_path, Image.fromarray(values), name)
    assert pixels(path)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def gray16(folder, values, name="photo.png", **options):
    return save(folder, Image.fromarray(np.array([values], dtype=np.uint16)), name, **options)


@pytest.mark.parametrize("name", ["photo.png", "photo.tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15])
def test_gray_of_fewer_bits_is_scaled_by_the_fewest_that_hold_it(tmp_path, name, bits):
    """With a warning that says so, and names the way out; half of the range is half of the light."""
    white = 2**bits - 1
    path = gray16(tmp_path, [0, white // 2, white], name)
    with pytest.warns(
        UserWarning, match=rf"no value above {white}: it is read as gray of {bits} bits.* Pass bits=16"
    ):
        assert pixels(path)[0, :, 0].tolist() == [0, 127, 255]
    assert np.asarray(read_photo(path, bits=bits))[0, :, 0].tolist() == [0, 127, 255]
    dark = [0, round(white // 2 * 255 / 65535), round(white * 255 / 65535)]
    assert np.asarray(read_photo(path, bits=16))[0, :, 0].tolist() == dark


def test_black_gray_of_16_bits_is_black(tmp_path):
    assert (pixels(gray16(tmp_path, [0, 0, 0])) == 0).all()


def test_the_highest_value_named_by_a_tiff_is_white(tmp_path):
    """The tag MaxSampleValue; viewers need not heed it, hence the warning. One that is too low says nothing."""
    with pytest.warns(UserWarning, match="gray of 12 bits"):
        assert pixels(gray16(tmp_path, [0, 819], "photo.tif", tiffinfo={281: 4095}))[0, :, 0].tolist() == [
            0,
            51,
        ]
    with pytest.warns(UserWarning, match="gray of 10 bits"):
        assert pixels(gray16(tmp_path, [0, 1023], "photo.tif", tiffinfo={281: 255}))[0, :, 0].tolist() == [
            0,
            255,
        ]


def test_tiff_of_12_bits_needs_no_guess(tmp_path):
    """Two values of 12 bits, packed into 3 bytes: dark ones stay dark, without a warning."""
    entries = [
        (256, 4, 2),
        (257, 4, 1),
        (258, 3, 12),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, 1),
        (279, 4, 3),
    ]
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    low, high = 16, 273  # of 4095
    packed = bytes([low >> 4, (low & 15) << 4 | high >> 8, high & 255])
    path = tmp_path / "photo.tif"
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 12) + packed + b"\0" + struct.pack("<H", len(entries)) + tags + bytes(4)
    )
    assert pixels(path)[0, :, 0].tolist() == [1, 17]


def test_pgm_says_its_highest_value(tmp_path):
    """Unless that is the one of 16 bits, which writers put there for any picture."""
    path = tmp_path / "photo.pgm"
    values = np.array([[0, 16, 273]], dtype=">u2")
    path.write_bytes(b"P5 3 1 4095\n" + values.tobytes())
    assert pixels(path)[0, :, 0].tolist() == [0, 1, 17]
    path.write_bytes(b"P5 3 1 65535\n" + (values * 15).astype(">u2").tobytes())
    with pytest.warns(UserWarning, match="no value above 4095: it is read as gray of 12 bits"):
        assert pixels(path)[0, :, 0].tolist() == [0, 15, 255]


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        (8, r"bits must be at least 12 for .*go up to 4095; got 8. Pass bits=12"),
        (17, "from 1 to 16; got 17. Leave"),
    ],
)
def test_bits_that_do_not_hold_the_values_are_refused(tmp_path, bits, message):
    with pytest.raises(ValueError, match=message):
        read_photo(gray16(tmp_path, [0, 4095]), bits=bits)


def test_float_tiff_is_refused(tmp_path):
    path = save(tmp_path, Image.fromarray(np.array([[0.25, 1.0]], dtype=np.float32)), "photo.tif")
    with pytest.raises(ValueError, match=r"image must hold values of 8 or 16 bits; got .* from 0.25 to 1.0"):
        read_photo(path)


@pytest.mark.parametrize(
    ("inks", "expected"),
    [((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))],
)
@pytest.mark.parametrize("name", ["photo.tif", "photo.jpg"])
def test_cmyk_inks_darken_white(tmp_path, inks, expected, name):
    path = save(tmp_path, Image.new("CMYK", (16, 16), inks), name)
    assert np.abs(pixels(path).astype(int) - expected).max() <= 4


def test_cmyk_with_an_unusable_profile_is_converted_without_it(tmp_path):
    path = save(tmp_path, Image.new("CMYK", (4, 4), (255, 0, 0, 0)), "photo.tif", icc_profile=b"no profile")
    assert (pixels(path) == (0, 255, 255)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_honoured(tmp_path, orientation):
    """The stored picture is the inverse of what a viewer shows, in all eight orientations."""
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 250  # one bright corner, upper left
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(np.ascontiguousarray(undo(upright))), exif=exif)
    assert np.array_equal(pixels(path), upright)


def test_unreadable_exif_is_passed_over(tmp_path):
    path = save(tmp_path, Image.new("RGB", (8, 8), (1, 2, 3)), exif=b"Exif\x00\x00MM nonsense")
    assert (pixels(path) == (1, 2, 3)).all()


@pytest.mark.parametrize("content", [b"", b"plain text", b"\x89PNG\r\n"])
def test_not_an_image_is_refused(tmp_path, content):
    path = tmp_path / "notes.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"image must be a photo .* got '.*notes.jpg', which is none. Check"):
        read_photo(path)


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.gif"])
def test_truncated_image_is_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path, Image.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"image must be complete; got .* truncated or damaged .* again"):
        read_photo(path)


@pytest.mark.parametrize("limit", [60, 30])
def test_huge_image_is_refused_at_both_levels_of_pillow(tmp_path, monkeypatch, limit):
    """Pillow warns above its limit and raises above twice of it: both are one error here."""
    path = save(tmp_path, Image.new("RGB", (10, 10)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=rf"image must have at most {limit} pixels; got .* Make it smaller"):
        read_photo(path)


def test_image_at_the_limit_is_read(tmp_path, monkeypatch):
    path = save(tmp_path, Image.new("RGB", (10, 10)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_photo(path).size == (10, 10)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image must be an existing file; got .*which is not there"):
        read_photo(tmp_path / "none.jpg")


def test_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="image must be a file; got the folder"):
        read_photo(tmp_path)


def test_demo_photo_is_the_cup_of_coffee():
    photo = demo_photo()
    assert (photo.mode, photo.size) == ("RGB", (600, 400))


def test_demo_photo_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage.data", None)
    with pytest.raises(ImportError, match=r"pip install 'edgefilter\[demo\]'"):
        demo_photo()
