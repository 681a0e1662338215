"""The methods that are compared: each a function of a network, images and targets that returns ``Scores``.

Ours come calibrated ("default") and as relevance alone, under every name that ``composite_names()`` lists. Captum's are asked twice: for the target's output
("logit") and, through a wrapper, for that output minus the mean of the others ("margin"), which is what
``against="rest"`` explains and what silencing is measured by. Occlusion, the slowest, only for the margin.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from captum.attr import (
    InputXGradient,
    IntegratedGradients,
    LayerAttribution,
    LayerConductance,
    LayerDeepLift,
    LayerGradCam,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    Occlusion,
)
from torch import Tensor, nn

import edgefilter as ef

from .measures import margin

STEPS = 20  # gradients of a path method
OUTPUTS = ("logit", "margin")
CONTRASTED = (
    "zplus",
    "alpha2_beta1",
    "alpha15_beta05",
)  # composites whose head separates positive from negative parts


class Scores(NamedTuple):
    """What a method says; parts that it has no opinion on are None.

    ``response`` is (N, C, K, H', W'), ``pixel`` is (N, C, H, W), ``only_color`` is (N, C) and ``only_place`` (N, H, W),
    for methods that give nothing else.
    """

    response: Tensor | None = None
    pixel: Tensor | None = None
    only_color: Tensor | None = None
    only_place: Tensor | None = None

    def level(self, level: str) -> Tensor | None:
        """Return the scores of colors, filters ("edge") or their pairs, as (N, parts)."""
        if self.response is not None:
            cells = self.response.double().sum((3, 4))
            return {"color": cells.sum(2), "edge": cells.sum(1), "color_edge": cells.flatten(1)}[level]
        if level != "color":
            return None
        return self.only_color if self.pixel is None else self.pixel.double().sum((2, 3))

    def places(self) -> dict[str, Tensor]:
        """Return maps (N, H, W): of pixels, and of responses where they are as large as the images."""
        found = {}
        if self.only_place is not None:
            found["pixels"] = self.only_place
        if self.pixel is not None:
            found["pixels"] = self.pixel.sum(1)
        if self.response is not None:
            found["responses"] = self.response.sum((1, 2))
        return found


class Margin(nn.Module):
    """A network whose outputs are margins: each output minus the mean of the others."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the margins, (N, classes)."""
        outputs = self.model(images)
        return outputs - (outputs.sum(1, keepdim=True) - outputs) / (outputs.shape[1] - 1)


Explain = Callable[[nn.Module, Tensor, Tensor], Scores]


class Method(NamedTuple):
    """A function and what is known about it."""

    explain: Explain
    slow: bool = False  # hundreds of passes: left out of large networks


def filters_of(model: nn.Module) -> nn.Module:
    """Return the filter bank of a network."""
    return next(module for module in model.modules() if isinstance(module, ef.EdgeFilterBank2d))


def asked(model: nn.Module, output: str) -> nn.Module:
    """Return what Captum is given, so that its target is the output that is explained."""
    return Margin(model).eval() if output == "margin" else model


@lru_cache(maxsize=64)
def attribution(model: nn.Module, composite: str | None) -> ef.EdgeFilterAttribution:
    """Return what explains a network: calibrated by default, or relevance by a composite alone."""
    return ef.EdgeFilterAttribution(model, composite, calibrate=composite is None)


def edgefilter(
    model: nn.Module, images: Tensor, targets: Tensor, *, composite: str | None, output: str
) -> Scores:
    """Explain with this package."""
    against = "rest" if output == "margin" else None
    found = attribution(model, composite).explain(images, targets, against=against)
    return Scores(found.response.detach(), found.pixel.detach())


def captum_layer(
    model: nn.Module, images: Tensor, targets: Tensor, *, kind: type, output: str, **options: int
) -> Scores:
    """Attribute to the bank's responses; pixels by the package's rule for the bank."""
    layer = filters_of(model)
    found = kind(asked(model, output), layer).attribute(images, target=targets, **options)
    explanation = ef.Explanation.from_responses(found.detach(), layer, images)
    return Scores(explanation.response, explanation.pixel)


def captum_pixels(
    model: nn.Module, images: Tensor, targets: Tensor, *, kind: type, output: str, **options: int
) -> Scores:
    """Attribute to the pixels."""
    found = kind(asked(model, output)).attribute(images.clone().requires_grad_(), target=targets, **options)
    return Scores(pixel=found.detach())


