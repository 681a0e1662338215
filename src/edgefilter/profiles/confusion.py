"""How often the network is right: which class it predicts for the photos of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from edgefilter._checks import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Confusion", "distinct", "predictions"]


class Confused(NamedTuple):
    """How many photos of a class the network took for another one."""

    label: str
    predicted: str
    photos: int


class Confusion(NamedTuple):
    """Which class the network predicts for the photos of each class.

    Attributes
    ----------
    counts : Tensor, shape (classes, classes), integers
        Photos by their own class (rows) and the predicted class (columns).
    names : tuple of str
        The network's classes; one name that several have comes with the index.

    Examples
    --------
    >>> import torch
    >>> confusion = Confusion(torch.tensor([[3, 1], [0, 4]]), ("cat", "dog"))
    >>> confusion.accuracy, confusion.by_class()
    (0.875, {'cat': (4, 0.75), 'dog': (4, 1.0)})
    >>> confusion.largest(1)
    [Confused(label='cat', predicted='dog', photos=1)]
    """

    counts: Tensor
    names: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Confusion({counted(len(self.names), 'class', 'classes')}, {counted(self.photos, 'photo')}, accuracy {self.accuracy:.3f})"

    def _repr_html_(self) -> str:
        from .notebook import html_of_confusion

        return html_of_confusion(self)

    @property
    def photos(self) -> int:
        """The number of photos whose prediction was counted."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """The share of photos whose class is predicted; NaN without photos."""
        return float(self.counts.diag().sum().double() / self.counts.sum())

    def by_class(self) -> dict[str, tuple[int, float]]:
        """Return the number of photos and the accuracy of each class that has photos."""
        totals = self.counts.sum(1)
        return {
            self.names[place]: (int(totals[place]), float(self.counts[place, place].double() / totals[place]))
            for place in totals.nonzero()[:, 0].tolist()
        }

    def largest(self, k: int) -> list[Confused]:
        """Return the classes that are taken for another one most often, the most photos first."""
        wrong = self.counts - self.counts.diag().diag()
        places = wrong.nonzero().tolist()
        found = [Confused(self.names[a], self.names[b], int(wrong[a, b])) for a, b in places]
        return sorted(found, key=lambda item: -item.photos)[:k]

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row for each class with photos, one column for each class that has photos or is predicted.

        Returns
        -------
        table : pandas.DataFrame
            Columns ``label``, ``photos``, ``accuracy``, and one with the number of photos for each predicted class.
        """
        import pandas as pd

        rows = self.counts.sum(1).nonzero()[:, 0].tolist()
        columns = (self.counts.sum(0) + self.counts.sum(1)).nonzero()[:, 0].tolist()
        totals = self.by_class()
        head = pd.DataFrame(
            [(self.names[row], *totals[self.names[row]]) for row in rows],
            columns=["label", "photos", "accuracy"],
        )
        cells = self.counts[rows][:, columns].tolist()
        body = pd.DataFrame(cells, columns=[f"predicted {self.names[place]}" for place in columns])
        table: pd.DataFrame = pd.concat([head, body], axis=1)
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain values, ready for JSON; of the counts those that are not 0."""
        places = self.counts.nonzero().tolist()
        counts: dict[str, dict[str, int]] = {}
        for a, b in places:
            counts.setdefault(self.names[a], {})[self.names[b]] = int(self.counts[a, b])
        classes = {name: {"photos": n, "accuracy": share} for name, (n, share) in self.by_class().items()}
        return {
            "accuracy": self.accuracy if self.photos else None,
            "classes": classes,
            "confusion": counts,
        }


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return names with the index behind those that come several times.

    Examples
    --------
    >>> distinct(["crane", "owl", "crane"])
    ('crane (0)', 'owl', 'crane (2)')
    """
    times = Counter(names)
    return tuple(f"{name} ({place})" if times[name] > 1 else name for place, name in enumerate(names))


def predictions(output: Tensor) -> Tensor:
    """Return the class with the largest output, shape (N,); of one output class 1 where it is positive, else class 0.

    Parameters
    ----------
    output : Tensor, shape (N, classes) or (N, 1)
        Logits.

    Examples
    --------
    >>> import torch
    >>> predictions(torch.tensor([[0.1, 0.7], [2.0, 1.0]])), predictions(torch.tensor([[-0.5], [3.0]]))
    (tensor([1, 0]), tensor([0, 1]))
    """
    output = output.reshape(len(output), -1)
    return (output[:, 0] > 0).long() if output.shape[1] == 1 else output.argmax(1)
