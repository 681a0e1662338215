"""Any number of channels, by name and in groups: the game, the tables, the files, the figures."""

from __future__ import annotations

import json

import pytest
import torch
from captum.attr import FeatureAblation, LayerFeatureAblation, LayerGradientXActivation, ShapleyValues
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from small_models import EXACT, assert_adds_up, enumerated, network, pictures

SINGLE = {"rtol": 1e-5, "atol": 1e-6}
BANDS = tuple(f"B{number:02d}" for number in range(13))
GROUPS = {
    "visible": ["B01", "B02", "B03"],
    "red edge": ["B04", "B05", "B06"],
    "infrared": ["B07", "B08"],
    "others": ["B00", "B09", "B10", "B11", "B12"],
}


def with_some(model, images, members, target):
    """Return the output with the channels of some groups and zeros elsewhere, as a function of the groups."""

    def values(some):
        keep = torch.zeros(images.shape[1], dtype=images.dtype)
        keep[[channel for group in some for channel in members[group]]] = 1
        with torch.no_grad():
            return model(images * keep[:, None, None])[:, target]

    return values


@pytest.fixture(scope="module")
def bands():
    return network(13), pictures(2, 13)


# --- groups are players --------------------------------------------------------------------------------------


def test_thirteen_channels_in_four_groups_are_an_exact_game(bands):
    """Sixteen sets, enumerated from their definition and by Captum."""
    net, images = bands
    attr = ef.EdgeFilterAttribution(net, colors=GROUPS, channels=BANDS)
    found = attr.explain(images, 1)
    members = [[BANDS.index(name) for name in names] for names in GROUPS.values()]
    assert found.colors == tuple(GROUPS)
    assert found.color.shape == (2, 4)
    assert_close(found.color, enumerated(with_some(net, images, members, 1), 4), **EXACT)
    places = dict(zip(GROUPS, members, strict=True))
    mask = ef.color_mask(ef.replace_stem(net).conv, of="inputs", colors=places)
    by_pixel = ShapleyValues(net).attribute(images, target=1, feature_mask=mask)
    by_group = torch.stack([by_pixel[:, some[0], 0, 0] for some in members], 1)
    assert_close(found.color.float(), by_group.float(), **SINGLE)
    assert not found.errors.any()
    assert found.interactions.shape == (2, 4, 4)
    assert_adds_up(found)


@pytest.mark.parametrize("calibrate", [True, False, ("color", "order")])
def test_groups_of_one_channel_are_the_channels(calibrate):
    net, images = network(3), pictures()
    single = {"a": ["red"], "b": ["green"], "c": ["blue"]}
    found = ef.EdgeFilterAttribution(net, colors=single, calibrate=calibrate).explain(images, 1)
    expected = ef.EdgeFilterAttribution(net, calibrate=calibrate).explain(images, 1)
    for name in ("color", "edge", "color_edge", "pixel", "response", "base"):
        assert_close(getattr(found, name), getattr(expected, name), **EXACT)
    assert found.colors == ("a", "b", "c")
    assert found.channels == ("red", "green", "blue")


def test_relevance_of_a_group_is_the_sum_of_its_channels():
    """Without a game, a group has what its channels have."""
    net, images = network(3), pictures()
    groups = {"warm": ["red", "green"], "cold": ["blue"]}
    found = ef.EdgeFilterAttribution(net, colors=groups, calibrate=False).explain(images, 1)
    expected = ef.EdgeFilterAttribution(net, calibrate=False).explain(images, 1)
    assert_close(found.response[:, 0], expected.response[:, :2].sum(1), **EXACT)
    assert_close(found.pixel, expected.pixel, **EXACT)


def test_permuting_channels_with_their_weights_keeps_the_groups():
    net, images = network(6), pictures(2, 6)
    order = [4, 0, 5, 2, 1, 3]
    turned = network(6)
    with torch.no_grad():
        turned.conv.weight.copy_(net.conv.weight[:, order])
    names = BANDS[:6]
    groups = {"first": ["B00", "B04"], "second": ["B01", "B02", "B03"], "third": ["B05"]}
    found = ef.EdgeFilterAttribution(net, colors=groups, channels=names).explain(images, 1)
    other = ef.EdgeFilterAttribution(turned, colors=groups, channels=[names[place] for place in order])
    again = other.explain(images[:, order], 1)
    for name in ("color", "edge", "color_edge", "response", "base", "effects", "interactions"):
        assert_close(getattr(found, name), getattr(again, name), **EXACT)
    assert_close(found.pixel[:, order], again.pixel, **EXACT)
    for name in groups:
        assert_close(found.pixel_map(name), again.pixel_map(name), **EXACT)


