"""Reports: what a dry run says of each operation, and of models that cannot be explained."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from zennit.composites import EpsilonPlus, LayerMapComposite
from zennit.rules import Pass, ZPlus
from zennit.types import Activation, Convolution

import edgefilter as ef
from edgefilter import EdgeFilterAttribution, Report, check, replace_stem
from edgefilter.attribution.check import Operation

ROUNDING = {"rtol": 1e-9, "atol": 1e-9}


class Net(nn.Module):
    """A residual network whose layers are registered in another order than they run."""

    def __init__(self):
        super().__init__()
        self.head, self.pool = nn.Linear(4, 3), nn.AdaptiveAvgPool2d(1)
        self.norm, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.stem = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        x = torch.relu(self.stem(images))
        x = x + self.norm(self.conv(x))
        return self.head(self.pool(torch.relu(x)).flatten(1))


class Unsupported(Net):
    def forward(self, images):
        return self.head(torch.cumprod(self.conv(self.stem(images)), 1).mean((2, 3)))


class Branching(Net):
    def forward(self, images):
        return super().forward(images if images.sum() > 0 else -images)


def make(kind=Net):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = replace_stem(kind().double().eval(), stem="stem").requires_grad_(False)
        return model, torch.randn(2, 3, 8, 8, dtype=torch.float64)


def test_operations_come_in_the_order_of_execution_with_their_rules():
    model, images = make()
    report = check(model, images, 1)
    assert report.model == "Net"
    assert [(o.name, o.kind, o.rule) for o in report.operations] == [
        ("stem.filters", "FilterBankConv2d", "WSquare"),
        ("stem.mixing", "Conv2d", "ConservingAlphaBeta"),
        ("", "ReLU", "Pass"),
        ("conv", "Conv2d", "ConservingAlphaBeta"),
        ("", "Sum", "BoundedNorm"),
        ("", "ReLU", "Pass"),
        ("pool", "AveragePool", "BoundedNorm"),
        ("head", "Linear", "ConservingEpsilon"),
    ]


@pytest.mark.parametrize("name", [name for name in ef.composite_names() if name != "epsilon"])
def test_a_conserving_composite_hands_on_what_is_received(name):
    report = check(*make(), 1, composite=name)
    for operation in report.operations:
        assert operation.handed_on == pytest.approx(operation.received, rel=1e-9, abs=1e-9), operation
    assert report.supported
    assert report.conserved_share == pytest.approx(1)


def test_epsilon_leaves_a_share_to_the_biases_of_some_operations_and_says_of_which():
    report = check(*make(), 1, composite="epsilon")
    lossy = {o.name for o in report.operations if abs(o.received - o.handed_on) > 1e-6}
    assert lossy == {"stem.mixing", "conv"}  # the bias of the head is the base
    assert abs(report.conserved_share - 1) > 1e-3


@pytest.mark.parametrize("composite", [None, "epsilon", "alpha2_beta1"])
def test_totals_are_those_of_the_explanation(composite):
    model, images = make()
    report = check(model, images, [0, 2], composite=composite)
    explanation = EdgeFilterAttribution(model, composite, calibrate=False).explain(images, [0, 2])
    assert report.explained == pytest.approx(float((explanation.output - explanation.base).sum()))
    assert report.conserved == pytest.approx(float(explanation.response.sum()))
    assert report.operations[0].received == pytest.approx(float(explanation.response.sum()))
    assert report.operations[0].handed_on == pytest.approx(float(explanation.pixel.sum()))
    assert report.operations[-1].received == pytest.approx(report.explained)


def test_no_target_takes_the_largest_output():
    model, images = make()
    output, chosen = model(images).max(1)
    assert check(model, images).explained == pytest.approx(float((output - model.head.bias[chosen]).sum()))


def test_a_users_composite_is_reported_with_its_own_rules():
    """What it has no rule for keeps the gradient, and the loss shows."""
    own = LayerMapComposite([(Convolution, ZPlus()), (Activation, Pass())])
    report = check(*make(), 1, composite=own)
    rules = {o.name or o.kind: o.rule for o in report.operations}
    assert rules["conv"] == rules["stem.filters"] == "ZPlus"
    assert rules["Sum"] == rules["pool"] == rules["head"] == "gradient"
    assert abs(report.conserved_share - 1) > 1e-3
    assert check(*make(), 1, composite=EpsilonPlus(zero_params="bias")).supported


def test_rearrangements_are_no_rows_and_a_module_used_twice_is_two():
    class Twice(Net):
        def forward(self, images):
            x = self.stem(images).permute(0, 1, 3, 2)
            x = self.conv(torch.relu(self.conv(x)))
            return self.head(x.mean((2, 3)))

    names = [o.name or o.kind for o in check(*make(Twice), 1).operations]
    assert names == ["stem.filters", "stem.mixing", "conv", "ReLU", "conv", "mean", "head"]


def test_a_model_that_branches_is_checked_on_the_branch_it_takes():
    model, images = make(Branching)
    ordinary, _ = make()
    expected = check(ordinary, images.abs(), 1).operations
    assert check(model, images.abs(), 1).operations == expected
    turned, *rest = check(model, -images.abs(), 1).operations
    assert (turned.name, turned.kind, turned.rule) == ("", "mul", "Pass")
    assert rest == list(expected)


def test_a_model_without_an_edge_filter_layer_is_checked_as_it_is():
    """The stem's two rows bear its own name; the rest are those of the model with the layer."""
    model, images = make()
    ordinary = ef.fold_stem(model)
    found, expected = check(ordinary, images, 1), check(model, images, 1)
    assert [o.name for o in found.operations[:2]] == ["stem", "stem"]
    for one, other in zip(found.operations, expected.operations, strict=True):
        assert one[1:3] == other[1:3]
        assert one[3:] == pytest.approx(other[3:])
    by_name = check(ordinary, images, 1, bank="general", layer="stem")
    assert by_name.conserved_share == pytest.approx(1)


