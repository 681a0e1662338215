"""Class profiles: the same numbers as NumPy over all samples at once, in any order, in pieces and over processes."""

import copy
import itertools
import json
import math
import pickle
import socket
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy import stats
from torch.testing import assert_close
from torchmetrics import MetricCollection

import edgefilter as ef
from edgefilter.plots.profile import plot_class_maps, plot_profile

COLORS = ("red", "green", "blue")
FILTERS = ("sobel_x", "sobel_y")


def explained(response, pixel=None, colors=COLORS, filters=FILTERS):
    """Wrap relevance of shape (N, C, K, H', W') or (N, C, K)."""
    response = torch.as_tensor(response)
    response = response[..., None, None] if response.dim() == 3 else response
    count = len(response)
    return ef.Explanation(response, pixel, torch.ones(count), (0,) * count, tuple(colors), tuple(filters))


def samples(count, seed=0, classes=4, size=2):
    """Draw signed relevance and labels."""
    generator = torch.Generator().manual_seed(seed)
    response = torch.randn(count, 3, 2, size, size, generator=generator, dtype=torch.float64)
    return response, torch.randint(classes, (count,), generator=generator)


def profile_of(response, labels, batches=1, classes=4, **options):
    profile = ef.ClassProfile(classes, COLORS, FILTERS, **options)
    for part, some in zip(response.tensor_split(batches), labels.tensor_split(batches), strict=True):
        if len(part):
            profile.update(explained(part), some)
    return profile


def oracle(response, labels, classes=4):
    """Mean and spread by NumPy, over all samples at once."""
    color_edge = response.numpy().sum((3, 4))
    scale = np.abs(color_edge).sum((1, 2))
    good = np.isfinite(scale) & (scale > 0)
    labels = labels.numpy()
    shares = color_edge[good] / scale[good, None, None]
    found = {
        "count": np.array([(labels[good] == c).sum() for c in range(classes)]),
        "unusable": np.array([(labels[~good] == c).sum() for c in range(classes)]),
    }
    views = {"color": shares.sum(2), "edge": shares.sum(1), "color_edge": shares}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of no samples
        for name, values in views.items():
            of_class = [values[labels[good] == c] for c in range(classes)]
            found[f"{name}_mean"] = np.stack([v.mean(0) for v in of_class])
            found[f"{name}_std"] = np.stack([v.std(0, ddof=1) for v in of_class])
    return {name: torch.as_tensor(value) for name, value in found.items()}


def same(found, wanted, atol=1e-12):
    """Check that two results have the same tensors."""
    assert set(found) == set(wanted)
    for name, value in found.items():
        assert_close(
            value, wanted[name], rtol=0, atol=atol, equal_nan=True, msg=lambda text, n=name: f"{n}: {text}"
        )
    return True


# --- the numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batches", [1, 3, 50])
def test_profile_equals_numpy_over_all_samples(batches):
    response, labels = samples(50)
    assert same(profile_of(response, labels, batches).compute(), oracle(response, labels))


def test_numbers_that_can_be_done_by_hand():
    """Shares of 3, -1 are 3/4, -1/4; of 1, 1 both 1/2."""
    profile = ef.ClassProfile(2, ["gray"], FILTERS)
    profile.update(explained([[[3.0, -1.0]], [[1.0, 1.0]]], colors=["gray"]), torch.tensor([1, 1]))
    found = profile.compute()
    assert found["count"].tolist() == [0, 2]
    assert found["edge_mean"][1].tolist() == [0.625, 0.125]
    assert_close(found["edge_std"][1], torch.tensor([0.125 * 2**0.5, 0.375 * 2**0.5]).double())
    assert found["color_mean"][1].tolist() == [0.75]
    assert found["edge_mean"][0].isnan().all()


