"""Explain a folder of photos and profile its classes: resumable, in one process or in several."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]

from ._checks import closest
from .attribution import EdgeFilterAttribution
from .banks import FilterBank
from .classifiers import Classifier
from .composites import DEFAULT
from .explanation import Explanation
from .methods import has_bank
from .photos import read_photo
from .profiles import ClassProfile
from .stems import replace_stem

__all__ = ["RESULTS", "FolderProfile", "Skipped", "processes", "profile_folder"]

TABLE, PROFILE, PICTURE, SKIPPED, ABOUT = RESULTS = (
    *("profile.csv", "profile.safetensors", "profile.png", "skipped.csv"),
    "profile.json",
)
PROGRESS = "progress.safetensors"
FORMAT = "edgefilter profile progress 1"
WHAT = ("label", "predicted")
DIGESTS = ("photos", "weights")  # settings that are no words
SHOWN = 3  # names in a message

Item = TypeVar("Item")


class Skipped(NamedTuple):
    """A photo that could not be read: its path inside the folder, and why."""

    path: str
    reason: str


class FolderProfile(NamedTuple):
    """What :func:`~edgefilter.profiling.profile_folder` found and wrote.

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


def profile_folder(
    folder: str | Path,
    classifier: Classifier,
    out: str | Path,
    *,
    composite: str | None = None,
    bank: FilterBank | None = None,
    by: Literal["label", "predicted"] = "label",
    target: Literal["label", "predicted"] | None = None,
    limit: int | None = None,
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
    by : {"label", "predicted"}, default: "label"
        Whether a photo counts in the class of its folder, or in the class that the network predicts.
    target : {"label", "predicted"}, optional
        Whether to explain the output of the folder's class or the largest output. Default: the former if all folders
        have names of the network's classes, else the latter. With ``"label"`` folders may also be named by class
        index; and where the network's classes have no names ("class 0", ...), as many folders as outputs are taken in
        alphabetical order, as a network is trained with ImageFolder.
    limit : int, optional
        At most so many photos of each class, the first by name. Default: all.
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
    photos = _photos(Path(folder), limit)
    outputs = _outputs(photos.classes, classifier, target)
    _check_place(Path(out), photos.folder)
    model = _with_bank(classifier.model, bank).to(device)
    settings = {
        "photos": photos.fingerprint,
        "model": classifier.name,
        "weights": _fingerprint_of(model),
        "composite": composite or DEFAULT,
        "by": by,
        "target": "predicted" if outputs is None else "label",
        "limit": limit,
        "pixels": pixels,
    }
    run = _Run(photos, classifier, EdgeFilterAttribution(model, composite), outputs, settings, device)
    run.begin(Path(out), overwrite)
    run.go(batch_size, workers, save_every, progress)
    return run.end()


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


# --- the photos ---------------------------------------------------------------------------------------------


class _Photos(NamedTuple):
    """The photos of a folder, in the order in which they are counted."""

    folder: Path
    classes: list[str]
    samples: list[tuple[str, int]]  # path and class
    fingerprint: str


def _photos(folder: Path, limit: int | None) -> _Photos:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"folder must be an existing folder; got {str(folder)!r}, which is none. Check the path."
        )
    try:
        found = ImageFolder(str(folder), allow_empty=True)
    except FileNotFoundError as cause:
        raise FileNotFoundError(
            f"folder must hold one folder of photos for each class; got {str(folder)!r}, which holds no folders. "
            "Sort the photos into folders, or name the folder above."
        ) from cause
    samples, seen = [], [0] * len(found.classes)
    for path, place in found.samples:
        if limit is None or seen[place] < limit:
            samples.append((path, place))
            seen[place] += 1
    if not samples:
        raise FileNotFoundError(
            f"folder must hold photos; got {str(folder)!r}, whose folders hold none. Check the path."
        )
    digest = hashlib.sha256()
    for path, place in samples:
        about = Path(path).stat()
        name = Path(path).relative_to(folder).as_posix()
        digest.update(f"{name}\0{place}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return _Photos(folder, found.classes, samples, digest.hexdigest()[:16])


def _check_place(out: Path, folder: Path) -> None:
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"out must be a folder; got the file {str(out)!r}. Name another place.")
    if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
        raise ValueError(
            f"out must lie outside the folder of photos; got {str(out)!r} in {str(folder)!r}, where it would be taken for "
            "a class. Choose another place."
        )


