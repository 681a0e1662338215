"""Banks: what they span, how they embed, normalise and name their kernels, and what they refuse."""

from __future__ import annotations

import copy
import json
import pickle
import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import oracles
from edgefilter.banks.bank import FilterBank
from edgefilter.banks.catalogue import get_kernel
from edgefilter.banks.kernel import Kernel
from edgefilter.banks.presets import bank_names, complete_bank, get_bank

RESEARCH = Path(__file__).parents[3] / "shared" / "research" / "kernels_presets.json"
FAMILIES = ("sobel", "dct", "gram", "krawtchouk")
SIZES = [*range(1, 17), (3, 5), (5, 3), (1, 4), (8, 7), (16, 2)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --- presets ------------------------------------------------------------------------------------------------

LENGTHS_AND_RANKS = {
    "sobel": (2, 2), "prewitt": (2, 2), "scharr": (2, 2), "roberts": (2, 2), "farid": (2, 2), "sobel4": (4, 4),
    "laplacian": (2, 2), "lines": (4, 4), "compass": (8, 4), "robinson": (8, 4), "kirsch": (8, 7),
    "prewitt_compass": (8, 8), "frei_chen": (9, 9), "emboss": (8, 5), "edges_zero_mean": (16, 8), "edges": (18, 9),
    "general": (41, 9), "gabor7": (8, 8), "gabor": (16, 16), "gaussian_derivatives7": (5, 5), "walsh_4": (16, 16),
    **{f"{f}_{k}": (k * k, k * k) for k in (3, 5, 7)
       for f in ("laws", "krawtchouk", "krawtchouk_functions", "gram", "dct")},
}  # fmt: skip


@pytest.mark.parametrize("name", bank_names())
def test_preset_has_its_length_rank_and_catalogue_weights(name):
    """The kernels as in their sources; the rank by NumPy on the stacked weights."""
    bank = get_bank(name)
    assert (len(bank), bank.rank) == LENGTHS_AND_RANKS[name]
    assert np.linalg.matrix_rank(bank.weight.reshape(len(bank), -1)) == bank.rank
    assert bank.is_complete == (bank.rank == bank.shape[0] * bank.shape[1])
    assert bank.name == name
    for kernel in bank:
        assert_array_equal(kernel.weight, oracles.embed(get_kernel(kernel.name).weight, *bank.shape))


def test_presets_are_listed_once():
    assert sorted(bank_names()) == sorted(LENGTHS_AND_RANKS)
    assert len(set(bank_names())) == len(bank_names())


@pytest.mark.skipif(not RESEARCH.exists(), reason="the research notes lie outside the repository")
def test_presets_equal_the_research_notes():
    notes = json.loads(RESEARCH.read_text())
    assert {name: get_bank(name).names for name in bank_names() if name != "gabor"} == {
        n: list(kernels) for n, kernels in notes.items()
    }


def test_roberts_is_2x2_and_edges_has_blur_and_identity_last():
    assert get_bank("roberts").size == 2
    assert get_bank("edges").names[:2] == ["sobel_x", "sobel_y"]
    assert get_bank("edges").names[16:] == ["binomial_3x3", "identity_3x3"]
    assert get_bank("edges").names[:16] == get_bank("edges_zero_mean").names
    assert_allclose(get_bank("edges_zero_mean").weight.sum(axis=(1, 2)), 0, atol=1e-14)


@pytest.mark.parametrize(("wrong", "hint"), [("sobels", "; did you mean 'sobel'?"), ("zzz", ".")])
def test_unknown_bank_error_reads_cleanly(wrong, hint):
    with pytest.raises(KeyError) as caught:
        get_bank(wrong)
    assert str(caught.value) == f"unknown bank {wrong!r}{hint} bank_names() lists all {len(bank_names())}."


# --- complete banks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", SIZES)
def test_complete_bank_rebuilds_any_weight(size, family, rng):
    """Full rank, unit norms, and random weights come back from their coefficients by a plain sum."""
    bank = complete_bank(size, family)
    height, width = bank.shape
    assert (len(bank), bank.rank, bank.is_complete) == (height * width, height * width, True)
    assert np.linalg.matrix_rank(bank.weight.reshape(len(bank), -1)) == height * width
    assert_allclose(np.linalg.norm(bank.weight, axis=(1, 2)), 1, rtol=0, atol=1e-14)
    weight = rng.normal(size=(3, 2, height, width))
    coefficients, residual = bank.project(weight)
    assert coefficients.shape == (3, 2, len(bank))
    accuracy = 1e-15 * max(10, np.abs(coefficients).max())
    assert_allclose(residual, 0, rtol=0, atol=accuracy)
    assert_allclose(np.einsum("abk,khw->abhw", coefficients, bank.weight), weight, rtol=0, atol=2 * accuracy)


@pytest.mark.parametrize(
    ("family", "size"),
    [("frei_chen", 3), *[(f, k) for f in ("dct", "gram", "krawtchouk") for k in (1, 2, 3, 5, 16)]],
)
def test_orthonormal_bank_keeps_the_energy(family, size, rng):
    """The squares of the coefficients add up to the squares of the weight."""
    weight = rng.normal(size=(size, size))
    coefficients, _ = complete_bank(size, family).project(weight)
    assert_allclose((coefficients**2).sum(), (weight**2).sum(), rtol=1e-13)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_complete_bank_orders_by_total_order_with_x_first(size, family):
    bank = complete_bank(size, family)
    code = "u{}_v{}" if family == "dct" else "dx{}_dy{}"
    assert bank.names == [code.format(p, q) for p, q in oracles.total_order(*bank.shape)]


@pytest.mark.parametrize("size", [2, 3, 7, (3, 5)])
def test_sobel_family_is_the_outer_product_of_the_polynomials(size):
    bank = complete_bank(size, "sobel")
    height, width = bank.shape
    for (p, q), kernel in zip(oracles.total_order(height, width), bank, strict=True):
        want = np.outer(oracles.polynomial(q, height), oracles.polynomial(p, width))
        assert_allclose(kernel.weight, want / np.linalg.norm(want), rtol=0, atol=1e-15)


def test_sobel_words():
    """Blur, edge, line, wave, ripple, undulation, oscillation, then the order's number."""
    assert complete_bank(3).labels == [
        "blur", "edge_x", "edge_y", "line_x", "saddle_xy", "line_y", "line_x_edge_y", "edge_x_line_y", "spot"
    ]  # fmt: skip
    bank = complete_bank((2, 9), "sobel")
    assert bank.labels[-3:] == ["d8_x", "d7_x_edge_y", "d8_x_edge_y"]
    assert {"wave_x", "ripple_x", "undulation_x", "oscillation_x", "d7_x", "d8_x"} <= set(bank.labels)


@pytest.mark.parametrize(
    ("size", "name", "label"),
    [(3, "u2_v2", "spot"), (5, "u2_v2", "wave_x2_y2"), (8, "u0_v0", "blur"), (8, "u1_v0", "edge_x"),
     (8, "u0_v1", "edge_y"), (8, "u2_v0", "wave_x2_y0"), ((3, 5), "u1_v1", "wave_x1_y1"), (2, "u1_v1", "saddle_xy")],
)  # fmt: skip
def test_cosine_words(size, name, label):
    assert complete_bank(size, "dct")[name].label == label


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [3, 7, 9, (3, 5)])
def test_index_takes_name_and_alias(size, family):
    bank = complete_bank(size, family)
    for i, (name, label) in enumerate(zip(bank.names, bank.labels, strict=True)):
        assert bank.index(name) == bank.index(label) == i
        assert bank[name] == bank[label] == bank[i]
    assert len(set(bank.labels)) == len(bank)


