"""Follow the data through a model: its operations in the order of execution, as a torch.fx graph."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from .layers import EdgeFilterBank2d

__all__ = ["UntraceableModelError", "trace"]

LEAVES = (_ConvNd, nn.Linear, _BatchNorm, EdgeFilterBank2d)

_TRACING = threading.RLock()


class UntraceableModelError(RuntimeError):
    """The operations of a model cannot be recorded, because they depend on the data or are compiled."""


class _Tracer(fx.Tracer):
    """Record a model with a fixed number of inputs; subclasses of convolutions stay whole.

    torch.fx patches ``nn.Module`` for the whole process while it traces, so models that run meanwhile in other
    threads are let through.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self._inputs = inputs
        self._thread = threading.get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or bool(super().is_leaf_module(m, module_qualified_name))

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:  # noqa: ARG002
        names = (f"input_{i}" for i in range(self._inputs))
        return root_fn, [self.root, *(self.create_proxy("placeholder", name, (), {}) for name in names)]

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def trace(model: nn.Module, inputs: int = 1) -> fx.Graph:
    """Record the operations of a model that is called with ``inputs`` positional arguments.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    inputs : int, default: 1
        Number of positional arguments; the others take their defaults.

    Returns
    -------
    graph : fx.Graph
        Modules of torch.nn, convolutions, linear layers and their subclasses are single nodes.

    Raises
    ------
    UntraceableModelError
        If the model branches on the data, is a ScriptModule or cannot be called so.

    Examples
    --------
    >>> [node.op for node in trace(nn.Sequential(nn.ReLU())).nodes]
    ['placeholder', 'call_module', 'output']
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise UntraceableModelError(
            "model must be an ordinary nn.Module; got a ScriptModule, whose operations cannot be seen. "
            "Pass the model it was made from."
        )
    if isinstance(model, LEAVES) or type(model).__module__.startswith("torch.nn.modules"):
        model = model if isinstance(model, nn.Sequential) else nn.Sequential(model)
    try:
        with _TRACING:
            return _Tracer(inputs).trace(model)
    except Exception as cause:
        raise UntraceableModelError(
            f"model must have operations that do not depend on the data (torch.fx must trace it); got "
            f"{type(model).__name__}, where {type(cause).__name__}: {cause}. Move the branch out of forward, or "
            "name the stem with stem=..."
        ) from cause
