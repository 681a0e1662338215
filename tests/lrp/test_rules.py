"""The fast rules against Zennit's own hooks, on every kind of layer and with every setting."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from zennit import composites
from zennit import rules as zennit_rules
from zennit.core import Composite, Stabilizer
from zennit.layer import Sum

import edgefilter as ef
from edgefilter.lrp import rules
from edgefilter.lrp.composites import fresh_composite
from edgefilter.lrp.operations import Addition, PairSum

F64, F32 = torch.float64, torch.float32

LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (3, 7)),
    "linear_without_bias": (lambda: nn.Linear(7, 5, bias=False), (3, 7)),
    "linear_on_one_vector": (lambda: nn.Linear(7, 5), (7,)),
    "linear_on_a_sequence": (lambda: nn.Linear(4, 3), (2, 5, 4)),
    "linear_on_a_map": (lambda: nn.Linear(4, 3), (2, 2, 3, 4)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, padding=1), (2, 2, 8)),
    "conv1d_with_a_remainder": (lambda: nn.Conv1d(2, 3, 3, stride=4, padding=1), (2, 2, 12)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3), (2, 2, 5, 6)),
    "conv2d_without_bias": (lambda: nn.Conv2d(2, 3, 3, bias=False), (2, 2, 5, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 3, (1, 2, 3), padding=(0, 1, 1)), (2, 2, 3, 4, 5)),
    "pointwise": (lambda: nn.Conv2d(4, 3, 1), (2, 4, 3, 5)),
    "pointwise_and_strided": (lambda: nn.Conv2d(4, 3, 1, stride=2), (2, 4, 6, 5)),
    "pointwise_and_padded": (lambda: nn.Conv2d(2, 3, 1, padding=1), (2, 2, 3, 4)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    "grouped_pointwise": (lambda: nn.Conv2d(4, 6, 1, groups=2), (2, 4, 4, 3)),
    "grouped_1d": (lambda: nn.Conv1d(4, 6, 3, groups=2), (2, 4, 8)),
    "grouped_3d": (lambda: nn.Conv3d(4, 2, 2, groups=2), (1, 4, 3, 3, 3)),
    "depthwise": (lambda: nn.Conv2d(3, 3, 3, groups=3, padding=1), (2, 3, 4, 5)),
    "filter_bank": (lambda: nn.Conv2d(3, 12, 3, groups=3, padding=1), (2, 3, 4, 5)),
    "filter_bank_with_a_remainder": (
        lambda: nn.Conv2d(3, 6, 3, groups=3, stride=(3, 2), padding=(1, 0)),
        (2, 3, 8, 8),
    ),
    "filter_bank_dilated": (lambda: nn.Conv2d(2, 6, (2, 3), groups=2, dilation=(2, 1)), (2, 2, 6, 6)),
    "filter_bank_1d": (lambda: nn.Conv1d(3, 6, 3, groups=3), (2, 3, 7)),
    "filter_bank_of_one_channel": (lambda: nn.Conv2d(1, 4, 3), (2, 1, 5, 5)),
    "filter_bank_reflecting": (
        lambda: nn.Conv2d(2, 4, 3, groups=2, padding=1, padding_mode="reflect"),
        (2, 2, 4, 5),
    ),
    "dilated": (lambda: nn.Conv2d(2, 2, (2, 3), dilation=(2, 1)), (2, 2, 6, 6)),
    "strided_with_a_remainder": (lambda: nn.Conv2d(2, 3, 3, stride=3, padding=1), (2, 2, 9, 8)),
    "strided_unlike": (lambda: nn.Conv2d(2, 3, (3, 2), stride=(1, 3), padding=(2, 1)), (2, 2, 5, 9)),
    "same": (lambda: nn.Conv2d(2, 3, (3, 5), padding="same"), (2, 2, 5, 6)),
    "same_with_an_even_kernel": (lambda: nn.Conv2d(2, 3, (2, 4), padding="same"), (2, 2, 5, 6)),
    "same_dilated": (lambda: nn.Conv1d(2, 3, 3, padding="same", dilation=2), (2, 2, 9)),
    "valid": (lambda: nn.Conv2d(2, 3, 3, padding="valid", stride=2), (2, 2, 6, 5)),
    "valid_reflecting": (lambda: nn.Conv2d(2, 3, 3, padding="valid", padding_mode="reflect"), (2, 2, 5, 5)),
    "same_reflecting": (lambda: nn.Conv2d(2, 3, 3, padding="same", padding_mode="reflect"), (2, 2, 5, 5)),
    "reflecting": (lambda: nn.Conv2d(2, 2, 3, padding=(1, 2), padding_mode="reflect"), (2, 2, 5, 5)),
    "replicating": (
        lambda: nn.Conv2d(2, 2, 3, stride=2, padding=1, padding_mode="replicate"),
        (2, 2, 6, 5),
    ),
    "circular": (lambda: nn.Conv2d(2, 2, 3, padding=2, padding_mode="circular"), (2, 2, 5, 5)),
    "circular_1d": (lambda: nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"), (2, 2, 5)),
    "replicating_3d": (
        lambda: nn.Conv3d(1, 2, 3, padding=1, padding_mode="replicate"),
        (1, 1, 3, 3, 4),
    ),
    "unbatched_1d": (lambda: nn.Conv1d(2, 3, 3), (2, 8)),
    "unbatched": (lambda: nn.Conv2d(2, 3, 3, padding=1), (2, 5, 6)),
    "unbatched_pointwise": (lambda: nn.Conv2d(4, 3, 1), (4, 5, 6)),
    "unbatched_filter_bank": (lambda: nn.Conv2d(2, 6, 3, groups=2), (2, 5, 6)),
    "unbatched_3d": (lambda: nn.Conv3d(2, 3, 2), (2, 3, 4, 3)),
    "transposed_1d": (lambda: nn.ConvTranspose1d(2, 3, 3, stride=2, output_padding=1), (2, 2, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 3, 3), (2, 2, 4, 5)),
    "transposed_strided": (
        lambda: nn.ConvTranspose2d(2, 3, 3, stride=(2, 3), padding=1, output_padding=(1, 2)),
        (2, 2, 4, 5),
    ),
    "transposed_grouped": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2), (2, 4, 3, 4)),
    "transposed_dilated": (lambda: nn.ConvTranspose2d(2, 2, 2, dilation=2, padding=1), (2, 2, 4, 3)),
    "transposed_3d": (lambda: nn.ConvTranspose3d(2, 2, 2, stride=2, bias=False), (1, 2, 2, 3, 2)),
    "transposed_unbatched": (lambda: nn.ConvTranspose2d(2, 3, 3, stride=2), (2, 4, 5)),
}
RULES = {
    "epsilon": (rules.Epsilon, ()),
    "norm": (rules.Norm, ()),
    "zplus": (rules.ZPlus, ()),
    "alpha2_beta1": (rules.AlphaBeta, (2.0, 1.0)),
    "alpha1_beta0": (rules.AlphaBeta, (1.0, 0.0)),
    "gamma": (rules.Gamma, (0.25,)),
    "zbox": (rules.ZBox, (-3.0, 2.0)),
    "wsquare": (rules.WSquare, ()),
    "flat": (rules.Flat, ()),
}
WITH_PARAMETERS = [name for name in RULES if name != "norm"]
KEEPING = ["epsilon", "gamma", "zbox"]
STABILIZERS = {
    "large": 0.3,
    "whole_number": 1,
    "negative": -0.01,
    "plain": Stabilizer(1e-3),
    "tensor": Stabilizer(torch.tensor(0.1, dtype=torch.float64)),
    "clip": Stabilizer(1e-1, clip=True),
    "norm_scale": Stabilizer(1e-1, norm_scale=True),
    "norm_scale_of_the_batch": Stabilizer(1e-1, norm_scale=True, dim=(0, 1)),
    "clip_and_norm_scale": Stabilizer(1e-1, clip=True, norm_scale=True, dim=(1,)),
    "own": lambda total: total + 0.1 * total.abs().mean() * total.sign() + (total == 0),
}
ZEROED = {
    "bias": "bias",
    "bias_in_a_list": ["bias"],
    "weight": "weight",
    "both": ["weight", "bias"],
    "neither": [],
}
FEW_LAYERS = [
    "linear",
    "linear_on_a_sequence",
    "conv1d",
    "conv2d",
    "pointwise",
    "filter_bank",
    "reflecting",
    "same",
    "transposed_grouped",
]
each_layer = pytest.mark.parametrize("layer", LAYERS)
few_layers = pytest.mark.parametrize("layer", FEW_LAYERS)
each_rule = pytest.mark.parametrize("rule", RULES)
even_kernels = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def randn(shape, seed, dtype=F64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def make(layer, kind="signed", dtype=F64, seed=0):
    """Return a random layer, inputs and relevance of a kind."""
    build, shape = LAYERS[layer]
    module = randomized(build().to(dtype), seed)
    inputs = randn(shape, seed + 50, dtype)
    inputs = {"rectified": inputs.relu(), "zero": inputs * 0}.get(kind, inputs)
    relevance = randn(module(inputs).shape, seed + 51, dtype)
    if kind == "sparse":
        chosen = randn(relevance.shape, seed + 52)
        relevance = relevance * (chosen >= chosen.flatten().quantile(0.9))
    return module.requires_grad_(False).eval(), inputs, relevance


def randomized(module, seed=0):
    with torch.no_grad():
        for place, parameter in enumerate(module.parameters()):
            parameter.copy_(randn(parameter.shape, 1000 * seed + place))
    return module


def pair(rule, stabilizer=None, zero_params=None, arguments=None):
    """Return Zennit's rule and ours with the same settings."""
    fast, given = RULES[rule]
    options = {}
    if stabilizer is not None:
        options["epsilon" if rule == "epsilon" else "stabilizer"] = stabilizer
    if zero_params is not None:
        options["zero_params"] = zero_params
    given = given if arguments is None else arguments
    return getattr(zennit_rules, fast.__name__)(*given, **options), fast(*given, **options)


