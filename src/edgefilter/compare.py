"""Our attribution beside Captum's on the same images, judged by the metrics of Captum and of Quantus."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ._checks import UnknownNameError, closest
from .attribution import EdgeFilterAttribution
from .causal import causal_check
from .layers import EdgeFilterConv2d
from .methods import BATCH, METHODS, PARTS, Explain, Method, batches, has_bank, part_scores
from .metrics import METRICS, Case
from .stems import check_module, fold_stem, replace_stem

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["FILES", "PART_COLUMNS", "Comparison", "Failure", "compare"]

TURNS = 3  # of timing
LINE = 120  # letters, in print
FILES = ("pixel.csv", "parts.csv", "comparison.json")

PART_COLUMNS = {"color": "high", "edge": "high", "color_top": "high", "edge_top": "high", "time": "low"}


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


# --- the result -----------------------------------------------------------------------------------------------


class Failure(NamedTuple):
    """A cell of a table that could not be filled, and why."""

    table: str
    method: str
    metric: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    pixel : pandas.DataFrame
        One row per method. For each column of a metric its mean over the images, and beside it, with ``_se`` appended,
        the standard error of that mean. A failed cell is NaN.
    parts : pandas.DataFrame
        The same for scores of colors and filters: ``color`` and ``edge``, the rank correlation (Spearman) with what the
        output loses when each color, or each filter, is silenced; ``color_top`` and ``edge_top``, the share of images
        where the highest score is that of the largest loss.
    maps : dict
        By method, its attributions, shape (N, C, H, W) or (N, 1, H, W).
    images : Tensor, shape (N, C, H, W)
    targets : tuple of int
    values : pandas.DataFrame
        Single numbers: columns ``table``, ``method``, ``metric``, ``image``, ``value``.
    failures : tuple
        What could not be measured: ``table``, ``method``, ``metric`` (empty for all of them) and ``reason`` of each.
    settings : dict
        How it was made: numbers of steps and samples, seed, versions.
    """

    pixel: pd.DataFrame
    parts: pd.DataFrame
    maps: dict[str, Tensor]
    images: Tensor
    targets: tuple[int, ...]
    values: pd.DataFrame
    failures: tuple[Failure, ...]
    settings: dict[str, Any]

    def __repr__(self) -> str:
        return (
            f"Comparison({len(self.pixel)} methods, {len(self.images)} images, {len(self.failures)} failures)"
        )

    def __str__(self) -> str:
        """Lay out both tables, and say below what is missing and why."""
        better = {key: value for metric in METRICS.values() for key, value in metric.better.items()}
        parts = [_text(self.pixel, better), _text(self.parts, PART_COLUMNS)]
        reasons: dict[str, list[str]] = {}
        for failure in self.failures:
            where = " ".join(filter(None, (failure.method, failure.metric)))
            reasons.setdefault(failure.reason, []).append(where)
        parts += [f"Not measured ({', '.join(where)}): {reason}" for reason, where in reasons.items()]
        return "\n\n".join(filter(None, parts))

    def plot(self, pictures: Sequence[Any] | None = None, *, images: int = 4) -> Figure:
        """Draw the maps of all methods side by side, one row per image.

        Parameters
        ----------
        pictures : sequence of array-like, optional
            The images as a viewer would see them, as in :meth:`Explanation.plot`. Default: the inputs, stretched to
            the range from black to white.
        images : int, default: 4
            How many to draw at most.

        Returns
        -------
        figure : matplotlib.figure.Figure
        """
        from .plots import plot_comparison

        shown = [_stretched(image) for image in self.images[:images]] if pictures is None else pictures
        maps = {name: values[:images].sum(1) for name, values in self.maps.items()}
        return plot_comparison(maps, list(shown)[:images])

    def to_dict(self) -> dict[str, Any]:
        """Return tables, single numbers, failures and settings as plain values, ready for JSON; maps stay out."""
        return {
            "settings": self.settings,
            "targets": list(self.targets),
            "pixel": _records(self.pixel.reset_index()),
            "parts": _records(self.parts.reset_index()),
            "failures": [failure._asdict() for failure in self.failures],
            "values": _records(self.values),
        }

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write ``pixel.csv``, ``parts.csv`` and ``comparison.json``.

        Parameters
        ----------
        folder : str or Path
            Made if it is not there.
        overwrite : bool, default: False
            Whether existing files may be replaced.

        Returns
        -------
        paths : list of Path

        Raises
        ------
        FileExistsError
            If one of the files is there and ``overwrite`` is False.
        """
        paths = [Path(folder) / name for name in FILES]
        for path in paths:
            if path.exists() and not overwrite:
                raise FileExistsError(
                    f"folder must hold no {path.name}; got {str(folder)!r}, which does. Pass overwrite=True."
                )
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.pixel.to_csv(paths[0])
        self.parts.to_csv(paths[1])
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        paths[2].write_text(text + "\n", encoding="utf-8")
        return paths


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[Any, Any]] = table.to_dict("records")
    return [
        {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        for row in rows
    ]


def _text(table: pd.DataFrame, better: Mapping[str, str]) -> str:
    import pandas as pd

    if table.empty or not len(table.columns):
        return ""
    names = [name for name in table.columns if not name.endswith("_se")]
    cells = {
        f"{name} ({better[name]})": [
            "-" if math.isnan(mean) else f"{mean:.3g}" + _error(error)
            for mean, error in zip(table[name], table[f"{name}_se"], strict=True)
        ]
        for name in names
    }
    text: str = pd.DataFrame(cells, index=table.index).to_string(line_width=LINE)
    return text


def _error(value: float) -> str:
    return "" if math.isnan(value) else f" \N{PLUS-MINUS SIGN} {value:.1g}"  # of one image there is none


def _stretched(image: Tensor) -> Tensor:
    low, high = image.min(), image.max()
    return (image - low) / (high - low if high > low else 1)


# --- the work -------------------------------------------------------------------------------------------------


def compare(
    model: nn.Module,
    inputs: Tensor,
    targets: int | Sequence[int] | Tensor | None = None,
    methods: Sequence[str] | Mapping[str, Explain | str] | None = None,
    metrics: Sequence[str] | None = None,
    *,
    steps: int = 12,
    samples: int = 10,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Put our attribution beside Captum's on the same images, and measure all by the metrics of Captum and Quantus.

    Parameters
    ----------
    model : nn.Module
        A classifier in evaluation mode, with an edge-filter layer or without. Its copies with and without one are
        compared: they give the same outputs. A bank without a mixing after it stays where it is in both.
    inputs : Tensor, shape (N, C, H, W)
        Images as the model expects them, 0 standing for absence.
    targets : int, sequence of int or Tensor, optional
        What is explained: one class for all images or one for each. Default: the predicted ones.
    methods : sequence of str, or dict, optional
        Names from ``METHODS``: edgefilter, integrated_gradients, grad_cam, saliency, input_x_gradient,
        guided_backprop, occlusion, and the controls sobel (edges of the image, no model) and random. Or a dict, in
        which ``name: function(inputs, targets)`` adds a method of one's own, such as Captum's
        ``{"mine": DeepLift(net).attribute}``, and ``name: name`` is one of ours. Default: all of ours.
    metrics : sequence of str, optional
        Names from ``METRICS``, see Notes. Default: all.
    steps : int, default: 12
        Steps in which pixel flipping takes an image away; the nearest number that Quantus allows.
    samples : int, default: 10
        Perturbations of each image for infidelity; twice as many for faithfulness correlation.
    seed : int, default: 0
        Each cell of a table begins with it: all methods see the same perturbations, and a second call gives the same
        numbers but for the times.
    progress : bool, default: True
        Whether a bar on stderr shows how far it is.

    Returns
    -------
    comparison : Comparison
        A method or metric that fails costs its own cells only; its reason is kept. Without Quantus, its metrics fail.

    Raises
    ------
    ValueError, TypeError, KeyError
        If an argument does not fit; the message says what does.

    Notes
    -----
    ``infidelity`` (Captum): random half of 8 x 8 patches set to 0, scaled at best (``normalize=True``).
    ``sensitivity_max`` (Captum): two noisy copies within 0.02 of each of the first 8 images.
    ``pixel_flipping`` (Quantus): mean probability of the target while values are set to 0, the highest scores first
    (``flip_most_first``), the lowest first (``flip_least_first``), and the difference of both.
    ``faithfulness_correlation`` (Quantus): random eighths of the values set to 0.
    ``sparseness`` (Quantus): Gini index of absolute scores.
    ``randomisation`` (Quantus, ``EfficientMPRT``): relative rise of the maps' entropy on the first 8 images when all
    weights but the filter bank's are drawn anew; 0 where a map does not depend on the model.
    ``time``: median over three turns, for one image, in units of one forward and backward pass of the plain network.
    ``parts``: the second table, see :class:`Comparison`.

    Quantus' metrics see the sum of a pixel's scores over the colors, so that methods with and without colors compare.
    Integrated gradients take 20 steps, occlusion 7 x 7 windows without overlap.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    >>> found = compare(net, torch.randn(2, 3, 8, 8), methods=["edgefilter", "saliency"], metrics=["infidelity"],
    ...                 progress=False)
    >>> list(found.pixel.index), list(found.pixel.columns)
    (['edgefilter', 'saliency'], ['infidelity', 'infidelity_se'])
    """
    chosen, wanted = _chosen(methods), _wanted(metrics)
    images = _checked(model, inputs, steps, samples, seed)
    banked = model if has_bank(model) else replace_stem(model)
    plain = fold_stem(model) if any(isinstance(m, EdgeFilterConv2d) for m in model.modules()) else model
    indices = _targets(plain, images, targets)
    measured = [name for name in wanted if METRICS[name].measure is not None]
    total = len(chosen) * (1 + len(measured)) + (1 + len(PARTS) if "parts" in wanted else 0)
    work = _Work(images, indices, plain, banked, steps, samples, seed, _Bar(total, progress))
    with warnings.catch_warnings(), work.bar:
        warnings.simplefilter("ignore")  # of Captum and Quantus, on hooks and settings
        maps = work.pixels(chosen, wanted)
        if "parts" in wanted:
            work.parts()
    columns = [column for name in wanted for column in METRICS[name].better]
    return Comparison(
        pixel=work.table("pixel", [method.name for method in chosen], columns),
        parts=work.table("parts", PARTS if "parts" in wanted else (), list(PART_COLUMNS)),
        maps=maps,
        images=images,
        targets=tuple(indices),
        values=work.long(),
        failures=tuple(work.failures),
        settings={
            "methods": [method.name for method in chosen],
            "metrics": wanted,
            "images": len(images),
            "steps": steps,
            "samples": samples,
            "seed": seed,
            "versions": _versions(),
        },
    )


