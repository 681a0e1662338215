"""Zoom-CAM: against Captum, pytorch-grad-cam and slow loops; what it adds up to; and manners."""

import threading

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation, NoiseTunnel
from captum.metrics import sensitivity_max
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.methods import ZoomCAM
from small_models import assert_untouched, pictures, seeded, snapshot

EXACT = {"rtol": 0, "atol": 1e-12}


def convolutional(head="mean", *, bias=True):
    """Two convolutions with ReLU and pooling between; a head of averages, or a fully connected one."""
    ends = {
        "mean": lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4, bias=bias)],
        "full": lambda: [
            nn.Flatten(),
            nn.Linear(200, 6, bias=bias),
            nn.ReLU(),
            nn.Linear(6, 4, bias=bias),
        ],
    }
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, bias=bias),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1, bias=bias),
            nn.ReLU(),
            *ends[head](),
        )
    )


def by_captum(model, layer, images, target):
    """Return activation times gradient, summed, rectified and divided by the maximum."""
    products = LayerGradientXActivation(model, layer).attribute(images, target).detach()
    return normalized(products.sum(1, keepdim=True).relu())


def normalized(maps):
    """Divide each map by its maximum."""
    return maps / maps.amax((1, 2, 3), keepdim=True)


def slow_map(activation, gradient):
    """Return the formula's map of one image by loops."""
    channels, height, width = activation.shape
    found = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            found[i, j] = max(
                0.0, sum(float(activation[k, i, j] * gradient[k, i, j]) for k in range(channels))
            )
    return found / found.max() if found.max() > 0 else found


# --- numbers --------------------------------------------------------------------------------------------------


def test_a_map_done_by_hand():
    """Weights 1 and -1 for two channels: evidence is their difference, where it is positive."""

    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x):
            h = self.layer(x)
            return (h[:, :1] - h[:, 1:]).sum((1, 2, 3))

    image = torch.tensor([[[[3.0, 1.0], [0.0, 5.0]], [[1.0, 2.0], [0.0, 1.0]]]])
    assert_close(
        ZoomCAM(Sums(), "layer").attribute(image), torch.tensor([[[[0.5, 0.0], [0.0, 1.0]]]]), **EXACT
    )


@pytest.mark.parametrize("head", ["mean", "full"])
@pytest.mark.parametrize("place", [0, 1, 3, 4])
def test_one_layer_is_captums_product_rectified_and_normalized(head, place):
    """At every layer, with every head."""
    model, images = convolutional(head), pictures()
    target = torch.tensor([3, 1])
    found = ZoomCAM(model, model[place]).attribute(images, target, size=5 if place > 2 else None)
    assert_close(found, by_captum(model, model[place], images, target), **EXACT)


def test_it_is_the_maximum_of_resized_maps():
    """Written with loops, layer by layer."""
    model, images = convolutional("full"), pictures()
    maps = []
    for place in (1, 4):
        leaf = model[: place + 1](images).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(model[place + 1 :](leaf)[:, 2].sum(), leaf)
        small = torch.stack(
            [torch.from_numpy(slow_map(*pair)) for pair in zip(leaf.detach(), gradient, strict=True)]
        )
        maps.append(F.interpolate(small[:, None], (10, 10), mode="bilinear"))
    found, layers = ZoomCAM(model, [model[1], "4"]).attribute(images, 2, return_layers=True)
    assert_close(found, torch.maximum(*maps), **EXACT)
    for got, wanted in zip(layers, maps, strict=True):
        assert_close(got, wanted, **EXACT)
    assert_close(ZoomCAM(model, ["1", "4"]).attribute(images, 2, reduce="mean"), sum(maps) / 2, **EXACT)


def test_with_averages_and_a_linear_head_it_is_grad_cam():
    """Where gradients are the same at each pixel; with a fully connected head it is not."""
    for head, same in (("mean", True), ("full", False)):
        model, images = convolutional(head), pictures()
        other = LayerGradCam(model, model[4]).attribute(images, 1, relu_attributions=True).detach()
        difference = ZoomCAM(model, model[4]).attribute(images, 1, size=5) - normalized(other)
        assert (float(difference.abs().max()) < 1e-12) is same


