"""What a report reads of the things it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from edgefilter.plots.protocols import Explained, Grouped

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

__all__ = ["Reported"]


class Noted(Grouped, Protocol):
    """Scores of groups with what to know about them."""

    @property
    def notes(self) -> Mapping[str, str]:
        """What to know about the score of a group, by its name."""


class Reported(Explained, Protocol):
    """An explanation of a batch of images, such as :class:`edgefilter.Explanation`."""

    @property
    def color_edge(self) -> Tensor:
        """Score by color and filter, shape (N, C, K)."""

    @property
    def base(self) -> Tensor:
        """What of the output no score carries, shape (N,)."""

    @property
    def total(self) -> Tensor:
        """Sum of all relevance, shape (N,)."""

    @property
    def about(self) -> Mapping[str, str]:
        """How it was made."""

    @property
    def inputs(self) -> Tensor | None:
        """The images as the model saw them, or None."""

    @property
    def window(self) -> Any:
        """What of the image the responses see: its ``size`` is that of the image; or None."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, index: int, /) -> Reported:
        """Return the explanation of one image."""

    def group(self, kind: str, /) -> Noted:
        """Return the scores of the groups of a kind."""

    def pixel_map(self, name: str, /) -> Tensor:
        """Return where a color's relevance lies in the image, shape (N, H, W)."""

    def picture(self, image: int = ..., /) -> npt.NDArray[np.float64] | None:
        """Return what the model saw, as a viewer would see it, or None."""

    def summary(self, image: int = ..., class_names: Sequence[str] | None = ...) -> str:
        """Return what the output came from, in plain words."""
