"""Measure how far replace_stem moves the logits: one network per stem type of torchvision, and EfficientNet-Lite0.

Prints a Markdown table. Weights are PyTorch's initialisation (no download), with the statistics of BatchNorm taken
from the images, which are noise, so that signals neither vanish nor explode on their way to the logits. Given are the
worst difference, its share of the largest logit, and the worst weight that fold_stem gives back differently.
"""

from __future__ import annotations

import argparse
import warnings

import torch
import torchvision
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgefilter import find_stem, fold_stem, replace_stem

SIZES = {
    "resnet18": 224, "vgg11": 224, "alexnet": 224, "densenet121": 224, "inception_v3": 299, "googlenet": 224,
    "mobilenet_v2": 224, "mobilenet_v3_small": 224, "efficientnet_b0": 224, "squeezenet1_1": 224,
    "shufflenet_v2_x0_5": 224, "mnasnet0_5": 224, "regnet_y_400mf": 224, "convnext_tiny": 224, "swin_t": 224,
    "vit_b_16": 224, "maxvit_t": 224, "efficientnet_lite0": 224,
}  # fmt: skip


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name != "efficientnet_lite0":
        return torchvision.models.get_model(name, weights=None).eval()
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-lite0").eval()


def settle(model: nn.Module, images: torch.Tensor) -> None:
    """Let BatchNorm take its statistics from the images, and logits depend on them."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train().momentum = 1.0
        if isinstance(module, nn.Linear) and not module.weight.any():
            module.reset_parameters()
    model(images)
    model.eval()


def differences(model: nn.Module, images: torch.Tensor) -> tuple[float, float, float]:
    """Return the worst logit difference, the same relative to the largest logit, and the worst folded weight's."""
    replaced, stem = replace_stem(model), find_stem(model)
    want, got = model(images), replaced(images)
    worst = float((got - want).abs().max())
    given, folded = (m.get_submodule(stem).weight for m in (model, fold_stem(replaced)))
    return worst, worst / float(want.abs().max()), float((folded - given).abs().max() / given.abs().max())


def row(name: str, count: int) -> str:
    model = make(name)
    conv = model.get_submodule(find_stem(model))
    stem = f"{conv.kernel_size[0]}x{conv.kernel_size[1]} / {conv.stride[0]}"
    images = torch.randn(count, 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(1))
    settle(model, images)
    cells = []
    for dtype in (torch.float32, torch.float64):
        cells += [f"{value:.1e}" for value in differences(model.to(dtype), images.to(dtype))]
    return f"| {name} | {stem} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2, help="images per network")
    parser.add_argument("names", nargs="*", default=list(SIZES), help="networks; all by default")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    kinds = [
        f"{dtype} {what}"
        for dtype in ("float32", "float64")
        for what in ("logits", "relative", "folded weights")
    ]
    print(f"| network | stem / stride | {' | '.join(kinds)} |")
    print("|---|---|---|---|---|---|---|---|")
    with torch.no_grad():
        for name in arguments.names:
            print(row(name, arguments.images), flush=True)


if __name__ == "__main__":
    main()
