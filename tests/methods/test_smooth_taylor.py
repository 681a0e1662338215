"""SmoothTaylor: two of Captum's methods combined, Taylor's theorem, Stein's identity, and Captum's contract."""

import copy
import inspect

import numpy as np
import pytest
import torch
from captum import attr as ca
from captum.metrics import infidelity, sensitivity_max
from torch import nn
from torch.testing import assert_close

from edgefilter.methods import SmoothTaylor
from small_models import assert_untouched, snapshot

try:  # not in every release of Captum
    from captum.testing.attr.helpers.test_config import config as CAPTUM_CONFIG
except ImportError:
    CAPTUM_CONFIG = []

EXACT = {"rtol": 0, "atol": 1e-12}
pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")


@pytest.fixture
def x(generator):
    return torch.randn(3, 3, 10, 10, generator=generator, dtype=torch.float64)


class Affine(nn.Module):
    """One output, ``w x + b``."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, points):
        return points @ self.weight + 0.3


class Quadratic(nn.Module):
    """``x A x / 2``, whose Hessian is A."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def forward(self, points):
        return ((points @ self.matrix) * points).sum(1) / 2


class Mixed(nn.Module):
    """Two inputs, and further arguments: a gain for each example, and a flag."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(3, 5)

    def forward(self, first, second, gain=None, square=False):
        output = torch.tanh(self.a(first) + self.b(second)) ** 2
        output = output if gain is None else output * gain[:, None]
        return output**2 if square else output


def mixed():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Mixed().double().eval()


# The formula


def test_it_is_a_difference_of_two_methods_of_captum(small_net, x):
    """With the same noise: x * SmoothGrad - SmoothGrad of input times gradient."""
    noise = {"nt_samples": 7, "stdevs": 0.5, "target": [1, 0, 4]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        smooth = ca.NoiseTunnel(ca.Saliency(small_net)).attribute(x, abs=False, **noise)
        torch.manual_seed(0)
        product = ca.NoiseTunnel(ca.InputXGradient(small_net)).attribute(x, **noise)
        torch.manual_seed(0)
        drawn = torch.normal(0, torch.full((3 * 7, 3, 10, 10), 0.5))  # as NoiseTunnel draws it
    roots = (x.repeat_interleave(7, 0) + drawn).unflatten(0, (3, 7)).transpose(0, 1)
    found = SmoothTaylor(small_net).attribute(x, [1, 0, 4], roots=roots)
    assert float(found.abs().max()) > 1e-3
    assert_close(found, x * smooth - product.detach(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("stdev", [0.5, 0.3, 0.1])
def test_one_image_has_the_noise_of_the_same_seed(small_net, x, stdev):
    """Whatever the standard deviation is rounded to."""
    noise = {"nt_samples": 4, "nt_samples_batch_size": 1, "stdevs": stdev, "target": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        smooth = ca.NoiseTunnel(ca.Saliency(small_net)).attribute(x[:1], abs=False, **noise)
        torch.manual_seed(0)
        product = ca.NoiseTunnel(ca.InputXGradient(small_net)).attribute(x[:1], **noise)
    found = SmoothTaylor(small_net).attribute(x[:1], 1, n_samples=4, stdevs=stdev, seed=0)
    assert_close(found, x[:1] * smooth - product.detach(), rtol=0, atol=1e-15)


def test_it_is_the_slow_loop(small_net, x):
    """Point by point, each with a backward pass of its own; the noise is drawn sample by sample."""
    generator = torch.Generator().manual_seed(5)
    expected = torch.zeros_like(x)
    for _ in range(6):
        noise = 0.2 * torch.randn(3, 10, 10, generator=generator)  # in float32, as NoiseTunnel's
        for i in range(3):
            point = (x[i] + noise).requires_grad_()
            (gradient,) = torch.autograd.grad(small_net(point[None])[0, 2], point)
            expected[i] += (x[i] - point.detach()) * gradient / 6
    found = SmoothTaylor(small_net).attribute(x, 2, n_samples=6, stdevs=0.2, seed=5)
    assert_close(found, expected, rtol=0, atol=1e-15)


def test_it_goes_to_zero_with_the_noise(small_net, x):
    """Linearly, and not to input times gradient."""
    sizes = [
        float(SmoothTaylor(small_net).attribute(x, 1, stdevs=s, n_samples=20).abs().mean()) / s
        for s in (1e-3, 1e-4, 1e-5)
    ]
    assert_close(sizes[1], sizes[2], rtol=0.02, atol=0)
    assert_close(sizes[0], sizes[2], rtol=0.2, atol=0)
    assert torch.equal(SmoothTaylor(small_net).attribute(x, 1, stdevs=0.0), torch.zeros_like(x))


def test_one_root_for_all_gives_one_taylor_term(small_net, x):
    """All roots at x': the change of the input times the gradient there."""
    there = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    gradient = ca.Saliency(small_net).attribute(there, target=1, abs=False)
    expected = (x - there) * gradient
    attr = SmoothTaylor(small_net)
    assert_close(attr.attribute(x, 1, roots=there.expand(9, *x.shape)), expected, **EXACT)
    called = attr.attribute(x, 1, n_samples=4, roots=lambda inputs, index: there)
    assert_close(called, expected, **EXACT)


