"""Draw the figures of the page of concepts, from real numbers of the demo photo, as SVG in the colors of the theme."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import demo
import numpy as np
import svg
from docutils import nodes
from docutils.parsers.rst import Directive

from edgefilter import complete_bank

SHOWN = (0, 1, 2)  # blur, edge x, edge y of the nine filters
DRAWINGS: dict[str, Callable[[], str]] = {}


def drawing(function: Callable[[], str]) -> Callable[[], str]:
    """Register a drawing under its function's name."""
    return DRAWINGS.setdefault(function.__name__, function)


@drawing
def path() -> str:
    """From the photo to the answer, and back."""
    found, labels = demo.explanation(), demo.explanation().filter_labels
    parts = [*_forward(labels), *_backward(found)]
    summary = (
        "Above: the photo is split into red, green and blue, each filter of the bank answers on each color, a 1 by 1 mixing and "
        f"the rest of the network give {float(found.output[0]):.1f} for espresso. Below: the output minus its base goes back as "
        "relevance, one map for each pair of color and filter; their sums are the scores."
    )
    return svg.sheet(880, 576, "The path of the data", summary, parts)


def _forward(labels: tuple[str, ...]) -> list[str]:
    """Return the upper half: what the network computes."""
    photo, parts = demo.picture(), [svg.text(10, 24, "Forward: the network runs as it is", "strong")]
    parts += [svg.image(10, 62, 150, demo.thumbnail(photo, 150)), svg.text(85, 244, "image", "middle")]
    for row in range(len(demo.COLORS)):
        only = np.zeros_like(photo)
        only[..., row] = photo[..., row]
        parts += [
            svg.image(190, 44 + 62 * row, 56, demo.thumbnail(only)),
            svg.arrow(250, 72 + 62 * row, 278, 72 + 62 * row),
        ]
        for column, kernel in enumerate(SHOWN):
            seen = demo.thumbnail(demo.signed(demo.responses()[row, kernel]))
            parts.append(svg.image(282 + 62 * column, 44 + 62 * row, 56, seen))
        parts.append(svg.text(474, 76 + 62 * row, "…", "middle quiet"))
        parts.append(svg.text(218, 244, "colors", "middle") if row == 0 else "")
    parts += [
        svg.text(310 + 62 * i, 36, labels[kernel].replace("_", " "), "middle small")
        for i, kernel in enumerate(SHOWN)
    ]
    parts += [svg.text(372, 244, "responses of the bank", "middle"), svg.arrow(162, 137, 186, 137)]
    parts += [svg.arrow(486, 137, 514, 137), svg.box(518, 107, 92, 60, "mixing", "1 × 1")]
    parts += [
        svg.arrow(614, 137, 642, 137),
        svg.box(646, 92, 116, 90, "the rest of", "the network", "(any Python)"),
    ]
    output = float(demo.explanation().output[0])
    parts += [
        svg.arrow(766, 137, 790, 137),
        svg.text(822, 132, f"{output:.2f}", "middle big"),
        svg.text(822, 152, "espresso", "middle"),
    ]
    return [*parts, svg.bracket(190, 610, 254, "the stem, seen as bank + mixing: the same function")]


