"""Moving averages and Gaussians over maps."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.testing import assert_close

from edgefilter.methods.smoothing import box, gaussian, smoothed


@pytest.fixture
def maps():
    return torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("width", [0, 0.5, 1, 1.5, 2, 3, 4.25, 5, 32])
def test_a_window_covers_pixels_in_part(width):
    """The weights are the share of the window over each pixel, measured on a fine line."""
    fine = 2000
    places = (torch.arange(-40 * fine, 40 * fine) + 0.5) / fine
    inside = (places.abs() < max(width, 1) / 2).double()
    weights = box(width)
    reach = len(weights) // 2
    covered = (
        torch.stack([inside[(places - k).abs() < 0.5].sum() for k in range(-reach, reach + 1)]) / inside.sum()
    )
    assert_close(weights, covered, rtol=0, atol=1e-3)
    assert_close(weights.sum(), torch.tensor(1.0).double())
    assert bool((weights > 0).all())


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (1, 3), (4, 2.5), (25, 1)])
def test_smoothing_is_a_slow_loop(maps, rows, columns):
    """Weights times neighbors, the outermost of which stand for what is beyond."""
    down, across = box(rows), box(columns)
    found = smoothed(maps, down, across)
    one = maps[1, 2]
    for i, j in ((0, 0), (4, 3), (8, 6), (1, 5)):
        total = 0.0
        for a, weight in enumerate(down):
            for b, other in enumerate(across):
                row = min(max(i + a - len(down) // 2, 0), 8)
                column = min(max(j + b - len(across) // 2, 0), 6)
                total += float(weight * other * one[row, column])
        assert float(found[1, 2, i, j]) == pytest.approx(total, abs=1e-12)


def test_scipy_has_the_same_filters(maps):
    """Its moving average of odd width, and its Gaussian."""
    averaged = np.stack(
        [ndimage.uniform_filter(one.numpy(), (3, 5), mode="nearest") for one in maps.flatten(0, 1)]
    )
    assert_close(smoothed(maps, box(3), box(5)).flatten(0, 1), torch.from_numpy(averaged), rtol=0, atol=1e-12)
    blurred = np.stack(
        [ndimage.gaussian_filter(one.numpy(), 2, mode="nearest", truncate=3) for one in maps.flatten(0, 1)]
    )
    found = smoothed(maps, gaussian(2), gaussian(2)).flatten(0, 1)
    assert_close(found, torch.from_numpy(blurred), rtol=0, atol=1e-12)


def test_a_constant_stays_and_a_width_of_one_changes_nothing(maps):
    """In the dtype that came in."""
    assert_close(smoothed(torch.full_like(maps, 0.3), box(6), gaussian(3)), torch.full_like(maps, 0.3))
    same = smoothed(maps.float(), box(0), box(1))
    assert same.dtype == torch.float32
    assert torch.equal(same, maps.float())
