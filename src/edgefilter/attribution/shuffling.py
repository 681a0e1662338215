"""The output of a model when a part of its responses comes from another image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edgefilter.lrp.rerun import rerun
from edgefilter.lrp.site import Site

from .arguments import Target, check_output
from .attribution import EdgeFilterAttribution
from .partial import PartialRuns

__all__ = ["Shuffled", "shuffled_outputs"]


class Shuffled(NamedTuple):
    """Outputs of a model, without a monotone function at its end.

    Attributes
    ----------
    before : Tensor, shape (N, ...)
        Of the images as they are.
    after : Tensor, shape (P, N, ...)
        With each of ``P`` parts of the responses taken from the other images.
    weights : Tensor, shape (N, ...)
        The factors of the outputs in what is explained.
    """

    before: Tensor
    after: Tensor
    weights: Tensor


def shuffled_outputs(
    attribution: EdgeFilterAttribution,
    images: Tensor,
    others: Tensor,
    parts: Sequence[Tensor],
    target: Target = None,
) -> Shuffled:
    """Return the outputs with parts of the responses taken from other images.

    Parameters
    ----------
    attribution : EdgeFilterAttribution
        Says which model and stem.
    images, others : Tensor, shape (N, C, H, W)
        Each image, and the one that the part comes from.
    parts : sequence of Tensor, shape (C, K) or (C, 1)
        1 for the responses that are taken from the other image, 0 for those that stay.
    target : optional
        As in :meth:`EdgeFilterAttribution.explain`.

    Returns
    -------
    outputs : Shuffled

    Notes
    -----
    The stem is linear in the responses: what it gives for a mixture of two images is the sum of what it gives for the rest of the one
    and for the part of the other. The model goes on from there as it is: one pass for each part.

    Examples
    --------
    A linear network sees the red of the second image, and the rest of the first:

    >>> import edgefilter as ef
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1, bias=False), torch.nn.Flatten()).eval()
    >>> one, other = torch.rand(1, 3, 1, 1), torch.rand(1, 3, 1, 1)
    >>> red = torch.tensor([1.0, 0.0, 0.0])[:, None]
    >>> found = shuffled_outputs(ef.EdgeFilterAttribution(net), one, other, [red])
    >>> bool(torch.isclose(found.after[0], net(torch.cat([other[:, :1], one[:, 1:]], 1)), atol=1e-6))
    True
    """
    count = len(images)
    question = attribution.question(torch.cat([images, others]), _twice(target), None, None, predict=True)
    with attribution.propagator(question.images).run(question) as forward, torch.no_grad():
        runs = forward.partial_runs(count)
        sites = [_Halves(site, count) for site in runs.sites]
        every = torch.ones(runs.colors, runs.filters)
        keeps = [torch.zeros_like(every), *(part.cpu().expand_as(every) for part in parts)]
        before, *after = (_output(runs, [site.mixed(keep) for site in sites], count) for keep in keeps)
    return Shuffled(before, torch.stack(after), forward.weights[:count])


def _twice(target: Any) -> Any:
    """Return a target for the images and for the others, whose own does not matter."""
    if isinstance(target, list):
        return [*target, *target]
    return torch.cat([target, target]) if isinstance(target, Tensor) and target.numel() > 1 else target


class _Halves:
    """A convolution that reads the images and their others."""

    def __init__(self, site: Site, count: int) -> None:
        self.own, self.other = (
            dataclasses.replace(site, inputs=some) for some in (site.inputs[:count], site.inputs[count:])
        )
        self.nothing = self.other.values(torch.zeros(1, self.own.colors.shape[1], len(self.own.bank)))

    def mixed(self, part: Tensor) -> Tensor:
        """Return what it gives for each image with the part of its other, shape (N, ...)."""
        return self.own.values(1 - part[None]) + (self.other.values(part[None]) - self.nothing)


def _output(runs: PartialRuns, values: Sequence[Tensor], count: int) -> Tensor:
    """Run the model on the first images, with other values of the stem."""
    images = tuple(image[:count] for image in runs.images)
    output = rerun(runs.model, images, list(zip(runs.sites, values, strict=True)), runs.left_out)
    return check_output(output, count)