def through(rule, module, inputs, relevance):
    """Hand relevance back through one module, by the hooks that a composite would set."""
    leaf = inputs.clone(memory_format=torch.preserve_format).requires_grad_()
    hook = rule.copy()
    handles = hook.register(module)
    try:
        (result,) = torch.autograd.grad(module(leaf), leaf, relevance)
    finally:
        handles.remove()
    return result


def assert_equals(result, expected, relative=1e-12):
    """Compare by the largest value."""
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    assert expected.isfinite().all()
    tolerance = relative * float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)


@even_kernels
@pytest.mark.parametrize("kind", ["signed", "rectified", "zero", "sparse"])
@each_layer
@each_rule
def test_a_fast_rule_gives_zennits_numbers(rule, layer, kind):
    """Every rule on every layer: relevance within 1e-12 of the largest, in double precision."""
    module, inputs, relevance = make(layer, kind)
    theirs, ours = pair(rule)
    expected = through(theirs, module, inputs, relevance)
    assert_equals(through(ours, module, inputs, relevance), expected)
    assert kind == "zero" or expected.any()


@even_kernels
@each_layer
@each_rule
def test_single_precision_agrees_to_a_ten_thousandth(rule, layer):
    """In single precision: relevance within 1e-4 of the largest."""
    module, inputs, relevance = make(layer, dtype=F32)
    theirs, ours = pair(rule)
    expected = through(theirs, module, inputs, relevance)
    assert_equals(through(ours, module, inputs, relevance), expected, 1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        "conv2d",
        "pointwise",
        "pointwise_and_strided",
        "grouped",
        "depthwise",
        "filter_bank",
        "reflecting",
        "same",
        "transposed_strided",
        "strided_with_a_remainder",
    ],
)
@each_rule
@pytest.mark.parametrize("what", ["inputs", "relevance", "both", "all"])
def test_channels_last_changes_no_number(rule, layer, what):
    """Inputs, relevance and weights with the channels last in memory give the same relevance."""
    module, inputs, relevance = make(layer)
    theirs, ours = pair(rule)
    expected = through(theirs, module, inputs, relevance)
    last = torch.channels_last
    if what != "relevance":
        inputs = inputs.contiguous(memory_format=last)
    if what != "inputs":
        relevance = relevance.contiguous(memory_format=last)
    if what == "all":
        module = module.to(memory_format=last)
    assert_equals(through(ours, module, inputs, relevance), expected)


