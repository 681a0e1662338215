"""The methods that are compared: each a function of a network, images and targets that returns ``Scores``.

All explain the target's output. Ours come as the default, with a second game, and under every name of
``composite_names()`` without calibration; Captum's at the output of the filter bank, and some at the pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from captum.attr import (
    InputXGradient,
    IntegratedGradients,
    KernelShap,
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

from .measures import steepness
from .reference import filters_of, kept_outputs, parts

STEPS = 20  # gradients of a path method
SAMPLES = 16  # runs of KernelShap: about what the default takes

DEFAULT, BOTH = "edgefilter", "edgefilter, two games"


class Scores(NamedTuple):
    """What a method says; parts that it has no opinion on are None.

    ``pairs`` is (N, C, K), ``color`` (N, C), ``edge`` (N, K), ``places`` (N, H, W).
    """

    pairs: Tensor | None = None
    color: Tensor | None = None
    edge: Tensor | None = None
    places: Tensor | None = None

    def level(self, bank: ef.FilterBank, level: str) -> Tensor | None:
        """Return the scores of a level, as (N, parts), or None."""
        if level in ("color", "edge") and getattr(self, level) is not None:
            return getattr(self, level).double()
        if self.pairs is None:
            return None
        members = parts(bank, self.pairs.shape[1], level).double()
        return torch.einsum("nck,pck->np", self.pairs.double(), members)


Explain = Callable[[nn.Module, Tensor, Tensor], Scores]


class Method(NamedTuple):
    """A function and what is known about it."""

    explain: Explain
    slow: bool = False  # hundreds of passes
    only_places: bool = False  # says nothing about colors or filters


def edgefilter(model: nn.Module, images: Tensor, targets: Tensor, **options: Any) -> Scores:
    """Explain with this package."""
    found = ef.EdgeFilterAttribution(model, **options).explain(images, targets)
    return Scores(found.color_edge.detach(), places=found.pixel.detach().sum(1))


def two_games(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:
    """Explain with exact colors and exact groups of filters: by order, or by orientation if all are of one order."""
    kind = "order" if len(filters_of(model).bank.groups("order")) > 1 else "orientation"
    return edgefilter(model, images, targets, calibrate=("color", kind))


def captum_layer(model: nn.Module, images: Tensor, targets: Tensor, *, kind: type, **options: int) -> Scores:
    """Attribute to the bank's responses; pixels by the package's rule for the bank."""
    layer = filters_of(model)
    found = kind(model, layer).attribute(images, target=targets, **options).detach()
    explanation = ef.Explanation.from_responses(found, layer, images)
    return Scores(explanation.color_edge, places=explanation.pixel.sum(1))


def captum_pixels(model: nn.Module, images: Tensor, targets: Tensor, *, kind: type, **options: int) -> Scores:
    """Attribute to the pixels."""
    found = kind(model).attribute(images.clone().requires_grad_(), target=targets, **options).detach()
    return Scores(color=found.sum((2, 3)), places=found.sum(1))


def occlusion(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:
    """Occlude windows of all colors together."""
    channels, height = images.shape[1:3]
    side = max(5, height // 5)
    step = side // 2 + 1
    options = {"sliding_window_shapes": (channels, side, side), "strides": (channels, step, step)}
    with torch.no_grad():
        return Scores(places=Occlusion(model).attribute(images, target=targets, **options).sum(1))


def grad_cam(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:
    """Run Grad-CAM at the last 3 x 3 convolution."""
    layer = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)][-1]
    found = LayerGradCam(model, layer).attribute(images, target=targets)
    return Scores(
        places=LayerAttribution.interpolate(found.detach(), tuple(images.shape[2:]), "bilinear")[:, 0]
    )


def channel_occlusion(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:
    """Set one color channel after the other to its mean; the score is what the output loses."""
    means = images.mean((2, 3), keepdim=True)
    keep = 1 - torch.eye(images.shape[1]).to(images)[:, None, :, None, None]
    with torch.no_grad():
        outputs = [
            model(means.lerp(images, one)).gather(1, targets[:, None])
            for one in (torch.ones_like(keep[0]), *keep)
        ]
    return Scores(color=outputs[0] - torch.cat(outputs[1:], 1))


def by_games(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    play: Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor],
) -> Scores:
    """Score colors, filters and pairs each on its own, by a function of the members of each part."""
    found = {}
    for level in ("color", "edge", "color_edge"):
        members = parts(filters_of(model).bank, images.shape[1], level)
        found[level] = play(model, images, targets, members)
    return Scores(found["color_edge"].unflatten(1, (images.shape[1], -1)), found["color"], found["edge"])


def without(model: nn.Module, images: Tensor, targets: Tensor, members: Tensor) -> Tensor:
    """Leave one out."""
    found = kept_outputs(model, images, targets, [torch.ones_like(members[0]), *(1 - members)])
    return found[:, :1] - found[:, 1:]


def first_and_last(model: nn.Module, images: Tensor, targets: Tensor, members: Tensor) -> Tensor:
    """Average what each part adds as the first and as the last."""
    found = kept_outputs(model, images, targets, [torch.zeros_like(members[0]), *members])
    return (found[:, 1:] - found[:, :1] + without(model, images, targets, members)) / 2


def kernel_shap(model: nn.Module, images: Tensor, targets: Tensor, members: Tensor) -> Tensor:
    """Fit Captum's KernelShap at the bank's output, with as many runs for each level as the default takes."""
    if len(members) == 1:  # it refuses one feature
        return without(model, images, targets, members)
    front, tail = ef.split(model)
    mask = members.flatten(1).argmax(0)[None, :, None, None]
    explainer, found = KernelShap(tail), []
    with torch.no_grad():
        for image, target in zip(images, targets.tolist(), strict=True):
            said = explainer.attribute(
                front(image[None]),
                target=target,
                feature_mask=mask,
                n_samples=SAMPLES,
                perturbations_per_eval=SAMPLES,
            )
            found.append(torch.stack([said[0, int(part.flatten().argmax()), 0, 0] for part in members]))
    return torch.stack(found)


def response_energy(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:  # noqa: ARG001 - as every method
    """Square the responses: a control that does not look at the network."""
    layer = filters_of(model)
    with torch.no_grad():
        found = ef.Explanation.from_responses(layer(images).square(), layer, images)
    return Scores(found.color_edge, places=found.pixel.sum(1))


def sobel_map(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:  # noqa: ARG001 - as every method
    """Return the steepness of the image and of each color: a control that does not look at the network."""
    by_color = torch.stack([steepness(image) for image in images.split(1, 1)], 1)
    return Scores(color=by_color.sum((2, 3)), places=steepness(images))


def ours() -> dict[str, Method]:
    """Return the default, the default with a second game, and relevance alone by every named composite."""
    found = {DEFAULT: Method(edgefilter), BOTH: Method(two_games)}
    for name in ef.composite_names():
        found[f"{name}, not calibrated"] = Method(partial(edgefilter, composite=name, calibrate=False))
    return found


def others() -> dict[str, Method]:
    """Return Captum's methods, silencing, and the controls."""
    return {
        "Captum LayerConductance": Method(partial(captum_layer, kind=LayerConductance, n_steps=STEPS)),
        "Captum LayerIntegratedGradients": Method(
            partial(captum_layer, kind=LayerIntegratedGradients, n_steps=STEPS)
        ),
        "Captum LayerDeepLift": Method(partial(captum_layer, kind=LayerDeepLift)),
        "Captum LayerGradientXActivation": Method(partial(captum_layer, kind=LayerGradientXActivation)),
        "Captum IntegratedGradients": Method(partial(captum_pixels, kind=IntegratedGradients, n_steps=STEPS)),
        "Captum InputXGradient": Method(partial(captum_pixels, kind=InputXGradient)),
        "Captum LayerGradCam": Method(grad_cam, only_places=True),
        "Captum Occlusion": Method(occlusion, slow=True, only_places=True),
        f"Captum KernelShap, {SAMPLES} runs": Method(partial(by_games, play=kernel_shap), slow=True),
        "channel occlusion": Method(channel_occlusion),
        "leave-one-out": Method(partial(by_games, play=without), slow=True),
        "first and last": Method(partial(by_games, play=first_and_last), slow=True),
        "response energy": Method(response_energy),
        "Sobel map": Method(sobel_map),
    }


def methods() -> dict[str, Method]:
    """Return all methods by name."""
    return {**ours(), **others()}
