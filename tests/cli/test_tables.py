"""The tables and sentences of ``explain``: true for outputs of any sign and kind, and readable in narrow terminals."""

from __future__ import annotations

import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import edgefilter as ef
from answers import by_hand
from edgefilter.cli.answer import best_classes, explained_class, quantity
from edgefilter.cli.options import ScoreTable
from edgefilter.cli.printing import new_table, print_fitting
from edgefilter.cli.tables import print_answer, print_rows, title_of

BANK = ef.complete_bank(3)


def text_of(answer, width, *tables, summary=False, terminal=False):
    text = io.StringIO()
    console = Console(
        file=text, width=width, force_terminal=terminal, no_color=True, highlight=False, markup=False
    )
    print_answer(console, answer, list(tables) or None, 12, summary=summary)
    return re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue())


def many(scale=1.0):
    """An answer with nine filters in two colors, effects and doubts."""
    scores = (np.random.default_rng(3).normal(size=(2, 9)) * scale).tolist()
    return by_hand(
        scores,
        bank=BANK,
        effects=[-1.0 * scale, 2.0 * scale],
        filter_effects=[0.25 * scale] * 9,
        errors=[0.5, 0.0],
    )


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_a_narrow_terminal_keeps_the_words_and_cuts_the_numbers(width, scale):
    """Rows stay one line each and no two are alike; no word is cut off; the largest scores can still be read."""
    answer = many(scale)
    text = text_of(answer, width, ScoreTable.all)
    tables = [
        block.splitlines()
        for block in text.split("\n\n")
        if "relevance" in block.splitlines()[0] or "relevance" in "".join(block.splitlines()[:2])
    ]
    assert "…" not in text
    assert len(tables) == 3
    for table in tables:
        assert max(map(len, map(str.rstrip, table))) <= width
    words = [label.replace("_", " ") for label in BANK.labels]
    edge = [line for line in tables[1] if any(line.startswith(word + "  ") for word in words)]
    assert len(edge) == 9
    found = {max((word for word in words if line.startswith(word)), key=len) for line in edge}
    assert found == set(words)
    scores = dict(zip(words, answer.explanation.edge[0].tolist(), strict=True))
    for line in edge:
        word = max((word for word in words if line.startswith(word)), key=len)
        numbers = re.findall(r"-?\d+\.\d+", line[len(word) :])
        assert float(numbers[0]) == pytest.approx(scores[word], abs=0.06)
    pairs = [line for line in tables[2] if line.startswith(("red", "green"))]
    assert len({line.rstrip() for line in pairs}) == len(pairs) == 12


def test_a_wide_terminal_shows_all_numbers():
    text = text_of(many(), 120)
    for word in ("relevance", "share of sizes", "drop if silenced", "dx0_dy0", "±"):
        assert word in text


def test_names_that_differ_behind_the_same_words_stay_apart():
    """Where only one of words and name has room, it is the one that tells the rows apart."""
    from edgefilter.cli.score_tables import Part, score_tables

    parts = [Part(("edge x", f"long_name_of_a_filter_{i}"), float(i)) for i in range(3)]
    text = io.StringIO()
    print_fitting(Console(file=text, width=36), score_tables(["filter", "name"], parts, 12))
    assert all(f"filter_{i}" in text.getvalue() for i in range(3))


def test_a_table_that_is_too_wide_breaks_words_and_cuts_none_off():
    text = io.StringIO()
    table = new_table(["photo"], ["number"])
    table.add_row("a" * 50 + "b", "1.25")
    print_fitting(Console(file=text, width=20), [table])
    assert "…" not in text.getvalue()
    assert re.sub(r"[\s\d.]|photo|number", "", text.getvalue()) == "a" * 50 + "b"


def test_sentences_are_broken_between_words_in_a_terminal_only():
    """A program that reads them gets each in one line."""
    answer = many()
    lines = text_of(answer, 40, terminal=True).splitlines()
    assert max(map(len, lines)) <= 40
    assert any(
        line.startswith("Silencing the top filter, ") and len(line) > 60
        for line in text_of(answer, 40).splitlines()
    )


