"""Write formulas as MathML: browsers draw it themselves, offline, without a script, and screen readers read it."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from docutils.utils import math
from docutils.utils.math import latex2mathml
from sphinx.util import logging

ERRORS = (SyntaxError, getattr(math, "MathError", SyntaxError))  # of docutils before and since 0.21
_LOGGER = logging.getLogger(__name__)


def _mathml(node: nodes.Element, *, block: bool) -> str:
    """Return the formula as one ``math`` element that keeps its source for those who copy it."""
    formula = node.astext()
    try:
        drawn = latex2mathml.tex2mathml(formula)
    except ERRORS as error:
        _LOGGER.warning(
            "formula must be LaTeX that docutils knows; got %r: %s", formula, error, location=node
        )
        return escape(formula)
    kind = ' display="block"' if block else ""
    start = '<math xmlns="http://www.w3.org/1998/Math/MathML"'
    return drawn.replace(start, f'{start}{kind} alttext="{escape(formula, quote=True)}"', 1)


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula in a sentence."""
    translator.body.append(_mathml(node, block=False))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own."""
    translator.body.append(f'<div class="math">{_mathml(node, block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Add the renderer ``mathml`` for ``html_math_renderer``."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
