"""At home in Captum: the 40 checks that Captum's contract, hosts and habits ask of a plug-in, one test or group each.

E is ``EdgeFilterAttribution``, L its layer twin. Where the library does better than a check asks (a module that runs
twice is explained, not refused), the test says so.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import inspect
import subprocess
import sys
import warnings
import weakref
from importlib.metadata import metadata
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torchvision
from captum import attr as ca
from captum.concept import TCAV, Classifier, Concept
from captum.metrics import infidelity, infidelity_perturb_func_decorator, sensitivity_max
from captum.robust import FGSM, PGD, AttackComparator, MinParamPerturbation
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import EpsilonPlusFlat, LayerMapComposite
from zennit.core import BasicHook

import edgefilter as ef

try:  # not in every release of Captum
    from captum.testing.attr.helpers.test_config import config as CAPTUM_CONFIG
except ImportError:
    CAPTUM_CONFIG = []

E, L = ef.EdgeFilterAttribution, ef.LayerEdgeFilterAttribution
SCORES = ["pixel", "color", "edge", "color_edge", "response"]
pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting forward, backward hooks",
    "ignore:Setting backward hooks",
    "ignore:Input Tensor 0 did not already require gradients",
    "ignore:Required gradient has not been set",
)


class Toy(nn.Module):
    """Five classes; all operations are ones that Captum's LRP knows."""

    def __init__(self, bias=True):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=bias)
        self.relu1, self.pool = nn.ReLU(), nn.MaxPool2d(2)
        self.conv = nn.Conv2d(6, 8, 3, bias=bias)
        self.relu2, self.head = nn.ReLU(), nn.Linear(128, 5, bias=bias)

    def forward(self, images):
        features = self.relu2(self.conv(self.pool(self.relu1(self.stem(images)))))
        return self.head(torch.flatten(features, 1))


