"""Names and labels: either is taken wherever a filter is named, and both are given back."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.attribution.ranking import Ranked

NAME, LABEL = "dx1_dy0", "edge_x"


@pytest.fixture
def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)).double().eval()


@pytest.fixture
def images(generator):
    return torch.rand(2, 3, 6, 6, generator=generator, dtype=torch.float64)


def others(names, one):
    return [name for name in names if name != one]


def test_a_label_is_as_good_as_a_name(net, images):
    attr = ef.EdgeFilterAttribution(net)
    explanation = attr.explain(images, 1)
    assert (NAME in explanation.filters, LABEL in explanation.filter_labels) == (True, True)
    assert_close(explanation.edge_map(LABEL), explanation.edge_map(NAME))
    by_label, by_name = (
        explanation.group({"a": [one], "b": others(all_names, one)})
        for one, all_names in ((LABEL, explanation.filter_labels), (NAME, explanation.filters))
    )
    assert_close(by_label.edge, by_name.edge)
    assert by_label.filters == by_name.filters
    silenced = [attr.silence(images, 1, filters=given) for given in ([LABEL], [NAME], LABEL, NAME)]
    for other in silenced[1:]:
        assert_close(other, silenced[0])
    assert not torch.allclose(silenced[0], explanation.output)


def test_players_may_be_groups_of_labels(net, images):
    bank = ef.complete_bank(3)
    values = [
        ef.EdgeFilterShapley(net, {"a": [one], "b": others(names, one)}).attribute(images, 1)
        for one, names in ((LABEL, bank.labels), (NAME, bank.names))
    ]
    assert_close(*values)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 7])
def test_a_bank_knows_its_labels(size):
    bank = ef.complete_bank(size)
    assert [bank.index(label) for label in bank.labels] == list(range(len(bank)))


def test_unknown_names_are_refused_with_the_nearest_label(net, images):
    attr = ef.EdgeFilterAttribution(net)
    with pytest.raises(KeyError, match=r"unknown filter 'edgex'; did you mean 'edge_x'\?"):
        attr.silence(images, 1, filters="edgex")
    with pytest.raises(KeyError, match=r"unknown color 'gren'; did you mean 'green'\?"):
        attr.silence(images, 1, colors="gren")


@pytest.mark.parametrize("score", ["edge", "color", "color_edge"])
def test_top_gives_pairs_that_know_their_label(net, images, score):
    explanation = ef.EdgeFilterAttribution(net).explain(images, 1)
    shown = dict(zip(explanation.filters, explanation.filter_labels, strict=True))
    for name, value in explanation.top(3, score)[0]:
        assert isinstance(name, str)
        assert isinstance(value, float)
    for one in explanation.top(99, score)[1]:
        words = one.name.split(" ")
        assert one.label == " ".join(shown.get(word, word) for word in words)
        assert one == (one.name, one.value)


def test_pairs_are_pairs():
    one = Ranked(NAME, 1.0, LABEL)
    assert [one] == [(NAME, 1.0)]
    assert (repr(one), len(one), hash(one)) == (f"('{NAME}', 1.0)", 2, hash((NAME, 1.0)))
    assert Ranked(NAME, 1.0).label == NAME
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert (other, other.label) == (one, LABEL)


def test_tables_give_both(net, images):
    explanation = ef.EdgeFilterAttribution(net).explain(images, 1)
    shown = dict(zip(explanation.filters, explanation.filter_labels, strict=True))
    table = explanation.to_dataframe()
    assert [shown[name] for name in table["filter"]] == table["label"].tolist()
    profile = ef.ClassProfile(
        2, explanation.colors, explanation.filters, filter_labels=explanation.filter_labels
    )
    profile.update(explanation, torch.tensor([0, 1]))
    table = profile.to_dataframe()
    assert [shown.get(name, "") for name in table["filter"]] == table["label"].tolist()
    for players in ("edge", "color_edge", "color"):
        found = ef.EdgeFilterShapley(net, players).explain(images, 1, n_permutations=2)
        table = found.to_dataframe()
        assert table["player"].tolist() == 2 * list(found.players)
        expected = [" ".join(shown.get(word, word) for word in player.split(" ")) for player in found.players]
        assert table["label"].tolist() == 2 * expected


# --- progress -----------------------------------------------------------------------------------------------


def test_progress_is_shown_on_stderr_on_request_only(net, images, capsys):
    attr = ef.EdgeFilterAttribution(net)
    calls = {
        "sets": lambda shown: attr.explain(images, 1, show_progress=shown),
        "batches": lambda shown: attr.explain(images, 1, internal_batch_size=1, show_progress=shown),
        "parts": lambda shown: ef.causal_check(attr, images, target=1, show_progress=shown),
    }
    for label, call in calls.items():
        call(False)
        assert capsys.readouterr().err == ""
        call(True)
        shown = capsys.readouterr()
        assert f"{label}: 100%" in shown.err
        assert shown.out == ""


def test_progress_changes_no_numbers(net, images):
    attr = ef.EdgeFilterAttribution(net)
    one, other = (attr.explain(images, 1, show_progress=shown) for shown in (False, True))
    assert torch.equal(one.response, other.response)
