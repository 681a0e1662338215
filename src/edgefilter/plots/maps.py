"""The maps of an explanation, blurred so that no grid of dots hides the object, with their labels and scales."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgefilter.banks.bank import FilterBank

from .arrays import Array, as_array, as_picture
from .blurring import blurred, chosen_sigma, pixel_stride
from .pictures import SignedMap
from .protocols import Explained
from .words import spaced

__all__ = [
    "check_bank",
    "check_explained",
    "filter_map",
    "first_image",
    "pixel_map",
    "pixel_values",
    "shown_picture",
]

PIXEL = "relevance of a pixel, colors summed"
PLACE = "relevance of a place"


def check_explained(explanation: Any) -> None:
    """Raise unless something is an explanation."""
    if not hasattr(explanation, "response") or not hasattr(explanation, "pixel"):
        raise TypeError(
            f"explanation must be an Explanation; got {type(explanation).__name__}. Pass what explain() returned."
        )


def first_image(explanation: Explained) -> Explained:
    """Return the explanation of the first image of a batch.

    Raises
    ------
    TypeError
        If it is no explanation.
    ValueError
        If there is none.
    """
    check_explained(explanation)
    if not len(explanation):
        raise ValueError("explanation must hold an image; got a batch of none. Explain at least one image.")
    return explanation[0]


def check_bank(bank: FilterBank | None, explanation: Explained) -> None:
    """Raise unless a bank is that of the explanation, or None."""
    if bank is not None and tuple(getattr(bank, "names", ())) != explanation.filters:
        raise ValueError(
            f"bank must hold the explanation's {len(explanation.filters)} filters; got {bank!r}. "
            "Pass the bank that was explained, or none."
        )


def shown_picture(explanation: Explained, image: Any) -> Array | None:
    """Return the picture that goes with a map: the given one, or what the explanation knows of its input."""
    pixel = explanation.pixel
    size = None if pixel is None else pixel.shape[2:]
    if image is not None:
        return as_picture(image, size)
    known = explanation.picture(0)
    return None if known is None or not known.size else as_picture(known)


def pixel_values(explanation: Explained, sigma: float) -> Array:
    """Return the relevance by pixel of one image, colors summed, blurred by so many pixels: shape (H, W).

    Raises
    ------
    ValueError
        If the explanation has none.
    """
    if explanation.pixel is None:
        raise ValueError(
            "explanation must hold relevance by pixel for a pixel map; got pixel=None. Explain images, or draw plot_colors and plot_filters."
        )
    return blurred(as_array(explanation.pixel[0].sum(0)), sigma)


def pixel_map(explanation: Explained, smooth: Any, picture: Array | None = None) -> SignedMap:
    """Return the pixel map of one image."""
    sigma = chosen_sigma(explanation, smooth)
    return SignedMap.fitting(
        pixel_values(explanation, sigma),
        "Relevance by pixel",
        PIXEL + blur_note(sigma),
        picture=picture,
        soft=sigma > 0,
    )


def filter_map(
    explanation: Explained, name: str, smooth: Any, picture: Array | None, bank: FilterBank | None
) -> SignedMap:
    """Return where the relevance of a filter of one image lies, on a scale of its own."""
    sigma = chosen_sigma(explanation, smooth)
    values = blurred(as_array(explanation.edge_map(name)[0]), sigma / pixel_stride(explanation))
    names = explanation.filters if name in explanation.filters else explanation.filter_labels
    place = names.index(name)
    kernel = None if bank is None else np.asarray(bank.weight[place])
    title = spaced(explanation.filter_labels[place])
    return SignedMap.fitting(
        values, title, PLACE + blur_note(sigma), picture=picture, kernel=kernel, soft=sigma > 0
    )


def blur_note(sigma: float) -> str:
    """Say by how much maps are blurred."""
    return f"; blurred by {sigma:.3g} pixel{'' if sigma == 1 else 's'}, sums kept" if sigma else ""
