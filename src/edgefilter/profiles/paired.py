"""By how much the shares of two networks differ on the same photos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from edgefilter._checks import closest, counted
from edgefilter.errors import UnknownNameError

from .checks import check_labels, shortened
from .effects import half_width
from .shares import shares_of
from .statistics import add_moments, merge_moments, of_moments

if TYPE_CHECKING:
    import pandas as pd

    from edgefilter.attribution.explanation import Explanation

__all__ = ["Difference", "PairedProfile"]

ALL = "all classes"


class Difference(NamedTuple):
    """By how much a share, or the accuracy, differs between two networks on the same photos.

    Attributes
    ----------
    score : str
        ``"color"``, ``"order"``, ``"edge"`` or ``"accuracy"``.
    name, label : str
        Of the color, the group or the filter, and the same as words.
    difference : float
        Mean of the first network's minus the second's.
    low, high : float
        Its confidence interval; NaN for a single photo.
    first, second : float
        The means themselves.
    photos : int
    """

    score: str
    name: str
    label: str
    difference: float
    low: float
    high: float
    first: float
    second: float
    photos: int


class PairedProfile(Metric):
    """Mean and spread, per class, of the differences of the shares of two networks on the same photos.

    Shares are those of :class:`edgefilter.ClassProfile`. Each photo is its own control, so that the intervals are much narrower than
    those of two profiles side by side.

    Parameters
    ----------
    num_classes : int
    first, second : Explanation
        One explanation of each network, for the names of their colors, filters and groups.
    class_names : sequence of str, optional
        One for each class. Default: ``"0"``, ``"1"``, ...
    **kwargs : Any
        Of ``torchmetrics.Metric``.

    Raises
    ------
    ValueError
        If the networks have other colors.

    Notes
    -----
    Colors are compared by name, filters only if both networks have the same ones, and groups by order in any case: an order
    that a network does not have has no share in it.

    Examples
    --------
    >>> import edgefilter as ef
    >>> def explanation(left, right):
    ...     response = torch.tensor([left, right]).reshape(2, 1, 2, 1, 1)
    ...     return ef.Explanation(response, None, torch.ones(2), (0, 0), ("gray",), ("sobel_x", "sobel_y"))
    >>> first, second = explanation([3.0, 1.0], [1.0, 1.0]), explanation([1.0, 1.0], [1.0, 3.0])
    >>> paired = PairedProfile(1, first, second)
    >>> paired.update(first, second, torch.tensor([0, 0]))
    >>> [(item.name, item.difference) for item in paired.differences(0, "edge")]
    [('sobel_x', 0.25), ('sobel_y', -0.25)]
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    moments: Tensor
    right: Tensor

    def __init__(
        self,
        num_classes: int,
        first: Explanation,
        second: Explanation,
        *,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if first.colors != second.colors:
            raise ValueError(
                f"compare must be a network with the colors {shortened(first.colors)}; got {shortened(second.colors)}. "
                "Compare networks that see the same channels."
            )
        self.class_names = tuple(map(str, range(num_classes)) if class_names is None else class_names)
        self.parts = _parts(first, second)
        width = 1 + 2 * 2 * sum(len(names) for names in self.parts.values())
        for name, size in (("moments", width), ("right", 1 + 2 * 2)):
            zeros = torch.zeros(num_classes, size, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx=merge_moments, persistent=True)

    def __repr__(self) -> str:
        classes = counted(len(self.class_names), "class", "classes")
        return f"PairedProfile({classes}, {counted(int(self.moments[:, 0].sum()), 'photo')})"

    def _repr_html_(self) -> str:
        from .notebook import html_of_paired

        return html_of_paired(self)

    def update(
        self,
        first: Explanation,
        second: Explanation,
        labels: Tensor,
        right: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Take the explanations of the same photos by both networks in.

        Parameters
        ----------
        first, second : Explanation
            Of ``N`` photos each.
        labels : Tensor, shape (N,), integers
            The class that each photo is counted in.
        right : two Tensors, shape (N,), optional
            Whether each network predicts the class, for the difference in accuracy.
        """
        check_labels(labels, len(first.response), len(self.class_names))
        one, other = shares_of(first), shares_of(second)
        usable = (one.usable & other.usable).cpu()
        values = [
            torch.cat([self._values(share.values, explanation)], 1)[usable]
            for share, explanation in ((one, first), (other, second))
        ]
        device = self.moments.device
        self.moments = self._added(self.moments, values, labels[usable.to(labels.device)].to(device))
        if right is not None:
            answers = [answer.double()[:, None] for answer in right]
            self.right = self._added(self.right, answers, labels.to(device))

    def _values(self, shares: Tensor, explanation: Explanation) -> Tensor:
        """Return the shares of all parts, shape (N, D), on the CPU."""
        edge = shares.sum(1)
        columns = {"color": shares.sum(2), "edge": edge}
        found = []
        for score, names in self.parts.items():
            if score != "order":
                found.append(columns[score])
                continue
            members = explanation.groups["order"]
            places = [[explanation.filters.index(one) for one in members.get(name, ())] for name, _ in names]
            found.append(torch.stack([edge[:, some].sum(1) for some in places], 1))
        return torch.cat(found, 1).cpu()

    def _added(self, moments: Tensor, values: Sequence[Tensor], labels: Tensor) -> Tensor:
        if not len(labels):
            return moments
        first, second = (value.to(moments) for value in values)
        return add_moments(moments, torch.cat([first - second, first], 1), labels)

    # --- what is known --------------------------------------------------------------------------------------

    def compute(self) -> dict[str, Tensor]:
        """Return photos (classes,), and mean and standard deviation of the differences (classes, D)."""
        count, mean, std = of_moments(self.moments)
        half = mean.shape[1] // 2
        return {"count": count.long(), "difference_mean": mean[:, :half], "difference_std": std[:, :half]}

    @property
    def is_none(self) -> bool:
        """Whether there is no difference in any photo."""
        return not any(self._deviating(moments) for moments in (self.moments, self.right))

    def _deviating(self, moments: Tensor) -> bool:
        half = moments.shape[1] // 4
        return bool(moments[:, 1 : 1 + half].any() or moments[:, 1 + 2 * half : 1 + 3 * half].any())

    def differences(
        self, which: int | str | None = None, score: str = "color", *, confidence: float = 0.95
    ) -> list[Difference]:
        """Return the differences of one kind in a class, the largest in size first.

        Parameters
        ----------
        which : int or str, optional
            The class, by index or name. Default: the photos of all classes together.
        score : {"color", "order", "edge", "accuracy"}, default: "color"
        confidence : float, default: 0.95
            Of the intervals: Student's, of the mean of the differences.

        Raises
        ------
        KeyError
            If there is no such class or score.
        """
        known = [*self.parts, "accuracy"]
        if score not in known:
            raise UnknownNameError(
                f"unknown score {score!r}{closest(str(score), known)} The scores are {', '.join(known)}."
            )
        found = [item for item in self._rows(self._place(which), confidence) if item.score == score]
        return sorted(found, key=lambda item: -abs(item.difference))

    def _place(self, which: int | str | None) -> int | None:
        if which is None or (isinstance(which, int) and 0 <= which < len(self.class_names)):
            return which
        if which not in self.class_names:
            raise UnknownNameError(
                f"unknown class {which!r}{closest(str(which), self.class_names)} The profile's .class_names lists all."
            )
        return self.class_names.index(str(which))

    def _rows(self, place: int | None, confidence: float) -> Iterator[Difference]:
        names = [(score, *pair) for score, pairs in self.parts.items() for pair in pairs]
        yield from _differences(names, _of_class(self.moments, place), confidence)
        if self.right.any():
            yield from _differences([("accuracy", "", "")], _of_class(self.right, place), confidence)

    def to_dataframe(self, confidence: float = 0.95) -> pd.DataFrame:
        """Return one row for each class and part, those of all classes together first.

        Returns
        -------
        table : pandas.DataFrame
            Columns ``class_name`` and those of :class:`Difference`.
        """
        import pandas as pd

        places: list[int | None] = [None, *self.moments[:, 0].nonzero()[:, 0].tolist()]
        rows = [
            (ALL if place is None else self.class_names[place], *item)
            for place in places
            for item in self._rows(place, confidence)
        ]
        table: pd.DataFrame = pd.DataFrame(rows, columns=["class_name", *Difference._fields])
        return table


def _parts(first: Explanation, second: Explanation) -> dict[str, list[tuple[str, str]]]:
    """Return names and labels of what both networks can be compared by."""
    found = {"color": [(name, name) for name in first.colors]}
    if "order" in first.groups and "order" in second.groups:
        orders = dict.fromkeys([*first.groups["order"], *second.groups["order"]])
        found["order"] = [(name, name) for name in orders]
    if first.filters == second.filters:
        found["edge"] = list(zip(first.filters, first.filter_labels, strict=True))
    return found


def _of_class(moments: Tensor, place: int | None) -> Tensor:
    return merge_moments(moments) if place is None else moments[place]


def _differences(
    names: Sequence[tuple[str, str, str]], moments: Tensor, confidence: float
) -> Iterator[Difference]:
    count, mean, std = (values[0] for values in of_moments(moments[None]))
    half = half_width(std[None], count[None], confidence)[0]
    for place, (score, name, label) in enumerate(names):
        difference, first, width = (float(v) for v in (mean[place], mean[place + len(names)], half[place]))
        low, high = difference - width, difference + width
        yield Difference(score, name, label, difference, low, high, first, first - difference, int(count))
