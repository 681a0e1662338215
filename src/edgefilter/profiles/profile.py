"""What is general about a class: running statistics of the shares of many explanations, as a torchmetrics metric."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric

from edgefilter._checks import closest, pair
from edgefilter._files import read_tagged, write_tagged
from edgefilter.errors import UnknownNameError

from .checks import SCORES, check_explanation, check_labels, clean_names, shortened
from .effects import Effect, Share, effects
from .statistics import merge_moments, moments_of, of_moments
from .tables import class_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from edgefilter.attribution.explanation import Explanation

__all__ = ["ClassProfile"]

FORMAT = "edgefilter class profile 1"


class ClassProfile(Metric):
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
        return f"ClassProfile({self.num_classes} classes, {len(self.colors)} colors, {len(self.filters)} filters)"

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
        response = explanation.response.detach()
        rows = response.sum(4, dtype=torch.promote_types(response.dtype, torch.float32))
        color_edge = rows.sum(3, dtype=torch.float64)  # at once it takes ten times as long
        scale = color_edge.abs().sum((1, 2))
        usable = scale.isfinite() & (scale > 0)
        if self.pixel_size is not None:
            assert explanation.pixel is not None
            usable &= explanation.pixel.isfinite().flatten(1).all(1)
        device = self.moments.device
        kept = usable.to(device)
        labels = labels.to(device, torch.long)
        self.unusable = self.unusable + labels[~kept].bincount(minlength=self.num_classes)
        labels, scale = labels[kept], scale[usable]
        if not len(labels):
            return
        shares = (color_edge[usable] / scale[:, None, None]).to(device)
        values = torch.cat([shares.sum(2), shares.sum(1), shares.flatten(1)], dim=1)
        classes, batch = moments_of(values, labels)
        self.moments = _writable(self.moments)
        self.moments[classes] = merge_moments(torch.stack([self.moments[classes], batch]))
        if self.pixel_size is not None:
            assert explanation.pixel is not None
            pixels = explanation.pixel.detach()[usable].double() / scale[:, None, None, None]
            self.pixel_sum = _writable(self.pixel_sum).index_add_(0, labels, pixels.to(device))

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
        ClassProfile(2 classes, 1 colors, 1 filters)
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

    def top(self, which: int | str, k: int = 3, score: str = "edge") -> list[Share]:
        """Return the colors, filters or pairs with the largest mean shares in a class, largest first.

        Parameters
        ----------
        which : int or str
            The class, by index or name.
        k : int, default: 3
            How many; all if there are fewer.
        score : {"edge", "color", "color_edge"}, default: "edge"
            ``"color_edge"`` gives names such as ``"red sobel_x"``.

        Returns
        -------
        shares : list of Share
            Name, mean, and standard deviation over the images (NaN for a single image).

        Raises
        ------
        KeyError, ValueError
            If an argument does not fit, or the class has no images.
        """
        names = self._part_names(score)
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ValueError(f"k must be an integer >= 1; got {k!r}. Pass for example k=3.")
        values = self.values()
        place = self._class_with(which, 1, values["count"])
        means, spreads = (values[f"{score}_{what}"][place].flatten() for what in ("mean", "std"))
        order = means.argsort(descending=True, stable=True)[:k].tolist()
        return [Share(names[i], float(means[i]), float(spreads[i])) for i in order]

    def contrast(
        self, a: int | str, b: int | str, score: str = "edge", *, confidence: float = 0.95
    ) -> list[Effect]:
        """Return in which colors, filters or pairs two classes differ, the largest effects first.

        Parameters
        ----------
        a, b : int or str
            The classes, by index or name, with two images or more each.
        score : {"edge", "color", "color_edge"}, default: "edge"
        confidence : float, default: 0.95
            Of the interval.

        Returns
        -------
        effects : list of Effect
            Positive where the share is larger in ``a``.

        Raises
        ------
        KeyError, ValueError
            If an argument does not fit, or a class has fewer than two images.

        Notes
        -----
        The difference of the means is divided by the root of the mean of both variances, which does not depend on how
        many images each class has, and multiplied by Hedges' correction for small samples; the interval is Bonett's
        for unequal variances. It takes the images as drawn independently: frames of one video are not, and make it too
        narrow. Each interval stands for itself: of 100 parts without any difference, 5 will exclude zero. Where no
        image of either class differs from its mean, the effect is 0 or infinite and its interval NaN.

        References
        ----------
        Hedges, J. Educational Statistics 6(2), 1981. Bonett, "Confidence intervals for standardized linear contrasts
        of means", Psychological Methods 13(2), 2008.

        Examples
        --------
        >>> import edgefilter as ef
        >>> response = torch.tensor([3.0, 2.0, 1.0, 2.0, 1.0, 1.0, 1.0, 3.0]).reshape(4, 1, 2, 1, 1)
        >>> explanation = ef.Explanation(response, None, torch.ones(4), (0,) * 4, ("gray",), ("sobel_x", "sobel_y"))
        >>> profile = ClassProfile(2, explanation.colors, explanation.filters)
        >>> profile.update(explanation, torch.tensor([0, 0, 1, 1]))
        >>> [f"{e.name}: {e.effect:.2f} from {e.low:.2f} to {e.high:.2f}" for e in profile.contrast(0, 1)]
        ['sobel_x: 0.29 from -1.32 to 1.90', 'sobel_y: -0.29 from -1.90 to 1.32']
        """
        names = self._part_names(score)
        if not 0 < confidence < 1:
            raise ValueError(
                f"confidence must lie between 0 and 1; got {confidence!r}. Pass for example 0.95."
            )
        values = self.values()
        places = [self._class_with(which, 2, values["count"]) for which in (a, b)]
        counts = [int(values["count"][place]) for place in places]
        means = [values[f"{score}_mean"][place].flatten() for place in places]
        variances = [values[f"{score}_std"][place].flatten().square() for place in places]
        return effects(names, means, variances, counts, confidence)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per class and color, filter or pair; classes without images are left out.

        Returns
        -------
        table : pandas.DataFrame
            Columns ``class`` (index), ``class_name``, ``count``, ``unusable``, ``score`` (color, edge or color_edge),
            ``color``, ``filter``, ``label`` (the filter's name to show; empty where the row is not about one), ``mean``, ``std``.
        """
        return class_table(
            self.values(),
            self.class_names,
            self.colors,
            dict(zip(self.filters, self.filter_labels, strict=True)),
        )

    def plot(
        self,
        val: Mapping[str, Tensor] | None = None,
        ax: Any = None,
        *,
        classes: Sequence[int | str] | None = None,
        filters: int = 8,
    ) -> tuple[Figure, Any]:
        """Draw the classes one below the other: shares by color with their spread, and shares of the top filters.

        Parameters
        ----------
        val : dict, optional
            What ``compute()`` or ``forward()`` gave, as in torchmetrics. Default: ``compute()``.
        ax : matplotlib.axes.Axes, optional
            Draw the shares by color there, and nothing else. Default: a new figure.
        classes : sequence of int or str, optional
            The classes to draw, by index or name. Default: the 24 with the most images.
        filters : int, default: 8
            The number of filters, those with the largest mean shares for or against any class shown.

        Returns
        -------
        figure : matplotlib.figure.Figure
            Apart from pyplot; ``figure.savefig(path)`` writes it.
        axes : matplotlib.axes.Axes or list of them
        """
        from edgefilter.plots.profile import plot_profile

        return plot_profile(self, val, ax, classes=classes, filters=filters)

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

    # --- checks and names -----------------------------------------------------------------------------------

    def class_index(self, which: int | str) -> int:
        """Return the index of a class that is given by index or name.

        Raises
        ------
        KeyError
            If there is no such class, or several have the name.
        """
        if isinstance(which, int) and not isinstance(which, bool):
            if 0 <= which < self.num_classes:
                return which
            raise UnknownNameError(
                f"class must be between 0 and {self.num_classes - 1}; got {which}. Pass an index or a name."
            )
        found = [place for place, name in enumerate(self.class_names) if name == which]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownNameError(
                f"class must be one; got {which!r}, the name of classes {found}. Pass the index."
            )
        raise UnknownNameError(
            f"unknown class {which!r}{closest(str(which), self.class_names)} The profile's .class_names lists all."
        )

    def _class_with(self, which: int | str, least: int, counts: Tensor) -> int:
        place = self.class_index(which)
        if int(counts[place]) < least:
            raise ValueError(
                f"class {self.class_names[place]!r} must have {least} images or more with shares; got "
                f"{int(counts[place])}. Take more images in with update()."
            )
        return place

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        colors, filters = len(self.colors), len(self.filters)
        return {"color": (colors,), "edge": (filters,), "color_edge": (colors, filters)}

    def _part_names(self, score: str) -> list[str]:
        if score not in SCORES:
            raise UnknownNameError(
                f"unknown score {score!r}{closest(str(score), SCORES)} The scores are {', '.join(SCORES)}."
            )
        pairs = [f"{color} {name}" for color in self.colors for name in self.filters]
        return {"color": list(self.colors), "edge": list(self.filters), "color_edge": pairs}[score]

    def _check(self, explanation: Explanation, labels: Tensor) -> None:
        """Raise if a batch does not fit, before anything is counted."""
        check_explanation(explanation, self.colors, self.filters, self.pixel_size)
        check_labels(labels, len(explanation.response), self.num_classes)


def _writable(state: Tensor) -> Tensor:
    """Return a state, or its copy where it was made in inference mode and that has ended."""
    return state.clone() if state.is_inference() and not torch.is_inference_mode_enabled() else state