def test_shares_add_up_and_stay_between_minus_one_and_one():
    response, labels = samples(40)
    found = profile_of(response, labels).compute()
    assert_close(found["color_mean"].sum(1), found["edge_mean"].sum(1), rtol=0, atol=1e-12)
    assert_close(found["color_mean"], found["color_edge_mean"].sum(2), rtol=0, atol=1e-12)
    assert all(found[f"{name}_mean"].abs().max() <= 1 for name in ("color", "edge", "color_edge"))


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(1, 30),
    classes=st.integers(1, 5),
    batches=st.integers(1, 8),
    seed=st.integers(0, 2**31),
    power=st.integers(-30, 30),
)
def test_no_order_batch_size_or_scale_changes_the_profile(count, classes, batches, seed, power):
    """An output scaled by any factor, of any image, has the same shares."""
    response, labels = samples(count, seed, classes)
    wanted = oracle(response, labels, classes)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    scaled = response[order] * 2.0**power
    found = profile_of(scaled, labels[order], batches, classes).values()
    same(found, wanted)


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 40), min_size=1, max_size=4), seed=st.integers(0, 2**31), order=st.randoms()
)
def test_profiles_merge_in_any_order(cuts, seed, order):
    response, labels = samples(40, seed)
    edges = [0, *sorted(cuts), 40]
    parts = [profile_of(response[a:b], labels[a:b]) for a, b in itertools.pairwise(edges)]
    order.shuffle(parts)
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    same(merged.compute(), oracle(response, labels))


def test_merging_leaves_both_as_they_were():
    response, labels = samples(20)
    first, second = profile_of(response[:9], labels[:9]), profile_of(response[9:], labels[9:])
    before = first.compute(), second.compute()
    merged = first.merge(second)
    merged.update(explained(response), labels)
    first._computed = second._computed = None
    same(first.compute(), before[0])
    same(second.compute(), before[1])


def test_torchmetrics_merges_as_well():
    response, labels = samples(20)
    first, second = profile_of(response[:9], labels[:9]), profile_of(response[9:], labels[9:])
    first.merge_state(second)
    first._computed = None
    same(first.compute(), oracle(response, labels))


