"""How an explanation shows itself in a notebook: sentences, figure and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from edgefilter._notebook import Picture, Table, Words, bars, number, shown, table

from .level_words import named_levels
from .notebook import FILTERS, of_columns, worded

__all__ = ["html_of_explanation"]


def html_of_explanation(explanation: Any) -> str:
    """Return an explanation as HTML: its summary, the figure, and the scores of the first image as tables."""
    return shown(
        explanation,
        lambda: Words(tuple(explanation.summary().splitlines()) if len(explanation) else ("No images.",)),
        lambda: _figure(explanation),
        lambda: _colors(explanation),
        lambda: _filters(explanation),
        lambda: _images(explanation),
    )


def _figure(explanation: Any) -> Picture:
    from edgefilter.plots.themes import themed

    words = explanation.summary().splitlines()[0]
    return themed(
        lambda: explanation.plot(caption=False), f"Explanation. {words}"
    )  # the summary stands above it


def _colors(explanation: Any) -> Table:
    said = named_levels(explanation)
    columns: list[tuple[str, Sequence[Any]]] = [
        ("color", explanation.colors),
        ("score", bars(explanation.color[0].tolist())),
        ("effect when silenced", _measured(explanation.effects)),
        ("standard error", _measured(explanation.errors) if _any(explanation.errors) else ()),
        ("what speaks", said if any(said) else ()),
    ]
    return of_columns("Scores by color", columns)


def _filters(explanation: Any) -> Table:
    scores = explanation.edge[0]
    order = scores.abs().sort(descending=True, stable=True).indices.tolist()
    some = [explanation.filters[place] for place in order]
    effects = _measured(explanation.filter_effects)
    columns: list[tuple[str, Sequence[Any]]] = [
        (
            "filter",
            [worded(explanation.filter_labels[place], explanation.filters[place]) for place in order],
        ),
        ("score", bars(scores[order].tolist())),
        ("effect when silenced", [effects[place] for place in order] if effects else ()),
    ]
    caption = (
        f"Scores by filter, the largest {FILTERS} of {len(some)}"
        if len(some) > FILTERS
        else "Scores by filter"
    )
    return of_columns(caption, columns, most=FILTERS)


def _images(explanation: Any) -> Table | None:
    """Return a row for each image of a batch; of one image there is nothing to add."""
    if len(explanation) < 2:
        return None
    top = zip(explanation.top(1, "color"), explanation.top(1), strict=True)
    rows = [
        (
            str(image),
            str(explanation.target[image]),
            number(float(explanation.output[image])),
            color[0].name,
            edge[0].label,
        )
        for image, (color, edge) in enumerate(top)
    ]
    return table("Images of the batch; above is image 0, and explanation[1] shows the next",
                  ("image", "target", "output", "top color", "top filter"), rows)  # fmt: skip


def _measured(values: Tensor | None) -> list[str]:
    return [] if values is None else [number(value, signed=True) for value in values[0].tolist()]


def _any(values: Tensor | None) -> bool:
    return values is not None and bool(values[0].nan_to_num(0).any())
