"""Groups of a bank's filters: every partition by hand, the laws of partitions, and what is refused."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefilter.banks.bank import FilterBank
from edgefilter.banks.catalogue import get_kernel, kernel_names
from edgefilter.banks.directions import change_direction
from edgefilter.banks.groups import KINDS, as_groups, partition
from edgefilter.banks.kernel import Kernel
from edgefilter.banks.presets import bank_names, complete_bank, get_bank

FORMULA = re.compile(r"(dx|u|s)(\d+)_(dy|v|t)(\d+)$")  # the orders along x and y
LAWS = re.compile(r"laws_([leswruo])\d([leswruo])\d")
COMPASS = {"n": "90 deg", "s": "90 deg", "e": "0 deg", "w": "0 deg",
           "se": "45 deg", "nw": "45 deg", "ne": "135 deg", "sw": "135 deg"}  # fmt: skip
X, Y, D45, D135, NONE = "0 deg", "90 deg", "45 deg", "135 deg", "no direction"
B, E, L, T = "brightness", "edges", "lines and corners", "texture"

# --- by hand: what the kernel answers to, and where it changes -------------------------------------------------

BY_HAND = {
    "sobel_x": (E, X), "sobel_y": (E, Y), "sobel_d45": (E, D45), "sobel_d135": (E, D135),
    "prewitt_x": (E, X), "prewitt_y": (E, Y), "scharr_x": (E, X), "scharr_y": (E, Y),
    "farid_x": (E, X), "farid_y": (E, Y), "central_x": (E, X), "central_y": (E, Y),
    "roberts_d45": (E, D45), "roberts_d135": (E, D135), "roberts_d45_3x3": (E, D45), "roberts_d135_3x3": (E, D135),
    "haar2_x": (E, X), "haar2_y": (E, Y), "haar2_xy": (L, NONE), "haar2_ll": (B, NONE),
    "laplacian_4": (L, NONE), "laplacian_8": (L, NONE), "point": (L, NONE), "log_7x7_s1": (L, NONE),
    "dog_7x7_s1": (L, NONE),
    # a horizontal line changes from top to bottom, one drawn as "/" towards the lower right
    "line_0": (L, Y), "line_45": (L, D45), "line_90": (L, X), "line_135": (L, D135),
    "box_3x3": (B, NONE), "binomial_3x3": (B, NONE), "identity_3x3": (B, NONE), "gaussian_7x7_s1": (B, NONE),
    "sharpen_4": (B, NONE), "sharpen_8": (B, NONE), "unsharp_5x5": (B, NONE),
    "emboss_zero_se": (E, D45), "emboss_pil": (E, D135),
    # the ripples of Frei and Chen are of their edge subspace; line_1 is d_yy - d_xx, a corner turned by 45 degrees
    "frei_chen_average": (B, NONE), "frei_chen_edge_x": (E, X), "frei_chen_edge_y": (E, Y),
    "frei_chen_ripple_1": (E, D135), "frei_chen_ripple_2": (E, D45), "frei_chen_line_1": (L, NONE),
    "frei_chen_line_2": (L, NONE), "frei_chen_laplace_1": (T, NONE), "frei_chen_laplace_2": (L, NONE),
    "gauss_x_7x7_s1": (E, X), "gauss_y_7x7_s1": (E, Y), "gauss_xx_7x7_s1": (L, X), "gauss_xy_7x7_s1": (L, NONE),
    "gauss_yy_7x7_s1": (L, Y), "sobel_xx": (L, X), "sobel_yy_7x7": (L, Y), "sobel_xy_5x5": (L, NONE),
    **{f"gabor7_t{t}_{phase}": (order, f"{t} deg")
       for t in (0, 45, 90, 135) for phase, order in (("even", L), ("odd", E), ("even_raw", B))},
    **{f"gabor_w{w}_t{t}_{phase}": (order, f"{t} deg")
       for w in ("4", "5.657") for t in (0, 45, 90, 135) for phase, order in (("even", L), ("odd", E))},
    **{f"{family}_{side}": (E, way)
       for family in ("kirsch", "robinson", "robinson3", "prewitt_compass") for side, way in COMPASS.items()},
    **{f"emboss_{side}": (B, way) for side, way in COMPASS.items()},
}  # fmt: skip


def by_formula(p: int, q: int) -> tuple[str, str]:
    """Products of rows: the orders add up, and the axis of the higher one changes more."""
    return (B, E, L, T)[min(p + q, 3)], X if p > q else Y if q > p else NONE


def expected(name: str) -> tuple[str, str]:
    """Return order and direction of a kernel of the presets."""
    if code := FORMULA.search(name):
        return by_formula(int(code[2]), int(code[4]))
    if letters := LAWS.match(name):
        down, across = ("leswruo".index(letter) for letter in letters.groups())  # L E S W, then R at 5
        return by_formula(across, down)
    return BY_HAND[name]


def label_of(groups: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Return the group of each filter."""
    return {name: group for group, names in groups.items() for name in names}


