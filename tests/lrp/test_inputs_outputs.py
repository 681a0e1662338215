"""Any input that the model takes, any output that it gives, any target that names one output of each image."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms, tv_tensors

import edgefilter as ef
from small_models import (
    EXACT,
    assert_adds_up,
    assert_same_scores,
    explain,
    input_times_gradient,
    pictures,
    seeded,
)

BOTH = pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon"])


class Core(nn.Module):
    """A small network for any number of channels."""

    def __init__(self, channels=3):
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, padding=1)
        self.b, self.fc = nn.Conv2d(8, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(F.relu(self.b(F.relu(self.stem(x)))).mean((2, 3)))


class Front(nn.Module):
    """Any function of the image in front of a network."""

    def __init__(self, function, channels=3):
        super().__init__()
        self.core, self.function = Core(channels), function

    def forward(self, x):
        return self.core(self.function(x))


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LUMA = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(1, 3, 1, 1)
MASK = (numbers(3, 1, 1, 10, 10) > 0).double()


def coordinates(x):
    row = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
    grid = torch.stack(torch.meshgrid(row, row, indexing="ij"))
    return torch.cat([x, grid.expand(len(x), -1, -1, -1)], 1)


# function of the image, channels of the core, channels of the image
FRONTS = {
    "BGR by indices": (lambda x: x[:, [2, 1, 0]], 3, 3),
    "BGR by flip": (lambda x: x.flip(1), 3, 3),
    "BGR by cat": (lambda x: torch.cat([x[:, 2:], x[:, 1:2], x[:, :1]], 1), 3, 3),
    "BGR by index_select": (lambda x: x.index_select(1, torch.tensor([2, 1, 0])), 3, 3),
    "NHWC": (lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), 3, 3),
    "gray repeated": (lambda x: x.repeat(1, 3, 1, 1), 3, 1),
    "gray expanded": (lambda x: x.expand(-1, 3, -1, -1), 3, 1),
    "gray concatenated": (lambda x: torch.cat([x, x, x], 1), 3, 1),
    "luma": (lambda x: (x * LUMA).sum(1, keepdim=True), 1, 3),
    "luma by slices": (lambda x: 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:], 1, 3),
    "luma by convolution": (lambda x: F.conv2d(x, LUMA), 1, 3),
    "luma by einsum": (lambda x: torch.einsum("bchw,c->bhw", x, LUMA.flatten())[:, None], 1, 3),
    "mean of the colors": (lambda x: x.mean(1, keepdim=True), 1, 3),
    "first three bands": (lambda x: x[:, :3], 3, 5),
    "every second band": (lambda x: x[:, ::2], 3, 5),
    "crop": (lambda x: x[:, :, 1:9, 2:], 3, 3),
    "centre by narrow": (lambda x: x.narrow(2, 1, 8).narrow(3, 1, 8), 3, 3),
    "coordinates appended": (coordinates, 5, 3),
    "Normalize": (transforms.Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]), 3, 3),
    "2 * x - 1": (lambda x: 2 * x - 1, 3, 3),
    "x / 255 - mean": (lambda x: x / 255.0 - LUMA, 3, 3),
    "pad": (lambda x: F.pad(x, (2, 1, 0, 3)), 3, 3),
    "reflection": (nn.ReflectionPad2d(2), 3, 3),
    "mask": (lambda x: x * MASK, 3, 3),
    "flip": (lambda x: x.flip(-1), 3, 3),
    "resize": (lambda x: F.interpolate(x, size=(14, 13), mode="bilinear"), 3, 3),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), 3, 3),
    "blurred": (lambda x: F.avg_pool2d(x, 3, 1, 1), 3, 3),
    "space to depth": (lambda x: F.pixel_unshuffle(x, 2), 12, 3),
    "focus slices": (
        lambda x: torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1),
        12,
        3,
    ),
    "color matrix": (lambda x: torch.einsum("dc,bchw->bdhw", numbers(4, 3, 3), x), 3, 3),
    "learned 1x1": (lambda x: F.conv2d(x, numbers(5, 3, 3, 1, 1), numbers(6, 3)), 3, 3),
    "difference to the mean": (lambda x: x - x.mean((2, 3), keepdim=True), 3, 3),
    "clamped": (lambda x: x.clamp(-1, 1), 3, 3),
    "to float": (lambda x: x.to(torch.float64).contiguous(), 3, 3),
}


@pytest.mark.parametrize("front", FRONTS)
def test_relevance_adds_up_for_any_way_to_read_the_image(front):
    """Base plus scores is the output, and pixels are those of the model's own input."""
    function, inside, outside = FRONTS[front]
    net, images = seeded(Front, function, inside), pictures(channels=outside)
    found = explain(net, images, 1)
    torch.testing.assert_close(found.output, net(images)[:, 1].detach(), **EXACT)
    assert found.pixel.shape == images.shape
    total = found.base + found.pixel.flatten(1).sum(1)
    torch.testing.assert_close(total, found.output, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.base + found.edge.sum(1), found.output, rtol=0, atol=1e-9)


