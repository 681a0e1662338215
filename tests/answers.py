"""Answers of the command line that are made by hand."""

from __future__ import annotations

import torch
from torchvision.transforms.functional import to_tensor

import edgefilter as ef
from edgefilter.classifiers.classifier import Classifier
from edgefilter.cli.answer import Answer


def by_hand(scores, *, effects=None, filter_effects=None, errors=None, **fields):
    """An answer about a network, of two classes if no logits are given, from scores (C, K) by color and filter."""
    response = torch.tensor(scores)[None, :, :, None, None]
    colors, bank = ("red", "green")[: len(scores)], fields.pop("bank", ef.get_bank("sobel"))
    measured = {"effects": effects, "filter_effects": filter_effects, "errors": errors}
    measured = {name: None if row is None else torch.tensor([row]) for name, row in measured.items()}
    groups = {"order": bank.groups("order")}
    output = torch.tensor([fields.pop("output", float(response.sum()))])
    logits = torch.tensor(fields.pop("logits", [1.0, -2.0]))
    names = ("ape", "bee", "cat", "dog")[: len(logits)]
    explanation = ef.Explanation(response, None, output, (len(logits) - 1,), colors, tuple(bank.names),
                                 tuple(bank.labels), groups=groups, **measured, **fields)  # fmt: skip
    classifier = Classifier(torch.nn.Identity(), names, to_tensor, name="net")
    return Answer(classifier, logits, explanation, bank, torch.zeros(1, 1, 4, 4))
