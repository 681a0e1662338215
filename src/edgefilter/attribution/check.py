"""A dry run: which rule each operation of a model gets, and how much relevance it hands on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from zennit.core import Composite

from edgefilter.errors import UnsupportedModelError, UntraceableModelError
from edgefilter.lrp.composites import fresh_composite
from edgefilter.lrp.graph import own_modes
from edgefilter.lrp.operations import Addition, Passing, Spread, Unsteady

from .attribution import EdgeFilterAttribution, Target

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Operation", "Report", "check"]


class Operation(NamedTuple):
    """One operation on the way of the relevance.

    Attributes
    ----------
    name : str
        Path of the module, or name of the node.
    kind : str
        What it computes.
    rule : str
        How it hands relevance back; "gradient" for rearrangements and max pooling, which need no rule.
    received, handed_on : float
        Total relevance at its output and what it gave to its input, summed over the batch.
    """

    name: str
    kind: str
    rule: str
    received: float
    handed_on: float


@dataclasses.dataclass(frozen=True)
class Report:
    """What a dry run found.

    Attributes
    ----------
    model : str
        Class of the model.
    operations : tuple of Operation
        In the order of execution; empty if the model is not supported.
    explained, conserved : float
        The explained output, and the relevance that reached the filter bank; sums over the batch.
    unsupported : str
        What is not supported and why; empty if all is.

    Examples
    --------
    >>> report = Report("Net", (Operation("fc", "Linear", "ConservingEpsilon", 2.0, 2.0),), 2.0, 2.0, "")
    >>> report.supported, report.conserved_share
    (True, 1.0)
    """

    model: str
    operations: tuple[Operation, ...]
    explained: float
    conserved: float
    unsupported: str

    @property
    def supported(self) -> bool:
        """Whether the model can be explained."""
        return not self.unsupported

    @property
    def conserved_share(self) -> float:
        """Relevance at the filter bank divided by the explained output; NaN if the model is not supported."""
        return self.conserved / self.explained if self.supported and self.explained else float("nan")

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per operation.

        Returns
        -------
        table : pandas.DataFrame
            Columns ``name``, ``kind``, ``rule``, ``received``, ``handed_on``.
        """
        import pandas as pd

        table: pd.DataFrame = pd.DataFrame(self.operations, columns=list(Operation._fields))
        return table

    def __str__(self) -> str:
        if not self.supported:
            return f"{self.model} is not supported: {self.unsupported}"
        rows = [("operation", "kind", "rule", "received", "handed on")]
        rows += [(o.name, o.kind, o.rule, f"{o.received:.6g}", f"{o.handed_on:.6g}") for o in self.operations]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        lines.append(
            f"{self.model}: {self.conserved_share:.6%} of {self.explained:.6g} reached the filter bank."
        )
        return "\n".join(line.rstrip() for line in lines)


def check(
    model: nn.Module,
    inputs: Tensor,
    target: Target = None,
    *,
    composite: Composite | str | None = None,
    layer: str | nn.Module | None = None,
) -> Report:
    """Run a model once and say of each operation which rule it gets and how much relevance it hands on.

    Parameters
    ----------
    model : nn.Module
        With an edge-filter layer, in evaluation mode; left as it is.
    inputs : Tensor, shape (N, C, H, W)
    target : int, tuple, Tensor or list, optional
        As in :meth:`EdgeFilterAttribution.explain`.
    composite, layer : optional
        As in :class:`EdgeFilterAttribution`.

    Returns
    -------
    report : Report
        ``print`` it, or read its ``operations``. A model that is not supported gives a report that says why.

    Examples
    --------
    >>> import edgefilter as ef
    >>> net = nn.Sequential(nn.Conv2d(3, 2, 3, bias=False), nn.ReLU()).eval()
    >>> report = check(ef.replace_stem(net), torch.ones(1, 3, 3, 3), target=(0, 0, 0))
    >>> [(operation.kind, operation.rule) for operation in report.operations]
    [('FilterBankConv2d', 'WSquare'), ('Conv2d', 'ConservingAlphaBeta'), ('ReLU', 'Pass')]
    """
    run = _DryRun(model, composite, layer=layer)
    try:
        return run.report(inputs, target)
    except (UnsupportedModelError, UntraceableModelError) as reason:
        return Report(type(model).__name__, (), 0.0, 0.0, str(reason))


class _DryRun(EdgeFilterAttribution):
    """One relevance pass that looks at every operation."""

    def report(self, inputs: Tensor, target: Target) -> Report:
        """Return what the pass gave."""
        self._check((inputs,))
        with own_modes(inputs, grad=True):
            leaf = inputs.detach().clone().requires_grad_()
            rewritten = self._prepare((leaf,))
            composite = fresh_composite(self.composite)
            rules = _rules(composite, rewritten.module)
            with composite.context(rewritten.module):
                probe = _Probe(rewritten.module)
                output, responses = probe.run(leaf)
                rewritten.verify(output)
                start = self._start(output, self._default(output, target))
                wanted = [tensor for seen in probe.seen for tensor in (seen.output, *seen.sources)]
                relevance = torch.autograd.grad(output, [responses, *wanted], start, allow_unused=True)
            rewritten.release()
        conserved, *totals = (0.0 if part is None else float(part.sum()) for part in relevance)
        following = iter(totals)
        operations = tuple(
            Operation(
                seen.name,
                seen.kind,
                rules[seen.name],
                next(following),
                sum(next(following) for _ in seen.sources),
            )
            for seen in probe.seen
        )
        return Report(type(self.model).__name__, operations, float(start.sum()), conserved, "")


class _Seen(NamedTuple):
    name: str
    kind: str
    sources: tuple[Tensor, ...]
    output: Tensor


class _Probe(fx.Interpreter):
    """Run the rewritten copy and keep what goes into and comes out of each of its modules."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: list[_Seen] = []

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not isinstance(args[0], Tensor) or not args[0].requires_grad:
            return super().call_module(target, args, kwargs)
        sources = tuple(given.view_as(given) for given in args)
        output = super().call_module(target, sources, kwargs)
        self.seen.append(_Seen(str(target), _kind(self.module.get_submodule(str(target))), sources, output))
        return output


def _kind(module: nn.Module) -> str:
    if isinstance(module, Addition):
        return "UnsteadySum" if isinstance(module.sum, Unsteady) else "Sum"
    function = getattr(module, "function", None)
    if function is None:
        return type(module).__name__
    return str(getattr(function, "__name__", type(function).__name__))


def _rules(composite: Composite, module: nn.Module) -> dict[str, str]:
    """Return the name of the rule that each module gets."""
    context: dict[str, Any] = {}
    hooks = {name: composite.module_map(context, name, child) for name, child in module.named_modules()}
    for name, child in module.named_modules():
        if isinstance(child, Addition):
            hooks[name] = hooks[f"{name}.sum"]
    built_in = {name: isinstance(child, (Passing, Spread)) for name, child in module.named_modules()}
    return {
        name: type(hook).__name__ if hook is not None else "Pass" if built_in[name] else "gradient"
        for name, hook in hooks.items()
    }