BANKS = [get_bank(name) for name in bank_names()]
COMPLETE = [complete_bank(k, f) for k in (3, 5, 7) for f in ("sobel", "dct", "gram", "krawtchouk")]
# the even rows of larger Krawtchouk functions answer to brightness, so that others along them can change more
COMPLETE += [complete_bank(k, f) for k in (8, 11) for f in ("sobel", "dct", "gram")]


@pytest.mark.parametrize("bank", [*BANKS, *COMPLETE], ids=lambda bank: bank.name)
def test_orders_and_directions_are_those_of_the_hand(bank):
    """Every filter of every preset and of the complete banks."""
    want = {name: expected(name) for name in bank.names}
    assert label_of(bank.groups("order")) == {name: order for name, (order, _) in want.items()}
    assert label_of(bank.groups("orientation")) == {name: way for name, (_, way) in want.items()}


@pytest.mark.parametrize("name", BY_HAND)
def test_single_kernels_have_order_and_direction_of_the_hand(name):
    bank = FilterBank([name])
    assert (*bank.groups("order"), *bank.groups("orientation")) == BY_HAND[name]


def test_groups_of_the_bank_edges():
    """The lists in full, once."""
    bank = get_bank("edges")
    assert list(bank.groups("order")) == ["edges", "lines and corners", "brightness"]
    assert bank.groups("order")["brightness"] == ("binomial_3x3", "identity_3x3")
    assert bank.groups("orientation") == {
        "0 deg": ("sobel_x", "prewitt_x", "scharr_x", "line_90"),
        "90 deg": ("sobel_y", "prewitt_y", "scharr_y", "line_0"),
        "45 deg": ("sobel_d45", "roberts_d45_3x3", "line_45"),
        "135 deg": ("sobel_d135", "roberts_d135_3x3", "line_135"),
        "no direction": ("laplacian_4", "laplacian_8", "binomial_3x3", "identity_3x3"),
    }
    assert list(bank.groups("family")) == [
        *("sobel", "prewitt", "scharr", "roberts", "laplacian", "line", "blur", "identity"),
    ]
    assert bank.groups("dependent") == {name: (name,) for name in bank.names}


# --- order ------------------------------------------------------------------------------------------------------


def polynomials(weight, degree):
    """Answer to each ``x^a y^b`` with ``a + b == degree``, by a double loop in exact fractions."""
    rows = [[Fraction(float(value)) for value in row] for row in weight]
    for a in range(degree + 1):
        yield sum(v * x**a * y ** (degree - a) for y, row in enumerate(rows) for x, v in enumerate(row))


@pytest.mark.parametrize(
    "name", [n for n in kernel_names() if not FORMULA.search(n) and not n.startswith("gauss_")]
)
def test_order_is_the_lowest_degree_that_is_answered(name):
    """Counted from a corner, where terms of lower degree add nothing; the fractions show the weights' rounding alone."""
    kernel = get_kernel(name)
    gain, side = float(np.abs(kernel.weight).sum()), max(kernel.weight.shape)
    for degree in range(kernel.order):
        assert max(map(abs, polynomials(kernel.weight, degree))) < 1e-14 * gain * side**degree
    assert max(map(abs, polynomials(kernel.weight, kernel.order))) > 1e-3 * gain


