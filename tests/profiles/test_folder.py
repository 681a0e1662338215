"""Profiles of folders: each photo counted once, also after a kill, in several processes, and beside damaged files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy import stats
from torch import nn
from torch.testing import assert_close
from torchvision.transforms import functional as F

import edgefilter as ef
from edgefilter.classifiers.classifier import Classifier
from edgefilter.classifiers.probing import Batched
from edgefilter.lrp.composites import DEFAULT
from edgefilter.photos import read_photo
from edgefilter.profiles.folder import profile_folder
from edgefilter.profiles.permutation import permutation_check
from edgefilter.profiles.photos import Skipped, find_photos, sample
from edgefilter.profiles.results import RESULTS

CLASSES = ("cat", "Great Dane", "owl", "cup", "7")


def preprocess(photo):
    return F.to_tensor(F.resize(photo, [12, 12]))[None].double()


def darker(photo):
    return preprocess(photo) / 2


def classifier_of(model, names=CLASSES):
    return Classifier(model, names, preprocess, name="small")


def small_model():
    """Build the network of the processes beside this one; as the fixture small_net."""
    with torch.random.fork_rng():
        torch.manual_seed(20201)
        layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()]
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))
    return net.double().eval()


def write_photos(folder, counts, seed=0):
    random = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            values = random.integers(0, 256, (14, 15, 3), dtype=np.uint8)
            Image.fromarray(values).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture
def photos(tmp_path):
    """An odd number of photos, of three classes of the network."""
    return write_photos(tmp_path / "photos", {"cat": 4, "great_dane": 6, "owl": 3})


@pytest.fixture
def classifier(small_net):
    return classifier_of(small_net)


@pytest.fixture(autouse=True)
def quick_pictures(request, monkeypatch):
    """Write a blank picture, as a true one takes longer than the rest; but for the test of what is written."""
    if "results_are_written" not in request.node.name:
        monkeypatch.setattr(ef.ClassProfile, "plot", lambda self: (Figure((1, 1)), None))


def profiled(photos, classifier, out, **options):
    return profile_folder(photos, classifier, out, progress=False, **{"batch_size": 2} | options)


def one_by_one(photos, classifier, targets=None):
    """Profile the photos in a plain loop, without folders or batches."""
    attribution = ef.EdgeFilterAttribution(ef.replace_stem(classifier.model))
    shares, labels = [], []
    for label, folder in enumerate(sorted(photos.iterdir())):
        for path in sorted(folder.iterdir()):
            target = None if targets is None else targets[label]
            explanation = attribution.explain(classifier.preprocess(read_photo(path)), target)
            shares.append(explanation.color_edge[0] / explanation.color_edge.abs().sum())
            labels.append(label)
    return torch.stack(shares), torch.tensor(labels)


def same(found, wanted, atol=1e-12):
    found, wanted = found.values(), wanted.values()
    for name in wanted:
        assert_close(found[name], wanted[name], rtol=0, atol=atol, equal_nan=True)
    return True


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_profile_equals_a_loop_over_the_photos(photos, classifier, tmp_path):
    """Folders with names of classes have their own output explained."""
    found = profiled(photos, classifier, tmp_path / "out", batch_size=4)
    assert found.settings["target"] == "label"
    shares, labels = one_by_one(photos, classifier, [0, 1, 2])
    values = found.profile.compute()
    for label in range(3):
        assert_close(values["color_edge_mean"][label], shares[labels == label].mean(0))
        assert_close(values["edge_std"][label], shares[labels == label].sum(1).std(0))
    assert values["count"].tolist() == [4, 6, 3]
    assert found.profile.class_names == ("cat", "great_dane", "owl")


@pytest.mark.parametrize(
    "calibrate", [True, False, ("color", {"all": list(ef.complete_bank(3).names)})], ids=str
)
def test_scores_are_measured_as_chosen(photos, classifier, tmp_path, calibrate):
    """By the game of the colors by default; the settings say so, and a run goes on with the same ones only."""
    found = profiled(photos, classifier, tmp_path / "out", calibrate=calibrate)
    attribution = ef.EdgeFilterAttribution(classifier.model, calibrate=calibrate)
    inputs = torch.cat([preprocess(read_photo(path)) for path in sorted((photos / "owl").iterdir())])
    scores = attribution.explain(inputs, 2).color_edge
    shares = scores / scores.abs().sum((1, 2), keepdim=True)
    assert_close(found.profile.compute()["color_edge_mean"][2], shares.mean(0))
    written = json.loads((tmp_path / "out" / "profile.json").read_text(encoding="utf-8"))
    assert written["calibrate"] == found.settings["calibrate"]
    assert len(written["calibrate"]) == (0 if calibrate is False else 1 if calibrate is True else 2)


def test_results_are_written(photos, classifier, tmp_path):
    found = profiled(photos, classifier, tmp_path / "new" / "out")
    out = tmp_path / "new" / "out"
    assert names_in(out) == sorted(RESULTS)
    assert sorted(found.files) == sorted(out / name for name in RESULTS)
    same(ef.ClassProfile.load(out / "profile.safetensors"), found.profile, atol=0)
    table = pd.read_csv(out / "profile.csv", keep_default_na=False, dtype={"mean": float})
    assert table["mean"].tolist() == pytest.approx(found.profile.to_dataframe()["mean"].tolist())
    settings = json.loads((out / "profile.json").read_text(encoding="utf-8"))
    assert (settings["counted"], settings["skipped"], settings["limit"]) == (13, 0, None)
    with Image.open(out / "profile.png") as picture:
        assert min(picture.size) > 200


def test_other_folder_names_have_the_prediction_explained(photos, classifier, tmp_path):
    (photos / "owl").rename(photos / "parrot")
    found = profiled(photos, classifier, tmp_path / "out")
    assert found.settings["target"] == "predicted"
    shares, labels = one_by_one(photos, classifier)
    assert_close(found.profile.compute()["edge_mean"][2], shares[labels == 2].sum(1).mean(0))
    with pytest.raises(
        ValueError, match=r"folders named by classes of small; got 1 of 3 that are not: 'parrot'\."
    ):
        profiled(photos, classifier, tmp_path / "other", target="label")


def test_number_as_a_name_is_no_output_by_default(tmp_path, small_net):
    """A folder "3" is output 3 only on request, unless the class there has this name."""
    photos = write_photos(tmp_path / "photos", {"3": 2})
    assert profiled(photos, classifier_of(small_net), tmp_path / "a").settings["target"] == "predicted"
    named = classifier_of(small_net, ("0", "1", "2", "3", "4"))
    assert profiled(photos, named, tmp_path / "b").settings["target"] == "label"
    asked = profiled(photos, classifier_of(small_net), tmp_path / "c", target="label")
    shares, _ = one_by_one(photos, named, [3])
    assert_close(asked.profile.compute()["edge_mean"][0], shares.sum(1).mean(0))


def test_classes_without_names_are_in_the_order_of_the_folders(tmp_path, small_net):
    photos = write_photos(tmp_path / "photos", dict.fromkeys("vwxyz", 2))
    unnamed = classifier_of(small_net, tuple(f"class {index}" for index in range(5)))
    assert profiled(photos, unnamed, tmp_path / "a").settings["target"] == "predicted"
    found = profiled(photos, unnamed, tmp_path / "b", target="label")
    assert found.confusion.names == tuple("vwxyz")
    shares, labels = one_by_one(photos, unnamed, range(5))
    assert_close(found.profile.compute()["color_mean"][4], shares[labels == 4].sum(2).mean(0))


@pytest.mark.parametrize("target", ["label", "predicted"])
def test_photos_are_counted_by_prediction(photos, classifier, tmp_path, target):
    found = profiled(photos, classifier, tmp_path / "out", by="predicted", target=target)
    shares, _ = one_by_one(photos, classifier, [0, 1, 2] if target == "label" else None)
    paths = [path for folder in sorted(photos.iterdir()) for path in sorted(folder.iterdir())]
    inputs = torch.cat([preprocess(read_photo(path)) for path in paths])
    predicted = classifier.model(inputs).argmax(1)
    values = found.profile.compute()
    assert found.profile.class_names == CLASSES
    assert values["count"].tolist() == predicted.bincount(minlength=5).tolist()
    best = int(predicted.mode().values)
    assert_close(values["color_mean"][best], shares[predicted == best].sum(2).mean(0))


def test_limit_takes_the_first_of_each_class(photos, classifier, tmp_path):
    found = profiled(photos, classifier, tmp_path / "out", limit=3)
    assert found.profile.compute()["count"].tolist() == [3, 3, 3]


def test_damaged_photos_are_skipped_and_listed(photos, classifier, tmp_path):
    whole = profiled(photos, classifier, tmp_path / "whole")
    (photos / "cat" / "bad.png").write_bytes((photos / "cat" / "0.png").read_bytes()[:60])
    (photos / "owl" / "text.jpg").write_text("text")
    (photos / "owl" / "notes.txt").write_text("not a photo")
    found = profiled(photos, classifier, tmp_path / "out")
    same(found.profile, whole.profile)
    assert [item.path for item in found.skipped] == ["cat/bad.png", "owl/text.jpg"]
    listed = pd.read_csv(tmp_path / "out" / "skipped.csv")
    assert [Skipped(*row) for row in listed.itertuples(index=False)] == found.skipped
    assert "truncated or damaged" in listed["reason"][0]


def test_folder_of_damaged_photos_is_refused(photos, classifier, tmp_path):
    for path in photos.rglob("*.png"):
        path.write_text("text")
    with pytest.raises(
        ValueError, match=r"photos that can be read; got 13 that cannot, the first 'cat/0\.png': image"
    ):
        profiled(photos, classifier, tmp_path / "out")
    assert names_in(tmp_path / "out") == []


def test_photos_without_relevance_give_tables_without_a_picture(photos, small_net, tmp_path):
    for parameter in small_net.parameters():
        parameter.data.zero_()
    found = profiled(photos, classifier_of(small_net), tmp_path / "out")
    assert (found.settings["counted"], found.settings["unusable"]) == (0, 13)
    assert names_in(tmp_path / "out") == sorted(set(RESULTS) - {"profile.png"})


def test_pixel_maps_are_kept_on_request(photos, classifier, tmp_path):
    found = profiled(photos, classifier, tmp_path / "out", pixels=True)
    assert found.profile.values()["pixel_mean"].shape == (3, 3, 12, 12)


def test_network_with_a_bank_of_its_own_is_explained_with_it(photos, small_net, tmp_path):
    projected = ef.replace_stem(small_net, "sobel", init="project")
    found = profiled(photos, classifier_of(projected), tmp_path / "out")
    assert found.profile.filters == ("sobel_x", "sobel_y")
    chosen = profiled(photos, classifier_of(small_net), tmp_path / "b", bank=ef.get_bank("frei_chen"))
    assert chosen.profile.filters == tuple(ef.get_bank("frei_chen").names)


def test_photos_of_few_bits_are_warned_of_once(photos, classifier, tmp_path):
    """Unless their bits are given, by which all of them are scaled alike."""
    for place, path in enumerate(sorted(photos.rglob("*.png"))):
        Image.fromarray(np.full((12, 12), 300 + 100 * place, dtype=np.uint16)).save(path)
    with pytest.warns(UserWarning, match="Further photos are read likewise") as found:
        profiled(photos, classifier, tmp_path / "a")
    assert len(found) == 1
    assert profiled(photos, classifier, tmp_path / "b", bits=12).settings["bits"] == 12


def test_reading_processes_change_nothing(photos, classifier, tmp_path):
    wanted = profiled(photos, classifier, tmp_path / "a")
    found = profiled(photos, classifier, tmp_path / "b", workers=1)
    same(found.profile, wanted.profile, atol=0)


def test_progress_shows_rate_and_time_left(photos, classifier, tmp_path, capsys):
    profile_folder(photos, classifier, tmp_path / "out", batch_size=2)
    error = capsys.readouterr().err
    assert "13/13" in error
    assert "photo/s" in error or "s/photo" in error


# --- is the network right? -----------------------------------------------------------------------------------


def predicted_by(model, folder):
    """Return label and prediction of each photo, by a plain loop."""
    pairs = []
    for label, name in enumerate(sorted(path.name for path in folder.iterdir())):
        for path in sorted((folder / name).iterdir()):
            pairs.append((label, int(model(preprocess(read_photo(path))).argmax())))
    return pairs


@pytest.mark.parametrize("options", [{}, {"target": "predicted"}, {"by": "predicted"}])
def test_confusion_is_that_of_a_loop_over_the_photos(photos, classifier, tmp_path, options):
    """Whatever is explained, and wherever photos are counted."""
    found = profiled(photos, classifier, tmp_path / "out", **options)
    pairs = predicted_by(classifier.model, photos)
    wanted = torch.zeros(5, 5, dtype=torch.long)
    for label, predicted in pairs:
        wanted[label, predicted] += 1
    assert found.confusion.names == CLASSES
    assert found.confusion.counts.tolist() == wanted.tolist()
    assert found.accuracy == pytest.approx(sum(a == b for a, b in pairs) / 13)
    written = json.loads((tmp_path / "out" / "profile.json").read_text(encoding="utf-8"))
    assert written["accuracy"] == found.accuracy
    assert written["classes"]["Great Dane"] == {
        "photos": 6,
        "accuracy": sum(pair == (1, 1) for pair in pairs) / 6,
    }
    table = pd.read_csv(tmp_path / "out" / "confusion.csv")
    assert table["label"].tolist() == ["cat", "Great Dane", "owl"]
    assert table["photos"].sum() == table.filter(like="predicted").to_numpy().sum() == 13


def test_accuracy_of_folders_that_are_no_classes_cannot_be_told(photos, classifier, tmp_path):
    profiled(photos, classifier, tmp_path / "out")
    (photos / "owl").rename(photos / "parrot")
    found = profiled(photos, classifier, tmp_path / "out", overwrite=True)
    assert found.confusion is None
    assert np.isnan(found.accuracy)
    assert json.loads((tmp_path / "out" / "profile.json").read_text())["accuracy"] is None
    assert not (tmp_path / "out" / "confusion.csv").exists()  # that of the run before


def single_model(*end):
    """Build a network of one output, without its mean so that both signs occur."""
    net = small_model()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net[-1] = nn.Linear(32, 1, bias=False).double()
    return nn.Sequential(*net, *end).double().eval()


@pytest.mark.parametrize("end", [[], [nn.Sigmoid()]])
@pytest.mark.parametrize(
    ("folders", "names"), [(("0", "1"), ("class 0",)), (("fresh", "rotten"), ("fresh", "rotten"))]
)
def test_one_output_has_two_classes_by_its_sign(tmp_path, end, folders, names):
    """Folders named by them, or by 0 and 1; the logit is what is explained, of both classes."""
    photos = write_photos(tmp_path / "photos", dict.fromkeys(folders, 4))
    model = single_model(*end)
    found = profiled(photos, classifier_of(model, names), tmp_path / "out")
    logits = torch.cat(
        [
            single_model()(preprocess(read_photo(path)))[0]
            for name in folders
            for path in sorted((photos / name).iterdir())
        ]
    )
    right = (logits > 0) == (torch.arange(8) >= 4)
    assert found.confusion.names == folders
    assert found.accuracy == pytest.approx(float(right.double().mean()))
    assert (found.settings["target"], found.settings["speaks_for"]) == ("label", folders[1])
    assert found.settings["negative"] == int((logits < 0).sum())
    totals = found.profile.values()["color_mean"].sum(1)
    assert totals.shape == (2,)


def test_two_folders_in_alphabetical_order_are_the_classes_of_one_output(tmp_path):
    """On request, as a network is trained with ImageFolder."""
    photos = write_photos(tmp_path / "photos", {"bees": 2, "ants": 3})
    unnamed = classifier_of(single_model(), ("class 0",))
    assert profiled(photos, unnamed, tmp_path / "a").confusion is None
    found = profiled(photos, unnamed, tmp_path / "b", target="label")
    assert (found.settings["speaks_for"], found.confusion.names) == ("bees", ("ants", "bees"))
    assert found.confusion.counts.sum(1).tolist() == [3, 2]
    photos = write_photos(tmp_path / "three", {"bees": 2, "ants": 3, "flies": 1})
    with pytest.raises(ValueError, match="folders named by classes of small"):
        profiled(photos, unnamed, tmp_path / "c", target="label")


def test_more_than_ten_unnamed_classes_keep_their_numbers(tmp_path):
    """In alphabetical order "class 10" comes before "class 2"."""
    photos = write_photos(tmp_path / "photos", {f"class {place}": 1 for place in range(11)})
    net = small_model()
    net[-1] = nn.Linear(32, 11).double().eval()
    found = profiled(
        photos, classifier_of(net, tuple(f"class {i}" for i in range(11))), tmp_path / "a", target="label"
    )
    assert all(folder == name for folder, name in found.settings["folders"].items())


def test_labels_names_and_intervals_are_in_the_table(photos, classifier, tmp_path):
    found = profiled(photos, classifier, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "profile.csv", keep_default_na=False)
    edge = table[(table["score"] == "edge") & (table["class_name"] == "owl")]
    assert edge["filter"].tolist() == list(found.profile.filters)
    assert edge["label"].tolist() == list(found.profile.filter_labels)
    for share in found.profile.top("OWL", 9):
        row = edge[edge["filter"] == share.name].iloc[0]
        assert (row["label"], row["low"], row["high"]) == (share.label, share.low, share.high)
        half = stats.t.ppf(0.975, 2) * share.std / 3**0.5
        assert (share.low, share.high) == pytest.approx(
            (share.mean - half, share.mean + half), rel=0.02, abs=1e-3
        )


# --- shuffled, and compared ----------------------------------------------------------------------------------


def test_shuffling_is_that_of_the_library(photos, classifier, tmp_path):
    """All photos of a small folder, as permutation_check takes them."""
    found = profiled(photos, classifier, tmp_path / "out", permutations=2)
    paths = [path for folder in sorted(photos.iterdir()) for path in sorted(folder.iterdir())]
    inputs = torch.cat([preprocess(read_photo(path)) for path in paths])
    labels = torch.tensor([0] * 4 + [1] * 6 + [2] * 3)
    wanted = permutation_check(ef.EdgeFilterAttribution(classifier.model), inputs, labels, permutations=2)
    assert (found.permutation.photos, found.permutation.permutations) == (13, 2)
    for part, other in zip(found.permutation.parts, wanted.parts, strict=True):
        assert part[:3] == other[:3]
        assert part[3:] == pytest.approx(other[3:], abs=1e-12)
    table = pd.read_csv(tmp_path / "out" / "permutation.csv")
    assert table["output"].tolist() == pytest.approx([part.output for part in wanted.parts])
    assert json.loads((tmp_path / "out" / "profile.json").read_text())["permutation"]["photos"] == 13
    assert profiled(photos, classifier, tmp_path / "no", permutations=0).permutation is None
    assert "permutation.csv" not in names_in(tmp_path / "no")


def test_a_network_that_cannot_be_shuffled_is_refused_before_the_work(photos, tmp_path, monkeypatch):
    """With the way out in the message."""

    def refused(*_, **__):
        raise RuntimeError("model must call its stem again when it runs again")

    classifier = classifier_of(small_model())
    with monkeypatch.context() as patch:
        patch.setattr("edgefilter.attribution.shuffling.rerun", refused)
        with pytest.raises(ValueError, match=r"permutations must be 0 for small, .* Pass permutations=0"):
            profiled(photos, classifier, tmp_path / "out", calibrate=False)
        assert not (tmp_path / "out").exists()
        found = profiled(photos, classifier, tmp_path / "out", calibrate=False, permutations=0)
    assert found.permutation is None


def test_shuffling_takes_photos_of_all_classes(photos):
    found = find_photos(photos, None)
    for count in (3, 6, 9):
        labels = [found.samples[place][1] for place in sample(found, count, 0)]
        assert [labels.count(label) for label in range(3)] == [count // 3] * 3
    assert sample(found, 100, 0) == list(range(13))


def test_the_same_weights_have_no_difference(photos, classifier, tmp_path):
    found = profiled(photos, classifier, tmp_path / "out", compare=classifier_of(small_model()))
    assert found.paired.is_none
    assert not pd.read_csv(tmp_path / "out" / "differences.csv")["difference"].any()


def other_model():
    """Build another version of the small network."""
    net = small_model()
    with torch.no_grad():
        net[0].weight[:, 0] *= 0.2
        net[-1].bias[:2] += torch.tensor([0.2, -0.2]).double()
    return net


def test_differences_are_those_of_two_profiles(photos, classifier, tmp_path):
    """Their means are the differences of the means; another network is another run."""
    other = classifier_of(other_model())
    found = profiled(photos, classifier, tmp_path / "out", compare=other)
    alone = [profiled(photos, one, tmp_path / name) for one, name in ((classifier, "a"), (other, "b"))]
    same(found.profile, alone[0].profile, atol=0)
    means = [one.profile.values()["color_mean"] for one in alone]
    for item in found.paired.differences("owl"):
        place = ("red", "green", "blue").index(item.name)
        assert (item.first, item.second) == pytest.approx([float(mean[2, place]) for mean in means])
        assert item.low < item.difference < item.high
    (item,) = found.paired.differences(None, "accuracy")
    assert (item.first, item.second) == pytest.approx([one.accuracy for one in alone])
    assert "differences.csv" in names_in(tmp_path / "out")


def test_a_comparison_goes_on_with_the_same_network_only(photos, classifier, tmp_path, monkeypatch):
    other = classifier_of(other_model())
    wanted = profiled(photos, classifier, tmp_path / "wanted", compare=other)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stop):
            profiled(photos, classifier, tmp_path / "out", save_every=0, compare=other)
    with pytest.raises(ValueError, match="with other compared weights"):
        profiled(photos, classifier, tmp_path / "out", compare=classifier)
    with pytest.raises(ValueError, match="with other compared, other compared weights"):
        profiled(photos, classifier, tmp_path / "out")
    found = profiled(photos, classifier, tmp_path / "out", compare=other)
    assert found.paired.to_dataframe().equals(wanted.paired.to_dataframe())


# --- stopped and started again ------------------------------------------------------------------------------


class Stop(BaseException):
    """What ends a run."""


def stop_after(monkeypatch, batches):
    """Make the run fail after some batches, and note the photos that are counted."""
    seen = []
    update = ef.ClassProfile.update

    def counted(self, explanation, labels):
        if len(seen) == batches:
            raise Stop
        seen.append(len(labels))
        update(self, explanation, labels)

    monkeypatch.setattr(ef.ClassProfile, "update", counted)
    return seen


@pytest.mark.parametrize("stops", [[0], [1], [3, 2], [1, 1, 1, 1]])
@pytest.mark.parametrize("save_every", [0, 1000])
def test_stopped_run_goes_on_without_counting_twice(
    photos, classifier, tmp_path, monkeypatch, stops, save_every
):
    """Wherever it stopped, and however often; with saves after each batch nothing is explained twice."""
    (photos / "cat" / "bad.png").write_text("text")
    wanted = profiled(photos, classifier, tmp_path / "wanted")
    total = 0
    for batches in stops:
        with monkeypatch.context() as patch:
            seen = stop_after(patch, batches)
            with pytest.raises(Stop):
                profiled(photos, classifier, tmp_path / "out", save_every=save_every)
        total += sum(seen)
        assert names_in(tmp_path / "out") == ["progress.safetensors"]
    with monkeypatch.context() as patch:
        seen = stop_after(patch, 100)
        found = profiled(photos, classifier, tmp_path / "out", batch_size=3, save_every=save_every)
    assert total + sum(seen) == 13 if save_every == 0 else sum(seen) == 13
    same(found.profile, wanted.profile)
    assert found.skipped == wanted.skipped
    assert names_in(tmp_path / "out") == sorted(RESULTS)


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
import test_folder as t
from pathlib import Path
def slowly(photo):
    time.sleep(0.05)
    return t.preprocess(photo)
slowly.__name__ = "preprocess"
classifier = t.Classifier(t.small_model(), t.CLASSES, slowly, name="small", channels=["red", "green", "blue"], mean=0, std=1)
t.profiled(Path(sys.argv[2]), classifier, Path(sys.argv[3]), save_every=0, batch_size=1)
"""


