"""What the output does when a color gets a little brighter or darker where it speaks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgefilter.banks.colors import Colors
from edgefilter.lrp.recolored import Recolored

from .forward import Forward
from .levels import COLUMNS, level_of, relevant_places
from .partial import PartialRuns

__all__ = ["readings"]

# STEP_MEASURED
STEP = 0.05  # of the range of the image's values

SHARE = 0.33  # of all scores by size: the colors that are looked at beside the largest


def readings(
    forward: Forward, colors: Colors, pixel: Tensor, scores: Tensor, runs: PartialRuns
) -> Tensor | None:
    """Return what :class:`~edgefilter.attribution.levels.Levels` are made of, shape (N, C, 5): its ``COLUMNS``.

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
    Costs two runs of the model for the color with the largest score of each image, and two for each further color that has a third of the scores.
    """
    read = forward.reads[0]
    place = forward.run.place_of(read.inputs)
    values = forward.start.leaves[place].detach().movedim(read.axis, 1)
    pixel = pixel.movedim(read.axis, 1)
    if values.dim() != 4 or not values.numel() or values.shape != pixel.shape:
        return None
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
    """Return 1 where the relevance of the chosen color of each image is largest, and shares of it elsewhere, shaped as the image."""
    found = torch.zeros_like(pixel)
    for color, some in enumerate(places):
        those = (chosen == color).nonzero()[:, 0]
        weight = relevant_places(pixel[those][:, list(some)], scores[those, color])
        largest = weight.flatten(1).amax(1) if weight.numel() else weight.new_zeros(len(those))
        share = weight / torch.where(largest > 0, largest, 1)[:, None, None, None]
        found[those[:, None], torch.tensor(some, device=those.device)] = share
    return found
