"""A private rewritten copy of a model: every operation that relevance passes is a module of its own.

The copy shares the weights of the model and never writes to it. Rules are registered on the copy, so that the
user's model keeps its modules, parameters, hooks and flags whatever happens.
"""

from __future__ import annotations

import itertools
import operator
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torchvision.ops import stochastic_depth
from zennit import types
from zennit.layer import Sum

from .layers import EdgeFilterBank2d, PaddedConv2d
from .tracing import trace

__all__ = ["FilterBankConv2d", "RewrittenModel", "UnsupportedModelError", "structure"]

LOCK = threading.RLock()

MODULES = (
    _ConvNd,
    nn.Linear,
    types.BatchNorm,
    types.Activation,
    types.AvgPool,
    types.MaxPool,
    nn.Flatten,
    nn.Unflatten,
    nn.ZeroPad2d,
)
IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
RESHAPINGS = {
    torch.flatten,
    torch.reshape,
    "flatten",
    "reshape",
    "view",
    "contiguous",
    torch.squeeze,
    "squeeze",
}
DROPOUTS = {
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    torch.dropout,
    stochastic_depth,
}
MEANS = {torch.mean, "mean"}

Maker = Callable[..., nn.Module]
FUNCTIONS: dict[Any, Maker] = {
    F.relu: lambda inplace=False: nn.ReLU(),  # noqa: ARG005
    torch.relu: nn.ReLU,
    torch.relu_: nn.ReLU,
    "relu": nn.ReLU,
    "relu_": nn.ReLU,
    F.relu6: lambda inplace=False: nn.ReLU6(),  # noqa: ARG005
    F.leaky_relu: lambda negative_slope=0.01, inplace=False: nn.LeakyReLU(negative_slope),  # noqa: ARG005
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.max_pool2d: nn.MaxPool2d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d,
}


class UnsupportedModelError(NotImplementedError):
    """A model holds operations for which no relevance rule is known, or was not copied faithfully."""


class FilterBankConv2d(PaddedConv2d):
    """The filter bank in the rewritten copy: one convolution that composites can tell from the others."""


class _Link(NamedTuple):
    """A module of the copy, the module whose weights it shares, and the BatchNorm merged into it."""

    twin: nn.Module
    source: nn.Module
    norm: _BatchNorm | None

    def refresh(self) -> None:
        """Take over the present weights."""
        values = {name: getattr(self.source, name) for name in _parameter_names(self.source)}
        values = {name: None if value is None else value.detach() for name, value in values.items()}
        if self.norm is not None:
            values = _merged(values["weight"], values.get("bias"), self.norm)
        for name, value in values.items():
            self.twin._parameters[name] = None if value is None else nn.Parameter(value, requires_grad=False)
        for name, buffer in self.source._buffers.items():
            self.twin._buffers[name] = buffer


