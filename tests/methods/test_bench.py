"""The measures of benchmarks/methods.py: insertion and deletion, intervals, and who wins."""

from __future__ import annotations

import argparse
import contextlib
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from scipy import integrate, stats
from torch import nn
from torch.testing import assert_close
from torchvision.transforms.functional import gaussian_blur

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from field import curves, invariants, page, tables  # noqa: E402
from field.measuring import Protocol  # noqa: E402

import methods as bench  # noqa: E402

sys.path.remove(str(BENCHMARKS))  # where other names, such as coverage, are those of installed packages

STEPS = 8
NAMES = ("deletion", "insertion")


@pytest.fixture
def network(generator):
    """Logits that every pixel adds to, of any size."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(576, 3)).eval()


@pytest.fixture
def image(generator):
    return torch.randn(1, 3, 12, 12, generator=generator)


@pytest.fixture
def scores(generator):
    return torch.randn(12, 12, generator=generator)


def by_hand(network, image, scores, target, steps):
    """Replace pixels one after the other, and take the area by SciPy."""
    blurred = gaussian_blur(image, [11, 11], [5.0, 5.0])
    places = sorted(range(144), key=lambda place: -float(scores.flatten()[place]))
    found = []
    for first, last in ((image, torch.zeros_like(image)), (blurred, image)):
        now, values = first.clone(), []
        for step in range(steps + 1):
            for place in places[: step * 144 // steps]:
                now[..., place // 12, place % 12] = last[..., place // 12, place % 12]
            values.append(float(network(now).softmax(1)[0, target]))
        found.append(integrate.trapezoid(values, dx=1 / steps))
    return found


def test_areas_are_those_of_a_slow_loop(network, image, scores):
    """Pixel by pixel, with the published blur."""
    with torch.no_grad():
        found = curves.areas(network, image, 1, curves.ordered(scores), STEPS)
        wanted = by_hand(network, image, scores, 1, STEPS)
        ends = [
            float(network(one).softmax(1)[0, 1])
            for one in (image, gaussian_blur(image, [11, 11], [5.0, 5.0]), image * 0)
        ]
    assert found[2:] == pytest.approx(ends, abs=1e-6)
    assert_close(torch.tensor(found[:2]), torch.tensor(wanted), rtol=0, atol=1e-6, check_dtype=False)


def test_areas_are_those_of_torchcam(network, image, scores):
    """For deletion to zero, and for insertion into the blurred image."""
    metrics = pytest.importorskip("torchcam.metrics")

    class Given:
        model = network

        def __call__(self, *_, **__):
            return [scores[None]]

        def fuse_cams(self, cams):
            return cams[0]

        def _hooks_off(self):
            return contextlib.nullcontext()

    found = curves.areas(network, image, 1, curves.ordered(scores), STEPS)
    for baseline, name in (
        (None, "deletion"),
        (partial(gaussian_blur, kernel_size=[11, 11], sigma=[5.0, 5.0]), "insertion"),
    ):
        metric = metrics.DeletionInsertionMetric(
            Given(), partial(torch.softmax, dim=1), steps=STEPS, baseline=baseline
        )
        metric.update(image, 1)
        assert metric.summary()[f"{name}_auc"] == pytest.approx(getattr(found, name), abs=1e-6)


def test_a_good_order_beats_its_reverse(image):
    """Where the class is read from one pixel: deletion is low and insertion is high if that goes first."""

    def score(images):
        one = images[:, 0, 3, 4] * 4 / image[0, 0, 3, 4]
        return torch.stack([one, torch.zeros_like(one)], 1)

    right = torch.zeros(12, 12)
    right[3, 4] = 1
    first, last = (curves.areas(score, image, 0, curves.ordered(sign * right), STEPS) for sign in (1, -1))
    assert first.deletion < last.deletion
    assert first.insertion > last.insertion


def test_an_interval_is_that_of_scipy(generator):
    """Student's t, and the paired difference."""
    values = torch.randn(2, 9, generator=generator).double().numpy()
    found = tables.estimate(values[0])
    low, high = stats.t.interval(0.95, 8, values[0].mean(), stats.sem(values[0]))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    first, second = (dict(zip("abcdefghi", row, strict=True)) for row in values)
    difference = tables.paired(first, second)
    interval = stats.ttest_rel(values[1], values[0]).confidence_interval(0.95)
    assert (difference.mean - difference.half, difference.mean + difference.half) == pytest.approx(interval)


def test_a_winner_is_one_that_no_other_beats():
    """Beyond the interval of the difference on the images of both; few images cannot beat."""
    good = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.1}
    bad = {name: value - 1 + 0.01 * value for name, value in good.items()}
    few = {"a": 0.9}
    assert tables.winners({"good": good, "bad": bad, "few": few}, high=True) == ["good", "few"]
    assert tables.winners({"good": good, "bad": bad}, high=False) == ["bad"]


def test_a_table_takes_the_form_of_the_authors():
    """Integrated gradients by absolute values, occlusion by signed ones; the difference is insertion minus deletion."""
    forms = {"signed": (0.25, 0.5), "absolute": (0.125, 0.75)}
    values = {
        f"{name} {form}": both[place] for form, both in forms.items() for place, name in enumerate(NAMES)
    }
    records = [
        {"network": "photos", "image": number, "method": name, **values}
        for name in ("integrated_gradients", "occlusion")
        for number in range(2)
    ]
    table = page.area_table(records).splitlines()
    assert [cell.strip() for cell in table[2].split("|")][1:6] == [
        "integrated_gradients", "2", "**0.125 ± 0.000**", "**0.750 ± 0.000**", "**0.625 ± 0.000**"
    ]  # fmt: skip
    assert "0.250 ± 0.000" in table[3]
    assert "0.375 ± 0.000" in page.form_table(records).splitlines()[2]


def test_an_image_that_was_asked_about_twice_counts_once():
    """Before and after more was asked about it: the settings differ, the curves' ends do not."""
    records = [
        {"network": "photos", "image": number, "method": "random", "plain": 0.5 + number, "blurred": 0.25, "zero": 0.0}
        for number in (0, 0, 1)
    ]  # fmt: skip
    assert page.ends(records).startswith(
        "2 images. Mean probability of the predicted class: 1.00 for the image, 0.25"
    )


def test_what_is_done_is_not_done_again(tmp_path):
    """A file of all records leaves no work; without one record, its image is asked again about that method alone."""
    options = argparse.Namespace(
        methods=["random", "rise"],
        networks=["digits"],
        images=4,
        slow_images=2,
        seeds=0,
        quick=False,
        protocol=Protocol(28, 10),
    )
    pieces = bench.work(options, [])
    missing = {number: names for piece in pieces for number, names in piece.missing.items()}
    assert missing == {0: ["random", "rise"], 50: ["random"], 100: ["random", "rise"], 150: ["random"]}
    assert all(piece.full == {0, 100} for piece in pieces)
    records = [
        {
            "network": "digits",
            "image": number,
            "method": name,
            "settings": options.protocol.key(name, full=number in {0, 100}),
        }
        for number, names in missing.items()
        for name in names
    ]
    assert bench.work(options, records) == []
    (left,) = bench.work(options, records[1:])
    assert left.missing == {0: ["random"]}


def test_every_law_holds():
    """To rounding errors."""
    for line in invariants.invariants().splitlines()[2:]:
        off = line.split("|")[2].strip()
        assert off == "exact" or float(off) < 1e-12, line
