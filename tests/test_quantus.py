"""Quantus judges our scores: by its explain, by a metric's explain_func, and by filter through the split model."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import COMPOSITES, EpsilonPlus

import edgefilter as ef

quantus = pytest.importorskip("quantus", reason="needs the extra quantus")
eq = pytest.importorskip("edgefilter.quantus")

TARGETS = np.array([0, 2, 3])  # Quantus refuses a batch of scores that are all negative
SCORES = ["pixel", "color", "edge", "color_edge", "response"]
ZERO = {"perturb_baseline": 0.0, "disable_warnings": True}  # Quantus's "black" is the smallest value, not 0


@pytest.fixture
def images(generator):
    return torch.randn(3, 3, 12, 12, generator=generator).numpy()


@pytest.fixture
def model(small_net):
    """In float32: Quantus brings all it hands to a model to that."""
    return ef.replace_stem(small_net.float())


@pytest.fixture
def linear():
    """A model whose output is the sum of its input times weights: the truth of every score is known."""
    with torch.random.fork_rng():
        torch.manual_seed(20202)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.Flatten(), nn.Linear(4 * 10 * 10, 5, bias=False)
        )
    return ef.replace_stem(net.eval())


@pytest.fixture(autouse=True)
def _same_draws():
    """Quantus draws from the global generators."""
    np.random.seed(0)  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def ours(model, images, targets=TARGETS, score="pixel", **options):
    dtype = next(model.parameters()).dtype
    against = options.pop("against", None)
    found = ef.EdgeFilterAttribution(model, **options).attribute(
        torch.as_tensor(images).to(dtype), torch.as_tensor(targets), against=against, score=score
    )
    return (found.flatten(1, 2) if score in ("color_edge", "response") else found).numpy()


def natively(model, images, targets=TARGETS, **options):
    settings = {"reduce_axes": (), "method": "EdgeFilter", **options}  # without a method Quantus warns
    return quantus.explain(model, images, targets, xai_lib="zennit", attributor=eq.EdgeAttributor, **settings)


def flipped(model, features, scores, targets=TARGETS):
    """Take features (N, F, ...) away, best score (N, F) first, one at a time; a slow loop of our own."""
    curves = []
    for image, score, target in zip(features, scores, targets, strict=True):
        rest, curve = image.copy(), []
        for index in sorted(range(len(score)), key=lambda i: -score[i]):
            rest[index] = 0
            with torch.no_grad():
                curve.append(float(model(torch.from_numpy(rest)[None])[0, target]))
        curves.append(curve)
    return curves


def test_the_missing_extra_is_named():
    """Without Quantus, the module says what to install."""
    code = "import sys\nsys.modules['quantus'] = None\nimport edgefilter.quantus"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "ImportError: edgefilter.quantus must have Quantus" in run.stderr
    assert "pip install 'edgefilter[quantus]'" in run.stderr


# --- the explain_func ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    "options", [{}, {"composite": "zplus", "calibrate": False, "against": "rest"}, {"against": "odds"}]
)
def test_explain_gives_what_the_attribution_gives(model, images, score, options):
    """The same numbers as an array, from images in float64 too."""
    found = eq.explain(model, images.astype(np.float64), TARGETS, score=score, **options)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, ours(model, images, score=score, **options))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_explain_serves_models_of_every_dtype(model, images, dtype):
    """Images are brought to the model's numbers; an array comes back."""
    options = {"score": "color", "composite": "epsilon_plus"}
    found = eq.explain(model.to(dtype), images, TARGETS, **options)
    want = eq.explain(model.double(), images, TARGETS, **options)
    np.testing.assert_allclose(found, want, rtol=0, atol=0.1 if dtype is torch.bfloat16 else 1e-6)


def test_explain_sums_over_axes_as_quantus_does(model, images):
    """One map for each image, its axis kept."""
    found = eq.explain(model, images, TARGETS, reduce_axes=(1,))
    np.testing.assert_array_equal(found, ours(model, images).sum(1, keepdims=True))