class RewrittenModel:
    """A copy of a model on which rules can be registered.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; left as it is.
    bank : str
        Path of its filter bank.
    arguments : tuple
        Positional arguments of one call, to tell tensors from numbers and to compare the outputs.

    Attributes
    ----------
    module : fx.GraphModule
        Called as the model; returns its output and the responses of the bank.

    Raises
    ------
    UntraceableModelError
        If the operations of the model cannot be recorded.
    UnsupportedModelError
        If there is an operation without a rule, or the copy gives another output than the model.
    """

    def __init__(self, model: nn.Module, bank: str, arguments: tuple[Any, ...]) -> None:
        self._model = model
        root = model if bank else nn.Sequential(model)
        self._modules = dict(root.named_modules())
        self._graph = trace(model, len(arguments))
        _Recorder(fx.GraphModule(root, self._graph)).run(*arguments)
        self._bank = bank or "0"
        self._links: list[_Link] = []
        self.module = self._rewrite()
        self.refresh()
        self._compare(arguments)

    def refresh(self) -> None:
        """Take over the present weights of the model."""
        for link in self._links:
            link.refresh()

    @property
    def bank(self) -> FilterBankConv2d:
        """The filter bank of the copy."""
        return next(module for module in self.module.modules() if isinstance(module, FilterBankConv2d))

    def _rewrite(self) -> fx.GraphModule:
        self._norms = dict(self._mergeable())
        self._new, self._copies = fx.Graph(), {}
        self._root = fx.GraphModule(nn.Module(), fx.Graph())
        unsupported = [node for node in self._needed() if not self._translate(node)]
        if unsupported:
            names = ", ".join(sorted({_describe(node, self._modules) for node in unsupported}))
            raise UnsupportedModelError(
                f"model must consist of operations with a known relevance rule; got {names} in "
                f"{type(self._model).__name__}. Its scores would be wrong, so none are given."
            )
        self._root.graph = self._new
        self._root.recompile()
        return self._root

    def _needed(self) -> list[fx.Node]:
        """Return the nodes that the output depends on, in order, with all inputs of the model."""
        needed, pending = set(), [next(iter(reversed(self._graph.nodes)))]
        while pending:
            node = pending.pop()
            if node not in needed:
                needed.add(node)
                pending += node.all_input_nodes
        if not any(node.op == "call_module" and node.target == self._bank for node in needed):
            raise UnsupportedModelError(
                f"filter bank {self._bank!r} must lie on the way to the output; got one that the output does not "
                "depend on. Name the stem that is used with stem=..."
            )
        return [node for node in self._graph.nodes if node in needed or node.op == "placeholder"]

    def _mergeable(self) -> Iterator[tuple[fx.Node, _BatchNorm]]:
        """Yield the convolutions and linear layers whose only reader is a BatchNorm."""
        for node in self._graph.nodes:
            norm = self._modules.get(str(node.target)) if node.op == "call_module" else None
            source = node.args[0] if isinstance(norm, _BatchNorm) else None
            if isinstance(source, fx.Node) and source.op == "call_module" and len(source.users) == 1:
                layer = self._modules[str(source.target)]
                if isinstance(layer, (_ConvNd, nn.Linear)) and not isinstance(layer, _ConvTransposeNd):
                    yield source, norm  # type: ignore[misc]

    def _translate(self, node: fx.Node) -> bool:
        """Add a node to the new graph; False if there is no rule for it."""
        if node.op == "output":
            bank = next(n for n in self._copies if n.op == "call_module" and n.target == self._bank)
            self._new.output((self._copies[node.args[0]], self._copies[bank]))
        elif not _carries_relevance(node) or node.op == "placeholder" or node.target in RESHAPINGS:
            self._copies[node] = self._new.node_copy(node, lambda old: self._copies[old])
            if node.op == "get_attr":
                _share_attribute(self._root, self._model, str(node.target))
        elif node.op == "call_module":
            return self._translate_module(node)
        elif node.target in ADDITIONS:
            return self._translate_addition(node)
        else:
            return self._translate_function(node)
        return True

    def _translate_module(self, node: fx.Node) -> bool:
        module = self._modules[str(node.target)]
        source = node.args[0]
        if self._norms.get(source) is module or isinstance(module, IDENTITIES):
            self._copies[node] = self._copies[source]
        elif isinstance(module, (*MODULES, EdgeFilterBank2d)) and len(node.args) == 1 and not node.kwargs:
            twin = _twin(module)
            learned = module.conv if isinstance(module, EdgeFilterBank2d) else module
            self._links.append(_Link(twin, learned, self._norms.get(node)))
            self._copies[node] = self._call(str(node.target), twin, self._copies[source])
        else:
            return False
        return True

    def _translate_addition(self, node: fx.Node) -> bool:
        terms = node.args
        if len(terms) != 2 or node.kwargs or not all(isinstance(term, fx.Node) for term in terms):
            return False
        if not all(_carries_relevance(term) and term.meta["shape"] == node.meta["shape"] for term in terms):
            return False
        stack = self._new.call_function(torch.stack, (tuple(self._copies[term] for term in terms), -1))
        self._copies[node] = self._call(node.name, Sum(-1), stack)
        return True

    def _translate_function(self, node: fx.Node) -> bool:
        source, *rest = node.args
        if node.target in DROPOUTS:
            self._copies[node] = self._copies[source]
            return True
        if node.target in MEANS and self._is_spatial_mean(node, source):
            pooled = self._call(node.name, nn.AdaptiveAvgPool2d(1), self._copies[source])
            keep = node.kwargs.get("keepdim", False)
            self._copies[node] = pooled if keep else self._new.call_function(torch.flatten, (pooled, 1))
            return True
        if node.target not in FUNCTIONS or not isinstance(source, fx.Node):
            return False
        module = FUNCTIONS[node.target](*rest, **node.kwargs)
        self._copies[node] = self._call(node.name, module, self._copies[source])
        return True

    def _is_spatial_mean(self, node: fx.Node, source: Any) -> bool:
        axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes = tuple(axes) if isinstance(axes, (list, tuple)) else (axes,)
        return len(source.meta["shape"]) == 4 and axes in ((2, 3), (-2, -1), (3, 2), (-1, -2))

    def _call(self, path: str, module: nn.Module, argument: Any) -> fx.Node:
        taken = dict(self._root.named_modules())
        names = itertools.chain([path], (f"{path}__{i}" for i in itertools.count(2)))
        name = next(name for name in names if name not in taken)
        self._root.add_submodule(name, module.eval())
        return self._new.call_module(name, (argument,))

    def _compare(self, arguments: tuple[Any, ...]) -> None:
        """Refuse if the copy does not compute what the model computes."""
        with torch.no_grad():
            expected, got = self._model(*arguments), self.module(*arguments)[0]
        if not isinstance(expected, Tensor):
            raise TypeError(
                f"model must return one tensor; got {type(expected).__name__}. "
                "Wrap it in a module that returns the tensor to explain."
            )
        tolerance = torch.finfo(expected.dtype).eps ** 0.5
        worst = float((expected - got).abs().max()) if expected.numel() else 0.0
        if not worst <= tolerance * max(float(expected.abs().max()), 1e-3):
            raise UnsupportedModelError(
                f"the rewritten copy of {type(self._model).__name__} must give the model's output; got a difference "
                f"of {worst:.2g}. A hook or an operation that changes with each call cannot be explained."
            )


