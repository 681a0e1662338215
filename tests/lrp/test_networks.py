"""Networks of torchvision and timm, as they are, against an oracle of the epsilon rule that knows nothing of rules."""

from __future__ import annotations

import gc
import warnings

import pytest
import torch
import torchvision
from torch.testing import assert_close
from torchvision import models

from agreement import assert_right, settle
from edgefilter import EdgeFilterAttribution, replace_stem
from epsilon_oracle import input_times_gradient

SIZES = {"inception_v3": 96, "maxvit_t": 224, "vit_h_14": 56, "inception_v4": 160, "xception41": 96}
GIANTS = ("regnet_y_128gf", "vit_h_14")  # 650 million weights: too large for float64
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
TIMM_QUICK = ["mobilenetv3_small_100", "ghostnet_100"]
TIMM = [
    "resnet26d", "tf_efficientnet_lite0", "densenet121", "regnety_002", "convnext_atto", "dla34",
    "hrnet_w18_small", "mixnet_s", "res2net50_26w_4s", "xception41", "resnetv2_50", "cspresnet50", "inception_v4",
    "efficientnet_b0", "seresnet33ts", "skresnet18", "rexnet_100", "dpn68", "darknet53",
]  # fmt: skip


def network(name, make, dtype=torch.float64):
    """Return a network, an image and the index of its largest output."""
    size = SIZES.get(name, 64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().to(dtype)
        images = torch.randn(3, 3, size, size, dtype=dtype)
        settle(model, images)
    images = images[:1]
    with torch.no_grad():
        return model, images, model(images).argmax(1)


def torchvision_network(name, dtype=torch.float64):
    options = {"init_weights": True, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    if name.startswith("vit"):
        options["image_size"] = SIZES.get(name, 64)
    return network(name, lambda: models.get_model(name, weights=None, num_classes=10, **options), dtype)


# Networks of torchvision and timm.


@pytest.mark.parametrize("name", QUICK)
def test_a_torchvision_network_agrees_with_the_oracle_and_conserves(name):
    assert_right(*torchvision_network(name), single=False)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_transformer_of_torchvision_agrees_with_the_oracle_and_conserves(name):
    assert_right(*network(name, SMALL[name]))


@pytest.mark.extended
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
    assert_right(*timm_network(name), single=False)


@pytest.mark.extended
@pytest.mark.parametrize("name", TIMM)
def test_more_timm_networks_agree_with_the_oracle_and_conserve(name):
    assert_right(*timm_network(name))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_a_network_with_an_edge_filter_stem_is_explained_as_the_network_itself(name):
    model, images, targets = torchvision_network(name)
    for composite in ("epsilon", "epsilon_plus"):
        got, want = (
            EdgeFilterAttribution(net, composite, calibrate=False).explain(images, targets)
            for net in (replace_stem(model), model)
        )
        for score in ("response", "pixel"):
            scale = float(getattr(want, score).abs().max())
            assert_close(getattr(got, score), getattr(want, score), rtol=0, atol=1e-9 * scale)


def test_the_oracle_tells_a_wrong_map():
    """Gradients through the gates, or doubled residuals, are no agreement."""
    model, images, targets = torchvision_network("mobilenet_v3_small")
    leaf = images.clone().requires_grad_()
    model(leaf).gather(1, targets[:, None]).sum().backward()
    want, _ = input_times_gradient(model, images, targets)
    with pytest.raises(AssertionError):
        assert_close(leaf.grad * images, want, rtol=0, atol=0.01 * float(want.abs().max()))
