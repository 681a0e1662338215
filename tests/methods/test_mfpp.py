"""MFPP: masks of superpixels at several scales, against slow loops, known weights and RISE."""

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, PerturbationAttribution
from captum.metrics import sensitivity_max
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.methods import MFPP, fragments, grid_fragments
from scorers import Seen, alike, correlation, digits, total, with_new_weights
from small_models import assert_untouched, snapshot

SIZE = (12, 16)


def ones(count=1, size=SIZE):
    return torch.ones(count, 1, *size).double()


def additive(labels, weights, constant=0.7):
    """The score of images of ones that adds up over fragments; and their weights at the pixels."""
    sizes = torch.bincount(labels.flatten()).double()
    pixels = (weights / sizes)[labels]
    return (lambda x: (x[:, 0] * pixels).sum((1, 2)) + constant), weights[labels]


# --- what it estimates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [0, 3, (2.5, 0)])
def test_the_map_is_the_formula_over_the_masks_that_were_shown(smooth):
    """Mean over levels of the mean over masks, and its standard error, in a slow loop."""
    levels = [grid_fragments(SIZE, 2), grid_fragments(SIZE, (3, 5))]
    score = Seen()
    found, errors = MFPP(score).attribute(
        ones(),
        segments=levels,
        n_masks=41,
        p=0.3,
        smooth=smooth,
        perturbations_per_eval=4,
        return_errors=True,
    )
    expected, variance = torch.zeros(SIZE).double(), torch.zeros(SIZE).double()
    for masks in (score.masks[:21], score.masks[21:]):
        outputs = [float(total(mask[None, None])) for mask in masks]
        mean = sum(outputs) / len(outputs)
        terms = [(mask - 0.3) * (y - mean) / 0.21 for mask, y in zip(masks, outputs, strict=True)]
        average = sum(terms) / len(terms)
        expected += average / 2
        variance += sum((term - average) ** 2 for term in terms) / (len(terms) - 1) / len(terms) / 4
    assert_close(found[0, 0], expected, rtol=0, atol=1e-12)
    assert_close(errors[0, 0], variance.sqrt(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_masks", "published"), [(500, 0.856), (5000, 0.984)])
def test_an_additive_score_gives_back_its_weights(n_masks, published):
    """As well as the noise of so many masks lets it: other fragments add theirs, 169 in all; the specification measured the same."""
    labels = grid_fragments(39, 13)
    weights = torch.randn(169, generator=torch.Generator().manual_seed(1)).double()
    score, known = additive(labels, weights)
    found = [
        correlation(MFPP(score).attribute(ones(1, (39, 39)), segments=labels, n_masks=n_masks, seed=seed, perturbations_per_eval=500), known)
        for seed in range(4)
    ]  # fmt: skip
    mean = sum(found) / 4
    assert mean == pytest.approx((1 + 169 / n_masks) ** -0.5, abs=0.02)
    assert mean == pytest.approx(published, abs=0.02)


@pytest.mark.parametrize("smooth", [0, 3])
def test_standard_errors_are_those_of_known_weights(smooth):
    """Deviations over errors are about standard normal, and errors fall as the root of the number of masks."""
    labels = grid_fragments(39, 13)
    weights = torch.randn(169, generator=torch.Generator().manual_seed(2)).double()
    pixels = (weights / 9)[labels]
    cells = torch.eye(169).double().reshape(169, 1, 13, 13)
    spread = F.interpolate(cells, (39, 39), mode="bilinear" if smooth else "nearest").reshape(169, -1)
    known = (spread.T @ (spread @ pixels.flatten())).reshape(39, 39)
    sizes, deviations = [], []
    for n_masks, seed in ((400, 0), (400, 1), (1600, 2), (1600, 3)):
        found, errors = MFPP(lambda x: (x[:, 0] * pixels).sum((1, 2))).attribute(
            ones(1, (39, 39)), segments=labels, n_masks=n_masks, seed=seed, smooth=smooth, perturbations_per_eval=400, return_errors=True
        )  # fmt: skip
        sizes.append(float(errors.mean()))
        deviations.append(((found[0, 0] - known) / errors[0, 0])[1::3, 1::3].flatten())
    z = torch.cat(deviations)  # 4 x 169 middles of cells
    assert abs(float(z.mean())) < 0.2
    assert float(z.std()) == pytest.approx(1, abs=0.15)
    assert float((z.abs() > 1.96).double().mean()) == pytest.approx(0.05, abs=0.03)
    assert sum(sizes[:2]) / sum(sizes[2:]) == pytest.approx(2, abs=0.2)  # an error's own error is 3 %


@pytest.mark.parametrize("value", [0.1, -3.7, 1e8])
@pytest.mark.parametrize("smooth", [0, 4])
def test_a_constant_score_gives_exactly_zero(value, smooth):
    """And so do its errors."""
    for seed in range(3):
        found, errors = MFPP(lambda x: torch.full((len(x),), value).double()).attribute(
            torch.rand(2, 3, *SIZE), n_masks=33, seed=seed, smooth=smooth, return_errors=True
        )
        assert not found.any()
        assert not errors.any()


def test_scaling_the_score_scales_the_map_and_adding_to_it_changes_nothing():
    """Both are in units of the score."""
    options = {"segments": grid_fragments(SIZE, 3), "n_masks": 50}
    plain = MFPP(total).attribute(ones(), **options)
    assert_close(MFPP(lambda x: 3 * total(x) + 5).attribute(ones(), **options), 3 * plain)


# --- fragments ------------------------------------------------------------------------------------------------


def edges(maps):
    """Between which neighbors a map changes, down and across."""
    return torch.cat([(maps.diff(dim=-2) != 0).flatten(-2), (maps.diff(dim=-1) != 0).flatten(-2)], -1)


def test_all_edges_of_masks_are_borders_of_superpixels():
    """1.00 at each level; the published code has .13 to .43, what a random place has. No mask is constant on this photo."""
    photo = (
        torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(3)).double().expand(-1, 3, -1, -1)
    )
    for level in fragments(photo):
        score = Seen(lambda x: x.sum((1, 2, 3)))
        MFPP(score).attribute(ones(1, (48, 48)), segments=level, n_masks=20)
        borders, drawn = edges(level[0]), edges(score.masks)
        assert float(drawn[:, borders].sum() / drawn.sum()) == 1
        assert 0.1 < float(borders.double().mean()) < 0.7
        assert bool(drawn.any(1).all())


def test_the_map_is_constant_where_no_level_has_a_border():
    """On the common refinement of the label maps."""
    levels = [grid_fragments(SIZE, 2), grid_fragments(SIZE, (3, 5))]
    found = MFPP(total).attribute(ones(), segments=levels, n_masks=40)
    refined = levels[0] * 100 + levels[1]
    for label in refined.unique():
        assert len(found[0, 0][refined == label].unique()) == 1
    assert len(found.unique()) == len(refined.unique())


def test_what_the_labels_are_does_not_matter():
    """Bit by bit, with errors."""
    labels = grid_fragments(SIZE, 4)
    others = torch.randperm(16, generator=torch.Generator().manual_seed(5))[labels] * 7 - 40
    options = {"n_masks": 30, "return_errors": True}
    for a, b in zip(
        *(MFPP(total).attribute(ones(), segments=s, **options) for s in (labels, others)), strict=True
    ):
        assert torch.equal(a, b)


def test_fragments_are_superpixels_of_each_image_by_default():
    """The same as with those of the public function."""
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(6)).double()
    found = MFPP(total).attribute(images, n_masks=30)
    assert torch.equal(found, MFPP(total).attribute(images, segments=fragments(images), n_masks=30))


