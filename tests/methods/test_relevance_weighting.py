"""Weights in [0, 2] from relevance: by the formula place by place, and by their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.methods import relevance_weights

SAME = {"rtol": 0, "atol": 0}


def relevance(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slowly(values):
    """The formula for one place after another, channels first."""
    found = torch.empty_like(values)
    for n, h, w in (
        (n, h, w) for n in range(len(values)) for h in range(values.shape[2]) for w in range(values.shape[3])
    ):
        largest = max(abs(float(one)) for one in values[n, :, h, w])
        for c in range(values.shape[1]):
            found[n, c, h, w] = 1 + float(values[n, c, h, w]) / largest if largest else 1
    return found


def test_each_place_is_weighed_by_its_largest_channel():
    values = relevance((2, 3, 4, 5))
    values[0, :, 1, 1] = 0
    assert_close(relevance_weights(values), slowly(values), rtol=0, atol=1e-15)


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    axis=st.integers(-5, 4),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
)
def test_weights_lie_between_0_and_2_and_reach_one_of_the_two(shape, axis, seed, dtype):
    """In each type; along the axis, the value with the largest size has 0 or 2."""
    values = relevance(shape, seed, dtype)
    axis = axis % len(shape)
    found = relevance_weights(values, axis)
    assert (found.shape, found.dtype) == (values.shape, dtype)
    assert 0 <= float(found.min()) <= float(found.max()) <= 2
    assert_close((found - 1).abs().amax(axis), torch.ones_like(found.amax(axis)), **SAME)
    assert_close(found, relevance_weights(values, axis - len(shape)), **SAME)


def test_without_relevance_all_weights_are_exactly_one():
    """The training step is that without weights; nothing is NaN, also where it is 0 in some places only."""
    assert_close(relevance_weights(torch.zeros(2, 3, 4, 4)), torch.ones(2, 3, 4, 4), **SAME)
    assert relevance_weights(torch.zeros(0, 3, 4, 4)).shape == (0, 3, 4, 4)
    values = relevance((2, 3, 4, 4))
    values[1] = 0
    assert_close(relevance_weights(values)[1], torch.ones(3, 4, 4).double(), **SAME)


@pytest.mark.parametrize("factor", [2.0**-60, 1e-30, 0.3, 1e30])
def test_the_scale_of_relevance_does_not_matter(factor):
    values = relevance((2, 3, 4, 4))
    assert_close(relevance_weights(factor * values), relevance_weights(values), rtol=0, atol=1e-15)
    assert_close(relevance_weights(-factor * values), 2 - relevance_weights(values), rtol=0, atol=1e-15)


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-30, 1e38])
def test_relevance_of_every_size_that_float32_has_is_weighed(size):
    """Also where one divided by it is endless."""
    values = torch.tensor([[size, -size, 0.0]])
    assert_close(relevance_weights(values), torch.tensor([[2.0, 0.0, 1.0]]), **SAME)


def test_several_axes_share_one_largest_size():
    values = relevance((2, 3, 4, 5))
    whole = relevance_weights(values, (1, 2, 3))
    assert_close(whole, 1 + values / values.abs().flatten(1).amax(1)[:, None, None, None], rtol=0, atol=1e-15)
    assert_close(relevance_weights(values, [1, -2, -1]), whole, **SAME)


def test_an_axis_may_be_a_number_of_numpy():
    """Alone or among several."""
    relevance = torch.tensor([[4.0, -2.0], [1.0, 0.0]])
    assert torch.equal(relevance_weights(relevance, np.int64(1)), relevance_weights(relevance, 1))
    assert torch.equal(relevance_weights(relevance, (0, np.int64(1))), relevance_weights(relevance, (0, 1)))


def test_no_gradient_goes_through_the_relevance():
    """Only the features have one: it is the weights."""
    values, features = relevance((2, 3, 4, 4)).requires_grad_(), relevance((2, 3, 4, 4), 1).requires_grad_()
    weights = relevance_weights(values * 2)
    assert not weights.requires_grad
    (gradient,) = torch.autograd.grad((weights * features).sum(), features)
    assert_close(gradient, weights, **SAME)
    before = values.detach().clone()
    weights.zero_()
    assert_close(values.detach(), before, **SAME)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([1.0, 2.0],), TypeError, "relevance must be a floating-point Tensor; got list. Pass what attribute"),
        ((torch.ones(2, 3, dtype=torch.int64),), TypeError, "got a tensor of torch.int64"),
        ((torch.rand(3),), IndexError, r"dim must be an axis of relevance, from -1 to 0; got 1 for the shape \(3,\)"),
        ((torch.tensor([1.0, math.inf]), 0), ValueError, "relevance must be finite; got NaN or infinity in image 1"),
        ((torch.rand(3, 3), "a"), TypeError, "dim must be a whole number, or several; got 'a'"),
        ((torch.rand(3, 3), 1.5), TypeError, "dim must be a whole number, or several; got 1.5"),
        ((torch.rand(3, 3), (1, 2)), IndexError, r"got \(1, 2\) for the shape \(3, 3\)"),
    ],
)  # fmt: skip
def test_what_has_no_weights_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        relevance_weights(*arguments)


def test_a_training_step_learns_from_both_passes():
    """The head is explained by its log odds; the loss of the second pass reaches features and head, and no relevance is trained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Conv2d(1, 4, 3, padding=1).double()
        head = (
            nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
            .double()
            .eval()
        )
    images, labels = relevance((6, 1, 6, 6), 2), torch.arange(6) % 5
    attr = ef.EdgeFilterAttribution(head, calibrate=False)
    features = body(images)
    weights = relevance_weights(attr.attribute(features.detach(), labels, against="odds"))
    (F.cross_entropy(head(features), labels) + F.cross_entropy(head(weights * features), labels)).backward()
    found = [p.grad.clone() for p in (*body.parameters(), *head.parameters())]
    for p in (*body.parameters(), *head.parameters()):
        p.grad = None
    fixed = weights.clone()
    features = body(images)
    for part in (features, fixed * features):
        F.cross_entropy(head(part), labels).backward(retain_graph=True)
    for p, gradient in zip((*body.parameters(), *head.parameters()), found, strict=True):
        assert_close(p.grad, gradient, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        odds = [
            (z := head(part).softmax(1).gather(1, labels[:, None])) / (1 - z)
            for part in (features, weights * features)
        ]
    assert bool((odds[1] > odds[0]).double().mean() > 0.8), "what speaks for the label has become larger"