@pytest.mark.parametrize("spread", [1e-6, 1e-9])
def test_small_spread_beside_a_large_mean_is_exact(spread):
    """Sums of squares would leave nothing of a spread of 1e-9: their rounding errors are as large as its square."""
    noise = torch.randn(3000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * spread
    response = torch.stack([0.8 + noise, 0.2 - noise], dim=1)[:, None]
    wanted = (0.8 + noise).std()
    parts = [ef.ClassProfile(1, ["gray"], FILTERS) for _ in range(3)]
    for part, some in zip(itertools.cycle(parts), response.split(10), strict=False):
        part.update(explained(some, colors=["gray"]), torch.zeros(len(some), dtype=torch.long))
    merged = parts[0].merge(parts[1]).merge(parts[2])
    naive = ((response[:, 0, 0] ** 2).mean() - response[:, 0, 0].mean() ** 2).clamp(min=0).sqrt()
    assert_close(merged.values()["edge_std"][0, 0], wanted, rtol=1e-6, atol=0)
    assert abs(naive - wanted) > 1e-6 * wanted


def test_images_without_shares_are_counted_apart():
    """All zero, NaN or infinite relevance poisons nothing."""
    response, labels = samples(30)
    response[3], response[7, 0, 0, 0, 0], response[8, 1, 1, 0, 1] = 0, math.nan, math.inf
    found = profile_of(response, labels, 4).compute()
    assert int(found["unusable"].sum()) == 3
    assert all(value[found["count"] > 1].isfinite().all() for value in found.values())
    same(found, oracle(response, labels))


def test_score_that_cancels_is_not_divided_by_the_output():
    """The output is 0, the shares are a half each way."""
    profile = ef.ClassProfile(1, ["gray"], FILTERS)
    profile.update(explained([[[5.0, -5.0]]], colors=["gray"]), torch.tensor([0]))
    assert profile.compute()["edge_mean"].tolist() == [[0.5, -0.5]]


def test_mean_pixel_map_is_in_the_same_shares():
    response, labels = samples(20, size=4)
    pixel = torch.randn(20, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pixel[4, 0, 0, 0] = math.nan
    response[5] = 0
    profile = ef.ClassProfile(4, COLORS, FILTERS, pixel_size=(5, 6))
    for part in torch.arange(20).split(7):
        profile.update(explained(response[part], pixel[part]), labels[part])
    found = profile.compute()
    scale = response.sum((3, 4)).abs().sum((1, 2))
    good = torch.tensor([i not in (4, 5) for i in range(20)])
    for c in range(4):
        mine = good & (labels == c)
        wanted = (pixel[mine] / scale[mine, None, None, None]).mean(0)
        assert_close(found["pixel_mean"][c], wanted, rtol=0, atol=1e-12, equal_nan=True)
    assert int(found["unusable"].sum()) == 2
    twice = profile.merge(profile).compute()
    assert_close(twice["pixel_mean"], found["pixel_mean"], rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_is_summed_in_float64(dtype):
    """The sum of a map in half precision may lie beyond what half can hold."""
    response = torch.full((1, 3, 2, 40, 40), 60.0, dtype=dtype)
    response[:, 0] *= -1
    profile = profile_of(response, torch.tensor([2]))
    assert_close(profile.compute()["color_mean"][2], torch.tensor([-1, 1, 1]).double() / 3)


def test_explanations_of_a_network_are_taken_in(small_net, generator):
    attribution = ef.EdgeFilterAttribution(ef.replace_stem(small_net))
    images = torch.rand(6, 3, 8, 8, generator=generator, dtype=torch.float64)
    explanation = attribution.explain(images)
    profile = ef.ClassProfile(5, explanation.colors, explanation.filters, pixel_size=8)
    profile.update(explanation, torch.tensor(explanation.target))
    found = profile.compute()
    scale = explanation.color_edge.abs().sum((1, 2))
    target = explanation.target[0]
    mine = torch.tensor(explanation.target) == target
    assert_close(found["color_mean"][target], (explanation.color / scale[:, None])[mine].mean(0))
    assert_close(found["pixel_mean"][target].sum((1, 2)), found["color_mean"][target])


# --- as a metric of torchmetrics ----------------------------------------------------------------------------


def test_forward_gives_the_batch_and_keeps_the_whole():
    response, labels = samples(20)
    profile = ef.ClassProfile(4, COLORS, FILTERS)
    for part in torch.arange(20).split(6):
        same(profile(explained(response[part]), labels[part]), oracle(response[part], labels[part]))
    same(profile.compute(), oracle(response, labels))


def test_earlier_results_do_not_change():
    response, labels = samples(20)
    profile = profile_of(response[:9], labels[:9])
    early = profile.compute()
    kept = copy.deepcopy(early)
    profile.update(explained(response[9:]), labels[9:])
    same(early, kept)


def test_metric_collection_keeps_profiles_apart():
    response, labels = samples(20)
    pair = {"all": ef.ClassProfile(4, COLORS, FILTERS), "other": ef.ClassProfile(4, COLORS, FILTERS)}
    collection = MetricCollection(pair)
    for part in torch.arange(20).split(6):
        collection.update(explained(response[part]), labels[part])
    found = collection.compute()
    wanted = oracle(response, labels)
    assert_close(found["other_edge_mean"], wanted["edge_mean"], rtol=0, atol=1e-12)
    single = MetricCollection([ef.ClassProfile(4, COLORS, FILTERS)])
    assert_close(single(explained(response), labels)["edge_mean"], wanted["edge_mean"], rtol=0, atol=1e-12)


def test_reset_forgets_everything():
    response, labels = samples(20)
    profile = profile_of(response, labels)
    profile.reset()
    assert not profile.update_called
    profile.update(explained(response[:5]), labels[:5])
    same(profile.compute(), oracle(response[:5], labels[:5]))


def test_state_dict_holds_the_profile():
    response, labels = samples(20)
    profile, other = profile_of(response, labels), ef.ClassProfile(4, COLORS, FILTERS)
    other.load_state_dict(profile.state_dict())
    same(other.compute(), profile.compute())
    other.update(explained(response), labels)
    assert profile.compute()["count"].sum() * 2 == other.compute()["count"].sum()


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p)), lambda p: p.clone()]
)
def test_copies_are_independent(copied):
    response, labels = samples(20)
    profile = profile_of(response[:9], labels[:9])
    other = copied(profile)
    other.update(explained(response[9:]), labels[9:])
    same(other.compute(), oracle(response, labels))
    same(profile.compute(), oracle(response[:9], labels[:9]))


def test_precision_stays_when_a_module_is_cast():
    response, labels = samples(20)
    profile = profile_of(response[:9], labels[:9])
    torch.nn.ModuleList([profile]).half()
    profile.update(explained(response[9:]), labels[9:])
    same(profile.compute(), oracle(response, labels))


def test_profile_goes_on_after_inference_mode():
    response, labels = samples(20)
    with torch.inference_mode():
        profile = profile_of(response[:9], labels[:9], pixel_size=None)
        profile.reset()
        profile.update(explained(response[:9]), labels[:9])
    profile.update(explained(response[9:]), labels[9:])
    same(profile.compute(), oracle(response, labels))