def test_affine_outputs_leave_no_delta(generator):
    """To rounding, for each example; the terms have mean 0 and deviation |w| s / sqrt(n)."""
    weight = torch.randn(6, generator=generator, dtype=torch.float64)
    points = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    attr = SmoothTaylor(Affine(weight))
    _, delta = attr.attribute(points, return_convergence_delta=True, n_samples=50)
    assert delta.shape == (4,)
    assert_close(delta, torch.zeros(4).double(), rtol=0, atol=1e-13)
    draws = torch.stack([attr.attribute(points[:1], n_samples=25, seed=seed)[0] for seed in range(100)])
    expected = weight.abs() * 0.5 / 5
    assert (draws.mean(0).abs() < 4 * expected / 10).all()
    assert_close(draws.std(0), expected, rtol=0.3, atol=0)


def test_it_estimates_curvature(generator):
    """For a quadratic output, minus the squared deviation times the diagonal of the Hessian (Stein's identity)."""
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    matrix = root + root.T
    point = torch.randn(1, 5, generator=generator, dtype=torch.float64)
    attr = SmoothTaylor(Quadratic(matrix))
    found = attr.attribute(point, n_samples=20_000, stdevs=0.4)[0]
    assert_close(found, -0.16 * matrix.diag(), rtol=0, atol=0.06)
    assert float(matrix.diag().abs().max()) * 0.16 > 0.2
    _, delta = attr.attribute(point, return_convergence_delta=True, n_samples=20_000, stdevs=0.4)
    assert_close(delta, (-0.16 * matrix.trace() / 2)[None], rtol=0, atol=0.06)


def test_the_sign_misleads_where_the_output_is_convex():
    """What drives ``exp(x)`` up gets a negative value."""
    found = SmoothTaylor(lambda points: points.exp().sum(1)).attribute(
        torch.ones(1, 2).double(), n_samples=4000
    )
    assert (found < -0.3).all()


def test_a_constant_output_gives_zero(x):
    """Exactly."""
    found = SmoothTaylor(lambda images: (0 * images).sum((1, 2, 3)) + 0.7).attribute(x, n_samples=5)
    assert torch.equal(found, torch.zeros_like(x))


# Noise, batches and samples


@pytest.mark.parametrize("size", [1, 2, 5, 11, 20])
def test_samples_at_a_time_do_not_matter(small_net, x, size):
    """Neither for the map nor for the delta."""
    attr, options = SmoothTaylor(small_net), {"return_convergence_delta": True, "n_samples": 11}
    expected = attr.attribute(x, [0, 1, 2], **options)
    found = attr.attribute(x, [0, 1, 2], n_samples_batch_size=size, **options)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, **EXACT)


def test_by_default_few_samples_are_in_memory_at_a_time(x):
    """Ten of each image; all with None."""
    rows = []

    def score(points):
        rows.append(len(points))
        return points.flatten(1).square().sum(1)

    few = SmoothTaylor(score).attribute(x, n_samples=25)
    assert set(rows) == {10 * len(x), 5 * len(x)}
    rows.clear()
    every = SmoothTaylor(score).attribute(x, n_samples=25, n_samples_batch_size=None)
    assert set(rows) == {25 * len(x)}
    assert_close(few, every)


