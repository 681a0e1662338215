"""Arguments checked before the work is done, and errors as one line on stderr."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from edgefilter._checks import closest
from edgefilter.banks.presets import bank_names, get_bank
from edgefilter.errors import UnknownNameError
from edgefilter.plots.words import COMPARED

if TYPE_CHECKING:
    import torch

    from edgefilter.banks.bank import FilterBank
    from edgefilter.classifiers.classifier import Classifier, Photo

__all__ = [
    "COMPLETE",
    "FAILURE",
    "STDOUT",
    "USAGE",
    "check_composite",
    "check_folder",
    "check_new",
    "check_picture",
    "check_smooth",
    "check_writable",
    "chosen_against",
    "chosen_bank",
    "in_one_line",
    "say",
    "shown_photo",
    "split_names",
    "stage",
    "torch_device",
]

FAILURE, USAGE = 1, 2
PICTURES = (".png", ".pdf", ".svg")
COMPLETE = "complete"

STDOUT = "-"


def split_names(given: str | None, known: Iterable[str], what: str) -> list[str] | None:
    """Split names at commas, and raise if one is unknown."""
    if given is None:
        return None
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in known:
            raise UnknownNameError(
                f"unknown {what} {name!r}{closest(name, known)} The {what}s are {', '.join(known)}."
            )
    return names


def check_folder(folder: Path, files: Sequence[str], force: bool) -> None:
    """Raise before the work is done if its results could not be written."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"out must be a folder; got the file {str(folder)!r}. Name another place.")
    check_writable(folder / files[0] if folder.exists() else folder, "out")
    for name in files:
        check_new(folder / name, "out", force)


@contextlib.contextmanager
def stage(code: int) -> Iterator[None]:
    """Turn the errors of a stage into one line on stderr and an exit code; what is not there or fails is no misuse."""
    try:
        yield
    except (typer.Exit, BrokenPipeError):
        raise
    except (ValueError, TypeError, LookupError, OSError) as cause:
        _fail(cause, code)
    except (RuntimeError, ImportError) as cause:
        _fail(cause, FAILURE)


def _fail(cause: Exception, code: int) -> None:
    say(f"Error: {in_one_line(cause)}")
    raise typer.Exit(code) from cause


def in_one_line(cause: Exception) -> str:
    """Return what an error says."""
    return " ".join(str(cause).split())


def chosen_bank(name: str) -> FilterBank:
    """Return the preset bank of this name."""
    known = [COMPLETE, *bank_names()]
    if name not in known:
        raise UnknownNameError(f"unknown bank {name!r}{closest(name, known)} edgefilter kernels lists all.")
    return get_bank(name)


def chosen_against(classifier: Classifier, given: str | None) -> int | Literal["rest", "odds"] | None:
    """Return what the explained class is compared with."""
    if given is None:
        return None
    if len(classifier.class_names) == 1:
        raise ValueError(
            f"against must be another class; got {given!r}, and {classifier.name} has one class only. Leave it out."
        )
    if given in COMPARED:
        return given  # type: ignore[return-value]
    return classifier.class_index(given, argument="against")


def torch_device(name: str) -> torch.device:
    """Return a device that torch can use on this machine."""
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as cause:
        blind = name.startswith("cuda") and not torch.cuda.is_available()
        raise ValueError(
            f"device must be one that torch can use here; got {name!r}"
            f"{', but torch sees no GPU here. Use cpu.' if blind else '. Use cpu, or cuda where there is a GPU.'}"
        ) from cause
    return device


def say(text: str) -> None:
    """Print a line on stderr."""
    typer.echo(text, err=True)


def shown_photo(path: Path | None, read: Callable[[Path], Photo], say: Callable[[str], None] = say) -> Photo:
    """Read a photo, the demo photo if none is named; what is doubtful about it is one line on stderr."""
    from edgefilter.photos import demo_photo

    if path is None:
        return demo_photo()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        photo = read(path)
    for warning in found:
        say(f"Warning: {warning.message}")
    return photo


def check_composite(name: str) -> None:
    """Raise if there is no such composite."""
    from edgefilter.lrp.composites import composite_names

    known = composite_names()
    if name not in known:
        raise UnknownNameError(
            f"unknown composite {name!r}{closest(name, known)} The composites are {', '.join(known)}."
        )


def check_smooth(pixels: float | None) -> None:
    """Raise if maps cannot be blurred by so much."""
    if pixels is not None and not 0 <= pixels < math.inf:
        raise ValueError(f"smooth must be a number of pixels, 0 or more; got {pixels}. Pass for example 16.")


def check_picture(path: Path) -> None:
    """Raise if a picture cannot be written in this format or to this place."""
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"out must end in {', '.join(PICTURES)}; got {str(path)!r}. Change the ending.")
    check_writable(path, "out")


def check_new(path: Path, argument: str, force: bool, instead: str = "") -> None:
    """Raise if a file is there that may not be replaced; ``instead`` is what else can be done."""
    if path.exists() and not force:
        raise FileExistsError(
            f"{argument} must be a new file; got {str(path)!r}, which exists. Pass --force to replace it{instead}."
        )


def check_writable(path: Path, argument: str) -> None:
    """Raise before the work is done if its result could not be written."""
    if path.is_dir():
        raise IsADirectoryError(f"{argument} must be a file; got the folder {str(path)!r}. Add a file name.")
    try:
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError("it is write-protected")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as cause:
        raise OSError(
            f"{argument} must be in a folder that can be written to; got {str(path)!r} "
            f"({cause.strerror or cause}). Choose another place."
        ) from cause
