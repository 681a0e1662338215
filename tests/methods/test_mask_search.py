"""The search for a mask: what it finds, against slow loops and exhaustive search, and how many queries it takes."""

import itertools

import pytest
import torch
from captum.attr import NoiseTunnel, PerturbationAttribution
from captum.metrics import sensitivity_max
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.methods import MaskSearch, salient_part_score
from scorers import Seen, alike, digits, total, with_new_weights
from small_models import assert_untouched, snapshot


def ones(size=16, count=1):
    return torch.ones(count, 1, size, size).double()


def center(x):
    """The mean of the middle square of 16 x 16 images."""
    return x[:, :, 4:12, 4:12].mean((1, 2, 3))


# --- what it finds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 1.0, -0.3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_score_gives_an_exactly_flat_map(value, dtype):
    """With every seed: there is nothing to find, and the penalty treats all cells alike. The published search shows noise."""
    for seed in range(5):
        found = MaskSearch(lambda x: torch.full((len(x),), value)).attribute(
            torch.rand(2, 3, 20, 28, dtype=dtype), max_queries=300, seed=seed
        )
        assert len(found.unique()) == 1
        assert 0.02 < float(found.max()) < 0.2


@pytest.mark.parametrize(
    "score",
    [center, lambda x: 0.3 * center(x), lambda x: 5 - 100 * (1 - center(x)), lambda x: (10 * center(x) - 5).sigmoid()],
)  # fmt: skip
def test_a_score_of_the_center_finds_the_center(score):
    """Whatever the scale of the score is; the published search has 1.03 inside over the mean where the score ends at 0.3."""
    for seed in range(3):
        found = MaskSearch(score).attribute(ones(), seed=seed)[0, 0]
        inside = found[4:12, 4:12]
        outside = found.sum() - inside.sum()
        assert float(inside.mean() / (outside / (256 - 64))) > 4
        assert float(inside.mean() / found.mean()) > 2.3  # 4 at most: the whole is 4 times as large


def test_the_best_mask_of_all_is_found():
    """Among all 512 masks of 3 x 3 cells, for a score in which cells depend on each other."""
    weights = torch.tensor([3.0, 0, 0.1, 0, 2.5, 0, -1, 0.05, 0]).double()

    def score(x):
        z = x.flatten(1)
        return (z * weights).sum(1) + 4 * z[:, 1] * z[:, 3] - 2 * z[:, 1] * z[:, 2]

    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=9))).double()
    scale = float(score(every).max() - score(every).min())
    best = every[(score(every) / scale - every.mean(1)).argmax()]
    assert 2 <= int(best.sum()) <= 6
    for seed in range(5):
        found = MaskSearch(score).attribute(ones(3), cells=3, max_queries=2000, seed=seed)
        assert torch.equal((found.flatten() > 0.5).double(), best)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_each_round_is_the_update_that_is_documented(rounds):
    """In a slow loop over the masks that were shown; an image of 4 x 4 pixels has its cells as masks."""
    score = Seen()
    found = MaskSearch(score).attribute(ones(4), cells=4, max_queries=2 + 20 * rounds, penalty=0.7)
    assert torch.equal(score.masks[0], torch.ones(4, 4).double())
    assert not score.masks[1].any()
    first = [float(total(mask[None, None])) for mask in score.masks[:22]]
    width = max(first) - min(first)
    chances = torch.full((16,), 0.5).double()
    for masks in score.masks[2:].flatten(1).split(20):
        outputs = [float(total(mask.reshape(1, 1, 4, 4))) for mask in masks]
        mean = sum(outputs) / 20
        effect = sum((y - mean) / width * (z - chances) for y, z in zip(outputs, masks, strict=True)) / 19
        rate = 2 / rounds / (0.7 / 16)
        chances = (chances + rate * (effect - 0.7 / 16 * chances * (1 - chances))).clamp(0.02, 0.98)
    assert_close(found.flatten(), chances, rtol=0, atol=1e-12)


def test_masks_are_cells_interpolated_bilinearly():
    """From 0 to 1, with the cells in the middle of their pixels."""
    score = Seen()
    MaskSearch(score).attribute(ones(12), cells=4, max_queries=42)
    cells = score.masks[:, 1::3, 1::3]
    assert set(cells.unique().tolist()) == {0, 1}
    assert_close(score.masks[:, 4, 7], cells[:, 1, 2], rtol=0, atol=1e-12)
    assert_close(score.masks[:, 4, 5], (2 * cells[:, 1, 1] + cells[:, 1, 2]) / 3, rtol=0, atol=1e-12)
    assert_close(score.masks[:, 5, 5], (4 * cells[:, 1, 1] + 2 * cells[:, 1, 2] + 2 * cells[:, 2, 1] + cells[:, 2, 2]) / 9, rtol=0, atol=1e-12)  # fmt: skip


