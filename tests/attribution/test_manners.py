"""Laws and manners of the default and of relevance alone, on models of many kinds."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from zennit.composites import EpsilonPlus

import edgefilter as ef
from small_models import assert_untouched, pictures, seeded, snapshot

CALIBRATIONS = {"calibrated": True, "orders": ("color", "order"), "relevance": False}
each = pytest.mark.parametrize("calibrate", CALIBRATIONS.values(), ids=CALIBRATIONS)
played = pytest.mark.parametrize("calibrate", [True, ("color", "order")], ids=["calibrated", "orders"])
SCORES = ("pixel", "color", "edge", "color_edge", "response")


class Plain(nn.Module):
    """A stem, something behind it, another convolution, a head."""

    def __init__(self, channels=3, before=None, behind=F.relu, end=None, outputs=4):
        super().__init__()
        self.stem = nn.Conv2d(channels, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 6, 3)
        self.head = nn.Linear(6, outputs)
        self.before, self.behind, self.end = before, behind, end

    def forward(self, x):
        x = x if self.before is None else self.before(x)
        h = F.relu(self.conv(self.behind(self.stem(x)))).mean((2, 3))
        h = self.head(h)
        return h if self.end is None else self.end(h)


class Gray(nn.Module):
    """Turns colors to gray in front of the stem."""

    def __init__(self):
        super().__init__()
        self.net = Plain(1)
        self.register_buffer("weights", torch.tensor([0.3, 0.6, 0.1])[None, :, None, None])

    def forward(self, x):
        return self.net((x * self.weights).sum(1, keepdim=True))


class Beside(nn.Module):
    """Two stems of different size side by side."""

    def __init__(self):
        super().__init__()
        self.small, self.large = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 5, padding=2)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        h = torch.cat([self.small(x), self.large(x)], 1)
        return self.head(F.relu(h).mean((2, 3)))


def scaled_in_place(x):
    return x.mul_(0.5).add_(0.1)


def relu_in_place(h):
    return F.relu(h, inplace=True)


def added_in_place(h):
    h += 0.25
    return h.clamp_(min=0)


MODELS = {
    "plain": (Plain, {}),
    "changes its input": (Plain, {"before": scaled_in_place}),
    "normalizes": (Plain, {"before": lambda x: (x - 0.4) / 0.2}),
    "ReLU in place": (Plain, {"behind": relu_in_place}),
    "sum in place": (Plain, {"behind": added_in_place}),
    "sigmoid": (Plain, {"end": torch.sigmoid}),
    "softmax": (Plain, {"end": lambda h: h.softmax(1)}),
    "log-softmax": (Plain, {"end": lambda h: F.log_softmax(h, 1)}),
    "channels last": (Plain, {"before": lambda x: x.permute(0, 3, 1, 2)}),
    "gray inside": (Gray, {}),
    "gray": (Plain, {"channels": 1}),
    "seven channels": (Plain, {"channels": 7}),
    "side by side": (Beside, {}),
    "dictionary": (Plain, {"end": lambda h: {"logits": h}["logits"]}),
}
each_model = pytest.mark.parametrize("kind", MODELS)


def made(kind, dtype=torch.float64):
    """Return a model and two images for it."""
    build, options = MODELS[kind]
    model = seeded(build, **options).to(dtype)
    images = pictures(2, options.get("channels", 3), 8).to(dtype)
    return model, images.permute(0, 2, 3, 1).contiguous() if kind == "channels last" else images


def attributed(model, calibrate, composite=None, **options):
    return ef.EdgeFilterAttribution(model, composite, calibrate=calibrate, **options)


# Law 3


@each
@each_model
@pytest.mark.parametrize("against", [None, "rest", "odds", 3])
def test_scores_share_one_total_and_add_up_with_the_base(kind, calibrate, against):
    model, images = made(kind)
    attr = attributed(model, calibrate)
    explanation = attr.explain(images, [0, 2], against=against)
    scale = 1 + float(explanation.response.abs().sum())
    for score in SCORES:
        values = attr.attribute(images, [0, 2], against=against, score=score)
        total = explanation.base + values.flatten(1).sum(1)
        assert_close(total, explanation.output, rtol=0, atol=1e-9 * scale)
        assert_close(values, attr.attribute(images, [0, 2], against=against, score=score), rtol=0, atol=0)


@played
@each_model
def test_the_base_is_the_output_without_any_color(kind, calibrate):
    """As measured by silencing all of them, and colors alone by the formula of Shapley over orders of coming in."""
    model, images = made(kind)
    attr = attributed(model, calibrate)
    explanation = attr.explain(images, [0, 2])
    names = list(explanation.colors)
    assert_close(explanation.base, attr.silence(images, [0, 2], colors=names), rtol=0, atol=1e-10)
    if len(names) == 3:
        first = names[0]
        found = sum(
            weight
            * (
                attr.silence(images, [0, 2], colors=gone)
                - attr.silence(images, [0, 2], colors=[*gone, first])
            )
            for gone, weight in (([], 1 / 3), (names[1:2], 1 / 6), (names[2:], 1 / 6), (names[1:], 1 / 3))
        )
        assert_close(explanation.color[:, 0], found, rtol=0, atol=1e-10)


# Law 4


@each
@each_model
def test_all_is_left_as_it_was(kind, calibrate):
    model, images = made(kind)
    images.requires_grad_()
    (model(images.clone()).sum() if kind != "softmax" else model(images.clone())[:, 0].sum()).backward()
    before = snapshot(model, images)
    attributed(model, calibrate).explain(images, 1)
    assert_untouched(before, snapshot(model, images))


class Tired(Plain):
    """Fails in a later run than the first."""

    def __init__(self):
        super().__init__()
        self.runs = [0, 10**9]

    def forward(self, x):
        h = F.relu(self.stem(x))
        self.runs[0] += 1
        if self.runs[0] > self.runs[1]:
            raise ArithmeticError("on purpose")
        return self.head(F.relu(self.conv(h)).mean((2, 3)))


@played
@pytest.mark.parametrize("batch", [None, 1])
def test_a_failure_in_the_middle_of_the_games_leaves_all_as_it_was(calibrate, batch):
    """In each of the runs in turn; the next call gives what it gave before."""
    model, images = seeded(Tired), pictures(2, 3, 8)
    attr = attributed(model, calibrate)
    expected = attr.attribute(images, 1, internal_batch_size=batch)
    runs, before = model.runs[0], snapshot(model, images)
    assert runs > 3
    for last in range(1, runs):
        model.runs[:] = 0, last
        with pytest.raises(ArithmeticError, match="on purpose"):
            attr.attribute(images, 1, internal_batch_size=batch)
        model.runs[:] = 0, 10**9
        assert_untouched(before, snapshot(model, images))
    assert torch.equal(attr.attribute(images, 1, internal_batch_size=batch), expected)


@each
def test_threads_give_what_one_gives(calibrate):
    """Four at once on one model, one of which fails; the caller's gradient modes stay as they were."""
    model, images = seeded(Plain), pictures(2, 3, 8)
    attr = attributed(model, calibrate)
    expected = [attr.explain(images, target).response for target in range(4)]
    before, start = snapshot(model, images), threading.Barrier(4)

    def work(target):
        start.wait()
        if target == 3:
            with pytest.raises(IndexError):
                attr.explain(images, 99)
        with torch.set_grad_enabled(target % 2 == 0):
            found = [attr.explain(images, target).response for _ in range(3)]
            assert torch.is_grad_enabled() == (target % 2 == 0)
        return found

    with ThreadPoolExecutor(4) as pool:
        for target, found in enumerate(pool.map(work, range(4))):
            assert all(torch.equal(response, expected[target]) for response in found)
    assert_untouched(before, snapshot(model, images))


