"""What is explained as a color: groups of channels, or sums and differences of them, as typed."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import BASES

__all__ = ["Basis", "Groups", "color_groups"]

Groups = Annotated[
    str | None,
    typer.Option(
        metavar="GROUPS",
        help="Groups of channels to explain as one color each, such as 'visible=B02,B03,B04; infrared=B08'. Default: those of the description.",
    ),
]
Basis = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Explain sums and differences of the colors: {' or '.join(BASES)}. Default: the channels.",
    ),
]


def color_groups(given: str | None) -> dict[str, list[str]] | None:
    """Return groups of channels that were typed as ``name=channel,channel;name=channel``."""
    if given is None:
        return None
    parts = [part.partition("=") for part in given.split(";") if part.strip()]
    if not parts or not all(name.strip() and members.strip() for name, _, members in parts):
        raise ValueError(
            f"colors must be groups of channels; got {given!r}. Pass for example 'visible=B02,B03,B04;infrared=B08'."
        )
    names = [name.strip() for name, _, _ in parts]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"colors must be groups of different names; got {twice!r} twice. Rename one of them."
        )
    return {name.strip(): [one.strip() for one in members.split(",")] for name, _, members in parts}
