"""Blurred maps: the same scores, and the Gaussian of SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import edgefilter as ef
from edgefilter.attribution.smoothing import smoothed

scipy_ndimage = pytest.importorskip("scipy.ndimage")


@pytest.fixture
def sharp():
    random = torch.Generator().manual_seed(0)
    response = torch.randn(2, 3, 2, 8, 10, generator=random, dtype=torch.float64)
    pixel = torch.randn(2, 3, 16, 20, generator=random, dtype=torch.float64)
    return ef.Explanation(response, pixel, response.sum((1, 2, 3, 4)), (0, 1), ("r", "g", "b"), ("x", "y"))


def test_scores_and_sums_stay(sharp):
    """As nothing leaves an image at its border."""
    smooth = smoothed(sharp, 3.0)
    for name in ("color", "edge", "color_edge", "total", "output"):
        torch.testing.assert_close(getattr(smooth, name), getattr(sharp, name), rtol=0, atol=1e-12)
    torch.testing.assert_close(smooth.pixel.sum((2, 3)), sharp.pixel.sum((2, 3)), rtol=0, atol=1e-12)
    assert smooth.pixel.abs().sum() < sharp.pixel.abs().sum()


def test_maps_are_those_of_another_library(sharp):
    """By pixel as wide as asked for, at the stem half as wide where its maps are half as large."""
    smooth = smoothed(sharp, 2.0)
    for found, given, sigma in ((smooth.pixel, sharp.pixel, 2.0), (smooth.response, sharp.response, 1.0)):
        wanted = scipy_ndimage.gaussian_filter(
            given.numpy(), (0,) * (given.dim() - 2) + (sigma, sigma), truncate=6.0
        )
        np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-9)


def test_without_pixels_the_stem_alone_is_blurred(sharp):
    import dataclasses

    smooth = smoothed(dataclasses.replace(sharp, pixel=None), 1.0)
    assert smooth.pixel is None
    assert (smooth.response != sharp.response).any()
