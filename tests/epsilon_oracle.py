"""What LRP-epsilon gives for epsilon -> 0: input times gradient of the model with its non-linearities frozen.

Activations pass ``f(x) / x``; gates, attention weights and normalisation statistics are constants. It runs the original
model under a torch function mode: no graph, no rule, nothing of edgefilter.
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
        if func is F.layer_norm:
            return _layer_norm(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return _attention(*args, **kwargs), None
        return func(*args, **(kwargs or {}))


def _through_the_origin(function, x, *args, **kwargs):
    with torch.no_grad():
        value = function(x.clone(), *args, **kwargs)
        slope = torch.where(x == 0, 0, value / torch.where(x == 0, 1, x))
        offset = torch.where(x == 0, value, 0)
    return x * slope + offset


def _layer_norm(x, shape, weight=None, bias=None, eps=1e-5, *_):
    axes = tuple(range(-len(shape), 0))
    mean = x.detach().mean(axes, keepdim=True)
    deviation = (x.detach().var(axes, unbiased=False, keepdim=True) + eps).sqrt()
    value = (x - mean) / deviation
    value = value if weight is None else value * weight
    return value if bias is None else value + bias


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
