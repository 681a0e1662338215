"""Explanations of whole networks against oracles that know nothing of graphs and rules.

The oracle of the epsilon rule is in ``epsilon_oracle.py``; that of the other rules is written here, as loops over dense
matrices (``Slow``).
"""

from __future__ import annotations

import copy
import gc
import warnings
import weakref

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.testing import assert_close
from torchvision import models
from zennit.composites import EpsilonPlus

import edgefilter as ef
from edgefilter import EdgeFilterAttribution, UnsupportedModelError, UntraceableModelError, replace_stem
from edgefilter.lrp.twins import Link, twin_of
from epsilon_oracle import input_times_gradient

SIZES = {"inception_v3": 96, "maxvit_t": 224, "vit_h_14": 56, "inception_v4": 160, "xception41": 96}
GIANTS = ("regnet_y_128gf", "vit_h_14")  # 650 million weights: float64 does not fit beside the copies
QUICK = [
    "resnet18", "mobilenet_v3_small", "densenet121", "efficientnet_b0", "googlenet", "shufflenet_v2_x0_5",
    "squeezenet1_1", "regnet_y_400mf", "mnasnet0_5", "mobilenet_v2",
]  # fmt: skip
SMALL = {
    "ViT": lambda: models.VisionTransformer(64, 16, 2, 2, 16, 32, num_classes=10),
    "Swin": lambda: models.SwinTransformer([4, 4], 8, [2, 2], [2, 4], [4, 4], num_classes=10),
    "SwinV2": lambda: models.SwinTransformer(
        [4, 4],
        8,
        [2, 2],
        [2, 4],
        [4, 4],
        num_classes=10,
        block=models.swin_transformer.SwinTransformerBlockV2,
        downsample_layer=models.swin_transformer.PatchMergingV2,
    ),
    "ConvNeXt": lambda: models.ConvNeXt(
        [models.convnext.CNBlockConfig(8, 16, 2), models.convnext.CNBlockConfig(16, None, 2)], num_classes=10
    ),
    "MaxViT": lambda: models.MaxVit((64, 64), 8, 4, [8, 16], [1, 1], 4, 0.0, num_classes=10),
}
TIMM_QUICK = ["mobilenetv3_small_100", "seresnet33ts", "ghostnet_100"]
TIMM = [
    "resnet26d", "tf_efficientnet_lite0", "densenet121", "regnety_002", "convnext_atto", "dla34",
    "hrnet_w18_small", "mixnet_s", "res2net50_26w_4s", "xception41", "resnetv2_50", "cspresnet50", "inception_v4",
    "efficientnet_b0", "skresnet18", "rexnet_100", "dpn68", "darknet53",
]  # fmt: skip


def settle(model, images):
    """Let BatchNorm take its statistics from the images, and logits depend on them."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train().momentum = 1.0
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)
    with torch.no_grad():
        model(images)
    return model.eval()


def network(name, make, dtype=torch.float64):
    """Return a network with an edge-filter stem, two images and the indices of their largest outputs."""
    size = SIZES.get(name, 64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().to(dtype)
        images = torch.randn(4, 3, size, size, dtype=dtype)
        settle(model, images)
    images = images[: 1 if name in GIANTS else 2]
    model = replace_stem(model)
    with torch.no_grad():
        return model, images, model(images).argmax(1)


def torchvision_network(name, dtype=torch.float64):
    options = {"init_weights": True, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    if name.startswith("vit"):
        options["image_size"] = SIZES.get(name, 64)
    return network(name, lambda: models.get_model(name, weights=None, num_classes=10, **options), dtype)


def oracle(model, images, targets):
    maps = [input_times_gradient(model, images[i : i + 1], int(t))[0] for i, t in enumerate(targets)]
    return torch.cat(maps)


def assert_right(model, images, targets, tolerance=1e-6):
    """The epsilon map is the oracle's; relevance is conserved, by rules alone and in single precision as calibrated."""
    want = oracle(model, images, targets)
    got = EdgeFilterAttribution(model, "epsilon").attribute(images, targets)
    assert want.abs().max() > 0
    assert_close(got, want, rtol=0, atol=tolerance * float(want.abs().max()))
    assert_conserved(model, images, targets, 1e-6 if images.dtype == torch.float64 else 0.01, "epsilon_plus")
    if images.dtype == torch.float64:
        assert_conserved(model.float(), images.float(), targets, 0.01)


def assert_conserved(model, images, targets, tolerance, composite=None):
    explanation = EdgeFilterAttribution(model, composite).explain(images, targets)
    assert_close(
        explanation.delta / explanation.output, images.new_zeros(len(images)), rtol=0, atol=tolerance
    )
    pixels = explanation.pixel.sum((1, 2, 3)) / explanation.output
    assert_close(pixels, images.new_ones(len(images)), rtol=0, atol=tolerance)


# Networks of torchvision and timm.


@pytest.mark.parametrize("name", QUICK)
def test_a_torchvision_network_agrees_with_the_oracle_and_conserves(name):
    assert_right(*torchvision_network(name))


