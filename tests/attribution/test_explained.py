"""What is explained of the outputs: log odds by their laws, by a game by hand, by autograd and by the definition."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.attribution.explained import LogOdds, Weighted, explained_of
from small_models import enumerated, pictures, seeded

EXACT = {"rtol": 0, "atol": 1e-10}
SAME = {"rtol": 0, "atol": 0}
WAYS = [False, True, ("color", "order")]
FIELDS = ("output", "base", "pixel", "response", "effects", "interactions")
TARGETS = [0, 2]


class Net(nn.Module):
    """Convolutions, a pooling, and a last layer with something behind it."""

    def __init__(self, classes, end=None):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3)
        self.fc, self.end = nn.Linear(8, classes), end
        nn.init.normal_(self.fc.weight)
        nn.init.normal_(self.fc.bias)

    def forward(self, x):
        h = torch.relu(self.conv(torch.max_pool2d(torch.relu(self.stem(x)), 2)))
        output = 3 * self.fc(h.mean((2, 3)))
        return output if self.end is None else self.end(output)


def odds_of(output, targets):
    """The definition, by probabilities."""
    share = output.softmax(1).gather(1, torch.as_tensor(targets)[:, None])[:, 0]
    return (share / (1 - share)).log() + math.log(output.shape[1] - 1)


def attributed(model, calibrate, images, targets=TARGETS, against="odds"):
    return ef.EdgeFilterAttribution(model, calibrate=calibrate).explain(images, targets, against=against)


def assert_equal(found, wanted, rtol=0, atol=1e-10):
    for name in FIELDS:
        one, other = getattr(found, name), getattr(wanted, name)
        if one is None:
            assert other is None
        else:
            assert_close(one, other, rtol=rtol, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


# --- the number itself ----------------------------------------------------------------------------------------


def outputs(count=50, classes=6, size=3.0, seed=0):
    noise = torch.Generator().manual_seed(seed)
    return size * torch.randn(count, classes, generator=noise, dtype=torch.float64)


def picked(output, targets):
    return LogOdds(nn.functional.one_hot(torch.as_tensor(targets), output.shape[1]).bool())


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_the_value_is_its_definition(classes):
    output = outputs(classes=classes)
    targets = torch.arange(50) % classes
    assert_close(picked(output, targets).value(output), odds_of(output, targets), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_equal_outputs_give_exactly_nothing(classes):
    """Whatever their size, and in float32 too."""
    for dtype, size in itertools.product((torch.float64, torch.float32), (0.0, 1.7, -30.0, 1e4)):
        output = torch.full((7, classes), size, dtype=dtype)
        odds = picked(output, torch.arange(7) % classes)
        assert torch.count_nonzero(odds.value(output)) == 0
        weights, rest = odds.tangent(output)
        assert_close(weights.sum(1), torch.zeros(7, dtype=dtype), rtol=0, atol=1e-6)
        assert_close(
            rest, torch.zeros(7, dtype=dtype), rtol=0, atol=1e-12 if dtype is torch.float64 else 2e-6
        )


def test_the_sign_says_better_or_worse_than_chance():
    output = outputs()
    found = picked(output, [1] * 50).value(output)
    assert torch.equal(found > 0, output.softmax(1)[:, 1] > 1 / 6)
    assert 0 < int((found > 0).sum()) < 50


def test_the_tangent_is_that_of_autograd_and_meets_the_value():
    output = outputs().requires_grad_()
    odds = picked(output, torch.arange(50) % 6)
    (gradient,) = torch.autograd.grad(odds_of(output, torch.arange(50) % 6).sum(), output)
    (own,) = torch.autograd.grad(odds.value(output).sum(), output)
    weights, rest = odds.tangent(output.detach())
    assert_close(weights, gradient, **EXACT)
    assert_close(own, gradient, **EXACT)
    assert_close((weights * output.detach()).sum(1) + rest, odds.value(output.detach()), **EXACT)
    assert bool((rest >= -1e-12).all()), "a relative entropy is not negative"


def test_the_rest_is_the_relative_entropy_of_the_others():
    output = outputs(classes=5)
    others = output[:, 1:].softmax(1)
    uniform = torch.full_like(others, 1 / 4)
    entropy = nn.functional.kl_div(uniform.log(), others, reduction="none").sum(1)
    assert_close(picked(output, [0] * 50).tangent(output).rest, entropy, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_large_outputs_stay_finite(dtype):
    """1e4 is nothing that exp() could take."""
    output = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4]], dtype=dtype)
    odds = picked(output, [0, 0, 0])
    half = math.log(2)
    wanted = torch.tensor([1e4 + half, -2e4, 0.0], dtype=dtype)
    assert_close(odds.value(output), wanted, rtol=1e-2 if dtype is not torch.float32 else 1e-6, atol=1e-2)
    assert all(bool(part.isfinite().all()) for part in odds.tangent(output))


def test_outputs_that_are_endless_have_endless_odds():
    """A class that cannot be has no weight; nothing is NaN that is not."""
    never, one = -math.inf, picked(torch.zeros(1, 3), [0])
    for given, wanted in (
        ([never, 1.0, 2.0], never),
        ([1.0, never, never], math.inf),
        ([1.0, never, 1.0], math.log(2)),
    ):
        assert_close(one.value(torch.tensor([given])), torch.tensor([wanted]))


def test_a_batch_of_batches_is_valued_at_once():
    output = outputs(count=12, classes=4).reshape(3, 4, 4)
    odds, half = picked(output[0], [0, 1, 2, 3]), explained_of(output[0], [0, 1, 2, 3], "rest")
    for what in (odds, half):
        assert_close(what.value(output), torch.stack([what.value(one) for one in output]), **SAME)
    assert isinstance(half, Weighted)


# --- the scores -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calibrate", WAYS)
@pytest.mark.parametrize("classes", [3, 7])
def test_base_and_scores_add_up_to_the_log_odds(classes, calibrate):
    net, images = seeded(Net, classes), pictures()
    found = attributed(net, calibrate, images)
    with torch.no_grad():
        assert_close(found.output, odds_of(net(images), TARGETS), **EXACT)
    for name in ("color", "edge", "color_edge", "response", "pixel"):
        total = getattr(found, name).flatten(1).sum(1)
        assert_close(found.base + total, found.output, **EXACT)
    assert_close(found.delta, torch.zeros(2, dtype=torch.float64), **EXACT)
    assert found.against == ("odds", "odds")


@pytest.mark.parametrize("calibrate", WAYS)
def test_of_two_classes_they_are_the_difference(calibrate):
    """Exactly: the mean of the others, the other class and the odds are one question."""
    net, images = seeded(Net, 2), pictures()
    found = attributed(net, calibrate, images, [0, 1])
    for against in ("rest", [1, 0]):
        assert_equal(found, attributed(net, calibrate, images, [0, 1], against), atol=0)


@pytest.mark.parametrize("calibrate", WAYS)
def test_a_constant_on_all_outputs_changes_nothing(calibrate):
    """In the bias of the last layer or behind it: scores, base and value are the same."""
    images, net = pictures(), seeded(Net, 5)
    found = attributed(net, calibrate, images)
    shifted = seeded(Net, 5, lambda output: output + 7.5)
    assert_equal(attributed(shifted, calibrate, images), found)
    with torch.no_grad():
        net.fc.bias += 2.5
    assert_equal(attributed(net, calibrate, images), found)


@pytest.mark.parametrize(
    "end", [nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()], ids=lambda end: type(end).__name__
)
@pytest.mark.parametrize("calibrate", WAYS)
def test_a_softmax_at_the_end_changes_nothing(calibrate, end):
    """The logits in front of it are explained; of sigmoids, their softmax."""
    images, net = pictures(), seeded(Net, 5)
    found = attributed(seeded(Net, 5, end), calibrate, images)
    assert found.left_out
    assert_equal(found, attributed(net, calibrate, images), atol=0)


def test_colors_are_the_shapley_values_of_the_log_odds():
    """By hand, with the tail of split() and the definition; and by EdgeFilterShapley."""
    net, images = seeded(Net, 4), pictures()
    front, tail = ef.split(ef.replace_stem(net))
    with torch.no_grad():
        responses = front(images).unflatten(1, (3, -1))

    def value(some):
        kept = torch.zeros_like(responses)
        kept[:, list(some)] = responses[:, list(some)]
        with torch.no_grad():
            return odds_of(tail(kept.flatten(1, 2)), TARGETS)

    found = attributed(net, True, images)
    assert_close(found.color, enumerated(value, 3), **EXACT)
    assert_close(found.base, value(()), **EXACT)
    reference = ef.EdgeFilterShapley(net).explain(images, TARGETS, against="odds")
    assert_close(found.color, reference.values, **EXACT)
    assert reference.against == ("odds", "odds")
    linear = attributed(net, True, images, against="rest")
    assert not torch.allclose(found.color, linear.color, atol=1e-3), "the game of another number"


def test_groups_of_filters_are_exact_too():
    net, images = seeded(Net, 4), pictures()
    found = attributed(net, ("color", "order"), images)
    exact = ef.EdgeFilterShapley(net, "order").attribute(images, TARGETS, against="odds")
    assert_close(found.group("order").edge, exact, **EXACT)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "zplus"])
def test_relevance_starts_at_the_gradient(composite):
    """As the sum of the explanations of each output, weighed by the gradient of the definition."""
    net, images = seeded(Net, 4), pictures()
    leaf = net(images).detach().requires_grad_()
    (weights,) = torch.autograd.grad(odds_of(leaf, TARGETS).sum(), leaf)
    attr = ef.EdgeFilterAttribution(net, composite, calibrate=False)
    found = attr.attribute(images, TARGETS, against="odds", score="response")
    each = [attr.attribute(images, k, score="response") for k in range(4)]
    wanted = sum(one * weight[:, None, None, None, None] for one, weight in zip(each, weights.T, strict=True))
    assert_close(found, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("calibrate", WAYS)
def test_a_batch_gives_what_its_images_give(calibrate):
    net, images = seeded(Net, 5), pictures(3)
    whole = attributed(net, calibrate, images, [0, 2, 4])
    for place, target in enumerate((0, 2, 4)):
        assert_equal(whole[place], attributed(net, calibrate, images[place : place + 1], target))
    some = ef.EdgeFilterAttribution(net, calibrate=calibrate).explain(
        images, [0, 2, 4], against="odds", internal_batch_size=2
    )
    assert_equal(some, whole)


@pytest.mark.parametrize("calibrate", WAYS)
def test_float32_networks_with_large_logits_are_explained(calibrate):
    """Logits of 1e4 and more: the game and the path stay finite, and add up to rounding."""
    net, images = seeded(Net, 5), pictures()
    with torch.no_grad():
        net.fc.weight *= 1e5
    found = attributed(net.float(), calibrate, images.float())
    assert float(found.output.abs().min()) > 1e4
    for name in FIELDS[:4]:
        assert bool(getattr(found, name).isfinite().all())
    assert_close(found.base + found.total, found.output, rtol=1e-4, atol=0)


def test_equal_logits_have_no_scores():
    net = seeded(Net, 4)
    with torch.no_grad():
        net.fc.weight.copy_(net.fc.weight[:1].expand(4, -1))
        net.fc.bias.zero_()
    for calibrate in WAYS:
        found = attributed(net, calibrate, pictures())
        assert_close(found.output, torch.zeros(2, dtype=torch.float64), **EXACT)
        for name in FIELDS[1:4]:
            assert float(getattr(found, name).abs().max()) < 1e-10


@pytest.mark.filterwarnings("error:relevance should stay of the size of:UserWarning")
@pytest.mark.parametrize("against", ["odds", "rest", 1])
def test_a_tie_is_not_taken_for_relevance_that_overflows(against):
    """A small difference of two large outputs, each of units of its own."""
    net, images = seeded(Net, 2), pictures(1)
    with torch.no_grad():
        net.fc.bias.zero_()
        net.fc.weight.copy_(torch.tensor([[1.0] * 4 + [0.0] * 4, [0.0] * 4 + [1.0] * 4]))
        first, second = net(images)[0].tolist()
        net.fc.weight[1] *= first / second * (1 - 1e-6)
    tied = attributed(net, False, images, 0, against)
    assert float(tied.output) == pytest.approx(1e-6 * first)
    assert float(tied.response.abs().sum()) > 20 * float(tied.output)


# --- what goes with it ----------------------------------------------------------------------------------------


def test_captums_delta_and_the_dry_run_are_of_the_log_odds():
    net, images = seeded(Net, 4), pictures()
    attr = ef.EdgeFilterAttribution(net)
    scores, delta = attr.attribute(images, TARGETS, return_convergence_delta=True, against="odds")
    assert_close(delta, torch.zeros(2, dtype=torch.float64), **EXACT)
    assert scores.shape == images.shape
    report = ef.check(net, images, TARGETS, against="odds")
    found = attributed(net, False, images)
    assert report.explained == pytest.approx(float((found.output - found.base).sum()), abs=1e-10)
    assert report.conserved_share == pytest.approx(1, abs=1e-9)


def test_silencing_and_the_causal_check_measure_the_log_odds():
    net, images = seeded(Net, 4), pictures()
    attr = ef.EdgeFilterAttribution(net)
    found = attr.explain(images, TARGETS, against="odds")
    check = ef.causal_check(attr, images, found)
    again = ef.causal_check(attr, images, target=TARGETS, against="odds")
    assert_close(check.color, again.color, **SAME)
    assert_close(check.color, found.effects, **EXACT)
    without = attr.silence(images, TARGETS, against="odds", colors=["red"])
    assert_close(found.output - without, check.color[:, 0], **EXACT)


def test_it_is_kept_in_files_and_tables(tmp_path):
    found = attributed(seeded(Net, 4), True, pictures())
    found.save(tmp_path / "a.safetensors")
    again = ef.Explanation.load(tmp_path / "a.safetensors")
    assert again.against == ("odds", "odds")
    assert_equal(again, found, atol=0)
    assert found.to_dict()["against"] == ["odds", "odds"]
    assert found[1].against == ("odds",)
    with pytest.raises(
        ValueError, match="explanations must be of outputs, not of comparisons, to be subtracted"
    ):
        found - found


@pytest.mark.parametrize(
    ("classes", "advice"),
    [(1, "A single logit is its log odds already: use against=None"), (0, "Use against=None")],
)
def test_odds_take_two_classes_or_more(classes, advice):
    net = seeded(Net, 1) if classes else nn.Conv2d(3, 4, 3).double().eval()
    target = 0 if classes else (0, 1, 1)
    with pytest.raises(
        ValueError, match=rf"against='odds' must have an output of shape \(N, classes\) .*{advice}"
    ):
        ef.EdgeFilterAttribution(net).attribute(pictures(), target, against="odds")


def test_a_name_that_is_nearly_right_is_corrected():
    with pytest.raises(
        ValueError,
        match="against must be None, 'rest', 'odds', or another target; got 'odd'; did you mean 'odds'",
    ):
        attributed(seeded(Net, 3), True, pictures(), against="odd")


def test_the_model_is_left_as_it_was():
    net, images = seeded(Net, 4), pictures()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    attributed(net, ("color", "order"), images)
    with pytest.raises(IndexError):
        attributed(net, True, images, 9)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not images.requires_grad
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
