"""Ask the methods of the field by one protocol: insertion and deletion, AUPC and total variation, and known answers.

::

    python benchmarks/methods.py --results FILE.jsonl                       # about 70 minutes on two idle cores
    python benchmarks/methods.py --results FILE.jsonl --out docs/methods.md  # writes the tables into the page as well
    python benchmarks/methods.py --results FILE.jsonl --quick                # does everything once, says nothing
    python benchmarks/methods.py --check                                     # laws, fewer steps, and another library's metric

Results are appended line by line as they come; what the file has is not measured again, so that a run can be split or
interrupted. Where the code of a method changed, delete its lines.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from field.asking import asked
from field.check import check
from field.invariants import invariants
from field.known import WHOLE
from field.measuring import Piece, Protocol, Record, Trial, known_key, measured
from field.networks import NETWORKS
from groundtruth.jobs import Settings
from groundtruth.networks import ARCHITECTURES, REPORT_SEEDS, STAMP_ARCHITECTURES
from pages import write

HERE = Path(__file__).resolve().parent
# For the workers: the GNU allocator keeps large blocks. Without, EfficientNet-Lite0 takes two to five times as long.
KEEP_MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**32))
IMAGES = 200  # of each network, from which those that are asked about are taken
CHECKED = 10  # photos
PIECE = 2  # images of a job: what an interruption loses


def arguments() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, help="file of JSON lines, which is continued")
    parser.add_argument("--out", type=Path, help="Markdown page; the tables go between their marks")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data", help="real images")
    parser.add_argument("--images", type=int, default=IMAGES, help="of each network; default: 200, all")
    parser.add_argument(
        "--slow-images", type=int, default=20, help="of them, those for slow methods; default: 20"
    )
    parser.add_argument("--steps", type=int, default=28, help="of insertion and of deletion; default: 28")
    parser.add_argument("--fills", type=int, default=10, help="of each window of AUPC; default: 10")
    parser.add_argument("--networks", nargs="*", default=tuple(NETWORKS), choices=tuple(NETWORKS))
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="of the networks with known answers; default: 3")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few images, one network of each kind")
    parser.add_argument("--only-tables", action="store_true", help="of what the file has; measure nothing")
    parser.add_argument(
        "--check", action="store_true", help="measure laws, and what fewer steps and fills change"
    )
    options = parser.parse_args()
    if options.quick:
        options.images, options.slow_images, options.seeds = 2, 1, 1
        options.steps, options.fills = 4, 2
    options.protocol = Protocol(options.steps, options.fills)
    return options


def read(path: Path | None) -> list[Record]:
    """Return the records of a file."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def work(options: argparse.Namespace, known: list[Record]) -> list[Piece | Trial]:
    """Return what is still to be done: networks with known answers, then images."""
    done = {(r["network"], r["image"], r["method"], r["settings"]) for r in known}
    names = options.methods or list(asked())
    pieces: list[Piece | Trial] = []
    for trial in trials(options):
        each = dict.fromkeys((*names, *(() if options.methods else WHOLE)))
        missing = [name for name in each if (trial, 0, name, known_key(name)) not in done]
        if missing:
            pieces.append(Trial(trial, missing))
    chosen = evenly(range(IMAGES), options.images)
    full = set(evenly(chosen, options.slow_images))
    for network in options.networks:
        left = {}
        for number in chosen:
            given = [name for name in names if number in full or not asked()[name].slow]
            keys = {name: options.protocol.key(name, full=number in full) for name in given}
            left[number] = [name for name in given if (network, number, name, keys[name]) not in done]
        numbers = [number for number, missing in left.items() if missing]
        for start in range(0, len(numbers), PIECE):
            some = {number: left[number] for number in numbers[start : start + PIECE]}
            pieces.append(Piece(network, some, full, IMAGES))
    return pieces


def evenly(numbers: Sequence[int], count: int) -> list[int]:
    """Return so many of some numbers, evenly taken."""
    count = min(count, len(numbers))
    return [numbers[place * len(numbers) // count] for place in range(count)]


def trials(options: argparse.Namespace) -> list[str]:
    """Return the networks with known answers by name."""
    architectures = {"gratings": ARCHITECTURES, "stamps": STAMP_ARCHITECTURES}
    return [
        f"{test}/{architecture}/{seed}"
        for seed in REPORT_SEEDS[: options.seeds]
        for test, every in architectures.items()
        for architecture in (every[:1] if options.quick else every)
    ]


def measure(options: argparse.Namespace) -> list[Record]:
    """Do what is missing and append it to the file; return all records."""
    known = read(options.results)
    settings = Settings.quick() if options.quick else Settings()
    pieces = work(options, known)
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        futures = [pool.submit(measured, piece, options.data, options.protocol, settings) for piece in pieces]
        for number, future in enumerate(as_completed(futures), 1):
            found = future.result()
            known += found
            if options.results:
                with options.results.open("a", encoding="utf-8") as file:
                    file.writelines(f"{json.dumps(line)}\n" for line in found)
            print(f"{number} of {len(futures)} pieces", flush=True)
    return known


def main() -> None:
    """Run the script."""
    options = arguments()
    os.environ.update(KEEP_MEMORY)
    if options.check:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found = {"invariants": pool.submit(invariants).result()}
            found["check"] = pool.submit(check, options.data, CHECKED).result()
        show(found, options.out)
        return
    records = read(options.results) if options.only_tables else measure(options)
    from field.page import tables  # what it does may change without a new run

    show(tables(records, options), options.out)


def show(found: dict[str, str], page: Path | None) -> None:
    """Print tables, and write them into a page."""
    for part, text in found.items():
        print(text, end="\n\n")
        if page:
            write(page, part, text)


if __name__ == "__main__":
    main()
