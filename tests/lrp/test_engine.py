"""The engine on models that are written in awkward ways: what they compute, what is refused, what is left as it was."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module
from torch.testing import assert_close
from zennit.composites import EpsilonPlus

from agreement import assert_right, settle
from edgefilter import EdgeFilterAttribution, UnsupportedModelError, replace_stem
from edgefilter.lrp.engine import Engine


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
    """Two names of one tensor that is changed in place."""

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


class Exponential(Awkward):
    def middle(self, x):
        return torch.exp(self.conv(x))


class Branching(Awkward):
    def middle(self, x):
        return self.conv(x) if x.sum() > 0 else x


class Sorting(Awkward):
    def middle(self, x):
        return x.flatten(2).sort(-1, descending=True).values[..., :16].reshape(-1, 8, 4, 4)


class Hooked(Awkward):
    def build(self):
        self.conv.register_forward_hook(lambda module, given, output: output * 2)

    def middle(self, x):
        return self.conv(x)


class Shaped(Awkward):
    """Looks at shapes, counts with them and loops over them."""

    def middle(self, x):
        count, channels, height, width = x.shape
        assert height == width
        if height % 2 == 0:
            x = x.view(count, channels, height // 2, 2, width // 2, 2).mean((3, 5))
        parts = [self.conv(x)[:, i : i + 1] for i in range(channels)]
        return torch.cat(parts, 1) * (1.0 / len(parts)) + x


class Normalized(Awkward):
    """All normalisations that look at the sample."""

    def build(self):
        self.layer, self.group = nn.LayerNorm(8), nn.GroupNorm(4, 8)
        self.instance, self.root = nn.InstanceNorm2d(8, affine=True), nn.RMSNorm(8)
        for norm in (self.layer, self.group, self.instance, self.root):
            nn.init.normal_(norm.weight)

    def middle(self, x):
        x = self.group(self.conv(x)) + self.instance(self.other(x))
        x = self.layer(x.permute(0, 2, 3, 1)) + self.root(x.permute(0, 2, 3, 1))
        return x.permute(0, 3, 1, 2)


AWKWARD = [
    Functional, Reused, Nested, InPlace, Aliased, SeveralAdditions, Gray, Flattened, Resized, Sliced, ExtraArguments,
    Dictionary, Subtracting, Scaled, Stacked, Constants, Exponential, Branching, Sorting, Hooked, Shaped, Normalized,
]  # fmt: skip


def awkward(kind, seed=0):
    """Return a model in evaluation mode and two images."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind().double()
        images = torch.randn(4, kind.channels, 16, 16, dtype=torch.float64)
        settle(model, images)
    return model, images[:2]


@pytest.mark.parametrize("kind", AWKWARD)
def test_an_awkward_model_agrees_with_the_oracle_and_conserves(kind):
    model, images = awkward(kind)
    assert_right(model, images, model(images).argmax(1))


@pytest.mark.parametrize("kind", AWKWARD)
def test_an_awkward_model_with_an_edge_filter_stem_is_explained_as_the_model_itself(kind):
    model, images = awkward(kind)
    for composite in ("epsilon", "epsilon_plus"):
        got, want = (
            EdgeFilterAttribution(net, composite, calibrate=False).explain(images, 1)
            for net in (replace_stem(model), model)
        )
        for score in ("response", "pixel"):
            scale = float(getattr(want, score).abs().max())
            assert_close(getattr(got, score), getattr(want, score), rtol=0, atol=1e-9 * scale)


