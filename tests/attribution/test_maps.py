"""One map for each image: the colors summed, one sign or both, blurred, in units of the output or of the largest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from edgefilter.attribution.explanation import Explanation
from edgefilter.attribution.maps import STRIDE_SIGMA, blurred

COLORS, FILTERS = ("red", "green", "blue"), ("sobel_x", "sobel_y")


@pytest.fixture
def explanation(generator):
    response = torch.randn(2, 3, 2, 4, 5, generator=generator, dtype=torch.float64)
    pixel = torch.randn(2, 3, 20, 30, generator=generator, dtype=torch.float64)
    return Explanation(response, pixel, torch.ones(2).double(), (0, 1), COLORS, FILTERS)


def test_maps_are_sums_over_the_colors_with_one_sign_or_both(explanation):
    signed = explanation.pixel.numpy().sum(1)
    assert_close(explanation.map("signed").numpy(), signed)
    assert_close(explanation.map("absolute").numpy(), np.abs(signed))
    assert_close(explanation.map("positive").numpy(), np.maximum(signed, 0))
    assert torch.equal(explanation.map(), explanation.map("positive"))
    assert_close(explanation.map("signed").sum((1, 2)), explanation.pixel.sum((1, 2, 3)))


@pytest.mark.parametrize(("kind", "low"), [("positive", 0.0), ("absolute", 0.0), ("signed", -1.0)])
@pytest.mark.parametrize("smooth", [None, 2.0])
def test_normalized_maps_reach_one_in_each_image(explanation, kind, low, smooth):
    values = explanation.map(kind, smooth=smooth, normalize=True)
    assert float(values.min()) >= low
    assert values.abs().amax((1, 2)).tolist() == pytest.approx([1.0, 1.0])
    plain = explanation.map(kind, smooth=smooth)
    assert_close(values * plain.abs().amax((1, 2))[:, None, None], plain)


def test_a_map_without_relevance_stays_nothing(explanation):
    black = Explanation(
        explanation.response * 0, explanation.pixel * 0, torch.zeros(2).double(), (0, 1), COLORS, FILTERS
    )
    for kind in ("positive", "absolute", "signed"):
        assert not black.map(kind, normalize=True, smooth=True).any()


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.3, 16.0, 40.0])
def test_the_blur_is_that_of_scipy(generator, sigma):
    """Mirrored at the borders, so that sums and constants stay, however wide it is."""
    ndimage = pytest.importorskip("scipy.ndimage")
    values = torch.rand(2, 17, 23, generator=generator, dtype=torch.float64)
    found = blurred(values, sigma)
    expected = [ndimage.gaussian_filter(one, sigma, mode="reflect", truncate=6.0) for one in values.numpy()]
    np.testing.assert_allclose(found.numpy(), np.stack(expected), rtol=0, atol=1e-9)
    assert_close(found.sum((1, 2)), values.sum((1, 2)))
    assert_close(blurred(torch.full((1, 9, 4), 0.7).double(), sigma), torch.full((1, 9, 4), 0.7).double())


def test_the_blur_comes_before_the_sign_is_taken(explanation):
    signed = explanation.map("signed", smooth=1.5)
    assert_close(signed, blurred(explanation.pixel.sum(1), 1.5))
    assert_close(explanation.map("positive", smooth=1.5), signed.clamp(min=0))
    assert_close(explanation.map("absolute", smooth=1.5), signed.abs())
    assert_close(signed.sum((1, 2)), explanation.pixel.sum((1, 2, 3)))


def test_true_is_half_the_usual_stride_and_false_and_zero_are_none(explanation):
    assert torch.equal(explanation.map(smooth=True), explanation.map(smooth=STRIDE_SIGMA))
    assert torch.equal(explanation.map(smooth=np.float32(2)), explanation.map(smooth=2))
    for nothing in (None, False, 0, 0.0):
        assert torch.equal(explanation.map(smooth=nothing), explanation.map())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_keep_their_type(explanation, dtype):
    one = Explanation(
        explanation.response.to(dtype), explanation.pixel.to(dtype), torch.ones(2, dtype=dtype), (0, 1), COLORS, FILTERS
    )  # fmt: skip
    assert one.map("signed", smooth=2, normalize=True).dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "postive"}, r"kind must be one of positive, signed, absolute; got 'postive'; did you mean 'positive'\?"),
        ({"kind": None}, "kind must be one of"),
        ({"smooth": -1}, r"smooth must be a standard deviation in pixels, True, or None; got -1\. Pass for example smooth=8\."),
        ({"smooth": "stride"}, "smooth must be"),
        ({"smooth": float("nan")}, "smooth must be"),
        ({"smooth": float("inf")}, "smooth must be"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(explanation, arguments, message):
    with pytest.raises(ValueError, match=message):
        explanation.map(**arguments)


def test_without_pixels_there_is_no_map(explanation):
    bare = Explanation(explanation.response, None, torch.ones(2).double(), (0, 1), COLORS, FILTERS)
    with pytest.raises(
        ValueError, match=r"explanation must hold relevance by pixel for a map; got pixel=None"
    ):
        bare.map()
