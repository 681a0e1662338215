"""Figures in dark and in light, in print and for readers who do not see red or green, and what their files hold."""

from __future__ import annotations

import dataclasses
import re

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import edgefilter as ef
from drawings import explanation, faults, texts_of
from edgefilter import plots
from edgefilter.plots.style import OWN, SIGNED, SIGNED_ON_BLACK, Look, brightness, ink_on, signed_colormap

BANK = ef.complete_bank(3)
DARK = "dark_background"

# Vienot, Brettel & Mollon 1999, linear RGB of the colors that a reader without green cones, or without red ones, sees alike.
WITHOUT_GREEN = np.array(
    [[0.29275, 0.70725, -0.02234], [0.29275, 0.70725, 0.02234], [-0.02234, 0.02234, 1.0]]
)
WITHOUT_RED = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])


@pytest.fixture
def e():
    found = explanation(bank=BANK, groups={kind: BANK.groups(kind) for kind in ("order", "orientation")})
    return dataclasses.replace(found, effects=found.color, inputs=torch.rand(1, 3, 24, 24))


def every_figure(e):
    """Return a figure of each kind."""
    maps = {"mine": e.pixel.sum(1), "theirs": -e.pixel.sum(1)}
    profile = ef.ClassProfile(2, e.colors, e.filters, pixel_size=24)
    profile.update(e, torch.tensor([1]))
    return {
        "explanation": e.plot(bank=BANK),
        "batch": plots.plot_batch([e, e]),
        "contrast": plots.plot_contrast(
            e, dataclasses.replace(e, response=0.5 * e.response, pixel=0.5 * e.pixel)
        ),
        "orders": plots.plot_orders(e, BANK),
        "kernels": plots.plot_kernels(BANK),
        "responses": plots.plot_responses(BANK, torch.rand(24, 24)),
        "comparison": plots.plot_comparison(maps, [torch.rand(3, 24, 24)]),
        "profile": plots.plot_profile(profile)[0],
        "maps": plots.plot_class_maps(profile),
    }


@pytest.mark.parametrize("name", ["batch", "contrast", "kernels", "responses", "comparison", "maps"])
def test_figures_of_many_panels_fit_the_place_of_given_axes(e, name):
    """The axes stay, empty; their panels lie where they were."""
    profile = ef.ClassProfile(2, e.colors, e.filters, pixel_size=24)
    profile.update(e, torch.tensor([1]))
    draw = {
        "batch": lambda ax: plots.plot_batch([e, e], ax=ax),
        "contrast": lambda ax: plots.plot_contrast(e, e, ax=ax),
        "kernels": lambda ax: plots.plot_kernels(BANK, ax=ax),
        "responses": lambda ax: plots.plot_responses(BANK, torch.rand(24, 24), ax=ax),
        "comparison": lambda ax: plots.plot_comparison({"mine": e.pixel.sum(1)}, [torch.rand(24, 24)], ax=ax),
        "maps": lambda ax: plots.plot_class_maps(profile, ax=ax),
    }[name]
    figure = Figure(figsize=(14, 12))
    _, right = figure.subplots(1, 2)
    assert draw(right) is figure
    figure.canvas.draw()
    place = right.get_position()
    assert len(figure.axes) > 2
    for axes in figure.axes[2:]:
        inner = axes.get_position()
        assert inner.x0 >= place.x0 - 1e-6
        assert inner.x1 <= place.x1 + 1e-6
        assert inner.y0 >= place.y0 - 1e-6
        assert inner.y1 <= place.y1 + 1e-6
    with pytest.raises(TypeError, match="ax must be axes of matplotlib; got 3"):
        draw(3)


def contrast(one, other):
    """Return the contrast ratio of two colors, as WCAG 2 defines it."""
    lights = []
    for color in (one, other):
        linear = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(color)
        ]
        lights.append(np.dot(linear, (0.2126, 0.7152, 0.0722)) + 0.05)
    return max(lights) / min(lights)


@pytest.mark.parametrize("style", ["default", DARK])
def test_ink_and_ground_are_those_of_the_settings(e, style):
    """All letters can be read, on the ground of the figure or on what lies behind them."""
    with mpl.style.context(style):
        ground = mpl.rcParams["figure.facecolor"]
        for name, figure in every_figure(e).items():
            assert figure.get_facecolor() == mpl.colors.to_rgba(ground)
            assert faults(figure) == [], name
            for text in figure.findobj(Text):
                inside = name in ("kernels", "orders", "profile") and text in (
                    text.axes.texts if text.axes else ()
                )
                if text.get_text().strip() and not inside:
                    assert contrast(text.get_color(), ground) > 4.5, (name, text.get_text())


def test_zero_is_the_ground_in_the_dark(e):
    """White in a light figure, black in a dark one, and the ends are far from it."""
    for style, zero in (("default", "#ffffff"), (DARK, "#000000")):
        with mpl.style.context(style):
            shown = plots.plot_pixels(e).axes[0].images[0]
            assert mpl.colors.to_hex(shown.cmap(shown.norm(0.0))) == zero
            for end in (shown.norm.vmin, shown.norm.vmax):
                assert contrast(shown.cmap(shown.norm(end))[:3], zero) > 7


