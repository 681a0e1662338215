"""Names in the order of their scores, each with the score and with a label to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

__all__ = ["Ranked", "ranked"]


class _Pair(NamedTuple):
    name: str
    value: float


class Ranked(_Pair):
    """A name and its score, a pair; its ``label`` is the name to show.

    Examples
    --------
    >>> first = Ranked("dx1_dy0", 1.5, "edge_x")
    >>> name, value = first
    >>> first, name, value, first.label
    (('dx1_dy0', 1.5), 'dx1_dy0', 1.5, 'edge_x')
    """

    label: str

    def __new__(cls, name: str, value: float, label: str | None = None) -> Ranked:
        """Return a pair; without a label, the name is the label."""
        pair = super().__new__(cls, name, value)
        pair.label = name if label is None else label
        return pair

    def __getnewargs__(self) -> tuple[str, float, str]:
        """Return what copies and pickles are made from."""
        return self.name, self.value, self.label

    def __repr__(self) -> str:
        return tuple.__repr__(self)


def ranked(
    values: Tensor, names: Sequence[str], labels: Sequence[str], k: int, *, by_size: bool
) -> list[list[Ranked]]:
    """Return the names of the largest values of each row, the largest first.

    Parameters
    ----------
    values : Tensor, shape (N, P)
    names, labels : sequence of str
        Of the ``P`` columns.
    k : int
    by_size : bool
        Whether the sign does not count.
    """
    keys = values.abs() if by_size else values
    order = keys.sort(dim=1, descending=True, stable=True).indices[:, :k]
    pairs = zip(order.tolist(), values.gather(1, order).tolist(), strict=True)
    return [[Ranked(names[i], v, labels[i]) for i, v in zip(*pair, strict=True)] for pair in pairs]
