"""Guided nonlinearities: path-averaged guided backpropagation, what is left alone, and the checks that it fails."""

import copy
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from captum import attr as ca
from captum.attr._utils.approximation_methods import approximation_parameters
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.errors import UnsupportedModelError
from edgefilter.methods import GuidedNonlinearityIG, guided_gradients
from small_models import assert_untouched, snapshot

MNIST = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist.npz"
pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting backward hooks on ReLU", "ignore:Input Tensor 0 did not already require gradients"
)


@pytest.fixture
def x(generator):
    return torch.randn(2, 3, 16, 16, generator=generator, dtype=torch.float64)


def seeded(build, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().double().eval()


def cnn(pool=None, relu=nn.ReLU, inplace=False):
    """Build a classifier of 5 classes."""
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), relu(inplace), *([pool] if pool else []),
            nn.Conv2d(8, 8, 3), relu(inplace), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5),
        )
    )  # fmt: skip


class Functional(nn.Module):
    """The same as :func:`cnn`, with functions in the place of modules."""

    def __init__(self, net, pool, relu):
        super().__init__()
        self.first, self.second = [module for module in net if isinstance(module, nn.Conv2d)]
        self.head, self.pool, self.relu = net[-1], pool, relu

    def forward(self, images):
        features = self.pool(self.relu(self.first(images)))
        return self.head(F.adaptive_avg_pool2d(self.relu(self.second(features)), 2).flatten(1))


def averaged(net, x, target, n_steps=50):
    """Return Captum's guided backpropagation, averaged along the path from zero as Captum averages, times x."""
    sizes, alphas = (function(n_steps) for function in approximation_parameters("gausslegendre"))
    guided = ca.GuidedBackprop(net)
    sizes = torch.tensor(sizes).float().tolist()  # as in Captum
    return x * sum(
        size * guided.attribute(alpha * x, target=target) for size, alpha in zip(sizes, alphas, strict=True)
    )


# As published


@pytest.mark.parametrize("pool", [None, nn.MaxPool2d(2)], ids=["no pooling", "2 x 2"])
@pytest.mark.parametrize("relu", [nn.ReLU, nn.ReLU6])
@pytest.mark.parametrize("inplace", [False, True])
def test_it_is_path_averaged_guided_backpropagation(x, pool, relu, inplace):
    """Without pooling, and with pooling that does not overlap."""
    net = cnn(pool, relu, inplace)
    expected = averaged(cnn(pool), x, [1, 4])  # Captum guides no ReLU6; with these small numbers it is a ReLU
    assert float(expected.abs().max()) > 1e-3
    assert_close(GuidedNonlinearityIG(net).attribute(x, target=[1, 4]), expected, rtol=0, atol=1e-15)


def test_overlapping_pooling_is_another_map(x):
    """The published mask does not lie on the windows that the gradient came from; it is computed as published."""
    net = cnn(nn.MaxPool2d(3, 2, 1))
    found = GuidedNonlinearityIG(net).attribute(x, target=1)
    expected = averaged(net, x, 1)
    assert float((found - expected).abs().max()) > 0.01 * float(expected.abs().max())
    assert_close(found, by_modules(net, x, 1), rtol=0, atol=1e-15)


def by_modules(net, x, target, n_steps=50):
    """Return it by backward hooks on modules, as published: another way to the same numbers."""
    sizes, masks = {}, []

    def relu(module, inputs, outputs):
        return (inputs[0].clamp(min=0),)

    def pool(module, inputs, outputs):
        masks.append(F.interpolate((outputs[0] > 0).double(), size=sizes[module], mode="nearest"))
        return (inputs[0] * masks[-1],)

    hooks = []
    for module in net.modules():
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            hooks.append(module.register_full_backward_hook(relu))
        if isinstance(module, nn.MaxPool2d):
            hooks.append(
                module.register_forward_hook(lambda m, given, _: sizes.update({m: given[0].shape[2:]}))
            )
            hooks.append(module.register_full_backward_hook(pool))
    result = ca.IntegratedGradients(net).attribute(x, target=target, n_steps=n_steps).detach()
    for hook in hooks:
        hook.remove()
    assert masks
    return result


