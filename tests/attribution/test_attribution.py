"""The attribution: its laws, its manners towards the user's model, Captum's contract and bad input."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from captum.attr import GradientAttribution, InputXGradient, NoiseTunnel
from captum.metrics import infidelity, infidelity_perturb_func_decorator, sensitivity_max
from torch import nn
from torch.testing import assert_close
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock
from zennit.composites import EpsilonPlus
from zennit.core import BasicHook

import edgefilter as ef

CONSERVING = [name for name in ef.composite_names() if name != "epsilon"]
SCORES = ["pixel", "color", "edge", "color_edge", "response"]
both = pytest.mark.parametrize("calibrate", [True, False], ids=["calibrated", "relevance"])
each_composite = pytest.mark.parametrize("composite", ef.composite_names())


def seeded(build, seed=0):
    """Build a network in float64 with random weights, biases and BatchNorm statistics, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build().double()
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                nn.init.normal_(module.bias, std=0.3)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                module.momentum = 0.5
        for _ in range(8):  # calibrate the running statistics
            net(torch.randn(8, 3, 16, 16, dtype=torch.float64))
    return net.eval()


def vgg_like():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 12),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(12, 5),
    )


class Residual(nn.Module):
    """The blocks of ResNet-18, with and without a convolution on the short cut."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 7, 2, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        short_cut = nn.Sequential(nn.Conv2d(6, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
        self.blocks = nn.Sequential(BasicBlock(6, 6), BasicBlock(6, 8, 2, short_cut), BasicBlock(8, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        return self.head(
            torch.flatten(nn.functional.adaptive_avg_pool2d(self.blocks(self.stem(images)), 1), 1)
        )


class Inverted(nn.Module):
    """Inverted bottlenecks as in EfficientNet-Lite0 and MobileNetV2: linear ends, added up."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.blocks = nn.Sequential(
            InvertedResidual(8, 8, 1, 3), InvertedResidual(8, 12, 2, 2), InvertedResidual(12, 12, 1, 4)
        )
        self.head = nn.Linear(12, 5)

    def forward(self, images):
        features = self.blocks(self.stem(images))
        return self.head(nn.functional.adaptive_avg_pool2d(features, 1).flatten(1))


NETS = {"vgg_like": vgg_like, "residual": Residual, "inverted": Inverted}


@pytest.fixture(scope="module")
def nets():
    return {name: ef.replace_stem(seeded(build)) for name, build in NETS.items()}


@pytest.fixture
def net(nets):
    return copy.deepcopy(nets["vgg_like"])


@pytest.fixture
def images(generator):
    return torch.randn(3, 3, 16, 16, generator=generator, dtype=torch.float64)


def state_of(model):
    """Describe all that a call must leave alone; parameters by identity and by value."""
    return {
        "parameters": [(name, id(p), p._version, p.requires_grad) for name, p in model.named_parameters()],
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "grads": [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()],
        "buffers": [(name, id(b)) for name, b in model.named_buffers()],
        "modules": [(name, id(m), m.training, sorted(m.__dict__)) for name, m in model.named_modules()],
        "hooks": [
            len(h)
            for m in model.modules()
            for key, h in vars(m).items()
            if "hook" in key and h is not None and hasattr(h, "__len__")
        ],
    }


def assert_same_state(before, after):
    assert before["parameters"] == after["parameters"]
    assert before["buffers"] == after["buffers"]
    assert before["modules"] == after["modules"]
    assert before["hooks"] == after["hooks"]
    assert all(torch.equal(value, after["values"][name]) for name, value in before["values"].items())
    for old, new in zip(before["grads"], after["grads"], strict=True):
        assert (old is None) == (new is None)
        assert old is None or (old[0] == new[0] and torch.equal(old[1], new[1]))


# Law 3: sums and conservation


@both
@pytest.mark.parametrize("kind", NETS)
@each_composite
def test_every_score_sums_to_the_same_total(nets, images, kind, composite, calibrate):
    """Colors, filters and places are views of one tensor, whatever the rules."""
    attr = ef.EdgeFilterAttribution(nets[kind], composite, calibrate=calibrate)
    response = attr.attribute(images, 2, score="response")
    total = response.sum((1, 2, 3, 4))
    scale = float(response.abs().sum())
    for score in ("color", "edge", "color_edge"):
        assert_close(
            attr.attribute(images, 2, score=score).flatten(1).sum(1), total, rtol=0, atol=1e-12 * scale
        )


def chosen(output, targets, against):
    """Return the outputs that are explained."""
    value = output[range(len(output)), targets]
    if isinstance(against, int):
        return value - output[:, against]
    return value if against is None else value - (output.sum(1) - value) / (output.shape[1] - 1)


# Every composite on every network, and each pair of them against one thing.
SUMS = [
    (composite, kind, (None, "rest", 1)[(i + j) % 3])
    for i, composite in enumerate(CONSERVING)
    for j, kind in enumerate(NETS)
]


@pytest.mark.parametrize(("composite", "kind", "against"), SUMS)
def test_base_and_relevance_add_up_to_the_explained_output(nets, images, kind, composite, against):
    """At the responses and at the pixels, to rounding beside the relevance that was handed around."""
    attr = ef.EdgeFilterAttribution(nets[kind], composite, calibrate=False)
    targets = [0, 4, 2]
    output = chosen(nets[kind](images).detach(), targets, against)
    head = nets[kind][-1] if kind == "vgg_like" else nets[kind].head
    base = chosen(head.bias.detach().expand(3, -1), targets, against)
    explanation = attr.explain(images, targets, against=against)
    assert_close(explanation.output, output, rtol=1e-9, atol=1e-12)
    assert_close(explanation.base, base, rtol=0, atol=1e-12)
    for part in (explanation.response, explanation.pixel):
        scale = float(part.abs().sum(tuple(range(1, part.dim()))).amax())
        assert_close(base + part.flatten(1).sum(1), output, rtol=0, atol=1e-10 * max(scale, 1.0))


@both
@pytest.mark.parametrize("composite", ["epsilon_plus", "zplus", "epsilon_plus_flat"])
@pytest.mark.parametrize("kind", NETS)
def test_relevance_adds_up_in_single_precision(nets, images, kind, composite, calibrate):
    """The default rules share without large terms of opposite sign."""
    net = copy.deepcopy(nets[kind]).float()
    attr = ef.EdgeFilterAttribution(net, composite, calibrate=calibrate)
    relevance, delta = attr.attribute(images.float(), 1, return_convergence_delta=True)
    scale = relevance.abs().flatten(1).sum(1)
    assert relevance.dtype == torch.float32
    assert (delta.abs() <= 1e-4 * scale).all()


@both
@pytest.mark.parametrize("kind", NETS)
def test_a_black_image_loses_nothing(nets, kind, calibrate):
    """All contributions at the stem are zero: squared weights take their place."""
    attr = ef.EdgeFilterAttribution(nets[kind], calibrate=calibrate)
    black = torch.zeros(1, 3, 16, 16, dtype=torch.float64)
    explanation = attr.explain(black, 3)
    carried = explanation.output - explanation.base
    assert_close(explanation.total, carried, rtol=0, atol=1e-9)
    assert_close(explanation.pixel.sum((1, 2, 3)), carried, rtol=0, atol=1e-9)


