"""Copies of modules that share the weights of their originals, without their hooks."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from edgefilter.errors import UnsupportedModelError
from edgefilter.stems.layers import EdgeFilterBank2d
from edgefilter.stems.padding import PaddedConv2d

__all__ = ["FilterBankConv2d", "Link", "in_layout", "running_statistics", "submodules", "twin_of"]


class FilterBankConv2d(PaddedConv2d):
    """The filter bank in the rewritten copy: one convolution that composites can tell from the others."""


class Link:
    """A module of the copy, the module whose weights it shares, and the BatchNorm merged into it.

    Weights that are not merged are shared. Merged ones are made once, and anew when what they are made of has changed.
    """

    def __init__(self, twin: nn.Module, source: nn.Module, norm: _BatchNorm | None = None) -> None:
        self.twin, self._source, self._norm = twin, source, norm
        self._seen: list[Tensor] = []

    def refresh(self) -> None:
        """Take over the present weights."""
        values = {name: getattr(self._source, name) for name in parameter_names(self._source)}
        values = {name: None if value is None else value.detach() for name, value in values.items()}
        if self._norm is not None:
            statistics = running_statistics(self._norm)
            present = [*values.values(), *statistics, self._norm.weight, self._norm.bias]
            seen = [fingerprint(value.detach()) for value in present if value is not None]
            if _same(seen, self._seen):
                return
            self._seen = seen
            values = merged(values["weight"], values.get("bias"), self._norm)
        for name, value in values.items():
            self.twin._parameters[name] = None if value is None else nn.Parameter(value, requires_grad=False)
        self.twin._buffers.update(self._source._buffers)


def fingerprint(values: Tensor) -> Tensor:
    """Return numbers that change when any of the values does: random projections of runs of 4096 values.

    Version counters would be cheaper, but miss what is written through ``.data``.
    """
    half = values.dtype in (torch.float16, torch.bfloat16)
    flat = values.reshape(-1).to(torch.float32 if half else values.dtype)
    direction = _direction(flat.dtype, flat.device)
    whole = len(flat) // len(direction) * len(direction)
    rest = flat[whole:]
    return torch.cat(
        [flat[:whole].reshape(-1, len(direction)) @ direction, (rest @ direction[: len(rest)])[None]]
    )


@functools.cache
def _direction(dtype: torch.dtype, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4096, generator=generator, dtype=torch.float64).add(0.5).to(device, dtype)


def _same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(
        one.device == other.device
        and one.dtype == other.dtype
        and torch.equal(one, other)
        and bool(one.isfinite().all())
        for one, other in zip(first, second, strict=True)
    )


def submodules(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules inside a module, without its parametrizations."""
    return [
        (name, child) for name, child in module.named_modules() if name and "parametrizations" not in name
    ]


def twin_of(module: nn.Module) -> nn.Module:
    """Return a module of the same class and settings, without its hooks, whose tensors can be exchanged."""
    if isinstance(module, EdgeFilterBank2d):
        twin: nn.Module = FilterBankConv2d.__new__(FilterBankConv2d)
        twin.__dict__ = {**module.conv.__dict__, "_modules": {"pad": module.pad}}
        module = module.conv
    else:
        parametrized = "parametrizations" in module._modules
        kind: Any = type(module).__bases__[0] if parametrized else type(module)
        twin = kind.__new__(kind)
        children = {name: child for name, child in module._modules.items() if name != "parametrizations"}
        twin.__dict__ = {**module.__dict__}
        twin.__dict__["_modules"] = {n: None if c is None else twin_of(c) for n, c in children.items()}
    twin.__dict__.update({key: value for key, value in vars(nn.Module()).items() if "hook" in key})
    twin.__dict__.update({"_parameters": {}, "_buffers": dict(module._buffers)})
    for name in parameter_names(module):
        twin.__dict__.pop(name, None)
        twin._parameters[name] = None
    if hasattr(twin, "inplace"):
        twin.__dict__["inplace"] = False
    return twin


def parameter_names(module: nn.Module) -> set[str]:
    """Name the tensors that a module computes with, also where a parametrization makes them."""
    return {"weight", "bias"} if isinstance(module, (_ConvNd, nn.Linear)) else set(module._parameters)


def running_statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the mean and variance that a BatchNorm uses in evaluation."""
    if norm.running_mean is None or norm.running_var is None:
        raise UnsupportedModelError(
            "BatchNorm must have running statistics; got track_running_stats=False, which mixes the samples of a "
            "batch. Train with running statistics to explain the model."
        )
    return norm.running_mean, norm.running_var


def merged(weight: Tensor, bias: Tensor | None, norm: _BatchNorm) -> dict[str, Tensor | None]:
    """Return the weight and bias of a layer and the BatchNorm after it as one."""
    mean, variance = running_statistics(norm)
    scale = (variance + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.detach()
    shift = -mean * scale if bias is None else (bias - mean) * scale
    shift = shift if norm.bias is None else shift + norm.bias.detach()
    return {"weight": in_layout(weight * scale.reshape(-1, *[1] * (weight.dim() - 1))), "bias": shift}


def in_layout(values: Tensor) -> Tensor:
    """Return images or weights in the layout that convolutions are fastest in: on the CPU, the channels last."""
    fast = values.dim() == 4 and values.device.type == "cpu" and values.dtype != torch.float64
    return values.contiguous(memory_format=torch.channels_last) if fast else values
