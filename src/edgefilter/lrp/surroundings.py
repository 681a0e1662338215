"""What a run depends on besides the model: compiled parts, modes of torch, random generators."""

from __future__ import annotations

import contextlib
import random
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["autocasts", "eager", "own_modes", "random_states"]


def random_states() -> tuple[Any, ...]:
    """Return the states of the random generators that a model may draw from."""
    drawn: Any = np.random.get_state()  # noqa: NPY002 - what the user's code draws from
    return torch.get_rng_state().numpy().tobytes(), drawn[1].tobytes(), drawn[2], random.getstate()


def autocasts(device: str) -> bool:
    """Return whether autocast is on for a kind of device."""
    try:
        return torch.is_autocast_enabled(device)
    except TypeError:  # torch 2.3
        return torch.is_autocast_enabled()


@contextlib.contextmanager
def own_modes(like: Tensor, *, grad: bool) -> Iterator[None]:
    """Keep the caller's inference mode, autocast and gradient mode aside."""
    autocast = torch.autocast(like.device.type, enabled=False)
    with torch.inference_mode(mode=False), autocast, torch.set_grad_enabled(grad):
        yield


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Let compiled parts run as they were written."""
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):  # torch before 2.6
        yield
        return
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        # PyTorch warns of hooks on all modules beside compiled ones: ours are meant.
        warnings.filterwarnings("ignore", "Using `torch.compile", UserWarning)
        yield
