"""What layers return while a model runs: kept as they were, whatever the model does with them afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgefilter._checks import closest
from edgefilter.attribution.arguments import unwrapped
from edgefilter.errors import UnknownNameError

__all__ = ["LayerOutputs", "named_layers"]


def named_layers(forward_func: Callable[..., Any], layers: Any) -> dict[str, nn.Module]:
    """Return layers by name: their paths in the model, or their place and class where they have none.

    Raises
    ------
    TypeError, KeyError, ValueError
        If a layer is neither a module nor the path of one, or if there are none or one is named twice.
    """
    given = list(layers) if isinstance(layers, (list, tuple, nn.ModuleList)) else [layers]
    model = unwrapped(forward_func)  # type: ignore[arg-type]
    modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    paths = {id(module): path for path, module in reversed(modules.items())}
    found: dict[str, nn.Module] = {}
    for place, layer in enumerate(given):
        if isinstance(layer, str) and layer not in modules:
            raise UnknownNameError(f"unknown layer {layer!r}{closest(layer, modules)} {_names(modules)}")
        if not isinstance(layer, (str, nn.Module)):
            raise TypeError(
                f"layers must be modules or their paths; got {type(layer).__name__}. Pass for example layers=[model.layer4]."
            )
        module = modules[layer] if isinstance(layer, str) else layer
        name = paths.get(id(module), f"{type(module).__name__} ({place})")
        if name in found:
            raise ValueError(f"layers must be different ones; got {name!r} twice. Name each once.")
        found[name] = module
    if not found:
        raise ValueError(
            "layers must name a layer or more; got none. Pass for example layers=[model.layer4]."
        )
    return found


def _names(modules: dict[str, nn.Module]) -> str:
    if not modules:
        return "Pass the module itself: only an nn.Module has paths."
    return "Pass the module, or a path of model.named_modules()."


class LayerOutputs:
    """Keep what layers return during one run; a context manager that leaves the model's hooks as they were.

    The model goes on with a copy, so that an in-place function behind a layer changes the copy.

    Parameters
    ----------
    layers : dict of str to nn.Module

    Attributes
    ----------
    outputs : list of (str, Tensor)
        In the order of execution; a layer that runs several times comes several times.
    """

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        self._layers = layers
        self._thread = threading.get_ident()
        self._handles: list[Any] = []
        self.outputs: list[tuple[str, Tensor]] = []

    def __enter__(self) -> LayerOutputs:
        for name, module in self._layers.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            return self._kept(name, output) if threading.get_ident() == self._thread else None

        return keep

    def _kept(self, name: str, output: Any) -> Any:
        if not torch.is_grad_enabled():
            raise ValueError(
                f"layers must run with gradients; got {name!r} under torch.no_grad. Move no_grad out of the model's forward."
            )
        several = isinstance(output, (tuple, list))
        parts = list(output) if several else [output]
        places = [
            place for place, part in enumerate(parts) if isinstance(part, Tensor) and part.is_floating_point()
        ]
        if len(places) != 1:
            what = f"{len(places)} tensors" if several else f"a {type(output).__name__}"
            raise ValueError(f"layer {name!r} must return one tensor; got {what}. Name the layer inside it.")
        kept = parts[places[0]]
        if not kept.requires_grad:  # nothing before it does: the gradient begins here
            kept = kept.detach().requires_grad_()
        self.outputs.append((name, kept))
        parts[places[0]] = kept.clone()
        if not several:
            return parts[0]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)

    def missing(self) -> Sequence[str]:
        """Return the names of the layers that did not run."""
        ran = {name for name, _ in self.outputs}
        return [name for name in self._layers if name not in ran]


def check_ran(kept: LayerOutputs) -> None:
    """Raise if a layer did not run."""
    if missing := kept.missing():
        raise ValueError(
            f"layers must run when the model does; got {', '.join(map(repr, missing))}, which did not. Name others, of this model."
        )
