"""Zoom-CAM: class activation maps with a weight for each pixel, from several layers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from captum.attr import GradientAttribution, LayerAttribution
from captum.log import log_usage
from torch import Tensor, nn
from torch.nn import functional as F

from edgefilter._checks import closest, pair
from edgefilter.attribution.arguments import (
    Target,
    as_extra,
    check_output,
    unwrapped,
)
from edgefilter.attribution.explained import output_weights
from edgefilter.lrp.surroundings import eager

from .arguments import check_evaluation, one_input, target_of_each
from .layer_outputs import LayerOutputs, check_ran, named_layers

__all__ = ["ZoomCAM"]

Layers = nn.Module | str | Sequence[nn.Module | str]
REDUCTIONS = ("max", "mean")
MODES = ("bilinear", "nearest", "nearest-exact", "area")  # those that stay between the values they are given


class ZoomCAM(LayerAttribution, GradientAttribution):  # type: ignore[misc]
    r"""Where in the image the chosen layers hold evidence for a class: one map of details, fused from all of them.

    Early layers give sharp maps, late ones show objects; the maximum keeps both. It shows evidence *for* the target and hides what
    speaks against it: for signed values of each channel use :meth:`terms`, for colors and filters
    :class:`edgefilter.EdgeFilterAttribution`.

    Parameters
    ----------
    forward_func : callable
        The model, or any function of the images that runs the layers.
    layers : nn.Module, str, or list of them
        Modules or their paths (``"layer4"``). There is no default: the source uses every ReLU of VGG-16.
    device_ids : list of int, optional
        Accepted for Captum's signature; ignored.

    Attributes
    ----------
    layer : nn.Module or list of nn.Module
        As given; may be exchanged between calls.

    Raises
    ------
    TypeError, KeyError, ValueError
        If a layer is unknown; the message says what fits.

    Notes
    -----
    With the activation :math:`A^l` of layer :math:`l` and its gradient :math:`G^l = \partial f_c / \partial A^l`,

    .. math::

        m_l = \mathrm{ReLU} \Bigl( \sum_k G^l_k \odot A^l_k \Bigr), \qquad
        M = \max_l \; \mathrm{up} \bigl( m_l / \max m_l \bigr) .

    Each :math:`m_l` is divided by its maximum *before* it is resized, as the source does: bilinear resizing may leave the largest value
    a little below 1. A layer without positive evidence gives zeros. A layer that runs several times, such as a shared ReLU, gives one
    map for each run. What the model does to a layer's output in place changes neither A nor G.

    With one layer this is HiResCAM; with one layer, global average pooling and a linear head it is Grad-CAM, and with a fully connected
    head it is not. In a ReLU network without biases, :math:`\sum G^l A^l` is the output at *every* layer that all ways lead through (a shortcut around a
    layer carries the rest).

    **Cost**: one forward and one backward pass, for all layers together.

    **Sanity check**: a constant scorer gives a zero map. Randomizing the layers above the first changes the map: on the shipped digits
    network, the rank correlation before and after is 0.03 over the digits' own pixels and 0.30 over all (20 images, 5 draws; all pixels
    share the empty background). Not complete: maps are rectified and divided by their maxima. The signed terms add up to the output
    in ReLU networks without biases.

    References
    ----------
    Shi et al., "Zoom-CAM: Generating Fine-grained Pixel Annotations from Image Labels", ICPR 2020. Draelos & Carin, "Use HiResCAM
    instead of Grad-CAM for faithful explanations of convolutional neural networks", arXiv 2011.08891.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(),
    ...                     nn.Linear(4, 10)).eval()
    >>> images = torch.rand(2, 3, 8, 8)
    >>> maps = ZoomCAM(net, ["1", "4"]).attribute(images, target=7)
    >>> maps.shape, bool(maps.min() >= 0), bool(maps.max() <= 1)
    (torch.Size([2, 1, 8, 8]), True, True)
    >>> [term.shape for term in ZoomCAM(net, ["1", "4"]).terms(images, target=7)]
    [torch.Size([2, 4, 6, 6]), torch.Size([2, 4, 1, 1])]
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layers: Layers,
        device_ids: list[int] | None = None,
    ) -> None:
        if not callable(forward_func):
            raise TypeError(
                f"forward_func must be a model or another callable; got {type(forward_func).__name__}. Pass the model."
            )
        modules = list(named_layers(forward_func, layers).values())
        alone = isinstance(layers, (str, nn.Module)) and not isinstance(layers, nn.ModuleList)
        GradientAttribution.__init__(self, forward_func)
        LayerAttribution.__init__(self, forward_func, modules[0] if alone else modules, device_ids)

    def get_name(self) -> str:
        """Return the method's name, for progress bars and figures."""
        return "Zoom-CAM"

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers: their paths in the model."""
        return tuple(named_layers(self.forward_func, self.layer))

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether gradients are multiplied by what they are gradients of: True."""
        return True

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        interpolate: str = "bilinear",
        size: int | tuple[int, int] | None = None,
        reduce: str = "max",
        return_layers: bool = False,
    ) -> Any:
        """Return one map for each image.

        Parameters
        ----------
        inputs : Tensor, shape (N, C, H, W), or a tuple of one
            Preprocessed as for the model.
        target : int, tuple, Tensor or list, optional
            The output to explain, in Captum's forms; None where there is one output for each image.
        additional_forward_args : Any, optional
        interpolate : {"bilinear", "nearest", "nearest-exact", "area"}, default: "bilinear"
            How the maps are resized.
        size : int or (int, int), optional
            Height and width of the maps. Default: those of the inputs.
        reduce : {"max", "mean"}, default: "max"
            How the layers' maps are fused. The mean is what pytorch-grad-cam does with several layers.
        return_layers : bool, default: False
            Whether to return the maps before they are fused as well.

        Returns
        -------
        attributions : Tensor, shape (N, 1, H, W), in a tuple if ``inputs`` is one
            In [0, 1], without unit; dtype and device of the inputs, detached.
        layers : list of Tensor, each of shape (N, 1, H, W)
            Only with ``return_layers``: one for each layer, in the given order; the runs of one layer are fused.

        Raises
        ------
        TypeError, ValueError, IndexError, AssertionError
            If an argument does not fit, or a layer does not run or does not return one tensor of shape (N, C, H, W).
        """
        image, several = one_input(inputs)
        _check_choice(interpolate, "interpolate", MODES)
        _check_choice(reduce, "reduce", REDUCTIONS)
        height, width = image.shape[2:] if size is None else pair(size, "size", 1)
        maps: dict[str, list[Tensor]] = {name: [] for name in self.layers}
        for name, term in self._products(image, target, additional_forward_args):
            if term.dim() != 4 or len(term) != len(image):
                raise ValueError(
                    f"layer {name!r} must return a tensor of shape (N, C, H, W); got {tuple(term.shape)}. Name a convolutional layer."
                )
            maps[name].append(_resized(_normalized(term), (int(height), int(width)), interpolate))
        every = [one for found in maps.values() for one in found]
        fused = _fused(every, reduce).to(image)
        attributions = (fused,) if several else fused
        if not return_layers:
            return attributions
        return attributions, [_fused(found, reduce).to(image) for found in maps.values()]

    def terms(
        self, inputs: Tensor | tuple[Tensor, ...], target: Target = None, additional_forward_args: Any = None
    ) -> Any:
        """Return activation times gradient at each layer, signed, before the sum over channels.

        In a ReLU network without biases they add up to the explained output at every layer. At the output of a filter bank they are
        what :meth:`edgefilter.Explanation.from_responses` takes.

        Parameters
        ----------
        inputs, target, additional_forward_args
            As in :meth:`attribute`.

        Returns
        -------
        terms : Tensor, or list of Tensor
            Shaped as the layer's output, in units of the explained output; a list if a list of layers was given.

        Raises
        ------
        TypeError, ValueError, IndexError, AssertionError
            If an argument does not fit, or if a layer runs several times.

        Examples
        --------
        >>> import edgefilter as ef
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
        >>> model, images = ef.replace_stem(net), torch.rand(2, 3, 6, 6)
        >>> terms = ZoomCAM(model, "0.filters").terms(images, target=7)
        >>> ef.Explanation.from_responses(terms, model[0], images, target=7).edge.shape
        torch.Size([2, 9])
        """
        image, _ = one_input(inputs)
        found: dict[str, Tensor] = {}
        for name, term in self._products(image, target, additional_forward_args):
            if name in found:
                raise ValueError(
                    f"layer {name!r} must run once to have terms of its own; got several runs. Name a layer around it, or use attribute()."
                )
            found[name] = term.to(image)
        ordered = [found[name] for name in self.layers]
        return ordered if isinstance(self.layer, list) else ordered[0]

    def attribute_future(self) -> None:
        """Raise: Captum's asynchronous form is not available."""
        raise NotImplementedError("attribute_future is not implemented for ZoomCAM")

    def _products(self, image: Tensor, target: Any, extra: Any) -> list[tuple[str, Tensor]]:
        """Return activation times gradient of each layer's runs, by the layer's name."""
        target = target_of_each(target, len(image))
        run = unwrapped(self.forward_func)
        check_evaluation(run)
        with torch.inference_mode(False), torch.enable_grad(), eager():
            leaf = image.clone().requires_grad_()
            with LayerOutputs(named_layers(run, self.layer)) as kept:
                output = run(leaf.clone(), *as_extra(extra))
            check_ran(kept)
            output = output.reshape(1) if isinstance(output, Tensor) and output.dim() == 0 else output
            output = check_output(output, len(image))
            weights = output_weights(output, target)
            outputs = [tensor for _, tensor in kept.outputs]
            gradients = _gradients(output, outputs, weights)
        return [
            (name, tensor.detach() * gradient)
            for (name, tensor), gradient in zip(kept.outputs, gradients, strict=True)
        ]