def test_a_model_that_is_not_supported_gives_a_report_with_the_reason():
    report = check(*make(Unsupported), 1)
    assert not report.supported
    assert report.operations == ()
    assert math.isnan(report.conserved_share)
    assert report.to_dataframe().empty
    with pytest.raises(AssertionError, match=r"Unsupported is not supported: .*got cumprod\b"):
        raise AssertionError(str(report))


def test_the_table_has_one_row_per_operation():
    report = check(*make(), 1)
    table = report.to_dataframe()
    assert list(table.columns) == ["name", "kind", "rule", "received", "handed_on"]
    assert list(table.itertuples(index=False, name=None)) == [tuple(o) for o in report.operations]
    assert pd.api.types.is_float_dtype(table["received"])


def test_the_text_is_a_table_in_columns_with_a_summary():
    operations = (
        Operation("stem.filters", "FilterBankConv2d", "WSquare", 2.0, 2.0),
        Operation("", "Linear", "Epsilon", 4.0, 2.0),
    )
    assert str(Report("Net", operations, 4.0, 2.0, "")).splitlines() == [
        "operation     kind              rule     received  handed on",
        "stem.filters  FilterBankConv2d  WSquare  2         2",
        "Net           Linear            Epsilon  4         2",
        "Net: 50.000000% of 4 reached the filter bank.",
    ]


def test_an_output_of_zero_has_no_conserved_share():
    assert math.isnan(Report("Net", (), 0.0, 0.0, "").conserved_share)


def test_the_model_and_the_images_are_left_as_they_were():
    model, images = make()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    given, hooks = (
        images.clone(),
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
    )
    with torch.no_grad():
        check(model, images, 1)
    for name, value in model.state_dict().items():
        assert_close(value, state[name], rtol=0, atol=0)
    assert_close(images, given, rtol=0, atol=0)
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda model: model.train(), ValueError, "model must be in evaluation mode"),
        (lambda model: model.float(), ValueError, r"inputs must be torch\.float32"),
    ],
)
def test_arguments_are_checked_as_for_an_explanation(change, error, match):
    model, images = make()
    change(model)
    with pytest.raises(error, match=match):
        check(model, images, 1)


def test_a_model_of_several_arguments_is_checked_with_its_defaults():
    class Scaled(Net):
        def forward(self, images, scale=2.0):
            return super().forward(images) * scale

    model, images = make(Scaled)
    carried = float((model(images) - 2 * model.head.bias)[:, 1].sum())
    assert check(model, images, 1).explained == pytest.approx(carried)
