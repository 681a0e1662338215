"""What most tests need: fresh random numbers and small models."""

from __future__ import annotations

import pytest
import torch
from torch import nn


@pytest.fixture
def generator() -> torch.Generator:
    """Random numbers that do not depend on which tests ran before."""
    return torch.Generator().manual_seed(20200)


@pytest.fixture
def small_net() -> nn.Module:
    """A convolutional classifier of 5 classes for color images, in float64 and in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(20201)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 5),
        )
    return net.double().eval()
