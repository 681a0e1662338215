"""The perturbation curve: a case by hand, a slow loop, laws, and Captum's forms."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from edgefilter.methods import area_under_perturbation_curve, perturbation_curve


@pytest.fixture
def images(generator):
    return torch.rand(3, 3, 12, 12, generator=generator, dtype=torch.float64)


@pytest.fixture
def maps(generator):
    return torch.randn(3, 3, 12, 12, generator=generator, dtype=torch.float64)


def total(images):
    return images.sum((1, 2, 3))


def test_by_hand():
    """A sum of ones, and windows that are set to 0: each of 4 of 36 pixels takes a ninth."""
    images = torch.ones(1, 1, 6, 6).double()
    curve = perturbation_curve(total, images, images, n_windows=4, window=2, n_fills=3, low=0, high=0)
    assert_close(
        curve, torch.tensor([[1, 8 / 9, 7 / 9, 6 / 9, 5 / 9]], dtype=torch.float64), rtol=0, atol=1e-15
    )
    area = area_under_perturbation_curve(total, images, images, n_windows=4, window=2, low=0, high=0)
    assert_close(
        area, torch.tensor([4 * 7 / 9], dtype=torch.float64), rtol=0, atol=1e-14
    )  # Simpson is exact for a line


def test_the_ends_of_the_noise_have_the_precision_of_the_images():
    """Numbers and lists of them, which float32 does not hold."""
    images = torch.ones(1, 3, 6, 6).double()
    for low in (0.3, [0.3] * 3):
        curve = perturbation_curve(total, images, images, n_windows=1, window=2, n_fills=1, low=low, high=low)
        assert_close(float(curve[0, 1]), 1 - 0.7 * 4 / 36, rtol=0, atol=1e-14)


def slowly(net, image, heat, target, windows, side, fills, seed):
    """Follow one image, window by window and fill by fill."""
    heat, image = heat.sum(0).abs().numpy(), image.clone()
    low, high = image.amin((1, 2)), image.amax((1, 2))
    rows, columns = (size - side + 1 for size in heat.shape)
    used = np.zeros((rows, columns), bool)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        curve = [float(net(image[None])[0, target])]
        for _ in range(windows):
            best, place = -1.0, (0, 0)
            for i in range(rows):
                for j in range(columns):
                    mean = heat[i : i + side, j : j + side].mean()
                    if not used[i, j] and mean > best:
                        best, place = mean, (i, j)
            for i in range(rows):
                for j in range(columns):
                    used[i, j] |= abs(i - place[0]) < side and abs(j - place[1]) < side
            unit = torch.rand(fills, 3, side, side, generator=generator).double()
            tried = []
            for one in unit:
                new = image.clone()
                filled = low[:, None, None] + (high - low)[:, None, None] * one
                new[:, place[0] : place[0] + side, place[1] : place[1] + side] = filled
                tried.append((float(net(new[None])[0, target]), new))
            scores = np.array([score for score, _ in tried])
            curve.append(float(scores.mean()))
            image = tried[int(np.abs(scores - np.median(scores)).argmin())][1]
    return torch.tensor(curve, dtype=torch.float64) / abs(curve[0])


def test_it_is_the_slow_loop(small_net, images, maps):
    """For each image with its own target; the others of the batch do not matter."""
    found = perturbation_curve(small_net, images, maps, [0, 3, 4], n_windows=5, window=3, n_fills=6, seed=2)
    assert found.shape == (3, 6)
    for i, target in enumerate((0, 3, 4)):
        expected = slowly(small_net, images[i], maps[i], target, 5, 3, 6, 2)
        assert_close(found[i], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_fills_at_a_time_do_not_matter(small_net, images, maps, size):
    """Neither for the curve nor for its area."""
    options = {"n_windows": 4, "n_fills": 7}
    for function in (perturbation_curve, area_under_perturbation_curve):
        found = function(small_net, images, maps, 1, perturbations_per_eval=size, **options)
        assert_close(found, function(small_net, images, maps, 1, **options), rtol=0, atol=1e-12)


def test_the_right_map_has_less_area(images):
    """Where only a corner counts."""
    corner = torch.zeros(3, 1, 12, 12).double()
    corner[..., :4, :4] = 1
    score = lambda x: (x * corner[:1]).sum((1, 2, 3))  # noqa: E731
    options = {"n_windows": 4, "window": 2, "low": -0.1, "high": 0.1}
    right, wrong = (
        area_under_perturbation_curve(score, images, heat, **options) for heat in (corner, 1 - corner)
    )
    assert_close(wrong, torch.full_like(wrong, 4.0), rtol=0, atol=1e-12)
    assert (right < 2.5).all()  # 2 without noise


def test_ranges_and_windows(images, maps):
    """By default each color's own range; or one for all, or one for each; windows in proportion to those of 224 pixels."""
    seen = []

    def score(batch):
        seen.append(batch)
        return batch.sum((1, 2, 3)) + 5

    options = {"n_windows": 1, "n_fills": 200, "window": 4}
    perturbation_curve(score, images[:1], maps[:1], **options)
    changed = (seen[1] != seen[0]).any(0)
    assert changed.sum() == 3 * 16
    for color in range(3):
        noise = seen[1][:, color][:, changed[color]]
        low, high = images[0, color].min(), images[0, color].max()
        assert (noise >= low).all()
        assert (noise <= high).all()
        assert_close(noise.mean(), (low + high) / 2, rtol=0.02, atol=0)
    seen.clear()
    perturbation_curve(
        score, images[:1], maps[:1], low=torch.tensor([1.0, 2, 3]), high=torch.tensor([2.0, 3, 4]), **options
    )
    noise = seen[1][:, 2][:, changed[2]]
    assert float(noise.min()) >= 3
    seen.clear()
    large = torch.rand(1, 1, 224, 224)
    perturbation_curve(score, large, large, n_windows=1, n_fills=1)
    assert (seen[1] != seen[0]).sum() == 15 * 15


