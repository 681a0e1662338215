"""The eight laws of the design, on small networks that Hypothesis draws."""

from __future__ import annotations

import copy

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import edgefilter as ef
from small_models import EXACT, assert_adds_up, assert_same_scores, assert_untouched, explain, snapshot

CONSERVING = ("epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box", "epsilon_alpha2_beta1", "zplus")
POOLS = {
    "none": nn.Identity,
    "max": lambda: nn.MaxPool2d(2),
    "average": lambda: nn.AvgPool2d(2),
    "overlapping": lambda: nn.AvgPool2d(3, 2, 1),
}
COLORS = 3


class Drawn(nn.Module):
    """A stem, blocks of convolutions with or without a shortcut, a pooling and a head."""

    def __init__(self, plan):
        super().__init__()
        size, stride = plan["kernel"], plan["stride"]
        pad = plan["padding"] * (size // 2)
        mode = plan["padding_mode"]
        self.stem = nn.Conv2d(COLORS, 4, size, stride, pad, bias=plan["bias"], padding_mode=mode)
        self.stem_norm = nn.BatchNorm2d(4) if plan["norm"] else nn.Identity()
        self.blocks = nn.ModuleList(self.block(plan) for _ in range(plan["depth"]))
        self.residual, self.pool = plan["residual"], POOLS[plan["pool"]]()
        self.hidden = nn.Linear(4, 5) if plan["hidden"] else nn.Identity()
        self.fc = nn.Linear(5 if plan["hidden"] else 4, 3)
        self.scale, self.constant = 1.0, 0.0

    @staticmethod
    def block(plan):
        norm = nn.BatchNorm2d(4) if plan["norm"] else nn.Identity()
        return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=plan["bias"]), norm)

    def forward(self, x):
        h = F.relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            h = F.relu(h + block(h)) if self.residual else F.relu(block(h))
        h = self.pool(h).mean((2, 3))
        return self.fc(F.relu(self.hidden(h))) * self.scale + self.constant


PLANS = st.fixed_dictionaries(
    {
        "kernel": st.sampled_from([1, 3, 3, 4, 5]),
        "stride": st.integers(1, 2),
        "padding": st.integers(0, 1),
        "padding_mode": st.sampled_from(["zeros", "zeros", "reflect", "circular"]),
        "bias": st.booleans(),
        "norm": st.booleans(),
        "depth": st.integers(0, 2),
        "residual": st.booleans(),
        "pool": st.sampled_from(list(POOLS)),
        "hidden": st.booleans(),
        "seed": st.integers(0, 2**16),
        "count": st.integers(1, 3),
        "height": st.integers(9, 12),
        "width": st.integers(9, 12),
    }
)


def drawn(plan):
    """Return a network and images, its statistics and gains not those of a fresh one."""
    noise = torch.Generator().manual_seed(plan["seed"])
    with torch.random.fork_rng():
        torch.manual_seed(plan["seed"])
        net = Drawn(plan).double().eval()
    with torch.no_grad():
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                for tensor in (norm.running_mean, norm.weight, norm.bias):
                    tensor.copy_(torch.randn(tensor.shape, generator=noise, dtype=torch.float64))
                norm.running_var.uniform_(0.5, 2, generator=noise)
    size = (plan["count"], COLORS, plan["height"], plan["width"])
    return net, torch.randn(size, generator=noise, dtype=torch.float64)


def law(examples):
    """Run a test on drawn networks, the same ones each time."""

    def decorate(test):
        settings = hypothesis.settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        return settings(hypothesis.given(plan=PLANS)(test))

    return decorate


COMPOSITES = pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon"])


@law(20)
def test_law_1_a_replaced_stem_keeps_the_outputs(plan):
    """For every kernel size, stride, padding and padding mode."""
    net, images = drawn(plan)
    torch.testing.assert_close(ef.replace_stem(net)(images), net(images), rtol=1e-9, atol=1e-10)


@law(10)
def test_law_2_folding_gives_the_weights_back(plan):
    """After replacing and folding the stem is what it was."""
    net, _ = drawn(plan)
    back = ef.fold_stem(ef.replace_stem(net))
    torch.testing.assert_close(back.stem.weight, net.stem.weight, **EXACT)


@pytest.mark.parametrize("composite", CONSERVING)
@law(12)
def test_law_3_base_and_every_score_add_up_to_the_output(composite, plan):
    """All five sums agree with each other and, with the base, with the model's output."""
    net, images = drawn(plan)
    found = explain(net, images, 1, composite)
    scale = 1 + float(found.response.abs().sum())
    torch.testing.assert_close(found.output, net(images)[:, 1].detach(), **EXACT)
    assert_adds_up(found, tolerance=1e-11 * scale)
    torch.testing.assert_close(found.delta, torch.zeros_like(found.delta), rtol=0, atol=1e-11 * scale)


@law(10)
def test_law_3_the_five_sums_agree_where_biases_keep_their_share(plan):
    """``epsilon`` does not conserve, but color, edge and response are views of one tensor."""
    net, images = drawn(plan)
    found = explain(net, images, 1, "epsilon")
    total = found.response.sum((1, 2, 3, 4))
    for score in (found.color, found.edge, found.color_edge):
        torch.testing.assert_close(score.flatten(1).sum(1), total, **EXACT)
    gap = found.base + total - found.output
    torch.testing.assert_close(found.delta, gap, **EXACT)


