"""Another basis of colors: the same network behind other channels, and nothing for the chroma of gray."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.banks.bases import as_basis
from edgefilter.lrp.recolored import in_basis
from small_models import (
    EXACT,
    assert_adds_up,
    assert_untouched,
    enumerated,
    network,
    pictures,
    seeded,
    snapshot,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAW = ("color", "edge", "color_edge", "output", "base", "pixel", "response", "effects", "interactions")


def random_basis(count=3, seed=0):
    matrix = np.random.default_rng(seed).normal(size=(count, count))
    return ef.ColorBasis([f"color {place}" for place in range(count)], matrix)


def behind(net, basis):
    """Return the network whose stem reads the colors of a basis: its weights times the inverse."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        inverse = torch.from_numpy(basis.inverse)
        other.conv.weight.copy_(torch.einsum("ochw,cg->oghw", net.conv.weight, inverse))
    return other


def recolored(images, basis):
    return torch.einsum("gc,nchw->nghw", torch.from_numpy(basis.matrix), images)


@pytest.mark.parametrize("layered", [False, True])
@pytest.mark.parametrize("calibrate", [True, False, ("color", "order")])
@pytest.mark.parametrize("basis", ["opponent", "luma", "any"])
@pytest.mark.filterwarnings("ignore:relevance should stay")
def test_a_basis_explains_the_network_behind_it(basis, calibrate, layered):
    """All scores of a model on an image are those of the model with the stem ``W B^-1`` on the image ``B x``."""
    basis = random_basis() if basis == "any" else as_basis(basis)
    net, images = network(3), pictures()
    model = ef.replace_stem(net) if layered else net
    found = ef.EdgeFilterAttribution(model, basis=basis, calibrate=calibrate).explain(images, 1)
    expected = ef.EdgeFilterAttribution(behind(net, basis), calibrate=calibrate).explain(
        recolored(images, basis), 1
    )
    for name in LAW:
        if getattr(expected, name) is not None:
            assert_close(getattr(found, name), getattr(expected, name), **EXACT)
    assert found.colors == found.channels == basis.names
    assert_adds_up(found)


@pytest.mark.parametrize("composite", ["epsilon", "zplus", "epsilon_alpha2_beta1", "epsilon_gamma_box"])
@pytest.mark.filterwarnings("ignore:relevance should stay", "ignore:color scores should come")
def test_the_law_holds_under_other_rules(composite):
    if composite not in ef.composite_names():
        pytest.skip(f"no composite {composite}")
    basis, net, images = random_basis(), network(3), pictures()
    found = ef.EdgeFilterAttribution(net, composite, basis=basis).explain(images, 1)
    expected = ef.EdgeFilterAttribution(behind(net, basis), composite).explain(recolored(images, basis), 1)
    for name in LAW:
        assert_close(getattr(found, name), getattr(expected, name), **EXACT)


def test_the_law_holds_for_thirteen_channels_and_groups_of_the_basis():
    basis, net, images = random_basis(6, 3), network(6), pictures(2, 6)
    groups = {"a": ["color 0", "color 5"], "b": [1, 2], "c": ["color 3", "color 4"]}
    found = ef.EdgeFilterAttribution(net, basis=basis, colors=groups).explain(images, 1)
    behind_it = ef.EdgeFilterAttribution(behind(net, basis), colors=groups, channels=basis.names)
    expected = behind_it.explain(recolored(images, basis), 1)
    for name in LAW:
        assert_close(getattr(found, name), getattr(expected, name), **EXACT)
    assert found.colors == ("a", "b", "c")
    assert found.channels == basis.names
    assert_close(found.pixel_map("b"), found.pixel[:, 1:3].sum(1), **EXACT)


def test_the_basis_of_the_channels_changes_nothing():
    net, images = network(3), pictures()
    basis = ef.ColorBasis(("red", "green", "blue"), np.eye(3))
    found = ef.EdgeFilterAttribution(net, basis=basis).explain(images, 1)
    expected = ef.EdgeFilterAttribution(net).explain(images, 1)
    for name in LAW:
        assert_close(getattr(found, name), getattr(expected, name), **EXACT)


def test_the_size_of_a_row_changes_no_score():
    net, images = network(3), pictures()
    found = ef.EdgeFilterAttribution(net, basis="opponent").explain(images, 1)
    rows = as_basis("opponent").matrix * np.array([[3.0], [-0.5], [100.0]])
    scaled = ef.EdgeFilterAttribution(net, basis=(("a", "b", "c"), rows)).explain(images, 1)
    for name in LAW:
        assert_close(getattr(found, name), getattr(scaled, name), **EXACT)


def test_the_model_runs_on_the_image_that_was_given():
    """The explained logits are those of the model to the last bit, and nothing is touched."""
    net, images = network(3).float(), pictures().float()
    before = snapshot(net, images)
    seen = []
    handle = net.conv.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    found = ef.EdgeFilterAttribution(net, basis="opponent", calibrate=False).explain(images, 1)
    handle.remove()
    assert torch.equal(seen[0], images)
    assert torch.equal(found.output, net(images)[:, 1].detach()) or torch.allclose(
        found.output, net(images)[:, 1], rtol=1e-6
    )
    assert_untouched(before, snapshot(net, images))


