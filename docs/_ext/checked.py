"""Check the pages that were built: every link inside leads to a page and a place, every picture has a file and a text."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.util import logging

_LOGGER = logging.getLogger(__name__)


class Page(HTMLParser):
    """The places, links and pictures of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.places, self.links, self.silent = path, [""], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag brings."""
        found = dict(attrs)
        self.places += [value for key in ("id", "name") if (value := found.get(key))]
        self.links += [value for key in ("href", "src") if (value := found.get(key))]
        if tag == "img" and found.get("alt") is None:
            self.silent.append(found.get("src") or "")


def faults(pages: dict[Path, Page]) -> Iterator[str]:
    """Say which links lead nowhere, and which pictures say nothing."""
    places = {path: set(page.places) for path, page in pages.items()}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                yield f"{path.name}: link must lead to a file; got {link!r}."
            elif target in places and unquote(parts.fragment) not in places[target]:
                yield f"{path.name}: link must lead to a place on the page; got {link!r}."
        yield from (
            f"{path.name}: picture must have a text; got none for {source!r}." for source in page.silent
        )


def check(app: Any, failure: Exception | None) -> None:
    """Warn of every fault; warnings fail the build."""
    if failure or app.builder.name != "html":
        return
    folder = Path(app.outdir).resolve()
    found = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
    for fault in faults({path: Page(path) for path in found}):
        _LOGGER.warning(fault)


def setup(app: Any) -> dict[str, bool]:
    """Run when all pages are written."""
    app.connect("build-finished", check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
