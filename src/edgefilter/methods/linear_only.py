"""Nothing but linear operators and known units may touch the image: whatever else does is refused by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from edgefilter.errors import UnsupportedModelError
from edgefilter.stems.reading import RunningModules, tensors_in

from .unit_functions import UNITS

__all__ = ["Functions", "LinearOnly"]

# Operators of ATen, without the underscore of in-place forms. Linear in all their tensors together:
LINEAR = {
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "_reshape_alias", "_to_copy", "_unsafe_view", "adaptive_avg_pool1d", "add",
    "alias", "as_strided", "avg_pool1d", "avg_pool2d", "avg_pool3d", "cat", "channel_shuffle", "clone", "col2im", "constant_pad_nd",
    "copy", "cumsum", "detach", "diagonal", "empty_like", "expand", "fill", "flip", "full_like", "im2col", "mean",
    "native_channel_shuffle", "neg", "new_empty", "new_full", "new_ones", "new_zeros", "ones_like", "permute", "pixel_shuffle",
    "pixel_unshuffle", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "repeat", "replication_pad1d",
    "replication_pad2d", "replication_pad3d", "reshape", "roll", "rsub", "select", "slice", "split", "split_with_sizes", "squeeze",
    "stack", "sub", "sum", "t", "transpose", "tril", "triu", "unbind", "unfold", "unsafe_split", "unsqueeze", "upsample_bicubic2d",
    "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa", "upsample_bilinear2d", "upsample_linear1d", "upsample_nearest1d",
    "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "upsample_trilinear3d",
    "view", "zero", "zeros_like",
}  # fmt: skip
# linear in one of these arguments while the others are constant:
FACTORS = {
    "mul": (0, 1), "mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "linear": (0, 1), "addmm": (1, 2), "addmv": (1, 2),
    "baddbmm": (1, 2), "addcmul": (1, 2), "convolution": (0, 1), "_convolution": (0, 1), "cudnn_convolution": (0, 1),
}  # fmt: skip
# and linear while these are constant.
CONSTANT = {
    "div": (1,), "native_batch_norm": (1, 2, 3, 4), "cudnn_batch_norm": (1, 2, 3, 4), "_native_batch_norm_legit": (1, 2, 3, 4),
    "_native_batch_norm_legit_no_training": (1, 2, 3, 4), "_batch_norm_no_update": (1, 2, 3, 4), "index": (1,),
    "index_select": (2,), "index_put": (1,), "gather": (2,), "where": (0,), "masked_fill": (1,), "slice_scatter": (),
    "select_scatter": (), "scatter": (2,), "grid_sampler_2d": (1,), "grid_sampler_3d": (1,), "lerp": (2,),
}  # fmt: skip
TRAINED = {"native_batch_norm": 5, "cudnn_batch_norm": 5, "_native_batch_norm_legit": 5}  # where they say so
SQUASHES = {"softmax", "log_softmax", "sigmoid", "logsigmoid", "expit", "tanh", "softmin"}
DETACHES = {Tensor.detach, torch.detach, Tensor.detach_, Tensor.data.__get__}  # type: ignore[attr-defined]
REFUSED = "model must be piece-wise linear; got {what}. {advice}"


class Functions(TorchFunctionMode):
    """Note which function the model calls, and of those that are units whether the image has a part in them.

    Attributes
    ----------
    signals : list of bool
        One for each call of a unit's function.
    """

    def __init__(self, look: LinearOnly) -> None:
        super().__init__()
        self._look = look
        self.signals: list[bool] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        touches = any(map(self._look.depends, tensors_in((args, kwargs))))
        if func in DETACHES and touches:
            self._look.refuse("detach", "It cuts the gradient off: remove it.")
        if func in UNITS:
            names, handler = UNITS[func]
            self.signals.append(touches)
            if touches:
                for _ in handler(dict(zip(names, args, strict=False)) | kwargs):  # some are refused here
                    pass
        before = self._look.function, self._look.is_unit
        self._look.function, self._look.is_unit = str(getattr(func, "__name__", func)), func in UNITS
        try:
            return func(*args, **kwargs)
        finally:
            self._look.function, self._look.is_unit = before


class LinearOnly(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuse operators on image data that are not linear, unless they belong to a known unit.

    Operators are seen below autograd, where everything comes down to few of them, be it called from Python or not. Together with
    :attr:`functions`, which knows what the model called.

    Parameters
    ----------
    modules : RunningModules
    images : Tensor
        What the model gets.

    Attributes
    ----------
    functions : Functions
    refusal : UnsupportedModelError or None
        What was raised: TorchScript makes a RuntimeError of it.
    """

    def __init__(self, modules: RunningModules, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._modules = modules
        self._alive: list[Tensor] = []  # so that no storage takes the place of another
        self._storages: set[int] = set()
        self.function, self.is_unit = "", False
        self.functions = Functions(self)
        self.refusal: UnsupportedModelError | None = None
        self._mark(images)

    def depends(self, tensor: Tensor) -> bool:
        """Return whether a tensor holds image data."""
        return tensor.numel() > 0 and tensor.untyped_storage().data_ptr() in self._storages

    def _mark(self, value: Any) -> None:
        for tensor in tensors_in(value):
            if tensor.numel():
                self._alive.append(tensor)
                self._storages.add(tensor.untyped_storage().data_ptr())

    def refuse(self, name: str, advice: str = "") -> None:
        """Raise, and name a function and its module."""
        where = f" in {self._modules.name!r}" if self._modules.name else ""
        if not advice and name in SQUASHES:
            advice = "If it is the end of the model, explain the logits: pass a model that returns them."
        advice = (
            advice or "Known are linear maps, ReLU and its kin, clipping, absolute values and max pooling."
        )
        self.refusal = UnsupportedModelError(REFUSED.format(what=f"{name}{where}", advice=advice))
        raise self.refusal

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [[self.depends(tensor) for tensor in tensors_in(value)] for value in args]
        if any(map(any, given)) or any(map(self.depends, tensors_in(kwargs))):
            self._check(func.overloadpacket.__name__, args, [any(found) for found in given])
            result = func(*args, **kwargs)
            self._mark(result)
            return result
        return func(*args, **kwargs)

    def _check(self, operator: str, args: Any, depends: list[bool]) -> None:
        name = self.function or operator
        if not torch.is_grad_enabled():
            self.refuse(
                f"{name} with gradients off",
                "Remove torch.no_grad from forward, and autograd functions of your own.",
            )
        operator = operator.removesuffix("_")
        if self.is_unit or operator in LINEAR:
            return
        trained = TRAINED.get(operator)
        if trained is not None and args[trained]:
            self.refuse(f"{name} with the batch's own statistics", "Call model.eval() first.")
        if operator in FACTORS:
            factors = [place for place in FACTORS[operator] if place < len(depends) and depends[place]]
            if len(factors) > 1:
                self.refuse(f"{name} of two signals")
        elif operator not in CONSTANT or any(
            depends[place] for place in CONSTANT[operator] if place < len(depends)
        ):
            self.refuse(name)
