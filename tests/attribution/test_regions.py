"""Scores by region: a partition of the scores, in the places where the relevance is."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.attribution.explanation import Explanation
from edgefilter.stems.windows import Window

SIZE = (12, 14)


class Before(nn.Module):
    """Something that a model does before its stem."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


MEAN, STD = torch.tensor([0.4, 0.5, 0.6])[:, None, None], torch.tensor([0.2, 0.3, 0.4])[:, None, None]


def normalized(x):
    return (x - MEAN.to(x)) / STD.to(x)


def opponent(x):
    red, green, blue = x.split(1, 1)
    return torch.cat([red + green + blue, red - green, red + green - 2 * blue], 1)


def net(conv, *before):
    torch.manual_seed(1)
    layers = [*map(Before, before), conv, nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(9 * conv.out_channels, 4)).double().eval()


EXACT = {
    "3x3": (nn.Conv2d(3, 4, 3), ()),
    "stride 2": (nn.Conv2d(3, 4, 3, stride=2, padding=1), ()),
    "7x7, stride 2": (nn.Conv2d(3, 4, 7, stride=2, padding=3), ()),
    "4x4 patches": (nn.Conv2d(3, 4, 4, stride=4), ()),
    "gaps": (nn.Conv2d(3, 4, 2, stride=3), ()),
    "dilated": (nn.Conv2d(3, 4, 3, dilation=2, padding=2), ()),
    "same, 5x3": (nn.Conv2d(3, 4, (5, 3), padding="same"), ()),
    "reflect": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), ()),
    "circular": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), ()),
    "normalized": (nn.Conv2d(3, 4, 3, padding=1), (normalized,)),
    "normalized and padded": (
        nn.Conv2d(3, 4, 3, stride=2),
        (normalized, lambda x: nn.functional.pad(x, (0, 1, 2, 0))),
    ),
    "flipped": (nn.Conv2d(3, 4, 3, stride=2), (normalized, lambda x: x.flip(3))),
    "rolled and cropped": (nn.Conv2d(3, 4, 3), (lambda x: x.roll(2, 2)[:, :, 1:-2, 3:],)),
    "channels reordered": (nn.Conv2d(3, 4, 3), (lambda x: x[:, [2, 1, 0]],)),
    "opponent colors": (nn.Conv2d(3, 4, 3, padding=1), (opponent,)),
    "upsampled": (nn.Conv2d(3, 4, 3, padding=1), (lambda x: nn.functional.interpolate(x, scale_factor=2.0),)),
}


@pytest.fixture
def images(generator):
    return torch.rand(2, 3, *SIZE, generator=generator, dtype=torch.float64)


@pytest.fixture
def label_maps(generator):
    """Labels that are neither consecutive nor all above 0, and not the same in both images."""
    return torch.randint(0, 5, (2, *SIZE), generator=generator) * 3 - 2


def by_loop(pixel, label_map, labels):
    """Add up a pixel map (C, H, W) by label, pixel by pixel."""
    found = np.zeros((len(labels), len(pixel)))
    for row in range(label_map.shape[0]):
        for column in range(label_map.shape[1]):
            found[labels.index(int(label_map[row, column]))] += pixel[:, row, column].numpy()
    return torch.from_numpy(found)


@pytest.mark.parametrize("calibrate", [True, False])
@pytest.mark.parametrize("name", EXACT)
def test_regions_add_up_to_the_scores_and_hold_what_the_pixel_map_has_in_them(
    name, calibrate, images, label_maps
):
    conv, before = EXACT[name]
    explanation = ef.EdgeFilterAttribution(net(conv, *before), calibrate=calibrate).explain(images, 1)
    regions = explanation.region(label_maps)
    assert_close(regions.color_edge.sum(1), explanation.color_edge, rtol=0, atol=1e-12)
    for image, label_map in enumerate(label_maps):
        expected = by_loop(explanation.pixel[image], label_map, regions.labels)
        assert_close(regions.color[image], expected, rtol=0, atol=1e-11)
    assert regions.note == ""


