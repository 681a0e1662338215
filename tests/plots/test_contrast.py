"""Why this class and not that one: three maps and bars that can be compared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import edgefilter as ef
from drawings import bars, explanation, faults, titled, titles
from edgefilter.plots import plot_contrast

BANK = ef.complete_bank(3)
NAMES = ["a", "saxophone, sax", "c", "violin, fiddle"]


def two(factor=0.5, **options):
    """Return explanations of two classes; the second is a share of the first, and a little of its own."""
    this = explanation(bank=BANK, **options)
    this = dataclasses.replace(this, effects=this.color, target=(3,) * len(this))
    rest = explanation(bank=BANK, **options | {"scale": 0.01})
    changed = {
        name: factor * getattr(this, name) + getattr(rest, name) for name in ("response", "pixel", "output")
    }
    return this, dataclasses.replace(this, target=(1,) * len(this), effects=factor * this.effects, **changed)


@pytest.mark.parametrize("width", [None, "page", "column"])
@pytest.mark.parametrize("colors", [1, 3, 13])
def test_every_width_has_all_panels(width, colors):
    this, that = two(colors=colors)
    figure = plot_contrast(this, that, None, np.zeros((24, 24, 3)), classes=NAMES, bank=BANK, width=width)
    assert faults(figure) == []
    assert len(figure.axes) == 10
    assert figure.get_suptitle().replace("\n", " ").startswith("violin, fiddle minus saxophone, sax: ")
    assert [title for title in titles(figure) if "difference" in title][1:] == [
        "Colors: difference",
        "Filters: difference",
    ]


def test_both_classes_have_one_scale_and_the_difference_a_part_of_it():
    """A faint one is drawn on a round part of the scale, and says so."""
    for factor, part in ((0.6, 2), (0.93, 10), (0.0, 1)):
        this, that = two(factor)
        figure = plot_contrast(this, that, smooth=0)
        one, other, rest = (axes.images[0] for axes in figure.axes[:3])
        assert one.norm.vmax == other.norm.vmax == pytest.approx(part * rest.norm.vmax)
        np.testing.assert_allclose(rest.get_array(), (this.pixel - that.pixel)[0].sum(0), atol=1e-5)
        words = figure.axes[2].child_axes[0].get_xlabel().replace("\n", " ")
        assert words.startswith("on the scale" if part == 1 else f"1/{part} of the scale of the classes; ")
        assert np.abs(rest.get_array()).max() > 0.3 * rest.norm.vmax


def test_bars_have_one_axis_and_one_order():
    """Filters are sorted by the size of their difference."""
    this, that = two()
    figure = plot_contrast(this, that, classes=NAMES)
    for what in ("Colors", "Filters"):
        panels = [titled(figure, f"{what}: {name}") for name in (NAMES[3], NAMES[1], "difference")]
        assert len({axes.get_xlim() for axes in panels}) == 1
        found = [bars(axes) for axes in panels]
        assert list(found[0]) == list(found[1]) == list(found[2])
        for name, value in found[2].items():
            assert value == pytest.approx(found[0][name] - found[1][name], abs=1e-3)
    sizes = np.abs(list(found[2].values()))[:-1]
    assert (np.diff(sizes) <= 0).all()


def test_a_difference_that_was_explained_is_taken_as_it_is():
    this, that = two()
    own = dataclasses.replace(this - that, base=this.base + 5, left_out="softmax")
    assert "before the final softmax" in plot_contrast(this, that, own).get_suptitle()


def test_a_batch_shows_its_first_image():
    this, that = two(images=2)
    assert len(plot_contrast(this, that).axes) == 9
    with pytest.raises(ValueError, match="must be of the same images, colors and filters"):
        plot_contrast(this, explanation(2, 9))