@pytest.mark.parametrize("signs", list(itertools.product([-1.0, 1.0], repeat=2)))
def test_what_is_said_is_true_for_outputs_of_any_sign(signs):
    """No share above 100 % or below 0; a share of what is conserved only where it is one."""
    first, second = signs
    answer = by_hand([[6.0 * first, -2.5 * second]], effects=[1.0], filter_effects=[3.0, -1.0])
    for text in (text_of(answer, 200, ScoreTable.all), title_of(answer)):
        for share in re.findall(r"(-?\d+(?:\.\d+)?)%", text):
            assert 0 <= float(share) <= 100
    assert "Conserved: relevance adds up to 100.00% of the logit." in text_of(answer, 200)


@pytest.mark.parametrize(
    ("output", "base", "said"),
    [
        (
            -2.0,
            0.0,
            "Conserved: not quite. Relevance adds up to 4.3, the logit without its base, 0.00, to -2.",
        ),
        (2.0, 0.0, "Conserved: not quite. Relevance adds up to 4.3, the logit without its base, 0.00, to 2."),
        (5.0, 0.0, "Conserved: relevance adds up to 86.00% of the logit."),
        (
            4.0,
            4.0,
            "Conserved: relevance adds up to - of the logit without its base, 4.00, which every image has.",
        ),
    ],
)
def test_a_share_that_is_none_is_not_said(output, base, said):
    """Of a negative output, -215 % would say nothing."""
    answer = by_hand(
        [[4.0, 0.3]], effects=[1.0], filter_effects=[3.0, 1.0], output=output, base=torch.tensor([base])
    )
    assert said in text_of(answer, 200)
    assert ("relevance 4.3 of" in title_of(answer)) == ("not quite" in said or " - of" in said)


@pytest.mark.parametrize(
    ("logits", "left_out", "kind", "probability", "logit"),
    [
        ([2.0, 1.0], "", "logit", 1 / (1 + np.e), 1.0),
        ([-1.0], "", "logit", 1 / (1 + np.e), None),
        ([-1.0], "sigmoid", "logit", 1 / (1 + np.e), None),
        ([0.75, 0.25], "softmax", "logit", 0.25, None),
        ([0.9, 0.8], "sigmoid", "logit", 0.8, None),
        (np.log([0.75, 0.25]).tolist(), "log_softmax", "logit", 0.25, None),
        ([0.75, 0.25], "", "probability", 0.25, None),
        ([0.5, 0.2, 0.3], "", "probability", 0.3, None),
        ([0.75, 0.5], "", "logit", 1 / (1 + np.exp(0.25)), 0.5),
        ([-5.0, -7.0], "", "logit", 1 / (1 + np.exp(2.0)), -7.0),
    ],
)
def test_probabilities_of_outputs_of_every_kind(logits, left_out, kind, probability, logit):
    """Logits, one logit, outputs that are probabilities already or their logarithms."""
    answer = by_hand(
        [[1.0, -0.2]], effects=[2.0], filter_effects=[1.0, 1.0], logits=logits, left_out=left_out
    )
    assert quantity(answer) == kind
    index, found = explained_class(answer)
    assert found == pytest.approx(probability, abs=1e-6)
    row = next(row for row in best_classes(answer) if row["index"] == index)
    assert row["probability"] == pytest.approx(probability, abs=1e-6)
    if len(logits) > 1:
        assert row["logit"] == logit
    text = text_of(answer, 200)
    assert (re.search(r"^prediction +probability +logit", text, re.MULTILINE) is not None) == (
        row["logit"] is not None
    )
    assert f"), {kind} 0.80" in text
    assert " from 0.80 to " in text
    assert title_of(answer).startswith(f"{answer.classifier.class_names[index]}: {kind} 0.80")
    assert ("probability" in title_of(answer).split(",")[0]) == (kind == "probability")


