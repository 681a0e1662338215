"""What trainers write about a network beside its weights, under the names that they use."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from .description import Description, described

__all__ = ["facts_in"]

# our key: what trainers call it, the surest names first
ALIASES = {
    "architecture": ("architecture", "arch", "model_name"),
    "class_names": (
        *("class_names", "classes", "class_to_idx", "idx_to_class", "idx_to_label", "label_to_idx"),
        *("id2label", "label2id", "label_names", "labels", "categories", "target_names"),
    ),
    "size": ("size", "img_size", "image_size", "input_size", "imgsz", "crop_size", "resolution"),
    "resize": ("resize", "resized", "resize_size"),
    "crop": ("crop",),
    "interpolation": ("interpolation",),
    "mean": ("mean", "image_mean", "pixel_mean", "norm_mean", "normalize_mean"),
    "std": ("std", "image_std", "pixel_std", "norm_std", "normalize_std"),
    "channels": ("channels", "channel_names", "bands"),
    "bits": ("bits",),
    "white": ("white",),
}
# parts of a checkpoint that speak of photos; those of its optimizer, or of noise, have a mean and a size of their own
PHOTOS = (
    "preprocessing",
    "preprocess",
    "preprocessor",
    "transform",
    "transforms",
    "data",
    "dataset",
    "datamodule",
    "normalization",
    "normalize",
    "input",
)
SETTINGS = (
    *(
        "hyper_parameters",
        "hparams",
        "config",
        "cfg",
        "args",
        "opt",
        "options",
        "settings",
        "meta",
        "metadata",
    ),
    *(
        "datamodule_hyper_parameters",
        "pretrained_cfg",
        "default_cfg",
        "model_args",
        "train_args",
        "edgefilter",
    ),
)
OF_THE_MODEL = ("size", "resolution")  # among settings these may be the network's

LARGEST = 1000  # numbers of an array that may be a mean


def facts_in(extras: Mapping[str, Any]) -> Description:
    """Return what a checkpoint or the metadata of a file says about its network; what is no such value is passed over.

    Examples
    --------
    >>> found = facts_in({"epoch": 3, "hyper_parameters": {"img_size": 64, "class_to_idx": {"b": 1, "a": 0}}})
    >>> found.size, found.class_names
    ((64, 64), ('a', 'b'))
    """
    found = Description()
    for section, values in _mappings("", extras):
        for key, names in ALIASES.items():
            for name in names:
                doubtful = section in SETTINGS and name in OF_THE_MODEL
                if getattr(found, key) is None and name in values and not doubtful:
                    with contextlib.suppress(KeyError, ValueError, TypeError, OSError):
                        found = found.over(described({key: _value(key, values[name])}))
    return found


def _mappings(section: str, given: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a mapping and the sections inside it with their names, those outside first."""
    values = {str(key): _plain(value) for key, value in given.items()}
    yield section, values
    for key, value in values.items():
        if key.casefold() in (*PHOTOS, *SETTINGS) and isinstance(value, Mapping):
            yield from _mappings(key.casefold(), value)


def _plain(value: Any) -> Any:
    """Return a value of a checkpoint as JSON would have it: lists, mappings, numbers and texts."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return json.loads(value) if value[:1] in "[{-.0123456789" else value
    if hasattr(value, "tolist"):  # of NumPy or torch; no weights, which are large
        return value.tolist() if math.prod(value.shape) <= LARGEST else None
    return vars(value) if isinstance(value, argparse.Namespace) else value


def _value(key: str, value: Any) -> Any:
    """Return a value as the key takes it: of an input's shape (C, H, W) height and width; no text as a file's name."""
    if key == "size" and isinstance(value, (list, tuple)) and len(value) in (3, 4):
        return list(value)[-2:]
    if key == "class_names" and isinstance(value, str) and "," not in value:
        return None
    if isinstance(value, str) and "," in value:  # the metadata of a file are texts
        parts = [part.strip() for part in value.split(",")]
        kind: Any = {"mean": float, "std": float, "size": int, "resize": int}.get(key, str)
        return list(map(kind, parts))
    return value
