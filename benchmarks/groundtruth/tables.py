"""Numbers from the files of all jobs: agreement with the reference, known answers, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from scipy.stats import t as student
from torch import Tensor

from .jobs import Found, joined
from .measures import NAMED, agreement, color_metrics, filter_metrics
from .networks import DEEP

Estimate = tuple[float, float]  # mean, and half of the 95 % interval

METRICS = ("pearson", "rank", "error")
NOTHING = "-"


class Family(NamedTuple):
    """Networks or images that are averaged over.

    Attributes
    ----------
    title : str
    units : list of dict
        What was said about each network; one for a network on real images.
    by_image : bool
        Whether images are counted, not networks.
    """

    title: str
    units: list[Found]
    by_image: bool

    def agreement(
        self, name: str, level: str, wanted: str = "shapley", *, kind: str = "methods"
    ) -> dict[str, Estimate] | None:
        """Return how well a method agrees with a reference, by metric; None if it says nothing, or not everywhere."""
        found: dict[str, list[float]] = {metric: [] for metric in METRICS}
        for unit in self.units:
            reference, scores = unit["reference"].get(level), unit[kind].get(name, {}).get(level)
            if reference is None or scores is None or reference[wanted].shape[1] == 1:
                return None
            self._add(found, agreement(scores[: len(reference[wanted])].double(), reference[wanted]))
        return {metric: estimate(values) for metric, values in found.items()}

    def ceiling(self, level: str) -> dict[str, Estimate] | None:
        """Return how well one half of the drawn orders agrees with the other; None if the reference is exact."""
        found: dict[str, list[float]] = {metric: [] for metric in METRICS}
        for unit in self.units:
            halves = unit["reference"][level]["halves"]
            if not halves:
                return None
            self._add(found, agreement(*halves))
        return {metric: estimate(values) for metric, values in found.items()}

    def names(self, kind: str = "methods") -> list[str]:
        """Return the methods in their order."""
        return list(dict.fromkeys(name for unit in self.units for name in unit[kind]))

    def levels(self) -> list[str]:
        """Return the levels that there is a reference of."""
        return list(self.units[0]["reference"])

    def count(self, level: str) -> int:
        """Return how many networks, or images, a number stands for."""
        if not self.by_image:
            return len(self.units)
        return len(self.units[0]["reference"][level]["shapley"])

    def _add(self, found: dict[str, list[float]], values: dict[str, Tensor]) -> None:
        for metric, each in values.items():
            found[metric] += each.tolist() if self.by_image else [float(each.mean())]


def families(results: dict[str, Any]) -> list[Family]:
    """Return the networks on gratings, all but shallow ones and by architecture, and each network on real images."""
    groups: dict[str, list[Found]] = {}
    for name, found in sorted(results.items(), key=lambda pair: order_of(pair[0])):
        if "reference" in found:
            groups.setdefault(name.rsplit("/", 1)[0], []).append(found)
    gratings = {name: units for name, units in groups.items() if name.startswith("gratings/")}
    every = [unit for name, units in gratings.items() if name.split("/")[1] in DEEP for unit in units]
    found = [Family("gratings", every, by_image=False)] if every else []
    found += [Family(name.replace("/", ", "), units, by_image=False) for name, units in gratings.items()]
    for name, pieces in groups.items():
        if name not in gratings:
            found.append(Family(name, [joined_pieces(pieces)], by_image=True))
    return found


def order_of(name: str) -> tuple[str, int]:
    """Return the name of a job without its number, and the number."""
    start, _, number = name.rpartition("/")
    return start, int(number) if number.isdigit() else 0


def joined_pieces(pieces: Sequence[Found]) -> Found:
    """Return what was said about all images of a network."""
    result: Found = {"reference": {}, "methods": {}, "variants": {}}
    for level in pieces[0]["reference"]:
        result["reference"][level] = joined([piece["reference"][level] for piece in pieces])
    for kind in ("methods", "variants"):
        names = [name for name in pieces[0][kind] if all(name in piece[kind] for piece in pieces)]
        for name in names:
            result[kind][name] = {
                level: torch.cat([piece[kind][name][level] for piece in pieces])
                for level in pieces[0][kind][name]
            }
    return result


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean and half of the 95 % interval (Student's t)."""
    count = len(values)
    center = sum(values) / count
    if count < 2:
        return center, math.nan
    deviation = math.sqrt(sum((value - center) ** 2 for value in values) / (count - 1))
    return center, float(student.ppf(0.975, count - 1)) * deviation / math.sqrt(count)


def known_answers(results: dict[str, Any], name: str) -> dict[str, Estimate]:
    """Return what a method finds of what is known: color, filter where the reference names it, place."""
    found: dict[str, list[float]] = {}
    for job, said in results.items():
        if job.startswith("gratings/") and "methods" in said:
            scores = said["methods"].get(name, {})
            values = color_metrics(scores["color"], said["color"]) if "color" in scores else {}
            if "edge" in scores and said["named"] >= NAMED:
                values |= filter_metrics(scores["edge"], said["parts"], said["color"], said["directions"])
            values |= said["gaps"].get(name, {})
        elif job.startswith("stamps/") and "places" in said:
            values = said["places"].get(name, {})
        else:
            continue
        for metric, value in values.items():
            found.setdefault(metric, []).append(float(value))
    return {
        metric: (max(values), math.nan) if metric in WORST else estimate(values)
        for metric, values in found.items()
    }


WORST = ("constant", "color_gap", "filter_gap")  # of these the worst network counts


def voids(results: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the networks that failed their gate, and those whose filters the reference does not name."""
    failed = [reason for found in results.values() for reason in found.get("void", ())]
    gratings = {name: found["named"] for name, found in results.items() if "named" in found}
    unnamed = [f"{name}: {share:.2f}" for name, share in sorted(gratings.items()) if share < NAMED]
    return failed, unnamed


def best(family: Family, level: str, names: Iterable[str]) -> tuple[str, dict[str, Estimate]] | None:
    """Return the method of the highest Pearson correlation with the Shapley values."""
    found = {name: family.agreement(name, level) for name in names}
    some = {name: values for name, values in found.items() if values is not None}
    if not some:
        return None
    name = max(some, key=lambda name: some[name]["pearson"][0])
    return name, some[name]