@pytest.mark.parametrize("family", FAMILIES)
def test_edge_x_answers_to_a_rising_ramp(family):
    bank = complete_bank(6, family)
    ramp = np.add.outer(np.zeros(6), np.arange(6))
    assert oracles.correlate(ramp, bank["edge_x"].weight) > 0.1
    assert oracles.correlate(ramp.T, bank["edge_y"].weight) > 0.1
    assert_allclose(oracles.correlate(ramp, bank["edge_y"].weight), 0, atol=1e-14)


def test_default_family_is_sobel_to_seven_and_dct_above():
    for size in (1, 3, 7, (7, 2)):
        assert set(complete_bank(size).families) == {"sobel"}
    for size in (8, (3, 8), (8, 1)):
        assert set(complete_bank(size).families) == {"dct"}


def test_krawtchouk_functions_bank_and_frei_chen_bank_are_the_presets():
    assert_array_equal(complete_bank(5, "krawtchouk").weight, get_bank("krawtchouk_functions_5").weight)
    assert complete_bank(5, "krawtchouk").families == get_bank("krawtchouk_functions_5").families
    assert complete_bank(3, "frei_chen") == get_bank("frei_chen")
    assert all(kernel.source for kernel in complete_bank(4))


@pytest.mark.parametrize("family", ["dct", "gram", "krawtchouk"])
def test_size_32_is_exact_and_quick(family, rng):
    start = time.perf_counter()
    bank = complete_bank(32, family)
    assert bank.is_complete
    assert time.perf_counter() - start < 1
    weight = rng.normal(size=(4, 32, 32))
    assert_allclose(bank.project(weight)[1], 0, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "size must be an integer >= 1 or a pair of them; got 0. Pass for example size=1"),
        ((2.5,), "size must be an integer >= 1 or a pair of them; got 2.5."),
        (((3, -1),), "size must be an integer >= 1 or a pair of them; got (3, -1)."),
        (((3, 3, 3),), "size must be an integer >= 1 or a pair of them; got (3, 3, 3)."),
        ((True,), "size must be an integer >= 1 or a pair of them; got True."),
        (("3",), "size must be an integer >= 1 or a pair of them; got '3'."),
        (
            (3, "sobol"),
            "unknown family 'sobol'; did you mean 'sobel'? Choose one of sobel, dct, gram, krawtchouk",
        ),
        ((3, 7), "unknown family 7. Choose one of sobel"),
        ((3, ["sobel"]), "unknown family ['sobel']"),
        ((5, "frei_chen"), "size must be 3 for family 'frei_chen'; got 5. Use family='sobel' or 'dct'."),
    ],
)
def test_complete_bank_refuses(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        complete_bank(*arguments)


def test_numpy_integers_are_sizes():
    assert complete_bank(np.int64(3)).shape == complete_bank((np.int32(3), 3)).shape == (3, 3)


# --- projection ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sobel", "kirsch", "robinson", "edges", "general", "gabor7", "emboss"])
def test_projection_is_least_squares_of_smallest_norm(name, rng):
    """As NumPy's lstsq; the residual is orthogonal to every kernel."""
    bank = get_bank(name)
    weight = rng.normal(size=(6, *bank.shape))
    coefficients, residual = bank.project(weight)
    basis = bank.weight.reshape(len(bank), -1)
    want = np.linalg.lstsq(basis.T, weight.reshape(6, -1).T, rcond=1e-12)[0].T
    assert_allclose(coefficients, want, rtol=0, atol=1e-12)
    assert_allclose(residual, weight - np.einsum("nk,khw->nhw", want, bank.weight), rtol=0, atol=1e-12)
    assert_allclose(np.einsum("nhw,khw->nk", residual, bank.weight), 0, atol=1e-11)


def test_projection_of_a_kernel_of_the_bank_is_itself():
    bank = complete_bank(4)
    assert_allclose(bank.project(bank.weight)[0], np.eye(16), rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 5, 5), ()])
