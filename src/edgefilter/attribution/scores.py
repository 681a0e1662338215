"""What scores are: sums of relevance, with names for colors and targets for images."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from edgefilter.banks.colors import color_names

__all__ = ["SCORES", "color_names", "per_image", "scores"]

SCORES = {"color": (2, 3, 4), "edge": (1, 3, 4), "color_edge": (3, 4)}


def scores(response: Tensor, score: str) -> Tensor:
    """Sum relevance at the responses, shape (N, C, K, H', W'), to a score.

    Examples
    --------
    >>> import torch
    >>> scores(torch.ones(1, 3, 2, 4, 4), "color")
    tensor([[32., 32., 32.]])
    """
    return response if score == "response" else response.sum(SCORES[score])


def per_image(target: Any, count: int) -> tuple[Any, ...]:
    """Return a target in any of Captum's forms as one entry per image.

    Examples
    --------
    >>> import torch
    >>> per_image(7, 2), per_image([1, 2], 2), per_image(torch.tensor([3]), 2)
    ((7, 7), (1, 2), (3, 3))
    """
    if isinstance(target, Tensor):
        values = target.reshape(-1).tolist()
        return tuple(values if len(values) == count else values * count)
    if isinstance(target, list):
        return tuple(target)
    single = target[0] if isinstance(target, tuple) and len(target) == 1 else target
    return (single,) * count
