"""Which network a command explains: by options, by a description, by its weights; and what is assumed is said."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

import edgefilter as ef
from edgefilter.classifiers.classifier import Classifier
from edgefilter.cli.colors import color_groups
from edgefilter.models.preprocessing import Preprocessing
from edgefilter.photos import read_photo

FRUITS = ("apple", "kiwi", "lemon")
MEAN, STD = (0.6, 0.5, 0.4), (0.3, 0.25, 0.2)
NUMBERS = ("--size", 64, "--mean", "0.6,0.5,0.4", "--std", "0.3,0.25,0.2")
NET = """
from torch import nn

def build(channels={channels}, num_classes=2):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes))
"""


@pytest.fixture(scope="module")
def resnet():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return torchvision.models.resnet18(num_classes=3).eval()


@pytest.fixture
def fruits(photo, resnet):
    """Weights and class names in the current folder, without a word about photos."""
    save_file(resnet.state_dict(), "w.safetensors")
    Path("names.txt").write_text("\n".join(FRUITS))
    return "w.safetensors"


def own_network(channels, seed=0):
    """Write a small network of one's own to net.py and net.pth, and return it."""
    Path("net.py").write_text(NET.format(channels=channels))
    scope = {}
    exec(NET.format(channels=channels), scope)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = scope["build"]().eval()
    torch.save(network.state_dict(), "net.pth")
    return network


def shown(run, *arguments):
    result = run(*arguments, "--json", "-")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def by_options(fruits):
    return ("--model", "resnet18", "--weights", fruits, "--classes", "names.txt", *NUMBERS)


def by_description(fruits):
    Path("model.toml").write_text(
        f'architecture = "torchvision:resnet18"\nweights = "{fruits}"\nclass_names = ["apple", "kiwi", "lemon"]\n'
        f"size = 64\nmean = {list(MEAN)}\nstd = {list(STD)}\n"
    )
    return ("--model", "model.toml")


def by_metadata(fruits):
    from safetensors.torch import load_file

    said = {"architecture": "resnet18", "class_names": json.dumps(FRUITS), "size": "64"}
    said |= {"mean": json.dumps(MEAN), "std": json.dumps(STD)}
    save_file(load_file(fruits), "said.safetensors", metadata=said)
    return ("--weights", "said.safetensors")


@pytest.mark.parametrize("way", [by_options, by_description, by_metadata])
def test_explain_is_the_same_however_the_network_is_described(run, photo, fruits, resnet, way):
    """And the same as in Python: classes by name, scores, and no assumption."""
    found = shown(run, "explain", photo, *way(fruits), "--calibrate", "color", "--target", "kiwi")
    classifier = Classifier(resnet, FRUITS, Preprocessing(64, 3, MEAN, STD))
    attribution = ef.EdgeFilterAttribution(resnet, calibrate="color", **classifier.color_options())
    want = attribution.explain(classifier.preprocess(read_photo(photo)), 1)
    assert list(found["color"]) == ["red", "green", "blue"]
    np.testing.assert_allclose(list(found["color"].values()), want.color[0].numpy(), rtol=1e-5)
    assert found["explained"]["name"] == "kiwi"
    assert {one["name"] for one in found["predictions"]} == set(FRUITS)
    assert found["about"]["preprocessing_assumed"] == "no"
    assert "64 x 64 in the middle, mean 0.6, 0.5, 0.4, std 0.3, 0.25, 0.2" in found["about"]["preprocessing"]
    assert "(sha256 " in found["about"]["weights"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "photo.jpg", "--out", "a.png", "--calibrate", "none"),
        ("explain", "photo.jpg", "--json", "-", "--calibrate", "none"),
        ("check", "photo.jpg"),
        ("compare", "photo.jpg", "--methods", "saliency", "--metrics", "sparseness", "--quiet"),
        ("profile", "sorted", "--permutations", 0),
    ],
)
def test_what_is_assumed_is_one_line_on_stderr(run, photo, arguments):
    """Of every command, and in the numbers; with the options there is nothing to say."""
    Path("sorted/a").mkdir(parents=True)
    Image.open(photo).save("sorted/a/1.jpg")
    own_network(3)
    network = ("--model", "net.py:build", "--weights", "net.pth")
    result = run(*arguments, *network, "--size", 64)
    assert result.exit_code == 0, result.output
    assert (
        result.stderr.count(
            "Warning: nothing says how photos are preprocessed for 'net.pth': mean and std are assumed"
        )
        == 1
    )
    assert "Pass mean= (--mean), std= (--std), or say so in 'net.toml' beside it." in result.stderr
    if "--json" in arguments:
        assert json.loads(result.stdout)["about"]["preprocessing_assumed"] == "yes"
    force = ("--overwrite",) if arguments[0] == "profile" else () if arguments[0] == "check" else ("--force",)
    result = run(*arguments, *network, *NUMBERS, *force)
    assert result.exit_code == 0, result.output
    assert "Warning" not in result.stderr