@COMPOSITES
@law(8)
def test_law_4_everything_stays_as_it_was(composite, plan):
    """Also after a wrong target and with gradients of the user's on parameters and inputs."""
    net, images = drawn(plan)
    images.requires_grad_()
    net(images).sum().backward()
    attribution = ef.EdgeFilterAttribution(net, composite, calibrate=False)
    before = snapshot(net, images)
    attribution.explain(images, 1)
    attribution.attribute(images, 1, score="edge")
    with pytest.raises(IndexError, match="target"):
        attribution.attribute(images, 3)
    assert_untouched(before, snapshot(net, images))


@COMPOSITES
@law(12)
def test_law_5_a_batch_is_its_samples_one_by_one(composite, plan):
    """And a sample is the same after others of another size."""
    net, images = drawn(plan)
    attribution = ef.EdgeFilterAttribution(net, composite, calibrate=False)
    together = attribution.explain(images, 2)
    attribution.explain(torch.cat([images, images], 2), 1)
    for i, image in enumerate(images):
        alone = attribution.explain(image[None], 2)
        for name in ("pixel", "response", "base", "output"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[i], **EXACT)


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon", "epsilon_gamma_box", "epsilon_plus_flat"])
@law(8)
def test_law_6_a_color_that_the_stem_does_not_read_gets_exactly_zero(composite, plan):
    """And the pixels of that color as well."""
    net, images = drawn(plan)
    color = plan["seed"] % COLORS
    with torch.no_grad():
        net.stem.weight[:, color] = 0
    found = explain(net, images, 0, composite)
    assert not found.response[:, color].any()
    assert not found.pixel[:, color].any()


@COMPOSITES
@law(8)
def test_law_6_a_filter_that_the_stem_does_not_use_gets_exactly_zero(composite, plan):
    """Its coefficient in every kernel of the stem is zero."""
    net, images = drawn({**plan, "kernel": 3})
    model = ef.replace_stem(net)
    mixing = next(m for m in model.modules() if isinstance(m, ef.EdgeFilterConv2d)).mixing
    with torch.no_grad():
        mixing.weight[:, 4::9] = 0
    found = explain(model, images, 0, composite)
    assert not found.response[:, :, 4].any()


@COMPOSITES
@law(8)
def test_law_6_scaling_the_output_scales_every_score(composite, plan):
    """By a positive number; the base as well."""
    net, images = drawn(plan)
    before = explain(net, images, 0, composite)
    net.scale = 2.5
    after = explain(net, images, 0, composite)
    for name in ("pixel", "response", "base", "output"):
        torch.testing.assert_close(getattr(after, name), 2.5 * getattr(before, name), rtol=1e-9, atol=1e-10)


@COMPOSITES
@law(8)
def test_law_6_a_constant_on_the_outputs_changes_the_base_only(composite, plan):
    """Scores stay, whichever sign the sum has."""
    net, images = drawn(plan)
    before = explain(net, images, 0, composite)
    net.constant = -7.0
    after = explain(net, images, 0, composite)
    for name, change in (("pixel", 0), ("response", 0), ("base", -7.0), ("output", -7.0)):
        torch.testing.assert_close(getattr(after, name), getattr(before, name) + change, **EXACT)


@COMPOSITES
@law(8)
def test_law_7_permuting_the_colors_permutes_the_scores(composite, plan):
    """With the stem's weights."""
    net, images = drawn(plan)
    order = [2, 0, 1]
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.stem.weight.copy_(net.stem.weight[:, order])
    before, after = explain(net, images, 0, composite), explain(other, images[:, order], 0, composite)
    torch.testing.assert_close(after.response, before.response[:, order], **EXACT)
    torch.testing.assert_close(after.pixel, before.pixel[:, order], **EXACT)


@COMPOSITES
@law(8)
def test_law_7_permuting_the_bank_permutes_the_scores(composite, plan):
    """A bank of the same kernels in another order, given to plain models."""
    net, images = drawn({**plan, "kernel": 3})
    names = list(ef.complete_bank(3).names)
    order = np.random.default_rng(plan["seed"]).permutation(len(names))
    kernels = [kernel_of(ef.complete_bank(3), i) for i in range(len(names))]
    banks = ef.FilterBank(kernels, size=3), ef.FilterBank([kernels[i] for i in order], size=3)
    before, after = (
        ef.EdgeFilterAttribution(net, composite, bank=bank, calibrate=False).explain(images, 0)
        for bank in banks
    )
    torch.testing.assert_close(after.response, before.response[:, :, order], **EXACT)
    torch.testing.assert_close(after.pixel, before.pixel, **EXACT)


def kernel_of(bank, index):
    return ef.Kernel(bank.names[index], bank.weight[index])


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon", "epsilon_plus_flat", "epsilon_gamma_box"])
@law(12)
def test_law_8_a_plain_model_is_explained_as_the_replaced_one(composite, plan):
    """The bank that the stem spans, on the fly."""
    net, images = drawn(plan)
    assert_same_scores(
        explain(net, images, 1, composite), explain(ef.replace_stem(net), images, 1, composite), 1e-9
    )


@law(6)
def test_law_8_holds_for_a_bank_that_is_given(plan):
    """By name or as an object, complete for the stem's size."""
    net, images = drawn({**plan, "kernel": 3})
    bank = ef.complete_bank(3, "dct")
    found = ef.EdgeFilterAttribution(net, "epsilon_plus", bank=bank, calibrate=False).explain(images, 1)
    assert found.filters == tuple(bank.names)
    assert_same_scores(found, explain(ef.replace_stem(net, bank), images, 1), 1e-9)