def position_in(path):
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["progress"])["position"]
    except (OSError, SafetensorError):
        return 0


def test_killed_process_goes_on(tmp_path):
    """SIGKILL at any time: the state is whole, and what it says is what was counted."""
    photos = write_photos(tmp_path / "photos", {"cat": 40, "great_dane": 40, "owl": 39})
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(photos), str(out)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while position_in(out / "progress.safetensors") < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 5 <= position_in(out / "progress.safetensors") < 119
    classifier = classifier_of(small_model())
    found = profiled(photos, classifier, out, batch_size=16)
    wanted = profiled(photos, classifier, tmp_path / "wanted", batch_size=16)
    same(found.profile, wanted.profile)
    assert names_in(out) == sorted(RESULTS)


@pytest.mark.parametrize("batches", [0, 1, 4])
def test_an_interrupted_run_equals_one_that_was_not(photos, classifier, tmp_path, monkeypatch, batches):
    """Ctrl-C saves all batches that were counted, whenever the last save was; every number is the same then."""
    (photos / "cat" / "bad.png").write_text("text")
    wanted = profiled(photos, classifier, tmp_path / "wanted")
    with monkeypatch.context() as patch:
        monkeypatch.setattr(sys.modules[__name__], "Stop", KeyboardInterrupt)
        stop_after(patch, batches)
        with pytest.raises(
            KeyboardInterrupt, match=rf"{2 * batches} of 14 photos are counted and kept in .*progress"
        ):
            profiled(photos, classifier, tmp_path / "out", save_every=1000)
    assert position_in(tmp_path / "out" / "progress.safetensors") == 2 * batches
    found = profiled(photos, classifier, tmp_path / "out", save_every=1000)
    same(found.profile, wanted.profile, atol=0)
    assert found.confusion.counts.equal(wanted.confusion.counts)
    assert found.permutation == wanted.permutation
    assert found.settings == wanted.settings
    for name in ("profile.csv", "confusion.csv", "permutation.csv", "skipped.csv", "profile.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "wanted" / name).read_bytes()


def test_an_interrupt_in_the_middle_of_counting_keeps_what_was_whole(
    photos, classifier, tmp_path, monkeypatch
):
    """Between two of the metrics; the photos of that batch are counted again, in all of them."""
    wanted = profiled(photos, classifier, tmp_path / "wanted")
    with monkeypatch.context() as patch:
        seen = []

        def interrupted(self, *_):
            seen.append(1)
            if len(seen) == 4:
                raise KeyboardInterrupt

        patch.setattr("torchmetrics.SumMetric.update", interrupted)
        with pytest.raises(KeyboardInterrupt, match="6 of 13 photos"):
            profiled(photos, classifier, tmp_path / "out")
    found = profiled(photos, classifier, tmp_path / "out")
    same(found.profile, wanted.profile, atol=0)
    assert found.confusion.counts.equal(wanted.confusion.counts)


def test_an_interrupt_while_shuffling_keeps_all_photos(photos, classifier, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("edgefilter.profiles.permutation.shuffled_outputs", interrupted)
        with pytest.raises(KeyboardInterrupt, match="13 of 13 photos"):
            profiled(photos, classifier, tmp_path / "out")
    monkeypatch.setattr("edgefilter.profiles.tallies.Tallies.count", lambda *_: pytest.fail("counted again"))
    assert profiled(photos, classifier, tmp_path / "out").permutation.photos == 13


@pytest.fixture
def stopped(photos, classifier, tmp_path, monkeypatch):
    """The folder of a run that was stopped half-way."""
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stop):
            profiled(photos, classifier, tmp_path / "out", save_every=0)
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "predicted"}, "with by label instead of predicted"),
        ({"target": "predicted"}, "with target label instead of predicted"),
        ({"limit": 2}, "with other photos, limit None instead of 2"),
        ({"composite": "epsilon_alpha2_beta1"}, f"composite {DEFAULT} instead of epsilon_alpha2_beta1"),
        ({"pixels": True}, "with pixels False instead of True"),
        ({"bank": ef.get_bank("frei_chen")}, "with other weights"),
    ],
)
def test_other_settings_do_not_go_on(photos, classifier, stopped, options, message):
    with pytest.raises(ValueError, match=message + r"\. Choose another folder, or pass overwrite=True"):
        profiled(photos, classifier, stopped, **options)
    assert names_in(stopped) == ["progress.safetensors"]
    found = profiled(photos, classifier, stopped, overwrite=True, **options)
    assert found.settings["counted"] == (6 if "limit" in options else 13)


