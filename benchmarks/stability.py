"""Does a little noise in the image change the explanation? Writes ``docs/stability_table.md``.

    python benchmarks/stability.py --data ../shared/data --out docs/stability_table.md

Networks with several linear layers are trained here with fixed seeds; their test images are explained, then explained again with
uniform noise of 2 % of the range of the images. The target is the class that the network says of the clean image.

    flipped        images of which a noisy map points the other way: a negative cosine with the map of the clean image
    change         the size of the difference of the first noisy map over the size of the clean one: median, 99th percentile
    sensitivity    the largest change over all noisy copies, mean over the images: Max-Sensitivity (Yeh et al., 2019)
    flipping       mean output, in parts of the clean one, while the pixels are taken away in the order of their scores, and its
                   difference from the shares without a floor, with the standard error over images: lower is better
    size           sum of the sizes of the pixel scores over the explained output without its base, 99th percentile

``--floors`` measures other floors of the rule in hidden linear layers and in sums. ``--data`` is a folder with ``mnist.npz``
and ``fruits24_jpg.zip``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from captum.attr import IntegratedGradients
from pages import write
from stability_networks import NETWORKS, Trained, trained
from torch import Tensor, nn
from torch.nn import functional as F
from zennit.attribution import Gradient
from zennit.composites import EpsilonPlus, LayerMapComposite
from zennit.rules import Pass, ZPlus
from zennit.types import Activation, Convolution, Linear

import edgefilter as ef
from edgefilter.lrp.bounded import FLOOR, SUM_FLOOR, BoundedEpsilon, BoundedNorm
from edgefilter.lrp.composites import NamedComposite
from edgefilter.lrp.conserving import ConservingEpsilon, ConservingNorm

NOISE, COPIES, STEPS, BATCH = 0.02, 3, 20, 200
FLOORS = ((0.002, 0.1), (0.01, 0.1), (0.03, 0.1), (0.005, 0.02), (0.005, 0.05), (0.005, 0.3))
Explain = Callable[[Tensor, Tensor], Tensor]


class Result(NamedTuple):
    """What was measured of one method; one number for each image."""

    flipped: Tensor
    change: Tensor
    sensitivity: Tensor
    flipping: Tensor
    size: Tensor


# Methods


def relevance(model: nn.Module, composite: NamedComposite | str | None) -> Explain:
    attribution = ef.EdgeFilterAttribution(model, composite)
    return lambda images, targets: attribution.attribute(images, targets, score="pixel")


def with_rules(linear: object, sums: object) -> NamedComposite:
    """Return the default composite with other rules for hidden linear layers and for sums."""
    changed = {BoundedEpsilon: linear, BoundedNorm: sums}
    layers = ef.get_composite("epsilon_plus").layer_map
    return NamedComposite(
        [(kinds, changed.get(type(hook), hook)) for kinds, hook in layers], "constant", conserves=True
    )


def integrated_gradients(model: nn.Module, nothing: float) -> Explain:
    method = IntegratedGradients(model)

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        baseline = torch.full_like(images, nothing)
        return method.attribute(images, baseline, targets, n_steps=16, internal_batch_size=BATCH).to(images)

    return explain


def of_zennit(model: nn.Module, composite: LayerMapComposite, classes: int) -> Explain:
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        with Gradient(model, composite) as attributor:
            return attributor(images, torch.eye(classes)[targets])[1]

    return explain


def methods(case: Trained, nothing: float, floors: bool) -> dict[str, Explain]:
    model, classes = case.model, len(case.model[-1].bias)
    plain = relevance(model, with_rules(ConservingEpsilon(), ConservingNorm()))
    found = {"without floors": plain, "**the default**": relevance(model, "epsilon_plus")}
    if floors:
        for linear, sums in FLOORS:
            rules = with_rules(BoundedEpsilon(linear), BoundedNorm(sums))
            found[f"floors of {linear} and {sums}"] = relevance(model, rules)
        return found
    zplus = LayerMapComposite([(Activation, Pass()), ((Convolution, Linear), ZPlus())])
    return found | {
        "`zplus`": relevance(model, "zplus"),
        "Zennit, z+": of_zennit(model, zplus, classes),
        "Zennit, EpsilonPlus": of_zennit(model, EpsilonPlus(), classes),
        "Integrated Gradients": integrated_gradients(model, nothing),
    }


# Measures


def in_batches(explain: Explain, images: Tensor, targets: Tensor) -> Tensor:
    return torch.cat(
        [explain(*part).detach() for part in zip(images.split(BATCH), targets.split(BATCH), strict=True)]
    )


@torch.no_grad()
def outputs(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return torch.cat([model(part) for part in images.split(BATCH)]).gather(1, targets[:, None])[:, 0]


def pixel_flipping(model: nn.Module, images: Tensor, targets: Tensor, maps: Tensor, nothing: float) -> Tensor:
    """Return the mean output while pixels are taken away, those with the largest scores first."""
    order = maps.sum(1).flatten(1).argsort(1, descending=True)
    kept = torch.ones_like(order, dtype=images.dtype)
    clean, found = outputs(model, images, targets), []
    for step in range(1, STEPS + 1):
        kept.scatter_(1, order[:, : order.shape[1] * step // STEPS], 0)
        mask = kept.view(len(images), 1, *images.shape[2:])
        found.append(outputs(model, images * mask + nothing * (1 - mask), targets) / clean)
    return torch.stack(found).mean(0)


def measured(case: Trained, explain: Explain, nothing: float) -> Result:
    model, images = case.model, case.images
    with torch.no_grad():
        targets = torch.cat([model(part) for part in images.split(BATCH)]).argmax(1)
    maps = in_batches(explain, images, targets)
    flat, width = maps.flatten(1), NOISE * (images.max() - images.min())
    generator = torch.Generator().manual_seed(1)
    cosines, changes = [], []
    for _ in range(COPIES):
        noise = width * (2 * torch.rand(images.shape, generator=generator) - 1)
        noisy = in_batches(explain, images + noise, targets).flatten(1)
        cosines.append(F.cosine_similarity(flat, noisy))
        changes.append((noisy - flat).norm(dim=1) / flat.norm(dim=1))
    explained = outputs(model, images, targets) - model[-1].bias[targets]
    return Result(
        torch.stack(cosines).amin(0) < 0,
        changes[0],
        torch.stack(changes).amax(0),
        pixel_flipping(model, images, targets, maps, nothing),
        flat.abs().sum(1) / explained.abs(),
    )


# The page


def row(name: str, found: Result, plain: Result) -> str:
    gain = found.flipping - plain.flipping
    error = float(gain.std()) / len(gain) ** 0.5
    difference = "" if found is plain else f" ({float(gain.mean()):+.3f} ± {error:.3f})"
    cells = [
        name,
        f"{int(found.flipped.sum())}",
        f"{float(found.change.median()):.2f}, {float(found.change.quantile(0.99)):.2f}",
        f"{float(found.sensitivity.mean()):.2f}",
        f"{float(found.flipping.mean()):.3f}{difference}",
        f"{float(found.size.quantile(0.99)):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


HEAD = """| | flipped | change: median, 99th percentile | Max-Sensitivity | pixel flipping | size, 99th percentile |
|---|---:|---:|---:|---:|---:|"""
WORDS = f"""Uniform noise of 2 % of the image's range changes the output of these networks by a few percent; so should it change the map. Hidden
linear layers and sums share values of both signs, which nearly cancel at times: without a floor, a share is then many times
what is shared, and the next image turns it around. The default composite divides by at least {FLOOR} (linear layers) and {SUM_FLOOR} (sums) of the
sizes that it shares, and by the unit's output with its bias, so that a share turns only where the unit is silent."""
EXPLAINED = """*Flipped*: maps of which one of three noisy copies points the other way (cosine below 0). *Change*: the difference from the clean map by
its size. *Max-Sensitivity*: the largest change of three copies, mean. *Pixel flipping*: mean output while pixels are taken
away in the order of their scores, in parts of the clean output, lower is better; in brackets the difference from shares without floors,
with its standard error over images. *Size*: sum of the sizes of the scores over the explained output."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, metavar="NAME", default=list(NETWORKS))
    parser.add_argument("--floors", action="store_true", help="other floors instead of other methods")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Markdown page; the table goes between its marks")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "relevance should stay of the size")  # the table says it
    begin, sections = time.process_time(), []
    for name in arguments.networks:
        case = trained(name, arguments.data, arguments.seed)
        nothing = (
            float(case.images.max()) if case.images.shape[1] == 3 else 0.0
        )  # photos on white, digits on black
        found = {
            label: measured(case, explain, nothing)
            for label, explain in methods(case, nothing, arguments.floors).items()
        }
        plain = found["without floors"]
        title = f"## {name[0].upper()}{name[1:]}\n\n{len(case.images)} test images, {100 * case.accuracy:.1f} % right on all.\n\n{HEAD}"
        sections.append("\n".join([title, *(row(label, one, plain) for label, one in found.items())]))
        print(sections[-1], flush=True)
    minutes = (time.process_time() - begin) / 60
    options = (" --floors" if arguments.floors else "") + (
        f" --seed {arguments.seed}" if arguments.seed else ""
    )
    note = f"Generated by `python benchmarks/stability.py{options}` in {minutes:.0f} minutes of processor time. Do not edit."
    if arguments.out:
        page = "\n\n".join(["# Stability", WORDS, note, EXPLAINED, *sections])
        write(arguments.out, "stability", page)


if __name__ == "__main__":
    main()
