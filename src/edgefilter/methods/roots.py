"""The points at which SmoothTaylor takes its gradients: noise around each input, or points of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from edgefilter._checks import is_number

from .arguments import generator_of, whole_number

__all__ = ["Roots", "Stdevs", "as_roots"]

Stdevs = float | Tensor | tuple[float | Tensor, ...]
Given = Tensor | tuple[Tensor, ...] | Callable[[Any, int], Any]


class Roots:
    """Points as many as samples, each like the inputs; those of sample ``i`` come from a function of ``i``.

    Parameters
    ----------
    count : int
        The number of samples.
    inputs : tuple of Tensors, shape (N, ...)
    sample : callable
        From the index of a sample to a tuple of tensors like the inputs. It is called once for each, in order.
    """

    def __init__(
        self, count: int, inputs: tuple[Tensor, ...], sample: Callable[[int], tuple[Tensor, ...]]
    ) -> None:
        self.count, self.inputs, self.sample = count, inputs, sample

    def some(self, size: int | None) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        """Yield how many samples come, and their points: rows of one example stand together, as in NoiseTunnel."""
        size = self.count if size is None else size
        for start in range(0, self.count, size):
            samples = [self.sample(i) for i in range(start, min(start + size, self.count))]
            yield (
                len(samples),
                tuple(torch.stack(parts, 1).flatten(0, 1) for parts in zip(*samples, strict=True)),
            )


def as_roots(
    given: Given | None,
    inputs: tuple[Tensor, ...],
    several: bool,
    n_samples: int,
    stdevs: Stdevs,
    seed: int | torch.Generator,
) -> Roots:
    """Return the points: the given ones, or the inputs plus noise.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit the inputs; the message says what does.
    """
    if given is None:
        return _noisy(inputs, whole_number(n_samples, "n_samples"), stdevs, generator_of(seed))
    if callable(given):
        return Roots(whole_number(n_samples, "n_samples"), inputs, _called(given, inputs, several))
    parts: tuple[Any, ...] = given if isinstance(given, tuple) else (given,)
    wanted = [("n_samples", *part.shape) for part in inputs]
    fits = len(parts) == len(inputs) and all(
        isinstance(part, Tensor) and part.dim() and part.shape[1:] in (like.shape, (1, *like.shape[1:]))
        for part, like in zip(parts, inputs, strict=True)
    )
    if not fits or len({len(part) for part in parts}) != 1 or not len(parts[0]):
        raise ValueError(
            f"roots must have {_shapes(wanted)}, the samples first; got {_shapes(map(_shape, parts))}. "
            "Pass for example torch.stack of points like the inputs."
        )
    clean = [part.detach().to(like).expand(-1, *like.shape) for part, like in zip(parts, inputs, strict=True)]
    return Roots(len(clean[0]), inputs, lambda i: tuple(part[i] for part in clean))


def _noisy(inputs: tuple[Tensor, ...], count: int, stdevs: Stdevs, generator: torch.Generator) -> Roots:
    """Return the inputs plus normal noise: in each sample the same unit noise for all examples, drawn on the CPU in float32, as NoiseTunnel's."""
    scales = _scales(stdevs, inputs)

    def sample(_: int) -> tuple[Tensor, ...]:
        noise = [torch.randn(part.shape[1:], generator=generator).to(part.device) for part in inputs]
        return tuple(
            part + (scale * unit).to(part) for part, scale, unit in zip(inputs, scales, noise, strict=True)
        )

    return Roots(count, inputs, sample)


def _called(given: Callable[[Any, int], Any], inputs: tuple[Tensor, ...], several: bool) -> Any:
    """Return what checks the points that a user's function returns."""

    def sample(index: int) -> tuple[Tensor, ...]:
        found = given(inputs if several else inputs[0], index)
        parts = found if isinstance(found, tuple) else (found,)
        if [_shape(part) for part in parts] != [tuple(part.shape) for part in inputs]:
            raise ValueError(
                f"roots must return points of {_shapes(map(_shape, inputs))}; got {_shapes(map(_shape, parts))} for sample "
                f"{index}. Return tensors shaped as the inputs."
            )
        return tuple(part.detach().to(like) for part, like in zip(parts, inputs, strict=True))

    return sample


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _shapes(shapes: Any) -> str:
    """Write the shapes of one tensor or of several."""
    return " and ".join(
        f"shape ({', '.join(map(str, shape))})" if isinstance(shape, tuple) else f"a {shape}"
        for shape in shapes
    )


def _scales(stdevs: Any, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the standard deviations of the noise, each ready to multiply an input."""
    parts = stdevs if isinstance(stdevs, tuple) else (stdevs,) * len(inputs)
    if len(parts) != len(inputs):
        raise ValueError(
            f"stdevs must be one, or a tuple with one for each of the {len(inputs)} inputs; got {len(parts)}. "
            "For one per image pass a Tensor of shape (N,)."
        )
    return tuple(_scale(part, like) for part, like in zip(parts, inputs, strict=True))


def _scale(stdev: Any, like: Tensor) -> Tensor:
    if is_number(stdev):
        stdev = torch.tensor(float(stdev), dtype=torch.float64)
    if isinstance(stdev, Tensor):
        fits = (
            stdev.shape in ((), (1,), like.shape[:1]) and not stdev.is_complex() and stdev.dtype != torch.bool
        )
        if fits and bool((torch.isfinite(stdev) & (stdev >= 0)).all()):
            return stdev.detach().to(like.device, torch.float32).reshape(-1, *[1] * (like.dim() - 1))
    got = (
        f"a Tensor of shape {tuple(stdev.shape)}"
        if isinstance(stdev, Tensor) and stdev.numel() > 1
        else repr(stdev)
    )
    raise ValueError(
        f"stdevs must be at least 0 and finite, one number or a Tensor of shape ({len(like)},), one per image; got {got}. "
        "Pass for example stdevs=0.5."
    )
