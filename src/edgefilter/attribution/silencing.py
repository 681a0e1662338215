"""The output of a model with some colors or filters silenced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError
from edgefilter.lrp.ending import ending
from edgefilter.lrp.engine import Engine
from edgefilter.lrp.stem import Stem

from .arguments import Target, check_output, output_weights
from .propagation import own_modes, plain, sum_per_image
from .scores import color_names

if TYPE_CHECKING:
    from .propagation import Propagator

__all__ = ["silenced_output"]


def silenced_output(
    propagator: Propagator,
    images: tuple[Tensor, ...],
    target: Target,
    extra: tuple[Any, ...],
    colors: Sequence[str] = (),
    filters: Sequence[str] = (),
) -> Tensor:
    """Return the explained output, shape (N,), with the responses of some colors and filters set to zero.

    Raises
    ------
    KeyError
        If a name is unknown.
    """

    def places(names: Sequence[str], known: Sequence[str], what: str) -> list[int]:
        for name in names:
            if name not in known:
                listed = f" There are {', '.join(known)}." if what == "color" else ""
                raise UnknownNameError(f"unknown {what} {name!r}{closest(name, known)}{listed}")
        return [known.index(name) for name in names]

    stem = Stem(
        propagator.layer,
        propagator.bank,
        propagator.path,
        silenced=lambda channels, bank: (
            places(colors, color_names(channels), "color"),
            places(filters, bank.names, "filter"),
        ),
    )
    with own_modes(images[0], grad=True):
        run = Engine(propagator.model, propagator.composite, stem)
        try:
            leaves = tuple(plain(image).requires_grad_() for image in images)
            output = ending(run, check_output(run(leaves, extra), len(images[0]))).output.detach()
        finally:
            run.close()
    return sum_per_image(output_weights(output, target, propagator.start) * output)
