"""Networks on fixed filters: explained by the laws, trained by the scripts, shipped with what is needed to use them."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.classifiers.loading import load_classifier
from edgefilter.models.networks import SplitReLU, edge_cnn, edge_resnet18, edge_resnet50
from edgefilter.models.preprocessing import Preprocessing

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
MNIST, FRUITS, PHOTOS = (DATA / name for name in ("mnist.npz", "fruits24_jpg.zip", "imagenet200.zip"))
TRAINING = ROOT / "training"
NETWORKS = {
    "cnn": lambda: edge_cnn(5, 3),
    "cnn, gray, 41 kernels": lambda: edge_cnn(5, 1, "general"),
    "cnn, plain ReLU": lambda: edge_cnn(5, 3, "sobel", signs="relu"),
    "cnn, mixing": lambda: edge_cnn(5, 3, mixing=True, widths=(8, 8, 8)),
    "resnet18": lambda: edge_resnet18(5),
    "resnet18, mixing": lambda: edge_resnet18(5, mixing=True),
    "resnet50": lambda: edge_resnet50(5, bank=ef.FilterBank(["sobel_x", "laplacian_4"])),
}


def settled(name, dtype=torch.float64):
    """Return a network whose BatchNorms have seen images, and such images."""
    torch.manual_seed(20207)
    network = NETWORKS[name]().to(dtype)
    channels = network.stem(torch.zeros(1, 1, 32, 32, dtype=dtype)).shape[0] if "gray" in name else 3
    images = torch.rand(3, channels, 32, 32, dtype=dtype)
    for _ in range(10):
        network(images)
    return network.eval(), images


@pytest.fixture(scope="module", params=NETWORKS)
def explained(request):
    """A network, images and their explanation."""
    network, images = settled(request.param)
    return network, images, ef.EdgeFilterAttribution(network).explain(images, target=[0, 3, 4])


@pytest.fixture
def script(monkeypatch):
    """Import a training script by name."""
    monkeypatch.syspath_prepend(TRAINING)
    before = set(sys.modules)

    def load(name):
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == TRAINING:
            del sys.modules[name]


@pytest.fixture
def tiny(tmp_path):
    """A file like MNIST's with few images of noise."""
    random = np.random.default_rng(0)
    sizes = {"x_train": (60, 28, 28), "x_test": (21, 28, 28), "y_train": (60,), "y_test": (21,)}
    arrays = {
        key: random.integers(0, 255 if key.startswith("x") else 10, size).astype(np.uint8)
        for key, size in sizes.items()
    }
    np.savez(tmp_path / "mnist.npz", **arrays)
    return tmp_path / "mnist.npz"


# --- the laws -----------------------------------------------------------------------------------------------


def rounding(scores):
    """Allow for what sums of shares of both signs lose: they outweigh the logit in a deep untrained network."""
    return 1e-12 * max(1.0, float(scores.response.abs().sum((1, 2, 3, 4)).amax()))


def test_base_and_scores_add_up_to_the_logit(explained):
    """Colors, filters, pairs, responses and pixels of every network."""
    network, images, scores = explained
    logits = network(images)[torch.arange(3), [0, 3, 4]]
    for name in ("color", "edge", "color_edge", "response", "pixel"):
        total = getattr(scores, name).flatten(1).sum(1)
        assert_close(
            scores.base + total, logits.detach(), rtol=0, atol=rounding(scores), msg=f"{name} does not add up"
        )


def test_a_batch_gives_the_same_as_its_samples(explained):
    network, images, scores = explained
    attribution = ef.EdgeFilterAttribution(network)
    for i, target in enumerate((0, 3, 4)):
        alone = attribution.explain(images[i : i + 1], target=target)
        assert_close(alone.color_edge[0], scores.color_edge[i], rtol=0, atol=rounding(scores))
        assert_close(alone.pixel[0], scores.pixel[i], rtol=0, atol=rounding(scores))


def test_scores_scale_with_the_output(explained):
    network, images, scores = explained
    louder = copy.deepcopy(network)
    with torch.no_grad():
        louder.fc.weight.mul_(3)
        louder.fc.bias.mul_(3)
    triple = ef.EdgeFilterAttribution(louder).explain(images, target=[0, 3, 4])
    assert_close(triple.color_edge, 3 * scores.color_edge, rtol=0, atol=3 * rounding(scores))


