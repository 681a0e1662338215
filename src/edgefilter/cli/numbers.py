"""The numbers of ``edgefilter explain`` in files: JSON by name, and one row of a CSV for each photo."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import torch

from edgefilter import __version__
from edgefilter.attribution.listing import by_name

from .answer import Answer, best_classes, conserved, explained_class, margin, quantity

__all__ = ["as_csv", "as_json", "as_row", "as_text"]


def as_json(answer: Answer, image: str, digest: str, bits: int | None = None) -> dict[str, Any]:
    """Return all that was found out as plain values by name, ready for JSON.

    ``digest`` is that of the model's weights, and ``bits`` are those that photos were read with, if they were named.
    """
    explanation, classifier = answer.explanation, answer.classifier
    scale = {"bits": bits or classifier.bits, "white": classifier.white}
    read = {name: value for name, value in scale.items() if value is not None}
    index, probability = explained_class(answer)
    return {
        "image": image,
        "model": classifier.name,
        "predictions": best_classes(answer),
        "explained": {
            "index": index,
            "name": classifier.class_names[index],
            "probability": probability,
            "against": margin(answer),
            "quantity": quantity(answer),
        },
        **by_name(explanation, explanation.doubts()),
        "conserved_share": conserved(explanation),
        "about": {**classifier.about, **read, "weights_digest": digest, **explanation.about},
        "versions": {"edgefilter": __version__, "torch": str(torch.__version__)},
    }


def as_row(found: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the table: what was predicted and explained, each score by name, the doubts, and how it was made."""
    best, explained = found["predictions"][0], found["explained"]
    scores = {f"{kind}_{name}": value for kind in ("color", "edge") for name, value in found[kind].items()}
    orders = {f"order_{name}": group["edge"] for name, group in found["groups"].get("order", {}).items()}
    return {
        "image": found["image"],
        "predicted_index": best["index"],
        "predicted": best["name"],
        "probability": best["probability"],
        "explained_index": explained["index"],
        "explained": explained["name"],
        "explained_probability": explained["probability"],
        "against": explained["against"],
        "output": found["output"],
        "base": found["base"],
        "conserved_share": found["conserved_share"],
        **scores,
        **orders,
        "doubts": "; ".join(found["doubts"]),
        **found["about"],
    }


def as_text(content: dict[str, Any] | Sequence[dict[str, Any]]) -> str:
    """Return numbers as JSON."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV, with a column for every name that one of them has; what is unknown is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if _unknown(value) else value for name, value in row.items()} for row in rows)
    return text.getvalue()


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
