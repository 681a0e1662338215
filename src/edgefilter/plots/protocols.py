"""What figures read of the things they draw: any object that has this can be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Explained", "Grouped", "Profiled"]


class Grouped(Protocol):
    """Scores of groups of filters of a batch of images, such as :meth:`edgefilter.Explanation.group` gives."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the ``G`` groups."""

    @property
    def filters(self) -> tuple[tuple[str, ...], ...]:
        """The filters of each group."""

    @property
    def edge(self) -> Tensor:
        """Score by group, shape (N, G)."""


class Explained(Protocol):
    """An explanation of a batch of images, such as :class:`edgefilter.Explanation`."""

    @property
    def response(self) -> Tensor:
        """Relevance at the responses, shape (N, C, K, H', W')."""

    @property
    def pixel(self) -> Tensor | None:
        """Relevance at the pixels, shape (N, C, H, W), or None."""

    @property
    def color(self) -> Tensor:
        """Score by color, shape (N, C)."""

    @property
    def edge(self) -> Tensor:
        """Score by filter, shape (N, K)."""

    @property
    def output(self) -> Tensor:
        """The explained output, shape (N,)."""

    @property
    def conserved_share(self) -> Tensor:
        """Total relevance divided by the explained output, shape (N,)."""

    @property
    def target(self) -> tuple[Any, ...]:
        """What was explained, one entry per image."""

    @property
    def colors(self) -> tuple[str, ...]:
        """Names of the ``C`` colors."""

    @property
    def filters(self) -> tuple[str, ...]:
        """Names of the ``K`` filters."""

    @property
    def filter_labels(self) -> tuple[str, ...]:
        """The filters' names as words."""

    @property
    def effects(self) -> Tensor | None:
        """What the output loses without a color, shape (N, C), or None."""

    @property
    def errors(self) -> Tensor | None:
        """Standard errors of the color scores, shape (N, C), or None."""

    @property
    def filter_effects(self) -> Tensor | None:
        """What the output loses without a filter, shape (N, K), or None; NaN where it was not measured."""

    @property
    def groups(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """The groups of the filters by kind, as far as they are known."""

    @property
    def against(self) -> tuple[Any, ...]:
        """What the targets were compared with, one entry per image, or None."""

    @property
    def left_out(self) -> str:
        """Name of the function at the model's end that was left out, or nothing."""

    @property
    def total(self) -> Tensor:
        """Sum of the relevance, shape (N,)."""

    @property
    def window(self) -> Any:
        """What of the image the responses see: ``shares`` (K, h, w), ``stride`` and ``size``; or None."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, index: int, /) -> Explained:
        """Return the explanation of one image."""

    def picture(self, image: int = ..., /) -> Any:
        """Return what the model saw as an array from 0 to 1, shape (H, W, 3), or None if it is not known."""

    def summary(self, image: int = ..., class_names: Any = ...) -> str:
        """Say in plain words what the output of an image came from."""

    def top(self, k: int = ..., *, by: str = ...) -> Sequence[Sequence[tuple[str, float]]]:
        """Return the filters with the largest scores, for each image; ``by="size"`` whatever their sign."""

    def group(self, kind: str, /) -> Grouped:
        """Return the scores of the groups of a kind."""

    def doubts(self) -> list[dict[str, str]]:
        """Return for each image the colors and filters whose effect contradicts the score, and how."""

    def edge_map(self, name: str) -> Tensor:
        """Return where a filter's relevance lies, shape (N, H', W')."""


class Profiled(Protocol):
    """Statistics of classes, such as :class:`edgefilter.ClassProfile`."""

    @property
    def num_classes(self) -> int:
        """The number of classes."""

    @property
    def class_names(self) -> Sequence[str]:
        """One name for each class."""

    @property
    def colors(self) -> Sequence[str]:
        """Names of the ``C`` colors."""

    @property
    def filters(self) -> Sequence[str]:
        """Names of the ``K`` filters."""

    @property
    def filter_labels(self) -> Sequence[str]:
        """The filters' names as words."""

    @property
    def pixel_size(self) -> tuple[int, int] | None:
        """Height and width of the mean pixel maps, or None without them."""

    def values(self) -> Mapping[str, Tensor]:
        """Return count, mean and spread of the shares of every class."""

    def class_index(self, which: int | str) -> int:
        """Return the index of a class that is given by index or name."""
