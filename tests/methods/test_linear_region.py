"""Linear regions: the affine map, how far it holds, class boundaries, walks; against loops, dense searches and other libraries."""

import itertools
import math
import re
import warnings

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.errors import UnsupportedModelError
from edgefilter.methods import LinearRegion, Unit
from edgefilter.models.networks import SplitReLU
from small_models import assert_untouched, pictures, seeded, snapshot

EXACT = {"rtol": 0, "atol": 1e-12}


def plain():
    """Convolutions, ReLU, overlapping max pooling, a fully connected layer without a bias that would outweigh the rest."""
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 2), nn.ReLU(), nn.Flatten(),
            nn.Linear(4, 3, bias=False),
        )
    )  # fmt: skip


class Mixed(nn.Module):
    """Everything else that is piece-wise linear: as modules, functions and methods, in place, with a residual sum."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect")
        self.norm = nn.BatchNorm2d(4)
        nn.init.uniform_(self.norm.running_mean, -0.3, 0.3)
        self.signs, self.six = SplitReLU(), nn.ReLU6(inplace=True)
        self.body = nn.Conv2d(8, 8, 1)
        self.leaky, self.prelu = nn.LeakyReLU(0.2), nn.PReLU(8)
        self.pool, self.adaptive = nn.AvgPool2d(2), nn.AdaptiveMaxPool2d((2, 2))
        self.fc = nn.Linear(32, 3)

    def forward(self, x):
        h = self.six(self.signs(self.norm(self.stem(x))) * 8)
        h = F.leaky_relu(self.body(h), 0.1) + h
        h = torch.clamp(self.prelu(self.leaky(h) - 0.7), max=2.5)
        h = torch.maximum(h, 0.5 - h.roll(1, 1)).abs()
        h = F.hardtanh_(F.interpolate(self.pool(h), size=(5, 5), mode="bilinear") - 1, -0.5, 1.5)
        return self.fc(self.adaptive(h).flatten(1)) / 3


def mixed():
    return seeded(Mixed)


NETWORKS = {"plain": (plain, 6), "mixed": (mixed, 6)}
networks = pytest.mark.parametrize("name", NETWORKS)


def made(name, count=3):
    """Return a network, images and the linear regions."""
    build, size = NETWORKS[name]
    model = build()
    return model, pictures(count, 2, size), LinearRegion(model)


class Pattern:
    """What each unit of a network does at an image: by hooks on modules and by hand, without the code under test."""

    def __init__(self, model):
        self.model = model

    def __call__(self, x):
        with torch.no_grad():
            return self.of_mixed(x) if isinstance(self.model, Mixed) else self.of_plain(x)

    def of_plain(self, x):
        m = self.model
        a = m[0](x)
        pooled, first = F.max_pool2d(F.relu(a), 3, 2, 1, return_indices=True)
        b = m[3](pooled)
        # where a window holds zeros only, which of them is taken makes no difference
        first = torch.where(pooled == 0, -1, first)
        return [a > 0, first, b > 0]

    def of_mixed(self, x):
        m = self.model
        found = []
        z = m.norm(m.stem(x))
        h = torch.cat([z, -z], 1).relu() * 8
        found += [z > 0, h > 6]
        h = h.clamp(max=6)
        body = m.body(h)
        found.append(body > 0)
        h = torch.where(body > 0, body, 0.1 * body) + h
        found.append(h > 0)
        h = torch.where(h > 0, h, 0.2 * h) - 0.7
        found.append(h > 0)
        h = torch.where(h > 0, h, m.prelu.weight[:, None, None] * h)
        found.append(h > 2.5)
        h = h.clamp(max=2.5)
        other = 0.5 - h.roll(1, 1)
        found.append(h > other)
        h = torch.where(h > other, h, other)
        found.append(h > 0)
        h = F.interpolate(F.avg_pool2d(h.abs(), 2), size=(5, 5), mode="bilinear") - 1
        found += [h > -0.5, h > 1.5]
        h = h.clamp(-0.5, 1.5)
        top, first = F.adaptive_max_pool2d(h, (2, 2), return_indices=True)
        found.append(torch.where((top == -0.5) | (top == 1.5), -1, first))
        return found


def same(one, other):
    """Return whether two patterns are equal, and how many entries differ."""
    changed = sum(int((a != b).sum()) for a, b in zip(one, other, strict=True))
    return changed == 0


def drawn(like, seed):
    """Return directions of length 1."""
    noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)
    return noise / noise.flatten(1).norm(dim=1)[:, None, None, None]


# --- the affine map -------------------------------------------------------------------------------------------


@networks
def test_the_affine_map_is_the_network_within_the_radius(name):
    """At the image and anywhere in the ball; not far outside it."""
    model, images, regions = made(name)
    region = regions.at(images)
    assert region.weight.shape == (3, 3, 2, 6, 6)
    assert_close(region(images), model(images).detach(), **EXACT)
    radius = region.radius[:, None, None, None]
    for seed in range(20):
        near = images + 0.999 * radius * drawn(images, seed)
        assert_close(region(near), model(near).detach(), **EXACT)
    far = images + 5 * drawn(images, 0)
    assert float((region(far) - model(far).detach()).abs().max()) > 1e-3


@networks
def test_the_weight_is_a_difference_quotient(name):
    """The map's weight by its own meaning: what a small step of each pixel changes."""
    model, images, regions = made(name, 1)
    region = regions.at(images)
    step = float(region.radius) / 2
    for place in itertools.product(range(2), (0, 3, 5), (1, 5)):
        moved = images.clone()
        moved[(0, *place)] += step
        assert_close(region.weight[(0, slice(None), *place)], (model(moved) - model(images)).detach()[0] / step, rtol=0, atol=1e-8)  # fmt: skip


