"""Run a model as the piece-wise linear function that it is, or say which of its functions is none."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from edgefilter.attribution.arguments import check_mode, check_output, unwrapped
from edgefilter.errors import UnsupportedModelError
from edgefilter.lrp.surroundings import eager
from edgefilter.stems.reading import RunningModules, tensors_in

from .unit_functions import UNITS, Meeting

__all__ = ["PiecewiseModel", "Site", "rounding", "value_and_slope"]

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
    "baddbmm": (1, 2), "addcmul": (1, 2), "convolution": (0, 1), "cudnn_convolution": (0, 1),
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


class Site(NamedTuple):
    """One call of a piece-wise linear function, at one of the levels where its pieces meet."""

    module: str
    function: str
    level: float | None


Take = Callable[[int, Site, Tensor], None]


class PiecewiseModel:
    """A model, run as a piece-wise linear function.

    Parameters
    ----------
    forward_func : callable
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        self.function: Callable[..., Any] = unwrapped(forward_func)  # type: ignore[arg-type]

    def check_mode(self) -> None:
        """Raise unless the model is in evaluation mode."""
        if isinstance(self.function, nn.Module):
            check_mode(self.function)

    def checked(self, images: Tensor, extra: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        """Return a leaf with the images' values and the output of it, with its graph.

        Raises
        ------
        UnsupportedModelError
            Names the first function that is not piece-wise linear.
        """
        self.check_mode()
        with self._running(images) as modules:
            leaf = images.clone().requires_grad_()
            given = leaf.clone()
            look = _LinearOnly(modules, given)
            with look, _Units(modules, lambda *_: None, look):
                output = self.function(given, *extra)
            return leaf, _as_rows(output, len(images))

    def traced(self, images: Tensor, extra: tuple[Any, ...], take: Take) -> Tensor:
        """Return a leaf, after a run in which ``take`` got all units' values with their graphs."""
        with self._running(images) as modules:
            leaf = images.clone().requires_grad_()
            with _Units(modules, take):
                self.function(leaf.clone(), *extra)
        return leaf

    def along(
        self, images: Tensor, directions: Tensor, extra: tuple[Any, ...], take: Take
    ) -> tuple[Tensor, Tensor]:
        """Return the output and its slope along a direction, shape (N, K) each.

        ``take`` gets the place, the site and the value of all units of a function; :func:`value_and_slope` takes it apart.
        """
        with self._running(images) as modules, torch.no_grad(), _dual_level():
            with _Units(modules, take):
                output = self.function(_dual(images.clone(), directions), *extra)
            value, slope = _taken_apart(_as_rows(output, len(images)))
            return value.clone(), torch.zeros_like(value) if slope is None else slope.clone()

    @contextlib.contextmanager
    def _running(self, images: Tensor) -> Iterator[RunningModules]:
        model = self.function if isinstance(self.function, nn.Module) else nn.Identity()
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(images.device.type, enabled=False),
            eager(),
            RunningModules(model) as modules,
        ):
            yield modules


def value_and_slope(values: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
    """Return the values of all units at a site and their slopes, shape (N, units); None where the image has no part in them.

    Slopes that are nothing but rounding errors, next to the largest at the site, are zero.
    """
    value, slope = _taken_apart(values)
    if slope is None:
        return value, None
    if len(value) % count:
        raise UnsupportedModelError(
            f"model must keep images along the first axis; got a unit's argument of shape {tuple(value.shape)} for {count} images."
        )
    slope = slope.reshape(count, -1)
    return value.reshape(count, -1), slope.masked_fill(slope.abs() <= rounding(slope), 0)


def rounding(sizes: Tensor) -> Tensor:
    """Return what is not told from zero among numbers of each row: 16 units of precision of the largest."""
    return 16 * torch.finfo(sizes.dtype).eps * sizes.abs().amax(1, keepdim=True)


def _dual(values: Tensor, slopes: Tensor) -> Tensor:
    made: Tensor = forward_ad.make_dual(values, slopes)  # type: ignore[no-untyped-call]
    return made


def _taken_apart(dual: Tensor) -> tuple[Tensor, Tensor | None]:
    value, slope = forward_ad.unpack_dual(dual)  # type: ignore[no-untyped-call]
    return value, slope


@contextlib.contextmanager
def _dual_level() -> Iterator[None]:
    """Compute slopes along with values; torch warns of its own scripted parts when it does so first."""
    with warnings.catch_warnings():
        for kind in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", ".*torch.jit", kind)
        with forward_ad.dual_level():
            yield


def _as_rows(output: Any, count: int) -> Tensor:
    """Return the output of each image as one row."""
    if isinstance(output, Tensor) and output.dim() == 0 and count == 1:
        output = output.reshape(1)
    return check_output(output, count)


class _Units(TorchFunctionMode):
    """Hand the values of all units to ``take`` while a model runs."""

    def __init__(self, modules: RunningModules, take: Take, look: _LinearOnly | None = None) -> None:
        super().__init__()
        self._modules, self._take, self._look = modules, take, look
        self._place = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        known = UNITS.get(func)
        if self._look is None:
            if known is not None:
                self._taken(func, known[1](dict(zip(known[0], args, strict=False)) | kwargs))
            return func(*args, **kwargs)
        if func in DETACHES and any(map(self._look.depends, tensors_in(args))):
            self._look.refuse("detach", "It cuts the gradient off: remove it.")
        before = self._look.function, self._look.is_unit
        self._look.function, self._look.is_unit = _name(func), known is not None
        try:
            return func(*args, **kwargs)
        finally:
            self._look.function, self._look.is_unit = before

    def _taken(self, func: Any, meetings: Iterator[Meeting]) -> None:
        for meeting in meetings:
            self._take(
                self._place, Site(self._modules.name, _name(func).strip("_"), meeting.level), meeting.value
            )
            self._place += 1


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", func))


class _LinearOnly(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuse operators on image data that are not linear, unless they belong to a known unit."""

    def __init__(self, modules: RunningModules, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._modules = modules
        self._alive: list[Tensor] = []  # so that no storage takes the place of another
        self._storages: set[int] = set()
        self.function, self.is_unit = "", False
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
        raise UnsupportedModelError(REFUSED.format(what=f"{name}{where}", advice=advice))

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
