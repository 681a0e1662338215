"""The errors that users may want to catch, in one place."""

from __future__ import annotations

__all__ = ["InputTypeError", "UnknownNameError", "UnsupportedModelError"]


class UnsupportedModelError(NotImplementedError):
    """A model holds operations for which no relevance rule is known."""


class InputTypeError(TypeError, AssertionError):
    """A TypeError for inputs that are no tensors; and an AssertionError, which is what Captum raises for them."""


class UnknownNameError(KeyError, ValueError):
    """A KeyError (and ValueError) whose text reads as written: ``str(KeyError("..."))`` would add quotes around it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
