"""How strongly a layer responds to groups of images."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import edgefilter as ef
from edgefilter.methods import activation_ratio
from small_models import assert_untouched, snapshot


@pytest.fixture
def images(generator):
    """Two groups of random images, float64."""
    return {name: torch.rand(7, 3, 9, 9, generator=generator, dtype=torch.float64) for name in ("a", "b")}


def one_filter(weights=(1.0, -2.0)):
    """Return a model whose two channels are the image times a weight."""
    conv = nn.Conv2d(1, len(weights), 1, bias=False)
    conv.weight.data = torch.tensor(weights).reshape(-1, 1, 1, 1)
    return nn.Sequential(conv, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(len(weights) * 4, 2)).eval()


def test_statistics_by_hand():
    """Two channels, of which the second is silent behind the ReLU."""
    ramp = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    groups = {"a": torch.stack([ramp, 2 * ramp])[:, None], "b": torch.stack([2 * ramp, 4 * ramp])[:, None]}
    found = activation_ratio(one_filter(), "1", groups)
    assert found.means == {
        "a": (1.5 + 3) / 2,
        "b": (3 + 6) / 2,
    }  # half of the largest: the other channel is 0
    assert found.ratio == 0.5
    assert found.what == "largest activation of '1'"
    assert activation_ratio(one_filter(), "1", groups, statistic="mean").means["a"] == (0.75 + 1.5) / 2
    absolute = activation_ratio(one_filter(), "0", groups, statistic="absolute")
    assert absolute.means["a"] == (1.5 + 3 + 3 + 6) / 4
    largest = activation_ratio(one_filter(), "1", groups, statistic=lambda a: a.flatten(1).amax(1))
    assert largest.means["a"] == 4.5


def test_an_activation_is_read_before_the_next_layer_works_in_place():
    """The convolution's own output, not what an in-place ReLU leaves of it."""
    groups = {"a": torch.ones(2, 1, 2, 2), "b": torch.full((2, 1, 2, 2), 0.5)}
    found = activation_ratio(one_filter((3.0, -1.0)), "0", groups, statistic="mean")
    assert found.means["a"] == 1.0


