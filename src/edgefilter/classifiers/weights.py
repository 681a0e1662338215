"""Weights from a file, which never run code, and the network they fit."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["read_state", "with_weights"]

SUFFIXES = (".safetensors", ".pt", ".pth")

Builder = Callable[..., nn.Module]  # takes num_classes=...


def read_state(path: Path) -> dict[str, Tensor]:
    """Read named tensors, without ever running code from the file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"weights must be an existing file; got {str(path)!r}, which is not there. Check the path."
        )
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"weights must be a file of type {', '.join(SUFFIXES)}; got {str(path)!r}. "
            "Save model.state_dict() with safetensors."
        )
    try:
        content = _read_file(path)
    except pickle.UnpicklingError as cause:
        raise ValueError(
            f"weights must hold nothing but tensors; got {str(path)!r}, which is damaged or holds other objects. These "
            "could run code: nothing was read. Save model.state_dict() alone, best with safetensors."
        ) from cause
    except Exception as cause:
        raise ValueError(
            f"weights must be a readable {path.suffix} file; got {str(path)!r} ({_first_line(cause)}). "
            "Get the file again, or save model.state_dict() anew."
        ) from cause
    return _named_tensors(content, path)


def _read_file(path: Path) -> Any:
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """Find the state dict in a checkpoint, and drop the prefix that DataParallel leaves."""
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"weights must hold a state dict; got {str(path)!r} with {_kind(content)}. Save model.state_dict()."
        )
    odd = next((key for key, value in content.items() if not isinstance(value, Tensor)), None)
    if odd is not None:
        raise ValueError(
            f"weights must hold tensors only; got {str(path)!r} with {_kind(content[odd])} at {odd!r}. "
            "Save model.state_dict()."
        )
    prefix = "module." if all(str(key).startswith("module.") for key in content) else ""
    return {str(key).removeprefix(prefix): value for key, value in content.items()}


def with_weights(build: Builder, state: dict[str, Tensor], name: str, path: str) -> nn.Module:
    """Build a network with as many classes as the weights have, and load them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what builders say about their initial weights, which are replaced
        model = build()
        classes = _classes(model.state_dict(), state)
        if classes is not None:
            model = build(num_classes=classes)
    own = model.state_dict()
    counters = {key: own[key] for key in own.keys() - state.keys() if key.endswith("num_batches_tracked")}
    state = counters | state
    _check_fit(own, state, name, path)
    model.load_state_dict(state)
    return model


def _classes(own: dict[str, Tensor], state: dict[str, Tensor]) -> int | None:
    """Return the number of classes of a state that differs in just that from the network; else None."""
    pairs = [(own[key].shape, state[key].shape) for key in own.keys() & state.keys()]
    different = [(mine, theirs) for mine, theirs in pairs if mine != theirs]
    counts = {theirs[0] if mine[1:] == theirs[1:] and theirs else 0 for mine, theirs in different}
    return counts.pop() if len(counts) == 1 and 0 not in counts else None


def _check_fit(own: dict[str, Tensor], state: dict[str, Tensor], name: str, path: str) -> None:
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    problems = [
        f"{len(keys)} tensors {what} (such as {keys[0]!r})"
        for what, keys in (("missing", missing), ("it does not know", unknown), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise ValueError(
            f"weights must fit model {name!r}; got {path!r} with {', '.join(problems)}. "
            "Name the network that the file was saved from."
        )


def _kind(value: object) -> str:
    return "nothing" if isinstance(value, Mapping) and not value else f"a {type(value).__name__}"


def _first_line(cause: Exception) -> str:
    return f"{type(cause).__name__}: {str(cause).splitlines()[0][:120] if str(cause) else ''}".rstrip(": ")
