"""High and low values of a color in words: bright and dark, or toward one of two colors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .levels import Levels, levels_of

if TYPE_CHECKING:
    from .views import ScoreViews

__all__ = ["Ends", "ends_of", "named_levels", "said_of_levels"]

PERCENT = 5  # of the range of the image's values: the step that Levels are measured with
APART = 0.05  # of the range: two mean values that differ by less are alike

LIGHT = frozenset(("red", "green", "blue", "gray", "grey", "luminance", "Y", "r", "g", "b"))
POLES = {  # of the bases that are known by name: what high and low values of a chroma are
    ("opponent", "red-green"): ("red", "green"),
    ("opponent", "blue-yellow"): ("blue", "yellow"),
    ("luma", "Cb"): ("blue", "yellow"),
    ("luma", "Cr"): ("red", "cyan"),
}


class Ends(NamedTuple):
    """Words for high and for low values of a color, and for a step to either side."""

    high: str
    low: str
    higher: str
    lower: str
    either: str


def ends_of(explanation: ScoreViews, color: str) -> Ends:
    """Return the words for a color: bright and dark for light that an eye sees, high and low for other bands.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> explanation = Explanation(torch.zeros(1, 2, 1, 1, 1), None, torch.zeros(1), (0,), ("green", "B08"), ("sobel_x",))
    >>> ends_of(explanation, "green").low, ends_of(explanation, "B08").low
    ('dark in green', 'low in B08')
    """
    poles = POLES.get((explanation.about.get("basis", ""), color))
    if poles is not None:
        high, low = (f"toward {pole}" for pole in poles)
        return Ends(high, low, f"more {high}", f"more {low}", f"{high} or {poles[1]}")
    light = all(name in LIGHT for name in explanation.members.get(color, (color,)))
    high, low, higher, lower = (
        ("bright", "dark", "brighter", "darker") if light else ("high", "low", "higher", "lower")
    )
    return Ends(f"{high} in {color}", f"{low} in {color}", higher, lower, f"{high} or {low} in {color}")


def named_levels(explanation: ScoreViews) -> list[str]:
    """Return for each color of the first image which values speak, in two or three words; nothing where it was not measured.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> readings = torch.tensor([[[-1.0, 0.2, 0.1, -0.3, 0.2], [0.1, 0.2, 0.1, -0.3, -0.2]]])
    >>> explanation = Explanation(torch.ones(1, 2, 1, 2, 2), None, torch.tensor([8.0]), (0,), ("green", "blue"), ("sobel_x",),
    ...                           readings=readings)
    >>> named_levels(explanation)
    ['dark in green', 'as it is']
    """
    levels, found = levels_of(explanation), []
    for place, color in enumerate(explanation.colors):
        ends = ends_of(explanation, color)
        positive = float(explanation.color[0, place]) > 0
        unclear = "as it is" if _is_peak(levels, place, positive) else "unclear"
        words = {"high": ends.high, "low": ends.low, "unclear": unclear}
        found.append(words.get(levels.reading[0][place], ""))
    return found


def _is_peak(levels: Levels, place: int, positive: bool) -> bool:
    """Return whether both steps make a color of the first image speak less."""
    changes = (float(levels.higher[0, place]), float(levels.lower[0, place]))
    return max(changes) < 0 if positive else min(changes) > 0


def said_of_levels(explanation: ScoreViews, number: Callable[[float], str]) -> list[str]:
    """Say for the colors of one image that matter whether high or low values speak.

    Parameters
    ----------
    explanation : ScoreViews
        Of one image.
    number : callable
        How a change of the output is written.
    """
    levels, scores = levels_of(explanation), explanation.color[0].tolist()
    order = sorted(range(len(scores)), key=lambda place: -abs(scores[place]))
    said = []
    for rank, place in enumerate(order):
        known = levels.reading[0][place]
        words = ends_of(explanation, explanation.colors[place])
        if known in ("high", "low"):
            said.append(_measured(words, levels, place, scores[place] > 0, known == "high", number))
        elif rank == 0 and known == "unclear":
            said.append(_unclear(words, explanation.colors[place], levels, place, scores[place] > 0))
        elif rank == 0 and scores[place]:
            said += _described(explanation, words, levels, place)
    return said


def _measured(
    words: Ends, levels: Levels, place: int, positive: bool, high: bool, number: Callable[[float], str]
) -> str:
    """Say which end speaks, and what a step to either side did."""
    steps = [(words.higher, float(levels.higher[0, place])), (words.lower, float(levels.lower[0, place]))]
    ordered: Sequence[tuple[str, float]] = steps if high else steps[::-1]
    end = words.high if high else words.low
    changes = [
        f"{PERCENT} % {word}{' there' * (not index)} {'raises' if change > 0 else 'lowers'} {'it' if index else 'the output'} by "
        f"{_not_nothing(abs(change), number)}"
        for index, (word, change) in enumerate(ordered)
    ]
    other = "" if positive else f", {words.low if high else words.high} for it"
    return f"{_capital(end)} speaks {_side(positive)} it{other}: {', '.join(changes)}."


def _not_nothing(value: float, number: Callable[[float], str]) -> str:
    """Write a change with two digits where it would be nothing beside larger numbers."""
    said = number(value)
    return said if float(said) else f"{value:.2g}"


def _unclear(words: Ends, color: str, levels: Levels, place: int, positive: bool) -> str:
    """Say why neither end can be said to speak."""
    steps = f"{PERCENT} % {words.higher} and {PERCENT} % {words.lower} there"
    if _is_peak(levels, place, positive):
        return f"{_capital(color)} as it is speaks {_side(positive)} it: {steps} both {'lower' if positive else 'raise'} the output."
    changes = (float(levels.higher[0, place]), float(levels.lower[0, place]))
    alike = changes[0] * changes[1] > 0
    effect = (
        f"{steps} both {'raise' if changes[0] > 0 else 'lower'} the output"
        if alike
        else f"{steps} hardly change the output"
    )
    return f"Whether {words.either} speaks {_side(positive)} it is unclear: {effect}."


def _described(explanation: ScoreViews, words: Ends, levels: Levels, place: int) -> list[str]:
    """Say what the image is like where the color speaks, without a word on the network: nothing was measured."""
    there, everywhere = (float(values[0, place]) for values in (levels.there, levels.everywhere))
    if explanation.inputs is None or there != there:
        return []
    lowest, highest = float(explanation.inputs.min()), float(explanation.inputs.max())
    color = explanation.colors[place]
    if abs(there - everywhere) > APART * (highest - lowest):
        end, beside = words.high if there > everywhere else words.low, f"{everywhere:.2f} on average"
    elif lowest < 0 and abs(there) > APART * max(
        -lowest, highest
    ):  # of normalised images, 0 is no color and not black
        end, beside = words.high if there > 0 else words.low, "0 stands for no color"
    else:
        return []
    return [f"Where {color} speaks most, the image is {end}: {there:.2f} there, {beside}."]


def _side(positive: bool) -> str:
    return "for" if positive else "against"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
