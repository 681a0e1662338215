"""Follow the data through a model: its operations in the order of execution, as a torch.fx graph."""

from __future__ import annotations

import contextlib
import copy
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from edgefilter.errors import UntraceableModelError

from .layers import EdgeFilterBank2d

__all__ = ["trace"]

LEAVES = (_ConvNd, nn.Linear, _BatchNorm, EdgeFilterBank2d)

_TRACING = threading.RLock()
_LINEAR: weakref.WeakKeyDictionary[type[nn.Conv2d], bool] = weakref.WeakKeyDictionary()


class _Tracer(fx.Tracer):
    """Record a model with a fixed number of inputs; subclasses of convolutions stay whole.

    torch.fx patches ``nn.Module`` for the whole process while it traces, so models that run meanwhile in other
    threads are let through. It also stores tensors that are made in ``forward`` on the model, so these become
    nodes that return them. Buffers are recorded as parameters are, so that what is computed from them stays an operation.
    """

    proxy_buffer_attributes = True

    def __init__(self, model: nn.Module, inputs: int, constants: dict[int, object]) -> None:
        super().__init__()
        self._inputs, self._constants = inputs, constants
        self._thread = threading.get_ident()
        values = (value for module in model.modules() for value in vars(module).values())
        self._whole = {id(m) for m in model.modules() if isinstance(m, LEAVES) and _computes_as_its_kind(m)}
        self._held = {id(value) for value in (*values, *model.parameters(), *model.buffers())}

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and id(a) not in self._held:
            return self.create_node("call_function", _constant(a), (), {})
        return super().create_arg(a)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, LEAVES):
            return id(m) in self._whole
        return bool(super().is_leaf_module(m, module_qualified_name))

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:  # noqa: ARG002
        proxies = [self.create_proxy("placeholder", f"input_{i}", (), {}) for i in range(self._inputs)]
        return root_fn, [self.root, *(self._constants.get(i, proxy) for i, proxy in enumerate(proxies))]

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def _computes_as_its_kind(module: nn.Module) -> bool:
    """Tell whether a subclass of a layer computes what the layer does, save for the padding of its inputs.

    A convolution that standardises its weights does not, nor does a BatchNorm with an activation in it: they are looked
    into.
    """
    if isinstance(module, EdgeFilterBank2d):
        return True
    kind: Any = next(kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.modules"))
    if type(module).forward is kind.forward:
        return True
    return isinstance(module, nn.Conv2d) and _is_linear_in_its_weight(type(module), module)


def _is_linear_in_its_weight(kind: type[nn.Conv2d], conv: nn.Conv2d) -> bool:
    if kind not in _LINEAR:
        twin = copy.deepcopy(conv).eval().double()
        reach = [4 * d * k for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        images = torch.ones(1, conv.in_channels, *reach, dtype=torch.float64, device=conv.weight.device)
        with torch.no_grad():
            twin.bias = None
            once = twin(images)
            twin.weight.mul_(2)
            _LINEAR[kind] = torch.allclose(twin(images), 2 * once)
    return _LINEAR[kind]


def _constant(value: Tensor) -> Callable[[], Tensor]:
    def constant() -> Tensor:
        return value

    return constant


def trace(
    model: nn.Module, inputs: int | None = None, constants: dict[int, object] | None = None
) -> fx.Graph:
    """Record the operations of a model in its present mode, called with ``inputs`` positional arguments.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    inputs : int, optional
        Number of positional arguments; the others take their defaults. By default as many as ``forward`` requires.
    constants : dict, optional
        Values of some of these arguments, by position: what ``forward`` may branch on.

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
        with _TRACING, _unchanged(model):
            count = _required(model) if inputs is None else inputs
            return _Tracer(model, count, constants or {}).trace(model)
    except Exception as cause:
        raise UntraceableModelError(
            f"model must have operations that do not depend on the data (torch.fx must trace it); got "
            f"{type(model).__name__}, where {type(cause).__name__}: {cause}. Move the branch out of forward, or "
            "name the stem with stem=..."
        ) from cause


@contextlib.contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Undo what ``forward`` sets on the modules of a model, where a trace would leave its stand-ins for tensors."""
    before = [(module, dict(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes in before:
            for name in vars(module).keys() - attributes.keys():
                vars(module).pop(name, None)
            vars(module).update(attributes)


def _required(model: nn.Module) -> int:
    parameters = inspect.signature(model.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return max(1, sum(p.kind in positional and p.default is p.empty for p in parameters))