class _Batch(NamedTuple):
    """Some photos, preprocessed; ``inputs`` is None if none could be read."""

    inputs: Tensor | None
    labels: Tensor
    skipped: list[Skipped]


class _Reader(Dataset[Any]):
    """Reads and preprocesses photos; one that cannot be read comes as the reason why."""

    def __init__(self, photos: _Photos, preprocess: Callable[[Image.Image], Tensor]) -> None:
        self.photos = photos
        self.preprocess = preprocess

    def __getitem__(self, index: int) -> tuple[Tensor | Skipped, int]:
        path, label = self.photos.samples[index]
        try:
            photo = read_photo(path)
        except (ValueError, OSError) as cause:
            name = Path(path).relative_to(self.photos.folder).as_posix()
            return Skipped(name, " ".join(str(cause).split())), label
        return self.preprocess(photo), label


def _collate(items: list[tuple[Tensor | Skipped, int]]) -> _Batch:
    good = [(item, label) for item, label in items if isinstance(item, Tensor)]
    return _Batch(
        inputs=torch.cat([image for image, _ in good]) if good else None,
        labels=torch.tensor([label for _, label in good], dtype=torch.long),
        skipped=[item for item, _ in items if isinstance(item, Skipped)],
    )


# --- what is explained --------------------------------------------------------------------------------------


