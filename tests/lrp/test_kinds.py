"""Rules go by what a function computes, not by how it is spelled."""

from __future__ import annotations

import copy
import math
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import edgefilter as ef
import epsilon_oracle
from small_models import (
    CHANNELS,
    EXACT,
    Middle,
    assert_adds_up,
    assert_same_scores,
    explain,
    input_times_gradient,
    pictures,
    seeded,
    through,
)

BOTH = pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon"])


def assert_is_frozen_gradient(function, frozen):
    """Compare ``epsilon`` with the gradient of the model whose function is frozen by hand."""
    images = pictures()
    net, linear = seeded(Middle, function), seeded(Middle, frozen)
    torch.testing.assert_close(net(images), linear(images), **EXACT)
    found = explain(net, images, 1, "epsilon")
    torch.testing.assert_close(found.pixel, input_times_gradient(linear, images, 1), rtol=0, atol=1e-9)


def assert_conserved(function):
    """Check that the default rules hand on everything."""
    images = pictures()
    net = seeded(Middle, function)
    found = explain(net, images, 1)
    torch.testing.assert_close(found.output, net(images)[:, 1].detach(), **EXACT)
    assert_nothing_else_in_base(found, net)
    assert_adds_up(found)


def assert_nothing_else_in_base(explanation, net):
    """Check that what scores do not carry is the bias of the last layer."""
    bias = net.fc.bias[1].detach().expand_as(explanation.base)
    torch.testing.assert_close(explanation.base, bias, **EXACT)


# Linear maps


def row_by_row(m, h):
    return torch.stack([torch.mv(m.weight, row) for row in h]) + m.bias


def column_by_column(m, h):
    return torch.stack([h.mul(w).sum(1) + b for w, b in zip(m.weight, m.bias, strict=True)], 1)


def repeated(m, h):
    return m.weight.t().expand(len(h), -1, -1)


LINEAR = {
    "h @ W.T + b": lambda m, h: h @ m.weight.T + m.bias,
    "b + h @ W.mT": lambda m, h: m.bias + h @ m.weight.mT,
    "(W @ h.T).T + b": lambda m, h: (m.weight @ h.T).T + m.bias,
    "torch.matmul": lambda m, h: torch.matmul(h, m.weight.t()) + m.bias,
    "h.matmul": lambda m, h: h.matmul(m.weight.t()).add(m.bias),
    "torch.mm": lambda m, h: torch.mm(h, m.weight.t()) + m.bias,
    "einsum bi,oi->bo": lambda m, h: torch.einsum("bi,oi->bo", h, m.weight) + m.bias,
    "einsum oi,bi->bo": lambda m, h: torch.einsum("oi,bi->bo", m.weight, h) + m.bias,
    "einsum ...i,io->...o": lambda m, h: torch.einsum("...i,io->...o", h, m.weight.t()) + m.bias,
    "einsum bi,oi": lambda m, h: torch.einsum("bi, oi", h, m.weight) + m.bias,
    "einsum bhi,hoi->bo": lambda m, h: (
        torch.einsum("bhi,hoi->bo", h.view(-1, 2, 4), m.weight.view(-1, 2, 4).transpose(0, 1)) + m.bias
    ),
    "addmm": lambda m, h: torch.addmm(m.bias, h, m.weight.t()),
    "bias.addmm": lambda m, h: m.bias.addmm(h, m.weight.t()),
    "addmm, alpha and beta": lambda m, h: torch.addmm(2 * m.bias, h, m.weight.t() / 3, beta=0.5, alpha=3),
    "bmm": lambda m, h: torch.bmm(h[:, None], repeated(m, h)).squeeze(1) + m.bias,
    "baddbmm": lambda m, h: torch.baddbmm(m.bias.expand(len(h), 1, -1), h[:, None], repeated(m, h)).squeeze(
        1
    ),
    "F.linear": lambda m, h: F.linear(h, m.weight, m.bias),
    "F.linear, keywords": lambda m, h: F.linear(input=h, weight=m.weight, bias=m.bias),
    "F.linear without bias": lambda m, h: F.linear(h, m.weight) + m.bias,
    "F.conv1d": lambda m, h: F.conv1d(h[:, :, None], m.weight[:, :, None], m.bias).squeeze(2),
    "F.conv2d": lambda m, h: F.conv2d(h[:, :, None, None], m.weight[:, :, None, None], m.bias).flatten(1),
    "tensordot": lambda m, h: torch.tensordot(h, m.weight, dims=([1], [1])) + m.bias,
    "inner": lambda m, h: torch.inner(h, m.weight) + m.bias,
    "mv": row_by_row,
    "h.mul(w).sum()": column_by_column,
    "(h[:, None] * W).sum(-1)": lambda m, h: (h[:, None] * m.weight).sum(-1) + m.bias,
    "two halves added": lambda m, h: (
        F.linear(h[:, :3], m.weight[:, :3]) + F.linear(h[:, 3:], m.weight[:, 3:]) + m.bias
    ),
    "one output each": lambda m, h: (
        torch.cat([F.linear(h, m.weight[i : i + 1]) for i in range(4)], 1) + m.bias
    ),
    "minus the negative": lambda m, h: m.bias - h @ -m.weight.T,
}


@BOTH
@pytest.mark.parametrize("spelling", LINEAR)
def test_a_last_linear_map_in_any_spelling_has_the_scores_of_nn_linear(spelling, composite):
    """The head decides nothing but the way it is written."""
    images, target = pictures(), torch.tensor([0, 3])
    found = explain(seeded(Middle, head=LINEAR[spelling]), images, target, composite)
    assert_same_scores(found, explain(seeded(Middle), images, target, composite))


class Hidden(nn.Module):
    """A head of two linear maps, the first in any spelling."""

    def __init__(self, spelling):
        super().__init__()
        self.body, self.spelling = Middle(head=lambda m, h: spelling(m, h).relu()), spelling
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.body(x))


UNMERGED = (  # spellings whose bias is a shift of its own, which the rule of the product does not know
    "(W @ h.T).T + b", "einsum oi,bi->bo", "einsum bi,oi", "einsum bhi,hoi->bo", "bmm", "baddbmm", "tensordot", "inner", "mv",
    "one output each",
)  # fmt: skip
SUMMED = (
    "h.mul(w).sum()",
    "(h[:, None] * W).sum(-1)",
    "two halves added",
)  # sums, for which the floor is another


def hidden(spelling, *, bias=True):
    net = seeded(Hidden, spelling)
    if not bias:
        net.body.fc.bias.data.zero_()
    return net


@BOTH
@pytest.mark.parametrize("spelling", LINEAR)
def test_a_hidden_linear_map_in_any_spelling_has_the_scores_of_nn_linear(spelling, composite):
    """The same within the network: exactly where the bias is known to be that of the product, or is zero."""
    bounded = composite == "epsilon_plus"
    bias = not (bounded and spelling in (*UNMERGED, *SUMMED))
    found = explain(hidden(LINEAR[spelling], bias=bias), pictures(), 2, composite)
    wanted = explain(hidden(lambda m, h: m(h), bias=bias), pictures(), 2, composite)
    if bounded and spelling in SUMMED:
        assert_adds_up(found)
        assert float((found.pixel - wanted.pixel).norm() / wanted.pixel.norm()) < 0.2
    else:
        assert_same_scores(found, wanted)


@BOTH
def test_a_one_by_one_convolution_of_a_single_place_has_the_scores_of_nn_linear(composite):
    """A classifier of 1x1 kernels behind a global average is a linear layer."""
    net = seeded(Middle)
    conv = nn.Conv2d(CHANNELS, 4, 1).double().eval()
    with torch.no_grad():
        conv.weight.copy_(net.fc.weight[:, :, None, None])
        conv.bias.copy_(net.fc.bias)
    other = copy.deepcopy(net)
    other.fc = conv
    other.head = lambda m, h: m(h[:, :, None, None]).flatten(1)
    assert_same_scores(explain(other, pictures(), 2, composite), explain(net, pictures(), 2, composite))


TOKENS = {
    "t @ W.T + b": lambda m, t: t @ m.weight.T + m.bias,
    "einsum bli,oi->blo": lambda m, t: torch.einsum("bli,oi->blo", t, m.weight) + m.bias,
    "F.linear": lambda m, t: F.linear(t, m.weight, m.bias),
    "bmm": lambda m, t: torch.bmm(t, repeated(m, t)) + m.bias,
    "baddbmm": lambda m, t: torch.baddbmm(m.bias.expand(len(t), t.shape[1], -1), t, repeated(m, t)),
    "tensordot": lambda m, t: torch.tensordot(t, m.weight, dims=([2], [1])) + m.bias,
}


class Tokens(nn.Module):
    """A linear map of every place."""

    def __init__(self, spelling):
        super().__init__()
        self.a, self.lin, self.spelling = nn.Conv2d(3, 8, 3), nn.Linear(8, 6), spelling
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        tokens = self.a(x).relu().flatten(2).transpose(1, 2)
        return self.fc(self.spelling(self.lin, tokens).relu().mean(1))


@BOTH
@pytest.mark.parametrize("spelling", TOKENS)
def test_a_linear_map_of_tokens_in_any_spelling_has_the_scores_of_nn_linear(spelling, composite):
    """Maps of (N, L, C) go by the same rule however they are written."""
    found = explain(seeded(Tokens, TOKENS[spelling]), pictures(), 1, composite)
    assert_same_scores(found, explain(seeded(Tokens, lambda m, t: m(t)), pictures(), 1, composite))


