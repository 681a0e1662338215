"""What is explained as a color: groups of channels, or sums and differences of them, as typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import BASES

if TYPE_CHECKING:
    from edgefilter.classifiers.classifier import Classifier

__all__ = ["Basis", "Groups", "colors_seen"]

Groups = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=CHANNEL,...;...",
        help="Groups of channels to explain as one color each: 'visible=B02,B03,B04;infrared=B08'. Default: those of the description.",
    ),
]
Basis = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Explain sums and differences of the colors: {' or '.join(BASES)}. Default: the channels.",
    ),
]


def colors_seen(classifier: Classifier, colors: str | None, basis: str | None) -> dict[str, Any]:
    """Return the arguments of ``EdgeFilterAttribution`` that say what is scored as a color of the photo."""
    from edgefilter.banks.bases import as_basis

    found = as_basis(basis, classifier.channels)
    if found is not None and classifier.mean is not None and classifier.std is not None:
        found = found.normalized(classifier.mean, classifier.std)
    groups = _groups(colors)
    if groups is None and found is None and classifier.colors is not None:
        groups = {group: list(members) for group, members in classifier.colors.items()}
    return {"channels": classifier.channels, "colors": groups, "basis": found}


def _groups(given: str | None) -> dict[str, list[str]] | None:
    """Return groups that were typed as ``name=channel,channel;name=channel``."""
    if given is None:
        return None
    parts = [part.partition("=") for part in given.split(";") if part.strip()]
    if not parts or not all(name.strip() and members.strip() for name, _, members in parts):
        raise ValueError(
            f"colors must be groups of channels; got {given!r}. Pass for example 'visible=B02,B03,B04;infrared=B08'."
        )
    return {name.strip(): [one.strip() for one in members.split(",")] for name, _, members in parts}