def test_explaining_leaves_the_network_as_it_is(explained):
    network, images, _ = explained
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ef.EdgeFilterAttribution(network).explain(images)
    for name, value in network.state_dict().items():
        assert_close(value, before[name], rtol=0, atol=0)
    assert all(p.grad is None for p in network.parameters())
    assert not network.training


def test_split_gives_two_modules_that_make_the_network(explained):
    network, images, scores = explained
    front, tail = ef.split(network)
    assert front(images).shape == scores.response.flatten(1, 2).shape
    assert_close(tail(front(images)), network(images), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in NETWORKS if "mixing" in name])
def test_fold_gives_an_ordinary_network(name):
    """With mixing the first layer is a convolution; without it there is nothing to fold."""
    network, images = settled(name)
    folded = ef.fold_stem(network)
    assert isinstance(folded.stem.filters, nn.Conv2d)
    assert_close(folded(images), network(images), rtol=0, atol=1e-11)


def test_permuting_the_bank_permutes_the_scores():
    network, images = settled("cnn")
    names = list(ef.get_bank("edges").names)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))
    other = edge_cnn(5, 3, ef.FilterBank([names[i] for i in order])).double().eval()
    channels = torch.cat([c * len(names) + order for c in range(3)])
    both = torch.cat([channels, channels + 3 * len(names)])
    state = network.state_dict()
    for name in ("stem.norm.running_mean", "stem.norm.running_var"):
        state[name] = state[name][channels]
    state["stem.filters.conv.weight"] = state["stem.filters.conv.weight"][channels]
    state["body.0.weight"] = state["body.0.weight"][:, both]
    other.load_state_dict(state)
    want, got = (ef.EdgeFilterAttribution(model).explain(images, target=1) for model in (network, other))
    assert got.filters == tuple(names[i] for i in order)
    assert_close(got.color_edge, want.color_edge[:, :, order], rtol=0, atol=1e-11)


def test_a_filter_that_is_not_read_gets_no_score():
    network, images = settled("cnn")
    with torch.no_grad():
        for sign in (0, 3 * 18):
            network.body[0].weight[:, sign + 18 + 2] = 0
    scores = ef.EdgeFilterAttribution(network).explain(images, target=1)
    assert_close(scores.color_edge[:, 1, 2], torch.zeros(3).double(), rtol=0, atol=0)
    assert scores.color_edge[:, 0, 2].abs().min() > 0


def test_the_stem_shares_relevance_evenly_over_flat_ground():
    """The maximum of equal pixels would be that of an arbitrary one, and show as a pattern."""
    network, _ = settled("cnn")
    scores = ef.EdgeFilterAttribution(network).explain(torch.full((1, 3, 32, 32), 0.3).double(), target=1)
    blocks = scores.edge_map("identity_3x3").reshape(16, 2, 16, 2)
    assert blocks.abs().max() > 0
    assert_close(blocks, blocks[:, :1, :, :1].expand_as(blocks), rtol=0, atol=1e-15)


# --- the networks -------------------------------------------------------------------------------------------


def test_split_relu_keeps_the_sign_and_the_sum():
    values = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    given = values.clone()
    positive, negative = SplitReLU()(values).chunk(2, 1)
    assert_close(positive - negative, values, rtol=0, atol=0)
    assert_close(values, given, rtol=0, atol=0)
    assert min(positive.min(), negative.min()) >= 0


def test_channels_of_the_first_layer_are_the_pairs_of_color_and_filter():
    """Channel c*K + k is color c by filter k, standardised; as many again for the negative parts."""
    network, images = settled("cnn")
    responses = ef.EdgeFilterBank2d("edges", 3, padding="same", padding_mode="replicate").double()(images)
    norm = network.stem.norm
    expected = (responses - norm.running_mean[:, None, None]) / (norm.running_var + norm.eps).sqrt()[
        :, None, None
    ]
    got = network.stem[:3](images)
    assert_close(got, torch.cat([expected.clamp(min=0), (-expected).clamp(min=0)], 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["cnn", "cnn, mixing", "resnet18"])
def test_training_leaves_the_kernels_alone(name):
    """A plain optimizer over all parameters changes everything but the bank."""
    network, images = settled(name, torch.float32)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.train().parameters(), 0.01, weight_decay=0.1)
    nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2])).backward()
    optimizer.step()
    kernels = [key for key in before if key.endswith(("filters.conv.weight", "filters.filters.conv.weight"))]
    assert len(kernels) == 1
    assert_close(network.state_dict()[kernels[0]], before[kernels[0]], rtol=0, atol=0)
    assert not torch.equal(network.state_dict()["fc.weight"], before["fc.weight"])


