"""``edgefilter explain``: explain the predictions of one photo or of many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .checks import (
    COMPLETE,
    FAILURE,
    USAGE,
    check_composite,
    check_smooth,
    chosen_against,
    chosen_bank,
    shown_photo,
    stage,
    torch_device,
)
from .colors import Basis, Groups, color_groups
from .network import NETWORK, NetworkOptions, with_network
from .options import (
    CALIBRATIONS,
    COMPOSITE,
    Against,
    Bank,
    Calibrate,
    Calibration,
    Device,
    Force,
    Photos,
    Quiet,
    Rules,
    ScoreTable,
    Target,
    Top,
)
from .stopping import loading

__all__ = ["explain"]

Score = Annotated[
    list[ScoreTable] | None,
    typer.Option(
        metavar="TABLE",
        help="The table to print: color, edge, color_edge or all; may be repeated. Default: color and edge.",
    ),
]

Summary = Annotated[
    bool,
    typer.Option(
        "--summary",
        help="Say in a few sentences what the output came from and which scores to be careful with, in place of the tables; "
        "with --score, above them.",
    ),
]

Out = Annotated[
    Path | None,
    typer.Option(
        help="The picture, .png, .pdf or .svg; of several photos the folder for their pictures, named <photo>_<model>_<class>.png. "
        "Default: the picture of one photo by that name here, of several none; with --json - or --csv - none."
    ),
]
Smooth = Annotated[
    float | None,
    typer.Option(
        metavar="PIXELS",
        help="Blur the maps in the picture by a Gaussian with this standard deviation; 0 leaves them sharp, 16 makes those of most networks as coarse "
        "as class activation maps. The scores stay. Default: the stride of the network's stem, if that is above 1.",
        show_default=False,
    ),
]
Numbers = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        help="Write the numbers by name as JSON: an object for one photo, a list for several. - prints them and nothing else, and draws "
        "only with --out.",
    ),
]
Rows = Annotated[
    str | None,
    typer.Option(
        "--csv",
        metavar="FILE|-",
        help="Write a table with one row for each photo. - prints it and nothing else.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on after Ctrl-C: photos that are already in the files of --json and --csv are not explained again.",
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Photos at a time; the numbers are the same.")]


@with_network
def explain(
    images: Photos = None,
    network: NetworkOptions = NETWORK,
    target: Target = None,
    against: Against = None,
    top: Top = None,
    score: Score = None,
    summary: Summary = False,
    composite: Rules = COMPOSITE,
    calibrate: Calibrate = Calibration.color_order,
    bank: Bank = COMPLETE,
    colors: Groups = None,
    basis: Basis = None,
    out: Out = None,
    smooth: Smooth = None,
    json_out: Numbers = None,
    csv_out: Rows = None,
    resume: Resume = False,
    batch_size: BatchSize = 1,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Explain predictions: which color, which edge filter and which pixels carried each of them.

    If one of several photos cannot be read, it is skipped, and the exit code is 1.
    """
    with loading():
        from edgefilter.attribution.attribution import EdgeFilterAttribution

        from .naming import ANY, class_file_name
        from .outputs import planned
        from .photos import choose_photos
        from .resuming import Earlier, earlier, without
        from .running import Asked, Run, against_name

    with stage(USAGE):
        photos = choose_photos(images)
        outputs = planned(photos, out, json_out, csv_out, network.files, force or resume)
        before = earlier(photos, outputs) if resume else Earlier()
        photos = without(photos, before)
        check_composite(composite)
        check_smooth(smooth)
        chosen = None if bank == COMPLETE else chosen_bank(bank)
        place = torch_device(device)
        classifier = network.load(quiet=quiet)
        first = None if photos.several else shown_photo(photos.paths[0], classifier.reader(network.bits))
        seen = classifier.color_options(color_groups(colors), basis)
        index = None if target is None else classifier.class_index(target)
        other, names = chosen_against(classifier, against), classifier.class_names
        before.check_target(index)
        explained = ANY if index is None else class_file_name(index, names)
        outputs.check_new(photos, classifier.name, explained, against_name(other, names))
    with stage(FAILURE if chosen is None else USAGE):
        games: Any = CALIBRATIONS[calibrate.value]
        attribution = EdgeFilterAttribution(
            classifier.model.to(place), composite, bank=chosen, calibrate=games, **seen
        )
        asked = Asked(index, other, top, score, summary, network.bits, smooth, batch_size, quiet)
        Run(classifier, attribution, asked, photos, outputs, place, first, before).explain()
