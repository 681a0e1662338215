"""The network of the page "Explain your own model": it tells the direction of stripes, and trains in a second."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

__all__ = ["Stripes", "stripes"]


def stripes(count: int, draw: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Return colored stripes with noise, and their direction: 0 for upright ones, 1 for level ones, 2 for diagonal ones."""
    labels = torch.arange(count) % 3
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    across = torch.stack([x, y, (x + y) / 2**0.5])[labels]
    wave = 0.5 + 0.5 * torch.sin(across + 6 * torch.rand(count, 1, 1, generator=draw))
    colored = wave[:, None] * torch.rand(count, 3, 1, 1, generator=draw)
    return 0.9 * colored + 0.1 * torch.rand(count, 3, 32, 32, generator=draw), labels


class Stripes(nn.Module):
    """A few layers in a ``forward`` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 5), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.stem(x).relu()
        if x.shape[-1] > 16:
            x = nn.functional.max_pool2d(x, 2)
        return self.head(x.mean((2, 3)))

    @staticmethod
    @cache
    def trained() -> Stripes:
        """Return the network after 60 steps."""
        torch.manual_seed(0)
        network = Stripes()
        optimizer = torch.optim.Adam(network.parameters(), 0.02)
        for _ in range(60):
            images, labels = stripes(48)
            loss = nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return network.eval()
