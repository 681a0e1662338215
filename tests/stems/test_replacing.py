"""Stems replaced exactly and folded back, with the given model left as it is."""

from __future__ import annotations

import copy
import itertools
import warnings

import numpy as np
import pytest
import timm
import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite_pytorch.utils import Conv2dDynamicSamePadding, Conv2dStaticSamePadding
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close
from torchvision.ops import Conv2dNormActivation

from edgefilter import (
    EdgeFilterConv2d,
    complete_bank,
    find_stem,
    fold_stem,
    get_bank,
    replace_stem,
)

MODES = ("zeros", "reflect", "replicate", "circular")
KERNELS = [1, 2, 3, 4, 5, 7, 11, 16, (1, 3), (3, 1), (3, 5), (7, 2), (2, 12)]
sizes = st.tuples(st.integers(1, 5), st.integers(1, 5))
ignore_even_same = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


def images_of(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_near(got, want, tolerance):
    """Relative to the largest value, as the laws are stated."""
    got, want = got.detach().double(), want.detach().double()
    assert_close(got, want, rtol=0, atol=tolerance * float(want.abs().max()))


def small_net(stem=None, seed=0):
    torch.manual_seed(seed)
    stem = nn.Conv2d(3, 4, 3) if stem is None else stem
    return nn.Sequential(
        stem, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * stem.out_channels, 5)
    )


# --- law 1: the same outputs --------------------------------------------------------------------------------


@ignore_even_same
@settings(max_examples=50, deadline=None)
@given(
    kernel=sizes,
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.one_of(st.sampled_from(["same", "valid"]), st.tuples(st.integers(0, 2), st.integers(0, 2))),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    mode=st.sampled_from(MODES),
    channels=st.integers(1, 4),
    bias=st.booleans(),
    seed=st.integers(0, 999),
)
def test_replaced_convolution_gives_the_same_and_folds_back(
    kernel, stride, padding, dilation, mode, channels, bias, seed
):
    torch.manual_seed(seed)
    stride = 1 if padding == "same" else stride
    conv = nn.Conv2d(channels, 3, kernel, stride, padding, dilation, bias=bias, padding_mode=mode).double()
    images, replaced = images_of(2, channels, 12, 11, seed=seed), replace_stem(conv)
    assert_near(replaced(images), conv(images), 1e-9)
    folded = fold_stem(replaced)
    assert_near(folded(images), conv(images), 1e-9)
    assert_near(folded.weight, conv.weight, 1e-9)
    assert (folded.bias is None) == (conv.bias is None)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4), (torch.bfloat16, 3e-2)]
)
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_every_kernel_size_is_exact_in_every_dtype(kernel, dtype, tolerance):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, kernel, stride=2, padding=1 if kernel != 1 else 0).to(dtype)
    images, replaced = images_of(2, 3, 33, 32).to(dtype), replace_stem(conv)
    assert replaced(images).dtype == dtype
    assert_near(replaced(images), conv(images), tolerance)
    assert_near(fold_stem(replaced).weight, conv.weight, tolerance)


def own_convolutions():
    yield "timm Conv2dSame", Conv2dSame(3, 4, 3, stride=2)
    yield "timm Conv2dSame even", Conv2dSame(3, 4, (4, 3), stride=3, dilation=2, bias=False)
    yield "lite dynamic", Conv2dDynamicSamePadding(3, 4, 5, stride=2)
    yield "lite static 224", Conv2dStaticSamePadding(3, 4, 3, image_size=224, stride=2)
    yield "lite static 225", Conv2dStaticSamePadding(3, 4, 3, image_size=225, stride=2)
    yield "lite static unpadded", Conv2dStaticSamePadding(3, 4, 1, image_size=224)
    yield "torchvision block", Conv2dNormActivation(3, 4, 3, 2)

    class Renamed(nn.Conv2d):
        def forward(self, images):
            return F.conv2d(images, self.weight, self.bias, self.stride, self.padding)

    yield "plain under another name", Renamed(3, 4, 3, stride=2, padding=1)


OWN = dict(own_convolutions())


