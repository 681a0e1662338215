"""Images made by code: which color, orientation and place decides about the label is known.

Every function draws from its own seeded generator. ``swapped`` and ``painted`` are the interventions that prove the
ground truth on a trained network (see ``networks.gate``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

ORIENTATIONS = 4
SIZE, STAMPED_SIZE = 24, 28
NOISE = 0.05

GLYPHS = {
    "plus": ["..#..", "..#..", "#####", "..#..", "..#.."],
    "cross": ["#...#", ".#.#.", "..#..", ".#.#.", "#...#"],
    "box": ["#####", "#...#", "#...#", "#...#", "#####"],
    "diamond": ["..#..", ".#.#.", "#...#", ".#.#.", "..#.."],
}
STAMPS, DECOYS = ("plus", "cross"), ("box", "diamond")


@dataclass(frozen=True)
class Samples:
    """Labelled images and what is known about them.

    Attributes
    ----------
    images, labels : Tensor
        (N, 3, H, W) and (N,).
    color : int or None
        The only color channel that holds the label.
    parts : Tensor, shape (N, 3), optional
        The orientation that each color shows, in steps of 45 degrees.
    stamp, decoy : Tensor of bool, shape (N, H, W), optional
        The glyph that decides and the one that does not, each with a margin of one pixel.
    clean : Tensor, optional
        The images without glyphs.
    """

    images: Tensor
    labels: Tensor
    color: int | None = None
    parts: Tensor | None = None
    stamp: Tensor | None = None
    decoy: Tensor | None = None
    clean: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)


def uniform(generator: torch.Generator, bounds: tuple[float, float], *shape: int) -> Tensor:
    """Draw numbers evenly between two bounds."""
    return bounds[0] + (bounds[1] - bounds[0]) * torch.rand(*shape, generator=generator)


def gratings(count: int, seed: int, color: int) -> Samples:
    """Draw a grating in a random square of each channel, all independent; the label is one channel's orientation."""
    generator = torch.Generator().manual_seed(seed)
    shape, patch = (count, 3, 1, 1), SIZE // 2
    kinds = torch.randint(ORIENTATIONS, (count, 3), generator=generator)
    angles = kinds[..., None, None] * math.pi / ORIENTATIONS
    frequency = 2 * math.pi * uniform(generator, (0.15, 0.35), *shape)
    phase = uniform(generator, (0.0, 2 * math.pi), *shape)
    strength = uniform(generator, (0.3, 1.0), *shape)
    corner = torch.randint(SIZE - patch + 1, (2, *shape), generator=generator)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    wave = torch.sin(frequency * (x * torch.cos(angles) + y * torch.sin(angles)) + phase)
    inside = (y >= corner[0]) & (y < corner[0] + patch) & (x >= corner[1]) & (x < corner[1] + patch)
    noise = NOISE * torch.randn(count, 3, SIZE, SIZE, generator=generator)
    return Samples(strength * wave * inside + noise, kinds[:, color], color, kinds)


def glyph(name: str, scale: int = 1) -> Tensor:
    """Return a glyph as an array of zeros and ones."""
    rows = torch.tensor([[float(mark == "#") for mark in row] for row in GLYPHS[name]])
    return rows.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def stamps(count: int, seed: int) -> Samples:
    """Draw a faint glyph that decides and a stronger one that does not, bright or dark, on a smooth background."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, STAMPED_SIZE, STAMPED_SIZE)
    coarse = 0.2 * torch.randn(count, 3, 5, 5, generator=generator)
    clean = F.interpolate(coarse, size=shape[2:], mode="bicubic") + NOISE * torch.randn(
        *shape, generator=generator
    )
    labels, others = torch.randint(2, (2, count), generator=generator)
    signs = torch.randint(2, (2, count), generator=generator) * 2 - 1
    faint = uniform(generator, (0.5, 0.7), count) * signs[0]
    strong = uniform(generator, (0.9, 1.2), count) * signs[1]
    images, masks = clean.clone(), torch.zeros(2, count, *shape[2:], dtype=torch.bool)
    for i in range(count):
        places = apart(generator)
        drawn = (glyph(STAMPS[labels[i]]) * faint[i], glyph(DECOYS[others[i]]) * strong[i])
        for mask, (top, left), figure in zip(masks[:, i], places, drawn, strict=True):
            images[i, :, top : top + 5, left : left + 5] += figure
            mask[top - 1 : top + 6, left - 1 : left + 6] = True
    return Samples(images, labels, stamp=masks[0], decoy=masks[1], clean=clean)


def apart(generator: torch.Generator) -> list[list[int]]:
    """Draw the upper left corners of two glyphs whose masks don't overlap."""
    while True:
        corners = torch.randint(1, STAMPED_SIZE - 5, (2, 2), generator=generator)
        if int((corners[0] - corners[1]).abs().max()) >= 7:
            return corners.tolist()


def swapped(samples: Samples, colors: list[int], seed: int) -> Samples:
    """Exchange some color channels between the images, each in its own order; the labels stay."""
    generator = torch.Generator().manual_seed(seed)
    images = samples.images.clone()
    for color in colors:
        images[:, color] = images[torch.randperm(len(samples), generator=generator), color]
    return replace(samples, images=images)


def painted(samples: Samples, mask: Tensor) -> Samples:
    """Put the background in place of what a mask covers; the labels stay."""
    return replace(samples, images=torch.where(mask[:, None], samples.clean, samples.images))
