"""Named composites: which relevance rule goes on which operation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn
from zennit.composites import LayerMapComposite
from zennit.core import Composite, Hook, RemovableHandleList
from zennit.layer import Sum
from zennit.types import Activation, AvgPool, BatchNorm, Convolution, Linear

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

from .conserving import (
    ConservingAlphaBeta,
    ConservingBox,
    ConservingEpsilon,
    ConservingGamma,
    ConservingNorm,
    ConservingPositive,
    EpsilonAffine,
)
from .operations import Affine, Spread, TokenLinear, Unsteady
from .rules import Epsilon, Flat, Norm, Pass, WSquare, accelerated
from .twins import FilterBankConv2d

__all__ = ["DEFAULT", "composite_names", "fresh_composite", "get_composite"]

DEFAULT = "calibrated"
STABILIZER = 1e-12
EPSILON = 1e-15  # so small that it only guards divisions by zero


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
    "calibrated": _Recipe(_wsquare, _zplus, ConservingEpsilon),
    "epsilon_plus": _Recipe(_wsquare, _zplus, ConservingEpsilon),
    "epsilon_plus_flat": _Recipe(_flat, _zplus, ConservingEpsilon),
    "epsilon_gamma": _Recipe(_wsquare, _gamma, ConservingEpsilon),
    "epsilon_gamma_box": _Recipe(ConservingBox, _gamma, ConservingEpsilon),
    "epsilon_alpha2_beta1": _Recipe(_wsquare, _alpha2_beta1, ConservingEpsilon),
    "epsilon_alpha2_beta1_flat": _Recipe(_flat, _alpha2_beta1, ConservingEpsilon),
    "epsilon_alpha15_beta05": _Recipe(_wsquare, _alpha15_beta05, ConservingEpsilon),
    "zplus": _Recipe(_wsquare, _zplus, _zplus),
    "alpha15_beta05": _Recipe(_wsquare, _alpha15_beta05, _alpha15_beta05),
    "alpha2_beta1": _Recipe(_wsquare, _alpha2_beta1, _alpha2_beta1),
    "epsilon": _Recipe(_epsilon, _epsilon, _epsilon),
}


def _keeping() -> list[tuple[Any, Hook]]:
    """Return the rules of the other operations where biases and shifts keep their share."""
    norm = Norm(EPSILON)
    return [
        (Affine, EpsilonAffine(EPSILON)),
        (BatchNorm, EpsilonAffine(EPSILON)),
        (Spread, Pass()),
        (Sum, norm),
        (AvgPool, norm),
    ]


def _conserving() -> list[tuple[Any, Hook]]:
    """Return the rules of the other operations where biases and shifts get none."""
    norm = ConservingNorm()
    return [(BatchNorm, Pass()), (Unsteady, ConservingPositive()), (Sum, norm), (AvgPool, norm)]


def composite_names() -> list[str]:
    """Return the names that ``composite=...`` takes; the first is the default.

    Examples
    --------
    >>> composite_names()[:2]
    ['calibrated', 'epsilon_plus']
    """
    return list(RECIPES)


def get_composite(name: str, **options: Any) -> Composite:
    """Return a new Zennit composite by its name.

    Parameters
    ----------
    name : str
        One of :func:`composite_names`. ``calibrated`` (default): the rules of ``epsilon_plus``, to which
        :class:`edgefilter.EdgeFilterAttribution` adds measurements. ``epsilon_plus``: z+ on convolutions, epsilon on
        linear layers, the w-square rule from the filter bank to the pixels. ``..._flat``: pixels of a filter's support
        share equally. ``epsilon_gamma``: gamma 0.25 on convolutions. ``epsilon_gamma_box``: and the z-box rule on the
        bank. ``epsilon_alpha2_beta1``: alpha 2, beta 1 on convolutions; ``epsilon_alpha15_beta05``: alpha 1.5, beta 0.5,
        the best of one pass at filters. ``zplus``, ``alpha2_beta1`` and ``alpha15_beta05``: on linear layers too.
        ``epsilon``: epsilon everywhere, also on the bank. All but ``epsilon`` leave the biases out of the rules, so that
        the relevance adds up to the explained output.
    **options
        ``low`` and ``high`` for ``epsilon_gamma_box``: bounds of the pixels, numbers or tensors (1, C, 1, 1).
        Default: the smallest and largest value of each image and color.

    Returns
    -------
    composite : zennit.core.Composite
        Norm on sums and average pooling, Pass on activations and BatchNorm, the winner takes all on max pooling.

    Raises
    ------
    KeyError
        If the name is unknown.
    TypeError
        If the composite has no such option.

    References
    ----------
    Bach et al., PLOS ONE 10(7), 2015 (epsilon, alpha-beta); Montavon et al., Pattern Recognition 65, 2017 (z+,
    w-square, z-box); Montavon et al., in Explainable AI, 2019 (gamma, composites); Lapuschkin et al., 2019 (flat).

    Examples
    --------
    >>> type(get_composite("epsilon_plus")).__name__
    'LayerMapComposite'
    """
    if name not in RECIPES:
        raise UnknownNameError(
            f"unknown composite {name!r}{closest(name, RECIPES)} composite_names() lists all {len(RECIPES)}."
        )
    recipe = RECIPES[name]
    if options and (recipe.bank is not ConservingBox or set(options) - {"low", "high"}):
        raise TypeError(
            f"composite {name!r} must get options it has; got {', '.join(options)}. "
            "Only epsilon_gamma_box has any: low and high."
        )
    return LayerMapComposite(
        [
            (FilterBankConv2d, recipe.bank(**options)),
            (Convolution, recipe.convolution()),
            (TokenLinear, recipe.convolution()),
            (Linear, recipe.linear()),
            (Activation, Pass()),
            *(_keeping() if name == "epsilon" else _conserving()),
        ]
    )


def fresh_composite(composite: Composite | str | None, *, fast: bool = True) -> Composite:
    """Return a composite that is registered nowhere, so that one given by the user can serve several calls at once.

    Parameters
    ----------
    composite : zennit.core.Composite or str, optional
    fast : bool, default: True
        Whether Zennit's rules in it are replaced by ours that give the same numbers faster.

    Raises
    ------
    KeyError
        If a name is unknown.
    TypeError
        If it is neither a composite nor a name.
    """
    if composite is None or isinstance(composite, str):
        return get_composite(composite or DEFAULT)
    if not isinstance(composite, Composite):
        raise TypeError(
            f"composite must be a Zennit composite, a name or None; got {type(composite).__name__}. "
            "composite_names() lists the names."
        )
    fresh = copy.copy(composite)
    fresh.handles = RemovableHandleList()
    fresh.hook_refs = type(composite.hook_refs)()
    if fast:
        fresh.module_map = _accelerating(composite.module_map)
    return fresh


def _accelerating(module_map: Callable[..., Hook | None]) -> Callable[..., Hook | None]:
    def fast_map(ctx: dict[str, Any], name: str, module: nn.Module) -> Hook | None:
        template = module_map(ctx, name, module)
        return None if template is None else accelerated(template, module)

    return fast_map