def test_half_precision_is_taken(small_net, images, maps):
    """And given back."""
    found = perturbation_curve(
        small_net.bfloat16(), images.bfloat16(), maps.bfloat16(), 1, n_windows=2, n_fills=3
    )
    assert found.dtype == torch.bfloat16
    assert torch.isfinite(found).all()


def test_nothing_else_changes(small_net, images, maps):
    """Images, the global random state; a generator goes on."""
    before, state = images.clone(), torch.get_rng_state()
    mine = torch.Generator().manual_seed(0)
    options = {"n_windows": 2, "n_fills": 3}
    first = perturbation_curve(small_net, images, maps, 1, seed=mine, **options)
    assert_close(first, perturbation_curve(small_net, images, maps, 1, **options), rtol=0, atol=0)
    assert not torch.equal(perturbation_curve(small_net, images, maps, 1, seed=mine, **options), first)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.requires_grad


def test_further_arguments_reach_the_model(images, maps):
    """Expanded with the fills."""
    gain = torch.tensor([1.0, 2.0, 3.0]).double()
    score = lambda x, gain: total(x) + gain  # noqa: E731
    found = perturbation_curve(score, images, maps, None, gain, n_windows=2, n_fills=4)
    for i in range(3):
        single = perturbation_curve(
            score, images[i : i + 1], maps[i : i + 1], None, gain[i : i + 1], n_windows=2, n_fills=4
        )
        assert_close(found[i : i + 1], single, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 13}, r"window must be at most as large as the images, \(12, 12\); got 13"),
        ({"window": 0}, "window must be a whole number"),
        ({"n_windows": 0}, "n_windows must be a whole number"),
        ({"n_windows": 50, "window": 4}, r"n_windows must fit .* got 50 of 4 x 4 pixels, and room for \d"),
        ({"n_fills": 0}, "n_fills must be"),
        (
            {"low": torch.zeros(2)},
            "low must be one number, or a Tensor of one for each of the 3 colors; got 2",
        ),
        ({"perturbations_per_eval": 0}, "perturbations_per_eval must be"),
    ],
)
def test_other_settings_are_refused(images, maps, options, words):
    """Before the model runs."""
    with pytest.raises(ValueError, match=words):
        perturbation_curve(None, images, maps, **options)


def test_other_maps_and_outputs_are_refused(small_net, images, maps):
    """Of another size; outputs of 0; several outputs without a target; layers that are training."""
    with pytest.raises(
        ValueError, match=r"attributions must be maps of the inputs, \(3, 3, 12, 12\); got \(3, 3, 11, 12\)"
    ):
        perturbation_curve(small_net, images, maps[:, :, :11])
    with pytest.raises(ValueError, match="got 0 for image 0"):
        perturbation_curve(lambda x: 0 * total(x), images, maps)
    with pytest.raises(AssertionError, match="target must be given for an output of shape"):
        perturbation_curve(small_net, images, maps)
    with pytest.raises(ValueError, match=r"Call model.eval"):
        perturbation_curve(nn.Sequential(small_net, nn.Dropout()), images, maps, 1)