def test_a_convolution_by_unfold_and_a_matrix_product_is_linear():
    """``epsilon`` is input times gradient there, too."""
    weight = torch.randn(8, 72, generator=torch.Generator().manual_seed(3), dtype=torch.float64) / 9

    def unfolded(h):
        return F.relu((weight @ F.unfold(h.relu(), 3, padding=1)).view(h.shape))

    assert_is_frozen_gradient(unfolded, unfolded)
    assert_conserved(unfolded)


# Constant scales and shifts


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


GAIN = numbers(10, CHANNELS, 1, 1)  # of both signs
SHIFT = numbers(11, CHANNELS, 1, 1)
SCALE = 0.5 + numbers(12, CHANNELS, 1, 1).abs()


def settled(norm):
    """Give a normalisation statistics and weights, of both signs, that are not its defaults."""
    for seed, (name, value) in enumerate(norm.state_dict().items()):
        if value.is_floating_point():
            noise = numbers(20 + seed, *value.shape)
            value.copy_(noise.abs() + 0.3 if name == "running_var" else noise)
    return norm.double().eval()


def frozen_norm():
    from torchvision.ops.misc import FrozenBatchNorm2d

    return settled(FrozenBatchNorm2d(CHANNELS))


def timm_norm():
    layers = pytest.importorskip("timm.layers")
    return settled(layers.BatchNormAct2d(CHANNELS, apply_act=False))


def timm_frozen_norm():
    layers = pytest.importorskip("timm.layers")
    return settled(layers.FrozenBatchNormAct2d(CHANNELS, apply_act=False))


def functional_norm():
    def function(h):
        flat = (t.flatten() for t in (SHIFT, SCALE, GAIN, SHIFT))
        mean, var, weight, bias = flat
        return F.batch_norm(h, mean, var, weight, bias, False, 0.1, 1e-3)

    return function


def plain_functional_norm():
    return lambda h: F.batch_norm(h, SHIFT.flatten(), SCALE.flatten())


def torch_norm():
    def function(h):
        mean, var, weight, bias = (t.flatten() for t in (SHIFT, SCALE, GAIN, SHIFT))
        return torch.batch_norm(h, weight, bias, mean, var, False, 0.1, 1e-3, False)

    return function


AFFINE = {
    "BatchNorm2d": lambda: settled(nn.BatchNorm2d(CHANNELS)),
    "BatchNorm2d, not affine": lambda: settled(nn.BatchNorm2d(CHANNELS, affine=False)),
    "SyncBatchNorm": lambda: settled(nn.SyncBatchNorm(CHANNELS)),
    "FrozenBatchNorm2d": frozen_norm,
    "timm BatchNormAct2d": timm_norm,
    "timm FrozenBatchNormAct2d": timm_frozen_norm,
    "F.batch_norm": functional_norm,
    "F.batch_norm of statistics alone": plain_functional_norm,
    "torch.batch_norm": torch_norm,
    "InstanceNorm2d, running statistics": lambda: settled(
        nn.InstanceNorm2d(CHANNELS, affine=True, track_running_stats=True)
    ),
    "two norms": lambda: nn.Sequential(settled(nn.BatchNorm2d(CHANNELS)), settled(nn.BatchNorm2d(CHANNELS))),
    "norm, then h * g + b": lambda: nn.Sequential(settled(nn.BatchNorm2d(CHANNELS)), Lambda(affine)),
    "h * g + b": lambda: affine,
    "g * h + b": lambda: lambda h: GAIN * h + SHIFT,
    "b + h * g": lambda: lambda h: SHIFT + h * GAIN,
    "h * g": lambda: lambda h: h * GAIN,
    "h + b": lambda: lambda h: h + SHIFT,
    "h - b": lambda: lambda h: h - SHIFT,
    "b - h": lambda: lambda h: SHIFT - h,
    "rsub": lambda: lambda h: torch.rsub(h, SHIFT),
    "-h": lambda: lambda h: -h,
    "h.neg().add(b)": lambda: lambda h: h.neg().add(SHIFT),
    "2 * h - 1": lambda: lambda h: 2 * h - 1,
    "1 - 0.5 * h": lambda: lambda h: 1 - 0.5 * h,
    "h / s": lambda: lambda h: h / SCALE,
    "(h - m) / s": lambda: lambda h: (h - SHIFT) / SCALE,
    "h.sub(m).div(s)": lambda: lambda h: h.sub(SHIFT).div(SCALE),
    "torch.div(h - m, s)": lambda: lambda h: torch.div(torch.sub(h, SHIFT), SCALE),
    "torch.add, alpha": lambda: lambda h: torch.add(h, SHIFT, alpha=-0.5),
    "torch.sub, alpha": lambda: lambda h: torch.sub(h * GAIN, SHIFT, alpha=0.5),
    "addcmul": lambda: lambda h: torch.addcmul(SHIFT, h, GAIN),
    "addcmul, value": lambda: lambda h: torch.addcmul(SHIFT, GAIN, h, value=-2),
    "addcdiv": lambda: lambda h: torch.addcdiv(SHIFT, h, SCALE),
    "lerp": lambda: lambda h: torch.lerp(h, SHIFT, 0.3),
    "in place": lambda: lambda h: h.mul_(GAIN).add_(SHIFT),
    "augmented": lambda: augmented,
}


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, h):
        return self.function(h)


def affine(h):
    return h * GAIN + SHIFT


def augmented(h):
    h *= GAIN
    h -= SHIFT
    h /= SCALE
    return h


def merged(layer, function, places):
    """Return the layer with the scale and shift that a function shows on ones and zeros."""
    ones = torch.ones(1, CHANNELS, *places, dtype=torch.float64)
    with torch.no_grad():
        shift = function(torch.zeros_like(ones)).flatten()
        gain = function(ones).flatten() - shift
        layer.weight.mul_(gain.view(-1, *[1] * (layer.weight.dim() - 1)))
        layer.bias.mul_(gain).add_(shift)


@BOTH
@pytest.mark.parametrize("place", ["stem", "convolution"])
@pytest.mark.parametrize("spelling", AFFINE)
def test_a_constant_scale_and_shift_behind_a_convolution_is_part_of_it(spelling, place, composite):
    """The scores are those of the convolution whose weights hold the scale and the shift."""

    def build(function):
        net = seeded(nn.Sequential, *(seeded(layer) for layer in LAYERS))
        at = 0 if place == "stem" else 2
        merged(net[at], function, (1, 1)) if plain else net.insert(at + 1, as_module(function))
        return net.eval()

    function = AFFINE[spelling]()
    plain = True
    wanted = explain(build(function), pictures(), 3, composite)
    plain = False
    assert_same_scores(explain(build(function), pictures(), 3, composite), wanted)


LAYERS = (
    lambda: nn.Conv2d(3, CHANNELS, 3, padding=1),
    nn.ReLU,
    lambda: nn.Conv2d(CHANNELS, CHANNELS, 3),
    nn.ReLU,
    lambda: nn.AdaptiveAvgPool2d(1),
    nn.Flatten,
    lambda: nn.Linear(CHANNELS, 4),
)


def as_module(function):
    return function if isinstance(function, nn.Module) else Lambda(function)


LINEAR_AFFINE = {
    "BatchNorm1d": lambda: settled(nn.BatchNorm1d(CHANNELS)),
    "h * g + b": lambda: lambda h: h * GAIN.flatten() + SHIFT.flatten(),
    "(h - m) / s": lambda: lambda h: (h - SHIFT.flatten()) / SCALE.flatten(),
}


@BOTH
@pytest.mark.parametrize("spelling", LINEAR_AFFINE)
def test_a_constant_scale_and_shift_behind_a_linear_layer_is_part_of_it(spelling, composite):
    """The same behind ``nn.Linear``."""

    def build(merge):
        net = seeded(
            nn.Sequential,
            *(seeded(layer) for layer in LAYERS[:6]),
            seeded(nn.Linear, CHANNELS, CHANNELS),
            nn.ReLU(),
            seeded(nn.Linear, CHANNELS, 4),
        )
        merged(net[6], function, ()) if merge else net.insert(7, as_module(function))
        return net.eval()

    function = LINEAR_AFFINE[spelling]()
    wanted = explain(build(True), pictures(), 3, composite)
    assert_same_scores(explain(build(False), pictures(), 3, composite), wanted)


