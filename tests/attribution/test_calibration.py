"""Measured scores against a slow reading of their formulas: one set at a time, through the two halves of split()."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.attribution.calibration import corrected, to_margins

EXACT = {"rtol": 1e-9, "atol": 1e-10}


# --- the oracle -----------------------------------------------------------------------------------------------


def slowly_corrected(values, total):
    """Formula 3, number by number."""
    values = [float(v) for v in values]
    whole = sum(abs(v) for v in values)
    lacking = float(total) - sum(values)
    return [v + lacking * (abs(v) / whole if whole else 1 / len(values)) for v in values]


class Slow:
    """Formulas 1 to 5 for one image, from the responses on."""

    def __init__(self, tail, response, colors, explained):
        self.tail, self.response, self.colors, self.explained = tail, response, colors, explained
        self.filters = response.shape[1] // colors

    @functools.cache  # noqa: B019 - lives as long as a test
    def value(self, pairs):
        """The explained output with only some (color, filter) pairs."""
        kept = torch.zeros_like(self.response)
        for color, kernel in pairs:
            kept[:, color * self.filters + kernel] = self.response[:, color * self.filters + kernel]
        with torch.no_grad():
            return float(self.explained(self.tail(kept)))

    def of_colors(self, some):
        return self.value(tuple((c, k) for c in some for k in range(self.filters)))

    def shapley(self, players, value):
        worth = []
        for player in range(players):
            others = [p for p in range(players) if p != player]
            found = 0.0
            for size in range(players):
                weight = math.factorial(size) * math.factorial(players - 1 - size) / math.factorial(players)
                for some in itertools.combinations(others, size):
                    found += weight * (value((*some, player)) - value(some))
            worth.append(found)
        return worth

    def path(self):
        places, weights = np.polynomial.legendre.leggauss(2)
        found = torch.zeros_like(self.response)
        for place, weight in zip(places, weights, strict=True):
            point = ((place + 1) / 2 * self.response).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.explained(self.tail(point)), point)
            found += weight / 2 * gradient * self.response
        return found.sum((2, 3)).reshape(self.colors, self.filters)

    def pairs(self, relevance):
        every = tuple(range(self.colors))
        none, total = self.of_colors(()), self.of_colors(every) - self.of_colors(())
        worth = self.shapley(self.colors, self.of_colors)
        errors, tables = [], []
        for division in (relevance, self.path()):
            guess = torch.tensor(slowly_corrected(division.flatten(), total), dtype=torch.float64)
            guess = guess.reshape(self.colors, -1).sum(1)
            wrong = [
                self.of_colors(some) - none - float(guess[list(some)].sum())
                for size in range(1, self.colors)
                for some in itertools.combinations(every, size)
            ]
            errors.append(sum(w * w for w in wrong) / len(wrong))
            tables.append([slowly_corrected(row, phi) for row, phi in zip(division, worth, strict=True)])
        first = (1 / errors[0]) / (1 / errors[0] + 1 / errors[1])
        tables = torch.tensor(tables, dtype=torch.float64)
        return first * tables[0] + (1 - first) * tables[1], none


# --- models ---------------------------------------------------------------------------------------------------


def built(channels=3, *, bias=True, activation=nn.ReLU):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return (
            nn.Sequential(
                nn.Conv2d(channels, 5, 3, padding=1, bias=bias),
                nn.BatchNorm2d(5),
                activation(),
                nn.MaxPool2d(2),
                nn.Conv2d(5, 6, 3),
                activation(),
                nn.Flatten(),
                nn.Linear(24, 4),
            )
            .double()
            .eval()
        )


def photos(channels=3, count=2):
    noise = torch.Generator().manual_seed(5)
    return torch.randn(count, channels, 8, 8, generator=noise, dtype=torch.float64)


def halves(model, images):
    front, tail = ef.split(ef.replace_stem(model))
    return tail, front(images).detach()


EXPLAINED = {
    None: lambda outputs: outputs[:, 2].sum(),
    1: lambda outputs: (outputs[:, 2] - outputs[:, 1]).sum(),
    "rest": lambda outputs: (outputs[:, 2] - (outputs.sum(1) - outputs[:, 2]) / 3).sum(),
}


@pytest.mark.parametrize(
    ("composite", "channels", "against"),
    [
        ("epsilon_plus", 3, None),
        ("epsilon", 2, 1),
        ("zplus", 4, "rest"),
        ("epsilon_plus", 2, "rest"),
        ("zplus", 3, 1),
    ],
)
def test_scores_are_the_formulas(channels, composite, against):
    model, images = built(channels), photos(channels)
    found = ef.EdgeFilterAttribution(model, composite).explain(images, 2, against=against)
    alone = ef.EdgeFilterAttribution(model, composite, calibrate=False)
    with (
        pytest.warns(UserWarning, match="color scores")
        if composite == "epsilon"
        else contextlib.nullcontext()
    ):
        relevance = alone.explain(images, 2, against=against)
    tail, responses = halves(model, images)
    for n in range(2):
        slow = Slow(tail, responses[n : n + 1], channels, EXPLAINED[against])
        pairs, none = slow.pairs(relevance.color_edge[n])
        assert_close(found.color_edge[n], pairs, **EXACT)
        assert found.base[n] == pytest.approx(none, abs=1e-12)
        worth = slow.shapley(channels, slow.of_colors)
        assert_close(found.color[n], torch.tensor(worth, dtype=torch.float64), **EXACT)
        without = [[c for c in range(channels) if c != gone] for gone in range(channels)]
        lost = [float(found.output[n]) - slow.of_colors(some) for some in without]
        assert_close(found.effects[n], torch.tensor(lost, dtype=torch.float64), **EXACT)
        places = relevance.response[n].flatten(2)
        for c, k in itertools.product(range(channels), range(9)):
            expected = slowly_corrected(places[c, k], pairs[c, k])
            assert_close(
                found.response[n, c, k].flatten(), torch.tensor(expected, dtype=torch.float64), **EXACT
            )


@pytest.mark.parametrize("groups", ["order", "dependent", {"flat": ["dx0_dy0"], "rest": None}])
def test_groups_of_filters_are_exact_as_well(groups):
    model, images = built(), photos()
    names = ef.complete_bank(3).names
    if isinstance(groups, dict):
        groups = {"flat": names[:1], "rest": names[1:]}
    if groups == "dependent":  # nine of them: more than the second game takes
        with pytest.raises(ValueError, match="at most 6 groups"):
            ef.EdgeFilterAttribution(model, calibrate=("color", groups)).explain(images, 2)
        return
    found = ef.EdgeFilterAttribution(model, calibrate=("color", groups)).explain(images, 2)
    tail, responses = halves(model, images)
    members = list(ef.complete_bank(3).groups(groups).values())
    for n in range(2):
        slow = Slow(tail, responses[n : n + 1], 3, EXPLAINED[None])

        def of_groups(some, slow=slow):
            return slow.value(
                tuple((c, names.index(name)) for g in some for name in members[g] for c in range(3))
            )

        worth = torch.tensor(slow.shapley(len(members), of_groups), dtype=torch.float64)
        sums = torch.stack([found.edge[n, [names.index(name) for name in group]].sum() for group in members])
        assert_close(sums, worth, **EXACT)
        assert_close(
            found.color[n], torch.tensor(slow.shapley(3, slow.of_colors), dtype=torch.float64), **EXACT
        )
    assert_close(found.base + found.total, found.output, **EXACT)


def test_one_channel_is_weighed_by_drawn_sets_of_filters():
    """The weights are those of three drawn halves and their complements, whatever they are; the table is a mean of both divisions."""
    model, images = built(1), photos(1)
    found = ef.EdgeFilterAttribution(model).explain(images, 2)
    relevance = ef.EdgeFilterAttribution(model, calibrate=False).explain(images, 2)
    tail, responses = halves(model, images)
    for n in range(2):
        slow = Slow(tail, responses[n : n + 1], 1, EXPLAINED[None])
        total = slow.of_colors((0,)) - slow.of_colors(())
        by_rules, by_gradient = (
            torch.tensor(slowly_corrected(d.flatten(), total), dtype=torch.float64)
            for d in (relevance.color_edge[n], slow.path())
        )
        weight = (found.edge[n] - by_gradient) / (by_rules - by_gradient)
        assert weight.std() < 1e-6
        assert 0 < weight.mean() < 1
    again = ef.EdgeFilterAttribution(model).explain(images, 2)
    assert torch.equal(again.edge, found.edge)


def test_many_channels_come_with_errors():
    model, images = built(7), photos(7)
    found = ef.EdgeFilterAttribution(model).explain(images, 2)
    exact = ef.EdgeFilterShapley(model, "color").explain(images, 2)
    assert exact.evaluations == 2**7
    assert_close(found.color.sum(1), exact.values.sum(1), **EXACT)
    assert found.errors.shape == (2, 7)
    assert bool((found.errors > 0).all())
    assert float(((found.color - exact.values).abs() <= 4 * found.errors).double().mean()) > 0.9
    assert found.interactions is None
    assert_close(found.base, exact.base, **EXACT)


def test_a_linear_model_is_what_it_is():
    """Everything agrees: effects, Shapley values, responses times gradient; and nothing interacts."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3)).double().eval()
    images = photos()
    found = ef.EdgeFilterAttribution(model).explain(images, 1)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    expected = (gradient * images).sum((2, 3))
    assert_close(found.color, expected, **EXACT)
    assert_close(found.effects, expected, **EXACT)
    assert_close(found.interactions, torch.zeros(2, 3, 3).double(), **EXACT)
    assert_close(found.base, model(torch.zeros_like(images))[:, 1], **EXACT)


