"""The page of an explanation: its numbers are those of the explanation, and no text breaks it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import edgefilter as ef
from edgefilter.report import write_report
from edgefilter.report.kernels import bank_behind, drawn_kernel, kernel_paths
from edgefilter.report.words import class_name, doubts_in_words, signed, whereabouts
from reports import HOSTILE, decoded, drawn

NAMES = ["cat", "dog", "owl"]
TIMES = "\N{MULTIPLICATION SIGN}"


# --- numbers --------------------------------------------------------------------------------------------------


def values_by_label(section, which):
    """Return the scores and effects of a table by the words before them."""
    caption = next(one for one in section.find_all("caption") if one.get_text().startswith(which))
    found = {}
    for row in caption.find_parent("table").tbody.find_all("tr"):
        name = row.th.code or row.th.span or row.th
        cells = row.find_all("td", attrs={"data-value": True})
        found[name.get_text()] = [float(cell["data-value"]) for cell in cells]
    return found


def test_the_numbers_of_the_tables_are_those_of_the_explanation(explanation, tmp_path, read):
    """Colors with their effects, filters, groups and pairs, for each target."""
    page = read(explanation.to_html(tmp_path / "a.html", class_names=NAMES))
    known, groups = explanation.to_dict(), explanation.group("order")
    assert len(page.sections()) == 3
    for place, section in enumerate(page.sections()):
        colors = values_by_label(section, "Colors")
        assert list(colors) == known["colors"]
        expected = list(zip(known["color"][place], known["effects"][place], strict=True))
        assert_allclose(list(colors.values()), expected, rtol=1e-5)
        filters = {name: values[0] for name, values in values_by_label(section, "Edge filters").items()}
        assert_allclose([filters[name] for name in known["filters"]], known["edge"][place], rtol=1e-5)
        assert list(filters.values()) == sorted(filters.values(), key=abs, reverse=True)
        orders = values_by_label(section, "Filters by order")
        assert_allclose([values[0] for values in orders.values()], groups.edge[place], rtol=1e-5)
        pairs = values_by_label(section, "Pairs")
        labels = [label.replace("_", " ") for label in known["filter_labels"]]
        assert_allclose(
            [pairs[label] for label in labels], np.transpose(known["color_edge"][place]), rtol=1e-5
        )


def test_the_maps_add_up_to_the_scores(explanation, tmp_path, read):
    """Within half a step for each map, and place by place within a step."""
    page = read(explanation.to_html(tmp_path / "a.html"))
    for place, section in enumerate(page.sections()):
        data = page.data["entries"][section["id"]]
        pairs, pixels = decoded(data["pairs"]), decoded(data["pixels"])
        steps, finer = (np.array(data[which]["steps"]) for which in ("pairs", "pixels"))
        expected = explanation.response[place].flatten(0, 1).numpy()
        assert (np.abs(pairs - expected) <= steps[:, None, None] * 1.00001).all()
        scores = explanation.color_edge[place].flatten().numpy()
        assert (np.abs(pairs.sum((1, 2)) - scores) <= steps * 0.50001 + 1e-4).all()
        off = np.abs(pixels.sum((1, 2)) - explanation.color[place].numpy())
        assert (off <= finer * 0.50001 + 1e-4).all()


def test_groups_and_names_are_in_the_data(explanation, tmp_path, read):
    """By the places of their filters, as the buttons say them."""
    page = read(explanation.to_html(tmp_path / "a.html"))
    data = page.data["entries"]["photo-0-output-0"]
    assert data["groups"] == [
        [name, [explanation.filters.index(one) for one in held]]
        for kind in ("order", "orientation")
        for name, held in explanation.groups[kind].items()
    ]
    assert data["colors"] == ["red", "green", "blue"]


def test_effects_that_disagree_are_marked(explanation, tmp_path, read):
    """Those of doubts() and no others, beside the scores and in words."""
    page = read(explanation.to_html(tmp_path / "a.html"))
    assert any(explanation.doubts())
    for doubts, section in zip(explanation.doubts(), page.sections(), strict=True):
        marked = [mark.find_parent("tr").th.get_text() for mark in section.select("td .mark")]
        assert marked == list(doubts)
        said = section.find(class_="doubts").get_text()
        assert all(f"{name} {why}" in said for name, why in doubts.items())


def test_of_very_many_filters_the_rest_is_one_row(tmp_path, read):
    """Which adds up to the score, and can be shown; nothing is left out."""
    one = drawn((0,), filters=100)
    page = read(one.to_html(tmp_path / "a.html"))
    (section,) = page.sections()
    filters = values_by_label(section, "Edge filters")
    assert len(filters) == 50
    assert sum(values[0] for values in filters.values()) == pytest.approx(float(one.total[0]), rel=1e-3)
    pairs = list(values_by_label(section, "Pairs").values())
    assert_allclose(np.sum(pairs, 0), one.color[0], rtol=1e-3, atol=1e-2)
    (rest,) = page.data["entries"]["photo-0-output-0"]["groups"]
    assert filters["51 other filters"][0] == pytest.approx(float(one.edge[0, rest[1]].sum()), rel=1e-4)
    assert section.find_all("span", attrs={"data-part": True})[-1]["data-part"] == "group 0"


# --- words ----------------------------------------------------------------------------------------------------


def test_the_summary_is_that_of_the_explanation(explanation, tmp_path, read):
    """Line by line, for each target, with the class's name."""
    page = read(explanation.to_html(tmp_path / "a.html", class_names=NAMES))
    for place, section in enumerate(page.sections()):
        lines = [line.get_text() for line in section.find(class_="summary").find_all("p")]
        assert lines == explanation.summary(place, NAMES).splitlines()
        assert section.h2.get_text() == NAMES[place]