@pytest.mark.parametrize("name", SMALL)
def test_a_small_transformer_of_torchvision_agrees_with_the_oracle_and_conserves(name):
    assert_right(*network(name, SMALL[name]))


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore:relevance must stay:UserWarning")  # epsilon explodes, as the oracle does
@pytest.mark.parametrize("name", models.list_models(module=torchvision.models))
def test_every_torchvision_classifier_agrees_with_the_oracle_and_conserves(name):
    """In float64; the two giants in float32, where rounding alone moves the map by 4 % of the maximum."""
    giant = name in GIANTS
    assert_right(
        *torchvision_network(name, torch.float32 if giant else torch.float64), 0.06 if giant else 1e-6
    )
    gc.collect()


def timm_network(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        timm = pytest.importorskip("timm")
        return network(name, lambda: timm.create_model(name, pretrained=False, num_classes=10))


@pytest.mark.parametrize("name", TIMM_QUICK)
def test_a_timm_network_agrees_with_the_oracle_and_conserves(name):
    assert_right(*timm_network(name))


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore:relevance must stay:UserWarning")
@pytest.mark.parametrize("name", TIMM)
def test_more_timm_networks_agree_with_the_oracle_and_conserve(name):
    assert_right(*timm_network(name))


def test_the_oracle_tells_a_wrong_map():
    """Gradients through the gates, or doubled residuals, are no agreement."""
    model, images, targets = torchvision_network("mobilenet_v3_small")
    leaf = images.clone().requires_grad_()
    model(leaf).gather(1, targets[:, None]).sum().backward()
    want = oracle(model, images, targets)
    with pytest.raises(AssertionError):
        assert_close(leaf.grad * images, want, rtol=0, atol=0.01 * float(want.abs().max()))


# Networks written in awkward ways.


class Awkward(nn.Module):
    """A stem, what a subclass does with its features, and a head."""

    channels = 3
    width = 8

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(self.channels, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.other = nn.Conv2d(8, 8, 1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(self.width, 5)
        self.build()

    def build(self):
        pass

    def forward(self, images):
        return self.head(self.middle(self.stem(images).relu()).mean((2, 3)))


class Functional(Awkward):
    def build(self):
        self.weight = nn.Parameter(torch.randn(8, 4, 3, 3) / 4)
        self.bias = nn.Parameter(torch.randn(8))
        self.matrix = nn.Parameter(torch.randn(5, 8 * 16) / 8)

    def forward(self, images):
        x = F.max_pool2d(F.relu(self.stem(images)), 2)
        x = F.relu(F.conv2d(x, self.weight, self.bias, padding=1, groups=2), inplace=True)
        x = F.avg_pool2d(x, 2)
        return F.linear(torch.flatten(F.dropout(x, 0.5, self.training), 1), self.matrix)


class Reused(Awkward):
    """One ReLU and one convolution, three times."""

    def middle(self, x):
        for _ in range(3):
            x = self.relu(self.conv(x))
        return x


class Nested(Awkward):
    def build(self):
        inner = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1), nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        )
        self.stages = nn.ModuleList(
            [nn.ModuleList([inner, nn.Sequential(nn.Identity())]), nn.ModuleList([nn.Conv2d(8, 8, 1)])]
        )

    def middle(self, x):
        for stage in self.stages:
            for layer in stage:
                x = layer(x)
        return x


class InPlace(Awkward):
    def middle(self, x):
        y = self.conv(x)
        y += x
        y = y.relu_()
        z = self.other(y)
        z.add_(y)
        z *= 2
        z -= 0.5
        return torch.relu_(z)


class InPlaceUnsaid(Awkward):
    """In-place operations whose results nobody takes: what was there before reads the new values."""

    def build(self):
        self.fast = nn.ReLU(inplace=True)

    def middle(self, x):
        y = self.conv(x)
        alias = y
        self.fast(y)
        y.add_(x)
        alias.mul_(0.5)
        F.relu(y, inplace=True)
        return self.other(alias) + y


class Aliased(Awkward):
    """torch.fx records ``y += x`` as ``y + x``: the other name of ``y`` is lost, which must not go unseen."""

    def middle(self, x):
        y = alias = self.conv(x)
        y += x
        return self.other(alias)


class SeveralAdditions(Awkward):
    def middle(self, x):
        return (x + self.conv(x) + self.other(x) + torch.add(x, self.relu(self.conv(x)))).relu()


class Gray(Awkward):
    channels = 1

    def middle(self, x):
        return self.relu(self.conv(x))


class Flattened(Awkward):
    width = 8 * 16

    def build(self):
        self.tail = nn.Sequential(nn.AdaptiveMaxPool2d(4), nn.Flatten())

    def forward(self, images):
        return self.head(self.tail(self.conv(self.stem(images).relu())))


class Resized(Awkward):
    def middle(self, x):
        small = self.relu(self.conv(F.avg_pool2d(x, 2)))
        smooth = F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=False)
        return x + smooth + F.interpolate(small, scale_factor=2)


class Sliced(Awkward):
    def middle(self, x):
        return torch.cat([self.conv(x)[:, :5], x[:, 5:].relu()], 1)[..., 1:-1, ::2]

    def forward(self, images):
        return super().forward(images)[:, :4]


