"""What a class profile tells: the largest shares, contrasts of two classes, table and picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

from .checks import SCORES, plainly
from .effects import Effect, Share, effects, half_width
from .tables import class_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["ProfileViews"]


class ProfileViews:
    """What can be told from mean and spread of the shares of each class."""

    num_classes: int
    class_names: tuple[str, ...]
    colors: tuple[str, ...]
    filters: tuple[str, ...]
    filter_labels: tuple[str, ...]
    pixel_size: tuple[int, int] | None

    def values(self) -> dict[str, Tensor]:
        """Return count, mean and spread of every class in full shape."""
        raise NotImplementedError

    def top(self, which: int | str, k: int = 3, score: str = "edge", *, by: str = "value") -> list[Share]:
        """Return the colors, filters or pairs with the largest mean shares in a class, largest first.

        Parameters
        ----------
        which : int or str
            The class, by index or name.
        k : int, default: 3
            How many; all if there are fewer.
        score : {"edge", "color", "color_edge"}, default: "edge"
            ``"color_edge"`` gives names such as ``"red sobel_x"``.
        by : {"value", "size"}, default: "value"
            ``"size"``: what speaks against the class counts as much as what speaks for it.

        Returns
        -------
        shares : list of Share
            Name, mean, standard deviation over the images (NaN for a single image), the name as words, and the 95 % interval
            of the mean.

        Raises
        ------
        KeyError, ValueError
            If an argument does not fit, or the class has no images.
        """
        names, labels = self._part_names(score)
        if by not in ("value", "size"):
            raise ValueError(f"by must be 'value' or 'size'; got {by!r}{closest(str(by), ('value', 'size'))}")
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ValueError(f"k must be an integer >= 1; got {k!r}. Pass for example k=3.")
        values = self.values()
        place = self._class_with(which, 1, values["count"])
        means, spreads = (values[f"{score}_{what}"][place].flatten() for what in ("mean", "std"))
        half = half_width(spreads[None], values["count"][place][None])[0]
        low, high = means - half, means + half
        sizes = means.abs() if by == "size" else means
        order = sizes.argsort(descending=True, stable=True)[:k].tolist()
        return [
            Share(names[i], float(means[i]), float(spreads[i]), labels[i], float(low[i]), float(high[i]))
            for i in order
        ]

    def share(self, which: int | str, part: str) -> Share:
        """Return the share of one color, filter or pair in a class.

        Parameters
        ----------
        which : int or str
            The class, by index or name.
        part : str
            A color, a filter by name or label, or both, as in ``"red sobel_x"``.

        Returns
        -------
        share : Share

        Raises
        ------
        KeyError, ValueError
            If there is no such class or part, or the class has no images.

        Examples
        --------
        >>> import torch, edgefilter as ef
        >>> response = torch.tensor([3.0, -1.0]).reshape(1, 1, 2, 1, 1)
        >>> explanation = ef.Explanation(response, None, torch.ones(1), (0,), ("gray",), ("sobel_x", "sobel_y"))
        >>> profile = ef.ClassProfile(1, explanation.colors, explanation.filters)
        >>> profile.update(explanation, torch.tensor([0]))
        >>> profile.share(0, "sobel y").mean, profile.share(0, "gray").mean
        (-0.25, 0.5)
        """
        known: dict[str, Share] = {}
        for score in SCORES:
            for share in self.top(which, len(self.colors) * len(self.filters), score):
                known |= {plainly(share.label): share, plainly(share.name): share}
        if plainly(part) not in known:
            names = [*self.colors, *self.filters]
            raise UnknownNameError(
                f"unknown part {part!r}{closest(part, names)} The profile's .colors and .filters list all."
            )
        return known[plainly(part)]

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
        >>> import torch, edgefilter as ef
        >>> response = torch.tensor([3.0, 2.0, 1.0, 2.0, 1.0, 1.0, 1.0, 3.0]).reshape(4, 1, 2, 1, 1)
        >>> explanation = ef.Explanation(response, None, torch.ones(4), (0,) * 4, ("gray",), ("sobel_x", "sobel_y"))
        >>> profile = ef.ClassProfile(2, explanation.colors, explanation.filters)
        >>> profile.update(explanation, torch.tensor([0, 0, 1, 1]))
        >>> [f"{e.name}: {e.effect:.2f} from {e.low:.2f} to {e.high:.2f}" for e in profile.contrast(0, 1)]
        ['sobel_x: 0.29 from -1.32 to 1.90', 'sobel_y: -0.29 from -1.90 to 1.32']
        """
        names, labels = self._part_names(score)
        if not 0 < confidence < 1:
            raise ValueError(
                f"confidence must lie between 0 and 1; got {confidence!r}. Pass for example 0.95."
            )
        values = self.values()
        places = [self._class_with(which, 2, values["count"]) for which in (a, b)]
        counts = [int(values["count"][place]) for place in places]
        means = [values[f"{score}_mean"][place].flatten() for place in places]
        variances = [values[f"{score}_std"][place].flatten().square() for place in places]
        return effects(names, means, variances, counts, confidence, labels)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per class and color, filter or pair; classes without images are left out.

        Returns
        -------
        table : pandas.DataFrame
            Columns ``class`` (index), ``class_name``, ``count``, ``unusable``, ``score`` (color, edge or color_edge),
            ``color``, ``filter`` and ``label`` (its name as words), empty where the row is not about one, ``mean``, ``std``, and ``low`` and ``high``, the 95 % interval of the mean.
        """
        return class_table(self.values(), self.class_names, self.colors, self.filters, self.filter_labels)

    def plot(
        self,
        val: Mapping[str, Tensor] | None = None,
        ax: Any = None,
        *,
        classes: Sequence[int | str] | None = None,
        filters: int = 8,
        title: str | None = None,
        width: str | float | None = None,
        dpi: float = 150,
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
        title : str, optional
            Default: "Class profile", and which classes are drawn.
        width : {"column", "page"} or float, optional
            3.5 or 7.2 inches, for print, or so many. Default: as wide as the filters need.
        dpi : float, default: 150

        Returns
        -------
        figure : matplotlib.figure.Figure
            Apart from pyplot; ``figure.savefig(path)`` writes it, and a notebook shows it.
        axes : matplotlib.axes.Axes or list of them
        """
        from edgefilter.plots.profile import plot_profile

        return plot_profile(
            self, val, ax, classes=classes, filters=filters, title=title, width=width, dpi=dpi
        )

    def to_html(self, path: str | Path, *, title: str | None = None, overwrite: bool = False) -> Path:
        """Write a report: one HTML file with the classes side by side, and one by one after a click.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html`` or ``.htm``.
        title : str, optional
            Default: the number of classes and images.
        overwrite : bool, default: False
            Whether an existing file may be replaced.

        Returns
        -------
        path : Path

        Raises
        ------
        ValueError
            If the file has another ending.
        FileExistsError
            If the file is there and ``overwrite`` is False.
        FileNotFoundError
            If its folder is not there.
        """
        from edgefilter.report.classes import write_profile

        return write_profile(path, self, title=title, overwrite=overwrite)

    # --- names -----------------------------------------------------------------------------------

    def class_index(self, which: int | str) -> int:
        """Return the index of a class that is given by index or name, as one types it.

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
        names = self.class_names
        found = [place for place, name in enumerate(names) if name == which]
        found = found or [place for place, name in enumerate(names) if plainly(name) == plainly(str(which))]
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

    def _part_names(self, score: str) -> tuple[list[str], list[str]]:
        """Return the names of what a score is of, and the same as words."""
        if score not in SCORES:
            raise UnknownNameError(
                f"unknown score {score!r}{closest(str(score), SCORES)} The scores are {', '.join(SCORES)}."
            )
        colors = list(self.colors)
        if score == "color":
            return colors, colors
        names, labels = list(self.filters), list(self.filter_labels)
        if score == "edge":
            return names, labels
        return [f"{color} {name}" for color in colors for name in names], [
            f"{color} {label}" for color in colors for label in labels
        ]
