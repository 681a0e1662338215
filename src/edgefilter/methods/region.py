"""What is known about a linear region: its affine map, its nearest boundary, a class boundary, and a way through regions."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from edgefilter._checks import counted

__all__ = ["ClassBoundary", "Region", "Unit", "Walk"]


@dataclasses.dataclass(frozen=True)
class Unit:
    """A place where a model is not smooth: one argument of one ReLU, or two places of a pooling window.

    Attributes
    ----------
    module : str
        Path of the module that calls the function; "" for the model itself.
    function : str
        Such as "relu" or "max_pool2d".
    index : tuple of int
        In the function's argument, without the batch; for maxima, in its result, with the place in the window behind.
    level : float or None
        The argument at which the unit switches, such as 0; None for maxima: there two arguments are equal.
    """

    module: str
    function: str
    index: tuple[int, ...]
    level: float | None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Region:
    """The linear region that each image of a batch lies in: there the model is ``weight x + bias``.

    Attributes
    ----------
    inputs : Tensor, shape (N, C, H, W), or (N, D) as in what follows
    output : Tensor, shape (N, K)
        What the model makes of them.
    weight : Tensor, shape (N, K, C, H, W)
    bias : Tensor, shape (N, K)
    radius : Tensor, shape (N,), or None
        Euclidean distance to the nearest boundary of the region, in units of the inputs; infinite if there is none. None if it was not
        asked for.
    unit : tuple of Unit or None, or None
        Of each image, what switches there.
    nearest : Tensor, shape (N, C, H, W), or None
        The nearest point of the boundary; NaN if there is none.
    n_units : int or None
        How many units were looked at, for each image.
    """

    inputs: Tensor
    output: Tensor
    weight: Tensor
    bias: Tensor
    radius: Tensor | None = None
    unit: tuple[Unit | None, ...] | None = None
    nearest: Tensor | None = None
    n_units: int | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def __call__(self, points: Tensor) -> Tensor:
        """Return the affine map's values, shape (N, K): those of the model as long as each point lies in its image's region."""
        return (self.weight.flatten(2) @ points.flatten(1)[..., None])[..., 0] + self.bias

    def __repr__(self) -> str:
        far = "" if self.radius is None else f", radius {_span(self.radius)}"
        return f"Region({counted(len(self), 'image')}, {counted(self.output.shape[1], 'output')}{far})"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ClassBoundary:
    """Where a region's affine map gives two classes the same logit.

    Attributes
    ----------
    target, against : Tensor, shape (N,)
        The two classes.
    margin : Tensor, shape (N,)
        The target's logit minus the other's; negative where the other is ahead.
    distance : Tensor, shape (N,)
        Euclidean distance to the hyperplane of equal logits, in units of the inputs; infinite if the logits differ by a constant.
    point : Tensor, shape (N, C, H, W)
        Its nearest point; NaN if there is none.
    distances : Tensor, shape (N, K)
        Those to the hyperplanes of all classes; infinite for the target itself.
    radius : Tensor, shape (N,)
        As in :class:`Region`.
    in_region : Tensor of bool, shape (N,)
        Whether the point lies in the region, so that the model's logits are equal there.
    """

    target: Tensor
    against: Tensor
    margin: Tensor
    distance: Tensor
    point: Tensor
    distances: Tensor
    radius: Tensor
    in_region: Tensor

    @property
    def is_exact(self) -> Tensor:
        """Whether no point is nearer at which the model's logits are equal: the distance is within the radius. Shape (N,)."""
        return self.distance <= self.radius

    def __len__(self) -> int:
        return len(self.target)

    def __repr__(self) -> str:
        exact = int(self.is_exact.sum())
        return f"ClassBoundary({counted(len(self), 'image')}, distance {_span(self.distance)}, {exact} exact)"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Walk:
    """A straight way from each image to where the predicted class changes.

    Attributes
    ----------
    direction : Tensor, shape (N, C, H, W)
        Of length 1.
    target : Tensor, shape (N,)
        The class that is left.
    found : Tensor of bool, shape (N,)
        Whether it is left before the limits.
    distance : Tensor, shape (N,)
        How far away that is, in units of the inputs; infinite where it was not found.
    point : Tensor, shape (N, C, H, W)
        The end of the way: two logits are equal there, to rounding.
    reached : Tensor, shape (N,)
        The class behind it; -1 where none was found.
    regions : Tensor, shape (N,)
        How many linear regions the way leads through, the first one included.
    """

    direction: Tensor
    target: Tensor
    found: Tensor
    distance: Tensor
    point: Tensor
    reached: Tensor
    regions: Tensor

    def __len__(self) -> int:
        return len(self.target)

    def __repr__(self) -> str:
        found = self.distance[self.found]
        far = f", distance {_span(found)}" if len(found) else ""
        return f"Walk({counted(len(self), 'image')}, {len(found)} found{far}, {counted(int(self.regions.sum()), 'region')})"


def _span(values: Tensor) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
