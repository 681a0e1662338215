"""A network is described by arguments, by a file, by its weights or in Python: always the same network."""

import argparse
import collections
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close
from torchvision import transforms

import edgefilter as ef
from edgefilter.classifiers import Classifier, load_classifier
from edgefilter.classifiers.description import Description, read_description
from edgefilter.models.preprocessing import Preprocessing

FRUITS = ("apple", "banana", "blueberry", "kiwi", "lemon", "orange", "plum", "tomato")
MEAN, STD = (0.6, 0.5, 0.4), (0.3, 0.25, 0.2)
SAID = {"class_names": list(FRUITS), "size": 64, "mean": list(MEAN), "std": list(STD)}
BGR = ("blue", "green", "red")


def fruit(place, seed=0, size=(64, 64)):
    """Draw a disk of the fruit's own color, on a background that says nothing."""
    random = np.random.default_rng([place, seed])
    values = random.integers(90, 160, (*size, 3))
    rows, columns = np.ogrid[: size[0], : size[1]]
    disk = (rows - size[0] / 2) ** 2 + (columns - size[1] / 2) ** 2 < (0.3 * min(size)) ** 2
    values[disk] = [255 * (place >> bit & 1) for bit in range(3)] + random.integers(-20, 20, 3)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def as_trained(photo):
    """Preprocess as the network is trained, by torchvision alone."""
    steps = [
        transforms.Resize(64),
        transforms.CenterCrop(64),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    return transforms.Compose(steps)(photo)


@pytest.fixture(scope="module")
def network():
    """A ResNet-18 for eight fruits on 64 pixels, trained for some steps."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.resnet18(num_classes=8)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        labels = torch.arange(8).repeat(2)
        for step in range(8):
            inputs = torch.stack([as_trained(fruit(int(k), 2 * step + i // 8)) for i, k in enumerate(labels)])
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None  # the mean over what follows
        with torch.no_grad():
            model(torch.stack([as_trained(fruit(k, 100 + i)) for k in range(8) for i in range(3)]))
    return model.eval()


@pytest.fixture(scope="module")
def state(network):
    return network.state_dict()


@pytest.fixture
def strict():
    """Turn the warning of an assumed preprocessing into an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def by_arguments(folder, state):
    save_file(state, folder / "fruits.safetensors")
    return load_classifier(
        "torchvision:resnet18", folder / "fruits.safetensors", classes=FRUITS, size=64, mean=MEAN, std=STD
    )


def by_toml(folder, state):
    torch.save(state, folder / "weights.pth")
    (folder / "names.txt").write_text("\n".join(FRUITS) + "\n")
    (folder / "model.toml").write_text(
        'architecture = "torchvision:resnet18"\nweights = "weights.pth"\nclass_names = "names.txt"\n'
        "size = 64\nmean = [0.6, 0.5, 0.4]\nstd = [0.3, 0.25, 0.2]\n"
    )
    return load_classifier(folder / "model.toml")


def by_json_beside(folder, state):
    save_file(state, folder / "fruits.safetensors")
    (folder / "fruits.json").write_text(json.dumps({**SAID, "architecture": "resnet18"}))
    return load_classifier(weights=folder / "fruits.safetensors")


def by_metadata(folder, state):
    said = {**SAID, "architecture": "torchvision:resnet18"}
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in said.items()}
    save_file(state, folder / "fruits.safetensors", metadata=metadata)
    return load_classifier(folder / "fruits.safetensors")


def by_checkpoint(folder, state):
    hyper = {"img_size": 64, "class_to_idx": {name: place for place, name in enumerate(FRUITS)}, "lr": 0.1}
    hyper |= {"mean": np.array(MEAN), "std": torch.tensor(STD)}
    content = {"state_dict": {f"model.{key}": value for key, value in state.items()}, "arch": "resnet18"}
    torch.save({**content, "hyper_parameters": hyper, "epoch": 3}, folder / "last.ckpt")
    return load_classifier(weights=folder / "last.ckpt")


