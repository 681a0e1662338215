"""Do class profiles say what the network goes by? Profiles of real classes, beside what silencing costs the network.

    python benchmarks/profile_evidence.py --data ../shared/data --out docs/howto/profile.md --profiles docs/_static

*Cherries*: the 24 classes of Fruits-360, test images, and the shipped network "fruits": shares by color, and what the class's
output loses when a color is silenced. *Digits*: the first test images of each digit of MNIST and the shipped network
"digits": the same by filter. Each under several relevance rules, with three questions that silencing answers:

    within     Is the order of the parts inside a class that of the drops? Mean rank correlation over the classes.
    between    Is the order of the classes in a part that of the drops? Mean rank correlation over the parts.
    pairs      Of all ordered pairs of classes: does silencing the parts that the first has more of, by the largest effects of
               contrast(), take a larger share of the output from the first than from the second? 50 % by chance.

Drops are in shares of the class's output. ``--data`` is a folder with ``fruits24_jpg.zip`` (``split/class/name.jpg``) and
``mnist.npz`` (``x_test``, ``y_test``). The tables show the classes named in the question; the numbers take all.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pages import write
from scipy.stats import spearmanr
from torch import Tensor, nn
from tqdm import tqdm

import edgefilter as ef
from edgefilter.classifiers import load_classifier
from edgefilter.photos import read_photo

SHOWN = "default"
RULES = (SHOWN, "epsilon_plus", "epsilon_alpha2_beta1", "epsilon")  # composites are relevance alone
CHERRIES = ("Cherry Wax Red", "Cherry Wax Yellow", "Cherry Wax Black")
DIGITS = ("1", "7", "0")
EACH = 50  # images of each digit


class Case(NamedTuple):
    """A network, the images of each of its classes, and which parts are asked about."""

    network: nn.Module
    names: Sequence[str]
    images: list[Tensor]
    score: str  # "color" or "edge"
    several: int  # parts that are silenced together for a pair of classes


class Silencer:
    """Silences parts and remembers what was found."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.attribution = ef.EdgeFilterAttribution(case.network)
        self.axis = "colors" if case.score == "color" else "filters"
        self.whole = [self.attribution.silence(x, label) for label, x in enumerate(case.images)]
        self.found: dict[tuple[int, tuple[str, ...]], float] = {}

    def drop(self, label: int, parts: Sequence[str]) -> float:
        """Return the share of a class's output that is lost, mean over its images."""
        key = label, tuple(sorted(parts))
        if key not in self.found:
            output = self.attribution.silence(self.case.images[label], label, **{self.axis: parts})
            self.found[key] = float(1 - output.mean() / self.whole[label].mean())
        return self.found[key]

    def recognised(self, label: int, parts: Sequence[str]) -> float:
        """Return the share of a class's images that are recognised with some parts silenced."""
        images = self.case.images[label]
        found = [
            self.attribution.silence(images, target, **{self.axis: parts})
            for target in range(len(self.case.names))
        ]
        return float((torch.stack(found, dim=1).argmax(1) == label).double().mean())


def profiled(case: Case, rules: str) -> ef.ClassProfile:
    own = {} if rules == SHOWN else {"composite": rules, "calibrate": False}
    attribution, profile = ef.EdgeFilterAttribution(case.network, **own), None
    for label, images in enumerate(case.images):
        explanation = attribution.explain(images, label)
        profile = profile or ef.ClassProfile(
            len(case.names), explanation.colors, explanation.filters, class_names=case.names,
            filter_labels=explanation.filter_labels,
        )  # fmt: skip
        profile.update(explanation, torch.full((len(images),), label))
    return profile


def agreement(profile: ef.ClassProfile, silencer: Silencer) -> list[str]:
    """Answer the three questions for one profile."""
    case = silencer.case
    parts = profile.colors if case.score == "color" else profile.filters
    shares = profile.values()[f"{case.score}_mean"].numpy()
    drops = np.array([[silencer.drop(label, [part]) for part in parts] for label in range(len(case.names))])
    within = [spearmanr(*pair).statistic for pair in zip(shares, drops, strict=True)]
    between = [spearmanr(*pair).statistic for pair in zip(shares.T, drops.T, strict=True)]
    right = [
        silencer.drop(a, ours) > silencer.drop(b, ours)
        for a, b in itertools.permutations(range(len(case.names)), 2)
        for ours in [more_of(profile, a, b, case)]
    ]
    return [f"{np.mean(within):.2f}", f"{np.mean(between):.2f}", f"{np.mean(right):.0%} of {len(right)}"]


