"""Find the first convolution of a model, or its filter bank."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError, UntraceableModelError

from .layers import EdgeFilterBank2d, EdgeFilterConv2d
from .tracing import trace

__all__ = ["bank_path", "check_module", "find_stem", "has_bank", "submodule"]


def find_stem(model: nn.Module) -> str:
    """Return the path of the first convolution that the data meets.

    Parameters
    ----------
    model : nn.Module
        Any model; it is not run. Where its operations cannot be traced, the first registered convolution is
        taken, which is not the first executed one in every model.

    Returns
    -------
    stem : str
        Module path such as ``"conv1"`` or ``"features.0.0"``; ``""`` if the model itself is a convolution. For a
        model with an edge-filter layer in place, the path of that layer.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.
    ValueError
        If it holds no convolution.

    Examples
    --------
    >>> import torchvision
    >>> find_stem(torchvision.models.mobilenet_v2())
    'features.0.0'
    """
    check_module(model)
    for path, module in _modules_in_order(model):
        if isinstance(module, EdgeFilterBank2d):
            return _holder(model, path)
        if isinstance(module, _ConvNd):
            return path
    raise ValueError(
        f"model must hold a convolution of torch.nn; got {type(model).__name__} without one. "
        "Edge filters explain convolutional stems only."
    )


def check_module(model: object) -> None:
    """Raise unless ``model`` is an ``nn.Module`` whose parts can be seen."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got {type(model).__name__}. Pass the network itself.")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            f"model must be an ordinary nn.Module; got a {type(model).__name__}, whose parts cannot be exchanged. "
            "Pass the model it was made from."
        )


def bank_path(model: nn.Module, layer: str | nn.Module | None = None) -> str:
    """Return the path of the one filter bank of a model, or of the one inside ``layer``.

    Raises
    ------
    ValueError
        Without an edge-filter layer, or with several and none chosen.
    KeyError
        If ``layer`` names no module of the model.
    """
    check_module(model)
    prefix = "" if layer is None else _path_of(model, layer)
    paths: list[str] = [
        path
        for path, module in model.named_modules()
        if isinstance(module, EdgeFilterBank2d) and _inside(path, prefix)
    ]
    if len(paths) == 1:
        return paths[0]
    if not paths:
        raise ValueError(
            f"model must hold an edge-filter layer; got {type(model).__name__} without one"
            f"{f' in {prefix!r}' if prefix else ''}. Call replace_stem(model) first."
        )
    raise ValueError(
        f"model must hold one edge-filter layer; got {len(paths)}: {', '.join(map(repr, paths))}. "
        "Choose one with layer=..."
    )


def _inside(path: str, prefix: str) -> bool:
    return not prefix or path == prefix or path.startswith(f"{prefix}.")


def _path_of(model: nn.Module, layer: str | nn.Module) -> str:
    if isinstance(layer, str):
        submodule(model, layer, "layer")
        return layer
    path: str | None = next((name for name, module in model.named_modules() if module is layer), None)
    if path is None:
        raise ValueError(
            f"layer must be a module of the model; got another {type(layer).__name__}. "
            "Pass its path, or the module of this very model (replace_stem returns a copy)."
        )
    return path


def submodule(model: nn.Module, path: str, argument: str) -> nn.Module:
    """Return the module at a path, or raise and name the argument that gave it."""
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if path not in modules:
        raise UnknownNameError(
            f"{argument} must be the path of a module of the model; got {path!r}{closest(path, modules)} "
            "find_stem(model) names the first convolution."
        )
    return modules[path]


def _modules_in_order(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules in the order of execution, or of registration where that is not to be had."""
    if isinstance(model, (EdgeFilterBank2d, _ConvNd)):
        yield "", model
        return
    modules = dict(model.named_modules())
    if len(modules) == 1 and type(model).__module__.startswith("torch.nn.modules"):
        yield "", model
        return
    try:
        nodes = trace(model).nodes
    except UntraceableModelError:
        yield from modules.items()
        return
    yield from ((str(n.target), modules[str(n.target)]) for n in nodes if n.op == "call_module")


def _holder(model: nn.Module, path: str) -> str:
    parent, _, _ = path.rpartition(".")
    return parent if isinstance(model.get_submodule(parent), EdgeFilterConv2d) else path


def has_bank(model: nn.Module) -> bool:
    """Say whether a model holds an edge-filter layer."""
    return any(isinstance(module, EdgeFilterBank2d) for module in model.modules())