@few_layers
@each_rule
def test_relevance_that_is_not_laid_out_in_memory_is_taken(rule, layer):
    """Expanded relevance, as a sum sends it back, gives what its copy gives, and is not written to."""
    module, inputs, relevance = make(layer)
    theirs, ours = pair(rule)
    flat = relevance.new_tensor(0.7).expand(relevance.shape)
    expected = through(theirs, module, inputs, flat)
    assert_equals(through(ours, module, inputs, flat), expected)
    assert (flat == 0.7).all()


@pytest.mark.parametrize("stabilizer", STABILIZERS)
@few_layers
@each_rule
def test_every_stabilizer_is_zennits(rule, layer, stabilizer):
    """Numbers, Zennit's stabilizers with clip, norm_scale and dim, and the user's own function."""
    module, inputs, relevance = make(layer)
    theirs, ours = pair(rule, STABILIZERS[stabilizer])
    expected = through(theirs, module, inputs, relevance)
    assert_equals(through(ours, module, inputs, relevance), expected)


@pytest.mark.parametrize("zeroed", ZEROED)
@few_layers
@pytest.mark.parametrize("rule", WITH_PARAMETERS)
def test_zeroed_parameters_are_zennits(rule, layer, zeroed):
    """``zero_params`` names parameters that count as zero, as a string or a list."""
    module, inputs, relevance = make(layer)
    theirs, ours = pair(rule, 1e-2, ZEROED[zeroed])
    expected = through(theirs, module, inputs, relevance)
    assert_equals(through(ours, module, inputs, relevance), expected)


@pytest.mark.parametrize("zeroed", ["bias", ["weight", "bias"]])
@pytest.mark.parametrize("layer", ["linear_without_bias", "conv2d_without_bias"])
@pytest.mark.parametrize("rule", WITH_PARAMETERS)
def test_a_zeroed_bias_that_is_not_there_is_no_error(rule, layer, zeroed):
    """``zero_params`` may name a parameter that is None."""
    module, inputs, relevance = make(layer)
    theirs, ours = pair(rule, 1e-2, zeroed)
    assert_equals(
        through(ours, module, inputs, relevance),
        through(theirs, module, inputs, relevance),
    )


@pytest.mark.parametrize("gamma", [0.0, 0.01, 100.0])
@pytest.mark.parametrize("kind", ["signed", "rectified"])
@pytest.mark.parametrize("layer", ["linear", "conv2d", "filter_bank"])
def test_gamma_of_any_size_is_zennits(layer, kind, gamma):
    """Gamma from nothing to large, for outputs of both signs."""
    module, inputs, relevance = make(layer, kind)
    theirs, ours = pair("gamma", arguments=(gamma,))
    assert_equals(through(ours, module, inputs, relevance), through(theirs, module, inputs, relevance))


@pytest.mark.parametrize("alpha", [1.5, 3.0])
@pytest.mark.parametrize("layer", ["linear", "conv2d", "filter_bank"])
def test_alpha_and_beta_of_any_size_are_zennits(layer, alpha):
    """Alpha and beta other than the usual ones."""
    module, inputs, relevance = make(layer)
    theirs, ours = pair("alpha2_beta1", arguments=(alpha, alpha - 1.0))
    assert_equals(through(ours, module, inputs, relevance), through(theirs, module, inputs, relevance))


@pytest.mark.parametrize(("alpha", "beta"), [(-1.0, -2.0), (2.0, 2.0)])
def test_alpha_and_beta_that_zennit_refuses_are_refused(alpha, beta):
    """Neither may be negative, and their difference is one."""
    with pytest.raises(ValueError, match="alpha"):
        rules.AlphaBeta(alpha, beta)


def test_a_stabilizer_that_is_neither_number_nor_function_is_refused():
    """With Zennit's error."""
    with pytest.raises(TypeError, match="stabilizer"):
        rules.Epsilon("small")


BOUNDS = {
    "floats": (lambda shape: (-3.0, 2.0)),
    "zero_and_one": (lambda shape: (0.0, 1.0)),
    "whole_numbers": (lambda shape: (-3, 2)),
    "channels": (lambda shape: (-2 - randn((1, shape[1], 1, 1), 1).abs(), 2 + randn((1, shape[1], 1, 1), 2).abs())),
    "single_precision": (lambda shape: (torch.full((1, shape[1], 1, 1), -2.5), torch.tensor(3.5))),
    "pixels": (lambda shape: (-2 - randn((1, *shape[1:]), 1).abs(), 2 + randn((1, *shape[1:]), 2).abs())),
    "samples": (lambda shape: (-2 - randn(shape, 1).abs(), 2 + randn(shape, 2).abs())),
    "more_samples": (lambda shape: (-2 - randn((9, *shape[1:]), 1).abs(), 2.0)),
    "one_for_each_sample": (lambda shape: (-2 - randn((shape[0], 1, 1, 1), 1).abs(), 2.0)),
}  # fmt: skip


