"""Our attribution beside Captum's on the same images, judged by the metrics of Captum and of Quantus."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
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
import numpy.typing as npt
import torch
from captum.attr import (
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerAttribution,
    LayerConductance,
    LayerGradCam,
    LayerIntegratedGradients,
    Occlusion,
    Saliency,
)
from captum.metrics import infidelity, infidelity_perturb_func_decorator, sensitivity_max
from torch import Tensor, nn
from torch.nn import functional as F

from ._checks import UnknownNameError, closest
from .attribution import EdgeFilterAttribution
from .causal import causal_check
from .explanation import Explanation
from .kernels import get_kernel
from .layers import EdgeFilterBank2d
from .stems import bank_path, check_module, fold_stem, replace_stem

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["METHODS", "METRICS", "PARTS", "Comparison", "compare"]

PATH_STEPS = 20  # gradients of a path method
WINDOWS = 7  # of Occlusion, along each side
PATCHES = 8  # into which an image is cut, along each side, for infidelity
NOISES = 2  # noisy copies of an image, for sensitivity
FEW = 8  # images at most, for what explains them again and again
BATCH = 8  # images that are explained at once
TURNS = 3  # of timing
FILES = ("pixel.csv", "parts.csv", "comparison.json")

Explain = Callable[[Tensor, Any], Tensor]
Array = npt.NDArray[Any]


class _Built(NamedTuple):
    """A method for one model: how to call it, and whether it gives shares of the output or sensitivities to it."""

    explain: Explain
    multiplies_by_inputs: bool


class _Metric(NamedTuple):
    """How to measure one method, and what comes of it."""

    measure: Callable[[_Case], dict[str, Sequence[float]]] | None  # None: not method by method
    better: dict[str, str]  # by column: "high" or "low"


@dataclasses.dataclass
class _Case:
    """One method on the images, ready to be measured."""

    method: _Method
    maps: Tensor  # (N, C, H, W)
    images: Tensor
    targets: list[int]
    plain: nn.Module
    banked: nn.Module
    steps: int
    samples: int
    seed: int

    @property
    def arrays(self) -> dict[str, Any]:
        """Return what every metric of Quantus takes; a pixel's score is the sum over its colors."""
        summed = self.maps.sum(1, keepdim=True).expand_as(self.images)
        return {
            "x_batch": _array(self.images),
            "y_batch": np.array(self.targets),
            "a_batch": _array(summed).copy(),
            "channel_first": True,
            "device": str(self.images.device),
            "batch_size": BATCH,
        }

    def few(self) -> _Case:
        """Return the same for the first images."""
        cut = slice(0, FEW)
        return dataclasses.replace(
            self, maps=self.maps[cut], images=self.images[cut], targets=self.targets[cut]
        )


# --- the methods ----------------------------------------------------------------------------------------------


class _Method:
    """A named method that explains batches piece by piece and remembers its answer for the images at hand."""

    def __init__(self, name: str, given: Explain | None = None) -> None:
        self.name = name
        self.given = given
        self.built: _Built | None = None
        self.known: tuple[Tensor, Tensor] | None = None

    def build(self, model: nn.Module) -> _Built:
        """Return the method for a model; a user's own callable knows only its own."""
        if self.given is None:
            return METHODS[self.name](model)
        owner = getattr(self.given, "__self__", None)
        return _Built(_by_position(self.given), bool(getattr(owner, "multiplies_by_inputs", True)))

    def run(self, inputs: Tensor, targets: Any) -> Tensor:
        """Return attributions as large as the inputs, or with one channel in place of the colors."""
        assert self.built is not None
        return _attributions(self.built.explain, inputs, targets)

    def again(self, inputs: Any, target: Any = None) -> tuple[Tensor, ...]:
        """Explain as Captum's sensitivity_max asks: a tuple; the known images are not explained again."""
        given = inputs[0] if isinstance(inputs, tuple) else inputs
        if self.known is not None and given is self.known[0]:
            return (self.known[1],)
        return (self.run(given, target).contiguous(),)


