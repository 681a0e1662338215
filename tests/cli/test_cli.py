"""The command line: what it prints and writes, and how it says no."""

import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file
from typer.testing import CliRunner

import edgefilter as ef
from answers import by_hand
from edgefilter import cli
from edgefilter.attribution.listing import by_name
from edgefilter.classifiers.fingerprint import fingerprint_of
from edgefilter.classifiers.loading import load_classifier
from edgefilter.cli.numbers import as_json
from edgefilter.cli.options import ScoreTable
from edgefilter.cli.tables import print_answer
from edgefilter.photos import read_photo

MODEL = "squeezenet1_1"


def as_shown(explanation, check):
    """Add what the command line adds: the effects that it measures."""
    effects = check.color if explanation.effects is None else explanation.effects
    return dataclasses.replace(explanation, effects=effects, filter_effects=check.edge)


def same_numbers(found, explanation):
    """Check the numbers of a JSON file, by name."""
    wanted = by_name(explanation, explanation.doubts())
    assert {key: found[key] for key in wanted} == json.loads(json.dumps(wanted))
    for kind, names in (("color", explanation.colors), ("edge", explanation.filters)):
        assert list(found[kind]) == list(names)
        assert list(found[kind].values()) == getattr(explanation, kind)[0].tolist()


def refused(result, message, code=2):
    """Check that one line said why, and nothing else happened."""
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    return True


def test_explain_prints_the_scores_and_writes_the_picture(run, photo, weights):
    result = run("explain", photo, "--model", MODEL, "--weights", weights)
    assert result.exit_code == 0, result.output
    for text in (f"Model: {MODEL}", "prediction", "Explained: class ", "drop if silenced", "Conserved: "):
        assert text in result.stdout
    assert "Silencing the top filter, " in result.stdout
    assert "Silencing the top color, " in result.stdout
    (path,) = Path().glob(f"photo_{MODEL}_class_*.png")
    with Image.open(path) as picture:
        assert min(picture.size) > 500


