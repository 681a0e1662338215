"""What each method costs: in gradient passes of the same network, measured in one run in turns."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor, nn

import edgefilter as ef

from .methods import Explain, methods

CLASSES, BATCH = 1000, 2


def network() -> nn.Module:
    """Return ResNet-18 with an exact stem and random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.resnet18(weights=None, num_classes=CLASSES)
    return ef.replace_stem(model.eval().requires_grad_(False))


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def gradient(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Run one forward and one backward pass to the images."""
    leaf = images.clone().requires_grad_()
    return torch.autograd.grad(model(leaf).gather(1, targets[:, None]).sum(), leaf)[0]


def runs(explain: Explain, model: nn.Module, images: Tensor, targets: Tensor) -> bool:
    """Say whether a method can explain the network; some of Captum's refuse modules that are used twice."""
    try:
        explain(model, images, targets)
    except (RuntimeError, AssertionError) as failure:
        warnings.warn(f"no cost: {str(failure).splitlines()[0]}", stacklevel=2)
        return False
    return True


def costs(size: int, turns: int) -> dict[str, float]:
    """Return for each method that takes no hundreds of passes its time, as a multiple of a gradient pass.

    The median over turns that ask every method. Every method has run once before: what it prepares once is not counted.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, images, targets = network(), torch.randn(BATCH, 3, size, size), torch.arange(BATCH)
    gradient(model, images, targets)
    kept = {
        name: method.explain
        for name, method in methods().items()
        if not method.slow and runs(method.explain, model, images, targets)
    }
    ratios: dict[str, list[float]] = {name: [] for name in kept}
    for _ in range(turns):
        unit = statistics.median(seconds(lambda: gradient(model, images, targets)) for _ in range(3))
        for name, explain in kept.items():
            ratios[name].append(seconds(lambda explain=explain: explain(model, images, targets)) / unit)
    return {name: statistics.median(values) for name, values in ratios.items()}
