"""What tests of reports share: explanations whose numbers are drawn, and readers of pages and of their maps."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import torch
from bs4 import BeautifulSoup
from PIL import Image

import edgefilter as ef

HOSTILE = "</script><img src=x onerror=alert(1)>"


def drawn(
    targets=(0,),
    *,
    colors=("red", "green", "blue"),
    filters=9,
    size=(12, 16),
    stem=(6, 8),
    seed=0,
    seen=0,
    **more,
):
    """Return an explanation of drawn numbers, with images that depend on ``seen`` alone."""
    generator = torch.Generator().manual_seed(seed)
    count, bank = len(targets), ef.complete_bank(3)
    known = filters == len(bank)
    names = bank.names if known else tuple(f"filter_{place}" for place in range(filters))
    response = torch.randn(count, len(colors), filters, *stem, generator=generator) ** 3
    down, right = (many // few for many, few in zip(size, stem, strict=True))
    pixel = response.sum(2).repeat_interleave(down, 2).repeat_interleave(right, 3) / (down * right)
    images = torch.rand(1, len(colors), *size, generator=torch.Generator().manual_seed(seen))
    options = {
        "groups": {kind: bank.groups(kind) for kind in ("order", "orientation")} if known else {},
        "effects": torch.randn(count, len(colors), generator=generator),
        "about": {"composite": "epsilon_plus", "bank": bank.name if known else "mine"},
        "inputs": images.expand(count, -1, -1, -1),
        "filter_labels": bank.labels if known else names,
        "base": torch.full((count,), 0.5),
        **more,
    }
    output = response.sum((1, 2, 3, 4)) + 0.5
    return ef.Explanation(response, pixel, output, tuple(targets), tuple(colors), tuple(names), **options)


class Page:
    """A page as a test reads it."""

    def __init__(self, path):
        self.text = path.read_text(encoding="utf-8")
        self.soup = BeautifulSoup(self.text, "html.parser")
        self.data = json.loads(self.soup.find(id="report-data").string)

    def sections(self):
        """Return the sections of outputs."""
        return self.soup.find_all("section", class_="output")

    def words(self):
        """Return what can be read, without scripts and styles."""
        for hidden in self.soup(["script", "style"]):
            hidden.extract()
        return " ".join(self.soup.get_text(" ").split())


def decoded(sprite):
    """Return the maps of a sprite, shape (M, h, w): a reader of its own, by Pillow and slices."""
    file = io.BytesIO(base64.b64decode(sprite["png"].partition(",")[2]))
    levels = np.asarray(Image.open(file)).astype(float) - 128
    height, width = sprite["size"]
    maps = []
    for place, step in enumerate(sprite["steps"]):
        top, left = (place // sprite["columns"]) * height, (place % sprite["columns"]) * width
        maps.append(levels[top : top + height, left : left + width] * step)
    return np.stack(maps)