def test_a_layer_of_filters_gives_the_same(images, label_maps):
    model = net(nn.Conv2d(3, 4, 3, stride=2, padding=1))
    one, other = (
        ef.EdgeFilterAttribution(m).explain(images, 1).region(label_maps)
        for m in (model, ef.replace_stem(model))
    )
    assert_close(one.color_edge, other.color_edge, rtol=0, atol=1e-10)


@pytest.mark.parametrize("composite", ["epsilon_plus_flat", "zplus", "epsilon_gamma"])
def test_other_rules_of_the_bank_are_followed(composite, images, label_maps):
    explanation = ef.EdgeFilterAttribution(net(nn.Conv2d(3, 4, 3)), composite).explain(images, 1)
    regions = explanation.region(label_maps)
    expected = by_loop(explanation.pixel[1], label_maps[1], regions.labels)
    assert_close(regions.color[1], expected, rtol=0, atol=1e-11)
    assert regions.note == ""


@pytest.mark.parametrize("composite", ["epsilon_gamma_box", "epsilon"])
def test_rules_that_look_at_the_values_are_said_to_differ(composite, images, label_maps):
    """The regions add up all the same."""
    explanation = ef.EdgeFilterAttribution(net(nn.Conv2d(3, 4, 3)), composite).explain(images, 1)
    regions = explanation.region(label_maps)
    assert_close(regions.color_edge.sum(1), explanation.color_edge, rtol=0, atol=1e-12)
    assert "another rule" in regions.note


@pytest.mark.parametrize("before", [lambda x: nn.functional.pixel_unshuffle(x, 2), lambda x: nn.functional.interpolate(x, size=(20, 24), mode="bilinear")])  # fmt: skip
def test_what_cannot_be_followed_still_adds_up(before, images, label_maps):
    channels = before(images).shape[1]
    explanation = ef.EdgeFilterAttribution(net(nn.Conv2d(channels, 4, 3, padding=1), before)).explain(
        images, 1
    )
    regions = explanation.region(label_maps)
    assert_close(regions.color_edge.sum(1), explanation.color_edge, rtol=0, atol=1e-12)
    assert regions.note != ""


