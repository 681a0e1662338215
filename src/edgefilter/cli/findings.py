"""What ``edgefilter profile`` prints."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from edgefilter.plots.words import spaced

from .printing import ROWS, descending, new_table, print_fitting

if TYPE_CHECKING:
    from edgefilter.profiles.confusion import Confusion
    from edgefilter.profiles.paired import Difference, PairedProfile
    from edgefilter.profiles.permutation import PermutationCheck, Permuted
    from edgefilter.profiles.profile import ClassProfile
    from edgefilter.profiles.results import FolderProfile

__all__ = ["print_profile"]

WIDE = 8  # classes that a confusion table of 80 columns has room for
ROOMY = 100  # columns, in which names and numbers with their spread stand on one line
FILE = re.compile(r"(.+) \(sha256 ")  # of weights
UNKNOWN = (
    "Accuracy: unknown, as the folders are not named by classes of the network. Name the folders so, pass the names with --classes, or "
    "pass --target label if they are its classes by index or in alphabetical order."
)


def print_profile(console: Console, found: FolderProfile) -> None:
    """Print whether the network is right, the classes, what shuffling costs, and the differences to another network."""
    settings = found.settings
    console.print(f"Model: {settings['model']}; explained: {_explained(found)}", soft_wrap=True)
    console.print(
        f"Photos: {settings['counted']} counted, {settings['unusable']} without relevance, "
        f"{settings['skipped']} skipped"
    )
    _print_accuracy(console, found.confusion)
    console.print()
    print_fitting(console, _class_tables(found, spread=console.width >= ROOMY))
    if settings["negative"]:
        console.print(
            f"{_photos(settings['negative'])} with a negative output: what speaks against it has the larger shares there, with a "
            "minus sign.",
            soft_wrap=True,
        )
    if found.permutation is not None:
        _print_permutation(console, found.permutation)
    if found.paired is not None:
        _print_differences(console, found.paired, *_compared(settings))
    console.print(f"\nFiles: {', '.join(map(str, found.files))}", soft_wrap=True)


def _compared(settings: dict[str, Any]) -> tuple[str, str]:
    """Return what two networks are called; two versions of one by the file of their weights, else by their digest."""
    names = settings["model"], settings["compared"]
    if names[0] != names[1]:
        return names
    files = [FILE.match(settings[which]["weights"]) for which in ("about", "compared about")]
    if all(files) and files[0][1] != files[1][1]:  # type: ignore[index]
        return f"{names[0]} ({files[0][1]})", f"{names[1]} ({files[1][1]})"  # type: ignore[index]
    return tuple(f"{names[0]} ({settings[which][:8]})" for which in ("weights", "compared weights"))  # type: ignore[return-value]


def _explained(found: FolderProfile) -> str:
    settings = found.settings
    if settings["speaks_for"] is not None:
        return f"its one output, which speaks for {settings['speaks_for']} where it is positive"
    what = {"label": "the output of the folder's class", "predicted": "the predicted class"}
    return what[settings["target"]]


# --- accuracy -------------------------------------------------------------------------------------------------


def _print_accuracy(console: Console, confusion: Confusion | None) -> None:
    if confusion is None or not confusion.photos:
        console.print(UNKNOWN, soft_wrap=True)
        return
    right = int(confusion.counts.diag().sum())
    console.print(f"Accuracy: {confusion.accuracy:.1%} ({right} of {_photos(confusion.photos)})")
    table = confusion.to_dataframe()
    predicted = [name for name in table.columns if name.startswith("predicted ")]
    if right < confusion.photos and max(len(predicted), len(table)) <= WIDE:
        console.print()
        console.print(_square(table["label"].tolist(), predicted, table[predicted].to_numpy().tolist()))
    elif right < confusion.photos:
        console.print()
        console.print(_largest(confusion))


def _square(labels: Sequence[str], predicted: Sequence[str], rows: Sequence[Sequence[int]]) -> Table:
    """Lay out all counts of few classes; 0 as a dot."""
    table = new_table(["label \\ predicted"], [name.removeprefix("predicted ") for name in predicted])
    for label, row in zip(labels, rows, strict=True):
        table.add_row(label, *(str(count) if count else "." for count in row))
    return table


def _largest(confusion: Confusion) -> Table:
    """Lay out the largest confusions of many classes."""
    table = new_table(["label", "predicted instead"], ["photos"])
    every = confusion.largest(confusion.photos)
    for item in every[:ROWS]:
        table.add_row(item.label, item.predicted, str(item.photos))
    if rest := every[ROWS:]:
        table.add_row(_others(len(rest)), "", str(sum(item.photos for item in rest)))
    return table


# --- classes --------------------------------------------------------------------------------------------------


def _class_tables(found: FolderProfile, *, spread: bool) -> Iterator[Table]:
    """Yield the table of classes, and narrower ones with fewer numbers."""
    yield _class_table(found, ("color", "edge"), spread=spread)
    yield _class_table(found, ("color", "edge"), spread=False, shares=False)
    yield _class_table(found, ("color",), spread=False, shares=False)


def _class_table(found: FolderProfile, scores: Sequence[str], *, spread: bool, shares: bool = True) -> Table:
    """Lay out the color and the filter largest in size, of the classes with the most photos."""
    profile: ClassProfile = found.profile
    right = _accuracies(found)
    names = {"color": "top color", "edge": "top filter"}
    tops = [head for score in scores for head in (names[score], *(["share"] if shares else []))]
    table = new_table(["class"], ["photos", *(["accuracy"] if right else []), *tops])
    counts = profile.values()["count"]
    order = [place for place in descending(counts) if counts[place]]
    for place in order[:ROWS]:
        cells = []
        for score in scores:
            (top,) = profile.top(place, 1, score, by="size")
            cells.append(spaced(top.label) if score == "edge" else top.name)
            cells += [_spread(top.mean, top.std if spread else math.nan)] if shares else []
        share = [f"{right[place]:.1%}" if place in right else "-"] if right else []
        table.add_row(profile.class_names[place], str(int(counts[place])), *share, *cells)
    if rest := order[ROWS:]:
        table.add_row(_others(len(rest)), str(int(counts[rest].sum())))
    return table


def _accuracies(found: FolderProfile) -> dict[int, float]:
    """Return the accuracy of each row of the profile, if its rows are folders."""
    if found.confusion is None or found.settings["by"] != "label":
        return {}
    known = found.confusion.by_class()
    classes = found.settings["folders"]
    names = (classes[folder] for folder in found.profile.class_names)
    return {place: known[name][1] for place, name in enumerate(names) if name in known}


# --- shuffled, and compared -----------------------------------------------------------------------------------


def _print_permutation(console: Console, check: PermutationCheck) -> None:
    """Print what is lost with each part, colors first."""
    console.print(
        f"\nShuffled between {_photos(check.photos)}, with accuracy {check.accuracy:.1%} and mean output {check.output:.3f} before:",
        soft_wrap=True,
    )
    table = new_table(["shuffled", ""], ["loss in accuracy", "loss of output"])
    scores = list(dict.fromkeys(part.score for part in check.parts))
    for score in scores:
        for part in check.of(score):
            table.add_row(_kind(part), spaced(part.label), *_losses(part))
    console.print(table)


def _kind(part: Permuted | Difference) -> str:
    return "filter" if part.score == "edge" else part.score


def _losses(part: Permuted) -> tuple[str, str]:
    accuracy = f"{100 * part.accuracy:.1f}% ± {100 * part.accuracy_error:.1f}"
    return accuracy, _spread(part.output, part.output_error)


def _print_differences(console: Console, paired: PairedProfile, model: str, compared: str) -> None:
    """Print the largest differences of the shares, of all classes together and by class."""
    if paired.is_none:
        console.print(
            f"\nNo difference: {model} and {compared} have the same shares in every photo.", soft_wrap=True
        )
        return
    console.print(f"\n{model} minus {compared}, on the same photos, with intervals of 95 %:", soft_wrap=True)
    table = new_table(["class", "part"], ["first", "second", "difference", "from", "to"])
    scores = ["accuracy", "color", "order" if "order" in paired.parts else "edge"]
    every = [(place, item) for place in (None, *_seen(paired)) for item in _rows(paired, place, scores)]
    own = [pair for pair in every if pair[0] is None]
    others = sorted(
        (pair for pair in every if pair[0] is not None), key=lambda pair: -abs(pair[1].difference)
    )
    for place, item in [*own, *others[:ROWS]]:
        name = "all" if place is None else paired.class_names[place]
        numbers = (item.first, item.second, item.difference, item.low, item.high)
        table.add_row(name, spaced(item.label) or item.score, *map(_rounded, numbers))
    console.print(table)
    if rest := others[ROWS:]:
        console.print(f"{_others(len(rest))}, all smaller, are in differences.csv.")


def _seen(paired: PairedProfile) -> list[int]:
    places: list[int] = paired.moments[:, 0].nonzero()[:, 0].tolist()
    return places


def _rows(paired: PairedProfile, place: int | None, scores: Sequence[str]) -> list[Difference]:
    return [item for score in scores for item in paired.differences(place, score)]


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def _others(count: int) -> str:
    return "1 other" if count == 1 else f"{count} others"


def _spread(mean: float, std: float) -> str:
    return _rounded(mean) if math.isnan(std) else f"{_rounded(mean)} ± {std:.3f}"


def _rounded(number: float) -> str:
    """Return three digits, or a dash where there is no number, as for the interval of a single photo."""
    return "-" if math.isnan(number) else f"{round(number, 3) + 0.0:.3f}"  # rounded away: no minus