def test_permuting_groups_permutes_the_scores():
    net, images = network(6), pictures(2, 6)
    groups = {"a": [0, 4], "b": [1, 2, 3], "c": [5]}
    found = ef.EdgeFilterAttribution(net, colors=groups).explain(images, 1)
    turned = {name: groups[name] for name in "cab"}
    again = ef.EdgeFilterAttribution(net, colors=turned).explain(images, 1)
    assert_close(found.color_edge[:, [2, 0, 1]], again.color_edge, **EXACT)


MATRIX = torch.tensor([[1.0, 2, 0], [0, 1, 1], [1, 0, 0]], dtype=torch.float64)
MIXES = {
    "normalised": lambda x: (x - 0.4) / 0.2,
    "reordered": lambda x: x[:, [2, 0, 1]],
    "flipped": lambda x: x.flip(1),
    "mixed": lambda x: torch.einsum("ij,njhw->nihw", MATRIX, x),
    "mixed in a group": lambda x: torch.cat([x[:, :1] + x[:, 1:2], x[:, 1:2], x[:, 2:]], 1),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in MIXES if name != "normalised"])
def test_groups_are_of_the_input_whatever_the_model_does_to_it(name):
    """The labels are those of the image that is given."""
    net, images = network(3, MIXES[name]), pictures()
    groups = {"warm": ["red", "green"], "cold": ["blue"]}
    found = ef.EdgeFilterAttribution(net, colors=groups).explain(images, 1)
    expected = enumerated(with_some(net, images, [[0, 1], [2]], 1), 2)
    assert_close(found.color, expected, **EXACT)
    assert_adds_up(found, tolerance=1e-8)
    assert_close(found.pixel_map("cold"), found.pixel[:, 2], **EXACT)


@pytest.mark.parametrize("name", ["reordered", "flipped"])
def test_a_model_that_reorders_its_channels_keeps_their_labels(name):
    """Only one channel of the input reaches the stem: by its own name."""
    net, images = network(3, MIXES[name]), pictures()
    with torch.no_grad():
        net.conv.weight[:, 1:] = 0  # the first channel of the stem
    seen = {"reordered": "blue", "flipped": "blue"}[name]
    found = ef.EdgeFilterAttribution(net).explain(images, 1)
    assert [color for color in found.colors if found.color[:, found.colors.index(color)].any()] == [seen]
    own = ef.EdgeFilterAttribution(net, colors=("near", "mid", "far")).explain(images, 1)
    assert own.color_map("near").abs().sum() == 0 < own.color_map("far").abs().sum()


# --- everything that has colors --------------------------------------------------------------------------------


def test_silencing_and_the_reference_go_by_group(bands):
    net, images = bands
    attr = ef.EdgeFilterAttribution(net, colors=GROUPS, channels=BANDS)
    found = attr.explain(images, 1)
    drops = ef.causal_check(attr, images, found)
    assert drops.color.shape == (2, 4)
    assert_close(drops.color, found.effects, **EXACT)
    with torch.no_grad():
        without = images.clone()
        without[:, 4:7] = 0
        assert_close(attr.silence(images, 1, colors=["red edge"]), net(without)[:, 1], **EXACT)
        assert_close(drops.color[:, 1], net(images)[:, 1] - net(without)[:, 1], **EXACT)
    with pytest.raises(
        KeyError, match=r"unknown color 'B04'\. There are visible, red edge, infrared, others"
    ):
        attr.silence(images, 1, colors=["B04"])
    reference = ef.EdgeFilterShapley(net, colors=GROUPS, channels=BANDS).explain(images, 1)
    assert reference.players == tuple(GROUPS)
    assert reference.evaluations == 16
    assert_close(reference.values, found.color, **EXACT)
    pairs = ef.EdgeFilterShapley(net, "color_edge", colors=GROUPS, channels=BANDS)
    names = pairs.explain(images[:1], 1, n_permutations=2).players
    assert len(names) == 36
    assert names[0] == f"visible {found.filters[0]}"


