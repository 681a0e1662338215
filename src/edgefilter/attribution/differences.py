"""The difference of two explanations of the same images."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch
from torch import Tensor

from .views import ScoreViews

__all__ = ["difference"]

Views = TypeVar("Views", bound=ScoreViews)


def difference(one: Views, other: Views) -> Views:
    """Return what speaks for one output rather than for another.

    Everything is subtracted; standard errors are added as if they were independent. The targets are those of the first, compared with
    those of the second.

    Raises
    ------
    ValueError
        If the two are not of the same images, stem and size, or one of them is a comparison already.
    """
    if _described(one) != _described(other):
        raise ValueError(
            f"explanations must be of the same images, colors and filters to be subtracted; got {one!r} with responses "
            f"{tuple(one.response.shape)} and {other!r} with {tuple(other.response.shape)}. Explain both with one attribution."
        )
    if not _same_images(one, other):
        raise ValueError(
            "explanations must be of the same images to be subtracted; got other inputs. Explain the images that the first one has."
        )
    if any(against is not None for against in (*one.against, *other.against)):
        raise ValueError(
            f"explanations must be of outputs, not of comparisons, to be subtracted; got against={one.against!r} and "
            f"{other.against!r}. Explain with against=None."
        )
    if one.about.get("calibrate") != other.about.get("calibrate"):
        raise ValueError(
            f"explanations must be made in one way to be subtracted; got calibrate={one.about.get('calibrate')!r} and "
            f"{other.about.get('calibrate')!r}. Explain both with one attribution."
        )
    return dataclasses.replace(
        one,
        response=one.response - other.response,
        pixel=_minus(one.pixel, other.pixel),
        output=one.output - other.output,
        base=one.base - other.base,
        effects=_minus(one.effects, other.effects),
        interactions=_minus(one.interactions, other.interactions),
        filter_effects=_minus(one.filter_effects, other.filter_effects),
        errors=None if one.errors is None or other.errors is None else one.errors.hypot(other.errors),
        against=other.target,
        readings=None,
    )


def _described(one: ScoreViews) -> tuple[object, ...]:
    """Return what two explanations must have in common."""
    return one.colors, one.members, one.filters, one.response.shape, one.about.get("basis")


def _same_images(one: ScoreViews, other: ScoreViews) -> bool:
    """Return whether the inputs of two explanations are equal, as far as they are known."""
    if one.inputs is None or other.inputs is None:
        return True
    return bool(torch.equal(one.inputs.double().cpu().nan_to_num(), other.inputs.double().cpu().nan_to_num()))


def _minus(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return None if one is None or other is None else one - other