# Law 5


@each
@each_model
def test_a_batch_gives_what_its_samples_give(kind, calibrate):
    """In one call, by one image at a time, and one by one, whatever was explained before."""
    model, images = made(kind)
    attr = attributed(model, calibrate)
    batch = attr.explain(images, [3, 1], against=[0, 2])
    small = attr.explain(images, [3, 1], against=[0, 2], internal_batch_size=1)
    for i, (target, other) in enumerate(((3, 0), (1, 2))):
        alone = attr.explain(images[i : i + 1], target, against=other)
        for name in ("response", "output", "base", "effects", "errors", "interactions"):
            one = getattr(alone, name)
            if one is None:
                assert getattr(batch, name) is None
                continue
            assert_close(getattr(batch, name)[i], one[0], rtol=0, atol=1e-10)
            assert_close(getattr(small, name)[i], one[0], rtol=0, atol=1e-10)


# Law 6


class Deep(nn.Module):
    """Three branches, one for each color; a head that reads some of them only, after all."""

    def __init__(self, read):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.join, self.head = nn.Conv2d(6, 6, 1), nn.Linear(6, 4)
        with torch.no_grad():
            for branch in range(3):
                self.stem.weight[2 * branch : 2 * branch + 2, [c for c in range(3) if c != branch]] = 0
                if branch not in read:
                    self.join.weight[:, 2 * branch : 2 * branch + 2] = 0

    def forward(self, x):
        h = F.gelu(self.conv(F.relu(self.stem(x))))
        return self.head(F.max_pool2d(F.relu(self.join(h)), 2).mean((2, 3)))


