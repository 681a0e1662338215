"""Whether high or low values of a color speak: by hand, against interventions on the plain model, and in words."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter import Explanation


class Readout(nn.Module):
    """A network of one output for each row of weights: a function of the weighted mean color of the image."""

    def __init__(self, rows, function=lambda value: value, bias=0.0):
        super().__init__()
        rows = torch.as_tensor(rows, dtype=torch.float64)
        self.stem = nn.Conv2d(rows.shape[1], len(rows), 1).double()
        self.stem.weight.data.copy_(rows[:, :, None, None])
        self.stem.bias.data.fill_(bias)
        self.function = function
        self.eval()

    def forward(self, images):
        return self.function(self.stem(images)).mean((2, 3))


def constant(*color, size=6):
    return torch.tensor(color, dtype=torch.float64).reshape(1, -1, 1, 1).expand(1, -1, size, size).clone()


def explain(model, images, target=0, **options):
    return ef.EdgeFilterAttribution(model, **options).explain(images, target)


# --- by hand --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("weight", "value", "reading", "words"), [
    (-2.0, -1.2, "low", "Dark in green speaks for it:"),
    (2.0, 1.2, "high", "Bright in green speaks for it:"),
    (-2.0, 1.2, "high", "Bright in green speaks against it, dark in green for it:"),
    (2.0, -1.2, "low", "Dark in green speaks against it, bright in green for it:"),
])  # fmt: skip
def test_a_constant_image_is_read_as_the_network_likes_it(weight, value, reading, words):
    """Of one value, there is no darker place: only the network says what speaks."""
    found = explain(Readout([[0.0, weight, 0.0]]), constant(0.7, value, 0.7))
    levels = found.levels()
    assert levels.reading == (("", reading, ""),)
    assert words in found.summary()
    step = 0.05 * (1.2 + 0.7 if value < 0 else 0.5)
    expected = [0.7, value, 0.7]
    assert_close(levels.there[0, 1], torch.tensor(value, dtype=torch.float64))
    assert_close(levels.everywhere[0], torch.tensor(expected, dtype=torch.float64))
    assert_close(levels.step[0], torch.tensor(step, dtype=torch.float64))
    assert_close(levels.higher[0, 1], torch.tensor(weight * step, dtype=torch.float64))
    assert_close(levels.lower[0, 1], torch.tensor(-weight * step, dtype=torch.float64))
    assert levels.higher[0, [0, 2]].isnan().all()


def test_a_gray_constant_image_takes_its_step_from_its_size():
    found = explain(Readout([[-2.0]]), constant(-1.2))
    assert found.levels().reading == (("low",),)
    assert_close(found.levels().step[0], torch.tensor(0.06, dtype=torch.float64))


def test_a_dark_color_speaks_for_it_in_a_photo_of_values_from_0_to_1():
    """There is less than nothing of no color: what is absent is dark, and the score of a little green is negative."""
    found = explain(Readout([[0.0, -1.0, 0.0]], bias=1.0), constant(0.9, 0.05, 0.1))
    assert (
        "Bright in green speaks against it, dark in green for it: 5 % brighter there lowers"
        in found.summary()
    )


def test_what_is_best_as_it_is_has_no_direction():
    """At a peak of the output both steps lower it."""
    peak = Readout([[0.0, 1.0, 0.0]], function=lambda value: (value - (value - 0.5).relu() * 2).relu())
    found = explain(peak, constant(0.2, 0.5, 0.2))
    assert found.levels().reading == (("", "unclear", ""),)
    assert (
        "Green as it is speaks for it: 5 % brighter and 5 % darker there both lower the output."
        in found.summary()
    )


@pytest.mark.parametrize(("steps", "words"), [
    ((-0.3, -0.2), "Green as it is speaks for it: 5 % brighter and 5 % darker there both lower the output."),
    ((0.3, 0.2), "Whether bright or dark in green speaks for it is unclear: 5 % brighter and 5 % darker there both raise the output."),
    ((0.001, -0.2), "unclear: 5 % brighter and 5 % darker there hardly change the output."),
])  # fmt: skip
def test_what_is_unclear_is_said_to_be(steps, words):
    found = by_hand(steps)
    assert found.levels().reading == (("", "unclear"),)
    assert words in found.summary()


def by_hand(steps, score=4.0, colors=("red", "green"), **changes):
    """An explanation of one image whose second color was stepped."""
    response = torch.tensor([1.0, score]).reshape(1, 2, 1, 1, 1)
    nan = math.nan
    readings = torch.tensor([[[0.5, 0.5, 0.05, nan, nan], [0.1, 0.6, 0.05, *steps]]])
    return Explanation(
        response, None, response.sum().reshape(1), (0,), colors, ("sobel_x",), readings=readings, **changes
    )


def test_a_small_change_beside_a_large_output_is_not_printed_as_nothing():
    found = by_hand((0.0004, -0.0003), score=0.002, base=torch.tensor([400.0]))
    assert (
        "5 % brighter there raises the output by 0.0004, 5 % darker lowers it by 0.0003."
        not in found.summary()
    )
    response = 1e-3 * found.response
    found = dataclasses.replace(found, response=response)
    assert (
        "5 % brighter there raises the output by 0.0004, 5 % darker lowers it by 0.0003." in found.summary()
    )


def test_steps_that_hardly_change_the_output_say_nothing():
    """Below one percent of the scores."""
    assert by_hand((0.051, -0.051)).levels().reading == (("", "high"),)
    assert by_hand((0.049, -0.051)).levels().reading == (("", "unclear"),)


# --- interventions on the plain model -------------------------------------------------------------------------


def places(relevance, score):
    """Return where a step is taken, by SciPy and NumPy: the smoothed relevance of the score's sign, cut at half of its sum."""
    size = np.clip(relevance * np.sign(score), 0, None)
    smooth = gaussian_filter(size, 0.02 * max(size.shape), mode="reflect", truncate=6)
    ordered = np.sort(smooth.ravel())[::-1]
    least = ordered[int((ordered.cumsum() < 0.5 * ordered.sum()).sum())]
    return np.minimum(smooth / least, 1)