def _outputs(folders: Sequence[str], classifier: Classifier, target: str | None) -> list[int] | None:
    """Return the output of each folder's class, or None if predictions are to be explained."""
    if target == "predicted":
        return None
    names = classifier.class_names
    unnamed = tuple(f"class {place}" for place in range(len(names)))
    if target == "label" and names == unnamed and len(folders) == len(names):
        return list(range(len(names)))
    found: list[int] = []
    missing: list[str] = []
    for folder in folders:
        try:
            place = classifier.class_index(folder)
        except (KeyError, ValueError):
            missing.append(folder)
            continue
        found.append(place)
        if target is None and folder.isdecimal() and names[place] != folder:
            missing.append(folder)  # "7" is the name of a class here, not of any network's eighth output
    if target is None and missing:
        return None
    if missing:
        shown = ", ".join(map(repr, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        raise ValueError(
            f"target='label' must have folders named by classes of {classifier.name}; got {len(missing)} of "
            f"{len(folders)} that are not: {shown}. Rename them, or pass target='predicted'."
        )
    return found


def _with_bank(model: nn.Module, bank: FilterBank | None) -> nn.Module:
    """Return a copy whose stem is expressed with a bank, unless the network was built with one."""
    return copy.deepcopy(model) if bank is None and has_bank(model) else replace_stem(model, bank)


def _fingerprint_of(model: nn.Module) -> str:
    """Return a digest of the weights, the kernels among them."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


# --- the run ------------------------------------------------------------------------------------------------


class _Run:
    """Explains the photos from ``position`` on; in each of several processes."""

    def __init__(
        self,
        photos: _Photos,
        classifier: Classifier,
        attribution: EdgeFilterAttribution,
        outputs: list[int] | None,
        settings: dict[str, Any],
        device: str | torch.device,
    ) -> None:
        self.photos, self.classifier, self.attribution = photos, classifier, attribution
        self.outputs = None if outputs is None else torch.tensor(outputs)
        self.settings, self.device = settings, device
        several = dist.is_available() and dist.is_initialized()
        self.rank, self.processes = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)
        self.position = 0
        self.skipped: list[Skipped] = []
        self.profile = self.empty()

    def empty(self) -> ClassProfile:
        """Make a profile for the network's colors, filters and classes, by explaining a gray photo."""
        image = self.classifier.preprocess(Image.new("RGB", (64, 64), "gray")).to(self.device)
        explanation = self.attribution.explain(image)
        predicted = self.settings["by"] == "predicted"
        names = self.classifier.class_names if predicted else self.photos.classes
        assert explanation.pixel is not None
        height, width = explanation.pixel.shape[2:]
        return ClassProfile(
            len(names),
            explanation.colors,
            explanation.filters,
            class_names=names,
            filter_labels=explanation.filter_labels,
            pixel_size=(height, width) if self.settings["pixels"] else None,
            sync_on_compute=False,
        )

    def begin(self, out: Path, overwrite: bool) -> None:
        """Find out in the first process where to go on, and say so to the others."""
        self.out = out
        message: list[Any] = [None]
        if self.rank == 0:
            try:
                self.resume(overwrite)
                message = [self.position]
            except (OSError, ValueError) as error:
                message = [error]
        if self.processes > 1:
            dist.broadcast_object_list(message)
        if isinstance(message[0], Exception):
            raise message[0]
        self.position = message[0]

    def resume(self, overwrite: bool) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / PROGRESS
        if overwrite:
            path.unlink(missing_ok=True)
        elif path.exists():
            self.load(path)
        else:
            there = [name for name in RESULTS if (self.out / name).exists()]
            if there:
                raise FileExistsError(
                    f"out must be a folder without results; got {str(self.out)!r}, which holds {', '.join(there)}. "
                    "Choose another folder, or pass overwrite=True (--overwrite)."
                )
        self.write(
            self.profile.state_dict(), self.skipped
        )  # a folder that cannot be written to is refused now

    def load(self, path: Path) -> None:
        """Take over what a run with the same settings counted."""
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["progress"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, KeyError, ValueError) as cause:
            raise ValueError(
                f"out must hold the progress of a run; got {str(path)!r}, which cannot be read ({cause}). "
                "Pass overwrite=True (--overwrite) to begin anew."
            ) from cause
        mine, theirs = self.settings, about["settings"]
        differ = [name for name in mine if theirs.get(name) != mine[name]]
        if about["format"] != FORMAT or differ:
            words = [
                f"other {name}" if name in DIGESTS else f"{name} {theirs.get(name)} instead of {mine[name]}"
                for name in differ
            ]
            raise ValueError(
                f"out must hold the progress of the same run; got {str(self.out)!r} with {', '.join(words)}. "
                "Choose another folder, or pass overwrite=True (--overwrite) to begin anew."
            )
        self.profile.load_state_dict(tensors)
        self.skipped = [Skipped(*item) for item in about["skipped"]]
        self.position = about["position"]

    def go(self, batch_size: int, workers: int, save_every: float, progress: bool) -> None:
        """Explain the photos that are left: window by window, each process every n-th photo of the window."""
        total, window = len(self.photos.samples), batch_size * self.processes
        starts = range(self.position, total, window)
        pieces = [range(start + self.rank, min(start + window, total), self.processes) for start in starts]
        loader = DataLoader(
            _Reader(self.photos, self.classifier.preprocess),
            batch_sampler=[list(piece) for piece in pieces],
            collate_fn=_collate,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )
        bar = tqdm(total=total, initial=self.position, unit="photo", disable=not progress or self.rank > 0)
        saved = time.monotonic()
        with bar:
            for start, batch in zip(starts, loader, strict=True):
                self.count(batch)
                self.position = min(start + window, total)
                bar.update(self.position - start)
                if self.agree(time.monotonic() - saved >= save_every):
                    self.save()
                    saved = time.monotonic()

    def agree(self, decision: bool) -> bool:
        """Return the decision of the first process, in all."""
        if self.processes == 1:
            return decision
        word = torch.tensor([int(decision)])
        dist.broadcast(word, 0)
        return bool(word)

    def count(self, batch: _Batch) -> None:
        self.skipped += batch.skipped
        if batch.inputs is None:
            return
        inputs = batch.inputs.to(self.device)
        target = None if self.outputs is None else self.outputs[batch.labels].tolist()
        explanation = self.attribution.explain(inputs, target)
        labels = batch.labels if self.settings["by"] == "label" else self.predicted(inputs, explanation)
        self.profile.update(explanation, labels)

    def predicted(self, inputs: Tensor, explanation: Explanation) -> Tensor:
        """Return the classes with the largest outputs; where they were explained, no further pass is needed."""
        if self.outputs is None:
            return torch.tensor([index or 0 for index in explanation.target])
        with torch.no_grad():
            output: Tensor = self.attribution.model(inputs)
        return output.argmax(1).cpu()

    def together(self) -> tuple[dict[str, Tensor], list[Skipped]]:
        """Return what all processes counted and skipped."""
        if self.processes == 1:
            return self.profile.state_dict(), self.skipped
        lists: list[list[Skipped]] = [[] for _ in range(self.processes)]
        dist.all_gather_object(lists, self.skipped)
        with self.profile.sync_context():
            return self.profile.state_dict(), sorted(item for items in lists for item in items)

    def save(self) -> tuple[dict[str, Tensor], list[Skipped]]:
        """Save and return what all counted and skipped."""
        tensors, skipped = self.together()
        if self.rank == 0:
            self.write(tensors, skipped)
        return tensors, skipped

    def write(self, tensors: dict[str, Tensor], skipped: list[Skipped]) -> None:
        """Write the counts, and how far they came, as one file."""
        about = {"format": FORMAT, "settings": self.settings, "position": self.position, "skipped": skipped}
        with _replacing(self.out / PROGRESS) as path:
            save_file(tensors, path, metadata={"progress": json.dumps(about)})

    def end(self) -> FolderProfile:
        """Write the results; the progress goes last."""
        tensors, skipped = self.save()
        if len(skipped) == len(self.photos.samples):
            (self.out / PROGRESS).unlink(missing_ok=True)
            raise ValueError(
                f"folder must hold photos that can be read; got {len(skipped)} that cannot, the first {skipped[0].path!r}: "
                f"{skipped[0].reason}"
            )
        profile = self.profile
        profile.load_state_dict(tensors)
        counts = profile.values()
        settings = self.settings | {
            "folder": str(self.photos.folder),
            "counted": int(counts["count"].sum()),
            "unusable": int(counts["unusable"].sum()),
            "skipped": len(skipped),
        }
        found = FolderProfile(profile, skipped, settings, [])
        if self.rank == 0:
            found.files.extend(_write(found, self.out))
            (self.out / PROGRESS).unlink()
        if self.processes > 1:
            dist.barrier()
        return found


# --- what is written ----------------------------------------------------------------------------------------


def _write(found: FolderProfile, out: Path) -> Iterator[Path]:
    """Write the results, each file at once."""
    import pandas as pd

    skipped = pd.DataFrame(found.skipped, columns=list(Skipped._fields))
    tables = {TABLE: found.profile.to_dataframe(), SKIPPED: skipped}
    for name, table in tables.items():
        with _replacing(out / name) as path:
            table.to_csv(path, index=False)
        yield out / name
    with _replacing(out / PROFILE) as path:
        found.profile.save(path, overwrite=True)
    yield out / PROFILE
    with _replacing(out / ABOUT) as path:
        path.write_text(json.dumps(found.settings, indent=2) + "\n", encoding="utf-8")
    yield out / ABOUT
    if found.settings["counted"]:
        with _replacing(out / PICTURE) as path:
            found.profile.plot()[0].savefig(path, format="png")
        yield out / PICTURE
    else:
        (out / PICTURE).unlink(missing_ok=True)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a place to write to; what was written there takes the file's place when it is complete."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
