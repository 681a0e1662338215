"""The pictures of the how-tos: one short function each, the calls of the page that shows it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import demo
import numpy as np
import torch
from matplotlib.figure import Figure
from pictures import picture
from tiny import Stripes, stripes

import edgefilter as ef
from edgefilter import plots
from edgefilter.classifiers import Classifier, load_classifier

PLOT = 9.5  # inches: four panels side by side, as large as a page can show them
WIDTH = 8.4  # inches: text of 9 points is then as large as that of the page's captions
STATIC = Path(__file__).parent.parent / "_static"
IMAGENET = ((0.498, 0.498, 0.498), (0.502, 0.502, 0.502))  # of EfficientNet-Lite0: 127 and 128 of 255


def as_the_command(classifier: Classifier, image: torch.Tensor) -> tuple[ef.Explanation, str]:
    """Return the explanation that ``edgefilter explain`` draws, with the effects that it measures, and its title."""
    attr = ef.EdgeFilterAttribution(classifier.model, calibrate=("color", "order"))
    found = attr.explain(image)
    found = dataclasses.replace(found, filter_effects=ef.causal_check(attr, image, found).edge)
    with torch.no_grad():
        probability = float(classifier.model(image).softmax(1)[0, found.target[0]])
    name, logit = classifier.class_names[found.target[0]], float(found.output)
    return found, f"{name}: logit {logit:.2f}, probability {probability:.1%}, relevance 100.0% conserved"


@picture
def photo() -> Any:
    """What ``edgefilter explain`` writes."""
    found, title = as_the_command(demo.classifier(), demo.image())
    return found.plot(demo.picture(), width=PLOT, title=title, classes=demo.names(), bank=ef.complete_bank(3))


@picture
def mug() -> Any:
    """The photo page's code: the same photo as a coffee mug."""
    return demo.explanation(demo.MUG).plot(demo.picture(), width=PLOT, classes=demo.names())


@picture
def seven() -> Any:
    """A drawn seven, explained by the shipped network under the names of ``mine.toml``."""
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    digits = load_classifier("digits", classes=words)
    image = digits.preprocess(demo.seven())
    found, title = as_the_command(digits, image)
    return found.plot(
        digits.to_picture(image), width=PLOT, title=title, classes=words, bank=ef.get_bank("edges")
    )


@picture
def own_model() -> Any:
    """The network of the page, trained on stripes."""
    network = Stripes.trained()
    images, _ = stripes(3, torch.Generator().manual_seed(5))
    explanation = ef.EdgeFilterAttribution(network).explain(images[:1])
    return explanation.plot(images[0], width=PLOT, classes=("upright", "level", "diagonal"))


@picture
def numbers() -> Any:
    """Scores with the effect of silencing each part beside them."""
    check = ef.causal_check(demo.attribution(), demo.image(), demo.explanation())
    found = dataclasses.replace(demo.explanation(), filter_effects=check.edge)
    return found.plot(demo.picture(), width=PLOT, classes=demo.names())


@picture
def contrast() -> Any:
    """Why espresso, and not coffee mug."""
    return demo.explanation(demo.ESPRESSO, demo.MUG).plot(demo.picture(), width=PLOT, classes=demo.names())


@picture
def opponent() -> Any:
    """Brightness and color differences of the photo."""
    basis = ef.ColorBasis.named("opponent").normalized(*IMAGENET)
    found = ef.EdgeFilterAttribution(demo.classifier().model, basis=basis).explain(
        demo.image(), target=demo.ESPRESSO
    )
    return found.plot(demo.picture(), width=PLOT, classes=demo.names())


@picture
def bank() -> Any:
    """The filters of a preset bank."""
    return plots.plot_kernels(ef.get_bank("edges"))


def row(titles: list[str], pictures: list[Any], below: list[str] | None = None) -> Figure:
    """Return square pictures side by side, as wide as the page together."""
    figure = Figure(figsize=(WIDTH, WIDTH / len(titles) + 0.35), layout="constrained")
    for axes, title, shown in zip(
        figure.subplots(1, len(titles), squeeze=False)[0], titles, pictures, strict=True
    ):
        axes.imshow(shown)
        axes.set_title(title, fontsize=10)
        axes.set(xticks=[], yticks=[])
    for axes, words in zip(figure.axes, below or [], strict=False):
        axes.set_xlabel(words, fontsize=9)
    return figure


@picture
def composites() -> Any:
    """The same prediction under four composites."""
    names = ["epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_box", "epsilon"]
    found = [demo.explanation(composite=name, calibrate=False) for name in names]
    maps = [demo.signed(each.map("signed", smooth=1)[0].numpy()) for each in found]
    return row(
        names,
        maps,
        below=[f"red, green, blue:\n{', '.join(f'{x:+.1f}' for x in each.color[0])}" for each in found],
    )


