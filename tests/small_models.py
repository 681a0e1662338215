"""Small classifiers that run one function in their middle, and the numbers to compare their explanations with."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as module_hooks
from torch.overrides import _get_current_function_mode_stack

import edgefilter as ef

EXACT = {"rtol": 0, "atol": 1e-10}
CHANNELS = 8


def seeded(build, *arguments, seed=0, **options):
    """Build a model with fixed random weights, in float64 and in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(*arguments, **options).double().eval()


def pictures(count=2, channels=3, size=10, seed=1):
    """Return random images, float64."""
    noise = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, size, size, generator=noise, dtype=torch.float64)


class Middle(nn.Module):
    """Convolution, any function, convolution, ReLU, mean, any head."""

    def __init__(self, function=None, head=None):
        super().__init__()
        self.a = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.b = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.fc = nn.Linear(CHANNELS, 4)
        self.function, self.head = function, head

    def forward(self, x):
        h = self.a(x)
        h = h if self.function is None else self.function(h)
        h = F.relu(self.b(h)).mean((2, 3))
        return self.fc(h) if self.head is None else self.head(self.fc, h)


def network(channels, before=None):
    """Build a network whose forward may touch the image first."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(channels, 6, 3, padding=1)
            self.rest = nn.Sequential(
                nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4)
            )

        def forward(self, x):
            return self.rest(self.conv(x if before is None else before(x)))

    return seeded(Net)


def enumerated(values, players):
    """Shapley values by their definition, from a function of a tuple of players."""
    found = []
    for player in range(players):
        others = [other for other in range(players) if other != player]
        gains = [
            (values((*some, player)) - values(some)) / math.comb(players - 1, size) / players
            for size in range(players)
            for some in itertools.combinations(others, size)
        ]
        found.append(sum(gains))
    return torch.stack(found, 1)


def explain(model, images, target=0, composite="epsilon_plus"):
    """Return all scores of one target."""
    return ef.EdgeFilterAttribution(model, composite, calibrate=False).explain(images, target)


def input_times_gradient(model, images, target=0):
    """Return what epsilon gives where the model is linear but for ReLU and maxima."""
    leaf = images.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[:, target].sum(), leaf)
    return gradient * images


def through(function):
    """Return a function with the same value whose slope is value over input: an activation with its gain frozen."""

    def frozen(h):
        with torch.no_grad():
            value = function(h.clone())
            slope = torch.where(h == 0, 0, value / torch.where(h == 0, 1, h))
        return h * slope + torch.where(h == 0, value, 0)

    return frozen


def assert_same_scores(found, wanted, tolerance=1e-10):
    """Compare the relevance of pixels and responses, the base and the output."""
    for name in ("output", "base", "pixel", "color", "edge"):
        torch.testing.assert_close(
            getattr(found, name),
            getattr(wanted, name),
            rtol=0,
            atol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def assert_adds_up(explanation, output=None, tolerance=1e-9):
    """Compare base plus each score with the explained output."""
    wanted = explanation.output if output is None else output
    for name in ("pixel", "color", "edge", "color_edge", "response"):
        total = explanation.base + getattr(explanation, name).flatten(1).sum(1)
        torch.testing.assert_close(
            total, wanted, rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


HOOK_DICTIONARIES = sorted(
    name for name in vars(module_hooks) if name.startswith("_global_") and "hook" in name
)
MODULE_HOOKS = sorted(name for name in vars(nn.Module()) if "hook" in name)


def snapshot(model, *tensors):
    """Return everything that a call must leave as it was: compare two of them with ``assert_untouched``."""
    state = {
        "grad mode": torch.is_grad_enabled(),
        "modes": len(_get_current_function_mode_stack()),
        "hooks of torch": [
            (name, list(value))
            for name in HOOK_DICTIONARIES
            if isinstance(value := getattr(module_hooks, name), dict)
        ],
        "inputs": [
            (
                id(t),
                t.requires_grad,
                t.is_leaf,
                None if t.grad is None else t.grad.clone(),
                t.detach().clone(),
            )
            for t in tensors
        ],
    }
    for path, module in model.named_modules():
        state[f"{path}: kind"] = (type(module), id(module), module.training)
        state[f"{path}: attributes"] = [
            (key, id(value)) for key, value in sorted(vars(module).items()) if key != "training"
        ]
        state[f"{path}: hooks"] = [
            (name, [(key, id(hook)) for key, hook in getattr(module, name).items()])
            for name in MODULE_HOOKS
            if isinstance(getattr(module, name), dict)
        ]
    for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
        grad = None if tensor.grad is None else (id(tensor.grad), tensor.grad.clone())
        state[f"{path}: tensor"] = (
            id(tensor),
            tensor.requires_grad,
            grad,
            tensor.detach().clone(),
            tensor._version,  # also what was written and put back
            len(tensor._backward_hooks or {}),
        )
    return state


def assert_untouched(before, after):
    """Compare two snapshots entry by entry."""
    assert before.keys() == after.keys()
    for key in before:
        assert _same(before[key], after[key]), f"{key}: {before[key]} became {after[key]}"


def _same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other
