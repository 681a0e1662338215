"""The methods that are compared: ours, Captum's, and controls that do not look at the model."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from captum.attr import (
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerAttribution,
    LayerConductance,
    LayerGradCam,
    LayerIntegratedGradients,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn
from torch.nn import functional as F

from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.attribution.explanation import Explanation
from edgefilter.banks.catalogue import get_kernel
from edgefilter.stems.finding import bank_path

from .margin import Margin

__all__ = [
    "BATCH",
    "METHODS",
    "OURS",
    "PARTS",
    "Explain",
    "Method",
    "attributions",
    "batches",
    "ours",
    "part_scores",
]

PATH_STEPS = 20  # gradients of a path method
WINDOWS = 7  # of Occlusion, along each side
BATCH = 8  # images that are explained at once

Explain = Callable[[Tensor, Any], Tensor]


class Built(NamedTuple):
    """A method for one model: how to call it, and whether it gives shares of the output or sensitivities to it."""

    explain: Explain
    multiplies_by_inputs: bool


class Method:
    """A named method that explains batches piece by piece and remembers its answer for the images at hand."""

    def __init__(self, name: str, given: Explain | None = None) -> None:
        self.name = name
        self.given = given
        self.built: Built | None = None
        self.known: tuple[Tensor, Tensor] | None = None

    def build(self, model: nn.Module) -> Built:
        """Return the method for a model; a user's own callable knows only its own."""
        if self.given is None:
            return METHODS[self.name](model)
        owner = getattr(self.given, "__self__", None)
        return Built(_by_position(self.given), bool(getattr(owner, "multiplies_by_inputs", True)))

    def run(self, inputs: Tensor, targets: Any) -> Tensor:
        """Return attributions as large as the inputs, or with one channel in place of the colors."""
        assert self.built is not None
        return attributions(self.built.explain, inputs, targets)

    def again(self, inputs: Any, target: Any = None) -> tuple[Tensor, ...]:
        """Explain as Captum's sensitivity_max asks: a tuple; the known images are not explained again."""
        given = inputs[0] if isinstance(inputs, tuple) else inputs
        if self.known is not None and given is self.known[0]:
            return (self.known[1],)
        return (self.run(given, target).contiguous(),)


def batches(inputs: Tensor, targets: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield some images, as fresh tensors, and their targets at a time."""
    indices = torch.as_tensor(targets, device=inputs.device)
    for start in range(0, len(inputs), BATCH):
        yield inputs[start : start + BATCH].detach().clone(), indices[start : start + BATCH]


def attributions(explain: Explain, inputs: Tensor, targets: Any) -> Tensor:
    """Explain all images, some at a time, and check what comes.

    Raises
    ------
    ValueError
        If attributions are neither as large as the images nor of one channel, or not finite.
    """
    parts = []
    with torch.enable_grad():
        for some, wanted in batches(inputs, targets):
            found: Any = explain(some, wanted)
            found = found[0] if isinstance(found, tuple) else found
            if not isinstance(found, Tensor) or found.shape not in (some.shape, some[:, :1].shape):
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise ValueError(
                    f"a method must return attributions of shape {tuple(some.shape)} or {tuple(some[:, :1].shape)}; "
                    f"got {shape}. Sum or resize them."
                )
            parts.append(found.detach())
    maps = torch.cat(parts)
    if not torch.isfinite(maps).all():
        raise ValueError("a method must return finite attributions; got NaN or infinity. Look at its model.")
    return maps


def _by_position(function: Explain) -> Explain:
    """Call with ``target=`` what has such an argument: in some of Captum's methods it is not the second."""
    try:
        named = "target" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        named = False
    return (lambda inputs, targets: function(inputs, target=targets)) if named else function  # type: ignore[call-arg]


class Ours(NamedTuple):
    """Our attribution of a network, and what its outputs are compared with."""

    attribution: EdgeFilterAttribution
    against: int | Literal["rest", "odds"] | None

    def attribute(self, inputs: Tensor, targets: Any) -> Tensor:
        """Return the scores of the pixels."""
        return self.attribution.attribute(inputs, targets, against=self.against)  # type: ignore[no-any-return]

    def explain(self, inputs: Tensor, targets: Any) -> Explanation:
        """Return all scores."""
        return self.attribution.explain(inputs, targets, against=self.against)


def ours(model: nn.Module, *, calibrate: bool = True) -> Ours:
    """Return our attribution of a network; inside a margin, of the network in it."""
    if isinstance(model, Margin):
        return Ours(EdgeFilterAttribution(model.model, calibrate=calibrate), model.against)
    return Ours(EdgeFilterAttribution(model, calibrate=calibrate), None)


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
    layers: list[nn.Module] = []

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        if not layers:
            layers.append(_last_convolution(model, inputs))
        found = LayerGradCam(model, layers[0]).attribute(inputs, target=targets)
        return LayerAttribution.interpolate(found, tuple(inputs.shape[2:]), "bilinear")  # type: ignore[no-any-return]

    return Built(explain, True)


def _last_convolution(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Return the last convolution that still has places: those of squeeze-and-excitation have one."""
    ran: list[nn.Module] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if output.shape[2:].numel() > 1:
            ran.append(module)

    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.Conv2d)]
    try:
        with torch.no_grad():
            model(inputs[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        raise ValueError(
            "grad_cam must have a convolution with more than one place; got a model without. Leave it out."
        )
    return ran[-1]


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


METHODS: dict[str, Callable[[nn.Module], Built]] = {
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


OURS = ("edgefilter", "edgefilter_relevance")


def part_scores(model: nn.Module) -> dict[str, Callable[[Tensor, Any], Explanation]]:
    """Return the ways to score colors and filters, each as a function of images and targets."""
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

    return {
        "edgefilter": ours(model).explain,
        "edgefilter_relevance": ours(model, calibrate=False).explain,
        "layer_conductance": from_captum(LayerConductance(model, layer)),
        "layer_integrated_gradients": from_captum(LayerIntegratedGradients(model, layer)),
        "response_energy": energy,
        "random": chance,
    }


PARTS = (*OURS, "layer_conductance", "layer_integrated_gradients", "response_energy", "random")
