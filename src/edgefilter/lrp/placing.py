"""Where the places that a bank reads lie on the image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from zennit.core import Hook

from edgefilter.banks.bank import FilterBank
from edgefilter.stems.windows import Window, nearest_places

from .image import Apart, replayed
from .rules import Flat
from .run import Run

__all__ = ["window"]


def window(run: Run, filters: Any, apart: Apart, bank: FilterBank, hook: Hook | None) -> Window | None:
    """Return what the responses of a bank see of the image; None for inputs that are no images.

    Parameters
    ----------
    run : Run
    filters : nn.Module
        The bank as a convolution, and which of its inputs depend on the image.
    apart : Apart
        What it reads.
    bank : FilterBank
    hook : Hook or None
        Its rule: the flat rule gives all places of a kernel the same, any other counts as w-square.
    """
    leaf = run.leaf_of(apart.inputs)
    if leaf.dim() != 4:
        return None
    rows = 2 if apart.axis == 1 else 1
    size = leaf.shape[rows], leaf.shape[rows + 1]
    weight = torch.from_numpy(bank.weight.copy())
    pixels = _pixels(run, apart.inputs, leaf, rows, filters.__dict__.get("present"))
    return Window(
        torch.ones_like(weight) if isinstance(hook, Flat) else weight.square(),
        F.pad(pixels, _borders(filters), value=-1),
        tuple(filters.stride),
        tuple(filters.dilation),
        size,
    )


def _pixels(run: Run, inputs: Tensor, leaf: Tensor, rows: int, present: Tensor | None) -> Tensor:
    """Return which pixel each place of a bank's inputs shows, shape (H, W): -1 where none.

    Behind calls that are not known to be affine, that is the pixel under the middle of the place.
    """
    size = leaf.shape[rows], leaf.shape[rows + 1]
    pixels = nearest_places(inputs.shape[2:], size)
    if inputs is not leaf and run.is_near(inputs) and torch.finfo(leaf.dtype).bits >= 32:
        pixels = _followed(run, inputs, leaf, rows, pixels)
    return pixels if present is None else torch.where((present[0] != 0).any(0).cpu(), pixels, -1)


def _followed(run: Run, inputs: Tensor, leaf: Tensor, rows: int, otherwise: Tensor) -> Tensor:
    """Make the inputs again from images that hold the numbers of the rows and of the columns.

    The calls before the bank are affine, so that a place shows the mean of the rows that it is made of. Each color has a weight of its
    own: no difference of colors is nothing.
    """
    height, width = leaf.shape[rows : rows + 2]
    colors = leaf.shape[1 if rows == 2 else 3]
    weights = torch.rand(colors, 1, 1, generator=torch.Generator().manual_seed(0)) + 0.5
    ramps = torch.zeros(()), torch.ones(()), torch.arange(height)[:, None], torch.arange(width)
    found = []
    for ramp in ramps:
        image = (weights * ramp).expand(colors, height, width)
        whole = (image if rows == 2 else image.movedim(0, 2)).expand(leaf.shape).to(leaf).contiguous()
        made = replayed(run, inputs, whole.detach())
        if made is None:
            return otherwise
        found.append(made.detach()[0].double().cpu())
    nothing, one, *each = found
    gain = one - nothing
    whole = gain.square().sum(0)
    row, column = (
        (((part - nothing) * gain).sum(0) / torch.where(whole > 0, whole, 1)).round().long() for part in each
    )
    return torch.where(whole > 0, row.clamp(0, height - 1) * width + column.clamp(0, width - 1), otherwise)


def _borders(filters: Any) -> list[int]:
    """Return what a convolution puts around its inputs: left, right, top, bottom."""
    if filters.padding == "valid":
        return [0, 0, 0, 0]
    if filters.padding == "same":
        totals = [step * (size - 1) for step, size in zip(filters.dilation, filters.kernel_size, strict=True)]
        return [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    return [pad for pad in reversed(filters.padding) for _ in range(2)]