def _attributions(explain: Explain, inputs: Tensor, targets: Any) -> Tensor:
    indices = torch.as_tensor(targets, device=inputs.device)
    parts = []
    with torch.enable_grad():
        for some, wanted in zip(inputs.split(BATCH), indices.split(BATCH), strict=True):
            found = explain(some.detach().clone(), wanted)
            found = found[0] if isinstance(found, tuple) else found
            if not isinstance(found, Tensor) or found.shape not in (some.shape, some[:, :1].shape):
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise ValueError(
                    f"a method must return attributions of shape {tuple(some.shape)} or {tuple(some[:, :1].shape)}; "
                    f"got {shape}. Sum or resize them."
                )
            parts.append(found.detach())
    maps = torch.cat(parts)
    if not torch.isfinite(maps).all():
        raise ValueError("a method must return finite attributions; got NaN or infinity. Look at its model.")
    return maps


def _by_position(function: Explain) -> Explain:
    """Call with ``target=`` what has such an argument: in some of Captum's methods it is not the second."""
    try:
        named = "target" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        named = False
    return (lambda inputs, targets: function(inputs, target=targets)) if named else function  # type: ignore[call-arg]


def _edgefilter(model: nn.Module) -> _Built:
    attribution = EdgeFilterAttribution(model if _has_bank(model) else replace_stem(model))
    return _Built(lambda inputs, targets: attribution.attribute(inputs, targets), True)


def _integrated_gradients(model: nn.Module) -> _Built:
    method = IntegratedGradients(model)
    return _Built(
        lambda inputs, targets: method.attribute(
            inputs, target=targets, n_steps=PATH_STEPS, internal_batch_size=max(BATCH, len(inputs))
        ),
        True,
    )


def _grad_cam(model: nn.Module) -> _Built:
    layers: list[nn.Module] = []

    def explain(inputs: Tensor, targets: Any) -> Tensor:
        if not layers:
            layers.append(_last_convolution(model, inputs))
        found = LayerGradCam(model, layers[0]).attribute(inputs, target=targets)
        return LayerAttribution.interpolate(found, tuple(inputs.shape[2:]), "bilinear")  # type: ignore[no-any-return]

    return _Built(explain, True)


