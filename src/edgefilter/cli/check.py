"""``edgefilter check``: which rule each operation of a network gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from .checks import (
    COMPLETE,
    FAILURE,
    STDOUT,
    USAGE,
    check_composite,
    check_new,
    check_writable,
    chosen_bank,
    shown_photo,
    stage,
    torch_device,
)
from .naming import ReadFiles
from .network import NETWORK, NetworkOptions, with_network
from .options import COMPOSITE, Bank, Device, Force, Photo, Quiet, Rules
from .printing import new_console, new_table, print_fitting, print_words
from .stopping import loading

if TYPE_CHECKING:
    from rich.console import Console

    from edgefilter.attribution.check import Report

__all__ = ["check"]

Numbers = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        help="Write the operations and the sums as JSON, of a network that is not supported too; - prints them and nothing else.",
    ),
]


@with_network
def check(
    image: Photo = None,
    network: NetworkOptions = NETWORK,
    composite: Rules = COMPOSITE,
    bank: Bank = COMPLETE,
    json_out: Numbers = None,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Say which rule each operation of a network gets, and how much relevance it hands on.

    The exit code is 1 if the network is not supported.
    """
    with loading():
        from edgefilter.attribution.check import check as check_model
        from edgefilter.classifiers.fingerprint import fingerprint_of

    with stage(USAGE):
        path = _json_file(json_out, [("image", image), *network.files], force)
        check_composite(composite)
        chosen = None if bank == COMPLETE else chosen_bank(bank)
        place = torch_device(device)
        classifier = network.load(quiet=quiet)
        photo = shown_photo(image, classifier.reader(network.bits))
    with stage(FAILURE if chosen is None else USAGE):
        inputs = classifier.preprocess(photo).to(place)
        report = check_model(classifier.model.to(place), inputs, composite=composite, bank=chosen)
    with stage(FAILURE):
        if json_out is not None:
            digest = fingerprint_of(classifier.model)
            about = {**classifier.about, "weights_digest": digest, "composite": composite, "bank": bank}
            _write({**report.to_dict(), "about": about}, path)
        if not report.supported:
            raise RuntimeError(str(report))
        console = new_console(quiet=quiet or json_out == STDOUT)
        print_fitting(console, _tables(report))
        _print_end(console, report, path)


def _json_file(given: str | None, read: list[tuple[str, Path | None]], force: bool) -> Path | None:
    """Return the file of the numbers, and raise if it cannot be written."""
    if given is None or given == STDOUT:
        return None
    path = Path(given)
    check_writable(path, "json")
    ReadFiles(read).check("json", path)
    check_new(path, "json", force)
    return path


def _write(content: dict[str, Any], path: Path | None) -> None:
    import json

    from edgefilter._files import replacing

    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if path is None:
        typer.echo(text, nl=False)
        return
    with replacing(path) as place:
        place.write_text(text, encoding="utf-8")


def _tables(report: Report) -> Iterator[Table]:
    """Lay out the operations, in narrower and narrower forms: numbers go before words."""
    for digits, received, kinds in ((6, True, True), (3, True, True), (3, False, True), (3, False, False)):
        words = ["operation", *(["kind"] if kinds else []), "rule"]
        table = new_table(words, [*(["received"] if received else []), "handed on"])
        for one in report.operations:
            cells = [one.name or report.model, *([one.kind] if kinds else []), one.rule]
            numbers = [*([one.received] if received else []), one.handed_on]
            table.add_row(*cells, *(f"{number:.{digits}g}" for number in numbers))
        yield table


def _print_end(console: Console, report: Report, path: Path | None) -> None:
    share = f"{report.conserved_share:.6%} of {report.explained:.6g}"
    print_words(console, f"{report.model}: {share} reached the filter bank.")
    if path is not None:
        console.print(f"Numbers: {path}", soft_wrap=True)
