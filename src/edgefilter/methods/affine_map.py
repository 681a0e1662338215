"""The affine map of a linear region, and which of its outputs are asked for."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from edgefilter.attribution.explained import output_weights

from .arguments import target_of_each

__all__ = ["affine_map", "classes", "downhill", "gradient", "with_classes"]


def affine_map(leaf: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight (N, K, C, H, W) and the bias (N, K) that give an output (N, K)."""
    rows = [gradient(output, leaf, _one(output, k)) for k in range(output.shape[1])]
    weight = torch.stack(rows, dim=1)
    return weight, output.detach() - (weight.flatten(2) @ leaf.detach().flatten(1)[..., None])[..., 0]


def gradient(output: Tensor, leaf: Tensor, weights: Tensor) -> Tensor:
    """Return the gradient of the weighted outputs; zeros where they do not depend on the image."""
    if not output.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(output, leaf, weights, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found


def with_classes(leaf: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Return a leaf and its output of shape (N, K)."""
    if output.dim() > 2:
        raise ValueError(
            f"forward_func must return outputs of shape (N, K); got {tuple(output.shape)}. Flatten them, or choose some."
        )
    return leaf, output.reshape(len(output), -1)


def classes(output: Tensor, target: Any, name: str) -> Tensor:
    """Return the class of each image, the predicted one if none is given."""
    if target is None:
        return output.argmax(1)
    return output_weights(output, target_of_each(target, len(output), name), name).argmax(1)


def downhill(leaf: Tensor, output: Tensor, own: Tensor) -> Tensor:
    """Return minus the gradient of the margin over the largest other output."""
    weights = torch.zeros_like(output).scatter(1, own[:, None], 1)
    others = output.detach().masked_fill(weights.bool(), -math.inf)
    return -gradient(output, leaf, weights.scatter(1, others.argmax(1, keepdim=True), -1))


def _one(output: Tensor, k: int) -> Tensor:
    weights = torch.zeros_like(output)
    weights[:, k] = 1
    return weights
