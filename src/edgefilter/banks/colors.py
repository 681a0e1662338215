"""The colors of an image: its channels by name, groups of them, or the colors of a basis."""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

from .bases import ColorBasis, as_basis
from .groups import check_partition
from .kernel import Array

__all__ = ["Colors", "as_colors", "color_names"]

Basis = ColorBasis | tuple[Sequence[str], Any] | Mapping[str, Sequence[float]] | Array | str | None
ColorGroups = Mapping[str, Iterable[str | int]] | Sequence[str] | None


def color_names(channels: int) -> tuple[str, ...]:
    """Name the color channels of an image.

    Examples
    --------
    >>> color_names(3), color_names(1), color_names(2)
    (('red', 'green', 'blue'), ('gray',), ('channel_0', 'channel_1'))
    """
    known = {1: ("gray",), 3: ("red", "green", "blue")}
    return known.get(channels, tuple(f"channel_{i}" for i in range(channels)))


class Colors:
    """What the channels of an image are scored as.

    Parameters
    ----------
    channels : tuple of str or None
        Names of the channels, or of the colors of a basis. Default: by their number.
    groups : mapping of str to tuple of str or int, optional
        Partition of the channels. Default: each by itself.
    basis : ColorBasis, optional

    Examples
    --------
    >>> colors = as_colors({"visible": ["B02", "B03"], "infrared": ["B08"]})
    >>> colors.members(3), colors.membership(3).tolist()
    ({'visible': ('B02', 'B03'), 'infrared': ('B08',)}, [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    """

    def __init__(
        self,
        channels: tuple[str, ...] | None = None,
        groups: dict[str, tuple[str | int, ...]] | None = None,
        basis: ColorBasis | None = None,
    ) -> None:
        self.given, self.groups, self.basis = channels, groups, basis

    def names(self, count: int) -> tuple[str, ...]:
        """Return the names of the colors of an image of so many channels."""
        return tuple(self.members(count))

    def channels(self, count: int) -> tuple[str, ...]:
        """Return the names of the channels of an image of so many, or of the colors of its basis.

        Raises
        ------
        ValueError
            If there are names for another number of channels.
        """
        if self.given is not None:
            if len(self.given) != count:
                what = "colors must name" if self.basis is None else "basis must have a color for"
                raise ValueError(
                    f"{what} each of the image's {count} channels; got {len(self.given)}, {_listed(self.given)}. Pass {count}, in the "
                    "order of the channels."
                )
            return self.given
        return color_names(count) if self.groups is None else _in_order(self.groups, count)

    def members(self, count: int) -> dict[str, tuple[str, ...]]:
        """Return the channels of each color of an image of so many channels.

        Raises
        ------
        KeyError, ValueError
            If a name is unknown, or the groups are no partition of the channels.
        """
        channels = self.channels(count)
        if self.groups is None:
            return {name: (name,) for name in channels}
        places = {
            group: sorted(_place(one, channels) for one in given) for group, given in self.groups.items()
        }
        check_partition(places, channels, "colors", "every channel", f"every one of the {count} channels")
        return {group: tuple(channels[place] for place in some) for group, some in places.items()}

    def membership(self, count: int) -> Array:
        """Return 1 for the channels of each color, shape (channels, colors)."""
        channels, members = self.channels(count), self.members(count)
        if self.groups is None:
            return np.eye(count)
        return np.array([[float(name in some) for some in members.values()] for name in channels])


def as_colors(colors: Any = None, basis: Any = None, channels: Any = None) -> Colors:
    """Return what the channels of an image are scored as.

    Parameters
    ----------
    colors : sequence of str, mapping of str to sequence of str or int, or None
        Names of the channels, in their order; or groups of channels, each channel in one of them, by name or by index. With names that
        are not known otherwise, the groups name the channels in their order.
    basis : str, (names, matrix), mapping of str to sequence of float, ColorBasis, array or None
        As in :func:`edgefilter.banks.bases.as_basis`. Groups are of its colors; of a matrix alone, ``colors`` names the rows.
    channels : sequence of str, optional
        Names of the channels, in their order.

    Raises
    ------
    TypeError, ValueError, KeyError
        If names are doubled, groups are empty or overlap, or there is no such basis; the message says what does.

    Warns
    -----
    UserWarning
        If only groups name the channels, and the numbers in the names are in another order.

    Examples
    --------
    >>> as_colors(["near", "far"]).names(2), as_colors().names(3), as_colors(basis="luma").names(3)
    (('near', 'far'), ('red', 'green', 'blue'), ('Y', 'Cb', 'Cr'))
    """
    if isinstance(colors, Colors):
        return colors
    known = None if channels is None else _distinct(channels, "channels")
    groups = _groups(colors) if isinstance(colors, Mapping) else None
    names = None if colors is None or groups is not None else _distinct(colors, "colors")
    if names is not None and len(getattr(basis, "shape", ())) == 2:
        basis, names = (names, basis), None  # of a matrix alone, they name the rows
    found = as_basis(basis, names or known)
    if groups is not None and known is None and found is None:
        _warn_of_order(groups)
    if found is not None:
        if len(names or known or found.names) != len(found.names):
            raise ValueError(
                f"basis must have a color for each channel; got {len(found.names)} for {_listed(names or known or ())}. Pass a matrix of "
                "as many rows as there are channels."
            )
        return Colors(found.names, groups, found)
    if names is not None and known is not None and names != known:
        raise ValueError(
            f"colors must be None or groups where channels gives the names; got {names}. Pass the names once."
        )
    return Colors(names or known, groups)


