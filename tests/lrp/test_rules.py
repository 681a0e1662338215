"""The rules that keep biases, or do not look at values: against their formulas on a dense matrix, and against Zennit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from zennit import rules as zennit_rules
from zennit.layer import Sum

from edgefilter.lrp.linear_maps import linear_map
from edgefilter.lrp.rules import Epsilon, Flat, Norm, Pass, Rule, WSquare

F64 = torch.float64
LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (3, 7)),
    "linear_on_a_sequence": (lambda: nn.Linear(4, 3), (2, 5, 4)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, stride=4, padding=1), (2, 2, 12)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3), (2, 2, 5, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 4, (1, 2, 3), padding=(0, 1, 1), groups=2), (2, 2, 3, 4, 3)),
    "without_bias": (lambda: nn.Conv2d(2, 3, 3, bias=False), (2, 2, 4, 5)),
    "pointwise": (lambda: nn.Conv2d(4, 3, 1), (2, 4, 3, 5)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(3, 3, 3, groups=3, padding=1), (2, 3, 4, 5)),
    "filter_bank": (lambda: nn.Conv2d(3, 6, 3, groups=3, stride=(3, 2), padding=(1, 0)), (2, 3, 8, 8)),
    "dilated": (lambda: nn.Conv2d(2, 2, (2, 3), dilation=(2, 1)), (2, 2, 6, 6)),
    "strided_with_a_remainder": (lambda: nn.Conv2d(2, 3, 3, stride=3, padding=1), (2, 2, 9, 8)),
    "padded_unlike": (lambda: nn.Conv2d(2, 3, (3, 2), stride=(1, 3), padding=(2, 1)), (2, 2, 5, 9)),
    "same": (lambda: nn.Conv2d(2, 3, (3, 5), padding="same"), (2, 2, 5, 6)),
    "reflecting": (lambda: nn.Conv2d(2, 2, 3, padding=(1, 2), padding_mode="reflect"), (2, 2, 5, 5)),
    "circular": (lambda: nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"), (2, 2, 5)),
    "transposed_1d": (lambda: nn.ConvTranspose1d(2, 3, 3, stride=2, output_padding=1), (2, 2, 5)),
    "transposed": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), padding=1, output_padding=(1, 2), groups=2),
        (2, 4, 3, 3),
    ),
    "transposed_dilated": (lambda: nn.ConvTranspose2d(2, 2, 2, dilation=2, padding=1), (2, 2, 4, 3)),
    "transposed_3d": (lambda: nn.ConvTranspose3d(2, 2, 2, stride=2, bias=False), (1, 2, 2, 3, 2)),
}
AVERAGES = {
    "average": (lambda: nn.AvgPool2d(2, padding=1), (2, 3, 4, 6)),
    "adaptive": (lambda: nn.AdaptiveAvgPool2d((2, 1)), (2, 3, 5, 4)),
    "sum": (lambda: Sum(-1), (2, 3, 4, 2)),
}
STABILIZERS = [0.3, 1e-3]
RULES = {"epsilon": Epsilon, "wsquare": WSquare, "flat": Flat}
each_layer = pytest.mark.parametrize("layer", LAYERS)
each_rule = pytest.mark.parametrize("name", RULES)


def randn(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def make(layer):
    """Return a random layer, inputs and relevance of both signs."""
    build, shape = (LAYERS | AVERAGES)[layer]
    module = build().double()
    with torch.no_grad():
        for place, parameter in enumerate(module.parameters()):
            parameter.copy_(randn(parameter.shape, place))
    inputs = randn(shape, 50)
    return module.requires_grad_(False).eval(), inputs, randn(module(inputs).shape, 51)


def through(rule, module, inputs, relevance):
    """Hand relevance back through one module on which the rule was registered, as Zennit's composites do."""
    leaf = inputs.clone().requires_grad_()
    handles = rule.copy().register(module)
    try:
        (result,) = torch.autograd.grad(module(leaf), leaf, relevance)
    finally:
        handles.remove()
    return result


