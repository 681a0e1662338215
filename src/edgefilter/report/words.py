"""Names, numbers and warnings in the words of a report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgefilter.plots.arrays import Array, finite
from edgefilter.plots.words import COMPARED, format_numbers, has_name

from .protocols import Reported

__all__ = ["class_name", "doubts_in_words", "heading_of", "percent", "signed", "whereabouts"]

CONSERVED = 0.01  # of the output: sums that are off by less are not worth a word; of float32 networks they are off by 1e-4

CANCELLING = 20.0  # times the total: from there on explain() warns of relevance that cancels

NINTHS = (
    *("at the upper left", "at the top", "at the upper right"),
    *("on the left", "in the center", "on the right"),
    *("at the lower left", "at the bottom", "at the lower right"),
)


ENDLESS = {math.inf: "+\N{INFINITY}", -math.inf: "\N{MINUS SIGN}\N{INFINITY}"}


def class_name(which: Any, class_names: Sequence[str] | Mapping[int, str] | None) -> str:
    """Return what an output is called.

    Examples
    --------
    >>> class_name(1, ["cat", "dog"]), class_name(1, None), class_name("rest", None), class_name(None, None)
    ('dog', 'output 1', 'the mean of the others', 'the output')
    """
    if isinstance(which, int) and class_names is not None and has_name(which, class_names):
        return str(class_names[which])
    return {None: "the output", **COMPARED}.get(which, f"output {which}")


def heading_of(explanation: Reported, class_names: Sequence[str] | None) -> str:
    """Return the title of an explained output: its class, or the question why it is this and not that."""
    target, other = explanation.target[0], explanation.against[0]
    name = class_name(target, class_names)
    if other not in (None, "odds"):
        return f"Why {name}, not {class_name(other, class_names)}"
    title = name[:1].upper() + name[1:] if class_names is None else name
    return title if other is None else f"{title} against {class_name(other, class_names)}"


def signed(values: Array) -> list[str]:
    """Write numbers of one column: with their signs, and as many decimals as give the largest three digits.

    Examples
    --------
    >>> signed(np.array([1.25, -0.5, 0.0, np.nan]))
    ['+1.25', '−0.50', '0.00', '']
    """
    texts = format_numbers(finite(values), plus=True)
    return [
        text if math.isfinite(value) else ENDLESS.get(value, "")
        for value, text in zip(values.tolist(), texts, strict=True)
    ]


def percent(share: float) -> str:
    """Write a share.

    Examples
    --------
    >>> percent(0.5), percent(0.99999), percent(0.0001)
    ('50.0 %', '> 99.9 %', '< 0.1 %')
    """
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def doubts_in_words(explanation: Reported, labels: dict[str, str]) -> list[str]:
    """Return what to be careful with about one explanation, one sentence each."""
    return [*_contradicted(explanation, labels), *_sums(explanation), *_circumstances(explanation)]


def _contradicted(explanation: Reported, labels: dict[str, str]) -> Iterator[str]:
    for name, why in explanation.doubts()[0].items():
        yield f"{labels.get(name, name)} {why}. Do not read the score by itself."
    if explanation.effects is None and explanation.filter_effects is None:
        yield "No color or filter was silenced to test its score. edgefilter.causal_check does so."


def _sums(explanation: Reported) -> Iterator[str]:
    share, output = float(explanation.conserved_share[0]), float(explanation.output[0])
    total = float(explanation.total[0])
    if math.isnan(output):
        yield "The explained output is unknown, so nothing says whether the scores add up to it."
    elif not math.isfinite(share):
        yield "The output does not differ from its base, so no share of it can be given."
    elif abs(share - 1) > CONSERVED:
        yield f"The scores add up to {percent(share)} of what they should (the output minus its base), not to 100 %."
    size = float(explanation.response.abs().sum())
    if size > CANCELLING * abs(total) > 0:
        yield (
            f"What speaks for it and what speaks against it nearly cancel: their sizes add up to {size / abs(total):.0f} times "
            "the sum of the scores, so that a little noise can change the map."
        )
    if abs(total - 1) < 1e-5 and not abs(share - 1) < 1e-5:
        yield "The scores were normalized: they are shares that add up to 1, not units of the output."


def _circumstances(explanation: Reported) -> Iterator[str]:
    if explanation.left_out:
        yield f"The model ends with a {explanation.left_out}; what is explained is the value before it."
    if explanation.about.get("preprocessing_assumed") == "yes":
        how = explanation.about.get("preprocessing", "")
        yield f"The preprocessing is assumed, as nothing says how the network was trained{f': {how}' if how else ''}."
    if explanation.pixel is None:
        yield "The relevance by pixel is unknown; maps are those of the first layer."


def whereabouts(values: Array) -> str:
    """Say in which ninth of a map what speaks for the output is strongest, and what speaks against it.

    Examples
    --------
    >>> whereabouts(np.array([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [-1.0, 0.0, 1.0]]))
    'What speaks for it is strongest in the center: 75 % of it in a ninth of the image. What speaks against it, at the lower left: 100 %.'
    """
    rows, columns = (np.arange(side) * 3 // side for side in values.shape)
    said = []
    for side in (values.clip(0), (-values).clip(0)):
        ninths = np.zeros((3, 3))
        np.add.at(ninths, (rows[:, None], columns[None]), side)
        place = int(ninths.argmax())
        said.append(
            (NINTHS[place], f"{100 * ninths.flat[place] / ninths.sum():.0f} %") if ninths.sum() else None
        )
    words: list[str] = []
    for what, found in zip(("for", "against"), said, strict=True):
        if found is not None:
            is_strongest, of_it = (",", "") if words else (" is strongest", " of it in a ninth of the image")
            words.append(f"What speaks {what} it{is_strongest} {found[0]}: {found[1]}{of_it}.")
    return " ".join(words) or "Nothing speaks for it or against it anywhere."