def test_a_stem_that_fits_once_into_the_image_is_explained_with_and_without_a_bank():
    """A map of one place: the mixing of the bank is no fully connected layer, for the stem is a convolution."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)).double().eval()
        images = torch.randn(2, 3, 3, 3, dtype=torch.float64)
    got, want = (
        EdgeFilterAttribution(net, calibrate=False).explain(images, 1) for net in (replace_stem(model), model)
    )
    assert_close(got.response, want.response, rtol=0, atol=1e-12)


def test_in_place_operations_whose_results_nobody_takes_are_followed():
    """The same network without in-place operations gives the same map (the oracle knows no in-place activations)."""

    class Spelled(InPlaceUnsaid):
        def middle(self, x):
            y = ((self.conv(x).relu() + x) * 0.5).relu()
            return self.other(y) + y

    unsaid, images = awkward(InPlaceUnsaid)
    spelled, _ = awkward(Spelled)
    assert_right(copy.deepcopy(spelled), images, spelled(images).argmax(1))
    for composite in ("epsilon", "epsilon_plus"):
        got, want = (
            EdgeFilterAttribution(m, composite, calibrate=False).attribute(images, 1)
            for m in (unsaid, spelled)
        )
        assert_close(got, want, rtol=0, atol=1e-12)


def test_extra_arguments_are_handed_on():
    """They are part of what is explained: fixing them inside the model gives the same map."""
    model, images = awkward(ExtraArguments)

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, images):
            return self.inner(images, 3.0, 0.5)

    for composite in ("epsilon", "epsilon_plus"):
        got = EdgeFilterAttribution(model, composite, calibrate=False).attribute(images, 1, (3.0, 0.5))
        want = EdgeFilterAttribution(Fixed().eval(), composite, calibrate=False).attribute(images, 1)
        assert_close(got, want, rtol=0, atol=1e-12)
    assert_close(want.sum((1, 2, 3)), model(images, 3.0, 0.5)[:, 1] - model.head.bias[1], rtol=1e-6, atol=0)


# A monotone function at the very end.


class Probabilities(Awkward):
    def middle(self, x):
        return self.conv(x).relu()

    def forward(self, images):
        return super().forward(images).softmax(1)


class SoftmaxModule(Probabilities):
    def build(self):
        self.last = nn.Softmax(1)

    def forward(self, images):
        return self.last(Awkward.forward(self, images))


class Logits(Probabilities):
    def forward(self, images):
        return Awkward.forward(self, images)


@pytest.mark.parametrize("kind", [Probabilities, SoftmaxModule])
def test_of_a_softmax_at_the_end_the_logits_are_explained(kind):
    (model, images), (logits, _) = awkward(kind), awkward(Logits)
    got, want = (EdgeFilterAttribution(net, calibrate=False).explain(images, 1) for net in (model, logits))
    assert (got.left_out, want.left_out) == ("softmax", "")
    assert torch.equal(got.response, want.response)
    assert_close(got.output, logits(images)[:, 1])


# Refusals.


class TwoSignals(Awkward):
    def middle(self, x):
        return self.conv(x) * self.other(x)


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


class WithoutGradients(Awkward):
    def middle(self, x):
        with torch.no_grad():
            return self.conv(x)


REFUSED = {
    TwoSignals: r"operations with a known relevance rule; got mul\b",
    BatchStatistics: r"BatchNorm must use running statistics in evaluation; got 'norm'",
    BatchStatisticsFirst: r"BatchNorm must use running statistics in evaluation; got 'norm'",
    BatchStatisticsCalled: r"BatchNorm must use running statistics",
    Noisy: r"must give the model's output; got a difference of .*random numbers",
    WithoutGradients: r"must not switch gradients off inside forward; got conv2d \(in 'conv'\) under torch\.no_grad",
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
    before = state_of(model)
    with pytest.raises(UnsupportedModelError, match=REFUSED[kind]):
        EdgeFilterAttribution(model, composite, calibrate=False).attribute(images, 0)
    assert_untouched(model, before)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_part_that_is_a_script_module_is_refused():
    """Its operations cannot be seen."""
    model, images = awkward(Reused)
    model.conv = torch.jit.script(model.conv)
    with pytest.raises(UnsupportedModelError, match="a scripted part or an operator of its own"):
        EdgeFilterAttribution(model, calibrate=False).attribute(images, 0)


@pytest.mark.parametrize("kind", AWKWARD)
def test_an_explained_model_is_left_as_it_was(kind):
    model, images = awkward(kind)
    before, given = state_of(model), images.clone()
    output = model(images)
    EdgeFilterAttribution(model, calibrate=False).explain(images, 1)
    assert_untouched(model, before)
    assert torch.equal(images, given)
    assert not images.requires_grad
    assert torch.equal(model(images), output)


# Each call explains the model as it is.


def residual(seed=0):
    model, images = awkward(SeveralAdditions, seed)
    return model, images


def fresh_map(model, images):
    return EdgeFilterAttribution(model, calibrate=False).attribute(images, 1)


def halve_in_place(model):
    with torch.no_grad():
        model.conv.weight[:4] *= 0.5


def exchange_weights(model):
    model.other.weight = nn.Parameter(model.other.weight.detach().flip(0))


def load_other_weights(model):
    model.load_state_dict(residual(1)[0].state_dict())


def train_one_step(model):
    model.requires_grad_(True)
    images = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(images)[0, 1].backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("change", [halve_in_place, exchange_weights, load_other_weights, train_one_step])
def test_changed_weights_are_followed(change):
    model, images = residual()
    attribution = EdgeFilterAttribution(model, calibrate=False)
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
    attribution = EdgeFilterAttribution(model, composite, calibrate=False)
    before = attribution.attribute(images, 1)
    for change in (model.scale, model.log_gain.data):
        change.mul_(-3)
        after = attribution.attribute(images, 1)
        assert not torch.equal(after, before)
        assert torch.equal(
            after, EdgeFilterAttribution(model, composite, calibrate=False).attribute(images, 1)
        )
        before = after


def test_frozen_parameters_change_nothing():
    model, images = residual()
    attribution = EdgeFilterAttribution(model, calibrate=False)
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
    attribution = EdgeFilterAttribution(model, calibrate=False)
    before = attribution.attribute(images, 1)
    model.leaky.negative_slope = 0.5
    after = attribution.attribute(images, 1)
    assert not torch.equal(after, before)
    assert torch.equal(after, fresh_map(model, images))


def test_updated_statistics_of_batch_norm_are_followed():
    model, images = awkward(Nested)
    attribution = EdgeFilterAttribution(model, calibrate=False)
    before = attribution.attribute(images, 1)
    settle(model, 2 * images + 1)
    after = attribution.attribute(images, 1)
    assert not torch.equal(after, before)
    assert torch.equal(after, fresh_map(model, images))


def engines():
    gc.collect()
    return {id(kept) for kept in gc.get_objects() if type(kept) is Engine}


def test_the_model_is_freed_with_its_last_user():
    before = engines()  # a test that failed may still hold some
    model, images = residual()
    attribution = EdgeFilterAttribution(model, calibrate=False)
    attribution.attribute(images, 1)
    held = weakref.ref(model)
    del model, attribution
    assert engines() <= before
    assert held() is None


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
        EdgeFilterAttribution(model, calibrate=False).explain(torch.rand(1, 3, 6, 6))


def test_of_convolutions_side_by_side_nothing_passes_by_the_bank():
    """Without an edge-filter layer both are expressed, on the support of the larger."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, images = TwoStems().double().eval(), torch.rand(2, 3, 6, 6, dtype=torch.float64)
    assert_right(model, images, torch.tensor([0, 2]))
    assert EdgeFilterAttribution(model, calibrate=False).explain(images, 1).response.shape == (2, 3, 9, 6, 6)


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
        return self.shifted(self.fc(self.conv(x).relu().flatten(1)), e)

    def shifted(self, y, e):
        return y * e if self.multiply else y + e

    def base(self, e):
        return self.shifted(self.fc.bias.expand(5, 5), e)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maps_may_be_flattened_by_view(gated, dtype):
    """Also where the images lie in memory with their channels last."""
    torch.manual_seed(0)
    net = Viewing(gated).eval().to(dtype)
    images = torch.rand(3, 3, 6, 6, dtype=dtype)
    explanation = EdgeFilterAttribution(net, calibrate=False).explain(images, 1)
    assert_close(explanation.output, net(images)[:, 1])


