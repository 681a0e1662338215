"""Weights from a file, which never run code, and the network they fit."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import hashlib
import pathlib
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["SUFFIXES", "Checkpoint", "digest_of", "read_checkpoint", "with_weights"]

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar")

# where trainers keep the weights, the preferred ones first: an average of weights only where there is nothing else
WEIGHTS = (
    *(
        "state_dict",
        "model_state_dict",
        "model_state",
        "model",
        "net",
        "network",
        "module",
        "weights",
        "params",
    ),
    *("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema", "params_ema"),
)
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # parts of names
COUNTERS = ("total_ops", "total_params", "n_averaged")  # of profilers and averages

# what trainers keep beside the weights, and what runs no code when it is read: arguments, paths, numbers, arrays and dates
HARMLESS: list[Any] = [
    argparse.Namespace,
    *(pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath),
    *(np.dtype, *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?"))),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((np.zeros(0).__reduce__()[0], f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    np.ndarray,
    *(dt.datetime, dt.date, dt.timedelta, dt.timezone),
]

Builder = Callable[..., nn.Module]  # takes num_classes=...


class Checkpoint(NamedTuple):
    """The weights in a file, and what else stands there."""

    state: dict[str, Tensor]
    extras: Mapping[str, Any]
    digest: str  # SHA-256 of the file


def read_checkpoint(path: Path) -> Checkpoint:
    """Read named tensors and what stands beside them, without ever running code from the file.

    Of a checkpoint, the weights of the model are read; an average of them (EMA) only if there are no others.
    """
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
        content, extras = _read_file(path)
    except pickle.UnpicklingError as cause:
        raise ValueError(
            f"weights must hold nothing but tensors; got {str(path)!r}, which {_objects(path)}. These "
            "could run code: nothing was read. Save model.state_dict() alone, best with safetensors; if you trust the file, load it "
            "yourself with torch.load(..., weights_only=False) to get at it."
        ) from cause
    except Exception as cause:
        raise ValueError(
            f"weights must be a readable {path.suffix} file; got {str(path)!r} ({_first_line(cause)}). "
            "Get the file again, or save model.state_dict() anew."
        ) from cause
    return Checkpoint(_named_tensors(content, path), extras, digest_of(path))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_file(path: Path) -> tuple[Any, Mapping[str, Any]]:
    """Return what a file holds, and what it says beside tensors."""
    if path.suffix.lower() == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 - no mapping
    with warnings.catch_warnings(), _harmless():
        warnings.simplefilter("ignore")
        content = torch.load(path, map_location="cpu", weights_only=True)
    said = isinstance(content, Mapping) and not all(isinstance(value, Tensor) for value in content.values())
    return content, content if said else {}


def _harmless() -> contextlib.AbstractContextManager[Any]:
    """Let harmless objects be read; before PyTorch 2.6, which has no full list, none."""
    known = hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint")
    return torch.serialization.safe_globals(HARMLESS) if known else contextlib.nullcontext()


def _objects(path: Path) -> str:
    """Say which classes a file holds that could run code, where it can be seen."""
    names: list[str] = []
    with contextlib.suppress(Exception), _harmless():
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return (
        f"holds objects of {', '.join(sorted(names)[:3])}" if names else "is damaged or holds other objects"
    )


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint."""
    found = _state_in(content, path)
    if found is not None:
        return found
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"weights must hold a state dict; got {str(path)!r} with {_kind(content)}. Save model.state_dict()."
        )
    inside = next((key for key in WEIGHTS if isinstance(content.get(key), Mapping) and content[key]), None)
    where = "" if inside is None else f"{inside!r}, "
    content = content if inside is None else content[inside]
    odd = next(key for key, value in content.items() if not isinstance(value, Tensor))
    raise ValueError(
        f"weights must hold tensors only; got {str(path)!r} with {_kind(content[odd])} at {where}{odd!r}. "
        "Save model.state_dict()."
    )


def _state_in(content: Any, path: Path) -> dict[str, Tensor] | None:
    """Return the state dict in a checkpoint: the content itself, under a usual name, or else the only one."""
    if not isinstance(content, Mapping) or not content:
        return None
    if all(isinstance(value, Tensor) for value in content.values()):
        return {str(key): value for key, value in content.items()}
    for key in WEIGHTS:
        found = _state_in(content.get(key), path)
        if found is not None:
            return found
    others = {
        str(key): found for key, value in content.items() if (found := _state_in(value, path)) is not None
    }
    if len(others) > 1:
        raise ValueError(
            f"weights must hold one state dict; got {str(path)!r} with {', '.join(map(repr, others))}. "
            "Save the one to explain alone."
        )
    return next(iter(others.values()), None)


