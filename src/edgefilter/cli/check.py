"""``edgefilter check``: which rule each operation of a network gets."""

from __future__ import annotations

import typer

from .checks import FAILURE, USAGE, check_composite, shown_photo, stage
from .network import NETWORK, NetworkOptions, with_network
from .options import COMPOSITE, Photo, Rules

__all__ = ["check"]


@with_network
def check(
    image: Photo = None,
    network: NetworkOptions = NETWORK,
    composite: Rules = COMPOSITE,
) -> None:
    """Say which rule each operation of a network gets, and how much relevance it hands on."""
    from edgefilter.attribution.check import check as check_model

    with stage(USAGE):
        check_composite(composite)
        classifier = network.load()
        photo = shown_photo(image, classifier.read)
    with stage(FAILURE):
        report = check_model(classifier.model, classifier.preprocess(photo), composite=composite)
        if not report.supported:
            raise RuntimeError(str(report))
    typer.echo(str(report))
