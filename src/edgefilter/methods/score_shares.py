"""How much of a model's scores a color or a filter has in groups of images: whether it uses color for one group and not for another."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from edgefilter._checks import closest, counted
from edgefilter.attribution.explanation import Explanation
from edgefilter.errors import UnknownNameError

from .activations import batches_of
from .arguments import whole_number
from .group_ratio import GroupRatio, group_ratio, named_groups

__all__ = ["score_ratio", "shares_of_part"]

Part = str | Sequence[str]


class Explains(Protocol):
    """Makes explanations of images, such as :class:`edgefilter.EdgeFilterAttribution`."""

    def explain(self, inputs: Any, target: Any = None) -> Explanation:
        """Return the scores of a batch."""


def score_ratio(
    groups: Mapping[str, Any],
    part: Part,
    *,
    attribution: Explains | None = None,
    target: Any = None,
    batch_size: int = 32,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int | torch.Generator = 0,
) -> GroupRatio:
    r"""Compare how much of a model's scores a color, a filter or a group of them has in groups of images.

    A model may use color for one group of images and shape for another. Its accuracy does not show that, and activations
    (:func:`activation_ratio`) do not say what differs; the share of the scores does.

    Parameters
    ----------
    groups : mapping of str to Explanation, or to images
        Two groups or more: explanations of the same colors and filters. Or, with ``attribution``, images as
        :func:`activation_ratio` takes them.
    part : str, (kind, group) or sequence of str
        A color (``"red"``), a filter by name or label (``"sobel_x"``), a group of filters (``("order", "edges")``), or several colors or several
        filters, whose shares are added.
    attribution : optional
        Explains the images of groups: an :class:`edgefilter.EdgeFilterAttribution`, or any object with ``explain(images, target)``.
    target : optional
        What to explain of each image, in Captum's forms: an index for all, or ``{group: target}``. A target of a group may be a list or a
        tensor with one entry for each image. Default: the largest output of each image.
    batch_size : int, default: 32
        Images at a time, of a group that is one tensor.
    n_bootstrap : int, default: 1000
    confidence : float, default: 0.95
    seed : int or torch.Generator, default: 0

    Returns
    -------
    found : GroupRatio
        ``ratio``, ``low``, ``high``; ``means`` (of shares, in [0, 1]), ``lows``, ``highs``, ``counts`` by group; ``summary()`` in plain words.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit, or a part is unknown; the message says what does.

    Warns
    -----
    UserWarning
        If a group has one image (no interval), no group has anything of the part (no ratio), or an image has no relevance: it is left out.

    Notes
    -----
    With :math:`R_{np}` the score of color :math:`p` in image :math:`n` of group :math:`g`,

    .. math::

        m_g = \frac{1}{N_g} \sum_n \frac{|R_{np}|}{\sum_q |R_{nq}|} , \qquad \mathrm{ratio} = \frac{\min_g m_g}{\max_g m_g} ,

    and the same for filters, or for the groups of filters of one kind. The sizes of scores count, not their signs: color that speaks against
    the output is used as well. Shares of all colors add up to 1, and so do those of all filters, or of all groups of one kind.

    Choose colors in which the suspicion would show: with ``basis="opponent"`` or ``"luma"``, brightness is apart from color.

    **Cost**: nothing for explanations; else that of ``explain()`` for each image.

    References
    ----------
    The question, of activations: Serna et al., "InsideBias", ICPR 2020, arXiv:2004.06592.

    Examples
    --------
    >>> response = torch.tensor([[1.0, 3.0], [1.0, 1.0]]).reshape(2, 2, 1, 1, 1)
    >>> explanation = Explanation(response, None, torch.ones(2), (0, 0), ("red", "green"), ("sobel_x",))
    >>> found = score_ratio({"day": explanation, "night": explanation}, "red")
    >>> found.means, found.ratio
    ({'day': 0.375, 'night': 0.375}, 1.0)
    """
    whole_number(batch_size, "batch_size")
    named = named_groups(groups)
    if unknown := [name for name in target if name not in named] if isinstance(target, Mapping) else []:
        raise ValueError(
            f"target must have groups as its keys; got {unknown[0]!r}{closest(str(unknown[0]), named)} Write the name as in groups."
        )
    values: dict[str, Tensor] = {}
    for name, group in named.items():
        wanted = target.get(name) if isinstance(target, Mapping) else target
        explained = _explanations(group, name, attribution, wanted, batch_size)
        values[name] = _usable(torch.cat([shares_of_part(one, part).cpu() for one in explained]), name)
    what = part if isinstance(part, str) else " and ".join(_named(explained[0], part))
    return group_ratio(
        values, f"share of {what}", part=what, n_bootstrap=n_bootstrap, confidence=confidence, seed=seed
    )


def shares_of_part(explanation: Explanation, part: Part) -> Tensor:
    """Return the share of a color, a filter or a group of them in the scores of each image.

    Parameters
    ----------
    explanation : Explanation
    part : str, (kind, group) or sequence of str
        As in :func:`score_ratio`.

    Returns
    -------
    shares : Tensor, shape (N,), float64
        In [0, 1]; NaN for an image without any relevance.

    Raises
    ------
    KeyError, TypeError
        If there is no such part, or it is no name.

    Examples
    --------
    >>> response = torch.tensor([[1.0, -3.0]]).reshape(1, 2, 1, 1, 1)
    >>> explanation = Explanation(response, None, torch.ones(1), (0,), ("red", "green"), ("sobel_x",))
    >>> shares_of_part(explanation, "green")
    tensor([0.7500], dtype=torch.float64)
    """
    names = (part,) if isinstance(part, str) else tuple(part) if isinstance(part, Sequence) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"part must be the name of a color or filter, (kind, group) or several names; got {part!r}. Pass for example 'red'."
        )
    if len(names) > len(_named(explanation, names)):
        scores = explanation.group(names[0])
        known, sizes, names = list(scores.names), scores.edge, names[1:]
    elif all(name in explanation.colors for name in names):
        known, sizes = list(explanation.colors), explanation.color
    else:
        known, sizes = list(explanation.filters), explanation.edge
        labels = dict(zip(explanation.filter_labels, explanation.filters, strict=True))
        names = tuple(name if name in known else labels.get(name, name) for name in names)
    for name in names:
        if name not in known:
            _refuse(explanation, part, name)
    sizes = sizes.detach().double().abs()
    chosen = sizes[:, [place for place, name in enumerate(known) if name in names]]
    return chosen.sum(1) / sizes.sum(1)


def _refuse(explanation: Explanation, part: Part, name: str) -> None:
    kinds = {} if isinstance(part, str) or part[0] not in explanation.groups else explanation.groups[part[0]]
    known = list(kinds) or [*explanation.colors, *explanation.filters, *explanation.filter_labels]
    listed = ", ".join(kinds) if kinds else ", ".join(explanation.colors)
    rest = "" if kinds else f"; the filters are {', '.join(explanation.filters[:9])}"
    what = f"group of filters by {part[0]}" if kinds else "color or filter"
    if name in explanation.colors:
        raise UnknownNameError(
            f"part must have colors only, or filters only; got {part!r}. Shares of a color and of a filter do not add up: ask for each alone."
        )
    raise UnknownNameError(
        f"part must be a {what} of the explanations; got {name!r}{closest(name, known)} There are {listed}{rest}."
    )


def _explanations(
    group: Any, name: str, attribution: Explains | None, target: Any, batch_size: int
) -> list[Explanation]:
    """Return the explanations of a group, made if it holds images."""
    if isinstance(group, Explanation):
        return [group]
    if isinstance(group, (list, tuple)) and group and all(isinstance(one, Explanation) for one in group):
        return list(group)
    if attribution is None:
        raise ValueError(
            f"groups must hold explanations where there is no attribution; got {type(group).__name__} in {name!r}. Pass "
            "attribution=EdgeFilterAttribution(model)."
        )
    found, done = [], 0
    for images in batches_of(group, name, batch_size):
        found.append(attribution.explain(images, _piece(target, done, len(images))))
        done += len(images)
    several = isinstance(target, list) or (isinstance(target, Tensor) and target.dim() and len(target) > 1)
    if several and len(target) != done:
        raise ValueError(
            f"target must be one, or one for each of the {counted(done, 'image')} of {name!r}; got {len(target)}. Pass as many as there are."
        )
    return found


def _piece(target: Any, start: int, count: int) -> Any:
    """Return the targets of some images."""
    several = isinstance(target, list) or (isinstance(target, Tensor) and target.dim() and len(target) > 1)
    return target[start : start + count] if several else target


def _usable(shares: Tensor, name: str) -> Tensor:
    """Return the shares of images that have any."""
    usable = shares.isfinite()
    if lost := int((~usable).sum()):
        warnings.warn(
            f"images must have relevance to have shares of it; got {lost} without in {name!r}, which {'is' if lost == 1 else 'are'} left out.",
            UserWarning,
            stacklevel=3,
        )
    return shares[usable]


def _named(explanation: Explanation, part: Sequence[str]) -> Sequence[str]:
    """Return the names in a part: of (kind, group), the group."""
    return part[1:] if len(part) == 2 and part[0] in explanation.groups else part
