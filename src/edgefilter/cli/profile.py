"""``edgefilter profile``: which colors and filters speak for each class."""

from __future__ import annotations

import math
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from edgefilter.plots.words import spaced

from .checks import COMPLETE, USAGE, check_composite, chosen_bank, stage, torch_device
from .colors import Basis, Groups, color_groups
from .network import NETWORK, NetworkOptions, with_network
from .options import COMPOSITE, PROFILE_FILES, Bank, Device, Quiet, Rules
from .printing import ROWS, descending, new_console, new_table

if TYPE_CHECKING:
    from edgefilter.profiles.profile import ClassProfile
    from edgefilter.profiles.results import FolderProfile

__all__ = ["profile"]


class Which(str, Enum):
    """What ``profile`` goes by: a photo's folder, or the network's prediction."""

    label = "label"
    predicted = "predicted"


Sorted = Annotated[Path, typer.Argument(help="The photos: one folder for each class.")]
By = Annotated[Which, typer.Option(help="Count a photo in the class of its folder, or in the predicted one.")]
Explained = Annotated[
    Which | None,
    typer.Option(
        help="Explain the output of the folder's class, or the largest one. Default: label if all folders are "
        "named by classes of the network, else predicted."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many photos of each class. Default: all.")]
Results = Annotated[
    Path,
    typer.Option(
        "--out", "--output", help=f"The folder for {', '.join(PROFILE_FILES)}, and for the progress."
    ),
]
Anew = Annotated[
    bool, typer.Option("--overwrite", "--force", help="Begin anew, and replace existing results.")
]


@with_network
def profile(
    folder: Sorted,
    network: NetworkOptions = NETWORK,
    by: By = Which.label,
    target: Explained = None,
    limit: Limit = None,
    composite: Rules = COMPOSITE,
    bank: Bank = COMPLETE,
    colors: Groups = None,
    basis: Basis = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Keep mean pixel maps, for aligned images.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos at a time.")] = 16,
    workers: Annotated[int, typer.Option(min=0, help="Further processes that read photos.")] = 0,
    out: Results = Path("profile"),
    device: Device = "cpu",
    overwrite: Anew = False,
    quiet: Quiet = False,
) -> None:
    """Explain a folder of photos: which colors and filters speak for each class, on average.

    A run that was stopped goes on when it is started again. torchrun -m edgefilter profile ... shares the work out.
    """
    from edgefilter.profiles.folder import processes, profile_folder

    with stage(USAGE), processes() as place:
        check_composite(composite)
        chosen = None if bank == COMPLETE else chosen_bank(bank)
        where = torch_device(f"{device}:{place}" if device == "cuda" else device)
        classifier = network.load(quiet=quiet)
        found = profile_folder(
            folder, classifier, out, composite=composite, bank=chosen, colors=color_groups(colors), basis=basis, by=by.value,
            target=None if target is None else target.value, limit=limit, bits=network.bits, pixels=pixels, batch_size=batch_size,
            workers=workers, device=where, overwrite=overwrite, progress=not quiet and sys.stderr.isatty(),
        )  # fmt: skip
    if found.files:
        _report_profile(new_console(quiet=quiet), found)


def _report_profile(console: Console, found: FolderProfile) -> None:
    settings = found.settings
    what = {"label": "the output of the folder's class", "predicted": "the predicted class"}
    console.print(f"Model: {settings['model']}; explained: {what[settings['target']]}")
    console.print(
        f"Photos: {settings['counted']} counted, {settings['unusable']} without relevance, "
        f"{settings['skipped']} skipped\n"
    )
    console.print(_class_table(found.profile))
    console.print(f"\nFiles: {', '.join(map(str, found.files))}", soft_wrap=True)


def _class_table(profile: ClassProfile) -> Table:
    """Lay out the top color and filter of the classes with the most photos."""
    table = new_table(["class"], ["photos", "top color", "share", "top filter", "share"])
    counts = profile.values()["count"]
    order = [place for place in descending(counts) if counts[place]]
    words = dict(zip(profile.filters, map(spaced, profile.filter_labels), strict=True))
    for place in order[:ROWS]:
        (color,), (edge,) = profile.top(place, 1, "color"), profile.top(place, 1, "edge")
        cells = (color.name, _spread(color.mean, color.std), words[edge.name], _spread(edge.mean, edge.std))
        table.add_row(profile.class_names[place], str(int(counts[place])), *cells)
    if rest := order[ROWS:]:
        table.add_row("1 other" if len(rest) == 1 else f"{len(rest)} others", str(int(counts[rest].sum())))
    return table


def _spread(mean: float, std: float) -> str:
    return f"{mean:.3f}" if math.isnan(std) else f"{mean:.3f} ± {std:.3f}"