def test_with_one_layer_it_is_hirescam():
    """Pytorch-grad-cam's maps, which are also divided by their range after they are resized."""
    library = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, images = convolutional("full").float(), pictures().float()
    with library.HiResCAM(model, [model[4]]) as other:
        wanted = torch.from_numpy(other(images, [ClassifierOutputTarget(2), ClassifierOutputTarget(0)]))
    found = ZoomCAM(model, model[4]).attribute(images, [2, 0])[:, 0]
    low, high = found.amin((1, 2), keepdim=True), found.amax((1, 2), keepdim=True)
    assert_close((found - low) / (high - low), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", ["mean", "full"])
def test_without_biases_the_terms_of_every_layer_add_up_to_the_output(head):
    """Convolutions, ReLUs, pooling and fully connected layers."""
    model, images = convolutional(head, bias=False), pictures()
    every = ZoomCAM(model, list(model.children())).terms(images, 3)
    assert len(every) == len(model)
    for terms in every:
        assert_close(terms.flatten(1).sum(1), model(images)[:, 3].detach(), **EXACT)


def test_with_biases_they_do_not():
    """The check above can fail."""
    model, images = convolutional("full"), pictures()
    terms = ZoomCAM(model, "0").terms(images, 3)
    assert float((terms.flatten(1).sum(1) - model(images)[:, 3].detach()).abs().max()) > 1e-3


def test_maps_are_in_the_unit_interval_and_more_layers_never_lower_a_pixel():
    """With the maximum; at the layer's own size the largest value is 1."""
    model, images = convolutional("full"), pictures(4)
    one, two = (ZoomCAM(model, layers).attribute(images, 0) for layers in (["4"], ["4", "1"]))
    assert bool((two >= one).all())
    assert float(two.min()) >= 0
    assert_close(two.amax((1, 2, 3)), torch.ones(4).double(), **EXACT)


def test_nothing_positive_is_zero_and_never_nan():
    """A constant scorer, an output that a layer has no part in, and evidence against the class alone."""
    model, images = convolutional(), pictures()
    layers = [model[1], model[4]]

    def constant(x):
        return model(x).detach()[:, 0] * 0 + 3

    def elsewhere(x):
        model(x)
        return x.sum((1, 2, 3))

    def against(x):
        return -model[:5](x).sum((1, 2, 3))

    for function in (constant, elsewhere):
        assert not ZoomCAM(function, layers).attribute(images).any()
    assert not ZoomCAM(against, [model[4]]).attribute(images).any()
    half = torch.stack([images[0], torch.zeros_like(images[0])])
    unbiased = convolutional(bias=False)
    maps = ZoomCAM(unbiased, "4").attribute(half, 1, size=5)
    assert [float(m.max()) for m in maps] == [1, 0]


def test_the_maps_follow_the_weights_above_the_first_layer():
    """The sanity check by randomization: on the pixels of the digits nothing is left of the map."""
    from scipy.stats import spearmanr
    from sklearn.datasets import load_digits

    data = torch.from_numpy(load_digits().images[:20]).float()[:, None] / 16
    images = F.pad(F.interpolate(data, (20, 20), mode="bilinear"), (4, 4, 4, 4))
    network, randomized = ef.models.load("digits"), ef.models.load("digits")
    layers, target = ["stem.signs", "body.2", "body.5", "body.9", "body.12"], network(images).argmax(1)
    before = ZoomCAM(network, layers).attribute(images, target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in [*randomized.body.modules(), randomized.fc]:
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    after = ZoomCAM(randomized, layers).attribute(images, target)
    kept = [
        spearmanr(one[ink], other[ink]).statistic
        for one, other, ink in zip(before, after, images > 0.1, strict=True)
    ]
    assert abs(np.mean(kept)) < 0.25
    assert (
        np.mean([spearmanr(m[k], m[k]).statistic for m, k in zip(before, images > 0.1, strict=True)]) > 0.99
    )


# --- at the bank ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["replaced", "convolution", "bank"])
def test_the_terms_at_a_bank_become_scores(kind):
    """By color and filter; of a network without biases they add up to its output."""
    torch.manual_seed(0)
    tail = [nn.ReLU(), nn.Flatten()]
    if kind == "bank":
        stem = ef.EdgeFilterBank2d("sobel", 3)
        model = nn.Sequential(stem, *tail, nn.Linear(6 * 64, 4, bias=False)).double().eval()
        layer, path = model[0], "0"
    else:
        stem = (
            nn.Conv2d(3, 5, 3, bias=False)
            if kind == "replaced"
            else ef.EdgeFilterConv2d(3, 5, "sobel", bias=False)
        )
        model = nn.Sequential(stem, *tail, nn.Linear(5 * 64, 4, bias=False)).double().eval()
        model = ef.replace_stem(model) if kind == "replaced" else model
        layer, path = model[0], "0.filters"
    images = pictures()
    terms = ZoomCAM(model, path).terms(images, 2)
    explanation = ef.Explanation.from_responses(terms, layer, images, target=2)
    logit = model(images)[:, 2].detach()
    assert explanation.color.shape == (2, 3)
    for score in (explanation.color, explanation.edge, explanation.pixel):
        assert_close(score.flatten(1).sum(1), logit, rtol=0, atol=1e-10)
    wanted = LayerGradientXActivation(model, model.get_submodule(path)).attribute(images, 2)
    assert_close(terms, wanted.detach(), **EXACT)


# --- layers of all kinds --------------------------------------------------------------------------------------


def test_what_is_overwritten_behind_a_layer_is_seen_as_it_was():
    """The convolution's activation before it is squashed in place, and the gradients are right."""
    model, images = convolutional("full"), pictures()
    model[1] = nn.SiLU()
    wanted = ZoomCAM(model, ["0", "1"]).terms(images, 1)
    model[1].inplace = True
    for got, want in zip(ZoomCAM(model, ["0", "1"]).terms(images, 1), wanted, strict=True):
        assert_close(got, want, **EXACT)
    assert not torch.allclose(*wanted)


class Shared(nn.Module):
    """One ReLU for two layers, and a layer that returns a tuple."""

    def __init__(self, several=False):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU()
        self.pair = Pair(several)

    def forward(self, x):
        h = self.relu(self.b(self.relu(self.a(x))))
        return self.pair(h)[0].mean((2, 3))


class Pair(nn.Module):
    """A tensor and a note, or two tensors."""

    def __init__(self, several):
        super().__init__()
        self.several = several

    def forward(self, x):
        return x * 2, (x if self.several else "note")


def test_each_run_of_a_shared_layer_is_a_map():
    """As if it were two layers; terms of such a layer are refused by its name."""
    model, images = seeded(Shared), pictures()
    found = ZoomCAM(model, model.relu).attribute(images, 1)

    class Unrolled(nn.Module):
        def __init__(self):
            super().__init__()
            self.m, self.first, self.second = model, nn.ReLU(), nn.ReLU()

        def forward(self, x):
            return self.m.pair(self.second(self.m.b(self.first(self.m.a(x)))))[0].mean((2, 3))

    assert_close(found, ZoomCAM(Unrolled(), ["first", "second"]).attribute(images, 1), **EXACT)
    with pytest.raises(ValueError, match=r"layer 'relu' must run once .* got several runs"):
        ZoomCAM(model, model.relu).terms(images, 1)


def test_a_layer_that_returns_one_tensor_among_other_things():
    """Is taken for that tensor; of two tensors none is guessed."""
    images = pictures()
    model = seeded(Shared)
    terms = ZoomCAM(model, "pair").terms(images, 1)
    assert_close(terms.flatten(1).sum(1), model(images)[:, 1].detach(), **EXACT)
    with pytest.raises(ValueError, match="layer 'pair' must return one tensor; got 2 tensors"):
        ZoomCAM(seeded(Shared, several=True), "pair").attribute(images, 1)


def test_a_frozen_backbone_whose_features_are_detached():
    """Gradients at a layer need none before it."""
    model, images = convolutional("full").requires_grad_(False), pictures()

    def detached(x):
        return model[4:](model[:4](x).detach())

    assert_close(
        ZoomCAM(detached, model[4]).attribute(images, 1), ZoomCAM(model, "4").attribute(images, 1), **EXACT
    )


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        ([], ValueError, "layers must name a layer or more; got none"),
        ("5x", KeyError, "unknown layer '5x'"),
        (["1", 4], TypeError, "layers must be modules or their paths; got int"),
        (["1", "1"], ValueError, "layers must be different ones; got '1' twice"),
    ],
)
def test_wrong_layers_are_refused_at_once(layers, error, words):
    """Before anything runs."""
    with pytest.raises(error, match=words):
        ZoomCAM(convolutional(), layers)


