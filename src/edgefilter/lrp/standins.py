"""Stand-in modules: what composites are asked about, and what rules run, for one function call of a model."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from zennit.layer import Sum

__all__ = [
    "Affine",
    "Average",
    "FilterBankConv2d",
    "FullConv1d",
    "FullConv2d",
    "FullConv3d",
    "FullyConnected",
    "MatrixProduct",
    "Passing",
    "TokenLinear",
    "TokenMatrixProduct",
    "activation",
    "layer_like",
    "pointwise",
]

Function = Callable[[Tensor], Tensor]


class FilterBankConv2d(nn.Conv2d):
    """The filter bank of the stem, which composites can tell from other convolutions.

    Attributes
    ----------
    present : Tensor or None
        1 where its input depends on the image, 0 elsewhere; None if all of it does.
    """

    present: Tensor | None = None


class FullyConnected:
    """A convolution that sees its whole input at its only place."""


class FullConv1d(FullyConnected, nn.Conv1d):
    """A fully connected layer, written as a convolution."""


class FullConv2d(FullyConnected, nn.Conv2d):
    """A fully connected layer, written as a convolution."""


class FullConv3d(FullyConnected, nn.Conv3d):
    """A fully connected layer, written as a convolution."""


class TokenLinear(nn.Linear):
    """A linear layer that is applied at every place of a map: a 1x1 convolution in another layout."""


class MatrixProduct(nn.Linear):
    """A product with constant weights in any spelling, such as ``einsum``."""

    function: Callable[[Tensor, Tensor], Tensor]
    has_output_axis = False  # whether the last axis of the weight is that of the output

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Multiply, and add the bias."""
        product = self.function(input, self.weight)
        return product if self.bias is None else product + self.bias


class TokenMatrixProduct(MatrixProduct, TokenLinear):
    """A product with constant weights at every place of a map."""


class _OfFunction(nn.Module):
    """A module that computes a function of its input; other arguments are held constant."""

    function: Function

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Compute the function."""
        return self.function(input)


class Average(_OfFunction, Sum):  # type: ignore[misc]
    """A weighted sum of the inputs with held weights: means, attention, resizing. Composites treat it as a sum.

    Attributes
    ----------
    steady : bool
        Whether the relevance of its output is proportional to its value.
    """

    steady: bool = True


class AveragePool(_OfFunction, nn.AvgPool2d):
    """An average over windows."""

    steady: bool = True


class Passing(_OfFunction):
    """Something that hands relevance through unchanged: gates, squashing, scaling by what is held."""


class Affine(_OfFunction):
    """A gain and a shift, both held constant: normalization layers, added positions, image normalization."""


def _empty(kind: type[nn.Module]) -> Any:
    """Return a module of a class without running its constructor, which would draw weights."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    module.eval()
    return module


def layer_like(kind: type[nn.Module], weight: Tensor, bias: Tensor | None, **settings: Any) -> nn.Module:
    """Return a layer of a class with these weights and settings."""
    module = _empty(kind)
    module.__dict__.update(settings)
    for name, value in (("weight", weight), ("bias", bias)):
        parameter = None if value is None else nn.Parameter(value.detach(), requires_grad=False)
        module.register_parameter(name, parameter)
    return module  # type: ignore[no-any-return]


def pointwise(weight: Tensor, bias: Tensor | None) -> nn.Module:
    """Return a convolution of one place, with weights of shape (out, in, 1, 1)."""
    return layer_like(
        nn.Conv2d,
        weight,
        bias,
        in_channels=weight.shape[1],
        out_channels=len(weight),
        kernel_size=(1, 1),
        stride=(1, 1),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
        padding_mode="zeros",
        transposed=False,
        output_padding=(0, 0),
    )


def with_gain(module: nn.Module) -> nn.Module:
    """Return a layer with the gain of its output channels in its weights: they are not kept, for they take memory."""
    gain: Tensor | None = module.__dict__.get("gain")
    if gain is None:
        return module
    layer = copy.copy(module)
    weight: Any = module._parameters["weight"]
    if isinstance(module, MatrixProduct):
        weight = weight * gain
    elif isinstance(module, _ConvTransposeNd):
        spread = gain.reshape(module.groups, 1, -1).expand(module.groups, len(weight) // module.groups, -1)
        weight = weight * spread.reshape(len(weight), -1, *[1] * (weight.dim() - 2))
    else:
        weight = weight * gain.reshape(-1, *[1] * (weight.dim() - 1))
    layer.__dict__ = {
        **module.__dict__,
        "_parameters": {**module._parameters, "weight": nn.Parameter(weight, requires_grad=False)},
        "gain": None,
    }
    return layer


def of_function(kind: type[nn.Module], function: Callable[..., Any], **settings: Any) -> nn.Module:
    """Return a stand-in of a class that computes a function."""
    module = _empty(kind)
    module.__dict__.update(settings, function=function)
    return module  # type: ignore[no-any-return]


def activation(kind: type[nn.Module], function: Function) -> nn.Module:
    """Return a stand-in that is an activation of a class and computes a function."""
    return of_function(_activation_class(kind.__name__), function)


@functools.cache
def _activation_class(name: str) -> type[nn.Module]:
    return type(name, (_OfFunction, getattr(nn, name)), {"inplace": False})


def sum_of() -> nn.Module:
    """Return Zennit's sum along the last axis, for composites to map and their hooks to run."""
    module: nn.Module = Sum(-1)
    return module
