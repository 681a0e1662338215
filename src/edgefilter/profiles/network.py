"""The network that answers: its classes, the output of each folder, and a digest of its weights."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgefilter.attribution.arguments import check_mode
from edgefilter.attribution.attribution import EdgeFilterAttribution
from edgefilter.attribution.explanation import Explanation
from edgefilter.attribution.shuffling import shuffled_outputs
from edgefilter.classifiers.classifier import Classifier
from edgefilter.classifiers.fingerprint import fingerprint_of

from .checks import plainly
from .confusion import distinct, predictions

__all__ = ["Network", "fingerprint_of", "on_device", "outputs_of"]

SHOWN = 3  # names in a message


class Network:
    """A network that photos are explained for, and what its outputs have to do with their folders.

    Parameters
    ----------
    classifier : Classifier
    attribution : EdgeFilterAttribution
    folders : sequence of str
        The names of the folders.
    target : {"label", "predicted"} or None
        What is to be explained; None for the label if all folders are named by classes.
    device : str or torch.device
    photo : PIL.Image.Image or ndarray
        Any photo, to see what the network answers.

    Attributes
    ----------
    example : Tensor, shape (1, C, H, W)
        That photo as the network takes it.
    names : tuple of str
        The classes: one for each output, two of a network with one output.
    single : bool
        Whether it has one output, which speaks for the second class where it is positive.
    truth : Tensor or None
        The class of each folder, if folders are classes.
    target : {"label", "predicted"}
        What is explained.
    """

    def __init__(
        self,
        classifier: Classifier,
        attribution: EdgeFilterAttribution,
        folders: Sequence[str],
        target: str | None,
        device: str | torch.device,
        photo: Any,
    ) -> None:
        self.classifier, self.attribution, self.device = classifier, attribution, device
        self.folders = tuple(folders)
        self.example = self.seen(photo)
        check_mode(attribution.model)
        with torch.no_grad():
            self.single = attribution.model(self.example).flatten(1).shape[1] == 1
        two = _two(classifier.class_names) if self.single else None
        self.names = tuple(classifier.class_names) if two is None else two
        outputs = outputs_of(folders, classifier, "label" if target == "label" else None, two)
        self.truth = None if outputs is None else torch.tensor(outputs)
        self.names = _named_by(folders, outputs, self.names)
        self.target = "predicted" if outputs is None or target == "predicted" else "label"

    def follow(self, first: Network) -> None:
        """Take over what the folders mean from the first network, if this one has as many classes and no names for them.

        Raises
        ------
        ValueError
            If the two would explain different outputs: that of the label, and the largest.
        """
        if (
            self.truth is None
            and len(self.names) == len(first.names)
            and self.names == _unnamed(len(self.names))
        ):
            self.names, self.truth, self.target = first.names, first.truth, first.target
        if self.target != first.target:
            raise ValueError(
                f"compare must be a network of the classes that the folders are, as {first.classifier.name} is; got "
                f"{self.classifier.name}, which has {len(self.names)} others. Pass target='predicted', or give it class names."
            )

    def check_shuffling(self) -> None:
        """Raise before the work is done if the network cannot run on with the responses of another photo."""
        try:
            shuffled_outputs(self.attribution, self.example, self.example, [torch.ones(1, 1)])
        except RuntimeError as cause:
            raise ValueError(
                f"permutations must be 0 for {self.classifier.name}, which cannot run again with other responses ({cause}). Pass "
                "permutations=0 (--permutations 0)."
            ) from cause

    def about(self) -> dict[str, Any]:
        """Return where the network comes from, the class of each folder if folders are classes, and what a single output speaks for."""
        folders = None
        if self.truth is not None:
            names = distinct(self.names)
            folders = {
                folder: names[place] for folder, place in zip(self.folders, self.truth.tolist(), strict=True)
            }
        return {
            "about": self.classifier.about,
            "folders": folders,
            "speaks_for": self.names[1] if self.single else None,
        }

    def seen_as(self) -> dict[str, Any]:
        """Return what else than the weights decides about scores and their names, as JSON gives it back."""
        classifier, colors = self.classifier, self.attribution.colors
        members, basis = colors.members(len(classifier.channels)), colors.basis
        parts = () if basis is None else (basis.matrix, basis.mean, basis.std)
        return {
            "members": {name: list(channels) for name, channels in members.items()},
            "basis": [part.tolist() for part in parts],
            "class names": hashlib.sha256(json.dumps(self.names).encode()).hexdigest()[:16],
            "preprocessing": classifier.about["preprocessing"],
            "scale": [classifier.bits, classifier.white],
        }

    def seen(self, photo: Any) -> Tensor:
        """Return a photo as the network takes it."""
        return self.classifier.preprocess(photo).to(self.device)

    def explain(self, inputs: Tensor, labels: Tensor) -> Explanation:
        """Explain the output of the folder's class, the largest output, or the only one."""
        target = None
        if self.truth is not None and self.target == "label" and not self.single:
            target = self.truth[labels].tolist()
        return self.attribution.explain(inputs, target)

    def predicted(self, inputs: Tensor, explanation: Explanation) -> Tensor:
        """Return the predicted classes, shape (N,); where they were explained, no further pass is needed."""
        if self.single:  # explained without a sigmoid at its end
            return predictions(explanation.output[:, None]).cpu()
        if self.target == "predicted":
            return torch.tensor(explanation.target)
        return self.largest(inputs, len(inputs))

    def largest(self, inputs: Tensor, size: int) -> Tensor:
        """Return the places of the largest outputs, shape (N,), for so many images at a time."""
        with torch.no_grad():
            return torch.cat(
                [predictions(self.attribution.model(some)).cpu() for some in torch.split(inputs, size)]
            )