# --- gray ---------------------------------------------------------------------------------------------------------


def grays(count, seed=0, size=10):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, size, size, generator=generator).expand(-1, 3, -1, -1).contiguous()


def assert_no_chroma(found):
    """No score, no relevance at any place, no effect: not even rounding."""
    for values in (found.color, found.response, found.pixel, found.effects, found.interactions):
        if values is not None:
            assert not values[:, 1:].any()
    assert found.color[:, 0].abs().min() > 0


def test_equal_channels_have_no_chroma():
    """Of many random values, float32 and float64, under bases of any size."""
    for dtype in (torch.float32, torch.float64, torch.float16):
        gray = grays(4, size=50).to(dtype) * 255
        for basis in (as_basis("opponent"), as_basis("luma")):
            colors = in_basis(gray, basis)
            assert not colors[:, 1:].any()
            assert_close(colors[:, :1], gray[:, :1], rtol=1e-3 if dtype == torch.float16 else 1e-6, atol=0)
    rows = np.random.default_rng(0).normal(size=(13, 13))
    rows[1:] -= rows[1:].mean(1, keepdims=True)
    basis = ef.ColorBasis([f"c{place}" for place in range(13)], rows)
    assert basis.chromas == basis.names[1:]
    assert not in_basis(grays(1)[:, :1].expand(-1, 13, -1, -1), basis)[:, 1:].any()


@pytest.mark.parametrize("basis", ["opponent", "luma"])
@pytest.mark.parametrize("layered", [False, True])
@pytest.mark.parametrize("calibrate", [True, False, ("color", "order")])
def test_a_gray_image_has_exactly_no_chroma(basis, layered, calibrate):
    net = network(3).float()
    model = ef.replace_stem(net) if layered else net
    found = ef.EdgeFilterAttribution(model, basis=basis, calibrate=calibrate).explain(grays(2), 1)
    assert_no_chroma(found)


TOUCHES = {
    "normalised": lambda x: (x - x.new_tensor(MEAN)[:, None, None]) / x.new_tensor(STD)[:, None, None],
    "flipped": lambda x: x.flip(1),
    "mixed": lambda x: torch.einsum("njhw,ij->nihw", x, MATRIX.to(x.dtype)),
    "resized": lambda x: nn.functional.interpolate(x, scale_factor=2.0)[:, :, :10, :10],
}
MATRIX = torch.tensor([[1.0, 2, 0], [0, 1, 1], [1, 0, 0.5]], dtype=torch.float64)


@pytest.mark.parametrize("name", TOUCHES)
@pytest.mark.parametrize("calibrate", [True, False])
@pytest.mark.filterwarnings("ignore:relevance should stay")
def test_a_gray_image_has_no_chroma_before_anything_a_model_does_to_it(name, calibrate):
    net = network(3, TOUCHES[name]).float()
    found = ef.EdgeFilterAttribution(net, basis="opponent", calibrate=calibrate).explain(grays(2), 1)
    assert_no_chroma(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gray_photo_has_no_chroma_behind_the_normalisation_of_each_channel(dtype):
    """Only if the basis is told of it: the input that the model gets is not gray."""
    net = network(3).to(dtype)
    images = TOUCHES["normalised"](grays(4).to(dtype))
    basis = as_basis("opponent").normalized(MEAN, STD)
    assert_no_chroma(ef.EdgeFilterAttribution(net, basis=basis).explain(images, 1))
    assert ef.EdgeFilterAttribution(net, basis="opponent").explain(images, 1).color[:, 1:].any()


def test_a_network_that_makes_gray_of_its_input_has_chroma_scores_of_rounding():
    net = network(3, lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1))
    found = ef.EdgeFilterAttribution(net, basis="opponent").explain(pictures(), 1)
    assert found.color[:, 1:].abs().max() < 1e-12 < found.color[:, 0].abs().min()


# --- the game, whatever happens before the stem ---------------------------------------------------------------------


def with_some_colors(model, images, basis, target):
    """Return the output with some colors of the image only, as a function of the colors."""
    inverse, rest = torch.from_numpy(basis.inverse), torch.from_numpy(basis.rest)[:, None, None]
    colors = torch.einsum("gc,nchw->nghw", torch.linalg.inv(inverse), images - rest)

    def values(some):
        keep = torch.zeros(len(inverse), dtype=torch.float64)
        keep[list(some)] = 1
        kept = torch.einsum("cg,nghw->nchw", inverse, colors * keep[:, None, None]) + rest
        with torch.no_grad():
            return model(kept)[:, target]

    return values


