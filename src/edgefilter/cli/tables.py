"""What ``edgefilter explain`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from edgefilter.attribution.explanation import Explanation
from edgefilter.plots.words import spaced

from .answer import Answer, best_classes, conserved, drops, explained_class, margin, quantity
from .options import ScoreTable
from .printing import by_size, new_table, print_fitting, print_words
from .score_tables import HEADS, score_tables, wanted_parts

__all__ = ["print_answer", "print_rows", "title_of"]

DOUBTED = "!  Silenced alone, the output moves the other way, or by less than a tenth of the score: do not believe the score."


def print_answer(
    console: Console,
    answer: Answer,
    tables: Sequence[ScoreTable] | None,
    rows: int,
    *,
    summary: bool = False,
) -> None:
    """Print the predictions, and the tables that are wanted with the sentences that sum up, or the summary."""
    console.print(f"Model: {answer.classifier.name}", soft_wrap=True)
    console.print(_predictions(answer))
    if summary:
        console.print()
        print_words(console, answer.explanation.summary(class_names=answer.classifier.class_names))
    if tables or not summary:
        _print_scores(console, answer, set(tables or (ScoreTable.color, ScoreTable.edge)), rows)


def _predictions(answer: Answer) -> Table:
    """Lay out the most probable classes; the logit is left out where the model gives something else."""
    classes = best_classes(answer)
    logits = any(row["logit"] is not None for row in classes)
    table = new_table(["prediction"], ["probability", *(["logit"] if logits else [])])
    for row in classes:
        table.add_row(row["name"], f"{row['probability']:.1%}", *([f"{row['logit']:.2f}"] if logits else []))
    return table


def title_of(answer: Answer) -> str:
    """Return what was explained, for the top of a picture."""
    best, probability = explained_class(answer)
    name, value = answer.classifier.class_names[best], float(answer.explanation.output[0])
    other, what = margin(answer), quantity(answer)
    title = f"{name}: {what} {value:.2f}"
    if what == "logit":
        title += f", probability {probability:.1%}"
    if other is not None:
        title = f"{name} against {margin(answer, numbered=False)}: {_difference(what)} {value:.2f}"
    if answer.explanation.left_out:
        title += f", before the final {answer.explanation.left_out}"
    assumed = answer.classifier.about["preprocessing_assumed"] == "yes"
    return f"{title}, {_kept(answer.explanation)}" + (", preprocessing assumed" if assumed else "")


def _difference(what: str) -> str:
    return {"log odds": what, "probability": "probabilities differ by"}.get(what, "logits differ by")


def _kept(explanation: Explanation) -> str:
    """Return how much relevance is conserved: a share where it is one, else the two numbers."""
    share = conserved(explanation)
    if share is not None and 0 <= share < 1.0005:
        return f"relevance {share:.1%} conserved"
    total = float(explanation.output[0] - explanation.base[0])
    return f"relevance {float(explanation.total[0]):.2g} of {total:.2g}"


def print_rows(console: Console, found: Sequence[dict[str, Any]]) -> None:
    """Print one line for each of several photos: its class, and the color and filter largest in size."""
    forms: Any = ((("color", "edge"), True), (("color", "edge"), False), (("color",), False), ((), False))
    print_fitting(console, (_row_table(found, parts, scores=scores) for parts, scores in forms))


def _row_table(found: Sequence[dict[str, Any]], parts: Sequence[str], *, scores: bool) -> Table:
    heads = {"color": "top color", "edge": "top filter"}
    table = new_table(["photo", "class"], ["probability"])
    for part in parts:
        table.add_column(heads[part], overflow="fold")
        if scores:
            table.add_column("relevance", justify="right", no_wrap=True)
    for one in found:
        cells = [one["image"], one["explained"]["name"], f"{one['explained']['probability']:.1%}"]
        for part in parts:
            name, value = max(one[part].items(), key=lambda pair: abs(pair[1]))
            cells += [spaced(one["labels"].get(name, name)), *([f"{value:.3f}"] if scores else [])]
        table.add_row(*cells)
    return table


def _print_scores(console: Console, answer: Answer, wanted: set[ScoreTable], rows: int) -> None:
    """Print what was explained, the tables, what their marks mean, and the sentences that sum up."""
    index, _ = explained_class(answer)
    name = answer.classifier.class_names[index]
    other, value, what = margin(answer), f"{answer.explanation.output.item():.2f}", quantity(answer)
    before = f", before the final {left}" if (left := answer.explanation.left_out) else ""
    print_words(
        console,
        f"\nExplained: {name} ({index}), {what} {value}{before}"
        if other is None
        else f"\nExplained: {name} ({index}) against {other}, {_difference(what)} {value}{before}",
    )
    doubted = False
    for score, parts in wanted_parts(answer.explanation, wanted):
        console.print()
        print_fitting(console, score_tables(HEADS[score], parts, rows))
        doubted |= any(part.doubted for part in parts[:rows])
    console.print()
    if doubted:
        print_words(console, DOUBTED)
    for line in _sentences(answer):
        print_words(console, line)


def _sentences(answer: Answer) -> Iterator[str]:
    explanation, output = answer.explanation, float(answer.explanation.output[0])
    explained = quantity(answer)
    if margin(answer) is not None:
        names = {"logit": "difference of logits", "probability": "difference of probabilities"}
        explained = names.get(explained, explained)
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
    yield _conserved(explanation, explained)


def _conserved(explanation: Explanation, explained: str) -> str:
    """Say what the scores add up to: a share where it is one, else the two numbers."""
    share, base = conserved(explanation), float(explanation.base[0])
    if share is not None and not 0 <= share < 1.00005:
        total, wanted = float(explanation.total[0]), float(explanation.output[0]) - base
        return f"Conserved: not quite. Relevance adds up to {total:.3g}, the {explained} without its base, {base:.2f}, to {wanted:.3g}."
    rest = f" without its base, {base:.2f}, which every image has" if abs(base) >= 0.005 else ""
    return f"Conserved: relevance adds up to {'-' if share is None else f'{share:.2%}'} of the {explained}{rest}."
