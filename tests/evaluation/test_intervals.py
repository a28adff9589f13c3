from __future__ import annotations

import numpy as np
import pytest

from soundleap.evaluation.features import Features
from soundleap.evaluation.frechet import distance_of, statistics
from soundleap.evaluation.intervals import bootstrap_weights, centred_interval


def test_draws_are_sets_of_the_same_size_and_depend_on_seed_and_stream_only():
    weights = bootstrap_weights(30, 20, 5)
    assert weights.shape == (30, 20)
    assert (weights.sum(axis=0) == 30).all()
    assert np.array_equal(weights, bootstrap_weights(30, 20, 5))
    assert np.array_equal(weights[:, :7], bootstrap_weights(30, 7, 5))
    assert not np.array_equal(weights, bootstrap_weights(30, 20, 5, 1))
    assert not np.array_equal(weights, bootstrap_weights(30, 20, 6))


def test_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        values = rng.exponential(size=60)
        draws = values @ bootstrap_weights(60, 200, trial) / 60
        low, high = centred_interval(values.mean(), draws)
        hits += low <= 1 <= high
    assert 0.87 <= hits / 200 <= 0.98


def test_interval_of_a_distance_holds_its_value_and_covers_the_truth():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(60):
        x, y = (Features.of(rng.standard_normal((200, 2)) + np.array([m, 0])) for m in (0, 1))
        weights = [bootstrap_weights(200, 60, trial, stream) for stream in (0, 1)]
        value = distance_of(statistics(x), statistics(y))
        draws = [
            distance_of(statistics(x, weights[0][:, i]), statistics(y, weights[1][:, i]))
            for i in range(60)
        ]
        low, high = centred_interval(value, np.array(draws))
        assert low < value < high
        hits += low <= 1 <= high
    assert hits / 60 >= 0.85


def test_interval_keeps_within_bounds_and_needs_ten_finite_draws():
    draws = np.linspace(0, 1, 50)
    assert centred_interval(0.9, draws, (0, 1))[1] == 1
    assert centred_interval(0.5, draws[:9]) == (None, None)
    assert centred_interval(0.5, np.append(draws[:9], np.nan)) == (None, None)
    assert centred_interval(0.5, np.append(draws, np.nan)) == pytest.approx((0.025, 0.975))
