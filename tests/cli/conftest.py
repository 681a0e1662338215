"""What all tests of the command line share: a runner, small networks and photos."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms.functional import to_tensor
from typer.testing import CliRunner

from edgefilter import cli
from edgefilter.classifiers.classifier import Classifier

MODEL = "squeezenet1_1"


@pytest.fixture(autouse=True)
def ctrl_c():
    """Let Ctrl-C end this process and those that it starts, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network's random weights, of five classes, which say that they take photos as ImageNet's do."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.get_model(MODEL, num_classes=5)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    metadata = {
        "size": "224",
        "resize": "256",
        "mean": "[0.485, 0.456, 0.406]",
        "std": "[0.229, 0.224, 0.225]",
    }
    save_file(network.state_dict(), path, metadata=metadata)
    return str(path)


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """A photo in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(values).save("photo.jpg")
    return "photo.jpg"


class Standardized(torch.nn.Conv2d):
    """A convolution that standardizes its weights in each call, and cannot be replaced by a bank and a mixing."""

    def forward(self, inputs):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(inputs, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


@pytest.fixture
def small_classifier(monkeypatch):
    """Have the commands load a small network of chosen last layers, on photos of 12 pixels."""

    def offer(*end, outputs=2):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            layers = [
                Standardized(3, 4, 3),
                torch.nn.ReLU(),
                torch.nn.Flatten(),
                torch.nn.Linear(400, outputs),
            ]
        network = torch.nn.Sequential(*layers, *end).eval()

        def preprocess(picture):
            return to_tensor(picture.resize((12, 12)))[None]

        names = tuple(f"class {place}" for place in range(outputs))
        classifier = Classifier(network, names, preprocess, name="small")

        def load(*_, bits=None, **__):
            classifier.bits = bits
            return classifier

        monkeypatch.setattr("edgefilter.classifiers.loading.load_classifier", load)
        return classifier

    return offer


@pytest.fixture
def run(monkeypatch):
    """Call the command line; tables are as wide as they need to be."""
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(cli.app, list(map(str, arguments)))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Four photos in two folders, two of them of one name, and a file that is none; the current folder holds no more."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(2)
    for name in ("a/x.png", "a/y.jpg", "b/x.png", "b/z.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos/a/notes.txt").write_text("no photo, and not taken for one")
    return "photos"


@pytest.fixture
def drawn(monkeypatch):
    """Have pictures drawn as small files, and return their titles and places."""
    found = []

    def draw(answer, path, top, smooth):
        from edgefilter.cli.tables import title_of

        found.append((title_of(answer), path))
        path.write_bytes(b"picture")

    monkeypatch.setattr("edgefilter.cli.running._draw", draw)
    return found
