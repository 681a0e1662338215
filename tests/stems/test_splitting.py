"""Models split at their filter bank: front and tail are the model, or there is an error."""

from __future__ import annotations

import pytest
import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet
from timm.layers import Conv2dSame
from torch import nn
from torch.testing import assert_close

from edgefilter import EdgeFilterBank2d, replace_stem, split


def images_of(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)
    )


class Shuffled(nn.Module):
    """Registers the second convolution first."""

    def __init__(self):
        super().__init__()
        self.second, self.first = nn.Conv2d(4, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.second(self.first(images))


class Branching(Shuffled):
    """Looks at what its stem gave."""

    def forward(self, images):
        features = self.first(images)
        return self.second(features if features.mean() > 0 else -features)


class Reads(nn.Module):
    """Reads features, and what is known of the image."""

    def __init__(self, read):
        super().__init__()
        self.stem, self.head, self.read = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 36, 2), read

    def forward(self, images):
        features = self.stem(images)
        return self.head(self.read(images, features))


READS = {
    "size": lambda x, y: y.view(x.size(0), -1),
    "size by name": lambda x, y: y.view(x.size(dim=0), -1),
    "size()": lambda x, y: y.view(x.size()[0], -1),
    "shape": lambda x, y: y.reshape(x.shape[0], -1),
    "of the features": lambda x, y: y.reshape(y.shape[0], y.shape[1] * y.shape[2] * y.shape[3]),
    "flatten": lambda x, y: y.flatten(1),
    "torch.flatten": lambda x, y: torch.flatten(y, 1),
    "device and dtype": lambda x, y: y.flatten(1).to(device=x.device, dtype=x.dtype),
    "a tensor of its own": lambda x, y: y.flatten(1) * torch.tensor(2.0),
}


@pytest.mark.parametrize("name", READS)
def test_front_and_tail_are_the_model(name):
    """At every batch size."""
    model = replace_stem(Reads(READS[name]).double())
    front, tail = split(model)
    for count in (1, 2, 5):
        images = images_of(count, 3, 6, 6)
        assert front(images).shape == (count, 27, 6, 6)
        assert_close(tail(front(images)), model(images), rtol=0, atol=0)


@pytest.mark.parametrize("path", ["0", ""])
def test_a_bank_without_mixing_is_split(path):
    bank = EdgeFilterBank2d("sobel", 3).double()
    front, tail = split(nn.Sequential(bank) if path else bank)
    images = images_of(2, 3, 6, 6)
    assert_close(tail(front(images)), bank(images), rtol=0, atol=0)


STEMS = {
    "strided": lambda: nn.Conv2d(3, 4, 5, stride=(2, 3)),
    "large stride": lambda: nn.Conv2d(3, 4, 4, stride=4),
    "padded by more than it reads": lambda: nn.Conv2d(3, 4, 2, padding=3),
    "dilated": lambda: nn.Conv2d(3, 4, 3, dilation=(2, 1), padding=2),
    "same": lambda: nn.Conv2d(3, 4, (3, 5), padding="same"),
    "reflecting": lambda: nn.Conv2d(3, 4, 5, padding=2, padding_mode="reflect"),
    "circular": lambda: nn.Conv2d(3, 4, 3, padding=(2, 1), padding_mode="circular", stride=2),
    "padded by itself": lambda: Conv2dSame(3, 4, (4, 3), stride=3, dilation=2),
    "pointwise": lambda: nn.Conv2d(3, 4, 1),
}


