"""What the tables of functions, the stem and the end of a model ask of the run that they belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn
from zennit.core import Hook

from .calls import Calls
from .values import Recipe, Value

__all__ = ["Run"]


class Run(Protocol):
    """One run of a model under a composite; the engine is one.

    As a context manager it lets torch functions inside get their rules.

    Attributes
    ----------
    modules : RuledModules
        Which module runs, and the rule that the composite has for it.
    stem : Stem
    calls : Calls
        Counts the functions that the model calls.
    attention : {"constant", "attnlrp"}
    conserves : bool
        Whether constants among the values get no relevance.
    keeps_constant : bool
        Whether the constant of the last affine map is taken out of the rules.
    given : Tensor
        What the model gets as its first argument: the leaf itself, or made of it where colors are those of a basis.
    """

    modules: Any
    stem: Any
    calls: Calls
    attention: str
    conserves: bool
    keeps_constant: bool
    given: Tensor
    steps: list[Any]

    def __enter__(self) -> Any: ...

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None: ...

    def value(self, tensor: Any) -> Value | None:
        """Return what is known about a tensor that depends on the image; None for others."""

    def known(self, tensor: Tensor) -> Value:
        """Return what is known about a tensor that is known to depend on the image."""

    def constant(self, value: Any) -> Any:
        """Return an argument with its tensors detached."""

    def leaf_of(self, tensor: Tensor) -> Tensor:
        """Return the input that a tensor is made of."""

    def is_near(self, tensor: Tensor) -> bool:
        """Return whether no convolution lies between a tensor and the image."""

    def again(self, recipe: Recipe, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the result of a call with other tensors."""

    def step(
        self,
        kind: Any,
        module: nn.Module,
        inputs: tuple[Tensor, ...],
        value: Tensor,
        *,
        hook: Hook | None,
        reader: bool | None = None,
        gate: int = 0,
        from_image: bool | None = None,
    ) -> Tensor:
        """Return a value as the result of a step."""

    def passing(self, call: Any, signal: Tensor, value: Tensor, **settings: Any) -> Tensor:
        """Return a value whose relevance goes to one of the operands unchanged."""

    def rearranged(self, call: Any, result: Any = None) -> Any:
        """Return the result of a function whose gradient hands relevance where it belongs."""

    def refused(self, call: Any, *, gate: int = 0) -> Any:
        """Return the results of a function without a rule: as constants they will do."""
