"""What objects show in a notebook: figure and tables, escaped, in the page's colors, and never an error."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import math
import pickle
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import edgefilter as ef
from edgefilter import _notebook
from edgefilter._notebook import Words, bars, number, shown
from edgefilter.attribution.causal import CausalCheck
from edgefilter.attribution.check import Report
from edgefilter.attribution.grouping import GroupScores
from edgefilter.classifiers import Classifier
from edgefilter.evaluation.comparison import Comparison, Failure
from edgefilter.profiles import Confusion, FolderProfile, PairedProfile, PermutationCheck
from edgefilter.profiles.permutation import Permuted

NASTY = "<script>alert(1)</script>", "A&B", '"quoted" <img src=x onerror=alert(1)>'
VOID = {"img", "br", "meta"}


class Page(HTMLParser):
    """Reads HTML, and notes tags that are not closed in order."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.faults, self.texts = [], [], [], []
        self.feed(html)
        self.faults += self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"/{tag}")

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 4)).eval()


@pytest.fixture(scope="module")
def things():
    """One of each, with class names that must be escaped."""
    net, images = network(), torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    attribution, labels = ef.EdgeFilterAttribution(net), torch.tensor([0, 1, 1])
    explanation = attribution.explain(images, labels)
    names = (*NASTY, "d")
    profile = ef.ClassProfile(4, explanation.colors, explanation.filters, class_names=names)
    profile.update(explanation, labels)
    paired = PairedProfile(4, explanation, explanation, class_names=names)
    paired.update(explanation, attribution.explain(images.flip(3), labels), labels)
    confusion = Confusion(torch.tensor([[3, 1, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]), names)
    permutation = PermutationCheck([Permuted("color", "red", NASTY[0], 0.5, 0.1, 2.0, 0.2)], 3, 1, 0.9, 4.0)
    folder = FolderProfile(profile, [], {"counted": 3}, [Path("out/<b>.csv")], confusion, permutation, paired)
    return {
        "explanation": explanation[0],
        "batch": explanation,
        "check": ef.causal_check(attribution, images, explanation),
        "report": ef.check(net, images),
        "profile": profile,
        "classifier": Classifier(net, names, lambda photo: images[0], name=NASTY[0], mean=0.5, std=0.2, channels=NASTY),
        "comparison": comparison(images),
        "shapley": ef.EdgeFilterShapley(net).explain(images[:1], labels[:1]),
        "groups": explanation.group("order"),
        "regions": explanation.region(torch.arange(64).reshape(8, 8) // 32),
        "confusion": confusion,
        "permutation": permutation,
        "paired": paired,
        "folder": folder,
        "kernel": ef.get_kernel("sobel_x"),
        "bank": ef.get_bank("edges"),
    }  # fmt: skip


def comparison(images):
    table = pd.DataFrame(
        {"sparseness": [0.25, 0.5], "sparseness_se": [0.1, math.nan]}, index=["edgefilter", NASTY[0]]
    )
    parts = pd.DataFrame({"color": [0.25], "color_se": [0.1]}, index=["edgefilter"])
    failures = (Failure("pixel", NASTY[1], "", "it <failed>"),)
    return Comparison(
        table,
        parts,
        {"edgefilter": images, NASTY[0]: images[:, :1]},
        images,
        (0, 1, 1),
        pd.DataFrame(),
        failures,
        {},
    )


FIGURES = ("explanation", "batch", "profile", "folder", "comparison")
ALL = (
    *FIGURES,
    "check",
    "report",
    "classifier",
    "shapley",
    "groups",
    "regions",
    "confusion",
    "permutation",
    "paired",
    "kernel",
    "bank",
)


# --- each object ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_an_object_shows_itself_with_real_tables(things, name):
    """Captions, and heads of columns and rows; every tag is closed."""
    page = Page(things[name]._repr_html_())
    assert page.faults == []
    tables = page.all("table")
    assert tables
    assert len(page.all("caption")) == len(tables)
    assert repr(things[name]) in page.text
    if name not in ("kernel", "bank"):
        assert {"col", "row"} == {head["scope"] for head in page.all("th")}
    pictures = page.all("img")
    assert len(pictures) == (2 if name in FIGURES else 0)
    for picture in pictures:
        kind, data = picture["src"].split(",")
        assert kind == "data:image/png;base64"
        assert picture["alt"]
        assert Image.open(io.BytesIO(base64.b64decode(data))).width > 300


@pytest.mark.parametrize("name", ALL)
def test_a_repr_is_one_short_line(things, name):
    """No tensors, no tables."""
    text = repr(things[name])
    assert "\n" not in text
    assert "tensor" not in text
    assert len(text) < 160
    assert text.partition("(")[0] == type(things[name]).__name__


@pytest.mark.parametrize(
    "name", ["profile", "classifier", "comparison", "confusion", "permutation", "folder"]
)
def test_names_come_out_as_text(things, name):
    """What is in a name is never markup."""
    html = things[name]._repr_html_()
    page = Page(html)
    assert NASTY[0] in page.text
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert all(attributes.get("src", "data:").startswith("data:") for _, attributes in page.tags)
    assert "A&amp;B" in html or name in ("permutation", "folder")


@pytest.mark.parametrize("name", ALL)
def test_colors_are_those_of_the_page(things, name):
    """Nothing but pictures has a ground of its own, so that dark notebooks stay dark."""
    html = re.sub(r'src="[^"]*"', "", things[name]._repr_html_())
    assert not re.search(r"(?i)#fff|white(?!-space)|black|#000|background(-color)?:\s*(#|rgb\()", html)
    assert "currentColor" in html


def test_there_is_a_figure_for_a_dark_page(things):
    """On the dark ground of JupyterLab, which the style picks; the light one is the first, for pages without styles."""
    html = things["explanation"]._repr_html_()
    light, dark = Page(html).all("img")
    assert "hidden" in dark
    assert "hidden" not in light
    grounds = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one["src"].split(",")[1]))).convert("L"))[0, 0]
        for one in (light, dark)
    ]
    assert grounds[0] > 240
    assert grounds[1] < 30
    for marker in ('data-jp-theme-light="false"', "vscode-dark", 'data-theme="dark"'):
        assert marker in html


