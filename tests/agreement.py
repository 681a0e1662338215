"""What a right explanation of a network is: the oracle's map, and relevance that adds up."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.testing import assert_close

from edgefilter import EdgeFilterAttribution
from epsilon_oracle import input_times_gradient


def settle(model, images):
    """Let BatchNorm take its statistics from the images, and logits depend on them."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train().momentum = 1.0
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)
    with torch.no_grad():
        model(images)
    return model.eval()


def assert_right(model, images, targets, tolerance=1e-6, *, single=True):
    """The epsilon map is the oracle's; relevance is conserved, in single precision as well."""
    want, _ = input_times_gradient(model, images, targets)
    got = EdgeFilterAttribution(model, "epsilon", calibrate=False).attribute(images, targets)
    assert want.abs().max() > 0
    assert_close(got, want, rtol=0, atol=tolerance * float(want.abs().max()))
    double = images.dtype == torch.float64
    assert_conserved(model, images, targets, 1e-9 if double else 0.01)
    if double and single:
        assert_conserved(model.float(), images.float(), targets, 0.01)
        model.double()


def assert_conserved(model, images, targets, tolerance, composite="epsilon_plus"):
    """Base and scores add up to the output, at the responses and at the pixels."""
    explanation = EdgeFilterAttribution(model, composite, calibrate=False).explain(images, targets)
    explained = explanation.output - explanation.base
    zeros = torch.zeros(len(images), dtype=images.dtype)
    assert_close(explanation.delta / explained, zeros, rtol=0, atol=tolerance)
    assert_close(explanation.pixel.sum((1, 2, 3)) / explained, zeros + 1, rtol=0, atol=tolerance)