def test_it_is_integrated_gradients_without_those_layers(x):
    """Exactly; other activations and other maxima keep their gradients."""
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.GELU(), nn.AdaptiveMaxPool2d(3), nn.Flatten(), nn.Linear(36, 3)
        )
    )
    for options in ({}, {"method": "riemann_middle", "n_steps": 7, "baselines": 0.3}):
        found = GuidedNonlinearityIG(net).attribute(x, target=1, **options)
        assert torch.equal(found, ca.IntegratedGradients(net).attribute(x, target=1, **options).detach())


def test_by_hand():
    """Weights 2 and -3 behind the ReLU: the negative one passes no gradient, so nothing reaches its input."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
        net[2].weight.copy_(torch.tensor([[2.0, -3.0]]))
    points = torch.tensor([[1.0, 1.0], [5.0, 2.0]]).double()
    found, delta = GuidedNonlinearityIG(net).attribute(points, return_convergence_delta=True)
    assert_close(found, torch.tensor([[2.0, 0.0], [10.0, 0.0]]).double(), rtol=0, atol=1e-7)
    assert_close(delta, torch.tensor([3.0, 6.0]).double(), rtol=0, atol=1e-6)


# However the network is written


@pytest.mark.parametrize("relu", [F.relu, F.relu_, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, lambda x: F.relu(x, inplace=True), F.relu6, lambda x: F.relu6(x, inplace=True), lambda x: x.clamp(0), lambda x: torch.clamp(x, min=0), lambda x: x.clamp_min(0.0), lambda x: torch.clip(x, 0, 6), lambda x: x.clamp_(min=0, max=6), lambda x: torch.clamp(input=x, min=0), lambda x: F.hardtanh(input=x, min_val=0, max_val=6)])  # fmt: skip
@pytest.mark.parametrize("pool", [lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: torch.max_pool2d(x, 3, 2, 1), lambda x: F.max_pool2d(input=x, kernel_size=3, stride=2, padding=1), lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)[0]])  # fmt: skip
def test_functions_are_guided_as_modules(x, relu, pool):
    """A network gives one answer, whether modules or functions rectify and pool."""
    net = cnn(nn.MaxPool2d(3, 2, 1))
    found = GuidedNonlinearityIG(Functional(net, pool, relu).eval()).attribute(x, target=2, n_steps=5)
    expected = GuidedNonlinearityIG(net).attribute(x, target=2, n_steps=5)
    plain = ca.IntegratedGradients(net).attribute(x, target=2, n_steps=5)
    assert not torch.allclose(expected, plain)
    assert_close(found, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("clip", [lambda x: x.clamp(0, 1), lambda x: x.clamp(-1), lambda x: torch.clamp(x, max=0), lambda x: x.clamp(min=torch.zeros(1)), F.hardtanh])  # fmt: skip
def test_other_clips_keep_their_gradients(x, clip):
    """They are no ReLU: without one, integrated gradients."""

    class Clipped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, images):
            return -clip(self.conv(images)).flatten(1)  # negative gradients: a guided one would be gone

    net = Clipped().to(x.dtype).eval()
    assert_close(
        GuidedNonlinearityIG(net).attribute(x, target=2),
        ca.IntegratedGradients(net).attribute(x, target=2),
        rtol=0,
        atol=1e-15,
    )


def test_baselines_come_in_all_forms(x):
    """One number, one for all images, one for each: as for integrated gradients."""
    attr = GuidedNonlinearityIG(cnn())
    wanted = attr.attribute(x, torch.full_like(x, 0.25), target=2, n_steps=4)
    for given in (0.25, np.float32(0.25), torch.tensor(0.25), torch.full_like(x[:1], 0.25), (0.25,)):
        assert_close(attr.attribute(x, given, target=2, n_steps=4), wanted, rtol=0, atol=1e-15)
        alone = attr.attribute(x, given, target=2, n_steps=4, internal_batch_size=3)
        assert_close(alone, wanted, rtol=0, atol=1e-15)


class Again(nn.Module):
    """One ReLU and one pooling that run twice, beside a branch that the pooling must not touch."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.pool = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(3, 1, 1)
        self.head = nn.Linear(3, 2)

    def forward(self, images):
        features = self.relu(self.conv(images))
        features = self.pool(features) - 0.5 * features
        return self.head(self.pool(self.relu(self.conv(features))).mean((2, 3)))


