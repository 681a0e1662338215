"""The total variation of maps: a slow loop, laws, and levels of the pyramid."""

import builtins

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.transform import resize
from torch.testing import assert_close

from edgefilter.methods import average_total_variation


@pytest.fixture
def maps(generator):
    return torch.randn(3, 2, 70, 64, generator=generator, dtype=torch.float64)


def slowly(one):
    """Return the area of one map: pyramid, normalization, differences and Simpson's rule written out."""
    level, values = one.sum(0).numpy(), []
    while min(level.shape) >= 30:
        sizes = np.abs(level)
        top = np.sort(sizes.ravel())
        place = 0.99 * (top.size - 1)
        low, high = int(np.floor(place)), int(np.ceil(place))
        most = top[low] + (top[high] - top[low]) * (place - low)
        unit = np.minimum((sizes - top[0]) / (most - top[0]), 1)
        total = 0.0
        for i in range(unit.shape[0]):
            for j in range(unit.shape[1]):
                total += abs(unit[i, j] - unit[i - 1, j]) if i else 0
                total += abs(unit[i, j] - unit[i, j - 1]) if j else 0
        values.append(total / unit.size)
        smooth = ndimage.gaussian_filter(level, 2 * 1.5 / 6, mode="reflect")
        smaller = tuple(int(np.ceil(side / 1.5)) for side in level.shape)
        level = resize(smooth, smaller, order=1, mode="reflect", anti_aliasing=False)
    assert len(values) == 2
    return (values[0] + values[1]) / 2  # of two points, Simpson's rule is the trapezoidal one


def test_it_is_the_slow_loop(maps):
    """Two levels, 70 x 64 and 47 x 43; the next would be 32 x 29, with a side under 30 pixels."""
    found = average_total_variation(maps)
    assert_close(found, torch.tensor([slowly(one) for one in maps], dtype=torch.float64), rtol=0, atol=1e-12)


def test_size_and_sign_do_not_matter(maps):
    """Nor do mirrors, other maps of the batch, and how the colors share the sum."""
    found = average_total_variation(maps)
    assert found.shape == (3,)
    for same in (3 * maps, -maps, maps.flip(-1), maps.sum(1, keepdim=True)):
        assert_close(average_total_variation(same), found, rtol=0, atol=1e-10)
    assert_close(average_total_variation(maps[1:2]), found[1:2], rtol=0, atol=1e-15)
    assert torch.equal(average_total_variation((maps,)), found)


def test_a_flat_map_has_none_and_noise_has_most(maps):
    """A ramp lies between."""
    ramp = torch.linspace(0, 1, 64).double().expand(1, 1, 70, 64)
    values = [float(average_total_variation(one)) for one in (torch.ones_like(ramp), ramp, maps[:1])]
    assert values[0] == 0
    assert 0 < values[1] < values[2] / 10


def test_small_maps_have_two_levels(maps):
    """Where the published least size leaves none."""
    small = maps[..., :28, :28]
    assert (average_total_variation(small) > 0).all()
    with pytest.raises(
        ValueError, match="min_size must leave two levels of the pyramid; got 30 for maps of 28 x 28"
    ):
        average_total_variation(small, min_size=30)
    assert average_total_variation(small.half()).dtype == torch.half


def test_other_maps_are_refused(maps):
    """By name."""
    with pytest.raises(TypeError, match=r"attributions must be one Tensor.*got ndarray"):
        average_total_variation(maps.numpy())
    with pytest.raises(ValueError, match="attributions must be a floating-point Tensor of shape"):
        average_total_variation(maps[0])


def test_what_is_missing_is_named(maps, monkeypatch):
    """And how to get it."""
    real = builtins.__import__

    def without(name, *given, **options):
        if name.partition(".")[0] == "scipy":
            raise ImportError(name)
        return real(name, *given, **options)

    monkeypatch.setattr("importlib.import_module", without)
    with pytest.raises(ImportError, match="SciPy is required for average_total_variation; run pip install"):
        average_total_variation(maps)
