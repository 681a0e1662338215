"""Maps in eight bits: sums stay, values are as exact as it is said."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from edgefilter.report.sprites import fitting, make_sprite, quantized, reduced
from reports import decoded


@pytest.fixture
def maps():
    """Return maps with long tails, one of them empty."""
    values = np.random.default_rng(0).standard_normal((7, 12, 20)) ** 5
    values[3] = 0
    return values


def slowly_reduced(values, size):
    """Return a coarser map by a loop over fine places, a tenth of a place wide each."""
    found, fine = np.zeros(size), 10
    tall, wide = values.shape
    for row in range(tall * fine):
        for column in range(wide * fine):
            at = int((row + 0.5) * size[0] / (tall * fine)), int((column + 0.5) * size[1] / (wide * fine))
            found[at] += values[row // fine, column // fine] / fine**2
    return found


@pytest.mark.parametrize("size", [(6, 10), (12, 20), (4, 5), (1, 1), (5, 8)])
def test_a_coarser_map_adds_up_what_falls_into_each_place(maps, size):
    """As a slow loop does; the sum stays."""
    found = reduced(maps, size)
    assert_allclose(found.sum((1, 2)), maps.sum((1, 2)), rtol=0, atol=1e-9)
    assert_allclose(found[0], slowly_reduced(maps[0], size), rtol=0, atol=1e-9)


def test_blocks_of_whole_places_are_sums_of_blocks(maps):
    """Where sizes divide each other."""
    blocks = maps.reshape(7, 6, 2, 10, 2).sum((2, 4))
    assert_allclose(reduced(maps, (6, 10)), blocks, rtol=0, atol=1e-9)


def test_rounding_is_within_a_step_and_keeps_sums_within_half_a_step(maps):
    """For each value and each map; nothing stays nothing, and a map of whole steps is exact."""
    levels, steps = quantized(maps)
    assert np.abs(levels).max() <= 127
    values = levels * steps[:, None, None]
    assert (np.abs(values - maps) <= steps[:, None, None] * (1 + 1e-9)).all()
    assert (np.abs(values.sum((1, 2)) - maps.sum((1, 2))) <= steps / 2 * (1 + 1e-9)).all()
    assert steps[3] == 0
    assert not levels[3].any()
    again, exact = quantized(values)
    assert_allclose(again * exact[:, None, None], values, rtol=0, atol=1e-9)


@pytest.mark.parametrize("places", [7 * 240, 7 * 60, 100, 1])
def test_a_sprite_gives_the_maps_back(maps, places):
    """To a step, at the resolution that it states, with at most so many values."""
    sprite = make_sprite(maps, places)
    found = decoded(sprite.to_dict())
    assert found.shape == (7, *sprite.size)
    assert found.size <= max(places, 7)
    expected = reduced(maps, sprite.size)
    assert (np.abs(found - expected) <= np.array(sprite.steps)[:, None, None] * 1.000001).all()


def test_the_size_that_fits_is_the_whole_or_a_part():
    """As fine as the room allows."""
    assert fitting((112, 112), 112 * 112) == (112, 112)
    assert fitting((112, 112), 112 * 112 - 1) == (56, 56)
    assert fitting((9, 5), 15) == (5, 3)


def test_a_sum_that_is_off_is_seen():
    """One step too few in one place would not pass."""
    levels, steps = quantized(np.full((1, 4, 4), 1.0))
    wrong = levels.copy()
    wrong[0, 0, 0] -= 1
    assert abs((wrong * steps).sum() - 16) > steps[0] / 2