@pytest.mark.parametrize("score", SCORES)
def test_delta_is_base_plus_total_minus_output(net, images, score):
    """Also where the composite does not conserve, by the same sign."""
    attr = ef.EdgeFilterAttribution(net, "epsilon", calibrate=False)
    relevance, delta = attr.attribute(images, 1, return_convergence_delta=True, score=score)
    output, base = net(images)[:, 1].detach(), net[-1].bias[1].detach().expand(3)
    assert_close(delta, base + relevance.flatten(1).sum(1) - output, rtol=0, atol=1e-9)
    assert delta.abs().max() > 1e-3
    again = attr.compute_convergence_delta((relevance, relevance * 0), output, base)
    assert_close(again, delta, rtol=0, atol=1e-12)
    without = attr.compute_convergence_delta(relevance, output)
    assert_close(without, delta - base, rtol=0, atol=1e-12)
    assert attr.has_convergence_delta()


# Independent values


@pytest.mark.parametrize("bias", [False, True])
def test_epsilon_with_biases_is_input_times_gradient(images, bias):
    """In a network of ReLUs, epsilon to zero: the gradient comes from plain autograd and Captum."""
    net = seeded(vgg_like)
    if not bias:
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.zeros_(module.bias)
    net[1] = nn.Identity().eval()
    model = ef.replace_stem(net)
    attr = ef.EdgeFilterAttribution(model, "epsilon", calibrate=False)
    expected = InputXGradient(model).attribute(images.clone().requires_grad_(), 3).detach()
    assert_close(attr.attribute(images, 3), expected, rtol=1e-5, atol=1e-6)
    front, tail = ef.split(model)
    responses = front(images).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(tail(responses)[:, 3].sum(), responses)
    by_hand = (responses.detach() * gradient).reshape(3, 3, 9, 16, 16)
    assert_close(attr.attribute(images, 3, score="response"), by_hand, rtol=1e-5, atol=1e-6)
    if not bias:
        assert_close(by_hand.sum((1, 2, 3, 4)), model(images)[:, 3].detach(), rtol=1e-9, atol=1e-9)


def hand_worked():
    """Two filters on a 4x4 image, summed with weights 1 and -2 over all places and counted double."""
    right = ef.Kernel("right", [[0, 0, 0], [0, 0, 1], [0, 0, 0]], family="test", source="by hand")
    here = ef.Kernel("here", [[0, 0, 0], [0, 1, 0], [0, 0, 0]], family="test", source="by hand")
    stem = ef.EdgeFilterConv2d(1, 1, ef.FilterBank([here, right], size=3), bias=True)
    head = nn.Linear(4, 1)
    with torch.no_grad():
        stem.mixing.weight.copy_(torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1))
        stem.mixing.bias.fill_(3.0)
        head.weight.fill_(1.0)
        head.bias.zero_()
    return nn.Sequential(stem, nn.ReLU(), nn.Flatten(), head).double().eval()


def test_a_four_by_four_image_by_hand():
    """Without its bias, each place gives x + 2 x_right; relevance x + 2 x_right + 3 is shared 1 to 2.

    Image rows 0..3 are [1, 1, 1, 1]: each of the 4 places gives 1 + 2 = 3, with bias 6; 24 in all. Filter "here" gets
    2 of each 6, "right" 4; both kernels have one weight, so the pixel below it gets all of it.
    """
    attr = ef.EdgeFilterAttribution(hand_worked(), calibrate=False)
    image = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    result = attr.explain(image)
    assert_close(result.output, torch.tensor([24.0]).double(), rtol=0, atol=1e-12)
    assert_close(result.edge, torch.tensor([[8.0, 16.0]]).double(), rtol=0, atol=1e-9)
    assert_close(result.color, torch.tensor([[24.0]]).double(), rtol=0, atol=1e-9)
    expected = torch.zeros(4, 4).double()
    expected[1:3, 1:3] += 2
    expected[1:3, 2:4] += 4
    assert_close(result.pixel[0, 0], expected, rtol=0, atol=1e-9)
    assert_close(result.edge_map("right")[0], torch.full((2, 2), 4.0).double(), rtol=0, atol=1e-9)


# Law 4: nothing is changed


class Wrapped(nn.Module):
    """A network inside another."""

    def __init__(self):
        super().__init__()
        self.body = seeded(vgg_like)

    def forward(self, images):
        return self.body(images)


@both
@pytest.mark.parametrize("score", SCORES)
def test_a_call_leaves_model_and_inputs_as_they_were(net, images, score, calibrate):
    """Parameters by identity, value, flag and gradient; hooks; training flags; the inputs."""
    net(images).sum().backward()
    before = state_of(net)
    images.requires_grad_()
    images.grad = torch.ones_like(images)
    kept = images.detach().clone()
    result = ef.EdgeFilterAttribution(net, calibrate=calibrate).attribute(images, 1, score=score)
    assert_same_state(before, state_of(net))
    assert images.requires_grad
    assert torch.equal(images.grad, torch.ones_like(images))
    assert torch.equal(images, kept)
    assert not result.requires_grad
    plain = images.detach()
    ef.EdgeFilterAttribution(net, calibrate=calibrate).attribute(plain, 1, score=score)
    assert not plain.requires_grad


def failing_composite(error):
    """Give every layer a rule that raises on the way back."""

    def raising(_grad, _outputs):
        raise error

    hook = BasicHook(gradient_mapper=raising)
    from zennit.composites import LayerMapComposite

    return LayerMapComposite([(nn.Linear, hook)])


@both
def test_a_rule_that_raises_leaves_everything_as_it_was(net, images, calibrate):
    """And the next call gives what it gave before."""
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    expected = attr.attribute(images, 1)
    before = state_of(net)
    broken = ef.EdgeFilterAttribution(
        net, failing_composite(ArithmeticError("on purpose")), calibrate=calibrate
    )
    with pytest.raises(ArithmeticError, match="on purpose"):
        broken.attribute(images, 1)
    assert_same_state(before, state_of(net))
    assert torch.equal(attr.attribute(images, 1), expected)


@both
@pytest.mark.parametrize("first", [False, True])
def test_a_forward_that_raises_leaves_everything_as_it_was(net, images, first, calibrate):
    """Images too large for the linear layer, in the first call and in a later one."""
    net[6] = nn.Identity().eval()
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    small = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    before = state_of(net)
    if not first:
        attr.attribute(small, 1)
    with pytest.raises(RuntimeError, match=r"shape|size"):
        attr.attribute(images, 1)
    assert_same_state(before, state_of(net))
    assert not images.requires_grad
    attr.attribute(small, 1)


@both
@pytest.mark.parametrize("target", [99, None, [1], (0, 0)])
def test_a_wrong_target_leaves_everything_as_it_was(net, images, target, calibrate):
    before = state_of(net)
    with pytest.raises((IndexError, AssertionError)):
        ef.EdgeFilterAttribution(net, calibrate=calibrate).attribute(images, target)
    assert_same_state(before, state_of(net))