@pytest.mark.parametrize("name", OWN)
def test_convolutions_with_a_padding_of_their_own_are_exact(name):
    model = nn.Sequential(OWN[name]).double().eval()
    replaced = replace_stem(model)
    folded = fold_stem(replaced)
    for size in itertools.product((17, 18, 19, 20), repeat=2):
        images = images_of(2, 3, *size)
        assert_near(replaced(images), model(images), 1e-9)
        assert_near(folded(images), model(images), 1e-9)


class Doubled(nn.Conv2d):
    def forward(self, images):
        return 2 * super().forward(images)


class Standardized(nn.Conv2d):
    def _conv_forward(self, images, weight, bias):
        return super()._conv_forward(images, weight - weight.mean((1, 2, 3), keepdim=True), bias)


class PadsOneSide(nn.Conv2d):
    def forward(self, images):
        return super().forward(F.pad(images, (2, 0, 2, 0)))


class Clipped(nn.Conv2d):
    def forward(self, images):
        return super().forward(images).clamp(-100, 100)


class OneSizeOnly(nn.Conv2d):
    def forward(self, images):
        assert images.shape[2] == 224
        return super().forward(images)


class Rectified(nn.Conv2d):
    def forward(self, images):
        return super().forward(images).relu()


class PadsByReflection(nn.Conv2d):
    def forward(self, images):
        return super().forward(F.pad(images, (1, 1, 1, 1), mode="reflect"))


@pytest.mark.parametrize(
    "kind", [Doubled, Standardized, PadsOneSide, Clipped, OneSizeOnly, Rectified, PadsByReflection]
)
def test_a_convolution_of_unknown_make_is_refused(kind):
    """Never a model with other outputs."""
    with pytest.raises(
        ValueError, match=rf"stem '0' must compute and pad as nn\.Conv2d does.*got {kind.__name__}"
    ):
        replace_stem(small_net(kind(3, 4, 3)))


def test_a_forward_of_the_instance_is_not_overlooked():
    conv = nn.Conv2d(3, 4, 3)
    conv.forward = lambda images: 3 * nn.Conv2d.forward(conv, images)
    with pytest.raises(ValueError, match=r"must compute and pad as nn\.Conv2d does"):
        replace_stem(nn.Sequential(conv))


def weight_norm(conv):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, still found in models
        return nn.utils.weight_norm(conv)


def pruned(conv):
    return prune.random_unstructured(conv, "weight", 0.5)


COMPUTED = [
    parametrizations.weight_norm,
    parametrizations.spectral_norm,
    weight_norm,
    nn.utils.spectral_norm,
    pruned,
]


@pytest.mark.parametrize("compute", COMPUTED, ids=lambda f: f"{f.__module__.rpartition('.')[2]}.{f.__name__}")
@pytest.mark.parametrize("training", [True, False])
def test_computed_weights_are_taken_as_they_are_now(compute, training):
    """Also after a step that the weight kept from the last call does not know of; the model's own buffers stay."""
    model = small_net(compute(nn.Conv2d(3, 4, 3)))
    model(torch.rand(1, 3, 8, 8)).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    model.double().train(training)
    before = copy.deepcopy({name: value.detach() for name, value in model.state_dict().items()})
    replaced, images = replace_stem(model), images_of(2, 3, 8, 8)
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert replaced.training == training
    assert_near(replaced.eval()(images), model.eval()(images), 1e-9)
    assert_near(fold_stem(replaced)(images), model(images), 1e-9)


def test_a_stem_used_twice_or_under_two_names_is_replaced_everywhere():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 3, 3, padding=1)
            self.b = self.a

        def forward(self, images):
            return self.b(self.a(images))

    model, images = Twice().double(), images_of(1, 3, 6, 6)
    for replaced in (replace_stem(model), replace_stem(model, stem="b")):
        assert replaced.a is replaced.b
        assert isinstance(replaced.a, EdgeFilterConv2d)
        assert_near(replaced(images), model(images), 1e-9)
        assert_near(fold_stem(replaced)(images), model(images), 1e-9)


def test_weights_shared_with_another_layer_stay_there():
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)).double()
    model[1].weight = model[0].weight
    images = images_of(1, 3, 8, 8)
    assert_near(replace_stem(model)(images), model(images), 1e-9)