@pytest.mark.parametrize("family", ["krawtchouk", "gram"])
@pytest.mark.parametrize("size", [3, 5, 7, 9])
def test_the_order_of_a_formula_is_what_the_weights_say(family, size):
    """Sobel rows and Gram polynomials are blind to all degrees below theirs."""
    bank = complete_bank(size, "sobel" if family == "krawtchouk" else family)
    assert [Kernel("copy", kernel.weight).order for kernel in bank] == bank.orders
    assert bank.orders == sorted(bank.orders)


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(0, 3), st.sampled_from([-3.0, 1e-200, 1e200])
)
def test_order_does_not_depend_on_scale_place_or_single_precision(seed, top, left, scale):
    """Differences of random rows, in a larger support, scaled, and rounded to float32 and back."""
    rng = np.random.default_rng(seed)
    p, q = rng.integers(0, 3, size=2)
    row, column = rng.uniform(0.5, 1.5, 3), rng.uniform(0.5, 1.5, 3)
    for _ in range(p):
        row = np.convolve(row, [-1, 1])
    for _ in range(q):
        column = np.convolve(column, [-1, 1])
    weight = np.pad(np.outer(column, row), ((top, 0), (left, 0)))
    assert Kernel("a", weight).order == Kernel("b", weight * scale).order == p + q
    assert Kernel("c", weight.astype(np.float32)).order == p + q


def test_order_can_be_given_and_is_kept_in_a_bank():
    """A DCT kernel of three half-periods answers to a ramp a little; its formula says three."""
    wave = get_kernel("dct7_u3_v0")
    assert (wave.order, Kernel("copy", wave.weight).order) == (3, 1)
    assert FilterBank([wave], size=9, normalize="l1").orders == [3]
    assert Kernel("mine", [[1]], order=4).order == 4
    for wrong in (-1, 1.5, True, "edges"):
        with pytest.raises(
            ValueError, match=re.escape(f"order must be an integer >= 0; got {wrong!r}. Leave it out")
        ):
            Kernel("mine", [[1]], order=wrong)


# --- direction --------------------------------------------------------------------------------------------------


def direction_by_waves(weight, angles=90, radii=24):
    """Send plane waves through the kernel: energy in an image of equal energy per octave, summed on rays, mod 180."""
    place = [(x, y, v) for y, row in enumerate(weight) for x, v in enumerate(row)]
    total = 0j
    for theta in (math.pi * a / angles for a in range(angles)):
        c, s = math.cos(theta), math.sin(theta)
        reach = math.pi / max(abs(c), abs(s))  # the border of the square of frequencies
        for rho in (reach * (r + 0.5) / radii for r in range(radii)):
            answer = sum(
                v * complex(math.cos(rho * (x * c + y * s)), math.sin(rho * (x * c + y * s)))
                for x, y, v in place
            )
            # energy times the area element rho * d(rho), in images of power 1 / rho^2
            total += (
                abs(answer) ** 2
                / rho**2
                * rho
                * (reach / radii)
                * complex(math.cos(2 * theta), math.sin(2 * theta))
            )
    return math.degrees(math.atan2(total.imag, total.real)) / 2 % 180


@pytest.mark.parametrize(
    "name",
    [
        "sobel_x",
        "sobel_d135",
        "line_0",
        "central_y",
        "kirsch_ne",
        "emboss_pil",
        "dct5_u3_v1",
        "gabor7_t135_odd",
    ],
)
def test_directions_are_those_of_plane_waves(name):
    """A slow sum over rays and waves."""
    found, want = change_direction(get_kernel(name).weight), direction_by_waves(get_kernel(name).weight)
    assert abs((found - want + 90) % 180 - 90) < 1e-3


def gabor(theta, wavelength, sigma=1.5, phase=0.0, size=7):
    """Sample a Gabor kernel with its direction of variation, y down, and without a mean."""
    x = np.arange(size) - size // 2
    bell = np.exp(-np.add.outer(x**2, x**2) / (2 * sigma**2))
    along = np.cos(math.radians(theta)) * x[None, :] + np.sin(math.radians(theta)) * x[:, None]
    wave = bell * np.cos(2 * math.pi / wavelength * along - phase)
    return wave - bell * wave.sum() / bell.sum()