def test_the_figures_do_not_depend_on_the_style_in_use(things):
    """Someone draws on a dark ground, and reads a light page."""
    from matplotlib import style

    plain = things["explanation"]._repr_html_()
    with style.context("dark_background"):
        assert (
            Page(things["explanation"]._repr_html_()).all("img")[0]["src"] == Page(plain).all("img")[0]["src"]
        )


def test_an_explanation_shows_its_summary_and_its_numbers(things):
    explanation = things["explanation"]
    text = Page(explanation._repr_html_()).text
    for line in explanation.summary().splitlines():
        assert line in text
    for name, score in zip(explanation.colors, explanation.color[0].tolist(), strict=True):
        assert name in text
        assert number(score, signed=True) in text


def test_a_batch_lists_its_images(things):
    text = Page(things["batch"]._repr_html_()).text
    assert "explanation[1] shows the next" in text
    assert "Images of the batch" not in Page(things["explanation"]._repr_html_()).text


def test_a_kernel_shows_its_exact_weights():
    """As they are, and in full where that is too long for a cell."""
    kernel = ef.Kernel("thirds & <b>", [[1 / 3, -2.0], [0.0, 0.125]], notes="a <note>")
    page = Page(kernel._repr_html_())
    cells = page.all("td")
    assert [float(cell["title"]) for cell in cells] == kernel.weight.ravel().tolist()
    assert all(text in page.text for text in ("0.3333", "-2", "0.125", "thirds & <b>", "A <note>."))
    styles = [cell.get("style", "") for cell in cells]
    assert "178, 24, 43" in styles[0]
    assert "33, 102, 172, 0.65" in styles[1]
    assert styles[2] == ""


def test_a_large_bank_shows_the_first_kernels_and_counts_the_others():
    page = Page(ef.complete_bank(7)._repr_html_())
    assert len(page.all("table")) == 25
    assert "24 more kernels: bank.names lists all." in page.text
    assert "bank['dx0_dy0'] shows the numbers." in page.text  # which are heard and not seen here
    assert [float(cell["title"]) for cell in page.all("td")][:49] == ef.complete_bank(7).weight[
        0
    ].ravel().tolist()
    assert "more kernel" not in Page(ef.get_bank("sobel")._repr_html_()).text


def test_the_best_of_a_comparison_is_marked(things):
    text = Page(things["comparison"]._repr_html_()).text
    assert "0.5 *" in text
    assert "0.25 ± 0.1" in text
    assert "Not measured: A&B: it <failed>" in text


def test_a_model_that_is_not_supported_says_why():
    report = Report("Net", (), 0.0, 0.0, "no rule for <fft>")
    assert repr(report) == "Report('Net', not supported)"
    assert "Net is not supported: no rule for <fft>" in Page(report._repr_html_()).text


def test_a_long_report_is_folded():
    report = ef.check(
        nn.Sequential(
            nn.Conv2d(1, 2, 3), *[nn.ReLU() for _ in range(40)], nn.Flatten(), nn.Linear(8, 2)
        ).eval(),
        torch.rand(1, 1, 4, 4),
    )
    page = Page(report._repr_html_())
    assert len(page.all("details")) == 1
    assert len(page.all("tr")) == 1 + len(report.operations)


# --- what is half known ---------------------------------------------------------------------------------------


def without(thing, **changes):
    return dataclasses.replace(thing, **changes)


def times(explanation, factor):
    return without(explanation, response=explanation.response * factor)