def with_weights(build: Builder, state: dict[str, Tensor], name: str, path: str) -> nn.Module:
    """Build a network with as many classes and input channels as the weights have, and load them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what builders say about their initial weights, which are replaced
        model = build()
        state, prefix, outside = _without_prefix(state, set(model.state_dict()), name, path)
        _fit_stem(model, state)
        classes = _classes(model.state_dict(), state)
        if classes is not None:
            model = build(num_classes=classes)
            _fit_stem(model, state)
    own = model.state_dict()
    counters = {key: own[key] for key in own.keys() - state.keys() if _may_miss(key)}
    state = counters | state
    _check_fit(own, state, name, path, prefix, outside)
    model.load_state_dict(state)
    return model


def _fit_stem(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Let the first convolution read as many channels as the weights do, if they differ in just that."""
    name, stem = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), ("", None))
    weight = state.get(f"{name}.weight")
    if stem is None or weight is None or stem.groups != 1 or weight.dim() != 4:
        return
    mine, theirs = stem.weight.shape, weight.shape
    if mine[1] != theirs[1] and (mine[0], mine[2:]) == (theirs[0], theirs[2:]):
        stem.in_channels = theirs[1]
        stem.weight = nn.Parameter(torch.empty_like(weight))


def _may_miss(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _without_prefix(
    state: dict[str, Tensor], own: set[str], name: str, path: str
) -> tuple[dict[str, Tensor], str, list[str]]:
    """Return the weights under the names of the network, the prefix that they had, and the names of those without it.

    Wrappers may stand anywhere in a name, counters of profilers are left out. What a trainer keeps beside the network is
    outside of the prefix, and is left out; what is inside has to fit.
    """
    wrappers = {part for part in WRAPPERS if not any(part in key.split(".") for key in own)}
    plain = {
        ".".join(part for part in key.split(".") if part not in wrappers): value
        for key, value in state.items()
        if key in own or key.rpartition(".")[2] not in COUNTERS
    }
    needed = {key for key in own if not _may_miss(key)}
    hits: Counter[str] = Counter()
    for key in plain:
        cuts = [0, *(dot.end() for dot in re.finditer(r"\.", key))]
        hits.update(key[:cut] for cut in cuts if key[cut:] in needed)
    most = max(hits.values(), default=0)
    best = [prefix for prefix, count in hits.items() if count == most]
    usual = [prefix for prefix in best if "ema" not in re.split(r"[._]", prefix)] or best
    if len(usual) > 1 and "" not in usual and most == len(needed):
        raise ValueError(
            f"weights must fit model {name!r} once; got {path!r} with weights for it under the prefixes "
            f"{', '.join(map(repr, usual))}. Save the ones to explain alone."
        )
    prefix = "" if "" in usual or not usual else usual[0]
    inside = {key.removeprefix(prefix): value for key, value in plain.items() if key.startswith(prefix)}
    return inside, prefix, [key for key in plain if not key.startswith(prefix)]


def _classes(own: dict[str, Tensor], state: dict[str, Tensor]) -> int | None:
    """Return the number of classes of a state that differs in just that from the network; else None."""
    pairs = [(own[key].shape, state[key].shape) for key in own.keys() & state.keys()]
    different = [(mine, theirs) for mine, theirs in pairs if mine != theirs]
    counts = {theirs[0] if mine[1:] == theirs[1:] and theirs else 0 for mine, theirs in different}
    return counts.pop() if len(counts) == 1 and 0 not in counts else None


def _check_fit(
    own: dict[str, Tensor], state: dict[str, Tensor], name: str, path: str, prefix: str, outside: list[str]
) -> None:
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    problems = [
        f"{len(keys)} tensors {what} (such as {keys[0]!r})"
        for what, keys in (("missing", missing), ("it does not know", unknown), ("of another shape", shapes))
        if keys
    ]
    where = f" under their common prefix {prefix!r}" if prefix else ""
    where += f" and {len(outside)} tensors without it (such as {outside[0]!r})" if outside and missing else ""
    if problems:
        raise ValueError(
            f"weights must fit model {name!r}; got {path!r} with {', '.join(problems)}{where}. "
            "Name the network that the file was saved from, as in --model resnet18, or your own: net.py:build, a function that returns it."
        )


def _kind(value: object) -> str:
    return "nothing" if isinstance(value, Mapping) and not value else f"a {type(value).__name__}"


def _first_line(cause: Exception) -> str:
    return f"{type(cause).__name__}: {str(cause).splitlines()[0][:120] if str(cause) else ''}".rstrip(": ")