class _Bar:
    """A progress bar, or none."""

    def __init__(self, total: int, shown: bool) -> None:
        from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]

        self.bar: Any = tqdm(total=total, disable=not shown, leave=False)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        self.bar.set_description(what)
        yield
        self.bar.update()


class _Work:
    """Fills the cells of both tables, one after the other, and keeps what fails."""

    def __init__(
        self,
        images: Tensor,
        targets: list[int],
        plain: nn.Module,
        banked: nn.Module,
        steps: int,
        samples: int,
        seed: int,
        bar: _Bar,
    ) -> None:
        self.images, self.targets, self.plain, self.banked = images, targets, plain, banked
        self.steps, self.samples, self.seed, self.bar = steps, samples, seed, bar
        self.found: dict[tuple[str, str, str], list[float]] = {}
        self.failures: list[Failure] = []

    def pixels(self, methods: list[Method], metrics: list[str]) -> dict[str, Tensor]:
        """Explain the images by each method, then measure each map by each metric."""
        maps: dict[str, Tensor] = {}
        for method in methods:
            with self.cell("pixel", method.name, ""):
                method.built = method.build(self.plain if method.name != "edgefilter" else self.banked)
                maps[method.name] = method.run(self.images, self.targets)
        able = [method for method in methods if method.name in maps]
        for name in metrics:
            measure = METRICS[name].measure
            if measure is None:
                continue
            for method in able:
                case = Case(
                    method, maps[method.name], self.images, self.targets,
                    self.plain, self.banked, self.steps, self.samples, self.seed,
                )  # fmt: skip
                with self.cell("pixel", method.name, name):
                    for column, values in measure(case).items():
                        self.found["pixel", method.name, column] = [float(value) for value in values]
        if "time" in metrics:
            self.times("pixel", {method.name: method.run for method in able})
        return maps

    def parts(self) -> None:
        """Compare scores of colors and filters with what silencing each of them costs."""
        able: dict[str, Callable[[Tensor, Any], Any]] = {}
        with self.cell("parts", "", ""):
            attribution = EdgeFilterAttribution(self.banked)
            drops = causal_check(attribution, self.images, attribution.explain(self.images, self.targets))
            able.update(part_scores(self.banked))
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


