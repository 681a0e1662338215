"""Two sanity checks of SmoothTaylor and of guided nonlinearities, on the shipped network for digits.

    python benchmarks/sanity.py --data ../shared/data

*Randomization*: every layer above the filter bank is re-initialised, three times; the rank correlation of the maps before
and after, on the pixels that the digit covers, is averaged over images. A map that explains the network changes: 0.
*Deletion*: pixels are set to black by their rank, 28 at a time; the mean probability of the class that was predicted.
Lower is better, and a map of random numbers is the one to beat.
"""

from __future__ import annotations

import argparse
import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from captum.attr import GuidedBackprop, IntegratedGradients, NoiseTunnel, Saliency
from scipy.stats import spearmanr
from torch import Tensor, nn

import edgefilter as ef
from edgefilter.methods import GuidedNonlinearityIG, SmoothTaylor, guided_gradients

DRAWS = 3  # of new weights
PIXELS = 28  # that are deleted at a time

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


def guided_backprop(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Return guided backpropagation; Captum's own does not see the ReLU of the first layer, which is a function."""
    with guided_gradients(model):
        return Saliency(model).attribute(images, target=targets, abs=False)


def integrated_gradients(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return IntegratedGradients(model).attribute(images, target=targets)


def random(_model: nn.Module, images: Tensor, _targets: Tensor) -> Tensor:
    return torch.rand(images.shape, generator=torch.Generator().manual_seed(0))


def methods(noise: float) -> dict[str, Explain]:
    """Return the methods by name; two of them add noise of this standard deviation."""

    def smooth_grad(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        torch.manual_seed(0)
        options = {"nt_samples": 150, "nt_samples_batch_size": 10, "stdevs": noise, "abs": False}
        return NoiseTunnel(Saliency(model)).attribute(images, target=targets, **options)

    def smooth_taylor(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return SmoothTaylor(model).attribute(images, targets, stdevs=noise, n_samples_batch_size=10)

    return {
        "GuidedNonlinearityIG": lambda model, x, t: GuidedNonlinearityIG(model).attribute(x, target=t),
        "guided backpropagation": guided_backprop,
        "Captum's GuidedBackprop": lambda model, x, t: GuidedBackprop(model).attribute(x, target=t),
        "IntegratedGradients": integrated_gradients,
        "SmoothGrad": smooth_grad,
        "SmoothTaylor": smooth_taylor,
        "-SmoothTaylor": lambda *given: -smooth_taylor(*given),
        "|SmoothTaylor|": lambda *given: smooth_taylor(*given).abs(),
        "random": random,
    }


def digits(folder: Path, count: int) -> Tensor:
    """Return test images of MNIST, (N, 1, 28, 28), between 0 and 1."""
    with np.load(folder / "mnist.npz") as found:
        return torch.from_numpy(found["x_test"][:count, None]).float() / 255


def randomized(network: nn.Module, seed: int) -> nn.Module:
    """Return a copy with new weights, and new statistics of BatchNorm, above the bank."""
    new = copy.deepcopy(network)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, module in new.named_modules():
            if hasattr(module, "reset_parameters") and not name.startswith("stem.filters"):
                module.reset_parameters()
    return new


def correlation(explain: Explain, network: nn.Module, images: Tensor) -> float:
    """Return the mean rank correlation of maps before and after re-initialisation."""
    targets = network(images).argmax(1)
    before = explain(network, images.clone(), targets).detach()
    found = []
    for seed in range(DRAWS):
        after = explain(randomized(network, seed), images.clone(), targets).detach()
        for image, one, other in zip(images, before, after, strict=True):
            found.append(spearmanr(one[image > 0], other[image > 0]).statistic)
    return float(np.mean(found))


def deletion(explain: Explain, network: nn.Module, images: Tensor) -> float:
    """Return the mean probability while pixels are set to black, the largest attributions first."""
    targets = network(images).argmax(1)
    order = explain(network, images.clone(), targets).detach().flatten(1).argsort(1, descending=True)
    probabilities = []
    for count in range(0, order.shape[1] + 1, PIXELS):
        left = images.flatten(1).scatter(1, order[:, :count], 0.0).reshape(images.shape)
        with torch.no_grad():
            probabilities.append(network(left).softmax(1).gather(1, targets[:, None]).mean())
    return float(torch.stack(probabilities).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--randomized", type=int, default=30, help="images of the first check")
    parser.add_argument("--deleted", type=int, default=200, help="images of the second check")
    parser.add_argument(
        "--noise", type=float, default=0.5, help="standard deviation, of pixels between 0 and 1"
    )
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # Captum says that it sets hooks
    network = ef.models.load("digits")
    print(f"{'':24} randomization  deletion")
    for name, explain in methods(given.noise).items():
        kept = correlation(explain, network, digits(given.data, given.randomized))
        fallen = deletion(explain, network, digits(given.data, given.deleted))
        print(f"{name:24} {kept:13.2f} {fallen:9.3f}", flush=True)


if __name__ == "__main__":
    main()
