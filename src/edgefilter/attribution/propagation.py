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
from edgefilter.banks.colors import Colors
from edgefilter.errors import UnsupportedModelError
from edgefilter.lrp.ending import ending
from edgefilter.lrp.engine import Engine
from edgefilter.lrp.leaks import check_graph
from edgefilter.lrp.stem import Stem
from edgefilter.lrp.steps import Step
from edgefilter.lrp.surroundings import own_modes
from edgefilter.stems.layers import EdgeFilterBank2d
from edgefilter.stems.windows import Window

from .arguments import Question, check_output
from .calibration import ColorGame, Games, calibrated
from .forward import Forward, sum_per_image, warn_of_numbers
from .places import by_color
from .scores import per_image
from .scores import scores as summed
from .starting import Start, plain, started
from .stepping import readings

__all__ = ["Propagation", "Propagator", "joined"]

# Times the explained output; of a difference of outputs, times their sizes together, so that a tie is no alarm. On 20 photos and 5 networks it is
# never reached for the class on top or the tenth, and in 12 of 100 cases for the one halfway down, whose output is near its base.
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
    place, axis, channels : int
        Which input the bank reads, the axis of its channels, and how many there are.
    left_out : str
        Name of the monotone function at the end that is left out, or "".
    steps : tuple of Step
        On the way of the relevance, in the order of execution, if they were watched.
    colors : ColorGame or None
        What the game of the colors gave, if it was played.
    window : Window or None
        What of the image the responses see; of several banks, those of the first.
    readings : Tensor, shape (N, C, 5), or None
        What levels are made of, if that was asked for and the game was played.
    """

    explained: Tensor
    base: Tensor
    target: tuple[Any, ...]
    response: Tensor
    pixels: tuple[Tensor, ...]
    bank: FilterBank
    place: int
    axis: int
    channels: int
    left_out: str
    steps: tuple[Step, ...]
    colors: ColorGame | None
    window: Window | None
    readings: Tensor | None = None


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
    colors : Colors
        What the channels are scored as.
    """

    def __init__(
        self,
        model: nn.Module,
        composite: Composite,
        layer: EdgeFilterBank2d | None,
        bank: FilterBank | None,
        path: str | None,
        colors: Colors,
    ) -> None:
        self.model, self.composite, self.layer = model, composite, layer
        self.bank, self.path, self.colors = bank, path, colors

    def __call__(
        self,
        question: Question,
        *,
        down_to: str,
        games: Games = (),
        size: int = 1,
        watched: bool = False,
        label: str | None = None,
        levels: bool = False,
    ) -> Propagation:
        """Propagate the relevance of a batch down to the ``"responses"``, the ``"bank input"`` or the ``"inputs"``.

        Parameters
        ----------
        question : Question
        down_to : str
        games : tuple
            What the scores are calibrated by. With none, they are relevance alone.
        size : int
            How many images the model may get at a time.
        watched : bool
            Whether to note what each step receives and hands on.
        label : str, optional
            Of the progress bar of the games. Default: none is shown.
        levels : bool
            Whether to measure what brighter and darker colors do, beside the games.
        """
        with self.run(question, watched=watched) as forward:
            found = _back(forward, down_to, games, size, label)
            if not levels or found.colors is None:
                return found
            measured = readings(
                forward,
                self.colors,
                found.pixels[found.place],
                summed(found.response, "color"),
                forward.partial_runs(size),
            )
            return found._replace(readings=measured)

    @contextlib.contextmanager
    def run(self, question: Question, *, watched: bool = False) -> Iterator[Forward]:
        """Run the model, and let go of all tensors afterwards."""
        with own_modes(question.images[0], grad=True):
            start = started(question.images, self.colors.basis)
            stem = Stem(self.layer, self.bank, self.path, colors=self.colors)
            run = Engine(self.model, self.composite, stem, watched=watched)
            try:
                output = self._output(run, start, question)
                wide = stem.common_size()
                if wide is not None:
                    run.close()
                    stem = Stem(self.layer, self.bank, self.path, wide, self.colors)
                    run = Engine(self.model, self.composite, stem, watched=watched)
                    output = self._output(run, start, question)
                yield Forward(run, ending(run, output), start, question)
            finally:
                run.close()

    def _output(self, run: Engine, start: Start, question: Question) -> Tensor:
        count = len(start.leaves[0])
        output = check_output(run(start.leaves, question.extra, start.originals), count)
        if run.doubtful:
            with torch.no_grad():  # in the caller's layout: whether tensors share memory depends on it
                expected = self.model(*map(plain, question.images), *question.extra)
            _check_same(output, check_output(expected, count))
        return output


