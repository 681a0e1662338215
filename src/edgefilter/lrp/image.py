"""What lies between the image and the stem: which colors a channel shows, and which of its places depend on the image."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from edgefilter.banks.colors import Colors

from .recipes import oldest_first, remade, sources
from .recolored import Recolored
from .run import Run
from .values import Recipe, replaced, tensors_in

PADDINGS = (torch.nn.functional.pad, torch._C._nn.pad, torch.constant_pad_nd)

__all__ = ["Apart", "apart", "by_color", "colors", "present", "replayed", "within_border"]


def colors(run: Run, inputs: Tensor) -> tuple[Tensor, int]:
    """Return how much each channel of a tensor depends on each color of the image, and the axis of the colors.

    Behind a convolution, the channels are what is scored in place of colors.

    Returns
    -------
    shares : Tensor, shape (channels, C), float64
        Not negative; 0 where a channel does not show a color.
    axis : int
        1, or the last axis of an image whose channels come last.
    """
    leaf = run.leaf_of(inputs) if run.is_near(inputs) else inputs
    if inputs is leaf:
        return torch.eye(inputs.shape[1], dtype=torch.float64), 1
    again = leaf.detach().requires_grad_()  # without rules, which give the subtrahend of a difference nothing
    plain = replayed(run, inputs, again) if run.is_near(inputs) else None
    if plain is not None and plain.requires_grad:
        inputs, leaf = plain, again
    found = []
    weights = torch.rand(inputs[0, 0].shape, generator=torch.Generator().manual_seed(0)).add(0.5).to(inputs)
    for channel in range(inputs.shape[1]):
        start = torch.zeros_like(inputs)
        start[:, channel] = weights  # of any size, so that nothing cancels over the places
        (gradient,) = torch.autograd.grad(inputs, leaf, start, retain_graph=True, allow_unused=True)
        found.append(torch.zeros_like(leaf) if gradient is None else gradient.detach().abs())
    sizes = torch.stack(found).double().sum(1)  # (channels, *image)
    if leaf.dim() != 4 or run.stem.recolored is not None:
        return sizes.flatten(2).sum(2) if sizes.dim() > 2 else sizes, 1
    first, last = sizes.sum((2, 3)), sizes.sum((1, 2))
    if _spread(last) == _spread(first):
        comes_last = leaf.shape[3] <= 4 < leaf.shape[1]
    else:  # a channel shows few colors, but many rows and columns, also where pixels became channels
        comes_last = _spread(last) * leaf.shape[3] < _spread(first) * leaf.shape[1]
    return (last, 3) if comes_last else (first, 1)


def _spread(shares: Tensor) -> float:
    """Return the largest part of the indices that a channel depends on."""
    return float((shares != 0).double().mean(1).max())


def replayed(run: Run, tensor: Tensor, image: Tensor) -> Tensor | None:
    """Return a tensor as it would be for another image, without rules; None if it cannot be told."""
    known: dict[int, Tensor | None] = {id(run.leaf_of(tensor)): image}

    def recipe(given: Tensor) -> Recipe | None:
        value = None if id(given) in known else run.value(given)
        return None if value is None else value.recipe

    def made(call: Recipe) -> Tensor | None:
        found = {
            id(source): known.get(id(source)) if run.value(source) is not None else source.detach()
            for source in tensors_in((call.args, call.kwargs))
        }
        if any(source is None for source in found.values()):
            return None
        return call.called(lambda given: found[id(given)])

    with torch.set_grad_enabled(image.requires_grad):
        for given in oldest_first(tensor, lambda given: sources(run, recipe(given))):
            if (call := recipe(given)) is not None:
                known[id(given)] = made(call)
    return known.get(id(tensor))


def present(run: Run, inputs: Tensor) -> Tensor | None:
    """Return 1 where a tensor depends on the image and 0 elsewhere; None if all of it does or it cannot be told.

    Behind a convolution, that is within the border of constants that a padding puts around the features.
    """
    if not run.is_near(inputs):
        return _within_border(run, inputs)
    leaf = run.leaf_of(inputs)
    if inputs is leaf:
        return None
    generator = torch.Generator().manual_seed(0)
    other = (torch.rand(leaf.shape, generator=generator, dtype=torch.float64) + 0.5).to(leaf)
    one, none = replayed(run, inputs, other), replayed(run, inputs, torch.zeros_like(leaf).detach())
    if one is None or none is None:
        return None
    mask = one != none
    return None if bool(mask.all()) else mask.to(inputs.dtype)


def _within_border(run: Run, inputs: Tensor) -> Tensor | None:
    value = run.value(inputs)
    if value is None or value.recipe is None or value.recipe.function not in PADDINGS:
        return None
    mask = within_border(value.recipe)
    return None if bool(mask.all()) else mask.to(inputs.dtype)


def within_border(recipe: Recipe) -> Tensor:
    """Return True for the values of a padded tensor and False for its constant border."""
    with torch.no_grad():
        one, none = (
            recipe.function(*replaced(recipe.args, like), **replaced(recipe.kwargs, like))
            for like in (torch.ones_like, torch.zeros_like)
        )
    return one != none  # type: ignore[no-any-return]


def by_color(
    run: Run, inputs: Tensor, axis: int, members: Tensor, recolored: Recolored | None = None
) -> list[Tensor] | None:
    """Return what each color of the image alone gives, under the rules; None if that does not add up.

    Parameters
    ----------
    run : Run
    inputs : Tensor
        What the stem reads.
    axis : int
        Of the channels, in the image.
    members : Tensor, shape (C, G)
        1 for the channels of each color.
    recolored : Recolored, optional
        How the image is made of the colors of a basis, which the channels are then.
    """
    leaf = run.leaf_of(inputs)
    start = leaf if recolored is None else run.given
    nothing = replayed(run, inputs, torch.zeros_like(leaf).detach())
    if nothing is None:
        return None
    parts = []
    shape = [-1 if place == axis else 1 for place in range(leaf.dim())]
    for some in members.T:
        with run:
            if recolored is None:
                alone = leaf * some.to(leaf.detach()).reshape(shape)
            else:
                alone = recolored.alone(leaf, some.nonzero()[:, 0].tolist())
        parts.append(remade(run, inputs, {id(start): alone}, shifts=False))
    whole = nothing + sum((part.detach() for part in parts), start=torch.zeros_like(nothing))
    scale = float(inputs.detach().abs().max())
    if float((whole - inputs.detach()).abs().max()) > 1e-4 * scale:  # the colors meet in something not linear
        return None
    return parts


class Apart(NamedTuple):
    """What a stem reads, taken apart into the ``G`` colors of the image.

    Attributes
    ----------
    inputs : Tensor, shape (N, channels, H, W)
    alone : list of Tensors, or None
        What each color gives, under the rules; None where each channel shows one color, or where it cannot be told.
    rest : Tensor
        What is there without the image, where colors are told apart.
    colors : Tensor, shape (parts * channels, G), float64
        What each color gives to a channel: rows of each color in turn and then of the rest, or of ``inputs``. They add up to 1, or to
        0 for channels that do not depend on the image.
    axis : int
        The axis of the channels in the image.
    channels : int
        How many there are.
    """

    inputs: Tensor
    alone: list[Tensor] | None
    rest: Tensor
    colors: Tensor
    axis: int
    channels: int


def apart(run: Run, inputs: Tensor, known: Colors, recolored: Recolored | None = None) -> Apart:
    """Take what a stem reads apart into the colors of the image."""
    shares, axis = colors(run, inputs)
    count = shares.shape[1]
    members = torch.from_numpy(known.membership(count)).to(shares)
    shares = shares @ members
    mixes = bool(((shares != 0).sum(1) > 1).any())
    alone = by_color(run, inputs, axis, members, recolored) if mixes else None
    if mixes and alone is None:
        warnings.warn(
            "colors must meet in sums before the stem to be told apart; got something else, so that each channel of the stem is shared "
            "among its colors in proportion to their gradients, and color scores are no exact Shapley values. Move it out of the model.",
            UserWarning,
            stacklevel=2,
        )
    if alone is None:
        whole = shares.sum(1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
        return Apart(inputs, None, torch.zeros_like(inputs).detach(), shares / whole, axis, count)
    rest = inputs.detach() - sum((part.detach() for part in alone), start=torch.zeros_like(inputs))
    parts = torch.eye(len(alone) + 1, len(alone), dtype=torch.float64)
    return Apart(inputs, alone, rest, parts.repeat_interleave(inputs.shape[1], 0), axis, count)
