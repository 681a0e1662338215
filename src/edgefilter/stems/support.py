"""Weights of a convolution as sums of a bank's kernels."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from edgefilter.banks.bank import FilterBank
from edgefilter.banks.presets import complete_bank

__all__ = ["TOLERANCE", "expressed", "fitted", "lost_share", "supported"]

TOLERANCE = (
    1e-9  # of the largest weight: what two ways of rounding a float64 projection differ by, and a margin
)


def fitted(bank: FilterBank, size: tuple[int, int], path: str) -> FilterBank:
    """Bring a bank to the support of a convolution.

    Raises
    ------
    ValueError
        If the bank is larger.
    """
    if bank.shape == size:
        return bank
    if bank.shape[0] > size[0] or bank.shape[1] > size[1]:
        raise ValueError(
            f"bank {bank.name!r} must fit into the {size[0]}x{size[1]} support of stem {path!r}; got "
            f"{bank.shape[0]}x{bank.shape[1]}. Use complete_bank(({size[0]}, {size[1]})) or a smaller bank."
        )
    return FilterBank(list(bank.kernels), size=size, normalize=bank.normalize, name=bank.name)


def supported(
    weight: Tensor, bank: FilterBank | None, size: tuple[int, int] | None, path: str
) -> tuple[FilterBank, Tensor, tuple[int, int]]:
    """Return the bank for a stem, its weights on the bank's support, and by how much that is wider on each side.

    Parameters
    ----------
    weight : Tensor, shape (out, channels, height, width)
    bank : FilterBank, optional
        Default: the complete bank of the support.
    size : (int, int), optional
        Support to bring the weights to, where a model has several stems. Default: their own.
    path : str
        For error messages.
    """
    height, width = (int(side) for side in weight.shape[2:])
    size = (height, width) if size is None else size
    extra = ((size[0] - height) // 2, (size[1] - width) // 2)
    wide = torch.nn.functional.pad(weight, (extra[1], extra[1], extra[0], extra[0]))
    return (_spanning(size) if bank is None else fitted(bank, size, path)), wide, extra


@functools.lru_cache(maxsize=8)
def _spanning(size: tuple[int, int]) -> FilterBank:
    """Return the complete bank of a support; at 7x7 it takes 1 ms, and 46 if NumPy has two threads."""
    return complete_bank(size)


def lost_share(weight: Tensor, bank: FilterBank) -> tuple[Tensor, float, float]:
    """Return coefficients (out, channels, K), the share of squared weights they miss, and their worst relative error."""
    given = weight.detach().cpu().double()
    coefficients, residual = bank.project(given.numpy())
    energy = float(given.square().sum())
    lost = float((residual**2).sum()) / energy if energy else 0.0
    worst = float(abs(residual).max()) / max(float(given.abs().max()), torch.finfo(torch.float64).tiny)
    return torch.from_numpy(coefficients), lost, worst


def expressed(weight: Tensor, bank: FilterBank, path: str) -> Tensor:
    """Return the mixing of a bank's responses that gives a convolution, shape (out, channels * K, 1, 1), float64.

    Raises
    ------
    ValueError
        If the weights are not finite, or the bank cannot give them.
    """
    if not bool(weight.isfinite().all()):
        raise ValueError(
            f"stem {path!r} must have finite weights; got NaN or infinite ones. Load the weights again."
        )
    coefficients, lost, worst = lost_share(weight, bank)
    if worst > TOLERANCE:
        raise ValueError(
            f"bank {bank.name!r} spans {bank.rank} of the {weight[0, 0].numel()} dimensions of stem {path!r}, so {lost:.1%} of "
            f"the energy of its weights would be lost (worst weight error {worst:.2g} of the largest). Use bank=None for "
            "the complete bank, or replace_stem(model, bank, init='project') for the nearest network."
        )
    return coefficients.flatten(1)[:, :, None, None]
