"""The layer twin: relevance at the bank's output and input, and which layer it looks at."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import edgefilter as ef


@pytest.fixture
def model(small_net):
    return ef.replace_stem(small_net)


@pytest.fixture
def images(generator):
    return torch.randn(2, 3, 12, 12, generator=generator, dtype=torch.float64)


@pytest.fixture
def inner():
    """Two edge-filter layers, one after the other."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        first, second = (ef.EdgeFilterConv2d(3, 3, "sobel", padding=1, bias=False) for _ in range(2))
        body = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return body.double().eval()


@pytest.mark.parametrize("composite", ef.composite_names())
@pytest.mark.parametrize("against", [None, "rest", "odds", 2])
def test_it_gives_the_responses_and_the_pixels_of_the_other(model, images, composite, against):
    """The same numbers as EdgeFilterAttribution without games, shaped as the layer's output and input."""
    pixels = ef.EdgeFilterAttribution(model, composite, calibrate=False)
    layer = ef.LayerEdgeFilterAttribution(model, model[0], composite)
    found = layer.attribute(images, [0, 3], against=against)
    assert found.shape == model[0].filters(images).shape
    assert torch.equal(
        found, pixels.attribute(images, [0, 3], against=against, score="response").flatten(1, 2)
    )
    at_input = layer.attribute(images, [0, 3], attribute_to_layer_input=True, against=against)
    assert torch.equal(at_input, pixels.attribute(images, [0, 3], against=against))
    for result in (found, at_input):
        assert result.is_contiguous()
        assert not result.requires_grad


def test_the_input_of_an_inner_layer_gets_its_relevance(inner, images):
    """What the bank hands down to the features is what the layer before it starts from: totals are kept."""
    layer = ef.LayerEdgeFilterAttribution(inner, "2")
    output = inner(images)[:, 1].detach()
    found = layer.attribute(images, 1)
    features = layer.attribute(images, 1, attribute_to_layer_input=True)
    assert features.shape == inner[:2](images).shape
    assert_close(found.sum((1, 2, 3)), output, rtol=1e-9, atol=0)
    assert_close(features.sum((1, 2, 3)), output, rtol=1e-9, atol=0)
    seen = inner[:2](images).detach()
    by_rule = ef.Explanation.from_responses(found, inner[2], seen).pixel
    assert_close(features, by_rule, rtol=0, atol=1e-12)


def test_the_layer_may_be_given_in_every_form(inner, model, images):
    """Module or path, the bank or what holds it; by default the only one."""
    expected = ef.LayerEdgeFilterAttribution(model).attribute(images, 1)
    for layer in (model[0], model[0].filters, "0", "0.filters"):
        attr = ef.LayerEdgeFilterAttribution(model, layer)
        assert isinstance(attr.layer, nn.Module)
        assert torch.equal(attr.attribute(images, 1), expected)
    with pytest.raises(ValueError, match=r"model must hold one edge-filter layer; got 2: .*Choose one with"):
        ef.LayerEdgeFilterAttribution(inner)
    with pytest.raises(ValueError, match="layer must be a module of the model; got another"):
        ef.LayerEdgeFilterAttribution(model, nn.ReLU())
    with pytest.raises(
        ValueError, match="model must hold an edge-filter layer; got Sequential without one in '3'"
    ):
        ef.LayerEdgeFilterAttribution(model, model[3])


def test_a_model_without_an_edge_filter_layer_is_seen_as_one(small_net, model, images):
    """The convolution may be named; the bank is the complete one of its size, or the one that is given."""
    expected = ef.LayerEdgeFilterAttribution(model)
    for layer in (None, "0", small_net[0]):
        attr = ef.LayerEdgeFilterAttribution(small_net, layer)
        assert_close(attr.attribute(images, 1), expected.attribute(images, 1), rtol=0, atol=1e-12)
        pixels = attr.attribute(images, 1, attribute_to_layer_input=True)
        assert_close(pixels, expected.attribute(images, 1, None, True), rtol=0, atol=1e-12)
    given = ef.LayerEdgeFilterAttribution(small_net, bank="general").attribute(images, 1)
    assert given.shape == (2, 3 * 41, 12, 12)
    assert_close(given.sum((1, 2, 3)), expected.attribute(images, 1).sum((1, 2, 3)))


def test_an_inner_convolution_is_seen_as_its_replaced_one(small_net, images):
    """Its channels stand where the colors do; named by its path or as a module."""
    expected = ef.EdgeFilterAttribution(ef.replace_stem(small_net, stem="3")).explain(images, 1)
    for layer in ("3", small_net[3]):
        found = ef.EdgeFilterAttribution(small_net, layer=layer).explain(images, 1)
        assert found.colors == tuple(f"channel_{i}" for i in range(6))
        assert_close(found.response, expected.response, rtol=0, atol=1e-12)
        assert found.pixel is expected.pixel is None  # an image has other channels


def test_the_layer_may_be_exchanged_between_calls(inner, images):
    """As TCAV does; the composite stays."""
    attr = ef.LayerEdgeFilterAttribution(inner, inner[0], "zplus")
    for index in (2, 0, 2):
        attr.layer = inner[index]
        expected = ef.LayerEdgeFilterAttribution(inner, inner[index], "zplus")
        assert torch.equal(attr.attribute(images, 1), expected.attribute(images, 1))


@pytest.mark.parametrize("of_input", [False, True])
def test_an_internal_batch_size_changes_nothing(model, images, of_input):
    attr = ef.LayerEdgeFilterAttribution(model)
    whole = attr.attribute(images, [1, 2], None, of_input)
    assert_close(attr.attribute(images, [1, 2], None, of_input, internal_batch_size=1), whole)


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_copies_give_the_same(model, images, duplicate, used):
    """A deep copy looks at the layer of its own copy of the model."""
    attr = ef.LayerEdgeFilterAttribution(model, model[0])
    expected = attr.attribute(images, 1) if used else None
    twin = duplicate(attr)
    assert torch.equal(twin.attribute(images, 1), attr.attribute(images, 1) if expected is None else expected)


def test_scores_are_sums_of_the_layer(model, images):
    """Through ``Explanation.from_responses``."""
    relevance = ef.LayerEdgeFilterAttribution(model).attribute(images, 1)
    scores = ef.Explanation.from_responses(relevance, model[0], images)
    expected = ef.EdgeFilterAttribution(model, calibrate=False).explain(images, 1)
    for name in ("color", "edge", "color_edge", "response"):
        assert torch.equal(getattr(scores, name), getattr(expected, name))
    assert_close(scores.pixel, expected.pixel, rtol=0, atol=1e-12)


def test_silencing_takes_the_layer_that_was_chosen(inner, images):
    """Of two filter banks, the second."""
    attr = ef.EdgeFilterAttribution(inner, layer="2")
    output = inner(images)[:, 1].detach()
    assert_close(attr.silence(images, 1), output)
    assert (attr.silence(images, 1, filters=["sobel_x", "sobel_y"]) == 0).all()
    one = inner[2].filters(inner[:2](images)).unflatten(1, (3, 2)).clone()
    one[:, :, 0] = 0
    by_hand = inner[3:](inner[2].mixing(one.flatten(1, 2)))[:, 1]
    assert_close(attr.silence(images, 1, filters=["sobel_x"]), by_hand.detach())
