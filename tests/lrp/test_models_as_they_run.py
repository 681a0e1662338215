"""The user's model is explained as it runs in this call, whatever Python it is written in, and stays as it was."""

from __future__ import annotations

import copy
import functools
import threading
import types
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import transforms

import edgefilter as ef
from small_models import (
    EXACT,
    Middle,
    assert_adds_up,
    assert_same_scores,
    assert_untouched,
    explain,
    input_times_gradient,
    pictures,
    seeded,
    snapshot,
)

BOTH = pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon"])


class Pooled(nn.Module):
    """Convolution, ReLU, average to one place, any way to a row of numbers, linear layer."""

    def __init__(self, flatten=None):
        super().__init__()
        self.a, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.flatten = (lambda h: h.flatten(1)) if flatten is None else flatten

    def forward(self, x):
        return self.fc(self.flatten(F.adaptive_avg_pool2d(F.relu(self.a(x)), 1)))


# Python that looks at shapes


def num_flat_features(h):
    count = 1
    for size in h.size()[1:]:
        count *= size
    return h.view(-1, count)


def asserting(h):
    assert h.shape[1] == 8
    assert h.size(2) == 1
    return h.flatten(1)


def unpacking(h):
    n, c, height, width = h.shape
    return h.reshape(n, c * height * width)


def matching(h):
    match tuple(h.shape):
        case (n, 8, 1, 1):
            return h.reshape(n, 8)
    raise AssertionError


def formatting(h):
    return h.flatten(1) if f"{h.shape[1]:d} {h.dtype}" == "8 torch.float64" else None


def by_hook(h):
    if h.requires_grad:
        h.register_hook(lambda gradient: None)
    return h.flatten(1)


def trying(h):
    try:
        return h.view(len(h), 9)
    except RuntimeError:
        return h.view(len(h), 8)


def by_dictionary(h):
    parts = {"seen": h, **{str(i): i for i in range(h.ndim)}}
    return parts["seen"].flatten(int(parts["1"]))


