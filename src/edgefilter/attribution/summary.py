"""An explanation in plain words, and which of its scores should not be believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edgefilter.banks.groups import MANY
from edgefilter.plots.words import COMPARED, joining, name_of, spaced

from .level_words import said_of_levels

if TYPE_CHECKING:
    from .views import ScoreViews

__all__ = ["doubtful", "summarized"]

NAMED = 4
MOST = 8  # colors: of more, the first four and the sum of the others
ROUNDING = 1e-6  # of all sizes together: scores below are rounding in float32
CLOSE = 0.5  # of the largest score: a second filter is named beside it
SMALLEST = 1e-4  # numbers below are written with an exponent
DOUBT = 0.1  # of a score: an effect of less contradicts it


def doubtful(explanation: ScoreViews) -> dict[str, str]:
    """Return the colors and filters of one image whose effect contradicts the score, and how."""
    measured = (
        (explanation.colors, explanation.color, explanation.effects),
        (explanation.filters, explanation.edge, explanation.filter_effects),
    )
    size = explanation.response.abs().sum() + explanation.base.abs().sum()
    least = ROUNDING * float(size.nan_to_num(0))
    found = {}
    for names, scores, effects in measured:
        for name, score, effect in zip(names, _of(scores), _of(effects), strict=False):
            if abs(score) > least and (score * effect < 0 or abs(effect) < DOUBT * abs(score)):
                found[name] = (
                    f"scores {score:+.3g}, but has an effect of {effect:+.3g} when it is silenced alone"
                )
    return found


def summarized(explanation: ScoreViews, class_names: Sequence[str] | None) -> str:
    """Say in a few lines what the output of one image came from."""
    number = _written_as(explanation.color[0], explanation.edge[0])
    said, colors = _colors(explanation, number)
    lines = [_first(explanation, class_names), _output(explanation, class_names)]
    lines += [*said_of_levels(explanation, number), said]
    if len(explanation.filters) > MANY and "order" in explanation.groups:
        groups = explanation.group("order")
        lines.append(f"Filters by order: {_listed(groups.names, _of(groups.edge), number)}.")
    top = explanation.top(NAMED, by="size")[0]
    words = {
        name: _in_words(name, label)
        for name, label in zip(explanation.filters, explanation.filter_labels, strict=True)
    }
    names, values = zip(*top, strict=True)
    lines.append(f"Filters: {_listed([words[name] for name in names], values, number)}.")
    lines += _warnings(
        doubtful(explanation),
        {name: words.get(name, name) for name in (*colors, *names)},
        "other filters" if len(colors) == len(explanation.colors) else "others",
    )
    if explanation.left_out:
        lines.append(f"Explained before the final {explanation.left_out}.")
    return "\n".join(line for line in lines if line)


def _first(explanation: ScoreViews, class_names: Sequence[str] | None) -> str:
    """Say in one sentence which color and which filters speak most for the output."""
    what = _subject(explanation, class_names)
    color = explanation.top(1, "color")[0][0]
    filters = [one for one in explanation.top(2)[0] if one.value > 0]
    if len(filters) == 2 and filters[1].value < CLOSE * filters[0].value:
        filters = filters[:1]
    if not (color.value > 0 or filters):
        worst = explanation.top(1, "color", by="size")[0][0]
        return f"Nothing speaks for {what}; {worst.name} speaks against it most." if worst.value < 0 else ""
    parts = [f"the color {color.name}"] if len(explanation.colors) > 1 and color.value > 0 else []
    if filters:
        named = " and ".join(spaced(one.label) for one in filters)
        parts.append(f"the filter{'s' * (len(filters) > 1)} {named}")
    said = " and ".join(parts) or f"the color {color.name}"
    one = len(parts) < 2 and len(filters) < 2
    return f"{said[:1].upper()}{said[1:]} {'speaks' if one else 'speak'} most for {what}."


def _output(explanation: ScoreViews, class_names: Sequence[str] | None) -> str:
    """Say how large the explained output is, and what of it is there without the image."""
    number = _written_as(explanation.output, explanation.base, explanation.total)
    target, against = (_named(which[0], class_names) for which in (explanation.target, explanation.against))
    other, what = explanation.against[0], f"Output {target}"
    if other is not None:
        what += f" {joining(other)} {against}" + " (log odds)" * (other == "odds")
    output, base = float(explanation.output[0]), float(explanation.base[0])
    if math.isnan(output):
        return f"{what}: the scores add up to {number(float(explanation.total[0]))}."
    return f"{what} is {number(output)}; {number(base)} of it is there without the image."


def _subject(explanation: ScoreViews, class_names: Sequence[str] | None) -> str:
    """Return what is explained in words: a class by its name, or an output by its number."""
    target, against = explanation.target[0], explanation.against[0]
    what = _worded(target, class_names)
    if against is None:
        return what
    return f"{what} {'against' if against == 'odds' else 'rather than'} {_worded(against, class_names)}"


def _worded(which: Any, class_names: Sequence[str] | None) -> str:
    name = _named(which, class_names)
    if isinstance(which, str):
        return "the others" if which == "rest" else name
    by_name = isinstance(which, int) and class_names is not None
    return name if by_name else "the output" if which is None else f"output {name}"


def _written_as(*values: Tensor) -> Callable[[float], str]:
    """Return how numbers are written: with two decimals, and more where all of them are small."""
    largest = float(torch.cat(values).double().nan_to_num(0, 0, 0).abs().max())
    if not SMALLEST <= largest < 1e6:
        return lambda value: f"{value:.2f}" if not largest else f"{value:.2g}"
    decimals = max(2, 1 - math.floor(math.log10(largest)))
    return lambda value: f"{round(value, decimals) + 0.0:.{decimals}f}"


def _colors(explanation: ScoreViews, number: Callable[[float], str]) -> tuple[str, list[str]]:
    """Say the scores of the colors of one image, and return the names of those that were said."""
    count = len(explanation.colors)
    names, values = zip(
        *explanation.top(count if count <= MOST else NAMED, "color", by="size")[0], strict=True
    )
    spread = dict(zip(explanation.colors, _of(explanation.errors), strict=False))
    said = _listed(names, values, number, [spread.get(name, 0.0) for name in names])
    if count > len(names):
        others = number(float(explanation.color[0].sum()) - sum(values))
        said += f", {count - len(names)} others {_signed(others)}"
    return f"Colors: {said}.", list(names)


def _warnings(doubts: dict[str, str], named: dict[str, str], rest_of: str) -> list[str]:
    """Say what to be careful with: of the names that were said, why; of the others, how many."""
    lines = [f"Careful: {named[name]} {why}." for name, why in doubts.items() if name in named]
    if rest := len(doubts) - len(lines):
        lines.append(
            f"Of the {rest_of}, {rest} {'has' if rest == 1 else 'have'} an effect that contradicts the score."
        )
    return lines


def _of(values: Tensor | None) -> list[float]:
    found: list[float] = [] if values is None else values[0].tolist()
    return found


def _in_words(name: str, label: str) -> str:
    return name if label == name else f"{spaced(label)} ({name})"


def _named(which: Any, class_names: Sequence[str] | Mapping[int, str] | None) -> str:
    name = name_of(which, class_names, "class_names", "named")
    return {None: "of the model", **COMPARED}.get(which, str(which)) if name is None else name


def _listed(
    names: Iterable[str],
    values: Sequence[float],
    number: Callable[[float], str],
    errors: Sequence[float] = (),
) -> str:
    """Return names with their scores, the largest in size first."""
    spread = [_spread(error, number) for error in errors] or [""] * len(values)
    rows = sorted(zip(names, values, spread, strict=True), key=lambda row: -abs(row[1]))
    return ", ".join(f"{name} {_signed(number(value))}{error}" for name, value, error in rows)


def _signed(number: str) -> str:
    return number if number.startswith("-") else f"+{number}"


def _spread(error: float, number: Callable[[float], str]) -> str:
    """Return a standard error; one that is not 0 is not printed as 0."""
    said = number(error)
    return "" if not error else f" ± {said}" if float(said) else f" ± <{_last_digit(said)}"


def _last_digit(zero: str) -> str:
    """Return the smallest number that a zero like this would not stand for.

    Examples
    --------
    >>> _last_digit("0.00")
    '0.01'
    """
    return f"{zero[:-1]}1"