def by_factory(folder, state):
    (folder / "parts.py").write_text("import torchvision\n")
    (folder / "net.py").write_text(
        "from parts import torchvision\n\n\ndef build(num_classes=1000):\n    return torchvision.models.resnet18(num_classes=num_classes)\n"
    )
    torch.save({"net": state}, folder / "w.pt")
    (folder / "model.json").write_text(
        json.dumps({**SAID, "architecture": "net.py:build", "weights": "w.pt"})
    )
    return load_classifier(folder / "model.json")


def in_python(folder, state):
    model = torchvision.models.resnet18(num_classes=8)
    model.load_state_dict(state)
    return Classifier(model.eval(), FRUITS, as_trained)


WAYS = (by_arguments, by_toml, by_json_beside, by_metadata, by_checkpoint, by_factory, in_python)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("way", WAYS)
def test_a_network_is_the_same_however_it_is_described(tmp_path, network, way):
    """All photos are classified as they were in training, with the very same scores; nothing is assumed."""
    classifier = way(tmp_path, network.state_dict())
    assert classifier.class_names == FRUITS
    assert classifier.channels == ("red", "green", "blue")
    assert classifier.about["preprocessing_assumed"] == "no"
    assert_close(
        torch.tensor([classifier.mean, classifier.std]), torch.tensor([MEAN, STD]), rtol=0, atol=1e-5
    )
    photos = [fruit(place, 200, (70, 96)) for place in range(8)]
    inputs = torch.cat([classifier.preprocess(photo) for photo in photos])
    assert_close(inputs, torch.stack([as_trained(photo) for photo in photos]), rtol=0, atol=1e-6)
    with torch.no_grad():
        assert classifier.model(inputs).argmax(1).tolist() == list(range(8))
    want = ef.EdgeFilterAttribution(network).attribute(inputs[:1], 3, score="color")
    got = ef.EdgeFilterAttribution(classifier.model, **classifier.color_options())
    assert_close(got.attribute(inputs[:1], 3, score="color"), want, rtol=1e-5, atol=1e-6)


def test_without_a_word_about_its_photos_a_network_is_not_trusted(tmp_path, state):
    """The trap: ImageNet's crops of 224 pixels for a network of 64. What is assumed is said, with the way out."""
    torch.save(state, tmp_path / "fruits.pth")
    with pytest.warns(
        UserWarning,
        match=r"nothing says how photos are preprocessed for 'fruits.pth': size, mean and std are assumed "
        r"\(short side to 256 .*224 x 224.* Pass size= \(--size\), .* or say so in 'fruits.toml' beside it",
    ):
        classifier = load_classifier("resnet18", tmp_path / "fruits.pth")
    assert classifier.about["preprocessing_assumed"] == "yes"
    assert "(assumed: size, mean and std)" in classifier.about["preprocessing"]
    assert classifier.about["model"] == "resnet18"
    assert classifier.about["weights"].startswith("fruits.pth (sha256 ")
    with pytest.warns(UserWarning, match=r"mean and std are assumed \(short side to 64 pixels"):
        load_classifier("resnet18", tmp_path / "fruits.pth", size=64)


@pytest.mark.usefixtures("strict")
def test_known_weights_are_recognized(tmp_path, monkeypatch, state):
    """A file whose digest torchvision knows is one of its own, whatever its name: that version's preprocessing is used."""
    torch.save(state, tmp_path / "renamed.pth")
    from edgefilter.classifiers import architectures
    from edgefilter.classifiers.weights import digest_of

    digest = digest_of(tmp_path / "renamed.pth")
    old = torchvision.models.ResNet18_Weights.DEFAULT
    monkeypatch.setattr(
        architectures, "_digest_in", lambda url: digest[:8] if url == old.url else "no such digest"
    )
    classifier = load_classifier("resnet18", tmp_path / "renamed.pth")
    assert "ResNet18_Weights.IMAGENET1K_V1" in classifier.about["weights"]


