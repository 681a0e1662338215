"""Attribution by color channel, by edge filter and by pixel, in Captum's manner."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, overload

import torch
from captum._utils.common import _format_additional_forward_args, _format_tensor_into_tuples, _select_targets
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn.modules.conv import _ConvNd
from zennit.core import Composite

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError
from edgefilter.lrp.calibration import Reader, calibrated, measure
from edgefilter.lrp.composites import DEFAULT, fresh_composite
from edgefilter.lrp.graph import RewrittenModel, constants, own_modes, structure
from edgefilter.lrp.linear_maps import linear_map
from edgefilter.lrp.operations import plain_gradients
from edgefilter.lrp.twins import in_layout
from edgefilter.stems.finding import bank_path
from edgefilter.stems.layers import EdgeFilterBank2d

from .explanation import Explanation
from .scores import SCORES, color_names, per_image, scores

__all__ = ["SCORE_NAMES", "EdgeFilterAttribution", "Target"]

STARTS = ("target", "contrast")
SCORE_NAMES = ("pixel", *SCORES, "response")

EXPLOSION = 1e6
CANCELLING_COLORS = ("epsilon", "epsilon_gamma", "epsilon_gamma_box")

Target = int | tuple[int, ...] | Tensor | list[int] | list[tuple[int, ...]] | None


class _Pass(NamedTuple):
    """What one forward and one backward pass give."""

    explained: Tensor
    target: tuple[Any, ...]
    response: Tensor
    pixels: tuple[Tensor, ...]


class EdgeFilterAttribution(GradientAttribution):  # type: ignore[misc]
    """Explain a classifier by color channel, by edge filter and by pixel.

    Relevance starts at the explained output, is handed back by the rules of a composite (layer-wise relevance
    propagation) to the responses of the filter bank, where it is summed to scores, and on to the pixels: one forward
    and one backward pass give all scores. By default it is calibrated at the responses: the score of each color is what
    silencing it does to the output, made to add up to the output, which takes a forward pass for each color and a gradient
    pass more.

    Parameters
    ----------
    model : nn.Module
        With one edge-filter layer (:func:`edgefilter.replace_stem` gives one), in evaluation mode. The model is left
        as it is: rules are registered on a private copy that shares its weights. Of ``DataParallel`` and of
        ``torch.compile``, the model inside is explained, on the device of the inputs.
    composite : str or zennit.core.Composite, optional
        Rules: a name from :func:`edgefilter.composite_names`, or any Zennit composite. Default: ``"calibrated"``, the
        rules of ``"epsilon_plus"`` and what Notes say. ``"epsilon_plus"`` is pure relevance propagation, in one pass;
        ``"epsilon_alpha15_beta05"`` the best of one pass at filters, ``"epsilon_alpha2_beta1"`` nearest to the LRP of the
        paper's time.
    layer : str or nn.Module, optional
        The edge-filter layer, where the model holds several.
    start : {"target", "contrast"}, default: "target"
        What is explained: the output of the target, or that output minus the mean of the other outputs.
    fast : bool, default: True
        Whether rules of Zennit in ``composite`` are replaced by ours, which give the same numbers in a third to
        half of the time. With False Zennit's own hooks run.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit; the message says what does.

    Notes
    -----
    ``"calibrated"`` computes, for each image, with the sums ``L_ck`` of the relevance of ``"epsilon_plus"`` over the places
    of color ``c`` and filter ``k``; the drop ``D_c`` of the explained output when all responses of a color are set to zero;
    ``P_ck``, the responses times the gradient of the explained output at three tenths of them; and ``S(v; T)``, which multiplies
    the positive ``v`` by the ``t > 0`` and divides the negative ones by it for which they sum to ``T``. Values of one sign are
    all multiplied by the number that makes them sum to ``T``, a negative one if it has the other sign; where all are zero, the
    relevance takes their place:

    - the score of a color ``S_c = S(D; output)``,
    - that of a color and filter ``0.4 S(P_ck (1 + q(L_ck)) / (1 + q(P_ck)); S_c) + 0.6 S(L_ck; S_c)``, with ``q`` a size over the
      mean size; before they are settled, the sharpened ``P_ck`` are scaled so that their sizes sum to those of ``P_ck``, and to twice
      those of ``S_c`` at most,
    - that of a place ``S`` of the relevance there and the score of its pair, where a sign that has less than a hundredth of the
      other's size counts as none; and that of a pixel by the bank's rule.

    Where ``D`` and the output disagree, colors are not their effects: all scores have the other sign if all effects have another
    one than the output, and small effects of one sign can get large scores. :func:`edgefilter.causal_check` gives the effects.

    References
    ----------
    Jung & Kwon, "Color, Edge, and Pixel-wise Explanation of Predictions Based on Interpretable Neural Network Model",
    ICPR 2020. Bach et al., "On pixel-wise explanations ...", PLOS ONE 10(7), 2015.

    Examples
    --------
    >>> import edgefilter as ef
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
    >>> attr = EdgeFilterAttribution(ef.replace_stem(net))
    >>> images = torch.rand(2, 3, 6, 6)
    >>> attr.attribute(images, target=7).shape, attr.attribute(images, target=7, score="edge").shape
    (torch.Size([2, 3, 6, 6]), torch.Size([2, 9]))
    """

    def __init__(
        self,
        model: nn.Module,
        composite: Composite | str | None = None,
        *,
        layer: str | nn.Module | None = None,
        start: Literal["target", "contrast"] = "target",
        fast: bool = True,
    ) -> None:
        model = unwrapped(model)
        path = bank_path(model, layer)
        if start not in STARTS:
            raise ValueError(
                f"start must be one of {', '.join(STARTS)}; got {start!r}{closest(str(start), STARTS)}"
            )
        fresh_composite(composite)
        GradientAttribution.__init__(self, model)
        self.model = model
        self.composite = composite
        self.start = start
        self.fast = fast
        self.calibrates = composite is None or composite == DEFAULT
        self._layer = None if layer is None else path
        self._rewritten: RewrittenModel | None = None
        self._structure: tuple[Any, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the private copy of the model: a copy of this object makes its own."""
        return {**self.__dict__, "_rewritten": None, "_structure": ()}

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether relevance is a share of the output, not a sensitivity to it: True."""
        return True

    def has_convergence_delta(self) -> bool:
        """Return True: relevance should sum to the explained output."""
        return True

    @overload
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        return_convergence_delta: Literal[True],
        score: str = "pixel",
        internal_batch_size: int | None = None,
    ) -> tuple[Any, Tensor]: ...

    @overload
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: Literal[False] = False,
        *,
        score: str = "pixel",
        internal_batch_size: int | None = None,
    ) -> Any: ...

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        *,
        score: str = "pixel",
        internal_batch_size: int | None = None,
    ) -> Any:
        """Return one score of a batch of predictions.

        Parameters
        ----------
        inputs : Tensor, shape (N, C, H, W), or tuple of Tensors
            Images as the model expects them, floating point. A tuple for models of several inputs.
        target : int, tuple, Tensor or list, optional
            The output index to explain, in Captum's forms; None for a model of one output.
        additional_forward_args : Any, optional
            Further arguments of the model, not explained. With ``internal_batch_size``, tensors that are as long as
            the batch go with their images.
        return_convergence_delta : bool, default: False
            Whether to return the delta as well.
        score : {"pixel", "color", "edge", "color_edge", "response"}, default: "pixel"
            ``"pixel"`` (N, C, H, W) like inputs; ``"color"`` (N, C); ``"edge"`` (N, K); ``"color_edge"`` (N, C, K);
            ``"response"`` (N, C, K, H', W').
        internal_batch_size : int, optional
            Explain so many images at a time: the same numbers in less memory. Default: all at once.

        Returns
        -------
        attributions : Tensor, or tuple of Tensors where ``inputs`` is one
            Signed, in units of the explained output, detached; dtype and device of ``inputs``.
        delta : Tensor, shape (N,)
            Total relevance minus explained output; only with ``return_convergence_delta=True``.

        Raises
        ------
        ValueError, TypeError, IndexError, AssertionError
            If inputs or target do not fit the model; the message says what does.
        UnsupportedModelError
            If the model holds an operation without a relevance rule.
        """
        if score not in SCORE_NAMES:
            raise ValueError(
                f"score must be one of {', '.join(SCORE_NAMES)}; got {score!r}{closest(str(score), SCORE_NAMES)}"
            )
        if score in ("color", "color_edge"):
            self._warn_of_colors(stacklevel=4)
        result = self._propagate(
            inputs,
            target,
            additional_forward_args,
            internal_batch_size=internal_batch_size,
            down_to="inputs" if score == "pixel" else "responses",
        )
        parts = result.pixels if score == "pixel" else (scores(result.response, score).contiguous(),)
        attributions = parts if isinstance(inputs, tuple) else parts[0]
        if not return_convergence_delta:
            return attributions
        return attributions, self.compute_convergence_delta(attributions, result.explained)

    def at_bank(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        of_input: bool = False,
        internal_batch_size: int | None = None,
    ) -> Tensor:
        """Return the relevance at the output of the bank, shape (N, C*K, H', W'), or at its input.

        Parameters
        ----------
        inputs, target, additional_forward_args, internal_batch_size
            As in :meth:`attribute`.
        of_input : bool, default: False
            Whether to return the relevance at the input: the pixels, where the bank comes first.
        """
        result = self._propagate(
            inputs,
            target,
            additional_forward_args,
            internal_batch_size=internal_batch_size,
            down_to="bank input" if of_input else "responses",
        )
        return result.pixels[0] if of_input else result.response.flatten(1, 2).contiguous()

    def compute_convergence_delta(self, attributions: Tensor | tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Return total relevance minus explained output, shape (N,).

        Parameters
        ----------
        attributions : Tensor or tuple of Tensors
            Any score that :meth:`attribute` gave, batch first.
        output : Tensor, shape (N,)
            The explained output of each image.
        """
        parts = attributions if isinstance(attributions, tuple) else (attributions,)
        return sum((part.flatten(1).sum(1) for part in parts), start=torch.zeros_like(output)) - output

    def attribute_future(self) -> None:
        """Raise: Captum's asynchronous form is not available."""
        raise NotImplementedError("attribute_future is not implemented for EdgeFilterAttribution")

    def explain(
        self,
        inputs: Tensor,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        internal_batch_size: int | None = None,
    ) -> Explanation:
        """Return all scores of a batch of predictions from one pass.

        Parameters
        ----------
        inputs : Tensor, shape (N, C, H, W)
        target : int, tuple, Tensor or list, optional
            As in :meth:`attribute`. Default: the output with the largest value, of each image.
        additional_forward_args : Any, optional
            Further arguments of the model, not explained.
        internal_batch_size : int, optional
            As in :meth:`attribute`.

        Returns
        -------
        explanation : Explanation
        """
        self._warn_of_colors(stacklevel=3)
        result = self._propagate(
            inputs,
            target,
            additional_forward_args,
            internal_batch_size=internal_batch_size,
            down_to="inputs",
            predict=True,
        )
        bank = self._bank.bank
        return Explanation(
            response=result.response,
            pixel=result.pixels[0],
            output=result.explained,
            target=result.target,
            colors=color_names(result.response.shape[1]),
            filters=tuple(bank.names),
            filter_labels=tuple(bank.labels),
        )

    def silence(
        self,
        inputs: Tensor,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        colors: Sequence[str] = (),
        filters: Sequence[str] = (),
    ) -> Tensor:
        """Return the explained output with the responses of some colors and of some filters set to zero.

        Parameters
        ----------
        inputs, target, additional_forward_args
            As in :meth:`attribute`.
        colors, filters : sequence of str
            Names of what is silenced; with none of both, the output is as it is.

        Returns
        -------
        output : Tensor, shape (N,)

        Raises
        ------
        KeyError
            If a name is unknown.
        """
        images = _format_tensor_into_tuples(inputs)
        extra = _extra(additional_forward_args)
        self._check(images)
        mask = self._mask(colors, filters)
        with own_modes(images[0], grad=False):
            leaves = tuple(image.detach().clone() for image in images)
            rewritten = self._prepare((*leaves, *extra))
            if not rewritten.verified:
                rewritten.verify(rewritten.module(*leaves, *extra)[0])
            kernels = rewritten.bank.weight
            rewritten.bank.weight = nn.Parameter(kernels * mask.to(kernels), requires_grad=False)
            output = rewritten.module(*leaves, *extra)[0]
        return _sum_per_image(self._start(output, target))

    def _mask(self, colors: Sequence[str], filters: Sequence[str]) -> Tensor:
        """Return 0 for the silenced kernels and 1 for the others, shape (C*K, 1, 1, 1)."""
        bank, names = self._bank.bank, color_names(self._bank.in_channels)
        mask = torch.ones(len(names), len(bank))
        for color in colors:
            if color not in names:
                raise UnknownNameError(
                    f"unknown color {color!r}{closest(color, names)} There are {', '.join(names)}."
                )
            mask[names.index(color)] = 0
        for name in filters:
            mask[:, bank.index(name)] = 0
        return mask.reshape(-1, 1, 1, 1)

    def _warn_of_colors(self, stacklevel: int) -> None:
        """Warn of rules whose relevance of both signs cancels when it is summed by color."""
        if self.composite in CANCELLING_COLORS:
            warnings.warn(
                f"color scores should come from rules of one sign or from measurement; got composite={self.composite!r}, whose "
                "signed sums can name the wrong color. Use composite='calibrated'.",
                UserWarning,
                stacklevel=stacklevel,
            )

    @property
    def _bank(self) -> EdgeFilterBank2d:
        module = self.model.get_submodule(bank_path(self.model, self._layer))
        assert isinstance(module, EdgeFilterBank2d)
        return module

    def _comes_first(self) -> bool:
        """Tell whether the bank is the first layer with weights, as registered."""
        layers = (module for module in self.model.modules() if isinstance(module, (_ConvNd, nn.Linear)))
        return next(layers) is self._bank.conv

    def _propagate(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target,
        additional: Any,
        *,
        internal_batch_size: int | None,
        down_to: Literal["responses", "bank input", "inputs"],
        predict: bool = False,
    ) -> _Pass:
        """Check the inputs, and propagate all of them at once or some at a time."""
        images = _format_tensor_into_tuples(inputs)
        extra = _extra(additional)
        self._check(images)
        count = len(images[0])
        size = _batch_size(internal_batch_size, count)
        passes = [
            self._propagate_batch(
                _piece(images, piece, count),
                _target_of(target, piece, count),
                _piece(extra, piece, count),
                down_to,
                predict,
            )
            for piece in (slice(start, start + size) for start in range(0, count, size))
        ]
        if len(passes) == 1:
            return passes[0]
        if any(
            part is not value for part, value in zip(_piece(extra, slice(0, size), count), extra, strict=True)
        ):
            self._check_cut(images, target, extra, passes[0].explained)
        return _joined(passes)

    def _check_cut(
        self, images: tuple[Any, ...], target: Target, extra: tuple[Any, ...], explained: Tensor
    ) -> None:
        """Refuse if additional tensors were cut with the images although they do not belong to them one by one."""
        with own_modes(images[0], grad=False):
            output = self.model(*images, *extra)
            target = self._default(output, target) if target is None else target
            whole = _sum_per_image(self._start(output, target))[: len(explained)]
        if not torch.allclose(whole, explained.to(whole), rtol=1e-2, atol=1e-3 * float(whole.abs().max())):
            raise ValueError(
                "additional_forward_args must hold one entry per image where a tensor is as long as the batch; got outputs "
                "that differ from those of the whole batch. Leave internal_batch_size out, or pass a batch of another size."
            )

    def _propagate_batch(
        self,
        images: tuple[Any, ...],
        target: Target,
        extra: tuple[Any, ...],
        down_to: Literal["responses", "bank input", "inputs"],
        predict: bool,
    ) -> _Pass:
        with own_modes(images[0], grad=True):
            leaves = tuple(in_layout(image.detach()).clone().requires_grad_() for image in images)
            rewritten = self._prepare((*leaves, *extra))
            rules = fresh_composite(self.composite, fast=self.fast).context(rewritten.module)
            with _inputs_of(rewritten.bank) as seen, rules:
                output, responses = rewritten.module(*leaves, *extra)
                _check_output(output, len(leaves[0]))
                rewritten.verify(output)
                target = self._default(output, target) if predict else target
                start = self._start(output, target)
                below = {"responses": (), "bank input": tuple(seen), "inputs": leaves}[down_to]
                shapes = [place.shape for place in (responses, *below)]
                if self.calibrates:
                    relevance = self._calibrate(
                        rewritten, (output, responses, below), start, target, (*leaves, *extra)
                    )
                else:
                    wanted = [get_gradient_edge(place) for place in (responses, *below)]
                    del responses, below  # the largest tensor: let it go as soon as the rules have read it
                    relevance = torch.autograd.grad(output, wanted, start, allow_unused=True)
            rewritten.release()
        found = [
            images[0].new_zeros(shape) if part is None else part
            for part, shape in zip(relevance, shapes, strict=False)
        ]
        _warn_of_explosion(found, start)
        return _Pass(
            explained=_sum_per_image(start),
            target=per_image(target, len(images[0])),
            response=self._by_color(found[0]),
            pixels=tuple(part.detach().contiguous() for part in found[1:]),
        )

    def _calibrate(
        self,
        rewritten: RewrittenModel,
        graph: tuple[Tensor, Tensor, tuple[Tensor, ...]],
        start: Tensor,
        target: Target,
        arguments: tuple[Any, ...],
    ) -> tuple[Tensor | None, ...]:
        """Return relevance at the responses that agrees with measurements, and what the bank's rule makes of it."""
        output, responses, below = graph
        several = below if len(below) > 1 else ()  # what reaches them past the bank stays as it is
        found: tuple[Tensor | None, ...] = torch.autograd.grad(
            output, (responses, *several), start, allow_unused=True, retain_graph=bool(several)
        )
        relevance, past = found[0], found[1:]
        if relevance is None:
            return None, *(past or (None,) * len(below))
        weights, layer = self._weights(output, target), rewritten.reader
        reader = Reader(None if layer is None else linear_map(layer))

        def explained(value: Tensor) -> Tensor:
            value = value.flatten(1, 2) if layer is None else value
            return _sum_per_image(weights * rewritten.tail(value, arguments, layer))

        with plain_gradients():
            response = self._by_color(responses.detach())
            measured = measure(explained, response, _sum_per_image(start), reader)
        result = calibrated(self._by_color(relevance), measured).flatten(1, 2)
        if not below:
            return (result,)
        change = result - relevance if several else result
        passed = torch.autograd.grad(responses, below, change, allow_unused=True)
        return result, *(map(_added, past, passed) if several else passed)

    def _by_color(self, responses: Tensor) -> Tensor:
        count, channels, *places = responses.shape
        colors = self._bank.in_channels
        return responses.reshape(count, colors, channels // colors, *places)

    def _prepare(self, arguments: tuple[Any, ...]) -> RewrittenModel:
        """Return the copy of the model with its present weights, made anew if its modules changed."""
        present = (*map(type, arguments), constants(arguments), *structure(self.model))
        if self._rewritten is None or not self._rewritten.verified or present != self._structure:
            path = bank_path(self.model, self._layer)
            self._rewritten = RewrittenModel(self.model, path, arguments)
            self._structure = present
        else:
            self._rewritten.refresh()
        return self._rewritten

    @staticmethod
    def _default(output: Tensor, target: Target) -> Target:
        """Return the target, or the largest output of each image where there is none."""
        several = output.dim() == 2 and output.shape[1] > 1
        return output.detach().argmax(1) if target is None and several else target

    def _start(self, output: Tensor, target: Target) -> Tensor:
        """Return the relevance to start with, shaped as the output: it sums to what is explained."""
        return self._weights(output, target) * output.detach()

    def _weights(self, output: Tensor, target: Target) -> Tensor:
        """Return the factors of the outputs in what is explained, shaped as the output."""
        leaf = output.detach().requires_grad_()
        if isinstance(target, Tensor) and target.is_inference():
            target = target.clone()
        _check_target(leaf, target)
        with torch.enable_grad():
            chosen = _select_targets(leaf, target)
            (weights,) = torch.autograd.grad(chosen.sum(), leaf)
        if self.start == "contrast":
            if output.dim() != 2 or output.shape[1] < 2:
                raise ValueError(
                    f"start='contrast' must have an output of shape (N, classes) with two classes or more; got "
                    f"{tuple(output.shape)}. Use start='target'."
                )
            weights = weights - (1 - weights) / (output.shape[1] - 1)
        return weights

    def _check(self, images: tuple[Tensor, ...]) -> None:
        training = [name for name, module in self.model.named_modules() if module.training]
        if training:
            name = next((f"layer {name!r}" for name in training if name), type(self.model).__name__)
            raise ValueError(
                f"model must be in evaluation mode; {name} is training. Call model.eval() first."
            )
        self._bank.check_kernels()
        for image in images:
            _check_kind(image)
        if self.calibrates and images[0].element_size() < 4:
            raise ValueError(
                f"model must be float32 or float64 for composite='calibrated', which takes differences of outputs; got "
                f"{images[0].dtype}. Call model.float() and inputs.float(), or pass composite='epsilon_plus'."
            )
        if len(images) == 1:
            _check_image(images[0], self._bank, self._comes_first())
        if not all(torch.isfinite(image).all() for image in images):
            raise ValueError(
                "inputs must be finite; got NaN or infinity. Look at how the images were read or normalised."
            )


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside ``DataParallel`` and ``torch.compile``, which compute what it computes."""
    while True:
        inside = vars(model).get("_modules", {}) if isinstance(model, nn.Module) else {}
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = inside["module"]
        elif set(inside) == {"_orig_mod"}:
            model = inside["_orig_mod"]
        else:
            return model


@contextlib.contextmanager
def _inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Note what a module is called with."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, arguments: seen.extend(arguments))
    try:
        yield seen
    finally:
        handle.remove()


def _batch_size(internal: int | None, count: int) -> int:
    if internal is None:
        return count
    if not isinstance(internal, int) or isinstance(internal, bool) or internal < 1:
        raise ValueError(
            f"internal_batch_size must be a whole number of at least 1; got {internal!r}. Pass for example 16, or None."
        )
    return internal


def _piece(arguments: tuple[Any, ...], piece: slice, count: int) -> tuple[Any, ...]:
    """Return some samples of those arguments that have one entry for each."""
    return tuple(
        value[piece] if isinstance(value, Tensor) and value.dim() and len(value) == count else value
        for value in arguments
    )


def _target_of(target: Target, piece: slice, count: int) -> Target:
    """Return the targets of some samples; a wrong number of them as it is, for Captum to refuse."""
    several = isinstance(target, list) or (isinstance(target, Tensor) and target.numel() > 1)
    return target[piece] if several and len(target) == count else target  # type: ignore[index, arg-type]


def _joined(passes: list[_Pass]) -> _Pass:
    return _Pass(
        explained=torch.cat([one.explained for one in passes]),
        target=tuple(target for one in passes for target in one.target),
        response=torch.cat([one.response for one in passes]),
        pixels=tuple(torch.cat(parts) for parts in zip(*(one.pixels for one in passes), strict=True)),
    )


def _check_kind(image: Tensor) -> None:
    if not image.is_floating_point():
        raise TypeError(
            f"inputs must be floating point; got {image.dtype}. "
            "Scale and normalise as in training, for example images.float() / 255."
        )
    if image.numel() == 0:
        raise ValueError(f"inputs must hold at least one image; got shape {tuple(image.shape)}.")


def _check_image(images: Tensor, bank: EdgeFilterBank2d, comes_first: bool) -> None:
    if images.dim() != 4:
        advice = "Add a batch axis with images[None]." if images.dim() == 3 else "Pass a batch of images."
        raise ValueError(
            f"inputs must have shape (batch, channel, height, width); got {tuple(images.shape)}. {advice}"
        )
    if comes_first and images.shape[1] != bank.in_channels:
        raise ValueError(
            f"inputs must have {bank.in_channels} channels, as the model's stem; got {images.shape[1]}. "
            "Convert the images, or explain a model for such images."
        )
    weight = bank.conv.weight
    if images.dtype != weight.dtype or images.device != weight.device:
        raise ValueError(
            f"inputs must be {weight.dtype} on {weight.device}, as the model; got {images.dtype} on {images.device}. "
            "Call inputs.to(...) or model.to(...)."
        )


def _extra(arguments: Any) -> tuple[Any, ...]:
    """Return additional arguments as a tuple, tensors made fit for a backward pass."""
    extra = _format_additional_forward_args(arguments) or ()
    return tuple(x.clone() if isinstance(x, Tensor) and x.is_inference() else x for x in extra)


def _check_output(output: Tensor, count: int) -> None:
    if output.dim() == 0 or len(output) != count or not output.is_floating_point():
        raise ValueError(
            f"model must return floating-point outputs of shape (batch, ...), one row for each of the {count} inputs; "
            f"got {output.dtype} of shape {tuple(output.shape)}. Explain a model that does."
        )


def _check_target(output: Tensor, target: Target) -> None:
    """Raise before Captum does, in words that name the range."""
    if target is None:
        if output.numel() != len(output):
            raise AssertionError(
                "Target not provided when necessary, cannot take gradient with respect to multiple outputs. "
                f"target must be given for an output of shape {tuple(output.shape)}; got None. "
                "Pass the index of a class."
            )
        return
    given = target.reshape(-1).tolist() if isinstance(target, Tensor) else target
    given = given if isinstance(given, list) else [given]
    for item in given:
        indices = item if isinstance(item, tuple) else (item,)
        from_end = len(given) == 1 or isinstance(item, tuple)  # where Captum counts from the end
        for index, size in zip(indices, output.shape[1:], strict=False):
            if isinstance(index, int) and not -size * from_end <= index < size:
                raise IndexError(
                    f"target must be between 0 and {size - 1}; got {index}. The output has shape {tuple(output.shape)}."
                )


def _warn_of_explosion(relevance: Sequence[Tensor], start: Tensor) -> None:
    """Warn where shares of opposite sign have grown so large that little of their sum is left."""
    limit = EXPLOSION * _sum_per_image(start.double().abs())
    for part in relevance:
        places = tuple(range(1, part.dim()))
        most = torch.maximum(part.amax(places), -part.amin(places)).double() * part[0].numel()
        if (most <= limit).all():
            continue
        total = _sum_per_image(part.double().abs())
        if not (total <= limit).all():
            worst = int((total / limit).nan_to_num(torch.inf, torch.inf).argmax())
            warnings.warn(
                f"relevance must stay of the size of the explained output; got a total of {float(total[worst]):.3g} for "
                f"an output of {float(limit[worst] / EXPLOSION):.3g}, image {worst}: shares of opposite sign cancel, and "
                "rounding is all that is left of their sum. Use composite='epsilon_plus'.",
                UserWarning,
                stacklevel=6,
            )
            return


def _added(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return first if second is None else second if first is None else first + second


def _sum_per_image(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).sum(1)