# Products with nothing


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon_gamma_box", "epsilon_plus_flat", "epsilon"])
@pytest.mark.parametrize("bias", [True, False])
def test_pixels_multiplied_by_zero_get_nothing(composite, bias):
    """The output does not depend on them."""
    mask = torch.zeros(1, 1, 10, 10, dtype=torch.float64)
    mask[:, :, 2:7, 3:8] = 1
    net = seeded(
        nn.Sequential,
        Lambda(lambda x: x * mask),
        nn.Conv2d(3, 8, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    pixel = explain(net, pictures(), 0, composite).pixel
    outside = pixel[(mask == 0).expand_as(pixel)]
    assert not outside.any()
    assert pixel.any()


@BOTH
def test_a_channel_multiplied_by_zero_hands_nothing_down(composite):
    """Only what that channel reads stays without scores: here one color."""

    def one_color_each(function):
        net = seeded(Middle, function)
        with torch.no_grad():
            weight = torch.zeros_like(net.a.weight)
            for channel in range(CHANNELS):
                weight[channel, channel % 3] = net.a.weight[channel, channel % 3]
            net.a.weight.copy_(weight)
        return net

    gate = torch.tensor([float(channel % 3 != 1) for channel in range(CHANNELS)], dtype=torch.float64)
    color = explain(one_color_each(lambda h: h * gate.view(-1, 1, 1)), pictures(), 0, composite).color
    assert color[:, 1].tolist() == [0.0, 0.0]
    assert color[:, [0, 2]].all()


@BOTH
def test_overlapping_windows_that_are_added_share_by_what_they_add(composite):
    """``fold`` of ``unfold`` is each value times the number of windows that hold it."""

    def folded(h):
        return F.fold(F.unfold(h.relu(), 3, padding=1), h.shape[2:], 3, padding=1)

    counts = F.fold(F.unfold(torch.ones(1, 1, 10, 10).double(), 3, padding=1), (10, 10), 3, padding=1)
    found = explain(seeded(Middle, folded), pictures(), 1, composite)
    wanted = explain(seeded(Middle, lambda h: h.relu() * counts), pictures(), 1, composite)
    assert_same_scores(found, wanted)


@BOTH
def test_overlapping_windows_of_a_module_share_by_what_they_add(composite):
    """``nn.Fold`` is ``F.fold``, with strides too."""

    def folded(h):
        return nn.Fold((10, 10), 4, stride=2, padding=1)(nn.Unfold(4, stride=2, padding=1)(h.relu()))

    assert_is_frozen_gradient(folded, folded)
    assert_conserved(folded)


# Pooling

AVERAGES = {
    "avg_pool2d, h.size()[2:]": lambda h: F.avg_pool2d(h, kernel_size=h.size()[2:]),
    "avg_pool2d, h.shape[2]": lambda h: F.avg_pool2d(h, h.shape[2]),
    "avg_pool2d, (h.size(2), h.size(3))": lambda h: F.avg_pool2d(h, (h.size(2), h.size(3))),
    "nn.AvgPool2d made in forward": lambda h: nn.AvgPool2d(h.shape[-1])(h),
    "nn.AdaptiveAvgPool2d(1)": nn.AdaptiveAvgPool2d(1),
    "adaptive_avg_pool2d, (1, 1)": lambda h: F.adaptive_avg_pool2d(h, (1, 1)),
    "h.mean((2, 3))": lambda h: h.mean((2, 3)),
    "h.mean([-1, -2], keepdim=True)": lambda h: h.mean([-1, -2], keepdim=True),
    "h.mean(3).mean(2)": lambda h: h.mean(3).mean(2),
    "torch.mean(h, dim=(2, 3))": lambda h: torch.mean(h, dim=(2, 3)),
    "h.flatten(2).mean(-1)": lambda h: h.flatten(2).mean(-1),
    "h.view(N, C, -1).mean(2)": lambda h: h.view(h.size(0), h.size(1), -1).mean(2),
    "h.sum((2, 3)) / area": lambda h: h.sum((2, 3)) / (h.shape[2] * h.shape[3]),
    "torch.sum(h, (2, 3)).div(area)": lambda h: torch.sum(h, (2, 3)).div(h[0, 0].numel()),
    "einsum bchw->bc": lambda h: torch.einsum("bchw->bc", h) / h[0, 0].numel(),
    "avg_pool1d": lambda h: F.avg_pool1d(h.flatten(2), h[0, 0].numel()),
    "adaptive_avg_pool1d": lambda h: F.adaptive_avg_pool1d(h.flatten(2), 1),
    "interpolate, area": lambda h: F.interpolate(h, size=(1, 1), mode="area"),
    "matmul by a constant": lambda h: h.flatten(2) @ torch.full((64, 1), 1 / 64, dtype=torch.float64),
}
MAXIMA = {
    "max_pool2d, h.size()[2:]": lambda h: F.max_pool2d(h, kernel_size=h.size()[2:]),
    "max_pool2d, h.shape[2]": lambda h: F.max_pool2d(h, h.shape[2]),
    "nn.MaxPool2d made in forward": lambda h: nn.MaxPool2d(h.shape[-1])(h),
    "max_pool2d with indices": lambda h: F.max_pool2d(h, h.shape[2], return_indices=True)[0],
    "torch.max_pool2d": lambda h: torch.max_pool2d(h, 8, 8, 0, 1, True),
    "nn.AdaptiveMaxPool2d(1)": nn.AdaptiveMaxPool2d(1),
    "adaptive_max_pool2d with indices": lambda h: F.adaptive_max_pool2d(h, 1, return_indices=True)[0],
    "h.amax((2, 3))": lambda h: h.amax((2, 3)),
    "torch.amax(h, (2, 3))": lambda h: torch.amax(h, (2, 3)),
    "h.amax(-1).amax(-1)": lambda h: h.amax(-1).amax(-1),
    "h.flatten(2).max(-1)[0]": lambda h: h.flatten(2).max(-1)[0],
    "torch.max(h.flatten(2), 2).values": lambda h: torch.max(h.flatten(2), 2).values,
    "max of rows, then of columns": lambda h: h.max(3).values.max(2).values,
    "max_pool1d": lambda h: F.max_pool1d(h.flatten(2), 64),
    "adaptive_max_pool1d": lambda h: F.adaptive_max_pool1d(h.flatten(2), 1),
    "-(-h).amin": lambda h: -(-h).amin((2, 3)),
    "gather of argmax": lambda h: h.flatten(2).gather(2, h.flatten(2).argmax(2, keepdim=True)),
    "two poolings": lambda h: F.max_pool2d(F.max_pool2d(h, 2), 4),
}


class Pooled(nn.Module):
    """Convolution, ReLU, any global pooling, linear layer."""

    def __init__(self, pool):
        super().__init__()
        self.a, self.fc, self.pool = nn.Conv2d(3, CHANNELS, 3), nn.Linear(CHANNELS, 4), pool

    def forward(self, x):
        return self.fc(self.pool(self.a(x).relu()).flatten(1))


@BOTH
@pytest.mark.parametrize("spelling", AVERAGES)
def test_a_global_average_in_any_spelling_has_the_same_scores(spelling, composite):
    """All are ``F.adaptive_avg_pool2d(h, 1)``."""
    wanted = explain(seeded(Pooled, lambda h: F.adaptive_avg_pool2d(h, 1)), pictures(), 0, composite)
    assert_same_scores(explain(seeded(Pooled, AVERAGES[spelling]), pictures(), 0, composite), wanted)


@BOTH
@pytest.mark.parametrize("spelling", MAXIMA)
def test_a_global_maximum_in_any_spelling_has_the_same_scores(spelling, composite):
    """All are ``F.adaptive_max_pool2d(h, 1)``."""
    wanted = explain(seeded(Pooled, lambda h: F.adaptive_max_pool2d(h, 1)), pictures(), 0, composite)
    assert_same_scores(explain(seeded(Pooled, MAXIMA[spelling]), pictures(), 0, composite), wanted)


@pytest.mark.parametrize("pool", [AVERAGES["h.mean((2, 3))"], MAXIMA["h.amax((2, 3))"]])
def test_a_global_pooling_is_linear_once_the_winners_are_known(pool):
    """The reference spellings are right themselves: ``epsilon`` is input times gradient."""
    net = seeded(Pooled, pool)
    found = explain(net, pictures(), 0, "epsilon").pixel
    torch.testing.assert_close(found, input_times_gradient(net, pictures()), **EXACT)


WINDOWS = {
    "avg_pool2d(2)": (lambda h: F.avg_pool2d(h, 2), lambda h: F.adaptive_avg_pool2d(h, 5)),
    "avg_pool2d, overlapping": (
        lambda h: F.avg_pool2d(h, 3, 2, 1),
        lambda h: F.conv2d(
            h, torch.full((CHANNELS, 1, 3, 3), 1 / 9, dtype=torch.float64), None, 2, 1, 1, CHANNELS
        ),
    ),
    "avg_pool2d, ceil_mode": (
        lambda h: F.avg_pool2d(h, 3, 3, ceil_mode=True),
        lambda h: F.avg_pool2d(h, 3, 3, 0, True, True),
    ),
    "max_pool2d(2)": (lambda h: F.max_pool2d(h, 2), lambda h: F.adaptive_max_pool2d(h, 5)),
    "max_pool2d by unfold": (
        lambda h: F.max_pool2d(h, 2),
        lambda h: h.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2)),
    ),
    "max_pool2d, dilated": (
        lambda h: F.max_pool2d(h, 2, 1, 0, 2),
        lambda h: torch.stack([h[:, :, i : 8 + i, j : 8 + j] for i in (0, 2) for j in (0, 2)]).amax(0),
    ),
}


@pytest.mark.parametrize("spelling", WINDOWS)
def test_windows_in_any_spelling_give_input_times_gradient(spelling):
    """Both spellings of a pooling agree with the gradient of the plain model under ``epsilon``, and conserve."""
    for pool in WINDOWS[spelling]:
        images = pictures()
        net = seeded(Middle, lambda h, pool=pool: pool(h.relu()))
        found = explain(net, images, 1, "epsilon").pixel
        torch.testing.assert_close(found, input_times_gradient(net, images, 1), **EXACT)
        assert_adds_up(explain(net, images, 1))