def test_small_images_have_fewer_cells():
    """By default; else 8 along each side."""
    score = Seen()
    for size, cells in (((5, 40), (5, 8)), ((16, 16), (8, 8))):
        images = torch.ones(1, 1, *size).double()
        found = MaskSearch(score).attribute(images, max_queries=42)
        assert torch.equal(found, MaskSearch(score).attribute(images, max_queries=42, cells=cells))


def test_scale_and_offset_of_the_score_do_not_matter():
    """Up to rounding."""
    plain = MaskSearch(total).attribute(ones(), max_queries=200)
    other = MaskSearch(lambda x: 250 * total(x) - 40).attribute(ones(), max_queries=200)
    assert_close(other, plain, rtol=0, atol=1e-9)
    assert float(plain.std()) > 0.1


def test_a_larger_penalty_gives_a_smaller_mask():
    """Of a score to which all pixels add, more and more."""
    ramp = torch.linspace(0, 2, 16).double()
    areas = [
        float(MaskSearch(lambda x: (x * ramp).mean((1, 2, 3))).attribute(ones(), penalty=penalty).mean())
        for penalty in (0.5, 1, 1.5)
    ]
    assert areas[0] > areas[1] + 0.1 > areas[2] + 0.2


# --- queries, batches, seeds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [4, 21, 42, 100, 333])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 50])
def test_max_queries_is_never_exceeded(most, count, size):
    """In copies of each image, and so in calls; and it is used but for less than one round."""
    score = Seen()
    MaskSearch(score).attribute(ones(16, count), max_queries=most, perturbations_per_eval=size)
    copies = sum(len(some) for some in score.copies)
    assert most - 20 < copies / count <= most
    assert len(score.copies) <= most
    assert max(len(some) for some in score.copies) <= count * min(size, 20)


def test_how_many_copies_go_at_a_time_does_not_matter():
    """Up to rounding."""
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    found = [
        MaskSearch(total).attribute(images, max_queries=200, perturbations_per_eval=size)
        for size in (1, 7, 20, 99)
    ]
    for other in found[1:]:
        assert_close(other, found[0], rtol=0, atol=1e-9)


def test_a_batch_is_its_images_one_by_one():
    """With a target, a baseline and an argument for each."""
    generator = torch.Generator().manual_seed(0)
    images, baselines = (torch.rand(3, 2, 12, 10, generator=generator).double() for _ in range(2))
    factors = torch.tensor([1.0, -2, 3]).double()
    targets = [1, 0, 2]

    def forward(x, factor):
        return torch.stack([total(x), total(x**2), total(x**3)], 1) * factor[:, None]

    found = MaskSearch(forward).attribute(images, baselines, targets, factors, max_queries=200, cells=(4, 5))
    for i in range(3):
        some = slice(i, i + 1)
        alone = MaskSearch(forward).attribute(
            images[some], baselines[some], targets[i], factors[some], max_queries=200, cells=(4, 5)
        )
        assert_close(found[some], alone, rtol=0, atol=1e-9)


