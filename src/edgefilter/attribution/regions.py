"""Scores by region of the image, for a label map such as superpixels or a segmentation."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgefilter._checks import counted
from edgefilter.stems.windows import Window, nearest_places

if TYPE_CHECKING:
    import pandas as pd

    from .views import ScoreViews

__all__ = ["RegionScores", "region_scores"]

# Of the sizes of all pixels of an image. On superpixels of 5 photos and 4 networks, float32 sums differ by 4e-8 at most from those of the
# pixel map; under the z-box and the epsilon rule by 6e-4 at least.
AGREEMENT = 1e-5

OTHERWISE = "the regions' sums over filters are not those of the pixel map: "


@dataclasses.dataclass(frozen=True, eq=False)
class RegionScores:
    """Scores by region, color and filter, signed, in units of the explained output.

    The regions together have what the image has: ``color_edge.sum(1)`` is the explanation's ``color_edge``.

    Attributes
    ----------
    labels : tuple of int
        The labels of the ``R`` regions, in ascending order.
    color_edge : Tensor, shape (N, R, C, K)
    colors, filters, filter_labels : tuple of str
        Names of the ``C`` colors and ``K`` filters.
    target : tuple
        One entry per image.
    note : str
        What to know about the scores; empty if the sums over colors and filters are those of the pixel map in each region.
    """

    labels: tuple[int, ...]
    color_edge: Tensor
    colors: tuple[str, ...]
    filters: tuple[str, ...]
    filter_labels: tuple[str, ...]
    target: tuple[Any, ...]
    note: str = ""

    @property
    def color(self) -> Tensor:
        """Score by region and color, shape (N, R, C)."""
        return self.color_edge.sum(3)

    @property
    def edge(self) -> Tensor:
        """Score by region and filter, shape (N, R, K)."""
        return self.color_edge.sum(2)

    @property
    def total(self) -> Tensor:
        """Score by region, shape (N, R)."""
        return self.color_edge.sum((2, 3))

    def __len__(self) -> int:
        return len(self.color_edge)

    def _repr_html_(self) -> str:
        from .notebook import html_of_regions

        return html_of_regions(self)

    def __repr__(self) -> str:
        return (
            f"RegionScores({counted(len(self), 'image')}, {counted(len(self.labels), 'region')}, "
            f"{counted(len(self.colors), 'color')}, {counted(len(self.filters), 'filter')})"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per image, region, color and filter.

        Returns
        -------
        table : pandas.DataFrame
            Columns ``image``, ``target``, ``region`` (its label), ``color``, ``filter``, ``label`` (the filter's), ``relevance``.
        """
        import pandas as pd

        rows = [
            (image, self.target[image], region, color, name, label, value)
            for image, by_region in enumerate(self.color_edge.tolist())
            for region, table in zip(self.labels, by_region, strict=True)
            for color, row in zip(self.colors, table, strict=True)
            for name, label, value in zip(self.filters, self.filter_labels, row, strict=True)
        ]
        heads = ["image", "target", "region", "color", "filter", "label", "relevance"]
        found: pd.DataFrame = pd.DataFrame(rows, columns=heads)
        return found


def region_scores(explanation: ScoreViews, label_map: Any) -> RegionScores:
    """Divide the scores of color and filter among the regions of a label map.

    Parameters
    ----------
    explanation : Explanation
    label_map : Tensor or ndarray of int, shape (H, W) or (N, H, W)

    Returns
    -------
    scores : RegionScores

    Raises
    ------
    TypeError, ValueError
        If the label map holds no whole numbers, or is not of the size of the images.
    """
    labels, each = torch.unique(_label_maps(explanation, label_map), return_inverse=True)
    found = explanation.response.new_zeros(
        len(explanation), len(labels), len(explanation.colors), len(explanation.filters)
    )
    window = explanation.window
    for image, response in enumerate(explanation.response):
        regions = each[image % len(each)]
        for color, by_filter in enumerate(response):
            one = (
                _by_middle(by_filter, regions, len(labels))
                if window is None
                else _by_window(by_filter, window, regions, len(labels))
            )
            found[image, :, color] = one.to(found)
    return RegionScores(
        labels=tuple(labels.tolist()),
        color_edge=found,
        colors=explanation.colors,
        filters=explanation.filters,
        filter_labels=explanation.filter_labels,
        target=explanation.target,
        note=_note(explanation, found.sum((2, 3)), each),
    )