def gem(h, p=3.0):
    return F.avg_pool2d(h.clamp(min=1e-6).pow(p), (h.size(-2), h.size(-1))).pow(1.0 / p)


GEM = {
    "clamp, pow, avg_pool2d, pow": gem,
    "power is a parameter": lambda h: gem(h, nn.Parameter(torch.full((1,), 3.0, dtype=torch.float64))),
    "operators and mean": lambda h: (h.clamp(min=1e-6) ** 3.0).mean((2, 3)) ** (1 / 3),
    "adaptive_avg_pool2d": lambda h: F.adaptive_avg_pool2d(h.clamp(1e-6).pow(3.0), 1) ** (1 / 3),
}


@pytest.mark.parametrize("spelling", GEM)
def test_generalised_mean_pooling_shares_by_powers(spelling):
    """Powers pass relevance on, the mean shares it by value."""

    def frozen(h):
        h = through(lambda v: v.clamp(min=1e-6))(h.relu())
        return through(lambda v: v.pow(1 / 3))(through(lambda v: v.pow(3))(h).mean((2, 3)))

    net, linear = seeded(Pooled, GEM[spelling]), seeded(Pooled, frozen)
    found = explain(net, pictures(), 0, "epsilon").pixel
    torch.testing.assert_close(found, input_times_gradient(linear, pictures()), rtol=0, atol=1e-8)
    assert_adds_up(explain(net, pictures(), 0))


# Normalisation by statistics of the image


def centred(axes, eps, gain=1.0, shift=0.0, shape=None):
    """Return a normalisation whose deviation is held and whose mean is a linear map."""

    def frozen(h):
        v = h if shape is None else h.reshape(shape(h))
        mean = v.mean(axes, keepdim=True)
        deviation = (v.detach().var(axes, unbiased=False, keepdim=True) + eps).sqrt()
        return ((v - mean) / deviation).reshape(h.shape) * gain + shift

    return frozen


def scaled_by(size):
    """Return a division by a size that is held."""
    return lambda h: h / size(h.detach())


