"""What groups of images have of something: their means, the ratio of the least to the largest, and bootstrap intervals."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edgefilter._checks import counted, is_number
from edgefilter._notebook import Part, Words, number, shown, table

from .arguments import generator_of, whole_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GroupRatio", "group_ratio", "named_groups"]

DRAWN = 1 << 22  # numbers at a time: 32 MiB


@dataclasses.dataclass(frozen=True, eq=False)
class GroupRatio:
    """The mean of something in groups of images, and the ratio of the group with the least to the group with the most.

    Attributes
    ----------
    ratio : float
        Least mean divided by largest mean, in [0, 1]: 1 if all groups have the same. NaN if a mean is negative, or all are zero.
    low, high : float
        Bootstrap interval of the ratio, within [0, 1]. A ``high`` of 1 says that the images do not tell the two groups apart.
    means, lows, highs : dict of str to float
        Mean of each group over its images, and its bootstrap interval.
    counts : dict of str to int
        Images of each group.
    values : dict of str to Tensor, shape (images,), float64
        What was averaged.
    confidence : float
        Of each interval.
    what : str
        What was measured, in words.
    part : str
        The color, filter or group of them whose share it is; empty for activations.

    Notes
    -----
    A group of one image has no interval: NaN.
    """

    ratio: float
    low: float
    high: float
    means: dict[str, float]
    lows: dict[str, float]
    highs: dict[str, float]
    counts: dict[str, int]
    values: dict[str, Tensor] = dataclasses.field(repr=False)
    confidence: float = 0.95
    what: str = "mean"
    part: str = ""

    @property
    def least(self) -> str:
        """The group with the least mean."""
        return self._order()[0]

    @property
    def largest(self) -> str:
        """The group with the largest mean."""
        return self._order()[-1]

    @property
    def ratios(self) -> dict[str, float]:
        """Mean of each group divided by the largest, NaN where the ratio has no meaning."""
        largest = self.means[self.largest]
        return {
            name: math.nan if math.isnan(self.ratio) else mean / largest for name, mean in self.means.items()
        }

    def summary(self) -> str:
        """Say in plain words which group has the least and which the most, and whether the images tell them apart."""
        least, largest = self.least, self.largest
        found = (
            f"The {self.what} is {self._of(largest)} for {largest!r} and {self._of(least)} for {least!r}: ratio {number(self.ratio)} "
            f"({number(self.low)} to {number(self.high)})."
        )
        return f"{found}\n{self._conclusion(least, largest)}"

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per group: ``group``, ``images``, ``mean``, ``low``, ``high``, ``ratio`` (to the largest mean)."""
        import pandas as pd

        columns: dict[str, Mapping[str, float]] = {
            "images": self.counts,
            "mean": self.means,
            "low": self.lows,
            "high": self.highs,
            "ratio": self.ratios,
        }
        found: pd.DataFrame = pd.DataFrame(
            {"group": list(self.means)} | {name: list(column.values()) for name, column in columns.items()}
        )
        return found

    def __repr__(self) -> str:
        pair = f"{self.least!r} to {self.largest!r}"
        return (
            f"GroupRatio({self.what}, {pair}: {self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}], "
            f"{counted(len(self.means), 'group')}, {counted(sum(self.counts.values()), 'image')})"
        )

    def _repr_html_(self) -> str:
        return shown(self, lambda: Words(tuple(self.summary().splitlines())), self._table)

    def _table(self) -> Part:
        rows = [
            (
                name,
                str(self.counts[name]),
                number(mean),
                f"{number(self.lows[name])} to {number(self.highs[name])}",
                number(self.ratios[name]),
            )
            for name, mean in self.means.items()
        ]
        interval = f"{100 * self.confidence:g} % interval"
        caption = f"{self.what[:1].upper()}{self.what[1:]}"
        return table(caption, ("group", "images", "mean", interval, "to the largest"), rows)

    def _order(self) -> list[str]:
        return sorted(self.means, key=lambda name: self.means[name])  # of equal ones, the first is the least

    def _of(self, name: str) -> str:
        return f"{number(self.means[name])} ({number(self.lows[name])} to {number(self.highs[name])})"

    def _conclusion(self, least: str, largest: str) -> str:
        if math.isnan(self.ratio):
            return "A ratio of these means has no meaning: none may be negative, and one must be above zero."
        if math.isnan(self.high):
            return "One image has no interval: whether the groups differ is not known."
        if self.high >= 1:
            return "These images do not tell the two groups apart."
        if self.part:
            return f"The model uses {self.part} more for {largest!r} than for {least!r}."
        return f"The layer responds more strongly to {largest!r} than to {least!r}."