@pytest.mark.parametrize("piece", [2**21, 100])
@pytest.mark.parametrize("zeroed", [None, "bias"])
@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("layer", ["conv2d", "filter_bank", "reflecting", "transposed"])
def test_boxes_of_every_shape_are_zennits(layer, bounds, zeroed, piece, monkeypatch):
    """Bounds as numbers, by channel, by pixel and by sample, also where the batch is cut into pieces."""
    monkeypatch.setattr(rules, "PIECE", piece)
    module, _, _ = make(layer)
    inputs = randn((5, *LAYERS[layer][1][1:]), 3)
    relevance = randn(module(inputs).shape, 4)
    theirs, ours = pair("zbox", zero_params=zeroed, arguments=BOUNDS[bounds](inputs.shape))
    assert_equals(through(ours, module, inputs, relevance), through(theirs, module, inputs, relevance))


@even_kernels
@pytest.mark.parametrize("piece", [1, 150])
@pytest.mark.parametrize("layer", LAYERS)
@each_rule
def test_pieces_of_a_batch_give_what_the_batch_gives(rule, layer, piece, monkeypatch):
    """Where the batch is large it is cut, unbatched inputs never: no number changes."""
    monkeypatch.setattr(rules, "PIECE", piece)
    module, _, _ = make(layer)
    shape = LAYERS[layer][1]
    batched = "unbatched" not in layer and "one_vector" not in layer
    inputs = randn((7, *shape[1:]) if batched else shape, 3)
    relevance = randn(module(inputs).shape, 4)
    theirs, ours = pair(rule)
    assert_equals(through(ours, module, inputs, relevance), through(theirs, module, inputs, relevance))


@pytest.mark.parametrize("stabilizer", STABILIZERS)
@each_rule
def test_pieces_do_not_change_a_stabilizer_that_looks_at_the_whole_batch(rule, stabilizer, monkeypatch):
    """A stabilizer may take means over the samples, so the batch stays whole for it."""
    monkeypatch.setattr(rules, "PIECE", 1)
    module, inputs, relevance = make("conv2d")
    theirs, ours = pair(rule, STABILIZERS[stabilizer])
    assert_equals(through(ours, module, inputs, relevance), through(theirs, module, inputs, relevance))


def test_pieces_are_made_where_a_batch_is_large(monkeypatch):
    """The test of the pieces can fail: seven samples are handled in more than one call."""
    calls = []
    whole = rules.ZPlus.relevance
    monkeypatch.setattr(rules.ZPlus, "relevance", lambda *given: calls.append(len(given[2])) or whole(*given))
    monkeypatch.setattr(rules, "PIECE", 150)
    module, _, _ = make("conv2d")
    inputs = randn((7, 2, 5, 6), 3)
    through(rules.ZPlus(), module, inputs, module(inputs))
    assert len(calls) > 1
    assert sum(calls) == 7


POOLS = {
    "average": (lambda: nn.AvgPool2d(2), (2, 3, 5, 4)),
    "average_padded": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 3, 5, 4)),
    "average_1d": (lambda: nn.AvgPool1d(2), (2, 3, 6)),
    "adaptive": (lambda: nn.AdaptiveAvgPool2d((2, 3)), (2, 3, 5, 7)),
    "sum": (lambda: Sum(-1), (2, 3, 4, 2)),
    "pair_sum": (lambda: PairSum(1), (2, 3, 4, 2)),
    "identity": (nn.Identity, (2, 3)),
}


@pytest.mark.parametrize("piece", [2**21, 1])
@pytest.mark.parametrize("stabilizer", STABILIZERS)
@pytest.mark.parametrize("pool", POOLS)
def test_norm_gives_zennits_numbers_on_what_has_no_parameters(pool, stabilizer, piece, monkeypatch):
    """Average pooling and sums over an axis of a stack, under every stabilizer."""
    monkeypatch.setattr(rules, "PIECE", piece)
    build, shape = POOLS[pool]
    module, inputs = build(), randn(shape, 5)
    relevance = randn(module(inputs).shape, 6)
    theirs, ours = pair("norm", STABILIZERS[stabilizer])
    assert_equals(through(ours, module, inputs, relevance), through(theirs, module, inputs, relevance))


def summands_through(rule, addition, module, first, second, relevance):
    """Hand relevance back to two summands."""
    leaves = [values.clone().requires_grad_() for values in (first, second)]
    hook = rule.copy()
    handles = hook.register(module)
    try:
        return torch.autograd.grad(addition(*leaves), leaves, relevance)
    finally:
        handles.remove()


@pytest.mark.parametrize("stabilizer", ["large", "plain", "clip", "norm_scale_of_the_batch", "own"])
@pytest.mark.parametrize("steady", [True, False])
@pytest.mark.parametrize("hooked", ["fast", "zennit", "PairSum"])
@pytest.mark.parametrize("rule", ["norm", "epsilon"])
def test_an_addition_shares_as_zennits_sum_of_the_stack(rule, hooked, steady, stabilizer):
    """Under the fast rule, which spares the stack, and under Zennit's own hook on ``sum``."""
    first, second, relevance = (randn((2, 3, 4), seed) for seed in (1, 2, 3))
    theirs, ours = pair(rule, STABILIZERS[stabilizer])
    stacked = torch.stack((first, second), -1)
    expected = through(theirs, Sum(-1), stacked, relevance).unbind(-1)
    module = PairSum(-1) if hooked == "PairSum" else Addition(steady)
    target = module if hooked == "PairSum" else module.sum
    results = summands_through(
        theirs if hooked == "zennit" else ours, module, target, first, second, relevance
    )
    for result, wanted in zip(results, expected, strict=True):
        assert_equals(result, wanted)


