"""One run over a folder of photos: resumable, in one process or in several."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]

from edgefilter._files import replacing

from .network import Network
from .permutation import PermutationCheck, planned
from .photos import Batch, PhotoReader, Photos, Skipped, collate, sample
from .results import DIFFERENCES, RESULTS, FolderProfile, write_results
from .tallies import Tallies

__all__ = ["Run"]

PROGRESS = "progress.safetensors"
FORMAT = "edgefilter profile progress 2"

# settings that are no words, also of the network that is compared with
DIGESTS = (
    "photos",
    *(f"{which}{name}" for which in ("", "compared ") for name in ("weights", "basis", "class names")),
)

# Of photos, with their others as well: with resnet18 at 224 pixels shuffling a photo once takes as long as explaining it does.
SHUFFLED = 100
SEED = 0


class State(NamedTuple):
    """What was counted of the photos before ``position``."""

    position: int
    tensors: dict[str, Tensor]
    skipped: list[Skipped]


class Run:
    """Explains the photos from ``position`` on; in each of several processes."""

    def __init__(
        self,
        photos: Photos,
        networks: Sequence[Network],
        settings: dict[str, Any],
        permutations: int,
    ) -> None:
        self.photos, self.networks, self.settings = photos, networks, settings
        self.permutations = permutations
        several = dist.is_available() and dist.is_initialized()
        self.rank, self.processes = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)
        self.position = 0
        self.skipped: list[Skipped] = []
        self.tallies = Tallies(networks, photos.classes, settings["by"], pixels=settings["pixels"])
        self.reader = PhotoReader(photos, [network.classifier for network in networks], settings["bits"])
        self.kept = self.state()

    def state(self) -> State:
        """Return a copy of what was counted so far, and how far that is."""
        return State(self.position, self.tallies.state(), list(self.skipped))

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
        self.position = self.written = message[0]

    def resume(self, overwrite: bool) -> None:
        """Go on with the progress in the folder, or begin where there is none."""
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / PROGRESS
        if overwrite:
            path.unlink(missing_ok=True)
        elif path.exists():
            self.load(path)
        else:
            there = [name for name in (*RESULTS, DIFFERENCES) if (self.out / name).exists()]
            if there:
                raise FileExistsError(
                    f"out must be a folder without results; got {str(self.out)!r}, which holds {', '.join(there)}. "
                    "Choose another folder, or pass overwrite=True (--overwrite)."
                )
        self.kept = self.state()
        self.write(self.kept)  # a folder that cannot be written to is refused now

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
        differ = [name for name in theirs | mine if theirs.get(name) != mine.get(name)]
        if about["format"] != FORMAT:
            differ = ["version of edgefilter"]
        if differ:
            words = [
                f"{name} {theirs.get(name)} instead of {mine[name]}"
                if name in mine and name not in DIGESTS
                else f"other {name}"
                for name in differ
            ]
            raise ValueError(
                f"out must hold the progress of the same run; got {str(self.out)!r} with {', '.join(words)}. "
                "Choose another folder, or pass overwrite=True (--overwrite) to begin anew."
            )
        self.tallies.load(tensors)
        self.skipped = [Skipped(*item) for item in about["skipped"]]
        self.position = about["position"]

    def go(self, batch_size: int, workers: int, save_every: float, progress: bool) -> None:
        """Explain the photos that are left: window by window, each process every n-th photo of the window."""
        total, window = len(self.photos.samples), batch_size * self.processes
        starts = range(self.position, total, window)
        pieces = [range(start + self.rank, min(start + window, total), self.processes) for start in starts]
        bar = tqdm(total=total, initial=self.position, unit="photo", disable=not progress or self.rank > 0)
        saved = time.monotonic()
        with bar:
            for start, batch in zip(starts, self.batches(pieces, workers), strict=True):
                self.skipped += batch.skipped
                if batch.inputs:
                    self.tallies.count(self.on_device(batch), batch.labels)
                self.position = min(start + window, total)
                self.kept = self.state()
                bar.update(self.position - start)
                if self.agree(time.monotonic() - saved >= save_every):
                    self.save()
                    saved = time.monotonic()

    def batches(self, pieces: Sequence[Sequence[int]], workers: int) -> DataLoader[Any]:
        """Return what reads the photos at some places, piece by piece."""
        return DataLoader(
            self.reader,
            batch_sampler=[list(piece) for piece in pieces],
            collate_fn=collate,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )

    def on_device(self, batch: Batch) -> list[Tensor]:
        """Return the inputs of each network where it computes."""
        return [
            images.to(network.device) for images, network in zip(batch.inputs, self.networks, strict=True)
        ]

    def stopped(self) -> str:
        """Save what was counted if this process can do so alone, and say how to go on."""
        if self.processes == 1:
            self.write(self.kept)
            kept = self.kept.position
        else:
            kept = self.written
        return (
            f"Stopped: {kept} of {len(self.photos.samples)} photos are counted and kept in {str(self.out / PROGRESS)!r}. "
            "Start again with the same settings to go on."
        )

    def agree(self, decision: bool) -> bool:
        """Return the decision of the first process, in all."""
        if self.processes == 1:
            return decision
        word = torch.tensor([int(decision)])
        dist.broadcast(word, 0)
        return bool(word)

    def together(self) -> State:
        """Return what all processes counted and skipped."""
        if self.processes == 1:
            return self.kept
        lists: list[list[Skipped]] = [[] for _ in range(self.processes)]
        dist.all_gather_object(lists, self.skipped)
        return State(
            self.position, self.tallies.together(), sorted(item for items in lists for item in items)
        )

    def save(self) -> State:
        """Save and return what all counted and skipped."""
        state = self.together()
        if self.rank == 0:
            self.write(state)
        self.written = self.position
        return state

    def write(self, state: State) -> None:
        """Write the counts, and how far they came, as one file."""
        about = {
            "format": FORMAT,
            "settings": self.settings,
            "position": state.position,
            "skipped": state.skipped,
        }
        with replacing(self.out / PROGRESS) as path:
            save_file(state.tensors, path, metadata={"progress": json.dumps(about)})
        self.written = state.position

    def end(self, workers: int, batch_size: int, progress: bool) -> FolderProfile:
        """Write the results; the progress goes last."""
        state = self.save()
        if len(state.skipped) == len(self.photos.samples):
            (self.out / PROGRESS).unlink(missing_ok=True)
            raise ValueError(
                f"folder must hold photos that can be read; got {len(state.skipped)} that cannot, the first "
                f"{state.skipped[0].path!r}: {state.skipped[0].reason}"
            )
        check = self.shuffled(workers, batch_size, progress)
        tallies = self.tallies
        tallies.load(state.tensors)
        counts = tallies.profile.values()
        settings = self.settings | {
            "folder": str(self.photos.folder),
            "counted": int(counts["count"].sum()),
            "unusable": int(counts["unusable"].sum()),
            "skipped": len(state.skipped),
            "negative": int(tallies.negative.sum_value),
            **self.networks[0].about(),
            "compared about": self.networks[1].classifier.about if len(self.networks) > 1 else None,
        }
        found = FolderProfile(
            tallies.profile, state.skipped, settings, [], tallies.confusion(), check, tallies.paired
        )
        if self.rank == 0:
            found.files.extend(write_results(found, self.out))
            (self.out / PROGRESS).unlink()
        if self.processes > 1:
            dist.barrier()
        return found

    def shuffled(self, workers: int, batch_size: int, progress: bool) -> PermutationCheck | None:
        """Shuffle colors and filters between some of the photos; each process measures its part of them."""
        if not self.permutations:
            return None
        places = sample(self.photos, SHUFFLED, SEED)
        pieces = [places[start : start + batch_size] for start in range(0, len(places), batch_size)]
        network, batches = self.networks[0], list(self.batches(pieces, workers))
        if sum(len(batch.labels) for batch in batches) < 2:
            return None
        images = torch.cat([self.on_device(batch)[0] for batch in batches if batch.inputs])
        folders = torch.cat([batch.labels for batch in batches])
        labels = None if network.truth is None else network.truth[folders]
        target = labels if network.target == "label" else None
        if target is None and not network.single:
            target = network.largest(images, batch_size)
        plan = planned(network.attribution, images, labels, target, None, self.permutations, SEED)
        mine = plan.pieces(batch_size)[self.rank :: self.processes]
        bar = tqdm(mine, "shuffling", unit="batch", disable=not progress or self.rank > 0)
        return plan.result(self.in_order([(some, plan.measure(some)) for some in bar]))

    def in_order(self, measured: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Return what all processes measured, in the order of the photos."""
        lists = [measured]
        if self.processes > 1:
            lists = [[] for _ in range(self.processes)]
            dist.all_gather_object(lists, measured)
        every = sorted((pair for pairs in lists for pair in pairs), key=lambda pair: int(pair[0][0]))
        return torch.cat([values for _, values in every], 1)
