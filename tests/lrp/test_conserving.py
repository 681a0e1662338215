"""Relevance rules against their formulas on a dense matrix, against Zennit, and their conservation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from zennit.layer import Sum
from zennit.rules import AlphaBeta, Epsilon, Gamma, Norm, ZBox, ZPlus

from edgefilter.lrp.conserving import (
    ConservingAlphaBeta,
    ConservingBox,
    ConservingEpsilon,
    ConservingGamma,
    ConservingNorm,
)
from edgefilter.lrp.linear_maps import linear_map

LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (3, 7)),
    "linear_on_a_sequence": (lambda: nn.Linear(4, 3), (2, 5, 4)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3), (2, 2, 5, 6)),
    "without_bias": (lambda: nn.Conv2d(2, 3, 3, bias=False), (2, 2, 5, 6)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(3, 3, 3, groups=3, padding=1), (2, 3, 4, 5)),
    "strided_and_padded": (lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 2, 6, 5)),
    "dilated": (lambda: nn.Conv2d(2, 2, (2, 3), dilation=2), (1, 2, 6, 6)),
    "reflecting": (lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), (1, 2, 5, 5)),
    "filters": (lambda: nn.Conv2d(3, 6, 3, groups=3, bias=False), (1, 3, 5, 5)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, padding=1, stride=2), (2, 2, 9)),
    "conv3d": (lambda: nn.Conv3d(2, 2, 2, dilation=(1, 2, 1)), (1, 2, 3, 4, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2), (1, 2, 3, 3)),
}
RULES = {
    "epsilon": ConservingEpsilon(),
    "zplus": ConservingAlphaBeta(1, 0),
    "alpha2_beta1": ConservingAlphaBeta(2, 1),
    "gamma": ConservingGamma(0.25),
    "box": ConservingBox(-4.0, 4.0),
}
ZENNIT = {
    "epsilon": Epsilon(1e-13, zero_params="bias"),
    "zplus": ZPlus(1e-13, zero_params="bias"),
    "alpha2_beta1": AlphaBeta(2, 1, 1e-13, zero_params="bias"),
    "gamma": Gamma(0.25, 1e-13, zero_params="bias"),
    "box": ZBox(-4.0, 4.0, 1e-13, zero_params="bias"),
}
each_layer = pytest.mark.parametrize("layer", LAYERS)
each_rule = pytest.mark.parametrize("name", RULES)
seeds = pytest.mark.parametrize(
    "seed", [0, *(pytest.param(i, marks=pytest.mark.extended) for i in range(1, 8))]
)


def make(layer: str, seed: int = 0) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Return a random layer in float64, inputs of both signs and relevance of both signs."""
    build, shape = LAYERS[layer]
    generator = torch.Generator().manual_seed(seed)
    module = build().double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    relevance = torch.randn(module(inputs).shape, generator=generator, dtype=torch.float64)
    return module.requires_grad_(False).eval(), inputs, relevance


def through(rule, module, inputs, relevance):
    """Hand relevance back through one layer, by the hooks that a composite would set."""
    leaf = inputs.clone().requires_grad_()
    handles = rule.copy().register(module)
    try:
        (result,) = torch.autograd.grad(module(leaf), leaf, relevance)
    finally:
        handles.remove()
    return result


def dense(module, sample):
    """Return the matrix of a layer, outputs by inputs, from its Jacobian at one sample."""
    jacobian = torch.autograd.functional.jacobian(lambda x: module(x[None])[0], sample)
    return jacobian.reshape(-1, sample.numel())


def share(contributions, relevance):
    """Share relevance by contributions, rows are outputs: the one formula that all rules are made of."""
    total = contributions.sum(1, keepdim=True)
    weights = torch.where(total == 0, 0, contributions / torch.where(total == 0, 1, total))
    return (weights * relevance[:, None]).sum(0)