def test_json_holds_the_numbers_of_the_library(run, photo, weights):
    result = run(
        "explain", photo, "--model", MODEL, "--weights", weights, "--json", "-", "--target", "class 3"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    classifier = load_classifier(MODEL, weights)
    attribution = ef.EdgeFilterAttribution(classifier.model, calibrate=("color", "order"))
    inputs = classifier.preprocess(read_photo(photo))
    explanation = attribution.explain(inputs, 3)
    check = ef.causal_check(attribution, inputs, explanation)
    same_numbers(found, as_shown(explanation, check))
    assert found["about"] == {
        **classifier.about,
        "model": MODEL,
        "weights_digest": fingerprint_of(classifier.model),
        "composite": "epsilon_plus",
        "calibrate": "color, order",
        "bank": ef.complete_bank(3).name,
        "version": ef.__version__,
    }
    assert found["explained"]["name"] == "class 3"
    assert list(found["causal_drop"]["edge"].values()) == check.edge[0].tolist()
    assert list(found["causal_drop"]["color"]) == ["red", "green", "blue"]
    assert len(found["predictions"]) == 3
    assert found["versions"]["edgefilter"] == ef.__version__


@pytest.mark.parametrize("games", ["none", "color", "color+order"])
@pytest.mark.parametrize("against", ["rest", "odds", "class 1", "1"])
def test_a_class_is_explained_against_others(run, photo, small_classifier, games, against):
    """With the games that are chosen; the tables say what the numbers are, and drops are those of the difference."""
    from edgefilter.cli.options import CALIBRATIONS

    classifier, other = small_classifier(outputs=5), against if against in ("rest", "odds") else 1
    options = ("--target", "3", "--against", against, "--calibrate", games)
    result = run("explain", photo, "--json", "n.json", "--out", "p.png", *options)
    assert result.exit_code == 0, result.output
    found = json.loads(Path("n.json").read_text(encoding="utf-8"))
    attribution = ef.EdgeFilterAttribution(classifier.model, calibrate=CALIBRATIONS[games])
    inputs = classifier.preprocess(read_photo(photo))
    explanation = attribution.explain(inputs, 3, against=other)
    same_numbers(found, as_shown(explanation, ef.causal_check(attribution, inputs, explanation)))
    without = attribution.silence(inputs, 3, against=other, colors=["red"])
    drop = float(explanation.output - without)
    assert found["causal_drop"]["color"]["red"] == pytest.approx(drop, rel=1e-3, abs=1e-6)
    words = {"rest": "the mean of the others", "odds": "chance"}.get(other, "class 1 (1)")
    said = (
        ("log odds", "the log odds") if other == "odds" else ("logits differ by", "the difference of logits")
    )
    assert (
        f"Explained: class 3 (3) against {words}, {said[0]} {float(explanation.output):.2f}" in result.stdout
    )
    assert found["explained"]["against"] == words
    assert f"{said[1]} from" in result.stdout


def test_a_class_is_not_compared_with_itself_or_with_none(run, photo, small_classifier):
    small_classifier(outputs=5)
    result = run("explain", photo, "--target", "3", "--against", "3")
    assert result.exit_code == 1
    assert "against must be another output than target" in result.stderr
    assert refused(run("explain", photo, "--against", "99"), "against must be between 0 and")
    assert run("explain", photo, "--calibrate", "colour").exit_code == 2


@pytest.mark.parametrize("name", ["digits", "fruits"])
def test_shipped_networks_are_explained_with_their_own_filters(run, photo, name):
    result = run("explain", photo, "--model", name, "--json", "-")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["filters"] == list(ef.get_bank("edges").names)
    assert run("check", photo, "--model", name).exit_code == 0


@pytest.mark.parametrize("end", [(), (torch.nn.Sigmoid(),)])
def test_a_single_logit_has_its_sigmoid_as_probability(run, photo, small_classifier, monkeypatch, end):
    """In tables, JSON and the picture's title, for logits of both signs; a sigmoid at the end is not applied twice."""
    classifier = small_classifier(*end, outputs=1)
    titles = []
    draw = ef.Explanation.plot
    monkeypatch.setattr(
        ef.Explanation, "plot", lambda *a, **options: titles.append(options["title"]) or draw(*a, **options)
    )
    last = classifier.model[3]
    for bias in (-1.0, 1.5):
        last.bias.data.fill_(bias)
        with torch.no_grad():
            logit = float(classifier.model[:4](classifier.preprocess(read_photo(photo))))
        probability = 1 / (1 + np.exp(-logit))
        result = run("explain", photo, "--json", "n.json", "--force")
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[2].split() == ["class", "0", f"{probability:.1%}", f"{logit:.2f}"]
        assert titles.pop().startswith(f"class 0: logit {logit:.2f}, probability {probability:.1%}")
        found = json.loads(Path("n.json").read_text(encoding="utf-8"))
        assert found["explained"]["probability"] == pytest.approx(probability, abs=1e-6)
        (prediction,) = found["predictions"]
        assert prediction["probability"] == pytest.approx(probability, abs=1e-6)
        assert prediction["logit"] == pytest.approx(logit, abs=1e-5)


def test_a_dark_photo_of_16_bits_is_one_line_of_warning(run, small_classifier, tmp_path, monkeypatch):
    """The result is what it would be in 8 bits; with --bits 16 the photo stays dark, without a word."""
    monkeypatch.chdir(tmp_path)
    small_classifier()
    gray = np.random.default_rng(0).integers(0, 256, (12, 12))
    gray[0, 0] = 255
    for name, values in {
        "8": gray.astype(np.uint8),
        "12": np.round(gray * 4095 / 255).astype(np.uint16),
    }.items():
        Image.fromarray(values).save(f"{name}.png")
    plain, bright, dark = (
        run("explain", *arguments, "--json", "-")
        for arguments in (("8.png",), ("12.png",), ("12.png", "--bits", 16))
    )
    assert (plain.stderr, dark.stderr) == ("", "")
    assert bright.stderr.startswith("Warning: image '12.png' has room for 16 bits, but no value above 4095")
    assert bright.stderr.count("\n") == 1
    outputs = [json.loads(result.stdout)["output"] for result in (plain, bright, dark)]
    assert outputs[0] == outputs[1] != outputs[2]


def test_json_goes_to_a_file_and_quiet_prints_nothing(run, photo, weights):
    arguments = ("explain", photo, "--model", MODEL, "--weights", weights, "--json", "n.json", "--quiet")
    result = run(*arguments, "--out", "p.svg")
    assert (result.exit_code, result.output) == (0, "")
    assert json.loads(Path("n.json").read_text(encoding="utf-8"))["image"] == photo
    assert "<svg" in Path("p.svg").read_text(encoding="utf-8")


def test_tables_are_chosen_by_options(run, photo, weights):
    """With all tables and four rows each, what is left of 9 filters and of 27 pairs is summed up."""
    result = run("explain", photo, "--model", MODEL, "--weights", weights, "--score", "all", "--top", "4")
    assert result.exit_code == 0, result.output
    assert "5 others" in result.stdout
    assert "23 others" in result.stdout
    result = run("explain", photo, "--model", MODEL, "--weights", weights, "--score", "color", "--force")
    assert "red" in result.stdout
    assert "others" not in result.stdout
    assert "relevance" in result.stdout
    assert "dx2_dy0" not in result.stdout


def test_of_a_large_bank_only_the_filters_shown_are_silenced(run, photo, weights, monkeypatch):
    """Those largest in size: the check takes a run of the network for each. The others have no effect in the JSON, and no mark."""
    monkeypatch.setattr("edgefilter.cli.answer.MOST_SILENCED", 8)
    result = run("explain", photo, "--model", MODEL, "--weights", weights, "--top", "2", "--json", "-")
    found = json.loads(result.stdout)
    best = sorted(found["edge"], key=lambda name: -abs(found["edge"][name]))[:2]
    drops = found["causal_drop"]["edge"]
    assert set(drops) == set(best)
    classifier = load_classifier(MODEL, weights)
    attribution = ef.EdgeFilterAttribution(classifier.model)
    check = ef.causal_check(
        attribution, classifier.preprocess(read_photo(photo)), target=found["explained"]["index"]
    )
    every = dict(zip(found["filters"], check.edge[0].tolist(), strict=True))
    assert drops == pytest.approx({name: every[name] for name in drops}, rel=1e-3, abs=1e-6)


def test_output_of_zero_is_explained(run, photo, tmp_path):
    """All scores tie at 0: no share, no NaN in the JSON."""
    state = torchvision.models.get_model(MODEL, num_classes=5).state_dict()
    save_file({name: torch.zeros_like(value) for name, value in state.items()}, "zero.safetensors")
    result = run("explain", photo, "--model", MODEL, "--weights", "zero.safetensors", "--json", "z.json")
    assert result.exit_code == 0, result.output
    assert json.loads(Path("z.json").read_text(encoding="utf-8"))["conserved_share"] is None
    assert "Conserved: relevance adds up to - of the logit." in result.stdout


def printed(answer, *tables, rows=12, summary=False):
    """Return the tables of an answer, each as lists of cells, and all other lines."""
    text = io.StringIO()
    print_answer(Console(file=text, width=200), answer, list(tables) or None, rows, summary=summary)
    blocks = [block.splitlines() for block in text.getvalue().split("\n\n")]
    cells = [[re.split(r"  +", line.strip()) for line in block] for block in blocks if "share of" in block[0]]
    return cells, [line.strip() for block in blocks for line in block if "share of" not in block[0]]


def test_scores_that_an_effect_contradicts_are_marked():
    """Another sign, or under a tenth; a note says what the mark means. An error stands beside its score."""
    answer = by_hand(
        [[5.0, -1.0], [1.0, 1.0]], effects=[4.0, -0.5], filter_effects=[0.59, -0.1], errors=[0.25, 0.0]
    )
    (color, edge), lines = printed(answer)
    assert color[1:] == [
        ["red", "4.000 ± 0.250", "66.7%", "4.000"],
        ["green", "2.000", "33.3%", "-0.500", "!"],
    ]
    assert edge[1:] == [
        ["sobel x", "sobel_x", "6.000", "100.0%", "0.590", "!"],
        ["sobel y", "sobel_y", "0.000", "0.0%", "-0.100"],
    ]
    assert sum(line.startswith("!  Silenced alone, the output moves the other way") for line in lines) == 1
    assert set(as_json(answer, "a.png", "")["doubts"]) == {"green", "sobel_x"}
    plain = by_hand([[5.0, -1.0], [1.0, 1.0]], effects=[4.0, 2.0], filter_effects=[6.0, 0.1])
    tables, lines = printed(plain)
    assert not any("!" in cell for table in tables for row in table for cell in row)
    assert not any(line.startswith("!") for line in lines)


def test_tables_of_a_negative_output_are_sorted_by_size_in_true_shares():
    """No share is above 100 %, each table's add up to it, and what is said comes from the largest in size."""
    answer = by_hand([[-6.0, 1.5], [2.0, -0.5]], effects=[-4.0, 1.5], filter_effects=[-4.0, 1.0])
    tables, lines = printed(answer, ScoreTable.all)
    for table in tables:
        relevance, share = table[0].index("relevance"), table[0].index("share of sizes")
        sizes = [abs(float(row[relevance])) for row in table[1:]]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(float(row[share].rstrip("%")) for row in table[1:]) == pytest.approx(100, abs=0.2)
    assert [row[0] for row in tables[0][1:]] == ["red", "green"]
    assert "Silencing the top filter, sobel x (sobel_x), raises the logit from -3.00 to 1.00." in lines
    assert "Silencing the top color, red, raises the logit from -3.00 to 1.00." in lines


def test_the_rest_of_a_table_has_the_rest_of_the_sizes():
    answer = by_hand([[4.0, -1.0, 1.0]], effects=[4.0], filter_effects=[4.0, -1.0, 1.0], bank=ef.FilterBank(
        ["sobel_x", "sobel_y", "laplacian_4"]))  # fmt: skip
    (table,), _ = printed(answer, ScoreTable.edge, rows=1)
    assert table[1:] == [["sobel x", "sobel_x", "4.000", "66.7%", "4.000"], ["2 others", "0.000", "33.3%"]]


def test_what_was_left_out_and_against_is_named():
    answer = by_hand([[1.0, 1.0]], effects=[2.0], filter_effects=[1.0, 1.0], left_out="softmax", against=(0,))
    _, lines = printed(answer)
    assert "Explained: bee (1) against ape (0), logits differ by 2.00, before the final softmax" in lines


def test_groups_lead_the_filters_of_a_large_bank(run, photo):
    """The sums of the filters of each order, in table and JSON; up to 12 filters have no such table."""
    result = run("explain", photo, "--model", "digits", "--json", "n.json")
    assert result.exit_code == 0, result.output
    found = json.loads(Path("n.json").read_text(encoding="utf-8"))
    orders = np.array(ef.get_bank("edges").orders)
    edge = np.array(list(found["edge"].values()))
    words = ("brightness", "edges", "lines and corners")
    sums = {word: edge[orders == order].sum() for order, word in enumerate(words)}
    groups = found["groups"]["order"]
    assert {name: group["edge"] for name, group in groups.items()} == pytest.approx(sums, abs=1e-5)
    assert sorted(name for group in groups.values() for name in group["filters"]) == sorted(found["filters"])
    lines = [line.split() for line in result.stdout.splitlines()]
    first = lines.index(["order", "filters", "relevance", "share", "of", "sizes"])
    assert first < next(place for place, line in enumerate(lines) if line[:2] == ["filter", "name"])
    shown = {" ".join(line[:-3]): (int(line[-3]), float(line[-2])) for line in lines[first + 1 : first + 4]}
    assert list(shown) == sorted(sums, key=lambda word: -abs(sums[word]))
    for order, word in enumerate(words):
        assert shown[word] == ((orders == order).sum(), pytest.approx(sums[word], abs=6e-4))
    few, _ = printed(by_hand([[1.0, 1.0]], effects=[2.0], filter_effects=[1.0, 1.0]), ScoreTable.edge)
    assert [table[0][0] for table in few] == ["filter"]


def test_the_summary_takes_the_place_of_the_tables(run, photo, small_classifier):
    """With class names, and what was measured by silencing; tables only where they are asked for."""
    classifier = small_classifier(outputs=5)
    arguments = (
        "explain",
        photo,
        "--target",
        "3",
        "--against",
        "1",
        "--summary",
        "--out",
        "p.png",
        "--force",
    )
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    attribution = ef.EdgeFilterAttribution(classifier.model, calibrate=("color", "order"))
    inputs = classifier.preprocess(read_photo(photo))
    explanation = attribution.explain(inputs, 3, against=1)
    explanation = as_shown(explanation, ef.causal_check(attribution, inputs, explanation))
    assert explanation.summary(class_names=classifier.class_names) in result.stdout
    assert "Output class 3 minus class 1 is" in result.stdout
    assert "relevance" not in result.stdout
    both = run(*arguments, "--score", "color").stdout
    assert "Output class 3 minus class 1 is" in both
    assert "drop if silenced" in both


def test_a_complete_named_bank_explains_with_its_kernels(run, photo, weights):
    result = run("explain", photo, "--model", MODEL, "--weights", weights, "--bank", "frei_chen")
    assert result.exit_code == 0, result.output
    assert "frei_chen_edge_x" in result.stdout


def test_bank_that_does_not_span_the_stem_is_refused(run, photo, weights):
    result = run("explain", photo, "--model", MODEL, "--weights", weights, "--bank", "sobel")
    message = "stem exactly; got 'sobel', which spans 2 of 9 dimensions. Use --bank complete."
    assert refused(result, message)
    result = run("explain", photo, "--model", MODEL, "--weights", weights, "--bank", "laws_7")
    assert refused(result, "got 'laws_7', which is 7x7. Use --bank complete.")
    result = run("explain", photo, "--model", MODEL, "--weights", weights, "--bank", "gabor")
    assert refused(result, "got 'gabor', which is 15x15. Use --bank complete.")


def test_network_whose_stem_cannot_be_replaced_is_explained(run, folders, small_classifier):
    """By all commands; of a comparison, only what needs the bank as a layer is missing."""
    network = small_classifier().model
    with pytest.raises(ValueError, match="Standardized, which gives another output"):
        ef.replace_stem(network)
    photo = "photos/other/0.png"
    for bank in ((), ("--bank", "frei_chen")):
        result = run("explain", photo, "--json", "-", "--out", f"{len(bank)}.png", *bank)
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert found["conserved_share"] == pytest.approx(1, abs=1e-5)
        assert found["filters"] == (ef.get_bank("frei_chen") if bank else ef.complete_bank(3)).names
    assert "9 dimensions. Use --bank" in run("explain", photo, "--bank", "sobel").stderr
    assert run("check", photo).stdout.splitlines()[1].split()[:3] == ["0", "FilterBankConv2d", "WSquare"]
    assert run("profile", folders).exit_code == 0
    names = ("--methods", "edgefilter,sobel", "--metrics", "infidelity,parts")
    result = run("compare", photo, *names)
    assert result.exit_code == 0, result.output
    table = json.loads(Path("comparison/comparison.json").read_text(encoding="utf-8"))
    assert table["pixel"][0]["infidelity"] >= 0
    assert [failure["table"] for failure in table["failures"]] == ["parts"]


def test_network_without_a_stem_is_not_blamed_on_the_bank(run, photo, weights, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no stem here")

    monkeypatch.setattr(ef.EdgeFilterAttribution, "propagator", fail)
    result = run("explain", photo, "--model", MODEL, "--weights", weights, "--bank", "sobel")
    assert refused(result, "Error: no stem here")


def test_default_picture_is_named_after_image_and_target(run, photo, weights):
    """Whether it exists is asked after all other arguments are checked."""
    arguments = ("explain", photo, "--model", MODEL, "--weights", weights)
    assert run(*arguments, "--target", "class 3").exit_code == 0
    name = f"photo_{MODEL}_class_3.png"
    assert [path.name for path in Path().glob("*.png")] == [name]
    assert refused(run(*arguments, "--target", "3"), f"got '{name}', which exists")
    taken = ("--out", name)
    for option, value, message in (
        ("--target", "9", "target must be between 0 and 4"),
        ("--device", "gpu", "device must be"),
        ("--weights", "none.pt", "weights must be an existing file"),
        ("--composite", "foo", "unknown composite 'foo'"),
    ):
        assert refused(run(*arguments, *taken, option, value), message)


def test_existing_picture_is_refused_before_the_computation(run, photo, weights, monkeypatch):
    monkeypatch.setattr(ef.EdgeFilterAttribution, "explain", lambda *_: pytest.fail("the computation began"))
    for index in range(5):
        Path(f"photo_{MODEL}_class_{index}.png").write_text("old")
    assert refused(run("explain", photo, "--model", MODEL, "--weights", weights), "which exists")


def test_json_on_stdout_is_all_there_is(run, photo, weights):
    """No tables on stderr, and a picture only on request."""
    arguments = ("explain", photo, "--model", MODEL, "--weights", weights, "--json", "-")
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["image"] == photo
    assert [path.name for path in Path().iterdir()] == [photo]
    result = run(*arguments, "--out", "p.png")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)
    assert Path("p.png").is_file()


def test_names_to_choose_from_are_in_help_and_errors(run, photo):
    result = run("explain", photo, "--composite", "foo")
    assert refused(result, f"The composites are {', '.join(ef.composite_names())}.")
    text = run("explain", "--help").stdout
    assert all(name in text for name in ef.composite_names())
    assert "edgefilter kernels" in text


def test_missing_gpu_is_named(run, photo, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch, "zeros", fail)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = "got 'cuda:0', but torch sees no GPU here. Use cpu."
    assert refused(run("explain", photo, "--device", "cuda:0"), message)


def test_one_other_is_not_others(run, photo, weights):
    result = run("explain", photo, "--model", MODEL, "--weights", weights, "--top", "2")
    assert "1 other " in result.stdout
    assert "1 others" not in result.stdout


def test_demo_end_to_end(tmp_path):
    """As a user: a fresh process, no argument, and the coffee is an espresso."""
    command = [sys.executable, "-W", "error", "-m", "edgefilter", "explain", "--json", "-", "--out", "c.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["predictions"][0]["name"] == found["explained"]["name"] == "espresso"
    assert found["conserved_share"] == pytest.approx(1, abs=0.01)
    assert found["base"] + sum(found["color"].values()) == pytest.approx(found["output"], rel=0.01)
    assert found["causal_drop"]["edge"]["dx0_dy0"] > 1
    assert (tmp_path / "c.png").stat().st_size > 50_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jpg"], "image must be an existing file; got 'none.jpg'"),
        (["photo.jpg", "--json", "photo.jpg", "--force"], "json must be another file than image"),
        (["photo.jpg", "--composite", "epsilon_pluss"], "did you mean 'epsilon_plus'?"),
        (["photo.jpg", "--bank", "sobell"], "unknown bank 'sobell'; did you mean 'sobel'?"),
        (["photo.jpg", "--model", "resnet-18"], "unknown model 'resnet-18'; did you mean 'resnet18'?"),
        (["photo.jpg", "--weights", "none.pt"], "weights must be an existing file; got 'none.pt'"),
        (["photo.jpg", "--target", "1000"], "target must be between 0 and 999"),
        (["photo.jpg", "--target", "expresso"], "unknown class 'expresso'; did you mean 'espresso'?"),
        (["photo.jpg", "--device", "gpu"], "device must be one that torch can use here; got 'gpu'"),
        (["photo.jpg", "--out", "picture.gif"], "out must end in .png, .pdf, .svg; got 'picture.gif'"),
        (["photo.jpg", "--out", "none/p.png"], "out must be in a folder that can be written to"),
        (["photo.jpg", "--out", "photo.jpg/p.png"], "out must be in a folder that can be written to"),
        (["photo.jpg", "--json", "none/n.json"], "json must be in a folder that can be written to"),
        (["photo.jpg", "--json", "."], "json must be a file; got the folder '.'"),
    ],
)
def test_bad_usage_has_its_own_message_and_exit_code_2(run, photo, arguments, message):
    assert refused(run("explain", *arguments), message)