class ExtraArguments(Awkward):
    def forward(self, images, scale=1.0, shift=None, *, deep=True):
        x = self.relu(self.conv(self.stem(images).relu())) * scale
        return self.head((x if shift is None else x + shift).mean((2, 3)))


class Dictionary(Awkward):
    def build(self):
        self.branches = nn.ModuleDict({"wide": nn.Conv2d(8, 4, 3, padding=1), "narrow": nn.Conv2d(8, 4, 1)})

    def middle(self, x):
        parts = {name: branch(x) for name, branch in self.branches.items()}
        return torch.cat(tensors=[parts["wide"], parts["narrow"]], dim=1).relu()


class Subtracting(Awkward):
    def middle(self, x):
        return (1 - self.other(-x) - self.conv(x).neg()).relu() - 0.25 * x


class Scaled(Awkward):
    def middle(self, x):
        return 2 * self.conv(x) / 3 + (x / 4) * 5 - self.other(x).mul(0.5).div(2)


class Stacked(Awkward):
    def middle(self, x):
        return torch.stack([x, self.conv(x), self.other(x)]).mean(0).relu()


class Constants(Awkward):
    """Channels and rows that do not depend on the image."""

    width = 10

    def build(self):
        self.register_buffer("grid", torch.rand(1, 2, 16, 16))
        self.mixing = nn.Conv2d(10, 10, 1)

    def middle(self, x):
        joined = torch.cat([x, self.grid.expand(x.shape[0], -1, -1, -1)], 1)
        return self.mixing(joined)


AWKWARD = [
    Functional, Reused, Nested, InPlace, SeveralAdditions, Gray, Flattened, Resized, Sliced, ExtraArguments, Dictionary,
    Subtracting, Scaled, Stacked, Constants,
]  # fmt: skip


def awkward(kind, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind().double()
        images = torch.randn(4, kind.channels, 16, 16, dtype=torch.float64)
        settle(model, images)
    return model, images[:2]


@pytest.mark.parametrize("kind", AWKWARD)
def test_an_awkward_model_agrees_with_the_oracle_and_conserves(kind):
    model, images = awkward(kind)
    model = replace_stem(model)
    assert_right(model, images, model(images).argmax(1))


def test_in_place_operations_whose_results_nobody_takes_are_followed():
    """The same network without in-place operations gives the same map (the oracle knows no in-place activations)."""

    class Spelled(InPlaceUnsaid):
        def middle(self, x):
            y = ((self.conv(x).relu() + x) * 0.5).relu()
            return self.other(y) + y

    unsaid, images = awkward(InPlaceUnsaid)
    spelled, _ = awkward(Spelled)
    unsaid, spelled = replace_stem(unsaid), replace_stem(spelled)
    assert_right(copy.deepcopy(spelled), images, spelled(images).argmax(1))
    for composite in ("epsilon", "epsilon_plus"):
        got, want = (EdgeFilterAttribution(m, composite).attribute(images, 1) for m in (unsaid, spelled))
        assert_close(got, want, rtol=0, atol=1e-12)


def test_extra_arguments_are_handed_on():
    """They are part of what is explained: fixing them inside the model gives the same map."""
    model, images = awkward(ExtraArguments)
    model = replace_stem(model)

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, images):
            return self.inner(images, 3.0, 0.5)

    for composite in ("epsilon", "epsilon_plus"):
        got = EdgeFilterAttribution(model, composite).attribute(images, 1, (3.0, 0.5))
        want = EdgeFilterAttribution(Fixed().eval(), composite).attribute(images, 1)
        assert_close(got, want, rtol=0, atol=1e-12)
    assert_close(want.sum((1, 2, 3)), model(images, 3.0, 0.5)[:, 1], rtol=1e-6, atol=0)


# Refusals.


class Exponential(Awkward):
    def middle(self, x):
        return torch.exp(self.conv(x))


class Probabilities(Awkward):
    def forward(self, images):
        return self.head(self.stem(images).mean((2, 3))).softmax(1)


class SoftmaxModule(Awkward):
    def build(self):
        self.last = nn.Softmax(1)

    def forward(self, images):
        return self.last(self.head(self.stem(images).mean((2, 3))))


class TwoSignals(Awkward):
    def middle(self, x):
        return self.conv(x) * self.other(x)


class Branching(Awkward):
    def middle(self, x):
        return self.conv(x) if x.sum() > 0 else x


class BatchStatistics(Awkward):
    def build(self):
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)

    def middle(self, x):
        return self.norm(self.conv(x))


class BatchStatisticsFirst(BatchStatistics):
    def middle(self, x):
        return self.conv(self.norm(x).relu())


class BatchStatisticsCalled(Awkward):
    def middle(self, x):
        return F.batch_norm(self.conv(x), None, None, training=True)


class Noisy(Awkward):
    def middle(self, x):
        return self.conv(x) + torch.randn_like(x)


class Sorting(Awkward):
    def middle(self, x):
        return x.flatten(2).sort(-1).values[..., :16].reshape(-1, 8, 4, 4)