@pytest.mark.parametrize("rule", ["norm", "epsilon"])
def test_an_addition_of_a_signal_to_itself_gives_it_all(rule):
    """The two shares of one tensor add up."""
    given, relevance = randn((2, 3), 1), randn((2, 3), 2)
    theirs, ours = pair(rule)
    expected = through(theirs, Sum(-1), torch.stack((given, given), -1), relevance).sum(-1)
    leaf = given.clone().requires_grad_()
    addition = Addition(True)
    handles = ours.register(addition.sum)
    (result,) = torch.autograd.grad(addition(leaf, leaf), leaf, relevance)
    handles.remove()
    assert_equals(result, expected)


@pytest.mark.parametrize("rule", [name for name in RULES if name not in ("norm", "epsilon")])
def test_rules_without_a_form_for_sums_leave_a_sum_to_zennit(rule):
    """For a sum module only Norm and Epsilon are translated."""
    theirs, _ = pair(rule)
    assert rules.accelerated(theirs, Sum(-1)) is theirs
    assert rules.accelerated(theirs, PairSum(-1)) is theirs


# --- Pass ---


@pytest.mark.parametrize("module", [nn.ReLU(), nn.ReLU(inplace=True), nn.Sigmoid(), nn.Identity(), nn.GELU()])
def test_pass_hands_relevance_through(module):
    """As Zennit's Pass: the output is the module's, the relevance of the inputs that of the output."""
    inputs, relevance = randn((2, 3, 4), 1), randn((2, 3, 4), 2)
    for rule in (zennit_rules.Pass(), rules.Pass()):
        leaf = inputs.clone().requires_grad_()
        handles = rule.register(module)
        output = module(leaf * 1)
        (result,) = torch.autograd.grad(output, leaf, relevance)
        handles.remove()
        torch.testing.assert_close(result, relevance, rtol=0, atol=0)
        torch.testing.assert_close(output, module(inputs.clone()), rtol=0, atol=0)


# --- translation of Zennit's templates ---


SETTINGS = {
    "epsilon": zennit_rules.Epsilon(0.3),
    "epsilon_of_a_function": zennit_rules.Epsilon(lambda total: total + 0.3, zero_params="bias"),
    "norm": zennit_rules.Norm(Stabilizer(0.2, clip=True)),
    "zplus": zennit_rules.ZPlus(0.3, ["bias"]),
    "alpha3_beta2": zennit_rules.AlphaBeta(3.0, 2.0, 0.3, "bias"),
    "alpha1_beta0": zennit_rules.AlphaBeta(1.0, 0.0),
    "gamma": zennit_rules.Gamma(0.7, 0.3, "bias"),
    "zbox": zennit_rules.ZBox(-3.0, torch.full((1, 2, 1, 1), 2.5), 0.3, "bias"),
    "wsquare": zennit_rules.WSquare(0.3, "bias"),
    "flat": zennit_rules.Flat(0.3, "bias"),
    "flat_without_weight": zennit_rules.Flat(0.3, ["weight"]),
}


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_zennit_rule_is_translated_with_its_settings(name, copied):
    """The fast type of the same name, which gives the template's numbers; so do copies of either."""
    template = SETTINGS[name].copy() if copied else SETTINGS[name]
    module, inputs, relevance = make("conv2d")
    fast = rules.accelerated(template, module)
    assert isinstance(fast, rules.Rule)
    assert type(fast) is getattr(rules, type(template).__name__)
    expected = through(template, module, inputs, relevance)
    assert_equals(through(fast, module, inputs, relevance), expected)
    again = fast.copy()
    assert type(again) is type(fast)
    assert again is not fast
    settings = {key for key in vars(fast) if key not in vars(rules.Pass())}
    assert settings
    assert all(vars(again)[key] is vars(fast)[key] for key in settings)


@pytest.mark.parametrize("zeroed", [None, *ZEROED.values()])
@pytest.mark.parametrize("rule", WITH_PARAMETERS)
def test_translated_zero_params_are_the_templates(rule, zeroed):
    """Zeroed parameters survive the translation, in all their forms."""
    template, _ = pair(rule, 1e-2, zeroed)
    module, inputs, relevance = make("conv2d")
    fast = rules.accelerated(template, module)
    assert fast is not template
    assert_equals(through(fast, module, inputs, relevance), through(template, module, inputs, relevance))


@pytest.mark.parametrize("copied", [False, True])
def test_pass_is_translated(copied):
    """Zennit's Pass becomes ours."""
    template = zennit_rules.Pass().copy() if copied else zennit_rules.Pass()
    assert type(rules.accelerated(template, nn.ReLU())) is rules.Pass


def subclass_of_epsilon():
    class Mine(zennit_rules.Epsilon):
        pass

    return Mine(0.1)


def subclass_of_pass():
    class Mine(zennit_rules.Pass):
        def backward(self, module, grad_input, grad_output):
            return grad_output[0] * 2

    return Mine()


def replaced(attribute, value, rule="epsilon"):
    def make_template():
        template, _ = pair(rule)
        setattr(template, attribute, value)
        return template

    return make_template


