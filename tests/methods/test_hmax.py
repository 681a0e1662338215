"""An HMAX-like front: S1 and C1 by loops, what C1 does not see, and explained with the network behind it."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.methods import HMAXFront
from edgefilter.methods.hmax import S1_WAVELENGTHS
from edgefilter.plots import plot_orders

# --- the layer ------------------------------------------------------------------------------------------------


def by_loops(front, images):
    """Correlate, take sizes, then maxima over places and two scales, one number at a time."""
    kernels, half = front.bank.weight, front.bank.size // 2
    padded = np.pad(images, [(0, 0), (0, 0), (half, half), (half, half)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernels.shape[1:], axis=(2, 3))
    simple = {}
    for place, kernel in enumerate(front.bank):
        simple[kernel.wavelength, kernel.direction] = np.abs((windows * kernels[place]).sum((-1, -2)))
    waves, angles = (sorted({key[axis] for key in simple}) for axis in (0, 1))
    (high, wide), (down, right) = front.pool, front.stride
    rows = range(0, images.shape[2] - high + 1, down)
    columns = range(0, images.shape[3] - wide + 1, right)
    found = np.zeros((len(images), images.shape[1], front.bands, len(angles), len(rows), len(columns)))
    for n, c, b, o, i, j in np.ndindex(found.shape):
        for y in range(rows[i], rows[i] + high):
            for x in range(columns[j], columns[j] + wide):
                for wave in waves[2 * b : 2 * b + 2]:
                    found[n, c, b, o, i, j] = max(
                        found[n, c, b, o, i, j], simple[wave, angles[o]][n, c, y, x]
                    )
    return found.reshape(len(images), -1, len(rows), len(columns))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"orientations": 3, "scales": 2, "pool": 5},
        {"orientations": 2, "scales": 3, "pool": (4, 6), "stride": (3, 2)},
        {"orientations": (10, 100), "scales": (4, 8), "pool": 1, "stride": 2},
        {"scales": 1},
    ],
)
def test_responses_are_those_of_a_loop(options, generator):
    """Colors, then bands, then orientations; the last of three scales is a band by itself."""
    images = torch.randn(2, 2, 12, 15, generator=generator, dtype=torch.float64)
    front = HMAXFront(2, **options).double()
    found = front(images)
    assert found.shape[1] == front.out_channels == 2 * len(front.names)
    np.testing.assert_allclose(found.numpy(), by_loops(front, images.numpy()), rtol=0, atol=1e-12)


def test_kernels_are_those_of_the_table():
    """Sizes 7, 9, 11 and 13 of the first two bands, in the middle of one support; no mean, sizes add up to 1."""
    front = HMAXFront(1)
    for kernel, size in zip(front.bank.kernels[::4], (7, 9, 11, 13), strict=True):
        rows = np.flatnonzero(kernel.weight.any(axis=1))
        assert rows[-1] - rows[0] + 1 == size
    assert front.bank.size == 13
    assert [kernel.wavelength for kernel in front.bank.kernels[::4]] == list(S1_WAVELENGTHS[:4])
    np.testing.assert_allclose(front.bank.weight.sum((1, 2)), 0, atol=1e-14)
    np.testing.assert_allclose(np.abs(front.bank.weight).sum((1, 2)), 1, rtol=0, atol=1e-14)


def test_channels_have_names():
    """In their order: bands, then orientations."""
    front = HMAXFront(1, orientations=2, scales=3)
    assert front.names == (
        "3.5 and 4.6 pixels, 0 deg", "3.5 and 4.6 pixels, 90 deg", "5.6 pixels, 0 deg", "5.6 pixels, 90 deg",
    )  # fmt: skip
    assert repr(front).startswith("HMAXFront(\n  colors=1, bands=2, orientations=2")


@pytest.mark.parametrize("scales", [2, 4, 16])
def test_it_is_a_fixed_module(scales, generator):
    """Nothing trains; copies, other precisions and loaded states give the same."""
    front = HMAXFront(3, scales=scales).double()
    images = torch.rand(1, 3, 32, 32, generator=generator, dtype=torch.float64)
    want = front(images)
    for other in (copy.deepcopy(front), HMAXFront(3, scales=scales).double()):
        other.load_state_dict(front.state_dict())
        assert torch.equal(other(images), want)
    assert not any(parameter.requires_grad for parameter in front.parameters())
    assert_close(front.float()(images.float()), want.float(), rtol=0, atol=1e-6)


def grating(size, angle, waves, phase=0.0):
    y, x = torch.meshgrid(torch.arange(size).double(), torch.arange(size).double(), indexing="ij")
    along = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
    return torch.cos(2 * math.pi * along / waves - phase)[None, None]


@pytest.mark.parametrize("angle", [0, 45, 90, 135])
@pytest.mark.parametrize("waves", [4.6, 6.8])
def test_a_shift_within_the_neighbourhood_hardly_changes_c1(angle, waves):
    """Of a grating, by up to 4 pixels of 8: S1 changes by its own size, C1 by less than a tenth."""
    front = HMAXFront(1).double()
    place = front.names.index(f"{'3.5 and 4.6' if waves < 5 else '5.6 and 6.8'} pixels, {angle} deg")
    still, simple = front(grating(64, angle, waves)), front.simple(grating(64, angle, waves))
    inside = (slice(None), place, slice(3, -3), slice(3, -3))
    for shift in (1, 2, 3, 4):
        moved = grating(64, angle, waves, phase=2 * math.pi * shift / waves)
        assert (front(moved)[inside] - still[inside]).abs().max() < 0.1 * still[inside].max()
        assert (front.simple(moved) - simple).abs().max() > 0.5 * simple.abs().max()


@pytest.mark.parametrize("angle", [0, 45, 90, 135])
def test_a_grating_is_seen_by_its_orientation(angle):
    """The channels of its direction answer most, in both bands."""
    front = HMAXFront(1).double()
    for band, waves in enumerate((4.6, 6.8)):
        found = front(grating(64, angle, waves)).mean((0, 2, 3)).unflatten(0, (2, 4))
        assert found[band].argmax() == [0, 45, 90, 135].index(angle)


def test_what_c1_does_not_see(generator):
    """A constant image gives nothing, contrast turned around the same, and twice the contrast twice as much."""
    front = HMAXFront(2).double()
    images = torch.randn(1, 2, 24, 24, generator=generator, dtype=torch.float64)
    assert_close(front(torch.full_like(images, 3)), torch.zeros(1, 16, 5, 5).double(), rtol=0, atol=1e-13)
    want = front(images)
    assert_close(front(1 - images), want, rtol=0, atol=1e-13)
    assert_close(front(2 * images), 2 * want, rtol=0, atol=1e-13)
    assert float(want.max()) <= float(images.abs().max())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"in_channels": 0}, "in_channels must be an integer >= 1; got 0"),
        ({"in_channels": 1, "orientations": 0}, "orientations must be"),
        ({"in_channels": 1, "scales": 0}, "scales must be a whole number of at least 1; got 0"),
        ({"in_channels": 1, "scales": True}, "scales must be a whole number"),
        ({"in_channels": 1, "scales": 17}, "scales must be at most 16, as many as HMAX has; got 17"),
        ({"in_channels": 1, "scales": (1, 4)}, "scales must be"),
        ({"in_channels": 1, "pool": 0}, "pool must be an integer >= 1 or a pair of them; got 0"),
        ({"in_channels": 1, "stride": 0}, "stride must be"),
        ({"in_channels": 1, "padding_mode": "mirror"}, "padding_mode must be"),
    ],
)
def test_a_front_that_cannot_be_made(given, words):
    """Is refused by the argument that does not fit."""
    with pytest.raises(ValueError, match=words):
        HMAXFront(**given)


@pytest.mark.parametrize(
    ("options", "shape", "least"),
    [
        ({}, (1, 1, 7, 12), "8 x 8"),
        ({}, (1, 12, 12), "8 x 8"),
        ({}, (1, 3, 12, 12), "8 x 8"),
        ({"pool": 2}, (1, 1, 6, 12), "7 x 7"),
        ({"pool": 2, "padding_mode": "zeros"}, (1, 1, 6, 1), "2 x 2"),
    ],
)
def test_images_that_do_not_fit_are_refused(options, shape, least):
    """Before anything runs: too small for the neighbourhood or to be reflected, or of other channels."""
    front = HMAXFront(1, **options)
    with pytest.raises(
        ValueError, match=rf"images must have shape \(N, 1, H, W\) with at least {least} pixels; got"
    ):
        front(torch.zeros(shape))
    sides = int(least.split()[0])
    assert front(torch.zeros(1, 1, sides, sides)).shape[0] == 1


# --- explained ------------------------------------------------------------------------------------------------


def network(colors=3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        front = HMAXFront(colors, **options)
        tail = nn.Conv2d(front.out_channels, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 9, 4)
        return nn.Sequential(front, *tail).double().eval()


@pytest.fixture
def images(generator):
    return torch.rand(3, 3, 24, 24, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("calibrate", [True, False, ("color", "scale")])
@pytest.mark.parametrize("composite", [None, "epsilon_plus_flat", "zplus"])
@pytest.mark.filterwarnings("ignore:relevance should stay")
def test_relevance_is_conserved(calibrate, composite, images):
    """Colors, filters, scales, orientations and pixels add up to the output without its base."""
    model = network()
    before = copy.deepcopy(model.state_dict())
    found = ef.EdgeFilterAttribution(model, composite, calibrate=calibrate).explain(images, [0, 1, 2])
    assert found.filters == tuple(model[0].bank.names)
    assert_close(found.delta, torch.zeros(3).double(), rtol=0, atol=1e-12)
    total = model(images).gather(1, torch.tensor([[0], [1], [2]]))[:, 0].detach() - found.base
    if composite is None:
        assert total.abs().min() > 1e-4
    sums = [found.group(kind).edge.sum(1) for kind in ("scale", "orientation", "order")]
    for sum_ in (*sums, found.color.sum(1), found.edge.sum(1), found.pixel.sum((1, 2, 3))):
        assert_close(sum_, total, rtol=0, atol=1e-11)
    assert found.group("scale").names == ("3.5 pixels", "4.6 pixels", "5.6 pixels", "6.8 pixels")
    assert found.group("orientation").names == ("0 deg", "45 deg", "90 deg", "135 deg")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_relevance_lies_at_the_responses_that_won(images):
    """Where no neighbourhood has its maximum, a response has no relevance."""
    model = network()
    found = ef.EdgeFilterAttribution(model, calibrate=False).attribute(images, 1, score="response")
    given = images.clone().requires_grad_()
    responses = []
    handle = model[0].simple.register_forward_hook(lambda *args: responses.append(args[-1]))
    value = model[0](given).sum()
    handle.remove()
    (won,) = torch.autograd.grad(value, responses[0])
    assert not found.flatten(1, 2)[won == 0].any()
    assert (won == 0).double().mean() > 0.8
    assert found.abs().sum() > 0.01


def test_a_batch_is_explained_as_its_images_one_by_one(images):
    """With a target for each."""
    attribution = ef.EdgeFilterAttribution(network())
    whole = attribution.explain(images, [0, 1, 3])
    for place, target in enumerate((0, 1, 3)):
        one = attribution.explain(images[place : place + 1], target)
        assert_close(one.pixel[0], whole.pixel[place], rtol=0, atol=1e-12)
        assert_close(one.color_edge[0], whole.color_edge[place], rtol=0, atol=1e-12)


def test_the_dry_run_lists_the_layers(images):
    """The bank, the sizes and the layers behind; a maximum selects and has no rule."""
    table = ef.check(network(), images[:1]).to_dataframe()
    assert list(table["name"]) == ["0.simple", "0", "1", "2", "4"]
    assert list(table["kind"]) == ["FilterBankConv2d", "abs", "Conv2d", "ReLU", "Linear"]
    np.testing.assert_allclose(table["received"], table["handed_on"], rtol=1e-9)


def test_effects_and_games_of_scales(images):
    """Silencing filters works through the maxima, and the exact game of scales adds up to what the image gives."""
    model = network()
    attribution = ef.EdgeFilterAttribution(model)
    check = ef.causal_check(attribution, images[:1], target=2)
    assert torch.isfinite(check.edge).all()
    game = ef.EdgeFilterShapley(model, "scale").explain(images[:1], 2)
    assert game.players == ("3.5 pixels", "4.6 pixels", "5.6 pixels", "6.8 pixels")
    empty = model(torch.zeros_like(images[:1]))[
        0, 2
    ].detach()  # no response, which is nothing for every kernel
    assert_close(game.values.sum(), model(images[:1])[0, 2].detach() - empty, rtol=0, atol=1e-12)
    exact = ef.EdgeFilterAttribution(model, calibrate=("color", "scale")).explain(images[:1], 2)
    assert_close(exact.group("scale").edge.sum(), game.values.sum(), rtol=0, atol=1e-12)


def test_scores_are_drawn_and_saved_by_scale_and_orientation(images, tmp_path):
    """With the bank and without it, also after a file; a row for each scale, from coarse to fine."""
    model = network()
    found = ef.EdgeFilterAttribution(model).explain(images[:1], 2)
    loaded = ef.Explanation.load(found.save(tmp_path / "one.safetensors"))
    assert_close(loaded.group("scale").edge, found.group("scale").edge, rtol=0, atol=0)
    for given, bank in ((found, model[0].bank), (found, None), (loaded, None)):
        axes = plot_orders(given, bank).axes[0]
        rows = [label.get_text() for label in axes.get_yticklabels()]
        assert rows == ["6.8 pixels", "5.6 pixels", "4.6 pixels", "3.5 pixels", "sum"]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0°", "45°", "90°", "135°", "sum"]


@pytest.fixture(scope="module")
def trained():
    """Handwritten digits, enlarged to 32 x 32, and a linear head that was trained on 1,000 of them behind the front."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:1200, None] / 16
    images = nn.functional.interpolate(images, size=32, mode="bilinear")
    labels = torch.tensor(digits.target)[:1200]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        front, head = HMAXFront(1), nn.Sequential(nn.Flatten(), nn.Linear(8 * 49, 10))
    features = torch.cat([front(some) for some in images.split(200)])
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(features[:1000]), labels[:1000]).backward()
        optimizer.step()
    return nn.Sequential(front, head).eval(), images[1000:], labels[1000:]


def test_a_head_behind_the_front_learns_digits(trained):
    """More than nine of ten that it has not seen."""
    model, images, labels = trained
    with torch.no_grad():
        assert (model(images).argmax(1) == labels).float().mean() > 0.93


def test_digits_are_explained_by_their_strokes(trained):
    """On average over the test images, a one by what changes to the right, a seven by its horizontal bars."""
    model, images, labels = trained
    for digit, strokes in ((1, "0 deg"), (7, "90 deg")):
        some = images[labels == digit]
        found = ef.EdgeFilterAttribution(model).explain(some, digit)
        assert_close(found.delta, torch.zeros(len(some)), rtol=0, atol=1e-4)
        scores = found.group("orientation")
        assert scores.names[int(scores.edge.mean(0).argmax())] == strokes
