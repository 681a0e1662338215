"""The blur that takes the grid of dots from maps: sums stay, and the object stays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from drawings import explanation
from edgefilter.plots.blurring import blurred, chosen_sigma, mirrored
from edgefilter.plots.maps import filter_map, pixel_map
from edgefilter.stems.layers import EdgeFilterBank2d
from edgefilter.stems.windows import window_of_layer


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 40.0])
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (24, 24)])
def test_sums_and_flat_maps_stay(size, sigma):
    values = np.random.default_rng(0).normal(size=size)
    assert blurred(values, sigma).sum() == pytest.approx(values.sum(), abs=1e-12)
    np.testing.assert_allclose(blurred(np.ones(size), sigma), 1.0, atol=1e-12)
    np.testing.assert_allclose(mirrored(size[1], sigma), mirrored(size[1], sigma).T, atol=1e-15)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 9.0])
def test_the_blur_is_that_of_scipy(sigma):
    ndimage = pytest.importorskip("scipy.ndimage")
    values = np.random.default_rng(0).normal(size=(12, 20))
    np.testing.assert_allclose(
        blurred(values, sigma), ndimage.gaussian_filter(values, sigma, truncate=6.0), atol=1e-8
    )


def test_without_a_blur_a_map_is_as_it_was():
    values = np.random.default_rng(0).normal(size=(4, 5))
    assert blurred(values, 0) is values


def test_a_grid_of_dots_is_gone_and_the_object_is_there():
    """Dots at every second place of a stem of stride 2, on a disc: their part falls below a hundredth, the disc stays where it is."""
    y, x = np.mgrid[:64, :64]
    disc = ((y - 30) ** 2 + (x - 34) ** 2 < 15**2).astype(float)
    dotted = disc * (y % 4 == 0) * (x % 4 == 0) * 16
    soft = blurred(dotted, 2.0)
    inside = (y - 30) ** 2 + (x - 34) ** 2 < 9**2
    assert soft[inside].std() < 0.01 * dotted[inside].std()
    assert np.corrcoef(soft.ravel(), disc.ravel())[0, 1] > 0.93


@pytest.mark.parametrize(("stride", "sigma"), [(1, 0.0), (2, 2.0), (4, 4.0)])
def test_maps_are_blurred_at_the_stride_of_the_stem(stride, sigma):
    """In pixels, and in places of the stem by as much less; the label says so. Small images of stride 1 stay sharp."""
    e = explanation(size=(32, 48), stride=stride)
    assert chosen_sigma(e, None) == chosen_sigma(e, True) == sigma
    found, sharp = pixel_map(e, None), pixel_map(e, 0)
    assert found.values.sum() == pytest.approx(float(e.pixel[0].sum()), rel=1e-5)
    np.testing.assert_allclose(found.values, blurred(sharp.values, sigma))
    assert ("blurred" in found.label) is bool(sigma)
    assert "blurred" not in sharp.label
    place = filter_map(e, "kernel_1", None, None, None)
    np.testing.assert_allclose(
        place.values, blurred(e.response[0, :, 1].sum(0).double().numpy(), min(sigma, 1)), atol=1e-6
    )
    if sigma:
        assert f"; blurred by {sigma:g} pixels, sums kept" in found.label


@pytest.mark.parametrize(("bank", "sigma"), [("walsh_4", 2.0), ("dct_7", 4.0)])
def test_patches_side_by_side_need_half_of_it(bank, sigma):
    """Their grid has a period of one stride, that of overlapping kernels of two."""
    window = window_of_layer(EdgeFilterBank2d(bank, 3, stride=4, padding=2), (32, 32))
    assert chosen_sigma(explanation(size=(32, 32), stride=4, window=window), None) == sigma


def test_the_stride_is_read_from_the_window_where_there_are_no_pixels():
    window = window_of_layer(EdgeFilterBank2d("sobel", 3, stride=2, padding=1), (24, 24))
    e = explanation(pixel=False)
    assert chosen_sigma(e, None) == 0
    assert chosen_sigma(dataclasses.replace(e, window=window), None) == 2


@pytest.mark.parametrize("smooth", [-1, float("nan"), float("inf"), "2", torch.ones(2)])
def test_other_blurs_are_refused(smooth):
    with pytest.raises(
        ValueError,
        match=r"smooth must be a standard deviation in pixels from 0, or None; got .*\. Pass for example smooth=2",
    ):
        chosen_sigma(explanation(), smooth)
