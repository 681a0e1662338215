"""Watch a model run, and see which convolutions read the image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

__all__ = ["Convolve", "RunningModules", "StemReader", "tensors_in"]

CONVOLUTIONS = {
    F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
}  # fmt: skip

Convolve = Callable[[], Tensor]


class RunningModules:
    """Watch which module of a model runs, in this thread only and without touching the model.

    Parameters
    ----------
    model : nn.Module

    Attributes
    ----------
    names : dict of int to str
        Module paths by the modules' ids.
    """

    def __init__(self, model: nn.Module) -> None:
        self.names: dict[int, str] = {}
        self._owners: dict[int, nn.Module] = {}
        for name, module in model.named_modules():
            self.names[id(module)] = name
            for parameter in module._parameters.values():
                if parameter is not None:
                    self._owners.setdefault(id(parameter), module)
        self._stack: list[nn.Module] = []
        self._handles: list[RemovableHandle] = []
        self._thread = threading.get_ident()

    def __enter__(self) -> RunningModules:
        self._handles = [
            torch_module.register_module_forward_pre_hook(self._before),
            torch_module.register_module_forward_hook(self._after, always_call=True),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._stack = [], []

    def _before(self, module: nn.Module, inputs: Any) -> Any:
        if threading.get_ident() != self._thread:
            return None
        self._stack.append(module)
        return self.entered(module, inputs)

    def _after(self, module: nn.Module, _: Any, output: Any) -> Any:
        if threading.get_ident() != self._thread or not self._stack or self._stack[-1] is not module:
            return None
        self._stack.pop()
        return self.left(module, output)

    def entered(self, module: nn.Module, inputs: Any) -> Any:  # noqa: ARG002
        """Return other inputs for a module that starts, or None."""
        return None

    def left(self, module: nn.Module, output: Any) -> Any:  # noqa: ARG002
        """Return another output for a module that ends, or None."""
        return None

    @property
    def name(self) -> str:
        """Path of the module that runs; "" for the model itself."""
        return next((self.names[id(m)] for m in reversed(self._stack) if id(m) in self.names), "")

    def owner(self, kinds: tuple[Any, ...], weight: Tensor | None = None) -> nn.Module | None:
        """Return the module whose function call this is, if that can be told: by its weight, or because it runs."""
        owner = None if weight is None else self._owners.get(id(weight))
        if owner is None and self._stack:
            owner = self._stack[-1]
        return owner if isinstance(owner, kinds) else None


class StemReader(TorchFunctionMode):
    """Call a function for each convolution that reads the image.

    Parameters
    ----------
    images : tuple of Tensors
        :attr:`images` are new tensors of the same values, to call the model with.
    read : callable
        Gets the convolution's weight and a function that convolves; returns its result.
    """

    def __init__(self, images: tuple[Any, ...], read: Callable[[Tensor, Convolve], Tensor]) -> None:
        super().__init__()
        self._read = read
        self.images = self.marked(images)

    def marked(self, images: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return new tensors of the same values, whose readers are seen: a model may overwrite its inputs."""
        return tuple(self._mark(image.clone()) if isinstance(image, Tensor) else image for image in images)

    def reads(self, value: Any) -> bool:
        """Return whether an argument depends on the image."""
        return any(getattr(tensor, "_edgefilter_image", None) is self for tensor in tensors_in(value))

    def _mark(self, value: Any) -> Any:
        for tensor in tensors_in(value):
            tensor._edgefilter_image = self  # type: ignore[attr-defined]
        return value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.reads((args, kwargs)):
            return func(*args, **kwargs)
        if func in CONVOLUTIONS:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            return self._read(weight, lambda: func(*args, **kwargs))
        return self._mark(func(*args, **kwargs))


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in an argument, also inside lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_in(part)
