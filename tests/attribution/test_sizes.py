"""Outputs from 1e-30 to 1e30, values that are no numbers, overflow, half precision, and the size of the relevance."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import edgefilter as ef


class Net(nn.Module):
    """Convolutions with BatchNorm, a shortcut, pooling and hidden linear layers."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.hidden, self.head = nn.Linear(6 * 16, 12), nn.Linear(12, 4)

    def forward(self, x):
        h = self.norm(self.stem(x)).relu()
        h = nn.functional.avg_pool2d((h + self.inner(h)).relu(), 2)
        return self.head(self.hidden(h.flatten(1)).relu())


def made(dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Net().to(dtype).eval(), torch.randn(2, 3, 8, 8).to(dtype)


def scaled(net, size):
    net = copy.deepcopy(net)
    with torch.no_grad():
        net.head.weight.mul_(size)
        net.head.bias.mul_(size)
    return net


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e30])
@pytest.mark.parametrize("composite", ef.composite_names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_scale_with_the_output(dtype, composite, size):
    """Pixels, colors and filters, each and in total."""
    net, images = made(dtype)
    for score in ("pixel", "color_edge"):
        want = ef.EdgeFilterAttribution(net, composite).attribute(images, 1, score=score)
        got = ef.EdgeFilterAttribution(scaled(net, size), composite).attribute(images, 1, score=score)
        close = 1e4 * torch.finfo(dtype).eps * float(want.abs().max())
        assert_close(got / size, want, rtol=0, atol=close)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_what_each_operation_received_scales_with_the_output(size):
    net, images = made()
    want, got = (ef.check(model, images, 1).operations for model in (net, scaled(net, size)))
    for one, other in zip(want, got, strict=True):
        assert other.received / size == pytest.approx(one.received, rel=1e-9, abs=1e-12)
        assert other.handed_on / size == pytest.approx(one.handed_on, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_images_of_any_size_with_a_network_to_fit(size):
    """The first layer undoes what the image was multiplied by."""
    net, images = made(torch.float32)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.stem.weight.div_(size)
    want, got = (
        ef.EdgeFilterAttribution(model).attribute(given, 1)
        for model, given in ((net, images), (other, images * size))
    )
    assert_close(got, want, rtol=0, atol=1e-4 * float(want.abs().max()))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_output_that_is_no_number_is_named(value):
    net, images = made()
    with torch.no_grad():
        net.head.weight[1, :] = value
    with pytest.warns(
        UserWarning, match=r"the model's output must be finite to be shared; got (nan|inf|-inf) for image 0"
    ):
        ef.EdgeFilterAttribution(net).attribute(images, 1)


def test_an_overflow_is_named():
    """An output that float16 holds, of shares that it does not."""
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(6, 2)).eval()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[0].bias.zero_()
        net[2].weight.copy_(torch.tensor([[30000.0, -29000.0] * 3, [1.0] * 6]))
        net[2].bias.zero_()
    attribution = ef.EdgeFilterAttribution(net.half())
    with pytest.warns(
        UserWarning,
        match=r"relevance must fit into torch.float16; got (inf|nan) in total for an output of 3\.02e\+03",
    ):
        attribution.attribute(torch.ones(1, 1, 1, 2).half(), 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs(dtype):
    net, images = made()
    want = ef.EdgeFilterAttribution(net).attribute(images, 1)
    got = ef.EdgeFilterAttribution(copy.deepcopy(net).to(dtype)).attribute(images.to(dtype), 1)
    assert got.dtype == dtype
    assert float((got.double() - want).norm() / want.norm()) < (0.02 if dtype == torch.float16 else 0.15)


def cancelling(offset):
    """Return a network of two pixels whose contributions to the first output are 10 and ``offset - 10``, and an image."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(2, 2)).double().eval()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[2].weight.copy_(torch.tensor([[10.0, offset - 10], [1.0, 1.0]]))
    return net.requires_grad_(False), torch.ones(1, 1, 1, 2).double()


def test_sizes_beyond_twenty_times_the_output_are_warned_of():
    """19.8 / 0.2 and 19 / 1: one on each side of the limit."""
    with pytest.warns(
        UserWarning, match=r"got sizes that add up to 19\.8 for 0\.2 \(without its base\), image 0"
    ) as found:
        ef.EdgeFilterAttribution(cancelling(0.2)[0]).attribute(cancelling(0.2)[1], 0)
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ef.EdgeFilterAttribution(cancelling(1.0)[0]).attribute(cancelling(1.0)[1], 0)
        ef.EdgeFilterAttribution(cancelling(0.2)[0]).attribute(cancelling(0.2)[1], 1)


@pytest.mark.parametrize("composite", [None, "epsilon_plus_flat", "epsilon_alpha2_beta1"])
def test_hidden_units_that_nearly_cancel_do_not_turn_the_map(composite):
    """Their bias keeps them active: the plain rule's shares were a hundred thousand times the output."""
    net, images = cancelling(1e-5)
    net = nn.Sequential(*net, nn.ReLU(), nn.Linear(2, 1)).double().eval().requires_grad_(False)
    net[2].bias.fill_(1.0)
    net[4].weight.fill_(1.0)
    noise = 1e-5 * torch.tensor([[[[1.0, -1.0]]]]).double()
    attribution = ef.EdgeFilterAttribution(net, composite)
    one, other = attribution.attribute(images, 0), attribution.attribute(images - noise, 0)
    assert float((one - other).norm()) < 1e-3 * float(one.norm())
    assert float(one.abs().sum()) < 20 * float(net(images))
