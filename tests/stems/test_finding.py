"""Stems are found by running the model: the convolution that reads the image first, and nothing is changed."""

from __future__ import annotations

import threading

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module
from torchvision.ops import Conv2dNormActivation

from edgefilter import EdgeFilterBank2d, find_stem, replace_stem
from edgefilter.stems.finding import bank_of_model, bank_path, has_bank


class Shuffled(nn.Module):
    """Registers the second convolution first; runs what another order would not name."""

    def __init__(self):
        super().__init__()
        self.second, self.first = nn.Conv2d(4, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.second(self.first(images))


class Branching(Shuffled):
    """Looks at the image and at its shape."""

    def forward(self, images):
        _, channels, height, width = images.shape
        assert channels == 3
        return super().forward(images if images.sum() > 0 and height >= width else -images)


class Normalizing(Shuffled):
    """Works on the image before it is convolved."""

    def forward(self, images):
        mean = images.mean((2, 3), keepdim=True)
        return super().forward(F.pad((images - mean)[:, [2, 1, 0]], (1, 1, 1, 1), mode="reflect"))


class Counting(Shuffled):
    """Keeps what it sees, and counts its calls."""

    calls = 0

    def forward(self, images):
        self.seen, self.calls = images, self.calls + 1
        return super().forward(images)


class Conditioned(Shuffled):
    """Convolves something else first."""

    def __init__(self):
        super().__init__()
        self.register_buffer("grid", torch.rand(1, 4, 9, 9))

    def forward(self, images):
        return self.second(self.grid).mean() + self.first(images)


class Small(Shuffled):
    """Takes images of one size only."""

    def forward(self, images):
        assert images.shape[2:] == (28, 28)
        return super().forward(images)


class Gray(nn.Module):
    """Takes images of one channel, where its first registered convolution has three."""

    def __init__(self):
        super().__init__()
        self.later, self.first = nn.Conv2d(3, 4, 3), nn.Conv2d(1, 3, 3)

    def forward(self, images):
        return self.later(self.first(images))


class Wrapped(Shuffled):
    """A forward that is set on the object."""

    def __init__(self):
        super().__init__()
        self.forward = lambda images: self.second(self.first(images))


FOUND = {
    "model itself": (lambda: nn.Conv2d(3, 4, 3), ""),
    "bank itself": (lambda: EdgeFilterBank2d("sobel", 3), ""),
    "nested": (lambda: nn.Sequential(nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3))), "0.1"),
    "order of execution": (Shuffled, "first"),
    "branching on the image": (Branching, "first"),
    "after normalisation": (Normalizing, "first"),
    "not the first convolution that runs": (Conditioned, "first"),
    "of one size": (Small, "first"),
    "of one channel": (Gray, "first"),
    "forward of the object": (Wrapped, "first"),
    "in half precision": (lambda: Shuffled().to(torch.bfloat16), "first"),
    "replaced": (lambda: replace_stem(Shuffled()), "first"),
    "bank in place": (lambda: nn.Sequential(EdgeFilterBank2d("sobel", 3), nn.Conv2d(6, 2, 1)), "0"),
    "data parallel": (lambda: nn.DataParallel(Shuffled()), "module.first"),
    "wrapped block": (lambda: Conv2dNormActivation(3, 4), "0"),
    "mobilenet_v2": (torchvision.models.mobilenet_v2, "features.0.0"),
    "not 2d": (lambda: nn.Sequential(nn.Identity(), nn.Conv1d(3, 4, 3)), "1"),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_stem_is_the_convolution_that_reads_the_image_first(name):
    make, want = FOUND[name]
    assert find_stem(make()) == want


class Video(nn.Module):
    """Takes five dimensions and a flag: no probing image will do."""

    def __init__(self):
        super().__init__()
        self.head, self.stem = nn.Conv2d(4, 4, 1), nn.Conv2d(3, 4, 3)

    def forward(self, clips, deep):
        assert clips.dim() == 5
        frames = self.stem(clips.flatten(0, 1))
        return self.head(frames) if deep else frames


def test_inputs_are_what_the_model_is_run_with():
    """Without them, the first registered convolution is named; with them, the one that runs."""
    assert find_stem(Video()) == "head"
    assert find_stem(Video(), (torch.rand(1, 2, 3, 5, 5), True)) == "stem"
    assert find_stem(Shuffled(), torch.rand(1, 3, 7, 7)) == "first"


def test_inputs_that_no_convolution_reads_are_refused():
    class Blind(Shuffled):
        def forward(self, images):
            return images.mean((2, 3))

    with pytest.raises(ValueError, match="must read the image by a convolution; got Blind"):
        find_stem(Blind(), torch.rand(1, 3, 7, 7))