class Apart(Again):
    """The same with modules of their own, and a copy for the branch."""

    def __init__(self):
        super().__init__()
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.pool1, self.pool2 = nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(3, 1, 1)

    def forward(self, images):
        features = self.relu1(self.conv(images))
        features = self.pool1(features.clone()) - 0.5 * features
        return self.head(self.pool2(self.relu2(self.conv(features))).mean((2, 3)))


def test_modules_may_run_twice_and_share_their_input(x):
    """As modules of their own would, by hooks on these."""
    net, apart = seeded(Again), seeded(Apart)
    apart.load_state_dict(net.state_dict())
    found = GuidedNonlinearityIG(net).attribute(x, target=1, n_steps=6)
    assert_close(found, by_modules(apart, x, 1, 6), rtol=0, atol=1e-15)


def test_a_residual_network_of_torchvision():
    """In-place ReLUs that run twice, and overlapping pooling: equal to module hooks on a copy without in-place layers."""
    net = seeded(lambda: torchvision.models.resnet18(weights=None, num_classes=4))
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    found = GuidedNonlinearityIG(net).attribute(images, target=1, n_steps=3)
    plain = copy.deepcopy(net)
    for module in plain.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    for block in (m for m in plain.modules() if isinstance(m, torchvision.models.resnet.BasicBlock)):
        block.forward = separate(block)
    expected = by_modules(plain, images, 1, 3)
    assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


def separate(block):
    """Return a block's forward whose two ReLUs are two modules."""
    block.relu1 = nn.ReLU()

    def forward(x):
        out = block.bn2(block.conv2(block.relu1(block.bn1(block.conv1(x)))))
        return block.relu(out + (x if block.downsample is None else block.downsample(x)))

    return forward


# At the bank


def test_the_guided_attribution_at_the_bank(x):
    """LayerIntegratedGradients inside gives responses that from_responses sums to scores by color and filter."""
    net = seeded(lambda: ef.models.edge_cnn(5, in_channels=3, bank="sobel"))
    bank = net.stem.filters
    with guided_gradients(net):
        found = ca.LayerIntegratedGradients(net, bank).attribute(x, target=1).detach()
    rest = copy.deepcopy(net)
    rest.stem.filters = nn.Identity()
    responses, nothing = bank(x).detach(), bank(torch.zeros_like(x)).detach()
    expected = GuidedNonlinearityIG(rest).attribute(responses, nothing, 1)
    assert float(expected.abs().max()) > 1e-6
    assert_close(found, expected, rtol=0, atol=1e-15)
    scores = ef.Explanation.from_responses(found, bank)
    assert_close(scores.color_edge, found.unflatten(1, (3, 2)).sum((3, 4)), rtol=0, atol=1e-14)
    plain = ca.LayerIntegratedGradients(net, bank).attribute(x, target=1)
    assert not torch.allclose(plain, found)


# The checks that it fails


def test_completeness_fails(x):
    """The delta is that of integrated gradients: what the map sums to, less the difference of the outputs."""
    net = cnn(nn.MaxPool2d(2))
    found, delta = GuidedNonlinearityIG(net).attribute(x, target=1, return_convergence_delta=True)
    gap = found.sum((1, 2, 3)) - (net(x) - net(torch.zeros_like(x)))[:, 1]
    assert_close(delta, gap.detach(), rtol=0, atol=1e-12)
    _, theirs = ca.IntegratedGradients(net).attribute(x, target=1, return_convergence_delta=True)
    assert (delta.abs() > 30 * theirs.abs()).all()
    _, finer = GuidedNonlinearityIG(net).attribute(x, target=1, n_steps=200, return_convergence_delta=True)
    assert (finer.abs() > 0.5 * delta.abs()).all()


def test_a_constant_output_gives_zero(x):
    """Exactly."""
    net = cnn()
    nn.init.zeros_(net[-1].weight)
    assert torch.equal(GuidedNonlinearityIG(net).attribute(x, target=1), torch.zeros_like(x))


