"""Try edgefilter on the image classifiers of torchvision, timm and other libraries.

Writes a Markdown page; this made the page of the documentation::

    OMP_NUM_THREADS=1 python benchmarks/coverage.py --out docs/coverage.md

Results are kept beside the page in coverage.json, row by row: a run that was stopped goes on where it was, and
``--only NAME...`` does a few models anew. Libraries that are not installed are left out, with a note.

Weights are random (no download), in float64; the explained output is the largest. What is noted:

conserved
    relevance at the pixels divided by the explained output, with z+ on convolutions, epsilon on linear layers and no
    share for biases; of the image where it is furthest from 1.
error
    of the pixel map against the oracle, input times gradient of the network with its non-linearities frozen
    (tests/epsilon_oracle.py), with the epsilon rule on every layer: the largest difference by the largest value.
correlation
    the same as a correlation, for torchvision, where Zennit and Captum are tried beside it.

Zennit alone gets the canonizer that it offers for the family, Captum and Zennit get a copy of the model without
in-place activations, and Captum its own default rules for what is neither a convolution nor a linear layer.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import math
import re
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
from coverage_cases import OTHERS, TIMM, Made, make_other, make_timm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import EpsilonPlus, LayerMapComposite, layer_map_base
from zennit.core import Composite
from zennit.rules import Epsilon
from zennit.torchvision import ResNetCanonizer, VGGCanonizer
from zennit.types import Convolution

import edgefilter as ef

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from epsilon_oracle import input_times_gradient

EPSILON = 1e-12
SIZES = {"inception_v3": 96, "maxvit_t": 224, "vit_h_14": 56}
GIANTS = ("regnet_y_128gf", "vit_h_14")  # 650 million weights: in float32, one image
TORCHVISION = torchvision.models.list_models(module=torchvision.models)
NOTHING = 1e-300


class Case(NamedTuple):
    """A model, its images and what is explained."""

    name: str
    model: nn.Module
    images: Tensor
    target: Tensor


class Cell(NamedTuple):
    """What a library gave on a network of torchvision, or the class of its error."""

    conserved: float = math.nan
    correlation: float = math.nan
    error: str = ""

    def __str__(self) -> str:
        return f"{self.error} | -" if self.error else f"{_short(self.conserved)} | {_short(self.correlation)}"

    @property
    def right(self) -> bool:
        """Whether both numbers are as they should be."""
        return abs(self.conserved - 1) < 0.01 and self.correlation > 0.99


class Row(NamedTuple):
    """What edgefilter gave on a model of another library.

    Attributes
    ----------
    output : float
        Largest difference of the explained output from the model's own, by the largest output.
    conserved, error : float
    refused : str
        Why it was refused, or "".
    failed : str
        What else went wrong, or "".
    """

    output: float = math.nan
    conserved: float = math.nan
    error: float = math.nan
    refused: str = ""
    failed: str = ""

    @property
    def right(self) -> bool:
        """Whether all numbers are as they should be."""
        return self.output < 1e-9 and abs(self.conserved - 1) < 1e-3 and self.error < 1e-6

    def __str__(self) -> str:
        if self.refused or self.failed:
            return f"- | refused: {self.refused}" if self.refused else f"- | failed: {self.failed}"
        return f"{_short(self.conserved)} | {self.error:.1e}"


def _short(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.1e}"


# Models.


def make(name: str) -> Case:
    """Return a network of torchvision."""
    torch.manual_seed(0)
    options = {"init_weights": True, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    size = SIZES.get(name, 64)
    if name.startswith("vit"):
        options["image_size"] = size
    with torch.random.fork_rng():
        model = torchvision.models.get_model(name, weights=None, num_classes=10, **options)
    dtype = torch.float32 if name in GIANTS else torch.float64
    images = torch.randn(4, 3, size, size, dtype=dtype)
    model = model.to(dtype)
    settle(model, images)
    images = images[: 1 if name in GIANTS else 2]
    with torch.no_grad():
        return Case(name, model, images, model(images).argmax(1))


def make_from(name: str, maker: Callable[[str], Made]) -> Case:
    """Return a model of another library, with its constant parameters drawn anew: zeros and ones would hide faults."""
    torch.manual_seed(0)
    model, size, channels = maker(name)
    model = model.double()
    for parameter in model.parameters():
        flat = parameter.detach().flatten()
        if (flat == flat[0]).all():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    images = torch.randn(4, channels, size, size, dtype=torch.float64)
    settle(model, images)
    with torch.no_grad():
        return Case(name, model, images[:2], logits(model(images[:2])).argmax(1))


def logits(output: Any) -> Tensor:
    """Return the class scores of what a model returns."""
    return output if isinstance(output, Tensor) else output.logits  # type: ignore[no-any-return]


def settle(model: nn.Module, images: Tensor) -> None:
    """Let BatchNorm take its statistics from the images, and logits depend on them."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train().momentum = 1.0
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)
    with torch.no_grad():
        model(images)
    model.eval()