def test_without_mixing_nothing_before_the_second_layer_is_trained():
    """So that no gradient is computed there, which saves time."""
    network, images = settled("cnn", torch.float32)
    assert not network.train().stem(images).requires_grad
    assert edge_cnn(5, 3, mixing=True).stem(images).requires_grad


@pytest.mark.parametrize("name", [name for name in NETWORKS if "resnet" not in name])
def test_networks_are_copied_and_stored(name):
    network, images = settled(name)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert_close(other(images), network(images), rtol=0, atol=0)
    fresh = NETWORKS[name]().double().eval()
    fresh.load_state_dict(network.state_dict())
    assert_close(fresh(images), network(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("mixing", [False, True])
def test_weights_of_torchvision_fit_behind_the_stem(name, mixing):
    """All of them with mixing; all but those of the first block without."""
    replaced = ("conv1.", "bn1.") if mixing else ("conv1.", "bn1.", "layer1.0.")
    theirs = torchvision.models.get_model(name).state_dict()
    kept = {key: value for key, value in theirs.items() if not key.startswith(replaced)}
    found = getattr(ef.models, f"edge_{name}")(mixing=mixing).load_state_dict(kept, strict=False)
    assert not found.unexpected_keys
    assert all(key.startswith(("stem.", *replaced)) for key in found.missing_keys)


def test_resnet_shapes_follow_torchvision():
    """Stride 4 before the first block; the mixed stem has torchvision's 64 channels."""
    images = torch.zeros(2, 3, 64, 64)
    for mixing, channels in ((True, 64), (False, 108)):
        network = edge_resnet18(7, mixing=mixing)
        assert network.stem(images).shape == (2, channels, 16, 16)
        assert network(images).shape == (2, 7)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 3), {}, "num_classes must be an integer >= 1; got 0"),
        ((2.0, 3), {}, "num_classes must be an integer >= 1; got 2.0"),
        ((2, 0), {}, "in_channels must be an integer >= 1; got 0"),
        ((2, 3), {"widths": ()}, r"widths must name a layer or more; got \[\]"),
        ((2, 3), {"widths": (8, 0)}, "widths must be an integer >= 1; got 0"),
        ((2, 3), {"signs": "relus"}, "signs must be one of split, relu; got 'relus'; did you mean 'relu'"),
        ((2, 3, "edgs"), {}, "unknown bank 'edgs'; did you mean 'edges'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        edge_cnn(*arguments, **options)


# --- the shipped networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ef.models.names())
def test_a_shipped_network_is_ready_to_use(name):
    network = ef.models.load(name)
    assert not any(module.training for module in network.modules())
    assert len(network.class_names) == network.fc.out_features
    photo = Image.new("RGB", (120, 90), "white")
    inputs = network.preprocess(photo)
    assert network(inputs).shape == (1, len(network.class_names))
    network.stem.filters.check_kernels()
    assert ef.models.load(name) is not network


@pytest.mark.parametrize("name", ef.models.names())
def test_a_shipped_file_is_small_and_in_the_package(name):
    """Below 1 MB, beside the code, so that the wheel has it."""
    path = Path(ef.models.__file__).parent / "weights" / f"{name}.safetensors"
    assert path.stat().st_size < 1_000_000


def test_the_wheel_holds_the_weights(tmp_path):
    """Built by the build backend itself."""
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel")
    (path,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(path).namelist()
    for name in ef.models.names():
        assert f"edgefilter/models/weights/{name}.safetensors" in names
    assert not [name for name in names if name.endswith((".npz", ".jpg", ".zip"))]


def test_digits_and_fruits_are_shipped():
    assert ef.models.names() == ["digits", "fruits"]


def test_unknown_networks_are_refused_with_the_nearest():
    with pytest.raises(
        KeyError, match=r"unknown network 'digit'; did you mean 'digits'\? .*: digits, fruits\."
    ):
        ef.models.load("digit")


def test_files_of_other_networks_are_refused(tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"path must be a file of models.write; got .*load_state_dict"):
        ef.models.read(tmp_path / "w.safetensors")
    (tmp_path / "v.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"path must be a safetensors file; got .*v.safetensors"):
        ef.models.read(tmp_path / "v.safetensors")
    with pytest.raises(FileNotFoundError):
        ef.models.read(tmp_path / "none.safetensors")


@pytest.mark.parametrize("name", ef.models.names())
def test_shipped_networks_are_classifiers_like_the_others(name):
    classifier, network = load_classifier(name), ef.models.load(name)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8))
    inputs = classifier.preprocess(photo)
    assert_close(classifier.model(inputs), network(network.preprocess(photo)), rtol=0, atol=0)
    assert classifier.class_names == network.class_names
    picture = classifier.to_picture(inputs)
    assert picture.shape == (*inputs.shape[2:], 3)
    assert np.array_equal(picture[..., 0], (inputs[0, 0] * 255).round().numpy())


def test_own_weights_fit_a_shipped_network(tmp_path):
    """Of another training, and with another number of classes."""
    for classes in (10, 3):
        network = edge_cnn(classes, 1).eval()
        save_file(network.state_dict(), tmp_path / "w.safetensors")
        classifier = load_classifier("digits", tmp_path / "w.safetensors")
        inputs = classifier.preprocess(Image.new("RGB", (28, 28), "gray"))
        assert_close(classifier.model(inputs), network(inputs), rtol=0, atol=0)
        assert len(classifier.class_names) == classes
        assert classifier.class_names == classifier.model.class_names


def test_preprocessing_crops_the_middle_of_a_photo():
    """Short side to the size, then the square in the middle; gray where the network is."""
    photo = Image.new("RGB", (60, 30), "black")
    photo.paste((255, 0, 0), (15, 0, 45, 30))
    inputs = Preprocessing(30, 3, (0.5, 0.0, 0.0), (0.5, 1.0, 1.0))(photo)
    assert_close(inputs[0].mean((1, 2)), torch.tensor([1.0, 0.0, 0.0]), rtol=0, atol=0)
    gray = Preprocessing(20, 1, (0.0,), (1.0,), resized=30)(photo)
    assert_close(gray, torch.full((1, 1, 20, 20), 76 / 255), rtol=0, atol=1e-6)


@pytest.mark.skipif(not MNIST.exists(), reason="MNIST lies outside the repository")
def test_digits_have_the_accuracy_of_their_card():
    """All 10,000 test images."""
    network = ef.models.load("digits").to(memory_format=torch.channels_last)
    with np.load(MNIST) as file, torch.no_grad():
        images = torch.from_numpy(file["x_test"])[:, None].float() / 255
        right = sum(
            int((network(part).argmax(1).numpy() == truth).sum())
            for part, truth in zip(images.split(500), np.split(file["y_test"], 20), strict=True)
        )
        assert_close(network.preprocess(Image.fromarray(file["x_test"][0])), images[:1], rtol=0, atol=0)
    assert right / 10_000 == shipped_accuracy("mnist-edges-fixed-seed0") >= 0.995


@pytest.mark.skipif(not FRUITS.exists(), reason="Fruits-360 lies outside the repository")
def test_fruits_have_the_accuracy_of_their_card():
    """All 768 test photos, read as a user reads them."""
    network = ef.models.load("fruits").to(memory_format=torch.channels_last)
    with zipfile.ZipFile(FRUITS) as archive, torch.no_grad():
        names = [name for name in archive.namelist() if name.startswith("test/") and name.endswith(".jpg")]
        images = torch.cat([network.preprocess(Image.open(archive.open(name))) for name in names])
        found = torch.cat([network(part).argmax(1) for part in images.split(64)])
    truth = [network.class_names.index(name.split("/")[1]) for name in names]
    right = int((found == torch.tensor(truth)).sum())
    assert right / len(names) == shipped_accuracy("fruits24-edges-fixed-seed0") >= 0.995


def shipped_accuracy(name):
    """Return the accuracy that the training script wrote down."""
    return json.loads((TRAINING / "results" / f"{name}.json").read_text())["accuracy"]


# --- pretrained networks with exact stems -------------------------------------------------------------------


def top1_before_and_after(every):
    """Return which photos are right before and after replace_stem, and the worst change of a logit."""
    network = load_classifier("efficientnet_lite0")
    replaced, before, after, worst = ef.replace_stem(network.model), [], [], 0.0
    with zipfile.ZipFile(PHOTOS) as archive, torch.no_grad():
        for name in [name for name in sorted(archive.namelist()) if name.endswith(".jpg")][::every]:
            image = network.preprocess(Image.open(archive.open(name)).convert("RGB"))
            label = int(Path(name).name.split("_")[0])
            logits, new = network.model(image), replaced(image)
            before.append(int(logits.argmax()) == label)
            after.append(int(new.argmax()) == label)
            worst = max(worst, float((logits - new).abs().max()))
    return before, after, worst


@pytest.mark.skipif(not PHOTOS.exists(), reason="the photos lie outside the repository")
@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.extended)])
def test_an_exact_stem_costs_no_accuracy(every):
    """Of a network trained on ImageNet, without training it again; the page has the numbers of all photos."""
    before, after, worst = top1_before_and_after(every)
    assert before == after
    assert worst < 2e-5
    if every == 1:
        page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
        assert f"gets {sum(before)} of {len(before)} right before, and the\nsame {sum(after)} after" in page


