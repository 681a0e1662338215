"""Arguments that several methods share."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from edgefilter.methods import MFPP, grid_fragments
from edgefilter.methods.arguments import (
    check_evaluation,
    generator_of,
    imported,
    input_tensors,
    one_input,
    whole_number,
)


def test_one_tensor_is_taken_alone_or_in_a_tuple():
    """And comes back detached."""
    image = torch.rand(2, 3, 4, 4, requires_grad=True)
    for given, wrapped in ((image, False), ((image,), True)):
        found, several = one_input(given)
        assert several is wrapped
        assert not found.requires_grad
        assert found.equal(image)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([1.0], TypeError, "got list. Pass the images as one tensor"),
        ((torch.rand(1, 1, 2, 2),) * 2, TypeError, "got a tuple of 2"),
        (torch.rand(3, 4, 4), ValueError, r"got torch.float32 of shape \(3, 4, 4\)"),
        (torch.ones(1, 1, 2, 2, dtype=torch.int64), ValueError, "got torch.int64"),
        (torch.rand(0, 1, 2, 2), ValueError, "Preprocess the images"),
    ],
)
def test_other_inputs_are_refused(given, error, words):
    """By what they are, and with what to do."""
    with pytest.raises(error, match=words):
        one_input(given)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3"])
def test_counts_are_whole_numbers(value):
    """Not even a float that is whole."""
    with pytest.raises(
        ValueError, match=r"n must be a whole number of at least 1; got .*Pass for example n=1"
    ):
        whole_number(value, "n")


def test_numbers_of_numpy_count_as_well():
    """And become Python's."""
    assert type(whole_number(np.int64(3), "n")) is int
    assert generator_of(np.int32(7)).initial_seed() == 7
    with pytest.raises(ValueError, match="n must be a whole number"):
        whole_number(np.float64(3), "n")
    with pytest.raises(ValueError, match="n must be a whole number"):
        whole_number(np.bool_(1), "n")


def test_a_seed_starts_a_generator_and_a_generator_goes_on():
    """The same numbers again, or the next ones."""
    first = torch.rand(3, generator=generator_of(7))
    assert torch.rand(3, generator=generator_of(7)).equal(first)
    mine = torch.Generator().manual_seed(7)
    assert torch.rand(3, generator=generator_of(mine)).equal(first)
    assert not torch.rand(3, generator=generator_of(mine)).equal(first)
    with pytest.raises(ValueError, match="seed must be"):
        generator_of(1.5)


def test_several_tensors_of_one_length():
    """Detached, of any axes; also those that were made in inference mode."""
    pair = (torch.rand(2, 3, requires_grad=True), torch.rand(2, 1, 4, 4))
    parts, several = input_tensors(pair)
    assert several
    assert not any(part.requires_grad for part in parts)
    assert pair[0].requires_grad
    with torch.inference_mode():
        made = torch.rand(2, 3)
        ((part,), several) = input_tensors(made)
    assert not several
    assert not part.is_inference()
    part.requires_grad_()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([torch.rand(2)], TypeError, "inputs must be a Tensor, or a tuple of them; got list"),
        ((torch.rand(2), 3), TypeError, "got int in a tuple"),
        ((), TypeError, "got an empty tuple"),
        (torch.tensor(1.0), ValueError, r"got torch.float32 of shape \(\)"),
        (torch.rand(0, 3), ValueError, "N of at least 1"),
        ((torch.rand(2), torch.rand(3)), ValueError, r"one length N; got \[2, 3\]"),
    ],
)
def test_other_tensors_are_refused(given, error, words):
    """By what they are, and with what to do."""
    with pytest.raises(error, match=words):
        input_tensors(given)


@pytest.mark.parametrize(
    "layer", [nn.Dropout2d(), nn.BatchNorm2d(3), nn.InstanceNorm1d(3), nn.RReLU(), nn.AlphaDropout()]
)
def test_layers_that_train_are_named(layer):
    """Those that compute something else then; others may train."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), layer)
    with pytest.raises(
        ValueError, match=rf"layer '2' \({type(layer).__name__}\) is training. Call model.eval\(\) first"
    ):
        check_evaluation(model)
    check_evaluation(model.eval())
    check_evaluation(model[:2].train())
    check_evaluation(lambda images: images)


def test_what_is_missing_is_named():
    """And how to get it."""
    with pytest.raises(
        ImportError, match=r"no_such_library is required for this; run pip install 'edgefilter\[demo\]'"
    ):
        imported("no_such_library", "this")


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_a_frozen_scripted_model_is_a_function_like_any_other():
    """It has no training flag."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    image = torch.rand(1, 1, 6, 6)
    frozen = torch.jit.freeze(torch.jit.trace(model, image))
    masks = {"segments": [grid_fragments(6, 2)], "n_masks": 20, "target": 1}
    assert_close(MFPP(frozen).attribute(image, **masks), MFPP(model).attribute(image, **masks))