def test_causal_check_refuses_other_colors(bands):
    net, images = bands
    found = ef.EdgeFilterAttribution(net, colors=GROUPS, channels=BANDS).explain(images, 1)
    with pytest.raises(ValueError, match="explanation must be of this stem and bank, with 13 colors"):
        ef.causal_check(ef.EdgeFilterAttribution(net, colors=BANDS), images, found)


def test_names_are_everywhere(bands, tmp_path):
    """In dictionaries, tables, files, sentences, figures and profiles."""
    net, images = bands
    found = ef.EdgeFilterAttribution(net, colors=GROUPS, channels=BANDS).explain(images, 1)
    listed = json.loads(json.dumps(found.to_dict()))
    assert listed["colors"] == list(GROUPS)
    assert listed["channels"] == list(BANDS)
    assert listed["members"]["infrared"] == ["B07", "B08"]
    assert list(dict.fromkeys(found.to_dataframe()["color"])) == list(GROUPS)
    again = ef.Explanation.load(found.save(tmp_path / "one.safetensors"))
    assert (again.colors, again.channels, again.members) == (found.colors, found.channels, found.members)
    assert_close(again.pixel_map("red edge"), found.pixel[:, 4:7].sum(1), **EXACT)
    assert all(name in found.summary() for name in GROUPS)
    assert next(name for name, _ in found.top(4, "color")[0]) in GROUPS
    texts = [text.get_text() for axes in found.plot().axes for text in axes.get_yticklabels()]
    assert set(GROUPS) <= set(texts)
    profile = ef.ClassProfile(4, found.colors, found.filters)
    profile.update(found, torch.tensor([1, 2]))
    assert profile.top(1, 4, "color")[0].name in GROUPS
    assert found[1:].members == found.members
    assert found.normalized().channels == BANDS
    assert (
        found - ef.EdgeFilterAttribution(net, colors=GROUPS, channels=BANDS).explain(images, 2)
    ).channels == BANDS
    assert repr(found) == "Explanation(2 images, 4 colors, 9 filters)"


def test_explanations_of_other_groups_are_not_subtracted(bands):
    net, images = bands
    found = [
        ef.EdgeFilterAttribution(net, colors=groups).explain(images, 1)
        for groups in ({"a": range(5), "b": range(5, 13)}, {"a": range(6), "b": range(6, 13)})
    ]
    with pytest.raises(ValueError, match="explanations must be of the same images, colors and filters"):
        found[0] - found[1]


def test_a_map_of_pixels_has_a_name(bands):
    net, images = bands
    found = ef.EdgeFilterAttribution(net, colors=GROUPS, channels=BANDS).explain(images, 1)
    assert found.pixel.shape == images.shape
    assert_close(found.pixel_map("B05"), found.pixel[:, 5], **EXACT)
    assert_close(sum(found.pixel_map(name) for name in GROUPS), found.pixel.sum(1), **EXACT)
    with pytest.raises(KeyError, match="unknown color 'visble'; did you mean 'visible'"):
        found.pixel_map("visble")
    with pytest.raises(ValueError, match="explanation must have pixels"):
        ef.Explanation(
            found.response, None, found.output, found.target, found.colors, found.filters
        ).pixel_map("visible")


def test_an_explanation_checks_its_channels():
    parts = torch.ones(1, 2, 1, 1, 1), torch.ones(1, 3, 2, 2), torch.ones(1), (0,), ("warm", "cold"), ("x",)
    with pytest.raises(ValueError, match="must fit the 1 images, 2 channels"):
        ef.Explanation(*parts)
    with pytest.raises(
        ValueError, match="members must hold the channels red, green, blue of the colors warm, cold"
    ):
        ef.Explanation(*parts, channels=("red", "green", "blue"))
    with pytest.raises(ValueError, match="each once; got"):
        ef.Explanation(
            *parts, channels=("red", "green", "blue"), members={"warm": ("red",), "cold": ("blue",)}
        )