class Hooked(Awkward):
    def build(self):
        self.conv.register_forward_hook(lambda module, given, output: output * 2)

    def middle(self, x):
        return self.conv(x)


REFUSED = {
    Exponential: r"operations with a known relevance rule; got exp\b",
    Probabilities: r"got softmax\b",
    SoftmaxModule: r"got Softmax \(last\)",
    TwoSignals: r"got mul\b",
    Aliased: r"must give the model's output; got a difference",
    BatchStatistics: r"BatchNorm must have running statistics; got track_running_stats=False",
    BatchStatisticsFirst: r"BatchNorm must have running statistics; got track_running_stats=False",
    BatchStatisticsCalled: r"got batch_norm\b",
    Noisy: r"got randn_like\b",
    Sorting: r"got .*sort\b",
    Hooked: r"must give the model's output; got a difference of .*A hook",
}


def state_of(model):
    """Return all that an explanation must leave alone."""
    tensors = [
        (name, id(tensor), tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()
    ]
    modules = [
        (
            name,
            id(module),
            module.training,
            sorted(vars(module)),
            {k: len(v) for k, v in vars(module).items() if "hook" in k and v},
        )
        for name, module in model.named_modules()
    ]
    return tensors, modules


def assert_untouched(model, before):
    tensors, modules = state_of(model)
    assert modules == before[1]
    for (name, identity, value), (old_name, old_identity, old) in zip(tensors, before[0], strict=True):
        assert (name, identity) == (old_name, old_identity)
        assert torch.equal(value, old)
    assert all(p.grad is None and p.grad_fn is None for p in model.parameters())


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon"])
def test_what_has_no_rule_is_refused_by_name_and_left_as_it_was(kind, composite):
    model, images = awkward(kind)
    model = replace_stem(model)
    before = state_of(model)
    with pytest.raises(UnsupportedModelError, match=REFUSED[kind]):
        EdgeFilterAttribution(model, composite).attribute(images, 0)
    assert_untouched(model, before)


def test_a_model_that_branches_on_the_data_is_refused_and_left_as_it_was():
    model, images = awkward(Branching)
    model.stem = replace_stem(nn.Sequential(model.stem)).eval()
    before = state_of(model)
    with pytest.raises(UntraceableModelError, match=r"must trace it\); got Branching, where TraceError"):
        EdgeFilterAttribution(model).attribute(images, 0)
    assert_untouched(model, before)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_part_that_is_a_script_module_is_refused():
    """Its operations cannot be seen."""
    model, images = awkward(Reused)
    model = replace_stem(model)
    model.conv = torch.jit.script(model.conv)
    with pytest.raises(UnsupportedModelError, match=r"got forward\b"):
        EdgeFilterAttribution(model).attribute(images, 0)


@pytest.mark.parametrize("kind", AWKWARD)
def test_an_explained_model_is_left_as_it_was(kind):
    model, images = awkward(kind)
    model = replace_stem(model)
    before, given = state_of(model), images.clone()
    output = model(images)
    EdgeFilterAttribution(model).explain(images, 1)
    assert_untouched(model, before)
    assert torch.equal(images, given)
    assert not images.requires_grad
    assert torch.equal(model(images), output)


# The copy follows the model.


def residual(seed=0):
    model, images = awkward(SeveralAdditions, seed)
    return replace_stem(model), images


def fresh_map(model, images):
    return EdgeFilterAttribution(model).attribute(images, 1)


def halve_in_place(model):
    with torch.no_grad():
        model.conv.weight[:4] *= 0.5


def exchange_weights(model):
    model.other.weight = nn.Parameter(model.other.weight.detach().flip(0))


def load_other_weights(model):
    bank = {name: value for name, value in model.state_dict().items() if name.startswith("stem")}
    model.load_state_dict(residual(1)[0].state_dict() | bank)


def train_one_step(model):
    model.requires_grad_(True)
    images = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    free = [parameter for name, parameter in model.named_parameters() if not name.startswith("stem")]
    optimizer = torch.optim.SGD(free, lr=0.1)
    model(images)[0, 1].backward()
    optimizer.step()
    optimizer.zero_grad()
    model.stem.requires_grad_(False)


@pytest.mark.parametrize("change", [halve_in_place, exchange_weights, load_other_weights, train_one_step])
def test_changed_weights_are_followed(change):
    model, images = residual()
    attribution = EdgeFilterAttribution(model)
    before = attribution.attribute(images, 1)
    change(model)
    after = attribution.attribute(images, 1)
    assert not torch.equal(after, before)
    assert_close(after, fresh_map(copy.deepcopy(model), images), rtol=0, atol=0)


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon"])
def test_what_is_computed_from_buffers_and_parameters_follows_them(composite):
    class Computing(Awkward):
        def build(self):
            self.register_buffer("scale", torch.rand(1, 8, 1, 1))
            self.log_gain = nn.Parameter(torch.rand(8, 1, 1))

        def middle(self, x):
            return self.other(x + self.conv(x) * (self.scale * 2) * self.log_gain.exp())

    model, images = awkward(Computing)
    model = replace_stem(model)
    attribution = EdgeFilterAttribution(model, composite)
    before = attribution.attribute(images, 1)
    for change in (model.scale, model.log_gain.data):
        change.mul_(-3)
        after = attribution.attribute(images, 1)
        assert not torch.equal(after, before)
        assert torch.equal(after, EdgeFilterAttribution(model, composite).attribute(images, 1))
        before = after


def test_frozen_parameters_change_nothing():
    model, images = residual()
    attribution = EdgeFilterAttribution(model)
    want = attribution.attribute(images, 1)
    model.requires_grad_(False)
    assert torch.equal(attribution.attribute(images, 1), want)
    assert torch.equal(fresh_map(model, images), want)
    model.requires_grad_(True)
    with torch.no_grad():
        assert torch.equal(attribution.attribute(images, 1), want)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_changed_settings_of_modules_are_followed():
    class Leaky(Awkward):
        def build(self):
            self.leaky = nn.LeakyReLU(0.01)

        def middle(self, x):
            return self.other(self.leaky(self.conv(x)))

    model, images = awkward(Leaky)
    model = replace_stem(model)
    attribution = EdgeFilterAttribution(model)
    before = attribution.attribute(images, 1)
    model.leaky.negative_slope = 0.5
    after = attribution.attribute(images, 1)
    assert not torch.equal(after, before)
    assert torch.equal(after, fresh_map(model, images))


def test_updated_statistics_of_batch_norm_are_followed():
    model, images = awkward(Nested)
    model = replace_stem(model)
    attribution = EdgeFilterAttribution(model)
    before = attribution.attribute(images, 1)
    settle(model, 2 * images + 1)
    after = attribution.attribute(images, 1)
    assert not torch.equal(after, before)
    assert torch.equal(after, fresh_map(model, images))


def test_the_copy_is_freed_with_the_attribution():
    model, images = residual()
    attribution = EdgeFilterAttribution(model)
    attribution.attribute(images, 1)
    held = weakref.ref(attribution._rewritten.module)
    assert held() is not None
    del attribution
    gc.collect()
    assert held() is None


def test_the_model_is_freed_with_its_last_user():
    model, images = residual()
    attribution = EdgeFilterAttribution(model)
    attribution.attribute(images, 1)
    held = weakref.ref(model)
    del model, attribution
    gc.collect()
    assert held() is None


# The other rules: an independent slow formula.


class Slow:
    """A value of a network and how its relevance goes to the values it was made of: one sample, dense matrices, loops.

    ``hand`` takes the relevance of the value and returns that of each source.
    """

    def __init__(self, value, sources=(), hand=None):
        self.value, self.sources, self.hand = value.detach(), sources, hand

    def relevances(self, start, wanted):
        """Hand ``start`` back to the wanted values, each value after all its readers."""
        order = []

        def visit(node):
            if node not in order:
                for source in node.sources:
                    visit(source)
                order.append(node)

        visit(self)
        found = {self: start}
        for node in reversed(order):
            for source, part in zip(
                node.sources, node.hand(found[node]) if node.sources else (), strict=True
            ):
                found[source] = found.get(source, 0) + part
        return [found[node] for node in wanted]


def share_out(candidates, relevance):
    """Share each output's relevance by the first of the candidates (inputs of that output) that is not zero."""
    result = torch.zeros_like(candidates[0][0])
    for row, part in enumerate(relevance.flatten()):
        for shares in candidates:
            largest = shares[row].abs().max()
            if shares[row].sum().abs() > 1e-13 * largest:
                result += shares[row] / shares[row].sum() * part
                break
    return result


def by_epsilon(weights, values, relevance):
    z = weights * values
    return share_out([z, z.abs(), weights**2], relevance)


def by_zplus(weights, values, relevance):
    z = weights * values
    return share_out([z.clamp(min=0), z.abs(), weights**2], relevance)


def by_alpha2_beta1(weights, values, relevance):
    z = weights * values
    both = ((z > 0).any(1) & (z < 0).any(1)).to(relevance).reshape(relevance.shape)
    against = share_out([z.clamp(max=0)], both * relevance)
    return by_zplus(weights, values, relevance * (1 + both)) - against


def by_wsquare(weights, values, relevance):
    return share_out([weights**2], relevance)


def by_norm(weights, values, relevance):
    z = weights * values
    return share_out([z, z.abs(), weights], relevance)


def by_positive(weights, values, relevance):
    return share_out([weights * values.clamp(min=0), weights * values.abs(), weights], relevance)


SLOW = {
    "epsilon_plus": (by_zplus, by_epsilon),
    "zplus": (by_zplus, by_zplus),
    "epsilon_alpha2_beta1": (by_alpha2_beta1, by_epsilon),
}


def spread(rule, function, source):
    """Apply an affine function; the rule gets its matrix, without the bias."""
    matrix = torch.autograd.functional.jacobian(function, torch.zeros_like(source.value))
    matrix = matrix.reshape(-1, source.value.numel()).detach()

    def hand(relevance):
        return [rule(matrix, source.value.flatten(), relevance.flatten()).reshape(source.value.shape)]

    return Slow(function(source.value), [source], hand)


def add(rule, *terms):
    """Add values: each sum has one term of each."""

    def hand(relevance):
        values = torch.stack([term.value.flatten() for term in terms], 1)
        parts = [
            rule(torch.ones(1, len(terms)).to(v), v, r[None])
            for v, r in zip(values, relevance.flatten(), strict=True)
        ]
        return [part.reshape(relevance.shape) for part in torch.stack(parts, 1)]

    return Slow(sum(term.value for term in terms), terms, hand)


def passing(function, source):
    """An activation, a normalisation or a gate, which hand relevance through."""
    return Slow(function(source.value), [source], lambda relevance: [relevance])


def moving(function, *sources):
    """A rearrangement or a maximum: each output is one of the inputs."""

    def hand(relevance):
        return torch.autograd.functional.vjp(function, tuple(source.value for source in sources), relevance)[
            1
        ]

    return Slow(function(*(source.value for source in sources)), sources, hand)


class Construct(nn.Module):
    """A stem, a construct and a head: ``middle`` as PyTorch runs it, ``slow`` by the slow rules."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)
        self.build()

    def forward(self, images):
        return self.head(self.middle(self.stem(images).relu()).mean((2, 3)))

    def relevances(self, image, target, composite):
        """Return output, pixels and responses of one image of a model whose stem was replaced."""
        conv, linear = SLOW[composite]
        pixels = Slow(image)
        responses = spread(by_wsquare, self.stem.filters, pixels)
        features = passing(torch.relu, spread(conv, self.stem.mixing, responses))
        output = spread(linear, self.head, spread(by_norm, self.pooling, self.slow(features, conv, linear)))
        start = F.one_hot(torch.tensor([target]), output.value.shape[1]) * output.value
        return output.value, *output.relevances(start, [pixels, responses])

    @staticmethod
    def pooling(features):
        return features.mean((2, 3))


def conv_bn(*arguments, **options):
    return nn.Sequential(nn.Conv2d(*arguments, **options), nn.BatchNorm2d(arguments[1]))


class Residual(Construct):
    def build(self):
        self.first, self.second = conv_bn(4, 4, 3, padding=1), conv_bn(4, 4, 3, padding=1, bias=False)

    def middle(self, x):
        return (x + self.second(self.first(x).relu())).relu()

    def slow(self, x, conv, linear):
        inner = spread(conv, self.second, passing(torch.relu, spread(conv, self.first, x)))
        return passing(torch.relu, add(by_norm, x, inner))


class Dense(Construct):
    """DenseNet: BatchNorm and ReLU before the convolution, and a transition."""

    def build(self):
        self.norm1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)
        self.pool, self.norm3 = nn.AvgPool2d(2), nn.BatchNorm2d(4)

    def middle(self, x):
        x = torch.cat([x, self.conv1(self.norm1(x).relu())], 1)
        return self.norm3(self.pool(self.conv2(self.norm2(x).relu()))).relu()

    def slow(self, x, conv, linear):
        new = spread(conv, self.conv1, passing(torch.relu, passing(self.norm1, x)))
        x = moving(lambda a, b: torch.cat([a, b], 1), x, new)
        x = spread(conv, self.conv2, passing(torch.relu, passing(self.norm2, x)))
        return passing(torch.relu, passing(self.norm3, spread(by_positive, self.pool, x)))


class Inception(Construct):
    def build(self):
        self.branches = nn.ModuleList([nn.Conv2d(4, 1, size, padding=size // 2) for size in (1, 3, 1, 1)])
        self.largest, self.average = nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)

    def middle(self, x):
        inputs = (x, x, self.largest(x), self.average(x))
        return torch.cat([branch(x).relu() for branch, x in zip(self.branches, inputs, strict=True)], 1)

    def slow(self, x, conv, linear):
        inputs = (x, x, moving(self.largest, x), spread(by_norm, self.average, x))
        parts = [
            passing(torch.relu, spread(conv, branch, x))
            for branch, x in zip(self.branches, inputs, strict=True)
        ]
        return moving(lambda *parts: torch.cat(parts, 1), *parts)


class SqueezeExcitation(Construct):
    def build(self):
        self.conv, self.down, self.up = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

    def gate(self, x):
        return torch.sigmoid(self.up(self.down(F.adaptive_avg_pool2d(x, 1)).relu()))

    def middle(self, x):
        x = self.conv(x)
        return self.gate(x) * x

    def slow(self, x, conv, linear):
        return passing(lambda value: self.gate(value) * value, spread(conv, self.conv, x))


class Shuffle(Construct):
    def build(self):
        self.deep, self.point = conv_bn(2, 2, 3, padding=1, groups=2), conv_bn(2, 2, 1)
        self.last = nn.Conv2d(4, 4, 1)

    @staticmethod
    def shuffled(a, b):
        joined = torch.cat([a, b], 1)
        count, channels, height, width = joined.shape
        return joined.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(joined.shape)

    def middle(self, x):
        left, right = x.chunk(2, dim=1)
        return self.last(self.shuffled(left, self.point(self.deep(right)).relu())).relu()

    def slow(self, x, conv, linear):
        left, right = (moving(lambda v, i=i: v[:, 2 * i : 2 * i + 2], x) for i in (0, 1))
        right = passing(torch.relu, spread(conv, self.point, spread(conv, self.deep, right)))
        return passing(torch.relu, spread(conv, self.last, moving(self.shuffled, left, right)))


class InvertedBottleneck(Construct):
    def build(self):
        self.expand, self.deep = conv_bn(4, 8, 1), conv_bn(8, 8, 3, padding=1, groups=8)
        self.project, self.relu6 = conv_bn(8, 4, 1), nn.ReLU6()

    def middle(self, x):
        return x + self.project(self.relu6(self.deep(self.relu6(3 * self.expand(x)))))

    def slow(self, x, conv, linear):
        inner = passing(self.relu6, passing(lambda v: 3 * v, spread(conv, self.expand, x)))
        inner = spread(conv, self.project, passing(self.relu6, spread(conv, self.deep, inner)))
        return add(by_norm, x, inner)


class AttentionBlock(Construct):
    """A block of a vision transformer: attention weights and statistics constant, sums that LayerNorm reads."""

    def build(self):
        self.patches = nn.Conv2d(4, 4, 2, 2)
        self.positions = nn.Parameter(torch.randn(1, 9, 4))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(4) for _ in range(3))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
        for parameter in (self.attention.in_proj_bias, self.norm1.bias, self.norm1.weight):
            nn.init.normal_(parameter)

    def forward(self, images):
        x = self.patches(self.stem(images).relu()).flatten(2).transpose(1, 2) + self.positions
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(self.norm3(x).mean(1))

    @staticmethod
    def pooling(tokens):
        return tokens.mean(1)

    def heads(self, tokens, part):
        """Return the queries, keys or values, shape (heads, tokens, depth)."""
        rows = slice(4 * part, 4 * part + 4)
        projected = F.linear(tokens, self.attention.in_proj_weight[rows], self.attention.in_proj_bias[rows])
        return projected.reshape(-1, 2, 2).transpose(0, 1)

    def slow(self, x, conv, linear):
        x = moving(lambda v: v.flatten(2).transpose(1, 2), spread(conv, self.patches, x))
        x = passing(lambda v: v + self.positions, x)
        y = passing(self.norm1, x)
        queries, keys = self.heads(y.value, 0), self.heads(y.value, 1)
        weights = (queries @ keys.transpose(1, 2) / 2**0.5).softmax(-1).detach()
        values = spread(conv, lambda v: self.heads(v, 2), y)
        mixed = spread(by_positive, lambda v: (weights @ v).transpose(0, 1).reshape(1, 9, 4), values)
        x = add(by_positive, x, spread(conv, self.attention.out_proj, mixed))
        y = passing(F.gelu, spread(conv, self.up, passing(self.norm2, x)))
        x = add(by_positive, x, spread(conv, self.down, y))
        return passing(self.norm3, x)


CONSTRUCTS = [Residual, Dense, Inception, SqueezeExcitation, Shuffle, InvertedBottleneck, AttentionBlock]


@pytest.mark.parametrize("composite", SLOW)
@pytest.mark.parametrize("kind", CONSTRUCTS)
def test_a_construct_agrees_with_the_slow_formula(kind, composite):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind().double()
        images = torch.randn(4, 3, 6, 6, dtype=torch.float64)
        settle(model, images)
    model, images = replace_stem(model), images[:2]
    explanation = EdgeFilterAttribution(model, composite).explain(images, 1)
    for image, pixel, response in zip(images, explanation.pixel, explanation.response, strict=True):
        output, pixels, responses = model.relevances(image[None], 1, composite)
        assert_close(output, model(image[None]), rtol=0, atol=1e-12)
        for got, want in ((pixel, pixels), (response, responses)):
            scale = float(want.abs().max())
            assert_close(got.flatten(), want.flatten(), rtol=0, atol=1e-8 * scale)
        assert_close(pixels.sum(), output[0, 1], rtol=1e-8, atol=0)


class TwoStems(nn.Module):
    """Reads the image with two convolutions side by side."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head((self.first(x) + self.second(x)).relu().mean((2, 3)))


def test_an_image_that_passes_by_the_filter_bank_is_warned_of():
    model = replace_stem(TwoStems().eval())
    with pytest.warns(UserWarning, match="past the filter bank"):
        EdgeFilterAttribution(model).explain(torch.rand(1, 3, 6, 6))


class Viewing(nn.Module):
    """Flatten maps by view, on the main path and in a gate."""

    def __init__(self, gated):
        super().__init__()
        self.conv, self.fc, self.gate = nn.Conv2d(3, 4, 3), nn.Linear(64, 3), nn.Linear(64, 3)
        self.gated = gated

    def forward(self, x):
        x = self.conv(x).relu()
        y = self.fc(x.view(x.size(0), -1))
        return y * torch.sigmoid(self.gate(x.view(x.size(0), -1))) if self.gated else y


class Shifted(nn.Module):
    """Add or multiply an argument that has one entry per class."""

    def __init__(self, multiply=False):
        super().__init__()
        self.conv, self.fc, self.multiply = nn.Conv2d(3, 4, 3), nn.Linear(64, 5), multiply

    def forward(self, x, e):
        y = self.fc(self.conv(x).relu().flatten(1))
        return y * e if self.multiply else y + e


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maps_may_be_flattened_by_view(gated, dtype):
    """The private layout of images does not reach the user's model, and view becomes reshape in the copy."""
    torch.manual_seed(0)
    net = ef.replace_stem(Viewing(gated).eval()).to(dtype)
    images = torch.rand(3, 3, 6, 6, dtype=dtype)
    explanation = ef.EdgeFilterAttribution(net).explain(images, 1)
    assert_close(explanation.output, net(images)[:, 1])


@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 5)])
@pytest.mark.parametrize("multiply", [False, True])
@pytest.mark.parametrize("fast", [True, False])
def test_an_argument_that_happens_to_be_as_long_as_the_batch_is_not_cut(shape, multiply, fast):
    """Five images and five classes; a product of two factors of one size is refused, whatever it was before."""
    if multiply and shape == (5, 5):
        pytest.skip("neither factor is a gate")
    torch.manual_seed(0)
    net = ef.replace_stem(Shifted(multiply).double().eval())
    images, e = torch.rand(5, 3, 6, 6, dtype=torch.float64), torch.rand(shape, dtype=torch.float64)
    for composite in (None, EpsilonPlus()):
        explanation = ef.EdgeFilterAttribution(net, composite, fast=fast).explain(images, 1, (e,))
        assert_close(explanation.output, net(images, e)[:, 1])


