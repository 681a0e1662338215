"""What LRP-epsilon gives for epsilon -> 0: input times gradient of the model with its non-linearities frozen.

Activations pass ``f(x) / x``; attention weights, and the deviations and norms that normalisations divide by are constants,
while their means are linear maps. Of two signals that are multiplied, one is a constant: what was squashed, or the
smaller one, or what was clipped or activated; a signal times itself is a function of it. What a signal is divided by is
a constant. It runs the original model under a torch function mode: no graph, no rule, nothing of edgefilter.
"""

from __future__ import annotations

import math

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
    F.prelu,
    F.softplus,
    torch.relu,
    torch.tanh,
    torch.clamp,
    torch.pow,
    torch.square,
    torch.sqrt,
    torch.abs,
    torch.nn.functional.tanh,
)
ACTIVATIONS = {function: function for function in SAME} | {
    torch.relu_: torch.relu,
    F.relu_: torch.relu,
    torch.Tensor.relu: torch.relu,
    torch.Tensor.relu_: torch.relu,
    torch.Tensor.tanh: torch.tanh,
    torch.Tensor.clamp: torch.clamp,
    torch.Tensor.clamp_: torch.clamp,
    torch.Tensor.pow: torch.pow,
    torch.Tensor.__pow__: torch.pow,
    torch.Tensor.square: torch.square,
    torch.Tensor.sqrt: torch.sqrt,
    torch.Tensor.abs: torch.abs,
}
CLIPPING = (F.relu6, F.hardtanh, torch.clamp, torch.Tensor.clamp, torch.Tensor.clamp_)
SQUASHING = {
    torch.sigmoid: torch.sigmoid,
    torch.Tensor.sigmoid: torch.sigmoid,
    torch.Tensor.sigmoid_: torch.sigmoid,
    F.sigmoid: torch.sigmoid,
    F.hardsigmoid: F.hardsigmoid,
    torch.exp: torch.exp,
    torch.Tensor.exp: torch.exp,
}
GATES = (
    F.softmax,
    torch.softmax,
    torch.Tensor.softmax,
    torch.norm,
    torch.Tensor.norm,
    torch.linalg.vector_norm,
    torch.var,
    torch.Tensor.var,
    torch.std,
    torch.Tensor.std,
    torch.rsqrt,
    torch.Tensor.rsqrt,
    torch.reciprocal,
    torch.Tensor.reciprocal,
    torch.Tensor.__rtruediv__,
)
MATRIX_PRODUCTS = (
    torch.matmul,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.bmm,
    torch.einsum,
)
MOVES = [
    "view",
    "reshape",
    "permute",
    "transpose",
    "flatten",
    "unflatten",
    "expand",
    "unsqueeze",
    "squeeze",
    "chunk",
    "split",
    "unbind",
    "contiguous",
    "repeat",
    "t",
    "float",
    "to",
    "__getitem__",
    "roll",
    "expand_as",
    "view_as",
    "cat",
]
MEANS = ["mean", "sum", "interpolate", "avg_pool2d", "adaptive_avg_pool2d"]
PRODUCTS = {
    torch.mul: torch.mul,
    torch.Tensor.mul: torch.mul,
    torch.Tensor.__mul__: torch.mul,
    torch.Tensor.__rmul__: torch.mul,
    torch.Tensor.mul_: torch.Tensor.mul_,
    torch.Tensor.__imul__: torch.Tensor.mul_,
}
EXTREMES = {
    torch.maximum: torch.maximum,
    torch.Tensor.maximum: torch.maximum,
    torch.minimum: torch.minimum,
    torch.Tensor.minimum: torch.minimum,
}
SUMS = (torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__)
QUOTIENTS = {
    torch.div: torch.div,
    torch.Tensor.div: torch.div,
    torch.Tensor.__truediv__: torch.div,
    torch.Tensor.div_: torch.Tensor.div_,
    torch.Tensor.__itruediv__: torch.Tensor.div_,
}


