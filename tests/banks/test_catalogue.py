"""Every kernel of the catalogue against SciPy, scikit-image, OpenCV, Pillow or its definition, and its laws."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageFilter
from scipy import fft, linalg, ndimage, signal
from skimage import filters

import oracles
from edgefilter.banks.catalogue import get_kernel, kernel_names
from edgefilter.banks.families import COMPASS
from edgefilter.banks.kernel import Kernel
from edgefilter.banks.rows import binomial_rows, dct_rows, gram_rows, krawtchouk_function_rows

R = math.sqrt(2)
RESEARCH = Path(__file__).parents[3] / "shared" / "research" / "kernels.json"
PRODUCT_SIZES = (3, 5, 7)


# --- one dictionary per source: name -> weight, none of it from edgefilter -------------------------------


def of_scipy():
    def gaussian(size, sigma, order=(0, 0)):
        return oracles.kernel_of(lambda i: ndimage.gaussian_filter(i, sigma, order, radius=size // 2), size)

    def hat(size, sigma):
        weight = gaussian(size, sigma, (2, 0)) + gaussian(size, sigma, (0, 2))
        return weight - weight.mean()

    cases = {
        "sobel_x": oracles.kernel_of(lambda i: ndimage.sobel(i, axis=1), 3),
        "sobel_y": oracles.kernel_of(lambda i: ndimage.sobel(i, axis=0), 3),
        "prewitt_x": oracles.kernel_of(lambda i: ndimage.prewitt(i, axis=1), 3),
        "prewitt_y": oracles.kernel_of(lambda i: ndimage.prewitt(i, axis=0), 3),
        "laplacian_4": oracles.kernel_of(ndimage.laplace, 3),
        "dog_7x7_s1": gaussian(7, 1.0) - gaussian(7, 1.6),
        "central_x": oracles.kernel_of(lambda i: 2 * np.gradient(i, axis=1), 3),
        "central_y": oracles.kernel_of(lambda i: 2 * np.gradient(i, axis=0), 3),
    }
    for size, sigma in ((5, 0.5), (7, 1.0), (9, 1.4)):
        cases[f"log_{size}x{size}_s{sigma:g}"] = hat(size, sigma)
    for size, sigma in ((3, 0.5), (5, 1.0), (7, 1.0)):
        cases[f"gaussian_{size}x{size}_s{sigma:g}"] = gaussian(size, sigma)
    for axes, order in {"x": (0, 1), "y": (1, 0), "xx": (0, 2), "xy": (1, 1), "yy": (2, 0)}.items():
        cases[f"gauss_{axes}_7x7_s1"] = gaussian(7, 1.0, order)
    for size in PRODUCT_SIZES:
        cases[f"box_{size}x{size}"] = oracles.kernel_of(lambda i, k=size: ndimage.uniform_filter(i, k), size)
        cases[f"identity_{size}x{size}"] = oracles.kernel_of(lambda i: ndimage.uniform_filter(i, 1), size)
        rows = fft.dct(np.eye(size), norm="ortho", axis=0) * (-1.0) ** np.arange(size)[:, None]
        cases |= outer_products(rows, f"dct{size}_u{{}}_v{{}}")
    walsh = linalg.hadamard(4)[[0, 2, 3, 1]] / 2
    return cases | outer_products(walsh * np.sign(walsh[:, -1:]), "walsh4_s{}_t{}")


def outer_products(rows, name):
    orders = range(len(rows))
    return {name.format(p, q): np.outer(rows[q], rows[p]) for p, q in product(orders, orders)}


def of_skimage():
    cases = {}
    for family, gain in (("sobel", 4), ("prewitt", 3), ("scharr", 16), ("farid", 1)):
        size = 5 if family == "farid" else 3
        for axis, edge in (("x", "v"), ("y", "h")):
            function = getattr(filters, f"{family}_{edge}")
            cases[f"{family}_{axis}"] = oracles.kernel_of(lambda i, f=function, g=gain: g * f(i), size)
    cases["roberts_d45_3x3"] = oracles.kernel_of(filters.roberts_pos_diag, 3)
    cases["roberts_d135_3x3"] = oracles.kernel_of(filters.roberts_neg_diag, 3)
    cases["roberts_d45"] = cases["roberts_d45_3x3"][1:, 1:]
    cases["roberts_d135"] = cases["roberts_d135_3x3"][1:, 1:]
    cases["laplacian_4"] = -oracles.kernel_of(filters.laplace, 3)
    for angle in (0, 45, 90, 135):
        sigma = 0.56 * 4
        full = filters.gabor_kernel(1 / 4, np.deg2rad(angle), sigma_x=sigma, sigma_y=sigma, n_stds=5)
        centre = full.shape[0] // 2
        inside = full[centre - 3 : centre + 4, centre - 3 : centre + 4] * 2 * np.pi * sigma**2
        cases[f"gabor7_t{angle}_even_raw"], cases[f"gabor7_t{angle}_odd"] = inside.real, inside.imag
    return cases


def of_opencv():
    def sobel(p, q, size):
        return oracles.kernel_of(lambda i: cv2.Sobel(i, cv2.CV_64F, p, q, ksize=size), size)

    cases = {
        "scharr_x": oracles.kernel_of(lambda i: cv2.Scharr(i, cv2.CV_64F, 1, 0), 3),
        "scharr_y": oracles.kernel_of(lambda i: cv2.Scharr(i, cv2.CV_64F, 0, 1), 3),
        "laplacian_4": oracles.kernel_of(lambda i: cv2.Laplacian(i, cv2.CV_64F, ksize=1), 3),
        "laplacian_diag": oracles.kernel_of(lambda i: cv2.Laplacian(i, cv2.CV_64F, ksize=3) / 2, 3),
    }
    for size in PRODUCT_SIZES:
        end = "" if size == 3 else f"_{size}x{size}"
        for axes, (p, q) in {"x": (1, 0), "y": (0, 1), "xx": (2, 0), "yy": (0, 2), "xy": (1, 1)}.items():
            cases[f"sobel_{axes}{end}"] = sobel(p, q, size)
        for p, q in product(range(size), repeat=2):
            if p + q:
                cases[f"krawtchouk{size}_dx{p}_dy{q}"] = sobel(p, q, size)
        cases[f"box_{size}x{size}"] = oracles.kernel_of(lambda i, k=size: cv2.blur(i, (k, k)), size)
    for size in (3, 5):  # sigma 0 means the binomial at these two sizes
        row = cv2.getGaussianKernel(size, 0)
        cases[f"binomial_{size}x{size}"] = row @ row.T
    for angle in (0, 45, 90, 135):
        cases[f"gabor7_t{angle}_even_raw"] = cv2.getGaborKernel((7, 7), 2.24, np.deg2rad(angle), 4, 1, 0)
        cases[f"gabor7_t{angle}_odd"] = -cv2.getGaborKernel((7, 7), 2.24, np.deg2rad(angle), 4, 1, -np.pi / 2)
    return cases


def of_printed_matrices():
    kirsch = [[5, 5, 5], [-3, 0, -3], [-3, -3, -3]]
    level5 = [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]
    level3 = [[1, 1, 1], [0, 0, 0], [-1, -1, -1]]
    mixed = [[1, 1, 1], [1, -2, 1], [-1, -1, -1]]
    relief = [[1, 2, 1], [0, 1, 0], [-1, -2, -1]]
    sets = {
        "kirsch": kirsch,
        "robinson": level5,
        "robinson3": level3,
        "prewitt_compass": mixed,
        "emboss": relief,
    }
    cases = {f"{f}_{s}": oracles.turn(north, i) for f, north in sets.items() for i, s in enumerate(COMPASS)}
    a = 0.2
    return cases | {
        "sobel_d45": [[-2, -1, 0], [-1, 0, 1], [0, 1, 2]],
        "sobel_d135": [[0, -1, -2], [1, 0, -1], [2, 1, 0]],
        "prewitt_d45": [[-1, -1, 0], [-1, 0, 1], [0, 1, 1]],
        "prewitt_d135": [[0, -1, -1], [1, 0, -1], [1, 1, 0]],
        "scharr_x_47_162": [[-47, 0, 47], [-162, 0, 162], [-47, 0, 47]],
        "scharr_y_47_162": [[-47, -162, -47], [0, 0, 0], [47, 162, 47]],
        "isotropic_x": [[-1, 0, 1], [-R, 0, R], [-1, 0, 1]],
        "isotropic_y": [[-1, -R, -1], [0, 0, 0], [1, R, 1]],
        "frei_chen_edge_y": np.divide([[-1, -R, -1], [0, 0, 0], [1, R, 1]], 2 * R),
        "frei_chen_edge_x": np.divide([[-1, 0, 1], [-R, 0, R], [-1, 0, 1]], 2 * R),
        "frei_chen_ripple_1": np.divide([[0, -1, R], [1, 0, -1], [-R, 1, 0]], 2 * R),
        "frei_chen_ripple_2": np.divide([[R, -1, 0], [-1, 0, 1], [0, 1, -R]], 2 * R),
        "frei_chen_line_1": np.divide([[0, 1, 0], [-1, 0, -1], [0, 1, 0]], 2),
        "frei_chen_line_2": np.divide([[-1, 0, 1], [0, 0, 0], [1, 0, -1]], 2),
        "frei_chen_laplace_1": np.divide([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], 6),
        "frei_chen_laplace_2": np.divide([[-2, 1, -2], [1, 4, 1], [-2, 1, -2]], 6),
        "frei_chen_average": np.divide([[1, 1, 1], [1, 1, 1], [1, 1, 1]], 3),
        "laplacian_8": [[1, 1, 1], [1, -8, 1], [1, 1, 1]],
        "laplacian_oono_puri": [[0.25, 0.5, 0.25], [0.5, -3, 0.5], [0.25, 0.5, 0.25]],
        "laplacian_mehrstellen": np.divide([[1, 4, 1], [4, -20, 4], [1, 4, 1]], 6),
        "laplacian_fspecial": np.multiply(
            [[a / 4, (1 - a) / 4, a / 4], [(1 - a) / 4, -1, (1 - a) / 4], [a / 4, (1 - a) / 4, a / 4]],
            4 / (a + 1),
        ),
        "point": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
        "log_5x5_int": [
            [0, 0, 1, 0, 0],
            [0, 1, 2, 1, 0],
            [1, 2, -16, 2, 1],
            [0, 1, 2, 1, 0],
            [0, 0, 1, 0, 0],
        ],
        "line_0": [[-1, -1, -1], [2, 2, 2], [-1, -1, -1]],
        "line_45": [[-1, -1, 2], [-1, 2, -1], [2, -1, -1]],
        "line_90": [[-1, 2, -1], [-1, 2, -1], [-1, 2, -1]],
        "line_135": [[2, -1, -1], [-1, 2, -1], [-1, -1, 2]],
        "emboss_zero_se": [[-1, 0, 0], [0, 0, 0], [0, 0, 1]],
        "emboss_pil": [[0, 0, 0], [0, 1, 0], [-1, 0, 0]],
        "sharpen_4": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
        "sharpen_8": [[-1, -1, -1], [-1, 9, -1], [-1, -1, -1]],
        "sharpen_pil": np.divide([[-2, -2, -2], [-2, 32, -2], [-2, -2, -2]], 16),
        "unsharp_fspecial": np.divide([[-a, a - 1, -a], [a - 1, a + 5, a - 1], [-a, a - 1, -a]], a + 1),
        "unsharp_5x5": 2 * oracles.embed([[1]], 5, 5) - np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256,
        "binomial_7x7": np.outer([1, 6, 15, 20, 15, 6, 1], [1, 6, 15, 20, 15, 6, 1]) / 4096,
        "haar2_ll": np.divide([[1, 1], [1, 1]], 4),
        "haar2_x": np.divide([[-1, 1], [-1, 1]], 4),
        "haar2_y": np.divide([[-1, -1], [1, 1]], 4),
        "haar2_xy": np.divide([[1, -1], [-1, 1]], 4),
    }


LAWS_VECTORS = {  # as printed by Laws 1980 (3 and 5) and in HALCON's texture_laws (7)
    3: {"l": [1, 2, 1], "e": [-1, 0, 1], "s": [-1, 2, -1]},
    5: {"l": [1, 4, 6, 4, 1], "e": [-1, -2, 0, 2, 1], "s": [-1, 0, 2, 0, -1], "w": [-1, 2, 0, -2, 1],
        "r": [1, -4, 6, -4, 1]},
    7: {"l": [1, 6, 15, 20, 15, 6, 1], "e": [-1, -4, -5, 0, 5, 4, 1], "s": [-1, -2, 1, 4, 1, -2, -1],
        "w": [-1, 0, 3, 0, -3, 0, 1], "r": [1, -2, -1, 4, -1, -2, 1], "u": [1, -4, 5, 0, -5, 4, -1],
        "o": [-1, 6, -15, 20, -15, 6, -1]},
}  # fmt: skip


def of_formulas():
    cases = {}
    for size in PRODUCT_SIZES:
        rows = np.array([oracles.polynomial(p, size) for p in range(size)], dtype=float)
        spin = spin_rows(size)
        cases |= outer_products(rows, f"krawtchouk{size}_dx{{}}_dy{{}}")
        cases |= outer_products(spin, f"krawfun{size}_dx{{}}_dy{{}}")
        cases |= outer_products(oracles.gram_schmidt(size), f"gram{size}_dx{{}}_dy{{}}")
        for (a, down), (b, across) in product(LAWS_VECTORS[size].items(), repeat=2):
            cases[f"laws_{a}{size}{b}{size}"] = np.outer(down, across)
    for angle in (0, 45, 90, 135):
        bell, wave = gabor(angle)
        cases[f"gabor7_t{angle}_even"] = bell * wave - bell * (bell * wave).sum() / bell.sum()
    return cases


def gabor(angle):
    y, x = np.mgrid[-3:4, -3:4]
    along = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
    return np.exp(-(x**2 + y**2) / (2 * 2.24**2)), np.cos(2 * math.pi * along / 4)


def spin_rows(n):
    """Krawtchouk functions are the rotation of a spin (n - 1) / 2 by a right angle; last entries positive."""
    step = np.sqrt(np.arange(1, n) * np.arange(n - 1, 0, -1)) / 2
    rows = linalg.expm(math.pi / 2 * (np.diag(step, 1) - np.diag(step, -1)))
    return rows * np.sign(rows[:, -1:])


SOURCES = {f.__name__: f() for f in (of_scipy, of_skimage, of_opencv, of_printed_matrices, of_formulas)}
CASES = [
    pytest.param(name, want, id=f"{s}-{name}") for s, cases in SOURCES.items() for name, want in cases.items()
]


@pytest.mark.parametrize(("name", "want"), CASES)
def test_kernel_equals_an_independent_source(name, want):
    """Same sign, same scale, same orientation; integers exactly."""
    got, want = get_kernel(name).weight, np.asarray(want, dtype=float)
    assert_allclose(got, want, rtol=0, atol=2e-15 * max(1, np.abs(want).max()))
    if name.startswith(
        ("sobel", "prewitt", "scharr", "kirsch", "robinson", "krawtchouk", "laws", "line", "roberts")
    ):
        assert_array_equal(got, got.round())


def test_every_kernel_has_an_independent_source():
    covered = {name for cases in SOURCES.values() for name in cases}
    assert set(kernel_names()) - covered == set()
    assert covered - set(kernel_names()) == set()


@pytest.mark.skipif(not RESEARCH.exists(), reason="the research notes lie outside the repository")
def test_catalogue_equals_the_research_notes():
    """All names, weights to 1e-12, families (there with a size) and sources."""
    notes = json.loads(RESEARCH.read_text())
    assert sorted(notes) == sorted(kernel_names())
    for name, entry in notes.items():
        kernel = get_kernel(name)
        assert_allclose(kernel.weight, entry["matrix"], rtol=0, atol=1e-12, err_msg=name)
        assert (kernel.family, kernel.source) == (re.sub(r"_\d$", "", entry["family"]), entry["source"]), name


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("emboss_pil", ImageFilter.EMBOSS),
        ("sharpen_pil", ImageFilter.SHARPEN),
        ("point", ImageFilter.FIND_EDGES),
        ("sharpen_8", ImageFilter.EDGE_ENHANCE_MORE),
    ],
)
def test_kernel_acts_as_the_pillow_filter(name, effect):
    """Pillow rounds and clips to bytes and adds 128 to its emboss; borders left out."""
    image = np.random.default_rng(0).integers(0, 256, (12, 10), dtype=np.uint8)
    got = oracles.correlate(image, get_kernel(name).weight) + (128 if name == "emboss_pil" else 0)
    want = np.asarray(Image.fromarray(image).filter(effect))[1:-1, 1:-1]
    assert_array_equal(np.clip(np.floor(got + 0.5), 0, 255), want)


# --- laws: a second, different oracle for every family ---------------------------------------------------


def zero_mean(kernel):
    assert abs(kernel.weight.sum()) <= 1e-14 * np.abs(kernel.weight).sum()


def blind_to_flat_and_point_symmetric(kernel):
    """A derivative: nothing on a flat image, odd or even under a half turn."""
    zero_mean(kernel)
    half_turn = kernel.weight[::-1, ::-1]
    if kernel.name not in {"roberts_d45_3x3", "roberts_d135_3x3"}:
        assert np.allclose(half_turn, kernel.weight, atol=1e-15) or np.allclose(
            half_turn, -kernel.weight, atol=1e-15
        )


def square_symmetric(kernel):
    zero_mean(kernel)
    assert_allclose(kernel.weight, kernel.weight.T, rtol=0, atol=1e-15)
    assert_allclose(kernel.weight, kernel.weight[::-1], rtol=0, atol=1e-15)
    positive = kernel.name in {"point", "dog_7x7_s1"}
    assert (np.abs(kernel.weight).argmax(), kernel.weight.max() > -kernel.weight.min()) == (
        kernel.weight.size // 2,
        positive,
    )


def bright_side(kernel):
    """A compass kernel answers most to a step whose bright side it is named after, and is blind to flat."""
    zero_mean(kernel)
    vector = {"n": (-1, 0), "s": (1, 0), "w": (0, -1), "e": (0, 1)}
    y, x = np.sum([vector[letter] for letter in kernel.name.rsplit("_", 1)[1]], axis=0)
    grid = np.mgrid[-1:2, -1:2]
    assert oracles.correlate(y * grid[0] + x * grid[1] > 0, kernel.weight) > 0
    assert oracles.correlate(y * grid[0] + x * grid[1] < 0, kernel.weight) < 0


def keeps_brightness(kernel):
    """A flat image comes back unchanged, unless the kernel is one of the zero-mean reliefs."""
    total = 0 if kernel.name in {"emboss_zero_se", "emboss_pil"} else 1
    assert kernel.weight.sum() == pytest.approx(total, abs=1e-15)


def bright_line(kernel):
    zero_mean(kernel)
    angle = math.radians(int(kernel.name.split("_")[1]))
    step = np.rint(np.array([-math.sin(angle), math.cos(angle)]) * R * 0.99).astype(int)  # y runs down
    image = np.zeros((3, 3))
    for t in (-1, 0, 1):
        image[tuple(1 + t * step)] = 1
    assert_array_equal(oracles.correlate(image, kernel.weight), 6)


def unit_among_orthogonal(kernel):
    """Unit norm, and orthogonal to all others of its set."""
    others = [get_kernel(n) for n in kernel_names() if n.split("_")[0] == kernel.name.split("_")[0]]
    products = {o.name: (o.weight * kernel.weight).sum() for o in others}
    assert products.pop(kernel.name) == pytest.approx(0.25 if kernel.family == "haar" else 1, abs=1e-14)
    assert_allclose(list(products.values()), 0, atol=1e-14)


def orders(name):
    return [int(n) for n in re.findall(r"d[xy](\d)", name)]


def frei_chen(kernel):
    if kernel.name.startswith("frei_chen"):
        unit_among_orthogonal(kernel)
    else:
        blind_to_flat_and_point_symmetric(kernel)


def derivative_of_monomials(kernel):
    """Order (p, q) maps x^p y^q to p! q! times the gain 2^(2(k-1)-p-q) and lower monomials to zero."""
    p, q = orders(kernel.name)
    size = len(kernel.weight)
    y, x = np.mgrid[:size, :size]
    for a, b in product(range(p + 1), range(q + 1)):
        gain = 2 ** (2 * (size - 1) - p - q) * math.factorial(p) * math.factorial(q)
        assert (x**a * y**b * kernel.weight).sum() == (gain if (a, b) == (p, q) else 0)


def gram(kernel):
    """Proportional to Savitzky-Golay derivatives of the same order, and zero-mean but for the first."""
    p, q = orders(kernel.name)
    size = len(kernel.weight)
    rows = [signal.savgol_coeffs(size, n, deriv=n, use="dot") for n in (q, p)]
    want = np.outer(*rows)
    assert_allclose(kernel.weight, want / np.linalg.norm(want), rtol=0, atol=1e-12)
    unit_among_orthogonal(kernel)


def laws(kernel):
    """The integer Krawtchouk kernel of the same orders, up to sign; all but level-level zero-mean."""
    letters, size = "leswruo", len(kernel.weight)
    q, p = letters.index(kernel.name[5]), letters.index(kernel.name[7])
    twin = get_kernel(f"krawtchouk{size}_dx{p}_dy{q}").weight
    assert np.array_equal(kernel.weight, twin) or np.array_equal(kernel.weight, -twin)
    assert kernel.weight.sum() == (4 ** (size - 1) if p == q == 0 else 0)


def gaussian_derivative(kernel):
    """Odd orders are blind to flat; a ramp or parabola gives the derivative, up to truncation at 3 sigma."""
    p, q = kernel.name.split("_")[1].count("x"), kernel.name.split("_")[1].count("y")
    y, x = np.mgrid[-3:4, -3:4]
    got = (x**p * y**q * kernel.weight).sum()
    assert got == pytest.approx(math.factorial(p) * math.factorial(q), rel=0.1)
    assert abs(kernel.weight.sum()) < (1e-15 if p % 2 or q % 2 else 0.1)


def gabor_law(kernel):
    """Odd phase odd, even phase even under a half turn; zero-mean unless raw."""
    sign = -1 if kernel.name.endswith("odd") else 1
    assert_allclose(kernel.weight[::-1, ::-1], sign * kernel.weight, rtol=0, atol=1e-15)
    if not kernel.name.endswith("raw"):
        zero_mean(kernel)


LAWS = {
    **dict.fromkeys(
        ("sobel", "prewitt", "scharr", "difference", "roberts", "farid"), blind_to_flat_and_point_symmetric
    ),
    **dict.fromkeys(("kirsch", "robinson", "robinson3", "prewitt_compass"), bright_side),
    **dict.fromkeys(("laplacian", "log", "dog"), square_symmetric),
    **dict.fromkeys(("emboss", "sharpen", "blur", "identity"), keeps_brightness),
    **dict.fromkeys(("krawtchouk_functions", "dct", "walsh", "haar"), unit_among_orthogonal),
    "frei_chen": frei_chen,
    "line": bright_line,
    "krawtchouk": derivative_of_monomials,
    "gram": gram,
    "laws": laws,
    "gaussian_derivative": gaussian_derivative,
    "gabor": gabor_law,
}


@pytest.mark.parametrize("name", kernel_names())
def test_kernel_obeys_the_law_of_its_family(name):
    kernel = get_kernel(name)
    LAWS[kernel.family](kernel)


@pytest.mark.parametrize("name", ["gram7_dx3_dy2", "dct7_u6_v5", "dct5_u0_v4", "gram5_dx0_dy1"])
def test_zero_mean_elements_sum_to_rounding_only(name):
    assert abs(get_kernel(name).weight.sum()) < 2e-16 * 4


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("sobel_x", 8), ("sobel_y", 40), ("sobel_d45", 36), ("sobel_d135", 24), ("prewitt_x", 6), ("prewitt_y", 30),
        ("scharr_x", 32), ("central_x", 2), ("central_y", 10), ("roberts_d45", 6), ("roberts_d135", 4),
        ("sobel_x_5x5", 128), ("kirsch_s", 120), ("kirsch_n", -120), ("laplacian_8", 0), ("line_45", 0),
    ],
)  # fmt: skip
def test_kernel_answers_to_a_ramp_as_worked_out_by_hand(name, want):
    """The ramp rises by 1 per column and 5 per row."""
    ramp = np.add.outer(5 * np.arange(7), np.arange(7))
    assert set(oracles.correlate(ramp, get_kernel(name).weight).ravel()) == {want}


# --- rows of any length ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 33))
def test_binomial_rows_are_the_polynomials_and_their_own_inverse(n):
    """Exact integers; with signs (-1)^p on the rows, S S = 2^(n-1) I."""
    rows = binomial_rows(n)
    assert_array_equal(rows, [oracles.polynomial(p, n) for p in range(n)])
    signed = rows * (-1.0) ** np.arange(n)[:, None]
    assert_array_equal(signed @ signed, 2.0 ** (n - 1) * np.eye(n))


@pytest.mark.parametrize("rows", [krawtchouk_function_rows, gram_rows, dct_rows])
@pytest.mark.parametrize("n", range(1, 33))
def test_orthonormal_rows_are_orthonormal_and_order_one_rises(rows, n):
    basis = rows(n)
    assert_allclose(basis @ basis.T, np.eye(n), rtol=0, atol=1e-14)
    if n > 1:
        assert (np.diff(basis[1]) > 0).all() or rows is krawtchouk_function_rows
        assert basis[1] @ np.arange(n) > 0


@pytest.mark.parametrize("n", [1, 2, 3, 8, 16, 24])
def test_rows_equal_their_definitions(n):
    """Exact Gram-Schmidt, SciPy's cosine transform, the binomial rows over the root of the binomial weight."""
    assert_allclose(gram_rows(n), oracles.gram_schmidt(n), rtol=0, atol=1e-15)
    cosines = fft.dct(np.eye(n), norm="ortho", axis=0) * (-1.0) ** np.arange(n)[:, None]
    assert_allclose(dct_rows(n), cosines, rtol=0, atol=1e-14)
    weighted = np.array([oracles.polynomial(p, n) for p in range(n)]) / np.sqrt(oracles.polynomial(0, n))
    weighted /= np.linalg.norm(weighted, axis=1, keepdims=True)
    assert_allclose(krawtchouk_function_rows(n), weighted, rtol=0, atol=1e-14)