def _label_maps(explanation: ScoreViews, label_map: Any) -> Tensor:
    """Return label maps of the images' size, (1, H, W) or (N, H, W), on the CPU."""
    given = label_map if isinstance(label_map, Tensor) else np.asarray(label_map)
    if not isinstance(given, Tensor) and given.dtype.kind in "biu":
        given = torch.from_numpy(given.astype(np.int64))
    if not isinstance(given, Tensor) or given.is_floating_point() or given.is_complex():
        raise TypeError(
            f"label_map must hold whole numbers, one label per pixel; got {given.dtype}. Pass for example what "
            "skimage.segmentation.slic(image) returns."
        )
    size = _image_size(explanation)
    count = len(explanation)
    fits = given.dim() == 2 or (given.dim() == 3 and given.shape[0] == count)
    if not fits or given.numel() == 0 or (size is not None and tuple(given.shape[-2:]) != size):
        height, width = size or ("height", "width")
        raise ValueError(
            f"label_map must have shape ({height}, {width}) or ({count}, {height}, {width}), like the images that the model saw; got "
            f"{tuple(given.shape)}. Label the picture after it is resized and cropped."
        )
    return given.detach().cpu().long().reshape(-1, *given.shape[-2:])


def _image_size(explanation: ScoreViews) -> tuple[int, int] | None:
    if explanation.window is not None:
        return explanation.window.size
    return None if explanation.pixel is None else tuple(explanation.pixel.shape[2:])  # type: ignore[return-value]


def _by_middle(response: Tensor, regions: Tensor, count: int) -> Tensor:
    """Return relevance (K, H', W') by region, (R, K): each place counts for the pixel under its middle."""
    places = nearest_places(response.shape[1:], regions.shape)
    return _added(response, regions.flatten()[places], count)


def _by_window(response: Tensor, window: Window, regions: Tensor, count: int) -> Tensor:
    """Return relevance (K, H', W') by region, (R, K): each place is shared among the pixels that it sees.

    The relevance of a place that sees no pixel goes to all pixels alike.
    """
    values = response if response.dtype == torch.float64 else response.float()
    weight = window.shares[:, None].to(values)
    pixels = window.pixels.to(values.device)
    seen = (pixels >= 0).to(values)
    whole = F.conv2d(seen[None, None], weight, None, window.stride, 0, window.dilation)[0]
    ratio = torch.where(whole > 0, values / torch.where(whole > 0, whole, 1), 0)
    back = F.conv_transpose2d(
        ratio[None], weight, None, window.stride, 0, _left_over(window), len(weight), window.dilation
    )[0]
    of_pixel = regions.flatten()
    found = _added(back * seen, of_pixel.to(values.device)[pixels.clamp(min=0)], count)
    lost = _exact(torch.where(whole > 0, 0, values)).sum((1, 2))
    sizes = torch.bincount(of_pixel, minlength=count).to(lost) / len(of_pixel)
    return found + sizes[:, None] * lost


def _added(values: Tensor, at: Tensor, count: int) -> Tensor:
    """Return the sums of maps (K, H, W) over the places of each region, (R, K), float64."""
    exact = _exact(values).flatten(1)
    return exact.new_zeros(len(exact), count).index_add_(1, at.flatten().to(exact.device), exact).T


def _left_over(window: Window) -> list[int]:
    """Return how many rows and columns at the end no response sees."""
    return [
        whole - ((place - 1) * stride + dilation * (kernel - 1) + 1)
        for whole, place, stride, dilation, kernel in zip(
            window.pixels.shape,
            window.places,
            window.stride,
            window.dilation,
            window.shares.shape[1:],
            strict=True,
        )
    ]


def _exact(values: Tensor) -> Tensor:
    """Return values in float64, on the CPU if their device has none."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def _note(explanation: ScoreViews, totals: Tensor, each: Tensor) -> str:
    """Say whether the regions have what the pixel map has in them."""
    if explanation.window is None:
        return (
            OTHERWISE
            + "it is not known which pixels a place sees, so that each counts for the pixel under its middle."
        )
    if explanation.pixel is None:
        return "the explanation has no pixel map that the regions could be held against."
    pixel = _exact(explanation.pixel.sum(1)).flatten(1)
    at = each.expand(len(pixel), -1, -1).flatten(1).to(pixel.device)
    expected = pixel.new_zeros(totals.shape).scatter_add_(1, at, pixel)
    size = pixel.abs().sum(1, keepdim=True)
    least = max(AGREEMENT, torch.finfo(explanation.pixel.dtype).eps)
    if bool(((expected - totals.to(expected)).abs() <= least * size).all()):
        return ""
    return (
        OTHERWISE
        + "these were made by another rule, by several stems, or behind layers that the regions cannot follow."
    )