def test_projection_refuses_another_support(shape):
    message = re.escape(f"weight must have shape (..., 3, 3); got {shape}. Use a bank")
    with pytest.raises(ValueError, match=message):
        get_bank("sobel").project(np.zeros(shape))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from(FAMILIES),
    st.lists(st.integers(0, 3), max_size=2),
    st.integers(0, 2**32 - 1),
)
def test_project_and_sum_is_the_identity(height, width, family, lead, seed):
    bank = complete_bank((height, width), family)
    weight = np.random.default_rng(seed).normal(size=(*lead, height, width))
    coefficients, residual = bank.project(weight)
    assert coefficients.shape == (*lead, height * width)
    assert_allclose(np.tensordot(coefficients, bank.weight, 1) + residual, weight, rtol=0, atol=1e-13)
    assert_allclose(residual, 0, rtol=0, atol=1e-13)


# --- construction ----------------------------------------------------------------------------------------------


@given(st.tuples(*[st.integers(1, 5)] * 2), st.tuples(*[st.integers(0, 4)] * 2), st.integers(0, 2**32 - 1))
def test_smaller_kernels_sit_in_the_middle(inner, extra, seed):
    weight = np.random.default_rng(seed).normal(size=inner)
    shape = (inner[0] + extra[0], inner[1] + extra[1])
    bank = FilterBank([Kernel("k", weight)], size=shape)
    assert_array_equal(bank.weight[0], oracles.embed(weight, *shape))
    assert bank.shape == shape


