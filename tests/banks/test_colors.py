"""Names and groups of channels: which are taken, in which order, and what is said about the others."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgefilter.banks.colors import as_colors, color_names

BANDS = tuple(f"B{number:02d}" for number in range(13))


def test_channels_are_named_by_their_number():
    assert [as_colors().names(count) for count in (1, 2, 3)] == [
        ("gray",), ("channel_0", "channel_1"), ("red", "green", "blue")]  # fmt: skip
    assert as_colors().names(60) == as_colors().channels(60) == color_names(60)


def test_names_are_those_of_the_channels():
    colors = as_colors(BANDS)
    assert colors.names(13) == colors.channels(13) == BANDS
    assert np.array_equal(colors.membership(13), np.eye(13))


@pytest.mark.parametrize(
    ("groups", "channels", "count", "expected"),
    [
        ({"warm": ["red", "green"], "cold": ["blue"]}, None, 3, ("red", "green", "blue")),
        ({"cold": ["blue"], "warm": ["red", "green"]}, None, 3, ("red", "green", "blue")),
        ({"warm": [0, 1], "cold": [-1]}, None, 3, ("red", "green", "blue")),
        ({"b": ["channel_1"], "a": [0, "channel_3", 2]}, None, 4, color_names(4)),
        ({"visible": ["B02", "B03"], "red edge": ["B05", "B06"]}, None, 4, ("B02", "B03", "B05", "B06")),
        ({"red edge": ["B06", "B05"], "visible": ["B02"]}, ("B02", "B05", "B06"), 3, ("B02", "B05", "B06")),
        (
            {"visible": ["red", "green", "blue"], "infrared": ["nir"]},
            None,
            4,
            ("red", "green", "blue", "nir"),
        ),
        ({"all": range(60)}, None, 60, color_names(60)),
    ],
)
def test_groups_hold_channels_by_name_and_by_index(groups, channels, count, expected):
    colors = as_colors(groups, channels=channels)
    assert colors.channels(count) == expected
    assert colors.names(count) == tuple(groups)
    held = colors.membership(count)
    assert held.shape == (count, len(groups))
    assert (held.sum(1) == 1).all()
    for place, given in enumerate(groups.values()):
        for one in given:
            assert held[expected.index(one) if isinstance(one, str) else one, place] == 1
    members = colors.members(count)
    assert [expected.index(name) for some in members.values() for name in some] == [
        row for column in held.T for row in np.flatnonzero(column)]  # fmt: skip


def test_groups_that_name_channels_out_of_order_are_doubted():
    """Numbers in names are most often in the order of the image; with channels= nothing is doubted, nor with known names."""
    mixed = {"visible": ["B02", "B03"], "infrared": ["B08"], "red edge": ["B05"]}
    with pytest.warns(UserWarning, match="got 'B08' before 'B05'. Pass channels="):
        as_colors(mixed)
    as_colors(mixed, channels=("B02", "B03", "B05", "B08"))
    as_colors({"late": ["channel_3", "channel_2"], "early": [0, 1]})
    as_colors({"visible": ["B02"], "infrared": ["B08", "B8A", "B11"]})


def test_groups_of_a_basis_are_of_its_colors():
    colors = as_colors({"light": ["luminance"], "chroma": ["red-green", "blue-yellow"]}, "opponent")
    assert colors.members(3)["chroma"] == ("red-green", "blue-yellow")
    assert as_colors(basis="luma", channels=("blue", "green", "red")).names(3) == ("Y", "Cb", "Cr")


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((["a", "a"],), ValueError, "colors must be different names; got 'a' twice"),
        (("red",), TypeError, "colors must be a sequence of names or a mapping of groups; got 'red'"),
        (([],), TypeError, "colors must be a sequence of names"),
        ((["a", 1],), TypeError, "colors must be a sequence of names"),
        ((3,), TypeError, "got 3"),
        (({},), ValueError, "colors must hold a group; got none"),
        (({"a": "red"},), TypeError, "must hold sequences of channels; got 'red' for 'a'"),
        (({"a": []},), ValueError, "must not be empty; got no channel in 'a'"),
        (({1: ["red"]},), TypeError, "must have strings as names; got 1"),
        (({"a": [True]},), TypeError, "must hold names or indices of channels; got True in 'a'"),
        (({"a": [1.5]},), TypeError, "got 1.5 in 'a'"),
        (({"a": ["x"], "b": ["x"]},), ValueError, "every channel once; got 'x' in 'a' and in 'b'"),
        (({"a": ["x", "x"]},), ValueError, "every channel once; got 'x' in 'a' twice"),
        ((None, None, ["a", "a"]), ValueError, "channels must be different names"),
        ((["a"], None, ["b"]), ValueError, "colors must be None or groups where channels gives the names"),
        ((None, "luma", ["a", "b", "c"]), ValueError, "must be of channels named red, green and blue"),
        (
            (["a"], (["x", "y"], np.eye(2))),
            ValueError,
            "basis must have a color for each channel; got 2 for a",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_once(arguments, error, match):
    with pytest.raises(error, match=match):
        as_colors(*arguments)


@pytest.mark.parametrize(
    ("arguments", "count", "error", "match"),
    [
        ((BANDS,), 12, ValueError, "colors must name each of the image's 12 channels; got 13, B00, B01"),
        ((["a", "b"],), 3, ValueError, "colors must name each of the image's 3 channels; got 2, a, b"),
        ((None, "luma"), 4, ValueError, "basis must have a color for each of the image's 4 channels; got 3"),
        (
            ({"a": ["red"], "b": ["blue"]},),
            3,
            ValueError,
            "every one of the 3 channels; got none with 'green'",
        ),
        (({"a": [0]},), 4, ValueError, "got none with 'channel_1' and 2 more"),
        (({"a": [0, 7]},), 3, ValueError, "indices between 0 and 2; got 7"),
        (({"a": [0, -3], "b": [1, 2]},), 3, ValueError, "every channel once; got 'red' in 'a' and in 'a'"),
        (({"a": ["red", 0], "b": [1, 2]},), 3, ValueError, "every channel once"),
        (
            ({"a": ["blue"], "b": ["red", "grene"]},),
            3,
            KeyError,
            "unknown channel 'grene'; did you mean 'green'",
        ),
        (
            ({"a": ["B02"], "b": ["B05"]},),
            3,
            ValueError,
            "name each of the 3 channels once, in their order; got 2",
        ),
        (
            ({"a": ["B02"], "b": [1]},),
            2,
            KeyError,
            "unknown channel 'B02'. The channels are channel_0, channel_1",
        ),
        (
            ({"a": ["B02", "B09"]}, None, ["B02", "B08"]),
            2,
            KeyError,
            "unknown channel 'B09'; did you mean 'B0",
        ),
    ],
)
def test_what_does_not_fit_the_image_is_refused_when_it_comes(arguments, count, error, match):
    colors = as_colors(*arguments)
    with pytest.raises(error, match=match):
        colors.membership(count)


def test_a_long_list_is_cut_off():
    with pytest.raises(ValueError, match=re.escape("B07, ... (13 of them)")):
        as_colors(BANDS).names(5)
