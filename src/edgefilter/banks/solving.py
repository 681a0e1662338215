"""Least squares in a basis of flattened kernels: its rank and its pseudo-inverse."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .kernel import Array

__all__ = ["Solver", "solver"]


class Solver(NamedTuple):
    """The rank of a basis, and the matrix that finds coefficients in it."""

    rank: int
    inverse: Array  # shape (height * width, K): flat weight @ inverse = coefficients


def solver(basis: Array) -> Solver:
    """Return rank and pseudo-inverse of the flattened kernels; orthonormal rows need no decomposition."""
    count, pixels = basis.shape
    if count <= pixels and np.abs(basis @ basis.T - np.eye(count)).max() < 1e-12:
        return Solver(count, basis.T)
    norms = np.linalg.norm(basis, axis=1)
    norms[norms == 0] = 1.0
    unit = _pseudo_inverse(basis / norms[:, None])  # so that the units of single kernels do not matter
    if unit.rank == count:  # the coefficients are unique
        return Solver(count, unit.inverse / norms)
    return Solver(unit.rank, _pseudo_inverse(basis, unit.rank).inverse)


def _pseudo_inverse(basis: Array, rank: int | None = None) -> Solver:
    left, values, right = np.linalg.svd(basis, full_matrices=False)
    if rank is None:
        rank = int((values > values[0] * max(basis.shape) * np.finfo(np.float64).eps).sum())
    return Solver(rank, (right[:rank].T / values[:rank]) @ left[:, :rank].T)
