"""One run of ``edgefilter explain`` over one photo or many, and what is kept of it."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

from edgefilter._files import replacing
from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.classifiers.classifier import Classifier, Photo
from edgefilter.classifiers.fingerprint import fingerprint_of

from .answer import Against, Answer, find_answers
from .checks import USAGE, in_one_line, shown_photo, stage
from .naming import class_file_name, picture_name
from .numbers import as_csv, as_json, as_row, as_text
from .options import ScoreTable
from .outputs import Outputs
from .photos import DEMO_NAME, Chosen
from .printing import ROWS, new_console
from .resuming import Earlier
from .stopping import NOTHING
from .tables import print_answer, print_rows, title_of

__all__ = ["Asked", "Run", "against_name"]

MAPS = 3
SAVE_EVERY = 30.0  # seconds, as long as some ten photos take; the texts of 1,000 photos take 0.2


class Asked(NamedTuple):
    """What is asked about each photo, and how much of it is told."""

    target: int | None
    against: Against
    top: int | None
    tables: Sequence[ScoreTable] | None
    summary: bool
    bits: int | None
    smooth: float | None
    batch_size: int
    quiet: bool


class Item(NamedTuple):
    """A photo that was read."""

    image: str
    name: str
    inputs: Tensor


class Run:
    """Explains the photos and keeps what was found for the files."""

    def __init__(
        self,
        classifier: Classifier,
        attribution: EdgeFilterAttribution,
        asked: Asked,
        photos: Chosen,
        outputs: Outputs,
        device: torch.device,
        first: Photo | None = None,
        before: Earlier = Earlier(),  # noqa: B008 - a tuple
    ) -> None:
        self.classifier, self.attribution = classifier, attribution
        self.asked, self.photos, self.outputs = asked, photos, outputs
        self.device, self.first, self.before = device, first, before
        self.console = new_console(quiet=asked.quiet or bool(outputs.printed))
        self.digest = fingerprint_of(classifier.model)
        self.bar: Any = None
        self.rows: list[dict[str, Any]] = []
        self.numbers: list[dict[str, Any]] = []
        self.pictures: list[Path] = []
        self.skipped: list[str] = []
        self.saved = time.monotonic()

    def explain(self) -> None:
        """Explain all photos and write the files; what was found before a failure or Ctrl-C is written as well."""
        try:
            self._explain_all()
        except KeyboardInterrupt as cause:
            self._write()
            raise KeyboardInterrupt(self._stopped()) from cause
        except Exception:
            self._write()
            raise
        self._write()
        self._report()

    def _explain_all(self) -> None:
        paths = zip(self.photos.paths, self.photos.names, strict=True)
        hidden = self.asked.quiet or not self.photos.several or not sys.stderr.isatty()
        with tqdm(total=len(self.photos.paths), unit="photo", disable=hidden) as self.bar:
            while chunk := list(itertools.islice(paths, self.asked.batch_size)):
                items = [item for path, name in chunk for item in self._read(path, name)]
                for _, batch in itertools.groupby(items, lambda item: item.inputs.shape):
                    self._explain_batch(list(batch))
                self.bar.update(len(chunk))
                if self.photos.several and time.monotonic() - self.saved >= SAVE_EVERY:
                    self._save()

    def _read(self, path: Path | None, name: str) -> Iterator[Item]:
        """Read a photo, unless it is there already; one that cannot be read is skipped."""
        image = DEMO_NAME if path is None else str(path)
        try:
            photo = (
                shown_photo(path, self.classifier.reader(self.asked.bits), self._say)
                if self.first is None
                else self.first
            )
        except (ValueError, OSError) as cause:
            self._skip(image, in_one_line(cause))
        else:
            yield Item(image, name, self.classifier.preprocess(photo).to(self.device))

    def _explain_batch(self, items: list[Item]) -> None:
        """Explain photos of one size."""
        inputs = torch.cat([item.inputs for item in items])
        with torch.no_grad():
            outputs = self.attribution.model(inputs)
        targets = (
            outputs.argmax(1).tolist() if self.asked.target is None else [self.asked.target] * len(items)
        )
        paths = [self._picture_path(item, target) for item, target in zip(items, targets, strict=True)]
        keep = [place for place, target in enumerate(targets) if not self._compared_with_itself(target)]
        for place in sorted(set(range(len(items))) - set(keep)):
            self._skip(items[place].image, "it is predicted as the class of --against.")
        if not keep:
            return
        with self._status("Explaining ..."):
            answers = find_answers(
                self.classifier, self.attribution, inputs[keep], [targets[place] for place in keep],
                self.asked.against, self.asked.top or ROWS, outputs[keep],
            )  # fmt: skip
        for place, answer in zip(keep, answers, strict=True):
            self._keep(items[place], answer, paths[place])

    def _compared_with_itself(self, target: int) -> bool:
        """Say whether a photo of several cannot be explained, as it is predicted to be of the class that others are compared with."""
        return self.photos.several and self.asked.target is None and self.asked.against == target

    def _picture_path(self, item: Item, target: int) -> Path | None:
        names = self.classifier.class_names
        other = against_name(self.asked.against, names)
        with stage(USAGE):
            return self.outputs.picture_path(
                picture_name(item.name, self.classifier.name, class_file_name(target, names), other)
            )

    def _keep(self, item: Item, answer: Answer, picture: Path | None) -> None:
        """Draw a photo's picture, print what is wanted and keep its numbers."""
        asked = self.asked
        number = as_json(answer, item.image, self.digest, asked.bits)
        row = as_row(number)
        self.before.check_same(row)
        if picture is not None:
            picture.parent.mkdir(exist_ok=True)
            with self._status("Drawing ..."):
                _draw(answer, picture, asked.top or MAPS, asked.smooth)
            self.pictures.append(picture)
        self.numbers.append(number)
        self.rows.append(row)
        if not self.photos.several or asked.tables or asked.summary:
            with self._apart():
                if self.photos.several:
                    self.console.print(f"{item.image}", style="bold", soft_wrap=True)
                print_answer(self.console, answer, asked.tables, asked.top or ROWS, summary=asked.summary)
                if self.photos.several:
                    self.console.print()

    def _write(self) -> None:
        """Write and print the numbers of the photos that were explained."""
        if self.rows:
            self._save()
            if self.outputs.printed:
                typer.echo(self._text(self.outputs.printed), nl=False)

    def _save(self) -> None:
        """Write the numbers so far: a run that is killed loses what came after."""
        for kind, path in (("json", self.outputs.json), ("csv", self.outputs.csv)):
            if path is not None and self.rows:
                with replacing(path) as place:
                    place.write_text(self._text(kind), encoding="utf-8", newline="")
        self.saved = time.monotonic()

    def _text(self, kind: str) -> str:
        if kind == "csv":
            return as_csv([*self.before.csv, *self.rows])
        return as_text([*self.before.json, *self.numbers] if self.photos.several else self.numbers[0])

    def _report(self) -> None:
        """Print one line for each of several photos, what was written, and what was skipped."""
        if not self.photos.paths:
            self.console.print("Nothing is left: all photos are in the files.")
        if self.photos.several and self.rows and not (self.asked.tables or self.asked.summary):
            print_rows(self.console, self.numbers)
        for what, place in self._written():
            self.console.print(f"{what}: {place}", soft_wrap=True)
        if self.skipped:
            count = f"{len(self.skipped)} of {len(self.photos.paths)} photos"
            self._say(f"Skipped {count}: {', '.join(self.skipped)}. The exit code is 1.")
            raise typer.Exit(1)

    def _written(self) -> Iterator[tuple[str, str]]:
        for what, path in (("Numbers", self.outputs.json), ("Table", self.outputs.csv)):
            if path is not None and self.rows:
                yield what, str(path)
        if self.pictures:
            folder = self.photos.several and self.outputs.folder
            yield (
                ("Pictures", f"{len(self.pictures)} in {folder}")
                if folder
                else ("Picture", str(self.pictures[0]))
            )

    def _stopped(self) -> str:
        """Say what was kept, and how to go on."""
        kept = "; ".join(f"{what.lower()}: {place}" for what, place in self._written())
        if not kept:
            return NOTHING
        table = self.outputs.json or self.outputs.csv
        go_on = "--resume to go on" if table else "--force to begin again"
        return f"Stopped after {len(self.rows)} of {len(self.photos.paths)} photos. Kept: {kept}. Start the same command with {go_on}."

    def _skip(self, image: str, reason: str) -> None:
        self.skipped.append(image)
        self._say(f"Skipped: {image}: {reason}")

    def _say(self, text: str) -> None:
        with self._apart():
            typer.echo(text, err=True)

    def _status(self, text: str) -> contextlib.AbstractContextManager[Any]:
        """Say of a single photo what is going on; several have a progress bar."""
        return (
            contextlib.nullcontext()
            if self.photos.several
            else new_console(stderr=True, quiet=self.asked.quiet).status(text)
        )

    def _apart(self) -> contextlib.AbstractContextManager[Any]:
        """Take the progress bar away while something is printed."""
        return (
            contextlib.nullcontext() if self.bar is None or self.bar.disable else tqdm.external_write_mode()
        )


def against_name(against: Against, names: Sequence[str]) -> str | None:
    """Return what the explained class is compared with, for a file's name."""
    return class_file_name(against, names) if isinstance(against, int) else against


def _draw(answer: Answer, path: Path, top: int, smooth: float | None) -> None:
    classifier = answer.classifier
    figure = answer.explanation.plot(
        classifier.to_picture(answer.inputs),
        top=top,
        title=title_of(answer),
        bank=answer.bank,
        classes=classifier.class_names,
        smooth=smooth,
    )
    with replacing(path) as place:
        figure.savefig(place)