@each
@pytest.mark.parametrize("read", [[], [1], [0, 2]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("count", [1, 5])
def test_colors_that_a_deep_layer_drops_get_exactly_nothing(dtype, count, read, calibrate):
    """Also in single precision, where runs of one model differ by rounding, and in batches."""
    model, images = seeded(Deep, read).to(dtype), pictures(count, 3, 20).to(dtype)
    for against in (None, "rest", "odds"):
        explanation = attributed(model, calibrate).explain(images, 1, against=against)
        dropped = [color for color in range(3) if color not in read]
        parts = [explanation.color, explanation.response, explanation.pixel]
        parts += (
            [] if calibrate is False else [explanation.effects, explanation.errors, explanation.interactions]
        )
        for part in parts:
            assert torch.count_nonzero(part[:, dropped]) == 0
        assert torch.count_nonzero(explanation.color[:, read]) == count * len(read)
        if calibrate is not False:
            total = explanation.base + explanation.total
            assert_close(total, explanation.output, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-5)


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_filters_that_are_not_mixed_in_get_exactly_nothing(dtype, calibrate):
    """Whatever the sign of the others; a color whose weights are all negative as well."""
    model = ef.replace_stem(seeded(Plain))
    dead = [0, 4, 7]
    with torch.no_grad():
        weight = model.stem.mixing.weight.unflatten(1, (3, 9)).clone()
        weight[:, 1] = -weight[:, 1].abs()
        weight[:, :, dead] = 0
        model.stem.mixing.weight.copy_(weight.flatten(1, 2))
    images = pictures(3, 3, 9).abs().to(dtype)
    explanation = attributed(model.to(dtype), calibrate).explain(images, [0, 1, 2])
    assert torch.count_nonzero(explanation.response[:, :, dead]) == 0
    assert torch.count_nonzero(explanation.edge) == 3 * 6


@each
def test_a_constant_is_base_and_a_factor_is_a_factor(calibrate):
    model, images = seeded(Plain), pictures(2, 3, 8)
    first = attributed(model, calibrate).explain(images, 1)
    with torch.no_grad():
        model.head.bias += 7.0
    second = attributed(model, calibrate).explain(images, 1)
    with torch.no_grad():
        model.head.weight *= 3.0
        model.head.bias *= 3.0
    third = attributed(model, calibrate).explain(images, 1)
    assert_close(second.base, first.base + 7, rtol=0, atol=1e-12)
    assert_close(second.response, first.response, rtol=0, atol=1e-12)
    assert_close(third.base, 3 * second.base, rtol=0, atol=1e-12)
    assert_close(third.response, 3 * second.response, rtol=0, atol=1e-12)


@each
@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_tiny_and_huge_outputs_are_explained_alike(factor, calibrate):
    model, images = seeded(Plain), pictures(2, 3, 8)
    expected, found = scaled(model, images, factor, calibrate)
    for name in (*SCORES, "base", "output"):
        want = getattr(expected, name)
        assert_close(getattr(found, name) / factor, want, rtol=0, atol=1e-6 * float(want.abs().max()))


@played
@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_games_of_tiny_and_huge_outputs_work_in_single_precision(factor, calibrate):
    """What rules make of numbers below 1e-20 is nothing there: colors are the same, and maps add up to them."""
    model, images = seeded(Plain).float(), pictures(2, 3, 8).float()
    expected, found = scaled(model, images, factor, calibrate)
    for name in ("color", "base", "output", "effects"):
        want = getattr(expected, name)
        assert_close(getattr(found, name) / factor, want, rtol=0, atol=1e-4 * float(want.abs().max()))
    for score in SCORES:
        values = getattr(found, score) / factor
        assert torch.isfinite(values).all()
        assert (values.flatten(1).abs().sum(1) > 0.1 * expected.color.abs().sum(1)).all()
        assert_close(values.flatten(1).sum(1), expected.total, rtol=1e-3, atol=1e-6)


def scaled(model, images, factor, calibrate):
    """Explain a model, and the same with outputs of another size."""
    expected = attributed(model, calibrate).explain(images, 1)
    with torch.no_grad():
        model.head.weight *= factor
        model.head.bias *= factor
    return expected, attributed(model, calibrate).explain(images, 1)


# Law 7


@each
def test_colors_and_filters_in_another_order_get_their_scores(calibrate):
    model, images = ef.replace_stem(seeded(Plain)), pictures(2, 3, 8)
    colors, filters = [2, 0, 1], [3, 1, 4, 0, 8, 6, 7, 5, 2]
    bank = model.stem.bank
    turned = ef.EdgeFilterConv2d(
        3, 6, ef.FilterBank([bank.kernels[i] for i in filters], normalize=bank.normalize), padding=1
    )
    with torch.no_grad():
        weight = model.stem.mixing.weight.unflatten(1, (3, 9))[:, colors][:, :, filters]
        turned.mixing.weight.copy_(weight.flatten(1, 2))
        turned.mixing.bias.copy_(model.stem.mixing.bias)
    first = attributed(model, calibrate).explain(images, 1)
    model.stem = turned.double().eval()
    second = attributed(model, calibrate).explain(images[:, colors], 1)
    assert_close(second.response, first.response[:, colors][:, :, filters], rtol=0, atol=1e-9)
    assert_close(second.pixel, first.pixel[:, colors], rtol=0, atol=1e-9)
    if calibrate is not False:
        assert_close(second.interactions, first.interactions[:, colors][:, :, colors], rtol=0, atol=1e-9)


# Law 8


@each
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind not in ("side by side", "gray inside")])
def test_a_model_is_explained_as_its_replaced_one(kind, calibrate):
    model, images = made(kind)
    found = attributed(model, calibrate).explain(images, [0, 2])
    wanted = attributed(ef.replace_stem(model, inputs=images), calibrate).explain(images, [0, 2])
    for name in ("response", "output", "base", *(("effects", "errors") if calibrate else ())):
        assert_close(getattr(found, name), getattr(wanted, name), rtol=0, atol=1e-10)


