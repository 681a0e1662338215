"""The pages of profiles and of comparisons: their numbers are those of the tables, and no text breaks them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import edgefilter as ef
from edgefilter.profiles.confusion import Confusion
from edgefilter.profiles.permutation import PermutationCheck, Permuted
from edgefilter.report.classes import write_profile
from reports import HOSTILE, drawn


@pytest.fixture
def profile():
    """Return a profile of three classes, one of them without images."""
    images = drawn((0,) * 5)
    found = ef.ClassProfile(
        3, images.colors, images.filters, class_names=["cat", HOSTILE, "owl"], pixel_size=(12, 16)
    )
    found.update(images, torch.tensor([0, 1, 0, 1, 0]))
    return found


@pytest.fixture(scope="module")
def comparison():
    """Return a comparison of three methods on two images, with a metric that failed."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5)
    ).eval()
    images = torch.rand(2, 3, 8, 8)

    def broken(inputs, targets):
        raise RuntimeError(HOSTILE)

    methods = {"edgefilter": "edgefilter", "saliency": "saliency", "mine": broken}
    return ef.compare(net, images, [1, 2], methods, ["infidelity", "sparseness", "parts"], progress=False)


def values(table):
    """Return the numbers of a table, row by row."""
    cells = [row.find_all("td", attrs={"data-value": True}) for row in table.tbody.find_all("tr")]
    return [[float(cell["data-value"]) for cell in row] for row in cells]


# --- profiles -------------------------------------------------------------------------------------------------


def test_the_shares_are_those_of_the_profile(profile, tmp_path, read):
    """Of each class with images, by color, filter and pair."""
    page = read(profile.to_html(tmp_path / "a.html"))
    known = profile.values()
    classes = page.soup.find("table")
    assert_allclose(values(classes), known["color_mean"][:2], rtol=1e-5)
    assert [section.h2.contents[0].strip() for section in page.sections()] == ["cat", HOSTILE]
    for place, section in enumerate(page.sections()):
        colors, pairs, filters = (np.array(values(table))[:, 0] for table in section.find_all("table"))
        assert_allclose(colors, known["color_mean"][place], rtol=1e-5)
        assert_allclose(sorted(filters), sorted(known["edge_mean"][place].tolist()), rtol=1e-5)
        assert list(filters) == sorted(filters, key=abs, reverse=True)
        assert set(np.round(pairs, 5)) <= set(np.round(known["color_edge_mean"][place].flatten().tolist(), 5))


def test_confusion_is_shown_where_it_is_known(profile, tmp_path, read):
    """With the accuracy; few classes as a square, many as a list of mistakes."""
    few = Confusion(torch.tensor([[3, 1], [0, 4]]), ("cat", "dog"))
    page = read(
        write_profile(tmp_path / "a.html", profile, confusion=few, about={"model": HOSTILE, "none": None})
    )
    square = page.soup.find("table", class_="square")
    assert [[cell.get_text() for cell in row.find_all("td")] for row in square.tbody.find_all("tr")] == [
        ["3", "1"],
        ["·", "4"],
    ]
    assert "87.5 %" in page.words()
    assert HOSTILE in page.words()
    many = Confusion(
        torch.eye(40, dtype=torch.long) + torch.eye(40, dtype=torch.long).roll(1, 0),
        tuple(f"c{i}" for i in range(40)),
    )
    page = read(write_profile(tmp_path / "b.html", profile, confusion=many))
    assert page.soup.find("table", class_="square") is None
    assert "The most frequent mistakes" in page.words()


def test_what_is_lost_by_shuffling_is_shown(profile, tmp_path, read):
    """The largest loss first."""
    parts = [
        Permuted("color", "red", "red", 0.25, 0.1, 1.5, 0.2),
        Permuted("order", "edges", "edges", math.nan, math.nan, 2.5, math.nan),
    ]
    page = read(write_profile(tmp_path / "a.html", profile, shuffled=PermutationCheck(parts, 7, 1, 0.5, 3.0)))
    table = page.soup.find(id="shuffled").find_next("table")
    assert values(table) == [[2.5], [1.5]]
    assert [row.th.get_text() for row in table.tbody.find_all("tr")] == ["edges", "red"]
    assert "25.0 %" in table.get_text()
    assert "between 7 photos" in table.get_text()


