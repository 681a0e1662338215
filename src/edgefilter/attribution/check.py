"""A dry run: which rule each operation of a model gets, and how much relevance it hands on."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn
from zennit.core import Composite

from edgefilter._checks import counted
from edgefilter.errors import UnsupportedModelError

from .arguments import Against, Target
from .attribution import EdgeFilterAttribution

if TYPE_CHECKING:
    import pandas as pd

    from edgefilter.banks.bank import FilterBank

__all__ = ["Operation", "Report", "check"]


class Operation(NamedTuple):
    """One operation on the way of the relevance.

    Attributes
    ----------
    name : str
        Path of the module, or of the one whose forward calls a function; "" for the model itself.
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


@dataclasses.dataclass(frozen=True, repr=False)
class Report:
    """What a dry run found.

    Attributes
    ----------
    model : str
        Class of the model.
    operations : tuple of Operation
        In the order of execution; empty if the model is not supported.
    explained, conserved : float
        The explained output without its base, and the relevance that reached the filter bank; sums over the batch.
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

    def to_dict(self) -> dict[str, Any]:
        """Return all that was found as plain values by name, ready for JSON; what is not known (NaN) is None.

        Examples
        --------
        >>> report = Report("Net", (Operation("fc", "Linear", "ConservingEpsilon", 2.0, 2.0),), 2.0, 2.0, "")
        >>> report.to_dict()["operations"]
        [{'name': 'fc', 'kind': 'Linear', 'rule': 'ConservingEpsilon', 'received': 2.0, 'handed_on': 2.0}]
        """
        return {
            "model": self.model,
            "supported": self.supported,
            "unsupported": self.unsupported,
            "operations": [
                {name: _known(value) for name, value in operation._asdict().items()}
                for operation in self.operations
            ],
            "explained": _known(self.explained),
            "conserved": _known(self.conserved),
            "conserved_share": _known(self.conserved_share),
        }

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

    def _repr_html_(self) -> str:
        from .notebook import html_of_report

        return html_of_report(self)

    def __repr__(self) -> str:
        if not self.supported:
            return f"Report({self.model!r}, not supported)"
        return f"Report({self.model!r}, {counted(len(self.operations), 'operation')}, {self.conserved_share:.4%} conserved)"

    def __str__(self) -> str:
        if not self.supported:
            return f"{self.model} is not supported: {self.unsupported}"
        rows = [("operation", "kind", "rule", "received", "handed on")]
        rows += [
            (o.name or self.model, o.kind, o.rule, f"{o.received:.6g}", f"{o.handed_on:.6g}")
            for o in self.operations
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        lines.append(
            f"{self.model}: {self.conserved_share:.6%} of {self.explained:.6g} reached the filter bank."
        )
        return "\n".join(line.rstrip() for line in lines)


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check(
    model: nn.Module,
    inputs: Tensor,
    target: Target = None,
    *,
    against: Against = None,
    composite: Composite | str | None = None,
    bank: FilterBank | str | None = None,
    layer: str | nn.Module | None = None,
) -> Report:
    """Run a model once and say of each operation which rule it gets and how much relevance it hands on.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; left as it is.
    inputs : Tensor, shape (N, C, H, W)
    target, against : optional
        As in :meth:`EdgeFilterAttribution.explain`.
    composite, bank, layer : optional
        As in :class:`EdgeFilterAttribution`.

    Returns
    -------
    report : Report
        ``print`` it, or read its ``operations``. A model that is not supported gives a report that says why.

    Examples
    --------
    >>> import torch
    >>> import edgefilter as ef
    >>> net = nn.Sequential(nn.Conv2d(3, 2, 3, bias=False), nn.ReLU()).eval()
    >>> report = check(ef.replace_stem(net), torch.ones(1, 3, 3, 3), target=(0, 0, 0))
    >>> [(operation.kind, operation.rule) for operation in report.operations]
    [('FilterBankConv2d', 'WSquare'), ('Conv2d', 'ConservingAlphaBeta'), ('ReLU', 'Pass')]
    """
    attribution = EdgeFilterAttribution(model, composite, bank=bank, layer=layer)
    try:
        found = attribution.dry_run(inputs, target, against)
    except UnsupportedModelError as reason:
        return Report(type(model).__name__, (), 0.0, 0.0, str(reason))
    operations = tuple(
        Operation(step.name, step.kind, step.rule, step.received, step.handed_on) for step in found.steps
    )
    explained = float((found.explained - found.base).sum())
    return Report(type(model).__name__, operations, explained, float(found.response.sum()), "")