def test_bad_photo_is_refused(run, photo):
    Path("notes.jpg").write_text("text")
    assert refused(run("explain", "notes.jpg"), "got 'notes.jpg', which is none")


def test_unknown_options_are_bad_usage(run, photo):
    assert run("explain", photo, "--score", "colour").exit_code == 2
    assert run("explain", photo, "--top", "0").exit_code == 2
    assert run("explian").exit_code == 2


@pytest.mark.parametrize("option", ["--out", "--json"])
def test_existing_files_are_kept_without_force(run, photo, weights, option):
    """The refusal comes before the work; with --force they are replaced."""
    name = "old.png" if option == "--out" else "old.json"
    Path(name).write_text("old")
    arguments = ("explain", photo, "--model", MODEL, "--weights", weights, option, name)
    assert refused(run(*arguments), f"got '{name}', which exists. Pass --force")
    assert Path(name).read_text() == "old"
    assert run(*arguments, "--force").exit_code == 0
    assert Path(name).read_bytes() != b"old"


def test_unwritable_output_is_seen_before_the_computation(run, photo, monkeypatch):
    monkeypatch.setattr(
        "edgefilter.classifiers.loading.load_classifier",
        lambda *_, **__: pytest.fail("the network was loaded"),
    )
    assert refused(run("explain", photo, "--out", "none/p.png"), "Choose another place.")


