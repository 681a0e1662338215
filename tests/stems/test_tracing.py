"""Traces: the order of execution, models left as they are, other threads left alone."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import fx, nn
from torch.testing import assert_close

from edgefilter import EdgeFilterBank2d, UntraceableModelError
from edgefilter.stems.tracing import trace


class Net(nn.Module):
    """Registers its layers in another order than it runs them; takes a scale that may be left out."""

    def __init__(self):
        super().__init__()
        self.head, self.stem = nn.Linear(4, 2), nn.Conv2d(3, 4, 3)

    def forward(self, images, scale=None):
        features = self.stem(images).mean((2, 3))
        return self.head(features if scale is None else features * scale)


class Keeper(Net):
    """Keeps what it sees, counts its calls and uses a tensor that it makes itself."""

    calls = 0

    def forward(self, images):
        self.seen, self.calls = images, self.calls + 1
        self.stem.seen = images
        return super().forward(images) * torch.tensor([1.0, 2.0])


class Branching(Net):
    def forward(self, images):
        return super().forward(images if images.sum() > 0 else -images)


def modules_of(graph):
    return [node.target for node in graph.nodes if node.op == "call_module"]


def test_modules_come_in_order_of_execution():
    assert modules_of(trace(Net())) == ["stem", "head"]


def test_optional_arguments_take_their_defaults():
    graph = trace(Net())
    assert sum(node.op == "placeholder" for node in graph.nodes) == 1
    assert len(modules_of(trace(Net(), 2))) == 2


def test_required_arguments_are_all_inputs():
    class Two(Net):
        def forward(self, images, scale, *rest, gain=1):
            return super().forward(images, scale) * gain

    assert sum(node.op == "placeholder" for node in trace(Two()).nodes) == 2


def test_subclasses_of_convolutions_and_filter_banks_stay_whole():
    class Own(nn.Conv2d):
        def forward(self, images):
            return super().forward(images) if images.sum() > 0 else images

    assert modules_of(trace(nn.Sequential(Own(3, 4, 3), EdgeFilterBank2d("sobel", 4)))) == ["0", "1"]


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU())])
def test_a_module_of_torch_is_one_node(model):
    assert modules_of(trace(model)) == ["0"]


def test_the_graph_computes_what_the_model_does():
    model, images = Keeper(), torch.rand(2, 3, 5, 5)
    assert_close(fx.GraphModule(model, trace(model))(images), model(images), rtol=0, atol=0)


def snapshot(model):
    return [
        (name, dict(vars(m)), dict(m._parameters), dict(m._buffers), m.training)
        for name, m in model.named_modules()
    ]


@pytest.mark.parametrize("kind", [Net, Keeper, Branching])
def test_a_trace_leaves_the_model_as_it_is(kind):
    """Also where forward sets attributes, makes tensors (torch.fx would store both) or the trace fails."""
    model = kind()
    model.seen = "before"
    before = snapshot(model)
    try:
        trace(model)
    except UntraceableModelError:
        assert kind is Branching
    assert repr(snapshot(model)) == repr(before)
    assert all(vars(m) == old[1] for m, old in zip(model.modules(), before, strict=True))


def test_a_model_that_branches_on_the_data_is_refused():
    with pytest.raises(UntraceableModelError, match=r"must trace it\); got Branching, where TraceError"):
        trace(Branching())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_script_module_is_refused():
    with pytest.raises(UntraceableModelError, match=r"got a ScriptModule.*Pass the model it was made from"):
        trace(torch.jit.script(Net()))


def test_models_that_run_in_other_threads_are_not_disturbed():
    """torch.fx patches nn.Module for the whole process: hold a trace open while another thread runs a model."""
    inside, done = threading.Event(), threading.Event()

    class Slow(Net):
        def forward(self, images):
            inside.set()
            assert done.wait(30)
            return super().forward(images)

    other, images, results = Net(), torch.rand(1, 3, 5, 5), []
    want = other(images)

    def run():
        try:
            assert inside.wait(30)
            results.append(other(images))
        finally:
            done.set()

    thread = threading.Thread(target=run)
    thread.start()
    graph = trace(Slow())
    thread.join()
    assert modules_of(graph) == ["stem", "head"]
    assert_close(results, [want], rtol=0, atol=0)


def test_traces_in_several_threads_give_the_same():
    graphs = [[] for _ in range(4)]

    def run(found):
        found.extend(modules_of(trace(Net())) for _ in range(20))

    threads = [threading.Thread(target=run, args=(found,)) for found in graphs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert graphs == [[["stem", "head"]] * 20] * 4
    assert nn.Module.__call__.__qualname__.startswith("Module.")
