"""What the output loses when a color or a filter is silenced: the check of a score by intervention."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .attribution import EdgeFilterAttribution
from .explanation import Explanation

__all__ = ["CausalCheck", "causal_check"]


class CausalCheck(NamedTuple):
    """By how much the explained output drops when one part of the responses is silenced; negative where it rises.

    Attributes
    ----------
    color : Tensor, shape (N, C)
        The drop when all responses of a color are set to zero.
    edge : Tensor, shape (N, K)
        The same for each filter.
    """

    color: Tensor
    edge: Tensor


def causal_check(
    attribution: EdgeFilterAttribution,
    inputs: Tensor,
    explanation: Explanation,
    additional_forward_args: Any = None,
) -> CausalCheck:
    """Silence each color and each filter in turn and measure the drop of the explained output.

    Parameters
    ----------
    attribution : EdgeFilterAttribution
        The one that gave the explanation.
    inputs : Tensor, shape (N, C, H, W)
        The images that were explained.
    explanation : Explanation
        Says which targets to look at.
    additional_forward_args : Any, optional
        Further arguments of the model.

    Returns
    -------
    check : CausalCheck
        ``color`` and ``edge``, in units of the explained output.

    Raises
    ------
    ValueError
        If there are more or fewer images than were explained.

    Notes
    -----
    Drops are counted from ``explanation.output``. That it is what this attribution explains of these images is not checked: an
    explanation of another start, of other images, or of a difference to a baseline gives numbers that mean nothing.

    Costs ``C + K`` forward passes. A silenced map is zero everywhere, which no photo gives: like every ablation, this
    asks the network about something it has not seen.

    Examples
    --------
    A linear network loses with each color just what the color gave:

    >>> import edgefilter as ef
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3, bias=False), torch.nn.Flatten()).eval()
    >>> attr = ef.EdgeFilterAttribution(ef.replace_stem(net))
    >>> images = torch.rand(1, 3, 3, 3)
    >>> explanation = attr.explain(images)
    >>> check = causal_check(attr, images, explanation)
    >>> torch.allclose(check.color.sum(1), explanation.output, atol=1e-5)
    True
    """
    if len(inputs) != len(explanation):
        raise ValueError(
            f"inputs must be the {len(explanation)} images that were explained; got {len(inputs)}. "
            "Pass the same batch, or index the explanation."
        )
    target = None if None in explanation.target else list(explanation.target)

    def drops(axis: str, names: tuple[str, ...]) -> Tensor:
        outputs = [
            attribution.silence(inputs, target, additional_forward_args, **{axis: [name]}) for name in names
        ]
        return torch.stack([explanation.output - output for output in outputs], dim=1)

    return CausalCheck(drops("colors", explanation.colors), drops("filters", explanation.filters))