def group_ratio(
    values: Mapping[str, Tensor],
    what: str,
    *,
    part: str = "",
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int | torch.Generator = 0,
) -> GroupRatio:
    """Compare the means of groups, with percentile bootstrap intervals.

    Parameters
    ----------
    values : mapping of str to Tensor, shape (images,)
        One number for each image of each group.
    what, part : str
        What they are, in words; and the part whose share they are, if they are.
    n_bootstrap : int, default: 1000
        How often the images of each group are drawn anew, with replacement.
    confidence : float, default: 0.95
    seed : int or torch.Generator, default: 0

    Returns
    -------
    found : GroupRatio

    Warns
    -----
    UserWarning
        If a group has one image, or a ratio has no meaning.

    Raises
    ------
    ValueError
        If there are fewer than two groups, a group is empty, or a number is not finite.

    Notes
    -----
    The interval of the ratio is that of the two groups that have the least and the largest mean in all images: they stay the same in each
    draw, so that it can reach 1. If each draw had its own least and largest group, it never would. Of more than two groups, these two are
    chosen after the fact: the interval is widened as for all pairs of groups (Bonferroni).

    Examples
    --------
    >>> found = group_ratio({"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([4.0, 4.0])}, "size")
    >>> found.means, found.ratio
    ({'a': 2.0, 'b': 4.0}, 0.5)
    >>> found
    GroupRatio(size, 'a' to 'b': 0.50 [0.25, 0.75], 2 groups, 4 images)
    """
    draws, generator = whole_number(n_bootstrap, "n_bootstrap"), generator_of(seed)
    if not is_number(confidence) or not 0 < confidence < 1:
        raise ValueError(
            f"confidence must be between 0 and 1; got {confidence!r}. Pass for example confidence=0.95."
        )
    known = {name: _checked(name, one) for name, one in values.items()}
    means = {name: float(one.mean()) for name, one in known.items()}
    drawn = {name: _drawn_means(one, draws, generator) for name, one in known.items()}
    ends = {name: _ends(one, confidence) for name, one in drawn.items()}
    order = sorted(means, key=lambda name: means[name])
    ratio = _ratio(means, order)
    ratios = (drawn[order[0]] / drawn[order[-1]]).clamp(0, 1)
    pairs = math.comb(len(means), 2)  # the two extreme groups were chosen among so many
    low, high = (math.nan, math.nan) if math.isnan(ratio) else _ends(ratios, 1 - (1 - confidence) / pairs)
    _warn_of_few(known)
    return GroupRatio(
        ratio=ratio,
        low=low,
        high=high,
        means=means,
        lows={name: end[0] for name, end in ends.items()},
        highs={name: end[1] for name, end in ends.items()},
        counts={name: len(one) for name, one in known.items()},
        values=known,
        confidence=confidence,
        what=what,
        part=part,
    )


def named_groups(groups: Any) -> dict[str, Any]:
    """Return groups by their names.

    Raises
    ------
    TypeError, ValueError
        If they are no mapping, or fewer than two.

    Examples
    --------
    >>> named_groups({"women": 1})
    Traceback (most recent call last):
        ...
    ValueError: groups must hold two groups or more; got 1. Add what to compare with.
    """
    if not isinstance(groups, Mapping):
        raise TypeError(
            f"groups must be a mapping of names to images; got {type(groups).__name__}. Pass for example {{'women': ..., 'men': ...}}."
        )
    if len(groups) < 2:
        raise ValueError(f"groups must hold two groups or more; got {len(groups)}. Add what to compare with.")
    return {str(name): group for name, group in groups.items()}


def _checked(name: str, values: Tensor) -> Tensor:
    """Return the numbers of a group in float64 on the CPU."""
    if not len(values):
        raise ValueError(f"groups must hold images; got none in {name!r}. Drop the group, or add images.")
    found = values.detach().double().cpu()
    if not bool(found.isfinite().all()):
        place = int((~found.isfinite()).nonzero()[0])
        raise ValueError(
            f"groups must give finite numbers; got {float(found[place])} for image {place} of {name!r}. Look at the model's output there."
        )
    return found


def _drawn_means(values: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Return the means of samples that are drawn with replacement, NaN for a single image."""
    count = len(values)
    if count == 1:
        return values.new_full((draws,), math.nan)
    rows = max(1, DRAWN // count)
    sizes = [min(rows, draws - start) for start in range(0, draws, rows)]
    return torch.cat(
        [values[torch.randint(count, (size, count), generator=generator)].mean(1) for size in sizes]
    )


def _ends(drawn: Tensor, confidence: float) -> tuple[float, float]:
    """Return the percentiles that hold the middle of what was drawn; draws without a meaning (0 / 0) do not count."""
    known = drawn[~drawn.isnan()]
    if not len(known):
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low, high = known.quantile(known.new_tensor([tail, 1 - tail])).tolist()
    return low, high


def _ratio(means: Mapping[str, float], order: list[str]) -> float:
    """Return the ratio of the least to the largest mean, or NaN and say why."""
    least, largest = means[order[0]], means[order[-1]]
    if least >= 0 < largest:
        return least / largest
    what = f"{least:.3g} for {order[0]!r}" if least < 0 else "0 for every group"
    warnings.warn(
        f"means must not be negative, and one must be above 0, for a ratio; got {what}. Choose a layer behind its activation function, or "
        "statistic='absolute'.",
        UserWarning,
        stacklevel=4,
    )
    return math.nan


def _warn_of_few(values: Mapping[str, Tensor]) -> None:
    single = [repr(name) for name, one in values.items() if len(one) == 1]
    if single:
        warnings.warn(
            f"groups must hold two images or more for an interval; got one in {', '.join(single)}. Its interval is NaN.",
            UserWarning,
            stacklevel=4,
        )
