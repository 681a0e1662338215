"""How coarse a kernel is."""

from __future__ import annotations

import numpy as np
import pytest

import edgefilter as ef
from edgefilter.banks.scales import wavelength


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


def test_higher_orders_are_finer():
    lengths = [wavelength(ef.get_kernel(f"dct7_u{order}_v0").weight) for order in range(1, 7)]
    assert (np.diff(lengths) < 0).all()


@pytest.mark.parametrize("weight", [np.zeros((3, 3)), np.eye(1), np.diag([0.0, 1.0, 0.0])])
def test_zeros_and_a_single_weight_have_none(weight):
    assert wavelength(weight) is None
