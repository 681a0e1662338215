"""Class profiles on every width: names, bars and numbers stand apart."""

from __future__ import annotations

import pytest
import torch

import edgefilter as ef
from drawings import explanation, faults
from edgefilter.plots import plot_class_maps, plot_profile

NAMES = ["owl", "German shepherd, German police dog", "$5 and 10$", "cat"]


def profile(colors):
    e = explanation(colors, 9, images=8)
    found = ef.ClassProfile(4, e.colors, e.filters, class_names=NAMES, pixel_size=24)
    found.update(e, torch.tensor([0, 1, 2, 3] * 2))
    return found


@pytest.mark.parametrize("width", [None, "page", "column", 4.5])
@pytest.mark.parametrize("colors", [1, 3, 13, 60])
def test_every_width_has_both_panels(width, colors):
    figure, axes = plot_profile(profile(colors), width=width, dpi=90, title="A title")
    assert figure.dpi == 90
    assert faults(figure) == []
    assert len(axes) == (1 if colors == 1 else 2)
    assert figure.get_suptitle() == "A title"
    for panel in axes[:1]:
        assert len(panel.get_yticklabels()) == 4


@pytest.mark.parametrize("width", [None, "page", "column"])
def test_mean_maps_fit_every_width(width):
    figure = plot_class_maps(profile(3), width=width, title="Means")
    assert faults(figure) == []
    assert len(figure.axes) == 4
    (scale,) = [scale for axes in figure.axes for scale in axes.child_axes]
    assert scale.get_xlabel().startswith("mean share of a pixel")
