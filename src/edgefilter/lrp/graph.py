"""A private rewritten copy of a model: every operation that relevance passes is a module of its own.

The copy shares the weights of the model and never writes to it. Rules are registered on the copy, so that the
user's model keeps its modules, parameters, hooks and flags whatever happens.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgefilter.errors import UnsupportedModelError
from edgefilter.stems.tracing import trace

from .operations import Passing, Weighing
from .rewriting import OUT_OF_PLACE, Rewriter, attribute_of
from .twins import FilterBankConv2d, Link

__all__ = ["RewrittenModel", "constants", "own_modes", "structure"]

LOCK = threading.RLock()


@contextlib.contextmanager
def own_modes(like: Tensor, *, grad: bool) -> Iterator[None]:
    """Keep other threads out, and the caller's inference mode, autocast and gradient mode aside."""
    autocast = torch.autocast(like.device.type, enabled=False)
    with LOCK, torch.inference_mode(mode=False), autocast, torch.set_grad_enabled(grad):
        yield


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
        Called as the model; returns its output and the responses of the bank. :meth:`verify` the first output.

    Raises
    ------
    UntraceableModelError
        If the operations of the model cannot be recorded.
    UnsupportedModelError
        If there is an operation without a rule, or the copy gives another output than the model.
    """

    def __init__(self, model: nn.Module, bank: str, arguments: tuple[Any, ...]) -> None:
        self._source, self._bank = model, bank or "0"
        self._root = model if bank else nn.Sequential(model)
        traced = fx.GraphModule(self._root, trace(model, len(arguments), constants(arguments)))
        arguments = _one_sample(arguments)
        _Recorder(traced).run(*arguments)
        if _follow_in_place(traced):
            _Recorder(traced).run(*arguments)
        self._links: list[Link] = []
        self._attributes: dict[str, str] = {}
        self.module = Rewriter(traced, self._bank, self._links, self._attributes).rewrite()
        self.refresh()
        with torch.no_grad():
            self._expected: Any = model(*arguments)

    @property
    def bank(self) -> FilterBankConv2d:
        """The filter bank of the copy."""
        found = self.module.get_submodule(self._bank)
        assert isinstance(found, FilterBankConv2d)
        return found

    @property
    def reader(self) -> nn.Conv2d | None:
        """The convolution that alone reads the responses, where there is one with weights of its own."""
        readers = [node for node in self._responses.users if node.op != "output"]
        if len(readers) != 1 or readers[0].op != "call_module" or readers[0].kwargs:
            return None
        module = self.module.get_submodule(str(readers[0].target))
        return module if isinstance(module, nn.Conv2d) and module.groups == 1 else None

    @property
    def _responses(self) -> fx.Node:
        found: fx.Node = next(node for node in self.module.graph.nodes if node.target == self._bank)
        return found

    def tail(self, values: Tensor, arguments: tuple[Any, ...], start: nn.Module | None = None) -> Any:
        """Return the output that the model would give if its bank, or its :attr:`reader`, gave these values."""
        with _giving(self.bank, values), _giving(start or self.bank, values):
            return self.module(*arguments)[0]

    def refresh(self) -> None:
        """Take over the present weights of the model."""
        for link in self._links:
            link.refresh()
        for name, path in self._attributes.items():
            value = attribute_of(self._root, path)
            setattr(self.module, name, value.detach() if isinstance(value, Tensor) else value)

    def release(self) -> None:
        """Let go of what the operations kept from the last pass."""
        for module in self.module.modules():
            if isinstance(module, (Passing, Weighing)):
                module.held = ((), {})

    @property
    def verified(self) -> bool:
        """Whether the copy was found to compute what the model computes."""
        return self._expected is None

    def verify(self, output: Tensor) -> None:
        """Refuse if the copy does not compute what the model computes: look once, at the first image's output."""
        if self.verified:
            return
        expected, got = self._expected, output.detach()
        if not isinstance(expected, Tensor):
            raise TypeError(
                f"model must return one tensor; got {type(expected).__name__}. "
                "Wrap it in a module that returns the tensor to explain."
            )
        got = got[: len(expected)]
        precision = torch.finfo(expected.dtype)
        exponent = {64: 0.4, 32: 1 / 3}.get(precision.bits, 0.2)  # rounding grows with depth
        tolerance = precision.eps**exponent
        worst = float((expected - got).abs().max()) if expected.numel() else 0.0
        if not worst <= tolerance * max(float(expected.abs().max()), 1e-3):
            raise UnsupportedModelError(
                f"the rewritten copy of {type(self._source).__name__} must give the model's output; got a difference "
                f"of {worst:.2g}. A hook or an operation that changes with each call cannot be explained."
            )
        self._expected = None