def _unnamed(count: int) -> tuple[str, ...]:
    """Return the names of classes that have none."""
    return tuple(f"class {place}" for place in range(count))


def _named_by(
    folders: Sequence[str], outputs: Sequence[int] | None, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names of classes, those of their folders if they have none and each has a folder."""
    unnamed = names in (_unnamed(len(names)), ("0", "1"))
    if outputs is None or not unnamed or sorted(outputs) != list(range(len(names))):
        return names
    return tuple(folders[outputs.index(place)] for place in range(len(names)))


def _two(names: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of a network of one output; 0 and 1 unless it names both."""
    return tuple(names) if len(names) == 2 else ("0", "1")


def outputs_of(
    folders: Sequence[str], classifier: Classifier, target: str | None, names: Sequence[str] | None = None
) -> list[int] | None:
    """Return the class of each folder, or None if folders are not classes.

    Parameters
    ----------
    folders : sequence of str
    classifier : Classifier
    target : {"label", "predicted"} or None
        ``"label"``: folders have to be classes; also by index, or of a network without names all of them in alphabetical order.
    names : sequence of str, optional
        Its classes. Default: ``classifier.class_names``.
    """
    if target == "predicted":
        return None
    unnamed = names is not None or classifier.class_names == _unnamed(len(classifier.class_names))
    names = classifier.class_names if names is None else tuple(names)
    places = [_class_of(folder, names) for folder in folders]
    if target is None:  # "7" is the name of a class here, not of any network's eighth output
        places = [
            None if place is not None and folder.isdecimal() and names[place] != folder else place
            for folder, place in zip(folders, places, strict=True)
        ]
    missing = [folder for folder, place in zip(folders, places, strict=True) if place is None]
    if not missing:
        return [place for place in places if place is not None]
    if target is None:
        return None
    if unnamed and len(folders) == len(names):
        return list(range(len(names)))
    shown = ", ".join(map(repr, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
    raise ValueError(
        f"target='label' must have folders named by classes of {classifier.name}; got {len(missing)} of "
        f"{len(folders)} that are not: {shown}. Rename them, or pass target='predicted'."
    )


def _class_of(folder: str, names: Sequence[str]) -> int | None:
    """Return the place of a folder's class, by name or else by index; None if there is none, or several."""
    found = [place for place, name in enumerate(names) if plainly(name) == plainly(folder)]
    if not found and folder.isdecimal() and int(folder) < len(names):
        return int(folder)
    return found[0] if len(found) == 1 else None


def on_device(model: nn.Module, device: str | torch.device) -> nn.Module:
    """Return a model that is on a device: itself, or a copy."""
    tensors = [*model.parameters(), *model.buffers()]
    if all(tensor.device == torch.device(device) for tensor in tensors):
        return model
    return copy.deepcopy(model).to(device)
