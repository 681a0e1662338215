"""Composites, rules and hooks of Zennit's give what Zennit itself gives on the replaced model."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import (
    BetaSmooth,
    DeconvNet,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    ExcitationBackprop,
    GuidedBackprop,
    LayerMapComposite,
    MixedComposite,
    NameLayerMapComposite,
    NameMapComposite,
)
from zennit.core import BasicHook, Hook
from zennit.layer import Sum
from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, Norm, Pass, WSquare, ZBox, ZPlus
from zennit.types import Activation, AvgPool, Convolution, Linear

import edgefilter as ef
from small_models import assert_untouched, pictures, seeded, snapshot


class Block(nn.Module):
    """A residual block whose addition is a module, as Zennit needs it."""

    def __init__(self, norm):
        super().__init__()
        layers = [nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1)]
        if norm:
            layers[1:1] = [nn.BatchNorm2d(6)]
            layers.append(nn.BatchNorm2d(6))
        self.branch, self.sum, self.relu = nn.Sequential(*layers), Sum(-1), nn.ReLU()

    def forward(self, x):
        return self.relu(self.sum(torch.stack((x, self.branch(x)), -1)))


class Net(nn.Module):
    """Stem, max pooling, a residual block, average pooling, two linear layers: all of them modules."""

    def __init__(self, norm=False):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.relu, self.pool, self.block = nn.ReLU(), nn.MaxPool2d(2), Block(norm)
        self.average, self.flatten = nn.AdaptiveAvgPool2d(2), nn.Flatten()
        self.hidden, self.act, self.fc = nn.Linear(24, 7), nn.ReLU(), nn.Linear(7, 4)

    def forward(self, x):
        h = self.block(self.pool(self.relu(self.norm(self.stem(x)))))
        return self.fc(self.act(self.hidden(self.flatten(self.average(h)))))


def network(norm=False):
    net = seeded(Net, norm)
    noise = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.running_mean, module.weight, module.bias):
                    tensor.add_(0.3 * torch.randn(tensor.shape, generator=noise, dtype=torch.float64))
                module.running_var.uniform_(0.5, 2, generator=noise)
    return net


def by_zennit(model, images, target, composite):
    """Return the relevance of the bank's output and of the pixels, by Zennit's hooks on the model."""
    bank = next(m for m in model.modules() if isinstance(m, ef.EdgeFilterBank2d))
    leaf, kept = images.clone().requires_grad_(), []
    with composite.context(model) as hooked:
        handle = bank.register_forward_hook(lambda m, a, output: kept.append(output))
        output = hooked(leaf)
        chosen = torch.zeros_like(output)
        chosen[:, target] = output[:, target].detach()
        response, pixel = torch.autograd.grad(output, (kept[0], leaf), chosen)
        handle.remove()
    return response.detach(), pixel.detach()


def assert_as_zennit(make, net, tolerance=1e-9, reference=None):
    """Compare plain and replaced models under a composite with Zennit's own run."""
    images, replaced = pictures(2, size=8), ef.replace_stem(net)
    response, pixel = by_zennit(ef.replace_stem(net), images, 1, (reference or make)())
    assert pixel.abs().max() > 0
    for model in (net, replaced):
        found = ef.EdgeFilterAttribution(model, make(), calibrate=False).explain(images, 1)
        for one, other in ((found.response.flatten(1, 2), response), (found.pixel, pixel)):
            limit = tolerance * (1 if tolerance < 1e-6 else float(other.abs().max()))
            torch.testing.assert_close(one, other, rtol=0, atol=limit)


class Scaled(Hook):
    """Hand back a part of the gradient."""

    def __init__(self, factor=0.5):
        super().__init__()
        self.factor = factor

    def backward(self, module, grad_input, grad_output):
        return tuple(None if g is None else self.factor * g for g in grad_input)

    def copy(self):
        return type(self)(self.factor)


class Ignoring(Hook):
    """Hand on what came, whatever the module does: for modules that keep the shape."""

    def backward(self, module, grad_input, grad_output):
        return grad_output


class Stored(Hook):
    """Weigh the gradient by what was seen going forward."""

    def forward(self, module, inputs, output):
        self.stored_tensors["size"] = output.detach().abs().mean()

    def backward(self, module, grad_input, grad_output):
        return tuple(g * self.stored_tensors["size"] for g in grad_input)


class Squared(BasicHook):
    """Squared weights, positive inputs and another divisor."""

    def __init__(self):
        super().__init__(
            input_modifiers=[lambda x: x.clamp(min=0) + 0.1],
            param_modifiers=[lambda p, _: p**2],
            output_modifiers=[lambda y: y],
            gradient_mapper=lambda relevance, outputs: [relevance / (outputs[0] + 0.01)],
            reducer=lambda inputs, gradients: inputs[0] * gradients[0],
        )


