"""Layers as linear maps: both directions against automatic differentiation, and what they leave behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from edgefilter.lrp import linear_maps
from edgefilter.lrp.linear_maps import (
    Favour,
    flat,
    in_blocks,
    is_zero,
    linear_map,
    negative,
    positive,
    reaches_below_zero,
    signed,
)
from edgefilter.lrp.operations import FunctionalConv2d, FunctionalLinear, TokenLinear
from edgefilter.stems.padding import PaddedConv2d, Padding2d

F64 = torch.float64


def padded(sides, **options):
    conv = PaddedConv2d(2, 4, 3, **options)
    conv.pad = Padding2d(sides, conv.kernel_size, conv.stride, conv.dilation)
    return conv


LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (3, 7)),
    "linear_without_bias": (lambda: nn.Linear(7, 5, bias=False), (3, 7)),
    "linear_on_one_vector": (lambda: nn.Linear(7, 5), (7,)),
    "linear_on_a_map": (lambda: nn.Linear(4, 3), (2, 2, 3, 4)),
    "tokens": (lambda: TokenLinear(4, 3), (2, 5, 4)),
    "functional_linear": (lambda: FunctionalLinear(4, 3), (2, 5, 4)),
    "functional_conv2d": (lambda: FunctionalConv2d(2, 3, 3), (2, 2, 5, 6)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, stride=4, padding=1), (2, 2, 12)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3), (2, 2, 5, 6)),
    "conv2d_without_bias": (lambda: nn.Conv2d(2, 3, 3, bias=False), (2, 2, 5, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 4, (1, 2, 3), padding=(0, 1, 1), groups=2), (2, 2, 3, 4, 5)),
    "pointwise": (lambda: nn.Conv2d(4, 3, 1), (2, 4, 3, 5)),
    "pointwise_and_strided": (lambda: nn.Conv2d(4, 3, 1, stride=2), (2, 4, 6, 5)),
    "pointwise_and_padded": (lambda: nn.Conv2d(2, 3, 1, padding=1), (2, 2, 3, 4)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(3, 3, 3, groups=3, padding=1), (2, 3, 4, 5)),
    "filter_bank": (lambda: nn.Conv2d(3, 12, 3, groups=3, padding=1), (2, 3, 4, 5)),
    "filter_bank_with_a_remainder": (
        lambda: nn.Conv2d(3, 6, (3, 2), groups=3, stride=(3, 2), padding=(1, 0), dilation=(1, 2)),
        (2, 3, 8, 8),
    ),
    "filter_bank_1d": (lambda: nn.Conv1d(3, 6, 3, groups=3), (2, 3, 7)),
    "strided_with_a_remainder": (lambda: nn.Conv2d(2, 3, 3, stride=3, padding=1), (2, 2, 9, 8)),
    "larger_padding_than_kernel": (lambda: nn.Conv2d(2, 3, 2, padding=3), (2, 2, 3, 4)),
    "same": (lambda: nn.Conv2d(2, 3, (3, 5), padding="same", dilation=(2, 1)), (2, 2, 5, 6)),
    "same_with_an_even_kernel": (lambda: nn.Conv2d(2, 3, (2, 4), padding="same"), (2, 2, 5, 6)),
    "valid_circular": (lambda: nn.Conv2d(2, 3, 3, padding="valid", padding_mode="circular"), (2, 2, 5, 5)),
    "reflecting": (lambda: nn.Conv2d(2, 2, 3, padding=(1, 2), padding_mode="reflect"), (2, 2, 5, 5)),
    "replicating": (lambda: nn.Conv1d(2, 2, 3, padding=2, padding_mode="replicate", stride=2), (2, 2, 6)),
    "circular": (lambda: nn.Conv2d(2, 4, 3, padding=2, padding_mode="circular", groups=2), (2, 2, 5, 5)),
    "unbatched": (lambda: nn.Conv2d(2, 3, 3, padding=1), (2, 5, 6)),
    "unbatched_pointwise": (lambda: nn.Conv2d(4, 3, 1), (4, 5, 6)),
    "unbatched_filter_bank": (lambda: nn.Conv2d(2, 6, 3, groups=2), (2, 5, 6)),
    "padded_by_sides": (lambda: padded((0, 1, 2, 1)), (2, 2, 5, 6)),
    "padded_to_same": (lambda: padded("same", stride=2), (2, 2, 5, 6)),
    "padded_grouped": (lambda: padded((0, 1, 2, 1), groups=2), (2, 2, 5, 6)),
    "transposed_1d": (lambda: nn.ConvTranspose1d(2, 3, 3, stride=2, output_padding=1), (2, 2, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 3, 3), (2, 2, 4, 5)),
    "transposed_strided": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), padding=1, output_padding=(1, 2), groups=2),
        (2, 4, 4, 5),
    ),
    "transposed_dilated": (lambda: nn.ConvTranspose2d(2, 2, 2, dilation=2, padding=1), (2, 2, 4, 3)),
    "transposed_3d": (lambda: nn.ConvTranspose3d(2, 2, 2, stride=2, bias=False), (1, 2, 2, 3, 2)),
    "transposed_unbatched": (lambda: nn.ConvTranspose2d(2, 3, 3, stride=2), (2, 4, 5)),
}
each_layer = pytest.mark.parametrize("name", LAYERS)
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def randn(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def randomized(module):
    with torch.no_grad():
        for place, parameter in enumerate(module.parameters()):
            parameter.copy_(randn(parameter.shape, place))
    return module


def make(name):
    build, shape = LAYERS[name]
    return randomized(build().double()), randn(shape, 50)


class Doubling(nn.Conv2d):
    """A convolution that is not what its class says."""

    def forward(self, images):
        return 2 * super().forward(images)


@each_layer
def test_every_known_layer_goes_by_operators(name):
    """None of these layers falls back on automatic differentiation."""
    module, _ = make(name)
    assert type(linear_map(module)) is not linear_maps.LinearMap


@each_layer
def test_forward_is_the_layer(name):
    """With its own weight and bias a map gives the output of its layer."""
    module, inputs = make(name)
    layer = linear_map(module)
    assert_close(layer.forward(inputs, layer.weight, layer.bias), module(inputs).detach(), rtol=0, atol=1e-12)
    assert_close(layer.run(inputs), module(inputs), rtol=0, atol=0)


@each_layer
def test_forward_takes_another_weight(name):
    """A given weight and bias count, and None means no bias."""
    module, inputs = make(name)
    layer = linear_map(module)
    weight = randn(layer.weight.shape, 7)
    bare = layer.forward(inputs, weight)
    with torch.no_grad():
        module.weight.copy_(weight)
        if module.bias is not None:
            module.bias.zero_()
        assert_close(bare, module(inputs), rtol=0, atol=1e-12)


@each_layer
def test_backward_is_the_transposed_map(name):
    """For any x and y, ``<A x, y> == <x, A' y>``."""
    module, inputs = make(name)
    layer = linear_map(module)
    image = layer.forward(inputs, layer.weight)
    values = randn(image.shape, 8)
    back = layer.backward(values, layer.weight, inputs)
    assert back.shape == inputs.shape
    assert_close((image * values).sum(), (inputs * back).sum(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("last", [False, True])
@each_layer
def test_backward_is_the_gradient(name, last):
    """Going back gives what automatic differentiation gives, in either layout and with another weight."""
    module, inputs = make(name)
    layer = linear_map(module)
    weight = randn(layer.weight.shape, 7)
    values = randn(module(inputs).shape, 8)
    if last and inputs.dim() == 4:
        inputs, values = (given.contiguous(memory_format=torch.channels_last) for given in (inputs, values))
    leaf = inputs.clone().requires_grad_()
    with torch.no_grad():
        module.weight.copy_(weight)
    (expected,) = torch.autograd.grad(module(leaf), leaf, values)
    result = layer.backward(values, weight, inputs)
    assert not result.requires_grad
    assert_close(result, expected, rtol=0, atol=1e-12)
    generic = linear_maps.LinearMap(module)
    assert_close(generic.backward(values, weight, inputs), expected, rtol=0, atol=1e-12)


@each_layer
def test_pull_is_the_contributions_of_the_inputs(name):
    """``pull`` is the inputs times what comes back, and leaves its arguments as they are."""
    module, inputs = make(name)
    layer = linear_map(module)
    ratio = randn(module(inputs).shape, 8)
    kept = inputs.clone(), ratio.clone()
    expected = inputs * layer.backward(ratio, layer.weight, inputs)
    assert_close(layer.pull(ratio, layer.weight, inputs), expected, rtol=0, atol=1e-12)
    assert torch.equal(inputs, kept[0])
    assert torch.equal(ratio, kept[1])


@pytest.mark.parametrize("value", [1.0, 0.0])
@each_layer
def test_spread_is_going_back_through_equal_weights(name, value):
    """The short way through a weight whose entries are all the same gives what the long way gives."""
    module, inputs = make(name)
    layer = linear_map(module)
    weight = torch.full_like(layer.weight, value)
    ratio = randn(module(inputs).shape, 8)
    expected = layer.backward(ratio, weight, inputs)
    assert_close(layer.spread(ratio, weight, inputs), expected, rtol=0, atol=1e-12)


@each_layer
def test_a_sample_is_as_good_as_the_batch(name):
    """What the layer makes of a constant does not depend on the sample: one is enough."""
    module, inputs = make(name)
    layer = linear_map(module)
    ones = torch.ones_like(inputs)
    few = layer.forward(layer.sample(ones), layer.weight, layer.bias)
    whole = layer.forward(ones, layer.weight, layer.bias)
    assert_close(few.expand_as(whole), whole, rtol=0, atol=1e-12)


@each_layer
def test_parameters_are_as_they_were(name):
    """Nothing that a map does changes its layer: the same parameters, with the same values and no gradient."""
    module, inputs = make(name)
    before = {key: (id(value), value.detach().clone()) for key, value in module.named_parameters()}
    for layer in (linear_map(module), linear_maps.LinearMap(module)):
        ratio = layer.forward(inputs, positive(layer.weight), layer.bias).detach()
        layer.pull(ratio, negative(layer.weight), inputs)
        layer.spread(ratio, torch.ones_like(layer.weight), inputs)
        part = signed(layer, inputs, +1, 0.25, layer.bias)
        part.pull(part.total().detach())
        layer.zero(["weight", "bias"])
    after = dict(module.named_parameters())
    assert after.keys() == before.keys()
    for key, (identity, value) in before.items():
        assert id(after[key]) == identity
        assert torch.equal(after[key], value)
        assert after[key].requires_grad
        assert after[key].grad is None


def test_parameters_are_as_they_were_after_an_error():
    """The generic map puts the parameters back where the layer raises."""
    module = Doubling(2, 3, 3)
    before = dict(module.named_parameters())
    layer = linear_map(module)
    with pytest.raises(RuntimeError):
        layer.forward(torch.zeros(1, 5, 4, 4), layer.weight * 2, layer.bias)
    assert all(module._parameters[key] is value for key, value in before.items())


@pytest.mark.parametrize("names", [[], ["bias"], ["weight"], ["weight", "bias"], ["nothing"]])
@pytest.mark.parametrize("name", ["linear", "linear_without_bias", "conv2d"])
def test_zeroed_parameters_count_as_zero(name, names):
    """Those that are named and are there; the layer's own stay."""
    module, _ = make(name)
    layer = linear_map(module)
    layer.zero(names)
    for key in ("weight", "bias"):
        own, seen = getattr(module, key), getattr(layer, key)
        assert (own is None) == (seen is None)
        if own is not None:
            assert torch.equal(seen, torch.zeros_like(own) if key in names else own)
            assert own.any()


def test_a_subclass_with_a_forward_of_its_own_goes_by_automatic_differentiation():
    """What the subclass computes counts, in both directions."""
    module = randomized(Doubling(2, 3, 3).double())
    layer, inputs = linear_map(module), randn((2, 2, 5, 6), 50)
    assert type(layer) is linear_maps.LinearMap
    assert_close(layer.forward(inputs, layer.weight, layer.bias), module(inputs))
    plain = 2 * F.conv2d(inputs, layer.weight)
    assert_close(layer.forward(inputs, layer.weight).detach(), plain, rtol=0, atol=1e-12)
    values = randn(plain.shape, 8)
    back = layer.backward(values, layer.weight, inputs)
    assert_close((plain * values).sum(), (inputs * back).sum(), rtol=0, atol=1e-11)
    ones = torch.ones_like(layer.weight)
    assert_close(layer.spread(values, ones, inputs), layer.backward(values, ones, inputs), rtol=0, atol=0)


def test_a_subclass_that_only_adds_to_init_goes_by_operators():
    """It computes what its class computes."""

    class Named(nn.Conv2d):
        pass

    assert type(linear_map(Named(2, 3, 3))) is type(linear_map(nn.Conv2d(2, 3, 3)))


@pytest.mark.parametrize("bound", [False, True])
def test_a_forward_set_on_the_instance_is_what_runs(bound):
    """Whether a function or a method, a layer's own forward is neither skipped nor taken for a plain one."""
    module = randomized(nn.Linear(4, 3).double())

    def doubled(values):
        return 2 * F.linear(values, module.weight, module.bias)

    method = type("Holder", (), {"call": lambda self, values: doubled(values)})().call
    inputs = randn((2, 4), 50)
    layer = linear_map(module, method if bound else doubled)
    assert_close(layer.run(inputs), doubled(inputs), rtol=0, atol=0)
    assert_close(layer.forward(inputs, layer.weight, layer.bias), doubled(inputs), rtol=0, atol=1e-12)
    values = randn((2, 3), 51)
    expected = 2 * values @ layer.weight
    assert_close(layer.backward(values, layer.weight, inputs), expected, rtol=0, atol=1e-12)


def test_a_layer_without_parameters_is_a_map():
    """Pooling goes back by automatic differentiation."""
    layer, inputs = linear_map(nn.AvgPool2d(2)), randn((1, 2, 4, 6), 50)
    assert layer.weight is None
    assert layer.bias is None
    values = randn((1, 2, 2, 3), 51)
    expected = values.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    assert_close(layer.backward(values, None, inputs), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gamma", [None, 0.25])
@pytest.mark.parametrize("sign", [+1, -1])
@pytest.mark.parametrize("rectified", [False, True])
def test_a_signed_part_adds_up_contributions_of_one_sign(sign, gamma, rectified):
    """The total and what is pulled back, from the products of weights and inputs one by one."""
    module, inputs = make("linear")
    inputs = inputs.relu() if rectified else inputs
    layer = linear_map(module)
    part = signed(layer, inputs, sign, gamma, layer.bias)
    keep = positive if sign > 0 else negative

    def favoured(values):
        return keep(values) if gamma is None else values + gamma * keep(values)

    products = layer.weight[None] * inputs[:, None]  # sample, output, input
    shares = favoured(products)
    assert_close(part.total(), shares.sum(2) + favoured(layer.bias), rtol=0, atol=1e-12)
    ratio = randn((3, 5), 51)
    assert_close(part.pull(ratio), (shares * ratio[:, :, None]).sum(1), rtol=0, atol=1e-12)


BY_ROWS = {
    "vectors": (lambda: nn.Linear(7, 5), (3, 7)),
    "tokens": (lambda: nn.Linear(4, 3), (2, 5, 4)),
    "pointwise": (lambda: nn.Conv2d(4, 3, 1), (2, 4, 3, 5)),
}


def make_by_rows(name):
    """Return a layer, its inputs laid out as rows, and the products of weights and inputs (.., output, input)."""
    build, shape = BY_ROWS[name]
    module, inputs = randomized(build().double()), randn(shape, 50)
    inputs = inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs
    layer = linear_map(module)
    assert layer.has_rows(inputs)
    return layer, inputs, layer.weight.flatten(1) * layer.rows(inputs)[:, None]


@pytest.fixture(params=[1, 11, 2**16])
def block(request, monkeypatch):
    """Blocks of one row, of a few rows with a remainder, and of all rows."""
    monkeypatch.setattr(linear_maps, "BLOCK", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("name", BY_ROWS)
def test_a_signed_part_of_a_matrix_product_goes_by_rows(name, biased):
    """The same contributions, whatever the number of rows at a time."""
    layer, inputs, products = make_by_rows(name)
    part = signed(layer, inputs, +1, bias=layer.bias if biased else None)
    assert type(part) is linear_maps._SignedRows
    expected = positive(products).sum(2) + (positive(layer.bias) if biased else 0)
    assert_close(layer.rows(part.total()), expected, rtol=0, atol=1e-12)
    ratio = layer.of_rows(randn(expected.shape, 51), inputs)
    assert ratio.shape == layer.run(inputs).shape == part.total().shape
    pulled = (positive(products) * layer.rows(ratio)[:, :, None]).sum(1)
    assert_close(layer.rows(part.pull(ratio)), pulled, rtol=0, atol=1e-12)
    assert_close(layer.rows(part.pull(ratio.contiguous())), pulled, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["strided", "padded", "grouped", "other layout"])
def test_other_convolutions_do_not_go_by_rows(name):
    """A matrix product is what touches each place alone, in the layout that shows it."""
    options = {"strided": {"stride": 2}, "padded": {"padding": 1}, "grouped": {"groups": 2}}.get(name, {})
    inputs = randn((2, 4, 3, 5), 50)
    laid = inputs if name == "other layout" else inputs.contiguous(memory_format=torch.channels_last)
    assert not linear_map(nn.Conv2d(4, 2, 1, **options)).has_rows(laid)
    assert not linear_map(nn.AvgPool2d(1)).has_rows(laid)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("name", BY_ROWS)
def test_favour_adds_up_and_hands_back_what_gamma_says(name, biased, rectified):
    """From the products one by one: the excess, and shares where the output is positive and where it is negative."""
    layer, inputs, products = make_by_rows(name)
    inputs, products = (inputs.abs(), layer.weight.flatten(1) * layer.rows(inputs.abs())[:, None]) if rectified else (
        inputs, products)  # fmt: skip
    favour = Favour(layer, inputs, 0.5, layer.bias if biased else None)
    bias = layer.bias if biased else torch.zeros_like(layer.bias)
    total = layer.of_rows(products.sum(2) + bias, inputs)
    sizes = products.abs().sum(2) + bias.abs()
    assert_close(layer.rows(favour.excess(total)), 0.25 * sizes, rtol=0, atol=1e-12)
    ratio = randn(sizes.shape, 51)
    signs = layer.rows(total).sign()
    own = torch.where(signs[:, :, None] > 0, positive(products), negative(products))
    expected = ((products + 0.5 * own) * ratio[:, :, None]).sum(1)
    ratio, towards = (layer.of_rows(values.clone(), inputs) for values in (ratio, ratio * signs))
    assert_close(layer.rows(favour.pull(ratio, towards)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("held", [0, 1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [1, 2])
def test_channels_of_zeros_are_left_out_on_the_way_back(held, layout, groups, monkeypatch):
    """The result is that of all channels; the convolution sees only those that hold something, where that pays."""
    module = randomized(nn.Conv2d(4, 4, 3, padding=1, groups=groups).double())
    inputs, values = randn((2, 4, 5, 6), 50), randn((2, 4, 5, 6), 51)
    values[:, held:] = 0
    layer = linear_map(module)
    expected = layer.backward(values, layer.weight, inputs)
    seen = []
    convolve = linear_maps.CONVOLVE_BACK[2]
    monkeypatch.setitem(
        linear_maps.CONVOLVE_BACK,
        2,
        lambda given, *rest: (seen.append(given.shape[1]), convolve(given, *rest))[1],
    )
    result = layer.backward_where(values.contiguous(memory_format=layout), inputs)
    if held:
        assert_close(result, expected, rtol=0, atol=1e-12)
    else:
        assert result is None
    assert seen == {0: [], 1: [1 if groups == 1 else 4], 3: [3 if groups == 1 else 4]}[held]


def test_a_changed_weight_is_made_once():
    """The pieces of a batch share it; other settings make another."""
    calls = []
    layer = linear_map(nn.Linear(2, 3))

    def scaled(weight, factor):
        calls.append(factor)
        return weight * factor

    first = layer.changed(scaled, 2)
    assert layer.changed(scaled, 2) is first
    assert_close(layer.changed(scaled, 3), layer.weight * 3)
    assert calls == [2, 3]
    assert linear_map(nn.AvgPool2d(2)).changed(scaled, 2) is None


def test_blocks_cover_all_values_and_write_through(monkeypatch):
    """As many rows as fit, at least one, the rest in a shorter block; vectors by their values."""
    monkeypatch.setattr(linear_maps, "BLOCK", 7)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    matrix, result = randn((5, 3), 50), torch.zeros(5, 2, dtype=F64)
    sizes = []
    for given, into in in_blocks(matrix, result):
        sizes.append(len(given))
        into.copy_(given[:, :2])
    assert sizes == [2, 2, 1]
    assert torch.equal(result, matrix[:, :2])
    assert [len(part) for (part,) in in_blocks(torch.zeros(16))] == [7, 7, 2]
    assert [len(part) for (part,) in in_blocks(torch.zeros(2, 9))] == [1, 1]


def test_blocks_grow_with_the_threads_that_share_them(monkeypatch):
    """Each thread has a cache of its own."""
    monkeypatch.setattr(linear_maps, "BLOCK", 7)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert [len(part) for (part,) in in_blocks(torch.zeros(16))] == [14, 2]


def test_tensors_laid_out_alike_are_vectors_of_their_memory():
    """No copies; None where places would not correspond."""
    first, second = randn((2, 3, 4, 5), 50), randn((2, 3, 4, 5), 51)
    last = [values.contiguous(memory_format=torch.channels_last) for values in (first, second)]
    for one, other in ((first, second), last):
        a, b = flat(one, other)
        assert a.data_ptr() == one.data_ptr()
        assert_close((a * b).sum(), (first * second).sum())
    assert flat(first, last[1]) is None
    assert flat(first.transpose(1, 2), second.transpose(1, 2)) is None


def test_signs_are_taken_apart():
    """Positive and negative values add up to the whole."""
    values = torch.tensor([-2.0, 0.0, 3.0])
    assert_close(positive(values), torch.tensor([0.0, 0.0, 3.0]), rtol=0, atol=0)
    assert_close(negative(values), torch.tensor([-2.0, 0.0, 0.0]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("values", "below", "zero"),
    [
        ([[-1.0, 2.0]], True, False),
        ([[0.0, 2.0]], False, False),
        ([[0.0, -0.0]], False, True),
        ([[0.0, -3.0]], True, False),
        ([[]], False, True),
        (2.0, False, False),
        (-2.0, True, False),
        (0.0, False, True),
    ],
)
def test_what_is_below_zero_and_what_is_zero_is_told(values, below, zero):
    """For tensors of any size, empty and single ones too."""
    values = torch.tensor(values)
    assert reaches_below_zero(values) is below
    assert is_zero(values) is zero


def test_what_is_not_a_number_is_neither_zero_nor_surely_positive():
    """So that it is not lost in a short cut."""
    values = torch.tensor([1.0, float("nan")])
    assert reaches_below_zero(values)
    assert not is_zero(values)
