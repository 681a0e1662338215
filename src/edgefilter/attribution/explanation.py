"""The scores of a batch of predictions: views, sums, saving and loading."""

from __future__ import annotations

import dataclasses
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import torch
from torch import Tensor, nn

from edgefilter._checks import closest
from edgefilter._files import read_tagged, write_tagged
from edgefilter.banks.groups import Groups, all_groups
from edgefilter.errors import UnknownNameError
from edgefilter.stems.responses import bank_of, by_color

from .grouping import GroupScores, chosen_groups, group_scores
from .scores import SCORES, color_names, per_image, scores

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from edgefilter.banks.bank import FilterBank

__all__ = ["Explanation"]

GAME = ("effects", "errors", "interactions")
TENSORS = ("response", "pixel", "output", "base", *GAME)
FORMAT = "edgefilter explanation 1"

# Attributions without a negative one that add up to more than so many times the output look like absolute values.
EXCESS = 1.5


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """Scores of a batch of predictions, as one tensor with many views.

    Relevance is signed, in units of the explained output: positive speaks for it, negative against it.

    Parameters
    ----------
    response : Tensor, shape (N, C, K, H', W')
        Relevance of color ``c`` seen through filter ``k`` at each place of the stem's output.
    pixel : Tensor, shape (N, C, H, W), or None
        Relevance of each color of each pixel.
    output : Tensor, shape (N,)
        The explained output: the logit of the target, or its margin where it is compared with another; NaN where unknown.
    target : tuple
        What was explained, one entry per image: an index, a tuple of them, or None.
    colors, filters : tuple of str
        Names of the ``C`` colors and ``K`` filters.
    filter_labels : tuple of str
        The filters' names as words, such as ``edge_x`` for ``dx1_dy0``.
    base : Tensor, shape (N,), optional
        What of the explained output no score carries: calibrated, the output when nothing is present; of relevance alone,
        the constant of the model's last affine map. Default: 0.
    left_out : str, default: ""
        Name of the monotone function at the model's end (``"sigmoid"``, ``"softmax"``, ...) whose argument is explained
        in place of its value.
    against : tuple, default: ()
        What each target was compared with: None, ``"rest"`` or another target.
    effects : Tensor, shape (N, C), optional
        What the explained output loses when a color is silenced; None for relevance alone.
    errors : Tensor, shape (N, C), optional
        Standard errors of the color scores, 0 where these are exact.
    interactions : Tensor, shape (N, C, C), optional
        By how much two colors are worth more together than apart; None where the game was not played in full.
    groups : dict of str to dict, optional
        The groups of the filters by kind, as ``bank.groups(kind)`` has them. Default: unknown.

    Notes
    -----
    ``color.sum(1) == edge.sum(1) == color_edge.sum((1, 2)) == response.sum((1, 2, 3, 4))``, whatever the rules. These
    and ``base`` add up to ``output`` when the composite conserves relevance; ``delta`` says by how much they do not.

    Examples
    --------
    >>> explanation = Explanation(torch.ones(1, 3, 2, 4, 4), None, torch.tensor([100.0]), (7,),
    ...                           ("red", "green", "blue"), ("sobel_x", "sobel_y"))
    >>> explanation.color, explanation.edge, explanation.delta
    (tensor([[32., 32., 32.]]), tensor([[48., 48.]]), tensor([-4.]))
    """

    response: Tensor
    pixel: Tensor | None
    output: Tensor
    target: tuple[Any, ...]
    colors: tuple[str, ...]
    filters: tuple[str, ...]
    filter_labels: tuple[str, ...] = ()
    base: Tensor = dataclasses.field(default_factory=lambda: torch.zeros(0))
    left_out: str = ""
    against: tuple[Any, ...] = ()
    effects: Tensor | None = None
    errors: Tensor | None = None
    interactions: Tensor | None = None
    groups: dict[str, Groups] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.filter_labels:
            object.__setattr__(self, "filter_labels", self.filters)
        if self.base.shape != self.output.shape and not len(self.base):
            object.__setattr__(self, "base", torch.zeros_like(self.output))
        if self.base.shape != self.output.shape:
            raise ValueError(
                f"base must have the shape of output, {tuple(self.output.shape)}; got {tuple(self.base.shape)}. Pass one number "
                "per image, or leave it out."
            )
        images, names = len(self.target), (len(self.colors), len(self.filters))
        if self.response.dim() != 5 or self.response.shape[:3] != (images, *names):
            raise ValueError(
                f"response must have shape ({images}, {names[0]}, {names[1]}, height, width), as there are targets, "
                f"colors and filters; got {tuple(self.response.shape)}. Reshape it, or correct the names."
            )
        pixels_fit = self.pixel is None or (
            self.pixel.dim() == 4 and self.pixel.shape[:2] == (images, names[0])
        )
        if self.output.shape != (images,) or not pixels_fit or len(self.filter_labels) != names[1]:
            raise ValueError(
                f"output, pixel and filter_labels must fit the {images} images, {names[0]} colors and {names[1]} "
                f"filters of response; got {self._shapes()}. Pass one output per image and one label per filter."
            )

    @classmethod
    def from_responses(
        cls,
        attributions: Tensor,
        layer: nn.Module,
        inputs: Tensor | None = None,
        *,
        output: Tensor | None = None,
        target: Any = None,
    ) -> Explanation:
        """Make the scores of any attribution of the bank's output, such as one of Captum's ``LayerConductance``.

        Parameters
        ----------
        attributions : Tensor, shape (N, C*K, H', W') or (N, C, K, H', W')
            One value for each response, from ``LayerConductance``, ``LayerIntegratedGradients``, ``LayerDeepLift``,
            ``LayerGradientXActivation``, ``LayerFeatureAblation``, ... of the bank, ``layer.filters``. The scores
            are their sums and nothing else. Signed: sums of absolute values name the wrong filter.
        layer : EdgeFilterBank2d or EdgeFilterConv2d
            Gives the names, and the rule down to the pixels.
        inputs : Tensor, shape (N, C, H, W), optional
            The images. With them, ``pixel`` is what the default composite's rule for the bank (w-square) makes of
            the attributions: it adds up to the same total. Without, ``pixel`` is None.
        output : Tensor, shape (N,), optional
            What the attributions should add up to: the output itself, or for methods with a baseline its difference
            to the output there. Default: unknown, so ``output``, ``delta`` and ``conserved_share`` are NaN.
        target : int, tuple, Tensor or list, optional
            What was attributed, in Captum's forms; only kept as a note.

        Returns
        -------
        explanation : Explanation

        Warns
        -----
        UserWarning
            If no attribution is negative and those of each image add up to more than 1.5 times its ``output``, as
            absolute values do.

        Raises
        ------
        TypeError, ValueError
            If ``layer`` is no edge-filter layer, or a shape does not fit; the message says what does.

        Examples
        --------
        >>> import edgefilter as ef
        >>> from captum.attr import LayerGradientXActivation
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
        >>> model, images = ef.replace_stem(net), torch.rand(2, 3, 6, 6)
        >>> attributions = LayerGradientXActivation(model, model[0].filters).attribute(images, 7)
        >>> explanation = ef.Explanation.from_responses(attributions, model[0], images, target=7)
        >>> explanation.color.shape, explanation.edge.shape, explanation.pixel.shape
        (torch.Size([2, 3]), torch.Size([2, 9]), torch.Size([2, 3, 6, 6]))
        """
        from .pixels import to_pixels  # the rules: only who has images needs them

        bank = bank_of(layer)
        response = by_color(attributions, bank).detach()
        count = len(response)
        targets = per_image(target, count)
        if len(targets) != count:
            raise ValueError(
                f"target must be one, or one for each of the {count} images; got {len(targets)}. "
                "Pass what was given to attribute()."
            )
        found = cls(
            response=response,
            pixel=None if inputs is None else to_pixels(response, bank, inputs),
            output=response.new_full((count,), math.nan) if output is None else output.detach(),
            target=targets,
            colors=color_names(bank.in_channels),
            filters=tuple(bank.bank.names),
            filter_labels=tuple(bank.bank.labels),
            groups=all_groups(bank.bank),
        )
        if found._seems_absolute():
            warnings.warn(
                "attributions must be signed; got none below 0, and together more than the output. "
                "Absolute values name the wrong filter: pass what the method returned.",
                UserWarning,
                stacklevel=2,
            )
        return found

    def __len__(self) -> int:
        return len(self.response)

    def __getitem__(self, index: SupportsIndex | slice) -> Explanation:
        """Return the explanation of one image (still a batch, of one) or of some."""
        if not isinstance(index, slice):
            index = operator.index(index)
            if not -len(self) <= index < len(self):
                raise IndexError(
                    f"index must be below {len(self)}, the number of images; got {index}. Count from 0."
                )
            index = slice(index, index + 1 or None)
        pixel = None if self.pixel is None else self.pixel[index]
        return dataclasses.replace(
            self,
            response=self.response[index],
            pixel=pixel,
            output=self.output[index],
            base=self.base[index],
            target=self.target[index],
            against=self.against[index],
            **self._game(lambda values: values[index]),
        )

    def _game(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """Return what the game of the colors gave, changed."""
        return {name: change(values) for name in GAME if (values := getattr(self, name)) is not None}

    def _shapes(self) -> str:
        pixel = None if self.pixel is None else tuple(self.pixel.shape)
        return f"{tuple(self.output.shape)}, {pixel} and {len(self.filter_labels)} labels"

    def __repr__(self) -> str:
        return f"Explanation({len(self)} images, {len(self.colors)} colors, {len(self.filters)} filters)"

    @property
    def color(self) -> Tensor:
        """Score by color channel, shape (N, C)."""
        return scores(self.response, "color")

    @property
    def edge(self) -> Tensor:
        """Score by edge filter, shape (N, K)."""
        return scores(self.response, "edge")

    @property
    def color_edge(self) -> Tensor:
        """Score by color channel and edge filter, shape (N, C, K)."""
        return scores(self.response, "color_edge")

    @property
    def total(self) -> Tensor:
        """Sum of all relevance, shape (N,)."""
        return self.response.sum((1, 2, 3, 4))

    @property
    def delta(self) -> Tensor:
        """Base plus total relevance minus explained output, shape (N,): 0 if relevance is conserved, NaN if unknown."""
        return self.base + self.total - self.output

    @property
    def conserved_share(self) -> Tensor:
        """Total relevance divided by what the scores should add up to, shape (N,): 1 if relevance is conserved."""
        return self.total / (self.output - self.base)

    def edge_map(self, name: str) -> Tensor:
        """Return where a filter's relevance lies: shape (N, H', W'), summed over the colors.

        Parameters
        ----------
        name : str
            One of ``filters`` or ``filter_labels``.

        Raises
        ------
        KeyError
            If there is no such filter.
        """
        return self.response[:, :, self._filter_index(name)].sum(1)

    def color_map(self, name: str) -> Tensor:
        """Return where a color's relevance lies at the stem: shape (N, H', W'), summed over the filters."""
        if name not in self.colors:
            raise UnknownNameError(
                f"unknown color {name!r}{closest(name, self.colors)} The colors are {', '.join(self.colors)}."
            )
        return self.response[:, self.colors.index(name)].sum(1)

    def group(self, kind: str | Mapping[str, Iterable[str]]) -> GroupScores:
        """Return the scores of groups of filters: the sums of their filters' scores.

        Parameters
        ----------
        kind : {"order", "orientation", "family", "dependent"} or mapping of str to sequence of str
            The groups of the bank, as in :meth:`edgefilter.FilterBank.groups`, or ``{name: [filters]}``, a partition of
            your own.

        Returns
        -------
        scores : GroupScores
            ``.names``, ``.filters`` (those of each group), ``.edge`` (N, G), ``.color_edge`` (N, C, G), and ``.notes``
            on groups whose filters are multiples of others.

        Raises
        ------
        TypeError, KeyError, ValueError
            If there is no such kind, the explanation does not know the groups of its bank, or your groups are no
            partition of the filters.

        Examples
        --------
        >>> response = torch.tensor([1.0, 3.0]).reshape(1, 1, 2, 1, 1)
        >>> explanation = Explanation(response, None, torch.tensor([4.0]), (0,), ("gray",), ("sobel_x", "sobel_y"))
        >>> explanation.group({"edges": ["sobel_x", "sobel_y"]}).edge
        tensor([[4.]])
        """
        groups = chosen_groups(kind, self.groups, self.filters, self._filter_index)
        return group_scores(self.color_edge, self.filters, groups, self.groups.get("dependent", {}))

    def top(self, k: int = 3, score: str = "edge") -> list[list[tuple[str, float]]]:
        """Return the names with the largest scores, for each image, largest first.

        Parameters
        ----------
        k : int, default: 3
            How many; all if there are fewer.
        score : {"edge", "color", "color_edge"}, default: "edge"
            ``"color_edge"`` gives names such as ``"red sobel_x"``.

        Examples
        --------
        >>> response = torch.tensor([1.0, 3.0]).reshape(1, 1, 2, 1, 1)
        >>> Explanation(response, None, torch.tensor([4.0]), (0,), ("gray",), ("sobel_x", "sobel_y")).top(1)
        [[('sobel_y', 3.0)]]
        """
        if score not in SCORES:
            raise UnknownNameError(
                f"unknown score {score!r}{closest(score, SCORES)} top() takes {', '.join(SCORES)}."
            )
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ValueError(f"k must be an integer >= 1; got {k!r}. Pass for example k=3.")
        names = {
            "color": list(self.colors),
            "edge": list(self.filters),
            "color_edge": [f"{color} {name}" for color in self.colors for name in self.filters],
        }[score]
        values = scores(self.response, score).flatten(1)
        best = values.sort(dim=1, descending=True, stable=True)
        pairs = zip(best.indices[:, :k].tolist(), best.values[:, :k].tolist(), strict=True)
        return [[(names[i], v) for i, v in zip(*pair, strict=True)] for pair in pairs]

    def normalized(self) -> Explanation:
        """Return the explanation in shares of each image's total relevance, so that every score sums to 1.

        An image without any relevance keeps its zeros. Shares are unsteady where relevance for and against the output
        nearly cancel: look at ``total`` beside ``response.abs().sum()``.
        """
        total = self.total
        scale = torch.where(total == 0, torch.ones_like(total), total)
        return dataclasses.replace(
            self,
            response=self.response / scale[:, None, None, None, None],
            pixel=None if self.pixel is None else self.pixel / scale[:, None, None, None],
            output=self.output / scale,
            base=self.base / scale,
            **self._game(lambda values: values / scale.reshape(-1, *[1] * (values.dim() - 1))),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the scores and names as plain numbers and lists, ready for JSON; the maps stay out.

        An unknown output and its delta are None.
        """
        return {
            "target": list(self.target),
            "output": [None if math.isnan(value) else value for value in self.output.tolist()],
            "against": list(self.against),
            "base": self.base.tolist(),
            "left_out": self.left_out,
            "delta": [None if math.isnan(value) else value for value in self.delta.tolist()],
            "colors": list(self.colors),
            "filters": list(self.filters),
            "filter_labels": list(self.filter_labels),
            "color": self.color.tolist(),
            "edge": self.edge.tolist(),
            "color_edge": self.color_edge.tolist(),
            **{name: None if (values := getattr(self, name)) is None else values.tolist() for name in GAME},
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per image, color and filter.

        Returns
        -------
        table : pandas.DataFrame
            Columns ``image``, ``target``, ``output``, ``color``, ``filter``, ``relevance``.
        """
        import pandas as pd

        rows = [
            (image, self.target[image], float(self.output[image]), color, name, value)
            for image, table in enumerate(self.color_edge.tolist())
            for color, row in zip(self.colors, table, strict=True)
            for name, value in zip(self.filters, row, strict=True)
        ]
        table: pd.DataFrame = pd.DataFrame(
            rows, columns=["image", "target", "output", "color", "filter", "relevance"]
        )
        return table

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write tensors and names to one safetensors file.

        Parameters
        ----------
        path : str or Path
        overwrite : bool, default: False
            Whether an existing file may be replaced.

        Returns
        -------
        path : Path

        Raises
        ------
        FileExistsError
            If the file is there and ``overwrite`` is False.
        FileNotFoundError
            If its folder is not there.
        """
        tensors = {name: getattr(self, name) for name in TENSORS}
        tensors = {
            name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, t in tensors.items()
            if t is not None
        }
        names = {
            name: list(getattr(self, name))
            for name in ("target", "against", "colors", "filters", "filter_labels")
        }
        names["left_out"] = [self.left_out]
        return write_tagged(path, tensors, FORMAT, overwrite=overwrite, names=names, groups=self.groups)

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """Read an explanation that :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not an explanation.
        """
        tensors, about = read_tagged(path, FORMAT, cls.__name__)
        names: dict[str, Any] = {name: tuple(value) for name, value in about["names"].items()}
        for name in {"target", "against"} & names.keys():
            names[name] = tuple(tuple(t) if isinstance(t, list) else t for t in names[name])
        names["left_out"] = names.get("left_out", ("",))[0]
        for name in ("base", *GAME):  # files of old have none, nor groups
            if name in tensors:
                names[name] = tensors[name]
        names["groups"] = {
            kind: {name: tuple(filters) for name, filters in groups.items()}
            for kind, groups in about.get("groups", {}).items()
        }
        return cls(tensors["response"], tensors.get("pixel"), tensors["output"], **names)

    def plot(
        self,
        image: Any = None,
        *,
        top: int = 3,
        title: str | None = None,
        bank: FilterBank | None = None,
    ) -> Figure:
        """Draw the first image's explanation: pixel map, bars by color and filter, maps of the top filters.

        Parameters
        ----------
        image : array-like, shape (H, W, 3), (H, W) or (C, H, W), optional
            The picture to show, as a viewer would see it: uint8, or floats from 0 to 1.
        top : int, default: 3
            Number of filters whose maps are drawn.
        title : str, optional
            Default: the explained output and how much of it is conserved; the total where the output is unknown.
        bank : FilterBank, optional
            The bank behind the scores: with it, the kernels are drawn beside their names.

        Returns
        -------
        figure : matplotlib.figure.Figure
        """
        from edgefilter.plots.explanation import plot_explanation

        if title is None and len(self) and self.output[0].isnan():
            title = f"attributions add up to {float(self.total[0]):.2f}"
        return plot_explanation(self, image, top=top, title=title, bank=bank)

    def _seems_absolute(self) -> bool:
        """Say whether no value has a sign and the values of every image are together more than its output."""
        excess = self.total > EXCESS * self.output.abs()
        return len(self) > 0 and bool(excess.all()) and bool((self.response >= 0).all())

    def _filter_index(self, name: str) -> int:
        for names in (self.filters, self.filter_labels):
            if name in names:
                return names.index(name)
        known = (*self.filters, *self.filter_labels)
        raise UnknownNameError(
            f"unknown filter {name!r}{closest(name, known)} The explanation's .filters lists all {len(self.filters)}."
        )
