"""Named composites: which relevance rule goes on which operation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from zennit.composites import LayerMapComposite
from zennit.core import Composite, Hook
from zennit.layer import Sum
from zennit.types import Activation, AvgPool, BatchNorm, Convolution, Linear

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

from .bounded import BoundedEpsilon, BoundedNorm
from .conserving import (
    ConservingAlphaBeta,
    ConservingBox,
    ConservingGamma,
)
from .rules import Epsilon, Flat, Norm, Pass, WSquare
from .standins import Affine, FilterBankConv2d, FullyConnected, TokenLinear

__all__ = ["DEFAULT", "NamedComposite", "as_composite", "composite_names", "get_composite"]

DEFAULT = "epsilon_plus"
STABILIZER = 1e-12
EPSILON = 0.0  # only divisions by zero are guarded
ATTENTIONS = ("constant", "attnlrp")


class _Recipe(NamedTuple):
    """The rules of a named composite: for the filter bank, other convolutions and linear layers."""

    bank: Callable[..., Hook]
    convolution: Callable[[], Hook]
    linear: Callable[[], Hook]


def _wsquare() -> Hook:
    return WSquare(STABILIZER)


def _flat() -> Hook:
    return Flat(STABILIZER)


def _epsilon() -> Hook:
    return Epsilon(EPSILON)


def _zplus() -> Hook:
    return ConservingAlphaBeta(1.0, 0.0)


def _gamma() -> Hook:
    return ConservingGamma(0.25)


def _alpha2_beta1() -> Hook:
    return ConservingAlphaBeta(2.0, 1.0)


def _alpha15_beta05() -> Hook:
    return ConservingAlphaBeta(1.5, 0.5)


RECIPES = {
    "epsilon_plus": _Recipe(_wsquare, _zplus, BoundedEpsilon),
    "epsilon_plus_flat": _Recipe(_flat, _zplus, BoundedEpsilon),
    "epsilon_gamma": _Recipe(_wsquare, _gamma, BoundedEpsilon),
    "epsilon_gamma_box": _Recipe(ConservingBox, _gamma, BoundedEpsilon),
    "epsilon_alpha2_beta1": _Recipe(_wsquare, _alpha2_beta1, BoundedEpsilon),
    "epsilon_alpha2_beta1_flat": _Recipe(_flat, _alpha2_beta1, BoundedEpsilon),
    "epsilon_alpha15_beta05": _Recipe(_wsquare, _alpha15_beta05, BoundedEpsilon),
    "zplus": _Recipe(_wsquare, _zplus, _zplus),
    "alpha15_beta05": _Recipe(_wsquare, _alpha15_beta05, _alpha15_beta05),
    "alpha2_beta1": _Recipe(_wsquare, _alpha2_beta1, _alpha2_beta1),
    "epsilon": _Recipe(_epsilon, _epsilon, _epsilon),
}


class NamedComposite(LayerMapComposite):  # type: ignore[misc]
    """A composite of this library.

    It also knows operations that are no modules of torch.nn, and keeps the constant of the last affine map out of the
    scores.

    Attributes
    ----------
    attention : {"constant", "attnlrp"}
        What attention weights are: constants, or functions of the image with the rules of Achtibat et al.
    conserves : bool
        Whether constants among the values get no relevance.
    """

    def __init__(
        self, layer_map: list[tuple[Any, Hook]], attention: Literal["constant", "attnlrp"], *, conserves: bool
    ) -> None:
        super().__init__(layer_map)
        self.attention, self.conserves = attention, conserves


def composite_names() -> list[str]:
    """Return the names that ``composite=...`` takes; the first is the default.

    Examples
    --------
    >>> composite_names()[:2]
    ['epsilon_plus', 'epsilon_plus_flat']
    """
    return list(RECIPES)


def get_composite(
    name: str, *, attention: Literal["constant", "attnlrp"] = "constant", **options: Any
) -> Composite:
    r"""Return a new Zennit composite by its name.

    Parameters
    ----------
    name : str
        One of :func:`composite_names`. ``epsilon_plus`` (default): z+ on convolutions, epsilon with a floor on hidden
        linear layers and without one on the last, the w-square rule from the filter bank to the pixels. ``..._flat``: pixels of a filter's support
        share equally. ``epsilon_gamma``: gamma 0.25 on convolutions. ``epsilon_gamma_box``: and the z-box rule on the
        bank. ``epsilon_alpha2_beta1``: alpha 2, beta 1 on convolutions; ``epsilon_alpha15_beta05``: alpha 1.5, beta 0.5,
        the best of one pass at filters. ``zplus``, ``alpha2_beta1`` and ``alpha15_beta05``: on linear layers too.
        ``epsilon``: epsilon everywhere, also on the bank. All except ``epsilon`` leave the biases out of the rules, so
        that the relevance adds up to the explained output.
    attention : {"constant", "attnlrp"}, default: "constant"
        ``"constant"``: attention weights are held constant, and the values they average get the relevance.
        ``"attnlrp"``: products of queries, keys and values share equally, and the softmax gets its own rule.
    **options
        ``low`` and ``high`` for ``epsilon_gamma_box``: bounds of the pixels, numbers or tensors (1, C, 1, 1).
        Default: the smallest and largest value of each image and color.

    Returns
    -------
    composite : zennit.core.Composite
        Norm with a floor on sums and average pooling, Pass on activations and BatchNorm, the winner takes all on max pooling.

    Raises
    ------
    KeyError
        If the name is unknown.
    TypeError
        If the composite has no such option.
    ValueError
        If ``attention`` is unknown.

    Notes
    -----
    With the contributions :math:`z_{ij} = a_i w_{ij}` of inputs :math:`i` to a unit :math:`j`, each rule hands down

    .. math::

        R_i = \sum_j \frac{s_{ij}}{\sum_{i'} s_{i'j}} R_j

    with the shares :math:`s_{ij} = z_{ij}` (epsilon), :math:`z_{ij}^+` (z+), :math:`z_{ij} + \gamma z_{ij}^{\pm}` by the sign of the unit
    (gamma), :math:`w_{ij}^2` (w-square), :math:`1` (flat), and :math:`z_{ij} - l_i w_{ij}^+ - h_i w_{ij}^-` for pixels between
    :math:`l_i` and :math:`h_i` (z-box). Alpha-beta takes :math:`\alpha` times the shares :math:`z_{ij}^+` minus :math:`\beta` times the shares
    :math:`z_{ij}^-`.

    References
    ----------
    Bach et al., PLOS ONE 10(7), 2015 (epsilon, alpha-beta); Montavon et al., Pattern Recognition 65, 2017 (z+,
    w-square, z-box); Montavon et al., in Explainable AI, 2019 (gamma, composites); Lapuschkin et al., 2019 (flat);
    Achtibat et al., "AttnLRP", ICML 2024.

    Examples
    --------
    >>> type(get_composite("epsilon_plus")).__name__
    'NamedComposite'
    """
    if name not in RECIPES:
        gone = (
            " It was the default of version 0.1 and is removed; use 'epsilon_plus'."
            if name == "calibrated"
            else ""
        )
        raise UnknownNameError(
            f"unknown composite {name!r}{closest(name, RECIPES)} composite_names() lists all {len(RECIPES)}.{gone}"
        )
    if attention not in ATTENTIONS:
        raise ValueError(
            f"attention must be one of {', '.join(ATTENTIONS)}; got {attention!r}"
            f"{closest(str(attention), ATTENTIONS)}"
        )
    recipe = RECIPES[name]
    if options and (recipe.bank is not ConservingBox or set(options) - {"low", "high"}):
        raise TypeError(
            f"composite {name!r} must get options it has; got {', '.join(options)}. "
            "Only epsilon_gamma_box has any: low and high."
        )
    return NamedComposite(
        [
            (FilterBankConv2d, recipe.bank(**options)),
            (FullyConnected, recipe.linear()),
            ((Convolution, TokenLinear), recipe.convolution()),
            (Linear, recipe.linear()),
            (Activation, Pass()),
            *(_keeping() if name == "epsilon" else _conserving()),
        ],
        attention,
        conserves=name != "epsilon",
    )


def _keeping() -> list[tuple[Any, Hook]]:
    """Return the rules of the other operations where biases and shifts keep their share."""
    return [((Affine, BatchNorm), Epsilon(EPSILON)), ((Sum, AvgPool), Norm(EPSILON))]


def _conserving() -> list[tuple[Any, Hook]]:
    """Return the rules of the other operations where biases and shifts get none."""
    return [((Affine, BatchNorm), Pass()), ((Sum, AvgPool), BoundedNorm())]


@functools.cache
def _named(name: str) -> Composite:
    """Return the composite of a name, which no run changes: it is made once."""
    return get_composite(name)


def as_composite(composite: Composite | str | None) -> Composite:
    """Return a composite given by itself, by its name, or by None for the default.

    Raises
    ------
    KeyError
        If a name is unknown.
    TypeError
        If it is neither a composite nor a name.
    """
    if composite is None or isinstance(composite, str):
        return _named(DEFAULT if composite is None else composite)
    if not isinstance(composite, Composite):
        raise TypeError(
            f"composite must be a Zennit composite, a name or None; got {type(composite).__name__}. "
            "composite_names() lists the names."
        )
    return composite
