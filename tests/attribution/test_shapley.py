"""The reference: against Captum's Shapley values, an enumeration of all sets, and its own errors."""

from __future__ import annotations

import pytest
import torch
from captum.attr import PerturbationAttribution, ShapleyValues
from torch import nn
from torch.testing import assert_close

import edgefilter as ef

EXACT = {"rtol": 1e-9, "atol": 1e-10}
SINGLE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 4)
        return nn.Sequential(*layers).double().eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def through_captum(net, images, target, feature_of):
    """Captum's exact Shapley values of groups of responses, at the tail of the model; feature_of: (C, K) of indices."""
    front, tail = ef.split(ef.replace_stem(net))
    responses = front(images).detach().contiguous()
    mask = torch.tensor(feature_of).reshape(1, -1, 1, 1).repeat(1, 1, *responses.shape[2:])
    count = int(mask.max()) + 1
    found = (
        ShapleyValues(tail).attribute(responses, target=target, feature_mask=mask).double()
    )  # it returns float32
    return torch.stack([found[:, (mask == i)[0]][:, 0] for i in range(count)], 1)


def test_it_is_a_method_of_captum(net):
    reference = ef.EdgeFilterShapley(net)
    assert isinstance(reference, PerturbationAttribution)
    assert not reference.has_convergence_delta()
    with pytest.raises(NotImplementedError, match="attribute_future"):
        reference.attribute_future()


def test_colors_are_those_of_captum(net, images):
    expected = through_captum(net, images, 1, [[c] * 9 for c in range(3)])
    assert_close(ef.EdgeFilterShapley(net, "color").attribute(images, 1), expected, **SINGLE)


def test_groups_are_those_of_captum(net, images):
    """Six orders of three groups of filters."""
    names = ef.complete_bank(3).names
    groups = {"a": names[:2], "b": names[2:3], "c": names[3:]}
    expected = through_captum(net, images, 1, [[0, 0, 1, 2, 2, 2, 2, 2, 2]] * 3)
    found = ef.EdgeFilterShapley(net, groups).explain(images, 1)
    assert found.players == ("a", "b", "c")
    assert_close(found.values, expected, **SINGLE)
    assert not found.errors.any()


