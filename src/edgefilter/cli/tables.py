"""What ``edgefilter explain`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from edgefilter.attribution.explanation import Explanation
from edgefilter.banks.groups import MANY
from edgefilter.plots.words import spaced

from .answer import Answer, Files, best_classes, conserved, drops, explained_class, margin
from .options import ScoreTable
from .printing import by_size, new_table

__all__ = ["print_answer"]

HEADS = {
    "color": ["color"],
    "order": ["order", "filters"],
    "edge": ["filter", "name"],
    "color_edge": ["color", "filter", "name"],
}
DOUBTED = "!  Silenced alone, the output moves the other way, or by less than a tenth of the score: do not believe the score."


class Part(NamedTuple):
    """A row of a table: a color, a group, a filter or a pair, and what is known about its score."""

    cells: tuple[str, ...]
    score: float
    error: float = 0.0
    drop: float | None = None
    doubted: bool = False


def print_answer(
    console: Console,
    answer: Answer,
    files: Files,
    tables: Sequence[ScoreTable] | None,
    rows: int,
    *,
    summary: bool = False,
) -> None:
    """Print the predictions, and the tables that are wanted with the sentences that sum up, or the summary."""
    console.print(f"Model: {answer.classifier.name}")
    predictions = new_table(["prediction"], ["probability", "logit"])
    for row in best_classes(answer):
        predictions.add_row(row["name"], f"{row['probability']:.1%}", f"{row['logit']:.2f}")
    console.print(predictions)
    if summary:
        console.print()
        console.print(answer.explanation.summary(class_names=answer.classifier.class_names), soft_wrap=True)
    if tables or not summary:
        _print_scores(console, answer, set(tables or (ScoreTable.color, ScoreTable.edge)), rows)
    for what, path in (("Numbers", files.numbers), ("Picture", files.picture)):
        if path is not None:
            console.print(f"{what}: {path}", soft_wrap=True)


def _print_scores(console: Console, answer: Answer, wanted: set[ScoreTable], rows: int) -> None:
    """Print what was explained, the tables, what their marks mean, and the sentences that sum up."""
    index, _ = explained_class(answer)
    name = answer.classifier.class_names[index]
    other, value = margin(answer), f"{answer.explanation.output.item():.2f}"
    before = f", before the final {left}" if (left := answer.explanation.left_out) else ""
    console.print(
        f"\nExplained: {name} ({index}), logit {value}{before}"
        if other is None
        else f"\nExplained: {name} ({index}) against {other}, logits differ by {value}{before}"
    )
    doubted = False
    for score, parts in _wanted_parts(answer.explanation, wanted):
        console.print()
        console.print(_score_table(HEADS[score], parts, rows))
        doubted |= any(part.doubted for part in parts[:rows])
    console.print()
    if doubted:
        console.print(DOUBTED, soft_wrap=True)
    for line in _sentences(answer):
        console.print(line, soft_wrap=True)


def _wanted_parts(explanation: Explanation, wanted: set[ScoreTable]) -> Iterator[tuple[str, list[Part]]]:
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


def _score_table(heads: Sequence[str], parts: Sequence[Part], rows: int) -> Table:
    """Lay out the largest scores; ``drop`` is what the output loses when the part is silenced, ``!`` a doubt."""
    shown, rest = parts[:rows], parts[rows:]
    sizes = sum(abs(part.score) for part in parts)
    silenced = any(part.drop is not None for part in shown)
    table = new_table(heads, ["relevance", "share of sizes", *(["drop if silenced"] if silenced else [])])
    if any(part.doubted for part in shown):
        table.add_column("")
    for part in shown:
        score = f"{part.score:.3f}" + (f" ± {part.error:.3f}" if part.error else "")
        drop = ["-" if part.drop is None else f"{part.drop:.3f}"] if silenced else []
        mark = ["!"] if part.doubted else []
        table.add_row(*part.cells, score, _share(abs(part.score), sizes), *drop, *mark)
    if rest:
        name = "1 other" if len(rest) == 1 else f"{len(rest)} others"
        share = _share(sum(abs(part.score) for part in rest), sizes)
        score = f"{sum(part.score for part in rest):.3f}"
        table.add_row(name, *[""] * (len(heads) - 1), score, share)
    return table


def _share(size: float, sizes: float) -> str:
    return f"{size / sizes:.1%}" if sizes else "-"


def _sentences(answer: Answer) -> Iterator[str]:
    explanation, output = answer.explanation, float(answer.explanation.output[0])
    explained = "logit" if margin(answer) is None else "difference of logits"
    place, color = by_size(explanation.edge[0])[0], explanation.colors[by_size(explanation.color[0])[0]]
    name, label = explanation.filters[place], spaced(explanation.filter_labels[place])
    measured = drops(explanation)
    parts = (
        (f"filter, {label if label == name else f'{label} ({name})'}", measured["edge"][name]),
        (f"color, {color}", measured["color"][color]),
    )
    for what, drop in parts:
        verb = "lowers" if drop >= 0 else "raises"
        yield f"Silencing the top {what}, {verb} the {explained} from {output:.2f} to {output - drop:.2f}."
    share = conserved(explanation)
    base = float(explanation.base[0])
    rest = f" without its base, {base:.2f}, which every image has" if base else ""
    yield f"Conserved: relevance adds up to {'-' if share is None else f'{share:.2%}'} of the {explained}{rest}."
