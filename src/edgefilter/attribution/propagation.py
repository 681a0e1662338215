"""One forward and one backward pass: relevance of the responses and of the pixels."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from zennit.core import Composite

from edgefilter.banks.bank import FilterBank
from edgefilter.errors import UnsupportedModelError
from edgefilter.lrp.ending import Ending, ending
from edgefilter.lrp.engine import Engine
from edgefilter.lrp.leaks import check_graph
from edgefilter.lrp.stem import Read, Stem
from edgefilter.lrp.steps import Step
from edgefilter.stems.layers import EdgeFilterBank2d

from .arguments import Target, check_output, output_weights
from .scores import per_image

__all__ = ["Propagation", "Propagator", "joined", "own_modes", "plain", "sum_per_image"]

EXPLOSION = 1e6


class Propagation(NamedTuple):
    """What one forward and one backward pass give.

    Attributes
    ----------
    explained, base : Tensor, shape (N,)
        The explained output, and what of it no score carries.
    target : tuple
        One entry per image.
    response : Tensor, shape (N, C, K, H', W')
    pixels : tuple of Tensors
        Shaped as the inputs.
    bank : FilterBank
    place, axis : int
        Which input the bank reads, and the axis of its colors.
    left_out : str
        Name of the monotone function at the end that is left out, or "".
    steps : tuple of Step
        On the way of the relevance, in the order of execution, if they were watched.
    """

    explained: Tensor
    base: Tensor
    target: tuple[Any, ...]
    response: Tensor
    pixels: tuple[Tensor, ...]
    bank: FilterBank
    place: int
    axis: int
    left_out: str
    steps: tuple[Step, ...]


@contextlib.contextmanager
def own_modes(like: Tensor, *, grad: bool) -> Iterator[None]:
    """Keep the caller's inference mode, autocast and gradient mode aside."""
    autocast = torch.autocast(like.device.type, enabled=False)
    with torch.inference_mode(mode=False), autocast, torch.set_grad_enabled(grad):
        yield


class Propagator:
    """Propagates relevance through a model.

    Parameters
    ----------
    model : nn.Module
    composite : Composite
    layer : EdgeFilterBank2d or None
        The filter bank of the model, if it has one.
    bank : FilterBank or None
        For models without one.
    path : str or None
        Module path of the stem, if it was named.
    start : str
    """

    def __init__(
        self,
        model: nn.Module,
        composite: Composite,
        layer: EdgeFilterBank2d | None,
        bank: FilterBank | None,
        path: str | None,
        start: str,
    ) -> None:
        self.model, self.composite, self.layer = model, composite, layer
        self.bank, self.path, self.start = bank, path, start

    def __call__(
        self,
        images: tuple[Tensor, ...],
        target: Target,
        extra: tuple[Any, ...],
        *,
        down_to: str,
        predict: bool,
        watched: bool = False,
    ) -> Propagation:
        """Propagate the relevance of a batch down to the ``"responses"``, the ``"bank input"`` or the ``"inputs"``."""
        with own_modes(images[0], grad=True):
            leaves = tuple(_in_layout(plain(image)).requires_grad_() for image in images)
            stem = Stem(self.layer, self.bank, self.path)
            run = Engine(self.model, self.composite, stem, watched=watched)
            try:
                output = self._output(run, leaves, images, extra)
                wide = stem.common_size()
                if wide is not None:
                    run.close()
                    stem = Stem(self.layer, self.bank, self.path, wide)
                    run = Engine(self.model, self.composite, stem, watched=watched)
                    output = self._output(run, leaves, images, extra)
                return self._back(run, stem, ending(run, output), leaves, target, down_to, predict)
            finally:
                run.close()

    def _output(
        self, run: Engine, leaves: tuple[Tensor, ...], images: tuple[Tensor, ...], extra: tuple[Any, ...]
    ) -> Tensor:
        output = check_output(run(leaves, extra), len(leaves[0]))
        if run.doubtful:
            with torch.no_grad():  # in the caller's layout: whether tensors share memory depends on it
                expected = check_output(self.model(*map(plain, images), *extra), len(leaves[0]))
            _check_same(output, expected)
        return output

    def _back(
        self,
        run: Engine,
        stem: Stem,
        end: Ending,
        leaves: tuple[Tensor, ...],
        target: Target,
        down_to: str,
        predict: bool,
    ) -> Propagation:
        output = end.output
        target = default_target(output, target) if predict else target
        weights = output_weights(output, target, self.start)
        reads = stem.checked_reads()
        place = run.place_of(reads[0].inputs)
        places = [read.response for read in reads]
        flows = _has_way_back(run, output, places, leaves[place], alone=len(leaves) == 1)
        places += {"responses": [], "bank input": [read.inputs for read in reads], "inputs": leaves}[down_to]
        start = weights * (output.detach() - end.constant)
        parts = _handed_back(run, output, start if flows else None, places)
        response = _by_color(reads, parts[: len(reads)])
        pixels = tuple(part.detach().contiguous() for part in parts[len(reads) :])
        if down_to == "bank input":
            one_size = len({part.shape for part in pixels}) == 1
            pixels = (sum(pixels[1:], start=pixels[0]),) if one_size else pixels[:1]
        _warn_of_explosion([response, *pixels], start)
        return Propagation(
            explained=sum_per_image(weights * output.detach()),
            base=sum_per_image(weights * end.constant),
            target=per_image(target, len(output)),
            response=response,
            pixels=pixels,
            bank=reads[0].bank,
            place=place,
            axis=reads[0].axis,
            left_out=end.left_out,
            steps=tuple(step for step in run.steps if step.turns),
        )