def test_it_equals_a_slow_loop(small_net, images):
    """Each image alone, by NumPy."""
    found = activation_ratio(small_net, "3", images, batch_size=3)
    with torch.no_grad():
        for name, group in images.items():
            maps = [small_net[:4](image[None])[0].numpy() for image in group]
            wanted = [np.mean([channel.max() for channel in one]) for one in maps]
            np.testing.assert_allclose(found.values[name].numpy(), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("factor", [0.5, 1.0, 0.1])
def test_a_network_without_biases_has_the_ratio_of_the_contrast(factor, images):
    """Positively homogeneous: half the contrast, half the activation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3, bias=False), nn.ReLU()
        ).double().eval()  # fmt: skip
    groups = {"a": images["a"], "b": factor * images["a"]}
    found = activation_ratio(net, net[4], groups)
    assert found.ratio == pytest.approx(factor, abs=1e-12)


def test_groups_come_as_tensors_batches_or_single_images(small_net, images):
    """With the same result; of batches with labels, the images count."""
    wanted = activation_ratio(small_net, "4", images)
    labelled = TensorDataset(images["a"], torch.zeros(7))
    for given in (
        list(images["a"].split(3)),
        (batch for batch in images["a"].split(2)),
        [*images["a"]],
        DataLoader(labelled, 4),
        labelled,
    ):
        found = activation_ratio(small_net, "4", {"a": given, "b": images["b"]}, batch_size=5)
        torch.testing.assert_close(found.values["a"], wanted.values["a"], rtol=0, atol=1e-12)


def test_layers_are_named_or_given(small_net, images):
    """Also the bank, a linear layer, and the model itself."""
    assert (
        activation_ratio(small_net, "4", images).ratio
        == activation_ratio(small_net, small_net[4], images).ratio
    )
    stem = ef.replace_stem(small_net)
    found = activation_ratio(stem, stem[0].filters, images, statistic="absolute")
    assert "filters" in found.what
    assert 0 < found.ratio <= 1
    with torch.no_grad():
        wanted = small_net(images["a"]).abs().mean(1)
    found = activation_ratio(small_net, "7", images, statistic="absolute")
    torch.testing.assert_close(found.values["a"], wanted, rtol=0, atol=1e-12)
    found = activation_ratio(small_net, small_net, images, statistic="absolute")
    torch.testing.assert_close(found.values["a"], wanted, rtol=0, atol=1e-12)
    assert found.what == "mean absolute activation of 'Sequential'"


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda model: torch.compile(model, backend="eager")],
    ids=["DataParallel", "compiled"],
)
def test_wrapped_models_have_the_layers_of_the_one_inside(wrap, small_net, images):
    """By name as well; ``DataParallel(model)`` counts as training until somebody calls its ``eval()``."""
    inside = nn.Sequential(small_net).double().eval()
    assert activation_ratio(wrap(inside), "0", images).means == activation_ratio(inside, "0", images).means


def test_a_group_with_half_the_activation_is_found(generator):
    """Fifteen images a group are enough."""
    noise = torch.rand(30, 1, 2, 2, generator=generator)
    found = activation_ratio(one_filter(), "1", {"seen": 1 + noise[:15], "unseen": 0.5 + noise[15:] / 2})
    assert (found.least, found.largest) == ("unseen", "seen")
    assert found.high < 0.7
    assert "The layer responds more strongly to 'seen' than to 'unseen'." in found.summary()


def test_everything_is_left_as_it_was(small_net, images):
    """Also after an error in the model, the layer or the statistic."""
    before, state = snapshot(small_net, *images.values()), torch.random.get_rng_state()
    activation_ratio(small_net, "3", images)
    assert_untouched(before, snapshot(small_net, *images.values()))

    def fails(activation):
        raise RuntimeError("on purpose")

    for options, groups in (
        ({"statistic": fails}, images),
        ({}, {"a": images["a"], "b": images["b"][:, :2]}),
    ):
        with pytest.raises(RuntimeError):
            activation_ratio(small_net, "3", groups, **options)
        assert_untouched(before, snapshot(small_net, *images.values()))
    assert torch.random.get_rng_state().equal(state)


class Twice(nn.Module):
    """Runs a layer twice, another never, and returns a tuple from a third."""

    def __init__(self):
        super().__init__()
        self.relu, self.never, self.pair = nn.ReLU(), nn.ReLU(), Pair()

    def forward(self, x):
        return self.relu(self.relu(self.pair(x)[0])).flatten(1)


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("relu", r"layer must run once for each batch; 'relu' ran 2 times\. Name the module around it"),
        ("never", "'never' ran 0 times"),
        ("pair", "layer must return one tensor .* got tuple from 'pair'"),
    ],
)
def test_layers_without_one_activation_are_refused(layer, words, images):
    """By name."""
    with pytest.raises(ValueError, match=words):
        activation_ratio(Twice().eval(), layer, images)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"groups": {"a": torch.rand(2, 3, 9, 9)}}, ValueError, "two groups or more"),
        ({"groups": [torch.rand(2, 3, 9, 9)]}, TypeError, "groups must be a mapping"),
        ({"groups": {"a": "x", "b": "y"}}, TypeError, "got str in 'a'. Pass a tensor"),
        ({"groups": {"a": [1], "b": [2]}}, TypeError, "got int in 'a'"),
        ({"groups": {"a": [], "b": []}}, ValueError, "groups must hold images; got none in 'a'"),
        ({"groups": {"a": torch.rand(0, 3, 9, 9), "b": 1}}, ValueError, "got none in 'a'"),
        ({"groups": {"a": torch.ones(2, 3, 9, 9, dtype=torch.int64), "b": 1}}, ValueError, "got torch.int64"),
        ({"groups": {"a": torch.rand(9, 9), "b": 1}}, ValueError, r"of shape \(9, 9\) in 'a'"),
        ({"layer": "33"}, KeyError, "layer must be the path of a module"),
        ({"layer": nn.ReLU()}, ValueError, "layer must be a module of the model; got another ReLU"),
        ({"layer": 3}, TypeError, "layer must be a module of the model or its path; got int"),
        ({"statistic": "maxi"}, ValueError, "got 'maxi'; did you mean 'max'?"),
        ({"statistic": torch.mean}, ValueError, r"statistic must return one number for each of the 7 images; got \(\)"),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
        ({"n_bootstrap": 0}, ValueError, "n_bootstrap must be"),
        ({"model": lambda x: x}, TypeError, "model must be an nn.Module"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(change, error, words, small_net, images):
    """With what does fit."""
    arguments = {"model": small_net, "layer": "3", "groups": images} | change
    with pytest.raises(error, match=words):
        activation_ratio(**arguments)


def test_a_model_in_training_is_refused(small_net, images):
    """Its activations would depend on the batch; where none does, it may be."""
    model = nn.Sequential(small_net, nn.Dropout()).double()
    with pytest.raises(ValueError, match="model must be in evaluation mode; layer '1'"):
        activation_ratio(model.train(), small_net[3], images)
    assert small_net.training
    in_training = activation_ratio(small_net, "3", images)
    assert in_training.means == activation_ratio(small_net.eval(), "3", images).means


def test_negative_means_have_no_ratio():
    """It is said what to choose."""
    groups = {"a": torch.ones(2, 1, 2, 2), "b": torch.full((2, 1, 2, 2), 0.5)}
    with pytest.warns(UserWarning, match="behind its activation function, or statistic='absolute'"):
        found = activation_ratio(one_filter((1.0, -3.0)), "0", groups, statistic="mean")
    assert math.isnan(found.ratio)
    assert found.means == {"a": -1.0, "b": -0.5}