def test_malicious_weights_are_refused(run, photo, tmp_path):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"x": Bomb()}, "w.pt")
    assert refused(run("explain", photo, "--model", MODEL, "--weights", "w.pt"), "nothing but tensors")
    assert not (tmp_path / "ran").exists()


def test_failures_of_the_model_have_exit_code_1(run, photo, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    assert refused(run("explain", photo, "--model", "resnet18"), "pass a file with --weights", code=1)


def test_failures_of_the_library_have_exit_code_1(run, photo, weights, monkeypatch):
    def fail(*_):
        raise NotImplementedError("no rule for\nthis operation")

    monkeypatch.setattr("edgefilter.cli.answer.causal_check", fail)
    result = run("explain", photo, "--model", MODEL, "--weights", weights)
    assert refused(result, "Error: no rule for this operation", code=1)


def test_interrupt_has_exit_code_130(run, photo, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgefilter.classifiers.loading.load_classifier", interrupt)
    result = run("explain", photo)
    assert result.exit_code == 130
    assert "Traceback" not in result.output


def test_version(run):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"edgefilter {ef.__version__}\n")


def test_help_shows_the_commands(run):
    result = run("--help")
    assert result.exit_code == 0
    assert all(
        name in result.stdout for name in ("explain", "profile", "compare", "check", "kernels", "models")
    )


@pytest.mark.parametrize("command", ["explain", "profile", "compare", "check", "kernels", "models"])
def test_help_fits_a_terminal_of_80_columns(run, monkeypatch, command):
    """No example and no name is cut off."""
    monkeypatch.setenv("COLUMNS", "80")
    text = run(command, "--help").stdout
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_kernels_lists_the_catalogue(run):
    result = run("kernels")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in ef.kernel_names())
    assert all(name in result.stdout for name in ef.bank_names())