def test_digests_are_read_from_the_names_of_torchvisions_files():
    """Eight hexadecimal digits behind the last dash."""
    from edgefilter.classifiers.architectures import _digest_in

    for name in ("resnet18", "convnext_tiny", "efficientnet_b0"):
        for weights in torchvision.models.get_model_weights(name):
            assert len(_digest_in(weights.url)) == 8
            int(_digest_in(weights.url), 16)


@pytest.mark.usefixtures("strict")
def test_the_weights_of_a_library_need_no_words():
    for name in ("digits", "fruits"):
        assert load_classifier(name).about["preprocessing_assumed"] == "no"


def test_arguments_come_before_files_and_files_before_metadata(tmp_path, state):
    """Each says what those before it do not."""
    metadata = {"size": "32", "mean": "0.1", "std": "0.9", "classes": json.dumps(list("abcdefgh"))}
    save_file(state, tmp_path / "w.safetensors", metadata=metadata)
    (tmp_path / "w.toml").write_text('architecture = "resnet18"\nsize = 48\nmean = 0.2\n')
    classifier = load_classifier(weights=tmp_path / "w.safetensors", size=(40, 44))
    assert classifier.preprocess(fruit(0)).shape == (1, 3, 40, 44)
    assert classifier.mean == (0.2,) * 3
    assert classifier.std == (0.9,) * 3
    assert classifier.class_names == tuple("abcdefgh")


