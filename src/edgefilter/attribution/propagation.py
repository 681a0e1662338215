"""One forward and one backward pass: relevance of the responses and of the pixels."""

from __future__ import annotations

import contextlib
import math
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

# Times the explained output. On 20 photos and 5 networks it is never reached for the class on top or the tenth, and in 12 of 100 cases for
# the one halfway down, whose output is near its base.
LARGE = 20.0


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
        _warn_of_size([response, *pixels], start)
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
    factor = 1.0 if start is None else _near_one(start)
    if start is not None:
        found = torch.autograd.grad(output, edges, start * factor, allow_unused=True)
    if factor != 1:
        found = [None if part is None else part / factor for part in found]
        for step in run.steps:
            step.received, step.handed_on = step.received / factor, step.handed_on / factor
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
    alike = torch.where(
        expected.isfinite() | got.isfinite(), expected - got, 0
    )  # neither is a number: no difference
    worst = float(alike.detach().abs().max()) if expected.numel() else 0.0
    if not worst <= precision.eps**exponent * max(float(expected.nan_to_num().abs().max()), 1e-3):
        raise UnsupportedModelError(
            f"the explained run must give the model's output; got a difference of {worst:.2g}. Either its output "
            "changes with each call (random numbers), or it overwrites tensors that share memory with others: use functions that "
            "are not in place there."
        )


def _warn_of_size(relevance: Sequence[Tensor], start: Tensor) -> None:
    """Warn of an output that is no number, of an overflow, and of shares that cancel so far that noise turns them."""
    explained = sum_per_image(start.double())
    if not bool(explained.isfinite().all()):
        worst = int((~explained.isfinite()).nonzero()[0])
        _warn(
            f"the model's output must be finite to be shared; got {float(explained[worst])} for image {worst}, and scores that "
            "mean nothing. Look for weights or values in the model that are not finite.",
        )
        return
    for part in relevance:
        total = _sizes(part)
        ratio = torch.where(total > 0, total / explained.abs(), 0)
        worst = int(ratio.nan_to_num(torch.inf, torch.inf).argmax())
        if not bool(total.isfinite().all()):
            _warn(
                f"relevance must fit into {part.dtype}; got {float(total[worst])} in total for an output of "
                f"{float(explained[worst]):.3g}, image {worst}. Explain the model in a wider type, such as model.double().",
            )
            return
        if float(ratio[worst]) > LARGE:
            _warn(
                f"relevance should stay of the size of the explained output; got sizes that add up to {float(total[worst]):.3g} "
                f"for {float(explained[worst]):.3g} (without its base), image {worst}: shares of opposite sign nearly cancel, so "
                "that a little noise can change the map. Compare with composite 'zplus', or explain the difference from another "
                "class.",
            )
            return


def _sizes(values: Tensor) -> Tensor:
    """Return the sum of the sizes of each image's values, float64."""
    rows = values.reshape(len(values), -1)
    total = torch.linalg.vector_norm(rows, 1, 1).double()
    return total if bool(total.isfinite().all()) else rows.double().abs().sum(1)


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=9)


def _near_one(start: Tensor) -> float:
    """Return a power of 2 that brings relevance near 1 if it is so large or small that rules might leave its type's range."""
    largest = float(start.abs().amax()) if start.numel() else 0.0
    small = torch.finfo(start.dtype).eps
    if not 0 < largest < math.inf or small <= largest <= 1 / small:
        return 1.0
    return 2.0 ** -math.frexp(largest)[1]
