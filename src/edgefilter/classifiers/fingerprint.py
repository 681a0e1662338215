"""A digest of a network's weights, which says whether two results are of the same one."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from edgefilter.banks.bank import FilterBank

__all__ = ["fingerprint_of"]


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
