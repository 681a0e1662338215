"""How much of the scores a color or a filter has in groups of images."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import edgefilter as ef
from edgefilter.methods import score_ratio
from edgefilter.methods.score_shares import shares_of_part

GROUPS = {"order": {"edges": ("sobel_x", "sobel_y"), "lines": ("laplacian",)}}


def explained(scores):
    """Return an explanation with given scores by color and filter, shape (N, 2, 3)."""
    response = torch.tensor(scores, dtype=torch.float64)[..., None, None]
    count = len(response)
    return ef.Explanation(
        response,
        None,
        torch.ones(count).double(),
        (0,) * count,
        ("red", "green"),
        ("sobel_x", "sobel_y", "laplacian"),
        filter_labels=("edge x", "edge y", "blob"),
        groups=GROUPS,
    )


SCORES = [[[1.0, 2.0, 0.0], [0.0, 0.0, -1.0]], [[0.0, 0.0, 4.0], [2.0, -4.0, -2.0]]]
#         red 3, green -1; filters 1, 2, -1              red 4, green -4; filters 2, -4, 2


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ("red", [3 / 4, 1 / 2]),
        ("green", [1 / 4, 1 / 2]),
        ("sobel_x", [1 / 4, 2 / 8]),
        ("edge y", [2 / 4, 4 / 8]),
        (("order", "edges"), [3 / 4, 2 / 4]),
        (["order", "lines"], [1 / 4, 2 / 4]),
        (("red", "green"), [1, 1]),
        (("sobel_x", "blob"), [2 / 4, 4 / 8]),
    ],
)
def test_shares_by_hand(part, wanted):
    """Sizes of scores, divided by their sum over all colors, filters or groups."""
    found = shares_of_part(explained(SCORES), part)
    assert found.dtype == torch.float64
    assert found.tolist() == wanted


def test_shares_of_all_parts_add_up_to_one(small_net, generator):
    """Colors, filters, and the groups of each kind."""
    images = torch.rand(4, 3, 9, 9, generator=generator, dtype=torch.float64)
    explanation = ef.EdgeFilterAttribution(small_net).explain(images)
    partitions = [explanation.colors, explanation.filters]
    partitions += [[(kind, group) for group in groups] for kind, groups in explanation.groups.items()]
    for parts in partitions:
        total = sum(shares_of_part(explanation, part) for part in parts)
        torch.testing.assert_close(total, torch.ones(4).double(), rtol=0, atol=1e-12)


def test_the_ratio_by_hand():
    """Means of shares, and which group has more."""
    found = score_ratio({"day": explained(SCORES[:1] * 3), "night": explained(SCORES[1:] * 3)}, "red")
    assert found.means == {"day": 0.75, "night": 0.5}
    assert found.ratio == pytest.approx(2 / 3, abs=1e-15)
    assert (found.what, found.part) == ("share of red", "red")
    assert found.summary() == (
        "The share of red is 0.75 (0.75 to 0.75) for 'day' and 0.50 (0.50 to 0.50) for 'night': ratio 0.67 (0.67 to 0.67).\n"
        "The model uses red more for 'day' than for 'night'."
    )
    group = score_ratio(
        {"day": explained(SCORES[:1] * 2), "night": explained(SCORES[1:] * 2)}, ("order", "edges")
    )
    assert group.part == "edges"
    both = score_ratio({"a": explained(SCORES), "b": explained(SCORES)}, ("red", "green"))
    assert both.part == "red and green"


class ByGroup(nn.Module):
    """Reads the red channel of bright images and the green one of dark ones."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.conv.weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).reshape(2, 3, 1, 1)

    def forward(self, x):
        red, green = self.conv(x).mean((2, 3)).unbind(1)
        return torch.stack([torch.relu(red - 0.5) * 4 + green * 0.1, red + green], 1)


def test_a_model_that_uses_red_for_one_group_is_found(generator):
    """Images, explained here."""
    bright = 0.7 + 0.3 * torch.rand(15, 3, 8, 8, generator=generator)
    dark = 0.3 * torch.rand(15, 3, 8, 8, generator=generator)
    attribution = ef.EdgeFilterAttribution(ByGroup().eval())
    found = score_ratio(
        {"bright": bright, "dark": dark}, "red", attribution=attribution, target=0, batch_size=4
    )
    assert found.means["bright"] > 0.8
    assert found.means["dark"] < 0.05
    assert found.high < 0.1
    assert "uses red more for 'bright'" in found.summary()