NOT_LINEAR = ("clamped",)


@pytest.mark.parametrize("front", [front for front in FRONTS if front not in NOT_LINEAR])
def test_epsilon_is_input_times_gradient_for_any_way_to_read_the_image(front):
    """Shifts in front of the stem keep their share; what is repeated is added up again."""
    function, inside, outside = FRONTS[front]
    net, images = seeded(Front, function, inside), pictures(channels=outside)
    found = explain(net, images, 1, "epsilon")
    torch.testing.assert_close(found.pixel, input_times_gradient(net, images, 1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("front", ["Normalize", "2 * x - 1", "x / 255 - mean"])
def test_a_scale_and_shift_in_front_leaves_the_scores_of_the_scaled_image(front):
    """The default rules give the network in a wrapper what they give the network itself."""
    function, *_ = FRONTS[front]
    net, images = seeded(Front, function), pictures()
    assert_same_scores(explain(net, images, 1), explain(net.core, function(images), 1))


ORDERS = {
    "indices": lambda x: x[:, [2, 0, 1]],
    "stack": lambda x: torch.stack([x[:, 2], x[:, 0], x[:, 1]], 1),
    "roll": lambda x: x.roll(1, 1),
    "permutation matrix": lambda x: torch.einsum(
        "dc,bchw->bdhw", torch.eye(3, dtype=torch.float64)[[2, 0, 1]], x
    ),
}


@BOTH
@pytest.mark.parametrize("order", ORDERS)
def test_another_order_of_the_channels_permutes_the_color_scores(order, composite):
    """Colors are the channels of the input, not those of the stem."""
    net = seeded(Front, ORDERS[order])
    plain = explain(net.core, pictures()[:, [2, 0, 1]], 1, composite)
    found = explain(net, pictures(), 1, composite)
    back = [1, 2, 0]
    torch.testing.assert_close(found.color, plain.color[:, back], **EXACT)
    torch.testing.assert_close(found.color_edge, plain.color_edge[:, back], **EXACT)
    torch.testing.assert_close(found.pixel, plain.pixel[:, back], **EXACT)
    torch.testing.assert_close(found.edge, plain.edge, **EXACT)


LUMAS = ["luma", "luma by slices", "luma by einsum"]  # a convolution to gray is the stem itself


@BOTH
@pytest.mark.parametrize("front", LUMAS)
def test_gray_from_colors_has_the_scores_of_the_merged_stem(front, composite):
    """The stem that reads the weighted sum is a stem that reads the colors."""
    net = seeded(Front, FRONTS[front][0], 1)
    merged = seeded(Core, 3)
    merged.load_state_dict({**net.core.state_dict(), "stem.weight": net.core.stem.weight * LUMA})
    found, wanted = explain(net, pictures(), 1, composite), explain(merged, pictures(), 1, composite)
    torch.testing.assert_close(found.color.sum(1), wanted.color.sum(1), **EXACT)
    torch.testing.assert_close(found.edge, wanted.edge, **EXACT)
    if composite == "epsilon":
        torch.testing.assert_close(found.pixel, wanted.pixel, **EXACT)


def test_gray_by_the_mean_and_by_equal_weights_are_the_same():
    """``mean`` over colors is a linear map with equal weights."""
    mean, weights = lambda x: x.mean(1, keepdim=True), lambda x: (x * (1 / 3)).sum(1, keepdim=True)
    found, wanted = (explain(seeded(Front, way, 1), pictures(), 1) for way in (mean, weights))
    assert_same_scores(found, wanted)


UNREAD = {
    "slice": (lambda x: x[:, :3], 3, 5, [3, 4]),
    "steps": (lambda x: x[:, ::2], 3, 5, [1, 3]),
    "times zero": (lambda x: x * torch.tensor([1.0, 0, 1]).double().view(3, 1, 1), 3, 3, [1]),
    "replaced by zeros": (
        lambda x: torch.cat([x[:, :1], torch.zeros_like(x[:, 1:2]), x[:, 2:]], 1),
        3,
        3,
        [1],
    ),
    "masked_fill": (
        lambda x: x.masked_fill(torch.tensor([False, True, False]).view(3, 1, 1), 0.0),
        3,
        3,
        [1],
    ),
    "where": (
        lambda x: torch.where(torch.tensor([True, False, True]).view(3, 1, 1), x, 0.0),
        3,
        3,
        [1],
    ),
}


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon", "epsilon_gamma_box", "epsilon_plus_flat"])
@pytest.mark.parametrize("way", UNREAD)
def test_colors_that_the_model_does_not_read_get_exactly_zero(way, composite):
    """Whatever the rule of the stem is."""
    function, inside, outside, unread = UNREAD[way]
    found = explain(seeded(Front, function, inside), pictures(channels=outside), 1, composite)
    assert not found.pixel[:, unread].any()
    read = [color for color in range(outside) if color not in unread]
    assert found.pixel[:, read].flatten(2).any(2).all()


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon", "epsilon_gamma_box", "epsilon_plus_flat"])
@pytest.mark.parametrize("front", ["crop", "centre by narrow"])
def test_pixels_outside_a_crop_get_exactly_zero(front, composite):
    """And those inside do not."""
    function = FRONTS[front][0]
    pixel = explain(seeded(Front, function), pictures(), 1, composite).pixel
    inside = torch.zeros_like(pixel)
    function(inside).fill_(1)
    assert not pixel[inside == 0].any()
    assert pixel[inside == 1].any()


def shift_in_place(x):
    x -= 0.3
    x *= 2
    return x


def blind_in_place(x):
    x[:, 1] = 0
    return x


@BOTH
@pytest.mark.parametrize(
    ("change", "same"),
    [
        (shift_in_place, lambda x: (x - 0.3) * 2),
        (blind_in_place, lambda x: x * torch.tensor([1.0, 0, 1]).double().view(3, 1, 1)),
    ],
)
def test_a_model_that_overwrites_its_input_leaves_the_users_images(change, same, composite):
    """And has the scores of the model that does not."""
    images = pictures()
    found = explain(seeded(Front, change), images, 1, composite)
    assert torch.equal(images, pictures())
    assert_same_scores(found, explain(seeded(Front, same), pictures(), 1, composite), 1e-9)


@pytest.mark.parametrize(
    "disguise",
    [
        lambda x: nn.Parameter(x),
        lambda x: x.clone().requires_grad_() * 1,
        lambda x: tv_tensors.Image(x),
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x[:, :, ::1].transpose(2, 3).contiguous().transpose(2, 3),
    ],
    ids=["parameter", "not a leaf", "tv_tensor", "channels_last", "strided"],
)
def test_any_kind_of_tensor_is_an_image(disguise):
    """Scores are those of the plain tensor."""
    found = explain(seeded(Core), disguise(pictures()), 1)
    assert type(found.pixel) is torch.Tensor
    assert_same_scores(found, explain(seeded(Core), pictures(), 1))


@pytest.mark.parametrize(
    "surrounding",
    [
        lambda: torch.device("cpu"),
        lambda: FlopCounterMode(display=False),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        torch.no_grad,
    ],
    ids=["device", "flop counter", "autocast", "no_grad"],
)
def test_modes_around_the_call_change_nothing(surrounding):
    """Those of others are function modes, too."""
    wanted = explain(seeded(Core), pictures(), 1)
    with surrounding():
        found = explain(seeded(Core), pictures(), 1)
    assert_same_scores(found, wanted)


class Branches(nn.Module):
    """One convolution for each color, joined."""

    def __init__(self, colors=3, joined="cat"):
        super().__init__()
        self.stems = nn.ModuleList(nn.Conv2d(1, 4, 3) for _ in range(colors))
        width = 4 * colors if joined == "cat" else 4
        self.b, self.fc, self.joined = nn.Conv2d(width, 8, 3), nn.Linear(8, 4), joined

    def forward(self, x):
        parts = [stem(x[:, i : i + 1]).relu() for i, stem in enumerate(self.stems)]
        h = torch.cat(parts, 1) if self.joined == "cat" else sum(parts)
        return self.fc(self.b(h).relu().mean((2, 3)))


@BOTH
@pytest.mark.parametrize("joined", ["cat", "sum"])
def test_a_branch_for_each_color_is_explained_as_a_whole(joined, composite):
    """Every color has its score: those of the one convolution that the branches are."""
    net = seeded(Branches, joined=joined)
    found = explain(net, pictures(), 1, composite)
    assert found.color.shape == (2, 3)
    if composite == "epsilon":
        torch.testing.assert_close(found.pixel, input_times_gradient(net, pictures(), 1), **EXACT)
    else:
        assert_adds_up(found)
    for color in range(3):
        blind = copy.deepcopy(net)
        nn.init.zeros_(blind.stems[color].weight)
        assert not explain(blind, pictures(), 1, composite).color[:, color].any()


def test_a_branch_for_each_color_equals_a_block_diagonal_stem():
    """Several convolutions side by side are one whose weights are zero elsewhere."""

    class Joined(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.stem, self.b, self.fc = nn.Conv2d(3, 12, 3).double(), net.b, net.fc
            with torch.no_grad():
                self.stem.weight.zero_()
                for i, stem in enumerate(net.stems):
                    self.stem.weight[4 * i : 4 * i + 4, i] = stem.weight[:, 0]
                    self.stem.bias[4 * i : 4 * i + 4] = stem.bias

        def forward(self, x):
            return self.fc(self.b(self.stem(x).relu()).relu().mean((2, 3)))

    net = seeded(Branches)
    found, wanted = explain(net, pictures(), 1), explain(Joined(net).eval(), pictures(), 1)
    torch.testing.assert_close(found.color, wanted.color, **EXACT)
    torch.testing.assert_close(found.pixel, wanted.pixel, **EXACT)
    torch.testing.assert_close(found.edge, wanted.edge, **EXACT)


# Outputs

LAST = {
    "sigmoid": torch.sigmoid,
    "nn.Sigmoid": nn.Sigmoid(),
    "F.sigmoid": F.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "softplus": F.softplus,
    "logsigmoid": F.logsigmoid,
    "tanh": torch.tanh,
    "z.sigmoid().squeeze(1)": lambda z: z.sigmoid().squeeze(1),
    "squeezed": lambda z: z.squeeze(1),
    "38 + 12 z": lambda z: 38 + 12 * z,
    "z * 12 + 38": lambda z: z.mul(12).add(38),
    "100 sigmoid": lambda z: 100 * torch.sigmoid(z),
}


class One(nn.Module):
    """One logit, then any function."""

    def __init__(self, last=None, sign=1.0, bias=0.0):
        super().__init__()
        self.stem, self.b, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 1)
        self.last, self.sign, self.offset = last, sign, bias

    def forward(self, x):
        z = self.sign * self.fc(self.b(self.stem(x).relu()).relu().mean((2, 3))) + self.offset
        return z if self.last is None else self.last(z)


def assert_proportional(found, wanted):
    """Compare maps but for one positive factor for each image."""
    for one, other in zip(found.flatten(1), wanted.flatten(1), strict=True):
        factor = (one @ other) / (other @ other)
        assert factor > 0
        torch.testing.assert_close(one, factor * other, rtol=0, atol=1e-9 * float(one.abs().max() + 1))


@pytest.mark.parametrize("composite", [None, "epsilon_plus", "epsilon"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("last", LAST)
def test_a_final_monotone_function_turns_no_sign(last, sign, composite):
    """Scores are those of the logit, whatever its sign, or proportional to them."""
    logit = explain(seeded(One, None, sign), pictures(), None, composite)
    found = explain(seeded(One, LAST[last], sign), pictures(), None, composite)
    assert_proportional(found.pixel, logit.pixel)
    assert_proportional(found.color, logit.color)


@BOTH
@pytest.mark.parametrize("last", ["sigmoid", "hardsigmoid", "softplus", "logsigmoid", "squeezed"])
def test_the_logit_before_a_final_monotone_function_is_what_scores_add_up_to(last, composite):
    """``output`` is the explained value: the logit."""
    logit = explain(seeded(One), pictures(), None, composite)
    assert_same_scores(explain(seeded(One, LAST[last]), pictures(), None, composite), logit)


@pytest.mark.parametrize("last", [name for name in LAST if name not in ("tanh", "100 sigmoid")])
def test_base_and_scores_add_up_to_the_explained_value(last):
    """For one logit in any dress, with a bias that outweighs the signal."""
    assert_adds_up(explain(seeded(One, LAST[last], bias=5.0), pictures(), None))


@BOTH
@pytest.mark.parametrize("offset", [38.0, -38.0])
def test_an_offset_of_a_regression_belongs_to_the_base(offset, composite):
    """Signs and sizes of the scores are those without it, in the last bias or behind it."""
    plain = explain(seeded(One), pictures(), None, composite)
    in_bias = seeded(One)
    in_bias.fc.bias.data += offset
    for net in (in_bias, seeded(One, bias=offset), seeded(One, lambda z: z + offset)):
        found = explain(net, pictures(), None, composite)
        torch.testing.assert_close(found.pixel, plain.pixel, rtol=0, atol=1e-9)
        torch.testing.assert_close(found.base, plain.base + offset, rtol=0, atol=1e-9)
        torch.testing.assert_close(found.output, plain.output + offset, rtol=0, atol=1e-9)


def test_the_base_is_the_constant_of_the_last_affine_map():
    """``38 + 12 (w h + b)``: 38 + 12 b."""
    net = seeded(One, lambda z: 38 + 12 * z)
    found = explain(net, pictures(), None)
    torch.testing.assert_close(found.base, (38 + 12 * net.fc.bias.detach()).expand(2), **EXACT)
    assert_adds_up(found)


PROBABILITIES = {
    "softmax": lambda z: z.softmax(1),
    "nn.Softmax": nn.Softmax(dim=1),
    "F.softmax": lambda z: F.softmax(z, dim=-1),
    "log_softmax": lambda z: F.log_softmax(z, 1),
    "nn.LogSoftmax": nn.LogSoftmax(1),
    "sigmoid": torch.sigmoid,
    "softmax of a temperature": lambda z: torch.softmax(z / 1.0, 1),
    "log of softmax": lambda z: z.softmax(1).log(),
}


class Several(nn.Module):
    """Core and any last function."""

    def __init__(self, last=None):
        super().__init__()
        self.core, self.last = Core(), last

    def forward(self, x):
        return self.core(x) if self.last is None else self.last(self.core(x))


@BOTH
@pytest.mark.parametrize("last", PROBABILITIES)
def test_of_probabilities_the_logits_are_explained(last, composite):
    """Each class has the scores of its logit, and targets and predictions are the same."""
    target = torch.tensor([0, 3])
    logits = explain(seeded(Several), pictures(), target, composite)
    assert_same_scores(explain(seeded(Several, PROBABILITIES[last]), pictures(), target, composite), logits)


def test_the_predicted_class_is_the_default_target():
    """With probabilities as with logits."""
    net = seeded(Several, nn.Softmax(1))
    images = pictures(4)
    assert list(explain(net, images, None).target) == net(images).argmax(1).tolist()


# Targets


class Grid(nn.Module):
    """An output of more than one axis: classes at places."""

    def __init__(self):
        super().__init__()
        self.stem, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x):
        return self.b(self.stem(x).relu())


def refused(model, target):
    with pytest.raises((IndexError, ValueError, TypeError, AssertionError), match=r"(?i)target") as caught:
        explain(model, pictures(), target)
    return str(caught.value)


@pytest.mark.parametrize("target", [1, [1, 2], torch.tensor([1, 2]), (1,), (1, 2), None])
def test_a_target_that_leaves_several_outputs_is_refused(target):
    """(N, K, H, W) needs three indices; a sum over places is another question."""
    refused(seeded(Grid), target)


@pytest.mark.parametrize("target", [(1, 2, 3), [(1, 2, 3), (0, 5, 5)], (-1, -1, -1)])
def test_a_tuple_names_one_output_of_several_axes(target):
    """``epsilon`` is input times its gradient."""
    net, images = seeded(Grid), pictures()
    found = explain(net, images, target, "epsilon")
    leaf = images.clone().requires_grad_()
    output = net(leaf)
    chosen = [(i, *(target if isinstance(target, tuple) else target[i])) for i in range(2)]
    picked = torch.stack([output[index] for index in chosen])
    (gradient,) = torch.autograd.grad(picked.sum(), leaf)
    torch.testing.assert_close(found.output, picked.detach(), **EXACT)
    torch.testing.assert_close(found.pixel, images * gradient, **EXACT)
    assert_adds_up(explain(net, images, target))


WRONG = {
    "slice": slice(0, 2),
    "True": True,
    "tuple with a slice": (slice(None),),
    "list of slices": [slice(0, 1), slice(0, 1)],
    "list of booleans": [True, False],
    "boolean tensor": torch.tensor([True, False]),
    "float": 1.0,
    "float labels": torch.tensor([1.0, 2.0]),
    "too large": 4,
    "too small": -5,
    "one is too large": [0, 4],
    "too many": [0, 1, 2],
    "string": "cat",
    "float array": np.array([1.0, 2.0]),
    "np.bool": np.bool_(True),
}


@pytest.mark.parametrize("target", WRONG)
def test_what_names_no_output_is_refused_in_words(target):
    """The message speaks of the target and nothing is summed silently."""
    refused(seeded(Core), WRONG[target])


@pytest.mark.parametrize(
    ("target", "same"),
    [
        (np.int64(1), 1),
        (np.uint8(1), 1),
        (np.array(1), 1),
        (np.array([1, 2]), [1, 2]),
        (np.array([1, 2], dtype=np.int32), [1, 2]),
        ([np.int64(1), np.int64(2)], [1, 2]),
        (torch.tensor(1), 1),
        (torch.tensor([1, 2]), [1, 2]),
        (torch.tensor([1, 2], dtype=torch.int32), [1, 2]),
        ((1,), 1),
        ([(1,), (2,)], [1, 2]),
    ],
)
def test_whole_numbers_of_any_library_are_targets(target, same):
    """NumPy's and PyTorch's as Python's own."""
    net = seeded(Core)
    found, wanted = explain(net, pictures(), target), explain(net, pictures(), same)
    assert_same_scores(found, wanted)
    assert all(type(one) in (int, tuple) for one in found.target)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("last", [-1, np.int64(-1)])
def test_minus_one_is_the_last_class_for_every_batch_size(count, last):
    """As in Captum, which counts one number from the end."""
    net, images = seeded(Core), pictures(count)
    assert_same_scores(explain(net, images, last), explain(net, images, 3))


@pytest.mark.parametrize("target", [0, 2, -1, torch.tensor([0, 3]), [1, 2], (2,)])
def test_targets_are_those_of_captum(target):
    """The explained output is what Captum selects."""
    from captum._utils.common import _select_targets

    net = seeded(Core)
    found = ef.EdgeFilterAttribution(net, "epsilon_plus", calibrate=False).explain(pictures(), target)
    torch.testing.assert_close(found.output, _select_targets(net(pictures()), target).detach(), **EXACT)


def test_a_single_logit_has_one_target():
    """0, -1 and None are it; 1 is refused with the number of outputs."""
    net = seeded(One)
    wanted = explain(net, pictures(), None)
    for target in (0, -1, [0, 0]):
        assert_same_scores(explain(net, pictures(), target), wanted)
    assert "one output" in refused(net, 1) or "None" in refused(net, 1)