# --- the training scripts -----------------------------------------------------------------------------------


def train(script, tiny, tmp_path, *words):
    """Run the MNIST script on few images; return its training."""
    engine, mnist = script("engine"), script("mnist")
    parser = engine.arguments(None)
    parser.add_argument("--samples", type=int, default=0)
    words = ["--epochs", "3", "--batch-size", "16", "--out", str(tmp_path), *words]
    options = parser.parse_args(words)
    training = engine.Training(
        mnist.task(mnist.read(tiny), options, engine.Workers()), options, engine.Workers()
    )
    return training, training.run


def test_a_killed_training_goes_on_to_the_same_result(script, tiny, tmp_path, monkeypatch):
    """Interrupted in its second epoch; bit by bit, weights and averages."""
    whole, run = train(script, tiny, tmp_path / "whole")
    run()
    killed, run = train(script, tiny, tmp_path / "killed")
    step = killed.step
    count = iter(range(100))

    def stopped(*batch):
        if next(count) == 4:  # an epoch has 3 steps
            raise KeyboardInterrupt
        return step(*batch)

    monkeypatch.setattr(killed, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        run()
    again, run = train(script, tiny, tmp_path / "killed", "--resume")
    results = run()
    assert [line["epoch"] for line in results["history"]] == [1, 2, 3]
    for got, want in ((again.network, whole.network), (again.average.network, whole.average.network)):
        for value, expected in zip(got.state_dict().values(), want.state_dict().values(), strict=True):
            assert_close(value, expected, rtol=0, atol=0)


def test_a_checkpoint_of_other_settings_is_refused(script, tiny, tmp_path):
    _, run = train(script, tiny, tmp_path)
    run()
    _, run = train(script, tiny, tmp_path, "--resume", "--lr", "0.2")
    with pytest.raises(SystemExit, match="--resume must have the settings of the checkpoint"):
        run()


def test_the_control_differs_in_nothing_but_its_first_layer(script, tiny, tmp_path):
    """Same shapes; the kernels are trained."""
    for words in ((), ("--mixing",)):
        fixed, _ = train(script, tiny, tmp_path, *words)
        other, _ = train(script, tiny, tmp_path, "--stem", "learned", *words)
        shapes = [[tuple(v.shape) for v in t.network.state_dict().values()] for t in (fixed, other)]
        assert shapes[0] == shapes[1]
        counts = [sum(p.numel() for p in t.network.parameters() if p.requires_grad) for t in (fixed, other)]
        assert counts[1] - counts[0] == 18 * 9


def test_the_scripts_write_a_network_that_is_read_again(script, tiny, tmp_path, capsys):
    """With results; the kernels are those of the bank."""
    words = ["--data", str(tiny), "--epochs", "2", "--samples", "40", "--out", str(tmp_path)]
    words += ["--results", str(tmp_path), "--export", str(tmp_path / "net.safetensors"), "--bfloat16"]
    script("mnist").main(words)
    results = json.loads((tmp_path / "mnist40-edges-fixed-seed0.json").read_text())
    network = ef.models.read(tmp_path / "net.safetensors")
    network.stem.filters.check_kernels()
    with np.load(tiny) as file, torch.no_grad():
        found = network(torch.from_numpy(file["x_test"])[:, None] / 255).argmax(1)
        assert_close(float((found.numpy() == file["y_test"]).mean()), results["accuracy"], rtol=0, atol=1e-6)
    assert f"accuracy {results['accuracy']:.2%}" in capsys.readouterr().out


def photo_folder(path, splits):
    """Write photos of two classes."""
    random = np.random.default_rng(0)
    for split in splits:
        for kind in ("one", "two"):
            (path / split / kind).mkdir(parents=True)
            for i in range(4):
                photo = Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8))
                photo.save(path / split / kind / f"{i}_100.jpg")


