"""What the color channels of an image are called unless somebody names them."""

from __future__ import annotations

__all__ = ["color_names"]


def color_names(channels: int) -> tuple[str, ...]:
    """Name the color channels of an image.

    Examples
    --------
    >>> color_names(3), color_names(1), color_names(2)
    (('red', 'green', 'blue'), ('gray',), ('channel_0', 'channel_1'))
    """
    known = {1: ("gray",), 3: ("red", "green", "blue")}
    return known.get(channels, tuple(f"channel_{i}" for i in range(channels)))
