"""Silencing colors and filters, against an independent computation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.attribution.causal import causal_check


@pytest.fixture
def images(generator):
    return torch.randn(2, 3, 12, 12, generator=generator, dtype=torch.float64)


def test_a_linear_network_loses_what_each_part_gave(images):
    """Without biases: the drop is the score, and the drops add up to the output."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(100, 3, bias=False)
    )
    attr = ef.EdgeFilterAttribution(ef.replace_stem(net.double().eval()), "epsilon")
    explanation = attr.explain(images, [2, 0])
    check = causal_check(attr, images, explanation)
    assert_close(check.color.sum(1), explanation.output, rtol=1e-9, atol=1e-10)
    assert_close(check.color, explanation.color, rtol=1e-4, atol=1e-5)
    assert_close(check.edge, explanation.edge, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ordinary", [False, True], ids=["replaced", "ordinary"])
@pytest.mark.parametrize("against", [None, "rest", "odds"])
def test_silencing_equals_zeroing_responses(small_net, images, against, ordinary):
    """The front and tail of split() say the same, with an edge-filter layer and without."""
    model = ef.replace_stem(small_net)
    attr = ef.EdgeFilterAttribution(small_net if ordinary else model)
    explanation = attr.explain(images, [1, 4], against=against)
    front, tail = ef.split(model)
    responses = front(images).detach()

    def explained(values):
        output = tail(values).detach()
        chosen = output[[0, 1], [1, 4]]
        if against == "odds":
            return chosen - (output.exp().sum(1) - chosen.exp()).log()
        return chosen if against is None else chosen - (output.sum(1) - chosen) / 4

    check = causal_check(attr, images, explanation)
    by_part = responses.reshape(2, 3, 9, 12, 12)
    for color in range(3):
        kept = by_part.clone()
        kept[:, color] = 0
        expected = explained(responses) - explained(kept.flatten(1, 2))
        assert_close(check.color[:, color], expected, rtol=1e-9, atol=1e-10)
    for k in range(9):
        kept = by_part.clone()
        kept[:, :, k] = 0
        expected = explained(responses) - explained(kept.flatten(1, 2))
        assert_close(check.edge[:, k], expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"colors": ["red"]},
        {"filters": ["dx1_dy0", "dx0_dy2"]},
        {"colors": ["red", "blue"], "filters": ["dx1_dy0"]},
        {"colors": ["red", "green", "blue"]},
    ],
    ids=str,
)
def test_a_model_is_silenced_as_its_replaced_one(small_net, images, parts):
    ordinary = ef.EdgeFilterAttribution(small_net).silence(images, [1, 4], **parts)
    replaced = ef.EdgeFilterAttribution(ef.replace_stem(small_net)).silence(images, [1, 4], **parts)
    assert_close(ordinary, replaced, rtol=1e-9, atol=1e-12)
    assert bool(parts) == (not torch.allclose(ordinary, small_net(images)[[0, 1], [1, 4]]))


def test_silencing_leaves_the_model_and_later_calls_alone(small_net, images):
    model = ef.replace_stem(small_net)
    attr = ef.EdgeFilterAttribution(model)
    before, kernels = attr.attribute(images, 1), model[0].filters.conv.weight.clone()
    attr.silence(images, 1, colors=["red"], filters=[model[0].bank.names[0]])
    assert torch.equal(model[0].filters.conv.weight, kernels)
    assert torch.equal(attr.attribute(images, 1), before)


def test_other_images_are_refused(small_net, images):
    attr = ef.EdgeFilterAttribution(ef.replace_stem(small_net))
    with pytest.raises(ValueError, match="inputs must be the 2 images that were explained; got 1"):
        causal_check(attr, images[:1], attr.explain(images))