LEFT_ALONE = {
    "subclass": subclass_of_epsilon,
    "subclass_of_pass": subclass_of_pass,
    "another_reducer": replaced("reducer", lambda inputs, gradients: gradients[0]),
    "another_mapper": replaced("gradient_mapper", lambda out_grad, outputs: out_grad),
    "other_inputs": replaced("input_modifiers", [torch.ones_like]),
    "other_parameters": replaced("param_modifiers", [lambda values, name: values**3]),
    "other_outputs": replaced("output_modifiers", [torch.relu]),
    "more_inputs": replaced("input_modifiers", [torch.ones_like] * 2, "zplus"),
    "basic_hook": zennit_rules.BasicHook,
    "guided": zennit_rules.ReLUGuidedBackprop,
    "ours": rules.Epsilon,
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_a_hook_that_is_not_zennits_own_stays_as_it_is(name):
    """Subclasses, rules with a replaced part and the user's hooks are given back."""
    template = LEFT_ALONE[name]()
    assert rules.accelerated(template, nn.Linear(2, 2)) is template


@pytest.mark.parametrize("part", ["zero_params", "param_keys"])
def test_changed_settings_of_a_parameter_modifier_are_not_lost(part):
    """Whatever is changed on the template, the hook that takes its place gives the template's numbers."""
    template = zennit_rules.Epsilon(0.1)
    setattr(template.param_modifiers[0], part, ["bias"])
    module, inputs, relevance = make("linear")
    fast = rules.accelerated(template, module)
    assert_equals(through(fast, module, inputs, relevance), through(template, module, inputs, relevance))


def narrowed_gamma():
    template = zennit_rules.Gamma(0.25, 0.1)
    template.param_modifiers[0] = zennit_rules.GammaMod(3.0, min=0.0)
    return template


def narrowed_clamp():
    template = zennit_rules.ZPlus(0.1)
    template.param_modifiers[0] = zennit_rules.ClampMod(min=0.1)
    return template


def zeroed_in_one_modifier():
    template = zennit_rules.ZPlus(0.1)
    template.param_modifiers[1].zero_params = ["weight", "bias"]
    return template


@pytest.mark.parametrize("make_template", [narrowed_gamma, narrowed_clamp, zeroed_in_one_modifier])
def test_a_modifier_of_the_same_class_with_other_settings_is_not_lost(make_template):
    """A part that was replaced by one made by the same code, with other numbers, counts."""
    template = make_template()
    module, inputs, relevance = make("linear")
    hook = rules.accelerated(template, module)
    assert_equals(through(hook, module, inputs, relevance), through(template, module, inputs, relevance))


class Scaling(nn.Module):
    """A parameter with a name of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2.0, 3.0, -1.0]))

    def forward(self, values):
        return values * self.scale


def as_buffer(name):
    def build():
        module = nn.Linear(3, 2)
        value = getattr(module, name).data
        delattr(module, name)
        module.register_buffer(name, value)
        return module

    return build


def with_an_extra_parameter():
    module = nn.Linear(3, 2)
    module.extra = nn.Parameter(torch.ones(2))
    return module


ODD_MODULES = {
    "scaling": Scaling,
    "batch_norm": lambda: nn.BatchNorm1d(3),
    "layer_norm": lambda: nn.LayerNorm(3),
    "weight_as_a_buffer": as_buffer("weight"),
    "bias_as_a_buffer": as_buffer("bias"),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)),
    "spectral_norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv1d(1, 2, 2)),
    "an_extra_parameter": with_an_extra_parameter,
    "bilinear_in_one": lambda: nn.PReLU(3),
}


@pytest.mark.parametrize("rule", [name for name in RULES if name != "zbox"])
@pytest.mark.parametrize("odd", ODD_MODULES)
def test_modules_with_other_parameters_get_zennits_numbers(odd, rule):
    """Zennit changes what is a parameter, by any name, and leaves buffers: so does what takes its rule's place."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = ODD_MODULES[odd]().double().eval().requires_grad_(False)
    inputs = randn((2, 1, 3) if odd == "spectral_norm" else (2, 3), 4)
    relevance = randn(module(inputs).shape, 5)
    template, _ = pair(rule, 0.1)
    hook = rules.accelerated(template, module)
    assert_equals(through(hook, module, inputs, relevance), through(template, module, inputs, relevance))


# --- life of a rule on a module ---


def small_composite(**options):
    """Return a composite with a fast rule of every kind that keeps something."""
    return composites.EpsilonGammaBox(low=-3.0, high=3.0, **options)


def tiny_net():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6, 5),
    )
    return randomized(net.double()).requires_grad_(False).eval()


def own_attributes(net):
    return {name: set(vars(module)) for name, module in net.named_modules()}


class BoomError(Exception):
    pass


