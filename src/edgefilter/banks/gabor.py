"""Gabor kernels of any orientations, scales and phases."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from edgefilter._checks import is_number

from .kernel import Array, Kernel
from .sources import GABOR, entry

__all__ = ["gabor_kernels", "named_gabor"]

FIRST = 4.0  # pixels: the wavelength of the finest scale; each next one is longer by half an octave
SIGMA = 0.56  # of the wavelength: 3 sqrt(log(2) / 2) / pi is a bandwidth of one octave at half height
ASPECT = 0.5  # Petkov & Kruizinga 1997 (from memory): across the direction, the envelope is twice as long
# Of the wavelength: with 2, the energy of a pair changes by 6 % with the phase of a grating, with 2.5 by 3 %, with 3 no less.
EXTENT = 2.5
PHASES = ("even", "odd")
_NAME = re.compile(r"gabor_w([\d.]+)_t([\d.]+)_(even|odd)")
SHORTEST = (
    2.5  # pixels: of shorter waves, pixels see too little to tell a direction; at 2 an odd kernel is zero
)


def gabor_kernels(
    orientations: int | Sequence[float] = 4,
    scales: int | Sequence[float] = 2,
    phases: str | Sequence[str] = PHASES,
    *,
    sigma: float = SIGMA,
    aspect: float = ASPECT,
    extent: float = EXTENT,
) -> list[Kernel]:
    r"""Return the kernels of ``get_bank("gabor", ...)``: models of simple cells in the visual cortex.

    With :math:`u` along the direction :math:`\theta` in which the kernel changes and :math:`v` across it,

    .. math::

        g(x, y) = e^{-(u^2 + \gamma^2 v^2) / 2 \sigma^2} \cos(2 \pi u / \lambda)
        \qquad u = x \cos\theta + y \sin\theta, \quad v = y \cos\theta - x \sin\theta

    within a disc as wide as the support, with :math:`\sin` for the odd phase. The even kernels lose their mean, weighted by the envelope;
    then all have unit Euclidean norm.

    Parameters
    ----------
    orientations : int or sequence of float, default: 4
        How many directions of change, evenly spaced from 0 to below 180 degrees: 0 is to the right (vertical edges), 90 down. Or the
        directions themselves in degrees.
    scales : int or sequence of float, default: 2
        How many wavelengths, from 4 pixels by half octaves: 4, 5.657, 8, ... Or the wavelengths themselves in pixels, from 2.5. Both
        wavelengths and directions are rounded to the digits that the names have.
    phases : {"even", "odd"} or sequence of them, default: ("even", "odd")
        ``"even"`` kernels answer to lines, positive for bright ones; ``"odd"`` ones to edges, positive for brighter in the direction. Both
        together make a quadrature pair.
    sigma : float, default: 0.56
        :math:`\sigma / \lambda`, width of the envelope in wavelengths; 0.56 has a bandwidth of one octave.
    aspect : float, default: 0.5
        :math:`\gamma`, width of the envelope along the direction over that across it: 1 for a round one.
    extent : float, default: 2.5
        Width of the support in wavelengths, rounded to the nearest odd number of pixels.

    Returns
    -------
    kernels : list of Kernel
        Such as ``gabor_w4_t45_even``, ``scales * orientations * phases`` of them in this order, each on a support of its own. The groups of
        their bank by orientation and by scale are those that were asked for.

    Raises
    ------
    ValueError
        If an option is out of its range.

    Notes
    -----
    Measured with up to 24 orientations by 6 scales: of all pairs, the one that was made for a grating's direction and wavelength answers
    with the highest energy, 1.14 times the amplitude of the next or more. With the phase of the grating this energy changes by 3 %.

    References
    ----------
    Petkov & Kruizinga, "Computational models of visual neurons specialised in the detection of periodic and aperiodic oriented visual
    stimuli", Biological Cybernetics 76, 1997: one octave, :math:`\gamma = 0.5`. With ``sigma=0.8, aspect=0.3, extent=2`` and wavelengths of
    3.5, 4.6, 5.6, 6.8 pixels, they are those of HMAX: :class:`edgefilter.methods.HMAXFront`.

    Examples
    --------
    >>> [kernel.name for kernel in gabor_kernels(orientations=2, scales=(4, 8), phases="odd")]
    ['gabor_w4_t0_odd', 'gabor_w4_t90_odd', 'gabor_w8_t0_odd', 'gabor_w8_t90_odd']
    >>> from edgefilter import get_bank
    >>> bank = get_bank("gabor", orientations=6)
    >>> list(bank.groups("orientation")), list(bank.groups("scale"))
    (['0 deg', '30 deg', '60 deg', '90 deg', '120 deg', '150 deg'], ['4 pixels', '5.657 pixels'])
    """
    angles, waves, chosen = _angles(orientations), _wavelengths(scales), _phases(phases)
    shape = [
        _positive(value, name) for value, name in ((sigma, "sigma"), (aspect, "aspect"), (extent, "extent"))
    ]
    return list(itertools.starmap(_kernel, itertools.product(waves, angles, chosen, [shape])))


def named_gabor(name: str) -> Kernel | None:
    """Return the kernel of this name, with the envelope that is the default; None for a name of another kind.

    Examples
    --------
    >>> named_gabor("gabor_w4_t45_even"), named_gabor("gabor_w4_t45")
    (Kernel('gabor_w4_t45_even', 11x11, family='gabor'), None)
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    waves, angle, phase = match.groups()
    found = gabor_kernels([float(angle)], [float(waves)], phase)[0]
    return found if found.name == name else None


