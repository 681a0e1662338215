"""What the black-box methods share: the output of a model for masked copies of images, and what they tell Captum of themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captum._utils.common import _expand_additional_forward_args, _expand_target
from captum.attr import PerturbationAttribution
from torch import Tensor

from edgefilter.attribution.arguments import Target, as_extra, check_output
from edgefilter.attribution.explained import output_weights

from .arguments import as_baselines, check_evaluation, target_of_each, whole_number

__all__ = ["MaskedAttribution", "MaskedScores", "as_output"]


class MaskedAttribution(PerturbationAttribution):  # type: ignore[misc]
    """A method that sees nothing of a model but its output for masked copies of images.

    Parameters
    ----------
    forward_func : callable
        A model, or any function that takes images and returns one score for each, or one row of outputs.
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        PerturbationAttribution.__init__(self, forward_func)

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether values are a share of the output, not a sensitivity to it: True."""
        return True

    def has_convergence_delta(self) -> bool:
        """Return whether the values add up to a known total: they do not."""
        return False

    def attribute_future(self) -> None:
        """Raise: Captum's asynchronous form is not available."""
        raise NotImplementedError(f"attribute_future is not implemented for {type(self).__name__}")


class MaskedScores:
    """The target's output for masked copies of images.

    A copy is ``mask * image + (1 - mask) * baseline``: 1 keeps a pixel, 0 replaces it. Only the forward function is called, without
    gradients.

    Parameters
    ----------
    forward_func : callable
        Takes images and further arguments; returns one number for each image, or one row from which ``target`` picks a number.
    images : Tensor, shape (N, C, H, W)
    baselines : number or Tensor of shape (N, C, H, W) or (1, C, H, W), optional
        What stands for absence. Default: 0.
    target : int, tuple, Tensor or list, optional
        In Captum's forms, one for all images or one for each. Default: the output is one number for each image.
    additional_forward_args : optional
        Further arguments. Tensors have one entry for each image along their first axis.
    perturbations_per_eval : int, default: 1
        How many copies of each image go through the model at a time.

    Raises
    ------
    TypeError, ValueError, AssertionError
        If an argument does not fit; the message says what does.

    Examples
    --------
    >>> images = torch.ones(1, 3, 4, 4)
    >>> scores = MaskedScores(lambda x: x.mean((1, 2, 3)), images)
    >>> masks = torch.stack([torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)])
    >>> scores.of(masks)
    tensor([[1.],
            [0.]], dtype=torch.float64)
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        images: Tensor,
        baselines: Any = None,
        target: Target = None,
        additional_forward_args: Any = None,
        perturbations_per_eval: int = 1,
    ) -> None:
        if not callable(forward_func):
            raise TypeError(
                f"forward_func must be callable; got {type(forward_func).__name__}. Pass a model, or a function of the images."
            )
        check_evaluation(forward_func)
        self.forward_func, self.images = forward_func, images.detach()
        self.baselines = as_baselines(baselines, self.images)
        self.target = target_of_each(target, len(images))
        self.extra = as_extra(additional_forward_args)
        self.copies = whole_number(perturbations_per_eval, "perturbations_per_eval")

    def of(self, masks: Tensor) -> Tensor:
        """Return the target's output under each mask.

        Parameters
        ----------
        masks : Tensor, shape (M, N, C, H, W)
            From 0 to 1, of any dtype. The second axis may be 1 (the same masks for all images), the third as well (the same for all
            channels).

        Returns
        -------
        scores : Tensor, shape (M, N), float64, on the CPU

        Raises
        ------
        ValueError
            If masks do not fit the images, or a score is not finite.
        TypeError, AssertionError, IndexError
            If the output does not fit the images or the target.
        """
        count, *sides = self.images.shape
        shape = tuple(masks.shape)
        if (
            len(shape) != 5
            or not len(masks)
            or any(
                size not in allowed
                for size, allowed in zip(
                    shape[1:], ((1, count), (1, sides[0]), sides[1:2], sides[2:]), strict=True
                )
            )
        ):
            raise ValueError(
                f"masks must have shape (masks, {count} or 1, {sides[0]} or 1, {sides[1]}, {sides[2]}); got {shape}. "
                "Make one mask of the images' size for each copy."
            )
        with torch.inference_mode(False), torch.no_grad():  # a target is picked with the help of a gradient
            return torch.cat([self._scores(some) for some in torch.split(masks, self.copies)])

    def _scores(self, masks: Tensor) -> Tensor:
        """Return the scores of so many masks as go through the model at a time."""
        copies, count = len(masks), len(self.images)
        kept = masks.to(self.images)
        shown = (kept * self.images + (1 - kept) * self.baselines).flatten(0, 1)
        extra = _expand_additional_forward_args(self.extra, copies) or ()
        output = as_output(self.forward_func(shown, *extra), copies * count)
        weights = output_weights(output, _expand_target(self.target, copies))
        scores = torch.where(weights != 0, output, 0).flatten(1).sum(1) if output.dim() > 1 else output
        scores = scores.cpu().double().reshape(copies, count)
        if not bool((finite := torch.isfinite(scores)).all()):
            image = int((~finite).any(0).nonzero()[0])
            raise ValueError(
                f"forward_func must return finite numbers; got NaN or infinity for a masked copy of image {image}. "
                "Look at the output for the baseline alone."
            )
        return scores


def as_output(given: Any, count: int) -> Tensor:
    """Return what a forward function gave for a number of images as a floating-point tensor with a row for each.

    NumPy's arrays, lists and whole numbers are converted; a number alone is the row of one image.

    Raises
    ------
    TypeError, ValueError
        If it is no tensor, or has another number of rows.
    """
    if isinstance(given, (list, int, float)):
        given = torch.as_tensor(given, dtype=torch.float64)
    output = torch.as_tensor(given) if isinstance(given, (np.ndarray, np.number)) else given
    if isinstance(output, Tensor):
        output = output.reshape(1) if count == 1 and output.dim() == 0 else output
        output = output if output.is_floating_point() else output.double()
    output = check_output(output, count)
    return output.clone() if output.is_inference() else output.detach()
