"""Run a model as the piece-wise linear function that it is, or say which of its functions is none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from edgefilter.attribution.arguments import check_output, unwrapped
from edgefilter.lrp.surroundings import eager
from edgefilter.stems.reading import RunningModules

from .arguments import check_evaluation, of_each
from .linear_only import LinearOnly
from .straight import Rows, Site, Straight, Take, TakeSlopes

__all__ = ["PiecewiseModel"]


class PiecewiseModel:
    """A model, run as a piece-wise linear function.

    Parameters
    ----------
    forward_func : callable
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        self.function: Callable[..., Any] = unwrapped(forward_func)  # type: ignore[arg-type]
        self._signals: list[
            bool
        ] = []  # of each call of a unit's function: whether the image has a part in it

    def checked(self, images: Tensor, extra: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        """Return a leaf with the images' values and the output of it, with its graph.

        Raises
        ------
        UnsupportedModelError
            Names the first function that is not piece-wise linear.
        """
        check_evaluation(self.function)
        with self._running() as modules:
            leaf = images.clone().requires_grad_()
            given = leaf.clone()
            look = LinearOnly(modules, given)
            try:
                with look, look.functions:
                    output = self.function(given, *extra)
            except RuntimeError:
                if look.refusal is None:
                    raise
                raise look.refusal from None
            self._signals = look.functions.signals
            return leaf, _as_rows(output, len(images))

    def traced(self, images: Tensor, extra: tuple[Any, ...], take: Take) -> Tensor:
        """Return a leaf, after a run in which ``take`` got the place, the site and the values of all units, with their graphs."""
        with self._running() as modules:
            leaf = images.clone().requires_grad_()
            with Straight(modules, self._signals, Rows(len(images)), take):
                self.function(leaf.clone(), *extra)
        return leaf

    def along(
        self, images: Tensor, directions: Tensor, owners: Tensor, extra: tuple[Any, ...], take: TakeSlopes
    ) -> tuple[Tensor, Tensor]:
        """Return the output at the images, (N, K), and the slopes of the affine maps there along directions, (M, K).

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
        directions : Tensor, shape (M, C, H, W)
        owners : Tensor, shape (M,)
            Which image each direction belongs to.
        extra : tuple
            Further arguments, with a row for each image and then one for each direction if they have rows.
        take : callable
            Gets the place, the site, the values of all units there (N, units) and their slopes (M, units).

        Notes
        -----
        One run of all images and of the points one step ahead, whose units are kept as they are at the images: so the step may be as
        long as is good for the precision.
        """
        length = images.flatten(1).norm(dim=1).clamp(min=1)[owners]
        step = of_each(length, directions) * directions
        rows = Rows(len(images), owners)

        def taken(place: int, site: Site, values: Tensor) -> None:
            take(place, site, *rows.value_and_slope(values, length, is_maximum=site.is_maximum))

        with self._running() as modules, torch.no_grad():
            with Straight(modules, self._signals, rows, taken):
                output = self.function(torch.cat([images, images[owners] + step]), *extra)
            output = _as_rows(output, rows.count)
        base = output[: rows.images]
        return base, (output[rows.images :] - base[owners]) / length.reshape(-1, *[1] * (output.dim() - 1))

    @contextlib.contextmanager
    def _running(self) -> Iterator[RunningModules]:
        model = self.function if isinstance(self.function, nn.Module) else nn.Identity()
        with eager(), RunningModules(model) as modules:
            yield modules


def _as_rows(output: Any, count: int) -> Tensor:
    """Return the output of each image as one row."""
    if isinstance(output, Tensor) and output.dim() == 0 and count == 1:
        output = output.reshape(1)
    return check_output(output, count)
