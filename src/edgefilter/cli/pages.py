"""The pages of ``edgefilter report``: what is explained for each photo, and where it is written."""

from __future__ import annotations

import enum
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import typer
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.classifiers.classifier import Classifier
from edgefilter.classifiers.fingerprint import fingerprint_of
from edgefilter.report.explanations import write_report
from edgefilter.report.writing import ENDINGS

from .answer import Against, Answer, explained_class, find_answers
from .checks import check_new, check_writable, in_one_line, say, shown_photo
from .naming import ReadFiles, as_file_name
from .photos import Chosen
from .printing import ROWS, new_console
from .stopping import NOTHING

__all__ = ["Asked", "Pages", "PlannedPages", "planned_pages", "typed"]

BEST = 3  # classes that are explained where none is named
UNSEEN = ("force", "quiet")  # options that change nothing of a page
MOST = 24  # photos of one page: each takes about 0.5 MB of it


class Asked(NamedTuple):
    """What is asked about each photo."""

    targets: Sequence[int]
    against: Against
    title: str | None
    bits: int | None
    command: str
    quiet: bool


class PlannedPages(NamedTuple):
    """Where the pages go: all photos into one file, or each into a file of its own in a folder."""

    file: Path | None
    folder: Path | None
    read: ReadFiles
    force: bool

    def place(self, name: str, model: str) -> Path:
        """Return where the page of a photo goes."""
        if self.folder is None:
            assert self.file is not None
            return self.file
        return self.folder / f"{name}_{as_file_name(Path(model).name)}{ENDINGS[0]}"

    def check_new(self, photos: Chosen, model: str) -> None:
        """Raise if a page would replace a file, or be written onto what is read."""
        for name in photos.names:
            path = self.place(name, model)
            self.read.check("out", path)
            check_new(path, "out", self.force)


def planned_pages(
    photos: Chosen, out: Path, others: Iterable[tuple[str, Path | None]], force: bool
) -> PlannedPages:
    """Plan where the pages go, before the work.

    Raises
    ------
    ValueError, OSError
        If a page cannot be written there, would hold too many photos, or would be written onto a file that is read.
    """
    read = ReadFiles([*(("image", path) for path in photos.paths), *others])
    if out.suffix.lower() in ENDINGS and not out.is_dir():
        if len(photos.paths) > MOST:
            raise ValueError(
                f"out must be a folder for more than {MOST} photos; got {str(out)!r} for {len(photos.paths)}. Name a folder: each photo "
                "gets a page of its own."
            )
        check_writable(out, "out")
        return PlannedPages(out, None, read, force)
    if (out.exists() or out.suffix) and not out.is_dir():
        raise ValueError(
            f"out must end in {' or '.join(ENDINGS)}, or be a folder; got {str(out)!r}. Change the ending."
        )
    if not out.exists():
        check_writable(out, "out")
    return PlannedPages(None, out, read, force)


def typed(context: typer.Context) -> str:
    """Return the command as it was typed, for the page: what was given and changes it."""
    words = ["edgefilter", str(context.info_name)]
    for one in context.command.params:
        source = context.get_parameter_source(str(one.name))
        if source is None or source.name != "COMMANDLINE" or one.name in UNSEEN:
            continue
        value = context.params[str(one.name)]
        flag = [] if one.param_type_name == "argument" else [max(one.opts, key=len)]
        for item in value if isinstance(value, (list, tuple)) else [value]:
            text = item.value if isinstance(item, enum.Enum) else str(item)
            words += flag if item is True else [*flag, text]
    return shlex.join(words)