MODELS = {
    "resnet18": 64, "vgg11": 32, "alexnet": 64, "densenet121": 64, "inception_v3": 299, "googlenet": 64,
    "mobilenet_v2": 64, "mobilenet_v3_small": 64, "efficientnet_b0": 64, "squeezenet1_1": 64,
    "shufflenet_v2_x0_5": 64, "mnasnet0_5": 64, "regnet_y_400mf": 64, "convnext_tiny": 64, "swin_t": 64,
    "vit_b_16": 224, "maxvit_t": 224,
}  # fmt: skip
LIGHT = {"squeezenet1_1"}
extended_unless_light = [
    name if name in LIGHT else pytest.param(name, marks=pytest.mark.extended) for name in MODELS
]


def settle(model, images):
    """Let BatchNorm take its statistics from the images; untrained logits would not depend on them otherwise."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train().momentum = 1.0
        if isinstance(module, nn.Linear) and not module.weight.any():
            module.reset_parameters()
    with torch.no_grad():
        model(images)
        logits = model.eval()(images)
    assert (logits[0] - logits[1]).abs().max() > 1e-3 * logits.abs().max()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", extended_unless_light)
def test_torchvision_models_keep_their_logits_and_get_their_weights_back(name):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    stem, images = find_stem(model), images_of(8, 3, MODELS[name], MODELS[name])
    settle(model, images.float())
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        model, given = model.to(dtype), images[:2].to(dtype)
        replaced = replace_stem(model)
        assert isinstance(replaced.get_submodule(stem), EdgeFilterConv2d)
        with torch.no_grad():
            assert_near(replaced(given), model(given), tolerance)
        state, want = fold_stem(replaced).state_dict(), model.state_dict()
        assert list(state) == list(want)
        for key in want:
            assert_near(state[key], want[key], tolerance)


LITE0 = {
    "static padding": lambda: EfficientNet.from_name("efficientnet-lite0"),
    "timm": lambda: timm.create_model("tf_efficientnet_lite0", pretrained=False),
}


@pytest.mark.parametrize("name", ["static padding", pytest.param("timm", marks=pytest.mark.extended)])
def test_lite0_keeps_its_logits(name):
    torch.manual_seed(0)
    model, images = LITE0[name]().double().eval(), images_of(2, 3, 48, 51)
    settle(model, images)
    replaced = replace_stem(model)
    assert find_stem(replaced) == find_stem(model) in ("_conv_stem", "conv_stem")
    with torch.no_grad():
        assert_near(replaced(images), model(images), 1e-9)
        assert_near(fold_stem(replaced)(images), model(images), 1e-9)


# --- law 4: the given model stays as it is, the new one is like it ------------------------------------------


def snapshot(model):
    """What a caller could notice: identities, values, gradients, flags and hooks."""
    modules = [
        (
            name,
            id(m),
            type(m),
            m.training,
            list(m._forward_hooks),
            list(m._forward_pre_hooks),
            sorted(vars(m)),
        )
        for name, m in model.named_modules(remove_duplicate=False)
    ]
    tensors = [
        (
            name,
            id(t),
            t.requires_grad,
            None if t.grad is None else (id(t.grad), t.grad.clone()),
            t.detach().clone(),
        )
        for name, t in (*model.named_parameters(), *model.named_buffers())
    ]
    return repr((modules, tensors))


def used_net():
    """A model with gradients, hooks, a frozen layer and mixed training flags."""
    model = small_net()
    model.append(nn.BatchNorm1d(5))
    model(torch.rand(4, 3, 8, 8)).sum().backward()
    model[4].requires_grad_(False)
    model[1].eval()
    for layer in (model[0], model[1], model):
        layer.register_forward_hook(lambda *_: None)
    return model


CALLS = {
    "replace": (lambda model: replace_stem(model), None),
    "project": (lambda model: replace_stem(model, "edges", init="project"), None),
    "random": (lambda model: replace_stem(model, "edges", init="random"), None),
    "fold": (lambda model: fold_stem(replace_stem(model)), None),
    "find": (find_stem, None),
    "incomplete": (lambda model: replace_stem(model, "sobel"), ValueError),
    "no stem": (lambda model: replace_stem(model, stem="nowhere"), KeyError),
    "too large": (lambda model: replace_stem(model, complete_bank(5)), ValueError),
    "no fold": (fold_stem, ValueError),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_given_model_stays_as_it_is(name):
    call, error = CALLS[name]
    model = used_net()
    before = snapshot(model)
    if error is None:
        call(model)
    else:
        with pytest.raises(error):
            call(model)
    assert snapshot(model) == before


def test_that_test_can_fail():
    model = used_net()
    before = snapshot(model)
    model[0].bias.grad.add_(1)
    assert snapshot(model) != before


def test_training_the_new_model_leaves_the_given_one():
    model = small_net()
    before, replaced = snapshot(model), replace_stem(model)
    optimizer = torch.optim.SGD(replaced.parameters(), lr=0.1)
    replaced(torch.rand(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    assert snapshot(model) == before
    replaced[0].filters.check_kernels()


@pytest.mark.parametrize("init", ["exact", "project", "random"])
def test_flags_and_dtype_are_carried_over_and_back(init):
    model = small_net().to(torch.bfloat16).train()
    model[0].eval()
    model[0].weight.requires_grad_(False)
    layer = (replaced := replace_stem(model, init=init))[0]
    assert (replaced.training, layer.training, layer.filters.training) == (True, False, False)
    assert layer.mixing.weight.dtype == layer.filters.conv.weight.dtype == torch.bfloat16
    assert not layer.mixing.weight.requires_grad
    assert layer.mixing.bias.requires_grad
    folded = fold_stem(replaced)[0]
    assert (folded.training, folded.weight.requires_grad, folded.bias.requires_grad) == (False, False, True)
    assert (type(folded), folded.weight.dtype) == (nn.Conv2d, torch.bfloat16)


def test_hooks_of_the_stem_keep_working():
    """A hook that changes the output would otherwise be lost without a word."""
    model, images, calls = small_net().double(), images_of(1, 3, 8, 8), []
    model[0].register_forward_hook(lambda module, inputs, output: 3 * output)
    model[0].register_forward_pre_hook(lambda module, inputs: calls.append(type(module)))
    replaced = replace_stem(model)
    assert calls == []
    assert_near(replaced(images), model(images), 1e-9)
    assert_near(fold_stem(replaced)(images), model(images), 1e-9)
    assert calls == [EdgeFilterConv2d, nn.Conv2d, nn.Conv2d, nn.Conv2d]
    assert (len(replaced[0]._forward_hooks), len(model[0]._forward_hooks)) == (1, 1)


def test_results_that_a_model_keeps_do_not_hinder_the_copy():
    model = small_net()
    model.last = model(torch.rand(1, 3, 8, 8))
    replaced = replace_stem(model)
    assert_close(replaced.last, model.last.detach(), rtol=0, atol=0)
    assert model.last.grad_fn is not None


# --- banks that do not span the stem ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sobel", "edges_zero_mean", "gabor7"])
def test_lost_energy_is_the_least_squares_residual(name):
    """Computed apart with NumPy's solver, kernel by kernel."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 7, bias=False).double()
    layer = replace_stem(conv, name, init="project")
    basis = layer.bank.weight.reshape(len(layer.bank), -1).T
    flat = conv.weight.detach().numpy().reshape(12, 49).T
    best = basis @ np.linalg.lstsq(basis, flat, rcond=None)[0]
    want = ((flat - best) ** 2).sum() / (flat**2).sum()
    assert 0 < want < 1
    assert layer.lost_energy == pytest.approx(want, rel=1e-9)
    assert_near(layer.fold().weight, torch.from_numpy(best.T).reshape(4, 3, 7, 7), 1e-9)