@pytest.mark.parametrize("basis", ["opponent", "random", "normalized"])
@pytest.mark.parametrize("name", [*TOUCHES, "nothing"])
@pytest.mark.filterwarnings("ignore:relevance should stay")
def test_color_scores_are_the_game_of_the_colors(name, basis):
    """Enumerated on images that are put together from some of the colors, which run through the whole model."""
    basis = {
        "opponent": as_basis("opponent"),
        "random": random_basis(),
        "normalized": as_basis("luma").normalized(MEAN, STD),
    }[basis]
    net, images = network(3, TOUCHES.get(name)), pictures()
    found = ef.EdgeFilterAttribution(net, basis=basis).explain(images, 1)
    values = with_some_colors(net, images, basis, 1)
    assert_close(found.base, values(()), rtol=0, atol=1e-9)
    assert_close(found.color, enumerated(values, 3), rtol=0, atol=1e-9)
    assert_close(found.output, net(images)[:, 1].detach(), **EXACT)
    assert_close(found.base + found.total, found.output, **EXACT)


def test_silencing_and_the_reference_are_of_the_basis():
    net, images = network(3), pictures()
    basis = as_basis("luma")
    attr = ef.EdgeFilterAttribution(net, basis=basis)
    found = attr.explain(images, 1)
    values = with_some_colors(net, images, basis, 1)
    assert_close(attr.silence(images, 1, colors=["Cb"]), values((0, 2)), **EXACT)
    assert_close(ef.causal_check(attr, images, found).color[:, 2], found.output - values((0, 1)), **EXACT)
    reference = ef.EdgeFilterShapley(net, basis="luma").explain(images, 1)
    assert reference.players == ("Y", "Cb", "Cr")
    assert_close(reference.values, found.color, **EXACT)


def test_a_basis_by_name_follows_the_order_of_the_channels():
    """A network that takes blue first has the scores of one that takes red first."""
    net, images = network(3), pictures()
    turned = copy.deepcopy(net)
    with torch.no_grad():
        turned.conv.weight.copy_(net.conv.weight.flip(1))
    found = ef.EdgeFilterAttribution(net, basis="opponent").explain(images, 1)
    other = ef.EdgeFilterAttribution(turned, basis="opponent", channels=("blue", "green", "red"))
    assert_close(found.color_edge, other.explain(images.flip(1), 1).color_edge, **EXACT)


def test_pieces_of_a_batch_and_the_files_keep_the_basis(tmp_path):
    net, images = network(3), pictures(4)
    attr = ef.EdgeFilterAttribution(net, basis="luma")
    found, pieces = attr.explain(images, 1), attr.explain(images, 1, internal_batch_size=3)
    assert_close(found.response, pieces.response, **EXACT)
    again = ef.Explanation.load(found.save(tmp_path / "one"))
    assert again.colors == again.channels == ("Y", "Cb", "Cr")
    assert again.about["basis"] == "luma"
    assert_close(attr.attribute(images, 1), found.pixel, **EXACT)


@pytest.mark.parametrize("options", [{"basis": "opponent"}, {"colors": {"a": [0, 2], "b": [1]}}])
@pytest.mark.parametrize("name", ["nothing", "flipped", "mixed"])
def test_regions_and_maps_are_a_partition_of_the_same_scores(options, name):
    """A region has what its pixels have, by color of the basis and by group."""
    images, regions = pictures(), torch.arange(100).reshape(10, 10) // 30
    found = ef.EdgeFilterAttribution(network(3, TOUCHES.get(name)), **options).explain(images, 1)
    parts = found.region(regions)
    assert parts.colors == found.colors
    assert_close(parts.color_edge.sum(1), found.color_edge, **EXACT)
    for place, label in enumerate(parts.labels):
        for color in found.colors:
            inside = found.pixel_map(color)[:, regions == label].sum(1)
            assert_close(parts.color[:, place, found.colors.index(color)], inside, rtol=0, atol=1e-8)


# --- what is refused ----------------------------------------------------------------------------------------------------


def test_what_a_basis_does_not_fit_is_refused():
    net, images = network(3), pictures()
    with pytest.raises(ValueError, match="matrix must be finite and invertible"):
        ef.EdgeFilterAttribution(net, basis=(("a", "b"), [[1, 1], [1, 1]]))
    with pytest.raises(KeyError, match="unknown basis 'opponnent'; did you mean 'opponent'"):
        ef.EdgeFilterAttribution(net, basis="opponnent")
    with pytest.raises(ValueError, match=r"a color for each channel of inputs .* got 2 for \(2, 3, 10, 10\)"):
        ef.EdgeFilterAttribution(net, basis=random_basis(2)).explain(images, 1)
    with pytest.raises(ValueError, match="basis must be None for a model of several inputs; got 2"):
        ef.EdgeFilterAttribution(net, basis="luma").attribute((images, images), 1)
    layers = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)
    deep = ef.EdgeFilterAttribution(seeded(lambda: nn.Sequential(*layers)), basis="luma", layer="1")
    with pytest.raises(ef.UnsupportedModelError, match="basis must be None for a stem that reads features"):
        deep.explain(images, 1)


def test_colors_that_meet_in_something_not_linear_come_with_a_warning():
    """As without a basis: a model that squares its input cannot be told apart."""
    net = network(3, lambda x: x * torch.sigmoid(x.sum(1, keepdim=True)))
    with pytest.warns(UserWarning, match="colors must meet in sums before the stem to be told apart"):
        ef.EdgeFilterAttribution(net, basis="opponent").explain(pictures(), 1)