@both
def test_a_module_of_the_user_that_raises_is_passed_on(images, calibrate):
    model = ef.replace_stem(Wrapped().eval())
    attr = ef.EdgeFilterAttribution(model, calibrate=calibrate)
    attr.attribute(images, 1)
    model.body[11] = nn.Linear(7, 5).double().eval()
    before = state_of(model)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        attr.attribute(images, 1)
    assert_same_state(before, state_of(model))


@both
def test_grad_mode_does_not_matter(net, images, calibrate):
    """Under no_grad, with inference tensors, and with frozen parameters: the same result, the mode as it was."""
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    expected = attr.attribute(images, 1)
    with torch.no_grad():
        assert torch.equal(attr.attribute(images, 1), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        inference = images.clone()
        assert torch.equal(attr.attribute(inference, 1), expected)
        assert torch.is_inference_mode_enabled()
    assert torch.equal(attr.attribute(inference, 1), expected)
    assert torch.equal(
        ef.EdgeFilterAttribution(net.requires_grad_(False), calibrate=calibrate).attribute(images, 1),
        expected,
    )


@both
@pytest.mark.parametrize("objects", [1, 2])
def test_threads_do_not_disturb_each_other(net, images, objects, calibrate):
    """Four at once, on one attribution and on two, with one composite object."""
    composite = EpsilonPlus()
    attrs = [ef.EdgeFilterAttribution(net, composite, calibrate=calibrate) for _ in range(objects)]
    expected = [
        ef.EdgeFilterAttribution(net, EpsilonPlus(), calibrate=calibrate).attribute(images, t)
        for t in range(5)
    ]
    before = state_of(net)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(attrs[i % objects].attribute, images, i % 5) for i in range(20)]
        results = [job.result() for job in jobs]
    for i, result in enumerate(results):
        assert_close(result, expected[i % 5], rtol=0, atol=1e-12)
    assert_same_state(before, state_of(net))


@both
def test_the_model_may_run_while_it_is_explained(net, images, calibrate):
    """The user's model is not touched, so its own calls in other threads give their usual output."""
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    expected = net(images)
    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(attr.attribute, images, 1) for _ in range(8)]
        outputs = [pool.submit(net, images) for _ in range(20)]
        assert all(torch.equal(job.result(), expected) for job in outputs)
        assert all(torch.equal(job.result(), busy[0].result()) for job in busy)


# Law 5


@both
@each_composite
@pytest.mark.parametrize("kind", NETS)
def test_a_batch_gives_the_same_as_its_samples(nets, images, kind, composite, calibrate):
    attr = ef.EdgeFilterAttribution(nets[kind], composite, calibrate=calibrate)
    targets = [4, 0, 1]
    batch = attr.explain(images, targets)
    for i, target in enumerate(targets):
        single = attr.explain(images[i : i + 1], target)
        scale = float(single.response.abs().sum())
        assert_close(batch.response[i], single.response[0], rtol=0, atol=1e-10 * scale)
        assert_close(batch.pixel[i], single.pixel[0], rtol=0, atol=1e-10 * scale)


@both
def test_a_bright_neighbour_in_the_batch_changes_nothing(nets, images, calibrate):
    """What is rounding for one image is not for another."""
    attr = ef.EdgeFilterAttribution(nets["vgg_like"], calibrate=calibrate)
    alone = attr.attribute(images[:1], 1)
    together = attr.attribute(torch.cat([images[:1], 1e12 * images[1:]]), 1)[:1]
    assert_close(together, alone, rtol=1e-9, atol=1e-12)


# Law 6


def wired(color, filters, stem_options, bias):
    """Logit o reads one color through filters 2o and 2o + 1 only."""
    stem = ef.EdgeFilterConv2d(3, 4, "sobel", bias=bias, **stem_options) if filters == "color" else None
    assert stem is not None
    weight = torch.zeros(4, 3, 2)
    weight[0, color, 0], weight[1, color, 0] = 1.0, -1.5
    weight[2, color, 1], weight[3, color, 1] = 0.5, -2.0
    with torch.no_grad():
        stem.mixing.weight.copy_(weight.reshape(4, 6, 1, 1))
        if bias:
            stem.mixing.bias.copy_(torch.tensor([0.3, -0.2, 0.1, 0.4]))
    head = nn.Linear(4, 2, bias=bias)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.5]]))
    return nn.Sequential(stem, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).double().eval()


@both
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"padding": 1, "dilation": 2}], ids=str)
@each_composite
def test_colors_and_filters_that_the_target_does_not_read_get_exactly_zero(
    images, composite, options, bias, calibrate
):
    """Hand-wired: color ``c`` only; target 0 reads sobel_x only, target 1 sobel_y only."""
    for color, target in itertools.product(range(3), range(2)):
        attr = ef.EdgeFilterAttribution(wired(color, "color", options, bias), composite, calibrate=calibrate)
        scores = attr.attribute(images, target, score="color_edge")
        read = torch.zeros(3, 2, dtype=torch.bool)
        read[color, target] = True
        assert (scores[:, ~read] == 0).all()
        assert (scores[:, read] != 0).all()
        pixel = attr.attribute(images, target)
        assert (pixel[:, [c for c in range(3) if c != color]] == 0).all()


@both
@each_composite
@pytest.mark.parametrize("score", SCORES)
def test_scaling_the_target_output_scales_every_score(net, images, composite, score, calibrate):
    expected = ef.EdgeFilterAttribution(net, composite, calibrate=calibrate).attribute(images, 2, score=score)
    scaled = copy.deepcopy(net)
    with torch.no_grad():
        scaled[-1].weight[2] *= 7.5
        scaled[-1].bias[2] *= 7.5
    got = ef.EdgeFilterAttribution(scaled, composite, calibrate=calibrate).attribute(images, 2, score=score)
    scale = float(expected.abs().max())
    assert_close(got, 7.5 * expected, rtol=1e-6, atol=1e-7 * scale)


# Law 7


@both
@each_composite
def test_permuting_the_kernels_permutes_the_scores(net, images, composite, calibrate):
    """The bank's order is a matter of names."""
    order = torch.randperm(9, generator=torch.Generator().manual_seed(5)).tolist()
    bank = net[0].bank
    turned = copy.deepcopy(net)
    turned[0] = (
        ef.EdgeFilterConv2d(
            3, 6, ef.FilterBank([bank.kernels[i] for i in order], normalize=bank.normalize), padding=1
        )
        .double()
        .eval()
    )
    with torch.no_grad():
        weight = net[0].mixing.weight.reshape(6, 3, 9)[:, :, order]
        turned[0].mixing.weight.copy_(weight.reshape(6, 27, 1, 1))
        turned[0].mixing.bias.copy_(net[0].mixing.bias)
    assert_close(turned(images), net(images), rtol=1e-9, atol=1e-12)
    expected = ef.EdgeFilterAttribution(net, composite, calibrate=calibrate).explain(images, 1)
    got = ef.EdgeFilterAttribution(turned, composite, calibrate=calibrate).explain(images, 1)
    scale = float(expected.response.abs().sum())
    assert_close(got.response, expected.response[:, :, order], rtol=0, atol=1e-9 * scale)
    assert_close(got.pixel, expected.pixel, rtol=0, atol=1e-9 * scale)
    assert list(got.filters) == [expected.filters[i] for i in order]


