"""The arguments of a classifier, checked, and what stands in for those that are not given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from edgefilter.banks.colors import color_names

from .probing import Probe

__all__ = ["as_listed", "channel_count", "channel_names", "check_kinds", "per_channel"]


def check_kinds(model: object, class_names: object, preprocess: object) -> None:
    """Raise if an argument of a classifier is none, for example because of their order."""
    order = "The order is Classifier(model, class_names, preprocess)."
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got {type(model).__name__}. {order}")
    names = list(class_names) if isinstance(class_names, Iterable) else [class_names]
    odd = [name for name in names if not isinstance(name, str)]
    if isinstance(class_names, (str, Mapping)) or odd or not names:
        got = "none" if not names else f"a {type(odd[0] if odd else class_names).__name__}"
        raise TypeError(f"class_names must be a list of str, one for each output; got {got}. {order}")
    if not callable(preprocess):
        raise TypeError(f"preprocess must be callable; got a {type(preprocess).__name__}. {order}")


def as_listed(values: Any) -> float | Sequence[float] | None:
    """Return numbers of NumPy or torch as Python's."""
    listed: float | Sequence[float] | None = values.tolist() if hasattr(values, "tolist") else values
    return listed


def channel_count(given: Mapping[str, Any], found: Probe | None, model: nn.Module) -> int:
    """Return the number of input channels: as many as were named, else as the preprocessing gives, else as the stem reads."""
    lengths = {
        name: len(value) for name, value in given.items() if isinstance(value, Sequence) and len(value) != 1
    }
    if len(set(lengths.values())) > 1 or isinstance(given["channels"], str):
        raise ValueError(
            "channels, mean and std must have one entry for each input channel; got "
            f"{', '.join(f'{name}={given[name]!r}' for name in given if given[name] is not None)}. Pass as many of each."
        )
    if given["channels"] is not None:
        return len(given["channels"])
    if lengths:
        return next(iter(lengths.values()))
    stem = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    return len(found.channels) if found else 3 if stem is None else stem.in_channels


def channel_names(given: Sequence[str] | None, found: Probe | None, count: int) -> tuple[str, ...]:
    """Return the names of the channels: as given, else as measured, else by their number."""
    if given is None:
        return found.channels if found and len(found.channels) == count else color_names(count)
    if len(set(given)) < len(given) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"channels must be different names; got {list(given)!r}. Name each channel once.")
    return tuple(given)


def per_channel(what: str, value: float | Sequence[float] | None, count: int) -> tuple[float, ...] | None:
    """Return a number for each channel."""
    if value is None:
        return None
    values = tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),)
    if what == "std" and not all(values):
        raise ValueError(
            f"std must not be 0, as values are divided by it; got {value!r}. Pass 1 to leave values."
        )
    return values * count if len(values) == 1 else values