def test_roberts_in_3x3_has_its_taps_at_the_centre_and_lower_right():
    bank = FilterBank(["roberts_d45", "roberts_d135", "sobel_x"])
    assert bank.size == 3
    assert_array_equal(bank["roberts_d45"].weight, get_kernel("roberts_d45_3x3").weight)
    assert_array_equal(bank["roberts_d135"].weight, get_kernel("roberts_d135_3x3").weight)


def test_size_is_the_largest_support_and_reads_as_given():
    mixed = FilterBank([Kernel("row", np.ones((1, 5))), "sobel_x"])
    assert (mixed.size, mixed.shape) == ((3, 5), (3, 5))
    assert (FilterBank(["sobel_x"], size=5).size, FilterBank(["sobel_x"], size=(5, 5)).shape) == (5, (5, 5))


@pytest.mark.parametrize(("normalize", "norm"), [("l1", lambda w: np.abs(w).sum()), ("l2", np.linalg.norm)])
def test_normalize_gives_unit_norms_and_keeps_the_direction(normalize, norm):
    plain, bank = get_bank("edges"), FilterBank(get_bank("edges").names, normalize=normalize)
    assert bank.normalize == normalize
    for kernel, raw in zip(bank, plain, strict=True):
        assert norm(kernel.weight) == pytest.approx(1, abs=1e-15)
        assert_allclose(kernel.weight * norm(raw.weight), raw.weight, rtol=1e-15, atol=1e-15)
    assert bank.rank == plain.rank


def test_names_aliases_and_kernels_may_be_mixed():
    bank = FilterBank(["sobel_v", Kernel("mine", [[1, 2], [3, 4]]), get_kernel("laplacian_4")], name="trio")
    assert bank.names == ["sobel_x", "mine", "laplacian_4"]
    assert bank.labels == bank.names
    assert bank.families == ["sobel", "custom", "laplacian"]
    assert bank.index("sobel_v") == 0
    assert repr(bank) == "FilterBank('trio', 3 kernels of 3x3: sobel_x, mine, laplacian_4)"
    assert repr(get_bank("edges")).endswith(
        "18 kernels of 3x3: sobel_x, sobel_y, sobel_d45, sobel_d135, prewitt_x, ...)"
    )


def test_bank_behaves_as_a_sequence_of_its_kernels():
    bank = FilterBank(["sobel_x", "sobel_y"], size=5, normalize="l1")
    assert [k.name for k in bank] == bank.names
    assert list(bank) == list(bank.kernels) == [bank[0], bank["sobel_y"]]
    assert bank[-1].name == "sobel_y"
    assert bank[np.int64(1)] == bank[1]
    assert_array_equal(bank.weight, np.stack([k.weight for k in bank]))
    assert "sobel_x" in bank
    assert "sobel_h" in bank
    assert bank[0] in bank
    assert "prewitt_x" not in bank
    with pytest.raises(
        IndexError, match=re.escape("index must be below 2; got 2. Bank 'custom' has 2 filters.")
    ):
        bank[2]


def test_an_alias_of_two_kernels_is_no_name():
    bank = FilterBank(["gram3_dx1_dy0", "dct3_u1_v0"])
    assert bank.labels == ["edge_x", "edge_x"]
    with pytest.raises(KeyError, match="unknown filter 'edge_x' in bank 'custom'"):
        bank.index("edge_x")


def test_unknown_filter_error_names_the_bank():
    with pytest.raises(KeyError) as caught:
        get_bank("sobel").index("sobel-x")
    want = "unknown filter 'sobel-x' in bank 'sobel'; did you mean 'sobel_x'? bank.names lists them."
    assert str(caught.value) == want
    with pytest.raises(KeyError, match="in bank 'sobel'"):
        get_bank("sobel")["nothing"]


