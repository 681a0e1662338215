"""Weighted kernel ridge regression with an intercept, and how well it predicts what it was not fitted to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edgefilter._checks import closest

__all__ = ["KERNELS", "RIDGES", "Surrogate", "as_kernel", "fitted"]

Kernel = Callable[[Tensor, Tensor], Tensor]

# For Lite0 on the demo photo the best are 0.01 (rbf) and 10 (linear, quadratic); what a kernel can say exactly needs next to nothing.
RIDGES = tuple(10.0**power for power in range(-6, 4))


def _linear(one: Tensor, other: Tensor) -> Tensor:
    return one @ other.T


def _quadratic(one: Tensor, other: Tensor) -> Tensor:
    return (1 + one @ other.T).square()


def _rbf(one: Tensor, other: Tensor) -> Tensor:
    apart = one.square().sum(1)[:, None] + other.square().sum(1) - 2 * one @ other.T
    return (-apart / one.shape[1]).exp()


KERNELS: Mapping[str, Kernel] = MappingProxyType({"rbf": _rbf, "linear": _linear, "quadratic": _quadratic})


class Surrogate(NamedTuple):
    """A function of sets of features that was fitted to the outputs of a model.

    Attributes
    ----------
    samples : Tensor, shape (M, K), float64
        The sets that it was fitted to: 1 for a feature that is there, 0 for one that is not.
    weights : Tensor, shape (M,), float64
        What the kernel's values at the samples are multiplied with.
    constant : float
    kernel : callable
    ridge : float
    fidelity : float
        R2 of leave-one-out predictions: 1 if each sample is predicted by the others, 0 or less if no better than by the mean; NaN if the outputs
        are all the same.
    """

    samples: Tensor
    weights: Tensor
    constant: float
    kernel: Kernel
    ridge: float
    fidelity: float

    def __call__(self, sets: Tensor) -> Tensor:
        """Return its values at sets of features (S, K), shape (S,), float64."""
        return self.constant + self.kernel(sets.double(), self.samples) @ self.weights

    def drops(self) -> Tensor:
        """Return what it loses when a feature is taken from all of them, shape (K,), float64."""
        size = self.samples.shape[1]
        every = self.samples.new_ones(1, size)
        return (
            self.kernel(every, self.samples) - self.kernel(every - torch.eye(size).double(), self.samples)
        ) @ self.weights

    def __repr__(self) -> str:
        return f"Surrogate({len(self.samples)} samples, {self.samples.shape[1]} features, fidelity {self.fidelity:.3f})"


class _Fit(NamedTuple):
    """A fit with one ridge, in the basis of the kernel's eigenvectors."""

    weights: Tensor
    constant: Tensor
    ridge: float
    error: float


def as_kernel(kernel: Any) -> Kernel:
    """Return a kernel by its name, or one of your own.

    Raises
    ------
    ValueError
        If there is no such kernel.

    Examples
    --------
    >>> as_kernel("linear")(torch.tensor([[1.0, 0, 1]]), torch.tensor([[1.0, 1, 1]]))
    tensor([[2.]])
    """
    if callable(kernel):
        return kernel  # type: ignore[no-any-return]
    if kernel not in KERNELS:
        raise ValueError(
            f"kernel must be one of {', '.join(KERNELS)}, or a callable; got {kernel!r}{closest(str(kernel), KERNELS)}"
        )
    return KERNELS[kernel]


def fitted(
    samples: Tensor, outputs: Tensor, importance: Tensor, kernel: Kernel, ridge: float | None = None
) -> Surrogate:
    r"""Fit a surrogate to the outputs of a model.

    Parameters
    ----------
    samples : Tensor, shape (M, K)
        Sets of features, no two the same.
    outputs, importance : Tensor, shape (M,), float64
        The model's outputs for them, and the weight of each.
    kernel : callable
        Takes (M, K) and (S, K), float64; returns (M, S).
    ridge : float, optional
        Default: of ``RIDGES`` the one with the best leave-one-out predictions.

    Returns
    -------
    surrogate : Surrogate

    Notes
    -----
    :math:`g(z) = b + \sum_m \alpha_m k(z, z_m)` minimizes :math:`\sum_m w_m (y_m - g(z_m))^2 + \lambda \, \alpha^T G \alpha`; the intercept
    :math:`b` is not penalized. With :math:`S = \mathrm{diag}(\sqrt{w})`, :math:`\alpha = S \beta` and the eigenvectors of :math:`S G S`, :math:`G` the kernel's values among the sets, a
    ridge more costs next to nothing, and so do the predictions of each sample by the others.

    Examples
    --------
    >>> every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    >>> surrogate = fitted(every, (every @ torch.tensor([3.0, -1.0, 0.0])).double() + 5, torch.ones(8).double(), KERNELS["linear"], 0)
    >>> surrogate.drops().round(decimals=6).abs()
    tensor([3., 1., 0.], dtype=torch.float64)
    """
    samples, root = samples.double(), importance.double().sqrt()
    gram = _gram(kernel, samples)
    # eigenvalues below this are rounding: the function does not see their eigenvectors
    values, vectors = torch.linalg.eigh(root[:, None] * gram * root)
    tiny = float(len(samples) * torch.finfo(torch.float64).eps * values.abs().max())
    values = torch.where(values > tiny, values, 0)
    shifted = root * (outputs - outputs[0])  # of a constant, exactly zero
    fits = [_fit(values, vectors, shifted, root, one, tiny) for one in (RIDGES if ridge is None else [ridge])]
    best = min(fits, key=lambda fit: math.inf if math.isnan(fit.error) else fit.error)
    mean = (root * shifted).sum() / root.square().sum()
    spread = float((shifted - root * mean).square().sum())
    return Surrogate(
        samples=samples,
        weights=root * best.weights,
        constant=float(outputs[0] + best.constant),
        kernel=kernel,
        ridge=best.ridge,
        fidelity=1 - best.error / spread if spread > 0 else math.nan,
    )


def _fit(values: Tensor, vectors: Tensor, outputs: Tensor, root: Tensor, ridge: float, tiny: float) -> _Fit:
    """Fit with one ridge, and sum up the squared errors of leave-one-out predictions."""
    inverse = 1 / (values + max(ridge, tiny))
    y, one = vectors.T @ outputs, vectors.T @ root
    norm = (one.square() * inverse).sum()
    constant = (one * inverse * y).sum() / norm
    beta = inverse * (y - constant * one)
    leverage = vectors.square() @ inverse - (vectors @ (inverse * one)).square() / norm
    errors = (vectors @ beta) / leverage
    return _Fit(vectors @ torch.where(values > 0, beta, 0), constant, ridge, float(errors.square().sum()))


def _gram(kernel: Kernel, samples: Tensor) -> Tensor:
    """Return a kernel's values among samples, symmetric to the last digit."""
    found = kernel(samples, samples)
    count = len(samples)
    if not isinstance(found, Tensor) or found.shape != (count, count) or not bool(found.isfinite().all()):
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"kernel must return finite numbers of shape (M, S) for sets of shape (M, K) and (S, K); got {got} for {count} and {count}. "
            "Compare each row of the first with each row of the second."
        )
    return (found + found.T).double() / 2
