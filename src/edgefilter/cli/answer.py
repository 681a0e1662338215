"""What ``edgefilter explain`` finds out about a photo."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.attribution.causal import causal_check
from edgefilter.attribution.explanation import Explanation
from edgefilter.banks.bank import FilterBank
from edgefilter.classifiers.classifier import Classifier
from edgefilter.plots.words import COMPARED
from edgefilter.stems.finding import bank_of_model

from .printing import by_size

__all__ = [
    "Against",
    "Answer",
    "best_classes",
    "conserved",
    "drops",
    "explained_class",
    "find_answers",
    "margin",
    "quantity",
]

Against = int | Literal["rest", "odds"] | None

MOST_SILENCED = 64  # filters; each takes one run of the network
ROUNDING = 1e-3  # of a sum of probabilities: those of half-precision networks add up to 1 within it


class Answer(NamedTuple):
    """What was found out about one photo."""

    classifier: Classifier
    logits: Tensor
    explanation: Explanation
    bank: FilterBank
    inputs: Tensor


def find_answers(
    classifier: Classifier,
    attribution: EdgeFilterAttribution,
    inputs: Tensor,
    targets: Sequence[int],
    against: Against,
    rows: int,
    outputs: Tensor,
) -> list[Answer]:
    """Explain a class of each photo of a batch, against another or by itself, and silence its parts.

    Parameters
    ----------
    outputs : Tensor, shape (N, classes)
        What the model gives for ``inputs``.
    """
    batch = _explained(attribution, inputs, list(targets), against)
    batch = _silenced(attribution, inputs, batch, rows)
    bank = _bank_of(attribution, inputs[:1])
    answers = []
    for place, logits in enumerate(outputs.cpu()):
        explanation = batch[place]
        if len(logits) == 1:
            logits = explanation.output.cpu()  # without the sigmoid at the end, if there is one
        answers.append(Answer(classifier, logits, explanation, bank, inputs[place : place + 1]))
    return answers


def _explained(
    attribution: EdgeFilterAttribution,
    inputs: Tensor,
    targets: list[int],
    against: Against,
) -> Explanation:
    """Explain a class; if the bank is to blame for a failure, say what to type instead."""
    bank = attribution.bank
    try:
        return attribution.explain(inputs, targets, against=against)
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


def _bank_of(attribution: EdgeFilterAttribution, inputs: Tensor) -> FilterBank:
    """Return the bank of the network, or the one that expresses its stem, whose size shows when it runs."""
    layer = bank_of_model(attribution.model)
    return attribution.dry_run(inputs, 0).bank if layer is None else layer.bank


def _silenced(
    attribution: EdgeFilterAttribution, inputs: Tensor, explanation: Explanation, rows: int
) -> Explanation:
    """Add what silencing each color and each filter does, but of a large bank only the filters that are shown."""
    if len(explanation.filters) <= MOST_SILENCED:
        check = causal_check(attribution, inputs, explanation)
        return _with_effects(explanation, check.color, check.edge)
    drops = [
        _shown_drops(attribution, inputs[place : place + 1], explanation[place], rows)
        for place in range(len(explanation))
    ]
    return _with_effects(explanation, *(torch.stack(part) for part in zip(*drops, strict=True)))


def _shown_drops(
    attribution: EdgeFilterAttribution, inputs: Tensor, explanation: Explanation, rows: int
) -> tuple[Tensor, Tensor]:
    """Silence each color of a photo and the filters that its table shows, (C,) and (K,); NaN for the others."""
    against = next(iter(explanation.against), None)

    def drop(**parts: Any) -> Tensor:
        rest = attribution.silence(inputs, explanation.target[0], against=against, **parts)
        return explanation.output[0] - rest[0]

    edge = torch.full_like(explanation.edge[0], math.nan)
    for place in by_size(explanation.edge[0])[:rows]:
        edge[place] = drop(filters=[explanation.filters[place]])
    return torch.stack([drop(colors=[name]) for name in explanation.colors]), edge


def _with_effects(explanation: Explanation, color: Tensor, edge: Tensor) -> Explanation:
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


def margin(answer: Answer, *, numbered: bool = True) -> str | None:
    """Return what the explained class is compared with, in words, with its index or without; None if with nothing."""
    other = next(iter(answer.explanation.against), None)
    if other is None:
        return None
    if isinstance(other, str):
        return COMPARED[other]
    name = answer.classifier.class_names[other]
    return f"{name} ({other})" if numbered else name


def quantity(answer: Answer) -> str:
    """Return what the explained output is: log odds, a logit, or the probability of a model that ends with them in its own way."""
    if "odds" in answer.explanation.against:
        return "log odds"
    return "probability" if not answer.explanation.left_out and _are_probabilities(answer) else "logit"


def _are_probabilities(answer: Answer) -> bool:
    """Say whether the model's outputs are probabilities: those of one choice, which add up to 1, or sigmoids."""
    outputs = answer.logits
    if len(outputs) == 1 or not bool(((outputs >= 0) & (outputs <= 1)).all()):
        return False
    return answer.explanation.left_out == "sigmoid" or abs(float(outputs.sum()) - 1) < ROUNDING


def _probabilities(answer: Answer) -> Tensor:
    """Return the probability of each class; a network of one logit, trained as a binary classifier, means its sigmoid."""
    if len(answer.logits) == 1:
        return answer.logits.sigmoid()
    return answer.logits if _are_probabilities(answer) else answer.logits.softmax(0)


def conserved(explanation: Explanation) -> float | None:
    """Return the conserved share, or None where the output is 0."""
    share = float(explanation.conserved_share[0])
    return share if math.isfinite(share) else None


def best_classes(answer: Answer) -> list[dict[str, Any]]:
    """Return the three classes with the largest outputs; the logit is None where the model gives something else."""
    best = answer.logits.topk(min(3, len(answer.logits)))
    shares = _probabilities(answer)
    plain = len(answer.logits) == 1 or not (answer.explanation.left_out or _are_probabilities(answer))
    return [
        {
            "index": i,
            "name": answer.classifier.class_names[i],
            "probability": float(shares[i]),
            "logit": value if plain else None,
        }
        for i, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
