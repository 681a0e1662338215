"""The adaptive noise of SmoothTaylor: steps by hand, and one image at a time."""

import pytest
import torch
from torch.testing import assert_close

from edgefilter.methods import (
    SmoothTaylor,
    TunedStdevs,
    area_under_perturbation_curve,
    average_total_variation,
)
from edgefilter.methods.stdev_search import Search


@pytest.fixture
def x(generator):
    return torch.randn(3, 3, 12, 12, generator=generator, dtype=torch.float64)


def tried(objective, start, **settings):
    return [round(stdev, 6) for stdev, _ in Search(**settings).run(objective, start)]


def test_steps_by_hand():
    """Up while it gets better; at the first step beyond, down; shorter after each step that is worse."""
    found = tried(lambda s: (s - 0.26) ** 2, 0.0, max_iterations=5)
    # 0.3 is nearer than 0.2; 0.4 is worse, so 0.2 is tried, which is worse as well: from there, a step of 0.09
    assert found == [0.0, 0.1, 0.2, 0.3, 0.4, 0.2, 0.29]
    worse = tried(lambda s: 0 if s == 1 else 1 + s, 1.0)
    # Every step away from 1 is worse: 3 are allowed, each makes the next shorter; below, it is better than above
    assert worse[:3] == [1.0, 1.1, 0.9]
    assert worse[3:5] == [round(0.9 + 0.09, 6), round(0.9 - 0.09, 6)]


def test_it_stops_after_bad_steps():
    """Three in a row are allowed, the fourth ends it; steps have shrunk by then."""
    count = iter(range(100))
    found = Search().run(lambda _: float(next(count)), 1.0)  # worse whatever is tried
    assert len(found) == 1 + 2 * 4
    downs = [found[i][0] for i in (2, 4, 6, 8)]
    assert_close(torch.tensor(downs), torch.tensor([0.9, 0.81, 0.729, 0.6561]))


def test_it_stops_after_iterations_and_stays_positive():
    """At most two evaluations each, and one before; a step below 0 is mirrored."""
    assert len(Search(max_iterations=6).run(lambda s: -s, 0.0)) == 7
    found = Search(max_iterations=1).run(lambda s: s, 0.03)
    assert [round(stdev, 6) for stdev, _ in found] == [0.03, 0.13, 0.07]


def deviation(attributions, inputs, target):
    """Like attributions of one size best."""
    return (attributions.abs().mean((1, 2, 3)) - 1e-3).abs()


def test_each_image_has_its_own_search(small_net, x):
    """The best of what was seen; alone as in a batch; it starts at the mean size of the image."""
    attr = SmoothTaylor(small_net)
    options = {"n_samples": 5, "max_iterations": 4}
    found = attr.tune_stdev(deviation, x, [0, 1, 2], **options)
    assert isinstance(found, TunedStdevs)
    assert found.stdevs.shape == found.objectives.shape == found.evaluations.shape == (3,)
    assert found.stdevs.dtype == x.dtype
    for i in range(3):
        trace = found.trace[i]
        assert_close(trace[0][0], float(x[i].abs().mean()), rtol=1e-12, atol=0)
        assert len(trace) == int(found.evaluations[i]) <= 9
        assert min(trace, key=lambda pair: pair[1]) == (float(found.stdevs[i]), float(found.objectives[i]))
        alone = attr.tune_stdev(deviation, x[i : i + 1], i, **options)
        assert_close(alone.stdevs, found.stdevs[i : i + 1], rtol=0, atol=1e-15)


