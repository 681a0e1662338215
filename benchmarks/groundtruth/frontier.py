"""What traded against what in the former default, ``composite="calibrated"``: the weight of the gradient beside relevance, and where it is taken.

::

    python benchmarks/groundtruth/frontier.py --out docs/faithfulness.md     # some ten minutes

On networks of the gratings test with the seeds and architectures that methods are developed on, on fruits and digits that the
report does not take by default, and on 25 of its photos.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import write

import edgefilter as ef
from groundtruth.calibration import STEP, WEIGHT, calibrated, measure
from groundtruth.jobs import Settings
from groundtruth.measures import (
    Case,
    color_metrics,
    effects,
    filter_metrics,
    margin,
    mean,
    orientations,
    spearman,
)
from groundtruth.methods import filters_of
from groundtruth.networks import ARCHITECTURES, STEMS, TUNING_SEEDS, VARIANTS, trained
from groundtruth.photos import SETS
from groundtruth.report import markdown

STEPS = (0.1, STEP, 0.5, 0.75)
WEIGHTS = (0.0, 0.2, WEIGHT, 0.6, 0.8, 1.0)
METRICS = ("color_mass", "filter_hit", "filter_disc", "rho")
SILENCING = "silencing each pair"

PHOTOS, FIRST, SIZE = 25, 7, 128  # how many, from which on, in pixels
RANKS = "rho of filters"

Found = dict[str, dict[str, float]]


def scored(case: Case) -> Iterator[tuple[str, Tensor]]:
    """Yield the scores of pairs (N, C, K) by name: the truth of the rank correlation, then each setting's."""
    yield SILENCING, effects(case)["color_edge"].unflatten(1, case.responses.shape[1:3])
    attribution = ef.EdgeFilterAttribution(case.network, "epsilon_plus", start="contrast")
    relevance = attribution.explain(case.images, case.targets).response

    def explained(responses: Tensor) -> Tensor:
        return margin(case.tail(responses.flatten(1, 2)), case.targets)

    for step in STEPS:
        found = measure(explained, case.responses, case.base, step=step)
        for weight in WEIGHTS if step == STEP else (WEIGHT, 1.0):
            yield (
                f"gradient at {step}, weight {weight}",
                calibrated(relevance, found, weight=weight).sum((3, 4)),
            )


def job(architecture: str, seed: int) -> tuple[str, Found]:
    """Return the metrics of every setting on one network."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Setting forward, backward hooks")
    settings = Settings()
    network, samples, *_ = trained(
        "gratings", architecture, seed, settings.images, epochs=settings.epochs, training=settings.training
    )
    case = Case.of(network, samples.images, samples.labels)
    directions, truth = orientations(filters_of(network).bank), effects(case)["color_edge"]
    found: Found = {}
    for name, pairs in scored(case):
        values = color_metrics(pairs.sum(2), samples.color) | filter_metrics(
            pairs.sum(1), samples, directions
        )
        found[name] = values | {"rho": mean(spearman(pairs.flatten(1), truth))}
    return architecture, found


def photos_job(name: str, data: Path) -> tuple[str, Found]:
    """Return the rank correlation of filters with the effects of silencing them, on real images."""
    torch.set_num_threads(1)
    network, images = SETS[name](data, PHOTOS, SIZE, FIRST)
    network.requires_grad_(False)
    with torch.no_grad():
        case = Case.of(network, images, network(images).argmax(1))
    truth = effects(case)["edge"]
    return name, {setting: {RANKS: mean(spearman(pairs.sum(1), truth))} for setting, pairs in scored(case)}


def table(results: list[tuple[str, Found]], photos: list[tuple[str, Found]]) -> str:
    """Return the means over all networks, those of each architecture as hit / discrimination / rho, and the photos'."""
    groups: dict[str, list[Found]] = defaultdict(list)
    for architecture, found in results:
        groups[architecture].append(found)
    rows = []
    for name in results[0][1]:
        means = {
            key: {metric: mean([found[name][metric] for found in group]) for metric in METRICS}
            for key, group in (("all", [found for _, found in results]), *groups.items())
        }
        own = [" / ".join(f"{means[key][metric]:.2f}" for metric in METRICS[1:]) for key in groups]
        real = [f"{found[name][RANKS]:.2f}" for _, found in photos]
        rows.append([name, *(f"{means['all'][metric]:.2f}" for metric in METRICS), *real, *own])
    heads = ["scores", "color mass", "filter hit", "disc", "rho", *(f"{name}, {RANKS}" for name, _ in photos)]
    return markdown([*heads, *(f"{name}, {STEMS[name]} stem" for name in groups)], rows)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="Markdown page; the table goes between its marks")
    parser.add_argument("--seeds", type=int, default=4, help="how many of the tuning seeds")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(__file__).resolve().parents[3] / "shared" / "data",
        help="real images",
    )
    options = parser.parse_args()
    cases = list(product(ARCHITECTURES + VARIANTS, TUNING_SEEDS[: options.seeds]))
    sets = SETS if options.data.exists() else {}
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        photos = [pool.submit(photos_job, name, options.data) for name in sets]
        results = list(pool.map(job, *zip(*cases, strict=True)))
        text = table(results, [future.result() for future in photos])
    print(text)
    if options.out:
        write(options.out, "frontier", text)


if __name__ == "__main__":
    main()