@pytest.mark.parametrize("terminal", [True, False])
def test_kernels_take_one_line_each(run, monkeypatch, terminal):
    """After the banks; only a terminal cuts them off, and only behind name, family and size."""
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(cli.app, ["kernels"])
    banks, lines = result.stdout.split("\n\n")
    assert banks.split()[:2] == ["Banks:", "sobel,"]
    head, *lines = lines.splitlines()
    assert head.split() == ["kernel", "family", "size", "meaning", "and", "source"]
    kernels = list(map(ef.get_kernel, ef.kernel_names()))
    assert len(lines) == len(kernels)
    for line, kernel in zip(lines, kernels, strict=True):
        assert line.split()[:3] == [kernel.name, kernel.family, "{}x{}".format(*kernel.weight.shape)]
        assert len(line) <= 80 if terminal else line.endswith(kernel.source)
    assert any(line.endswith("…") for line in lines) == terminal


def test_kernels_lists_a_family_and_a_bank(run):
    family, bank = run("kernels", "--family", "scharr"), run("kernels", "--bank", "sobel")
    assert "scharr_x" in family.stdout
    assert "sobel_x" not in family.stdout
    assert len(bank.stdout.strip().splitlines()) == 3
    gabor = run("kernels", "--bank", "gabor").stdout.strip().splitlines()
    assert [line.split()[0] for line in gabor[1:3]] == ["gabor_w4_t0_even", "gabor_w4_t0_odd"]
    assert len(gabor) == 17