@networks
def test_no_unit_switches_within_the_radius_and_one_does_at_it(name):
    """Random directions at .999 of it, and the normal at 1.001."""
    model, images, regions = made(name)
    pattern = Pattern(model)
    region = regions.at(images)
    assert bool((region.radius > 0).all())
    for n in range(len(images)):
        image, radius = images[n : n + 1], region.radius[n]
        for seed in range(100):
            assert same(pattern(image), pattern(image + 0.999 * radius * drawn(image, seed)))
        normal = (region.nearest[n] - images[n])[None]
        assert_close(normal.norm(), radius, **EXACT)
        assert same(pattern(image), pattern(image + 0.999 * normal))
        assert not same(pattern(image), pattern(image + 1.001 * normal))


def test_the_radius_is_the_smallest_of_all_units_in_a_loop():
    """Each unit's argument and its gradient, one by one: two ReLU layers and the places of each pooling window."""
    model, images, regions = made("plain", 1)
    leaf = images.clone().requires_grad_()
    a = model[0](leaf)
    h = a.relu()
    b = model[3](model[2](h))
    units = {("1", i): z for i, z in enumerate(a[0].flatten())}
    units |= {("4", i): z for i, z in enumerate(b[0].flatten())}
    padded = F.pad(h, (1, 1, 1, 1), value=-math.inf)[0]
    for c, i, j in itertools.product(range(4), range(2), range(2)):
        window = padded[c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].flatten()
        top = window.argmax()
        for k in range(9):
            if k != top and window[k] > -math.inf:
                units["2", (c, i, j, k)] = window[top] - window[k]
    distances = {}
    for key, z in units.items():
        (gradient,) = torch.autograd.grad(z, leaf, retain_graph=True)
        if float(gradient.norm()) > 0:
            distances[key] = float(z.detach().abs() / gradient.norm())
    nearest = min(distances, key=distances.get)
    region = regions.at(images, internal_batch_size=7)
    assert_close(float(region.radius), distances[nearest], rtol=0, atol=1e-12)
    assert region.unit[0].module == nearest[0]
    assert_close(float(regions.at(images).radius), float(region.radius), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("function", "level", "value"),
    [
        (F.relu, 0, 0.3), (lambda x: F.leaky_relu(x, 0.1), 0, -0.2), (F.relu6, 6, 5.9), (F.relu6, 0, 0.2), (torch.abs, 0, 0.1),
        (lambda x: x.clamp(-1, 2), -1, -1.1), (lambda x: x.clamp(-1, 2), 2, 1.8), (lambda x: torch.clip(x, max=2.0), 2, 2.3),
        (F.hardtanh, 1, 1.5), (F.hardsigmoid, 3, 2.9), (lambda x: F.threshold(x, 0.5, 0.5), 0.5, 0.1), (abs, 0, -3.0),
        (lambda x: x.relu_(), 0, 0.25), (lambda x: x.clamp_min(0.2), 0.2, 0.4), (lambda x: x.clamp_max(0.2), 0.2, 0.4),
        (lambda x: F.rrelu(x), 0, 0.3), (lambda x: F.prelu(x, torch.tensor([0.3]).double()), 0, 0.3),
    ],
)  # fmt: skip
def test_where_each_function_switches(function, level, value):
    """One pixel: the distance to the level."""
    image = torch.full((1, 1, 1, 1), value).double()
    region = LinearRegion(lambda x: function(x * 1).flatten(1)).at(image)
    assert_close(region.radius, (image - level).abs().flatten(), **EXACT)
    assert_close(region.nearest, torch.full_like(image, level), **EXACT)
    assert region.unit[0].level == level
    assert region.unit[0].module == ""


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, 2, ceil_mode=True), nn.MaxPool2d((3, 2), (1, 2), (1, 0)),
        nn.MaxPool2d(2, 1, dilation=2), nn.AdaptiveMaxPool2d(1), nn.AdaptiveMaxPool2d((3, 2)), nn.AdaptiveMaxPool2d((None, 2)),
        nn.MaxPool2d(3, 3, 1, ceil_mode=True), lambda x: x.amax((2, 3)), lambda x: x.max(3)[0], lambda x: x.amin(2),
        lambda x: torch.maximum(x, x.flip(3)), lambda x: torch.max(x, x.flip(2) * 0.5), lambda x: torch.minimum(x, 0.1 * x.flip(3)),
        lambda x: F.max_pool1d(x.flatten(2), 3), lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    ],
)  # fmt: skip
def test_where_maxima_switch(pool):
    """Where the gradient changes for the first time, on any of many lines: never within the radius, and at it along the normal."""
    image = pictures(1, 2, 5)

    def model(x):
        return pool(x).flatten(1).cumsum(1) * 1.5

    def gradient(at):
        return torch.func.jacrev(model)(at)

    region = LinearRegion(model).at(image)
    for seed in range(30):
        near = image + 0.999 * region.radius * drawn(image, seed)
        assert_close(gradient(near), gradient(image), **EXACT)
    move = region.nearest - image
    assert_close(gradient(image + 0.999 * move), gradient(image), **EXACT)
    assert float((gradient(image + 1.001 * move) - gradient(image)).abs().max()) > 0.01


