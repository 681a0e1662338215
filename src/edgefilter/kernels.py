"""Kernels as data: the catalogue of named 2-D filters, each built from its formula or its integers.

Every weight is the *correlation* kernel, as ``torch.nn.functional.conv2d`` applies it: rows run down (y),
columns run right (x). First derivatives answer positively to dark -> bright rightwards (``_x``) or downwards
(``_y``), so ``_x`` answers to vertical edges. ``_d45`` is brighter towards the lower right.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgefilter._checks import UnknownNameError, closest

__all__ = [
    "COMPASS",
    "Kernel",
    "binomial_rows",
    "dct_rows",
    "get_kernel",
    "gram_rows",
    "kernel_names",
    "krawtchouk_function_rows",
    "product_kernels",
]

Array = npt.NDArray[np.float64]

COMPASS = ("n", "nw", "w", "sw", "s", "se", "e", "ne")  # counter-clockwise, as the rings below are read
_ORDER_CODE = re.compile(r"(^|_)(dx|u)\d+_(dy|v)\d+$")


# --- the kernel ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Kernel:
    """One fixed 2-D weight array with a name, a family and a source.

    Kernels are values: equal when every field is equal, hashable, and their weight cannot be written to.

    Parameters
    ----------
    name : str
        The identifier, unique within a bank.
    weight : array_like of shape (height, width)
        Correlation kernel, finite; kept as a read-only float64 copy.
    family : str
        The group it belongs to, such as ``"sobel"``.
    source : str
        Where the numbers come from.
    aliases : sequence of str
        Other accepted names.
    notes : str
        Gain, sign and how sure the source is.

    Raises
    ------
    TypeError
        If ``name`` is not a string, ``weight`` is not real numbers or ``aliases`` is a bare string.
    ValueError
        If ``name`` is empty or ``weight`` is not 2-D, non-empty and finite.

    Examples
    --------
    >>> mine = Kernel("my_x", [[-1, 0, 1]])
    >>> mine
    Kernel('my_x', 1x3, family='custom')
    >>> mine.weight.tolist()
    [[-1.0, 0.0, 1.0]]
    """

    name: str
    weight: Array
    family: str = "custom"
    source: str = ""
    aliases: tuple[str, ...] = ()
    notes: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string; got {self.name!r}. Pass for example name='my_kernel'.")
        if not self.name:
            raise ValueError("name must not be empty; got ''. Pass for example name='my_kernel'.")
        object.__setattr__(self, "weight", _clean_weight(self.weight))
        object.__setattr__(self, "aliases", _clean_aliases(self.aliases))

    @property
    def label(self) -> str:
        """The name to show: the first alias where the name only codes orders (``dx1_dy0``), else the name.

        Examples
        --------
        >>> get_kernel("gram3_dx1_dy0").label, get_kernel("sobel_x").label
        ('edge_x', 'sobel_x')
        """
        return self.aliases[0] if self.aliases and _ORDER_CODE.search(self.name) else self.name

    def __repr__(self) -> str:
        height, width = self.weight.shape
        return f"Kernel({self.name!r}, {height}x{width}, family={self.family!r})"

    def _key(self) -> tuple[object, ...]:
        w = self.weight
        return (self.name, w.shape, w.tobytes(), self.family, self.source, self.aliases, self.notes)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Kernel) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[object, ...]:  # rebuilt by the constructor: the copy is read-only as well
        return Kernel, (self.name, self.weight, self.family, self.source, self.aliases, self.notes)


def _clean_aliases(aliases: Iterable[str] | str) -> tuple[str, ...]:
    if isinstance(aliases, str):
        raise TypeError(f"aliases must be a sequence of strings; got {aliases!r}. Pass ({aliases!r},).")
    return tuple(aliases)


def _clean_weight(weight: npt.ArrayLike) -> Array:
    try:
        given = np.asarray(weight)
    except ValueError:
        raise ValueError(
            f"weight must have rows of one length; got {weight!r}. Pad the short rows with 0."
        ) from None
    if given.dtype.kind not in "biuf":
        raise TypeError(f"weight must hold real numbers; got dtype {given.dtype}. Pass a 2-D list of floats.")
    if given.ndim != 2 or given.size == 0:
        raise ValueError(
            f"weight must have shape (height, width); got {given.shape}. Pass a list of equal rows."
        )
    clean = given.astype(np.float64) + 0.0  # + 0.0 turns -0.0 into 0.0, so equal values have equal bytes
    if not np.isfinite(clean).all():
        raise ValueError(f"weight must be finite; got {clean.tolist()}. Replace the NaN or infinite entries.")
    return np.frombuffer(clean.tobytes(), dtype=np.float64).reshape(clean.shape)  # bytes: read-only for good


# --- rows: one-dimensional bases of any length -----------------------------------------------------------


def binomial_rows(n: int) -> Array:
    """Return the extended Sobel rows: row p holds the coefficients of ``(z - 1)^p (1 + z)^(n - 1 - p)``.

    Row 0 smooths, row 1 is the first derivative, row p the p-th. Exact integers up to n = 50.

    Examples
    --------
    >>> binomial_rows(3).astype(int).tolist()
    [[1, 2, 1], [-1, 0, 1], [1, -2, 1]]
    """
    top = n - 1

    def coefficient(p: int, x: int) -> int:
        return sum(
            (-1) ** (p - j) * math.comb(p, j) * math.comb(top - p, x - j) for j in range(min(p, x) + 1)
        )

    return np.array([[coefficient(p, x) for x in range(n)] for p in range(n)], dtype=np.float64)


def krawtchouk_function_rows(n: int) -> Array:
    """Return the orthonormal Krawtchouk functions: binomial rows over the root of the binomial weight.

    Examples
    --------
    >>> (krawtchouk_function_rows(3)[0] * 2).round(4).tolist()
    [1.0, 1.4142, 1.0]
    """
    weight = np.array([math.comb(n - 1, x) for x in range(n)], dtype=np.float64)
    return binomial_rows(n) * np.sqrt(weight[:, None] / weight[None, :] / 2.0 ** (n - 1))


def gram_rows(n: int) -> Array:
    """Return the orthonormal discrete Chebyshev (Gram) polynomials on n points, leading coefficient positive.

    Built from integers, so each entry is right to the last digits; order p is blind to degrees below p.

    Examples
    --------
    >>> (gram_rows(3) ** 2 * 6).round(12).tolist()
    [[2.0, 2.0, 2.0], [3.0, 0.0, 3.0], [1.0, 4.0, 1.0]]
    """

    def value(p: int, x: int) -> int:
        return sum(
            (-1) ** (p - j) * math.comb(n - 1 - j, p - j) * math.comb(p + j, p) * math.comb(x, j)
            for j in range(p + 1)
        )

    rows = [[value(p, x) for x in range(n)] for p in range(n)]
    return np.array([[v / math.sqrt(sum(u * u for u in row)) for v in row] for row in rows])


def dct_rows(n: int) -> Array:
    """Return the orthonormal DCT-II rows, row p times (-1)^p so that order 1 is + for a rising ramp.

    Examples
    --------
    >>> dct_rows(2).round(4).tolist()
    [[0.7071, 0.7071], [-0.7071, 0.7071]]
    """
    order, point = np.arange(n)[:, None], np.arange(n)[None, :]
    step = (2 * point + 1) * order % (4 * n)  # the angle in units of pi / 2n, folded so that zeros are exact
    cosine = np.sin(np.pi * (n - np.minimum(step, 4 * n - step)) / (2 * n))
    scale = np.sqrt(np.where(order == 0, 1.0, 2.0) / n)
    rows: Array = (-1.0) ** order * scale * cosine
    return rows


def _sobel_rows(n: int) -> Array:
    """Return the binomial rows at unit L2 norm."""
    rows = binomial_rows(n)
    unit: Array = rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return unit


def _walsh_rows(n: int) -> Array:
    """Return the orthonormal Walsh rows by number of sign changes, last entry positive; n a power of two."""
    rows: Array = np.ones((1, 1))
    while len(rows) < n:
        rows = np.block([[rows, rows], [rows, -rows]])
    rows = rows[np.argsort((np.diff(rows, axis=1) != 0).sum(axis=1))]
    return rows * rows[:, -1:] / math.sqrt(n)


# --- product families: every outer product of two rows ----------------------------------------------------

_WORDS = ("blur", "edge", "line", "wave", "ripple", "undulation", "oscillation")


def _words(p: int, q: int, _size: int) -> str:
    """Say in words what order p along x and q along y answers to."""
    special = {(0, 0): "blur", (1, 1): "saddle_xy", (2, 2): "spot"}
    along = [f"{_WORDS[n] if n < len(_WORDS) else f'd{n}'}_{axis}" for n, axis in ((p, "x"), (q, "y")) if n]
    return special.get((p, q)) or "_".join(along)


def _frequency_words(p: int, q: int, size: int) -> str:
    """Name a cosine by its half-periods once there are too many for words."""
    return _words(p, q, size) if size <= 3 or p + q <= 1 else f"wave_x{p}_y{q}"


_BINOMIAL = "binomial extension (Danielsson & Seger 1990; OpenCV getDerivKernels): (z-1)^n (1+z)^(k-1-n)"
_KRAWTCHOUK = "M. Krawtchouk 1929; images: Yap, Paramesran & Ong 2003, IEEE TIP 12(11):1367-1377"
_GRAM = (
    "discrete Chebyshev/Gram polynomials (Chebyshev 1864; Savitzky & Golay 1964; Haralick facet model 1984)"
)
_DCT = "N. Ahmed, T. Natarajan & K.R. Rao 1974, IEEE Trans. Computers C-23:90-93"
_WALSH = "J. Hadamard 1893; J.L. Walsh 1923; Pratt, Kane & Andrews 1969"


class _Family(NamedTuple):
    rows: Callable[[int], Array]
    source: str
    notes: str
    code: str = "dx{}_dy{}"
    words: Callable[[int, int, int], str] = _words


_FAMILIES = {
    "sobel": _Family(_sobel_rows, _BINOMIAL, "Sobel of all orders at unit L2 norm"),
    "krawtchouk": _Family(
        binomial_rows,
        f"{_KRAWTCHOUK}; {_BINOMIAL}",
        "integer; OpenCV Sobel(dx, dy, ksize) of the same orders; a Laws mask up to sign",
    ),
    "krawtchouk_functions": _Family(
        krawtchouk_function_rows, _KRAWTCHOUK, "orthonormal; even orders are not zero-mean"
    ),
    "gram": _Family(gram_rows, _GRAM, "orthonormal; all but the first zero-mean; at 3 the Prewitt family"),
    "dct": _Family(
        dct_rows,
        _DCT,
        "orthonormal DCT-II row times (-1)^order: order 1 is + for a rising ramp; u, v = x, y frequency",
        "u{}_v{}",
        _frequency_words,
    ),
    "walsh": _Family(
        _walsh_rows, _WALSH, "by number of sign changes, orthonormal; powers of two", "s{}_t{}", lambda *_: ""
    ),
}


def product_kernels(family: str, height: int, width: int, prefix: str = "") -> list[Kernel]:
    """Return all ``height * width`` outer products of a family's rows, by total order, x before y.

    Parameters
    ----------
    family : str
        ``"sobel"``, ``"krawtchouk"``, ``"krawtchouk_functions"``, ``"gram"``, ``"dct"`` or ``"walsh"``.
    height, width : int
        The support.
    prefix : str
        Put before each name.

    Returns
    -------
    kernels : list of Kernel
        ``height * width`` linearly independent kernels.

    Examples
    --------
    >>> [k.name for k in product_kernels("dct", 2, 2)]
    ['u0_v0', 'u1_v0', 'u0_v1', 'u1_v1']
    """
    rows, source, notes, code, words = _FAMILIES[family]
    down, across = rows(height), rows(width)
    orders = sorted(((p, q) for p in range(width) for q in range(height)), key=lambda o: (sum(o), -o[0]))
    kernels = []
    for p, q in orders:
        name, word = prefix + code.format(p, q), words(p, q, max(height, width))
        aliases = (word,) if word else ()
        kernels.append(_entry(name, np.outer(down[q], across[p]), family, source, notes, aliases))
    return kernels


# --- the catalogue ----------------------------------------------------------------------------------------

_SOBEL = "I. Sobel & G. Feldman 1968 (Stanford A.I. Project talk); first printed in Duda & Hart 1973 p.271"
_ROBINSON = "G.S. Robinson 1977, 'Edge detection by compass gradient masks', CGIP 6(5):492-501"
_PREWITT = (
    "J.M.S. Prewitt 1970, 'Object enhancement and extraction', in Picture Processing and Psychopictorics"
)
_SCHARR = "H. Scharr 2000 (PhD thesis, Heidelberg); Jaehne, Scharr & Koerkel 1999"
_FREI_CHEN = "W. Frei & C.-C. Chen 1977, 'Fast boundary detection', IEEE Trans. Computers C-26(10):988-998"
_ROBERTS = "L.G. Roberts 1963 (MIT PhD thesis), 'Machine perception of three-dimensional solids'"
_KIRSCH = "R. Kirsch 1971, Computers and Biomedical Research 4(3):315-328"
_FARID = "H. Farid & E. Simoncelli 1997 (CAIP); 2004, IEEE TIP 13(4):496-508, Table 1"
_MARR = "D. Marr & E. Hildreth 1980, 'Theory of edge detection', Proc. R. Soc. Lond. B 207:187-217"
_DOG = "Rodieck 1965; Wilson & Giese 1977; ratio 1.6: Marr & Hildreth 1980"
_TEXTBOOK = "textbook (Gonzalez & Woods, Digital Image Processing); cf. Vanderbrug 1976"
_FOLKLORE = "no canonical source: graphics-software folklore"
_PASCAL = "binomial (Pascal) smoothing; Burt & Adelson 1983 for k=5"
_UNSHARP = "Schreiber 1970 (digital unsharp masking); this 5x5 = 2*identity - binomial blur"
_LAWS = "K.I. Laws 1980 (USC PhD, USCIPI 940)"
_LAWS_7 = f"{_LAWS} (7-tap set as in HALCON texture_laws)"
_STEERABLE = "Koenderink & van Doorn 1987; Freeman & Adelson 1991 (steerable), IEEE TPAMI 13(9)"
_GABOR = "D. Gabor 1946; 2-D: Granlund 1978, Daugman 1985"

_LOOKED_UP = {_ROBINSON, _KIRSCH, _FARID, _LAWS, _LAWS_7}  # the other author-year pairs are from memory
_YEAR = re.compile(r"\b(18|19|20)\d\d\b")

_ALIASES = {
    **{f"{f}_x": f"{f}_v" for f in ("sobel", "prewitt", "scharr", "farid")},  # scikit-image names the edge
    **{f"{f}_y": f"{f}_h" for f in ("sobel", "prewitt", "scharr", "farid")},
    "roberts_d45_3x3": "roberts_pos_diag",
    "roberts_d135_3x3": "roberts_neg_diag",
    **{f"{name}_3x3": name for name in ("box", "binomial", "identity")},
    "gaussian_5x5_s1": "gaussian",
    "log_7x7_s1": "log",
    "dog_7x7_s1": "dog",
    **{f"gauss_{o}_7x7_s1": f"gauss_{o}" for o in ("x", "y", "xx", "xy", "yy")},
    **{f"gabor7_t{t}_{phase}": f"gabor_t{t}_{phase}" for t in (0, 45, 90, 135) for phase in ("even", "odd")},
    **{f"dct3_u{p}_v{q}": f"dct_u{p}_v{q}" for p in range(3) for q in range(3)},
    **{f"krawtchouk3_dx{p}_dy{q}": f"krawtchouk_dx{p}_dy{q}" for p in range(3) for q in range(3)},
}


def _entry(
    name: str, weight: npt.ArrayLike, family: str, source: str, notes: str = "", words: tuple[str, ...] = ()
) -> Kernel:
    """Make a catalogue kernel: its aliases looked up, an unchecked citation marked as such."""
    if _YEAR.search(source) and source not in _LOOKED_UP:
        notes = f"{notes}; citation from memory" if notes else "citation from memory"
    aliases = (*words, _ALIASES[name]) if name in _ALIASES else words
    return Kernel(name, np.asarray(weight), family, source, aliases, notes)


def _pair(
    family: str, smooth: Sequence[float], edge: Sequence[float], source: str, notes: str, end: str = ""
) -> list[Kernel]:
    """Return the x and y derivative of one smoothing and one edge vector."""
    return [
        _entry(f"{family}_x{end}", np.outer(smooth, edge), family, source, notes),
        _entry(f"{family}_y{end}", np.outer(edge, smooth), family, source, notes),
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
        source = _SOBEL if size == 3 and p + q == 1 else _BINOMIAL
        yield _entry(f"sobel_{axes}{end}", np.outer(rows[q], rows[p]), "sobel", source, what)


def _gradients() -> Iterator[Kernel]:
    edge, root2 = (-1, 0, 1), math.sqrt(2)
    for size in (3, 5, 7):
        yield from _sobel_set(size)
    diagonal = "brighter towards the lower {} (gradient at {} degrees, y down)"
    for family, ring, source in (("sobel", _ROBINSON_RING, _ROBINSON), ("prewitt", _PREWITT_RING, _PREWITT)):
        yield _entry(f"{family}_d45", _ring(ring, 5), family, source, diagonal.format("right", 45))
        yield _entry(f"{family}_d135", _ring(ring, 3), family, source, diagonal.format("left", 135))
    yield from _pair("prewitt", (1, 1, 1), edge, _PREWITT, "/6 for unit slope; skimage divides by 3")
    yield from _pair("scharr", (3, 10, 3), edge, _SCHARR, "/32 for unit slope; skimage divides by 16")
    optimum = "the 8-bit optimum (47,162,47)/256; /512 for unit slope; not the library one"
    yield from _pair("scharr", (47, 162, 47), edge, _SCHARR, optimum, "_47_162")
    for kernel in _pair("central", (0, 1, 0), edge, "central difference", "numpy.gradient: /2 for slope"):
        yield replace(kernel, family="difference")
    for kernel in _pair("isotropic", (1, root2, 1), edge, _FREI_CHEN, "Frei-Chen edge mask un-normalised"):
        yield replace(kernel, family="frei_chen")
    # Farid & Simoncelli 2004, Table 1, rows 3 and 4; the digits beyond the paper's six are scikit-image's
    smooth = (0.0376593171958126, 0.249153396177344, 0.426374573253687, 0.249153396177344, 0.0376593171958126)
    slope = (-0.109603762960254, -0.276690988455557, 0, 0.276690988455557, 0.109603762960254)
    notes = "near unit slope; digits beyond the paper's six are skimage's"
    yield from _pair("farid", smooth, slope, _FARID, notes)


def _roberts() -> Iterator[Kernel]:
    for angle, rows, side in ((45, [[-1, 0], [0, 1]], "right"), (135, [[0, -1], [1, 0]], "left")):
        notes = f"brighter towards the lower {side}; centred half a pixel right and down"
        yield _entry(f"roberts_d{angle}", rows, "roberts", _ROBERTS, notes)
        padded = np.pad(rows, ((1, 0), (1, 0)))  # where skimage.filters.roberts_pos_diag, _neg_diag have it
        yield _entry(f"roberts_d{angle}_3x3", padded, "roberts", _ROBERTS, notes)


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


def _compass_sets() -> Iterator[Kernel]:
    bright = "+ when the {} side is brighter (tutorials often name the zero axis instead)"
    for family, ring, centre, source, notes in (
        ("kirsch", _KIRSCH_RING, 0, _KIRSCH, "the non-linear operator takes the max of the 8; gain 15"),
        ("robinson", _ROBINSON_RING, 0, _ROBINSON, "5-level: turned Sobel; s, se, e, ne are minus the rest"),
        (
            "robinson3",
            _PREWITT_RING,
            0,
            _ROBINSON,
            "3-level: turned Prewitt; s, se, e, ne are minus the rest",
        ),
        ("prewitt_compass", _COMPASS_RING, -2, _PREWITT, "ImageMagick 'Compass', Mathcad 'compgrad'"),
    ):
        for turns, side in enumerate(COMPASS):
            weight = _ring(ring, turns, centre)
            what = f"{bright.format(side.upper())}; {notes}"
            yield _entry(f"{family}_{side}", weight, family, source, what)


def _frei_chen() -> Iterator[Kernel]:
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
        yield _entry(f"frei_chen_{name}", weight, "frei_chen", _FREI_CHEN, notes)


def _cross(corner: float, side: float, centre: float) -> Array:
    """Return the 3x3 kernel with the symmetry of the square."""
    return _ring((side, corner) * 4, 0, centre)


def _laplacians() -> Iterator[Kernel]:
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
        ("point", _cross(-1, -1, 8), _TEXTBOOK, "isolated-point / 'outline' mask = -laplacian_8; PIL FIND_EDGES"),
    ):  # fmt: skip
        yield _entry(name, weight, "laplacian", source, notes)


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


def _mexican_hats() -> Iterator[Kernel]:
    rings = np.array([[0, 0, 1, 0, 0], [0, 1, 2, 1, 0], [1, 2, -16, 2, 1], [0, 1, 2, 1, 0], [0, 0, 1, 0, 0]])
    yield _entry("log_5x5_int", rings, "log", _MARR, "the integer textbook 'Mexican hat', centre negative")
    for size, sigma in ((5, 0.5), (7, 1.0), (9, 1.4)):
        weight = (_squares(size) - 2 * sigma**2) / sigma**4 * _gaussian(size, sigma)
        notes = f"MATLAB fspecial('log',{size},{sigma}): (x^2+y^2-2s^2)/s^4 G, then the mean subtracted; "
        notes += "centre negative; scipy.ndimage.gaussian_laplace differs slightly (no mean subtraction)"
        yield _entry(f"log_{size}x{size}_s{sigma:g}", weight - weight.mean(), "log", _MARR, notes)
    notes = "narrow minus wide, ratio 1.6; centre POSITIVE, as skimage.filters.difference_of_gaussians"
    yield _entry("dog_7x7_s1", _gaussian(7, 1.0) - _gaussian(7, 1.6), "dog", _DOG, notes)


def _lines_and_effects() -> Iterator[Kernel]:
    for turns, angle in enumerate((0, 45, 90, 135)):
        notes = f"+ for a bright line drawn at {angle} degrees, counter-clockwise as seen (0 horizontal, 45 = '/')"
        yield _entry(f"line_{angle}", _ring(_LINE_RING, turns, 2), "line", _TEXTBOOK, notes)
    for turns in range(5, 13):  # from the south-east, the widely copied one
        side, weight = COMPASS[turns % 8], _ring(_ROBINSON_RING, turns, 1)
        notes = f"identity + Sobel towards {side.upper()}; sum 1 (keeps brightness)"
        yield _entry(f"emboss_{side}", weight, "emboss", _FOLKLORE, notes)
    relief = [[-1, 0, 0], [0, 0, 0], [0, 0, 1]]
    yield _entry("emboss_zero_se", relief, "emboss", _FOLKLORE, "zero-mean; usually shown with +128")
    notes = "zero-mean, Pillow adds offset 128 and applies the rows bottom-up: this is the kernel that acts"
    relief = [[0, 0, 0], [0, 1, 0], [-1, 0, 0]]
    yield _entry("emboss_pil", relief, "emboss", "Pillow ImageFilter.EMBOSS", notes)


def _sharpeners() -> Iterator[Kernel]:
    a, blur = 0.2, binomial_rows(5)[0] / 16
    for name, weight, source, notes in (
        ("sharpen_4", _cross(0, -1, 5), "identity - laplacian_4 (textbook)", "sum 1"),
        ("sharpen_8", _cross(-1, -1, 9), "identity - laplacian_8 (textbook)", "sum 1; PIL EDGE_ENHANCE_MORE"),
        ("sharpen_pil", _cross(-2, -2, 32) / 16, "Pillow ImageFilter.SHARPEN", "sum 1"),
        ("unsharp_fspecial", _cross(-a, a - 1, a + 5) / (a + 1), "MATLAB fspecial('unsharp', 0.2)",
         "1/(a+1)[-a a-1 -a; a-1 a+5 a-1; -a a-1 -a] (older MATLAB; from memory)"),
        ("unsharp_5x5", 2 * _identity(5) - np.outer(blur, blur), _UNSHARP, "amount 1; sum 1"),
    ):  # fmt: skip
        yield _entry(name, weight, "sharpen", source, notes)


def _identity(size: int) -> Array:
    return np.pad([[1.0]], size // 2)


def _blurs() -> Iterator[Kernel]:
    for k in (3, 5, 7):
        pascal = binomial_rows(k)[0] / 2 ** (k - 1)
        notes = "sum 1; kornia.get_pascal_kernel_2d; anti-aliasing 'blurpool' filter (Zhang 2019)"
        yield _entry(f"box_{k}x{k}", np.full((k, k), 1 / k**2), "blur", "moving average", "sum 1; cv2.blur")
        yield _entry(f"binomial_{k}x{k}", np.outer(pascal, pascal), "blur", _PASCAL, notes)
    for k, sigma in ((3, 0.5), (5, 1.0), (7, 1.0)):
        notes = "sum 1; cv2.getGaussianKernel, fspecial('gaussian')"
        yield _entry(f"gaussian_{k}x{k}_s{sigma:g}", _gaussian(k, sigma), "blur", "sampled Gaussian", notes)
    for k in (3, 5, 7):
        yield _entry(f"identity_{k}x{k}", _identity(k), "identity", "-", "passes the color channel through")


def _laws() -> Iterator[Kernel]:
    signs = dict(zip("leswruo", (1, 1, -1, 1, 1, -1, -1), strict=True))  # S, U, O: centre as printed
    notes = "first letter vertical (column) vector, second letter horizontal (row) vector; "
    notes += "L level, E edge, S spot, W wave, R ripple, U undulation, O oscillation"
    for k in (3, 5, 7):
        vectors = [(f"{c}{k}", signs[c] * row) for c, row in zip(signs, binomial_rows(k), strict=False)]
        for (a, down), (b, across) in itertools.product(vectors, repeat=2):
            source = _LAWS_7 if k == 7 else _LAWS
            yield _entry(f"laws_{a}{b}", np.outer(down, across), "laws", source, notes)


def _haar() -> Iterator[Kernel]:
    low, high = binomial_rows(2) / 2
    notes = "2x2, unit L1 norm; x = difference right - left (wavelet 'LH' or 'HL' depending on the book)"
    for name, down, across in (("ll", low, low), ("y", high, low), ("x", low, high), ("xy", high, high)):
        yield _entry(f"haar2_{name}", np.outer(down, across), "haar", "A. Haar 1910", notes)


def _gaussian_derivatives() -> Iterator[Kernel]:
    x = np.arange(-3.0, 4.0)
    bell = np.exp(-(x**2) / 2)
    rows = np.array([np.ones(7), x, x**2 - 1]) * bell / bell.sum()  # Hermite polynomials times the Gaussian
    for axes, p, q in (("x", 1, 0), ("y", 0, 1), ("xx", 2, 0), ("xy", 1, 1), ("yy", 0, 2)):
        notes = f"order {p + q} derivative of a sampled Gaussian, sigma 1, scipy.ndimage.gaussian_filter "
        notes += "with radius 3; steerable: cos*gauss_x + sin*gauss_y; 2nd orders keep a small mean"
        weight = np.outer(rows[q], rows[p])
        yield _entry(f"gauss_{axes}_7x7_s1", weight, "gaussian_derivative", _STEERABLE, notes)


def _gabors() -> Iterator[Kernel]:
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
            yield _entry(f"gabor7_t{angle}_{name}", weight, "gabor", _GABOR, f"{notes}; {what}")


def _products() -> Iterator[Kernel]:
    short = {"krawtchouk": "krawtchouk", "krawtchouk_functions": "krawfun", "gram": "gram", "dct": "dct"}
    for (family, prefix), k in itertools.product(short.items(), (3, 5, 7)):
        yield from product_kernels(family, k, k, f"{prefix}{k}_")
    yield from product_kernels("walsh", 4, 4, "walsh4_")


_GROUPS: tuple[Callable[[], Iterable[Kernel]], ...] = (
    _gradients, _roberts, _compass_sets, _frei_chen, _laplacians, _mexican_hats, _lines_and_effects,
    _sharpeners, _blurs, _products, _laws, _haar, _gaussian_derivatives, _gabors,
)  # fmt: skip


@cache
def _catalogue() -> dict[str, Kernel]:
    """Build every kernel, once, at the first use."""
    return {kernel.name: kernel for group in _GROUPS for kernel in group()}


def kernel_names() -> list[str]:
    """Return the names of all kernels, in catalogue order.

    Examples
    --------
    >>> len(kernel_names()), kernel_names()[:2]
    (571, ['sobel_x', 'sobel_y'])
    """
    return list(_catalogue())


def get_kernel(name: str) -> Kernel:
    """Return a kernel by its name or one of its other names (``sobel_v`` is scikit-image's ``sobel_x``).

    Parameters
    ----------
    name : str
        One of `kernel_names`, or an alias.

    Returns
    -------
    kernel : Kernel
        With the weight exactly as in its source: no normalisation.

    Raises
    ------
    KeyError
        If no kernel has this name.

    Examples
    --------
    >>> get_kernel("sobel_x").weight.astype(int).tolist()
    [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    >>> get_kernel("sobel-x")
    Traceback (most recent call last):
        ...
    edgefilter._checks.UnknownNameError: unknown kernel 'sobel-x'; did you mean 'sobel_x'? kernel_names() lists all 571.
    """
    catalogue, aliases = _catalogue(), {alias: known for known, alias in _ALIASES.items()}
    found = catalogue.get(aliases.get(name, name))
    if found is None:
        hint = closest(name, [*catalogue, *aliases])
        raise UnknownNameError(f"unknown kernel {name!r}{hint} kernel_names() lists all {len(catalogue)}.")
    return found
