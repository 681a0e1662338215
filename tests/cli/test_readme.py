"""README: its commands run, its pictures are what they draw today, and its links lead somewhere."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner

from edgefilter import cli
from edgefilter.classifiers import loading

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

BLOCKS = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]
COMMANDS = [tuple(shlex.split(line, comments=True)) for line in LINES if line.startswith("edgefilter ")]
PICTURES = {Path(one[-1]): one for one in COMMANDS if one[-2] == "--out" and one[-1].startswith("docs")}
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")

SMALL = (128, 64)  # a comparison of pixels that fonts and matplotlib's versions do not decide
# Of 255, mean over the picture: other fonts make 1 to 4, red and blue exchanged 7, another layout 12 to 37.
APART = 6.0


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with the files of the clone that the commands name."""
    (tmp_path / "docs/_static").mkdir(parents=True)
    shutil.copy(ROOT / "docs/_static/drawn_fruit.png", tmp_path / "docs/_static")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def yours(clone, monkeypatch):
    """What the commands take for granted: photos, and a network of your own, which stands in for one to download as well."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.get_model("squeezenet1_1", num_classes=2)
    torch.save(network.state_dict(), "mine.pt")
    Path("mine.toml").write_text(
        'architecture = "torchvision:squeezenet1_1"\nweights = "mine.pt"\nclass_names = ["ripe", "unripe"]\n'
        "size = 64\nmean = 0.5\nstd = 0.25\n"
    )
    random = np.random.default_rng(0)
    Path("photos").mkdir()
    for path in ("my.jpg", "photos/a.jpg", "photos/b.png"):
        Image.fromarray(random.integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(path)
    load = loading.load_classifier

    def small(name=None, *arguments, **options):
        return load("mine.toml" if name in ("resnet50", loading.DEMO) else name, *arguments, **options)

    monkeypatch.setattr(loading, "load_classifier", small)
    return clone


def run(command):
    """Run a command of README and return what it printed."""
    found = CliRunner().invoke(cli.app, list(command[1:]))
    assert found.exit_code == 0, found.output
    return found.output


def small(picture):
    """Return a picture on white, a few pixels large, values from 0 to 255."""
    with Image.open(picture) as image:
        layer = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return np.asarray(flat.resize(SMALL, Image.Resampling.BOX), dtype=float)


def said(picture):
    """Return the words in a picture's file without their numbers, and the numbers."""
    with Image.open(picture) as image:
        text = f"{image.info.get('Title', '')}\n{image.info.get('Description', '')}"
    return split(text)


def split(text):
    """Return a text without its numbers, and the numbers."""
    plain = text.replace("\N{MINUS SIGN}", "-")
    return NUMBER.sub("#", plain), [float(number) for number in NUMBER.findall(plain)]


def stale(found, committed):
    """Return whether a committed picture is another one than the command draws now."""
    (words, numbers), (other_words, other_numbers) = said(found), said(committed)
    if words != other_words or not np.allclose(numbers, other_numbers, rtol=0, atol=0.02):
        return True
    return bool(np.abs(small(found) - small(committed)).mean() > APART)


@pytest.mark.parametrize("path", PICTURES, ids=str)
def test_a_picture_is_what_its_command_draws_now(path, clone):
    """Run the command that stands beside the picture: if this fails, run it in the clone and commit what it draws."""
    run(PICTURES[path])
    assert not stale(clone / path, ROOT / path), f"run in the clone: {shlex.join(PICTURES[path])}"


def test_every_picture_has_its_command():
    assert {Path(path) for path in re.findall(r"!\[.*?\]\((.*?)\)", README)} == set(PICTURES)


@pytest.mark.parametrize("path", PICTURES, ids=str)
def test_the_command_of_a_picture_runs_in_a_clone_that_has_the_picture(path):
    """A file that exists is replaced only if one says so."""
    assert "--force" in PICTURES[path]


@pytest.mark.parametrize(
    "change", ["--basis=luma", "--target=Tomato 2", "--composite=epsilon_alpha2_beta1", "--top=4"]
)
def test_a_picture_of_other_numbers_or_another_layout_is_stale(change, clone):
    (path,) = (path for path in PICTURES if "fruits" in path.name)
    option, value = change.split("=")
    run([*PICTURES[path], option, value])
    assert stale(clone / path, ROOT / path)


def test_a_picture_in_other_colors_is_stale(tmp_path):
    (path,) = (path for path in PICTURES if "fruits" in path.name)
    with Image.open(ROOT / path) as image:
        words = PngInfo()
        for name in ("Title", "Description"):
            words.add_text(name, image.info[name])
        red, green, blue = image.convert("RGB").split()
        Image.merge("RGB", (blue, green, red)).save(tmp_path / "swapped.png", pnginfo=words)
    assert stale(tmp_path / "swapped.png", ROOT / path)
    assert not stale(ROOT / path, ROOT / path)


def test_what_readme_says_a_command_prints_is_printed(clone):
    printed = [(LINES[place - 1], line[2:]) for place, line in enumerate(LINES) if line.startswith("# ")]
    assert printed
    for command, line in printed:
        words, numbers = split(line)
        found = [split(one) for one in run(shlex.split(command)).splitlines()]
        assert any(one == words and np.allclose(others, numbers, rtol=0, atol=0.02) for one, others in found)


@pytest.mark.parametrize("command", [one for one in COMMANDS if one not in PICTURES.values()], ids=shlex.join)
def test_a_command_runs(command, yours):
    before = set(yours.rglob("*"))
    run(command)
    written = {path.relative_to(yours).as_posix() for path in set(yours.rglob("*")) - before}
    assert {"scores.csv", "pictures", "report.html"} & set(command) <= written
    assert any(path.endswith((".png", ".html")) for path in written)


def test_what_pip_installs_is_there():
    tomllib = pytest.importorskip("tomllib")  # in Python from 3.11 on
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.findall(r"\.\[(\w+)\]", README)
    assert extras
    assert set(extras) <= set(project["optional-dependencies"])
    assert "tox && tox" in README
    assert (ROOT / "tox.ini").is_file()


def test_links_lead_somewhere():
    """GitHub follows links to files; a page in code font is none."""
    links = re.findall(r"(?<!!)\[.*?\]\((.*?)\)", README)
    files = [link.partition("#")[0] for link in links if "://" not in link]
    assert len(files) > 10
    assert not [file for file in files if not (ROOT / file).exists()]
    assert not re.findall(r"(?<!\[)`(?:docs|tests|tutorials)/[\w/]+\.\w+`", README)
