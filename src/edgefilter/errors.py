"""The errors that users may want to catch, in one place."""

from __future__ import annotations

__all__ = ["UnknownNameError", "UnsupportedModelError"]


class UnsupportedModelError(NotImplementedError):
    """A model holds operations for which no relevance rule is known."""


class UnknownNameError(KeyError, ValueError):
    """A KeyError (and ValueError) whose text reads as written: ``str(KeyError("..."))`` would add quotes around it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