@both
@each_composite
def test_permuting_the_colors_permutes_the_scores(net, images, composite, calibrate):
    order = [2, 0, 1]
    turned = copy.deepcopy(net)
    with torch.no_grad():
        weight = net[0].mixing.weight.reshape(6, 3, 9)[:, order]
        turned[0].mixing.weight.copy_(weight.reshape(6, 27, 1, 1))
    expected = ef.EdgeFilterAttribution(net, composite, calibrate=calibrate).explain(images, 1)
    got = ef.EdgeFilterAttribution(turned, composite, calibrate=calibrate).explain(images[:, order], 1)
    scale = float(expected.response.abs().sum())
    assert_close(got.response, expected.response[:, order], rtol=0, atol=1e-9 * scale)
    assert_close(got.pixel, expected.pixel[:, order], rtol=0, atol=1e-9 * scale)


# Each call explains the model as it is then


def fresh(net, images):
    return ef.EdgeFilterAttribution(copy.deepcopy(net)).attribute(images, 1)


def change_in_place(net):
    with torch.no_grad():
        net[4].weight.mul_(torch.linspace(0.5, 2, 8).double().reshape(8, 1, 1, 1))
        net[1].running_mean.add_(0.5)
        net[0].mixing.weight.mul_(-1)


def change_by_loading(net):
    net.load_state_dict(ef.replace_stem(seeded(vgg_like, seed=9)).state_dict())


def change_by_assignment(net):
    net[4].weight = nn.Parameter(net[4].weight.detach() * -1)


def change_by_a_step(net):
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.5)
    net(torch.ones(2, 3, 16, 16, dtype=torch.float64)).square().sum().backward()
    optimizer.step()


def change_a_module(net):
    net[4] = nn.Conv2d(6, 8, 3, padding=1).double().eval()
    gc.collect()


def change_the_activation(net):
    net[5] = nn.LeakyReLU(0.3).eval()


def change_the_stem(net):
    net[0] = ef.EdgeFilterConv2d(3, 6, "edges", padding=1).double().eval()


CHANGES = [
    change_in_place,
    change_by_loading,
    change_by_assignment,
    change_by_a_step,
    change_a_module,
    change_the_activation,
    change_the_stem,
]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_the_model_between_calls_are_followed(net, images, change):
    attr = ef.EdgeFilterAttribution(net)
    before = attr.attribute(images, 1)
    change(net)
    after = attr.attribute(images, 1)
    assert not torch.allclose(before, after)
    assert_close(after, fresh(net, images), rtol=1e-9, atol=1e-10)


@both
def test_changing_the_dtype_is_followed(net, images, calibrate):
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    attr.attribute(images, 1)
    net.float()
    assert attr.attribute(images.float(), 1).dtype == torch.float32


@both
def test_many_calls_leave_nothing_behind(net, images, calibrate):
    """Neither tensors nor hooks nor modules pile up."""
    attr = ef.EdgeFilterAttribution(net, EpsilonPlus(), calibrate=calibrate)

    def census():
        gc.collect()
        found = gc.get_objects()
        return (
            len(found),
            sum(issubclass(type(o), torch.Tensor) for o in found),
            sum(issubclass(type(o), nn.Module) for o in found),
        )

    for _ in range(3):
        attr.attribute(images, 1)
    before = census()
    for _ in range(50):
        attr.attribute(images[:1], 1)
    after = census()
    assert after[1:] == before[1:]
    assert after[0] - before[0] < 50


@both
def test_two_calls_give_identical_results(net, images, calibrate):
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    assert torch.equal(attr.attribute(images, 1), attr.attribute(images, 1))


@both
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda attr: pickle.loads(pickle.dumps(attr))]
)
def test_copies_give_the_same_and_are_independent(net, images, duplicate, used, calibrate):
    attr = ef.EdgeFilterAttribution(net, "zplus", calibrate=calibrate)
    expected = attr.attribute(images, 1)
    attr = attr if used else ef.EdgeFilterAttribution(net, "zplus", calibrate=calibrate)
    twin = duplicate(attr)
    assert torch.equal(twin.attribute(images, 1), expected)
    assert torch.equal(attr.attribute(images, 1), expected)


# Captum's contract


def test_the_class_is_a_captum_gradient_attribution(net):
    attr = ef.EdgeFilterAttribution(net)
    assert isinstance(attr, GradientAttribution)
    assert attr.get_name() == "Edge Filter Attribution"
    assert attr.multiplies_by_inputs is True
    assert attr.attribute.__wrapped__.__name__ == "attribute"
    assert not hasattr(attr.attribute.__wrapped__, "__wrapped__")
    with pytest.raises(
        NotImplementedError, match="attribute_future is not implemented for EdgeFilterAttribution"
    ):
        attr.attribute_future()


TARGETS = [
    1,
    (1,),
    torch.tensor(1),
    torch.tensor([1]),
    [1] * 3,
    torch.tensor([1] * 3),
    [(1,)] * 3,
    -4,
    (-4,),
    [(-4,)] * 3,
    [-4] * 3,
    torch.tensor([-4] * 3),
    np.int64(1),
    np.array([1] * 3),
    [np.int64(1)] * 3,
]


@both
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_target_forms_agree(net, images, target, calibrate):
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    assert torch.equal(attr.attribute(images, target), attr.attribute(images, 1))
    assert len(attr.explain(images, target).target) == 3


WRONG_TARGETS = {
    "none": (None, AssertionError, "Target not provided when necessary, .*; got None"),
    "short_list": ([1, 2], AssertionError, "Target list length does not match output"),
    "short_tensor": (torch.tensor([1, 2]), AssertionError, "Tensor target dimension .* is not valid"),
    "float": (1.0, TypeError, r"target must be an integer index, .*; got 1\.0"),
    "truth_value": (True, TypeError, "target must be an integer index, .*; got True"),
    "slice": (slice(0, 1), TypeError, "target must be an integer index, .*; got slice"),
    "one_hot": (
        torch.eye(5)[:3],
        TypeError,
        "target must hold whole numbers .*; got a tensor of torch.float32",
    ),
    "column": (
        torch.ones(3, 1, dtype=torch.long),
        ValueError,
        r"target must have shape \(N,\), .*; got \(3, 1\)",
    ),
    "long_tuple": ((1, 1), AssertionError, "Cannot choose target column"),
    "too_large": (99, IndexError, r"target must be between 0 and 4; got 99\. The output"),
    "too_small": (-6, IndexError, "target must be between 0 and 4; got -6"),
    "one_too_large": ([0, 5, 1], IndexError, "target must be between 0 and 4; got 5"),
    "tuple_too_large": ((5,), IndexError, "target must be between 0 and 4; got 5"),
    "tuples_too_large": ([(0,), (1,), (7,)], IndexError, "target must be between 0 and 4; got 7"),
    "tensor_too_large": (torch.tensor([0, 9, 1]), IndexError, "target must be between 0 and 4; got 9"),
    "scalar_too_large": (torch.tensor(9), IndexError, "target must be between 0 and 4; got 9"),
}


