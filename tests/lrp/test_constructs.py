"""Blocks of known architectures against the rules written as loops over dense matrices (``slow_rules.py``)."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from agreement import settle
from edgefilter import EdgeFilterAttribution, get_composite, replace_stem
from slow_rules import (
    COMPOSITES,
    Slow,
    add,
    by_floored_sum,
    by_positive,
    by_wsquare,
    moving,
    passing,
    product,
    softmax,
    spread,
)


class Construct(nn.Module):
    """A stem, a construct and a head: ``middle`` as PyTorch runs it, ``slow`` by the slow rules."""

    attention_rules, size = "constant", 4

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)
        self.build()

    def forward(self, images):
        return self.head(self.middle(self.stem(images).relu()).mean((2, 3)))

    def relevances(self, image, target, composite):
        """Return output, base, pixels and responses of one image; the stem was replaced."""
        conv, linear, last = COMPOSITES[composite]
        pixels = Slow(image)
        responses = spread(by_wsquare, self.stem.filters, pixels)
        features = passing(torch.relu, spread(conv, self.stem.mixing, responses))
        output = spread(
            last, self.head, spread(by_floored_sum, self.pooling, self.slow(features, conv, linear))
        )
        base = self.head.bias.detach()
        start = F.one_hot(torch.tensor([target]), output.value.shape[1]) * (output.value - base)
        return output.value, base[target], *output.relevances(start, [pixels, responses])

    @staticmethod
    def pooling(features):
        return features.mean((2, 3))


def conv_bn(*arguments, **options):
    return nn.Sequential(nn.Conv2d(*arguments, **options), nn.BatchNorm2d(arguments[1]))


class Residual(Construct):
    def build(self):
        self.first, self.second = conv_bn(4, 4, 3, padding=1), conv_bn(4, 4, 3, padding=1, bias=False)

    def middle(self, x):
        return (x + self.second(self.first(x).relu())).relu()

    def slow(self, x, conv, linear):
        inner = spread(conv, self.second, passing(torch.relu, spread(conv, self.first, x)))
        return passing(torch.relu, add(by_floored_sum, x, inner))


class Dense(Construct):
    """DenseNet: BatchNorm and ReLU before the convolution, and a transition."""

    def build(self):
        self.norm1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)
        self.pool, self.norm3 = nn.AvgPool2d(2), nn.BatchNorm2d(4)

    def middle(self, x):
        x = torch.cat([x, self.conv1(self.norm1(x).relu())], 1)
        return self.norm3(self.pool(self.conv2(self.norm2(x).relu()))).relu()

    def slow(self, x, conv, linear):
        new = spread(conv, self.conv1, passing(torch.relu, passing(self.norm1, x)))
        x = moving(lambda a, b: torch.cat([a, b], 1), x, new)
        x = spread(conv, self.conv2, passing(torch.relu, passing(self.norm2, x)))
        return passing(torch.relu, passing(self.norm3, spread(by_positive, self.pool, x)))


class Inception(Construct):
    def build(self):
        self.branches = nn.ModuleList([nn.Conv2d(4, 1, size, padding=size // 2) for size in (1, 3, 1, 1)])
        self.largest, self.average = nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)

    def middle(self, x):
        inputs = (x, x, self.largest(x), self.average(x))
        return torch.cat([branch(x).relu() for branch, x in zip(self.branches, inputs, strict=True)], 1)

    def slow(self, x, conv, linear):
        inputs = (x, x, moving(self.largest, x), spread(by_floored_sum, self.average, x))
        parts = [
            passing(torch.relu, spread(conv, branch, x))
            for branch, x in zip(self.branches, inputs, strict=True)
        ]
        return moving(lambda *parts: torch.cat(parts, 1), *parts)


class SqueezeExcitation(Construct):
    def build(self):
        self.conv, self.down, self.up = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

    def gate(self, x):
        return torch.sigmoid(self.up(self.down(F.adaptive_avg_pool2d(x, 1)).relu()))

    def middle(self, x):
        x = self.conv(x)
        return self.gate(x) * x

    def slow(self, x, conv, linear):
        return passing(lambda value: self.gate(value) * value, spread(conv, self.conv, x))


class Shuffle(Construct):
    def build(self):
        self.deep, self.point = conv_bn(2, 2, 3, padding=1, groups=2), conv_bn(2, 2, 1)
        self.last = nn.Conv2d(4, 4, 1)

    @staticmethod
    def shuffled(a, b):
        joined = torch.cat([a, b], 1)
        count, channels, height, width = joined.shape
        return joined.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(joined.shape)

    def middle(self, x):
        left, right = x.chunk(2, dim=1)
        return self.last(self.shuffled(left, self.point(self.deep(right)).relu())).relu()

    def slow(self, x, conv, linear):
        left, right = (moving(lambda v, i=i: v[:, 2 * i : 2 * i + 2], x) for i in (0, 1))
        right = passing(torch.relu, spread(conv, self.point, spread(conv, self.deep, right)))
        return passing(torch.relu, spread(conv, self.last, moving(self.shuffled, left, right)))


class InvertedBottleneck(Construct):
    def build(self):
        self.expand, self.deep = conv_bn(4, 8, 1), conv_bn(8, 8, 3, padding=1, groups=8)
        self.project, self.relu6 = conv_bn(8, 4, 1), nn.ReLU6()

    def middle(self, x):
        return x + self.project(self.relu6(self.deep(self.relu6(3 * self.expand(x)))))

    def slow(self, x, conv, linear):
        inner = passing(self.relu6, passing(lambda v: 3 * v, spread(conv, self.expand, x)))
        inner = spread(conv, self.project, passing(self.relu6, spread(conv, self.deep, inner)))
        return add(by_floored_sum, x, inner)


class AttentionBlock(Construct):
    """A block of a vision transformer: attention weights and statistics constant, sums that LayerNorm reads."""

    size = 6

    def build(self):
        self.patches = nn.Conv2d(4, 4, 2, 2)
        self.positions = nn.Parameter(torch.randn(1, 9, 4))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(4) for _ in range(3))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
        for parameter in (self.attention.in_proj_bias, self.norm1.bias, self.norm1.weight):
            nn.init.normal_(parameter)

    def forward(self, images):
        x = self.patches(self.stem(images).relu()).flatten(2).transpose(1, 2) + self.positions
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(self.norm3(x).mean(1))

    @staticmethod
    def pooling(tokens):
        return tokens.mean(1)

    def heads(self, tokens, part):
        """Return the queries, keys or values, shape (heads, tokens, depth)."""
        rows = slice(4 * part, 4 * part + 4)
        projected = F.linear(tokens, self.attention.in_proj_weight[rows], self.attention.in_proj_bias[rows])
        return projected.reshape(-1, 2, 2).transpose(0, 1)

    def mixed(self, y, conv):
        """Average the values by attention weights that are held constant."""
        queries, keys = self.heads(y.value, 0), self.heads(y.value, 1)
        weights = (queries @ keys.transpose(1, 2) / 2**0.5).softmax(-1).detach()
        values = spread(conv, lambda v: self.heads(v, 2), y)
        return spread(by_positive, lambda v: (weights @ v).transpose(0, 1).reshape(1, 9, 4), values)

    def slow(self, x, conv, linear):
        x = moving(lambda v: v.flatten(2).transpose(1, 2), spread(conv, self.patches, x))
        x = passing(lambda v: v + self.positions, x)
        y = passing(self.norm1, x)
        x = add(by_positive, x, spread(conv, self.attention.out_proj, self.mixed(y, conv)))
        y = passing(F.gelu, spread(conv, self.up, passing(self.norm2, x)))
        x = add(by_positive, x, spread(conv, self.down, y))
        return passing(self.norm3, x)


class AttnLRPBlock(AttentionBlock):
    """The same block with the rules of Achtibat et al. 2024 for the softmax and the products of two signals."""

    attention_rules = "attnlrp"

    def mixed(self, y, conv):
        queries, keys, values = (spread(conv, lambda v, i=i: self.heads(v, i), y) for i in range(3))
        logits = product(passing(lambda v: v / 2**0.5, queries), moving(lambda v: v.transpose(1, 2), keys))
        return moving(lambda v: v.transpose(0, 1).reshape(1, 9, 4), product(softmax(logits), values))


class Hidden(Construct):
    """Linear layers between convolutions and head: two with an activation, the first merged with its BatchNorm."""

    def build(self):
        self.first = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8))
        self.second, self.third = nn.Linear(8, 5), nn.Linear(5, 4)

    def middle(self, x):
        h = self.first(x.flatten(1)).relu()
        return self.third(self.second(h).tanh())[..., None, None]

    def slow(self, x, conv, linear):
        h = passing(torch.relu, spread(linear, self.first, moving(lambda v: v.flatten(1), x)))
        h = spread(linear, self.third, passing(torch.tanh, spread(linear, self.second, h)))
        return moving(lambda v: v[..., None, None], h)


CASES = [
    *((kind, "epsilon_plus") for kind in (
        Residual, Dense, Inception, SqueezeExcitation, Shuffle, InvertedBottleneck, AttentionBlock, AttnLRPBlock,
        Hidden,
    )),
    *((kind, "zplus") for kind in (Residual, SqueezeExcitation, AttentionBlock, Hidden)),
    *((kind, "epsilon_alpha2_beta1") for kind in (Dense, InvertedBottleneck, AttnLRPBlock, Hidden)),
]  # fmt: skip


def built(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind().double()
        images = torch.randn(4, 3, kind.size, kind.size, dtype=torch.float64)
        settle(model, images)
    return replace_stem(model), images[:1]


@pytest.mark.parametrize(("kind", "composite"), CASES)
def test_a_construct_agrees_with_the_slow_formula(kind, composite):
    model, image = built(kind)
    rules = get_composite(composite, attention=kind.attention_rules)
    explanation = EdgeFilterAttribution(model, rules, calibrate=False).explain(image, 1)
    output, base, pixels, responses = model.relevances(image, 1, composite)
    assert_close(output, model(image), rtol=0, atol=1e-12)
    assert_close(explanation.base, base[None], rtol=0, atol=1e-12)
    for got, want in ((explanation.pixel, pixels), (explanation.response, responses)):
        assert_close(got.flatten(), want.flatten(), rtol=0, atol=1e-8 * float(want.abs().max()))
    if kind is not AttnLRPBlock:  # whose softmax does not conserve
        assert_close(pixels.sum(), output[0, 1] - base, rtol=1e-8, atol=0)


class Spelled(AttnLRPBlock):
    """Attention in other words than those of nn.MultiheadAttention."""

    spelling = staticmethod(F.scaled_dot_product_attention)

    def attend(self, tokens):
        projected = F.linear(tokens, self.attention.in_proj_weight, self.attention.in_proj_bias)
        heads = (part.unflatten(2, (2, 2)).transpose(1, 2) for part in projected.chunk(3, -1))
        mixed = self.spelling(*heads)
        return self.attention.out_proj(mixed.transpose(1, 2).flatten(2))

    def forward(self, images):
        x = self.patches(self.stem(images).relu()).flatten(2).transpose(1, 2) + self.positions
        x = x + self.attend(self.norm1(x))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(self.norm3(x).mean(1))


SPELLINGS = {
    "in one function": F.scaled_dot_product_attention,
    "by operators": lambda q, k, v: ((q / 2**0.5) @ k.mT).softmax(-1) @ v,
    "scaled later": lambda q, k, v: F.softmax(q @ k.transpose(-2, -1) * 2**-0.5, dim=-1) @ v,
    "by Einstein": lambda q, k, v: torch.einsum(
        "bhij,bhjd->bhid", torch.softmax(torch.einsum("bhid,bhjd->bhij", q, k) / 2**0.5, -1), v
    ),
}


@pytest.mark.parametrize("attention", ["constant", "attnlrp"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_attention_gets_its_rule_in_every_spelling(spelling, attention):
    """Those of nn.MultiheadAttention, which agree with the slow formula."""
    model, image = built(AttentionBlock)
    other, _ = built(Spelled)
    other.spelling = SPELLINGS[spelling]
    rules = get_composite("epsilon_plus", attention=attention)
    want, got = (
        EdgeFilterAttribution(net, rules, calibrate=False).attribute(image, 1) for net in (model, other)
    )
    assert_close(got, want, rtol=0, atol=1e-10 * float(want.abs().max()))


def test_the_rules_for_attention_are_two():
    """Held weights hand nothing to queries and keys, those of AttnLRP do."""
    model, image = built(AttentionBlock)
    held, shared = (
        EdgeFilterAttribution(
            model, get_composite("epsilon_plus", attention=name), calibrate=False
        ).attribute(image, 1)
        for name in ("constant", "attnlrp")
    )
    assert (held - shared).abs().max() > 0.01 * held.abs().max()