FLATTENED = {
    "num_flat_features": num_flat_features,
    "h.view(len(h), -1)": lambda h: h.view(len(h), -1),
    "int(h.size(1))": lambda h: h.view(-1, int(h.size(1))),
    "np.prod": lambda h: h.view(-1, int(np.prod(h.shape[1:]))),
    "h.view(*h.shape[:2])": lambda h: h.view(*h.shape[:2]),
    "h.shape.numel()": lambda h: h.view(len(h), h.shape.numel() // len(h)),
    "assert": asserting,
    "unpacking": unpacking,
    "match": matching,
    "f-string": formatting,
    "if h.dim() == 4": lambda h: h.flatten(1) if h.dim() == 4 else h,
    "while": lambda h: functools.reduce(lambda t, _: t.squeeze(-1), range(h.dim() - 2), h),
    "range(h.size(1))": lambda h: torch.stack([h[:, i, 0, 0] for i in range(h.size(1))], 1),
    "unbind": lambda h: torch.stack([t[:, 0, 0] for t in h.unbind(1)], 1),
    "iteration": lambda h: torch.stack([sample[:, 0, 0] for sample in h]),
    "sum of a list": lambda h: sum(h[:, :, i, 0] for i in range(h.size(2))),
    "is_cuda": lambda h: h.cuda() if h.is_cuda else h.flatten(1),
    "isinstance": lambda h: h.flatten(1) if isinstance(h, torch.Tensor) else None,
    "torch.is_tensor": lambda h: h.flatten(1) if torch.is_tensor(h) and h.is_floating_point() else None,
    "module made in forward": lambda h: nn.Flatten()(nn.ReLU()(h)),
    "zeros of its size": lambda h: h.flatten(1) + torch.zeros(h.size(0), 8, dtype=h.dtype, device=h.device),
    "new_zeros": lambda h: h.flatten(1) + h.new_zeros(h.size(0), 8),
    "register_hook": by_hook,
    "dictionary": by_dictionary,
    "try": trying,
    "if h.numel()": lambda h: h.view(len(h), 9) if h.numel() == 9 * len(h) else h.view(len(h), 8),
    "out of a list": lambda h: next(t for t in (None, h) if t is not None).flatten(1),
    "lru_cache of sizes": lambda h: h.view(cached(tuple(h.shape))),
    "einops": lambda h: einops_rearrange(h),
    "a number of the data": lambda h: h.flatten(1) if float(h.max()) < 1e9 else None,
    "numpy of the data": lambda h: h.flatten(1) if np.isfinite(h.detach().numpy()).all() else None,
    "torch.jit.is_scripting": lambda h: None if torch.jit.is_scripting() else h.flatten(1),
    "torch._assert": lambda h: (torch._assert(h.shape[1] == 8, "channels"), h.flatten(1))[1],
}


@functools.lru_cache
def cached(shape):
    return (shape[0], -1)


def einops_rearrange(h):
    einops = pytest.importorskip("einops")
    return einops.rearrange(h, "n c h w -> n (c h w)")


@BOTH
@pytest.mark.parametrize("way", FLATTENED)
def test_python_that_looks_at_a_tensor_changes_nothing(way, composite):
    """Every way to flatten has the scores of ``h.flatten(1)``."""
    wanted = explain(seeded(Pooled), pictures(), 1, composite)
    assert_same_scores(explain(seeded(Pooled, FLATTENED[way]), pictures(), 1, composite), wanted)


def test_slices_of_containers_are_what_they_hold():
    """``self.net[:2]`` makes a new Sequential in each call."""

    class Slices(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
            )

        def forward(self, x):
            return self.net[2:](self.net[:2](x))

    net = seeded(Slices)
    assert_same_scores(explain(net, pictures()), explain(net.net, pictures()))


@pytest.mark.parametrize(
    "front", [transforms.Resize(7), transforms.CenterCrop(8), transforms.Pad(2), transforms.Grayscale(3)]
)
def test_a_transform_in_front_is_part_of_the_model(front):
    """torchvision's transforms as modules: ``epsilon`` is input times gradient through them."""
    net = nn.Sequential(front, seeded(Pooled)).eval()
    found = explain(net, pictures(), 1, "epsilon")
    torch.testing.assert_close(found.pixel, input_times_gradient(net, pictures(), 1), **EXACT)
    assert_adds_up(explain(net, pictures(), 1))


# Forwards that were wrapped


def by_partial(module):
    old = module.forward
    module._old_forward = old

    def new_forward(module, *arguments, **options):
        return module._old_forward(*arguments, **options)

    module.forward = functools.update_wrapper(functools.partial(new_forward, module), old)


def by_closure(module):
    old = module.forward
    module.forward = lambda *arguments: old(*arguments)


def by_method(module):
    kind = type(module)
    module.forward = types.MethodType(lambda self, *arguments: kind.forward(self, *arguments), module)


def by_class(module):
    module.__class__ = type("Patched", (type(module),), {})


def by_plain_hooks(module):
    module.register_forward_pre_hook(lambda m, arguments: None)
    module.register_forward_hook(lambda m, arguments, output: None)


@BOTH
@pytest.mark.parametrize("wrap", [by_partial, by_closure, by_method, by_class, by_plain_hooks])
@pytest.mark.parametrize("place", ["0", "2", "4", "7", ""])
def test_a_wrapped_forward_has_the_scores_of_the_plain_one(small_net, wrap, place, composite):
    """The rule of a layer does not depend on how its forward is reached."""
    wanted = explain(small_net, pictures(), 1, composite)
    other = copy.deepcopy(small_net)
    wrap(other.get_submodule(place))
    assert_same_scores(explain(other, pictures(), 1, composite), wanted)


def test_a_wrapped_forward_that_changes_the_value_is_explained_with_the_change(small_net):
    """The model is what it computes: twice the logits, twice the scores."""
    wanted = explain(small_net, pictures(), 1)
    old = small_net.forward
    small_net.forward = lambda x: 2 * old(x)
    found = explain(small_net, pictures(), 1)
    torch.testing.assert_close(found.pixel, 2 * wanted.pixel, **EXACT)
    torch.testing.assert_close(found.output, 2 * wanted.output, **EXACT)


def test_a_hook_that_changes_the_value_is_explained_with_the_change(small_net):
    """A forward hook of the user's is part of the model."""
    wanted = explain(small_net, pictures(), 1)
    small_net[7].register_forward_hook(lambda m, arguments, output: 3 * output)
    found = explain(small_net, pictures(), 1)
    torch.testing.assert_close(found.pixel, 3 * wanted.pixel, **EXACT)


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon_gamma_box"])
def test_a_layer_that_is_called_by_its_function_keeps_its_rule(small_net, composite):
    """``F.conv2d(x, layer.weight)`` is the layer."""

    class Called(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            net = self.net
            h = F.max_pool2d(F.relu(F.conv2d(x, net[0].weight, net[0].bias, padding=1)), 2)
            h = F.adaptive_avg_pool2d(torch.relu(torch.conv2d(h, net[3].weight, net[3].bias)), 2)
            return F.linear(h.flatten(1), net[7].weight, net[7].bias)

    wanted = explain(small_net, pictures(), 1, composite)
    assert_same_scores(explain(Called(small_net).eval(), pictures(), 1, composite), wanted)


# Settings and shapes of this call

CONFIGURATIONS = {
    "dict": (lambda: {"scale": 1.0}, lambda c: c["scale"], lambda c: c.update(scale=-2.0)),
    "list": (lambda: [1.0], lambda c: c[0], lambda c: c.__setitem__(0, -2.0)),
    "namespace": (
        lambda: types.SimpleNamespace(scale=1.0),
        lambda c: c.scale,
        lambda c: setattr(c, "scale", -2.0),
    ),
    "nested": (
        lambda: {"head": types.SimpleNamespace(scales=[1.0])},
        lambda c: c["head"].scales[0],
        lambda c: c["head"].scales.__setitem__(0, -2.0),
    ),
    "tensor in a dict": (
        lambda: {"w": torch.ones(4).double()},
        lambda c: c["w"],
        lambda c: c.update(w=-2 * torch.ones(4).double()),
    ),
    "tensor changed in place": (
        lambda: [torch.ones(4).double()],
        lambda c: c[0],
        lambda c: c[0].mul_(-2),
    ),
    "closure": (lambda: iter_cell(1.0), lambda c: c[0](), lambda c: c[1](-2.0)),
    "array": (lambda: np.ones(1), lambda c: float(c[0]), lambda c: c.__setitem__(0, -2.0)),
}


def iter_cell(value):
    def get():
        return value

    def change(new):
        nonlocal value
        value = new

    return get, change


class Configured(Pooled):
    """A model that reads a number from somewhere in each call."""

    def __init__(self, config, read):
        super().__init__()
        self.config, self.read = config, read

    def forward(self, x):
        return super().forward(x) * self.read(self.config)


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_settings_that_forward_reads_are_those_of_this_call(kind):
    """One attribution object, settings changed between calls: minus twice the scores."""
    make, read, change = CONFIGURATIONS[kind]
    net = seeded(Configured, make(), read)
    attribution = ef.EdgeFilterAttribution(net, "epsilon_plus", calibrate=False)
    before = attribution.explain(pictures(), 0)
    change(net.config)
    after = attribution.explain(pictures(), 0)
    torch.testing.assert_close(after.output, net(pictures())[:, 0].detach(), **EXACT)
    torch.testing.assert_close(after.pixel, -2 * before.pixel, **EXACT)
    torch.testing.assert_close(after.base, -2 * before.base, **EXACT)


@BOTH
def test_one_object_explains_images_of_several_sizes(small_net, composite):
    """Each size as a fresh object does, in any order, the first one once more at the end."""
    attribution = ef.EdgeFilterAttribution(small_net, composite, calibrate=False)
    for size in (10, 13, 8, 10):
        images = pictures(size=size, seed=size)
        assert_same_scores(attribution.explain(images, 2), explain(small_net, images, 2, composite))


def test_a_branch_on_the_size_is_taken_anew_in_each_call():
    """A model that treats large images in another way."""

    class Branching(Pooled):
        def forward(self, x):
            return super().forward(x) * (2.0 if x.shape[-1] > 10 else -1.0)

    net, plain = seeded(Branching), seeded(Pooled)
    attribution = ef.EdgeFilterAttribution(net, "epsilon_plus", calibrate=False)
    for size, factor in ((10, -1.0), (12, 2.0), (9, -1.0)):
        images = pictures(size=size)
        found, wanted = attribution.explain(images, 0), explain(plain, images)
        torch.testing.assert_close(found.pixel, factor * wanted.pixel, **EXACT)


def test_a_branch_on_the_data_is_taken_as_the_model_takes_it():
    """Another way for dark and for bright images, one image a call."""

    class Deciding(Pooled):
        def forward(self, x):
            return super().forward(x) * (1.0 if x.mean() > 0 else -3.0)

    net, plain = seeded(Deciding), seeded(Pooled)
    attribution = ef.EdgeFilterAttribution(net, "epsilon_plus", calibrate=False)
    for image in (pictures(1).abs(), -pictures(1).abs()):
        factor = 1.0 if image.mean() > 0 else -3.0
        torch.testing.assert_close(
            attribution.explain(image, 0).pixel, factor * explain(plain, image).pixel, **EXACT
        )


def test_what_was_explained_before_changes_nothing(small_net):
    """The same image gives the same numbers, bit for bit, before and after others."""
    attribution = ef.EdgeFilterAttribution(small_net, "epsilon_plus", calibrate=False)
    first = attribution.explain(pictures(seed=1), 0)
    attribution.explain(pictures(count=5, size=12, seed=2), 3)
    again = attribution.explain(pictures(seed=1), 0)
    torch.testing.assert_close(again.response, first.response, rtol=0, atol=0)
    torch.testing.assert_close(again.pixel, first.pixel, rtol=0, atol=0)


# What the model keeps for itself


class Caching(nn.Module):
    """A model that makes a table in its first call and keeps it, as LeViT does."""

    def __init__(self, place):
        super().__init__()
        self.c, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.b = nn.Parameter(torch.randn(8))
        self.place, self.cache, self.table, self.kept = place, [], {}, None

    def made(self):
        return self.b.view(1, -1, 1, 1) * 2

    def shift(self):
        if self.place == "list":
            if not self.cache:
                self.cache.append(self.made())
            return self.cache[0]
        if self.place == "dict":
            if "cpu" not in self.table:
                self.table["cpu"] = self.made()
            return self.table["cpu"]
        if self.kept is None:
            self.kept = self.made()
        return self.kept

    def forward(self, x):
        return self.fc((self.c(x) + self.shift()).relu().mean((2, 3)))


@pytest.mark.parametrize("place", ["list", "dict", "attribute"])
@pytest.mark.parametrize("look", ["explain", "find_stem", "replace_stem"])
def test_what_a_model_caches_is_an_ordinary_tensor(place, look):
    """Whether the first call is the user's or ours, the model answers as before and is explained the same."""
    net = seeded(Caching, place)
    want = seeded(Caching, place)(pictures())
    {"explain": lambda m: explain(m, pictures()), "find_stem": ef.find_stem, "replace_stem": ef.replace_stem}[
        look
    ](net)
    held = [*net.cache, *net.table.values(), *([] if net.kept is None else [net.kept])]
    assert all(type(value) is torch.Tensor for value in held)
    output = net(pictures())
    torch.testing.assert_close(output, want, **EXACT)
    output.sum().backward()
    filled = seeded(Caching, place)
    filled(pictures())
    assert_same_scores(explain(net, pictures()), explain(filled, pictures()))


def test_what_a_model_keeps_of_the_image_is_an_ordinary_tensor():
    """Features kept on ``self`` in forward keep nothing of the rules alive after the call."""

    class Keeping(Pooled):
        def forward(self, x):
            self.seen = F.relu(self.a(x))
            return self.fc(self.seen.mean((2, 3)))

    net = seeded(Keeping)
    explain(net, pictures())
    assert type(net.seen) is torch.Tensor
    torch.testing.assert_close(net.seen.detach(), F.relu(net.a(pictures())).detach(), **EXACT)


# Hooks of the user's


class GradCam:
    """Grad-CAM as libraries write it: hooks on a layer that live as long as the object."""

    def __init__(self, model, layer):
        self.model, self.seen, self.gradients = model, None, None
        self.handle = layer.register_forward_hook(self.keep)

    def keep(self, module, arguments, output):
        self.seen = output
        if output.requires_grad:
            output.register_hook(self.keep_gradient)

    def keep_gradient(self, gradient):
        self.gradients = gradient

    def __call__(self, images, target):
        self.model(images.clone().requires_grad_())[:, target].sum().backward()
        weights = self.gradients.mean((2, 3), keepdim=True)
        return (weights * self.seen).sum(1).relu().detach()


@BOTH
def test_a_grad_cam_object_alive_on_the_model_neither_disturbs_nor_is_disturbed(small_net, composite):
    """Its maps and our scores are the same with and without the other."""
    wanted = explain(small_net, pictures(), 1, composite)
    cam = GradCam(small_net, small_net[3])
    before = cam(pictures(), 1)
    found = explain(small_net, pictures(), 1, composite)
    assert_same_scores(found, wanted)
    assert type(cam.seen) is torch.Tensor
    torch.testing.assert_close(cam(pictures(), 1), before, **EXACT)
    assert len(small_net[3]._forward_hooks) == 1


@pytest.mark.parametrize("layer", [0, 1, 3, 5, 7])
def test_features_that_are_recorded_are_those_of_the_plain_model(small_net, layer):
    """A recorder on any layer sees real tensors with the model's values."""
    seen = []
    small_net[layer].register_forward_hook(lambda m, arguments, output: seen.append(output))
    small_net(pictures())
    explain(small_net, pictures(), 1)
    assert len(seen) >= 2
    for value in seen:
        assert type(value) is torch.Tensor
        torch.testing.assert_close(value.detach(), seen[0].detach(), **EXACT)


def test_full_backward_hooks_stay_registered(small_net):
    """They are the user's, and the scores do not depend on them."""
    wanted = explain(small_net, pictures(), 1)
    small_net[3].register_full_backward_hook(lambda m, inner, outer: None)
    assert_same_scores(explain(small_net, pictures(), 1), wanted)
    assert len(small_net[3]._backward_hooks) == 1


def test_process_wide_hooks_of_the_user_stay_and_see_the_model(small_net):
    """torch's own global hooks are shared with others."""
    calls = []
    handle = nn.modules.module.register_module_forward_hook(lambda m, a, o: calls.append(type(m)))
    try:
        before = snapshot(small_net)
        explain(small_net, pictures(), 1)
        assert_untouched(before, snapshot(small_net))
    finally:
        handle.remove()
    assert nn.Conv2d in calls


# Compiled, scripted, quantised, random


def test_a_compiled_part_is_explained_uncompiled(small_net, monkeypatch):
    """Nothing is compiled for an explanation: the backend must not be called."""

    def backend(graph, example):
        raise AssertionError("compiled")

    wanted = explain(small_net, pictures(), 1)
    other = copy.deepcopy(small_net)
    other[3] = torch.compile(other[3], backend=backend)
    assert_same_scores(explain(other, pictures(), 1), wanted)
    assert_same_scores(explain(torch.compile(small_net, backend=backend), pictures(), 1), wanted)


def test_a_compiled_function_inside_is_explained_uncompiled():
    """The same for ``torch.compile`` of a function that forward calls."""

    def backend(graph, example):
        raise AssertionError("compiled")

    gelu = torch.compile(F.gelu, backend=backend)
    found = explain(seeded(Middle, lambda h: gelu(h)), pictures())
    assert_same_scores(found, explain(seeded(Middle, F.gelu), pictures()))


def scripted(part):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(part)


def double(h: torch.Tensor) -> torch.Tensor:
    return torch.relu(h) * 2


@pytest.mark.parametrize("kind", ["layer", "function", "traced"])
def test_a_scripted_part_is_refused_by_name(small_net, kind):
    """Its operations run where no rule can be put on them."""
    if kind == "layer":
        small_net[3] = scripted(small_net[3])
    elif kind == "traced":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            small_net[1] = torch.jit.trace(small_net[1], pictures())
    else:
        function = scripted(double)
        small_net[4].forward = lambda h: function(h)
    with pytest.raises(ef.UnsupportedModelError, match=r"(?i)script"):
        explain(small_net, pictures())


RANDOM = {
    "F.dropout": lambda h: F.dropout(h, 0.5),
    "F.dropout, training=True": lambda h: F.dropout(h, 0.1, training=True),
    "F.dropout2d": lambda h: F.dropout2d(h, 0.5, training=True),
    "F.alpha_dropout": lambda h: F.alpha_dropout(h, 0.5, training=True),
    "torch.dropout": lambda h: torch.dropout(h, 0.5, True),
    "noise": lambda h: h + torch.randn(h.shape, dtype=h.dtype),
    "noise from NumPy": lambda h: h + torch.from_numpy(np.random.normal(size=h.shape)),  # noqa: NPY002 - what users call
    "F.rrelu, training": lambda h: F.rrelu(h, training=True),
}


@pytest.mark.parametrize("name", RANDOM)
def test_a_function_that_changes_with_each_call_is_refused_in_words(name):
    """There is no output to explain."""
    with pytest.raises(ef.UnsupportedModelError, match="changes with each call"):
        explain(seeded(Middle, RANDOM[name]), pictures())


@pytest.mark.parametrize(
    "off",
    [
        lambda h: F.dropout(h, 0.5, training=False),
        lambda h: F.dropout(h, 0.0),
        lambda h: nn.Dropout(0.5).eval()(h),
        lambda h: torch.dropout(h, 0.5, False),
        lambda h: F.feature_alpha_dropout(h, 0.5, False),
    ],
)
def test_dropout_that_is_off_changes_nothing(off):
    """In evaluation it is the identity."""
    assert_same_scores(explain(seeded(Middle, off), pictures()), explain(seeded(Middle), pictures()))


def test_quantised_layers_are_named():
    """Their rules would need real weights."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(net.eval(), {nn.Linear})
    with pytest.raises((ef.UnsupportedModelError, ValueError), match=r"(?i)quanti"):
        explain(quantised, pictures().float())


# Modules that run more than once, and weights that are shared


class Twice(nn.Module):
    """One module run twice, or two modules of the same weights."""

    def __init__(self, kind):
        super().__init__()
        self.a, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.c = {"same": self.b, "copies": copy.deepcopy(self.b), "tied": copy.deepcopy(self.b)}[kind]
        if kind == "tied":
            self.c[0].weight = self.b[0].weight

    def forward(self, x):
        h = self.c(self.b(self.a(x).relu()))
        return self.fc((h + self.c(h)).mean((2, 3)))


@BOTH
@pytest.mark.parametrize("kind", ["same", "tied"])
def test_a_module_that_runs_twice_is_two_layers_of_these_weights(kind, composite):
    """Scores are those of a network that holds copies."""
    found = explain(seeded(Twice, kind), pictures(), 1, composite)
    assert_same_scores(found, explain(seeded(Twice, "copies"), pictures(), 1, composite))


def test_weights_of_another_layer_transposed_are_a_layer():
    """An autoencoder's tied head."""

    def tied(m, h):
        return m(F.linear(F.linear(h, m.weight, m.bias).relu(), m.weight.t()).relu())

    def untied(m, h):
        first, second, third = (nn.Linear(*size).double() for size in ((8, 4), (4, 8), (8, 4)))
        with torch.no_grad():
            for layer, weight, bias in (
                (first, m.weight, m.bias),
                (second, m.weight.t(), torch.zeros(8).double()),
                (third, m.weight, m.bias),
            ):
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)
        return third(second(first(h).relu()).relu())

    found = explain(seeded(Middle, head=tied), pictures(), 1)
    assert_same_scores(found, explain(seeded(Middle, head=untied), pictures(), 1))


def test_data_parallel_is_the_model_inside(small_net):
    """On a machine without several devices, and with its own hooks."""
    assert_same_scores(explain(nn.DataParallel(small_net).eval(), pictures()), explain(small_net, pictures()))


def test_weights_that_are_computed_are_those_of_this_call():
    """Parametrised layers: weight norm and spectral norm, after a change of their originals."""
    net = seeded(Middle)
    torch.nn.utils.parametrizations.weight_norm(net.b).eval()
    attribution = ef.EdgeFilterAttribution(net, "epsilon_plus", calibrate=False)
    attribution.explain(pictures(), 0)
    with torch.no_grad():
        net.b.parametrizations.weight.original0.mul_(2)
    plain = seeded(Middle)
    with torch.no_grad():
        plain.b.weight.mul_(2)
    assert_same_scores(attribution.explain(pictures(), 0), explain(plain, pictures(), 0))


def test_frozen_weights_change_nothing(small_net):
    """Neither do parameters without gradients, nor an outer ``no_grad`` around the call."""
    wanted = explain(small_net, pictures(), 1)
    with torch.no_grad():
        assert_same_scores(explain(small_net, pictures(), 1), wanted)
    with torch.inference_mode():
        found = explain(small_net, pictures(), 1)
    torch.testing.assert_close(found.pixel.clone(), wanted.pixel, **EXACT)
    small_net.requires_grad_(False)
    assert_same_scores(explain(small_net, pictures(), 1), wanted)


# Threads


def in_threads(*jobs):
    """Run functions side by side, several times each, and return the last results; errors are raised here."""
    results, errors = [None] * len(jobs), []
    start = threading.Barrier(len(jobs))

    def work(place, job):
        try:
            start.wait()
            for _ in range(8):
                results[place] = job()
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i, job)) for i, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def normed(seed):
    return seeded(
        nn.Sequential,
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        seeded(nn.Linear, 8, 4, seed=seed),
    )