def _backward(found: Any) -> list[str]:
    """Return the lower half: what the explanation computes."""
    top, response = 332, found.response[0].numpy()
    parts = [svg.text(10, top - 16, "Backward: the answer is shared out", "strong")]
    parts += [
        svg.image(
            10, top + 30, 150, demo.thumbnail(demo.signed(found.map("signed", smooth=3)[0].numpy()), 150)
        )
    ]
    parts += [
        svg.text(85, top + 198, "relevance at the pixels", "middle"),
        svg.arrow(274, top + 105, 166, top + 105),
    ]
    for row in range(3):
        for column, kernel in enumerate(SHOWN):
            seen = demo.thumbnail(demo.signed(response[row, kernel]))
            parts.append(svg.image(282 + 62 * column, top + 12 + 62 * row, 56, seen))
        color = f"{demo.COLORS[row]} {float(found.color[0, row]):+.2f}"
        parts += [
            svg.text(474, top + 44 + 62 * row, "…", "middle quiet"),
            svg.text(490, top + 44 + 62 * row, f"= {color}", demo.COLORS[row]),
        ]
    for column, kernel in enumerate(SHOWN):
        parts.append(svg.text(310 + 62 * column, top + 216, f"{float(found.edge[0, kernel]):+.2f}", "middle"))
    parts += [
        svg.text(490, top + 216, "= scores by filter", ""),
        svg.text(490, top + 8, "scores by color", ""),
    ]
    parts += [svg.text(372, top + 236, "relevance at the responses", "middle small")]
    total = float(found.output[0] - found.base[0])
    parts += [
        svg.text(822, top + 82, f"{total:.2f}", "middle big"),
        svg.text(822, top + 102, "output − base", "middle"),
    ]
    parts += [svg.arrow(822, 166, 822, top + 52), svg.arrow(764, top + 86, 622, top + 86)]
    return [
        *parts,
        svg.text(693, top + 74, "rules, backwards", "middle small"),
        svg.text(693, top + 106, "+ the game of colors", "middle small"),
    ]