NOTHING = Comparison(pd.DataFrame(), pd.DataFrame(), {}, torch.zeros(0, 3, 8, 8), (), pd.DataFrame(), (), {})
NAN = torch.full((1,), math.nan)
HALF_KNOWN = {
    "no pixels": (lambda known: without(known, pixel=None), "Scores by color"),
    "no images": (lambda known: without(known, inputs=None), "Scores by color"),
    "nothing but scores": (
        lambda _: ef.Explanation(torch.ones(1, 1, 1, 2, 2), None, NAN, (None,), ("gray",), ("a",)),
        "Scores by filter",
    ),
    "unknown output": (lambda known: without(known, output=NAN), "the scores add up to"),
    "not a number": (lambda known: times(known, math.nan), "Explanation("),
    "infinite": (lambda known: times(known, math.inf), "Explanation("),
    "nothing speaks": (lambda known: times(known, 0), "Scores by color"),
    "empty batch": (lambda known: known[:0], "No images."),
    "empty profile": (lambda _: ef.ClassProfile(2, ["gray"], ["sobel_x"]), "No image was taken in yet"),
    "empty comparison": (lambda _: NOTHING, "Comparison(0 methods"),
    "empty groups": (
        lambda _: GroupScores((), (), torch.zeros(0, 0), torch.zeros(0, 1, 0), {}),
        "GroupScores(0 images",
    ),
    "empty check": (lambda _: CausalCheck(torch.zeros(0, 3), torch.zeros(0, 2)), "CausalCheck(0 images"),
    "no photos": (
        lambda _: Confusion(torch.zeros(2, 2, dtype=torch.long), ("a", "b")),
        "Confusion(2 classes",
    ),
    "no parameters": (
        lambda _: Classifier(nn.Identity(), ["a"], torch.zeros, channels=["b"]),
        "Identity, 0 parameters",
    ),
}


@pytest.mark.parametrize("case", HALF_KNOWN)
def test_what_is_half_known_shows_what_is_there(things, case):
    """Neither an error nor a warning."""
    make, words = HALF_KNOWN[case]
    page = Page(make(things["explanation"])._repr_html_())
    assert page.faults == []
    assert words in page.text


def test_a_part_that_fails_is_left_out_and_the_others_stay():
    page = Page(shown(3, lambda: 1 / 0, lambda: Words(("there",)), lambda: None))
    assert "there" in page.text
    assert len(page.all("p")) == 2


# --- parts ----------------------------------------------------------------------------------------------------


def test_numbers_keep_three_digits():
    values = (0.0, 1.0, -0.5, 999.4, 1234.5, 2e7, 0.0123, -1e-9, math.inf, math.nan)
    assert [number(value) for value in values] == [
        "0.00", "1.00", "\N{MINUS SIGN}0.50", "999.40", "1234", "2e+07", "0.0123", "\N{MINUS SIGN}1e\N{MINUS SIGN}09", "inf", "\N{EN DASH}",
    ]  # fmt: skip
    assert number(0.5, signed=True) == "+0.50"


def test_bars_share_one_scale():
    """Unknown numbers have none."""
    assert [(bar.begins, bar.ends) for bar in bars([4.0, -2.0, math.nan])] == [(50, 100), (25, 50), (50, 50)]
    assert [(bar.begins, bar.ends) for bar in bars([4.0, 1.0, 0.0])] == [(0, 100), (0, 25), (0, 0)]
    assert bars([]) == []


def test_a_table_counts_the_rows_that_it_leaves_out():
    found = _notebook.table("Many", ["a"], [[str(row)] for row in range(40)])
    assert (len(found.rows), found.note) == (25, "15 more rows.")
    assert _notebook.table("One", ["a", "b"], [["x", "1"]]).worded == (True, False)


def test_a_causal_check_is_still_a_pair_and_knows_its_names(things):
    check = things["check"]
    color, edge = check
    assert check._fields == ("color", "edge")
    assert color is check.color
    assert edge is check.edge
    assert check.colors == ("red", "green", "blue")
    assert len(check.filters) == edge.shape[1]
    for again in (copy.copy(check), pickle.loads(pickle.dumps(check))):
        assert again.colors == check.colors
        assert torch.equal(again.edge, edge)
    assert check._replace(edge=color).edge is color


# --- in a notebook --------------------------------------------------------------------------------------------


def test_a_fresh_kernel_shows_figures_and_objects():
    """Without magic commands."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = [
        "import edgefilter as ef\nnet = ef.models.load('digits')",
        "import torch\nexplanation = ef.EdgeFilterAttribution(net).explain(torch.rand(1, 1, 28, 28))\nexplanation",
        "explanation.plot()",
        "ef.get_bank('sobel')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown_as = [
        {kind for output in cell.outputs for kind in output.get("data", {})} for cell in notebook.cells
    ]
    assert shown_as[1] >= {"text/html", "text/plain"}
    assert shown_as[2] >= {"image/png"}
    assert shown_as[3] >= {"text/html", "text/plain"}
