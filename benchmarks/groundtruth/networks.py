"""Small networks on fixed filters, their training, and the gate that each has to pass before anything is measured."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import edgefilter as ef

from .data import ORIENTATIONS, Samples, gratings, painted, stamps, swapped

TUNING_SEEDS = (100, 101, 102, 103, 104)
REPORT_SEEDS = (7100, 7101, 7102, 7103, 7104)

DEEP = ("plain", "plain_norm", "residual", "deeper", "dense_head")
SHALLOW = ("shallow", "shallow_direct")  # one hidden layer: these read an orientation through its kernels
ARCHITECTURES = DEEP + SHALLOW
POOLED = (
    "plain",
    "plain_norm",
    "residual",
    "deeper",
)  # whose heads do not know places: what turns can be tested
STAMP_ARCHITECTURES = ("plain", "plain_norm", "residual")
VARIANTS = ("norm_mixing", "residual_direct")  # beside them, to develop methods on
STEMS = {
    **dict.fromkeys(("plain", "residual", "norm_mixing", "deeper", "dense_head", "shallow"), "mixing"),
    **dict.fromkeys(("plain_norm", "residual_direct", "shallow_direct"), "direct"),
}
TESTS: dict[str, tuple[int, Callable[..., Samples]]] = {
    "gratings": (ORIENTATIONS, gratings),
    "stamps": (2, lambda count, seed, _: stamps(count, seed)),
}
PURPOSES = ("train", "gate", "test")

LEAST, SPREAD, ABOVE_CHANCE = 0.95, 0.03, 0.1
TRIES = 4


def bank(normalize: str | None = None) -> ef.FilterBank:
    """Return four oriented Sobel kernels, each in both polarities."""
    names = ef.get_bank("robinson").names
    return ef.FilterBank([ef.get_kernel(name) for name in names], size=3, normalize=normalize)


class Residual(nn.Module):
    """Two convolutions with BatchNorm and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*block(channels, channels, norm=True))
        self.second = nn.Sequential(*block(channels, channels, norm=True)[:-1])
        self.relu = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return relu(inputs + branch)."""
        return self.relu(inputs + self.second(self.first(inputs)))


def block(inputs: int, outputs: int, *, norm: bool) -> list[nn.Module]:
    """Return a 3 x 3 convolution, BatchNorm if wanted, and ReLU."""
    middle = [nn.BatchNorm2d(outputs)] if norm else []
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not norm)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return [convolution, *middle, nn.ReLU()]


def build(architecture: str, classes: int, seed: int) -> nn.Module:
    """Return an untrained network; both kinds of stem occur among the architectures."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        norm = architecture not in ("plain", *SHALLOW)
        if STEMS[architecture] == "direct":
            stem, width = [ef.EdgeFilterBank2d(bank("l2"), 3, padding=1), nn.ReLU()], 24
        else:
            middle = [nn.BatchNorm2d(16)] if norm else []
            stem = [ef.EdgeFilterConv2d(3, 16, bank(), padding=1, bias=not norm), *middle, nn.ReLU()]
            width = 16
        if architecture in SHALLOW:
            body, out = [nn.AvgPool2d(4), nn.Conv2d(width, 24, 1), nn.ReLU()], 24
        elif architecture.startswith("residual"):
            body, out = [Residual(16), nn.MaxPool2d(2), Residual(16)], 16
            if width != 16:
                body = [*block(width, 16, norm=norm), *body]
        else:
            body = [*block(width, 24, norm=norm), nn.MaxPool2d(2), *block(24, 32, norm=norm)]
            body += block(32, 32, norm=norm) if architecture == "deeper" else []
            out = 32
        side = 4 if architecture == "dense_head" else 1
        head = [nn.AdaptiveAvgPool2d(side), nn.Flatten(), nn.Linear(out * side**2, classes)]
        return nn.Sequential(*stem, *body, *head)