def _kernel(wavelength: float, angle: float, phase: str, shape: Sequence[float]) -> Kernel:
    sigma, aspect, extent = shape
    weight = _weight(wavelength, angle, phase, shape)
    what = "cosine phase, envelope-weighted DC removed" if phase == "even" else "sine phase, + for rising"
    notes = f"{what}; direction of variation {angle:g} deg (y down), wavelength {wavelength:.4g}, sigma {sigma * wavelength:.4g}, "
    notes += f"aspect {aspect:.4g}, within a disc of {extent:.4g} wavelengths; unit L2 norm"
    name = f"gabor_w{wavelength:.4g}_t{angle:g}_{phase}"
    order = 2 if phase == "even" else 1  # whatever rounding leaves
    return entry(name, weight, "gabor", GABOR, notes, order=order, made_for=(angle, wavelength))


def _weight(wavelength: float, angle: float, phase: str, shape: Sequence[float]) -> Array:
    sigma, aspect, extent = shape
    half = max(int(extent * wavelength / 2), 1)  # 2 half + 1 is the odd number nearest to the extent
    x = np.arange(-half, half + 1.0)
    cosine, sine = _exact(math.cos, angle), _exact(math.sin, angle)
    along = x[None, :] * cosine + x[:, None] * sine
    across = x[:, None] * cosine - x[None, :] * sine
    bell = np.exp(-(along**2 + (aspect * across) ** 2) / (2 * (sigma * wavelength) ** 2))
    bell[x[:, None] ** 2 + x[None, :] ** 2 > (half + 0.5) ** 2] = 0  # a disc: all directions see as much
    turn = 2 * np.pi * along / wavelength
    wave = bell * (np.cos(turn) if phase == "even" else np.sin(turn))
    if phase == "even":
        wave -= bell * (wave.sum() / bell.sum())
    unit: Array = wave / np.linalg.norm(wave)
    return unit


def _exact(function: Callable[[float], float], angle: float) -> float:
    """Return a sine or cosine of degrees with exact zeros on the axes."""
    found = function(math.radians(angle))
    return 0.0 if abs(found) < 1e-15 else found


def _angles(orientations: int | Sequence[float]) -> list[float]:
    if (
        isinstance(orientations, (int, np.integer))
        and not isinstance(orientations, bool)
        and orientations >= 1
    ):
        return [round(180 * step / int(orientations), 2) for step in range(orientations)]
    given = _numbers(orientations)
    turned = [round(angle, 2) % 180 for angle in given if math.isfinite(angle)]
    if not given or len(set(turned)) < len(given):
        raise ValueError(
            "orientations must be a whole number of at least 1, or different directions in degrees, which repeat after 180; "
            f"got {orientations!r}. Pass for example orientations=4 or orientations=(0, 30, 90)."
        )
    return turned


def _wavelengths(scales: int | Sequence[float]) -> list[float]:
    if isinstance(scales, (int, np.integer)) and not isinstance(scales, bool) and scales >= 1:
        return [_four_digits(FIRST * 2 ** (step / 2)) for step in range(scales)]
    given = _numbers(scales)
    found = [_four_digits(waves) for waves in given if SHORTEST <= waves < math.inf]
    if not given or len(set(found)) < len(given):
        raise ValueError(
            f"scales must be a whole number of at least 1, or different wavelengths in pixels, each at least {SHORTEST}; "
            f"got {scales!r}. Pass for example scales=2 or scales=(4, 8)."
        )
    return found


def _four_digits(number: float) -> float:
    return float(f"{number:.4g}")


def _phases(phases: str | Sequence[str]) -> list[str]:
    given = [phases] if isinstance(phases, str) else list(phases) if isinstance(phases, Iterable) else []
    if not given or not set(given) <= set(PHASES) or len(set(given)) < len(given):
        raise ValueError(
            f"phases must be 'even', 'odd' or both; got {phases!r}. Leave it out for both: quadrature pairs."
        )
    return given


def _positive(value: float, name: str) -> float:
    if not is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number; got {value!r}. Leave it out for the default.")
    return float(value)


def _numbers(given: object) -> list[float]:
    """Return a sequence of numbers, or nothing if it is none."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        return []
    listed = list(given)
    real = all(map(is_number, listed))
    return [float(one) for one in listed] if real else []