@pytest.mark.parametrize("fails", [False, True])
def test_a_composite_of_fast_rules_leaves_nothing_behind(fails):
    """Registered, used and removed, also by an exception: forwards, attributes and parameters are as before."""
    net, images = tiny_net(), randn((2, 3, 6, 6), 1)
    before, state = own_attributes(net), copy.deepcopy(net.state_dict())
    identities = [id(value) for value in net.parameters()]
    composite = fresh_composite(small_composite(), fast=True)
    try:
        with composite.context(net):
            assert "forward" in vars(net[0])
            leaf = images.clone().requires_grad_()
            torch.autograd.grad(net(leaf)[:, 2].sum(), leaf)
            if fails:
                raise BoomError
    except BoomError:
        assert fails
    assert own_attributes(net) == before
    assert all(getattr(module.forward, "__func__", 0) is type(module).forward for module in net)
    assert [id(value) for value in net.parameters()] == identities
    assert all(torch.equal(net.state_dict()[key], state[key]) for key in state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    leaf = images.clone().requires_grad_()
    torch.autograd.grad(net(leaf)[:, 2].sum(), leaf)


def test_a_composite_may_be_used_again():
    """Two rounds with one composite give the same relevance."""
    net, images = tiny_net(), randn((2, 3, 6, 6), 1)
    composite = fresh_composite(small_composite(), fast=True)
    found = []
    for _ in range(2):
        with composite.context(net):
            leaf = images.clone().requires_grad_()
            found += torch.autograd.grad(net(leaf)[:, 2].sum(), leaf)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_a_forward_of_the_modules_own_is_put_back_and_counts():
    """A forward that was set on the instance is what runs under the rule, and is back afterwards."""
    module, inputs, relevance = make("linear")

    def forward(values):
        return 2 * nn.Linear.forward(module, values)

    module.forward = forward
    theirs, ours = pair("epsilon")
    expected = through(theirs, module, inputs, relevance)
    handles = ours.register(module)
    output = module(inputs.clone().requires_grad_())
    handles.remove()
    assert module.forward is forward
    torch.testing.assert_close(output.detach(), forward(inputs), rtol=0, atol=0)
    assert_equals(through(ours, module, inputs, relevance), expected)


def test_without_gradients_a_module_runs_as_it_is():
    """Under no_grad, or for inputs that need no gradient, there is no node in the graph."""
    module, inputs, _ = make("linear")
    handles = rules.Epsilon().register(module)
    assert module(inputs).grad_fn is None
    with torch.no_grad():
        assert module(inputs.clone().requires_grad_()).grad_fn is None
    handles.remove()


@pytest.mark.parametrize("rule", ["epsilon", "zplus", "gamma", "zbox", "flat"])
def test_a_module_that_is_used_twice_gets_its_rule_twice(rule):
    """Each use is handed relevance by its own inputs, as if there were two modules (where Zennit takes the last)."""
    module = randomized(nn.Linear(4, 4).double()).requires_grad_(False)
    twin = copy.deepcopy(module)
    inputs, relevance = randn((3, 4), 1), randn((3, 4), 2)
    theirs, ours = pair(rule)
    hooks = [theirs.copy(), theirs.copy()]
    handles = [hook.register(layer) for hook, layer in zip(hooks, (module, twin), strict=True)]
    leaf = inputs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(twin(module(leaf).relu()), leaf, relevance)
    for handle in handles:
        handle.remove()
    handle = ours.register(module)
    leaf = inputs.clone().requires_grad_()
    (result,) = torch.autograd.grad(module(module(leaf).relu()), leaf, relevance)
    handle.remove()
    assert_equals(result, expected)


@few_layers
@each_rule
def test_two_ways_back_give_the_same(rule, layer):
    """With retain_graph=True the second way back finds everything as the first did."""
    module, inputs, relevance = make(layer)
    theirs, ours = pair(rule)
    expected = through(theirs, module, inputs, relevance)
    leaf = inputs.clone().requires_grad_()
    handles = ours.register(module)
    output = module(leaf)
    first = torch.autograd.grad(output, leaf, relevance, retain_graph=True)[0].clone()
    (second,) = torch.autograd.grad(output, leaf, relevance)
    handles.remove()
    assert_equals(first, expected)
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    torch.testing.assert_close(leaf.detach(), inputs, rtol=0, atol=0)


@each_rule
def test_several_forwards_before_one_way_back_do_not_mix(rule):
    """The relevance of an output belongs to the inputs of that output."""
    module, inputs, relevance = make("conv2d")
    theirs, ours = pair(rule)
    batches = [inputs, 2 * inputs.flip(0), inputs.abs()]
    expected = [through(theirs, module, batch, relevance) for batch in batches]
    handles = ours.register(module)
    leaves = [batch.clone().requires_grad_() for batch in batches]
    outputs = [module(leaf) for leaf in leaves]
    found = torch.autograd.grad(outputs, leaves, [relevance] * 3)
    handles.remove()
    for result, wanted in zip(found, expected, strict=True):
        assert_equals(result, wanted)


@each_rule
def test_an_inactive_rule_refuses_the_way_back(rule):
    """Zennit switches rules off for gradients of relevance: the error names the way out."""
    module, inputs, relevance = make("linear")
    composite = Composite(lambda ctx, name, child: RULES[rule][0](*RULES[rule][1]))
    leaf = inputs.clone().requires_grad_()
    with composite.context(module):
        output = module(leaf)
        with composite.inactive(), pytest.raises(RuntimeError, match=r"must be active .*fast=False"):
            torch.autograd.grad(output, leaf, relevance, retain_graph=True)
        torch.autograd.grad(output, leaf, relevance)


@pytest.mark.parametrize("rule", KEEPING)
def test_an_output_that_a_rule_keeps_may_not_be_overwritten(rule):
    """PyTorch raises where the output was changed in place, rather than that a number is wrong."""
    module, inputs, relevance = make("linear")
    _, ours = pair(rule)
    handles = ours.register(module)
    leaf = inputs.clone().requires_grad_()
    output = module(leaf).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(output, leaf, relevance)
    handles.remove()


@pytest.mark.parametrize("rule", [name for name in RULES if name not in KEEPING])
def test_an_output_that_no_rule_keeps_may_be_overwritten(rule):
    """Rules that do not look at the output bear an operation in place after the layer."""
    module, inputs, relevance = make("linear")
    theirs, ours = pair(rule)
    expected = through(theirs, module, inputs, 2 * relevance)
    handles = ours.register(module)
    leaf = inputs.clone().requires_grad_()
    (result,) = torch.autograd.grad(module(leaf).mul_(2), leaf, relevance)
    handles.remove()
    assert_equals(result, expected)


@each_rule
def test_inputs_that_were_overwritten_are_refused(rule):
    """Every rule keeps the inputs: PyTorch raises where they were changed in place."""
    module, inputs, relevance = make("linear")
    _, ours = pair(rule)
    handles = ours.register(module)
    leaf = inputs.clone().requires_grad_()
    between = leaf * 1
    output = module(between)
    between.detach().mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(output, leaf, relevance)
    handles.remove()


@pytest.mark.parametrize("through_relevance", [True, False])
@each_rule
def test_gradients_of_relevance_are_refused(rule, through_relevance):
    """A rule is one step back: differentiating its result raises, rather than that a part of the gradient is lost."""
    module, inputs, relevance = make("linear")
    _, ours = pair(rule)
    handles = ours.register(module)
    leaf, start = inputs.clone().requires_grad_(), relevance.clone().requires_grad_(through_relevance)
    with pytest.raises(RuntimeError, match=r"once_differentiable|create_graph|fast=False"):  # noqa: PT012
        (result,) = torch.autograd.grad(module(leaf**2), leaf, start, create_graph=True)
        result.sum().backward()
    handles.remove()


def test_an_inactive_pass_refuses_the_way_back():
    """Zennit's Pass gives the plain gradient while it is inactive; ours must not go on handing relevance through."""
    module, inputs = nn.Sigmoid(), randn((2, 3), 1)
    composite = Composite(lambda ctx, name, child: rules.Pass())
    leaf = inputs.clone().requires_grad_()
    with composite.context(module):
        output = module(leaf).sum()
        with composite.inactive(), pytest.raises(RuntimeError, match=r"must be active .*fast=False"):
            torch.autograd.grad(output, leaf)


@each_rule
def test_changed_weights_are_seen(rule):
    """Nothing is remembered from one call to the next: the rule reads the weights as they are."""
    module, inputs, relevance = make("conv2d")
    theirs, ours = pair(rule)
    handles = ours.register(module)
    leaf = inputs.clone().requires_grad_()
    torch.autograd.grad(module(leaf), leaf, relevance)
    with torch.no_grad():
        module.weight.copy_(randn(module.weight.shape, 77))
        module.bias = nn.Parameter(randn(module.bias.shape, 78), requires_grad=False)
    (result,) = torch.autograd.grad(module(leaf), leaf, relevance)
    handles.remove()
    assert_equals(result, through(theirs, module, inputs, relevance))


@few_layers
@each_rule
def test_a_rule_gives_the_output_of_the_layer(rule, layer):
    """Going forward nothing changes, bit for bit."""
    module, inputs, _ = make(layer)
    expected = module(inputs)
    handles = pair(rule)[1].register(module)
    output = module(inputs.clone().requires_grad_())
    handles.remove()
    torch.testing.assert_close(output.detach(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layer", ["linear", "conv2d", "pointwise", "grouped", "filter_bank"])
@each_rule
def test_half_precision_stays_finite_and_close(rule, layer, dtype):
    """With a stabilizer that the type can hold: within a few hundredths of the largest value of single precision."""
    module, inputs, relevance = make(layer, "rectified", F32)
    for parameter in module.parameters():
        parameter.abs_()  # where contributions cancel, eight bits do not tell the sign of the sum
    _, ours = pair(rule, 0.25)
    expected = through(ours, module, inputs, relevance)
    result = through(ours, module.to(dtype), inputs.to(dtype), relevance.to(dtype))
    assert result.dtype == dtype
    assert_equals(result.float(), expected, 0.05)


@each_rule
def test_an_empty_batch_is_no_error(rule):
    """No sample, no relevance."""
    module, inputs, relevance = make("conv2d")
    result = through(pair(rule)[1], module, inputs[:0], relevance[:0])
    assert result.shape == (0, *inputs.shape[1:])


def test_a_removed_rule_is_forgotten():
    """Once the handles and the graph are gone, no reference to the rule stays on the module."""
    module, inputs, relevance = make("linear")
    hook = rules.Epsilon()
    handles = hook.register(module)
    leaf = inputs.clone().requires_grad_()
    torch.autograd.grad(module(leaf), leaf, relevance)
    handles.remove()
    reference = weakref.ref(hook)
    del hook, handles, leaf
    gc.collect()
    assert reference() is None


# --- whole networks ---


COMPOSITES = {
    "epsilon_plus_flat": composites.EpsilonPlusFlat,
    "epsilon_gamma_box": lambda: composites.EpsilonGammaBox(low=-3.0, high=3.0),
    "epsilon_alpha2_beta1_flat": composites.EpsilonAlpha2Beta1Flat,
}
NETWORKS = ["resnet18", "resnet50", "vgg16_bn", "mobilenet_v2", "densenet121", "efficientnet_b0"]


def assert_fast_explains_alike(net, composite, images, relative):
    """Compare what the fast rules and Zennit's own hooks make of a network."""
    split = ef.replace_stem(net)
    fast, slow = (
        ef.EdgeFilterAttribution(split, COMPOSITES[composite](), fast=fast).explain(images, 3)
        for fast in (True, False)
    )
    for name in ("response", "pixel"):
        result, expected = getattr(fast, name), getattr(slow, name)
        assert expected.abs().max() > 0
        assert_equals(result, expected, relative)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_small_network_is_explained_alike(small_net, composite):
    """Fast or not, the same responses and pixels: within 1e-12 of the largest."""
    assert_fast_explains_alike(small_net, composite, randn((2, 3, 16, 16), 1)[:, :, :14, :14], 1e-12)


@pytest.mark.extended
@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_torchvision_are_explained_alike(name, composite):
    """Fast or not, the same responses and pixels of whole networks: within 1e-10 of the largest."""
    torchvision = pytest.importorskip("torchvision")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        net = getattr(torchvision.models, name)(weights=None).double().eval()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.3, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.uniform_(module.weight, 0.7, 1.3)
            if isinstance(getattr(module, "bias", None), nn.Parameter):
                nn.init.uniform_(module.bias, -0.2, 0.2)
    assert_fast_explains_alike(net, composite, randn((1, 3, 64, 64), 8), 1e-10)
