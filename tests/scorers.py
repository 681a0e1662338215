"""Scores that methods are asked about from outside, and images that are large enough to have something to say."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F


def total(x):
    """A score that is not additive."""
    return (x * torch.linspace(-1, 2, x[0].numel()).reshape(x[0].shape).to(x)).sum((1, 2, 3)).sin()


class Seen:
    """A score that keeps the copies it was given; of images of ones, they are the masks."""

    def __init__(self, score=total):
        self.score, self.copies = score, []

    def __call__(self, x):
        self.copies.append(x)
        return self.score(x)

    @property
    def masks(self):
        return torch.cat(self.copies)[:, 0]


def digits(count):
    """Handwritten digits of scikit-learn, as large as those of MNIST."""
    pixels = pytest.importorskip("sklearn.datasets").load_digits().images[:count]
    small = torch.from_numpy(pixels).float()[:, None] / 16
    return F.pad(F.interpolate(small, (20, 20), mode="bilinear"), (4, 4, 4, 4))


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.flatten().double(), b.flatten().double()]))[0, 1])


def alike(maps, others, images):
    """Return the correlation of the maps of each digit with others, over its strokes."""
    return [correlation(a[on], b[on]) for a, b, on in zip(maps, others, images > 0.1, strict=True)]


def with_new_weights(model, draws):
    """Yield a model again and again, each time with new weights in all layers that can train."""
    for seed in range(draws):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for module in model.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)) and module.weight.requires_grad:
                    module.reset_parameters()
        yield model