# edgefilter on a model of any library.


def tried_from(name: str, maker: Callable[[str], Made]) -> Row:
    """Make a model and try it."""
    try:
        case = make_from(name, maker)
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001
        return Row(failed=f"could not be made: {type(error).__name__}: {error}")
    return tried(case)


def tried(case: Case) -> Row:
    """Return how well edgefilter does; a refusal is a result too."""
    with torch.no_grad():
        outputs = logits(case.model(case.images))
    output = outputs.gather(1, case.target[:, None])[:, 0]
    try:
        explanation = ef.EdgeFilterAttribution(case.model, "epsilon_plus", calibrate=False).explain(
            case.images, case.target
        )
        found = ef.EdgeFilterAttribution(case.model, "epsilon", calibrate=False).attribute(
            case.images, case.target
        )
    except ef.UnsupportedModelError as error:
        return Row(refused=str(error))
    except Exception as error:  # noqa: BLE001
        return Row(failed=f"{type(error).__name__}: {error}")
    try:
        wanted, _ = input_times_gradient(case.model, case.images, case.target)
    except Exception as error:  # noqa: BLE001
        return Row(failed=f"oracle: {type(error).__name__}: {error}")
    shares = (explanation.pixel.flatten(1).sum(1) / (explanation.output - explanation.base)).tolist()
    return Row(
        output=float((explanation.output - output).abs().max() / outputs.abs().max()),
        conserved=max(shares, key=lambda share: abs(share - 1)),
        error=float((found - wanted).abs().max() / wanted.abs().max().clamp(min=NOTHING)),
    )


# Three libraries on a network of torchvision.


def ours(case: Case) -> tuple[Tensor, Tensor]:
    explanation = ef.EdgeFilterAttribution(case.model, "epsilon_plus", calibrate=False).explain(
        case.images, case.target
    )
    epsilon = ef.EdgeFilterAttribution(case.model, "epsilon", calibrate=False).attribute(
        case.images, case.target
    )
    carried = explanation.output - explanation.base  # the share of the output that scores are to add up to
    return explanation.pixel * (explanation.output / carried)[:, None, None, None], epsilon


def zennit(case: Case) -> tuple[Tensor, Tensor]:
    canonizer = SequentialMergeBatchNorm
    if case.name.startswith("vgg"):
        canonizer = VGGCanonizer
    if case.name.startswith(("resnet", "resnext", "wide_resnet")):
        canonizer = ResNetCanonizer
    plus = EpsilonPlus(EPSILON, EPSILON, zero_params=["bias"], canonizers=[canonizer()])
    layers = [(Convolution, Epsilon(EPSILON)), (nn.Linear, Epsilon(EPSILON))]
    epsilon = LayerMapComposite([*layer_map_base(EPSILON), *layers], canonizers=[canonizer()])
    return zennit_map(case, plus), zennit_map(case, epsilon)


def zennit_map(case: Case, composite: Composite) -> Tensor:
    leaf = case.images.clone().requires_grad_()
    with composite.context(plain_copy(case.model)) as model:
        output = model(leaf)
        start = torch.nn.functional.one_hot(case.target, output.shape[1]) * output.detach()
        (relevance,) = torch.autograd.grad(output, leaf, start)
    return relevance


def captum(case: Case) -> tuple[Tensor, Tensor]:
    maps = []
    for rule in (lambda: Alpha1_Beta0_Rule(set_bias_to_zero=True), lambda: EpsilonRule(EPSILON)):
        model = plain_copy(case.model)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.rule = rule()
            if isinstance(module, nn.Linear):
                module.rule = EpsilonRule(EPSILON)
        maps.append(LRP(model).attribute(case.images.clone(), case.target).detach())
    return maps[0], maps[1]


