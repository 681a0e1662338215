"""Explain a folder of photos and profile its classes: resumable, in one process or in several."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist

from edgefilter._checks import closest
from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.attribution.calibration import Calibrate, as_games
from edgefilter.banks.bank import FilterBank
from edgefilter.classifiers.classifier import Classifier
from edgefilter.lrp.composites import DEFAULT

from .network import fingerprint_of, on_device, outputs_of
from .photos import check_place, find_photos
from .results import FolderProfile
from .run import Run

__all__ = ["processes", "profile_folder"]

WHAT = ("label", "predicted")


def profile_folder(
    folder: str | Path,
    classifier: Classifier,
    out: str | Path,
    *,
    composite: str | None = None,
    bank: FilterBank | None = None,
    calibrate: Calibrate = True,
    by: Literal["label", "predicted"] = "label",
    target: Literal["label", "predicted"] | None = None,
    limit: int | None = None,
    bits: int | None = None,
    pixels: bool = False,
    batch_size: int = 16,
    workers: int = 0,
    device: str | torch.device = "cpu",
    save_every: float = 30.0,
    overwrite: bool = False,
    progress: bool = True,
) -> FolderProfile:
    """Explain every photo of a folder, and write mean and spread of the shares per class.

    Parameters
    ----------
    folder : str or Path
        One folder of photos for each class, as for torchvision's ``ImageFolder``.
    classifier : Classifier
        The network with its preprocessing, from :func:`~edgefilter.classifiers.load_classifier`.
    out : str or Path
        The folder for the results, made where it is not there: ``profile.csv`` (:meth:`~edgefilter.ClassProfile.to_dataframe`),
        ``profile.safetensors`` (:meth:`~edgefilter.ClassProfile.load`), ``profile.png``, ``skipped.csv``, ``profile.json``
        (settings and counts).
    composite : str, optional
        The relevance rules. Default: those of :class:`~edgefilter.EdgeFilterAttribution`.
    bank : FilterBank, optional
        The filters to express the stem with. Default: a complete bank, or the network's own filters.
    calibrate : bool, str or tuple, default: True
        What the scores are measured by, as in :class:`~edgefilter.EdgeFilterAttribution`: by the game of the colors. False takes
        relevance alone, in one forward and one backward pass a photo.
    by : {"label", "predicted"}, default: "label"
        Whether a photo counts in the class of its folder, or in the class that the network predicts.
    target : {"label", "predicted"}, optional
        Whether to explain the output of the folder's class or the largest output. Default: the former if all folders
        have names of the network's classes, else the latter. With ``"label"`` folders may also be named by class
        index; and where the network's classes have no names ("class 0", ...), as many folders as outputs are taken in
        alphabetical order, as a network is trained with ImageFolder.
    limit : int, optional
        At most so many photos of each class, the first by name. Default: all.
    bits : int, optional
        The bits of gray photos of 16 bits, as in :func:`~edgefilter.photos.read_photo`. By default each photo goes by itself: pass
        the bits that the camera has, so that all are scaled alike.
    pixels : bool, default: False
        Whether to keep the mean pixel map of each class, for aligned images.
    batch_size : int, default: 16
        Photos explained at a time, by each process.
    workers : int, default: 0
        Processes beside this one that read photos.
    device : str or torch.device, default: "cpu"
    save_every : float, default: 30
        Seconds after which the state is saved; 0 saves after every batch.
    overwrite : bool, default: False
        Whether to begin anew and replace what is in ``out``.
    progress : bool, default: True
        Whether to show a bar with rate and time left on stderr.

    Returns
    -------
    found : FolderProfile

    Raises
    ------
    FileNotFoundError, FileExistsError, ValueError
        If an argument does not fit, ``out`` holds results, or the progress of another run.

    Notes
    -----
    Photos that cannot be read are skipped and listed. A run that was killed goes on where its state was saved last, in
    any number of processes and with any batch size, if it is called again with the same settings for the same
    photos; no photo is counted twice, as the counts and the place in the list of photos are one file, replaced at once.

    With ``torch.distributed`` initialised (gloo is enough), each process calls this function and explains its part of
    the photos, each photo in one process; the first one writes. A process that fails ends all, at the next exchange.
    """
    options = {"by": (by, WHAT), "target": (target, (*WHAT, None))}
    for name, (value, known) in options.items():
        if value not in known:
            raise ValueError(
                f"{name} must be one of {', '.join(WHAT)}; got {value!r}{closest(str(value), WHAT)}"
            )
    for name, number, least in (("batch_size", batch_size, 1), ("workers", workers, 0), ("limit", limit, 1)):
        if number is not None and (not isinstance(number, int) or number < least):
            raise ValueError(
                f"{name} must be an integer >= {least}; got {number!r}. Pass for example {name}=8."
            )
    photos = find_photos(Path(folder), limit)
    outputs = outputs_of(photos.classes, classifier, target)
    check_place(Path(out), photos.folder)
    model = on_device(classifier.model, device)
    attribution = EdgeFilterAttribution(model, composite, bank=bank, calibrate=calibrate)
    settings = {
        "photos": photos.fingerprint,
        "model": classifier.name,
        "weights": fingerprint_of(model, bank),
        "composite": composite or DEFAULT,
        "calibrate": _noted(calibrate),
        "by": by,
        "target": "predicted" if outputs is None else "label",
        "limit": limit,
        "bits": bits,
        "pixels": pixels,
    }
    run = Run(photos, classifier, attribution, outputs, settings, device)
    run.begin(Path(out), overwrite)
    run.go(batch_size, workers, save_every, progress)
    return run.end()


def _noted(calibrate: Calibrate) -> list[Any]:
    """Return what scores are calibrated by as JSON gives it back."""
    return [
        {name: list(members) for name, members in game.items()} if isinstance(game, Mapping) else game
        for game in as_games(calibrate)
    ]


@contextlib.contextmanager
def processes() -> Iterator[int]:
    """Join the processes that ``torchrun`` started, over gloo, and give this one's place on its machine; else 0.

    Examples
    --------
    >>> with processes() as place:
    ...     place
    0
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield 0
        return
    dist.init_process_group("gloo")
    try:
        yield int(os.environ.get("LOCAL_RANK", "0"))
    finally:
        dist.destroy_process_group()
