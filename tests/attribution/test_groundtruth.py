"""Relevance against known answers: wired networks, turned networks, and the measures of benchmarks/groundtruth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from scipy import stats
from torch import nn
from torch.testing import assert_close

import edgefilter as ef

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from groundtruth import (  # noqa: E402
    data,
    equivariance,
    jobs,
    measures,
    methods,
    networks,
    real,
    reference,
    report,
    tables,
    variants,
)
from pages import write  # noqa: E402

sys.path.remove(str(BENCHMARKS))  # where other names, such as coverage, are those of installed packages

COLORS, WIRED = 3, 1
LAYERS = [("robinson", 1, 1), ("kirsch", 2, 0), ("edges", 3, 2), ("complete", 2, 1)]


# --- exact: what the network does not read gets nothing ----------------------------------------------------------


def bank_named(name):
    return ef.complete_bank(3) if name == "complete" else ef.get_bank(name)


def wired_network(name, stride, padding):
    """Logit 0 reads filters 0 and 1 of one color, logit 1 filters 1 and 2 of it; nothing else is read."""
    bank = bank_named(name)
    cells = torch.zeros(3, COLORS, len(bank), dtype=torch.float64)
    cells[0, WIRED, :2], cells[1, WIRED, 1:3] = torch.tensor([1.0, -0.5]), torch.tensor([-0.7, 1.0])
    reader = nn.Conv2d(COLORS * len(bank), 3, 1, bias=False)
    reader.weight.data = cells.flatten(1)[..., None, None].float()
    front = ef.EdgeFilterBank2d(bank, COLORS, stride=stride, padding=padding)
    net = nn.Sequential(front, nn.ReLU(), reader, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return net.double().eval(), cells != 0


def outside(response, wired):
    """Return the largest relevance at cells that are not wired: response (N, C, K, H, W), wired (C, K)."""
    return float(response.abs().amax((0, 3, 4))[~wired].max())


@pytest.mark.parametrize("against", [None, "rest", "odds"])
@pytest.mark.parametrize(("name", "stride", "padding"), LAYERS)
@pytest.mark.parametrize("composite", [None, *ef.composite_names()])
def test_cells_that_the_output_does_not_read_get_exactly_nothing(
    composite, name, stride, padding, against, generator
):
    net, wired = wired_network(name, stride, padding)
    images = torch.randn(3, COLORS, 9, 9, generator=generator, dtype=torch.float64)
    explanation = ef.EdgeFilterAttribution(net, composite, calibrate=False).explain(
        images, [0, 0, 0], against=against
    )
    read = wired[0] if against is None else wired.any(0)
    assert outside(explanation.response, read) == 0
    assert torch.count_nonzero(explanation.color[:, [0, 2]]) == 0
    assert torch.count_nonzero(explanation.pixel[:, [0, 2]]) == 0
    assert (explanation.color_edge[:, read].abs().amax(0) > 0).all()


@pytest.mark.parametrize("against", [None, "rest", "odds"])
@pytest.mark.parametrize("calibrate", [True, ("color", "order")])
@pytest.mark.parametrize(("name", "stride", "padding"), LAYERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_games_give_exactly_nothing_to_cells_that_are_not_read(
    dtype, name, stride, padding, calibrate, against, generator
):
    net, wired = wired_network(name, stride, padding)
    images = torch.randn(3, COLORS, 9, 9, generator=generator, dtype=torch.float64).to(dtype)
    attr = ef.EdgeFilterAttribution(net.to(dtype), calibrate=calibrate)
    explanation = attr.explain(images, [0, 0, 0], against=against)
    read = wired[0] if against is None else wired.any(0)
    assert outside(explanation.response, read) == 0
    for scores in (explanation.color, explanation.pixel, explanation.effects):
        assert torch.count_nonzero(scores[:, [0, 2]]) == 0
    assert torch.count_nonzero(explanation.interactions) == 0
    assert (explanation.color_edge[:, read].abs().amax(0) > 0).all()


@pytest.mark.parametrize("composite", [None, *ef.composite_names()])
def test_a_resnet_stem_that_reads_three_cells_gives_nothing_to_others(composite, generator):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = ef.replace_stem(torchvision.models.resnet18(num_classes=3).double().eval())
    wired = torch.zeros(COLORS, len(net.conv1.bank), dtype=torch.bool)
    wired[0, 3] = wired[0, 11] = wired[2, 30] = True
    net.conv1.mixing.weight.data[:, ~wired.flatten()] = 0
    images = torch.randn(1, COLORS, 40, 40, generator=generator, dtype=torch.float64)
    response = ef.EdgeFilterAttribution(net, composite, calibrate=False).attribute(
        images, 1, score="response"
    )
    assert outside(response, wired) == 0
    assert (response.abs().amax((0, 3, 4))[wired] > 0).all()


def test_a_wrong_order_of_channels_would_be_seen(generator):
    """The twin: filters counted before colors leave relevance outside."""
    net, wired = wired_network("kirsch", 1, 0)
    images = torch.randn(2, COLORS, 9, 9, generator=generator, dtype=torch.float64)
    response = ef.EdgeFilterAttribution(net, calibrate=False).attribute(images, 0, score="response")
    mistaken = response.transpose(1, 2).reshape(response.shape)
    assert outside(response, wired[0]) == 0
    assert outside(mistaken, wired[0]) > 1e-3


# --- exact: scores turn with colors and places --------------------------------------------------------------------


def turned_case(architecture, generator):
    net = networks.build(architecture, 4, seed=11).double().eval()
    images = torch.randn(2, 3, data.SIZE, data.SIZE, generator=generator, dtype=torch.float64)
    return net, images, torch.tensor([0, 2])


@pytest.mark.parametrize("architecture", networks.POOLED)
@pytest.mark.parametrize(
    "name",
    [methods.DEFAULT, methods.BOTH, *(f"{name}, not calibrated" for name in ("zplus", "epsilon_gamma"))],
)
def test_scores_turn_with_the_images_and_the_network(name, architecture, generator):
    explain = methods.ours()[name].explain
    gaps = equivariance.gaps(explain, *turned_case(architecture, generator))
    assert set(gaps) == {"color_gap", "filter_gap"}
    assert max(gaps.values()) < 1e-11


@pytest.mark.parametrize("architecture", networks.POOLED)
def test_turned_networks_give_the_same_outputs_and_others_do_not(architecture, generator):
    net, images, _ = turned_case(architecture, generator)
    bank = next(m.bank for m in net.modules() if isinstance(m, ef.EdgeFilterBank2d))
    with torch.no_grad():
        wanted = net(images)
        assert_close(equivariance.colors_turned(net, 3)(images.roll(1, 1)), wanted, rtol=0, atol=1e-12)
        for turn, back in equivariance.TURNS.values():
            order = equivariance.exchanged(bank, back)
            assert_close(
                equivariance.places_turned(net, turn, order)(turn(images)), wanted, rtol=0, atol=1e-12
            )
            same = torch.arange(len(order))
            wrong = equivariance.places_turned(net, turn, same)(turn(images))
            assert float((wrong - wanted).abs().max()) > 1e-6


def test_a_method_that_ignores_the_network_does_not_turn(generator):
    def first_color(model, images, targets):
        return methods.Scores(torch.arange(24.0).view(3, 8).expand(len(images), 3, 8))

    gaps = equivariance.gaps(first_color, *turned_case("plain", generator))
    assert min(gaps.values()) > 0.1


def test_a_bank_without_its_turned_kernels_is_refused():
    with pytest.raises(ValueError, match="bank must hold each kernel's turned one once"):
        equivariance.exchanged(ef.FilterBank(["sobel_x"], size=3), lambda x: x.flip(-1))


# --- data and gates -----------------------------------------------------------------------------------------------


def test_seeds_of_tuning_and_report_do_not_meet():
    assert not set(networks.TUNING_SEEDS) & set(networks.REPORT_SEEDS)
    every = [
        networks.seed_of(seed, test, purpose, attempt)
        for seed in networks.TUNING_SEEDS + networks.REPORT_SEEDS
        for test in networks.TESTS
        for purpose in networks.PURPOSES
        for attempt in range(networks.TRIES)
    ]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("test", networks.TESTS)
def test_data_depends_on_its_seed_only(test):
    _, draw = networks.TESTS[test]
    first, again, other = draw(5, 3, 1), draw(5, 3, 1), draw(5, 4, 1)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("color", range(3))
def test_labels_are_what_the_relevant_color_shows(color):
    samples = data.gratings(40, 1, color)
    assert torch.equal(samples.labels, samples.parts[:, color])
    assert samples.labels.unique().tolist() == [0, 1, 2, 3]


def test_gratings_are_strongest_at_the_kernels_of_their_orientation():
    samples, bank = data.gratings(200, 2, 0), networks.bank("l2")
    energy = ef.EdgeFilterBank2d(bank, 3)(samples.images).unflatten(1, (3, -1)).square().sum((3, 4))
    oriented = measures.by_orientation(energy[:, 0], measures.orientations(bank))
    assert measures.mean(oriented.argmax(1) == samples.labels) > 0.95


def test_the_decoy_is_stronger_than_the_stamp_and_apart_from_it():
    samples = data.stamps(50, 3)
    drawn = (samples.images - samples.clean).abs().amax(1)
    assert not (samples.stamp & samples.decoy).any()
    assert not drawn[~(samples.stamp | samples.decoy)].any()
    assert ((drawn * samples.decoy).amax((1, 2)) > (drawn * samples.stamp).amax((1, 2))).all()
    assert (samples.stamp.sum((1, 2)) == 49).all()


def test_swapping_and_painting_change_only_their_part():
    samples = data.gratings(30, 4, 1)
    changed = data.swapped(samples, [0, 2], seed=0).images
    assert torch.equal(changed[:, 1], samples.images[:, 1])
    assert_close(changed[:, 0].sum(0), samples.images[:, 0].sum(0))
    assert not torch.equal(changed[:, 0], samples.images[:, 0])
    stamped = data.stamps(10, 5)
    painted = data.painted(stamped, stamped.stamp).images
    rest = ~stamped.stamp[:, None].expand_as(painted)
    assert torch.equal(painted[rest], stamped.images[rest])
    assert torch.equal(painted[~rest], stamped.clean[~rest])


class _ByColor(nn.Module):
    """Know the label of gratings from the images of one color: by heart."""

    def __init__(self, samples, color):
        super().__init__()
        self.known, self.color = samples, color

    def forward(self, images):
        same = (images[:, None, self.color] == self.known.images[None, :, self.color]).flatten(2).all(2)
        return nn.functional.one_hot(self.known.labels[same.double().argmax(1)], 4).double()


def test_the_gate_passes_what_reads_the_relevant_color_and_no_other():
    samples = data.gratings(100, 6, 1)
    passed = networks.gate(_ByColor(samples, 1), samples, 4, seed=0)
    assert passed.failure is None
    assert passed[:2] == (1.0, 1.0)
    assert "without the irrelevant part" in networks.gate(_ByColor(samples, 0), samples, 4, seed=0).failure
    assert "without the relevant part" in networks.Gate(1.0, 1.0, 0.5, 0.25).failure
    assert networks.Gate(1.0, 0.96, 0.3, 0.25).failure is not None


def test_a_network_that_never_passes_is_an_error_with_its_reasons(monkeypatch):
    monkeypatch.setattr(networks, "TRIES", 2)
    with pytest.raises(RuntimeError, match="no network of 2 passed the gate of gratings") as caught:
        networks.trained("gratings", "plain", 1, 5, epochs=1, training=100)
    assert len(caught.value.void) == 2


def test_redrawing_keeps_the_bank_and_a_constant_network_is_constant(generator):
    net, images, _ = turned_case("residual", generator)
    other = networks.redrawn(net, seed=1)
    assert torch.equal(other[0].filters.conv.weight, net[0].filters.conv.weight)
    assert not torch.equal(other[0].mixing.weight, net[0].mixing.weight)
    assert not torch.equal(other[-1].weight, net[-1].weight)
    outputs = networks.constant(net)(images)
    assert torch.equal(outputs[0], outputs[1])


# --- measures, by hand ---------------------------------------------------------------------------------------------


def test_color_metrics_by_hand():
    scores = torch.tensor([[1.0, 3.0, -2.0], [2.0, 1.0, 1.0]])
    assert measures.color_metrics(scores, 1) == {
        "color_hit": 0.5,
        "color_mass": pytest.approx((0.75 + 0.25) / 2),
    }


def test_filter_metrics_by_hand():
    """Image 0: right, beats its one distractor. Image 1: wrong, beats one of two."""
    parts = torch.tensor([[0, 0, 1], [2, 1, 3]])
    directions = torch.tensor([0, 1, 2, 3, 0])
    edge = torch.tensor([[1.0, 2.0, 0.0, 0.0, 1.5], [0.0, 3.0, 2.0, 1.0, 0.0]])
    found = measures.filter_metrics(edge, parts, 0, directions)
    assert found == {"filter_hit": 0.5, "filter_disc": pytest.approx(2 / 3)}


def test_place_metrics_by_hand():
    stamp, decoy = torch.zeros(2, 1, 2, 2, dtype=torch.bool)
    stamp[0, 0, 0] = decoy[0, 1, 1] = True
    samples = data.Samples(torch.zeros(1, 3, 2, 2), torch.zeros(1), stamp=stamp, decoy=decoy)
    found = measures.place_metrics(torch.tensor([[[3.0, 2.0], [-9.0, 1.0]]]), samples)
    assert found == {"stamp_mass": 0.5, "decoy_share": 0.75}


def test_steepness_of_ramps_and_flat_images():
    across, down = torch.arange(6.0).repeat(6, 1), torch.arange(6.0).repeat(6, 1).T
    images = torch.stack([across, 3 * across + 4 * down, torch.full((6, 6), 7.0)])[:, None].repeat(1, 3, 1, 1)
    found = measures.steepness(images)[:, 1:-1, 1:-1]
    assert_close(found, torch.tensor([8.0, 40.0, 0.0])[:, None, None].expand(3, 4, 4))


def test_randomisation_metrics_by_hand(generator):
    """The redrawn map has the opposite sign: correlation -1, and 1 without signs; the map is the image's edges."""
    images = torch.randn(2, 3, 8, 8, generator=generator)
    edges = measures.steepness(images)
    found = measures.randomisation_metrics(edges, -edges, images)
    wanted = {"redrawn_signed": -1.0, "redrawn_abs": 1.0, "sobel_signed": 1.0, "sobel_abs": 1.0}
    assert found == {key: pytest.approx(value) for key, value in wanted.items()}