def test_the_fruits_script_reads_a_folder_and_a_zip(script, tmp_path):
    photo_folder(tmp_path / "data", ("train", "test"))
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for file in sorted((tmp_path / "data").rglob("*.jpg")):
            archive.write(file, file.relative_to(tmp_path / "data"))
    fruits = script("fruits")
    folder, packed = (fruits.read(tmp_path / name, 16) for name in ("data", "data.zip"))
    assert folder[1] == packed[1] == ["one", "two"]
    for split in ("train", "test"):
        assert_close(folder[0][split], packed[0][split], rtol=0, atol=0)
    words = ["--epochs", "1", "--size", "16", "--out", str(tmp_path), "--results", str(tmp_path)]
    fruits.main(["--data", str(tmp_path / "data.zip"), *words])
    assert json.loads((tmp_path / "fruits2-edges-fixed-seed0.json").read_text())["size"] == 16


@pytest.mark.parametrize("model", ["edge_cnn", "edge_resnet18"])
def test_the_folder_script_trains(script, tmp_path, model):
    photo_folder(tmp_path / "photos", ("train", "val"))
    words = ["--data", str(tmp_path / "photos"), "--model", model, "--size", "32", "--workers", "0"]
    words += ["--epochs", "1", "--batch-size", "4", "--out", str(tmp_path)]
    words += ["--export", str(tmp_path / "net.safetensors")]
    script("imagefolder").main(words)
    network = ef.models.read(tmp_path / "net.safetensors")
    assert network.class_names == ("one", "two")
    assert network.preprocess.resized == 37


