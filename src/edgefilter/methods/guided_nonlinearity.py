"""Integrated gradients whose backward pass keeps positive gradients only: a negative control."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal, overload

import torch
from captum._utils.typing import BaselineType, TensorOrTupleOfTensorsGeneric
from captum.attr import GradientAttribution, IntegratedGradients
from captum.attr._utils.approximation_methods import SUPPORTED_METHODS
from captum.log import log_usage
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from edgefilter._checks import closest
from edgefilter.attribution.arguments import Target, as_extra, as_target, unwrapped, whole_batch
from edgefilter.errors import UnsupportedModelError

from .arguments import check_evaluation, input_tensors, whole_number

__all__ = ["GuidedNonlinearityIG", "guided_gradients"]

RELUS = {"relu", "relu_", "relu6"}
POOLS = {"max_pool2d", "max_pool2d_with_indices"}


@contextlib.contextmanager
def guided_gradients(model: nn.Module) -> Iterator[None]:
    """Let gradients of what runs inside pass each ReLU and each max pooling only where they are positive.

    The rules of :class:`GuidedNonlinearityIG`, for use with Captum's other methods. The result is a **negative control**:
    a map that looks sharp and hardly depends on the upper layers.

    Parameters
    ----------
    model : nn.Module
        The model that runs inside; left as it is.

    Raises
    ------
    TypeError
        If it is no ``nn.Module``.
    UnsupportedModelError
        If its functions cannot be seen: a scripted or compiled model, or one in ``DataParallel``.

    Notes
    -----
    Each ReLU and each 2-D max pooling that runs in this thread gets its rule, whether a module calls it or the model's
    ``forward`` does. No hook is set on a module. Values do not change; backward passes of what ran inside keep the
    rules, also if they run later.

    Examples
    --------
    The guided attribution at the first layer of a model, and its scores by color and filter:

    >>> from captum.attr import LayerIntegratedGradients
    >>> import edgefilter as ef
    >>> model = ef.models.edge_cnn(5, in_channels=3, bank="sobel").double().eval()
    >>> bank, images = model.stem.filters, torch.rand(2, 3, 16, 16).double()
    >>> with guided_gradients(model):
    ...     at_bank = LayerIntegratedGradients(model, bank).attribute(images, target=1)
    >>> scores = ef.Explanation.from_responses(at_bank, bank)
    >>> scores.color.shape, scores.edge.shape
    (torch.Size([2, 3]), torch.Size([2, 2]))
    """
    _check_readable(model)
    if unwrapped(model) is not model:
        raise UnsupportedModelError(
            f"model must run its functions in Python and in this thread; got {type(model).__name__}. "
            "Pass the model inside: model.module of DataParallel, model._orig_mod of torch.compile."
        )
    with _Guide():
        yield


class GuidedNonlinearityIG(GradientAttribution):  # type: ignore[misc]
    r"""Integrated gradients with guided nonlinearities (GNL-IG): a negative control, not an explanation.

    It multiplies the path-averaged gradient by the change of the input, as integrated gradients do, but on its way back
    the gradient passes each ReLU and each max pooling only where it is positive. Use it to see what a map looks like
    that ignores most of the network; to explain a model use :class:`captum.attr.IntegratedGradients` or
    :class:`edgefilter.EdgeFilterAttribution`.

    .. math:: R_j = (x_j - x'_j) \sum_t w_t \, \tilde\partial_j f_c(x' + \alpha_t (x - x'))

    with the steps :math:`\alpha_t` and weights :math:`w_t` of the chosen quadrature. In :math:`\tilde\partial` the
    input gradient of each ``nn.ReLU`` and ``nn.ReLU6`` is clamped to at least 0, and the input gradient of each
    ``nn.MaxPool2d`` is multiplied by the mask of its positive output gradients, enlarged to its input by nearest
    neighbors.

    Parameters
    ----------
    model : nn.Module
        Left as it is. Of a model in ``DataParallel`` or ``torch.compile``, the model inside is run.

    Raises
    ------
    TypeError
        If ``model`` is no ``nn.Module``.
    UnsupportedModelError
        If it is a scripted model, whose functions cannot be seen.

    Notes
    -----
    **What it is.** Clamping the input gradient of ReLUs is the rule of :class:`captum.attr.GuidedBackprop`: without
    max pooling, or where its windows do not overlap, this is the average of guided backpropagation along the path, times
    ``x - x'``. Where windows overlap (3 x 3 with stride 2), the published mask does not lie on the windows that the
    gradient came from; it is computed here as published.

    A ReLU or max pooling that ``forward`` calls as a function gets the rule of the module, so that a network gives one
    answer however it is written. Other activations and other maxima keep their gradients. A model without any of the
    three gives integrated gradients.

    This is not the *Guided IG* of Kapishnikov et al. (2021), which bends the path and leaves the gradient alone.

    **Cost.** ``n_steps`` forward and backward passes for each image, as for integrated gradients.

    **Sanity check.** A constant output gives 0 everywhere. *Completeness fails*: the sum of the map is not
    ``f(x) - f(x')``, and the delta says by how much. *Randomisation fails*: SANITY

    References
    ----------
    .. [1] Jeon, Jeong & Choi, "Improving Explainability of Integrated Gradients with Guided Non-Linearity", ICPR 2020.
    .. [2] Nie, Zhang & Patel, "A Theoretical Explanation for Perplexing Behaviors of Backpropagation-based
       Visualizations", ICML 2018.
    .. [3] Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    >>> for values, layer in (([[1.0, 0.0], [0.0, 1.0]], model[0]), ([[2.0, -3.0]], model[2])):
    ...     _ = layer.weight.data.copy_(torch.tensor(values)), layer.bias.data.zero_()
    >>> images = torch.tensor([[1.0, 1.0]])
    >>> GuidedNonlinearityIG(model).attribute(images)  # the weight of -3 is gone
    tensor([[2., 0.]])
    >>> IntegratedGradients(model).attribute(images).detach()
    tensor([[ 2., -3.]])
    """

    def __init__(self, model: nn.Module) -> None:
        _check_readable(model)
        model = unwrapped(model)
        GradientAttribution.__init__(self, model)
        self.model = model

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether gradients are multiplied by ``inputs - baselines``: True."""
        return True

    def has_convergence_delta(self) -> bool:
        """Whether there is a delta: True, that of integrated gradients. It is not small."""
        return True

    @overload
    def attribute(
        self,
        inputs: TensorOrTupleOfTensorsGeneric,
        baselines: BaselineType = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        *,
        return_convergence_delta: Literal[True],
    ) -> tuple[TensorOrTupleOfTensorsGeneric, Tensor]: ...

    @overload
    def attribute(
        self,
        inputs: TensorOrTupleOfTensorsGeneric,
        baselines: BaselineType = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: Literal[False] = False,
    ) -> TensorOrTupleOfTensorsGeneric: ...

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: BaselineType = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """Return the guided gradients along the path from the baselines, times the change of the inputs.

        Parameters
        ----------
        inputs : Tensor, shape (N, ...), or tuple of Tensors
            Floating point, preprocessed as for the model.
        baselines : Tensor, float or tuple of them, optional
            Where the path begins, in Captum's forms. Default: zero, the mean image after normalization.
        target : int, tuple, Tensor or list, optional
            The output to explain, in Captum's forms.
        additional_forward_args : Any, optional
            Further arguments of the model.
        n_steps : int, default: 50
            Points on the path.
        method : str, default: "gausslegendre"
            The quadrature: one of Captum's names.
        internal_batch_size : int, optional
            The most rows that the model gets at a time, but at least one step of all images, as in Captum. Default: all.
        return_convergence_delta : bool, default: False
            Whether to return the delta as well.

        Returns
        -------
        attributions : Tensor or tuple of Tensors, shaped as ``inputs``
            Signed, in units of the output; dtype and device of ``inputs``, detached.
        delta : Tensor, shape (N,)
            The sum of the attributions minus ``f(x) - f(x')``; if asked for. Not an error of the quadrature: it does not
            vanish with more steps.

        Raises
        ------
        ValueError, TypeError, IndexError, AssertionError
            If an argument does not fit; the message says what does.
        """
        parts, several = input_tensors(inputs)
        check_evaluation(self.model)
        if method not in SUPPORTED_METHODS:
            raise ValueError(
                f"method must be one of {', '.join(SUPPORTED_METHODS)}; got {method!r}{closest(str(method), SUPPORTED_METHODS)}"
            )
        if internal_batch_size is not None:
            whole_batch(internal_batch_size, len(parts[0]))
        with torch.inference_mode(mode=False), guided_gradients(self.model):
            found = IntegratedGradients(self.model).attribute(
                parts,
                baselines,
                as_target(target),
                as_extra(additional_forward_args) or None,
                n_steps=whole_number(n_steps, "n_steps"),
                method=method,
                internal_batch_size=internal_batch_size,
                return_convergence_delta=return_convergence_delta,
            )
        maps = found[0] if return_convergence_delta else found
        maps = tuple(part.detach().to(like) for part, like in zip(maps, parts, strict=True))
        result = maps if several else maps[0]
        return (result, found[1].detach()) if return_convergence_delta else result

    def attribute_future(self) -> None:
        """Raise: Captum's asynchronous form is not available."""
        raise NotImplementedError("attribute_future is not implemented for GuidedNonlinearityIG")


class _Guide(TorchFunctionMode):
    """Sets the rules on the tensors of each ReLU and each max pooling that runs."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in POOLS:
            return _guided_pool(func, *args, **kwargs)
        output = func(*args, **kwargs)
        if (name in RELUS or (name == "hardtanh" and _is_relu6(*args, **kwargs))) and output.requires_grad:
            output.register_hook(_positive)
        return output


def _positive(gradient: Tensor) -> Tensor:
    """Clamp the gradient of a ReLU's output: behind the gate of 0 and 1, that of its input is clamped as well."""
    return gradient.clamp(min=0)


def _is_relu6(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> bool:  # noqa: A002, ARG001
    """Return whether a call of ``hardtanh`` is what ``nn.ReLU6`` calls."""
    return (min_val, max_val) == (0, 6)


def _guided_pool(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
    """Pool, and see to it that the gradient of the input is masked; of this reader of the input alone."""
    if not (input.requires_grad and torch.is_grad_enabled()):
        return func(input, *args, **kwargs)
    mine = input.view_as(input)
    output = func(mine, *args, **kwargs)
    masks: list[Tensor] = []

    def note(gradient: Tensor) -> None:
        positive = (gradient > 0).to(gradient).reshape(-1, 1, *gradient.shape[-2:])
        masks.append(F.interpolate(positive, size=input.shape[-2:], mode="nearest"))

    def apply(gradient: Tensor) -> Tensor:
        return gradient * masks.pop().reshape(gradient.shape)

    pooled: Tensor = output[0] if isinstance(output, tuple) else output
    pooled.register_hook(note)  # type: ignore[no-untyped-call]
    mine.register_hook(apply)  # type: ignore[no-untyped-call]
    return output


def _check_readable(model: Any) -> None:
    """Raise unless each function that a model calls is called from Python, where its gradient can be guided."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be an nn.Module; got {type(model).__name__}. Wrap a function in a module whose forward calls it."
        )
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"layer {name!r}, which is scripted" if name else "a scripted model"
            raise UnsupportedModelError(
                f"model must call its ReLUs and max poolings from Python, where their gradients can be guided; got {where}. "
                "Pass the model before torch.jit.script or torch.jit.trace."
            )
