"""Tables of a bank: scale or order by orientation."""

from __future__ import annotations

import numpy as np
import pytest

import edgefilter as ef
from drawings import explanation, faults
from edgefilter.plots import plot_orders

MINUS = "\N{MINUS SIGN}"


def of(bank):
    return explanation(bank=bank, groups={kind: bank.groups(kind) for kind in ("order", "orientation")})


def table(figure):
    """Return names of rows and columns, and the numbers by place."""
    axes = figure.axes[0]
    cells = {
        tuple(round(place) for place in reversed(text.get_position())): text.get_text() for text in axes.texts
    }
    numbers = {place: float(text.split("\n")[0].replace(MINUS, "-")) for place, text in cells.items()}
    return [
        [label.get_text() for label in labels] for labels in (axes.get_yticklabels(), axes.get_xticklabels())
    ], numbers


def gabors():
    """Return a bank of three scales and four orientations."""
    y, x = np.mgrid[-7:8, -7:8]
    kernels = []
    for waves in (2.6, 5.2, 10.4):
        for angle in np.arange(4) * np.pi / 4:
            along = x * np.cos(angle) + y * np.sin(angle)
            weight = np.exp(-(x**2 + y**2) / (0.6 * waves) ** 2) * np.sin(2 * np.pi * along / waves)
            kernels.append(ef.Kernel(f"g{waves:g}_{np.degrees(angle):g}", weight))
    return ef.FilterBank(kernels)


@pytest.mark.parametrize("width", [None, "column", 12])
@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.parametrize(
    "name", ["gabor7", "kirsch", "edges", "general", "complete 3", "complete 7", "dct 16", "scales"]
)
def test_every_bank_has_a_table(name, drawn, width):
    """Which adds up: rows, columns and the whole are sums of the cells."""
    family, _, size = name.partition(" ")
    bank = gabors() if name == "scales" else ef.complete_bank(int(size)) if size else ef.get_bank(family)
    e = of(bank)
    figure = plot_orders(e, bank if drawn else None, width=width)
    assert faults(figure) == []
    (rows, columns), numbers = table(figure)
    assert rows[-1] == columns[-1] == "sum"
    inner = [
        (place, value)
        for place, value in numbers.items()
        if place[0] < len(rows) - 1 and place[1] < len(columns) - 1
    ]
    total = float(e.total[0])
    assert numbers[len(rows) - 1, len(columns) - 1] == pytest.approx(total, rel=0.01, abs=0.1)
    assert sum(value for _, value in inner) == pytest.approx(total, rel=0.02, abs=0.06 * len(inner) + 0.5)


def test_cells_are_the_sums_of_their_filters():
    bank = ef.get_bank("gabor7")
    e = of(bank)
    (rows, columns), numbers = table(plot_orders(e, bank))
    assert rows == ["1 edges", "2 lines and corners", "sum"]
    assert columns == ["0°", "45°", "90°", "135°", "sum"]
    scores = dict(zip(bank.names, e.edge[0].tolist(), strict=True))
    for column, angle in enumerate((0, 45, 90, 135)):
        for row, phase in enumerate(("odd", "even")):
            assert numbers[row, column] == pytest.approx(scores[f"gabor7_t{angle}_{phase}"], abs=0.06)
    assert numbers[0, 4] == pytest.approx(
        sum(scores[f"gabor7_t{angle}_odd"] for angle in (0, 45, 90, 135)), abs=0.06
    )


def test_a_bank_of_several_scales_has_a_row_for_each():
    """From coarse to fine; other rows can be asked for."""
    bank = gabors()
    (rows, columns), _ = table(plot_orders(of(bank), bank))
    assert rows == ["about 16 pixels", "about 8 pixels", "about 4 pixels", "sum"]
    assert columns == ["0°", "45°", "90°", "135°", "sum"]
    (rows, _), _ = table(plot_orders(of(bank), bank, rows="order"))
    assert rows == ["1 edges", "sum"]
    complete = ef.complete_bank(7)
    (rows, _), _ = table(plot_orders(of(complete), complete, rows="scale"))
    assert rows[0] == "about 8 pixels"
    assert rows[-2] == "brightness"


@pytest.mark.parametrize("given", ["bank", "groups"])
def test_a_bank_that_was_made_for_scales_has_a_row_for_each(given):
    """Half an octave apart; from the bank, or from the groups of the explanation alone."""
    bank = ef.get_bank("gabor", orientations=6, scales=3)
    e = explanation(bank=bank, groups={kind: bank.groups(kind) for kind in ("order", "orientation", "scale")})
    figure = plot_orders(e, bank if given == "bank" else None)
    assert faults(figure) == []
    (rows, columns), numbers = table(figure)
    assert rows == ["8 pixels", "5.657 pixels", "4 pixels", "sum"]
    assert columns == ["0°", "30°", "60°", "90°", "120°", "150°", "sum"]
    scores = dict(zip(bank.names, e.edge[0].tolist(), strict=True))
    for row, scale in enumerate(("8", "5.657", "4")):
        for column, angle in enumerate((0, 30, 60, 90, 120, 150)):
            both = sum(scores[f"gabor_w{scale}_t{angle}_{phase}"] for phase in ("even", "odd"))
            assert numbers[row, column] == pytest.approx(both, abs=0.51)


def test_what_is_not_known_is_refused():
    bank = ef.get_bank("sobel")
    with pytest.raises(
        ValueError,
        match=r"bank must be given, as the explanation does not know the orientation of its filters; got None",
    ):
        plot_orders(explanation(bank=bank))
    with pytest.raises(ValueError, match=r"the explanation does not know the scale of its filters; got None"):
        plot_orders(of(bank), rows="scale")
    with pytest.raises(
        KeyError, match=r"rows must be 'order' or 'scale'; got 'orders'; did you mean 'order'\?"
    ):
        plot_orders(of(bank), bank, rows="orders")
    with pytest.raises(ValueError, match="bank must hold the explanation's 2 filters"):
        plot_orders(of(bank), ef.get_bank("kirsch"))