def test_the_unit_is_named():
    """Its module, its function, its place in the argument, and its level."""
    model, images, regions = made("plain", 8)
    found = regions.at(images)
    leaf = images.clone().requires_grad_()
    for n, unit in enumerate(found.unit):
        assert isinstance(unit, Unit)
        if unit.function == "relu":
            z = model[: int(unit.module)](leaf)[n][unit.index]
            (gradient,) = torch.autograd.grad(z, leaf)
            assert_close(z.detach().abs() / gradient.norm(), found.radius[n], **EXACT)
            assert unit.level == 0
        else:
            assert (unit.module, unit.function, unit.level) == ("2", "max_pool2d", None)
            assert len(unit.index) == 4
    assert {unit.function for unit in found.unit} >= {"relu"}
    assert found.n_units == 4 * 16 + 4 * 4 * 9 + 4
    assert re.fullmatch(r"Region\(8 images, 3 outputs, radius [\d.e-]+ to [\d.e-]+\)", repr(found))
    assert len(found) == 8


def test_without_units_the_region_is_everything():
    """And without looking for them nothing is said."""
    net, images = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 3))), pictures(1, 2, 6)
    region = LinearRegion(net).at(images)
    assert region.radius.tolist() == [math.inf]
    assert region.unit == (None,)
    assert bool(region.nearest.isnan().all())
    assert_close(region.weight.flatten(2)[0], net[1].weight.detach(), **EXACT)
    assert_close(region.bias[0], net[1].bias.detach(), **EXACT)
    assert LinearRegion(net).at(images, radius=False).radius is None
    walk = LinearRegion(lambda x: torch.stack([x.sum((1, 2, 3)) * 0 + 1, x.sum((1, 2, 3)) * 0], 1)).walk(
        images, images
    )
    assert (walk.found.tolist(), walk.distance.tolist(), walk.reached.tolist()) == ([False], [math.inf], [-1])


def test_units_that_no_pixel_moves_are_no_boundary():
    """Places of a window that are copies of each other, and constants of the model."""

    class Copies(nn.Module):
        def forward(self, x):
            h = F.max_pool2d(F.interpolate(x, scale_factor=2), 2)
            return h.relu().flatten(1) + torch.relu(torch.tensor(0.0))

    image = torch.tensor([[[[0.5, -0.2], [0.7, 0.9]]]]).double()
    assert_close(LinearRegion(Copies().eval()).at(image).radius, torch.tensor([0.2]).double(), **EXACT)


# --- attributions ---------------------------------------------------------------------------------------------


@networks
def test_the_attribution_is_the_weight_times_the_image(name):
    """The delta is the bias; with other libraries' input times gradient."""
    model, images, regions = made(name)
    target = torch.tensor([0, 2, 1])
    found, delta = regions.attribute(images, target, return_convergence_delta=True)
    assert_close(
        found, InputXGradient(model).attribute(images.clone().requires_grad_(), target).detach(), **EXACT
    )
    region = regions.at(images, radius=False)
    rows = torch.arange(3)
    assert_close(found, region.weight[rows, target] * images, **EXACT)
    assert_close(delta, region.bias[rows, target], **EXACT)
    assert_close(found.sum((1, 2, 3)) + delta, model(images)[rows, target].detach(), **EXACT)
    assert_close(regions.compute_convergence_delta(found, images, target), delta, **EXACT)
    assert_close(regions.compute_convergence_delta(found * 0, images, target), model(images)[rows, target].detach(), **EXACT)  # fmt: skip
    assert regions.has_convergence_delta()
    assert regions.multiplies_by_inputs
    with pytest.raises(NotImplementedError):
        regions.attribute_future()


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_oracle_of_the_epsilon_rule(bias):
    """Zennit's and ours, epsilon towards zero: W x, and the output minus the bias share."""
    from zennit.attribution import Gradient
    from zennit.composites import LayerMapComposite
    from zennit.rules import Epsilon, Pass
    from zennit.types import Activation, Convolution, Linear

    model = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=bias), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5, bias=bias), nn.ReLU(),
            nn.Linear(5, 3, bias=bias),
        )
    )  # fmt: skip
    images = pictures(2, 2, 6)
    wanted, share = LinearRegion(model).attribute(images, 1, return_convergence_delta=True)
    composite = LayerMapComposite(
        [(Activation, Pass()), (Convolution, Epsilon(1e-12)), (Linear, Epsilon(1e-12))]
    )
    with Gradient(model, composite=composite) as attributor:
        _, zennit = attributor(images.clone(), lambda out: out * F.one_hot(torch.tensor(1), 3))
    assert_close(zennit, wanted, rtol=0, atol=1e-9)
    ours = ef.EdgeFilterAttribution(model, "epsilon", calibrate=False).attribute(images, 1)
    assert_close(ours, wanted, rtol=0, atol=1e-6)
    assert_close(ours.sum((1, 2, 3)), model(images)[:, 1].detach() - share, rtol=0, atol=1e-6)
    assert bool((share.abs() > 1e-3).all()) is bias