@pytest.mark.skipif(not MNIST.exists(), reason="MNIST lies outside the repository")
def test_randomization_fails():
    """Its map of a digit is much the same when every layer above the bank has new weights; that of IG is another."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
    try:
        import sanity
    finally:
        sys.path.pop(0)
    network, images = ef.models.load("digits"), sanity.digits(MNIST.parent, 8)
    guided = lambda model, x, t: GuidedNonlinearityIG(model).attribute(x, target=t, n_steps=10)  # noqa: E731
    assert sanity.correlation(guided, network, images) > 0.7
    assert abs(sanity.correlation(sanity.integrated_gradients, network, images)) < 0.2


# Captum's contract


def test_everything_is_as_before(x):
    """Model, inputs, global random state, and what integrated gradients give; also after an exception."""
    net = cnn(nn.MaxPool2d(2), inplace=True)
    before, state = snapshot(net, x), torch.get_rng_state()
    expected = ca.IntegratedGradients(net).attribute(x, target=1)
    GuidedNonlinearityIG(net).attribute(x, target=1)
    assert_untouched(before, snapshot(net, x))
    with pytest.raises(IndexError):
        GuidedNonlinearityIG(net).attribute(x, target=9)
    with pytest.raises(RuntimeError):
        GuidedNonlinearityIG(net).attribute(x[:, :2], target=1)
    with pytest.raises(KeyboardInterrupt), guided_gradients(net):
        raise KeyboardInterrupt
    assert_untouched(before, snapshot(net, x))
    assert torch.equal(ca.IntegratedGradients(net).attribute(x, target=1), expected)
    assert not x.requires_grad
    assert torch.equal(torch.get_rng_state(), state)


def test_outputs_do_not_change_inside(x):
    """Only gradients do."""
    net = cnn(nn.MaxPool2d(3, 2, 1), inplace=True)
    with guided_gradients(net):
        assert torch.equal(net(x), net(x.clone().requires_grad_()))
        inside = net(x)
    assert torch.equal(inside, net(x))


def test_names_flags_and_order():
    """Arguments and their order are those of integrated gradients."""
    attr = GuidedNonlinearityIG(cnn())
    assert isinstance(attr, ca.GradientAttribution)
    assert attr.multiplies_by_inputs is True
    assert attr.has_convergence_delta() is True
    with pytest.raises(NotImplementedError, match="attribute_future is not implemented"):
        attr.attribute_future()
    ours, theirs = (
        inspect.signature(kind.attribute.__wrapped__).parameters
        for kind in (GuidedNonlinearityIG, ca.IntegratedGradients)
    )
    assert {name: p.default for name, p in ours.items()} == {name: p.default for name, p in theirs.items()}
    assert list(ours) == list(theirs)
    words = GuidedNonlinearityIG.__doc__
    assert "negative control" in words
    assert "not the *Guided IG*" in words


@pytest.mark.parametrize("target", [1, (1,), torch.tensor(1), torch.tensor([1]), [1] * 2, torch.tensor([1] * 2), [(1,)] * 2, np.int64(1)], ids=str)  # fmt: skip
def test_forms_of_target(x, target):
    """Each gives the same."""
    attr = GuidedNonlinearityIG(cnn())
    assert torch.equal(attr.attribute(x, target=target, n_steps=2), attr.attribute(x, target=1, n_steps=2))


@pytest.mark.parametrize("size", [1, 2, 3, 8, 100])
def test_the_internal_batch_does_not_matter(x, size):
    """Nor do the other images of a batch; with baselines of each, the delta, and at most so many rows at a time."""
    net, rows = cnn(nn.MaxPool2d(3, 2, 1)), []
    attr = GuidedNonlinearityIG(net)
    options = {"baselines": x.flip(0) / 2, "target": [0, 3], "return_convergence_delta": True}
    expected = attr.attribute(x, **options)
    with net.register_forward_pre_hook(lambda _, given: rows.append(len(given[0]))):
        found = attr.attribute(x, internal_batch_size=size, **options)
    assert max(rows) <= size
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, rtol=0, atol=1e-15)
    singles = [
        attr.attribute(x[i : i + 1], options["baselines"][i : i + 1], target)
        for i, target in enumerate(options["target"])
    ]
    assert_close(torch.cat(singles), expected[0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_dtype_modes_and_hosts(x, dtype):
    """Detached, of the inputs' dtype; a tuple for a tuple; within no_grad, inference_mode and NoiseTunnel."""
    attr = GuidedNonlinearityIG(cnn(nn.MaxPool2d(2)).to(dtype))
    images = x.to(dtype)
    expected = attr.attribute(images.clone().requires_grad_(), target=1)
    assert (expected.dtype, expected.requires_grad) == (dtype, False)
    (single,) = attr.attribute((images,), target=1)
    assert torch.equal(single, expected)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(attr.attribute(images.clone(), target=1), expected)
    with torch.random.fork_rng():
        found = ca.NoiseTunnel(attr).attribute(images, nt_samples=2, stdevs=0.1, target=[0, 1], n_steps=3)
    assert found.shape == images.shape


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, first, second, gain):
        return self.head(F.relu(self.a(first) + self.b(second))) * gain[:, None]