def train(network: nn.Module, samples: Samples, epochs: int, seed: int) -> nn.Module:
    """Train with AdamW and a one-cycle schedule; return the network in evaluation mode."""
    generator, batch = torch.Generator().manual_seed(seed), 100
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=4e-3, weight_decay=1e-3)
    steps = epochs * -(-len(samples) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(samples), generator=generator).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(network(samples.images[chosen]), samples.labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    return network.eval().requires_grad_(False)


def accuracy(network: nn.Module, samples: Samples) -> float:
    """Return the share of correct predictions."""
    with torch.no_grad():
        return float((network(samples.images).argmax(1) == samples.labels).double().mean())


class Gate(NamedTuple):
    """Accuracies that prove what a network looks at."""

    plain: float
    without_irrelevant: float
    without_relevant: float
    chance: float

    @property
    def failure(self) -> str | None:
        """Say why the ground truth doesn't hold for the network; None if it does."""
        if self.without_irrelevant < max(LEAST, self.plain - SPREAD):
            return f"accuracy {self.without_irrelevant:.2f} without the irrelevant part, {self.plain:.2f} with it"
        if self.without_relevant > self.chance + ABOVE_CHANCE:
            return (
                f"accuracy {self.without_relevant:.2f} without the relevant part, chance is {self.chance:.2f}"
            )
        return None


def gate(network: nn.Module, samples: Samples, classes: int, seed: int) -> Gate:
    """Take the irrelevant part away, then the relevant one: exchanged between images, or painted out."""
    if samples.color is None:
        without = (painted(samples, samples.decoy), painted(samples, samples.stamp))
    else:
        others = [color for color in range(3) if color != samples.color]
        without = (swapped(samples, others, seed), swapped(samples, [samples.color], seed))
    return Gate(accuracy(network, samples), *(accuracy(network, some) for some in without), 1 / classes)


class Trained(NamedTuple):
    """A network that passed its gate, its test images, and the gates of the void networks before it."""

    network: nn.Module
    samples: Samples
    gate: Gate
    void: list[str]


class VoidError(RuntimeError):
    """No network passed its gate; ``void`` says why each failed."""

    def __init__(self, message: str, void: list[str]) -> None:
        super().__init__(message)
        self.void = void


def seed_of(seed: int, test: str, purpose: str, attempt: int = 0) -> int:
    """Return a seed of its own for each network, test, purpose and attempt."""
    return (
        (seed * len(TESTS) + list(TESTS).index(test)) * len(PURPOSES) + PURPOSES.index(purpose)
    ) * 10 + attempt


def trained(test: str, architecture: str, seed: int, images: int, *, epochs: int, training: int) -> Trained:
    """Train networks until one passes its gate.

    Raises
    ------
    VoidError
        If none of ``TRIES`` networks does: nothing can be measured then.
    """
    classes, draw = TESTS[test]
    color = (seed + (ARCHITECTURES + VARIANTS).index(architecture)) % 3
    void: list[str] = []
    for attempt in range(TRIES):
        first = seed_of(seed, test, "train", attempt)
        network = train(build(architecture, classes, first), draw(training, first, color), epochs, first)
        judged = gate(network, draw(500, seed_of(seed, test, "gate"), color), classes, seed)
        if judged.failure is None:
            return Trained(network, draw(images, seed_of(seed, test, "test"), color), judged, void)
        void.append(f"{test} {architecture} {first}: {judged.failure}")
    raise VoidError(f"no network of {TRIES} passed the gate of {test} ({architecture}, seed {seed})", void)


def redrawn(network: nn.Module, seed: int) -> nn.Module:
    """Return the network with all weights drawn anew, those of the filter bank excepted."""
    other = copy.deepcopy(network)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inside = [
            m for part in other.modules() if isinstance(part, ef.EdgeFilterBank2d) for m in part.modules()
        ]
        for module in other.modules():
            if hasattr(module, "reset_parameters") and module not in inside:
                module.reset_parameters()
    return other.eval()


def constant(network: nn.Module) -> nn.Module:
    """Return the network with a head that gives the same outputs for every image."""
    other = copy.deepcopy(network)
    other[-1].weight.data.zero_()
    return other