def test_numbers_on_colors_can_be_read(e):
    """In cells of tables, and in kernels."""
    for style in ("default", DARK):
        with mpl.style.context(style):
            paint = Look.of(12).colormap
            for value in np.linspace(0, 1, 41):
                behind = paint(value)[:3]
                assert contrast(ink_on(behind), behind) > 4.5, value


@pytest.mark.parametrize("eyes", [WITHOUT_GREEN, WITHOUT_RED])
@pytest.mark.parametrize("dark", [False, True])
def test_for_and_against_are_told_apart_without_red_or_green_cones(eyes, dark):
    """From 30 % of the scale on, the two signs differ by a quarter of the range of a channel at least."""
    paint = signed_colormap(dark=dark)
    strengths = np.linspace(0.3, 1, 8)
    seen = [
        np.clip((np.array(paint(0.5 + sign * strengths / 2))[:, :3] ** 2.2) @ eyes.T, 0, 1) ** (1 / 2.2)
        for sign in (1, -1)
    ]
    apart = np.abs(seen[0] - seen[1]).max(1)
    assert apart.min() > 0.25


def test_size_is_seen_in_gray():
    """Further from zero is further from the ground, on both sides; the sign is told by hatching, position and numbers."""
    for dark, steps in ((False, -1), (True, 1)):
        paint = signed_colormap(dark=dark)
        for sign in (1, -1):
            grays = [brightness(paint(0.5 + sign * strength / 2)) for strength in np.linspace(0, 1, 21)]
            assert (steps * np.diff(grays) > 0).all()
    assert len(SIGNED) == len(SIGNED_ON_BLACK) == 11


def test_colors_have_names_beside_their_bars(e):
    """And in legends a hatching of their own, as red, green and blue are alike in gray."""
    labels = [label.get_text() for label in plots.plot_colors(e).axes[0].get_yticklabels()]
    assert labels == ["red", "green", "blue"]
    assert set(labels) <= set(OWN)
    figure = every_figure(e)["profile"]
    hatches = [
        container.patches[0].get_hatch()
        for container in figure.axes[0].containers
        if hasattr(container, "patches")
    ]
    assert len(set(hatches)) == 3


def test_words_with_dollars_are_no_formulas(e):
    """Nor are names of classes that have them."""
    figure = e.plot(classes=["a", "b", "c", "$5 and 10$ notes_$\\frac$"])
    assert "$5 and 10$" in figure.get_suptitle()
    assert faults(figure) == []


# --- files ----------------------------------------------------------------------------------------------------


def test_files_hold_the_summary_as_words(e, tmp_path):
    """As the description of PNG, SVG and PDF; the caption shows it, without its lines on filters."""
    names = ["a", "b", "c", "saxophone"]
    figure = e.plot(classes=names)
    words = e.summary(0, names)
    assert figure.alt == words
    for suffix in ("png", "svg", "pdf"):
        figure.savefig(tmp_path / f"x.{suffix}")
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.info["Description"] == words
        assert picture.info["Title"] == figure.get_suptitle()
    svg = (tmp_path / "x.svg").read_text()
    assert words.split("\n")[0] in svg.replace("\n", " ")
    assert re.search(r"<text[^>]*>Relevance by color</text>", svg)
    pdf = (tmp_path / "x.pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"saxophone" in pdf or b"s\x00a\x00x" in pdf or b"\x00s\x00a\x00x" in pdf


def test_other_metadata_and_files_stay_possible(e, tmp_path):
    figure = e.plot()
    figure.savefig(tmp_path / "x.png", metadata={"Author": "me", "Title": "mine"})
    with Image.open(tmp_path / "x.png") as picture:
        assert (picture.info["Author"], picture.info["Title"]) == ("me", "mine")
        assert picture.info["Description"]
    with (tmp_path / "x.jpg").open("wb") as file:
        figure.savefig(file, format="jpg")
    with Image.open(tmp_path / "x.jpg") as picture:
        assert picture.format == "JPEG"


def test_every_figure_says_what_it_is(e):
    """To a screen reader."""
    for name, figure in every_figure(e).items():
        assert len(figure.alt) > 10, name
        assert figure.alt.split()[0] in figure._repr_html_()


def test_the_caption_can_be_left_out_or_be_another(e):
    """It stands below all panels, and says what the summary says."""
    told = "\n".join(line for line in e.summary().split("\n") if not line.startswith("Filters"))
    captions = [" ".join(e.plot(caption=caption).texts[-1].get_text().split()) for caption in (True, "Mine.")]
    assert captions == [" ".join(told.split()), "Mine."]
    without = e.plot(caption=False)
    assert [text.get_text() for text in without.texts if text.get_text() != without.get_suptitle()] == []
    assert without.get_size_inches()[1] < e.plot().get_size_inches()[1]
    figure = e.plot()
    figure.canvas.draw()
    text = figure.texts[-1].get_window_extent()
    panels = [axes.get_tightbbox() for axes in figure.axes]
    assert all(box.y0 > text.y1 for box in panels)


def test_letters_of_six_points_are_the_smallest(e):
    for width in ("column", "page", 2.0):
        figure = e.plot(width=width, bank=BANK)
        assert faults(figure) == []
        assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 6
        assert texts_of(figure)