@pytest.mark.parametrize("size", [7, 11, 15])
@pytest.mark.parametrize("wavelength", [3, 4, 6])
@pytest.mark.parametrize("phase", [0, math.pi / 2])
def test_gabors_of_eight_angles_make_eight_groups(size, wavelength, phase):
    angles = [22.5 * i for i in range(8)]
    bank = FilterBank([Kernel(f"{t:g} deg", gabor(t, wavelength, phase=phase, size=size)) for t in angles])
    assert bank.groups("orientation") == {f"{t:g} deg": (f"{t:g} deg",) for t in angles}


def test_gabors_of_other_angles_are_in_the_nearest_group():
    """Twelve angles, none of them half-way."""
    for t in range(0, 180, 15):
        bank = FilterBank([Kernel("one", gabor(t, 4))])
        assert list(bank.groups("orientation")) == [f"{round(t / 22.5) * 22.5 % 180:g} deg"]


@pytest.mark.parametrize(
    ("weight", "direction"),
    [
        ([[-1, 0, 1]], 0),
        ([[-2, -1, 0, 1, 2]], 0),  # without the weight of natural images it would be 90
        ([[-1], [1]], 90),
        ([[-1, 2, -1]], 0),
        ([[1, -1], [-1, 1]], None),
        ([[1]], None),
        ([[0, 0], [0, 0]], None),
    ],
)
def test_directions_of_small_kernels(weight, direction):
    assert change_direction(np.array(weight, dtype=float)) == direction


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=9).filter(any))
def test_a_row_without_a_mean_answers_along_itself(row):
    """The sum over all directions of one frequency along the row is positive, whatever the frequency is."""
    row = np.diff([0, *row, 0]).astype(float)
    assert change_direction(row[None, :]) == 0
    assert change_direction(row[:, None]) == 90


def drawn(seed, sizes=(1, 5)):
    """Return a random kernel with a clear direction: integers, of any size."""
    rng = np.random.default_rng(seed)
    return rng.integers(-5, 6, size=rng.integers(*sizes, size=2)).astype(float)


@given(st.integers(0, 2**32 - 1))
def test_direction_turns_with_the_kernel(seed):
    """By 90 degrees; a mirror turns its sense, a transposition swaps the axes, sign and scale do nothing."""
    weight = drawn(seed)
    direction = change_direction(weight)

    def same(a, b):
        return a is b is None or abs((a - b + 90) % 180 - 90) < 1e-4

    turned = (
        [None] * 3
        if direction is None
        else [(direction + 90) % 180, -direction % 180, (90 - direction) % 180]
    )
    assert same(change_direction(np.rot90(weight)), turned[0])
    assert same(change_direction(weight[:, ::-1]), turned[1])
    assert same(change_direction(weight.T), turned[2])
    assert same(change_direction(-1e-200 * weight), direction)


@pytest.mark.parametrize("bank", BANKS, ids=lambda bank: bank.name)
def test_the_groups_of_a_turned_bank_are_turned(bank):
    """Every preset, turned by a quarter."""
    turned = FilterBank([Kernel(k.name, np.rot90(k.weight)) for k in bank]).groups("orientation")
    swap = {X: Y, Y: X, D45: D135, D135: D45, NONE: NONE}
    assert label_of(turned) == {name: swap[way] for name, way in label_of(bank.groups("orientation")).items()}


@pytest.mark.parametrize("name", ["sobel_x", "sobel_d45", "laplacian_8", "roberts_d135", "gabor7_t45_even"])
def test_the_direction_is_the_same_in_a_larger_support_and_in_single_precision(name):
    weight = get_kernel(name).weight
    padded = np.pad(weight, ((3, 1), (0, 2)))
    assert change_direction(padded) == change_direction(weight)
    assert change_direction(weight.astype(np.float32).astype(float)) == change_direction(weight)


# --- dependence -------------------------------------------------------------------------------------------------


def test_opposite_compass_kernels_are_one_group():
    """Robinson's second four are minus the first; Kirsch's are not."""
    pairs = ("n", "s"), ("nw", "se"), ("w", "e"), ("sw", "ne")
    want = {f"robinson_{a} ~ robinson_{b}": (f"robinson_{a}", f"robinson_{b}") for a, b in pairs}
    assert get_bank("robinson").groups("dependent") == get_bank("compass").groups("dependent") == want
    assert all(len(names) == 1 for names in get_bank("kirsch").groups("dependent").values())