# --- look-up ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", kernel_names())
def test_kernel_knows_its_name_family_and_source(name):
    kernel = get_kernel(name)
    assert kernel.name == name
    assert kernel.family in LAWS
    assert kernel.source


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        *[(f"{f}_{e}", f"{f}_{a}") for f in ("sobel", "prewitt", "scharr", "farid") for e, a in ("vx", "hy")],
        *[(n, f"{n}_3x3") for n in ("box", "binomial", "identity")],
        ("gaussian", "gaussian_5x5_s1"), ("log", "log_7x7_s1"), ("dog", "dog_7x7_s1"),
        ("roberts_pos_diag", "roberts_d45_3x3"), ("roberts_neg_diag", "roberts_d135_3x3"),
        ("gauss_x", "gauss_x_7x7_s1"), ("gabor_t45_odd", "gabor7_t45_odd"),
        ("dct_u2_v1", "dct3_u2_v1"), ("krawtchouk_dx1_dy2", "krawtchouk3_dx1_dy2"),
    ],
)  # fmt: skip
def test_alias_gives_the_kernel_and_the_kernel_lists_it(alias, name):
    assert alias not in kernel_names()
    assert get_kernel(alias) == get_kernel(name)
    assert alias in get_kernel(name).aliases


@pytest.mark.parametrize(("wrong", "hint"), [("sobel-x", "; did you mean 'sobel_x'?"), ("zzz", ".")])
def test_unknown_kernel_error_reads_cleanly(wrong, hint):
    with pytest.raises(KeyError) as caught:
        get_kernel(wrong)
    assert str(caught.value) == f"unknown kernel {wrong!r}{hint} kernel_names() lists all 571."


