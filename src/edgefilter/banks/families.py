"""The families of the catalogue, each built from its formula or its integers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from .kernel import Array, Kernel
from .products import product_kernels
from .rows import binomial_rows
from .sources import (
    BINOMIAL,
    DOG,
    FARID,
    FOLKLORE,
    FREI_CHEN,
    GABOR,
    KIRSCH,
    LAWS,
    LAWS_7,
    MARR,
    PASCAL,
    PREWITT,
    ROBERTS,
    ROBINSON,
    SCHARR,
    SOBEL,
    STEERABLE,
    TEXTBOOK,
    UNSHARP,
    entry,
)

__all__ = [
    "COMPASS",
    "blurs",
    "compass_sets",
    "frei_chen",
    "gabors",
    "gaussian_derivatives",
    "gradients",
    "haar",
    "laplacians",
    "laws",
    "lines_and_effects",
    "mexican_hats",
    "products",
    "roberts",
    "sharpeners",
]

COMPASS = ("n", "nw", "w", "sw", "s", "se", "e", "ne")  # counter-clockwise, as the rings below are read


def _pair(
    family: str, smooth: Sequence[float], edge: Sequence[float], source: str, notes: str, end: str = ""
) -> list[Kernel]:
    """Return the x and y derivative of one smoothing and one edge vector."""
    return [
        entry(f"{family}_x{end}", np.outer(smooth, edge), family, source, notes),
        entry(f"{family}_y{end}", np.outer(edge, smooth), family, source, notes),
    ]


def _sobel_set(size: int) -> Iterator[Kernel]:
    rows, end = binomial_rows(size), "" if size == 3 else f"_{size}x{size}"
    gain = f"divide by {2 ** (2 * size - 3)} for unit slope"
    for axes, (p, q), what in (
        ("x", (1, 0), f"answers to vertical edges, + for dark->bright rightwards; {gain}"),
        ("y", (0, 1), f"answers to horizontal edges, + for dark->bright downwards; {gain}"),
        ("xx", (2, 0), "2nd x derivative, OpenCV Sobel(dx=2,dy=0)"),
        ("yy", (0, 2), "2nd y derivative, OpenCV Sobel(dx=0,dy=2)"),
        ("xy", (1, 1), "mixed derivative, OpenCV Sobel(dx=1,dy=1)"),
    ):
        source = SOBEL if size == 3 and p + q == 1 else BINOMIAL
        yield entry(f"sobel_{axes}{end}", np.outer(rows[q], rows[p]), "sobel", source, what)


def gradients() -> Iterator[Kernel]:
    """Yield first derivatives: Sobel, Prewitt, Scharr, Farid and their relatives."""
    edge, root2 = (-1, 0, 1), math.sqrt(2)
    for size in (3, 5, 7):
        yield from _sobel_set(size)
    diagonal = "brighter towards the lower {} (gradient at {} degrees, y down)"
    for family, ring, source in (("sobel", _ROBINSON_RING, ROBINSON), ("prewitt", _PREWITT_RING, PREWITT)):
        yield entry(f"{family}_d45", _ring(ring, 5), family, source, diagonal.format("right", 45))
        yield entry(f"{family}_d135", _ring(ring, 3), family, source, diagonal.format("left", 135))
    yield from _pair("prewitt", (1, 1, 1), edge, PREWITT, "/6 for unit slope; skimage divides by 3")
    yield from _pair("scharr", (3, 10, 3), edge, SCHARR, "/32 for unit slope; skimage divides by 16")
    optimum = "the 8-bit optimum (47,162,47)/256; /512 for unit slope; not the library one"
    yield from _pair("scharr", (47, 162, 47), edge, SCHARR, optimum, "_47_162")
    for kernel in _pair("central", (0, 1, 0), edge, "central difference", "numpy.gradient: /2 for slope"):
        yield replace(kernel, family="difference")
    for kernel in _pair("isotropic", (1, root2, 1), edge, FREI_CHEN, "Frei-Chen edge mask un-normalised"):
        yield replace(kernel, family="frei_chen")
    # Farid & Simoncelli 2004, Table 1, rows 3 and 4; the digits beyond the paper's six are scikit-image's
    smooth = (0.0376593171958126, 0.249153396177344, 0.426374573253687, 0.249153396177344, 0.0376593171958126)
    slope = (-0.109603762960254, -0.276690988455557, 0, 0.276690988455557, 0.109603762960254)
    notes = "near unit slope; digits beyond the paper's six are skimage's"
    yield from _pair("farid", smooth, slope, FARID, notes)


def roberts() -> Iterator[Kernel]:
    """Yield the Roberts cross, as published and in a 3x3 support."""
    for angle, rows, side in ((45, [[-1, 0], [0, 1]], "right"), (135, [[0, -1], [1, 0]], "left")):
        notes = f"brighter towards the lower {side}; centred half a pixel right and down"
        yield entry(f"roberts_d{angle}", rows, "roberts", ROBERTS, notes)
        padded = np.pad(rows, ((1, 0), (1, 0)))  # where skimage.filters.roberts_pos_diag, _neg_diag have it
        yield entry(f"roberts_d{angle}_3x3", padded, "roberts", ROBERTS, notes)


# the eight neighbours of the kernel that answers to a bright north side, counter-clockwise from the north
_KIRSCH_RING = (5, 5, -3, -3, -3, -3, -3, 5)
_ROBINSON_RING = (2, 1, 0, -1, -2, -1, 0, 1)
_PREWITT_RING = (1, 1, 0, -1, -1, -1, 0, 1)
_COMPASS_RING = (1, 1, 1, -1, -1, -1, 1, 1)
_LINE_RING = (-1, -1, 2, -1, -1, -1, 2, -1)  # a horizontal line


def _ring(neighbours: Sequence[float], turns: int, centre: float = 0) -> Array:
    """Set eight neighbours around a centre, turned counter-clockwise by ``turns`` times 45 degrees."""
    n, nw, w, sw, s, se, e, ne = np.roll(neighbours, turns)
    return np.array([[nw, n, ne], [w, centre, e], [sw, s, se]], dtype=np.float64)


def compass_sets() -> Iterator[Kernel]:
    """Yield the sets of eight compass directions: Kirsch, Robinson, Prewitt."""
    bright = "+ when the {} side is brighter (tutorials often name the zero axis instead)"
    for family, ring, centre, source, notes in (
        ("kirsch", _KIRSCH_RING, 0, KIRSCH, "the non-linear operator takes the max of the 8; gain 15"),
        ("robinson", _ROBINSON_RING, 0, ROBINSON, "5-level: turned Sobel; s, se, e, ne are minus the rest"),
        (
            "robinson3",
            _PREWITT_RING,
            0,
            ROBINSON,
            "3-level: turned Prewitt; s, se, e, ne are minus the rest",
        ),
        ("prewitt_compass", _COMPASS_RING, -2, PREWITT, "ImageMagick 'Compass', Mathcad 'compgrad'"),
    ):
        for turns, side in enumerate(COMPASS):
            weight = _ring(ring, turns, centre)
            what = f"{bright.format(side.upper())}; {notes}"
            yield entry(f"{family}_{side}", weight, family, source, what)


def frei_chen() -> Iterator[Kernel]:
    """Yield the nine orthonormal kernels of Frei and Chen."""
    r = math.sqrt(2)
    edge = np.outer([-1, 0, 1], [1, r, 1]) / (2 * r)
    ripple = np.array([[0, -1, r], [1, 0, -1], [-r, 1, 0]]) / (2 * r)
    for name, weight, notes in (
        ("edge_y", edge, "W1 (sign flipped: + downwards): isotropic average gradient"),
        ("edge_x", edge.T, "W2 (sign flipped: + rightwards): isotropic average gradient"),
        ("ripple_1", ripple, "W3: ripple"),
        ("ripple_2", ripple[:, ::-1], "W4: ripple"),
        ("line_1", _ring((1, 0, -1, 0) * 2, 0) / 2, "W5: line, horizontal/vertical (d_yy - d_xx)"),
        ("line_2", np.outer([1, 0, -1], [-1, 0, 1]) / 2, "W6: line, diagonal (= - d_xy)"),
        ("laplace_1", _cross(1, -2, 4) / 6, "W7: discrete Laplacian / spot"),
        ("laplace_2", _cross(-2, 1, 4) / 6, "W8: discrete Laplacian / spot"),
        ("average", np.ones((3, 3)) / 3, "W9: average; the only one with a mean"),
    ):
        notes += "; edge subspace W1-W4, line subspace W5-W8; unit L2 norm, the nine are orthonormal"
        yield entry(f"frei_chen_{name}", weight, "frei_chen", FREI_CHEN, notes)


def _cross(corner: float, side: float, centre: float) -> Array:
    """Return the 3x3 kernel with the symmetry of the square."""
    return _ring((side, corner) * 4, 0, centre)


def laplacians() -> Iterator[Kernel]:
    """Yield the 3x3 Laplacians and the point detector."""
    a = 0.2  # MATLAB's default shape
    for name, weight, source, notes in (
        ("laplacian_4", _cross(0, 1, -4), "five-point Laplacian",
         "centre NEGATIVE; scipy.ndimage.laplace, cv2.Laplacian(ksize=1); skimage.filters.laplace is minus this"),
        ("laplacian_8", _cross(1, 1, -8), "nine-point Laplacian (textbook)", "3 x the Laplacian; kornia divides by 16"),
        ("laplacian_diag", _cross(1, 0, -4), "rotated five-point Laplacian",
         "2 x the Laplacian; twice this = cv2.Laplacian(ksize=3)"),
        ("laplacian_oono_puri", _cross(1, 2, -12) / 4, "Oono & Puri 1987", "isotropic choice gamma=1/2"),
        ("laplacian_mehrstellen", _cross(1, 4, -20) / 6, "Mehrstellen (Collatz 1960)", "error isotropic to 4th order"),
        ("laplacian_fspecial", _cross(a, 1 - a, -4) / (a + 1), "MATLAB fspecial('laplacian', 0.2)",
         "4/(a+1) [a/4 (1-a)/4 a/4; (1-a)/4 -1 ...], a=0.2 (from memory of MathWorks' documentation)"),
        ("point", _cross(-1, -1, 8), TEXTBOOK, "isolated-point / 'outline' mask = -laplacian_8; PIL FIND_EDGES"),
    ):  # fmt: skip
        yield entry(name, weight, "laplacian", source, notes)


def _squares(size: int) -> Array:
    """Return the squared distance of each pixel from the centre."""
    x = np.arange(size) - size // 2
    squares: Array = np.add.outer(x**2, x**2).astype(np.float64)
    return squares


def _gaussian(size: int, sigma: float) -> Array:
    """Return the sampled Gaussian of sum 1."""
    bell = np.exp(-_squares(size) / (2 * sigma**2))
    unit: Array = bell / bell.sum()
    return unit


def mexican_hats() -> Iterator[Kernel]:
    """Yield Laplacians of Gaussians and the difference of two Gaussians."""
    rings = np.array([[0, 0, 1, 0, 0], [0, 1, 2, 1, 0], [1, 2, -16, 2, 1], [0, 1, 2, 1, 0], [0, 0, 1, 0, 0]])
    yield entry("log_5x5_int", rings, "log", MARR, "the integer textbook 'Mexican hat', centre negative")
    for size, sigma in ((5, 0.5), (7, 1.0), (9, 1.4)):
        weight = (_squares(size) - 2 * sigma**2) / sigma**4 * _gaussian(size, sigma)
        notes = f"MATLAB fspecial('log',{size},{sigma}): (x^2+y^2-2s^2)/s^4 G, then the mean subtracted; "
        notes += "centre negative; scipy.ndimage.gaussian_laplace differs slightly (no mean subtraction)"
        yield entry(f"log_{size}x{size}_s{sigma:g}", weight - weight.mean(), "log", MARR, notes)
    notes = "narrow minus wide, ratio 1.6; centre POSITIVE, as skimage.filters.difference_of_gaussians"
    yield entry("dog_7x7_s1", _gaussian(7, 1.0) - _gaussian(7, 1.6), "dog", DOG, notes)


def lines_and_effects() -> Iterator[Kernel]:
    """Yield line detectors and emboss effects."""
    for turns, angle in enumerate((0, 45, 90, 135)):
        notes = f"+ for a bright line drawn at {angle} degrees, counter-clockwise as seen (0 horizontal, 45 = '/')"
        yield entry(f"line_{angle}", _ring(_LINE_RING, turns, 2), "line", TEXTBOOK, notes)
    for turns in range(5, 13):  # from the south-east, the widely copied one
        side, weight = COMPASS[turns % 8], _ring(_ROBINSON_RING, turns, 1)
        notes = f"identity + Sobel towards {side.upper()}; sum 1 (keeps brightness)"
        yield entry(f"emboss_{side}", weight, "emboss", FOLKLORE, notes)
    relief = [[-1, 0, 0], [0, 0, 0], [0, 0, 1]]
    yield entry("emboss_zero_se", relief, "emboss", FOLKLORE, "zero-mean; usually shown with +128")
    notes = "zero-mean, Pillow adds offset 128 and applies the rows bottom-up: this is the kernel that acts"
    relief = [[0, 0, 0], [0, 1, 0], [-1, 0, 0]]
    yield entry("emboss_pil", relief, "emboss", "Pillow ImageFilter.EMBOSS", notes)


def sharpeners() -> Iterator[Kernel]:
    """Yield kernels that sharpen: identity plus edges."""
    a, blur = 0.2, binomial_rows(5)[0] / 16
    for name, weight, source, notes in (
        ("sharpen_4", _cross(0, -1, 5), "identity - laplacian_4 (textbook)", "sum 1"),
        ("sharpen_8", _cross(-1, -1, 9), "identity - laplacian_8 (textbook)", "sum 1; PIL EDGE_ENHANCE_MORE"),
        ("sharpen_pil", _cross(-2, -2, 32) / 16, "Pillow ImageFilter.SHARPEN", "sum 1"),
        ("unsharp_fspecial", _cross(-a, a - 1, a + 5) / (a + 1), "MATLAB fspecial('unsharp', 0.2)",
         "1/(a+1)[-a a-1 -a; a-1 a+5 a-1; -a a-1 -a] (older MATLAB; from memory)"),
        ("unsharp_5x5", 2 * _identity(5) - np.outer(blur, blur), UNSHARP, "amount 1; sum 1"),
    ):  # fmt: skip
        yield entry(name, weight, "sharpen", source, notes)


def _identity(size: int) -> Array:
    return np.pad([[1.0]], size // 2)


def blurs() -> Iterator[Kernel]:
    """Yield averages, binomials, Gaussians and the identity."""
    for k in (3, 5, 7):
        pascal = binomial_rows(k)[0] / 2 ** (k - 1)
        notes = "sum 1; kornia.get_pascal_kernel_2d; anti-aliasing 'blurpool' filter (Zhang 2019)"
        yield entry(f"box_{k}x{k}", np.full((k, k), 1 / k**2), "blur", "moving average", "sum 1; cv2.blur")
        yield entry(f"binomial_{k}x{k}", np.outer(pascal, pascal), "blur", PASCAL, notes)
    for k, sigma in ((3, 0.5), (5, 1.0), (7, 1.0)):
        notes = "sum 1; cv2.getGaussianKernel, fspecial('gaussian')"
        yield entry(f"gaussian_{k}x{k}_s{sigma:g}", _gaussian(k, sigma), "blur", "sampled Gaussian", notes)
    for k in (3, 5, 7):
        yield entry(f"identity_{k}x{k}", _identity(k), "identity", "-", "passes the color channel through")


def laws() -> Iterator[Kernel]:
    """Yield the texture kernels of Laws."""
    signs = dict(zip("leswruo", (1, 1, -1, 1, 1, -1, -1), strict=True))  # S, U, O: centre as printed
    notes = "first letter vertical (column) vector, second letter horizontal (row) vector; "
    notes += "L level, E edge, S spot, W wave, R ripple, U undulation, O oscillation"
    for k in (3, 5, 7):
        vectors = [(f"{c}{k}", signs[c] * row) for c, row in zip(signs, binomial_rows(k), strict=False)]
        for (a, down), (b, across) in itertools.product(vectors, repeat=2):
            source = LAWS_7 if k == 7 else LAWS
            yield entry(f"laws_{a}{b}", np.outer(down, across), "laws", source, notes)


def haar() -> Iterator[Kernel]:
    """Yield the 2x2 Haar wavelets."""
    low, high = binomial_rows(2) / 2
    notes = "2x2, unit L1 norm; x = difference right - left (wavelet 'LH' or 'HL' depending on the book)"
    for name, down, across in (("ll", low, low), ("y", high, low), ("x", low, high), ("xy", high, high)):
        yield entry(f"haar2_{name}", np.outer(down, across), "haar", "A. Haar 1910", notes)


def gaussian_derivatives() -> Iterator[Kernel]:
    """Yield derivatives of a sampled Gaussian."""
    x = np.arange(-3.0, 4.0)
    bell = np.exp(-(x**2) / 2)
    rows = np.array([np.ones(7), x, x**2 - 1]) * bell / bell.sum()  # Hermite polynomials times the Gaussian
    for axes, p, q in (("x", 1, 0), ("y", 0, 1), ("xx", 2, 0), ("xy", 1, 1), ("yy", 0, 2)):
        notes = f"order {p + q} derivative of a sampled Gaussian, sigma 1, scipy.ndimage.gaussian_filter "
        notes += "with radius 3; steerable: cos*gauss_x + sin*gauss_y; 2nd orders keep a small mean"
        weight = np.outer(rows[q], rows[p])
        name, order = f"gauss_{axes}_7x7_s1", p + q  # as a derivative, whatever mean the sampling leaves
        yield entry(name, weight, "gaussian_derivative", STEERABLE, notes, order=order)


def gabors() -> Iterator[Kernel]:
    """Yield Gabor kernels of one wavelength in four directions and two phases."""
    sigma, wavelength = 0.56 * 4, 4  # one octave
    bell = np.exp(-_squares(7) / (2 * sigma**2))
    x = np.arange(-3, 4)
    for angle, step in ((0, (1, 0)), (45, (1, 1)), (90, (0, 1)), (135, (-1, 1))):
        phase = 2 * np.pi / wavelength * np.add.outer(step[1] * x, step[0] * x) / math.hypot(*step)
        raw = bell * np.cos(phase)
        what = f"direction of variation {angle} deg (y down), wavelength 4, sigma 2.24, 7x7"
        for name, weight, notes in (
            ("even_raw", raw, "cosine phase, NOT zero-mean; cv2.getGaborKernel((7,7),2.24,theta,4,1,0)"),
            ("even", raw - bell * (raw.sum() / bell.sum()), "cosine phase, envelope-weighted DC removed"),
            ("odd", bell * np.sin(phase), "sine phase, + for rising; OpenCV's psi=-pi/2 is its negative"),
        ):
            yield entry(f"gabor7_t{angle}_{name}", weight, "gabor", GABOR, f"{notes}; {what}")


def products() -> Iterator[Kernel]:
    """Yield the sets of products of polynomial, cosine and Walsh rows."""
    short = {"krawtchouk": "krawtchouk", "krawtchouk_functions": "krawfun", "gram": "gram", "dct": "dct"}
    for (family, prefix), k in itertools.product(short.items(), (3, 5, 7)):
        yield from product_kernels(family, k, k, f"{prefix}{k}_")
    yield from product_kernels("walsh", 4, 4, "walsh4_")
