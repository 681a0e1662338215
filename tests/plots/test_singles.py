"""Single panels, on axes of one's own or in a figure of their own."""

from __future__ import annotations

import dataclasses

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import edgefilter as ef
from drawings import bars, explanation, faults, measured, titles
from edgefilter import plots

BANK = ef.complete_bank(3)
PANELS = {
    "pixels": plots.plot_pixels,
    "colors": plots.plot_colors,
    "filters": plots.plot_filters,
    "groups": lambda e, **options: plots.plot_groups(e, "order", **options),
    "map": lambda e, **options: plots.plot_filter_map(e, "edge_x", **options),
    "orders": plots.plot_orders,
}


@pytest.fixture
def e():
    groups = {kind: BANK.groups(kind) for kind in ("order", "orientation")}
    found = explanation(bank=BANK, groups=groups)
    return dataclasses.replace(found, effects=1.2 * found.color)


@pytest.mark.parametrize("panel", PANELS)
@pytest.mark.parametrize("width", [None, "page", "column", 2.5])
def test_a_panel_is_a_figure_of_its_own(e, panel, width):
    figure = PANELS[panel](e, width=width, dpi=77, title="A title")
    assert figure.dpi == 77
    assert titles(figure) == ["A title"]
    assert faults(figure) == []
    if width is not None:
        assert figure.get_size_inches()[0] == {"page": 7.2, "column": 3.5}.get(width, width)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_is_drawn_on_given_axes(e, panel):
    """Its figure comes back, and nothing is added to it but what belongs to these axes."""
    figure = Figure(figsize=(9, 4))
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    assert PANELS[panel](e, ax=right) is figure
    assert figure.axes == [left, right]
    assert left.get_title(loc="left") == ""
    assert right.get_title(loc="left")
    figure.canvas.draw()


def test_an_explanation_on_axes_is_its_pixel_map(e):
    figure = Figure()
    axes = figure.add_subplot()
    assert e.plot(ax=axes) is figure
    np.testing.assert_allclose(axes.images[0].get_array().sum(), float(e.pixel[0].sum()), rtol=1e-4)
    assert axes.get_title(loc="left") == "Relevance by pixel"
    without = explanation(pixel=False)
    with pytest.raises(
        ValueError, match=r"explanation must hold relevance by pixel for a pixel map; got pixel=None\."
    ):
        without.plot(ax=axes)


def test_pyplot_shows_no_figure_of_ours(e):
    plt = pytest.importorskip("matplotlib.pyplot")
    before = plt.get_fignums()
    for panel in PANELS.values():
        panel(e)
    assert plt.get_fignums() == before


def test_zero_is_the_middle_color_of_every_map(e):
    for figure in (plots.plot_pixels(e), plots.plot_filter_map(e, "edge_x")):
        shown = figure.axes[0].images[0]
        assert shown.norm.vmin == -shown.norm.vmax
        assert mpl.colors.to_hex(shown.cmap(shown.norm(0.0))) == "#ffffff"


def test_where_a_map_speaks_against_the_output_it_is_hatched():
    """So that the sign is seen in gray; a map for the output is not."""
    e = explanation(1, 1, (32, 32))
    e.pixel[...] = 1.0
    assert list(plots.plot_pixels(e).axes[0].collections) == []
    e.pixel[..., :16] = -1.0
    (hatch,) = plots.plot_pixels(e).axes[0].collections
    (path,) = hatch.get_paths()
    assert hatch.hatches == ["///"]
    assert path.contains_point((4, 16))
    assert not path.contains_point((28, 16))


def test_groups_are_sums_with_the_kernels_of_their_largest_filters(e):
    figure = plots.plot_groups(e, "order", BANK)
    found = bars(figure.axes[0])
    scores = dict(zip(e.filters, e.edge[0].tolist(), strict=True))
    for name, members in BANK.groups("order").items():
        assert found[f"{name} ({len(members)})"] == pytest.approx(
            sum(scores[one] for one in members), rel=1e-4
        )
    own = plots.plot_groups(e, {"first": e.filters[:4], "rest": e.filters[4:]})
    assert sum(bars(own.axes[0]).values()) == pytest.approx(float(e.total[0]), rel=1e-4)


def test_one_filter_is_found_by_name_or_label(e):
    for name in ("dx1_dy0", "edge_x"):
        assert titles(plots.plot_filter_map(e, name, bank=BANK)) == ["edge x"]
    with pytest.raises(KeyError, match="unknown filter 'edge_z'"):
        plots.plot_filter_map(e, "edge_z")


@pytest.mark.parametrize("panel", PANELS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": "poster"}, r"width must be 'column' \(3.5 inches\), 'page' \(7.2\), or inches from 2 to 50; got 'poster'\. Leave it out"),
        ({"width": 0.5}, r"width must be .*; got 0.5"),
        ({"width": True}, r"width must be .*; got True"),
        ({"dpi": 0}, r"dpi must be a number from 1 to 2400; got 0\. Pass for example dpi=300\."),
        ({"dpi": "high"}, r"dpi must be .*; got 'high'"),
    ],
)  # fmt: skip
def test_wrong_sizes_are_refused(e, panel, options, message):
    with pytest.raises(ValueError, match=message):
        PANELS[panel](e, **options)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match=r"explanation must hold an image; got a batch of none\."):
        plots.plot_colors(explanation(images=0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_said(value):
    """They are neither zero nor the end of the scale."""
    e = explanation()
    e.response[0, 1] = value
    e.pixel[0, :, 3:9, 3:9] = value
    figure = e.plot(smooth=0)
    assert faults(figure) == []
    notes = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "some values are not finite" in notes
    assert any(note in ("nan", "inf", "+inf") for note in notes)
    nothing = dataclasses.replace(
        e, response=torch.full_like(e.response, value), pixel=torch.full_like(e.pixel, value)
    )
    assert faults(nothing.plot()) == []


def test_a_score_that_is_doubted_has_a_mark_in_its_own_panel():
    assert [text.get_text() for text in plots.plot_colors(measured()).axes[0].texts][
        1
    ] == "\N{MINUS SIGN}2.00 !"


@pytest.mark.parametrize("panel", PANELS)
@pytest.mark.parametrize("axes", [3, "left", np.zeros(2)])
def test_what_is_no_axes_is_refused(e, panel, axes):
    with pytest.raises(
        TypeError, match=r"ax must be axes of matplotlib; got .*\. Pass for example figure\.add_subplot\(\)\."
    ):
        PANELS[panel](e, ax=axes)


def test_a_single_name_is_no_list_of_classes(e):
    with pytest.raises(
        ValueError,
        match=r"classes must be a sequence of names; got 'cat'\. Pass one name for each output, in a list\.",
    ):
        e.plot(classes="cat")
    with pytest.raises(
        ValueError, match=r"classes must have a name for each output; got 2, but output 3 is drawn"
    ):
        e.plot(classes=["cat", "dog"], title="mine")


@pytest.mark.parametrize("panel", PANELS)
@pytest.mark.parametrize(
    "thing", ["cat", BANK, None, torch.ones(1, 3, 4, 4)], ids=["text", "bank", "none", "tensor"]
)
def test_what_is_no_explanation_is_refused(panel, thing):
    with pytest.raises(TypeError, match=r"explanation must be an Explanation; got \w+\. Pass what explain"):
        PANELS[panel](thing)


@pytest.mark.parametrize("panel", PANELS)
def test_a_title_may_be_a_number(e, panel):
    assert titles(PANELS[panel](e, title=7)) == ["7"]
