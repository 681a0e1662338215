"""``edgefilter profile``: which colors and filters speak for each class."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .checks import COMPLETE, USAGE, check_composite, chosen_bank, stage, torch_device
from .colors import Basis, Groups, color_groups
from .findings import print_profile
from .naming import ReadFiles
from .network import NETWORK, NetworkOptions, with_network
from .options import COMPOSITE, PROFILE_FILES, Bank, Device, Quiet, Rules
from .printing import new_console
from .stopping import NOTHING, loading

__all__ = ["profile"]


ENDED = 128 + signal.SIGTERM


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
Limit = Annotated[int | None, typer.Option(min=1, help="Up to this many photos of each class. Default: all.")]
Results = Annotated[
    Path,
    typer.Option(
        "--out", "--output", help=f"The folder for {', '.join(PROFILE_FILES)}, and for the progress."
    ),
]
Permutations = Annotated[
    int,
    typer.Option(
        min=0, help="How often colors and filters are shuffled between up to 100 photos; 0: not at all."
    ),
]
Other = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Another network that explains the same photos: the differences go to differences.csv. The options of the network "
        "hold for it as well, unless it is a description.",
    ),
]
OtherWeights = Annotated[
    Path | None, typer.Option(help="The weights of the other network, or of another version of the same.")
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
    permutations: Permutations = 1,
    compare: Other = None,
    compare_weights: OtherWeights = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos at a time.")] = 16,
    workers: Annotated[int, typer.Option(min=0, help="Further processes that read photos.")] = 0,
    out: Results = Path("profile"),
    device: Device = "cpu",
    overwrite: Anew = False,
    quiet: Quiet = False,
) -> None:
    """Explain a folder of photos: how often the network is right, and which colors and filters speak for each class.

    A run that was stopped goes on when it is started again. torchrun -m edgefilter profile ... shares the work out.
    """
    with loading():
        from edgefilter.profiles.folder import processes, profile_folder

    with terminable(), stage(USAGE), processes() as place:
        check_composite(composite)
        chosen = None if bank == COMPLETE else chosen_bank(bank)
        where = torch_device(f"{device}:{place}" if device == "cuda" else device)
        other = network.other(compare, compare_weights)
        read = ReadFiles(file for one in filter(None, (network, other)) for file in one.files)
        for name in PROFILE_FILES:
            read.check("out", out / name)
        classifier = network.load(quiet=quiet)
        compared = None if other is None else other.load(quiet=quiet)
        for one in filter(None, (network, other)):
            one.say_doubts()  # a run takes long
        found = profile_folder(
            folder, classifier, out, composite=composite, bank=chosen, colors=color_groups(colors), basis=basis, by=by.value,
            target=None if target is None else target.value, limit=limit, bits=network.bits, pixels=pixels,
            permutations=permutations, compare=compared, batch_size=batch_size,
            workers=workers, device=where, overwrite=overwrite, progress=not quiet and sys.stderr.isatty(),
        )  # fmt: skip
    if found.files:
        print_profile(new_console(quiet=quiet), found)


class Terminated(KeyboardInterrupt):
    """The process was asked to end, by SIGTERM."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Save what was counted after SIGTERM as after Ctrl-C; one of several processes cannot do so alone."""
    alone = (
        int(os.environ.get("WORLD_SIZE", "1")) < 2 and threading.current_thread() is threading.main_thread()
    )
    before = signal.signal(signal.SIGTERM, _terminate) if alone else None
    try:
        yield
    except Terminated as cause:
        typer.echo(str(cause) or NOTHING, err=True)
        raise typer.Exit(ENDED) from cause
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    raise Terminated
