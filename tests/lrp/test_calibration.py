"""The default: measured effects of the colors, divided by relevance and by a path gradient."""

from itertools import pairwise

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.attribution import attribution
from edgefilter.lrp.calibration import Measurement, calibrated, measure, settled
from edgefilter.lrp.graph import RewrittenModel

NUMBERS = st.lists(st.floats(-10, 10).filter(lambda x: x == 0 or abs(x) > 1e-3), min_size=1, max_size=6)


def seen_by(attr, images, target, monkeypatch):
    """Explain, and return the explanation with the measurement that was made for it."""
    found = []
    monkeypatch.setattr(attribution, "measure", lambda *given: found.append(measure(*given)) or found[-1])
    return attr.explain(images, target), found[-1]


# settled


@given(NUMBERS, st.floats(-10, 10))
def test_settled_values_sum_to_the_total(values, total):
    """Unless there is nothing to scale, or opposite values of one size have no total of their own."""
    values, total = torch.tensor(values).double(), torch.tensor(total).double()
    found = settled(values, total)
    wanted = total if (values != 0).any() else torch.tensor(0.0).double()
    assert_close(found.sum(), wanted, rtol=1e-9, atol=1e-9)
    assert (found[values == 0] == 0).all()


@given(NUMBERS, st.floats(-10, 10).filter(lambda x: x == 0 or abs(x) > 1e-3))
def test_settled_values_keep_signs_and_order_where_there_are_both_signs(values, total):
    values = torch.tensor([*values, 0.5, -0.5]).double()
    found = settled(values, torch.tensor(total).double())
    assert (found.sign() == values.sign()).all()
    assert (found[values.argsort()].diff() >= 0).all()


def test_the_factor_solves_its_equation():
    """An independent root: the positive t with t p - n / t = total."""
    values = torch.tensor([2.0, 0.5, -1.0, -3.0]).double()
    for total in (-7.0, -0.1, 0.0, 0.1, 7.0):
        root = brentq(lambda t, total=total: 2.5 * t - 4.0 / t - total, 1e-6, 1e6, xtol=1e-14)
        wanted = torch.where(values > 0, values * root, values / root)
        assert_close(settled(values, torch.tensor(total).double()), wanted, rtol=1e-9, atol=1e-9)


def test_others_take_the_place_of_zeros():
    values = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    found = settled(values, torch.tensor([4.0, 8.0]), torch.tensor([[1.0, 1.0], [5.0, 0.0]]))
    assert_close(found, torch.tensor([[2.0, 2.0], [2.0, 6.0]]))


# measure