def test_metadata_may_be_texts_with_commas(tmp_path, state):
    """The metadata of a safetensors file hold nothing but texts."""
    texts = {"size": "40,44", "mean": "0.1, 0.2, 0.3", "std": "0.5,0.6,0.7", "classes": "a,b,c,d,e,f,g,h"}
    save_file(state, tmp_path / "w.safetensors", metadata=texts)
    classifier = load_classifier("resnet18", tmp_path / "w.safetensors")
    assert classifier.preprocess(fruit(0)).shape == (1, 3, 40, 44)
    assert (classifier.mean, classifier.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    assert classifier.class_names == tuple("abcdefgh")
    assert classifier.about["preprocessing_assumed"] == "no"


def test_a_description_without_weights_takes_those_beside_it(tmp_path, state):
    save_file(state, tmp_path / "a.safetensors")
    (tmp_path / "a.toml").write_text('architecture = "resnet18"\nsize = 64\nmean = 0.5\nstd = 0.5\n')
    assert load_classifier(tmp_path / "a.toml").about["weights"].startswith("a.safetensors (sha256")


def test_a_file_beside_the_weights_that_is_no_description_is_passed_over(tmp_path, state):
    """Such as a log of the training."""
    save_file(state, tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text('{"train_loss": [3, 2, 1]}')
    load_classifier("resnet18", tmp_path / "a.safetensors", size=64, mean=0.5, std=0.5)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"arhitecture": "resnet18"}, KeyError, r"unknown key 'arhitecture' in '.*m.json'; did you mean 'architecture'\?"),
        ({"normalise": 1}, KeyError, r"unknown key 'normalise' in .* The keys are architecture, weights, class_names, "),
        ({"size": "big"}, ValueError, r"size must be an integer of at least 1, .*; got 'big' in .*m.json'. Write for example 64"),
        ({"size": 0}, ValueError, "size must be an integer of at least 1"),
        ({"mean": ["a"]}, ValueError, "mean must be a number, or a list"),
        ({"std": [0.5, 0, 0.5]}, ValueError, "std must be above 0"),
        ({"mean": [1, 2], "std": [1, 2, 3]}, ValueError, "channels, mean and std must be as many .*; got 2 of mean, 3 of std"),
        ({"channels": ["red", "red"]}, ValueError, "channels must be a list of different names"),
        ({"class_names": {"a": 1, "b": 2}}, ValueError, "class_names must be names for the places 0, 1, 2 and so on"),
        ({"class_names": "none.txt"}, FileNotFoundError, r"class_names must be an existing file; got '.*none.txt'"),
        ({"crop": "left"}, ValueError, r"crop must be true \('center'\) or false"),
        ({"crop": False, "size": 64, "resize": 70}, ValueError, "resize must not be given with crop = false"),
        ({"size": 64, "resize": 32}, ValueError, "resize must not be below size .*; got 32 for a size of 64 x 64"),
        ({"interpolation": "lanczos"}, ValueError, "interpolation must be one of bilinear, bicubic, nearest"),
        ({"bits": 17}, ValueError, "bits must be an integer from 1 to 16"),
        ({"colors": {"a": "B02"}}, ValueError, "colors must be a list of different names"),
        ({"channels": ["a", "b", "c"], "bands": ["a", "b"]}, ValueError, "channels must be among the bands a, b; got 'c'"),
        ({"class_names": ["a", "b"]}, ValueError, r"class_names must be 8, one for each output of resnet18; got 2, from 'a' to 'b'"),
        ({"channels": ["a", "b"]}, RuntimeError, r"must run on inputs of shape \(1, 2, 64, 64\); it raised .*Check size and channels"),
        ({"weights": "none.pt"}, FileNotFoundError, "weights must be an existing file"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_description_is_named(tmp_path, state, values, error, message):
    save_file(state, tmp_path / "w.safetensors")
    said = {"architecture": "resnet18", "weights": "w.safetensors", "size": 64, "mean": 0.5, "std": 0.5}
    (tmp_path / "m.json").write_text(json.dumps(said | values))
    with pytest.raises(error, match=message):
        load_classifier(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.toml", "size = = 3", "description must be a TOML file; got '.*m.toml', where .*line 1"),
        ("m.json", "{size: 3}", "description must be a JSON file; got '.*m.json', where .*line 1"),
        ("m.json", "[1]", "description must hold keys and values; got .* with a list"),
    ],
)
def test_files_that_are_no_descriptions_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_classifier(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"model must be an existing description; got .*none.toml"):
        load_classifier(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def build():\n    return 3", r"function 'build' of '.*net.py' must return an nn.Module; got int"),
        ("def build(width):\n    return 3", r"'build' .* must build the network; it raised TypeError: .*width.* without arguments"),
        ("def build():\n    raise OSError('no disk')", r"it raised OSError: no disk"),
        ("import nowhere_to_be_found", r"must name a file of Python that runs; '.*net.py' raised ModuleNotFoundError"),
        ("def buidl():\n    pass", r"has no function 'build'; did you mean 'buidl'\? It defines buidl"),
        ("build = 3", r"has a int, not a function, 'build'. Define a function"),
    ],
)  # fmt: skip
def test_own_code_that_fails_is_reported_in_words(tmp_path, code, message):
    (tmp_path / "net.py").write_text(code)
    with pytest.raises((RuntimeError, KeyError), match=message):
        load_classifier(f"{tmp_path / 'net.py'}:build")


def test_a_file_of_code_needs_the_name_of_a_function():
    with pytest.raises(
        KeyError, match=r"model must name a function in 'net.py'; got the file alone. Write net.py:build"
    ):
        load_classifier("net.py")


