"""Figures show themselves, and their files hold letters that can be read."""

from __future__ import annotations

import re
import threading
import time

import pytest
import torch

from drawings import explanation
from edgefilter.plots.figures import new_figure, settings


def written(tmp_path, suffix):
    figure = new_figure(2, 1)
    figure.text(0.1, 0.5, "relevance")
    path = tmp_path / f"figure.{suffix}"
    figure.savefig(path)
    return path.read_bytes()


def test_pdf_holds_truetype_fonts(tmp_path):
    """Journals refuse Type 3."""
    content = written(tmp_path, "pdf")
    assert b"/Type3" not in content
    assert b"/TrueType" in content or b"/CIDFontType2" in content


def test_svg_holds_text(tmp_path):
    """Not outlines of letters."""
    assert re.search(rb"<text[^>]*>relevance</text>", written(tmp_path, "svg"))


def test_settings_of_matplotlib_are_left_as_they_were(tmp_path):
    """Fonts are chosen while a file is written, and not after."""
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    written(tmp_path, "svg")
    assert dict(mpl.rcParams) == before


def test_a_notebook_shows_it_with_what_a_screen_reader_says():
    """PNG for notebooks that look for a picture, HTML for those that look for a page; text is escaped."""
    figure = new_figure(2, 1)
    figure.alt = 'cat <"1">'
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert 'alt="cat &lt;&quot;1&quot;&gt;"' in figure._repr_html_()


@pytest.mark.parametrize("dpi", [50, 200])
def test_dots_per_inch(dpi):
    """The size of the figure stays."""
    figure = new_figure(2, 1, dpi)
    assert figure.dpi == dpi
    assert figure.get_size_inches().tolist() == [2, 1]


@pytest.mark.parametrize(
    "settings",
    [{"figure.constrained_layout.use": True}, {"figure.autolayout": True}, {"image.origin": "lower"}],
    ids=["constrained", "tight", "lower"],
)
def test_settings_that_place_panels_or_turn_pictures_change_nothing(settings):
    """Panels have their places, and the first row of a photo is above; warnings would be errors here."""
    import matplotlib as mpl

    found = explanation()
    plain = found.plot(dpi=30)._repr_png_()
    with mpl.rc_context(settings):
        assert found.plot(dpi=30)._repr_png_() == plain


def test_a_notebook_shows_the_figure_of_a_pair():
    """A profile gives figure and axes, as metrics of torchmetrics do; pyplot shows its own figures."""
    import matplotlib.pyplot as plt

    import edgefilter as ef

    found = explanation()
    profile = ef.ClassProfile(4, found.colors, found.filters)
    profile.update(found, torch.tensor([3]))
    figure, axes = pair = profile.plot()
    assert (figure, axes) == pair
    assert pair._repr_html_() == figure._repr_html_()
    assert pair._repr_png_() == figure._repr_png_()
    mine, place = plt.subplots()
    on_mine = profile.plot(ax=place)
    assert on_mine == (mine, place)
    assert on_mine._repr_html_() is None
    assert on_mine._repr_png_() is None
    plt.close(mine)


def test_threads_leave_the_settings_of_matplotlib_as_they_were():
    """The settings are those of the process: two threads that restore them in turn would restore what the other had changed."""
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    inside, outside = threading.Event(), threading.Event()

    def first():
        with settings({"text.color": "red"}):
            inside.set()
            outside.wait(0.5)

    def second():
        inside.wait()
        with settings({"text.color": "blue"}):
            outside.set()
            time.sleep(0.1)

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dict(mpl.rcParams) == before