def test_a_cut_that_changes_the_output_is_refused():
    """internal_batch_size cannot tell an argument per class from one per image: the outputs can."""
    torch.manual_seed(0)
    net = ef.replace_stem(Shifted().double().eval())
    images = torch.rand(5, 3, 6, 6, dtype=torch.float64)
    attr = ef.EdgeFilterAttribution(net)
    with pytest.raises(ValueError, match=r"additional_forward_args must hold one entry per image"):
        attr.explain(images, 1, (torch.tensor([3.0, 0, -2, 1, 5]).double(),), internal_batch_size=1)


def test_an_interrupted_first_call_leaves_nothing_behind(monkeypatch):
    """The copy that was not verified is made anew."""
    torch.manual_seed(0)
    net = ef.replace_stem(Viewing(False).double().eval())
    attr = ef.EdgeFilterAttribution(net)
    first, second = torch.rand(2, 1, 3, 6, 6, dtype=torch.float64)
    with monkeypatch.context() as patch:
        patch.setattr("edgefilter.attribution.attribution._check_output", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            attr.attribute(first, 1)
    assert_close(attr.explain(second, 1).output, net(second)[:, 1])


@pytest.mark.parametrize("name", ["epsilon", "epsilon_plus"])
def test_a_relu_after_a_shift_does_not_overwrite_a_view(name):
    """relu(conv(x) + constant): the sum has one relevant operand."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc, self.shift = (
                nn.Conv2d(3, 4, 3),
                nn.Linear(64, 3),
                nn.Parameter(torch.rand(4, 1, 1)),
            )

        def forward(self, x):
            return self.fc(F.relu(self.conv(x) + self.shift).flatten(1))

    torch.manual_seed(0)
    net = ef.replace_stem(Net().double().eval())
    images = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    assert_close(ef.EdgeFilterAttribution(net, name).explain(images, 1).output, net(images)[:, 1])


@pytest.mark.parametrize("name", ["epsilon", "epsilon_plus", "zplus"])
def test_outputs_of_one_axis_may_be_sums(name):
    """Two heads of one output each, added: what they get adds up to the output."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, bias=False)
            self.a, self.b = nn.Linear(64, 1, bias=False), nn.Linear(64, 1, bias=False)

        def forward(self, x):
            x = self.conv(x).relu().flatten(1)
            return self.a(x).squeeze(1) + self.b(x).squeeze(1)

    torch.manual_seed(0)
    net = ef.replace_stem(Net().double().eval())
    images = torch.rand(3, 3, 6, 6, dtype=torch.float64)
    explanation = ef.EdgeFilterAttribution(net, name).explain(images)
    assert_close(explanation.response.sum((1, 2, 3, 4)), net(images))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_merged_weights_notice_one_changed_number(dtype):
    """One of 256 gains, in every precision; and statistics so large that half floats cannot sum them."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(256).to(dtype).eval()
    norm.running_var.fill_(2000)
    source = nn.Conv2d(3, 256, 3).to(dtype)
    link = Link(twin_of(source), source, norm)
    link.refresh()
    before = link.twin.weight
    link.refresh()
    assert link.twin.weight is before
    with torch.no_grad():
        norm.weight[17] = 1.25
    link.refresh()
    assert link.twin.weight is not before
    before = link.twin.weight
    norm.running_var.fill_(3000)
    link.refresh()
    assert link.twin.weight is not before
