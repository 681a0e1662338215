"""What is general about a class: running statistics of the shares of many explanations, as a torchmetrics metric."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric

from edgefilter._checks import counted, pair
from edgefilter._files import read_tagged, write_tagged

from .checks import check_explanation, check_labels, clean_names, shortened
from .shares import shares_of
from .statistics import add_moments, merge_moments, of_moments, writable
from .views import ProfileViews

if TYPE_CHECKING:
    from edgefilter.attribution.explanation import Explanation

__all__ = ["ClassProfile"]

FORMAT = "edgefilter class profile 1"


class ClassProfile(ProfileViews, Metric):
    """Mean and spread, per class, of the shares that colors, filters and pairs have in the explanations of its images.

    The share of a pair of color and filter in an image is its score divided by the sum of the absolute scores of all
    pairs: signed, from -1 to 1, without units. A color's share is the sum of its pairs' shares, a filter's likewise,
    so ``color.sum() == edge.sum() == color_edge.sum()`` for every image. The output itself, which may be close to zero,
    divides nothing. An image without any relevance, or with NaN or infinite relevance, has no shares: it is counted in
    ``unusable`` and enters neither mean nor spread.

    Parameters
    ----------
    num_classes : int
    colors, filters : sequence of str
        Names of the ``C`` colors and ``K`` filters, as in ``explanation.colors`` and ``explanation.filters``.
    class_names : sequence of str, optional
        One for each class, for tables and pictures. Default: ``"0"``, ``"1"``, ...
    filter_labels : sequence of str, optional
        The filters' names as words, as in ``explanation.filter_labels``. Default: ``filters``.
    pixel_size : int or (height, width), optional
        For images that are aligned, such as digits: the size of ``explanation.pixel``, to have the mean pixel map of
        each class as well. Default: none.
    **kwargs : Any
        Of ``torchmetrics.Metric``, such as ``sync_on_compute``.

    Raises
    ------
    ValueError
        If there are no classes, colors or filters, or names are doubled or of another number.

    Notes
    -----
    ``update(explanation, labels)`` takes memory and time that do not depend on the images seen before: counts, means
    and sums of squared deviations in float64, merged by the formulae of Chan et al., which stay exact where the mean is
    large beside the spread. They are part of ``state_dict``, stay on the profile's device (the explanations may lie on
    another), and are merged in the same way over the processes of ``torch.distributed``, by torchmetrics.

    ``compute()`` gives a dict of tensors in float64: ``count`` and ``unusable`` of shape (classes,); ``color_mean`` and
    ``color_std`` (classes, C); ``edge_mean`` and ``edge_std`` (classes, K); ``color_edge_mean`` and ``color_edge_std``
    (classes, C, K); with ``pixel_size`` also ``pixel_mean`` (classes, C, H, W), pixels in shares of the same
    sum. The mean of no images and the spread of fewer than two (divisor n - 1) are NaN. torchmetrics drops the shape of
    a tensor of one element.

    References
    ----------
    Chan, Golub & LeVeque, "Algorithms for computing the sample variance", The American Statistician 37(3), 1983.

    Examples
    --------
    >>> import edgefilter as ef
    >>> response = torch.tensor([[3.0, -1.0], [1.0, 1.0]]).reshape(2, 1, 2, 1, 1)  # two images, two filters
    >>> explanation = ef.Explanation(response, None, torch.ones(2), (0, 0), ("gray",), ("sobel_x", "sobel_y"))
    >>> profile = ClassProfile(2, explanation.colors, explanation.filters, class_names=("cat", "dog"))
    >>> profile.update(explanation, torch.tensor([1, 1]))
    >>> profile.compute()["edge_mean"][1]
    tensor([0.6250, 0.1250], dtype=torch.float64)
    >>> [(share.name, share.mean) for share in profile.top("dog", 1)]
    [('sobel_x', 0.625)]
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    moments: Tensor
    unusable: Tensor
    pixel_sum: Tensor

    def __init__(
        self,
        num_classes: int,
        colors: Sequence[str],
        filters: Sequence[str],
        *,
        class_names: Sequence[str] | None = None,
        filter_labels: Sequence[str] | None = None,
        pixel_size: int | tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
            raise ValueError(
                f"num_classes must be an integer >= 1; got {num_classes!r}. Pass for example 10."
            )
        self.num_classes = num_classes
        self.colors = clean_names(colors, "colors")
        self.filters = clean_names(filters, "filters")
        labels = self.filters if filter_labels is None else filter_labels
        self.filter_labels = clean_names(labels, "filter_labels", len(self.filters))
        names = map(str, range(num_classes)) if class_names is None else class_names
        self.class_names = clean_names(names, "class_names", num_classes, unique=False)
        self.pixel_size = None if pixel_size is None else pair(pixel_size, "pixel_size", 1)
        width = sum(map(math.prod, self._shapes().values()))
        moments = torch.zeros(num_classes, 1 + 2 * width, dtype=torch.float64)
        self.add_state("moments", moments, dist_reduce_fx=merge_moments, persistent=True)
        self.add_state(
            "unusable", torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum", persistent=True
        )
        if self.pixel_size is not None:
            pixels = torch.zeros(num_classes, len(self.colors), *self.pixel_size, dtype=torch.float64)
            self.add_state("pixel_sum", pixels, dist_reduce_fx="sum", persistent=True)

    def __repr__(self) -> str:
        parts = ((len(self.colors), "color"), (len(self.filters), "filter"))
        named = ", ".join(counted(*part) for part in parts)
        return f"ClassProfile({counted(self.num_classes, 'class', 'classes')}, {named})"

    def _repr_html_(self) -> str:
        from .notebook import html_of_profile

        return html_of_profile(self)

    @property
    def update_called(self) -> bool:
        """Whether the profile holds images: counted here, loaded or merged."""
        return super().update_called or bool(self.moments[:, 0].any() or self.unusable.any())

    # --- taking images in -----------------------------------------------------------------------------------

    def forward(self, explanation: Explanation, labels: Tensor) -> Any:
        """Take a batch in and return what ``compute()`` gives for this batch alone."""
        self._check(explanation, labels)  # torchmetrics empties the state before it calls update
        return super().forward(explanation, labels)

    def update(self, explanation: Explanation, labels: Tensor) -> None:
        """Take the explanations of a batch in.

        Parameters
        ----------
        explanation : Explanation
            Of ``N`` images, with the profile's colors and filters, in any floating dtype, on any device.
        labels : Tensor, shape (N,), integers
            The class that each image is counted in.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; the profile is as it was then.
        """
        self._check(explanation, labels)
        shares, usable, scale = shares_of(explanation)
        if self.pixel_size is not None:
            assert explanation.pixel is not None
            usable &= explanation.pixel.isfinite().flatten(1).all(1)
        device = self.moments.device
        kept = usable.to(device)
        labels = labels.to(device, torch.long)
        self.unusable = self.unusable + labels[~kept].bincount(minlength=self.num_classes)
        labels, shares = labels[kept], shares[usable].to(device)
        if not len(labels):
            return
        values = torch.cat([shares.sum(2), shares.sum(1), shares.flatten(1)], dim=1)
        self.moments = add_moments(self.moments, values, labels)
        if self.pixel_size is not None:
            assert explanation.pixel is not None
            pixels = explanation.pixel.detach()[usable].double() / scale[usable, None, None, None]
            self.pixel_sum = writable(self.pixel_sum).index_add_(0, labels, pixels.to(device))

    def merge(self, other: ClassProfile) -> ClassProfile:
        """Return the profile of this one's images and of another's, which must be other images; both stay as they are.

        Raises
        ------
        TypeError, ValueError
            If ``other`` is no profile, or one of other classes, colors, filters or pixels.

        Examples
        --------
        >>> profile = ClassProfile(2, ["gray"], ["sobel_x"])
        >>> profile.merge(ClassProfile(2, ["gray"], ["sobel_x"]))
        ClassProfile(2 classes, 1 color, 1 filter)
        """
        if not isinstance(other, ClassProfile):
            raise TypeError(
                f"other must be a ClassProfile; got {type(other).__name__}. Pass the profile of other images."
            )
        for name in ("class_names", "colors", "filters", "pixel_size"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(
                    f"other must have the {name} {shortened(mine)}; got {shortened(theirs)}. "
                    "Merge profiles of the same network, bank and classes."
                )
        merged = copy.deepcopy(self)
        merged.reset()
        device = self.moments.device
        merged.moments = merge_moments(torch.stack([self.moments, other.moments.to(device)]))
        merged.unusable = self.unusable + other.unusable.to(device)
        if self.pixel_size is not None:
            merged.pixel_sum = self.pixel_sum + other.pixel_sum.to(device)
        return merged

    # --- what is known about a class ------------------------------------------------------------------------

    def compute(self) -> dict[str, Tensor]:
        """Return count, mean and spread of the shares of every class; the notes of the class list the tensors.

        Under ``torch.distributed`` the images of all processes are in it: every process has to call it.
        """
        count, mean, std = of_moments(self.moments)
        found = {"count": count.long(), "unusable": self.unusable.clone()}
        shapes = self._shapes()
        for statistic, values in (("mean", mean), ("std", std)):
            parts = torch.split(values, [math.prod(shape) for shape in shapes.values()], dim=1)
            for (score, shape), part in zip(shapes.items(), parts, strict=True):
                found[f"{score}_{statistic}"] = part.reshape(self.num_classes, *shape)
        if self.pixel_size is not None:
            found["pixel_mean"] = self.pixel_sum / count.where(count > 0, math.nan)[:, None, None, None]
        return found

    def values(self) -> dict[str, Tensor]:
        """Return what ``compute()`` gives, in full shape even where a tensor has one element only."""
        shapes = {"count": (), "unusable": (), "pixel": (len(self.colors), *(self.pixel_size or ()))}
        shapes |= self._shapes()
        return {
            name: value.reshape(self.num_classes, *shapes[name.removesuffix("_mean").removesuffix("_std")])
            for name, value in self.compute().items()
        }

    # --- files ----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the profile to one safetensors file; :meth:`load` gives a profile that can take in more images.

        Under ``torch.distributed`` a process writes what it counted itself; inside ``with profile.sync_context():``,
        which all processes enter, what all counted.

        Parameters
        ----------
        path : str or Path
        overwrite : bool, default: False
            Whether an existing file may be replaced.

        Returns
        -------
        path : Path

        Raises
        ------
        FileExistsError
            If the file is there and ``overwrite`` is False.
        FileNotFoundError
            If its folder is not there.
        """
        about = {
            name: getattr(self, name)
            for name in ("num_classes", "colors", "filters", "class_names", "filter_labels", "pixel_size")
        }
        tensors = {name: value.cpu().contiguous() for name, value in self.state_dict().items()}
        return write_tagged(path, tensors, FORMAT, overwrite=overwrite, profile=about)

    @classmethod
    def load(cls, path: str | Path, **kwargs: Any) -> ClassProfile:
        """Read a profile that :meth:`save` wrote.

        Parameters
        ----------
        path : str or Path
        **kwargs : Any
            Of ``torchmetrics.Metric``.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not a profile.
        """
        tensors, found = read_tagged(path, FORMAT, cls.__name__)
        about = found["profile"]
        size = about.pop("pixel_size")
        profile = cls(**about, pixel_size=None if size is None else tuple(size), **kwargs)
        profile.load_state_dict(tensors)
        return profile

    # --- checks ---------------------------------------------------------------------------------------------

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        colors, filters = len(self.colors), len(self.filters)
        return {"color": (colors,), "edge": (filters,), "color_edge": (colors, filters)}

    def _check(self, explanation: Explanation, labels: Tensor) -> None:
        """Raise if a batch does not fit, before anything is counted."""
        check_explanation(explanation, self.colors, self.filters, self.pixel_size)
        check_labels(labels, len(explanation.response), self.num_classes)