def test_what_to_doubt_is_said():
    """Sums that are off, a function that was left out, a preprocessing that is assumed, scores that were normalized."""
    about = {"preprocessing_assumed": "yes", "preprocessing": "as ImageNet's"}
    one = drawn((0,), left_out="softmax", about=about, effects=None)
    said = " ".join(doubts_in_words(one, {}))
    for text in ("softmax", "preprocessing is assumed", "as ImageNet's", "causal_check"):
        assert text in said
    for text in ("normalized", "of what they should", "nearly cancel"):
        assert text not in said
    response = torch.ones(1, 1, 2, 1, 1)
    response[0, 0, 1] = -0.95
    canceling = ef.Explanation(response, None, torch.tensor([0.05]), (0,), ("gray",), ("a", "b"))
    assert "nearly cancel: their sizes add up to 39 times" in " ".join(doubts_in_words(canceling, {}))
    off = ef.Explanation(one.response, None, one.output * 3, (0,), one.colors, one.filters)
    assert "of what they should" in " ".join(doubts_in_words(off, {}))
    assert "first layer" in " ".join(doubts_in_words(off, {}))
    assert "normalized" in " ".join(doubts_in_words(off.normalized(), {}))


def test_the_resolution_of_the_maps_is_said(tmp_path, read):
    """That of the explanation where there is room, else a coarser one."""
    said = read(drawn((0,)).to_html(tmp_path / "a.html")).words().replace(TIMES, "x")
    assert "Maps of colors have 12 x 16 places; maps of filters, groups and pairs 6 x 8 places." in said
    large = drawn((0,) * 4, size=(224, 224), stem=(112, 112))
    said = read(large.to_html(tmp_path / "b.html")).words().replace(TIMES, "x")
    assert "Maps of colors have 112 x 112 places for 224 x 224 pixels of the image" in said
    assert "38 x 38 places for 112 x 112 places of the first layer" in said


def test_how_it_was_made_is_said(explanation, tmp_path, read):
    """What the explanation knows, and what is added, and the version."""
    about = {"model": "a network", "command": "edgefilter report"}
    page = read(write_report(tmp_path / "a.html", explanation, about=about))
    made = page.soup.find(class_="made").get_text(" ")
    for text in ("a network", "epsilon_plus", "complete_sobel_3x3", ef.__version__, "edgefilter report"):
        assert text in made


def test_numbers_and_names_in_words():
    """Signs are true ones, and unknown values are nothing."""
    assert signed(np.array([-0.001, 12.0])) == ["0.0", "+12.0"]
    assert class_name(5, ["a"]) == "output 5"
    assert class_name((1, 2), None) == "output (1, 2)"
    assert whereabouts(np.zeros((4, 4))) == "Nothing speaks for it or against it anywhere."
    assert "against it is strongest at the top:" in whereabouts(-np.eye(1, 9, 1).reshape(3, 3))


# --- escaping -------------------------------------------------------------------------------------------------


