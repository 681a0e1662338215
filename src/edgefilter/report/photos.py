"""The explanations of a report by photo: those of equal inputs belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from edgefilter.plots.arrays import Array, as_array, as_picture

from .protocols import Reported

__all__ = ["Photo", "grouped"]


class Photo(NamedTuple):
    """A photo with all that was explained about it."""

    entries: list[Reported]
    picture: Array | None
    name: str
    probabilities: Mapping[int, float]


def grouped(
    explanations: Iterable[Reported],
    images: Any,
    names: Sequence[str] | None,
    probabilities: Sequence[Mapping[int, float]] | None,
) -> list[Photo]:
    """Put the explanations of equal inputs together, outputs before contrasts.

    Parameters
    ----------
    explanations : iterable of Explanation
        Of any number of images each.
    images : picture, sequence of pictures, or None
        One for each photo, or a single one. Default: what the explanations show.
    names, probabilities : sequence or None
        One for each photo, in order of appearance.

    Raises
    ------
    TypeError
        If something is no explanation.
    ValueError
        If there is no explanation, or another number of pictures, names or probabilities than of photos.
    """
    images = list(images) if getattr(images, "ndim", 3) == 4 else images
    single = images is not None and not isinstance(images, (list, tuple))
    found: dict[Any, list[Reported]] = {}
    for explanation in explanations:
        if not hasattr(explanation, "response"):
            raise TypeError(
                f"explanations must be Explanations; got {type(explanation).__name__}. Pass what explain() returned."
            )
        for place in range(len(explanation)):
            one = explanation[place]
            key = len(found) if one.inputs is None else _key(one.inputs)
            found.setdefault("the only one" if single and one.inputs is None else key, []).append(one)
    if not found:
        raise ValueError("explanations must hold one image at least; got none. Pass what explain() returned.")
    photos = [sorted(entries, key=lambda one: one.against[0] is not None) for entries in found.values()]
    pictures = _each([images] if single else images, len(photos), "image")
    labels = _each(names, len(photos), "names")
    known = _each(probabilities, len(photos), "probabilities")
    return [
        Photo(entries, _picture(entries[0], picture), "" if name is None else str(name), shares or {})
        for entries, picture, name, shares in zip(photos, pictures, labels, known, strict=True)
    ]


def _key(inputs: Any) -> tuple[Any, ...]:
    values = as_array(inputs)
    return values.shape, values.tobytes()


def _each(given: Sequence[Any] | None, count: int, argument: str) -> Sequence[Any]:
    if given is None:
        return [None] * count
    if len(given) != count:
        raise ValueError(
            f"{argument} must be one for each of the {count} photos; got {len(given)}. Explanations of equal inputs are one photo."
        )
    return given


def _picture(explanation: Reported, image: Any) -> Array | None:
    """Return the picture of a photo: the given one, or what the explanation shows."""
    if image is None:
        return explanation.picture(0)
    pixel = explanation.pixel
    return as_picture(image, None if pixel is None else pixel.shape[2:])
