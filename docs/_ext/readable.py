"""Mend what the theme leaves open: boxes that scroll can be reached by the keyboard and have a name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes

SHELL = {  # what the theme leaves without a name or a level
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="All pages">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="This page">',
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
}
_EMPTY = re.compile(r'<th class="head([^"]*)"><p></p></th>')
_TABLE = re.compile(r'<div class="table-wrapper[^"]*"')
_PICTURE = re.compile(
    r'<div class="(?:docutils container picture|picture docutils container)[^"]*"|<div class="picture[^"]*"'
)
_CODE = re.compile(r'(<div class="highlight">)<pre>')


def name_boxes(_app: Any, _page: str, _template: str, context: dict[str, Any], _tree: Any) -> None:
    """Make wide tables and code focusable, so that the arrow keys scroll them."""
    if not context.get("body"):
        return
    context["body"] = _EMPTY.sub(r'<td class="head\1"></td>', context["body"])
    body = _TABLE.sub(
        lambda found: found[0] + ' tabindex="0" role="group" aria-label="Table"', context["body"]
    )
    body = _PICTURE.sub(lambda found: found[0] + ' tabindex="0" role="group" aria-label="Picture"', body)
    context["body"] = _CODE.sub(r'\1<pre tabindex="0">', body)


def name_shell(app: Any, failure: Exception | None) -> None:
    """Give what surrounds the pages the names and levels that screen readers need."""
    if failure or app.builder.name != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        text = whole = path.read_text(encoding="utf-8")
        for plain, named in SHELL.items():
            text = text.replace(plain, named)
        if text != whole:
            path.write_text(text, encoding="utf-8")


def trim_code(_app: Any, tree: Any) -> None:
    """Take off the empty line that ends a doctest: it is there for the doctest's sake."""
    for block in tree.findall(nodes.literal_block):
        words = block.astext().rstrip()
        if words != block.astext():
            block.rawsource = words
            block.children = []
            block += nodes.Text(words)


def setup(app: Any) -> dict[str, bool]:
    """Run when a page was read, when it is written, and when all are."""
    app.connect("doctree-read", trim_code)
    app.connect("html-page-context", name_boxes)
    app.connect("build-finished", name_shell)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
