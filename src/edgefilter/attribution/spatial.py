"""Where the relevance of an explanation lies: by region of the image, and as one map of each."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from edgefilter.plots.arrays import visible

from .maps import relevance_map
from .regions import RegionScores, region_scores
from .views import ScoreViews

__all__ = ["SpatialViews"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SpatialViews(ScoreViews):
    """Regions and maps of an explanation. The class to use is :class:`Explanation`."""

    def region(self, label_map: Any) -> RegionScores:
        """Return the scores of the regions of a label map: a partition of the scores by color and filter.

        Parameters
        ----------
        label_map : Tensor or ndarray of int, shape (H, W) or (N, H, W)
            One label for each pixel of the images as the model saw them, for all images or for each: superpixels, a segmentation, a mask of
            truth values. Labels need not be consecutive.

        Returns
        -------
        scores : RegionScores
            ``.labels``, ``.color_edge`` (N, R, C, K), its sums ``.color``, ``.edge`` and ``.total`` (N, R), and ``.note``.

        Raises
        ------
        TypeError, ValueError
            If the label map holds no whole numbers, or is not of the size of the images.

        Notes
        -----
        The relevance of a response is shared among the pixels under its kernel by the squared weights, as the default composite shares it (or
        alike, with the flat rule): the sums over the filters are those of ``pixel`` in each region. Where other rules hand relevance to
        the pixels, the regions still add up to ``color_edge``, and ``note`` says that they differ from ``pixel``.

        Examples
        --------
        >>> import torch
        >>> response = torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 1, 2)
        >>> views = SpatialViews(response, None, torch.tensor([4.0]), (0,), ("gray",), ("sobel_x",))
        >>> regions = views.region(torch.tensor([[7, 7, 9, 9]]))
        >>> regions.labels, regions.total
        ((7, 9), tensor([[1., 3.]]))
        """
        return region_scores(self, label_map)

    def picture(self, image: int = 0) -> npt.NDArray[np.float64] | None:
        """Return what the model saw, as a viewer would see it: shape (H, W, 3), from 0 to 1; None if ``inputs`` are unknown.

        Normalised images are stretched to their own range, so that colors may be off; :meth:`Classifier.to_picture
        <edgefilter.classifiers.Classifier.to_picture>` knows the right ones.

        Examples
        --------
        >>> import torch
        >>> pixel = torch.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2)
        >>> views = SpatialViews(pixel[:, :, None], pixel, torch.zeros(1), (0,), ("gray",), ("sobel_x",), inputs=pixel)
        >>> views.picture()[0].tolist()
        [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
        """
        if self.inputs is None:
            return None
        named = len(self.channels) == self.inputs.shape[1] and not self.about.get("basis")
        return visible(self.inputs[image], self.channels if named else None)

    def map(
        self, kind: str = "positive", *, smooth: float | bool | None = None, normalize: bool = False
    ) -> Tensor:
        """Return one map for each image, as class activation maps are: the relevance of its pixels, colors summed.

        Parameters
        ----------
        kind : {"positive", "signed", "absolute"}, default: "positive"
            What speaks for the output, and 0 elsewhere; all with its sign; or the size of it.
        smooth : float or bool, optional
            Blur the summed relevance by a Gaussian of so many pixels of standard deviation, before ``kind``: mirrored at the borders, so
            that the signed sum stays. True: 16, half the stride of most classifiers of photos, whose maps it makes as coarse as class
            activation maps. Default: as sharp as they are.
        normalize : bool, default: False
            Whether to divide by the largest size in each image: positive and absolute maps are in [0, 1] then, signed ones in [-1, 1]. A
            map without relevance stays 0.

        Returns
        -------
        map : Tensor, shape (N, H, W)
            In units of the explained output, unless it is normalized.

        Raises
        ------
        ValueError
            If an argument does not fit, or the explanation has no relevance by pixel.

        Examples
        --------
        >>> import torch
        >>> pixel = torch.tensor([2.0, -4.0]).reshape(1, 1, 1, 2)
        >>> views = SpatialViews(pixel[:, :, None], pixel, torch.tensor([-2.0]), (0,), ("gray",), ("sobel_x",))
        >>> views.map(), views.map("signed", normalize=True)
        (tensor([[[2., 0.]]]), tensor([[[ 0.5000, -1.0000]]]))
        """
        return relevance_map(self, kind, smooth, normalize=normalize)
