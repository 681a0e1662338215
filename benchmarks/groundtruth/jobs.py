"""The jobs: each trains or loads a network, asks every method and the reference, and leaves a file with what they said."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import edgefilter as ef

from .equivariance import gaps
from .measures import filter_gate, orientations, place_metrics, randomisation_metrics
from .methods import Scores, methods
from .networks import POOLED, VoidError, constant, redrawn, seed_of, trained
from .real import SETS
from .reference import filters_of, reference
from .variants import variants

PIECE = 50
LEVELS = ("color", "edge", "color_edge")

Found = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    images: int = 100
    pair_images: int = 40  # of them, those whose pairs are held against the reference
    orders: int = 64  # of the players, where not all sets are played
    training: int = 3000
    epochs: int = 10
    redrawn_images: int = 40
    exact_images: int = 4

    @classmethod
    def quick(cls) -> Settings:
        """Return settings that show that everything runs."""
        return cls(images=12, pair_images=4, orders=8, redrawn_images=4, exact_images=2)


def asked(network: nn.Module, images: Tensor, targets: Tensor, levels: dict[str, int], orders: int) -> Found:
    """Return what the reference, the methods and the variants say about some levels of the first so many images."""
    bank, found = filters_of(network).bank, {"reference": {}, "methods": {}, "variants": {}}
    for level, count in levels.items():
        references = [
            reference(network, some, goals, level, orders)._asdict()
            for some, goals in pieces(images[:count], targets[:count])
        ]
        found["reference"][level] = joined(references)
    for kind, each in (
        ("methods", said(network, images, targets)),
        ("variants", varied(network, images, targets)),
    ):
        for name, scores in each.items():
            by_level = {level: scores.level(bank, level) for level in levels}
            found[kind][name] = {
                level: values[: levels[level]].float()
                for level, values in by_level.items()
                if values is not None
            }
    return found


def said(network: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Scores]:
    """Return what every method says; those that refuse the network are left out."""
    found = {
        name: _asked(name, method.explain, network, images, targets) for name, method in methods().items()
    }
    return {name: scores for name, scores in found.items() if scores is not None}


def _asked(
    name: str, explain: Callable[..., Scores], network: nn.Module, images: Tensor, targets: Tensor
) -> Scores | None:
    try:
        return in_pieces(explain, network, images, targets)
    except (RuntimeError, AssertionError, ValueError) as failure:
        print(f"{name}: {str(failure).splitlines()[0]}", flush=True)
        return None


def varied(network: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Scores]:
    """Return what every variant of the default says; none for one color, which has no game of colors."""
    if images.shape[1] == 1:
        return {}
    each = [variants(network, *piece) for piece in pieces(images, targets)]
    return {name: Scores(torch.cat([one[name] for one in each])) for name in each[0]}


def pieces(images: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return some images at a time."""
    return list(zip(images.split(PIECE), targets.split(PIECE), strict=True))


def in_pieces(explain: Callable[..., Scores], network: nn.Module, images: Tensor, targets: Tensor) -> Scores:
    """Explain some images at a time and join the scores."""
    columns = zip(*(explain(network, *piece) for piece in pieces(images, targets)), strict=True)
    return Scores(*(None if column[0] is None else torch.cat(column) for column in columns))


def joined(references: list[Found]) -> Found:
    """Join the references of some pieces."""
    return {
        "shapley": torch.cat([one["shapley"] for one in references]),
        "halves": [torch.cat(half) for half in zip(*(one["halves"] for one in references), strict=True)],
        "effects": torch.cat([one["effects"] for one in references]),
    }