def slow(name, matrix, x, relevance):
    """Write each rule from its formula; no output is dead here."""
    z = matrix * x
    if name == "epsilon":
        return share(z, relevance)
    if name == "zplus":
        return share(z.clamp(min=0), relevance)
    if name == "alpha2_beta1":
        alone = (z < 0).sum(1) == 0
        positive = share(z.clamp(min=0), torch.where(alone, 1.0, 2.0) * relevance)
        return positive - share(z.clamp(max=0), torch.where(alone, 0.0, 1.0) * relevance)
    if name == "gamma":
        own = torch.where(z.sum(1, keepdim=True) > 0, z.clamp(min=0), z.clamp(max=0))
        return share(z + 0.25 * own, relevance)
    return share(z + 4 * matrix.clamp(min=0) - 4 * matrix.clamp(max=0), relevance)


@seeds
@each_layer
@each_rule
def test_a_rule_equals_its_formula_on_the_dense_matrix(name, layer, seed):
    """Contributions of both signs, no dead unit: the textbook formula, sample by sample."""
    if layer == "reflecting" and name != "epsilon":
        pytest.skip(
            "the dense matrix adds up the weights of a pixel and its reflection; the rules see each alone"
        )
    module, inputs, relevance = make(layer, seed)
    result = through(RULES[name], module, inputs, relevance)
    for sample, given, got in zip(inputs, relevance, result, strict=True):
        matrix = dense(module, sample)
        z = matrix * sample.flatten()
        lively = (z > 0).any(1) if name in ("zplus", "alpha2_beta1") else torch.ones(len(z), dtype=torch.bool)
        expected = slow(name, matrix, sample.flatten(), torch.where(lively, given.flatten(), 0))
        dead = torch.where(lively, 0, given.flatten())
        expected = expected + share(z.abs(), dead)
        assert_close(got.flatten(), expected, rtol=1e-8, atol=1e-10)


def bias_of(module, inputs):
    """Return what a layer makes of nothing."""
    return module(torch.zeros_like(inputs))


@each_layer
@each_rule
def test_a_rule_equals_zennits_where_no_unit_is_dead(name, layer):
    """With zero_params='bias' and positive contributions everywhere, Zennit loses nothing either."""
    module, inputs, relevance = make(layer, 1)
    contributions = [(dense(module, x) * x.flatten()) for x in inputs]
    dead = torch.stack([~((z > 0).any(1) & (z < 0).any(1)) for z in contributions]).reshape(relevance.shape)
    biased = module(inputs)
    plain = biased if module.bias is None else biased - bias_of(module, inputs)
    disagree = (biased > 0) != (plain > 0)  # Zennit's Gamma takes the sign of the output with its bias
    relevance = torch.where(dead | (disagree if name == "gamma" else False), 0, relevance)
    assert relevance.any()
    expected = through(ZENNIT[name], module, inputs, relevance)
    assert_close(through(RULES[name], module, inputs, relevance), expected, rtol=1e-6, atol=1e-6)


def test_gamma_takes_the_sign_of_the_output_without_its_bias():
    """With the bias, as Zennit has it, numerator and denominator would disagree."""
    module = nn.Linear(2, 1).double().requires_grad_(False)
    module.weight.copy_(torch.tensor([[1.0, -2.0]]))
    module.bias.fill_(10.0)
    result = through(ConservingGamma(1.0), module, torch.ones(1, 2).double(), torch.ones(1, 1).double())
    assert_close(result, torch.tensor([[-1 / 3, 4 / 3]], dtype=torch.float64), rtol=0, atol=1e-12)


CASES = {
    "mixed": lambda x: x,
    "positive": lambda x: x.abs(),
    "negative": lambda x: -x.abs(),
    "half_zero": lambda x: torch.where(x > 0, x, 0),
    "zero": lambda x: x * 0,
    "zero_but_one": lambda x: torch.where(x == x.max(), x, 0),
    "tiny": lambda x: x * 1e-9,
}


