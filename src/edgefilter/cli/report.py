"""``edgefilter report``: a page to look at and to hand round, for one photo or for several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .checks import (
    COMPLETE,
    FAILURE,
    USAGE,
    check_composite,
    chosen_against,
    chosen_bank,
    stage,
    torch_device,
)
from .colors import Basis, Groups, color_groups
from .network import NETWORK, NetworkOptions, with_network
from .options import (
    CALIBRATIONS,
    COMPOSITE,
    Bank,
    Calibrate,
    Calibration,
    Device,
    Force,
    Photos,
    Quiet,
    Rules,
)
from .stopping import loading

__all__ = ["report"]

Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NAME",
        help="A class to explain, by index or name; may be repeated. Default: the three with the largest outputs.",
    ),
]
Other = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="NAME|rest|odds",
        help="Explain as well why it is the first class and not this one, by index or name; or rest, the mean of all others; or odds, "
        "its log odds against chance. Default: the second class.",
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        help="The page, .html: of several photos one page with a choice of photos. Or a folder: a page for each photo, "
        "named <photo>_<model>.html."
    ),
]
Title = Annotated[str | None, typer.Option(help="The title of the page. Default: what was explained.")]


@with_network
def report(
    context: typer.Context,
    images: Photos = None,
    network: NetworkOptions = NETWORK,
    target: Targets = None,
    against: Other = None,
    composite: Rules = COMPOSITE,
    calibrate: Calibrate = Calibration.color_order,
    bank: Bank = COMPLETE,
    colors: Groups = None,
    basis: Basis = None,
    out: Out = Path("report.html"),
    title: Title = None,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a page that shows which color, edge filter and pixel carried each prediction: one file, to open in a browser, hand round or print.

    If one of several photos cannot be read, it is left out, and the exit code is 1.
    """
    with loading():
        from edgefilter.attribution.attribution import EdgeFilterAttribution

        from .pages import Asked, Pages, planned_pages, typed
        from .photos import choose_photos

    with stage(USAGE):
        photos = choose_photos(images)
        pages = planned_pages(photos, out, network.files, force)
        check_composite(composite)
        chosen = None if bank == COMPLETE else chosen_bank(bank)
        place = torch_device(device)
        classifier = network.load(quiet=quiet)
        seen = classifier.color_options(color_groups(colors), basis)
        targets = [classifier.class_index(one) for one in target or ()]
        other = chosen_against(classifier, against)
        if targets and other == targets[0]:
            raise ValueError(
                f"against must be another class than the first target; got {against!r}. Name another class, rest or odds."
            )
        pages.check_new(photos, classifier.name)
    with stage(FAILURE if chosen is None else USAGE):
        games: Any = CALIBRATIONS[calibrate.value]
        attribution = EdgeFilterAttribution(
            classifier.model.to(place), composite, bank=chosen, calibrate=games, **seen
        )
        asked = Asked(targets, other, title, network.bits, typed(context), quiet)
        Pages(classifier, attribution, asked, photos, pages, place).write()
