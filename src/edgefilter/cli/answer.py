"""What one run of ``edgefilter explain`` finds out."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from edgefilter import __version__
from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.attribution.causal import causal_check
from edgefilter.attribution.explanation import Explanation
from edgefilter.banks.bank import FilterBank
from edgefilter.classifiers.classifier import Classifier
from edgefilter.stems.finding import bank_of_model

from .printing import by_size

__all__ = [
    "Answer",
    "Files",
    "as_json",
    "best_classes",
    "conserved",
    "drops",
    "explained_class",
    "find_answer",
    "margin",
]

MOST_SILENCED = 64  # filters; each takes one run of the network


class Answer(NamedTuple):
    """What one run of ``explain`` finds out."""

    classifier: Classifier
    logits: torch.Tensor
    explanation: Explanation
    bank: FilterBank
    inputs: torch.Tensor


class Files(NamedTuple):
    """What one run of ``explain`` writes."""

    picture: Path | None
    numbers: Path | None  # as JSON


def find_answer(
    classifier: Classifier,
    attribution: EdgeFilterAttribution,
    inputs: torch.Tensor,
    index: int | None,
    against: int | Literal["rest"] | None,
    rows: int,
) -> Answer:
    """Explain a class, the predicted one if none is given, against another or by itself, and silence its parts."""
    with torch.no_grad():
        logits = attribution.model(inputs)[0].cpu()
    explanation = _explained(attribution, inputs, int(logits.argmax()) if index is None else index, against)
    if len(logits) == 1:
        logits = explanation.output.cpu()  # without the sigmoid at the end, if there is one
    explanation = _silenced(attribution, inputs, explanation, rows)
    return Answer(classifier, logits, explanation, _bank_of(attribution, inputs), inputs)


def _explained(
    attribution: EdgeFilterAttribution,
    inputs: torch.Tensor,
    index: int,
    against: int | Literal["rest"] | None,
) -> Explanation:
    """Explain a class; if the bank is to blame for a failure, say what to type instead."""
    bank = attribution.bank
    try:
        return attribution.explain(inputs, index, against=against)
    except ValueError as cause:
        if bank is None:
            raise
        complete = EdgeFilterAttribution(attribution.model, attribution.composite)
        height, width = _bank_of(complete, inputs).shape  # raises what is wrong with the network itself
        larger = bank.shape[0] > height or bank.shape[1] > width
        if not larger and bank.rank == height * width:
            raise
        what = (
            "is {}x{}".format(*bank.shape) if larger else f"spans {bank.rank} of {height * width} dimensions"
        )
        raise ValueError(
            f"bank must express the network's {height}x{width} stem exactly; got {bank.name!r}, which {what}. "
            "Use --bank complete."
        ) from cause


def _bank_of(attribution: EdgeFilterAttribution, inputs: torch.Tensor) -> FilterBank:
    """Return the bank of the network, or the one that expresses its stem, whose size shows when it runs."""
    layer = bank_of_model(attribution.model)
    return attribution.dry_run(inputs, 0).bank if layer is None else layer.bank


def _silenced(
    attribution: EdgeFilterAttribution, inputs: torch.Tensor, explanation: Explanation, rows: int
) -> Explanation:
    """Add what silencing each color and each filter does, but of a large bank only the filters that are shown."""
    if len(explanation.filters) <= MOST_SILENCED:
        check = causal_check(attribution, inputs, explanation)
        return _with_effects(explanation, check.color, check.edge)
    against = next(iter(explanation.against), None)

    def drop(**parts: Any) -> torch.Tensor:
        rest = attribution.silence(inputs, explanation.target[0], against=against, **parts)
        return explanation.output[0] - rest[0]

    color = torch.stack([drop(colors=[name]) for name in explanation.colors])
    edge = torch.full_like(explanation.edge, math.nan)
    for place in by_size(explanation.edge[0])[:rows]:
        edge[0, place] = drop(filters=[explanation.filters[place]])
    return _with_effects(explanation, color[None], edge)


def _with_effects(explanation: Explanation, color: torch.Tensor, edge: torch.Tensor) -> Explanation:
    """Keep the effects of the colors where a game has measured them."""
    effects = color if explanation.effects is None else explanation.effects
    return dataclasses.replace(explanation, effects=effects, filter_effects=edge)


def drops(explanation: Explanation) -> dict[str, dict[str, float]]:
    """Return by how much the explained output drops without each color and each filter, as far as it was measured."""
    measured = {
        "color": (explanation.colors, explanation.effects),
        "edge": (explanation.filters, explanation.filter_effects),
    }
    return {
        what: {
            name: value
            for name, value in zip(names, [] if values is None else values[0].tolist(), strict=False)
            if not math.isnan(value)
        }
        for what, (names, values) in measured.items()
    }


def explained_class(answer: Answer) -> tuple[int, float]:
    """Return the index of the explained class, and its probability."""
    target: int = answer.explanation.target[0]
    return target, float(_probabilities(answer)[target])


def margin(answer: Answer) -> str | None:
    """Return what the explained class is compared with, in words; None if with nothing."""
    other = next(iter(answer.explanation.against), None)
    if other is None:
        return None
    return (
        "the mean of the others" if other == "rest" else f"{answer.classifier.class_names[other]} ({other})"
    )


def _probabilities(answer: Answer) -> torch.Tensor:
    """Return the probability of each class; a network of one logit, trained as a binary classifier, means its sigmoid."""
    if len(answer.logits) == 1:
        return answer.logits.sigmoid()
    if answer.explanation.left_out in ("sigmoid", "softmax"):
        return answer.logits
    return answer.logits.softmax(0)


def conserved(explanation: Explanation) -> float | None:
    """Return the conserved share, or None where the output is 0."""
    share = float(explanation.conserved_share[0])
    return share if math.isfinite(share) else None


def best_classes(answer: Answer) -> list[dict[str, Any]]:
    """Return the three classes with the largest outputs."""
    best = answer.logits.topk(min(3, len(answer.logits)))
    shares = _probabilities(answer)
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
            "against": margin(answer),
        },
        **explanation.to_dict(),
        "about": {"model": answer.classifier.name, **explanation.about},
        "groups": _orders(explanation),
        "conserved_share": conserved(explanation),
        "causal_drop": drops(explanation),
        "versions": {"edgefilter": __version__, "torch": str(torch.__version__)},
    }


def _orders(explanation: Explanation) -> dict[str, dict[str, Any]]:
    """Return the groups of filters by order: their names, and the score of each."""
    if "order" not in explanation.groups:
        return {}
    groups = explanation.group("order")
    rows = zip(groups.names, groups.filters, groups.edge[0].tolist(), strict=True)
    return {"order": {name: {"filters": list(filters), "edge": value} for name, filters, value in rows}}
