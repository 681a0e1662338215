"""The documentation's sources: links, pictures, code and commands. What only the built pages show is checked by docs/_ext/checked.py."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer.main

from edgefilter.cli.commands import app

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HOWTOS = sorted((DOCS / "howto").glob("*.md"))
PAGES = sorted(DOCS.glob("*.md")) + HOWTOS
FENCE = re.compile(r"^(`{3,})(\{?[\w-]*\}?)[^\n]*\n(.*?)^\1$", re.DOTALL | re.MULTILINE)
WHOLE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
UNCHECKED = {"models.md": 1}  # Python that is no doctest: it reads a file that a training writes


def blocks(page: Path, *kinds: str) -> list[str]:
    """Return the fenced blocks of some kinds."""
    return [found[3] for found in FENCE.finditer(page.read_text(encoding="utf-8")) if found[2] in kinds]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks and comments."""
    return FENCE.sub("", re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL))


def dead_links(text: str) -> list[str]:
    """Return what looks like a link to a page and is code."""
    return re.findall(r"`[^`\s]*\.(?:md|rst)`", text)


def commands(text: str) -> list[list[str]]:
    """Return the calls of edgefilter in a shell block."""
    lines = text.replace("\\\n", " ").splitlines()
    found = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [words[1:] for words in found if words[:1] == ["edgefilter"]]


def unknown(words: list[str]) -> list[str]:
    """Return the subcommand or the options that the command line does not have."""
    known = typer.main.get_command(app).commands
    if not words or words[0].startswith("-"):
        return []
    if words[0] not in known:
        return [words[0]]
    options = {
        name for parameter in known[words[0]].params for name in (*parameter.opts, *parameter.secondary_opts)
    }
    return [
        word for word in words[1:] if word.startswith("--") and word.split("=")[0] not in options | {"--help"}
    ]


@WHOLE
def test_no_link_is_dressed_as_code(page):
    """A page is linked with its title, not named as a file."""
    assert dead_links(prose(page)) == []


def test_that_test_can_fail():
    """A mention of a page as a file is found."""
    assert dead_links("See `docs/limits.md` and [limits](limits.md).") == ["`docs/limits.md`"]


@WHOLE
def test_links_to_other_sites_are_well_formed(page):
    """They go to a host by https, without spaces or a stray bracket."""
    links = re.findall(r"\]\((\w+:[^)]*)\)", prose(page))
    wrong = [link for link in links if not re.fullmatch(r"https://[\w.-]+\.[a-z]+(/[^\s<>\[\]]*)?", link)]
    assert wrong == [], wrong
    assert all(urlsplit(link).netloc for link in links)


@pytest.mark.parametrize("page", HOWTOS, ids=lambda page: page.stem)
def test_a_how_to_shows_a_picture(page):
    """One that is drawn when the pages are built."""
    assert re.search(
        r"^```\{(picture|drawing|terminal|report|notebook)\} ", page.read_text(encoding="utf-8"), re.MULTILINE
    )


@WHOLE
def test_a_picture_has_a_text(page):
    """For those who cannot see it."""
    pictures = blocks(page, "{picture}")
    assert all(re.search(r"^:alt: \S.{20}", body, re.MULTILINE) for body in pictures)


@WHOLE
def test_code_is_a_doctest(page):
    """Code that is shown is run."""
    shown = [body for body in blocks(page, "python") if not body.startswith(">>> ")]
    assert len(shown) == UNCHECKED.get(page.name, 0), shown


@WHOLE
def test_doctests_are_run(page):
    """A page with doctests is among pytest's paths."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    paths = [ROOT / path for path in settings["tool"]["pytest"]["ini_options"]["testpaths"]]
    if blocks(page, "python") and any(">>> " in body for body in blocks(page, "python")):
        assert any(path == page or path in page.parents for path in paths)


@WHOLE
def test_commands_on_the_page_exist(page):
    """Each subcommand and option is one of the command line's."""
    found = [words for body in blocks(page, "bash", "console") for words in commands(body)]
    assert [bad for words in found for bad in unknown(words)] == []


def test_that_unknown_options_are_found():
    """The test of commands can fail."""
    assert unknown(["explain", "a.jpg", "--colour", "red"]) == ["--colour"]
    assert unknown(["explicate"]) == ["explicate"]


def test_numbers_on_trust_are_those_of_the_tables():
    """Each number with two decimals on the page stands in a generated table."""
    tables = "".join(
        (DOCS / "_static" / name).read_text(encoding="utf-8")
        for name in ("groundtruth.md", "groundtruth_details.md")
    )
    known = {float(number) for number in re.findall(r"-?\d*\.\d+", tables)}
    page = prose(DOCS / "faithfulness.md")
    assert [number for number in re.findall(r"(?<![\w.])\.\d\d\b", page) if float(number) not in known] == []


def test_a_link_to_nowhere_is_found(tmp_path, monkeypatch):
    """The check of the built pages finds a missing page, a missing place and a picture without a text."""
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    from checked import Page, faults

    here, there = tmp_path / "here.html", tmp_path / "there.html"
    there.write_text('<h1 id="top">There</h1>', encoding="utf-8")
    here.write_text(
        '<a href="there.html#top">good</a><a href="there.html#end">bad</a><a href="gone.html">bad</a><img src="there.html">',
        encoding="utf-8",
    )
    found = list(faults({path.resolve(): Page(path.resolve()) for path in (here, there)}))
    assert [fault.split("got ")[1] for fault in found] == [
        "'there.html#end'.",
        "'gone.html'.",
        "none for 'there.html'.",
    ]
