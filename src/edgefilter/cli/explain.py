"""``edgefilter explain``: explain one prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .checks import (
    COMPLETE,
    FAILURE,
    STDOUT,
    USAGE,
    check_composite,
    check_new,
    check_outputs,
    check_picture,
    chosen_against,
    chosen_bank,
    shown_photo,
    stage,
    torch_device,
)
from .options import (
    CALIBRATIONS,
    COMPOSITE,
    DEMO,
    Against,
    Bank,
    Bits,
    Calibration,
    Device,
    Force,
    Network,
    Photo,
    Quiet,
    Rules,
    ScoreTable,
    Target,
    Top,
    Weights,
)
from .printing import ROWS, new_console

if TYPE_CHECKING:
    from .answer import Answer, Files

__all__ = ["explain"]

Score = Annotated[
    list[ScoreTable] | None, typer.Option(help="Tables to print; may be repeated. Default: color and edge.")
]

Summary = Annotated[
    bool,
    typer.Option(
        "--summary",
        help="Say in a few sentences what the output came from and which scores to be careful with, in place of the tables; "
        "with --score, above them.",
    ),
]

Calibrate = Annotated[
    Calibration,
    typer.Option(
        help="What the scores are measured by: color, the exact game of the colors; color+order, that of groups of filters as "
        "well; none, relevance alone, which is quicker."
    ),
]

Out = Annotated[
    Path | None,
    typer.Option(
        help="The picture: .png, .pdf or .svg. Default: <image>_explanation.png here; --target adds the class "
        "index to the name; with --json - none."
    ),
]
Numbers = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        help="Write the numbers as JSON; - prints them and nothing else, and draws only with --out.",
    ),
]


def explain(
    image: Photo = None,
    model: Network = DEMO,
    weights: Weights = None,
    bits: Bits = None,
    target: Target = None,
    against: Against = None,
    top: Top = None,
    score: Score = None,
    summary: Summary = False,
    composite: Rules = COMPOSITE,
    calibrate: Calibrate = Calibration.color_order,
    bank: Bank = COMPLETE,
    out: Out = None,
    json_out: Numbers = None,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Explain one prediction: which color, which edge filter and which pixels carried it."""
    from edgefilter.attribution.attribution import EdgeFilterAttribution
    from edgefilter.classifiers.loading import load_classifier

    from .answer import as_json, find_answer
    from .tables import print_answer

    spinner = new_console(stderr=True, quiet=quiet)
    with stage(USAGE):
        check_outputs(out, json_out)
        check_composite(composite)
        chosen = None if bank == COMPLETE else chosen_bank(bank)
        place = torch_device(device)
        photo = shown_photo(image, bits)
        with spinner.status(f"Loading {model} ..."):
            classifier = load_classifier(model, weights, progress=not quiet)
        index = None if target is None else classifier.class_index(target)
        other = chosen_against(classifier, against)
        files = _files(image, index, out, json_out, force)
    with spinner.status("Explaining ..."), stage(FAILURE if chosen is None else USAGE):
        inputs = classifier.preprocess(photo).to(place)
        games: Any = CALIBRATIONS[calibrate.value]
        network = classifier.model.to(place)
        attribution = EdgeFilterAttribution(network, composite, bank=chosen, calibrate=games)
        answer = find_answer(classifier, attribution, inputs, index, other, top or ROWS)
    with stage(FAILURE):
        if files.picture:
            with spinner.status("Drawing ..."):
                _draw(answer, files.picture, top or 3)
        if json_out:
            _write_json(as_json(answer, image), files.numbers)
        console = new_console(quiet=quiet or json_out == STDOUT)
        print_answer(console, answer, files, score, top or ROWS, summary=summary)


def _files(
    image: Path | None, index: int | None, out: Path | None, json_out: str | None, force: bool
) -> Files:
    """Name the files to write, and raise before the work is done if one of them would be replaced."""
    from .answer import Files

    if out is None and json_out != STDOUT:
        end = "" if index is None else f"_{index}"
        out = Path(f"{'coffee' if image is None else image.stem}_explanation{end}.png")
        check_picture(out)
    numbers = Path(json_out) if json_out and json_out != STDOUT else None
    for path, argument in ((out, "out"), (numbers, "json")):
        if path is not None:
            check_new(path, argument, force)
    return Files(out, numbers)


def _draw(answer: Answer, out: Path, top: int) -> None:
    from .answer import conserved, explained_class, margin

    best, probability = explained_class(answer)
    name, output = answer.classifier.class_names[best], float(answer.explanation.output[0])
    other = margin(answer)
    share = conserved(answer.explanation)
    title = f"{name}: logit {output:.2f}, probability {probability:.1%}"
    if other is not None:
        title = f"{name} against {other}: logits differ by {output:.2f}"
    if answer.explanation.left_out:
        title += f", before the final {answer.explanation.left_out}"
    title += "" if share is None else f", relevance {share:.1%} conserved"
    picture = answer.classifier.to_picture(answer.inputs)
    figure = answer.explanation.plot(picture, top=top, title=title, bank=answer.bank)
    figure.savefig(out)


def _write_json(content: dict[str, Any], path: Path | None) -> None:
    """Write to a file, or without one to stdout."""
    text = json.dumps(content, indent=2, allow_nan=False)
    if path is None:
        typer.echo(text)
    else:
        path.write_text(text + "\n", encoding="utf-8")