def affine(module, sample):
    """Return the matrix of a layer, outputs by inputs, and its outputs for zeros, by automatic differentiation."""

    def one(values):
        return module(values[None])[0]

    matrix = torch.autograd.functional.jacobian(one, sample).reshape(-1, sample.numel())
    return matrix, one(torch.zeros_like(sample)).flatten()


def with_weights(module, change):
    """Return the layer without a bias, its weights changed."""
    changed = {name: change(value) for name, value in module.named_parameters()}
    if "bias" in changed:
        changed["bias"] = torch.zeros_like(changed["bias"])
    return lambda values: torch.func.functional_call(module, changed, (values,))


def shared(shares, divisors, relevance, stabilizer):
    """Return ``R_i = sum_j shares_ji R_j / (divisor_j +- stabilizer)``, by loops."""
    result = torch.zeros(shares.shape[1], dtype=F64)
    for row, divisor, part in zip(shares, divisors, relevance, strict=True):
        result += row * part / (divisor + (stabilizer if divisor >= 0 else -stabilizer))
    return result


def slow(name, module, sample, relevance, stabilizer):
    """Write each rule from its formula, for one sample."""
    if name == "epsilon":
        matrix, bias = affine(module, sample)
        contributions = matrix * sample.flatten()
        return shared(contributions, contributions.sum(1) + bias, relevance, stabilizer)
    change = torch.square if name == "wsquare" else torch.ones_like
    matrix, _ = affine(with_weights(module, change), sample)
    return shared(matrix, matrix.sum(1), relevance, stabilizer)


@pytest.mark.parametrize("stabilizer", STABILIZERS)
@each_layer
@each_rule
def test_a_rule_equals_its_formula_on_the_dense_matrix(name, layer, stabilizer):
    module, inputs, relevance = make(layer)
    result = RULES[name](stabilizer).relevance(linear_map(module), inputs, relevance)
    assert result.shape == inputs.shape
    for sample, given, got in zip(inputs, relevance, result, strict=True):
        want = slow(name, module, sample, given.flatten(), stabilizer)
        assert_close(got.flatten(), want, rtol=0, atol=1e-12 * float(want.abs().max()))


@pytest.mark.parametrize("layer", AVERAGES)
def test_norm_equals_its_formula(layer):
    """Each summand takes its part of the sum."""
    module, inputs, relevance = make(layer)
    result = Norm(0.1).relevance(linear_map(module), inputs, relevance)
    for sample, given, got in zip(inputs, relevance, result, strict=True):
        want = slow("epsilon", module, sample, given.flatten(), 0.1)
        assert_close(got.flatten(), want, rtol=0, atol=1e-12 * float(want.abs().max()))
    assert_close(result, through(zennit_rules.Norm(0.1), module, inputs, relevance), rtol=0, atol=1e-12)


@pytest.mark.parametrize("steady", [True, False])
def test_norm_shares_two_summands_as_their_stack(steady):
    """Whoever reads the sum: the plain rule knows no difference."""
    first, second, relevance = randn((3, 2, 3, 4), 1)
    stack = torch.stack((first, second), -1)
    want = through(Norm(0.1), Sum(-1), stack, relevance)
    got = Norm(0.1).shared((first, second), relevance, steady=steady)
    assert_close(torch.stack(got, -1), want, rtol=0, atol=1e-14)


def test_a_rule_without_a_form_for_sums_says_so():
    with pytest.raises(NotImplementedError, match="WSquare has no form for a sum of 2 tensors"):
        WSquare(0.1).shared((torch.ones(1), torch.ones(1)), torch.ones(1), steady=True)


@each_layer
@each_rule
def test_registered_on_a_module_a_rule_gives_what_it_gives_called_directly(name, layer):
    """By Hook.register, as Zennit does it: and both are Zennit's numbers. Nothing is overwritten or left behind."""
    module, inputs, relevance = make(layer)
    kept = inputs.clone(), relevance.clone()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    direct = RULES[name](0.1).relevance(linear_map(module), inputs, relevance)
    registered = through(RULES[name](0.1), module, inputs, relevance)
    assert torch.equal(registered, direct)
    options = {"zero_params": "bias"} if name == "wsquare" else {}  # else the squared bias takes a share
    theirs = getattr(zennit_rules, RULES[name].__name__)(0.1, **options)
    theirs = through(theirs, module, inputs, relevance)
    assert_close(direct, theirs, rtol=0, atol=1e-12 * float(theirs.abs().max()))
    assert torch.equal(inputs, kept[0])
    assert torch.equal(relevance, kept[1])
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert not any(vars(module)[hooks] for hooks in vars(module) if "hook" in hooks and vars(module)[hooks])