def test_explanations_that_need_gradients_keep_no_graph():
    response, labels = samples(5)
    profile = profile_of(response.requires_grad_(), labels)
    profile(explained(response), labels)
    assert not profile.moments.requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_gpu_gives_the_same(place):
    """Whether the profile is on the GPU or stays where it was."""
    response, labels = samples(20)
    pixel = torch.rand(20, 3, 4, 4)
    profile = ef.ClassProfile(4, COLORS, FILTERS, pixel_size=4).to(place)
    profile.update(explained(response.cuda(), pixel.cuda()), labels.cuda())
    found = {name: value.cpu() for name, value in profile.compute().items() if name != "pixel_mean"}
    same(found, oracle(response, labels))


TWO = """
import sys, torch
import torch.distributed as dist
import edgefilter as ef
sys.path.insert(0, sys.argv[3])
from test_profile import explained, oracle, profile_of, samples, same

rank, world = int(sys.argv[1]), 2
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{sys.argv[2]}", rank=rank, world_size=world)
response, labels = samples(31)
response[5] = 0
mine = slice(rank, None, 2)
profile = profile_of(response[mine], labels[mine], 3)
wanted = oracle(response, labels)
same(profile.compute(), wanted)                          # of both, in both
assert int(profile.moments[:, 0].sum()) == 16 - 2 * rank  # and its own afterwards
same(profile(explained(response[mine]), labels[mine]), oracle(response[mine], labels[mine]))
with profile.sync_context():
    everything = profile.state_dict()
alone = ef.ClassProfile(4, profile.colors, profile.filters, sync_on_compute=False)
alone.load_state_dict(everything)
both = torch.cat([response, response]), torch.cat([labels, labels])
same(alone.compute(), oracle(*both))
empty = profile_of(response[: 10 * rank], labels[: 10 * rank])  # one of them has seen nothing
same(empty.compute(), oracle(response[:10], labels[:10]))
steady = ef.ClassProfile(1, ["gray"], ["sobel_x", "sobel_y"])
noise = torch.randn(600, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-9
values = torch.stack([0.8 + noise, 0.2 - noise], dim=1)[:, None]
steady.update(explained(values[mine], colors=["gray"]), torch.zeros(300, dtype=torch.long))
torch.testing.assert_close(steady.values()["edge_std"][0, 0], (0.8 + noise).std(), rtol=1e-6, atol=0)
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes_give_the_same_as_one(tmp_path):
    """By torchmetrics' own exchange over gloo."""
    script = tmp_path / "two.py"
    script.write_text(textwrap.dedent(TWO))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    here = __file__.rsplit("/", 1)[0]
    command = [sys.executable, str(script)]
    both = [
        subprocess.Popen([*command, rank, port, here], stderr=subprocess.PIPE, text=True) for rank in "01"
    ]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors


# --- what is general about a class --------------------------------------------------------------------------


def test_top_names_the_largest_shares():
    response, labels = samples(40)
    profile = profile_of(response, labels, class_names=("cat", "dog", "owl", "fox"))
    wanted = oracle(response, labels)
    for score, names in (
        ("color", COLORS),
        ("edge", FILTERS),
        ("color_edge", [f"{c} {f}" for c in COLORS for f in FILTERS]),
    ):
        means, spreads = (wanted[f"{score}_{what}"][1].flatten() for what in ("mean", "std"))
        found = profile.top("dog", 100, score)
        assert [share.name for share in found] == [names[i] for i in means.argsort(descending=True)]
        assert [share.mean for share in found] == pytest.approx(sorted(means.tolist(), reverse=True))
        assert sorted(share.std for share in found) == pytest.approx(sorted(spreads.tolist()))
    assert profile.top(1, 2) == profile.top("dog", 2)
    assert len(profile.top(1, 1, "color")) == 1


def test_largest_in_size_counts_what_speaks_against_a_class():
    response, labels = samples(40)
    profile = profile_of(response, labels)
    means = oracle(response, labels)["edge_mean"][1]
    found = profile.top(1, 2, by="size")
    assert [share.name for share in found] == [FILTERS[i] for i in means.abs().argsort(descending=True)]
    with pytest.raises(ValueError, match="by must be 'value' or 'size'; got 'sizes'; did you mean 'size'"):
        profile.top(1, by="sizes")


