"""Means of groups, the ratio of the least to the largest, and bootstrap intervals."""

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from edgefilter.methods import GroupRatio
from edgefilter.methods.group_ratio import group_ratio, named_groups


def drawn(count, mean, generator, spread=0.5):
    """Return log-normal numbers of a mean and a coefficient of variation of about ``spread``."""
    noise = torch.randn(count, generator=generator, dtype=torch.float64)
    return mean * torch.exp(spread * noise - spread**2 / 2)


def test_means_and_ratio_by_hand():
    """Least over largest; groups keep their order."""
    found = group_ratio(
        {
            "a": torch.tensor([2.0, 4.0]),
            "b": torch.tensor([1.0, 1.0, 1.0]),
            "c": torch.tensor([1.0, 5.0, 3.0, 7.0]),
        },
        "size",
    )
    assert found.means == {"a": 3.0, "b": 1.0, "c": 4.0}
    assert found.counts == {"a": 2, "b": 3, "c": 4}
    assert (found.ratio, found.least, found.largest) == (0.25, "b", "c")
    assert found.ratios == {"a": 0.75, "b": 0.25, "c": 1.0}
    assert (found.lows["b"], found.highs["b"]) == (1.0, 1.0)
    assert found.lows["a"] >= 2
    assert found.highs["a"] <= 4
    assert found.values["a"].dtype == torch.float64


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_intervals_are_those_of_scipy(confidence, generator):
    """Percentile bootstrap of a mean, and of the ratio of two means."""
    a, b = drawn(40, 1, generator), drawn(25, 2, generator)
    found = group_ratio({"a": a, "b": b}, "size", n_bootstrap=20000, confidence=confidence)
    options = {
        "method": "percentile",
        "n_resamples": 20000,
        "confidence_level": confidence,
        "rng": np.random.default_rng(0),
    }
    for name, values in (("a", a), ("b", b)):
        low, high = stats.bootstrap((values.numpy(),), np.mean, **options).confidence_interval
        assert found.lows[name] == pytest.approx(low, rel=0.01)
        assert found.highs[name] == pytest.approx(high, rel=0.01)
    low, high = stats.bootstrap(
        (a.numpy(), b.numpy()), lambda x, y, axis: x.mean(axis) / y.mean(axis), **options
    ).confidence_interval
    assert found.low == pytest.approx(low, rel=0.01)
    assert found.high == pytest.approx(high, rel=0.01)


def test_intervals_are_those_of_a_slow_loop(generator):
    """The same draws, one at a time."""
    a, b = drawn(6, 1, generator), drawn(4, 1.2, generator)
    found = group_ratio({"a": a, "b": b}, "size", n_bootstrap=50, seed=3)
    source = torch.Generator().manual_seed(3)
    means = [
        [float(one[torch.randint(len(one), (len(one),), generator=source)].mean()) for _ in range(50)]
        for one in (a, b)
    ]
    for name, one in zip("ab", means, strict=True):
        wanted = np.percentile(one, [2.5, 97.5])
        np.testing.assert_allclose([found.lows[name], found.highs[name]], wanted, rtol=0, atol=1e-12)
    order = (0, 1) if found.least == "a" else (1, 0)
    ratios = [min(x / y, 1.0) for x, y in zip(means[order[0]], means[order[1]], strict=True)]
    np.testing.assert_allclose(
        [found.low, found.high], np.percentile(ratios, [2.5, 97.5]), rtol=0, atol=1e-12
    )


def test_equal_groups_have_an_interval_that_reaches_one(generator):
    """The least and the largest group stay the same in each draw."""
    values = drawn(30, 1, generator)
    found = group_ratio({"a": values, "b": values.clone()}, "size")
    assert (found.ratio, found.high) == (1.0, 1.0)
    assert found.low < 0.95
    assert "do not tell the two groups apart" in found.summary()


@pytest.mark.parametrize(("means", "wanted"), [((1, 2), 0.93), ((1, 1), 0.93), ((1, 1, 1), 0.91)])
def test_the_interval_covers_the_true_ratio(means, wanted):
    """300 data sets of 40 images a group: within three standard errors of what 2,000 gave."""
    source, hits, trials = torch.Generator().manual_seed(5), 0, 300
    for seed in range(trials):
        values = {str(place): drawn(40, mean, source) for place, mean in enumerate(means)}
        found = group_ratio(values, "size", n_bootstrap=300, seed=seed)
        hits += found.low <= min(means) / max(means) <= found.high
    assert hits / trials > wanted - 3 * math.sqrt(0.05 * 0.95 / trials)