def plain_copy(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return model


def cell(library: Callable[[Case], tuple[Tensor, Tensor]], case: Case, oracle: Tensor) -> Cell:
    """Return how well a library did; failures are results too."""
    try:
        conserving, epsilon = library(case)
    except Exception as error:  # noqa: BLE001
        print(f"  {library.__name__}: {type(error).__name__}: {str(error)[:200]}", flush=True)
        return Cell(error=type(error).__name__)
    finally:
        gc.collect()
    with torch.no_grad():
        output = case.model(case.images).gather(1, case.target[:, None])[:, 0]
    shares = (conserving.flatten(1).sum(1) / output).tolist()
    correlations = [
        float(torch.corrcoef(torch.stack(pair))[0, 1])
        for pair in zip(epsilon.flatten(1), oracle.flatten(1), strict=True)
    ]
    return Cell(max(shares, key=lambda share: abs(share - 1)), min(correlations))


def oracle_of(case: Case) -> Tensor:
    maps = [
        input_times_gradient(case.model, image[None], int(target))[0]
        for image, target in zip(case.images, case.target, strict=True)
    ]
    return torch.cat(maps)


def compared(case: Case) -> tuple[Cell, Cell, Cell]:
    """Return what edgefilter, Zennit and Captum give."""
    oracle = oracle_of(case)
    return cell(ours, case, oracle), cell(zennit, case, oracle), cell(captum, case, oracle)


# The page.


class Results:
    """What was found so far, kept in a file so that a stopped run goes on.

    Parameters
    ----------
    path : Path or None
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        # "older": rows of an older run of edgefilter, which the page says
        self.found: dict[str, dict[str, Any]] = {"torchvision": {}, "timm": {}, "others": {}, "older": {}}
        self.seconds = 0.0
        if path is not None and path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            self.seconds = kept.pop("seconds")
            self.found |= kept

    def note(self, kind: str, name: str, result: Any, seconds: float) -> None:
        """Keep a result."""
        self.found[kind][name] = result
        self.found["older"].pop(f"{kind} {name}", None)
        self.seconds += seconds
        if self._path is not None:
            self._path.write_text(
                json.dumps(self.found | {"seconds": self.seconds}, indent=1) + "\n", encoding="utf-8"
            )

    def rows(self, kind: str) -> dict[str, Row]:
        """Return the results of one table of other libraries."""
        return {name: Row(*result) for name, result in self.found[kind].items()}

    def page(self) -> str:
        """Return the page in Markdown."""
        parts = [
            "# Coverage: models of torchvision, timm and other libraries",
            GENERATED.format(minutes=self.seconds / 60, versions=_versions()),
            INTRODUCTION,
        ]
        if self.found["timm"]:
            rows = self.rows("timm")
            parts += [
                "## timm",
                _summary(rows),
                *self._older("timm"),
                _table(rows, lambda name: TIMM[name], "family"),
            ]
        if self.found["others"]:
            rows = self.rows("others")
            parts += [
                "## Other libraries",
                _summary(rows),
                _table(rows, lambda name: OTHERS[name][0], "library"),
            ]
        if self.found["torchvision"]:
            parts += ["## torchvision, beside Zennit alone and Captum's LRP", COMPARISON, *self._comparison()]
        return "\n\n".join(parts) + "\n"

    def _older(self, kind: str) -> list[str]:
        """Say how many rows of a table are of an older run."""
        count = sum(name.startswith(f"{kind} ") for name in self.found["older"])
        return [OLDER.format(count=count)] if count else []

    def _comparison(self) -> list[str]:
        rows = {name: [Cell(*one) for one in cells] for name, cells in self.found["torchvision"].items()}
        summary = [
            f"- **{library}** runs on {sum(not row[i].error for row in rows.values())} of {len(rows)}; conserved within "
            f"1 % and correlated above 0.99 on {sum(row[i].right for row in rows.values())}."
            for i, library in enumerate(("edgefilter", "Zennit alone", "Captum's LRP"))
        ]
        table = [
            HEADER,
            *(f"| {name} | {' | '.join(map(str, cells))} |" for name, cells in sorted(rows.items())),
        ]
        return [*self._older("torchvision"), "\n".join(summary), "\n".join(table)]


def _summary(rows: dict[str, Row]) -> str:
    right, refused = sum(row.right for row in rows.values()), sum(bool(row.refused) for row in rows.values())
    other = len(rows) - right - refused
    return f"Right on {right} of {len(rows)}, refused by name on {refused}, wrong on {other}."


def _table(rows: dict[str, Row], family: Callable[[str], str], heading: str) -> str:
    lines = [f"| model | {heading} | conserved | error |", "| --- | --- | --- | --- |"]
    for name, row in rows.items():
        mark = "" if row.right or row.refused else " (wrong)"
        lines.append(f"| {name}{mark} | {family(name)} | {_short_reason(str(row))} |")
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _short_reason(text: str) -> str:
    """Return a message in one line, without the places after the first."""
    text = re.sub(r"(\w+ \(in '[^']*'\))(, \w+ \(in '[^']*'\))+", r"\1 and other places", _one_line(text))
    return text.partition(" Its scores would")[0]


def _versions() -> str:
    names = ["torch", "torchvision", "timm", "transformers", "segmentation_models_pytorch", "monai", "antialiased_cnns", "kornia",
             "zennit", "captum"]  # fmt: skip
    return ", ".join(map(_version, names))


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} not installed: left out"


HEADER = (
    "| model | edgefilter: conserved | correlation | Zennit: conserved | correlation "
    "| Captum: conserved | correlation |\n| --- | --- | --- | --- | --- | --- | --- |"
)
GENERATED = (
    "Generated by `OMP_NUM_THREADS=1 python benchmarks/coverage.py --out docs/coverage.md` in {minutes:.0f} minutes "
    "({versions}). Do not edit."
)
INTRODUCTION = """\
Random weights, BatchNorm statistics taken from the images (noise), float64, images of 64 x 64 pixels or the smallest
that the model takes (regnet_y_128gf and vit_h_14: float32). Parameters that are all alike (zeros, ones) are drawn anew
in timm and the other libraries, for they would hide faults. *Conserved*: relevance at the pixels divided by the explained
output, with z+ on convolutions, epsilon on linear layers and no share for biases; 1 is right. *Error* and *correlation* of
the pixel map against the oracle, input times gradient of the network with its activations, gates, attention weights and
deviations frozen, with the epsilon rule on every layer: a map can be conserved and yet be wrong. *Error* is the largest
difference by the largest value of the map; up to 1e-6 is right, and more is marked "wrong". The worse of two images is
given. "Refused": the message of the error that was raised instead of giving wrong scores."""
OLDER = (
    "What edgefilter gives on {count} of these is of an older run, with an engine before this one; the command without "
    "options makes these rows anew."
)
COMPARISON = """\
Zennit has the canonizer it offers for the family (VGG, ResNet, else SequentialMergeBatchNorm). Captum's z+ rule
(Alpha1_Beta0) is made for inputs that are not negative and loses relevance at the first layer. Correlation: 1 is right. A
name ending in "Error" is what was raised."""


# Running.


def jobs(names: list[str], limited: bool) -> list[tuple[str, str, Callable[[], Any]]]:
    """Return (table, model, what to run) for the names, or for all."""
    found: list[tuple[str, str, Callable[[], Any]]] = [
        ("timm", name, lambda name=name: tried_from(name, make_timm)) for name in TIMM
    ]
    found += [("others", name, lambda name=name: tried_from(name, make_other)) for name in OTHERS]
    found += [
        ("torchvision", name, lambda name=name: compared(make(name)))
        for name in sorted(TORCHVISION, key=lambda name: name in GIANTS)
    ]
    return [job for job in found if not limited or job[1] in names or job[0] in names]


def main() -> None:
    """Run what is not known yet, and write the page after each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="do these models, or tables (timm, others, torchvision), anew",
    )
    parser.add_argument("--out", type=Path, help="file to write, kept up to date row by row")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    results = Results(None if arguments.out is None else arguments.out.with_suffix(".json"))
    for kind, name, job in jobs(arguments.only or [], arguments.only is not None):
        if (
            arguments.only is None
            and name in results.found[kind]
            and f"{kind} {name}" not in results.found["older"]
        ):
            continue
        begin = time.perf_counter()
        try:
            result = job()
        except ImportError as error:
            print(f"{kind} {name}: left out: {error}", flush=True)
            continue
        seconds = time.perf_counter() - begin
        results.note(kind, name, result, seconds)
        shown = result if isinstance(result, Row) else " | ".join(map(str, result))
        print(
            f"{'' if kind == 'torchvision' or result.right else '! '}{name} | {_one_line(str(shown))} | {seconds:.1f} s",
            flush=True,
        )
        if arguments.out is not None:
            arguments.out.write_text(results.page(), encoding="utf-8")
        gc.collect()
    if arguments.out is None:
        print(results.page())


if __name__ == "__main__":
    main()