def test_two_threads_explain_two_models_as_one_after_the_other(small_net):
    """Numbers do not mix."""
    other, images = normed(3), pictures(4)
    wanted = explain(small_net, images, 1), explain(other, images, 2, "epsilon")
    found = in_threads(lambda: explain(small_net, images, 1), lambda: explain(other, images, 2, "epsilon"))
    for one, two in zip(found, wanted, strict=True):
        assert_same_scores(one, two)


def test_two_threads_explain_one_model_and_one_object(small_net):
    """The same object serves both."""
    attribution = ef.EdgeFilterAttribution(small_net, "epsilon_plus", calibrate=False)
    images = pictures(4), pictures(2, size=12, seed=5)
    wanted = [attribution.explain(batch, 1) for batch in images]
    found = in_threads(*(lambda batch=batch: attribution.explain(batch, 1) for batch in images))
    for one, two in zip(found, wanted, strict=True):
        assert_same_scores(one, two)


def test_a_thread_that_runs_and_trains_another_model_is_not_affected(small_net):
    """Its values and gradients are those without us, and ours those without it."""
    other, images = normed(4), pictures(4)
    leaf = images.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(other(leaf).sum(), leaf)
    value = other(images).detach()

    def run():
        own = images.clone().requires_grad_()
        output = other(own)
        return output.detach(), torch.autograd.grad(output.sum(), own)[0]

    explained = explain(small_net, images, 1)
    found, (output, gradient) = in_threads(lambda: explain(small_net, images, 1), run)
    assert_same_scores(found, explained)
    torch.testing.assert_close(output, value, rtol=0, atol=0)
    torch.testing.assert_close(gradient, wanted, **EXACT)