def test_it_is_the_oracle_of_integrated_gradients_inside_a_region():
    """From a baseline in the same region the path average is the weight."""
    model, images, regions = made("plain")
    region = regions.at(images)
    baseline = images + 0.9 * region.radius[:, None, None, None] * drawn(images, 3)
    found = (
        IntegratedGradients(model)
        .attribute(images.clone().requires_grad_(), baseline, target=2, n_steps=5)
        .detach()
    )
    assert_close(found, region.weight[:, 2] * (images - baseline), rtol=0, atol=1e-10)


# --- class boundaries -----------------------------------------------------------------------------------------


@networks
def test_the_class_boundary_is_where_the_map_has_equal_logits(name):
    """At right angles to it, and for all other classes."""
    model, images, regions = made(name)
    region, found = regions.at(images), regions.class_boundary(images)
    assert_close(found.target, model(images).argmax(1))
    logits = region(found.point)
    rows = torch.arange(3)
    assert_close(logits[rows, found.target], logits[rows, found.against], **EXACT)
    assert_close((found.point - images).flatten(1).norm(dim=1), found.distance, **EXACT)
    assert_close(found.distances.amin(1), found.distance, **EXACT)
    for other in range(3):
        for n in range(3):
            if other != found.target[n]:
                one = regions.class_boundary(images[n : n + 1], against=other)
                assert_close(one.distance[0], found.distances[n, other], **EXACT)
            else:
                assert found.distances[n, other] == math.inf
    assert repr(found).startswith("ClassBoundary(3 images, distance ")
    with pytest.raises(ValueError, match="against must be another class than target; got 1 for both"):
        regions.class_boundary(images, 1, 1)


def test_it_is_exact_within_the_radius_and_says_so():
    """By hand: two classes that differ by the first pixel; a ReLU of the second."""

    def model(x):
        one, two = x.flatten(1).unbind(1)
        return torch.stack([one + 0 * two.relu(), two.relu() * 0.0], 1)

    for pixels, radius, exact in (([0.5, 2.0], 2.0, True), ([3.0, 2.0], 2.0, False)):
        image = torch.tensor(pixels).double().reshape(1, 1, 1, 2)
        found = LinearRegion(model).class_boundary(image)
        assert_close(found.distance, torch.tensor([pixels[0]]).double(), **EXACT)
        assert found.radius.tolist() == [radius]
        assert found.is_exact.tolist() == [exact]
        assert found.in_region.tolist() == [True]  # farther than the radius, and yet in the region
    sloped = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 2)))
    hits = {True: 0, False: 0}
    for seed in range(40):
        image = drawn(torch.zeros(1, 1, 1, 2).double(), seed)
        found = LinearRegion(sloped).class_boundary(image)
        logits = sloped(found.point).detach()[0]
        equal = abs(float(logits[0] - logits[1])) < 1e-12
        assert equal == bool(found.in_region)
        hits[equal] += 1
    assert all(hits.values())


# --- walks ----------------------------------------------------------------------------------------------------


@networks
def test_a_walk_ends_where_a_dense_search_finds_the_first_change(name):
    """20,000 steps along the line, and the logits are equal at the end."""
    model, images, regions = made(name, 4)
    found = regions.walk(images, max_distance=8.0)
    steps = torch.linspace(0, 8, 20_001, dtype=torch.float64)
    for n in range(4):
        line = images[n] + steps[:, None, None, None] * found.direction[n]
        with torch.no_grad():
            changed = (model(line).argmax(1) != found.target[n]).nonzero()
        if not found.found[n]:
            assert len(changed) == 0
            continue
        first = int(changed[0])
        assert steps[first - 1] - 1e-9 <= found.distance[n] <= steps[first] + 1e-9
        logits = model(found.point[n : n + 1]).detach()[0]
        assert_close(logits[found.target[n]], logits[found.reached[n]], **EXACT)
        assert_close(logits.max(), logits[found.target[n]], **EXACT)
        assert model(line[first : first + 1]).argmax(1) == found.reached[n]
    assert int(found.found.sum()) >= 2
    assert int(found.regions.max()) > 5


