"""What all figures share: ink and ground, colors, sizes of letters, scales, headings and frames."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

__all__ = [
    "AGAINST",
    "FOR",
    "LEADING",
    "OTHERS",
    "OWN",
    "PERCENTILE",
    "SIGNED",
    "SIGNED_ON_BLACK",
    "SLIM",
    "Look",
    "check_axes",
    "color_limit",
    "frame",
    "heading",
    "heading_height",
    "inches_of_axes",
    "ink_on",
    "note_nothing",
    "plain_text",
    "signed_colormap",
    "symmetric_norm",
]

# Red speaks for the output, blue against it. For readers without green or without red cones (Vienot 1999) the two signs differ in a channel by .26 of
# its range or more from 30 % of the scale on, on white and on black; in gray the strength is seen, and the sign by hatching.
SIGNED = (  # RdBu_r with a true white for zero
    *("#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#ffffff"),
    *("#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"),
)
SIGNED_ON_BLACK = (  # the same the other way round: zero is black, the ends are light
    *("#8ecbf0", "#5aa9dd", "#3a86c0", "#245a8a", "#152f49", "#000000"),
    *("#4c1a14", "#8f2f22", "#cf5038", "#f08262", "#ffb499"),
)
FOR, AGAINST = "#b2182b", "#2166ac"
FOR_ON_BLACK, AGAINST_ON_BLACK = "#e8694c", "#5a9fd6"
GRAY = "#7f7f7f"
OWN = {"red": "#cb3a32", "green": "#3a9149", "blue": "#3867b8", "gray": GRAY, "luminance": GRAY, "Y": GRAY}
OTHERS = (
    *("#8c6bb1", "#d98f2b", "#4aa3a2", "#9c755f", "#c45a93", "#8aa331", "#2f6f9f", "#e0b83c"),
    *("#5b5ea6", "#a8433f", "#57b07a", "#b79ad0", "#6b4f2a", "#79b8d9", "#3f6b3a", "#e58a7b"),
)

PERCENTILE = 99.5
SLIM = 0.05  # inches
LEADING = 1.25  # of the size of letters, from line to line

SIZES = ((5.0, 7.0, 6.0), (9.0, 8.0, 6.8))  # inches below which text and small text have so many points
LARGEST = (9.0, 7.5)


class Look(NamedTuple):
    """Ink and ground of a figure, and the points of its letters."""

    ink: str
    faint: str  # of frames and grids
    dark: bool  # light ink on a dark ground
    text: float
    small: float

    @classmethod
    def of(cls, width: float) -> Look:
        """Return what suits a figure of a width in inches under the present settings of matplotlib."""
        from matplotlib import rcParams
        from matplotlib.colors import to_hex, to_rgb

        ink = rcParams["text.color"]
        dark = brightness(to_rgb(ink)) > 0.5
        text, small = next((points for limit, *points in SIZES if width < limit), LARGEST)
        return cls(to_hex(ink), "#777777" if dark else "#999999", dark, text, small)

    @classmethod
    def on(cls, axes: Axes) -> Look:
        """Return what suits axes that someone else made.

        Raises
        ------
        TypeError
            If they are no axes.
        """
        if not hasattr(axes, "get_position"):
            raise TypeError(
                f"ax must be axes of matplotlib; got {axes!r}. Pass for example figure.add_subplot()."
            )
        return cls.of(inches_of_axes(axes)[0] * 2)  # beside others, as a rule

    @property
    def signs(self) -> tuple[str, str]:
        """The colors of what speaks for the output, and against it."""
        return (FOR_ON_BLACK, AGAINST_ON_BLACK) if self.dark else (FOR, AGAINST)

    @property
    def colormap(self) -> Colormap:
        """The colors of maps, with zero as the ground is: white, or black."""
        return signed_colormap(dark=self.dark)

    @property
    def ground(self) -> str:
        """What lies behind bars and letters."""
        from matplotlib import rcParams
        from matplotlib.colors import to_hex, to_rgba

        wanted = to_rgba(rcParams["figure.facecolor"])
        return to_hex(wanted) if wanted[3] else ("#000000" if self.dark else "#ffffff")


def check_axes(axes: Any) -> None:
    """Raise unless something can be drawn on."""
    if not hasattr(axes, "get_position"):
        raise TypeError(
            f"ax must be axes of matplotlib; got {axes!r}. Pass for example figure.add_subplot()."
        )


def inches_of_axes(axes: Axes) -> tuple[float, float]:
    """Return width and height of axes; at least a little, so that shares of them exist."""
    return max(float(axes.bbox.width / axes.figure.dpi), SLIM), max(
        float(axes.bbox.height / axes.figure.dpi), SLIM
    )


def brightness(color: Any) -> float:
    """Return how light a color from 0 to 1 is, as a gray print has it."""
    return float(np.dot(color[:3], (0.299, 0.587, 0.114)))


def ink_on(color: Any) -> str:
    """Return black or white, whichever is read more easily on a color: its contrast is 4.5 or more (WCAG 2)."""
    linear = np.where(
        np.array(color[:3]) <= 0.04045,
        np.array(color[:3]) / 12.92,
        ((np.array(color[:3]) + 0.055) / 1.055) ** 2.4,
    )
    return "#000000" if float(np.dot(linear, (0.2126, 0.7152, 0.0722))) > 0.179 else "#ffffff"


@lru_cache(maxsize=2)
def signed_colormap(*, dark: bool = False) -> Colormap:
    """Return the colors from against (blue) over zero (white, or black on a dark ground) to for (red)."""
    from matplotlib.colors import LinearSegmentedColormap

    colors = SIGNED_ON_BLACK if dark else SIGNED
    return LinearSegmentedColormap.from_list("signed", colors, N=257)  # odd: zero is the middle color


def symmetric_norm(limit: float) -> Normalize:
    """Return the scale from ``-limit`` to ``limit``, with zero in the middle."""
    from matplotlib.colors import Normalize

    limit = limit or 1.0  # of a map without any relevance
    return Normalize(-limit, limit)


def color_limit(values: Array) -> tuple[float, bool]:
    """Return where the colors end, and whether some values lie beyond."""
    sizes = np.abs(values[np.isfinite(values)])
    if not sizes.size:
        return 0.0, False
    largest, robust = float(sizes.max()), float(np.percentile(sizes, PERCENTILE))
    return (robust, True) if 0 < robust < 0.75 * largest else (largest, False)


def plain_text(look: Look, *, small: bool = False) -> dict[str, Any]:
    """Return the settings of letters; a dollar sign in a name is no formula."""
    return {"fontsize": look.small if small else look.text, "color": look.ink, "parse_math": False}


def heading(
    axes: Axes, text: str, look: Look, shift: float = 0.0, above: float = 4.0, *, centered: bool = False
) -> None:
    """Put a title above a panel by so many points, from its left edge or so many shares of its width further right, or in the middle."""
    place: dict[str, Any] = {"loc": "center", "x": 0.5} if centered else {"loc": "left", "x": shift}
    style = plain_text(look) | {"fontsize": look.text + 0.5}
    axes.set_title(text, y=1, pad=above, linespacing=LEADING, **place, **style)


def heading_height(look: Look, lines: int = 1) -> float:
    """Return the inches that a title takes above a panel."""
    return lines * (look.text + 0.5) * LEADING / 72 + 0.08


def note_nothing(axes: Axes, look: Look, text: str = "no relevance") -> None:
    """Say in an empty panel that there is nothing to see."""
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        bbox={"facecolor": look.ground, "edgecolor": "none", "pad": 2},
        **plain_text(look),
    )


def frame(axes: Axes, look: Look) -> None:
    """Take the ticks from a picture and give it a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=look.faint, linewidth=0.6, visible=True)