def _back(forward: Forward, down_to: str, games: Games, size: int, label: str | None) -> Propagation:
    """Hand the explained output back."""
    run, reads, leaves = forward.run, forward.reads, forward.start.leaves
    responses, place = [read.response for read in reads], run.place_of(reads[0].inputs)
    flows = _has_way_back(forward, responses, leaves[place])
    below = {"responses": [], "bank input": [read.inputs for read in reads], "inputs": list(leaves)}[down_to]
    start = forward.weights * (forward.output.detach() - forward.constant)
    carried, colors = sum_per_image(start.double().abs()), None
    if games and flows:
        parts = _handed_back(run, forward.output, start, list(responses))
        scores = calibrated(parts, reads, forward.partial_runs(size, label), games)
        response, base, colors = scores.response, scores.base, scores.colors
        carried = torch.maximum(carried, scores.swing.to(carried))
        found = _handed_down(responses, scores.shares, below)
    else:
        base = sum_per_image(forward.weights * forward.constant) + forward.rest
        places = responses + below
        del responses, below  # let go of while the relevance goes back
        parts = _handed_back(run, forward.output, start if flows else None, places)
        response, found = by_color(reads, parts[: len(reads)]), parts[len(reads) :]
    pixels = _as_pixels(found, together=down_to == "bank input")
    _warn_of_size([response, *pixels], start, carried)
    return Propagation(
        explained=forward.explained,
        base=base.to(forward.explained),
        target=per_image(forward.target, len(leaves[0])),
        response=response,
        pixels=pixels,
        bank=reads[0].bank,
        place=place,
        axis=reads[0].axis,
        channels=reads[0].channels,
        left_out=forward.left_out,
        steps=tuple(step for step in run.steps if step.turns),
        colors=colors,
        window=reads[0].window,
    )


def _as_pixels(found: list[Tensor], *, together: bool) -> tuple[Tensor, ...]:
    """Return relevance at the inputs, that of several banks as that of one."""
    if together:
        one_size = len({part.shape for part in found}) == 1
        found = [sum(found[1:], start=found[0])] if one_size else found[:1]
    return tuple(part.detach().contiguous() for part in found)


def _handed_down(responses: list[Tensor], shares: Sequence[Tensor], below: list[Tensor]) -> list[Tensor]:
    """Return relevance between the image and the stem, from that at the responses."""
    found: Sequence[Tensor | None] = [None] * len(below)
    if below:
        found = torch.autograd.grad(responses, below, shares, allow_unused=True)
    pairs = zip(found, below, strict=True)
    return [torch.zeros_like(given) if part is None else part for part, given in pairs]


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


def _has_way_back(forward: Forward, responses: list[Tensor], leaf: Tensor) -> bool:
    """Return whether the output depends on the image, by rules only; warn if it does not, or not by the bank alone."""
    run, alone = forward.run, len(forward.start.leaves) == 1
    if run.value(forward.output) is None:
        warnings.warn(
            "the output must depend on the image for scores other than 0; got one that does not, or only through detach(), "
            "NumPy or Python numbers. Look for where the model leaves torch.",
            UserWarning,
            stacklevel=8,
        )
        return False
    if check_graph(forward.output, responses, leaf) and alone:
        warnings.warn(
            "the image reaches the output past the filter bank as well: scores by color and filter cover only what "
            "goes through the bank, and delta says how much is missing. Express another stem with layer=...",
            UserWarning,
            stacklevel=8,
        )
    for step in run.steps:
        step.unwatch()
    return True


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
        colors=None
        if first.colors is None
        else ColorGame.joined([one.colors for one in parts if one.colors]),
        readings=None
        if first.readings is None
        else torch.cat([one.readings for one in parts if one.readings is not None]),
    )


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


def _warn_of_size(relevance: Sequence[Tensor], start: Tensor, carried: Tensor) -> None:
    """Warn of an output that is no number, of an overflow, and of shares that cancel so far that noise turns them."""
    if warn_of_numbers(sum_per_image(start.double()), stacklevel=8):
        return
    for part in relevance:
        total = _sizes(part)
        ratio = torch.where(total > 0, total / carried, 0)
        worst = int(ratio.nan_to_num(torch.inf, torch.inf).argmax())
        if not bool(total.isfinite().all()):
            _warn(
                f"relevance must fit into {part.dtype}; got {float(total[worst])} in total for an output of "
                f"{float(carried[worst]):.3g}, image {worst}. Explain the model in a wider type, such as model.double().",
            )
            return
        if float(ratio[worst]) > LARGE:
            _warn(
                f"relevance should stay of the size of the explained output; got sizes that add up to {float(total[worst]):.3g} "
                f"for {float(carried[worst]):.3g} (without its base), image {worst}: shares of opposite sign nearly cancel, so "
                "that a little noise can change the map. Compare with composite 'zplus', or explain the difference from another "
                "class.",
            )
            return


def _sizes(values: Tensor) -> Tensor:
    """Return the sum of the sizes of each image's values, float64."""
    places = tuple(range(1, values.dim()))
    total = torch.linalg.vector_norm(values, 1, places).double()
    return total if bool(total.isfinite().all()) else values.double().abs().sum(places)


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=9)


def _near_one(start: Tensor) -> float:
    """Return a power of 2 that brings relevance near 1 if it is so large or small that rules might leave its type's range."""
    largest = float(start.abs().amax()) if start.numel() else 0.0
    small = torch.finfo(start.dtype).eps
    if not 0 < largest < math.inf or small <= largest <= 1 / small:
        return 1.0
    return 2.0 ** -math.frexp(largest)[1]
