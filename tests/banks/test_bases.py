"""Bases of colors: what they are made of, where their chromas are nothing, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

import edgefilter as ef
from edgefilter.banks.bases import BASES, ColorBasis, as_basis
from edgefilter.banks.colors import as_colors

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("name", BASES)
def test_the_inverse_is_the_way_back(name):
    """There and back is the identity; all rows but the first add up to 0."""
    basis = as_basis(name)
    assert_allclose(basis.inverse @ basis.matrix, np.eye(3), rtol=0, atol=1e-14)
    assert basis.chromas == basis.names[1:]
    assert_allclose(basis.inverse[:, 0], 1, rtol=0, atol=1e-14)  # a luminance is a gray


def test_luma_is_that_of_jpeg():
    """As Pillow converts, to a step of eight bits, which has the differences around 128."""
    basis = as_basis("luma")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("YCbCr")).astype(float) - [0, 128, 128]
    assert_allclose(pixels @ basis.matrix.T, expected, rtol=0, atol=1.01)
    assert_allclose(basis.matrix.max(1), [0.587, 0.5, 0.5], rtol=0, atol=1e-15)


def test_a_basis_by_name_follows_the_names_of_the_channels():
    names = ("blue", "green", "red")
    pixel = {"red": 0.9, "green": 0.4, "blue": 0.1}
    for name in BASES:
        given = as_basis(name, names).matrix @ [pixel[channel] for channel in names]
        assert_allclose(given, as_basis(name).matrix @ list(pixel.values()), rtol=0, atol=1e-15)


def test_a_photo_has_its_colors_again():
    """Of a normalised photo: chromas of the photo, and the luminance counted from that of the mean."""
    basis = as_basis("opponent").normalized(MEAN, STD)
    photo = np.array([0.9, 0.3, 0.2])
    given = (photo - MEAN) / STD
    colors = np.linalg.solve(basis.inverse, given - basis.rest)
    expected = basis.matrix @ photo - [np.mean(MEAN), 0, 0]
    assert_allclose(colors, expected, rtol=0, atol=1e-14)
    assert_allclose(basis.rest * STD + MEAN, np.mean(MEAN), rtol=0, atol=1e-15)  # without any color: a gray


def test_a_pair_and_a_basis_are_taken():
    pair = as_basis((["sum", "difference"], [[1, 1], [1, -1]]))
    assert pair.names == ("sum", "difference")
    assert as_basis(pair) is pair
    assert as_basis(None) is None
    assert repr(pair) == "ColorBasis('custom': sum, difference)"
    assert ef.ColorBasis is ColorBasis


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            (("a", "b"), [[1, 1], [2, 2]]),
            ValueError,
            "must be finite and invertible; got .* make no color a sum",
        ),
        ((("a", "b"), [[1, 0], [0, 0]]), ValueError, "must be finite and invertible"),
        ((("a", "b"), [[1, np.nan], [0, 1]]), ValueError, "must be finite and invertible"),
        ((("a", "b"), [[1, 0, 0], [0, 1, 0]]), ValueError, r"must have shape \(2, 2\).*got \(2, 3\)"),
        ((("a", "b"), [[1, 0], [0, 1], [1, 1]]), ValueError, r"must have shape \(2, 2\).*got \(3, 2\)"),
        ((("a", "a"), np.eye(2)), ValueError, "names must be different; got 'a' twice"),
        (("ab", np.eye(2)), TypeError, "names must be a sequence of strings"),
        ((("a", "b"), "eye"), TypeError, "matrix must hold numbers"),
    ],
)
def test_what_is_no_basis_is_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        ColorBasis(*arguments)


@pytest.mark.parametrize(
    ("basis", "channels", "error", "match"),
    [
        ("oponent", None, KeyError, "unknown basis 'oponent'; did you mean 'opponent'"),
        ("luma", ("B02", "B03", "B04"), ValueError, "must be of channels named red, green and blue; got B02"),
        (3, None, TypeError, "basis must be one of opponent, luma, a pair .* got int"),
        ({"a": [1], "b": [1]}, None, ValueError, "must have shape"),
        (np.eye(2), None, TypeError, "got ndarray"),
        ((1, 2, 3), None, TypeError, "got tuple"),
    ],
)
def test_what_names_no_basis_is_refused(basis, channels, error, match):
    with pytest.raises(error, match=match):
        as_basis(basis, channels)


def test_a_basis_may_be_a_mapping_or_a_matrix_whose_rows_are_named_by_colors():
    rows = {"sum": [0.5, 0.5], "difference": [1.0, -1.0]}
    matrix = np.array(list(rows.values()))
    found = as_basis(rows), as_colors(list(rows), matrix).basis, as_colors(None, (list(rows), matrix)).basis
    for basis in found:
        assert basis.names == ("sum", "difference")
        assert_allclose(basis.matrix, matrix, rtol=0, atol=0)
    assert as_colors(list(rows), matrix).names(2) == ("sum", "difference")


def test_mean_and_std_must_fit():
    basis = as_basis("luma")
    with pytest.raises(ValueError, match="mean must be one finite number, or one for each of the 3 channels"):
        basis.normalized((0.5, 0.5), 1)
    with pytest.raises(ValueError, match="std must be above 0"):
        basis.normalized(0.5, (1, 0, 1))