def test_kernels_draws_them(run, tmp_path):
    assert run("kernels", "--bank", "sobel", "--out", tmp_path / "k.pdf").exit_code == 0
    assert (tmp_path / "k.pdf").read_bytes().startswith(b"%PDF")
    assert refused(run("kernels", "--bank", "sobel", "--out", tmp_path / "k.pdf"), "which exists")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--family", "sobl"], "unknown family 'sobl'; did you mean 'sobel'?"),
        (["--bank", "sobl"], "unknown bank 'sobl'; did you mean 'sobel'?"),
    ],
)
def test_unknown_kernels_are_refused(run, arguments, message):
    assert refused(run("kernels", *arguments), message)


def test_models_lists_every_name_that_explain_takes(run):
    result = run("models")
    assert result.exit_code == 0
    assert "With edgefilter itself, trained weights included: digits, fruits\n" in result.stdout
    assert all(result.stdout.count(f" {name}") == 1 for name in ("digits", "resnet50,"))
    assert all(name in result.stdout for name in ("efficientnet_lite0", "resnet50", "vit_b_16", "timm:NAME"))


def test_check_lists_the_rule_of_every_operation(run, photo, weights):
    result = run("check", photo, "--model", MODEL, "--weights", weights)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["operation", "kind", "rule", "received", "handed", "on"]
    assert lines[1].split()[:3] == ["features.0", "FilterBankConv2d", "WSquare"]
    assert lines[-1].startswith("SqueezeNet: ")


