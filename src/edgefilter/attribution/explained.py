"""What is explained of a model's outputs: one of them, a difference of them, or its log odds."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from captum._utils.common import _select_targets
from torch import Tensor

from .arguments import Against, Target

__all__ = ["ExplainedOutput", "LogOdds", "Tangent", "Weighted", "explained_of", "output_weights"]

CLASSES = "against={!r} must have an output of shape (N, classes) with two classes or more; got {}. {}"


class Tangent(NamedTuple):
    """The linear function that touches what is explained at some outputs.

    Attributes
    ----------
    weights : Tensor, shaped as the outputs
        Its gradient there.
    rest : Tensor, shape (N,)
        What is explained, minus the sum of the outputs times the weights.
    """

    weights: Tensor
    rest: Tensor


class ExplainedOutput(Protocol):
    """A number for each image, made of its outputs."""

    def value(self, output: Tensor) -> Tensor:
        """Return it for outputs of shape (..., N, classes or more axes), shape (..., N); can be differentiated."""

    def tangent(self, output: Tensor) -> Tangent:
        """Return the linear function that touches it at outputs of shape (N, classes or more axes)."""


class Weighted(NamedTuple):
    """A sum of the outputs times factors: one output, or its difference from others.

    Examples
    --------
    >>> Weighted(torch.tensor([[1.0, -0.5, -0.5]])).value(torch.tensor([[3.0, 2.0, 0.0]]))
    tensor([2.])
    """

    weights: Tensor

    def value(self, output: Tensor) -> Tensor:
        """Return the sums."""
        batch = output.dim() - self.weights.dim() + 1
        return (output * self.weights).reshape(*output.shape[:batch], -1).sum(-1)

    def tangent(self, output: Tensor) -> Tangent:
        """Return the factors, which are the same everywhere, and nothing beside them."""
        return Tangent(self.weights, output.new_zeros(len(output)))


class LogOdds(NamedTuple):
    r"""The log odds of one of :math:`K` outputs, counted from chance.

    .. math::

        \log \frac{p_c}{1 - p_c} + \log (K - 1) = z_c - \log \frac{1}{K - 1} \sum_{j \ne c} e^{z_j} ,
        \quad p = \mathrm{softmax}(z)

    Its gradient is 1 for the output and :math:`-q_j` for the others, their softmax among themselves; the rest of its tangent is the
    relative entropy of :math:`q` and the uniform distribution.

    Attributes
    ----------
    chosen : Tensor, shape (N, K), bool
        True for the output of each image.

    Examples
    --------
    Three outputs that are equal; and one of three with a probability of 1/2, so that its odds are 1, twice those of chance:

    >>> odds = LogOdds(torch.tensor([[True, False, False]]))
    >>> odds.value(torch.zeros(1, 3)), odds.value(torch.tensor([[2.0, 1.0, 1.0]]).log()).exp()
    (tensor([0.]), tensor([2.]))
    """

    chosen: Tensor

    def value(self, output: Tensor) -> Tensor:
        """Return the log odds."""
        own = torch.where(self.chosen, output, 0).sum(-1, keepdim=True)
        return self._chance(output) - self._others(output - own).logsumexp(-1)

    def tangent(self, output: Tensor) -> Tangent:
        """Return the gradient, and the relative entropy."""
        others = self._others(output).softmax(-1)
        entropy = torch.special.entr(others).sum(-1)
        return Tangent(self.chosen.to(output) - others, self._chance(output) - entropy)

    def _chance(self, output: Tensor) -> Tensor:
        """Return log (K - 1), rounded as the value is, so that equal outputs give exactly 0."""
        return self._others(torch.zeros_like(output)).logsumexp(-1)

    def _others(self, values: Tensor) -> Tensor:
        return values.masked_fill(self.chosen, -math.inf)


def explained_of(output: Tensor, target: Target, against: Against = None) -> ExplainedOutput:
    """Return what is explained of outputs like these.

    Raises
    ------
    ValueError, IndexError, AssertionError
        If the target or what it is compared with does not fit the outputs.
    """
    weights = output_weights(output, target)
    if against is None:
        return Weighted(weights)
    if isinstance(against, str):
        if output.dim() != 2 or output.shape[1] < 2:
            single = against == "odds" and output.numel() == len(output)
            advice = (
                "A single logit is its log odds already: use against=None." if single else "Use against=None."
            )
            raise ValueError(CLASSES.format(against, tuple(output.shape), advice))
        return (
            LogOdds(weights != 0)
            if against == "odds"
            else Weighted(weights - (1 - weights) / (output.shape[1] - 1))
        )
    weights = weights - output_weights(output, against, "against")
    same = (weights == 0).flatten(1).all(1)
    if bool(same.any()):
        raise ValueError(
            f"against must be another output than target; got the same for image {int(same.nonzero()[0])}. Pass another class, or "
            "'rest'."
        )
    return Weighted(weights)


def output_weights(output: Tensor, target: Target, name: str = "target") -> Tensor:
    """Return 1 for the output that a target picks and 0 for the others."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaf = output.detach().clone().requires_grad_()
        _check_target(leaf, target, name)
        target = _from_the_start(leaf, target)
        chosen = _select_targets(leaf, target)
        if chosen.numel() != len(leaf):
            raise ValueError(
                f"{name} must pick exactly one output of each image; got {target!r} for an output of shape "
                f"{tuple(output.shape)}, which picks {tuple(chosen.shape[1:])} values. Pass a tuple of "
                f"{output.dim() - 1} indices."
            )
        (weights,) = torch.autograd.grad(chosen.sum(), leaf)
    return weights


