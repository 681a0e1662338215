"""Write the tables of docs/models.md from the files in training/results: run it after a training."""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "models.md"
ENOUGH = 0.99
TITLES = {"mnist": "MNIST", "mnist500": "MNIST, 500 training images", "fruits24": "Fruits-360, 24 classes"}
COLUMNS = (
    *("bank", "first layer", "test accuracy by seed", "mean ± deviation", "99 % after", "training"),
    *("per epoch", "trained numbers"),
)


def read(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the results of all trainings, in the order of their files' names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def time_to(run: dict[str, Any], accuracy: float) -> float | None:
    """Return the seconds of training until the test accuracy was first seen to be so high."""
    reached = (line["cpu_seconds"] for line in run["history"] if line["accuracy"] >= accuracy)
    return next(reached, None)


def kind(run: dict[str, Any]) -> tuple[str, str]:
    """Return the bank and the sort of first layer."""
    changes = [
        word for word, there in (("mixing", run["mixing"]), ("plain ReLU", run["signs"] == "relu")) if there
    ]
    return run["bank"], ", ".join([run["stem"], *changes])


def row(runs: list[dict[str, Any]]) -> str:
    """Return the line of a table for the trainings that differ in nothing but the seed."""
    runs = sorted(runs, key=lambda run: run["seed"])
    shares = [100 * run["accuracy"] for run in runs]
    spread = f" ± {statistics.stdev(shares):.2f}" if len(shares) > 1 else ""
    reached = [time_to(run, ENOUGH) for run in runs]
    known = [seconds for seconds in reached if seconds is not None]
    cells = [
        *kind(runs[0]),
        ", ".join(f"{share:.2f}" for share in shares),
        f"{statistics.mean(shares):.2f}{spread} %",
        seconds(known) if len(known) == len(reached) else "-",
        seconds(run["cpu_seconds"] for run in runs),
        seconds(run["cpu_seconds"] / run["epochs"] for run in runs),
        f"{runs[0]['parameters']:,}",
    ]
    return "| " + " | ".join(cells) + " |"


def seconds(values: Iterable[float]) -> str:
    """Return the mean of some times."""
    mean = statistics.mean(values)
    return f"{mean:.1f} s" if mean < 10 else f"{mean:.0f} s"


def verdict(groups: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Return a sentence on the fixed and the learned first layer with the default bank."""
    fixed, other = ([100 * run["accuracy"] for run in groups["edges", stem]] for stem in ("fixed", "learned"))
    difference = statistics.mean(fixed) - statistics.mean(other)
    ranges = [max(values) - min(values) for values in (fixed, other)]
    return (
        f"Fixed minus learned: {difference:+.2f} points; seeds of one kind lie up to {max(ranges):.2f} points apart "
        f"({len(fixed)} and {len(other)} seeds)."
    )


def table(runs: list[dict[str, Any]]) -> str:
    """Return the table of one task."""
    groups = defaultdict(list)
    for run in runs:
        groups[kind(run)].append(run)
    ordered = sorted(
        groups, key=lambda key: (key[0] != "edges", key[0], len(key[1]) > len("learned"), key[1])
    )
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|---|" + "---:|" * (len(COLUMNS) - 3)]
    lines += [row(groups[key]) for key in ordered]
    return "\n".join([*lines, "", verdict(groups)])


def render(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return the tables by task."""
    return {task: table([run for run in runs if run["task"] == task]) for task in TITLES}


def fill(page: str, tables: dict[str, str]) -> str:
    """Return a page with the tables between their marks."""
    for task, text in tables.items():
        start, end = f"<!-- {task}: generated, do not edit -->", f"<!-- end of {task} -->"
        before, rest = page.split(start)
        page = f"{before}{start}\n\n{text}\n\n{end}{rest.split(end)[1]}"
    return page


def main() -> None:
    """Run the script."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), render(read())), encoding="utf-8")


if __name__ == "__main__":
    main()