@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 5)])
@pytest.mark.parametrize("multiply", [False, True])
def test_an_argument_that_happens_to_be_as_long_as_the_batch_is_not_cut(shape, multiply):
    """Five images and five classes."""
    torch.manual_seed(0)
    net = Shifted(multiply).double().eval()
    images, e = torch.rand(5, 3, 6, 6, dtype=torch.float64), torch.rand(shape, dtype=torch.float64)
    for composite in (None, EpsilonPlus()):
        explanation = EdgeFilterAttribution(net, composite, calibrate=False).explain(images, 1, (e,))
        assert_close(explanation.output, net(images, e)[:, 1])
    explanation = EdgeFilterAttribution(net, calibrate=False).explain(images, 1, (e,))
    assert_close(explanation.base, net.base(e)[:, 1])


def test_a_cut_that_changes_the_output_is_refused():
    """internal_batch_size cannot tell an argument per class from one per image: the outputs can."""
    torch.manual_seed(0)
    net = Shifted().double().eval()
    images = torch.rand(5, 3, 6, 6, dtype=torch.float64)
    attr = EdgeFilterAttribution(net, calibrate=False)
    with pytest.raises(ValueError, match=r"additional_forward_args must hold one entry per image"):
        attr.explain(images, 1, (torch.tensor([3.0, 0, -2, 1, 5]).double(),), internal_batch_size=1)


class Interrupted(Awkward):
    """Raises inside a module while it is broken."""

    broken = False

    def build(self):
        self.conv.register_forward_hook(self.interrupt)

    def interrupt(self, *_):
        if self.broken:
            raise ZeroDivisionError

    def middle(self, x):
        return self.conv(x)


def test_an_interrupted_call_leaves_nothing_behind():
    """No hook for all modules, no engine, and the next call is right."""
    model, images = awkward(Interrupted)
    model.broken = True
    attribution = EdgeFilterAttribution(model, calibrate=False)
    before = state_of(model)
    with pytest.raises(ZeroDivisionError):
        attribution.attribute(images, 1)
    assert_untouched(model, before)
    assert not torch_module._global_forward_hooks
    assert not torch_module._global_forward_pre_hooks
    assert not torch.overrides._get_current_function_mode_stack()
    model.broken = False
    assert_right(model, images, model(images).argmax(1))


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
    net = Net().double().eval()
    images = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    assert_close(
        EdgeFilterAttribution(net, name, calibrate=False).explain(images, 1).output, net(images)[:, 1]
    )


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
    net = Net().double().eval()
    images = torch.rand(3, 3, 6, 6, dtype=torch.float64)
    explanation = EdgeFilterAttribution(net, name, calibrate=False).explain(images)
    assert_close(explanation.response.sum((1, 2, 3, 4)), net(images))
