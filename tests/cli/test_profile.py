"""The command ``profile``: whether the network is right, what an interrupted run keeps, and two networks side by side."""

import itertools
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms.functional import to_tensor

import edgefilter as ef
from edgefilter.classifiers.classifier import Classifier


def write_digits(counts, size=28):
    """Write gray noise in folders of these names."""
    random = np.random.default_rng(4)
    for name, count in counts.items():
        Path("photos", name).mkdir(parents=True)
        for index in range(count):
            values = random.integers(0, 256, (size, size), dtype=np.uint8)
            Image.fromarray(values).save(f"photos/{name}/{index}.png")
    return "photos"


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """Photos of three digits, without any sense."""
    monkeypatch.chdir(tmp_path)
    return write_digits({"1": 3, "4": 4, "7": 2})


def cells(text):
    """Return the cells of each printed line."""
    return [re.split(r"  +", line.strip()) for line in text.splitlines()]


def test_accuracy_and_confusion_come_first(run, digits):
    """As the files have them: noise is taken for other digits."""
    result = run("profile", digits, "--model", "digits")
    assert result.exit_code == 0, result.output
    found = json.loads(Path("profile/profile.json").read_text(encoding="utf-8"))
    table = pd.read_csv("profile/confusion.csv")
    right = sum(found["confusion"][name].get(name, 0) for name in "147")
    line = f"Accuracy: {right / 9:.1%} ({right} of 9 photos)"
    assert line in result.stdout
    lines = cells(result.stdout)
    head = next(row for row in lines if row[0] == "label \\ predicted")
    assert head[1:] == [name.removeprefix("predicted ") for name in table.columns[3:]]
    for row in table.itertuples(index=False):
        assert [str(row[0]), *(str(count) if count else "." for count in row[3:])] in lines
    assert (
        result.stdout.index("Accuracy") < result.stdout.index("label \\") < result.stdout.index("top color")
    )
    assert result.stdout.index("top color") < result.stdout.index("Shuffled between 9 photos")
    assert found["about"]["model"] == "digits"


