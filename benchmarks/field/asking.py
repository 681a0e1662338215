"""The methods that are asked, each with its settings in words; all explain the class that the network predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edgefilter.evaluation import METHODS
from edgefilter.evaluation.method import BATCH, PATH_STEPS, attributions
from edgefilter.evaluation.methods import WINDOWS
from edgefilter.methods import MFPP, KernelLIME, MaskSearch, SmoothTaylor, grid_fragments

BUDGET = 1000  # passes of a black-box method for each image; published: 4000 (RISE), 20000 (MFPP)
CELLS = 8  # of RISE's grid, along each side
SEGMENTS = 50  # of KernelLIME, its default
ROOTS, NOISE = 150, 0.5  # of SmoothTaylor, as published, in units of the preprocessed image

Explain = Callable[[Tensor, Tensor], Tensor]
Score = Callable[[Tensor], Tensor]


class Asked(NamedTuple):
    """A method that gives maps.

    Attributes
    ----------
    make : function of a network and of its fast twin
        Returns a function of images and targets, to (N, C, H, W) or (N, 1, H, W).
    settings : str
        In words, for the page; where they change, the method is asked anew.
    absolute : bool
        Whether its authors rank the pixels by the absolute value of the sum over the colors; else by the sum.
    slow : bool
        Whether it takes hundreds of passes, so that it is asked about fewer images.
    colors : bool
        Whether the map's sums over places are scores of the colors.
    """

    make: Callable[[nn.Module, Score], Explain]
    settings: str
    absolute: bool = False
    slow: bool = False
    colors: bool = False


def of_compare(name: str) -> Callable[[nn.Module, Score], Explain]:
    """Return a method as ``edgefilter.compare`` has it."""
    return lambda model, _: METHODS[name](model).explain


def random_map(_: nn.Module, __: Score) -> Explain:
    """Return noise that is the same whatever was asked before."""

    def explain(images: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001 - as every method
        generator = torch.Generator().manual_seed(int(images.double().abs().sum() * 1000) % 2**31)
        return torch.rand(len(images), 1, *images.shape[2:], generator=generator)

    return explain


def smooth_taylor(model: nn.Module, _: Score) -> Explain:
    """Return SmoothTaylor with the published noise."""
    method = SmoothTaylor(model)
    return lambda images, targets: method.attribute(
        images, target=targets, n_samples=ROOTS, stdevs=NOISE, n_samples_batch_size=BATCH
    )


def probability(score: Score) -> Score:
    """Return what the black-box methods see, as published: probabilities."""
    return lambda images: score(images).softmax(1)


def in_batches(method: MFPP | MaskSearch | KernelLIME, **options: Any) -> Explain:
    """Return a black-box method with its options, so many masked copies at a time."""
    return lambda images, targets: method.attribute(
        images, target=targets, perturbations_per_eval=BATCH, **options
    )


def mfpp(_: nn.Module, score: Score) -> Explain:
    """Return masks of superpixels."""
    return in_batches(MFPP(probability(score)), n_masks=BUDGET)


def rise(_: nn.Module, score: Score) -> Explain:
    """Return masks of four grids, each half a cell from the next, interpolated between the cells."""
    method = MFPP(probability(score))

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        height, width = images.shape[2:]
        cell = (height / CELLS, width / CELLS)
        grids = [
            grid_fragments((height, width), CELLS, shift=(down * cell[0], right * cell[1]))
            for down in (0, 0.5)
            for right in (0, 0.5)
        ]
        return in_batches(method, segments=grids, smooth=cell, n_masks=BUDGET)(images, targets)

    return explain


def mask_search(_: nn.Module, score: Score) -> Explain:
    """Return the mask that is searched for."""
    return in_batches(MaskSearch(probability(score)), max_queries=BUDGET)


def kernel_lime(_: nn.Module, score: Score) -> Explain:
    """Return what a kernel surrogate loses without each superpixel."""
    return in_batches(KernelLIME(probability(score)), n_samples=BUDGET, n_segments=SEGMENTS)


def asked() -> dict[str, Asked]:
    """Return all methods by name."""
    return {
        "edgefilter": Asked(of_compare("edgefilter"), "default"),
        "edgefilter_relevance": Asked(of_compare("edgefilter_relevance"), "`calibrate=False`"),
        "integrated_gradients": Asked(
            of_compare("integrated_gradients"), f"{PATH_STEPS} steps from zero", absolute=True, colors=True
        ),
        "grad_cam": Asked(of_compare("grad_cam"), "last convolution"),
        "hires_cam": Asked(of_compare("hires_cam"), "last convolution, positive part"),
        "occlusion": Asked(of_compare("occlusion"), f"{WINDOWS} x {WINDOWS} windows, zero"),
        "smooth_taylor": Asked(
            smooth_taylor, f"{ROOTS} roots, noise {NOISE}", absolute=True, slow=True, colors=True
        ),
        "zoom_cam": Asked(of_compare("zoom_cam"), "last convolution of each size"),
        "guided_nonlinearity_ig": Asked(
            of_compare("guided_nonlinearity_ig"),
            f"negative control: {PATH_STEPS} steps from zero",
            absolute=True,
            colors=True,
        ),
        "mfpp": Asked(mfpp, f"{BUDGET} masks, up to 5 levels, probability", slow=True),
        "rise": Asked(
            rise, f"MFPP on 4 grids of {CELLS} x {CELLS} cells, {BUDGET} masks, probability", slow=True
        ),
        "mask_search": Asked(mask_search, f"8 x 8 cells, {BUDGET} queries, probability", slow=True),
        "kernel_lime": Asked(
            kernel_lime, f"about {SEGMENTS} superpixels, {BUDGET} samples, probability", slow=True
        ),
        "sobel": Asked(of_compare("sobel"), "control: steepness of the gray image"),
        "input": Asked(
            of_compare("input"), "control: the preprocessed image, summed over the colors", colors=True
        ),
        "random": Asked(random_map, "control: noise"),
    }


def maps(method: Asked, model: nn.Module, score: Score, images: Tensor, targets: Tensor) -> Tensor:
    """Return signed maps, (N, H, W): the sum over the colors."""
    return attributions(method.make(model, score), images, targets).sum(1)