def structure(model: nn.Module) -> tuple[Any, ...]:
    """Return what a rewritten copy depends on besides the weights: it has to be made anew when this changes."""
    return tuple((name, id(module), type(module)) for name, module in model.named_modules())


class _Recorder(fx.Interpreter):
    """Run a graph once and note which nodes are tensors, their shapes, and which depend on the inputs."""

    def run_node(self, n: fx.Node) -> Any:
        with torch.no_grad():
            result = super().run_node(n)
        is_tensor = isinstance(result, Tensor)
        n.meta["shape"] = tuple(result.shape) if is_tensor else None
        sources = any(source.meta["relevant"] for source in n.all_input_nodes)
        n.meta["relevant"] = is_tensor and (n.op == "placeholder" or sources)
        return result


def _carries_relevance(node: fx.Node) -> bool:
    return bool(node.meta["relevant"])


def _describe(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    if node.op == "call_module":
        return f"{type(modules[str(node.target)]).__name__} ({node.target})"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return f"{name} ({node.name})"


def _share_attribute(root: nn.Module, model: nn.Module, path: str) -> None:
    value: Any = model
    for part in path.split("."):
        value = getattr(value, part)
    *parents, name = path.split(".")
    for part in parents:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    root.register_buffer(name, value.detach() if isinstance(value, Tensor) else value)


def _twin(module: nn.Module) -> nn.Module:
    """Return a module of the same class and settings, without its hooks, whose tensors can be exchanged."""
    if isinstance(module, EdgeFilterBank2d):
        twin: nn.Module = FilterBankConv2d.__new__(FilterBankConv2d)
        twin.__dict__ = {**module.conv.__dict__, "_modules": {"pad": module.pad}}
    else:
        parametrized = "parametrizations" in module._modules
        kind = type(module).__bases__[0] if parametrized else type(module)
        children = {name: child for name, child in module._modules.items() if name != "parametrizations"}
        twin = kind.__new__(kind)
        twin.__dict__ = {**module.__dict__, "_modules": children}
    twin.__dict__.update({key: value for key, value in vars(nn.Module()).items() if "hook" in key})
    twin.__dict__.update({"_parameters": {}, "_buffers": dict(module._buffers)})
    for name in _parameter_names(module):
        twin.__dict__.pop(name, None)
    if hasattr(twin, "inplace"):
        twin.inplace = False
    return twin


def _parameter_names(module: nn.Module) -> set[str]:
    """Name the tensors that a module computes with, also where a parametrization makes them."""
    return {"weight", "bias"} if isinstance(module, (_ConvNd, nn.Linear)) else set(module._parameters)


def _merged(weight: Tensor, bias: Tensor | None, norm: _BatchNorm) -> dict[str, Tensor | None]:
    """Return the weight and bias of a layer and the BatchNorm after it as one."""
    if norm.running_mean is None or norm.running_var is None:
        raise UnsupportedModelError(
            "BatchNorm must have running statistics; got track_running_stats=False, which mixes the samples of a "
            "batch. Train with running statistics to explain the model."
        )
    scale = (norm.running_var + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.detach()
    shift = -norm.running_mean * scale if bias is None else (bias - norm.running_mean) * scale
    shift = shift if norm.bias is None else shift + norm.bias.detach()
    return {"weight": weight * scale.reshape(-1, *[1] * (weight.dim() - 1)), "bias": shift}