@pytest.mark.parametrize("targets", [2, [2, 2, 2], np.array([2, 2, 2]), torch.tensor([2, 2, 2])])
def test_explain_takes_targets_of_every_kind(model, images, targets):
    """An array as from Quantus, or what a user has at hand."""
    np.testing.assert_array_equal(eq.explain(model, images, targets), ours(model, images, targets=[2, 2, 2]))


WRONG = {
    "no model": (lambda m, x, y: eq.explain(None, x, y), TypeError, "model must be an nn.Module; got NoneType"),
    "swapped": (lambda m, x, y: eq.explain(x, m, y), TypeError, "model must be an nn.Module; got ndarray"),
    "no images": (lambda m, x, y: eq.explain(m, None, y), TypeError, "inputs must be an array or a tensor of numbers, .*; got NoneType. Pass"),
    "a path": (lambda m, x, y: eq.explain(m, "a.jpg", y), TypeError, "inputs must be an array .*; got str"),
    "one image": (lambda m, x, y: eq.explain(m, x[0], y), ValueError, r"inputs must have shape .*\. Add a batch axis"),
    "NaN": (lambda m, x, y: eq.explain(m, x * np.nan, y), ValueError, "inputs must be finite; got NaN or infinity in image 0"),
    "no targets": (lambda m, x, y: eq.explain(m, x, None), TypeError, "targets must be whole numbers, one class for each image; got None. Pass"),
    "a name": (lambda m, x, y: eq.explain(m, x, "cat"), TypeError, "targets must be whole numbers, .*; got 'cat'"),
    "probabilities": (lambda m, x, y: eq.explain(m, x, y + 0.5), TypeError, "targets must be whole numbers"),
    "one-hot": (lambda m, x, y: eq.explain(m, x, np.eye(5)[y]), ValueError, r"targets must have shape \(N,\), .*argmax of one-hot"),
    "too many": (lambda m, x, y: eq.explain(m, x, [0, *y]), AssertionError, "target must be one, or one for each of the"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_explain_refuses_in_words(model, images, name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call(model, np.asarray(images), np.asarray(TARGETS))


def test_explain_keeps_no_model(small_net, images):
    """Randomisation tests make many copies: each can go."""
    model = ef.replace_stem(small_net)
    eq.explain(model, images, TARGETS, device="cpu", method="EdgeFilter")
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None


def test_explain_names_what_it_does_not_take(model, images):
    """A misspelt argument is not passed over, as Quantus's own explain does."""
    with pytest.raises(TypeError, match=r"got 'compsite'; did you mean 'composite'\?"):
        eq.explain(model, images, TARGETS, compsite="zplus")
    with pytest.raises(
        ValueError, match=r"score must be one of pixel, .*; got 'colour'; did you mean 'color'\?"
    ):
        eq.explain(model, images, TARGETS, score="colour")
    with pytest.raises(ValueError, match=r"one of color_edge, edge, response; got 'pixel'"):
        eq.filter_level(model, images, TARGETS, score="pixel")
    with pytest.raises(ValueError, match=r"must hold an edge-filter layer.*Call replace_stem\(model\) first"):
        eq.filter_level(ef.fold_stem(model), images, TARGETS)


@pytest.mark.parametrize("score", SCORES)
def test_a_model_without_an_edge_filter_layer_is_explained_as_it_is(model, images, score):
    found = eq.explain(ef.fold_stem(model), images, TARGETS, score=score)
    np.testing.assert_allclose(found, ours(model, images, score=score), rtol=0, atol=1e-6)


# --- quantus.explain -------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
def test_quantus_explains_with_our_attributor(model, images, score):
    """The native way gives the same numbers."""
    found = natively(model, images, attributor_kwargs={"score": score})
    np.testing.assert_array_equal(found, ours(model, images, score=score))


def test_quantus_sums_over_the_colors_by_default(model, images):
    """One map for each image, as from its other methods."""
    found = natively(model, images, reduce_axes=[1])
    assert found.shape == (3, 1, 12, 12)
    np.testing.assert_allclose(found, ours(model, images).sum(1, keepdims=True), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ef.composite_names())
def test_our_composites_go_by_a_name_of_ours(model, images, name):
    """Quantus takes a composite by the name that Zennit knows, with its options."""
    options = {"low": -3.0, "high": 3.0} if name.endswith("box") else {}
    composite = ef.get_composite(name, **options)
    found = natively(model, images, composite=f"edgefilter_{name}", composite_kwargs=options)
    np.testing.assert_array_equal(found, ours(model, images, composite=composite))


def test_zennits_composites_stay_its_own(model, images):
    """What others registered is not taken over: the name without a prefix is Zennit's."""
    assert COMPOSITES["epsilon_plus"] is EpsilonPlus
    found = natively(model, images, composite="epsilon_plus")
    np.testing.assert_array_equal(found, ours(model, images, composite=EpsilonPlus()))


def test_a_canonizer_leaves_the_model_as_it_is(small_net, images):
    """Quantus hands canonizers to the composite; the model is left as it is."""
    norm = nn.BatchNorm2d(6).eval()
    norm.running_var.fill_(4.0)
    model = ef.replace_stem(nn.Sequential(small_net[0], norm, *small_net[1:]).float().eval())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = natively(model, images, composite=EpsilonPlus, canonizer=SequentialMergeBatchNorm)
    assert np.isfinite(found).all()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any(module._backward_hooks for module in model.modules())


def test_the_attributor_explains_the_output_that_its_weights_choose(model, images):
    """Relevance starts at the value of the output, whatever the weight; a function of the output will do."""
    inputs, chosen = torch.from_numpy(images), torch.eye(5)[TARGETS]
    attributor = eq.EdgeAttributor(model, "zplus", lambda output: output * chosen, score="edge")
    with attributor as entered:
        assert entered is attributor
        output, found = attributor(inputs)
    torch.testing.assert_close(output, model(inputs), rtol=0, atol=0)
    np.testing.assert_array_equal(found.numpy(), ours(model, images, score="edge", composite="zplus"))
    np.testing.assert_array_equal(found, attributor(inputs, -7 * chosen)[1])


@pytest.mark.parametrize(
    "weights", [None, torch.ones(3, 5), torch.zeros(3, 5), torch.eye(5)[:2], torch.eye(3)]
)
def test_the_attributor_says_which_weights_it_takes(model, images, weights):
    """One output for each image."""
    attributor = eq.EdgeAttributor(model)
    with pytest.raises(ValueError, match=r"attr_output must have one weight .* Pass torch.eye\(classes\)"):
        attributor(torch.from_numpy(images), weights)
    with pytest.raises(ValueError, match=r"got 'colour'; did you mean 'color'\?"):
        eq.EdgeAttributor(model, score="colour")


# --- filters as features ---------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["color_edge", "edge", "response"])
def test_the_filter_level_is_the_same_model_seen_from_its_responses(model, images, score):
    """Same outputs, same scores, and the same again when explained anew from the responses."""
    level = eq.filter_level(model, images, TARGETS, score=score, composite="epsilon_gamma", calibrate=False)
    outputs = level.model(torch.from_numpy(level.x_batch))
    torch.testing.assert_close(outputs, model(torch.from_numpy(images)), rtol=0, atol=1e-6)
    want = ours(model, images, score=score, composite="epsilon_gamma", calibrate=False)
    assert level.a_batch.ndim == level.x_batch.ndim == 4
    np.testing.assert_array_equal(level.a_batch.reshape(want.shape), want)
    again = eq.explain(
        level.model,
        level.x_batch,
        level.y_batch,
        score="pixel" if score == "response" else "color",
        composite="epsilon_gamma",
        calibrate=False,
    )
    np.testing.assert_allclose(again, want, rtol=0, atol=1e-6)


def test_filters_lie_color_by_color_and_colors_below_each_other(model, images):
    """Channel c*K + k for single filters; for filters of all colors, channel k with color c in row c*H'."""
    responses = ef.split(model)[0](torch.from_numpy(images)).detach().numpy()
    single = eq.filter_level(model, images, TARGETS)
    joint = eq.filter_level(model, images, TARGETS, score="edge")
    np.testing.assert_array_equal(single.x_batch, responses)
    assert single.features_in_step == 12 * 12
    assert joint.x_batch.shape == (3, 9, 36, 12)
    assert joint.features_in_step == 3 * 12 * 12
    for color, k in [(0, 0), (1, 4), (2, 8)]:
        rows = slice(12 * color, 12 * color + 12)
        np.testing.assert_array_equal(joint.x_batch[:, k, rows], responses[:, 9 * color + k])


# --- metrics ---------------------------------------------------------------------------------------------


def test_pixel_flipping_of_colors_deletes_one_color_a_step(model, images):
    """Three steps, as our own loop takes them."""
    metric = quantus.PixelFlipping(features_in_step=12 * 12, **ZERO)
    found = metric(
        model,
        images,
        TARGETS,
        softmax=False,
        explain_func=eq.explain,
        explain_func_kwargs={"score": "color"},
    )
    want = flipped(model, images, ours(model, images, score="color"))
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


def test_pixel_flipping_of_pixels_deletes_the_best_first(model, images):
    """Each value of each pixel is a feature; here 48 of them go at a time."""
    metric = quantus.PixelFlipping(features_in_step=48, **ZERO)
    found = metric(model, images, TARGETS, eq.explain(model, images, TARGETS), softmax=False)
    order = ours(model, images).reshape(3, -1)
    flat = nn.Sequential(nn.Unflatten(1, (3, 12, 12)), model)
    want = np.array(flipped(flat, images.reshape(3, -1), order))[:, 47::48]
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("score", ["color_edge", "edge"])
def test_pixel_flipping_of_filters_deletes_one_filter_a_step(model, images, score):
    """As many steps as there are filters, as our own loop takes them."""
    level = eq.filter_level(model, images, TARGETS, score=score)
    metric = quantus.PixelFlipping(features_in_step=level.features_in_step, **ZERO)
    found = metric(**level._asdict(), softmax=False)
    want = flipped(level.model, level.x_batch, ours(model, images, score=score))
    assert np.shape(found) == (3, 27 if score == "color_edge" else 9)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


def test_scores_of_a_linear_model_are_what_deleting_takes_away(linear, images):
    """With the epsilon rule throughout, scores are inputs times weights: the correlation is 1 at every level."""
    options = {"explain_func": eq.explain, "explain_func_kwargs": {"composite": "epsilon"}, "softmax": False}
    metric = quantus.FaithfulnessCorrelation(
        nr_runs=10, subset_size=50, normalise=False, return_aggregate=False, **ZERO
    )
    level = eq.filter_level(linear, images, TARGETS, score="response", composite="epsilon")
    np.testing.assert_allclose(metric(linear, images, TARGETS, **options), 1, rtol=0, atol=1e-5)
    np.testing.assert_allclose(metric(**level._asdict(), softmax=False), 1, rtol=0, atol=1e-5)


def test_sparseness_is_the_gini_index_of_the_scores(model, images):
    """From its definition, for each image, over the absolute scores of all pixels."""
    found = quantus.Sparseness(disable_warnings=True)(
        model, images, TARGETS, explain_func=eq.explain, explain_func_kwargs={"reduce_axes": (1,)}
    )
    scores = np.abs(ours(model, images).sum(1).reshape(3, -1))
    differences = np.abs(scores[:, :, None] - scores[:, None]).mean((1, 2))
    want = differences / 2 / scores.mean(1)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("score", ["pixel", "color"])
def test_max_sensitivity_explains_images_nearby(model, images, score):
    """The relative change of the scores: small for a small disturbance, and larger for a large one."""
    found = [
        quantus.MaxSensitivity(nr_samples=3, lower_bound=bound, disable_warnings=True)(
            model,
            images,
            TARGETS,
            softmax=False,
            explain_func=eq.explain,
            explain_func_kwargs={"score": score},
        )
        for bound in (1e-5, 0.5)
    ]
    assert np.all(np.less(found[0], 0.05))
    assert np.all(np.greater(found[1], found[0]))


@pytest.mark.parametrize("order", ["bottom_up", "independent", "top_down"])
def test_randomisation_draws_the_mixing_anew_and_keeps_the_kernels(model, images, order):
    """MPRT explains each copy with its own weights."""
    bank, mixing, seen = model[0].filters.conv.weight, model[0].mixing.weight, []

    def spy(model, inputs, targets, **options):
        found = eq.explain(model, inputs, targets, **options)
        np.testing.assert_array_equal(found, ours(model, inputs, targets))
        assert torch.equal(model[0].filters.conv.weight, bank)
        seen.append(torch.equal(model[0].mixing.weight, mixing))
        return found

    metric = quantus.MPRT(layer_order=order, disable_warnings=True)
    scores = metric(model, images, TARGETS, softmax=False, explain_func=spy)
    assert set(seen) == {True, False}
    assert np.mean(scores["0.mixing"]) < 0.99
    if order == "independent":
        np.testing.assert_allclose(scores["0.filters.conv"], 1)


def test_efficient_randomisation_serves_us(model, images):
    """eMPRT measures how much more complex the scores become; it needs softmax and absolute scores."""
    metric = quantus.EfficientMPRT(abs=True, disable_warnings=True)
    found = metric(model, images, TARGETS, softmax=True, explain_func=eq.explain)
    assert np.shape(found) == (3,)
    assert np.isfinite(found).all()


def test_randomisation_works_on_filters_too(model, images):
    """The model behind the filters is drawn anew; its responses stay."""
    level = eq.filter_level(model, images, TARGETS)
    metric = quantus.MPRT(layer_order="bottom_up", disable_warnings=True)
    found = metric(
        **level._asdict(), softmax=False, explain_func=eq.explain, explain_func_kwargs={"score": "color"}
    )
    assert all(np.isfinite(value).all() for value in found.values())
    assert np.mean(list(found.values())[-1]) < 0.99


def test_quantus_itself_explains_again_with_our_attributor(model, images):
    """The native way inside a metric."""
    options = {
        "xai_lib": "zennit",
        "attributor": eq.EdgeAttributor,
        "attributor_kwargs": {"score": "color"},
        "reduce_axes": (),
        "method": "EdgeFilter",
    }
    settings = {"explain_func": quantus.explain, "explain_func_kwargs": options, "softmax": False}
    found = quantus.PixelFlipping(features_in_step=144, **ZERO)(model, images, TARGETS, **settings)
    want = flipped(model, images, ours(model, images, score="color"))
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


# --- what docs/howto/quantus.md says of Quantus itself ------------------------------------------------------

BROKEN = {
    "area of a curve": (
        lambda: quantus.PixelFlipping(features_in_step=144, return_auc_per_sample=True, **ZERO),
        *((AttributeError, "trapz") if not hasattr(np, "trapz") else (DeprecationWarning, "trapz")),
    ),
    "IROF": (lambda: quantus.IROF(disable_warnings=True), AssertionError, "same as the mask shape"),
    "ROAD": (
        lambda: quantus.ROAD(percentages=[50], disable_warnings=True),
        IndexError,
        "out of bounds",
    ),
    "NonSensitivity": (
        lambda: quantus.NonSensitivity(features_in_step=12, disable_warnings=True),
        ValueError,
        "broadcast together",
    ),
    "BatchSufficiency": (
        lambda: quantus.BatchSufficiency(disable_warnings=True),
        ValueError,
        "cannot reshape",
    ),
    "Continuity": (
        lambda: quantus.Continuity(
            nr_steps=2, return_nan_when_prediction_changes=True, disable_warnings=True
        ),
        AttributeError,
        "np.NaN",
    ),
    "EfficientMPRT": (
        lambda: quantus.EfficientMPRT(abs=True, disable_warnings=True),
        AssertionError,
        "non-negative values",
    ),
    "RandomLogit": (lambda: quantus.RandomLogit(disable_warnings=True), IndexError, "between 0 and 4"),
}


@pytest.mark.extended
@pytest.mark.parametrize("name", BROKEN)
def test_what_the_page_calls_broken_is(model, images, name):
    """So that a line of the page goes when Quantus mends it."""
    if name == "Continuity" and hasattr(np, "NaN"):
        pytest.skip("this NumPy still has np.NaN")
    metric, error, words = BROKEN[name]
    scores = eq.explain(model, images, TARGETS)
    with pytest.raises(error, match=words):
        metric()(model, images, TARGETS, scores, softmax=False, explain_func=eq.explain)


@pytest.mark.extended
def test_the_shift_of_the_first_layer_is_one_of_the_edge_filter_layer(model, images):
    """InputInvariance reads and writes the bias of the first module, as of a convolution."""
    scores = eq.explain(model, images, TARGETS)
    metric = quantus.InputInvariance(disable_warnings=True)
    result = metric(model, images, TARGETS, scores, softmax=False, explain_func=eq.explain)
    assert np.isfinite(result).all()


@pytest.mark.extended
def test_quantus_hands_float32_to_every_model(model, images):
    """Metrics and its own explain fail on a model of another kind; our explain does not."""
    metric = quantus.PixelFlipping(features_in_step=144, **ZERO)
    scores = eq.explain(model.double(), images, TARGETS)
    with pytest.raises(RuntimeError, match=r"double|Double|Float"):
        metric(model, images.astype(np.float64), TARGETS, scores, softmax=False)
    with pytest.raises(RuntimeError, match=r"double|Double|Float"):
        natively(model, images.astype(np.float64))


@pytest.mark.extended
def test_completeness_wants_another_sum(linear, images):
    """Scores that add up to the output do not add up to the output minus that of the darkest image."""
    scores = eq.explain(linear, images, TARGETS, composite="epsilon")
    with torch.no_grad():
        outputs = linear(torch.from_numpy(images))[range(3), TARGETS]
    np.testing.assert_allclose(scores.sum((1, 2, 3)), outputs, rtol=0, atol=1e-5)
    settings = {"normalise": False, "abs": False, "disable_warnings": True}
    assert not any(quantus.Completeness(**settings)(linear, images, TARGETS, scores, softmax=False))


@pytest.mark.extended
def test_evaluate_loses_all_results_when_a_metric_fails(model, images, capsys):
    """The page advises a loop."""
    metrics = {
        "Sparseness": quantus.Sparseness(disable_warnings=True),
        "ROAD": quantus.ROAD(percentages=[50], disable_warnings=True),
    }
    with pytest.raises(KeyError, match="call_kwargs_empty"):
        quantus.evaluate(metrics, {"EdgeFilter": eq.explain}, model, images, TARGETS, explain_func_kwargs={})


def test_scores_go_by_group_and_by_basis(model, images):
    """The same as the attribution gives, in both forms; a wrong name is named."""
    groups = {"warm": ["red", "green"], "cold": ["blue"]}
    for how, count in (({"colors": groups}, 2), ({"basis": "luma"}, 3)):
        expected = ef.EdgeFilterAttribution(model, **how).attribute(
            torch.from_numpy(images), TARGETS.tolist(), score="color"
        )
        found = eq.explain(model, images, TARGETS, score="color", **how)
        assert found.shape == (3, count)
        np.testing.assert_array_equal(found, expected.numpy())
        attributor = eq.EdgeAttributor(model, score="color", **how)
        np.testing.assert_allclose(
            attributor(torch.from_numpy(images), torch.eye(5)[TARGETS])[1], found, rtol=1e-6
        )
    with pytest.raises(TypeError, match="did you mean 'colors'"):
        eq.explain(model, images, TARGETS, colours=groups)