def test_check_refuses_unknown_rules(run, photo, weights):
    result = run("check", photo, "--model", MODEL, "--weights", weights, "--composite", "epsilon_plis")
    assert refused(result, "did you mean 'epsilon_plus'?")


# --- compare ------------------------------------------------------------------------------------------------


def test_compare_writes_tables_and_one_figure(run, photo, weights):
    """Of two photos, by the methods and metrics asked for."""
    Image.open(photo).rotate(90).save("other.png")
    names = ("--methods", "edgefilter, saliency,sobel", "--metrics", "infidelity,time")
    result = run("compare", photo, "other.png", "--model", MODEL, "--weights", weights, *names)
    assert result.exit_code == 0, result.output
    for text in ("infidelity (low)", "edgefilter", "saliency", "comparison.png"):
        assert text in result.stdout
    found = json.loads(Path("comparison/comparison.json").read_text(encoding="utf-8"))
    assert [row["method"] for row in found["pixel"]] == ["edgefilter", "saliency", "sobel"]
    assert (len(found["targets"]), found["failures"]) == (2, [])
    about = found["settings"]["about"]
    assert (about["model"], about["preprocessing_assumed"]) == (MODEL, "no")
    assert "224 x 224 in the middle" in about["preprocessing"]
    assert (
        Path("comparison/pixel.csv")
        .read_text(encoding="utf-8")
        .startswith("method,infidelity,infidelity_se,time")
    )
    with Image.open("comparison/comparison.png") as picture:
        assert min(picture.size) > 300


def test_compare_keeps_files_without_force(run, photo, weights):
    Path("out").mkdir()
    Path("out/parts.csv").write_text("old")
    arguments = (
        "compare",
        photo,
        "--model",
        MODEL,
        "--weights",
        weights,
        "--methods",
        "sobel",
        "--metrics",
        "infidelity",
    )
    assert refused(run(*arguments, "--out", "out"), "which exists. Pass --force to replace it.")
    assert [path.name for path in Path("out").iterdir()] == ["parts.csv"]
    result = run(*arguments, "--out", "out", "--force", "--quiet", "--target", "class 3")
    assert (result.exit_code, result.output) == (0, "")
    assert json.loads(Path("out/comparison.json").read_text(encoding="utf-8"))["targets"] == [3]
    assert Path("out/parts.csv").read_text() != "old"


def test_compare_reports_what_failed_and_keeps_the_rest(run, photo, weights, monkeypatch):
    """A failing method is a row of dashes with its reason, not a traceback."""
    from edgefilter.evaluation.methods import METHODS

    def broken(model):
        raise RuntimeError("not today")

    monkeypatch.setitem(METHODS, "saliency", broken)
    names = ("--methods", "saliency,sobel", "--metrics", "infidelity")
    result = run("compare", photo, "--model", MODEL, "--weights", weights, *names)
    assert result.exit_code == 0, result.output
    assert "Not measured (saliency): RuntimeError: not today" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jpg"], "image must be an existing file; got 'none.jpg'"),
        (["photo.jpg", "."], "image must be a file; got the folder '.'"),
        (["photo.jpg", "--methods", "salience"], "unknown method 'salience'; did you mean 'saliency'?"),
        (["photo.jpg", "--methods", "saliency,"], "unknown method ''"),
        (["photo.jpg", "--metrics", "infidelty"], "unknown metric 'infidelty'; did you mean 'infidelity'?"),
        (["photo.jpg", "--model", "resnet-18"], "unknown model 'resnet-18'"),
        (["photo.jpg", "--target", "1000"], "target must be between 0 and 999"),
        (["photo.jpg", "--device", "gpu"], "device must be one that torch can use here; got 'gpu'"),
        (["photo.jpg", "--out", "photo.jpg"], "out must be a folder; got the file 'photo.jpg'"),
        (["photo.jpg", "--out", "none/deeper"], "out must be in a folder that can be written to"),
    ],
)
def test_compare_refuses_bad_usage(run, photo, arguments, message):
    assert refused(run("compare", *arguments), message)


# --- profile ------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(photo):
    """Three classes of photos, seven in all, one of them damaged."""
    random = np.random.default_rng(1)
    for name, count in {"class 0": 3, "class 4": 2, "other": 1}.items():
        Path("photos", name).mkdir(parents=True)
        for index in range(count):
            values = random.integers(0, 256, (40, 30, 3), dtype=np.uint8)
            Image.fromarray(values).save(f"photos/{name}/{index}.png")
    Path("photos/other/bad.png").write_text("text")
    return "photos"