def test_a_batch_is_its_examples(small_net, x):
    """Also with a target, a deviation and roots for each."""
    attr = SmoothTaylor(small_net)
    stdevs, roots = torch.tensor([0.1, 0.5, 2.0]), torch.randn(4, *x.shape).double()
    for options in ({"stdevs": stdevs, "n_samples": 5}, {"roots": roots}):
        batch = attr.attribute(x, [3, 0, 2], **options)
        for i, target in enumerate((3, 0, 2)):
            some = (
                {"roots": roots[:, i : i + 1]}
                if "roots" in options
                else {**options, "stdevs": float(stdevs[i])}
            )
            assert_close(batch[i : i + 1], attr.attribute(x[i : i + 1], target, **some), rtol=1e-6, atol=1e-9)


def test_the_seed_decides(small_net, x):
    """The same again; another with another seed; a generator goes on; the global state stays."""
    attr = SmoothTaylor(small_net)
    state, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = attr.attribute(x, 1, n_samples=3)
    assert torch.equal(attr.attribute(x, 1, n_samples=3, seed=0), first)
    assert not torch.equal(attr.attribute(x, 1, n_samples=3, seed=1), first)
    mine = torch.Generator().manual_seed(0)
    assert torch.equal(attr.attribute(x, 1, n_samples=3, seed=mine), first)
    assert not torch.equal(attr.attribute(x, 1, n_samples=3, seed=mine), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpys).all()  # noqa: NPY002