@picture
def regions() -> Any:
    """Which superpixels spoke for the class."""
    from skimage.segmentation import mark_boundaries, slic

    photo = demo.picture()
    labels = slic(photo, n_segments=40, start_label=0)
    found = demo.explanation().region(labels)
    total = dict(zip(found.labels, found.total[0].tolist(), strict=True))
    values = np.vectorize(total.get)(labels)
    limit, shown = np.abs(values).max(), demo.signed(values, 100)
    return row(
        ["superpixels", f"relevance by region, to ±{limit:.1f}"], [mark_boundaries(photo, labels), shown]
    )


@picture
def cams() -> Any:
    """Our map as it is and blurred, over the photo, beside Grad-CAM."""
    from captum.attr import LayerAttribution, LayerGradCam

    model, image = demo.classifier().model, demo.image()
    coarse = LayerGradCam(model, model._conv_head).attribute(image, target=demo.ESPRESSO)
    coarse = LayerAttribution.interpolate(coarse, (224, 224), "bilinear").relu()[0, 0].detach()
    maps = {
        "Grad-CAM (Captum)": coarse / coarse.max(),
        "ours": _clipped(demo.explanation().map()[0]),
        "ours, smooth=16": demo.explanation().map(smooth=16, normalize=True)[0],
    }
    return row(list(maps), [_over(values.numpy()) for values in maps.values()])


def _clipped(values: torch.Tensor) -> torch.Tensor:
    """Return a map whose 99th percentile is 1."""
    return (values / values.quantile(0.99)).clamp(0, 1)


def _over(values: Any) -> Any:
    """Lay a map from 0 to 1 over the gray photo."""
    gray = demo.picture().mean(2, keepdims=True) / 255
    part = np.clip(values, 0, 1)[..., None]
    return gray * (1 - part) * 0.9 + np.array([0.80, 0.10, 0.12]) * part + 0.1 * gray * part


@picture
def methods() -> Any:
    """The photo by all methods of ``ef.compare``, but for plain gradients."""
    return demo.compared().plot([demo.picture()], width=WIDTH)


@picture
def flipping() -> Any:
    """Silence the filters one by one: the largest score first, the smallest first."""
    found, attr = demo.explanation(), demo.attribution()
    order = found.edge[0].argsort(descending=True).tolist()
    figure = Figure(figsize=(WIDTH, 3), layout="constrained")
    axes = figure.add_subplot()
    for name, places, color in (
        ("largest score first", order, "#d6604d"),
        ("smallest score first", order[::-1], "#4393c3"),
    ):
        outputs = [
            attr.silence(demo.image(), demo.ESPRESSO, filters=[found.filters[i] for i in places[:k]]).item()
            for k in range(len(order) + 1)
        ]
        axes.plot(outputs, "o-", color=color, label=name)
    axes.set(xlabel="filters silenced", ylabel="logit of espresso")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@picture
def profile_fruits() -> Any:
    """Profiles of three cherries, by color."""
    profile = ef.ClassProfile.load(STATIC / "profile_fruits.safetensors")
    return profile.plot(classes=["Cherry Wax Red", "Cherry Wax Yellow", "Cherry Wax Black"], filters=9)[0]


@picture
def profile_digits() -> Any:
    """Profiles of three digits, by filter."""
    profile = ef.ClassProfile.load(STATIC / "profile_digits.safetensors")
    return profile.plot(classes=["1", "7", "0"], filters=9)[0]


@picture
def figure_explanation() -> Any:
    """One explanation with two maps."""
    return demo.explanation().plot(demo.picture(), width=PLOT, classes=demo.names(), top=2)


@picture
def figure_contrast() -> Any:
    """Two classes and their difference."""
    this, that = demo.explanation(), demo.explanation(demo.MUG)
    return plots.plot_contrast(this, that, image=demo.picture(), width=PLOT, classes=demo.names())


@picture
def figure_batch() -> Any:
    """A row for each image, a column for each class."""
    return plots.plot_batch(
        {"espresso": demo.explanation(), "coffee mug": demo.explanation(demo.MUG)}, [demo.picture()]
    )


@picture
def figure_orders() -> Any:
    """Scale or order by orientation."""
    return plots.plot_orders(demo.explanation(), ef.complete_bank(3))


@picture
def figure_panels() -> Any:
    """Three panels on axes of one's own."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    plots.plot_pixels(demo.explanation(), demo.picture(), ax=left, title="pixels")
    plots.plot_colors(demo.explanation(), ax=middle, title="colors")
    plots.plot_filters(demo.explanation(), ax=right, title="filters")
    return figure


@picture
def figure_responses() -> Any:
    """What a bank sees in the photo."""
    return plots.plot_responses(ef.get_bank("sobel"), demo.photo())