class Gated(nn.Module):
    """A squeeze-and-excitation gate, a token mixer and a normalisation: what rules hold constant has a gradient."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.gate = torchvision.ops.SqueezeExcitation(8, 4)
        self.norm = nn.LayerNorm(8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        tokens = self.norm(self.gate(nn.functional.silu(self.stem(images))).flatten(2).transpose(1, 2))
        mixed, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        return self.head((tokens + mixed).mean(1))


class Shared(nn.Module):
    """Two readers of the responses: neither speaks for all of them."""

    def __init__(self):
        super().__init__()
        self.filters = ef.EdgeFilterBank2d("sobel", 3, padding=1)
        self.first, self.second = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        responses = self.filters(images)
        return self.head((self.first(responses).relu() + self.second(responses).relu()).mean((2, 3)))


class SelfPadded(nn.Conv2d):
    """Pads its inputs on two sides."""

    def forward(self, images):
        return super().forward(nn.functional.pad(images, (0, 1, 0, 1)))


class Normalized(nn.Conv2d):
    """Divides by the norm of all its weights: what reads one color alone would have another one."""

    def forward(self, images):
        return self._conv_forward(images, self.weight / self.weight.norm(), self.bias)


def built_on_filters(*layers):
    return nn.Sequential(
        ef.EdgeFilterBank2d("sobel", 3, padding=1),
        *layers,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


READERS = {  # a model on a bank, and the convolution that alone reads the responses, if any
    "mixing": (lambda: ef.replace_stem(torchvision.models.resnet18(num_classes=5)), "conv1.mixing"),
    "mirrored": (
        lambda: built_on_filters(nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect"), nn.ReLU()),
        "1",
    ),
    "without bias": (lambda: built_on_filters(nn.Conv2d(6, 6, 3, stride=2, bias=False), nn.ReLU()), "1"),
    "in groups": (lambda: built_on_filters(nn.Conv2d(6, 6, 3, groups=3), nn.ReLU()), None),
    "rectified": (lambda: built_on_filters(nn.ReLU(), nn.Conv2d(6, 6, 3)), None),
    "two": (Shared, None),
    "normalised": (lambda: built_on_filters(Normalized(6, 6, 3), nn.ReLU()), None),
    "padding itself": (lambda: built_on_filters(SelfPadded(6, 6, 3), nn.ReLU()), "1"),
}


def randomized(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double().eval()


NETWORKS = {
    "gates and attention": Gated,
    "resnet18": lambda: torchvision.models.resnet18(num_classes=5),
    "mobilenet_v3_small": lambda: torchvision.models.mobilenet_v3_small(num_classes=5),
    "densenet121": lambda: torchvision.models.densenet121(num_classes=5),
}


@pytest.mark.parametrize("name", READERS)
def test_the_only_convolution_that_reads_the_responses_is_known(name, generator):
    build, path = READERS[name]
    model, images = randomized(build), torch.randn(1, 3, 16, 16, generator=generator).double()
    bank = next(path for path, module in model.named_modules() if isinstance(module, ef.EdgeFilterBank2d))
    found = RewrittenModel(model, bank, (images,)).reader
    assert found is None if path is None else type(found) is type(model.get_submodule(path))


def test_a_color_that_is_not_read_has_no_effect_at_all(generator, monkeypatch):
    """Exactly none, also in single precision: nothing downstream may be computed another way."""
    model = randomized(READERS["mixing"][0]).float()
    model.conv1.mixing.weight.data[:, :49] = 0
    images = torch.randn(4, 3, 64, 64, generator=generator)
    explanation, found = seen_by(ef.EdgeFilterAttribution(model), images, 1, monkeypatch)
    assert (found.effect[:, 0] == 0).all()
    assert (found.effect[:, 1:] != 0).all()
    assert (explanation.color[:, 0] == 0).all()


@pytest.mark.parametrize("name", [*NETWORKS, *READERS])
def test_effects_and_slopes_are_those_of_the_model(name, generator, monkeypatch):
    """Against the model itself: outputs with a color silenced, and automatic differentiation of its tail."""
    model = randomized(READERS[name][0] if name in READERS else lambda: ef.replace_stem(NETWORKS[name]()))
    images = torch.randn(2, 3, 32, 32, generator=generator).double()
    attr = ef.EdgeFilterAttribution(model, start="contrast")
    _, found = seen_by(attr, images, 1, monkeypatch)
    front, tail = ef.split(model)
    response = front(images).detach()

    def margin(values):
        output = tail(values)
        return output[:, 1] - output[:, [0, 2, 3, 4]].mean(1)

    point = (0.3 * response).requires_grad_()
    slope = torch.autograd.grad(margin(point).sum(), point)[0] * response
    assert_close(found.slope.flatten(1, 2), slope, rtol=1e-7, atol=1e-9)
    for number, color in enumerate(("red", "green", "blue")):
        drop = margin(response) - attr.silence(images, 1, colors=[color])
        assert_close(found.effect[:, number], drop.detach(), rtol=1e-6, atol=1e-9)


def test_rounding_is_no_effect():
    """An output that moves by one unit in the last place has not moved."""
    response = torch.ones(1, 2, 1, 1, 1)
    found = measure(lambda r: 1000 + (r[:, 0] * 6e-5).sum((1, 2, 3)), response, torch.tensor([1000.0001]))
    assert (found.effect == 0).all()


# calibrated


def test_color_scores_are_the_settled_effects(small_net, generator, monkeypatch):
    images = torch.randn(3, 3, 12, 12, generator=generator, dtype=torch.float64)
    model = ef.replace_stem(small_net)
    explanation, found = seen_by(ef.EdgeFilterAttribution(model), images, 1, monkeypatch)
    assert_close(explanation.color, settled(found.effect, explanation.output), rtol=1e-9, atol=1e-9)
    assert_close(explanation.pixel.sum((1, 2, 3)), explanation.output, rtol=1e-9, atol=1e-9)


def test_a_case_by_hand():
    """Two colors of two filters and one place: effects 6 and 2, relevance 2 2 2 2, slopes 3 1 1 1, output 8.

    Colors 6 and 2 as measured. Weights 2 / (1 + size / 1.5): 2/3, 6/5, 6/5, 6/5; slopes become 2, 6/5, 6/5, 6/5: for red
    6 * (5/8, 3/8). The slopes count 0.4, the relevance 0.6.
    """
    found = Measurement(torch.tensor([[6.0, 2.0]]), torch.tensor([3.0, 1, 1, 1]).reshape(1, 2, 2, 1, 1))
    scores = calibrated(torch.full((1, 2, 2, 1, 1), 2.0), found).flatten()
    red = torch.tensor([0.4 * 3.75 + 0.6 * 3, 0.4 * 2.25 + 0.6 * 3])
    assert_close(scores, torch.cat([red, torch.tensor([1.0, 1.0])]))


def test_agreement_of_all_changes_nothing(generator):
    """Where slopes and effects are those of the relevance, it stays: linear networks of contributions of one sign."""
    relevance = torch.rand(2, 3, 4, 5, 5, generator=generator).double()
    found = Measurement(relevance.sum((2, 3, 4)), relevance.clone())
    assert_close(calibrated(relevance, found), relevance, rtol=1e-12, atol=1e-12)


def test_scores_lie_between_those_of_relevance_and_of_slopes(generator):
    """A weight of zero asks relevance alone, one of one slopes alone, others mix the scores of pairs."""
    relevance, slope = torch.randn(2, 2, 3, 4, 1, 1, generator=generator).double()
    found = Measurement(torch.tensor([[3.0, 1.0, -1.0], [2.0, 2.0, 2.0]]).double(), slope)
    first, mixed, last = (calibrated(relevance, found, weight=weight) for weight in (0.0, 0.3, 1.0))
    assert_close(mixed, 0.7 * first + 0.3 * last, rtol=1e-9, atol=1e-12)
    pairs, totals = relevance[..., 0, 0], relevance.sum((1, 2, 3, 4))
    assert_close(first[..., 0, 0], settled(pairs, settled(found.effect, totals)), rtol=1e-9, atol=1e-12)
    assert not torch.allclose(first, last)


def test_slopes_that_cancel_count_twice_what_they_sum_to(generator):
    """Three times the size of the color scores is as much as six times; less than twice is taken as it is."""
    relevance, slope = (
        torch.rand(1, 2, 3, 1, 1, generator=generator).double(),
        torch.ones(1, 2, 3, 1, 1).double(),
    )
    slope[:, :, 0] = -1.9
    effect = relevance.sum((2, 3, 4))
    unit = slope * effect.sum() / slope.abs().sum()
    found = [calibrated(relevance, Measurement(effect, k * unit), weight=1.0) for k in (0.5, 1, 1.9, 2, 3, 6)]
    for less, more in pairwise(found[:4]):
        assert not torch.allclose(less, more, rtol=1e-3)
    for saturated in found[4:]:
        assert_close(saturated, found[3], rtol=1e-9, atol=1e-12)


def test_what_has_neither_relevance_nor_slope_gets_nothing(generator):
    relevance, slope = torch.rand(2, 1, 3, 4, 5, 5, generator=generator).double()
    relevance[:, 1], slope[:, 1] = 0, 0
    relevance[:, 2, 1:], slope[:, 2, 2:] = 0, 0
    scores = calibrated(relevance, Measurement(torch.tensor([[1.0, 5.0, -2.0]]).double(), slope)).sum((3, 4))
    assert (scores[:, 1] == 0).all()
    assert (scores[:, 2, 2:] == 0).all()
    assert_close(scores.sum(), relevance.sum())


def test_a_black_image_is_explained_as_by_its_rules(small_net):
    """Responses of zero have no effect and no slope: what is left are the rules."""
    model, images = ef.replace_stem(small_net), torch.zeros(1, 3, 12, 12, dtype=torch.float64)
    expected = ef.EdgeFilterAttribution(model, "epsilon_plus").attribute(images, 1)
    assert_close(ef.EdgeFilterAttribution(model).attribute(images, 1), expected, rtol=1e-9, atol=1e-12)


def test_a_wild_gradient_does_not_spoil_the_sum(generator):
    """Gradients can cancel from a million times the output, and foretell the effects even so."""
    relevance = torch.rand(2, 3, 4, 5, 5, generator=generator)
    slope = 1e6 * torch.randn(2, 3, 4, 1, 1, generator=generator)
    slope[:, :, 3] = -slope[:, :, :3].sum(2)
    effect = slope.sum((2, 3, 4)) + 0.1 * torch.rand(2, 3, generator=generator)
    found = calibrated(relevance, Measurement(effect, slope.expand(2, 3, 4, 5, 5) / 25))
    assert_close(found.sum((1, 2, 3, 4)), relevance.sum((1, 2, 3, 4)), rtol=1e-4, atol=0)
    assert (found.abs().sum((1, 2, 3, 4)) < 3 * relevance.sum((1, 2, 3, 4))).all()


@pytest.mark.parametrize("factor", [3.0, -2.0])
def test_scores_scale_with_the_output(small_net, generator, factor):
    model = ef.replace_stem(small_net)
    images = torch.randn(2, 3, 12, 12, generator=generator, dtype=torch.float64)
    before = ef.EdgeFilterAttribution(model).attribute(images, 1, score="color_edge")
    with torch.no_grad():
        head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        head.weight.mul_(factor)
        head.bias.mul_(factor)
    after = ef.EdgeFilterAttribution(model).attribute(images, 1, score="color_edge")
    assert_close(after, factor * before, rtol=1e-8, atol=1e-9)
