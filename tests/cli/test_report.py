"""``edgefilter report``: what is explained, where it is written, and what is refused."""

from __future__ import annotations

import shlex
import warnings
from pathlib import Path

import pytest

import edgefilter as ef
from reports import Page


def headings(path):
    """Return the titles of the outputs in a page."""
    return [section.h2.get_text() for section in Page(Path(path)).sections()]


def made(path):
    """Return how a page was made, by name."""
    section = Page(Path(path)).soup.find("section", class_="made")
    return {one.dt.get_text(): one.dd.get_text() for one in section.find_all("div")}


def test_by_default_the_three_best_classes_and_why_not_the_second(run, photo, small_classifier):
    """In the order of the outputs, in report.html."""
    classifier = small_classifier(outputs=5)
    result = run("report", photo)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "Page: report.html\n"
    inputs = classifier.preprocess(classifier.read(photo))
    best = [f"class {place}" for place in classifier.model(inputs)[0].topk(3).indices.tolist()]
    assert headings("report.html") == [*best, f"Why {best[0]}, not {best[1]}"]
    page = Page(Path("report.html"))
    assert "Probability" in page.sections()[0].find(class_="facts").get_text()
    assert page.soup.title.string == f"photo: {best[0]}"


def test_the_numbers_are_those_of_the_library(run, photo, small_classifier):
    """The scores of the color of the first class."""
    classifier = small_classifier(outputs=3)
    run("report", photo, "--target", "class 1", "--calibrate", "none")
    explanation = ef.EdgeFilterAttribution(
        classifier.model, calibrate=False, **classifier.color_options()
    ).explain(classifier.preprocess(classifier.read(photo)), 1)
    table = Page(Path("report.html")).sections()[0].find("table")
    found = [float(row.find("td")["data-value"]) for row in table.tbody.find_all("tr")]
    assert found == pytest.approx(explanation.color[0].tolist(), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--target", "class 1"], ["class 1"]),
        (["--target", "2", "--target", "class_0"], ["class 2", "class 0", "Why class 2, not class 0"]),
        (["--target", "1", "--against", "rest"], ["class 1", "Why class 1, not the mean of the others"]),
        (["--target", "1", "--against", "odds"], ["class 1", "class 1 against chance"]),
        (["--target", "1", "--against", "3"], ["class 1", "Why class 1, not class 3"]),
    ],
)
def test_targets_and_what_they_are_against_can_be_named(run, photo, small_classifier, options, expected):
    """By index or name."""
    small_classifier(outputs=5)
    assert run("report", photo, *options, "--out", "a.html").exit_code == 0
    assert headings("a.html") == expected


def test_a_class_that_is_named_twice_is_shown_once(run, photo, small_classifier):
    small_classifier(outputs=5)
    assert run("report", photo, "--target", "2", "--target", "2").exit_code == 0
    assert headings("report.html") == ["class 2"]


def test_a_class_is_not_compared_with_itself(run, photo, small_classifier):
    small_classifier()
    result = run("report", photo, "--target", "1", "--against", "1")
    assert result.exit_code == 2
    assert "against must be another class than the first target; got '1'" in result.stderr


def test_a_network_of_one_output_has_one_section(run, photo, small_classifier):
    """And nothing to be held against."""
    small_classifier(outputs=1)
    assert run("report", photo).exit_code == 0
    assert headings("report.html") == ["class 0"]


def test_how_it_was_made_names_the_command_and_the_weights(run, photo, small_classifier):
    """As it was typed, with nothing that was left out."""
    small_classifier()
    run("report", photo, "--target", "class 1", "--title", "A <title>", "--quiet", "--out", "a.html")
    found = made("a.html")
    typed = ["--target", "class 1", "--title", "A <title>", "--out", "a.html", photo]
    assert sorted(shlex.split(found["command"])) == sorted(["edgefilter", "report", *typed])
    assert len(found["weights digest"]) == 16
    assert found["model"] == "small"
    assert Page(Path("a.html")).soup.h1.get_text() == "A <title>"


def test_several_photos_are_one_page_with_a_choice(run, photos, small_classifier):
    """By their names; the same command gives the same bytes."""
    small_classifier()
    assert run("report", photos, "--out", "all.html").exit_code == 0
    page = Page(Path("all.html"))
    names = [
        link.find(class_="name").get_text() for link in page.soup.find("nav", class_="photos").find_all("a")
    ]
    assert names == ["a_x", "y", "b_x", "z"]
    before = Path("all.html").read_bytes()
    assert run("report", photos, "--out", "all.html", "--force").exit_code == 0
    assert Path("all.html").read_bytes() == before


