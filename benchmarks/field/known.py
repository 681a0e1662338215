"""Known answers: networks trained on images of which it is known what color, orientation and place decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import NamedTuple

import torch
from captum.attr import IntegratedGradients
from groundtruth.data import Samples
from groundtruth.jobs import Settings
from groundtruth.measures import (
    NAMED,
    color_metrics,
    filter_gate,
    filter_metrics,
    mean,
    orientations,
    pearson,
    place_metrics,
    randomisation_metrics,
)
from groundtruth.methods import Scores, edgefilter, response_energy
from groundtruth.networks import Trained, VoidError, constant, redrawn, seed_of, trained
from groundtruth.reference import filters_of, reference
from torch import Tensor, nn

import edgefilter as ef
from edgefilter.evaluation.method import BATCH, attributions
from edgefilter.evaluation.methods import PATH_STEPS
from edgefilter.methods import KernelLIME, ZoomCAM

from .asking import Asked, asked

SLOW, CHANGED = (
    10,
    20,
)  # images of a network for a slow method, and for the maps of a network with other weights

Say = Callable[[nn.Module, Tensor, Tensor], Scores]
Found = dict[str, float]


class Subject(NamedTuple):
    """A network, images of which the answer is known, and the exact Shapley values of the colors and filters there.

    ``named`` says whether these values name the label's orientation in nearly all images: whether a filter hit is known.
    """

    network: nn.Module
    samples: Samples
    color: Tensor | None = None
    edge: Tensor | None = None
    named: bool = False


def answers(
    test: str, architecture: str, seed: int, names: list[str], settings: Settings
) -> dict[str, Found]:
    """Train a network and return what each method finds of what is known about it; nothing if no network passed."""
    sizes = {"epochs": settings.epochs, "training": settings.training}
    try:
        network = trained(test, architecture, seed, settings.images, **sizes)
    except VoidError:
        return {}
    subject, measure = Subject(network.network, network.samples), partial(places_found, seed=seed)
    if test == "gratings":
        subject, measure = referred(network, settings.orders), parts_found
    found = {name: measure(few(subject, name), say) for name, say in said_by(names, test)}
    return {name: found.get(name, {}) for name in names}


def referred(found: Trained, orders: int) -> Subject:
    """Return a network with its reference."""
    given = (found.network, found.samples.images, found.samples.labels)
    color, edge = (reference(*given, level, orders).shapley for level in ("color", "edge"))
    named = filter_gate(edge, found.samples.labels, orientations(filters_of(found.network).bank)) >= NAMED
    return Subject(found.network, found.samples, color, edge, named)


def few(subject: Subject, name: str) -> Subject:
    """Leave the first images, if the method takes long."""
    if name not in asked() or not asked()[name].slow:
        return subject
    kept = {
        field.name: value[:SLOW]
        for field in fields(subject.samples)
        if isinstance(value := getattr(subject.samples, field.name), Tensor)
    }
    return subject._replace(samples=replace(subject.samples, **kept))


def said_by(names: list[str], test: str) -> Iterator[tuple[str, Say]]:
    """Yield the methods in a form that gives scores of colors, filters and places, as far as each can."""
    for name in names:
        if name in WHOLE:
            yield name, WHOLE[name]
        elif name in asked() and (test != "gratings" or asked()[name].colors or name in AT_BANK):
            yield name, partial(by_pixels, asked()[name], AT_BANK.get(name))


def by_pixels(
    method: Asked, at_bank: Say | None, model: nn.Module, images: Tensor, targets: Tensor
) -> Scores:
    """Sum a map over the places for the colors, if it has colors; ask for what else there is at the output of the bank."""
    found = attributions(method.make(model, model), images, targets)
    said = Scores() if at_bank is None else at_bank(model, images, targets)
    return said._replace(color=found.sum((2, 3)) if method.colors else said.color, places=found.sum(1))


def responses_of(make: Callable[[nn.Module], Callable[[Tensor, Tensor], Tensor]]) -> Say:
    """Attribute to the output of the filter bank: what is explained is the rest of the network, which reads responses."""

    def say(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:
        front, tail = ef.split(model)
        with torch.no_grad():
            responses = front(images)
        found = attributions(make(tail), responses, targets)
        return Scores(ef.Explanation.from_responses(found, filters_of(model), images).color_edge)

    return say


def terms(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:
    """Take the signed terms of Zoom-CAM at the bank."""
    layer = filters_of(model)
    found = ZoomCAM(model, layer).terms(images, target=targets)
    return Scores(ef.Explanation.from_responses(found, layer, images).color_edge)


def lime_parts(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:
    """Take the colors of the image, and the filters of the responses, as the features of a kernel surrogate of the logit."""
    front, tail = ef.split(model)
    filters = len(filters_of(model).bank)
    with torch.no_grad():
        responses = front(images)
    options = {"sampling": "independent", "return_input_shape": False, "perturbations_per_eval": BATCH}
    color, edge = (
        KernelLIME(scorer).attribute(
            given,
            target=targets,
            feature_mask=labels[None, :, None, None].expand(1, -1, *given.shape[2:]),
            **options,
        )
        for scorer, given, labels in (
            (model, images, torch.arange(images.shape[1])),
            (tail, responses, torch.arange(responses.shape[1]) % filters),
        )
    )
    return Scores(color=color, edge=edge)


def chance(model: nn.Module, images: Tensor, targets: Tensor) -> Scores:  # noqa: ARG001 - as every method
    """Draw everything: what chance finds."""
    generator = torch.Generator().manual_seed(len(images))
    count, channels, *sides = images.shape
    pairs = torch.rand(count, channels, len(filters_of(model).bank), generator=generator)
    return Scores(pairs, places=torch.rand(count, *sides, generator=generator))


WHOLE: dict[str, Say] = {
    "edgefilter": edgefilter,
    "edgefilter_relevance": partial(edgefilter, calibrate=False),
    "response_energy": response_energy,
    "random": chance,
}
AT_BANK: dict[str, Say] = {
    "integrated_gradients": responses_of(
        lambda tail: (
            lambda images, targets: IntegratedGradients(tail).attribute(
                images, target=targets, n_steps=PATH_STEPS
            )
        )
    ),
    "smooth_taylor": responses_of(lambda tail: asked()["smooth_taylor"].make(tail, tail)),
    "guided_nonlinearity_ig": responses_of(lambda tail: asked()["guided_nonlinearity_ig"].make(tail, tail)),
    "zoom_cam": terms,
    "kernel_lime": lime_parts,
}


def parts_found(subject: Subject, say: Say) -> Found:
    """Ask about colors and filters of gratings."""
    samples, bank, values = subject.samples, filters_of(subject.network).bank, Found()
    scores = say(subject.network, samples.images, samples.labels)
    colors, edges = scores.level(bank, "color"), scores.level(bank, "edge")
    assert samples.color is not None
    assert subject.color is not None
    assert subject.edge is not None
    if colors is not None:
        values |= color_metrics(colors, samples.color)
        values["color_pearson"] = mean(pearson(colors, subject.color[: len(colors)]))
    if edges is not None:
        values["filter_pearson"] = mean(pearson(edges, subject.edge[: len(edges)]))
        if subject.named:
            values |= filter_metrics(edges, samples.parts, samples.color, orientations(bank))
    return values


def places_found(subject: Subject, say: Say, seed: int) -> Found:
    """Ask about places of stamps, about a network with other weights, and about one that never changes its mind."""
    network, samples = subject.network, subject.samples
    maps = say(network, samples.images, samples.labels).places
    if maps is None:
        return {}
    some = (samples.images[:CHANGED], samples.labels[:CHANGED])
    other = say(redrawn(network, seed_of(seed, "stamps", "test")), *some).places
    flat = say(constant(network), *some).places
    return {
        **place_metrics(maps, samples),
        **randomisation_metrics(maps[:CHANGED], other, some[0]),
        "constant": float((flat.amax((1, 2)) - flat.amin((1, 2))).max() / (maps.max() - maps.min())),
    }
