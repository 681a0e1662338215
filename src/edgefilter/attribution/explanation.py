"""The scores of one relevance pass: views, sums, saving and loading."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgefilter.banks.colors import ColorGroups, Colors, as_colors
from edgefilter.banks.groups import all_groups
from edgefilter.stems.responses import bank_of, by_color
from edgefilter.stems.windows import window_of_layer

from .differences import difference
from .levels import Levels, levels_of
from .listing import as_dataframe, as_dict
from .scores import per_image
from .spatial import SpatialViews
from .storing import store, stored
from .summary import doubtful, summarized
from .views import PARTS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from edgefilter.banks.bank import FilterBank

__all__ = ["Explanation"]

# Attributions without a negative one that add up to more than so many times the output look like absolute values.
EXCESS = 1.5


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Explanation(SpatialViews):
    """Relevance of a batch of predictions, as one tensor with many views.

    Relevance is signed, in units of the explained output: positive speaks for it, negative against it.

    Parameters
    ----------
    response : Tensor, shape (N, C, K, H', W')
        Relevance of color ``c`` seen through filter ``k`` at each place of the stem's output.
    pixel : Tensor, shape (N, channels, H, W), or None
        Relevance of each channel of each pixel.
    output : Tensor, shape (N,)
        The explained output: that of the target, minus what it is compared with; NaN where unknown.
    target : tuple
        What was explained, one entry per image: an index, a tuple of them, or None.
    colors, filters : tuple of str
        Names of the ``C`` colors and ``K`` filters.
    filter_labels : tuple of str
        The filters' names as words, such as ``edge_x`` for ``dx1_dy0``.
    base : Tensor, shape (N,), optional
        What of the explained output no score carries: the output without any response, or for relevance alone the constant of the
        model's last affine map. Default: 0.
    left_out : str, default: ""
        Name of the monotone function at the model's end (``"sigmoid"``, ``"softmax"``, ...) whose argument is explained
        in place of its value.
    groups : dict of str to dict, optional
        The groups of the filters by kind, as ``bank.groups(kind)`` has them. Default: unknown.
    against : tuple, optional
        What the targets were compared with, one entry per image: None, ``"rest"``, ``"odds"``, an index or a tuple of them.
    effects : Tensor, shape (N, C), optional
        What the output loses when a color is silenced, negative where it rises. Default: not measured.
    errors : Tensor, shape (N, C), optional
        Standard errors of the color scores; 0 where they are exact. Default: not measured.
    interactions : Tensor, shape (N, C, C), optional
        By how much two colors are worth more together than apart (Shapley interaction index); 0 on the diagonal.
    filter_effects : Tensor, shape (N, K), optional
        What the output loses when a filter is silenced, from :func:`edgefilter.causal_check`; NaN for a filter that was left out.
        Default: not measured.
    about : dict of str to str, optional
        How it was made: ``composite``, ``calibrate``, ``bank``, ``basis``, ``colors`` (groups), ``version``.
    window : Window, optional
        What of the image the responses see, for :meth:`region`. Default: unknown.
    channels : tuple of str, optional
        Names of the channels of ``pixel``: those of the image, or the colors of a basis. Default: ``colors``.
    members : dict of str to tuple of str, optional
        The channels of each color, where colors are groups of them. Default: each color is a channel.
    inputs : Tensor, shape (N, channels of the image, H, W), optional
        The images as the model saw them, so that figures show them. Default: unknown.
    readings : Tensor, shape (N, C, 5), optional
        What :meth:`levels` reads: whether high or low values of the colors speak. Default: not measured.

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

    @classmethod
    def from_responses(
        cls,
        attributions: Tensor,
        layer: nn.Module,
        inputs: Tensor | None = None,
        *,
        output: Tensor | None = None,
        target: Any = None,
        colors: ColorGroups = None,
        channels: Sequence[str] | None = None,
    ) -> Explanation:
        """Make the scores of any attribution of the bank's output, such as one of Captum's ``LayerConductance``.

        Parameters
        ----------
        attributions : Tensor, shape (N, C*K, H', W') or (N, C, K, H', W')
            One value for each response, from ``LayerConductance``, ``LayerIntegratedGradients``, ``LayerDeepLift``,
            ``LayerGradientXActivation``, ``LayerFeatureAblation``, ... of the bank, ``layer.filters``. The scores
            are their sums and nothing else. Signed: sums of absolute values name the wrong filter.
        layer : EdgeFilterBank2d or EdgeFilterConv2d, or a part from :func:`edgefilter.split`
            Gives the names, and the rule down to the pixels.
        inputs : Tensor, shape (N, C, H, W), optional
            The images. With them, ``pixel`` is what the default composite's rule for the bank (w-square) makes of
            the attributions: it adds up to the same total. Without, ``pixel`` is None.
        output : Tensor, shape (N,), optional
            What the attributions should add up to: the output itself, or for methods with a baseline its difference
            to the output there. Default: unknown, so ``output``, ``delta`` and ``conserved_share`` are NaN.
        target : int, tuple, Tensor or list, optional
            What was attributed, in Captum's forms; only kept as a note.
        colors, channels : optional
            Names of the channels, or groups of them, as in :class:`EdgeFilterAttribution`.

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
        by_channel = by_color(attributions, bank).detach()
        known = as_colors(colors, channels=channels)
        response = _grouped(by_channel, known)
        count = len(response)
        targets = per_image(target, count)
        if len(targets) != count:
            raise ValueError(
                f"target must be one, or one for each of the {count} images; got {len(targets)}. "
                "Pass what was given to attribute()."
            )
        found = cls(
            response=response,
            pixel=None if inputs is None else to_pixels(by_channel, bank, inputs),
            output=response.new_full((count,), math.nan) if output is None else output.detach(),
            target=targets,
            colors=known.names(bank.in_channels),
            channels=known.channels(bank.in_channels),
            members=known.members(bank.in_channels),
            filters=tuple(bank.bank.names),
            filter_labels=tuple(bank.bank.labels),
            groups=all_groups(bank.bank),
            window=None if inputs is None else window_of_layer(bank, tuple(inputs.shape[2:])),  # type: ignore[arg-type]
            inputs=None if inputs is None else inputs.detach().clone(),
        )
        if found._seems_absolute():
            warnings.warn(
                "attributions must be signed; got none below 0, and together more than the output. "
                "Absolute values name the wrong filter: pass what the method returned.",
                UserWarning,
                stacklevel=2,
            )
        return found

    def summary(self, image: int = 0, class_names: Sequence[str] | None = None) -> str:
        """Say in plain words what one image's output came from, and which scores to be careful with.

        The first sentence names the color and the filters that speak most for it; then come the output, whether bright or dark in a color
        speaks (:meth:`levels`), the scores, and the doubts.

        Parameters
        ----------
        image : int, default: 0
        class_names : sequence of str, optional
            To name the target by.

        Examples
        --------
        >>> response = torch.tensor([1.0, 3.0]).reshape(1, 1, 2, 1, 1)
        >>> print(Explanation(response, None, torch.tensor([4.5]), (0,), ("gray",), ("sobel_x", "sobel_y"),
        ...                   base=torch.tensor([0.5])).summary())
        The filter sobel y speaks most for output 0.
        Output 0 is 4.50; 0.50 of it is there without the image.
        Colors: gray +4.00.
        Filters: sobel_y +3.00, sobel_x +1.00.
        """
        return summarized(self[image], class_names)

    def _repr_html_(self) -> str:
        from .notebook_explanation import html_of_explanation

        return html_of_explanation(self)

    def doubts(self) -> list[dict[str, str]]:
        """Return for each image the colors and filters whose score should not be believed, and why.

        Those whose silencing has an effect of the other sign, or of less than a tenth of the score, as far as effects were measured.
        """
        return [doubtful(self[image]) for image in range(len(self))]

    def levels(self) -> Levels:
        """Return whether high or low values of each color speak for the output, as it was measured.

        A score says that a color speaks for the output, not whether its bright or its dark places do: a dark green channel can speak for a
        cherry. :meth:`EdgeFilterAttribution.explain` makes the colors that matter a little brighter and a little darker where they
        speak, and notes what the output does. Without it (relevance alone, or attributions of other methods), the mean values are all that is known.

        Returns
        -------
        levels : Levels
            ``.there`` and ``.everywhere`` (N, C): mean values of the colors, in units of the model's input. ``.step`` (N,), ``.higher`` and
            ``.lower`` (N, C): the steps, and what the output gained by them. ``.reading``: ``"high"``, ``"low"``, ``"unclear"`` or ``""``.

        Examples
        --------
        >>> explanation = Explanation(torch.ones(1, 1, 1, 2, 2), None, torch.tensor([4.0]), (0,), ("gray",), ("sobel_x",),
        ...                           readings=torch.tensor([[[-1.0, 0.2, 0.1, -0.3, 0.2]]]))
        >>> explanation.levels().reading
        (('low',),)
        """
        return levels_of(self)

    def __sub__(self, other: Explanation) -> Explanation:
        """Return what speaks for this output rather than for another of the same images, score by score."""
        if not isinstance(other, Explanation):
            return NotImplemented
        return difference(self, other)

    def normalized(self) -> Explanation:
        """Return the explanation in shares of each image's total relevance, so that every score sums to 1.

        An image without any relevance keeps its zeros. Shares are unsteady where relevance for and against the output
        nearly cancel: look at ``total`` beside ``response.abs().sum()``.
        """
        total = self.total
        scale = torch.where(total == 0, torch.ones_like(total), total)
        known = {name: part for name in PARTS if (part := getattr(self, name)) is not None}
        parts: dict[str, Any] = {
            name: part / scale.reshape(-1, *[1] * (part.dim() - 1)) for name, part in known.items()
        }
        if self.errors is not None:
            parts["errors"] = parts["errors"].abs()
        if self.readings is not None:
            levels, changes = self.readings[:, :, :3], self.readings[:, :, 3:]
            parts["readings"] = torch.cat([levels, changes / scale[:, None, None]], 2)
        return dataclasses.replace(self, **parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the scores and names as plain numbers and lists, ready for JSON; the maps stay out.

        An unknown output and its delta are None, and so is an effect that was not measured (NaN).
        """
        return as_dict(self, self.doubts())

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per image, color and filter.

        Returns
        -------
        table : pandas.DataFrame
            Columns ``image``, ``target``, ``output``, ``color``, ``filter``, ``label`` (the filter's name to show), ``relevance``.
        """
        return as_dataframe(self)

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
        return store(self, path, overwrite=overwrite)

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
        return cls(**stored(path))

    def plot(
        self,
        image: Any = None,
        *,
        ax: Axes | None = None,
        top: int = 3,
        title: str | None = None,
        bank: FilterBank | None = None,
        classes: Sequence[str] | None = None,
        smooth: float | bool | None = None,
        dpi: float = 150,
        width: str | float | None = None,
        caption: bool | str = True,
    ) -> Figure:
        """Draw the first image's explanation: pixel map, bars by color and filter, maps of the top filters, and :meth:`summary` below.

        Parameters
        ----------
        image : PIL image or array-like, shape (H, W, 3), (H, W) or (C, H, W), optional
            The picture to show, as a viewer would see it and as large as the model's input: uint8, or floats from 0 to 1. A normalised tensor
            is refused. Default: :meth:`picture`.
        ax : matplotlib.axes.Axes, optional
            Draw the pixel map there, and nothing else.
        top : int, default: 3
            Number of filters whose maps are drawn, those with the scores largest in size.
        title : str, optional
            Default: the explained output, what it is against and how much of it is conserved; the total where the output is unknown.
        bank : FilterBank, optional
            The bank behind the scores: with it, the kernels are drawn beside their names.
        classes : sequence of str, optional
            The names of the classes, for title and caption.
        smooth : float or bool, optional
            Pixels, the standard deviation of a Gaussian for the maps; 0: as sharp as they are. Default: the stride of the network's stem, if
            that is above 1, so that no grid of dots hides the object. Sums are kept.
        dpi : float, default: 150
        width : {"column", "page"} or float, optional
            3.5 or 7.2 inches, for print, or so many. Default: 12.4.
        caption : bool or str, default: True
            Whether the summary stands below, without its lines on filters; or another text.

        Returns
        -------
        figure : matplotlib.figure.Figure
            Apart from pyplot; a notebook shows it. That of ``ax``, if it is given.

        Examples
        --------
        >>> explanation = Explanation(torch.ones(1, 1, 2, 4, 4), torch.ones(1, 1, 4, 4), torch.tensor([32.0]), (1,), ("gray",),
        ...                           ("sobel_x", "sobel_y"))
        >>> explanation.plot(classes=["cat", "dog"]).get_suptitle()
        'dog: 32.00, 100.0 % conserved'
        """
        from edgefilter.plots.explanation import plot_explanation

        return plot_explanation(
            self,
            image,
            ax=ax,
            top=top,
            title=title,
            bank=bank,
            classes=classes,
            smooth=smooth,
            dpi=dpi,
            width=width,
            caption=caption,
        )

    def to_html(
        self,
        path: str | Path,
        image: Any = None,
        *,
        class_names: Sequence[str] | None = None,
        bank: FilterBank | None = None,
        title: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write a report: one HTML file with everything in it, to look at, to hand round and to print.

        A click on a color, a filter, a group or a pair shows where it mattered. Explanations of the same image with several targets, or with
        ``against``, are one photo with a choice of outputs; other images of the batch are further photos.
        :func:`edgefilter.report.write_report` puts several explanations into one file.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html`` or ``.htm``.
        image : PIL image or array-like, or a list of them, optional
            The picture to show, as in :meth:`plot`; of several photos one for each. Default: ``inputs``.
        class_names : sequence of str, optional
            To name the targets by.
        bank : FilterBank, optional
            The bank behind the scores, whose kernels are drawn. Default: known for presets and complete banks.
        title : str, optional
            Default: what was explained.
        overwrite : bool, default: False
            Whether an existing file may be replaced.

        Returns
        -------
        path : Path

        Raises
        ------
        ValueError
            If the file has another ending, or an argument does not fit.
        FileExistsError
            If the file is there and ``overwrite`` is False.
        FileNotFoundError
            If its folder is not there.

        Examples
        --------
        >>> import tempfile
        >>> response = torch.tensor([1.0, 3.0]).reshape(1, 1, 2, 1, 1)
        >>> explanation = Explanation(response, None, torch.tensor([4.5]), (0,), ("gray",), ("sobel_x", "sobel_y"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     explanation.to_html(f"{folder}/cat.html", class_names=["cat", "dog"]).name
        'cat.html'
        """
        from edgefilter.report.explanations import write_report

        return write_report(
            path, self, image, class_names=class_names, bank=bank, title=title, overwrite=overwrite
        )

    def _seems_absolute(self) -> bool:
        """Say whether no value has a sign and the values of every image are together more than its output."""
        excess = self.total > EXCESS * self.output.abs()
        return len(self) > 0 and bool(excess.all()) and bool((self.response >= 0).all())


def _grouped(by_channel: Tensor, colors: Colors) -> Tensor:
    """Sum responses over the channels of each group, (N, channels, K, H', W') to (N, C, K, H', W')."""
    membership = torch.from_numpy(colors.membership(by_channel.shape[1])).to(by_channel)
    return by_channel if colors.groups is None else torch.einsum("nckhw,cg->ngkhw", by_channel, membership)