@pytest.mark.extended
@pytest.mark.parametrize(
    ("count", "means", "wanted"),
    [
        (15, (1, 2), 0.93),
        (50, (1, 2), 0.94),
        (50, (1, 1), 0.94),
        (15, (1, 1, 1), 0.90),
        (50, (1, 1, 1), 0.93),
        (15, (1,) * 5, 0.87),
    ],
)
def test_coverage_is_as_the_docstring_says(count, means, wanted):
    """2,000 data sets: within three standard errors."""
    source, hits, trials = torch.Generator().manual_seed(6), 0, 2000
    for seed in range(trials):
        values = {str(place): drawn(count, mean, source) for place, mean in enumerate(means)}
        found = group_ratio(values, "size", n_bootstrap=500, seed=seed)
        hits += found.low <= min(means) / max(means) <= found.high
    assert hits / trials == pytest.approx(wanted, abs=3 * math.sqrt(wanted * (1 - wanted) / trials) + 0.005)


def test_seeds(generator):
    """The same seed gives the same intervals, another one others; a generator goes on."""
    values = {"a": drawn(20, 1, generator), "b": drawn(20, 2, generator)}

    def low(seed):
        return group_ratio(values, "size", seed=seed).low

    assert low(0) == low(0)
    assert low(0) != low(1)
    mine = torch.Generator().manual_seed(1)
    assert low(mine) == low(1)
    assert low(mine) != low(1)
    state = torch.random.get_rng_state()
    low(0)
    assert torch.random.get_rng_state().equal(state)


def test_many_images_are_drawn_in_pieces(generator, monkeypatch):
    """With the same result."""
    values = {"a": drawn(100, 1, generator), "b": drawn(90, 2, generator)}
    whole = group_ratio(values, "size")
    monkeypatch.setattr("edgefilter.methods.group_ratio.DRAWN", 1000)
    assert group_ratio(values, "size").lows == whole.lows


def test_a_single_image_has_no_interval():
    """It is said, and the rest is known."""
    with pytest.warns(UserWarning, match=r"two images or more for an interval; got one in 'b'"):
        found = group_ratio({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}, "size")
    assert found.ratio == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.lows["b"])
    assert not math.isnan(found.lows["a"])
    assert "One image has no interval" in found.summary()


@pytest.mark.parametrize(
    ("b", "words"), [([-1.0, -2.0], "got -1.5 for 'b'"), ([0.0, 0.0], "got 0 for every group")]
)
def test_a_ratio_without_a_meaning_is_nan(b, words):
    """Of negative means, or of none; the means are there."""
    a = [1.0, 2.0] if b[0] else [0.0, 0.0]
    with pytest.warns(UserWarning, match=words):
        found = group_ratio({"a": torch.tensor(a), "b": torch.tensor(b)}, "size")
    assert math.isnan(found.ratio)
    assert math.isnan(found.low)
    assert found.means["b"] == sum(b) / 2
    assert all(math.isnan(ratio) for ratio in found.ratios.values())
    assert "no meaning" in found.summary()


def test_a_group_with_nothing_has_the_ratio_zero():
    """And draws without anything do not break the interval."""
    found = group_ratio({"a": torch.zeros(3), "b": torch.tensor([0.0, 0.0, 1.0])}, "size")
    assert (found.ratio, found.low, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_bootstrap": 0}, "n_bootstrap must be a whole number"),
        ({"confidence": 95}, r"confidence must be between 0 and 1; got 95\. Pass for example"),
        ({"confidence": True}, "confidence must be between"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_wrong_options_are_refused(options, words):
    """By name."""
    with pytest.raises(ValueError, match=words):
        group_ratio({"a": torch.ones(2), "b": torch.ones(2)}, "size", **options)


def test_wrong_values_are_refused():
    """Groups without images, and numbers that are not finite."""
    with pytest.raises(ValueError, match="got none in 'a'"):
        group_ratio({"a": torch.ones(0), "b": torch.ones(2)}, "size")
    with pytest.raises(ValueError, match="got nan for image 1 of 'b'"):
        group_ratio({"a": torch.ones(2), "b": torch.tensor([1.0, math.nan])}, "size")
    with pytest.raises(TypeError, match="groups must be a mapping of names to images; got list"):
        named_groups([1, 2])
    with pytest.raises(ValueError, match="two groups or more; got 1"):
        named_groups({"a": 1})


def test_the_result_is_a_frozen_value(generator):
    """It can be copied, pickled, tabulated and shown."""
    found = group_ratio(
        {"women": drawn(15, 1, generator), "<men>": drawn(15, 2, generator)}, "share of red", part="red"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.ratio = 0
    for twin in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert isinstance(twin, GroupRatio)
        assert repr(twin) == repr(found)
        assert twin.values["women"].equal(found.values["women"])
    table = found.to_dataframe()
    assert list(table.columns) == ["group", "images", "mean", "low", "high", "ratio"]
    assert table["mean"].tolist() == list(found.means.values())
    assert "\n" not in repr(found)
    html = found._repr_html_()
    assert "&lt;men&gt;" in html
    assert "<men>" not in html
    assert "95 % interval" in html
    assert found.summary().endswith("The model uses red more for '<men>' than for 'women'.")
