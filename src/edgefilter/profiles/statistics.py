"""Counts, means and sums of squared deviations that merge."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["add_moments", "merge_moments", "moments_of", "of_moments", "writable"]


def merge_moments(parts: Tensor) -> Tensor:
    """Merge the moments of disjoint samples, by the formulae of Chan et al.

    Parameters
    ----------
    parts : Tensor, shape (P, ..., 1 + 2 * D)
        Of each of ``P`` samples the count, ``D`` means and ``D`` sums of squared deviations from them; all zero for an
        empty sample.

    Returns
    -------
    moments : Tensor, shape (..., 1 + 2 * D)
        Those of all samples together.

    References
    ----------
    Chan, Golub & LeVeque, "Algorithms for computing the sample variance", The American Statistician 37(3), 1983.

    Examples
    --------
    Of the samples 1, 3 and 5, 7:

    >>> merge_moments(torch.tensor([[2.0, 2.0, 2.0], [2.0, 6.0, 2.0]]))
    tensor([ 4.,  4., 20.])
    """
    count, mean, squares = _parts(parts)
    total = count.sum(0)
    center = mean[0]  # differences from here are small, and so are their rounding errors
    merged = center + (count / total.clamp(min=1) * (mean - center)).sum(0)
    squares = squares.sum(0) + (count * (mean - merged).square()).sum(0)
    return torch.cat([total, merged, squares], dim=-1)


def moments_of(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the classes in a batch, and the moments of each.

    Parameters
    ----------
    values : Tensor, shape (N, D), float64
    labels : Tensor, shape (N,), integers

    Returns
    -------
    classes : Tensor, shape (U,)
        The classes that occur, in ascending order.
    moments : Tensor, shape (U, 1 + 2 * D)

    Examples
    --------
    >>> moments_of(torch.tensor([[1.0], [3.0], [9.0]]).double(), torch.tensor([4, 4, 7]))
    (tensor([4, 7]), tensor([[2., 2., 2.], [1., 9., 0.]], dtype=torch.float64))
    """
    classes, place, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    count = counts[:, None].to(values)
    empty = values.new_zeros(len(classes), values.shape[1])
    mean = empty.index_add(0, place, values) / count
    squares = empty.index_add(0, place, (values - mean[place]).square())
    return classes, torch.cat([count, mean, squares], dim=1)


def add_moments(moments: Tensor, values: Tensor, labels: Tensor) -> Tensor:
    """Return the moments of all classes with a batch taken in, in the same memory where it may be written to.

    Parameters
    ----------
    moments : Tensor, shape (classes, 1 + 2 * D), float64
    values : Tensor, shape (N, D), float64
    labels : Tensor, shape (N,), integers

    Examples
    --------
    >>> add_moments(torch.zeros(2, 3).double(), torch.tensor([[1.0], [3.0]]).double(), torch.tensor([1, 1]))
    tensor([[0., 0., 0.],
            [2., 2., 2.]], dtype=torch.float64)
    """
    classes, batch = moments_of(values, labels)
    moments = writable(moments)
    moments[classes] = merge_moments(torch.stack([moments[classes], batch]))
    return moments


def writable(state: Tensor) -> Tensor:
    """Return a state, or its copy if it was made in an inference mode that has ended."""
    return state.clone() if state.is_inference() and not torch.is_inference_mode_enabled() else state


def of_moments(moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return counts (classes,), means (classes, D) and standard deviations (divisor n - 1), NaN where unknown.

    Examples
    --------
    >>> of_moments(torch.tensor([[2.0, 2.0, 2.0], [1.0, 9.0, 0.0], [0.0, 0.0, 0.0]]))
    (tensor([2., 1., 0.]), tensor([[2.],
            [9.],
            [nan]]), tensor([[1.4142],
            [   nan],
            [   nan]]))
    """
    count, mean, squares = _parts(moments)
    std = (squares / (count - 1).clamp(min=1)).sqrt()
    return count[:, 0], mean.where(count > 0, math.nan), std.where(count > 1, math.nan)


def _parts(moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    width = moments.shape[-1] // 2
    return moments[..., :1], moments[..., 1 : 1 + width], moments[..., 1 + width :]
