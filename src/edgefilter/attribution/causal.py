"""What the output loses when a color or a filter is silenced: the check of a score by intervention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edgefilter._checks import counted

from .arguments import Against, Target
from .attribution import EdgeFilterAttribution
from .explanation import Explanation
from .forward import Forward, warn_of_numbers
from .images import as_images

__all__ = ["CausalCheck", "causal_check"]

AGREEMENT = 1e-3  # of two runs of one model on the same images, relative: float32, another batch, other kernels of the library


class _Drops(NamedTuple):
    color: Tensor
    edge: Tensor


class CausalCheck(_Drops):
    """By how much the explained output drops when one part of the responses is silenced; negative where it rises.

    Attributes
    ----------
    color : Tensor, shape (N, C)
        The drop when all responses of a color are set to zero.
    edge : Tensor, shape (N, K)
        The same for each filter.
    colors, filters, filter_labels : tuple of str
        Their names. They are no part of the tuple: ``color, edge = check``.

    Examples
    --------
    >>> CausalCheck(torch.ones(1, 1), torch.ones(1, 2), ("gray",), ("sobel_x", "sobel_y"))
    CausalCheck(1 image, 1 color, 2 filters)
    """

    colors: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    filter_labels: tuple[str, ...] = ()

    def __new__(
        cls,
        color: Tensor,
        edge: Tensor,
        colors: Sequence[str] = (),
        filters: Sequence[str] = (),
        filter_labels: Sequence[str] = (),
    ) -> CausalCheck:
        """Return a pair that knows its names, if they are given; without labels, names are labels."""
        drops = super().__new__(cls, color, edge)
        drops.colors, drops.filters = tuple(colors), tuple(filters)
        drops.filter_labels = tuple(filter_labels) or drops.filters
        return drops

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return what copies and pickles are made from."""
        return self.color, self.edge, self.colors, self.filters, self.filter_labels

    def __repr__(self) -> str:
        parts = ((len(self.color), "image"), (self.color.shape[1], "color"), (self.edge.shape[1], "filter"))
        return f"CausalCheck({', '.join(counted(*part) for part in parts)})"

    def _repr_html_(self) -> str:
        from .notebook import html_of_check

        return html_of_check(self)


def causal_check(
    attribution: EdgeFilterAttribution,
    inputs: Tensor | tuple[Tensor, ...],
    explanation: Explanation | None = None,
    additional_forward_args: Any = None,
    *,
    target: Target = None,
    against: Against = None,
    show_progress: bool = False,
) -> CausalCheck:
    """Silence each color and each filter in turn and measure the drop of the explained output.

    Parameters
    ----------
    attribution : EdgeFilterAttribution
        Says which model and stem.
    inputs : Tensor, shape (N, C, H, W), or tuple of Tensors
        The images.
    explanation : Explanation, optional
        Of these images: says what was explained, in place of ``target`` and ``against``.
    additional_forward_args : Any, optional
        Further arguments of the model.
    target, against : optional
        As in :meth:`EdgeFilterAttribution.explain`: without a target, the largest output of each image.
    show_progress : bool, default: False
        Whether to show a progress bar, on stderr.

    Returns
    -------
    check : CausalCheck
        ``color`` and ``edge``, in units of the explained output, counted from the output that is measured here.

    Raises
    ------
    ValueError
        If the explanation is not of these images, this model and this bank, or is ``normalized()``.

    Notes
    -----
    Costs ``C + K + 1`` forward passes. A silenced map is zero everywhere, which no photo gives: like every ablation, this
    asks the network about something it has not seen. Where parts share a task, silencing one of them says little about it: see
    :class:`EdgeFilterShapley`.

    Examples
    --------
    A linear network loses with each color just what the color gave:

    >>> import edgefilter as ef
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3, bias=False), torch.nn.Flatten()).eval()
    >>> attr, images = ef.EdgeFilterAttribution(net), torch.rand(1, 3, 3, 3)
    >>> explanation = attr.explain(images)
    >>> check = causal_check(attr, images, explanation)
    >>> torch.allclose(check.color.sum(1), explanation.output, atol=1e-5)
    True
    """
    if not isinstance(attribution, EdgeFilterAttribution):
        raise TypeError(
            f"attribution must be an EdgeFilterAttribution; got {type(attribution).__name__}. Pass causal_check(attribution, images), with "
            "attribution = EdgeFilterAttribution(model)."
        )
    if explanation is not None:
        _check_alone(inputs, explanation, target, against)
        target = None if None in explanation.target else list(explanation.target)
        against = _as_given(explanation.against)
    question = attribution.question(inputs, target, additional_forward_args, against, predict=True)
    with attribution.propagator(question.images).run(question) as forward:
        if explanation is not None:
            _check_same(forward, explanation)
        warn_of_numbers(forward.explained, stacklevel=3)
        runs = forward.partial_runs(len(question.images[0]), "parts" if show_progress else None)
        without = 1 - torch.eye(runs.colors), 1 - torch.eye(runs.filters)
        keeps = [*without[0][:, :, None], *(one.expand(runs.colors, -1) for one in without[1])]
        drops = (runs.every[:, None] - runs.outputs(keeps)).to(forward.explained)
        if explanation is not None and explanation.effects is not None:
            _check_close(
                drops[:, : runs.colors], explanation.effects, drops.abs().amax(), "effects of the colors"
            )
    bank = forward.reads[0].bank
    named = forward.colors, bank.names, bank.labels
    return CausalCheck(drops[:, : runs.colors], drops[:, runs.colors :], *named)


def _as_given(against: tuple[Any, ...]) -> Any:
    """Return what all images were compared with, in one of the forms that are taken."""
    if not against or None in against:
        return None
    return next((one for one in against if isinstance(one, str)), list(against))


def _check_alone(inputs: Any, explanation: Any, target: Any, against: Any) -> None:
    if not isinstance(explanation, Explanation):
        raise TypeError(
            f"explanation must be an Explanation of these images, or None; got {type(explanation).__name__}. Name outputs by target=..."
        )
    if target is not None or against is not None:
        raise ValueError(
            "target and against must be None with an explanation, which says what was explained; got both. Leave one out."
        )
    count = len(as_images(inputs)[0])
    if count != len(explanation):
        raise ValueError(
            f"inputs must be the {len(explanation)} images that were explained; got {count}. "
            "Pass the same batch, or index the explanation."
        )


def _check_same(forward: Forward, explanation: Explanation) -> None:
    bank = forward.reads[0].bank
    names = forward.colors, tuple(bank.names)
    if (explanation.colors, explanation.filters) != names:
        raise ValueError(
            f"explanation must be of this stem and bank, with {len(names[0])} colors and {len(names[1])} filters named as here; got "
            f"{explanation!r}. Explain these images again."
        )
    known = ~explanation.output.isnan()
    scale = forward.output.detach().abs().amax()
    _check_close(forward.explained[known], explanation.output[known], scale, "an output")


def _check_close(measured: Tensor, given: Tensor, scale: Tensor, what: str) -> None:
    measured, given = measured.double().cpu(), given.double().cpu()
    if not torch.allclose(measured, given, rtol=AGREEMENT, atol=AGREEMENT * float(scale), equal_nan=True):
        raise ValueError(
            f"explanation must be of these images, this model and this target, and not normalized; got {what} of "
            f"{given.tolist()} where the model gives {measured.tolist()}. Explain these images again."
        )