@pytest.mark.parametrize("name", ["wsquare", "flat"])
def test_what_does_not_depend_on_the_image_gets_nothing(name):
    """The filter bank knows which of its inputs do (``present``); borders that padding put there do not."""
    module, inputs, relevance = make("depthwise")
    module.present = torch.zeros_like(inputs[:1])
    module.present[..., 1:, 2:] = 1
    result = RULES[name](1e-12).relevance(linear_map(module), inputs, relevance)
    assert (result[..., 0, :] == 0).all()
    assert (result[..., :2] == 0).all()
    assert_close(result.sum(), relevance.sum(), rtol=1e-9, atol=0)
    assert (result[..., 1:, 2:] != 0).any()


def test_pass_hands_relevance_on_as_it_is():
    module, inputs, relevance = nn.Sigmoid(), randn((2, 3), 1), randn((2, 3), 2)
    assert Pass().relevance(linear_map(module), inputs, relevance) is relevance
    assert torch.equal(through(Pass(), module, inputs, relevance), relevance)


@pytest.mark.parametrize("rule", [Epsilon(0.5), Norm(0.5), Flat(0.5), WSquare(0.5), Pass()])
def test_copies_share_settings_but_no_state(rule):
    """Composites register copies of the rule they were given."""
    rule.stored_tensors["input"] = torch.ones(1)
    twin = rule.copy()
    assert type(twin) is type(rule)
    assert isinstance(twin, Rule)
    assert "input" not in twin.stored_tensors
    assert getattr(twin, "stabilizer", 0.5) == 0.5
    rule.stored_tensors.clear()


@pytest.mark.parametrize("outputs", [1, 2, 3])
@each_rule
def test_a_sample_without_a_batch_is_taken(name, outputs):
    """Also where channels could be mistaken for samples."""
    module = nn.Conv2d(2, outputs, 3).double().requires_grad_(False)
    inputs, relevance = randn((2, 5, 6), 1), randn((outputs, 3, 4), 2)
    want = RULES[name](0.1).relevance(linear_map(module), inputs[None], relevance[None])[0]
    got = RULES[name](0.1).relevance(linear_map(module), inputs, relevance)
    assert_close(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["wsquare", "flat"])
def test_one_sample_stands_for_the_batch(name):
    """These rules do not look at the values: the relevance of a sample does not depend on its neighbours."""
    module, inputs, relevance = make("conv2d")
    whole = RULES[name](0.1).relevance(linear_map(module), inputs, relevance)
    for place in range(len(inputs)):
        one = slice(place, place + 1)
        single = RULES[name](0.1).relevance(linear_map(module), randn(inputs[one].shape, 9), relevance[one])
        assert_close(whole[one], single, rtol=0, atol=1e-14)


@each_rule
def test_channels_last_changes_no_number(name):
    module, inputs, relevance = make("pointwise")
    want = RULES[name](0.1).relevance(linear_map(module), inputs, relevance)
    inputs, relevance = (given.contiguous(memory_format=torch.channels_last) for given in (inputs, relevance))
    got = RULES[name](0.1).relevance(linear_map(module), inputs, relevance)
    assert_close(got, want, rtol=0, atol=1e-13)


@each_rule
def test_changed_weights_are_seen(name):
    """Nothing is remembered from one call to the next."""
    module, inputs, relevance = make("conv2d")
    rule = RULES[name](0.1)
    rule.relevance(linear_map(module), inputs, relevance)
    module.weight.copy_(randn(module.weight.shape, 77))
    got = rule.relevance(linear_map(module), inputs, relevance)
    fresh = RULES[name](0.1).relevance(linear_map(module), inputs, relevance)
    assert torch.equal(got, fresh)
