"""Attention, written out as the products and the softmax that it consists of."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgefilter.errors import UnsupportedModelError

from .table import Call, rule_for

__all__ = ["scaled_dot_product_attention"]


@rule_for(F.scaled_dot_product_attention)
def scaled_dot_product_attention(call: Call) -> Any:
    """Average values by the softmax of the products of queries and keys."""
    given = call.bound("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    if given.get("dropout_p"):
        raise UnsupportedModelError(
            f"model must give the same output at each call; got attention with dropout_p={given['dropout_p']}, which changes "
            "with each call. Pass dropout_p=0.0 in evaluation."
        )
    return call.other(
        _attention,
        given["query"],
        given["key"],
        given["value"],
        given.get("attn_mask"),
        causal=given.get("is_causal", False),
        scale=given.get("scale"),
        grouped=given.get("enable_gqa", False),
    )


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    causal: bool = False,
    scale: float | None = None,
    grouped: bool = False,
) -> Tensor:
    return _weights(query, key, mask, causal=causal, scale=scale, grouped=grouped) @ _repeated(
        value, query, grouped
    )


def _repeated(part: Tensor, query: Tensor, grouped: bool) -> Tensor:
    return part.repeat_interleave(query.shape[-3] // part.shape[-3], -3) if grouped else part


def _weights(
    query: Tensor, key: Tensor, mask: Tensor | None, *, causal: bool, scale: float | None, grouped: bool
) -> Tensor:
    key = _repeated(key, query, grouped)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    logits = (query * scale) @ key.transpose(-2, -1)
    if causal:
        allowed = torch.ones(logits.shape[-2:], dtype=torch.bool, device=query.device).tril()
        logits = logits.masked_fill(~allowed, -math.inf)
    if mask is not None:
        logits = logits.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else logits + mask
    return logits.softmax(-1)


@rule_for(F.multi_head_attention_forward)
def multi_head_attention(call: Call) -> Any:
    """Project queries, keys and values, attend in each head, and project back."""
    names = (
        "query", "key", "value", "width", "heads", "in_weight", "in_bias", "bias_k", "bias_v", "zero_attn", "dropout",
        "out_weight", "out_bias", "training", "key_padding_mask", "need_weights", "attn_mask",
    )  # fmt: skip
    renamed = {
        "embed_dim_to_check": "width", "num_heads": "heads", "in_proj_weight": "in_weight", "in_proj_bias": "in_bias",
        "add_zero_attn": "zero_attn", "dropout_p": "dropout", "out_proj_weight": "out_weight", "out_proj_bias": "out_bias",
    }  # fmt: skip
    given = dict(zip(names, call.args, strict=False)) | {
        renamed.get(name, name): value for name, value in call.kwargs.items()
    }
    if given["bias_k"] is not None or given["zero_attn"] or given.get("static_k") is not None:
        return call.run.refused(call)
    if given.get("training", True) and given["dropout"]:
        raise UnsupportedModelError(
            "model must give the same output at each call; got attention with dropout in training mode, which changes with "
            "each call. Call model.eval() first."
        )
    return call.other(_multi_head, given)


def _multi_head(given: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    parts = [given[name] for name in ("query", "key", "value")]
    single = parts[0].dim() == 2
    if single:
        parts = [part.unsqueeze(1) for part in parts]
    width, heads = given["width"], given["heads"]
    if given.get("use_separate_proj_weight"):
        weights = [given[f"{name}_proj_weight"] for name in "qkv"]
    else:
        weights = list(given["in_weight"].chunk(3))
    biases = [None] * 3 if given["in_bias"] is None else list(given["in_bias"].chunk(3))
    # (L, N, E) to (N, heads, L, depth)
    projected = [
        torch.unflatten(F.linear(part.transpose(0, 1), weight, bias), -1, (heads, width // heads)).transpose(
            1, 2
        )
        for part, weight, bias in zip(parts, weights, biases, strict=True)
    ]
    query, key, value = projected
    weights_ = _weights(query, key, _joined_mask(given, query, key), causal=False, scale=None, grouped=False)
    mixed = (weights_ @ value).transpose(1, 2).flatten(2)
    output = F.linear(mixed, given["out_weight"], given["out_bias"]).transpose(0, 1)
    shown = None
    if given.get("need_weights", True):
        shown = weights_.detach().mean(1) if given.get("average_attn_weights", True) else weights_.detach()
        shown = shown[0] if single else shown
    return (output.squeeze(1) if single else output), shown


def _joined_mask(given: dict[str, Any], query: Tensor, key: Tensor) -> Tensor | None:
    masks = []
    mask, padding = given.get("attn_mask"), given.get("key_padding_mask")
    if mask is not None:
        mask = (
            torch.zeros_like(mask, dtype=query.dtype).masked_fill(mask, -math.inf)
            if mask.dtype == torch.bool
            else mask
        )
        masks.append(mask.reshape(-1, query.shape[1], *mask.shape[-2:]) if mask.dim() == 3 else mask)
    elif given.get("is_causal"):
        size = (query.shape[-2], key.shape[-2])
        allowed = torch.ones(size, dtype=torch.bool, device=query.device).tril()
        masks.append(
            torch.zeros(size, dtype=query.dtype, device=query.device).masked_fill(~allowed, -math.inf)
        )
    if padding is not None:
        padding = (
            torch.zeros_like(padding, dtype=query.dtype).masked_fill(padding, -math.inf)
            if padding.dtype == torch.bool
            else padding
        )
        masks.append(padding[:, None, None])
    return sum(masks[1:], start=masks[0]) if masks else None
