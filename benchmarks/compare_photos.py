"""Put our attribution beside Captum's on photos, by the metrics of Captum and Quantus, and write docs/compare.md.

The photos are named ``<class index>_<anything>.jpg``, in a folder or a zip; every so many of them is taken. Each
method explains the class that EfficientNet-Lite0, with its ImageNet weights, predicts.
"""

from __future__ import annotations

import argparse
import math
import platform
import re
import tempfile
import time
import zipfile
from pathlib import Path

import pandas as pd
import torch
from pages import write

import edgefilter as ef
from edgefilter.classifiers import load_classifier
from edgefilter.evaluation import METHODS, METRICS, PART_COLUMNS
from edgefilter.photos import read_photo

BETTER = {key: value for metric in METRICS.values() for key, value in metric.better.items()} | PART_COLUMNS
ARROWS = {"high": "\N{UPWARDS ARROW}", "low": "\N{DOWNWARDS ARROW}"}


def photos(path: Path, scratch: Path, count: int) -> list[Path]:
    """Return so many photos, evenly taken."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(scratch)
        path = scratch
    found = sorted(path.rglob("*.jpg"))
    return [found[place * len(found) // count] for place in range(min(count, len(found)))]


def markdown(table: pd.DataFrame) -> str:
    """Lay out means with their standard errors; an arrow says which way is better."""
    names = [name for name in table.columns if not name.endswith("_se")]
    lines = [
        ["method", *(f"{name.replace('_', ' ')} {ARROWS[BETTER[name]]}" for name in names)],
        ["---", *["---:"] * len(names)],
    ]
    for method, row in table.iterrows():
        lines.append([str(method).replace("_", " "), *(cell(row[name], row[f"{name}_se"]) for name in names)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(mean: float, error: float) -> str:
    if math.isnan(mean):
        return "-"
    places = 2 if math.isnan(error) or error <= 0 else max(0, 1 - math.floor(math.log10(error)))
    return f"{mean:.{min(places, 3)}f} \N{PLUS-MINUS SIGN} {error:.{min(places, 3)}f}"


def command(arguments: argparse.Namespace) -> str:
    """Return the command without the places it reads from and writes to."""
    parts = ["python benchmarks/compare_photos.py PHOTOS"]
    for name in ("images", "methods", "metrics", "seed"):
        value = getattr(arguments, name)
        if value is not None:
            parts.append(f"--{name} {' '.join(value) if isinstance(value, list) else value}")
    return " ".join(parts)


def environment() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text() if cpuinfo.exists() else "")
    processor = model[1] if model else platform.processor()
    return f"{processor}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder or zip of <class index>_<name>.jpg")
    parser.add_argument("--images", type=int, default=20, help="how many photos; default: 20")
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="NAME", help="default: all")
    parser.add_argument("--metrics", nargs="+", choices=METRICS, metavar="NAME", help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Markdown page; the tables go between their marks")
    parser.add_argument("--save", type=Path, help="folder for CSV, JSON and the figure, which are replaced")
    arguments = parser.parse_args()
    network = load_classifier("efficientnet_lite0")
    with tempfile.TemporaryDirectory() as scratch:
        paths = photos(arguments.photos, Path(scratch), arguments.images)
        images = torch.cat([network.preprocess(read_photo(path)) for path in paths])
    labels = torch.tensor([int(path.name.split("_")[0]) for path in paths])
    begin = time.perf_counter()
    found = ef.compare(
        network.model, images, methods=arguments.methods, metrics=arguments.metrics, seed=arguments.seed
    )
    minutes = (time.perf_counter() - begin) / 60
    right = int((torch.tensor(found.targets) == labels).sum())
    print(found)
    print(f"{minutes:.1f} minutes; {right} of {len(paths)} photos are classified as labelled")
    if arguments.save:
        found.save(arguments.save, overwrite=True)
    if arguments.out:
        versions = ", ".join(f"{name} {number}" for name, number in found.settings["versions"].items())
        note = (
            f"Made by `{command(arguments)}` in {minutes:.0f} minutes ({environment()}; {versions}). {len(paths)} photos, of which "
            f"{right} are classified as labelled."
        )
        reasons = [f"- {f.method.replace('_', ' ')}: {f.reason}" for f in found.failures]
        missing = ["Not measured:\n\n" + "\n".join(reasons)] if reasons else []
        write(arguments.out, "pixels", "\n\n".join([note, markdown(found.pixel), *missing]))
        write(arguments.out, "parts", markdown(found.parts))
    if arguments.save:
        pictures = [network.to_picture(image[None]) for image in images]
        found.plot(pictures).savefig(arguments.save / "comparison.png")


if __name__ == "__main__":
    main()