def channels_last(norm):
    return lambda h: norm(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def in_groups(h):
    return (len(h), 2, -1)


layer_norm, group_norm, instance_norm, rms_norm = (
    settled(norm)
    for norm in (
        nn.LayerNorm(CHANNELS),
        nn.GroupNorm(2, CHANNELS),
        nn.InstanceNorm2d(CHANNELS, affine=True),
        nn.RMSNorm(CHANNELS, eps=1e-6),
    )
)


def column(values):
    return values.detach().view(-1, 1, 1)


NORMS = {
    "LayerNorm": (
        channels_last(layer_norm),
        centred(1, 1e-5, column(layer_norm.weight), column(layer_norm.bias)),
    ),
    "F.layer_norm": (channels_last(lambda h: F.layer_norm(h, (CHANNELS,))), centred(1, 1e-5)),
    "F.layer_norm over all": (lambda h: F.layer_norm(h, h.shape[1:]), centred((1, 2, 3), 1e-5)),
    "GroupNorm": (
        group_norm,
        centred(2, 1e-5, column(group_norm.weight), column(group_norm.bias), in_groups),
    ),
    "F.group_norm": (lambda h: F.group_norm(h, 2), centred(2, 1e-5, shape=in_groups)),
    "InstanceNorm2d": (nn.InstanceNorm2d(CHANNELS), centred((2, 3), 1e-5)),
    "InstanceNorm2d, affine": (
        instance_norm,
        centred((2, 3), 1e-5, column(instance_norm.weight), column(instance_norm.bias)),
    ),
    "F.instance_norm": (lambda h: F.instance_norm(h, eps=1e-3), centred((2, 3), 1e-3)),
    "written out": (
        lambda h: (h - h.mean(1, keepdim=True)) / (h.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt(),
        centred(1, 1e-5),
    ),
    "written out, rsqrt": (
        lambda h: (h - h.mean((2, 3), keepdim=True)) * torch.rsqrt(h.var((2, 3), False, keepdim=True) + 1e-5),
        centred((2, 3), 1e-5),
    ),
    "RMSNorm": (
        channels_last(rms_norm),
        lambda h: (
            scaled_by(lambda v: (v.square().mean(1, keepdim=True) + 1e-6).sqrt())(h) * column(rms_norm.weight)
        ),
    ),
    "F.rms_norm": (
        channels_last(lambda h: F.rms_norm(h, (CHANNELS,), eps=1e-3)),
        scaled_by(lambda v: (v.square().mean(1, keepdim=True) + 1e-3).sqrt()),
    ),
    "F.normalize": (
        lambda h: F.normalize(h, dim=1),
        scaled_by(lambda v: v.norm(dim=1, keepdim=True)),
    ),
    "F.normalize, p=1": (
        lambda h: F.normalize(h, p=1.0, dim=1),
        scaled_by(lambda v: v.abs().sum(1, keepdim=True)),
    ),
    "h / h.norm()": (
        lambda h: h / h.norm(dim=1, keepdim=True),
        scaled_by(lambda v: v.norm(dim=1, keepdim=True)),
    ),
    "h / linalg.vector_norm": (
        lambda h: h / torch.linalg.vector_norm(h, dim=1, keepdim=True),
        scaled_by(lambda v: v.norm(dim=1, keepdim=True)),
    ),
    "LocalResponseNorm": (
        nn.LocalResponseNorm(3, alpha=0.5, beta=0.75, k=2.0),
        lambda h: h * (F.local_response_norm(h.detach(), 3, 0.5, 0.75, 2.0) / h.detach()),
    ),
    "F.local_response_norm": (
        lambda h: F.local_response_norm(h, 5),
        lambda h: h * (F.local_response_norm(h.detach(), 5) / h.detach()),
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_normalisation_holds_its_deviation_alone(name):
    """Means are linear maps, deviations and norms constants: ``epsilon`` is the gradient of that."""
    assert_is_frozen_gradient(*NORMS[name])


WHOLE = [name for name in NORMS if not name.startswith(("written out", "h /"))]


@pytest.mark.parametrize("name", WHOLE)
def test_the_oracle_of_large_models_holds_what_the_formulas_hold(name):
    """``epsilon_oracle`` and the formulas written here agree."""
    function, frozen = NORMS[name]
    net, linear = seeded(Middle, function), seeded(Middle, frozen)
    pixel, output = epsilon_oracle.input_times_gradient(net, pictures(), 1)
    torch.testing.assert_close(pixel, input_times_gradient(linear, pictures(), 1), **EXACT)
    torch.testing.assert_close(output, net(pictures()).detach(), **EXACT)


@pytest.mark.parametrize("name", NORMS)
def test_relevance_adds_up_behind_a_normalisation(name):
    """The default rules lose nothing in front of, in or behind one."""
    assert_conserved(NORMS[name][0])


# Activations

SLOPES = 0.1 + 0.4 * torch.rand(CHANNELS, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


def prelu():
    module = nn.PReLU(CHANNELS)
    with torch.no_grad():
        module.weight.copy_(SLOPES)
    return module.double()


ACTIVATIONS = {
    "ReLU": (nn.ReLU, [F.relu, torch.relu, torch.Tensor.relu, lambda h: F.relu(h, inplace=True), F.relu_]),
    "ReLU6": (nn.ReLU6, [F.relu6, lambda h: h.clamp(0, 6), lambda h: F.relu6(h, True)]),
    "ELU": (lambda: nn.ELU(0.7), [lambda h: F.elu(h, 0.7), lambda h: F.elu_(h, 0.7)]),
    "SELU": (nn.SELU, [F.selu, torch.selu, F.selu_]),
    "CELU": (lambda: nn.CELU(0.7), [lambda h: F.celu(h, 0.7), lambda h: F.celu_(h, 0.7)]),
    "GELU": (nn.GELU, [F.gelu, lambda h: 0.5 * h * (1 + torch.erf(h / math.sqrt(2)))]),
    "GELU, tanh": (
        lambda: nn.GELU("tanh"),
        [
            lambda h: F.gelu(h, approximate="tanh"),
            lambda h: 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * torch.pow(h, 3)))),
        ],
    ),
    "LeakyReLU": (
        lambda: nn.LeakyReLU(0.2),
        [
            lambda h: F.leaky_relu(h, 0.2),
            lambda h: F.leaky_relu_(h, 0.2),
            lambda h: torch.where(h > 0, h, 0.2 * h),
            lambda h: torch.maximum(h, 0.2 * h),
        ],
    ),
    "PReLU": (prelu, [lambda h: F.prelu(h, SLOPES), lambda h: torch.prelu(h, SLOPES)]),
    "RReLU": (nn.RReLU, [F.rrelu, F.rrelu_]),
    "Hardshrink": (lambda: nn.Hardshrink(0.3), [lambda h: F.hardshrink(h, 0.3)]),
    "Softshrink": (lambda: nn.Softshrink(0.3), [lambda h: F.softshrink(h, 0.3)]),
    "Tanhshrink": (nn.Tanhshrink, [F.tanhshrink]),
    "Hardtanh": (
        lambda: nn.Hardtanh(-0.4, 0.6),
        [
            lambda h: F.hardtanh(h, -0.4, 0.6),
            lambda h: F.hardtanh_(h, -0.4, 0.6),
            lambda h: torch.clamp(h, -0.4, 0.6),
            lambda h: torch.clip(h, -0.4, 0.6),
            lambda h: h.clamp_min(-0.4).clamp_max(0.6),
        ],
    ),
    "Threshold": (
        lambda: nn.Threshold(0.1, 0.0),
        [
            lambda h: F.threshold(h, 0.1, 0.0),
            lambda h: F.threshold_(h, 0.1, 0.0),
            lambda h: torch.where(h > 0.1, h, 0.0),
            lambda h: h.masked_fill(h <= 0.1, 0.0),
            lambda h: h * (h > 0.1),
        ],
    ),
    "Sigmoid": (nn.Sigmoid, [F.sigmoid, torch.sigmoid, torch.special.expit]),
    "Hardsigmoid": (nn.Hardsigmoid, [F.hardsigmoid]),
    "LogSigmoid": (nn.LogSigmoid, [F.logsigmoid]),
    "Softplus": (lambda: nn.Softplus(2.0), [lambda h: F.softplus(h, 2.0)]),
    "Softsign": (nn.Softsign, [F.softsign]),
    "Tanh": (nn.Tanh, [F.tanh, torch.tanh, torch.Tensor.tanh_]),
    "SiLU": (
        nn.SiLU,
        [
            F.silu,
            lambda h: F.silu(h, inplace=True),
            lambda h: h * h.sigmoid(),
            lambda h: torch.sigmoid(h) * h,
        ],
    ),
    "Mish": (nn.Mish, [F.mish]),
    "Hardswish": (nn.Hardswish, [F.hardswish, lambda h: h * F.relu6(h + 3) / 6]),
    "GLU": (None, [lambda h: F.glu(h, 1).repeat(1, 2, 1, 1)]),
}
NOT_OF_ONE_VALUE = {"MultiheadAttention", "Softmin", "Softmax", "Softmax2d", "LogSoftmax"}


def gated_unit(h):
    a, b = h.chunk(2, 1)
    return (a * b.detach().sigmoid()).repeat(1, 2, 1, 1)


def test_every_activation_of_torch_is_listed_here():
    """A new one in torch.nn is a new case of the next tests."""
    listed = {name.split(",")[0] for name in ACTIVATIONS} | NOT_OF_ONE_VALUE
    assert listed == set(nn.modules.activation.__all__)


@pytest.mark.parametrize(
    ("name", "spelling"),
    [(name, i) for name, (_, functions) in ACTIVATIONS.items() for i in range(-1, len(functions))],
)
def test_an_activation_in_any_spelling_passes_relevance_on(name, spelling):
    """``epsilon`` holds the ratio of value and input; a gate is held as it is."""
    module, functions = ACTIVATIONS[name]
    if spelling < 0 and module is None:
        module = lambda: Lambda(lambda h: nn.GLU(1)(h).repeat(1, 2, 1, 1))  # noqa: E731
    function = module().double().eval() if spelling < 0 else functions[spelling]
    frozen = gated_unit if name == "GLU" else through(ACTIVATIONS[name][1][0])
    assert_is_frozen_gradient(function, frozen)
    assert_conserved(function)


# Gates

gate_layer = seeded(nn.Conv2d, CHANNELS, CHANNELS, 1, seed=7)
place_layer = seeded(nn.Conv2d, 2, 1, 3, padding=1, seed=8)


def by_channel(squash):
    return lambda h: squash(gate_layer(h.mean((2, 3), keepdim=True)))


def by_place(h):
    seen = torch.cat([h.mean(1, keepdim=True), h.amax(1, keepdim=True)], 1)
    return torch.sigmoid(place_layer(seen))


def everywhere(h):
    return torch.sigmoid(gate_layer(h))


GATED = {  # a function of signal and gate, and the gate
    "h * g": (lambda h, g: h * g, by_channel(torch.sigmoid)),
    "g * h": (lambda h, g: g * h, by_channel(torch.sigmoid)),
    "h.mul(g)": (lambda h, g: h.mul(g), by_channel(F.hardsigmoid)),
    "torch.mul(g, h)": (lambda h, g: torch.mul(g, h), by_channel(F.hardsigmoid)),
    "h.mul_(g)": (lambda h, g: h.clone().mul_(g), by_channel(torch.sigmoid)),
    "g.expand_as(h) * h": (lambda h, g: g.expand_as(h) * h, by_channel(torch.sigmoid)),
    "h * g.view": (lambda h, g: h * g.flatten(1)[:, :, None, None], by_channel(torch.sigmoid)),
    "softmax over channels": (lambda h, g: g * h, by_channel(lambda z: z.softmax(1))),
    "clamped gate": (lambda h, g: g * h, by_channel(lambda z: (0.2 * z + 0.5).clamp(0, 1))),
    "relu6 gate": (lambda h, g: g * h, by_channel(lambda z: F.relu6(z + 3) / 6)),
    "tanh gate": (lambda h, g: g * h, by_channel(torch.tanh)),
    "h * (1 + g)": (lambda h, g: h * (1 + g), by_channel(torch.sigmoid)),
    "2 * g * h": (lambda h, g: 2 * g * h, by_channel(torch.sigmoid)),
    "h + h * g": (lambda h, g: h + h * g, by_channel(torch.sigmoid)),
    "by place": (lambda h, g: h * g, by_place),
    "by place, first": (lambda h, g: g * h, by_place),
    "everywhere": (lambda h, g: h * g, everywhere),
    "everywhere, first": (lambda h, g: g * h, everywhere),
    "highway": (lambda h, g: g * h.flip(1) + (1 - g) * h, everywhere),
    "einsum": (lambda h, g: torch.einsum("bchw,bc->bchw", h, g.flatten(1)), by_channel(torch.sigmoid)),
}


@pytest.mark.parametrize("name", GATED)
def test_a_gate_is_held_in_either_place(name):
    """The squashed factor is the gate, however the product is written; all relevance stays with the signal."""
    combine, gate = GATED[name]
    assert_is_frozen_gradient(lambda h: combine(h, gate(h)), lambda h: combine(h, gate(h).detach()))
    assert_conserved(lambda h: combine(h, gate(h)))


# Choices between signals


def maxout(h):
    return torch.maximum(h[:, :4], h[:, 4:]).repeat(1, 2, 1, 1)


CHOICES = {
    "maximum": maxout,
    "torch.max of two": lambda h: torch.max(h[:, :4], h[:, 4:]).repeat(1, 2, 1, 1),
    "h.maximum": lambda h: h[:, :4].maximum(h[:, 4:]).repeat(1, 2, 1, 1),
    "where": lambda h: torch.where(h[:, :4] > h[:, 4:], h[:, :4], h[:, 4:]).repeat(1, 2, 1, 1),
    "h.where": lambda h: h[:, :4].where(h[:, :4] > h[:, 4:], h[:, 4:]).repeat(1, 2, 1, 1),
    "amax of a view": lambda h: h.view(len(h), 2, 4, *h.shape[2:]).amax(1).repeat(1, 2, 1, 1),
}


@BOTH
@pytest.mark.parametrize("spelling", CHOICES)
def test_the_larger_of_two_signals_takes_all(spelling, composite):
    """Every spelling has the scores of ``torch.maximum``."""
    wanted = explain(seeded(Middle, maxout), pictures(), 1, composite)
    assert_same_scores(explain(seeded(Middle, CHOICES[spelling]), pictures(), 1, composite), wanted)


def test_the_larger_of_two_signals_is_what_the_gradient_follows():
    """The reference is right itself."""
    assert_is_frozen_gradient(maxout, maxout)
    assert_is_frozen_gradient(
        lambda h: torch.minimum(h[:, :4], h[:, 4:]).repeat(1, 2, 1, 1),
        lambda h: -torch.maximum(-h[:, :4], -h[:, 4:]).repeat(1, 2, 1, 1),
    )


def test_a_constant_that_is_larger_gets_no_score():
    """``maximum`` with a number is an activation."""
    half = torch.tensor(0.5, dtype=torch.float64)
    assert_is_frozen_gradient(lambda h: torch.maximum(h, half), through(lambda h: torch.maximum(h, half)))
    assert_conserved(lambda h: torch.maximum(h, torch.zeros((), dtype=torch.float64)))


# Attention


class Attention(nn.Module):
    """Self-attention of four heads of two channels, with any way to combine queries, keys and values."""

    def __init__(self, combine, keys=4):
        super().__init__()
        self.a, self.combine, self.keys = nn.Conv2d(3, CHANNELS, 3, stride=2), combine, keys
        self.qkv = nn.Linear(CHANNELS, CHANNELS + 4 * keys)
        self.out, self.fc = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, 4)

    def forward(self, x):
        tokens = self.a(x).relu().flatten(2).transpose(1, 2)
        width = [CHANNELS, 2 * self.keys, 2 * self.keys]
        q, k, v = (part.unflatten(-1, (-1, 2)).transpose(1, 2) for part in self.qkv(tokens).split(width, -1))
        mixed = self.combine(q, k, v).transpose(1, 2).flatten(2)
        return self.fc((tokens + self.out(mixed)).relu().mean(1))


def written(mask=None, scale=None, held=False):
    """Return softmax attention in full, its weights held if asked."""

    def combine(q, k, v):
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        logits = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
        weights = (logits if mask is None else logits + mask).softmax(-1)
        return (weights.detach() if held else weights) @ v

    return combine


PLACES = 16
ALLOWED = torch.ones(PLACES, PLACES, dtype=torch.bool).tril()
CAUSAL = torch.zeros(PLACES, PLACES, dtype=torch.float64).masked_fill(~ALLOWED, -math.inf)
BIAS = numbers(30, PLACES, PLACES)
fused = F.scaled_dot_product_attention
FUSED = {
    "plain": (fused, {}, 4),
    "keywords": (lambda q, k, v: fused(query=q, key=k, value=v), {}, 4),
    "causal": (lambda q, k, v: fused(q, k, v, is_causal=True), {"mask": CAUSAL}, 4),
    "boolean mask": (lambda q, k, v: fused(q, k, v, ALLOWED), {"mask": CAUSAL}, 4),
    "added mask": (lambda q, k, v: fused(q, k, v, attn_mask=BIAS), {"mask": BIAS}, 4),
    "scale": (lambda q, k, v: fused(q, k, v, scale=0.3), {"scale": 0.3}, 4),
    "grouped": (lambda q, k, v: fused(q, k, v, enable_gqa=True), {}, 2),
    "grouped and causal": (
        lambda q, k, v: fused(q, k, v, is_causal=True, enable_gqa=True),
        {"mask": CAUSAL},
        2,
    ),
    "no dropout": (lambda q, k, v: fused(q, k, v, None, 0.0, False), {}, 4),
    "bmm": (
        lambda q, k, v: torch.bmm(
            torch.softmax(torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)) / 2**0.5, -1),
            v.flatten(0, 1),
        ).view(q.shape),
        {},
        4,
    ),
    "baddbmm": (
        lambda q, k, v: (
            torch.baddbmm(
                BIAS.expand(len(q) * 4, -1, -1),
                q.flatten(0, 1),
                k.flatten(0, 1).mT,
                alpha=2**-0.5,
            ).softmax(-1)
            @ v.flatten(0, 1)
        ).view(q.shape),
        {"mask": BIAS},
        4,
    ),
    "einsum": (
        lambda q, k, v: torch.einsum(
            "bhij,bhjd->bhid", (torch.einsum("bhid,bhjd->bhij", q, k) * 2**-0.5).softmax(-1), v
        ),
        {},
        4,
    ),
}