def test_the_objective_sees_what_attribute_gives(small_net, x):
    """With the same noise as ``attribute`` at the same seed; the whole result is taken as stdevs."""
    attr, seen = SmoothTaylor(small_net), []

    def objective(attributions, inputs, target):
        seen.append((attributions, inputs, target))
        return attributions.abs().mean((1, 2, 3))

    found = attr.tune_stdev(objective, x, [2, 0, 1], start=0.2, max_iterations=1, n_samples=4, seed=3)
    maps = attr.attribute(x, [2, 0, 1], n_samples=4, stdevs=0.2, seed=3)
    first = [entry for entry in seen if torch.allclose(entry[0], maps[:1], rtol=1e-9, atol=1e-12)]
    assert len(first) == 1
    assert torch.equal(first[0][1], x[:1])
    assert list(first[0][2]) == [2]
    tuned = attr.attribute(x, [2, 0, 1], stdevs=found, n_samples=4, seed=3)
    assert torch.equal(tuned, attr.attribute(x, [2, 0, 1], stdevs=found.stdevs, n_samples=4, seed=3))
    values = tuned.abs().mean((1, 2, 3))
    assert_close(values, found.objectives, rtol=1e-6, atol=0)


def test_the_objectives_of_the_paper(small_net, x):
    """By name: the two functions with their defaults."""
    attr, options = SmoothTaylor(small_net), {"n_samples": 3, "max_iterations": 1, "start": 0.3}
    maps = attr.attribute(x, 1, stdevs=0.3, n_samples=3)
    first = {
        "total_variation": average_total_variation(maps),
        "aupc": area_under_perturbation_curve(small_net, x, maps, 1),
    }
    for name, expected in first.items():
        found = attr.tune_stdev(name, x, 1, **options)
        assert_close(
            torch.tensor([trace[0][1] for trace in found.trace]).double(), expected, rtol=1e-6, atol=1e-9
        )
        assert (found.objectives <= expected + 1e-9).all()
    gained = attr.tune_stdev("aupc", x, 1, (), **options)
    assert torch.equal(gained.stdevs, found.stdevs)


def test_progress_is_shown_if_asked_for(small_net, x, capsys):
    """And not otherwise."""
    for show in (False, True):
        SmoothTaylor(small_net).tune_stdev(
            lambda *_: 1, x, 1, n_samples=1, max_iterations=0, show_progress=show
        )
        assert ("images: 100%" in capsys.readouterr().err) is show


def test_several_inputs_share_one_deviation():
    """And are handed on as a tuple."""
    model = lambda a, b: (a**2).sum(1) + (b**2).sum(1)  # noqa: E731
    objective = lambda attributions, inputs, target: attributions[0].abs().sum(1) * len(inputs)  # noqa: E731
    a, b = torch.ones(2, 2), 3 * torch.ones(2, 2)
    found = SmoothTaylor(model).tune_stdev(objective, (a, b), n_samples=3, max_iterations=1)
    assert [trace[0][0] for trace in found.trace] == [2.0, 2.0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objective": "aucp"}, "objective must be one of 'aupc', 'total_variation', or a callable.*did you mean 'aupc'"),
        ({"objective": lambda *_: torch.tensor(float("nan"))}, "objective must return one finite number for each image; got nan"),
        ({"objective": lambda *_: torch.ones(2)}, r"got shape \(2,\)"),
        ({"objective": lambda *_: None}, "got NoneType"),
        ({"step": 0}, r"step must be positive and finite; got 0. Pass for example step=0.1"),
        ({"decay": 1.5}, "decay must be above 0 and at most 1; got 1.5"),
        ({"max_iterations": -1}, "max_iterations must be a whole number of at least 0"),
        ({"start": -1.0}, "start must be at least 0 and finite"),
        ({"start": "a"}, "start must be at least 0 and finite.* got 'a'"),
        ({"start": torch.ones(2)}, "one for each of the 3 examples"),
    ],
)  # fmt: skip
def test_other_settings_are_refused(small_net, x, options, words):
    """With what to do."""
    given = {"objective": deviation, "n_samples": 1, **options}
    with pytest.raises(ValueError, match=words):
        SmoothTaylor(small_net).tune_stdev(inputs=x, target=1, **given)


def test_what_was_found_fits_one_line(small_net, x):
    """The trace is in its field."""
    found = SmoothTaylor(small_net).tune_stdev(
        "total_variation", x, 1, start=0.5, n_samples=2, max_iterations=0
    )
    assert (
        repr(found)
        == f"TunedStdevs({len(x)} images, stdevs {', '.join(['0.5'] * len(x))}, {len(x)} evaluations)"
    )
