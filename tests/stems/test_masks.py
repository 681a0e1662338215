"""Masks for Captum's perturbation methods: which channels are taken away together."""

from __future__ import annotations

import pytest
import torch
from captum.attr import FeatureAblation, LayerFeatureAblation
from torch import nn
from torch.testing import assert_close

import edgefilter as ef

LAYERS = {
    "bank": lambda: ef.EdgeFilterBank2d("edges", 3),
    "conv": lambda: ef.EdgeFilterConv2d(3, 4, "edges"),
    "gray": lambda: ef.EdgeFilterConv2d(1, 4, "sobel"),
}


@pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
def test_masks_number_the_channels_color_by_color(build):
    """Channel ``c*K + k`` has color ``c`` and filter ``k``; a leading 1, so that a batch can grow."""
    layer = build()
    bank = getattr(layer, "filters", layer)
    colors, filters = bank.in_channels, len(bank.bank)
    pairs = [(c, k) for c in range(colors) for k in range(filters)]
    assert ef.color_mask(layer).flatten().tolist() == [c for c, _ in pairs]
    assert ef.filter_mask(layer).flatten().tolist() == [k for _, k in pairs]
    assert ef.color_mask(layer, of="inputs").flatten().tolist() == list(range(colors))
    for mask in (ef.color_mask(layer), ef.filter_mask(layer)):
        assert mask.shape == (1, colors * filters, 1, 1)
        assert mask.dtype == torch.int64
    assert ef.color_mask(layer, of="inputs").shape == (1, colors, 1, 1)


def test_ablation_by_mask_is_silencing(small_net, generator):
    """What a color or filter is worth to LayerFeatureAblation is what the output loses when it is silenced."""
    model = ef.replace_stem(small_net)
    images = torch.randn(2, 3, 12, 12, generator=generator, dtype=torch.float64)
    attr = ef.EdgeFilterAttribution(model, calibrate=False)
    causal = ef.causal_check(attr, images, attr.explain(images, 1))
    ablation, bank = LayerFeatureAblation(model, model[0].filters), model[0].filters
    by_color = ablation.attribute(images, target=1, layer_mask=ef.color_mask(bank))
    by_filter = ablation.attribute(images, target=1, layer_mask=ef.filter_mask(bank))
    assert_close(by_color.unflatten(1, (3, 9))[:, :, 0, 0, 0], causal.color, rtol=0, atol=1e-12)
    assert_close(by_filter.unflatten(1, (3, 9))[:, 0, :, 0, 0], causal.edge, rtol=0, atol=1e-12)


def test_a_color_of_the_inputs_is_the_same_color_of_the_responses(small_net, generator):
    """Filters keep colors apart: without bias, a black color has zero responses."""
    model = ef.replace_stem(small_net)
    images = torch.randn(2, 3, 12, 12, generator=generator, dtype=torch.float64)
    mask = ef.color_mask(model[0], of="inputs")
    at_inputs = FeatureAblation(model).attribute(images, target=1, feature_mask=mask)
    layer = LayerFeatureAblation(model, model[0].filters)
    at_bank = layer.attribute(images, target=1, layer_mask=ef.color_mask(model[0]))
    assert_close(at_inputs[:, :, 0, 0], at_bank.unflatten(1, (3, 9))[:, :, 0, 0, 0], rtol=0, atol=1e-12)


def test_masks_refuse_what_they_cannot_number():
    for mask in (ef.color_mask, ef.filter_mask):
        with pytest.raises(TypeError, match=r"layer must be an EdgeFilterBank2d .*; got Conv2d\. Pass"):
            mask(nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r"of must be one of responses, inputs; got 'input'; did you mean"):
        ef.color_mask(ef.EdgeFilterBank2d("sobel", 3), of="input")
