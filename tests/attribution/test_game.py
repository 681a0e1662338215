"""The arithmetic of games: by hand, against shapiq, and against the definition."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from edgefilter.attribution.game import Game, all_sets, drawn_sets
from edgefilter.attribution.permutations import drawn_orders, estimated, sets_before

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def random_game(players, seed, images=1):
    noise = torch.Generator().manual_seed(seed)
    return Game(all_sets(players), torch.randn(images, 2**players, generator=noise, dtype=torch.float64))


def by_orders(game):
    """The definition: what a player adds, averaged over all orders."""
    place = {tuple(members.tolist()): i for i, members in enumerate(game.sets)}
    worth = torch.zeros(len(game.values), game.players, dtype=torch.float64)
    for order in itertools.permutations(range(game.players)):
        there = [False] * game.players
        for player in order:
            before = game.values[:, place[tuple(there)]]
            there[player] = True
            worth[:, player] += game.values[:, place[tuple(there)]] - before
    return worth / math.factorial(game.players)


def by_pairs(players, seed):
    """Values of a game in which only pairs interact, as a function of sets, with its Shapley values."""
    noise = torch.Generator().manual_seed(seed)
    alone = torch.randn(players, generator=noise, dtype=torch.float64)
    pairs = torch.randn(players, players, generator=noise, dtype=torch.float64).triu(1)

    def value(sets):
        there = sets.double()
        return 2.0 + there @ alone + torch.einsum("si,ij,sj->s", there, pairs, there)

    return value, alone + (pairs.sum(0) + pairs.sum(1)) / 2, pairs + pairs.T


@pytest.mark.parametrize("players", [1, 2, 3, 4, 5])
def test_shapley_values_are_the_definition(players):
    game = random_game(players, players, images=2)
    assert_close(game.shapley(), by_orders(game), **EXACT)
    assert not game.errors().any()


@pytest.mark.parametrize("players", [2, 3, 4])
def test_shapiq_says_the_same(players):
    """An independent library, for the values and for the interactions."""
    shapiq = pytest.importorskip("shapiq")
    game = random_game(players, 7)
    place = {tuple(members.tolist()): i for i, members in enumerate(game.sets)}

    def play(coalitions):
        return game.values[0, [place[tuple(bool(x) for x in row)] for row in coalitions]].numpy()

    computer = shapiq.ExactComputer(play, n_players=players)
    expected = computer("SV")
    values = torch.tensor([expected[(i,)] for i in range(players)], dtype=torch.float64)
    assert_close(game.shapley()[0], values, rtol=1e-6, atol=1e-6)
    together = computer("SII", order=2)
    for i, j in itertools.combinations(range(players), 2):
        assert game.interactions()[0, i, j] == pytest.approx(together[(i, j)], abs=1e-6)


def test_a_game_by_hand():
    """Red alone gives 4, green and blue only together give 6, nothing gives 1."""
    sets = all_sets(3)
    values = 1 + 4.0 * sets[:, 0] + 6.0 * (sets[:, 1] & sets[:, 2])
    game = Game(sets, values[None].double())
    assert game.none.tolist() == [1]
    assert game.all.tolist() == [11]
    assert_close(game.shapley(), torch.tensor([[4.0, 3.0, 3.0]]).double())
    assert game.effects().tolist() == [[4, 6, 6]]
    assert_close(game.interactions()[0], torch.tensor([[0.0, 0, 0], [0, 0, 6], [0, 6, 0]]).double())


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10**6), st.floats(-1e3, 1e3))
def test_laws_of_shapley(players, seed, factor):
    """Efficiency, linearity, and nothing for who adds nothing."""
    game = random_game(players, seed)
    assert_close(game.shapley().sum(1), game.all - game.none, **EXACT)
    assert_close(
        Game(game.sets, game.values * factor + 3).shapley(), game.shapley() * factor, rtol=1e-9, atol=1e-6
    )
    indifferent = game.values.clone()
    with_first = game.sets[:, 0].nonzero()[:, 0]
    indifferent[:, with_first] = indifferent[:, with_first - 1]
    idle = Game(game.sets, indifferent)
    assert idle.shapley()[0, 0] == 0
    assert not idle.interactions()[0, 0].any()


@pytest.mark.parametrize("players", [5, 8, 13, 30])
def test_drawn_sets_are_exact_where_pairs_interact(players):
    value, expected, _ = by_pairs(players, players)
    sets = drawn_sets(players, players, seed=1)
    assert len(sets) == 2 + 4 * players
    game = Game(sets, value(sets)[None])
    assert_close(game.shapley()[0], expected, rtol=1e-8, atol=1e-8)
    assert game.errors().max() < 1e-8
    assert game.interactions() is None
    without = torch.ones(players, players, dtype=torch.bool) ^ torch.eye(players, dtype=torch.bool)
    assert_close(game.effects()[0], value(torch.ones(1, players)) - value(without), **EXACT)


def test_drawn_sets_come_in_pairs():
    sets = drawn_sets(9, 20, seed=3)
    middle = sets[2 + 18 :].unflatten(0, (-1, 2))
    assert bool((middle[:, 0] ^ middle[:, 1]).all())
    assert int(middle.sum(2).min()) >= 2
    assert int(middle.sum(2).max()) <= 7
    assert torch.equal(sets, drawn_sets(9, 20, seed=3))
    assert not torch.equal(sets, drawn_sets(9, 20, seed=4))


def test_errors_of_drawn_sets_tell_how_far_the_values_are():
    """Over games with interactions of any order, the exact values lie within three errors about as often as they should."""
    within = []
    for seed in range(60):
        game = random_game(6, seed)
        smooth = game.values.cumsum(1) / 8  # neighbors of a set resemble it
        exact = Game(game.sets, smooth).shapley()
        sets = drawn_sets(6, 24, seed)
        places = (sets.long() << torch.arange(6)).sum(1)
        drawn = Game(sets, smooth[:, places])
        within.append((drawn.shapley() - exact).abs() <= 3 * drawn.errors() + 1e-12)
    assert torch.cat(within).double().mean() > 0.95


def test_orders_are_drawn_in_pairs():
    orders = drawn_orders(7, 5, seed=0)
    assert torch.equal(orders[::2].flip(1), orders[1::2])
    sets = sets_before(orders)
    assert torch.equal(sets.sum(2), torch.arange(8).expand(10, -1))
    assert torch.equal(sets[3, 4].nonzero()[:, 0], orders[3, :4].sort().values)


def test_orders_are_exact_where_pairs_interact():
    """What an order and its reverse say together is exact then, so that every error is zero."""
    value, expected, _ = by_pairs(9, 2)
    orders = drawn_orders(9, 3, seed=5)
    values = value(sets_before(orders).flatten(0, 1)).reshape(1, 6, 10)
    estimate = estimated(orders, values, precision=1e-15)
    assert_close(estimate.values[0], expected, **EXACT)
    assert estimate.errors.max() < 1e-10


def over_games(players, pairs, count):
    """Return how far the values are off in standard errors, over games with interactions of every order."""
    off = []
    for seed in range(count):
        game, orders = random_game(players, seed), drawn_orders(players, pairs, seed + 10**6)
        places = (sets_before(orders).long() << torch.arange(players)).sum(2)
        estimate = estimated(orders, game.values[:, places], precision=1e-15)
        off.append((estimate.values - game.shapley()).abs() / estimate.errors)
    return torch.cat(off)


@pytest.mark.parametrize("players", [6, 8, 9])
def test_a_thousand_drawn_games_are_within_three_errors(players):
    """In 99 of 100 values; and the errors are not much larger than they need to be."""
    off = over_games(players, 32, 1000)
    assert float((off <= 3).double().mean()) >= 0.99
    assert 0.5 < float(off.square().mean().sqrt()) < 1.1


def test_each_player_comes_in_once_at_each_place():
    places = drawn_orders(7, 14, seed=1)[::2].unflatten(0, (2, 7)).argsort(2)
    assert torch.equal(places.sort(1).values, torch.arange(7)[:, None].expand(2, 7, 7))


def test_drawn_orders_have_no_favorites():
    """Whether one player comes in before another is as likely as the reverse, and every place as likely as any other."""
    orders = torch.cat([drawn_orders(5, 2, seed)[::2] for seed in range(2000)])
    places = orders.argsort(1).double()
    assert_close(places.mean(0), torch.full((5,), 2.0).double(), rtol=0, atol=0.1)
    before = (places[:, :, None] < places[:, None]).double().mean(0)
    apart = ~torch.eye(5, dtype=torch.bool)
    assert_close(before[apart], torch.full((20,), 0.5).double(), rtol=0, atol=0.05)