# Nothing is left behind


class Everything(nn.Module):
    """Containers, buffers, hooks, gradients and a cache, for what must stay as it was."""

    def __init__(self, fault=None):
        super().__init__()
        self.layers = nn.ModuleDict({"a": nn.Conv2d(3, 8, 3, padding=1), "norm": nn.BatchNorm2d(8)})
        self.blocks = nn.ModuleList([nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True)])
        self.fc, self.fault = nn.Linear(8, 4), fault
        self.register_buffer("gain", torch.tensor(1.5))
        self.options = {"scale": 2.0, "list": [1, 2]}

    def forward(self, x):
        h = self.layers["norm"](self.layers["a"](x)).relu_()
        for block in self.blocks:
            h = block(h)
        h = h if self.fault is None else self.fault(h)
        return self.fc(h.mean((2, 3)) * self.gain) * self.options["scale"]


def raising(h):
    raise KeyError("of the model's own")


class BackwardFault(torch.autograd.Function):
    """An autograd function of the user's."""

    @staticmethod
    def forward(ctx, h):
        return h * 2

    @staticmethod
    def backward(ctx, gradient):
        raise KeyError("on the way back")


ENDINGS = {
    "none": (None, 1, None),
    "model raises": (raising, 1, KeyError),
    "unknown function": (lambda h: h.cumprod(1), 1, ef.UnsupportedModelError),
    "function of the user's own": (BackwardFault.apply, 1, ef.UnsupportedModelError),
    "no_grad": (torch.no_grad()(lambda h: h * 2), 1, ef.UnsupportedModelError),
    "wrong target": (None, 17, IndexError),
    "interrupted": (lambda h: (_ for _ in ()).throw(KeyboardInterrupt()), 1, KeyboardInterrupt),
}