def test_an_error_of_the_model_with_given_inputs_is_its_own():
    with pytest.raises(AssertionError):
        find_stem(Small(), torch.rand(1, 3, 7, 7))


def test_a_convolution_that_is_called_as_a_function_is_named_by_its_module():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernels, self.later = nn.Parameter(torch.rand(4, 3, 3, 3)), nn.Conv2d(4, 4, 1)

        def forward(self, images):
            return self.later(F.conv2d(images, self.kernels * 2))

    with pytest.raises(ValueError, match=r"must be a layer of torch\.nn; got a function called in ''"):
        find_stem(Functional(), torch.rand(1, 3, 7, 7))


@pytest.mark.parametrize("model", [nn.Linear(3, 3), nn.ReLU(), nn.Sequential(nn.ReLU())])
def test_a_model_without_a_convolution_is_refused(model):
    with pytest.raises(ValueError, match="model must hold a convolution"):
        find_stem(model)


def snapshot(model):
    return [
        (name, sorted(vars(m)), dict(m._parameters), dict(m._buffers), m.training, len(m._forward_hooks))
        for name, m in model.named_modules()
    ]


@pytest.mark.parametrize("kind", [Shuffled, Branching, Small, Video, Wrapped])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_is(kind, training):
    """No hook stays, nor in torch itself; parameters, buffers and training flags are what they were."""
    model = kind().train(training)
    before, random = snapshot(model), torch.get_rng_state()
    find_stem(model)
    assert repr(snapshot(model)) == repr(before)
    assert torch.equal(torch.get_rng_state(), random)
    assert not torch_module._global_forward_hooks
    assert not torch_module._global_forward_pre_hooks
    assert not torch.overrides._get_current_function_mode_stack()


def test_statistics_in_front_of_the_stem_stay_in_training():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert find_stem(model) == "1"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_hooks_of_the_stem_do_not_run():
    """It is found before it is called: hooks that record or raise see nothing, a lazy layer stays lazy."""
    calls = []
    for stem in (nn.Conv2d(3, 4, 3), nn.LazyConv2d(4, 3)):
        stem.register_forward_pre_hook(lambda *given: calls.append(given))
        stem.register_forward_hook(lambda *given: calls.append(given))
        assert find_stem(nn.Sequential(nn.Identity(), stem)) == "1"
    assert calls == []
    assert stem.has_uninitialized_params()


def test_models_that_run_in_other_threads_are_not_disturbed():
    """Hooks for all modules see this thread only: hold a run open while another thread runs a model."""
    inside, done = threading.Event(), threading.Event()

    class Slow(Shuffled):
        def forward(self, images):
            inside.set()
            assert done.wait(30)
            return super().forward(images)

    other, images, results = Shuffled(), torch.rand(1, 3, 9, 9), []
    want = other(images)

    def run():
        try:
            assert inside.wait(30)
            results.append(other(images))
        finally:
            done.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert find_stem(Slow()) == "first"
    thread.join()
    assert torch.equal(results[0], want)


def test_several_threads_find_the_same():
    found = [[] for _ in range(4)]

    def run(names):
        names.extend(find_stem(model) for model in (Shuffled(), Gray(), Branching()) for _ in range(5))

    threads = [threading.Thread(target=run, args=(names,)) for names in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["first"] * 15] * 4
    assert not torch_module._global_forward_hooks


# --- the bank of a model ------------------------------------------------------------------------------------


def test_the_bank_is_named_by_its_path():
    model = replace_stem(Shuffled())
    assert has_bank(model)
    assert not has_bank(Shuffled())
    assert bank_path(model) == bank_path(model, "first") == bank_path(model, model.first) == "first.filters"
    assert bank_of_model(model) is model.first.filters
    assert bank_of_model(Shuffled()) is None


def test_of_two_banks_one_must_be_named():
    model = replace_stem(replace_stem(Shuffled()), stem="second")
    with pytest.raises(ValueError, match=r"must hold one edge-filter layer; got 2: .* Choose one with layer"):
        bank_of_model(model)
    assert bank_of_model(model, "second") is model.second.filters
    with pytest.raises(ValueError, match=r"got Shuffled without one in 'first'"):
        bank_path(Shuffled(), "first")


def test_unknown_layers_are_refused():
    model = replace_stem(Shuffled())
    with pytest.raises(
        KeyError, match="layer must be the path of a module of the model; got 'frist'; did you mean"
    ):
        bank_path(model, "frist")
    with pytest.raises(ValueError, match="layer must be a module of the model; got another Conv2d"):
        bank_path(model, nn.Conv2d(3, 4, 3))