def test_the_largest_confusions_of_many_classes_are_listed(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_digits({str(digit): 3 for digit in range(10)})
    result = run("profile", "photos", "--model", "digits", "--permutations", 0)
    assert result.exit_code == 0, result.output
    assert "Shuffled" not in result.stdout
    assert not Path("profile/permutation.csv").exists()
    found = json.loads(Path("profile/profile.json").read_text(encoding="utf-8"))
    wrong = [(a, b, n) for a, row in found["confusion"].items() for b, n in row.items() if a != b]
    lines = cells(result.stdout)
    start = lines.index(["label", "predicted instead", "photos"]) + 1
    largest = max(wrong, key=lambda item: item[2])
    assert int(lines[start][2]) == largest[2]
    assert (*lines[start][:2], int(lines[start][2])) in wrong


def test_accuracy_that_cannot_be_told_is_said_so(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_digits({"one": 2, "two": 2})
    result = run("profile", "photos", "--model", "digits")
    assert result.exit_code == 0, result.output
    assert "Accuracy: unknown, as the folders are not named by classes of the network." in result.stdout
    assert not Path("profile/confusion.csv").exists()


def test_both_names_of_filters_are_in_the_table(run, digits):
    assert run("profile", digits, "--model", "digits", "--permutations", 0).exit_code == 0
    table = pd.read_csv("profile/profile.csv", keep_default_na=False)
    bank = ef.models.load("digits").bank if hasattr(ef.models.load("digits"), "bank") else None
    edge = table[table["score"] == "edge"]
    assert {"filter", "label", "low", "high"} <= set(table.columns)
    assert (edge["low"] <= edge["mean"]).all()
    assert bank is None or edge["label"].iloc[: len(bank)].tolist() == list(bank.labels)


def position():
    try:
        with safe_open("profile/progress.safetensors", framework="pt") as file:
            return json.loads(file.metadata()["progress"])["position"]
    except (OSError, SafetensorError):
        return 0


def results_of(folder):
    names = ("profile.csv", "confusion.csv", "permutation.csv", "skipped.csv", "profile.json")
    return {name: Path(folder, name).read_bytes() for name in names}


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(run, digits, monkeypatch):
    """In one line, without a traceback; started again, all numbers are those of a run in one go."""
    arguments = ("profile", digits, "--model", "digits", "--batch-size", 2)
    assert run(*arguments, "--out", "whole").exit_code == 0
    seen, update = [], ef.ClassProfile.update
    with monkeypatch.context() as patch:

        def interrupted(self, explanation, labels):
            seen.append(labels)
            if len(seen) == 3:
                raise KeyboardInterrupt
            update(self, explanation, labels)

        patch.setattr(ef.ClassProfile, "update", interrupted)
        result = run(*arguments)
    assert result.exit_code == 130
    assert result.stderr.startswith(
        "Stopped: 4 of 9 photos are counted and kept in 'profile/progress.safetensors'."
    )
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert position() == 4
    assert run(*arguments).exit_code == 0
    assert results_of("profile") == results_of("whole")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_what_it_counted(run, tmp_path, monkeypatch, number, code):
    """The process as a user starts it, stopped in the middle."""
    monkeypatch.chdir(tmp_path)
    write_digits({str(digit): 60 for digit in range(10)})
    command = [sys.executable, "-m", "edgefilter", "profile", "photos", "--model", "digits"]
    command += ["--batch-size", "2", "--permutations", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not Path("profile/progress.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    kept = position()
    assert kept < 600
    assert f"Stopped: {kept} of 600 photos are counted and kept" in error
    assert "Traceback" not in error
    assert out == ""


# --- two networks ---------------------------------------------------------------------------------------------


@pytest.fixture
def versions(tmp_path):
    """The weights of the digits, and another version of them."""
    network = ef.models.load("digits")
    save_file(network.state_dict(), tmp_path / "same.safetensors")
    with torch.no_grad():
        network.fc.weight[4] *= 0.5
    save_file(network.state_dict(), tmp_path / "other.safetensors")
    return "same.safetensors", "other.safetensors"


def test_the_same_weights_have_no_difference(run, digits, versions):
    same, _ = versions
    result = run("profile", digits, "--model", "digits", "--compare-weights", same)
    assert result.exit_code == 0, result.output
    assert "No difference: " in result.stdout
    table = pd.read_csv("profile/differences.csv")
    assert not table[["difference", "low", "high"]].to_numpy().any()
    assert "profile/differences.csv" in result.stdout


def test_two_versions_differ_with_intervals(run, digits, versions):
    """They are called by the files of their weights, where both have one, else by their digests."""
    same, other = versions
    result = run("profile", digits, "--model", "digits", "--compare", "digits", "--compare-weights", other)
    assert result.exit_code == 0, result.output
    assert re.search(r"digits \(\w{8}\) minus digits \(\w{8}\), on the same photos", result.stdout)
    table = pd.read_csv("profile/differences.csv", keep_default_na=False)
    assert set(table["score"]) == {"color", "order", "edge", "accuracy"}
    files = ("--weights", same, "--compare-weights", other, "--target", "label", "--out", "c")
    text = run("profile", digits, "--model", "digits", *files).stdout
    assert f"digits ({same}) minus digits ({other}), on the same photos" in text
    four = table[(table["class_name"] == "4") & (table["score"] == "color")].iloc[0]
    assert four["first"] - four["second"] == pytest.approx(four["difference"])
    alone = ("profile", digits, "--model", "digits", "--weights", other, "--target", "label", "--out", "b")
    assert run(*alone).exit_code == 0
    theirs = pd.read_csv("b/profile.csv", keep_default_na=False, dtype={"class_name": str})
    theirs = theirs[(theirs["class_name"] == "4") & (theirs["score"] == "color")].iloc[0]
    assert four["second"] == pytest.approx(theirs["mean"], abs=1e-6)


def test_one_photo_has_no_interval(run, tmp_path, monkeypatch, versions):
    """A dash says so, not the word of a programming language."""
    monkeypatch.chdir(tmp_path)
    photos = write_digits({"1": 1, "4": 2})
    options = ("--compare-weights", versions[1], "--permutations", 0)
    result = run("profile", photos, "--model", "digits", *options)
    assert result.exit_code == 0, result.output
    rows = [row for row in cells(result.stdout) if row[0] == "1" and "gray" in row[1:2]]
    assert rows
    assert all(row[-2:] == ["-", "-"] for row in rows), rows
    assert "nan" not in result.stdout


def test_the_other_network_may_be_a_description(run, digits, versions):
    """It says for itself what it takes; the result says where both come from."""
    _, other = versions
    names = [str(digit) for digit in range(10)]
    text = f'architecture = "digits"\nweights = "{other}"\nclass_names = {names}\nsize = 28\nmean = 0.0\nstd = 1.0\n'
    Path("other.toml").write_text(text, encoding="utf-8")
    arguments = ("profile", digits, "--model", "digits", "--permutations", 0)
    assert run(*arguments, "--compare", "other.toml", "--out", "a").exit_code == 0
    assert run(*arguments, "--compare-weights", other, "--out", "b").exit_code == 0
    assert Path("a/differences.csv").read_bytes() == Path("b/differences.csv").read_bytes()
    found = json.loads(Path("a/profile.json").read_text(encoding="utf-8"))
    assert other in found["compared about"]["weights"]
    assert found["versions"]["edgefilter"] == ef.__version__


def test_a_network_of_other_colors_is_refused(run, digits):
    arguments = ("profile", digits, "--model", "digits", "--compare", "fruits")
    result = run(*arguments)
    assert (
        "compare must be a network of the classes that the folders are, as digits is; got fruits"
        in result.stderr
    )
    result = run(*arguments, "--target", "predicted")
    assert result.exit_code == 2
    assert (
        "compare must be a network with the colors ('gray',); got ('red', 'green', 'blue')" in result.stderr
    )
    assert result.stderr.count("\n") == 1


# --- one output, and negative ones ----------------------------------------------------------------------------


def offered(monkeypatch, network, names):
    """Have the commands load a network on photos of 12 pixels."""

    def preprocess(picture):
        return to_tensor(picture.resize((12, 12)))[None]

    classifier = Classifier(network.eval(), names, preprocess, name="mine")
    monkeypatch.setattr("edgefilter.classifiers.loading.load_classifier", lambda *_, **__: classifier)


def network_of(outputs, *end):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, outputs)]
    return nn.Sequential(*layers, *end)


@pytest.mark.parametrize("names", [("class 0",), ("ripe", "rotten")])
@pytest.mark.parametrize("end", [(), (nn.Sigmoid(),)])
def test_one_output_speaks_for_the_second_class(run, tmp_path, monkeypatch, names, end):
    """Classes by the sign of the logit, and not all photos in one."""
    monkeypatch.chdir(tmp_path)
    folders = names if len(names) == 2 else ("0", "1")
    write_digits(dict.fromkeys(folders, 3), 12)
    network = network_of(1, *end)
    with torch.no_grad():  # one photo of each sign at least
        inputs = torch.stack(
            [to_tensor(Image.open(path).convert("RGB")) for path in sorted(Path("photos").rglob("*.png"))]
        )
        logits = network[:4](inputs).flatten().sort().values
        network[3].bias -= logits[2:4].mean()
        positive = (network[:4](inputs)[:, 0] > 0).tolist()
    assert sum(positive) == 3
    offered(monkeypatch, network, names)
    result = run("profile", "photos", "--permutations", 0)
    assert result.exit_code == 0, result.output
    assert f"explained: its one output, which speaks for {folders[1]} where it is positive" in result.stdout
    right = sum(answer == (place >= 3) for place, answer in enumerate(positive))
    assert f"Accuracy: {right / 6:.1%} ({right} of 6 photos)" in result.stdout
    assert "3 photos with a negative output" in result.stdout


def test_a_negative_output_is_told_with_its_sign(run, tmp_path, monkeypatch):
    """The largest share in size is against the class; no table calls the least bad color its top."""
    monkeypatch.chdir(tmp_path)
    write_digits({"a": 3, "b": 3}, 12)
    network = network_of(2)
    with torch.no_grad():
        network[3].weight.copy_(-network[3].weight.abs())
        network[3].bias.zero_()
    offered(monkeypatch, network, ("a", "b"))
    result = run("profile", "photos", "--permutations", 0)
    assert result.exit_code == 0, result.output
    assert "6 photos with a negative output" in result.stdout
    rows = [row for row in cells(result.stdout) if row[0] in ("a", "b") and len(row) > 5]
    means = pd.read_csv("profile/profile.csv", keep_default_na=False)
    for row in rows:
        mine = means[(means["class_name"] == row[0]) & (means["score"] == "color")]
        largest = mine.loc[mine["mean"].abs().idxmax()]
        assert row[3] == largest["color"]
        assert row[4].startswith(f"{largest['mean']:.3f}")
        assert largest["mean"] < 0


def test_narrow_terminals_keep_names_and_shares_whole(run, digits, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = run("profile", digits, "--model", "digits", "--permutations", 0)
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if "Files" not in line)
    rows = [row for row in cells(result.stdout) if row[0] in ("1", "4", "7") and len(row) > 4]
    assert any(re.fullmatch(r"-?\d\.\d{3}", cell) for row in rows for cell in row)


@pytest.mark.parametrize("width", [40, 60])
def test_narrower_terminals_drop_numbers_before_names(run, digits, monkeypatch, width):
    """No name of a class or a filter is broken; where there is no room for filters, the column goes."""
    monkeypatch.setenv("COLUMNS", "100")
    (_, *wide) = classes_of(run("profile", digits, "--model", "digits", "--permutations", 0, "--out", "a"))
    monkeypatch.setenv("COLUMNS", str(width))
    head, *narrow = classes_of(run("profile", digits, "--model", "digits", "--permutations", 0, "--out", "b"))
    assert ("top filter" in head) == (width == 60)
    assert "share" not in head
    kept = [0, 1, 2, 3, *([5] if width == 60 else [])]
    assert narrow == [[row[place] for place in kept] for row in wide]


def classes_of(result):
    """Return the head and the rows of the table of classes."""
    lines = itertools.dropwhile(lambda line: not line.startswith("class "), result.stdout.splitlines())
    return [re.split(r" {2,}", line.strip()) for line in itertools.takewhile(str.strip, lines)]


@pytest.mark.parametrize("option", ["--model", "--compare"])
def test_nothing_is_written_onto_a_description(run, digits, option):
    """Even if it is called as a result is."""
    Path("profile.json").write_text('{"architecture": "digits"}')
    result = run("profile", digits, "--model", "digits", option, "profile.json", "--out", ".", "--overwrite")
    assert result.exit_code == 2
    assert "out must be another file than model; got 'profile.json', which is read" in result.stderr
    assert Path("profile.json").read_text() == '{"architecture": "digits"}'
