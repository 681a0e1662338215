"""Which models benchmarks/coverage.py tries, and how each is made: small, with random weights, no download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

__all__ = ["OTHERS", "TIMM", "TIMM_SIZES", "Made", "make_other", "make_timm"]

# Models of timm by family; "name@size" where the default of 64 pixels will not do, and "name!size" where the model must be
# told the size.
FAMILIES = {
    "resnet": "resnet10t resnetaa34d resnetblur18 ecaresnet26t resnetrs50 resnet50_gn skresnet18 resnest14d res2net50_14w_8s",
    "senet": "legacy_seresnet18",
    "resnetv2": "resnetv2_18 resnetv2_50x1_bit resnetv2_50d_evos resnetv2_50d_frn",
    "nfnet": "nf_resnet26 eca_nfnet_l0 nf_regnet_b0",
    "byobnet": "repvgg_a0 mobileone_s0 gernet_s gcresnext26ts regnetz_b16 resnet50_clip_gap resnet51q",
    "vgg": "vgg11 vgg11_bn",
    "densenet": "densenet121 densenetblur121d",
    "rdnet": "rdnet_tiny",
    "efficientnet": "efficientnet_b0 efficientnet_lite0 tf_efficientnetv2_b0 efficientnet_b0_gn efficientnet_cc_b0_4e mixnet_s "
    "mnasnet_small fbnetc_100 tinynet_e mobilenetv2_050 mobilenetv1_100",
    "mobilenetv3": "mobilenetv3_small_050 tf_mobilenetv3_small_075 fbnetv3_b lcnet_035 mobilenetv4_conv_small_035 "
    "mobilenetv4_hybrid_medium",
    "mobilenetv5": "mobilenetv5_base",
    "hardcorenas": "hardcorenas_a",
    "lcnetv2": "lcnetv2_small",
    "rexnet": "rexnet_100",
    "regnet": "regnetx_002 regnety_002 regnetz_005",
    "ghostnet": "ghostnet_050 ghostnetv2_100 ghostnetv3_050",
    "repghost": "repghostnet_050",
    "hrnet": "hrnet_w18_small",
    "hgnet": "hgnet_tiny hgnetv2_b0",
    "dla": "dla46_c",
    "dpn": "dpn48b",
    "inception": "inception_v3@96 inception_v4@96 inception_resnet_v2@96",
    "xception": "legacy_xception xception41",
    "cspnet": "cspresnet50 cs3darknet_focus_s darknet17 cspnext_tiny",
    "vovnet": "ese_vovnet19b_slim",
    "tresnet": "tresnet_m",
    "selecsls": "selecsls42",
    "metaformer": "poolformer_s12 poolformerv2_s12 convformer_s18 caformer_s18",
    "convnext": "convnext_atto convnextv2_atto convnext_zepto_rms",
    "inception_next": "inception_next_atto",
    "fasternet": "fasternet_t0",
    "starnet": "starnet_s050",
    "mambaout": "mambaout_femto",
    "sequencer": "sequencer2d_s@224",
    "mlp_mixer": "mixer_s32_224!64 gmixer_12_224!64 gmlp_ti16_224!64 resmlp_12_224!64",
    "vit": "vit_tiny_patch16_224!64 flexivit_small!64 vit_small_patch14_dinov2!56 vit_relpos_small_patch16_224!64 "
    "vit_tiny_r_s16_p8_224!64 vit_wee_patch16_reg1_gap_256!64 vit_small_patch16_18x2_224!64",
    "eva": "eva02_tiny_patch14_224!56 vit_small_patch16_rope_224!64",
    "deit": "deit_tiny_distilled_patch16_224!64 deit3_small_patch16_224!64",
    "beit": "beit_base_patch16_224!64",
    "cait": "cait_xxs24_224!64",
    "xcit": "xcit_nano_12_p16_224!64",
    "convit": "convit_tiny!64",
    "crossvit": "crossvit_9_240@240",
    "pit": "pit_ti_224!64",
    "tnt": "tnt_s_patch16_224!64",
    "swin": "swin_tiny_patch4_window7_224!64 swinv2_tiny_window8_256!64 swinv2_cr_tiny_224!64",
    "twins": "twins_svt_small!64 twins_pcpvt_small!64",
    "pvt": "pvt_v2_b0",
    "visformer": "visformer_tiny!64",
    "coat": "coat_lite_tiny!64 coat_tiny!64",
    "maxxvit": "coatnet_nano_rw_224!64 coatnext_nano_rw_224!64 maxvit_pico_rw_256!64 maxvit_tiny_tf_224!64",
    "mobilevit": "mobilevit_xxs mobilevitv2_050",
    "levit": "levit_128s@224 levit_conv_128s@224",
    "efficientformer": "efficientformer_l1@224",
    "efficientformer_v2": "efficientformerv2_s0@224",
    "edgenext": "edgenext_xx_small",
    "fastvit": "fastvit_t8",
    "repvit": "repvit_m0_9",
    "efficientvit": "efficientvit_b0 efficientvit_m0@224 efficientvit_l1",
    "tiny_vit": "tiny_vit_5m_224",
    "gcvit": "gcvit_xxtiny!64",
    "davit": "davit_tiny",
    "focalnet": "focalnet_tiny_srf",
    "nest": "nest_tiny!64",
    "hiera": "hiera_tiny_224!64",
    "hieradet": "sam2_hiera_tiny",
    "mvit": "mvitv2_tiny!64",
    "volo": "volo_d1_224!64",
    "nextvit": "nextvit_small",
    "shvit": "shvit_s1",
    "swiftformer": "swiftformer_xs",
    "iformer": "iformer_t",
    "lowformer": "lowformer_b0",
    "cpubone": "cpubone_nano",
    "csatv2": "csatv2",
    "efficientvim": "efficientvim_m1",
    "vitamin": "vitamin_small_224!64",
    "convmixer": "convmixer_768_32",
    "byoanet": "bat_resnext26ts@256 botnet26t_256@256 halonet26t@256 lambda_resnet26t@256",
    "sam": "samvit_base_patch16_224!64",
    "nasnet": "nasnetalarge",
}

TIMM: dict[str, str] = {}  # name: family
TIMM_SIZES: dict[str, tuple[int, bool]] = {}  # name: (pixels, whether the model is told)
for _family, _names in FAMILIES.items():
    for _entry in _names.split():
        _told = "!" in _entry
        _name, _, _size = _entry.partition("!" if _told else "@")
        TIMM[_name] = _family
        TIMM_SIZES[_name] = (int(_size or 64), _told)


class Made(NamedTuple):
    """A model, the size of its images, and the number of their channels."""

    model: nn.Module
    size: int
    channels: int = 3


class MeanOfMask(nn.Module):
    """Class scores of a segmentation network: the mean of its mask."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean of the mask over the image."""
        return self.model(images).mean((2, 3))