def test_lost_energy_is_zero_for_a_complete_bank_and_one_for_the_opposite():
    conv = nn.Conv2d(1, 1, 3, bias=False).double()
    assert replace_stem(conv).lost_energy == pytest.approx(0, abs=1e-20)
    with torch.no_grad():
        conv.weight.fill_(1.0)
    assert replace_stem(conv, "sobel", init="project").lost_energy == pytest.approx(1)
    assert replace_stem(conv, init="random").lost_energy is None
    with torch.no_grad():
        conv.weight.zero_()
    assert replace_stem(conv, "sobel").lost_energy == 0


def test_an_incomplete_bank_cannot_be_exact():
    with pytest.raises(
        ValueError, match=r"bank 'sobel' spans 2 of the 9 dimensions of stem '0'.*init='project'"
    ):
        replace_stem(small_net(), "sobel")


def test_an_incomplete_bank_that_spans_this_stem_is_exact():
    model = small_net().double()
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(get_bank("sobel").weight.copy()).sum(0))
    images = images_of(1, 3, 8, 8)
    assert_near(replace_stem(model, "sobel")(images), model(images), 1e-9)


def test_a_smaller_bank_is_set_in_the_middle():
    bank = replace_stem(small_net(nn.Conv2d(3, 4, 7)), "sobel", init="random")[0].bank
    assert bank.shape == (7, 7)
    assert np.abs(bank.weight).sum() == np.abs(bank.weight[:, 2:5, 2:5]).sum() == 16