def test_a_profile_keeps_where_its_network_comes_from(run, photo, fruits):
    Path("sorted/kiwi").mkdir(parents=True)
    Image.open(photo).save("sorted/kiwi/1.jpg")
    assert run("profile", "sorted", *by_options(fruits), "--permutations", 0, "--quiet").exit_code == 0
    assert "64 x 64" in Path("profile/profile.json").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "big"), "size must be a number of pixels, or height and width; got 'big'. Pass for example 64 or 64x96."),
        (("--size", "0"), "size must be a number of pixels"),
        (("--resize", "3,4,5"), "resize must be a number of pixels"),
        (("--colors", "warm=red;warm=green,blue"), "colors must be groups of different names; got 'warm' twice"),
        (("--mean", "nan"), "mean must be a number, or a list with one for each channel; got [nan]"),
        (("--mean", "a,b"), "mean must be a number, or one for each channel; got 'a,b'"),
        (("--std", "0"), "std must be above 0"),
        (("--mean", "1,2"), "model 'resnet18' must run on inputs of shape (1, 2, 64, 64)"),
        (("--channels", "red,red,blue"), "channels must be a list of different names; got ['red', 'red', 'blue']"),
        (("--classes", "none.txt"), "class_names must be an existing file; got 'none.txt'"),
        (("--model", "none.toml"), "model must be an existing description; got 'none.toml'"),
        (("--model", "none.py:build"), "architecture must name an existing file of Python; got 'none.py'"),
        (("--model", "torchvision:resnet-18"), "unknown model 'torchvision:resnet-18'; did you mean 'resnet18'?"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_one_line(run, photo, fruits, options, message):
    given = {"--model": "resnet18", "--weights": fruits, "--size": "64", "--mean": "0.5", "--std": "0.5"}
    given[options[0]] = options[1]
    result = run("explain", photo, *(part for pair in given.items() for part in pair))
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith(f"Error: {message}"), result.stderr
    assert result.stderr.count("\n") == 1


def test_one_class_file_too_short_is_named(run, photo, fruits):
    Path("names.txt").write_text("apple\nkiwi\n")
    result = run("explain", photo, *by_options(fruits))
    assert (
        "class_names must be 3, one for each output of resnet18; got 2, from 'apple' to 'kiwi'"
        in result.stderr
    )


def test_nothing_is_written_onto_a_description(run, photo, fruits):
    by_description(fruits)
    result = run("explain", photo, "--model", "model.toml", "--json", "model.toml", "--force")
    assert result.exit_code == 2
    assert Path("model.toml").read_text().startswith("architecture")


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("read", ["weights.json", "names.json", "net.py"])
def test_nothing_is_written_onto_what_a_description_names(run, photo, read, beside):
    """Weights and class names in it, code, and the description that is found beside weights."""
    Path("net.py").write_text("kept")
    Path("names.json").write_text("kept")
    Path("weights.pt").write_text("kept")
    Path("weights.json").write_text(
        '{"architecture": "net.py:build", "weights": "weights.pt", "class_names": "names.json"}'
    )
    before = Path(read).read_text()
    network = (
        ["--model", "net.py:build", "--weights", "weights.pt"] if beside else ["--model", "weights.json"]
    )
    for command in ("explain", "check"):
        result = run(command, photo, *network, "--json", read, "--force")
        assert result.exit_code == 2
        assert "json must be another file than" in result.stderr
    assert Path(read).read_text() == before


def test_numbers_beside_weights_are_no_description(run, photo):
    """They have the colors, which a description may have as well."""
    own_network(3)
    Path("net.json").write_text('{"image": "photo.jpg", "colors": ["red", "green", "blue"], "versions": {}}')
    assert run("check", photo, "--model", "net.py:build", "--weights", "net.pth").exit_code == 0


@pytest.mark.parametrize("name", ["scene.npy", "scene.tif"])
def test_five_bands_have_their_names_and_groups(run, photo, name):
    """The network's own code and the names come from the line; the one band that matters is first."""
    network = own_network(5)
    with torch.no_grad():
        network[0].weight[:, [0, 1, 2, 4]] = 0  # only the fourth band is read
    torch.save(network.state_dict(), "net.pth")
    scene = np.random.default_rng(0).integers(0, 256, (20, 24, 5), dtype=np.uint8)
    if name.endswith("npy"):
        np.save(name, np.moveaxis(scene, -1, 0))
    else:
        pytest.importorskip("tifffile").imwrite(name, scene, photometric="minisblack", planarconfig="contig")
    line = (
        "explain",
        name,
        "--model",
        "net.py:build",
        "--weights",
        "net.pth",
        "--size",
        16,
        "--mean",
        0.5,
        "--std",
        0.25,
    )
    line += ("--channels", "dapi,fitc,tritc,cy5,af750", "--force")
    found = shown(run, *line)
    assert list(found["color"]) == ["dapi", "fitc", "tritc", "cy5", "af750"]
    assert abs(found["color"]["cy5"]) > 0
    assert all(found["color"][other] == 0 for other in ("dapi", "fitc", "tritc", "af750"))
    grouped = shown(run, *line, "--colors", "far=cy5,af750;near=dapi,fitc,tritc")
    assert list(grouped["color"]) == ["far", "near"]
    assert grouped["color"]["far"] == pytest.approx(found["color"]["cy5"], rel=1e-4)
    result = run(*line, "--out", "a.png")
    assert result.exit_code == 0, result.output


def test_groups_come_from_the_description(run, photo):
    own_network(5)
    np.save("scene.npy", np.random.default_rng(0).random((20, 24, 5)))
    Path("net.toml").write_text(
        'architecture = "net.py:build"\nsize = 16\nmean = 0.5\nstd = 0.25\nchannels = ["B02", "B03", "B04", "B05", "B06"]\n'
        'class_names = ["forest", "water"]\n\n[colors]\n"visible" = ["B02", "B03", "B04"]\n"red edge" = ["B05", "B06"]\n'
    )
    found = shown(run, "explain", "scene.npy", "--model", "net.toml")
    assert list(found["color"]) == ["visible", "red edge"]
    assert {one["name"] for one in found["predictions"]} == {"forest", "water"}


def test_a_network_that_takes_some_bands_of_a_file_gets_those(run, photo):
    own_network(2)
    scene = np.zeros((20, 24, 4), np.float32)
    scene[..., 3] = 1
    np.save("scene.npy", scene)
    said = {"architecture": "net.py:build", "weights": "net.pth", "size": 16, "mean": 0, "std": 1}
    said |= {"channels": ["nir", "green"], "bands": ["blue", "green", "red", "nir"]}
    Path("m.json").write_text(json.dumps(said))
    from edgefilter.classifiers import load_classifier

    classifier = load_classifier("m.json")
    inputs = classifier.preprocess(classifier.read("scene.npy"))
    assert inputs[0, :, 0, 0].tolist() == pytest.approx([1, 0])
    assert list(shown(run, "explain", "scene.npy", "--model", "m.json")["color"]) == ["nir", "green"]


def test_a_photo_for_a_network_of_many_bands_is_refused_in_words(run, photo):
    own_network(5)
    line = ("explain", photo, "--model", "net.py:build", "--size", 16, "--mean", 0.5, "--std", 0.25)
    result = run(*line)
    assert result.exit_code == 2
    assert "image must have 5 bands; got 'photo.jpg' of shape (90, 120, 3)" in result.stderr


def test_bands_of_12_bits_are_named(run, photo):
    own_network(5)
    np.save("scene.npy", np.full((20, 24, 5), 4000, np.uint16))
    line = (
        "explain",
        "scene.npy",
        "--model",
        "net.py:build",
        "--weights",
        "net.pth",
        "--size",
        16,
        "--mean",
        0.5,
        "--std",
        0.25,
        "--json",
        "-",
    )
    assert "read as values of 12 bits" in run(*line).stderr
    assert "Warning" not in run(*line, "--bits", 12).stderr
    assert "such as white=10000 (--white 10000)" in run(*line).stderr
    bright, whole = (json.loads(run(*line, *more).stdout) for more in (("--white", 4095), ("--bits", 12)))
    assert bright["color"] == pytest.approx(whole["color"])
    assert json.loads(run(*line, "--white", 10000).stdout)["color"] != whole["color"]
    assert "white must be a number above 0" in run(*line, "--white", 0).stderr


def test_a_basis_has_no_chroma_in_a_gray_photo(run, photo):
    """Whatever the normalisation of each channel."""
    own_network(3)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)).save("gray.png")
    line = (
        "--model",
        "net.py:build",
        "--weights",
        "net.pth",
        "--size",
        16,
        *NUMBERS[2:],
        "--basis",
        "opponent",
    )
    found = shown(run, "explain", "gray.png", *line)["color"]
    assert list(found) == ["luminance", "red-green", "blue-yellow"]
    assert max(abs(found["red-green"]), abs(found["blue-yellow"])) < 1e-5
    assert abs(found["luminance"]) > 0
    result = run("explain", photo, *line[:-1], "hsv")
    assert "unknown basis 'hsv'" in result.stderr