INTEGERS = [n for n in kernel_names() if get_kernel(n).weight.shape == (3, 3)
            and np.array_equal(get_kernel(n).weight, get_kernel(n).weight.round())]  # fmt: skip


def test_dependence_of_integer_kernels_is_exact():
    """All 2x2 minors of two flattened kernels are 0, in integers."""
    groups = label_of(FilterBank(INTEGERS).groups("dependent"))
    for one, other in combinations(INTEGERS, 2):
        a, b = ([int(v) for v in get_kernel(name).weight.flat] for name in (one, other))
        minors = {x * v - y * u for (x, u), (y, v) in combinations(list(zip(a, b, strict=True)), 2)}
        assert (minors == {0}) == (groups[one] == groups[other]), (one, other)
    assert groups["sobel_x"] == groups["robinson_w"] == groups["krawtchouk3_dx1_dy0"]


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_dependence_sees_through_scale_sign_and_order(seed):
    """Multiples of a few random kernels, shuffled: the groups are those they were made from."""
    rng = np.random.default_rng(seed)
    bases = rng.normal(size=(4, 3, 5))
    owners = rng.integers(0, 4, size=rng.integers(1, 10))
    scales = rng.choice([-1.0, 1.0], size=len(owners)) * 10 ** rng.uniform(-150, 150, size=len(owners))
    kernels = [Kernel(f"k{i}", bases[o] * s) for i, (o, s) in enumerate(zip(owners, scales, strict=True))]
    want = {frozenset(f"k{i}" for i in np.flatnonzero(owners == o)) for o in owners}
    for order in (range(len(owners)), rng.permutation(len(owners))):
        bank = FilterBank([kernels[i] for i in order])
        groups = bank.groups("dependent")
        assert {frozenset(names) for names in groups.values()} == want
        assert all(label == " ~ ".join(names) for label, names in groups.items())


@pytest.mark.parametrize(("angle", "together"), [(1e-9, True), (1e-6, False)])
def test_kernels_apart_by_more_than_single_precision_are_independent(angle, together):
    x, y = get_kernel("sobel_x").weight, get_kernel("sobel_y").weight
    bank = FilterBank(["sobel_x", Kernel("near", x + angle * y)])
    assert (len(bank.groups("dependent")) == 1) == together


def test_a_copy_in_single_precision_is_dependent():
    """The rounding of float32 does not part a kernel from itself."""
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 7, 11):
        for _ in range(20):
            weight = rng.normal(size=(size, size))
            copies = [Kernel(f"copy {c}", (c * weight).astype(np.float32)) for c in (1, -0.3, 0.7)]
            assert len(FilterBank(copies).groups("dependent")) == 1


def test_kernels_of_zeros_are_one_group_of_their_own():
    """They are multiples of each other; nothing else is a multiple of them with a way back."""
    zeros = [Kernel(name, np.zeros((3, 3))) for name in ("zero", "nil")]
    bank = FilterBank([zeros[0], "sobel_x", zeros[1]])
    assert bank.groups("dependent") == {"zero ~ nil": ("zero", "nil"), "sobel_x": ("sobel_x",)}
    assert bank.orders == [0, 1, 0]
    assert bank.groups("orientation") == {"no direction": ("zero", "nil"), "0 deg": ("sobel_x",)}


def test_the_name_of_a_group_is_not_that_of_another():
    """However the filters are called."""
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    bank = FilterBank([Kernel("a", a), Kernel("b", -a), Kernel("a ~ b", b)])
    assert bank.groups("dependent") == {"a ~ b ~": ("a", "b"), "a ~ b": ("a ~ b",)}
    bank = FilterBank([Kernel("a", a), Kernel("b ~ c", a), Kernel("a ~ b", b), Kernel("c", b)])
    assert list(bank.groups("dependent").values()) == [("a", "b ~ c"), ("a ~ b", "c")]


