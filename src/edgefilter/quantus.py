"""Evaluate explanations with Quantus: by pixel, by color and by edge filter.

Needs the extra ``quantus``; ``import edgefilter`` does not load this module. No model is kept between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from zennit.attribution import Attributor
from zennit.composites import register_composite
from zennit.core import Composite

from edgefilter._checks import closest
from edgefilter.attribution.arguments import Against
from edgefilter.attribution.attribution import SCORE_NAMES, EdgeFilterAttribution
from edgefilter.attribution.calibration import Calibrate
from edgefilter.banks.colors import Basis, ColorGroups
from edgefilter.banks.presets import complete_bank
from edgefilter.lrp.composites import NamedComposite, as_composite, composite_names, get_composite
from edgefilter.stems.finding import bank_path
from edgefilter.stems.layers import EdgeFilterBank2d
from edgefilter.stems.splitting import split

__all__ = ["EdgeAttributor", "FilterLevel", "explain", "filter_level"]

if find_spec("quantus") is None:
    raise ImportError(
        "edgefilter.quantus must have Quantus, an extra; got none installed. Run pip install 'edgefilter[quantus]'."
    )

PREFIX = "edgefilter_"
LEVELS = ("color_edge", "edge", "response")
INJECTED = {"device", "method"}  # what Quantus adds to the arguments of any explain_func

Array = npt.NDArray[Any]


class EdgeAttributor(Attributor):  # type: ignore[misc]
    """Explain as :class:`edgefilter.EdgeFilterAttribution` does, in the form of Zennit's attributors.

    For ``quantus.explain(model, x, y, xai_lib="zennit", attributor=EdgeAttributor, attributor_kwargs={...})``.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode. It runs as it is, and is left as it is.
    composite : str or zennit.core.Composite, optional
        As in :class:`edgefilter.EdgeFilterAttribution`.
    attr_output : Tensor or callable, optional
        Which output is explained, as in Zennit's attributors: weights of the outputs, shape (N, classes), or a function
        of the output that gives them. One weight of each image is not zero.
    score : {"pixel", "color", "edge", "color_edge", "response"}, default: "pixel"
        In the shapes of :func:`explain`.
    layer, calibrate, colors, basis, channels
        As in :class:`edgefilter.EdgeFilterAttribution`.
    against : int, tuple, Tensor, list, "rest" or "odds", optional
        As in :meth:`edgefilter.EdgeFilterAttribution.attribute`.

    Notes
    -----
    The weights choose the output; relevance starts at its value, as everywhere in this library, where Zennit's own
    attributors start at the weight. So the sign of a score says whether it speaks for the output, also for a negative
    one.

    Quantus takes a composite as a class, or as a name that Zennit knows. Our composites are registered there as
    ``"edgefilter_epsilon_plus"`` and so on; ``"epsilon_plus"`` is Zennit's own, which gives biases a share.

    Examples
    --------
    >>> import edgefilter as ef
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
    >>> attributor = EdgeAttributor(ef.replace_stem(net), score="color")
    >>> output, scores = attributor(torch.rand(2, 3, 6, 6), torch.eye(10)[[7, 7]])
    >>> output.shape, scores.shape
    (torch.Size([2, 10]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        model: nn.Module,
        composite: Composite | str | None = None,
        attr_output: Tensor | Callable[[Tensor], Tensor] | None = None,
        *,
        score: str = "pixel",
        layer: str | nn.Module | None = None,
        calibrate: Calibrate = True,
        against: Against = None,
        colors: ColorGroups = None,
        basis: Basis = None,
        channels: Sequence[str] | None = None,
    ) -> None:
        super().__init__(model, as_composite(composite), attr_output)
        _check_score(score, SCORE_NAMES)
        self.attribution = EdgeFilterAttribution(
            model, composite, colors=colors, basis=basis, calibrate=calibrate, layer=layer, channels=channels
        )
        self.score, self.against = score, against

    def __enter__(self) -> EdgeAttributor:
        """Return the attributor; nothing is registered on the model."""
        return self

    def __exit__(self, *error: object) -> Literal[False]:
        """Let errors pass."""
        return False

    def forward(self, input: Tensor, attr_output_fn: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:  # noqa: A002 - Zennit's own name
        """Return the model's output and the score.

        Raises
        ------
        ValueError
            If the weights of the outputs do not choose one for each image.
        """
        with torch.no_grad():
            output: Tensor = self.model(input)
        chosen = attr_output_fn(output) != 0
        if output.dim() != 2 or chosen.shape != output.shape or not (chosen.sum(1) == 1).all():
            raise ValueError(
                f"attr_output must have one weight that is not zero for each image; got {int(chosen.sum())} of them in a "
                f"shape of {tuple(chosen.shape)} for an output of {tuple(output.shape)}. "
                "Pass torch.eye(classes)[targets]."
            )
        target = chosen.int().argmax(1)
        relevance = self.attribution.attribute(input, target, against=self.against, score=self.score)
        return output, _by_channel(relevance, self.score)


class FilterLevel(NamedTuple):
    """What a Quantus metric needs to judge scores of filters: ``metric(**level._asdict(), softmax=False)``.

    Attributes
    ----------
    model : nn.Module
        From responses to the output: the model behind its filter bank. It holds a bank of its own that lets each
        response through, so that :func:`explain` works on it, also after its weights are drawn anew.
    x_batch : ndarray, shape (N, F, H', W')
        The responses, one channel for each of the ``F`` features.
    y_batch : ndarray, shape (N,)
        The targets.
    a_batch : ndarray, shape (N, F, 1, 1) or (N, F, H', W')
        The scores.
    channel_first : bool
        True: with more channels than rows Quantus cannot tell.
    """

    model: nn.Module
    x_batch: Array
    y_batch: Array
    a_batch: Array
    channel_first: bool = True

    @property
    def features_in_step(self) -> int:
        """Number of values of ``x_batch`` that belong to one feature: ``PixelFlipping`` takes them away together."""
        return int(np.prod(self.x_batch.shape[2:]))


def explain(
    model: nn.Module,
    inputs: Array | Tensor,
    targets: Array | Tensor | Sequence[int] | int,
    *,
    score: str = "pixel",
    composite: Composite | str | None = None,
    layer: str | None = None,
    calibrate: Calibrate = True,
    against: Against = None,
    colors: ColorGroups = None,
    basis: Basis = None,
    channels: Sequence[str] | None = None,
    reduce_axes: tuple[int, ...] = (),
    **injected: Any,
) -> Array:
    """Return the scores of a batch as an array: an ``explain_func`` for the metrics of Quantus.

    Parameters
    ----------
    model : nn.Module
        Any image classifier in evaluation mode; also a copy whose weights Quantus has drawn anew.
    inputs : ndarray, shape (N, C, H, W)
        Images of any number type; they are brought to the model's.
    targets : ndarray of int, shape (N,)
        The outputs to explain.
    score : {"pixel", "color", "edge", "color_edge", "response"}, default: "pixel"
        ``"pixel"`` (N, C, H, W); ``"color"`` (N, C); ``"edge"`` (N, K); ``"color_edge"`` (N, C*K), color by color;
        ``"response"`` (N, C*K, H', W').
    composite, layer, calibrate, colors, basis, channels
        As in :class:`edgefilter.EdgeFilterAttribution`.
    against : int, ndarray, list, "rest" or "odds", optional
        As in :meth:`edgefilter.EdgeFilterAttribution.attribute`.
    reduce_axes : tuple of int, default: ()
        Axes to sum over, which stay with length 1, as in ``quantus.explain``: ``(1,)`` with ``score="pixel"`` gives
        (N, 1, H, W).
    **injected
        ``device`` and ``method``, which Quantus adds, are not needed and not used.

    Returns
    -------
    scores : ndarray
        Signed, in units of the explained output.

    Raises
    ------
    ValueError, TypeError, KeyError
        If an argument does not fit; the message says what does.

    Examples
    --------
    >>> import edgefilter as ef
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
    >>> images = np.random.default_rng(0).random((2, 3, 6, 6))
    >>> explain(ef.replace_stem(net), images, np.array([7, 1]), score="color").shape
    (2, 3)
    """
    _check_score(score, SCORE_NAMES)
    unknown = sorted(set(injected) - INJECTED)
    if unknown:
        known = (
            *("score", "composite", "layer", "calibrate", "against", "colors", "basis", "channels"),
            "reduce_axes",
        )
        raise TypeError(
            f"explain_func_kwargs must be among {', '.join(known)}; got {unknown[0]!r}{closest(unknown[0], known)}"
        )
    attribution = EdgeFilterAttribution(
        model, composite, colors=colors, basis=basis, calibrate=calibrate, layer=layer, channels=channels
    )
    images = _as_images(inputs, attribution.model)
    target = _as_targets(targets).to(images.device)
    relevance = attribution.attribute(images, target, against=against, score=score)
    scores: Array = _as_array(_by_channel(relevance, score))
    return scores.sum(reduce_axes, keepdims=True) if reduce_axes else scores


def filter_level(
    model: nn.Module,
    inputs: Array | Tensor,
    targets: Array | Tensor | Sequence[int] | int,
    *,
    score: str = "color_edge",
    composite: Composite | str | None = None,
    calibrate: Calibrate = True,
    against: Against = None,
) -> FilterLevel:
    """Return responses, their scores and the model behind them, for metrics that take filters away.

    Parameters
    ----------
    model : nn.Module
        With one edge-filter layer, through which alone the image reaches the output, in evaluation mode.
    inputs, targets, composite, calibrate, against
        As in :func:`explain`.
    score : {"color_edge", "edge", "response"}, default: "color_edge"
        ``"color_edge"``: one feature, and one channel of ``x_batch``, for each filter of each color, color by color,
        (N, C*K, H', W'). ``"edge"``: one for each filter; its responses in all colors lie below each other,
        (N, K, C*H', W'). ``"response"``: as ``"color_edge"``, with scores for each place.

    Returns
    -------
    level : FilterLevel

    Raises
    ------
    ValueError, TypeError, KeyError
        If an argument does not fit, or the model cannot be split; the message says why.

    Notes
    -----
    To have scores made anew from the responses (``MaxSensitivity``, ``MPRT``), pass ``explain_func=explain`` with
    ``explain_func_kwargs={"score": "color", "calibrate": False}``, or ``"pixel"`` for ``"response"``: to ``level.model``
    the features are its colors. The scores are the same if ``calibrate`` is False here as well.

    Examples
    --------
    >>> import edgefilter as ef
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
    >>> level = filter_level(ef.replace_stem(net), np.ones((2, 3, 6, 6)), [7, 1])
    >>> level.x_batch.shape, level.a_batch.shape, level.features_in_step
    ((2, 27, 4, 4), (2, 27, 1, 1), 16)
    """
    _check_score(score, LEVELS)
    how: Any = {"composite": composite, "calibrate": calibrate, "against": against}
    scores = explain(model, inputs, targets, score=score, **how)
    bank = model.get_submodule(bank_path(model))
    assert isinstance(bank, EdgeFilterBank2d)
    front, tail = split(model)
    with torch.no_grad():
        responses = front(_as_images(inputs, model))
    behind: list[nn.Module] = [tail]
    if score == "edge":
        responses = _stacked(responses, bank.in_channels)
        behind = [_Unstacked(bank.in_channels), tail]
    weight = bank.conv.weight
    through = EdgeFilterBank2d(complete_bank(1), responses.shape[1]).to(weight.device, weight.dtype)
    level = nn.Sequential(through, *behind).train(model.training)
    places = (1,) * (responses.dim() - scores.ndim)
    return FilterLevel(
        level, _as_array(responses), _as_targets(targets).numpy(), scores.reshape(*scores.shape, *places)
    )


class _Unstacked(nn.Module):
    """Bring responses that :func:`_stacked` has arranged by filter back to the order of the bank."""

    def __init__(self, colors: int) -> None:
        super().__init__()
        self.colors = colors

    def forward(self, responses: Tensor) -> Tensor:
        """Turn (N, K, C*H', W') into (N, C*K, H', W')."""
        count, filters, rows, columns = responses.shape
        by_color = responses.reshape(count, filters, self.colors, rows // self.colors, columns)
        return by_color.transpose(1, 2).flatten(1, 2)


def _stacked(responses: Tensor, colors: int) -> Tensor:
    """Turn (N, C*K, H', W') into (N, K, C*H', W')."""
    count, channels, rows, columns = responses.shape
    by_color = responses.reshape(count, colors, channels // colors, rows, columns)
    return by_color.transpose(1, 2).flatten(2, 3)


def _by_channel(relevance: Tensor, score: str) -> Tensor:
    """Join colors and filters to one axis, as Quantus and the layer have them."""
    return relevance.flatten(1, 2) if score in ("color_edge", "response") else relevance


def _as_images(inputs: Any, model: nn.Module) -> Tensor:
    if not isinstance(inputs, (Tensor, np.ndarray)) or (
        isinstance(inputs, np.ndarray) and inputs.dtype.kind not in "biuf"
    ):
        raise TypeError(
            f"inputs must be an array or a tensor of numbers, images of shape (N, C, H, W); got {type(inputs).__name__}. Pass the batch that "
            "the metric gets as x_batch."
        )
    weight = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    return torch.as_tensor(inputs).to(weight.device, weight.dtype)


def _as_targets(targets: Any) -> Tensor:
    given = None if targets is None or isinstance(targets, str) else torch.as_tensor(targets).detach().cpu()
    if given is None or bool((given != given.long()).any()):
        raise TypeError(
            f"targets must be whole numbers, one class for each image; got {targets!r}. Pass the metric's y_batch."
        )
    if given.dim() > 1 and given.numel() != len(given):
        raise ValueError(
            f"targets must have shape (N,), one class for each image; got {tuple(given.shape)}. Pass the argmax of one-hot labels."
        )
    return given.long().reshape(-1)


def _as_array(values: Tensor) -> Array:
    values = values.float() if values.dtype is torch.bfloat16 else values  # which NumPy lacks
    array: Array = values.detach().cpu().numpy()
    return array


def _check_score(score: str, known: Sequence[str]) -> None:
    if score not in known:
        raise ValueError(
            f"score must be one of {', '.join(known)}; got {score!r}{closest(str(score), known)}"
        )


def _register(name: str) -> None:
    """Make one of our composites known to Zennit by a name of our own: its own names stay its own."""

    def start(self: NamedComposite, canonizers: list[Any] | None = None, **options: Any) -> None:
        self.__dict__.update(vars(get_composite(name, **options)), canonizers=canonizers or [])

    register_composite(PREFIX + name)(
        type(PREFIX + name, (NamedComposite,), {"__init__": start, "__doc__": f"The composite {name!r}."})
    )


for _name in composite_names():
    _register(_name)
