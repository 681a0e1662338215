"""The points of SmoothTaylor."""

import pytest
import torch

from edgefilter.methods.roots import as_roots


def drawn(inputs, size, **options):
    given = {"given": None, "n_samples": 5, "stdevs": 0.5, "seed": 0, **options}
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    return list(as_roots(inputs=parts, several=isinstance(inputs, tuple), **given).some(size))


@pytest.mark.parametrize("size", [1, 2, 5, 9, None])
def test_rows_of_an_example_stand_together(size):
    """As in NoiseTunnel: the samples of the first example, then those of the second; the same points in every size."""
    inputs = torch.arange(3.0)[:, None].expand(3, 2)
    roots = torch.arange(5.0)[:, None, None] * 10 + inputs
    found = drawn(inputs, size, given=roots)
    assert sum(count for count, _ in found) == 5
    samples = torch.cat([rows.unflatten(0, (3, count)).transpose(0, 1) for count, (rows,) in found])
    assert torch.equal(samples, roots)


def test_examples_share_the_unit_noise():
    """Each times its deviation."""
    inputs = torch.zeros(3, 4)
    ((_, (rows,)),) = drawn(inputs, None, stdevs=torch.tensor([1.0, 2.0, 0.0]))
    one, two, none = rows.unflatten(0, (3, 5))
    assert torch.equal(two, 2 * one)
    assert torch.equal(none, torch.zeros(5, 4))
    assert len(one.unique()) == 20


def test_a_function_is_called_once_for_each_sample_in_order():
    """With the inputs in the user's form."""
    seen = []

    def roots(inputs, index):
        seen.append((inputs, index))
        return inputs

    inputs = torch.zeros(2, 3)
    drawn(inputs, 2, given=roots)
    assert [index for _, index in seen] == [0, 1, 2, 3, 4]
    assert isinstance(seen[0][0], torch.Tensor)
    drawn((inputs, inputs), 2, given=roots)
    assert isinstance(seen[-1][0], tuple)


def test_examples_may_share_their_points():
    """With an axis of one example."""
    inputs, roots = torch.zeros(3, 4), torch.rand(5, 1, 4)
    ((_, (rows,)),) = drawn(inputs, None, given=roots)
    ((_, (expected,)),) = drawn(inputs, None, given=roots.expand(5, 3, 4))
    assert torch.equal(rows, expected)
