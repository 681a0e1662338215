"""The work of a comparison: explain, measure, and keep what fails."""

from __future__ import annotations

import contextlib
import functools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from edgefilter.attribution.causal import causal_check
from edgefilter.stems.finding import has_bank
from edgefilter.stems.replacing import replace_stem

from .comparison import Failure
from .margin import Margin
from .method import Method, batches
from .metrics import METRICS, Case
from .ours import OURS, ours
from .parts import part_scores

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ProgressBar", "Work"]

TURNS = 3  # of timing


def _part_values(scores: Tensor, drops: Tensor, name: str) -> dict[str, list[float]]:
    """Compare scores of each image with what silencing costs: rank correlation, and whether the first agrees."""
    import pandas as pd

    return {
        name: [
            float(pd.DataFrame({"score": a, "drop": b}).corr(method="spearman").iloc[0, 1])
            for a, b in zip(scores.tolist(), drops.tolist(), strict=True)
        ],
        f"{name}_top": (scores.argmax(1) == drops.argmax(1)).float().tolist(),
    }


class ProgressBar:
    """A progress bar, or none."""

    def __init__(self, total: int, shown: bool) -> None:
        from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]

        self.bar: Any = tqdm(total=total, disable=not shown, leave=False)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show what is being done, and count it when it is done."""
        self.bar.set_description(what)
        yield
        self.bar.update()


class Work:
    """Fills the cells of both tables, one after the other, and keeps what fails."""

    def __init__(
        self,
        images: Tensor,
        targets: list[int],
        plain: nn.Module,
        model: nn.Module,
        steps: int,
        samples: int,
        seed: int,
        bar: ProgressBar,
    ) -> None:
        self.images, self.targets, self.plain, self.model = images, targets, plain, model
        self.steps, self.samples, self.seed, self.bar = steps, samples, seed, bar
        self.found: dict[tuple[str, str, str], list[float]] = {}
        self.failures: list[Failure] = []

    @functools.cached_property
    def banked(self) -> nn.Module:
        """The network with a filter bank as a layer."""
        if isinstance(self.model, Margin):
            inside = self.model.model
            return self.model if has_bank(inside) else Margin(replace_stem(inside), self.model.against)
        return self.model if has_bank(self.model) else replace_stem(self.model)

    def pixels(self, methods: list[Method], metrics: list[str]) -> dict[str, Tensor]:
        """Explain the images by each method, then measure each map by each metric."""
        maps: dict[str, Tensor] = {}
        for method in methods:
            with self.cell("pixel", method.name, ""):
                method.built = method.make(self.model if method.name in OURS else self.plain)
                maps[method.name] = method.run(self.images, self.targets)
        able = [method for method in methods if method.name in maps]
        for name in metrics:
            measure = METRICS[name].measure
            if measure is None:
                continue
            for method in able:
                case = Case(
                    method, maps[method.name], self.images, self.targets,
                    self.plain, lambda: self.banked, self.steps, self.samples, self.seed,
                )  # fmt: skip
                with self.cell("pixel", method.name, name):
                    for column, values in measure(case).items():
                        self.found["pixel", method.name, column] = [float(value) for value in values]
        if "time" in metrics:
            self.times("pixel", {method.name: method.run for method in able})
        return maps

    def parts(self, peers: Sequence[str]) -> None:
        """Compare scores of colors and filters with what silencing each of them costs."""
        able: dict[str, Callable[[Tensor, Any], Any]] = {}
        with self.cell("parts", "", ""):
            mine = ours(self.banked)
            explanation = mine.explain(self.images, self.targets)
            drops = causal_check(mine.attribution, self.images, explanation)
            able.update(part_scores(self.banked, peers))
        for name, score in able.items():
            with self.cell("parts", name, ""):
                found = [score(*batch) for batch in batches(self.images, self.targets)]
                for column in ("color", "edge"):
                    scores = torch.cat([getattr(explanation, column) for explanation in found])
                    for key, values in _part_values(scores, getattr(drops, column), column).items():
                        self.found["parts", name, key] = values
        failed = {failure.method for failure in self.failures if failure.table == "parts"}
        self.times("parts", {name: score for name, score in able.items() if name not in failed})

    def times(self, table: str, calls: Mapping[str, Callable[[Tensor, Any], Any]]) -> None:
        """Let all methods and a gradient pass take turns on one image; ratios are formed within a turn."""
        image, target = self.images[:1], torch.tensor(self.targets[:1], device=self.images.device)
        ratios: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(TURNS):
            unit = _seconds(self.gradient_pass)
            for name, call in calls.items():
                with _seeded(self.seed, self.images.device):
                    ratios[name].append(_seconds(lambda call=call: call(image, target)) / unit)  # type: ignore[misc]
        for name, values in ratios.items():
            self.found[table, name, "time"] = values

    def gradient_pass(self) -> None:
        """Go once through the plain network and back to the image."""
        leaf = self.images[:1].detach().clone().requires_grad_()
        with torch.enable_grad():
            torch.autograd.grad(self.plain(leaf)[0, self.targets[0]], leaf)

    @contextlib.contextmanager
    def cell(self, table: str, method: str, metric: str) -> Iterator[None]:
        """Do one piece of work with its own random numbers; keep the reason if it fails."""
        try:
            with (
                self.bar.step(" ".join(filter(None, (method, metric)))),
                _seeded(self.seed, self.images.device),
            ):
                yield
        except Exception as cause:  # noqa: BLE001 - whatever fails costs its own cell only
            reason = " ".join(str(cause).split()) or type(cause).__name__
            self.failures.append(Failure(table, method, metric, f"{type(cause).__name__}: {reason}"))

    def table(self, table: str, rows: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
        """Return means with their standard errors; of times the median and its own, from the quartiles."""
        import pandas as pd

        cells: dict[str, list[float]] = {}
        for column in columns if rows else ():
            pairs = [_summary(self.found.get((table, row, column), []), column == "time") for row in rows]
            cells[column] = [mean for mean, _ in pairs]
            cells[f"{column}_se"] = [error for _, error in pairs]
        result: pd.DataFrame = pd.DataFrame(cells, index=pd.Index(rows, name="method"))
        return result

    def long(self) -> pd.DataFrame:
        """Return every single number; of times, ``image`` counts the turns."""
        import pandas as pd

        rows = [
            (*key, place, value) for key, values in self.found.items() for place, value in enumerate(values)
        ]
        result: pd.DataFrame = pd.DataFrame(rows, columns=["table", "method", "metric", "image", "value"])
        return result


def _summary(values: Sequence[float], median: bool) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return math.nan, math.nan
    middle = statistics.median(finite) if median else statistics.fmean(finite)
    if len(finite) < 2:
        return middle, math.nan
    spread = statistics.stdev(finite)
    if median:  # of a normal distribution, whose quartiles one slow turn does not move
        low, _, high = statistics.quantiles(finite, n=4, method="inclusive")
        spread = math.sqrt(math.pi / 2) * (high - low) / 1.349
    error = spread / math.sqrt(len(finite))
    return middle, error


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Give NumPy's and PyTorch's own generators a seed for a while: Captum and Quantus draw from them."""
    state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _seconds(call: Callable[[], Any]) -> float:
    _wait()
    begin = time.perf_counter()
    call()
    _wait()
    return time.perf_counter() - begin


def _wait() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
