"""Rules some samples or rows at a time: large temporary tensors cost as much as the arithmetic on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .linear_maps import LinearMap
from .rules import Rule

__all__ = ["in_pieces", "shared_in_pieces"]

# Values of a tensor that a rule handles at once. ResNet-18 takes 1.97 gradient passes with all values at once.
SAMPLES = 2**20
SHARED = 2**16
ROWS = 2**20
FEWEST = 256  # rows of a matrix product, so that its weights are read seldom


def in_pieces(
    rule: Rule, layer: LinearMap, inputs: Tensor, relevance: Tensor, *, spare: bool = False
) -> Tensor:
    """Return the relevance of the inputs of a layer, some at a time if the rule can; spare inputs may be overwritten."""
    if (
        not rule.separable
        or len(inputs) != len(relevance)
        or getattr(layer.module, "present", None) is not None
    ):
        return rule.relevance(layer, inputs, relevance)
    rows = layer.rows(inputs, relevance)
    if rows is not None:
        matrix, given, handed = rows
        size = max(FEWEST, ROWS // max(given.shape[1], handed.shape[1]))
        result = given if spare else torch.empty_like(given)
        parts = zip(
            torch.split(given, size), torch.split(handed, size), torch.split(result, size), strict=True
        )
        for one, part, into in parts:
            into.copy_(rule.relevance(matrix, one, part))
        return layer.of_rows(result, inputs)
    found = [rule.relevance(layer, one, part) for one, part in pieces(inputs, relevance)]
    return found[0] if len(found) == 1 else torch.cat(found)


def pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield some samples of tensors of one length at a time."""
    samples = max(1, SAMPLES * len(tensors[0]) // max(1, *(tensor.numel() for tensor in tensors)))
    return zip(*(torch.split(tensor, samples) for tensor in tensors), strict=True)


def shared_in_pieces(
    rule: Rule, inputs: Sequence[Tensor], relevance: Tensor, *, steady: bool
) -> tuple[Tensor, ...]:
    """Return the relevance of the summands of a sum, some values at a time."""
    last = all(_has_channels_last(values) for values in (*inputs, relevance))
    shape = [relevance.shape[axis] for axis in (0, 2, 3, 1)] if last else relevance.shape
    flat = [(values.permute(0, 2, 3, 1) if last else values).reshape(-1) for values in (*inputs, relevance)]
    found = [torch.empty_like(flat[-1]) for _ in inputs]
    for *given, handed, out in zip(
        *(torch.split(values, SHARED) for values in flat),
        zip(*(torch.split(part, SHARED) for part in found), strict=True),
        strict=True,
    ):
        rule.shared(tuple(given), handed, steady=steady, out=out)
    return tuple(part.view(shape).permute(0, 3, 1, 2) if last else part.view(shape) for part in found)


def _has_channels_last(values: Tensor) -> bool:
    return values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last)