def test_a_larger_bank_is_refused():
    with pytest.raises(
        ValueError, match=r"must fit into the 3x3 support of stem '0'; got 5x5\. Use complete_bank"
    ):
        replace_stem(small_net(), complete_bank(5))


def test_random_mixing_is_pytorchs_own():
    torch.manual_seed(3)
    layer = replace_stem(nn.Conv2d(3, 4, 3), "edges", init="random")
    assert layer.mixing.weight.std() > 0
    assert float(layer.mixing.weight.detach().abs().max()) <= 1 / np.sqrt(3 * 18)


def test_replacing_and_folding_leave_the_generator_alone():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    before = torch.random.get_rng_state()
    fold_stem(replace_stem(net))
    assert torch.equal(torch.random.get_rng_state(), before)
    replace_stem(net, init="random")
    assert not torch.equal(torch.random.get_rng_state(), before)


def test_permuting_the_bank_keeps_the_outputs():
    bank, model, images = complete_bank(3), small_net().double(), images_of(1, 3, 8, 8)
    permuted = type(bank)([bank[i] for i in (4, 2, 0, 1, 3, 8, 7, 5, 6)])
    got, want = replace_stem(model, permuted), replace_stem(model, bank)
    assert_near(got(images), want(images), 1e-9)


# --- which convolution --------------------------------------------------------------------------------------


