from __future__ import annotations

import numpy as np
import pytest

from soundleap.errors import InputError, NotFiniteError
from soundleap.evaluation.spectral import (
    log_spectral_distance,
    mel_l1,
    multi_resolution_stft_distance,
)

NOISE = 0.1 * np.random.default_rng(0).standard_normal(5000)
DISTANCES = (log_spectral_distance, mel_l1, multi_resolution_stft_distance)


@pytest.mark.parametrize("distance", DISTANCES)
def test_identical_waveforms_have_distance_zero(distance):
    assert distance(NOISE, NOISE) == 0


def test_a_gain_of_two_is_six_decibels():
    assert log_spectral_distance(2 * NOISE, NOISE) == pytest.approx(20 * np.log10(2), abs=1e-9)


def test_a_gain_of_two_is_its_logarithm_in_mel():
    assert mel_l1(2 * NOISE, NOISE) == pytest.approx(np.log10(2), abs=1e-4)


def test_a_gain_of_two_has_convergence_one_and_log_difference_ln_two():
    distance = multi_resolution_stft_distance(2 * NOISE, NOISE)
    assert distance == pytest.approx(1 + np.log(2), abs=1e-4)


def test_bins_below_the_floor_count_as_equal():
    assert log_spectral_distance(1e-9 * NOISE, np.zeros(5000)) == 0
    assert log_spectral_distance(NOISE, np.zeros(5000)) < 100


def test_the_last_samples_count():
    changed = NOISE.copy()
    changed[-1] += 1
    assert log_spectral_distance(changed, NOISE) > 0
    assert multi_resolution_stft_distance(changed, NOISE) > 0


def test_short_waveforms_are_one_frame():
    assert log_spectral_distance(2 * NOISE[:600], NOISE[:600]) == pytest.approx(6.0206, abs=1e-3)


@pytest.mark.parametrize("distance", DISTANCES)
def test_wrong_input_is_refused(distance):
    with pytest.raises(InputError, match="same S >= 1"):
        distance(NOISE, NOISE[:-1])
    with pytest.raises(InputError, match="same S >= 1"):
        distance(NOISE[None], NOISE[None])
    with pytest.raises(NotFiniteError):
        distance(np.where(NOISE > 0.2, np.nan, NOISE), NOISE)


def test_limits_of_single_distances():
    with pytest.raises(InputError, match="allowed: 1024 or more"):
        mel_l1(NOISE[:1000], NOISE[:1000])
    with pytest.raises(InputError, match="silent"):
        multi_resolution_stft_distance(NOISE, np.zeros(5000))
