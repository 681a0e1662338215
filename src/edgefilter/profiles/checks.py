"""What a class profile takes in, checked: names, explanations and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from edgefilter.attribution.explanation import Explanation

__all__ = ["SCORES", "check_explanation", "check_labels", "clean_names", "plainly", "shortened"]

SCORES = ("color", "edge", "color_edge")


def clean_names(
    names: Any, argument: str, count: int | None = None, *, unique: bool = True
) -> tuple[str, ...]:
    """Return names as a tuple.

    Raises
    ------
    ValueError
        If there are none, not ``count`` of them, or one twice where they have to be ``unique``.
    """
    found = () if isinstance(names, str) else tuple(names)
    if not found or not all(isinstance(name, str) for name in found) or count not in (None, len(found)):
        wanted = "names" if count is None else f"{count} names"
        raise ValueError(
            f"{argument} must be {wanted}; got {shortened(names if isinstance(names, str) else found)}. "
            f"Pass a sequence of str."
        )
    if unique and len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise ValueError(f"{argument} must be different names; got {twice!r} twice. Rename one of them.")
    return found


def shortened(value: Any) -> str:
    """Return what stands for a value in a message, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def plainly(name: str) -> str:
    """Return a name as it is compared: in lower case, with spaces only.

    Examples
    --------
    >>> plainly("Great_Dane")
    'great dane'
    """
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def check_explanation(
    explanation: Explanation,
    colors: tuple[str, ...],
    filters: tuple[str, ...],
    pixel_size: tuple[int, int] | None,
) -> None:
    """Raise unless explanations are of these colors and filters, and have pixels where they are wanted."""
    if not all(hasattr(explanation, name) for name in ("response", "pixel", "colors", "filters")):
        raise TypeError(
            f"explanation must be an Explanation; got {type(explanation).__name__}. "
            "Pass what EdgeFilterAttribution.explain() returns."
        )
    for name, mine in (("colors", colors), ("filters", filters)):
        theirs = tuple(getattr(explanation, name))
        if mine != theirs:
            raise ValueError(
                f"explanation must have the profile's {name} {shortened(mine)}; got {shortened(theirs)}. "
                "Explain all images with one bank, or make a profile for each."
            )
    size = None if explanation.pixel is None else tuple(explanation.pixel.shape[2:])
    if pixel_size is not None and size != pixel_size:
        raise ValueError(
            f"explanation must have pixels of size {pixel_size}, as the profile; got {size}. "
            "Explain images of one size, or leave pixel_size out."
        )


def check_labels(labels: Tensor, images: int, num_classes: int) -> None:
    """Raise unless there is a class for each image."""
    whole = isinstance(labels, Tensor) and not labels.is_floating_point() and not labels.is_complex()
    if not whole or labels.dtype == torch.bool:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(
            f"labels must be a tensor of integers; got {kind}. Pass for example torch.tensor([0])."
        )
    if labels.shape != (images,):
        raise ValueError(
            f"labels must have shape ({images},), one for each image; got {tuple(labels.shape)}. "
            "Pass the classes of these images."
        )
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise ValueError(
            f"labels must be between 0 and {num_classes - 1}, as there are {num_classes} classes; got "
            f"{int(wrong[0])}. Leave such images out, or make a profile of more classes."
        )
