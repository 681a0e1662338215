"""Functions that move, copy, cut and join values: their gradient hands relevance where it belongs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgefilter.lrp.image import within_border
from edgefilter.lrp.spreading import Spread
from edgefilter.lrp.standins import Passing, of_function

from .table import INPLACE, Call, methods, rule_for

__all__ = ["rearrangement"]

NAMES = (
    "flatten", "ravel", "reshape", "permute", "transpose", "swapaxes", "swapdims", "squeeze", "unsqueeze", "chunk", "split",
    "split_with_sizes", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "roll", "flip", "fliplr", "flipud", "rot90",
    "tile", "movedim", "moveaxis", "narrow", "select", "index_select", "unflatten", "contiguous", "expand",
    "repeat", "repeat_interleave", "t", "clone", "float", "double", "half", "bfloat16",
    "gather", "take_along_dim", "broadcast_to", "masked_fill", "where", "cpu", "cuda", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "native_channel_shuffle", "unfold", "diagonal", "tril", "triu", "adjoint", "pin_memory", "type",
    "broadcast_tensors", "atleast_1d", "atleast_2d", "atleast_3d", "masked_select", "as_subclass", "masked_scatter",
    "scatter", "index_put", "select_scatter", "slice_scatter", "index_fill", "unfold_copy", "im2col", "swapaxes", "meshgrid",
    "alias_copy", "__getitem__", "real",
)  # fmt: skip


@rule_for(*methods(*NAMES))
def rearrangement(call: Call) -> Any:
    """Move values."""
    return call.run.rearranged(call)


for _name in ("T", "mT", "H", "mH", "real"):
    rule_for(getattr(Tensor, _name).__get__)(rearrangement)


@rule_for(Tensor.view)
def view(call: Call) -> Any:
    """Reshape: images may lie in memory with their channels last, where a view is not possible."""
    if len(call.args) > 1 and isinstance(call.args[1], torch.dtype):
        return call.run.rearranged(call._replace(function=Tensor.to))
    return call.run.rearranged(call._replace(function=Tensor.reshape))


@rule_for(Tensor.view_as, Tensor.reshape_as, Tensor.expand_as, Tensor.type_as)
def like_another(call: Call) -> Any:
    """Take the shape or the type of another tensor, of which nothing else counts."""
    signal, other = call.bound("input", "other").values()
    if not call.is_signal(signal):
        return call.function(signal, other.detach())
    function = Tensor.reshape_as if call.function is Tensor.view_as else call.function
    return call.run.rearranged(call._replace(function=function, args=(signal, other.detach()), kwargs={}))


@rule_for(Tensor.to)
def converted(call: Call) -> Any:
    """Change the type or the device, perhaps to those of another tensor, of which nothing else counts."""
    signal, *others = call.args
    args, kwargs = (signal, *call.run.constant(tuple(others))), call.run.constant(call.kwargs)
    if not call.is_signal(signal):
        return call.function(*args, **kwargs)
    return call.run.rearranged(call._replace(args=args, kwargs=kwargs))


@rule_for(
    getattr(Tensor.data, "__get__"),  # noqa: B009 - unknown to type checkers
    *methods("detach", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones",
             "new_full", "new_empty", "new_tensor", "sign", "sgn", "heaviside"),
)  # fmt: skip
def constant(call: Call) -> Any:
    """Return what the model declares constant, or what is as constant as a comparison."""
    if call.name in ("detach", "__get__"):
        call.run.known(call.args[0]).viewed = True
    with torch.no_grad():
        return call.run.constant(call.function(*call.args, **call.kwargs))


@rule_for(F.pad, getattr(torch._C._nn, "pad", None), torch.constant_pad_nd)
def padding(call: Call) -> Any:
    """Add a border: what is copied sends its relevance back, constants get none."""
    result = call.run.rearranged(call)
    known = call.run.known(result)
    if not call.run.conserves or known.from_image or known.recipe is None:
        return result
    return _without_constants(call, result, within_border(known.recipe))


@rule_for(torch.cat, torch.concat, torch.concatenate, torch.stack, torch.hstack, torch.vstack, torch.dstack)
def joining(call: Call) -> Any:
    """Join tensors. What goes to learned constants among them (class tokens) is shared among the other values."""
    given = call.bound("tensors", "dim")
    parts, dim = list(given["tensors"]), given.get("dim", 0)
    result = call.run.rearranged(call)
    known = call.run.known(result)
    if all(call.is_signal(part) for part in parts) or known.from_image or call.function not in (
        torch.cat, torch.concat, torch.concatenate,
    ):  # fmt: skip
        return result
    mask = torch.cat(
        [torch.full_like(part, float(call.is_signal(part)), requires_grad=False) for part in parts], dim
    ).bool()
    return _without_constants(call, result, mask)


def _without_constants(call: Call, result: Tensor, mask: Tensor) -> Tensor:
    """Return values among which are constants, whose relevance the other ones get."""
    run, known = call.run, call.run.known(result)
    if not run.conserves or bool(mask.all()):
        return result
    module = of_function(Passing, lambda inputs: inputs)
    module.__dict__["mask"] = mask
    recipe = known.recipe
    spread: Tensor = run.step(Spread, module, (result,), result.detach(), hook=None)
    run.known(spread).recipe = recipe
    return spread


def _with_item(target: Tensor, place: Any, value: Any) -> Tensor:
    """Return a tensor in which some values are exchanged."""
    return _Written.written(target, place, value)


class _Written:
    """Names the function that writes into a copy."""

    @staticmethod
    def written(target: Tensor, place: Any, value: Any) -> Tensor:
        """Return a copy with some values exchanged."""
        if torch.overrides.has_torch_function((target, value)):
            return torch.overrides.handle_torch_function(
                _Written.written, (target, value), target, place, value
            )
        result = target.clone()
        result[place] = value
        return result


@rule_for(_Written.written)
def written(call: Call) -> Any:
    """Write into a copy: what was there before gets no relevance."""
    return call.run.rearranged(call)


def _copied(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:  # noqa: ARG001
    """Return what a copy into a tensor leaves there."""
    return source.to(target.dtype).expand(target.shape)


def _filled(target: Tensor, value: Any = 0) -> Tensor:
    """Return a tensor of one value."""
    return torch.full_like(target, value) if not isinstance(value, Tensor) else value.expand(target.shape)


INPLACE[Tensor.__setitem__] = _with_item
INPLACE[Tensor.copy_] = _copied
INPLACE[Tensor.fill_] = INPLACE[Tensor.zero_] = INPLACE[torch.zero_] = _filled
