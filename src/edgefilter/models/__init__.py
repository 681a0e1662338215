"""The paper's kind of network: fixed edge filters as the first layer, with trained weights for digits and fruits.

Examples
--------
>>> import edgefilter as ef
>>> import torch
>>> digits = ef.models.load("digits")
>>> attribution = ef.EdgeFilterAttribution(digits)
>>> attribution.attribute(torch.rand(1, 1, 28, 28), target=7, score="edge").shape
torch.Size([1, 18])
"""

from __future__ import annotations

from .networks import EdgeNetwork, SplitReLU, edge_cnn, edge_resnet18, edge_resnet50
from .preprocessing import Preprocessing
from .shipped import load, names, read, write

__all__ = [
    "EdgeNetwork",
    "Preprocessing",
    "SplitReLU",
    "edge_cnn",
    "edge_resnet18",
    "edge_resnet50",
    "load",
    "names",
    "read",
    "write",
]