@networks
def test_it_counts_the_regions_on_the_way(name):
    """Changes of the pattern of all units, on a dense line."""
    model, images, regions = made(name, 2)
    direction = drawn(images, 5)
    found = regions.walk(images, direction, max_distance=1.0)
    pattern = Pattern(model)
    for n in range(2):
        end = min(float(found.distance[n]), 1.0)
        line = (
            images[n]
            + torch.linspace(0, end, 20_001, dtype=torch.float64)[:, None, None, None] * direction[n]
        )
        states = [one.flatten(1) for one in pattern(line)]
        changes = torch.zeros(20_000, dtype=torch.bool)
        for state in states:
            changes |= (state[1:] != state[:-1]).any(1)
        # a step of the dense line may hold two crossings, and units that are constant are no boundary
        assert abs(int(changes.sum()) + 1 - int(found.regions[n])) <= 0.05 * int(found.regions[n])


def test_in_the_plane_it_agrees_with_brute_force():
    """Walks in 360 directions against a grid of the plane: the nearest adversarial point."""
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)), seed=4)  # fmt: skip
    image = torch.tensor([0.3, -0.4]).double().reshape(1, 1, 1, 2)
    angles = torch.linspace(0, 2 * math.pi, 361, dtype=torch.float64)[:-1]
    directions = torch.stack([angles.cos(), angles.sin()], 1).reshape(-1, 1, 1, 2)
    found = LinearRegion(model).walk(image.expand(360, -1, -1, -1), directions)
    axis = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).reshape(-1, 1, 1, 2)
    with torch.no_grad():
        other = model(grid + image).argmax(1) != model(image).argmax(1)
    brute = float(grid[other].flatten(1).norm(dim=1).min())
    assert found.found.any()
    assert abs(float(found.distance.min()) - brute) < 0.02
    nearest = LinearRegion(model).class_boundary(image)
    if bool(nearest.is_exact):
        assert float(nearest.distance) <= float(found.distance.min()) + 1e-12


def test_the_default_direction_is_down_the_margin():
    """Minus the gradient of the target's logit over the largest other one."""
    model, images, regions = made("plain")
    found = regions.walk(images)
    weight = regions.at(images, radius=False).weight
    order = model(images).argsort(1, descending=True)
    rows = torch.arange(3)
    wanted = weight[rows, order[:, 1]] - weight[rows, order[:, 0]]
    assert_close(found.direction, wanted / wanted.flatten(1).norm(dim=1)[:, None, None, None], **EXACT)
    near = regions.class_boundary(images, against=order[:, 1])
    exact = near.is_exact
    assert_close(found.distance[exact], near.distance[exact], **EXACT)


def test_a_walk_in_one_region_ends_at_its_class_boundary():
    """And one of a wrongly classified image ends at once."""
    net, images = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 2))), pictures(3, 2, 6)
    regions = LinearRegion(net)
    walk, boundary = regions.walk(images), regions.class_boundary(images)
    assert_close(walk.distance, boundary.distance, **EXACT)
    assert_close(walk.point, boundary.point, **EXACT)
    assert walk.regions.tolist() == [1, 1, 1]
    assert repr(walk).startswith("Walk(3 images, 3 found, distance ")
    wrong = regions.walk(images, target=1 - boundary.target)
    assert wrong.distance.tolist() == [0, 0, 0]
    assert_close(wrong.reached, boundary.target)


def test_limits_end_a_walk():
    """A distance, or a number of regions."""
    _, images, regions = made("plain", 2)
    whole = regions.walk(images)
    assert bool(whole.found.any())
    whole = regions.walk(images := images[whole.found])
    short = regions.walk(images, max_distance=float(whole.distance.min()) / 2)
    assert not short.found.any()
    assert_close((short.point - images).flatten(1).norm(dim=1), whole.distance.min().expand(len(images)) / 2, **EXACT)  # fmt: skip
    few = regions.walk(images, max_regions=2)
    assert few.regions.tolist() == [min(2, r) for r in whole.regions.tolist()]
    enough = regions.walk(images, max_regions=int(whole.regions.max()))
    assert_close(enough.distance, whole.distance, **EXACT)


