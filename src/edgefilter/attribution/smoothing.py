"""An explanation whose maps are blurred, with the same scores."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from .maps import blurred

if TYPE_CHECKING:
    from .explanation import Explanation

__all__ = ["smoothed"]


def smoothed(explanation: Explanation, sigma: float) -> Explanation:
    """Blur the relevance by pixel, and that of each color and filter at the stem, by a Gaussian.

    Parameters
    ----------
    explanation : Explanation
    sigma : float
        Standard deviation in pixels of the image, above 0; at the stem it is smaller by as much as its maps are.

    Returns
    -------
    explanation : Explanation
        Its scores and sums are as they were, as nothing leaves an image at its border.

    Examples
    --------
    >>> import torch
    >>> from edgefilter import Explanation
    >>> relevance = torch.zeros(1, 1, 1, 4, 4)
    >>> relevance[..., 1, 2] = 2.0
    >>> sharp = Explanation(relevance, relevance[:, :, 0], torch.tensor([2.0]), (0,), ("gray",), ("sobel_x",))
    >>> smooth = smoothed(sharp, 1.0)
    >>> smooth.color, bool(smooth.pixel.max() < 0.5)
    (tensor([[2.0000]]), True)
    """
    response, pixel = explanation.response, explanation.pixel
    ratio = 1.0 if pixel is None else response.shape[3] / pixel.shape[2]
    found = blurred(response.flatten(0, 2), sigma * ratio).reshape(response.shape)
    maps = None if pixel is None else blurred(pixel.flatten(0, 1), sigma).reshape(pixel.shape)
    return dataclasses.replace(explanation, response=found, pixel=maps)