def _versions() -> dict[str, str]:
    found = {}
    for name in ("edgefilter", "torch", "captum", "quantus", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


# --- checks ---------------------------------------------------------------------------------------------------


def _chosen(methods: Sequence[str] | Mapping[str, Explain | str] | None) -> list[Method]:
    if methods is None:
        methods = list(METHODS)
    if isinstance(methods, str):
        methods = [methods]
    pairs = dict(methods) if isinstance(methods, Mapping) else {name: name for name in methods}
    if not pairs:
        raise ValueError("methods must name one at least; got none. Leave it out for all.")
    found = []
    for name, given in pairs.items():
        if not isinstance(name, str):
            raise TypeError(
                f"methods must be names, or a dict from names to functions; got {name!r}. Pass "
                "{'mine': function}, with a name for what is yours."
            )
        if callable(given):
            if name in METHODS:
                raise ValueError(
                    f"a method of one's own must have a new name; got {name!r}, which is ours. Rename it."
                )
            found.append(Method(name, given))
            continue
        _check_name(given, METHODS, "method")
        found.append(Method(given))
    return found


def _wanted(metrics: Sequence[str] | None) -> list[str]:
    names = list(METRICS) if metrics is None else [metrics] if isinstance(metrics, str) else list(metrics)
    if not names:
        raise ValueError("metrics must name one at least; got none. Leave it out for all.")
    for name in names:
        _check_name(name, METRICS, "metric")
    return list(dict.fromkeys(names))


def _check_name(name: Any, known: Mapping[str, Any], what: str) -> None:
    if name not in known:
        raise UnknownNameError(
            f"unknown {what} {name!r}{closest(name, known)} The {what}s are {', '.join(known)}."
        )


def _checked(model: nn.Module, inputs: Any, steps: int, samples: int, seed: int) -> Tensor:
    check_module(model)
    if (
        not isinstance(inputs, Tensor)
        or inputs.dim() != 4
        or not inputs.is_floating_point()
        or not len(inputs)
    ):
        got = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
        raise ValueError(
            f"inputs must be a floating-point Tensor of shape (batch, channel, height, width); got {got}. "
            "Preprocess the images as for the model."
        )
    if any(module.training for module in model.modules()):
        raise ValueError(
            "model must be in evaluation mode; got one that is training. Call model.eval() first."
        )
    for name, value in (("steps", steps), ("samples", samples)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer >= 1; got {value!r}. Pass for example {name}=10.")
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(
            f"seed must be an integer from 0 to 2**32 - 1; got {seed!r}. Pass for example seed=0."
        )
    return inputs.detach()


def _targets(model: nn.Module, images: Tensor, targets: Any) -> list[int]:
    with torch.no_grad():
        outputs = torch.cat([model(images[i : i + BATCH]) for i in range(0, len(images), BATCH)])
    if outputs.dim() != 2:
        raise ValueError(
            f"model must return outputs of shape (batch, classes); got {tuple(outputs.shape)}. Pass a classifier."
        )
    if targets is None:
        return [int(index) for index in outputs.argmax(1)]
    try:
        given = torch.as_tensor(targets).reshape(-1).tolist()
    except (TypeError, ValueError, RuntimeError):
        given = []
    given = [index for index in given if isinstance(index, int)]
    given = given * len(images) if len(given) == 1 else given
    if len(given) != len(images) or not all(0 <= index < outputs.shape[1] for index in given):
        raise ValueError(
            f"targets must be one class, or one for each of the {len(images)} images, from 0 to {outputs.shape[1] - 1}; "
            f"got {targets!r}. Leave it out for the predicted classes."
        )
    return [int(index) for index in given]