def test_layers_that_cannot_be_mapped_are_named():
    """Those of another model, fully connected ones, and those without gradients."""
    model, images = convolutional("full"), pictures()
    with pytest.raises(ValueError, match=r"layers must run .* got 'ReLU \(0\)', which did not"):
        ZoomCAM(model, nn.ReLU()).attribute(images, 1)
    with pytest.raises(
        ValueError, match=r"layer '6' must return a tensor of shape \(N, C, H, W\); got \(2, 6\)"
    ):
        ZoomCAM(model, "6").attribute(images, 1)
    with pytest.raises(
        ValueError, match=r"layers must run with gradients; got 'ReLU \(0\)' under torch.no_grad"
    ):
        ZoomCAM(torch.no_grad()(lambda x: model(x)), model[4]).attribute(images, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduce": "maxx"}, "reduce must be one of max, mean; got 'maxx'; did you mean 'max'?"),
        ({"interpolate": "bicubic"}, "interpolate must be one of bilinear, .*got 'bicubic'"),
        ({"size": 0}, "size must be an integer >= 1"),
    ],
)
def test_wrong_options_are_refused(options, words):
    """In the house's words."""
    with pytest.raises(ValueError, match=words):
        ZoomCAM(convolutional(), "4").attribute(pictures(), 1, **options)