@pytest.mark.parametrize("form", FUSED)
def test_attention_in_any_form_holds_its_weights(form):
    """``epsilon`` is the gradient with the attention weights held; the default rules are those of the full form."""
    combine, options, keys = FUSED[form]
    images = pictures()
    net, full = seeded(Attention, combine, keys), seeded(Attention, written(**options), keys)
    held = seeded(Attention, written(**options, held=True), keys)
    torch.testing.assert_close(net(images), full(images), **EXACT)
    found = explain(net, images, 2, "epsilon")
    torch.testing.assert_close(found.pixel, input_times_gradient(held, images, 2), **EXACT)
    pixel, _ = epsilon_oracle.input_times_gradient(full, images, 2)
    torch.testing.assert_close(found.pixel, pixel, **EXACT)
    plus = explain(net, images, 2)
    assert_adds_up(plus)
    assert_same_scores(plus, explain(full, images, 2))


class ByModule(nn.Module):
    """The same self-attention by ``nn.MultiheadAttention``."""

    def __init__(self, call, *, first=True):
        super().__init__()
        self.a = nn.Conv2d(3, CHANNELS, 3, stride=2)
        self.mha = nn.MultiheadAttention(CHANNELS, 4, batch_first=first)
        self.call, self.fc = call, nn.Linear(CHANNELS, 4)

    def forward(self, x):
        tokens = self.a(x).relu().flatten(2).transpose(1, 2)
        return self.fc((tokens + self.call(self.mha, tokens)).relu().mean(1))

    def written_out(self, mask=None):
        """Return the attention in the form of the other tests, with this module's weights."""
        net = seeded(Attention, written(mask))
        with torch.no_grad():
            net.qkv.weight.copy_(self.mha.in_proj_weight)
            net.qkv.bias.copy_(self.mha.in_proj_bias)
        net.a, net.out, net.fc = self.a, self.mha.out_proj, self.fc
        return net


MODULES = {
    "with weights": (lambda m, t: m(t, t, t)[0], None, True),
    "without weights": (lambda m, t: m(t, t, t, need_weights=False)[0], None, True),
    "keywords": (lambda m, t: m(query=t, key=t, value=t)[0], None, True),
    "boolean mask": (lambda m, t: m(t, t, t, attn_mask=~ALLOWED)[0], CAUSAL, True),
    "added mask": (lambda m, t: m(t, t, t, attn_mask=BIAS, need_weights=False)[0], BIAS, True),
    "causal": (
        lambda m, t: m(t, t, t, attn_mask=~ALLOWED, is_causal=True, need_weights=False)[0],
        CAUSAL,
        True,
    ),
    "batch second": (lambda m, t: m(*[t.transpose(0, 1)] * 3)[0].transpose(0, 1), None, False),
}


@BOTH
@pytest.mark.parametrize("form", MODULES)
def test_multihead_attention_has_the_scores_of_its_formula(form, composite):
    """Projection, softmax attention and projection, however the module is called."""
    call, mask, first = MODULES[form]
    net = seeded(ByModule, call, first=first)
    with torch.no_grad():
        net.mha.in_proj_bias.copy_(numbers(31, 3 * CHANNELS))
    full = net.written_out(mask)
    torch.testing.assert_close(net(pictures()), full(pictures()), **EXACT)
    found = explain(net, pictures(), 2, composite)
    assert_same_scores(found, explain(full, pictures(), 2, composite))


# Rearrangements, padding, copies


def blur(dynamic):
    row = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)
    kernel = (row[:, None] * row / 16)[None, None].repeat(CHANNELS, 1, 1, 1)

    def function(h):
        padded = F.pad(h.relu(), (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, kernel, stride=2, groups=h.shape[1] if dynamic else CHANNELS)

    return function


@BOTH
def test_anti_aliased_pooling_reads_its_groups_from_the_input(composite):
    """``groups=h.shape[1]`` is ``groups=8``."""
    found = explain(seeded(Middle, blur(True)), pictures(), 1, composite)
    assert_same_scores(found, explain(seeded(Middle, blur(False)), pictures(), 1, composite))
    assert_is_frozen_gradient(blur(True), blur(True))


LINEAR_MOVES = {
    "ConstantPad2d(1, 0.0)": nn.ConstantPad2d(1, 0.0),
    "ConstantPad2d(1, 0.7)": nn.ConstantPad2d(1, 0.7),
    "F.pad, value": lambda h: F.pad(h, (1, 0, 2, 1), value=-0.3),
    "ReflectionPad2d": nn.ReflectionPad2d(2),
    "ReplicationPad2d": nn.ReplicationPad2d(2),
    "CircularPad2d": nn.CircularPad2d(2),
    "crop by negative pad": lambda h: F.pad(h, (-1, -2, -1, 0)),
    "roll": lambda h: h.roll((1, 2), (2, 3)),
    "torch.roll": lambda h: torch.roll(h, shifts=3, dims=-1),
    "rot90": lambda h: torch.rot90(h, 1, (2, 3)),
    "flip": lambda h: h.flip(-1),
    "fliplr": lambda h: torch.fliplr(h),
    "swapaxes": lambda h: h.swapaxes(2, 3),
    "movedim": lambda h: h.movedim(1, 0).movedim(0, 1),
    "h + zeros_like": lambda h: h + torch.zeros_like(h),
    "cat with zeros": lambda h: torch.cat([h[:, :4], h.new_zeros(len(h), 4, *h.shape[2:])], 1),
    "h + ones_like": lambda h: h + torch.ones_like(h) * 0.3,
    "h + h.detach()": lambda h: h + 0.5 * h.detach(),
    "h + h.data": lambda h: h + 0.5 * h.data,
    "h - h.detach().mean()": lambda h: h - h.detach().mean((2, 3), keepdim=True),
    "cpu": lambda h: h.cpu(),
    "to": lambda h: h.to("cpu").to(torch.float64),
    "type_as": lambda h: h.type_as(torch.zeros((), dtype=torch.float64)),
    "contiguous": lambda h: h.contiguous(memory_format=torch.channels_last),
    "clone": lambda h: h.clone().view_as(h),
    "alpha": lambda h: torch.add(h, h.flip(2), alpha=0.5),
    "lerp": lambda h: torch.lerp(h, h.flip(3), 0.3),
    "cumsum": lambda h: h.cumsum(3) / 4,
    "interpolate": lambda h: F.interpolate(h, scale_factor=2, mode="bilinear"),
    "interpolate, nearest": lambda h: F.interpolate(h, size=(h.shape[2] * 2, 7)),
    "pixel_shuffle": lambda h: F.pixel_unshuffle(F.pixel_shuffle(h, 2), 2),
    "channel_shuffle": lambda h: F.channel_shuffle(h, 4),
    "repeat_interleave": lambda h: h[:, :4].repeat_interleave(2, 1),
    "tile": lambda h: torch.tile(h[:, :4], (1, 2, 1, 1)),
    "index_select": lambda h: h.index_select(1, torch.tensor([3, 3, 1, 0, 7, 6, 5, 4])),
    "list of indices": lambda h: h[:, [3, 3, 1, 0, 7, 6, 5, 4]],
    "boolean index": lambda h: h[:, torch.arange(8) != 9],
    "gather": lambda h: h.gather(3, torch.arange(9, -1, -1).expand(h.shape)),
    "take_along_dim": lambda h: h.take_along_dim(torch.arange(9, -1, -1).expand(h.shape), 3),
    "unbind and stack": lambda h: torch.stack(h.unbind(1)[::-1], 1),
    "ellipsis and None": lambda h: h[..., None, :, :].squeeze(2),
    "hsplit": lambda h: torch.cat(torch.tensor_split(h, 3, dim=2)[::-1], 2),
    "conv_transpose2d": lambda h: F.conv_transpose2d(h.relu(), numbers(40, 8, 8, 2, 2) / 4, stride=2),
    "conv1d of rows": lambda h: F.conv1d(h.flatten(2), numbers(41, 8, 8, 3) / 4, padding=1).view(h.shape),
}


WITH_CONSTANTS = ("ConstantPad2d(1, 0.7)", "F.pad, value")  # what is written among the values has a share


@pytest.mark.parametrize("name", LINEAR_MOVES)
def test_a_rearrangement_or_a_linear_map_hands_relevance_back_as_the_gradient_does(name):
    """Constants that are written among the values get their share and keep it."""
    assert_is_frozen_gradient(LINEAR_MOVES[name], LINEAR_MOVES[name])


@pytest.mark.parametrize("name", [name for name in LINEAR_MOVES if name not in WITH_CONSTANTS])
def test_a_rearrangement_or_a_linear_map_conserves(name):
    """By the default rules nothing is lost and nothing doubled."""
    assert_conserved(LINEAR_MOVES[name])


@pytest.mark.parametrize(
    "squeeze",
    [
        lambda h: h.mean((2, 3), keepdim=True).squeeze().view(len(h), -1),
        lambda h: h.mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1),
        lambda h: torch.squeeze(h.mean((2, 3), keepdim=True), (2, 3)),
        lambda h: h.squeeze().view(h.shape).mean((2, 3)),
    ],
)
@BOTH
def test_squeezing_works_for_one_image_and_for_several(squeeze, composite):
    """A batch of one loses its axis on the way and has the same scores."""
    net = seeded(Pooled, squeeze)
    wanted = explain(seeded(Pooled, lambda h: h.mean((2, 3))), pictures(3), 0, composite)
    assert_same_scores(explain(net, pictures(3), 0, composite), wanted)
    alone = explain(net, pictures(3)[:1], 0, composite)
    torch.testing.assert_close(alone.pixel, wanted.pixel[:1], **EXACT)