def test_spearman_equals_scipy(generator):
    first, second = torch.randint(5, (2, 4, 9), generator=generator).double()
    wanted = [stats.spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)]
    assert_close(measures.spearman(first, second), torch.tensor(wanted, dtype=torch.float64))
    assert measures.spearman(torch.ones(1, 5), torch.arange(5.0)[None]).item() == 0


def test_orientations_of_the_compass():
    names = ["robinson_e", "robinson_w", "robinson_n", "robinson_s"]
    found = measures.orientations(
        ef.FilterBank([n for n in ef.get_bank("robinson").names if n in names], size=3)
    )
    assert sorted(found.tolist()) == [0, 0, 2, 2]
    assert sorted(measures.orientations(ef.get_bank("robinson")).tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_filter_gate_by_hand():
    """The reference names the label's orientation in one of two images, by the sum of both polarities."""
    edge = torch.tensor([[1.0, 2.0, 0.0, 0.0, 1.5], [0.0, 3.0, 2.0, 1.0, 0.0]])
    directions = torch.tensor([0, 1, 2, 3, 0])
    assert measures.filter_gate(edge, torch.tensor([0, 2]), directions) == 0.5


def test_agreement_equals_scipy(generator):
    scores, wanted = torch.randn(2, 3, 7, generator=generator, dtype=torch.float64)
    found = measures.agreement(scores, wanted)
    for image in range(3):
        assert found["pearson"][image].item() == pytest.approx(
            stats.pearsonr(scores[image], wanted[image])[0]
        )
        assert found["rank"][image].item() == pytest.approx(stats.spearmanr(scores[image], wanted[image])[0])
    assert measures.agreement(wanted + 1, wanted)["pearson"].tolist() == pytest.approx([1, 1, 1])
    by_hand = measures.relative_error(torch.tensor([[1.0, -1.0]]), torch.tensor([[3.0, -2.0]]))
    assert by_hand.tolist() == pytest.approx([3 / 5])


# --- the reference and what is measured by silencing -----------------------------------------------------------------


@pytest.fixture
def linear_case():
    """The output is the sum over colors and filters of weight times mean response, which is 1, 1, 2, 1; times that of twice the image."""
    front = ef.EdgeFilterBank2d(ef.get_bank("sobel"), 2)
    head = nn.Linear(4, 2, bias=False)
    head.weight.data = torch.tensor([[4.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    net = nn.Sequential(front, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    ramp = torch.arange(5.0) / 8
    images = torch.stack([ramp + ramp[:, None], 2 * ramp + ramp[:, None]])[None]
    return net, torch.cat([images, 2 * images]), torch.tensor([0, 0])


WANTED = {"color_edge": [4.0, 3.0, 4.0, 1.0], "color": [7.0, 5.0], "edge": [8.0, 4.0]}


@pytest.mark.parametrize(("level", "wanted"), WANTED.items())
def test_a_linear_network_has_one_answer(linear_case, level, wanted):
    """Shapley values, effects, first and last, and KernelSHAP are all the contributions."""
    once = torch.tensor(wanted, dtype=torch.float64)
    both = torch.stack([once, 2 * once])
    found = reference.reference(*linear_case, level, orders=4)
    assert_close(found.shapley, both, rtol=0, atol=1e-5)
    assert_close(found.effects, both, rtol=0, atol=1e-5)
    assert found.halves == ()
    bank = ef.get_bank("sobel")
    for name in ("leave-one-out", "first and last", f"Captum KernelShap, {methods.SAMPLES} runs"):
        scores = methods.methods()[name].explain(*linear_case)
        assert_close(scores.level(bank, level), both, rtol=0, atol=1e-3)


def test_drawn_orders_leave_their_halves(linear_case, monkeypatch):
    monkeypatch.setattr(reference, "EXACT", 1)
    found = reference.reference(*linear_case, "edge", orders=8)
    assert len(found.halves) == 2
    assert_close((found.halves[0] + found.halves[1]) / 2, found.shapley)


def test_parts_of_each_level():
    bank = ef.complete_bank(3)
    assert reference.parts(bank, 3, "color").shape == (3, 3, 9)
    assert reference.parts(bank, 3, "color_edge").sum((1, 2)).tolist() == [1.0] * 27
    for level in ("color", "edge", "order"):
        assert_close(reference.parts(bank, 3, level).sum(0), torch.ones(3, 9))


def test_channel_occlusion_by_hand(linear_case):
    """A color at its mean has no slope: it loses what the color gave."""
    found = methods.channel_occlusion(*linear_case).color
    assert_close(found, torch.tensor([[7.0, 5.0], [14.0, 10.0]]), rtol=0, atol=1e-5)


def test_variants_hold_the_default_and_two_games(generator):
    """Made anew from their parts; the correction in turn reaches both margins as the solution at once does."""
    net, images, targets = turned_case("residual", generator)
    found = variants.variants(net.requires_grad_(False), images, targets)
    assert_close(found["default"], methods.edgefilter(net, images, targets).pairs, rtol=0, atol=1e-8)
    assert_close(found["two games"], methods.two_games(net, images, targets).pairs, rtol=0, atol=1e-8)
    colors = reference.reference(net, images, targets, "color", 2).shapley
    groups = reference.reference(net, images, targets, "orientation", 2).shapley
    members = reference.parts(networks.bank(), 3, "orientation")[:, 0].double()
    for name in ("two games", "two games, in turn", "two games, evidence of both"):
        assert_close(found[name].sum(2), colors, rtol=0, atol=1e-6)
        assert_close(found[name].sum(1) @ members.T, groups, rtol=0, atol=1e-4 * float(groups.abs().max()))


def test_scores_know_their_levels():
    bank = ef.FilterBank(["sobel_x", "sobel_y", "laplacian_4"], size=3)
    scores = methods.Scores(torch.arange(6.0).view(1, 2, 3))
    assert scores.level(bank, "color").tolist() == [[3, 12]]
    assert scores.level(bank, "edge").tolist() == [[3, 5, 7]]
    assert scores.level(bank, "color_edge").tolist() == [[0, 1, 2, 3, 4, 5]]
    assert scores.level(bank, "order").tolist() == [[8, 7]]
    assert methods.Scores(color=torch.ones(1, 2)).level(bank, "color").tolist() == [[1, 1]]
    assert methods.Scores(color=torch.ones(1, 2)).level(bank, "edge") is None


def test_controls_do_not_look_at_the_network(generator):
    net, images, targets = turned_case("plain", generator)
    other = networks.redrawn(net, 1)
    for control in (methods.response_energy, methods.sobel_map):
        first, second = control(net, images, targets), control(other, images, targets)
        assert torch.equal(first.level(networks.bank(), "color"), second.level(networks.bank(), "color"))


def test_real_images_are_read_when_they_are_there():
    folder = BENCHMARKS.parents[1] / "shared" / "data"
    if not folder.exists():
        pytest.skip("no real images here")
    for name in ("fruits, shipped", "digits, shipped"):
        net, images = real.SETS[name].load(folder, 2)
        assert net(images).shape[0] == 2


# --- tables ----------------------------------------------------------------------------------------------------------


def test_intervals_equal_scipy():
    values = [0.1, 0.5, 0.7, 0.9]
    center, half = tables.estimate(values)
    wanted = stats.t.interval(0.95, 3, loc=center, scale=stats.sem(values))
    assert_close(torch.tensor([center - half, center + half]), torch.tensor(wanted, dtype=torch.float32))


def said_about(scores, wanted, **more):
    """Return what a job leaves about pairs, here of one color and the filters."""
    level = {"shapley": wanted, "halves": [wanted, wanted], "effects": -wanted}
    named = {methods.DEFAULT: {"edge": scores}}
    return {"reference": {"edge": level}, "methods": named, "variants": {"default": {"edge": scores}}, **more}


def gratings_said(generator, named):
    wanted = torch.rand(2, 8, generator=generator, dtype=torch.float64)
    parts = torch.tensor([[0, 1, 2], [1, 1, 0]])
    more = {"color": 0, "parts": parts, "labels": parts[:, 0], "directions": torch.arange(8) % 4, "gaps": {}}
    return said_about(2 * wanted, wanted, named=named, gate={}, void=["gratings plain 3: no"], **more)


def test_tables_and_figure_say_what_the_jobs_said(tmp_path, generator):
    results = {
        "gratings/plain/1": gratings_said(generator, 0.97),
        "gratings/plain/2": gratings_said(generator, 0.4),
        "photos/0": said_about(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, -1.0]])),
        "photos/1": said_about(torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[-1.0, 0.0, 1.0]])),
        "cost": {methods.DEFAULT: 2.04},
    }
    report.write(results, tmp_path)
    text = (tmp_path / "groundtruth_details.md").read_text(encoding="utf-8")
    assert "on 1 of them" in text
    assert "- gratings/plain/2: 0.40" in text
    assert "- gratings plain 3: no" in text
    assert f"| {methods.DEFAULT} | 1.00 1.00 1.00 |" in text  # twice the reference: one error, no other fault
    photos = next(family for family in tables.families(results) if family.title == "photos")
    found = photos.agreement(methods.DEFAULT, "edge")
    assert photos.count("edge") == 2
    assert found["pearson"][0] == pytest.approx((3**0.5 / 2 - 1) / 2)
    assert found["error"][0] == pytest.approx((0.5 + 2) / 2)
    assert photos.agreement("another", "edge") is None
    assert (tmp_path / "groundtruth.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["photos"]
    assert "| filters, photos |" in (tmp_path / "groundtruth.md").read_text(encoding="utf-8")


def test_filter_hits_count_only_where_the_reference_names_the_filter(generator):
    good, void = gratings_said(generator, 0.95), gratings_said(generator, 0.94)
    assert "filter_hit" in tables.known_answers({"gratings/plain/1": good}, methods.DEFAULT)
    assert tables.known_answers({"gratings/plain/1": void}, methods.DEFAULT) == {}


def test_a_part_of_a_page_is_exchanged_and_the_words_around_it_stay(tmp_path):
    path = tmp_path / "page.md"
    write(path, "new", "first")
    assert path.read_text(encoding="utf-8") == "first\n"
    path.write_text(
        "before\n<!-- t: generated, do not edit -->\nold\n<!-- end of t -->\nafter\n", encoding="utf-8"
    )
    for text in ("one", "two"):
        write(path, "t", text)
        page = path.read_text(encoding="utf-8")
        assert (
            page.split()
            == f"before <!-- t: generated, do not edit --> {text} <!-- end of t --> after".split()
        )


def test_a_job_runs_again_only_when_its_settings_change(tmp_path):
    runs = []

    def work():
        runs.append(1)
        return {"records": len(runs)}

    path = tmp_path / "jobs" / "a.pt"
    assert jobs.resumed(path, {"images": 1}, work)["records"] == 1
    assert jobs.resumed(path, {"images": 1}, work)["records"] == 1
    assert jobs.resumed(path, {"images": 2}, work)["records"] == 2


@pytest.mark.extended
def test_everything_runs_and_resumes(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "groundtruth" / "run.py"), "--quick", "--out", str(tmp_path)]
    subprocess.run([*command, "--data", str(tmp_path / "none")], check=True, timeout=1500)
    written = (tmp_path / "groundtruth_details.md").read_text(encoding="utf-8")
    for name in methods.methods():
        assert f"| {name} |" in written
    assert (tmp_path / "groundtruth.png").stat().st_size > 10_000
    subprocess.run([*command, "--data", str(tmp_path / "none")], check=True, timeout=120)
    assert (tmp_path / "groundtruth_details.md").read_text(encoding="utf-8") == written
