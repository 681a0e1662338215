"""The files that a profile of a folder is written to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from edgefilter import __version__
from edgefilter._checks import counted
from edgefilter._files import replacing

from .confusion import Confusion
from .paired import PairedProfile
from .permutation import PermutationCheck
from .photos import Skipped
from .profile import ClassProfile

__all__ = ["DIFFERENCES", "RESULTS", "FolderProfile", "write_results"]

TABLE, PROFILE, PICTURE, SKIPPED, CONFUSION, PERMUTATION, ABOUT, PAGE = RESULTS = (
    *("profile.csv", "profile.safetensors", "profile.png", "skipped.csv", "confusion.csv", "permutation.csv"),
    *("profile.json", "profile.html"),
)
DIFFERENCES = "differences.csv"  # of a comparison only


class FolderProfile(NamedTuple):
    """What :func:`~edgefilter.profiles.profile_folder` found and wrote.

    Attributes
    ----------
    profile : ClassProfile
        Of all photos, also of those that other processes explained.
    skipped : list of Skipped
    settings : dict
        What was explained, by which network, and how many photos were counted.
    files : list of Path
        What was written; empty in all processes but the first.
    confusion : Confusion or None
        Which classes are predicted for which; None if the folders are not classes of the network.
    permutation : PermutationCheck or None
        What is lost when colors and filters are shuffled between photos.
    paired : PairedProfile or None
        The differences to the network that was compared with.
    """

    profile: ClassProfile
    skipped: list[Skipped]
    settings: dict[str, Any]
    files: list[Path]
    confusion: Confusion | None = None
    permutation: PermutationCheck | None = None
    paired: PairedProfile | None = None

    def __repr__(self) -> str:
        right = "" if math.isnan(self.accuracy) else f", accuracy {self.accuracy:.3f}"
        counts = f"{counted(self.settings.get('counted', 0), 'photo')}, {len(self.skipped)} skipped{right}"
        return f"FolderProfile({counts}: {self.profile!r})"

    def _repr_html_(self) -> str:
        from .notebook import html_of_folder

        return html_of_folder(self)

    def to_html(self, path: str | Path, *, title: str | None = None, overwrite: bool = False) -> Path:
        """Write a report: that of the profile, with which classes are predicted for which and how it was made.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html`` or ``.htm``.
        title : str, optional
        overwrite : bool, default: False
            Whether an existing file may be replaced.

        Returns
        -------
        path : Path

        Raises
        ------
        ValueError, FileExistsError, FileNotFoundError
            As :meth:`edgefilter.ClassProfile.to_html` does.
        """
        from edgefilter.report.classes import write_profile

        return write_profile(
            path,
            self.profile,
            confusion=self.confusion,
            shuffled=self.permutation,
            about=_made(self.settings),
            title=title,
            overwrite=overwrite,
        )

    @property
    def accuracy(self) -> float:
        """The share of photos whose class the network predicts; NaN if folders are not classes."""
        return math.nan if self.confusion is None else self.confusion.accuracy


MADE = (
    *(
        "folder",
        "counted",
        "unusable",
        "skipped",
        "negative",
        "composite",
        "calibrate",
        "colors",
        "by",
        "target",
        "limit",
    ),
    *("bits", "compared"),
)


def _made(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a profile was made, for its page."""
    digests = {"photos digest": settings["photos"], "weights digest": settings["weights"]}
    return {**settings["about"], **digests, **{name: settings.get(name) for name in MADE}}


def write_results(found: FolderProfile, out: Path) -> Iterator[Path]:
    """Write the results, each file at once; one that there is nothing for is removed."""
    import pandas as pd

    tables: dict[str, pd.DataFrame | None] = {
        TABLE: found.profile.to_dataframe(),
        SKIPPED: pd.DataFrame(found.skipped, columns=list(Skipped._fields)),
        CONFUSION: None if found.confusion is None else found.confusion.to_dataframe(),
        PERMUTATION: None if found.permutation is None else found.permutation.to_dataframe(),
        DIFFERENCES: None if found.paired is None else found.paired.to_dataframe(),
    }
    for name, table in tables.items():
        if table is None:
            (out / name).unlink(missing_ok=True)
            continue
        with replacing(out / name) as path:
            table.to_csv(path, index=False)
        yield out / name
    with replacing(out / PROFILE) as path:
        found.profile.save(path, overwrite=True)
    yield out / PROFILE
    with replacing(out / ABOUT) as path:
        path.write_text(json.dumps(_about(found), indent=2) + "\n", encoding="utf-8")
    yield out / ABOUT
    if found.settings["counted"]:
        figure, _ = found.profile.plot()
        if found.settings["about"]["preprocessing_assumed"] == "yes":
            figure, _ = found.profile.plot(title=f"{figure.get_suptitle()}; preprocessing assumed")
        with replacing(out / PICTURE) as path:
            figure.savefig(path, format="png")
        yield out / PICTURE
    else:
        (out / PICTURE).unlink(missing_ok=True)
    yield found.to_html(out / PAGE, overwrite=True)


def _about(found: FolderProfile) -> dict[str, Any]:
    """Return settings and findings as plain values, ready for JSON."""
    answers = {} if found.confusion is None else found.confusion.to_dict()
    check = None if found.permutation is None else found.permutation.to_dict()
    versions = {"edgefilter": __version__, "torch": str(torch.__version__)}
    return found.settings | {"accuracy": None} | answers | {"permutation": check, "versions": versions}
