"""The methods of ``edgefilter.methods`` as a comparison calls them, and at the filter bank where they attribute a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from captum.attr import LayerIntegratedGradients
from torch import Tensor, nn

from edgefilter.attribution.arguments import unwrapped
from edgefilter.methods import (
    MFPP,
    GuidedNonlinearityIG,
    KernelLIME,
    LinearRegion,
    MaskSearch,
    SmoothTaylor,
    ZoomCAM,
    grid_fragments,
    guided_gradients,
)

from .layers import found_once
from .method import BATCH, PATH_STEPS, Built, Make

__all__ = ["EVALUATIONS", "PEERS", "PEER_PARTS"]

EVALUATIONS = 256  # masked copies of an image that a black-box method may ask about; thousands as published
RISE_CELLS = 8  # along each side, as published


def _drawing(kind: type, **settings: int) -> Make:
    """Return what builds a method that draws random numbers: with the seed of the cell that is being filled."""

    def make(model: nn.Module) -> Built:
        method = kind(model)

        def explain(inputs: Tensor, targets: Any) -> Tensor:
            found: Tensor = method.attribute(inputs, target=targets, seed=_seed(), **settings)
            return found

        return Built(explain, True)

    return make


def _seed() -> int:
    return torch.initial_seed() % 2**32


def _rise(model: nn.Module) -> Built:
    method = MFPP(model)

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        height, width = inputs.shape[2:]
        rows, columns = min(RISE_CELLS, height), min(RISE_CELLS, width)
        cells, smooth = grid_fragments((height, width), (rows, columns)), (height / rows, width / columns)
        found: Tensor = method.attribute(
            inputs, target=targets, segments=[cells], smooth=smooth, n_masks=EVALUATIONS, seed=_seed()
        )
        return found

    return Built(explain, True)


def _cam(*, every: bool) -> Make:
    """Return what builds class activation maps of the last convolution, or of the last one of every size."""

    def make(model: nn.Module) -> Built:
        convolutions = found_once(model)

        def explain(inputs: Tensor, targets: Any) -> Tensor:
            layers = convolutions(inputs)
            found: Tensor = ZoomCAM(model, layers if every else layers[-1:]).attribute(inputs, targets)
            return found

        return Built(explain, True)

    return make


def _guided_nonlinearity_ig(model: nn.Module) -> Built:
    method = GuidedNonlinearityIG(model)

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        found: Tensor = method.attribute(
            inputs, target=targets, n_steps=PATH_STEPS, internal_batch_size=max(BATCH, len(inputs))
        )
        return found

    return Built(explain, True)


def _linear_region(model: nn.Module) -> Built:
    return Built(LinearRegion(model).attribute, True)


PEERS: dict[str, Make] = {
    "hires_cam": _cam(every=False),
    "zoom_cam": _cam(every=True),
    "smooth_taylor": _drawing(SmoothTaylor, n_samples=PATH_STEPS, n_samples_batch_size=1),
    "guided_nonlinearity_ig": _guided_nonlinearity_ig,
    "mfpp": _drawing(MFPP, n_masks=EVALUATIONS),
    "rise": _rise,
    "mask_search": _drawing(MaskSearch, max_queries=EVALUATIONS),
    "kernel_lime": _drawing(KernelLIME, n_samples=EVALUATIONS),
    "linear_region": _linear_region,
}


def _zoom_cam_responses(model: nn.Module, layer: nn.Module) -> Callable[[Tensor, Any], Tensor]:
    method = ZoomCAM(model, layer)
    return lambda inputs, targets: method.terms(inputs, targets)


def _guided_responses(model: nn.Module, layer: nn.Module) -> Callable[[Tensor, Any], Tensor]:
    inside = unwrapped(model)  # as GuidedNonlinearityIG does
    method = LayerIntegratedGradients(inside, layer)

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        with guided_gradients(inside):
            found: Tensor = method.attribute(
                inputs, target=targets, n_steps=PATH_STEPS, internal_batch_size=max(BATCH, len(inputs))
            )
        return found

    return explain


PEER_PARTS: dict[str, Callable[[nn.Module, nn.Module], Callable[[Tensor, Any], Tensor]]] = {
    "zoom_cam": _zoom_cam_responses,
    "guided_nonlinearity_ig": _guided_responses,
}