def make_timm(name: str) -> Made:
    """Return a model of timm."""
    import timm

    size, told = TIMM_SIZES[name]
    options: dict[str, Any] = {"img_size": size} if told else {}
    return Made(timm.create_model(name, pretrained=False, num_classes=10, **options), size)


def make_other(name: str) -> Made:
    """Return a model of another library; ImportError if that is not installed."""
    return OTHERS[name][1]()


def _transformers(kind: str, **settings: Any) -> Made:
    import transformers

    config = getattr(transformers, f"{kind}Config")(num_labels=10, **settings)
    model = getattr(transformers, f"{kind}ForImageClassification")(config)
    return Made(model, 64)


def _segmentation(kind: str) -> Made:
    import segmentation_models_pytorch as smp

    return Made(MeanOfMask(getattr(smp, kind)("resnet18", encoder_weights=None, classes=10)), 64)


def _monai() -> Made:
    from monai.networks.nets import DenseNet121

    return Made(DenseNet121(2, 1, 10), 64, 1)


def _antialiased() -> Made:
    import antialiased_cnns

    return Made(antialiased_cnns.resnet18(pretrained=False, num_classes=10), 64)


def _kornia() -> Made:
    import torch
    from kornia.enhance import Normalize
    from torchvision.models import resnet18

    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return Made(nn.Sequential(Normalize(mean, deviation), resnet18(num_classes=10)), 64)


_SMALL_VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}

# The library of each model, and what makes it.
OTHERS: dict[str, tuple[str, Callable[[], Made]]] = {
    "ViT": ("transformers", lambda: _transformers("ViT", **_SMALL_VIT, image_size=64)),
    "Swin": ("transformers", lambda: _transformers("Swin", embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, image_size=64)),
    "ConvNext": ("transformers", lambda: _transformers("ConvNext", hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 2, 1])),
    "ResNet": ("transformers", lambda: _transformers("ResNet", embedding_size=16, hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1])),
    "MobileNetV2": ("transformers", lambda: _transformers("MobileNetV2", depth_multiplier=0.5)),
    "Unet": ("segmentation_models_pytorch", lambda: _segmentation("Unet")),
    "FPN": ("segmentation_models_pytorch", lambda: _segmentation("FPN")),
    "DeepLabV3Plus": ("segmentation_models_pytorch", lambda: _segmentation("DeepLabV3Plus")),
    "Linknet": ("segmentation_models_pytorch", lambda: _segmentation("Linknet")),
    "DenseNet121": ("monai", _monai),
    "resnet18 (antialiased)": ("antialiased_cnns", _antialiased),
    "Normalize + resnet18": ("kornia", _kornia),
}  # fmt: skip