def test_a_folder_gets_a_page_for_each_photo(run, photos, small_classifier):
    """One that is there, or a new one."""
    small_classifier()
    result = run("report", photos, "--out", "pages")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in Path("pages").iterdir()) == [
        f"{name}_small.html" for name in ("a_x", "b_x", "y", "z")
    ]
    again = run("report", photos, "--out", "pages")
    assert again.exit_code == 2
    assert "out must be a new file; got 'pages/a_x_small.html'" in again.stderr


def test_a_photo_that_cannot_be_read_is_left_out(run, photos, small_classifier):
    """The others are written, and the exit code is 1; alone it is an error."""
    small_classifier()
    Path("photos/a/x.png").write_text("no photo")
    result = run("report", photos, "--out", "all.html")
    assert result.exit_code == 1
    assert "Skipped 1 of 4 photos: photos/a/x.png" in result.stderr
    assert len(Page(Path("all.html")).soup.find_all("section", class_="photo")) == 3
    alone = run("report", "photos/a/x.png", "--out", "alone.html")
    assert alone.exit_code != 0
    assert not Path("alone.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "a.pdf"], "out must end in .html or .htm, or be a folder; got 'a.pdf'"),
        (["--out", "none/a.html"], "out must be in a folder that can be written to"),
        (["--out", "old.html"], "out must be a new file; got 'old.html', which exists. Pass --force"),
        (["--target", "nothing"], "unknown class 'nothing'"),
        (["--against", "9"], "against must be between 0 and 1"),
        (["--composite", "zplu"], "unknown composite 'zplu'; did you mean 'zplus'?"),
        (["--bank", "sobl"], "unknown bank 'sobl'"),
        (["--device", "nothing"], "device must be one that torch can use here"),
    ],
)
def test_a_wrong_option_is_one_line(run, photo, small_classifier, options, message):
    """Before anything is computed, with exit code 2; nothing is written."""
    small_classifier()
    Path("old.html").write_text("old")
    result = run("report", photo, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["old.html", photo]
    assert Path("old.html").read_text() == "old"


def test_nothing_is_written_onto_what_is_read(run, photo, small_classifier):
    """A photo, be it called a page."""
    small_classifier()
    Path(photo).rename("photo.html")
    result = run("report", "photo.html", "--out", "photo.html", "--force")
    assert result.exit_code == 2
    assert "out must be another file than image" in result.stderr


def test_too_many_photos_for_one_page_are_refused(run, photo, small_classifier, monkeypatch):
    """With what to do instead."""
    small_classifier()
    monkeypatch.setattr("edgefilter.cli.pages.MOST", 1)
    Path("b.jpg").write_bytes(Path(photo).read_bytes())
    result = run("report", photo, "b.jpg")
    assert result.exit_code == 2
    assert "out must be a folder for more than 1 photos" in result.stderr


def test_ctrl_c_says_which_pages_are_written(run, photos, small_classifier, monkeypatch):
    """Those in the folder so far."""
    from edgefilter.cli import pages

    small_classifier()
    write = pages.write_report

    def once(path, *arguments, **options):
        if Path("pages").is_dir() and any(Path("pages").iterdir()):
            raise KeyboardInterrupt
        return write(path, *arguments, **options)

    monkeypatch.setattr(pages, "write_report", once)
    result = run("report", photos, "--out", "pages")
    assert result.exit_code == 130
    assert "Stopped: 1 of 4 pages are written in pages." in result.stderr


def test_what_is_doubtful_about_a_photo_is_said_once_for_each(run, photos, small_classifier, monkeypatch):
    """One line for each photo, though its targets and its contrast warn alike; and nothing of where it arose."""
    small_classifier(outputs=3)
    explain = ef.EdgeFilterAttribution.explain

    def doubtful(self, *arguments, **options):
        warnings.warn("scores nearly cancel.", UserWarning, stacklevel=1)
        return explain(self, *arguments, **options)

    monkeypatch.setattr(ef.EdgeFilterAttribution, "explain", doubtful)
    result = run("report", photos, "--calibrate", "none")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines.count("Warning: scores nearly cancel.") == 4
    assert all(line.startswith("Warning: ") for line in lines)
