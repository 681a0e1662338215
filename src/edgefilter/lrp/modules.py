"""Which rule a composite gives a function call, by the module that the call belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from zennit import types
from zennit.core import Composite, Hook

from edgefilter.stems.reading import RunningModules

from .composites import NamedComposite

__all__ = ["RuledModules", "bare_twin"]

PRIMITIVE = (types.Convolution, types.Linear, types.BatchNorm, types.AvgPool, types.MaxPool, types.Activation)


def bare_twin(module: nn.Module) -> Any:
    """Return a module of the same class and state without its hooks; its weights are shared."""
    twin = module.__class__.__new__(module.__class__)
    twin.__dict__ = {
        **module.__dict__,
        **{key: value for key, value in vars(nn.Module()).items() if "hook" in key},
    }
    twin.__dict__["_modules"] = dict(module._modules)
    return twin


class RuledModules(RunningModules):
    """Know the running module and the rule that a composite has for it.

    Parameters
    ----------
    model : nn.Module
    composite : Composite
    spare : set of int
        Ids of modules that no rule takes as a whole.
    opaque : callable
        Called as ``opaque(module, hook, inputs)`` when a module starts that holds others and that the composite has a
        hook for; returns other inputs or None.
    transparent : callable
        Called as ``transparent(module, output)`` when a module ends.
    """

    def __init__(
        self,
        model: nn.Module,
        composite: Composite,
        spare: set[int],
        opaque: Callable[[nn.Module, Hook, Any], Any],
        transparent: Callable[[nn.Module, Any], Any],
    ) -> None:
        super().__init__(model)
        self._composite = composite
        self._is_named = isinstance(composite, NamedComposite)
        self._spare, self._opaque, self._transparent = spare, opaque, transparent
        self._context: dict[str, Any] = {}

    def entered(self, module: nn.Module, inputs: Any) -> Any:
        """Take a module as a whole if the composite has a hook for it."""
        name = self.names.get(id(module))
        if self._is_named or name is None or isinstance(module, PRIMITIVE) or id(module) in self._spare:
            return None
        hook = self._composite.module_map(self._context, name, module)
        return None if hook is None else self._opaque(module, hook, inputs)

    def left(self, module: nn.Module, output: Any) -> Any:
        """End what :meth:`entered` began."""
        return None if self._is_named else self._transparent(module, output)

    def ruled_twin(self, module: nn.Module) -> nn.Module:
        """Return a copy of a module that shares its weights, with the composite's hooks on the modules inside it."""
        twin = bare_twin(module)
        for name, child in module._modules.items():
            twin._modules[name] = None if child is None else self._hooked_twin(child)
        return twin  # type: ignore[no-any-return]

    def _hooked_twin(self, module: nn.Module) -> nn.Module:
        twin = self.ruled_twin(module)
        name = self.names.get(id(module), "")
        hook = self._composite.module_map({}, name, module)
        if hook is not None:
            own = hook.copy()
            own.register(twin)
            twin.__dict__["_edgefilter_hook"] = own  # alive as long as the module
        return twin

    def hook(self, standin: nn.Module, owner: nn.Module | None = None) -> Hook | None:
        """Return the rule that the composite has for a function call."""
        name = self.name if owner is None else self.names.get(id(owner), self.name)
        asked = standin if owner is None or self._is_named else owner
        found: Hook | None = self._composite.module_map(self._context, name, asked)
        return found
