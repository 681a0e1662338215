"""Measure what a class profile costs: images per second beside the gradient pass, memory and time over many images.

Two parts, both in one run::

    python benchmarks/profile_speed.py --out docs/howto/profile.md

*Share*: forward and backward pass to the input of the ordinary network ("gradient"), explain() and
ClassProfile.update() take turns on the same batch, A B C A B C ...; given are medians over the turns of ratios formed
within each turn. Weights are PyTorch's initialisation, images noise.

*Size*: profile_folder() on folders of 1,000 and of 10,000 PNG files of 32 x 32 pixels with a small network, each in a fresh
process: time per image over the first and the last 1,000, and the peak of the resident memory after 1,000 and after all.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torchvision
from pages import write
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional as F

import edgefilter as ef
from edgefilter.classifiers import Classifier
from edgefilter.profiles import profile_folder

CLASSES, BATCH = 10, 20
SIZE_HEADS = ["images", "ms per image, first 1,000", "last 1,000", "with start and picture"]
SIZE_HEADS += ["peak MiB after 1,000", "after all"]


def seconds(call: object) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def share(name: str, batch: int, turns: int) -> list[str]:
    """Return a table's row: images per second as shares of the gradient pass's."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval().requires_grad_(False)
    attribution = ef.EdgeFilterAttribution(network)
    images, target = torch.randn(batch, 3, 224, 224), torch.arange(batch)
    explanation = attribution.explain(images, target)
    profile = ef.ClassProfile(1000, explanation.colors, explanation.filters)

    def gradient() -> Tensor:
        leaf = images.clone().requires_grad_()
        output = network(leaf).gather(1, target[:, None]).sum()
        return torch.autograd.grad(output, leaf)[0]

    gradient()
    profile.update(explanation, target)
    units, ratios = [], {"explain": [], "update": [], "both": []}
    for _ in range(turns):
        unit = seconds(gradient)
        explain = seconds(lambda: attribution.explain(images, target))
        update = seconds(lambda: profile.update(explanation, target))
        units.append(unit)
        for key, value in zip(ratios, (explain, update, explain + update), strict=True):
            ratios[key].append(value / unit)
    middle = {key: statistics.median(values) for key, values in ratios.items()}
    rate = batch / statistics.median(units)
    cells = (
        f"{rate:.1f}",
        f"{1 / middle['explain']:.2f}",
        f"{1 / middle['both']:.2f}",
        f"{middle['update']:.3f}",
    )
    return [name, str(batch), *cells]


def preprocess(photo: Image.Image) -> Tensor:
    return F.to_tensor(photo)[None]


def small_network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, CLASSES)).eval()


def resident() -> float:
    """Return the peak of the resident memory of this program so far, in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def profile_once(folder: str, out: str) -> list[float]:
    """Profile a folder; return ms per image over the first and the last 1,000, all in all, and peaks of memory."""
    torch.set_num_threads(1)
    classifier = Classifier(small_network(), tuple(f"c{i}" for i in range(CLASSES)), preprocess, name="small")
    update = ef.ClassProfile.update
    times, peaks = [], []

    def watched(self: ef.ClassProfile, explanation: ef.Explanation, labels: Tensor) -> None:
        update(self, explanation, labels)
        times.append(time.perf_counter())
        peaks.append(resident())

    ef.ClassProfile.update = watched
    start = time.perf_counter()
    found = profile_folder(folder, classifier, out, permutations=0, batch_size=BATCH, progress=False)
    spent = time.perf_counter() - start
    part = 1000 // BATCH
    first, last = times[part - 1] - times[0], times[-1] - times[-part]
    per_image = [value / (BATCH * (part - 1)) * 1000 for value in (first, last)]
    return [*per_image, spent / found.settings["counted"] * 1000, peaks[part - 1], peaks[-1]]


def size(counts: list[int]) -> list[list[str]]:
    """Return the rows of a table: time per image and memory by the number of images."""
    random, rows = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as place:
        for count in counts:
            folder = Path(place) / str(count)
            for index in range(count):
                path = folder / f"c{index % CLASSES}" / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                found = pool.submit(profile_once, str(folder), f"{place}/out{count}").result()
            *costs, early, late = found
            rows.append([f"{count:,}", *(f"{cost:.2f}" for cost in costs), f"{early:.0f}", f"{late:.0f}"])
    return rows


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet50", "mobilenet_v2"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--counts", nargs="+", type=int, default=[1000, 10000], help="images in the folders")
    parser.add_argument(
        "--out", type=Path, help="Markdown file; tables go between their marks where it has them"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shares = [share(name, arguments.batch, arguments.turns) for name in arguments.models]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "torchmetrics"))
    heads = [
        "network",
        "batch",
        "gradient, images/s",
        "explain, share",
        "explain and update, share",
        "update, passes",
    ]
    parts = [
        f"Made by `python benchmarks/profile_speed.py` on one thread ({platform.machine()}, {versions}).",
        table(heads, shares),
        table(SIZE_HEADS, size(arguments.counts)),
    ]
    text = "\n\n".join(parts)
    print(text)
    if arguments.out:
        write(arguments.out, "speed", text)


if __name__ == "__main__":
    main()
