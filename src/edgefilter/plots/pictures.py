"""Pictures and signed maps as panels, each map with its scale below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays import Array, finite
from .blurring import blurred
from .layout import Box, Panel
from .style import (
    LEADING,
    PERCENTILE,
    Look,
    color_limit,
    frame,
    heading,
    heading_height,
    inches_of_axes,
    note_nothing,
    plain_text,
    symmetric_norm,
)
from .words import shortened, signed, width_of, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SignedMap", "draw_map", "map_panel", "picture_panel"]

TALLEST, FLATTEST = 1.5, 0.2  # height of a picture over the width it may take; taller ones are narrower
BAR, GAP, TICK = 0.09, 0.06, 0.05  # inches: the color bar, from the picture to it, from it to its numbers
NARROWEST_BAR = 1.3  # inches, in which three numbers stand apart

# Where a map speaks against the output it is hatched, so that the sign is seen without color. Hatched is what falls below this share of the scale
# after a blur by this share of the map's longer side: on 65 maps of 13 networks that gives 31 outlines at most, where the maps as they are have up to
# 2,935 (MobileNet-v2), which no one sees and which make an SVG large.
HATCHED, OUTLINE = 0.15, 1 / 60


class SignedMap(NamedTuple):
    """A map with its scale: what is drawn, where the colors end, and the words below."""

    values: Array
    title: str
    label: str  # none: without a color bar
    limit: float
    clipped: bool = False
    picture: Array | None = None  # that it lies over
    kernel: Array | None = None  # that it is of
    soft: bool = False  # blurred, so that places need no sharp borders
    speaks: bool = True  # for or against an output
    lines: int = 1  # of the titles beside it
    centered: bool = False  # its title

    @classmethod
    def fitting(cls, values: Array, title: str, label: str, **more: Any) -> SignedMap:
        """Return a map on the scale that suits it."""
        return cls(values, title, label, *color_limit(values), **more)

    @property
    def ratio(self) -> float:
        """Height over width of what is drawn."""
        height, width = (self.values if self.picture is None else self.picture).shape[:2]
        return float(height / width)


def picture_panel(
    picture: Array, look: Look, title: str = "Input", lines: int = 1, *, centered: bool = False
) -> Panel:
    """Return a panel that shows a picture as it is, with so many lines for titles beside it."""
    ratio = picture.shape[0] / picture.shape[1]
    head = _head(look, title, lines)

    def paint(figure: Figure, box: Box) -> None:
        axes = _picture_axes(figure, box, ratio, head, centered=centered)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect="auto")
        heading(axes, _cut(title, look, box.width), look, centered=centered)
        frame(axes, look)

    return Panel(lambda width: head + _fitted(width, ratio)[1] + 0.02, paint)


def map_panel(drawn: SignedMap, look: Look) -> Panel:
    """Return a panel of a map with its heading and its color bar."""
    head = _head(look, drawn.title, drawn.lines)

    def paint(figure: Figure, box: Box) -> None:
        axes = _picture_axes(figure, box, drawn.ratio, head, centered=drawn.centered)
        draw_map(axes, drawn, look, box.width)

    def tall(width: float) -> float:
        return head + _fitted(width, drawn.ratio)[1] + _below(drawn, look, width)

    return Panel(tall, paint)


def draw_map(axes: Axes, drawn: SignedMap, look: Look, room: float) -> None:
    """Draw a map on axes of the shape of its picture, with so many inches for the words above and below."""
    if drawn.picture is None:
        axes.imshow(
            drawn.values,
            cmap=look.colormap,
            norm=symmetric_norm(drawn.limit),
            interpolation="bilinear" if drawn.soft else "antialiased",
            aspect="auto",
        )
    else:
        axes.imshow(_over(drawn.picture, drawn, look), interpolation="antialiased", aspect="auto")
    _hatch(axes, drawn, look)
    icon = 0.0 if drawn.kernel is None else 0.24
    heading(axes, _cut(drawn.title, look, room - icon), look, centered=drawn.centered)
    if drawn.kernel is not None:
        _kernel(axes, drawn.kernel, look)
    frame(axes, look)
    if not np.isfinite(drawn.values).all():
        note_nothing(
            axes, look, "some values are not finite" if np.isfinite(drawn.values).any() else "no finite value"
        )
    elif not drawn.values.any():
        note_nothing(axes, look)
    if drawn.label:
        _color_bar(axes, drawn, look, room)


def _head(look: Look, title: str, lines: int) -> float:
    return heading_height(look, max(title.count("\n") + 1, lines)) if title or lines > 1 else 0.02


def _cut(title: str, look: Look, inches: float) -> str:
    return "\n".join(shortened(line, look.text + 0.5, inches) for line in title.split("\n"))


def _below(drawn: SignedMap, look: Look, width: float) -> float:
    if not drawn.label:
        return 0.02
    lines = _words(drawn, look, _bar_width(width, drawn.ratio)).count("\n") + 1
    return GAP + BAR + TICK + (lines + 1) * look.small * LEADING / 72 + 0.04


def _words(drawn: SignedMap, look: Look, length: float) -> str:
    """Return what stands below a color bar, in lines of its length; arrows at its ends take some of it."""
    cut = f" (color ends at the {PERCENTILE:g}th percentile)" if drawn.clipped else ""
    return wrapped(drawn.label + cut, look.small, (0.94 if drawn.clipped else 1.0) * length)


def _fitted(width: float, ratio: float) -> tuple[float, float]:
    """Return width and height of a picture in inches."""
    return (
        (width, width * max(ratio, FLATTEST))
        if ratio <= TALLEST
        else (width * TALLEST / ratio, width * TALLEST)
    )


def _bar_width(width: float, ratio: float) -> float:
    return max(_fitted(width, ratio)[0], min(width, NARROWEST_BAR))


def _picture_axes(figure: Figure, box: Box, ratio: float, head: float, *, centered: bool) -> Axes:
    width, height = _fitted(box.width, ratio)
    left = box.left + ((box.width - width) / 2 if centered else 0.0)
    return Box(left, box.top + head, width, height).axes(figure)


def _over(picture: Array, drawn: SignedMap, look: Look) -> Array:
    """Color a map and lay it over the gray picture, so that zero stays gray and sign stays clear."""
    gray = picture if picture.ndim == 2 else picture[..., :3] @ np.array([0.299, 0.587, 0.114])
    values = _spread(finite(drawn.values), gray.shape, soft=drawn.soft)
    color = np.asarray(look.colormap(symmetric_norm(drawn.limit)(values)))[..., :3]
    on_black, on_white = 1 - (1 - color) * (1 - 0.5 * gray[..., None]), color * (0.5 + 0.5 * gray[..., None])
    found: Array = on_black if look.dark else on_white
    return found


def _spread(values: Array, size: tuple[int, ...], *, soft: bool) -> Array:
    """Return the values of a map at the pixels of a picture: of the place a pixel is in, or between the middles of places."""
    for axis, many in enumerate(size[:2]):
        few = values.shape[axis]
        at = np.clip((np.arange(many) + 0.5) * few / many - 0.5, 0, few - 1)
        low = np.floor(at).astype(int) if soft else np.arange(many) * few // many
        share = np.expand_dims(at - low if soft else np.zeros(many), 1 - axis)
        values = (1 - share) * values.take(low, axis) + share * values.take(
            np.minimum(low + 1, few - 1), axis
        )
    return values


def _hatch(axes: Axes, drawn: SignedMap, look: Look) -> None:
    """Hatch where a map speaks against the output."""
    from matplotlib.colors import to_rgb

    values = finite(drawn.values)
    if min(values.shape) < 2 or not drawn.limit:
        return
    soft = blurred(values, OUTLINE * max(values.shape))
    if soft.min() >= -HATCHED * drawn.limit:
        return
    height, width = (drawn.values if drawn.picture is None else drawn.picture).shape[:2]
    x, y = (
        (np.arange(few) + 0.5) * many / few - 0.5
        for few, many in zip(values.shape[::-1], (width, height), strict=True)
    )
    found: Any = axes.contourf(x, y, soft, levels=[min(float(soft.min()), -drawn.limit) * 2, -HATCHED * drawn.limit],
                          colors="none", hatches=["///"])  # fmt: skip
    for part in (
        [found] if hasattr(found, "set_edgecolor") else found.collections
    ):  # before matplotlib 3.8, a collection for each level
        part.set(edgecolor=(*to_rgb(look.ink), 0.45), facecolor="none", linewidth=0)
        if hasattr(part, "set_hatch_linewidth"):  # from matplotlib 3.11 on
            part.set_hatch_linewidth(0.5)


def _kernel(axes: Axes, weight: Array, look: Look) -> None:
    """Draw the kernel of a map on the right of its heading."""
    width, height = inches_of_axes(axes)
    side = 0.19
    place = axes.inset_axes((1 - side / width, 1 + 0.04 / height, side / width, side / height))
    limit = float(np.abs(weight).max()) or 1.0
    place.imshow(
        weight, cmap=look.colormap, norm=symmetric_norm(limit), interpolation="nearest", aspect="auto"
    )
    frame(place, look)


def _color_bar(axes: Axes, drawn: SignedMap, look: Look, room: float) -> None:
    """Put the scale below a picture: its numbers with their signs, and what they count."""
    from matplotlib.cm import ScalarMappable

    width, height = inches_of_axes(axes)
    length = max(width, min(room, NARROWEST_BAR))
    left = (1 - length / width) / 2 if drawn.centered else 0.0
    place = axes.inset_axes((left, -(GAP + BAR) / height, length / width, BAR / height))
    bar = axes.figure.colorbar(
        ScalarMappable(symmetric_norm(drawn.limit), look.colormap),
        cax=place,
        orientation="horizontal",
        extend="both" if drawn.clipped else "neither",
        extendfrac=0.03,
    )
    ends = _ends(drawn, look, length)
    bar.set_ticks(
        [-drawn.limit, 0, drawn.limit] if ends else [0], labels=[ends[0], "0", ends[1]] if ends else ["0"]
    )
    place.tick_params(length=2, pad=1.5, labelsize=look.small, labelcolor=look.ink, color=look.faint)
    for label, side in zip(
        place.get_xticklabels(), ("left", "center", "right") if ends else ("center",), strict=True
    ):
        label.set(horizontalalignment=side)
    place.set_xlabel(
        _words(drawn, look, length), labelpad=1, loc="left", multialignment="left", linespacing=LEADING,
        **plain_text(look, small=True),
    )  # fmt: skip
    outline: Any = bar.outline
    outline.set(edgecolor=look.faint, linewidth=0.6)


def _ends(drawn: SignedMap, look: Look, length: float) -> tuple[str, str] | None:
    """Return the numbers at the ends of a scale, with the words that say what they mean where there is room."""
    if not drawn.limit:
        return None
    low, high = signed(-drawn.limit), signed(drawn.limit)
    spoken = (f"{low} against", f"for {high}")
    fits = max(width_of(text, look.small) for text in spoken) < 0.4 * length
    return spoken if fits and drawn.speaks else (low, high)
