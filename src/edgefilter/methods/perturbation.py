"""How fast an output falls as the windows with the largest attributions are filled with noise: SmoothTaylor's AUPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgefilter.attribution.arguments import Target, as_extra

from .arguments import check_evaluation, generator_of, imported, one_input, target_of_each, whole_number
from .outputs import outputs_of

__all__ = ["area_under_perturbation_curve", "perturbation_curve"]

WINDOW_OF_224 = 15  # pixels, as published for images of 224


def area_under_perturbation_curve(
    forward_func: Callable[..., Any],
    inputs: Tensor | tuple[Tensor],
    attributions: Tensor | tuple[Tensor],
    target: Target = None,
    additional_forward_args: Any = None,
    **settings: Any,
) -> Tensor:
    """Measure how fast the output falls as the windows with the largest attributions are filled with noise (AUPC).

    Parameters
    ----------
    forward_func, inputs, attributions, target, additional_forward_args, **settings
        As for :func:`perturbation_curve`.

    Returns
    -------
    area : Tensor, shape (N,)
        Simpson's area under the curve, one unit for each window; lower is better. An output that noise does not touch
        has ``n_windows`` times its sign.

    Raises
    ------
    ImportError
        If SciPy is not installed.
    ValueError, TypeError, IndexError, AssertionError
        As for :func:`perturbation_curve`.

    Examples
    --------
    >>> images = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    >>> corner = torch.zeros(1, 1, 12, 12)
    >>> corner[..., :4, :4] = 1
    >>> score = lambda images: (images * corner).sum((1, 2, 3))
    >>> right, wrong = (
    ...     area_under_perturbation_curve(score, images, maps, n_windows=4, window=2, n_fills=5, low=-1, high=0)
    ...     for maps in (corner.expand(2, 1, 12, 12), 1 - corner.expand(2, 1, 12, 12))
    ... )
    >>> right < wrong
    tensor([True, True])
    """
    simpson = imported("scipy.integrate", "area_under_perturbation_curve").simpson
    curve = perturbation_curve(
        forward_func, inputs, attributions, target, additional_forward_args, **settings
    )
    return torch.from_numpy(np.asarray(simpson(curve.cpu().double().numpy(), dx=1, axis=1))).to(curve)


def perturbation_curve(
    forward_func: Callable[..., Any],
    inputs: Tensor | tuple[Tensor],
    attributions: Tensor | tuple[Tensor],
    target: Target = None,
    additional_forward_args: Any = None,
    *,
    n_windows: int = 30,
    window: int | None = None,
    n_fills: int = 50,
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
    perturbations_per_eval: int | None = None,
    seed: int | torch.Generator = 0,
) -> Tensor:
    """Return the output as windows with the largest attributions are filled with noise, one after the other.

    Windows do not overlap; they are ordered by the mean size of the attributions in them, summed over colors. Each is
    filled with uniform noise several times: the curve has the mean of the outputs, and the fill whose output is nearest
    their median stays.

    Parameters
    ----------
    forward_func : callable
        From images to outputs; logits, in the paper.
    inputs : Tensor, shape (N, C, H, W)
    attributions : Tensor, shape (N, C', H, W)
    target : int, tuple, Tensor or list, optional
        The output to follow, in Captum's forms.
    additional_forward_args : Any, optional
    n_windows : int, default: 30
        How many windows are filled.
    window : int, optional
        Their side in pixels. Default: 15 for 224 pixels, as published, and in proportion for others.
    n_fills : int, default: 50
        How often each is filled.
    low, high : float or Tensor of shape (C,), optional
        The range of the noise, in units of ``inputs``. Default: that of each color in each image. The paper's is that of
        all pixels: ``low=(0 - mean) / std``, ``high=(1 - mean) / std`` of the normalization.
    perturbations_per_eval : int, optional
        How many fills of each image the model gets at a time. Default: all.
    seed : int or torch.Generator, default: 0
        Of the noise, which is the same for each image of a batch but for its range.

    Returns
    -------
    curve : Tensor, shape (N, n_windows + 1)
        Divided by the size of the first output: it begins at 1 (or -1, for a negative output).

    Raises
    ------
    ValueError, TypeError, IndexError, AssertionError
        If an argument does not fit, windows do not fit into the image, or the output of an image is 0.

    Notes
    -----
    **Cost**: ``n_windows * n_fills`` forward passes for each image.
    """
    images, maps, side = _checked(inputs, attributions, window)
    check_evaluation(forward_func)
    places = _windows(maps, whole_number(n_windows, "n_windows"), side)
    lows, highs = _range(images, low, high)
    generator, fills = generator_of(seed), whole_number(n_fills, "n_fills")
    size = (
        fills
        if perturbations_per_eval is None
        else whole_number(perturbations_per_eval, "perturbations_per_eval")
    )
    scores = _Scores(
        forward_func, target_of_each(target, len(images)), as_extra(additional_forward_args), size
    )
    with torch.no_grad():
        first = scores(images[:, None])[:, 0]
        if not bool((first != 0).all()):
            image = int((first == 0).nonzero()[0])
            raise ValueError(
                f"forward_func must give outputs other than 0, which the curve is divided by; got 0 for image {image}. "
                "Leave it out."
            )
        curve, rows = [first], torch.arange(len(images), device=images.device)
        for step in range(n_windows):
            unit = torch.rand(fills, images.shape[1], side, side, generator=generator).to(images)
            noise = lows[:, None] + (highs - lows)[:, None] * unit
            noise = noise.expand(len(images), *unit.shape)
            found = scores.of_fills(images, noise, places[:, step])
            curve.append(found.mean(1))
            nearest = (found - found.quantile(0.5, dim=1, keepdim=True)).abs().argmin(1)
            images = _filled(images, noise[rows, nearest][:, None], places[:, step])[:, 0]
        return (torch.stack(curve, 1) / first.abs()[:, None]).to(images)


class _Scores:
    """The outputs of several versions of each image."""

    def __init__(self, forward_func: Any, target: Target, extra: tuple[Any, ...], size: int) -> None:
        self.forward_func, self.target, self.extra, self.size = forward_func, target, extra, size

    def __call__(self, versions: Tensor) -> Tensor:
        """Map (N, V, C, H, W) to (N, V)."""
        rows, count = (versions.flatten(0, 1),), versions.shape[1]
        chosen = outputs_of(self.forward_func, rows, count, self.target, self.extra)
        return chosen.to(versions.device, torch.promote_types(versions.dtype, torch.float32))

    def of_fills(self, images: Tensor, fills: Tensor, corners: Tensor) -> Tensor:
        """Return the outputs with a window of each image filled in several ways, (N, V)."""
        pieces = torch.split(fills, self.size, 1)
        return torch.cat([self(_filled(images, some, corners)) for some in pieces], 1)


def _checked(inputs: Any, attributions: Any, window: int | None) -> tuple[Tensor, Tensor, int]:
    images, _ = one_input(inputs)
    maps, _ = one_input(attributions, "attributions")
    if (len(maps), maps.shape[2:]) != (len(images), images.shape[2:]):
        raise ValueError(
            f"attributions must be maps of the inputs, {tuple(images.shape)}; got {tuple(maps.shape)}. Resize them, for "
            "example with LayerAttribution.interpolate."
        )
    proportional = max(1, round(WINDOW_OF_224 * min(images.shape[2:]) / 224))
    side = proportional if window is None else whole_number(window, "window")
    if side > min(images.shape[2:]):
        raise ValueError(
            f"window must be at most as large as the images, {tuple(images.shape[2:])}; got {side}. Pass a smaller one."
        )
    return images, maps, side


def _windows(maps: Tensor, count: int, side: int) -> Tensor:
    """Return the upper left corners of the windows with the largest attributions, (N, count, 2)."""
    means = F.avg_pool2d(maps.sum(1, keepdim=True).abs(), side, stride=1)[:, 0]
    _, height, width = means.shape
    y, x = torch.arange(height, device=maps.device), torch.arange(width, device=maps.device)
    corners = []
    for number in range(count):
        best, flat = means.flatten(1).max(1)
        if bool((best < 0).any()):
            raise ValueError(
                f"n_windows must fit into the images without overlap; got {count} of {side} x {side} pixels, and room for "
                f"{number}. Pass fewer or smaller ones: n_windows={number}."
            )
        top, left = flat // width, flat % width
        near = ((y - top[:, None]).abs() < side)[:, :, None] & ((x - left[:, None]).abs() < side)[:, None]
        means = means.masked_fill(near, -1.0)
        corners.append(torch.stack([top, left], 1))
    return torch.stack(corners, 1)


def _range(images: Tensor, low: Any, high: Any) -> tuple[Tensor, Tensor]:
    """Return the range of the noise in each color, two of shape (1 or N, C, 1, 1)."""
    colors = images.shape[1]
    ends = []
    for name, value, own in (("low", low, images.amin), ("high", high, images.amax)):
        if value is None:
            ends.append(own((2, 3), keepdim=True))
            continue
        given = torch.as_tensor(value, dtype=images.dtype, device=images.device).reshape(-1)
        if len(given) not in (1, colors):
            raise ValueError(
                f"{name} must be one number, or a Tensor of one for each of the {colors} colors; got {len(given)}. Pass (0 - mean) "
                "/ std of the normalization as low, (1 - mean) / std as high."
            )
        ends.append(given.expand(colors).reshape(1, -1, 1, 1))
    return ends[0], ends[1]


def _filled(images: Tensor, fills: Tensor, corners: Tensor) -> Tensor:
    """Return versions of each image with a window of noise, (N, V, C, H, W)."""
    side = fills.shape[-1]
    versions = images[:, None].repeat(1, fills.shape[1], 1, 1, 1)
    for one, fill, (top, left) in zip(versions, fills, corners.tolist(), strict=True):
        one[..., top : top + side, left : left + side] = fill
    return versions