def test_a_difference_of_probabilities_is_called_so():
    answer = by_hand([[0.2, -0.1]], effects=[0.2], filter_effects=[1.0, 1.0], logits=[0.5, 0.5], against=(0,))
    assert "Explained: bee (1) against ape (0), probabilities differ by 0.10" in text_of(answer, 200)
    assert "the difference of probabilities from" in text_of(answer, 200)
    assert title_of(answer).startswith("bee against ape: probabilities differ by 0.10")


@pytest.mark.parametrize("width", [40, 60, 110, 200])
def test_the_lines_of_several_photos_keep_their_names(width):
    """Numbers and columns go first; a long path is broken, and can be put together again."""
    path = "photos/a_folder_with_a_long_name/a_photo_with_a_long_name.png"
    one = {"image": path, "explained": {"name": "Great Dane", "probability": 0.5}, "labels": {"dx1_dy0": "edge_x"},
           "color": {"red": -2.0, "green": 1.0}, "edge": {"dx1_dy0": -1.0}}  # fmt: skip
    text = io.StringIO()
    print_rows(Console(file=text, width=width), [one, {**one, "image": path.replace("a_photo", "b_photo")}])
    found = text.getvalue()
    assert "…" not in found
    assert max(map(len, map(str.rstrip, found.splitlines()))) <= width
    assert ("red" in found) == ("edge x" in found) == (width >= 110)
    assert ("-2.000" in found) == (width == 200)
    letters = "".join(line[: width - 10] for line in found.splitlines())
    assert "50.0%" in found
    assert letters.count("photo") >= 1


@pytest.mark.parametrize(
    ("target", "against"),
    [("0", None), ("class 0", None), ("CLASS_0", None), (None, "0"), (None, "rest"), (None, "odds")],
)
def test_one_logit_takes_its_class_in_every_form(run, photo, small_classifier, target, against):
    """And is compared with nothing: there is no other class."""
    small_classifier(outputs=1)
    options = [*(("--target", target) if target else ()), *(("--against", against) if against else ())]
    result = run("explain", photo, *options, "--json", "n.json", "--out", "p.png")
    if against:
        assert result.exit_code == 2
        assert result.stderr == (
            f"Error: against must be another class; got {against!r}, and small has one class only. Leave it out.\n"
        )
        return
    assert result.exit_code == 0, result.output
    found = json.loads(Path("n.json").read_text(encoding="utf-8"))
    logit = found["predictions"][0]["logit"]
    assert found["output"] == pytest.approx(logit)
    assert found["explained"]["probability"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)


def test_a_pipe_is_as_wide_as_it_needs_to_be(run, photo, small_classifier, monkeypatch):
    """Where no terminal says how wide it is, no row is broken."""
    small_classifier()
    monkeypatch.delenv("COLUMNS")
    from typer.testing import CliRunner

    from edgefilter import cli

    result = CliRunner().invoke(cli.app, ["explain", photo, "--out", "p.png", "--score", "all"])
    assert "share of sizes  drop if silenced" in result.stdout


def test_smooth_blurs_the_maps_of_the_picture_alone(run, photo, small_classifier, monkeypatch):
    """By default at the stride of the stem; the numbers are those of the sharp one."""
    small_classifier()
    drawn = []
    draw = ef.Explanation.plot
    monkeypatch.setattr(
        ef.Explanation, "plot", lambda self, *a, **k: drawn.append(k["smooth"]) or draw(self, *a, **k)
    )
    for smooth in ((), ("--smooth", 2), ("--smooth", 0)):
        name = f"picture{len(drawn)}"
        result = run("explain", photo, "--out", f"{name}.png", "--json", f"{name}.json", *smooth)
        assert result.exit_code == 0, result.output
    assert drawn == [None, 2.0, 0.0]
    assert len({Path(f"picture{place}.json").read_text() for place in range(3)}) == 1
    for wrong in ("-1", "nan", "inf"):
        result = run("explain", photo, "--smooth", wrong)
        assert result.exit_code == 2
        assert "smooth must be a number of pixels, 0 or more" in result.stderr
