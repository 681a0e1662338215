"""Kernels and their responses, with signs that are seen without color."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import edgefilter as ef
from drawings import faults, titles
from edgefilter.plots.kernels import plot_kernels, plot_responses


@pytest.mark.parametrize("width", [None, "page", "column"])
@pytest.mark.parametrize(
    "bank", [ef.get_bank("edges"), ef.complete_bank(7), ef.complete_bank((1, 5)), ef.complete_bank((5, 1))]
)
def test_every_bank_fits_every_width(bank, width):
    figure = plot_kernels(bank, width=width)
    assert faults(figure) == []
    assert len(figure.axes) == len(bank)


def test_kernels_are_drawn_with_their_numbers():
    axes = plot_kernels(ef.get_bank("sobel")).axes
    assert [a.get_title() for a in axes] == ["sobel x", "sobel y"]
    assert [t.get_text() for t in axes[0].texts] == ["-1", "0", "1", "-2", "0", "2", "-1", "0", "1"]


def test_negative_weights_have_a_mark_where_there_is_no_number():
    (axes,) = plot_kernels(["gauss_x_7x7_s1"]).axes
    marked = {(int(line.get_ydata()[0]), int(line.get_xdata()[0])) for line in axes.lines}
    assert marked == {tuple(place) for place in np.argwhere(ef.get_kernel("gauss_x_7x7_s1").weight < 0)}


def test_kernels_with_the_same_words_show_their_names():
    axes = plot_kernels(["gram3_dx1_dy0", "gram5_dx1_dy0"]).axes
    assert [a.get_title() for a in axes] == ["gram3 dx1 dy0", "gram5 dx1 dy0"]


@pytest.mark.parametrize("name", ["sobel_x", "gabor7_t45_odd", "roberts_d45", "laplacian_4"])
def test_a_response_is_that_of_scipy(name):
    """Correlated, not convolved, and mirrored at the border."""
    ndimage = pytest.importorskip("scipy.ndimage")
    gray = np.random.default_rng(0).random((20, 30))
    weight = ef.get_kernel(name).weight
    axes = plot_responses([name], gray).axes[1]
    origin = [
        -1 if size % 2 == 0 else 0 for size in weight.shape
    ]  # SciPy puts the middle of an even kernel one further
    wanted = ndimage.correlate(gray, weight, mode="reflect", origin=origin)
    np.testing.assert_allclose(axes.images[0].get_array(), wanted, atol=1e-12)


@pytest.mark.parametrize("width", [None, "page", "column"])
def test_a_photo_with_the_responses_of_a_bank(width):
    figure = plot_responses(ef.get_bank("gabor7"), torch.rand(3, 40, 60), width=width, title="Gabor")
    assert faults(figure) == []
    assert titles(figure)[:2] == ["photo", "gabor7 t0 even"]
    assert figure.get_suptitle() == "Gabor"
    assert len(figure.axes) == 9


def test_no_kernels_and_no_picture_are_refused():
    with pytest.raises(ValueError, match="kernels must not be empty"):
        plot_kernels([])
    with pytest.raises(ValueError, match="image must have values from 0 to 1"):
        plot_responses(["sobel_x"], np.full((8, 8), 3.0))
    with pytest.raises(KeyError, match="sobel_x"):
        plot_kernels(["sobell_x"])


@pytest.mark.parametrize(
    ("kernels", "count"),
    [("sobel", 2), ("sobel_x", 1), (ef.get_kernel("sobel_x"), 1)],
    ids=["bank", "name", "kernel"],
)
def test_one_kernel_or_the_name_of_a_bank_is_drawn(kernels, count):
    assert len(plot_kernels(kernels).axes) == count