def test_profile_writes_tables_profile_and_picture(run, folders, weights):
    arguments = ("profile", folders, "--model", MODEL, "--weights", weights, "--batch-size", 4)
    result = run(*arguments, "--output", "out")
    assert result.exit_code == 0, result.output
    assert "explained: the predicted class" in result.stdout
    assert "Photos: 6 counted, 0 without relevance, 1 skipped" in result.stdout
    assert all(name in result.stdout for name in ("class 0", "class 4", "other", "top filter", "profile.csv"))
    found = ef.ClassProfile.load("out/profile.safetensors")
    assert found.compute()["count"].tolist() == [3, 2, 1]
    assert "other/bad.png" in Path("out/skipped.csv").read_text(encoding="utf-8")
    assert refused(run(*arguments, "--out", "out"), "which holds profile.csv, ")
    shutil.rmtree("photos/other")
    result = run(*arguments, "--out", "out", "--overwrite", "--quiet", "--by", "predicted", "--limit", 1)
    assert (result.exit_code, result.output) == (0, "")
    settings = json.loads(Path("out/profile.json").read_text(encoding="utf-8"))
    assert (settings["target"], settings["by"]) == ("label", "predicted")
    assert (
        settings["counted"] + settings["unusable"] == 2
    )  # this network ends with a ReLU: its outputs may be 0


def test_profile_by_torchrun_gives_the_same_numbers(run, folders, weights):
    """Two processes, an odd number of photos, each counted once; one of them writes and prints."""
    arguments = ("profile", folders, "--model", MODEL, "--weights", weights, "--batch-size", 2)
    assert run(*arguments, "--out", "one").exit_code == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "edgefilter", *map(str, arguments), "--out", "two"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Photos: 6 counted, 0 without relevance, 1 skipped") == 1
    one, two = (ef.ClassProfile.load(f"{name}/profile.safetensors").compute() for name in ("one", "two"))
    assert two["count"].tolist() == [3, 2, 1]
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5, equal_nan=True)
    assert Path("one/skipped.csv").read_bytes() == Path("two/skipped.csv").read_bytes()
    shuffled = [
        np.loadtxt(f"{name}/permutation.csv", delimiter=",", skiprows=1, usecols=(3, 4, 5, 6))
        for name in ("one", "two")
    ]
    np.testing.assert_allclose(*shuffled, rtol=0, atol=1e-5)
    assert sorted(path.name for path in Path("two").iterdir()) == sorted(
        path.name for path in Path("one").iterdir()
    )


def test_profile_takes_shipped_networks(run, folders):
    """Folders of digits are classes of theirs."""
    Path("photos/other").rename("photos/7")
    Path("photos/class 0").rename("photos/0")
    Path("photos/class 4").rename("photos/4")
    result = run("profile", folders, "--model", "digits", "--pixels")
    assert result.exit_code == 0, result.output
    assert "Model: digits; explained: the output of the folder's class" in result.stdout
    found = ef.ClassProfile.load("profile/profile.safetensors")
    assert (found.colors, found.class_names, found.pixel_size) == (("gray",), ("0", "4", "7"), (28, 28))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "folder must be an existing folder; got 'none'"),
        (["photos/other"], "folder must hold one folder of photos for each class"),
        (["photos", "--target", "label"], "got 1 of 3 that are not: 'other'"),
        (["photos", "--composite", "epsilon_pluss"], "did you mean 'epsilon_plus'?"),
        (["photos", "--bank", "sobell"], "unknown bank 'sobell'; did you mean 'sobel'?"),
        (["photos", "--bank", "sobel"], "bank 'sobel' spans 2 of the 9 dimensions of stem 'features.0'"),
        (["photos", "--device", "gpu"], "device must be one that torch can use here; got 'gpu'"),
        (["photos", "--out", "photos/out"], "out must lie outside the folder of photos"),
        (["photos", "--out", "photo.jpg"], "out must be a folder; got the file 'photo.jpg'"),
    ],
)
def test_profile_refuses_bad_usage(run, folders, weights, arguments, message):
    assert refused(run("profile", *arguments, "--model", MODEL, "--weights", weights), message)


def test_the_names_in_the_help_are_those_of_the_library():
    """They are written out, so that help does not load the library."""
    from edgefilter.classifiers.loading import DEMO
    from edgefilter.cli import options
    from edgefilter.evaluation import FILES, METHODS, METRICS
    from edgefilter.evaluation.methods import DEFAULT_METHODS
    from edgefilter.lrp.composites import DEFAULT, composite_names
    from edgefilter.profiles import RESULTS

    assert (options.DEMO, options.COMPOSITE) == (DEMO, DEFAULT)
    assert tuple(composite_names()) == options.COMPOSITES
    assert tuple(METHODS) == (*options.METHODS, *options.MORE_METHODS)
    assert options.METHODS == DEFAULT_METHODS
    assert tuple(METRICS) == options.METRICS
    assert options.COMPARISON_FILES[:-1] == FILES
    assert options.PROFILE_FILES == RESULTS
