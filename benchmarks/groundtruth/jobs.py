"""One job: train the networks of an architecture and a seed, explain them with every method, and measure."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import edgefilter as ef

from .data import Samples
from .equivariance import gaps
from .measures import (
    LEVELS,
    Case,
    color_metrics,
    deletion_area,
    effects,
    filter_metrics,
    mean,
    orientations,
    place_metrics,
    random_area,
    randomisation_metrics,
    spearman,
)
from .methods import Scores, filters_of, in_pieces, methods
from .networks import VoidError, constant, redrawn, seed_of, trained

REFERENCE = "silencing each map (reference)"
PIECE = 60

Record = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    images: int = 120
    training: int = 3000
    epochs: int = 10
    redrawn_images: int = 40
    exact_images: int = 4

    @classmethod
    def quick(cls) -> Settings:
        """Return settings that show that everything runs."""
        return cls(images=12, redrawn_images=4, exact_images=2)


def networks_job(architecture: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Return the records of one architecture and seed, and the networks that failed their gate."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    warnings.filterwarnings("ignore", message="Setting forward, backward hooks")
    records: list[Record] = []
    void, gates = [], {}
    for test, measure in MEASURES.items():
        try:
            found = trained(
                test, architecture, seed, settings.images, epochs=settings.epochs, training=settings.training
            )
        except VoidError as failure:
            print(failure, flush=True)
            void += failure.void
            continue
        void += found.void
        gates[test] = found.gate._asdict()
        for method, values in measure(found.network, found.samples, seed, settings):
            records.append({"test": test, "method": method, "values": values})
    shared = {"architecture": architecture, "seed": seed}
    return {"records": [{**shared, **record} for record in records], "void": void, "gates": gates}


def cell_metrics(losses: dict[str, Tensor], scores: Scores) -> dict[str, float]:
    """Return the rank correlation with the effects of silencing the pairs of color and filter."""
    cells = scores.level("color_edge")
    return {} if cells is None else {"rho": mean(spearman(cells, losses["color_edge"]))}


def deletion_metrics(case: Case, random: dict[str, Tensor], scores: Scores) -> dict[str, float]:
    """Return how much less area is below the deletion curve than in random order, in units of the margin."""
    found = {}
    for level in LEVELS:
        values = scores.level(level)
        if values is not None:
            saved = random[level] - deletion_area(case, level, values)
            found[f"deletion_{level}"] = mean(saved) / mean(case.base)
    return found


def answers(network: nn.Module, samples: Samples) -> tuple[Case, dict[str, Tensor], dict[str, Scores]]:
    """Return the split network, the effects of silencing, and what each method says about colors or filters."""
    case = Case.of(network, samples.images, samples.labels)
    losses = effects(case)
    reference = losses["color_edge"].unflatten(1, case.responses.shape[1:3])[..., None, None]
    said = {REFERENCE: Scores(reference)}
    for name, method in methods().items():
        said[name] = in_pieces(method.explain, network, samples.images, samples.labels, PIECE)
    return case, losses, {name: scores for name, scores in said.items() if scores.level("color") is not None}


def measure_gratings(network: nn.Module, samples: Samples, seed: int, settings: Settings) -> Any:
    """Yield for each method what it finds of color and orientation, its ranks, deletion and equivariance."""
    case, losses, said = answers(network, samples)
    random = {level: random_area(case, level, seed) for level in LEVELS}
    directions = orientations(filters_of(network).bank)
    exact = copy.deepcopy(network).double()
    some = (samples.images[: settings.exact_images].double(), samples.labels[: settings.exact_images])
    for name, scores in said.items():
        values = color_metrics(scores.level("color"), samples.color) | cell_metrics(losses, scores)
        if scores.level("edge") is not None:
            values |= filter_metrics(scores.level("edge"), samples, directions)
        values |= deletion_metrics(case, random, scores)
        if name in methods() and not methods()[name].slow:
            values |= gaps(methods()[name].explain, exact, *some)
        yield name, values


def measure_shapes(network: nn.Module, samples: Samples, seed: int, settings: Settings) -> Any:  # noqa: ARG001
    """Yield for each method whether it finds the color of the shape that decides."""
    _, losses, said = answers(network, samples)
    for name, scores in said.items():
        yield name, color_metrics(scores.level("color"), samples.color) | cell_metrics(losses, scores)


def measure_stamps(network: nn.Module, samples: Samples, seed: int, settings: Settings) -> Any:
    """Yield for each method whether it finds the place that decides, and what is left without the training."""
    some = (samples.images[: settings.redrawn_images], samples.labels[: settings.redrawn_images])
    other, flat = redrawn(network, seed_of(seed, "stamps", "test")), constant(network)
    for name, method in methods().items():
        maps = in_pieces(method.explain, network, samples.images, samples.labels, PIECE).places()
        values = {
            f"{key}_{kind}": v for kind, m in maps.items() for key, v in place_metrics(m, samples).items()
        }
        if maps and not method.slow:
            known = first(maps)[: settings.redrawn_images]
            after, rest = (first(method.explain(changed, *some).places()) for changed in (other, flat))
            values |= randomisation_metrics(known, after, some[0])
            values["constant"] = float(rest.abs().max() / known.abs().max())
        if maps:
            yield name, values


def first(maps: dict[str, Tensor]) -> Tensor:
    """Return the map of pixels, for methods that have one."""
    return next(iter(maps.values()))


MEASURES = {"gratings": measure_gratings, "shapes": measure_shapes, "stamps": measure_stamps}


@cache
def sources() -> str:
    """Return a fingerprint of what measures and of what is measured."""
    here = [path for path in Path(__file__).parent.glob("*.py") if path.name not in ("run.py", "report.py")]
    files = sorted([*here, *Path(ef.__file__).parent.rglob("*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def resumed(path: Path, settings: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a file holds if the same sources wrote it with the same settings; else do the work and write it."""
    known = {**settings, "sources": sources()}
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["known"] == known:
            return before
    found = {"known": known, **work()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")
    return found


def run_networks(folder: Path, architecture: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Run one job, or read what it wrote before."""
    path = folder / f"{architecture}-{seed}.json"
    return resumed(path, asdict(settings), lambda: networks_job(architecture, seed, settings))
