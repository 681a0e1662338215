"""Mend what the theme leaves open: boxes that scroll can be reached by the keyboard and have a name."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes

_TABLE = re.compile(r'<div class="table-wrapper[^"]*"')
_PICTURE = re.compile(
    r'<div class="(?:docutils container picture|picture docutils container)[^"]*"|<div class="picture[^"]*"'
)
_CODE = re.compile(r'(<div class="highlight">)<pre>')


def name_boxes(_app: Any, _page: str, _template: str, context: dict[str, Any], _tree: Any) -> None:
    """Make wide tables and code focusable, so that the arrow keys scroll them."""
    if not context.get("body"):
        return
    body = _TABLE.sub(
        lambda found: found[0] + ' tabindex="0" role="group" aria-label="Table"', context["body"]
    )
    body = _PICTURE.sub(lambda found: found[0] + ' tabindex="0" role="group" aria-label="Picture"', body)
    context["body"] = _CODE.sub(r'\1<pre tabindex="0">', body)


def trim_code(_app: Any, tree: Any) -> None:
    """Take off the empty line that ends a doctest: it is there for the doctest's sake."""
    for block in tree.findall(nodes.literal_block):
        words = block.astext().rstrip()
        if words != block.astext():
            block.rawsource = words
            block.children = []
            block += nodes.Text(words)


def setup(app: Any) -> dict[str, bool]:
    """Run when a page was read, and when it is written."""
    app.connect("doctree-read", trim_code)
    app.connect("html-page-context", name_boxes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