@pytest.mark.parametrize(("size", "cells"), [(12, 4), (20, 4), (28, 7)])
def test_grid_fragments_with_smoothing_are_the_masks_of_rise(size, cells):
    """Cells interpolated bilinearly between their centers, by hand and by torch; not shifted, and held at the image's edge."""
    score = Seen()
    cell = size // cells
    options = {"segments": grid_fragments(size, cells), "n_masks": 30}
    found = MFPP(score).attribute(ones(1, (size, size)), smooth=cell, **options)
    plain = Seen()
    MFPP(plain).attribute(ones(1, (size, size)), **options)  # the same draws
    corners = plain.masks[:, cell // 2 :: cell, cell // 2 :: cell]
    masks = F.interpolate(corners[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    assert_close(score.masks, masks, rtol=0, atol=1e-12)
    for i, j in ((0, 0), (size // 2, 1), (size - 2, size // 3)):
        assert_close(masks[:, i, j], by_hand(corners, i, j, cell), rtol=0, atol=1e-12)
    outputs = total(masks[:, None])
    debiased = ((masks - 0.5) * (outputs - outputs.mean())[:, None, None] / 0.25).mean(0)
    assert_close(found[0, 0], debiased, rtol=0, atol=1e-12)


def by_hand(corners, i, j, cell):
    """The bilinear interpolation of cells at a pixel."""
    last = corners.shape[1] - 1
    places = [min(max((k + 0.5) / cell - 0.5, 0), last) for k in (i, j)]
    low = [min(int(place), last - 1) for place in places]
    (up, left), (a, b) = low, (place - start for place, start in zip(places, low, strict=True))
    return (
        (1 - a) * (1 - b) * corners[:, up, left]
        + (1 - a) * b * corners[:, up, left + 1]
        + a * (1 - b) * corners[:, up + 1, left]
        + a * b * corners[:, up + 1, left + 1]
    )


# --- batches and seeds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 7, 30, 1000])
def test_how_many_copies_go_at_a_time_does_not_matter(size):
    """Up to rounding."""
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0)).double()
    options = {"n_masks": 31, "smooth": 2, "return_errors": True}
    one = MFPP(total).attribute(images, **options)
    several = MFPP(total).attribute(images, perturbations_per_eval=size, **options)
    assert_close(several, one, rtol=0, atol=1e-12)


def test_a_batch_is_its_images_one_by_one():
    """With a target, a baseline, an argument and fragments for each image."""
    generator = torch.Generator().manual_seed(0)
    images, baselines = (torch.rand(3, 2, *SIZE, generator=generator).double() for _ in range(2))
    factors = torch.tensor([1.0, -2, 3]).double()
    targets = [1, 0, 2]

    def forward(x, factor):
        return torch.stack([total(x), total(x**2), total(x**3)], 1) * factor[:, None]

    each = torch.stack([grid_fragments(SIZE, cells) for cells in (2, 5, 3)])
    for segments in ([each, grid_fragments(SIZE, 4)], None):
        options = {"n_masks": 40, "return_errors": True}
        found = MFPP(forward).attribute(images, baselines, targets, factors, segments=segments, **options)
        for i in range(3):
            some = slice(i, i + 1)
            own = None if segments is None else [each[some], segments[1]]
            alone = MFPP(forward).attribute(
                images[some], baselines[some], targets[i], factors[some], segments=own, **options
            )
            for a, b in zip(found, alone, strict=True):
                assert_close(a[some], b, rtol=0, atol=1e-12)


def test_seeds():
    """The same one gives the same map, another one another, and a generator goes on; the global state stays."""
    state = torch.random.get_rng_state()
    options = {"segments": grid_fragments(SIZE, 3), "n_masks": 20}
    first, again, other = (MFPP(total).attribute(ones(), seed=seed, **options) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    generator = torch.Generator().manual_seed(0)
    drawn = [MFPP(total).attribute(ones(), seed=generator, **options) for _ in range(2)]
    assert torch.equal(drawn[0], first)
    assert not torch.equal(drawn[1], first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_n_masks_is_how_many_copies_each_image_has():
    """Over all levels."""
    score = Seen()
    levels = [grid_fragments(SIZE, cells) for cells in (2, 3, 4)]
    MFPP(score).attribute(ones(), segments=levels, n_masks=32, perturbations_per_eval=5)
    assert len(score.masks) == 32
    assert max(len(copies) for copies in score.copies) == 5


def test_p_is_the_share_of_fragments_that_are_kept():
    """Within four standard errors of it."""
    for p in (0.2, 0.5, 0.9):
        score = Seen()
        MFPP(score).attribute(ones(), segments=grid_fragments(SIZE, 4), n_masks=400, p=p)
        assert float(score.masks.mean()) == pytest.approx(p, abs=4 * (p * (1 - p) / 6400) ** 0.5)


# --- a method of Captum ---------------------------------------------------------------------------------------


def test_it_is_a_perturbation_method_of_captum():
    """And says what it is."""
    method = MFPP(total)
    assert isinstance(method, PerturbationAttribution)
    assert method.get_name() == "MFPP"
    assert method.multiplies_by_inputs is True
    assert method.has_convergence_delta() is False
    with pytest.raises(NotImplementedError, match="attribute_future is not implemented for MFPP"):
        method.attribute_future()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_maps_have_the_dtype_of_the_images_and_tuples_come_as_they_went(dtype):
    """One channel, detached, also with errors."""
    images = torch.ones(2, 3, *SIZE, dtype=dtype, requires_grad=True)
    options = {"segments": grid_fragments(SIZE, 2), "n_masks": 6, "smooth": 2}
    found = MFPP(total).attribute(images, **options)
    assert (found.shape, found.dtype, found.requires_grad) == ((2, 1, *SIZE), dtype, False)
    (same,) = MFPP(total).attribute((images,), **options)
    assert torch.equal(same, found)
    (same,), (errors,) = MFPP(total).attribute((images,), return_errors=True, **options)
    assert torch.equal(same, found)
    assert errors.shape == found.shape


def test_it_works_inside_noise_tunnel():
    """The mean over noisy copies; without noise, the method itself."""
    options = {"segments": grid_fragments(SIZE, 2), "n_masks": 10}
    tunnel = NoiseTunnel(MFPP(total))
    found = tunnel.attribute(ones(2).float(), nt_samples=3, stdevs=0.0, **options)
    assert_close(found, MFPP(total).attribute(ones(2).float(), **options))


def test_it_works_in_inference_mode_and_under_sensitivity_max():
    """As elsewhere; images in any memory format."""
    options = {"segments": grid_fragments(SIZE, 2), "n_masks": 10}
    images = torch.rand(2, 3, 12, 16).contiguous(memory_format=torch.channels_last)
    plain = MFPP(total).attribute(images, **options)
    with torch.inference_mode():
        images = images.clone()
        assert torch.equal(MFPP(total).attribute(images, **options), plain)
    method = MFPP(total)
    found = sensitivity_max(method.attribute, plain.expand(-1, 3, -1, -1), n_perturb_samples=2, **options)
    assert found.shape == (2,)
    assert bool(torch.isfinite(found).all())


def test_progress_is_shown_if_asked_for(capsys):
    """All masks, in one bar."""
    options = {"segments": grid_fragments(SIZE, 2), "n_masks": 10}
    MFPP(total).attribute(ones(), **options)
    assert capsys.readouterr().err == ""
    MFPP(total).attribute(ones(), show_progress=True, **options)
    shown = capsys.readouterr().err
    assert "MFPP attribution" in shown
    assert "10/10" in shown


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_as_before(fails):
    """Parameters, gradients, flags, hooks and images, also when it raises inside."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.Dropout()).double().eval()
    images = ones().requires_grad_()
    before = snapshot(model, images)
    options = {"segments": grid_fragments(SIZE, 2), "n_masks": 10}
    if fails:
        with pytest.raises(IndexError):
            MFPP(model).attribute(images, target=3, **options)
    else:
        MFPP(model).attribute(images, target=2, **options)
    assert_untouched(before, snapshot(model, images))
    assert torch.is_grad_enabled()


def test_randomizing_the_layers_above_the_first_gives_another_map():
    """Correlation on the strokes, over draws: about 0, where a second seed has .9 and a method that fails has .8."""
    model = ef.models.load("digits")
    images = digits(2)
    options = {"target": model(images).argmax(1), "n_masks": 150, "perturbations_per_eval": 50}
    before = MFPP(model).attribute(images, **options)
    again = MFPP(model).attribute(images, seed=1, **options)
    assert min(alike(before, again, images)) > 0.7
    found = []
    for changed in with_new_weights(model, 8):
        found += alike(before, MFPP(changed).attribute(images, **options), images)
    assert abs(sum(found) / len(found)) < 0.4


def test_numbers_may_be_those_of_numpy():
    """As everywhere in the house."""
    mfpp, given = MFPP(total), {"segments": grid_fragments(SIZE, 2), "n_masks": 20}
    found = mfpp.attribute(ones(), p=np.float32(0.25), smooth=np.int64(2), **given)
    assert torch.equal(found, mfpp.attribute(ones(), p=0.25, smooth=2, **given))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"n_masks": 0}, ValueError, "n_masks must be a whole number of at least 1; got 0"),
        ({"n_masks": 3, "segments": [grid_fragments(SIZE, 2)] * 2}, ValueError, "n_masks must be at least 4, two for each of 2 levels; got 3"),
        ({"p": 0}, ValueError, "p must lie between 0 and 1, without them; got 0"),
        ({"p": 1.0}, ValueError, "p must lie"),
        ({"smooth": -1}, ValueError, "smooth must be a width in pixels of at least 0, or two of them; got -1"),
        ({"smooth": (1, 2, 3)}, ValueError, "smooth must be"),
        ({"perturbations_per_eval": 0}, ValueError, "perturbations_per_eval must be"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"segments": torch.rand(4, 4)}, TypeError, "segments must hold whole numbers"),
        ({"target": [0, 1]}, AssertionError, "target must be one"),
        ({"inputs": torch.ones(3, 4, 4)}, ValueError, r"inputs must be a floating-point Tensor of shape \(N, C, H, W\)"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_before_the_model_runs(options, error, words):
    """In the house's words."""
    score = Seen()
    with pytest.raises(error, match=words):
        MFPP(score).attribute(**{"inputs": ones(), "segments": grid_fragments(SIZE, 2), **options})
    assert not score.copies


@pytest.mark.extended
def test_a_cup_is_found_on_a_photo():
    """EfficientNet-Lite0 and the demo photo: the coffee and the rim are worth more than the table, by two standard errors."""
    classifier = ef.classifiers.load_classifier("efficientnet_lite0")
    image = classifier.preprocess(ef.photos.demo_photo())
    found, errors = MFPP(lambda x: classifier.model(x).softmax(1)).attribute(
        image, target=967, n_masks=1000, return_errors=True
    )
    coffee, table = (
        found[0, 0, rows, columns]
        for rows, columns in ((slice(50, 110), slice(70, 150)), (slice(190, 224), slice(150, 224)))
    )
    assert float(coffee.mean() - table.mean()) > 2 * float(errors.mean())