def test_banks_are_equal_by_names_and_weights():
    bank = get_bank("sobel")
    assert bank == FilterBank(["sobel_x", "sobel_y"], name="other")
    assert hash(bank) == hash(FilterBank(["sobel_x", "sobel_y"]))
    for other in (
        FilterBank(["sobel_y", "sobel_x"]),
        FilterBank(["sobel_x", "sobel_y"], size=5),
        FilterBank(["sobel_x", "sobel_y"], normalize="l2"),
        FilterBank(["sobel_x"]),
        "sobel",
    ):
        assert bank != other


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_copies_are_equal_and_read_only(copier):
    bank = FilterBank(["roberts_d45", "farid_x"], normalize="l2", name="mine")
    assert bank.rank == 2  # fills the caches
    twin = copier(bank)
    assert twin == bank
    assert (twin.name, twin.normalize, twin.size, twin.rank) == ("mine", "l2", 5, 2)
    for b in (bank, twin):
        with pytest.raises(ValueError, match="read-only"):
            b.weight[0, 0, 0] = 1


def test_lists_are_copies():
    bank = get_bank("sobel")
    for values in (bank.names, bank.labels, bank.families):
        values.clear()
    assert bank.names == ["sobel_x", "sobel_y"]


def test_a_zero_kernel_is_allowed_until_normalised():
    zero = Kernel("zero", np.zeros((3, 3)))
    assert FilterBank([zero]).rank == 0
    coefficients, residual = FilterBank([zero]).project(np.ones((3, 3)))
    assert_array_equal(coefficients, [0])
    assert_array_equal(residual, np.ones((3, 3)))


@pytest.mark.parametrize("scale", [1e-100, 1e-20, 1e20])
def test_rank_does_not_depend_on_the_scale_of_single_kernels(scale, rng):
    """Kernels in very different units are still independent."""
    bank = FilterBank(["sobel_x", Kernel("tiny", get_kernel("sobel_y").weight * scale)])
    assert bank.rank == 2
    coefficients, residual = bank.project(bank.weight)
    assert_allclose(np.diag(coefficients), 1, rtol=0, atol=1e-15)
    assert_allclose(residual[1] / scale, 0, atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "kernels must not be empty; got []. Pass"),
        (
            ("sobel_x",),
            TypeError,
            "kernels must be a sequence of names and Kernel objects; got 'sobel_x'. Pass",
        ),
        (
            (get_kernel("sobel_x"),),
            TypeError,
            "kernels must be a sequence of names and Kernel objects; got Kernel(",
        ),
        ((3,), TypeError, "kernels must be a sequence of names and Kernel objects; got 3."),
        (
            ([3],),
            TypeError,
            "kernels must hold names and Kernel objects; got 3. Wrap an array: Kernel('mine', array).",
        ),
        (
            (["sobel_x", "sobel_v"],),
            ValueError,
            "kernels must have different names; got 'sobel_x' 2 times. Rename",
        ),
        (
            (["sobel_x"], 2),
            ValueError,
            "size must hold every kernel; got 2x2 for 'sobel_x' of 3x3. Leave size out",
        ),
        ((["sobel_x"], (5, 1)), ValueError, "size must hold every kernel; got 5x1 for 'sobel_x' of 3x3."),
        ((["sobel_x"], 0), ValueError, "size must be an integer >= 1 or a pair of them; got 0."),
        (
            (["sobel_x"], None, "l3"),
            ValueError,
            "normalize must be None, 'l1' or 'l2'; got 'l3'. Leave it out",
        ),
        (
            ([Kernel("zero", [[0]])], None, "l1"),
            ValueError,
            "kernels must not be zero with normalize='l1'; got 'zero'. Drop it.",
        ),
        ((["sobel-x"],), KeyError, "unknown kernel 'sobel-x'; did you mean 'sobel_x'?"),
    ],
)
def test_bank_refuses(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        FilterBank(*arguments)


def test_a_bank_of_one_kernel_has_one_kernel():
    bank = FilterBank(["sobel_x"])
    assert repr(bank) == "FilterBank('custom', 1 kernel of 3x3: sobel_x)"
    assert "1 kernel of 3 x 3 that spans 1 of 9 dimensions" in bank._repr_html_()
