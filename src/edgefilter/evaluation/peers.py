"""The methods of :mod:`edgefilter.methods` as a comparison calls them, and at the filter bank where they attribute a layer."""

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
    MaskSearch,
    SmoothTaylor,
    ZoomCAM,
    grid_fragments,
    guided_gradients,
)

from .layers import convolutions_by_size
from .method import BATCH, Built, Make

__all__ = ["EVALUATIONS", "PEERS", "PEER_PARTS", "ROOTS", "STEPS"]

STEPS = 20  # gradients of guided_nonlinearity_ig, as many as integrated gradients get
ROOTS = 20  # gradients of smooth_taylor, likewise; 150 as published
EVALUATIONS = 256  # masked copies of an image that a black-box method may ask about; thousands as published
RISE_CELLS = 8  # along each side, as published


def _drawn() -> int:
    """Return the seed of the cell that is being filled."""
    return torch.initial_seed() % 2**32


def _smooth_taylor(model: nn.Module) -> Built:
    method = SmoothTaylor(model)

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        found: Tensor = method.attribute(
            inputs, targets, n_samples=ROOTS, n_samples_batch_size=1, seed=_drawn()
        )
        return found

    return Built(explain, True)


def _zoom_cam(model: nn.Module) -> Built:
    def explain(inputs: Tensor, targets: Any) -> Tensor:
        found: Tensor = ZoomCAM(model, convolutions_by_size(model, inputs)).attribute(inputs, targets)
        return found

    return Built(explain, True)


def _hires_cam(model: nn.Module) -> Built:
    def explain(inputs: Tensor, targets: Any) -> Tensor:
        found: Tensor = ZoomCAM(model, convolutions_by_size(model, inputs)[-1]).attribute(inputs, targets)
        return found

    return Built(explain, True)


def _guided_nonlinearity_ig(model: nn.Module) -> Built:
    method = GuidedNonlinearityIG(model)

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        found: Tensor = method.attribute(
            inputs, target=targets, n_steps=STEPS, internal_batch_size=max(BATCH, len(inputs))
        )
        return found

    return Built(explain, True)


def _mfpp(model: nn.Module) -> Built:
    method = MFPP(model)

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        found: Tensor = method.attribute(
            inputs, target=targets, n_masks=EVALUATIONS, perturbations_per_eval=BATCH, seed=_drawn()
        )
        return found

    return Built(explain, True)


def _rise(model: nn.Module) -> Built:
    method = MFPP(model)

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        height, width = inputs.shape[2:]
        rows, columns = min(RISE_CELLS, height), min(RISE_CELLS, width)
        cells = grid_fragments((height, width), (rows, columns))
        found: Tensor = method.attribute(
            inputs, target=targets, segments=[cells], n_masks=EVALUATIONS, smooth=(height / rows, width / columns),
            perturbations_per_eval=BATCH, seed=_drawn(),
        )  # fmt: skip
        return found

    return Built(explain, True)


def _mask_search(model: nn.Module) -> Built:
    method = MaskSearch(model)

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        found: Tensor = method.attribute(
            inputs, target=targets, max_queries=EVALUATIONS, perturbations_per_eval=BATCH, seed=_drawn()
        )
        return found

    return Built(explain, True)


def _kernel_lime(model: nn.Module) -> Built:
    method = KernelLIME(model)

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        found: Tensor = method.attribute(
            inputs, target=targets, n_samples=EVALUATIONS, perturbations_per_eval=BATCH, seed=_drawn()
        )
        return found[:, :1]  # the same for all colors

    return Built(explain, True)


PEERS: dict[str, Make] = {
    "hires_cam": _hires_cam,
    "zoom_cam": _zoom_cam,
    "smooth_taylor": _smooth_taylor,
    "guided_nonlinearity_ig": _guided_nonlinearity_ig,
    "mfpp": _mfpp,
    "rise": _rise,
    "mask_search": _mask_search,
    "kernel_lime": _kernel_lime,
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
                inputs, target=targets, n_steps=STEPS, internal_batch_size=max(BATCH, len(inputs))
            )
        return found

    return explain


PEER_PARTS: dict[str, Callable[[nn.Module, nn.Module], Callable[[Tensor, Any], Tensor]]] = {
    "zoom_cam": _zoom_cam_responses,
    "guided_nonlinearity_ig": _guided_responses,
}