def test_no_name_breaks_out_of_the_page(tmp_path, read):
    """Of a class, a color, a photo, a title or a setting: in the page, in attributes and in the data."""
    colors = (HOSTILE, "\"&'", "<!--")
    one = drawn((0,), colors=colors, filters=4, about={HOSTILE: HOSTILE}, groups={})
    names = {"class_names": [HOSTILE], "names": [HOSTILE], "title": HOSTILE}
    page = read(write_report(tmp_path / "a.html", one, about={"model": HOSTILE}, **names))
    assert "<img src=x" not in page.text
    assert page.soup.title.string == HOSTILE
    assert page.data["entries"]["photo-0-output-0"]["colors"] == [name.replace("_", " ") for name in colors]
    assert len(page.soup.find_all("script")) == 2
    assert not page.soup.find_all(attrs={"onerror": True})


def test_the_page_asks_for_nothing(explanation, tmp_path, read):
    """No address but of data and of places in the page, and a policy that forbids all others."""
    page = read(explanation.to_html(tmp_path / "a.html"))
    every = [tag.get(name) for tag in page.soup.find_all(True) for name in ("src", "href")]
    addresses = [address for address in every if address]
    assert addresses
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert "default-src 'none'" in page.text
    assert not re.search(r"https?://", page.text)


# --- photos and outputs ---------------------------------------------------------------------------------------


def test_outputs_of_one_photo_are_together_and_contrasts_come_last(explanation, contrast, tmp_path, read):
    """Whatever the order in which they are given; another photo is another section."""
    found = [contrast, explanation, drawn((2,), seen=7)]
    page = read(write_report(tmp_path / "a.html", found, class_names=NAMES, names=["a", "b"]))
    photos = page.soup.find_all("section", class_="photo")
    headings = [[one.h2.get_text() for one in photo.find_all("section", class_="output")] for photo in photos]
    assert headings == [["cat", "dog", "owl", "Why cat, not dog"], ["owl"]]
    links = page.soup.find("nav", class_="photos").find_all("a")
    assert [link.find(class_="name").get_text() for link in links] == ["a", "b"]


def test_probabilities_are_shown_where_they_are_known(explanation, contrast, tmp_path, read):
    """Of the targets, not of a contrast."""
    path = write_report(tmp_path / "a.html", [explanation, contrast], probabilities=[{0: 0.25, 1: 0.5}])
    facts = [section.find(class_="facts").get_text(" ") for section in read(path).sections()]
    assert ["Probability" in text for text in facts] == [True, True, False, False]
    assert "25.0 %" in facts[0]


def test_log_odds_are_named_and_speak_for_the_class_alone(tmp_path, read):
    """Chance is no class that blue places could speak for; the probability is that of the class."""
    odds = drawn((1,), against=("odds",))
    (section,) = read(
        write_report(tmp_path / "a.html", odds, class_names=NAMES, probabilities=[{1: 0.4}])
    ).sections()
    words = " ".join(section.get_text(" ").split())
    assert section.h2.get_text() == "dog against chance"
    assert "Log odds against chance" in words
    assert "Probability 40.0 %" in words
    assert "red places speak for dog, blue ones against it" in words


def test_a_batch_of_photos_is_a_section_each(tmp_path, read):
    """By default without names."""
    page = read(drawn((0, 0), inputs=torch.rand(2, 3, 12, 16)).to_html(tmp_path / "a.html"))
    photos = page.soup.find_all("section", class_="photo")
    assert [photo["aria-label"] for photo in photos] == ["Photo 1", "Photo 2"]
    assert len(page.soup.find_all("image")) == 2


def test_a_picture_can_be_given(explanation, tmp_path, read):
    """One for the photo; for several photos a list; another number is refused, and another size."""
    without, picture = drawn((0, 1), inputs=None), np.zeros((12, 16, 3), np.uint8)
    assert not read(without.to_html(tmp_path / "a.html")).soup.find_all("image")
    page = read(without.to_html(tmp_path / "b.html", picture))
    assert len(page.soup.find_all("section", class_="photo")) == 1
    assert len(page.soup.find_all("image")) == 1
    read(explanation.to_html(tmp_path / "c.html", torch.zeros(1, 3, 12, 16)))
    with pytest.raises(ValueError, match=r"image must be one for each of the 1 photos; got 2"):
        explanation.to_html(tmp_path / "d.html", [picture, picture])
    with pytest.raises(ValueError, match="image must have the height and width"):
        explanation.to_html(tmp_path / "d.html", picture[:5])


def test_relevance_without_pixels_is_shown_at_the_first_layer(tmp_path, read):
    """Maps of colors are sums of pairs then, and the page says so."""
    whole = drawn((0,))
    bare = ef.Explanation(whole.response, None, whole.output, (0,), whole.colors, whole.filters)
    page = read(bare.to_html(tmp_path / "a.html"))
    assert page.data["entries"]["photo-0-output-0"]["pixels"] is None
    assert "The relevance by pixel is unknown" in page.words()


