"""One step of a run: a function call as an autograd node whose backward pass is its relevance rule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from zennit.core import Hook

from edgefilter.errors import UnsupportedModelError

from .linear_maps import linear_map
from .pieces import in_pieces, shared_in_pieces
from .rules import Pass, Rule
from .standins import with_gain
from .values import Late, Value

__all__ = ["NO_RULE", "Bilinear", "Refused", "Softmax", "Step", "Summing", "node"]

FORGOTTEN = nn.Identity()

NO_RULE = (
    "model must consist of operations with a known relevance rule; got {}. Its scores would be wrong, so none are given. "
    "Replace what has no rule, or explain a part of the model without it."
)


class Step:
    """A function call on the way of the relevance.

    Parameters
    ----------
    name : str
        Where it happened: a module path, or "".
    module : nn.Module
        Stands for the call; rules run it.
    hook : Hook or None
        The rule; None for the gradient.
    inputs : tuple of Tensor or Late
        Detached.
    value : Value
        Of the result.

    Attributes
    ----------
    kind : str
        What it computes.
    received, handed_on : float
        Total relevance at its output and what it gave to its inputs, if ``watched``.
    turns : int
        How often relevance came back to it, if ``watched``.
    keeps_bias : bool
        Whether the bias takes part in the rule. It does not if it belongs to the base.
    """

    watched = False

    def __init__(
        self, name: str, module: nn.Module, hook: Hook | None, inputs: tuple[Any, ...], value: Value
    ) -> None:
        self.name, self.module, self.hook = name, module, hook
        self.kind = _kind(module)
        self.inputs, self.value = inputs, value
        self.keeps_bias = True
        self.unwatch()

    def unwatch(self) -> None:
        """Forget the relevance that was noted."""
        self.received, self.handed_on, self.turns = 0.0, 0.0, 0

    @property
    def rule(self) -> str:
        """The name of the rule."""
        return "gradient" if self.hook is None else type(self.hook).__name__

    def backward(self, relevance: Tensor) -> tuple[Tensor | None, ...]:
        """Return the relevance of the inputs."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "create_graph must be False: relevance rules are no operations that PyTorch could differentiate. "
                "Take gradients of relevance with Zennit's own hooks."
            )
        shares = (relevance,) if isinstance(self.hook, Pass) else self.hand_back(relevance)
        if not self.value.from_image:  # between the image and the stem, steps are asked again
            self.inputs = ()
        if self.watched:
            self.turns += 1
            self.received += float(relevance.sum())
            self.handed_on += sum(float(share.sum()) for share in shares)
        return shares

    def hand_back(self, relevance: Tensor) -> tuple[Tensor, ...]:
        """Return the relevance of the inputs by the rule."""
        (inputs,) = self.inputs
        spare = isinstance(inputs, Late)
        inputs = inputs.made() if spare else inputs
        module = with_gain(self.module)
        module.__dict__["steady"] = self.value.is_steady()
        if not isinstance(self.hook, Rule):
            return (by_module(module, self.hook, inputs, relevance),)
        layer = linear_map(module)
        layer.suit(inputs)
        if not self.keeps_bias:
            layer.bias = None
        return (in_pieces(self.hook, layer, inputs, relevance, spare=spare),)

    def forget(self) -> None:
        """Let go of all tensors."""
        self.inputs = ()
        self.module = FORGOTTEN


def _kind(module: nn.Module) -> str:
    kind = type(module).__name__
    name: str = getattr(getattr(module, "function", None), "__name__", "<lambda>")
    return name if name != "<lambda>" and kind in ("Passing", "Affine", "Average") else kind


class Summing(Step):
    """The sum of two signals."""

    def hand_back(self, relevance: Tensor) -> tuple[Tensor, ...]:
        """Return the relevance of the summands."""
        if isinstance(self.hook, Rule):
            steady = self.value.is_steady()
            return shared_in_pieces(self.hook, self.inputs, relevance, steady=steady)
        stacked = by_module(self.module, self.hook, torch.stack(self.inputs, -1), relevance)
        return tuple(stacked.unbind(-1))


class Softmax(Step):
    """A softmax that is not held constant, by the rule of AttnLRP (Achtibat et al. 2024, eq. 13)."""

    rule = "Softmax"

    def hand_back(self, relevance: Tensor) -> tuple[Tensor, ...]:
        """Return ``R_i = x_i (R_i - s_i sum_j R_j)``."""
        (inputs,) = self.inputs
        dim: int = self.module.dim  # type: ignore[assignment]
        shares = inputs.softmax(dim)
        result = inputs * (relevance - shares * relevance.sum(dim, keepdim=True))
        return (torch.where(inputs.isfinite(), result, 0),)


class Bilinear(Step):
    """A product of two signals, which get half of the relevance each (AttnLRP, eq. 15)."""

    rule = "Bilinear"

    def hand_back(self, relevance: Tensor) -> tuple[Tensor, ...]:
        """Return the relevance of both factors, shared by their contributions."""
        leaves = [given.detach().requires_grad_() for given in self.inputs]
        with torch.enable_grad():
            output = self.module.function(*leaves)  # type: ignore[operator]
        ratio = torch.where(output == 0, 0, relevance / torch.where(output == 0, 1, output)) / 2
        gradients = torch.autograd.grad(output, leaves, ratio.detach())
        return tuple(given * gradient for given, gradient in zip(self.inputs, gradients, strict=True))


def by_module(module: nn.Module, hook: Hook | None, inputs: Tensor, relevance: Tensor) -> Tensor:
    """Return what a hook of Zennit's protocol, or the gradient, hands back to the input of a module."""
    with torch.enable_grad():
        leaf = inputs.detach().clone().requires_grad_()
        if hook is None:
            return torch.autograd.grad(module(leaf), leaf, relevance)[0]
        own = hook.copy()
        handles = own.register(module)
        try:
            output = module(leaf)
            (found,) = torch.autograd.grad(output, leaf, relevance, allow_unused=True)
        finally:
            handles.remove()
            own.remove()
    return torch.zeros_like(inputs) if found is None else found.detach()


class _Node(torch.autograd.Function):
    """A value going forward; the rule of its step going back."""

    @staticmethod
    def forward(ctx: Any, step: Step, value: list[Tensor], *inputs: Tensor) -> Tensor:  # noqa: ARG004
        ctx.step = step
        return value.pop()

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *ctx.step.backward(relevance))


class Refused(torch.autograd.Function):
    """A value that no rule is known for: the walk over the graph names it if relevance would reach it."""

    @staticmethod
    def forward(ctx: Any, name: str, value: list[Tensor], *inputs: Tensor) -> Tensor:  # noqa: ARG004
        """Return the value."""
        ctx.refusal = name
        return value.pop()

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[None, ...]:  # noqa: ARG004
        """Raise: the walk over the graph refuses what would lead here."""
        raise UnsupportedModelError(NO_RULE.format(ctx.refusal))


def node(step: Step, value: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return the value as the result of a step."""
    return _Node.apply(step, [value], *inputs)  # type: ignore[no-any-return]
