"""Networks of which it is known what they go by: profile and shuffling name it, and agree."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.functional import to_tensor

import edgefilter as ef
from edgefilter.classifiers.classifier import Classifier
from edgefilter.profiles import permutation_check, profile_folder

SIZE = 12


def trained(images, labels, steps=60):
    """Train a small network until it is right; some seconds at most."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(images.shape[1], 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        assert (net(images).argmax(1) == labels).double().mean() > 0.95
    return net


def bands(channels, informative, count=80):
    """Noise in all channels; in one of them a bright square or a dark one, by class."""
    generator = torch.Generator().manual_seed(channels)
    images = 0.3 * torch.randn(count, channels, SIZE, SIZE, generator=generator)
    labels = torch.arange(count) % 2
    sign = (2.0 * labels - 1)[:, None, None]
    for image, place in zip(images, torch.randint(SIZE - 6, (count, 2), generator=generator), strict=True):
        top, left = place.tolist()
        image[informative, top : top + 6, left : left + 6] += 1
    images[:, informative] *= sign
    return images, labels


@pytest.mark.parametrize(("channels", "informative"), [(13, 7), (5, 2)])
def test_the_one_informative_channel_is_first_and_apart(channels, informative):
    """In the profile of each class, by intervals, and when channels are shuffled: thirteen bands, five stains."""
    images, labels = bands(channels, informative)
    net = trained(images[:40], labels[:40])
    names = [f"B{place:02d}" for place in range(channels)]
    attribution = ef.EdgeFilterAttribution(net, colors=names)
    images, labels = images[40:], labels[40:]
    explanation = attribution.explain(images, labels)
    profile = ef.ClassProfile(2, explanation.colors, explanation.filters)
    profile.update(explanation, labels)
    check = permutation_check(attribution, images, labels)
    for place in range(2):
        first, *others = profile.top(place, channels, "color", by="size")
        assert first.name == names[informative]
        assert first.low > max(max(abs(other.low), abs(other.high)) for other in others)
    first, *others = check.of("color")
    assert first.name == names[informative]
    assert first.output - 3 * first.output_error > max(
        other.output + 3 * other.output_error for other in others
    )
    assert first.accuracy > 0.3 > max(abs(other.accuracy) for other in others)


def test_a_folder_of_photos_with_many_bands_is_profiled(tmp_path):
    """Arrays of 13 bands with names, in the tables, in the picture and when they are shuffled."""
    images, labels = bands(13, 7)
    net = trained(images[:40], labels[:40])
    for place, image in enumerate(images[40:]):
        folder = tmp_path / "photos" / ("bright", "dark")[int(labels[40 + place])]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{place:02d}.npy", image.permute(1, 2, 0).numpy())
    names = [f"B{place:02d}" for place in range(13)]
    classifier = Classifier(
        net,
        ["bright", "dark"],
        lambda array: torch.as_tensor(np.asarray(array)).permute(2, 0, 1).float(),
        channels=names,
        mean=[0] * 13,
        std=[1] * 13,
    )
    found = profile_folder(tmp_path / "photos", classifier, tmp_path / "out", progress=False)
    assert (found.settings["counted"], found.accuracy) == (40, pytest.approx(1, abs=0.05))
    assert found.profile.top("bright", 1, "color", by="size")[0].name == "B07"
    assert found.permutation.of("color")[0].name == "B07"
    assert (tmp_path / "out" / "profile.png").exists()


TINTS = {"reddish": (190, 120, 120), "bluish": (120, 120, 190)}


def write_tinted(folder, count, *, seed):
    """Write photos of gray squares and discs on a background that tells the class by its tint, the shape not at all."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:24, :24]
    for name, tint in TINTS.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            picture = np.array(tint) + random.normal(0, 12, (24, 24, 3)) + random.integers(-40, 40)
            row, column = random.integers(7, 17, 2)
            disc = (rows - row) ** 2 + (columns - column) ** 2 < 25
            square = (abs(rows - row) < 5) & (abs(columns - column) < 5)
            picture[disc if random.random() < 0.5 else square] = random.integers(30, 225)
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder


def prepared(photo):
    return (to_tensor(photo) - 0.5) / 0.25


def read(folder):
    """Return all photos of a folder as the network takes them, and their classes."""
    paths = [
        (path, place)
        for place, name in enumerate(sorted(TINTS))
        for path in sorted((folder / name).iterdir())
    ]
    images = torch.stack([prepared(Image.open(path)) for path, _ in paths])
    return images, torch.tensor([place for _, place in paths])


@pytest.fixture(scope="module")
def tinted(tmp_path_factory):
    """A network that was trained on photos with tinted backgrounds, and further such photos."""
    folder = tmp_path_factory.mktemp("tinted")
    images, labels = read(write_tinted(folder / "train", 40, seed=0))
    classifier = Classifier(trained(images, labels), sorted(TINTS), prepared, name="tinted")
    return classifier, write_tinted(folder / "test", 12, seed=1)


def test_the_tint_of_the_background_shows(tinted, tmp_path):
    """Red and blue tell the classes, green does not, says the profile; so does shuffling, and brightness and not edges."""
    classifier, photos = tinted
    found = profile_folder(photos, classifier, tmp_path / "out", progress=False)
    assert found.accuracy > 0.95
    losses = {part.name: part for part in found.permutation.of("color")}
    shares = {
        name: np.mean(
            [
                abs(share.mean)
                for place in range(2)
                for share in found.profile.top(place, 3, "color")
                if share.name == name
            ]
        )
        for name in losses
    }
    assert min(losses, key=lambda name: losses[name].output) == "green" == min(shares, key=shares.__getitem__)
    assert min(losses[name].accuracy for name in ("red", "blue")) > 0.1
    assert losses["green"].accuracy < min(losses[name].accuracy for name in ("red", "blue"))


def test_the_tint_has_a_color_of_its_own_in_another_basis(tinted, tmp_path):
    """In luminance, red-green and blue-yellow, the tint is chroma; the luminance tells nothing."""
    classifier, photos = tinted
    found = profile_folder(photos, classifier, tmp_path / "out", basis="opponent", progress=False)
    assert found.settings["colors"] == ["luminance", "red-green", "blue-yellow"]
    for place in range(2):
        shares = {share.name: share for share in found.profile.top(place, 3, "color")}
        chroma = shares["red-green"].mean + shares["blue-yellow"].mean
        assert chroma > abs(shares["luminance"].mean)
    losses = {part.name: part.output for part in found.permutation.of("color")}
    assert losses["luminance"] < 0.3 * max(losses.values())


def test_the_background_is_flat_and_says_so(tinted):
    """Shuffling the brightness of a place costs more than shuffling edges or texture."""
    classifier, photos = tinted
    images, labels = read(photos)
    check = permutation_check(ef.EdgeFilterAttribution(classifier.model), images, labels, groups="order")
    assert check.of("order")[0].name == "brightness"
