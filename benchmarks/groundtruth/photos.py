"""Real images and trained networks: scores against the effects of silencing, and curves of deletion."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import edgefilter as ef
from edgefilter.classifiers import load_classifier

from .jobs import REFERENCE, resumed
from .measures import LEVELS, Case, deletion_area, effects, random_area, spearman
from .methods import Scores, methods

PIECE = 10

Loaded = tuple[nn.Module, Tensor]


def zipped(path: Path, count: int, first: int, part: str = "") -> list[Image.Image]:
    """Return photos of a zip that are evenly spread over its names, from the first one on."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(part) and name.endswith(".jpg"))
        chosen = names[first :: max(len(names) // count, 1)][:count]
        return [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in chosen]


def lite0(data: Path, count: int, size: int, first: int = 0) -> Loaded:
    """Return EfficientNet-Lite0 with an exact stem, and photos of ImageNet."""
    classifier = load_classifier("efficientnet_lite0")
    photos = [classifier.preprocess(photo) for photo in zipped(data / "imagenet200.zip", count, first)]
    smaller = F.interpolate(torch.cat(photos), size=(size, size), mode="bilinear", antialias=True)
    return ef.replace_stem(classifier.model.eval()), smaller


def fruits(data: Path, count: int, _: int, first: int = 0) -> Loaded:
    """Return the network for fruits, and test images of Fruits-360."""
    network = ef.models.load("fruits")
    photos = zipped(data / "fruits24_jpg.zip", count, first, "test/")
    return network, torch.cat([network.preprocess(photo) for photo in photos])


def digits(data: Path, count: int, _: int, first: int = 0) -> Loaded:
    """Return the network for digits, and test images of MNIST."""
    network = ef.models.load("digits")
    with np.load(data / "mnist.npz") as file:
        photos = [Image.fromarray(image) for image in file["x_test"][first * count :][:count]]
    return network, torch.cat([network.preprocess(photo) for photo in photos])


SETS: dict[str, Callable[[Path, int, int], Loaded]] = {"lite0": lite0, "fruits": fruits, "digits": digits}
COUNTS = {"lite0": 200, "fruits": 50, "digits": 50}


def said(case: Case, losses: dict[str, Tensor]) -> dict[str, Scores]:
    """Return what each method says about colors or filters; the slow ones are left out, and those that refuse."""
    cells = losses["color_edge"].unflatten(1, case.responses.shape[1:3])[..., None, None]
    found = {REFERENCE: Scores(cells)}
    for name, method in methods().items():
        if method.slow:
            continue
        try:
            scores = method.explain(case.network, case.images, case.targets)
        except (RuntimeError, AssertionError) as failure:
            warnings.warn(f"{name}: {str(failure).splitlines()[0]}", stacklevel=2)
            continue
        if scores.level("color") is not None:
            found[name] = scores
    return found


def per_image(case: Case, seed: int) -> dict[str, dict[str, Tensor]]:
    """Return for each method its rank correlations and areas below deletion curves, a value for each image."""
    losses, found = effects(case), {}
    random = {level: random_area(case, level, seed) for level in LEVELS if losses[level].shape[1] > 1}
    for name, scores in said(case, losses).items():
        values = {"base": case.base.double()}
        for level in (level for level in random if scores.level(level) is not None):
            values[f"rho_{level}"] = spearman(scores.level(level), losses[level])
            values[f"saved_{level}"] = random[level] - deletion_area(case, level, scores.level(level))
        found[name] = values
    return found


def summary(pieces: list[dict[str, Tensor]]) -> dict[str, list[float]]:
    """Join the values of a method; return for each metric the mean and half of its 95 % interval over images."""
    joined = {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}
    base, found = joined.pop("base").mean(), {}
    for key, values in joined.items():
        unit = values / base if key.startswith("saved") else values
        half = 1.96 * unit.std() / math.sqrt(len(unit)) if len(unit) > 1 else torch.tensor(math.nan)
        found[key.replace("saved", "deletion")] = [float(unit.mean()), float(half)]
    return found


def photos_job(name: str, data: Path, count: int, size: int) -> dict[str, Any]:
    """Return the records of one network and its images; targets are its predictions."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", message="Setting forward, backward hooks")
    network, images = SETS[name](data, count, size)
    network.requires_grad_(False)
    found: dict[str, list[dict[str, Tensor]]] = {}
    for number, piece in enumerate(images.split(PIECE)):
        with torch.no_grad():
            targets = network(piece).argmax(1)
        for method, values in per_image(Case.of(network, piece, targets), number).items():
            found.setdefault(method, []).append(values)
    records = [
        {"test": name, "method": method, "values": summary(pieces)} for method, pieces in found.items()
    ]
    return {"records": records, "count": len(images)}


def run_photos(folder: Path, name: str, data: Path, count: int, size: int) -> dict[str, Any]:
    """Run one job, or read what it wrote before."""
    settings = {"count": count, "size": size}
    return resumed(folder / f"{name}.json", settings, lambda: photos_job(name, data, count, size))
