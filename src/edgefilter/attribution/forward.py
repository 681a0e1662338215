"""One run of a model, and what is explained of it."""

from __future__ import annotations

import warnings

from torch import Tensor

from edgefilter.lrp.ending import Ending
from edgefilter.lrp.engine import Engine

from .arguments import Question, Target
from .explained import explained_of
from .partial import PartialRuns
from .starting import Start

__all__ = ["Forward", "sum_per_image", "warn_of_numbers"]


class Forward:
    """A run of a model whose output can be handed back.

    Parameters
    ----------
    run : Engine
    end : Ending
    start : Start
        What it began at.
    question : Question

    Attributes
    ----------
    output, constant, weights : Tensor
        The model's output without a monotone function at its end, what its last affine map adds to it, and the gradient of what is
        explained; of one shape.
    explained, rest : Tensor, shape (N,)
        What is explained, and what it has beside the sum of the outputs times the weights: nothing but for log odds.
    target : Target
    reads : list of Read
    colors : tuple of str
        Names of the colors that are scored.
    """

    def __init__(self, run: Engine, end: Ending, start: Start, question: Question) -> None:
        self.run, self.start, self.question = run, start, question
        self.output, self.constant, self.left_out = end.output, end.constant, end.left_out
        self.target: Target = question.target
        if question.predict and question.target is None and end.output.dim() == 2 and end.output.shape[1] > 1:
            self.target = end.output.detach().argmax(1)
        self._asked = explained_of(end.output, self.target, question.against)
        self.explained = self._asked.value(end.output.detach())
        self.weights, self.rest = self._asked.tangent(end.output.detach())
        self.reads = run.stem.checked_reads()
        self.colors = run.stem.colors.names(self.reads[0].channels)
        self._calls = end.calls

    def partial_runs(self, size: int, label: str | None = None) -> PartialRuns:
        """Return what runs the model again with some of the responses, for so many images at a time; a label shows its progress."""
        return PartialRuns(
            self.run.model,
            self.start.images,
            self.question.extra,
            self.run.stem.sites,
            self._calls,
            self._asked,
            self.explained,
            size,
            label,
        )


def warn_of_numbers(explained: Tensor, stacklevel: int) -> bool:
    """Warn of an explained output that is no finite number; return whether there is one."""
    if bool(explained.isfinite().all()):
        return False
    worst = int((~explained.isfinite()).nonzero()[0])
    warnings.warn(
        f"the model's output must be finite to be shared; got {float(explained[worst])} for image {worst}, and scores that "
        "mean nothing. Look for weights or values in the model that are not finite.",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
    return True


def sum_per_image(values: Tensor) -> Tensor:
    """Return the sum of each image's values."""
    return values.reshape(len(values), -1).sum(1)