@each_layer
@each_rule
def test_a_rule_conserves_relevance(name, layer):
    """What goes in at the outputs comes out at the inputs, also where nothing speaks for an output."""
    module, inputs, relevance = make(layer)
    given = relevance.flatten(1)
    for case, change in CASES.items():
        result = through(RULES[name], module, change(inputs), relevance).flatten(1)
        scale = 1e-12 * (result.abs().sum(1) + given.abs().sum(1))
        assert ((result.sum(1) - given.sum(1)).abs() <= scale).all(), case


@pytest.mark.parametrize("name", ["epsilon", "zplus", "alpha2_beta1", "gamma"])
def test_relevance_is_shared_by_size_where_all_contributions_are_negative(name):
    """For gamma and epsilon that is the plain formula; for the others our choice."""
    module = nn.Linear(2, 1, bias=False).double().requires_grad_(False)
    module.weight.copy_(torch.tensor([[-1.0, -3.0]]))
    result = through(RULES[name], module, torch.ones(1, 2).double(), torch.full((1, 1), 8.0).double())
    assert_close(result, torch.tensor([[2.0, 6.0]]).double(), rtol=0, atol=1e-12)


@each_rule
def test_relevance_is_shared_by_squared_weight_on_a_black_patch(name):
    """A bias alone made the output: the weights say where it would look."""
    module = nn.Conv2d(1, 1, (1, 2)).double().requires_grad_(False)
    module.weight.copy_(torch.tensor([[[[1.0, -3.0]]]]))
    rule = ConservingBox() if name == "box" else RULES[name]
    result = through(rule, module, torch.zeros(1, 1, 1, 2).double(), torch.full((1, 1, 1, 1), 10.0).double())
    assert_close(result, torch.tensor([[[[1.0, 9.0]]]]).double(), rtol=0, atol=1e-12)


def test_small_weights_of_a_black_patch_lose_nothing_beside_large_ones():
    """Squared weights differ by far more than rounding between channels: each output is on its own."""
    module = nn.Conv2d(2, 2, 3, groups=2).requires_grad_(False)
    module.weight[0] = 1e-6
    result = through(ConservingAlphaBeta(1, 0), module, torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 1, 1))
    assert_close(result.sum((2, 3)), torch.ones(1, 2))


@each_rule
def test_a_batch_gives_the_same_as_its_samples(name):
    """What counts as zero is judged by each sample alone, not by a brighter neighbour."""
    module, inputs, relevance = make("strided_and_padded")
    inputs[1] *= 1e14
    single = torch.cat(
        [through(RULES[name], module, x[None], r[None]) for x, r in zip(inputs, relevance, strict=True)]
    )
    assert_close(through(RULES[name], module, inputs, relevance), single, rtol=1e-12, atol=1e-12)


@each_rule
def test_a_rule_leaves_the_layer_and_its_inputs_as_they_were(name):
    """Same parameter values, nothing that requires gradients, no hooks left."""
    module, inputs, relevance = make("conv2d")
    before = {key: value.clone() for key, value in module.state_dict().items()}
    kept = inputs.clone()
    through(RULES[name], module, inputs, relevance)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(inputs, kept)
    assert not inputs.requires_grad
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not module._forward_hooks
    assert not module._forward_pre_hooks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@each_rule
def test_a_rule_conserves_relevance_in_coarser_numbers(name, dtype):
    """Up to the rounding of the type: no unit is dropped because it is small beside the largest."""
    module, inputs, relevance = make("conv2d")
    inputs = torch.cat([inputs.abs(), inputs.abs() * 1e-3]).to(dtype)
    relevance = torch.cat([relevance.abs(), relevance.abs()]).to(dtype)
    result = through(RULES[name], module.to(dtype), inputs, relevance)
    assert torch.isfinite(result).all()
    tolerance = 20 * torch.finfo(dtype).eps * result.double().abs().sum()
    assert abs(result.double().sum() - relevance.double().sum()) <= tolerance


