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
    is_zero,
    linear_map,
    negative,
    positive,
    reaches_below_zero,
    signed,
)
from edgefilter.lrp.standins import FullConv2d, TokenLinear
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
    "full_conv2d": (lambda: FullConv2d(2, 3, (5, 6)), (2, 2, 5, 6)),
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
    "unbatched": (lambda: nn.Conv2d(2, 3, 3, padding=1), (2, 5, 6)),
    "unbatched_pointwise": (lambda: nn.Conv2d(4, 3, 1), (4, 5, 6)),
    "unbatched_filter_bank": (lambda: nn.Conv2d(2, 6, 3, groups=2), (2, 5, 6)),
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
OTHER_PADDING = {
    "valid_circular": (lambda: nn.Conv2d(2, 3, 3, padding="valid", padding_mode="circular"), (2, 2, 5, 5)),
    "reflecting": (lambda: nn.Conv2d(2, 2, 3, padding=(1, 2), padding_mode="reflect"), (2, 2, 5, 5)),
    "replicating": (lambda: nn.Conv1d(2, 2, 3, padding=2, padding_mode="replicate", stride=2), (2, 2, 6)),
    "circular": (lambda: nn.Conv2d(2, 4, 3, padding=2, padding_mode="circular", groups=2), (2, 2, 5, 5)),
    "padded_by_sides": (lambda: padded((0, 1, 2, 1)), (2, 2, 5, 6)),
    "padded_to_same": (lambda: padded("same", stride=2), (2, 2, 5, 6)),
    "padded_grouped": (lambda: padded((0, 1, 2, 1), groups=2), (2, 2, 5, 6)),
}
EVERY = LAYERS | OTHER_PADDING
each_layer = pytest.mark.parametrize("name", EVERY)
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def randn(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def randomized(module):
    with torch.no_grad():
        for place, parameter in enumerate(module.parameters()):
            parameter.copy_(randn(parameter.shape, place))
    return module


def make(name):
    build, shape = EVERY[name]
    return randomized(build().double()), randn(shape, 50)


class Doubling(nn.Conv2d):
    """A convolution that is not what its class says."""

    def forward(self, images):
        return 2 * super().forward(images)


@each_layer
def test_layers_go_by_operators_unless_they_pad_in_another_way(name):
    """Those that pad by reflection and the like fall back on automatic differentiation."""
    module, _ = make(name)
    assert linear_map(module).is_operator == (name in LAYERS)


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
        part = signed(layer, inputs, +1)
        part.pull(part.total().detach())
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


def test_a_layer_without_parameters_is_a_map():
    """Pooling goes back by automatic differentiation."""
    layer, inputs = linear_map(nn.AvgPool2d(2)), randn((1, 2, 4, 6), 50)
    assert layer.weight is None
    assert layer.bias is None
    values = randn((1, 2, 2, 3), 51)
    expected = values.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    assert_close(layer.backward(values, None, inputs), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sign", [+1, -1])
@pytest.mark.parametrize("rectified", [False, True])
def test_a_signed_part_adds_up_contributions_of_one_sign(sign, rectified):
    """The total and what is pulled back, from the products of weights and inputs one by one."""
    module, inputs = make("linear")
    inputs = inputs.relu() if rectified else inputs
    layer = linear_map(module)
    part = signed(layer, inputs, sign)
    products = layer.weight[None] * inputs[:, None]  # sample, output, input
    shares = positive(products) if sign > 0 else negative(products)
    assert_close(part.total(), shares.sum(2), rtol=0, atol=1e-12)
    ratio = randn((3, 5), 51)
    assert_close(part.pull(ratio), (shares * ratio[:, :, None]).sum(1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rectified", [False, True])
def test_favour_adds_up_and_hands_back_what_gamma_says(rectified):
    """From the products one by one: the excess, and shares where the output is positive and where it is negative."""
    module, inputs = make("linear")
    inputs = inputs.relu() if rectified else inputs
    layer = linear_map(module)
    products = layer.weight[None] * inputs[:, None]
    favour = Favour(layer, inputs, 0.5)
    assert_close(favour.excess(), 0.25 * products.abs().sum(2), rtol=0, atol=1e-12)
    ratio = randn((3, 5), 51)
    signs = products.sum(2).sign()
    own = torch.where(signs[:, :, None] > 0, positive(products), negative(products))
    expected = ((products + 0.5 * own) * ratio[:, :, None]).sum(1)
    assert_close(favour.pull(ratio, ratio * signs), expected, rtol=0, atol=1e-12)


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


@pytest.mark.parametrize("rows", [linear_maps.ROWS - 1, linear_maps.ROWS, 3 * linear_maps.ROWS])
@pytest.mark.parametrize("kind", ["linear", "pointwise"])
def test_products_in_single_precision_are_those_in_double(kind, rows, generator):
    """Few rows and many take different operators; forward and back are the same matrix."""
    module = nn.Linear(7, 5) if kind == "linear" else nn.Conv2d(7, 5, 1)
    inputs, outputs = (torch.randn(rows, size, generator=generator) for size in (7, 5))
    with torch.no_grad():
        weight, bias = (
            part.copy_(torch.randn(part.shape, generator=generator)) for part in module.parameters()
        )
    matrix = weight.flatten(1).double()
    expected = inputs.double() @ matrix.t() + bias.double(), outputs.double() @ matrix
    if kind == "pointwise":
        inputs, outputs = (rows[None, None].permute(0, 3, 1, 2) for rows in (inputs, outputs))
    layer = linear_map(module)
    got = layer.run(inputs), layer.backward(outputs, layer.weight, inputs)
    for one, other in zip(got, expected, strict=True):
        flat = one if kind == "linear" else one.permute(0, 2, 3, 1)[0, 0]
        assert_close(flat.double(), other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("channels", "size"), [(2, 9), (16, 2)])
def test_layouts_do_not_change_a_convolution(channels, size, generator):
    """The smaller one of values and weight changes its layout; the results keep the layout of the values."""
    layer = linear_map(nn.Conv2d(channels, channels, 3, padding=1).double())
    inputs = torch.randn(2, channels, size, size, generator=generator, dtype=F64)
    last = inputs.contiguous(memory_format=torch.channels_last)
    for got, expected in (
        (layer.run(last), layer.run(inputs)),
        (layer.backward(last, layer.weight, last), layer.backward(inputs, layer.weight, inputs)),
    ):
        assert got.is_contiguous(memory_format=torch.channels_last)
        assert expected.is_contiguous()
        assert_close(got, expected, rtol=0, atol=1e-12)
