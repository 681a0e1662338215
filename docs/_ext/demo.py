"""What several pictures show: the demo network, the demo photo and its explanation, each computed once per build."""

from __future__ import annotations

import io
import itertools
from base64 import b64encode
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

import edgefilter as ef
from edgefilter.classifiers import Classifier, load_classifier
from edgefilter.evaluation import METHODS
from edgefilter.photos import demo_photo

ESPRESSO, MUG = 967, 504
COLORS = ("red", "green", "blue")


@cache
def classifier() -> Classifier:
    """Return the network that comes with the extra ``demo``."""
    torch.set_num_threads(1)
    return load_classifier("efficientnet_lite0")


def names() -> tuple[str, ...]:
    """Return the names of its classes."""
    return tuple(classifier().class_names)


@cache
def image() -> torch.Tensor:
    """Return the coffee photo as the network's input, shape (1, 3, 224, 224)."""
    return classifier().preprocess(demo_photo())


@cache
def picture() -> np.ndarray[Any, Any]:
    """Return what the network saw as a picture, shape (224, 224, 3), uint8."""
    return np.asarray(classifier().to_picture(image()))


@cache
def attribution(**options: Any) -> ef.EdgeFilterAttribution:
    """Return an attribution of the network; the options are those of the class."""
    return ef.EdgeFilterAttribution(classifier().model, **options)


@cache
def explanation(target: int = ESPRESSO, against: int | None = None, **options: Any) -> ef.Explanation:
    """Return the explanation of the photo."""
    return attribution(**options).explain(image(), target=target, against=against)


@cache
def compared() -> ef.Comparison:
    """Return the maps of all methods but for plain gradients (guided backpropagation is one here, with ReLU6); controls come last."""
    controls = ["sobel", "input", "random"]
    left_out = ["guided_backprop", "saliency", "input_x_gradient", "linear_region", *controls]
    names = [*(name for name in METHODS if name not in left_out), *controls]
    return ef.compare(
        classifier().model,
        image(),
        ESPRESSO,
        methods=names,
        metrics=["infidelity"],
        samples=1,
        progress=False,
    )


@cache
def game() -> dict[tuple[str, ...], float]:
    """Return the output for "espresso" with each set of colors present."""
    found = {}
    for size in range(len(COLORS) + 1):
        for present in itertools.combinations(COLORS, size):
            absent = [color for color in COLORS if color not in present]
            found[present] = float(attribution().silence(image(), ESPRESSO, colors=absent).item())
    return found


@cache
def responses() -> np.ndarray[Any, Any]:
    """Return the responses of the photo in red, green and blue to the nine filters, shape (3, 9, H', W')."""
    model = ef.replace_stem(classifier().model)
    layer = model.get_submodule(ef.find_stem(model))
    with torch.no_grad():
        found = layer.filters(image())[0]
    return found.unflatten(0, (3, -1)).numpy()


def photo() -> Image.Image:
    """Return scikit-image's coffee photo."""
    return demo_photo()


def seven() -> Image.Image:
    """Return a drawn seven, light on dark, as the network ``digits`` expects it."""
    drawn = Image.new("L", (112, 112))
    pen = ImageDraw.Draw(drawn)
    pen.line([(34, 32), (78, 32), (50, 84)], fill=255, width=10, joint="curve")
    return drawn.resize((28, 28), Image.Resampling.LANCZOS)


def thumbnail(pixels: np.ndarray[Any, Any], size: int = 112) -> str:
    """Return a small picture as a data URI."""
    held = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").resize((size, size), Image.Resampling.LANCZOS).save(
        held, "JPEG", quality=82
    )
    return "data:image/jpeg;base64," + b64encode(held.getvalue()).decode()


def signed(values: np.ndarray[Any, Any], percentile: float = 99.0) -> np.ndarray[Any, Any]:
    """Return a signed map as a picture: red for, blue against, zero in the color of the ground."""
    from edgefilter.plots.style import Look, signed_colormap

    colors = signed_colormap(dark=Look.of(7.2).dark)
    limit = float(np.percentile(np.abs(values), percentile)) or 1.0
    return (colors(np.clip(values / limit, -1, 1) / 2 + 0.5)[..., :3] * 255).astype(np.uint8)
