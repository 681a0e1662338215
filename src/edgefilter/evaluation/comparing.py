"""Our attribution beside Captum's on the same images, judged by the metrics of Captum and of Quantus."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgefilter._checks import closest
from edgefilter.attribution.arguments import NAMED, are_probabilities
from edgefilter.errors import UnknownNameError
from edgefilter.stems.finding import check_module
from edgefilter.stems.layers import EdgeFilterConv2d
from edgefilter.stems.replacing import fold_stem

from .comparison import PART_COLUMNS, Comparison
from .margin import Margin
from .measuring import ProgressBar, Work
from .method import BATCH, Explain, Method, own_method
from .methods import DEFAULT_METHODS, METHODS
from .metrics import METRICS
from .parts import PARTS
from .peers import PEER_PARTS

__all__ = ["compare"]


def compare(
    model: nn.Module,
    inputs: Tensor,
    targets: int | Sequence[int] | Tensor | None = None,
    methods: Sequence[str] | Mapping[str, Explain | str] | None = None,
    metrics: Sequence[str] | None = None,
    *,
    against: int | Literal["rest", "odds"] | None = None,
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
        Names from ``METHODS``: edgefilter, edgefilter_relevance (without calibration), integrated_gradients, grad_cam, saliency, input_x_gradient,
        guided_backprop, occlusion, and the controls sobel (edges of the image, no model) and random: these are the default. From
        ``edgefilter.methods``: hires_cam, zoom_cam, smooth_taylor, mfpp, rise, mask_search, kernel_lime, linear_region, and
        guided_nonlinearity_ig, a negative control; input, a control, is the image itself. Or a dict, in
        which ``name: function(inputs, targets)`` adds a method of one's own, such as Captum's
        ``{"mine": DeepLift(net).attribute}``, and ``name: name`` is one of ours.
    metrics : sequence of str, optional
        Names from ``METRICS``, see Notes. Default: all.
    against : int, "rest" or "odds", optional
        A class that the explained ones are compared with, or the mean of all others, or chance: the log odds
        ``log(p / (1 - p)) + log(K - 1)`` of ``K`` classes. All methods then explain the margin or the log odds, and the metrics measure
        them. Default: the outputs themselves.
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
        Its ``controls`` are marked wherever it is shown. A method or metric that fails costs its own cells only; its reason is kept. Without Quantus, its metrics fail.

    Raises
    ------
    ValueError, TypeError, KeyError
        If an argument does not fit; the message says what does.

    Notes
    -----
    ``infidelity`` (Captum): random half of 8 x 8 patches set to 0, scaled at best (``normalize=True``).
    ``sensitivity_max`` (Captum): two noisy copies within 0.02 of each of the first 8 images.
    ``pixel_flipping`` (Quantus): mean probability of the target (of a single logit, its sigmoid) while values are set to 0, the highest scores first
    (``flip_most_first``), the lowest first (``flip_least_first``), and the difference of both.
    ``faithfulness_correlation`` (Quantus): random eighths of the values set to 0.
    ``sparseness`` (Quantus): Gini index of absolute scores.
    ``randomisation`` (Quantus, ``EfficientMPRT``): relative rise of the maps' entropy on the first 8 images when all
    weights but the filter bank's are drawn anew; 0 where a map does not depend on the model.
    ``time``: median over three turns, for one image, in units of one forward and backward pass of the plain network.
    ``parts``: the second table, see :class:`Comparison`.

    Quantus' metrics see the sum of a pixel's scores over the colors, so that methods with and without colors compare.
    Integrated gradients, guided_nonlinearity_ig and smooth_taylor take 20 gradients, occlusion 7 x 7 windows without overlap; mfpp, rise,
    mask_search and kernel_lime ask for 256 masked copies of each image, far fewer than was published. linear_region is exact for piece-wise
    linear networks, where it equals input_x_gradient, and fails for others. zoom_cam fuses the last convolution of each size of map,
    hires_cam is the last one alone. zoom_cam and guided_nonlinearity_ig have a row in ``parts`` too, at the filter bank.

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
    plain = fold_stem(model) if any(isinstance(m, EdgeFilterConv2d) for m in model.modules()) else model
    indices, outputs = _targets(plain, images, targets)
    network, plain = _margins(model, plain, indices, outputs, against)
    measured = [name for name in wanted if METRICS[name].measure is not None]
    peers = [method.name for method in chosen if method.name in PEER_PARTS]
    parts = (*PARTS, *peers) if "parts" in wanted else ()
    total = len(chosen) * (1 + len(measured)) + (1 + len(parts) if parts else 0)
    work = Work(images, indices, plain, network, steps, samples, seed, ProgressBar(total, progress))
    with warnings.catch_warnings(), work.bar:
        warnings.simplefilter("ignore")  # of Captum and Quantus, on hooks and settings
        maps = work.pixels(chosen, wanted)
        if parts:
            work.parts(peers)
    columns = [column for name in wanted for column in METRICS[name].better]
    return Comparison(
        pixel=work.table("pixel", [method.name for method in chosen], columns),
        parts=work.table("parts", parts, list(PART_COLUMNS)),
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
            "against": against,
            "versions": versions(),
        },
    )


def versions() -> dict[str, str]:
    found = {}
    for name in ("edgefilter", "torch", "captum", "quantus", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _chosen(methods: Sequence[str] | Mapping[str, Explain | str] | None) -> list[Method]:
    if methods is None:
        methods = list(DEFAULT_METHODS)
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
            found.append(own_method(name, given))
            continue
        _check_name(given, METHODS, "method")
        found.append(Method(given, METHODS[given]))
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


def _margins(
    model: nn.Module,
    plain: nn.Module,
    targets: list[int],
    outputs: Tensor,
    against: int | Literal["rest", "odds"] | None,
) -> tuple[nn.Module, nn.Module]:
    """Return the networks that are compared: themselves, or their margins."""
    if against is None:
        return model, plain
    classes = outputs.shape[1]
    whole = isinstance(against, int) and not isinstance(against, bool) and 0 <= against < classes
    if classes < 2 or (against not in NAMED and not whole):
        raise ValueError(
            f"against must be None, 'rest', 'odds', or one of {classes} classes, of which there are two or more; got {against!r}. Leave "
            "it out to explain the outputs themselves."
        )
    if against in targets:
        raise ValueError(
            f"against must be another class than targets; got {against!r}, the target of image {targets.index(int(against))}. "
            "Pass targets, or another class."
        )
    if against == "odds" and are_probabilities(outputs):
        raise ValueError(
            "against='odds' must have a model that returns logits; got probabilities, which are positive and add up to 1. Leave the "
            "softmax at its end out."
        )
    return Margin(model, against), Margin(plain, against)


def _targets(model: nn.Module, images: Tensor, targets: Any) -> tuple[list[int], Tensor]:
    """Return the class to explain of each image, and the outputs, shape (N, classes)."""
    with torch.no_grad():
        outputs = torch.cat([model(images[i : i + BATCH]) for i in range(0, len(images), BATCH)])
    if outputs.dim() != 2:
        raise ValueError(
            f"model must return outputs of shape (batch, classes); got {tuple(outputs.shape)}. Pass a classifier."
        )
    if targets is None:
        return [int(index) for index in outputs.argmax(1)], outputs
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
    return [int(index) for index in given], outputs