def test_shares_classes_and_filters_are_found_by_name_or_label():
    """As one types them: with spaces, in small letters, by index."""
    response, labels = samples(40)
    profile = profile_of(
        response,
        labels,
        class_names=("Great Dane", "dog", "owl", "fox"),
        filter_labels=("Sobel x", "Sobel y"),
    )
    wanted = {
        share.name: share for score in ("color", "edge", "color_edge") for share in profile.top(0, 9, score)
    }
    for which in (0, "Great Dane", "great_dane"):
        for name in ("red", "sobel_x", "red sobel_x"):
            assert profile.share(which, name) == wanted[name]
    assert profile.share(0, "Sobel x") == profile.share(0, "sobel_x")
    assert profile.share(0, "sobel_x").label == profile.contrast(0, 1)[0].label.replace(" y", " x")
    with pytest.raises(KeyError, match=r"unknown part 'sobel_z'; did you mean 'sobel_[xy]'"):
        profile.share(0, "sobel_z")


def test_intervals_of_means_are_students():
    response, labels = samples(40)
    profile = profile_of(response, labels)
    shares = (response.sum((3, 4)) / response.sum((3, 4)).abs().sum((1, 2), keepdim=True)).sum(2)
    for place, name in enumerate(COLORS):
        mine = shares[labels == 2][:, place].numpy()
        share = profile.share(2, name)
        interval = stats.t.interval(0.95, len(mine) - 1, mine.mean(), stats.sem(mine))
        assert (share.low, share.high) == pytest.approx(interval, rel=1e-3)


def test_contrast_equals_the_formulae():
    """Hedges' g with the root of the mean of both variances, and Bonett's interval."""
    response, labels = samples(60, classes=2)
    response[labels == 0, 0] += 1
    profile = profile_of(response, labels, classes=2)
    color_edge = response.sum((3, 4)).numpy()
    shares = (color_edge / np.abs(color_edge).sum((1, 2), keepdims=True)).sum(2)
    a, b = shares[labels.numpy() == 0][:, 0], shares[labels.numpy() == 1][:, 0]
    va, vb, na, nb = a.var(ddof=1), b.var(ddof=1), len(a) - 1, len(b) - 1
    s2 = (va + vb) / 2
    d, j = (a.mean() - b.mean()) / s2**0.5, 1 - 3 / (4 * (na + nb) - 1)
    se = (d**2 * (va**2 / na + vb**2 / nb) / (8 * s2**2) + (va / na + vb / nb) / s2) ** 0.5
    found = {effect.name: effect for effect in profile.contrast(0, 1, "color")}["red"]
    assert found.effect == pytest.approx(j * d)
    assert found.low == pytest.approx(j * (d - 1.959964 * se), rel=1e-6)
    assert found.high == pytest.approx(j * (d + 1.959964 * se), rel=1e-6)
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert profile.contrast(0, 1, "color")[0].name == "red"
    back = {effect.name: effect for effect in profile.contrast(1, 0, "color")}["red"]
    assert (back.effect, back.low, back.high) == pytest.approx((-found.effect, -found.high, -found.low))
    wide = {effect.name: effect for effect in profile.contrast(0, 1, "color", confidence=0.99)}["red"]
    assert wide.low < found.low < found.high < wide.high


@pytest.mark.parametrize(("distance", "counts"), [(0.0, (30, 30)), (0.8, (15, 60)), (3.0, (100, 100))])
def test_interval_holds_the_true_effect_in_95_of_100_draws(distance, counts):
    """Also with three times the spread in one class, and of unequal size."""
    from edgefilter.profiles.effects import hedges

    generator = torch.Generator().manual_seed(0)
    spreads, draws = (0.5, 1.5), 4000
    standard = math.sqrt((spreads[0] ** 2 + spreads[1] ** 2) / 2)
    drawn = [
        torch.randn(count, draws, generator=generator, dtype=torch.float64) * spread
        for count, spread in zip(counts, spreads, strict=True)
    ]
    difference = drawn[0].mean(0) + distance * standard - drawn[1].mean(0)
    effect, half = hedges(difference, [values.var(0) for values in drawn], counts, 0.95)
    covered = ((effect - distance).abs() <= half).double().mean()
    assert 0.935 < float(covered) < 0.965
    assert float(effect.mean()) == pytest.approx(distance, abs=0.04)