def test_several_inputs_and_further_arguments(generator):
    """Expanded as by integrated gradients."""
    first, second = (torch.randn(3, n, generator=generator, dtype=torch.float64) for n in (4, 3))
    gain = torch.tensor([1.0, 2.0, 3.0]).double()
    attr = GuidedNonlinearityIG(seeded(TwoInputs))
    plain = attr.attribute((first, second), target=[0, 1, 0], additional_forward_args=torch.ones(3).double())
    found = attr.attribute((first, second), (0.0, torch.zeros(1, 3).double()), [0, 1, 0], gain)
    assert [part.shape for part in found] == [(3, 4), (3, 3)]
    for one, other in zip(found, plain, strict=True):
        assert_close(one, other * gain[:, None], rtol=0, atol=1e-14)


def test_wrapped_models_are_run_inside(x):
    """DataParallel and torch.compile compute the same; the context manager wants the model itself."""
    net = cnn(nn.MaxPool2d(2))
    expected = GuidedNonlinearityIG(net).attribute(x, target=1)
    for wrapped in (nn.DataParallel(net), torch.compile(net, backend="eager")):
        assert torch.equal(GuidedNonlinearityIG(wrapped).attribute(x, target=1), expected)
        with pytest.raises(UnsupportedModelError, match="Pass the model inside"), guided_gradients(wrapped):
            pass


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_other_models_are_refused(x):
    """Functions; scripted layers, whose gradients cannot be guided; layers that are training."""
    with pytest.raises(TypeError, match=r"model must be an nn.Module; got function"):
        GuidedNonlinearityIG(lambda images: images)
    scripted = torch.jit.script(cnn())
    with pytest.raises(UnsupportedModelError, match=r"got a scripted model. Pass the model before torch.jit"):
        GuidedNonlinearityIG(scripted)
    with pytest.raises(UnsupportedModelError, match=r"got layer '0', which is scripted"):
        GuidedNonlinearityIG(nn.Sequential(scripted))
    net = nn.Sequential(cnn(), nn.BatchNorm1d(5)).double()
    with pytest.raises(ValueError, match=r"layer '1' \(BatchNorm1d\) is training"):
        GuidedNonlinearityIG(net).attribute(x, target=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_steps": 0}, "n_steps must be a whole number of at least 1; got 0"),
        ({"n_steps": 2.5}, "got 2.5"),
        ({"method": "gauslegendre"}, "did you mean 'gausslegendre'"),
        ({"internal_batch_size": 0}, "internal_batch_size must be"),
        ({"baselines": torch.zeros(3)}, r"baselines must be a number, or have shape .* got \(3,\)"),
        ({"baselines": (0, 0)}, "baselines must be one for each of the 1 inputs; got 2"),
    ],
)
def test_other_settings_are_refused(x, options, words):
    """With what to do."""
    with pytest.raises(ValueError, match=words):
        GuidedNonlinearityIG(cnn()).attribute(x, target=1, **options)