def test_seeds():
    """The same one gives the same map, another one another, and a generator goes on; the global state stays."""
    state = torch.random.get_rng_state()
    options = {"max_queries": 100, "cells": 4}
    first, again, other = (MaskSearch(total).attribute(ones(), seed=seed, **options) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    generator = torch.Generator().manual_seed(0)
    drawn = [MaskSearch(total).attribute(ones(), seed=generator, **options) for _ in range(2)]
    assert torch.equal(drawn[0], first)
    assert not torch.equal(drawn[1], first)
    assert torch.equal(torch.random.get_rng_state(), state)


# --- a method of Captum ---------------------------------------------------------------------------------------


def test_it_is_a_perturbation_method_of_captum():
    """And says what it is."""
    method = MaskSearch(total)
    assert isinstance(method, PerturbationAttribution)
    assert method.get_name() == "Mask Search"
    assert method.multiplies_by_inputs is True
    assert method.has_convergence_delta() is False
    with pytest.raises(NotImplementedError, match="attribute_future is not implemented for MaskSearch"):
        method.attribute_future()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_maps_lie_between_0_and_1_in_the_dtype_of_the_images(dtype):
    """One channel, detached; tuples come as they went."""
    images = torch.ones(2, 3, 9, 12, dtype=dtype, requires_grad=True)
    found = MaskSearch(total).attribute(images, max_queries=42)
    assert (found.shape, found.dtype, found.requires_grad) == ((2, 1, 9, 12), dtype, False)
    assert 0 <= float(found.min()) < float(found.max()) <= 1
    (same,) = MaskSearch(total).attribute((images,), max_queries=42)
    assert torch.equal(same, found)


def test_it_works_inside_noise_tunnel():
    """Without noise, as the method itself."""
    found = NoiseTunnel(MaskSearch(total)).attribute(
        ones(16, 2).float(), nt_samples=3, stdevs=0.0, max_queries=42
    )
    assert_close(found, MaskSearch(total).attribute(ones(16, 2).float(), max_queries=42))


def test_it_works_in_inference_mode_and_under_sensitivity_max():
    """As elsewhere; images in any memory format."""
    images = torch.rand(2, 3, 12, 16).contiguous(memory_format=torch.channels_last)
    plain = MaskSearch(total).attribute(images, max_queries=42)
    with torch.inference_mode():
        images = images.clone()
        assert torch.equal(MaskSearch(total).attribute(images, max_queries=42), plain)
    method = MaskSearch(total)
    found = sensitivity_max(
        method.attribute, plain.expand(-1, 3, -1, -1), n_perturb_samples=2, max_queries=42
    )
    assert found.shape == (2,)
    assert bool(torch.isfinite(found).all())


def test_progress_is_shown_if_asked_for(capsys):
    """All queries, in one bar."""
    MaskSearch(total).attribute(ones(), max_queries=50)
    assert capsys.readouterr().err == ""
    MaskSearch(total).attribute(ones(), max_queries=50, show_progress=True)
    shown = capsys.readouterr().err
    assert "Mask Search attribution" in shown
    assert "42/42" in shown


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_as_before(fails):
    """Parameters, gradients, flags, hooks and images, also when it raises inside."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 3), nn.Dropout()).double().eval()
    images = ones().requires_grad_()
    before = snapshot(model, images)
    if fails:
        with pytest.raises(IndexError):
            MaskSearch(model).attribute(images, target=3, max_queries=42)
    else:
        MaskSearch(model).attribute(images, target=2, max_queries=42)
    assert_untouched(before, snapshot(model, images))
    assert torch.is_grad_enabled()


def test_randomizing_the_layers_above_the_first_gives_another_map():
    """Correlation on the strokes, over draws: about 0, where a second seed has .6 and a method that fails has .8."""
    model = ef.models.load("digits")
    images = digits(2)
    options = {"target": model(images).argmax(1), "max_queries": 302, "perturbations_per_eval": 20}
    before = MaskSearch(model).attribute(images, **options)
    again = MaskSearch(model).attribute(images, seed=1, **options)
    assert min(alike(before, again, images)) > 0.3
    found = []
    for changed in with_new_weights(model, 8):
        found += alike(before, MaskSearch(changed).attribute(images, **options), images)
    assert abs(sum(found) / len(found)) < 0.4


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_queries": 3}, ValueError, "max_queries must be a whole number of at least 4; got 3"),
        ({"max_queries": 1e3}, ValueError, "max_queries must be a whole number"),
        ({"cells": 17}, ValueError, r"cells must be at most as many as the pixels of a side, \(16, 16\); got \(17, 17\)"),
        ({"cells": 0}, ValueError, "cells must be an integer >= 1"),
        ({"penalty": 0}, ValueError, "penalty must be a number above 0; got 0"),
        ({"perturbations_per_eval": 0}, ValueError, "perturbations_per_eval must be"),
        ({"seed": 0.5}, ValueError, "seed must be"),
        ({"target": [0, 1]}, AssertionError, "target must be one"),
        ({"inputs": torch.ones(3, 4, 4)}, ValueError, r"inputs must be a floating-point Tensor of shape \(N, C, H, W\)"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_before_the_model_runs(options, error, words):
    """In the house's words."""
    score = Seen()
    with pytest.raises(error, match=words):
        MaskSearch(score).attribute(**{"inputs": ones(), **options})
    assert not score.copies


@pytest.mark.extended
def test_a_cup_is_found_on_a_photo():
    """EfficientNet-Lite0 and the demo photo: the mask keeps the opening of the cup and recovers the class, and not the table."""
    classifier = ef.classifiers.load_classifier("efficientnet_lite0")
    image = classifier.preprocess(ef.photos.demo_photo())
    found = MaskSearch(lambda x: classifier.model(x).softmax(1)).attribute(image, target=967)
    assert float(found[0, 0, 50:110, 70:150].mean()) > 0.7
    assert float(found[0, 0, 190:].mean()) < 0.3
    kept = salient_part_score(classifier.model, image, found)
    assert kept.recovered.all()
    assert float(kept.ratio) > 0.5