@pytest.mark.parametrize(("target", "error", "match"), WRONG_TARGETS.values(), ids=WRONG_TARGETS)
def test_wrong_targets_are_refused(net, images, target, error, match):
    with pytest.raises(error, match=match):
        ef.EdgeFilterAttribution(net).attribute(images, target)


@both
def test_a_model_of_one_output_needs_no_target(images, calibrate):
    one = ef.replace_stem(
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
        .double()
        .eval()
    )
    attr = ef.EdgeFilterAttribution(one, calibrate=calibrate)
    assert_close(attr.attribute(images), attr.attribute(images, 0), rtol=0, atol=0)
    explanation = attr.explain(images)
    assert explanation.target == (None, None, None)
    flat = nn.Sequential(*one, nn.Flatten(0)).eval()
    assert flat(images).shape == (3,)
    assert_close(
        ef.EdgeFilterAttribution(flat, calibrate=calibrate).attribute(images),
        attr.attribute(images),
        rtol=0,
        atol=1e-12,
    )


@both
def test_outputs_of_more_axes_take_tuples(images, calibrate):
    ordinary = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).double().eval()
    nn.init.constant_(
        ordinary[0].bias, 3.0
    )  # so that no unit is dead, which would leave no place in particular
    dense = ef.replace_stem(ordinary)
    attr = ef.EdgeFilterAttribution(dense, calibrate=calibrate)
    result, delta = attr.attribute(images, (2, 5, 6), return_convergence_delta=True)
    assert_close(delta, torch.zeros(3).double(), rtol=0, atol=1e-9)
    seen = torch.zeros(16, 16, dtype=torch.bool)
    seen[5:8, 6:9] = True
    assert (result[:, :, ~seen] == 0).all()
    assert attr.explain(images, (2, 5, 6)).target == ((2, 5, 6),) * 3
    with pytest.raises(IndexError, match="target must be between 0 and 13; got 14"):
        attr.attribute(images, [(0, 0, 0), (0, 14, 0), (0, 0, 0)])


@both
def test_a_tuple_in_gives_a_tuple_out(net, images, calibrate):
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    (result,) = attr.attribute((images,), 1)
    assert torch.equal(result, attr.attribute(images, 1))
    parts, delta = attr.attribute((images,), 1, return_convergence_delta=True)
    assert isinstance(parts, tuple)
    assert delta.shape == (3,)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.other = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(6, 4, bias=False)
        self.head = nn.Linear(4, 5)

    def forward(self, images, facts):
        features = torch.relu(self.stem(images)).mean((2, 3))
        return self.head(features + self.other(facts))


def test_a_model_of_two_inputs_gives_relevance_to_both(images, generator):
    facts = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    net = seeded_two_inputs()
    attr = ef.EdgeFilterAttribution(net, calibrate=False)
    parts, delta = attr.attribute((images, facts), 1, return_convergence_delta=True)
    assert [part.shape for part in parts] == [images.shape, facts.shape]
    assert all(part.abs().sum() > 0 for part in parts)
    assert_close(delta, torch.zeros(3).double(), rtol=0, atol=1e-9)


def test_additional_arguments_are_not_explained(images, generator):
    """They are constants: the images alone carry what the base does not."""
    facts = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    net = seeded_two_inputs()
    attr = ef.EdgeFilterAttribution(net, calibrate=False)
    found = attr.attribute(images, 1, facts)
    carried = (net(images, facts) - net.head.bias)[:, 1].detach()
    assert_close(found.sum((1, 2, 3)), carried, rtol=1e-9, atol=1e-12)
    assert torch.equal(attr.attribute(images, 1, (facts,)), found)


def seeded_two_inputs():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return ef.replace_stem(TwoInputs().double().eval(), stem="stem")


@both
def test_arguments_of_an_inference_tensor_are_accepted(images, calibrate):
    net = seeded_two_inputs()
    with torch.inference_mode():
        facts = torch.ones(3, 6, dtype=torch.float64)
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    assert_close(attr.attribute(images, 1, facts), attr.attribute(images, 1, facts.clone()), rtol=0, atol=0)


