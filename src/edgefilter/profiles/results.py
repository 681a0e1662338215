"""The files that a profile of a folder is written to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from edgefilter._files import replacing

from .photos import Skipped
from .profile import ClassProfile

__all__ = ["RESULTS", "FolderProfile", "write_results"]

TABLE, PROFILE, PICTURE, SKIPPED, ABOUT = RESULTS = (
    *("profile.csv", "profile.safetensors", "profile.png", "skipped.csv"),
    "profile.json",
)


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
    """

    profile: ClassProfile
    skipped: list[Skipped]
    settings: dict[str, Any]
    files: list[Path]


def write_results(found: FolderProfile, out: Path) -> Iterator[Path]:
    """Write the results, each file at once."""
    import pandas as pd

    skipped = pd.DataFrame(found.skipped, columns=list(Skipped._fields))
    tables = {TABLE: found.profile.to_dataframe(), SKIPPED: skipped}
    for name, table in tables.items():
        with replacing(out / name) as path:
            table.to_csv(path, index=False)
        yield out / name
    with replacing(out / PROFILE) as path:
        found.profile.save(path, overwrite=True)
    yield out / PROFILE
    with replacing(out / ABOUT) as path:
        path.write_text(json.dumps(found.settings, indent=2) + "\n", encoding="utf-8")
    yield out / ABOUT
    if found.settings["counted"]:
        with replacing(out / PICTURE) as path:
            found.profile.plot()[0].savefig(path, format="png")
        yield out / PICTURE
    else:
        (out / PICTURE).unlink(missing_ok=True)