def test_contrast_without_spread_is_no_number_by_chance():
    """Equal shares: no effect; different ones: an infinite one; no interval in both cases."""
    profile = ef.ClassProfile(3, ["gray"], FILTERS)
    response = torch.tensor([[0.1, 0.2], [0.3, 0.6], [1.0, 2.0], [2.0, 4.0], [2.0, 1.0], [4.0, 2.0]])[:, None]
    profile.update(explained(response.double(), colors=["gray"]), torch.tensor([0, 0, 1, 1, 2, 2]))
    assert [effect.effect for effect in profile.contrast(0, 1)] == [0, 0]
    assert {effect.name: effect.effect for effect in profile.contrast(0, 2)} == {
        "sobel_x": -math.inf,
        "sobel_y": math.inf,
    }
    assert all(math.isnan(effect.low) for effect in profile.contrast(0, 2))


def test_table_has_a_row_per_class_and_part():
    response, labels = samples(20, classes=3)
    profile = profile_of(response, labels, class_names=("cat", "dog", "owl", "empty"))
    table = profile.to_dataframe()
    assert len(table) == 3 * (3 + 2 + 6)
    assert "empty" not in set(table["class_name"])
    wanted = oracle(response, labels)
    row = table[(table["class"] == 2) & (table["color"] == "blue") & (table["filter"] == "sobel_y")].iloc[0]
    assert (row["score"], row["count"]) == ("color_edge", int(wanted["count"][2]))
    assert row["mean"] == pytest.approx(float(wanted["color_edge_mean"][2, 2, 1]))
    assert row["std"] == pytest.approx(float(wanted["color_edge_std"][2, 2, 1]))
    color = table[(table["class"] == 2) & (table["score"] == "color")]
    assert color["mean"].tolist() == pytest.approx(wanted["color_mean"][2].tolist())


# --- files --------------------------------------------------------------------------------------------------


def test_saved_profile_goes_on(tmp_path):
    response, labels = samples(20)
    options = {"class_names": ("a", "b", "c", "d"), "filter_labels": ("edge x", "edge y")}
    path = profile_of(response[:9], labels[:9], **options).save(tmp_path / "p.safetensors")
    profile = ef.ClassProfile.load(path)
    same(profile.compute(), oracle(response[:9], labels[:9]))
    profile.update(explained(response[9:]), labels[9:])
    same(profile.compute(), oracle(response, labels))
    assert (profile.class_names, profile.filter_labels) == tuple(options.values())
    assert ef.ClassProfile.load(path, sync_on_compute=False).sync_on_compute is False


def test_saved_pixel_maps_come_back(tmp_path):
    response, labels = samples(8)
    profile = ef.ClassProfile(4, COLORS, FILTERS, pixel_size=(4, 5))
    profile.update(explained(response, torch.rand(8, 3, 4, 5)), labels)
    found = ef.ClassProfile.load(profile.save(tmp_path / "p.safetensors"))
    assert found.pixel_size == (4, 5)
    assert_close(
        found.compute()["pixel_mean"], profile.compute()["pixel_mean"], rtol=0, atol=0, equal_nan=True
    )