@both
@pytest.mark.parametrize("kind", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_noise_tunnel_runs(net, images, kind, calibrate):
    tunnel = NoiseTunnel(ef.EdgeFilterAttribution(net, calibrate=calibrate))
    torch.manual_seed(0)
    result = tunnel.attribute(images, nt_type=kind, nt_samples=5, stdevs=0.1, target=[0, 1, 2])
    assert result.shape == images.shape
    assert torch.isfinite(result).all()


@both
def test_noise_tunnel_without_noise_changes_nothing(net, images, calibrate):
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    result, delta = NoiseTunnel(attr).attribute(
        images, nt_samples=5, stdevs=0.0, target=1, return_convergence_delta=True
    )
    assert_close(result, attr.attribute(images, 1), rtol=1e-9, atol=1e-12)
    assert delta.shape == (15,)
    colors = NoiseTunnel(attr).attribute(images, nt_samples=2, stdevs=0.0, target=1, score="color")
    assert_close(colors, attr.attribute(images, 1, score="color"), rtol=1e-9, atol=1e-12)


def test_sensitivity_and_infidelity_run(net, images):
    attr = ef.EdgeFilterAttribution(net)
    targets = [0, 1, 2]
    torch.manual_seed(0)
    plain = sensitivity_max(attr.attribute, images, target=targets, n_perturb_samples=3)
    torch.manual_seed(0)
    last = sensitivity_max(
        attr.attribute,
        images.contiguous(memory_format=torch.channels_last),
        target=targets,
        n_perturb_samples=3,
    )
    torch.manual_seed(0)
    wrapped = sensitivity_max(
        lambda x, **kw: (attr.attribute(x[0] if isinstance(x, tuple) else x, **kw),),
        images,
        target=targets,
        n_perturb_samples=3,
    )
    assert plain.shape == (3,)
    assert_close(plain, last, rtol=1e-6, atol=1e-9)
    assert_close(plain, wrapped, rtol=1e-6, atol=1e-9)

    @infidelity_perturb_func_decorator(True)
    def perturb(x):
        return x - 0.01 * torch.randn_like(x)

    with torch.no_grad():
        value = infidelity(net, perturb, images, attr.attribute(images, 1), target=1, normalize=True)
    assert value.shape == (3,)
    assert torch.isfinite(value).all()


# Number formats


@both
def test_bfloat16_runs_and_agrees_roughly(net, images, calibrate):
    exact = ef.EdgeFilterAttribution(net, "epsilon_plus", calibrate=calibrate).attribute(
        images, 1, score="color_edge"
    )
    low = copy.deepcopy(net).bfloat16()
    got = ef.EdgeFilterAttribution(low, "epsilon_plus", calibrate=calibrate).attribute(
        images.bfloat16(), 1, score="color_edge"
    )
    assert got.dtype == torch.bfloat16
    correlation = torch.corrcoef(torch.stack([exact.flatten(), got.double().flatten()]))[0, 1]
    assert correlation > 0.99


@both
@pytest.mark.parametrize("score", SCORES)
def test_channels_last_gives_contiguous_results(net, images, score, calibrate):
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    expected = attr.attribute(images, 1, score=score)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    got = ef.EdgeFilterAttribution(last, calibrate=calibrate).attribute(
        images.contiguous(memory_format=torch.channels_last), 1, score=score
    )
    assert got.is_contiguous()
    assert expected.is_contiguous()
    assert_close(got, expected, rtol=1e-9, atol=1e-11)


# Explain


@both
def test_explain_gives_what_attribute_gives(net, images, calibrate):
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    explanation = attr.explain(images, [1, 2, 3])
    for score in SCORES:
        assert torch.equal(getattr(explanation, score), attr.attribute(images, [1, 2, 3], score=score))
    assert explanation.colors == ("red", "green", "blue")
    assert explanation.filters == tuple(net[0].bank.names)
    assert_close(explanation.output, net(images)[range(3), [1, 2, 3]].detach(), rtol=1e-9, atol=1e-12)


@both
def test_explain_looks_at_the_prediction_by_default(net, images, calibrate):
    explanation = ef.EdgeFilterAttribution(net, calibrate=calibrate).explain(images)
    assert list(explanation.target) == net(images).argmax(1).tolist()


def test_silencing_everything_leaves_what_the_biases_give(net, images):
    attr = ef.EdgeFilterAttribution(net)
    _, tail = ef.split(net)
    expected = tail(torch.zeros(3, 27, 16, 16, dtype=torch.float64))[:, 1].detach()
    assert_close(attr.silence(images, 1, colors=["red", "green", "blue"]), expected, rtol=1e-9, atol=1e-12)
    assert_close(attr.silence(images, 1, filters=net[0].bank.names), expected, rtol=1e-9, atol=1e-12)
    assert_close(attr.silence(images, 1), net(images)[:, 1].detach(), rtol=1e-9, atol=1e-12)


# Any bank for a model without an edge-filter layer; what is left out at its end


def general_bank():
    return ef.get_bank("general")


@both
@pytest.mark.parametrize("bank", [None, "general", general_bank(), ef.complete_bank(3, "dct")], ids=repr)
def test_a_model_is_explained_by_a_bank_that_spans_its_stem(bank, images, calibrate):
    """As its replaced one is, by the same bank; whichever bank, the totals of the colors agree."""
    ordinary = seeded(vgg_like)
    found = ef.EdgeFilterAttribution(ordinary, bank=bank, calibrate=calibrate).explain(images, [0, 4, 2])
    expected = ef.EdgeFilterAttribution(ef.replace_stem(ordinary, bank), calibrate=calibrate).explain(
        images, [0, 4, 2]
    )
    assert found.filters == expected.filters
    assert_close(found.response, expected.response, rtol=0, atol=1e-10)
    assert_close(found.pixel, expected.pixel, rtol=0, atol=1e-10)
    assert_close(found.base + found.total, found.output, rtol=0, atol=1e-10)


def test_an_incomplete_bank_is_refused_with_what_would_be_lost(images):
    """The share of the energy by a projection of its own: least squares on the kernels."""
    ordinary = seeded(vgg_like)
    weight = ordinary[0].weight.detach().reshape(18, 9).numpy()
    kernels = ef.get_bank("sobel").weight.reshape(2, 9)
    rest = weight - weight @ np.linalg.pinv(kernels) @ kernels
    lost = (rest**2).sum() / (weight**2).sum()
    attr = ef.EdgeFilterAttribution(ordinary, bank="sobel")
    match = (
        rf"bank 'sobel' spans 2 of the 9 dimensions of stem '0', so {lost:.1%} of the energy .* would be lost"
    )
    with pytest.raises(ValueError, match=match):
        attr.explain(images, 1)


def test_a_bank_beside_an_edge_filter_layer_is_refused(net):
    with pytest.raises(
        ValueError, match=r"bank must be None for a model with an edge-filter layer.*got 'sobel'"
    ):
        ef.EdgeFilterAttribution(net, bank="sobel")
    with pytest.raises(KeyError, match=r"unknown bank 'sobell'; did you mean 'sobel'?"):
        ef.EdgeFilterAttribution(seeded(vgg_like), bank="sobell")


@pytest.mark.parametrize(
    ("end", "name"),
    [(nn.Softmax(1), "softmax"), (nn.LogSoftmax(1), "log_softmax"), (nn.Sigmoid(), "sigmoid"), (None, "")],
    ids=repr,
)
def test_a_monotone_function_at_the_end_is_left_out(net, images, end, name):
    """The logit before it is explained, and the explanation says so."""
    expected = ef.EdgeFilterAttribution(net, calibrate=False).explain(images, 1)
    ended = net if end is None else nn.Sequential(*net, end).eval()
    found = ef.EdgeFilterAttribution(ended, calibrate=False).explain(images, 1)
    assert found.left_out == name
    assert_close(found.output, net(images)[:, 1].detach(), rtol=1e-9, atol=1e-12)
    assert torch.equal(found.base, expected.base)
    assert_close(found.pixel, expected.pixel, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("composite", ["epsilon_plus", "alpha2_beta1", "epsilon"])
def test_a_border_of_zeros_is_a_border_of_zeros(composite):
    """Put there by the convolution or in front of it, it gets nothing, also where units are dead."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.ReLU(),
            nn.Conv2d(6, 6, 5, padding=2, groups=6),
            nn.Flatten(),
            nn.Linear(216, 5),
        )
    with torch.no_grad():
        net[0].bias[:3] = -10.0  # so that half of the depthwise units see nothing but zeros
    net = net.double().eval()
    within = nn.Conv2d(6, 6, 5, groups=6).double()
    within.load_state_dict(net[2].state_dict())
    ahead = nn.Sequential(net[0], net[1], nn.ZeroPad2d(2), within, *net[3:]).eval()
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected, found = (
        ef.EdgeFilterAttribution(one, composite, calibrate=False).attribute(x, 1) for one in (net, ahead)
    )
    assert_close(ahead(x), net(x))
    assert_close(found, expected, rtol=1e-9, atol=1e-12)


# Bad input

NAN = torch.full((1, 3, 16, 16), torch.nan, dtype=torch.float64)
INPUTS = {
    "nan": (NAN, ValueError, "inputs must be finite; got NaN or infinity"),
    "infinity": (NAN.nan_to_num(torch.inf), ValueError, "inputs must be finite"),
    "integers": (
        torch.ones(1, 3, 16, 16, dtype=torch.uint8),
        TypeError,
        r"inputs must be floating point; got torch.uint8.*images.float\(\) / 255",
    ),
    "three_axes": (
        torch.ones(3, 16, 16).double(),
        ValueError,
        r"inputs must have shape \(batch, .*; got \(3, 16, 16\). Add a batch axis with images\[None\]",
    ),
    "five_axes": (
        torch.ones(1, 1, 3, 8, 8).double(),
        ValueError,
        "inputs must have shape .* Pass a batch of images",
    ),
    "empty": (
        torch.ones(0, 3, 16, 16).double(),
        ValueError,
        r"inputs must hold at least one image; got shape \(0, 3",
    ),
    "gray": (  # the model itself says so
        torch.ones(1, 1, 16, 16).double(),
        RuntimeError,
        "to have 3 channels, but got 1 channels",
    ),
    "single": (
        torch.ones(1, 3, 16, 16),
        ValueError,
        r"inputs must be torch.float64 on cpu.*got torch.float32 on cpu\. Call",
    ),
    "device": (torch.ones(1, 3, 16, 16, device="meta").double(), (ValueError, NotImplementedError), "meta"),
    "numpy": (np.ones((1, 3, 16, 16)), AssertionError, "must be a torch.Tensor or a tuple"),
    "list": ([torch.ones(1, 3, 16, 16).double()], AssertionError, "must be a torch.Tensor or a tuple"),
}


@pytest.mark.parametrize(("bad", "error", "match"), INPUTS.values(), ids=INPUTS)
def test_bad_inputs_are_refused(net, bad, error, match):
    attr = ef.EdgeFilterAttribution(net)
    for call in (attr.attribute, attr.explain, attr.silence):
        with pytest.raises(error, match=match):
            call(bad, 1)


@pytest.mark.parametrize(
    ("argument", "match"),
    [
        ({"score": "pixels"}, "score must be one of pixel, .*; got 'pixels'; did you mean 'pixel'?"),
        ({"score": 3}, "score must be one of pixel, .*; got 3"),
    ],
)
def test_unknown_scores_are_refused(net, images, argument, match):
    with pytest.raises(ValueError, match=match):
        ef.EdgeFilterAttribution(net).attribute(images, 1, **argument)


MODELS = {
    "lambda": (lambda: lambda x: x, TypeError, "model must be an nn.Module; got function"),
    "two_layers": (
        lambda: two_stems(),
        ValueError,
        "model must hold one edge-filter layer; got 2: .*Choose one with layer=",
    ),
}


def two_stems():
    first, second = (ef.EdgeFilterConv2d(3, 3, "sobel", padding=1) for _ in range(2))
    return (
        nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        .double()
        .eval()
    )


@pytest.mark.parametrize(("build", "error", "match"), MODELS.values(), ids=MODELS)
def test_unfit_models_are_refused(build, error, match):
    with pytest.raises(error, match=match):
        ef.EdgeFilterAttribution(build())


@both
def test_one_of_two_layers_can_be_chosen(images, calibrate):
    model = two_stems()
    by_path = ef.EdgeFilterAttribution(model, layer="2", calibrate=calibrate).attribute(
        images, 1, score="response"
    )
    by_module = ef.EdgeFilterAttribution(model, layer=model[2], calibrate=calibrate).attribute(
        images, 1, score="response"
    )
    inner = ef.EdgeFilterAttribution(model, layer="2.filters", calibrate=calibrate).attribute(
        images, 1, score="response"
    )
    assert torch.equal(by_path, by_module)
    assert torch.equal(by_path, inner)
    first = ef.EdgeFilterAttribution(model, layer="0", calibrate=calibrate)
    assert not torch.equal(first.attribute(images, 1, score="edge"), by_path.sum((1, 3, 4)))
    with pytest.raises(KeyError, match="layer must be the path of a module of the model; got 'stem'"):
        ef.EdgeFilterAttribution(model, layer="stem", calibrate=calibrate)
    with pytest.raises(ValueError, match="layer must be a module of the model; got another"):
        ef.EdgeFilterAttribution(model, layer=nn.ReLU(), calibrate=calibrate)


def test_a_script_module_is_refused(net, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(net, images)
    with pytest.raises((TypeError, ValueError), match="model must"):
        ef.EdgeFilterAttribution(scripted)


@both
def test_a_model_in_training_mode_is_refused(net, images, calibrate):
    """Whole or in part; running statistics stay."""
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    net[1].train()
    before = state_of(net)
    with pytest.raises(
        ValueError,
        match=r"model must be in evaluation mode; layer '1' is training\. Call model.eval\(\) first",
    ):
        attr.attribute(images, 1)
    net.eval()
    net.training = True
    with pytest.raises(ValueError, match="model must be in evaluation mode; Sequential is training"):
        attr.explain(images)
    net.training = False
    net[1].train()
    assert_same_state(before, state_of(net))


def test_arguments_of_the_constructor_are_checked(net):
    with pytest.raises(
        ValueError,
        match=r"calibrate must be True, False, 'color' or \('color', groups of filters\); got 'colour'",
    ):
        ef.EdgeFilterAttribution(net, calibrate="colour")
    with pytest.raises(
        ValueError, match=r"calibrate must name groups .*; got 'ordre'; did you mean 'order'?"
    ):
        ef.EdgeFilterAttribution(net, calibrate=("color", "ordre"))
    with pytest.raises(KeyError, match=r"unknown composite 'epsilon-plus'; did you mean 'epsilon_plus'?"):
        ef.EdgeFilterAttribution(net, "epsilon-plus")
    with pytest.raises(TypeError, match="composite must be a Zennit composite, a name or None; got type"):
        ef.EdgeFilterAttribution(net, EpsilonPlus)


def test_kernels_changed_by_training_are_refused(net, images):
    attr = ef.EdgeFilterAttribution(net)
    net.requires_grad_(True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(images).square().sum().backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"the kernels of .* must stay as they are; got changed ones"):
        attr.attribute(images, 1)


def test_the_rest_needs_two_classes(images):
    one = ef.replace_stem(nn.Sequential(nn.Conv2d(3, 1, 16), nn.Flatten()).double().eval())
    with pytest.raises(
        ValueError, match=r"against='rest' must have an output of shape \(N, classes\).*got \(3, 1\)"
    ):
        ef.EdgeFilterAttribution(one).attribute(images, against="rest")


@pytest.mark.parametrize(
    ("against", "error", "match"),
    [
        (
            "rests",
            ValueError,
            r"against must be None, 'rest', 'odds', or another target; got 'rests'; did you mean 'rest'",
        ),
        (1, ValueError, "against must be another output than target; got the same for image 0"),
        ([0, 2, 1], ValueError, "against must be another output than target; got the same for image 2"),
        (5, IndexError, "against must be between 0 and 4; got 5"),
        (1.5, TypeError, "against must be an integer index"),
    ],
)
def test_what_cannot_be_compared_is_refused(net, images, against, error, match):
    for call in (ef.EdgeFilterAttribution(net).attribute, ef.EdgeFilterAttribution(net).explain):
        with pytest.raises(error, match=match):
            call(images, 1, against=against)


@both
def test_a_comparison_turned_around_turns_its_output_and_its_base(net, images, calibrate):
    """Why 1 and not 3 is the opposite of why 3 and not 1; the colors of the game as well."""
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    one, other = attr.explain(images, 1, against=3), attr.explain(images, [3] * 3, against=[1] * 3)
    assert one.against == (3, 3, 3)
    for name in ("output", "base", *(("color", "effects", "interactions") if calibrate else ())):
        assert_close(getattr(one, name), -getattr(other, name), rtol=0, atol=1e-12)


def test_outputs_that_are_not_one_row_per_image_are_refused(images):
    class Total(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return self.stem(x).reshape(-1)

    model = ef.replace_stem(Total().double().eval(), stem="stem")
    with pytest.raises(
        ValueError,
        match=r"model must return floating-point outputs of shape \(batch, ...\), one row for each",
    ):
        ef.EdgeFilterAttribution(model).attribute(images, 0)


def test_unknown_names_are_refused_by_silence(net, images):
    attr = ef.EdgeFilterAttribution(net)
    with pytest.raises(KeyError, match=r"unknown color 'rad'; did you mean 'red'?"):
        attr.silence(images, 1, colors=["rad"])
    with pytest.raises(KeyError, match=r"edge_z|unknown"):
        attr.silence(images, 1, filters=["edge_z"])


def test_exploding_relevance_is_warned_of(images):
    """Two summands that cancel but for 1e-9 of them give shares of 1e9."""
    net = ef.replace_stem(nn.Sequential(nn.Conv2d(3, 2, 16), nn.Flatten(), nn.Linear(2, 2)).double().eval())
    first, second = net[:2](images[:1])[0].detach()
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[1.0, -first / second * (1 - 1e-9)], [1.0, 1.0]]))
        net[2].bias.fill_(1.0)
    images = images[:1]
    attr = ef.EdgeFilterAttribution(net, "epsilon_gamma", calibrate=False)
    with pytest.warns(
        UserWarning,
        match="relevance should stay of the size of the explained output; got sizes that add up to",
    ):
        attr.attribute(images, 0)


@both
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_an_internal_batch_size_changes_nothing_but_the_memory(net, images, size, calibrate):
    """Five images by one, two, three at a time: every score, with a target for each image."""
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
    several = torch.cat([images, 2 * images, -images])[:5]
    target = torch.tensor([0, 1, 2, 1, 0])
    for score in ("pixel", "color", "edge", "color_edge", "response"):
        whole = attr.attribute(several, target, score=score)
        assert_close(attr.attribute(several, target, score=score, internal_batch_size=size), whole)
    whole, parts = (attr.explain(several, internal_batch_size=s) for s in (None, size))
    assert parts.target == whole.target
    assert_close(parts.output, whole.output)
    assert_close(parts.response, whole.response)
    assert_close(parts.pixel, whole.pixel)


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True])
def test_a_wrong_internal_batch_size_is_refused(net, images, size):
    """The message names the rule and what was given."""
    with pytest.raises(ValueError, match=r"internal_batch_size must be a whole number of at least 1; got"):
        ef.EdgeFilterAttribution(net).attribute(images, 1, internal_batch_size=size)


@both
def test_additional_arguments_of_each_image_go_with_their_image(calibrate):
    """A tensor with one row per image is cut, one without is not."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(64, 3)

        def forward(self, x, gain, shift):
            return self.head(self.conv(x).relu().flatten(1)) * gain + shift

    torch.manual_seed(0)
    attr = ef.EdgeFilterAttribution(ef.replace_stem(Scaled().double().eval()), calibrate=calibrate)
    x, gain, shift = (torch.rand(s, dtype=torch.float64) for s in ((4, 3, 6, 6), (4, 1), (1, 3)))
    whole = attr.attribute(x, [0, 1, 2, 0], (gain, shift))
    assert_close(attr.attribute(x, [0, 1, 2, 0], (gain, shift), internal_batch_size=3), whole)


@both
def test_autocast_does_not_change_the_numbers(net, images, calibrate):
    """Relevance is computed in the precision of the model, whatever the caller's autocast says."""
    single = copy.deepcopy(net).float()
    attr = ef.EdgeFilterAttribution(single, calibrate=calibrate)
    expected = attr.attribute(images.float(), 1)
    with torch.autocast("cpu", torch.bfloat16):
        got = attr.attribute(images.float(), 1)
        fresh = ef.EdgeFilterAttribution(single, calibrate=calibrate).attribute(images.float(), 1)
        assert torch.is_autocast_enabled("cpu")
    assert got.dtype == torch.float32
    assert_close(got, expected)
    assert_close(fresh, expected)


@both
def test_nothing_survives_a_call(net, images, calibrate):
    """After the first call, further calls leave no tensor, hook or graph node behind."""
    attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)

    def tensors():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    attr.explain(images, 1)
    before = tensors()
    for _ in range(20):
        attr.explain(images, 1)
        attr.attribute(images, 1, score="color", internal_batch_size=1)
    assert tensors() <= before


@both
@pytest.mark.parametrize("through_data", [False, True])
def test_merged_weights_follow_every_change(through_data, calibrate):
    """BatchNorm merged into a layer is made anew when a weight or a statistic changes, be it through ``.data``."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU(),
        nn.Flatten(), nn.Linear(80, 3),
    ).double().eval()  # fmt: skip
    model = ef.replace_stem(net)
    attr = ef.EdgeFilterAttribution(model, calibrate=calibrate)
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    attr.attribute(x, 1)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if "filters" in name or not tensor.is_floating_point():
            continue
        with torch.no_grad():
            (tensor.data if through_data else tensor)[0].mul_(1.5).add_(0.01)
        assert_close(
            attr.attribute(x, 1), ef.EdgeFilterAttribution(model, calibrate=calibrate).attribute(x, 1)
        )


@both
@pytest.mark.parametrize("target", [[0, 1, 2, 1], torch.arange(4) % 3, [0, 1], torch.tensor([0, 1])])
@pytest.mark.parametrize("size", [None, 1, 2])
def test_a_wrong_number_of_targets_is_refused(net, images, target, size, calibrate):
    """Three images."""
    with pytest.raises(AssertionError):
        ef.EdgeFilterAttribution(net, calibrate=calibrate).attribute(images, target, internal_batch_size=size)


@both
@pytest.mark.parametrize("name", ["epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_close_to_single(name, dtype, calibrate):
    """Small outputs are no reason to take a unit for dead."""
    torch.manual_seed(6)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(32, 5),
    ).eval()  # fmt: skip
    model = ef.replace_stem(model)
    x = torch.rand(2, 3, 20, 20)
    expected = ef.EdgeFilterAttribution(model, name, calibrate=calibrate).attribute(x, 1, score="color")
    half = copy.deepcopy(model).to(dtype)
    got = ef.EdgeFilterAttribution(half, name, calibrate=calibrate).attribute(x.to(dtype), 1, score="color")
    assert (got.float() - expected).abs().max() <= 0.1 * expected.abs().max()


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_gamma_box"])
def test_color_scores_of_cancelling_rules_come_with_a_warning(net, images, composite):
    attr = ef.EdgeFilterAttribution(net, composite, calibrate=False)
    for call in (lambda: attr.attribute(images, 1, score="color"), lambda: attr.explain(images, 1)):
        with pytest.warns(
            UserWarning,
            match=f"color scores should come from.*got composite='{composite}'.*Use composite='epsilon_plus'",
        ) as seen:
            call()
        assert seen[0].filename == __file__


def test_other_scores_and_rules_come_without_a_warning(net, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ef.EdgeFilterAttribution(net, "epsilon").attribute(images, 1, score="edge")
        ef.EdgeFilterAttribution(net, "zplus").attribute(images, 1, score="color")
