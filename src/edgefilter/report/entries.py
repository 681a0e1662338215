"""One explained output as a template shows it: words, tables and maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgefilter.banks.groups import MANY
from edgefilter.plots.arrays import Array, as_array, finite
from edgefilter.plots.blurring import blurred, chosen_sigma
from edgefilter.plots.style import color_limit
from edgefilter.plots.words import spaced

from .pictures import as_data_uri, map_png
from .protocols import Reported
from .sprites import Sprite, make_sprite, reduced
from .tables import color_table, filter_table, group_tables, kinds, others, pair_table
from .words import class_name, doubts_in_words, heading_of, percent, signed, whereabouts

__all__ = ["PAIR_VALUES", "PIXEL_VALUES", "entry_content"]

# Values of all maps of one photo, with all its targets: the page of a 224 photo stays below 1 MB with three targets and a contrast, be they
# of 3 colors and 9 or 49 filters or of 13 colors (tests/report/test_sizes.py). A value takes 0.5 to 1.3 bytes in the page.
PIXEL_VALUES, PAIR_VALUES = 160_000, 250_000


ROUNDING = 1e-5  # of a conserved share: sums in float32, in whatever order their numbers lie
TIMES = "\N{MULTIPLICATION SIGN}"


def entry_content(
    explanation: Reported,
    section: str,
    share: int,
    class_names: Sequence[str] | None,
    probability: float | None,
) -> dict[str, Any]:
    """Return what the page shows of one output.

    Parameters
    ----------
    explanation : Explanation
        Of one image.
    section : str
        Its identifier in the page.
    share : int
        Outputs of the photo, which share the room for maps.
    class_names : sequence of str or None
    probability : float or None
        Of the explained class, if it is known.
    """
    heading = heading_of(explanation, class_names)
    groups = kinds(explanation)
    listed = [(group.name, group.filters) for some in groups.values() for group in some]
    filters = filter_table(explanation, rest=len(listed))
    left = others(filters, len(explanation.filters))
    listed += [(f"{len(left)} others", left)] if left else []
    total = explanation.total[0]
    pixels, pairs = _sprites(explanation, share)
    labels = [spaced(label) for label in explanation.filter_labels]
    return {
        "id": section,
        "heading": heading,
        "favored": class_name(explanation.target[0], class_names),
        "rather": None if _alone(explanation) else class_name(explanation.against[0], class_names),
        "facts": _facts(explanation, probability),
        "summary": explanation.summary(0, class_names).splitlines(),
        "doubts": doubts_in_words(explanation, dict(zip(explanation.filters, labels, strict=True))),
        "colors": color_table(explanation),
        "filters": filters,
        "groups": group_tables(explanation, groups),
        "many": len(explanation.filters) > MANY,
        "names": explanation.colors,
        "pairs": pair_table(explanation, filters.rows, left),
        "resolution": _resolution(pixels, pairs),
        **_main_map(explanation, pixels, pairs),
        "data": {
            "colors": [spaced(name) for name in explanation.colors],
            "filters": labels,
            "groups": listed,
            "pixels": None if pixels is None else pixels.to_dict(),
            "pairs": pairs.to_dict(),
            "width": image_size(explanation)[1],
            "total": float(total) if total.isfinite() else None,
        },
    }


def _facts(explanation: Reported, probability: float | None) -> list[tuple[str, str]]:
    """Return the numbers at the top: output, probability, base, and what the scores add up to."""
    output, base = float(explanation.output[0]), float(explanation.base[0])
    share = float(explanation.conserved_share[0])
    names = {None: "Output", "odds": "Log odds against chance"}
    values = {names.get(explanation.against[0], "Difference of the outputs"): output}
    values |= {"Base, without the image": base, "Scores add up to": float(explanation.total[0])}
    rows = [(name, signed(np.array([value]))[0]) for name, value in values.items() if not math.isnan(value)]
    if probability is not None and _alone(explanation):
        rows.insert(1, ("Probability", percent(probability)))
    if math.isfinite(share):
        whole = abs(share - 1) < ROUNDING
        rows.append(("Conserved", percent(1.0 if whole else share)))
    return rows


def _alone(explanation: Reported) -> bool:
    """Return whether an output is explained without a class that it is compared with."""
    return explanation.against[0] in (None, "odds")


def _sprites(explanation: Reported, share: int) -> tuple[Sprite | None, Sprite]:
    """Return the maps of the colors at the pixels, if they are known, and those of the pairs at the first layer."""
    pairs = as_array(explanation.response[0].flatten(0, 1))
    pixels = None
    if explanation.pixel is not None:
        maps = np.stack([as_array(explanation.pixel_map(name)[0]) for name in explanation.colors])
        pixels = make_sprite(finite(maps), PIXEL_VALUES // share)
    return pixels, make_sprite(finite(pairs), PAIR_VALUES // share)


def _main_map(explanation: Reported, pixels: Sprite | None, pairs: Sprite) -> dict[str, Any]:
    """Return the map of all colors and filters together as a picture, its scale, and what it shows in words."""
    whole = explanation.response[0].sum((0, 1)) if explanation.pixel is None else explanation.pixel[0].sum(0)
    values: Array = finite(as_array(whole))
    sprite, sigma = pixels or pairs, round(chosen_sigma(explanation, None) * 2) / 2
    width = image_size(explanation)[1]
    shown = blurred(reduced(values[None], sprite.size)[0], sigma * sprite.size[1] / width)
    limit, clipped = color_limit(shown)
    notes = [f"Smoothed by {sigma:g} pixels, sums kept." if sigma else "Not smoothed."]
    notes += ["Single places lie beyond the ends of the scale."] if clipped else []
    return {
        "map": as_data_uri(map_png(shown, limit)),
        "where": whereabouts(values),
        "ends": signed(np.array([-limit, limit])),
        "note": " ".join(notes),
        "sigma": sigma,
        "smoothest": max(16, 2 * sigma),
    }


def image_size(explanation: Reported) -> tuple[int, int]:
    """Return height and width of the image in pixels; of the first layer, where the image is unknown."""
    if explanation.window is not None:
        height, width = explanation.window.size
        return height, width
    height, width = (explanation.response if explanation.pixel is None else explanation.pixel).shape[-2:]
    return height, width


def _resolution(pixels: Sprite | None, pairs: Sprite) -> str:
    """Say how fine the maps in the page are, and how exact."""
    said = []
    if pixels is not None:
        said.append(f"Maps of colors have {_grid(pixels, 'pixels of the image')}")
    said.append(
        f"{'maps' if said else 'Maps'} of filters, groups and pairs {_grid(pairs, 'places of the first layer')}"
    )
    return (
        "; ".join(said) + ". A coarser map adds up what falls into each of its places, so that sums stay. "
        "Maps are stored in 255 steps each: the value under the pointer comes with how exact it is. Tables are not rounded by this."
    )


def _grid(sprite: Sprite, unit: str) -> str:
    height, width = sprite.size
    text = f"{height} {TIMES} {width} places"
    if sprite.size != sprite.source:
        text += f" for {sprite.source[0]} {TIMES} {sprite.source[1]} {unit}"
    return text