def test_boundaries_closer_than_rounding_end_a_walk_and_are_not_leapt_over():
    """A stroke on an empty ground: in float32 its boundaries cannot be told apart, in float64 they can."""
    model = ef.models.load("digits")
    image = torch.zeros(1, 1, 28, 28)
    image[..., 5:23, 13:16] = 1
    with pytest.warns(UserWarning, match=r"torch.float32 on the way of image 0.* Pass model.double\(\)"):
        walk = LinearRegion(model).walk(image, max_regions=50)
    assert (bool(walk.found), float(walk.distance)) == (False, math.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        walk = LinearRegion(model.double()).walk(image.double(), max_regions=50)
    assert int(walk.regions) == 50


def test_flat_images_lie_on_boundaries_and_can_be_walked_from():
    """A black image ties all places of a window: the radius is 0, and the way leads on."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)).double().eval()  # fmt: skip
    image = torch.zeros(1, 1, 6, 6).double()
    regions = LinearRegion(net)
    assert regions.at(image).radius.tolist() == [0]
    found = regions.walk(image, drawn(image, 2), max_distance=50.0)
    steps = torch.linspace(0, 50, 50_001, dtype=torch.float64)
    changed = (net(image + steps[:, None, None, None] * found.direction).argmax(1) != found.target).nonzero()
    assert bool(found.found) == bool(len(changed))
    if len(changed):
        assert abs(float(found.distance) - float(steps[int(changed[0])])) < 2e-3


# --- what is refused ------------------------------------------------------------------------------------------


class Calls(nn.Module):
    """A convolution, one function, a linear layer."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.fc, self.function = nn.Conv2d(2, 4, 3), nn.Linear(4, 3), function

    def forward(self, x):
        return self.fc(self.function(self.conv(x)).mean((2, 3)))


class Cube(torch.autograd.Function):
    """A function of the user's own."""

    @staticmethod
    def forward(ctx, x):
        return x**3

    @staticmethod
    def backward(ctx, g):
        return g


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (nn.GELU(), "got gelu in 'function'"),
        (nn.SiLU(), "got silu in 'function'"),
        (nn.Hardswish(), "got hardswish in 'function'"),
        (nn.Sigmoid(), "got sigmoid in 'function'"),
        (nn.LayerNorm(4), "got layer_norm in 'function'"),
        (nn.GroupNorm(2, 4), "got group_norm in 'function'"),
        (nn.InstanceNorm2d(4), "instance_norm"),
        (torch.tanh, "got tanh"),
        (lambda h: h * h, "of two signals"),
        (lambda h: h * h.mean((2, 3), keepdim=True).sigmoid(), "got sigmoid"),
        (lambda h: h / h.sum(), "got __?r?truediv|got div|got sum|__truediv__"),
        (lambda h: h @ h.mT, "got .*matmul.* of two signals"),
        (lambda h: F.scaled_dot_product_attention(h, h, h), "got scaled_dot_product_attention"),
        (lambda h: torch.where(h > 0, h, -h), "got __gt__|got gt"),
        (lambda h: h * (1 if h.sum().item() > 0 else 2), "got item"),
        (lambda h: h - h.detach(), "got detach .*cuts the gradient off|got detach"),
        (lambda h: h.square(), "got square"),
        (lambda h: h.sort(1)[0], "got sort"),
        (Cube.apply, "with gradients off"),
        (torch.no_grad()(lambda h: h * 2), "with gradients off"),
        (lambda h: F.dropout(h, 0.5, training=True), "got dropout"),
        (lambda h: F.batch_norm(h, None, None, training=True), "own statistics"),
        (lambda h: h - h.amax(0), "maximum over the batch"),
    ],
)  # fmt: skip
def test_what_is_not_piece_wise_linear_is_refused_by_name(function, words):
    """With the module that calls it."""
    model = seeded(lambda: Calls(function if isinstance(function, nn.Module) or callable(function) else None))
    if isinstance(function, nn.LayerNorm):
        model.function = nn.Sequential(
            nn.Flatten(2), nn.LayerNorm(16).double(), nn.Unflatten(2, (4, 4))
        ).eval()
        words = "got layer_norm in 'function.1'"
    for call in (
        lambda: LinearRegion(model).at(pictures(2, 2, 6)),
        lambda: LinearRegion(model).walk(pictures(2, 2, 6)),
        lambda: LinearRegion(model).attribute(pictures(2, 2, 6), 0),
    ):
        with pytest.raises(UnsupportedModelError, match=words):
            call()


@pytest.mark.parametrize("end", [nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()])
def test_a_squashed_end_is_refused_with_what_to_do(end):
    """Explain the logits."""
    model = nn.Sequential(plain(), end).eval()
    with pytest.raises(
        UnsupportedModelError, match=r"got \w+ in '1'. If it is the end of the model, explain the logits"
    ):
        LinearRegion(model).at(pictures(1, 2, 6))


