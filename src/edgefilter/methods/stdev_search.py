"""The adaptive noise of SmoothTaylor: a search for the standard deviation that an objective likes best."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from edgefilter._checks import closest, counted, is_number
from edgefilter.attribution.arguments import Question

from .arguments import whole_number
from .perturbation import area_under_perturbation_curve
from .total_variation import average_total_variation

__all__ = ["Objective", "Search", "TunedStdevs", "as_objective"]

Objective = Callable[[Any, Any, Any], Tensor]
NAMES = ("aupc", "total_variation")


class TunedStdevs(NamedTuple):
    """The standard deviations that were found, and what the search saw.

    Attributes
    ----------
    stdevs : Tensor, shape (N,)
        The best one of each image; what ``attribute(stdevs=...)`` takes. It takes the whole tuple as well.
    objectives : Tensor, shape (N,)
        The objective at the best one.
    evaluations : Tensor, shape (N,)
        How often each image was attributed and judged.
    trace : tuple of tuples of pairs of floats
        For each image, the standard deviations that were tried and their objectives, in order.
    """

    stdevs: Tensor
    objectives: Tensor
    evaluations: Tensor
    trace: tuple[tuple[tuple[float, float], ...], ...]

    def __repr__(self) -> str:
        found = ", ".join(f"{value:.3g}" for value in self.stdevs[:6].tolist())
        more = ", ..." * (len(self.stdevs) > 6)
        return f"TunedStdevs({counted(len(self.stdevs), 'image')}, stdevs {found}{more}, {counted(int(self.evaluations.sum()), 'evaluation')})"


class Search(NamedTuple):
    """How to search: steps up or down, shorter after each that made it worse.

    Attributes
    ----------
    step : float
        The length of the first steps.
    decay : float
        What shortens them.
    max_bad_steps : int
        How many steps in a row may make it worse.
    max_iterations : int
        How many steps at most.
    """

    step: float = 0.1
    decay: float = 0.9
    max_bad_steps: int = 3
    max_iterations: int = 20

    def of_each(
        self,
        question: Question,
        evaluate: Callable[[Question, float], Any],
        start: Any,
        *,
        show_progress: bool = False,
    ) -> TunedStdevs:
        """Search for each image; ``evaluate`` judges one image at one standard deviation.

        Raises
        ------
        ValueError, TypeError
            If a number makes no sense, or an evaluation gives anything but one finite number.
        """
        self._check()
        begins = _starts(start, question.images)
        pairs = list(zip(question.pieces(1)[0], begins, strict=True))
        traces = tuple(
            self.run(lambda stdev, one=one: _number(evaluate(one, stdev)), begin)  # type: ignore[misc]
            for one, begin in tqdm(pairs, desc="images", disable=not show_progress)
        )
        best = [min(trace, key=lambda tried: tried[1]) for trace in traces]
        like = question.images[0]
        return TunedStdevs(
            stdevs=like.new_tensor([stdev for stdev, _ in best]),
            objectives=like.new_tensor([value for _, value in best]),
            evaluations=torch.tensor([len(trace) for trace in traces], device=like.device),
            trace=traces,
        )

    def _check(self) -> None:
        for name in ("max_bad_steps", "max_iterations"):
            whole_number(getattr(self, name), name, least=0)
        for name, most in (("step", math.inf), ("decay", 1.0)):
            value = getattr(self, name)
            if not is_number(value) or not 0 < value <= most or math.isinf(value):
                rule = "positive and finite" if most == math.inf else "above 0 and at most 1"
                raise ValueError(
                    f"{name} must be {rule}; got {value!r}. Pass for example {name}={self._field_defaults[name]}."
                )

    def run(self, objective: Callable[[float], float], start: float) -> tuple[tuple[float, float], ...]:
        """Return each standard deviation that was tried with its objective.

        One step: try ``step`` above; if the objective is higher there, go ``step`` below instead. The search goes on from
        there even if it is worse; then the steps get shorter.
        """
        seen: list[tuple[float, float]] = []

        def at(stdev: float) -> tuple[float, float]:
            seen.append((abs(stdev), objective(abs(stdev))))
            return seen[-1]

        here, step, bad = at(start), self.step, 0
        for _ in range(self.max_iterations):
            there = at(here[0] + step)
            if there[1] > here[1]:
                there = at(here[0] - step)
            worse = there[1] > here[1]
            if worse and bad == self.max_bad_steps:
                break
            step, bad = (step * self.decay, bad + 1) if worse else (step, 0)
            here = there
        return tuple(seen)


def as_objective(
    objective: Any, forward_func: Callable[..., Any]
) -> Callable[[Any, Any, Any, tuple[Any, ...]], Any]:
    """Return what judges the attributions of some inputs, with a target and further arguments of the model.

    Raises
    ------
    ValueError
        If the objective is neither a callable nor a name.
    """
    if callable(objective):
        return lambda attributions, inputs, target, _extra: objective(attributions, inputs, target)
    if objective == "aupc":
        return lambda attributions, inputs, target, extra: area_under_perturbation_curve(
            forward_func, inputs, attributions, target, extra
        )
    if objective == "total_variation":
        return lambda attributions, _inputs, _target, _extra: average_total_variation(attributions)
    raise ValueError(
        f"objective must be one of {', '.join(map(repr, NAMES))}, or a callable of (attributions, inputs, target); "
        f"got {objective!r}{closest(str(objective), NAMES)}"
    )


def _starts(start: Any, inputs: tuple[Tensor, ...]) -> list[float]:
    """Return where the search begins for each example."""
    if start is None:
        return torch.cat([part.flatten(1) for part in inputs], 1).abs().mean(1).tolist()
    try:
        values = torch.as_tensor(start, dtype=torch.float64).reshape(-1)
    except (TypeError, ValueError, RuntimeError):  # no numbers
        values = torch.full((1,), math.nan)
    if len(values) not in (1, len(inputs[0])) or not bool((torch.isfinite(values) & (values >= 0)).all()):
        raise ValueError(
            f"start must be at least 0 and finite, one number or one for each of the {len(inputs[0])} examples; got {start!r}. "
            "Pass for example start=0.5."
        )
    return values.expand(len(inputs[0])).tolist()


def _number(value: Any) -> float:
    """Return the one number that an objective gave."""
    try:
        found = torch.as_tensor(value, dtype=torch.float64).detach()
        got: Any = f"shape {tuple(found.shape)}" if found.numel() != 1 else found.item()
    except (TypeError, ValueError, RuntimeError):
        got = type(value).__name__
    if not isinstance(got, float) or not math.isfinite(got):
        raise ValueError(
            f"objective must return one finite number for each image; got {got}. Return a Tensor of shape (N,) for N images."
        )
    return got