def test_own_code_runs_only_when_it_is_named(tmp_path, monkeypatch, state):
    """Neither because metadata or a checkpoint names it, nor because a description lies beside the weights."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("open('ran', 'w').close()\n\n\ndef build():\n    pass\n")
    save_file(state, "a.safetensors", metadata={"architecture": "net.py:build"})
    with pytest.raises(
        ValueError,
        match=r"model must be named for 'a.safetensors', which does not say what network it is of.*--model resnet18",
    ):
        load_classifier(weights="a.safetensors")
    save_file(state, "b.safetensors")
    Path("b.toml").write_text('architecture = "net.py:build"\n')
    with pytest.raises(ValueError, match=r"would run code of '.*net.py:build'; got the weights alone"):
        load_classifier(weights="b.safetensors")
    assert not Path("ran").exists()
    with pytest.raises(RuntimeError, match=r"must return an nn.Module; got NoneType"):
        load_classifier("b.toml")
    assert Path("ran").exists(), "the code of this test must run where it is named"


@pytest.mark.usefixtures("strict")
def test_channels_come_in_the_order_of_the_network(tmp_path, state):
    """A network that takes blue first sees a photo's blue first, and its picture is the photo all the same."""
    save_file(state, tmp_path / "w.safetensors")
    options = {"size": 64, "mean": MEAN, "std": STD, "classes": FRUITS}
    rgb = load_classifier("resnet18", tmp_path / "w.safetensors", **options)
    options |= {"mean": MEAN[::-1], "std": STD[::-1]}
    bgr = load_classifier("resnet18", tmp_path / "w.safetensors", **options, channels=BGR)
    photo = fruit(3)
    assert_close(bgr.preprocess(photo), rgb.preprocess(photo).flip(1), rtol=0, atol=1e-6)
    assert bgr.channels == BGR
    assert np.array_equal(bgr.to_picture(bgr.preprocess(photo)), np.asarray(photo))
    assert bgr.color_options(basis="opponent")["basis"].matrix[1].tolist() == [0, -1, 1]


def test_numbers_for_0_to_255_are_recognized(tmp_path, state):
    """As Caffe's networks have them: 123.68 and 1."""
    save_file(state, tmp_path / "w.safetensors")
    classifier = load_classifier(
        "resnet18", tmp_path / "w.safetensors", size=64, mean=(123.68, 116.78, 103.94), std=(1, 1, 1)
    )
    white = classifier.preprocess(Image.new("RGB", (64, 64), "white"))
    assert_close(white[0, :, 0, 0], 255 - torch.tensor([123.68, 116.78, 103.94]), rtol=0, atol=1e-3)


def test_whole_photos_and_other_shapes_are_fed_as_described(tmp_path, state):
    save_file(state, tmp_path / "w.safetensors")
    options = {"size": (48, 64), "mean": 0, "std": 1}
    photo = fruit(1, size=(60, 120))
    squashed = load_classifier("resnet18", tmp_path / "w.safetensors", **options, crop=False)
    want = transforms.ToTensor()(transforms.Resize((48, 64))(photo))[None]
    assert_close(squashed.preprocess(photo), want, rtol=0, atol=0)
    cropped = load_classifier("resnet18", tmp_path / "w.safetensors", **options)
    want = transforms.ToTensor()(transforms.CenterCrop((48, 64))(transforms.Resize((48, 96))(photo)))[None]
    assert_close(cropped.preprocess(photo), want, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [1, 13])
def test_channels_of_the_stem_come_from_the_weights(tmp_path, channels):
    """A first convolution for gray or for many bands, in a network that is known for three."""
    model = torchvision.models.resnet18(num_classes=2)
    model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    classifier = load_classifier("resnet18", tmp_path / "w.safetensors", size=64, mean=0.5, std=0.5)
    assert len(classifier.channels) == channels
    photo = classifier.gray_photo()
    assert classifier.preprocess(photo).shape == (1, channels, 64, 64)
    with torch.no_grad():
        assert_close(
            classifier.model(classifier.preprocess(photo)), model.eval()(classifier.preprocess(photo))
        )


def test_a_gray_network_takes_color_photos_and_a_color_network_gray_ones():
    assert load_classifier("digits").preprocess(fruit(2)).shape[1] == 1
    assert load_classifier("fruits").preprocess(fruit(2).convert("L")).shape[1] == 3


def test_what_trainers_write_beside_the_weights_is_found(tmp_path, state):
    """Nested, as a namespace, with numbers that are not sizes passed over."""
    args = argparse.Namespace(data=argparse.Namespace(image_size=[3, 64, 64]), lr=0.1, output_dir=Path("out"))
    content = {
        "model": state,
        "args": args,
        "classes": list(FRUITS),
        "history": collections.OrderedDict(size="?"),
    }
    torch.save({**content, "transform": {"mean": list(MEAN), "std": list(STD)}}, tmp_path / "w.pth")
    classifier = load_classifier("resnet18", tmp_path / "w.pth")
    assert classifier.preprocess(fruit(0)).shape == (1, 3, 64, 64)
    assert classifier.class_names == FRUITS
    assert classifier.about["preprocessing_assumed"] == "no"


