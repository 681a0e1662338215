"""What one run of ``edgefilter explain`` finds out."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from edgefilter import __version__
from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.attribution.causal import causal_check
from edgefilter.attribution.explanation import Explanation
from edgefilter.banks.bank import FilterBank
from edgefilter.classifiers.classifier import Classifier
from edgefilter.stems.finding import find_stem, has_bank
from edgefilter.stems.replacing import replace_stem

from .printing import descending

__all__ = [
    "Answer",
    "Files",
    "as_json",
    "best_classes",
    "conserved",
    "explained_class",
    "expressed",
    "find_answer",
]

MOST_SILENCED = 64  # filters; each takes one run of the network


class Answer(NamedTuple):
    """What one run of ``explain`` finds out."""

    classifier: Classifier
    logits: torch.Tensor
    explanation: Explanation
    drops: dict[str, dict[str, float]]  # of the explained output, by color and by filter
    bank: FilterBank
    inputs: torch.Tensor


class Files(NamedTuple):
    """What one run of ``explain`` writes."""

    picture: Path | None
    numbers: Path | None  # as JSON


def expressed(model: nn.Module, bank: FilterBank | None) -> nn.Module:
    """Express the stem with a bank; if the bank is to blame for a failure, say what to type instead."""
    if bank is None and has_bank(model):
        return model
    try:
        return replace_stem(model, bank)
    except ValueError as cause:
        complete = replace_stem(model)  # raises what is wrong with the network itself
        if bank is None:
            raise
        stem: Any = complete.get_submodule(find_stem(complete))
        height, width = stem.bank.shape
        larger = bank.shape[0] > height or bank.shape[1] > width
        what = (
            "is {}x{}".format(*bank.shape) if larger else f"spans {bank.rank} of {height * width} dimensions"
        )
        raise ValueError(
            f"bank must express the network's {height}x{width} stem exactly; got {bank.name!r}, which {what}. "
            "Use --bank complete."
        ) from cause


def find_answer(
    classifier: Classifier,
    attribution: EdgeFilterAttribution,
    inputs: torch.Tensor,
    index: int | None,
    rows: int,
) -> Answer:
    """Explain a class, the predicted one if none is given, and silence its parts."""
    model = attribution.model
    with torch.no_grad():
        logits = model(inputs)[0].cpu()
    explanation = attribution.explain(inputs, int(logits.argmax()) if index is None else index)
    layer = model.get_submodule(find_stem(model))
    drops = _drops(attribution, inputs, explanation, rows)
    return Answer(classifier, logits, explanation, drops, layer.bank, inputs)  # type: ignore[arg-type]


def _drops(
    attribution: EdgeFilterAttribution, inputs: torch.Tensor, explanation: Explanation, rows: int
) -> dict[str, dict[str, float]]:
    """Silence each color and each filter, but of a large bank only the filters that are shown."""
    if len(explanation.filters) > MOST_SILENCED:
        best = descending(explanation.edge[0])[:rows]
        explanation = dataclasses.replace(
            explanation,
            response=explanation.response[:, :, best],
            filters=tuple(explanation.filters[place] for place in best),
            filter_labels=tuple(explanation.filter_labels[place] for place in best),
        )
    check = causal_check(attribution, inputs, explanation)
    return {
        "color": dict(zip(explanation.colors, check.color[0].tolist(), strict=True)),
        "edge": dict(zip(explanation.filters, check.edge[0].tolist(), strict=True)),
    }


def explained_class(answer: Answer) -> tuple[int, float]:
    """Return the index of the explained class, and its probability."""
    target: int = answer.explanation.target[0]
    return target, float(answer.logits.softmax(0)[target])


def conserved(explanation: Explanation) -> float | None:
    """Return the conserved share, or None where the output is 0."""
    share = float(explanation.conserved_share[0])
    return share if math.isfinite(share) else None


def best_classes(answer: Answer) -> list[dict[str, Any]]:
    """Return the three classes with the largest outputs."""
    best = answer.logits.topk(min(3, len(answer.logits)))
    shares = answer.logits.softmax(0)
    return [
        {
            "index": i,
            "name": answer.classifier.class_names[i],
            "probability": float(shares[i]),
            "logit": value,
        }
        for i, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def as_json(answer: Answer, image: Path | None) -> dict[str, Any]:
    """Return all that was found out as plain values, ready for JSON."""
    explanation = answer.explanation
    index, probability = explained_class(answer)
    return {
        "image": "coffee" if image is None else str(image),
        "model": answer.classifier.name,
        "predictions": best_classes(answer),
        "explained": {
            "index": index,
            "name": answer.classifier.class_names[index],
            "probability": probability,
        },
        **explanation.to_dict(),
        "conserved_share": conserved(explanation),
        "causal_drop": answer.drops,
        "versions": {"edgefilter": __version__, "torch": str(torch.__version__)},
    }
