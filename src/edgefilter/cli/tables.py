"""What ``edgefilter explain`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from edgefilter.plots.words import spaced

from .answer import Answer, Files, best_classes, conserved, explained_class, margin
from .options import ScoreTable
from .printing import descending, new_table

__all__ = ["print_answer"]


def print_answer(
    console: Console, answer: Answer, files: Files, tables: Sequence[ScoreTable] | None, rows: int
) -> None:
    """Print the predictions, the tables that are wanted, and the sentences that sum up."""
    explanation = answer.explanation
    index, _ = explained_class(answer)
    wanted = set(tables or (ScoreTable.color, ScoreTable.edge))
    console.print(f"Model: {answer.classifier.name}")
    predictions = new_table(["prediction"], ["probability", "logit"])
    for row in best_classes(answer):
        predictions.add_row(row["name"], f"{row['probability']:.1%}", f"{row['logit']:.2f}")
    console.print(predictions)
    name = answer.classifier.class_names[index]
    other, value = margin(answer), f"{explanation.output.item():.2f}"
    console.print(
        f"\nExplained: {name} ({index}), logit {value}"
        if other is None
        else f"\nExplained: {name} ({index}) against {other}, logits differ by {value}"
    )
    for score in (ScoreTable.color, ScoreTable.edge, ScoreTable.color_edge):
        if wanted & {score, ScoreTable.all}:
            console.print()
            console.print(_score_table(score.value, answer, rows))
    console.print()
    for line in _sentences(answer):
        console.print(line, soft_wrap=True)
    for what, path in (("Numbers", files.numbers), ("Picture", files.picture)):
        if path is not None:
            console.print(f"{what}: {path}", soft_wrap=True)


def _score_table(score: str, answer: Answer, rows: int) -> Table:
    """Lay out the largest scores; ``drop`` is what the logit loses when the part is silenced."""
    explanation = answer.explanation
    total = float(explanation.total[0])
    words = dict(zip(explanation.filters, map(spaced, explanation.filter_labels), strict=True))
    values = {
        "color": explanation.color[0],
        "edge": explanation.edge[0],
        "color_edge": explanation.color_edge[0].flatten(),
    }[score]
    cells: dict[str, list[tuple[str, ...]]] = {
        "color": [(color,) for color in explanation.colors],
        "edge": [(words[name], name) for name in explanation.filters],
        "color_edge": [
            (color, words[name], name) for color in explanation.colors for name in explanation.filters
        ],
    }
    drops = answer.drops.get(score)
    heads = {"color": ["color"], "edge": ["filter", "name"], "color_edge": ["color", "filter", "name"]}[score]
    table = new_table(heads, ["relevance", "share", *(["drop if silenced"] if drops else [])])
    order = descending(values)
    for place in order[:rows]:
        drop = [f"{drops[cells[score][place][-1]]:.3f}"] if drops else []
        table.add_row(*cells[score][place], *_amount(float(values[place]), total), *drop)
    if rest := order[rows:]:
        blanks = [""] * (len(heads) - 1)
        table.add_row(
            "1 other" if len(rest) == 1 else f"{len(rest)} others",
            *blanks,
            *_amount(float(values[rest].sum()), total),
        )
    return table


def _amount(value: float, total: float) -> tuple[str, str]:
    return f"{value:.3f}", f"{value / total:.1%}" if total else "-"


def _sentences(answer: Answer) -> Iterator[str]:
    explanation, output = answer.explanation, float(answer.explanation.output[0])
    explained = "logit" if margin(answer) is None else "difference of logits"
    place, color = descending(explanation.edge[0])[0], explanation.colors[descending(explanation.color[0])[0]]
    name, label = explanation.filters[place], spaced(explanation.filter_labels[place])
    parts = (
        (f"filter, {label if label == name else f'{label} ({name})'}", answer.drops["edge"][name]),
        (f"color, {color}", answer.drops["color"][color]),
    )
    for what, drop in parts:
        verb = "lowers" if drop >= 0 else "raises"
        yield f"Silencing the top {what}, {verb} the {explained} from {output:.2f} to {output - drop:.2f}."
    share = conserved(explanation)
    base = float(explanation.base[0])
    rest = f" without its base, {base:.2f}, which every image has" if base else ""
    yield f"Conserved: relevance adds up to {'-' if share is None else f'{share:.2%}'} of the {explained}{rest}."
