"""How what is measured beside an explanation shows itself in a notebook: checks, Shapley values, scores of groups and regions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from edgefilter._notebook import Table, Words, bars, number, shown, table

__all__ = [
    "html_of_check",
    "html_of_groups",
    "html_of_regions",
    "html_of_report",
    "html_of_values",
]

FILTERS = 12  # rows


def html_of_check(check: Any) -> str:
    """Return a causal check as HTML: what the output of the first image loses without each color and each filter."""

    def drops(caption: str, kind: str, names: Sequence[str], values: Tensor) -> Table:
        first = values[0].tolist()
        order = sorted(range(len(first)), key=lambda place: -abs(first[place]))
        known = names or [f"{kind} {place}" for place in range(len(first))]
        columns: list[tuple[str, Sequence[Any]]] = [
            (kind, [known[place] for place in order]),
            ("the output loses", bars(first[place] for place in order)),
        ]
        return of_columns(caption, columns, most=FILTERS)

    return shown(
        check,
        lambda: _first_of(len(check.color)),
        lambda: drops("Without a color", "color", check.colors, check.color),
        lambda: drops("Without a filter", "filter", check.filter_labels, check.edge),
    )


def html_of_report(report: Any) -> str:
    """Return a dry run as HTML: whether the model is supported, and its operations with their rules."""

    def words() -> Words:
        if not report.supported:
            return Words((f"{report.model} is not supported: {report.unsupported}",))
        share = f"{100 * report.conserved_share:.4f} % of {report.explained:.3g} reached the filter bank."
        return Words(
            (
                f"{report.model} is supported: each of its {len(report.operations)} operations has a rule.",
                share,
            )
        )

    def operations() -> Table | None:
        rows = [
            (o.name or report.model, o.kind, o.rule, number(o.received), number(o.handed_on))
            for o in report.operations
        ]
        head = ("operation", "kind", "rule", "received", "handed on")
        caption = f"Operations in the order of execution ({len(rows)})"
        return table(caption, head, rows, most=len(rows), folded=len(rows) > 2 * FILTERS) if rows else None

    return shown(report, words, operations)


def html_of_values(values: Any) -> str:
    """Return Shapley values as HTML: those of the first image, with their standard errors."""

    def players() -> Table:
        first = values.values[0].tolist()
        order = sorted(range(len(first)), key=lambda place: -abs(first[place]))
        labels = values.labels or values.players
        columns: list[tuple[str, Sequence[Any]]] = [
            ("player", [worded(labels[place], values.players[place]) for place in order]),
            ("Shapley value", bars(first[place] for place in order)),
            ("standard error", [number(float(values.errors[0, place])) for place in order]),
        ]
        return of_columns("Shapley values, the largest first", columns)

    def words() -> Words:
        output, base = number(float(values.output[0])), number(float(values.base[0]))
        return Words((f"Target {values.target[0]}: {output} with all players, {base} with none.",))

    return shown(values, lambda: _first_of(len(values)), words, players)


def html_of_groups(scores: Any) -> str:
    """Return the scores of groups of filters of the first image as HTML."""

    def groups() -> Table:
        notes = [scores.notes.get(name, "") for name in scores.names]
        columns: list[tuple[str, Sequence[Any]]] = [
            ("group", scores.names),
            ("score", bars(scores.edge[0].tolist())),
            ("filters", [_listed(names) for names in scores.filters]),
            ("note", notes if any(notes) else ()),
        ]
        return of_columns("Scores by group of filters", columns)

    return shown(scores, lambda: _first_of(len(scores.edge)), groups)


def html_of_regions(scores: Any) -> str:
    """Return the scores of regions of the first image as HTML."""

    def regions() -> Table:
        total = scores.total[0]
        order = total.abs().sort(descending=True, stable=True).indices.tolist()
        colors = scores.color[0]
        columns: list[tuple[str, Sequence[Any]]] = [
            ("region", [str(scores.labels[place]) for place in order]),
            ("score", bars(total[order].tolist())),
            *(
                (name, [number(float(colors[place, at])) for place in order])
                for at, name in enumerate(scores.colors[:4])
            ),
        ]
        return of_columns("Scores by region, the largest first", columns)

    return shown(
        scores,
        lambda: _first_of(len(scores)),
        regions,
        lambda: Words((scores.note,)) if scores.note else None,
    )


def of_columns(caption: str, columns: Sequence[tuple[str, Sequence[Any]]], *, most: int = 25) -> Table:
    """Return a table from its columns; empty ones, of what was not measured, are left out."""
    known = [(name, values) for name, values in columns if len(values)]
    rows: Iterable[tuple[Any, ...]] = zip(*(values for _, values in known), strict=True)
    return table(caption, [name for name, _ in known], rows, most=most)


def _first_of(count: int) -> Words | None:
    return Words((f"Image 0 of {count}.",)) if count > 1 else None


def worded(label: str, name: str) -> str:
    return name if label == name else f"{label.replace('_', ' ')} ({name})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + f", and {len(names) - 6} more" * (len(names) > 6)