def more_of(profile: ef.ClassProfile, a: int | str, b: int | str, case: Case) -> list[str]:
    """Name the parts that the first class has more of than the second, by the largest effects."""
    effects = sorted(profile.contrast(a, b, case.score), key=lambda effect: -effect.effect)
    return [effect.name for effect in effects[: case.several]]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pairs(profile: ef.ClassProfile, silencer: Silencer, names: Sequence[str]) -> str:
    """Lay out, for each ordered pair, what silencing the first one's parts costs both."""
    case, rows = silencer.case, []
    for a, b in itertools.permutations(names, 2):
        effects = {effect.name: effect for effect in profile.contrast(a, b, case.score)}
        ours = more_of(profile, a, b, case)
        first = effects[ours[0]]
        cells = [
            f"{a} against {b}",
            ", ".join(ours),
            f"{first.effect:+.1f} ({first.low:.1f} to {first.high:.1f})",
        ]
        for name in (a, b):
            label = profile.class_index(name)
            cells.append(f"{silencer.drop(label, ours):.0%}; {silencer.recognised(label, ours):.0%}")
        rows.append(cells)
    return table(
        ["classes", "silenced: the first has more of", "effect of the first part", "first: output lost; recognised",
         "second"], rows,
    )  # fmt: skip


def report(case: Case, shown: Sequence[str], kept: Path | None) -> Iterator[str]:
    silencer, rows = Silencer(case), []
    for rules in tqdm(RULES):
        profile = profiled(case, rules)
        rows.append([rules, *agreement(profile, silencer)])
    yield table(["rules", "within", "between", "pairs"], rows)
    profile = profiled(case, SHOWN)
    yield f"With `{SHOWN}`:"
    yield pairs(profile, silencer, shown)
    if kept:
        profile.save(kept, overwrite=True)


def fruits(data: Path) -> Case:
    classifier = load_classifier("fruits")
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(data / "fruits24_jpg.zip") as archive:
        archive.extractall(place, [name for name in archive.namelist() if name.startswith("test/")])
        images = [
            torch.cat(
                [
                    classifier.preprocess(read_photo(path))
                    for path in sorted(Path(place, "test", name).iterdir())
                ]
            )
            for name in classifier.class_names
        ]
    return Case(classifier.model, classifier.class_names, images, "color", 1)


def digits(data: Path) -> Case:
    network = ef.models.load("digits").requires_grad_(False)
    with np.load(data / "mnist.npz") as arrays:
        pixels, labels = torch.from_numpy(arrays["x_test"]), torch.from_numpy(arrays["y_test"])
    inputs = (pixels[:, None].float() / 255 - network.preprocess.mean[0]) / network.preprocess.std[0]
    images = [inputs[labels == digit][:EACH] for digit in range(10)]
    return Case(network, network.class_names, images, "edge", 4)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--profiles", type=Path, help="folder for the profiles, which the pages draw")
    parser.add_argument(
        "--out", type=Path, help="Markdown file; tables go between their marks where it has them"
    )
    arguments = parser.parse_args()
    parts = ["Made by `python benchmarks/profile_evidence.py --data ...`."]
    for build, shown, title in (
        (fruits, CHERRIES, "Fruits, by color"),
        (digits, DIGITS, "Digits, by filter"),
    ):
        case = build(arguments.data)
        name = title.split(",")[0].lower()
        parts.append(
            f"**{title}** (network `{name}`, {sum(map(len, case.images))} test images of {len(case.names)} classes)"
        )
        parts += report(
            case, shown, arguments.profiles and arguments.profiles / f"profile_{name}.safetensors"
        )
    text = "\n\n".join(parts)
    print(text)
    if arguments.out:
        write(arguments.out, "evidence", text)


if __name__ == "__main__":
    main()
