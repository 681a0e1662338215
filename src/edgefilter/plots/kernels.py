"""Kernels side by side, and what they answer to a photo."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefilter.banks.bank import FilterBank
from edgefilter.banks.catalogue import get_kernel
from edgefilter.banks.kernel import Kernel
from edgefilter.banks.presets import bank_names, get_bank

from .arrays import Array, as_picture
from .layout import Block, Box, Panel, Stack, in_rows, inches_of, sheet
from .pictures import SignedMap, map_panel, picture_panel
from .style import Look, frame, ink_on, plain_text, symmetric_norm
from .words import halves, shortened, spaced, width_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_kernels", "plot_responses"]

Kernels = FilterBank | Kernel | str | Iterable[Kernel | str]

KERNEL, RESPONSE = 1.25, 1.9  # inches that a kernel takes, and a response
GAP = 0.1
SIGNED_CELLS = 11  # kernels up to this size have a mark in each negative cell; in larger ones it is a dot


def plot_kernels(
    kernels: Kernels,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw kernels side by side, each on its own scale: red weighs positively, blue and with a minus negatively, white is 0.

    Parameters
    ----------
    kernels : FilterBank or sequence of Kernel or str
        Kernels, or names of the catalogue. A single kernel, or the name of one or of a preset bank, is drawn as well.
    ax : matplotlib.axes.Axes, optional
        Draw in the place of these axes, which are left empty. Default: a new figure.
    title : str, optional
        Default: none.
    width : {"column", "page"} or float, optional
        3.5 or 7.2 inches, or so many. Default: six kernels in a row, more of many.
    dpi : float, default: 150

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there are none, or an argument does not fit.
    KeyError
        If the catalogue lacks a name.

    Examples
    --------
    >>> len(plot_kernels(["sobel_x", "sobel_y"]).axes)
    2
    """
    found = _found(kernels)
    columns = min(len(found), max(6, math.ceil(math.sqrt(len(found) * 1.3))))
    inches = inches_of(width, KERNEL * columns + 0.2, ax)
    if narrow := width is not None or ax is not None:
        columns = max(2, min(columns, int(inches / (0.9 * KERNEL))))
    look = Look.of(inches if narrow else max(inches, 5.0))
    labels, room = _labels(found), (inches - 0.2) / columns - GAP
    lines = 1 if all(width_of(label, look.small) <= room for label in labels) else 2
    panels: list[Block] = [
        _kernel_panel(kernel, label, look, lines) for kernel, label in zip(found, labels, strict=True)
    ]
    names = ", ".join(labels[:8])
    alt = f"{len(found)} kernels: {names}{', ...' if len(found) > 8 else ''}"
    return sheet(
        Stack(in_rows(panels, columns, GAP), 0.06), inches, look, title=title or "", alt=alt, dpi=dpi, ax=ax
    )


def plot_responses(
    kernels: Kernels,
    image: Any,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    width: str | float | None = None,
    dpi: float = 150,
) -> Figure:
    """Draw a photo and what each kernel of a bank answers to it, each response on a scale of its own.

    Parameters
    ----------
    kernels : FilterBank or sequence of Kernel or str
        Kernels, or names of the catalogue. A single kernel, or the name of one or of a preset bank, is drawn as well.
    image : array-like or PIL image
        The photo as a viewer would see it: (H, W), (H, W, C), or a Tensor (C, H, W); uint8, or floats from 0 to 1. The kernels see its gray.
    ax : matplotlib.axes.Axes, optional
        Draw in the place of these axes, which are left empty. Default: a new figure.
    title : str, optional
        Default: none.
    width : {"column", "page"} or float, optional
        3.5 or 7.2 inches, or so many. Default: up to four pictures in a row.
    dpi : float, default: 150

    Returns
    -------
    figure : matplotlib.figure.Figure

    Notes
    -----
    A response is signed: red, where the photo is like the kernel, blue and hatched, where it is like its negative. Beyond its border the photo
    goes on as its mirror image.

    Raises
    ------
    ValueError
        If there are no kernels, or ``image`` is no picture.
    KeyError
        If the catalogue lacks a name.

    Examples
    --------
    >>> figure = plot_responses(["sobel_x"], np.eye(8))
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['photo', 'sobel x']
    """
    found, picture = _found(kernels), as_picture(image)
    gray = picture if picture.ndim == 2 else picture @ np.array([0.299, 0.587, 0.114])
    columns = min(len(found) + 1, 4 if len(found) < 24 else 6)
    inches = inches_of(width, RESPONSE * columns + 0.2, ax)
    if narrow := width is not None or ax is not None:
        columns = min(columns, max(2, int(inches / (0.8 * RESPONSE))))
    look = Look.of(inches if narrow else max(inches, 5.0))
    panels: list[Block] = [picture_panel(picture, look, "photo")]
    for kernel, label in zip(found, _labels(found), strict=True):
        response = SignedMap.fitting(
            _response(gray, kernel.weight), label, "response", kernel=kernel.weight, speaks=False
        )
        panels.append(map_panel(response, look))
    alt = f"A photo and the responses of {len(found)} kernels to it: {', '.join(_labels(found)[:8])}"
    return sheet(Stack(in_rows(panels, columns)), inches, look, title=title or "", alt=alt, dpi=dpi, ax=ax)