# Further arguments, further inputs, other numbers


class Guided(Plain):
    """Takes one row of facts for each image."""

    def __init__(self):
        super().__init__()
        self.facts = nn.Linear(2, 6)

    def forward(self, x, facts, gain=1.0):
        h = F.relu(self.conv(F.relu(self.stem(x)))).mean((2, 3))
        return self.head(h * torch.sigmoid(self.facts(facts))) * gain


@each
def test_arguments_of_batch_length_go_with_their_images(calibrate):
    """In all runs of the games, whole batches and some images at a time."""
    model, images = seeded(Guided), pictures(3, 3, 8)
    facts = pictures(3, 1, 2)[:, 0, 0]
    attr = attributed(model, calibrate)
    whole = attr.explain(images, [0, 1, 2], (facts, 2.0))
    parts = attr.explain(images, [0, 1, 2], (facts, 2.0), internal_batch_size=2)
    for i in range(3):
        alone = attr.explain(images[i : i + 1], i, (facts[i : i + 1], 2.0))
        for found in (whole, parts):
            assert_close(found.response[i], alone.response[0], rtol=0, atol=1e-10)
            assert_close(found.base[i], alone.base[0], rtol=0, atol=1e-10)
    assert_close(whole.base + whole.total, whole.output, rtol=0, atol=1e-9)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.other, self.head = nn.Conv2d(3, 6, 3), nn.Linear(2, 6, bias=False), nn.Linear(6, 4)

    def forward(self, x, facts):
        return self.head(F.relu(self.stem(x)).mean((2, 3)) + self.other(facts))


@each
def test_of_several_inputs_what_the_bank_does_not_read_is_base_where_games_are_played(calibrate):
    model, images, facts = seeded(Two), pictures(2, 3, 8), pictures(2, 1, 2)[:, 0, 0]
    attr = attributed(model, calibrate)
    parts, delta = attr.attribute((images, facts), 1, return_convergence_delta=True)
    assert [part.shape for part in parts] == [images.shape, facts.shape]
    assert_close(delta, torch.zeros(2).double(), rtol=0, atol=1e-10)
    assert bool(parts[1].any()) == (calibrate is False)
    if calibrate is not False:
        colors = attr.attribute((images, facts), 1, score="color")[0]
        assert_close(colors, attr.attribute(images, 1, facts, score="color"), rtol=0, atol=1e-10)


