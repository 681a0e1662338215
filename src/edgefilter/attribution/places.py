"""Relevance at the places of the responses: by color, and corrected to scores of pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgefilter.errors import UnsupportedModelError
from edgefilter.lrp.stem import Read

__all__ = ["by_color", "to_places"]


def by_color(reads: Sequence[Read], found: Sequence[Tensor]) -> Tensor:
    """Return relevance at the responses by color and filter, those of several stems added up."""
    total: Tensor | None = None
    for read, part in zip(reads, found, strict=True):
        by_channel = torch.unflatten(part.detach(), 1, (len(read.colors), -1))
        one = (
            torch.einsum("pc,npk...->nck...", read.colors.to(by_channel), by_channel)
            if not read.is_direct
            else by_channel
        )
        if total is not None and (total.shape != one.shape or read.bank.names != reads[0].bank.names):
            names = ", ".join(repr(read.path) for read in reads)
            raise UnsupportedModelError(
                f"convolutions that read the image must give maps of one size to share scores; got {names} with "
                f"{tuple(total.shape[3:])} and {tuple(one.shape[3:])} places. Choose one with layer=..."
            )
        total = one if total is None else total + one
    assert total is not None
    return total


def to_places(
    relevance: Sequence[Tensor], reads: Sequence[Read], pairs: Tensor, seen: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Correct the relevance at the places of each pair to the score of the pair.

    Parameters
    ----------
    relevance : sequence of Tensors, shapes (N, channels * K, H', W')
        At the responses as they were read.
    reads : sequence of Read
    pairs : Tensor, shape (N, C, K)
    seen : Tensor, shape (N, H', W'), bool
        The places that share the score of a pair without relevance; all, where there are none.

    Returns
    -------
    shares : list of Tensors
        Shaped as the relevance.
    response : Tensor, shape (N, C, K, H', W')
        Each pair's places add up to its score: ``v + (score - sum v) |v| / sum |v|``, or equal parts at the places that are seen where all are zero.
    """
    each = [
        torch.unflatten(part.detach(), 1, (len(read.colors), -1))
        for part, read in zip(relevance, reads, strict=True)
    ]
    weights = (seen | ~seen.any(2, keepdim=True).any(1, keepdim=True))[:, None, None].to(each[0])
    sums, sizes, shared = (torch.zeros_like(pairs) for _ in range(3))
    for part, read in zip(each, reads, strict=True):
        sums += _of_pairs(read, part)
        sizes += _of_pairs(read, part.abs())
        shared += _of_pairs(read, weights.expand(-1, *part.shape[1:3], -1, -1))
    lacking = pairs - sums
    least = torch.finfo(each[0].dtype).tiny  # with less, the factor is no number of this kind
    solid = sizes > lacking.abs() * least
    factor = torch.where(solid, lacking / torch.where(solid, sizes, 1), 0)
    equal = torch.where(solid, 0, lacking / torch.where(shared > 0, shared, 1))
    shares, response = [], []
    for part, read in zip(each, reads, strict=True):
        gain, more = (_of_channels(read, table).to(part) for table in (factor, equal))
        share = part.abs().mul_(gain).add_(part)
        shares.append((share.add_(more * weights) if bool(more.any()) else share).flatten(1, 2))
        if read.is_direct:
            response.append(torch.unflatten(shares[-1], 1, (len(read.colors), -1)))
            continue
        colors = read.colors.to(part)
        response.append(
            torch.einsum("pc,npk...->nck...", colors, part)
            + torch.einsum("pc,npk...->nck...", colors, part.abs()) * factor[..., None, None].to(part)
            + (equal * read.colors.cpu().sum(0)[:, None])[..., None, None].to(part) * weights
        )
    return shares, torch.stack(response).sum(0) if len(response) > 1 else response[0]


def _of_pairs(read: Read, values: Tensor) -> Tensor:
    """Return the sums of values at the responses by color and filter, float64, on the CPU."""
    return torch.einsum("pc,npk->nck", read.colors.cpu(), values.sum((3, 4)).cpu().double())


def _of_channels(read: Read, table: Tensor) -> Tensor:
    return torch.einsum("pc,nck->npk", read.colors.cpu(), table)[..., None, None]
