"""Shifts in front of the bank, and sums that a normalization with a shift reads."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from edgefilter import EdgeFilterAttribution
from edgefilter.errors import UnsupportedModelError
from epsilon_oracle import input_times_gradient
from small_models import Middle, assert_same_scores, explain, pictures, seeded

COLORS = torch.tensor([[0.3, 0.6, 0.1], [-0.2, 0.5, 0.4], [0.7, -0.3, 0.2]], dtype=torch.float64)


class Converting(Middle):
    """Converts the colors of the image before the stem."""

    def __init__(self, convert):
        super().__init__()
        self.convert = convert

    def forward(self, x):
        return super().forward(self.convert(x))


def by_matrix(x):
    return (x.permute(0, 2, 3, 1) @ COLORS - 0.3).permute(0, 3, 1, 2)


def twice(x):
    return torch.einsum("oc,nchw->nohw", COLORS, by_matrix(x)) + 0.5


def by_hand(x):
    red, green, blue = x.unbind(1)
    return torch.stack([0.3 * red + 0.6 * green + 0.1 * blue - 0.2, red - green + 0.5, blue - 0.1], 1)


@pytest.mark.filterwarnings("ignore:color scores should")
@pytest.mark.parametrize("convert", [by_matrix, twice, by_hand])
def test_a_shift_of_mixed_colors_keeps_its_share_under_epsilon(convert):
    model, images = seeded(Converting, convert), pictures()
    wanted, _ = input_times_gradient(model, images, 0)
    found = explain(model, images, composite="epsilon")
    torch.testing.assert_close(found.pixel, wanted, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.color, wanted.sum((2, 3)), rtol=0, atol=1e-10)


def normalized_then_mixed(x):
    scaled = (x - 0.4) / torch.tensor([0.2, 0.3, 0.25], dtype=x.dtype)[:, None, None]
    return torch.einsum("oc,nchw->nohw", COLORS.to(x), scaled)


@pytest.mark.parametrize("calibrate", [True, False])
@pytest.mark.parametrize("convert", [by_matrix, twice, by_hand, normalized_then_mixed])
def test_pixels_add_up_where_channels_are_shifted_before_they_meet(convert, calibrate):
    """What a shift gives to the channels of another color is nothing of this one."""
    model = seeded(Converting, convert)
    found = EdgeFilterAttribution(model, calibrate=calibrate).explain(pictures(), 0)
    torch.testing.assert_close(found.pixel.sum((2, 3)), found.color, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.base + found.color.sum(1), found.output, rtol=0, atol=1e-10)


def test_a_sum_that_a_normalization_reads_shares_by_its_positive_summands():
    """All of it goes to the summand that is positive everywhere, as if the other one were a constant."""
    channels = torch.linspace(0.5, 2.0, 8, dtype=torch.float64)

    def normalized(h, *, held):
        first, second = F.relu(h) + 1.0, F.relu(h.flip(2)) * -0.9
        total = first + (second.detach() if held else second)
        return F.batch_norm(total, channels - 1, channels, channels, 1 - channels)

    found, wanted = (
        explain(seeded(Middle, lambda h, held=held: normalized(h, held=held)), pictures())
        for held in (False, True)
    )
    assert_same_scores(found, wanted)


def test_real_is_the_tensor_itself():
    images = pictures()
    found, wanted = (explain(seeded(Middle, function), images) for function in (lambda h: h.real, None))
    assert_same_scores(found, wanted)


def test_properties_are_refused_by_their_names():
    with pytest.raises(UnsupportedModelError, match=r"Tensor\.data"):
        explain(seeded(Middle, lambda h: setattr(h, "data", h * 2) or h), pictures())