# What has no rule


def without_gradients(h):
    with torch.no_grad():
        return h * 2


@pytest.mark.parametrize(
    "forward",
    [
        without_gradients,
        torch.no_grad()(lambda h: h.relu()),
        torch.inference_mode()(lambda h: h.relu()),
    ],
    ids=["with", "decorator", "inference_mode"],
)
def test_a_part_without_gradients_is_refused_by_name(forward):
    """Relevance cannot pass it, and the message says which statement it is."""
    with pytest.raises(ef.UnsupportedModelError, match=r"no_grad|inference_mode"):
        explain(seeded(Middle, forward), pictures())


def test_a_whole_body_without_gradients_is_refused_by_name():
    """A frozen backbone as trainers write it."""

    class Frozen(Middle):
        def forward(self, x):
            with torch.no_grad():
                h = F.relu(self.b(self.a(x))).mean((2, 3))
            return self.fc(h)

    with pytest.raises(ef.UnsupportedModelError, match="no_grad"):
        explain(seeded(Frozen), pictures())


def test_constants_may_be_made_without_gradients():
    """What does not hold the image may be computed under ``no_grad``, and masks of the image as well."""

    def masked(h):
        with torch.no_grad():
            gain = SCALE * 2
            mask = h > 0.1
        return h * gain * mask

    assert_is_frozen_gradient(masked, lambda h: h * (SCALE * 2) * (h.detach() > 0.1))


UNKNOWN = {
    "cumprod": lambda h: h.cumprod(1),
    "fft": lambda h: torch.fft.fft2(h).real,
    "logcumsumexp": lambda h: torch.logcumsumexp(h, 1),
    "svdvals": lambda h: torch.linalg.svdvals(h)[..., None] * torch.ones(10, dtype=torch.float64),
    "digamma": lambda h: torch.digamma(h.abs() + 1),
    "cdist": lambda h: torch.cdist(h, h),
}


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon"])
@pytest.mark.parametrize("name", UNKNOWN)
def test_a_function_without_a_rule_is_refused_by_name(name, composite):
    """Its scores would be wrong, so there are none."""
    with pytest.raises(ef.UnsupportedModelError, match=name):
        explain(seeded(Middle, UNKNOWN[name]), pictures(), 0, composite)


def permuted(h):
    order = h.mean((0, 2, 3)).argsort()
    return h[:, order]


def held_order(h):
    return h[:, h.detach().mean((0, 2, 3)).argsort()]


def branching(h):
    return h * 2 if torch.fft.fft2(h).abs().mean() > 0 else h


