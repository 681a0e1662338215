"""The errors that users may want to catch, in one place."""

from __future__ import annotations

__all__ = ["UnknownNameError", "UnsupportedModelError", "UntraceableModelError"]


class UntraceableModelError(RuntimeError):
    """The operations of a model cannot be recorded, because they depend on the data or are compiled."""


class UnsupportedModelError(NotImplementedError):
    """A model holds operations for which no relevance rule is known, or was not copied faithfully."""


class UnknownNameError(KeyError, ValueError):
    """A KeyError (and ValueError) whose text reads as written: ``str(KeyError("..."))`` would add quotes around it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