def _last_convolution(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Return the last convolution that still has places: those of squeeze-and-excitation have one."""
    ran: list[nn.Module] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if output.shape[2:].numel() > 1:
            ran.append(module)

    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.Conv2d)]
    try:
        with torch.no_grad():
            model(inputs[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        raise ValueError(
            "grad_cam must have a convolution with more than one place; got a model without. Leave it out."
        )
    return ran[-1]


def _saliency(model: nn.Module) -> _Built:
    return _Built(lambda inputs, targets: Saliency(model).attribute(inputs, target=targets), False)


def _input_x_gradient(model: nn.Module) -> _Built:
    return _Built(lambda inputs, targets: InputXGradient(model).attribute(inputs, target=targets), True)


def _guided_backprop(model: nn.Module) -> _Built:
    if not any(isinstance(module, nn.ReLU) for module in model.modules()):
        raise ValueError(
            "guided_backprop must have modules of type nn.ReLU; got a model without: it would be the plain gradient. "
            "Leave it out."
        )
    return _Built(lambda inputs, targets: GuidedBackprop(model).attribute(inputs, target=targets), False)


def _occlusion(model: nn.Module) -> _Built:
    def explain(inputs: Tensor, targets: Any) -> Tensor:
        channels, *sides = inputs.shape[1:]
        window = (channels, *(max(1, math.ceil(side / WINDOWS)) for side in sides))
        return Occlusion(model).attribute(  # type: ignore[no-any-return]
            inputs, sliding_window_shapes=window, strides=window, target=targets
        )

    return _Built(explain, True)


def _sobel(_: nn.Module) -> _Built:
    """Return a control that looks at the image only: how steep its gray is."""

    def explain(inputs: Tensor, targets: Any) -> Tensor:  # noqa: ARG001 - as every method
        kernels = np.stack([get_kernel(name).weight for name in ("sobel_x", "sobel_y")])
        gray = F.pad(inputs.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        return (
            F.conv2d(gray, torch.from_numpy(kernels).to(inputs)[:, None]).square().sum(1, keepdim=True).sqrt()
        )

    return _Built(explain, True)


def _random(_: nn.Module) -> _Built:
    """Return a control that looks at nothing."""
    return _Built(lambda inputs, _: torch.rand_like(inputs[:, :1]), True)


METHODS: dict[str, Callable[[nn.Module], _Built]] = {
    "edgefilter": _edgefilter,
    "integrated_gradients": _integrated_gradients,
    "grad_cam": _grad_cam,
    "saliency": _saliency,
    "input_x_gradient": _input_x_gradient,
    "guided_backprop": _guided_backprop,
    "occlusion": _occlusion,
    "sobel": _sobel,
    "random": _random,
}


# --- the metrics ----------------------------------------------------------------------------------------------


def _infidelity(case: _Case) -> dict[str, Sequence[float]]:
    """Take away random patches of the image, half of them on average."""
    built = case.method.built
    assert built is not None

    @infidelity_perturb_func_decorator(built.multiplies_by_inputs)  # type: ignore[untyped-decorator]
    def without_patches(inputs: Any, _: Any = None) -> Tensor:
        images: Tensor = inputs[0] if isinstance(inputs, tuple) else inputs
        kept = torch.rand(len(images), 1, PATCHES, PATCHES).round().to(images)
        return images * F.interpolate(kept, images.shape[2:])

    maps = case.maps if case.maps.shape == case.images.shape else case.maps.expand_as(case.images)
    maps = maps / (case.images.shape[1] / case.maps.shape[1])
    with torch.no_grad():
        found = infidelity(
            case.plain,
            without_patches,
            case.images,
            maps,
            target=torch.tensor(case.targets, device=case.images.device),
            n_perturb_samples=case.samples,
            max_examples_per_batch=max(4 * BATCH, len(case.images)),
            normalize=True,
        )
    return {"infidelity": found.tolist()}


def _sensitivity(case: _Case) -> dict[str, Sequence[float]]:
    case = case.few()
    case.method.known = (case.images, case.maps)
    try:
        found = sensitivity_max(
            case.method.again,
            case.images,
            n_perturb_samples=NOISES,
            target=torch.tensor(case.targets, device=case.images.device),
        )
    finally:
        case.method.known = None
    return {"sensitivity_max": found.tolist()}


def _pixel_flipping(case: _Case) -> dict[str, Sequence[float]]:
    """Take pixels away, those with the highest scores first and those with the lowest first."""
    quantus = _quantus()
    places = case.images.shape[2:].numel()
    wanted = case.steps / case.images.shape[1]  # steps per color: Quantus takes values away, not pixels
    parts = min((d for d in range(1, places + 1) if places % d == 0), key=lambda d: abs(d - wanted))
    metric = quantus.PixelFlipping(
        features_in_step=places // parts, perturb_baseline=0.0, disable_warnings=True
    )
    arrays = case.arrays
    model = _AsFloat(case.plain, case.images.dtype)
    areas = []
    for sign in (1, -1):
        arrays["a_batch"] = sign * arrays["a_batch"]
        shifted = arrays["a_batch"] - arrays["a_batch"].min(
            (1, 2, 3), keepdims=True
        )  # same order; none below 0
        curves = metric(model=model, **{**arrays, "a_batch": shifted})
        areas.append(_area(np.array(curves)))
    most, least = areas
    return {"flip_most_first": most, "flip_least_first": least, "flip_difference": least - most}  # type: ignore[dict-item]


def _area(curves: Array) -> Array:
    """Return the area below each curve, divided by its width."""
    integrate: Any = getattr(np, "trapezoid", None) or getattr(np, "trapz")  # noqa: B009 - gone in NumPy 2.4
    return np.asarray(integrate(curves, axis=1) / max(curves.shape[1] - 1, 1))


def _faithfulness(case: _Case) -> dict[str, Sequence[float]]:
    metric = _quantus().FaithfulnessCorrelation(
        nr_runs=2 * case.samples,
        subset_size=max(1, case.images[0].numel() // 8),
        perturb_baseline=0.0,
        return_aggregate=False,
        disable_warnings=True,
    )
    return {"faithfulness_correlation": metric(model=_AsFloat(case.plain, case.images.dtype), **case.arrays)}


def _sparseness(case: _Case) -> dict[str, Sequence[float]]:
    metric = _quantus().Sparseness(abs=True, disable_warnings=True)
    return {"sparseness": metric(model=_AsFloat(case.plain, case.images.dtype), **case.arrays)}


def _randomisation(case: _Case) -> dict[str, Sequence[float]]:
    """Explain the network with all weights drawn anew, its filter bank excepted."""
    if case.method.given is not None:
        raise ValueError(
            "randomisation must build the method for another model; got a callable, which knows only its own. "
            "Leave the metric out."
        )
    case = case.few()
    known = _AsFloat(case.banked, case.images.dtype)

    def explain(model: Any, inputs: Array, targets: Array, **_: Any) -> Array:
        if model is known:
            return np.asarray(case.arrays["a_batch"])
        images = torch.from_numpy(np.asarray(inputs)).to(case.images)
        maps = _attributions(case.method.build(model.model).explain, images, targets.tolist())
        return _array(maps.sum(1, keepdim=True).expand_as(images)).copy()

    metric = _quantus().EfficientMPRT(abs=True, seed=case.seed, disable_warnings=True)
    return {"randomisation": metric(model=known, softmax=True, explain_func=explain, **case.arrays)}


class _AsFloat(nn.Module):
    """Take float32, as Quantus gives it, to a model of another kind."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's outputs."""
        output: Tensor = self.model(inputs.to(self.dtype))
        return output


def _quantus() -> Any:
    try:
        return importlib.import_module("quantus")
    except ImportError as cause:
        raise ImportError(
            "this metric must have Quantus installed; got no 'quantus'. Run pip install 'edgefilter[quantus]'."
        ) from cause


METRICS: dict[str, _Metric] = {
    "infidelity": _Metric(_infidelity, {"infidelity": "low"}),
    "sensitivity_max": _Metric(_sensitivity, {"sensitivity_max": "low"}),
    "pixel_flipping": _Metric(
        _pixel_flipping, {"flip_most_first": "low", "flip_least_first": "high", "flip_difference": "high"}
    ),
    "faithfulness_correlation": _Metric(_faithfulness, {"faithfulness_correlation": "high"}),
    "sparseness": _Metric(_sparseness, {"sparseness": "high"}),
    "randomisation": _Metric(_randomisation, {"randomisation": "high"}),
    "time": _Metric(None, {"time": "low"}),  # all methods take turns
    "parts": _Metric(None, {}),  # the second table
}


# --- colors and filters ---------------------------------------------------------------------------------------


def _part_scores(model: nn.Module) -> dict[str, Callable[[Tensor, Any], Explanation]]:
    """Return the ways to score colors and filters, each as a function of images and targets."""
    layer: Any = model.get_submodule(bank_path(model))
    attribution = EdgeFilterAttribution(model)

    def from_captum(method: Any) -> Callable[[Tensor, Any], Explanation]:
        def explain(inputs: Tensor, targets: Any) -> Explanation:
            found = method.attribute(
                inputs, target=targets, n_steps=PATH_STEPS, internal_batch_size=max(BATCH, len(inputs))
            )
            return Explanation.from_responses(found.detach(), layer)

        return explain

    def energy(inputs: Tensor, _: Any) -> Explanation:
        with torch.no_grad():
            return Explanation.from_responses(layer(inputs).square(), layer)

    def chance(inputs: Tensor, _: Any) -> Explanation:
        with torch.no_grad():
            shape = layer(inputs).shape
        return Explanation.from_responses(torch.rand(*shape[:2], 1, 1).to(inputs), layer)

    return {
        "edgefilter": attribution.explain,
        "layer_conductance": from_captum(LayerConductance(model, layer)),
        "layer_integrated_gradients": from_captum(LayerIntegratedGradients(model, layer)),
        "response_energy": energy,
        "random": chance,
    }


PARTS = ("edgefilter", "layer_conductance", "layer_integrated_gradients", "response_energy", "random")
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
    rows: list[dict[str, Any]] = table.to_dict("records")
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
            "-" if math.isnan(mean) else f"{mean:.3g} \N{PLUS-MINUS SIGN} {error:.1g}"
            for mean, error in zip(table[name], table[f"{name}_se"], strict=True)
        ]
        for name in names
    }
    return pd.DataFrame(cells, index=table.index).to_string()


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
        compared: they give the same outputs.
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
    images = _checked(model, inputs, steps, samples)
    banked = model if _has_bank(model) else replace_stem(model)
    plain = fold_stem(model) if _has_bank(model) else model
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

    def pixels(self, methods: list[_Method], metrics: list[str]) -> dict[str, Tensor]:
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
                case = _Case(
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
            able = dict(_part_scores(self.banked))
        for name, score in list(able.items()):
            with self.cell("parts", name, ""):
                explanations = [
                    score(some.detach().clone(), indices)
                    for some, indices in zip(
                        self.images.split(BATCH),
                        torch.tensor(self.targets).to(self.images.device).split(BATCH),
                        strict=True,
                    )
                ]
                for column in ("color", "edge"):
                    scores = torch.cat([getattr(explanation, column) for explanation in explanations])
                    for key, values in _part_values(scores, getattr(drops, column), column).items():
                        self.found["parts", name, key] = values
                continue
            del able[name]
        self.times("parts", able)

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
        """Return means with their standard errors; of times the median."""
        import pandas as pd

        cells: dict[str, list[float]] = {}
        for column in columns if rows else ():
            pairs = [_summary(self.found.get((table, row, column), []), column == "time") for row in rows]
            cells[column] = [mean for mean, _ in pairs]
            cells[f"{column}_se"] = [error for _, error in pairs]
        return pd.DataFrame(cells, index=pd.Index(rows, name="method"))

    def long(self) -> pd.DataFrame:
        """Return every single number; of times, ``image`` counts the turns."""
        import pandas as pd

        rows = [
            (*key, place, value) for key, values in self.found.items() for place, value in enumerate(values)
        ]
        return pd.DataFrame(rows, columns=["table", "method", "metric", "image", "value"])


def _summary(values: Sequence[float], median: bool) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return math.nan, math.nan
    middle = statistics.median(finite) if median else statistics.fmean(finite)
    error = statistics.stdev(finite) / math.sqrt(len(finite)) if len(finite) > 1 else math.nan
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
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _array(values: Tensor) -> Array:
    return values.detach().to("cpu", torch.float32).numpy()


def _versions() -> dict[str, str]:
    found = {}
    for name in ("edgefilter", "torch", "captum", "quantus", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


# --- checks ---------------------------------------------------------------------------------------------------


def _has_bank(model: nn.Module) -> bool:
    return any(isinstance(module, EdgeFilterBank2d) for module in model.modules())


def _chosen(methods: Sequence[str] | Mapping[str, Explain | str] | None) -> list[_Method]:
    if methods is None:
        methods = list(METHODS)
    if isinstance(methods, str):
        methods = [methods]
    pairs = dict(methods) if isinstance(methods, Mapping) else {name: name for name in methods}
    if not pairs:
        raise ValueError("methods must name one at least; got none. Leave it out for all.")
    found = []
    for name, given in pairs.items():
        if callable(given):
            if name in METHODS:
                raise ValueError(
                    f"a method of one's own must have a new name; got {name!r}, which is ours. Rename it."
                )
            found.append(_Method(name, given))
            continue
        _check_name(given, METHODS, "method")
        found.append(_Method(given))
    return found


def _wanted(metrics: Sequence[str] | None) -> list[str]:
    names = list(METRICS) if metrics is None else [metrics] if isinstance(metrics, str) else list(metrics)
    for name in names:
        _check_name(name, METRICS, "metric")
    return list(dict.fromkeys(names))


def _check_name(name: Any, known: Mapping[str, Any], what: str) -> None:
    if name not in known:
        raise UnknownNameError(
            f"unknown {what} {name!r}{closest(name, known)} The {what}s are {', '.join(known)}."
        )


def _checked(model: nn.Module, inputs: Any, steps: int, samples: int) -> Tensor:
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
    return inputs.detach()


def _targets(model: nn.Module, images: Tensor, targets: Any) -> list[int]:
    with torch.no_grad():
        outputs = torch.cat([model(some) for some in images.split(BATCH)])
    if outputs.dim() != 2:
        raise ValueError(
            f"model must return outputs of shape (batch, classes); got {tuple(outputs.shape)}. Pass a classifier."
        )
    if targets is None:
        return [int(index) for index in outputs.argmax(1)]
    given = torch.as_tensor(targets).reshape(-1).tolist()
    given = given * len(images) if len(given) == 1 else given
    if len(given) != len(images) or not all(0 <= index < outputs.shape[1] for index in given):
        raise ValueError(
            f"targets must be one class, or one for each of the {len(images)} images, from 0 to {outputs.shape[1] - 1}; "
            f"got {targets!r}. Leave it out for the predicted classes."
        )
    return [int(index) for index in given]
