"""What one run of ``edgefilter explain`` writes, checked before the work."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .checks import STDOUT, check_new, check_picture, check_writable
from .naming import ANY, ReadFiles, check_free, picture_name
from .photos import Chosen

__all__ = ["Outputs", "planned"]


class Outputs(NamedTuple):
    """What one run writes.

    Attributes
    ----------
    picture : Path or None
        The file of the picture.
    folder : Path or None
        The folder of pictures with default names.
    json, csv : Path or None
        The files of the numbers.
    printed : str
        "json" or "csv" for numbers that are printed, else "".
    read : ReadFiles
        What it reads.
    force : bool
        Whether existing files may be replaced.
    """

    picture: Path | None
    folder: Path | None
    json: Path | None
    csv: Path | None
    printed: str
    read: ReadFiles
    force: bool

    def check_new(self, photos: Chosen, model: str, explained: str, against: str | None) -> None:
        """Raise if an existing file would be replaced; with ``*`` for a class that is not known, any picture of a photo."""
        for argument in ("out", "json", "csv"):
            path = self.picture if argument == "out" else getattr(self, argument)
            if path is not None:
                goes_on = photos.several and argument != "out"
                check_new(path, argument, self.force, ", or --resume to go on with it" if goes_on else "")
        if self.folder is not None and not self.force and (photos.several or explained != ANY):
            for name in photos.names:
                check_free(self.folder, picture_name(name, model, explained, against), self.force)

    def picture_path(self, name: str) -> Path | None:
        """Return where the picture goes whose default name this is, and raise if something is there already."""
        if self.picture is not None or self.folder is None:
            return self.picture
        path = self.folder / name
        self.read.check("out", path)
        check_new(path, "out", self.force)
        return path


def planned(
    photos: Chosen,
    out: Path | None,
    json_out: str | None,
    csv_out: str | None,
    others: Iterable[tuple[str, Path | None]],
    force: bool,
) -> Outputs:
    """Plan the files of a run.

    Parameters
    ----------
    others : iterable of (str, Path or None)
        What is read besides the photos.

    Raises
    ------
    ValueError, OSError
        If a result cannot be written there, or would be written onto a file that is read or onto another result.
    """
    if json_out == csv_out == STDOUT:
        raise ValueError(
            "json and csv must not both be printed; got - for both. Name a file for one of them."
        )
    read = ReadFiles([*(("image", path) for path in photos.paths), *others])
    printed = "json" if json_out == STDOUT else "csv" if csv_out == STDOUT else ""
    files = {
        argument: None if given is None or given == STDOUT else Path(given)
        for argument, given in (("json", json_out), ("csv", csv_out))
    }
    picture, folder = _pictures(photos, out, printed)
    written: list[tuple[str, Path | None]] = []
    for argument, path in (("out", picture), *files.items()):
        if path is None:
            continue
        check_picture(path) if argument == "out" else check_writable(path, argument)
        read.check(argument, path)
        ReadFiles(written).check(argument, path)
        written.append((argument, path))
    return Outputs(picture, folder, files["json"], files["csv"], printed, read, force)


def _pictures(photos: Chosen, out: Path | None, printed: str) -> tuple[Path | None, Path | None]:
    """Return the file of the picture, or the folder of pictures with default names; by default, that of one photo is drawn here."""
    if out is None:
        return None, None if photos.several or printed else Path()
    if not photos.several and not out.is_dir() and not str(out).endswith(os.sep):
        return out, None
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(
            f"out must be a folder for several photos; got the file {str(out)!r}. Name another place."
        )
    if not out.exists():
        if out.suffix:
            raise ValueError(
                f"out must be a folder for several photos; got {str(out)!r}, the name of a file. Leave out the ending."
            )
        check_writable(out, "out")
    for folder in photos.folders:
        if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
            raise ValueError(
                f"out must lie outside the folder of photos; got {str(out)!r} in {str(folder)!r}, where pictures would be taken "
                "for photos. Choose another place."
            )
    return None, out