def test_unknown_and_strange_numbers_do_no_harm(tmp_path, read):
    """Of an unknown output, of relevance that is nothing at all, and of values that are no numbers."""
    one = drawn((None,))
    rest = ((None,), one.colors, one.filters)
    empty = ef.Explanation(one.response * 0, one.pixel * 0, one.output * torch.nan, *rest)
    assert "unknown" in read(empty.to_html(tmp_path / "a.html")).words()
    broken = ef.Explanation(one.response * torch.nan, one.pixel * torch.nan, one.output, *rest)
    assert read(broken.to_html(tmp_path / "b.html")).sections()


def test_images_of_low_precision_are_shown(tmp_path, read):
    """NumPy has no bfloat16."""
    one = drawn((0, 1))
    half = dataclasses.replace(one, inputs=one.inputs.bfloat16(), response=one.response.bfloat16())
    assert len(read(half.to_html(tmp_path / "a.html")).soup.find_all("section", class_="photo")) == 1


def test_groups_of_filters_that_are_multiples_come_with_a_note(tmp_path, read):
    """As group() has it."""
    twice = {
        "dependent": {"a": ("filter_0", "filter_1"), "b": ("filter_2",)},
        "family": {"x": ("filter_0", "filter_2"), "y": ("filter_1",)},
    }
    one = drawn((0,), filters=3, groups=twice)
    page = read(one.to_html(tmp_path / "a.html"))
    notes = one.group("family").notes
    assert notes
    assert all(note in page.words() for note in notes.values())
    assert "Filters that are multiples of each other" in page.words()


# --- kernels --------------------------------------------------------------------------------------------------


def test_kernels_of_a_known_bank_are_drawn_once(explanation, tmp_path, read):
    """A symbol for each, used by each target."""
    page = read(explanation.to_html(tmp_path / "a.html"))
    assert len(page.soup.find_all("symbol")) == 9
    assert len(page.soup.find_all("svg", class_="kernel")) == 27


def test_the_bank_is_the_given_or_the_named_one():
    """Another one is refused, and an unknown one is not drawn."""
    one = drawn((0,))
    assert bank_behind(one, None).names == ef.complete_bank(3).names
    assert bank_behind(drawn((0,), filters=4), None) is None
    with pytest.raises(ValueError, match="bank must hold the explanation's 9 filters"):
        bank_behind(one, ef.get_bank("sobel"))


def test_a_large_kernel_is_a_picture():
    """Which takes less room than squares."""
    assert drawn_kernel(np.eye(7))["png"] is None
    large = drawn_kernel(np.eye(16))
    assert large["png"].startswith("data:image/png")
    assert large["paths"] == []


def test_a_kernel_is_drawn_by_its_weights():
    """Red squares where they are positive, blue where negative; as many squares as weights that are not 0."""
    weight = ef.get_kernel("sobel_x").weight
    paths = dict(kernel_paths(weight))
    assert sum(path.count("M") for path in paths.values()) == np.count_nonzero(weight) == 6
    assert paths["#67001f"] == "M2 1h1v1h-1z"  # the largest weight
    assert paths["#053061"] == "M0 1h1v1h-1z"


# --- the templates --------------------------------------------------------------------------------------------


def script_functions(text):
    """Return the named functions of a script, each with its lines of code."""
    blocks = re.findall(r"^(?:async )?function (\w+)\(.*?^}", text, re.MULTILINE | re.DOTALL)
    bodies = re.finditer(r"^(?:async )?function \w+\(.*?^}", text, re.MULTILINE | re.DOTALL)
    lines = [len([line for line in body[0].splitlines() if line.strip()]) - 2 for body in bodies]
    return dict(zip(blocks, lines, strict=True))


@pytest.mark.parametrize("name", ["choosing.js", "report.js"])
def test_functions_of_scripts_are_short(name):
    """Like those of Python; and no script writes text as HTML."""
    text = (Path(ef.__file__).parent / "templates" / name).read_text(encoding="utf-8")
    functions = script_functions(text)
    assert len(functions) >= 5
    assert max(functions.values()) <= 25, functions
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|XMLHttp", text
    )
    assert script_functions("function f() {\n" + "  x();\n" * 26 + "}\n") == {"f": 26}


# --- the file -------------------------------------------------------------------------------------------------