def test_interactions_by_hand():
    """The output is red alone plus the product of green and blue, which takes two layers of ReLU to write: max(g + b - 1, 0)."""

    class And(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 3, 1, bias=False)
            self.stem.weight.data = torch.eye(3)[:, :, None, None]

        def forward(self, x):
            red, green, blue = self.stem(x).mean((2, 3)).unbind(1)
            return (2 * torch.relu(red) + 6 * torch.relu(green + blue - 1))[:, None]

    found = ef.EdgeFilterAttribution(And().double().eval()).explain(torch.ones(1, 3, 4, 4).double())
    assert_close(found.color, torch.tensor([[2.0, 3.0, 3.0]]).double(), **EXACT)
    assert_close(found.effects, torch.tensor([[2.0, 6.0, 6.0]]).double(), **EXACT)
    assert_close(found.interactions, torch.tensor([[[0.0, 0, 0], [0, 0, 6], [0, 6, 0]]]).double(), **EXACT)


# --- the two corrections --------------------------------------------------------------------------------------

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9)


@settings(max_examples=200, deadline=None)
@given(numbers, st.floats(-1e6, 1e6))
def test_corrected_adds_up(values, total):
    found = corrected(torch.tensor(values, dtype=torch.float64), torch.tensor(total, dtype=torch.float64))
    scale = sum(map(abs, values)) + abs(total) + 1e-300
    assert float(found.sum()) == pytest.approx(total, abs=1e-12 * scale)
    assert found.tolist() == pytest.approx(slowly_corrected(values, total), abs=1e-11 * scale)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 4), st.integers(0, 10**6), st.booleans())
