"""The maps of methods side by side, in rows that fit the width."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drawings import faults
from edgefilter.plots import plot_comparison

METHODS = ("edgefilter", "saliency", "gradient_x_activation", "guided_backprop", "occlusion")


@pytest.mark.parametrize("width", [None, "page", "column"])
@pytest.mark.parametrize("methods", [1, 5])
@pytest.mark.parametrize("size", [(24, 24), (16, 60), (60, 16)])
def test_every_width_has_all_maps(width, methods, size):
    """Each with its name where rows are broken, and one scale for all."""
    maps = {name: torch.randn(2, *size) for name in METHODS[:methods]}
    figure = plot_comparison(maps, [torch.rand(3, *size)] * 2, width=width, title="Methods")
    assert faults(figure) == []
    assert len(figure.axes) == 2 * (methods + 1)
    named = [axes.get_title().replace("\n", " ") for axes in figure.axes if axes.get_title()]
    assert named[: methods + 1] == ["image", *(name.replace("_", " ") for name in METHODS[:methods])]
    scales = [scale for axes in figure.axes for scale in axes.child_axes]
    assert [scale.get_xlabel().replace("\n", " ") for scale in scales] == [
        "share of the largest value of each map"
    ]


def test_a_map_is_drawn_in_shares_of_its_largest_value():
    """The 99.5th percentile of its sizes; zero stays zero."""
    values = torch.linspace(-5, 1, 24 * 24).reshape(1, 24, 24)
    shown = plot_comparison({"mine": values, "none": 0 * values}, [np.zeros((24, 24))]).axes[1:]
    np.testing.assert_allclose(
        shown[0].images[0].get_array(),
        values[0].numpy() / np.percentile(np.abs(values.numpy()), 99.5),
        rtol=1e-6,
    )
    assert [text.get_text() for text in shown[1].texts] == ["no relevance"]


@pytest.mark.parametrize("width", [None, "column"])
def test_controls_have_a_mark_and_a_caption(width):
    """What the mark stands for is written once for each kind; others have none."""
    maps = {
        name: torch.randn(1, 24, 24) for name in ("saliency", "sobel", "random", "guided_nonlinearity_ig")
    }
    kinds = {
        "sobel": "Control",
        "random": "Control",
        "guided_nonlinearity_ig": "Negative control",
        "absent": "Control",
    }
    figure = plot_comparison(maps, [torch.rand(3, 24, 24)], controls=kinds, width=width)
    assert faults(figure) == []
    named = [axes.get_title().replace("\n", " ") for axes in figure.axes]
    assert named == ["image", "saliency", "sobel †", "random †", "guided nonlinearity ig †"]
    (caption,) = figure.texts
    said = caption.get_text().replace("\n", " ")
    assert said == "† Control: sobel, random. † Negative control: guided nonlinearity ig."
    assert plot_comparison(maps, [torch.rand(3, 24, 24)]).texts == []