def gratings_job(architecture: str, seed: int, settings: Settings) -> Found:
    """Ask about colors, filters and pairs on gratings; say whether the reference names the filter."""
    found = trained(
        "gratings", architecture, seed, settings.images, epochs=settings.epochs, training=settings.training
    )
    network, samples = found.network, found.samples
    levels = {"color": settings.images, "edge": settings.images, "color_edge": settings.pair_images}
    result = asked(network, samples.images, samples.labels, levels, settings.orders)
    directions = orientations(filters_of(network).bank)
    exact = copy.deepcopy(network).double()
    some = (samples.images[: settings.exact_images].double(), samples.labels[: settings.exact_images])
    result["gaps"] = {
        name: gaps(method.explain, exact, *some)
        for name, method in methods().items()
        if architecture in POOLED and not method.slow and not method.only_places
    }
    named = filter_gate(result["reference"]["edge"]["shapley"], samples.labels, directions)
    known = {
        "color": samples.color,
        "parts": samples.parts,
        "labels": samples.labels,
        "directions": directions,
    }
    return {**result, **known, "named": named, "gate": found.gate._asdict(), "void": found.void}


def stamps_job(architecture: str, seed: int, settings: Settings) -> Found:
    """Ask about places on stamps, and what is left of the maps without the training."""
    found = trained(
        "stamps", architecture, seed, settings.images, epochs=settings.epochs, training=settings.training
    )
    network, samples = found.network, found.samples
    other, flat = redrawn(network, seed_of(seed, "stamps", "test")), constant(network)
    count, values = settings.redrawn_images, {}
    some = (samples.images[:count], samples.labels[:count])
    for name, method in methods().items():
        if name.startswith(NO_PLACES):
            continue
        maps = in_pieces(method.explain, network, samples.images, samples.labels).places
        values[name] = place_metrics(maps, samples)
        if not method.slow:
            after, rest = (method.explain(changed, *some).places for changed in (other, flat))
            values[name] |= randomisation_metrics(maps[:count], after, some[0])
            values[name]["constant"] = float(rest.abs().max() / maps.abs().max())
    return {"places": values, "gate": found.gate._asdict(), "void": found.void}


NO_PLACES = ("Captum KernelShap", "channel occlusion", "leave-one-out", "first and last")
NETWORK_JOBS = {"gratings": gratings_job, "stamps": stamps_job}


def network_job(test: str, architecture: str, seed: int, settings: Settings) -> Found:
    """Run the job of one network; what failed its gate says why."""
    _prepare(seed)
    try:
        return NETWORK_JOBS[test](architecture, seed, settings)
    except VoidError as failure:
        return {"void": failure.void}


def real_job(name: str, data: Path, count: int, number: int, settings: Settings) -> Found:
    """Ask about a piece of the images of a real network; the targets are its predictions."""
    _prepare(number)
    chosen = SETS[name]
    network, images = chosen.load(data, count)
    network.requires_grad_(False)
    images = images[number :: -(-len(images) // chosen.piece)]  # each piece has some of all kinds
    with torch.no_grad():
        targets = torch.cat([network(some).argmax(1) for some in images.split(PIECE)])
    levels = dict.fromkeys(chosen.levels, len(images))
    if chosen.pairs_every:
        levels["color_edge"] = -(-len(images) // chosen.pairs_every)
    return asked(network, images, targets, levels, settings.orders)


def _prepare(seed: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    warnings.filterwarnings("ignore", message="Setting forward, backward hooks|shares of opposite sign")
    warnings.filterwarnings("ignore", message="color scores should come from rules of one sign")


LATER = ("run.py", "report.py", "tables.py", "cost.py")  # no part of what the jobs leave


@cache
def sources() -> str:
    """Return a fingerprint of what measures and of what is measured."""
    here = [path for path in Path(__file__).parent.glob("*.py") if path.name not in LATER]
    files = sorted([*here, *Path(ef.__file__).parent.rglob("*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def resumed(path: Path, settings: Found, work: Callable[[], Found]) -> Found:
    """Return what a file holds if the same sources wrote it with the same settings; else do the work and write it."""
    known = {**settings, "sources": sources()}
    if path.exists():
        before: Found = torch.load(path, weights_only=True)
        if before["known"] == known:
            return before
    found = {"known": known, **work()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(found, path)
    return found
