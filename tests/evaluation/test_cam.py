"""Our maps in pytorch-grad-cam and torchcam: their pictures and their metrics take them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import edgefilter as ef
from edgefilter.evaluation.cam import EdgeFilterCAM, EdgeFilterExtractor


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 4, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64, 5),
    ]
    return nn.Sequential(*layers).eval()


@pytest.fixture
def images(generator):
    return torch.rand(3, 3, 32, 32, generator=generator)


def test_maps_are_those_of_the_explanation(net, images):
    explanation = ef.EdgeFilterAttribution(net).explain(images, [2, 0, 1])
    expected = explanation.map("absolute", smooth=2, normalize=True)
    maps = EdgeFilterCAM(net, kind="absolute", smooth=2)(images, [2, 0, 1])
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, expected.numpy(), atol=1e-6)
    with EdgeFilterExtractor(net, kind="absolute", smooth=2) as extractor:
        scores = net(images)
        (found,) = extractor([2, 0, 1], scores)
        (plain,) = extractor([2, 0, 1], normalized=False)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(plain, explanation.map("absolute", smooth=2))


def test_without_a_class_the_largest_output_is_explained(net, images):
    best = net(images).argmax(1).tolist()
    cam = EdgeFilterCAM(net)
    np.testing.assert_allclose(cam(input_tensor=images), cam(input_tensor=images, targets=best), atol=1e-6)
    with EdgeFilterExtractor(net) as extractor:
        net(images)
        torch.testing.assert_close(extractor()[0], extractor(best)[0])


def test_options_are_those_of_the_attribution(net, images):
    maps = EdgeFilterCAM(net, composite="zplus", calibrate=False)(images, [1, 1, 1])
    expected = ef.EdgeFilterAttribution(net, "zplus", calibrate=False).explain(images, 1).map(normalize=True)
    np.testing.assert_allclose(maps, expected.numpy(), atol=1e-6)


def test_the_model_is_as_it_was(net, images):
    """No hook stays: none at all in the one form, none after the block in the other."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with EdgeFilterCAM(net) as cam:
        cam(images, [1, 1, 1])
        assert not net._forward_pre_hooks
    with EdgeFilterExtractor(net) as extractor:
        net(images)
        extractor(1)
    assert not net._forward_pre_hooks
    assert not net._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net.training


def test_an_extractor_explains_the_images_that_the_model_was_given_last(net, images):
    with EdgeFilterExtractor(net) as extractor:
        net(images)
        first = extractor(1)[0]
        torch.testing.assert_close(extractor(1)[0], first)  # explaining runs the model, which is not noted
        net(images.flip(0))
        torch.testing.assert_close(extractor(1)[0], first.flip(0))


def test_wrong_calls_are_refused_in_words(net, images):
    with pytest.raises(ValueError, match="aug_smooth and eigen_smooth must be False"):
        EdgeFilterCAM(net)(images, None, aug_smooth=True)
    with pytest.raises(TypeError, match=r"targets must hold indices of outputs, .*; got function"):
        EdgeFilterCAM(net)(images, [lambda output: output.sum()] * 3)
    with EdgeFilterExtractor(net) as extractor:
        with pytest.raises(ValueError, match=r"model must have run before its maps are made"):
            extractor(1)
        net(images)
        with pytest.raises(ValueError, match="targets must be None"):
            extractor(targets=lambda output: output[1])


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")  # of ROAD, with NumPy 2
def test_pytorch_grad_cam_draws_and_measures_the_maps(net, images):
    pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.metrics.road import ROADCombined
    from pytorch_grad_cam.utils.image import show_cam_on_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget

    targets = [ClassifierOutputTarget(place) for place in (2, 0, 1)]
    cam = EdgeFilterCAM(net, smooth=2)
    maps = cam(input_tensor=images, targets=targets)
    np.testing.assert_allclose(maps, cam(images, [2, 0, 1]))
    picture = show_cam_on_image(images[0].permute(1, 2, 0).numpy(), maps[0], use_rgb=True)
    assert picture.shape == (32, 32, 3)
    assert picture.dtype == np.uint8
    softmax = [ClassifierOutputSoftmaxTarget(place) for place in (2, 0, 1)]
    scores = ROADCombined(percentiles=[20, 60])(images, maps, softmax, net)
    assert np.isfinite(scores).all()


def test_torchcam_measures_the_maps(net, images):
    metrics = pytest.importorskip("torchcam.metrics")
    with EdgeFilterExtractor(net, smooth=2) as extractor:
        drop = metrics.ClassificationMetric(extractor, partial(torch.softmax, dim=-1))
        drop.update(images)
        drop.update(images, 2)
        found = drop.summary()
        assert set(found) == {"avg_drop", "conf_increase"}
        maps = extractor(2)[0]
    with torch.no_grad():  # the same by hand, for the second of the two updates
        output, masked = (net(given).softmax(1)[:, 2] for given in (images, images * maps[:, None]))
    drop.reset()
    with EdgeFilterExtractor(net, smooth=2) as extractor:
        again = metrics.ClassificationMetric(extractor, partial(torch.softmax, dim=-1))
        again.update(images, 2)
    expected = float(((output - masked).clamp(min=0) / output).mean())
    assert again.summary()["avg_drop"] == pytest.approx(expected, abs=1e-5)
