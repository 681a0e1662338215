"""The explained output with some of the bank's responses only, and its gradient on the way from none to all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from edgefilter.lrp.calls import NumberedCall
from edgefilter.lrp.rerun import rerun
from edgefilter.lrp.site import Site
from edgefilter.lrp.values import tensors_in

from .arguments import check_output
from .explained import ExplainedOutput

__all__ = ["PartialRuns", "Path"]


class Path(NamedTuple):
    """The gradient on the straight way from none of the responses to all.

    Attributes
    ----------
    pairs : Tensor, shape (N, C, K), float64, on the CPU
        Responses times gradient, averaged over the way and summed over places.
    places : Tensor, shape (N, H', W'), bool
        Where the gradient of the stem's output is not zero.
    """

    pairs: Tensor
    places: Tensor


class PartialRuns:
    """Runs a model again and again with some of the bank's responses only.

    Parameters
    ----------
    model : nn.Module
    images : tuple of Tensors
        Its inputs, (N, ...).
    extra : tuple
        Its further arguments.
    sites : sequence of Site
        Where the responses enter it.
    left_out : sequence of NumberedCall
        Monotone functions at its end.
    asked : ExplainedOutput
        What is explained of the outputs.
    explained : Tensor, shape (N,)
        That of the model with all responses.
    size : int
        How many images the model may get at a time.
    label : str, optional
        Of the progress bars. Default: none are shown.
    """

    def __init__(
        self,
        model: nn.Module,
        images: tuple[Tensor, ...],
        extra: tuple[Any, ...],
        sites: Sequence[Site],
        left_out: Sequence[NumberedCall],
        asked: ExplainedOutput,
        explained: Tensor,
        size: int,
        label: str | None = None,
    ) -> None:
        self.label = label
        self.model, self.images, self.extra = model, images, extra
        self.sites, self.left_out, self.asked = sites, left_out, asked
        self.dtype = explained.dtype
        self.count, self.every = len(images[0]), explained.cpu().double()
        # Tensors beside the images may be of any meaning, so that they are not repeated.
        self.sets = 1 if any(True for _ in tensors_in(extra)) else max(1, size // self.count)
        first = sites[0]
        self.colors, self.filters = first.colors.shape[1], len(first.bank)

    def outputs(self, keeps: Sequence[Tensor]) -> Tensor:
        """Return the explained output with each response multiplied by a factor.

        Parameters
        ----------
        keeps : sequence of Tensors, shape (C, K) or (C, 1)
            0 for what is silenced, 1 for what is there.

        Returns
        -------
        values : Tensor, shape (N, len(keeps)), float64, on the CPU
        """
        return self._outputs(keeps, self._shown(range(0, len(keeps), self.sets)))

    def _outputs(self, keeps: Sequence[Tensor], starts: Iterable[int]) -> Tensor:
        found = []
        with torch.no_grad():
            for start in starts:
                some = torch.stack(list(keeps[start : start + self.sets]))
                values = [site.values(some) for site in self.sites]
                found.append(self._explained(values, len(some)).cpu().double())
        return torch.cat(found).reshape(len(keeps), self.count).T

    def _shown(self, steps: Sequence[Any]) -> Iterable[Any]:
        """Return steps that show how far they are, if that is asked for and there are several."""
        return tqdm(steps, self.label, disable=self.label is None or len(steps) < 2)  # type: ignore[no-any-return]

    def played(self, sets: Tensor, players: Tensor, nothing: Tensor) -> Tensor:
        """Return the values of sets of players, shape (N, S), float64, on the CPU.

        Parameters
        ----------
        sets : Tensor, shape (S, P), bool
        players : Tensor, shape (P, C, K) or (P, C, 1)
            Which responses each of them holds.
        nothing : Tensor, shape (N,)
            The value of no player; that of all is known.
        """
        sizes = sets.sum(1)
        found = torch.empty(self.count, len(sets), dtype=torch.float64)
        found[:, sizes == 0], found[:, sizes == sets.shape[1]] = nothing[:, None], self.every[:, None]
        others = ((sizes > 0) & (sizes < sets.shape[1])).nonzero()[:, 0]
        steps = torch.split(others, self.sets) if len(others) else ()
        for some in self._shown(steps):
            keeps = torch.einsum("sp,pck->sck", sets[some].double(), players.double())
            found[:, some] = self._outputs(list(keeps), (0,))
        return found

    def path_gradient(self, nodes: int = 2) -> Path:
        """Return the gradient on the straight way from none to all.

        Parameters
        ----------
        nodes : int, default: 2
            Of the Gauss-Legendre quadrature.
        """
        none_and_all = torch.tensor([0.0, 1.0])[:, None, None].expand(-1, self.colors, 1)
        with torch.no_grad():
            ends = [site.values(none_and_all).chunk(2) for site in self.sites]
        total = [torch.zeros_like(none) for none, _ in ends]
        points, weights = np.polynomial.legendre.leggauss(nodes)
        for start in range(0, nodes, self.sets):
            some = torch.from_numpy(points[start : start + self.sets] / 2 + 0.5)
            for part, gradients in zip(total, self._gradients(ends, some.tolist()), strict=True):
                for weight, gradient in zip(weights[start:], gradients, strict=False):
                    part.add_(gradient, alpha=weight / 2)
        pairs = [site.by_pair(part) for site, part in zip(self.sites, total, strict=True)]
        places = torch.stack([(part != 0).any(1) for part in total]).any(0)
        return Path(torch.stack(pairs).sum(0).cpu().double(), places)

    def _gradients(self, ends: list[tuple[Tensor, ...]], places: list[float]) -> list[tuple[Tensor, ...]]:
        """Return for each site the gradients at some places of the way, one after another."""
        with torch.enable_grad():
            leaves = [
                torch.cat([none.lerp(every, place) for place in places]).requires_grad_()
                for none, every in ends
            ]
        try:
            found = self._gradient(leaves, len(places), out_of_place=False)
        except RuntimeError as error:
            if "inplace" not in str(error) and "in-place" not in str(error):
                raise
            found = self._gradient(leaves, len(places), out_of_place=True)
        return [
            (torch.zeros_like(leaf) if gradient is None else gradient).chunk(len(places))
            for leaf, gradient in zip(leaves, found, strict=True)
        ]

    def _gradient(self, leaves: list[Tensor], sets: int, *, out_of_place: bool) -> Sequence[Tensor | None]:
        with torch.enable_grad():
            values = [leaf.clone() for leaf in leaves]  # the model may change them in place
            explained = self._explained(values, sets, out_of_place=out_of_place).sum()
        if not explained.requires_grad:
            return [None] * len(leaves)
        return torch.autograd.grad(explained, leaves, allow_unused=True)

    def of_images(self, place: int, images: Sequence[Tensor]) -> Tensor:
        """Return the explained output for other images, shape (N, len(images)), float64, on the CPU.

        Parameters
        ----------
        place : int
            Which of the model's inputs they take the place of.
        images : sequence of Tensors
            Each shaped as that input.
        """
        found = []
        with torch.no_grad():
            for start in range(0, len(images), self.sets):
                some = images[start : start + self.sets]
                found.append(self._explained([], len(some), changed=(place, torch.cat(list(some)))))
        return torch.cat(found).cpu().double().reshape(len(images), self.count).T

    def nothing(self) -> Tensor:
        """Return the explained output without any response, shape (N,), float64, on the CPU."""
        return self.outputs([self.sites[0].colors.new_zeros(self.colors, 1)])[:, 0]

    def _explained(
        self,
        values: list[Tensor],
        sets: int,
        *,
        out_of_place: bool = False,
        changed: tuple[int, Tensor] | None = None,
    ) -> Tensor:
        images = [image.repeat(sets, *[1] * (image.dim() - 1)) for image in self.images]
        if changed is not None:
            images[changed[0]] = changed[1]
        output = rerun(
            self.model,
            (*images, *self.extra),
            list(zip(self.sites, values, strict=changed is None)),
            self.left_out,
            out_of_place=out_of_place,
        )
        output = check_output(output, sets * self.count)
        return self.asked.value(torch.unflatten(output, 0, (sets, self.count))).flatten()
