"""What the responses of a layer see of the image."""

from __future__ import annotations

import pytest
import torch

import edgefilter as ef
from edgefilter.stems.windows import nearest_places, window_of_layer


@pytest.mark.parametrize(
    ("places", "size", "expected"),
    [
        ((1, 1), (5, 7), [[2 * 7 + 3]]),
        ((3, 2), (3, 2), [[0, 1], [2, 3], [4, 5]]),
        ((1, 4), (1, 2), [[0, 0, 1, 1]]),
    ],
)
def test_a_place_lies_over_the_pixel_under_its_middle(places, size, expected):
    assert nearest_places(places, size).tolist() == expected


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_borders_show_the_pixels_that_they_copy(mode):
    """As the padding of an image that holds the numbers of its pixels."""
    layer = ef.EdgeFilterBank2d("sobel", 1, padding=(1, 2, 1, 0), padding_mode=mode)
    window = window_of_layer(layer, (4, 5))
    left, right, top, bottom = 1, 2, 1, 0
    numbers = torch.arange(20.0).reshape(1, 1, 4, 5)
    expected = torch.nn.functional.pad(numbers, (left, right, top, bottom), mode=mode)[0, 0]
    assert torch.equal(window.pixels, expected.long())


@pytest.mark.parametrize(("stride", "dilation", "padding"), [(1, 1, 0), (2, 1, 1), ((1, 3), (2, 1), (0, 4))])
def test_places_are_those_of_the_responses(stride, dilation, padding):
    layer = ef.EdgeFilterBank2d("sobel", 3, stride=stride, padding=padding, dilation=dilation)
    window = window_of_layer(layer, (9, 11))
    assert window.places == tuple(layer(torch.zeros(1, 3, 9, 11)).shape[2:])