def _distinct(names: Any, argument: str) -> tuple[str, ...]:
    """Return names as a tuple."""
    found = tuple(names) if isinstance(names, Iterable) and not isinstance(names, str) else ()
    if not found or not all(isinstance(name, str) and name for name in found):
        raise TypeError(
            f"{argument} must be a sequence of names{' or a mapping of groups' if argument == 'colors' else ''}; got {names!r}. Pass for "
            "example ['red', 'green', 'blue']."
        )
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise ValueError(f"{argument} must be different names; got {twice!r} twice. Rename one of them.")
    return found


def _groups(colors: Mapping[Any, Any]) -> dict[str, tuple[str | int, ...]]:
    """Return groups of channels as they were given, checked as far as they can be without an image."""
    if not colors:
        raise ValueError("colors must hold a group; got none. Pass {name: [channels]}, or None.")
    found = {}
    for group, given in colors.items():
        if not isinstance(group, str) or not group:
            raise TypeError(f"colors must have strings as names; got {group!r}. Write {str(group)!r}.")
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise TypeError(
                f"colors must hold sequences of channels; got {given!r} for {group!r}. Pass a list of names."
            )
        found[group] = tuple(_channel(one, group) for one in given)
        if not found[group]:
            raise ValueError(f"colors must not be empty; got no channel in {group!r}. Drop it.")
    owner: dict[str | int, str] = {}
    for group, some in found.items():
        for one in some:
            if one in owner:
                where = f"{owner[one]!r} and in {group!r}" if owner[one] != group else f"{group!r} twice"
                raise ValueError(
                    f"colors must hold every channel once; got {one!r} in {where}. Take it out of one."
                )
            owner[one] = group
    return found


def _channel(given: Any, group: str) -> str | int:
    """Return a channel's name or index."""
    if isinstance(given, str):
        return given
    try:
        if isinstance(given, bool):
            raise TypeError
        return operator.index(given)
    except TypeError:
        raise TypeError(
            f"colors must hold names or indices of channels; got {given!r} in {group!r}. Pass for example ['red']."
        ) from None


def _in_order(groups: Mapping[str, Sequence[str | int]], count: int) -> tuple[str, ...]:
    """Return the names of channels that only groups name: those known by their number, or these in their order."""
    default = color_names(count)
    given = [one for some in groups.values() for one in some]
    strange = [one for one in given if isinstance(one, str) and one not in default]
    if not strange:
        return default
    names = [one for one in given if isinstance(one, str)]
    if len(names) == len(given) == count and all(
        name not in default or default.index(name) == place for place, name in enumerate(names)
    ):
        return tuple(names)
    if len(strange) == len(given):
        raise ValueError(
            f"colors must name each of the {count} channels once, in their order; got {len(given)} names. Add what is missing, or pass "
            "channels=... with the names of all."
        )
    raise UnknownNameError(
        f"unknown channel {strange[0]!r}{closest(str(strange[0]), default)} The channels are {_listed(default)}; pass channels=... if they have "
        "other names."
    )


def _warn_of_order(groups: Mapping[str, Sequence[str | int]]) -> None:
    """Warn if groups name channels in another order than that of the numbers in their names, which is most often that of the image."""
    names = [one for some in groups.values() for one in some if isinstance(one, str)]
    numbers = [int(found[0]) for name in names if (found := re.findall(r"\d+", name))]
    if len(numbers) == len(names) and not all(name.startswith("channel_") for name in names):
        later = next((i for i in range(1, len(names)) if numbers[i] < numbers[i - 1]), None)
        if later is not None:
            warnings.warn(
                f"colors should list channels in the order of the image where nothing else names them; got {names[later - 1]!r} before "
                f"{names[later]!r}. Pass channels=... with the names in the order of the image.",
                UserWarning,
                stacklevel=4,
            )


def _place(one: str | int, channels: Sequence[str]) -> int:
    """Return the place of a channel that is given by name or index."""
    if isinstance(one, int):
        if not -len(channels) <= one < len(channels):
            raise ValueError(
                f"colors must hold indices between 0 and {len(channels) - 1}; got {one}. The image has {len(channels)} channels."
            )
        return one % len(channels)
    if one not in channels:
        raise UnknownNameError(
            f"unknown channel {one!r}{closest(one, channels)} The channels are {_listed(channels)}."
        )
    return channels.index(one)


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f", ... ({len(names)} of them)" if len(names) > most else ""
    return ", ".join(names[:most]) + more
