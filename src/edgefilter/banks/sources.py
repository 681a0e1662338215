"""Where the kernels of the catalogue come from, and how an entry is made."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from .kernel import Kernel

__all__ = [
    "ALIASES",
    "BINOMIAL",
    "DCT",
    "DOG",
    "FARID",
    "FOLKLORE",
    "FREI_CHEN",
    "GABOR",
    "GRAM",
    "KIRSCH",
    "KRAWTCHOUK",
    "LAWS",
    "LAWS_7",
    "MARR",
    "PASCAL",
    "PREWITT",
    "ROBERTS",
    "ROBINSON",
    "SCHARR",
    "SOBEL",
    "STEERABLE",
    "TEXTBOOK",
    "UNSHARP",
    "WALSH",
    "entry",
]

BINOMIAL = "binomial extension (Danielsson & Seger 1990; OpenCV getDerivKernels): (z-1)^n (1+z)^(k-1-n)"
KRAWTCHOUK = "M. Krawtchouk 1929; images: Yap, Paramesran & Ong 2003, IEEE TIP 12(11):1367-1377"
GRAM = (
    "discrete Chebyshev/Gram polynomials (Chebyshev 1864; Savitzky & Golay 1964; Haralick facet model 1984)"
)
DCT = "N. Ahmed, T. Natarajan & K.R. Rao 1974, IEEE Trans. Computers C-23:90-93"
WALSH = "J. Hadamard 1893; J.L. Walsh 1923; Pratt, Kane & Andrews 1969"

SOBEL = "I. Sobel & G. Feldman 1968 (Stanford A.I. Project talk); first printed in Duda & Hart 1973 p.271"
ROBINSON = "G.S. Robinson 1977, 'Edge detection by compass gradient masks', CGIP 6(5):492-501"
PREWITT = (
    "J.M.S. Prewitt 1970, 'Object enhancement and extraction', in Picture Processing and Psychopictorics"
)
SCHARR = "H. Scharr 2000 (PhD thesis, Heidelberg); Jaehne, Scharr & Koerkel 1999"
FREI_CHEN = "W. Frei & C.-C. Chen 1977, 'Fast boundary detection', IEEE Trans. Computers C-26(10):988-998"
ROBERTS = "L.G. Roberts 1963 (MIT PhD thesis), 'Machine perception of three-dimensional solids'"
KIRSCH = "R. Kirsch 1971, Computers and Biomedical Research 4(3):315-328"
FARID = "H. Farid & E. Simoncelli 1997 (CAIP); 2004, IEEE TIP 13(4):496-508, Table 1"
MARR = "D. Marr & E. Hildreth 1980, 'Theory of edge detection', Proc. R. Soc. Lond. B 207:187-217"
DOG = "Rodieck 1965; Wilson & Giese 1977; ratio 1.6: Marr & Hildreth 1980"
TEXTBOOK = "textbook (Gonzalez & Woods, Digital Image Processing); cf. Vanderbrug 1976"
FOLKLORE = "no canonical source: graphics-software folklore"
PASCAL = "binomial (Pascal) smoothing; Burt & Adelson 1983 for k=5"
UNSHARP = "Schreiber 1970 (digital unsharp masking); this 5x5 = 2*identity - binomial blur"
LAWS = "K.I. Laws 1980 (USC PhD, USCIPI 940)"
LAWS_7 = f"{LAWS} (7-tap set as in HALCON texture_laws)"
STEERABLE = "Koenderink & van Doorn 1987; Freeman & Adelson 1991 (steerable), IEEE TPAMI 13(9)"
GABOR = "D. Gabor 1946; 2-D: Granlund 1978, Daugman 1985"

_LOOKED_UP = {ROBINSON, KIRSCH, FARID, LAWS, LAWS_7}  # the other author-year pairs are from memory
_YEAR = re.compile(r"\b(18|19|20)\d\d\b")

ALIASES = {
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


def entry(
    name: str,
    weight: npt.ArrayLike,
    family: str,
    source: str,
    notes: str = "",
    words: tuple[str, ...] = (),
    order: int | None = None,
    made_for: tuple[float | None, float | None] = (None, None),
) -> Kernel:
    """Make a catalogue kernel, perhaps for a direction and a wavelength: its aliases looked up, an unchecked citation marked as such."""
    if _YEAR.search(source) and source not in _LOOKED_UP:
        notes = f"{notes}; citation from memory" if notes else "citation from memory"
    aliases = (*words, ALIASES[name]) if name in ALIASES else words
    return Kernel(name, np.asarray(weight), family, source, aliases, notes, order, *made_for)  # type: ignore[arg-type]  # None: from the weight