def test_listing_is_a_copy():
    kernel_names().clear()
    assert len(kernel_names()) == 571


def test_citations_not_looked_up_say_so():
    """Kirsch, Robinson, Farid and Laws were seen in sources; other author-year pairs are from memory."""
    hedged = {n for n in kernel_names() if "citation from memory" in get_kernel(n).notes}
    assert {"sobel_x", "prewitt_x", "scharr_x", "roberts_d45", "frei_chen_average", "haar2_x"} <= hedged
    assert not hedged & {"kirsch_n", "robinson_n", "farid_x", "laws_l5e5", "sobel_d45", "box_3x3"}
    assert "from memory" in get_kernel("unsharp_fspecial").notes


# --- the Kernel value --------------------------------------------------------------------------------------


def test_kernels_are_equal_by_value():
    one, two = Kernel("a", [[1, -2]], aliases=["b"]), Kernel("a", np.array([[1.0, -2.0]]), aliases=("b",))
    assert one == two
    assert len({one, two}) == 1
    assert Kernel("a", [[0.0]]) == Kernel("a", [[-0.0]])
    for other in (Kernel("b", [[1, -2]]), Kernel("a", [[1], [-2]]), Kernel("a", [[1, -2]], notes="x"), "a"):
        assert one != other


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, lambda k: pickle.loads(pickle.dumps(k))])
def test_copies_are_equal_and_read_only(copier):
    kernel = get_kernel("gabor7_t45_odd")
    twin = copier(kernel)
    assert twin == kernel
    assert hash(twin) == hash(kernel)
    for k in (kernel, twin):
        with pytest.raises(ValueError, match="read-only"):
            k.weight[0, 0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            k.weight.setflags(write=True)


def test_weight_is_a_float64_copy():
    given_weight = np.ones((2, 3), dtype=np.int8)
    kernel = Kernel("ones", given_weight)
    given_weight[:] = 0
    assert kernel.weight.dtype == np.float64
    assert_array_equal(kernel.weight, np.ones((2, 3)))
    assert repr(kernel) == "Kernel('ones', 2x3, family='custom')"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": 3, "weight": [[1]]}, TypeError, "name must be a string; got 3. Pass"),
        ({"name": "", "weight": [[1]]}, ValueError, "name must not be empty; got ''. Pass"),
        (
            {"name": "k", "weight": [1, 2]},
            ValueError,
            "weight must have shape (height, width); got (2,). Pass",
        ),
        (
            {"name": "k", "weight": [[]]},
            ValueError,
            "weight must have shape (height, width); got (1, 0). Pass",
        ),
        ({"name": "k", "weight": [[math.nan]]}, ValueError, "weight must be finite; got [[nan]]. Replace"),
        ({"name": "k", "weight": [["a"]]}, TypeError, "weight must hold real numbers; got dtype <U1. Pass"),
        (
            {"name": "k", "weight": [[1j]]},
            TypeError,
            "weight must hold real numbers; got dtype complex128. Pass",
        ),
        ({"name": "k", "weight": [[1], [1, 2]]}, ValueError, "weight must have rows of one length; got "),
        (
            {"name": "k", "weight": [[1]], "aliases": "kk"},
            TypeError,
            "aliases must be a sequence of strings; got 'kk'",
        ),
    ],
)
def test_kernel_refuses_what_is_no_kernel(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Kernel(**arguments)


def test_label_is_the_word_only_where_the_name_is_a_code():
    assert [get_kernel(n).label for n in ("dct7_u3_v1", "krawtchouk5_dx2_dy1", "walsh4_s1_t0", "sobel_x")] == [
        "wave_x3_y1", "line_x_edge_y", "walsh4_s1_t0", "sobel_x"
    ]  # fmt: skip


@given(st.data())
def test_correlating_with_any_catalogue_kernel_is_linear(data):
    """The slow loop and the weight agree with SciPy on images of any size."""
    weight = get_kernel(data.draw(st.sampled_from(kernel_names()))).weight
    shape = [n + data.draw(st.integers(0, 4)) for n in weight.shape]
    image = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))).normal(size=shape)
    want = signal.correlate2d(image, weight, mode="valid")
    assert_allclose(oracles.correlate(image, weight), want, rtol=0, atol=1e-12 * np.abs(weight).sum())
