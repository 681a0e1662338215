"""Gabor kernels: by their formula, by OpenCV and scikit-image, and by what they answer to."""

from __future__ import annotations

import math
import pickle

import cv2
import numpy as np
import pytest
from skimage.filters import gabor_kernel

import edgefilter as ef
from edgefilter.banks.directions import change_direction
from edgefilter.banks.scales import wavelength

# --- what is asked for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientations", [1, 2, 3, 4, 6, 7, 8, 12, 24])
@pytest.mark.parametrize("scales", [1, 2, 3, (4, 8), (3.5, 4.6, 5.6, 6.8)])
def test_groups_are_the_orientations_and_scales_that_were_asked_for(orientations, scales):
    """As many, each with its kernels of both phases, whatever their directions are."""
    bank = ef.get_bank("gabor", orientations=orientations, scales=scales)
    count = scales if isinstance(scales, int) else len(scales)
    assert len(bank) == 2 * orientations * count
    by_angle, by_scale = bank.groups("orientation"), bank.groups("scale")
    angles = [180 * step / orientations for step in range(orientations)]
    assert [float(name.removesuffix(" deg")) for name in by_angle] == pytest.approx(angles, abs=0.006)
    assert len(by_scale) == count
    assert {len(names) for names in by_angle.values()} == {2 * count}
    assert {len(names) for names in by_scale.values()} == {2 * orientations}
    for name, members in by_angle.items():
        assert all(f"_t{name.removesuffix(' deg')}_" in member for member in members)
    for name, members in by_scale.items():
        assert all(member.startswith(f"gabor_w{name.removesuffix(' pixels')}_t") for member in members)


def test_scales_are_half_octaves_from_four_pixels():
    """To the four digits of the names; the support is that of the largest, and odd."""
    bank = ef.get_bank("gabor", scales=5)
    waves = list(dict.fromkeys(kernel.wavelength for kernel in bank))
    np.testing.assert_allclose(waves, 4 * 2 ** (np.arange(5) / 2), rtol=5e-4)
    assert bank.names[:3] == ["gabor_w4_t0_even", "gabor_w4_t0_odd", "gabor_w4_t45_even"]
    assert [ef.get_bank("gabor", scales=n).size for n in (1, 2, 3, 4, 5)] == [11, 15, 21, 29, 41]


def test_numbers_of_numpy_count_as_well():
    """As Python's do, to the last bit."""
    found = ef.get_bank("gabor", orientations=np.int64(3), scales=np.int32(2))
    assert found.names == ef.get_bank("gabor", orientations=3, scales=2).names


def test_the_default_is_four_orientations_by_two_scales():
    """With a name like every other bank."""
    bank = ef.get_bank("gabor")
    assert "gabor" in ef.bank_names()
    assert bank == ef.get_bank("gabor", orientations=4, scales=2, phases=("even", "odd"))
    assert (bank.name, len(bank), bank.size) == ("gabor", 16, 15)
    for kernel in bank:
        assert kernel.family == "gabor"
        assert "Gabor" in kernel.source
        assert "deg (y down), wavelength" in kernel.notes


def test_directions_wavelengths_and_phases_can_be_named():
    """In degrees modulo 180, in pixels, and one phase alone."""
    bank = ef.get_bank("gabor", orientations=(-45, 0, 30), scales=[5], phases="odd")
    assert bank.names == ["gabor_w5_t135_odd", "gabor_w5_t0_odd", "gabor_w5_t30_odd"]
    both = ef.get_bank("gabor", orientations=np.array([10.0]), scales=np.array([5.0]))
    assert both.names == ["gabor_w5_t10_even", "gabor_w5_t10_odd"]


@pytest.mark.parametrize("name", ["gabor_w4_t45_even", "gabor_w5.657_t22.5_odd", "gabor_w7_t25.71_odd"])
def test_a_name_is_enough(name):
    """`get_kernel` makes the kernel of any wavelength and direction, and a bank of your own can hold it."""
    kernel = ef.get_kernel(name)
    assert kernel.name == name
    assert ef.FilterBank([name, "sobel_x"]).names == [name, "sobel_x"]
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    bank = ef.get_bank("gabor", orientations=[kernel.direction], scales=[kernel.wavelength])
    assert bank[name] == kernel


