"""The table of torch functions and their handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edgefilter.lrp.run import Run

__all__ = [
    "INPLACE",
    "NATIVE",
    "TABLE",
    "Call",
    "methods",
    "rule_for",
]

TABLE: dict[Callable[..., Any], Callable[[Call], Any]] = {}

# In-place functions and the functions that they are out of place.
INPLACE: dict[Callable[..., Any], Callable[..., Any]] = {}

# Functions that look at tensors without computing: they get the tensors as they are.
NATIVE: set[Callable[..., Any]] = set()


class Call(NamedTuple):
    """A function call that the image has a part in."""

    run: Run
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the function."""
        return str(getattr(self.function, "__name__", self.function))

    def bound(self, *names: str) -> dict[str, Any]:
        """Return the arguments by these names, in the order of the positional ones."""
        return dict(zip(names, self.args, strict=False)) | self.kwargs

    def is_signal(self, value: Any) -> bool:
        """Return whether an argument depends on the image."""
        return self.run.value(value) is not None

    def of(self, signal: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the call as a function of one of its arguments; the others are constants."""
        place = next((i for i, given in enumerate(self.args) if given is signal), None)
        args, kwargs = self.run.constant(self.args), self.run.constant(self.kwargs)
        if place is None:
            name = next(name for name, given in self.kwargs.items() if given is signal)
            return lambda inputs: self.function(*args, **{**kwargs, name: inputs})
        before, after = args[:place], args[place + 1 :]
        return lambda inputs: self.function(*before, inputs, *after, **kwargs)

    def value(self) -> Any:
        """Compute the function without a graph."""
        with torch.no_grad():
            return self.function(*self.run.constant(self.args), **self.run.constant(self.kwargs))

    def other(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the result of another function under the rules."""
        with self.run:
            return function(*args, **kwargs)


Handler = Callable[[Call], Any]


def rule_for(*functions: Callable[..., Any] | None) -> Callable[[Handler], Handler]:
    """Put a handler into the table for these functions; None stands for one that this version of torch lacks."""

    def register(handler: Handler) -> Handler:
        for function in functions:
            if function is not None:
                TABLE[function] = handler
        return handler

    return register


def methods(*names: str) -> list[Callable[..., Any]]:
    """Return the functions and tensor methods of these names, also those of torch.nn.functional."""
    places: tuple[Any, ...] = (torch, Tensor, torch.nn.functional, torch._C._nn, torch.special, torch.linalg)
    found = [getattr(place, name, None) for name in names for place in places]
    return [function for function in found if callable(function)]


def _fill_inplace() -> None:
    operators = ("add", "sub", "mul", "truediv", "floordiv", "pow", "matmul", "mod")
    for name in operators:
        if hasattr(Tensor, f"__i{name}__"):
            INPLACE[getattr(Tensor, f"__i{name}__")] = getattr(Tensor, f"__{name}__")
    for place in (torch, Tensor, torch.nn.functional, torch._C._nn):
        for name in dir(place):
            plain = name[:-1]
            if name.endswith("_") and not name.startswith("_") and hasattr(place, plain):
                INPLACE[getattr(place, name)] = getattr(place, plain)
    for name in ("requires_grad_", "retain_grad_", "share_memory_", "rename_", "resize_", "set_"):
        INPLACE.pop(getattr(Tensor, name, None), None)  # type: ignore[arg-type]


def _fill_native() -> None:
    for name in ("register_hook", "retain_grad", "requires_grad_", "register_post_accumulate_grad_hook", "size", "dim",
                 "numel", "nelement", "stride", "is_contiguous", "element_size", "storage_offset", "data_ptr", "ndimension",
                 "is_floating_point", "is_complex", "get_device", "__len__", "__hash__", "is_inference", "is_shared",
                 "type"):  # fmt: skip
        NATIVE.add(getattr(Tensor, name))
    NATIVE.discard(Tensor.type)
    for name in dir(Tensor):
        attribute = getattr(Tensor, name, None)
        getter = getattr(attribute, "__get__", None)
        if type(attribute).__name__ in ("getset_descriptor", "property") and getter is not None:
            if name not in ("T", "mT", "H", "mH", "data", "real", "imag"):
                NATIVE.add(getter)
            setter = getattr(attribute, "__set__", None)
            if setter is not None and name != "data":
                NATIVE.add(setter)
    NATIVE.update(
        (
            torch.is_floating_point,
            torch.is_complex,
            torch.numel,
            torch.is_tensor,
            torch.overrides.is_tensor_like,
        )
    )


_fill_inplace()
_fill_native()