def test_numbers_of_other_things_in_a_checkpoint_are_not_taken_for_photos(tmp_path, state):
    """Noise has a mean, an optimizer has a state, a model has a size."""
    other = {
        "noise": {"mean": 0.1, "std": 0.2},
        "optimizer": {"size": 32},
        "hparams": {"size": 50, "image_size": 64},
    }
    torch.save({"model": state, **other}, tmp_path / "w.pth")
    with pytest.warns(UserWarning, match="mean and std are assumed"):
        classifier = load_classifier("resnet18", tmp_path / "w.pth")
    assert classifier.preprocess(fruit(0)).shape == (1, 3, 64, 64)


def test_class_names_that_do_not_fit_are_not_taken_from_a_checkpoint(tmp_path, state):
    """They are those of something else."""
    torch.save({"model": state, "classes": ["a", "b"], "class_names": 3}, tmp_path / "w.pth")
    names = load_classifier("resnet18", tmp_path / "w.pth").class_names
    assert names == tuple(f"class {place}" for place in range(8))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.txt", "\ufeffa\n b \n\nc\n"),
        ("c.json", '["a", "b", "c"]'),
        ("c.json", '{"a": 0, "c": 2, "b": 1}'),
        ("c.json", '{"2": "c", "0": "a", "1": "b"}'),
    ],
)
def test_class_names_are_read_from_files(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "m.toml").write_text(f'class_names = "{name}"\n')
    assert read_description(tmp_path / "m.toml").class_names == ("a", "b", "c")


def test_a_description_is_written_and_read_again(tmp_path):
    said = Description(
        architecture="resnet18", class_names=("a", "b"), size=(64, 64), mean=(0.5,), colors={"all": ("x",)}
    )
    path = said.write(tmp_path / "m.json")
    assert read_description(path) == said
    with pytest.raises(FileExistsError, match="path must be a new file"):
        said.write(path)
    with pytest.raises(ValueError, match=r"path must end in .json"):
        said.write(tmp_path / "m.toml")


@pytest.mark.usefixtures("strict")
def test_what_was_said_in_arguments_can_be_kept_in_a_file(tmp_path, state):
    """In another folder than the weights, and with the channels turned round."""
    (tmp_path / "kept").mkdir()
    save_file(state, tmp_path / "w.safetensors")
    options = {"classes": FRUITS, "size": 64, "resize": 70, "mean": 127, "std": 128, "channels": BGR}
    one = load_classifier("resnet18", tmp_path / "w.safetensors", **options)
    two = load_classifier(one.description.write(tmp_path / "kept/model.json"))
    assert two.preprocess == one.preprocess
    assert (two.class_names, two.channels) == (FRUITS, BGR)
    assert two.about == one.about


def test_shipped_files_say_all_of_themselves(tmp_path):
    """A network that ``models.write`` wrote is loaded from its file alone."""
    net = ef.models.edge_cnn(2, in_channels=1, bank="sobel")
    settings = {"model": "edge_cnn", "num_classes": 2, "in_channels": 1, "bank": "sobel"}
    path = tmp_path / "mine.safetensors"
    ef.models.write(net, path, settings, ["no", "yes"], Preprocessing(16, 1, (0.0,), (1.0,)))
    classifier = load_classifier(path)
    assert classifier.class_names == ("no", "yes")
    assert classifier.preprocess(fruit(0)).shape == (1, 1, 16, 16)
    assert classifier.about["preprocessing_assumed"] == "no"


# --- Classifier in Python -----------------------------------------------------------------------------------------