@each
def test_frozen_weights_and_weights_that_learn_give_the_same(calibrate):
    model, images = seeded(Plain), pictures(2, 3, 8)
    attr = attributed(model, calibrate)
    learning = attr.explain(images, 1).response
    frozen = attributed(model.requires_grad_(False), calibrate)
    assert torch.equal(frozen.explain(images, 1).response, learning)
    with torch.no_grad():
        assert torch.equal(frozen.explain(images, 1).response, learning)
    with torch.inference_mode():
        assert torch.equal(frozen.explain(images, 1).response, learning)


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs(dtype, calibrate):
    """With colors near those of single precision."""
    model, images = seeded(Plain).float(), pictures(2, 3, 8).float()
    want = attributed(model, calibrate).explain(images, 1)
    found = attributed(model.to(dtype), calibrate).explain(images.to(dtype), 1)
    assert found.response.dtype == dtype
    assert_close(found.color.float(), want.color, rtol=0, atol=0.1 * float(want.color.abs().max()))


@each
def test_any_zennit_composite_serves(calibrate):
    """Played, scores add up whatever share the rules give to biases, and colors are those of any other rules."""
    model, images = seeded(Plain), pictures(2, 3, 8)
    explanation = attributed(model, calibrate, EpsilonPlus()).explain(images, 1)
    if calibrate is False:
        assert float(explanation.delta.abs().max()) > 1e-4
        return
    other = attributed(model, calibrate).explain(images, 1)
    assert_close(explanation.delta, torch.zeros(2).double(), rtol=0, atol=1e-10)
    for name in ("color", "base", "effects", "interactions"):
        assert_close(getattr(explanation, name), getattr(other, name), rtol=0, atol=1e-10)


@played
def test_an_output_that_leaves_torch_is_warned_of_and_gets_nothing(calibrate):
    class Numbers(Plain):
        def forward(self, x):
            return torch.from_numpy(super().forward(x).detach().numpy())

    model, images = seeded(Numbers), pictures(2, 3, 8)
    with pytest.warns(UserWarning, match="the output must depend on the image for scores other than 0"):
        explanation = attributed(model, calibrate).explain(images, 1)
    assert torch.count_nonzero(explanation.response) == 0
    assert_close(explanation.base, explanation.output, rtol=0, atol=0)


# --- models that are not the same twice, and functions in place ---------------------------------------------------


class Forward(nn.Module):
    """A small network in halves, and any way to run it."""

    def __init__(self, forward):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
            self.head, self.kept, self.own = nn.Linear(8, 5), None, forward

    def rest(self, h):
        return self.head(torch.relu(self.b(h)).mean((2, 3)))

    def forward(self, x):
        return self.own(self, x)


def of_many(model, x):
    return model.rest(torch.relu(model.a(x))) + len(x)


def in_pieces(model, x):
    return torch.cat([part.softmax(1) for part in model.rest(torch.relu(model.a(x))).split(4)])


def doubled(model, x):
    h = torch.relu(model.a(x))
    return model.rest(h * 2 if h.mean() > 0.35 else h)


def lazily(model, x):
    if model.kept is None:
        model.kept = F.conv2d(torch.ones(1, 1, 5, 5).to(x), torch.ones(1, 1, 3, 3).to(x)).mean() / 9
    return model.rest(torch.relu(model.a(x * model.kept)))


@pytest.mark.parametrize("forward", [of_many, in_pieces, doubled, lazily])
@pytest.mark.parametrize("count", [1, 2])
def test_a_model_is_measured_in_the_batch_that_it_was_given(forward, count):
    """What it makes of the number of images, of all of them together, or of its first call, is the same in each run of the game."""
    model = Forward(forward).double().eval()
    images = torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = ef.EdgeFilterAttribution(model).explain(images, 1)

    if forward is in_pieces:  # the logits are explained
        plain = Forward(lambda own, x: own.rest(torch.relu(own.a(x)))).double().eval()
        assert_close(
            found.color, ef.EdgeFilterAttribution(plain).explain(images, 1).color, rtol=1e-9, atol=1e-10
        )
        return

    def value(colors):
        keep = torch.zeros(3, 1, 1).double()
        keep[list(colors)] = 1
        handle = model.a.register_forward_hook(
            lambda layer, given, output: F.conv2d(given[0] * keep, layer.weight, layer.bias, padding=1)
        )
        with torch.no_grad():
            output = model(images)[:, 1]
        handle.remove()
        return output

    every = {s: value(s) for n in range(4) for s in itertools.combinations(range(3), n)}
    effects = torch.stack([every[0, 1, 2] - every[s] for s in ((1, 2), (0, 2), (0, 1))], 1)
    assert_close(found.effects, effects.detach(), rtol=1e-9, atol=1e-10)
    assert_close(found.base, every[()].detach(), rtol=1e-9, atol=1e-10)


