"""Runs of real networks with their units kept: slopes against gradients."""

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from edgefilter.errors import UnsupportedModelError
from edgefilter.methods.piecewise import PiecewiseModel


def settled(build, size=32):
    """Return a network whose BatchNorm has statistics, in float64, and two images of noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, images = build().double(), torch.randn(4, 3, size, size, dtype=torch.float64)
        for module in net.modules():
            module.train(isinstance(module, nn.BatchNorm2d))
            module.momentum = 1.0
        with torch.no_grad():
            net(images)
    return net.eval(), images[:2]


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x1_0", "squeezenet1_0", "vgg11_bn", "googlenet"]
)
def test_slopes_of_real_networks_are_their_gradients(name):
    """The outputs are the network's own; along a direction each changes as the backward pass says."""
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    net, images = settled(
        lambda: getattr(torchvision.models, name)(weights=None, num_classes=10, **options), 64
    )
    noise = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    owners = torch.tensor([0, 1, 1])
    model = PiecewiseModel(net)
    leaf, output = model.checked(images, ())
    seen = []
    value, slope = model.along(
        images, noise, owners, (), lambda _, site, values, slopes: seen.append((site, values))
    )
    assert_close(value, net(images).detach(), rtol=1e-12, atol=1e-12)
    for k in (0, 9):
        (gradient,) = torch.autograd.grad(output[:, k].sum(), leaf, retain_graph=True)
        assert_close(slope[:, k], (gradient[owners] * noise).flatten(1).sum(1), rtol=1e-10, atol=1e-12)
    assert all(len(values) == 2 for _, values in seen)
    assert {site.function for site, _ in seen} <= {
        "relu",
        "max_pool2d",
        "hardtanh",
        "relu6",
        "adaptive_max_pool2d",
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("efficientnet_b0", r"got silu in 'features.0.2'"),
        ("mobilenet_v3_small", r"got hardswish in 'features.0.2'"),
        ("convnext_tiny", r"got layer_norm in 'features.0.1'"),
        ("regnet_y_400mf", r"got sigmoid in 'trunk_output.block1.block1-0.f.se.scale_activation'"),
        ("vit_b_16", r"got layer_norm in 'encoder.layers.encoder_layer_0.ln_1'"),
    ],
)
def test_real_networks_that_are_none_are_refused(name, words):
    """By their first function that bends, with its module."""
    options = {"image_size": 32} if name == "vit_b_16" else {}
    net = getattr(torchvision.models, name)(weights=None, num_classes=10, **options).eval()
    with pytest.raises(UnsupportedModelError, match=words):
        PiecewiseModel(net).checked(torch.zeros(1, 3, 32, 32), ())
