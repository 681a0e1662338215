"""Models that overwrite tensors: the scores of the same model without, or words, never numbers of another model."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import edgefilter as ef
from edgefilter.errors import UnsupportedModelError
from small_models import Middle, assert_same_scores, explain, pictures, seeded


def explained(function, dtype=torch.float64):
    """Explain a model that runs a function in its middle."""
    model = seeded(Middle, function).to(dtype)
    return explain(model, pictures().to(dtype))


def into_a_sum(h):
    place = torch.empty_like(h)
    torch.add(h, F.relu(h), out=place)
    return place


def into_a_join(h):
    place = torch.empty(0, dtype=h.dtype)
    torch.cat([h[:, :4], F.relu(h[:, 4:])], 1, out=place)
    return place


def into_two(h):
    place = h.new_empty(len(h), 1, *h.shape[2:])
    index = torch.empty(place.shape, dtype=torch.long)
    torch.max(h, 1, True, out=(place, index))
    return place.expand_as(h)


def over_a_signal(h):
    other = h * 2
    torch.mul(h, 3.0, out=other)
    return F.relu(other)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        (into_a_sum, lambda h: h + F.relu(h)),
        (into_a_join, lambda h: torch.cat([h[:, :4], F.relu(h[:, 4:])], 1)),
        (into_two, lambda h: h.max(1, keepdim=True)[0].expand_as(h)),
        (over_a_signal, lambda h: F.relu(h * 3.0)),
    ],
)
def test_what_is_written_by_out_counts(written, plain):
    assert_same_scores(explained(written), explained(plain))


def test_dropout_in_evaluation_is_its_input_also_where_that_is_overwritten():
    def dropped(h):
        y = F.dropout(h, 0.5, training=False)
        y.relu_()
        return h * 0.5 + y

    assert_same_scores(explained(dropped), explained(lambda h: F.relu(h) * 0.5 + F.relu(h)))


def detached_before(h):
    before = h.detach()
    h = h.relu_()
    return h + before


def data_before(h):
    before = h.data
    h = h.relu_()
    return h + before


def view_of_zeros(h):
    zeros = torch.zeros(h.shape, dtype=h.dtype)
    part = zeros[:, :4]
    zeros += h
    return torch.cat([part, zeros[:, 4:]], 1)


def data_of_zeros(h):
    zeros = torch.zeros_like(h).detach()
    zeros.data.copy_(h)
    return zeros + h


def data_exchanged(h):
    h.data = h.data * 2
    return h


def data_of_zeros_exchanged(h):
    zeros = torch.zeros(h.shape, dtype=h.dtype)
    zeros.data = h
    return zeros + h


@pytest.mark.parametrize(
    "function",
    [detached_before, data_before, view_of_zeros, data_of_zeros, data_exchanged, data_of_zeros_exchanged],
)
def test_memory_that_is_shared_unseen_is_refused(function):
    with pytest.raises(UnsupportedModelError, match=r"model's output|Tensor\.data"):
        explained(function)


@pytest.mark.parametrize(
    "alias", [lambda h: h.flatten(1), lambda h: h.reshape(len(h), -1), torch.Tensor.contiguous]
)
def test_single_precision_looks_at_the_callers_layout(alias):
    """Images with their channels last in memory make copies of what is a view in the caller's layout."""

    def doubled(h):
        values = alias(h)
        values *= 2.0
        return h

    with pytest.raises(UnsupportedModelError, match="model's output"):
        explained(doubled, torch.float32)


def test_a_model_that_overwrites_and_views_runs_in_single_precision():
    """What it is compared with runs in the caller's layout, where ``view`` is possible."""

    def raised(h):
        values = h.clone()
        part = values[:, :1]
        values += 1.0
        return values.view(len(h), -1).view_as(h) * float(part.shape[1])

    found, wanted = (explained(function, torch.float32) for function in (raised, lambda h: h + 1.0))
    assert_same_scores(found, wanted, 1e-5)


class Cached(Middle):
    """Keeps its features in a buffer, as caches of keys and values do."""

    def __init__(self):
        super().__init__(self.through)
        self.register_buffer("cache", torch.zeros(4, 8, 10, 10))

    def through(self, h):
        self.cache[: len(h)].copy_(F.relu(h))
        return self.cache[: len(h)] + h


def test_a_cache_that_an_earlier_call_has_filled_is_no_constant():
    model, images = seeded(Cached), pictures()
    with torch.no_grad():
        model(images)
    with pytest.raises(UnsupportedModelError, match="view of it"):
        explain(model, images)


class Normalizing(Middle):
    """Normalizes its input in place."""

    def forward(self, x):
        return super().forward(x.sub_(0.5).div_(0.2))


@pytest.mark.parametrize("look", [ef.find_stem, lambda model, inputs: ef.replace_stem(model, inputs=inputs)])
def test_looking_for_the_stem_leaves_the_inputs(look):
    model, images = seeded(Normalizing), pictures()
    kept = images.clone()
    look(model, images)
    assert torch.equal(images, kept)


class Casting(Middle):
    """Switches autocast on inside."""

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


def test_autocast_inside_the_model_is_left_out():
    images = pictures().float()
    found, wanted = (explain(seeded(kind).float(), images) for kind in (Casting, Middle))
    assert_same_scores(found, wanted, 0.0)


def scaled_often(x):
    for _ in range(1200):
        x = x * 1.0001 + 0.0001
    return x


def turned_often(h):
    for _ in range(1201):
        h = h.flip(1)
    return h


def added_often(h):
    for _ in range(300):
        h = (h + h) * 0.5
        h = h.clone()
    return h


def test_many_steps_in_front_of_the_stem():
    def model(front):
        net = seeded(Middle)
        run = net.forward
        net.forward = lambda x: run(front(x.mean(1, keepdim=True)).expand(x.shape))
        return net

    gain = 1.0001**1200
    shift = sum(0.0001 * 1.0001**power for power in range(1200))
    found, wanted = (
        explain(model(front), pictures()) for front in (scaled_often, lambda x: x * gain + shift)
    )
    assert_same_scores(found, wanted)


@pytest.mark.parametrize(("end", "plain"), [(turned_often, lambda h: h.flip(1)), (added_often, None)])
def test_many_steps_behind_the_last_layer(end, plain):
    found, wanted = (
        explain(seeded(Middle, None, (lambda f: lambda fc, h: f(fc(h)) if f else fc(h))(one)), pictures())
        for one in (end, plain)
    )
    assert_same_scores(found, wanted)