@contextlib.contextmanager
def _giving(module: nn.Module, values: Tensor) -> Iterator[None]:
    """Let a module return these values, whatever it is given."""
    own = vars(module)
    kept = {"forward": own["forward"]} if "forward" in own else {}
    own["forward"] = lambda *_: values
    try:
        yield
    finally:
        del own["forward"]
        own.update(kept)


def _one_sample(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the first of a batch of images, which shows the operations as well as all; with other tensors, everything."""
    tensors = [value for value in arguments if isinstance(value, Tensor)]
    return arguments if len(tensors) > 1 else (arguments[0][:1].contiguous(), *arguments[1:])


def constants(arguments: tuple[Any, ...]) -> dict[int, object]:
    """Return the arguments that a model may branch on, by position: None, True and False."""
    return {i: value for i, value in enumerate(arguments) if value is None or isinstance(value, bool)}


def structure(model: nn.Module) -> tuple[Any, ...]:
    """Return what a rewritten copy depends on besides the weights: it has to be made anew when this changes."""
    return tuple((name, id(module), *_settings(module)) for name, module in model.named_modules())


def _settings(module: nn.Module) -> Iterator[Any]:
    yield type(module)
    yield len(module._forward_hooks), len(module._forward_pre_hooks)  # noqa: SLF001
    yield tuple(name for name, value in module._parameters.items() if value is None)  # noqa: SLF001
    for name, value in vars(module).items():
        if isinstance(value, (bool, int, float, str, tuple)):
            yield name, value


def _follow_in_place(traced: fx.GraphModule) -> bool:
    """Let what reads a tensor after an in-place operation read the result; return whether there was such a reader."""
    found = False
    earlier: set[fx.Node] = set()
    for node in traced.graph.nodes:
        source = node.args[0] if node.args else None
        if isinstance(source, fx.Node) and source.meta["shape"] is not None and _is_in_place(node, traced):
            later = [user for user in source.users if user not in earlier and user is not node]
            found = found or bool(later)
            for user in later:
                user.replace_input_with(source, node)
        earlier.add(node)
    return found


def _is_in_place(node: fx.Node, traced: fx.GraphModule) -> bool:
    if node.op == "call_module":
        return bool(getattr(traced.get_submodule(str(node.target)), "inplace", False))
    if node.target in OUT_OF_PLACE or node.kwargs.get("inplace"):
        return True
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return str(name).endswith("_") and not str(name).endswith("__")


class _Recorder(fx.Interpreter):
    """Run a graph once and note which nodes hold tensors, their shapes, and which depend on the inputs."""

    def run_node(self, n: fx.Node) -> Any:
        with torch.no_grad():
            result = super().run_node(n)
        parts = result if isinstance(result, (tuple, list)) else (result,)
        holds = any(isinstance(part, Tensor) and part.is_floating_point() for part in parts)
        sources = any(source.meta["relevant"] for source in n.all_input_nodes)
        n.meta["shape"] = tuple(result.shape) if isinstance(result, Tensor) else None
        n.meta["relevant"] = holds and (n.op == "placeholder" or sources)
        return result