def test_both_margins_are_met(colors, filters, groups, seed, some_zero):
    noise = torch.Generator().manual_seed(seed)
    pairs = torch.randn(2, colors, filters, generator=noise, dtype=torch.float64)
    if some_zero:
        pairs[:, 0] = 0
        pairs[:, :, 0] = 0
    member = torch.arange(filters) % min(groups, filters)
    groups = torch.nn.functional.one_hot(member).T.double()
    rows = torch.randn(2, colors, generator=noise, dtype=torch.float64)
    columns = torch.randn(2, len(groups), generator=noise, dtype=torch.float64)
    columns += (rows.sum(1) - columns.sum(1))[:, None] / len(groups)
    found = to_margins(pairs, rows, columns, groups)
    assert_close(found.sum(2), rows, rtol=1e-7, atol=1e-8)
    assert_close((found @ groups.T).sum(1), columns, rtol=1e-7, atol=1e-8)
    assert_close(to_margins(found, rows, columns, groups), found, rtol=1e-6, atol=1e-7)


class Beside(nn.Module):
    """The mean of the image joins what the stem gives, so that the output without responses is another for each image."""

    def __init__(self, *, hidden):
        super().__init__()
        self.net, self.hidden = built(), hidden

    def forward(self, x):
        beside = x.mean((1, 2, 3))[:, None]
        return self.net(x) + (beside.detach() if self.hidden else beside)


@pytest.mark.filterwarnings("ignore:the image reaches the output past the filter bank")
@pytest.mark.parametrize("hidden", [False, True])
def test_nothing_is_each_image_s_own_where_the_image_passes_the_bank(hidden):
    model, images = Beside(hidden=hidden).double().eval(), photos(count=4)
    order = [0, 1, 2, 0] if not hidden else [0, 1, 2, 3]  # the first again as the last
    found = ef.EdgeFilterAttribution(model).explain(images[order], 2)
    alone = [ef.EdgeFilterAttribution(model).explain(images[[n]], 2) for n in order]
    assert_close(found.base, torch.cat([one.base for one in alone]), **EXACT)
    expected = ef.EdgeFilterAttribution(built()).explain(images[order], 2).base + images[order].mean(
        (1, 2, 3)
    )
    assert_close(found.base, expected, **EXACT)
    assert_close(found.color, torch.cat([one.color for one in alone]), **EXACT)