# --- laws of partitions -----------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from(kernel_names()), min_size=1, max_size=12, unique=True), st.sampled_from(KINDS)
)
@settings(deadline=None)
def test_every_filter_is_in_one_group_and_no_group_is_empty(names, kind):
    """In the order of the bank; a partition given back is itself."""
    bank = FilterBank(names)
    groups = bank.groups(kind)
    assert sorted(name for group in groups.values() for name in group) == sorted(names)
    assert all(list(group) == [n for n in names if n in group] and group for group in groups.values())
    assert [group[0] for group in groups.values()] == sorted((g[0] for g in groups.values()), key=names.index)
    assert bank.groups(groups) == groups
    shuffled = FilterBank(names[::-1]).groups(kind)
    assert {frozenset(group) for group in shuffled.values()} == {
        frozenset(group) for group in groups.values()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_groups_of_the_largest_shipped_stem_are_of_the_bank(kind):
    """11x11, as in AlexNet: the complete bank of cosines."""
    bank = complete_bank(11)
    assert sum(map(len, bank.groups(kind).values())) == 121


# --- partitions of your own -------------------------------------------------------------------------------------


def test_a_partition_of_your_own_keeps_its_groups_and_takes_aliases():
    bank = complete_bank(3)
    rest = [name for name in bank.names if name not in ("dx1_dy0", "dx0_dy1")]
    groups = bank.groups({"rest": rest[::-1], "gradient": iter(["edge_y", "dx1_dy0"])})
    assert groups == {"rest": tuple(rest), "gradient": ("dx1_dy0", "dx0_dy1")}
    assert list(groups) == ["rest", "gradient"]


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ("ordr", KeyError, "unknown kind of groups 'ordr'; did you mean 'order'? Choose one of order, orientation, "),
        ("kind", KeyError, "unknown kind of groups 'kind'. Choose one of order, orientation, scale, family, dependent, or pass"),
        ({"a": ["sobel_x"]}, ValueError, "groups must hold every filter; got none with 'sobel_y'. Add it to a group, or"),
        ({}, ValueError, "groups must hold every filter; got none with 'sobel_x' and 1 more. Add"),
        ({"a": ["sobel_x", "sobel_y"], "b": []}, ValueError, "groups must not be empty; got no filter in 'b'. Drop it."),
        ({"a": ["sobel_x", "sobel_y"], "b": ["sobel_v"]}, ValueError,
         "groups must hold every filter once; got 'sobel_x' in 'a' and in 'b'. Take it out of one."),
        ({"a": ["sobel_x", "sobel_x", "sobel_y"]}, ValueError, "got 'sobel_x' in 'a' and in 'a'. Take it out of one."),
        ({"a": ["sobel_x", "sobel-y"]}, KeyError,
         "unknown filter 'sobel-y' in bank 'sobel'; did you mean 'sobel_y'? bank.names lists them."),
        ({"a": "sobel_x"}, TypeError, "groups must hold sequences of filter names; got 'sobel_x' for 'a'. Pass a list"),
        ({"a": [1]}, TypeError, "groups must hold sequences of filter names; got [1] for 'a'. Pass a list of names."),
        ({"a": 1}, TypeError, "groups must hold sequences of filter names; got 1 for 'a'. Pass a list of names."),
        ({1: ["sobel_x", "sobel_y"]}, TypeError, "groups must have strings as names; got 1. Write '1'."),
        (None, TypeError, "groups must be one of order, orientation, scale, family, dependent or a mapping; got None. Pass"),
        (["sobel_x"], TypeError, "or a mapping; got ['sobel_x']. Pass {name: [filters]}."),
    ],
)  # fmt: skip
def test_what_is_no_partition_is_refused(groups, error, message):
    """Rule, value and next step; from the bank and from the function."""
    bank = get_bank("sobel")
    for call in (bank.groups, lambda groups: as_groups(bank, groups)):
        with pytest.raises(error) as caught:
            call(groups)
        assert message in str(caught.value)


def test_a_partition_needs_no_bank():
    """Names and where they are is enough, as for a saved explanation."""
    names = ("a", "b", "c")
    assert partition({"x": ["c", "a"], "y": ["b"]}, names, names.index) == {"x": ("a", "c"), "y": ("b",)}
