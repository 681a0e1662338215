"""The methods that are compared: ours, Captum's, those of ``edgefilter.methods``, and controls that do not look at the model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from captum.attr import (
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn
from torch.nn import functional as F

from edgefilter.banks.catalogue import get_kernel

from .layers import found_once
from .method import BATCH, PATH_STEPS, Built, Make
from .ours import ours
from .peers import PEERS

__all__ = ["CONTROLS", "DEFAULT_METHODS", "METHODS"]

WINDOWS = 7  # of Occlusion, along each side


def _edgefilter(model: nn.Module) -> Built:
    return Built(ours(model).attribute, True)


def _edgefilter_relevance(model: nn.Module) -> Built:
    return Built(ours(model, calibrate=False).attribute, True)


def _integrated_gradients(model: nn.Module) -> Built:
    method = IntegratedGradients(model)
    return Built(
        lambda inputs, targets: method.attribute(
            inputs, target=targets, n_steps=PATH_STEPS, internal_batch_size=max(BATCH, len(inputs))
        ),
        True,
    )


def _grad_cam(model: nn.Module) -> Built:
    convolutions = found_once(model)

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        found = LayerGradCam(model, convolutions(inputs)[-1]).attribute(inputs, target=targets)
        return LayerAttribution.interpolate(found, tuple(inputs.shape[2:]), "bilinear")  # type: ignore[no-any-return]

    return Built(explain, True)


def _saliency(model: nn.Module) -> Built:
    return Built(lambda inputs, targets: Saliency(model).attribute(inputs, target=targets), False)


def _input_x_gradient(model: nn.Module) -> Built:
    return Built(lambda inputs, targets: InputXGradient(model).attribute(inputs, target=targets), True)


def _guided_backprop(model: nn.Module) -> Built:
    if not any(isinstance(module, nn.ReLU) for module in model.modules()):
        raise ValueError(
            "guided_backprop must have modules of type nn.ReLU; got a model without: it would be the plain gradient. "
            "Leave it out."
        )
    return Built(lambda inputs, targets: GuidedBackprop(model).attribute(inputs, target=targets), False)


def _occlusion(model: nn.Module) -> Built:
    def explain(inputs: Tensor, targets: Any) -> Tensor:
        channels, *sides = inputs.shape[1:]
        window = (channels, *(max(1, math.ceil(side / WINDOWS)) for side in sides))
        return Occlusion(model).attribute(  # type: ignore[no-any-return]
            inputs, sliding_window_shapes=window, strides=window, target=targets
        )

    return Built(explain, True)


def _sobel(_: nn.Module) -> Built:
    """Return a control that looks at the image only: how steep its gray is."""

    def explain(inputs: Tensor, targets: Any) -> Tensor:  # noqa: ARG001 - as every method
        kernels = np.stack([get_kernel(name).weight for name in ("sobel_x", "sobel_y")])
        gray = F.pad(inputs.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        return (
            F.conv2d(gray, torch.from_numpy(kernels).to(inputs)[:, None]).square().sum(1, keepdim=True).sqrt()
        )

    return Built(explain, True)


def _random(_: nn.Module) -> Built:
    """Return a control that looks at nothing."""
    return Built(lambda inputs, _: torch.rand_like(inputs[:, :1]), True)


def _input(_: nn.Module) -> Built:
    """Return a control that shows the image itself."""
    return Built(lambda inputs, _: inputs, True)


_DEFAULT: dict[str, Make] = {
    "edgefilter": _edgefilter,
    "edgefilter_relevance": _edgefilter_relevance,
    "integrated_gradients": _integrated_gradients,
    "grad_cam": _grad_cam,
    "saliency": _saliency,
    "input_x_gradient": _input_x_gradient,
    "guided_backprop": _guided_backprop,
    "occlusion": _occlusion,
    "sobel": _sobel,
    "random": _random,
}
DEFAULT_METHODS = tuple(_DEFAULT)
METHODS: dict[str, Make] = {**_DEFAULT, **PEERS, "input": _input}

_BLIND = "Control, which does not look at the network"
CONTROLS: dict[str, str] = {
    "sobel": _BLIND,
    "random": _BLIND,
    "input": _BLIND,
    "response_energy": _BLIND,  # of colors and filters
    "guided_nonlinearity_ig": (  # the number is from benchmarks/sanity.py
        "Negative control, whose maps hardly change with new weights above the filter bank (correlation 0.81, shipped digits network)"
    ),
}
