"""One run over a folder of photos: resumable, in one process or in several."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]

from edgefilter._files import replacing
from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.attribution.explanation import Explanation
from edgefilter.classifiers.classifier import Classifier

from .photos import Batch, PhotoReader, Photos, Skipped, collate
from .profile import ClassProfile
from .results import RESULTS, FolderProfile, write_results

__all__ = ["Run"]

PROGRESS = "progress.safetensors"
FORMAT = "edgefilter profile progress 1"

DIGESTS = ("photos", "weights")  # settings that are no words


class Run:
    """Explains the photos from ``position`` on; in each of several processes."""

    def __init__(
        self,
        photos: Photos,
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
        """Go on with the progress in the folder, or begin where there is none."""
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
            PhotoReader(self.photos, self.classifier.preprocess, self.settings["bits"]),
            batch_sampler=[list(piece) for piece in pieces],
            collate_fn=collate,
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

    def count(self, batch: Batch) -> None:
        """Explain a batch and take its shares in."""
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
        with replacing(self.out / PROGRESS) as path:
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
            found.files.extend(write_results(found, self.out))
            (self.out / PROGRESS).unlink()
        if self.processes > 1:
            dist.barrier()
        return found