class Pages:
    """Explains the photos and writes their pages."""

    def __init__(
        self,
        classifier: Classifier,
        attribution: EdgeFilterAttribution,
        asked: Asked,
        photos: Chosen,
        planned: PlannedPages,
        device: torch.device,
    ) -> None:
        self.classifier, self.attribution, self.asked = classifier, attribution, asked
        self.photos, self.planned, self.device = photos, planned, device
        self.digest = fingerprint_of(classifier.model)
        self.written: list[Path] = []
        self.skipped: list[str] = []

    def write(self) -> None:
        """Explain all photos and write the page, or a page for each."""
        try:
            self._write_all()
        except KeyboardInterrupt as cause:
            kept = f"Stopped: {len(self.written)} of {len(self.photos.paths)} pages are written in {self.planned.folder}."
            raise KeyboardInterrupt(kept if self.written else NOTHING) from cause
        self._report()

    def _write_all(self) -> None:
        explained = self._explained()
        if self.planned.folder is None:
            found = list(explained)
            if found:
                self._write(found)
        else:
            self.planned.folder.mkdir(exist_ok=True)
            for one in explained:
                self._write([one])

    def _report(self) -> None:
        """Print what was written, and what was left out."""
        console = new_console(quiet=self.asked.quiet)
        what = "Page" if len(self.written) == 1 else "Pages"
        if self.written:
            console.print(f"{what}: {', '.join(map(str, self.written))}", soft_wrap=True)
        if self.skipped:
            say(
                f"Skipped {len(self.skipped)} of {len(self.photos.paths)} photos: {', '.join(self.skipped)}. The exit code is 1."
            )
            raise typer.Exit(1)

    def _explained(self) -> Iterator[tuple[str, list[Answer]]]:
        """Yield each photo's name and what was found out about it; one of several that cannot be read is skipped."""
        several = self.photos.several
        hidden = self.asked.quiet or not several or not sys.stderr.isatty()
        status = new_console(stderr=True, quiet=self.asked.quiet or several).status("Explaining ...")
        pairs = list(zip(self.photos.paths, self.photos.names, strict=True))
        with status, tqdm(pairs, unit="photo", disable=hidden) as bar:
            for path, name in bar:
                try:
                    photo = shown_photo(path, self.classifier.reader(self.asked.bits))
                except (ValueError, OSError) as cause:
                    if not several:
                        raise
                    self.skipped.append(str(path))
                    say(f"Skipped: {path}: {in_one_line(cause)}")
                    continue
                yield name, self._answers_with_warnings(self.classifier.preprocess(photo).to(self.device))

    def _answers_with_warnings(self, inputs: Tensor) -> list[Answer]:
        """Explain a photo, and print what is doubtful about it, a line each."""
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", UserWarning)
            answers = self._answers(inputs)
        for text in dict.fromkeys(str(warning.message) for warning in found):
            say(f"Warning: {text}")
        return answers

    def _answers(self, inputs: Tensor) -> list[Answer]:
        """Explain the classes of a photo, and why it is the first one and not another."""
        with torch.no_grad():
            outputs = self.attribution.model(inputs)
        best = outputs[0].topk(min(BEST, outputs.shape[1])).indices.tolist()
        targets = list(dict.fromkeys(self.asked.targets)) or best
        answers = self._find(inputs, targets, None, outputs)
        other = self.asked.against
        if other is None and len(targets) > 1:
            other = targets[1]
        if other is None or other == targets[0]:
            return answers
        return [*answers, *self._find(inputs, targets[:1], other, outputs)]

    def _find(self, inputs: Tensor, targets: Sequence[int], other: Against, outputs: Tensor) -> list[Answer]:
        many = len(targets)
        repeated = (values.expand(many, *values.shape[1:]) for values in (inputs, outputs))
        images, results = repeated
        return find_answers(self.classifier, self.attribution, images, targets, other, ROWS, results)

    def _write(self, explained: Sequence[tuple[str, list[Answer]]]) -> None:
        """Write the page of some photos."""
        answers = [some for _, some in explained]
        names = [name for name, _ in explained]
        path = self.planned.place(names[0], self.classifier.name)
        write_report(
            path,
            [one.explanation for some in answers for one in some],
            [self.classifier.to_picture(some[0].inputs) for some in answers],
            class_names=self.classifier.class_names,
            bank=answers[0][0].bank,
            names=names,
            probabilities=[dict(map(explained_class, some)) for some in answers],
            about={**self.classifier.about, **self._more()},
            title=self.asked.title,
            overwrite=self.planned.force,
        )
        self.written.append(path)

    def _more(self) -> dict[str, str]:
        """Return what else was given, and the versions."""
        scale = {"bits": self.asked.bits or self.classifier.bits, "white": self.classifier.white}
        return {
            **{name: str(value) for name, value in scale.items() if value is not None},
            "weights_digest": self.digest,
            "command": self.asked.command,
            "torch": str(torch.__version__),
        }