def test_existing_files_are_kept_unless_asked(tmp_path):
    profile = profile_of(*samples(5))
    path = profile.save(tmp_path / "p.safetensors")
    with pytest.raises(FileExistsError, match=r"must be a new file; got .*p\.safetensors'.*overwrite=True"):
        profile.save(path)
    profile.save(path, overwrite=True)
    with pytest.raises(FileNotFoundError, match="must lie in a folder that exists"):
        profile.save(tmp_path / "none" / "p.safetensors")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="which is not there"):
        ef.ClassProfile.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("text")
    with pytest.raises(ValueError, match="must be a safetensors file"):
        ef.ClassProfile.load(tmp_path / "text.safetensors")
    save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors", metadata={"format": json.dumps("x")})
    with pytest.raises(ValueError, match=r"ClassProfile\.save\(\) wrote; got .* another file"):
        ef.ClassProfile.load(tmp_path / "other.safetensors")


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": torch.tensor([0, 4])}, ValueError, "between 0 and 3, as there are 4 classes; got 4"),
        ({"labels": torch.tensor([0, -1])}, ValueError, "got -1. Leave such images out"),
        ({"labels": torch.tensor([0])}, ValueError, r"shape \(2,\), one for each image; got \(1,\)"),
        ({"labels": torch.tensor([[0, 1]])}, ValueError, r"got \(1, 2\)"),
        ({"labels": torch.tensor([0.0, 1.0])}, TypeError, "tensor of integers; got torch.float32"),
        ({"labels": torch.tensor([True, False])}, TypeError, "got torch.bool"),
        ({"labels": [0, 1]}, TypeError, "got list"),
        ({"explanation": torch.ones(2, 3)}, TypeError, "must be an Explanation; got Tensor"),
        (
            {"explanation": explained(torch.ones(2, 3, 2), filters=("sobel_x", "scharr_x"))},
            ValueError,
            r"profile's filters \('sobel_x', 'sobel_y'\); got \('sobel_x', 'scharr_x'\)",
        ),
        (
            {"explanation": explained(torch.ones(2, 1, 2), colors=("gray",))},
            ValueError,
            r"profile's colors .*; got \('gray',\)\. Explain all images with one bank",
        ),
        (
            {"explanation": explained(torch.ones(2, 3, 2), torch.ones(2, 3, 5, 5))},
            ValueError,
            r"pixels of size \(4, 4\), as the profile; got \(5, 5\)",
        ),
        (
            {"explanation": explained(torch.ones(2, 3, 2))},
            ValueError,
            r"got None\. Explain images of one size",
        ),
    ],
)
@pytest.mark.parametrize("call", ["update", "forward"])
def test_refused_batches_change_nothing(change, error, message, call):
    response, labels = samples(8)
    profile = ef.ClassProfile(4, COLORS, FILTERS, pixel_size=4)
    profile.update(explained(response, torch.rand(8, 3, 4, 4)), labels)
    before = profile.state_dict()
    good = {"explanation": explained(response[:2], torch.rand(2, 3, 4, 4)), "labels": labels[:2]}
    with pytest.raises(error, match=message):
        getattr(profile, call)(**(good | change))
    same(profile.state_dict(), before, atol=0)
    getattr(profile, call)(**good)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, COLORS, FILTERS), "num_classes must be an integer >= 1; got 0"),
        ((2.0, COLORS, FILTERS), "got 2.0"),
        ((2, (), FILTERS), r"colors must be names; got \(\)"),
        ((2, COLORS, "sobel_x"), "filters must be names; got 'sobel_x'. Pass a sequence"),
        ((2, COLORS, ("sobel_x", "sobel_x")), "filters must be different names; got 'sobel_x' twice"),
    ],
)
def test_odd_names_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ef.ClassProfile(*arguments)


def test_odd_options_are_refused():
    with pytest.raises(ValueError, match=r"class_names must be 2 names; got \('cat',\)"):
        ef.ClassProfile(2, COLORS, FILTERS, class_names=("cat",))
    with pytest.raises(ValueError, match=r"filter_labels must be 2 names"):
        ef.ClassProfile(2, COLORS, FILTERS, filter_labels=("edge",))
    with pytest.raises(ValueError, match="pixel_size must be an integer >= 1"):
        ef.ClassProfile(2, COLORS, FILTERS, pixel_size=0)


def test_odd_questions_are_refused():
    profile = profile_of(*samples(20), class_names=("cat", "dog", "dog", "owl"))
    with pytest.raises(KeyError, match="unknown class 'cta'; did you mean 'cat'"):
        profile.top("cta")
    with pytest.raises(KeyError, match=r"class must be one; got 'dog', the name of classes \[1, 2\]"):
        profile.top("dog")
    with pytest.raises(KeyError, match="class must be between 0 and 3; got 4"):
        profile.top(4)
    with pytest.raises(KeyError, match="unknown score 'colour'; did you mean 'color'"):
        profile.top(0, score="colour")
    with pytest.raises(ValueError, match="k must be an integer >= 1; got 0"):
        profile.top(0, 0)
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1; got 95"):
        profile.contrast(0, 1, confidence=95)
    lonely = profile_of(samples(1)[0], torch.tensor([0]))
    with pytest.raises(ValueError, match="class '1' must have 1 images or more with shares; got 0"):
        lonely.top(1)
    with pytest.raises(ValueError, match="class '0' must have 2 images or more with shares; got 1"):
        lonely.contrast(0, 1)
    assert math.isnan(lonely.top(0)[0].std)