def test_several_inputs_each_with_its_noise(generator):
    """A tuple in, a tuple out; a deviation of 0 leaves an input where it is."""
    net = mixed()
    first, second = (torch.randn(2, n, generator=generator, dtype=torch.float64) for n in (4, 3))
    attr = SmoothTaylor(net)
    parts, delta = attr.attribute((first, second), 1, return_convergence_delta=True, stdevs=(0.3, 0.0))
    assert [part.shape for part in parts] == [(2, 4), (2, 3)]
    assert float(parts[0].abs().max()) > 0
    assert torch.equal(parts[1], torch.zeros_like(second))
    alone = SmoothTaylor(lambda points: net(points, second.repeat_interleave(len(points) // 2, 0))[:, 1])
    same = lambda points, _: points + 0.3  # noqa: E731
    both = attr.attribute(
        (first, second), 1, n_samples=2, roots=lambda points, _: (points[0] + 0.3, points[1])
    )
    assert_close(both[0], alone.attribute(first, n_samples=2, roots=same), **EXACT)
    assert delta.shape == (2,)
    per_image = attr.attribute((first, second), 1, stdevs=(torch.tensor([0.3, 0.3]), 0))
    assert_close(per_image[0], parts[0], rtol=1e-6, atol=1e-9)


def test_further_arguments_are_expanded(generator):
    """Tensors with the samples, others as they are."""
    net = mixed()
    first, second = (torch.randn(3, n, generator=generator, dtype=torch.float64) for n in (4, 3))
    gain = torch.tensor([1.0, 2.0, -3.0]).double()
    attr = SmoothTaylor(net)
    plain = attr.attribute((first, second), [0, 1, 2], n_samples=4)
    gained = attr.attribute((first, second), [0, 1, 2], (gain, False), n_samples=4)
    assert_close(gained[0], plain[0] * gain[:, None], **EXACT)
    squared = attr.attribute((first, second), 0, (None, True), n_samples=4)
    assert not torch.allclose(squared[0], plain[0])


def test_delta_is_what_it_says(small_net, x):
    """The sum of the map minus the difference of the outputs; also from given roots."""
    roots = x + torch.randn(4, *x.shape, generator=torch.Generator().manual_seed(2)).double()
    attr = SmoothTaylor(small_net)
    found, delta = attr.attribute(x, 2, return_convergence_delta=True, roots=roots)
    outputs = small_net(x)[:, 2] - torch.stack([small_net(root)[:, 2] for root in roots]).mean(0)
    assert_close(delta, (found.sum((1, 2, 3)) - outputs).detach(), **EXACT)
    assert_close(attr.compute_convergence_delta(found, roots, x, 2), delta, **EXACT)
    with pytest.raises(ValueError, match="attributions must be finite; got NaN or infinity in image 0"):
        attr.compute_convergence_delta(found * torch.nan, roots, x, 2)
    with pytest.raises(TypeError, match="end_point must be a Tensor, or a tuple of them; got list"):
        attr.compute_convergence_delta(found, roots, [x], 2)
    assert float(delta.abs().min()) > 0


# Captum's contract


@pytest.mark.parametrize("requires_grad", [False, True])
def test_model_and_inputs_are_left_alone(small_net, x, requires_grad):
    """Also after a wrong target and a model that raises."""
    x.requires_grad_(requires_grad)
    before = snapshot(small_net, x)
    found = SmoothTaylor(small_net).attribute(x, 1, n_samples=2)
    assert not found.requires_grad
    with pytest.raises(IndexError):
        SmoothTaylor(small_net).attribute(x, 99, n_samples=2)
    with pytest.raises(RuntimeError):
        SmoothTaylor(small_net).attribute(x[:, :2], 1, n_samples=2)
    assert_untouched(before, snapshot(small_net, x))
    assert x.requires_grad is requires_grad
    assert x.grad is None


def test_names_flags_and_order():
    """As Captum has them: arguments of the contract first, ours by keyword only."""
    attr = SmoothTaylor(lambda points: points.sum(1))
    assert attr.get_name() == "Smooth Taylor"
    assert attr.multiplies_by_inputs is True
    assert attr.has_convergence_delta() is True
    assert isinstance(attr, ca.GradientAttribution)
    with pytest.raises(NotImplementedError, match="attribute_future is not implemented"):
        attr.attribute_future()
    bare = SmoothTaylor.attribute.__wrapped__
    assert inspect.isfunction(bare)
    assert not hasattr(bare, "__wrapped__")
    parameters = inspect.signature(bare).parameters
    assert list(parameters)[1:5] == [
        "inputs",
        "target",
        "additional_forward_args",
        "return_convergence_delta",
    ]
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in list(parameters)[5:])


@pytest.mark.parametrize("target", [1, (1,), torch.tensor(1), torch.tensor([1]), [1] * 3, torch.tensor([1] * 3), [(1,)] * 3, np.int64(1)], ids=str)  # fmt: skip
def test_forms_of_target(small_net, x, target):
    """Each gives the same."""
    attr = SmoothTaylor(small_net)
    assert torch.equal(attr.attribute(x, target, n_samples=2), attr.attribute(x, 1, n_samples=2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtype_is_that_of_the_inputs(small_net, x, dtype):
    """Half precision too: the terms are added in single precision."""
    found, delta = SmoothTaylor(small_net.to(dtype)).attribute(
        x.to(dtype), 1, return_convergence_delta=True, n_samples=8
    )
    assert found.dtype == delta.dtype == dtype
    assert found.is_contiguous()
    exact = SmoothTaylor(small_net.double()).attribute(x, 1, n_samples=8)
    limit = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.2}[dtype]
    assert_close(found.double(), exact, rtol=0, atol=limit * float(exact.abs().max()))


def test_many_terms_are_added_in_single_precision():
    """In bfloat16, 1000 terms of 1 would stop at 256."""
    points = torch.ones(1, 2, dtype=torch.bfloat16)
    attr = SmoothTaylor(lambda points: points.sum(1))
    found, delta = attr.attribute(
        points, roots=torch.zeros(1000, 1, 2), n_samples_batch_size=1, return_convergence_delta=True
    )
    assert torch.equal(found, points)
    assert torch.equal(delta, torch.zeros(1, dtype=torch.bfloat16))


def test_it_works_in_every_gradient_mode(small_net, x):
    """Within no_grad and inference_mode, also with inputs made there."""
    attr = SmoothTaylor(small_net)
    expected = attr.attribute(x, 1, n_samples=2)
    with torch.no_grad():
        assert torch.equal(attr.attribute(x, 1, n_samples=2), expected)
    with torch.inference_mode():
        assert torch.equal(attr.attribute(x, 1, n_samples=2), expected)
        made = x.clone()
        assert torch.equal(attr.attribute(made, 1, n_samples=2, return_convergence_delta=True)[0], expected)


def test_it_is_at_home_in_captums_hosts(small_net, x):
    """NoiseTunnel with the delta, sensitivity and infidelity."""
    attr = SmoothTaylor(small_net)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found, delta = ca.NoiseTunnel(attr).attribute(
            x, nt_samples=2, stdevs=0.1, target=[0, 1, 2], n_samples=3, return_convergence_delta=True
        )
        assert found.shape == x.shape
        assert delta.shape == (6,)
        assert torch.isfinite(sensitivity_max(attr.attribute, x, target=[0, 1, 2], n_samples=3)).all()
        maps = attr.attribute(x, 1, n_samples=3)
        perturb = lambda images: (0.1 * torch.ones_like(images), images - 0.1)  # noqa: E731
        assert torch.isfinite(infidelity(small_net, perturb, x, maps, target=1)).all()


TAKEN = {
    entry["name"]: entry
    for entry in CAPTUM_CONFIG
    if {"Saliency", "InputXGradient"} & {algorithm.__name__ for algorithm in entry["algorithms"]}
    and "layer" not in entry
}


@pytest.mark.parametrize("name", TAKEN)
def test_captums_own_configurations(name):
    """Each gives finite maps shaped as its inputs, and leaves the model as it was."""
    entry = TAKEN[name]
    net, arguments = copy.deepcopy(entry["model"]), dict(entry["attribute_args"])
    options = {
        key: arguments[key] for key in ("inputs", "target", "additional_forward_args") if key in arguments
    }
    before = snapshot(net)
    found = SmoothTaylor(net).attribute(**options, n_samples=4)
    given = options["inputs"]
    for part, like in zip(*((v if isinstance(v, tuple) else (v,)) for v in (found, given)), strict=True):
        assert part.shape == like.shape
        assert torch.isfinite(part).all()
    assert_untouched(before, snapshot(net))


def test_captum_has_configurations():
    """Where it ships them."""
    if not CAPTUM_CONFIG:
        pytest.skip("this release of Captum ships no test configuration")
    assert len(TAKEN) >= 10


# What is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stdevs": -0.1}, r"stdevs must be at least 0 and finite.*got tensor\(-0.1000"),
        ({"stdevs": float("nan")}, "stdevs must be at least 0"),
        ({"stdevs": True}, "got True"),
        ({"stdevs": "0.5"}, "Pass for example stdevs=0.5"),
        ({"stdevs": torch.ones(2)}, r"of shape \(3,\), one per image; got a Tensor of shape \(2,\)"),
        ({"stdevs": (0.1, 0.2)}, "one for each of the 1 inputs; got 2"),
        ({"n_samples": 0}, "n_samples must be a whole number of at least 1; got 0"),
        ({"n_samples_batch_size": 0}, "n_samples_batch_size must be a whole number"),
        ({"seed": -1}, "seed must be"),
        ({"roots": torch.ones(4, 3, 3, 9, 9)}, r"roots must have shape \(n_samples, 3, 3, 10, 10\), the samples first"),
        ({"roots": torch.ones(3, 3, 10, 10)}, r"got shape \(3, 3, 10, 10\)"),
        ({"roots": [1.0]}, "got a list"),
        ({"roots": torch.ones(0, 3, 3, 10, 10)}, "roots must have"),
        ({"roots": lambda *_: torch.ones(3)}, r"roots must return points of shape \(3, 3, 10, 10\); got shape \(3\) for sample 0"),
    ],
)  # fmt: skip
def test_other_settings_are_refused(small_net, x, options, words):
    """Before the model runs, with what to do."""
    ran = []
    model = lambda images: ran.append(1) or small_net(images)  # noqa: E731
    with pytest.raises(ValueError, match=words):
        SmoothTaylor(model).attribute(x, 1, **options)
    assert not ran


def test_other_models_and_inputs_are_refused(small_net, x):
    """No callable; layers that are training; arrays; whole numbers; parts of two lengths."""
    with pytest.raises(TypeError, match="forward_func must be callable; got str"):
        SmoothTaylor("model")
    net = nn.Sequential(small_net, nn.Dropout())
    with pytest.raises(ValueError, match=r"layer '1' \(Dropout\) is training. Call model.eval\(\) first"):
        SmoothTaylor(net.train()).attribute(x, 1)
    SmoothTaylor(net.eval()).attribute(x, 1, n_samples=1)
    attr = SmoothTaylor(small_net)
    with pytest.raises(TypeError, match="got ndarray"):
        attr.attribute(x.numpy(), 1)
    with pytest.raises(ValueError, match=r"got torch.int64"):
        attr.attribute(x.long(), 1)
    with pytest.raises(ValueError, match=r"must have one length N; got \[3, 2\]"):
        attr.attribute((x, x[:2]), 1)
    with pytest.raises(TypeError, match="an empty tuple"):
        attr.attribute((), 1)
    with pytest.raises(AssertionError, match="Target not provided"):
        attr.attribute(x, n_samples=1)