def test_responses_and_masks_go_by_group():
    """Captum's own layer attribution, and its ablation of a group, are sums over the channels of a group."""
    model, images = ef.replace_stem(network(4)), pictures(2, 4)
    groups = {"a": ["B1", "B2", "B3"], "b": ["B4"]}
    given = LayerGradientXActivation(model, model.conv.filters).attribute(images, 1)
    found = ef.Explanation.from_responses(given, model.conv, images, colors=groups)
    plain = ef.Explanation.from_responses(given, model.conv, images, colors=["B1", "B2", "B3", "B4"])
    assert found.colors == ("a", "b")
    assert plain.colors == found.channels == ("B1", "B2", "B3", "B4")
    assert_close(found.color[:, 0], plain.color[:, :3].sum(1), **EXACT)
    assert_close(found.pixel, plain.pixel, **EXACT)
    mask = ef.color_mask(model.conv, of="inputs", colors=groups)
    assert mask.flatten().tolist() == [0, 0, 0, 1]
    drop = FeatureAblation(model).attribute(images, target=1, feature_mask=mask)[:, 0, 0, 0]
    expected = ef.EdgeFilterAttribution(model, colors=groups).explain(images, 1).effects[:, 0]
    assert_close(drop, expected, **EXACT)
    mask = ef.color_mask(model.conv, colors=groups)
    drops = LayerFeatureAblation(model, model.conv.filters).attribute(images, target=1, layer_mask=mask)
    assert_close(drops[:, 0, 0, 0], expected, **EXACT)
    with pytest.raises(ValueError, match="colors must name each of the image's 4 channels"):
        ef.color_mask(model.conv, colors=["a"])


def test_wrong_numbers_are_refused_when_the_image_comes(bands):
    net, images = bands
    for colors, error, match in (
        (BANDS[:5], ValueError, "colors must name each of the image's 13 channels; got 5"),
        ({"a": range(12)}, ValueError, "every one of the 13 channels; got none with 'channel_12'"),
        ({"a": range(12), "b": ["chanel_12"]}, KeyError, "did you mean 'channel_12'"),
    ):
        attr = ef.EdgeFilterAttribution(net, colors=colors)
        with pytest.raises(error, match=match):
            attr.explain(images, 1)
        with pytest.raises(error, match=match):
            attr.silence(images, 1)


# --- one channel that says all -----------------------------------------------------------------------------------


def trained(channels, informative):
    """Train a small network to tell stripes from checks, which one channel shows beneath noise in all."""

    def build():
        return nn.Sequential(
            nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
        )

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build()
        generator = torch.Generator().manual_seed(1)
        images, labels = scenes(128, channels, informative, generator)
        optimizer = torch.optim.Adam(net.parameters(), 0.02)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
    return net.eval(), *scenes(24, channels, informative, generator)


def scenes(count, channels, informative, generator):
    """Return noisy images and labels: stripes along x or along y in one channel."""
    labels = torch.randint(0, 2, (count,), generator=generator)
    images = torch.randn(count, channels, 12, 12, generator=generator) / 2
    wave = (torch.arange(12) % 2 * 2.0 - 1).expand(12, 12)
    images[:, informative] += torch.where(labels[:, None, None] == 0, wave, wave.T)
    return images, labels


@pytest.mark.parametrize(("channels", "informative"), [(13, 7), (5, 3)])
def test_the_channel_that_says_all_is_first(channels, informative):
    """By a lead above the errors of a drawn game, for each image, in the mean with its spread, and by shuffling it between photos."""
    net, images, labels = trained(channels, informative)
    with torch.no_grad():
        assert (net(images).argmax(1) == labels).float().mean() > 0.95
    names = [f"band {place}" for place in range(channels)]
    found = ef.EdgeFilterAttribution(net, colors=names).explain(images, labels, against="rest")
    (first, score), (_, second) = found.top(2, "color")[0]
    assert first == f"band {informative}"
    lead = found.color[:, informative] - found.color.sort(1).values[:, -2]
    assert (lead > 4 * found.errors.amax(1)).float().mean() > 0.95
    assert bool(found.errors.any()) is (channels > 6)
    assert score > second
    shares = found.color / found.color.abs().sum(1, keepdim=True)
    low = shares.mean(0) - 2 * shares.std(0) / len(shares) ** 0.5
    high = shares.mean(0) + 2 * shares.std(0) / len(shares) ** 0.5
    others = [place for place in range(channels) if place != informative]
    assert low[informative] > high[others].max()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        drops = []
        for place in range(channels):
            shuffled = images.clone()
            shuffled[:, place] = images[order, place]
            margin = net(images) - net(shuffled)
            drops.append((margin[range(len(labels)), labels] - margin[range(len(labels)), 1 - labels]).mean())
    assert int(torch.stack(drops).argmax()) == informative