def test_missing_data_are_asked_for(script, monkeypatch):
    monkeypatch.delenv("EDGEFILTER_DATA", raising=False)
    with pytest.raises(
        SystemExit, match=r"--data must be an existing path; got None.*EDGEFILTER_DATA.*mnist.npz"
    ):
        script("mnist").main([])


def test_augmentation_by_nothing_changes_nothing(script):
    """And mirroring mirrors."""
    affine = script("engine").affine
    images = torch.rand(20, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    assert_close(affine(images, 0, 0, 0), images, rtol=0, atol=1e-5)
    mirrored = affine(images, 0, 0, 0, flip=True)
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(mirrored, images, strict=True)]
    other = [torch.allclose(a, b.flip(2), atol=1e-5) for a, b in zip(mirrored, images, strict=True)]
    assert all(a != b for a, b in zip(same, other, strict=True))
    assert any(same)
    assert any(other)


def test_two_processes_train_together(tiny, tmp_path):
    """By torchrun with gloo: every test image counts once, and both write one result."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [TRAINING / "mnist.py", "--data", tiny, "--epochs", "2", "--batch-size", "16"]
    words += ["--out", tmp_path, "--results", tmp_path]
    run = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    results = json.loads((tmp_path / "mnist-edges-fixed-seed0.json").read_text())
    assert results["processes"] == 2
    right = results["accuracy"] * 21
    assert abs(right - round(right)) < 1e-4
    assert run.stdout.count("accuracy") == 1


# --- the page -----------------------------------------------------------------------------------------------


def test_the_tables_of_the_page_are_those_of_the_results(script):
    tables = script("tables")
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.fill(page, tables.render(tables.read())) == page


@pytest.mark.parametrize("name", ["mnist-edges-fixed-seed0", "fruits24-edges-fixed-seed0"])
def test_a_model_card_has_the_accuracy_of_the_results(name):
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert f"| accuracy | {100 * shipped_accuracy(name):.2f} % of the" in page


def test_fixed_filters_cost_no_accuracy(script):
    """Three seeds or more of either kind; on average no further apart than seeds of one kind."""
    for task, least in (("mnist", 0.995), ("fruits24", 0.995), ("mnist500", 0.92)):
        runs = [run for run in script("tables").read() if run["task"] == task and run["bank"] == "edges"]
        runs = [run for run in runs if not run["mixing"] and run["signs"] == "split"]
        fixed, other = (
            [run["accuracy"] for run in runs if run["stem"] == stem] for stem in ("fixed", "learned")
        )
        assert min(len(fixed), len(other)) >= 3
        assert min(np.mean(fixed), np.mean(other)) >= least, task
        assert np.mean(other) - np.mean(fixed) <= max(np.ptp(fixed), np.ptp(other))
