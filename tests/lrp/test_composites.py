"""Named composites and the user's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from zennit.attribution import Gradient
from zennit.composites import (
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    NameMapComposite,
)
from zennit.rules import Epsilon, Gamma, WSquare

import edgefilter as ef
from edgefilter.lrp.composites import as_composite, composite_names, get_composite

USERS = {
    "epsilon_plus": EpsilonPlus,
    "epsilon_plus_flat": EpsilonPlusFlat,
    "epsilon_gamma_box": lambda: EpsilonGammaBox(low=-3.0, high=3.0),
    "epsilon_alpha2_beta1_flat": EpsilonAlpha2Beta1Flat,
    "names": lambda: NameMapComposite([(["3"], Gamma(0.5)), (["7"], Epsilon(0.1))]),
}


@pytest.fixture
def images(generator):
    return torch.randn(2, 3, 12, 12, generator=generator, dtype=torch.float64)


@pytest.fixture
def model(small_net):
    return ef.replace_stem(small_net)


def by_hand(model, composite, images, target):
    """Run Zennit itself on the model."""
    start = torch.zeros(len(images), 5, dtype=torch.float64)
    start[:, target] = model(images)[:, target].detach()
    with Gradient(model, composite) as attributor:
        _, relevance = attributor(images.clone(), start)
    return relevance


@pytest.mark.parametrize("name", USERS)
def test_a_zennit_composite_gives_what_zennit_gives(model, images, name):
    """Without BatchNorm there is nothing to rewrite: rules land on the same layers in the same order."""
    composite = USERS[name]()
    attr = ef.EdgeFilterAttribution(model, composite, calibrate=False)
    got = attr.attribute(images, 3)
    assert_close(got, by_hand(model, USERS[name](), images, 3), rtol=1e-10, atol=1e-10)
    assert not composite.handles
    assert not list(composite.hook_refs)
    assert_close(by_hand(model, composite, images, 3), got, rtol=1e-10, atol=1e-10)


def test_names_are_listed_and_each_makes_a_composite():
    names = composite_names()
    assert names[0] == "epsilon_plus"
    assert {
        "epsilon",
        "epsilon_plus",
        "epsilon_plus_flat",
        "epsilon_gamma_box",
        "epsilon_alpha2_beta1",
    } <= set(names)
    assert all(get_composite(name).handles == [] for name in names)


def test_no_name_gives_the_default(model, images):
    default = ef.EdgeFilterAttribution(model, calibrate=False).attribute(images, 1)
    for composite in ("epsilon_plus", get_composite("epsilon_plus")):
        assert torch.equal(
            ef.EdgeFilterAttribution(model, composite, calibrate=False).attribute(images, 1), default
        )


def test_named_composites_differ(model, images):
    results = [
        ef.EdgeFilterAttribution(model, name, calibrate=False).attribute(images, 1)
        for name in composite_names()
    ]
    pairs = [(a, b) for i, a in enumerate(results) for b in results[:i]]
    assert not any(torch.allclose(a, b) for a, b in pairs)


def test_unknown_names_are_refused():
    with pytest.raises(KeyError, match=r"unknown composite 'epsilon_pluss'; did you mean 'epsilon_plus'\?"):
        get_composite("epsilon_pluss")


def test_options_are_checked():
    with pytest.raises(TypeError, match=r"composite 'zplus' must get options it has; got low\. Only"):
        get_composite("zplus", low=0.0)
    with pytest.raises(TypeError, match="must get options it has; got middle"):
        get_composite("epsilon_gamma_box", middle=0.0)
    with pytest.raises(ValueError, match="high must be given together with its opposite"):
        get_composite("epsilon_gamma_box", low=0.0)


@pytest.mark.parametrize("size", [4.0, 4.1])  # the latter is no number of float32
def test_the_box_takes_numbers_and_tensors(model, images, size):
    bounds = torch.full((1, 3, 1, 1), size, dtype=torch.float64)
    by_number = ef.EdgeFilterAttribution(
        model, get_composite("epsilon_gamma_box", low=-size, high=size), calibrate=False
    )
    by_tensor = ef.EdgeFilterAttribution(
        model, get_composite("epsilon_gamma_box", low=-bounds, high=bounds), calibrate=False
    )
    result, delta = by_number.attribute(images, 1, return_convergence_delta=True)
    assert_close(result, by_tensor.attribute(images, 1), rtol=0, atol=1e-12)
    assert_close(delta, torch.zeros(2).double(), rtol=0, atol=1e-10 * float(result.abs().sum()))


def test_attention_has_two_forms():
    assert [get_composite("zplus", attention=form).attention for form in ("constant", "attnlrp")] == [
        "constant",
        "attnlrp",
    ]
    with pytest.raises(
        ValueError,
        match=r"attention must be one of constant, attnlrp; got 'attn_lrp'; did you mean 'attnlrp'\?",
    ):
        get_composite("zplus", attention="attn_lrp")


def test_a_composite_that_is_in_use_elsewhere_may_be_used_at_the_same_time(model, images):
    """Registered on another model by Zennit, it explains this one; both are left as they are."""
    composite = EpsilonPlus()
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).double()
    want = ef.EdgeFilterAttribution(model, EpsilonPlus(), calibrate=False).attribute(images, 1)
    with composite.context(other):
        held = len(composite.handles)
        assert torch.equal(
            ef.EdgeFilterAttribution(model, composite, calibrate=False).attribute(images, 1), want
        )
        assert len(composite.handles) == held > 0
    assert not composite.handles


@pytest.mark.parametrize("wrong", [EpsilonPlus, 3, nn.ReLU()])
def test_what_is_no_composite_is_refused(wrong):
    with pytest.raises(TypeError, match="composite must be a Zennit composite, a name or None; got"):
        as_composite(wrong)


def test_a_rule_for_the_inner_bank_ends_the_names(model, images):
    """A composite by name may give the filter bank a rule of its own, by the bank's path."""
    composite = NameMapComposite([(["0.filters"], WSquare()), (["0.mixing", "3", "7"], Epsilon())])
    result = ef.EdgeFilterAttribution(model, composite, calibrate=False).attribute(images, 1)
    assert torch.isfinite(result).all()
