"""What the output does when a color gets a little brighter or darker where it speaks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgefilter.banks.colors import Colors
from edgefilter.lrp.recolored import Recolored

from .forward import Forward
from .levels import COLUMNS, level_of, relevant_places
from .maps import blurred
from .partial import PartialRuns

__all__ = ["readings"]

# Chosen by agreement with other steps, in the whole image or in a part of it, of the size that is named: benchmarks/levels.py. Of readings that are
# not "unclear" (47 % of the colors on fruits, 31 % on ImageNet), 92 % to 98 % agree on fruits and 91 % to 97 % on ImageNet (EfficientNet-lite0, 100
# photos each); with steps twice as large, 88 % to 96 % and 76 %: there a color speaks for small changes only. Without smoothing, it is 89 %
# in place of 97 % on ImageNet. What needs no step is wrong too often: the gradient at the photo (agrees in 56 % to 85 %), and whether the photo
# is darker there than elsewhere (38 % to 66 %).
STEP = 0.05  # of the range of the image's values
SMOOTH = 0.02  # of the longer side of the image, standard deviation
HELD = 0.5  # of the smoothed relevance: the places that get the whole step

# Of all scores by size: the colors that are looked at beside the largest, each of which costs two runs of the model. With one, explain() takes
# 7 % to 9 % longer for fruits, 8 % to 10 % for EfficientNet-lite0 and 15 % for ResNet-18 (one core).
SHARE = 0.4


def readings(
    forward: Forward, colors: Colors, pixel: Tensor, scores: Tensor, runs: PartialRuns
) -> Tensor | None:
    """Return what :class:`~edgefilter.attribution.levels.Levels` are made of, shape (N, C, 5): its ``COLUMNS``; None if they have no colors.

    Parameters
    ----------
    forward : Forward
        The run that was explained.
    colors : Colors
        What its channels are scored as.
    pixel : Tensor, shaped as the input
        The relevance of its pixels.
    scores : Tensor, shape (N, C)
    runs : PartialRuns

    Notes
    -----
    Costs two runs of the model for the color with the largest score of each image, and two for each further color that has 40 % of the scores.
    """
    read = forward.reads[0]
    place = forward.run.place_of(read.inputs)
    values = forward.start.leaves[place].detach().movedim(read.axis, 1)
    pixel = pixel.movedim(read.axis, 1)
    if values.dim() != 4 or not values.numel() or values.shape[1] != read.channels:
        return None  # of a layer further up
    channels, members = colors.channels(read.channels), colors.members(read.channels)
    places = [[channels.index(one) for one in some] for some in members.values()]
    found = torch.full((*scores.shape, len(COLUMNS)), torch.nan, dtype=scores.dtype, device=scores.device)
    found[:, :, :2] = level_of(values, pixel, scores, places)
    step = _step(values)
    found[:, :, 2] = step[:, None].to(scores)
    recolored = None if colors.basis is None else Recolored(colors.basis)
    for chosen, some in _chosen(scores):
        towards = _direction(pixel, scores, places, chosen) * step[:, None, None, None]
        moved = [(values + sign * towards).movedim(1, read.axis) for sign in (1, -1)]
        images = moved if recolored is None else [recolored.images(one) for one in moved]
        change = runs.of_images(place, images) - runs.every[:, None]
        found[some, chosen[some], 3:] = change.to(found)[some]
    return found


def _step(values: Tensor) -> Tensor:
    """Return the step of each image, shape (N,): of an image of one value, by its size."""
    flat = values.flatten(1)
    span = flat.amax(1) - flat.amin(1)
    return STEP * torch.where(span > 0, span, flat.abs().amax(1))


def _chosen(scores: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return for each rank the color of each image, shape (N,), and the images that have one of this rank which matters."""
    sizes = scores.abs().nan_to_num(0)
    order = sizes.argsort(dim=1, descending=True, stable=True)
    matters = sizes.gather(1, order) >= SHARE * sizes.sum(1, keepdim=True)
    matters[:, 0] = True
    matters &= sizes.gather(1, order) > 0
    return [
        (order[:, rank], matters[:, rank].nonzero()[:, 0])
        for rank in range(scores.shape[1])
        if bool(matters[:, rank].any())
    ]


def _direction(pixel: Tensor, scores: Tensor, places: Sequence[Sequence[int]], chosen: Tensor) -> Tensor:
    """Return where the chosen color of each image speaks, from 0 to 1, shaped as the image."""
    found = torch.zeros_like(pixel)
    for color, some in enumerate(places):
        those = (chosen == color).nonzero()[:, 0]
        if len(those):
            weight = relevant_places(pixel[those][:, list(some)], scores[those, color])
            found[those[:, None], torch.tensor(some, device=those.device)] = _strongest(weight).to(found)
    return found


def _strongest(weight: Tensor) -> Tensor:
    """Return 1 at the places that hold half of the smoothed weight of an image, and less elsewhere, in proportion; shape (N, C, H, W)."""
    smooth = blurred(weight.flatten(0, 1), SMOOTH * max(weight.shape[2:])).flatten()
    flat = smooth.reshape(len(weight), -1)
    ordered = flat.sort(dim=1, descending=True).values
    held = (ordered.cumsum(1) < HELD * ordered.sum(1, keepdim=True)).sum(1, keepdim=True)
    least = ordered.gather(1, held.clamp(max=flat.shape[1] - 1))
    return (flat / torch.where(least > 0, least, 1)).clamp(max=1).view_as(weight)
