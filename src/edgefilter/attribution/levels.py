"""Whether high or low values of a color speak for the output: dark or bright places."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .views import ScoreViews

__all__ = ["COLUMNS", "Levels", "level_of", "levels_of", "relevant_places"]

COLUMNS = ("there", "everywhere", "step", "higher", "lower")  # of ``Explanation.readings``

# Of the sizes of all color scores: a step that changes the output by less says nothing. With 0.5 % in place of 1 %, readings agree with other
# steps of 5 % in 87 % to 98 % of the photos (benchmarks/levels.py), not in 91 % to 98 %.
LEAST = 0.01


class Levels(NamedTuple):
    """Whether high or low values of each color speak for the output, and how that was measured.

    ``N`` images, ``C`` colors. NaN is what was not measured: the steps are taken for the color with the largest score, and for another that has
    40 % of all scores by size.

    Examples
    --------
    >>> import edgefilter as ef
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1, bias=False), torch.nn.Flatten(), torch.nn.AdaptiveAvgPool1d(1)).eval()
    >>> _ = network[0].weight.data.copy_(torch.tensor([0.0, -2.0, 0.0]).reshape(1, 3, 1, 1))  # likes what is dark in green
    >>> image = torch.tensor([0.5, -1.0, 0.5]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    >>> levels = ef.EdgeFilterAttribution(network).explain(image).levels()
    >>> levels.reading
    (('', 'low', ''),)
    >>> round(float(levels.there[0, 1]), 3), round(float(levels.higher[0, 1]), 3), round(float(levels.lower[0, 1]), 3)
    (-1.0, -0.15, 0.15)
    """

    there: Tensor
    """Mean value of the color where it speaks, shape (N, C): weighted with its relevance of the sign of its score, in units of the model's input."""
    everywhere: Tensor
    """Mean value of the color in the whole image, shape (N, C), in the same units."""
    step: Tensor
    """By how much the color was raised and lowered, shape (N,): 5 % of the range of the image's values, in the same units. The places that
    hold half of the color's (smoothed) relevance get the whole step, others less, in proportion to it."""
    higher: Tensor
    """What the explained output gained by that when the color was raised there, shape (N, C); negative where it lost."""
    lower: Tensor
    """The same when it was lowered."""
    reading: tuple[tuple[str, ...], ...]
    """For each image and color ``"high"`` or ``"low"``: the values that speak as the score does, for the output if it is positive and against
    it if it is negative. ``"unclear"`` if both steps change the output alike, or hardly at all; ``""`` if no step was taken."""


def levels_of(explanation: ScoreViews) -> Levels:
    """Return what is known of the levels; see :meth:`edgefilter.Explanation.levels`."""
    found = explanation.readings
    if found is None:
        found = explanation.response.new_full((*explanation.response.shape[:2], len(COLUMNS)), torch.nan)
        found[:, :, :2] = _described(explanation)
    there, everywhere, step, higher, lower = found.unbind(2)
    scores = explanation.color
    least = LEAST * scores.abs().sum(1)
    rows = zip(scores.tolist(), higher.tolist(), lower.tolist(), least.tolist(), strict=True)
    reading = tuple(
        tuple(_reading(*of_color, rest[-1]) for of_color in zip(*rest[:-1], strict=True)) for rest in rows
    )
    return Levels(there, everywhere, step[:, 0], higher, lower, reading)


def _reading(score: float, higher: float, lower: float, least: float) -> str:
    if higher != higher:  # NaN
        return ""
    if score * (higher - lower) == 0 or higher * lower >= 0 or min(abs(higher), abs(lower)) < least:
        return "unclear"
    return "high" if score * higher > 0 else "low"


def _described(explanation: ScoreViews) -> Tensor:
    """Return the mean values of each color where it speaks and everywhere, shape (N, C, 2), NaN if images or pixels are unknown."""
    inputs, pixel = explanation.inputs, explanation.pixel
    if pixel is None or inputs is None or explanation.about.get("basis") or inputs.shape != pixel.shape:
        return explanation.response.new_full((*explanation.response.shape[:2], 2), torch.nan)
    names = explanation.channels
    places = [[names.index(one) for one in explanation.members[color]] for color in explanation.colors]
    return level_of(inputs, pixel, explanation.color, places)


def level_of(values: Tensor, pixel: Tensor, scores: Tensor, places: list[list[int]]) -> Tensor:
    """Return the mean values of each color where it speaks and in the whole image, shape (N, C, 2).

    Parameters
    ----------
    values, pixel : Tensor, shape (N, channels, H, W)
        The image, and the relevance of its pixels.
    scores : Tensor, shape (N, C)
    places : list of list of int
        The channels of each color.
    """
    found = []
    for color, some in enumerate(places):
        weight = relevant_places(pixel[:, some], scores[:, color]).flatten(1)
        value = values[:, some].flatten(1).to(weight)
        found.append(torch.stack([(weight * value).sum(1) / weight.sum(1), value.mean(1)], 1))
    return torch.stack(found, 1).to(scores)


def relevant_places(pixel: Tensor, score: Tensor) -> Tensor:
    """Return the relevance of a color that has the sign of its score, as sizes, in float32 or wider.

    Parameters
    ----------
    pixel : Tensor, shape (N, channels of the color, H, W)
    score : Tensor, shape (N,)
    """
    wide = torch.promote_types(
        pixel.dtype, torch.float32
    )  # sums of many places do not fit into half precision
    return (pixel.to(wide) * score.sign()[:, None, None, None].to(wide)).clamp(min=0)
