"""The tables of scores that ``edgefilter explain`` prints, in forms for wide and for narrow terminals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from rich.table import Table

from edgefilter.attribution.explanation import Explanation
from edgefilter.banks.groups import MANY
from edgefilter.plots.words import spaced

from .answer import drops
from .options import ScoreTable
from .printing import by_size, new_table

__all__ = ["HEADS", "score_tables", "wanted_parts"]

HEADS = {
    "color": ["color"],
    "order": ["order", "filters"],
    "edge": ["filter", "name"],
    "color_edge": ["color", "filter", "name"],
}


class Part(NamedTuple):
    """A row of a table: a color, a group, a filter or a pair, and what is known about its score."""

    cells: tuple[str, ...]
    score: float
    error: float = 0.0
    drop: float | None = None
    doubted: bool = False


def wanted_parts(explanation: Explanation, wanted: set[ScoreTable]) -> Iterator[tuple[str, list[Part]]]:
    """Yield the rows of each table, largest in size first; before those of many filters, their groups by order."""
    if wanted & {ScoreTable.color, ScoreTable.all}:
        yield "color", _parts(explanation, "color", [(name,) for name in explanation.colors])
    words = dict(zip(explanation.filters, map(spaced, explanation.filter_labels), strict=True))
    if wanted & {ScoreTable.edge, ScoreTable.all}:
        if len(explanation.filters) > MANY and "order" in explanation.groups:
            groups = explanation.group("order")
            cells = zip(groups.names, map(str, map(len, groups.filters)), strict=True)
            yield "order", _sorted(cells, groups.edge[0])
        yield "edge", _parts(explanation, "edge", [(words[name], name) for name in explanation.filters])
    if wanted & {ScoreTable.color_edge, ScoreTable.all}:
        pairs = [(color, words[name], name) for color in explanation.colors for name in explanation.filters]
        yield "color_edge", _sorted(pairs, explanation.color_edge[0].flatten())


def _parts(explanation: Explanation, score: str, cells: Sequence[tuple[str, ...]]) -> list[Part]:
    """Return rows with all that was measured about their scores."""
    doubts, measured = explanation.doubts()[0], drops(explanation)[score]
    errors = explanation.errors[0].tolist() if score == "color" and explanation.errors is not None else []
    spread = dict(zip(explanation.colors, errors, strict=False))
    return [
        part._replace(
            error=spread.get(part.cells[-1], 0.0),
            drop=measured.get(part.cells[-1]),
            doubted=part.cells[-1] in doubts,
        )
        for part in _sorted(cells, explanation.color[0] if score == "color" else explanation.edge[0])
    ]


def _sorted(cells: Iterable[tuple[str, ...]], values: torch.Tensor) -> list[Part]:
    rows = list(map(Part, cells, values.tolist()))
    return [rows[place] for place in by_size(values)]


class Form(NamedTuple):
    """How much a table of scores tells."""

    digits: int = 3
    shares: bool = True
    drops: bool = True
    broken: bool = False  # heads in two lines
    twice: bool = True  # a filter's words and its name


FORMS = (  # from wide to narrow: numbers go before words
    Form(),
    Form(broken=True),
    Form(2, broken=True),
    Form(1, broken=True),
    Form(2, shares=False, broken=True),
    Form(2, shares=False, drops=False),
    Form(2, shares=False, broken=True, twice=False),
    Form(1, shares=False, drops=False, twice=False),
)


def score_tables(heads: Sequence[str], parts: Sequence[Part], rows: int) -> Iterator[Table]:
    """Lay out the largest scores, in narrower and narrower forms."""
    for form in FORMS:
        if form.twice or heads[-1] != "name":
            yield _score_table(heads, parts, rows, form)
            continue
        words = [part.cells[:-1] for part in parts]
        if len(set(words)) < len(words):  # which would make rows alike
            words = [(*part.cells[:-2], part.cells[-1]) for part in parts]
        short = [part._replace(cells=cells) for part, cells in zip(parts, words, strict=True)]
        yield _score_table(heads[:-1], short, rows, form)


def _score_table(heads: Sequence[str], parts: Sequence[Part], rows: int, form: Form) -> Table:
    """Lay out the largest scores; ``drop`` is what the output loses when the part is silenced, ``!`` a doubt."""
    shown, rest = parts[:rows], parts[rows:]
    sizes = sum(abs(part.score) for part in parts)
    numbers = ["relevance"]
    if form.shares:
        numbers.append("share of sizes")
    if drops := form.drops and any(part.drop is not None for part in shown):
        numbers.append("drop if silenced")
    if form.broken:
        numbers = [_in_two_lines(head) for head in numbers]
    table = new_table(heads, numbers)
    if any(part.doubted for part in shown):
        table.add_column("")
    for part in shown:
        cells = [_number(part.score, form) + (f" ± {_number(part.error, form)}" if part.error else "")]
        cells += [_share(abs(part.score), sizes)] if form.shares else []
        cells += ["-" if part.drop is None else _number(part.drop, form)] if drops else []
        table.add_row(*part.cells, *cells, *(["!"] if part.doubted else []))
    if rest:
        name = "1 other" if len(rest) == 1 else f"{len(rest)} others"
        share = [_share(sum(abs(part.score) for part in rest), sizes)] if form.shares else []
        score = _number(sum(part.score for part in rest), form)
        table.add_row(name, *[""] * (len(heads) - 1), score, *share)
    return table


def _number(value: float, form: Form) -> str:
    """Return a number with the digits of a form; of a value that is rounded away, no minus."""
    return f"{round(value, form.digits) + 0.0:.{form.digits}f}"


def _in_two_lines(head: str) -> str:
    return "\n".join(head.split(" ", 1))


def _share(size: float, sizes: float) -> str:
    return f"{size / sizes:.1%}" if sizes else "-"