@drawing
def stem() -> str:
    """One kernel of the demo network as a sum of named kernels."""
    import torch

    bank = complete_bank(3)
    first = next(
        module for module in demo.classifier().model.modules() if isinstance(module, torch.nn.Conv2d)
    )
    kernel = first.weight[9, 1].detach().double().numpy()
    shares = np.linalg.solve(bank.weight.reshape(9, 9).T, kernel.ravel())
    parts = [
        svg.grid(24, 36, kernel),
        svg.text(69, 144, "kernel of the", "middle small"),
        svg.text(69, 160, "network", "middle small"),
        svg.text(136, 88, "=", "big middle"),
    ]
    order = np.argsort(-np.abs(shares * np.abs(bank.weight).sum((1, 2))))
    for place, index in enumerate(order):
        x, y = 156 + 145 * (place % 5), 10 + 126 * (place // 5)
        parts += [
            svg.text(x + 40, y + 38, f"{shares[index]:+.2f} ×", "end"),
            svg.grid(x + 46, y, bank.weight[index], 26),
        ]
        parts.append(svg.text(x + 85, y + 98, bank.labels[index].replace("_", " "), "middle small"))
    summary = (
        "A 3 by 3 kernel of EfficientNet-Lite0 equals the sum of nine named kernels, each times a number: "
        + ", ".join(f"{shares[index]:+.2f} times {bank.labels[index]}" for index in order)
    )
    return svg.sheet(880, 244, "One kernel as a sum of named kernels", summary, parts)


@drawing
def rule() -> str:
    """What a rule does at one unit, with made-up numbers."""
    parts, inputs = [], ((3.0, "+3"), (2.0, "+2"), (-1.0, "−1"))
    for row, (value, name) in enumerate(inputs):
        y = 56 + 74 * row
        share = max(value, 0) / 5 * 4
        parts += [
            svg.circle(90, y, 24, name),
            svg.line(116, y, 330, 130, 2 + 1.6 * abs(value), "against" if value < 0 else "for"),
        ]
        parts += [
            svg.line(470 + 70, 130, 764, y, 2 + 1.6 * share if share else 1, "for" if share else "none")
        ]
        parts.append(svg.circle(790, y, 24, f"{share:.1f}" if share else "0"))
    parts += [svg.circle(360, 130, 30, "4"), svg.circle(510, 130, 30, "4"), svg.arrow(394, 130, 476, 130)]
    parts += [
        svg.text(90, 24, "contributions", "middle"),
        svg.text(360, 90, "unit", "middle"),
        svg.text(790, 24, "relevance", "middle"),
    ]
    parts += [svg.text(435, 118, "its relevance", "middle small")]
    parts += [svg.text(650, 248, "z+: only what pushed up shares, 3 : 2 of 4", "middle small")]
    parts += [svg.text(225, 248, "forward: contributions add up", "middle small")]
    summary = "Three inputs contribute 3, 2 and minus 1 to a unit of value 4. The rule z+ shares its relevance of 4 as 2.4, 1.6 and 0."
    return svg.sheet(880, 262, "What a relevance rule does", summary, parts)


@drawing
def game() -> str:
    """The eight runs that give the exact scores of three colors."""
    values, photo = demo.game(), demo.picture()
    places = {0: [400], 1: [180, 400, 620], 2: [180, 400, 620], 3: [400]}
    spots: dict[tuple[str, ...], tuple[int, int]] = {}
    for present in values:
        rank = sum(len(other) == len(present) for other in spots)
        spots[present] = places[len(present)][rank], 8 + 140 * len(present)
    parts = [
        svg.line(
            x + 40, y + 104, spots[more][0] + 40, spots[more][1] - 4, 1.5, set(more).difference(few).pop()
        )
        for few, (x, y) in spots.items()
        for more in spots
        if len(more) == len(few) + 1 and set(few) < set(more)
    ]
    for present, (x, y) in spots.items():
        kept = photo * np.array([color in present for color in demo.COLORS], np.uint8)
        name = " + ".join(present) or "none"
        parts += [svg.panel(x - 6, y - 4, 92, 108), svg.image(x + 8, y, 64, demo.thumbnail(kept))]
        parts += [
            svg.text(x + 40, y + 80, name if len(present) < 3 else "all", "middle small"),
            svg.text(x + 40, y + 98, f"{values[present]:.2f}", "middle"),
        ]
    for row, color in enumerate(demo.COLORS):
        score = float(demo.explanation().color[0, row])
        parts += [svg.text(760, 216 + 26 * row, f"{color} {score:+.2f}", color)]
    parts.append(svg.text(760, 190, "mean step:", ""))
    summary = "The output for espresso with each of the eight sets of colors present: " + "; ".join(
        f"{' and '.join(present) or 'none'} {value:.2f}" for present, value in values.items()
    )
    return svg.sheet(880, 540, "The game of the colors", summary, parts)


@drawing
def score() -> str:
    """Base and colors add up to the output."""
    found = demo.explanation()
    steps = [("base", float(found.base[0])), *zip(found.colors, map(float, found.color[0]), strict=True)]
    scale, level, parts = 620 / float(found.output[0]), 0.0, []
    for row, (name, value) in enumerate(steps):
        y, start = 6 + 44 * row, 120 + scale * min(level, level + value)
        parts += [svg.text(104, y + 20, name, "end"), svg.bar(start, y, max(abs(value) * scale, 2), 28, name)]
        parts.append(svg.text(start + abs(value) * scale + 8, y + 20, f"{value:+.2f}", ""))
        level += value
        parts.append(svg.line(120 + scale * level, y + 28, 120 + scale * level, y + 44, 1, "none"))
    y = 6 + 44 * len(steps)
    parts += [svg.text(104, y + 20, "output", "end strong"), svg.bar(120, y, scale * level, 28, "total")]
    parts.append(svg.text(128 + scale * level, y + 20, f"= {level:.2f}", "strong"))
    summary = "Base and the scores of the colors add up to the output: " + ", ".join(
        f"{name} {value:+.2f}" for name, value in steps
    )
    return svg.sheet(880, y + 34, "What a score means", summary, parts)


class Drawing(Directive):
    """The directive ``drawing``: the name of the drawing, and a caption."""

    required_arguments, has_content = 1, True

    def run(self) -> list[nodes.Node]:
        """Return the drawing in a box that scrolls on small screens, and its caption."""
        name = self.arguments[0]
        if name not in DRAWINGS:
            raise self.error(f"drawing must be one of {sorted(DRAWINGS)}; got {name!r}.")
        box = nodes.raw(
            "",
            f'<div class="drawing" tabindex="0" role="group" aria-label="{escape(name)}">{DRAWINGS[name]()}</div>',
            format="html",
        )
        caption = nodes.container(classes=["drawing-caption"])
        self.state.nested_parse(self.content, self.content_offset, caption)
        return [box, caption]


def setup(app: Any) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("drawing", Drawing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
