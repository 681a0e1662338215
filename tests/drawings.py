"""What tests of figures share: explanations to draw, and what can be read from a figure."""

from __future__ import annotations

import itertools

import torch
from matplotlib.text import Text

import edgefilter as ef
from edgefilter.attribution.scores import color_names


def explanation(
    colors=3, filters=9, size=(24, 24), *, scale=1.0, pixel=True, images=1, bank=None, stride=2, **fields
):
    """Return an explanation of random numbers, whose stem has a stride."""
    generator = torch.Generator().manual_seed(0)
    names = tuple(bank.names) if bank else tuple(f"kernel_{i}" for i in range(filters))
    height, width = size
    places = (max(height // stride, 1), max(width // stride, 1))
    response = scale * torch.randn(images, colors, len(names), *places, generator=generator)
    pixels = scale * torch.randn(images, colors, height, width, generator=generator) if pixel else None
    output = response.sum((1, 2, 3, 4))
    labels = tuple(bank.labels) if bank else ()
    known = {"target": (3,) * images, "colors": color_names(colors), "filter_labels": labels} | fields
    return ef.Explanation(response, pixels, output, filters=names, **known)


def measured(**fields):
    """Return an explanation of two colors and two filters by hand: scores 4 and -2, effects that contradict them or do not."""
    response = torch.tensor([[5.0, -1.0], [-1.0, -1.0]])[None, :, :, None, None] * torch.ones(2, 2) / 4
    known = {"effects": torch.tensor([[3.0, 1.0]]), "filter_effects": torch.tensor([[0.1, -2.0]])}
    return ef.Explanation(response, None, torch.tensor([2.0]), (3,), ("red", "green"), ("sobel_x", "sobel_y"),
                          **(known | fields))  # fmt: skip


def titled(figure, title):
    """Return the axes with a heading."""
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def titles(figure):
    """Return all headings."""
    return [axes.get_title(loc="left") for axes in figure.axes]


def bars(axes):
    """Return the score of each name: the first bars that were drawn are the scores."""
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(labels, [bar.get_width() for bar in axes.containers[0]], strict=True))


def texts_of(figure):
    """Return the texts that can be read, with their boxes in pixels, and how many axes deep they are."""
    renderer = figure.canvas.get_renderer()
    found = []
    for text in figure.findobj(Text):
        inside = text.axes is None or text.axes.axison
        if text.get_text().strip() and text.get_visible() and inside:
            found.append((text.get_text(), text.get_window_extent(renderer)))
    return found


def faults(figure, dpi=100):
    """Render a figure and return what is wrong with it: texts and panels that overlap or leave the figure, letters below six points."""
    figure.set_dpi(dpi)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    found, texts = [], texts_of(figure)
    for text, box in texts:
        if box.x0 < -1 or box.y0 < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1:
            found.append(f"{text!r} leaves the figure")
    for (one, box), (other, place) in itertools.combinations(texts, 2):
        if _shared(box, place) > 0.02 * min(box.width * box.height, place.width * place.height):
            found.append(f"{one!r} overlaps {other!r}")
    for one, other in itertools.combinations(
        [axes.get_tightbbox(renderer) for axes in figure.axes if axes.axison], 2
    ):
        if _shared(one, other) > 4:
            found.append(f"panels overlap at {one.bounds}, {other.bounds}")
    found += [f"{text.get_text()!r} has {text.get_fontsize()} points" for text in figure.findobj(Text)
              if text.get_text().strip() and text.get_fontsize() < 6]  # fmt: skip
    return found


def _shared(one, other):
    width, height = (
        min(one.x1, other.x1) - max(one.x0, other.x0),
        min(one.y1, other.y1) - max(one.y0, other.y0),
    )
    return max(width, 0) * max(height, 0)