def tiny(channels=3):
    return nn.Sequential(nn.Conv2d(channels, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (tiny(), transforms.ToTensor(), ["a"]),
            r"class_names must be a list of str.*; got a ToTensor. The order is",
        ),
        ((["a"], tiny(), transforms.ToTensor()), r"model must be an nn.Module; got list. The order is"),
        ((tiny(), ["a"], "resize"), "preprocess must be callable; got a str"),
        ((tiny(), "ab", transforms.ToTensor()), "class_names must be a list of str.* got a str"),
        ((tiny(), [0, 1], transforms.ToTensor()), "class_names must be a list of str.* got a int"),
        ((tiny(), [], transforms.ToTensor()), "class_names must be a list of str.* got none"),
    ],
)
def test_arguments_of_a_classifier_in_another_order_are_named(arguments, message):
    with pytest.raises(TypeError, match=message):
        Classifier(*arguments)


def test_a_classifier_measures_how_its_input_is_normalised():
    """And so shows the photo again, for a preprocessing that it knows nothing about."""
    steps = [
        transforms.ToTensor(),
        transforms.Lambda(lambda x: x.flip(0) * 255),
        transforms.Normalize((103.94, 116.78, 123.68), (57, 57, 57)),
    ]
    classifier = Classifier(tiny(), ["a", "b"], transforms.Compose(steps))
    assert classifier.channels == BGR
    assert_close(
        torch.tensor(classifier.mean), torch.tensor([103.94, 116.78, 123.68]) / 255, rtol=0, atol=1e-5
    )
    photo = fruit(5)
    assert np.array_equal(classifier.to_picture(classifier.preprocess(photo)), np.asarray(photo))


def test_a_preprocessing_that_cannot_be_undone_is_stretched():
    """Its smallest value is black, its largest white."""
    classifier = Classifier(tiny(), ["a"], lambda photo: transforms.ToTensor()(photo) ** 2 * 4 - 1)
    assert classifier.mean is None
    inputs = torch.tensor([-1.0, 0.0, 3.0]).reshape(1, 3, 1, 1)
    assert classifier.to_picture(inputs)[0, 0].tolist() == [0, 64, 255]


def test_other_channels_than_red_green_and_blue_are_called_so():
    gray3 = transforms.Compose([transforms.Grayscale(3), transforms.ToTensor()])
    assert Classifier(tiny(), ["a"], gray3).channels == ("channel_0", "channel_1", "channel_2")
    assert Classifier(tiny(5), ["a"], torch.zeros).channels == tuple(f"channel_{i}" for i in range(5))


def test_a_picture_shows_the_bands_that_eyes_see_else_gray():
    inputs = torch.tensor([0.0, 0.2, 1.0, 0.4]).reshape(1, 4, 1, 1)
    for names, want in ((["B02", "B03", "B04", "B08"], [255, 51, 0]), (list("wxyz"), [102] * 3)):
        classifier = Classifier(tiny(4), ["a"], torch.zeros, channels=names, mean=0, std=1)
        assert classifier.to_picture(inputs)[0, 0].tolist() == want


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (0.5, 0.5), "std": (1, 1, 1)}, "must have one entry for each input channel; got mean="),
        ({"channels": ("a", "a", "b")}, "channels must be different names"),
        ({"channels": "rgb"}, "must have one entry for each input channel"),
        ({"std": 0}, "std must not be 0"),
    ],
)
def test_channels_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Classifier(tiny(), ["a"], transforms.ToTensor(), **options)


def test_a_preprocessing_without_a_batch_is_given_one_and_no_tensor_is_refused():
    classifier = Classifier(tiny(), ["a"], transforms.ToTensor())
    assert classifier.preprocess(fruit(0)).shape == (1, 3, 64, 64)
    with pytest.raises(
        ValueError, match=r"preprocess must return a Tensor of shape \(C, H, W\).*; got a Image"
    ):
        Classifier(tiny(), ["a"], lambda photo: photo).preprocess(fruit(0))
