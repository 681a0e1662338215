"""Reconstruct the salient part: whether the class is recovered from the most salient share of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edgefilter._checks import counted, is_number
from edgefilter.attribution.arguments import Target, are_probabilities, as_extra
from edgefilter.attribution.explained import output_weights
from edgefilter.attribution.images import check_finite
from edgefilter.errors import InputTypeError

from .arguments import as_baselines, check_evaluation, one_input, target_of_each
from .masking import as_output
from .smoothing import gaussian, smoothed

__all__ = ["SalientPart", "salient_part_score"]

SHARE = 0.3  # of the cells, which are on in the mask that the published search starts with
BLUR = 5 / 224  # of the side, as RISE blurs for its insertion score: 5 of 224 pixels


class SalientPart(NamedTuple):
    """What a classifier makes of the most salient part of each image.

    Attributes
    ----------
    ratio : Tensor, shape (N,), float64
        The target's probability (or score) for the part over that for the whole image.
    recovered : Tensor, shape (N,), bool, or None
        Whether the class with the largest output is that of the whole image; None where there is one output only.
    part, whole : Tensor, shape (N,), float64
        The target's probability (or score).
    mask : Tensor, shape (N, 1, H, W), bool
        The part.
    """

    ratio: Tensor
    recovered: Tensor | None
    part: Tensor
    whole: Tensor
    mask: Tensor

    def __repr__(self) -> str:
        ratios = ", ".join(f"{value:.3g}" for value in self.ratio[:6].tolist())
        known = "" if self.recovered is None else f", {int(self.recovered.sum())} recovered"
        return f"SalientPart({counted(len(self.ratio), 'image')}, ratio {ratios}{', ...' * (len(self.ratio) > 6)}{known})"


def salient_part_score(
    forward_func: Callable[..., Any],
    inputs: Tensor | tuple[Tensor, ...],
    attributions: Tensor | tuple[Tensor, ...],
    target: Target = None,
    *,
    share: float = SHARE,
    baselines: Any = "mean",
    additional_forward_args: Any = None,
    softmax: bool | None = None,
) -> SalientPart:
    """Keep the most salient part of each image, fill the rest, and compare the outputs.

    Parameters
    ----------
    forward_func : callable
        A classifier, or a function that gives one score for each image.
    inputs : Tensor, shape (N, C, H, W)
    attributions : Tensor, shape (N, 1, H, W) or (N, C, H, W)
        Summed over channels; the largest values are the most salient. Equal values are taken row by row.
    target : int, tuple, Tensor or list, optional
        In Captum's forms. Default: the largest output for each whole image.
    share : float, default: 0.3
        Which share of the pixels to keep, up to 1.
    baselines : {"mean", "blur"}, number or Tensor, default: "mean"
        What fills the rest: the mean of each channel, the image under a Gaussian of 5 pixels in 224 (what RISE starts insertion from),
        or one of Captum's baselines.
    additional_forward_args : optional
    softmax : bool, optional
        Whether to compare softmax probabilities instead of the outputs. Default: for several classes whose outputs are no
        probabilities.

    Returns
    -------
    found : SalientPart

    Raises
    ------
    TypeError, ValueError, AssertionError, IndexError
        If an argument or the output does not fit; the message says what does.

    Notes
    -----
    The published score fills the rest by a generative network's inpainting, and reports for how many images the class is
    recovered (89 %): the mean of ``recovered``. Here the rest is flat or blurred, so that the numbers do not compare with the published
    one. What fills the rest has an effect of its own, so score a random map as well: on the demo photo and EfficientNet-Lite0, 30 %
    random pixels have a ratio of 0.01 over the mean and of 0.47 over the blurred image, which alone says much about the class.
    Two forward passes.

    References
    ----------
    Thakur and Fischmeister, "A generalizable saliency map-based interpretation of model outcome", ICPR 2020.

    Examples
    --------
    >>> image = torch.zeros(1, 1, 8, 8)
    >>> image[..., 2:4, 2:4] = 1
    >>> bright = lambda x: x.mean((1, 2, 3))
    >>> salient_part_score(bright, image, image, share=0.1, baselines=0)
    SalientPart(1 image, ratio 1)
    >>> salient_part_score(bright, image, image, share=0.1, baselines=0).ratio
    tensor([1.], dtype=torch.float64)
    >>> salient_part_score(bright, image, -image, share=0.1, baselines=0).ratio
    tensor([0.], dtype=torch.float64)
    """
    images, _ = one_input(inputs)
    check_evaluation(forward_func)
    mask = _most_salient(_summed(attributions, images), _share(share))
    filled = torch.where(mask, images, _filling(baselines, images))
    target, extra = target_of_each(target, len(images)), as_extra(additional_forward_args)
    with torch.inference_mode(False), torch.no_grad():
        whole, part = (as_output(forward_func(x, *extra), len(images)) for x in (images, filled))
        return _compared(whole, part, target, softmax, mask)


def _compared(whole: Tensor, part: Tensor, target: Target, softmax: bool | None, mask: Tensor) -> SalientPart:
    classes = whole.dim() == 2 and whole.shape[1] > 1
    if softmax or (
        softmax is None and classes and not (are_probabilities(whole) and are_probabilities(part))
    ):
        whole, part = whole.softmax(1), part.softmax(1)
    recovered = (whole.argmax(1) == part.argmax(1)) if classes else None
    weights = output_weights(whole, whole.argmax(1) if classes and target is None else target)
    scores = [
        torch.where(weights != 0, one, 0).reshape(len(one), -1).sum(1).cpu().double() for one in (whole, part)
    ]
    return SalientPart(scores[1] / scores[0], recovered, scores[1], scores[0], mask)


def _summed(attributions: Any, images: Tensor) -> Tensor:
    """Return one map for each image, (N, H, W)."""
    if isinstance(attributions, tuple) and len(attributions) == 1:
        attributions = attributions[0]
    if not isinstance(attributions, Tensor):
        raise InputTypeError(
            f"attributions must be a Tensor; got {type(attributions).__name__}. Pass what attribute() returns."
        )
    if attributions.shape not in (images.shape, images[:, :1].shape):
        raise ValueError(
            f"attributions must have shape {tuple(images[:, :1].shape)} or {tuple(images.shape)}; got {tuple(attributions.shape)}. "
            "Resize them to the images."
        )
    check_finite(attributions, "attributions")
    return attributions.detach().to(images.device).sum(1)


def _most_salient(maps: Tensor, share: float) -> Tensor:
    """Return where the largest values are, (N, 1, H, W)."""
    flat = maps.flatten(1)
    kept = max(1, round(share * flat.shape[1]))
    first = flat.argsort(dim=1, descending=True, stable=True)[:, :kept]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, first, True).reshape(maps[:, None].shape)


def _filling(baselines: Any, images: Tensor) -> Tensor:
    if not isinstance(baselines, str):
        return as_baselines(baselines, images)
    if baselines == "mean":
        return images.mean((2, 3), keepdim=True)
    if baselines == "blur":
        rows, columns = (gaussian(BLUR * side) for side in images.shape[2:])
        return smoothed(images, rows, columns)
    raise ValueError(
        f"baselines must be 'blur', 'mean', a number or a Tensor; got {baselines!r}. Pass for example baselines=0."
    )


def _share(share: Any) -> float:
    if not is_number(share) or not 0 < share <= 1:
        raise ValueError(
            f"share must be above 0 and at most 1; got {share!r}. Pass for example share={SHARE}."
        )
    return float(share)
