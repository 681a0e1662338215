"""Weighted kernel ridge regression with an intercept."""

import math

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, Ridge

from edgefilter.methods.surrogates import KERNELS, RIDGES, as_kernel, fitted


def problem(generator, count=60, features=8, noise=0.3):
    """Return different sets, outputs that are no sum over features, and weights."""
    sets = torch.unique((torch.rand(2 * count, features, generator=generator) < 0.5).double(), dim=0)
    sets = sets[torch.randperm(len(sets), generator=generator)[:count]]
    factors = torch.randn(features, generator=generator, dtype=torch.float64)
    outputs = sets @ factors + 2 * sets[:, 0] * sets[:, 1] + 10
    outputs = outputs + noise * torch.randn(len(sets), generator=generator, dtype=torch.float64)
    return sets, outputs, 0.2 + torch.rand(len(sets), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("ridge", [0.01, 1.0, 30.0])
def test_a_linear_kernel_is_weighted_ridge_regression(ridge, generator):
    """That of scikit-learn, with an intercept."""
    sets, outputs, importance = problem(generator)
    found = fitted(sets, outputs, importance, KERNELS["linear"], ridge)
    oracle = Ridge(ridge, solver="cholesky").fit(sets.numpy(), outputs.numpy(), importance.numpy())
    np.testing.assert_allclose(found.drops().numpy(), oracle.coef_, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found(sets).numpy(), oracle.predict(sets.numpy()), rtol=0, atol=1e-10)
    assert found.ridge == ridge


def test_without_a_ridge_it_is_linear_regression(generator):
    """Weighted least squares."""
    sets, outputs, importance = problem(generator)
    found = fitted(sets, outputs, importance, KERNELS["linear"], 0)
    oracle = LinearRegression().fit(sets.numpy(), outputs.numpy(), importance.numpy())
    np.testing.assert_allclose(found.drops().numpy(), oracle.coef_, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kernel", ["rbf", "quadratic"])
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_kernels_are_those_of_scikit_learn(kernel, ridge, generator):
    """Its kernel ridge has no intercept: given ours, it finds the same function."""
    sets, outputs, importance = problem(generator)
    found = fitted(sets, outputs, importance, KERNELS[kernel], ridge)
    options = (
        {"kernel": "rbf", "gamma": 1 / 8}
        if kernel == "rbf"
        else {"kernel": "poly", "degree": 2, "gamma": 1, "coef0": 1}
    )
    oracle = KernelRidge(alpha=ridge, **options)
    oracle.fit(sets.numpy(), (outputs - found.constant).numpy(), importance.numpy())
    new = (torch.rand(40, 8, generator=generator) < 0.5).double()
    np.testing.assert_allclose(
        (found(new) - found.constant).numpy(), oracle.predict(new.numpy()), rtol=0, atol=1e-9
    )
    residuals = (importance * (outputs - found(sets))).sum()
    assert abs(float(residuals)) < 1e-9  # which is what makes the intercept the best one


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_fidelity_is_that_of_a_slow_loop(kernel, generator):
    """Fit without each sample, and predict it."""
    sets, outputs, importance = problem(generator, count=25)
    found = fitted(sets, outputs, importance, KERNELS[kernel], 0.5)
    errors = []
    for place in range(len(sets)):
        others = torch.arange(len(sets)) != place
        one = fitted(sets[others], outputs[others], importance[others], KERNELS[kernel], 0.5)
        errors.append(outputs[place] - one(sets[place : place + 1])[0])
    mean = (importance * outputs).sum() / importance.sum()
    lost = (importance * torch.stack(errors).square()).sum()
    wanted = 1 - lost / (importance * (outputs - mean).square()).sum()
    assert found.fidelity == pytest.approx(float(wanted), abs=1e-10)


def test_the_ridge_with_the_best_predictions_is_taken(generator):
    """More noise, more ridge."""
    chosen = []
    for noise in (0.0, 5.0):
        sets, outputs, importance = problem(generator, noise=noise)
        found = fitted(sets, outputs, importance, KERNELS["quadratic"])
        fits = [fitted(sets, outputs, importance, KERNELS["quadratic"], ridge).fidelity for ridge in RIDGES]
        assert found.ridge == RIDGES[int(np.argmax(fits))]
        assert found.fidelity == max(fits)
        chosen.append(found.ridge)
    assert chosen[0] < chosen[1]


def test_a_set_that_counts_twice_is_there_twice(generator):
    """Importance is a number of copies."""
    sets, outputs, _ = problem(generator, count=20)
    twice = torch.cat([sets, sets[:5]])
    importance = torch.ones(20).double()
    importance[:5] = 2
    found = fitted(sets, outputs, importance, KERNELS["linear"], 1.0)
    oracle = Ridge(1.0, solver="cholesky").fit(twice.numpy(), torch.cat([outputs, outputs[:5]]).numpy())
    np.testing.assert_allclose(found.drops().numpy(), oracle.coef_, rtol=0, atol=1e-10)


def test_a_set_that_does_not_count_changes_nothing(generator):
    """Importance 0."""
    sets, outputs, importance = problem(generator, count=30)
    wanted = fitted(sets[1:], outputs[1:], importance[1:], KERNELS["rbf"], 0.1)
    importance[0], outputs[0] = 0, 1e6
    found = fitted(sets, outputs, importance, KERNELS["rbf"], 0.1)
    torch.testing.assert_close(found.drops(), wanted.drops(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("kernel", list(KERNELS))
@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_a_constant_has_no_drops(kernel, value, generator):
    """Exactly, and nothing to predict."""
    sets, outputs, importance = problem(generator)
    found = fitted(sets, torch.full_like(outputs, value), importance, KERNELS[kernel])
    assert found.drops().abs().max() == 0
    assert found.constant == value
    assert math.isnan(found.fidelity)


def test_wrong_kernels_are_refused(generator):
    """By name, and by what they return."""
    with pytest.raises(ValueError, match="got 'rfb'; did you mean 'rbf'"):
        as_kernel("rfb")
    sets, outputs, importance = problem(generator)
    for kernel in (lambda a, b: a.sum(1), lambda a, b: 0, lambda a, b: a @ b.T * math.nan):
        with pytest.raises(ValueError, match="kernel must return finite numbers of shape"):
            fitted(sets, outputs, importance, kernel)