HARMLESS = {
    "argsort": (permuted, held_order),
    "comparison": (lambda h: h * (h.cumprod(1) > 0), lambda h: h * (h.detach().cumprod(1) > 0)),
    "sign": (lambda h: h * torch.sign(h.cumprod(1)), lambda h: h * torch.sign(h.detach().cumprod(1))),
    "branch": (branching, lambda h: h * 2),
    "item": (lambda h: h * (1 + int(h.argmax()) % 3), lambda h: h * (1 + int(h.detach().argmax()) % 3)),
    "shape": (lambda h: h / torch.fft.fft2(h).shape[1], lambda h: h / 8),
    "isnan": (lambda h: h.masked_fill(torch.isnan(h), 0.0), lambda h: h),
    "topk indices": (
        lambda h: h.gather(1, h.topk(8, 1).indices),
        lambda h: h.gather(1, h.detach().topk(8, 1).indices),
    ),
    "never used": (lambda h: (h.cumprod(1), h)[1], lambda h: h),
    "detached": (lambda h: h + h.detach().cumprod(1), lambda h: h + h.detach().cumprod(1)),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_function_without_a_rule_may_make_what_is_held_constant(name):
    """Indices, comparisons, shapes and branches need no rule."""
    assert_is_frozen_gradient(*HARMLESS[name])


# Everything else: in full or not at all


def through_an_empty(h):
    out = h.new_empty(h.shape)
    out[:, ::2], out[:, 1::2] = h[:, :4], h[:, 4:]
    return out


def through_a_view(change):
    def function(h):
        h = h.clone()
        change(h)
        return h

    return function


def set_to_zero(h):
    h[:, :, 0] = 0


def scale_a_slice(h):
    h[:, :4] *= 2


def scale_a_view(h):
    flat = h.view(len(h), -1)
    flat *= 2


def exchange(h):
    h[:, [0, 1]] = h[:, [1, 0]]


def by_copy(h):
    return torch.empty_like(h).copy_(h)


REVERSED = torch.arange(7, -1, -1).view(1, 8, 1, 1)
IN_PLACE = {
    "values written into an empty tensor": through_an_empty,
    "values copied": by_copy,
    "a row set to zero": through_a_view(set_to_zero),
    "a slice scaled": through_a_view(scale_a_slice),
    "a view scaled": through_a_view(scale_a_view),
    "a transposed view scaled": through_a_view(lambda h: h.transpose(2, 3).mul_(2)),
    "a view of a view scaled": through_a_view(lambda h: h[:, 2:][:, :, 1].mul_(2)),
    "channels exchanged": through_a_view(exchange),
    "index_add_": lambda h: torch.zeros_like(h).index_add_(1, torch.arange(8), h),
    "index_copy": lambda h: torch.zeros_like(h).index_copy(1, torch.arange(7, -1, -1), h),
    "scatter": lambda h: torch.zeros_like(h).scatter(1, REVERSED.expand(h.shape), h),
    "scatter_add_": lambda h: torch.zeros_like(h).scatter_add_(1, REVERSED.expand(h.shape), h),
    "masked_scatter": lambda h: torch.zeros_like(h).masked_scatter(torch.ones_like(h, dtype=torch.bool), h),
    "index_put": lambda h: torch.zeros_like(h).index_put((torch.arange(2),), h),
    "ReLU of a view": lambda h: (v := h.clone(), v.view(len(h), -1).relu_())[0],
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_what_is_written_into_a_tensor_is_explained_rightly_or_refused(name):
    """The result equals input times gradient, and conserves by the default rules; or there is none."""
    net, images = seeded(Middle, IN_PLACE[name]), pictures()
    try:
        found, plus = explain(net, images, 1, "epsilon"), explain(net, images, 1)
    except ef.UnsupportedModelError:
        return
    torch.testing.assert_close(found.output, net(images)[:, 1].detach(), **EXACT)
    torch.testing.assert_close(found.pixel, input_times_gradient(net, images, 1), rtol=0, atol=1e-9)
    assert_nothing_else_in_base(plus, net)
    assert_adds_up(plus)


recurrent = settled(nn.GRU(CHANNELS, CHANNELS, batch_first=True))
encoder = seeded(nn.TransformerEncoderLayer, CHANNELS, 2, 16, batch_first=True)
bilinear = seeded(nn.Bilinear, CHANNELS, CHANNELS, CHANNELS)


def as_tokens(function):
    return lambda h: function(h.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(h.shape)


def as_places(function):
    return lambda h: function(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def over_places(function):
    return lambda h: function(h.flatten(2))[..., None, None] + torch.zeros(10, 10, dtype=h.dtype)


def softmax_written(h):
    weights = torch.exp(h - h.amax(1, keepdim=True))
    return h * (weights / weights.sum(1, keepdim=True))


def unpooled(h):
    values, places = F.max_pool2d(h, 2, return_indices=True)
    return F.max_unpool2d(values, places, 2)


def sampled(h):
    theta = torch.eye(2, 3, dtype=h.dtype).expand(len(h), -1, -1)
    return F.grid_sample(h, F.affine_grid(theta, h.shape, align_corners=False), align_corners=False)


def transformed(h):
    """A spatial transformer whose grid is computed from the image."""
    shift = h.mean((1, 2, 3)).tanh()[:, None, None]
    theta = torch.eye(2, 3, dtype=h.dtype) + shift * torch.eye(2, 3, dtype=h.dtype) * 0.1
    return F.grid_sample(h, F.affine_grid(theta, h.shape, align_corners=False), align_corners=False)


def squeeze_excitation(h):
    return h * torch.sigmoid(h.mean((2, 3), keepdim=True))


def deformable(h):
    from torchvision.ops import deform_conv2d

    offset = torch.zeros(len(h), 18, 10, 10, dtype=h.dtype)
    return deform_conv2d(h, offset + 0.1, numbers(50, 8, 8, 3, 3) / 9, padding=1)


ANY = {
    "h * h": lambda h: h * h,
    "pow": lambda h: h.pow(2),
    "square": torch.square,
    "abs": torch.abs,
    "sqrt": lambda h: torch.sqrt(h.abs() + 1),
    "exp": torch.exp,
    "log1p": lambda h: torch.log1p(h.abs()),
    "sin": torch.sin,
    "erf": torch.erf,
    "reciprocal": lambda h: 1 / (h.abs() + 1),
    "1 / (1 + exp(-h))": lambda h: 1 / (1 + torch.exp(-h)),
    "round": torch.round,
    "softmax over channels": lambda h: h.softmax(1),
    "F.softmin": lambda h: F.softmin(h, 1),
    "F.gumbel_softmax, off": lambda h: h * F.one_hot(h.argmax(1), 8).permute(0, 3, 1, 2),
    "spatial softmax": lambda h: h * h.flatten(2).softmax(-1).view(h.shape),
    "softmax written out": softmax_written,
    "logsumexp": over_places(lambda t: t.logsumexp(2)),
    "median": over_places(lambda t: t.median(2).values),
    "kthvalue": over_places(lambda t: t.kthvalue(3, 2).values),
    "topk values": over_places(lambda t: t.topk(5, 2).values.mean(2)),
    "sorted values": over_places(lambda t: t.sort(2).values[..., 3:].mean(2)),
    "variance": over_places(lambda t: t.var(2)),
    "deviation": over_places(lambda t: t.std(2)),
    "norm": over_places(lambda t: t.norm(dim=2)),
    "product": over_places(lambda t: t[..., :3].prod(2)),
    "cummax": lambda h: h.cummax(1).values,
    "fmax": lambda h: torch.fmax(h, h.flip(1)),
    "lp_pool2d": lambda h: F.lp_pool2d(h.relu() + 0.1, 3.0, 2),
    "max_unpool2d": unpooled,
    "complex": lambda h: torch.view_as_real(torch.view_as_complex(h.reshape(*h.shape[:3], 5, 2))).flatten(3),
    "grid_sample": sampled,
    "grid_sample of a computed grid": transformed,
    "deform_conv2d": deformable,
    "squeeze and excitation": squeeze_excitation,
    "gate first": lambda h: torch.sigmoid(h.mean((2, 3), keepdim=True)) * h,
    "gate of a small range": lambda h: h * F.hardsigmoid(h.mean(1, keepdim=True)),
    "two signals": lambda h: h * h.flip(1),
    "bilinear": as_places(lambda t: bilinear(t, t)),
    "covariance": as_tokens(lambda t: t @ (t.transpose(1, 2) @ t) / 100),
    "linear attention": as_tokens(lambda t: t.softmax(-1) @ (t.softmax(1).transpose(1, 2) @ t)),
    "einsum of three": lambda h: torch.einsum("bchw,cd,de->behw", h, numbers(51, 8, 8), numbers(52, 8, 8)),
    "einsum of two signals": lambda h: torch.einsum("bchw,bchw->bchw", h, h.sigmoid()),
    "cosine similarity": lambda h: h * F.cosine_similarity(h, h.flip(1), dim=1)[:, None],
    "GRU": as_tokens(lambda t: recurrent(t)[0]),
    "TransformerEncoderLayer": as_tokens(encoder),
    "embedding of the largest": lambda h: h + F.embedding(h.argmax(1), numbers(53, 8, 8)).permute(0, 3, 1, 2),
    "pixel norm": lambda h: h * torch.rsqrt(h.square().mean(1, keepdim=True) + 1e-8),
    "global response norm": lambda h: (
        h + h * (g := h.norm(dim=(2, 3), keepdim=True)) / (g.mean(1, keepdim=True) + 1e-6)
    ),
    "standardised by batch": lambda h: F.batch_norm(h, None, None, training=True),
    "half precision inside": lambda h: h.float().relu().double(),
    "checkpoint": lambda h: checkpointed(h),
    "vmap": lambda h: torch.vmap(torch.relu)(h),
    "custom function": lambda h: Doubling.apply(h),
    "F.one_hot of a class": lambda h: h * (h.mean((2, 3)).argmax(1) > -1).view(-1, 1, 1, 1),
    "masked_select": lambda h: h.masked_select(h.detach() < 99).view(h.shape),
    "nonzero": lambda h: h[:, (h.detach().amax((0, 2, 3)) > -99).nonzero().squeeze(1)],
    "nan_to_num": torch.nan_to_num,
    "heaviside": lambda h: h * torch.heaviside(h.detach(), torch.zeros((), dtype=h.dtype)),
    "straight through": lambda h: h + (h.sign() - h).detach(),
}


def checkpointed(h):
    from torch.utils.checkpoint import checkpoint

    return checkpoint(torch.relu, h, use_reentrant=False)


class Doubling(torch.autograd.Function):
    """An autograd function of the user's."""

    @staticmethod
    def forward(ctx, h):
        return 2 * h

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


@pytest.mark.parametrize("name", ANY)
def test_a_function_is_explained_in_full_or_refused_by_its_name(name):
    """Base and scores add up to the output of the plain model, for a batch as for its samples; or there are none."""
    net, images = seeded(Middle, ANY[name]), pictures()
    found = unless_refused(net, images)
    if found is not None:
        torch.testing.assert_close(found.output, net(images)[:, 1].detach(), rtol=0, atol=1e-6)
        assert_nothing_else_in_base(found, net)
        assert_adds_up(found, tolerance=1e-8 * (1 + float(found.response.abs().sum())))


def unless_refused(net, images):
    """Return an explanation, or None where the model is refused."""
    try:
        return explain(net, images, 1)
    except ef.UnsupportedModelError:
        return None


def test_a_function_of_the_users_own_is_refused_by_its_name():
    """Its backward pass is no rule, and gradients are off in its forward for a reason."""
    with pytest.raises(ef.UnsupportedModelError, match="Doubling"):
        explain(seeded(Middle, Doubling.apply), pictures())


def in_a_thread(h):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.relu(h)))
    thread.start()
    thread.join()
    return seen[0]


def behind_a_switch(h):
    with torch._C.DisableTorchFunction():
        return torch.relu(h)


HIDDEN = {
    "vmap": lambda h: torch.vmap(torch.relu)(h),
    "vmap over channels": lambda h: torch.func.vmap(lambda t: t.relu(), in_dims=1, out_dims=1)(h),
    "aten": lambda h: torch.ops.aten.relu(h),
    "aten overload": lambda h: torch.ops.aten.relu.default(h),
    "another thread": in_a_thread,
    "torch functions switched off": behind_a_switch,
    "checkpoint": checkpointed,
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_function_that_runs_where_it_cannot_be_seen_is_not_taken_for_a_constant(name):
    """A ReLU there has the scores of a ReLU, or is refused; it never has none."""
    found = unless_refused(seeded(Middle, HIDDEN[name]), pictures())
    if found is not None:
        assert_same_scores(found, explain(seeded(Middle, torch.relu), pictures(), 1))


CUT = {
    "detach": lambda h: h.detach(),
    "data": lambda h: h.data,
    "a new leaf": lambda h: h.detach().clone().requires_grad_(),
    "NumPy and back": lambda h: torch.from_numpy(h.detach().numpy()),
    "lists and back": lambda h: torch.tensor(h.tolist(), dtype=h.dtype),
    "torch.tensor": lambda h: h.new_tensor(h.detach().numpy()),
}


@pytest.mark.parametrize("name", CUT)
def test_a_model_whose_output_is_cut_off_from_the_image_is_refused_or_warned_of(name):
    """There is nothing to explain: zeros without a word would be taken for a result."""
    with pytest.raises((ef.UnsupportedModelError, UserWarning)):
        explain(seeded(Middle, CUT[name]), pictures())
