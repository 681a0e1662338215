"""Attribution by color channel, by edge filter and by pixel, in Captum's manner."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor, nn
from tqdm.auto import tqdm
from zennit.core import Composite

from edgefilter._checks import closest
from edgefilter.banks.bank import FilterBank
from edgefilter.banks.colors import Basis, ColorGroups, as_colors
from edgefilter.banks.groups import all_groups
from edgefilter.lrp.composites import DEFAULT, as_composite
from edgefilter.stems.finding import bank_of_model
from edgefilter.stems.layers import EdgeFilterBank2d, as_bank

from .arguments import (
    Against,
    Question,
    Target,
    as_against,
    as_extra,
    as_target,
    check_mode,
    unwrapped,
)
from .calibration import Calibrate, as_games
from .explanation import Explanation
from .images import as_images, check_images
from .propagation import Propagation, Propagator, joined
from .scores import SCORES, per_image, scores
from .silencing import silenced_output

__all__ = ["EdgeFilterAttribution"]

SCORE_NAMES = ("pixel", *SCORES, "response")

CANCELLING_COLORS = ("epsilon", "epsilon_gamma", "epsilon_gamma_box")


class EdgeFilterAttribution(GradientAttribution):  # type: ignore[misc]
    """Explain a classifier by color channel, by edge filter and by pixel.

    Color scores are measured: exact Shapley values, from runs of the model with some colors silenced. Relevance, which is
    handed back from the output by the rules of a composite (layer-wise relevance propagation), and a gradient divide them
    among filters, places and pixels. With ``calibrate=False``, relevance is all: one forward and one backward pass.

    Parameters
    ----------
    model : nn.Module
        Any image classifier in evaluation mode. It runs as it is, in each call, and is left as it is. Of ``DataParallel``
        and of ``torch.compile``, the model inside is explained, on the device of the inputs.
    composite : str or zennit.core.Composite, optional
        Rules: a name from :func:`edgefilter.composite_names`, or any Zennit composite. Default: ``"epsilon_plus"``.
        ``"epsilon_alpha15_beta05"`` is better at filters, ``"epsilon_alpha2_beta1"`` nearest to the LRP of the paper's
        time.
    bank : FilterBank or str, optional
        Expresses the first convolution of a model without an edge-filter layer. Default: the complete bank of its size.
    colors : sequence of str or mapping, optional
        What is scored as a color. Names of the channels, in the order of the model's input; or groups of channels that hold each channel
        once, ``{"red edge": ["B05", "B06"], ...}``, by name or by index, which are scored as a whole. If nothing else names the
        channels, the groups do, in their order. Default: each channel, named by their number.
    basis : str, (names, matrix), mapping of names to rows, or ColorBasis, optional
        Score sums and differences of the channels in place of the channels: ``"opponent"`` (luminance, red-green, blue-yellow),
        ``"luma"`` (Y, Cb, Cr), or a :class:`edgefilter.ColorBasis`. The output is the same. Default: the channels.
    calibrate : bool, str or tuple, default: True
        What the scores are measured by. True or ``"color"``: the game of the colors, so that color scores are exact Shapley
        values, and filters are divided by the evidence that foretells the game best. ``("color", groups)``: the game of some groups
        of filters as well (``"order"``, ``"orientation"``, ``"scale"``, ``"family"``, ``"dependent"`` or a mapping, at most 6 of them), whose scores are
        exact then, too. False: relevance alone, one forward and one backward pass.
    layer : str or nn.Module, optional
        The edge-filter layer, if the model holds several; for a model without one, the convolution to express.
    channels : sequence of str, optional
        Names of the channels of the model's input, where ``colors`` are groups of them or ``basis`` needs to know which is red.

    Attributes
    ----------
    with_levels : bool
        Whether :meth:`explain` measures :meth:`Explanation.levels`, which costs two runs of the model. Set it to False to leave them out.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit; the message says what does.

    Notes
    -----
    A monotone function at the very end of the model (sigmoid, softmax, log-softmax, softplus, tanh, log, exp) is left out: the logit
    before it is explained. The ``base``, the output with no color present, is in no score; what reaches the output past the
    bank, such as further inputs, is part of it. Of relevance alone the base is what the last affine map adds to the output, and
    under a Zennit composite of your own biases keep the share that its rules give them.

    A basis is that of the input that the model is given: of a normalised photo, :meth:`edgefilter.ColorBasis.normalized` makes it that of
    the photo. Scores of pixels have the basis in place of the channels then.

    References
    ----------
    Jung & Kwon, "Color, Edge, and Pixel-wise Explanation of Predictions Based on Interpretable Neural Network Model",
    ICPR 2020. Bach et al., "On pixel-wise explanations ...", PLOS ONE 10(7), 2015.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
    >>> attr = EdgeFilterAttribution(net)
    >>> images = torch.rand(2, 3, 6, 6)
    >>> attr.attribute(images, target=7).shape, attr.attribute(images, target=7, score="edge").shape
    (torch.Size([2, 3, 6, 6]), torch.Size([2, 9]))
    """

    def __init__(
        self,
        model: nn.Module,
        composite: Composite | str | None = None,
        *,
        bank: FilterBank | str | None = None,
        colors: ColorGroups = None,
        basis: Basis = None,
        calibrate: Calibrate = True,
        layer: str | nn.Module | None = None,
        channels: Sequence[str] | None = None,
    ) -> None:
        model = unwrapped(model)
        found = bank_of_model(model, layer)
        if bank is not None and found is not None:
            raise ValueError(
                "bank must be None for a model with an edge-filter layer, which has a bank of its own; got "
                f"{bank!r}. Leave bank out, or explain the model without the layer."
            )
        as_composite(composite)
        as_games(calibrate)
        self.colors = as_colors(colors, basis, channels)
        GradientAttribution.__init__(self, model)
        self.model = model
        self.composite = composite
        self.calibrate = calibrate
        self.bank = None if bank is None else as_bank(bank)
        self.layer = layer
        self.with_levels = True

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
        against: Against = None,
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
        against: Against = None,
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
        against: Against = None,
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
        against : int, tuple, Tensor, list, "rest" or "odds", optional
            What the target is compared with: another output ("why this and not that?"), the mean of all others (``"rest"``), or chance:
            ``"odds"`` explains the log odds ``log(p / (1 - p)) + log(K - 1)``, where ``p`` is the softmax of the ``K`` outputs. They
            are 0 for ``p = 1 / K``, above for more. Default: nothing, the output itself.
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
            Base plus total relevance minus explained output; only with ``return_convergence_delta=True``.

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
            self.question(inputs, target, additional_forward_args, against),
            internal_batch_size=internal_batch_size,
            down_to="inputs" if score == "pixel" else "responses",
        )
        parts = result.pixels if score == "pixel" else (scores(result.response, score).contiguous(),)
        attributions = parts if isinstance(inputs, tuple) else parts[0]
        if not return_convergence_delta:
            return attributions
        return attributions, self.compute_convergence_delta(attributions, result.explained, result.base)

    def at_bank(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        against: Against = None,
        of_input: bool = False,
        internal_batch_size: int | None = None,
    ) -> Tensor:
        """Return the relevance at the output of the bank, shape (N, C*K, H', W'), or at its input.

        Parameters
        ----------
        inputs, target, additional_forward_args, against, internal_batch_size
            As in :meth:`attribute`.
        of_input : bool, default: False
            Whether to return the relevance at the input: the pixels, where the bank comes first.
        """
        result = self._propagate(
            self.question(inputs, target, additional_forward_args, against),
            internal_batch_size=internal_batch_size,
            down_to="bank input" if of_input else "responses",
        )
        return result.pixels[0] if of_input else result.response.flatten(1, 2).contiguous()

    def compute_convergence_delta(
        self, attributions: Tensor | tuple[Tensor, ...], output: Tensor, base: Tensor | None = None
    ) -> Tensor:
        """Return base plus total relevance minus explained output, shape (N,).

        Parameters
        ----------
        attributions : Tensor or tuple of Tensors
            Any score that :meth:`attribute` gave, batch first.
        output : Tensor, shape (N,)
            The explained output of each image.
        base : Tensor, shape (N,), optional
            What of it no score carries. Default: 0.
        """
        parts = attributions if isinstance(attributions, tuple) else (attributions,)
        total = sum((part.flatten(1).sum(1) for part in parts), start=torch.zeros_like(output))
        return total - output if base is None else total + base - output

    def attribute_future(self) -> None:
        """Raise: Captum's asynchronous form is not available."""
        raise NotImplementedError("attribute_future is not implemented for EdgeFilterAttribution")

    def explain(
        self,
        inputs: Tensor,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        against: Against = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Explanation:
        """Return all scores of a batch of predictions from one pass.

        Parameters
        ----------
        inputs : Tensor, shape (N, C, H, W)
        target : int, tuple, Tensor or list, optional
            As in :meth:`attribute`. Default: the output with the largest value, of each image.
        additional_forward_args : Any, optional
            Further arguments of the model, not explained.
        against : int, tuple, Tensor, list, "rest" or "odds", optional
            As in :meth:`attribute`: ``"odds"`` explains ``log(p / (1 - p)) + log(K - 1)``, 0 at chance, by exact Shapley values of it.
        internal_batch_size : int, optional
            As in :meth:`attribute`.
        show_progress : bool, default: False
            Whether to show a progress bar, on stderr: of the batches, or of the sets of colors if there is one batch.

        Returns
        -------
        explanation : Explanation
        """
        self._warn_of_colors(stacklevel=3)
        result = self._propagate(
            self.question(inputs, target, additional_forward_args, against, predict=True),
            internal_batch_size=internal_batch_size,
            down_to="inputs",
            show_progress=show_progress,
            levels=self.with_levels,
        )
        members = self.colors.members(result.channels)
        channels = self.colors.channels(result.channels)
        pixel = result.pixels[result.place].movedim(result.axis, 1)
        fits = pixel.dim() == 4 and pixel.shape[1] == len(channels)
        return Explanation(
            response=result.response,
            pixel=pixel.contiguous() if fits else None,
            output=result.explained,
            target=result.target,
            colors=tuple(members),
            channels=channels,
            members=members,
            filters=tuple(result.bank.names),
            filter_labels=tuple(result.bank.labels),
            base=result.base,
            left_out=result.left_out,
            against=per_image(as_against(against), len(result.response)),
            about=self._about(result.bank, members),
            **({} if result.colors is None else result.colors._asdict()),
            groups=all_groups(result.bank),
            window=result.window,
            readings=result.readings,
            inputs=as_images(inputs)[result.place].detach().movedim(result.axis, 1).clone() if fits else None,
        )

    def silence(
        self,
        inputs: Tensor,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        against: Against = None,
        colors: str | Sequence[str] = (),
        filters: str | Sequence[str] = (),
    ) -> Tensor:
        """Return the explained output with the responses of some colors and of some filters set to zero.

        Parameters
        ----------
        inputs, target, additional_forward_args, against
            As in :meth:`attribute`.
        colors, filters : str or sequence of str
            Names of what is silenced, of filters labels as well; with none of both, the output is as it is.

        Returns
        -------
        output : Tensor, shape (N,)

        Raises
        ------
        KeyError
            If a name is unknown.
        """
        question = self.question(inputs, target, additional_forward_args, against)
        return silenced_output(self.propagator(question.images), question, colors, filters)

    def dry_run(self, inputs: Tensor, target: Any = None, against: Any = None) -> Propagation:
        """Propagate once and note what each step receives and hands on; for :func:`edgefilter.check`."""
        question = self.question(inputs, target, None, against, predict=True)
        return self.propagator(question.images)(question, down_to="inputs", watched=True)

    def _about(self, bank: FilterBank, members: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Return how the scores are made."""
        from edgefilter import __version__

        composite = DEFAULT if self.composite is None else self.composite
        groups = "; ".join(f"{name} = {', '.join(channels)}" for name, channels in members.items())
        return {
            "composite": composite if isinstance(composite, str) else type(composite).__name__,
            "calibrate": ", ".join(map(str, as_games(self.calibrate))) or "none",
            "bank": bank.name,
            **({} if self.colors.basis is None else {"basis": self.colors.basis.name}),
            **({} if self.colors.groups is None else {"colors": groups}),
            "version": __version__,
        }

    def _warn_of_colors(self, stacklevel: int) -> None:
        """Warn of rules whose relevance of both signs cancels when it is summed by color."""
        if not as_games(self.calibrate) and self.composite in CANCELLING_COLORS:
            warnings.warn(
                f"color scores should come from rules of one sign; got composite={self.composite!r}, whose "
                "signed sums can name the wrong color. Use composite='epsilon_plus'.",
                UserWarning,
                stacklevel=stacklevel,
            )

    def propagator(self, images: tuple[Tensor, ...]) -> Propagator:
        """Check the model and the images, and return what propagates through it."""
        check_mode(self.model)
        found, path = bank_of_model(self.model, self.layer), self.layer
        _check_inputs(self.model, found, images)
        if isinstance(path, nn.Module):
            path = next(name for name, module in self.model.named_modules() if module is self.layer)
        composite = as_composite(self.composite)
        path = None if found is not None else path
        return Propagator(self.model, composite, found, self.bank, path, self.colors)

    def question(
        self, inputs: Any, target: Any, additional: Any, against: Any, *, predict: bool = False
    ) -> Question:
        """Return what is asked, in the forms that are worked with."""
        return Question(
            as_images(inputs),
            as_target(target),
            as_against(against),
            as_extra(additional),
            predict,
        )

    def _propagate(
        self,
        question: Question,
        *,
        internal_batch_size: int | None,
        down_to: Literal["responses", "bank input", "inputs"],
        show_progress: bool = False,
        levels: bool = False,
    ) -> Propagation:
        """Check the inputs, and propagate all of them at once or some at a time."""
        propagate, games = self.propagator(question.images), as_games(self.calibrate)
        pieces, size = question.pieces(internal_batch_size)
        shown = tqdm(pieces, "batches", disable=not show_progress or len(pieces) < 2)
        label = "sets" if show_progress and len(pieces) == 1 else None
        parts = [
            propagate(piece, down_to=down_to, games=games, size=size, label=label, levels=levels)
            for piece in shown
        ]
        if len(parts) > 1 and any(
            part is not value for part, value in zip(pieces[0].extra, question.extra, strict=True)
        ):
            _check_cut(propagate, question, parts[0].explained)
        return joined(parts)


def _check_inputs(model: nn.Module, bank: EdgeFilterBank2d | None, images: tuple[Tensor, ...]) -> None:
    """Raise unless the images fit the weights of the model, and its kernels are those of its bank."""
    if bank is not None:
        bank.check_kernels()
    parameters = model.parameters() if bank is None else iter([bank.conv.weight])
    check_images(images, next((p for p in parameters if p.is_floating_point()), None))


def _check_cut(propagate: Propagator, question: Question, explained: Tensor) -> None:
    """Refuse if additional tensors were cut with the images although they do not belong to them one by one."""
    whole = propagate(question, down_to="responses").explained[: len(explained)]
    if not torch.allclose(whole, explained.to(whole), rtol=1e-2, atol=1e-3 * float(whole.abs().max())):
        raise ValueError(
            "additional_forward_args must hold one entry per image where a tensor is as long as the batch; got outputs "
            "that differ from those of the whole batch. Leave internal_batch_size out, or pass a batch of another size."
        )
