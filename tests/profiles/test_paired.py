"""Two networks on the same photos: differences as NumPy and SciPy have them, and none where there are none."""

import numpy as np
import pytest
import torch
from scipy import stats

import edgefilter as ef
from edgefilter.profiles import PairedProfile
from edgefilter.profiles.effects import student

COLORS = ("red", "green")


def explained(values, bank=None, colors=COLORS):
    """Wrap scores of shape (N, C, K)."""
    bank = ef.get_bank("sobel") if bank is None else bank
    groups = {"order": bank.groups("order")}
    count = len(values)
    return ef.Explanation(
        values[..., None, None], None, torch.ones(count), (0,) * count, colors, tuple(bank.names),
        filter_labels=tuple(bank.labels), groups=groups,
    )  # fmt: skip


def drawn(generator, filters=2, count=40):
    return torch.randn(count, 2, filters, generator=generator, dtype=torch.float64)


@pytest.fixture
def scores(generator):
    """Scores of two networks for the same photos, and the classes of the photos."""
    first = drawn(generator)
    return first, first + 0.3 * drawn(generator), torch.randint(3, (40,), generator=generator)


def paired_of(first, second, labels, batches=1, right=None, **options):
    paired = PairedProfile(3, explained(first[:1]), explained(second[:1]), class_names="abc", **options)
    for some in torch.arange(len(labels)).tensor_split(batches):
        answers = None if right is None else tuple(answer[some] for answer in right)
        paired.update(explained(first[some]), explained(second[some]), labels[some], answers)
    return paired


def shares(values):
    return (values / values.abs().sum((1, 2), keepdim=True)).numpy()


@pytest.mark.parametrize("batches", [1, 7])
@pytest.mark.parametrize("which", [None, 0, "c"])
def test_differences_are_those_of_paired_samples(scores, batches, which):
    """Mean and Student's interval, by SciPy's paired test."""
    first, second, labels = scores
    paired = paired_of(*scores, batches)
    mine = slice(None) if which is None else labels.numpy() == {"c": 2}.get(which, which)
    one, other = shares(first)[mine], shares(second)[mine]
    for score, axis, names in (("color", 2, COLORS), ("edge", 1, ("sobel_x", "sobel_y"))):
        found = paired.differences(which, score)
        assert {item.name for item in found} == set(names)
        assert [abs(item.difference) for item in found] == sorted(
            (abs(item.difference) for item in found), reverse=True
        )
        for item in found:
            a, b = (values.sum(axis)[:, names.index(item.name)] for values in (one, other))
            interval = stats.ttest_rel(a, b).confidence_interval(0.95)
            assert item.difference == pytest.approx((a - b).mean(), abs=1e-12)
            assert (item.first, item.second) == pytest.approx((a.mean(), b.mean()), abs=1e-12)
            assert (item.low, item.high) == pytest.approx(interval, rel=2e-3)
            assert item.photos == len(a)


def test_one_network_twice_has_no_difference(scores):
    """Exactly none, in every number."""
    first, _, labels = scores
    right = torch.rand(40) > 0.5
    paired = paired_of(first, first.clone(), labels, 3, (right, right.clone()))
    assert paired.is_none
    table = paired.to_dataframe()
    assert not table[["difference", "low", "high"]].fillna(0).to_numpy().any()
    assert set(table["score"]) == {"color", "order", "edge", "accuracy"}
    assert not paired_of(*scores).is_none


def test_a_difference_that_cancels_is_one(generator):
    """The mean is 0, but single photos differ."""
    first = drawn(generator, count=2)
    paired = paired_of(first, first.flip(0), torch.zeros(2, dtype=torch.long))
    assert all(item.difference == pytest.approx(0, abs=1e-15) for item in paired.differences())
    assert not paired.is_none


def test_accuracy_is_compared_photo_by_photo(scores):
    right = torch.rand(40) > 0.3, torch.rand(40) > 0.6
    paired = paired_of(*scores, 4, right)
    (item,) = paired.differences(None, "accuracy")
    a, b = (answer.double().numpy() for answer in right)
    assert (item.first, item.second, item.difference) == pytest.approx((a.mean(), b.mean(), (a - b).mean()))
    assert (item.low, item.high) == pytest.approx(stats.ttest_rel(a, b).confidence_interval(0.95), rel=1e-3)


def test_networks_of_other_filters_are_compared_by_order(generator):
    """A stem of 5 x 5 has orders that one of 3 x 3 does not have."""
    small, large = ef.get_bank("sobel"), ef.complete_bank(5)
    first, second = drawn(generator, len(small)), drawn(generator, len(large))
    pair = explained(first, small), explained(second, large)
    paired = PairedProfile(1, *pair)
    paired.update(*pair, torch.zeros(40, dtype=torch.long))
    assert "edge" not in paired.parts
    found = {item.name: item for item in paired.differences(0, "order")}
    assert set(found) == set(small.groups("order")) | set(large.groups("order"))
    for name, item in found.items():
        places = [large.index(one) for one in large.groups("order").get(name, ())]
        assert item.second == pytest.approx(shares(second).sum(1)[:, places].sum(1).mean())
        if name not in small.groups("order"):
            assert item.first == 0


def test_networks_of_other_colors_are_refused(generator):
    values = drawn(generator)
    with pytest.raises(
        ValueError, match=r"compare must be a network with the colors \('red', 'green'\); got"
    ):
        PairedProfile(3, explained(values), explained(values, colors=("B02", "B03")))


def test_photos_without_shares_are_left_out_in_pairs(scores):
    first, second, labels = scores
    first[3], second[5, 0, 0] = 0, float("nan")
    good = torch.tensor([place not in (3, 5) for place in range(40)])
    found, wanted = paired_of(*scores), paired_of(first[good], second[good], labels[good])
    assert int(found.compute()["count"].sum()) == 38
    for name, value in wanted.compute().items():
        torch.testing.assert_close(found.compute()[name], value, rtol=0, atol=1e-12)


def test_unknown_classes_and_scores_are_refused(scores):
    paired = paired_of(*scores)
    with pytest.raises(KeyError, match="unknown class 'd'"):
        paired.differences("d")
    with pytest.raises(KeyError, match="unknown score 'colour'; did you mean 'color'"):
        paired.differences(None, "colour")


def test_pairs_go_on_from_their_state(scores):
    first, second, labels = scores
    half = paired_of(first[:20], second[:20], labels[:20])
    other = PairedProfile(3, explained(first[:1]), explained(second[:1]), class_names="abc")
    other.load_state_dict(half.state_dict())
    other.update(explained(first[20:]), explained(second[20:]), labels[20:])
    wanted = paired_of(*scores).compute()
    for name, value in other.compute().items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("free", [3, 4, 9, 100])
def test_reach_is_students(free):
    assert student(0.95, free) == pytest.approx(stats.t.ppf(0.975, free), rel=2e-3)
    assert np.isnan(student(0.95, 0))
