"""Rules with a floor: their formulas as loops, conservation, the bound of their gain, and sizes from 1e-30 to 1e30."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from zennit.layer import Sum

from edgefilter.lrp.bounded import BoundedEpsilon, BoundedNorm
from edgefilter.lrp.conserving import ConservingEpsilon, ConservingGamma, ConservingNorm
from edgefilter.lrp.linear_maps import linear_map

LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (3, 7)),
    "without bias": (lambda: nn.Linear(7, 5, bias=False), (3, 7)),
    "on a sequence": (lambda: nn.Linear(4, 3), (2, 5, 4)),
    "convolution": (lambda: nn.Conv2d(2, 4, 3), (2, 2, 3, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2), (1, 2, 3, 3)),
}
SIGNS = {"both signs": lambda x: x, "positive": torch.abs, "half zero": lambda x: x.clamp(min=0)}
each_layer = pytest.mark.parametrize("layer", LAYERS)
each_floor = pytest.mark.parametrize("floor", [0.005, 0.1, 1.0])
each_size = pytest.mark.parametrize("size", [1e-30, 1e-10, 1e10, 1e30])
each_type = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(layer, seed=0):
    build, shape = LAYERS[layer]
    module = build().double().requires_grad_(False).eval()
    for place, parameter in enumerate(module.parameters()):
        parameter.copy_(randn(*parameter.shape, seed=seed + place))
    inputs = randn(*shape, seed=seed + 7)
    return module, inputs, randn(*module(inputs).shape, seed=seed + 8)


def slow(module, sample, relevance, floor):
    """One output at a time, one input at a time, from the Jacobian."""
    nothing = module(torch.zeros_like(sample)[None])[0].flatten()
    matrix = torch.autograd.functional.jacobian(lambda x: module(x[None])[0], sample)
    matrix, values = matrix.reshape(len(nothing), -1), sample.flatten()
    result = torch.zeros_like(values)
    for weights, bias, given in zip(matrix, nothing.tolist(), relevance.flatten().tolist(), strict=True):
        parts = [float(w) * float(x) for w, x in zip(weights, values, strict=True)]
        size, output = sum(map(abs, parts)), sum(parts) + bias
        if size == 0:  # nothing contributes: by squared weight
            result += given * weights**2 / (weights**2).sum()
            continue
        sign = -1 if output < 0 else 1
        for place, part in enumerate(parts):
            own = part + floor * sign * abs(part) + bias * abs(part) / size
            result[place] += given * own / (output + floor * sign * size)
    return result.reshape(sample.shape)


@each_floor
@pytest.mark.parametrize("signs", SIGNS)
@each_layer
def test_a_linear_layer_shares_by_the_formula(layer, signs, floor):
    module, inputs, relevance = make(layer)
    inputs = SIGNS[signs](inputs)
    got = BoundedEpsilon(floor).relevance(linear_map(module), inputs, relevance)
    for sample, given, found in zip(inputs, relevance, got, strict=True):
        assert_close(found, slow(module, sample, given, floor), rtol=1e-9, atol=1e-11)


@each_floor
@each_layer
def test_relevance_is_conserved(layer, floor):
    module, inputs, relevance = make(layer)
    for change in (*SIGNS.values(), torch.zeros_like, lambda x: x * 1e-200):
        got = BoundedEpsilon(floor).relevance(linear_map(module), change(inputs), relevance)
        scale = float(got.abs().sum() + relevance.abs().sum())
        assert_close(got.flatten(1).sum(1), relevance.flatten(1).sum(1), rtol=0, atol=1e-12 * scale)


def cancelling(count, *, bias, seed=0):
    """Return a layer of which the units, with their biases, are nearly zero: where shares are largest."""
    module = nn.Linear(6, count, bias=bias).double().requires_grad_(False)
    inputs = randn(1, 6, seed=seed).abs()
    module.weight.copy_(randn(count, 6, seed=seed + 1))
    shift = randn(count, seed=seed + 2) if bias else torch.zeros(count, dtype=torch.float64)
    if bias:
        module.bias.copy_(shift)
    rest = module(inputs)[0] - randn(count, seed=seed + 3) * 1e-6
    module.weight[:, 0] -= rest / inputs[0, 0]
    return module, inputs


@each_floor
@pytest.mark.parametrize("bias", [False, True])
def test_the_gain_is_bounded(bias, floor):
    """At most 1 / e without a bias, 1 + 2 / e with one; the plain rule goes far beyond."""
    module, inputs = cancelling(50, bias=bias)
    bound = 1 / floor + (1 + 1 / floor if bias else 0)
    plain = 0.0
    for unit in range(50):
        relevance = torch.nn.functional.one_hot(torch.tensor([unit]), 50).double()
        got = BoundedEpsilon(floor).relevance(linear_map(module), inputs, relevance)
        assert float(got.abs().sum()) <= bound * (1 + 1e-9)
        plain = max(
            plain, float(ConservingEpsilon().relevance(linear_map(module), inputs, relevance).abs().sum())
        )
    assert bias or plain > 10 * bound


def test_without_biases_it_is_the_generalised_gamma_rule():
    module, inputs, relevance = make("without bias")
    got = BoundedEpsilon(0.2).relevance(linear_map(module), inputs, relevance)
    assert_close(
        got, ConservingGamma(0.5).relevance(linear_map(module), inputs, relevance), rtol=1e-10, atol=1e-12
    )


@each_type
@each_size
@each_layer
def test_no_number_is_absolute(layer, size, dtype):
    """Inputs with the bias, weights with the bias, or relevance, times 1e-30 to 1e30."""
    module, inputs, relevance = make(layer)
    module, inputs, relevance = module.to(dtype), inputs.to(dtype), relevance.to(dtype)
    rule = BoundedEpsilon()
    want = rule.relevance(linear_map(module), inputs, relevance)
    close = {"rtol": 0, "atol": 1e3 * torch.finfo(dtype).eps * float(want.abs().max())}
    assert_close(rule.relevance(linear_map(module), inputs, relevance * size) / size, want, **close)
    for parameter in module.parameters():
        parameter.mul_(size)
    assert_close(rule.relevance(linear_map(module), inputs, relevance), want, **close)
    if module.bias is not None:
        module.bias.mul_(size)
    module.weight.copy_(make(layer)[0].weight)
    if module.bias is not None:
        module.bias.copy_(make(layer)[0].bias * size)
    assert_close(rule.relevance(linear_map(module), inputs * size, relevance), want, **close)


def test_signs_go_through():
    """Relevance of the other sign gives shares of the other sign; inputs and bias of the other sign the same shares."""
    module, inputs, relevance = make("linear")
    rule = BoundedEpsilon()
    want = rule.relevance(linear_map(module), inputs, relevance)
    assert_close(rule.relevance(linear_map(module), inputs, -relevance), -want, rtol=0, atol=0)
    module.bias.neg_()
    assert_close(rule.relevance(linear_map(module), -inputs, relevance), want, rtol=1e-12, atol=1e-14)


def test_a_zero_among_the_inputs_changes_nothing():
    module, inputs, relevance = make("linear")
    wide = nn.Linear(8, 5).double().requires_grad_(False)
    wide.weight.copy_(torch.cat([module.weight, randn(5, 1, seed=5)], 1))
    wide.bias.copy_(module.bias)
    got = BoundedEpsilon().relevance(
        linear_map(wide), torch.cat([inputs, torch.zeros(3, 1).double()], 1), relevance
    )
    assert_close(
        got[:, :7], BoundedEpsilon().relevance(linear_map(module), inputs, relevance), rtol=1e-12, atol=1e-14
    )
    assert not got[:, 7].any()


@pytest.mark.parametrize("weights", [1e-30, 1.0, 1e30])
def test_units_without_contributions_share_by_squared_weight(weights):
    module = nn.Linear(2, 1).requires_grad_(False)
    module.weight.copy_(torch.tensor([[weights, -3 * weights]]))
    got = BoundedEpsilon().relevance(linear_map(module), torch.zeros(1, 2), torch.full((1, 1), 10.0))
    assert_close(got, torch.tensor([[1.0, 9.0]]))


def test_samples_do_not_mix_and_units_without_relevance_are_left_out():
    module, inputs, relevance = make("linear")
    relevance[:, 1], relevance[0, 2] = 0, 0
    whole = BoundedEpsilon().relevance(linear_map(module), inputs, relevance)
    for place in range(3):
        one = slice(place, place + 1)
        alone = BoundedEpsilon().relevance(linear_map(module), inputs[one], relevance[one])
        assert_close(alone, whole[one], rtol=1e-12, atol=1e-14)
        assert_close(
            whole[place], slow(module, inputs[place], relevance[place], 0.005), rtol=1e-9, atol=1e-11
        )
    assert not BoundedEpsilon().relevance(linear_map(module), inputs, 0 * relevance).any()


@pytest.mark.parametrize("floor", [0, -0.1, 1.5])
@pytest.mark.parametrize("rule", [BoundedEpsilon, BoundedNorm])
def test_a_floor_is_a_part(rule, floor):
    with pytest.raises(
        ValueError, match=rf"floor must be above 0 and at most 1; got {floor}\. Pass for example"
    ):
        rule(floor)


def test_at_the_end_shares_are_plain():
    """There the relevance is proportional to the output."""
    assert type(BoundedEpsilon().at_end()) is ConservingEpsilon
    assert type(BoundedNorm().at_end()) is ConservingNorm
    rule = ConservingGamma(1.0)
    assert rule.at_end() is rule


# Sums


@each_floor
def test_summands_share_by_the_formula_as_their_stack_does(floor):
    first, second, relevance = randn(3, 4, 5)
    second[0, 0], first[1, 1] = -first[0, 0], 0.0
    first[2], second[2] = 0.0, 0.0
    got = BoundedNorm(floor).shared((first, second), relevance, steady=True)
    for place in range(first.numel()):
        a, b, given = (float(values.flatten()[place]) for values in (first, second, relevance))
        sign = -1 if a + b < 0 else 1
        parts = [value + floor * sign * abs(value) for value in (a, b)]
        want = [given * part / sum(parts) for part in parts] if any(parts) else [given / 2, given / 2]
        assert [float(part.flatten()[place]) for part in got] == pytest.approx(want, rel=1e-12, abs=1e-15)
        assert abs(want[0]) + abs(want[1]) <= abs(given) / floor * (1 + 1e-12)
    stack = torch.stack((first, second), -1)
    whole = BoundedNorm(floor).relevance(linear_map(Sum(-1)), stack, relevance)
    assert_close(torch.stack(got, -1), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("module", [nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)])
def test_an_average_conserves_and_is_bounded(module):
    inputs = randn(2, 3, 4, 4)
    inputs[0, 0] = 0.0
    relevance = randn(*module(inputs).shape, seed=3)
    got = BoundedNorm(0.1).relevance(linear_map(module), inputs, relevance)
    assert_close(got.sum(), relevance.sum(), rtol=1e-12, atol=1e-12)
    assert float(got.abs().sum()) <= 10 * float(relevance.abs().sum())
    positive = BoundedNorm(0.1).relevance(linear_map(module), inputs.abs(), relevance)
    assert_close(
        positive, ConservingNorm().relevance(linear_map(module), inputs.abs(), relevance), rtol=1e-12, atol=0
    )


def test_an_unsteady_sum_shares_by_its_positive_summands():
    first, second, relevance = randn(3, 4, 5)
    got, want = (
        rule.shared((first, second), relevance, steady=False) for rule in (BoundedNorm(), ConservingNorm())
    )
    assert_close(got, want, rtol=0, atol=0)


@each_type
@each_size
def test_no_number_of_a_sum_is_absolute(size, dtype):
    first, second, relevance = randn(3, 4, 5).to(dtype)
    want = BoundedNorm().shared((first, second), relevance, steady=True)
    got = BoundedNorm().shared((first * size, second * size), relevance, steady=True)
    assert_close(got, want, rtol=1e3 * torch.finfo(dtype).eps, atol=0)