NORMS = {
    "sum": (lambda: Sum(-1), (2, 3, 4, 2)),
    "average": (lambda: nn.AvgPool2d(2, padding=1), (2, 3, 4, 6)),
    "adaptive": (lambda: nn.AdaptiveAvgPool2d((2, 1)), (2, 3, 5, 4)),
}


@pytest.mark.parametrize("norm", NORMS)
def test_norm_equals_its_formula_and_zennits(norm):
    """Each summand takes its part of the sum."""
    build, shape = NORMS[norm]
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    relevance = torch.randn(build()(inputs).shape, generator=generator, dtype=torch.float64)
    result = through(ConservingNorm(), build(), inputs, relevance)
    for x, given, got in zip(inputs, relevance, result, strict=True):
        assert_close(
            got.flatten(), share(dense(build(), x) * x.flatten(), given.flatten()), rtol=1e-9, atol=1e-10
        )
    assert_close(result, through(Norm(1e-13), build(), inputs, relevance), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", [*CASES, "cancelling"])
@pytest.mark.parametrize("norm", NORMS)
def test_norm_conserves_relevance(norm, case):
    """Also where the summands cancel or are all zero."""
    build, shape = NORMS[norm]
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    if case == "cancelling":
        inputs = inputs.sign() * torch.tensor([1.0, -1.0]).double().repeat(shape[-1] // 2)
    inputs = CASES.get(case, CASES["mixed"])(inputs)
    relevance = torch.ones_like(build()(inputs))
    result = through(ConservingNorm(), build(), inputs, relevance)
    scale = result.abs().sum() + relevance.sum()
    assert abs(result.sum() - relevance.sum()) <= 1e-12 * scale


@pytest.mark.parametrize("rounding", [0.0, 1e-16, -1e-16])
def test_norm_shares_by_size_where_summands_cancel_but_for_rounding(rounding):
    """Rounding of 1e-16 must not blow shares up to 1e16."""
    inputs = torch.tensor([[3.0, -1.0, -2.0 + rounding]], dtype=torch.float64)
    result = through(ConservingNorm(), Sum(-1), inputs, torch.full((1,), 6.0, dtype=torch.float64))
    assert_close(result, torch.tensor([[3.0, 1.0, 2.0]]).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("steady", [True, False])
def test_summands_share_as_their_stack_does(steady):
    """Also where they cancel, are both zero, or cancel but for rounding; unsteady sums share by the positive ones."""
    first, second, relevance = torch.randn(
        (3, 2, 3, 4, 5), generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    second[0, 0, 0] = -first[0, 0, 0]
    second[1, 2, 3] = first[1, 2, 3] = 0
    second[1, 1, 1] = -first[1, 1, 1] * (1 + 3e-16)
    module = Sum(-1)
    module.steady = steady
    stack = torch.stack((first, second), -1)
    expected = through(ConservingNorm(), module, stack, relevance)
    shares = ConservingNorm().shared((first, second), relevance, steady=steady)
    assert_close(torch.stack(shares, -1), expected, rtol=1e-12, atol=1e-12)
    assert_close(sum(shares), relevance, rtol=1e-9, atol=1e-9)
    out = torch.empty_like(first), torch.empty_like(second)
    ConservingNorm().shared((first, second), relevance, steady=steady, out=out)
    assert_close(out, shares, rtol=0, atol=0)
    if not steady:
        own = stack.clamp(min=0)
        lively = own.sum(-1) > 0
        by_sign = own / own.sum(-1, keepdim=True) * relevance[..., None]
        assert_close(expected[lively], by_sign[lively], rtol=1e-12, atol=1e-12)


@each_rule
def test_called_directly_a_rule_gives_what_it_gives_on_a_module(name):
    """The engine calls ``relevance``; Zennit registers the rule on a module."""
    module, inputs, relevance = make("strided_and_padded")
    kept = inputs.clone(), relevance.clone()
    got = RULES[name].relevance(linear_map(module), inputs, relevance)
    assert torch.equal(got, through(RULES[name], module, inputs, relevance))
    assert torch.equal(inputs, kept[0])
    assert torch.equal(relevance, kept[1])


ONE_COLOR = {"black": 0.0, "gray": 0.5, "white": 1.0}


@pytest.mark.parametrize("color", ONE_COLOR)
@each_rule
def test_a_rule_conserves_relevance_on_images_of_one_color(name, color):
    """As the first layer of a network sees them, by filters whose weights sum to zero, too."""
    module, inputs, relevance = make("filters")
    module.weight[::2] -= module.weight[::2].mean((2, 3), keepdim=True)
    rule = ConservingBox() if name == "box" else RULES[name]
    result = through(rule, module, torch.full_like(inputs, ONE_COLOR[color]), relevance)
    scale = 1e-12 * (result.abs().sum() + relevance.abs().sum())
    assert abs(result.sum() - relevance.sum()) <= scale


def test_gamma_needs_no_sign_where_an_output_is_zero():
    """Contributions that cancel exactly are shared as those of a positive output: nothing is lost or blown up."""
    module = nn.Linear(2, 1, bias=False).double().requires_grad_(False)
    module.weight.copy_(torch.tensor([[1.0, -1.0]]))
    result = through(ConservingGamma(0.25), module, torch.ones(1, 2).double(), torch.ones(1, 1).double())
    assert_close(result, torch.tensor([[5.0, -4.0]]).double(), rtol=0, atol=1e-12)


def test_the_box_defaults_to_the_values_of_each_image_and_color():
    """Bounds of a batch do not mix its images."""
    module, inputs, relevance = make("conv2d")
    result = through(ConservingBox(), module, inputs, relevance)
    for x, given, got in zip(inputs, relevance, result, strict=True):
        low, high = x.amin((1, 2)).reshape(1, -1, 1, 1), x.amax((1, 2)).reshape(1, -1, 1, 1)
        assert_close(
            got[None], through(ConservingBox(low, high), module, x[None], given[None]), rtol=0, atol=1e-12
        )
        expected = through(ZBox(low, high, 1e-13, zero_params="bias"), module, x[None], given[None])
        assert_close(got[None], expected, rtol=1e-6, atol=1e-6)


def test_alpha_and_beta_must_differ_by_one():
    with pytest.raises(ValueError, match="alpha and beta must be at least 0 and differ by 1; got 2 and 0"):
        ConservingAlphaBeta(2, 0)
    with pytest.raises(ValueError, match="alpha and beta must be at least 0"):
        ConservingAlphaBeta(0, -1)


def test_gamma_must_not_be_negative():
    with pytest.raises(ValueError, match=r"gamma must be at least 0; got -1\. Pass"):
        ConservingGamma(-1)


@pytest.mark.parametrize(("bounds", "missing"), [({"low": 0.0}, "high"), ({"high": 1.0}, "low")])
def test_the_box_needs_both_bounds(bounds, missing):
    with pytest.raises(ValueError, match=f"{missing} must be given together with its opposite"):
        ConservingBox(**bounds)


@pytest.mark.parametrize("rule", [*RULES.values(), ConservingNorm()])
def test_copies_share_settings_but_no_state(rule):
    """Composites register copies of the rule they were given."""
    twin = rule.copy()
    rule.stored_tensors["input"] = torch.ones(1)
    assert type(twin) is type(rule)
    assert "input" not in twin.stored_tensors
    settings = {
        key: value for key, value in vars(rule).items() if key in ("alpha", "beta", "gamma", "low", "high")
    }
    assert all(vars(twin)[key] == value for key, value in settings.items())
    rule.stored_tensors.clear()
