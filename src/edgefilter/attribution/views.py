"""Relevance of a batch of predictions as one tensor with many views."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex

import torch
from torch import Tensor

from edgefilter._checks import closest, counted
from edgefilter.banks.groups import Groups
from edgefilter.errors import UnknownNameError
from edgefilter.stems.windows import Window

from .grouping import GroupScores, chosen_groups, group_scores
from .ranking import Ranked, ranked
from .scores import SCORES, scores

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PARTS", "ScoreViews"]

PARTS = (
    "response",
    "pixel",
    "output",
    "base",
    "effects",
    "errors",
    "interactions",
    "filter_effects",
)  # in units of the output


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreViews:
    """The numbers and names of an explanation, its sums and its maps. The class to use is :class:`Explanation`."""

    response: Tensor
    pixel: Tensor | None
    output: Tensor
    target: tuple[Any, ...]
    colors: tuple[str, ...]
    filters: tuple[str, ...]
    filter_labels: tuple[str, ...] = ()
    base: Tensor = dataclasses.field(default_factory=lambda: torch.zeros(0))
    left_out: str = ""
    groups: dict[str, Groups] = dataclasses.field(default_factory=dict)
    against: tuple[Any, ...] = ()
    effects: Tensor | None = None
    errors: Tensor | None = None
    interactions: Tensor | None = None
    filter_effects: Tensor | None = None
    about: dict[str, str] = dataclasses.field(default_factory=dict)
    window: Window | None = None
    channels: tuple[str, ...] = ()
    members: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    inputs: Tensor | None = None
    readings: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("target", "colors", "filters", "filter_labels", "against", "channels"):
            if isinstance(given := getattr(self, name), list):  # such as the names of a bank
                object.__setattr__(self, name, tuple(given))
        if not self.filter_labels:
            object.__setattr__(self, "filter_labels", self.filters)
        if self.base.shape != self.output.shape and not len(self.base):
            object.__setattr__(self, "base", torch.zeros_like(self.output))
        if self.base.shape != self.output.shape:
            raise ValueError(
                f"base must have the shape of output, {tuple(self.output.shape)}; got {tuple(self.base.shape)}. Pass one number "
                "per image, or leave it out."
            )
        if not self.against:
            object.__setattr__(self, "against", (None,) * len(self.target))
        self._check_channels()
        images, names = len(self.target), (len(self.colors), len(self.filters))
        if self.response.dim() != 5 or self.response.shape[:3] != (images, *names):
            raise ValueError(
                f"response must have shape ({images}, {names[0]}, {names[1]}, height, width), as there are targets, "
                f"colors and filters; got {tuple(self.response.shape)}. Reshape it, or correct the names."
            )
        pixels_fit = self.pixel is None or (
            self.pixel.dim() == 4 and self.pixel.shape[:2] == (images, len(self.channels))
        )
        self._check_beside(images)
        if self.output.shape != (images,) or not pixels_fit or len(self.filter_labels) != names[1]:
            raise ValueError(
                f"output, pixel and filter_labels must fit the {images} images, {len(self.channels)} channels and {names[1]} "
                f"filters of response; got {self._shapes()}. Pass one output per image and one label per filter."
            )

    def _check_channels(self) -> None:
        """Give each color a channel of its own, unless they are known."""
        if not self.channels:
            object.__setattr__(self, "channels", self.colors)
        if not self.members and self.channels == self.colors:
            object.__setattr__(self, "members", {name: (name,) for name in self.colors})
        held = [channel for some in self.members.values() for channel in some]
        if tuple(self.members) != self.colors or sorted(held) != sorted(self.channels):
            raise ValueError(
                f"members must hold the channels {', '.join(self.channels)} of the colors {', '.join(self.colors)}, each once; got "
                f"{self.members!r}. Pass {{color: (channels)}}, or leave channels and members out."
            )

    def _check_beside(self, images: int) -> None:
        """Raise unless what is known beside the scores fits them."""
        if self.inputs is not None and (self.inputs.dim() != 4 or len(self.inputs) != images):
            raise ValueError(
                f"inputs must have shape ({images}, channels, height, width), as there are {images} targets; got "
                f"{tuple(self.inputs.shape)}. Pass the images that were explained, or None."
            )
        if self.readings is not None and self.readings.shape != (images, len(self.colors), 5):
            raise ValueError(
                f"readings must have shape ({images}, {len(self.colors)}, 5), as there are targets and colors; got {tuple(self.readings.shape)}. Leave "
                "them out: explain() measures them."
            )

    def __len__(self) -> int:
        return len(self.response)

    def __getitem__(self, index: SupportsIndex | slice) -> Self:
        """Return the explanation of one image (still a batch, of one) or of some."""
        if not isinstance(index, slice):
            index = operator.index(index)
            if not -len(self) <= index < len(self):
                raise IndexError(
                    f"index must be below {len(self)}, the number of images; got {index}. Count from 0."
                )
            index = slice(index, index + 1 or None)
        chosen = list(range(len(self)))[index]
        parts: dict[str, Any] = {name: getattr(self, name) for name in (*PARTS, "inputs", "readings")}
        parts = {name: None if part is None else part[chosen] for name, part in parts.items()}
        for name in ("target", "against"):
            parts[name] = tuple(getattr(self, name)[place] for place in chosen)
        return dataclasses.replace(self, **parts)

    def _shapes(self) -> str:
        pixel = None if self.pixel is None else tuple(self.pixel.shape)
        return f"{tuple(self.output.shape)}, {pixel} and {len(self.filter_labels)} labels"

    def __repr__(self) -> str:
        parts = ((len(self), "image"), (len(self.colors), "color"), (len(self.filters), "filter"))
        return f"Explanation({', '.join(counted(*part) for part in parts)})"

    @property
    def color(self) -> Tensor:
        """Score by color channel, shape (N, C)."""
        return scores(self.response, "color")

    @property
    def edge(self) -> Tensor:
        """Score by edge filter, shape (N, K)."""
        return scores(self.response, "edge")

    @property
    def color_edge(self) -> Tensor:
        """Score by color channel and edge filter, shape (N, C, K)."""
        return scores(self.response, "color_edge")

    @property
    def total(self) -> Tensor:
        """Sum of all relevance, shape (N,)."""
        return self.response.sum((1, 2, 3, 4))

    @property
    def delta(self) -> Tensor:
        """Base plus total relevance minus explained output, shape (N,): 0 if relevance is conserved, NaN if unknown."""
        return self.base + self.total - self.output

    @property
    def conserved_share(self) -> Tensor:
        """Total relevance divided by what the scores should add up to, shape (N,): 1 if relevance is conserved."""
        return self.total / (self.output - self.base)

    def edge_map(self, name: str) -> Tensor:
        """Return where a filter's relevance lies: shape (N, H', W'), summed over the colors.

        Parameters
        ----------
        name : str
            One of ``filters`` or ``filter_labels``.

        Raises
        ------
        KeyError
            If there is no such filter.
        """
        return self.response[:, :, self._filter_index(name)].sum(1)

    def color_map(self, name: str) -> Tensor:
        """Return where a color's relevance lies at the stem: shape (N, H', W'), summed over the filters."""
        if name not in self.colors:
            raise UnknownNameError(
                f"unknown color {name!r}{closest(name, self.colors)} The colors are {', '.join(self.colors)}."
            )
        return self.response[:, self.colors.index(name)].sum(1)

    def pixel_map(self, name: str) -> Tensor:
        """Return where a color's relevance lies in the image: shape (N, H, W), summed over the channels of the color.

        Parameters
        ----------
        name : str
            One of ``colors``, or of ``channels``.

        Raises
        ------
        KeyError
            If there is no such color.
        ValueError
            If the pixels are unknown.

        Examples
        --------
        >>> pixel = torch.ones(1, 3, 2, 2)
        >>> groups = {"warm": ("red", "green"), "cold": ("blue",)}
        >>> views = ScoreViews(torch.ones(1, 2, 1, 1, 1), pixel, torch.tensor([2.0]), (0,), ("warm", "cold"), ("sobel_x",),
        ...                    channels=("red", "green", "blue"), members=groups)
        >>> views.pixel_map("warm")
        tensor([[[2., 2.],
                 [2., 2.]]])
        """
        if self.pixel is None:
            raise ValueError(
                "explanation must have pixels for a map of them; got none. Use color_map(name), at the stem."
            )
        known = tuple(dict.fromkeys((*self.colors, *self.channels)))
        if name not in known:
            raise UnknownNameError(
                f"unknown color {name!r}{closest(name, known)} There are {', '.join(known)}."
            )
        return self.pixel[:, [self.channels.index(one) for one in self.members.get(name, (name,))]].sum(1)

    def group(self, kind: str | Mapping[str, Iterable[str]]) -> GroupScores:
        """Return the scores of groups of filters: the sums of their filters' scores.

        Parameters
        ----------
        kind : {"order", "orientation", "scale", "family", "dependent"} or mapping of str to sequence of str
            The groups of the bank, as in :meth:`edgefilter.FilterBank.groups`, or ``{name: [filters]}``, a partition of
            your own.

        Returns
        -------
        scores : GroupScores
            ``.names``, ``.filters`` (those of each group), ``.edge`` (N, G), ``.color_edge`` (N, C, G), and ``.notes``
            on groups whose filters are multiples of others.

        Raises
        ------
        TypeError, KeyError, ValueError
            If there is no such kind, the explanation does not know the groups of its bank, or your groups are no
            partition of the filters.

        Examples
        --------
        >>> response = torch.tensor([1.0, 3.0]).reshape(1, 1, 2, 1, 1)
        >>> explanation = ScoreViews(response, None, torch.tensor([4.0]), (0,), ("gray",), ("sobel_x", "sobel_y"))
        >>> explanation.group({"edges": ["sobel_x", "sobel_y"]}).edge
        tensor([[4.]])
        """
        groups = chosen_groups(kind, self.groups, self.filters, self._filter_index)
        return group_scores(self.color_edge, self.filters, groups, self.groups.get("dependent", {}))

    def top(self, k: int = 3, score: str = "edge", by: str = "value") -> list[list[Ranked]]:
        """Return the names with the largest scores, for each image, largest first.

        Parameters
        ----------
        k : int, default: 3
            How many; all if there are fewer.
        score : {"edge", "color", "color_edge"}, default: "edge"
            ``"color_edge"`` gives names such as ``"red sobel_x"``.
        by : {"value", "size"}, default: "value"
            ``"size"``: what speaks against the output counts as much as what speaks for it.

        Returns
        -------
        names : list of list of Ranked
            Pairs ``(name, value)`` with a ``.label``, the name to show: ``edge_x`` for ``dx1_dy0``.

        Examples
        --------
        >>> response = torch.tensor([1.0, -3.0]).reshape(1, 1, 2, 1, 1)
        >>> views = ScoreViews(response, None, torch.tensor([-2.0]), (0,), ("gray",), ("sobel_x", "sobel_y"))
        >>> views.top(1), views.top(1, by="size")
        ([[('sobel_x', 1.0)]], [[('sobel_y', -3.0)]])
        """
        if score not in SCORES:
            raise UnknownNameError(
                f"unknown score {score!r}{closest(score, SCORES)} top() takes {', '.join(SCORES)}."
            )
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ValueError(f"k must be an integer >= 1; got {k!r}. Pass for example k=3.")
        if by not in ("value", "size"):
            raise ValueError(f"by must be 'value' or 'size'; got {by!r}{closest(str(by), ('value', 'size'))}")
        names, labels = (
            {
                "color": self.colors,
                "edge": filters,
                "color_edge": [f"{color} {name}" for color in self.colors for name in filters],
            }[score]
            for filters in (self.filters, self.filter_labels)
        )
        return ranked(scores(self.response, score).flatten(1), names, labels, k, by_size=by == "size")

    def _filter_index(self, name: str) -> int:
        for names in (self.filters, self.filter_labels):
            if name in names:
                return names.index(name)
        known = (*self.filters, *self.filter_labels)
        raise UnknownNameError(
            f"unknown filter {name!r}{closest(name, known)} The explanation's .filters lists all {len(self.filters)}."
        )
