"""How names and numbers are written in figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import Array

__all__ = [
    "COMPARED",
    "MARK",
    "class_name",
    "compared_name",
    "control_notes",
    "format_number",
    "format_numbers",
    "halves",
    "has_name",
    "joining",
    "marked",
    "name_of",
    "shortened",
    "signed",
    "spaced",
    "width_of",
    "wrapped",
]

# What an output is compared with, if it is no other output.
COMPARED: dict[Any, str] = {"rest": "the mean of the others", "odds": "chance"}

MARK = "\N{DAGGER}"  # of a control, behind its name

# Letters are fitted to pixels: a line of DejaVu Sans of 6 to 11 points is up to 5 % wider than its outlines at 100 to 300 dots per inch, and up to
# 13 % at 72 to 90.
HINTED = 1.08


def spaced(label: str) -> str:
    """Write a name with spaces.

    Examples
    --------
    >>> spaced("sobel_x")
    'sobel x'
    """
    return label.replace("_", " ")


def marked(name: str, controls: Mapping[str, str]) -> str:
    """Write the name of a method, with a mark if it is a control.

    Examples
    --------
    >>> marked("random", {"random": "Control"}), marked("saliency", {"random": "Control"})
    ('random †', 'saliency')
    """
    return f"{name} {MARK}" if name in controls else name


def control_notes(controls: Mapping[str, str]) -> list[str]:
    """Say what the marked methods are, one sentence for each kind of control.

    Examples
    --------
    >>> control_notes({"sobel": "Control", "random": "Control"})
    ['† Control: sobel, random.']
    """
    kinds = {kind: [name for name, one in controls.items() if one == kind] for kind in controls.values()}
    return [f"{MARK} {kind}: {', '.join(names)}." for kind, names in kinds.items()]


def halves(label: str) -> tuple[str, str]:
    """Break a label in two, at the space nearest to its middle.

    Examples
    --------
    >>> halves("gradient x activation")
    ('gradient x', 'activation')
    """
    spaces = [index for index, letter in enumerate(label) if letter == " "]
    middle = min(spaces, key=lambda index: abs(index - len(label) // 2), default=len(label))
    return label[:middle], label[middle + 1 :]


def format_number(value: float) -> str:
    """Write a number with three digits and a true minus sign."""
    text = f"{value:.2f}" if 0.1 <= abs(value) < 1000 else f"{value:.2g}"
    return text.replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """Write a number with its sign."""
    return f"+{format_number(value)}" if value > 0 else format_number(value)


def format_numbers(values: Array, *, plus: bool = False) -> list[str]:
    """Write numbers with as many decimals as give the largest three digits; with ``plus``, each with its sign."""
    known = np.abs(values[np.isfinite(values)])
    largest = float(known.max()) if known.size else 0.0
    if not 1e-3 <= largest < 1e5:
        texts = [format_number(float(value)) for value in values]
    else:
        decimals = max(0, 2 - math.floor(math.log10(largest)))
        texts = [f"{round(value, decimals) + 0.0:.{decimals}f}" for value in values]
    signs = [
        "+" if plus and value > 0 and any(digit in text for digit in "123456789") else ""
        for value, text in zip(values, texts, strict=True)
    ]
    return [f"{sign}{text}".replace("-", "\N{MINUS SIGN}") for sign, text in zip(signs, texts, strict=True)]


def width_of(text: str, points: float) -> float:
    """Return the inches of the longest line of a text, in the present font of matplotlib."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=points)
    return HINTED * max(
        (
            text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] / 72
            for line in text.split("\n")
        ),
        default=0.0,
    )


def wrapped(text: str, points: float, inches: float, most: int | None = None) -> str:
    r"""Break a text into lines that fit a width; a word that does not is cut, and so is what is left after the last line.

    Examples
    --------
    >>> wrapped("a bill of fare", 10, 0.6)
    'a bill of\nfare'
    """
    lines: list[str] = []
    for part in text.split("\n"):
        line = ""
        for word in part.split(" "):
            longer = f"{line} {word}" if line else word
            if line and width_of(longer, points) > inches:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    if most is not None and len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1]}\N{HORIZONTAL ELLIPSIS}"]
    return "\n".join(shortened(line, points, inches) for line in lines)


def shortened(text: str, points: float, inches: float) -> str:
    """Cut a line to a width, with dots where it ends.

    Examples
    --------
    >>> shortened("saxophone", 10, 0.5), shortened("sax", 10, 0.5)
    ('saxo…', 'sax')
    """
    if width_of(text, points) <= inches:
        return text
    low, high = 1, len(text)  # letters that fit, and that do not
    while high - low > 1:
        middle = (low + high) // 2
        fits = width_of(f"{text[:middle]}\N{HORIZONTAL ELLIPSIS}", points) <= inches
        low, high = (middle, high) if fits else (low, middle)
    return f"{text[:low].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def has_name(which: int, names: Sequence[str] | Mapping[Any, str]) -> bool:
    """Return whether there is a name for an output: in a list, also counted from the end."""
    return which in names if isinstance(names, Mapping) else -len(names) <= which < len(names)


def name_of(
    which: Any, names: Sequence[str] | Mapping[Any, str] | None, argument: str, asked: str
) -> str | None:
    """Return the name of the class of an output; None without names, and for what is no output, such as "rest".

    ``argument`` and ``asked`` are what a message calls the names, and what is done with the output.

    Raises
    ------
    ValueError
        If there are names, but none for it, or they are a single one.

    Examples
    --------
    >>> name_of(-1, ["cat", "dog"], "classes", "drawn"), name_of("rest", ["cat", "dog"], "classes", "drawn")
    ('dog', None)
    """
    if isinstance(names, str):
        raise ValueError(
            f"{argument} must be a sequence of names; got {names!r}. Pass one name for each output, in a list."
        )
    if names is None or not isinstance(which, int):
        return None
    if not has_name(which, names):
        raise ValueError(
            f"{argument} must have a name for each output; got {len(names)}, but output {which} is {asked}. Pass those of all."
        )
    return str(names[which])


def class_name(which: Any, classes: Sequence[str] | Mapping[Any, str] | None) -> str:
    """Return what a figure calls an output: the name of its class, or its number.

    Raises
    ------
    ValueError
        If there are names, but none for it, or ``classes`` is a single name.

    Examples
    --------
    >>> class_name(1, ["cat", "dog"]), class_name(1, None), class_name(None, None)
    ('dog', 'output 1', 'output')
    """
    name = name_of(which, classes, "classes", "drawn")
    return {None: "output", **COMPARED}.get(which, f"output {which}") if name is None else name


def compared_name(target: Any, against: Any, classes: Sequence[str] | Mapping[Any, str] | None) -> str:
    """Return what a figure calls an output that is compared with another one, with the others, with chance or with nothing.

    Examples
    --------
    >>> compared_name(1, 0, ["cat", "dog"]), compared_name(1, "rest", None), compared_name(1, "odds", ["cat", "dog"])
    ('dog minus cat', 'output 1 minus the mean of the others', 'dog against chance')
    """
    name = class_name(target, classes)
    return name if against is None else f"{name} {joining(against)} {class_name(against, classes)}"


def joining(against: Any) -> str:
    """Return the word between an output and what it is compared with: outputs are subtracted, log odds are counted from chance."""
    return "against" if against == "odds" else "minus"
