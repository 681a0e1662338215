"""How a classifier shows itself in a notebook: what it takes, what it answers, and where things come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgefilter._notebook import Table, Words, shown, table

__all__ = ["html_of_classifier"]

CLASSES = 12  # named


def html_of_classifier(classifier: Any) -> str:
    """Return a classifier as HTML."""
    return shown(
        classifier, lambda: _facts(classifier), lambda: _channels(classifier), lambda: _assumed(classifier)
    )


def _facts(classifier: Any) -> Table:
    names = classifier.class_names
    more = f", and {len(names) - CLASSES} more" if len(names) > CLASSES else ""
    parameters = sum(parameter.numel() for parameter in classifier.model.parameters())
    facts = {
        "network": f"{type(classifier.model).__name__}, {parameters:,} parameters",
        "classes": f"{len(names)}: {', '.join(map(str, names[:CLASSES]))}{more}",
        "preprocessing": classifier.about.get("preprocessing", ""),
        "weights": classifier.about.get("weights", ""),
        "colors": "; ".join(
            f"{name} = {', '.join(members)}" for name, members in (classifier.colors or {}).items()
        ),
    }
    return table("The network", ("part", "what it is"), [item for item in facts.items() if item[1]])


def _channels(classifier: Any) -> Table:
    def listed(values: Sequence[float] | None) -> list[str]:
        return (
            ["unknown"] * len(classifier.channels) if values is None else [f"{value:.4g}" for value in values]
        )

    rows = zip(classifier.channels, listed(classifier.mean), listed(classifier.std), strict=True)
    return table("Its channels", ("channel", "mean", "standard deviation"), rows)


def _assumed(classifier: Any) -> Words | None:
    assumed = classifier.about.get("preprocessing_assumed") == "yes"
    return (
        Words(("The preprocessing is assumed: nothing with the weights says what it was.",))
        if assumed
        else None
    )