def _handed_back(run: Engine, output: Tensor, start: Tensor | None, places: list[Tensor]) -> list[Tensor]:
    """Return the relevance at some places, which are let go of: the rules need them no longer than they read them."""
    shapes = [tensor.shape for tensor in places]
    edges = [get_gradient_edge(tensor) for tensor in places] if start is not None else []
    places.clear()
    run.release()
    found: Sequence[Tensor | None] = [None] * len(shapes)
    if start is not None:
        found = torch.autograd.grad(output, edges, start, allow_unused=True)
    pairs = zip(found, shapes, strict=True)
    return [output.new_zeros(shape) if part is None else part for part, shape in pairs]


def _has_way_back(run: Engine, output: Tensor, responses: list[Tensor], leaf: Tensor, *, alone: bool) -> bool:
    """Return whether the output depends on the image, by rules only; warn if it does not, or not by the bank alone."""
    if run.value(output) is None:
        warnings.warn(
            "the output must depend on the image for scores other than 0; got one that does not, or only through detach(), "
            "NumPy or Python numbers. Look for where the model leaves torch.",
            UserWarning,
            stacklevel=8,
        )
        return False
    if check_graph(output, responses, leaf) and alone:
        warnings.warn(
            "the image reaches the output past the filter bank as well: scores by color and filter cover only what "
            "goes through the bank, and delta says how much is missing. Express another stem with layer=...",
            UserWarning,
            stacklevel=8,
        )
    for step in run.steps:
        step.unwatch()
    return True


def default_target(output: Tensor, target: Target) -> Target:
    """Return the target, or the largest output of each image if there is none."""
    several = output.dim() == 2 and output.shape[1] > 1
    return output.detach().argmax(1) if target is None and several else target


def joined(parts: list[Propagation]) -> Propagation:
    """Return what some batches gave as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return first._replace(
        explained=torch.cat([one.explained for one in parts]),
        base=torch.cat([one.base for one in parts]),
        target=tuple(target for one in parts for target in one.target),
        response=torch.cat([one.response for one in parts]),
        pixels=tuple(torch.cat(found) for found in zip(*(one.pixels for one in parts), strict=True)),
    )


def sum_per_image(values: Tensor) -> Tensor:
    """Return the sum of each image's values."""
    return values.reshape(len(values), -1).sum(1)


def plain(image: Tensor) -> Tensor:
    """Return a new tensor of the plain class."""
    return image.detach().as_subclass(Tensor).clone()


def _in_layout(values: Tensor) -> Tensor:
    """Return images in the layout that convolutions are fastest in: on the CPU, the channels last."""
    fast = values.dim() == 4 and values.device.type == "cpu" and values.dtype != torch.float64
    return values.contiguous(memory_format=torch.channels_last) if fast else values


def _by_color(reads: list[Read], found: Sequence[Tensor]) -> Tensor:
    """Return relevance at the responses by color and filter, those of several stems added up."""
    total: Tensor | None = None
    for read, part in zip(reads, found, strict=True):
        by_channel = torch.unflatten(part.detach(), 1, (len(read.colors), -1))
        one = (
            torch.einsum("pc,npk...->nck...", read.colors.to(by_channel), by_channel)
            if not read.is_direct
            else by_channel
        )
        if total is not None and (total.shape != one.shape or read.bank.names != reads[0].bank.names):
            names = ", ".join(repr(read.path) for read in reads)
            raise UnsupportedModelError(
                f"convolutions that read the image must give maps of one size to share scores; got {names} with "
                f"{tuple(total.shape[3:])} and {tuple(one.shape[3:])} places. Choose one with layer=..."
            )
        total = one if total is None else total + one
    assert total is not None
    return total


def _check_same(got: Tensor, expected: Tensor) -> None:
    """Refuse if the run does not compute what the model computes."""
    precision = torch.finfo(expected.dtype)
    exponent = {64: 0.4, 32: 1 / 3}.get(precision.bits, 0.2)  # rounding grows with depth
    worst = float((expected - got).detach().abs().max()) if expected.numel() else 0.0
    if not worst <= precision.eps**exponent * max(float(expected.abs().max()), 1e-3):
        raise UnsupportedModelError(
            f"the explained run must give the model's output; got a difference of {worst:.2g}. Either its output "
            "changes with each call (random numbers), or it overwrites tensors that share memory with others: use functions that "
            "are not in place there."
        )


def _warn_of_explosion(relevance: Sequence[Tensor], start: Tensor) -> None:
    """Warn where shares of opposite sign have grown so large that little of their sum is left."""
    limit = EXPLOSION * sum_per_image(start.double().abs())
    for part in relevance:
        places = tuple(range(1, part.dim()))
        most = torch.maximum(part.amax(places), -part.amin(places)).double() * part[0].numel()
        if (most <= limit).all():
            continue
        total = sum_per_image(part.double().abs())
        if not (total <= limit).all():
            worst = int((total / limit).nan_to_num(torch.inf, torch.inf).argmax())
            warnings.warn(
                f"relevance must stay of the size of the explained output; got a total of {float(total[worst]):.3g} for "
                f"an output of {float(limit[worst] / EXPLOSION):.3g}, image {worst}: shares of opposite sign cancel, and "
                "rounding is all that is left of their sum. Compare with another composite, for example 'zplus'.",
                UserWarning,
                stacklevel=8,
            )
            return
