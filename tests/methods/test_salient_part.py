"""The salient part of an image alone: what is kept, what fills the rest, and whether the class is recovered."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn
from torch.testing import assert_close

from edgefilter.methods import SalientPart, salient_part_score


@pytest.fixture
def images():
    return torch.rand(3, 2, 6, 8, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture
def maps():
    return torch.randn(3, 1, 6, 8, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(96, 4)).double()


class Seen:
    """A score that keeps what it was given."""

    def __init__(self):
        self.given = []

    def __call__(self, x):
        self.given.append(x)
        return x.sum((1, 2, 3))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 1])
def test_the_most_salient_pixels_are_kept(images, maps, share):
    """By hand: so many of the largest, with all their channels; the rest is the baseline."""
    score = Seen()
    found = salient_part_score(score, images, maps, share=share, baselines=-2.0)
    whole, part = score.given
    assert torch.equal(whole, images)
    for n in range(3):
        ranked = sorted(range(48), key=lambda k: -float(maps[n].flatten()[k]))
        kept = set(ranked[: round(share * 48)])
        for k in range(48):
            expected = images[n].flatten(1)[:, k] if k in kept else torch.full((2,), -2.0).double()
            assert torch.equal(part[n].flatten(1)[:, k], expected)
            assert bool(found.mask[n].flatten()[k]) is (k in kept)


def test_channels_are_added_and_equal_values_taken_row_by_row(images):
    """A flat map keeps the upper rows."""
    maps = torch.randn(3, 2, 6, 8, generator=torch.Generator().manual_seed(1)).double()
    found, added = (
        salient_part_score(Seen(), images, m, share=0.2).mask for m in (maps, maps.sum(1, keepdim=True))
    )
    assert torch.equal(found, added)
    flat = salient_part_score(Seen(), images, torch.zeros(3, 1, 6, 8), share=0.5).mask
    assert flat[:, :, :3].all()
    assert not flat[:, :, 3:].any()
    assert int(salient_part_score(Seen(), images, maps, share=1e-9).mask.sum()) == 3  # one pixel each


def test_what_fills_the_rest(images, maps):
    """A Gaussian of 5 in 224 pixels, channel means, or a baseline."""
    blurred = np.stack(
        [
            ndimage.gaussian_filter(
                one.numpy(), (30 / 224, 40 / 224), mode="nearest", truncate=1e-9 + np.ceil(3 * s) / s
            )
            for one in images.flatten(0, 1)
            for s in (40 / 224,)
        ]
    )
    each = torch.rand_like(images)
    for baselines, expected in (
        ("blur", torch.from_numpy(blurred).reshape(images.shape)),
        ("mean", images.mean((2, 3), keepdim=True).expand_as(images)),
        (None, torch.zeros_like(images)),
        (0.5, torch.full_like(images, 0.5)),
        (each[:1], each[:1].expand_as(images)),
        (each, each),
    ):
        score = Seen()
        mask = salient_part_score(score, images, maps, baselines=baselines).mask.expand_as(images)
        assert_close(score.given[1][~mask], expected[~mask], rtol=0, atol=1e-6)
        assert torch.equal(score.given[1][mask], images[mask])


def test_the_ratio_is_of_the_targets_probability(model, images, maps):
    """Of the predicted class by default; recovered where the largest output is the same."""
    found = salient_part_score(model, images, maps, baselines=0)
    part = model(torch.where(found.mask, images, 0)).softmax(1)
    whole = model(images).softmax(1)
    first = whole.argmax(1)
    assert isinstance(found, SalientPart)
    for n in range(3):
        assert_close(found.ratio[n], part[n, first[n]] / whole[n, first[n]])
        assert bool(found.recovered[n]) is (int(part[n].argmax()) == int(first[n]))
    third = salient_part_score(model, images, maps, [3, 1, 1], baselines=0)
    assert_close(third.part, torch.stack([part[0, 3], part[1, 1], part[2, 1]]))
    assert_close(third.whole, torch.stack([whole[0, 3], whole[1, 1], whole[2, 1]]))
    assert torch.equal(third.recovered, found.recovered)


def test_probabilities_are_taken_as_they_are_and_a_softmax_can_be_chosen(model, images, maps):
    """By default, outputs are turned into probabilities if they are none."""
    plain = salient_part_score(model, images, maps, 2)
    same = salient_part_score(lambda x: model(x).softmax(1), images, maps, 2)
    assert_close(same.ratio, plain.ratio)
    outputs = salient_part_score(model, images, maps, 2, softmax=False)
    assert_close(outputs.whole, model(images)[:, 2])
    again = salient_part_score(lambda x: model(x).softmax(1), images, maps, 2, softmax=True)
    assert_close(again.whole, model(images).softmax(1).softmax(1)[:, 2])


def test_the_whole_image_is_recovered(model, images, maps):
    """The share of 1, for each form of a score."""
    found = salient_part_score(model, images, maps, share=1)
    assert found.recovered.all()
    assert torch.equal(found.ratio, torch.ones(3).double())
    alone = salient_part_score(Seen(), (images,), (maps,), share=1.0)
    assert alone.recovered is None
    assert torch.equal(alone.whole, images.sum((1, 2, 3)))


def test_a_class_is_lost_without_the_part_that_makes_it():
    """A bright corner against a dark image: the map of the corner recovers it, the opposite map does not."""
    image = torch.zeros(1, 1, 6, 6)
    image[..., :2, :2] = 1
    bright = torch.nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    with torch.no_grad():
        bright[1].weight.copy_(torch.stack([torch.zeros(36), torch.ones(36)]))
        bright[1].bias.copy_(torch.tensor([2.0, 0.0]))
    assert salient_part_score(bright, image, image, share=0.12, baselines=0).recovered.tolist() == [True]
    assert salient_part_score(bright, image, -image, share=0.12, baselines=0).recovered.tolist() == [False]


def test_further_arguments_and_the_model_are_left_as_they_are(model, images, maps):
    """And no graph is made."""
    wanting = images.clone().requires_grad_()
    found = salient_part_score(lambda x, s: model(x) * s, wanting, maps, additional_forward_args=2.0)
    assert not found.ratio.requires_grad
    assert wanting.grad is None
    with torch.inference_mode():
        assert torch.equal(
            salient_part_score(model, images.clone(), maps).ratio,
            salient_part_score(model, images, maps).ratio,
        )
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"share": 0}, ValueError, "share must be above 0 and at most 1; got 0"),
        ({"share": 1.5}, ValueError, "share must be"),
        ({"baselines": "black"}, ValueError, "baselines must be 'blur', 'mean', a number or a Tensor; got 'black'"),
        ({"attributions": torch.zeros(3, 6, 8)}, ValueError, r"attributions must have shape \(3, 1, 6, 8\) or \(3, 2, 6, 8\); got \(3, 6, 8\)"),
        ({"attributions": [1]}, TypeError, "attributions must be a Tensor; got list"),
        ({"attributions": torch.full((3, 1, 6, 8), float("nan"))}, ValueError, "attributions must be finite"),
        ({"target": 9}, IndexError, "target must be between 0 and 3; got 9"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(model, images, maps, options, error, words):
    """In the house's words."""
    with pytest.raises(error, match=words):
        salient_part_score(**{"forward_func": model, "inputs": images, "attributions": maps, **options})


def test_it_shows_itself_in_one_line(model, images, maps):
    """The mask does not fit in it."""
    found = repr(salient_part_score(model, images, maps, share=1.0))
    count = len(images)
    assert found == f"SalientPart({count} images, ratio {', '.join(['1'] * count)}, {count} recovered)"