# --- Captum's habits ------------------------------------------------------------------------------------------


def test_tuples_targets_and_batches():
    """A tuple gives a tuple; all forms of a target; each image alone as in its batch."""
    model, images = convolutional("full"), pictures(3)
    cam = ZoomCAM(model, ["1", "4"])
    wanted = cam.attribute(images, torch.tensor([2, 0, 1]))
    (found,) = cam.attribute((images,), [2, 0, 1])
    assert_close(found, wanted, **EXACT)
    assert_close(cam.attribute(images, np.array([2, 0, 1])), wanted, **EXACT)
    for place, target in enumerate([2, (0,), torch.tensor(1)]):
        assert_close(cam.attribute(images[place : place + 1], target), wanted[place : place + 1], **EXACT)
    with pytest.raises(AssertionError, match="target must be given"):
        cam.attribute(images)
    alone = ZoomCAM(lambda x: model(x)[:, 1], model[4])
    assert_close(alone.attribute(images), ZoomCAM(model, "4").attribute(images, 1), **EXACT)
    total = ZoomCAM(lambda x: model(x)[:, 1].sum(), model[4])
    assert_close(total.attribute(images[:1]), alone.attribute(images[:1]), **EXACT)
    assert cam.multiplies_by_inputs
    assert not cam.has_convergence_delta()
    with pytest.raises(NotImplementedError):
        cam.attribute_future()


def test_further_arguments_reach_the_model():
    """Whatever they are."""
    model, images = convolutional("full"), pictures()
    scaled = ZoomCAM(lambda x, factor: model(x * factor), model[4])
    assert_close(scaled.attribute(images, 1, 2.0), ZoomCAM(model, "4").attribute(images * 2, 1), **EXACT)


def test_a_noise_tunnel_averages_maps():
    """Those of the images that it makes."""
    model, images = convolutional("full"), pictures()
    seen = []

    def noting(x):
        seen.append(x.detach())
        return model(x)

    found = NoiseTunnel(ZoomCAM(noting, [model[1], model[4]])).attribute(images, target=[1, 2], nt_samples=4)
    (noisy,) = seen
    maps = ZoomCAM(model, ["1", "4"]).attribute(noisy, [1] * 4 + [2] * 4)
    assert_close(found, maps.unflatten(0, (2, 4)).mean(1), rtol=0, atol=1e-10)
    (found,) = NoiseTunnel(ZoomCAM(model, ["1", "4"])).attribute(
        (images,), target=[1, 2], nt_samples_batch_size=1
    )
    assert found.shape == (2, 1, 10, 10)


def test_captums_sensitivity_takes_it():
    """It passes tuples and expands targets."""
    model, images = convolutional("full"), pictures()
    found = sensitivity_max(ZoomCAM(model, ["1", "4"]).attribute, images, target=[1, 2], n_perturb_samples=2)
    assert found.shape == (2,)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_results_have_the_inputs_dtype_and_no_graph(dtype):
    """Also without gradients and in inference mode."""
    model, images = convolutional("full").to(dtype), pictures().to(dtype)
    cam = ZoomCAM(model, ["1", "4"])
    wanted = cam.attribute(images, 1)
    assert wanted.dtype == dtype
    assert not wanted.requires_grad
    with torch.no_grad():
        assert_close(cam.attribute(images, 1), wanted, rtol=0, atol=0)
    with torch.inference_mode():
        assert_close(cam.attribute(images.clone(), 1), wanted, rtol=0, atol=0)


def test_the_model_is_as_it_was():
    """After a call, and after one that raises behind the layers."""
    model, images = convolutional("full"), pictures().requires_grad_()
    model(images).sum().backward()
    before, drawn = snapshot(model, images), torch.get_rng_state()
    ZoomCAM(model, ["1", "4"]).attribute(images, 1)
    with pytest.raises(IndexError):
        ZoomCAM(model, ["1", "4"]).attribute(images, 99)

    def breaks(x):
        model(x)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        ZoomCAM(breaks, [model[1]]).attribute(images, 1)
    assert_untouched(before, snapshot(model, images))
    assert torch.equal(drawn, torch.get_rng_state())


def test_several_threads_at_once():
    """Each sees its own run."""
    model, images = convolutional("full"), pictures(4)
    cam = ZoomCAM(model, ["1", "4"])
    wanted = [cam.attribute(images[i : i + 1], 1) for i in range(4)]
    found = {}

    def work(i):
        for _ in range(5):
            found[i] = cam.attribute(images[i : i + 1], 1)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        assert_close(found[i], wanted[i], **EXACT)