class Shuffled(nn.Module):
    """Registers the second convolution first."""

    def __init__(self):
        super().__init__()
        self.second, self.first = nn.Conv2d(4, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.second(self.first(images))


class Branching(Shuffled):
    def forward(self, images):
        return super().forward(images if images.sum() > 0 else -images)


@pytest.mark.parametrize("stem", [None, "first"])
def test_a_model_that_branches_on_the_image_is_replaced(stem):
    model, images = Branching().double(), images_of(1, 3, 8, 8)
    replaced = replace_stem(model, stem=stem)
    assert isinstance(replaced.first, EdgeFilterConv2d)
    for sign in (1, -1):
        assert_near(replaced(sign * images), model(sign * images), 1e-9)


def test_inputs_say_which_convolution_reads_the_image():
    """A model that takes two arguments is run with them."""

    class Two(Shuffled):
        def forward(self, images, shift):
            return super().forward(images) + shift

    model, inputs = Two().double(), (images_of(1, 3, 8, 8), torch.ones(1).double())
    replaced = replace_stem(model, inputs=inputs)
    assert isinstance(replaced.first, EdgeFilterConv2d)
    assert_near(replaced(*inputs), model(*inputs), 1e-9)


def test_data_parallel_is_replaced_inside():
    model, images = nn.DataParallel(small_net().double()), images_of(1, 3, 8, 8)
    assert_near(replace_stem(model)(images), model(images), 1e-9)


def quantized():
    return nn.Sequential(torch.ao.nn.quantized.Conv2d(3, 4, 3))


def trained_to_nan():
    conv = nn.Conv2d(3, 4, 3)
    nn.init.constant_(conv.weight, float("nan"))
    return conv


BAD_STEMS = {
    "grouped": (
        lambda: nn.Conv2d(4, 4, 3, groups=2),
        ValueError,
        r"with groups=1; got groups=2\. Name another",
    ),
    "transposed": (
        lambda: nn.ConvTranspose2d(3, 4, 3),
        TypeError,
        "must be a Conv2d of torch.nn; got ConvTranspose2d",
    ),
    "1d": (lambda: nn.Conv1d(3, 4, 3), TypeError, "must be a Conv2d of torch.nn; got Conv1d"),
    "3d": (lambda: nn.Conv3d(3, 4, 3), TypeError, "must be a Conv2d of torch.nn; got Conv3d"),
    "lazy": (lambda: nn.LazyConv2d(4, 3), ValueError, "got an uninitialized LazyConv2d. Run the model once"),
    "complex": (lambda: nn.Conv2d(3, 4, 3, dtype=torch.complex64), TypeError, "got torch.complex64. Convert"),
    "meta": (
        lambda: nn.Conv2d(3, 4, 3, device="meta"),
        ValueError,
        "on the meta device. Load the weights first",
    ),
    "nan": (trained_to_nan, ValueError, "must have finite weights; got NaN or infinite ones"),
    "no convolution": (
        lambda: nn.Linear(3, 4),
        ValueError,
        "must hold a convolution of torch.nn; got Sequential",
    ),
}


@pytest.mark.filterwarnings("ignore:Complex modules:UserWarning")
@pytest.mark.parametrize("name", BAD_STEMS)
def test_a_stem_that_cannot_be_replaced_is_refused(name):
    make, error, message = BAD_STEMS[name]
    with pytest.raises(error, match=message):
        replace_stem(nn.Sequential(make()))


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_stem_is_refused():
    with pytest.raises(ValueError, match=r"must hold a convolution of torch\.nn"):
        replace_stem(quantized())
    with pytest.raises(TypeError, match=r"got Conv2d \(torch\.ao\.nn\.quantized\.modules\.conv\)"):
        replace_stem(quantized(), stem="0")


def test_meta_weights_can_start_at_random():
    replaced = replace_stem(small_net().to("meta"), init="random")
    assert replaced[0].mixing.weight.is_meta
    replaced.to_empty(device="cpu")[0].filters.check_kernels()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("call", [find_stem, replace_stem, fold_stem])
def test_what_is_no_open_model_is_refused(call):
    with pytest.raises(TypeError, match=r"model must be an nn\.Module; got str\. Pass the network itself"):
        call("resnet18")
    with pytest.raises(
        TypeError, match=r"ordinary nn\.Module; got a .*ScriptModule.*Pass the model it was made from"
    ):
        call(torch.jit.script(small_net()))


def test_unknown_names_get_a_suggestion():
    with pytest.raises(
        KeyError, match=r"stem must be the path of a module of the model; got 'frist'; did you mean 'first'"
    ):
        replace_stem(Shuffled(), stem="frist")
    with pytest.raises(
        ValueError, match="init must be one of exact, project, random; got 'exakt'; did you mean"
    ):
        replace_stem(Shuffled(), init="exakt")
    with pytest.raises(KeyError, match="did you mean 'sobel'"):
        replace_stem(Shuffled(), "sobell")


@pytest.mark.parametrize("stem", [None, "first", "first.filters"])
def test_a_replaced_stem_is_not_replaced_again(stem):
    with pytest.raises(ValueError, match="must be an ordinary convolution; got an edge-filter layer"):
        replace_stem(replace_stem(Shuffled()), stem=stem)


def test_nothing_to_fold_is_refused():
    with pytest.raises(ValueError, match="model must hold an EdgeFilterConv2d; got Shuffled without one"):
        fold_stem(Shuffled())


def test_two_layers_are_both_folded():
    model, images = Shuffled().double(), images_of(1, 3, 8, 8)
    twice = replace_stem(replace_stem(model), stem="second")
    folded = fold_stem(twice)
    assert not any(isinstance(module, EdgeFilterConv2d) for module in folded.modules())
    assert_near(folded(images), model(images), 1e-9)


@pytest.mark.parametrize("layer", [nn.Linear(3, 3), nn.ReLU()])
def test_a_single_layer_without_a_convolution_is_refused(layer):
    with pytest.raises(ValueError, match="model must hold a convolution"):
        replace_stem(layer)
