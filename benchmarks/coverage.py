"""Compare edgefilter with Zennit alone and with Captum's LRP on the classifiers of torchvision.

Writes a Markdown table; this made the page of the documentation::

    OMP_NUM_THREADS=1 python benchmarks/coverage.py --out docs/coverage.md

Weights are PyTorch's initialisation (no download), with the statistics of BatchNorm taken from the images, which are
noise, in float64; the explained output is the largest. Two numbers per library:

conserved
    relevance at the pixels divided by the explained output, with z+ on convolutions, epsilon on linear layers and no
    share for biases; of the image where it is furthest from 1.
correlation
    of the pixel map with the oracle, input times gradient of the network with its non-linearities frozen
    (tests/epsilon_oracle.py), with the epsilon rule on every layer; of the image where it is smallest.

Zennit alone gets the canonizer that it offers for the family, Captum and Zennit get a copy of the model without
in-place activations, and Captum its own default rules for what is neither a convolution nor a linear layer.
"""

from __future__ import annotations

import argparse
import copy
import gc
import math
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
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
HEADER = (
    "| model | edgefilter: conserved | correlation | Zennit: conserved | correlation "
    "| Captum: conserved | correlation |\n| --- | --- | --- | --- | --- | --- | --- |"
)


class Case(NamedTuple):
    """A model, its images and what is explained."""

    name: str
    model: nn.Module
    images: Tensor
    target: Tensor


class Cell(NamedTuple):
    """What a library gave, or the class of its error."""

    conserved: float = math.nan
    correlation: float = math.nan
    error: str = ""

    def __str__(self) -> str:
        return f"{self.error} | -" if self.error else f"{_short(self.conserved)} | {_short(self.correlation)}"

    @property
    def right(self) -> bool:
        """Whether both numbers are as they should be."""
        return abs(self.conserved - 1) < 0.01 and self.correlation > 0.99


def _short(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.1e}"


def make(name: str) -> Case:
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


def ours(case: Case) -> tuple[Tensor, Tensor]:
    model = ef.replace_stem(case.model)
    maps = [
        ef.EdgeFilterAttribution(model, rules).attribute(case.images, case.target)
        for rules in ("epsilon_plus", "epsilon")
    ]
    return maps[0], maps[1]


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


def page(rows: dict[str, tuple[Cell, Cell, Cell]], seconds: float) -> str:
    """Return the table and what it says in one line a library."""
    summary = [
        f"- **{library}** runs on {sum(not row[i].error for row in rows.values())} of {len(rows)}; conserved within "
        f"1 % and correlated above 0.99 on {sum(row[i].right for row in rows.values())}."
        for i, library in enumerate(("edgefilter", "Zennit alone", "Captum's LRP"))
    ]
    table = [HEADER, *(f"| {name} | {' | '.join(map(str, cells))} |" for name, cells in sorted(rows.items()))]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "zennit", "captum"))
    parts = (
        "# Coverage: the classifiers of torchvision",
        GENERATED.format(minutes=seconds / 60, versions=versions),
        INTRODUCTION,
        "\n".join(summary),
        "\n".join(table),
    )
    return "\n\n".join(parts) + "\n"


GENERATED = (
    "Generated by `OMP_NUM_THREADS=1 python benchmarks/coverage.py --out docs/coverage.md` in {minutes:.0f} minutes "
    "({versions}). Do not edit."
)
INTRODUCTION = """\
Random weights, BatchNorm statistics taken from the images (noise), float64, images of 64 x 64 pixels or the smallest
that the model takes (regnet_y_128gf and vit_h_14: float32). *Conserved*: relevance at the pixels divided by the explained
output, with z+ on convolutions, epsilon on linear layers and no share for biases; 1 is right. *Correlation* of the pixel
map with the oracle, input times gradient of the network with its activations, gates, attention weights and normalisation
statistics frozen, with the epsilon rule on every layer; 1 is right, and a map can be conserved and yet be wrong. The worse
of two images is given. Zennit has the canonizer it offers for the family (VGG, ResNet, else SequentialMergeBatchNorm).
Captum's z+ rule (Alpha1_Beta0) is made for inputs that are not negative and loses relevance at the first layer. A name
ending in "Error" is what was raised."""


def main() -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="*", default=names, help="names of torchvision.models; default: all"
    )
    parser.add_argument("--out", type=Path, help="file to write, kept up to date row by row")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: dict[str, tuple[Cell, Cell, Cell]] = {}
    begin = time.perf_counter()
    for name in sorted(arguments.models, key=lambda name: name in GIANTS):
        before = time.perf_counter()
        case = make(name)
        oracle = oracle_of(case)
        rows[name] = (cell(ours, case, oracle), cell(zennit, case, oracle), cell(captum, case, oracle))
        seconds = time.perf_counter() - before
        print(f"| {name} | {' | '.join(map(str, rows[name]))} | {seconds:.1f} s", flush=True)
        if arguments.out:
            arguments.out.write_text(page(rows, time.perf_counter() - begin), encoding="utf-8")
        del case, oracle
        gc.collect()
    print(page(rows, time.perf_counter() - begin))


if __name__ == "__main__":
    main()