def test_scripted_parts_are_refused():
    """Their functions cannot be seen, and are not passed over."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(plain(), pictures(1, 2, 6))
    with pytest.raises(UnsupportedModelError, match="got relu"):
        LinearRegion(traced).at(pictures(1, 2, 6))


def test_what_is_linear_is_not_refused():
    """Constants of the model may go through anything; buffers may be written to; functions of two signals may be sums."""

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(3, 72))
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x):
            room = torch.zeros(len(x), 4, 6, 6, dtype=x.dtype)
            room[:, :2] = x - x.mean(1, keepdim=True)
            room[:, 2:] += self.conv(x)
            h = torch.stack([room[:, :2], room[:, 2:].transpose(2, 3)], 1).sum(1) * self.weight.std()
            h = F.pad(h, (1, 1, 1, 1), mode="reflect")[:, :, 1:-1, 1:-1].masked_fill(torch.eye(6).bool(), 0.0)
            h = F.dropout(
                F.pixel_unshuffle(F.pixel_shuffle(h.repeat(1, 2, 1, 1), 2), 2)[:, :2], 0.5, training=False
            )
            return torch.einsum("bi,ki->bk", h.flatten(1), self.weight.softmax(1)) / self.weight.norm()

    model, images = seeded(Linear), pictures(2, 2, 6)
    region = LinearRegion(model).at(images)
    assert region.radius.tolist() == [math.inf] * 2
    far = pictures(2, 2, 6, seed=9) * 100
    assert_close(region(far), model(far).detach(), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda r, x: r.at(x[0]), ValueError, "inputs must be a floating-point Tensor of shape"),
        (lambda r, x: r.at(x, internal_batch_size=0), ValueError, "internal_batch_size must be a whole number"),
        (lambda r, x: r.walk(x, x * 0), ValueError, "direction must have a length above zero; got 0.0 for image 0"),
        (lambda r, x: r.walk(x, x[:, :, :3]), ValueError, "direction must expand to the shape of the inputs"),
        (lambda r, x: r.walk(x, 3), TypeError, "direction must be a Tensor; got int"),
        (lambda r, x: r.walk(x, max_distance=0), ValueError, "max_distance must be a number above 0"),
        (lambda r, x: r.walk(x, max_regions=0), ValueError, "max_regions must be a whole number"),
        (lambda r, x: r.attribute(x), AssertionError, "target must be given"),
        (lambda r, x: r.attribute(x, 7), IndexError, "target must be between 0 and 2; got 7"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(call, error, words):
    """In the house's words."""
    _, images, regions = made("plain", 2)
    with pytest.raises(error, match=words):
        call(regions, images)


def test_the_rest_of_what_is_refused():
    """No function, one output to walk from, outputs of more axes, a model in training."""
    images = pictures(1, 2, 6)
    with pytest.raises(TypeError, match="forward_func must be a model"):
        LinearRegion(3)
    with pytest.raises(ValueError, match="two classes or more"):
        LinearRegion(lambda x: x.sum((1, 2, 3))).walk(images)
    with pytest.raises(ValueError, match=r"outputs of shape \(N, K\); got \(1, 2, 6, 6\)"):
        LinearRegion(torch.relu).at(images)
    with pytest.raises(ValueError, match="model must be in evaluation mode"):
        LinearRegion(nn.Sequential(nn.BatchNorm2d(2), plain()).double()).at(images)


# --- Captum's habits ------------------------------------------------------------------------------------------


def test_tuples_targets_batches_and_modes():
    """A tuple gives a tuple; each image alone as in its batch; without gradients; detached, in the inputs' dtype."""
    _, images, regions = made("plain")
    wanted = regions.attribute(images, [0, 2, 1])
    (found,) = regions.attribute((images,), np.array([0, 2, 1]))
    assert_close(found, wanted, **EXACT)
    assert not found.requires_grad
    for n, target in enumerate([0, (2,), torch.tensor(1)]):
        assert_close(regions.attribute(images[n : n + 1], target), wanted[n : n + 1], **EXACT)
    with torch.no_grad():
        assert_close(regions.attribute(images, [0, 2, 1]), wanted, **EXACT)
    with torch.inference_mode():
        assert_close(regions.attribute(images.clone(), [0, 2, 1]), wanted, **EXACT)
        assert bool(regions.walk(images.clone()).found.any())
        assert bool(regions.class_boundary(images.clone()).distance.isfinite().all())
    assert NoiseTunnel(regions).attribute(images, target=1, nt_samples=2).shape == images.shape
    region, walk = regions.at(images), regions.walk(images)
    for n in range(3):
        one, way = regions.at(images[n : n + 1]), regions.walk(images[n : n + 1])
        assert_close(one.radius, region.radius[n : n + 1], **EXACT)
        assert one.unit[0] == region.unit[n]
        assert_close(way.distance, walk.distance[n : n + 1], **EXACT)
        assert way.regions[0] == walk.regions[n]
    single = LinearRegion(plain().float())
    assert single.attribute(images.float(), 1).dtype == torch.float32
    assert_close(single.at(images.float()).radius.double(), region.radius, rtol=1e-2, atol=1e-5)


def test_autocast_does_not_matter():
    """Laws are exact or nothing: neither the weight nor the attribution is rounded."""
    region, images = LinearRegion(plain().float()), pictures(2, 2, 6).float()
    wanted, weight = region.attribute(images, 1), region.at(images, radius=False).weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(region.attribute(images, 1), wanted)
        found = region.at(images, radius=False)
    assert torch.equal(found.weight, weight)
    again = (found.weight.flatten(2) @ images.flatten(1)[..., None])[..., 0] + found.bias
    assert_close(again, found.output, rtol=0, atol=1e-6)


def test_a_model_that_no_mode_changes_may_be_training():
    """As in the other methods of the room."""
    images = pictures(1, 2, 6)
    assert_close(
        LinearRegion(plain().train()).attribute(images, 1), LinearRegion(plain()).attribute(images, 1)
    )


