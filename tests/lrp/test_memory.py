"""What a call leaves behind: no tensors, no reference cycles, no growing memory."""

from __future__ import annotations

import contextlib
import gc
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from zennit.composites import EpsilonPlus

from edgefilter import EdgeFilterAttribution, UnsupportedModelError, get_composite, replace_stem
from edgefilter.lrp.engine import Engine
from edgefilter.lrp.stem import Stem


class Small(nn.Module):
    """Something of everything: BatchNorm, gates, in-place functions, attention, a sum that LayerNorm reads."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.gate, self.tokens = nn.Conv2d(8, 8, 1), nn.LayerNorm(8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        x = self.norm(self.stem(images)).relu_()
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        x = x.flatten(2).transpose(1, 2)
        x += self.attend(x, x, x, need_weights=False)[0]
        return self.head(self.tokens(x).mean(1))


class Refused(Small):
    def forward(self, images):
        return super().forward(images.cumprod(1))


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small().double().eval()


@pytest.fixture
def images(generator):
    return torch.randn(2, 3, 9, 9, generator=generator, dtype=torch.float64)


def tensors():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated objects that are looked at
        return sum(issubclass(type(kept), Tensor) for kept in gc.get_objects())


@contextlib.contextmanager
def without_collector():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def resident():
    """Return the memory that this process holds, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


COMPOSITES = {
    "default": lambda: None,
    "epsilon": lambda: "epsilon",
    "attnlrp": lambda: get_composite("epsilon_plus", attention="attnlrp"),
    "zennit": EpsilonPlus,
}


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_call_leaves_no_tensors_and_needs_no_garbage_collector(model, images, composite, replaced):
    """Reference cycles would keep a graph, and all values in it, until the collector runs."""
    attribution = EdgeFilterAttribution(
        replace_stem(model) if replaced else model, COMPOSITES[composite](), calibrate=False
    )
    attribution.explain(images, 1)
    with without_collector():
        before = tensors()
        explanation = attribution.explain(images, 1)
        del explanation
        attribution.silence(images, 1, colors=["red"])
        assert tensors() == before


def test_a_refused_call_leaves_no_tensors(images):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attribution = EdgeFilterAttribution(Refused().double().eval(), calibrate=False)

    def call():
        with pytest.raises(UnsupportedModelError):
            attribution.explain(images, 1)

    call()
    gc.collect()
    before = tensors()
    call()
    gc.collect()
    assert tensors() == before


def test_responses_take_memory_only_while_their_rule_reads_them(model, images):
    """They are the largest of all tensors; what the rule makes then are the responses of the bank."""
    run = Engine(model, get_composite("epsilon_plus"), Stem())
    run((images.requires_grad_(),), ())
    (read,) = run.stem.reads
    assert read.response.untyped_storage().nbytes() == images.element_size()
    weight = torch.from_numpy(read.bank.weight.copy())[:, None].repeat(3, 1, 1, 1)
    expected = torch.nn.functional.conv2d(images, weight, stride=2, groups=3)
    assert_close(run.known(read.response).late.made(), expected.detach(), rtol=0, atol=1e-12)
    assert read.response.shape == expected.shape
    run.close()


def test_an_output_that_a_hook_keeps_does_not_keep_the_run(model, images):
    """Somebody records features: the tensors of the run behind them are let go."""
    kept = []
    handle = model.norm.register_forward_hook(lambda module, given, output: kept.append(output))
    attribution = EdgeFilterAttribution(model, calibrate=False)
    attribution.explain(images, 1)
    counts = []
    for _ in range(3):
        kept.clear()
        gc.collect()
        counts.append(tensors())
        attribution.explain(images, 1)
    handle.remove()
    assert counts[0] == counts[1] == counts[2]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("calls", [300, pytest.param(1000, marks=pytest.mark.extended)])
def test_a_thousand_calls_leave_memory_where_ten_did(calls, generator):
    """Within 3 MiB; one leaked map of responses in each call would be 6 MiB or 20 MiB."""
    images = torch.randn(1, 3, 11, 11, generator=generator, dtype=torch.float64)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(324, 5)).double().eval()
    attribution = EdgeFilterAttribution(model, calibrate=False)
    for _ in range(10):
        attribution.attribute(images, 1)
    gc.collect()
    before, alive = resident(), tensors()
    for _ in range(calls):
        attribution.attribute(images, 1)
    gc.collect()
    assert tensors() == alive
    assert resident() - before < 3
