"""Explain a folder of photos and profile its classes: resumable, in one process or in several."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist

from edgefilter._checks import closest
from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.attribution.calibration import Calibrate, as_games
from edgefilter.banks.bank import FilterBank
from edgefilter.banks.bases import ColorBasis
from edgefilter.classifiers.classifier import Classifier
from edgefilter.lrp.composites import DEFAULT

from .network import Network, fingerprint_of, on_device
from .photos import Photos, check_place, find_photos
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
    colors: Mapping[str, Sequence[str]] | None = None,
    basis: str | ColorBasis | None = None,
    by: Literal["label", "predicted"] = "label",
    target: Literal["label", "predicted"] | None = None,
    limit: int | None = None,
    bits: int | None = None,
    pixels: bool = False,
    permutations: int = 1,
    compare: Classifier | None = None,
    batch_size: int = 16,
    workers: int = 0,
    device: str | torch.device = "cpu",
    save_every: float = 5.0,
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
        ``profile.safetensors`` (:meth:`~edgefilter.ClassProfile.load`), ``profile.png``, ``skipped.csv``, ``confusion.csv``,
        ``permutation.csv``, ``differences.csv`` (with ``compare``), ``profile.json`` (settings, counts, accuracy, permutation).
    composite : str, optional
        The relevance rules. Default: those of :class:`~edgefilter.EdgeFilterAttribution`.
    bank : FilterBank, optional
        The filters to express the stem with. Default: a complete bank, or the network's own filters.
    calibrate : bool, str or tuple, default: True
        What the scores are measured by, as in :class:`~edgefilter.EdgeFilterAttribution`: by the game of the colors. False takes
        relevance alone, in one forward and one backward pass a photo.
    colors, basis
        What is scored as a color, as :meth:`~edgefilter.classifiers.Classifier.color_options` takes it.
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
    permutations : int, default: 1
        How often colors and filters are shuffled between up to 100 of the photos, to see what the network loses: as
        :func:`~edgefilter.profiles.permutation_check`. 0 leaves it out.
    compare : Classifier, optional
        Another network, or another version of this one, that explains the same photos: the differences of the shares, as
        :class:`~edgefilter.profiles.PairedProfile`.
    batch_size : int, default: 16
        Photos explained at a time, by each process.
    workers : int, default: 0
        Processes beside this one that read photos.
    device : str or torch.device, default: "cpu"
    save_every : float, default: 5
        Seconds after which the state is saved; 0 saves after every batch. A kill loses no more than that.
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
    KeyboardInterrupt
        After Ctrl-C, once what was counted is saved; the message says where, and how many photos that are.

    Notes
    -----
    Photos that cannot be read are skipped and listed. A run that was stopped by Ctrl-C goes on after the last batch that was counted,
    a run that was killed where its state was saved last, in any number of processes and with any batch size, if it is called again with the same settings for the same
    photos; no photo is counted twice, as the counts and the place in the list of photos are one file, replaced at once.

    With ``torch.distributed`` initialised (gloo is enough), each process calls this function and explains its part of
    the photos, each photo in one process; the first one writes. A process that fails ends all, at the next exchange.
    """
    _check_words(by=(by, WHAT), target=(target, (*WHAT, None)))
    _check_counts(
        batch_size=(batch_size, 1), workers=(workers, 0), limit=(limit, 1), permutations=(permutations, 0)
    )
    photos = find_photos(Path(folder), limit)
    check_place(Path(out), photos.folder)
    made = _Maker(photos, composite, bank, calibrate, colors, basis, target, device)
    networks = made.networks(classifier, compare, shuffled=permutations > 0)
    settings = {
        "photos": photos.fingerprint,
        "model": classifier.name,
        "weights": fingerprint_of(networks[0].attribution.model, bank),
        "composite": composite or DEFAULT,
        "calibrate": _noted(calibrate),
        "colors": list(networks[0].attribution.colors.names(len(classifier.channels))),
        **networks[0].seen_as(),
        "by": by,
        "target": networks[0].target,
        "limit": limit,
        "bits": bits,
        "pixels": pixels,
    }
    if compare is not None:
        settings["compared"] = compare.name
        settings["compared weights"] = fingerprint_of(networks[1].attribution.model, bank)
        settings |= {f"compared {name}": value for name, value in networks[1].seen_as().items()}
    run = Run(photos, networks, settings, permutations)
    run.begin(Path(out), overwrite)
    try:
        run.go(batch_size, workers, save_every, progress)
        return run.end(workers, batch_size, progress)
    except KeyboardInterrupt as cause:
        raise type(cause)(run.stopped()) from cause


def _check_words(**options: tuple[str | None, Sequence[str | None]]) -> None:
    for name, (value, known) in options.items():
        if value not in known:
            raise ValueError(
                f"{name} must be one of {', '.join(WHAT)}; got {value!r}{closest(str(value), WHAT)}"
            )


def _check_counts(**options: tuple[int | None, int]) -> None:
    for name, (number, least) in options.items():
        if number is not None and (not isinstance(number, int) or number < least):
            raise ValueError(
                f"{name} must be an integer >= {least}; got {number!r}. Pass for example {name}=8."
            )


class _Maker(NamedTuple):
    """Makes of a classifier what explains the photos of a folder."""

    photos: Photos
    composite: str | None
    bank: FilterBank | None
    calibrate: Calibrate
    colors: Mapping[str, Sequence[str]] | None
    basis: str | ColorBasis | None
    target: str | None
    device: str | torch.device

    def networks(
        self, classifier: Classifier, compare: Classifier | None, *, shuffled: bool
    ) -> list[Network]:
        """Return the network that is profiled, and the one that it is compared with."""
        first = self(classifier)
        if shuffled:
            first.check_shuffling()
        if compare is None:
            return [first]
        second = self._replace(target=None if self.target == "label" else self.target)(compare)
        second.follow(first)
        return [first, second]

    def __call__(self, classifier: Classifier) -> Network:
        model = on_device(classifier.model, self.device)
        attribution = EdgeFilterAttribution(
            model,
            self.composite,
            bank=self.bank,
            calibrate=self.calibrate,
            **classifier.color_options(self.colors, self.basis),
        )
        attribution.with_levels = False  # shares are all that is kept
        gray = classifier.gray_photo()
        return Network(classifier, attribution, self.photos.classes, self.target, self.device, gray)


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
