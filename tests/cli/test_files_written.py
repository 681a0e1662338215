"""Where the command line writes: under names that say what it is, with the user's umask, and never onto what it reads."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from edgefilter.cli.naming import ReadFiles, as_file_name, class_file_name, picture_name

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask and no links without rights")


@pytest.fixture
def unloaded(monkeypatch):
    """Have a test fail that loads a network."""
    monkeypatch.setattr(
        "edgefilter.classifiers.loading.load_classifier",
        lambda *_, **__: pytest.fail("the network was loaded"),
    )


@posix
@pytest.mark.parametrize("option", ["--out", "--json", "--csv"])
@pytest.mark.parametrize(
    "spelling", ["alpha.png", "./alpha.png", "{}/alpha.png", "link.png", "hard.png", "sub/../alpha.png"]
)
def test_a_photo_is_never_written_onto(run, photo, unloaded, option, spelling):
    """Not even with --force, and however it is spelled or linked."""
    Path(photo).rename("alpha.png")
    before = Path("alpha.png").read_bytes()
    Path("link.png").symlink_to("alpha.png")
    os.link("alpha.png", "hard.png")
    Path("sub").mkdir()
    result = run("explain", "alpha.png", option, spelling.format(Path.cwd()), "--force")
    assert result.exit_code == 2
    assert f"{option[2:]} must be another file than image; got" in result.stderr
    assert result.stderr.count("\n") == 1
    assert Path("alpha.png").read_bytes() == before


@posix
def test_a_photo_that_is_itself_a_link_is_never_written_onto(run, photo, unloaded):
    Path(photo).rename("alpha.png")
    Path("link.png").symlink_to("alpha.png")
    result = run("explain", "link.png", "--out", "alpha.png", "--force")
    assert "out must be another file than image" in result.stderr


def test_a_photo_is_not_written_onto_in_another_case(run, photo, unloaded):
    """Where the case of letters does not count it is the same file; elsewhere another name is as good."""
    Path(photo).rename("alpha.png")
    result = run("explain", "alpha.png", "--out", "Alpha.PNG", "--force")
    assert result.exit_code == 2
    assert "out must be another file than image; got 'Alpha.PNG'" in result.stderr


@pytest.mark.parametrize("option", ["--json", "--csv"])
@pytest.mark.parametrize("what", ["weights", "classes", "model"])
def test_weights_classes_and_descriptions_are_never_written_onto(run, photo, unloaded, option, what):
    name = {"weights": "w.safetensors", "classes": "names.txt", "model": "net.toml"}[what]
    Path(name).write_text('architecture = "resnet18"')
    for command in ("explain", *(["check"] if option == "--json" else [])):
        result = run(command, photo, f"--{what}", name, option, name, "--force")
        assert result.exit_code == 2
        assert f"{option[2:]} must be another file than {what}; got {name!r}" in result.stderr
    assert Path(name).read_text() == 'architecture = "resnet18"'


def test_weights_that_a_description_names_are_never_written_onto(run, photo, unloaded):
    Path("nets").mkdir()
    Path("nets/net.toml").write_text('architecture = "resnet18"\nweights = "w.pth"\n')
    Path("nets/w.pth").write_text("kept")
    result = run("explain", photo, "--model", "nets/net.toml", "--csv", "nets/w.pth", "--force")
    assert result.exit_code == 2
    assert "csv must be another file than weights; got 'nets/w.pth', which is read" in result.stderr
    assert Path("nets/w.pth").read_text() == "kept"


def test_a_default_name_never_meets_a_photo(run, photo, small_classifier, drawn):
    """A picture of an earlier run that is explained in its turn is not replaced by its own explanation."""
    small_classifier(outputs=1)
    Path(photo).rename("a_small_class_0.png")
    Path("a.png").write_bytes(Path("a_small_class_0.png").read_bytes())
    result = run("explain", "a_small_class_0.png", "a.png", "--out", ".", "--force")
    assert result.exit_code == 2
    assert "out must be another file than image; got 'a_small_class_0.png', which is read" in result.stderr
    assert [path.name for _, path in drawn] == ["a_small_class_0_small_class_0.png"]


def test_the_default_name_holds_photo_model_and_class(run, photo, small_classifier, drawn):
    classifier = small_classifier(outputs=3)
    assert run("explain", photo).exit_code == 0
    classifier.class_names = ("Great Dane, dog", "crane", "crane")
    classifier.name = "timm:net/a.b"
    for options in (
        ("--target", "0"),
        ("--target", "1", "--against", "rest"),
        ("--target", "1", "--against", "odds"),
        ("--target", "2", "--against", "0"),
    ):
        assert run("explain", photo, *options).exit_code == 0
    names = [path.name for _, path in drawn]
    assert names[0].startswith("photo_small_class_")
    assert names[1:] == [
        "photo_a.b_Great_Dane_dog.png",
        "photo_a.b_crane_1_against_rest.png",
        "photo_a.b_crane_1_against_odds.png",
        "photo_a.b_crane_2_against_Great_Dane_dog.png",
    ]
    Path("pictures").mkdir()
    assert run("explain", photo, "--target", "0", "--out", "pictures").exit_code == 0
    assert drawn[-1][1] == Path("pictures/photo_a.b_Great_Dane_dog.png")


@pytest.mark.parametrize(
    "text", ["../../etc", "a/b\\c", "a:b*?", "", "...", "con\n", "ü" * 200, "日本" * 100]
)
def test_file_names_are_safe(text):
    name = picture_name(as_file_name(text), text, class_file_name(0, [text]), as_file_name(text))
    assert not set(name) & set('/\\:*?"<>|\n\0')
    assert not name.startswith(".")
    assert len(name.encode()) < 255


def test_what_is_not_there_is_no_file_that_is_read():
    read = ReadFiles([("image", None), ("weights", Path("none.pt"))])
    read.check("out", Path("other.png"))
    with pytest.raises(ValueError, match=r"json must be another file than weights; got 'none.pt'"):
        read.check("json", Path("none.pt"))


@posix
@pytest.mark.parametrize(("mask", "wanted"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_users_umask(run, photo, small_classifier, mask, wanted):
    """The picture, the numbers, the table, and what check writes."""
    small_classifier()
    old = os.umask(mask)
    try:
        assert run("explain", photo, "--out", "p.png", "--json", "n.json", "--csv", "t.csv").exit_code == 0
        assert run("check", photo, "--json", "c.json").exit_code == 0
        assert run("kernels", "--bank", "sobel", "--out", "k.png").exit_code == 0
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path().iterdir() if path.name != photo}
    assert modes == dict.fromkeys(("p.png", "n.json", "t.csv", "c.json", "k.png"), wanted)


def test_a_picture_that_is_stopped_leaves_no_half_file(run, photo, small_classifier, monkeypatch):
    """Nor anything else; and an old one is as it was."""
    small_classifier()

    def stopped(self, path):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", stopped)
    Path("p.png").write_text("old")
    result = run("explain", photo, "--out", "p.png", "--json", "n.json", "--force")
    assert result.exit_code == 130
    assert sorted(path.name for path in Path().iterdir()) == ["p.png", photo]
    assert Path("p.png").read_text() == "old"


@posix
def test_numbers_may_go_to_a_device(run, photo, small_classifier):
    small_classifier()
    assert (
        run("explain", photo, "--json", "/dev/null", "--csv", "t.csv", "--out", "p.svg", "--force").exit_code
        == 0
    )
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_check_writes_its_report_by_name(run, photo, small_classifier):
    """The operations with what they receive and hand on; of a network that is not supported, why, with exit code 1."""
    import edgefilter as ef

    classifier = small_classifier()
    result = run("check", photo, "--json", "c.json", "--bank", "frei_chen", "--device", "cpu")
    assert result.exit_code == 0, result.output
    found = json.loads(Path("c.json").read_text(encoding="utf-8"))
    inputs = classifier.preprocess(classifier.read(photo))
    report = ef.check(classifier.model, inputs, bank=ef.get_bank("frei_chen"), composite="epsilon_plus")
    assert {key: found[key] for key in report.to_dict()} == report.to_dict()
    assert found["operations"][0]["rule"] == report.operations[0].rule
    assert found["conserved_share"] == pytest.approx(1, abs=1e-5)
    assert (found["about"]["bank"], found["about"]["composite"]) == ("frei_chen", "epsilon_plus")
    assert result.stdout.splitlines()[-1] == "Numbers: c.json"
    assert "which exists. Pass --force" in run("check", photo, "--json", "c.json").stderr
    assert run("check", photo, "--json", "c.json", "--force", "--quiet").output == ""
    assert json.loads(run("check", photo, "--json", "-").stdout)["supported"] is True
    assert "spans 2 of the 9 dimensions" in run("check", photo, "--bank", "sobel").stderr
    assert "device must be one" in run("check", photo, "--device", "gpu").stderr


def test_check_of_a_network_that_is_not_supported(run, photo, small_classifier):
    import torch

    class Odd(torch.nn.Module):
        def forward(self, inputs):
            return torch.special.i0(inputs)

    small_classifier(Odd())
    result = run("check", photo, "--json", "-")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["supported"] is False
    assert "i0" in found["unsupported"]
    assert found["conserved_share"] is None
    assert result.stderr.startswith("Error: Sequential is not supported: ")


@pytest.mark.parametrize("command", ["", "explain", "check", "compare", "profile", "kernels", "models"])
def test_h_is_help(run, command):
    short, long = (run(*filter(None, [command]), option) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.stdout == long.stdout
    assert "Usage" in short.stdout