@pytest.mark.parametrize(
    "name", ["gabor_w4.0_t45_even", "gabor_w4_t225_even", "gabor_w4_t45_up", "gabor_w1_t0_odd"]
)
def test_names_have_one_spelling(name):
    """Others are unknown, or say what is out of range."""
    with pytest.raises((KeyError, ValueError), match=r"unknown kernel|scales must be"):
        ef.get_kernel(name)


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("gabor", {"orientations": 0}, ValueError, "orientations must be a whole number of at least 1, or .*; got 0"),
        ("gabor", {"orientations": True}, ValueError, "orientations must be"),
        ("gabor", {"orientations": 4.0}, ValueError, "orientations must be"),
        ("gabor", {"orientations": ()}, ValueError, "orientations must be"),
        ("gabor", {"orientations": (0, 180)}, ValueError, "which repeat after 180"),
        ("gabor", {"orientations": (0, math.nan)}, ValueError, "orientations must be"),
        ("gabor", {"orientations": "45"}, ValueError, "orientations must be"),
        ("gabor", {"scales": 0}, ValueError, r"scales must be .* at least 2.5; got 0\. Pass for example scales=2"),
        ("gabor", {"scales": (4, 4)}, ValueError, "scales must be"),
        ("gabor", {"scales": (2, 4)}, ValueError, r"got \(2, 4\)"),
        ("gabor", {"scales": (4, math.inf)}, ValueError, "scales must be"),
        ("gabor", {"scales": None}, ValueError, "scales must be"),
        ("gabor", {"phases": "both"}, ValueError, "phases must be 'even', 'odd' or both; got 'both'"),
        ("gabor", {"phases": ()}, ValueError, "phases must be"),
        ("gabor", {"phases": ("odd", "odd")}, ValueError, "phases must be"),
        ("gabor", {"aspect": 0}, ValueError, "aspect must be a positive number; got 0"),
        ("gabor", {"sigma": "wide"}, ValueError, "sigma must be"),
        ("gabor", {"extent": math.inf}, ValueError, "extent must be"),
        ("gabor", {"angles": 4}, TypeError, "bank 'gabor' has the options orientations, scales, .*; got angles=4"),
        ("sobel", {"orientations": 4}, TypeError, "bank 'sobel' has no options; got orientations=4. Leave it out"),
        ("sobel", {"trainable": True}, TypeError, "trainable must be left out: the kernels of a bank are fixed"),
        ("gabor", {"trainable": False}, TypeError, "Train the mixing of EdgeFilterConv2d"),
        ("sobels", {"orientations": 4}, KeyError, "unknown bank 'sobels'; did you mean 'sobel'"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_refused(name, options, error, words):
    """Rule, value and next step."""
    with pytest.raises(error, match=words):
        ef.get_bank(name, **options)


# --- the numbers ----------------------------------------------------------------------------------------------


def by_loops(waves, angle, phase, sigma=0.56, aspect=0.5, extent=2.5):
    """Write the formula out pixel by pixel."""
    half = math.floor(extent * waves / 2)
    bell, wave = {}, {}
    for y in range(-half, half + 1):
        for x in range(-half, half + 1):
            turn = math.radians(angle)
            u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
            inside = x * x + y * y <= (half + 0.5) ** 2
            bell[y, x] = inside * math.exp(-(u * u + (aspect * v) ** 2) / (2 * (sigma * waves) ** 2))
            wave[y, x] = (math.cos if phase == "even" else math.sin)(2 * math.pi * u / waves)
    mean = sum(bell[p] * wave[p] for p in bell) / sum(bell.values()) if phase == "even" else 0
    found = {p: bell[p] * (wave[p] - mean) for p in bell}
    norm = math.sqrt(sum(value**2 for value in found.values()))
    return np.array([[found[y, x] / norm for x in range(-half, half + 1)] for y in range(-half, half + 1)])


@pytest.mark.parametrize("phase", ["even", "odd"])
@pytest.mark.parametrize("angle", [0, 30, 45, 90, 112.5])
@pytest.mark.parametrize("options", [{}, {"sigma": 0.8, "aspect": 0.3, "extent": 2.0}, {"aspect": 1}])
@pytest.mark.parametrize("waves", [3.5, 4, 5.657])
def test_kernels_are_those_of_the_formula(waves, angle, phase, options):
    """A loop over pixels."""
    bank = ef.get_bank("gabor", orientations=[angle], scales=[waves], phases=phase, **options)
    np.testing.assert_allclose(bank.weight[0], by_loops(waves, angle, phase, **options), rtol=0, atol=1e-14)


def as_ours(kernel, half):
    """Cut another library's odd kernel to our disc and give it our norm."""
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    found = kernel * (x**2 + y**2 <= (half + 0.5) ** 2)
    assert abs(found.sum()) < 1e-9
    return found / np.linalg.norm(found)


@pytest.mark.parametrize("angle", [0, 22.5, 60, 135])
@pytest.mark.parametrize("waves", [4, 5.657])
def test_kernels_are_those_of_opencv(waves, angle):
    """Minus psi = -90 degrees is odd; OpenCV keeps the mean of the even one, which the envelope takes away here."""
    sigma, aspect = 0.56 * waves, 0.5
    bank = ef.get_bank("gabor", orientations=[angle], scales=[waves])
    half = bank.size // 2
    shape = ((2 * half + 1,) * 2, sigma, math.radians(angle))
    even, odd = (cv2.getGaborKernel(*shape, waves, aspect, psi) for psi in (0, -np.pi / 2))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    inside = x**2 + y**2 <= (half + 0.5) ** 2
    bell = inside * cv2.getGaborKernel(*shape, 1e9, aspect, 0)
    even = inside * even - bell * (inside * even).sum() / bell.sum()
    np.testing.assert_allclose(bank.weight[0], even / np.linalg.norm(even), rtol=0, atol=1e-7)
    np.testing.assert_allclose(bank.weight[1], -as_ours(odd, half), rtol=0, atol=1e-7)


@pytest.mark.parametrize("angle", [0, 22.5, 60, 135])
def test_odd_kernels_are_those_of_scikit_image(angle):
    """The imaginary part, with its sign, in the disc and at unit norm; sigma_y is sigma over the aspect."""
    waves, sigma = 4, 0.56 * 4
    bank = ef.get_bank("gabor", orientations=[angle], scales=[waves], phases="odd")
    half = bank.size // 2
    full = gabor_kernel(1 / waves, math.radians(angle), sigma_x=sigma, sigma_y=2 * sigma, n_stds=8).imag
    middle = [side // 2 for side in full.shape]
    inside = full[middle[0] - half : middle[0] + half + 1, middle[1] - half : middle[1] + half + 1]
    np.testing.assert_allclose(bank.weight[0], as_ours(inside, half), rtol=0, atol=1e-12)


@pytest.mark.parametrize("orientations", [4, 7, 12])
def test_kernels_have_no_mean_and_unit_norm(orientations):
    """To the rounding of float64, also in the support of a larger one; odd and even under a half turn."""
    bank = ef.get_bank("gabor", orientations=orientations, scales=4)
    np.testing.assert_allclose(bank.weight.sum((1, 2)), 0, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(bank.weight, axis=(1, 2)), 1, rtol=0, atol=1e-14)
    assert all(side % 2 for side in bank.shape)
    for kernel in bank:
        sign = 1 if kernel.name.endswith("even") else -1
        np.testing.assert_allclose(kernel.weight[::-1, ::-1], sign * kernel.weight, rtol=0, atol=1e-14)
        assert kernel.order == (2 if sign == 1 else 1)


def test_an_odd_kernel_is_positive_where_the_image_rises():
    """0 degrees: brighter to the right, as sobel_x; 90: brighter below; 45: towards the lower right. Even: a bright line."""
    y, x = np.mgrid[-5:6, -5:6].astype(float)
    for angle, rising, line in ((0, x, x), (90, y, y), (45, x + y, x + y), (135, y - x, y - x)):
        even, odd = ef.get_bank("gabor", orientations=[angle], scales=1).weight
        assert (odd * np.sign(rising)).sum() > 1
        assert (even * (line == 0)).sum() > 1


# --- what they answer to --------------------------------------------------------------------------------------


def grating(size, angle, waves, phase=0.0):
    half = size // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
    return np.cos(2 * math.pi * along / waves - phase)


def energies(bank, image):
    """Return the energy of each quadrature pair."""
    return (bank.weight * image).sum((1, 2)).reshape(-1, 2) ** 2 @ np.ones(2)


@pytest.mark.parametrize("orientations", [4, 6, 8, 12])
@pytest.mark.parametrize("scales", [2, 4, (4, 8, 16)])
def test_a_grating_is_answered_most_by_the_kernels_made_for_it(orientations, scales):
    """All pairs of a direction and a wavelength; the next pair has at most two thirds of the amplitude."""
    bank = ef.get_bank("gabor", orientations=orientations, scales=scales)
    for place, kernel in enumerate(bank.kernels[::2]):
        found = np.sqrt(energies(bank, grating(bank.size, kernel.direction, kernel.wavelength)))
        assert found.argmax() == place
        assert np.delete(found, place).max() < 0.67 * found[place]


@pytest.mark.parametrize("orientations", [4, 8])
def test_a_pair_does_not_see_the_phase(orientations):
    """Its energy stays within 3 %, while each kernel alone goes through zero."""
    bank = ef.get_bank("gabor", orientations=orientations, scales=3)
    for place, kernel in enumerate(bank.kernels[::2]):
        images = [
            grating(bank.size, kernel.direction, kernel.wavelength, phase) for phase in np.arange(0, 6.3, 0.3)
        ]
        found = np.array([energies(bank, image)[place] for image in images])
        assert found.min() > 0.97 * found.max()
        alone = np.array([(kernel.weight * image).sum() for image in images])
        assert np.abs(alone).min() < 0.15 * np.abs(alone).max()


@pytest.mark.parametrize("orientations", [4, 6, 8, 12])
def test_what_they_were_made_for_is_in_the_weights(orientations):
    """Directions within 1.5 degrees, wavelengths within a third: a weight that prefers coarse waves moves them."""
    for kernel in ef.get_bank("gabor", orientations=orientations, scales=4):
        off = (change_direction(kernel.weight) - kernel.direction + 90) % 180 - 90
        assert abs(off) < 1.5
        assert wavelength(kernel.weight) == pytest.approx(kernel.wavelength, rel=0.34)
