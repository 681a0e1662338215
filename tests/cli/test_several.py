"""``edgefilter explain`` of several photos: one start, a row and a picture each, and what is kept if it is stopped."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import edgefilter as ef
from edgefilter.cli.photos import choose_photos

IMAGES = ["photos/a/x.png", "photos/a/y.jpg", "photos/b/x.png", "photos/b/z.png"]


def numbers(path="n.json"):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def test_a_folder_is_explained_with_one_start(run, photos, small_classifier, monkeypatch):
    """A list in the JSON and a row in the CSV for each photo, with the same numbers, and a table on the screen."""
    classifier, starts = small_classifier(outputs=3), []
    monkeypatch.setattr(
        "edgefilter.classifiers.loading.load_classifier", lambda *_, **__: starts.append(1) or classifier
    )
    result = run("explain", photos, "--csv", "t.csv", "--json", "n.json")
    assert (result.exit_code, result.stderr, starts) == (0, "", [1])
    found, table = numbers(), pd.read_csv("t.csv")
    assert [one["image"] for one in found] == table["image"].tolist() == IMAGES
    for one, (_, row) in zip(found, table.iterrows(), strict=True):
        best = one["predictions"][0]
        assert (row["predicted_index"], row["predicted"]) == (best["index"], best["name"])
        assert row["probability"] == pytest.approx(best["probability"])
        assert row["explained"] == one["explained"]["name"]
        assert row["output"] == pytest.approx(one["output"])
        assert row["base"] == pytest.approx(one["base"])
        for kind in ("color", "edge"):
            for name, value in one[kind].items():
                assert row[f"{kind}_{name}"] == pytest.approx(value)
        for name, group in one["groups"]["order"].items():
            assert row[f"order_{name}"] == pytest.approx(group["edge"])
        assert set(
            filter(None, str(row["doubts"] if row["doubts"] == row["doubts"] else "").split("; "))
        ) == set(one["doubts"])
        for name, value in one["about"].items():
            assert str(row[name]) == value
        color = sum(row[f"color_{name}"] for name in ("red", "green", "blue"))
        assert row["base"] + color == pytest.approx(row["output"], abs=1e-4)
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        "photo",
        "class",
        "probability",
        "top",
        "color",
        "relevance",
        "top",
        "filter",
        "relevance",
    ]
    assert [line.split()[0] for line in lines[1:5]] == IMAGES
    assert lines[5:] == ["Numbers: n.json", "Table: t.csv"]
    assert sorted(path.name for path in Path().iterdir()) == ["n.json", "photos", "t.csv"]


def test_each_photo_has_the_numbers_that_it_has_alone(run, photos, small_classifier):
    """One at a time, in batches, and from Python; files, a pattern and a folder name the same photos, each once."""
    classifier = small_classifier(outputs=3)
    calls = {
        "one": [photos],
        "batches": [photos, "--batch-size", 3],
        "files": [*IMAGES, IMAGES[0]],
        "pattern": ["photos/*/*.*g"],
        "both": ["photos/a", "photos/b/x.png", "photos/b/../b", "photos/a/x.png"],
    }
    found = {}
    for name, arguments in calls.items():
        result = run("explain", *arguments, "--json", "-")
        assert (result.exit_code, result.stderr) == (0, "")
        found[name] = json.loads(result.stdout)
    alone = [json.loads(run("explain", image, "--json", "-").stdout) for image in IMAGES]
    attribution = ef.EdgeFilterAttribution(classifier.model, calibrate=("color", "order"))
    for name in calls:
        assert [Path(one["image"]).resolve() for one in found[name]] == [
            Path(image).resolve() for image in IMAGES
        ]
        for one, other in zip(found[name], alone, strict=True):
            for kind in ("color", "edge"):
                assert one[kind] == pytest.approx(other[kind], rel=1e-4, abs=1e-5)
            assert one["explained"] == {
                **other["explained"],
                "probability": pytest.approx(other["explained"]["probability"]),
            }
            assert one["causal_drop"]["edge"] == pytest.approx(
                other["causal_drop"]["edge"], rel=1e-4, abs=1e-5
            )
    for one, image in zip(alone, IMAGES, strict=True):
        explanation = attribution.explain(classifier.preprocess(classifier.read(image)))
        assert list(one["color"].values()) == pytest.approx(explanation.color[0].tolist(), rel=1e-4, abs=1e-5)


def test_a_photo_that_cannot_be_read_is_skipped(run, photos, small_classifier):
    """In one line, and again at the end with the exit code; the others are explained."""
    small_classifier()
    Path("photos/a/bad.png").write_text("text")
    shutil.copy("photos/b/z.png", "cut.png")
    Path("photos/b/cut.png").write_bytes(Path("cut.png").read_bytes()[:200])
    result = run("explain", photos, "none.jpg", "--csv", "t.csv", "--batch-size", 2)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines[:3]] == [
        ["Skipped", "photos/a/bad.png"],
        ["Skipped", "photos/b/cut.png"],
        ["Skipped", "none.jpg"],
    ]
    assert lines[3:] == [
        "Skipped 3 of 7 photos: photos/a/bad.png, photos/b/cut.png, none.jpg. The exit code is 1."
    ]
    assert pd.read_csv("t.csv")["image"].tolist() == IMAGES
    result = run("explain", "none.jpg", "photos/a/bad.png", "--csv", "u.csv")
    assert result.exit_code == 1
    assert "Skipped 2 of 2 photos" in result.stderr
    assert not Path("u.csv").exists()


def test_pictures_go_to_a_folder_under_names_of_their_own(run, photos, small_classifier, drawn):
    """Two photos of one name have their folders in it; the class is in each, and what it is compared with."""
    small_classifier(outputs=3)
    result = run("explain", photos, "--target", "class 2", "--against", "0", "--out", "pictures")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path("pictures").iterdir()) == [
        f"{name}_small_class_2_against_class_0.png" for name in ("a_x", "b_x", "y", "z")
    ]
    assert "Pictures: 4 in pictures" in result.stdout
    assert all(title.startswith("class 2 against class 0: logits differ by") for title, _ in drawn)
    again = run("explain", photos, "--target", "class 2", "--against", "0", "--out", "pictures")
    assert again.exit_code == 2
    assert "which exists. Pass --force to replace it." in again.stderr
    assert len(drawn) == 4
    assert run("explain", photos, "--target", "1", "--out", "pictures", "--quiet").output == ""
    assert len(drawn) == 8
    Path("t.csv").touch()
    existing = run("explain", photos, "--csv", "t.csv").stderr
    assert "which exists. Pass --force to replace it, or --resume to go on with it." in existing
    assert run("explain", photos, "--target", "1", "--out", "pictures", "--force").exit_code == 0


def test_pictures_of_predicted_classes_are_not_replaced_either(run, photos, small_classifier, drawn):
    """Whatever the class is: it is seen before the work. A picture of one class against another is none of those."""
    small_classifier(outputs=3)
    Path("pictures").mkdir()
    Path("pictures/y_small_class_0_against_class_1.png").write_text("old")
    assert run("explain", photos, "--out", "pictures").exit_code == 0
    count = len(drawn)
    result = run("explain", "photos/b", "photos/a/x.png", "--out", "pictures/")
    assert result.exit_code == 2
    assert "which exists" in result.stderr
    assert len(drawn) == count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "p.png"], "out must be a folder for several photos; got 'p.png', the name of a file"),
        (["--out", "photos/a/x.png"], "out must be a folder for several photos; got the file"),
        (["--out", "photos/pictures"], "out must lie outside the folder of photos"),
        (["--out", "none/deeper"], "out must be in a folder that can be written to"),
        (["--json", "-", "--csv", "-"], "json and csv must not both be printed"),
        (["--csv", "x.json", "--json", "./x.json"], "csv must be another file than json"),
        (["--csv", "photos"], "csv must be a file; got the folder 'photos'"),
        (["--resume"], "resume must have several photos, and the file of the earlier run; got neither"),
    ],
)
def test_bad_usage_is_refused_before_the_network_is_loaded(run, photos, monkeypatch, arguments, message):
    monkeypatch.setattr(
        "edgefilter.classifiers.loading.load_classifier", lambda *_, **__: pytest.fail("it was loaded")
    )
    result = run("explain", photos, *arguments, "--force")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_empty_folder_and_a_pattern_without_photos_are_refused(run, photos):
    Path("empty").mkdir()
    for given in ("empty", "photos/*.gif"):
        result = run("explain", given)
        assert result.exit_code == 2
        assert f"got {given!r}, which holds none" in result.stderr


def test_the_csv_is_printed_alone(run, photos, small_classifier):
    small_classifier()
    result = run("explain", photos, "--csv", "-")
    assert (result.exit_code, result.stderr) == (0, "")
    assert pd.read_csv(io.StringIO(result.stdout))["image"].tolist() == IMAGES
    one = run("explain", IMAGES[0], "--csv", "-")
    assert len(pd.read_csv(io.StringIO(one.stdout))) == 1
    assert [path.name for path in Path().iterdir()] == ["photos"]


def test_the_summary_has_a_paragraph_for_each_photo(run, photos, small_classifier):
    small_classifier()
    result = run("explain", photos, "--summary")
    assert result.exit_code == 0, result.output
    for image in IMAGES:
        assert f"\n{image}\n" in f"\n{result.stdout}"
    assert result.stdout.count(" of it is there without the image.") == 4
    assert "relevance" not in result.stdout


def test_a_photo_predicted_as_what_it_is_compared_with_is_skipped(run, photos, small_classifier):
    """Of several; there is nothing to say about why it is that class and not that class."""
    small_classifier(outputs=2)
    assert run("explain", photos, "--json", "n.json").exit_code == 0
    classes = [one["explained"]["index"] for one in numbers()]
    other = classes[0]
    result = run("explain", photos, "--against", other, "--json", "m.json")
    same = [image for image, index in zip(IMAGES, classes, strict=True) if index == other]
    assert result.exit_code == 1
    assert f"Skipped {len(same)} of 4 photos: {', '.join(same)}." in result.stderr
    assert result.stderr.startswith(f"Skipped: {same[0]}: it is predicted as the class of --against")


def interrupting(monkeypatch, after):
    """Press Ctrl-C when so many photos were explained."""
    import edgefilter.cli.running as running

    find, calls = running.find_answers, []

    def stopped(*arguments):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(1)
        return find(*arguments)

    monkeypatch.setattr(running, "find_answers", stopped)


@pytest.mark.parametrize("kinds", [("json", "csv"), ("json",), ("csv",)])
def test_what_was_found_before_ctrl_c_is_kept_and_gone_on_with(run, photos, small_classifier, drawn, kinds):
    """The files of a run that was stopped and resumed are those of one run."""
    small_classifier(outputs=3)
    names = {"json": "n.json", "csv": "t.csv"}
    files = [word for kind in kinds for word in (f"--{kind}", names[kind])]
    assert run("explain", photos, *files).exit_code == 0
    whole = [Path(names[kind]).read_text() for kind in kinds]
    for kind in kinds:
        Path(names[kind]).unlink()
    with pytest.MonkeyPatch.context() as patch:
        interrupting(patch, 2)
        result = run("explain", photos, *files, "--out", "pictures")
    assert result.exit_code == 130
    assert result.stderr.startswith("Stopped after 2 of 4 photos. Kept: ")
    assert result.stderr.endswith("pictures: 2 in pictures. Start the same command with --resume to go on.\n")
    assert "Traceback" not in result.output
    result = run("explain", photos, *files, "--out", "pictures", "--resume")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [Path(names[kind]).read_text() for kind in kinds] == whole
    assert len(drawn) == 4
    result = run("explain", photos, *files, "--out", "pictures", "--resume")
    assert result.stdout == "Nothing is left: all photos are in the files.\n"
    assert len(list(Path("pictures").iterdir())) == 4


def test_ctrl_c_before_the_first_photo_says_that_nothing_was_written(
    run, photos, small_classifier, monkeypatch
):
    small_classifier()
    interrupting(monkeypatch, 0)
    result = run("explain", photos, "--csv", "t.csv")
    assert (result.exit_code, result.stderr) == (
        130,
        "Stopped: nothing was written. Start the same command again.\n",
    )
    assert [path.name for path in Path().iterdir()] == ["photos"]


def test_a_run_is_not_resumed_with_other_options_or_other_files(run, photos, small_classifier):
    small_classifier(outputs=3)
    assert run("explain", "photos/a", "--target", "0", "--csv", "t.csv").exit_code == 0
    old = Path("t.csv").read_text()
    for option, message in (
        (("--against", "1"), "resume must go on with the against of the earlier run, ''; got 'class 1 (1)'"),
        (
            ("--calibrate", "none"),
            "resume must go on with the calibrate of the earlier run, 'color, order'; got 'none'",
        ),
        (("--bits", "12"), "resume must go on with the bits of the earlier run, ''; got 12"),
    ):
        result = run("explain", photos, "--target", "0", "--csv", "t.csv", "--resume", *option)
        assert result.exit_code == 1
        assert message in result.stderr
        assert Path("t.csv").read_text() == old
    Path("n.json").write_text('{"a": 1}')
    result = run("explain", photos, "--json", "n.json", "--resume")
    assert result.exit_code == 2
    assert (
        "resume must go on with a file that explain wrote for several photos; got 'n.json'" in result.stderr
    )


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_run_is_not_resumed_with_other_channels_in_its_groups(run, photos, small_classifier, kind):
    """The names of the groups are the same; the files hold their channels."""
    small_classifier()
    groups = "warm=red,green;cold=blue", "warm=red;cold=green,blue"
    file = f"t.{kind}"
    assert run("explain", "photos/a", f"--{kind}", file, "--colors", groups[0]).exit_code == 0
    old = Path(file).read_text()
    assert "warm = red, green; cold = blue" in old
    result = run("explain", photos, f"--{kind}", file, "--colors", groups[1], "--resume")
    assert result.exit_code == 1
    assert "resume must go on with the colors of the earlier run" in result.stderr
    assert Path(file).read_text() == old
    assert run("explain", photos, f"--{kind}", file, "--colors", groups[0], "--resume").exit_code == 0


@pytest.mark.parametrize("file", [("--csv", "t.csv"), ("--json", "n.json")])
def test_a_run_is_not_resumed_with_another_target(run, photos, small_classifier, file):
    """One file holds explanations of one class, or of the predicted ones."""
    small_classifier(outputs=3)
    assert run("explain", "photos/a", "--target", "0", *file).exit_code == 0
    old = Path(file[1]).read_text()
    result = run("explain", photos, *file, "--resume", "--target", "1")
    assert result.exit_code == 2
    assert (
        "resume must go on with the target of the earlier run, which explained 'class 0' in" in result.stderr
    )
    assert "got class 1. Pass the same options, or name other files." in result.stderr
    assert Path(file[1]).read_text() == old
    assert run("explain", photos, *file, "--resume", "--target", "0").exit_code == 0

    assert run("explain", "photos/a", *file, "--force").exit_code == 0
    found = (
        numbers()[0]["explained"]["index"] if "--json" in file else pd.read_csv("t.csv")["explained_index"][0]
    )
    worse = (int(found) + 1) % 3
    assert "earlier run" in run("explain", photos, *file, "--resume", "--target", worse).stderr
    assert run("explain", "photos/a", *file, "--force", "--target", worse).exit_code == 0
    assert "got none. Pass the same options" in run("explain", photos, *file, "--resume").stderr
    assert run("explain", "photos/a", *file, "--force").exit_code == 0
    assert run("explain", photos, *file, "--resume").exit_code == 0


def test_what_was_found_before_a_failure_is_kept(run, photos, small_classifier, monkeypatch):
    small_classifier()
    import edgefilter.cli.running as running

    find, calls = running.find_answers, []

    def broken(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no more memory")
        return find(*arguments)

    monkeypatch.setattr(running, "find_answers", broken)
    result = run("explain", photos, "--csv", "t.csv")
    assert result.exit_code == 1
    assert result.stderr == "Error: no more memory\n"
    assert pd.read_csv("t.csv")["image"].tolist() == IMAGES[:2]


def test_a_run_that_is_killed_leaves_what_it_saved(run, photos, small_classifier, monkeypatch):
    """What ends it is no exception that the command could answer; it goes on from there."""
    small_classifier()
    import edgefilter.cli.running as running

    class Killed(BaseException):
        pass

    find, calls = running.find_answers, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return find(*arguments)

    monkeypatch.setattr(running, "SAVE_EVERY", 0)
    with monkeypatch.context() as patched:
        patched.setattr(running, "find_answers", killed)
        with pytest.raises(Killed):
            run("explain", photos, "--csv", "t.csv", "--json", "n.json")
    assert pd.read_csv("t.csv")["image"].tolist() == IMAGES[:2]
    assert [one["image"] for one in numbers()] == IMAGES[:2]
    assert run("explain", photos, "--csv", "t.csv", "--json", "n.json", "--resume").exit_code == 0
    assert pd.read_csv("t.csv")["image"].tolist() == IMAGES


def test_names_of_photos_differ(tmp_path):
    """Also where they differ in letters that no file name has, in the ending, or in what is joined."""
    for name in (
        "a/x.png",
        "a/x.jpg",
        "b/x.png",
        "a b.png",
        "a?b.png",
        "a_b.png",
        "c/b.png",
        "B/X.jpg",
        ".h/x.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    chosen = choose_photos([tmp_path])
    assert len(chosen.paths) == 8  # the hidden folder is not searched
    assert len({name.casefold() for name in chosen.names}) == 8
    assert {"x.png", "x.jpg", "a_b.png", "a_b.png-2", "a_b.png-3", "b"} <= set(chosen.names)
    assert choose_photos([tmp_path / "c"]).names == ("b",)
    assert choose_photos([tmp_path / "c"]).several
    assert not choose_photos([tmp_path / "c/b.png"]).several
