"""What LRP-epsilon gives for epsilon -> 0: input times gradient of the model with its non-linearities frozen.

Activations pass ``f(x) / x``; gates, attention weights and the deviations of normalisations are constants, their means
linear maps. It runs the original model under a torch function mode: no graph, no rule, nothing of edgefilter.
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
    torch.exp,
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
        if func in NORMALIZATIONS:
            return NORMALIZATIONS[func](*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return _attention(*args, **kwargs), None
        return func(*args, **(kwargs or {}))


def _through_the_origin(function, x, *args, **kwargs):
    with torch.no_grad():
        value = function(x.clone(), *args, **kwargs)
        slope = torch.where(x == 0, 0, value / torch.where(x == 0, 1, x))
        offset = torch.where(x == 0, value, 0)
    return x * slope + offset


def _standardized(x, axes, eps):
    """Subtract the mean, divide by the deviation as it is."""
    deviation = (x.detach().var(axes, unbiased=False, keepdim=True) + eps).sqrt()
    return (x - x.mean(axes, keepdim=True)) / deviation


def _layer_norm(x, shape, weight=None, bias=None, eps=1e-5, *_):
    value = _standardized(x, tuple(range(-len(shape), 0)), eps)
    value = value if weight is None else value * weight
    return value if bias is None else value + bias


def _group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    value = _standardized(x.reshape(len(x), groups, -1), (2,), eps).reshape(x.shape)
    channels = (-1, *[1] * (x.dim() - 2))
    value = value if weight is None else value * weight.reshape(channels)
    return value if bias is None else value + bias.reshape(channels)


def _instance_norm(
    x, running_mean, running_var, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    assert use_input_stats
    return _group_norm(x, x.shape[1], weight, bias, eps)


def _rms_norm(x, shape, weight=None, eps=None):
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    size = (x.detach().square().mean(tuple(range(-len(shape), 0)), keepdim=True) + eps).sqrt()
    return x / size if weight is None else x / size * weight


NORMALIZATIONS = {
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.instance_norm: _instance_norm,
    F.rms_norm: _rms_norm,
}


def _attention(query, key, value, width, heads, weight, bias, *args, **kwargs):
    out_weight, out_bias = args[4], args[5]
    tokens, batch, _ = query.shape
    split = (tokens, batch * heads, width // heads)
    q, k, v = (part.reshape(split).transpose(0, 1) for part in (query @ weight.T + bias).chunk(3, -1))
    with torch.no_grad():
        weights = (q @ k.transpose(-2, -1) / split[2] ** 0.5).softmax(-1)
    return (weights @ v).transpose(0, 1).reshape(tokens, batch, width) @ out_weight.T + out_bias


def input_times_gradient(model, images, target):
    """Return (pixels, output) of the frozen model in one backward pass; one target for all images or one for each."""
    leaf = images.detach().clone().requires_grad_()
    with Frozen():
        output = model(leaf)
        chosen = output.gather(1, torch.as_tensor(target).expand(len(images))[:, None])
        (gradient,) = torch.autograd.grad(chosen.sum(), leaf)
    return (leaf * gradient).detach(), output.detach()