def test_other_profiles_are_not_merged():
    profile = ef.ClassProfile(4, COLORS, FILTERS)
    with pytest.raises(TypeError, match="other must be a ClassProfile; got dict"):
        profile.merge({})
    with pytest.raises(ValueError, match=r"other must have the filters .*; got \('sobel_y', 'sobel_x'\)"):
        profile.merge(ef.ClassProfile(4, COLORS, FILTERS[::-1]))
    with pytest.raises(ValueError, match="other must have the class_names"):
        profile.merge(ef.ClassProfile(5, COLORS, FILTERS))
    with pytest.raises(ValueError, match="other must have the pixel_size None"):
        profile.merge(ef.ClassProfile(4, COLORS, FILTERS, pixel_size=3))


# --- pictures -----------------------------------------------------------------------------------------------


def test_picture_has_a_row_per_class():
    response, labels = samples(40, classes=3)
    profile = profile_of(response, labels, class_names=("cat", "great_dane", "owl", "empty"))
    figure, (left, right) = profile.plot()
    figure.draw_without_rendering()
    assert [text.get_text().split(" (")[0] for text in left.get_yticklabels()] == ["cat", "great dane", "owl"]
    assert [text.get_text() for text in right.get_xticklabels()] == ["sobel x", "sobel y"]
    wanted = oracle(response, labels)
    widths = [bar.get_width() for bar in left.containers[0] if hasattr(bar, "get_width")] or [
        bar.get_width() for bar in left.patches[:3]
    ]
    assert widths == pytest.approx(wanted["color_mean"][:3, 0].tolist())
    figure, (left, right) = profile.plot(classes=["owl", 0], filters=1)
    assert [text.get_text().split(" (")[0] for text in left.get_yticklabels()] == ["owl", "cat"]
    assert len(right.get_xticklabels()) == 1


def test_picture_of_one_color_shows_the_filters():
    profile = ef.ClassProfile(2, ["gray"], FILTERS, class_names=("one", "seven"))
    profile.update(explained([[[3.0, -1.0]], [[1.0, 1.0]]], colors=["gray"]), torch.tensor([0, 1]))
    _, (axes,) = profile.plot()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["one (1)", "seven (1)"]
    assert [text.get_text() for text in axes.texts] == ["0.75", "−0.25", "0.50", "0.50"]  # noqa: RUF001


def test_picture_of_many_classes_shows_those_with_the_most_images():
    labels = torch.cat([torch.arange(1000), torch.arange(900, 1000)])
    profile = profile_of(samples(1100)[0], labels, classes=1000)
    figure, (left, _) = plot_profile(profile)
    assert [int(text.get_text().split()[0]) for text in left.get_yticklabels()] == list(range(900, 924))
    assert "24 of 1000 classes" in figure.get_suptitle()


def test_picture_takes_values_and_axes_as_torchmetrics_does():
    from matplotlib.figure import Figure

    response, labels = samples(20)
    collection = MetricCollection([ef.ClassProfile(4, COLORS, FILTERS)])
    value = collection(explained(response), labels)
    axes = Figure().add_subplot()
    figure, same_axes = collection["ClassProfile"].plot(value, axes)
    assert (figure, same_axes) == (axes.figure, axes)
    assert len(axes.patches) == 12


def test_pixel_maps_share_a_scale():
    profile = ef.ClassProfile(4, COLORS, FILTERS, pixel_size=(4, 5))
    profile.update(explained(samples(8)[0], torch.rand(8, 3, 4, 5)), torch.tensor([0, 1, 2] * 2 + [0, 0]))
    figure = plot_class_maps(profile, classes=[2, 0])
    images = [axes.images[0] for axes in figure.axes[:2]]
    assert images[0].get_clim() == images[1].get_clim()
    assert_close(
        torch.as_tensor(np.asarray(images[0].get_array())),
        profile.compute()["pixel_mean"][2].sum(0),
        rtol=0,
        atol=1e-12,
    )
    with pytest.raises(ValueError, match="must have pixel maps; got one without"):
        plot_class_maps(ef.ClassProfile(4, COLORS, FILTERS))


def test_odd_pictures_are_refused():
    profile = profile_of(*samples(8))
    with pytest.raises(ValueError, match="filters must be an integer >= 1; got 0"):
        profile.plot(filters=0)
    with pytest.raises(ValueError, match="classes must not be empty"):
        profile.plot(classes=[])
    empty = ef.ClassProfile(4, COLORS, FILTERS)
    with (
        pytest.raises(ValueError, match="profile must hold images"),
        pytest.warns(UserWarning, match="compute"),
    ):
        empty.plot()