def test_equal_input_gives_equal_bytes(explanation, contrast, tmp_path):
    """No date, no drawn name."""
    first = write_report(tmp_path / "a.html", [explanation, contrast]).read_bytes()
    assert write_report(tmp_path / "b.html", [explanation, contrast]).read_bytes() == first


def test_a_file_is_not_replaced_by_accident(explanation, tmp_path):
    """Only with overwrite=True; nothing is left behind by a failure."""
    path = tmp_path / "a.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"path must be a new file.*overwrite=True"):
        explanation.to_html(path)
    assert path.read_text() == "mine"
    assert explanation.to_html(path, overwrite=True) == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [file.name for file in tmp_path.iterdir()] == ["a.html"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a.pdf", ValueError, r"path must end in \.html or \.htm; got .*Change the ending"),
        ("a", ValueError, r"path must end in \.html or \.htm"),
        ("none/a.html", FileNotFoundError, "path must lie in a folder that exists"),
    ],
)
def test_a_wrong_path_is_refused(explanation, tmp_path, name, error, message):
    """Before anything is done."""
    with pytest.raises(error, match=message):
        explanation.to_html(tmp_path / name)


@pytest.mark.parametrize("name", ["a.HTML", "a.htm"])
def test_both_endings_are_fine(explanation, tmp_path, name):
    """In any case of letters, given as text."""
    assert explanation.to_html(str(tmp_path / name)).exists()


def test_no_explanation_is_refused(tmp_path):
    """And another number of names than of photos."""
    with pytest.raises(ValueError, match="explanations must hold one image at least"):
        write_report(tmp_path / "a.html", [])
    with pytest.raises(ValueError, match="names must be one for each of the 1 photos; got 2"):
        write_report(tmp_path / "a.html", drawn((0,)), names=["a", "b"])


def test_a_bank_must_be_that_of_the_explanation(explanation, tmp_path):
    with pytest.raises(ValueError, match="bank must hold the explanation's 9 filters; got 'sobel'"):
        explanation.to_html(tmp_path / "a.html", bank="sobel")


def test_rounding_is_no_loss_of_relevance(tmp_path, read):
    """The order in which float32 adds up decides whether the share is 1 or just below it."""
    explanation = drawn()
    almost = dataclasses.replace(explanation, output=explanation.output + 1e-6 * explanation.total.abs())
    assert 0 < abs(float(almost.conserved_share[0]) - 1) < 1e-5
    facts = [
        read(one.to_html(tmp_path / "a.html", overwrite=True))
        .sections()[0]
        .find(class_="facts")
        .get_text(" ")
        for one in (explanation, almost)
    ]
    assert facts[0] == facts[1]


def test_names_may_be_lists(tmp_path, read):
    """As FilterBank.names is one."""
    bank = ef.complete_bank(3)
    explanation = ef.Explanation(
        torch.ones(1, 1, 9, 2, 2), None, torch.tensor([36.0]), [0], ["gray"], bank.names
    )
    assert (explanation.target, explanation.colors, explanation.filters) == (
        (0,),
        ("gray",),
        tuple(bank.names),
    )
    assert len(read(explanation.to_html(tmp_path / "a.html")).sections()) == 1


def test_classes_may_be_named_by_number(explanation, tmp_path, read):
    page = read(explanation.to_html(tmp_path / "a.html", class_names={0: "cat", 1: "dog", 2: "owl"}))
    assert [section.h2.get_text() for section in page.sections()] == ["cat", "dog", "owl"]


@pytest.mark.parametrize("things", ["cat", [3]])
def test_what_is_no_explanation_is_refused(tmp_path, things):
    with pytest.raises(TypeError, match=r"explanations must be Explanations; got (str|int)"):
        write_report(tmp_path / "a.html", things)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_maps_that_are_not_finite_are_written_without_a_warning(tmp_path, read, value):
    """Warnings are errors here; a place without a number is 0 in the maps."""
    explanation = drawn()
    response, pixel = explanation.response.clone(), explanation.pixel.clone()
    response[0, 0, 0, 0, 0] = pixel[0, 0, 0, 0] = value
    broken = dataclasses.replace(explanation, response=response, pixel=pixel, output=torch.tensor([value]))
    page = read(broken.to_html(tmp_path / "a.html"))
    assert "e+308" not in page.text
    entry = next(iter(page.data["entries"].values()))
    assert decoded(entry["pairs"])[0, 0, 0] == 0
    assert decoded(entry["pixels"])[0, 0, 0] == 0
