"""Hold scores by color, filter and place against Shapley values, silencing and known answers.

::

    python benchmarks/groundtruth/run.py --out DIR            # the report; under 40 minutes on two idle cores
    python benchmarks/groundtruth/run.py --out DIR --quick    # does everything once, says nothing
    python benchmarks/groundtruth/run.py --out DIR --tuning   # other seeds: to develop methods on

Writes ``results.json`` and, for ``docs/_static``, ``groundtruth.md``, ``groundtruth_details.md``; beside them ``groundtruth.png``. Each job leaves a file in ``DIR/jobs``: an
interrupted run goes on where it was; a job runs again if the settings or the sources (of edgefilter and of this) changed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from groundtruth.cost import costs  # noqa: E402 - the folder is no installed package
from groundtruth.jobs import NETWORK_JOBS, Settings, network_job, real_job, resumed  # noqa: E402
from groundtruth.networks import ARCHITECTURES, REPORT_SEEDS, STAMP_ARCHITECTURES, TUNING_SEEDS  # noqa: E402
from groundtruth.real import SETS  # noqa: E402

# For the workers: the GNU allocator keeps large blocks. Fetching them from the system anew takes a fifth of the time.
KEEP_MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**32))


def arguments() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for what is written")
    parser.add_argument("--quick", action="store_true", help="one seed of one architecture, few images")
    parser.add_argument(
        "--tuning", action="store_true", help="the seeds to develop on, not those of the report"
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--architectures", nargs="*", default=ARCHITECTURES, choices=ARCHITECTURES)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data", help="real images")
    parser.add_argument("--sets", nargs="*", default=tuple(SETS), choices=tuple(SETS), help="of real images")
    parser.add_argument("--most", type=int, help="images of each set at most")
    parser.add_argument(
        "--cost-size", type=int, default=112, help="side of the images for the cost in pixels"
    )
    parser.add_argument("--turns", type=int, default=5, help="how often the cost is measured")
    options = parser.parse_args()
    if options.quick:
        options.tuning, options.seeds, options.architectures, options.processes = True, 1, ("plain_norm",), 1
        options.most, options.turns, options.cost_size = 2, 1, 64
    return options


def jobs(options: argparse.Namespace) -> dict[str, Any]:
    """Return what can run side by side: by name, a function of no arguments."""
    settings = Settings.quick() if options.quick else Settings()
    found: dict[str, Any] = {}
    if not options.data.exists():
        print(f"left out: real images, no {options.data}; pass --data FOLDER")
    for name in options.sets if options.data.exists() else ():
        count = min(SETS[name].count, options.most or SETS[name].count)
        for number in range(-(-count // SETS[name].piece)):
            found[f"{name}/{number}"] = partial(real_job, name, options.data, count, number, settings)
    seeds = (TUNING_SEEDS if options.tuning else REPORT_SEEDS)[: options.seeds]
    for seed, test, architecture in itertools.product(seeds, NETWORK_JOBS, options.architectures):
        if test == "gratings" or architecture in STAMP_ARCHITECTURES:
            name = f"{test}/{architecture}/{seed}"
            found[name] = partial(network_job, test, architecture, seed, settings)
    return found


def collected(options: argparse.Namespace) -> dict[str, Any]:
    """Run all jobs, then the cost on an idle machine; return the results by name."""
    results: dict[str, Any] = {}
    folder, known = options.out / "jobs", {"settings": "quick" if options.quick else "full"}
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        futures: dict[Future[Any], str] = {}
        for name, job in jobs(options).items():
            path = folder / f"{name.replace('/', '-').replace(', ', '-')}.pt"
            futures[pool.submit(resumed, path, {**known, "most": options.most}, job)] = name
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            print(f"{futures[future]}: done", flush=True)
    settings = {"size": options.cost_size, "turns": options.turns}
    if options.turns:
        cost = resumed(
            folder / "cost.pt", settings, lambda: {"cost": costs(options.cost_size, options.turns)}
        )
        results["cost"] = cost["cost"]
    return results


def main() -> None:
    """Run the script."""
    options = arguments()
    os.environ.update(KEEP_MEMORY)
    options.out.mkdir(parents=True, exist_ok=True)
    results = collected(options)
    from groundtruth.report import write  # what it does may change without a new run

    write(results, options.out)


if __name__ == "__main__":
    main()
