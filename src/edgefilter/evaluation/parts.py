"""The ways to score colors and filters that are compared: each a function of images and targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from captum.attr import LayerConductance, LayerIntegratedGradients
from torch import Tensor, nn

from edgefilter.attribution.explanation import Explanation
from edgefilter.stems.finding import bank_path

from .method import BATCH, PATH_STEPS
from .ours import OURS, ours
from .peers import PEER_PARTS

__all__ = ["PARTS", "part_scores"]


def part_scores(
    model: nn.Module, peers: Sequence[str] = ()
) -> dict[str, Callable[[Tensor, Any], Explanation]]:
    """Return the ways to score colors and filters, each as a function of images and targets; ``peers`` names more of them."""
    layer: Any = model.get_submodule(bank_path(model))

    def from_captum(method: Any) -> Callable[[Tensor, Any], Explanation]:
        def explain(inputs: Tensor, targets: Any) -> Explanation:
            found = method.attribute(
                inputs, target=targets, n_steps=PATH_STEPS, internal_batch_size=max(BATCH, len(inputs))
            )
            return Explanation.from_responses(found.detach(), layer)

        return explain

    def energy(inputs: Tensor, _: Any) -> Explanation:
        with torch.no_grad():
            return Explanation.from_responses(layer(inputs).square(), layer)

    def chance(inputs: Tensor, _: Any) -> Explanation:
        with torch.no_grad():
            shape = layer(inputs).shape
        return Explanation.from_responses(torch.rand(*shape[:2], 1, 1).to(inputs), layer)

    def from_peer(responses: Callable[[Tensor, Any], Tensor]) -> Callable[[Tensor, Any], Explanation]:
        return lambda inputs, targets: Explanation.from_responses(responses(inputs, targets).detach(), layer)

    return {
        "edgefilter": ours(model).explain,
        "edgefilter_relevance": ours(model, calibrate=False).explain,
        "layer_conductance": from_captum(LayerConductance(model, layer)),
        "layer_integrated_gradients": from_captum(LayerIntegratedGradients(model, layer)),
        "response_energy": energy,
        "random": chance,
        **{name: from_peer(PEER_PARTS[name](model, layer)) for name in peers},
    }


PARTS = (*OURS, "layer_conductance", "layer_integrated_gradients", "response_energy", "random")