class Two(nn.Module):
    """Two convolutions that read the image side by side."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second, self.last = first, second, nn.Linear(72, 4)

    def forward(self, x):
        features = torch.cat([self.first(x).relu(), self.second(x).relu()], 1)
        return self.last(nn.functional.adaptive_avg_pool2d(features, 3).flatten(1))


@pytest.mark.parametrize(
    ("second", "exact"),
    [(nn.Conv2d(3, 4, 5, padding=2), True), (nn.Conv2d(3, 4, 3, padding=2, dilation=2), False)],
)
def test_stems_side_by_side_agree_where_they_see_the_same_pixels(second, exact, images, label_maps):
    model = Two(nn.Conv2d(3, 4, 3, padding=1), second).double().eval()
    explanation = ef.EdgeFilterAttribution(model).explain(images, 1)
    regions = explanation.region(label_maps)
    assert_close(regions.color_edge.sum(1), explanation.color_edge, rtol=0, atol=1e-12)
    assert (regions.note == "") is exact


def test_a_layer_behind_the_stem_is_taken_as_spread_over_the_image(images, label_maps):
    model = net(nn.Conv2d(5, 4, 3), nn.Conv2d(3, 5, 3, stride=2), nn.ReLU())
    explanation = ef.EdgeFilterAttribution(model, layer="2").explain(images, 1)
    regions = explanation.region(label_maps)
    assert_close(regions.color_edge.sum(1), explanation.color_edge, rtol=0, atol=1e-12)
    assert "no pixel map" in regions.note


def test_places_that_see_padding_only_share_their_relevance_among_all_pixels(images, label_maps):
    explanation = ef.EdgeFilterAttribution(net(nn.Conv2d(3, 4, 3, padding=4))).explain(images, 1)
    regions = explanation.region(label_maps)
    assert_close(regions.color_edge.sum(1), explanation.color_edge, rtol=0, atol=1e-12)


def test_one_region_is_everything(images):
    explanation = ef.EdgeFilterAttribution(net(nn.Conv2d(3, 4, 3, stride=2))).explain(images, 1)
    whole = explanation.region(np.full(SIZE, 7))
    assert whole.labels == (7,)
    assert_close(whole.color_edge[:, 0], explanation.color_edge, rtol=0, atol=1e-12)
    assert_close(whole.total[:, 0], explanation.total, rtol=0, atol=1e-12)


def test_a_response_is_shared_by_the_squares_of_its_kernel():
    """By hand: sobel_x has squares 1 4 1 in the left and the right column, 12 in all; the regions are the three columns."""
    layer = ef.EdgeFilterConv2d(1, 1, "sobel").double()
    response = torch.tensor([[[12.0]], [[24.0]]]).double()[None, None]  # of sobel_x and sobel_y, one place
    explanation = Explanation.from_responses(response, layer, torch.zeros(1, 1, 3, 3).double())
    regions = explanation.region(torch.tensor([[0, 1, 2]] * 3))
    assert_close(regions.edge[0], torch.tensor([[6.0, 4.0], [0.0, 16.0], [6.0, 4.0]]).double())
    assert_close(regions.total[0], torch.tensor([10.0, 16.0, 10.0]).double())


def test_strides_move_the_window_by_hand():
    """Two places of a row, stride 2: the middle pixel of five is seen by both."""
    layer = ef.EdgeFilterBank2d(ef.FilterBank([ef.Kernel("ones", [[1, 1, 1]])]), 1, stride=(1, 2)).double()
    response = torch.tensor([[3.0, 30.0]]).double()[None, None, None]
    explanation = Explanation.from_responses(response, layer, torch.zeros(1, 1, 1, 5).double())
    regions = explanation.region(torch.arange(5)[None])
    assert regions.total[0].tolist() == pytest.approx([1, 1, 11, 10, 10])


def test_regions_that_an_image_lacks_have_nothing_in_it(images):
    maps = torch.zeros(2, *SIZE, dtype=torch.long)
    maps[1] = 4
    explanation = ef.EdgeFilterAttribution(net(nn.Conv2d(3, 4, 3))).explain(images, 1)
    regions = explanation.region(maps)
    assert regions.labels == (0, 4)
    assert float(regions.total[0, 1]) == float(regions.total[1, 0]) == 0.0


def test_a_map_may_be_of_truth_values_or_of_any_whole_numbers(images):
    explanation = ef.EdgeFilterAttribution(net(nn.Conv2d(3, 4, 3))).explain(images, 1)
    mask = np.zeros(SIZE, dtype=bool)
    mask[:5] = True
    expected = explanation.region(torch.from_numpy(mask).long())
    for given in (
        mask,
        mask.astype(np.uint8),
        torch.from_numpy(mask),
        mask.astype(np.int16)[None].repeat(2, 0),
    ):
        assert_close(explanation.region(given).color_edge, expected.color_edge)


def test_shares_files_and_copies_keep_their_regions(images, label_maps, tmp_path):
    explanation = ef.EdgeFilterAttribution(net(nn.Conv2d(3, 4, 3, stride=2, padding=1))).explain(images, 1)
    expected = explanation.region(label_maps)
    loaded = Explanation.load(explanation.save(tmp_path / "e.safetensors"))
    for other in (loaded, pickle.loads(pickle.dumps(explanation))):
        assert torch.equal(other.region(label_maps).color_edge, expected.color_edge)
        assert other.region(label_maps).note == ""
    assert torch.equal(explanation[1].region(label_maps[1]).color_edge[0], expected.color_edge[1])
    shares = explanation.normalized().region(label_maps)
    assert_close(shares.total, expected.total / explanation.total[:, None])
    twice = explanation - dataclasses.replace(
        explanation, response=-explanation.response, pixel=-explanation.pixel
    )
    assert_close(twice.region(label_maps).color_edge, 2 * expected.color_edge)


def test_without_windows_each_place_counts_for_the_pixel_under_its_middle():
    response = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None, None]
    explanation = Explanation(response, None, torch.tensor([10.0]), (0,), ("gray",), ("a",))
    regions = explanation.region(np.array([[5, 5, 9, 9]] * 4))
    assert regions.total.tolist() == [[4.0, 6.0]]
    assert "under its middle" in regions.note


def test_the_table_has_a_row_for_each_region_color_and_filter(images, label_maps):
    explanation = ef.EdgeFilterAttribution(net(nn.Conv2d(3, 4, 3))).explain(images, 1)
    regions = explanation.region(label_maps)
    table = regions.to_dataframe()
    assert list(table.columns) == ["image", "target", "region", "color", "filter", "label", "relevance"]
    assert len(table) == 2 * len(regions.labels) * 3 * 9
    sums = table.groupby(["image", "region"])["relevance"].sum().to_numpy().reshape(2, -1)
    np.testing.assert_allclose(sums, regions.total.numpy())
    row = table[(table["filter"] == "dx1_dy0") & (table["color"] == "red")].iloc[0]
    assert row["label"] == "edge_x"
    assert row["relevance"] == pytest.approx(
        float(regions.color_edge[0, 0, 0, explanation.filters.index("dx1_dy0")])
    )
    assert repr(regions) == f"RegionScores(2 images, {len(regions.labels)} regions, 3 colors, 9 filters)"


@pytest.mark.parametrize(
    ("label_map", "error", "message"),
    [
        (torch.zeros(SIZE), TypeError, r"label_map must hold whole numbers, one label per pixel; got torch.float32\. Pass"),
        (np.zeros(SIZE), TypeError, r"label_map must hold whole numbers, one label per pixel; got float64"),
        (None, TypeError, r"label_map must hold whole numbers"),
        (torch.zeros(6, 7, dtype=torch.long), ValueError, r"must have shape \(12, 14\) or \(2, 12, 14\), .*; got \(6, 7\)\. Label the picture"),
        (torch.zeros(3, *SIZE, dtype=torch.long), ValueError, r"got \(3, 12, 14\)"),
        (torch.zeros(14, 12, dtype=torch.long), ValueError, r"got \(14, 12\)"),
    ],
)  # fmt: skip
def test_what_is_no_label_map_is_refused(label_map, error, message, images):
    explanation = ef.EdgeFilterAttribution(net(nn.Conv2d(3, 4, 3))).explain(images, 1)
    with pytest.raises(error, match=message):
        explanation.region(label_map)


def test_superpixels_of_a_photo(generator):
    """SLIC of scikit-image on a photo; the sums of each superpixel are those of the pixel map, in float32."""
    segmentation = pytest.importorskip("skimage.segmentation")
    data = pytest.importorskip("skimage.data")
    photo = data.chelsea()[100:196, 150:246]
    superpixels = segmentation.slic(photo, n_segments=40)
    image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255
    model = net(nn.Conv2d(3, 8, 7, stride=2, padding=3), normalized).float()
    explanation = ef.EdgeFilterAttribution(model).explain(image)
    regions = explanation.region(superpixels)
    assert regions.note == ""
    expected = by_loop(explanation.pixel[0], superpixels, regions.labels)
    assert_close(
        regions.color[0].double(), expected, rtol=0, atol=1e-5 * float(explanation.pixel.abs().sum())
    )


def test_images_with_channels_last(images, label_maps):
    model = net(nn.Conv2d(3, 4, 3), lambda x: x.permute(0, 3, 1, 2))
    explanation = ef.EdgeFilterAttribution(model).explain(images.permute(0, 2, 3, 1).contiguous(), 1)
    regions = explanation.region(label_maps)
    expected = by_loop(explanation.pixel[0], label_maps[0], regions.labels)
    assert_close(regions.color[0], expected, rtol=0, atol=1e-11)


def test_the_window_can_be_wrong_and_is_found_out(images, label_maps):
    """The note is a comparison, not a promise."""
    explanation = ef.EdgeFilterAttribution(net(nn.Conv2d(3, 4, 3))).explain(images, 1)
    window = explanation.window
    assert isinstance(window, Window)
    turned = dataclasses.replace(explanation, window=window._replace(pixels=window.pixels.flip(0)))
    assert turned.region(label_maps).note != ""
