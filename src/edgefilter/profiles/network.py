"""The network that explains: its bank, a digest of its weights, and the output of each folder."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence

import torch
from torch import nn

from edgefilter.banks.bank import FilterBank
from edgefilter.classifiers.classifier import Classifier

__all__ = ["fingerprint_of", "on_device", "outputs_of"]

SHOWN = 3  # names in a message


def outputs_of(folders: Sequence[str], classifier: Classifier, target: str | None) -> list[int] | None:
    """Return the output of each folder's class, or None if predictions are to be explained."""
    if target == "predicted":
        return None
    names = classifier.class_names
    unnamed = tuple(f"class {place}" for place in range(len(names)))
    if target == "label" and names == unnamed and len(folders) == len(names):
        return list(range(len(names)))
    found: list[int] = []
    missing: list[str] = []
    for folder in folders:
        try:
            place = classifier.class_index(folder)
        except (KeyError, ValueError):
            missing.append(folder)
            continue
        found.append(place)
        if target is None and folder.isdecimal() and names[place] != folder:
            missing.append(folder)  # "7" is the name of a class here, not of any network's eighth output
    if target is None and missing:
        return None
    if missing:
        shown = ", ".join(map(repr, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        raise ValueError(
            f"target='label' must have folders named by classes of {classifier.name}; got {len(missing)} of "
            f"{len(folders)} that are not: {shown}. Rename them, or pass target='predicted'."
        )
    return found


def on_device(model: nn.Module, device: str | torch.device) -> nn.Module:
    """Return a model that is on a device: itself, or a copy."""
    tensors = [*model.parameters(), *model.buffers()]
    if all(tensor.device == torch.device(device) for tensor in tensors):
        return model
    return copy.deepcopy(model).to(device)


def fingerprint_of(model: nn.Module, bank: FilterBank | None = None) -> str:
    """Return a digest of the weights, and of the kernels of a bank that expresses the stem."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    if bank is not None:
        digest.update(" ".join(bank.names).encode())
        digest.update(bank.weight.tobytes())
    return digest.hexdigest()[:16]
