"""The bank layer and the mixing: what they compute, and that their kernels stay fixed."""

from __future__ import annotations

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import oracles
from edgefilter import EdgeFilterBank2d, EdgeFilterConv2d, FilterBank, complete_bank, get_bank
from edgefilter.banks.kernel import Kernel
from edgefilter.stems.padding import Padding2d

NUMPY_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
MODES = tuple(NUMPY_MODES)
sizes = st.tuples(st.integers(1, 4), st.integers(1, 4))


def images_of(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def bank_of(height, width, count, seed=0):
    weights = np.random.default_rng(seed).normal(size=(count, height, width))
    return FilterBank([Kernel(f"k{i}", weight) for i, weight in enumerate(weights)])


def dilate(weight, dilation):
    height, width = weight.shape
    spread = np.zeros((dilation[0] * (height - 1) + 1, dilation[1] * (width - 1) + 1))
    spread[:: dilation[0], :: dilation[1]] = weight
    return spread


def slow(image, weight, stride, sides, dilation, mode):
    """Pad left, right, top, bottom; correlate with the spread kernel; keep every stride-th answer."""
    left, right, top, bottom = sides
    padded = np.pad(image, ((top, bottom), (left, right)), mode=NUMPY_MODES[mode])
    return oracles.correlate(padded, dilate(weight, dilation))[:: stride[0], :: stride[1]]


def same_sides(shape, kernel, stride, dilation):
    """TensorFlow's rule, written for the two axes at once: left, right, top, bottom."""
    total = [
        max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        for n, k, s, d in zip(shape, kernel, stride, dilation, strict=True)
    ]
    return total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2


def assert_correlates(layer, images, sides):
    got = layer.double()(images)
    for n, c, k in np.ndindex(images.shape[0], layer.in_channels, len(layer.bank)):
        want = slow(
            images[n, c].numpy(),
            layer.bank.weight[k],
            layer.stride,
            sides,
            layer.dilation,
            layer.padding_mode,
        )
        assert_close(got[n, c * len(layer.bank) + k], torch.from_numpy(want), rtol=1e-9, atol=1e-12)


# --- what the bank layer computes ---------------------------------------------------------------------------


def test_ramp_worked_by_hand():
    """A ramp rises by 1 per column and 5 per row; Sobel answers 8 times the slope."""
    ramp = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert_close(EdgeFilterBank2d("sobel", 1)(ramp)[0, :, 1, 1], torch.tensor([8.0, 40.0]), rtol=0, atol=0)


@settings(max_examples=60, deadline=None)
@given(
    kernel=sizes,
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    mode=st.sampled_from(MODES),
    channels=st.integers(1, 4),
    seed=st.integers(0, 999),
)
def test_responses_are_correlations_in_order_of_color_then_kernel(
    kernel, stride, dilation, padding, mode, channels, seed
):
    layer = EdgeFilterBank2d(bank_of(*kernel, 2, seed), channels, stride, padding, dilation, mode)
    sides = (padding[1], padding[1], padding[0], padding[0])
    assert_correlates(layer, images_of(2, channels, 9, 8, seed=seed), sides)


@settings(max_examples=40, deadline=None)
@given(
    kernel=sizes,
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    sides=st.tuples(*[st.integers(0, 3)] * 4),
    mode=st.sampled_from(MODES),
)
def test_four_sides_pad_left_right_top_bottom(kernel, stride, sides, mode):
    layer = EdgeFilterBank2d(bank_of(*kernel, 2), 2, stride, sides, padding_mode=mode)
    assert_correlates(layer, images_of(1, 2, 8, 7), sides)


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@settings(max_examples=60, deadline=None)
@given(
    kernel=sizes,
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    shape=st.tuples(st.integers(7, 11), st.integers(7, 11)),
    mode=st.sampled_from(MODES),
)
def test_same_padding_gives_the_size_over_the_stride_rounded_up(kernel, stride, dilation, shape, mode):
    layer = EdgeFilterBank2d(bank_of(*kernel, 2), 1, stride, "same", dilation, mode)
    images = images_of(1, 1, *shape)
    assert layer.double()(images).shape[2:] == tuple(map(math.ceil, np.divide(shape, stride)))
    assert_correlates(layer, images, same_sides(shape, kernel, stride, dilation))


def test_same_padding_at_stride_two_is_pad_then_convolution():
    layer, images = EdgeFilterBank2d("edges", 3, stride=2, padding="same").double(), images_of(2, 3, 8, 9)
    want = F.conv2d(F.pad(images, (1, 1, 0, 1)), layer.conv.weight, stride=2, groups=3)
    assert_close(layer(images), want, rtol=0, atol=0)


def test_zero_mean_kernels_answer_zero_to_a_flat_image():
    layer = EdgeFilterBank2d("edges_zero_mean", 3).double()
    assert_close(
        layer(torch.full((1, 3, 6, 6), 0.7).double()), torch.zeros(1, 48, 4, 4).double(), rtol=0, atol=1e-12
    )


def test_a_batch_gives_the_same_as_its_samples():
    layer, images = EdgeFilterBank2d("edges", 3, padding=1).double(), images_of(4, 3, 7, 7)
    assert_close(layer(images), torch.cat([layer(image[None]) for image in images]), rtol=1e-12, atol=1e-12)


def test_permuting_the_bank_permutes_the_responses():
    bank, images = get_bank("edges"), images_of(1, 2, 6, 6)
    order = np.random.default_rng(0).permutation(len(bank))
    permuted = FilterBank([bank[int(i)] for i in order])
    got = EdgeFilterBank2d(permuted, 2).double()(images).unflatten(1, (2, -1))
    want = EdgeFilterBank2d(bank, 2).double()(images).unflatten(1, (2, -1))[:, :, order]
    assert_close(got, want, rtol=0, atol=1e-12)


def test_channels_last_images_give_the_same():
    layer, images = EdgeFilterBank2d("edges", 3, padding=1).double(), images_of(2, 3, 8, 8)
    want = layer(images)
    got = layer.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    assert_close(got, want, rtol=1e-12, atol=1e-12)


# --- that the kernels stay ----------------------------------------------------------------------------------


def exact(layer):
    layer.check_kernels()
    want = torch.from_numpy(np.tile(layer.bank.weight, (layer.in_channels, 1, 1)))[:, None]
    assert_close(layer.conv.weight.detach(), want.to(layer.conv.weight.dtype), rtol=0, atol=0)
    return True


def test_the_filters_are_a_plain_frozen_convolution():
    """Captum's LRP tests the exact type; Zennit's rules see parameters only, never buffers."""
    layer = EdgeFilterBank2d("sobel", 3)
    assert type(layer.conv) is nn.Conv2d
    assert layer.conv.groups == 3
    assert layer.conv.bias is None
    assert isinstance(layer.conv.weight, nn.Parameter)
    assert not layer.conv.weight.requires_grad
    assert [name for name, _ in layer.named_buffers()] == []
    assert exact(layer)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_kernels_are_exact_after_a_coarse_dtype(dtype):
    layer = EdgeFilterBank2d(complete_bank(5), 2).to(dtype)
    assert layer.conv.weight.dtype == dtype
    assert exact(layer)
    assert exact(layer.double())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_half_precision_runs(dtype, tolerance):
    images = images_of(1, 3, 8, 8)
    want, layer = EdgeFilterBank2d("sobel", 3).double()(images), EdgeFilterBank2d("sobel", 3).to(dtype)
    got = layer(images.to(dtype))
    assert got.dtype == dtype
    assert_close(got.double(), want, rtol=0, atol=tolerance * float(want.abs().max()))


def test_deepcopy_pickle_and_state_dict_keep_the_layer():
    layer, images = EdgeFilterConv2d(3, 4, "edges", stride=2, padding="same"), images_of(1, 3, 9, 9).float()
    restored = EdgeFilterConv2d(3, 4, "edges", stride=2, padding="same")
    assert not torch.equal(restored(images), layer(images))
    restored.load_state_dict(layer.state_dict())
    for other in (restored, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_close(other(images), layer(images), rtol=0, atol=0)
        assert exact(other.filters)
        assert not other.filters.conv.weight.requires_grad


def test_torch_save_keeps_the_layer():
    layer, file = EdgeFilterBank2d("sobel", 2), io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    assert exact(torch.load(file, weights_only=False))


@pytest.mark.parametrize(
    "remake", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer)), lambda x: x]
)
def test_reset_parameters_keeps_the_kernels(remake):
    """Quantus's randomisation tests call it on every module that has it."""
    layer = remake(EdgeFilterBank2d("sobel", 3))
    for module in layer.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert exact(layer)


