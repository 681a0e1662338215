"""One method on one image of one network, or on one network with known answers: the records of the results file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from groundtruth.jobs import Settings
from torch import Tensor

from edgefilter.methods import area_under_perturbation_curve, average_total_variation

from .asking import asked, maps
from .curves import areas, ordered
from .known import answers
from .networks import Case, case

Record = dict[str, Any]


class Protocol(NamedTuple):
    """How finely is measured: steps of insertion and of deletion, and fills of each window of AUPC."""

    steps: int
    fills: int

    def key(self, name: str, *, full: bool) -> str:
        """Return the settings that a record holds: with others the method is asked anew."""
        perturbed = f"; {self.fills} fills" if full else ""
        return f"{asked()[name].settings}; {self.steps} steps{perturbed}"


class Piece(NamedTuple):
    """Some images of a network, by their numbers, each with the methods that are still to be asked.

    ``full`` are the images that AUPC is measured on as well, ``count`` how many images are loaded.
    """

    network: str
    missing: dict[int, list[str]]
    full: set[int]
    count: int


class Trial(NamedTuple):
    """A network to train, and the methods that are still to be asked about it."""

    name: str  # test/architecture/seed
    missing: list[str]


def known_key(name: str) -> str:
    """Return the settings in a record of known answers."""
    return asked()[name].settings if name in asked() else ""


def measured(piece: Piece | Trial, data: Path, protocol: Protocol, settings: Settings) -> list[Record]:
    """Do a piece of the work; return its records."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")
    if isinstance(piece, Trial):
        test, architecture, seed = piece.name.split("/")
        found = answers(test, architecture, int(seed), piece.missing, settings)
        return [
            {"network": piece.name, "image": 0, "method": name, "settings": known_key(name), **values}
            for name, values in found.items()
        ]
    loaded, records = case(piece.network, data, piece.count), []
    for number, names in piece.missing.items():
        full = number in piece.full
        for name in names:
            about = {"network": piece.network, "image": number, "method": name}
            about["settings"] = protocol.key(name, full=full)
            records.append({**about, **record(loaded, number, name, protocol, full=full)})
    return records


def record(loaded: Case, number: int, name: str, protocol: Protocol, *, full: bool) -> Record:
    """Measure a method on one image; what refuses the network says why."""
    image, target = loaded.images[number, None], loaded.targets[number, None]
    try:
        scores = maps(asked()[name], loaded.model, loaded.score, image, target)[0]
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as failure:
        return {"failure": f"{type(failure).__name__}: {str(failure).splitlines()[0]}"}
    found: Record = {"variation": float(average_total_variation(scores[None, None]))}
    signed = bool((scores < 0).any())
    for form, values in {"signed": scores, "absolute": scores.abs()}.items():
        if form == "signed" or signed:
            both = areas(loaded.score, image, int(target), ordered(values), protocol.steps)
        found |= {f"deletion {form}": both.deletion, f"insertion {form}": both.insertion}
    found |= {"plain": both.plain, "blurred": both.blurred, "zero": both.zero}
    if full:
        found["AUPC"] = perturbed(loaded, number, scores, protocol.fills)
    return found


def perturbed(loaded: Case, number: int, scores: Tensor, fills: int) -> float:
    """Return the area under SmoothTaylor's perturbation curve for a map (H, W); noise is of the range of all images."""
    found = area_under_perturbation_curve(
        loaded.score,
        loaded.images[number, None],
        scores[None, None],
        int(loaded.targets[number]),
        n_fills=fills,
        low=float(loaded.images.min()),
        high=float(loaded.images.max()),
    )
    return float(found)