class Doubled(Epsilon):
    """A rule of Zennit's, changed by a subclass: its attributes look like the original's."""

    def backward(self, module, grad_input, grad_output):
        return tuple(2 * g for g in super().backward(module, grad_input, grad_output))

    def copy(self):
        return Doubled()


def low():
    return torch.full((1, 3, 1, 1), -4.0, dtype=torch.float64)


BASE = [(Activation, Pass()), (Sum, Norm()), (AvgPool, Norm())]


def with_hook(kind, hook):
    """Put a hook on one kind of module, rules of EpsilonPlus on the others."""
    return LayerMapComposite([(kind, hook), *BASE, (Convolution, ZPlus()), (Linear, Epsilon())])


def by_name(**hooks):
    """Put hooks on modules by their names, underscores for dots."""
    names = [([name.replace("__", ".")], hook) for name, hook in hooks.items()]
    return NameLayerMapComposite(names, [*BASE, (Convolution, ZPlus()), (Linear, Epsilon())])


COMPOSITES = {
    "EpsilonPlus": EpsilonPlus,
    "EpsilonPlus, no biases": lambda: EpsilonPlus(zero_params="bias"),
    "EpsilonPlus, larger epsilon": lambda: EpsilonPlus(epsilon=0.25, stabilizer=0.01),
    "EpsilonPlusFlat": EpsilonPlusFlat,
    "EpsilonGammaBox": lambda: EpsilonGammaBox(low=low(), high=-low()),
    "EpsilonGammaBox, gamma": lambda: EpsilonGammaBox(low=low(), high=-low(), gamma=0.9, epsilon=0.1),
    "EpsilonAlpha2Beta1": EpsilonAlpha2Beta1,
    "EpsilonAlpha2Beta1Flat": EpsilonAlpha2Beta1Flat,
    "ExcitationBackprop": ExcitationBackprop,
    "BetaSmooth": BetaSmooth,
    "GuidedBackprop": GuidedBackprop,
    "DeconvNet": DeconvNet,
    "layer map": lambda: EpsilonPlus(layer_map=[(nn.Linear, Gamma(0.5))]),
    "first map": lambda: EpsilonPlusFlat(first_map=[(Convolution, WSquare())]),
    "gradients alone": lambda: LayerMapComposite([]),
    "names": lambda: NameMapComposite(
        [
            (["block.branch.0", "block.branch.2"], Gamma(0.3)),
            (["hidden"], ZPlus()),
            (["fc"], Epsilon(0.1)),
            (["block.sum", "average"], Norm()),
            (["relu", "act", "block.relu", "block.branch.1"], Pass()),
        ]
    ),
    "names, one convolution alone": lambda: NameMapComposite([(["block.branch.2"], AlphaBeta(2, 1))]),
    "names over layers": lambda: by_name(block__branch__0=Flat(), hidden=AlphaBeta(1.5, 0.5)),
    "mixed": lambda: MixedComposite([NameMapComposite([(["fc"], Gamma(0.5))]), EpsilonPlusFlat()]),
    "another epsilon on the average": lambda: by_name(average=Epsilon(0.5)),
    "box on a hidden layer": lambda: by_name(
        block__branch__0=ZBox(low=torch.full((1, 6, 1, 1), -9.0).double(), high=torch.tensor(9.0).double())
    ),
    "no rule for activations": lambda: LayerMapComposite([(Convolution, ZPlus()), (Linear, Epsilon())]),
    "hook on a convolution": lambda: by_name(block__branch__0=Squared()),
    "hook on every convolution": lambda: with_hook(Convolution, Squared()),
    "hook of another kind on a convolution": lambda: by_name(block__branch__2=Scaled(0.25)),
    "hook on a linear layer": lambda: by_name(hidden=Squared()),
    "subclass of a rule": lambda: by_name(hidden=Doubled()),
    "hook on an activation": lambda: by_name(relu=Scaled(3.0)),
    "hook on every activation": lambda: with_hook(nn.ReLU, Scaled(0.9)),
    "hook that ignores an activation": lambda: by_name(act=Ignoring()),
    "hook that stores": lambda: by_name(block__branch__1=Stored(), act=Stored()),
    "hook on a pooling": lambda: by_name(pool=Scaled(2.0)),
    "hook on a sum": lambda: by_name(block__sum=Scaled(0.5)),
    "hook on a block": lambda: by_name(block=Scaled(0.5)),
    "hook that ignores a block": lambda: by_name(block=Ignoring()),
    "hook on a container": lambda: by_name(block__branch=Scaled(0.7)),
    "hooks on a block and within": lambda: by_name(block=Scaled(0.5), block__branch__0=Squared()),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_composite_gives_what_zennit_gives(name):
    """Responses and pixels, of the plain model and of the replaced one."""
    assert_as_zennit(COMPOSITES[name], network())


MERGING = {
    "EpsilonPlus": EpsilonPlus,
    "EpsilonPlusFlat": EpsilonPlusFlat,
    "EpsilonGammaBox": lambda **options: EpsilonGammaBox(low=low(), high=-low(), **options),
    "EpsilonAlpha2Beta1": EpsilonAlpha2Beta1,
    "EpsilonAlpha2Beta1Flat": EpsilonAlpha2Beta1Flat,
}


@pytest.mark.parametrize("canonized", [False, True])
@pytest.mark.parametrize("name", MERGING)
def test_a_batch_norm_is_merged_as_zennits_canonizer_merges_it(name, canonized):
    """With Zennit's canonizer in the composite and without; Zennit adds eps elsewhere, hence the tolerance."""
    with_canonizer = lambda: MERGING[name](canonizers=[SequentialMergeBatchNorm()])  # noqa: E731
    make = with_canonizer if canonized else MERGING[name]
    assert_as_zennit(make, network(norm=True), 1e-3, with_canonizer)


@pytest.mark.parametrize(
    "rule", [Gamma(0.25), ZPlus(stabilizer=1e-3), AlphaBeta(2, 1, stabilizer=1e-3), Epsilon(1e-3)]
)
def test_a_batch_norm_behind_an_activation_has_the_rule_that_it_is_given(rule):
    """A map with an offset has negative contributions although no input is negative."""

    def make():
        return LayerMapComposite([(nn.BatchNorm2d, rule.copy()), *BASE, (Linear, Epsilon())])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.relu, self.norm = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.BatchNorm2d(6)
            self.act, self.average, self.flatten = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            self.fc = nn.Linear(6, 4)

        def forward(self, x):
            h = self.act(self.norm(self.relu(self.stem(x))))
            return self.fc(self.flatten(self.average(h)))

    net = seeded(Net)
    noise = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for tensor in (net.norm.running_mean, net.norm.weight, net.norm.bias):
            tensor.copy_(torch.randn(tensor.shape, generator=noise, dtype=torch.float64))
    assert_as_zennit(make, net)


@pytest.mark.parametrize(
    "name", ["EpsilonPlusFlat", "hook on a block", "hook on a convolution", "hook that stores"]
)
def test_composite_and_model_are_left_as_they_were(name):
    """The composite is registered nowhere, serves again, and serves Zennit afterwards."""
    composite, net, images = COMPOSITES[name](), network(), pictures(2, size=8)
    before = snapshot(net, images)
    attribution = ef.EdgeFilterAttribution(net, composite, calibrate=False)
    first, second = attribution.explain(images, 1), attribution.explain(images, 1)
    assert_untouched(before, snapshot(net, images))
    torch.testing.assert_close(first.pixel, second.pixel, rtol=0, atol=0)
    assert not composite.handles
    assert not composite.hook_refs
    _, pixel = by_zennit(ef.replace_stem(net), images, 1, composite)
    torch.testing.assert_close(pixel, first.pixel, rtol=0, atol=1e-9)


@pytest.mark.parametrize("canonized", ["EpsilonPlus", "EpsilonPlusFlat"])
def test_a_canonizer_does_not_touch_the_users_model(canonized):
    """Zennit's own merges weights in place; ours must not."""
    net, images = network(norm=True), pictures(2, size=8)
    before = snapshot(net, images)
    composite = MERGING[canonized](canonizers=[SequentialMergeBatchNorm()])
    ef.EdgeFilterAttribution(net, composite, calibrate=False).explain(images, 1)
    assert_untouched(before, snapshot(net, images))


class Failing(Hook):
    """A hook that raises on the way back."""

    def backward(self, module, grad_input, grad_output):
        raise ZeroDivisionError("of the hook's own")


@pytest.mark.parametrize("place", ["block", "hidden", "relu"])
def test_an_error_of_a_hook_is_passed_on_and_leaves_everything_as_it_was(place):
    """Whatever module it is on."""
    net, images = network(), pictures(2, size=8)
    before = snapshot(net, images)
    with pytest.raises(ZeroDivisionError, match="of the hook's own"):
        ef.EdgeFilterAttribution(net, by_name(**{place: Failing()}), calibrate=False).attribute(images, 1)
    assert_untouched(before, snapshot(net, images))


def test_the_comparison_with_zennit_can_fail():
    """Composites differ by far more than the tolerance."""
    images = pictures(2, size=8)
    maps = [
        by_zennit(ef.replace_stem(network()), images, 1, COMPOSITES[name]())[1]
        for name in ("EpsilonPlus", "EpsilonPlusFlat", "hook on a block", "hook on a convolution", "names")
    ]
    for i, one in enumerate(maps):
        for other in maps[:i]:
            assert (one - other).abs().max() > 1e-3 * one.abs().max()
