"""The model's output for masked copies of images."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from edgefilter.methods.masking import MaskedScores


@pytest.fixture
def images():
    return torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture
def masks():
    return torch.rand(7, 3, 2, 4, 5, generator=torch.Generator().manual_seed(1)).double()


def total(x):
    """Five outputs, each another sum of an image."""
    return torch.stack([(x * (k + 1)).sum((1, 2, 3)).sin() for k in range(5)], 1)


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_scores_are_those_of_the_masked_copies(images, masks, size):
    """A loop over masks and images, however many copies go at a time."""
    baselines = torch.rand(1, 2, 4, 5).double()
    target = [4, 0, 2]
    found = MaskedScores(total, images, baselines, target, None, size).of(masks)
    for m, by_image in enumerate(masks):
        for n, mask in enumerate(by_image):
            copy = mask * images[n] + (1 - mask) * baselines[0]
            assert_close(found[m, n], total(copy[None])[0, target[n]], rtol=0, atol=1e-12)


def test_ones_keep_the_image_and_zeros_show_the_baseline(images):
    """Bit by bit, for every kind of baseline."""
    seen = []
    binary = torch.stack([torch.ones(1, 1, 4, 5), torch.zeros(1, 1, 4, 5)])
    each = torch.rand_like(images)
    for baselines, expected in (
        (None, torch.zeros_like(images)),
        (0.25, torch.full_like(images, 0.25)),
        (0.3, torch.full_like(images, 0.3)),  # not its value in float32
        (3, torch.full_like(images, 3)),
        (torch.tensor(0.5), torch.full_like(images, 0.5)),
        (each[:1].float(), each[:1].float().double().expand(3, -1, -1, -1)),
        (each, each),
        ((each,), each),
    ):
        MaskedScores(lambda x: seen.append(x) or x.sum((1, 2, 3)), images, baselines, None, None, 2).of(
            binary
        )
        assert torch.equal(seen[-1], torch.cat([images, expected]))


def test_masks_may_be_shared_by_images_and_channels(images, masks):
    """Axes of size 1 are the same as repeated masks, in any dtype."""
    scores = MaskedScores(total, images, target=1)
    shared = masks[:, :1, :1] > 0.5
    assert_close(scores.of(shared), scores.of(shared.expand(-1, 3, 2, -1, -1).double()))


@pytest.mark.parametrize(
    "target",
    [
        2,
        (2,),
        torch.tensor(2),
        torch.tensor([2]),
        [2],
        [2] * 3,
        torch.tensor([2] * 3),
        [(2,)] * 3,
        np.int64(2),
    ],
)
def test_all_forms_of_a_target(images, masks, target):
    """One class or one for each image, as Captum takes them."""
    expected = MaskedScores(lambda x: total(x)[:, 2], images).of(masks)
    assert_close(MaskedScores(total, images, target=target, perturbations_per_eval=4).of(masks), expected)


@pytest.mark.parametrize(
    "form", [lambda s: s, lambda s: s[:, None], lambda s: s.numpy(), lambda s: s.tolist()]
)
def test_a_score_alone_needs_no_target(images, masks, form):
    """In whatever form the numbers come."""
    found = MaskedScores(lambda x: form(x.sum((1, 2, 3))), images).of(masks)
    assert found.dtype == torch.float64
    assert_close(found, (masks * images).sum((2, 3, 4)))


@pytest.mark.parametrize("form", [float, np.float32, lambda s: s])
def test_a_number_alone_is_the_score_of_one_copy(images, masks, form):
    """As Captum takes it; of several copies it is no score."""
    one = MaskedScores(lambda x: form(x.sum()), images[:1])
    assert_close(one.of(masks[:, :1]), (masks[:, :1] * images[:1]).sum((2, 3, 4)), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="one row for each of the 3 inputs"):
        MaskedScores(lambda x: form(x.sum()), images).of(masks)


def test_counts_are_scores(images):
    """Whole numbers, such as how many pixels are bright."""
    found = MaskedScores(lambda x: (x > 0.5).sum((1, 2, 3)), images).of(torch.ones(1, 1, 1, 4, 5))
    assert torch.equal(found[0], (images > 0.5).sum((1, 2, 3)).double())


def test_further_arguments_go_with_their_images(images, masks):
    """Tensors have an entry for each image; others are passed as they are."""
    factor = torch.tensor([1.0, 10.0, 100.0]).double()

    def scaled(x, factor, name):
        assert name == "plain"
        return x.sum((1, 2, 3)) * factor

    found = MaskedScores(scaled, images, None, None, (factor, "plain"), 3).of(masks)
    assert_close(found, (masks * images).sum((2, 3, 4)) * factor)


def test_other_classes_may_be_infinite(images):
    """Log-probabilities of zero, in classes that are not asked for."""
    scores = MaskedScores(
        lambda x: torch.stack([x.sum((1, 2, 3)), -torch.ones(len(x)) / 0], 1), images, target=0
    )
    assert_close(scores.of(torch.ones(1, 1, 1, 4, 5))[0], images.sum((1, 2, 3)))


def test_the_model_is_untouched_and_makes_no_graph(images, masks):
    """Also where gradients are on and the images want them."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(40, 5)).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wanting = images.clone().requires_grad_()
    seen = []
    scores = MaskedScores(lambda x: seen.append(torch.is_grad_enabled()) or model(x), wanting, target=0).of(
        masks
    )
    assert seen == [False] * 7
    assert not scores.requires_grad
    assert wanting.requires_grad
    assert wanting.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"forward_func": 3}, TypeError, "forward_func must be callable; got int"),
        ({"baselines": "black"}, TypeError, "baselines must be None, a number or a Tensor; got str"),
        ({"baselines": torch.zeros(2, 4, 5)}, ValueError, r"got \(2, 4, 5\). Add a batch axis"),
        ({"baselines": torch.zeros(2, 2, 4, 5)}, ValueError, r"got \(2, 2, 4, 5\)"),
        ({"target": [1, 2]}, AssertionError, "one for each of the 3 images; got 2"),
        ({"target": 1.5}, TypeError, "target must be an integer"),
        ({"perturbations_per_eval": 0}, ValueError, "perturbations_per_eval must be a whole number of at least 1; got 0"),
    ],
)  # fmt: skip
def test_arguments_are_refused_before_the_model_runs(images, arguments, error, words):
    """By what they are, and with what to do."""
    with pytest.raises(error, match=words):
        MaskedScores(**{"forward_func": total, "images": images, **arguments})