def test_same_settings_in_other_words_go_on(photos, classifier, stopped):
    found = profiled(photos, classifier, stopped, composite=DEFAULT, target="label")
    assert found.settings["counted"] == 13


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ("owl", "great_dane", "cat", "cup", "7")}, "with other class names"),
        ({"preprocess": darker}, "with preprocessing preprocess instead of darker"),
        ({"bits": 12}, r"with scale \[None, None\] instead of \[12, None\]"),
        ({"colors": {"warm": ["red"], "cold": ["green", "blue"]}}, "with colors .*, members .* instead of"),
    ],
)
def test_another_way_to_see_photos_does_not_go_on(photos, small_net, stopped, options, message):
    """Class names, preprocessing and groups are not in the weights."""
    names, way = options.pop("names", CLASSES), options.pop("preprocess", preprocess)
    other = Classifier(small_net, names, way, name="small", **options)
    with pytest.raises(ValueError, match=message):
        profiled(photos, other, stopped)


def test_groups_of_other_channels_do_not_go_on(photos, classifier, tmp_path, monkeypatch):
    """Their names are the same."""
    groups = {"warm": ["red", "green"], "cold": ["blue"]}, {"warm": ["red"], "cold": ["green", "blue"]}
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stop):
            profiled(photos, classifier, tmp_path / "out", save_every=0, colors=groups[0])
    with pytest.raises(ValueError, match="with members"):
        profiled(photos, classifier, tmp_path / "out", colors=groups[1])
    assert profiled(photos, classifier, tmp_path / "out", colors=groups[0]).settings["members"] == groups[0]