class Frozen(TorchFunctionMode):
    """Replace every non-linear function by a linear one with the same value."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = {key: value for key, value in (kwargs or {}).items() if key != "inplace"}
        if func in ACTIVATIONS:
            result = _through_the_origin(ACTIVATIONS[func], *args, **kwargs)
            result.gate = 2 if func in CLIPPING else 1
            return result
        if func in EXTREMES and not all(map(_is_signal, args[:2])):
            first, second = args if _is_signal(args[0]) else args[::-1]
            return _through_the_origin(EXTREMES[func], first, second)
        if func in SQUASHING:
            result = _through_the_origin(SQUASHING[func], *args, **kwargs)
            result.gate = 3
            return result
        if func in GATES:
            with torch.no_grad():
                return func(args[0].clone(), *args[1:], **kwargs)
        if func is torch.var_mean:
            with torch.no_grad():
                variance, _ = func(*args, **kwargs)
            axes = kwargs.get("dim", args[1] if len(args) > 1 else None)
            return variance, args[0].mean(axes, keepdim=kwargs.get("keepdim", False))
        if func in SUMS and not all(map(_is_signal, args[:2])):
            return _scaled(func, *args, **kwargs)
        if func in PRODUCTS:
            return _product(PRODUCTS[func], *args)
        if func in QUOTIENTS:
            return _scaled(QUOTIENTS[func], args[0], _held(args[1]), **kwargs)
        if func in NORMALISATIONS:
            return NORMALISATIONS[func](*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return _softmax_attention(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return _attention(*args, **kwargs), None
        if func in MATRIX_PRODUCTS:
            return func(*_with_weights_held(args), **kwargs)
        result = func(*args, **kwargs)
        gate = _gate_of(args[0]) if args else 0
        if (gate and func.__name__ in MOVES) or (gate == 3 and func.__name__ in MEANS):
            for part in result if isinstance(result, (tuple, list)) else (result,):
                part.gate = gate
        return result


def _through_the_origin(function, x, *args, **kwargs):
    with torch.no_grad():
        value = function(x.clone(), *args, **kwargs)
        slope = torch.where(x == 0, 0, value / torch.where(x == 0, 1, x))
        offset = torch.where(x == 0, value, 0)
    return x * slope + offset


def _gate_of(value):
    """Return how much a tensor looks like a gate; parts that are joined as much as the least of them."""
    if isinstance(value, (list, tuple)):
        return min((getattr(part, "gate", 0) for part in value), default=0)
    return getattr(value, "gate", 0)


def _held(value):
    return value.detach() if isinstance(value, torch.Tensor) else value


def _is_signal(value):
    return isinstance(value, torch.Tensor) and value.requires_grad


def _with_weights_held(args):
    """Hold the weights of an attention: of two signals the one that was activated, or both."""
    signals = [arg for arg in args if _is_signal(arg)]
    if len(signals) < 2:
        return args
    most = max(getattr(signal, "gate", 0) for signal in signals)
    held = [signal for signal in signals if getattr(signal, "gate", 0) == most]
    return [arg.detach() if any(arg is one for one in held) else arg for arg in args]


def _scaled(function, signal, other, **kwargs):
    result = function(signal, other, **kwargs)
    if isinstance(result, torch.Tensor):
        result.gate = getattr(signal, "gate", 0)
    return result


def _values(x):
    """Count the values that lie in memory: those that were expanded once."""
    return math.prod(size for size, step in zip(x.shape, x.stride(), strict=True) if step)


def _product(function, first, second):
    if not _is_signal(first) or not _is_signal(second):
        signal = first if _is_signal(first) else second
        result = function(first, second)
        result.gate = getattr(signal, "gate", 0)
        return result
    if first is second:
        return function(first, second.detach())
    gates = [getattr(factor, "gate", 0) for factor in (first, second)]
    squashed = [gate == 3 for gate in gates]
    if squashed[0] != squashed[1]:
        holds_first = squashed[0]
    elif _values(first) != _values(second):
        holds_first = _values(first) < _values(second)
    elif gates[0] != gates[1]:
        holds_first = gates[0] > gates[1]
    else:
        raise NotImplementedError("a product of two signals of one size")
    return function(first.detach(), second) if holds_first else function(first, second.detach())


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
    """Return (pixels, output) of the frozen model in one backward pass; ``target``: one index, or one for each image."""
    leaf = images.detach().clone().requires_grad_()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        with Frozen():
            output = model(leaf)
            output = output.logits if hasattr(output, "logits") else output
            chosen = output.gather(1, torch.as_tensor(target).expand(len(images))[:, None])
            (gradient,) = torch.autograd.grad(chosen.sum(), leaf)
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
    return (leaf * gradient).detach(), output.detach()
