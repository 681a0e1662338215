"""Classifiers: a model with its names, its preprocessing, and how its input looks to a viewer.

From this package, torchvision, timm or a file of weights. No attribution here.
"""

from __future__ import annotations

from .classifier import Classifier
from .description import Description, read_description
from .loading import DEMO, classifier_names, load_classifier

__all__ = [
    "DEMO",
    "Classifier",
    "Description",
    "classifier_names",
    "load_classifier",
    "read_description",
]
