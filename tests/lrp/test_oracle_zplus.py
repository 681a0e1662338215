"""``epsilon_plus`` and its relatives against dense matrices: every layer one matrix per image, every rule one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import edgefilter as ef
from small_models import pictures, seeded

TOLERANCE = {"rtol": 0, "atol": 1e-9}
FLOOR = 0.005  # of the shares in hidden linear layers
SUM_FLOOR = 0.1  # of those in sums of signals


# Rules: contributions (outputs, inputs), squared weights and relevance of the outputs to relevance of the inputs


def shares(candidates, relevance):
    """Share by the first candidate whose row does not sum to zero."""
    result = np.zeros(candidates[0].shape[1])
    left = relevance.copy()
    for parts in candidates:
        total = parts.sum(1)
        alive = np.abs(total) > 1e-13 * max(1e-30, np.abs(total).max())
        ratio = np.divide(left, total, out=np.zeros_like(total), where=alive)
        result += ratio @ parts
        left = np.where(alive, 0, left)
    return result


def zplus(matrix, values, relevance):
    contributions = matrix * values
    return shares([contributions.clip(min=0), np.abs(contributions), matrix**2], relevance)


def epsilon(matrix, values, relevance):
    contributions = matrix * values
    return shares([contributions, np.abs(contributions), matrix**2], relevance)


def bounded(matrix, values, relevance, bias):
    """Plain shares of output and bias; the bias and the floor hand theirs on by size."""
    contributions = matrix * values
    sizes = np.abs(contributions)
    output, size = contributions.sum(1) + bias, sizes.sum(1)
    floor = np.where(output < 0, -FLOOR, FLOOR) * size
    alive = size > 0
    extra = np.divide(bias + floor, size, out=np.zeros_like(size), where=alive)
    divisor = np.where(alive, output + floor, 1)
    ratio = np.where(alive, relevance, 0) / divisor
    result = ratio @ contributions + (ratio * extra) @ sizes
    return result + shares([matrix**2], np.where(alive, 0, relevance))


def wsquare(matrix, values, relevance):
    return shares([matrix**2], relevance)


def flat(matrix, values, relevance):
    return shares([(matrix != 0).astype(float)], relevance)


def box(matrix, values, relevance):
    """Bounds are the extremes of each color; pixels come color by color."""
    colors = values.reshape(3, -1)
    low, high = (np.repeat(extreme(colors, 1), colors.shape[1]) for extreme in (np.min, np.max))
    parts = matrix * values - matrix.clip(min=0) * low - matrix.clip(max=0) * high
    return shares([parts, matrix**2], relevance)


def gamma(matrix, values, relevance):
    contributions = matrix * values
    favoured = np.where(
        (contributions.sum(1) >= 0)[:, None], contributions.clip(min=0), contributions.clip(max=0)
    )
    return shares([contributions + 0.25 * favoured, np.abs(contributions), matrix**2], relevance)


def alpha_beta(alpha, beta):
    def rule(matrix, values, relevance):
        contributions = matrix * values
        plus, minus = contributions.clip(min=0), contributions.clip(max=0)
        both = (plus.sum(1) > 0) & (minus.sum(1) < 0)
        result = shares([plus, np.abs(contributions), matrix**2], np.where(both, alpha, 1) * relevance)
        return result - beta * shares([minus], np.where(both, relevance, 0))

    return rule


# composite: the rule of the bank, of convolutions, of hidden linear layers, of the last one
RULES = {
    "epsilon_plus": (wsquare, zplus, bounded, epsilon),
    "epsilon_plus_flat": (None, zplus, bounded, epsilon),
    "epsilon_gamma_box": (box, gamma, bounded, epsilon),
    "epsilon_alpha2_beta1": (wsquare, alpha_beta(2, 1), bounded, epsilon),
    "epsilon_alpha15_beta05": (wsquare, alpha_beta(1.5, 0.5), bounded, epsilon),
    "zplus": (wsquare, zplus, zplus, zplus),
}


# Layers as matrices


def matrix_of(function, shape):
    """Return a linear function of one image as a matrix, column by column."""
    units = torch.eye(int(np.prod(shape)), dtype=torch.float64).view(-1, *shape)
    with torch.no_grad():
        return function(units).flatten(1).T.numpy()


def merged(conv, norm):
    """Return weight and bias of a convolution and the BatchNorm behind it."""
    if norm is None:
        return conv.weight, conv.bias
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    return conv.weight * gain.view(-1, 1, 1, 1), (conv.bias - norm.running_mean) * gain + norm.bias


class Tape:
    """Values forward, then the steps that take relevance back, in reverse."""

    def __init__(self, value):
        self.value, self.steps = value, []

    def linear(self, function, bias, rule):
        shape = self.value.shape
        matrix, values = matrix_of(function, shape), self.value.flatten().numpy()
        with torch.no_grad():
            self.value = function(self.value[None])[0] + (0 if bias is None else bias)
        given = () if rule is not bounded else (bias.numpy(),)
        self.steps.append(lambda r: rule(matrix, values, r, *given))

    def convolution(self, weight, bias, rule, **options):
        shift = None if bias is None else bias.detach().view(-1, 1, 1)
        self.linear(lambda v: F.conv2d(v, weight, None, **options), shift, rule)

    def relu(self):
        self.value = self.value.clamp(min=0)

    def choose(self, size):
        """Max pooling: the winner takes all."""
        channels, height, width = self.value.shape
        pooled = torch.zeros(channels, height // size, width // size, dtype=torch.float64)
        winners = np.zeros((pooled.numel(), self.value.numel()))
        places = np.arange(self.value.numel()).reshape(self.value.shape)
        for row, (c, y, x) in enumerate(np.ndindex(*pooled.shape)):
            window = (c, slice(size * y, size * y + size), slice(size * x, size * x + size))
            best = int(self.value[window].argmax())
            pooled[c, y, x] = self.value[window].flatten()[best]
            winners[row, places[window].flatten()[best]] = 1
        self.value = pooled
        self.steps.append(lambda r: r @ winners)

    def back(self, relevance):
        for step in reversed(self.steps):
            relevance = step(relevance)
        return relevance


def added(shortcut, branch, relevance):
    """Share the relevance of a sum of two by value, with a floor."""
    parts = np.stack([shortcut, branch], 1)
    parts = parts + SUM_FLOOR * np.where(parts.sum(1) < 0, -1, 1)[:, None] * np.abs(parts)
    total = parts.sum(1, keepdims=True)
    share = np.divide(parts, total, out=np.full_like(parts, 0.5), where=total != 0)
    return (share * relevance[:, None]).T


class Small(nn.Module):
    """Stem, BatchNorm, max pooling, a residual block, average pooling, two linear layers."""

    def __init__(self, *, norm, residual, stride, padding, bias):
        super().__init__()
        make = (lambda: nn.BatchNorm2d(4)) if norm else (lambda: None)
        self.stem, self.norm0 = nn.Conv2d(3, 4, 3, stride, padding, bias=bias), make()
        self.a, self.norm1 = nn.Conv2d(4, 4, 3, padding=1, bias=bias), make()
        self.b, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=bias), make()
        self.hidden, self.fc = nn.Linear(4, 5), nn.Linear(5, 3)
        self.residual = residual
        for layer in (self.stem, self.a, self.b):
            if layer.bias is None and norm:
                layer.bias = nn.Parameter(torch.zeros(4))

    @staticmethod
    def normed(norm, h):
        return h if norm is None else norm(h)

    def forward(self, x):
        h = F.max_pool2d(F.relu(self.normed(self.norm0, self.stem(x))), 2)
        inner = self.normed(self.norm2, self.b(F.relu(self.normed(self.norm1, self.a(h)))))
        h = F.relu(h + inner) if self.residual else F.relu(inner)
        return self.fc(F.relu(self.hidden(h.mean((2, 3)))))


def slow(net, image, target, composite):
    """Return base, relevance at the responses (C, K, H', W') and at the pixels of one image."""
    bank_rule, conv_rule, linear_rule, last_rule = RULES[composite]
    bank = torch.from_numpy(np.array(ef.complete_bank(3).weight))
    options = {"stride": net.stem.stride, "padding": net.stem.padding}
    filters = bank[:, None].repeat(3, 1, 1, 1)
    tape = Tape(image)
    if bank_rule is None:  # every place of the window counts alike, whatever the kernel
        footprint = matrix_of(
            lambda v: F.conv2d(v, torch.ones_like(filters), None, groups=3, **options), image.shape
        )
        tape.linear(
            lambda v: F.conv2d(v, filters, None, groups=3, **options),
            None,
            lambda _, v, r: flat(footprint, v, r),
        )
    else:
        tape.linear(lambda v: F.conv2d(v, filters, None, groups=3, **options), None, bank_rule)
    front, shape = tape.steps.pop(), tape.value.shape
    weight, bias = merged(net.stem, net.norm0)
    mixing = torch.linalg.solve(bank.flatten(1).T, weight.detach().flatten(2).flatten(0, 1).T).T
    tape.convolution(mixing.reshape(4, -1, 1, 1), bias, conv_rule)
    tape.relu()
    tape.choose(2)
    shortcut = tape.value.flatten().numpy()
    inner = Tape(tape.value)
    inner.convolution(*merged(net.a, net.norm1), conv_rule, padding=1)
    inner.relu()
    inner.convolution(*merged(net.b, net.norm2), conv_rule, padding=1)
    if net.residual:
        branch = inner.value.flatten().numpy()

        def back(relevance):
            direct, through = added(shortcut, branch, relevance)
            return direct + inner.back(through)

        tape.value = tape.value + inner.value
        tape.steps.append(back)
    else:
        tape.value = inner.value
        tape.steps.extend(inner.steps)
    tape.relu()
    tape.linear(lambda v: v.mean((2, 3)), None, epsilon)
    tape.linear(lambda v: F.linear(v, net.hidden.weight), net.hidden.bias.detach(), linear_rule)
    tape.relu()
    last = tape.value.numpy()
    row = net.fc.weight.detach().numpy()[target]
    base = net.fc.bias[target].item()
    relevance = last_rule(row[None], last, np.array([row @ last]))
    response = tape.back(relevance)
    return base, response.reshape(3, len(bank), *shape[1:]), front(response).reshape(image.shape)


def network(**options):
    net = seeded(Small, **options)
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.weight.normal_(generator=noise)
                norm.bias.normal_(generator=noise)
                norm.running_mean.normal_(generator=noise)
                norm.running_var.uniform_(0.5, 2, generator=noise)
    return net


KINDS = {
    "plain": {"norm": False, "residual": False, "stride": 1, "padding": 0, "bias": True},
    "no biases": {"norm": False, "residual": True, "stride": 1, "padding": 1, "bias": False},
    "norm": {"norm": True, "residual": False, "stride": 1, "padding": 1, "bias": False},
    "residual": {"norm": True, "residual": True, "stride": 1, "padding": 0, "bias": True},
    "strided": {"norm": True, "residual": True, "stride": 2, "padding": 1, "bias": True},
}


@pytest.mark.parametrize("composite", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_dense_matrices(kind, composite):
    """Responses, pixels and base agree for every image of a batch."""
    net, images = network(**KINDS[kind]), pictures(2, size=8 + 4 * (kind == "strided"))
    found = ef.EdgeFilterAttribution(net, composite, calibrate=False).explain(images, 1)
    scale = 1 + float(found.response.abs().max())
    for i, image in enumerate(images):
        base, response, pixel = slow(net, image, 1, composite)
        torch.testing.assert_close(found.base[i].item(), base, **TOLERANCE)
        for name, wanted in (("response", response), ("pixel", pixel)):
            value = getattr(found, name)[i]
            torch.testing.assert_close(value, torch.from_numpy(wanted), rtol=0, atol=1e-11 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_the_dense_matrices_conserve(kind):
    """The oracle itself: base and relevance add up to the model's own output."""
    net, images = network(**KINDS[kind]), pictures(1, size=8 + 4 * (kind == "strided"))
    base, response, pixel = slow(net, images[0], 1, "epsilon_plus")
    wanted = net(images)[0, 1].item()
    assert base + response.sum() == pytest.approx(wanted, abs=1e-10)
    assert base + pixel.sum() == pytest.approx(wanted, abs=1e-10)


def test_the_oracle_tells_rules_apart():
    """Another composite gives another map, so agreement means something."""
    net, images = network(**KINDS["residual"]), pictures(1, size=8)
    maps = [slow(net, images[0], 1, name)[2] for name in RULES]
    for i, one in enumerate(maps):
        for other in maps[:i]:
            assert np.abs(one - other).max() > 1e-3 * np.abs(one).max()
