"""``edgefilter check``: which rule each operation of a network gets."""

from __future__ import annotations

import typer

from .checks import FAILURE, USAGE, check_composite, shown_photo, stage
from .options import COMPOSITE, DEMO, Bits, Network, Photo, Rules, Weights
from .printing import new_console

__all__ = ["check"]


def check(
    image: Photo = None,
    model: Network = DEMO,
    weights: Weights = None,
    bits: Bits = None,
    composite: Rules = COMPOSITE,
) -> None:
    """Say which rule each operation of a network gets, and how much relevance it hands on."""
    from edgefilter.attribution.check import check as check_model
    from edgefilter.classifiers.loading import load_classifier

    with stage(USAGE):
        check_composite(composite)
        photo = shown_photo(image, bits)
        with new_console(stderr=True).status(f"Loading {model} ..."):
            classifier = load_classifier(model, weights)
    with stage(FAILURE):
        report = check_model(classifier.model, classifier.preprocess(photo), composite=composite)
        if not report.supported:
            raise RuntimeError(str(report))
    typer.echo(str(report))
