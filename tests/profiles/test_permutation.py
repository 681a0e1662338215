"""Parts shuffled between photos: against what a linear network gives by hand, and against a slow loop."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.attribution.shuffling import shuffled_outputs
from edgefilter.banks.bases import as_basis
from edgefilter.profiles import permutation_check
from edgefilter.profiles.permutation import _others

EXACT = {"rtol": 0, "atol": 1e-12}


def linear(weights):
    """One output, the weighted sum of the mean of each channel."""
    net = nn.Sequential(
        nn.Conv2d(len(weights), 1, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).double()
    net[0].weight.data = torch.tensor(weights).double().reshape(1, -1, 1, 1)
    return net.eval()


@pytest.fixture
def images(generator):
    return torch.rand(12, 3, 8, 8, generator=generator, dtype=torch.float64)


@pytest.fixture
def labels(generator):
    return torch.randint(5, (12,), generator=generator)


def test_a_linear_network_loses_what_can_be_done_by_hand():
    """Each photo gets the weighted mean of its channel from its other: the losses add up to zero, their spread is known."""
    values = torch.tensor([[1.0, 5.0], [2.0, 6.0], [4.0, 9.0], [8.0, 9.0]]).double()
    images = values[:, :, None, None].expand(-1, -1, 3, 3).contiguous()
    check = permutation_check(ef.EdgeFilterAttribution(linear([2.0, -1.0])), images, seed=3)
    (others,) = _others(4, 1, 3)
    for part, weight, channel in zip(check.parts, (2.0, -1.0), values.T, strict=False):
        losses = (weight * (channel - channel[others])).numpy()
        assert part.output == pytest.approx(0, abs=1e-12)
        assert part.output_error == pytest.approx(losses.std(ddof=1) / 2)
    assert check.output == pytest.approx(float((values @ torch.tensor([2.0, -1.0]).double()).mean()))
    assert (check.photos, check.permutations, check.accuracy) == (4, 1, 1)


@pytest.mark.parametrize("cut", ["stem", "later"])
def test_a_color_that_the_network_ignores_loses_exactly_nothing(small_net, images, labels, cut):
    """In the stem itself, or where a later layer drops what the stem makes of it."""
    with torch.no_grad():
        if cut == "stem":
            small_net[0].weight[:, 1] = 0
        else:
            small_net[0].weight[:3, 1], small_net[0].weight[3:, [0, 2]] = 0, 0
            small_net[3].weight[:, 3:] = 0
    check = permutation_check(ef.EdgeFilterAttribution(small_net), images, labels)
    green = next(part for part in check.parts if part.name == "green")
    assert green[3:] == (0, 0, 0, 0)
    assert all(part.output_error > 0 for part in check.of("color") if part.name != "green")


@torch.no_grad()
def test_colors_are_those_of_a_slow_loop_over_the_photos(small_net, images, labels):
    """One photo and one channel after the other, through the plain network."""
    check = permutation_check(
        ef.EdgeFilterAttribution(small_net), images, labels, permutations=2, seed=1, internal_batch_size=4
    )
    others = _others(len(images), 2, 1)
    for place, part in enumerate(check.parts[:3]):
        lost, wrong = [], []
        for index, label in enumerate(labels.tolist()):
            before = small_net(images[index : index + 1])[0]
            outputs, right = [], []
            for other in others[:, index].tolist():
                mixed = images[index].clone()
                mixed[place] = images[other, place]
                after = small_net(mixed[None])[0]
                outputs.append(float(before[label] - after[label]))
                right.append(float(int(before.argmax()) == label) - float(int(after.argmax()) == label))
            lost.append(np.mean(outputs))
            wrong.append(np.mean(right))
        assert part.output == pytest.approx(np.mean(lost), abs=1e-12)
        assert part.output_error == pytest.approx(np.std(lost, ddof=1) / len(lost) ** 0.5)
        assert part.accuracy == pytest.approx(np.mean(wrong), abs=1e-12)
        assert part.accuracy_error == pytest.approx(np.std(wrong, ddof=1) / len(wrong) ** 0.5, abs=1e-12)


def test_filters_are_those_of_a_network_whose_responses_are_mixed(small_net, images):
    """In the network behind its bank, responses of another photo take the place of its own."""
    front, tail = ef.split(ef.replace_stem(small_net))
    responses, names = front(images), list(ef.complete_bank(3).names)
    others = responses.roll(1, 0)
    attribution = ef.EdgeFilterAttribution(small_net)
    keeps = []
    for place in range(len(names)):
        keep = torch.zeros(3, len(names))
        keep[:, place] = 1
        keeps.append(keep)
    found = shuffled_outputs(attribution, images, images.roll(1, 0), keeps, 2)
    for place, keep in enumerate(keeps):
        mixed = torch.where(keep.flatten()[:, None, None] > 0, others, responses)
        assert_close(found.after[place], tail(mixed), **EXACT)
    assert_close(found.before, small_net(images), **EXACT)


def test_a_photo_gets_the_part_of_every_other_photo_but_never_its_own():
    for others in _others(7, 20, 5):
        assert sorted(others.tolist()) == list(range(7))
        assert not bool((others == torch.arange(7)).any())
    assert len({tuple(row) for row in _others(7, 20, 5).tolist()}) > 10


def test_the_seed_decides(small_net, images, labels):
    attribution = ef.EdgeFilterAttribution(small_net)
    first, again, other = (permutation_check(attribution, images, labels, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.parts != other.parts


def test_the_size_of_a_batch_changes_nothing(small_net, images, labels):
    attribution = ef.EdgeFilterAttribution(small_net)
    tables = [
        permutation_check(attribution, images, labels, internal_batch_size=size).to_dataframe()
        for size in (1, 5, 100)
    ]
    for table in tables[1:]:
        np.testing.assert_allclose(
            table.iloc[:, 3:].to_numpy(float), tables[0].iloc[:, 3:].to_numpy(float), rtol=0, atol=1e-12
        )


def test_without_labels_it_counts_the_predictions_that_change(small_net, images):
    attribution = ef.EdgeFilterAttribution(small_net)
    predicted = small_net(images).argmax(1)
    assert permutation_check(attribution, images) == permutation_check(attribution, images, predicted)


def test_groups_are_as_wished(small_net, images):
    attribution = ef.EdgeFilterAttribution(small_net)
    names = list(ef.complete_bank(3).names)
    each = permutation_check(attribution, images)
    assert [part.name for part in each.parts] == ["red", "green", "blue", *names]
    assert [part.label for part in each.parts[3:]] == list(ef.complete_bank(3).labels)
    orders = permutation_check(attribution, images, groups="order")
    assert {part.score for part in orders.parts} == {"color", "order"}
    everything = permutation_check(attribution, images, groups={"all": names}).parts[-1]
    assert (everything.score, everything.name) == ("group", "all")


def test_everything_of_another_photo_is_the_other_photo(small_net, images):
    """All responses shuffled at once: the output of the other photo."""
    found = shuffled_outputs(
        ef.EdgeFilterAttribution(small_net), images, images.roll(1, 0), [torch.ones(3, 9)], 0
    )
    assert_close(found.after[0], small_net(images.roll(1, 0)), **EXACT)


def test_one_output_is_measured_before_its_sigmoid(images):
    """Classes 0 and 1 by the sign of the logit."""
    net = nn.Sequential(linear([3.0, 0.0, -1.0]), nn.Sigmoid()).eval()
    plain = linear([3.0, 0.0, -1.0])
    classes = (plain(images)[:, 0] > 0).long()
    check = permutation_check(ef.EdgeFilterAttribution(net), images, classes)
    assert check == permutation_check(ef.EdgeFilterAttribution(plain), images, classes)
    assert check.accuracy == 1
    assert next(part for part in check.parts if part.name == "green").output_error == 0


@torch.no_grad()
def test_groups_of_channels_are_shuffled_together(small_net, images, labels):
    """With a channel of another photo each, and with both of one."""
    attribution = ef.EdgeFilterAttribution(small_net, colors={"warm": ["red", "green"], "cold": ["blue"]})
    check = permutation_check(attribution, images, labels)
    assert [part.name for part in check.of("color")] in (["warm", "cold"], ["cold", "warm"])
    (others,) = _others(len(images), 1, 0)
    mixed = images.clone()
    mixed[:, :2] = images[others, :2]
    rows = torch.arange(len(images))
    lost = (small_net(images) - small_net(mixed))[rows, labels].mean()
    assert next(part for part in check.parts if part.name == "warm").output == pytest.approx(float(lost))


@torch.no_grad()
def test_a_basis_is_shuffled_axis_by_axis(small_net, images, labels):
    """Lightness of another photo, hue of its own: in the basis, and back."""
    attribution = ef.EdgeFilterAttribution(small_net, basis="opponent")
    check = permutation_check(attribution, images, labels)
    matrix = torch.from_numpy(as_basis("opponent").matrix)
    (others,) = _others(len(images), 1, 0)
    for place, part in enumerate(check.parts[:3]):
        axes = torch.einsum("ac,nchw->nahw", matrix, images)
        axes[:, place] = axes[others, place]
        mixed = torch.einsum("ca,nahw->nchw", matrix.inverse(), axes)
        lost = (small_net(images) - small_net(mixed))[torch.arange(len(images)), labels].mean()
        assert part.output == pytest.approx(float(lost))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": torch.rand(1, 3, 8, 8).double()}, "images must be a tensor of two photos or more"),
        ({"images": [1, 2]}, "got list"),
        ({"permutations": 0}, "permutations must be an integer >= 1; got 0"),
        ({"labels": torch.tensor([9] * 12)}, "labels must be between 0 and 4"),
        ({"labels": torch.tensor([1])}, r"labels must have shape \(12,\)"),
    ],
)
def test_what_does_not_fit_is_refused(small_net, images, arguments, message):
    given = {"images": images} | arguments
    with pytest.raises(ValueError, match=message):
        permutation_check(ef.EdgeFilterAttribution(small_net), **given)