def _found(kernels: Kernels) -> list[Kernel]:
    if isinstance(kernels, str):
        kernels = get_bank(kernels) if kernels in bank_names() else [kernels]
    if isinstance(kernels, Kernel):
        kernels = [kernels]
    found = [get_kernel(kernel) if isinstance(kernel, str) else kernel for kernel in kernels]
    if not found:
        raise ValueError("kernels must not be empty; got none. Pass for example ['sobel_x', 'sobel_y'].")
    return found


def _labels(kernels: list[Kernel]) -> list[str]:
    """Return the words to show, or the names of kernels whose words are the same."""
    words = [kernel.label for kernel in kernels]
    return [spaced(kernel.name if words.count(kernel.label) > 1 else kernel.label) for kernel in kernels]


def _response(gray: Array, weight: Array) -> Array:
    """Correlate a picture with a kernel; the picture is mirrored beyond its border."""
    before = [(size - 1) // 2 for size in weight.shape]
    around = [(b, size - 1 - b) for b, size in zip(before, weight.shape, strict=True)]
    padded = np.pad(gray, around, mode="symmetric")
    spectrum = np.fft.rfft2(padded) * np.conj(np.fft.rfft2(weight, padded.shape))
    found: Array = np.fft.irfft2(spectrum, padded.shape)[: gray.shape[0], : gray.shape[1]]
    return np.where(np.abs(found) < 1e-12 * np.abs(weight).sum(), 0.0, found)


def _kernel_panel(kernel: Kernel, label: str, look: Look, lines: int) -> Panel:
    """Return a panel of a kernel below its name, which has room for one line or two."""
    points = look.small
    head = lines * points * 1.2 / 72 + 0.06

    def paint(figure: Figure, box: Box) -> None:
        height, width = kernel.weight.shape
        side = box.width
        if height > width:
            place = Box(
                box.left + side * (1 - width / height) / 2, box.top + head, side * width / height, side
            )
        else:
            place = Box(box.left, box.top + head, side, side * height / width)
        axes = place.axes(figure)
        _draw_weights(axes, kernel.weight, look, place)
        parts = [label] if width_of(label, points) <= side else [line for line in halves(label) if line]
        text = "\n".join(shortened(part, points, side) for part in parts)
        axes.set_title(text, y=1, pad=3, **plain_text(look, small=True))
        frame(axes, look)

    return Panel(
        lambda width: head + width * min(1.0, kernel.weight.shape[0] / kernel.weight.shape[1]), paint
    )


def _draw_weights(axes: Axes, weight: Array, look: Look, place: Box) -> None:
    """Draw weights as colors, with their numbers where those are short, else with a minus where they are negative."""
    limit = float(np.abs(weight).max()) or 1.0
    norm, paint = symmetric_norm(limit), look.colormap
    axes.imshow(weight, cmap=paint, norm=norm, interpolation="nearest", aspect="auto", origin="upper")
    numbers = max(weight.shape) <= 3 and np.array_equal(weight, weight.round())
    cell = place.width / weight.shape[1] * 72  # points
    for (row, column), value in np.ndenumerate(weight):
        shade = ink_on(paint(norm(value)))
        if numbers:
            axes.text(
                column,
                row,
                f"{value:g}",
                ha="center",
                va="center",
                **(plain_text(look, small=True) | {"color": shade}),
            )
        elif value < -1e-9 * limit and max(weight.shape) <= SIGNED_CELLS:
            axes.plot(
                column,
                row,
                "_",
                color=shade,
                markersize=0.35 * cell,
                markeredgewidth=max(0.05 * cell, 0.5),
                alpha=0.8,
            )