def _gradients(output: Tensor, outputs: list[Tensor], weights: Tensor) -> list[Tensor]:
    """Return the gradients at the layers; zeros where the output does not depend on one."""
    if not output.requires_grad:
        return [torch.zeros_like(tensor) for tensor in outputs]
    found = torch.autograd.grad(output, outputs, weights, allow_unused=True)
    return [
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(outputs, found, strict=True)
    ]


def _normalized(terms: Tensor) -> Tensor:
    """Sum over channels, drop what is negative, and divide each image's map by its maximum; zeros stay zeros."""
    evidence = terms.to(torch.promote_types(terms.dtype, torch.float32)).sum(1, keepdim=True).relu()
    top = evidence.amax((1, 2, 3), keepdim=True)
    return evidence / torch.where(top > 0, top, 1)


def _resized(maps: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    return maps if tuple(maps.shape[2:]) == size else F.interpolate(maps, size, mode=mode)


def _fused(maps: list[Tensor], reduce: str) -> Tensor:
    stacked = torch.stack([one.to(maps[0]) for one in maps])
    return stacked.amax(0) if reduce == "max" else stacked.mean(0)


def _check_choice(value: Any, name: str, known: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in known:
        hint = closest(value, known) if isinstance(value, str) else "."
        raise ValueError(
            f"{name} must be one of {', '.join(known)}; got {value!r}{hint} The default is {known[0]!r}."
        )
