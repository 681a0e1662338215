"""Which of its calls of torch functions a model is making: what a second run is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Calls", "NumberedCall"]


class NumberedCall(NamedTuple):
    """One of the calls that a model makes of a function, in the order of execution.

    Attributes
    ----------
    function : callable
    number : int
        From 1.
    """

    function: Callable[..., Any]
    number: int


class Calls:
    """Counts the calls that a model makes, but not those that are made to compute them.

    Attributes
    ----------
    now : NumberedCall or None
        The latest.
    depth : int
        1 while the model runs; more while one of its calls is computed by others.

    Examples
    --------
    >>> calls = Calls()
    >>> calls.depth = 1
    >>> calls.count(abs).number, calls.count(len).number, calls.count(abs).number
    (1, 1, 2)
    """

    def __init__(self) -> None:
        self.now: NumberedCall | None = None
        self.depth = 0
        self._counted: Counter[Callable[..., Any]] = Counter()

    def count(self, function: Callable[..., Any]) -> NumberedCall | None:
        """Note a call and return it."""
        if self.depth <= 1:
            self._counted[function] += 1
            self.now = NumberedCall(function, self._counted[function])
        return self.now
