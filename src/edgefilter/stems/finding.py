"""Find the first convolution of a model, or its filter bank."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

from .layers import EdgeFilterBank2d, EdgeFilterConv2d
from .reading import RunningModules, StemReader

PROBES = (224, 64, 32, 299, 28, 16)  # usual sizes of images, the most usual first

__all__ = [
    "bank_of_model",
    "bank_path",
    "check_module",
    "find_stem",
    "has_bank",
    "in_evaluation",
    "probes",
    "submodule",
]


def find_stem(model: nn.Module, inputs: Tensor | tuple[Any, ...] | None = None) -> str:
    """Return the path of the convolution that reads the image first.

    Parameters
    ----------
    model : nn.Module
        Any model; it runs up to that convolution and is left as it is.
    inputs : Tensor or tuple, optional
        Arguments to run it with. Default: one gray image of a likely size. If the model runs with none of these, the
        first registered convolution is returned.

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
        If it holds no convolution, or none that reads the image.

    Examples
    --------
    >>> import torchvision
    >>> find_stem(torchvision.models.mobilenet_v2())
    'features.0.0'
    """
    check_module(model)
    names = {id(module): name for name, module in model.named_modules()}
    if inputs is not None:
        found = _first_reader(model, inputs if isinstance(inputs, tuple) else (inputs,))
        if found is None:
            raise ValueError(
                f"model must read the image by a convolution; got {type(model).__name__}, which does not for these inputs. "
                "Edge filters explain convolutional stems only."
            )
    else:
        found = _probed(model)
    if found is None:
        found = next((m for m in model.modules() if isinstance(m, (_ConvNd, EdgeFilterBank2d))), None)
    if found is None:
        raise ValueError(
            f"model must hold a convolution of torch.nn; got {type(model).__name__} without one. "
            "Edge filters explain convolutional stems only."
        )
    path = names[id(found)]
    bank = next((m for m in model.modules() if isinstance(m, EdgeFilterBank2d) and m.conv is found), None)
    return _holder(model, path if bank is None else names[id(bank)])


def check_module(model: object) -> None:
    """Raise unless ``model`` is an ``nn.Module`` whose parts can be seen."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got {type(model).__name__}. Pass the network itself.")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            f"model must be an ordinary nn.Module; got a {type(model).__name__}, whose parts cannot be exchanged. "
            "Pass the model it was made from."
        )


def bank_of_model(model: nn.Module, layer: str | nn.Module | None = None) -> EdgeFilterBank2d | None:
    """Return the one filter bank of a model, or of the part ``layer``; None if there is none.

    Raises
    ------
    ValueError
        If there are several and none is chosen.
    KeyError
        If ``layer`` names no module of the model.
    """
    check_module(model)
    if layer is not None:
        _path_of(model, layer)
    if not has_bank(model):
        return None
    found = model.get_submodule(bank_path(model, layer))
    assert isinstance(found, EdgeFilterBank2d)
    return found


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
    paths = [path for path in _bank_paths(model) if _inside(path, prefix)]
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


class _FoundError(Exception):
    """Ends a run at the convolution that reads the image."""


class _UpToConvolution(RunningModules):
    """Ends a run in front of a convolution that is given the image: before its hooks run and its weights are computed."""

    def __init__(self, model: nn.Module, found: list[nn.Module | str]) -> None:
        super().__init__(model)
        self.found, self.reader = found, StemReader((), self.read)

    def entered(self, module: nn.Module, inputs: Any) -> Any:
        """Note a convolution that is given the image, and end the run."""
        if isinstance(module, _ConvNd) and id(module) in self.names and self.reader.reads(inputs):
            self._end(module)

    def read(self, weight: Tensor, _: object) -> Tensor:
        """Note a convolution that is called as a function, and end the run."""
        owner = self.owner((_ConvNd,), weight)
        self._end(self.name if owner is None else owner)

    def _end(self, found: nn.Module | str) -> NoReturn:
        self.found.append(found)
        raise _FoundError


def _first_reader(model: nn.Module, inputs: tuple[Any, ...]) -> nn.Module | None:
    """Run a model up to the first convolution that reads the image, and return that."""
    found: list[nn.Module | str] = []
    running = _UpToConvolution(model, found)
    with (
        torch.no_grad(),
        in_evaluation(model),
        running,
        running.reader as reader,
        contextlib.suppress(_FoundError),
    ):
        model(*reader.marked(inputs))
    if found and isinstance(found[0], str):
        raise ValueError(
            f"the convolution that reads the image must be a layer of torch.nn; got a function called in {found[0]!r}. It can "
            "be explained as it is, without replacing it."
        )
    return found[0] if found else None  # type: ignore[return-value]


@contextlib.contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Switch a model to evaluation, so that it keeps its statistics; each module's flag is as before afterwards."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


def _probed(model: nn.Module) -> nn.Module | None:
    """Return the first reader for images of likely sizes."""
    for probe in probes(model):
        with contextlib.suppress(Exception):
            found = _first_reader(model, (probe,))
            if found is not None:
                return found
    return None


def probes(model: nn.Module) -> Iterator[Tensor]:
    """Yield gray images of likely sizes and numbers of channels, as a model's weights are."""
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    if weight is None or weight.is_meta:
        return
    first = next((m for m in model.modules() if isinstance(m, _ConvNd)), None)
    channels = dict.fromkeys((3 if first is None else first.in_channels, 3, 1))
    for size in PROBES:
        for channel in channels:
            yield torch.full((1, channel, size, size), 0.5, dtype=weight.dtype, device=weight.device)


def _holder(model: nn.Module, path: str) -> str:
    parent, _, _ = path.rpartition(".")
    return parent if isinstance(model.get_submodule(parent), EdgeFilterConv2d) else path


def has_bank(model: nn.Module) -> bool:
    """Say whether a model holds an edge-filter layer."""
    return bool(_bank_paths(model))


def _bank_paths(model: nn.Module) -> list[str]:
    """Return the paths of the filter banks; that of a model split in two does not run in the second part."""
    modules = dict(model.named_modules())
    idle = [path for path, module in modules.items() if getattr(module, "is_behind_bank", False)]
    return [
        path
        for path, module in modules.items()
        if isinstance(module, EdgeFilterBank2d) and not any(_inside(path, part) for part in idle)
    ]