def test_a_profile_without_images_says_so(tmp_path, read):
    """And is a page all the same."""
    images = drawn((0,) * 5)
    profile = ef.ClassProfile(1, images.colors, images.filters)
    profile.update(
        dataclasses.replace(images, response=images.response * 0), torch.zeros(5, dtype=torch.long)
    )
    words = read(profile.to_html(tmp_path / "a.html")).words()
    assert "No image with any relevance" in words
    assert "5 images without any relevance are in neither" in words


def test_of_many_classes_the_largest_are_shown_one_by_one(tmp_path, read, monkeypatch):
    """All are in the table, and the page says which can be chosen."""
    monkeypatch.setattr("edgefilter.report.classes.DETAILED", 2)
    images = drawn((0,) * 6)
    profile = ef.ClassProfile(3, images.colors, images.filters, class_names=["cat", "dog", "owl"])
    profile.update(images, torch.tensor([0, 1, 1, 2, 2, 2]))
    page = read(profile.to_html(tmp_path / "a.html"))
    assert [section["id"] for section in page.sections()] == ["class-1", "class-2"]
    assert len(page.soup.find("table").tbody.find_all("tr")) == 3
    assert [link.get_text() for link in page.soup.find("table").find_all("a")] == ["dog", "owl"]
    assert "the 2 with the most images can be chosen" in page.words()


# --- comparisons ----------------------------------------------------------------------------------------------


def test_the_tables_are_those_of_the_comparison(comparison, tmp_path, read):
    """Means with their errors, the best in bold; what failed is said, with its reason."""
    page = read(comparison.to_html(tmp_path / "a.html", class_names=["a", "b", HOSTILE, "d", "e"]))
    for table, known in zip(page.soup.find_all("table"), (comparison.pixel, comparison.parts), strict=True):
        names = [name for name in known.columns if not name.endswith("_se")]
        expected = [[value for value in row if value == value] for row in known[names].to_numpy().tolist()]
        for found, row in zip(values(table), expected, strict=True):
            assert_allclose(found, row, rtol=1e-5)
    infidelity = comparison.pixel["infidelity"]
    best = page.soup.find("table").tbody.find_all("tr")[int(infidelity.argmin())]
    assert best.find("td").strong is not None
    failed = page.soup.find("section", class_="doubts").get_text()
    assert HOSTILE in failed
    assert "mine" in failed
    assert [title.get_text() for title in page.soup.find_all("h3")] == ["b", HOSTILE]


def test_each_method_has_a_picture_of_each_image(comparison, tmp_path, read):
    """Beside the image itself, each with words for who does not see it."""
    page = read(comparison.to_html(tmp_path / "a.html"))
    pictures = page.soup.find_all("img")
    assert len(pictures) == 2 * (1 + len(comparison.maps))
    assert len({picture["alt"] for picture in pictures}) == len(pictures)
    with pytest.raises(ValueError, match="pictures must be one for each of the 2 images; got 1"):
        comparison.to_html(tmp_path / "b.html", [np.zeros((8, 8, 3))])


def test_a_comparison_without_maps_is_a_page_of_tables(comparison, tmp_path, read):
    """Where no method gave any."""
    bare = dataclasses.replace(comparison, maps={})
    assert not read(bare.to_html(tmp_path / "a.html")).soup.find_all("img")


@pytest.mark.parametrize("which", ["profile", "comparison"])
def test_the_files_follow_the_rules_of_all_reports(which, request, tmp_path):
    """Equal bytes for equal input, an ending that is right, and nothing replaced by accident."""
    one = request.getfixturevalue(which)
    first = one.to_html(tmp_path / "a.html")
    assert one.to_html(tmp_path / "b.html").read_bytes() == first.read_bytes()
    assert b"<img src=x" not in first.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        one.to_html(first)
    assert one.to_html(first, overwrite=True) == first
    with pytest.raises(ValueError, match="path must end in"):
        one.to_html(tmp_path / "a.png")


def test_maps_of_many_methods_are_coarser_and_the_page_says_so(comparison, tmp_path, read, monkeypatch):
    """So that it stays small."""
    assert "places for" not in read(comparison.to_html(tmp_path / "a.html")).words()
    monkeypatch.setattr("edgefilter.report.comparisons.MAP_VALUES", 64)
    page = read(comparison.to_html(tmp_path / "b.html"))
    assert "maps are shown with 4 x 4 places for 8 x 8 pixels" in page.words().replace(
        "\N{MULTIPLICATION SIGN}", "x"
    )
