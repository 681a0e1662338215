"""An explanation in plain words, and which of its scores should not be believed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from edgefilter.banks.groups import MANY
from edgefilter.plots.words import spaced

if TYPE_CHECKING:
    from .views import ScoreViews

__all__ = ["doubtful", "summarized"]

NAMED = 4
MOST = 8  # colors: of more, the first four and the sum of the others
ROUNDING = 1e-6  # of all sizes together: scores below are rounding in float32
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
    target, against = (_named(which[0], class_names) for which in (explanation.target, explanation.against))
    what = f"Output {target}" if explanation.against[0] is None else f"Output {target} minus {against}"
    output, base = float(explanation.output[0]), float(explanation.base[0])
    lines = [f"{what} is {output:.2f}; {base:.2f} of it is there without the image."]
    if math.isnan(output):
        lines = [f"{what}: the scores add up to {float(explanation.total[0]):.2f}."]
    said, colors = _colors(explanation)
    lines.append(said)
    if len(explanation.filters) > MANY and "order" in explanation.groups:
        groups = explanation.group("order")
        lines.append(f"Filters by order: {_listed(groups.names, _of(groups.edge))}.")
    top = explanation.top(NAMED, by="size")[0]
    words = {
        name: _in_words(name, label)
        for name, label in zip(explanation.filters, explanation.filter_labels, strict=True)
    }
    names, values = zip(*top, strict=True)
    lines.append(f"Filters: {_listed([words[name] for name in names], values)}.")
    lines += _warnings(
        doubtful(explanation),
        {name: words.get(name, name) for name in (*colors, *names)},
        "other filters" if len(colors) == len(explanation.colors) else "others",
    )
    if explanation.left_out:
        lines.append(f"Explained before the final {explanation.left_out}.")
    return "\n".join(lines)


def _colors(explanation: ScoreViews) -> tuple[str, list[str]]:
    """Say the scores of the colors of one image, and return the names of those that were said."""
    count = len(explanation.colors)
    names, values = zip(
        *explanation.top(count if count <= MOST else NAMED, "color", by="size")[0], strict=True
    )
    spread = dict(zip(explanation.colors, _of(explanation.errors), strict=False))
    said = _listed(names, values, [spread.get(name, 0.0) for name in names])
    if count > len(names):
        said += f", {count - len(names)} others {float(explanation.color[0].sum()) - sum(values):+.2f}"
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


def _named(which: Any, class_names: Sequence[str] | None) -> str:
    if isinstance(which, int) and class_names is not None:
        if not -len(class_names) <= which < len(class_names):
            raise ValueError(
                f"class_names must have a name for each output; got {len(class_names)}, but output {which} is named. Pass those of all."
            )
        return class_names[which]
    return {None: "of the model", "rest": "the mean of the others"}.get(which, str(which))


def _listed(names: Iterable[str], values: Sequence[float], errors: Sequence[float] = ()) -> str:
    """Return names with their scores, the largest in size first."""
    spread = [_spread(error) for error in errors] or [""] * len(values)
    rows = sorted(zip(names, values, spread, strict=True), key=lambda row: -abs(row[1]))
    return ", ".join(f"{name} {value:+.2f}{error}" for name, value, error in rows)


def _spread(error: float) -> str:
    """Return a standard error; one that is not 0 is not printed as 0."""
    return "" if not error else f" ± {error:.2f}" if error >= 0.005 else " ± <0.01"
