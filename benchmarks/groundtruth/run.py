"""Hold scores by color and filter against known answers: train, check the gates, explain, measure, draw.

::

    python benchmarks/groundtruth/run.py --out DIR            # the report; under 40 minutes on two cores
    python benchmarks/groundtruth/run.py --out DIR --quick    # does everything once, says nothing
    python benchmarks/groundtruth/run.py --out DIR --tuning   # other seeds: to develop methods on

Writes ``results.json``, ``table.md`` and ``figure.png``. Each job leaves a file in ``DIR/jobs``: an interrupted run
goes on where it was; a job runs again if the settings or the sources (of edgefilter and of this) changed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from groundtruth.cost import costs  # noqa: E402 - the folder is no installed package
from groundtruth.jobs import Settings, resumed, run_networks  # noqa: E402
from groundtruth.networks import ARCHITECTURES, REPORT_SEEDS, TUNING_SEEDS  # noqa: E402
from groundtruth.photos import COUNTS, SETS, run_photos  # noqa: E402
from groundtruth.report import figure, tables  # noqa: E402

# For the workers: the GNU allocator keeps large blocks. Fetching them from the system anew takes a fifth of the time.
KEEP_MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**32))


def arguments() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for results.json, table.md, figure.png"
    )
    parser.add_argument("--quick", action="store_true", help="one seed of one architecture, few images")
    parser.add_argument(
        "--tuning", action="store_true", help="the seeds to develop on, not those of the report"
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    parser.add_argument("--architectures", nargs="+", default=ARCHITECTURES, choices=ARCHITECTURES)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data", help="real images")
    parser.add_argument("--sets", nargs="*", default=tuple(SETS), choices=tuple(SETS), help="of real images")
    parser.add_argument("--photos", type=int, help=f"how many images of each set; default: {COUNTS}")
    parser.add_argument("--size", type=int, default=128, help="side of the photos for Lite0 in pixels")
    parser.add_argument(
        "--cost-size", type=int, default=112, help="side of the images for the cost in pixels"
    )
    parser.add_argument("--turns", type=int, default=5, help="how often the cost is measured")
    options = parser.parse_args()
    if options.quick:
        options.tuning, options.seeds, options.architectures, options.processes = True, 1, ("plain_norm",), 1
        options.photos, options.size, options.turns, options.cost_size = 2, 64, 1, 64
    return options


def jobs(options: argparse.Namespace) -> dict[str, Any]:
    """Return what can run side by side, the longest first."""
    folder = options.out / "jobs"
    settings = Settings.quick() if options.quick else Settings()
    found: dict[str, Any] = {}
    for name in options.sets:
        if options.data.exists():
            count = COUNTS[name] if options.photos is None else options.photos
            found[f"photos {name}"] = partial(run_photos, folder, name, options.data, count, options.size)
        else:
            print(f"left out: {name}, no {options.data}; pass --data FOLDER")
    for seed in (TUNING_SEEDS if options.tuning else REPORT_SEEDS)[: options.seeds]:
        for architecture in options.architectures:
            found[f"networks {architecture} {seed}"] = partial(
                run_networks, folder, architecture, seed, settings
            )
    return found


def collected(options: argparse.Namespace) -> dict[str, Any]:
    """Run all jobs, then the cost on an idle machine; return the results of all."""
    results: dict[str, Any] = {"networks": [], "void": [], "gates": {}, "photos": {}}
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        futures: dict[str, Future[Any]] = {name: pool.submit(job) for name, job in jobs(options).items()}
        for name, future in futures.items():
            found = future.result()
            print(f"{name}: done", flush=True)
            if name.startswith("photos"):
                results["photos"][name.split()[1]] = found
            else:
                results["networks"] += found["records"]
                results["void"] += found["void"]
                results["gates"][name.removeprefix("networks ")] = found["gates"]
    settings = {"size": options.cost_size, "turns": options.turns}
    path = options.out / "jobs" / "cost.json"
    cost = resumed(path, settings, lambda: {"cost": costs(options.cost_size, options.turns)})
    return {**results, "cost": cost["cost"]}


def main() -> None:
    """Run the script."""
    options = arguments()
    os.environ.update(KEEP_MEMORY)
    options.out.mkdir(parents=True, exist_ok=True)
    results = collected(options)
    (options.out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    if not results["networks"]:
        raise SystemExit("no network passed its gate:\n" + "\n".join(results["void"]))
    (options.out / "table.md").write_text(tables(results), encoding="utf-8")
    figure(results, options.out / "figure.png")
    print(tables(results))


if __name__ == "__main__":
    main()