def test_a_preprocessing_without_a_name_goes_on_in_another_process():
    """Where an object lies in memory says nothing about it."""
    assert str(Batched(object())) == str(Batched(object())) == "<object object>"


@pytest.mark.parametrize("change", ["added", "removed", "changed"])
def test_other_photos_do_not_go_on(photos, classifier, stopped, change):
    path = photos / "cat" / "0.png"
    if change == "added":
        path.with_name("new.png").write_bytes(path.read_bytes())
    elif change == "removed":
        path.unlink()
    else:
        os.utime(path, (0, 0))
    with pytest.raises(ValueError, match="with other photos"):
        profiled(photos, classifier, stopped)


def test_other_weights_do_not_go_on(photos, classifier, stopped):
    with torch.no_grad():
        classifier.model[0].bias[0] += 1
    with pytest.raises(ValueError, match="with other weights"):
        profiled(photos, classifier, stopped)


def test_progress_of_another_version_is_refused(photos, classifier, stopped):
    path = stopped / "progress.safetensors"
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["progress"]) | {"format": "edgefilter profile progress 1"}
    save_file({}, path, metadata={"progress": json.dumps(about)})
    with pytest.raises(ValueError, match="with other version of edgefilter"):
        profiled(photos, classifier, stopped)


def test_damaged_progress_is_refused(photos, classifier, stopped):
    (stopped / "progress.safetensors").write_text("text")
    with pytest.raises(ValueError, match="which cannot be read"):
        profiled(photos, classifier, stopped)
    assert profiled(photos, classifier, stopped, overwrite=True).settings["counted"] == 13


