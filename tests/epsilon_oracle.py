"""What LRP-epsilon gives for epsilon -> 0: input times gradient of the model with its non-linearities frozen.

Activations pass ``f(x) / x``; gates, attention weights, and the deviations and norms that normalisations divide by are
constants, while their means are linear maps. It runs the original model under a torch function mode: no graph, no rule,
nothing of edgefilter.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

SAME = (
    F.relu,
    F.relu6,
    F.hardtanh,
    F.silu,
    F.hardswish,
    F.gelu,
    F.leaky_relu,
    F.elu,
    F.mish,
    torch.relu,
    torch.tanh,
)
ACTIVATIONS = {function: function for function in SAME} | {
    torch.relu_: torch.relu,
    torch.Tensor.relu: torch.relu,
    torch.Tensor.relu_: torch.relu,
    torch.Tensor.tanh: torch.tanh,
}
GATES = (
    torch.sigmoid,
    torch.Tensor.sigmoid,
    F.sigmoid,
    F.hardsigmoid,
    F.softmax,
    torch.softmax,
    torch.Tensor.softmax,
)


class Frozen(TorchFunctionMode):
    """Replace every non-linear function by a linear one with the same value."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = {key: value for key, value in (kwargs or {}).items() if key != "inplace"}
        if func in ACTIVATIONS:
            return _through_the_origin(ACTIVATIONS[func], *args, **kwargs)
        if func in GATES:
            with torch.no_grad():
                return func(args[0].clone(), *args[1:], **kwargs)
        if func in NORMALISATIONS:
            return NORMALISATIONS[func](*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return _softmax_attention(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return _attention(*args, **kwargs), None
        return func(*args, **(kwargs or {}))


def _through_the_origin(function, x, *args, **kwargs):
    with torch.no_grad():
        value = function(x.clone(), *args, **kwargs)
        slope = torch.where(x == 0, 0, value / torch.where(x == 0, 1, x))
        offset = torch.where(x == 0, value, 0)
    return x * slope + offset


def _centred(x, axes, eps):
    """Subtract the mean, a linear map, and divide by the deviation, a constant."""
    deviation = (x.detach().var(axes, unbiased=False, keepdim=True) + eps).sqrt()
    return (x - x.mean(axes, keepdim=True)) / deviation


def _layer_norm(x, shape, weight=None, bias=None, eps=1e-5):
    value = _centred(x, tuple(range(-len(shape), 0)), eps)
    value = value if weight is None else value * weight
    return value if bias is None else value + bias


def _by_channel(value, weight, bias):
    shape = (-1, *[1] * (value.dim() - 2))
    value = value if weight is None else value * weight.reshape(shape)
    return value if bias is None else value + bias.reshape(shape)


def _group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    return _by_channel(_centred(x.reshape(len(x), groups, -1), 2, eps).reshape(x.shape), weight, bias)


def _instance_norm(
    x,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    if not use_input_stats:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    return _by_channel(_centred(x, tuple(range(2, x.dim())), eps), weight, bias)


def _rms_norm(x, shape, weight=None, eps=None):
    axes = tuple(range(-len(shape), 0))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    value = x / (x.detach().square().mean(axes, keepdim=True) + eps).sqrt()
    return value if weight is None else value * weight


def _normalize(x, p=2.0, dim=1, eps=1e-12, out=None):
    return x / x.detach().norm(p, dim, keepdim=True).clamp(min=eps)


def _response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    return _through_the_origin(F.local_response_norm, x, size, alpha, beta, k)


NORMALISATIONS = {
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.instance_norm: _instance_norm,
    F.rms_norm: _rms_norm,
    F.normalize: _normalize,
    F.local_response_norm: _response_norm,
}


def _softmax_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    if enable_gqa:
        key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
    with torch.no_grad():
        logits = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones_like(logits, dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            logits = logits.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            logits = logits + attn_mask
        weights = logits.softmax(-1)
    return weights @ value


def _attention(query, key, value, width, heads, weight, bias, *args, **kwargs):
    out_weight, out_bias = args[4], args[5]
    tokens, batch, _ = query.shape
    split = (tokens, batch * heads, width // heads)
    q, k, v = (part.reshape(split).transpose(0, 1) for part in (query @ weight.T + bias).chunk(3, -1))
    with torch.no_grad():
        weights = (q @ k.transpose(-2, -1) / split[2] ** 0.5).softmax(-1)
    return (weights @ v).transpose(0, 1).reshape(tokens, batch, width) @ out_weight.T + out_bias


def input_times_gradient(model, images, target):
    """Return (pixels, output) of the frozen model in one backward pass."""
    leaf = images.detach().clone().requires_grad_()
    with Frozen():
        output = model(leaf)
        (gradient,) = torch.autograd.grad(output[:, target].sum(), leaf)
    return (leaf * gradient).detach(), output.detach()