@pytest.mark.parametrize(
    ("forward", "target", "error", "words"),
    [
        (total, None, AssertionError, "target must be given"),
        (total, 5, IndexError, "target must be between 0 and 4; got 5"),
        (lambda x: x.sum(), None, ValueError, "one row for each of the 6 inputs"),
        (lambda x: (x,), 0, TypeError, "model must return one tensor; got tuple"),
        (lambda x: x.sum((1, 2, 3)) / 0, None, ValueError, "must return finite numbers; got NaN or infinity .* image 0"),
    ],
)  # fmt: skip
def test_outputs_that_are_no_scores_are_refused(images, masks, forward, target, error, words):
    """One finite number for each copy."""
    with pytest.raises(error, match=words):
        MaskedScores(forward, images, target=target, perturbations_per_eval=2).of(masks)


@pytest.mark.parametrize(
    "shape", [(7, 2, 1, 4, 5), (7, 3, 3, 4, 5), (7, 1, 1, 5, 4), (7, 1, 4, 5), (0, 1, 1, 4, 5)]
)
def test_masks_must_fit_the_images(images, shape):
    """The message has the shape that would."""
    with pytest.raises(ValueError, match=r"masks must have shape \(masks, 3 or 1, 2 or 1, 4, 5\); got"):
        MaskedScores(total, images, target=0).of(torch.ones(shape))
