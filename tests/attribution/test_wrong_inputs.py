"""What is no image and no target is refused in words: the argument, the rule, the value, and what to do."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import edgefilter as ef

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(2, 3, 8, 8, generator=GENERATOR)
LABELS = torch.tensor([1, 2])
PHOTO = Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8))
BROKEN = IMAGES.clone()
BROKEN[1, 0, 0, 0] = torch.nan


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)).eval()


NET = network()
ATTRIBUTION = ef.EdgeFilterAttribution(NET)
WAYS = {
    "explain": lambda inputs, target=1: ATTRIBUTION.explain(inputs, target),
    "attribute": lambda inputs, target=1: ATTRIBUTION.attribute(inputs, target),
    "silence": lambda inputs, target=1: ATTRIBUTION.silence(inputs, target),
    "causal_check": lambda inputs, target=1: ef.causal_check(ATTRIBUTION, inputs, target=target),
    "check": lambda inputs, target=1: ef.check(NET, inputs, target),
    "shapley": lambda inputs, target=1: ef.EdgeFilterShapley(NET).attribute(inputs, target),
    "shapley explain": lambda inputs, target=1: ef.EdgeFilterShapley(NET).explain(inputs, target),
    "layer": lambda inputs, target=1: ef.LayerEdgeFilterAttribution(NET).attribute(inputs, target),
}

NO_TENSOR = r"^inputs must be a torch.Tensor or a tuple of them, .*; got "
INPUTS = {
    "None": (None, TypeError, NO_TENSOR + r"None\. Pass the preprocessed images\.$"),
    "PIL": (PHOTO, TypeError, NO_TENSOR + r"a PIL image\. .*transform\(image\)\[None\]"),
    "array": (IMAGES.numpy(), TypeError, NO_TENSOR + r"a NumPy array of float32 and shape \(2, 3, 8, 8\)\. Pass torch.from_numpy\(array\)"),
    "bytes": (np.asarray(PHOTO), TypeError, NO_TENSOR + r"a NumPy array of uint8 and shape \(8, 8, 3\)\. .*permute\(2, 0, 1\)"),
    "gray bytes": (np.asarray(PHOTO)[..., 0], TypeError, NO_TENSOR + r".* shape \(8, 8\)\. Pass torch.from_numpy\(array\)\[None, None\] / 255"),
    "batch of bytes": (np.asarray(PHOTO)[None], TypeError, NO_TENSOR + r".* shape \(1, 8, 8, 3\)\. .*permute\(0, 3, 1, 2\)"),
    "path": ("photo.jpg", TypeError, NO_TENSOR + r"the path 'photo.jpg'\. Read the photo"),
    "Path": (Path("photo.jpg"), TypeError, NO_TENSOR + r"the path 'photo.jpg'\. Read the photo"),
    "list": ([IMAGES[0]], TypeError, NO_TENSOR + r"a list\. .*torch.stack\(images\)"),
    "model": (NET, TypeError, NO_TENSOR + r"the model Sequential\. The attribution has its model"),
    "number": (3, TypeError, NO_TENSOR + r"3\. The images come first"),
    "path in a tuple": (("a.jpg",), TypeError, NO_TENSOR + "the path"),
    "empty tuple": ((), ValueError, r"^inputs must hold at least one tensor; got an empty tuple\. Pass"),
    "no batch": (IMAGES[0], ValueError, r"^inputs must have shape \(batch, .*\); got \(3, 8, 8\)\. Add a batch axis with images\[None\]"),
    "uint8": (IMAGES.to(torch.uint8), TypeError, r"^inputs must be floating point; got torch.uint8\. Scale and normalise .* / 255"),
    "labels": (LABELS, TypeError, r"^inputs must be floating point; got torch.int64 of shape \(2,\), .*\. The images come first"),
    "half": (IMAGES.half(), ValueError, r"^inputs must be torch.float32 on cpu, as the model; got torch.float16 \(half precision\) on cpu\. Call inputs.to\(torch.float32\)"),
    "bfloat16": (IMAGES.bfloat16(), ValueError, r"got torch.bfloat16 \(half precision\) on cpu"),
    "double": (IMAGES.double(), ValueError, r"got torch.float64 on cpu\. Call inputs.to\(torch.float32\), or model.to\(torch.float64\)"),
    "device": (IMAGES.to("meta"), ValueError, r"must be torch.float32 on cpu, as the model; got torch.float32 on meta\. Call inputs.to\('cpu'\)"),
    "empty": (IMAGES[:0], ValueError, r"^inputs must hold at least one image; got shape \(0, 3, 8, 8\)\. Pass"),
    "NaN": (BROKEN, ValueError, r"^inputs must be finite; got NaN or infinity in image 1\. Look at"),
}  # fmt: skip
TARGETS = {
    "swapped": (IMAGES, TypeError, r"^target must hold whole numbers \(integers\); got a tensor of torch.float32 and shape \(2, 3, 8, 8\)\. The images come first"),
    "floats": (LABELS.float(), TypeError, r"^target must hold whole numbers .*float32 and shape \(2,\)\. Pass target.long\(\)"),
    "one-hot": (torch.eye(4)[LABELS], TypeError, r"^target must hold whole numbers .*shape \(2, 4\)\. .*argmax"),
    "(N, 1)": (LABELS[:, None], ValueError, r"^target must have shape \(N,\), one index per image; got \(2, 1\)\. Pass target.squeeze\(1\)"),
    "one-hot of integers": (torch.eye(4).long()[LABELS], ValueError, r"got \(2, 4\)\. Pass the argmax of one-hot labels, target.argmax\(1\)"),
    "name": ("cat", TypeError, r"^target must be an integer index, .*; got 'cat'\. Pass"),
    "path": (Path("a"), TypeError, r"^target must be an integer index, .*; got "),
    "too few": ([1, 2, 3], AssertionError, r"target must be one, or one for each of the 2 images; got 3\. Pass"),
    "too few in a tensor": (torch.tensor([1, 2, 3]), AssertionError, r"target must be one, or one for each of the 2 images; got 3\. Pass"),
    "too large": (4, IndexError, r"^target must be between 0 and 3; got 4\."),
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_batch_of_images_is_refused_in_words(way, name):
    inputs, error, message = INPUTS[name]
    with pytest.raises(error, match=message):
        WAYS[way](inputs)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_target_is_refused_in_words(way, name):
    target, error, message = TARGETS[name]
    with pytest.raises(error, match=message):
        WAYS[way](IMAGES, target)


@pytest.mark.parametrize("way", WAYS)
def test_targets_before_images_are_noticed(way):
    with pytest.raises(TypeError, match="The images come first"):
        WAYS[way](LABELS, IMAGES)


def test_captums_own_type_of_error_is_kept():
    """Captum raises an AssertionError for inputs that are no tensors; code that catches it goes on working."""
    with pytest.raises(AssertionError, match=r"must be a torch\.Tensor or a tuple"):
        ATTRIBUTION.attribute(IMAGES.numpy(), 1)


def test_a_model_in_half_precision_is_named_as_such():
    half = ef.EdgeFilterAttribution(copy.deepcopy(NET).half())
    with pytest.raises(ValueError, match=r"must be torch.float16 \(half precision\) on cpu, as the model; got torch.float32 on cpu"):  # fmt: skip
        half.explain(IMAGES, 1)


MODELS = {
    "attribution": (lambda model: ef.EdgeFilterAttribution(model), "model must be an nn.Module; got "),
    "shapley": (lambda model: ef.EdgeFilterShapley(model), "model must be an nn.Module; got "),
    "layer": (lambda model: ef.LayerEdgeFilterAttribution(model), "model must be an nn.Module; got "),
    "check": (lambda model: ef.check(model, IMAGES), "model must be an nn.Module; got "),
    "replace_stem": (lambda model: ef.replace_stem(model), "model must be an nn.Module; got "),
    "causal_check": (lambda model: ef.causal_check(model, IMAGES), "attribution must be an EdgeFilterAttribution; got "),
}  # fmt: skip


@pytest.mark.parametrize(
    "given", [None, IMAGES, "resnet18", NET.state_dict()], ids=lambda g: type(g).__name__
)
@pytest.mark.parametrize("name", MODELS)
def test_what_is_no_model_is_refused_in_words(name, given):
    make, message = MODELS[name]
    with pytest.raises(TypeError, match=message + type(given).__name__ + r"\. Pass"):
        make(given)


@pytest.mark.parametrize("given", [1, IMAGES, "cat"])
def test_causal_check_takes_an_explanation_in_its_third_place(given):
    with pytest.raises(
        TypeError, match=r"explanation must be an Explanation of these images, or None; got .*target="
    ):
        ef.causal_check(ATTRIBUTION, IMAGES, given)


def test_each_of_these_has_a_twin_that_works():
    for way in WAYS.values():
        way(IMAGES, LABELS)
        way(IMAGES, LABELS.numpy())
        way(IMAGES, [1, 2])
        for dtype in (torch.uint8, torch.int16):
            way(IMAGES, LABELS.to(dtype))