def train_one_step(layer):
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.1)
    layer(torch.rand(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()


def test_a_training_step_moves_the_mixing_only():
    """Gradients reach the mixing, not the kernels; decay over model.parameters() leaves them alone."""
    layer = EdgeFilterConv2d(3, 4, "edges")
    before = layer.mixing.weight.detach().clone()
    train_one_step(layer)
    assert layer.filters.conv.weight.grad is None
    assert layer.mixing.weight.grad is not None
    assert not torch.equal(layer.mixing.weight, before)
    assert exact(layer.filters)


def test_gradients_reach_the_images_through_the_fixed_kernels():
    layer, images = EdgeFilterBank2d("sobel", 1), torch.rand(1, 1, 5, 5, requires_grad=True)
    layer(images).square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_kernels_that_were_trained_are_refused():
    layer = EdgeFilterConv2d(3, 4, "edges").requires_grad_(True)
    train_one_step(layer)
    with pytest.raises(
        RuntimeError, match=r"must stay as they are; got changed ones.*requires_grad_\(False\)"
    ):
        layer.filters.check_kernels()


def test_kernels_of_another_bank_are_refused():
    layer = EdgeFilterBank2d("sobel", 3)
    layer.load_state_dict(EdgeFilterBank2d("prewitt", 3).state_dict())
    with pytest.raises(RuntimeError, match=r"got changed ones in conv\.weight"):
        layer.check_kernels()


def test_captum_lrp_knows_the_layer():
    """Twice: Captum deletes rules that were set by hand after one call."""
    from captum.attr import LRP

    model = nn.Sequential(EdgeFilterConv2d(3, 4, "sobel", padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    head = nn.Conv2d(4, 2, 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = model, head

        def forward(self, images):
            return self.head(self.features(images)).flatten(1)

    lrp, images = LRP(Net().eval()), torch.rand(2, 3, 6, 6, requires_grad=True)
    first = lrp.attribute(images, target=1)
    assert first.shape == images.shape
    assert_close(lrp.attribute(images, target=1), first)


def test_meta_layers_get_their_kernels_when_they_get_memory():
    with torch.device("meta"):
        layer = EdgeFilterBank2d("sobel", 3)
    assert layer.conv.weight.is_meta
    assert exact(layer.to_empty(device="cpu"))


# --- the mixing and the fold --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@settings(max_examples=60, deadline=None)
@given(
    kernel=sizes,
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.sampled_from([0, 1, (1, 0), (0, 1, 2, 0), "same", "valid"]),
    mode=st.sampled_from(MODES),
    channels=st.integers(1, 4),
    bias=st.booleans(),
)
def test_fold_is_the_same_function(kernel, stride, dilation, padding, mode, channels, bias):
    layer = EdgeFilterConv2d(channels, 3, bank_of(*kernel, 5), stride, padding, dilation, bias, mode).double()
    images, dense = images_of(2, channels, 9, 8), layer.fold()
    assert isinstance(dense, nn.Conv2d)
    assert dense.groups == 1
    assert_close(dense(images), layer(images), rtol=1e-9, atol=1e-10)


def test_fold_keeps_dtype_and_flags():
    layer = EdgeFilterConv2d(3, 4, "edges").to(torch.bfloat16).eval()
    layer.mixing.weight.requires_grad_(False)
    dense = layer.fold()
    assert dense.weight.dtype == torch.bfloat16
    assert not dense.training
    assert not dense.weight.requires_grad
    assert dense.bias.requires_grad
    assert type(dense) is nn.Conv2d


def test_fold_of_a_sided_padding_survives_deepcopy_and_pickle():
    layer, images = EdgeFilterConv2d(1, 2, "sobel", 2, "same"), torch.rand(1, 1, 8, 8)
    dense = layer.fold()
    for other in (copy.deepcopy(dense), pickle.loads(pickle.dumps(dense))):
        assert_close(other(images), layer(images), rtol=1e-5, atol=1e-6)
    assert {*dense.state_dict()} == {"weight", "bias"}


def test_layer_shows_its_bank():
    assert "bank='sobel', kernels=2, colors=3" in repr(EdgeFilterBank2d("sobel", 3))
    assert "sides='same', padding_mode='zeros'" in repr(Padding2d("same", (3, 3), (2, 2), (1, 1)))
    assert EdgeFilterConv2d(3, 4, "sobel").bank == get_bank("sobel")


# --- bad input ----------------------------------------------------------------------------------------------

BAD = {
    "bank": ({"bank": 3}, TypeError, "bank must be a FilterBank or the name of one; got int"),
    "bank_name": ({"bank": "sobell"}, KeyError, "did you mean 'sobel'"),
    "channels": ({"in_channels": 0}, ValueError, "in_channels must be an integer >= 1; got 0"),
    "channels_bool": ({"in_channels": True}, ValueError, "in_channels must be an integer >= 1; got True"),
    "stride": ({"stride": 0}, ValueError, "stride must be an integer >= 1 or a pair of them; got 0"),
    "dilation": ({"dilation": (1, 1, 1)}, ValueError, "dilation must be an integer >= 1 or a pair"),
    "padding": ({"padding": -1}, ValueError, "padding must be an integer >= 0 or a pair of them; got -1"),
    "padding_side": ({"padding": (0, 0, -1, 0)}, ValueError, "padding must be an integer >= 0"),
    "padding_name": ({"padding": "sam"}, ValueError, "got 'sam'; did you mean 'same'"),
    "padding_mode": ({"padding_mode": "reflekt"}, ValueError, "got 'reflekt'; did you mean 'reflect'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_argument_is_refused_in_the_house_words(case):
    changes, error, message = BAD[case]
    with pytest.raises(error, match=message.replace("(", r"\(")):
        EdgeFilterBank2d(**{"bank": "sobel", "in_channels": 3, **changes})


def test_no_output_channels_are_refused():
    with pytest.raises(ValueError, match="out_channels must be an integer >= 1; got 0"):
        EdgeFilterConv2d(3, 0, "sobel")


def test_a_training_step_on_unfrozen_kernels_raises_at_the_next_call():
    """The layer neither answers with changed kernels nor folds them, and a conversion does not hide the change."""
    layer = EdgeFilterConv2d(3, 4, "sobel").requires_grad_(True)
    images = torch.rand(2, 3, 6, 6)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(images).sum().backward()
    optimizer.step()
    for changed in (layer, layer.double().float()):
        with pytest.raises(RuntimeError, match="must stay as they are"):
            changed(images)
        with pytest.raises(RuntimeError, match="must stay as they are"):
            changed.fold()


def test_a_step_that_leaves_the_kernels_alone_is_no_change():
    """Frozen kernels stay, whatever is written into the mixing."""
    layer = EdgeFilterConv2d(3, 4, "sobel")
    images = torch.rand(2, 3, 6, 6)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, weight_decay=0.1)
    layer(images).sum().backward()
    optimizer.step()
    layer.load_state_dict(layer.state_dict())
    assert layer(images).shape == (2, 4, 4, 4)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: EdgeFilterBank2d("sobel", 3, trainable=True),
        lambda: EdgeFilterConv2d(3, 8, "sobel", trainable=True),
        lambda: get_bank("sobel", trainable=True),
    ],
)
def test_kernels_cannot_be_made_trainable(layer):
    """A filter that training changes is no longer what its name says; the argument does not exist."""
    with pytest.raises(TypeError, match="trainable"):
        layer()
