"""An explanation as a safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgefilter._files import read_tagged, write_tagged
from edgefilter.stems.windows import Window

from .views import PARTS

if TYPE_CHECKING:
    from .views import ScoreViews

__all__ = ["store", "stored"]

FORMAT = "edgefilter explanation 1"
TENSORS = (*PARTS, "inputs", "readings")
WINDOW = ("shares", "pixels")
NAMES = ("target", "colors", "filters", "filter_labels", "against", "channels")


def store(explanation: ScoreViews, path: str | Path, *, overwrite: bool) -> Path:
    """Write tensors and names of an explanation to a new file."""
    found = {name: getattr(explanation, name) for name in TENSORS}
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in found.items()
        if tensor is not None
    }
    names = {name: list(getattr(explanation, name)) for name in NAMES} | {"left_out": [explanation.left_out]}
    window = explanation.window
    if window is not None:
        tensors |= {f"window_{name}": getattr(window, name).contiguous() for name in WINDOW}
    return write_tagged(
        path,
        tensors,
        FORMAT,
        overwrite=overwrite,
        names=names,
        groups=explanation.groups,
        members=explanation.members,
        about=explanation.about,
        window=None if window is None else [window.stride, window.dilation, window.size],
    )


def stored(path: str | Path) -> dict[str, Any]:
    """Return the arguments of the explanation that a file holds. Older files lack some."""
    tensors, about = read_tagged(path, FORMAT, "Explanation")
    names: dict[str, Any] = {name: _hashable(value) for name, value in about["names"].items()}
    names["left_out"] = names.get("left_out", ("",))[0]
    groups = {
        kind: {name: tuple(filters) for name, filters in members.items()}
        for kind, members in about.get("groups", {}).items()
    }
    members = {name: tuple(channels) for name, channels in about.get("members", {}).items()}
    window = None
    if (known := about.get("window")) is not None:
        window = Window(*(tensors.pop(f"window_{name}") for name in WINDOW), *map(tuple, known))  # type: ignore[arg-type]
    more = {"groups": groups, "members": members, "about": about.get("about", {}), "window": window}
    return {"pixel": None, **tensors, **names, **more}


def _hashable(values: list[Any]) -> tuple[Any, ...]:
    return tuple(tuple(value) if isinstance(value, list) else value for value in values)
