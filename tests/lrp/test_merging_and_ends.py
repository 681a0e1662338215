"""Where a scale may be merged, what the end of a sum keeps, and weights of an attention that are negative."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from small_models import Middle, assert_same_scores, explain, pictures, seeded

GAINS = torch.linspace(-1.5, 1.5, 8, dtype=torch.float64)
SHIFTS = torch.linspace(0.3, -0.4, 8, dtype=torch.float64)


class Tokens(Middle):
    """A linear layer at every place, with a gain and a shift behind it."""

    def __init__(self, spelled):
        super().__init__(self.placed)
        self.layer, self.spelled = nn.Linear(8, 8), spelled

    def placed(self, h):
        tokens = F.relu(h).flatten(2).transpose(1, 2)
        return self.spelled(self.layer, tokens).transpose(1, 2).reshape(h.shape)


def test_a_gain_behind_a_linear_layer_over_tokens_is_part_of_it():
    def merged(layer, tokens):
        return F.linear(tokens, layer.weight * GAINS[:, None], layer.bias * GAINS + SHIFTS)

    found, wanted = (
        explain(seeded(Tokens, spelled), pictures())
        for spelled in (lambda layer, tokens: layer(tokens) * GAINS + SHIFTS, merged)
    )
    assert_same_scores(found, wanted)


def test_a_gain_of_each_token_is_no_gain_of_channels():
    """Eight tokens and eight channels: only the axis tells them apart. A positive gain hands relevance on."""
    gains = GAINS.abs()[:, None]

    def spelled(gain):
        def function(layer, tokens):
            few = layer(tokens[:, :8])
            few = few * gain if gain is not None else few
            return torch.cat([few, tokens[:, 8:] * 0.0], 1)

        return function

    found = explain(seeded(Tokens, spelled(gains)), pictures())
    wanted = explain(seeded(Tokens, spelled(gains.expand(8, 8).clone())), pictures())
    assert_same_scores(found, wanted)


class TwoEnds(Middle):
    """Adds what two layers with large biases give."""

    def __init__(self, first, second):
        super().__init__(None, self.ends)
        self.other = nn.Linear(8, 4)
        self.first, self.second = first, second

    def ends(self, fc, h):
        parts = [fc(h) + 5.0] * self.first + [self.other(h) - 3.0] * self.second
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def test_a_sum_at_the_end_shares_without_the_constants_of_its_summands():
    whole, one, other = (explain(seeded(TwoEnds, *ends), pictures()) for ends in ((1, 1), (1, 0), (0, 1)))
    for name in ("base", "output", "pixel", "color", "edge"):
        torch.testing.assert_close(
            getattr(whole, name), getattr(one, name) + getattr(other, name), rtol=0, atol=1e-10
        )


@pytest.mark.parametrize("held", [torch.bmm, torch.matmul])
def test_weights_of_an_attention_that_are_negative_count_as_a_constant_matrix(held):
    def mixed(h, *, constant):
        values = F.relu(h).flatten(2)
        weights = torch.tanh(values @ values.transpose(1, 2) - 1.0)
        assert bool((weights < 0).any())
        return held(weights.detach() if constant else weights, values).reshape(h.shape)

    found, wanted = (
        explain(seeded(Middle, lambda h, constant=constant: mixed(h, constant=constant)), pictures())
        for constant in (False, True)
    )
    assert_same_scores(found, wanted)


def test_an_attention_shares_by_the_positive_values():
    """Negative values get nothing, as if they were constants."""

    def mixed(h, *, constant):
        values = F.relu(h).flatten(2).transpose(1, 2) + 0.1
        first, second = values[:, :50], values[:, 50:] * -0.5
        second = second.detach() if constant else second
        weights = (values @ values.transpose(1, 2)).softmax(-1)
        return (weights @ torch.cat([first, second], 1)).transpose(1, 2).reshape(h.shape)

    found, wanted = (
        explain(seeded(Middle, lambda h, constant=constant: mixed(h, constant=constant)), pictures())
        for constant in (False, True)
    )
    assert_same_scores(found, wanted)


@pytest.mark.parametrize("nothing", [0.0, torch.zeros(8, 1, 1, dtype=torch.float64)])
def test_what_is_multiplied_by_zero_gets_nothing(nothing):
    """Units behind it have nothing to share by but their weights."""
    found = explain(seeded(Middle, lambda h: F.relu(h) * nothing), pictures())
    for scores in (found.pixel, found.color, found.edge):
        assert not scores.any()


def test_a_difference_goes_to_the_minuend():
    """What is subtracted gets nothing, as if it were a constant."""

    def apart(h, *, constant):
        second = F.relu(h.flip(2))
        return F.relu(h) + 1.0 - (second.detach() if constant else second)

    found, wanted = (
        explain(seeded(Middle, lambda h, constant=constant: apart(h, constant=constant)), pictures())
        for constant in (False, True)
    )
    assert_same_scores(found, wanted)