def test_results_are_kept_unless_asked(photos, classifier, tmp_path):
    profiled(photos, classifier, tmp_path / "out", limit=1)
    before = (tmp_path / "out" / "profile.csv").read_bytes()
    with pytest.raises(
        FileExistsError, match=r"without results; got .* which holds profile\.csv, profile\.saf"
    ):
        profiled(photos, classifier, tmp_path / "out")
    assert (tmp_path / "out" / "profile.csv").read_bytes() == before
    profiled(photos, classifier, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "profile.csv").read_bytes() != before


# --- several processes --------------------------------------------------------------------------------------

CRASH = """
import sys
sys.path.insert(0, sys.argv[1])
import test_folder as t
from edgefilter.profiles import processes
from pathlib import Path
with processes():
    import torch.distributed as dist
    photos, out = map(Path, sys.argv[2:])
    if dist.get_rank() == 1:
        update, seen = t.ef.ClassProfile.update, []
        def failing(self, explanation, labels):
            seen.append(labels)
            if len(seen) == 3:
                raise RuntimeError("this process fails")
            update(self, explanation, labels)
        t.ef.ClassProfile.update = failing
    t.profiled(photos, t.classifier_of(t.small_model()), out, save_every=0)
"""


def torchrun(*arguments, **options):
    """Start two processes as a user does, and wait."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False, **options
    )


def test_crash_of_one_process_ends_all_and_the_rest_is_counted_once(photos, tmp_path):
    """The other process does not wait for ever; one process counts what two have left."""
    (photos / "cat" / "bad.png").write_text("text")
    script, out = tmp_path / "crash.py", tmp_path / "out"
    script.write_text(CRASH)
    done = torchrun(script, Path(__file__).parent, photos, out)
    assert done.returncode != 0
    assert "this process fails" in done.stderr
    assert position_in(out / "progress.safetensors") in (4, 8)  # two photos for each process at a time
    classifier = classifier_of(small_model())
    found = profiled(photos, classifier, out)
    wanted = profiled(photos, classifier, tmp_path / "wanted")
    same(found.profile, wanted.profile)
    assert found.skipped == wanted.skipped


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "labels"}, "by must be one of label, predicted; got 'labels'; did you mean 'label'"),
        ({"target": "class"}, "target must be one of label, predicted; got 'class'"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1; got 0"),
        ({"workers": -1}, "workers must be an integer >= 0; got -1"),
        ({"limit": 0}, "limit must be an integer >= 1; got 0"),
        ({"permutations": -1}, "permutations must be an integer >= 0; got -1"),
    ],
)
def test_odd_options_are_refused(photos, classifier, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        profiled(photos, classifier, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_network_in_training_mode_is_refused_as_it_was(photos, tmp_path):
    """Before it runs, as a run would change the statistics of its normalization."""
    net = nn.Sequential(nn.BatchNorm2d(3), *small_model()).double()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match="model must be in evaluation mode"):
        profiled(photos, classifier_of(net), tmp_path / "out")
    with pytest.raises(ValueError, match="model must be in evaluation mode"):
        permutation_check(ef.EdgeFilterAttribution(net), torch.rand(4, 3, 12, 12).double())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_odd_folders_are_refused(photos, classifier, tmp_path):
    with pytest.raises(FileNotFoundError, match="folder must be an existing folder"):
        profiled(tmp_path / "none", classifier, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="which holds no folders"):
        profiled(photos / "cat", classifier, tmp_path / "out")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="whose folders hold none"):
        profiled(tmp_path / "empty", classifier, tmp_path / "out")
    with pytest.raises(ValueError, match="out must lie outside the folder of photos"):
        profiled(photos, classifier, photos / "profile")
    with pytest.raises(NotADirectoryError, match="out must be a folder; got the file"):
        profiled(photos, classifier, photos / ".." / "photos" / "cat" / "0.png")


def test_unwritable_output_is_seen_before_the_computation(photos, classifier, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr("edgefilter.profiles.run.save_file", full)
    monkeypatch.setattr(ef.ClassProfile, "update", lambda *_: pytest.fail("the computation began"))
    with pytest.raises(OSError, match="no space left"):
        profiled(photos, classifier, tmp_path / "out")
    assert names_in(tmp_path / "out") == []
