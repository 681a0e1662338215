"""Scores by group of filters: sums, from the engine, from a file, by kind and by a mapping."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradientXActivation
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.attribution.explanation import Explanation
from edgefilter.attribution.grouping import group_scores
from edgefilter.attribution.storing import FORMAT
from edgefilter.banks.groups import KINDS, all_groups


def explained(bank, generator, **changes):
    """Return random relevance for two images of three colors, in float64."""
    response = torch.randn(2, 3, len(bank), 4, 5, dtype=torch.float64, generator=generator)
    about = {
        "colors": ("red", "green", "blue"),
        "filters": tuple(bank.names),
        "filter_labels": tuple(bank.labels),
    }
    return Explanation(
        response, None, response.sum((1, 2, 3, 4)), (7, 8), **about, **{"groups": all_groups(bank), **changes}
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["edges", "robinson", "general", "gabor7"])
def test_scores_of_groups_are_sums(name, kind, generator):
    """Filter by filter, in a loop; all groups together have what all filters have."""
    bank = ef.get_bank(name)
    explanation = explained(bank, generator)
    found = explanation.group(kind)
    assert dict(zip(found.names, found.filters, strict=True)) == bank.groups(kind)
    for place, filters in enumerate(found.filters):
        maps = sum(explanation.edge_map(name) for name in filters)
        assert_close(found.edge[:, place], maps.sum((1, 2)), rtol=0, atol=1e-12)
        for color in range(3):
            one = sum(explanation.response[:, color, bank.index(name)].sum((1, 2)) for name in filters)
            assert_close(found.color_edge[:, color, place], one, rtol=0, atol=1e-12)
    assert_close(found.edge.sum(1), explanation.total, rtol=0, atol=1e-12)
    assert_close(found.color_edge.sum(2), explanation.color, rtol=0, atol=1e-12)


def test_a_partition_of_your_own_takes_names_and_labels(generator):
    """As ``bank.groups`` gives it, by hand, or by words; single filters are scores as they are."""
    bank = ef.complete_bank(3)
    explanation = explained(bank, generator)
    single = explanation.group({name: [name] for name in bank.names})
    assert_close(single.edge, explanation.edge, rtol=0, atol=1e-12)
    assert_close(single.color_edge, explanation.color_edge, rtol=0, atol=0)
    rest = [name for name in bank.names if name != "dx1_dy0"]
    found = explanation.group({"one": ["edge_x"], "rest": rest})
    assert (found.names, found.filters) == (("one", "rest"), (("dx1_dy0",), tuple(rest)))
    assert_close(found.edge[:, 0], explanation.edge[:, 1], rtol=0, atol=1e-12)
    assert_close(
        explanation.group(bank.groups("order")).edge, explanation.group("order").edge, rtol=0, atol=0
    )


def test_groups_go_wherever_the_explanation_goes(generator, tmp_path):
    """To one image, to shares and to a file and back."""
    explanation = explained(ef.get_bank("edges"), generator)
    loaded = Explanation.load(explanation.save(tmp_path / "one.safetensors"))
    assert loaded.groups == explanation.groups
    assert [list(groups) for groups in loaded.groups.values()] == [
        list(g) for g in explanation.groups.values()
    ]
    assert_close(loaded.group("order").edge, explanation.group("order").edge, rtol=0, atol=0)
    assert_close(explanation[1].group("order").edge, explanation.group("order").edge[1:], rtol=0, atol=1e-12)
    shares = explanation.normalized().group("family").edge
    assert_close(shares.sum(1), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_file_of_old_knows_no_kinds(generator, tmp_path, monkeypatch):
    """Written without groups: kinds are refused, mappings work."""
    bank = ef.get_bank("sobel")
    explanation = explained(bank, generator)
    from edgefilter.attribution import storing as file

    write = file.write_tagged
    monkeypatch.setattr(
        file, "write_tagged", lambda *a, groups, **k: write(*a, **k)
    )  # what save() wrote before there were groups
    old = Explanation.load(explanation.save(tmp_path / "old.safetensors"))
    assert FORMAT == "edgefilter explanation 1"
    assert old.groups == {}
    assert_close(old.group(bank.groups("order")).edge, explanation.group("order").edge, rtol=0, atol=0)
    with pytest.raises(
        ValueError,
        match=r"kind must be a mapping where the groups of the bank are unknown; got 'order'\. Pass bank",
    ):
        old.group("order")


@pytest.mark.parametrize(
    ("kind", "error", "match"),
    [
        ("ordr", KeyError, r"unknown kind of groups 'ordr'; did you mean 'order'\? Choose one of order, orientation"),
        ({"a": ["sobel_x"]}, ValueError, r"groups must hold every filter; got none with 'sobel_y'\. Add it"),
        ({"a": ["sobel_x", "nothing"]}, KeyError, r"unknown filter 'nothing'"),
        ({"a": ["sobel_x", "sobel_y"], "b": []}, ValueError, r"groups must not be empty; got no filter in 'b'\. Drop it"),
        (3, TypeError, r"groups must be one of order, orientation, scale, family, dependent or a mapping; got 3\. Pass"),
    ],
)  # fmt: skip
def test_unknown_kinds_and_wrong_partitions_are_refused(kind, error, match, generator):
    with pytest.raises(error, match=match):
        explained(ef.get_bank("sobel"), generator).group(kind)


def test_multiples_come_with_a_note(generator):
    """Together: only the sum has a meaning. Apart: neither score has one."""
    explanation = explained(ef.get_bank("robinson"), generator)
    notes = explanation.group("dependent").notes
    assert notes["robinson_n ~ robinson_s"] == (
        "robinson_n and robinson_s are multiples of each other: training decides how they share this score, and only "
        "the sum has a meaning."
    )
    assert len(notes) == 4
    assert explanation.group("order").notes == {}
    single = explanation.group({name: [name] for name in explanation.filters}).notes
    assert single["robinson_s"] == (
        "robinson_s is a multiple of robinson_n, which is in another group: only the sum of their scores has a meaning."
    )
    assert len(single) == 8
    assert explained(ef.get_bank("edges"), generator).group("dependent").notes == {}


def test_notes_name_all_multiples():
    """Two families in one group, three members in one family."""
    groups = {"x": ("a", "b", "d"), "y": ("c", "e", "f")}
    notes = group_scores(
        torch.zeros(1, 1, 6), "abcdef", groups, {"1": ("a", "b", "c"), "2": ("d", "e"), "f": ("f",)}
    ).notes
    assert notes["x"].startswith("a and b are multiples of c, which is in another group: ")
    assert "d is a multiple of e, which is in another group: " in notes["x"]
    assert notes["y"].startswith("c is a multiple of a and b, which are in another group: ")


def test_explanations_of_models_know_the_groups_of_their_bank(small_net, generator):
    """Seen on the fly, with an edge-filter layer, and from attributions of another method."""
    images = torch.rand(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    on_the_fly = ef.EdgeFilterAttribution(small_net).explain(images, 0)
    bank = ef.complete_bank(3)
    model = ef.replace_stem(small_net)
    layer = model.get_submodule(ef.find_stem(model))
    conductance = LayerGradientXActivation(model, layer.filters).attribute(images, 0)
    for explanation in (
        on_the_fly,
        ef.EdgeFilterAttribution(model).explain(images, 0),
        Explanation.from_responses(conductance, layer),
    ):
        assert explanation.groups == {kind: bank.groups(kind) for kind in KINDS}
        assert explanation.group("order").names == ("brightness", "edges", "lines and corners", "texture")
