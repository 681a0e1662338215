"""Names and numbers as figures write them."""

from __future__ import annotations

import numpy as np
import pytest

from edgefilter.plots.words import class_name, format_numbers, shortened, width_of, wrapped

MINUS = "\N{MINUS SIGN}"


def test_numbers_have_no_negative_zero():
    """Nor a positive one."""
    values = np.array([5.0, -0.001, 0.001, -2.0])
    assert format_numbers(values) == ["5.00", "0.00", "0.00", f"{MINUS}2.00"]
    assert format_numbers(values, plus=True) == ["+5.00", "0.00", "0.00", f"{MINUS}2.00"]


def test_numbers_that_are_none_are_said():
    """They do not set the decimals of others."""
    assert format_numbers(np.array([np.nan, 0.5])) == ["nan", "0.500"]
    assert format_numbers(np.array([np.nan])) == ["nan"]


@pytest.mark.parametrize(
    "text", ["a", "German shepherd, German police dog", "mmmmmmmmmmmmmmmmmmmmmmmmm", "100 $ and $ more"]
)
@pytest.mark.parametrize("inches", [0.4, 1.0, 3.0])
def test_lines_fit_the_width(text, inches):
    """Wrapped by words, cut where a word is too long, and never empty."""
    for found in (wrapped(text, 8, inches), shortened(text, 8, inches)):
        assert found
        assert width_of(found, 8) <= inches
    assert wrapped(text, 8, 10) == shortened(text, 8, 10) == text


def test_more_lines_than_asked_for_are_cut():
    assert wrapped("one two three four", 8, 0.4, most=2).count("\n") == 1


def test_an_output_without_a_name_has_its_number():
    """The mean of the others and outputs of several axes have no class."""
    assert [class_name(which, ["cat", "dog"]) for which in (0, -1, None, "rest", (1, 2))] == [
        "cat", "dog", "output", "the mean of the others", "output (1, 2)",
    ]  # fmt: skip
    with pytest.raises(
        ValueError,
        match=r"classes must have a name for each output; got 2, but output 7 is drawn\. Pass those of all\.",
    ):
        class_name(7, ["cat", "dog"])