def occlusion(model: nn.Module, images: Tensor, targets: Tensor, *, output: str, together: bool) -> Scores:
    """Occlude windows of one color, or of all colors together (places only then)."""
    channels, height = images.shape[1:3]
    side = max(5, height // 5)
    depth = channels if together else 1
    step = side // 2 + 1
    options = {"sliding_window_shapes": (depth, side, side), "strides": (depth, step, step)}
    with torch.no_grad():
        found = Occlusion(asked(model, output)).attribute(images, target=targets, **options)
    return Scores(only_place=found.sum(1)) if together else Scores(pixel=found)


def grad_cam(model: nn.Module, images: Tensor, targets: Tensor, *, output: str) -> Scores:
    """Run Grad-CAM at the last 3 x 3 convolution."""
    layer = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)][-1]
    found = LayerGradCam(asked(model, output), layer).attribute(images, target=targets)
    enlarged = LayerAttribution.interpolate(found.detach(), tuple(images.shape[2:]), "bilinear")
    return Scores(only_place=enlarged[:, 0])


def channel_occlusion(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:
    """Set one color channel after the other to its mean; the score is the loss of margin."""
    losses = []
    with torch.no_grad():
        before = margin(model(images), targets)
        for color in range(images.shape[1]):
            without = images.clone()
            without[:, color] = images[:, color].mean((1, 2), keepdim=True)
            losses.append(before - margin(model(without), targets))
    return Scores(only_color=torch.stack(losses, 1).double())


def response_energy(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:  # noqa: ARG001 - as every method
    """Square the responses: a control that doesn't look at the network."""
    layer = filters_of(model)
    with torch.no_grad():
        found = ef.Explanation.from_responses(layer(images).square(), layer, images)
    return Scores(found.response, found.pixel)


def chance(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:  # noqa: ARG001 - as every method
    """Draw the scores: a control that looks at nothing."""
    layer = filters_of(model)
    with torch.no_grad():
        found = ef.Explanation.from_responses(torch.randn_like(layer(images)), layer, images)
    return Scores(found.response, found.pixel)


def ours() -> dict[str, Method]:
    """Return the default and every named composite with the outputs that it is meant for."""
    settings: list[tuple[str | None, str]] = [(None, output) for output in reversed(OUTPUTS)]
    for name in ef.composite_names():
        settings += [(name, output) for output in OUTPUTS[: 1 + (name in CONTRASTED)]]
    return {
        f"edgefilter {composite or 'default'}, {output}": Method(
            partial(edgefilter, composite=composite, output=output)
        )
        for composite, output in settings
    }


def captums() -> dict[str, Method]:
    """Return Captum's methods for both outputs."""
    kinds = {
        "LayerConductance": partial(captum_layer, kind=LayerConductance, n_steps=STEPS),
        "LayerIntegratedGradients": partial(captum_layer, kind=LayerIntegratedGradients, n_steps=STEPS),
        "LayerDeepLift": partial(captum_layer, kind=LayerDeepLift),
        "LayerGradientXActivation": partial(captum_layer, kind=LayerGradientXActivation),
        "IntegratedGradients": partial(captum_pixels, kind=IntegratedGradients, n_steps=STEPS),
        "InputXGradient": partial(captum_pixels, kind=InputXGradient),
        "LayerGradCam": grad_cam,
        "Occlusion, each color": partial(occlusion, together=False),
        "Occlusion, all colors": partial(occlusion, together=True),
    }
    return {
        f"Captum {name}, {output}": Method(partial(explain, output=output), slow="Occlusion" in name)
        for name, explain in kinds.items()
        for output in OUTPUTS[-1 if "Occlusion" in name else 0 :]
    }


def methods() -> dict[str, Method]:
    """Return all methods by name: ours, Captum's, occlusion of channels, and two controls."""
    controls = {"channel occlusion": channel_occlusion, "response energy": response_energy, "random": chance}
    return {**ours(), **captums(), **{name: Method(explain) for name, explain in controls.items()}}


def in_pieces(explain: Explain, model: nn.Module, images: Tensor, targets: Tensor, size: int) -> Scores:
    """Explain some images at a time and join the scores."""
    count = math.ceil(len(images) / size)
    pieces = zip(images.chunk(count), targets.chunk(count), strict=True)
    found = [explain(model, *piece) for piece in pieces]
    columns = zip(*found, strict=True)
    return Scores(*(None if column[0] is None else torch.cat(column) for column in columns))
