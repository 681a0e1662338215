"""The metrics that methods are measured by: all are Captum's and Quantus', called with settings that suit photos."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from captum.metrics import infidelity, infidelity_perturb_func_decorator, sensitivity_max
from torch import Tensor, nn
from torch.nn import functional as F

from .method import BATCH, Method, attributions

__all__ = ["METRICS", "Case", "Metric"]

PATCHES = 8  # into which an image is cut, along each side, for infidelity
NOISES = 2  # noisy copies of an image, for sensitivity
FEW = 8  # images at most, for what explains them again and again

Array = npt.NDArray[Any]


class Metric(NamedTuple):
    """How to measure one method, and what comes of it."""

    measure: Callable[[Case], dict[str, Sequence[float]]] | None  # None: not method by method
    better: dict[str, str]  # by column: "high" or "low"


@dataclasses.dataclass
class Case:
    """One method on the images, ready to be measured."""

    method: Method
    maps: Tensor  # (N, C, H, W)
    images: Tensor
    targets: list[int]
    plain: nn.Module
    banked: Callable[[], nn.Module]  # with the filter bank as a layer
    steps: int
    samples: int
    seed: int

    @property
    def arrays(self) -> dict[str, Any]:
        """Return what every metric of Quantus takes; a pixel's score is the sum over its colors."""
        return {
            "x_batch": _array(self.images),
            "y_batch": np.array(self.targets),
            "a_batch": _summed(self.maps, self.images),
            "channel_first": True,
            "device": str(self.images.device),
            "batch_size": BATCH,
        }

    def few(self) -> Case:
        """Return the same for the first images."""
        cut = slice(0, FEW)
        return dataclasses.replace(
            self, maps=self.maps[cut], images=self.images[cut], targets=self.targets[cut]
        )


def _infidelity(case: Case) -> dict[str, Sequence[float]]:
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


def _sensitivity(case: Case) -> dict[str, Sequence[float]]:
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


def _pixel_flipping(case: Case) -> dict[str, Sequence[float]]:
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


def _faithfulness(case: Case) -> dict[str, Sequence[float]]:
    metric = _quantus().FaithfulnessCorrelation(
        nr_runs=2 * case.samples,
        subset_size=max(1, case.images[0].numel() // 8),
        perturb_baseline=0.0,
        return_aggregate=False,
        disable_warnings=True,
    )
    return {"faithfulness_correlation": metric(model=_AsFloat(case.plain, case.images.dtype), **case.arrays)}


def _sparseness(case: Case) -> dict[str, Sequence[float]]:
    metric = _quantus().Sparseness(abs=True, disable_warnings=True)
    return {"sparseness": metric(model=_AsFloat(case.plain, case.images.dtype), **case.arrays)}


def _randomisation(case: Case) -> dict[str, Sequence[float]]:
    """Explain the network with all weights drawn anew, its filter bank excepted."""
    if case.method.own:
        raise ValueError(
            "randomisation must build the method for another model; got a callable, which knows only its own. "
            "Leave the metric out."
        )
    case = case.few()
    known = _AsFloat(case.banked(), case.images.dtype)

    def explain(model: Any, inputs: Array, targets: Array, **_: Any) -> Array:
        if model is known:
            return _summed(case.maps, case.images)
        images = torch.from_numpy(np.asarray(inputs)).to(case.images)
        maps = attributions(case.method.make(model.model).explain, images, targets.tolist())
        return _summed(maps, images)

    metric = _quantus().EfficientMPRT(abs=True, seed=case.seed, disable_warnings=True)
    return {"randomisation": metric(model=known, softmax=True, explain_func=explain, **case.arrays)}


class _AsFloat(nn.Module):
    """Take float32, as Quantus gives it, to a model of another kind.

    A single logit gets a second one of 0: Quantus' softmax of both is its sigmoid, where that of one would always be 1.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's outputs."""
        output: Tensor = self.model(inputs.to(self.dtype))
        return F.pad(output, (0, 1)) if output.shape[1] == 1 else output


def _quantus() -> Any:
    try:
        return importlib.import_module("quantus")
    except ImportError as cause:
        raise ImportError(
            "this metric must have Quantus installed; got no 'quantus'. Run pip install 'edgefilter[quantus]'."
        ) from cause


METRICS: dict[str, Metric] = {
    "infidelity": Metric(_infidelity, {"infidelity": "low"}),
    "sensitivity_max": Metric(_sensitivity, {"sensitivity_max": "low"}),
    "pixel_flipping": Metric(
        _pixel_flipping, {"flip_most_first": "low", "flip_least_first": "high", "flip_difference": "high"}
    ),
    "faithfulness_correlation": Metric(_faithfulness, {"faithfulness_correlation": "high"}),
    "sparseness": Metric(_sparseness, {"sparseness": "high"}),
    "randomisation": Metric(_randomisation, {"randomisation": "high"}),
    "time": Metric(None, {"time": "low"}),  # all methods take turns
    "parts": Metric(None, {}),  # the second table
}


def _summed(maps: Tensor, images: Tensor) -> Array:
    """Return the sums over the colors, once for each color."""
    return _array(maps.sum(1, keepdim=True).expand_as(images))


def _array(values: Tensor) -> Array:
    return np.array(values.detach().to("cpu", torch.float32))
