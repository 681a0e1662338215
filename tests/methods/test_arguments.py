"""Arguments that several methods share."""

import pytest
import torch

from edgefilter.methods.arguments import generator_of, one_input, whole_number


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


def test_a_seed_starts_a_generator_and_a_generator_goes_on():
    """The same numbers again, or the next ones."""
    first = torch.rand(3, generator=generator_of(7))
    assert torch.rand(3, generator=generator_of(7)).equal(first)
    mine = torch.Generator().manual_seed(7)
    assert torch.rand(3, generator=generator_of(mine)).equal(first)
    assert not torch.rand(3, generator=generator_of(mine)).equal(first)
    with pytest.raises(ValueError, match="seed must be"):
        generator_of(1.5)
