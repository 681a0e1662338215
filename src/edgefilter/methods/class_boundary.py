"""Where the affine map of a region gives two classes the same logit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .arguments import of_each
from .region import ClassBoundary, Region

__all__ = ["class_boundary"]


def class_boundary(region: Region, own: Tensor, other: Tensor | None) -> ClassBoundary:
    """Return the nearest point with equal logits of each image's two classes; without another class, of the nearest one.

    Whether the point lies in the region is not looked at.
    """
    assert region.radius is not None
    rows = torch.arange(len(own), device=own.device)
    gaps = region.output[rows, own][:, None] - region.output
    normals = region.weight[rows, own][:, None] - region.weight
    norms = normals.flatten(2).norm(dim=2)
    distances = torch.where(norms > 0, gaps.abs() / norms, math.inf).scatter(1, own[:, None], math.inf)
    other = distances.argmin(1) if other is None else other
    margin, distance = gaps[rows, other], distances[rows, other]
    steps = margin / norms[rows, other].square()
    return ClassBoundary(
        target=own,
        against=other,
        margin=margin,
        distance=distance,
        point=region.inputs - of_each(steps, region.inputs) * normals[rows, other],
        distances=distances,
        radius=region.radius,
        in_region=torch.zeros_like(own, dtype=torch.bool),
    )
