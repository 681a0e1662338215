"""How coarse a kernel is."""

from __future__ import annotations

import numpy as np
import pytest

import edgefilter as ef
from edgefilter.banks.scales import scale_name, wavelength


@pytest.mark.parametrize("waves", [3, 8])
@pytest.mark.parametrize("turn", [False, True])
def test_a_wave_in_a_wide_window_has_its_own_length(waves, turn):
    """To a twentieth, in every direction."""
    window = np.hanning(41)[:, None] * np.hanning(41)
    wave = window * np.sin(2 * np.pi * np.arange(41) / waves)
    assert wavelength(wave.T if turn else wave) == pytest.approx(waves, rel=0.05)


@pytest.mark.parametrize("name", ["sobel_x", "laplacian_4", "gabor7_t45_odd"])
def test_a_wavelength_grows_with_the_kernel(name):
    """Three times as large, three times as long; a factor changes nothing."""
    weight = ef.get_kernel(name).weight
    assert wavelength(np.kron(weight, np.ones((3, 3)))) == pytest.approx(3 * wavelength(weight), rel=0.15)
    assert wavelength(-1e6 * weight) == pytest.approx(wavelength(weight), rel=1e-12)


@pytest.mark.parametrize("name", ["sobel_x", "laplacian_4", "gabor_w4_t30_even"])
def test_a_wider_support_changes_nothing(name):
    """Sobel answers to waves of 5.6 pixels, just below the middle of two octaves: a bank of a larger size must not move it."""
    weight = ef.get_kernel(name).weight
    assert wavelength(np.pad(weight, ((3, 1), (0, 8)))) == wavelength(weight)


def test_higher_orders_are_finer():
    lengths = [wavelength(ef.get_kernel(f"dct7_u{order}_v0").weight) for order in range(1, 7)]
    assert (np.diff(lengths) < 0).all()


@pytest.mark.parametrize("weight", [np.zeros((3, 3)), np.eye(1), np.diag([0.0, 1.0, 0.0])])
def test_zeros_and_a_single_weight_have_none(weight):
    assert wavelength(weight) is None


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ("sobel_x", "about 4 pixels"),  # 5.6: nearer to 4 than to 8 in octaves
        ("farid_x", "about 8 pixels"),  # 7.6
        ("laplacian_4", "about 2 pixels"),  # 2.4
        (ef.Kernel("zero", np.zeros((3, 3)), order=1), "about 1 pixel"),
        (ef.Kernel("mine", [[-1, 0, 1]], wavelength=10), "10 pixels"),
        (ef.Kernel("mine", [[-1, 0, 1]], wavelength=5.65685), "5.657 pixels"),
    ],
)
def test_a_scale_is_what_a_kernel_was_made_for_or_an_octave(kernel, name):
    assert scale_name(ef.get_kernel(kernel) if isinstance(kernel, str) else kernel) == name


def test_groups_by_scale():
    """Brightness apart; the given wavelengths before those that are read from the weights."""
    bank = ef.FilterBank(["sobel_x", "sobel_y", "farid_x", "laplacian_4", "binomial_3x3", "gabor_w4_t0_odd"])
    assert bank.groups("scale") == {
        "about 4 pixels": ("sobel_x", "sobel_y"),
        "about 8 pixels": ("farid_x",),
        "about 2 pixels": ("laplacian_4",),
        "brightness": ("binomial_3x3",),
        "4 pixels": ("gabor_w4_t0_odd",),
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"direction": 180},
            "direction must be at least 0 and below 180 degrees; got 180. Pass it modulo 180",
        ),
        ({"direction": -1.0}, "direction must be"),
        ({"direction": float("nan")}, "direction must be"),
        ({"wavelength": 0}, "wavelength must be a positive number of pixels; got 0. Leave it out"),
        ({"wavelength": float("inf")}, "wavelength must be"),
    ],
)
def test_what_a_kernel_was_made_for_is_in_its_range(given, words):
    with pytest.raises(ValueError, match=words):
        ef.Kernel("mine", [[1]], **given)


def test_what_a_kernel_was_made_for_is_a_part_of_it():
    """Two kernels that differ in it are not equal; a bank keeps it, in a larger support as well."""
    one, other = (ef.Kernel("k", [[-1, 0, 1]], direction=0, wavelength=waves) for waves in (4, 5))
    assert one != other
    bank = ef.FilterBank([one], size=5, normalize="l2")
    assert (bank["k"].direction, bank["k"].wavelength) == (0, 4)