def seeded(build, *arguments, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(*arguments)


@pytest.fixture
def model():
    return ef.replace_stem(seeded(Toy).double().eval())


@pytest.fixture
def plain():
    """Without any bias."""
    return ef.replace_stem(seeded(Toy, False).double().eval())


@pytest.fixture
def bank(model):
    return model.stem.filters


@pytest.fixture
def x(generator):
    return torch.randn(4, 3, 12, 12, generator=generator, dtype=torch.float64)


def state_of(net):
    """Describe all that a call must leave alone."""
    hooks = [
        len(value)
        for module in net.modules()
        for name, value in vars(module).items()
        if "hook" in name and hasattr(value, "__len__")
    ]
    flags = [(id(p), p._version, p.requires_grad, p.grad is None) for p in net.parameters()]
    names = [(id(module), module.training, sorted(vars(module))) for module in net.modules()]
    return hooks, flags, names, {name: value.clone() for name, value in net.state_dict().items()}


def assert_untouched(net, before):
    after = state_of(net)
    assert after[:3] == before[:3]
    assert all(torch.equal(value, after[3][name]) for name, value in before[3].items())


def calibrated(net):
    """Set the running statistics of BatchNorm, so that activations have a realistic scale."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    return net.eval()


# API


def test_01_base_classes():
    """Check 1: E is a gradient attribution, L a layer attribution first; neither is a perturbation attribution."""
    assert issubclass(E, ca.GradientAttribution)
    assert L.__bases__ == (ca.LayerAttribution, ca.GradientAttribution)
    assert not issubclass(E, ca.PerturbationAttribution)
    assert not issubclass(L, ca.PerturbationAttribution)


def test_02_constructors(model, x):
    """Check 2: E(model) and L(model, layer) suffice, also without a filter bank; two banks and a lambda are refused."""
    assert E(model).attribute(x, 1).shape == x.shape
    assert L(model, model.stem).attribute(x, 1).shape == (4, 27, 12, 12)
    two = nn.Sequential(*(ef.EdgeFilterConv2d(3, 3, "sobel") for _ in range(2))).eval()
    for kind in (E, L):
        ordinary = ef.fold_stem(model)
        assert_close(kind(ordinary).attribute(x, 1), kind(model).attribute(x, 1), rtol=1e-9, atol=1e-12)
        with pytest.raises(ValueError, match=r"got 2: '0.filters', '1.filters'"):
            kind(two)
        with pytest.raises(TypeError, match=r"model must be an nn.Module; got function"):
            kind(lambda images: images)


@pytest.mark.parametrize(("kind", "last"), [(E, "return_convergence_delta"), (L, "attribute_to_layer_input")])
def test_03_order_of_arguments(kind, last):
    """Check 3: Captum's arguments in Captum's order, ours by keyword only."""
    parameters = inspect.signature(kind.attribute.__wrapped__).parameters
    captums = ["self", "inputs", "target", "additional_forward_args", last]
    assert list(parameters)[:5] == captums
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in list(parameters)[5:])


@pytest.mark.parametrize("kind", [E, L])
def test_04_outermost_decorator(kind):
    """Check 4: ``__wrapped__`` is the bare function, as NoiseTunnel and TCAV want it."""
    assert inspect.isfunction(kind.attribute.__wrapped__)
    assert not hasattr(kind.attribute.__wrapped__, "__wrapped__")


def test_05_tensor_for_tensor_tuple_for_tuple(model, x):
    """Check 5: of the inputs' shape, dtype and device, detached and contiguous; also for L and for two inputs."""
    for dtype in (torch.float32, torch.float64):
        net, images = copy.deepcopy(model).to(dtype), x.to(dtype)
        for attr in (E(net), L(net)):
            result = attr.attribute(images, target=1)
            assert (result.dtype, result.device) == (dtype, images.device)
            assert result.is_contiguous()
            assert not result.requires_grad
            (single,) = attr.attribute((images,), target=1)
            assert torch.equal(single, result)
        assert E(net).attribute(images, 1).shape == images.shape
    two = seeded(TwoInputs).double().eval()
    parts = E(two).attribute((x, x[:, 0, 0]), 1)
    assert [part.shape for part in parts] == [(4, 3, 12, 12), (4, 12)]


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.facts = ef.EdgeFilterConv2d(3, 4, "sobel"), nn.Linear(12, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, images, facts):
        return self.head(torch.relu(self.stem(images)).mean((2, 3)) + self.facts(facts))


def test_06_names_and_flags(model):
    """Check 6: the name, ``multiplies_by_inputs``, the truth about the delta, no future."""
    assert E(model).get_name() == "Edge Filter Attribution"
    assert L(model).get_name() == "Layer Edge Filter Attribution"
    assert (E(model).has_convergence_delta(), L(model).has_convergence_delta()) == (True, False)
    for attr in (E(model), L(model)):
        assert attr.multiplies_by_inputs is True
        with pytest.raises(NotImplementedError, match="attribute_future is not implemented for"):
            attr.attribute_future()


TARGETS = [
    1,
    (1,),
    torch.tensor(1),
    torch.tensor([1]),
    [1] * 4,
    torch.tensor([1] * 4),
    [(1,)] * 4,
    np.int64(1),
]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("kind", [E, L])
def test_07_forms_of_target(model, x, kind, target):
    """Check 7: each form gives the same numbers; None serves a model of one output."""
    attr = kind(model)
    assert torch.equal(attr.attribute(x, target), attr.attribute(x, 1))
    one = copy.deepcopy(model)
    one.head = nn.Linear(128, 1).double().eval()
    assert torch.equal(kind(one).attribute(x), kind(one).attribute(x, 0))


WRONG_TARGETS = {
    "none": (None, AssertionError),
    "short_list": ([1, 2], AssertionError),
    "short_tensor": (torch.tensor([1, 2, 3]), AssertionError),
    "long_tuple": ((1, 1), AssertionError),
    "too_large": (99, IndexError),
}


@pytest.mark.parametrize(("target", "error"), WRONG_TARGETS.values(), ids=WRONG_TARGETS)
@pytest.mark.parametrize("kind", [E, L])
def test_08_wrong_targets(model, x, kind, target, error):
    """Check 8: Captum's kind of error, and nothing is left behind."""
    before = state_of(model)
    with pytest.raises(error):
        kind(model).attribute(x, target)
    assert_untouched(model, before)
    assert not x.requires_grad


@pytest.mark.parametrize("kind", [E, L])
def test_09_batch_is_its_samples(model, x, kind):
    """Check 9: a batch with a target for each sample gives what the samples give one by one."""
    attr = kind(model)
    singles = torch.cat([attr.attribute(x[i : i + 1], i) for i in range(4)])
    assert_close(attr.attribute(x, [0, 1, 2, 3]), singles, rtol=1e-9, atol=1e-12)


class Extra(nn.Module):
    """Reads further arguments in order, and branches on whether there is one."""

    def __init__(self):
        super().__init__()
        self.toy = ef.replace_stem(seeded(Toy))

    def forward(self, images, gain=None, shift=0, double=False):
        output = self.toy(images) if gain is None else self.toy(images) * gain
        return output + shift + output if double else output + shift


@pytest.mark.parametrize("kind", [E, L])
def test_10_additional_forward_args(x, kind):
    """Check 10: a tensor, a tuple and None reach the model in order; so do flags, which it may branch on."""
    net = Extra().double().eval()
    attr = kind(net)
    gain = torch.tensor([[1.0], [2.0], [3.0], [4.0]]).double()
    once = attr.attribute(x, 1)
    by_gain = once * gain[:, :, None, None]
    assert torch.equal(attr.attribute(x, 1, None), once)
    assert_close(attr.attribute(x, 1, gain), by_gain, rtol=1e-9, atol=1e-12)
    assert_close(attr.attribute(x, 1, (gain, 0, False)), by_gain, rtol=1e-9, atol=1e-12)
    twice = E(net).attribute(x, 1, (None, 0, True), return_convergence_delta=True)
    assert_close(twice[0], 2 * E(net).attribute(x, 1), rtol=1e-9, atol=1e-12)


# Values


@pytest.mark.parametrize("composite", ef.composite_names())
def test_11_relevance_adds_up(plain, x, composite):
    """Check 11: without biases, pixels sum to the logit; delta is the sum minus the output (Captum's sign for IG)."""
    relevance, delta = E(plain, composite).attribute(x, 2, return_convergence_delta=True)
    output = plain(x)[:, 2].detach()
    assert_close(relevance.sum((1, 2, 3)), output, rtol=1e-4, atol=1e-9)
    assert delta.shape == (4,)
    assert_close(delta, relevance.sum((1, 2, 3)) - output, rtol=0, atol=1e-12)


def test_12_epsilon_is_captums_lrp(plain, x):
    """Check 12: Captum's LRP runs on a model with our layer, and gives what E gives with the epsilon rule."""
    expected = ca.LRP(plain).attribute(x, target=2).detach()
    assert_close(E(plain, "epsilon", calibrate=False).attribute(x, 2), expected, rtol=0, atol=1e-5)


def test_13_by_hand():
    """Check 13: a 4x4 image of integers, kernels "here" and "right" mixed 1 to 2: each place has 3 = 1 + 2."""
    here = ef.Kernel("here", [[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    right = ef.Kernel("right", [[0, 0, 0], [0, 0, 1], [0, 0, 0]])
    stem = ef.EdgeFilterConv2d(1, 1, ef.FilterBank([here, right]), bias=False)
    with torch.no_grad():
        stem.mixing.weight.copy_(torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1))
    head = nn.Linear(4, 1, bias=False)
    nn.init.ones_(head.weight)
    net = nn.Sequential(stem, nn.ReLU(), nn.Flatten(), head).double().eval()
    found = E(net).explain(torch.ones(1, 1, 4, 4).double())
    assert_close(found.edge, torch.tensor([[4.0, 8.0]]).double(), rtol=0, atol=1e-10)
    assert_close(found.color, torch.tensor([[12.0]]).double(), rtol=0, atol=1e-10)
    pixels = torch.tensor([[0, 0, 0, 0], [0, 1, 3, 2], [0, 1, 3, 2], [0, 0, 0, 0]]).double()
    assert_close(found.pixel[0, 0], pixels, rtol=0, atol=1e-10)


def test_14_scores_share_one_total(model, x):
    """Check 14: scores sum to the same total and are sums of L's output; pixel scores keep colors, (N, C, H, W)."""
    scores = {score: E(model, calibrate=False).attribute(x, 1, score=score) for score in SCORES}
    shapes = {score: tuple(value.shape[1:]) for score, value in scores.items()}
    assert shapes == {
        "pixel": (3, 12, 12), "color": (3,), "edge": (9,), "color_edge": (3, 9), "response": (3, 9, 12, 12),
    }  # fmt: skip
    at_bank = L(model).attribute(x, 1)
    for value in scores.values():
        assert_close(value.flatten(1).sum(1), at_bank.sum((1, 2, 3)), rtol=1e-5, atol=1e-9)
    table = at_bank.unflatten(1, (3, 9)).sum((3, 4))
    assert_close(scores["color"], table.sum(2))
    assert_close(scores["edge"], table.sum(1))


def test_15_layer_input_is_the_image(model, x):
    """Check 15: L at the layer's input is E without games where the layer comes first."""
    assert torch.equal(L(model).attribute(x, 1, None, True), E(model, calibrate=False).attribute(x, 1))


def small(name):
    """A model of torchvision for 10 classes."""
    options = {"init_weights": False} if name == "vgg16_bn" else {}
    return seeded(lambda: torchvision.models.get_model(name, weights=None, num_classes=10, **options))


FIRST_MODELS = ["resnet18", "resnet50", "vgg16_bn"]
LATER_MODELS = ["mobilenet_v2", "efficientnet_b0", "densenet121"]


@pytest.mark.parametrize("name", FIRST_MODELS + LATER_MODELS)
def test_16_17_models_of_torchvision(name, generator):
    """Checks 16 and 17: within 1 % of the logit in single precision, by the default composite; also those of 17."""
    net = ef.replace_stem(calibrated(small(name)))
    images = torch.randn(1, 3, 64, 64, generator=generator)
    relevance, delta = E(net).attribute(images, 3, return_convergence_delta=True)
    assert torch.isfinite(relevance).all()
    assert (delta.abs() <= 0.01 * net(images)[:, 3].abs()).all()


# Refusing silent errors


class Again(nn.Module):
    """One convolution that runs twice, or two with the same weights."""

    def __init__(self, twice):
        super().__init__()
        self.stem = ef.EdgeFilterConv2d(3, 4, "edges", padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = self.first if twice else copy.deepcopy(self.first)
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        features = torch.relu(self.stem(images))
        return self.head(torch.relu(self.second(torch.relu(self.first(features)))).mean((2, 3)))


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = ef.EdgeFilterConv2d(3, 4, "sobel"), nn.Linear(4, 5)

    def forward(self, images, others):
        return self.head((self.stem(images) - self.stem(others)).relu().mean((2, 3)))


def test_18_modules_that_run_twice(x):
    """Check 18: better than refused, a module run twice is explained as two with the same weights; a bank is refused."""
    twice, unrolled = (seeded(Again, flag).double().eval() for flag in (True, False))
    assert torch.equal(twice(x), unrolled(x))
    assert_close(E(twice).attribute(x, 1), E(unrolled).attribute(x, 1), rtol=1e-9, atol=1e-12)
    for kind in (E, L):
        with pytest.raises(RuntimeError, match=r"filter bank 'stem.filters' must run once .*; got two runs"):
            kind(Siamese().double().eval()).attribute((x, x.flip(3)), 1)


class Functional(nn.Module):
    """Pooling, activation and residual sum as functions or as modules and by hand."""

    def __init__(self, functional):
        super().__init__()
        self.functional = functional
        self.stem, self.conv = ef.EdgeFilterConv2d(3, 4, "edges", padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.pool, self.head = nn.ReLU(), nn.AvgPool2d(2), nn.Linear(144, 5)
        self.both = nn.Conv2d(8, 4, 1, bias=False)
        with torch.no_grad():
            self.both.weight.copy_(torch.eye(4).repeat(1, 2).reshape(4, 8, 1, 1))

    def forward(self, images):
        if self.functional:
            features = nn.functional.relu(self.stem(images))
            features = nn.functional.avg_pool2d(features + nn.functional.relu(self.conv(features)), 2)
            return self.head(torch.flatten(features, 1))
        features = self.relu(self.stem(images))
        summed = self.both(torch.cat([features, self.relu(self.conv(features))], 1))
        return self.head(torch.flatten(self.pool(summed), 1))


def test_19_functional_forms(x):
    """Check 19: functional pooling, activation and residual sum give what modules give."""
    functional, modules = (seeded(Functional, flag).double().eval() for flag in (True, False))
    assert_close(functional(x), modules(x))
    found, expected = (E(net).attribute(x, 1) for net in (functional, modules))
    assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.999


def test_20_script_and_compile(model, x):
    """Check 20: a ScriptModule is refused; a compiled model gives what the model gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(model, x)
    compiled = torch.compile(model, backend="eager")
    for kind in (E, L):
        with pytest.raises(TypeError, match=r"model must be an ordinary nn.Module; got a"):
            kind(scripted)
        assert torch.equal(kind(compiled).attribute(x, 1), kind(model).attribute(x, 1))


def test_21_training_mode():
    """Check 21: BatchNorm in training mode is refused, its statistics stay."""
    net = ef.replace_stem(calibrated(small("resnet18")))
    net.layer1[0].bn1.train()
    before = state_of(net)
    for kind in (E, L):
        with pytest.raises(ValueError, match=r"layer 'layer1.0.bn1' is training\. Call model.eval\(\) first"):
            kind(net).attribute(torch.zeros(1, 3, 64, 64), 1)
    assert_untouched(net, before)


def test_22_canonizers_do_no_harm(generator):
    """Check 22: Zennit's canonizer that breaks densenet121 leaves the model as it is."""
    net = ef.replace_stem(calibrated(small("densenet121")))
    images = torch.randn(1, 3, 64, 64, generator=generator)
    output, before = net(images), state_of(net)
    composite = EpsilonPlusFlat(canonizers=[SequentialMergeBatchNorm()])
    with contextlib.suppress(RuntimeError):
        E(net, composite).attribute(images, 1)
    assert_untouched(net, before)
    assert torch.equal(net(images), output)


# State


@pytest.mark.parametrize("kind", [E, L])
def test_23_modes_and_gradients(model, x, kind):
    """Check 23: works under no_grad and leaves it on; gradients, frozen parameters and flags stay."""
    expected = kind(model).attribute(x, 1)
    model(x).sum().backward()
    model.conv.requires_grad_(False)
    x.requires_grad_()
    x.grad = torch.ones_like(x)
    before, grads = state_of(model), [p.grad for p in model.parameters()]
    with torch.no_grad():
        result = kind(model).attribute(x, 1)
        assert not torch.is_grad_enabled()
    assert_close(result, expected)
    assert_untouched(model, before)
    assert all(p.grad is grad for p, grad in zip(model.parameters(), grads, strict=True))
    assert torch.equal(x.grad, torch.ones_like(x))


def failing(error):
    """A composite whose rule for linear layers raises."""

    def raising(_grad, _outputs):
        raise error

    return LayerMapComposite([(nn.Linear, BasicHook(gradient_mapper=raising))])


@pytest.mark.parametrize("kind", [E, L])
def test_23_state_after_failures(model, x, kind):
    """Check 23, also after a rule that raises and after images that do not fit the network."""
    before = state_of(model)
    broken = kind(model, composite=failing(ArithmeticError("on purpose")))
    with pytest.raises(ArithmeticError, match="on purpose"):
        broken.attribute(x, 1)
    with pytest.raises(RuntimeError, match="shape"):
        kind(model).attribute(x[:, :, :8, :8], 1)
    assert_untouched(model, before)
    assert not x.requires_grad


@pytest.mark.parametrize("kind", [E, L])
def test_24_nothing_stays(model, x, kind):
    """Check 24: 20 calls add no attribute to a module and keep no tensor alive."""
    attr = kind(model)

    def census():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    attr.attribute(x, 1)
    before, count = state_of(model), census()
    for _ in range(20):
        attr.attribute(x, 1)
    image = x.clone()
    seen = weakref.ref(image)
    attr.attribute(image, 1)
    del image
    assert census() <= count
    assert seen() is None
    assert_untouched(model, before)


@pytest.mark.parametrize("kind", [E, L])
def test_25_repeatable_and_copyable(model, x, kind):
    """Check 25: calls repeat bit by bit, copies agree, two objects on one model do not disturb each other."""
    before = state_of(model)
    attr, other = kind(model), kind(model, composite="zplus")
    expected, others = attr.attribute(x, 1), other.attribute(x, 1)
    for twin in (attr, copy.copy(attr), copy.deepcopy(attr)):
        assert torch.equal(twin.attribute(x, 1), expected)

    def nested(grad, outputs):
        results.append(other.attribute(x, 1))
        return [grad for _ in outputs]

    results = []
    outer = kind(model, composite=LayerMapComposite([(nn.Linear, BasicHook(gradient_mapper=nested))]))
    assert torch.isfinite(outer.attribute(x, 1)).all()
    assert torch.equal(results[0], others)
    assert torch.equal(attr.attribute(x, 1), expected)
    assert_untouched(model, before)


# Hosts


@pytest.mark.parametrize("kind", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_26_noise_tunnel(model, x, kind):
    """Check 26: three types, targets for each image, the delta of each sample; no noise changes nothing."""
    tunnel, targets = ca.NoiseTunnel(E(model)), [0, 1, 2, 3]
    result, delta = tunnel.attribute(
        x, nt_type=kind, nt_samples=5, stdevs=0.1, target=targets, return_convergence_delta=True
    )
    assert result.shape == x.shape
    assert delta.shape == (20,)
    (single,) = tunnel.attribute((x,), nt_type=kind, nt_samples=2, target=targets)
    assert single.shape == x.shape
    still = tunnel.attribute(
        x, nt_type=kind, nt_samples=5, nt_samples_batch_size=2, stdevs=0.0, target=targets
    )
    plain = E(model).attribute(x, targets)
    expected = {"smoothgrad": plain, "smoothgrad_sq": plain**2, "vargrad": 0 * plain}[kind]
    assert_close(still, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("kind", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_27_noise_tunnel_keeps_the_score(model, x, score, kind):
    """Check 27: through the tunnel each score has its shape, and without noise its value; also L."""
    expected = E(model).attribute(x, 1, score=score)
    tunnel = ca.NoiseTunnel(E(model))
    assert tunnel.attribute(x, nt_type=kind, nt_samples=2, target=1, score=score).shape == expected.shape
    still = tunnel.attribute(x, nt_samples=2, stdevs=0.0, target=1, score=score)
    assert_close(still, expected, rtol=1e-9, atol=1e-12)
    at_bank = ca.NoiseTunnel(L(model)).attribute(x, nt_type=kind, nt_samples=2, target=1)
    assert at_bank.shape == (4, 27, 12, 12)


def moved(images):
    """Move images by a fixed amount, which depends on nothing but themselves."""
    changed = tuple(part + 0.02 * torch.sin(100 * part) for part in parts_of(images))
    return changed if isinstance(images, tuple) else changed[0]


@pytest.mark.parametrize("score", SCORES)
def test_28_sensitivity(model, x, score):
    """Check 28: one number per image, whatever the layout, equal to that of a wrapper which returns tuples."""
    attr, options = (
        E(model),
        {"target": [0, 1, 2, 3], "perturb_func": moved, "n_perturb_samples": 2, "score": score},
    )
    found = sensitivity_max(attr.attribute, x, **options)
    last = sensitivity_max(attr.attribute, x.contiguous(memory_format=torch.channels_last), **options)
    wrapped = sensitivity_max(
        lambda inputs, **kw: (attr.attribute(inputs[0] if isinstance(inputs, tuple) else inputs, **kw),),
        x,
        **options,
    )
    assert found.shape == (4,)
    assert (found > 0).all()
    assert_close(found, last, rtol=1e-6, atol=1e-12)
    assert_close(found, wrapped, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", [E, L])
def test_29_sensitivity_of_one_and_of_four(model, x, kind):
    """Check 29: an image alone has the number it has among four; L, too, returns a tuple for a tuple."""
    options = {"perturb_func": moved, "n_perturb_samples": 2}
    together = sensitivity_max(kind(model).attribute, x, target=[0, 1, 2, 3], **options)
    alone = [sensitivity_max(kind(model).attribute, x[i : i + 1], target=i, **options) for i in range(4)]
    assert_close(torch.cat(alone), together, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("as_tuple", [True, False])
@pytest.mark.parametrize("decorated", [True, False])
def test_30_infidelity(model, x, normalize, as_tuple, decorated):
    """Check 30: runs with and without the decorator, and is lower than for the same values at random places."""
    attr, generator = E(model, "epsilon"), torch.Generator().manual_seed(0)

    def noisy(images):
        parts = images if isinstance(images, tuple) else (images,)
        noise = tuple(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parts)
        changed = tuple(part - step for part, step in zip(parts, noise, strict=True))
        if decorated:
            return changed if as_tuple else changed[0]
        shares = tuple(step / part for step, part in zip(noise, parts, strict=True))
        return (shares, changed) if as_tuple else (shares[0], changed[0])

    perturb = infidelity_perturb_func_decorator(True)(noisy) if decorated else noisy
    inputs = (x,) if as_tuple else x
    relevance = attr.attribute(x, 1)
    shuffled = relevance.flatten(1)[:, torch.randperm(432, generator=generator)].reshape(x.shape)

    def value(values):
        values = (values,) if as_tuple else values
        return infidelity(
            model,
            perturb,
            inputs,
            values,
            target=1,
            normalize=normalize,
            n_perturb_samples=20,
            max_examples_per_batch=80,
        )

    found, random = value(relevance), value(shuffled)
    assert found.shape == (4,)
    assert torch.isfinite(found).all()
    assert found.mean() < random.mean()


METHODS = ["heat_map", "blended_heat_map", "original_image", "masked_image", "alpha_scaling"]
SIGNS = ["all", "positive", "negative", "absolute_value"]
LEGAL = [(m, s) for m in METHODS for s in SIGNS if s != "all" or m not in ("masked_image", "alpha_scaling")]


def test_31_visualization(model, x):
    """Check 31: Captum draws pixel and edge maps as (H, W, C); a map of zeros, which it refuses, our own plot draws."""
    found = E(model).explain(x, 1)
    picture = torch.rand(12, 12, 3).numpy()
    maps = [found.pixel[0].permute(1, 2, 0).numpy(), found.edge_map(found.filters[1])[0][:, :, None].numpy()]
    for values in maps:
        assert (values.min() < 0) & (values.max() > 0)
        for method, sign in LEGAL:
            figure, _ = ca.visualization.visualize_image_attr(values, picture, method, sign, use_pyplot=False)
            plt.close(figure)
        figure, _ = ca.visualization.visualize_image_attr_multiple(
            values, picture, METHODS, ["positive"] * 5, use_pyplot=False
        )
        plt.close(figure)
    black = ef.Explanation.from_responses(torch.zeros(1, 27, 12, 12), model.stem, torch.zeros(1, 3, 12, 12))
    plt.close(black.plot(picture))


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_32_interpolation(model, x, mode):
    """Check 32: pixel scores and edge maps grow to any size."""
    for values in (E(model).attribute(x, 1), L(model).attribute(x, 1)):
        grown = ca.LayerAttribution.interpolate(values, (24, 36), interpolate_mode=mode)
        assert grown.shape == (*values.shape[:2], 24, 36)


class LeastSquares(Classifier):
    """Tells two concepts apart by a linear map."""

    def __init__(self):
        self.known, self.direction = [], torch.zeros(0)

    def train_and_eval(self, dataloader, **options):
        batches = list(dataloader)
        features = torch.cat([batch for batch, _ in batches]).flatten(1).double()
        labels = torch.cat([label for _, label in batches])
        self.known = sorted(set(labels.tolist()))
        self.direction = torch.linalg.pinv(features) @ (2.0 * (labels == self.known[1]).double() - 1)

    def weights(self):
        return torch.stack([-self.direction, self.direction])

    def classes(self):
        return self.known


def test_33_tcav(model, bank, x, tmp_path):
    """Check 33: TCAV takes L as its layer method; L has the shape of the layer's activation."""
    layer = L(model, None)
    concepts = [
        Concept(i, name, list(torch.randn(3, 2, 3, 12, 12, dtype=torch.float64) + i))
        for i, name in enumerate(["dim", "bright"])
    ]
    tcav = TCAV(
        model, ["stem.filters"], classifier=LeastSquares(), layer_attr_method=layer, save_path=str(tmp_path)
    )
    (scores,) = tcav.interpret(x.float().double(), [concepts], target=1).values()
    for value in scores["stem.filters"].values():
        assert value.shape == (2,)
        assert torch.isfinite(value).all()
    assert layer.layer is bank
    assert layer.attribute(x, 1).shape == ca.LayerActivation(model, bank).attribute(x).shape


LAYER_METHODS = {
    "LayerActivation": {},
    "LayerGradientXActivation": {"target": 1},
    "LayerGradCam": {"target": 1},
    "LayerIntegratedGradients": {"target": 1, "n_steps": 5},
    "LayerConductance": {"target": 1, "n_steps": 5},
    "InternalInfluence": {"target": 1, "n_steps": 5},
    "LayerFeatureAblation": {"target": 1, "layer_mask": torch.zeros(1, 1, 1, 1, dtype=torch.int64)},
    "LayerDeepLift": {"target": 1},
    "LayerGradientShap": {"target": 1, "n_samples": 2, "baselines": torch.zeros(2, 3, 12, 12).double()},
}
INPUT_METHODS = ["IntegratedGradients", "DeepLift", "GuidedBackprop", "Saliency", "InputXGradient", "LRP"]


@pytest.mark.parametrize("method", LAYER_METHODS)
def test_34_layer_methods(model, bank, x, method):
    """Check 34: nine of Captum's layer methods run on the bank, on the layer that holds it and on its convolution."""
    options = LAYER_METHODS[method]
    for layer in (bank, model.stem, bank.conv):
        result = getattr(ca, method)(model, layer).attribute(x, **options)
        assert result.shape[0] == 4
        assert torch.isfinite(result).all()


@pytest.mark.parametrize("method", INPUT_METHODS)
def test_34_input_methods(model, x, method):
    """Check 34: Captum's other methods run on a model with our layer, as on the model it was made from."""
    found = getattr(ca, method)(model).attribute(x, target=1).detach()
    expected = getattr(ca, method)(ef.fold_stem(model)).attribute(x, target=1).detach()
    if method != "LRP":  # the bank is one layer more
        assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert torch.isfinite(found).all()


def test_34_layer_lrp(plain, x):
    """Check 34: LayerLRP runs on inner convolutions, and on the bank's own."""
    for layer in (plain.conv, plain.stem.mixing, plain.stem.filters.conv):
        result = ca.LayerLRP(plain, layer).attribute(x, 1)
        assert_close(result.sum((1, 2, 3)), plain(x)[:, 1], rtol=1e-3, atol=1e-6)


def test_35_masks(model, bank, x):
    """Check 35: color and filter masks in FeatureAblation and LayerFeatureAblation, alone and in NoiseTunnel."""
    colors, filters = ef.color_mask(model.stem), ef.filter_mask(bank)
    inputs = ef.color_mask(model.stem, of="inputs")
    ablation, layer = ca.FeatureAblation(model), ca.LayerFeatureAblation(model, bank)
    assert ablation.attribute(x, target=1, feature_mask=inputs).shape == x.shape
    tunnel = ca.NoiseTunnel(ablation)
    expected = ablation.attribute(x, target=1, feature_mask=inputs)
    found = tunnel.attribute(x, nt_samples=2, stdevs=0.0, target=1, feature_mask=inputs)
    assert_close(found, expected, rtol=1e-6, atol=1e-9)
    for mask in (colors, filters):
        expected = layer.attribute(x, target=1, layer_mask=mask)
        assert expected.shape == (4, 27, 12, 12)
        found = ca.NoiseTunnel(layer).attribute(x, nt_samples=2, stdevs=0.0, target=1, layer_mask=mask)
        assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_36_robustness(model, x):
    """Check 36: attacks run on a model with our layer; AttackComparator also takes E itself."""
    changed = FGSM(model).perturb(x, epsilon=0.1, target=1)
    assert_close((changed - x).abs().max(), torch.tensor(0.1).double())
    changed = PGD(model).perturb(x, radius=0.1, step_size=0.05, step_num=3, target=1)
    assert (changed - x).norm() > 0

    def noisy(images, size):
        return images - size * torch.ones_like(images)

    found = MinParamPerturbation(model, noisy, "size", 0.0, 3.0, 0.5).evaluate(
        x[:1], target=int(model(x[:1]).argmax())
    )
    assert len(found) == 2
    for function, further in (
        (model, None),
        (E(model).attribute, 1),
    ):  # E takes the target as its second argument
        comparator = AttackComparator(function, metric=lambda output, **_: output.flatten(1).norm(dim=1))
        comparator.add_attack(noisy, "noise", attack_kwargs={"size": 0.1})
        results = comparator.evaluate(x, additional_forward_args=further)
        assert all(torch.isfinite(torch.as_tensor(value)).all() for value in results["noise"].values())


# Check 37: Captum's shipped test configuration


class Front(nn.Module):
    """A model of Captum for vectors of three numbers, made one for images of one pixel in three colors."""

    def __init__(self, body):
        super().__init__()
        self.stem = ef.EdgeFilterConv2d(3, 3, ef.complete_bank(1), bias=False)
        with torch.no_grad():
            self.stem.mixing.weight.copy_(torch.eye(3)[:, :, None, None])
        self.body = body

    def forward(self, images, *more):
        return self.body(self.stem(images).flatten(1), *more)


def taken_over(entry):
    """Tell whether an entry of the configuration suits a method like LRP, of inputs or of a layer."""
    names = {algorithm.__name__ for algorithm in entry["algorithms"]}
    return bool(names & {"LRP", "LayerLRP"}) or entry["name"] == "conv_layer_single_target"


def prepared(entry):
    """Return our form of an entry: the model with a filter bank, and the arguments of ``attribute``."""
    net, arguments = copy.deepcopy(entry["model"]), dict(entry["attribute_args"])
    if hasattr(net, "softmax"):
        net.softmax = nn.Identity()  # logits are explained
        return ef.replace_stem(net.eval(), stem=entry.get("layer")), arguments
    given = arguments["inputs"]
    pictures = [part[:, :, None, None] for part in (given if isinstance(given, tuple) else (given,))]
    rest = [part[:, :, 0, 0] for part in pictures[1:]]
    arguments["inputs"] = (pictures[0], *rest) if isinstance(given, tuple) else pictures[0]
    return Front(net).eval(), arguments


def parts_of(value):
    return value if isinstance(value, tuple) else (value,)


def row(arguments, i, count):
    """Return the arguments for one example."""

    def one(value):
        if isinstance(value, tuple):
            return tuple(one(part) for part in value)
        return (
            value[i : i + 1]
            if isinstance(value, torch.Tensor) and value.dim() and len(value) == count
            else value
        )

    target = arguments["target"]
    several = isinstance(target, list) or (isinstance(target, torch.Tensor) and target.numel() > 1)
    single = target[i] if several else target
    return {**{name: one(value) for name, value in arguments.items() if name != "target"}, "target": single}


ENTRIES = {entry["name"]: entry for entry in CAPTUM_CONFIG if taken_over(entry)}


@pytest.mark.parametrize("kind", [E, L])
@pytest.mark.parametrize("name", ENTRIES)
def test_37_targets(name, kind):
    """Check 37: entries of Captum's configuration; each example of a batch gives what it gives alone."""
    net, arguments = prepared(ENTRIES[name])
    attr = kind(net)
    attr = ca.NoiseTunnel(attr) if ENTRIES[name].get("noise_tunnel") else attr
    torch.manual_seed(0)
    batch = parts_of(attr.attribute(**arguments))
    count = len(parts_of(arguments["inputs"])[0])
    for i in range(count):
        alone = parts_of(attr.attribute(**row(arguments, i, count)))
        for part, single in zip(batch, alone, strict=True):
            scale = max(1.0, float(single.abs().max()))
            assert_close(part[i : i + 1], single, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("kind", [E, L])
@pytest.mark.parametrize("name", ENTRIES)
def test_37_hooks(name, kind):
    """Check 37: no hook stays after success, after a wrong target and after a model that raises."""
    net, arguments = prepared(ENTRIES[name])
    before = state_of(net)
    attr = kind(net)
    attr = ca.NoiseTunnel(attr) if ENTRIES[name].get("noise_tunnel") else attr
    attr.attribute(**arguments)
    assert_untouched(net, before)
    with pytest.raises((AssertionError, IndexError)):
        attr.attribute(**{**arguments, "target": (9999, 9999, 9999, 9999)})
    assert_untouched(net, before)
    last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    last.in_features, last.weight = 99, nn.Parameter(torch.zeros(last.out_features, 99))
    before = state_of(net)
    with pytest.raises(RuntimeError, match="shape"):
        attr.attribute(**arguments)
    assert_untouched(net, before)


def test_37_enough_entries():
    """Check 37: the configuration has such entries, where Captum ships it."""
    if not CAPTUM_CONFIG:
        pytest.skip("this release of Captum ships no test configuration")
    assert len(ENTRIES) >= 15


# Devices, package, cost


@pytest.mark.parametrize("kind", [E, L])
def test_38_data_parallel(model, x, kind):
    """Check 38: of a DataParallel model, the model inside is explained."""
    parallel = nn.DataParallel(model)
    assert torch.equal(kind(parallel).attribute(x, 1), kind(model).attribute(x, 1))
    assert kind(parallel).model is model


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", [E, L])
def test_38_gpu(model, x, kind):
    """Check 38: the GPU agrees with the CPU, also through DataParallel over all GPUs."""
    expected = kind(model).attribute(x, 1)
    there = copy.deepcopy(model).cuda()
    for net in (there, nn.DataParallel(there)):
        assert_close(kind(net).attribute(x.cuda(), 1).cpu(), expected, rtol=1e-4, atol=1e-6)


def test_39_package():
    """Check 39: needs Captum and Python 3.10, is typed (``tox -e types``), loads pyplot only if Captum does."""
    found = metadata("edgefilter")
    assert found["Requires-Python"] == ">=3.10"
    assert any(line.startswith("captum") for line in found.get_all("Requires-Dist"))
    assert (files("edgefilter") / "py.typed").is_file()
    code = (
        "import sys, captum.attr; before = 'matplotlib.pyplot' in sys.modules; "
        "import edgefilter; sys.exit(('matplotlib.pyplot' in sys.modules) != before)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class NoTracker(contextlib.AbstractContextManager):
    """Stands in for the counter's hooks on modules, which autograd.grad of an image does not allow."""

    parents = frozenset({"Global"})

    def __exit__(self, *_):
        return None


def flops(call):
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = NoTracker()
    with counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["toy", "resnet18", "squeezenet1_1", "mobilenet_v2"])
@pytest.mark.parametrize(
    ("composite", "calibrate", "most"),
    [
        ("epsilon_plus", False, 3.0),
        ("epsilon_gamma", False, 3.0),
        ("epsilon", False, 3.0),
        ("epsilon_plus", True, 9.0),
    ],
)
def test_40_cost(name, composite, calibrate, most):
    """Check 40: one pass multiplies and adds at most 3.0 times as often as Saliency on the same model; with the games, 9.0 times."""
    net = ef.replace_stem((seeded(Toy) if name == "toy" else calibrated(small(name))).eval())
    images = torch.rand(2, 3, 12, 12) if name == "toy" else torch.rand(2, 3, 64, 64)
    attr = E(net, composite, calibrate=calibrate)
    ours = flops(lambda: attr.attribute(images, 1))
    theirs = flops(lambda: ca.Saliency(net).attribute(images, target=1))
    assert 0 < ours <= most * theirs
