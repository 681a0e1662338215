"""Partitions of a bank's filters: by order, by direction of change, by scale, by family, by dependence, or of your own.

Every partition is a dict from the name of a group to the names of its filters. Each filter is in exactly one group,
no group is empty, and filters and groups are in the order of the bank (a group where its first filter is).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

from .directions import change_direction
from .kernel import ROUNDING, Array, Kernel
from .scales import scale_name

__all__ = [
    "KINDS",
    "MANY",
    "Groups",
    "all_groups",
    "as_groups",
    "check_partition",
    "partition",
]

Groups = dict[str, tuple[str, ...]]

ORDERS = ("brightness", "edges", "lines and corners", "texture")
NO_DIRECTION = "no direction"

MANY = 12  # filters: of more, tables, figures and sentences give the groups by order first

# Directions that are read from the weights are told apart in eighths of a half turn. Gabor kernels of 7x7 with wavelengths from 2.5 pixels, sampled as
# they are, have their direction within 5.6 degrees of the nominal one (24 angles), and 11.25 are allowed.
STEP = 22.5


class _Bank(Protocol):
    """What is read of a bank."""

    @property
    def names(self) -> list[str]: ...
    @property
    def families(self) -> list[str]: ...
    @property
    def orders(self) -> list[int]: ...
    @property
    def kernels(self) -> Sequence[Kernel]: ...
    @property
    def weight(self) -> Array: ...
    def index(self, name: str) -> int: ...


def as_groups(bank: _Bank, groups: str | Mapping[str, Iterable[str]]) -> Groups:
    """Return a partition of a bank's filters, made by kind or checked if it is your own.

    Parameters
    ----------
    bank : FilterBank
    groups : {"order", "orientation", "scale", "family", "dependent"} or mapping of str to sequence of str
        A kind that `FilterBank.groups` knows, or ``{name: [filters]}`` with names or aliases of the bank's filters.

    Returns
    -------
    groups : dict of str to tuple of str
        The filters of each group, by their names and in the order of the bank. Groups of your own stay in your order.

    Raises
    ------
    TypeError
        If ``groups`` is neither a string nor a mapping to sequences of names.
    KeyError
        If there is no such kind, or a name is not that of a filter.
    ValueError
        If a group is empty or a filter is in no group or in more than one.

    Examples
    --------
    >>> from edgefilter import get_bank
    >>> as_groups(get_bank("sobel"), {"across": ["sobel_x"], "down": ["sobel_y"]})
    {'across': ('sobel_x',), 'down': ('sobel_y',)}
    >>> as_groups(get_bank("sobel"), {"across": ["sobel_x"]})
    Traceback (most recent call last):
        ...
    ValueError: groups must hold every filter; got none with 'sobel_y'. Add it to a group, or to one of its own.
    """
    if not isinstance(groups, str):
        return partition(groups, bank.names, bank.index)
    if groups not in _KINDS:
        raise UnknownNameError(
            f"unknown kind of groups {groups!r}{closest(groups, KINDS)} "
            f"Choose one of {', '.join(KINDS)}, or pass {{name: [filters]}}."
        )
    found: dict[str, list[str]] = {}
    for name, group in zip(bank.names, _KINDS[groups](bank), strict=True):
        found.setdefault(group, []).append(name)
    return {group: tuple(names) for group, names in found.items()}


def all_groups(bank: _Bank) -> dict[str, Groups]:
    """Return the groups of every kind.

    Examples
    --------
    >>> from edgefilter import get_bank
    >>> all_groups(get_bank("sobel"))["orientation"]
    {'0 deg': ('sobel_x',), '90 deg': ('sobel_y',)}
    """
    return {kind: as_groups(bank, kind) for kind in KINDS}


def partition(
    groups: Mapping[str, Iterable[str]], filters: Sequence[str], index: Callable[[str], int]
) -> Groups:
    """Check a partition of your own and return it with the filters by their names, in their order.

    Parameters
    ----------
    groups : mapping of str to sequence of str
    filters : sequence of str
        The names that the groups must hold, each once.
    index : callable (name: str) -> int
        Returns the position of a name or alias among ``filters``; raises for an unknown one.

    Raises
    ------
    TypeError, KeyError, ValueError
        As :func:`as_groups` does.

    Examples
    --------
    >>> partition({"rest": ["c", "a"], "one": ["b"]}, "abc", "abc".index)
    {'rest': ('a', 'c'), 'one': ('b',)}
    """
    if not isinstance(groups, Mapping):
        raise TypeError(
            f"groups must be one of {', '.join(KINDS)} or a mapping; got {groups!r}. Pass {{name: [filters]}}."
        )
    found = {group: sorted(_positions(group, names, index)) for group, names in groups.items()}
    check_partition(found, filters, "groups", "every filter", "every filter")
    return {group: tuple(filters[p] for p in positions) for group, positions in found.items()}


def check_partition(
    members: Mapping[str, Sequence[int]], names: Sequence[str], argument: str, each: str, every: str
) -> None:
    """Raise unless groups hold each of some names once.

    Parameters
    ----------
    members : mapping of str to sequence of int
        The places of the names in each group.
    names : sequence of str
    argument, each, every : str
        What messages call the groups, one name and all of them.

    Raises
    ------
    ValueError
        If a name is in two groups, or in none.
    """
    owner: dict[int, str] = {}
    for group, places in members.items():
        for place in places:
            if place in owner:
                raise ValueError(
                    f"{argument} must hold {each} once; got {names[place]!r} in {owner[place]!r} and in {group!r}. Take it out of one."
                )
            owner[place] = group
    if missing := [name for place, name in enumerate(names) if place not in owner]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(
            f"{argument} must hold {every}; got none with {missing[0]!r}{more}. Add it to a group, or to one of its own."
        )


def _positions(group: str, names: Iterable[str], index: Callable[[str], int]) -> list[int]:
    """Return where the filters of one group are, and refuse a group without any."""
    if not isinstance(group, str):
        raise TypeError(f"groups must have strings as names; got {group!r}. Write {str(group)!r}.")
    given = None if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    if given is None or not all(isinstance(name, str) for name in given):
        raise TypeError(
            f"groups must hold sequences of filter names; got {names!r} for {group!r}. Pass a list of names."
        )
    if not given:
        raise ValueError(f"groups must not be empty; got no filter in {group!r}. Drop it.")
    return [index(name) for name in given]


def _by_order(bank: _Bank) -> list[str]:
    return [ORDERS[min(order, len(ORDERS) - 1)] for order in bank.orders]


def _by_direction(bank: _Bank) -> list[str]:
    return [_direction_name(kernel) for kernel in bank.kernels]


def _direction_name(kernel: Kernel) -> str:
    if kernel.direction is not None:
        return f"{round(kernel.direction, 2) % 180:g} deg"
    found = change_direction(kernel.weight)
    return NO_DIRECTION if found is None else f"{round(found / STEP) * STEP % 180:g} deg"


def _by_scale(bank: _Bank) -> list[str]:
    return [scale_name(kernel) if kernel.order else ORDERS[0] for kernel in bank.kernels]


def _by_family(bank: _Bank) -> list[str]:
    return bank.families


def _by_dependence(bank: _Bank) -> list[str]:
    """Name each filter's group: by itself, or by all the filters that are multiples of it."""
    names, first = bank.names, _first_multiples(bank.weight.reshape(len(bank.names), -1))
    labels: dict[int, str] = {}
    for owner in dict.fromkeys(first):
        members = [name for name, other in zip(names, first, strict=True) if other == owner]
        label = " ~ ".join(members)
        while len(members) > 1 and (label in names or label in labels.values()):
            label += " ~"  # a filter may be called "a ~ b"
        labels[owner] = label
    return [labels[owner] for owner in first]


def _first_multiples(flat: Array) -> list[int]:
    """Return for each row the position of the first one that it is a multiple of; rows of zeros are of one another."""
    largest = np.abs(flat).max(axis=1, keepdims=True)
    flat = np.divide(flat, largest, out=np.zeros_like(flat), where=largest > 0)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 0)
    zero = norms[:, 0] == 0
    # 1 - |cosine| is half the square of the distance: unit vectors as far apart as float32 rounding are the same
    same = (np.abs(unit @ unit.T) >= 1 - ROUNDING**2) | np.logical_and.outer(zero, zero)
    first = np.arange(len(flat))
    for i, j in np.argwhere(np.triu(same, 1)):
        low, high = sorted((first[i], first[j]))
        first[first == high] = low
    return [int(position) for position in first]


_KINDS: dict[str, Callable[[_Bank], list[str]]] = {
    "order": _by_order,
    "orientation": _by_direction,
    "scale": _by_scale,
    "family": _by_family,
    "dependent": _by_dependence,
}
KINDS = tuple(_KINDS)