@pytest.mark.parametrize("against", [None, 12, "rest", "odds"])
def test_steps_are_what_the_plain_model_does(against):
    """The network is run by itself on images that are brighter and darker where SciPy says."""
    network = ef.models.load("fruits").double()
    images = torch.rand(3, 3, 100, 100, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    images = nn.functional.avg_pool2d(images, 5)[:, :, :, :20].repeat_interleave(3, 2).repeat_interleave(3, 3)
    images[1] = images[1] ** 3
    found = ef.EdgeFilterAttribution(network).explain(images, [3, 10, 7], against=against)
    levels = found.levels()

    def explained(some):
        with torch.no_grad():
            output = network(some)
        rows, targets = torch.arange(3), torch.tensor([3, 10, 7])
        if against is None:
            return output[rows, targets]
        if against == "odds":
            share = output.softmax(1)[rows, targets]
            return (share / (1 - share)).log()
        if against == "rest":
            return output[rows, targets] - (output.sum(1) - output[rows, targets]) / (output.shape[1] - 1)
        return output[rows, targets] - output[:, against]

    for image, color in (~levels.higher.isnan()).nonzero().tolist():
        where = torch.from_numpy(places(found.pixel[image, color].numpy(), float(found.color[image, color])))
        step = 0.05 * (images[image].max() - images[image].min())
        for sign, measured in ((1, levels.higher), (-1, levels.lower)):
            changed = images.clone()
            changed[image, color] += sign * step * where
            assert_close(
                measured[image, color], (explained(changed) - explained(images))[image], rtol=1e-6, atol=1e-8
            )
    assert (~levels.higher.isnan()).sum(1).min() >= 1


def test_the_largest_color_is_stepped_and_another_of_four_tenths():
    """Of equal ones, the first."""
    two = explain(Readout([[3.0, 2.9, 0.1]]), constant(1.0, 1.0, 1.0)).levels()
    assert two.reading == (("high", "high", ""),)
    three = explain(Readout([[1.0, 1.0, 1.0]]), constant(1.0, 1.0, 1.0)).levels()
    assert sorted(three.reading[0]) == ["", "", "high"]
    twelve = explain(Readout([[1.0] * 11 + [4.0]]), constant(*[1.0] * 12)).levels()
    assert twelve.reading == (("",) * 11 + ("high",),)


# --- laws -----------------------------------------------------------------------------------------------------


def test_a_batch_gives_the_same_as_its_images():
    network, images = ef.models.load("digits").double(), torch.rand(3, 1, 28, 28, dtype=torch.float64)
    attribution = ef.EdgeFilterAttribution(network)
    whole = attribution.explain(images, [1, 2, 3])
    for place in range(3):
        one = attribution.explain(images[place : place + 1], [place + 1])
        assert_close(whole[place].readings, one.readings, rtol=1e-9, atol=1e-9)
    some = attribution.explain(images, [1, 2, 3], internal_batch_size=2)
    assert_close(whole.readings, some.readings, rtol=1e-9, atol=1e-9)


def test_scaling_the_output_scales_the_changes_and_not_the_levels():
    image = torch.rand(1, 3, 6, 6, dtype=torch.float64)
    one, ten = (
        explain(Readout([[0.2 * scale, 1.0 * scale, 0.1 * scale]]), image).levels() for scale in (1, 10)
    )
    assert_close(10 * one.higher, ten.higher, equal_nan=True)
    assert_close(one.there, ten.there, equal_nan=True)
    assert one.reading == ten.reading


def test_shares_keep_the_reading():
    found = explain(Readout([[0.0, -2.0, 0.3]]), constant(0.7, 1.2, 0.7))
    shares = found.normalized()
    assert found.color[0, 1] < 0 < shares.color[0, 1]
    assert found.levels().reading == shares.levels().reading == (("", "high", ""),)
    assert_close(shares.levels().higher, found.levels().higher / found.total, equal_nan=True)
    assert_close(shares.levels().there, found.levels().there, equal_nan=True)


def test_what_is_compared_turns_the_reading_round():
    """What speaks for a rather than b speaks against b rather than a."""
    net, image = Readout([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), constant(0.7, 1.2, 0.7)
    attribution = ef.EdgeFilterAttribution(net)
    one, other = attribution.explain(image, 0, against=1), attribution.explain(image, 1, against=0)
    assert_close(one.levels().higher, -other.levels().higher, equal_nan=True)
    assert "Bright in green speaks for it:" in one.summary()
    assert "Bright in green speaks against it, dark in green for it:" in other.summary()
    assert (attribution.explain(image, 0) - attribution.explain(image, 1)).readings is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_types_read_the_same(dtype):
    """Sums over a photo are taken in a wider type."""
    network, images = (
        ef.models.load("fruits"),
        torch.rand(1, 3, 100, 100, generator=torch.Generator().manual_seed(2)),
    )
    images[:, 0] /= 3
    wide = ef.EdgeFilterAttribution(network.double()).explain(images.double(), 5).levels()
    narrow = ef.EdgeFilterAttribution(network.to(dtype)).explain(images.to(dtype), 5).levels()
    assert_close(narrow.everywhere.double(), wide.everywhere, rtol=2e-2, atol=0)
    assert_close(narrow.there.double(), wide.there, rtol=0.1, atol=0)


def test_the_model_and_the_image_are_as_they_were():
    net, image = ef.models.load("digits"), torch.rand(1, 1, 28, 28)
    before, state = image.clone(), {name: value.clone() for name, value in net.state_dict().items()}
    ef.EdgeFilterAttribution(net).explain(image)
    assert torch.equal(before, image)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_readings_are_saved_cut_and_listed(tmp_path):
    found = explain(
        Readout([[0.5, -2.0, 0.0]]), torch.cat([constant(0.7, -1.2, 0.7), constant(0.1, 0.9, 0.5)]), [0, 0]
    )
    again = Explanation.load(found.save(tmp_path / "e.safetensors"))
    assert_close(again.readings, found.readings, rtol=0, atol=0, equal_nan=True)
    assert again[1].levels().reading == found.levels().reading[1:]
    listed = found.to_dict()["levels"]
    assert listed["reading"] == [list(row) for row in found.levels().reading]
    assert listed["higher"][0][2] is None
    assert listed["there"][0][:2] == found.levels().there[0, :2].tolist()
    with pytest.raises(
        ValueError, match=r"readings must have shape \(2, 3, 5\), as there are targets and colors"
    ):
        dataclasses.replace(found, readings=torch.zeros(2, 3))


# --- groups, bands and other bases ----------------------------------------------------------------------------


def test_bands_are_high_and_low():
    options = {"colors": {"infrared": ["B08", "B11"], "visible": ["B04"]}, "channels": ["B08", "B11", "B04"]}
    found = explain(Readout([[-1.0, -2.0, 0.2]]), constant(-1.0, -0.5, 0.3), **options)
    assert found.levels().reading == (("low", ""),)
    assert "Low in infrared speaks for it: 5 % lower there raises the output by" in found.summary()
    assert_close(found.levels().everywhere[0, 0], torch.tensor(-0.75, dtype=torch.float64))


@pytest.mark.parametrize(("row", "color", "words"), [
    ([1.0, -1.0, 0.0], (0.8, 0.3, 0.5), "Toward red speaks for it"),
    ([-1.0, 1.0, 0.0], (0.3, 0.8, 0.5), "Toward green speaks for it"),
    ([-0.5, -0.5, 1.0], (0.2, 0.2, 0.9), "Toward blue speaks for it"),
    ([0.5, 0.5, -1.0], (0.9, 0.9, 0.2), "Toward yellow speaks for it"),
    ([1.0, 1.0, 1.0], (0.5, 0.5, 0.5), "Bright in luminance speaks for it"),
])  # fmt: skip
@pytest.mark.parametrize("order", [("red", "green", "blue"), ("blue", "green", "red")])
def test_opponent_colors_lie_between_two(row, color, words, order):
    """Whatever the order of the channels is."""
    places = [("red", "green", "blue").index(name) for name in order]
    net = Readout([[row[place] for place in places]])
    image = constant(*(color[place] for place in places))
    found = explain(net, image, basis="opponent", channels=order)
    assert words in found.summary()


# --- without steps --------------------------------------------------------------------------------------------


def test_relevance_alone_only_describes_the_image():
    """One forward and one backward pass: no word on what the network would do."""
    image = constant(0.2, 0.1, 0.1)
    image[:, :, :3] = torch.tensor([0.9, 0.1, 0.1], dtype=torch.float64)[:, None, None]
    found = explain(Readout([[1.0, 0.0, 0.0]]), image, calibrate=False)
    assert found.readings is None
    levels = found.levels()
    assert levels.reading == (("", "", ""),)
    assert levels.higher.isnan().all()
    assert levels.there[0, 0] > levels.everywhere[0, 0]
    assert "Where red speaks most, the image is bright in red: " in found.summary()
    assert "raises" not in found.summary()


@pytest.mark.parametrize(("value", "words"), [
    (-1.2, "Where green speaks most, the image is dark in green: -1.20 there, 0 stands for no color."),
    (1.2, "Where green speaks most, the image is bright in green: 1.20 there, 0 stands for no color."),
    (0.01, ""),
])  # fmt: skip
def test_a_constant_normalised_image_is_described_beside_absence(value, words):
    found = explain(Readout([[0.0, 50.0, 0.0]]), constant(-0.7, value, 0.7), calibrate=False)
    assert (words in found.summary()) if words else ("Where green" not in found.summary())


def test_the_runs_can_be_left_out():
    """They cost two runs of the model; the scores are the same."""
    attribution = ef.EdgeFilterAttribution(Readout([[1.0, 0.5, 0.0]]))
    image = torch.rand(1, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    runs = []
    attribution.model.register_forward_hook(lambda *_: runs.append(1))
    found = attribution.explain(image)
    with_levels, attribution.with_levels = len(runs), False
    again = attribution.explain(image)
    assert len(runs) == 2 * with_levels - 2
    assert again.readings is None
    assert_close(again.response, found.response, rtol=0, atol=0)


def test_without_images_nothing_is_said():
    found = Explanation(
        torch.ones(1, 3, 1, 2, 2), None, torch.tensor([12.0]), (0,), ("red", "green", "blue"), ("sobel_x",)
    )
    assert found.levels().there.isnan().all()
    assert found.levels().reading == (("", "", ""),)
    assert not any(word in found.summary() for word in ("bright", "dark", "Bright", "Dark"))


def test_an_empty_batch_has_no_levels():
    found = by_hand((0.3, -0.2))[:0]
    assert found.levels().reading == ()
    assert found.to_dict()["levels"]["reading"] == []
