"""Sets of features drawn at random: independent sets, or sets that are connected in the image."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["SAMPLERS", "adjacency", "connected_sets", "independent_sets"]

SAMPLERS = ("connected", "independent")


def adjacency(labels: Tensor) -> Tensor:
    """Return which features touch each other.

    Parameters
    ----------
    labels : Tensor, shape (C, H, W), long
        The feature of each value, from 0 to ``K - 1``.

    Returns
    -------
    touching : Tensor, shape (K, K), bool
        True where two features have values side by side, one above the other, or in neighboring channels of a pixel; symmetric, False on
        the diagonal.

    Examples
    --------
    >>> adjacency(torch.tensor([[[0, 1], [0, 2]]])).long()
    tensor([[0, 1, 1],
            [1, 0, 1],
            [1, 1, 0]])
    """
    count = int(labels.max()) + 1
    touching = torch.zeros(count, count, dtype=torch.bool)
    for axis in range(3):
        size = labels.shape[axis] - 1
        one, other = labels.narrow(axis, 0, size), labels.narrow(axis, 1, size)
        touching[one, other] = True
    return (touching | touching.T) & ~torch.eye(count, dtype=torch.bool)


def connected_sets(touching: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw connected sets of features.

    Each starts at a random feature and takes in random neighbors, until it has a size that is drawn from 1 to ``K``.

    Parameters
    ----------
    touching : Tensor, shape (K, K), bool
    count : int
    generator : torch.Generator

    Returns
    -------
    sets : Tensor, shape (count, K), bool

    Examples
    --------
    >>> chain = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]).bool()
    >>> sets = connected_sets(chain, 100, torch.Generator().manual_seed(0))
    >>> bool((sets == torch.tensor([True, False, True])).all(1).any())  # the ends without the middle
    False
    """
    features, rows = len(touching), torch.arange(count)
    sizes = torch.randint(1, features + 1, (count,), generator=generator)
    found = torch.zeros(count, features, dtype=torch.bool)
    found[rows, torch.randint(features, (count,), generator=generator)] = True
    neighbors = touching.float()
    for size in range(2, features + 1):
        lots = torch.rand(count, features, generator=generator)
        open_to = (found.float() @ neighbors > 0) & ~found
        grows = (sizes >= size) & open_to.any(1)
        found[rows[grows], torch.where(open_to, lots, -1).argmax(1)[grows]] = True
    return found


def independent_sets(features: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw sets that hold each feature with probability 1/2, shape (count, features), bool."""
    return torch.rand(count, features, generator=generator) < 0.5