@pytest.mark.parametrize("command", ["explain", "compare", "profile", "check"])
def test_every_command_has_the_same_options_for_the_network(run, command):
    text = run(command, "--help").stdout
    for option in (
        "--model",
        "--weights",
        "--classes",
        "--size",
        "--resize",
        "--mean",
        "--std",
        "--channels",
        "--bits",
        "--white",
    ):
        assert option in text
    assert "net.py:build" in text


def test_names_of_bases_in_help_are_those_of_the_library():
    from edgefilter.banks.bases import BASES
    from edgefilter.cli import options

    assert tuple(BASES) == options.BASES


def test_the_band_that_decides_is_first_in_a_profile_of_thirteen(run, photo):
    """Of scenes in NumPy files: the class is in one band, and shuffling that band alone costs the network its accuracy."""
    bands = [f"B{place:02}" for place in range(1, 14)]
    network = own_network(13)
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[0, 5], network[0].weight[1, 5] = 1, -1
        network[0].bias.copy_(torch.tensor([-4.5, 4.5, 0, 0]))  # bright, dark
        network[4].weight.zero_()
        network[4].weight[0, :4], network[4].weight[1, 4:8] = 1, 1
        network[4].bias.zero_()
    torch.save(network.state_dict(), "net.pth")
    random = np.random.default_rng(0)
    for place, name in enumerate(("bright", "dark")):
        Path("scenes", name).mkdir(parents=True)
        for index in range(5):
            scene = random.integers(0, 256, (20, 24, 13), dtype=np.uint8)
            scene[..., 5] = random.integers(*((0, 100) if place else (155, 256)), (20, 24))
            np.save(f"scenes/{name}/{index}.npy", scene)
    Path("names.txt").write_text("bright\ndark\n")
    line = (
        "profile",
        "scenes",
        "--model",
        "net.py:build",
        "--weights",
        "net.pth",
        "--classes",
        "names.txt",
        "--size",
        16,
    )
    result = run(
        *line, "--mean", 0, "--std", 1, "--channels", ",".join(bands), "--batch-size", 5, "--permutations", 2
    )
    assert result.exit_code == 0, result.output
    found = json.loads(Path("profile/profile.json").read_text())
    assert found["accuracy"] == 1
    assert found["colors"] == bands
    lost = {
        part["name"]: part["accuracy"] for part in found["permutation"]["parts"] if part["score"] == "color"
    }
    assert lost.pop("B06") > 0.2
    assert set(lost.values()) == {0}
    profile = ef.ClassProfile.load("profile/profile.safetensors")
    for place in (0, 1):
        (top,) = profile.top(place, 1, "color", by="size")
        assert (top.name, round(abs(top.mean), 2)) == ("B06", 1)


@pytest.mark.parametrize(
    "text", ["visible = B02; visible = B03", "B02; B03", "visible = B02; B03", "= B02", "", ";"]
)
def test_a_line_that_holds_no_groups_is_refused(text):
    with pytest.raises(ValueError, match=r"colors must be groups of (channels|different names); got"):
        color_groups(text)


def test_a_line_of_groups_is_what_it_says():
    groups = {"visible": ["B02", "B03"], "near infrared": ["B08"]}
    line = "; ".join(f"{name} = {', '.join(some)}" for name, some in groups.items())
    assert color_groups(line) == groups