def _from_the_start(output: Tensor, target: Target) -> Target:
    """Count negative indices from the start, where Captum takes them for one image only."""
    if output.dim() != 2:
        return target
    if isinstance(target, Tensor):
        return target % output.shape[1]
    if isinstance(target, list):
        return [item % output.shape[1] if isinstance(item, int) else item for item in target]  # type: ignore[return-value]
    return target


def _check_target(output: Tensor, target: Target, name: str) -> None:
    """Raise before Captum does, in words that name the range."""
    if target is None:
        if output.numel() != len(output):
            raise AssertionError(
                "Target not provided when necessary, cannot take gradient with respect to multiple outputs. "
                f"target must be given for an output of shape {tuple(output.shape)}; got None. "
                "Pass the index of a class."
            )
        return
    given = target.reshape(-1).tolist() if isinstance(target, Tensor) else target
    given = given if isinstance(given, list) else [given]
    if name != "target" and len(given) not in (1, len(output)):
        raise ValueError(
            f"{name} must be one, or one for each of the {len(output)} images; got {len(given)}. Pass a list of that length."
        )
    if len(given) not in (1, len(output)):
        shape = f"Tensor target dimension {target.shape} is not valid" if isinstance(target, Tensor) else ""
        raise AssertionError(
            f"{shape or 'Target list length does not match output'}: target must be one, or one for each of the {len(output)} images; "
            f"got {len(given)}. Pass as many as there are images."
        )
    sizes = output.shape[1:]
    for item in given:
        indices = item if isinstance(item, tuple) else (item,)
        if len(indices) > len(sizes):
            raise AssertionError(
                f"Cannot choose target column with output shape {tuple(output.shape)}. {name} must have at most {len(sizes)} "
                f"indices, one for each axis beside the batch; got {item!r}. For one target per image pass a list of them."
            )
        for index, size in zip(indices, sizes, strict=False):
            if not -size <= index < size:
                single = " The model has one output: pass target=None." if size == 1 else ""
                raise IndexError(
                    f"{name} must be between 0 and {size - 1}; got {index}. The output has shape {tuple(output.shape)}.{single}"
                )