def test_further_arguments_reach_the_model():
    """Those with a row for each image go with it."""
    model, images, regions = made("plain")
    scale = torch.tensor([1.0, 2.0, 0.5]).double()[:, None, None, None]
    scaled = LinearRegion(lambda x, factor: model(x * factor))
    assert_close(scaled.attribute(images, 1, scale), regions.attribute(images * scale, 1), **EXACT)
    assert_close(
        scaled.at(images, scale).radius * scale.flatten(), regions.at(images * scale).radius, **EXACT
    )
    assert_close(scaled.walk(images, images, None, scale).distance * scale.flatten(), regions.walk(images * scale, images).distance, **EXACT)  # fmt: skip


def test_progress_is_shown_on_request(capsys):
    """Of the directions, and of the regions."""
    _, images, regions = made("plain", 2)
    regions.at(images)
    regions.walk(images)
    assert capsys.readouterr().err == ""
    regions.class_boundary(images, show_progress=True)
    assert "LinearRegion radius: 100%" in (shown := capsys.readouterr().err)
    assert "144/144" in shown
    regions.walk(images, show_progress=True)
    assert "LinearRegion regions" in capsys.readouterr().err


def test_the_model_is_as_it_was():
    """After each call, and after one that raises."""
    model, images, regions = made("mixed")
    images.requires_grad_()
    model(images).sum().backward()
    before, drawn_before = snapshot(model, images), torch.get_rng_state()
    regions.attribute(images, 1)
    regions.at(images)
    regions.walk(images)

    def breaks(x):
        model(x)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        LinearRegion(breaks).at(images)
    with pytest.raises(UnsupportedModelError):
        LinearRegion(nn.Sequential(model, nn.Softmax(1)).eval()).at(images)
    assert_untouched(before, snapshot(model, images))
    assert torch.equal(drawn_before, torch.get_rng_state())


def test_the_attribution_follows_the_weights_above_the_first_layer():
    """The sanity check by randomization; and a constant scorer gives zeros."""
    from scipy.stats import spearmanr

    images = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network, randomized = (ef.models.load("digits").double() for _ in range(2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in [*randomized.body.modules(), randomized.fc]:
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    before, after = (LinearRegion(one).attribute(images, 3) for one in (network, randomized))
    kept = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(before, after, strict=True)]
    assert abs(np.mean(kept)) < 0.1
    found, delta = LinearRegion(lambda x: network(x)[:, 0] * 0 + 2).attribute(
        images, return_convergence_delta=True
    )
    assert not found.any()
    assert_close(delta, torch.full((8,), 2.0, dtype=torch.float64), **EXACT)


def test_shipped_networks_are_piece_wise_linear():
    """The map is the network's, at a drawing of noise, up to the radius and no farther."""
    network = ef.models.load("digits").double()
    image = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    region = LinearRegion(network).at(image)
    assert_close(region(image), network(image).detach(), **EXACT)
    assert region.n_units == 52_528
    normal = (region.nearest - image) / region.radius

    def weight(at):
        return LinearRegion(network).at(at, radius=False).weight

    for direction in (normal, drawn(image, 1), drawn(image, 2)):
        assert_close(weight(image + 0.999 * region.radius * direction), region.weight, rtol=0, atol=1e-14)
    assert float((weight(image + 1.001 * region.radius * normal) - region.weight).abs().max()) > 1e-9
    wide = ef.models.load("fruits").double()
    colors = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    walk = LinearRegion(wide).walk(colors, max_regions=3)
    assert walk.regions.tolist() == [3]


@pytest.mark.parametrize("shape", [(2,), (5,), (1, 2, 3, 4)], ids=str)
def test_points_and_volumes_are_as_images(shape):
    """A network of points or of volumes has the region of the one that flattens images first."""
    torch.manual_seed(0)
    size = math.prod(shape)
    net = nn.Sequential(nn.Flatten(), nn.Linear(size, 7), nn.ReLU(), nn.Linear(7, 3)).double().eval()
    x = torch.randn(3, *shape).double()
    image = x.reshape(3, 1, 1, size)
    direction = torch.randn(shape).double()
    one, other = LinearRegion(net), LinearRegion(net)
    found, expected = one.at(x), other.at(image)
    assert_close(found(x), net(x), rtol=0, atol=1e-12)
    assert found.weight.shape == (3, 3, *shape)
    assert_close(found.weight.flatten(2), expected.weight.flatten(2))
    assert_close(found.radius, expected.radius)
    assert_close((found.nearest - x).flatten(1).norm(dim=1), found.radius)
    assert_close(one.attribute(x, target=1).flatten(1), other.attribute(image, target=1).flatten(1))
    assert_close(one.class_boundary(x).point.flatten(1), other.class_boundary(image).point.flatten(1))
    ways = one.walk(x, direction), other.walk(image, direction.reshape(1, 1, size))
    assert_close(ways[0].distance, ways[1].distance)
    assert_close(ways[0].point.flatten(1), ways[1].point.flatten(1))