@pytest.mark.parametrize("call", ["attribute", "explain"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_call_leaves_everything_as_it_was_however_it_ends(ending, call):
    """Parameters, gradients, flags, hooks, attributes, torch's global hooks and modes, and the inputs."""
    fault, target, error = ENDINGS[ending]
    net = seeded(Everything, fault)
    plain = seeded(Everything)
    plain(pictures()).sum().backward()
    for parameter, other in zip(net.parameters(), plain.parameters(), strict=True):
        parameter.grad = other.grad
    net.fc.bias.requires_grad_(False)
    net.blocks[0].register_forward_hook(lambda m, a, o: None)
    net.fc.register_full_backward_hook(lambda m, i, o: None)
    images = pictures().requires_grad_()
    images.grad = torch.ones_like(images)
    values = pictures()
    attribution = ef.EdgeFilterAttribution(net, "epsilon_plus", calibrate=False)
    before = snapshot(net, images, values)
    for batch in (images, values):
        if error is None:
            getattr(attribution, call)(batch, target)
        else:
            with pytest.raises(error):
                getattr(attribution, call)(batch, target)
        assert_untouched(before, snapshot(net, images, values))


def test_a_snapshot_sees_what_changes():
    """The comparison of the last test can fail, for each kind of thing it looks at."""
    net, images = seeded(Everything), pictures()
    changes = (
        lambda: net.fc.weight.data.add_(1),
        lambda: setattr(net.fc, "extra", 1),
        lambda: net.fc.register_forward_hook(lambda *_: None),
        lambda: net.fc.bias.requires_grad_(False),
        lambda: net.blocks.train(),
        lambda: images.requires_grad_(),
        lambda: nn.modules.module.register_module_forward_hook(lambda *_: None),
    )
    for change in changes:
        before = snapshot(net, images)
        handle = change()
        with pytest.raises(AssertionError, match="became"):
            assert_untouched(before, snapshot(net, images))
        if hasattr(handle, "remove"):
            handle.remove()


def test_a_model_trains_on_after_it_was_explained(small_net):
    """An optimizer made before, a step after: as if nothing had been explained."""
    twin = copy.deepcopy(small_net)
    for net, look in ((small_net, True), (twin, False)):
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        if look:
            explain(net, pictures(), 1)
        net(pictures()).square().sum().backward()
        optimizer.step()
    for one, other in zip(small_net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


# Which convolution reads the image


class Standardised(nn.Conv2d):
    """Weight standardisation, as in NFNet and BiT."""

    def computed(self):
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        return (self.weight - mean) / (self.weight.var((1, 2, 3), keepdim=True) + 1e-5).sqrt()

    def forward(self, x):
        return F.conv2d(x, self.computed(), self.bias, self.stride, self.padding)


class Scaled(nn.Conv2d):
    """Weights scaled in each call."""

    def computed(self):
        return self.weight * 0.5

    def forward(self, x):
        return self._conv_forward(x, self.computed(), self.bias)


class SamePadded(nn.Conv2d):
    """Padding computed from the size of the image, as in TensorFlow."""

    def computed(self):
        return self.weight

    def forward(self, x):
        pad = [(size - 1) // 2 for size in self.kernel_size for _ in (0, 1)]
        return F.conv2d(F.pad(x, pad), self.weight, self.bias)


class WithStem(nn.Module):
    """Another convolution is registered before the stem, and a gate after it."""

    def __init__(self, stem):
        super().__init__()
        self.late, self.gate = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1)
        self.front = nn.ModuleDict({"conv": stem})
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        h = self.front["conv"](x).relu()
        h = h * torch.sigmoid(self.gate(h.mean((2, 3), keepdim=True)))
        return self.fc(self.late(h).relu().mean((2, 3)))


@BOTH
@pytest.mark.parametrize("kind", [Standardised, Scaled, SamePadded])
def test_a_stem_is_expressed_with_the_weights_of_this_call(kind, composite):
    """Its scores are those of an ordinary convolution with these weights, also after they changed."""
    net = seeded(lambda: WithStem(kind(3, 8, 3)))
    attribution = ef.EdgeFilterAttribution(net, composite, calibrate=False)
    for factor in (1.0, 3.0):
        stem = net.front["conv"]
        with torch.no_grad():
            stem.weight[0].mul_(factor)
        plain = copy.deepcopy(net)
        plain.front["conv"] = nn.Conv2d(3, 8, 3, padding=int(kind is SamePadded)).double()
        plain.front["conv"].load_state_dict({"weight": stem.computed().detach(), "bias": stem.bias})
        plain.eval()
        found, wanted = attribution.explain(pictures(), 1), explain(plain, pictures(), 1, composite)
        torch.testing.assert_close(found.output, wanted.output, **EXACT)
        torch.testing.assert_close(found.color_edge, wanted.color_edge, **EXACT)
        if kind is not SamePadded or composite == "epsilon":
            torch.testing.assert_close(found.pixel, wanted.pixel, **EXACT)


@pytest.mark.parametrize("kind", [Standardised, SamePadded, nn.Conv2d])
def test_find_stem_names_the_convolution_that_reads_the_image(kind):
    """Neither the one that is registered first nor one of another kind."""
    net = seeded(lambda: WithStem(kind(3, 8, 3)))
    assert ef.find_stem(net) == "front.conv"
    assert ef.find_stem(net, pictures()) == "front.conv"


class SideBySide(nn.Module):
    """Several convolutions of the image, added, as in RepVGG."""

    def __init__(self):
        super().__init__()
        self.dense, self.point = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.b, self.fc = nn.Conv2d(8, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.b((self.dense(x) + self.point(x)).relu()).relu().mean((2, 3)))


@BOTH
def test_several_convolutions_of_the_image_are_all_expressed(composite):
    """Nothing is lost: the sum of colors and filters is the output, or input times gradient."""
    net = seeded(SideBySide)
    found = explain(net, pictures(), 1, composite)
    if composite == "epsilon":
        wanted = input_times_gradient(net, pictures(), 1)
        torch.testing.assert_close(found.pixel, wanted, **EXACT)
        torch.testing.assert_close(found.color, wanted.sum((2, 3)), rtol=0, atol=1e-9)
    else:
        assert_adds_up(found)


@pytest.mark.parametrize(
    "stem",
    [
        lambda: nn.Conv2d(3, 6, 3, groups=3),
        lambda: nn.Sequential(nn.Unflatten(3, (1, -1)), nn.Conv3d(3, 8, (3, 1, 3)), nn.Flatten(3)),
    ],
    ids=["grouped", "three-dimensional"],
)
def test_a_stem_that_no_bank_expresses_is_refused_by_its_name(stem):
    """And never another convolution taken in its place."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.special = nn.LazyConv2d(8, 3), stem()
            self.fc = nn.Linear(8, 4)

        def forward(self, x):
            return self.fc(self.late(self.special(x).relu()).relu().mean((2, 3)))

    with torch.random.fork_rng():
        net = Net().double().eval()
        net(pictures())
    for look in (ef.replace_stem, lambda model: explain(model, pictures())):
        with pytest.raises((ValueError, TypeError, ef.UnsupportedModelError), match="special"):
            look(net)


USES = {
    "weight.dtype": lambda stem, x: stem(x.type(stem.weight.dtype)),
    "weight.device": lambda stem, x: stem(x.to(stem.weight.device)),
    "kernel_size and stride": lambda stem, x: stem(F.pad(x, [stem.kernel_size[0] // 2] * 4))[
        :, :, :: stem.stride[0]
    ],
    "padding, dilation, groups": lambda stem, x: stem(x)[
        :, :, stem.padding[0] :: stem.dilation[0] * stem.groups
    ],
    "in_channels": lambda stem, x: stem(x[:, : stem.in_channels]),
    "out_channels": lambda stem, x: stem(x).view(len(x), stem.out_channels, -1, x.shape[3] - 2),
    "keyword": lambda stem, x: stem(input=x),
    "bias": lambda stem, x: stem(x) - stem.bias.view(1, -1, 1, 1),
    "padding_mode": lambda stem, x: stem(x) if stem.padding_mode == "zeros" else None,
    "F.conv2d": lambda stem, x: F.conv2d(x, stem.weight, stem.bias, stem.stride, stem.padding),
}


@BOTH
@pytest.mark.parametrize("use", USES)
def test_a_model_that_reads_attributes_of_its_stem_runs_replaced_and_is_explained(use, composite):
    """The layer that takes the convolution's place answers as the convolution does."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

        def forward(self, x):
            return self.fc(USES[use](self.stem, x).relu().mean((2, 3)))

    net = seeded(Net)
    replaced = ef.replace_stem(net)
    torch.testing.assert_close(replaced(pictures()), net(pictures()), **EXACT)
    found = explain(net, pictures(), 1, composite)
    if use != "F.conv2d":  # there the bank does not run
        assert_same_scores(found, explain(replaced, pictures(), 1, composite))
    if composite == "epsilon":
        torch.testing.assert_close(found.pixel, input_times_gradient(net, pictures(), 1), **EXACT)
    else:
        assert_adds_up(found)
