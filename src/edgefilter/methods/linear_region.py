"""Linear regions of piece-wise linear networks: what a network is around an image, exactly, and how far that holds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from edgefilter.attribution.arguments import Target, as_extra
from edgefilter.attribution.explained import output_weights
from edgefilter.lrp.surroundings import own_modes

from .affine_map import affine_map, classes, downhill, gradient, with_classes
from .arguments import of_each, one_input, target_of_each, whole_number
from .class_boundary import class_boundary
from .nearest_unit import nearest_units
from .piecewise import PiecewiseModel
from .region import ClassBoundary, Region, Walk
from .walking import checked_distance, first_crossing, of_length_one, walked

__all__ = ["LinearRegion"]

Method = TypeVar("Method", bound=Callable[..., Any])


def _exactly(method: Method) -> Method:
    """Let a method run in the precision of its inputs and with gradients, also in autocast and in inference mode."""

    @functools.wraps(method)
    def called(self: LinearRegion, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        with own_modes(one_input(inputs, images=False)[0], grad=True):
            return method(self, inputs, *args, **kwargs)

    return called  # type: ignore[return-value]


class LinearRegion(GradientAttribution):  # type: ignore[misc]
    r"""The affine map that a piece-wise linear network is around an image, and where it ends.

    The attribution is the map's weight times the image: exact inside the region, and silent about the rest. Use it to check other methods
    and to measure margins; to explain what a network saw use :class:`edgefilter.EdgeFilterAttribution`.

    Parameters
    ----------
    forward_func : nn.Module or callable
        In evaluation mode, made of linear maps (convolution, BatchNorm, averages, sums, ...), ReLU, LeakyReLU, PReLU, ReLU6, hardtanh,
        clamp, hardsigmoid, threshold, abs, maximum and max pooling, called as modules or functions. Other functions of the image are refused
        by name.

    Notes
    -----
    Inside the region of :math:`x`, where no unit switches,

    .. math::

        f(x') = W x' + b, \qquad r = \min_u \frac{|z_u(x)|}{\lVert \nabla z_u(x) \rVert}, \qquad
        d_{cj} = \frac{|f_c(x) - f_j(x)|}{\lVert W_c - W_j \rVert} .

    :math:`r` is the distance to the nearest boundary, over all units :math:`u`, each of which switches at :math:`z_u = 0`; :math:`d_{cj}`
    is the distance to where classes :math:`c` and :math:`j` have equal logits. It is the distance to the nearest such point of the
    *network* only if it is within the radius. Radii of real networks are small: 0.000002 for digits with a little noise, on the shipped
    network of 52,528 units, whose class boundary is at 0.3. So :meth:`walk` goes on through other regions: it finds the first change of
    class on a line, exactly. The nearest adversarial point in *any* direction needs an enumeration of all regions around, as SyReNN and
    SplineCam do in two dimensions; this class does not do that.

    Flat parts of an image tie the places of pooling windows: such images lie *on* a boundary, and the radius is 0. Laws hold to rounding
    errors: use float64.

    **Cost**: :meth:`attribute` one forward and one backward pass. :meth:`at` one backward pass for each output, and for the radius the
    network is run at one point for each *pixel and channel*, 784 for a digit: about a second (``radius=False`` leaves it out).
    :meth:`walk` runs the network at two points for each region on the way, whatever the size of the image: 5 to 10 ms on the digits
    network, where another class is some thousand regions away, so about a minute for a digit.

    **Sanity check**: a constant scorer gives zeros. Complete but for ``delta``, the bias share. Randomizing the layers above the first
    changes the attribution: on the shipped digits network the rank correlation before and after is 0.00 over the digits' own pixels (20
    images, 5 draws).

    References
    ----------
    "Boundaries of Single-Class Regions in the Input Space of Piece-Wise Linear Neural Networks", ICPR 2020, by Jung & Kwon's group; written
    from the abstract. DeepFool (Moosavi-Dezfooli et al., CVPR 2016) uses the same hyperplanes as an approximation.

    Examples
    --------
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)).double().eval()
    >>> with torch.no_grad():
    ...     _ = net[1].weight.copy_(torch.eye(2)), net[3].weight.copy_(torch.eye(2)), net[3].bias.copy_(torch.tensor([1.0, 0.0]))
    >>> image = torch.tensor([[[[3.0, 1.0]]]], dtype=torch.float64)
    >>> LinearRegion(net).attribute(image, target=0, return_convergence_delta=True)
    (tensor([[[[3., 0.]]]], dtype=torch.float64), tensor([1.], dtype=torch.float64))
    >>> region = LinearRegion(net).at(image)
    >>> region, region.unit[0]
    (Region(1 image, 2 outputs, radius 1), Unit(module='2', function='relu', index=(1,), level=0.0))
    >>> LinearRegion(net).class_boundary(image)  # 3 + 1 against 1
    ClassBoundary(1 image, distance 2.12, 0 exact)
    >>> LinearRegion(net).walk(image, direction=torch.tensor([[[[0.0, 1.0]]]]))
    Walk(1 image, 1 found, distance 3, 1 region)
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        if not callable(forward_func):
            raise TypeError(
                f"forward_func must be a model or another callable; got {type(forward_func).__name__}. Pass the model."
            )
        GradientAttribution.__init__(self, forward_func)

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether the weight is multiplied by the image: True."""
        return True

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @_exactly
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """Return the target's weight times the image.

        Parameters
        ----------
        inputs : Tensor, shape (N, C, H, W) or (N, D), or a tuple of one
        target : int, tuple, Tensor or list, optional
            The output to explain, in Captum's forms; None where there is one output for each image.
        additional_forward_args : Any, optional
        return_convergence_delta : bool, default: False
            Whether to return the bias share as well.

        Returns
        -------
        attributions : Tensor, shaped as ``inputs``, in a tuple if ``inputs`` is one
            Signed, in units of the output; dtype and device of the inputs, detached.
        delta : Tensor, shape (N,)
            Only with ``return_convergence_delta``: what the output has beyond their sum, the affine map's bias.

        Raises
        ------
        UnsupportedModelError
            If the model calls a function of the image that is not piece-wise linear; names it.
        TypeError, ValueError, IndexError, AssertionError
            If an argument does not fit; the message says what does.
        """
        image, several = one_input(inputs, images=False)
        image = image.clone()
        leaf, output = PiecewiseModel(self.forward_func).checked(image, as_extra(additional_forward_args))
        weights = output_weights(output, target_of_each(target, len(image)))
        attributions = gradient(output, leaf, weights) * image
        found = (attributions,) if several else attributions
        if not return_convergence_delta:
            return found
        explained = (weights * output.detach()).flatten(1).sum(1) if output.dim() > 1 else output.detach()
        return found, explained - attributions.flatten(1).sum(1)

    @_exactly
    def at(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        additional_forward_args: Any = None,
        *,
        radius: bool = True,
        internal_batch_size: int = 64,
        show_progress: bool = False,
    ) -> Region:
        """Return the linear region that each image lies in.

        Parameters
        ----------
        inputs, additional_forward_args
            As in :meth:`attribute`.
        radius : bool, default: True
            Whether to look for the nearest boundary, which costs a forward pass for each pixel and channel.
        internal_batch_size : int, default: 64
            How many of these the model gets at a time.
        show_progress : bool, default: False
            Whether to show a progress bar of the directions, on stderr.

        Returns
        -------
        region : Region

        Raises
        ------
        UnsupportedModelError, TypeError, ValueError
            As :meth:`attribute`; and if the output has not the shape (N, K).
        """
        image = one_input(inputs, images=False)[0].clone()
        size = whole_number(internal_batch_size, "internal_batch_size")
        model, extra = PiecewiseModel(self.forward_func), as_extra(additional_forward_args)
        leaf, output = with_classes(*model.checked(image, extra))
        weight, bias = affine_map(leaf, output)
        output = output.detach()
        if not radius:
            return Region(image, output, weight, bias)
        found = nearest_units(model, image, extra, size, show_progress=show_progress)
        return Region(
            image,
            output,
            weight,
            bias,
            radius=torch.stack([one.radius for one in found]),
            unit=tuple(one.unit for one in found),
            nearest=torch.cat([one.point for one in found]),
            n_units=found[0].n_units,
        )

    @_exactly
    def class_boundary(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        against: Target = None,
        additional_forward_args: Any = None,
        *,
        internal_batch_size: int = 64,
        show_progress: bool = False,
    ) -> ClassBoundary:
        """Return the nearest point at which each image's region gives two classes the same logit.

        Parameters
        ----------
        inputs, additional_forward_args, internal_batch_size, show_progress
            As in :meth:`at`.
        target : int, Tensor or list, optional
            Default: the predicted class.
        against : int, Tensor or list, optional
            The other class. Default: the one whose hyperplane is nearest.

        Returns
        -------
        boundary : ClassBoundary
            ``is_exact`` says where it is the nearest such point of the network, ``in_region`` where the network's logits are equal
            there.

        Raises
        ------
        UnsupportedModelError, TypeError, ValueError, IndexError
            As :meth:`at`; and if ``against`` is the target.
        """
        region = self.at(
            inputs,
            additional_forward_args,
            internal_batch_size=internal_batch_size,
            show_progress=show_progress,
        )
        own = classes(region.output, target, "target")
        other = None if against is None else classes(region.output, against, "against")
        if other is not None and bool((own == other).any()):
            raise ValueError(
                f"against must be another class than target; got {int(own[own == other][0])} for both. Pass another class, or None."
            )
        boundary = class_boundary(region, own, other)
        move = boundary.point - region.inputs
        return dataclasses.replace(boundary, in_region=self._reaches(region, move, additional_forward_args))

    @_exactly
    def walk(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        direction: Tensor | None = None,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        max_distance: float | None = None,
        max_regions: int = 10_000,
        show_progress: bool = False,
    ) -> Walk:
        """Return the first point on a straight line at which the predicted class changes.

        Parameters
        ----------
        inputs, additional_forward_args
            As in :meth:`at`.
        direction : Tensor, shaped as ``inputs`` or one that expands to it, optional
            Of any length but zero. Default: against the gradient of the margin, the target's logit minus the largest other one.
        target : int, Tensor or list, optional
            The class to leave. Default: the predicted class. Where another is predicted from the start, the distance is 0.
        max_distance : float, optional
            In units of the inputs. Default: as far as there are boundaries.
        max_regions : int, default: 10000
        show_progress : bool, default: False
            Whether to show how many regions have been passed, on stderr.

        Returns
        -------
        walk : Walk

        Raises
        ------
        UnsupportedModelError, TypeError, ValueError, IndexError
            As :meth:`at`; and if a direction is zero.

        Warns
        -----
        UserWarning
            If boundaries are closer than rounding errors, as they often are in float32: the way ends there, not found.
        """
        image = one_input(inputs, images=False)[0].clone()
        whole_number(max_regions, "max_regions")
        far = checked_distance(max_distance)
        model, extra = PiecewiseModel(self.forward_func), as_extra(additional_forward_args)
        leaf, output = with_classes(*model.checked(image, extra))
        if output.shape[1] < 2:
            raise ValueError(
                "forward_func must return two classes or more to walk to another; got one output. Pass the whole classifier."
            )
        own = classes(output.detach(), target, "target")
        if direction is None:
            direction = downhill(leaf, output, own)
        unit = of_length_one(direction, image)
        return walked(model, image, unit, own, extra, far, max_regions, show_progress=show_progress)

    def has_convergence_delta(self) -> bool:
        """Return whether there is a delta, the bias share: True."""
        return True

    def compute_convergence_delta(
        self,
        attributions: Tensor | tuple[Tensor, ...],
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
    ) -> Tensor:
        """Return what the output has beyond the sum of some attributions, shape (N,); arguments as in :meth:`attribute`."""
        given, _ = one_input(attributions, "attributions", images=False)
        image, _ = one_input(inputs, images=False)
        own, bias = self.attribute(image, target, additional_forward_args, True)
        delta: Tensor = bias + own.flatten(1).sum(1) - given.flatten(1).sum(1)
        return delta

    def attribute_future(self) -> None:
        """Raise: Captum's asynchronous form is not available."""
        raise NotImplementedError("attribute_future is not implemented for LinearRegion")

    def _reaches(self, region: Region, move: Tensor, additional_forward_args: Any) -> Tensor:
        """Return whether no unit switches on the way to other points."""
        lengths = move.flatten(1).norm(dim=1)
        model, extra = PiecewiseModel(self.forward_func), as_extra(additional_forward_args)
        model.checked(region.inputs, extra)
        unit = (move / of_each(lengths, move)).nan_to_num(0)
        reaches: Tensor = first_crossing(model, region.inputs, unit, extra).distance >= lengths
        return reaches