def doubled_in_place(model, x):
    return model.rest(torch.sigmoid(model.a(x)).mul_(2))


def shifted(model, x):
    h = model.a(x)
    h.relu_()
    h += 1
    return model.rest(h)


def shifted_plainly(model, x):
    return model.rest(torch.relu(model.a(x)) + 1)


def scaled_plainly(model, x):
    return model.rest(torch.sigmoid(model.a(x)) * 2)


@pytest.mark.parametrize(
    ("forward", "plainly"), [(doubled_in_place, scaled_plainly), (shifted, shifted_plainly)]
)
def test_functions_in_place_do_not_stop_the_gradient(forward, plainly):
    images = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found, expected = (
        ef.EdgeFilterAttribution(Forward(f).double().eval()).explain(images, 1) for f in (forward, plainly)
    )
    assert_close(found.color_edge, expected.color_edge, rtol=1e-9, atol=1e-10)


def test_a_backward_hook_before_a_relu_in_place_does_not_stop_the_gradient():
    layers = (
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(196, 3),
    )
    model = nn.Sequential(*layers).double().eval()
    images = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = ef.EdgeFilterAttribution(model).explain(images, 1)
    handle = model[2].register_full_backward_hook(lambda module, given, handed: None)
    found = ef.EdgeFilterAttribution(model).explain(images, 1)
    handle.remove()
    assert_close(found.color_edge, expected.color_edge, rtol=1e-9, atol=1e-10)


# --- colors that meet before the stem -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "plainly"),
    [
        (lambda x: x - x[:, :1], lambda x: x + (-1) * x[:, :1]),
        (lambda x: x - x.mean(1, keepdim=True), lambda x: x + (-1 / 3) * x.sum(1, keepdim=True)),
        (lambda x: x - 0.5 * x.flip(1), lambda x: x + (-0.5) * x.flip(1)),
    ],
)
def test_differences_of_colors_before_the_stem_are_told_apart(before, plainly):
    images = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found, expected = (
        ef.EdgeFilterAttribution(
            Forward(lambda own, x, f=f: own.rest(torch.relu(own.a(f(x))))).double().eval()
        ).explain(images, 1)
        for f in (before, plainly)
    )
    assert_close(found.color, expected.color, rtol=1e-9, atol=1e-10)
    assert_close(found.effects, expected.effects, rtol=1e-9, atol=1e-10)
    assert_close(found.pixel.sum((1, 2, 3)), found.color.sum(1), rtol=1e-9, atol=1e-10)


def test_colors_that_meet_in_no_sum_come_with_a_warning():
    model = (
        Forward(lambda own, x: own.rest(torch.relu(own.a(x.amax(1, keepdim=True).expand(-1, 3, -1, -1)))))
        .double()
        .eval()
    )
    with pytest.warns(UserWarning, match="colors must meet in sums before the stem to be told apart"):
        ef.EdgeFilterAttribution(model).explain(torch.rand(1, 3, 9, 9).double(), 1)


# --- numbers that are none ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("calibrate", [True, ("color", "order"), False])
def test_a_model_of_nan_is_named(calibrate):
    model = Forward(shifted_plainly).double().eval()
    with torch.no_grad():
        model.head.weight[:] = torch.nan
    images = torch.rand(1, 3, 9, 9).double()
    with pytest.warns(
        UserWarning, match="the model's output must be finite to be shared; got nan for image 0"
    ):
        found = ef.EdgeFilterAttribution(model, calibrate=calibrate).explain(images, 1)
    assert found.output.isnan().all()
    for call in (
        ef.EdgeFilterShapley(model).explain,
        lambda x, t: ef.causal_check(ef.EdgeFilterAttribution(model), x, target=t),
    ):
        with pytest.warns(UserWarning, match="the model's output must be finite to be shared"):
            call(images, 1)
