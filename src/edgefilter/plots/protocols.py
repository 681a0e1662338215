"""What figures read of the things they draw: any object that has this can be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Explained", "Profiled"]


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

    def __getitem__(self, index: int, /) -> Explained:
        """Return the explanation of one image."""

    def top(self, k: int = ...) -> list[list[tuple[str, float]]]:
        """Return the filters with the largest scores, for each image."""

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