@pytest.mark.parametrize("name", STEMS)
def test_the_tail_of_any_stem_takes_responses_of_any_size(name):
    """It runs the model on a blank image, which must be as large as the stem needs it."""
    torch.manual_seed(0)
    model = nn.Sequential(STEMS[name](), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
    model = replace_stem(model.double())
    front, tail = split(model)
    for size in ((12, 13), (17, 10)):
        images = images_of(2, 3, *size)
        assert_close(tail(front(images)), model(images), rtol=0, atol=0)


def test_parts_share_the_parameters():
    model = replace_stem(small_net())
    front, tail = split(model)
    given = {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for part in (front, tail) for parameter in part.parameters()} == given
    with torch.no_grad():
        model[0].mixing.weight.zero_()
        model[0].mixing.bias.zero_()
    assert_close(tail(front(torch.rand(1, 3, 8, 8)))[0], model[4].bias)


def test_gradients_at_the_responses_are_those_of_the_model():
    model, images = replace_stem(small_net().double()), images_of(2, 3, 8, 8)
    front, tail = split(model)
    responses = front(images).requires_grad_()
    tail(responses)[:, 1].sum().backward()
    kept = {}
    model[0].filters.register_forward_hook(lambda m, i, o: kept.update(o=o.requires_grad_()))
    (want,) = torch.autograd.grad(model(images)[:, 1].sum(), kept["o"])
    assert_close(responses.grad, want, rtol=1e-12, atol=1e-14)


SPLIT_MODELS = {
    "resnet18": lambda: torchvision.models.resnet18(),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(),
    "lite0": lambda: EfficientNet.from_name("efficientnet-lite0"),
}


@pytest.mark.parametrize(
    "name", ["resnet18", "lite0", pytest.param("mobilenet_v2", marks=pytest.mark.extended)]
)
def test_known_models_are_split(name):
    torch.manual_seed(0)
    model = replace_stem(SPLIT_MODELS[name]().eval())
    front, tail = split(model)
    assert not front.training
    assert not tail.training
    with torch.no_grad():
        for count in (1, 2):
            images = images_of(count, 3, 40, 40).float()
            assert_close(tail(front(images)), model(images), rtol=0, atol=0)


def test_a_model_that_reads_the_image_past_the_bank_is_not_split():
    """A summand of the image itself."""
    model = Reads(lambda x, y: (y.mean(1) + x.mean(1)).flatten(1).repeat(1, 4))
    model.head = nn.LazyLinear(2)
    model(torch.rand(1, 3, 224, 224))
    with pytest.raises(ValueError, match="to its output through the filter bank only; got another output"):
        split(replace_stem(model))


@pytest.mark.parametrize(
    "read",
    [
        lambda x, y: y.reshape(-1, 4 * x.shape[2] * x.shape[3]),
        lambda x, y: y[:, :3].reshape(x.shape).flatten(1).repeat(1, 2)[:, :144],
    ],
)
def test_a_model_that_reads_the_size_of_the_image_is_split(read):
    """The tail runs on a blank image of the size that gives these responses."""
    model = replace_stem(Reads(read).double())
    front, tail = split(model)
    for count in (1, 2):
        images = images_of(count, 3, 6, 6)
        assert_close(tail(front(images)), model(images), rtol=0, atol=0)


def test_a_model_that_branches_on_the_responses_is_split():
    model = replace_stem(Branching().double())
    front, tail = split(model)
    for seed in range(4):
        images = images_of(1, 3, 8, 8, seed=seed)
        assert_close(tail(front(images)), model(images), rtol=0, atol=0)


def test_the_given_model_stays_as_it_is():
    """Hooks, training flags of each module, parameters and what forward sets: also after an error."""
    model = replace_stem(small_net()).train()
    model[2].eval()
    before = [(module, module.training, repr(vars(module))) for module in model.modules()]
    front, tail = split(model)
    tail(front(torch.rand(1, 3, 8, 8)))
    assert [(m, m.training, repr(vars(m))) for m in model.modules()][1:] == before[1:]


def test_split_needs_one_bank_that_is_used():
    with pytest.raises(ValueError, match=r"must hold an edge-filter layer.*Call replace_stem\(model\) first"):
        split(Shuffled())
    twice = replace_stem(replace_stem(Shuffled()), stem="second")
    with pytest.raises(
        ValueError, match=r"must hold one edge-filter layer; got 2: 'second\.filters', 'first\.filters'"
    ):
        split(twice)
    idle = Shuffled()
    idle.third = nn.Conv2d(3, 4, 3)
    with pytest.raises(ValueError, match=r"must run its filter bank; got 'third\.filters'"):
        split(replace_stem(idle, stem="third"))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_what_is_no_open_model_is_refused():
    with pytest.raises(TypeError, match=r"model must be an nn\.Module; got str\. Pass the network itself"):
        split("resnet18")
    with pytest.raises(TypeError, match=r"ordinary nn\.Module; got a .*ScriptModule"):
        split(torch.jit.script(small_net()))