def test_images_and_their_explanations_give_the_same(small_net, generator):
    """In any batches, with targets for all, for groups, or for images."""
    images = {name: torch.rand(5, 3, 9, 9, generator=generator, dtype=torch.float64) for name in "ab"}
    attribution = ef.EdgeFilterAttribution(small_net)
    each = {"a": [0, 1, 2, 3, 4], "b": torch.tensor([4, 3, 2, 1, 0])}
    for target in (None, 2, {"a": 1, "b": 3}, each):
        wanted = score_ratio(
            {
                name: attribution.explain(group, target[name] if isinstance(target, dict) else target)
                for name, group in images.items()
            },
            "green",
        )
        for size in (1, 2, 32):
            found = score_ratio(images, "green", attribution=attribution, target=target, batch_size=size)
            np.testing.assert_allclose(found.values["a"], wanted.values["a"], rtol=0, atol=1e-12)
            assert found.ratio == pytest.approx(wanted.ratio, abs=1e-12)
            assert found.low == pytest.approx(wanted.low, abs=1e-12)
    pieces = {
        name: [attribution.explain(piece) for piece in group.split(2)] for name, group in images.items()
    }
    assert score_ratio(pieces, "green").ratio == pytest.approx(
        score_ratio(images, "green", attribution=attribution).ratio, abs=1e-12
    )


def test_colors_of_a_basis(small_net, generator):
    """Brightness apart from color: the part is what the basis names."""
    images = torch.rand(3, 3, 9, 9, generator=generator, dtype=torch.float64)
    attribution = ef.EdgeFilterAttribution(small_net, basis="luma")
    found = score_ratio(
        {"color": images, "gray": images.mean(1, keepdim=True).expand(-1, 3, -1, -1)},
        ("Cb", "Cr"),
        attribution=attribution,
    )
    assert found.means["gray"] == pytest.approx(0, abs=1e-6)
    assert found.part == "Cb and Cr"


def test_images_without_relevance_are_left_out():
    """It is said how many."""
    nothing = [[[0.0] * 3] * 2]
    with pytest.warns(UserWarning, match="got 1 without in 'b', which is left out"):
        found = score_ratio({"a": explained(SCORES), "b": explained(SCORES + nothing)}, "red")
    assert found.counts == {"a": 2, "b": 2}
    with (
        pytest.warns(UserWarning, match="got 2 without in 'b', which are left out"),
        pytest.raises(ValueError, match="got none in 'b'"),
    ):
        score_ratio({"a": explained(SCORES), "b": explained(nothing * 2)}, "red")


def test_one_image_has_no_interval():
    """As for activations."""
    with pytest.warns(UserWarning, match="got one in 'a'"):
        found = score_ratio({"a": explained(SCORES[:1]), "b": explained(SCORES)}, "red")
    assert math.isnan(found.low)
    assert found.ratio == pytest.approx(0.625 / 0.75)


@pytest.mark.parametrize(
    ("part", "error", "words"),
    [
        ("rde", KeyError, "part must be a color or filter of the explanations; got 'rde'; did you mean 'red'?"),
        ("sobel-x", KeyError, "did you mean 'sobel_x'"),
        (("order", "edge"), KeyError, "part must be a group of filters by order .* got 'edge'; did you mean 'edges'"),
        (("red", "sobel_x"), KeyError, "colors only, or filters only; got .*Shares of a color and of a filter do not add up"),
        (3, TypeError, "part must be the name of a color or filter"),
        ((), TypeError, "part must be the name of a color or filter"),
        (("red", 3), TypeError, "part must be the name of a color or filter"),
    ],
)  # fmt: skip
def test_unknown_parts_are_refused(part, error, words):
    """With what there is."""
    with pytest.raises(error, match=words):
        score_ratio({"a": explained(SCORES), "b": explained(SCORES)}, part)


def test_wrong_arguments_are_refused(small_net, generator):
    """With what does fit."""
    images = {name: torch.rand(2, 3, 9, 9, generator=generator, dtype=torch.float64) for name in "ab"}
    attribution = ef.EdgeFilterAttribution(small_net)
    with pytest.raises(
        ValueError, match=r"got Tensor in 'a'\. Pass attribution=EdgeFilterAttribution\(model\)"
    ):
        score_ratio(images, "red")
    with pytest.raises(ValueError, match=r"target must have groups as its keys; got 'c'"):
        score_ratio(images, "red", attribution=attribution, target={"c": 1})
    with pytest.raises(ValueError, match=r"one for each of the 2 images of 'a'; got 3"):
        score_ratio(images, "red", attribution=attribution, target=[1, 2, 3])
    with pytest.raises(ValueError, match="two groups"):
        score_ratio({"a": explained(SCORES)}, "red")