def test_shapiq_says_the_same_of_filters(net, images):
    """Nine players, exactly, by a library that knows nothing of networks."""
    shapiq = pytest.importorskip("shapiq")
    front, tail = ef.split(ef.replace_stem(net))
    responses = front(images[:1]).detach()

    def play(coalitions):
        keep = torch.tensor(coalitions).double().repeat(1, 3)[:, :, None, None]
        with torch.no_grad():
            return tail(responses * keep)[:, 3].numpy()

    expected = shapiq.ExactComputer(play, n_players=9)("SV")
    found = ef.EdgeFilterShapley(net, "edge").explain(images[:1], 3)
    assert found.evaluations == 512
    assert_close(
        found.values[0], torch.tensor([expected[(i,)] for i in range(9)]).double(), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("players", ["color", "edge", "order", "orientation", "family", "color_edge"])
def test_values_and_base_add_up(net, images, players):
    found = ef.EdgeFilterShapley(net, players).explain(images, [1, 2], n_permutations=None)
    assert found.values.shape == found.errors.shape == (2, len(found.players))
    assert_close(found.values.sum(1) + found.base, found.output, **EXACT)
    assert_close(found.output, net(images)[[0, 1], [1, 2]].detach(), **EXACT)
    assert found.target == (1, 2)
    exact = players != "color_edge"
    assert bool((found.errors == 0).all()) is exact
    assert len(found.to_dataframe()) == 2 * len(found.players)


def test_names_of_players(net, images):
    names = {
        p: ef.EdgeFilterShapley(net, p).explain(images[:1], 0, n_permutations=2).players
        for p in ("edge", "color_edge")
    }
    assert names["edge"] == tuple(ef.complete_bank(3).names)
    assert names["color_edge"][10] == "green dx0_dy1" or names["color_edge"][10].startswith("green ")


def test_drawn_values_lie_within_their_errors(net, images):
    exact = ef.EdgeFilterShapley(net, "edge").explain(images, 1)
    drawn = ef.EdgeFilterShapley(net, "edge").explain(images, 1, n_permutations=36)
    assert drawn.evaluations < 512
    assert bool((drawn.errors > 0).all())
    assert float(((drawn.values - exact.values).abs() <= 3 * drawn.errors).double().mean()) > 0.9
    more = ef.EdgeFilterShapley(net, "edge").explain(images, 1, n_permutations=288)
    assert more.errors.mean() < 0.7 * drawn.errors.mean()


def test_draws_are_reproducible(net, images):
    reference = ef.EdgeFilterShapley(net, "color_edge")
    one, same, other = (reference.attribute(images, 1, n_permutations=4, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("players", ["color", "color_edge"])
def test_a_batch_is_its_images(net, images, players):
    reference = ef.EdgeFilterShapley(net, players)
    whole = reference.attribute(images, [0, 3], n_permutations=4)
    assert_close(whole, reference.attribute(images, [0, 3], n_permutations=4, internal_batch_size=1), **EXACT)
    assert_close(whole[1:], reference.attribute(images[1:], 3, n_permutations=4), **EXACT)


@pytest.mark.parametrize(("size", "sizes"), [(1, {1}), (None, {2}), (2, {2}), (5, {2, 4}), (8, {2, 4, 8})])
def test_the_model_gets_as_many_images_as_allowed(net, images, size, sizes):
    """By default the batch as it is, for a model may make something of the images beside an image."""
    seen = []
    handle = net.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    found = ef.EdgeFilterShapley(net, "edge").attribute(images, 1, internal_batch_size=size)
    handle.remove()
    assert set(seen) == sizes
    assert_close(found, ef.EdgeFilterShapley(net, "edge").attribute(images, 1), **EXACT)


@pytest.mark.parametrize("against", [2, "rest", [2, 0]])
def test_against_another_output(net, images, against):
    found = ef.EdgeFilterShapley(net).attribute(images, 1, against=against)
    every = torch.stack([ef.EdgeFilterShapley(net).attribute(images, k) for k in range(4)])
    other = (
        every[[0, 2, 3]].mean(0)
        if against == "rest"
        else torch.stack([every[k, n] for n, k in enumerate([2, 2] if against == 2 else against)])
    )
    assert_close(found, every[1] - other, **EXACT)


def test_default_target_is_the_prediction(net, images):
    assert ef.EdgeFilterShapley(net).explain(images).target == tuple(net(images).argmax(1).tolist())


def test_progress_is_shown_when_asked(net, images, capsys):
    ef.EdgeFilterShapley(net, "edge").attribute(images, 1, show_progress=True)
    assert "sets" in capsys.readouterr().err
    ef.EdgeFilterShapley(net, "edge").attribute(images, 1)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"players": "colour"}, "players must be one of color, edge.*did you mean 'color'"),
        ({"players": 3}, "players must be a name or a mapping"),
        ({"n_permutations": 0}, "n_permutations must be a whole number of at least 1; got 0"),
        ({"n_permutations": 2.5}, "n_permutations must be a whole number of at least 1; got 2.5"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
        ({"internal_batch_size": 0}, "internal_batch_size must be a whole number"),
        ({"against": "others"}, "against must be None, 'rest', 'odds', or another target"),
        ({"against": 1}, "against must be another output than target"),
        ({"against": 9}, "against must be between 0 and 3; got 9"),
    ],
)
def test_what_does_not_fit_is_named(net, images, arguments, message):
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        ef.EdgeFilterShapley(net, arguments.pop("players", "color")).attribute(images, 1, **arguments)


def test_the_model_is_left_alone(net, images):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    given = images.clone()
    ef.EdgeFilterShapley(net, "order").attribute(given, 1)
    assert torch.equal(given, images)
    assert not given.requires_grad
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