def test_sixty_channels_have_no_limit():
    """The drawn game, its errors, the summary and the figures."""
    net, images, labels = trained(60, 42)
    found = ef.EdgeFilterAttribution(net).explain(images[:2], labels[:2], against="rest")
    assert found.top(1, "color")[0][0][0] == "channel_42"
    assert_close(found.base + found.total, found.output, rtol=1e-4, atol=1e-4)
    lead = found.color[:, 42] - found.color.sort(1).values[:, -2]
    assert (lead > found.errors.amax(1)).all()
    sentence = next(line for line in found.summary().splitlines() if line.startswith("Colors: channel_42"))
    assert ", 56 others " in sentence
    texts = [text.get_text() for axes in found.plot().axes for text in axes.get_yticklabels()]
    assert "channel 42" in texts
    assert "48 others" in texts
    profile = ef.ClassProfile(2, found.colors, found.filters)
    profile.update(found, labels[:2])
    legend = profile.plot()[1][0].get_legend()
    assert len(legend.get_texts()) == 16
    assert "channel 42" in [text.get_text() for text in legend.get_texts()]


# --- unusual inputs ----------------------------------------------------------------------------------------------


def test_groups_of_an_image_whose_channels_come_last():
    net = network(5, lambda x: x.permute(0, 3, 1, 2))
    groups, images = {"a": [0, 3], "b": [1, 2, 4]}, pictures(2, 5)
    found = ef.EdgeFilterAttribution(net, colors=groups).explain(images.permute(0, 2, 3, 1), 1)
    expected = ef.EdgeFilterAttribution(network(5), colors=groups).explain(images, 1)
    for name in ("color", "edge", "color_edge", "pixel"):
        assert_close(getattr(found, name), getattr(expected, name), **EXACT)


def test_groups_of_one_of_several_inputs():
    """The bank reads the first; the second is a number."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network(4)

        def forward(self, x, scale):
            return self.net(x) * scale[:, None]

    groups, images = {"a": [0, 3], "b": [1, 2]}, pictures(2, 4)
    attr = ef.EdgeFilterAttribution(Two().eval(), colors=groups)
    found = attr.explain(images, 1, torch.tensor([1.0, 2.0], dtype=torch.float64))
    expected = ef.EdgeFilterAttribution(network(4), colors=groups).explain(images, 1)
    assert_close(found.color, expected.color * torch.tensor([[1.0], [2.0]], dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("score", ["color", "edge", "color_edge", "response", "pixel"])
def test_attribute_and_explain_agree(bands, score):
    net, images = bands
    attr = ef.EdgeFilterAttribution(net, colors=GROUPS, channels=BANDS)
    given, delta = attr.attribute(images, 1, score=score, return_convergence_delta=True)
    assert_close(given, getattr(attr.explain(images, 1), score), **EXACT)
    assert delta.abs().max() < 1e-9


def test_some_channels_that_the_model_ignores_have_exactly_nothing():
    net, images = network(13), pictures(2, 13)
    with torch.no_grad():
        net.conv.weight[:, [4, 5, 6]] = 0
    for colors in (GROUPS, None):
        found = ef.EdgeFilterAttribution(net, colors=colors, channels=BANDS).explain(images, 1)
        ignored = ["red edge"] if colors else ["B04", "B05", "B06"]
        for name in ignored:
            assert not found.color_edge[:, found.colors.index(name)].any()
            assert not found.pixel_map(name).any()
